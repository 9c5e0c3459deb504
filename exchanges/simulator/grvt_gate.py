"""The door of GRVT's REST interface: shape, session, rate limit, error bodies, outages.

Nothing that a client sends becomes a 500: what does not parse is 400/1003, an unknown path is
404/1004 (venues.md A4, A4.3).
"""

from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate

import orjson
from aiohttp import web
from aiohttp.typedefs import Middleware

from exchanges.simulator import grvt_lite as lite
from exchanges.simulator.grvt_auth import ACCOUNT_HEADER, COOKIE, Session
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_payload import Fields, decode
from exchanges.simulator.grvt_words import MS, ApiError, Dropped, Json, Mangled, malformed
from strategy.domain import NANO

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Method = Callable[[Fields], Json]
"""Request body with full names in, reply body out; raises ApiError."""


class Methods:
    """Every RPC method by name, the same for REST and for the sockets.

    Args:
        desk: for sessions and rate limits.
        public: methods that need no login.
        private: methods that do.
    """

    def __init__(
        self, desk: Desk, public: Mapping[str, Method], private: Mapping[str, Method]
    ) -> None:
        self._desk = desk
        self._public = public
        self._private = private

    def call(self, name: str, body: Json, authenticate: Callable[[], object]) -> Json:
        """Check session and rate, then run the method.

        Args:
            name: tail of the REST path.
            body: with full names.
            authenticate: raises ApiError 1000 when the caller has no session.

        Raises:
            ApiError: 1004 for an unknown method, or what the method raises.
        """
        method = self._public.get(name)
        if method is None:
            method = self._private.get(name)
            if method is None:
                raise ApiError(1004)
            authenticate()
        self._desk.rates.spend(name, self._desk.clock())
        return method(Fields(body))


class Gate:
    """HTTP handlers of logins, the clock and all methods."""

    def __init__(self, desk: Desk, methods: Methods) -> None:
        self._desk = desk
        self._methods = methods

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this part."""
        return [
            web.get("/time", self._time),
            web.post("/auth/api_key/login", self._key_login),
            web.post("/auth/wallet/login", self._wallet_login),
            web.post("/full/v1/{method}", self._full),
            web.post("/lite/v1/{method}", self._lite),
        ]

    async def _time(self, request: web.Request) -> web.Response:
        del request
        return reply({"server_time": self._desk.clock() // MS})

    async def _key_login(self, request: web.Request) -> web.Response:
        body = Fields(await _json_body(request))
        self._desk.rates.spend("login", self._desk.clock())
        key = body.required("api_key")
        return self._logged_in(self._desk.sessions.key_login(key, self._desk.clock()))

    async def _wallet_login(self, request: web.Request) -> web.Response:
        body = Fields(await _json_body(request))
        self._desk.rates.spend("login", self._desk.clock())
        return self._logged_in(self._desk.sessions.wallet_login(body, self._desk.clock()))

    def _logged_in(self, session: Session | None) -> web.Response:
        """Answer a login: a failure too is 200, without a cookie (venues.md A2.1)."""
        if session is None:
            return reply({"status": "failure", "location": ""})
        desk = self._desk
        response = reply(
            {
                "status": "success",
                "location": "",
                "funding_account_address": desk.sessions.main_account,
                "sub_account_id": desk.sub_account,
            }
        )
        expires = formatdate(session.expires_at // NANO, usegmt=True)
        # Not Secure: over plain http no client would send the cookie back.
        response.headers["Set-Cookie"] = (
            f"{COOKIE}={session.token}; Path=/; Expires={expires}; HttpOnly"
        )
        response.headers[ACCOUNT_HEADER] = desk.sessions.main_account
        return response

    async def _full(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        return reply(self._call(request, body))

    async def _lite(self, request: web.Request) -> web.Response:
        name = request.match_info["method"]
        body = lite.request_to_full(name, await _json_body(request))
        return reply(lite.reply_to_lite(name, self._call(request, body)))

    def _call(self, request: web.Request, body: Json) -> Json:
        name = request.match_info["method"]
        sessions, now = self._desk.sessions, self._desk.clock()
        return self._methods.call(name, body, lambda: sessions.authenticate(request.headers, now))


def reply(value: Json, status: int = 200) -> web.Response:
    """Return a JSON response."""
    return web.Response(
        body=orjson.dumps(value), status=status, content_type="application/json", charset="utf-8"
    )


def dropped(request: web.Request) -> web.Response:
    """Reset the connection: the client gets no answer at all."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def error_middleware(desk: Desk) -> Middleware:
    """Return the middleware that turns every failure into the venue's answer."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        if desk.refuses():
            return dropped(request)
        try:
            return await handler(request)
        except Dropped:
            return dropped(request)
        except Mangled as mangled:
            return web.Response(
                text=mangled.text, status=mangled.status, content_type=mangled.content_type
            )
        except (ApiError, web.HTTPException, web.RequestPayloadError, ConnectionError) as error:
            found, status = _refusal(error)
            return reply(found.body(desk.next_request()), status)

    return answer


def _refusal(error: Exception) -> tuple[ApiError, int]:
    """Return the venue's error and the HTTP status for a failure."""
    if isinstance(error, ApiError):
        return error, error.status
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return malformed(), error.status
    if isinstance(error, web.HTTPNotFound | web.HTTPMethodNotAllowed):
        return ApiError(1004), web.HTTPNotFound.status_code
    return malformed(), web.HTTPBadRequest.status_code


async def _json_body(request: web.Request) -> Json:
    if request.content_type != "application/json":
        raise malformed()
    return decode(await request.read())

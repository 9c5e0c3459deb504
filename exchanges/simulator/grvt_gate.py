"""The door of GRVT's REST interface: shape, session, rate limit, error bodies, outages.

Nothing that a client sends becomes a 500: what does not parse is 400/1003, an unknown path is
404/1004 (venues.md A4, A4.3).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Middleware

from exchanges.simulator import grvt_lite as lite
from exchanges.simulator.grvt_auth import ACCOUNT_HEADER, COOKIE, Session
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_members import Member
from exchanges.simulator.grvt_payload import Fields, decode
from exchanges.simulator.grvt_words import MS, ApiError, Dropped, Json, Mangled, malformed
from strategy.domain import NANO

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PublicMethod = Callable[[Fields], Json]
"""Request body with full names in, reply body out; raises ApiError."""
Method = Callable[[Fields, Member], Json]
"""The same for the account that asks."""
_VERSIONS: dict[str, frozenset[str]] = {"v1": frozenset(), "v2": frozenset({"bulk_orders"})}
"""Versions with the methods that they serve; empty serves all of them."""
_SLOW_LOGIN_MS = 6000
_HTML = "<html><head><title>503</title></head><body>503 Service Unavailable</body></html>"


class Methods:
    """Every RPC method by name, the same for REST and for the sockets.

    Args:
        desk: for sessions and rate limits.
        public: methods that need no login.
        private: methods that do.
    """

    def __init__(
        self, desk: Desk, public: Mapping[str, PublicMethod], private: Mapping[str, Method]
    ) -> None:
        self._desk = desk
        self._public = public
        self._private = private

    def knows(self, name: str) -> bool:
        """True when there is such a method."""
        return name in self._public or name in self._private

    def call(self, name: str, body: Json, authenticate: Callable[[], Session]) -> Json:
        """Check session and rate, then run the method.

        Args:
            name: tail of the REST path.
            body: with full names.
            authenticate: returns the caller's session, or raises ApiError 1000.

        Raises:
            ApiError: 1004 for an unknown method, or what the method raises.
        """
        desk, now = self._desk, self._desk.clock()
        public = self._public.get(name)
        if public is not None:
            desk.market_rates.spend(name, now)
            return self._shown(public(Fields(body)))
        method = self._private.get(name)
        if method is None:
            raise ApiError(1004)
        member = authenticate().member
        self._check_key()
        member.rates.spend(name, now)
        return self._shown(method(Fields(body), member))

    def _check_key(self) -> None:
        """Refuse every private request under F79."""
        refused = self._desk.fault("F79")
        if refused is not None:
            raise ApiError(1000 if refused.get("mode") == "revoked" else 1008)

    def _shown(self, answer: Json) -> Json:
        """Leave the fields out that the options say no reply has."""
        missing = self._desk.options.omit
        return without(answer, missing) if missing else answer


def without(value: Any, names: frozenset[str]) -> Any:
    """Return a JSON value without the fields of some names, at any depth."""
    if isinstance(value, dict):
        return {key: without(item, names) for key, item in value.items() if key not in names}
    if isinstance(value, list):
        return [without(item, names) for item in value]
    return value


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
            web.post("/full/{version}/{method}", self._full),
            web.post("/lite/{version}/{method}", self._lite),
        ]

    async def _time(self, request: web.Request) -> web.Response:
        del request
        return reply({"server_time": self._desk.told(self._desk.clock()) // MS})

    async def _key_login(self, request: web.Request) -> web.Response:
        body = Fields(await _json_body(request))
        await self._before_login()
        key = body.required("api_key")
        session = self._desk.sessions.key_login(key, self._desk.clock())
        return self._logged_in(session)

    async def _wallet_login(self, request: web.Request) -> web.Response:
        body = Fields(await _json_body(request))
        await self._before_login()
        session = self._desk.sessions.wallet_login(body, self._desk.clock())
        return self._logged_in(session)

    async def _before_login(self) -> None:
        """Spend the login's rate; fail or wait as F08 and F79 say."""
        desk = self._desk
        desk.login_rates.spend("login", desk.clock())
        broken = desk.fault("F08")
        if broken is not None and broken.get("mode") == "slow":
            await asyncio.sleep(int(broken.get("delay_ms", _SLOW_LOGIN_MS)) * MS / NANO)
        elif broken is not None:
            raise Mangled(503, _HTML, "text/html")
        refused = desk.peek("F79")
        if refused is not None and refused.get("mode") != "revoked":
            raise ApiError(1008)

    def _logged_in(self, session: Session | None) -> web.Response:
        """Answer a login: a failure too is 200, without a cookie (venues.md A2.1)."""
        refused = self._desk.peek("F79")
        if session is None or refused is not None:
            return reply({"status": "failure", "location": ""})
        member = session.member
        response = reply(
            {
                "status": "success",
                "location": "",
                "funding_account_address": member.main,
                "sub_account_id": member.sub_account,
            }
        )
        expires = formatdate(session.expires_at // NANO, usegmt=True)
        # Not Secure: over plain http no client would send the cookie back.
        response.headers["Set-Cookie"] = (
            f"{COOKIE}={session.token}; Path=/; Expires={expires}; HttpOnly"
        )
        response.headers[ACCOUNT_HEADER] = member.main
        return response

    async def _full(self, request: web.Request) -> web.Response:
        answer = self._call(request, await _json_body(request))
        await self._desk.late_answer(request.match_info["method"])
        return reply(answer)

    async def _lite(self, request: web.Request) -> web.Response:
        name = request.match_info["method"]
        body = lite.request_to_full(name, await _json_body(request))
        answer = lite.reply_to_lite(name, self._call(request, body))
        await self._desk.late_answer(name)
        return reply(answer)

    def _call(self, request: web.Request, body: Json) -> Json:
        name, version = request.match_info["method"], request.match_info["version"]
        served = _VERSIONS.get(version)
        if served is None or (served and name not in served):
            raise ApiError(1004)
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

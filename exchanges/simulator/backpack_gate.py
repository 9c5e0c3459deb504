"""The door of the REST interface: rate limit, signature, error bodies, injected outages.

Nothing that a client sends becomes a 500: what does not parse is a 4xx with the venue's code.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Middleware

from exchanges.simulator.backpack_auth import (
    Params,
    SignatureError,
    Stamp,
    batch_string,
    stamp_of,
    string_to_sign,
)
from exchanges.simulator.backpack_desk import Desk
from exchanges.simulator.backpack_members import Member
from exchanges.simulator.backpack_payload import as_batch, as_params, decode
from exchanges.simulator.backpack_words import (
    ApiError,
    Json,
    PlainError,
    bad_parameter,
    bad_request,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request."""

    request: web.Request
    params: Params
    """Query of a GET, body of anything else."""
    stamp: Stamp
    member: Member
    """Whose key signed it."""


@dataclass(frozen=True, slots=True)
class BatchCall:
    """One authenticated ``POST /orders``."""

    request: web.Request
    orders: Sequence[Params]
    stamp: Stamp
    member: Member


SignedHandler = Callable[[Call], Awaitable[web.StreamResponse]]
BatchHandler = Callable[[BatchCall], Awaitable[web.StreamResponse]]


def reply(value: Any, status: int = 200) -> web.Response:
    """Return a JSON response."""
    return web.Response(
        body=orjson.dumps(value), status=status, content_type="application/json", charset="utf-8"
    )


def refused(error: ApiError) -> web.Response:
    """Return ``{"code", "message"}`` with its status."""
    return reply(error.body(), error.status)


def dropped(request: web.Request) -> web.Response:
    """Reset the connection: the client gets no answer at all."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise ApiError(413, "INVALID_CLIENT_REQUEST", "payload too large") from None
    except (web.RequestPayloadError, ConnectionError):
        raise bad_request("parse request payload error: incomplete body") from None


class Gate:
    """Wraps endpoints with the venue's checks."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def signed(self, instruction: str, handler: SignedHandler) -> Handler:
        """Require a signature over ``instruction`` and the parameters."""

        async def check(request: web.Request) -> web.StreamResponse:
            if request.method == "GET":
                params: Params = dict(request.query)
            else:
                params = as_params(decode(await _body(request)), instruction)
            stamp, member = self._authenticate(
                request,
                lambda seen: string_to_sign(instruction, params, seen.timestamp, seen.window),
            )
            return await handler(Call(request, params, stamp, member))

        return check

    def signed_batch(self, instruction: str, handler: BatchHandler) -> Handler:
        """Require the signature of a batch: every order is prefixed by the instruction."""

        async def check(request: web.Request) -> web.StreamResponse:
            orders = as_batch(decode(await _body(request)))
            stamp, member = self._authenticate(
                request,
                lambda seen: batch_string(instruction, orders, seen.timestamp, seen.window),
            )
            return await handler(BatchCall(request, orders, stamp, member))

        return check

    def _authenticate(
        self, request: web.Request, text: Callable[[Stamp], str]
    ) -> tuple[Stamp, Member]:
        desk = self._desk
        wapi = request.path.startswith("/wapi/")
        desk.check_key()
        try:
            stamp = stamp_of(request.headers, wapi=wapi)
            holder = desk.members.keys.verify(stamp, text(stamp), desk.wall(), wapi=wapi)
        except SignatureError:
            claimed = desk.members.named(request.headers.get("X-API-Key"))
            claimed.account.signature_failures += 1
            raise
        member = desk.members[holder]
        member.count_request(desk.clock(), desk.options.requests_per_minute)
        return stamp, member


def error_middleware(desk: Desk, before: Callable[[], None]) -> Middleware:
    """Return the middleware that turns every failure into the venue's answer.

    Args:
        desk: the venue.
        before: called ahead of every request that the venue takes.
    """

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        if desk.down():
            return dropped(request)
        before()
        try:
            return await handler(request)
        except ApiError as error:
            return refused(error)
        except PlainError as error:
            return web.Response(text=str(error), status=400)
        except web.HTTPNotFound:
            return refused(ApiError(404, "RESOURCE_NOT_FOUND", "Not Found"))
        except web.HTTPMethodNotAllowed:
            return refused(ApiError(405, "INVALID_CLIENT_REQUEST", "Method Not Allowed"))

    return answer


def whole_number(params: Params, name: str, default: int, most: int) -> int:
    """Read a non-negative integer query parameter.

    Raises:
        ApiError: not an integer, or more than ``most``.
    """
    value = params.get(name)
    if value is None:
        return default
    if not (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20):  # noqa: PLR2004 - longer than any uint64
        raise bad_parameter(name, "Expected a non-negative integer")
    if int(value) > most:
        raise bad_parameter(name, f"must be at most {most}")
    return int(value)


def page(rows: list[Json], params: Params) -> list[Json]:
    """Apply ``limit`` (default 100, at most 1000) and ``offset``."""
    limit = whole_number(params, "limit", 100, 1000)
    offset = whole_number(params, "offset", 0, 10**9)
    return rows[offset : offset + limit]


_MARKET_TYPES = frozenset({"SPOT", "PERP", "IPERP", "DATED", "PREDICTION", "RFQ"})


def perpetual(params: Mapping[str, Any]) -> bool:
    """Return whether ``marketType`` leaves perpetuals in: only those are simulated.

    Raises:
        ApiError: a word outside the enumeration.
    """
    kind = params.get("marketType", "PERP")
    if kind not in _MARKET_TYPES:
        raise bad_parameter("marketType", "Expect a valid enumeration value.")
    return bool(kind == "PERP")

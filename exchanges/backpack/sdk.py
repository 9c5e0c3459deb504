"""The typed facade over bpx-py: its signing and endpoints, our transport (venues.md B8, B9).

bpx opens a connection per call, never looks at the HTTP status, has no deadline and signs with the
local clock. Its ``Account`` and ``Public`` are kept for parameters, addresses and signatures;
everything that touches the network goes through ``RestClient``.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bpx.async_.account import Account
from bpx.async_.public import Public
from bpx.base.base_account import BaseAccount
from bpx.http_client.base.http_client import HttpClient
from bpx.models.objects import RequestConfiguration

from exchanges.backpack.codec import CLIENT_ID_MAX, side_word
from exchanges.backpack.outcomes import OK, ErrorBody, error_body, is_missing
from exchanges.backpack.signer import WINDOW_MS, BackpackConfig, VenueTime
from exchanges.errors import (
    VenueError,
    VenueForbidden,
    VenueMalformed,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
)
from exchanges.fields import decode
from exchanges.transport.rest import NoAnswer, NotSent, Reply, RestClient
from strategy.domain import OrderRef, OrderRequest, Tif, plain

READ_TIMEOUT = 5.0
WRITE_TIMEOUT = 5.0
"""Seconds until an answer is given up; a write is then in doubt."""

_TIF = {Tif.GTC: "GTC", Tif.IOC: "IOC", Tif.FOK: "FOK"}
_FORBIDDEN_CODES = frozenset(
    {"UNAUTHORIZED", "FORBIDDEN", "INVALID_SIGNATURE", "ACCOUNT_DEACTIVATED"}
)


class ResourceNotFound(VenueRefused):
    """The venue's own "no such order or position": for an order it means only "not resting"."""


def read_error(status: int, error: ErrorBody | None) -> VenueError:
    """Name an unsuccessful answer to a read by what the caller must do (venues.md B3.4)."""
    code = error.code if error else ""
    text = f"backpack http {status} {code}: {error.message if error else 'no venue error body'}"
    if is_missing(status, error):
        return ResourceNotFound(text, code)
    if status == 429 or code == "TOO_MANY_REQUESTS":  # noqa: PLR2004 - HTTP too many requests
        return VenueThrottled(text, code)
    if status in (401, 403) or code in _FORBIDDEN_CODES:
        return VenueForbidden(text, code)
    if error is not None and error.says("invalid signature"):
        return VenueForbidden(text, code)
    if status >= 500 or code in ("MAINTENANCE", "TIMEOUT"):  # noqa: PLR2004 - HTTP server errors
        return VenueUnreachable(text, code)
    if error is None:
        return VenueMalformed(text)
    return VenueRefused(text, code)


def answer(reply: Reply) -> Any:
    """Decode a successful read; numbers stay exact.

    Raises:
        VenueError: any status but 200, by ``read_error``; VenueMalformed for a 200 without JSON.
    """
    if reply.status == OK:
        return decode(reply.body, "answer")
    if 200 <= reply.status < 400:  # noqa: PLR2004 - a read has nothing to say with 202, 204 or 3xx
        raise VenueMalformed(f"backpack http {reply.status} where data is expected")
    raise read_error(reply.status, error_body(reply.body))


class BackpackHttp(HttpClient):
    """The SDK's transport seam: one session, deadlines, statuses as typed errors."""

    def __init__(self, rest: RestClient) -> None:
        self.rest = rest
        self.proxy: str | None = None
        """Written by the SDK's constructors; never read."""

    async def send(
        self, method: str, request: RequestConfiguration, seconds: float = READ_TIMEOUT
    ) -> Reply:
        """Send once and return whatever came back; raises NotSent or NoAnswer."""
        body = None if request.data is None else encode(request.data)
        return await self.rest.request(
            method,
            request.url,
            headers=request.headers or {},
            body=body,
            params={name: str(value) for name, value in (request.params or {}).items()} or None,
            timeout=seconds,
        )

    async def _read(self, method: str, request: RequestConfiguration) -> Any:
        try:
            reply = await self.send(method, request)
        except (NotSent, NoAnswer) as silent:
            raise VenueUnreachable(f"backpack: {silent}") from silent
        return answer(reply)

    async def get(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        params: dict[str, Any] | None = None,
    ) -> Any:
        """Read with GET; raises VenueError."""
        return await self._read("GET", RequestConfiguration(url, headers, params))

    async def post(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: dict[str, Any] | None = None,
    ) -> Any:
        """Call with POST and a JSON body; raises VenueError."""
        return await self._read("POST", RequestConfiguration(url, headers, data=data))

    async def delete(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: dict[str, Any] | None = None,
    ) -> Any:
        """Call with DELETE and a JSON body; raises VenueError."""
        return await self._read("DELETE", RequestConfiguration(url, headers, data=data))

    async def patch(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: dict[str, Any] | None = None,
    ) -> Any:
        """Call with PATCH and a JSON body; raises VenueError."""
        return await self._read("PATCH", RequestConfiguration(url, headers, data=data))


def encode(data: Mapping[str, Any]) -> bytes:
    """Encode a request body; the signature covers its members, not its bytes."""
    return json.dumps(data, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """A new order on its way: what is sent and the venue time it was signed at, ms."""

    body: bytes
    headers: tuple[tuple[str, str], ...]
    timestamp: int


class BackpackAccount(Account):
    """The SDK's account with venue time in its signatures and integer client ids.

    Raises:
        ValueError: the public key is not the one of the secret seed.
    """

    def __init__(self, config: BackpackConfig, http: BackpackHttp, time: VenueTime) -> None:
        super().__init__(
            config.public_key,
            config.secret_key,
            window=WINDOW_MS,
            http_client=http,  # type: ignore[arg-type] # the SDK names its subclass, not its seam
        )
        derived = self.private_key.public_key().public_bytes_raw()
        if base64.b64encode(derived).decode() != config.public_key:
            raise ValueError("backpack public key does not belong to the secret key")
        self.BPX_API_URL = config.api
        self._time = time
        self._pinned: int | None = None

    def __repr__(self) -> str:
        return "BackpackAccount()"

    def _headers(
        self, params: dict[str, Any], instruction: str, window: int | None
    ) -> dict[str, str]:
        """Sign like the SDK, but with the venue's time instead of the local clock (P14)."""
        timestamp = self._time.now_ms() if self._pinned is None else self._pinned
        valid = self.window if window is None else window
        return {
            "X-API-Key": self.public_key,
            "X-Signature": self._sign(params, instruction, timestamp, valid),
            "X-Timestamp": str(timestamp),
            "X-Window": str(valid),
            "Content-Type": "application/json; charset=utf-8",
        }

    @property
    def order_url(self) -> str:
        """Where new orders go."""
        return f"{self.BPX_API_URL}api/v1/order"

    def new_order(self, request: OrderRequest) -> SignedOrder:
        """Encode and sign a limit order, valid until ``request.expires_at`` and no longer.

        Raises:
            ValueError: the client id is outside 1..2**32-1, the order has expired, or it is to be
                post-only and immediate at once.
        """
        client_id = wire_client_id(request.client_id)
        if request.post_only and request.tif is not Tif.GTC:
            raise ValueError(f"a post-only order cannot be {request.tif.value}")
        timestamp, window = self._time.validity(request.expires_at)
        self._pinned = timestamp
        try:
            config = BaseAccount.execute_order(
                self,
                symbol=request.symbol,
                side=side_word(request.side),
                order_type="Limit",
                time_in_force=_TIF[request.tif],  # type: ignore[arg-type] # a Literal of the SDK
                quantity=plain(request.qty),
                price=plain(request.px),
                client_id=client_id,
                post_only=request.post_only,
                reduce_only=request.reduce_only,
                window=window,
            )
        finally:
            self._pinned = None
        headers = tuple((config.headers or {}).items())
        return SignedOrder(encode(config.data or {}), headers, timestamp)

    def cancel_one(self, ref: OrderRef) -> RequestConfiguration:
        """Sign a cancel by venue order id, or by integer client id while that is unknown (P7)."""
        if ref.venue_order_id:
            return BaseAccount.cancel_order(self, ref.symbol, order_id=ref.venue_order_id)
        params = {"symbol": ref.symbol, "clientId": wire_client_id(ref.client_id)}
        headers = self._headers(params, "orderCancel", None)
        return RequestConfiguration(url=self.order_url, headers=headers, data=params)

    def cancel_every(self, symbol: str) -> RequestConfiguration:
        """Sign a cancel of every order of the symbol."""
        return BaseAccount.cancel_all_orders(self, symbol)

    async def resting_order(self, ref: OrderRef) -> Any:
        """Read one resting order; raises ResourceNotFound when it is not resting."""
        if ref.venue_order_id:
            return await self.get_open_order(ref.symbol, order_id=ref.venue_order_id)
        return await self.get_open_order(ref.symbol, client_id=wire_client_id(ref.client_id))

    def subscription(self, streams: list[str]) -> str:
        """Return a signed SUBSCRIBE frame for private streams (venues.md B5)."""
        timestamp = self._time.now_ms()
        signature = self._sign({}, "subscribe", timestamp, WINDOW_MS)
        return json.dumps(
            {
                "method": "SUBSCRIBE",
                "params": streams,
                "signature": [self.public_key, signature, str(timestamp), str(WINDOW_MS)],
            }
        )


class BackpackPublic(Public):
    """The SDK's public endpoints, with the depth limit it lacks (P8)."""

    def __init__(self, config: BackpackConfig, http: BackpackHttp) -> None:
        super().__init__(
            http_client=http  # type: ignore[arg-type] # the SDK names its subclass, not its seam
        )
        self.BASE_URL = config.api
        self._http = http

    async def depth(self, symbol: str, limit: int) -> Any:
        """Read the book; ``limit`` must be one the venue allows."""
        return await self._http.get(f"{self.get_depth_url(symbol)}&limit={limit}")


def wire_client_id(client_id: int) -> int:
    """Return our order number as the venue's uint32.

    Raises:
        ValueError: below 1 (the SDK drops 0, P6) or beyond uint32.
    """
    if not 1 <= client_id <= CLIENT_ID_MAX:
        raise ValueError(f"client id {client_id} is outside 1..{CLIENT_ID_MAX}")
    return client_id

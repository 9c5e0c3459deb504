"""The typed facade over grvt-pysdk: its request encoding and endpoints, our transport.

The SDK's one choke point ``_post`` is overridden: status first, lenient parse, typed errors, one
re-login on an expired session, explicit deadlines and rate lanes (venues.md A10, A11). The SDK's
own sockets, sessions and retries are never made.
"""

from typing import Any

import orjson
from pysdk.grvt_raw_async import GrvtRawAsync
from pysdk.grvt_raw_base import GrvtRawBase

from exchanges.errors import VenueUnreachable
from exchanges.fields import Json, integer, required
from exchanges.grvt import outcomes
from exchanges.grvt.session import GrvtSession
from exchanges.grvt.signer import GrvtConfig
from exchanges.port import WallClock
from exchanges.transport.limiter import Limiter, Rate
from exchanges.transport.rest import NoAnswer, NotSent, Reply, RestClient
from strategy.domain import Ns, Purpose

READ_TIMEOUT = 5.0
WRITE_TIMEOUT = 1.5
"""Seconds until an answer is given up; a write is then in doubt, and a copy of it settles that.
Short, because a hedge waits for it with the leg naked."""
TIME_TIMEOUT = 3.0
MS = 1_000_000
_JSON = {"Content-Type": "application/json"}

ORDERS, LOOKUPS, ACCOUNT = "orders", "lookups", "account"
SUMMARY, MARKET = "summary", "market"
RATES = {
    ORDERS: Rate(per_second=20, burst=20, reserve=10),
    LOOKUPS: Rate(per_second=5, burst=10),
    ACCOUNT: Rate(per_second=5, burst=10),
    SUMMARY: Rate(per_second=2, burst=4),
    MARKET: Rate(per_second=8, burst=16),
}
"""Lanes by the venue's own limits (venues.md A4.4); half of the orders are kept for hedges."""


class GrvtSdk(GrvtRawAsync):
    """grvt-pysdk with our transport under it.

    Args:
        config: keys and address overrides.
        rest: the transport; opened and closed by whoever made it.
        clock: time of sessions and rates.
        session: authenticates requests.
    """

    def __init__(
        self, config: GrvtConfig, rest: RestClient, clock: WallClock, session: GrvtSession
    ) -> None:
        # Not the async base: it would open a session of its own that nobody closes (G3).
        GrvtRawBase.__init__(self, config.sdk_config())
        market, trades = config.market_data_url, config.trades_url
        self.md_rpc = (market or self.env.market_data.rpc_endpoint).rstrip("/")
        self.td_rpc = (trades or self.env.trade_data.rpc_endpoint).rstrip("/")
        self.sub_account_id = config.sub_account_id
        self._rest = rest
        self.session = session
        self._limiter = Limiter(clock, RATES)

    def __repr__(self) -> str:
        return "GrvtSdk()"

    # --- reads -----------------------------------------------------------------------------

    async def server_time(self) -> Ns:
        """Return the market-data host's Unix time, ms on the wire (venues.md A1)."""
        await self._limiter.acquire(MARKET)
        try:
            reply = await self._rest.request("GET", f"{self.md_rpc}/time", timeout=TIME_TIMEOUT)
        except (NotSent, NoAnswer) as silent:
            raise VenueUnreachable(f"GRVT time: {silent}") from silent
        return Ns(integer(outcomes.envelope(reply, "time"), "server_time", "GRVT time") * MS)

    async def read_market(self, method: str, **request: Any) -> Any:
        """Read market data; returns ``result``. Raises VenueError."""
        await self._limiter.acquire(MARKET)
        body = await self._post(False, f"{self.md_rpc}/full/v1/{method}", request)
        return outcomes.result_of(body, method)

    async def read_account(self, method: str, lane: str = ACCOUNT, **request: Any) -> Any:
        """Read something of the sub-account; returns ``result``. Raises VenueError."""
        return outcomes.result_of(await self.read_page(method, lane, **request), method)

    async def leverages(self) -> Any:
        """Read the leverage of every instrument: a list under ``results`` (venues.md A4.2)."""
        method = "get_all_initial_leverage"
        return required(await self.read_page(method, ACCOUNT), "results", f"GRVT {method}")

    async def read_page(self, method: str, lane: str = ACCOUNT, **request: Any) -> Json:
        """Read one page of a history: the whole body with ``result`` and ``next``."""
        await self._limiter.acquire(lane)
        full = {"sub_account_id": self.sub_account_id, **request}
        body: Json = await self._post(True, f"{self.td_rpc}/full/v1/{method}", full)
        return body

    async def _post(self, is_auth: bool, path: str, req: Any) -> Any:
        """Send one request of the SDK through our transport.

        Returns:
            The body of a 200 without an error object.

        Raises:
            VenueError: everything else; an expired session is renewed and the request sent again.
        """
        body = orjson.dumps(req)
        try:
            if is_auth:
                reply = await self._authenticated(path, body, write=False)
            else:
                reply = await self._rest.request(
                    "POST", path, headers=_JSON, body=body, timeout=READ_TIMEOUT
                )
        except (NotSent, NoAnswer) as silent:
            raise VenueUnreachable(f"GRVT {_method(path)}: {silent}") from silent
        return outcomes.envelope(reply, _method(path))

    # --- writes ----------------------------------------------------------------------------

    def may_send(self, purpose: Purpose) -> bool:
        """Take a token of the order lane; orders that reduce risk may use its reserve."""
        return self._limiter.try_acquire(ORDERS, urgent=not purpose.opens)

    def order_room(self) -> int:
        """Return how many hedges the order lane lets out now."""
        return self._limiter.room(ORDERS)

    async def create(self, body: bytes) -> Reply:
        """Send a signed order; raises NotSent, NoAnswer, or VenueError when the login failed."""
        return await self._authenticated(f"{self.td_rpc}/full/v1/create_order", body, write=True)

    async def ask(self, method: str, **request: Any) -> Reply:
        """Ask for a cancel, once; raises NotSent, NoAnswer, or VenueError when the login failed."""
        body = orjson.dumps({"sub_account_id": self.sub_account_id, **request})
        return await self._authenticated(f"{self.td_rpc}/full/v1/{method}", body, write=True)

    async def _authenticated(self, url: str, body: bytes, *, write: bool) -> Reply:
        """Send with the session; refused as unauthenticated, log in and send the same bytes again.

        A request refused with code 1000 was not acted on, so the second sending is no retry of
        something in doubt. A write with a 401 of somebody else (a proxy) is not sent again.

        Raises:
            NotSent: no connection. NoAnswer: it may have arrived. VenueError: the login failed.
        """
        if not self.session.usable or not write:
            await self.session.ensure()
        sent, reply = await self._once(url, body, write=write)
        if not outcomes.expired(reply):
            return reply
        self.session.expire(sent)
        if write and outcomes.error_body(reply) is None:
            return reply
        await self.session.ensure()
        sent, reply = await self._once(url, body, write=write)
        if outcomes.expired(reply):
            self.session.expire(sent)
        return reply

    async def _once(self, url: str, body: bytes, *, write: bool) -> tuple[dict[str, str], Reply]:
        sent = self.session.headers()
        seconds = WRITE_TIMEOUT if write else READ_TIMEOUT
        reply = await self._rest.request(
            "POST", url, headers=_JSON | sent, body=body, timeout=seconds
        )
        return sent, reply


def _method(path: str) -> str:
    return path.rpartition("/")[2]

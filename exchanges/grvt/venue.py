"""GRVT as a ``VenuePort``: LIMIT orders only, three-way outcomes (venues.md part A).

The reply to a create is an acknowledgement with a placeholder id; the outcome arrives on the
streams or by ``/order`` with our client id, by which everything is keyed.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace

from exchanges.errors import UnknownTicker, VenueError, VenueMalformed
from exchanges.fields import as_list
from exchanges.grvt import account, codec, history, outcomes
from exchanges.grvt.sdk import LOOKUPS, SUMMARY, GrvtSdk
from exchanges.grvt.session import GrvtSession
from exchanges.grvt.signer import GrvtConfig, OrderSigner
from exchanges.grvt.streams import AccountFeed, MarketFeed
from exchanges.port import (
    Accepted,
    CancelOutcome,
    Found,
    InDoubt,
    Lookup,
    NotFound,
    Outcome,
    Payload,
    Refused,
    Sink,
    WallClock,
)
from exchanges.transport.rest import NoAnswer, NotSent, RestClient
from exchanges.transport.ws import run_socket
from strategy.domain import (
    Balance,
    Book,
    Fees,
    Fill,
    Funding,
    FundingPayment,
    Instrument,
    Ns,
    OrderRef,
    OrderRequest,
    OrderView,
    Position,
    SignedQty,
    Venue,
)
from strategy.facts import Account, Mark, Readiness

__all__ = ["GrvtConfig", "GrvtVenue"]

DEPTHS = (10, 50, 100, 500)
"""What ``/book`` takes (venues.md A4.1)."""
TOMBSTONE_MS = "5000"
"""How long a cancel waits for its order, ms: the venue's longest (venues.md A5.7)."""
MS = 1_000_000


def _ignore(secret: str) -> None:
    del secret


class GrvtVenue:
    """One GRVT sub-account and one perpetual.

    Args:
        config: keys and address overrides.
        clock: time for expiries and sessions.
        jitter: numbers in [0, 1) for reconnect waits.
        nonce: the uint32 that makes the next order's payload unique.
        learned: told every session cookie, so that logs can hide it.

    Raises:
        ValueError: the private key is not usable.
    """

    def __init__(
        self,
        config: GrvtConfig,
        clock: WallClock,
        jitter: Callable[[], float],
        nonce: Callable[[], int],
        learned: Callable[[str], None] = _ignore,
    ) -> None:
        self._config = config
        self._clock = clock
        self._jitter = jitter
        self._nonce = nonce
        self._rest = RestClient()
        self._signer = OrderSigner(config)
        edge = config.edge_url or config.sdk_endpoints().edge.rpc_endpoint
        session = GrvtSession(self._rest, edge.rstrip("/"), config.api_key, clock, learned)
        self._session = session
        self._sdk = GrvtSdk(config, self._rest, clock, session)
        self._time = account.VenueTime(clock)
        self._row: codec.InstrumentRow | None = None
        self._tombstones = True
        """False once the venue has refused a cancel in advance."""

    def __repr__(self) -> str:
        return f"GrvtVenue({self._config.sub_account_id})"

    @property
    def venue(self) -> Venue:
        """GRVT."""
        return Venue.GRVT

    async def open(self) -> None:
        """Open the session and log in; raises VenueUnreachable or VenueForbidden."""
        await self._rest.open()
        await self._session.ensure()

    async def close(self) -> None:
        """Release the session; safe to call twice."""
        await self._rest.close()

    async def load(self, base: str) -> Instrument:
        """Find the perpetual in the venue's own list; raises UnknownTicker or VenueMalformed.

        Read as raw JSON: the SDK's types drop the minimum notional and fail on kinds that they do
        not know (venues.md A10, G12, G17).
        """
        rows = await self._sdk.read_market("all_instruments", is_active=True)
        self._row = codec.find_instrument(rows, base)
        return self._row.instrument

    async def server_time(self) -> Ns:
        """Return the market-data host's Unix time, and learn it for the expiries of orders."""
        sent = self._clock.mono()
        now = await self._sdk.server_time()
        self._time.measured(now, sent, self._clock.mono())
        return now

    # --- orders ----------------------------------------------------------------------------

    def prepare(self, request: OrderRequest) -> Payload:
        """Encode and sign; nothing is rounded or truncated here, and it expires in venue time.

        Raises:
            ValueError: another instrument, off tick or step, no expiry, a client id or nonce out of
                range, or post-only with an immediate TIF.
        """
        nonce = self._nonce()
        signed = replace(request, expires_at=self._time.expiry(request.expires_at))
        body = self._signer.body(signed, self._rules, nonce)
        return Payload(request, body, (), nonce, hashlib.sha256(body).hexdigest())

    async def submit(self, payload: Payload) -> Outcome:
        """Send once; refused as unauthenticated, log in and send the same bytes once more (F07).

        ``Accepted`` carries what the reply states: PENDING, without the venue's id (A5.1).
        """
        if not self._sdk.may_send(payload.request.purpose):
            return Refused("local_rate", "our own order rate is used up; nothing was sent")
        try:
            reply = await self._sdk.create(payload.body)
        except NotSent as unsent:
            return Refused("not_sent", str(unsent))
        except NoAnswer as silent:
            return InDoubt(str(silent))
        except VenueError as bad:  # of the login: the venue did not take the order
            return Refused(outcomes.RELOGIN, f"no session: {bad}")
        return outcomes.created(reply, payload.request)

    async def resend(self, payload: Payload) -> Accepted | InDoubt:
        """Send the very same bytes once more: the venue ignores a repeated payload (A5.6)."""
        if not self._sdk.may_send(payload.request.purpose):
            return InDoubt("our own order rate is used up; the copy was not sent")
        try:
            reply = await self._sdk.create(payload.body)
        except (NotSent, NoAnswer, VenueError) as silent:
            return InDoubt(f"the copy: {silent}")
        return outcomes.resent(reply, payload.request)

    async def bury(self, ref: OrderRef) -> CancelOutcome:
        """Cancel now, or on arrival within 5 s; a plain cancel where the venue refuses that."""
        if not self._tombstones:
            return await self.cancel(ref)
        number = codec.client_text(ref.client_id)
        try:
            reply = await self._sdk.ask(
                "cancel_order", client_order_id=number, time_to_live_ms=TOMBSTONE_MS
            )
        except (NotSent, NoAnswer, VenueError) as silent:
            return InDoubt(str(silent))
        outcome = outcomes.buried(reply)
        if outcome is not None:
            return outcome
        self._tombstones = False
        return await self.cancel(ref)

    async def dead_man(self, countdown: Ns) -> CancelOutcome:
        """Arm, refresh or (0) disarm cancel-on-disconnect for the whole sub-account (A5.7)."""
        return await self._ask_cancel("cancel_on_disconnect", countdown_time=str(countdown // MS))

    async def tradable(self) -> bool:
        """Return whether the venue lists the instrument as active now; nothing is reloaded."""
        rows = await self._sdk.read_market("all_instruments", is_active=True)
        try:
            return codec.find_instrument(rows, self._rules.base).instrument.tradable
        except UnknownTicker:
            return False

    async def cancel(self, ref: OrderRef) -> CancelOutcome:
        """Ask once, by our client id: it is known from the first byte on."""
        return await self._ask_cancel(
            "cancel_order", client_order_id=codec.client_text(ref.client_id)
        )

    async def cancel_all(self) -> CancelOutcome:
        """Ask once to cancel every perpetual order of the base on this sub-account."""
        return await self._ask_cancel("cancel_all_orders", **history.filters(self._rules))

    async def _ask_cancel(self, method: str, **request: object) -> CancelOutcome:
        try:
            reply = await self._sdk.ask(method, **request)
        except (NotSent, NoAnswer, VenueError) as silent:
            return InDoubt(str(silent))
        return outcomes.cancelled(reply)

    async def lookup(self, ref: OrderRef, since: Ns) -> Lookup:
        """Ask by client id: GRVT still knows finished orders (venues.md 0.1).

        A new order may be unknown for a moment (A5.1): absence proves nothing before its expiry.
        """
        del since  # the one surface needs no time range
        number = codec.client_text(ref.client_id)
        try:
            view = codec.order(
                await self._sdk.read_account("order", LOOKUPS, client_order_id=number)
            )
        except VenueError as bad:
            return NotFound("order") if outcomes.is_missing(bad) else InDoubt(str(bad))
        if view.client_id != ref.client_id or view.symbol != ref.symbol:
            return InDoubt("the answer is about another order")
        return Found(view)

    # --- reads -----------------------------------------------------------------------------

    async def open_orders(self) -> tuple[OrderView, ...]:
        """Return the resting orders of the instrument."""
        rules = self._rules
        rows = await self._sdk.read_account("open_orders", **history.filters(rules))
        views = [codec.order(row) for row in as_list(rows, "GRVT open_orders")]
        return tuple(view for view in views if view.symbol == rules.symbol)

    async def position(self) -> Position:
        """Return the net position: flat is a well-formed list without the instrument (A4.2)."""
        rules = self._rules
        rows = await self._sdk.read_account("positions", **history.filters(rules))
        held = [codec.position(row) for row in as_list(rows, "GRVT positions")]
        ours = [position for position in held if position.symbol == rules.symbol]
        if len(ours) > 1:
            raise VenueMalformed(f"GRVT positions: {len(ours)} rows of {rules.symbol}")
        return ours[0] if ours else Position(Venue.GRVT, rules.symbol, SignedQty(0), Ns(0))

    async def fills(self, since: Ns) -> tuple[Fill, ...]:
        """Return our fills from Unix time ``since``, oldest first, forced ones included."""
        return await history.fills(self._sdk, self._rules, since)

    async def book(self, depth: int) -> Book:
        """Return the book; ``depth`` is rounded up to 10, 50, 100 or 500 (the most there is)."""
        allowed = next((d for d in DEPTHS if d >= depth), DEPTHS[-1])
        symbol = self._rules.symbol
        return codec.book(await self._sdk.read_market("book", instrument=symbol, depth=allowed))

    async def balance(self) -> Balance:
        """Return equity and free margin, in the settle currency."""
        return codec.balance(await self._sdk.read_account("account_summary", SUMMARY))

    async def account(self) -> Account:
        """Return margin and leverage; two reads, of which the second changes only by hand."""
        summary = await self._sdk.read_account("account_summary", SUMMARY)
        return account.account(summary, await self._sdk.leverages(), self._rules.symbol)

    async def mark(self) -> Mark:
        """Return the mark price of the mini ticker."""
        return account.mark(await self._sdk.read_market("mini", instrument=self._rules.symbol))

    def readiness(self) -> Readiness:
        """Say whether the session serves and how many hedges the order lane lets out."""
        return Readiness(Venue.GRVT, self._session.usable, self._sdk.order_room())

    async def fees(self) -> Fees:
        """Return the rates of our newest fills; the venue has no fee endpoint.

        A role in which we have not traded lately has its documented rate: taker 4.5 bps, maker
        -0.01 bps (venues.md A7).
        """
        return await history.fees(self._sdk, self._rules)

    async def funding(self) -> Funding:
        """Return the current rate, a fraction per interval."""
        row = await self._sdk.read_market("ticker", instrument=self._rules.symbol)
        return codec.funding(row, self._loaded.funding_hours)

    async def funding_payments(self, since: Ns) -> tuple[FundingPayment, ...]:
        """Return settled payments from ``since``, oldest first, positive when received."""
        return await history.funding_payments(self._sdk, self._rules, since)

    async def stream(self, sink: Sink) -> None:
        """Run the market and the trading socket until cancelled."""
        account, symbol = self._config.sub_account_id, self._rules.symbol
        market, trades = self.socket_addresses()
        feeds = (
            MarketFeed(market, symbol, self._clock, sink),
            AccountFeed(trades, account, symbol, self._session, sink),
        )
        async with asyncio.TaskGroup() as sockets:
            for feed in feeds:
                sockets.create_task(run_socket(feed, self._clock, self._jitter))

    def socket_addresses(self) -> tuple[str, str]:
        """Return scheme and host of the market and the trading socket; the path is ours."""
        config, env = self._config, self._config.sdk_endpoints()
        market = config.ws_market_data_url or str(env.market_data.ws_endpoint)
        trades = config.ws_trades_url or str(env.trade_data.ws_endpoint)
        # The SDK's addresses end in the path of the old protocol (venues.md A6.1).
        return market.rstrip("/").removesuffix("/ws"), trades.rstrip("/").removesuffix("/ws")

    @property
    def _loaded(self) -> codec.InstrumentRow:
        if self._row is None:
            raise ValueError("no instrument is loaded: call load first")
        return self._row

    @property
    def _rules(self) -> Instrument:
        return self._loaded.instrument

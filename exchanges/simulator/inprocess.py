"""The simulator's face without a wire: a venue port straight over a matching engine.

Imports ``strategy.domain``, ``exchanges.port``, ``exchanges.errors`` and simulator modules only.
The outcomes are as honest as those of the wire: GRVT acknowledges with PENDING and tells the rest
by stream, Backpack answers with the engine's result, and a fault leaves the order in doubt.

Whoever drives the universe drives the time: every wait here is for the injected clock or an event
of the engine, so that in virtual time a seed repeats a run exactly.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

from exchanges.errors import UnknownTicker, VenueUnreachable
from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelOutcome,
    CancelUnknown,
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
from exchanges.simulator.api import Engine
from exchanges.simulator.faults import FaultBoard
from exchanges.simulator.inprocess_views import Numbers, fill_of, order_of
from exchanges.simulator.model import (
    BookChanged,
    Deny,
    EngineEvent,
    FundingSettled,
    NewOrder,
    OrderChanged,
    Phase,
    PositionChanged,
    PublicTrade,
    Refusal,
    SimFill,
    SimOrder,
)
from exchanges.simulator.universe import Universe
from strategy.domain import (
    NANO,
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
    Quote,
    SignedQty,
    StreamState,
    Surface,
    Trade,
    Venue,
    VenueEvent,
)

_HOUR = 3600 * NANO
_MS = 1_000_000
_DEPTH = 50
"""Levels a side in streamed books."""
_HOLD_MS = 3000
"""How late a create of F03 arrives when the fault does not say."""
_MAX_FUNDINGS = 10_000
_DOWN = {Venue.GRVT: ("F52", "F54"), Venue.BACKPACK: ("F52", "F55")}


@dataclass(frozen=True, slots=True)
class Latency:
    """One-way delays between us and the gateway, ns."""

    request: Ns = Ns(2 * _MS)
    answer: Ns = Ns(2 * _MS)


class InProcessVenue:
    """One venue of a universe as an ``exchanges.port.VenuePort``.

    Args:
        universe: the venues; somebody else drives it.
        venue: which of the two.
        clock: sleeps; its ``wall`` should agree with the universe's driver.
        latency: to and from the gateway.
    """

    def __init__(
        self, universe: Universe, venue: Venue, clock: WallClock, latency: Latency | None = None
    ) -> None:
        self._universe = universe
        self._venue = venue
        self._engine: Engine = universe.engines[venue]
        self._driver = universe.driver
        self._faults: FaultBoard = universe.faults
        self._account = universe.account(venue)
        self._symbol = universe.symbols[venue]
        self._clock = clock
        self._latency = Latency() if latency is None else latency
        self._numbers = Numbers(venue)
        self._sinks: list[Sink] = []
        self._changed: dict[str, asyncio.Event] = {}
        self._fundings: deque[FundingSettled] = deque(maxlen=_MAX_FUNDINGS)
        self._engine.subscribe(self._on_event)

    @property
    def venue(self) -> Venue:
        """Which leg this is."""
        return self._venue

    async def open(self) -> None:
        """Log in; raises VenueUnreachable while the venue is down (F52, F54, F55)."""
        await self._arrive()

    async def close(self) -> None:
        """Release nothing: there is no socket."""

    async def load(self, base: str) -> Instrument:
        """Look the perpetual up by base symbol; raises UnknownTicker."""
        await self._arrive()
        for market in self._engine.markets.values():
            if market.instrument.base == base:
                return market.instrument
        raise UnknownTicker(f"{self._venue} lists no perpetual on {base!r}")

    async def server_time(self) -> Ns:
        """Return the venue's Unix time."""
        await self._arrive()
        return self._driver.now()

    # --- writes ------------------------------------------------------------------------------

    def prepare(self, request: OrderRequest) -> Payload:
        """Encode; there is nothing to sign.

        Raises:
            ValueError: the client id is outside the venue's range.
        """
        self._numbers.text(request.client_id)
        body = repr(request).encode()
        return Payload(request, body, (), request.client_id, sha256(body).hexdigest())

    async def submit(self, payload: Payload) -> Outcome:
        """Send once; the outcome is as uncertain as the injected faults make it."""
        request = payload.request
        try:
            await self._arrive()
        except VenueUnreachable as down:
            return InDoubt(str(down))
        spoiled = self._spoiled(request)
        if spoiled is not None:
            return spoiled
        lost = self._faults.take(self._venue, "F01")
        outcome = await self._placed(request)
        await self._sleep(self._latency.answer)
        return outcome if lost is None else InDoubt("connection reset")

    async def cancel(self, ref: OrderRef) -> CancelOutcome:
        """Ask for a cancel; Backpack waits for the end of the order, GRVT does not."""
        try:
            await self._arrive()
        except VenueUnreachable as down:
            return InDoubt(str(down))
        if self._faults.take(self._venue, "F59") is not None:
            return InDoubt("429 too many requests")
        order = self._find(ref)
        if order is None or not order.live:
            return CancelUnknown("unknown order" if order is None else order.phase.value)
        self._engine.cancel(self._driver.now(), order)
        view: OrderView | None = None
        if self._venue is Venue.BACKPACK:
            await self._until(order, lambda: not order.live)
            view = self._view(order)
        await self._sleep(self._latency.answer)
        return CancelAccepted(view)

    async def cancel_all(self) -> CancelOutcome:
        """Ask to cancel every order of the instrument."""
        try:
            await self._arrive()
        except VenueUnreachable as down:
            return InDoubt(str(down))
        self._engine.cancel_all(self._driver.now(), self._account.account_id, self._symbol)
        await self._sleep(self._latency.answer)
        return CancelAccepted(None)

    def _spoiled(self, request: OrderRequest) -> Outcome | None:
        """Apply the faults that keep a create from the engine."""
        venue, take = self._venue, self._faults.take
        if take(venue, "F02") is not None:
            return InDoubt("timeout: never arrived")
        late = take(venue, "F03")
        if late is not None:
            due = Ns(self._driver.now() + int(late.get("delay_ms", _HOLD_MS)) * _MS)
            self._universe.call_at(due, lambda: self._late(request))
            return InDoubt("timeout: still under way")
        if take(venue, "F05") is not None:
            return InDoubt("http 502 without a venue code")
        if request.post_only and take(venue, "F11") is not None:
            return self._refused(Deny.POST_ONLY_CROSS, "would cross")
        if take(venue, "F12") is not None:
            return self._refused(Deny.INSUFFICIENT_MARGIN, "insufficient margin")
        return None

    async def _placed(self, request: OrderRequest) -> Outcome:
        try:
            order = self._place(request)
        except Refusal as no:
            return self._refused(no.deny, no.detail)
        if self._venue is Venue.GRVT:
            return Accepted(self._numbers.acknowledged(request))
        await self._until(order, lambda: order.phase is not Phase.PENDING)
        if order.phase is Phase.REJECTED:
            return self._refused(order.deny or Deny.UNSUPPORTED, "")
        return Accepted(self._view(order))

    def _place(self, request: OrderRequest) -> SimOrder:
        """Hand an order to the engine; raises Refusal, also once its signature has expired."""
        now = self._driver.now()
        if now > request.expires_at:
            raise Refusal(Deny.EXPIRED_SIGNATURE)
        new = NewOrder(
            account=self._account.account_id,
            symbol=request.symbol,
            side=request.side,
            qty=request.qty,
            px=request.px,
            tif=request.tif,
            post_only=request.post_only,
            reduce_only=request.reduce_only,
            client_id=self._numbers.text(request.client_id),
            expires_at=request.expires_at if self._venue is Venue.GRVT else None,
        )
        return self._engine.place(now, new)

    def _refused(self, deny: Deny, message: str) -> Refused:
        return Refused(deny.value, message, post_only_cross=deny is Deny.POST_ONLY_CROSS)

    def _late(self, request: OrderRequest) -> None:
        """Place a create that F03 held back; nobody is there to hear a refusal."""
        with suppress(Refusal):
            self._place(request)

    # --- reads -------------------------------------------------------------------------------

    async def lookup(self, ref: OrderRef, since: Ns) -> Lookup:
        """Ask for the order, which GRVT may not know yet for a moment (venues.md A5.1)."""
        del since
        try:
            await self._arrive()
        except VenueUnreachable as down:
            return InDoubt(str(down))
        order = self._find(ref)
        hidden = order is not None and (
            self._driver.now() < order.received_at + self._engine.rules.visibility
        )
        await self._sleep(self._latency.answer)
        return NotFound("all") if order is None or hidden else Found(self._view(order))

    async def open_orders(self) -> tuple[OrderView, ...]:
        """Return the resting orders of the instrument."""
        await self._arrive()
        resting = self._engine.open_orders(self._account.account_id, self._symbol)
        return tuple(self._view(order) for order in resting)

    async def position(self) -> Position:
        """Return the net position; raises VenueUnreachable under F74."""
        await self._arrive()
        if self._faults.take(self._venue, "F74") is not None:
            raise VenueUnreachable(f"{self._venue}: 500 on positions")
        held = self._account.positions.get(self._symbol)
        qty = SignedQty(0) if held is None else held.qty
        return Position(self._venue, self._symbol, qty, self._driver.now())

    async def fills(self, since: Ns) -> tuple[Fill, ...]:
        """Return our fills from Unix time ``since``, oldest first."""
        await self._arrive()
        return tuple(
            fill_of(self._engine, self._numbers, fill)
            for fill in self._engine.fills
            if fill.account == self._account.account_id and fill.at >= since
        )

    async def book(self, depth: int) -> Book:
        """Return the displayed book."""
        await self._arrive()
        return self._book(depth, self._driver.now())

    async def balance(self) -> Balance:
        """Return account equity and free margin."""
        await self._arrive()
        name, rules = self._account.account_id, self._engine.rules
        equity = self._engine.equity(name)
        free = Quote(equity - self._engine.margin_used(name))
        return Balance(self._venue, equity, free, rules.settle_asset)

    async def fees(self) -> Fees:
        """Return the account's rates."""
        await self._arrive()
        return Fees(self._venue, self._engine.rules.maker_fee, self._engine.rules.taker_fee)

    async def funding(self) -> Funding:
        """Return the current funding rate."""
        await self._arrive()
        rules = self._engine.rules
        next_at = Ns((self._driver.now() // rules.funding_interval + 1) * rules.funding_interval)
        return Funding(self._venue, rules.funding_rate, rules.funding_interval // _HOUR, next_at)

    async def funding_payments(self, since: Ns) -> tuple[FundingPayment, ...]:
        """Return settled payments from Unix time ``since``, oldest first."""
        await self._arrive()
        return tuple(
            FundingPayment(self._venue, str(paid.at), paid.amount, paid.at)
            for paid in self._fundings
            if paid.at >= since
        )

    # --- streams -----------------------------------------------------------------------------

    async def stream(self, sink: Sink) -> None:
        """Tell ``sink`` everything, in the engine's order, until cancelled."""
        sink(StreamState(self._venue, Surface.PRIVATE, up=True))
        sink(self._book(_DEPTH, self._driver.now()))
        sink(StreamState(self._venue, Surface.PUBLIC, up=True))
        self._sinks.append(sink)
        try:
            await asyncio.Event().wait()
        finally:
            self._sinks.remove(sink)

    def _on_event(self, event: EngineEvent) -> None:
        if isinstance(event, OrderChanged):
            changed = self._changed.get(event.order.order_id)
            if changed is not None:
                changed.set()
        if isinstance(event, FundingSettled):
            if event.account == self._account.account_id:
                self._fundings.append(event)
        elif self._sinks:
            for message in self._messages(event):
                for sink in tuple(self._sinks):
                    sink(message)

    def _messages(self, event: EngineEvent) -> list[VenueEvent]:
        """Return what a client is told of an engine event: the order, then its fill."""
        name = self._account.account_id
        if isinstance(event, OrderChanged) and event.order.request.account == name:
            return [self._view(event.order), *self._fill_messages(event.fill)]
        if isinstance(event, PositionChanged) and event.account == name:
            held = event.position
            return [Position(self._venue, held.symbol, held.qty, event.at)]
        if isinstance(event, BookChanged):
            return [self._book(_DEPTH, event.at)]
        if isinstance(event, PublicTrade):
            return [Trade(self._venue, event.px, event.qty, event.taker, event.at)]
        return []

    def _fill_messages(self, fill: SimFill | None) -> list[VenueEvent]:
        if fill is None or self._faults.take(self._venue, "F24") is not None:
            return []
        message = fill_of(self._engine, self._numbers, fill)
        twice = self._faults.take(self._venue, "F19") is not None
        return [message, message] if twice else [message]

    # --- helpers -----------------------------------------------------------------------------

    async def _arrive(self) -> None:
        """Let a request travel, and bring the engine to the present."""
        await self._sleep(self._latency.request)
        for name in _DOWN[self._venue]:
            if self._faults.take(self._venue, name) is not None:
                raise VenueUnreachable(f"{self._venue} is unreachable ({name})")
        self._engine.advance(self._driver.now())

    async def _sleep(self, delay: Ns) -> None:
        if delay:
            await self._clock.sleep(delay / NANO)

    async def _until(self, order: SimOrder, done: Callable[[], bool]) -> None:
        changed = self._changed.setdefault(order.order_id, asyncio.Event())
        while not done():
            changed.clear()
            await changed.wait()
        if not order.live:
            self._changed.pop(order.order_id, None)

    def _find(self, ref: OrderRef) -> SimOrder | None:
        return self._engine.find(self._account.account_id, self._numbers.text(ref.client_id))

    def _view(self, order: SimOrder) -> OrderView:
        return order_of(self._venue, self._numbers, order)

    def _book(self, depth: int, at: Ns) -> Book:
        bids, asks = self._engine.book(self._symbol, depth)
        return Book(self._venue, tuple(bids), tuple(asks), at)

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

from exchanges.errors import UnknownTicker, VenueError, VenueMalformed, VenueUnreachable
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
from exchanges.simulator.inprocess_faults import Injected
from exchanges.simulator.inprocess_switches import Waiting
from exchanges.simulator.inprocess_views import Numbers, fill_of, order_of
from exchanges.simulator.model import (
    BookChanged,
    Deny,
    EngineEvent,
    FundingSettled,
    MarketTrade,
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
    Qty,
    Quote,
    SignedQty,
    StreamState,
    Surface,
    Trade,
    Venue,
    VenueEvent,
)
from strategy.facts import Account, Mark, Readiness

_HOUR = 3600 * NANO
_MS = 1_000_000
_DEPTH = 50
"""Levels a side in streamed books."""
_HOLD_MS = 3000
"""How late a create of F03 arrives when the fault does not say."""
_MAX_FUNDINGS = 10_000


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
        self._injected = Injected(universe.faults, venue)
        self._account = universe.account(venue)
        self._symbol = universe.symbols[venue]
        self._step = self._engine.markets[self._symbol].instrument.step
        self._clock = clock
        self._latency = Latency() if latency is None else latency
        self._numbers = Numbers(venue)
        self._sinks: list[Sink] = []
        self._changed: dict[str, asyncio.Event] = {}
        self._fundings: deque[FundingSettled] = deque(maxlen=_MAX_FUNDINGS)
        self._waiting = Waiting(universe, venue)
        self._engine.subscribe(self._on_event)

    @property
    def venue(self) -> Venue:
        """Which leg this is."""
        return self._venue

    async def open(self) -> None:
        """Log in; raises VenueUnreachable while the venue is down (F52, F54, F55)."""
        await self._read()

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
        if self._held_back(request):
            return InDoubt("timeout: still under way")
        spoiled = self._injected.spoiled(request)
        if spoiled is not None:
            return spoiled
        late, lost = self._injected.late(), self._injected.lost()
        outcome = await self._placed(request)
        await self._sleep(Ns(self._latency.answer + late))
        return outcome if lost is None else lost

    async def resend(self, payload: Payload) -> Accepted | InDoubt:
        """Send the same order again: GRVT ignores the copy, Backpack would not (A5.6, C3)."""
        if self._venue is not Venue.GRVT:
            return InDoubt("nothing was sent: this venue knows no duplicates")
        outcome = await self.submit(payload)
        if isinstance(outcome, Refused):
            return InDoubt(f"the copy was refused: {outcome.code}")
        return outcome

    async def bury(self, ref: OrderRef) -> CancelOutcome:
        """Cancel an order now, or on arrival within 5 s (A5.7)."""
        outcome = await self.cancel(ref)
        if isinstance(outcome, CancelUnknown) and self._find(ref) is None:
            self._waiting.bury(self._numbers.text(ref.client_id))
            return CancelAccepted(None)
        return outcome

    async def dead_man(self, countdown: Ns) -> CancelOutcome:
        """Cancel everything ``countdown`` from now unless told again; 0 disarms (A5.7)."""
        try:
            await self._arrive()
        except VenueUnreachable as down:
            return InDoubt(str(down))
        self._waiting.arm(countdown)
        await self._sleep(self._latency.answer)
        return CancelAccepted(None)

    async def tradable(self) -> bool:
        """Return whether the market is open now; raises VenueUnreachable."""
        await self._read()
        return self._engine.markets[self._symbol].state == "Open"

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
        if self._faults.take(self._venue, "F22") is not None:
            self._hit(order)
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

    def _held_back(self, request: OrderRequest) -> bool:
        """Keep a create on its way for as long as F03 says."""
        late = self._faults.take(self._venue, "F03")
        if late is None:
            return False
        due = Ns(self._driver.now() + int(late.get("delay_ms", _HOLD_MS)) * _MS)
        self._universe.call_at(due, lambda: self._late(request))
        return True

    async def _placed(self, request: OrderRequest) -> Outcome:
        if self._repeated(request):
            return Accepted(self._numbers.acknowledged(request))
        try:
            order = self._place(request)
        except Refusal as no:
            return self._refused(no.deny, no.detail)
        if self._injected.ends_at_once():
            self._engine.cancel(self._driver.now(), order)
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
            qty=self._injected.size(request, self._step),
            px=request.px,
            tif=request.tif,
            post_only=request.post_only,
            reduce_only=request.reduce_only,
            client_id=self._numbers.text(request.client_id),
            expires_at=request.expires_at if self._venue is Venue.GRVT else None,
        )
        order = self._engine.place(now, new)
        if self._waiting.catches(new.client_id):
            self._engine.cancel(now, order)
        return order

    def _repeated(self, request: OrderRequest) -> bool:
        """True for a payload that GRVT has taken before: it ignores the copy (A5.6)."""
        number = self._numbers.text(request.client_id)
        known = self._engine.find(self._account.account_id, number)
        return self._venue is Venue.GRVT and known is not None

    def _refused(self, deny: Deny, message: str) -> Refused:
        return Refused(deny.value, message, post_only_cross=deny is Deny.POST_ONLY_CROSS)

    def _hit(self, order: SimOrder) -> None:
        """Trade half of a resting order while its cancel is under way (F22)."""
        px, side = order.request.px, order.request.side
        if order.phase is Phase.OPEN and px is not None:
            size = Qty(order.queue_ahead + max(self._step, order.remaining // 2))
            trade = MarketTrade(px, size, side.opposite)
            self._engine.feed(self._driver.now(), self._symbol, trade)

    def _late(self, request: OrderRequest) -> None:
        """Place a create that F03 held back; nobody is there to hear a refusal."""
        if not self._repeated(request):
            with suppress(Refusal):
                self._place(request)

    # --- reads -------------------------------------------------------------------------------

    async def lookup(self, ref: OrderRef, since: Ns) -> Lookup:
        """Ask for the order, which GRVT may not know yet for a moment (venues.md A5.1)."""
        del since
        try:
            await self._read()
        except VenueError as down:
            return InDoubt(str(down))
        order = self._find(ref)
        hidden = order is not None and (
            self._driver.now() < order.received_at + self._engine.rules.visibility
        )
        await self._sleep(self._latency.answer)
        if order is None or hidden:
            return NotFound("all")
        return Found(self._injected.view(self._view(order)))

    async def open_orders(self) -> tuple[OrderView, ...]:
        """Return the resting orders of the instrument."""
        await self._read()
        resting = self._engine.open_orders(self._account.account_id, self._symbol)
        return tuple(self._view(order) for order in resting)

    async def position(self) -> Position:
        """Return the net position; raises VenueUnreachable under F74."""
        await self._read()
        held = self._account.positions.get(self._symbol)
        qty = SignedQty(0) if held is None else held.qty
        told = Position(self._venue, self._symbol, qty, self._driver.now())
        return self._injected.position(told)

    async def fills(self, since: Ns) -> tuple[Fill, ...]:
        """Return our fills from Unix time ``since``, oldest first."""
        await self._read()
        return tuple(
            fill_of(self._engine, self._numbers, fill)
            for fill in self._engine.fills
            if fill.account == self._account.account_id and fill.at >= since
        )

    async def book(self, depth: int) -> Book:
        """Return the displayed book."""
        await self._read()
        return self._book(depth, self._driver.now())

    async def balance(self) -> Balance:
        """Return account equity and free margin."""
        await self._read()
        name, rules = self._account.account_id, self._engine.rules
        equity = self._engine.equity(name)
        free = Quote(equity - self._engine.margin_used(name))
        return Balance(self._venue, equity, free, rules.settle_asset)

    async def account(self) -> Account:
        """Return margin and leverage as the engine charges them."""
        await self._arrive()
        name, engine = self._account.account_id, self._engine
        return Account(
            venue=self._venue,
            equity=engine.equity(name),
            available=engine.available(name),
            maintenance=engine.maintenance_margin(name),
            leverage=engine.leverage(name, self._symbol) * NANO,
            margin_mode="CROSS",
            liquidation=engine.liquidation_price(name, self._symbol),
            liquidating=self._account.liquidating,
        )

    async def mark(self) -> Mark:
        """Return the mark price; raises VenueMalformed before there was one."""
        await self._arrive()
        px = self._engine.mark(self._symbol)
        if not px:
            raise VenueMalformed(f"{self._venue}: no mark of {self._symbol}")
        return Mark(self._venue, px)

    def readiness(self) -> Readiness:
        """Say that there is neither session nor rate lane here."""
        return Readiness(self._venue, session=True, orders=None)

    async def fees(self) -> Fees:
        """Return the account's rates."""
        await self._read()
        return Fees(self._venue, self._engine.rules.maker_fee, self._engine.rules.taker_fee)

    async def funding(self) -> Funding:
        """Return the current funding rate."""
        await self._read()
        rules = self._engine.rules
        next_at = Ns((self._driver.now() // rules.funding_interval + 1) * rules.funding_interval)
        return Funding(self._venue, rules.funding_rate, rules.funding_interval // _HOUR, next_at)

    async def funding_payments(self, since: Ns) -> tuple[FundingPayment, ...]:
        """Return settled payments from Unix time ``since``, oldest first."""
        await self._read()
        return tuple(
            FundingPayment(self._venue, str(paid.at), paid.amount, paid.at)
            for paid in self._fundings
            if paid.at >= since
        )

    # --- streams -----------------------------------------------------------------------------

    async def stream(self, sink: Sink) -> None:
        """Tell ``sink`` everything, in the engine's order, until cancelled."""
        sink(StreamState(self._venue, Surface.PRIVATE, up=True))
        sink(self.shown())
        sink(StreamState(self._venue, Surface.PUBLIC, up=True))
        self._sinks.append(sink)
        try:
            await asyncio.Event().wait()
        finally:
            self._sinks.remove(sink)

    def shown(self) -> Book:
        """Return the book that a new subscription is shown."""
        return self._book(_DEPTH, self._driver.now())

    def _on_event(self, event: EngineEvent) -> None:
        if isinstance(event, OrderChanged):
            number, waited = event.order.order_id, self._changed
            changed = waited.get(number) if event.order.live else waited.pop(number, None)
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
            view = self._injected.view(self._view(event.order))
            return [view, *self._fill_messages(event.fill)]
        if isinstance(event, PositionChanged) and event.account == name:
            held = event.position
            return [Position(self._venue, held.symbol, held.qty, event.at)]
        if isinstance(event, BookChanged):
            return [self._book(_DEPTH, event.at)]
        if isinstance(event, PublicTrade):
            return [Trade(self._venue, event.px, event.qty, event.taker, event.at)]
        return []

    def _fill_messages(self, fill: SimFill | None) -> list[VenueEvent]:
        if fill is None:
            return []
        return self._injected.fills(fill_of(self._engine, self._numbers, fill))

    # --- helpers -----------------------------------------------------------------------------

    async def _arrive(self) -> None:
        """Let a request travel, and bring the engine to the present."""
        await self._sleep(self._latency.request)
        self._injected.reach()
        self._engine.advance(self._driver.now())

    async def _read(self) -> None:
        """Let a read travel; raises VenueUnreachable or VenueForbidden."""
        await self._arrive()
        self._injected.admit()

    async def _sleep(self, delay: Ns) -> None:
        if delay:
            await self._clock.sleep(delay / NANO)

    async def _until(self, order: SimOrder, done: Callable[[], bool]) -> None:
        while not done():
            changed = self._changed.setdefault(order.order_id, asyncio.Event())
            changed.clear()
            await changed.wait()

    def _find(self, ref: OrderRef) -> SimOrder | None:
        return self._engine.find(self._account.account_id, self._numbers.text(ref.client_id))

    def _view(self, order: SimOrder) -> OrderView:
        return order_of(self._venue, self._numbers, order)

    def _book(self, depth: int, at: Ns) -> Book:
        bids, asks = self._engine.book(self._symbol, depth)
        return Book(self._venue, tuple(bids), tuple(asks), at)

"""The real core and journal against the real engines, without a loop: every message by hand.

Time is a number, delays and losses come from one seeded generator, and the oracle is what the
engines themselves hold. What passes here has no asyncio in it, so a failing seed replays exactly.
"""

import heapq
import random  # noqa: TID251 - a seeded instance drives the schedule
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from daemon.core import CancelOrder, Command, Core, Send, Settings
from daemon.journal import Journal
from daemon.metrics import RunMetrics
from daemon.narrator import Narrator
from daemon.outbox import answered
from daemon.resend import Recaller
from daemon.resolver import Resolver
from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelOutcome,
    Found,
    InDoubt,
    Lookup,
    NotFound,
    Outcome,
    Payload,
    Refused,
)
from exchanges.simulator.defaults import BACKPACK_RULES, GRVT_RULES, default_market
from exchanges.simulator.engine import MatchingEngine
from exchanges.simulator.model import (
    Deny,
    EngineEvent,
    MarketBook,
    MarketTrade,
    NewOrder,
    OrderChanged,
    Phase,
    Refusal,
    SimFill,
    SimOrder,
)
from safety.limits import Limits
from strategy.domain import (
    Book,
    ClientId,
    Fill,
    Now,
    Ns,
    OrderRef,
    OrderRequest,
    OrderView,
    Position,
    Purpose,
    Px,
    Qty,
    Side,
    SignedQty,
    Status,
    StreamState,
    Surface,
    Venue,
    VenueEvent,
    nano,
)
from strategy.events import Seen, VenueRead
from strategy.facts import Account, Mark, Readiness
from strategy.params import Params
from strategy.world import Leg, initial
from tests.builders import LIMITS, SECOND

MS = 1_000_000
ACCOUNT = "a"
START = 1_700_000_000 * SECOND
STATUS = {
    Phase.PENDING: Status.PENDING,
    Phase.OPEN: Status.OPEN,
    Phase.FILLED: Status.FILLED,
    Phase.CANCELLED: Status.CANCELLED,
    Phase.REJECTED: Status.REJECTED,
}


def view_of(venue: Venue, order: SimOrder) -> OrderView:
    reason = "POST_ONLY" if order.deny is Deny.POST_ONLY_CROSS else ""
    return OrderView(
        venue=venue,
        client_id=ClientId(int(order.request.client_id)),
        venue_order_id=order.order_id,
        symbol=order.request.symbol,
        side=order.request.side,
        qty=order.qty,
        px=order.request.px or Px(0),
        cum=order.cum,
        status=STATUS[order.phase],
        reason=reason or (order.ended.value if order.ended else ""),
        reduce_only=order.request.reduce_only,
    )


def fill_of(venue: Venue, order: SimOrder, fill: SimFill) -> Fill:
    return Fill(
        venue=venue,
        trade_id=f"{fill.trade_id}/{fill.order_id}",
        client_id=ClientId(int(order.request.client_id)),
        venue_order_id=order.order_id,
        symbol=fill.symbol,
        side=fill.side,
        qty=fill.qty,
        px=fill.px,
        fee=fill.fee,
        fee_asset="USD",
        is_maker=fill.is_maker,
        at=fill.at,
        forced=fill.forced,
    )


@dataclass(slots=True)
class Chaos:
    """How often each thing goes wrong, per mille."""

    ack_lost: int = 0
    never_arrived: int = 0
    late: int = 0
    message_lost: int = 0
    message_twice: int = 0
    slow_message: int = 0
    read_fails: int = 0


class EnginePort:
    """Reads of one engine, and encoding: what the resolver and the core need of a venue."""

    def __init__(self, venue: Venue, engine: MatchingEngine, fails: Callable[[], bool]) -> None:
        self.venue = venue
        self.engine = engine
        self.fails = fails
        self.buried: set[int] = set()
        """Orders that a cancel in advance waits for."""
        self.again: Callable[[Payload], None] = lambda _: None
        self.engine_now: Callable[[], Ns] = lambda: Ns(0)

    def prepare(self, request: OrderRequest) -> Payload:
        body = repr(request).encode()
        return Payload(request, body, (), request.client_id, sha256(body).hexdigest())

    def find(self, client_id: int) -> SimOrder | None:
        return self.engine.find(ACCOUNT, str(client_id))

    async def resend(self, payload: Payload) -> Accepted | InDoubt:
        if self.fails():
            return InDoubt("the copy is lost")
        self.again(payload)
        known = self.find(payload.request.client_id) is not None
        return Accepted(None) if known else InDoubt("the copy was refused")

    async def bury(self, ref: OrderRef) -> CancelOutcome:
        if self.fails():
            return InDoubt("no answer")
        self.buried.add(ref.client_id)
        order = self.find(ref.client_id)
        if order is not None and order.live:
            self.engine.cancel(self.engine_now(), order)
        return CancelAccepted(None)

    async def lookup(self, ref: OrderRef, since: Ns) -> Lookup:
        del since
        if self.fails():
            return InDoubt("read failed")
        order = self.find(ref.client_id)
        return NotFound("all") if order is None else Found(view_of(self.venue, order))

    async def fills(self, since: Ns) -> tuple[Fill, ...]:
        return tuple(
            fill_of(self.venue, self.engine.orders[f.order_id], f)
            for f in self.engine.fills
            if f.at >= since and f.account == ACCOUNT
        )

    async def position(self) -> Position:
        return Position(self.venue, self.symbol, self.truth, Ns(0))

    async def account(self) -> Account:
        engine = self.engine
        return Account(
            venue=self.venue,
            equity=engine.equity(ACCOUNT),
            available=engine.available(ACCOUNT),
            maintenance=engine.maintenance_margin(ACCOUNT),
            leverage=engine.leverage(ACCOUNT, self.symbol) * SECOND,
            margin_mode="CROSS",
            liquidation=engine.liquidation_price(ACCOUNT, self.symbol),
            liquidating=engine.accounts[ACCOUNT].liquidating,
        )

    async def mark(self) -> Mark:
        return Mark(self.venue, self.engine.mark(self.symbol))

    def readiness(self) -> Readiness:
        return Readiness(self.venue, session=True, orders=None)

    @property
    def symbol(self) -> str:
        return next(iter(self.engine.markets))

    @property
    def truth(self) -> SignedQty:
        held = self.engine.accounts[ACCOUNT].positions.get(self.symbol)
        return held.qty if held else SignedQty(0)


class Sink:
    """Collects log lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str, dict[str, Any]]] = []

    def emit(self, level: str, tag: str, event: str, fields: Any) -> None:
        self.lines.append((level, tag, event, dict(fields)))

    def events(self, tag: str, event: str) -> list[dict[str, Any]]:
        return [f for _, t, e, f in self.lines if (t, e) == (tag, event)]


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never really waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the coroutine suspended")


@dataclass(slots=True)
class Market:
    """A random walk with a ladder of levels on each venue."""

    rng: random.Random
    mid: int = nano(3000)
    levels: list[str] = field(default_factory=lambda: ["0.2", "0.3", "0.5", "2", "8"])

    def step(self) -> None:
        self.mid += self.rng.randint(-20, 20) * nano("0.01")

    def book(self, wide: int = 1) -> MarketBook:
        tick = nano("0.01")
        spread = self.rng.randint(1, 3 * wide)
        ladder = [(i + 1) * self.rng.randint(1, 8) for i in range(len(self.levels))]
        bids, asks = [], []
        for depth, size in zip(sorted(ladder), self.levels, strict=True):
            bids.append((Px(self.mid - depth * tick), Qty(nano(size))))
            asks.append((Px(self.mid + (depth + spread) * tick), Qty(nano(size))))
        return MarketBook(tuple(dict(bids).items()), tuple(dict(asks).items()), snapshot=True)


class Harness:
    """One episode."""

    def __init__(
        self,
        seed: int,
        params: Params,
        path: Path | str = ":memory:",
        chaos: Chaos | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a schedule, not a secret
        self.chaos = chaos or Chaos()
        self.time = START
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._seq = 0
        self.sink = Sink()
        self.market = Market(random.Random(seed + 1))  # noqa: S311 - a market, not a secret
        self.engines: dict[Venue, MatchingEngine] = {}
        self.ports: dict[Venue, EnginePort] = {}
        for venue, rules in ((Venue.BACKPACK, BACKPACK_RULES), (Venue.GRVT, GRVT_RULES)):
            listed = default_market(venue, "ETH", None)
            engine = MatchingEngine(rules, [listed], random.Random(seed), Ns(self.time))  # noqa: S311 - ids
            engine.add_account(ACCOUNT)
            engine.subscribe(lambda e, v=venue: self._engine_said(v, e))  # type: ignore[misc]
            self.engines[venue] = engine
            self.ports[venue] = EnginePort(
                venue, engine, lambda: self._happens(self.chaos.read_fails)
            )
        legs = {
            v: Leg(
                instrument=next(iter(e.markets.values())).instrument, taker_fee=e.rules.taker_fee
            )
            for v, e in self.engines.items()
        }
        world = initial(legs)
        self.metrics = RunMetrics(world)
        self.journal = Journal(Path(path), Ns(self.time))
        self.core = Core(
            world,
            Settings(params, limits),
            self.journal,
            self.ports,
            Narrator(self.sink, self.metrics),
            self.now,
        )
        for port in self.ports.values():
            port.again, port.engine_now = self._again, lambda: Ns(self.time)
        recall = Recaller(self.core, Narrator(self.sink, self.metrics))
        self.resolver = Resolver(self.ports, self.now, recall)  # type: ignore[arg-type]  # what it asks of a port
        self.copies = 0
        self.sent: list[OrderRequest] = []
        self.next_tick = self.next_market = self.next_poll = self.time
        self.payloads: dict[int, bytes] = {}
        self.committed_at_send: list[bool] = []
        for venue in Venue:
            for surface in Surface:
                self.core.on(Seen(StreamState(venue, surface, up=True), self.now(), "stream"))
            self.core.on(VenueRead(self.ports[venue].readiness(), self.now()))

    def now(self) -> Now:
        return Now(Ns(self.time - START + SECOND), Ns(self.time))

    def _happens(self, per_mille: int) -> bool:
        return self.rng.randrange(1000) < per_mille

    def at(self, delay: int, act: Callable[[], None]) -> None:
        self._seq += 1
        heapq.heappush(self._heap, (self.time + delay, self._seq, act))

    # --- venue to core -----------------------------------------------------------------------

    def _engine_said(self, venue: Venue, event: EngineEvent) -> None:
        if not isinstance(event, OrderChanged) or event.order.request.account != ACCOUNT:
            return
        messages: list[VenueEvent] = [view_of(venue, event.order)]
        if event.fill is not None:
            messages.append(fill_of(venue, event.order, event.fill))
        if self.rng.random() < 0.5:
            messages.reverse()
        for message in messages:
            self._deliver(message)

    def _deliver(self, message: VenueEvent) -> None:
        if self._happens(self.chaos.message_lost):
            return
        copies = 2 if self._happens(self.chaos.message_twice) else 1
        for _ in range(copies):
            slow = self._happens(self.chaos.slow_message)
            delay = self.rng.randint(1, 3000 if slow else 20) * MS
            self.at(delay, lambda: self.core.on(Seen(message, self.now(), "stream")))

    # --- core to venue -----------------------------------------------------------------------

    def _carry(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, CancelOrder):
                self.at(self.rng.randint(1, 10) * MS, lambda c=command: self._cancel(c))  # type: ignore[misc]
            else:
                self._send(command)

    def _send(self, command: Send) -> None:
        request = command.payload.request
        self.sent.append(request)
        known = self.payloads.setdefault(request.client_id, command.payload.body)
        assert known == command.payload.body, "S4: one identity, one payload"
        rows = {r.request.client_id for r in self.journal.orders(10_000)}
        self.committed_at_send.append(request.client_id in rows)
        wire = self.rng.randint(1, 10) * MS
        if self._happens(self.chaos.never_arrived):
            self.at(2000 * MS, lambda: self._answer(request, InDoubt("timeout")))
        elif self._happens(self.chaos.late):
            self.at(3000 * MS, lambda: self._arrive(request, reply=False))
            self.at(2000 * MS, lambda: self._answer(request, InDoubt("timeout")))
        else:
            lost = self._happens(self.chaos.ack_lost)
            self.at(wire, lambda: self._arrive(request, reply=not lost))
            if lost:
                self.at(2000 * MS, lambda: self._answer(request, InDoubt("reset")))

    def _again(self, payload: Payload) -> None:
        """A copy of an order arrives: the same bytes, and only on the venue that ignores copies."""
        request = payload.request
        assert request.venue is Venue.GRVT
        assert self.payloads[request.client_id] == payload.body, "S4: a copy is the same bytes"
        self.copies += 1
        self._arrive(request, reply=False)

    def _arrive(self, request: OrderRequest, *, reply: bool) -> None:
        """The venue takes the order, unless its signature or window has expired."""
        engine = self.engines[request.venue]
        engine.advance(Ns(self.time))
        if self._ignored(request, reply=reply):
            return
        if self.time > request.expires_at:
            if reply:
                self._answer(request, Refused("expired", "too late"))
            return
        new = NewOrder(
            account=ACCOUNT,
            symbol=request.symbol,
            side=request.side,
            qty=request.qty,
            px=request.px,
            tif=request.tif,
            post_only=request.post_only,
            reduce_only=request.reduce_only,
            client_id=str(request.client_id),
            expires_at=request.expires_at if request.venue is Venue.GRVT else None,
        )
        try:
            order = engine.place(Ns(self.time), new)
        except Refusal as no:
            if reply:
                crossed = no.deny is Deny.POST_ONLY_CROSS
                self._answer(request, Refused(no.deny.value, no.detail, crossed))
            return
        self._check_over_hedge(request)
        if request.client_id in self.ports[request.venue].buried:
            engine.cancel(Ns(self.time), order)
        if reply:
            self.at(5 * MS, lambda: self._answer(request, Accepted(view_of(request.venue, order))))

    def _ignored(self, request: OrderRequest, *, reply: bool) -> bool:
        """GRVT ignores a payload that it has taken before (venues.md A5.6)."""
        known = self.ports[request.venue].find(request.client_id)
        if known is None or request.venue is not Venue.GRVT:
            return False
        if reply:
            self._answer(request, Accepted(view_of(request.venue, known)))
        return True

    def _answer(self, request: OrderRequest, outcome: Outcome) -> None:
        self.core.on(answered(request.client_id, outcome, self.now()))

    def _cancel(self, command: CancelOrder) -> None:
        engine = self.engines[command.venue]
        engine.advance(Ns(self.time))
        order = engine.find(ACCOUNT, str(command.ref.client_id))
        if order is not None and order.live:
            engine.cancel(Ns(self.time), order)

    # --- oracle ------------------------------------------------------------------------------

    def truth(self) -> int:
        return sum(p.truth for p in self.ports.values())

    def _check_over_hedge(self, request: OrderRequest) -> None:
        """S1 and S2 by the engines' own books, at the moment an order is taken."""
        if request.purpose is not Purpose.HEDGE:
            return  # flattening closes both legs at once
        pending = sum(
            o.remaining * o.request.side.value
            for o in self.engines[Venue.GRVT].orders.values()
            if o.live
        )
        net = self.truth()
        after = net + pending
        assert after == 0 or (after > 0) == (net > 0), (
            f"S1: net {net} with {pending} pending on the hedge venue overshoots"
        )

    # --- time --------------------------------------------------------------------------------

    def run(self, seconds: int, until: Callable[[], bool] = lambda: False) -> None:
        end = self.time + seconds * SECOND
        self.next_tick = self.next_market = self.next_poll = self.time
        while self.time < end:
            self._jump(end)
            if self.time >= self.next_tick:
                self.next_tick = self.time + 20 * MS
                self._carry(self.core.tick())
                if until():
                    return

    def _jump(self, end: int) -> None:
        """Advance to the next moment at which anything happens, and let it happen."""
        moments = [self.next_tick, self.next_market, self.next_poll, end]
        moments += [e.next_due() or Ns(end) for e in self.engines.values()]
        moments += [self._heap[0][0]] if self._heap else []
        self.time = max(self.time, min(moments))
        for engine in self.engines.values():
            engine.advance(Ns(self.time))
        if self.time >= self.next_market:
            self.next_market = self.time + 100 * MS
            self._move_market()
        while self._heap and self._heap[0][0] <= self.time:
            heapq.heappop(self._heap)[2]()
        if self.time >= self.next_poll:
            self.next_poll = self.time + 100 * MS
            self._poll()

    def _move_market(self) -> None:
        self.market.step()
        for venue, engine in self.engines.items():
            symbol = self.ports[venue].symbol
            engine.feed(Ns(self.time), symbol, self.market.book(4 if venue is Venue.GRVT else 1))
            bid, ask = engine.touch(symbol)
            taker = Side.BUY if self.rng.random() < 0.5 else Side.SELL
            hit = ask if taker is Side.BUY else bid
            if hit is not None and venue is Venue.BACKPACK:
                size = Qty(nano(self.rng.choice(["0.0137", "0.1", "0.4", "3"])))
                engine.feed(Ns(self.time), symbol, MarketTrade(hit, size, taker))
            bids, asks = engine.book(symbol, 50)
            book = Book(venue, tuple(bids), tuple(asks), Ns(self.time))
            self.core.on(Seen(book, self.now(), "stream"))

    def _read_accounts(self) -> None:
        for port in self.ports.values():
            self.core.on(VenueRead(drive(port.account()), self.now()))
            if port.engine.mark(port.symbol):
                self.core.on(VenueRead(drive(port.mark()), self.now()))

    def _poll(self) -> None:
        for order in self.resolver.due(self.core.world, self.now()):
            expected = self.core.world.legs[order.request.venue].position
            for event in drive(self.resolver.resolve(order, expected)):
                self.core.on(event)
        late = [o for o in self.core.world.orders.values() if o.cum != o.filled]
        for venue in {o.request.venue: None for o in late}:
            for fill in drive(self.ports[venue].fills(Ns(0))):
                self.core.on(Seen(fill, self.now(), "rest"))
        self._read_accounts()
        if self.core.world.mode.value:
            for port in self.ports.values():
                self.core.on(Seen(drive(port.position()), self.now(), "rest"))

"""The routers on the bench: ours, and what it has to beat, each as its own text describes it.

A router sees the displayed book and what became of its orders, and acts through the exchange. All
are bound by the same cap from the touch at each decision, and by the same deadline.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from daemon.bench.fills import BenchOrder, Exchange, Stage
from daemon.bench.track import Moment
from exchanges.simulator.defaults import default_market
from strategy.decide import decide
from strategy.depth import cap_price
from strategy.domain import (
    ClientId,
    Draft,
    Fill,
    Instrument,
    Now,
    Ns,
    Observed,
    OrderView,
    Px,
    Qty,
    Side,
    SignedQty,
    Status,
    Tif,
    Venue,
)
from strategy.events import Adopted, CancelAsked, OrderPlanned, RoutePhase, Seen
from strategy.fold import fold
from strategy.intents import Cancel, Emit, Place
from strategy.params import HedgeMode, Params
from strategy.router import calculate_timeout
from strategy.world import Leg, World, initial

LADDER_STEPS = 200
"""Most rungs of ``one_tick``."""
ITERATIONS = 10
"""Most iterations of ``bbo_iterative``: what the seed's callers pass."""
SLICES = 5
"""IOC slices of ``twap``."""
REST = Ns(5_000_000_000)
"""How long ``rest_cross`` rests."""


@dataclass(slots=True)
class Job:
    """One hedge to be done; shared by the router and the bench."""

    side: Side
    qty: Qty
    instrument: Instrument
    params: Params
    exchange: Exchange
    started: Ns
    deadline: Ns
    moment: Moment
    wake_at: Ns | None = None
    """When the router wants to be called even if nothing happens."""

    @property
    def left(self) -> Qty:
        """Size still to trade, of which live orders may hold a part."""
        return Qty(self.qty - sum(f.qty for f in self.exchange.fills))

    def touch(self) -> Px | None:
        """Return the price that a taker pays first now."""
        levels = self.exchange.view().side(self.side)
        return levels[0][0] if levels else None

    def ioc(self, px: Px, qty: Qty, now: Ns) -> None:
        """Send a bounded IOC of a size on the step, if the venue would take it."""
        qty = self.instrument.floor_qty(qty)
        if self.instrument.hedgeable(qty, px):
            self.exchange.place(px, qty, now, post_only=False, ioc=True)

    def sweep(self, qty: Qty, now: Ns) -> None:
        """Send one IOC for a size, bounded by the cap from the touch."""
        touch = self.touch()
        if touch is not None:
            self.ioc(cap_price(self.side, touch, self.params.cap, self.instrument), qty, now)


class Router(Protocol):
    """One way to hedge. A fresh one is made for every job."""

    def step(self, job: Job, now: Ns) -> bool:
        """Act on the present; return True once nothing more will be sent."""
        ...


class Market:
    """One bounded IOC at once."""

    def __init__(self) -> None:
        self._sent = False

    def step(self, job: Job, now: Ns) -> bool:
        """Sweep, once."""
        if not self._sent:
            self._sent = True
            job.sweep(job.left, now)
        return not job.exchange.live()


class OneTick:
    """The worsening ladder: an IOC at the touch, then at the touch and one tick, and so on."""

    def __init__(self) -> None:
        self._rung = 0
        self._seen: Ns = Ns(0)

    def step(self, job: Job, now: Ns) -> bool:
        """Send the next rung on the first book after the last one's end."""
        if job.exchange.live():
            return False
        touch = job.touch()
        fresh = job.moment.at > self._seen
        if touch is None or not fresh or self._rung >= LADDER_STEPS or now >= job.deadline:
            return self._rung >= LADDER_STEPS or now >= job.deadline
        worst = cap_price(job.side, touch, job.params.cap, job.instrument)
        px = touch + self._rung * job.instrument.tick * job.side.value
        bounded = min(px, worst) if job.side is Side.BUY else max(px, worst)
        job.ioc(Px(bounded), job.left, now)
        self._rung, self._seen = self._rung + 1, job.moment.at
        return False


class BboIterative:
    """The seed's loop as its text has it: iteration n takes at BBO - n ticks, then the market.

    Each iteration reads the book again and sends what the touch level could give as an immediate
    limit order n of the instrument's ticks inside the touch; what is left after the last iteration
    is a direct market order. The seed never waited for a resting order.
    """

    def __init__(self) -> None:
        self._n = 0
        self._seen: Ns = Ns(0)

    def step(self, job: Job, now: Ns) -> bool:
        """Send the next iteration on the first book after the last one's end."""
        if job.exchange.live():
            return False
        touch = job.touch()
        if self._n > ITERATIONS or now >= job.deadline:
            return True
        if touch is None or job.moment.at <= self._seen:
            return False
        self._n, self._seen = self._n + 1, job.moment.at
        size = job.exchange.view().side(job.side)[0][1]
        px = Px(touch - self._n * job.instrument.tick * job.side.value)
        if self._n > ITERATIONS or not job.instrument.hedgeable(min(job.left, size), px):
            self._n = ITERATIONS + 1
            job.sweep(job.left, now)
        else:
            job.ioc(px, Qty(min(job.left, size)), now)
        return False


class Twap:
    """Equal IOC slices, evenly over the time allowed."""

    def __init__(self) -> None:
        self._slice = 0

    def step(self, job: Job, now: Ns) -> bool:
        """Send the slice that is due; the last one takes what is left."""
        if job.exchange.live():
            return False
        if self._slice >= SLICES:
            return True
        reference = job.touch() or job.moment.book.value.bids[0][0]
        allowed = calculate_timeout(job.qty, reference, job.params)
        span = min(allowed, job.deadline - job.started) * 9 // 10
        due = Ns(job.started + span * self._slice // (SLICES - 1))
        job.wake_at = due
        if now < due:
            return False
        self._slice += 1
        remaining = SLICES - self._slice + 1
        job.sweep(Qty(-(-job.left // remaining)), now)
        return False


class RestCross:
    """Rest at BBO-1tick for five seconds, wherever the market goes, then cross."""

    def __init__(self) -> None:
        self._order: BenchOrder | None = None

    def step(self, job: Job, now: Ns) -> bool:
        """Rest once, cancel in time, sweep what is left on every fresh book."""
        until = Ns(min(job.started + REST, job.deadline - job.params.cross_reserve))
        job.wake_at = until
        touch = job.touch()
        refused = self._order is not None and self._order.crossed
        if (self._order is None or refused) and touch is not None and now < until:
            px = Px(touch - job.instrument.tick * job.side.value)
            qty = job.instrument.floor_qty(job.left)
            self._order = job.exchange.place(px, qty, now, post_only=True, ioc=False)
        if now < until:
            return False
        for order in job.exchange.live():
            job.exchange.cancel(order, now)
        if not job.exchange.live():
            job.sweep(job.left, now)
        return now >= job.deadline and not job.exchange.live()


@dataclass(slots=True)
class Smart:
    """Our executor itself: the core's own fold and decision, fed from the exchange."""

    world: World | None = None
    decided_ns: list[int] = field(default_factory=list)
    """How long each decision took."""
    _orders: dict[int, ClientId] = field(default_factory=dict)
    _told: dict[int, tuple[Stage, Qty]] = field(default_factory=dict)
    _fills: int = 0

    def step(self, job: Job, now: Ns) -> bool:
        """Tell the World what happened, then decide until nothing changes."""
        at = Now(now, now)
        w = self.world if self.world is not None else self._begin(job, at)
        w = self._news(job, self._market(job, w), at)
        for _ in range(16):
            clock = time.perf_counter_ns()
            intents = decide(w, job.params, at)
            self.decided_ns.append(time.perf_counter_ns() - clock)
            emits = [i for i in intents if isinstance(i, Emit)]
            for emit in emits:
                w = fold(w, emit.event)
            for intent in intents if not emits else ():
                w = self._act(job, w, intent, at)
            if not emits:
                break
        self.world = w
        late = w.hedge is not None and w.hedge.phase is RoutePhase.EMERGENCY
        return late and not job.exchange.live()

    def _begin(self, job: Job, at: Now) -> World:
        primary = default_market(Venue.BACKPACK, job.instrument.base, None).instrument
        costs = job.exchange.costs
        hedge = Leg(
            instrument=job.instrument,
            book=Observed(job.moment.book.value, at.mono, "tape"),
            public_up=True,
            private_up=True,
            taker_fee=costs.taker_fee,
            maker_fee=costs.maker_fee,
        )
        w = initial({Venue.BACKPACK: Leg(instrument=primary), Venue.GRVT: hedge})
        exposed = SignedQty(-job.qty * job.side.value)
        return fold(w, Adopted(Venue.BACKPACK, exposed, Px(0), "bench", at))

    def _market(self, job: Job, w: World) -> World:
        seen = replace(job.moment.book, value=job.exchange.view())
        leg = replace(w.legs[Venue.GRVT], book=seen)
        return replace(w, legs={**w.legs, Venue.GRVT: leg}, flow=job.moment.flow)

    def _news(self, job: Job, w: World, at: Now) -> World:
        for fill in job.exchange.fills[self._fills :]:
            self._fills += 1
            client_id = self._orders[fill.order.number]
            told = Fill(
                Venue.GRVT, f"t{self._fills}", client_id, "", job.instrument.symbol, job.side,
                fill.qty, fill.px, fill.fee, "", fill.maker, at.wall,
            )  # fmt: skip
            w = fold(w, Seen(told, at, "bench"))
        for order in job.exchange.orders:
            state = (order.stage, order.cum)
            if order.number in self._orders and self._told.get(order.number) != state:
                self._told[order.number] = state
                w = fold(w, Seen(self._view(job, order), at, "bench"))
        return w

    def _view(self, job: Job, order: BenchOrder) -> OrderView:
        status = {Stage.SENT: Status.PENDING, Stage.OPEN: Status.OPEN}.get(order.stage)
        if status is None:
            status = Status.FILLED if not order.left else Status.CANCELLED
        return OrderView(
            Venue.GRVT, self._orders[order.number], "", job.instrument.symbol, job.side,
            order.qty, order.px, order.cum, status, "POST_ONLY" if order.crossed else "",
        )  # fmt: skip

    def _act(self, job: Job, w: World, intent: object, at: Now) -> World:
        if isinstance(intent, Place):
            return self._place(job, w, intent.draft, at)
        if isinstance(intent, Cancel):
            number = next(n for n, c in self._orders.items() if c == intent.client_id)
            job.exchange.cancel(job.exchange.orders[number], at.mono)
            return fold(w, CancelAsked(intent.client_id, at, intent.why))
        return w

    def _place(self, job: Job, w: World, draft: Draft, at: Now) -> World:
        order = job.exchange.place(
            draft.px, draft.qty, at.mono, post_only=draft.post_only, ioc=draft.tif is Tif.IOC
        )
        client_id = ClientId(order.number + 1)
        self._orders[order.number] = client_id
        self._told[order.number] = (order.stage, order.cum)
        request = draft.request(client_id, job.instrument.symbol, at.wall)
        return fold(w, OrderPlanned(request, draft, at))


ROUTERS: dict[str, Callable[[], Router]] = {
    "smart": Smart,
    "market": Market,
    "one_tick": OneTick,
    "bbo_iterative": BboIterative,
    "twap": Twap,
    "rest_cross": RestCross,
}
"""In the order of the report; the first is ours."""
BASELINES = tuple(name for name in ROUTERS if name != "smart")


def with_risk(params: Params, risk_aversion: int | None) -> Params:
    """Return the parameters at another risk aversion (1e-9; None crosses at once)."""
    return replace(params, risk_aversion=risk_aversion)


def bench_params(qty: Qty, *, eth: bool) -> Params:
    """Return the daemon's own default parameters for a hedge of a size."""
    return Params(
        size=qty, max_position=qty, iterations=1, hedge_mode=HedgeMode.SMART, base_is_eth=eth
    )

"""One hedger on a drawn market, with everything between it and its venue that can go wrong.

The core's own fold and decision, the bench's exchange, and a channel that delays, repeats and
reorders what the venue says, refuses some orders and leaves some in doubt. Every event and every
decision is kept in order, so that a run can be replayed.
"""

import random  # noqa: TID251 - seeded instances draw markets and delays
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from daemon.bench.fills import BenchFill, BenchOrder, Costs, Exchange, Stage
from daemon.bench.track import Moment
from strategy.decide import decide
from strategy.domain import (
    NANO,
    Book,
    ClientId,
    Draft,
    Fill,
    Now,
    Ns,
    Observed,
    OrderRequest,
    OrderView,
    Px,
    Qty,
    Side,
    SignedQty,
    Status,
    Tif,
    Trade,
    Venue,
    bps,
)
from strategy.events import (
    Adopted,
    CancelAsked,
    Event,
    OrderAnswered,
    OrderPlanned,
    RoutePhase,
    Seen,
    Verdict,
)
from strategy.flow import Flow
from strategy.fold import fold
from strategy.intents import Cancel, Emit, Intent, Place
from strategy.params import FOREVER, HedgeMode, Params
from strategy.world import Leg, World, initial
from tests.builders import BACKPACK, GRVT, SECOND, params

MS = 1_000_000
TICK = GRVT.tick
COSTS = Costs(bps("-0.01"), bps("4.5"), Ns(3 * MS), Ns(25 * MS))
INTERVAL = 100 * MS
LOOP = 50 * MS


# --- a market ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """How a drawn market behaves."""

    seed: int
    step: int
    """Largest move of the bid between books, ticks."""
    spread: int
    size: int
    """Size of a level, 0.01."""
    trades: int
    """Per mille of books that a trade follows."""
    broken: int
    """Per mille of books that are empty, one-sided or crossed."""
    jump: int
    """Per mille of books that jump by a percent."""


SHAPES = st.builds(
    Shape,
    seed=st.integers(0, 2**31),
    step=st.sampled_from([0, 1, 5, 40]),
    spread=st.sampled_from([1, 2, 10, 200]),
    size=st.sampled_from([1, 3, 20, 400]),
    trades=st.sampled_from([0, 200, 900]),
    broken=st.sampled_from([0, 0, 100]),
    jump=st.sampled_from([0, 0, 20]),
)


def book_at(rng: random.Random, shape: Shape, bid: int, at: Ns) -> Book:
    sides = []
    for way, start in ((-1, bid), (1, bid + rng.randint(1, shape.spread))):
        price, levels = start, []
        for _ in range(8):
            levels.append((Px(price * TICK), Qty(rng.randint(1, shape.size) * 10 * MS)))
            price += way * rng.randint(1, 6)
        sides.append(tuple(levels))
    if rng.randrange(1000) < shape.broken:
        kind = rng.randrange(3)
        if kind == 0:
            return Book(Venue.GRVT, (), (), at)
        if kind == 1:
            return Book(Venue.GRVT, sides[0], (), at)
        return Book(Venue.GRVT, sides[0], sides[0][:1], at)
    return Book(Venue.GRVT, sides[0], sides[1], at)


def market(shape: Shape, seconds: int) -> list[Moment]:
    rng = random.Random(shape.seed)  # noqa: S311 - a market, not a secret
    made: list[Moment] = []
    bid, at = 300_000, SECOND
    first = replace(shape, broken=0)
    while at < (seconds + 1) * SECOND:
        value = book_at(rng, shape if made else first, bid, Ns(at))
        observed = Observed(value, Ns(at), "tape")
        made.append(Moment(Ns(at), observed, None, Flow()))
        if rng.randrange(1000) < shape.trades and value.sane:
            taker = rng.choice(list(Side))
            hit = value.side(taker)[0][0] + rng.randint(-1, 2) * TICK * taker.value
            size = Qty(rng.randint(1, 2 * shape.size) * 10 * MS)
            later = Ns(at + rng.randrange(INTERVAL // 2))
            trade = Trade(Venue.GRVT, Px(hit), size, taker, later)
            made.append(Moment(later, observed, trade, Flow()))
        at += INTERVAL if rng.randrange(200) else 4 * SECOND
        bid += rng.randint(-shape.step, shape.step)
        if rng.randrange(1000) < shape.jump:
            bid += rng.choice([-3000, 3000])
    return made


# --- a channel between the core and the exchange -------------------------------------------------


@dataclass(frozen=True, slots=True)
class Channel:
    """What goes wrong between us and the venue."""

    seed: int
    slow: int
    """Largest ordinary delay of a message, ms."""
    twice: int
    """Per mille of messages that come again."""
    refused: int
    doubtful: int


CHANNELS = st.builds(
    Channel,
    seed=st.integers(0, 2**31),
    slow=st.sampled_from([0, 5, 200, 2000]),
    twice=st.sampled_from([0, 300]),
    refused=st.sampled_from([0, 0, 150]),
    doubtful=st.sampled_from([0, 0, 150]),
)


@dataclass(slots=True)
class Sent:
    """One order as it was decided."""

    draft: Draft
    touch: Px
    phase: RoutePhase


@dataclass(slots=True)
class Rig:
    """One hedger, its venue, and everything that it was told or decided, in order."""

    side: Side
    params: Params
    channel: Channel
    exchange: Exchange
    world: World
    rng: random.Random
    log: list[Event | tuple[Now, list[Intent]]] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    orders: dict[ClientId, BenchOrder] = field(default_factory=dict)
    mail: list[tuple[Ns, int, OrderView | Fill]] = field(default_factory=list)
    told: dict[ClientId, tuple[Stage, Qty]] = field(default_factory=dict)
    posted: int = 0
    fills: int = 0
    target: int = 0
    seen: Moment | None = None
    shown: Book | None = None
    late: bool = False

    # --- events ---------------------------------------------------------------------------

    def on(self, event: Event) -> None:
        self.log.append(event)
        self.world = fold(self.world, event)

    def expose(self, size: int, now: Now) -> None:
        """The maker filled: ``size`` more to trade on the hedge venue, less where negative."""
        self.target += size
        self.on(Adopted(Venue.BACKPACK, SignedQty(-size * self.side.value), Px(0), "maker", now))

    def listen(self, moment: Moment, now: Now) -> None:
        """Tell the market, and put what became of our orders into the mail."""
        view = self.exchange.view()
        if moment is not self.seen and moment.trade is not None:
            self.on(Seen(moment.trade, now, "stream"))
        fresh = moment is not self.seen and moment.trade is None
        if fresh or view is not self.shown:
            self.on(Seen(view, now, "stream"))
        self.seen, self.shown = moment, view
        for fill in self.exchange.fills[self.fills :]:
            self.fills += 1
            self.post(self.fill_of(fill), now.mono)
        for client_id, order in self.orders.items():
            state = (order.stage, order.cum)
            if self.told.get(client_id) != state:
                self.told[client_id] = state
                self.post(self.view_of(client_id, order), now.mono)

    def post(self, message: OrderView | Fill, now: Ns) -> None:
        copies = 2 if self.rng.randrange(1000) < self.channel.twice else 1
        for _ in range(copies):
            delay = self.rng.randint(0, self.channel.slow) * MS
            self.posted += 1
            self.mail.append((Ns(now + delay), self.posted, message))

    def deliver(self, now: Now) -> None:
        due = sorted(m for m in self.mail if m[0] <= now.mono)
        self.mail = [m for m in self.mail if m[0] > now.mono]
        for _, _, message in due:
            self.on(Seen(message, now, "stream"))

    def view_of(self, client_id: ClientId, order: BenchOrder) -> OrderView:
        status = {Stage.SENT: Status.PENDING, Stage.OPEN: Status.OPEN}.get(order.stage)
        if status is None:
            status = Status.FILLED if not order.left else Status.CANCELLED
        why = "POST_ONLY" if order.crossed else ""
        return OrderView(
            Venue.GRVT, client_id, "", GRVT.symbol, self.side, order.qty, order.px, order.cum,
            status, why,
        )  # fmt: skip

    def fill_of(self, fill: BenchFill) -> Fill:
        client_id = next(c for c, o in self.orders.items() if o is fill.order)
        return Fill(
            Venue.GRVT, f"t{self.fills}", client_id, "", GRVT.symbol, self.side, fill.qty, fill.px,
            fill.fee, "", fill.maker, fill.at,
        )  # fmt: skip

    # --- decisions ------------------------------------------------------------------------

    def decide(self, now: Now) -> None:
        for _ in range(16):
            intents = decide(self.world, self.params, now)
            self.log.append((now, intents))
            emits = [i for i in intents if isinstance(i, Emit)]
            for emit in emits:
                self.on(emit.event)
            if emits:
                continue
            for intent in intents:
                self.act(intent, now)
            return
        raise AssertionError("the decision does not settle")

    def act(self, intent: Intent, now: Now) -> None:
        if isinstance(intent, Cancel):
            order = self.orders.get(intent.client_id)
            if order is not None:
                self.exchange.cancel(order, now.mono)
            self.on(CancelAsked(intent.client_id, now, intent.why))
        elif isinstance(intent, Place) and self.takes(intent.draft):
            self.place(intent.draft, now)

    def takes(self, draft: Draft) -> bool:
        """The exchange is the hedge venue, and it takes one side only."""
        return draft.venue is Venue.GRVT and draft.side is self.side

    def place(self, draft: Draft, now: Now) -> None:
        assert self.world.hedge is not None
        touch = self.exchange.view().side(self.side)[0][0]
        self.sent.append(Sent(draft, touch, self.world.hedge.phase))
        client_id = ClientId(len(self.sent))
        request = OrderRequest(
            client_id, Venue.GRVT, GRVT.symbol, draft.side, draft.qty, draft.px, draft.tif,
            draft.post_only, draft.reduce_only, Ns(now.wall + draft.life), draft.purpose,
        )  # fmt: skip
        self.on(OrderPlanned(request, draft, now))
        dice = self.rng.randrange(1000)
        if dice < self.channel.refused:
            self.on(OrderAnswered(client_id, Verdict.REFUSED, now, code="1006"))
            return
        ioc = draft.tif is Tif.IOC
        self.orders[client_id] = self.exchange.place(
            draft.px, draft.qty, now.mono, post_only=draft.post_only, ioc=ioc
        )
        if dice >= 1000 - self.channel.doubtful:
            self.on(OrderAnswered(client_id, Verdict.IN_DOUBT, now, message="timeout"))
        self.check_bounds()

    # --- what must hold -------------------------------------------------------------------

    @property
    def traded(self) -> int:
        return sum(f.qty for f in self.exchange.fills)

    @property
    def live(self) -> int:
        return sum(o.left for o in self.exchange.live())

    def check_bounds(self) -> None:
        """REQ-2, S1: sent minus cancelled (minus what ended) never exceeds the target."""
        assert self.traded + self.live <= max(self.target, 0), (
            f"traded {self.traded} and live {self.live} of {self.target}"
        )


def rig(side: Side, p: Params, channel: Channel, first: Book) -> Rig:
    hedge = Leg(
        instrument=GRVT, public_up=True, private_up=True, taker_fee=COSTS.taker_fee,
        maker_fee=COSTS.maker_fee,
    )  # fmt: skip
    primary = Leg(instrument=BACKPACK, public_up=True, private_up=True)
    rng = random.Random(channel.seed)  # noqa: S311 - delays, not secrets
    w = initial({Venue.BACKPACK: primary, Venue.GRVT: hedge})
    return Rig(side, p, channel, Exchange(side, COSTS, GRVT.step, first), w, rng)


def run(r: Rig, moments: list[Moment], arrivals: list[tuple[Ns, int]]) -> None:
    """Move time as the bench does, until the market ends; judge after every step."""
    index, now, left = 0, moments[0].at, list(arrivals)
    while index + 1 < len(moments):
        here = Now(now, now)
        r.listen(moments[index], here)
        r.deliver(here)
        while left and left[0][0] <= now:
            r.expose(left.pop(0)[1], here)
        if r.target and not r.late:
            r.decide(here)
            r.late = r.world.hedge is not None and r.world.hedge.phase is RoutePhase.EMERGENCY
        due = r.exchange.next_due()
        upcoming = [moments[index + 1].at, Ns(now + LOOP)] + ([due] if due is not None else [])
        now = Ns(max(now, min(upcoming)))
        r.exchange.advance(now)
        if moments[index + 1].at <= now:
            index += 1
            r.exchange.observe(moments[index])
    for order in r.exchange.live():
        r.exchange.cancel(order, now)
    end = Ns(now + SECOND)
    r.exchange.advance(end)
    r.listen(moments[index], Now(end, end))
    late = Ns(end + 10 * SECOND)
    r.deliver(Now(late, late))


RISKS = st.sampled_from([0, NANO, 8 * NANO, None])


@dataclass(frozen=True, slots=True)
class Episode:
    """Everything that a run is made of."""

    shape: Shape
    channel: Channel
    side: Side
    seconds: int
    """Longest exposure."""
    risk: int | None
    passive: Ns
    mode: HedgeMode
    arrivals: tuple[tuple[int, int], ...]
    """Maker fills: ms since the start, size in 0.01."""

    def run(self, shrinks: tuple[tuple[int, int], ...] = ()) -> tuple[Rig, World]:
        """Run it; return what happened, and the World at its start."""
        p = params(
            max_unhedged=Ns(self.seconds * SECOND),
            risk_aversion=self.risk,
            passive=self.passive,
            hedge_mode=self.mode,
        )
        moments = market(self.shape, 8)
        r = rig(self.side, p, self.channel, moments[0].book.value)
        start = r.world
        arrivals = sorted([*self.arrivals, *shrinks], key=lambda a: a[0])
        run(r, moments, [(Ns(SECOND + at * MS), size * 10 * MS) for at, size in arrivals])
        return r, start


EPISODES = st.builds(
    Episode,
    shape=SHAPES,
    channel=CHANNELS,
    side=st.sampled_from(Side),
    seconds=st.sampled_from([3, 6]),
    risk=RISKS,
    passive=st.sampled_from([Ns(0), Ns(SECOND), FOREVER]),
    mode=st.sampled_from([HedgeMode.SMART, HedgeMode.SMART, HedgeMode.MARKET]),
    arrivals=st.lists(
        st.tuples(st.integers(0, 3000), st.integers(1, 120)), min_size=1, max_size=4
    ).map(tuple),
)

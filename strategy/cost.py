"""The cost model of a hedge: rest at BBO-1tick a little longer, or cross now?

Both are priced against the mid, fees included, in bps of the hedge's notional:

    cross  = depth walk to the size + taker fee
    rest   = passive price + maker fee + adverse selection x volatility
    wait   = the probe's wait (``strategy.flow``) + size / what takers trade, over the lean
    drift  = how fast the book's imbalance is expected to carry the mid away, x volatility
    price  = what a second of exposure is held to cost: ``risk_aversion`` x urgency

Resting earns ``(cross - rest) / wait`` a second and costs ``price + drift`` a second. It goes on
while it earns more than it costs; the size for which that holds rests, the remainder crosses.
Pure; imports the core only. Figures in bps are ``Bps`` (1e-6), per second where said.
"""

from dataclasses import dataclass

from strategy.depth import calculate_slippage_bps, cap_price, sweep_vwap
from strategy.domain import NANO, Book, Bps, Instrument, Ns, Px, Qty, Side, bps_text, plain
from strategy.flow import (
    Flow,
    Priors,
    displayed,
    expected_wait,
    traded_per_second,
    volatility,
)

UNIT = 1_000_000
"""One, for shares and factors."""
SECOND = Ns(NANO)
LONGEST_WAIT = Ns(3600 * NANO)
"""A market in which nothing trades: for any purpose of ours, never."""


@dataclass(frozen=True, slots=True)
class Routing:
    """The router's only numbers; docs/routing.md explains each, none is fitted to one market."""

    exposure_price: Bps = Bps(250_000)
    """What a second of exposure is held to cost at ``risk_aversion`` 1, per bps of notional."""
    ramp: Ns = Ns(NANO)
    """The price rises from zero over this age: a hedge is not crossed before the book was seen."""
    urgency: int = UNIT // 2
    """The price has grown by this share when the time to rest is up."""
    lean: int = 800_000
    """How strongly imbalance speeds or slows fills: wait x (1 + lean/2 x) / (1 - lean/2 x)."""
    carry: int = 450_000
    """Mid's drift a second at full imbalance, in volatilities."""
    adverse: int = 800_000
    """Mid's move against a passive fill, in volatilities."""
    queue: int = 300_000
    """Share of a size's trading time that adds to its wait: large orders also fill in jumps."""
    depth: int = 10
    """Levels a side whose sizes make the imbalance."""
    priors: Priors = Priors()


@dataclass(frozen=True, slots=True)
class Situation:
    """What one estimate reads."""

    book: Book
    taker: Side
    need: Qty
    own: tuple[tuple[Px, Qty], ...]
    """Our own resting orders in that book: price and what is left of each."""
    instrument: Instrument
    taker_fee: Bps
    maker_fee: Bps
    cap: Bps
    flow: Flow
    age: Ns
    """Of the oldest unhedged fill."""
    patience: Ns
    """Age at which resting must end."""
    risk_aversion: int
    """In 1e-9."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The comparison, as it is decided and logged."""

    px: Px
    """Passive price: one tick better than the touch that crossing pays."""
    cross: Bps
    rest: Bps
    wait: Ns
    """Expected for the whole size."""
    pressure: int
    """Imbalance, 1e-6; positive leans against waiting."""
    drift: Bps
    """Per second; positive is adverse."""
    price: Bps
    """Per second."""
    worth: Qty
    """The size worth resting, at most the need; not rounded."""

    def text(self) -> str:
        """Return the estimate on one line, for the log and the journal."""
        return (
            f"cross {bps_text(self.cross)} rest {bps_text(self.rest)} bps,"
            f" wait {self.wait // 1_000_000} ms at {bps_text(self.price)} bps/s,"
            f" drift {bps_text(self.drift)} bps/s, worth {plain(self.worth)}"
        )


def imbalance(book: Book, taker: Side, own: tuple[tuple[Px, Qty], ...], depth: int) -> int:
    """Return how much heavier our own side of the book is, -1 to 1 in 1e-6, without our orders.

    Our side is the one a passive order joins: where it is the heavier, the price leans away.
    """
    same, other = book.side(taker.opposite)[:depth], book.side(taker)[:depth]
    mine: dict[Px, int] = {}
    for px, left in own:
        mine[px] = mine.get(px, 0) + left
    ours = sum(min(left, displayed(same, px, taker)) for px, left in mine.items())
    ahead = sum(size for _, size in same) - ours
    facing = sum(size for _, size in other)
    total = ahead + facing
    return (ahead - facing) * UNIT // total if total else 0


def estimate(s: Situation, routing: Routing) -> Estimate:
    """Compare resting with crossing for the whole need on a sane book."""
    touch = s.book.side(s.taker)[0][0]
    mid = Px((s.book.bids[0][0] + s.book.asks[0][0]) // 2)
    sigma = volatility(s.flow, routing.priors)
    pressure = imbalance(s.book, s.taker, s.own, routing.depth)
    px = Px(touch - s.instrument.tick * s.taker.value)
    cross = _crossing(s, mid)
    adverse = routing.adverse * sigma // UNIT
    rest = Bps(calculate_slippage_bps(s.taker, mid, px) + s.maker_fee + adverse)
    drift = Bps(routing.carry * sigma // UNIT * pressure // UNIT)
    price = _exposure_price(s, routing)
    lean = routing.lean * pressure // (2 * UNIT)
    slower = (UNIT + lean) * UNIT // (UNIT - lean)
    first = expected_wait(s.flow, s.taker, routing.priors) * slower // UNIT
    per_size = routing.queue * slower // UNIT
    traded = traded_per_second(s.flow, mid, routing.priors)
    wait = min(first + per_size * s.need * SECOND // (traded * UNIT), LONGEST_WAIT)
    worth = _worth(s.need, cross - rest, price + drift, first, per_size, traded)
    return Estimate(px, cross, rest, Ns(wait), pressure, drift, price, worth)


def _crossing(s: Situation, mid: Px) -> Bps:
    """Price an immediate sweep; where the cap holds size back, its price is the cap's."""
    px = sweep_vwap(s.book, s.taker, s.need, s.cap, s.instrument)
    if px is None:
        px = cap_price(s.taker, s.book.side(s.taker)[0][0], s.cap, s.instrument)
    return Bps(calculate_slippage_bps(s.taker, mid, px) + s.taker_fee)


def _exposure_price(s: Situation, routing: Routing) -> Bps:
    """Return the price of a second of exposure now: it rises with age."""
    ramped = min(s.age, routing.ramp) * UNIT // max(routing.ramp, 1)
    used = min(s.age, s.patience) * UNIT // max(s.patience, 1)
    urgency = ramped * (UNIT + routing.urgency * used // UNIT) // UNIT
    return Bps(routing.exposure_price * urgency // UNIT * s.risk_aversion // NANO)


def _worth(need: Qty, gain: int, rate: int, first: int, per_size: int, traded: Qty) -> Qty:
    """Return the size whose expected wait is at most ``gain / rate`` seconds."""
    if gain <= 0:
        return Qty(0)
    if rate <= 0:
        return need
    spare = gain * SECOND // rate - first
    if spare <= 0:
        return Qty(0)
    return Qty(min(need, spare * traded * UNIT // max(per_size * SECOND, 1)))

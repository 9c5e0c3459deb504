"""What the hedge venue's market has been doing: how long a passive order waits, how prices move.

Two *probes*, imaginary orders of no size that rest at BBO-1tick behind the displayed queue, one a
side, are re-pegged and filled by the recorded book and trades exactly as a real one would be. The
length of their waits is the fill model: nothing is fitted, and it adapts to the market at hand.
Pure; imports ``strategy.domain`` only. Money-free integers: times in ns, sizes in 1e-9 base.
"""

from dataclasses import dataclass, replace
from math import isqrt

from strategy.domain import NANO, Book, Bps, Level, Ns, Px, Qty, Side, Trade, ratio_bps

MEMORY = Ns(60 * NANO)
"""Time constant of every running figure but volatility."""
VOLATILITY_MEMORY = Ns(30 * NANO)
SAMPLE = Ns(NANO)
"""Mids are compared over at least this long."""
GAP = Ns(5 * NANO)
"""A feed silent for longer says nothing about waits: running probes are dropped, not counted."""
OVERRUN = 10
"""Levels looked at when the book comes to a probe."""
MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Probe:
    """An imaginary passive order."""

    px: Px
    ahead: Qty
    since: Ns
    """Monotonic time at which this wait began; a re-peg does not restart it."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Running figures of one market; ``observe_book`` and ``observe_trade`` make the next."""

    at: Ns = Ns(0)
    buy: Probe | None = None
    sell: Probe | None = None
    squares: int = 0
    """Sum of finished waits squared, halved, ms x ms, fading."""
    waits: int = 0
    """Sum of finished waits, ms, fading."""
    volume: int = 0
    """Size that traded or came to a probe's price, both sides, fading with ``MEMORY``."""
    span: Ns = Ns(0)
    """How much time ``volume`` covers, fading: at most ``MEMORY``."""
    ref: Px = Px(0)
    ref_at: Ns = Ns(0)
    variance: int = 0
    """Sum of squared moves of the mid, (1e-6 bps) squared, fading."""
    variance_span: Ns = Ns(0)


@dataclass(frozen=True, slots=True)
class Priors:
    """What is believed before anything was seen; it gives way as ``weight`` of time is seen."""

    wait: Ns = Ns(2 * NANO)
    volatility: Bps = Bps(1_500_000)
    """Per square root of a second."""
    turnover: int = 3_000 * NANO
    """Quote units traded per second, both sides."""
    weight: Ns = Ns(10 * NANO)


def _fade(value: int, elapsed: int, memory: int) -> int:
    return value - value * elapsed // memory if elapsed < memory else 0


def _aged(flow: Flow, at: Ns) -> Flow:
    """Let the running figures fade up to ``at``; a gap in the feed drops the running waits."""
    elapsed = at - flow.at
    if not flow.at or elapsed < 0:
        return replace(flow, at=at, buy=None, sell=None, ref=Px(0))
    if elapsed > GAP:
        flow = replace(flow, buy=None, sell=None, ref=Px(0))
    if not elapsed:
        return flow
    return replace(
        flow,
        at=at,
        squares=_fade(flow.squares, elapsed, MEMORY),
        waits=_fade(flow.waits, elapsed, MEMORY),
        volume=_fade(flow.volume, elapsed, MEMORY),
        span=Ns(_fade(flow.span, elapsed, MEMORY) + min(elapsed, GAP)),
    )


def observe_book(flow: Flow, book: Book, tick: Px, at: Ns) -> Flow:
    """Fold a book: re-peg the probes, count those that the market crossed, sample the mid."""
    flow = _aged(flow, at)
    if not book.sane:
        return replace(flow, buy=None, sell=None)
    flow, buy = _pegged(flow, flow.buy, book, Side.BUY, tick)
    flow, sell = _pegged(flow, flow.sell, book, Side.SELL, tick)
    flow = replace(flow, buy=buy, sell=sell)
    return _sampled(flow, Px((book.bids[0][0] + book.asks[0][0]) // 2), at)


def _pegged(
    flow: Flow, probe: Probe | None, book: Book, side: Side, tick: Px
) -> tuple[Flow, Probe]:
    touch = book.side(side)[0][0]
    own = book.side(side.opposite)
    target = Px(touch - tick * side.value)
    if probe is not None and (probe.px - touch) * side.value >= 0:
        flow, probe = _finished(_overrun(flow, probe, book, side), probe), None
    if probe is None:
        return flow, Probe(target, displayed(own, target, side), flow.at)
    if (target - probe.px) * side.value > 0:
        return flow, Probe(target, displayed(own, target, side), probe.since)
    ahead = min(probe.ahead, displayed(own, probe.px, side, unseen=probe.ahead))
    return flow, probe if ahead == probe.ahead else replace(probe, ahead=ahead)


def _overrun(flow: Flow, probe: Probe, book: Book, side: Side) -> Flow:
    """Count the size that came to the probe's price: a real order would have had that of it."""
    came = sum(size for px, size in book.side(side)[:OVERRUN] if (probe.px - px) * side.value >= 0)
    return replace(flow, volume=flow.volume + came)


def displayed(levels: tuple[Level, ...], px: Px, side: Side, unseen: Qty = Qty(0)) -> Qty:
    """Return the size shown at a price of one side; ``unseen`` where the book does not reach."""
    for level, size in levels:
        if level == px:
            return size
        if (level - px) * side.value < 0:
            return Qty(0)
    return unseen


def _finished(flow: Flow, probe: Probe) -> Flow:
    wait = _waited(flow, probe)
    return replace(flow, squares=flow.squares + wait * wait // 2, waits=flow.waits + wait)


def _waited(flow: Flow, probe: Probe) -> int:
    """Return how long a probe has waited, ms; what is longer than the memory counts as that."""
    return min(flow.at - probe.since, MEMORY) // MS


def _sampled(flow: Flow, mid: Px, at: Ns) -> Flow:
    if not flow.ref:
        return replace(flow, ref=mid, ref_at=at)
    elapsed = at - flow.ref_at
    if elapsed < SAMPLE:
        return flow
    move = ratio_bps(mid - flow.ref, flow.ref)
    return replace(
        flow,
        ref=mid,
        ref_at=at,
        variance=_fade(flow.variance, elapsed, VOLATILITY_MEMORY) + move * move,
        variance_span=Ns(_fade(flow.variance_span, elapsed, VOLATILITY_MEMORY) + elapsed),
    )


def observe_trade(flow: Flow, trade: Trade, at: Ns) -> Flow:
    """Fold a public trade: it moves the probe on the side that it hit, or fills it."""
    flow = _aged(flow, at)
    flow = replace(flow, volume=flow.volume + trade.qty)
    side = trade.taker.opposite
    probe = flow.buy if side is Side.BUY else flow.sell
    if probe is None:
        return flow
    gap = (probe.px - trade.px) * side.value
    after: Probe | None = probe
    if gap > 0 or (gap == 0 and trade.qty > probe.ahead):
        flow, after = _finished(flow, probe), None
    elif gap == 0:
        after = replace(probe, ahead=Qty(probe.ahead - trade.qty))
    return replace(flow, buy=after) if side is Side.BUY else replace(flow, sell=after)


def expected_wait(flow: Flow, side: Side, priors: Priors) -> Ns:
    """Return how long an order of no size, placed at a random moment, waits for its fill.

    Sum of squares over twice the sum: long waits cover more arrivals than short ones. Waits that
    still run count as far as they have come, and half of our own side's is the least: in a market
    that runs away the other side's probe is overrun all the time, which says nothing of ours.
    """
    prior = priors.wait // MS
    weight = max(priors.weight // MS - flow.waits, 1)
    squares, waits = flow.squares + prior * weight, flow.waits + weight
    for probe in (flow.buy, flow.sell):
        if probe is not None:
            running = _waited(flow, probe)
            squares, waits = squares + running * running // 2, waits + running
    own = flow.buy if side is Side.BUY else flow.sell
    least = _waited(flow, own) // 2 if own is not None else 0
    return Ns(max(squares * MS // waits, least * MS, MS))


def volatility(flow: Flow, priors: Priors) -> Bps:
    """Return the standard deviation of the mid's move over one second."""
    weight = max(priors.weight - flow.variance_span, 0)
    prior = priors.volatility * priors.volatility * weight // NANO
    return Bps(isqrt((flow.variance + prior) * NANO // (flow.variance_span + weight)))


def traded_per_second(flow: Flow, mid: Px, priors: Priors) -> Qty:
    """Return the size that one side's takers trade in a second; at least one unit of 1e-9."""
    weight = max(priors.weight - flow.span, 0)
    prior = priors.turnover * NANO // mid * weight // NANO
    both = (flow.volume + prior) * NANO // (flow.span + weight)
    return Qty(max(both // 2, 1))

"""``hedged bench routing``: every router on the same arrivals of the same recorded market.

Costs are implementation shortfall against the arrival mid, fees included, in bps of the arrival
notional; positive is paid. What a router leaves unfilled is charged at the touch where it ended.
Reports hold floats: nothing here is money any more.
"""

import random  # noqa: TID251 - makes the seeded generator that draws the arrivals
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, median
from typing import Any

from daemon.bench.fills import BenchFill, Costs, Exchange
from daemon.bench.routers import BASELINES, ROUTERS, Job, Router, Smart, bench_params, with_risk
from daemon.bench.track import Moment, Track
from exchanges.simulator.defaults import GRVT_RULES
from strategy.depth import HedgePrice, calculate_slippage_bps, find_hedge_price_with_liquidity
from strategy.domain import BPS_ONE, BPS_UNIT, NANO, Ns, Px, Qty, Side, plain
from strategy.params import Params

WARM_UP = Ns(5 * NANO)
"""No arrival before the market figures have seen this much of the tape."""
TICK = Ns(50_000_000)
"""A router is called at least this often, as the daemon's loop does."""
COSTS = Costs(
    GRVT_RULES.maker_fee, GRVT_RULES.taker_fee, GRVT_RULES.latency, GRVT_RULES.taker_delay
)
BLOCK = Ns(15 * NANO)
"""Longest life of a hedge: arrivals within it may share the market's moves."""
Figures = dict[str, Any]
"""One row of the report, as JSON types."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """When, and which way, a hedge begins."""

    at: Ns
    side: Side


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one hedge came to."""

    filled: float
    """Share of the target."""
    cost_bps: float
    slippage_bps: float
    """Of each fill against the touch at its order's decision, weighted by size."""
    fee_bps: float
    maker_share: float
    seconds: float
    iterations: int
    naked: float
    """Base x seconds."""
    began: Ns
    optimum_bps: float | None
    """The depth walk's own cost at arrival, fee included; None where the cap holds size back."""


def arrivals(track: Track, count: int, seed: int, horizon: Ns) -> list[Arrival]:
    """Draw ``count`` times over the tape, each with both sides, where the book is sane."""
    rng = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    first, last = track.times[0] + WARM_UP, track.times[-1] - horizon
    if last <= first:
        span = (track.times[-1] - track.times[0]) // NANO
        raise ValueError(f"the recording is too short for this size: {span} s")
    drawn: list[Arrival] = []
    while len(drawn) < 2 * count:
        at = Ns(rng.randint(first, last))
        if track.moments[track.index(at)].book.value.sane:
            drawn += [Arrival(at, Side.BUY), Arrival(at, Side.SELL)]
    return drawn


def replay(track: Track, arrival: Arrival, qty: Qty, params: Params, router: Router) -> Outcome:
    """Run one router from one arrival to its end."""
    index = track.index(arrival.at)
    moment = track.moments[index]
    book = moment.book.value
    mid = Px((book.bids[0][0] + book.asks[0][0]) // 2)
    deadline = Ns(arrival.at + params.max_unhedged)
    exchange = Exchange(arrival.side, COSTS, track.instrument.step, book)
    job = Job(arrival.side, qty, track.instrument, params, exchange, arrival.at, deadline, moment)
    touches: dict[int, Px] = {}
    now = arrival.at
    while True:
        known = len(exchange.orders)
        done = router.step(job, now)
        for order in exchange.orders[known:]:
            touches[order.number] = job.touch() or order.px
        if not job.left or done or index + 1 >= len(track.moments):
            break
        now, index = _next(track, index, job, now)
    return _outcome(job, mid, touches, track.moments[track.index(arrival.at)])


def _next(track: Track, index: int, job: Job, now: Ns) -> tuple[Ns, int]:
    """Move to the next thing that happens: the record, an order taking effect, or a tick."""
    moment = track.moments[index + 1]
    candidates = [moment.at, Ns(now + TICK)]
    due = job.exchange.next_due()
    if due is not None:
        candidates.append(due)
    if job.wake_at is not None and job.wake_at > now:
        candidates.append(job.wake_at)
    following = max(now, min(candidates))
    job.exchange.advance(following)
    if moment.at <= following:
        index += 1
        job.moment = moment
        job.exchange.observe(moment)
    return Ns(following), index


def _outcome(job: Job, mid: Px, touches: dict[int, Px], start: Moment) -> Outcome:
    fills = job.exchange.fills
    filled = sum(f.qty for f in fills)
    whole = job.qty * mid
    spent = sum((f.px - mid) * job.side.value * f.qty for f in fills)
    fees = sum(f.fee for f in fills) * NANO
    # What a router leaves undone somebody has to take: at the touch, for the taker fee.
    last = job.touch() or mid
    spent += (last - mid) * job.side.value * (job.qty - filled)
    fees += last * (job.qty - filled) * COSTS.taker_fee // BPS_ONE
    slipped = sum((f.px - touches[f.order.number]) * job.side.value * f.qty for f in fills)
    ended = fills[-1].at if fills and filled == job.qty else job.deadline
    done = filled * mid or 1
    return Outcome(
        filled=filled / job.qty,
        cost_bps=(spent + fees) / whole * 10_000,
        slippage_bps=slipped / done * 10_000,
        fee_bps=sum(f.fee for f in fills) * NANO / done * 10_000,
        maker_share=sum(f.qty for f in fills if f.maker) / filled if filled else 0.0,
        seconds=(ended - job.started) / NANO,
        iterations=len(job.exchange.orders),
        naked=_naked(job, fills, Ns(ended)),
        began=job.started,
        optimum_bps=_optimum(job, mid, start),
    )


def _naked(job: Job, fills: list[BenchFill], ended: Ns) -> float:
    left, since, area = int(job.qty), job.started, 0
    for fill in fills:
        area += left * (fill.at - since)
        left, since = left - fill.qty, fill.at
    return (area + left * max(0, ended - since)) / NANO / NANO


def _optimum(job: Job, mid: Px, start: Moment) -> float | None:
    found = find_hedge_price_with_liquidity(
        start.book.value, job.side, job.qty, job.params.cap, job.instrument
    )
    if not isinstance(found, HedgePrice):
        return None
    cost = calculate_slippage_bps(job.side, mid, found.vwap) + job.exchange.costs.taker_fee
    return cost / BPS_UNIT


# --- figures -----------------------------------------------------------------------------------


def figures(outcomes: list[Outcome]) -> Figures:
    """Return one row of the report (contract section 7), with 95 % half-widths."""
    costs = sorted(o.cost_bps for o in outcomes)
    n = len(outcomes)
    known = [o.optimum_bps for o in outcomes if o.optimum_bps is not None]
    return {
        "n": n,
        "filled_pct": _round(100 * fmean(o.filled for o in outcomes)),
        "cost_bps_mean": _round(fmean(costs)),
        "cost_bps_ci95": _round(1.96 * _standard_error(outcomes)),
        "cost_bps_p95": _round(costs[_rank(n, 95)]),
        "slippage_bps_mean": _round(fmean(o.slippage_bps for o in outcomes)),
        "fee_bps_mean": _round(fmean(o.fee_bps for o in outcomes)),
        "maker_share": _round(fmean(o.maker_share for o in outcomes)),
        "seconds_mean": _round(fmean(o.seconds for o in outcomes)),
        "seconds_p95": _round(sorted(o.seconds for o in outcomes)[_rank(n, 95)]),
        "iterations_mean": _round(fmean(o.iterations for o in outcomes)),
        "naked_base_seconds_mean": _round(fmean(o.naked for o in outcomes)),
        "optimum_bps_mean": _round(fmean(known) if known else None),
    }


def _standard_error(outcomes: list[Outcome]) -> float:
    """Return the standard error of the mean cost; hedges of one ``BLOCK`` count as one sample.

    Hedges that overlap in time share their market's moves, so they are no independent samples.
    """
    mean = fmean(o.cost_bps for o in outcomes)
    blocks: dict[int, float] = {}
    for o in outcomes:
        number = o.began // BLOCK
        blocks[number] = blocks.get(number, 0.0) + o.cost_bps - mean
    return sqrt(sum(total * total for total in blocks.values())) / len(outcomes)


def _rank(n: int, share: int) -> int:
    return max(0, -(-share * n // 100) - 1)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def run_router(
    track: Track, drawn: Iterable[Arrival], qty: Qty, params: Params, make: Callable[[], Router]
) -> tuple[list[Outcome], list[int]]:
    """Run a fresh router from every arrival; return outcomes and decision times (ns, ours only)."""
    outcomes: list[Outcome] = []
    decided: list[int] = []
    for arrival in drawn:
        router = make()
        outcomes.append(replay(track, arrival, qty, params, router))
        if isinstance(router, Smart):
            decided += router.decided_ns
    return outcomes, decided


def compare(
    track: Track, qty: Qty, *, count: int, seed: int, routers: Iterable[str]
) -> dict[str, Figures]:
    """Run routers of one size over the same arrivals."""
    params = bench_params(qty, eth=track.instrument.base == "ETH")
    drawn = arrivals(track, count, seed, Ns(2 * params.max_unhedged))
    rows: dict[str, Figures] = {}
    for name in routers:
        outcomes, decided = run_router(track, drawn, qty, params, ROUTERS[name])
        rows[name] = figures(outcomes)
        if decided:
            rows[name]["decision_us_p50"] = _round(median(decided) / 1000)
    return rows


def frontier(
    track: Track, qty: Qty, *, count: int, seed: int, risks: Iterable[int | None]
) -> list[Figures]:
    """Return cost against exposure as ``risk_aversion`` sweeps from patient to at once."""
    base = bench_params(qty, eth=track.instrument.base == "ETH")
    drawn = arrivals(track, count, seed, Ns(2 * base.max_unhedged))
    points: list[Figures] = []
    for risk in risks:
        outcomes, _ = run_router(track, drawn, qty, with_risk(base, risk), Smart)
        row: Figures = {**figures(outcomes)}
        row["risk_aversion"] = "max" if risk is None else plain(risk)
        points.append(row)
    return points


__all__ = [
    "BASELINES",
    "Arrival",
    "Outcome",
    "arrivals",
    "compare",
    "figures",
    "frontier",
    "replay",
]

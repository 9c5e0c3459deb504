"""The smart-routing executor: pure steps from the World to the next hedge order.

A hedge starts passive at BBO-1tick (post-only, so it cannot cross), then crosses with one bounded
LIMIT IOC at the depth-walked price for the whole remainder, then again on each fresh book, only
ever toward the book, until it is done or its time is up. Orders never exceed what is unhedged and
unreserved, so the sum of sent minus cancelled never exceeds the target (REQ-2).

Pure; imports the core only.
"""

from dataclasses import dataclass

from strategy.depth import (
    HedgePrice,
    InsufficientLiquidity,
    cap_price,
    fetch_bbo,
    find_hedge_price_with_liquidity,
)
from strategy.domain import (
    NANO,
    Book,
    Bps,
    Draft,
    Now,
    Ns,
    Purpose,
    Px,
    Qty,
    Side,
    Tif,
    Venue,
    bps_text,
    notional,
    plain,
    side_of,
)
from strategy.events import HedgeMoved, RoutePhase
from strategy.intents import Cancel, Emit, Intent, Place, Say
from strategy.params import SECOND, HedgeMode, Params
from strategy.world import Hedge, Leg, Order

MIN_TIMEOUT = Ns(5 * SECOND)
MAX_TIMEOUT = Ns(20 * SECOND)
PACE = Ns(75_000_000)
"""Between the end of one order and the next: one book interval, and within the rate limit."""
MAX_BACKOFF = 4
MAX_PASSIVE_REFUSALS = 2
GTC_MARGIN = Ns(2 * SECOND)
"""A passive order outlives its passive phase on the venue by this much, never longer."""


def calculate_timeout(qty: Qty, px: Px, params: Params) -> Ns:
    """Return a hedge's deadline: clamp(20 s x quantity / 1 ETH, 5 s, 20 s).

    Other tickers count 3,000 quote units of notional as one unit.
    """
    if params.base_is_eth:
        scaled = params.hedge_seconds * qty // NANO
    else:
        scaled = params.hedge_seconds * notional(px, qty) // params.hedge_notional
    return Ns(min(max(scaled, MIN_TIMEOUT), MAX_TIMEOUT))


def passive_window(params: Params, timeout: Ns) -> Ns:
    """Return how long a hedge may rest before it crosses, keeping the cross reserve."""
    if params.hedge_mode is HedgeMode.MARKET:
        return Ns(0)
    limit = min(timeout, params.max_unhedged) - params.cross_reserve
    return Ns(max(0, min(params.passive, limit)))


@dataclass(frozen=True, slots=True)
class HedgeTask:
    """Everything one step of the executor reads."""

    hedge: Hedge
    need: int
    """Signed base still to trade on the hedge venue, before reservations."""
    uncovered: int
    """Signed base of ``need`` that no live order reserves."""
    live: tuple[Order, ...]
    """Live hedge orders."""
    leg: Leg
    book: Book | None
    """The hedge venue's book, or None unless fresh and two-sided."""
    reduce_only: bool
    stop_at: Ns
    """Monotonic time at which the emergency path takes over."""


def place_iterative_market_order(task: HedgeTask, params: Params, now: Now) -> list[Intent]:
    """Take the executor's next step for one hedge: the entry of the smart router."""
    hedge = task.hedge
    if now.mono >= task.stop_at:
        return [*_cancel_all(task, now, params, "deadline"), *_to_emergency(task, now)]
    if hedge.phase is RoutePhase.PASSIVE:
        if now.mono >= hedge.passive_until or params.hedge_mode is HedgeMode.MARKET:
            why = "passive time is up" if params.passive else "no passive time is allowed"
            why = "market mode" if params.hedge_mode is HedgeMode.MARKET else why
            return [Emit(HedgeMoved(hedge.hedge_id, RoutePhase.CROSS, why, now))]
        if hedge.refusals >= MAX_PASSIVE_REFUSALS:
            why = "passive orders are refused"
            return [Emit(HedgeMoved(hedge.hedge_id, RoutePhase.CROSS, why, now))]
        return _passive(task, now)
    resting = [o for o in task.live if o.draft.post_only]
    if resting:  # cross only once the resting order's final size is known (REQ-5)
        return _cancel_all(task, now, params, "cross")
    return _cross(task, params, now)


def _to_emergency(task: HedgeTask, now: Now) -> list[Intent]:
    if task.hedge.phase is RoutePhase.EMERGENCY:
        return []
    fields = (
        ("hedge", f"h-{task.hedge.hedge_id}"),
        ("remaining", plain(abs(task.need))),
        ("elapsed_ms", (now.mono - task.hedge.fill_at) // 1_000_000),
    )
    key = f"{task.hedge.hedge_id}"
    return [
        Say("SMART_ROUTING", "timeout", "warning", key, fields),
        Emit(HedgeMoved(task.hedge.hedge_id, RoutePhase.EMERGENCY, "deadline", now)),
    ]


def _cancel_all(task: HedgeTask, now: Now, params: Params, why: str) -> list[Intent]:
    return [
        Cancel(o.request.client_id, why) for o in task.live if o.cancel_due(now, params.recancel)
    ]


def _passive(task: HedgeTask, now: Now) -> list[Intent]:
    """Rest the uncovered size one tick better than the touch it would otherwise pay."""
    bbo = fetch_bbo(task.book) if task.book is not None else None
    if bbo is None or not task.uncovered or not _fresh(task, now):
        return []
    taker = side_of(task.uncovered)
    instrument = task.leg.instrument
    px = Px(bbo.touch(taker) - instrument.tick * taker.value)
    qty = instrument.floor_qty(abs(task.uncovered))
    if not instrument.hedgeable(qty, px):
        return []
    draft = Draft(
        venue=Venue.GRVT,
        side=taker,
        qty=qty,
        px=px,
        tif=Tif.GTC,
        post_only=True,
        reduce_only=task.reduce_only,
        purpose=Purpose.HEDGE,
        touch=bbo.touch(taker),
        life=Ns(max(0, task.hedge.passive_until - now.mono) + GTC_MARGIN),
        hedge_id=task.hedge.hedge_id,
    )
    return [Place(draft)]


def _fresh(task: HedgeTask, now: Now) -> bool:
    """True when the book is newer than the last order's end and the pace allows another."""
    hedge, seen = task.hedge, task.leg.book
    if not hedge.last_over_at:
        return True
    pace = PACE << min(hedge.refusals, MAX_BACKOFF) if hedge.refusals else PACE
    newer = seen is not None and seen.at > hedge.last_over_at
    return newer and now.mono - hedge.last_over_at >= pace


def _cross(task: HedgeTask, params: Params, now: Now) -> list[Intent]:
    """Send one bounded IOC for everything uncovered, on a book newer than the last order's end."""
    if not task.uncovered:
        return []
    if task.book is None:
        return _unpriced(task, params)
    if not _fresh(task, now):
        return []
    taker = side_of(task.uncovered)
    qty = task.leg.instrument.floor_qty(abs(task.uncovered))
    found = find_hedge_price_with_liquidity(task.book, taker, qty, params.cap, task.leg.instrument)
    if isinstance(found, HedgePrice):
        return [Place(_ioc(task, taker, found, params.cap, params))]
    said = _insufficient(task, found)
    if found.partial is None:
        return [said]
    return [said, Place(_ioc(task, taker, found.partial, params.cap, params))]


def _unpriced(task: HedgeTask, params: Params) -> list[Intent]:
    need = Qty(abs(task.uncovered))
    return [_insufficient(task, InsufficientLiquidity(need, Qty(0), params.cap, "no_book"))]


def _insufficient(task: HedgeTask, found: InsufficientLiquidity) -> Say:
    fields = (
        ("hedge", f"h-{task.hedge.hedge_id}"),
        ("need", plain(found.need)),
        ("available", plain(found.available)),
        ("cap_bps", bps_text(found.cap)),
        ("why", found.why),
    )
    key = f"{task.hedge.hedge_id}:{found.why}"
    return Say("SMART_ROUTING", "insufficient_liquidity", "warning", key, fields)


def _ioc(task: HedgeTask, taker: Side, found: HedgePrice, cap: Bps, params: Params) -> Draft:
    """Build the marketable order; its limit never steps back from the last one within the cap."""
    px = found.px
    last = task.hedge.last_px
    if last and (last - px) * taker.value > 0:
        bound = cap_price(taker, found.touch, cap, task.leg.instrument)
        px = min(last, bound) if taker is Side.BUY else max(last, bound)
    return Draft(
        venue=Venue.GRVT,
        side=taker,
        qty=found.qty,
        px=px,
        tif=Tif.IOC,
        post_only=False,
        reduce_only=task.reduce_only,
        purpose=Purpose.HEDGE,
        touch=found.touch,
        life=params.hedge_life,
        hedge_id=task.hedge.hedge_id,
        levels=found.levels,
        available=found.available,
        slippage=found.slippage,
        cap=cap,
    )

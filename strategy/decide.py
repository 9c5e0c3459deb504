"""The only choice: ``decide(world, params, now)`` proposes intents, hedges before all else.

Pure and level-triggered: it reads state, never the event that woke it, so that a lost message costs
latency and not correctness. The emergency path (``safety.unwind``) takes over while ``emergency``
is true; every intent passes the gate before anything is sent.
"""

from strategy.cycle import advance_cycle
from strategy.depth import fetch_bbo
from strategy.domain import Mode, Now, Ns, Purpose, Qty, SignedQty, Venue, side_of
from strategy.events import CyclePhase, HedgeEnded, HedgeStarted, RoutePhase
from strategy.intents import Cancel, Emit, Intent
from strategy.params import SECOND, Params
from strategy.router import (
    HedgeTask,
    calculate_timeout,
    deadline,
    place_iterative_market_order,
    rest_until,
)
from strategy.world import Hedge, Order, World


def emergency(w: World) -> bool:
    """True while exposure is to be removed by the unwind, not by the router."""
    in_hedge = w.hedge is not None and w.hedge.phase is RoutePhase.EMERGENCY
    return w.mode in (Mode.REDUCING, Mode.FLATTENING) or in_hedge


def hedge_need(w: World) -> int:
    """Return the signed size to trade on the hedge venue now; 0 when only dust is left.

    Rounded toward zero to the hedge step. While it shrinks the hedge leg, it never leaves a rest
    below the venue's minimum, which could not be closed later (REQ-21).
    """
    leg = w.hedge_leg
    mid = w.price()
    if not w.net or mid is None:
        return 0
    want = -w.net
    sign = 1 if want > 0 else -1
    qty = leg.instrument.floor_qty(abs(want))
    shrinking = leg.position * sign < 0
    rest = abs(leg.position) - qty if shrinking else 0
    if shrinking and rest > 0 and not leg.instrument.hedgeable(rest, mid):
        qty = leg.instrument.floor_qty(qty - _minimum(leg.instrument.step, w, mid) + rest)
    return qty * sign if leg.instrument.hedgeable(qty, mid) else 0


def _minimum(step: int, w: World, mid: int) -> int:
    """Return the smallest hedgeable size at that price, on the step."""
    instrument = w.hedge_leg.instrument
    by_notional = -(-instrument.min_notional * 10**9 // mid)
    least = max(instrument.min_qty, by_notional, step)
    return -(-least // step) * step


def exposed(w: World) -> bool:
    """True while exposure is left that a venue would trade; without any price, all of it counts."""
    unpriced = w.net != 0 and w.price() is None
    return unpriced or hedge_need(w) != 0


def unhedged(w: World) -> bool:
    """True while anything is exposed, any hedge runs, or any order is in doubt."""
    return w.hedge is not None or any(w.live(Venue.GRVT)) or w.doubtful() or exposed(w)


def decide(w: World, params: Params, now: Now) -> list[Intent]:
    """Return what to do now, in order of importance."""
    if w.mode is Mode.HALTED:
        return advance_cycle(w, params, now, unhedged=True)
    intents = _cancel_misdirected(w, params, now)
    if not emergency(w):
        intents += _hedge(w, params, now)
    elif w.hedge is not None:
        intents += _end_hedge(w, params, now)
    intents += advance_cycle(w, params, now, unhedged(w))
    return intents


def _hedge(w: World, params: Params, now: Now) -> list[Intent]:
    """Start, run or end the hedge of whatever is exposed."""
    need = hedge_need(w)
    if w.hedge is None:
        return _start(w, need, now)
    if not need:
        return [*_cancel_surplus(w, params, now), *_end_hedge(w, params, now)]
    task = _task(w, w.hedge, need, params, now)
    return place_iterative_market_order(task, params, now)


def _start(w: World, need: int, now: Now) -> list[Intent]:
    leg = w.hedge_leg
    mid = w.price()
    if not need or mid is None:
        return []
    book = leg.book.value if leg.book else None
    bbo = fetch_bbo(book) if book else None
    taker = side_of(need)
    # Exposure that could be hedged starts a hedge at once: an older mark was of dust until now.
    recent = w.naked_since is not None and now.mono - w.naked_since < SECOND
    fill_at = w.naked_since if recent and w.naked_since is not None else now.mono
    started = HedgeStarted(
        hedge_id=w.hedges + 1,
        target=SignedQty(need),
        arrival_touch=bbo.touch(taker) if bbo else mid,
        arrival_mid=mid,
        fill_at=fill_at,
        at=now,
    )
    return [Emit(started)]


def _task(w: World, hedge: Hedge, need: int, params: Params, now: Now) -> HedgeTask:
    leg = w.hedge_leg
    sign = 1 if need > 0 else -1
    reserved = w.reserved(Venue.GRVT, sign)
    uncovered = leg.instrument.floor_qty(abs(need) - reserved)
    mid = w.price() or hedge.arrival_mid
    if not leg.instrument.hedgeable(uncovered, mid):
        uncovered = Qty(0)
    total = Qty(hedge.filled + abs(need))
    timeout = calculate_timeout(total, mid, params)
    begun = Ns(max(w.naked_since or 0, hedge.fill_at))
    stop_at = deadline(hedge, begun, timeout, params)
    shrinks = leg.position * sign < 0 and abs(leg.position) >= abs(need)
    return HedgeTask(
        hedge=hedge,
        need=need,
        uncovered=uncovered * sign,
        live=tuple(w.live(Venue.GRVT)),
        leg=leg,
        book=leg.fresh_book(now, params.stale),
        reduce_only=shrinks and w.cycle.phase is CyclePhase.UNWIND,
        rest_until=rest_until(hedge, begun, timeout, params),
        stop_at=stop_at,
        flow=w.flow,
    )


def _end_hedge(w: World, params: Params, now: Now) -> list[Intent]:
    """End the hedge once nothing is exposed, nothing is live and its fills are priced."""
    hedge = w.hedge
    if hedge is None or hedge_need(w) or any(w.live(Venue.GRVT)):
        return []
    if hedge.phase is RoutePhase.EMERGENCY and any(
        o.request.purpose is Purpose.UNWIND for o in w.live()
    ):
        return []
    settled = all(
        o.cum == o.filled for o in w.orders.values() if o.draft.hedge_id == hedge.hedge_id
    )
    waited = now.mono - hedge.last_over_at >= params.settle
    if not settled and not waited:
        return []
    failed = hedge.phase is RoutePhase.EMERGENCY
    return [Emit(HedgeEnded(hedge.hedge_id, failed, now))]


def _cancel_misdirected(w: World, params: Params, now: Now) -> list[Intent]:
    """Cancel hedge orders that would increase the exposure (S2)."""
    return [
        Cancel(o.request.client_id, "would increase the exposure")
        for o in w.live(Venue.GRVT)
        if o.sign * w.net > 0 and o.cancel_due(now, params.recancel)
    ]


def _cancel_surplus(w: World, params: Params, now: Now) -> list[Intent]:
    """Cancel resting hedge orders when nothing needs hedging any more (S1).

    One that would trade no more than the dust that is left may rest on: a rest below the venue's
    minimum cannot be traded by any later order.
    """
    return [
        Cancel(o.request.client_id, "nothing left to hedge")
        for o in w.live(Venue.GRVT)
        if o.draft.post_only and not _tidies(w, o) and o.cancel_due(now, params.recancel)
    ]


def _tidies(w: World, order: Order) -> bool:
    """True when an order can only shrink the dust that is left."""
    return order.sign * w.net < 0 and order.reserved <= abs(w.net)

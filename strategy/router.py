"""The smart-routing executor: pure steps from the World to the next hedge order.

A hedge rests at BBO-1tick (post-only, so it cannot cross) for as long, and for as much, as the cost
model finds worth it, and follows the touch. Then it crosses with one bounded LIMIT IOC at the
depth-walked price for the whole remainder, then again on each fresh book, only ever toward the
book, until it is done or its time is up. Orders never exceed what is unhedged and unreserved, so
the sum of sent minus cancelled never exceeds the target (REQ-2).

Pure; imports the core only.
"""

from dataclasses import dataclass

from strategy.cost import Estimate, Situation, estimate
from strategy.depth import (
    HedgePrice,
    InsufficientLiquidity,
    cap_price,
    find_hedge_price_with_liquidity,
)
from strategy.domain import (
    BPS_ONE,
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
from strategy.flow import Flow
from strategy.intents import Cancel, Emit, Intent, Place, Say
from strategy.params import SECOND, HedgeMode, Params
from strategy.world import Hedge, Leg, Order

MIN_TIMEOUT = Ns(5 * SECOND)
MAX_TIMEOUT = Ns(20 * SECOND)
PACE = Ns(75_000_000)
"""Between the end of one order and the next: one book interval, and within the rate limit."""
SILENCE = Ns(500_000_000)
"""A book that has not changed for this long after an order's end is what that order left."""
MAX_BACKOFF = 4
MAX_PASSIVE_REFUSALS = 4
GTC_MARGIN = Ns(2 * SECOND)
"""A passive order outlives its passive phase on the venue by this much, never longer."""
RESTING_LIFE = Ns(6 * SECOND)
"""Longest life of a passive order, whatever its rest may last: then it is put anew. One that is
lost stays in doubt no longer, and a restart has ten seconds to know its orders (L4)."""


def calculate_timeout(qty: Qty, px: Px, params: Params) -> Ns:
    """Return how long a hedge may cross: clamp(20 s x quantity / 1 ETH, 5 s, 20 s).

    Other tickers count 3,000 quote units of notional as one unit.
    """
    if params.base_is_eth:
        scaled = params.hedge_seconds * qty // NANO
    else:
        scaled = params.hedge_seconds * notional(px, qty) // params.hedge_notional
    return Ns(min(max(scaled, MIN_TIMEOUT), MAX_TIMEOUT))


def deadline(hedge: Hedge, begun: Ns, timeout: Ns, params: Params) -> Ns:
    """Return the monotonic time at which the emergency path takes over.

    Exposure that began at ``begun`` lasts at most ``max_unhedged``; once the hedge crosses, at
    most ``timeout`` more. Exposure that joins a hedge which crossed long ago has its own time.
    """
    stop = begun + params.max_unhedged
    if hedge.crossed_at is None:
        return Ns(stop)
    return Ns(min(stop, max(hedge.crossed_at, begun) + timeout))


def rest_until(hedge: Hedge, begun: Ns, timeout: Ns, params: Params) -> Ns:
    """Return the monotonic time until which a hedge may rest, keeping the reserve for crossing."""
    reserve = min(timeout, params.cross_reserve)
    longest = min(params.passive, begun + params.max_unhedged - reserve - hedge.fill_at)
    return Ns(hedge.fill_at + max(0, longest))


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
    rest_until: Ns
    """Monotonic time at which resting ends, whatever it is worth."""
    stop_at: Ns
    """Monotonic time at which the emergency path takes over."""
    flow: Flow = Flow()
    """What the hedge venue's market has been doing."""

    @property
    def taker(self) -> Side:
        """The side that removes the exposure."""
        return side_of(self.need)

    @property
    def resting(self) -> list[Order]:
        """Live passive orders of this hedge's side."""
        return [o for o in self.live if o.draft.post_only and o.sign == self.taker.value]


def place_iterative_market_order(task: HedgeTask, params: Params, now: Now) -> list[Intent]:
    """Take the executor's next step for one hedge: the entry of the smart router."""
    if now.mono >= task.stop_at:
        return [*_cancel_all(task, now, params, "deadline"), *_to_emergency(task, now)]
    said = _fallback(task, params, now)
    if _netting(task):
        return said
    step = _rest_or_cross if task.hedge.phase is RoutePhase.PASSIVE else _cross
    return [*said, *step(task, params, now)]


def _netting(task: HedgeTask) -> bool:
    """True while an order of the other side, being cancelled, may trade: it nets, or meets ours."""
    taker = task.taker.value
    return any(o.sign != taker and not o.state.unknown for o in task.live)


def _fallback(task: HedgeTask, params: Params, now: Now) -> list[Intent]:
    """Say which bounded fallback is in use: counted and alerted, never silent."""
    if task.book is None:
        return [_degraded(task, f"hedge book: {_unusable(task, params, now)}")]
    if _turned_away(task.hedge):
        return [_degraded(task, _turned_away(task.hedge))]
    arrival, touch = task.hedge.arrival_touch, task.book.side(task.taker)[0][0]
    if abs(touch - arrival) * BPS_ONE > arrival * params.emergency_cap:
        return [_degraded(task, "the hedge market jumped")]
    return []


def _degraded(task: HedgeTask, why: str) -> Say:
    hedge = f"h-{task.hedge.hedge_id}"
    fields = (("why", why), ("hedge", hedge))
    return Say("SMART_ROUTING", "degraded", "warning", f"{hedge}:{why}", fields)


def _unusable(task: HedgeTask, params: Params, now: Now) -> str:
    """Say why there is no book to decide on."""
    seen = task.leg.book
    if seen is None:
        return "no_book"
    if not task.leg.public_up:
        return "stream_down"
    if seen.age(now.mono) > params.stale:
        return "stale"
    if not seen.value.bids or not seen.value.asks:
        return "one_sided" if seen.value.bids or seen.value.asks else "empty"
    return "crossed"


def _rest_or_cross(task: HedgeTask, params: Params, now: Now) -> list[Intent]:
    """Go on resting what is worth it, and cross the remainder; for good once nothing is."""
    why = _must_cross(task, params, now)
    if why:
        return [_crossing(task, why, now)]
    if task.book is None:
        return []  # nothing new without a book; what rests is bounded in price and life
    priced = estimate(_situation(task, task.book, params, now), params.routing)
    worth = task.leg.instrument.floor_qty(priced.worth)
    if worth < abs(task.need) and not task.leg.instrument.hedgeable(worth, priced.px):
        return [_crossing(task, priced.text(), now)]
    return [*_tend(task, priced, worth, params, now), *_split(task, priced, worth, params, now)]


def _must_cross(task: HedgeTask, params: Params, now: Now) -> str:
    """Say why resting is over whatever it is worth; empty when it may go on."""
    if params.hedge_mode is HedgeMode.MARKET:
        return "market mode"
    if params.risk_aversion is None:
        return "risk aversion is max"
    if now.mono >= task.rest_until:
        return "passive time is up"
    return _turned_away(task.hedge)


def _turned_away(hedge: Hedge) -> str:
    """Say why resting does not work on this venue now; empty when it does."""
    if hedge.refusals >= MAX_PASSIVE_REFUSALS:
        return "orders are refused"
    return "passive orders come too late" if hedge.missed >= MAX_PASSIVE_REFUSALS else ""


def _crossing(task: HedgeTask, why: str, now: Now) -> Emit:
    return Emit(HedgeMoved(task.hedge.hedge_id, RoutePhase.CROSS, why, now))


def _situation(task: HedgeTask, book: Book, params: Params, now: Now) -> Situation:
    hedge, leg = task.hedge, task.leg
    return Situation(
        book=book,
        taker=task.taker,
        need=Qty(abs(task.need)),
        own=tuple((o.request.px, o.reserved) for o in task.resting),
        instrument=leg.instrument,
        taker_fee=Bps(leg.taker_fee),
        maker_fee=Bps(leg.maker_fee),
        cap=params.cap,
        flow=task.flow,
        age=Ns(now.mono - hedge.fill_at),
        patience=Ns(task.rest_until - hedge.fill_at),
        risk_aversion=params.risk_aversion or 0,
    )


def _tend(task: HedgeTask, priced: Estimate, worth: Qty, params: Params, now: Now) -> list[Intent]:
    """Cancel a resting order that the touch has left behind, or that is now far too large."""
    left = sum(o.reserved for o in task.resting)
    cancels: list[Intent] = []
    surplus = left > abs(task.need)  # the exposure shrank meanwhile (S1)
    for order in task.resting:
        behind = (priced.px - order.request.px) * order.sign > 0
        settled = now.mono - order.sent.mono >= PACE
        if behind and settled and order.cancel_due(now, params.recancel):
            cancels.append(Cancel(order.request.client_id, "re-peg"))
        elif (surplus or 2 * worth < left) and order.cancel_due(now, params.recancel):
            cancels.append(Cancel(order.request.client_id, priced.text()))
    return cancels


def _split(task: HedgeTask, priced: Estimate, worth: Qty, params: Params, now: Now) -> list[Intent]:
    """Rest what is worth resting of the uncovered size, take the excess with a bounded IOC."""
    if not task.uncovered or not _paced(task, now):
        return []
    instrument = task.leg.instrument
    uncovered = abs(task.uncovered)
    room = max(0, worth - sum(o.reserved for o in task.resting))
    rest = instrument.floor_qty(min(uncovered, room))
    excess = instrument.floor_qty(uncovered - rest)
    if not instrument.hedgeable(excess, priced.px):
        rest, excess = instrument.floor_qty(uncovered), Qty(0)
    elif not instrument.hedgeable(rest, priced.px):
        rest, excess = Qty(0), instrument.floor_qty(uncovered)
    placed: list[Intent] = []
    if instrument.hedgeable(rest, priced.px):
        placed += [_resting(task, priced, now), Place(_passive(task, priced.px, rest, now))]
    if excess:
        placed += _take(task, excess, params, now)
    return placed


def _resting(task: HedgeTask, priced: Estimate, now: Now) -> Say:
    hedge = f"h-{task.hedge.hedge_id}"
    fields = (
        ("price", plain(priced.px)),
        ("why", priced.text()),
        ("age_ms", (now.mono - task.hedge.fill_at) // 1_000_000),
        ("hedge", hedge),
    )
    return Say("SMART_ROUTING", "passive", "info", f"{hedge}:{priced.px}", fields)


def _to_emergency(task: HedgeTask, now: Now) -> list[Intent]:
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


def _passive(task: HedgeTask, px: Px, qty: Qty, now: Now) -> Draft:
    """Build the order that rests one tick better than the touch it would otherwise pay."""
    return Draft(
        venue=Venue.GRVT,
        side=task.taker,
        qty=qty,
        px=px,
        tif=Tif.GTC,
        post_only=True,
        reduce_only=task.reduce_only,
        purpose=Purpose.HEDGE,
        touch=Px(px + task.leg.instrument.tick * task.taker.value),
        life=Ns(min(max(0, task.rest_until - now.mono) + GTC_MARGIN, RESTING_LIFE)),
        hedge_id=task.hedge.hedge_id,
    )


def _paced(task: HedgeTask, now: Now) -> bool:
    """True unless the venue turned the last order away and the wait after it still runs.

    A venue that says no is asked ever more slowly; an order that only came too late waits for the
    next book.
    """
    hedge = task.hedge
    if not hedge.refusals and not hedge.missed:
        return True
    return now.mono - hedge.last_over_at >= PACE << min(hedge.refusals, MAX_BACKOFF)


def _fresh(task: HedgeTask, now: Now) -> bool:
    """True when the book is newer than the last taking order's end: it shows what that left."""
    hedge, seen = task.hedge, task.leg.book
    if not hedge.took_at:
        return _paced(task, now)
    waited = now.mono - hedge.took_at
    newer = (seen is not None and seen.at > hedge.took_at) or waited >= SILENCE
    return newer and waited >= PACE and _paced(task, now)


def _cross(task: HedgeTask, params: Params, now: Now) -> list[Intent]:
    """Cancel what rests, and take what no live order may still trade.

    A resting order reserves its size until its end is known (REQ-5); one in doubt may take long to
    end, which is no reason to leave the remainder exposed.
    """
    cancels = _cancel_all(task, now, params, "cross") if task.resting else []
    if not task.uncovered:
        return cancels
    taken = _take(task, task.leg.instrument.floor_qty(abs(task.uncovered)), params, now)
    return [*cancels, *taken]


def _take(task: HedgeTask, qty: Qty, params: Params, now: Now) -> list[Intent]:
    """Send one bounded IOC for a size, or for what of it the book has within the cap."""
    if task.book is None:
        short = InsufficientLiquidity(qty, Qty(0), params.cap, _unusable(task, params, now))
        return [_insufficient(task, short)]
    if not _fresh(task, now):
        return []
    found = find_hedge_price_with_liquidity(
        task.book, task.taker, qty, params.cap, task.leg.instrument
    )
    if isinstance(found, HedgePrice):
        return [Place(_ioc(task, task.taker, found, params.cap, params))]
    said = [_insufficient(task, found), _degraded(task, f"hedge book: {found.why}")]
    if found.partial is None:
        return [*said]
    return [*said, Place(_ioc(task, task.taker, found.partial, params.cap, params))]


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
    """Build the marketable order; its limit never steps back from the last one within the cap.

    The first one is limited to the level that covers it. What that missed has moved away, so the
    next ones go to the cap: an IOC trades at the best price there is, whatever its limit.
    """
    px = found.px
    last = task.hedge.last_px
    bound = cap_price(taker, found.touch, cap, task.leg.instrument)
    if task.hedge.took_at:
        px = bound
    elif last and (last - px) * taker.value > 0:
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

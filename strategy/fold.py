"""The only state change: ``fold(world, event)`` gives the next World.

Pure. Idempotent for repeated venue events (S6) and monotone in traded size (S7): what a venue says
twice, late or out of order changes nothing, what contradicts itself is recorded as a violation.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import assert_never

from strategy.domain import (
    Book,
    ClientId,
    Fill,
    Now,
    Ns,
    Observed,
    OrderView,
    Position,
    Purpose,
    Qty,
    Quote,
    SignedQty,
    Status,
    StreamState,
    Surface,
    Trade,
    Venue,
    notional,
    plain,
)
from strategy.events import (
    Adopted,
    CancelAsked,
    CycleMoved,
    DayBegan,
    Event,
    FundingSeen,
    HedgeEnded,
    HedgeMoved,
    HedgeStarted,
    LatchMoved,
    LevelsMoved,
    OrderAnswered,
    OrderDead,
    OrderLoaded,
    OrderPlanned,
    Seen,
    StopAsked,
    VenueRead,
    Verdict,
)
from strategy.flow import observe_book, observe_trade
from strategy.forced import plausible
from strategy.hedging import filled, moved, over, started
from strategy.observing import compared, told
from strategy.world import Cycle, Leg, Order, OrderState, World

KEEP_FINISHED = 256
"""Finished orders kept for late and repeated messages."""
NOTES_KEPT = 16
REJECT_BACKOFF = Ns(250_000_000)


def fold(w: World, event: Event) -> World:  # noqa: C901, PLR0911, PLR0912 - one closed dispatch
    """Return the World after ``event``."""
    match event:
        case Seen():
            return _seen(w, event)
        case OrderPlanned():
            return _planned(w, event)
        case OrderAnswered():
            return _answered(w, event)
        case CancelAsked():
            order = w.orders.get(event.client_id)
            return w if order is None else _put(w, replace(order, cancel_at=event.at.mono))
        case OrderDead():
            return _dead(w, event)
        case HedgeStarted():
            return replace(w, hedge=started(event), hedges=max(w.hedges, event.hedge_id))
        case HedgeMoved():
            if w.hedge is None or w.hedge.hedge_id != event.hedge_id:
                return w
            return replace(w, hedge=moved(w.hedge, event))
        case HedgeEnded():
            failures = w.failures + 1 if event.failed else 0
            return replace(w, hedge=None, failures=failures, ended_at=event.at.mono)
        case CycleMoved():
            return _cycle_moved(w, event)
        case LatchMoved():
            same = (w.mode, w.reason) == (event.mode, event.reason)
            return w if same else replace(w, mode=event.mode, reason=event.reason)
        case StopAsked():
            return replace(w, stopping=True, flatten_on_stop=w.flatten_on_stop or event.flatten)
        case DayBegan():
            return replace(w, day=event.day, day_baseline=event.baseline)
        case Adopted():
            return _adopted(w, event)
        case FundingSeen():
            return _leg(w, event.payment.venue, lambda leg: told(leg, event))
        case VenueRead():
            return _leg(w, event.venue, lambda leg: told(leg, event))
        case LevelsMoved():
            return replace(w, levels=event.levels)
        case OrderLoaded():
            return _loaded(w, event)
        case _:
            assert_never(event)


def _seen(w: World, seen: Seen) -> World:
    """Fold a venue's own statement."""
    what, at = seen.event, seen.at
    match what:
        case Book():
            return _book(w, what, at, seen.source)
        case Trade():
            return _trade(w, what, at)
        case OrderView():
            return _view(w, what, at)
        case Fill():
            return _fill(w, what, at)
        case Position():
            seen_position = Observed(what, at.mono, seen.source)
            return _leg(w, what.venue, lambda leg: replace(leg, observed=seen_position))
        case StreamState():
            return _stream(w, what, at)
        case _:
            assert_never(what)


def _leg(w: World, venue: Venue, change: Callable[[Leg], Leg]) -> World:
    return replace(w, legs={**w.legs, venue: change(w.legs[venue])})


def _put(w: World, order: Order) -> World:
    orders: Mapping[ClientId, Order] = {**w.orders, order.request.client_id: order}
    if len(orders) > 2 * KEEP_FINISHED:
        crowded = len(orders) > 8 * KEEP_FINISHED  # else what has no price yet is still money
        over = [k for k, o in orders.items() if o.state.over and (crowded or o.cum == o.filled)]
        drop = frozenset(over[: max(0, len(over) - KEEP_FINISHED)])
        orders = {k: o for k, o in orders.items() if k not in drop}
    return replace(w, orders=orders)


def _note(notes: tuple[str, ...], text: str) -> tuple[str, ...]:
    return notes if text in notes else (*notes, text)[-NOTES_KEPT:]


def _book(w: World, book: Book, at: Now, source: str) -> World:
    observed = Observed(book, at.mono, source)
    w = _leg(w, book.venue, lambda leg: replace(leg, book=observed))
    w = replace(w, basis=compared(w, at))
    if book.venue is not Venue.BACKPACK:
        tick = w.hedge_leg.instrument.tick
        return replace(w, flow=observe_book(w.flow, _without_ours(w, book), tick, at.mono))
    maker = w.maker()
    if maker is None:
        return w if w.away_since is None else replace(w, away_since=None)
    own = book.side(maker.request.side.opposite)
    left = bool(own) and (own[0][0] - maker.draft.touch) * maker.sign > 0
    if not left:
        return w if w.away_since is None else replace(w, away_since=None)
    return w if w.away_since is not None else replace(w, away_since=at.mono)


def _without_ours(w: World, book: Book) -> Book:
    """Return the hedge book less our own resting orders: the market that we would join."""
    ours = [o for o in w.live(book.venue) if o.request.post_only and o.state is OrderState.LIVE]
    for order in ours:
        px, left = order.request.px, order.reserved
        side = order.request.side.opposite
        levels = tuple(
            (at_px, Qty(size - left) if at_px == px else size)
            for at_px, size in book.side(side)
            if at_px != px or size > left
        )
        bids, asks = (levels, book.asks) if order.sign > 0 else (book.bids, levels)
        book = replace(book, bids=bids, asks=asks)
    return book


def _trade(w: World, trade: Trade, at: Now) -> World:
    """Fold a public trade of the hedge venue; the primary's are of no use to any decision."""
    if trade.venue is not Venue.GRVT:
        return w
    return replace(w, flow=observe_trade(w.flow, trade, at.mono))


def _stream(w: World, state: StreamState, at: Now) -> World:
    def change(leg: Leg) -> Leg:
        if state.surface is Surface.PUBLIC:
            return replace(leg, public_up=state.up)
        return replace(leg, private_up=state.up, private_since=at.mono)

    return _leg(w, state.venue, change)


# --- orders ----------------------------------------------------------------------------------


def _planned(w: World, event: OrderPlanned) -> World:
    order = Order(event.request, event.draft, OrderState.SENT, event.at)
    w = _put(w, order)
    hedge = w.hedge
    if hedge is not None and event.draft.hedge_id == hedge.hedge_id:
        last = hedge.last_px if event.draft.post_only else event.request.px
        w = replace(w, hedge=replace(hedge, iterations=hedge.iterations + 1, last_px=last))
    return replace(w, away_since=None) if order.request.venue is Venue.BACKPACK else w


def _loaded(w: World, event: OrderLoaded) -> World:
    """Put a journalled order back. Its traded size is already in the loaded positions."""
    state = OrderState(event.state)
    return _put(
        w,
        Order(
            request=event.request,
            draft=event.draft,
            state=state,
            sent=Now(event.at.mono, event.sent_wall),
            venue_order_id=event.venue_order_id,
            cum=event.cum,
            filled=event.filled,
            cost=event.cost,
            fee=event.fee,
            trades=event.trades,
            doubt_at=None if state.over else event.at.mono,
        ),
    )


def _answered(w: World, event: OrderAnswered) -> World:
    order = w.orders.get(event.client_id)
    if order is None:
        return w
    match event.verdict:
        case Verdict.ACCEPTED:
            if order.state in (OrderState.SENT, OrderState.IN_DOUBT):
                w = _put(w, replace(order, state=OrderState.LIVE, doubt_at=None))
            return w if event.view is None else _view(w, event.view, event.at)
        case Verdict.REFUSED:
            return _refused(w, order, event)
        case Verdict.IN_DOUBT:
            if order.state is not OrderState.SENT:
                return w  # a stream already told us more than this lost reply
            doubt = replace(
                order, state=OrderState.IN_DOUBT, doubt_at=event.at.mono, reason=event.message
            )
            return _put(w, doubt)
        case _:
            assert_never(event.verdict)


def _refused(w: World, order: Order, event: OrderAnswered) -> World:
    if order.cum:
        text = f"order {order.request.client_id} refused ({event.code}) after it traded"
        w = replace(w, violations=_note(w.violations, text))
    if order.state.over:
        return w
    dead = replace(
        order,
        state=OrderState.DEAD,
        over_at=event.at.mono,
        reason=f"{event.code} {event.message}".strip(),
        crossed=event.post_only_cross,
    )
    return _after_end(_put(w, dead), dead, event.at)


def _dead(w: World, event: OrderDead) -> World:
    order = w.orders.get(event.client_id)
    if order is None or order.state.over:
        return w
    state = OrderState.DONE if order.cum else OrderState.DEAD
    dead = replace(order, state=state, over_at=event.at.mono, reason=event.proof)
    return _after_end(_put(w, dead), dead, event.at)


def match_order(w: World, venue: Venue, client_id: ClientId | None, venue_id: str) -> Order | None:
    """Find our order by our id, else by the venue's id where we know it."""
    if client_id is not None:
        order = w.orders.get(client_id)
        return order if order is not None and order.request.venue is venue else None
    for order in w.orders.values():
        if venue_id and order.venue_order_id == venue_id and order.request.venue is venue:
            return order
    return None


def _view(w: World, view: OrderView, at: Now) -> World:
    """Fold what a venue says of an order: monotone in ``cum``, ended only by a terminal status."""
    order = match_order(w, view.venue, view.client_id, view.venue_order_id)
    if order is None:
        return w if view.forced else _foreign(w, view.venue, view.venue_order_id)
    problem = _contradiction(order, view)
    if problem:
        text = f"{view.venue} order {order.request.client_id}: {problem}"
        w = replace(w, violations=_note(w.violations, text))
        if order.state.over:
            return w
        if not view.status.terminal:
            return _put(w, replace(order, state=OrderState.QUARANTINED, reason=problem))
        # The venue has ended it, whatever else it says: it cannot trade on, so it must not block.
        ended = replace(order, state=OrderState.DONE, over_at=at.mono, reason=problem)
        return _after_end(_put(w, ended), ended, at)
    grown = max(order.cum, view.cum)
    known_id = view.venue_order_id or order.venue_order_id
    changed = replace(order, cum=grown, venue_order_id=known_id)
    if not order.state.over:
        changed = _with_status(changed, view, at)
    w = _moved(_put(w, changed), order, changed, at)
    if changed.state.over and not order.state.over:
        w = _after_end(w, changed, at)
    return w


def _contradiction(order: Order, view: OrderView) -> str:
    if view.cum > order.request.qty:
        return f"traded {view.cum} of {order.request.qty}"
    if view.side is not order.request.side:
        return f"side {view.side} where we sent {order.request.side}"
    final = view.status.terminal and view.status is not Status.REJECTED
    if final and view.cum < order.cum:
        return f"final size {view.cum} below the {order.cum} already traded"
    return ""


def _with_status(order: Order, view: OrderView, at: Now) -> Order:
    if view.status is Status.UNKNOWN:
        return replace(
            order, state=OrderState.QUARANTINED, reason=f"unknown status {view.raw_status!r}"
        )
    if view.status.terminal:
        crossed = order.draft.post_only and "POST_ONLY" in view.reason.upper().replace(" ", "_")
        refused = view.status is Status.REJECTED and not order.cum and not crossed
        return replace(
            order,
            state=OrderState.DEAD if refused else OrderState.DONE,
            over_at=at.mono,
            reason=view.reason or view.status.value,
            crossed=crossed,
            doubt_at=None,
        )
    return replace(order, state=OrderState.LIVE, doubt_at=None)


def _fill(w: World, fill: Fill, at: Now) -> World:
    """Fold one execution: deduplicated by trade id, priced once."""
    order = match_order(w, fill.venue, fill.client_id, fill.venue_order_id)
    if order is None:
        return _forced_fill(w, fill, at) if fill.forced else _foreign(w, fill.venue, fill.trade_id)
    if fill.trade_id in order.trades:
        return w
    filled = Qty(order.filled + fill.qty)
    if filled > order.request.qty or fill.side is not order.request.side:
        text = (
            f"{fill.venue} order {order.request.client_id}: fill {fill.trade_id} beyond the order"
        )
        w = replace(w, violations=_note(w.violations, text))
        if order.state.over:
            return w
        return _put(w, replace(order, state=OrderState.QUARANTINED, reason=text))
    paid = notional(fill.px, fill.qty)
    changed = replace(
        order,
        filled=filled,
        cum=max(order.cum, filled),
        cost=Quote(order.cost + paid),
        fee=Quote(order.fee + fill.fee),
        trades=order.trades | {fill.trade_id},
    )
    w = _put(w, changed)
    w = _leg(
        w,
        fill.venue,
        lambda leg: replace(
            leg,
            cash=Quote(leg.cash - paid * order.sign),
            fees=Quote(leg.fees + fill.fee),
            volume=Quote(leg.volume + paid),
        ),
    )
    return _hedge_fill(_moved(w, order, changed, at), changed, fill)


def _hedge_fill(w: World, order: Order, fill: Fill) -> World:
    hedge = w.hedge
    if hedge is None or order.draft.hedge_id != hedge.hedge_id or fill.venue is not Venue.GRVT:
        return w
    return replace(w, hedge=filled(hedge, order, fill))


def _foreign(w: World, venue: Venue, what: str) -> World:
    """Record activity on our account that no order of ours explains: a second actor."""
    return replace(w, foreign=_note(w.foreign, f"{venue} {what}"))


def _forced_fill(w: World, fill: Fill, at: Now) -> World:
    """Fold a close that the venue made itself: our exposure changed, whoever traded."""
    text = f"{fill.venue} {fill.trade_id}"
    if text in w.forced:
        return w
    believed = plausible(w, fill)
    if believed is not fill:
        beyond = f"{text}: a close of {plain(fill.qty)} where less is held"
        w, fill = replace(w, violations=_note(w.violations, beyond)), believed
    if not fill.qty:
        return w
    w = _clock_net(replace(w, forced=_note(w.forced, text)), at)
    signed, paid = fill.qty * fill.side.value, notional(fill.px, fill.qty)
    w = _leg(
        w,
        fill.venue,
        lambda leg: replace(
            leg,
            position=SignedQty(leg.position + signed),
            cash=Quote(leg.cash - paid * fill.side.value),
            fees=Quote(leg.fees + fill.fee),
            volume=Quote(leg.volume + paid),
        ),
    )
    return _net_changed(w, at)


def _moved(w: World, before: Order, after: Order, at: Now) -> World:
    """Carry a change of traded size into the position and the naked-exposure clock."""
    delta = (after.cum - before.cum) * after.sign
    if not delta:
        return w
    venue = after.request.venue
    w = _clock_net(w, at)
    w = _leg(w, venue, lambda leg: replace(leg, position=SignedQty(leg.position + delta)))
    w = _net_changed(w, at)
    first = not before.cum and after.request.venue is Venue.BACKPACK
    if first and not after.draft.hedge_id:
        w = replace(w, cycle=replace(w.cycle, cycles=w.cycle.cycles + 1), rejects=0)
    return w


def _clock_net(w: World, at: Now) -> World:
    """Add the exposure carried since the last change to the base x time integral."""
    if not w.net:
        return replace(w, net_at=at.mono)
    carried = abs(w.net) * max(0, at.mono - w.net_at)
    return replace(w, net_at=at.mono, naked_integral=w.naked_integral + carried)


def _net_changed(w: World, at: Now) -> World:
    mid = w.price()
    naked = bool(w.net) and (mid is None or w.hedge_leg.instrument.hedgeable(abs(w.net), mid))
    since = w.naked_since if w.naked_since is not None else at.mono
    return replace(
        w,
        naked_since=since if naked else None,
        max_naked=Qty(max(w.max_naked, abs(w.net))),
    )


def _after_end(w: World, order: Order, at: Now) -> World:
    """React to an order's end: fresh-book marker for the router, back-off for refused makers."""
    purpose, venue = order.request.purpose, order.request.venue
    if purpose is Purpose.UNWIND or (purpose is Purpose.HEDGE and order.state is OrderState.DEAD):
        if not order.cum:
            w = replace(w, avoid=venue)
        elif w.avoid is venue:
            w = replace(w, avoid=None)
    if purpose is Purpose.UNWIND:
        tries = 0 if order.cum else w.unwind_tries + 1
        w = replace(w, unwind_tries=tries, unwind_at=at.mono)
    hedge = w.hedge
    if hedge is not None and order.draft.hedge_id == hedge.hedge_id:
        return replace(w, hedge=over(hedge, order, at))
    maker = order.request.venue is Venue.BACKPACK and not order.draft.hedge_id
    if maker and not order.cum and order.cancel_at is None:
        # the venue ended it, not we (F11, F16): do not hammer
        wait = REJECT_BACKOFF * min(1 << min(w.rejects, 4), 16)
        return replace(w, rejects=w.rejects + 1, retry_at=Ns(at.mono + wait))
    return w


# --- hedge, cycle, adoption --------------------------------------------------------------------


def _cycle_moved(w: World, event: CycleMoved) -> World:
    return replace(w, cycle=Cycle(event.iteration, event.phase, event.at.mono, w.cycle.cycles))


def _adopted(w: World, event: Adopted) -> World:
    """Take a position into the books at a price, as if traded there without a fee."""
    w = _leg(
        _clock_net(w, event.at),
        event.venue,
        lambda leg: replace(
            leg,
            position=SignedQty(leg.position + event.qty),
            cash=Quote(leg.cash - notional(event.px, event.qty)),
        ),
    )
    return _net_changed(w, event.at)

"""The running hedge's own changes, for the fold. Pure; imports the core only."""

from dataclasses import replace

from strategy.domain import Fill, Now, Qty, Quote, notional
from strategy.events import HedgeMoved, HedgeStarted, RoutePhase
from strategy.world import Hedge, Order, OrderState


def started(event: HedgeStarted) -> Hedge:
    """Return a hedge as it begins: it rests first."""
    return Hedge(
        hedge_id=event.hedge_id,
        target=event.target,
        phase=RoutePhase.PASSIVE,
        arrival_touch=event.arrival_touch,
        arrival_mid=event.arrival_mid,
        fill_at=event.fill_at,
    )


def moved(hedge: Hedge, event: HedgeMoved) -> Hedge:
    """Return the hedge in its next phase, with the time it stopped resting for good."""
    first = event.phase is RoutePhase.CROSS and hedge.crossed_at is None
    return replace(
        hedge, phase=event.phase, crossed_at=event.at.mono if first else hedge.crossed_at
    )


def filled(hedge: Hedge, order: Order, fill: Fill) -> Hedge:
    """Return the hedge with one execution of one of its orders."""
    passive = fill.qty if order.draft.post_only else 0
    return replace(
        hedge,
        filled=Qty(hedge.filled + fill.qty),
        cost=Quote(hedge.cost + notional(fill.px, fill.qty)),
        touch_cost=Quote(hedge.touch_cost + notional(order.draft.touch, fill.qty)),
        fee=Quote(hedge.fee + fill.fee),
        passive_filled=Qty(hedge.passive_filled + passive),
    )


def over(hedge: Hedge, order: Order, at: Now) -> Hedge:
    """Return the hedge after one of its orders ended."""
    took = hedge.took_at if order.draft.post_only else at.mono
    late = order.crossed and not order.cum
    refused = not order.cum and order.state is OrderState.DEAD and not late
    return replace(
        hedge,
        last_over_at=at.mono,
        took_at=took,
        refusals=hedge.refusals + 1 if refused else 0,
        missed=hedge.missed + 1 if late else 0,
    )

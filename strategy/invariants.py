"""Invariants of the books, checked at every fold: what must hold whatever the venues say.

Pure; imports the core only. The numbers are those of the invariant list (S4, S5, S7, S16). A broken
one is a defect of ours, not of a venue: the latch closes and the operator is told.
"""

from collections.abc import Mapping

from strategy.domain import Venue
from strategy.events import Adopted, Event, OrderAnswered, OrderDead, OrderLoaded, Seen, Verdict
from strategy.world import Order, OrderState, World


def broken(before: World, after: World, event: Event) -> str:
    """Return what one fold broke, or nothing."""
    if after.orders is before.orders:
        return ""
    moved = dict.fromkeys(Venue, 0)
    for client_id, order in after.orders.items():
        known = before.orders.get(client_id)
        if known is order:
            continue
        problem = _order(order) or (_change(known, order, event) if known is not None else "")
        if problem:
            return f"order {client_id}: {problem}"
        if known is not None:
            moved[order.request.venue] += order.signed_cum - known.signed_cum
    return _positions(before, after, event, moved)


def _order(order: Order) -> str:
    """S16 and the bounds of S7 on one order."""
    sizes = (order.filled, order.cum, order.request.qty, order.cost, order.fee, order.request.px)
    if any(type(size) is not int for size in sizes):
        return "S16: a number that is not a whole count of 1e-9"
    if not 0 <= order.filled <= order.cum <= order.request.qty:
        return f"S7: filled {order.filled}, traded {order.cum} of {order.request.qty}"
    return ""


def _change(known: Order, order: Order, event: Event) -> str:
    """S4, S5 and the monotone half of S7 on one change."""
    if order.request != known.request:
        return "S4: the request changed under its id"
    if order.cum < known.cum or order.filled < known.filled:
        return "S7: traded size shrank"
    left_doubt = known.state is OrderState.IN_DOUBT and order.state is not OrderState.IN_DOUBT
    if left_doubt and not _evidence(event):
        return "S5: left IN_DOUBT without evidence"
    if known.state.over and not order.state.over and order.state is not OrderState.QUARANTINED:
        return "an ended order came back to life"
    return ""


def _evidence(event: Event) -> bool:
    """True for a venue's own word, or a proof of death."""
    if isinstance(event, OrderAnswered):
        return event.verdict is not Verdict.IN_DOUBT
    return isinstance(event, Seen | OrderDead)


def _positions(before: World, after: World, event: Event, traded: Mapping[Venue, int]) -> str:
    """A position moves by exactly what its orders traded (or by what policy took in)."""
    if isinstance(event, Adopted | OrderLoaded) or after.forced != before.forced:
        return ""
    for venue in Venue:
        moved = after.legs[venue].position - before.legs[venue].position
        if moved != traded[venue]:
            return f"{venue}: position moved by {moved}, orders traded {traded[venue]}"
    return ""

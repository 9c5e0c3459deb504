"""From what a GRVT client wrote to what the engine takes, with the checks that are the face's.

The face checks itself what the engine cannot: rules that an active fault has tightened, the rules
for orders that wait for a trigger, and the largest position (venues.md A4.3).
"""

from exchanges.simulator.grvt_codec import MAX_POSITION, wire_of
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_members import Member
from exchanges.simulator.grvt_payload import OrderPlan
from exchanges.simulator.grvt_words import BOOK_TIFS, ApiError
from exchanges.simulator.model import NewOrder
from strategy.domain import Bps, Px, Qty, notional

_BPS_PER_PERCENT = 100_000_000
"""``Bps`` units in one percent."""
BUILDER_CAP = 1
"""Largest builder fee that the venue's program allows, percent; a choice."""


def new_order(desk: Desk, member: Member, plan: OrderPlan, shown_id: str = "") -> NewOrder:
    """Return the engine's order; ``shown_id`` is the id that a fired trigger keeps."""
    extra: dict[str, object] = {
        "wire": wire_of(plan),
        "self_trade": desk.options.self_trade,
    }
    if shown_id:
        extra["shown_id"] = shown_id
    if plan.builder:
        extra |= {
            "builder": plan.builder,
            "builder_fee": Bps(int(plan.builder_fee * _BPS_PER_PERCENT)),
        }
    return NewOrder(
        account=member.id,
        symbol=plan.symbol,
        side=plan.side,
        qty=Qty(plan.size),
        px=None if plan.market else Px(plan.limit_px),
        tif=BOOK_TIFS[plan.tif],
        post_only=plan.post_only,
        reduce_only=plan.reduce_only,
        client_id=plan.client_id,
        expires_at=plan.signature.expiration,
        extra=extra,
    )


def check_stricter(desk: Desk, plan: OrderPlan) -> None:
    """Refuse an order that only the rules of F14 (tick) or F15 (minimum size) forbid.

    Raises:
        ApiError: 2062 or 2064.
    """
    instrument = desk.market(plan.symbol).instrument
    if plan.size < instrument.min_qty and desk.fault("F15") is not None:
        raise ApiError(2062)
    if plan.limit_px % instrument.tick and desk.fault("F14") is not None:
        raise ApiError(2064)


def check_position(desk: Desk, member: Member, plan: OrderPlan) -> None:
    """Refuse an order whose fill would exceed the largest position; raises ApiError 2081.

    What margin forbids too is left to the engine, which says 2080.
    """
    held = member.account.positions.get(plan.symbol)
    after = (0 if held is None else held.qty) + plan.side.value * plan.size
    if plan.reduce_only or abs(after) <= MAX_POSITION:
        return
    px = Px(plan.limit_px or desk.engine.mark(plan.symbol))
    if plan.size <= desk.engine.max_order_qty(member.id, plan.symbol, plan.side, px):
        raise ApiError(2081)


def check_waiting(desk: Desk, plan: OrderPlan) -> None:
    """Check what a trigger order must keep to before it waits.

    Raises:
        ApiError: 2060, 2062, 2064, 2065, 2066 or 2067.
    """
    instrument = desk.market(plan.symbol).instrument
    if not instrument.tradable:
        raise ApiError(2060)
    if plan.size < max(instrument.min_qty, 1):
        raise ApiError(2062)
    if plan.size % instrument.step:
        raise ApiError(2065)
    if plan.limit_px % instrument.tick:
        raise ApiError(2064)
    px = Px(plan.limit_px or (plan.trigger.px if plan.trigger is not None else 0))
    if notional(px, plan.size) < instrument.min_notional:
        raise ApiError(2067 if plan.reduce_only else 2066)

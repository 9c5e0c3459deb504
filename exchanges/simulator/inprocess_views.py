"""What the in-process face tells of the engine's records, in domain types.

Imports ``strategy.domain`` and simulator modules only.
"""

from exchanges.simulator.api import Engine
from exchanges.simulator.model import Deny, Ended, Phase, SimFill, SimOrder
from strategy.domain import (
    ClientId,
    Fill,
    OrderRequest,
    OrderView,
    Px,
    Qty,
    Status,
    Venue,
)

_STATUS = {
    Phase.PENDING: Status.PENDING,
    Phase.OPEN: Status.OPEN,
    Phase.FILLED: Status.FILLED,
    Phase.CANCELLED: Status.CANCELLED,
    Phase.REJECTED: Status.REJECTED,
}
_FORCED = frozenset({Ended.LIQUIDATION})
_GRVT_BASE = 1 << 63
"""API clients of GRVT use the upper half of uint64 (venues.md A5.1)."""
_LIMITS = {Venue.GRVT: 1 << 63, Venue.BACKPACK: 1 << 32}
"""Backpack's client ids are uint32 and start at 1 (venues.md B8)."""


class Numbers:
    """Maps our order numbers to a venue's client ids and back."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._base = _GRVT_BASE if venue is Venue.GRVT else 0

    def text(self, client_id: ClientId) -> str:
        """Return the venue's text of one of our numbers.

        Raises:
            ValueError: outside the venue's range.
        """
        if not 0 < client_id < _LIMITS[self._venue]:
            raise ValueError(f"client id {client_id} is outside the range of {self._venue}")
        return str(self._base + client_id)

    def number(self, text: str) -> ClientId | None:
        """Return our number; None when the order is not of our range: foreign."""
        number = int(text) - self._base if text.isascii() and text.isdigit() else 0
        return ClientId(number) if 0 < number < _LIMITS[self._venue] else None

    def acknowledged(self, request: OrderRequest) -> OrderView:
        """Return GRVT's acknowledgement: PENDING and no id yet (venues.md A5.2)."""
        return OrderView(
            venue=self._venue,
            client_id=request.client_id,
            venue_order_id="",
            symbol=request.symbol,
            side=request.side,
            qty=request.qty,
            px=request.px,
            cum=Qty(0),
            status=Status.PENDING,
            raw_status="PENDING",
            reduce_only=request.reduce_only,
        )


def order_of(venue: Venue, numbers: Numbers, order: SimOrder) -> OrderView:
    """Return what the venue says of an order now."""
    request = order.request
    status = Status.EXPIRED if order.ended is Ended.EXPIRED else _STATUS[order.phase]
    return OrderView(
        venue=venue,
        client_id=numbers.number(request.client_id),
        venue_order_id=order.order_id,
        symbol=request.symbol,
        side=request.side,
        qty=order.qty,
        px=Px(0) if request.px is None else request.px,
        cum=order.cum,
        status=status,
        reason=_reason(order),
        raw_status=status.value,
        reduce_only=request.reduce_only,
        forced=order.ended in _FORCED,
    )


def fill_of(engine: Engine, numbers: Numbers, fill: SimFill) -> Fill:
    """Return one execution."""
    order = engine.orders.get(fill.order_id)
    return Fill(
        venue=engine.rules.venue,
        trade_id=fill.trade_id,
        client_id=None if order is None else numbers.number(order.request.client_id),
        venue_order_id=fill.order_id,
        symbol=fill.symbol,
        side=fill.side,
        qty=fill.qty,
        px=fill.px,
        fee=fill.fee,
        fee_asset=engine.rules.settle_asset,
        is_maker=fill.is_maker,
        at=fill.at,
        forced=fill.forced,
    )


def _reason(order: SimOrder) -> str:
    if order.deny is Deny.POST_ONLY_CROSS:
        return "FAIL_POST_ONLY"
    why = order.deny or order.ended
    return "" if why is None or why is Ended.FILLED else why.value

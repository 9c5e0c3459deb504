"""What a journal's rows mean: orders with their fills, a venue's books, and plain JSON bodies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from strategy.domain import (
    Bps,
    ClientId,
    Draft,
    Ns,
    OrderRequest,
    Purpose,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Tif,
    Venue,
    notional,
)

OF_ORDER = "SELECT trade_id, qty, px, fee FROM fills WHERE venue=? AND client_id=?"


@dataclass(frozen=True, slots=True)
class LoadedOrder:
    """An order row with what its fills add up to."""

    request: OrderRequest
    draft: Draft
    state: str
    venue_order_id: str
    cum: Qty
    filled: Qty
    cost: Quote
    fee: Quote
    trades: frozenset[str]
    sent_wall: Ns


@dataclass(frozen=True, slots=True)
class Ledger:
    """One venue's books as the journal has them."""

    position: SignedQty
    cash: Quote
    fees: Quote
    funding: Quote
    volume: Quote


def loaded_order(row: Mapping[str, Any], fills: Sequence[tuple[str, Qty, Px, int]]) -> LoadedOrder:
    """Build an order from its row and its fills: trade id, size, price, fee."""
    request = OrderRequest(
        client_id=ClientId(row["client_id"]),
        venue=Venue(row["venue"]),
        symbol=row["symbol"],
        side=Side(row["side"]),
        qty=Qty(row["qty"]),
        px=Px(row["px"]),
        tif=Tif(row["tif"]),
        post_only=bool(row["post_only"]),
        reduce_only=bool(row["reduce_only"]),
        expires_at=Ns(row["expires_at"]),
        purpose=Purpose(row["purpose"]),
    )
    draft = Draft(
        venue=request.venue,
        side=request.side,
        qty=request.qty,
        px=request.px,
        tif=request.tif,
        post_only=request.post_only,
        reduce_only=request.reduce_only,
        purpose=request.purpose,
        touch=Px(row["touch"]),
        life=Ns(row["life"]),
        hedge_id=row["hedge_id"],
        levels=row["levels"],
        cap=Bps(row["cap"]),
    )
    filled = cost = fee = 0
    trades = set()
    for trade, qty, px, paid in fills:
        filled += qty
        cost += notional(px, qty)
        fee += paid
        trades.add(trade)
    return LoadedOrder(
        request,
        draft,
        row["state"],
        row["venue_order_id"],
        Qty(row["cum"]),
        Qty(filled),
        Quote(cost),
        Quote(fee),
        frozenset(trades),
        Ns(row["sent_wall"]),
    )


def jsonable(value: object) -> object:
    """Render dataclasses, enums and containers as plain JSON values."""
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: jsonable(getattr(value, f.name)) for f in fields(value)}  # type: ignore[arg-type]  # checked by the line above
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(v) for v in value]
    return value

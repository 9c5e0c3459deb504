"""REST bodies of Backpack from the engine's records (venues.md B3). Pure.

Decimals are plain strings; ``createdAt`` of a live order is ms, everything in history is naive
ISO-8601 UTC.
"""

from exchanges.simulator.api import Engine
from exchanges.simulator.backpack_words import (
    MS,
    Json,
    expiry_reason,
    iso,
    side_word,
    status_word,
    system_type,
)
from exchanges.simulator.model import SimFill, SimOrder
from strategy.domain import Ns, plain

# --- markets ---------------------------------------------------------------------------------


def mark_json(engine: Engine, symbol: str) -> Json:
    """Render one row of ``GET /api/v1/markPrices``; the rate is a fraction per interval."""
    return {
        "symbol": symbol,
        "markPrice": plain(engine.mark(symbol)),
        "indexPrice": plain(engine.index(symbol) or engine.mark(symbol)),
        "fundingRate": plain(engine.funding_rate(symbol)),
        "nextFundingTimestamp": engine.next_funding() // MS,
    }


# --- orders and fills ------------------------------------------------------------------------


def _extra(order: SimOrder, name: str) -> object:
    return order.request.extra.get(name)


def client_number(order: SimOrder) -> int | None:
    """Return the order's client id, or None."""
    # A repeated id, where the switch takes one, is kept from the engine, which would refuse it.
    repeated = _extra(order, "clientId")
    if isinstance(repeated, int):
        return repeated
    return int(order.request.client_id) if order.request.client_id else None


def visible_id(order: SimOrder) -> str:
    """Return the id the client knows: a trigger order keeps its own when it fires."""
    own = _extra(order, "orderId")
    return own if isinstance(own, str) else order.order_id


def created_at(order: SimOrder) -> Ns:
    """Return when the client placed it; a trigger order waits before the engine receives it."""
    placed = _extra(order, "placedAt")
    return Ns(placed) if isinstance(placed, int) else order.received_at


def echo(order: SimOrder) -> Json:
    """Return the conditional members that order objects print: trigger, take profit, stop loss."""
    found = _extra(order, "echo")
    return found if isinstance(found, dict) else {}


def is_market(order: SimOrder) -> bool:
    """True when the client asked for a market order, whatever bound the face added."""
    return _extra(order, "orderType") == "Market" or order.request.px is None


def tif_word(order: SimOrder) -> str:
    """Return the time in force; market orders report ``GTC`` (venues.md B3.2)."""
    return "GTC" if is_market(order) else order.request.tif.name


def stp_word(order: SimOrder) -> str:
    """Return the self-trade prevention the order was sent with."""
    word = _extra(order, "selfTradePrevention")
    return word if isinstance(word, str) else "RejectTaker"


def quote_size(order: SimOrder) -> str | None:
    """Return the quote size of a market order sized in quote, else None."""
    word = _extra(order, "quoteQuantity")
    return word if isinstance(word, str) else None


def order_json(order: SimOrder, status: str | None = None) -> Json:
    """Render a live order, or the engine's reply to a new one (venues.md B3.2).

    Args:
        order: the engine's record.
        status: replaces the status word.
    """
    row: Json = {
        "id": visible_id(order),
        "clientId": client_number(order),
        "createdAt": created_at(order) // MS,
        "orderType": "Market" if is_market(order) else "Limit",
        "symbol": order.request.symbol,
        "side": side_word(order.request.side),
        "status": status or status_word(order),
        "quantity": None if _extra(order, "unsized") else plain(order.qty),
        "executedQuantity": plain(order.cum),
        "executedQuoteQuantity": plain(order.cum_quote),
        "timeInForce": tif_word(order),
        "selfTradePrevention": stp_word(order),
        "reduceOnly": order.request.reduce_only,
        "relatedOrderId": None,
        "strategyId": None,
        "stopLossLimitPrice": None,
        "stopLossTriggerBy": None,
        "stopLossTriggerPrice": None,
        "takeProfitLimitPrice": None,
        "takeProfitTriggerBy": None,
        "takeProfitTriggerPrice": None,
        "triggerBy": None,
        "triggerPrice": None,
        "triggerQuantity": None,
        "triggeredAt": None,
    }
    if is_market(order):
        row["quoteQuantity"] = quote_size(order)
    else:
        row["price"] = plain(order.request.px or 0)
        row["postOnly"] = order.request.post_only
    return row | echo(order)


def history_order_json(
    order: SimOrder, status: str | None = None, reason: str | None = None
) -> Json:
    """Render one row of ``GET /wapi/v1/history/orders``; ``reason`` is that of a trigger order."""
    row = order_json(order, status)
    row["createdAt"] = iso(created_at(order))
    if row["triggeredAt"] is not None:
        row["triggeredAt"] = iso(Ns(row["triggeredAt"] * MS))
    row["expiryReason"] = reason or expiry_reason(order)
    row["systemOrderType"] = system_type(order, None)
    row.setdefault("price", None)
    row.setdefault("quoteQuantity", None)
    row.setdefault("postOnly", False)
    return row


def fill_json(fill: SimFill, order: SimOrder | None, number: int, fee_asset: str) -> Json:
    """Render one row of ``GET /wapi/v1/history/fills``; ``clientId`` is text here."""
    client = None if order is None else client_number(order)
    return {
        "orderId": fill.order_id if order is None else visible_id(order),
        "clientId": None if client is None else str(client),
        "symbol": fill.symbol,
        "side": side_word(fill.side),
        "price": plain(fill.px),
        "quantity": plain(fill.qty),
        "fee": plain(fill.fee),
        "feeSymbol": fee_asset,
        "isMaker": fill.is_maker,
        "tradeId": number,
        "timestamp": iso(fill.at),
        "systemOrderType": system_type(order, fill),
    }

"""REST bodies of Backpack from the engine's records (venues.md B3). Pure.

Decimals are plain strings; ``createdAt`` of a live order is ms, everything in history is naive
ISO-8601 UTC.
"""

from exchanges.simulator.api import Engine
from exchanges.simulator.backpack_words import (
    LIQUIDATION_ORIGIN,
    MS,
    USER_ID,
    Json,
    expiry_reason,
    fraction,
    iso,
    side_word,
    status_word,
)
from exchanges.simulator.model import Market, Rules, SimAccount, SimFill, SimOrder, SimPosition
from strategy.domain import BPS_ONE, NANO, Bps, Ns, Px, Quote, notional, plain

_LISTED = "2025-01-21T06:34:54.691858"
_POSITION_ID_BASE = 4_238_420_454


# --- markets ---------------------------------------------------------------------------------


def _multiplier(distance: int) -> str:
    return plain((BPS_ONE + distance) * NANO // BPS_ONE)


def _margin_function(base: Bps) -> Json:
    # The engine's margin does not grow with size, so the square-root factor is zero.
    return {"type": "sqrt", "base": fraction(base), "factor": "0"}


def market_json(market: Market, rules: Rules) -> Json:
    """Render one row of ``GET /api/v1/markets`` (venues.md B3.1, B6)."""
    inst = market.instrument
    return {
        "symbol": inst.symbol,
        "baseSymbol": inst.base,
        "quoteSymbol": inst.quote,
        "marketType": "PERP",
        "filters": {
            "price": {
                "minPrice": plain(inst.tick),
                "maxPrice": "1000000",
                "tickSize": plain(inst.tick),
                "maxMultiplier": _multiplier(rules.price_band),
                "minMultiplier": _multiplier(-rules.price_band),
                "maxImpactMultiplier": _multiplier(rules.market_impact),
                "minImpactMultiplier": _multiplier(-rules.market_impact),
                "meanMarkPriceBand": {"maxMultiplier": "1.09", "minMultiplier": "0.92"},
                "meanPremiumBand": {"tolerancePct": "0.05"},
                "borrowEntryFeeMaxMultiplier": None,
                "borrowEntryFeeMinMultiplier": None,
            },
            "quantity": {
                "minQuantity": plain(inst.min_qty),
                "maxQuantity": None,
                "stepSize": plain(inst.step),
            },
        },
        "imfFunction": _margin_function(rules.initial_margin),
        "mmfFunction": _margin_function(rules.maintenance_margin),
        "fundingInterval": rules.funding_interval // MS,
        "fundingRateUpperBound": "100",
        "fundingRateLowerBound": "-100",
        "openInterestLimit": "64000",
        "orderBookState": market.state,
        "createdAt": _LISTED,
        "visible": True,
        "positionLimitWeight": None,
    }


def mark_json(engine: Engine, symbol: str, now: Ns) -> Json:
    """Render one row of ``GET /api/v1/markPrices``; the rate is a fraction per interval."""
    mark = plain(engine.mark(symbol))
    return {
        "symbol": symbol,
        "markPrice": mark,
        "indexPrice": mark,
        "fundingRate": plain(engine.rules.funding_rate),
        "nextFundingTimestamp": next_funding(engine.rules, now) // MS,
    }


def next_funding(rules: Rules, now: Ns) -> Ns:
    """Return when funding is next settled: the end of the current interval of Unix time."""
    return Ns((now // rules.funding_interval + 1) * rules.funding_interval)


def open_interest(engine: Engine, symbol: str) -> str:
    """Return the long side of the simulated accounts; the external market's is not known."""
    held = (account.positions.get(symbol) for account in engine.accounts.values())
    return plain(sum(position.qty for position in held if position and position.qty > 0))


# --- orders and fills ------------------------------------------------------------------------


def client_number(order: SimOrder) -> int | None:
    """Return the order's client id, or None."""
    return int(order.request.client_id) if order.request.client_id else None


def _extra(order: SimOrder, name: str) -> object:
    return order.request.extra.get(name)


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
        "id": order.order_id,
        "clientId": client_number(order),
        "createdAt": order.received_at // MS,
        "orderType": "Market" if is_market(order) else "Limit",
        "symbol": order.request.symbol,
        "side": side_word(order.request.side),
        "status": status or status_word(order),
        "quantity": plain(order.qty),
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
    return row


def history_order_json(order: SimOrder, forced: bool, status: str | None = None) -> Json:
    """Render one row of ``GET /wapi/v1/history/orders``."""
    row = order_json(order, status)
    row["createdAt"] = iso(order.received_at)
    row["expiryReason"] = expiry_reason(order)
    row["systemOrderType"] = LIQUIDATION_ORIGIN if forced else None
    row.setdefault("price", None)
    row.setdefault("quoteQuantity", None)
    row.setdefault("postOnly", False)
    return row


def fill_json(fill: SimFill, order: SimOrder | None, number: int, fee_asset: str) -> Json:
    """Render one row of ``GET /wapi/v1/history/fills``; ``clientId`` is text here."""
    client_id = order.request.client_id if order is not None else ""
    return {
        "orderId": fill.order_id,
        "clientId": client_id or None,
        "symbol": fill.symbol,
        "side": side_word(fill.side),
        "price": plain(fill.px),
        "quantity": plain(fill.qty),
        "fee": plain(fill.fee),
        "feeSymbol": fee_asset,
        "isMaker": fill.is_maker,
        "tradeId": number,
        "timestamp": iso(fill.at),
        "systemOrderType": LIQUIDATION_ORIGIN if fill.forced else None,
    }


# --- account ---------------------------------------------------------------------------------


def position_number(engine: Engine, symbol: str) -> int:
    """Return the stable id of the account's position in a market."""
    return _POSITION_ID_BASE + list(engine.markets).index(symbol)


def unrealized(position: SimPosition, mark: Px) -> Quote:
    """Return the open profit at the mark."""
    return notional(Px(mark - position.entry), position.qty)


def break_even(position: SimPosition) -> int:
    """Return the price at which the position, with what it cost and earned, would be flat."""
    if not position.qty:
        return 0
    spent = position.fees - position.funding - position.realized
    return position.entry + spent * NANO // position.qty


def liquidation_price(engine: Engine, account: SimAccount, position: SimPosition) -> int:
    """Return the mark at which equity equals maintenance margin; 0 when there is none."""
    equity = engine.equity(account.account_id)
    mark = engine.mark(position.symbol)
    margin = engine.rules.maintenance_margin
    size = abs(position.qty)
    if position.qty > 0:
        worth, weight = notional(mark, size) - equity, BPS_ONE - margin
    else:
        worth, weight = notional(mark, size) + equity, BPS_ONE + margin
    return max(worth, 0) * NANO * BPS_ONE // (size * weight)


def position_json(engine: Engine, account: SimAccount, position: SimPosition) -> Json:
    """Render one row of ``GET /api/v1/position`` (venues.md B3.3)."""
    rules = engine.rules
    mark = engine.mark(position.symbol)
    return {
        "symbol": position.symbol,
        "netQuantity": plain(position.qty),
        "netCost": plain(notional(position.entry, position.qty)),
        "netExposureQuantity": plain(abs(position.qty)),
        "netExposureNotional": plain(notional(mark, abs(position.qty))),
        "entryPrice": plain(position.entry),
        "breakEvenPrice": plain(break_even(position)),
        "markPrice": plain(mark),
        "estLiquidationPrice": plain(liquidation_price(engine, account, position)),
        "imf": fraction(rules.initial_margin),
        "mmf": fraction(rules.maintenance_margin),
        "imfFunction": _margin_function(rules.initial_margin),
        "mmfFunction": _margin_function(rules.maintenance_margin),
        "pnlRealized": plain(position.realized),
        "pnlUnrealized": plain(unrealized(position, mark)),
        "cumulativeFundingPayment": plain(position.funding),
        "cumulativeInterest": "0",
        "positionId": str(position_number(engine, position.symbol)),
        "userId": USER_ID,
        "subaccountId": None,
    }


def collateral_json(engine: Engine, account: SimAccount) -> Json:
    """Render ``GET /api/v1/capital/collateral`` (venues.md B3.3)."""
    rules = engine.rules
    equity = engine.equity(account.account_id)
    used = engine.margin_used(account.account_id)
    exposure = sum(
        notional(engine.mark(symbol), abs(position.qty))
        for symbol, position in account.positions.items()
        if position.qty
    )
    balance = plain(account.balance)
    return {
        "assetsValue": balance,
        "borrowLiability": "0",
        "liabilitiesValue": "0",
        "netEquity": plain(equity),
        "netEquityAvailable": plain(max(equity - used, 0)),
        "netEquityLocked": plain(used),
        "netExposureFutures": plain(exposure),
        "pnlUnrealized": plain(equity - account.balance),
        "unsettledEquity": "0",
        "imf": fraction(rules.initial_margin),
        "mmf": fraction(rules.maintenance_margin),
        "marginFraction": plain(equity * NANO // exposure) if exposure else None,
        "collateral": [
            {
                "symbol": rules.settle_asset,
                "assetMarkPrice": "1",
                "totalQuantity": balance,
                "balanceNotional": balance,
                "collateralWeight": "1",
                "collateralValue": balance,
                "openOrderQuantity": "0",
                "lendQuantity": "0",
                "availableQuantity": balance,
            }
        ],
    }

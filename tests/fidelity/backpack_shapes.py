"""Shapes of Backpack's messages, as captured in 2025-07 to 2026-09 and as its documents print them.

Written down by us; no captured message is kept. A field marked ``?`` is in some captures or in the
documents, and absent from other captures; the comment says which.
"""

from typing import Any

from tests.fidelity.shapes import Shape

Row = dict[str, Any]

SIDE = "= Bid Ask"
STATUS = "= New PartiallyFilled Filled Cancelled Expired TriggerPending TriggerFailed"
STP = "= RejectTaker RejectMaker RejectBoth Allow"
TIF = "= GTC IOC FOK"
PAIR = ["dec", "dec"]

MARGIN_FUNCTION: Row = {"type": "= sqrt", "base": "dec", "factor": "dec"}
MARKET: Row = {
    "symbol": "str",
    "baseSymbol": "str",
    "quoteSymbol": "= USDC",
    "marketType": "= PERP",
    "filters": {
        "price": {
            "minPrice": "dec",
            "maxPrice": "dec?",
            "tickSize": "dec",
            "maxMultiplier": "dec",
            "minMultiplier": "dec",
            "maxImpactMultiplier": "dec",
            "minImpactMultiplier": "dec",
            "meanMarkPriceBand": {"maxMultiplier": "dec", "minMultiplier": "dec"},
            "meanPremiumBand": {"tolerancePct": "dec"},
            "borrowEntryFeeMaxMultiplier": "dec?",
            "borrowEntryFeeMinMultiplier": "dec?",
        },
        "quantity": {"minQuantity": "dec", "maxQuantity": "dec?", "stepSize": "dec"},
    },
    "imfFunction": MARGIN_FUNCTION,
    "mmfFunction": MARGIN_FUNCTION,
    "fundingInterval": "hours",
    "fundingRateUpperBound": "dec",
    "fundingRateLowerBound": "dec",
    "openInterestLimit": "dec",
    "orderBookState": "= Open Closed CancelOnly LimitOnly PostOnly",
    "createdAt": "iso",
    # Documented since the captures.
    "visible?": "bool",
    "positionLimitWeight?": "dec?",
}
SPOT_MARKET: Row = MARKET | {
    "marketType": "= SPOT",
    "filters": {
        "price": {
            "minPrice": "dec",
            "maxPrice": "dec?",
            "tickSize": "dec",
            "maxMultiplier": "dec",
            "minMultiplier": "dec",
            "maxImpactMultiplier": "dec",
            "minImpactMultiplier": "dec",
            "meanMarkPriceBand": {"maxMultiplier": "dec", "minMultiplier": "dec"},
            "meanPremiumBand": "null",
            # Spelt so in the capture of a spot market; misspelt by hand, as far as one can tell.
            "borrowmarketFeeMaxMultiplier": "dec?",
            "borrowmarketFeeMinMultiplier": "dec?",
        },
        "quantity": {"minQuantity": "dec", "maxQuantity": "dec?", "stepSize": "dec"},
    },
    "imfFunction": "null",
    "mmfFunction": "null",
    "fundingRateUpperBound": "null",
    "fundingRateLowerBound": "null",
}
SECURITY: Row = {
    "asset": "str",
    "cusip": "str?",
    "name": "str",
    "sessions": [{"name": "str", "minQuantity": "dec", "maxQuantity": "dec", "stepSize": "dec"}],
}
ASSET: Row = {
    "coingeckoId": "str?",
    "displayName": "str",
    "symbol": "str",
    "tokens": [
        {
            "blockchain": "str",
            "contractAddress": "str?",
            "depositEnabled": "bool",
            "displayName": "str",
            "maximumWithdrawal": "dec?",
            "minimumDeposit": "dec",
            "minimumWithdrawal": "dec",
            "withdrawEnabled": "bool",
            "withdrawalFee": "dec",
        }
    ],
}
TICKER: Row = {
    "symbol": "str",
    "firstPrice": "dec",
    "lastPrice": "dec",
    "priceChange": "dec",
    "priceChangePercent": "dec",
    "high": "dec",
    "low": "dec",
    "volume": "dec",
    "quoteVolume": "dec",
    "trades": "intstr",
}
KLINE: Row = {
    "start": "isospace",
    "end": "isospace",
    "open": "dec",
    "close": "dec",
    "high": "dec",
    "low": "dec",
    "volume": "dec",
    "quoteVolume": "dec",
    "trades": "intstr",
}
MARK: Row = {
    "symbol": "str",
    "markPrice": "dec",
    "indexPrice": "dec",
    "fundingRate": "dec",
    "nextFundingTimestamp": "ms",
}
OPEN_INTEREST: Row = {"symbol": "str", "openInterest": "dec", "timestamp": "ms"}
FUNDING: Row = {"symbol": "str", "intervalEndTimestamp": "iso", "fundingRate": "dec"}
TRADE: Row = {
    "id": "int",
    "price": "dec",
    "quantity": "dec",
    "quoteQuantity": "dec",
    "timestamp": "ms",
    "isBuyerMaker": "bool",
}
DEPTH: Row = {"asks": [PAIR], "bids": [PAIR], "lastUpdateId": "intstr", "timestamp": "us"}
FILL: Row = {
    "clientId": "u32str?",
    "fee": "dec",
    "feeSymbol": "str",
    "isMaker": "bool",
    "orderId": "intstr",
    "price": "dec",
    "quantity": "dec",
    "side": SIDE,
    "symbol": "str",
    "systemOrderType": "str?",
    "timestamp": "iso",
    "tradeId": "int",
}
_ORDER: Row = {
    "id": "intstr",
    "clientId": "int?",
    "executedQuantity": "dec",
    "executedQuoteQuantity": "dec",
    "selfTradePrevention": STP,
    "side": SIDE,
    "status": STATUS,
    "symbol": "str",
    "timeInForce": TIF,
    "stopLossLimitPrice": "dec?",
    "stopLossTriggerBy": "str?",
    "stopLossTriggerPrice": "dec?",
    "takeProfitLimitPrice": "dec?",
    "takeProfitTriggerBy": "str?",
    "takeProfitTriggerPrice": "dec?",
    "triggerBy": "str?",
    "triggerPrice": "dec?",
    "triggerQuantity": "dec?",
}
_LIVE: Row = _ORDER | {
    "createdAt": "ms",
    "quantity": "dec",
    "reduceOnly": "bool?",
    "relatedOrderId": "str?",
    "strategyId": "str?",
    "triggeredAt": "null",
    "systemOrderType?": "str?",  # in one capture of a limit order, not in that of a market order
}
MARKET_ORDER: Row = _LIVE | {"orderType": "= Market", "quoteQuantity": "dec?"}
LIMIT_ORDER: Row = _LIVE | {"orderType": "= Limit", "postOnly": "bool", "price": "dec"}
PAST_TRIGGER: Row = _ORDER | {
    "createdAt": "iso",
    "orderType": "= Limit",
    "expiryReason": "str?",
    "postOnly": "bool",
    "price": "dec",
    "quantity": "null",  # until it is triggered
    "quoteQuantity": "dec?",
    "triggerQuantity": "dec",
    "systemOrderType": "str?",
    # Documented, not in the capture.
    "reduceOnly?": "bool?",
    "relatedOrderId?": "str?",
    "strategyId?": "str?",
    "triggeredAt?": "null",
}
PAST_ORDER: Row = PAST_TRIGGER | {"quantity": "dec", "triggerQuantity": "dec?"}
PAST_MARKET: Row = PAST_ORDER | {"orderType": "= Market", "price": "null"}
POSITION: Row = {
    "symbol": "str",
    "netQuantity": "dec",
    "netCost": "dec",
    "netExposureQuantity": "dec",
    "netExposureNotional": "dec",
    "entryPrice": "dec",
    "breakEvenPrice": "dec",
    "markPrice": "dec",
    "estLiquidationPrice": "dec",
    "imf": "dec",
    "mmf": "dec",
    "imfFunction": MARGIN_FUNCTION,
    "mmfFunction": MARGIN_FUNCTION,
    "pnlRealized": "dec",
    "pnlUnrealized": "dec",
    "cumulativeFundingPayment": "dec",
    "cumulativeInterest": "dec",
    "positionId": "intstr",
    "subaccountId": "int?",
    "userId": "int",
}
PAYMENT: Row = {
    "fundingRate": "dec",
    "intervalEndTimestamp": "iso",
    "quantity": "dec",
    "subaccountId": "int?",
    "symbol": "str",
    "userId": "int",
}
DEPOSIT: Row = {
    "createdAt": "iso",
    "fiatAmount": "dec?",
    "fiatCurrency": "str?",
    "fromAddress": "str?",
    "id": "int",
    "institutionBic": "str?",
    "platformMemo": "str?",
    "quantity": "dec",
    "source": "str",
    "status": "str",
    "symbol": "str",
    "toAddress": "str?",
    "transactionHash": "str?",
}
WITHDRAWAL: Row = {
    "accountIdentifier": "str?",
    "bankIdentifier": "str?",
    "bankName": "str?",
    "blockchain": "str",
    "clientId": "str?",
    "createdAt": "iso",
    "fee": "dec",
    "fiatFee": "dec?",
    "fiatState": "str?",
    "fiatSymbol": "str?",
    "id": "int",
    "identifier": "str?",
    "isInternal": "bool",
    "providerId": "str?",
    "quantity": "dec",
    "status": "str",
    "subaccountId": "int?",
    "symbol": "str",
    "toAddress": "str",
    "transactionHash": "str?",
    "triggerAt": "str?",
}


def stream(data: Shape) -> Row:
    """Return the envelope of a stream's message."""
    return {"stream": "str", "data": data}


WS_TICKER: Row = {
    "e": "= ticker",
    "E": "us",
    "s": "str",
    "o": "dec",
    "c": "dec",
    "h": "dec",
    "l": "dec",
    "v": "dec",
    "V": "dec",
    "n": "int",
}
WS_BOOK_TICKER: Row = {
    "e": "= bookTicker",
    "E": "us",
    "T": "us",
    "s": "str",
    "a": "dec",
    "A": "dec",
    "b": "dec",
    "B": "dec",
    "u": "int",
}
WS_KLINE: Row = {
    "e": "= kline",
    "E": "us",
    "s": "str",
    "t": "iso",
    "T": "iso",
    "o": "dec",
    "c": "dec",
    "h": "dec",
    "l": "dec",
    "v": "dec",
    "n": "int",
    "X": "bool",
}
WS_TRADE: Row = {
    "e": "= trade",
    "E": "us",
    "T": "us",
    "s": "str",
    "p": "dec",
    "q": "dec",
    "a": "intstr",
    "b": "intstr",
    "t": "int",
    "m": "bool",
}
WS_DEPTH: Row = {
    "e": "= depth",
    "E": "us",
    "T": "us",
    "s": "str",
    "a": [PAIR],
    "b": [PAIR],
    "U": "int",
    "u": "int",
}
WS_MARK: Row = {
    "e": "= markPrice",
    "E": "us",
    "T": "us",
    "s": "str",
    "p": "dec",
    "f": "dec",
    "i": "dec",
    "n": "ms",
}
_WS_ORDER: Row = {
    "E": "us",
    "T": "us",
    "O": "= USER LIQUIDATION_AUTOCLOSE ADL_AUTOCLOSE COLLATERAL_CONVERSION SETTLEMENT_AUTOCLOSE",
    "S": SIDE,
    "V": STP,
    "X": STATUS,
    "Z": "dec",
    "f": TIF,
    "i": "intstr",
    "r": "bool",
    "s": "str",
    "z": "dec",
    "c?": "int",  # documented: when the order has a client id
    "q": "dec",
    "Q?": "dec",  # a market order's, sized in quote
    "y?": "bool",  # documented: post only
    "p?": "dec",  # documented: a limit order's price
}
WS_ORDER: Row = _WS_ORDER | {
    "e": "= orderAccepted orderCancelled orderExpired orderModified",
    "o": "= LIMIT MARKET",
    "t?": "null",  # null in the one capture, absent in the documents
    "R?": "str",  # documented: why it expired
}
WS_ORDER_FILL: Row = _WS_ORDER | {
    "e": "= orderFill",
    "o": "= LIMIT MARKET",
    "t": "int",
    "l": "dec",
    "L": "dec",
    "m": "bool",
    "n": "dec",
    "N": "str",
}
WS_POSITION: Row = {
    "e?": "= positionOpened positionAdjusted positionClosed",  # not in the first, on subscribing
    "E": "us",
    "T": "us",
    "s": "str",
    "B": "dec",
    "b": "dec",
    "M": "dec",
    "f": "dec",
    "m": "dec",
    "n": "dec",
    "p": "dec",
    "P": "dec",
    "q": "dec",
    "Q": "dec",
    "l": "dec",
    "i": "int",
}

SHAPES: dict[str, Shape] = {
    "assets": [ASSET],
    "markets": [MARKET],
    "spot_market": SPOT_MARKET,
    "securities": [[SECURITY]],
    "ticker": TICKER,
    "klines": [KLINE],
    "mark": MARK,
    "open_interest": [OPEN_INTEREST],
    "fundings": [FUNDING],
    "trade": TRADE,
    "depth": DEPTH,
    "fill": FILL,
    "status": {"message": "str?", "status": "= Ok Maintenance"},
    "capital": {"USDC": {"available": "dec", "locked": "dec", "staked": "dec"}},
    "deposits": [DEPOSIT],
    "withdrawal": WITHDRAWAL,
    "withdrawals": [WITHDRAWAL],
    "deposit_address": {"address": "str"},
    "market_order": MARKET_ORDER,
    "limit_order": LIMIT_ORDER,
    "past_trigger": PAST_TRIGGER,
    "past_order": PAST_ORDER,
    "past_market": PAST_MARKET,
    "position": POSITION,
    "payment": PAYMENT,
    "error": {"code": "str", "message": "str"},
    "plain_error": "str",
    "time": "ms",
    "ws.subscribe": {"method": "= SUBSCRIBE", "params": ["str"]},
    "ws.error": {"id": "int?", "error": {"code": "int", "message": "str"}},
    "ws.ticker": stream(WS_TICKER),
    "ws.ticker.data": WS_TICKER,
    "ws.book_ticker": stream(WS_BOOK_TICKER),
    "ws.book_ticker.data": WS_BOOK_TICKER,
    "ws.kline": stream(WS_KLINE),
    "ws.kline.data": WS_KLINE,
    "ws.trade": stream(WS_TRADE),
    "ws.trade.data": WS_TRADE,
    "ws.depth": stream(WS_DEPTH),
    "ws.depth.data": WS_DEPTH,
    "ws.mark": stream(WS_MARK),
    "ws.order": stream(WS_ORDER),
    "ws.order_fill": stream(WS_ORDER_FILL),
    "ws.order_fill.data": WS_ORDER_FILL,
    "ws.position": stream(WS_POSITION),
    "ws.position.data": WS_POSITION,
}

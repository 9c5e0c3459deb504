"""Shapes of GRVT's messages, as captured in 2025-12 to 2026-09 and as its API documents print them.

Written down by us; no captured message is kept. A field marked ``+`` is in the newest captures, and
not yet in older ones; ``?`` marks one that the documents have and no capture has.
"""

from typing import Any

from tests.fidelity.shapes import Shape

Row = dict[str, Any]

ORDER_STATUS = "= PENDING OPEN FILLED REJECTED CANCELLED"
TIF = "= GOOD_TILL_TIME IMMEDIATE_OR_CANCEL FILL_OR_KILL ALL_OR_NONE RETAIL_PRICE_IMPROVEMENT"
UNSPECIFIED = "= UNSPECIFIED"

LEVEL: Row = {"price": "dec", "size": "dec", "num_orders": "int"}
BOOK: Row = {"event_time": "ns", "instrument": "str", "bids": [LEVEL], "asks": [LEVEL]}
MINI: Row = {
    "event_time": "ns",
    "instrument": "str",
    "mark_price": "dec",
    "index_price": "dec",
    "last_price": "dec",
    "last_size": "dec",
    "mid_price": "dec",
    "best_bid_price": "dec",
    "best_bid_size": "dec",
    "best_ask_price": "dec",
    "best_ask_size": "dec",
}
TICKER: Row = MINI | {
    "funding_rate_8h_curr": "dec",
    "funding_rate_8h_avg": "dec",
    "interest_rate": "dec",
    "forward_price": "dec",
    "buy_volume_24h_b": "dec",
    "sell_volume_24h_b": "dec",
    "buy_volume_24h_q": "dec",
    "sell_volume_24h_q": "dec",
    "high_price": "dec",
    "low_price": "dec",
    "open_price": "dec",
    "open_interest": "dec",
    "long_short_ratio": "dec",
    "funding_rate": "dec",
    "funding_interval_hours+": "int",
    "next_funding_time": "ns",
}
MINI_CHANGE: Row = {
    f"{name}?" if name not in ("event_time", "instrument") else name: kind
    for name, kind in MINI.items()
}
TRADE: Row = {
    "event_time": "ns",
    "instrument": "str",
    "is_taker_buyer": "bool",
    "size": "dec",
    "price": "dec",
    "mark_price": "dec",
    "index_price": "dec",
    "interest_rate": "dec",
    "forward_price": "dec",
    "trade_id": "str",
    "venue": "= ORDERBOOK RFQ",
    "is_rpi": "bool",
}
CANDLE: Row = {
    "open_time": "ns",
    "close_time": "ns",
    "open": "dec",
    "close": "dec",
    "high": "dec",
    "low": "dec",
    "volume_b": "dec",
    "volume_q": "dec",
    "trades": "int",
    "instrument": "str",
}
INSTRUMENT: Row = {
    "instrument": "str",
    "instrument_hash": "hex",
    "base": "str",
    "quote": "str",
    "kind": "= PERPETUAL SPOT_SWAP",
    "venues": ["= ORDERBOOK RFQ"],
    "settlement_period": "= PERPETUAL",
    "base_decimals": "int",
    "quote_decimals": "int",
    "tick_size": "dec",
    "min_size": "dec",
    "create_time": "ns",
    "max_position_size": "dec",
    "funding_interval_hours": "int",
    "adjusted_funding_rate_cap": "dec",
    "adjusted_funding_rate_floor": "dec",
    "min_notional": "dec",  # not in one capture of 2025-12: our codec refuses that on purpose
    "asset_class+": "str",  # since 2026-09
    "status+": "= ACTIVE DELISTED",  # since 2026-09
}
CURRENCY: Row = {
    "id": "int",
    "symbol": "str",
    "balance_decimals": "int",
    "quantity_multiplier": "dec",
}
FUNDING: Row = {
    "instrument": "str",
    "funding_rate": "dec",
    "funding_time": "ns",
    "mark_price": "dec",
    "funding_rate_8_h_avg": "dec",
    "funding_interval_hours": "int",
}

SIGNATURE: Row = {
    "signer": "hex",
    "r": "hex",
    "s": "hex",
    "v": "int",
    "expiration": "ns",
    "nonce": "int",
    "chain_id": "intstr",
}
ORDER: Row = {
    "order_id": "hex",
    "sub_account_id": "intstr",
    "is_market": "bool",
    "time_in_force": TIF,
    "post_only": "bool",
    "reduce_only": "bool",
    "legs": [{"instrument": "str", "size": "dec", "limit_price": "dec", "is_buying_asset": "bool"}],
    "signature": SIGNATURE,
    "metadata": {
        "client_order_id": "intstr",
        "create_time": "ns",
        "trigger": {
            "trigger_type": UNSPECIFIED,
            "tpsl": {
                "trigger_by": UNSPECIFIED,
                "trigger_price": "dec",
                "close_position": "bool",
                "is_split_position?": "bool",  # documented, in no capture
            },
        },
        "broker": UNSPECIFIED,
        "is_position_transfer": "bool",
        "allow_crossing": "bool",
    },
    "state": {
        "status": ORDER_STATUS,
        "reject_reason": "str",
        "book_size": ["dec"],
        "traded_size": ["dec"],
        "update_time": "ns",
        "avg_fill_price": ["dec"],
    },
    "builder+": "hex",  # since 2026-01
    "builder_fee+": "dec",
}
FILL: Row = {
    "event_time": "ns",
    "sub_account_id": "intstr",
    "instrument": "str",
    "is_buyer": "bool",
    "is_taker": "bool",
    "size": "dec",
    "price": "dec",
    "mark_price": "dec",
    "index_price": "dec",
    "interest_rate": "dec",
    "forward_price": "dec",
    "realized_pnl": "dec",
    "fee": "dec",
    "fee_rate": "dec",
    "trade_id": "str",
    "order_id": "hex",
    "venue": "= ORDERBOOK RFQ",
    "client_order_id": "intstr",
    "signer": "hex",
    "broker": UNSPECIFIED,
    "is_rpi": "bool",
    "is_liquidation+": "bool",  # in the stream's capture, not in an older REST one
    "builder+": "hex",
    "builder_fee_rate+": "dec",
    "builder_fee+": "dec",
    "fee_currency?": "str",  # documented, in no capture
}
POSITION: Row = {
    "event_time": "ns",
    "sub_account_id": "intstr",
    "instrument": "str",
    "size": "dec",
    "notional": "dec",
    "entry_price": "dec",
    "exit_price": "dec",
    "mark_price": "dec",
    "unrealized_pnl": "dec",
    "realized_pnl": "dec",
    "total_pnl": "dec",
    "roi": "dec",
    "quote_index_price": "dec",
    "est_liquidation_price": "dec",
    "leverage": "dec",
    "cumulative_fee": "dec",
    "cumulative_realized_funding_payment": "dec",
    "margin_type+": "= CROSS ISOLATED",  # since 2026-01
}
SPOT_BALANCE: Row = {
    "currency": "str",
    "balance": "dec",
    "index_price": "dec",
    # Documented since the spot markets opened, in no capture.
    "entry_price?": "dec",
    "realized_pnl?": "dec",
    "unrealized_pnl?": "dec",
    "available_to_transfer?": "dec",
}
SUMMARY: Row = {
    "event_time": "ns",
    "sub_account_id": "intstr",
    "margin_type": "= SIMPLE_CROSS_MARGIN",
    "settle_currency": "str",
    "unrealized_pnl": "dec",
    "total_equity": "dec",
    "initial_margin": "dec",
    "maintenance_margin": "dec",
    "available_balance": "dec",
    "spot_balances": [SPOT_BALANCE],
    "positions": [POSITION],
    "settle_index_price": "dec",
    "derisk_margin": "dec",
    "derisk_to_maintenance_margin_ratio": "dec",
    "total_cross_equity": "dec",
    "cross_unrealized_pnl": "dec",
    # Documented, in no capture.
    "is_vault?": "bool",
    "vault_im_additions?": "dec",
    "sub_account_mode?": "str",
    "margin_balance?": "dec",
}
AGGREGATE: Row = {
    "main_account_id": "hex",
    "total_equity": "dec",
    "spot_balances": [SPOT_BALANCE],
    "vault_investments": ["any"],
    "total_sub_account_balance": "dec",
    "total_sub_account_equity": "dec",
    "total_vault_investments_balance": "dec",
    "total_sub_account_available_balance": "dec",
    "total_usd_notional_invested": "dec",
}
LEVERAGE: Row = {
    "instrument": "str",
    "leverage": "dec",
    "min_leverage": "dec",
    "max_leverage": "dec",
    "margin_type": "= CROSS ISOLATED",
}
PAYMENT: Row = {
    "event_time": "ns",
    "sub_account_id": "intstr",
    "instrument": "str",
    "currency": "str",
    "amount": "dec",
    "tx_id": "intstr",
}
BUILDER_ROW: Row = {
    "builder_account_id": "str",
    "max_futures_fee_rate": "dec | number",  # a number in a sample that lost its number types
    "max_spot_fee_rate": "dec | number",
}
ACK: Row = {"ack": "bool"}
TX_ACK: Row = {"ack": "bool", "tx_id": "intstr"}
HTTP_ERROR: Row = {"code": "int", "message": "str", "status": "int"}
TRANSFER: Row = {
    "tx_id": "intstr",
    "from_account_id": "hex",
    "from_sub_account_id": "intstr",
    "to_account_id": "hex",
    "to_sub_account_id": "intstr",
    "currency": "str",
    "num_tokens": "dec",
    "signature": SIGNATURE,
    "event_time": "ns",
    "transfer_type": "str",
    "transfer_metadata": "str",
}
DEPOSIT: Row = {
    "l_1_hash": "hex",
    "l_2_hash": "hex",
    "to_account_id": "hex",
    "currency": "str",
    "num_tokens": "dec",
    "initiated_time": "ns",
    "confirmed_time": "ns",
    "from_address": "hex",
}
WITHDRAWAL: Row = {
    "tx_id": "intstr",
    "from_account_id": "hex",
    "to_eth_address": "hex",
    "currency": "str",
    "num_tokens": "dec",
    "signature": SIGNATURE,
    "event_time": "ns",
    "l_1_hash": "hex",
    "l_2_hash": "hex",
}
LOGIN: Row = {
    "status": "= success failure",
    "location": "str",
    "funding_account_address?": "hex",  # documented, in no capture
    "sub_account_id?": "intstr",
}


def feed(row: Shape) -> Row:
    """Return the envelope of a stream's message."""
    return {
        "stream": "str",
        "selector": "str",
        "sequence_number": "intstr",
        "feed": row,
        "prev_sequence_number": "intstr",
    }


def answer(result: Shape) -> Row:
    """Return the envelope of a socket's reply."""
    return {"jsonrpc": "= 2.0", "result": result, "id": "int", "method": "str"}


SUBSCRIBED: Row = {
    "stream": "str",
    "subs": ["str"],
    "unsubs": ["str"],
    "num_snapshots": ["int"],
    "first_sequence_number": ["intstr"],
    "latest_sequence_number": ["intstr"],
}
UNSUBSCRIBED: Row = {"stream": "str", "unsubs": ["str"]}
RPC_ERROR: Row = {
    "jsonrpc": "= 2.0",
    "error": {"code": "int", "message": "str"},
    "id": "int",
    "method": "str",
}


def page(row: Shape) -> Row:
    """Return the envelope of a history."""
    return {"result": [row], "next": "str"}


def result(row: Shape) -> Row:
    """Return the envelope of an answer."""
    return {"result": row}


SHAPES: dict[str, Shape] = {
    # REST rows and bodies
    "book": BOOK,
    "book.reply": result(BOOK),
    "instrument": INSTRUMENT,
    "instruments.reply": result([INSTRUMENT]),
    "currency": CURRENCY,
    "currency.reply": result([CURRENCY]),
    "mini": MINI,
    "ticker": TICKER,
    "ticker.reply": result(TICKER),
    "trade": TRADE,
    "trades.reply": page(TRADE),
    "candle": CANDLE,
    "kline.reply": page(CANDLE),
    "funding": FUNDING,
    "funding.reply": page(FUNDING),
    "error": HTTP_ERROR,
    "login": LOGIN,
    "builders.reply": {"results": [BUILDER_ROW]},
    "tx_ack.reply": result(TX_ACK),
    "tx_ack": TX_ACK,
    "summary": SUMMARY,
    "summary.reply": result(SUMMARY),
    "aggregate.reply": result(AGGREGATE),
    "sub_accounts.reply": {"sub_account_ids": ["intstr"]},
    "ack": ACK,
    "ack.reply": result(ACK),
    "order": ORDER,
    "order.reply": result(ORDER),
    "open_orders.reply": result([ORDER]),
    "order_history.reply": page(ORDER),
    "fill": FILL,
    "fills.reply": page(FILL),
    "position": POSITION,
    "positions.reply": result([POSITION]),
    "leverage": LEVERAGE,
    "leverages.reply": {"results": [LEVERAGE]},
    "leverage_set": {"success": "bool"},
    "payment": PAYMENT,
    "payments.reply": page(PAYMENT),
    "deposit": DEPOSIT,
    "deposits.reply": page(DEPOSIT),
    "withdrawal": WITHDRAWAL,
    "withdrawals.reply": page(WITHDRAWAL),
    "transfer": TRANSFER,
    "transfers.reply": page(TRANSFER),
    # socket frames
    "ws.subscribed": answer(SUBSCRIBED),
    "ws.unsubscribed": answer(UNSUBSCRIBED),
    "ws.error": RPC_ERROR,
    "ws.book": feed(BOOK),
    "ws.mini": feed(MINI),
    "ws.mini_change": feed(MINI_CHANGE),
    "ws.ticker": feed(TICKER),
    "ws.trade": feed(TRADE),
    "ws.candle": feed(CANDLE),
    "ws.order": feed(ORDER),
    "ws.fill": feed(FILL),
    "ws.position": feed(POSITION),
}

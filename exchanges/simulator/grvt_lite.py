"""GRVT's short field names: ``/lite/v1`` and ``/ws/lite`` (venues.md A1). Pure.

A short name is made of the initials of the first two words of the full one; within a structure, a
repeated one is numbered: ``mark_price`` is ``mp``, ``mid_price`` after it ``mp1``. The order of the
fields below is the venue's own, because the numbers depend on it.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from exchanges.simulator.grvt_words import Json

_FILTERS = "sub_account_id kind base quote"
_PAGE = "start_time end_time limit cursor"
_TICKER = (
    "event_time instrument mark_price index_price last_price last_size mid_price best_bid_price "
    "best_bid_size best_ask_price best_ask_size"
)
_STRUCTS: dict[str, str] = {
    "Empty": "",
    "Instrument1": "instrument",
    "SubAccount1": "sub_account_id",
    "Instruments": "kind base quote is_active limit",
    "AllInstruments": "is_active",
    "BookRequest": "instrument depth",
    "TradeRequest": "instrument limit",
    "TradeHistoryRequest": f"instrument {_PAGE}",
    "CandleRequest": f"instrument interval type {_PAGE}",
    "FundingRequest": f"instrument {_PAGE} agg_type",
    "Filters": _FILTERS,
    "HistoryRequest": f"{_FILTERS} {_PAGE}",
    "FundingPaymentRequest": f"sub_account_id instrument {_PAGE} kind base quote",
    "MoneyHistoryRequest": f"currency {_PAGE}",
    "PositionHistoryRequest": (
        "sub_account_id start_time end_time kind base quote limit cursor status is_long is_short "
        "margin_type"
    ),
    "AccountHistoryRequest": f"sub_account_id {_PAGE}",
    "CreateRequest": "order:Order",
    "OrderRequest": "sub_account_id order_id client_order_id",
    "BulkRequest": "sub_account_id orders:Order order_i_ds client_order_i_ds time_to_live_ms",
    "BulkReply": "orders:Order cancel_acks:Ack",
    "CreateBulkRequest": "orders:Order",
    "ConfigRequest": "sub_account_id instrument margin_type leverage signature:Signature",
    "Lifecycle": (
        "sub_account_id instrument open_time status is_long margin_type close_time entry_price "
        "exit_price position_close_mark_price realized_pnl cumulative_fee "
        "cumulative_realized_funding_payment closed_volume_base closed_volume_quote "
        "max_open_interest_base max_open_interest_quote cumulative_initial_margin "
        "max_initial_margin leverage unrealized_pnl"
    ),
    "CancelRequest": "sub_account_id order_id client_order_id time_to_live_ms",
    "CountdownRequest": "sub_account_id countdown_time",
    "LeverageRequest": "sub_account_id instrument leverage",
    "BuilderRequest": (
        "main_account_id builder_account_id max_futures_fee_rate max_spot_fee_rate "
        "signature:Signature"
    ),
    "Order": (
        "order_id sub_account_id is_market time_in_force post_only reduce_only legs:OrderLeg "
        "signature:Signature metadata:Metadata state:State builder builder_fee"
    ),
    "OrderLeg": "instrument size limit_price is_buying_asset",
    "Signature": "signer r s v expiration nonce chain_id",
    "Metadata": (
        "client_order_id create_time trigger:Trigger broker is_position_transfer allow_crossing"
    ),
    "Trigger": "trigger_type tpsl:Tpsl",
    "Tpsl": "trigger_by trigger_price close_position is_split_position",
    "State": "status reject_reason book_size traded_size update_time avg_fill_price",
    "Fill": (
        "event_time sub_account_id instrument is_buyer is_taker size price mark_price index_price "
        "interest_rate forward_price realized_pnl fee fee_rate trade_id order_id venue "
        "is_liquidation client_order_id signer broker is_rpi builder builder_fee_rate builder_fee "
        "fee_currency"
    ),
    "Position": (
        "event_time sub_account_id instrument size notional entry_price exit_price mark_price "
        "unrealized_pnl realized_pnl total_pnl roi quote_index_price est_liquidation_price "
        "leverage cumulative_fee cumulative_realized_funding_payment margin_type isolated_balance "
        "isolated_im isolated_mm"
    ),
    "SubAccount": (
        "event_time sub_account_id margin_type settle_currency unrealized_pnl total_equity "
        "initial_margin maintenance_margin available_balance spot_balances:SpotBalance "
        "positions:Position settle_index_price is_vault vault_im_additions derisk_margin "
        "derisk_to_maintenance_margin_ratio total_cross_equity cross_unrealized_pnl "
        "sub_account_mode margin_balance"
    ),
    "SpotBalance": (
        "currency balance index_price entry_price realized_pnl unrealized_pnl available_to_transfer"
    ),
    "Aggregated": (
        "main_account_id total_equity spot_balances:SpotBalance vault_investments "
        "total_sub_account_balance total_sub_account_equity total_vault_investments_balance "
        "total_sub_account_available_balance total_usd_notional_invested"
    ),
    "FundingAccount": (
        "main_account_id total_equity spot_balances:SpotBalance vault_investments "
        "total_cash_balance total_spot_asset_balance"
    ),
    "Tier": (
        "tier futures_taker_fee futures_maker_fee options_taker_fee options_maker_fee "
        "spot_taker_fee spot_maker_fee"
    ),
    "Leverage": "instrument leverage min_leverage max_leverage margin_type",
    "Builder": "builder_account_id max_futures_fee_rate max_spot_fee_rate",
    "FundingPayment": "event_time sub_account_id instrument currency amount tx_id",
    "Instrument": (
        # strike_price is gone, but still holds the short name "sp".
        "instrument instrument_hash base quote kind venues strike_price settlement_period "
        "base_decimals quote_decimals tick_size min_size create_time max_position_size "
        "funding_interval_hours adjusted_funding_rate_cap adjusted_funding_rate_floor min_notional "
        "asset_class status"
    ),
    "Currency": "id symbol balance_decimals quantity_multiplier",
    "Bracket": (
        "tier notional_floor notional_cap maintenance_margin_rate initial_margin_rate "
        "max_leverage cumulative_maintenance_amount"
    ),
    "Book": "event_time instrument bids:Level asks:Level",
    "Level": "price size num_orders",
    "Mini": _TICKER,
    "Ticker": (
        f"{_TICKER} funding_rate_8h_curr funding_rate_8h_avg interest_rate forward_price "
        "buy_volume_24h_b sell_volume_24h_b buy_volume_24h_q sell_volume_24h_q high_price "
        "low_price open_price open_interest long_short_ratio funding_rate next_funding_time "
        "funding_interval_hours"
    ),
    "Trade": (
        "event_time instrument is_taker_buyer size price mark_price index_price interest_rate "
        "forward_price trade_id venue is_rpi"
    ),
    "Candle": "open_time close_time open close high low volume_b volume_q trades instrument",
    "FundingRate": (
        "instrument funding_rate funding_time mark_price funding_rate_8_h_avg "
        "funding_interval_hours"
    ),
    "StateFeed": "order_id client_order_id order_state:State",
    "CancelFeed": "sub_account_id client_order_id order_id reason update_time cancel_status",
    "Ack": "ack tx_id",
    "AckReply": "result:Ack",
    "Success": "success",
    "SubAccounts": "sub_account_ids",
    "Leverages": "results:Leverage",
    "Builders": "results:Builder",
    "FundingAccountReply": "result:FundingAccount tier:Tier",
    "MarginRules": "instrument max_position_size risk_brackets:Bracket",
    "Subscribe": "stream selectors use_global_sequence_number",
    "Subscribed": ("stream subs unsubs num_snapshots first_sequence_number latest_sequence_number"),
    "Unsubscribed": "stream unsubs",
    "Streams": "stream_reference:StreamReference",
    "StreamReference": "stream selectors",
    "RpcRequest": "jsonrpc method params id",
    "RpcReply": "jsonrpc result error:Error id method",
    "Error": "code message",
    "Feed": "stream selector sequence_number feed prev_sequence_number",
}
_METHODS: dict[str, tuple[str, str]] = {
    "instrument": ("Instrument1", "=Instrument"),
    "all_instruments": ("AllInstruments", "=Instrument"),
    "instruments": ("Instruments", "=Instrument"),
    "currency": ("Empty", "=Currency"),
    "margin_rules": ("Instrument1", "MarginRules"),
    "mini": ("Instrument1", "=Mini"),
    "ticker": ("Instrument1", "=Ticker"),
    "book": ("BookRequest", "=Book"),
    "trade": ("TradeRequest", "=Trade"),
    "trade_history": ("TradeHistoryRequest", "=Trade"),
    "kline": ("CandleRequest", "=Candle"),
    "funding": ("FundingRequest", "=FundingRate"),
    "create_order": ("CreateRequest", "=Order"),
    "bulk_orders": ("BulkRequest", "BulkReply"),
    "create_bulk_orders": ("CreateBulkRequest", "=Order"),
    "cancel_order": ("CancelRequest", "AckReply"),
    "cancel_all_orders": ("Filters", "AckReply"),
    "order": ("OrderRequest", "=Order"),
    "open_orders": ("Filters", "=Order"),
    "order_history": ("HistoryRequest", "=Order"),
    "cancel_on_disconnect": ("CountdownRequest", "AckReply"),
    "fill_history": ("HistoryRequest", "=Fill"),
    "funding_payment_history": ("FundingPaymentRequest", "=FundingPayment"),
    "positions": ("Filters", "=Position"),
    "position_history": ("PositionHistoryRequest", "=Lifecycle"),
    **dict.fromkeys(
        ("deposit_history", "transfer_history", "withdrawal_history"), ("MoneyHistoryRequest", "=")
    ),
    "account_summary": ("SubAccount1", "=SubAccount"),
    "account_history": ("AccountHistoryRequest", "=SubAccount"),
    "aggregated_account_summary": ("Empty", "=Aggregated"),
    "funding_account_summary": ("Empty", "FundingAccountReply"),
    "get_sub_accounts": ("Empty", "SubAccounts"),
    "get_all_initial_leverage": ("SubAccount1", "Leverages"),
    "set_initial_leverage": ("LeverageRequest", "Success"),
    "set_position_config": ("ConfigRequest", "Ack"),
    "get_authorized_builders": ("Empty", "Builders"),
    "authorize_builder": ("BuilderRequest", "AckReply"),
}
"""Structures of request and reply; ``=X`` is ``{"result": X or [X], "next"}``."""
_FEEDS: dict[str, str] = {
    "v1.mini.s": "Mini",
    "v1.mini.d": "Mini",
    "v1.ticker.s": "Ticker",
    "v1.ticker.d": "Ticker",
    "v1.book.s": "Book",
    "v1.book.d": "Book",
    "v1.trade": "Trade",
    "v1.candle": "Candle",
    "v1.order": "Order",
    "v1.state": "StateFeed",
    "v1.fill": "Fill",
    "v1.position": "Position",
    "v1.cancel": "CancelFeed",
}


@dataclass(frozen=True, slots=True)
class _Names:
    short: dict[str, tuple[str, str]]
    """Full name to short name and inner structure."""
    full: dict[str, tuple[str, str]]
    """The reverse."""


@cache
def _names(struct: str) -> _Names:
    fields = f"result:{struct[1:]} next" if struct.startswith("=") else _STRUCTS[struct]
    seen: dict[str, int] = {}
    found = _Names({}, {})
    for field in fields.split():
        name, _, inner = field.partition(":")
        base = "".join(word[0] for word in name.split("_")[:2])
        count = seen.get(base, 0)
        seen[base] = count + 1
        short = f"{base}{count}" if count else base
        found.short[name] = (short, inner)
        found.full[short] = (name, inner)
    return found


def to_lite(value: Any, struct: str) -> Any:
    """Shorten the names of a structure, or of a list of them; unknown names stay."""
    return _rename(value, struct, short=True)


def to_full(value: Any, struct: str) -> Any:
    """Lengthen the names of a structure, or of a list of them; unknown names stay."""
    return _rename(value, struct, short=False)


def _rename(value: Any, struct: str, *, short: bool) -> Any:
    if not struct:
        return value
    if isinstance(value, list):
        # A list holds structures, never lists: one level is all that is walked.
        return [_rename(each, struct, short=short) if _is_row(each) else each for each in value]
    if not _is_row(value):
        return value
    names = _names(struct)
    table = names.short if short else names.full
    out: Json = {}
    for key, item in value.items():
        name, inner = table.get(key, (key, ""))
        out[name] = _rename(item, inner, short=short)
    return out


def _is_row(value: Any) -> bool:
    return isinstance(value, dict)


def request_to_full(method: str, body: Json) -> Json:
    """Lengthen the names of a method's request; an unknown method's stay as they are."""
    found: Json = to_full(body, _METHODS.get(method, ("", ""))[0])
    return found


def reply_to_lite(method: str, body: Json) -> Json:
    """Shorten the names of a method's reply."""
    found: Json = to_lite(body, _METHODS.get(method, ("", ""))[1])
    return found


def feed_to_lite(message: Json) -> Json:
    """Shorten the names of a feed message, its payload included."""
    inner = to_lite(message["feed"], _FEEDS[message["stream"]])
    found: Json = to_lite({**message, "feed": inner}, "Feed")
    return found

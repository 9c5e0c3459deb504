"""Shapes and units of venues.md B3 and B5, as the venue sends them."""

import sys
from decimal import Decimal
from typing import Any

import pytest

from exchanges.backpack import codec
from exchanges.errors import UnknownTicker, VenueMalformed
from exchanges.fields import decode
from strategy.domain import NANO, ClientId, Side, Status, bps

Row = dict[str, Any]

ORDER: Row = {
    "id": "4227701917",
    "clientId": 7,
    "createdAt": 1_750_000_000_000,
    "executedQuantity": "0.001",
    "executedQuoteQuantity": "3.81428",
    "orderType": "Limit",
    "postOnly": True,
    "price": "3814.28",
    "quantity": "0.5",
    "reduceOnly": None,
    "relatedOrderId": None,
    "selfTradePrevention": "RejectTaker",
    "side": "Bid",
    "status": "PartiallyFilled",
    "symbol": "ETH_USDC_PERP",
    "timeInForce": "GTC",
    "triggeredAt": None,
}
FILL: Row = {
    "orderId": "4227701917",
    "clientId": "7",
    "symbol": "ETH_USDC_PERP",
    "side": "Ask",
    "price": "3000.5",
    "quantity": "0.25",
    "fee": "0.15002500001",
    "feeSymbol": "USDC",
    "isMaker": True,
    "tradeId": 12345,
    "timestamp": "2025-07-27T17:39:00.092",
    "systemOrderType": None,
}
MARKET: Row = {
    "symbol": "ETH_USDC_PERP",
    "baseSymbol": "ETH",
    "quoteSymbol": "USDC",
    "marketType": "PERP",
    "filters": {
        "price": {"minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
        "quantity": {"minQuantity": "0.0001", "maxQuantity": None, "stepSize": "0.0001"},
    },
    "fundingInterval": 3_600_000,
    "orderBookState": "Open",
}


def without(row: Row, key: str) -> Row:
    return {name: value for name, value in row.items() if name != key}


def test_order_shape_reads_exactly() -> None:
    view = codec.order(ORDER)
    assert view.client_id == 7
    assert view.venue_order_id == "4227701917"
    assert view.side is Side.BUY
    assert (view.qty, view.cum) == (NANO // 2, NANO // 1000)
    assert view.px == 3_814_280_000_000
    assert view.status is Status.OPEN
    assert not view.reduce_only
    assert not view.forced


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("New", Status.OPEN),
        ("PartiallyFilled", Status.OPEN),
        ("Filled", Status.FILLED),
        ("Cancelled", Status.CANCELLED),
        ("Expired", Status.EXPIRED),
        ("TriggerPending", Status.PENDING),
        ("TriggerFailed", Status.REJECTED),
        ("SomethingNew", Status.UNKNOWN),
    ],
)
def test_F29_unknown_status_word_is_quarantined(word: str, expected: Status) -> None:
    view = codec.order(ORDER | {"status": word})
    assert view.status is expected
    assert view.raw_status == word


@pytest.mark.parametrize(
    "key",
    ["id", "symbol", "side", "status", "executedQuantity", "quantity", "price", "orderType"],
)
def test_REQ_3_missing_order_field_is_an_error(key: str) -> None:
    with pytest.raises(VenueMalformed):
        codec.order(without(ORDER, key))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("executedQuantity", "abc"),
        ("executedQuantity", "NaN"),
        ("executedQuantity", "-0.1"),
        ("executedQuantity", "1e999999"),
        ("executedQuantity", "0.00000000001"),
        ("executedQuantity", True),
        ("executedQuantity", "9" * 30),
        ("price", "0"),
        ("side", "Buy"),
        ("side", ["Bid"]),
        ("clientId", -1),
        ("clientId", 2**32),
        ("clientId", "x"),
        ("reduceOnly", "yes"),
        ("id", 4227701917),
    ],
)
def test_odd_order_field_is_an_error(key: str, value: object) -> None:
    with pytest.raises(VenueMalformed):
        codec.order(ORDER | {key: value})


@pytest.mark.parametrize("absent", [None, 0])
def test_F25_order_without_client_id_is_foreign(absent: int | None) -> None:
    assert codec.order(ORDER | {"clientId": absent}).client_id is None


def test_market_order_has_no_price_and_may_be_sized_in_quote() -> None:
    row = without(ORDER, "price") | {"orderType": "Market", "quantity": None}
    view = codec.order(row)
    assert view.px == 0
    assert view.qty == view.cum == NANO // 1000


def test_F26_system_order_is_forced() -> None:
    assert codec.order(ORDER | {"systemOrderType": "LiquidatePositionOnAdl"}).forced
    assert codec.fill(FILL | {"systemOrderType": "LiquidatePositionOnBook"}).forced


@pytest.mark.parametrize(
    ("status", "executed", "tif", "expected"),
    [
        ("New", "0", "GTC", Status.OPEN),
        ("PartiallyFilled", "0.2", "GTC", Status.OPEN),
        ("Filled", "0.5", "GTC", Status.FILLED),
        ("Expired", "0.5", "IOC", Status.FILLED),
        ("PartiallyFilled", "0.2", "IOC", Status.EXPIRED),
        ("New", "0", "FOK", Status.EXPIRED),
        ("Expired", "0.2", "IOC", Status.EXPIRED),
        ("Cancelled", "0.2", "IOC", Status.CANCELLED),
        ("Mystery", "0.5", "IOC", Status.UNKNOWN),
    ],
)
def test_execution_is_decided_on_executed_quantity(
    status: str, executed: str, tif: str, expected: Status
) -> None:
    row = ORDER | {"status": status, "executedQuantity": executed, "timeInForce": tif}
    view = codec.execution(row)
    assert view.status is expected
    assert view.cum == int(Decimal(executed) * NANO)


def test_fill_shape_reads_iso_time_as_utc() -> None:
    fill = codec.fill(FILL)
    assert fill.trade_id == "12345"
    assert fill.client_id == ClientId(7)
    assert fill.side is Side.SELL
    assert fill.qty == NANO // 4
    assert fill.fee == 150_025_000
    assert fill.at == 1_753_637_940_092_000_000
    assert fill.is_maker


@pytest.mark.parametrize(
    "key",
    ["orderId", "symbol", "side", "price", "quantity", "fee", "isMaker", "tradeId", "timestamp"],
)
def test_REQ_3_missing_fill_field_is_an_error(key: str) -> None:
    with pytest.raises(VenueMalformed):
        codec.fill(without(FILL, key))


@pytest.mark.parametrize("moment", ["yesterday", "", 1_753_637_940_092])
def test_odd_time_is_an_error(moment: object) -> None:
    with pytest.raises(VenueMalformed):
        codec.fill(FILL | {"timestamp": moment})


def test_time_with_an_offset_is_understood() -> None:
    assert (
        codec.fill(FILL | {"timestamp": "2025-07-27T19:39:00.092+02:00"}).at == codec.fill(FILL).at
    )


def test_system_fill_without_trade_id_is_still_counted() -> None:
    fill = codec.fill(FILL | {"tradeId": None, "systemOrderType": "LiquidatePositionOnAdl"})
    assert fill.forced
    assert fill.trade_id == "system:4227701917:2025-07-27T17:39:00.092"


def test_fills_are_ordered_and_unique() -> None:
    late = codec.fill(FILL | {"tradeId": 9, "timestamp": "2025-07-27T17:39:01"})
    early = codec.fill(FILL | {"tradeId": 10})
    same_time = codec.fill(FILL | {"tradeId": 9, "timestamp": "2025-07-27T17:39:00.092"})
    assert [row.trade_id for row in codec.oldest_first([late, early, early])] == ["10", "9"]
    assert [row.trade_id for row in codec.oldest_first([early, same_time])] == ["9", "10"]


def test_REQ_30_market_is_found_in_the_venues_list() -> None:
    spot = MARKET | {"marketType": "SPOT", "symbol": "ETH_USDC"}
    row = codec.find_market([spot, MARKET], "ETH")
    instrument = row.instrument
    assert instrument.symbol == "ETH_USDC_PERP"
    assert (instrument.tick, instrument.step, instrument.min_qty) == (10_000_000, 100_000, 100_000)
    assert instrument.min_notional == 0
    assert instrument.tradable
    assert row.funding_hours == 1


def test_unlisted_base_is_unknown_ticker() -> None:
    with pytest.raises(UnknownTicker):
        codec.find_market([MARKET], "DOGE")


@pytest.mark.parametrize("state", ["Closed", "CancelOnly", "LimitOnly", "PostOnly", "Odd"])
def test_F68_only_an_open_market_is_tradable(state: str) -> None:
    row = codec.find_market([MARKET | {"orderBookState": state}], "ETH")
    assert not row.instrument.tradable


@pytest.mark.parametrize(
    "broken",
    [
        without(MARKET, "orderBookState"),
        without(MARKET, "filters"),
        without(MARKET, "fundingInterval"),
        without(MARKET, "quoteSymbol"),
        MARKET | {"fundingInterval": 1000},
        MARKET | {"filters": {"price": {"tickSize": "0"}, "quantity": {}}},
        MARKET | {"filters": {"price": {"tickSize": "0.01"}, "quantity": {"stepSize": "1"}}},
    ],
)
def test_REQ_3_incomplete_market_is_an_error(broken: Row) -> None:
    with pytest.raises(VenueMalformed):
        codec.find_market([broken], "ETH")


def test_two_rows_of_one_perpetual_are_an_error() -> None:
    with pytest.raises(VenueMalformed):
        codec.find_market([MARKET, MARKET], "ETH")


def test_depth_sorts_both_sides_and_reads_microseconds() -> None:
    snapshot = codec.depth(
        {
            "asks": [["3001.5", "1"], ["3001", "0.5"]],
            "bids": [["2999", "2"], ["3000", "1"], ["2998", "0"]],
            "lastUpdateId": "42",
            "timestamp": 1_750_000_000_123_456,
        }
    )
    assert [px // NANO for px, _ in snapshot.book.bids] == [3000, 2999]
    assert snapshot.book.asks[0] == (3001 * NANO, NANO // 2)
    assert snapshot.last_update_id == 42
    assert snapshot.book.event_time == 1_750_000_000_123_456_000


@pytest.mark.parametrize(
    "level", [["1"], ["0", "1"], ["-1", "1"], ["1", "-1"], "x", ["1", None], ["1", "1", "1"]]
)
def test_odd_level_is_an_error(level: object) -> None:
    with pytest.raises(VenueMalformed):
        codec.levels([level], "depth")


@pytest.mark.parametrize(
    ("wanted", "limit"), [(1, 5), (5, 5), (6, 10), (51, 100), (501, 1000), (5000, 1000)]
)
def test_depth_is_rounded_up_to_an_allowed_limit(wanted: int, limit: int) -> None:
    assert codec.depth_limit(wanted) == limit


@pytest.mark.parametrize("bare", ["0.25", Decimal("0.25"), -3, "-3"])
def test_position_number_may_be_bare_or_quoted(bare: object) -> None:
    row = {"symbol": "ETH_USDC_PERP", "netQuantity": bare}
    position = codec.position([row], "ETH_USDC_PERP")
    assert position.qty == Decimal(str(bare)) * NANO


def test_position_from_json_text_never_is_a_float() -> None:
    rows = decode(b'[{"symbol":"ETH_USDC_PERP","netQuantity":0.1}]', "position")
    assert codec.position(rows, "ETH_USDC_PERP").qty == NANO // 10


def test_REQ_24_flat_is_only_a_well_formed_empty_answer() -> None:
    assert codec.position([], "ETH_USDC_PERP").qty == 0
    odd_answers: tuple[object, ...] = ({}, None, "", [None], [{}], [{"symbol": "ETH_USDC_PERP"}])
    for odd in odd_answers:
        with pytest.raises(VenueMalformed):
            codec.position(odd, "ETH_USDC_PERP")


def test_two_positions_of_one_symbol_are_an_error() -> None:
    row = {"symbol": "ETH_USDC_PERP", "netQuantity": "1"}
    with pytest.raises(VenueMalformed):
        codec.position([row, row], "ETH_USDC_PERP")


def test_balance_fees_funding_and_payment_units() -> None:
    balance = codec.balance({"netEquity": "1000.5", "netEquityAvailable": "-3.25"})
    assert (balance.equity, balance.available) == (1000 * NANO + NANO // 2, -3_250_000_000)
    fees = codec.fees({"futuresMakerFee": "-0.5", "futuresTakerFee": "5"})
    assert (fees.maker, fees.taker) == (bps("-0.5"), bps(5))
    mark = {
        "symbol": "ETH_USDC_PERP",
        "fundingRate": "0.0000125",
        "nextFundingTimestamp": 1_750_003_600_000,
    }
    funding = codec.funding([mark], "ETH_USDC_PERP", 1)
    assert (funding.rate, funding.interval_hours) == (12_500, 1)
    assert funding.next_at == 1_750_003_600_000_000_000
    paid = codec.funding_payment(
        {
            "symbol": "ETH_USDC_PERP",
            "quantity": "-0.0123",
            "intervalEndTimestamp": "2025-08-20T09:00:00",
            "fundingRate": "0.00001",
        }
    )
    assert paid.amount == -12_300_000
    assert paid.key == "ETH_USDC_PERP@2025-08-20T09:00:00"
    assert paid.at == 1_755_680_400_000_000_000


def test_funding_without_our_symbol_is_an_error() -> None:
    with pytest.raises(VenueMalformed):
        codec.funding([], "ETH_USDC_PERP", 1)


def test_server_time_is_text_of_milliseconds() -> None:
    assert codec.server_time(decode(b"1750000000123", "time")) == 1_750_000_000_123_000_000


@pytest.mark.parametrize("raw", [b"<html>", b"", b"\xff\xfe", b"NaN", b"[" * 100])
def test_F06_garbled_answer_is_malformed(raw: bytes) -> None:
    with pytest.raises(VenueMalformed):
        decode(raw, "answer")


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"a":' * 100_000])
def test_deep_nesting_is_malformed_at_any_recursion_limit(raw: bytes) -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)  # what importing eth_account does
    try:
        with pytest.raises(VenueMalformed):
            decode(raw, "answer")
    finally:
        sys.setrecursionlimit(before)


def test_wide_answers_stay_exact() -> None:
    rows = decode(b"[" + b",".join([b'[0.1,"2"]'] * 500) + b"]", "wide")
    assert rows[499] == [Decimal("0.1"), "2"]

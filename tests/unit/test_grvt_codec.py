"""Strict parsers of GRVT's documented shapes (venues.md A4)."""

from typing import Any

import pytest

from exchanges.errors import UnknownTicker, VenueMalformed
from exchanges.grvt import codec
from strategy.domain import (
    NANO,
    Balance,
    Book,
    ClientId,
    Fees,
    Fill,
    Funding,
    FundingPayment,
    Instrument,
    Ns,
    OrderView,
    Position,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Status,
    Trade,
    Venue,
    bps,
)

SYMBOL = "ETH_USDT_Perp"
AT = 1_750_000_000_000_000_000
OURS = str(2**63 + 7)

INSTRUMENT: dict[str, Any] = {
    "instrument": SYMBOL,
    "instrument_hash": "0x030401",
    "base": "ETH",
    "quote": "USDT",
    "kind": "PERPETUAL",
    "venues": ["ORDERBOOK", "RFQ"],
    "settlement_period": "PERPETUAL",
    "base_decimals": 9,
    "quote_decimals": 6,
    "tick_size": "0.01",
    "min_size": "0.01",
    "create_time": "1697788800000000000",
    "max_position_size": "30000.0",
    "funding_interval_hours": 8,
    "adjusted_funding_rate_cap": "0.3",
    "adjusted_funding_rate_floor": "-0.3",
    "min_notional": "20.0",
}
ORDER: dict[str, Any] = {
    "order_id": "0x0101010105034cc4c2a2e4b1a0000000",
    "sub_account_id": "8289849667772468",
    "is_market": False,
    "time_in_force": "GOOD_TILL_TIME",
    "post_only": True,
    "reduce_only": False,
    "legs": [
        {"instrument": SYMBOL, "size": "0.5", "limit_price": "3000.05", "is_buying_asset": True}
    ],
    "signature": {
        "signer": "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a",
        "r": "0x" + "1" * 64,
        "s": "0x" + "2" * 64,
        "v": 28,
        "expiration": str(AT),
        "nonce": 123,
        "chain_id": "0",
    },
    "metadata": {
        "client_order_id": OURS,
        "create_time": str(AT),
        "trigger": {"trigger_type": "UNSPECIFIED"},
        "broker": "UNSPECIFIED",
        "is_position_transfer": False,
        "allow_crossing": False,
    },
    "state": {
        "status": "OPEN",
        "reject_reason": "UNSPECIFIED",
        "book_size": ["0.3"],
        "traded_size": ["0.2"],
        "update_time": str(AT),
        "avg_fill_price": ["3000.05"],
    },
    "builder": "0x00",
    "builder_fee": "0.0",
}
FILL: dict[str, Any] = {
    "event_time": str(AT),
    "sub_account_id": "8289849667772468",
    "instrument": SYMBOL,
    "is_buyer": False,
    "is_taker": True,
    "size": "0.2",
    "price": "3000.05",
    "mark_price": "3000.0",
    "index_price": "3000.0",
    "interest_rate": "0.0",
    "forward_price": "0.0",
    "realized_pnl": "0.0",
    "fee": "0.27000450123",
    "fee_rate": "0.045",
    "trade_id": "74150425-1",
    "order_id": "0x0101",
    "venue": "ORDERBOOK",
    "is_liquidation": False,
    "client_order_id": OURS,
    "signer": "0x19e7",
    "broker": "UNSPECIFIED",
    "is_rpi": False,
    "builder": "0x00",
    "builder_fee_rate": "0.0",
    "builder_fee": "0.0",
    "fee_currency": "USDT",
}
POSITION: dict[str, Any] = {
    "event_time": str(AT),
    "sub_account_id": "8289849667772468",
    "instrument": SYMBOL,
    "size": "-0.5",
    "notional": "-1500.0",
    "entry_price": "3000.0",
    "mark_price": "3000.0",
    "margin_type": "CROSS",
}
BOOK: dict[str, Any] = {
    "event_time": str(AT),
    "instrument": SYMBOL,
    "bids": [
        {"price": "2999.9", "size": "1.0", "num_orders": 2},
        {"price": "3000.0", "size": "0.5", "num_orders": 1},
    ],
    "asks": [{"price": "3000.10", "size": "2.0", "num_orders": 1}],
}
TRADE: dict[str, Any] = {
    "event_time": str(AT),
    "instrument": SYMBOL,
    "is_taker_buyer": True,
    "size": "0.3",
    "price": "3000.1",
    "trade_id": "74150425-1",
    "venue": "ORDERBOOK",
    "is_rpi": False,
}
ACCOUNT: dict[str, Any] = {
    "event_time": str(AT),
    "sub_account_id": "8289849667772468",
    "settle_currency": "USDT",
    "total_equity": "1000.1234567894",
    "available_balance": "900.5",
    "positions": [],
}
TICKER: dict[str, Any] = {
    "event_time": str(AT),
    "instrument": SYMBOL,
    "funding_rate": "0.01",
    "funding_interval_hours": 8,
    "next_funding_time": str(AT),
}
PAYMENT: dict[str, Any] = {
    "event_time": str(AT),
    "sub_account_id": "8289849667772468",
    "instrument": SYMBOL,
    "currency": "USDT",
    "amount": "1.25",
    "tx_id": "1028403",
}


def changed(row: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with the member at a dotted path replaced, or removed for ``...``."""
    key, _, rest = path.partition(".")
    copy = dict(row)
    if rest:
        inner = copy[key]
        copy[key] = (
            [changed(inner[0], rest, value)]
            if isinstance(inner, list)
            else changed(inner, rest, value)
        )
    elif value is ...:
        del copy[key]
    else:
        copy[key] = value
    return copy


def test_order_is_read_from_its_arrays() -> None:
    assert codec.order(ORDER) == OrderView(
        venue=Venue.GRVT,
        client_id=ClientId(7),
        venue_order_id="0x0101010105034cc4c2a2e4b1a0000000",
        symbol=SYMBOL,
        side=Side.BUY,
        qty=Qty(NANO // 2),
        px=Px(3_000_050_000_000),
        cum=Qty(NANO // 5),
        status=Status.OPEN,
        reason="",
        raw_status="OPEN",
        reduce_only=False,
        forced=False,
    )


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("PENDING", Status.PENDING),
        ("OPEN", Status.OPEN),
        ("FILLED", Status.FILLED),
        ("CANCELLED", Status.CANCELLED),
        ("REJECTED", Status.REJECTED),
        ("PARTIALLY_FILLED", Status.UNKNOWN),
        ("open", Status.UNKNOWN),
        ("", Status.UNKNOWN),
    ],
)
def test_F29_REQ_4_unknown_status_word_is_kept_and_never_guessed(word: str, status: Status) -> None:
    view = codec.order(changed(ORDER, "state.status", word))
    assert (view.status, view.raw_status) == (status, word)


@pytest.mark.parametrize("reason", ["FAIL_POST_ONLY", "IOC_CANCEL", "A_REASON_OF_NEXT_YEAR"])
def test_reject_reason_is_carried_as_text(reason: str) -> None:
    row = changed(changed(ORDER, "state.reject_reason", reason), "state.status", "CANCELLED")
    view = codec.order(row)
    assert (view.reason, view.cum, view.forced) == (reason, NANO // 5, False)


def test_F26_liquidation_is_forced() -> None:
    assert codec.order(changed(ORDER, "state.reject_reason", "LIQUIDATION")).forced
    assert codec.fill(changed(FILL, "is_liquidation", True)).forced


@pytest.mark.parametrize(
    "path",
    [
        "order_id",
        "legs",
        "metadata",
        "state",
        "legs.instrument",
        "legs.size",
        "legs.limit_price",
        "legs.is_buying_asset",
        "metadata.client_order_id",
        "state.status",
        "state.reject_reason",
        "state.traded_size",
    ],
)
@pytest.mark.parametrize("value", [..., None, 7])
def test_REQ_3_missing_or_odd_order_field_is_an_error(path: str, value: Any) -> None:
    if path == "metadata.client_order_id" and value == 7:
        assert codec.order(changed(ORDER, path, value)).client_id is None
        return
    if path in ("legs.size", "legs.limit_price") and value == 7:
        view = codec.order(changed(ORDER, path, value))  # a bare number loses nothing
        assert 7 * NANO in (view.qty, view.px)
        return
    with pytest.raises(VenueMalformed):
        codec.order(changed(ORDER, path, value))


@pytest.mark.parametrize("arrays", [[], ["0.1", "0.2"], "0.1", [None], ["NaN"], ["1e5"], ["-1"]])
def test_REQ_3_traded_size_is_one_exact_number(arrays: Any) -> None:
    with pytest.raises(VenueMalformed):
        codec.order(changed(ORDER, "state.traded_size", arrays))


def test_only_a_market_order_may_have_no_price() -> None:
    row = changed(changed(ORDER, "legs.limit_price", None), "is_market", True)
    assert codec.order(row).px == 0


def test_placeholder_id_of_the_acknowledgement_is_no_id() -> None:
    assert codec.order(changed(ORDER, "order_id", "0x00")).venue_order_id == ""


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (OURS, 7),
        (str(2**64 - 1), 2**63 - 1),
        (str(2**63), None),
        ("12345", None),
        (str(2**64), None),
        ("9" * 5000, None),
        ("-1", None),
        ("", None),
        ("٣", None),
        (None, None),
        (2**63 + 7, None),
    ],
)
def test_F25_client_id_outside_our_range_is_foreign(text: Any, number: int | None) -> None:
    assert codec.client_number(text) == number


@pytest.mark.parametrize("number", [0, -1, 2**63])
def test_client_id_that_does_not_fit_is_refused(number: int) -> None:
    assert codec.client_text(ClientId(7)) == OURS
    with pytest.raises(ValueError, match="client id"):
        codec.client_text(ClientId(number))


def test_fill_states_everything() -> None:
    assert codec.fill(FILL) == Fill(
        venue=Venue.GRVT,
        trade_id="74150425-1",
        client_id=ClientId(7),
        venue_order_id="0x0101",
        symbol=SYMBOL,
        side=Side.SELL,
        qty=Qty(NANO // 5),
        px=Px(3_000_050_000_000),
        fee=Quote(270_004_501),
        fee_asset="USDT",
        is_maker=False,
        at=Ns(AT),
        forced=False,
    )


@pytest.mark.parametrize(
    "key",
    [
        "trade_id", "order_id", "instrument", "is_buyer", "is_taker", "size", "price", "fee",
        "event_time", "client_order_id",
    ],
)  # fmt: skip
def test_REQ_3_missing_fill_field_is_an_error(key: str) -> None:
    with pytest.raises(VenueMalformed, match=key):
        codec.fill(changed(FILL, key, ...))


@pytest.mark.parametrize(("key", "value"), [("size", "0.0"), ("price", "0"), ("size", "-0.1")])
def test_fill_of_nothing_is_an_error(key: str, value: str) -> None:
    with pytest.raises(VenueMalformed):
        codec.fill(changed(FILL, key, value))


@pytest.mark.parametrize(
    ("percent", "is_taker", "expected"),
    [("0.045", True, (False, "4.5")), ("-0.0001", False, (True, "-0.01"))],
)
def test_fee_rate_is_percent(percent: str, is_taker: bool, expected: tuple[bool, str]) -> None:
    row = FILL | {"fee_rate": percent, "is_taker": is_taker}
    assert codec.fee_rate(row) == (expected[0], bps(expected[1]))


def test_documented_fees_stand_in_until_a_fill_states_its_own() -> None:
    assert codec.default_fees() == Fees(Venue.GRVT, maker=bps("-0.01"), taker=bps("4.5"))


def test_position_is_signed_and_exact() -> None:
    assert codec.position(POSITION) == Position(Venue.GRVT, SYMBOL, SignedQty(-NANO // 2), Ns(AT))


@pytest.mark.parametrize("value", [..., None, "", "0.0000000001", "1e3", True, []])
def test_S16_position_without_an_exact_size_is_an_error(value: Any) -> None:
    with pytest.raises(VenueMalformed):
        codec.position(changed(POSITION, "size", value))


def test_book_is_sorted_and_keyed_by_number() -> None:
    assert codec.book(BOOK) == Book(
        Venue.GRVT,
        bids=((Px(3000 * NANO), Qty(NANO // 2)), (Px(2_999_900_000_000), Qty(NANO))),
        asks=((Px(3_000_100_000_000), Qty(2 * NANO)),),
        event_time=Ns(AT),
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bids", ...),
        ("asks", None),
        ("asks", {}),
        ("event_time", ...),
        ("bids", [["3000", "1"]]),
        ("bids", [{"price": "3000"}]),
        ("bids", [{"price": "0.0", "size": "1"}]),
        ("bids", [{"price": "3000", "size": "-1"}]),
    ],
)
def test_REQ_3_incomplete_book_is_an_error(key: str, value: Any) -> None:
    with pytest.raises(VenueMalformed):
        codec.book(changed(BOOK, key, value))


def test_book_change_may_leave_a_side_out_and_delete_with_zero() -> None:
    level = {"price": "3000.1", "size": "0.0", "num_orders": 0}
    row = {"event_time": str(AT), "instrument": SYMBOL, "asks": [level]}
    change = codec.book_message(row)
    assert (change.bids, change.asks) == ([], [(3_000_100_000_000, 0)])


def test_trade_names_its_taker() -> None:
    expected = Trade(Venue.GRVT, Px(3_000_100_000_000), Qty(300_000_000), Side.BUY, Ns(AT))
    assert codec.trade(TRADE) == expected
    assert codec.trade(TRADE | {"is_taker_buyer": False}).taker is Side.SELL


def test_REQ_30_instrument_comes_from_the_venues_list() -> None:
    spot = {"kind": "SPOT_SWAP", "base": "ETH"}
    future = {"kind": "FUTURE", "base": "ETH"}
    row = codec.find_instrument(
        [spot, future, INSTRUMENT | {"base": "BTC"}, INSTRUMENT | {"min_size": "0.001"}], "ETH"
    )
    assert row.funding_hours == 8
    assert row.instrument == Instrument(
        venue=Venue.GRVT,
        symbol=SYMBOL,
        base="ETH",
        quote="USDT",
        tick=Px(NANO // 100),
        step=Qty(NANO // 1000),
        min_qty=Qty(NANO // 1000),
        min_notional=Quote(20 * NANO),
        asset_id="0x030401",
        size_decimals=9,
        tradable=True,
    )


@pytest.mark.parametrize("base", ["eth", "SOL", ""])
def test_unlisted_ticker_is_named(base: str) -> None:
    with pytest.raises(UnknownTicker):
        codec.find_instrument([INSTRUMENT], base)


@pytest.mark.parametrize(
    "key", ["tick_size", "min_size", "min_notional", "instrument_hash", "base_decimals", "quote"]
)
def test_REQ_3_missing_instrument_field_is_an_error(key: str) -> None:
    with pytest.raises(VenueMalformed, match=key):
        codec.find_instrument([changed(INSTRUMENT, key, ...)], "ETH")


def test_two_perpetuals_of_one_base_are_not_guessed_between() -> None:
    with pytest.raises(VenueMalformed, match="2 perpetuals"):
        codec.find_instrument([INSTRUMENT, INSTRUMENT | {"quote": "USDC"}], "ETH")


def test_balance_is_in_the_settle_currency() -> None:
    expected = Balance(Venue.GRVT, Quote(1_000_123_456_789), Quote(900_500_000_000), "USDT")
    assert codec.balance(ACCOUNT) == expected


def test_funding_rate_is_percent_per_interval() -> None:
    assert codec.funding(TICKER, None) == Funding(Venue.GRVT, 100_000, 8, Ns(AT))
    short = changed(TICKER, "funding_interval_hours", ...)
    assert codec.funding(short, 4).interval_hours == 4
    with pytest.raises(VenueMalformed, match="interval"):
        codec.funding(short, None)


def test_funding_payment_changes_its_sign() -> None:
    expected = FundingPayment(Venue.GRVT, f"{SYMBOL}:{AT}", Quote(-1_250_000_000), Ns(AT))
    assert codec.funding_payment(PAYMENT) == (SYMBOL, expected)
    assert codec.funding_payment(PAYMENT | {"amount": "-0.5"})[1].amount == NANO // 2


@pytest.mark.parametrize(
    "read",
    [codec.order, codec.fill, codec.position, codec.book, codec.book_message, codec.trade,
     codec.balance, codec.funding_payment, codec.fee_rate],
)  # fmt: skip
@pytest.mark.parametrize("value", [None, [], "x", 3, {}])
def test_REQ_3_nothing_is_read_from_another_shape(read: Any, value: Any) -> None:
    with pytest.raises(VenueMalformed):
        read(value)

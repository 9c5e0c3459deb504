"""The pure parts of the Backpack face: signatures, payloads, stream names, bars, words."""

import base64
from decimal import Decimal
from typing import Any

import pytest

from exchanges.simulator.backpack_auth import (
    KeyRing,
    Params,
    SignatureError,
    Stamp,
    batch_string,
    string_to_sign,
)
from exchanges.simulator.backpack_payload import (
    as_batch,
    as_params,
    decode,
    order_key,
    order_plan,
    slippage_bound,
)
from exchanges.simulator.backpack_prints import Prints, ticker_json, trade_number
from exchanges.simulator.backpack_topics import Kind, TopicError, parse_topic
from exchanges.simulator.backpack_words import (
    ApiError,
    bps_number,
    fraction,
    iso,
    iso_seconds,
    padded,
    refusal,
)
from exchanges.simulator.model import Deny, PublicTrade
from strategy.domain import NANO, Ns, Px, Qty, Side, bps, nano

PUBLIC = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
STAMP = 1_750_000_000_000
AT = Ns(STAMP * 1_000_000)
SYMBOL = "ETH_USDC_PERP"
ORDER_PARAMS: Params = {
    "symbol": SYMBOL,
    "side": "Bid",
    "orderType": "Limit",
    "price": "3000.5",
    "quantity": "0.01",
    "postOnly": True,
    "clientId": 7,
}
ORDER_SIGNATURE = (
    "FPOKaJyhZBbBaufGTXJ/FNkxbTPPV1dtjMF9CWQWxR7y9q1mpTgbIeTkvmx/NK/U8/R2+snjDgnnZw0JR/3WDw=="
)
SUBSCRIBE_SIGNATURE = (
    "+l7W9gsWo7wgxsSyafqWB1Q/506+FeIpLn7LZu6L9cxoWjT0jP5/krBY+fN3hLePKAYNW5RpHpy+suhu5B2/Dg=="
)


def verify(signature: str, text: str, *, now: Ns = AT, window: str | None = "5000") -> None:
    ring = KeyRing()
    ring.add(PUBLIC, "backpack")
    ring.verify(Stamp(PUBLIC, signature, str(STAMP), window), text, now)


@pytest.mark.parametrize(
    ("instruction", "params", "signature"),
    [
        ("orderExecute", ORDER_PARAMS, ORDER_SIGNATURE),
        ("subscribe", {}, SUBSCRIBE_SIGNATURE),
    ],
)
def test_both_reference_signatures_verify_and_any_change_breaks_them(
    instruction: str, params: Params, signature: str
) -> None:
    text = string_to_sign(instruction, params, STAMP, 5000)
    verify(signature, text)
    verify(signature, text, window=None)
    with pytest.raises(SignatureError, match="Invalid signature"):
        verify(signature, text.replace("window=5000", "window=5001"))


def test_the_string_to_sign_sorts_lowers_booleans_and_omits_nulls() -> None:
    params: Params = {"b": None, "z": True, "a": Decimal("0.10"), "c": 3, "é": "x y"}
    assert (
        string_to_sign("q", params, 1, 2)
        == "instruction=q&a=0.10&c=3&z=true&é=x y&timestamp=1&window=2"
    )
    assert string_to_sign("q", {}, 1, 2) == "instruction=q&timestamp=1&window=2"


def test_a_batch_prefixes_every_order() -> None:
    text = batch_string("orderExecute", [{"b": "2", "a": "1"}, {"c": "3"}], 5, 6)
    assert text == (
        "instruction=orderExecute&a=1&b=2&instruction=orderExecute&c=3&timestamp=5&window=6"
    )


@pytest.mark.parametrize("moved", [5001, -5001])
def test_a_clock_beyond_the_window_is_refused(moved: int) -> None:
    text = string_to_sign("subscribe", {}, STAMP, 5000)
    with pytest.raises(ApiError, match="Request has expired"):
        verify(SUBSCRIBE_SIGNATURE, text, now=Ns(AT + moved * 1_000_000))
    verify(SUBSCRIBE_SIGNATURE, text, now=Ns(AT + moved // 5001 * 5_000_000_000))


@pytest.mark.parametrize(
    ("signature", "timestamp", "window", "says"),
    [
        ("not base64!", "1", "5000", "Invalid X-Signature header"),
        (base64.b64encode(b"short").decode(), "1", "5000", "Invalid X-Signature header"),
        (SUBSCRIBE_SIGNATURE, "-1", "5000", "Invalid X-Timestamp header"),
        (SUBSCRIBE_SIGNATURE, "9" * 17, "5000", "Invalid X-Timestamp header"),
        (SUBSCRIBE_SIGNATURE, "1", "1.5", "Invalid X-Window header"),
        (SUBSCRIBE_SIGNATURE, "1", "60001", "Invalid X-Window header"),
    ],
)
def test_a_malformed_stamp_is_named(signature: str, timestamp: str, window: str, says: str) -> None:
    with pytest.raises(ApiError, match=says) as bad:
        Stamp(PUBLIC, signature, timestamp, window)
    assert (bad.value.status, bad.value.code) == (400, "INVALID_CLIENT_REQUEST")


def test_an_unknown_key_is_unauthorized_on_wapi_only() -> None:
    stamp = Stamp("someone", SUBSCRIBE_SIGNATURE, str(STAMP), "5000")
    text = string_to_sign("subscribe", {}, STAMP, 5000)
    with pytest.raises(SignatureError) as api:
        KeyRing().verify(stamp, text, AT)
    with pytest.raises(SignatureError) as wapi:
        KeyRing().verify(stamp, text, AT, wapi=True)
    assert (api.value.status, wapi.value.status) == (400, 401)


# --- payloads --------------------------------------------------------------------------------


def test_json_numbers_never_become_floats() -> None:
    assert decode(b'{"a": 0.10}') == {"a": Decimal("0.10")}
    assert str(decode(b'{"a": 0.10}')["a"]) == "0.10"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"NaN", b"[" * 5000, b"1" * 5000, b'{"a":Infinity}']
)
def test_a_body_that_is_not_json_is_a_parse_error(body: bytes) -> None:
    with pytest.raises(ApiError, match="parse request payload error"):
        decode(body)


@pytest.mark.parametrize("value", [[], "x", 3, None, {"a": [1]}, {"a": {"b": 1}}])
def test_a_body_that_is_not_a_flat_object_is_a_parse_error(value: Any) -> None:
    with pytest.raises(ApiError, match="parse request payload error"):
        as_params(value, "OrderExecutePayload")


@pytest.mark.parametrize("value", [{}, [], [{}] * 51, [1]])
def test_a_bad_batch_is_a_parse_error(value: Any) -> None:
    with pytest.raises(ApiError, match="parse request payload error"):
        as_batch(value)


def test_an_order_is_read_into_exact_units() -> None:
    plan = order_plan({**ORDER_PARAMS, "reduceOnly": False})
    assert (plan.side, plan.px, plan.qty) == (Side.BUY, nano("3000.5"), nano("0.01"))
    assert (plan.client_id, plan.post_only, plan.reduce_only) == (7, True, False)
    assert (plan.market, plan.stp) == (False, "RejectTaker")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"side": "Buy"}, "valid enumeration"),
        ({"side": None}, "side"),
        ({"orderType": "Stop"}, "valid enumeration"),
        ({"symbol": 5}, 'Expected input type "string"'),
        ({"symbol": None}, "symbol"),
        ({"quantity": 0.5}, 'Expected input type "string"'),
        ({"quantity": "1e-3"}, "Invalid decimal"),
        ({"quantity": "-1"}, "Invalid decimal"),
        ({"quantity": "9" * 400}, "Invalid decimal"),
        ({"quantity": "٣"}, "Invalid decimal"),
        ({"quantity": None}, "Must specify `quantity`"),
        ({"price": None}, "Must specify `price`"),
        ({"price": "0"}, "below the minimum"),
        ({"price": "3000.0000000001"}, "Price decimal too long"),
        ({"quantity": "0.0000000001"}, "Quantity decimal too long"),
        ({"clientId": "7"}, "uint32"),
        ({"clientId": True}, "uint32"),
        ({"clientId": -1}, "uint32"),
        ({"clientId": 2**32}, "uint32"),
        ({"postOnly": "true"}, 'Expected input type "boolean"'),
        ({"timeInForce": "GTT"}, "valid enumeration"),
        ({"timeInForce": "IOC"}, "Post only"),
        ({"selfTradePrevention": "Maybe"}, "valid enumeration"),
        ({"quoteQuantity": "5"}, "quoteQuantity"),
        ({"triggerPrice": "1"}, "Must specify both `triggerPrice` and `triggerQuantity`"),
        ({"triggerQuantity": "1"}, "Must specify both `triggerPrice` and `triggerQuantity`"),
        ({"triggerBy": "LastPrice"}, "Cannot specify `triggerBy` without `triggerPrice`"),
        ({"triggerPrice": "1", "triggerQuantity": "101%"}, "Invalid percentage"),
        ({"triggerPrice": "1", "triggerQuantity": "0%"}, "Invalid percentage"),
        ({"triggerPrice": "1", "triggerQuantity": "x"}, "Invalid decimal"),
        (
            {"triggerPrice": "1", "triggerQuantity": "1", "triggerBy": "Mood"},
            "valid enumeration value",
        ),
        ({"takeProfitLimitPrice": "1"}, "`takeProfitLimitPrice` without `takeProfitTriggerPrice`"),
        ({"stopLossTriggerBy": "MarkPrice"}, "`stopLossTriggerBy` without `stopLossTriggerPrice`"),
        ({"brokerId": 70_000}, "uint16"),
        ({"autoBorrow": "yes"}, '"boolean"'),
    ],
)
def test_a_wrong_order_is_refused_by_name(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ApiError) as bad:
        order_plan({**ORDER_PARAMS, **change})
    assert bad.value.status == 400
    assert says in bad.value.message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, "exactly one of"),
        ({"quantity": "1", "quoteQuantity": "5"}, "exactly one of"),
        ({"quantity": "1", "postOnly": True}, "cannot be post only"),
    ],
)
def test_a_wrong_market_order_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ApiError) as bad:
        order_plan({"symbol": SYMBOL, "side": "Ask", "orderType": "Market", **change})
    assert says in bad.value.message


@pytest.mark.parametrize(
    ("side", "tolerance", "kind", "worst"),
    [
        ("Bid", "1", "Percent", "3030"),
        ("Ask", "1", "Percent", "2970"),
        ("Bid", "0.0005", "Percent", "3000.01"),
        ("Ask", "3", "TickSize", "2999.97"),
    ],
)
def test_a_slippage_tolerance_bounds_a_market_order(
    side: str, tolerance: str, kind: str, worst: str
) -> None:
    plan = order_plan(
        {
            "symbol": SYMBOL,
            "side": side,
            "orderType": "Market",
            "quantity": "1",
            "slippageTolerance": tolerance,
            "slippageToleranceType": kind,
        }
    )
    assert slippage_bound(plan, Px(nano("3000")), Px(nano("0.01"))) == nano(worst)


def test_a_client_id_as_text_depends_on_the_switch() -> None:
    named: Params = {"symbol": SYMBOL, "clientId": "7"}
    assert order_key(named, from_query=False, strict=False).client_id == 7
    assert order_key(named, from_query=True, strict=True).client_id == 7
    with pytest.raises(ApiError, match="uint32"):
        order_key(named, from_query=False, strict=True)


@pytest.mark.parametrize(
    "params",
    [
        {"symbol": SYMBOL},
        {"symbol": SYMBOL, "orderId": "1", "clientId": 1},
        {"orderId": "1"},
        {"symbol": SYMBOL, "clientId": "x"},
        {"symbol": SYMBOL, "clientId": str(2**32)},
        {"symbol": SYMBOL, "orderId": 5},
    ],
)
def test_an_order_is_named_by_exactly_one_id(params: Params) -> None:
    with pytest.raises(ApiError):
        order_key(params, from_query=False, strict=False)


# --- streams, bars and words -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "symbol", "detail", "private"),
    [
        ("bookTicker.X", Kind.BOOK_TICKER, "X", "", False),
        ("depth.X", Kind.DEPTH, "X", "", False),
        ("depth.600ms.X", Kind.DEPTH, "X", "600ms", False),
        ("kline.1m.X", Kind.KLINE, "X", "1m", False),
        ("liquidation", Kind.LIQUIDATION, "", "", False),
        ("account.orderUpdate", Kind.ORDERS, "", "", True),
        ("account.orderUpdate.X", Kind.ORDERS, "X", "", True),
        ("account.positionUpdate", Kind.POSITIONS, "", "", True),
    ],
)
def test_stream_names_are_read(
    name: str, kind: Kind, symbol: str, detail: str, private: bool
) -> None:
    topic = parse_topic(name)
    assert (topic.kind, topic.symbol, topic.detail) == (kind, symbol, detail)
    assert topic.private is private


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("depth.100ms.X", 4008),
        ("kline.7m.X", 4006),
        ("depth", 4006),
        ("depth.", 4006),
        ("nonsense.X", 4006),
        ("account.balanceUpdate", 4006),
        ("account.orderUpdate.", 4006),
        ("account.orderUpdate.X.Y", 4006),
        ("a.b.c.d", 4006),
        ("", 4006),
    ],
)
def test_unknown_streams_carry_the_venues_code(name: str, code: int) -> None:
    with pytest.raises(TopicError) as bad:
        parse_topic(name)
    assert bad.value.code == code


def test_minutes_add_up_to_bars_and_to_the_day() -> None:
    prints, minute = Prints(), 60 * NANO
    start = 20_000 * 1440 * minute
    for at, px in ((0, "100"), (1, "103"), (61, "99"), (181, "101")):
        moment = Ns(start + at * NANO)
        prints.add(PublicTrade("X", f"{at + 1}-1", Px(nano(px)), Qty(NANO), Side.BUY, moment))
    bars = prints.bars("X", "3m", Ns(start), Ns(start + 10 * minute))
    assert [(bar.start - start, bar.count) for bar in bars] == [(0, 3), (3 * minute, 1)]
    assert (bars[0].open, bars[0].high, bars[0].low, bars[0].close) == tuple(
        nano(px) for px in ("100", "103", "99", "99")
    )
    day = prints.day("X", Ns(start + 4 * minute))
    assert day is not None
    row = ticker_json("X", day)
    assert (row["firstPrice"], row["lastPrice"], row["trades"]) == ("100", "101", "4")
    assert (row["volume"], row["quoteVolume"]) == ("4", "403")
    assert (row["priceChange"], row["priceChangePercent"]) == ("1", "0.01")
    assert prints.day("X", Ns(start + 2000 * minute)) is None
    assert [trade.trade_id for trade in prints.newest("X", 2, 1)] == ["62-1", "2-1"]


@pytest.mark.parametrize(("trade_id", "number"), [("74-1", 74), ("74-3", 76), ("12", 12)])
def test_trade_ids_become_the_venues_integers(trade_id: str, number: int) -> None:
    assert trade_number(trade_id) == number


def test_words_render_as_the_venue_prints_them() -> None:
    assert padded(nano("86700"), nano("0.1")) == "86700.0"
    assert padded(nano("0.5"), nano("0.0001")) == "0.5000"
    assert padded(0, nano("0.0001")) == "0"
    assert padded(nano("7"), nano("1")) == "7"
    assert (fraction(bps(200)), bps_number(bps("-0.5"))) == ("0.02", "-0.5")
    assert iso(Ns(1_753_637_940_092_000_000)) == "2025-07-27T17:39:00.092"
    assert iso_seconds(Ns(1_753_637_940_092_000_000)) == "2025-07-27T17:39:00"


@pytest.mark.parametrize("deny", list(Deny))
def test_every_denial_has_the_venues_words(deny: Deny) -> None:
    error = refusal(deny)
    assert error.status == 400
    assert error.code.isupper()
    assert error.message

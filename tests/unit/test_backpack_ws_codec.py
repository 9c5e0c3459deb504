"""Socket frames of venues.md B5, as the venue sends them."""

import json
from decimal import Decimal
from typing import Any

import pytest

from exchanges.backpack import ws_codec
from exchanges.errors import VenueMalformed
from strategy.domain import NANO, OrderView, Side, Status

Row = dict[str, Any]

UPDATE: Row = {
    "e": "orderFill",
    "E": 1_750_000_000_123_456,
    "s": "ETH_USDC_PERP",
    "c": 7,
    "S": "Bid",
    "o": "LIMIT",
    "f": "GTC",
    "q": "0.5",
    "p": "3000.5",
    "X": "PartiallyFilled",
    "i": "4227701917",
    "t": 567,
    "l": "0.1",
    "L": "3000.4",
    "z": "0.3",
    "Z": "900.1",
    "m": True,
    "n": "0.06",
    "N": "USDC",
    "V": "RejectTaker",
    "T": 1_750_000_000_123_000,
    "O": "USER",
    "r": False,
    "y": True,
}


def without(row: Row, key: str) -> Row:
    return {name: value for name, value in row.items() if name != key}


def update(**changes: object) -> tuple[OrderView, object]:
    return ws_codec.order_update(UPDATE | changes)


def test_order_fill_gives_the_state_and_the_execution() -> None:
    view, fill = ws_codec.order_update(UPDATE)
    assert view.cum == 3 * NANO // 10
    assert view.client_id == 7
    assert view.status is Status.OPEN
    assert not view.forced
    assert fill is not None
    assert fill.trade_id == "567"
    assert (fill.qty, fill.px) == (NANO // 10, 3_000_400_000_000)
    assert (fill.fee, fill.fee_asset, fill.is_maker) == (60_000_000, "USDC", True)
    assert fill.at == 1_750_000_000_123_000_000


@pytest.mark.parametrize(
    ("event", "word", "expected"),
    [
        ("orderAccepted", "New", Status.OPEN),
        ("orderCancelled", "Cancelled", Status.CANCELLED),
        ("orderExpired", "Expired", Status.EXPIRED),
        ("orderModified", "New", Status.OPEN),
        ("triggerPlaced", "TriggerPending", Status.PENDING),
        ("brandNew", "Weird", Status.UNKNOWN),
    ],
)
def test_other_order_events_carry_no_fill(event: str, word: str, expected: Status) -> None:
    view, fill = update(e=event, X=word)
    assert view.status is expected
    assert fill is None


def test_F26_origin_other_than_user_is_forced() -> None:
    view, fill = ws_codec.order_update(
        without(without(UPDATE, "c"), "p") | {"O": "ADL_AUTOCLOSE", "o": "MARKET"}
    )
    assert view.forced
    assert view.client_id is None
    assert view.px == 0
    assert fill is not None
    assert fill.forced


def test_expiry_reason_is_kept() -> None:
    view, _ = update(e="orderExpired", X="Expired", R="ReduceOnlyNotReduced")
    assert view.reason == "ReduceOnlyNotReduced"


@pytest.mark.parametrize("key", ["e", "s", "S", "o", "X", "i", "z", "O", "T", "t", "l", "L", "n"])
def test_REQ_3_missing_traded_size_is_an_error(key: str) -> None:
    with pytest.raises(VenueMalformed):
        ws_codec.order_update(without(UPDATE, key))


@pytest.mark.parametrize("qty", ["-0.1137", Decimal("-0.1137")])
def test_position_update_accepts_both_number_forms(qty: object) -> None:
    position = ws_codec.position(
        {"s": "ETH_USDC_PERP", "q": qty, "E": 5, "T": 1_750_000_000_000_001}
    )
    assert position.qty == -113_700_000
    assert position.at == 1_750_000_000_000_001_000


def test_position_update_without_time_says_so() -> None:
    assert ws_codec.position({"s": "ETH_USDC_PERP", "q": "0"}).at == 0
    assert ws_codec.position({"s": "ETH_USDC_PERP", "q": "0", "E": 7}).at == 7000


@pytest.mark.parametrize("update_id", [94978271, "94978271"])
def test_depth_ids_are_bare_or_quoted(update_id: object) -> None:
    delta = ws_codec.depth_delta(
        {"e": "depth", "U": update_id, "u": update_id, "b": [["3000.0", "0.000"]], "a": [], "T": 7}
    )
    assert (delta.first, delta.last) == (94978271, 94978271)
    assert delta.bids == ((3000 * NANO, 0),)
    assert delta.at == 7000


@pytest.mark.parametrize(("buyer_rests", "taker"), [(True, Side.SELL), (False, Side.BUY)])
def test_public_trade_side_is_the_takers(buyer_rests: bool, taker: Side) -> None:
    trade = ws_codec.trade({"p": "3000", "q": "0.1", "m": buyer_rests, "T": 1})
    assert trade.taker is taker


def test_frames_of_other_streams_are_ignored_and_errors_are_not() -> None:
    symbol = "ETH_USDC_PERP"
    assert ws_codec.frame(json.dumps({"result": None, "id": 1}), symbol) is None
    assert ws_codec.frame('{"stream":"depth.BTC_USDC_PERP","data":{}}', symbol) is None
    opened = ws_codec.frame('{"stream":"account.orderUpdate.ETH_USDC_PERP","data":{}}', symbol)
    assert opened == ws_codec.Frame(ws_codec.ORDERS, {})
    error = ws_codec.frame('{"id":null,"error":{"code":4006,"message":"Invalid stream"}}', symbol)
    assert error == ws_codec.ErrorFrame("4006", "Invalid stream")
    for garbled in ("[]", "{", '{"stream":"depth.ETH_USDC_PERP"}'):
        with pytest.raises(VenueMalformed):
            ws_codec.frame(garbled, symbol)

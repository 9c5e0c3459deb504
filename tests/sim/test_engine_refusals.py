"""What the matching engine refuses before it acknowledges an order."""

from dataclasses import replace
from typing import Any

import pytest

from exchanges.simulator.defaults import BACKPACK_RULES, GRVT_RULES
from exchanges.simulator.model import Deny
from strategy.domain import Side, Tif
from tests.sim.test_engine import Desk, deny_of, snapshot


@pytest.mark.parametrize(
    ("row", "deny"),
    [
        ({"symbol": "NOPE"}, Deny.UNKNOWN_SYMBOL),
        ({"px": "3000.005"}, Deny.BAD_TICK),
        ({"px": "0"}, Deny.BAD_TICK),
        ({"qty": "0.015"}, Deny.BAD_STEP),
        ({"qty": "0.005"}, Deny.BELOW_MIN_QTY),
        ({"qty": "0"}, Deny.BELOW_MIN_QTY),
        ({"qty": "0.01", "px": "1999.99"}, Deny.PRICE_BAND),
        ({"px": "3400"}, Deny.PRICE_BAND),
        ({"side": Side.SELL, "reduce_only": True}, Deny.REDUCE_ONLY_NO_POSITION),
        ({"qty": "400", "px": "2999"}, None),
        ({"qty": "4000", "px": "2999"}, Deny.INSUFFICIENT_MARGIN),
        ({"post_only": True, "tif": Tif.IOC}, Deny.UNSUPPORTED),
        ({"post_only": True, "px": None}, Deny.UNSUPPORTED),
        ({"life_ms": 0}, Deny.EXPIRED_SIGNATURE),
    ],
)
def test_place_refuses_at_once_with_the_reason(row: dict[str, Any], deny: Deny | None) -> None:
    desk = Desk(GRVT_RULES).base()
    args: dict[str, Any] = {"side": Side.BUY, "qty": "0.1", "px": "2999.99", **row}
    if deny is None:
        assert desk.order(**args).live
        return
    assert deny_of(desk, **args) is deny
    account = desk.engine.accounts["a"]
    assert (account.orders_received, account.orders_rejected) == (1, 1)
    assert not desk.engine.orders


def test_minimum_notional_applies_to_reductions_too() -> None:
    desk = Desk(GRVT_RULES).feed(snapshot([("1500", "1")], [("1500.02", "1")]))
    desk.buy("0.02", "1500.02")
    reduce = {"side": Side.SELL, "qty": "0.01", "px": "1500", "reduce_only": True}
    assert deny_of(desk, **reduce) is Deny.BELOW_MIN_NOTIONAL
    assert deny_of(desk, side=Side.BUY, qty="0.01", px="1500") is Deny.BELOW_MIN_NOTIONAL


def test_a_size_below_one_step_is_a_decimals_fault_on_backpack() -> None:
    desk = Desk().base()
    assert deny_of(desk, side=Side.BUY, qty="0.00005", px="2999") is Deny.BAD_STEP


def test_a_market_order_without_any_price_is_refused() -> None:
    assert deny_of(Desk(), side=Side.BUY, qty="1", px=None) is Deny.NO_PRICE


def test_a_client_id_is_unique_among_live_orders_only() -> None:
    desk = Desk().base()
    first = desk.order(Side.BUY, "0.1", "2999", client_id="1")
    row = {"side": Side.BUY, "qty": "0.1", "px": "2999", "client_id": "1"}
    assert deny_of(desk, **row) is Deny.DUPLICATE_CLIENT_ID
    assert desk.order(Side.BUY, "0.1", "2999", client_id="1", account="b").live
    desk.wait()
    desk.engine.cancel(desk.now, first)
    desk.wait()
    again = desk.order(Side.BUY, "0.1", "2999", client_id="1")
    assert desk.engine.find("a", "1") is again


def test_open_orders_are_limited() -> None:
    desk = Desk(replace(BACKPACK_RULES, max_open_orders=2)).base()
    desk.order(Side.BUY, "0.1", "2999")
    desk.order(Side.BUY, "0.1", "2999")
    assert deny_of(desk, side=Side.BUY, qty="0.1", px="2999") is Deny.TOO_MANY_ORDERS


@pytest.mark.parametrize(
    ("state", "limit", "maker", "market"),
    [
        ("Open", True, True, True),
        ("Closed", False, False, False),
        ("CancelOnly", False, False, False),
        ("PostOnly", False, True, False),
        ("LimitOnly", True, True, False),
    ],
)
def test_market_state_decides_which_orders_are_taken(
    state: str, limit: bool, maker: bool, market: bool
) -> None:
    desk = Desk().base()
    listed = desk.engine.markets[desk.symbol]
    desk.engine.markets[desk.symbol] = replace(listed, state=state)
    rows: list[tuple[dict[str, Any], bool]] = [
        ({"px": "2999"}, limit),
        ({"px": "2999", "post_only": True}, maker),
        ({"px": None}, market),
    ]
    for row, taken in rows:
        args: dict[str, Any] = {"side": Side.BUY, "qty": "0.1", **row}
        if taken:
            assert desk.order(**args).live
        else:
            assert deny_of(desk, **args) is Deny.MARKET_CLOSED


def test_a_retired_client_id_may_be_used_again_after_a_fill() -> None:
    desk = Desk().base()
    first = desk.order(Side.BUY, "0.1", "3000.01", tif=Tif.IOC, client_id="9")
    desk.wait()
    assert first.cum == first.qty
    assert desk.order(Side.BUY, "0.1", "2999", client_id="9").live

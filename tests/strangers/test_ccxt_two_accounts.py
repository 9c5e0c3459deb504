"""Two strangers of each venue trade with one another through ccxt: nobody else is in the book."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.strangers.ccxt_rig import ETH_USDC, ETH_USDT, backpack, ccxt, grvt
from tests.strangers.simulation import Simulation, until

SIMULATE = ("--speed", "0.001", "--accounts", "2")
"""A recording that all but stands still; its orders are then taken out of the book."""


def keys(simulation: Simulation, venue: str) -> list[dict[str, Any]]:
    """Return what the ready line says of each account of a venue, as of the first."""
    first = simulation.ready[venue]
    return [first | row for row in simulation.ready["accounts"] if row["venue"] == venue]


@pytest.fixture
def emptied(simulation: Simulation) -> Iterator[Simulation]:
    for venue in ("grvt", "backpack"):
        simulation.market(venue, liquidity=0)
    yield simulation
    for venue in ("grvt", "backpack"):
        simulation.market(venue, liquidity=1)


def accounts(simulation: Simulation, venue: str) -> list[dict[str, Any]]:
    return list(simulation.state(venue)["accounts"].values())


def test_one_grvt_accounts_order_fills_the_others_in_part(emptied: Simulation) -> None:
    settings = [
        {"options": {"builderFee": False, "accountId": row["sub_account_id"]}}
        for row in keys(emptied, "grvt")
    ]
    both = [
        grvt(ccxt.grvt, row, **setting)
        for row, setting in zip(keys(emptied, "grvt"), settings, strict=True)
    ]
    maker, taker = both
    for exchange in both:
        exchange.load_markets()
    ask = maker.create_order(ETH_USDT, "limit", "sell", 1, 2700, {"postOnly": True})
    until(lambda: taker.fetch_order_book(ETH_USDT)["asks"] == [[2700.0, 1.0]])

    taker.create_order(ETH_USDT, "limit", "buy", 0.4, 2710, {"timeInForce": "IOC"})
    (bought,) = until(lambda: taker.fetch_my_trades(ETH_USDT) or None)
    (sold,) = maker.fetch_my_trades(ETH_USDT)
    (rest,) = maker.fetch_open_orders(ETH_USDT)

    assert (bought["side"], bought["takerOrMaker"], bought["price"]) == ("buy", "taker", 2700.0)
    assert (sold["side"], sold["takerOrMaker"], sold["amount"]) == ("sell", "maker", 0.4)
    assert bought["id"].split("-")[0] == sold["id"].split("-")[0]
    assert (rest["clientOrderId"], rest["filled"], rest["remaining"]) == (
        ask["clientOrderId"],
        0.4,
        0.6,
    )
    assert [exchange.fetch_positions([ETH_USDT])[0]["side"] for exchange in both] == [
        "short",
        "long",
    ]
    assert taker.fetch_open_orders(ETH_USDT) == []
    with pytest.raises(ccxt.OperationRejected, match="1004"):
        taker.cancel_order(rest["id"])
    rows = accounts(emptied, "grvt")
    assert [row["position"] for row in rows] == ["-0.4", "0.4"]
    assert sum(Decimal(row["fees_paid"]) for row in rows) == Decimal(1080) * (
        Decimal("0.00045") - Decimal("0.000001")
    )
    maker.cancel_all_orders(ETH_USDT)
    for exchange in both:
        exchange.session.close()


def test_one_backpack_accounts_order_fills_the_others_in_part(emptied: Simulation) -> None:
    both = [backpack(ccxt.backpack, row) for row in keys(emptied, "backpack")]
    maker, taker = both
    ask = maker.create_order(ETH_USDC, "limit", "sell", 1, 2700, {"postOnly": True})
    assert taker.fetch_order_book(ETH_USDC)["asks"] == [[2700.0, 1.0]]

    order = taker.create_order(ETH_USDC, "limit", "buy", 0.4, 2710, {"timeInForce": "IOC"})
    (bought,) = taker.fetch_my_trades(ETH_USDC)
    (sold,) = maker.fetch_my_trades(ETH_USDC)
    (rest,) = maker.fetch_open_orders(ETH_USDC)

    assert (order["status"], order["average"]) == ("closed", 2700.0)
    assert (bought["side"], bought["takerOrMaker"]) == ("buy", "taker")
    assert (sold["side"], sold["takerOrMaker"], sold["amount"]) == ("sell", "maker", 0.4)
    assert bought["id"] == sold["id"]
    assert (rest["id"], rest["filled"], rest["remaining"]) == (ask["id"], 0.4, 0.6)
    assert taker.fetch_open_orders(ETH_USDC) == []
    with pytest.raises((ccxt.ExchangeNotAvailable, ccxt.BadRequest), match=r"[Nn]ot [Ff]ound"):
        taker.cancel_order(rest["id"], ETH_USDC)
    rows = accounts(emptied, "backpack")
    assert [row["position"] for row in rows] == ["-0.4", "0.4"]
    assert sum(Decimal(row["fees_paid"]) for row in rows) == Decimal(1080) * Decimal("0.0007")
    assert maker.cancel_order(rest["id"], ETH_USDC)["status"] == "canceled"
    for exchange in both:
        exchange.session.close()


def test_ccxt_asks_which_of_several_sub_accounts_is_meant(simulation: Simulation) -> None:
    exchange = grvt(ccxt.grvt, simulation.grvt, options={"builderFee": False})

    with pytest.raises(ccxt.ArgumentsRequired, match="multiple sub accounts"):
        exchange.load_markets()
    exchange.session.close()

"""ccxt's asynchronous ``backpack`` classes, REST and pro, against the simulated Backpack."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.strangers.ccxt_rig import (
    ETH_USDC,
    backpack,
    ccxt,
    flattened,
    full,
    heard,
    reached,
    refilled,
    told,
)
from tests.strangers.simulation import Simulation

OTHER_SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
TAKER = 0.0005


@pytest.fixture
async def rest(simulation: Simulation) -> AsyncIterator[Any]:
    client = backpack(ccxt.async_support.backpack, simulation.backpack)
    await client.load_markets()
    await refilled(client, ETH_USDC)
    yield client
    await flattened(client, ETH_USDC, simulation, "backpack")
    await client.close()


@pytest.fixture
async def pro(simulation: Simulation) -> AsyncIterator[Any]:
    client = backpack(ccxt.pro.backpack, simulation.backpack)
    await client.load_markets()
    await refilled(client, ETH_USDC)
    yield client
    await flattened(client, ETH_USDC, simulation, "backpack")
    await client.close()


# --- REST --------------------------------------------------------------------------------------


async def test_the_asynchronous_class_looks_around(rest: Any, simulation: Simulation) -> None:
    book, balance, positions, rate, past = await asyncio.gather(
        rest.fetch_order_book(ETH_USDC),
        rest.fetch_balance(),
        rest.fetch_positions([ETH_USDC]),
        rest.fetch_funding_rate(ETH_USDC),
        rest.fetch_funding_rate_history(ETH_USDC, None, 2),
    )

    assert full(book)
    assert balance["USDC"]["total"] == pytest.approx(float(simulation.state("backpack")["balance"]))
    assert positions == []
    assert (rate["fundingRate"], rate["markPrice"]) == (0.0000125, 3000.0)
    assert [0 < abs(row["fundingRate"]) <= 0.01 for row in past] == [True, True]


async def test_the_asynchronous_class_trades(rest: Any, simulation: Simulation) -> None:
    before = simulation.state("backpack")
    resting = await rest.create_order(ETH_USDC, "limit", "buy", 0.3, 2950.5, {"postOnly": True})
    taken = await rest.create_order(ETH_USDC, "limit", "buy", 10, 3001, {"timeInForce": "IOC"})

    assert [row["id"] for row in await rest.fetch_open_orders(ETH_USDC)] == [resting["id"]]
    assert (taken["filled"], taken["remaining"]) == (3.0, 7.0)
    (position,) = await rest.fetch_positions([ETH_USDC])
    # ccxt takes the venue's exposure for the contracts: it counts the resting order in.
    assert (position["side"], float(position["contracts"])) == ("long", 3.3)
    assert position["info"]["netQuantity"] == "3"
    cost = 3000.5 + 2 * 3001
    mine = [row for row in await rest.fetch_my_trades(ETH_USDC) if row["order"] == taken["id"]]
    assert sum(row["cost"] for row in mine) == pytest.approx(cost)
    assert sum(row["fee"]["cost"] for row in mine) == pytest.approx(cost * TAKER)
    paid = float(simulation.state("backpack")["fees_paid"]) - float(before["fees_paid"])
    assert paid == pytest.approx(cost * TAKER)

    assert (await rest.cancel_order(resting["id"], ETH_USDC))["status"] == "canceled"
    sold = await rest.create_order(ETH_USDC, "market", "sell", 1, None, {"reduceOnly": True})
    assert (sold["status"], sold["average"]) == ("closed", 2999.5)
    assert simulation.state("backpack")["position"] == "2"


async def test_the_asynchronous_class_sees_typed_errors(rest: Any, simulation: Simulation) -> None:
    limit = (ETH_USDC, "limit", "buy")
    with pytest.raises(ccxt.InsufficientFunds, match="INSUFFICIENT_MARGIN"):
        await rest.create_order(*limit, 3_000, 2950)
    with pytest.raises(ccxt.InvalidOrder, match="Reduce only order not reduced"):
        await rest.create_order(*limit, 0.1, 2950, {"reduceOnly": True})
    with pytest.raises(ccxt.InvalidOrder, match="immediately match"):
        await rest.create_order(*limit, 0.1, 3001, {"postOnly": True})
    with pytest.raises((ccxt.ExchangeNotAvailable, ccxt.BadRequest), match=r"[Nn]ot [Ff]ound"):
        await rest.cancel_order("123456789", ETH_USDC)
    rest.markets[ETH_USDC]["precision"] = {"price": 0.001, "amount": 0.00001}
    with pytest.raises(ccxt.BadRequest, match="Price decimal too long"):
        await rest.create_order(*limit, 0.1, 2950.005)
    with pytest.raises(ccxt.BadRequest, match="Quantity decimal too long"):
        await rest.create_order(*limit, 0.10005, 2950)
    await rest.create_order(*limit, 0.1, 2950, {"clientOrderId": 9})
    with pytest.raises(ccxt.BadRequest, match="Duplicate client id"):
        await rest.create_order(*limit, 0.1, 2951, {"clientOrderId": 9})
    simulation.fault("backpack", "F04")
    with pytest.raises(ccxt.RateLimitExceeded, match="TOO_MANY_REQUESTS"):
        await rest.create_order(*limit, 0.1, 2952)
    rest.secret = OTHER_SECRET
    with pytest.raises(ccxt.BadRequest, match="Invalid signature"):
        await rest.create_order(*limit, 0.1, 2950)
    rest.secret = simulation.backpack["secret_key"]


# --- public streams ----------------------------------------------------------------------------


async def test_the_watched_book_follows_the_venues(pro: Any) -> None:
    # ccxt takes its first snapshot only after ten changes; a book that stands still has none.
    pro.options["watchOrderBook"] = {"snapshotDelay": 0}

    async def shows(size: float) -> bool:
        async with asyncio.timeout(8):
            while True:
                book = await pro.watch_order_book(ETH_USDC)
                bids = [row[:2] for row in book["bids"]]
                assert bids == sorted(bids, reverse=True)
                assert bids[0][0] < book["asks"][0][0]
                if [2950.25, size] in bids if size else 2950.25 not in [px for px, _ in bids]:
                    return True

    async with asyncio.TaskGroup() as tasks:
        watching = await heard(tasks, lambda: shows(0.4))
        orders = [await pro.create_order(ETH_USDC, "limit", "buy", 0.1, 2950.25) for _ in range(4)]
        assert await watching
        polled = await pro.fetch_order_book(ETH_USDC)
        watched = pro.orderbooks[ETH_USDC]
        assert [row[:2] for row in watched["bids"]] == polled["bids"]
        assert [row[:2] for row in watched["asks"]] == polled["asks"]
        gone = await heard(tasks, lambda: shows(0))
        await pro.cancel_all_orders(ETH_USDC)
        assert await gone
    assert {order["status"] for order in orders} == {"open"}


async def test_watched_ticker_touch_and_trades_are_the_polled_ones(pro: Any) -> None:
    ticker = await asyncio.wait_for(pro.watch_ticker(ETH_USDC), 5)
    trades = await asyncio.wait_for(pro.watch_trades(ETH_USDC), 5)
    candles = await asyncio.wait_for(pro.watch_ohlcv(ETH_USDC, "1h"), 5)

    polled = {row["id"]: row["price"] for row in await pro.fetch_trades(ETH_USDC)}
    assert trades
    assert {row["id"]: row["price"] for row in trades}.items() <= polled.items()
    assert ticker["last"] in polled.values()
    assert (ticker["high"] >= 3000.5, ticker["low"] <= 2999.5) == (True, True)
    # Over the socket ccxt names a bar by its end, over REST by its start.
    opened, *prices = (await pro.fetch_ohlcv(ETH_USDC, "1h"))[-1][:4]
    assert candles[-1][:4] == [opened + 3_600_000, *prices]


async def test_the_watched_touch_moves_with_our_order(pro: Any) -> None:
    expected = {"bid": 2999.5, "bidVolume": 1.0, "ask": 3000.25, "askVolume": 0.25}
    async with asyncio.timeout(8), asyncio.TaskGroup() as tasks:
        watching = await heard(tasks, lambda: pro.watch_bids_asks([ETH_USDC]))
        await pro.create_order(ETH_USDC, "limit", "sell", 0.25, 3000.25, {"postOnly": True})
        touch = (await watching)[ETH_USDC]
        while {name: touch[name] for name in expected} != expected:
            touch = (await pro.watch_bids_asks([ETH_USDC]))[ETH_USDC]

    assert touch["symbol"] == ETH_USDC


# --- private streams ---------------------------------------------------------------------------


async def test_orders_and_positions_are_watched(pro: Any, simulation: Simulation) -> None:
    # ccxt has neither order entry nor own trades over this venue's socket.
    assert not pro.has["createOrderWs"]
    assert not pro.has["watchMyTrades"]
    async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        positions = await heard(tasks, lambda: pro.watch_positions([ETH_USDC]))
        orders = await heard(tasks, lambda: pro.watch_orders(ETH_USDC))
        order = await pro.create_order(ETH_USDC, "limit", "buy", 0.5, 3001, {"timeInForce": "IOC"})
        (first,) = await orders
        last = await told(pro, "closed")
        (position,) = await positions

    assert first["info"]["e"] in ("orderAccepted", "orderFill")
    assert last["info"]["e"] == "orderFill"
    assert (last["id"], last["cost"], last["amount"]) == (order["id"], 1500.25, 0.5)
    assert last["info"]["n"] == "0.750125"
    assert (position["side"], float(position["contracts"])) == ("long", 0.5)
    assert simulation.state("backpack")["position"] == "0.5"


async def test_a_resting_order_is_watched_through_a_part_to_its_cancel(
    pro: Any, simulation: Simulation
) -> None:
    async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        watching = await heard(tasks, lambda: pro.watch_orders(ETH_USDC))
        order = await pro.create_order(ETH_USDC, "limit", "buy", 5, 3000, {"postOnly": True})
        (first,) = await watching

        async def part() -> Any:
            newest = await told(pro, "open")
            return newest if newest["info"]["e"] == "orderFill" else None

        partly = await reached(part)
        await pro.cancel_order(order["id"], ETH_USDC)
        last = await told(pro, "canceled")

    assert {row["id"] for row in (first, partly, last)} == {order["id"]}
    # ccxt's "filled" is the last fill here (l); the order's own sum is z.
    assert float(partly["info"]["z"]) == partly["filled"] == 0.1
    assert last["info"]["e"] == "orderCancelled"
    assert float(simulation.state("backpack")["position"]) == float(last["info"]["z"])


# --- socket errors -----------------------------------------------------------------------------


async def test_a_forged_private_subscription_is_refused(simulation: Simulation) -> None:
    forger = backpack(ccxt.pro.backpack, simulation.backpack, secret=OTHER_SECRET)

    with pytest.raises(ccxt.ExchangeError, match="Invalid signature"):
        await asyncio.wait_for(forger.watch_orders(ETH_USDC), 5)
    await forger.close()

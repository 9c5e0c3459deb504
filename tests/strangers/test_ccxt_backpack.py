"""ccxt's synchronous ``backpack`` class trades against the simulated Backpack."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.strangers.ccxt_rig import (
    ASK_ROWS,
    BID_ROWS,
    ETH_USDC,
    backpack,
    ccxt,
    flatten,
    full,
    refill,
)
from tests.strangers.simulation import Simulation, until

HOUR_MS = 3_600_000
TAKER = 0.0005
MAKER = 0.0002


@pytest.fixture
def exchange(simulation: Simulation) -> Iterator[Any]:
    client = backpack(ccxt.backpack, simulation.backpack)
    client.load_markets()
    refill(client, ETH_USDC)
    yield client
    flatten(client, ETH_USDC, simulation, "backpack")
    client.session.close()


def trades_of(exchange: Any, order: Any) -> list[Any]:
    found = exchange.fetch_my_trades(ETH_USDC)
    return [row for row in found if row["order"] == order["id"]]


def ended(exchange: Any, order: Any) -> Any:
    """Return an order from the history: the venue forgets finished orders elsewhere (B3.2)."""
    (found,) = [row for row in exchange.fetch_orders(ETH_USDC) if row["id"] == order["id"]]
    return found


def test_load_markets_describes_the_contract(exchange: Any) -> None:
    market = exchange.market(ETH_USDC)

    assert exchange.symbols == [ETH_USDC]
    assert (market["id"], market["type"], market["active"]) == ("ETH_USDC_PERP", "swap", True)
    assert (market["contract"], market["linear"], market["contractSize"]) == (True, True, 1)
    assert (market["base"], market["quote"], market["settle"]) == ("ETH", "USDC", "USDC")
    assert market["precision"] == {"amount": 0.0001, "price": 0.01}
    assert market["limits"]["amount"]["min"] == 0.0001
    assert market["limits"]["price"] == {"min": 0.01, "max": 1_000_000.0}
    assert market["info"]["fundingInterval"] == HOUR_MS


def test_the_venue_is_up_and_tells_its_time(exchange: Any) -> None:
    assert exchange.fetch_status()["status"] == "ok"
    # Plain text (B3.1), of which fetch_time takes the first digit: the raw call has it whole.
    assert abs(int(exchange.publicGetApiV1Time()) - exchange.milliseconds()) < 5_000
    assert exchange.publicGetApiV1Ping() == "pong"
    assert {"ETH", "USDC"} <= set(exchange.fetch_currencies())


def test_the_polled_book_is_the_markets_sorted_and_uncrossed(exchange: Any) -> None:
    book = until(lambda: (found := exchange.fetch_order_book(ETH_USDC)) and full(found) and found)

    assert (book["bids"], book["asks"]) == (BID_ROWS, ASK_ROWS)
    assert book["bids"][0][0] < book["asks"][0][0]
    assert book["nonce"] > 0
    assert abs(book["timestamp"] - exchange.milliseconds()) < 5_000


def test_the_ticker_and_the_candle_sum_up_the_trades(exchange: Any) -> None:
    def probe() -> Any:
        found = exchange.fetch_trades(ETH_USDC)
        return found if len({trade["side"] for trade in found}) == 2 else None

    trades = until(probe)
    ticker = exchange.fetch_ticker(ETH_USDC)
    candle = exchange.fetch_ohlcv(ETH_USDC, "1h")[-1]

    prints = {(t["side"], t["price"], t["amount"]) for t in trades if t["amount"] == 0.1}
    assert prints == {("sell", 2999.5, 0.1), ("buy", 3000.5, 0.1)}
    assert len({t["id"] for t in trades}) == len(trades)
    assert (ticker["high"], ticker["low"]) == (3000.5, 2999.5)
    assert ticker["last"] in (2999.5, 3000.5)
    assert ticker["baseVolume"] >= sum(t["amount"] for t in trades) - 1e-9
    assert exchange.fetch_tickers()[ETH_USDC]["high"] == 3000.5
    opened, _, high, low, _, volume = candle
    assert (opened % HOUR_MS, high, low) == (0, 3000.5, 2999.5)
    assert volume == pytest.approx(exchange.fetch_ticker(ETH_USDC)["baseVolume"], abs=0.2)


def test_the_funding_rate_is_hourly_and_a_fraction(exchange: Any) -> None:
    now = exchange.fetch_funding_rate(ETH_USDC)
    past = exchange.fetch_funding_rate_history(ETH_USDC, None, 3)

    assert (now["fundingRate"], now["interval"]) == (0.0000125, "1h")
    assert (now["markPrice"], now["indexPrice"]) == (3000.0, 3000.0)
    assert 0 < now["nextFundingTimestamp"] - exchange.milliseconds() <= HOUR_MS
    assert all(0 < abs(row["fundingRate"]) <= 0.01 for row in past)  # the bounds, 100 bps
    assert past[2]["timestamp"] - past[0]["timestamp"] == 2 * HOUR_MS
    assert now["nextFundingTimestamp"] - past[2]["timestamp"] == HOUR_MS


def test_a_new_account_is_flat_and_has_its_money_free(
    exchange: Any, simulation: Simulation
) -> None:
    usdc = exchange.fetch_balance()["USDC"]

    assert usdc["total"] == pytest.approx(float(simulation.state("backpack")["balance"]))
    assert (usdc["free"], usdc["used"]) == (usdc["total"], 0.0)
    assert exchange.fetch_positions([ETH_USDC]) == []
    assert exchange.fetch_open_orders(ETH_USDC) == []
    assert exchange.fetch_funding_history(ETH_USDC) == []
    assert exchange.fetch_deposits("USDC") == []
    assert exchange.fetch_withdrawals("USDC") == []


def test_fees_and_leverage_are_the_accounts(exchange: Any) -> None:
    # ccxt has no unified calls for these here; its implicit ones sign and send them.
    account = exchange.privateGetApiV1Account()
    assert (account["futuresMakerFee"], account["futuresTakerFee"]) == ("2", "5")
    assert account["leverageLimit"] == "10"

    exchange.privatePatchApiV1Account({"leverageLimit": "5"})
    assert exchange.privateGetApiV1Account()["leverageLimit"] == "5"
    limits = {"symbol": "ETH_USDC_PERP", "side": "Bid", "price": "3000"}
    most = float(exchange.privateGetApiV1AccountLimitsOrder(limits)["maxOrderQuantity"])
    assert most == pytest.approx(exchange.fetch_balance()["USDC"]["free"] * 5 / 3000, rel=0.2)
    exchange.privatePatchApiV1Account({"leverageLimit": "10"})


def test_a_limit_order_rests_is_found_and_is_cancelled(
    exchange: Any, simulation: Simulation
) -> None:
    order = exchange.create_order(
        ETH_USDC, "limit", "buy", 0.5, 2950.25, {"clientOrderId": 4_000_000_001}
    )

    assert (order["status"], order["clientOrderId"]) == ("open", "4000000001")
    assert (order["price"], order["amount"], order["filled"]) == (2950.25, 0.5, 0.0)
    assert (order["type"], order["side"], order["timeInForce"]) == ("limit", "buy", "GTC")
    assert [row["id"] for row in exchange.fetch_open_orders(ETH_USDC)] == [order["id"]]
    assert exchange.fetch_open_order(order["id"], ETH_USDC)["price"] == 2950.25
    assert [2950.25, 0.5] in exchange.fetch_order_book(ETH_USDC)["bids"]
    assert simulation.state("backpack")["open_orders"] == 1

    gone = exchange.cancel_order(order["id"], ETH_USDC)
    assert (gone["id"], gone["status"]) == (order["id"], "canceled")
    assert exchange.fetch_open_orders(ETH_USDC) == []
    assert ended(exchange, order)["status"] == "canceled"


def test_cancel_all_ends_every_order_of_a_batch(exchange: Any) -> None:
    batch = [
        {"symbol": ETH_USDC, "type": "limit", "side": "sell", "amount": 0.1, "price": 3050 + n}
        for n in range(3)
    ]
    orders = exchange.create_orders(batch)

    assert [order["status"] for order in orders] == ["open"] * 3
    gone = exchange.cancel_all_orders(ETH_USDC)
    assert {order["id"] for order in gone} == {order["id"] for order in orders}
    assert {order["status"] for order in gone} == {"canceled"}
    assert exchange.fetch_open_orders(ETH_USDC) == []


def test_a_batch_reports_each_order_by_itself(exchange: Any) -> None:
    common = {"symbol": ETH_USDC, "type": "limit", "side": "buy", "amount": 0.1}
    rows = exchange.create_orders(
        [common | {"price": 2950}, common | {"price": 3050, "params": {"postOnly": True}}]
    )

    raw = {row["info"]["operation"]: row for row in rows}
    assert raw["Ok"]["status"] == "open"
    assert raw["Err"]["info"]["code"] == "INVALID_ORDER"
    assert len(exchange.fetch_open_orders(ETH_USDC)) == 1


def test_a_post_only_order_fills_in_parts_and_pays_the_maker_fee(
    exchange: Any, simulation: Simulation
) -> None:
    before = simulation.state("backpack")
    order = exchange.create_order(ETH_USDC, "limit", "buy", 0.2, 3000, {"postOnly": True})

    def part() -> Any:
        rows = exchange.fetch_open_orders(ETH_USDC)
        return rows[0] if rows and rows[0]["filled"] else None

    first = until(part)
    until(lambda: simulation.state("backpack")["position"] == "0.2")

    assert (order["status"], order["postOnly"]) == ("open", True)
    assert (first["filled"], first["remaining"], first["status"]) == (0.1, 0.1, "open")
    assert ended(exchange, order)["status"] == "closed"
    mine = trades_of(exchange, order)
    assert [(row["amount"], row["price"], row["takerOrMaker"]) for row in mine] == [
        (0.1, 3000.0, "maker"),
        (0.1, 3000.0, "maker"),
    ]
    assert [row["fee"]["cost"] for row in mine] == pytest.approx([300 * MAKER] * 2)
    after = simulation.state("backpack")
    paid = float(after["fees_paid"]) - float(before["fees_paid"])
    assert paid == pytest.approx(600 * MAKER)


def test_an_ioc_order_takes_the_touch_and_the_fee_is_charged(
    exchange: Any, simulation: Simulation
) -> None:
    before = simulation.state("backpack")
    order = exchange.create_order(ETH_USDC, "limit", "buy", 0.5, 3001, {"timeInForce": "IOC"})

    assert (order["status"], order["filled"], order["average"]) == ("closed", 0.5, 3000.5)
    (trade,) = trades_of(exchange, order)
    assert (trade["side"], trade["takerOrMaker"], trade["price"]) == ("buy", "taker", 3000.5)
    assert (trade["fee"]["cost"], trade["fee"]["currency"]) == (0.750125, "USDC")
    (position,) = exchange.fetch_positions([ETH_USDC])
    assert (position["side"], float(position["contracts"])) == ("long", 0.5)
    assert (float(position["entryPrice"]), float(position["markPrice"])) == (3000.5, 3000.0)
    assert float(position["unrealizedPnl"]) == -0.25
    after = simulation.state("backpack")
    assert after["position"] == "0.5"
    assert float(after["fees_paid"]) - float(before["fees_paid"]) == pytest.approx(0.750125)
    usdc = exchange.fetch_balance()["USDC"]
    assert usdc["total"] == pytest.approx(float(before["balance"]) - 0.750125)
    assert usdc["used"] == pytest.approx(0.5 * 3000 / 10)


def test_an_ioc_order_larger_than_the_book_within_its_price_fills_in_part(
    exchange: Any, simulation: Simulation
) -> None:
    order = exchange.create_order(ETH_USDC, "limit", "sell", 10, 2999, {"timeInForce": "IOC"})

    assert (order["filled"], order["remaining"], order["status"]) == (3.0, 7.0, "canceled")
    assert order["average"] == pytest.approx((2999.5 + 2 * 2999) / 3)
    assert ended(exchange, order)["info"]["expiryReason"] == "ImmediateOrCancel"
    assert sorted((row["price"], row["amount"]) for row in trades_of(exchange, order)) == [
        (2999.0, 2.0),
        (2999.5, 1.0),
    ]
    (position,) = exchange.fetch_positions()
    assert (position["side"], float(position["contracts"])) == ("short", 3.0)
    assert simulation.state("backpack")["position"] == "-3"


def test_a_fok_order_that_cannot_fill_whole_does_not_fill_at_all(exchange: Any) -> None:
    order = exchange.create_order(ETH_USDC, "limit", "buy", 10, 3001, {"timeInForce": "FOK"})

    assert (order["filled"], order["status"]) == (0.0, "canceled")
    assert ended(exchange, order)["info"]["expiryReason"] == "FillOrKill"


def test_a_market_order_and_its_reduce_only_close_realise_the_spread(
    exchange: Any, simulation: Simulation
) -> None:
    before = float(simulation.state("backpack")["balance"])
    bought = exchange.create_order(ETH_USDC, "market", "buy", 0.5)
    sold = exchange.create_order(ETH_USDC, "market", "sell", 0.5, None, {"reduceOnly": True})

    assert (bought["type"], bought["average"]) == ("market", 3000.5)
    assert (sold["average"], sold["reduceOnly"], sold["status"]) == (2999.5, True, "closed")
    assert exchange.fetch_positions([ETH_USDC]) == []
    fees = 0.5 * (3000.5 + 2999.5) * TAKER
    usdc = exchange.fetch_balance()["USDC"]
    assert usdc["total"] == pytest.approx(before - 0.5 - fees)
    assert usdc["free"] == usdc["total"]
    assert float(simulation.state("backpack")["balance"]) == pytest.approx(usdc["total"])


def test_a_market_order_can_be_sized_by_its_cost(exchange: Any) -> None:
    order = exchange.create_order(ETH_USDC, "market", "buy", 0, None, {"cost": 600.1})

    assert order["filled"] == pytest.approx(600.1 / 3000.5, abs=0.0001)
    assert order["cost"] == pytest.approx(600.1)


def test_histories_are_narrowed_by_time_and_count(exchange: Any) -> None:
    exchange.create_order(ETH_USDC, "market", "buy", 0.1)
    second = exchange.create_order(ETH_USDC, "market", "sell", 0.1)

    late = exchange.fetch_my_trades(ETH_USDC, second["timestamp"])

    assert [row["order"] for row in late] == [second["id"]]
    assert [row["order"] for row in exchange.fetch_my_trades(ETH_USDC, None, 1)] == [second["id"]]
    assert [row["id"] for row in exchange.fetch_orders(ETH_USDC, None, 1)] == [second["id"]]

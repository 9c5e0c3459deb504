"""ccxt's synchronous ``grvt`` class trades against the simulated GRVT."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.strangers.ccxt_rig import ASK_ROWS, BID_ROWS, ETH_USDT, ccxt, flatten, full, grvt, refill
from tests.strangers.simulation import Simulation, until

TAKER = 0.00045
MAKER = -0.000001


@pytest.fixture
def exchange(simulation: Simulation) -> Iterator[Any]:
    client = grvt(ccxt.grvt, simulation.grvt, options={"builderFee": False})
    client.load_markets()
    refill(client, ETH_USDT)
    yield client
    flatten(client, ETH_USDT, simulation, "grvt")
    client.session.close()


def known(exchange: Any, order: Any, *statuses: str) -> Any:
    """Return an order by its client id once it has one of the statuses (venues.md A5.1)."""
    name = {"clientOrderId": order["clientOrderId"]}

    def probe() -> Any:
        try:
            found = exchange.fetch_order("", ETH_USDT, name)
        except ccxt.OperationRejected:  # not visible yet
            return None
        return found if found["status"] in statuses else None

    return until(probe)


def test_load_markets_logs_the_wallet_in_and_describes_the_contract(
    exchange: Any, simulation: Simulation
) -> None:
    market = exchange.market(ETH_USDT)

    assert exchange.symbols == [ETH_USDT]
    assert market["id"] == "ETH_USDT_Perp"
    assert (market["swap"], market["contract"], market["linear"]) == (True, True, True)
    assert (market["base"], market["quote"], market["settle"]) == ("ETH", "USDT", "USDT")
    assert market["precision"] == {"amount": 0.01, "price": 0.01, "base": 1e-9, "quote": 1e-6}
    assert market["limits"]["amount"] == {"min": 0.01, "max": 30000.0}
    assert market["limits"]["cost"]["min"] == 20.0
    assert exchange.options["accountId"] == simulation.grvt["sub_account_id"]
    assert exchange.options["AuthCookieValue"].startswith("gravity=")
    assert exchange.options["AuthAccountId"] == exchange.options["userMainAccountId"]


def test_currencies_carry_the_ids_and_decimals_that_signatures_use(exchange: Any) -> None:
    usdt = exchange.fetch_currencies()["USDT"]

    assert (usdt["numericId"], usdt["precision"]) == (3, 1e-6)


def test_the_polled_book_is_the_markets_sorted_and_uncrossed(exchange: Any) -> None:
    book = until(
        lambda: (found := exchange.fetch_order_book(ETH_USDT, 10)) and full(found) and found
    )

    assert (book["bids"], book["asks"]) == (BID_ROWS, ASK_ROWS)
    assert book["bids"] == sorted(book["bids"], reverse=True)
    assert book["asks"] == sorted(book["asks"])
    assert book["bids"][0][0] < book["asks"][0][0]


def test_the_ticker_shows_touch_mark_and_last_print(exchange: Any) -> None:
    ticker = until(lambda: (found := exchange.fetch_ticker(ETH_USDT)) and found["last"] and found)

    assert (ticker["bid"], ticker["bidVolume"]) == (2999.5, 1.0)
    assert (ticker["ask"], ticker["askVolume"]) == (3000.5, 1.0)
    assert (ticker["markPrice"], ticker["indexPrice"]) == (3000.0, 3000.0)
    assert ticker["last"] in (2999.5, 3000.5)
    assert ticker["info"]["funding_rate"] == "0.01"


def test_public_trades_and_candles_agree(exchange: Any) -> None:
    def probe() -> Any:
        trades = exchange.fetch_trades(ETH_USDT)
        return trades if len({trade["side"] for trade in trades}) == 2 else None

    trades = until(probe)
    candles = exchange.fetch_ohlcv(ETH_USDT, "1h")

    assert {(t["side"], t["price"], t["amount"]) for t in trades} == {
        ("sell", 2999.5, 0.1),
        ("buy", 3000.5, 0.1),
    }
    assert [t["timestamp"] for t in trades] == sorted(t["timestamp"] for t in trades)
    assert len({t["id"] for t in trades}) == len(trades)
    assert len(exchange.fetch_trades(ETH_USDT, None, 1)) == 1
    opened, _, high, low, _, volume = candles[-1]
    assert opened % 3_600_000 == 0
    assert (high, low) == (3000.5, 2999.5)
    assert volume == pytest.approx(sum(t["amount"] for t in exchange.fetch_trades(ETH_USDT)), 0.5)


def test_funding_comes_as_history_every_eight_hours_in_percent(exchange: Any) -> None:
    # ccxt itself does not offer the current rate of GRVT; the ticker's raw fields carry it.
    assert not exchange.has["fetchFundingRate"]
    with pytest.raises(ccxt.NotSupported):
        exchange.fetch_funding_rate(ETH_USDT)

    rates = exchange.fetch_funding_rate_history(ETH_USDT, None, 3)

    assert all(abs(rate["fundingRate"]) <= 0.3 for rate in rates)  # percent, within the cap
    times = [rate["timestamp"] for rate in rates]
    assert [later - earlier for earlier, later in pairwise(times)] == [8 * 3_600_000] * 2
    assert times[0] % (8 * 3_600_000) == 0


def test_a_new_account_is_flat_and_has_its_money_free(
    exchange: Any, simulation: Simulation
) -> None:
    balance = exchange.fetch_balance()

    assert balance["USDT"]["total"] == pytest.approx(float(simulation.state("grvt")["balance"]))
    assert balance["USDT"]["free"] == balance["USDT"]["total"]
    assert exchange.fetch_positions([ETH_USDT]) == []
    assert exchange.fetch_open_orders(ETH_USDT) == []
    assert exchange.fetch_funding_history(ETH_USDT) == []


def test_nothing_was_ever_deposited_withdrawn_or_transferred(exchange: Any) -> None:
    assert exchange.fetch_deposits() == []
    assert exchange.fetch_withdrawals() == []
    assert exchange.fetch_transfers("USDT") == []


def test_leverage_is_read_and_set(exchange: Any) -> None:
    def leverage() -> list[Any]:
        # ccxt keys its answer by a field that this venue does not send.
        rows = list(exchange.fetch_leverages().values())
        return [(row["symbol"], row["marginMode"], row["longLeverage"]) for row in rows]

    assert leverage() == [(ETH_USDT, "cross", 10.0)]
    assert exchange.set_leverage(5, ETH_USDT)["info"] == {"success": True}
    assert leverage() == [(ETH_USDT, "cross", 5.0)]
    exchange.set_leverage(10, ETH_USDT)
    modes = list(exchange.fetch_margin_modes().values())
    assert [mode["marginMode"] for mode in modes] == ["cross"]


def test_a_limit_order_rests_is_found_and_is_cancelled(
    exchange: Any, simulation: Simulation
) -> None:
    ack = exchange.create_order(ETH_USDT, "limit", "buy", 0.5, 2950)
    order = known(exchange, ack, "open")

    assert (ack["id"], ack["status"]) == ("0x00", "pending")
    assert order["id"] != "0x00"
    assert (order["price"], order["amount"], order["filled"]) == (2950.0, 0.5, 0.0)
    assert (order["type"], order["side"], order["timeInForce"]) == ("limit", "buy", "GTC")
    assert [row["id"] for row in exchange.fetch_open_orders(ETH_USDT)] == [order["id"]]
    assert exchange.fetch_order(order["id"])["clientOrderId"] == ack["clientOrderId"]
    assert [2950.0, 0.5] in exchange.fetch_order_book(ETH_USDT)["bids"]
    assert simulation.state("grvt")["open_orders"] == 1
    used = exchange.fetch_balance()["info"]["initial_margin"]
    assert float(used) == 0.5 * 2950 / 10

    assert exchange.cancel_order(order["id"])["info"] == {"ack": True}
    gone = known(exchange, ack, "canceled")
    assert gone["info"]["state"]["reject_reason"] == "CLIENT_CANCEL"
    assert exchange.fetch_open_orders(ETH_USDT) == []


def test_cancel_all_ends_every_order(exchange: Any) -> None:
    acks = [exchange.create_order(ETH_USDT, "limit", "sell", 0.1, 3050 + n) for n in range(3)]
    for ack in acks:
        known(exchange, ack, "open")

    exchange.cancel_all_orders(ETH_USDT)

    ended = [known(exchange, ack, "canceled") for ack in acks]
    assert {order["info"]["state"]["reject_reason"] for order in ended} == {"CLIENT_BULK_CANCEL"}
    history = {order["id"]: order["status"] for order in exchange.fetch_orders(ETH_USDT)}
    assert [history[order["id"]] for order in ended] == ["canceled"] * 3


def test_a_post_only_order_fills_in_parts_and_earns_the_rebate(
    exchange: Any, simulation: Simulation
) -> None:
    before = simulation.state("grvt")
    ack = exchange.create_order(ETH_USDT, "limit", "buy", 0.2, 3000, {"postOnly": True})

    def part() -> Any:
        found = known(exchange, ack, "open", "closed")
        return found if found["filled"] else None

    first = until(part)
    order = known(exchange, ack, "closed")

    assert (first["status"], first["filled"], first["remaining"]) == ("open", 0.1, 0.1)
    assert (order["timeInForce"], order["filled"], order["average"]) == ("PO", 0.2, 3000.0)
    mine = [row for row in exchange.fetch_my_trades(ETH_USDT) if row["order"] == order["id"]]
    assert [(row["amount"], row["price"], row["takerOrMaker"]) for row in mine] == [
        (0.1, 3000.0, "maker"),
        (0.1, 3000.0, "maker"),
    ]
    assert [row["fee"]["cost"] for row in mine] == pytest.approx([300 * MAKER] * 2)
    after = simulation.state("grvt")
    assert after["position"] == "0.2"
    paid = float(after["fees_paid"]) - float(before["fees_paid"])
    assert paid == pytest.approx(600 * MAKER)


def test_an_ioc_order_takes_the_touch_and_the_fee_is_charged(
    exchange: Any, simulation: Simulation
) -> None:
    before = simulation.state("grvt")
    ack = exchange.create_order(ETH_USDT, "limit", "buy", 0.5, 3001, {"timeInForce": "IOC"})
    order = known(exchange, ack, "closed")

    assert (order["timeInForce"], order["filled"], order["average"]) == ("IOC", 0.5, 3000.5)
    (trade,) = [row for row in exchange.fetch_my_trades(ETH_USDT) if row["order"] == order["id"]]
    assert (trade["side"], trade["takerOrMaker"], trade["price"]) == ("buy", "taker", 3000.5)
    assert trade["fee"] == {"cost": 0.67511250, "currency": "USDT", "rate": 0.045}
    (position,) = exchange.fetch_positions([ETH_USDT])
    assert (position["side"], position["contracts"]) == ("long", 0.5)
    assert (position["entryPrice"], position["markPrice"]) == (3000.5, 3000.0)
    assert (position["unrealizedPnl"], position["leverage"]) == (-0.25, 10.0)
    after = simulation.state("grvt")
    assert after["position"] == "0.5"
    assert float(after["fees_paid"]) - float(before["fees_paid"]) == pytest.approx(1500.25 * TAKER)
    assert float(after["balance"]) - float(before["balance"]) == pytest.approx(-1500.25 * TAKER)


def test_an_ioc_order_larger_than_the_book_within_its_price_fills_in_part(
    exchange: Any, simulation: Simulation
) -> None:
    ack = exchange.create_order(ETH_USDT, "limit", "sell", 10, 2999, {"timeInForce": "IOC"})
    order = known(exchange, ack, "canceled")

    assert (order["filled"], order["remaining"]) == (3.0, 7.0)
    assert order["average"] == pytest.approx((2999.5 + 2 * 2999) / 3)
    assert order["info"]["state"]["reject_reason"] == "IOC_CANCEL"
    mine = [row for row in exchange.fetch_my_trades(ETH_USDT) if row["order"] == order["id"]]
    assert sorted((row["price"], row["amount"]) for row in mine) == [(2999.0, 2.0), (2999.5, 1.0)]
    (position,) = exchange.fetch_positions()
    assert (position["side"], position["contracts"]) == ("short", 3.0)
    assert simulation.state("grvt")["position"] == "-3"


def test_a_fok_order_that_cannot_fill_whole_does_not_fill_at_all(exchange: Any) -> None:
    ack = exchange.create_order(ETH_USDT, "limit", "buy", 10, 3001, {"timeInForce": "FOK"})
    order = known(exchange, ack, "canceled")

    assert (order["filled"], order["info"]["state"]["reject_reason"]) == (0.0, "FOK_CANCEL")


def test_a_market_order_and_its_reduce_only_close_realise_the_spread(
    exchange: Any, simulation: Simulation
) -> None:
    before = float(simulation.state("grvt")["balance"])
    bought = known(exchange, exchange.create_order(ETH_USDT, "market", "buy", 0.5), "closed")
    sold = known(
        exchange,
        exchange.create_order(ETH_USDT, "market", "sell", 0.5, None, {"reduceOnly": True}),
        "closed",
    )

    assert (bought["type"], bought["average"], sold["average"]) == ("market", 3000.5, 2999.5)
    assert sold["reduceOnly"] is True
    assert exchange.fetch_positions([ETH_USDT]) == []
    fees = 0.5 * (3000.5 + 2999.5) * TAKER
    after = exchange.fetch_balance()["USDT"]
    assert after["total"] == pytest.approx(before - 0.5 - fees)
    assert after["free"] == after["total"]
    assert float(simulation.state("grvt")["balance"]) == pytest.approx(after["total"])


def test_histories_are_narrowed_by_time_and_count(exchange: Any) -> None:
    first = known(exchange, exchange.create_order(ETH_USDT, "market", "buy", 0.1), "closed")
    second = known(exchange, exchange.create_order(ETH_USDT, "market", "sell", 0.1), "closed")

    since = exchange.fetch_order(second["id"])["timestamp"]
    late = exchange.fetch_my_trades(ETH_USDT, since)

    assert first["timestamp"] < since
    assert [row["order"] for row in late] == [second["id"]]
    assert [row["order"] for row in exchange.fetch_my_trades(ETH_USDT, None, 1)] == [second["id"]]
    assert [row["id"] for row in exchange.fetch_orders(ETH_USDT, since)] == [second["id"]]


@pytest.fixture
def builder(simulation: Simulation) -> Iterator[Any]:
    """As ccxt comes: it has its users pay its own builder."""
    client = grvt(ccxt.grvt, simulation.grvt)
    client.load_markets()
    refill(client, ETH_USDT)
    yield client
    flatten(client, ETH_USDT, simulation, "grvt")
    client.session.close()


def test_builder_fees_are_approved_signed_echoed_and_charged_by_default(
    builder: Any, simulation: Simulation
) -> None:
    assert builder.options["approvedBuilderFee"] is True
    approved = builder.privateTradingPostFullV1GetAuthorizedBuilders()["results"]
    assert builder.options["builder"] in [row["builder_account_id"] for row in approved]
    before = simulation.state("grvt")

    ack = builder.create_order(ETH_USDT, "limit", "buy", 0.5, 3001, {"timeInForce": "IOC"})
    order = known(builder, ack, "closed")

    assert order["info"]["builder"] == builder.options["builder"]
    assert float(order["info"]["builder_fee"]) == builder.options["builderRate"]
    (trade,) = [row for row in builder.fetch_my_trades(ETH_USDT) if row["order"] == order["id"]]
    assert trade["fee"]["cost"] == pytest.approx(1500.25 * TAKER)
    assert float(trade["info"]["builder_fee"]) == pytest.approx(1500.25 * 0.0001)
    after = simulation.state("grvt")
    paid = float(before["balance"]) - float(after["balance"])
    assert paid == pytest.approx(1500.25 * (TAKER + 0.0001))
    assert float(after["fees_paid"]) - float(before["fees_paid"]) == pytest.approx(1500.25 * TAKER)


def test_a_builder_that_was_never_approved_is_refused(builder: Any) -> None:
    builder.options["builder"] = "0x" + 40 * "5"

    with pytest.raises(ccxt.OperationRejected, match="7504"):
        builder.create_order(ETH_USDT, "limit", "buy", 0.1, 2950)


def test_without_builder_fees_no_builder_is_named(exchange: Any) -> None:
    order = known(exchange, exchange.create_order(ETH_USDT, "limit", "buy", 0.1, 2950), "open")

    assert "approvedBuilderFee" not in exchange.options
    assert int(order["info"]["builder"], 16) == 0
    assert order["info"]["builder_fee"] == "0.0"

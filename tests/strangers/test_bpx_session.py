"""bpx-py 2.0.11, synchronous and asynchronous, trades against the simulated Backpack.

Unmodified but for the two base URLs (venues.md B7). bpx never looks at the HTTP status: what the
venue refuses comes back as ``{"code", "message"}`` (P5); it raises only for arguments that it
checks itself.
"""

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import bpx.account
import bpx.async_.account
import bpx.async_.public
import bpx.public
import pytest
from bpx.exceptions import InvalidTimeInForceValue, LimitValueError, OrderQuantityNotSpecifiedError

from tests.strangers.simulation import ASKS, BIDS, Simulation, until

PERP = "ETH_USDC_PERP"
OTHER_KEY = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
OTHER_SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
"""The key pair of venues.md B2's test vectors, which this venue does not know."""


class Client:
    """Both classes of one flavour; ``client(call)`` is the answer, whether awaited or not."""

    def __init__(self, flavour: str, simulation: Simulation, **keys: str) -> None:
        base = simulation.backpack["api"] + "/"
        module = bpx.account if flavour == "sync" else bpx.async_.account
        outside = bpx.public if flavour == "sync" else bpx.async_.public
        public_key = keys.get("public_key", simulation.backpack["public_key"])
        secret_key = keys.get("secret_key", simulation.backpack["secret_key"])
        self.account: Any = module.Account(public_key, secret_key)
        self.public: Any = outside.Public()
        self.account.BPX_API_URL = base
        self.public.BASE_URL = base

    def __call__(self, answer: Any) -> Any:
        return asyncio.run(answer) if inspect.iscoroutine(answer) else answer

    def limit(self, side: str, quantity: str, price: str, **more: Any) -> Any:
        return self(
            self.account.execute_order(PERP, side, "Limit", quantity=quantity, price=price, **more)
        )

    def market(self, side: str, quantity: str, **more: Any) -> Any:
        return self(self.account.execute_order(PERP, side, "Market", quantity=quantity, **more))

    def depth(self) -> Any:
        return self(self.public.get_depth(PERP))


def rows(side: tuple[tuple[str, str], ...]) -> list[tuple[float, float]]:
    return sorted((float(px), float(size)) for px, size in side)


def steady(book: Any) -> bool:
    shown = [
        sorted((float(px), float(size)) for px, size in book[side]) for side in ("bids", "asks")
    ]
    return shown == [rows(BIDS), rows(ASKS)]


@pytest.fixture(params=["sync", "async"])
def flavour(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def client(flavour: str, simulation: Simulation) -> Iterator[Client]:
    made = Client(flavour, simulation)
    until(lambda: steady(made.depth()), seconds=5)
    yield made
    made(made.account.cancel_all_orders(PERP))
    held = simulation.state("backpack")["position"]
    if held != "0":
        side = "Bid" if held.startswith("-") else "Ask"
        made.market(side, held.removeprefix("-"), reduce_only=True)
    assert simulation.state("backpack")["position"] == "0"


# --- looking -----------------------------------------------------------------------------------


def test_markets_say_what_an_order_must_be(client: Client) -> None:
    (market,) = client(client.public.get_markets())

    assert (market["symbol"], market["marketType"]) == (PERP, "PERP")
    assert (market["baseSymbol"], market["quoteSymbol"]) == ("ETH", "USDC")
    assert market["filters"]["price"]["tickSize"] == "0.01"
    assert market["filters"]["quantity"]["stepSize"] == "0.0001"
    assert market["filters"]["quantity"]["minQuantity"] == "0.0001"
    assert market["orderBookState"] == "Open"


def test_plain_text_answers_stay_text_or_become_numbers(client: Client) -> None:
    assert client(client.public.get_ping()) == "pong"
    assert int(client(client.public.get_time())) > 1_700_000_000_000
    assert client(client.public.get_status())["status"] == "Ok"


def test_the_book_is_uncrossed_and_the_markets(client: Client) -> None:
    book = until(lambda: (found := client.depth()) and steady(found) and found)

    assert max(float(px) for px, _ in book["bids"]) < min(float(px) for px, _ in book["asks"])
    # Ascending on both sides, as the venue sends it (D13): whoever wants the best bid must sort.
    assert [float(px) for px, _ in book["bids"]] == [px for px, _ in rows(BIDS)]
    assert int(book["lastUpdateId"]) > 0


def test_trades_ticker_and_candles_agree(client: Client) -> None:
    def probe() -> Any:
        found = client(client.public.get_recent_trades(PERP))
        return found if len({row["isBuyerMaker"] for row in found}) == 2 else None

    trades = until(probe)
    ticker = client(client.public.get_ticker(PERP))
    hour = trades[0]["timestamp"] // 3_600_000 * 3_600
    candles = client(client.public.get_klines(PERP, "1h", hour))

    assert {row["price"] for row in trades} == {"2999.5", "3000.5"}
    assert (ticker["high"], ticker["low"]) == ("3000.5", "2999.5")
    assert (candles[-1]["high"], candles[-1]["low"]) == ("3000.5", "2999.5")
    assert client(client.public.get_tickers())[0]["symbol"] == PERP
    assert client(client.public.get_history_trades(PERP, 1, 0))[0]["price"] in ("2999.5", "3000.5")


def test_funding_mark_and_interest(client: Client) -> None:
    (mark,) = client(client.public.get_all_mark_prices(PERP))
    rates = client(client.public.get_funding_interval_rates(PERP, 2))

    assert (mark["markPrice"], mark["fundingRate"]) == ("3000", "0.0000125")
    assert [0 < abs(float(row["fundingRate"])) <= 0.01 for row in rates] == [True, True]
    assert rates[0]["intervalEndTimestamp"] > rates[1]["intervalEndTimestamp"]
    (interest,) = client(client.public.get_open_interest(PERP))
    assert interest["openInterest"] == "0"


def test_a_new_account_has_money_and_nothing_else(client: Client, simulation: Simulation) -> None:
    account = client.account

    money = client(account.get_balances())["USDC"]
    assert money["available"] == simulation.state("backpack")["balance"]
    assert money["locked"] == "0"
    collateral = client(account.get_collateral())
    assert collateral["netEquity"] == simulation.state("backpack")["equity"]
    assert client(account.get_open_positions()) == []
    assert client(account.get_open_orders(symbol=PERP)) == []
    assert client(account.get_deposits()) == []
    assert client(account.get_withdrawals()) == []
    assert client(account.get_funding_payments()) == []


def test_fees_and_leverage_are_the_accounts(client: Client) -> None:
    account = client.account

    got = client(account.get_account())
    assert (got["futuresMakerFee"], got["futuresTakerFee"]) == ("2", "5")
    assert client(account.update_account(leverage_limit="5")) in ("", None)
    assert client(account.get_account())["leverageLimit"] == "5"
    client(account.update_account(leverage_limit="10"))
    most = client(account.get_max_order_quantity(PERP, "Bid", price="3000"))
    # The most whose initial margin, factor x notional^1.5, the equity covers (B3.3, B6).
    factor = float(client(client.public.get_markets())[0]["imfFunction"]["factor"])
    notional = (float(client(account.get_collateral())["netEquity"]) / factor) ** (2 / 3)
    assert float(most["maxOrderQuantity"]) == pytest.approx(notional / 3000, rel=0.001)


# --- trading -----------------------------------------------------------------------------------


def test_a_limit_order_rests_is_found_and_is_cancelled_by_either_id(
    client: Client, simulation: Simulation
) -> None:
    account = client.account
    order = client.limit("Bid", "0.5", "2950.25", client_id=7)

    assert (order["status"], order["clientId"], order["executedQuantity"]) == ("New", 7, "0")
    assert (order["price"], order["quantity"], order["timeInForce"]) == ("2950.25", "0.5", "GTC")
    assert client(account.get_open_order(PERP, order_id=order["id"]))["clientId"] == 7
    assert client(account.get_open_order(PERP, client_id=7))["id"] == order["id"]
    assert [row["id"] for row in client(account.get_open_orders(symbol=PERP))] == [order["id"]]
    assert ["2950.25", "0.5"] in client.depth()["bids"]
    assert simulation.state("backpack")["open_orders"] == 1

    gone = client(account.cancel_order(PERP, client_id=7))
    assert (gone["id"], gone["status"]) == (order["id"], "Cancelled")
    second = client.limit("Bid", "0.5", "2950")
    assert client(account.cancel_order(PERP, order_id=second["id"]))["status"] == "Cancelled"
    history = client(account.get_order_history(symbol=PERP, limit=2))
    assert [(row["id"], row["status"]) for row in history] == [
        (second["id"], "Cancelled"),
        (order["id"], "Cancelled"),
    ]


def test_cancel_all_returns_what_it_cancelled(client: Client) -> None:
    orders = [client.limit("Ask", "0.1", f"305{n}") for n in range(3)]

    gone = client(client.account.cancel_all_orders(PERP))

    assert {row["id"] for row in gone} == {row["id"] for row in orders}
    assert {row["status"] for row in gone} == {"Cancelled"}


def test_a_post_only_order_fills_in_parts_and_pays_the_maker_fee(
    client: Client, simulation: Simulation
) -> None:
    order = client.limit("Bid", "0.2", "3000", post_only=True)

    def part() -> Any:
        found = client(client.account.get_open_order(PERP, order_id=order["id"]))
        return found if found.get("executedQuantity") == "0.1" else None

    assert until(part)["status"] == "PartiallyFilled"
    until(lambda: simulation.state("backpack")["position"] == "0.2")
    fills = client(client.account.get_fill_history(symbol=PERP, limit=2))
    assert [(row["orderId"], row["isMaker"]) for row in fills] == [(order["id"], True)] * 2
    assert [(row["price"], row["quantity"], row["fee"]) for row in fills] == [
        ("3000", "0.1", "0.06")
    ] * 2


def test_an_ioc_order_takes_the_touch_and_the_fee_is_charged(
    client: Client, simulation: Simulation
) -> None:
    before = simulation.state("backpack")
    order = client.limit("Bid", "0.5", "3001", time_in_force="IOC")

    assert (order["status"], order["executedQuantity"]) == ("Filled", "0.5")
    assert order["executedQuoteQuantity"] == "1500.25"
    (fill,) = client(client.account.get_fill_history(symbol=PERP, limit=1))
    assert (fill["side"], fill["price"], fill["isMaker"]) == ("Bid", "3000.5", False)
    assert (fill["fee"], fill["feeSymbol"]) == ("0.750125", "USDC")
    (position,) = client(client.account.get_open_positions())
    assert (position["netQuantity"], position["entryPrice"]) == ("0.5", "3000.5")
    assert (position["markPrice"], position["pnlUnrealized"]) == ("3000", "-0.25")
    after = simulation.state("backpack")
    assert after["position"] == "0.5"
    assert float(after["fees_paid"]) - float(before["fees_paid"]) == pytest.approx(0.750125)
    assert after["fills"] == before["fills"] + 1


def test_an_ioc_order_larger_than_the_book_within_its_price_fills_in_part(
    client: Client, simulation: Simulation
) -> None:
    order = client.limit("Ask", "10", "2999", time_in_force="IOC")

    assert (order["status"], order["executedQuantity"]) == ("Expired", "3")
    assert order["executedQuoteQuantity"] == "8997.5"
    assert simulation.state("backpack")["position"] == "-3"


def test_market_orders_by_size_by_cost_and_reduce_only(
    client: Client, simulation: Simulation
) -> None:
    before = float(simulation.state("backpack")["balance"])
    bought = client.market("Bid", "0.5")
    sold = client.market("Ask", "0.5", reduce_only=True)

    assert (bought["status"], bought["executedQuoteQuantity"]) == ("Filled", "1500.25")
    assert (sold["status"], sold["executedQuoteQuantity"]) == ("Filled", "1499.75")
    assert client(client.account.get_open_positions()) == []
    fees = 3000 * 0.0005
    assert float(simulation.state("backpack")["balance"]) == pytest.approx(before - 0.5 - fees)
    by_cost = client(client.account.execute_order(PERP, "Bid", "Market", quote_quantity="300.05"))
    assert (by_cost["executedQuantity"], by_cost["executedQuoteQuantity"]) == ("0.1", "300.05")


# --- refusals ----------------------------------------------------------------------------------


def refused(answer: Any) -> tuple[str, str]:
    return answer["code"], answer["message"]


def test_an_unknown_key_and_a_wrong_secret_open_nothing(
    flavour: str, simulation: Simulation
) -> None:
    nobody = Client(flavour, simulation, public_key=OTHER_KEY, secret_key=OTHER_SECRET)
    forger = Client(flavour, simulation, secret_key=OTHER_SECRET)
    before = simulation.state("backpack")

    assert nobody(nobody.account.get_balances())["code"] in (
        "INVALID_CLIENT_REQUEST",
        "UNAUTHORIZED",
    )
    assert nobody(nobody.account.get_fill_history())["code"] == "UNAUTHORIZED"
    assert refused(forger.limit("Bid", "0.1", "2950")) == (
        "INVALID_CLIENT_REQUEST",
        "Invalid signature",
    )
    after = simulation.state("backpack")
    assert after["signature_failures"] > before["signature_failures"]
    assert after["open_orders"] == 0


def test_a_window_beyond_the_maximum_is_refused(client: Client) -> None:
    got = client(client.account.get_balances(window=60_001))

    assert got["code"] == "INVALID_CLIENT_REQUEST"


@pytest.mark.parametrize(
    ("quantity", "price", "more", "expected"),
    [
        ("0.1", "2950.005", {}, ("INVALID_CLIENT_REQUEST", "Price decimal too long")),
        ("0.10005", "2950", {}, ("INVALID_CLIENT_REQUEST", "Quantity decimal too long")),
        ("0.00001", "2950", {}, ("INVALID_CLIENT_REQUEST", "Quantity decimal too long")),
        ("3000", "2950", {}, ("INSUFFICIENT_MARGIN", "Insufficient margin")),
        ("10000", "2950", {}, ("POSITION_LIMIT", "Position limit exceeded")),
        ("0.1", "1000", {}, ("INVALID_PRICE", "Price is too far from the last active price")),
        (
            "0.1",
            "3001",
            {"post_only": True},
            ("INVALID_ORDER", "Order would immediately match and take"),
        ),
        (
            "0.1",
            "2950",
            {"reduce_only": True},
            ("INVALID_ORDER", "Reduce only order not reduced"),
        ),
    ],
    ids=["tick", "step", "minimum", "margin", "limit", "band", "post-only", "reduce-only"],
)
def test_an_order_that_breaks_a_rule_is_refused(
    client: Client,
    simulation: Simulation,
    quantity: str,
    price: str,
    more: dict[str, Any],
    expected: tuple[str, str],
) -> None:
    before = simulation.state("backpack")["orders_rejected"]

    assert refused(client.limit("Bid", quantity, price, **more)) == expected
    after = simulation.state("backpack")
    assert (after["open_orders"], after["position"]) == (0, "0")
    assert after["orders_rejected"] == before + 1


def test_a_zero_size_is_below_the_minimum(client: Client) -> None:
    code, message = refused(client.limit("Bid", "0.0000", "2950"))

    assert code in ("INVALID_ORDER", "INVALID_CLIENT_REQUEST")
    assert message == "Quantity is below the minimum allowed value"


def test_a_client_id_of_a_live_order_is_refused(client: Client) -> None:
    client.limit("Bid", "0.1", "2950", client_id=77)

    assert refused(client.limit("Bid", "0.1", "2951", client_id=77)) == (
        "INVALID_CLIENT_REQUEST",
        "Duplicate client id",
    )


def test_unknown_and_finished_orders_are_not_found(client: Client) -> None:
    account = client.account
    filled = client.market("Bid", "0.1")

    missing = client(account.get_open_order(PERP, order_id=filled["id"]))
    assert missing["code"] == "RESOURCE_NOT_FOUND"
    assert client(account.get_open_order(PERP, client_id=4242))["code"] == "RESOURCE_NOT_FOUND"
    assert client(account.cancel_order(PERP, order_id="123456789"))["code"] in (
        "RESOURCE_NOT_FOUND",
        "INVALID_CLIENT_REQUEST",
    )


def test_throttled_and_interrupted_orders_are_told_apart(
    client: Client, simulation: Simulation
) -> None:
    simulation.fault("backpack", "F04")
    assert client.limit("Bid", "0.1", "2950")["code"] == "TOO_MANY_REQUESTS"

    simulation.fault("backpack", "F05")
    assert "502 Bad Gateway" in client.limit("Bid", "0.1", "2950")
    assert client(client.account.get_open_orders(symbol=PERP)) == []


def test_bpx_checks_some_arguments_before_the_venue_does(client: Client) -> None:
    with pytest.raises(OrderQuantityNotSpecifiedError):
        client(client.account.execute_order(PERP, "Bid", "Limit", price="2950"))
    with pytest.raises(InvalidTimeInForceValue):
        client.limit("Bid", "0.1", "2950", time_in_force="GTD")
    with pytest.raises(LimitValueError):
        client(client.account.get_fill_history(limit=1001))


async def test_asynchronous_calls_run_side_by_side(simulation: Simulation) -> None:
    client = Client("async", simulation)
    account = client.account
    orders = await asyncio.gather(
        *(
            account.execute_order(PERP, "Bid", "Limit", quantity="0.1", price=f"29{n}", client_id=n)
            for n in range(50, 55)
        )
    )

    assert [row["status"] for row in orders] == ["New"] * 5
    assert len({row["id"] for row in orders}) == 5
    gone = await account.cancel_all_orders(PERP)
    assert {row["clientId"] for row in gone} == set(range(50, 55))

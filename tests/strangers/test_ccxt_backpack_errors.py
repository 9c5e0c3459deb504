"""ccxt's ``backpack`` class sees its own typed errors for what Backpack refuses (B3.4)."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.strangers.ccxt_rig import ETH_USDC, backpack, ccxt, flatten, refill
from tests.strangers.simulation import Simulation

OTHER_KEY = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
OTHER_SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
"""The key pair of venues.md B2's test vectors, which this venue does not know."""


@pytest.fixture
def exchange(simulation: Simulation) -> Iterator[Any]:
    client = backpack(ccxt.backpack, simulation.backpack)
    client.load_markets()
    refill(client, ETH_USDC)
    yield client
    client.options["timeDifference"] = 0
    flatten(client, ETH_USDC, simulation, "backpack")
    client.session.close()


def buy(exchange: Any, amount: float = 0.1, price: float = 2950, **params: Any) -> Any:
    return exchange.create_order(ETH_USDC, "limit", "buy", amount, price, params)


def refuses(error: type[Exception], code: str, message: str = "") -> Any:
    return pytest.raises(error, match=f'"code":"{code}".*{message}')


# --- who ---------------------------------------------------------------------------------------


def test_a_key_that_the_venue_does_not_know_opens_nothing(simulation: Simulation) -> None:
    nobody = backpack(ccxt.backpack, simulation.backpack, apiKey=OTHER_KEY, secret=OTHER_SECRET)
    nobody.load_markets()

    with pytest.raises((ccxt.BadRequest, ccxt.AuthenticationError)):
        nobody.fetch_balance()
    with refuses(ccxt.AuthenticationError, "UNAUTHORIZED"):
        nobody.fetch_my_trades(ETH_USDC)
    with pytest.raises((ccxt.BadRequest, ccxt.AuthenticationError)):
        buy(nobody)
    nobody.session.close()


def test_a_signature_by_another_secret_is_invalid(simulation: Simulation) -> None:
    before = simulation.state("backpack")["signature_failures"]
    forger = backpack(ccxt.backpack, simulation.backpack, secret=OTHER_SECRET)
    forger.load_markets()

    with refuses(ccxt.BadRequest, "INVALID_CLIENT_REQUEST", "Invalid signature"):
        buy(forger)
    assert simulation.state("backpack")["signature_failures"] == before + 1
    forger.session.close()


def test_a_stale_request_has_expired(exchange: Any) -> None:
    exchange.options["timeDifference"] = 10_000

    with refuses(ccxt.BadRequest, "INVALID_CLIENT_REQUEST", "Request has expired"):
        exchange.fetch_balance()
    with refuses(ccxt.BadRequest, "INVALID_CLIENT_REQUEST", "Request has expired"):
        buy(exchange)


def test_a_longer_window_lets_the_same_request_in(exchange: Any) -> None:
    exchange.options["timeDifference"] = 10_000
    exchange.options["recvWindow"] = 60_000

    assert exchange.fetch_balance()["USDC"]["total"] > 0


# --- what --------------------------------------------------------------------------------------


def test_off_tick_prices_and_off_step_sizes_are_refused(exchange: Any) -> None:
    exchange.markets[ETH_USDC]["precision"] = {"price": 0.001, "amount": 0.00001}

    with refuses(ccxt.BadRequest, "INVALID_CLIENT_REQUEST", "Price decimal too long"):
        buy(exchange, price=2950.005)
    with refuses(ccxt.BadRequest, "INVALID_CLIENT_REQUEST", "Quantity decimal too long"):
        buy(exchange, amount=0.10005)


def test_sizes_below_the_minimum_are_refused(exchange: Any, simulation: Simulation) -> None:
    # Step and minimum are one here, so ccxt knows it; its raw call shows the venue's answer.
    before = simulation.state("backpack")["orders_received"]
    with pytest.raises(ccxt.InvalidOrder, match="minimum amount precision"):
        buy(exchange, amount=0.00001)
    assert simulation.state("backpack")["orders_received"] == before

    order = {"symbol": "ETH_USDC_PERP", "side": "Bid", "orderType": "Limit", "price": "2950"}
    with pytest.raises((ccxt.InvalidOrder, ccxt.BadRequest), match="Quantity"):
        exchange.privatePostApiV1Order(order | {"quantity": "0"})


def test_more_than_the_money_allows_is_refused(exchange: Any) -> None:
    with refuses(ccxt.InsufficientFunds, "INSUFFICIENT_MARGIN"):
        buy(exchange, amount=3_000)


def test_more_than_the_position_limit_is_refused(exchange: Any) -> None:
    with refuses(ccxt.OperationRejected, "POSITION_LIMIT"):
        buy(exchange, amount=10_000)


def test_a_price_outside_the_band_is_refused(exchange: Any) -> None:
    with refuses(ccxt.InvalidOrder, "INVALID_PRICE", "too far from the last active price"):
        buy(exchange, price=1000)


def test_a_post_only_order_that_would_cross_is_refused_at_once(
    exchange: Any, simulation: Simulation
) -> None:
    with refuses(ccxt.InvalidOrder, "INVALID_ORDER", "Order would immediately match and take"):
        buy(exchange, price=3001, postOnly=True)
    assert simulation.state("backpack")["position"] == "0"


def test_reduce_only_orders_must_reduce(exchange: Any) -> None:
    with refuses(ccxt.InvalidOrder, "INVALID_ORDER", "Reduce only order not reduced"):
        buy(exchange, reduceOnly=True)
    exchange.create_order(ETH_USDC, "market", "buy", 0.1)
    with refuses(ccxt.InvalidOrder, "INVALID_ORDER", "Reduce only order not reduced"):
        buy(exchange, reduceOnly=True)


def test_a_client_id_of_a_live_order_is_refused(exchange: Any) -> None:
    buy(exchange, clientOrderId=77)

    with refuses(ccxt.BadRequest, "INVALID_CLIENT_REQUEST", "Duplicate client id"):
        buy(exchange, price=2951, clientOrderId=77)
    assert [row["price"] for row in exchange.fetch_open_orders(ETH_USDC)] == [2950.0]


def test_unknown_and_finished_orders_are_not_found(exchange: Any) -> None:
    # ccxt files RESOURCE_NOT_FOUND under ExchangeNotAvailable.
    with refuses(ccxt.ExchangeNotAvailable, "RESOURCE_NOT_FOUND"):
        exchange.fetch_open_order("123456789", ETH_USDC)
    with pytest.raises((ccxt.ExchangeNotAvailable, ccxt.BadRequest), match=r"[Nn]ot [Ff]ound"):
        exchange.cancel_order("123456789", ETH_USDC)
    filled = exchange.create_order(ETH_USDC, "market", "buy", 0.1)
    with refuses(ccxt.ExchangeNotAvailable, "RESOURCE_NOT_FOUND"):
        exchange.fetch_open_order(filled["id"], ETH_USDC)


def test_markets_that_do_not_exist_are_named(exchange: Any) -> None:
    with pytest.raises(ccxt.BadSymbol, match="does not have market symbol"):
        exchange.fetch_ticker("DOGE/USDC:USDC")
    with pytest.raises(ccxt.ExchangeError):
        exchange.publicGetApiV1Depth({"symbol": "DOGE_USDC_PERP"})


def test_a_halted_market_takes_no_order(exchange: Any, simulation: Simulation) -> None:
    simulation.market("backpack", halt=True)
    try:
        assert exchange.load_markets(True)[ETH_USDC]["active"] is False
        with refuses(ccxt.ExchangeNotAvailable, "TRADING_PAUSED"):
            buy(exchange)
    finally:
        simulation.market("backpack", halt=False)
    assert exchange.load_markets(True)[ETH_USDC]["active"] is True


def test_a_throttled_order_is_not_placed(exchange: Any, simulation: Simulation) -> None:
    simulation.fault("backpack", "F04")

    with refuses(ccxt.RateLimitExceeded, "TOO_MANY_REQUESTS"):
        buy(exchange)
    assert exchange.fetch_open_orders(ETH_USDC) == []

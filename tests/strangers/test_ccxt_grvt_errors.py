"""ccxt's ``grvt`` class sees its own typed error for everything that GRVT refuses (A4.3)."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.strangers.ccxt_rig import ETH_USDT, STRANGER, ccxt, flatten, grvt, refill
from tests.strangers.simulation import Simulation, until

FINE = 0.001
"""A precision finer than the venue's: lets a price or size through that ccxt would round."""
WITHOUT_BUILDER = {"builderFee": False}


@pytest.fixture
def exchange(simulation: Simulation) -> Iterator[Any]:
    client = grvt(ccxt.grvt, simulation.grvt, options=dict(WITHOUT_BUILDER))
    client.load_markets()
    refill(client, ETH_USDT)
    yield client
    client.privateKey = simulation.grvt["private_key"]
    flatten(client, ETH_USDT, simulation, "grvt")
    client.session.close()


def buy(exchange: Any, amount: float = 0.1, price: float = 2950, **params: Any) -> Any:
    return exchange.create_order(ETH_USDT, "limit", "buy", amount, price, params)


def signed(exchange: Any, price: str, **changed: Any) -> dict[str, Any]:
    """Return a signed order of 0.1 at a price with decimals; ``changed`` after the signature.

    As ccxt 4.5.66 signs it, because 4.5.64 scales such a price wrongly (see the rig).
    """
    order = {
        "sub_account_id": exchange.options["accountId"],
        "time_in_force": "GOOD_TILL_TIME",
        "legs": [
            {
                "instrument": "ETH_USDT_Perp",
                "size": "0.1",
                "limit_price": price,
                "is_buying_asset": True,
            }
        ],
        "signature": exchange.default_signature(),
        "metadata": {"client_order_id": str(9_300_000_000_000_000_000 + exchange.request_id())},
        "is_market": False,
        "post_only": False,
        "reduce_only": False,
    }
    message = exchange.eip_message_for_order(order, "EIP712_ORDER_TYPE")
    message["legs"][0]["limitPrice"] = int(Decimal(price).scaleb(9))
    encoded = exchange.eth_encode_structured_data(
        exchange.eip_domain_data(), exchange.eip_definitions()["EIP712_ORDER_TYPE"], message
    )
    digest = exchange.hash(encoded, "keccak", "hex")
    key = exchange.privateKey.removeprefix("0x")
    parts = exchange.ecdsa(digest, key, "secp256k1", None)
    order["signature"] |= {
        "r": exchange.format_signature_rs(parts["r"]),
        "s": exchange.format_signature_rs(parts["s"]),
        "v": 27 + parts["v"],
        "signer": exchange.eth_get_address_from_private_key(exchange.privateKey),
    }
    return {"order": order | changed}


def received(simulation: Simulation) -> tuple[int, str, int]:
    state = simulation.state("grvt")
    return state["open_orders"], state["position"], state["fills"]


# --- who ---------------------------------------------------------------------------------------


def test_a_wallet_that_the_venue_does_not_know_cannot_log_in(simulation: Simulation) -> None:
    nobody = grvt(ccxt.grvt, simulation.grvt, privateKey=STRANGER)

    # The refusal is 200 without a cookie (A2.1). ccxt 4.5.64 means to raise AuthenticationError
    # there, but looks for a cookie option that the first login of a client has not made yet.
    with pytest.raises(KeyError, match="AuthCookieValue"):
        nobody.load_markets()
    nobody.options["AuthCookieValue"] = None
    with pytest.raises(ccxt.AuthenticationError, match="failed to receive auth-cookie"):
        nobody.load_markets()
    nobody.session.close()


def test_an_api_key_logs_in_and_a_wrong_one_does_not(exchange: Any, simulation: Simulation) -> None:
    # ccxt 4.5.64 has the call but takes a wallet's key for every request after it.
    exchange.options |= {"signInExpiration": 0, "AuthCookieValue": None}
    exchange.apiKey = simulation.grvt["api_key"]
    assert exchange.sign_in_with_api_key()["status"] == "success"
    assert exchange.fetch_balance()["USDT"]["total"] > 0

    exchange.options |= {"signInExpiration": 0, "AuthCookieValue": None}
    exchange.apiKey = "sim-unknown"
    with pytest.raises(ccxt.AuthenticationError, match="failed to receive auth-cookie"):
        exchange.sign_in_with_api_key()
    exchange.apiKey = ""
    exchange.sign_in()


def test_a_cookie_that_the_venue_does_not_know_is_unauthenticated(exchange: Any) -> None:
    exchange.options["AuthCookieValue"] = "gravity=stale"

    with pytest.raises(ccxt.AuthenticationError, match="1000"):
        exchange.fetch_balance()
    with pytest.raises(ccxt.AuthenticationError, match="1000"):
        buy(exchange)
    exchange.options["signInExpiration"] = 0
    assert exchange.fetch_balance()["USDT"]["total"] > 0  # it has logged in anew


def test_another_sub_account_is_forbidden(exchange: Any) -> None:
    with pytest.raises(ccxt.PermissionDenied, match=r"1001|2003"):
        exchange.fetch_positions([ETH_USDT], {"accountId": "42", "sub_account_id": "42"})


def test_an_order_signed_by_another_wallet_is_from_an_unauthorised_signer(
    exchange: Any, simulation: Simulation
) -> None:
    before = simulation.state("grvt")["signature_failures"]
    exchange.privateKey = STRANGER

    with pytest.raises(ccxt.PermissionDenied, match="2000"):
        buy(exchange)
    assert simulation.state("grvt")["signature_failures"] == before + 1
    assert received(simulation)[0] == 0


def test_an_order_changed_after_signing_does_not_match_its_signature(exchange: Any) -> None:
    order = signed(exchange, "2950.5", reduce_only=True)

    with pytest.raises(ccxt.BadRequest, match="2002"):
        exchange.privateTradingPostFullV1CreateOrder(order)


def test_ccxt_4_5_64_signs_decimals_of_a_price_wrongly_and_is_told_so(exchange: Any) -> None:
    # As at the venue: ccxt issue 28759. The same order signed properly is taken.
    with pytest.raises(ccxt.BadRequest, match="2002"):
        buy(exchange, price=2950.5)
    taken = exchange.privateTradingPostFullV1CreateOrder(signed(exchange, "2950.5"))
    assert taken["result"]["legs"][0]["limit_price"] == "2950.5"


def test_an_expired_signature_is_refused(exchange: Any) -> None:
    exchange.options["expirationSeconds"] = -1

    with pytest.raises(ccxt.InvalidNonce, match="2001"):
        buy(exchange)


def test_a_signature_for_ever_is_refused(exchange: Any) -> None:
    exchange.options["expirationSeconds"] = 31 * 24 * 3600

    with pytest.raises(ccxt.BadRequest, match="2008"):
        buy(exchange)


def test_a_signature_for_production_is_refused(exchange: Any) -> None:
    exchange.isSandboxModeEnabled = False

    with pytest.raises(ccxt.BadRequest, match="1012"):
        buy(exchange)


def test_a_public_request_without_content_type_is_malformed(simulation: Simulation) -> None:
    # As at the venue: ccxt pull request 29548, which 4.5.64 does not have.
    plain = grvt(ccxt.grvt, simulation.grvt, headers={})

    with pytest.raises(ccxt.BadRequest, match="1003"):
        plain.load_markets()
    plain.session.close()


# --- what --------------------------------------------------------------------------------------


def test_an_off_tick_price_is_refused(exchange: Any) -> None:
    with pytest.raises(ccxt.InvalidOrder, match="2064"):
        exchange.privateTradingPostFullV1CreateOrder(signed(exchange, "2950.005"))


def test_off_step_and_below_minimum_sizes_are_refused(exchange: Any) -> None:
    exchange.markets[ETH_USDT]["precision"]["amount"] = FINE

    with pytest.raises(ccxt.InvalidOrder, match="2065"):
        buy(exchange, amount=0.105)
    with pytest.raises(ccxt.InvalidOrder, match="2062"):
        buy(exchange, amount=0.005)


def test_a_size_that_ccxt_itself_knows_to_be_too_small_is_never_sent(
    exchange: Any, simulation: Simulation
) -> None:
    before = simulation.state("grvt")["orders_received"]

    with pytest.raises(ccxt.InvalidOrder, match="minimum amount precision"):
        buy(exchange, amount=0.001)
    assert simulation.state("grvt")["orders_received"] == before


def test_a_notional_below_the_minimum_is_refused(exchange: Any, simulation: Simulation) -> None:
    simulation.market("grvt", shift_bps=-4000)  # 0.01 ETH is then worth 18 USDT
    try:
        until(lambda: exchange.fetch_ticker(ETH_USDT)["bid"] < 1900)
        # ccxt 4.5.64 has no class of its own for this code.
        with pytest.raises(ccxt.ExchangeError, match="2066"):
            buy(exchange, amount=0.01, price=1800)
    finally:
        simulation.market("grvt", shift_bps=0)


def test_more_than_the_money_allows_is_refused(exchange: Any, simulation: Simulation) -> None:
    with pytest.raises(ccxt.InsufficientFunds, match="2080"):
        buy(exchange, amount=10_000)
    assert received(simulation)[0] == 0


def test_a_price_outside_the_protection_band_is_refused(exchange: Any) -> None:
    with pytest.raises(ccxt.OperationRejected, match="7201"):
        buy(exchange, price=1000)


def test_a_post_only_order_that_would_cross_is_rejected_after_the_acknowledgement(
    exchange: Any, simulation: Simulation
) -> None:
    ack = buy(exchange, price=3001, postOnly=True)

    def probe() -> Any:
        found = exchange.fetch_orders(ETH_USDT)
        ours = [row for row in found if row["clientOrderId"] == ack["clientOrderId"]]
        return ours[0] if ours and ours[0]["status"] == "rejected" else None

    order = until(probe)

    assert order["info"]["state"]["reject_reason"] == "FAIL_POST_ONLY"
    assert (order["filled"], received(simulation)[1]) == (0.0, "0")


def test_reduce_only_orders_must_reduce(exchange: Any, simulation: Simulation) -> None:
    with pytest.raises(ccxt.OperationRejected, match="2400"):
        buy(exchange, reduceOnly=True)
    exchange.create_order(ETH_USDT, "market", "buy", 0.1)
    until(lambda: simulation.state("grvt")["position"] == "0.1")
    with pytest.raises(ccxt.OperationRejected, match="2401"):
        buy(exchange, reduceOnly=True)


def test_a_client_id_of_a_live_order_is_refused(exchange: Any) -> None:
    name = "9223372036854775999"
    ack = buy(exchange, clientOrderId=name)
    until(lambda: len(exchange.fetch_open_orders(ETH_USDT)) == 1)

    with pytest.raises(ccxt.InvalidOrder, match="2012"):
        buy(exchange, price=2951, clientOrderId=name)
    assert ack["clientOrderId"] == name
    assert [row["price"] for row in exchange.fetch_open_orders(ETH_USDT)] == [2950.0]


def test_orders_that_the_venue_does_not_know_are_not_found(exchange: Any) -> None:
    unknown = "0x01010100000000000000000000000001"

    with pytest.raises(ccxt.OperationRejected, match="1004"):
        exchange.fetch_order(unknown)
    with pytest.raises(ccxt.OperationRejected, match="1004"):
        exchange.fetch_order("", ETH_USDT, {"clientOrderId": "9223372036854775998"})
    with pytest.raises(ccxt.OperationRejected, match="1004"):
        exchange.cancel_order(unknown)


def test_markets_and_depths_that_do_not_exist_are_named(exchange: Any) -> None:
    with pytest.raises(ccxt.BadSymbol, match="does not have market symbol"):
        exchange.fetch_ticker("DOGE/USDT:USDT")
    with pytest.raises(ccxt.BadSymbol, match="3000"):
        exchange.publicMarketPostFullV1Book({"instrument": "DOGE_USDT_Perp", "depth": 10})
    with pytest.raises(ccxt.BadRequest, match="3031"):
        exchange.publicMarketPostFullV1Book({"instrument": "ETH_USDT_Perp", "depth": 7})


def test_leverage_outside_the_range_is_refused(exchange: Any) -> None:
    with pytest.raises(ccxt.BadRequest, match="2108"):
        exchange.set_leverage(500, ETH_USDT)
    with pytest.raises(ccxt.BadRequest, match="2107"):
        exchange.set_leverage(0, ETH_USDT)


def test_a_halted_market_takes_no_order(exchange: Any, simulation: Simulation) -> None:
    simulation.market("grvt", halt=True)
    try:
        with pytest.raises(ccxt.BadSymbol, match="2060"):
            buy(exchange)
    finally:
        simulation.market("grvt", halt=False)


# --- how often ---------------------------------------------------------------------------------


def cancels(exchange: Any, count: int) -> int:
    """Cancel an order that does not exist so often; returns how many were let in."""
    for number in range(count):
        try:
            exchange.cancel_order("0x01010100000000000000000000000001")
        except ccxt.RateLimitExceeded:
            return number
        except ccxt.OperationRejected:
            continue
    return count


def test_more_than_twenty_cancels_a_second_are_throttled(exchange: Any) -> None:
    assert 20 <= cancels(exchange, 80) < 80


def test_ccxts_own_throttle_keeps_below_the_venues_limit(simulation: Simulation) -> None:
    polite = grvt(ccxt.grvt, simulation.grvt, enableRateLimit=True, options=dict(WITHOUT_BUILDER))
    polite.load_markets()

    assert cancels(polite, 25) == 25
    polite.session.close()

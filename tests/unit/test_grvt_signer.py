"""Order bodies: the SDK's encoding and signature, exact or refused (venues.md A3)."""

import asyncio
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st
from pysdk.grvt_raw_signing import EIP712_ORDER_MESSAGE_TYPE

from exchanges.grvt import codec
from exchanges.grvt.signer import MAX_NONCE, GrvtConfig, OrderSigner
from exchanges.grvt.venue import GrvtVenue
from strategy.domain import (
    NANO,
    ClientId,
    Ns,
    OrderRequest,
    Purpose,
    Px,
    Qty,
    Quote,
    Side,
    Tif,
    Venue,
)
from tests.unit.test_grvt_codec import INSTRUMENT, SYMBOL

API_KEY = "canary-api-key-2y8KqZ"
PRIVATE_KEY = "0x" + "11" * 32
ADDRESS = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
SUB_ACCOUNT = "8289849667772468"
EXPIRES = Ns(1_750_000_000_000_000_000)
NONCE = 828_700_936
RULES = codec.find_instrument([INSTRUMENT | {"min_size": "0.001"}], "ETH").instrument

VECTORS = {
    "testnet": (
        "0xbb1596c9057f3ed934ecfbd14b96b60592691bb70f6f015a8dc0546cca51748d",
        "0x1b4c3a5f392444788800f2924e5a24933873ca241f30f925f6f865e9727313d0",
        28,
    ),
    "prod": (
        "0x83de43db1108e63614657861c7277b2369b5f332ca813ba20655927b0c4e2ed3",
        "0x285c116dfd033a29fab34de004f95a439723319faa02e2de7256e20f9e91aab7",
        27,
    ),
}


class Clock:
    """Standing time that a test moves."""

    def __init__(self, wall: int = EXPIRES - 10 * NANO) -> None:
        self.now = wall

    def wall(self) -> Ns:
        return Ns(self.now)

    def mono(self) -> Ns:
        return Ns(self.now)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.002))


def config(environment: str = "testnet", **urls: str) -> GrvtConfig:
    return GrvtConfig(API_KEY, PRIVATE_KEY, SUB_ACCOUNT, environment, **urls)


def request(**changes: Any) -> OrderRequest:
    fields: dict[str, Any] = {
        "client_id": ClientId(7),
        "venue": Venue.GRVT,
        "symbol": SYMBOL,
        "side": Side.BUY,
        "qty": Qty(1_013_000_000),
        "px": Px(3_000_050_000_000),
        "tif": Tif.GTC,
        "post_only": True,
        "reduce_only": False,
        "expires_at": EXPIRES,
        "purpose": Purpose.HEDGE,
    }
    return OrderRequest(**(fields | changes))


def loaded(made: GrvtConfig, nonce: int = NONCE) -> GrvtVenue:
    venue = GrvtVenue(made, Clock(), lambda: 0.5, lambda: nonce)
    venue._row = codec.InstrumentRow(RULES, 8)
    return venue


@pytest.mark.parametrize("environment", ["testnet", "prod"])
def test_vectors_of_the_protocol_reference_through_prepare(environment: str) -> None:
    payload = loaded(config(environment)).prepare(request())
    signature = json.loads(payload.body)["order"]["signature"]
    assert (signature["r"], signature["s"], signature["v"]) == VECTORS[environment]
    assert signature["signer"] == OrderSigner(config()).address == ADDRESS
    assert signature["expiration"] == str(EXPIRES)
    assert signature["nonce"] == NONCE


def test_body_states_the_order_and_nothing_else() -> None:
    payload = loaded(config()).prepare(request(side=Side.SELL, reduce_only=True))
    order = json.loads(payload.body)["order"]
    del order["signature"]
    stated = {key: value for key, value in order.items() if value is not None}
    metadata = {key: value for key, value in stated.pop("metadata").items() if value is not None}
    assert metadata == {"client_order_id": str(2**63 + 7)}
    assert stated == {
        "sub_account_id": SUB_ACCOUNT,
        "is_market": False,
        "time_in_force": "GOOD_TILL_TIME",
        "post_only": True,
        "reduce_only": True,
        "legs": [
            {
                "instrument": SYMBOL,
                "size": "1.013",
                "limit_price": "3000.05",
                "is_buying_asset": False,
            }
        ],
    }


@pytest.mark.parametrize(
    ("tif", "word"),
    [(Tif.GTC, "GOOD_TILL_TIME"), (Tif.IOC, "IMMEDIATE_OR_CANCEL"), (Tif.FOK, "FILL_OR_KILL")],
)
def test_S10_every_time_in_force_is_a_priced_limit_order(tif: Tif, word: str) -> None:
    body = json.loads(loaded(config()).prepare(request(tif=tif, post_only=False)).body)
    assert body["order"]["time_in_force"] == word
    assert body["order"]["is_market"] is False
    assert body["order"]["legs"][0]["limit_price"] == "3000.05"


def test_S4_payload_is_journalled_as_it_is_sent() -> None:
    payload = loaded(config()).prepare(request())
    assert payload.digest == hashlib.sha256(payload.body).hexdigest()
    assert (payload.nonce, payload.headers, payload.request) == (NONCE, (), request())
    assert loaded(config()).prepare(request()).body == payload.body


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"px": Px(3_000_050_000_001)}, "price"),
        ({"px": Px(3_000_055_000_000)}, "price"),
        ({"px": Px(0)}, "price"),
        ({"px": Px(-3_000_050_000_000)}, "price"),
        ({"qty": Qty(1_013_500_000)}, "size"),
        ({"qty": Qty(0)}, "size"),
        ({"qty": Qty(-1_000_000_000)}, "size"),
        ({"symbol": "BTC_USDT_Perp"}, "is not"),
        ({"venue": Venue.BACKPACK}, "is not"),
        ({"tif": Tif.IOC}, "post-only"),
        ({"tif": Tif.FOK}, "post-only"),
        ({"client_id": ClientId(0)}, "client id"),
        ({"client_id": ClientId(2**63)}, "client id"),
        ({"expires_at": Ns(0)}, "expiry"),
    ],
)
def test_G16_what_the_sdk_would_truncate_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        loaded(config()).prepare(request(**changes))


@pytest.mark.parametrize("nonce", [-1, MAX_NONCE + 1])
def test_nonce_is_a_uint32(nonce: int) -> None:
    with pytest.raises(ValueError, match="nonce"):
        loaded(config(), nonce).prepare(request())


def test_size_finer_than_the_venues_scale_is_refused() -> None:
    coarse = replace(RULES, size_decimals=2)
    signer = OrderSigner(config())
    with pytest.raises(ValueError, match="finer"):
        signer.body(request(), coarse, NONCE)


def test_nothing_is_prepared_before_load() -> None:
    venue = GrvtVenue(config(), Clock(), lambda: 0.5, lambda: NONCE)
    with pytest.raises(ValueError, match="load"):
        venue.prepare(request())


@pytest.mark.parametrize(
    ("made", "chain"),
    [
        (config("prod"), "prod"),
        (config("testnet"), "testnet"),
        (config("prod", edge_url="http://127.0.0.1:9"), "testnet"),
        (config("prod", trades_url="http://localhost"), "testnet"),
        (config("prod", market_data_url="http://[::1]:8/"), "testnet"),
        (config("prod", ws_trades_url="ws://127.0.0.1"), "testnet"),
        (config("prod", ws_market_data_url="ws://localhost:1"), "testnet"),
        (config("prod", trades_url="https://proxy.example"), "prod"),
    ],
)
def test_loopback_is_never_signed_for_production(made: GrvtConfig, chain: str) -> None:
    assert made.sdk_environment.value == chain
    signature = json.loads(loaded(made).prepare(request()).body)["order"]["signature"]
    assert signature["r"] == VECTORS[chain][0]


def test_environment_is_prod_or_testnet() -> None:
    with pytest.raises(ValueError, match="staging"):
        config("staging")


def test_S14_configuration_shows_no_key() -> None:
    venue = loaded(config())
    shown = f"{config()!r} {venue!r} {venue._sdk!r} {venue._session!r}"
    assert API_KEY not in shown
    assert PRIVATE_KEY[2:] not in shown
    assert SUB_ACCOUNT in shown


@settings(max_examples=25, deadline=None)
@given(
    qty=st.integers(1, 10**6),
    px=st.integers(1, 10**8),
    nonce=st.integers(0, MAX_NONCE),
    buy=st.booleans(),
    reduce_only=st.booleans(),
    tif=st.sampled_from(list(Tif)),
)
def test_signature_covers_exactly_what_the_body_says(
    qty: int, px: int, nonce: int, buy: bool, reduce_only: bool, tif: Tif
) -> None:
    asked = request(
        qty=Qty(qty * RULES.step),
        px=Px(px * RULES.tick),
        side=Side.BUY if buy else Side.SELL,
        tif=tif,
        post_only=False,
        reduce_only=reduce_only,
    )
    signature = json.loads(OrderSigner(config()).body(asked, RULES, nonce))["order"]["signature"]
    message = {
        "subAccountID": int(SUB_ACCOUNT),
        "isMarket": False,
        "timeInForce": {Tif.GTC: 1, Tif.IOC: 3, Tif.FOK: 4}[tif],
        "postOnly": False,
        "reduceOnly": reduce_only,
        "legs": [
            {
                "assetID": 0x030401,
                "contractSize": qty * RULES.step,
                "limitPrice": px * RULES.tick,
                "isBuyingContract": buy,
            }
        ],
        "nonce": nonce,
        "expiration": EXPIRES,
    }
    domain = {"name": "GRVT Exchange", "version": "0", "chainId": 326}
    signed = encode_typed_data(domain, EIP712_ORDER_MESSAGE_TYPE, message)
    vrs = (signature["v"], int(signature["r"], 16), int(signature["s"], 16))
    assert Account.recover_message(signed, vrs=vrs) == ADDRESS


def test_minimum_notional_is_the_gates_business() -> None:
    dear = replace(RULES, min_notional=Quote(10**6 * NANO))
    assert OrderSigner(config()).body(request(), dear, NONCE)

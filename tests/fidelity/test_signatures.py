"""The reference signatures of both venues hold on the simulator's side, byte for byte.

The simulator encodes by hand and shares no code with the signers that it checks; these vectors were
made with the venues' own SDKs.
"""

from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account

from exchanges.simulator import grvt_eip712
from exchanges.simulator.backpack_auth import string_to_sign
from exchanges.simulator.grvt_eip712 import Asset, order_digest, recover
from exchanges.simulator.grvt_payload import Fields, OrderPlan, order_plan
from strategy.domain import Side

KEY = "0x" + 64 * "1"
ADDRESS = "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a"
ETH = Asset(0x030401, 9)
TESTNET, PRODUCTION = 326, 325
SIGNED = {
    TESTNET: (
        "0xbb1596c9057f3ed934ecfbd14b96b60592691bb70f6f015a8dc0546cca51748d",
        "0x1b4c3a5f392444788800f2924e5a24933873ca241f30f925f6f865e9727313d0",
        28,
    ),
    PRODUCTION: (
        "0x83de43db1108e63614657861c7277b2369b5f332ca813ba20655927b0c4e2ed3",
        "0x285c116dfd033a29fab34de004f95a439723319faa02e2de7256e20f9e91aab7",
        27,
    ),
}
SEPARATOR = "1254f97f8495f704630a238cbcd898a4b8ab20d77bb93e17049d3445f4f81f16"
DIGEST = "9658281f5b88e53fb660d3fb1145c975e6d092719082b7295da2144bee789f73"
STAMP = 1_750_000_000_000


def plan(chain: int) -> OrderPlan:
    r, s, v = SIGNED[chain]
    return order_plan(
        Fields(
            {
                "sub_account_id": "8289849667772468",
                "is_market": False,
                "time_in_force": "GOOD_TILL_TIME",
                "post_only": True,
                "reduce_only": False,
                "legs": [
                    {
                        "instrument": "ETH_USDT_Perp",
                        "size": "1.013",
                        "limit_price": "3000.05",
                        "is_buying_asset": True,
                    }
                ],
                "signature": {
                    "signer": ADDRESS,
                    "r": r,
                    "s": s,
                    "v": v,
                    "expiration": "1750000000000000000",
                    "nonce": 828700936,
                },
                "metadata": {"client_order_id": "9223372036854775809"},
            }
        )
    )


@pytest.mark.parametrize("chain", [TESTNET, PRODUCTION])
def test_the_signer_of_a_reference_order_is_recovered_on_its_own_chain_only(chain: int) -> None:
    order = plan(chain)
    other = PRODUCTION if chain == TESTNET else TESTNET

    assert recover(order_digest(order, ETH, chain), order.signature) == ADDRESS
    assert recover(order_digest(order, ETH, other), order.signature) != ADDRESS


def test_the_digest_and_the_domain_of_the_reference_order_are_the_documented_ones() -> None:
    assert grvt_eip712._domain(TESTNET).hex() == SEPARATOR
    assert order_digest(plan(TESTNET), ETH, TESTNET).hex() == DIGEST
    assert Account.from_key(KEY).address.lower() == ADDRESS


@pytest.mark.parametrize(
    "change",
    [
        {"size": 1},
        {"limit_px": 10**9},
        {"side": Side.SELL},
        {"reduce_only": True},
        {"tif": "FILL_OR_KILL"},
    ],
)
def test_a_reference_signature_covers_what_matters(change: dict[str, Any]) -> None:
    order = replace(plan(TESTNET), **change)
    assert recover(order_digest(order, ETH, TESTNET), order.signature) != ADDRESS


def test_the_strings_that_backpack_signs_are_the_documented_ones() -> None:
    params: dict[str, str | int | bool] = {
        "symbol": "ETH_USDC_PERP",
        "side": "Bid",
        "orderType": "Limit",
        "price": "3000.5",
        "quantity": "0.01",
        "postOnly": True,
        "clientId": 7,
    }
    assert string_to_sign("orderExecute", params, STAMP, 5000) == (
        "instruction=orderExecute&clientId=7&orderType=Limit&postOnly=true&price=3000.5"
        "&quantity=0.01&side=Bid&symbol=ETH_USDC_PERP&timestamp=1750000000000&window=5000"
    )
    assert string_to_sign("subscribe", {}, STAMP, 5000) == (
        "instruction=subscribe&timestamp=1750000000000&window=5000"
    )

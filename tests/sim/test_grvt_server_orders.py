"""GRVT orders on the wire: acknowledgement, signatures, codes."""

from collections.abc import Callable
from typing import Any

import pytest

from exchanges.simulator.grvt_eip712 import Asset, order_digest, recover
from exchanges.simulator.grvt_payload import Fields, order_plan
from tests.sim.grvt_rig import STRANGER, SYMBOL, Json, rig

OTHER_ADDRESS = "0x" + "ab" * 20
HIGH_S = "0x" + "ff" * 31 + "00"
VECTOR = {
    "sub_account_id": "8289849667772468",
    "is_market": False,
    "time_in_force": "GOOD_TILL_TIME",
    "post_only": True,
    "reduce_only": False,
    "legs": [
        {
            "instrument": SYMBOL,
            "size": "1.013",
            "limit_price": "3000.05",
            "is_buying_asset": True,
        }
    ],
    "signature": {
        "signer": "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A",
        "r": "0xbb1596c9057f3ed934ecfbd14b96b60592691bb70f6f015a8dc0546cca51748d",
        "s": "0x1b4c3a5f392444788800f2924e5a24933873ca241f30f925f6f865e9727313d0",
        "v": 28,
        "expiration": "1750000000000000000",
        "nonce": 828700936,
    },
    "metadata": {"client_order_id": "9223372036854775809"},
}


def test_the_published_vector_recovers_its_signer() -> None:
    plan = order_plan(Fields(VECTOR))

    digest = order_digest(plan, Asset(0x030401, 9), 326)

    assert digest.hex() == "9658281f5b88e53fb660d3fb1145c975e6d092719082b7295da2144bee789f73"
    assert recover(digest, plan.signature) == "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a"
    production = order_digest(plan, Asset(0x030401, 9), 325)
    assert recover(production, plan.signature) != "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a"


async def test_a_create_is_acknowledged_without_id_or_outcome() -> None:
    async with rig() as it:
        status, answer = await it.create(client_id="9223372036854775900", post_only=True)

        order = answer["result"]
        assert status == 200
        assert order["order_id"] == "0x00"
        assert order["metadata"]["client_order_id"] == "9223372036854775900"
        assert order["state"]["status"] == "PENDING"
        assert order["state"]["book_size"] == ["0.5"]
        assert order["state"]["traded_size"] == ["0.0"]
        assert order["legs"][0]["limit_price"] == "2990.0"
        real = await it.ended("9223372036854775900", "OPEN")
        assert real["order_id"].startswith("0x0101")
        assert len(real["order_id"]) == 2 + 32


async def test_a_new_order_is_invisible_for_a_moment() -> None:
    async with rig() as it:
        client_id = await it.placed(post_only=True)

        assert await it.fail("order", client_order_id=client_id) == (404, 1004)
        await it.ended(client_id, "OPEN")


async def test_an_ioc_takes_what_its_price_allows_and_cancels_the_rest() -> None:
    async with rig() as it:
        client_id = await it.placed(tif="IMMEDIATE_OR_CANCEL", px="3000.01", size="12")

        order = await it.ended(client_id, "CANCELLED")

        assert order["state"]["traded_size"] == ["10.0"]
        assert order["state"]["book_size"] == ["0.0"]
        assert order["state"]["reject_reason"] == "IOC_CANCEL"
        assert order["state"]["avg_fill_price"] == ["3000.01"]
        fills = await it.result("fill_history")
        assert [(fill["size"], fill["price"], fill["is_taker"]) for fill in fills] == [
            ("10.0", "3000.01", True)
        ]
        assert fills[0]["fee_rate"] == "0.045"
        assert fills[0]["client_order_id"] == client_id


async def test_a_crossing_post_only_order_is_rejected_later() -> None:
    async with rig() as it:
        client_id = await it.placed(post_only=True, px="3000.05")

        order = await it.ended(client_id, "REJECTED")

        assert order["state"]["reject_reason"] == "FAIL_POST_ONLY"
        assert it.engine.accounts[it.account].orders_rejected == 1


async def test_a_market_order_takes_and_its_price_is_not_signed() -> None:
    async with rig() as it:
        client_id = await it.placed(market=True, side="sell")

        order = await it.ended(client_id, "FILLED")

        assert order["state"]["traded_size"] == ["0.5"]
        assert order["is_market"] is True


async def test_a_fill_or_kill_that_cannot_fill_is_killed() -> None:
    async with rig() as it:
        client_id = await it.placed(tif="FILL_OR_KILL", px="3000.01", size="11")

        order = await it.ended(client_id, "CANCELLED")

        assert order["state"]["reject_reason"] == "FOK_CANCEL"
        assert order["state"]["traded_size"] == ["0.0"]


async def test_a_signature_s_end_is_the_order_s_end() -> None:
    async with rig() as it:
        client_id = await it.placed(post_only=True, life=0.15)

        order = await it.ended(client_id, "CANCELLED")

        assert order["state"]["reject_reason"] == "EXPIRED"


# --- signatures ------------------------------------------------------------------------------


def edit(path: str, value: Any) -> Callable[[Json], None]:
    """Return a change of one field of a signed order."""

    def apply(body: Json) -> None:
        *parents, last = path.split(".")
        row = body["order"]
        for parent in parents:
            row = row[int(parent)] if isinstance(row, list) else row[parent]
        row[last] = value

    return apply


@pytest.mark.parametrize(
    ("changes", "damage", "status", "code"),
    [
        ({"key": STRANGER}, None, 403, 2000),
        ({"life": -1}, None, 403, 2001),
        ({"life": 31 * 24 * 3600}, None, 403, 2008),
        ({}, edit("legs.0.size", "0.6"), 403, 2002),
        ({}, edit("legs.0.limit_price", "2990.01"), 403, 2002),
        ({}, edit("legs.0.is_buying_asset", False), 403, 2002),
        ({}, edit("post_only", True), 403, 2002),
        ({}, edit("reduce_only", True), 403, 2002),
        ({}, edit("time_in_force", "IMMEDIATE_OR_CANCEL"), 403, 2002),
        ({}, edit("signature.nonce", 5), 403, 2002),
        ({"chain": 325}, None, 403, 2002),
        ({}, edit("signature.chain_id", "325"), 400, 1012),
        ({}, edit("signature.v", 29), 403, 2005),
        ({}, edit("signature.r", "0x12"), 403, 2006),
        ({}, edit("signature.s", "0x" + "g" * 64), 403, 2006),
        ({}, edit("signature.s", HIGH_S), 403, 2007),
        ({}, edit("signature.r", "0x" + "00" * 32), 403, 2002),
    ],
)
async def test_every_signature_fault_has_its_code(
    changes: Json, damage: Callable[[Json], None] | None, status: int, code: int
) -> None:
    async with rig() as it:
        body = it.order(**changes)
        if damage is not None:
            damage(body)

        got, answer = await it.post("/full/v1/create_order", body)

        assert (got, answer["code"], answer["status"]) == (status, code, status)
        account = it.engine.accounts[it.account]
        assert (account.orders_received, account.orders_rejected) == (1, 1)
        assert account.signature_failures == 1
        assert not it.engine.orders


async def test_an_allowed_chain_id_in_the_signature_is_accepted() -> None:
    async with rig() as it:
        body = it.order(post_only=True)
        body["order"]["signature"]["chain_id"] = "326"

        status, _ = await it.post("/full/v1/create_order", body)

        assert status == 200


async def test_a_builder_must_be_authorized_and_is_part_of_the_signature() -> None:
    async with rig() as it:
        status, answer = await it.create(builder=OTHER_ADDRESS, builder_fee="0.001")
        assert (status, answer["code"]) == (400, 7504)
        # Wrongly signed, it is refused before the authorization is looked at.
        body = it.order(builder=OTHER_ADDRESS, builder_fee="0.001")
        body["order"]["builder_fee"] = "0.002"
        status, answer = await it.post("/full/v1/create_order", body)
        assert (status, answer["code"]) == (403, 2002)


# --- validation ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"px": "2990.005"}, 400, 2064),
        ({"size": "0.505"}, 400, 2065),
        ({"size": "0.005"}, 400, 2062),
        ({"size": "0.0"}, 400, 2062),
        ({"px": "200.0"}, 400, 7201),
        ({"size": "60000"}, 400, 2080),
        ({"reduce_only": True}, 400, 2400),
        ({"tif": "ALL_OR_NONE"}, 400, 2030),
        ({"tif": "RETAIL_PRICE_IMPROVEMENT"}, 400, 2030),
        ({"tif": "IMMEDIATE_OR_CANCEL", "post_only": True}, 400, 2032),
        ({"px": "0"}, 400, 2021),
        ({"symbol": "DOGE_USDT_Perp"}, 400, 2061),
        ({"sub_account": "123"}, 403, 2003),
    ],
)
async def test_a_refused_order_has_its_code(changes: Json, status: int, code: int) -> None:
    async with rig() as it:
        got, answer = await it.create(**changes)

        assert (got, answer["code"]) == (status, code)
        assert answer["message"]
        assert not it.engine.orders
        assert it.engine.accounts[it.account].orders_rejected == 1


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (edit("order_id", "0x1234"), 2010),
        (edit("metadata", {}), 2011),
        (edit("metadata", None), 2011),
        (edit("state", {"status": "OPEN"}), 2050),
        (edit("legs", []), 2040),
        (edit("legs", "none"), 1003),
        (edit("legs.0.size", 0.5), 1003),
        (edit("legs.0.size", "NaN"), 1003),
        (edit("legs.0.size", "-1"), 1003),
        (edit("is_market", "no"), 1003),
        (edit("signature", None), 1003),
        (edit("signature.nonce", -1), 1003),
        (edit("signature.expiration", "soon"), 1003),
        (edit("time_in_force", "FOREVER"), 1003),
        (edit("metadata.client_order_id", "minus one"), 1003),
        (edit("metadata.client_order_id", str(2**64)), 1003),
        (edit("sub_account_id", "me"), 3020),
    ],
)
async def test_a_malformed_order_is_named_and_nothing_happens(
    damage: Callable[[Json], None], code: int
) -> None:
    async with rig() as it:
        body = it.order()
        damage(body)

        status, answer = await it.post("/full/v1/create_order", body)

        assert (status, answer["code"]) == (400, code)
        assert not it.engine.orders


async def test_two_legs_are_one_too_many() -> None:
    async with rig() as it:
        body = it.order()
        body["order"]["legs"] *= 2

        _, answer = await it.post("/full/v1/create_order", body)

        assert answer["code"] == 2042


async def test_a_limit_price_on_a_market_order_is_2020() -> None:
    async with rig() as it:
        body = it.order(market=True)
        body["order"]["legs"][0]["limit_price"] = "3000.0"

        _, answer = await it.post("/full/v1/create_order", body)

        assert answer["code"] == 2020


async def test_padded_decimals_and_nulls_are_taken() -> None:
    async with rig() as it:
        body = it.order(market=True, size="0.500000000")
        body["order"]["legs"][0]["limit_price"] = "0E-9"
        for absent in ("order_id", "state", "builder", "builder_fee"):
            body["order"][absent] = None
        body["order"]["metadata"] |= {"trigger": None, "broker": None, "create_time": None}
        body["order"]["post_only"] = None

        status, answer = await it.post("/full/v1/create_order", body)

        assert (status, answer["result"]["state"]["book_size"]) == (200, ["0.5"])


async def test_an_active_client_id_cannot_be_used_twice() -> None:
    async with rig() as it:
        client_id = await it.placed(post_only=True)

        status, answer = await it.create(post_only=True, client_id=client_id)

        assert (status, answer["code"]) == (400, 2012)


async def test_the_same_signed_payload_is_taken_once() -> None:
    async with rig() as it:
        body = it.order(post_only=True)

        first = await it.post("/full/v1/create_order", body)
        second = await it.post("/full/v1/create_order", body)

        assert first == second
        assert first[0] == 200
        assert len(it.engine.orders) == 1


async def test_more_open_orders_than_allowed_are_2090() -> None:
    async with rig(max_open_orders=2) as it:
        for _ in range(2):
            await it.placed(post_only=True)

        status, answer = await it.create(post_only=True)

        assert (status, answer["code"]) == (429, 2090)


async def test_reduce_only_may_not_increase() -> None:
    async with rig() as it:
        await it.ended(await it.placed(market=True), "FILLED")

        _, answer = await it.create(reduce_only=True, side="buy")

        assert answer["code"] == 2401


async def test_less_than_the_minimum_notional_is_2066_and_2067_when_reducing() -> None:
    async with rig() as it:
        await it.ended(await it.placed(market=True), "FILLED")
        it.engine.set_market(it.clock.now(), SYMBOL, shift_bps=-4000)

        _, opening = await it.create(size="0.01", px="1790.0")
        _, closing = await it.create(reduce_only=True, side="sell", size="0.01", px="1790.0")

        assert (opening["code"], closing["code"]) == (2066, 2067)

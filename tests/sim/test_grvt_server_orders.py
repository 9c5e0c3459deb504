"""GRVT orders on the wire: acknowledgement, signatures, codes, cancels, the dead-man switch."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from exchanges.simulator.grvt_eip712 import Asset, order_digest, recover
from exchanges.simulator.grvt_options import GrvtOptions
from exchanges.simulator.grvt_payload import Fields, order_plan
from strategy.domain import Side
from tests.sim.grvt_rig import STRANGER, SYMBOL, Json, Rig, rig

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
    plan = order_plan(Fields({"order": VECTOR}))

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
async def test_REQ_6_every_signature_fault_has_its_code(
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


# --- cancels ---------------------------------------------------------------------------------


async def test_a_cancel_is_acknowledged_and_the_end_comes_later() -> None:
    async with rig() as it:
        client_id = await it.placed(post_only=True)
        await it.ended(client_id, "OPEN")

        status, answer = await it.ask("cancel_order", client_order_id=client_id)

        assert (status, answer) == (200, {"result": {"ack": True}})
        order = await it.ended(client_id, "CANCELLED")
        assert order["state"]["reject_reason"] == "CLIENT_CANCEL"
        assert await it.result("open_orders") == []


async def test_a_cancel_by_order_id_and_of_a_finished_order() -> None:
    async with rig() as it:
        client_id = await it.placed(post_only=True)
        order = await it.ended(client_id, "OPEN")

        assert await it.result("cancel_order", order_id=order["order_id"]) == {"ack": True}
        await it.ended(client_id, "CANCELLED")
        assert await it.result("cancel_order", order_id=order["order_id"]) == {"ack": True}


@pytest.mark.parametrize(
    ("names", "status", "code"),
    [
        ({"client_order_id": "77"}, 404, 1004),
        ({"order_id": "0x77"}, 404, 1004),
        ({}, 400, 3021),
        ({"order_id": "0x00"}, 400, 3021),
        ({"order_id": "0x77", "client_order_id": "77"}, 400, 2233),
        ({"client_order_id": 77}, 400, 1003),
        ({"client_order_id": "77", "time_to_live_ms": "5001"}, 400, 2301),
        ({"client_order_id": "77", "sub_account_id": "x"}, 400, 3020),
        ({"client_order_id": "77", "sub_account_id": "5"}, 403, 1001),
    ],
)
async def test_a_cancel_that_names_nothing_has_its_code(
    names: Json, status: int, code: int
) -> None:
    async with rig() as it:
        assert await it.fail("cancel_order", **names) == (status, code)


async def test_a_finished_order_s_cancel_can_be_1004() -> None:
    async with rig(GrvtOptions(finished_cancel_acks=False)) as it:
        client_id = await it.placed(market=True)
        await it.ended(client_id, "FILLED")

        assert await it.fail("cancel_order", client_order_id=client_id) == (404, 1004)


async def test_cancels_with_a_time_to_live_can_be_off() -> None:
    async with rig(GrvtOptions(cancel_ttl=False)) as it:
        got = await it.fail("cancel_order", client_order_id="77", time_to_live_ms="500")

        assert got == (400, 2300)


async def test_a_cancel_can_wait_for_its_order() -> None:
    async with rig() as it:
        ack = await it.result("cancel_order", client_order_id="4711", time_to_live_ms="900")
        client_id = await it.placed(client_id="4711", market=True)

        order = await it.ended(client_id, "CANCELLED")

        assert ack == {"ack": True}
        assert order["state"]["traded_size"] == ["0.0"]


async def test_a_waiting_cancel_tells_what_became_of_it() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.cancel", it.account)
        for _ in range(2):
            await it.result("cancel_order", client_order_id="4711", time_to_live_ms="150")

        first, second = await wire.feed("v1.cancel"), await wire.feed("v1.cancel")

        assert first["feed"]["cancel_status"] == "DROPPED_DUPLICATE"
        assert second["feed"]["cancel_status"] == "EXPIRED"
        assert second["feed"]["client_order_id"] == "4711"
        assert (first["sequence_number"], second["sequence_number"]) == ("1", "2")


async def test_cancel_all_ends_everything_its_filter_takes() -> None:
    async with rig() as it:
        ids = [await it.placed(post_only=True, px=px) for px in ("2990.0", "2980.0")]

        assert await it.result("cancel_all_orders", base=["BTC"]) == {"ack": True}
        await it.ended(ids[0], "OPEN")
        assert await it.result("cancel_all_orders", kind=["PERPETUAL"]) == {"ack": True}
        order = await it.ended(ids[1], "CANCELLED")

        assert order["state"]["reject_reason"] == "CLIENT_BULK_CANCEL"


async def test_the_dead_man_switch_cancels_when_it_is_not_fed() -> None:
    async with rig() as it:
        client_id = await it.placed(post_only=True)
        await it.ended(client_id, "OPEN")

        assert await it.result("cancel_on_disconnect", countdown_time="1900") == {"ack": True}
        order = await it.ended(client_id, "CANCELLED")

        assert order["state"]["reject_reason"] == "CLIENT_CANCEL_ON_DISCONNECT_TRIGGERED"


async def test_the_dead_man_switch_can_be_disarmed_and_has_a_limit() -> None:
    async with rig() as it:
        client_id = await it.placed(post_only=True)
        await it.result("cancel_on_disconnect", countdown_time="1001")
        await it.result("cancel_on_disconnect", countdown_time="0")
        await asyncio.sleep(1.1)

        await it.ended(client_id, "OPEN")
        assert await it.fail("cancel_on_disconnect", countdown_time="300001") == (400, 6000)


# --- what the account shows ------------------------------------------------------------------


async def test_positions_and_money_follow_a_fill() -> None:
    async with rig() as it:
        await it.ended(await it.placed(market=True, side="sell", size="2"), "FILLED")

        [position] = await it.result("positions")
        summary = await it.result("account_summary")

        assert (position["instrument"], position["size"]) == (SYMBOL, "-2.0")
        assert position["entry_price"] == "2999.99"
        assert position["margin_type"] == "CROSS"
        assert Decimal(position["notional"]) < 0
        fee = Decimal("2999.99") * 2 * Decimal("0.00045")
        assert Decimal(summary["spot_balances"][0]["balance"]) == Decimal(1_000_000) - fee
        equity, margin = Decimal(summary["total_equity"]), Decimal(summary["initial_margin"])
        loss = min(Decimal(summary["unrealized_pnl"]), Decimal(0))
        assert Decimal(summary["available_balance"]) == equity - margin - loss
        assert summary["positions"][0]["size"] == "-2.0"


async def test_flat_positions_are_not_listed() -> None:
    async with rig() as it:
        for side in ("buy", "sell"):
            await it.ended(await it.placed(market=True, side=side), "FILLED")

        assert await it.result("positions") == []


async def test_histories_are_paged_newest_first() -> None:
    async with rig() as it:
        ids = [await it.placed(market=True, size=f"0.0{n}") for n in (1, 2, 3)]
        for client_id in ids:
            await it.ended(client_id, "FILLED")

        for method, name in (("fill_history", "client_order_id"), ("order_history", "metadata")):
            _, first = await it.ask(method, limit=2)
            _, last = await it.ask(method, limit=2, cursor=first["next"])
            rows = [row[name] for row in first["result"] + last["result"]]
            seen = [row["client_order_id"] if isinstance(row, dict) else row for row in rows]
            assert seen == ids[::-1]
            assert last["next"] == ""


async def test_open_orders_show_what_rests_and_what_traded() -> None:
    async with rig() as it:
        client_id = await it.placed(post_only=True, px="3000.0", size="1")
        await it.ended(client_id, "OPEN")
        it.trade("3000.0", "0.4", Side.SELL)

        [order] = await it.result("open_orders")

        assert order["state"]["status"] == "OPEN"
        assert order["state"]["traded_size"] == ["0.4"]
        assert order["state"]["book_size"] == ["0.6"]


async def test_leverage_is_read_and_set_within_its_range() -> None:
    async with rig() as it:
        status, answer = await it.ask("set_initial_leverage", instrument=SYMBOL, leverage="20")
        assert (status, answer) == (200, {"success": True})
        _, listed = await it.ask("get_all_initial_leverage")
        [row] = listed["results"]
        assert (row["leverage"], row["max_leverage"]) == ("20.0", "50.0")
        for leverage, code in (("0.5", 2107), ("51", 2108), ("2.5", 2100)):
            got = await it.fail("set_initial_leverage", instrument=SYMBOL, leverage=leverage)
            assert got == (400, code)


async def answers(it: Rig, *methods: str) -> dict[str, tuple[int, Json]]:
    return {method: await it.ask(method) for method in methods}


async def test_account_overviews_answer() -> None:
    async with rig() as it:
        got = await answers(
            it,
            "aggregated_account_summary",
            "funding_account_summary",
            "position_history",
            "funding_payment_history",
            "get_sub_accounts",
        )

        assert {status for status, _ in got.values()} == {200}
        assert got["aggregated_account_summary"][1]["result"]["total_equity"] == "1000000.0"
        assert got["funding_account_summary"][1]["tier"]["futures_taker_fee"] == 450
        assert got["position_history"][1] == {"result": [], "next": ""}
        assert got["get_sub_accounts"][1] == {"sub_account_ids": [it.account]}

"""Bulk requests of the simulated GRVT: several creates, cancels, replacements, linked triggers."""

from typing import Any

import pytest

from exchanges.simulator.grvt_lite import to_lite
from exchanges.simulator.grvt_options import GrvtOptions
from tests.sim.grvt_rig import Json, Rig, rig, tpsl
from tests.sim.test_grvt_triggers import move

STOP, PROFIT = tpsl("STOP_LOSS", "2980.0"), tpsl("TAKE_PROFIT", "3020.0")


def orders(it: Rig, *changes: Json) -> list[Json]:
    """Return signed orders."""
    return [it.order(**change)["order"] for change in changes]


async def bulk(it: Rig, **body: Any) -> tuple[int, Json]:
    """Send a bulk request as documented."""
    request = {"sub_account_id": it.account, "orders": [], **body}
    return await it.post("/full/v2/bulk_orders", request)


def ids(answer: Json) -> list[str]:
    """Return the client ids of the orders of an answer."""
    return [row["metadata"]["client_order_id"] for row in answer["orders"]]


async def test_several_orders_are_created_at_once() -> None:
    async with rig() as it:
        sent = orders(it, {"px": "2990.0"}, {"px": "2991.0"}, {"px": "3010.0", "side": "sell"})
        status, answer = await bulk(it, orders=sent)

        assert (status, answer["cancel_acks"]) == (200, [])
        assert [row["order_id"] for row in answer["orders"]] == ["0x00"] * 3
        assert ids(answer) == [row["metadata"]["client_order_id"] for row in sent]
        for client_id in ids(answer):
            await it.ended(client_id, "OPEN")


async def test_the_older_form_and_the_socket_answer_too() -> None:
    async with rig() as it, it.socket() as wire:
        created = await it.result("create_bulk_orders", orders=orders(it, {"px": "2990.0"}))
        reply = await wire.call(
            "v2/bulk_orders",
            {"sub_account_id": it.account, "orders": orders(it, {"px": "2991.0"})},
        )

        assert [row["order_id"] for row in created] == ["0x00"]
        assert reply["result"]["orders"][0]["state"]["status"] == "PENDING"


async def test_several_orders_are_cancelled_at_once() -> None:
    async with rig() as it:
        placed = [await it.placed(post_only=True, px=px) for px in ("2990.0", "2991.0")]
        rows = [await it.ended(client_id, "OPEN") for client_id in placed]

        by_client = await bulk(it, client_order_i_ds=[placed[0], "77"])
        by_order = await bulk(it, order_ids=[rows[1]["order_id"], None])

        assert by_client[1]["cancel_acks"] == [{"ack": True}, {"ack": False}]
        assert by_order[1]["cancel_acks"] == [{"ack": True}]
        for client_id in placed:
            await it.ended(client_id, "CANCELLED")


async def test_orders_are_replaced_cancels_first() -> None:
    async with rig() as it:
        old = await it.placed(post_only=True, client_id="4711")
        await it.ended(old, "OPEN")
        _, answer = await bulk(it, orders=orders(it, {"px": "2991.0"}), client_order_i_ds=[old])

        await it.ended(old, "CANCELLED")
        await it.ended(ids(answer)[0], "OPEN")


async def test_a_bulk_cancel_can_wait_for_its_order() -> None:
    async with rig() as it:
        _, answer = await bulk(it, client_order_i_ds=["4711"], time_to_live_ms="900")
        ended = await it.ended(await it.placed(client_id="4711", market=True), "CANCELLED")

        assert answer["cancel_acks"] == [{"ack": True}]
        assert ended["state"]["traded_size"] == ["0.0"]


async def test_an_order_that_the_engine_refuses_is_told_in_its_place() -> None:
    async with rig() as it:
        sent = orders(it, {"px": "2990.0"}, {"size": "9000", "px": "2990.0"}, {"px": "2991.0"})
        _, answer = await bulk(it, orders=sent)

        states = [row["state"] for row in answer["orders"]]
        assert [state["status"] for state in states] == ["PENDING", "REJECTED", "PENDING"]
        assert states[1]["reject_reason"] == "BELOW_MARGIN"


@pytest.mark.parametrize(
    ("changes", "body", "code"),
    [
        ([], {}, 3021),
        ([], {"order_i_ds": ["0x1"], "client_order_i_ds": ["1"]}, 2233),
        ([], {"client_order_i_ds": [str(n) for n in range(101)]}, 2235),
        ([], {"client_order_i_ds": [7]}, 1003),
        ([], {"orders": {}}, 1003),
        ([{"client_id": "5"}, {"client_id": "5"}], {}, 2012),
        ([{"nonce": 1}, {"px": "2990.005"}], {}, None),
        ([{"key": "0x" + "33" * 32}], {}, 2000),
        ([{"trigger": STOP}, {"trigger": STOP}], {}, 2236),
        ([{"px": "2990.0"}, {"px": "2991.0"}, {"trigger": STOP, "side": "sell"}], {}, 2236),
        ([{"trigger": STOP, "size": "1"}, {"trigger": PROFIT}], {}, 2236),
        ([{"trigger": STOP, "side": "sell"}, {"trigger": PROFIT}], {}, 2236),
        ([{"px": "2990.0"}, {"trigger": STOP}], {}, 2236),
        ([{"trigger": STOP, "side": "sell"}], {"client_order_i_ds": ["1", "2"]}, 2413),
        ([{"trigger": STOP, "side": "sell"}], {"client_order_i_ds": ["1"]}, 2222),
    ],
)
async def test_a_bulk_request_that_cannot_be_has_its_code(
    changes: list[Json], body: Json, code: int | None
) -> None:
    async with rig() as it:
        request = {"orders": orders(it, *changes), **body} if changes else body
        status, answer = await bulk(it, **request)

        assert (answer.get("code"), status == 200) == (code, code is None)


async def test_bulk_orders_are_of_version_2_and_need_a_login() -> None:
    async with rig() as it:
        body = {"sub_account_id": it.account, "orders": orders(it, {"px": "2990.0"})}
        assert (await it.post("/full/v1/bulk_orders", body))[0] == 200
        assert (await it.post("/full/v2/positions", body))[1]["code"] == 1004
        assert (await it.post("/full/v3/bulk_orders", body))[1]["code"] == 1004
        assert (await it.post("/full/v2/bulk_orders", body, headers={}))[1]["code"] == 1000


async def test_a_bulk_request_spends_the_rate_of_its_orders() -> None:
    async with rig() as it:
        twenty = orders(it, *({"px": f"29{n}.0"} for n in range(80, 100)))
        first = await bulk(it, orders=twenty)
        second = await bulk(it, orders=orders(it, {"px": "2990.0"}))
        assert (first[0], second[0], second[1]["code"]) == (200, 429, 1006)
    async with rig(GrvtOptions(rate_tier=5)) as it:
        forty = orders(it, *({"px": f"29{n}.0"} for n in range(60, 100)))
        assert (await bulk(it, orders=forty))[0] == 200


async def test_a_lite_bulk_request_has_short_names() -> None:
    async with rig() as it:
        request = {"sub_account_id": it.account, "orders": orders(it, {"px": "2990.0"})}
        status, answer = await it.post("/lite/v2/bulk_orders", to_lite(request, "BulkRequest"))

        assert status == 200
        assert answer["o"][0]["oi"] == "0x00"
        assert answer["ca"] == []


# --- linked triggers -------------------------------------------------------------------------


async def test_one_cancels_the_other() -> None:
    async with rig() as it:
        sent = orders(
            it,
            {"market": True, "side": "sell", "trigger": STOP},
            {"market": True, "side": "sell", "trigger": PROFIT},
        )
        _, answer = await bulk(it, orders=sent)
        stop, profit = ids(answer)
        await it.ended(profit, "OPEN")
        move(it, 2975)

        await it.ended(stop, "FILLED")
        other = await it.ended(profit, "CANCELLED")
        assert other["state"]["reject_reason"] == "OCO_COUNTER_PART_TRIGGERED"


async def test_a_cancel_of_one_ends_the_whole_group() -> None:
    async with rig() as it:
        sent = orders(
            it,
            {"market": True, "side": "sell", "trigger": STOP},
            {"market": True, "side": "sell", "trigger": PROFIT},
        )
        stop, profit = ids((await bulk(it, orders=sent))[1])
        await it.result("cancel_order", client_order_id=stop)

        for client_id in (stop, profit):
            await it.ended(client_id, "CANCELLED")


async def linked(it: Rig) -> list[str]:
    """Create a parent with both triggers; returns the three client ids."""
    sent = orders(
        it,
        {"px": "2990.0", "post_only": True},
        {"market": True, "side": "sell", "trigger": STOP, "reduce_only": True},
        {"market": True, "side": "sell", "trigger": PROFIT, "reduce_only": True},
    )
    return ids((await bulk(it, orders=sent))[1])


async def test_triggers_wait_for_their_parent_to_fill() -> None:
    async with rig() as it:
        parent, stop, profit = await linked(it)
        await it.ended(parent, "OPEN")
        move(it, 2992)
        await it.ended(stop, "OPEN")
        move(it, 2975)  # fills the parent, and is below the stop

        await it.ended(parent, "FILLED")
        await it.ended(stop, "FILLED")
        await it.ended(profit, "CANCELLED")
        assert await it.result("positions") == []


async def test_triggers_end_with_a_parent_that_does_not_fill() -> None:
    async with rig() as it:
        parent, stop, profit = await linked(it)
        await it.ended(parent, "OPEN")
        await it.result("cancel_order", client_order_id=parent)

        for client_id in (parent, stop, profit):
            await it.ended(client_id, "CANCELLED")


async def test_a_trigger_is_replaced_by_another_of_its_group() -> None:
    async with rig() as it:
        parent, stop, profit = await linked(it)
        changed = orders(
            it,
            {"market": True, "side": "sell", "trigger": tpsl("STOP_LOSS", "2900.0")},
            {"market": True, "side": "sell", "trigger": PROFIT},
        )
        status, answer = await bulk(it, orders=changed, client_order_i_ds=[stop, profit])

        assert status == 200, answer
        for client_id in (stop, profit):
            await it.ended(client_id, "CANCELLED")
        await it.ended(ids(answer)[0], "OPEN")
        await it.ended(parent, "OPEN")

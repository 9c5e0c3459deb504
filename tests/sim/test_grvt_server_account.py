"""GRVT cancels, the dead-man switch, and what the account shows of an order's life."""

import asyncio
from decimal import Decimal

import pytest

from exchanges.simulator.grvt_options import GrvtOptions
from strategy.domain import Side
from tests.sim.grvt_rig import SYMBOL, Json, Rig, rig

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

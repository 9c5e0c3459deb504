"""Take profit and stop loss orders of the simulated GRVT: waiting, firing, ending."""

import asyncio

import pytest

from exchanges.simulator.grvt_options import GrvtOptions
from exchanges.simulator.model import MarketBook
from strategy.domain import Side
from tests.sim.grvt_rig import SYMBOL, Json, Rig, levels, rig, tpsl


def move(it: Rig, mid: int) -> None:
    """Move the whole book around another price."""
    it.market(MarketBook(levels(f"{mid}.00", "-0.01"), levels(f"{mid}.02", "0.01"), snapshot=True))


async def waiting(it: Rig, trigger: Json, **order: object) -> str:
    """Place a trigger order at market; returns its client id."""
    found: str = await it.placed(
        **{"market": True, "side": "sell", "size": "0.5", "trigger": trigger, **order}
    )
    return found


async def test_a_trigger_waits_open_with_its_metadata() -> None:
    async with rig() as it:
        status, ack = await it.create(
            market=True, side="sell", trigger=tpsl("STOP_LOSS", "2950.0", "LAST")
        )
        client_id = ack["result"]["metadata"]["client_order_id"]
        order = await it.ended(client_id, "OPEN")
        [listed] = await it.result("open_orders")

        assert (status, ack["result"]["state"]["status"]) == (200, "PENDING")
        assert order["metadata"]["trigger"] == {
            "trigger_type": "STOP_LOSS",
            "tpsl": {
                "trigger_by": "LAST",
                "trigger_price": "2950.0",
                "close_position": False,
                "is_split_position": False,
            },
        }
        assert listed["order_id"] == order["order_id"] != "0x00"
        assert it.engine.open_orders(it.account) == []


async def test_a_waiting_trigger_can_be_shown_as_pending() -> None:
    async with rig(GrvtOptions(pending_triggers=True)) as it:
        await it.ended(await waiting(it, tpsl("STOP_LOSS", "2950.0")), "PENDING")
        assert len(await it.result("open_orders")) == 1


@pytest.mark.parametrize(
    ("kind", "side", "px", "mid"),
    [
        ("STOP_LOSS", "sell", "2980.0", 2975),
        ("STOP_LOSS", "buy", "3020.0", 3025),
        ("TAKE_PROFIT", "sell", "3020.0", 3025),
        ("TAKE_PROFIT", "buy", "2980.0", 2975),
    ],
)
@pytest.mark.parametrize("by", ["MARK", "MID", "INDEX"])
async def test_a_price_that_reaches_the_trigger_fires_it(
    kind: str, side: str, px: str, mid: int, by: str
) -> None:
    async with rig() as it:
        client_id = await waiting(it, tpsl(kind, px, by), side=side, life=86_400)
        before = await it.ended(client_id, "OPEN")
        if by == "INDEX":
            it.clock.ahead += 3600 * 10**9  # the index follows the mark within minutes
        for _ in range(2):
            move(it, mid)
            it.clock.ahead += 600 * 10**9 if by == "INDEX" else 0
        move(it, mid + (1 if mid > 3000 else -1))

        after = await it.ended(client_id, "FILLED", "CANCELLED")
        assert after["order_id"] == before["order_id"]
        assert after["metadata"]["trigger"]["trigger_type"] == kind
        assert (await it.result("fill_history"))[0]["order_id"] == before["order_id"]


async def test_the_last_price_fires_a_trigger_and_other_prices_do_not() -> None:
    async with rig() as it:
        client_id = await waiting(it, tpsl("STOP_LOSS", "2990.0", "LAST"))
        move(it, 2980)
        await asyncio.sleep(0.06)
        await it.ended(client_id, "OPEN")
        it.trade("2980.0", "0.1", Side.SELL)

        await it.ended(client_id, "FILLED")


async def test_a_trigger_that_is_already_reached_fires_at_once() -> None:
    async with rig() as it:
        await it.ended(await waiting(it, tpsl("TAKE_PROFIT", "2000.0")), "FILLED")


async def test_a_limit_trigger_rests_when_it_has_fired() -> None:
    async with rig() as it:
        client_id = await waiting(
            it, tpsl("STOP_LOSS", "2980.0"), market=False, px="2990.0", side="sell"
        )
        move(it, 2975)
        async with asyncio.timeout(3):
            while not it.engine.open_orders(it.account):  # noqa: ASYNC110 - it tells no event
                await asyncio.sleep(0.01)

        [order] = await it.result("open_orders")
        assert order["metadata"]["client_order_id"] == client_id
        assert order["legs"][0]["limit_price"] == "2990.0"


async def test_its_life_is_told_on_the_streams() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.state", it.account)
        await waiting(it, tpsl("STOP_LOSS", "2980.0"))
        first = await wire.feed("v1.state")
        move(it, 2975)
        told = [(await wire.feed("v1.state"))["feed"] for _ in range(2)]

        ids = {first["feed"]["order_id"], *(row["order_id"] for row in told)}
        assert first["feed"]["order_state"]["status"] == "OPEN"
        assert told[-1]["order_state"]["status"] == "FILLED"
        assert len(ids) == 1


@pytest.mark.parametrize("named", ["order_id", "client_order_id", "all"])
async def test_a_waiting_trigger_is_cancelled_at_once(named: str) -> None:
    async with rig() as it:
        client_id = await waiting(it, tpsl("STOP_LOSS", "2950.0"))
        order = await it.ended(client_id, "OPEN")
        if named == "all":
            await it.result("cancel_all_orders")
        else:
            value = client_id if named == "client_order_id" else order["order_id"]
            await it.result("cancel_order", **{named: value})

        ended = await it.ended(client_id, "CANCELLED")
        reason = "CLIENT_BULK_CANCEL" if named == "all" else "CLIENT_CANCEL"
        assert ended["state"]["reject_reason"] == reason
        assert await it.result("open_orders") == []
        assert (await it.result("order_history"))[0]["order_id"] == order["order_id"]


async def test_a_waiting_trigger_ends_with_its_signature() -> None:
    async with rig() as it:
        client_id = await waiting(it, tpsl("STOP_LOSS", "2950.0"), life=0.2)
        ended = await it.ended(client_id, "CANCELLED")
        assert ended["state"]["reject_reason"] == "EXPIRED"


async def test_the_dead_man_switch_ends_waiting_triggers_too() -> None:
    async with rig() as it:
        client_id = await waiting(it, tpsl("STOP_LOSS", "2950.0"))
        await it.result("cancel_on_disconnect", countdown_time="1001")
        ended = await it.ended(client_id, "CANCELLED")
        assert ended["state"]["reject_reason"] == "CLIENT_CANCEL_ON_DISCONNECT_TRIGGERED"


async def test_a_reduce_only_trigger_without_a_position_is_rejected_when_it_fires() -> None:
    async with rig() as it:
        client_id = await waiting(it, tpsl("STOP_LOSS", "2980.0"), reduce_only=True)
        await it.ended(client_id, "OPEN")
        move(it, 2975)
        ended = await it.ended(client_id, "REJECTED")
        assert ended["state"]["reject_reason"] == "FAIL_REDUCE_ONLY"


async def test_a_client_id_of_a_waiting_trigger_is_taken() -> None:
    async with rig() as it:
        await waiting(it, tpsl("STOP_LOSS", "2950.0"), client_id="4711")
        for more in ({}, {"trigger": tpsl("STOP_LOSS", "2940.0"), "market": True}):
            status, answer = await it.create(client_id="4711", **more)
            assert (status, answer["code"]) == (400, 2012)


@pytest.mark.parametrize(
    ("trigger", "order", "code"),
    [
        (tpsl("TRAILING", "2950.0"), {}, 2112),
        (tpsl("STOP_LOSS", "2950.0", "MOON"), {}, 2110),
        (tpsl("STOP_LOSS", "2950.0", "UNSPECIFIED"), {}, 2110),
        (tpsl("STOP_LOSS", "0"), {}, 2113),
        (tpsl("STOP_LOSS", "2950.0", close_position=True), {}, 2114),
        (tpsl("STOP_LOSS", "2950.0", close_position=True), {"reduce_only": True}, 2117),
        (tpsl("STOP_LOSS", "2950.0", is_split_position=True), {}, 2242),
        (tpsl("STOP_LOSS", "2950.0"), {"post_only": True, "market": False}, 2112),
        (tpsl("STOP_LOSS", "2950.0"), {"size": "0.001"}, 2062),
        (tpsl("STOP_LOSS", "2950.0"), {"size": "0.015"}, 2065),
        (tpsl("STOP_LOSS", "2950.0"), {"market": False, "px": "2950.005"}, 2064),
        (tpsl("STOP_LOSS", "100.0"), {"size": "0.01"}, 2066),
        (tpsl("STOP_LOSS", "100.0"), {"size": "0.01", "reduce_only": True}, 2067),
        ({"trigger_type": "STOP_LOSS"}, {}, 1003),
        ({"trigger_type": "STOP_LOSS", "tpsl": {"trigger_by": 3}}, {}, 1003),
    ],
)
async def test_a_trigger_that_cannot_be_has_its_code(trigger: Json, order: Json, code: int) -> None:
    async with rig() as it:
        status, answer = await it.create(
            **{"market": True, "side": "sell", "trigger": trigger, **order}
        )
        assert (status, answer["code"]) == (400, code)
        assert await it.result("open_orders") == []


async def test_a_trigger_of_a_closed_market_is_refused() -> None:
    async with rig() as it:
        it.engine.set_market(it.clock.now(), SYMBOL, halt=True)
        status, answer = await it.create(market=True, trigger=tpsl("STOP_LOSS", "2950.0"))
        assert (status, answer["code"]) == (400, 2060)

"""The injected faults of the Backpack face, one test per catalogue number."""

import asyncio

import aiohttp
import pytest

from tests.sim.test_backpack_server_rig import (
    SYMBOL,
    Rig,
    level,
    listening,
    running,
)

ORDERS = f"account.orderUpdate.{SYMBOL}"
DEPTH = f"depth.{SYMBOL}"
CROSS = {"code": "INVALID_ORDER", "message": "Order would immediately match and take"}


async def lost(rig: Rig) -> None:
    """Send an order whose connection is reset."""
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await rig.order()


async def test_F01_the_order_is_executed_and_the_answer_is_lost() -> None:
    async with running() as rig:
        rig.fault("F01")
        await lost(rig)
        found = await rig.account.get_open_orders()
        status, _ = await rig.order()
    assert [row["status"] for row in found] == ["New"]
    assert status == 200


async def test_F02_the_order_never_reaches_the_engine() -> None:
    async with running() as rig:
        rig.fault("F02")
        await lost(rig)
        received = rig.engine.accounts["backpack"].orders_received
    assert received == 0
    assert not rig.engine.orders


async def test_F03_the_order_arrives_late_after_its_connection_is_gone() -> None:
    async with running() as rig:
        rig.fault("F03", delay_ms=60)
        await lost(rig)
        early = await rig.account.get_open_orders()
        await asyncio.sleep(0.1)
        late = await rig.account.get_open_orders()
    assert early == []
    assert [row["status"] for row in late] == ["New"]


async def test_F03_a_late_order_is_refused_beyond_its_window() -> None:
    async with running() as rig:
        rig.fault("F03", delay_ms=60)
        await lost(rig)
        rig.clock.ahead = 6_000_000_000
        await asyncio.sleep(0.1)
        account = rig.engine.accounts["backpack"]
    assert not rig.engine.orders
    assert (account.orders_received, account.orders_rejected) == (1, 1)


async def test_F03_a_late_order_that_is_refused_harms_nobody() -> None:
    async with running() as rig:
        rig.fault("F03", delay_ms=30)
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await rig.order(quantity="0.00001")
        await asyncio.sleep(0.06)
        status, _ = await rig.order()
        account = rig.engine.accounts["backpack"]
    assert status == 200
    assert (account.orders_received, account.orders_rejected) == (2, 1)


async def test_F03_stopping_the_server_forgets_a_held_order() -> None:
    async with running() as rig:
        rig.fault("F03", delay_ms=30)
        await lost(rig)
        await rig.server.stop()
        await asyncio.sleep(0.06)
        assert not rig.engine.orders


async def test_F04_a_create_is_throttled_and_not_counted() -> None:
    async with running() as rig:
        rig.fault("F04")
        status, body = await rig.order()
        received = rig.engine.accounts["backpack"].orders_received
    assert (status, body["code"], received) == (429, "TOO_MANY_REQUESTS", 0)


async def test_F05_the_edge_answers_html() -> None:
    async with running() as rig:
        rig.fault("F05")
        status, body = await rig.order()
    assert status == 502
    assert body.startswith("<html>")
    assert not rig.engine.orders


async def test_F06_the_order_is_executed_and_the_answer_is_garbled() -> None:
    async with running() as rig:
        rig.fault("F06")
        answer = await rig.limit("Bid", "2990")
        found = await rig.account.get_open_orders()
    assert isinstance(answer, str)
    assert answer.startswith("{")
    assert len(found) == 1


async def test_F07_one_order_is_refused_for_its_signature() -> None:
    async with running() as rig:
        rig.fault("F07")
        status, body = await rig.order()
        again, _ = await rig.order()
    assert (status, body["message"], again) == (400, "Invalid signature", 200)


async def test_F11_post_only_orders_are_always_refused() -> None:
    async with running() as rig:
        rig.fault("F11")
        refused = [await rig.limit("Bid", "2990", post_only=True) for _ in range(2)]
        plain = await rig.limit("Bid", "2990")
        account = rig.engine.accounts["backpack"]
    assert refused == [CROSS, CROSS]
    assert plain["status"] == "New"
    assert (account.orders_received, account.orders_rejected) == (3, 2)


async def test_F12_an_order_is_refused_for_margin() -> None:
    async with running() as rig:
        rig.fault("F12")
        refused = await rig.limit("Bid", "2990")
    assert refused == {"code": "INSUFFICIENT_MARGIN", "message": "Insufficient margin"}


async def test_F16_an_order_is_accepted_then_cancelled_at_once() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        rig.fault("F16")
        order = await rig.limit("Bid", "2990")
        told = [await heard.data(ORDERS) for _ in range(2)]
        gone = await rig.account.get_open_order(SYMBOL, order_id=order["id"])
    assert order["status"] == "New"
    assert [frame["e"] for frame in told] == ["orderAccepted", "orderCancelled"]
    assert gone["code"] == "RESOURCE_NOT_FOUND"


async def test_F19_a_fill_message_is_sent_twice() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        rig.fault("F19")
        await rig.limit("Bid", "3000.01", "0.5")
        told = [await heard.data(ORDERS) for _ in range(3)]
        fills = await rig.account.get_fill_history()
    assert [frame["e"] for frame in told] == ["orderAccepted", "orderFill", "orderFill"]
    assert told[1]["t"] == told[2]["t"]
    assert len(fills) == 1


async def test_F22_a_fill_lands_during_a_cancel() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        order = await rig.limit("Bid", "2999.98", "0.5", post_only=True)
        rig.fault("F22")
        cancelled = await rig.account.cancel_order(SYMBOL, order_id=order["id"])
        told = [await heard.data(ORDERS) for _ in range(3)]
    assert (cancelled["status"], cancelled["executedQuantity"]) == ("Cancelled", "0.25")
    assert [frame["e"] for frame in told] == ["orderAccepted", "orderFill", "orderCancelled"]
    assert told[2]["z"] == "0.2500"


async def test_a_cancel_that_loses_the_race_to_a_full_fill_is_not_found() -> None:
    async with running() as rig:
        order = await rig.limit("Bid", "2999.98", "0.0001", post_only=True)
        rig.fault("F22")
        answer = await rig.account.cancel_order(SYMBOL, order_id=order["id"])
        fills = await rig.account.get_fill_history()
    assert answer["code"] == "RESOURCE_NOT_FOUND"
    assert len(fills) == 1


async def test_F24_the_fill_message_is_missing() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        rig.fault("F24")
        order = await rig.limit("Bid", "3000.01", "0.5")
        accepted = await heard.data(ORDERS)
        assert await heard.silent()
        fills = await rig.account.get_fill_history()
    assert (order["status"], accepted["e"]) == ("Filled", "orderAccepted")
    assert len(fills) == 1


async def test_F29_an_unknown_status_word_on_the_stream_or_in_the_answer() -> None:
    async with running() as rig:
        rig.fault("F29")
        answer = await rig.limit("Bid", "2990")
        async with listening(rig, ORDERS) as heard:
            rig.fault("F29")
            plain = await rig.limit("Bid", "2991")
            told = await heard.data(ORDERS)
    words = {"New", "PartiallyFilled", "Filled", "Cancelled", "Expired"}
    assert answer["status"] not in words
    assert plain["status"] == "New"
    assert told["X"] not in words


async def test_F49_open_sockets_go_silent_for_good_and_new_ones_do_not() -> None:
    async with running() as rig, listening(rig, DEPTH) as deaf:
        rig.fault("F49")
        rig.market([level("2999.97", "1")], [])
        await deaf.socket.ping()
        assert await deaf.silent()
        async with listening(rig, DEPTH) as fresh:
            rig.market([level("2999.97", "2")], [])
            assert (await fresh.data(DEPTH))["e"] == "depth"
        assert await deaf.silent()
        assert not deaf.socket.closed


@pytest.mark.parametrize("stream", [DEPTH, f"depth.200ms.{SYMBOL}"])
async def test_F50_one_depth_message_is_missing(stream: str) -> None:
    async with running() as rig, listening(rig, stream) as heard:
        rig.market([level("2999.97", "1")], [])
        first = await heard.data(stream)
        rig.fault("F50")
        rig.market([level("2999.97", "2")], [])
        await asyncio.sleep(0.25)
        rig.market([level("2999.97", "3")], [])
        second = await heard.data(stream)
    assert second["U"] == first["u"] + 2


async def test_F51_the_position_push_never_comes() -> None:
    async with running() as rig:
        await rig.limit("Bid", "3000.01", "0.5")
        rig.fault("F51")
        async with listening(rig, "account.positionUpdate") as heard:
            assert [frame for frame in heard.heard if "stream" in frame] == []


@pytest.mark.parametrize("name", ["F52", "F55"])
async def test_F55_the_venue_is_unreachable_while_the_fault_lasts(name: str) -> None:
    async with running() as rig, listening(rig, DEPTH) as heard:
        rig.fault(name)
        kind = (await heard.socket.receive(timeout=2)).type
        with pytest.raises(aiohttp.ClientError):
            await rig.public.get_depth(SYMBOL)
        with pytest.raises(aiohttp.ClientError):
            await rig.http.ws_connect(rig.url)
        rig.board.clear()
        depth = await rig.public.get_depth(SYMBOL)
    assert kind in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE)
    assert depth["bids"]


async def test_F59_a_cancel_is_throttled() -> None:
    async with running() as rig:
        order = await rig.limit("Bid", "2990")
        rig.fault("F59", count=2)
        one = await rig.account.cancel_order(SYMBOL, order_id=order["id"])
        every = await rig.account.cancel_all_orders(SYMBOL)
        then = await rig.account.cancel_order(SYMBOL, order_id=order["id"])
    assert one["code"] == every["code"] == "TOO_MANY_REQUESTS"
    assert then["status"] == "Cancelled"


async def test_F74_positions_answer_empty_or_an_error() -> None:
    async with running() as rig:
        await rig.limit("Bid", "3000.01", "0.5")
        rig.fault("F74")
        empty = await rig.account.get_open_positions()
        rig.fault("F74", mode="error")
        status, body = await rig.call("GET", "/api/v1/position", None, "positionQuery")
        truth = await rig.account.get_open_positions()
    assert empty == []
    assert (status, body["code"]) == (500, "SERVER_ERROR")
    assert truth[0]["netQuantity"] == "0.5"

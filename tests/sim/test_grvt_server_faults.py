"""Injected faults on the simulated GRVT's wire, by their catalogue numbers."""

import asyncio
import itertools

import aiohttp
import pytest

from strategy.domain import NANO
from tests.sim.grvt_rig import SYMBOL, Json, Rig, Wire, change, rig

BOOK = f"{SYMBOL}@50"


async def lost(it: Rig) -> str:
    """Send an order whose answer never comes; returns its client id."""
    body = it.order(post_only=True)
    with pytest.raises(aiohttp.ClientError):
        await it.post("/full/v1/create_order", body)
    found: str = body["order"]["metadata"]["client_order_id"]
    return found


async def test_F01_a_create_is_executed_and_its_answer_lost() -> None:
    async with rig() as it:
        it.fault("F01")

        client_id = await lost(it)

        await it.ended(client_id, "OPEN")
        await it.placed(post_only=True)
        assert it.faults.taken == {"grvt F01": 1}


async def test_F02_a_create_is_lost_before_the_engine() -> None:
    async with rig() as it:
        it.fault("F02")

        await lost(it)

        await asyncio.sleep(0.1)
        assert not it.engine.orders


async def test_F03_a_create_arrives_late() -> None:
    async with rig() as it:
        it.fault("F03", delay_ms=300)

        client_id = await lost(it)

        assert not it.engine.orders
        order = await it.ended(client_id, "OPEN")
        late = it.engine.orders[order["order_id"]].received_at
        assert late > it.clock.now() - NANO
        assert len(it.engine.orders) == 1


async def test_F03_a_create_that_arrives_after_its_expiration_never_rests() -> None:
    async with rig() as it:
        it.fault("F03", delay_ms=300)
        body = it.order(post_only=True, life=0.2)
        with pytest.raises(aiohttp.ClientError):
            await it.post("/full/v1/create_order", body)

        await asyncio.sleep(0.4)

        assert not it.engine.orders
        assert it.engine.accounts[it.account].orders_rejected == 1


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [("F04", 429, 1006), ("F07", 401, 1000), ("F12", 400, 2080)],
)
async def test_a_create_is_refused_without_reaching_the_engine(
    name: str, status: int, code: int
) -> None:
    async with rig() as it:
        it.fault(name)

        got, answer = await it.create(post_only=True)

        assert (got, answer["code"], answer["status"]) == (status, code, status)
        assert not it.engine.orders
        await it.placed(post_only=True)


async def test_F05_a_gateway_answers_with_html() -> None:
    async with rig() as it:
        it.fault("F05")
        url = it.url + "/full/v1/create_order"
        async with it.http.post(url, json=it.order(), headers=it.headers) as answer:
            text = await answer.text()

        assert (answer.status, answer.content_type) == (502, "text/html")
        assert text.startswith("<html>")
        assert not it.engine.orders


async def test_F06_an_executed_create_is_answered_with_garbage() -> None:
    async with rig() as it:
        it.fault("F06")
        body = it.order(post_only=True)
        url = it.url + "/full/v1/create_order"
        async with it.http.post(url, json=body, headers=it.headers) as answer:
            with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
                await answer.json()

        assert answer.status == 200
        await it.ended(body["order"]["metadata"]["client_order_id"], "OPEN")


@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_F11_every_post_only_order_ends_as_crossing(side: str) -> None:
    async with rig() as it:
        it.fault("F11")
        for _ in range(2):
            px = "2990.0" if side == "buy" else "3010.0"
            client_id = await it.placed(post_only=True, side=side, px=px)

            order = await it.ended(client_id, "REJECTED")

            assert order["state"]["reject_reason"] == "FAIL_POST_ONLY"
            assert order["legs"][0]["limit_price"] == px
        client_id = await it.placed(px="2990.0")
        await it.ended(client_id, "OPEN")


async def test_F16_an_accepted_order_is_cancelled_at_once() -> None:
    async with rig() as it:
        it.fault("F16")

        order = await it.ended(await it.placed(post_only=True), "CANCELLED")

        assert order["state"]["traded_size"] == ["0.0"]


async def trade_told(it: Rig, wire: Wire) -> list[Json]:
    await wire.subscribe("v1.order", it.account)
    await wire.subscribe("v1.fill", it.account)
    await it.ended(await it.placed(market=True), "FILLED")
    return await wire.gather(0.1)


async def test_F19_a_fill_is_told_twice() -> None:
    async with rig() as it, it.socket() as wire:
        it.fault("F19")

        fills = [each for each in await trade_told(it, wire) if each["stream"] == "v1.fill"]

        assert len(fills) == 2
        assert fills[0]["feed"] == fills[1]["feed"]


async def test_F22_a_fill_lands_while_a_cancel_is_on_its_way() -> None:
    async with rig() as it:
        client_id = await it.placed(post_only=True, px="3000.0", size="1")
        await it.ended(client_id, "OPEN")
        it.fault("F22")

        await it.result("cancel_order", client_order_id=client_id)

        order = await it.ended(client_id, "CANCELLED")
        assert order["state"]["traded_size"] == ["0.5"]


async def test_F24_the_fill_message_is_missing() -> None:
    async with rig() as it, it.socket() as wire:
        it.fault("F24")

        told = await trade_told(it, wire)

        assert [each["stream"] for each in told if each["stream"] == "v1.fill"] == []
        assert told[-1]["feed"]["state"]["status"] == "FILLED"
        assert len(await it.result("fill_history")) == 1


async def test_F29_an_order_message_has_a_word_that_nobody_knows() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.order", it.account)
        it.fault("F29")
        await it.placed(post_only=True)

        message = await wire.feed("v1.order")

        known = {"PENDING", "OPEN", "FILLED", "CANCELLED", "REJECTED"}
        assert message["feed"]["state"]["status"] not in known


async def test_F49_open_sockets_go_silent_and_new_ones_work() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.book.d", BOOK)
        await wire.feed("v1.book.d")
        it.fault("F49")
        it.market(change("2999.95", "1"))
        await wire.gather(0.12)

        it.market(change("2999.95", "2"))
        assert await wire.gather(0.15) == []
        assert not wire.socket.closed
        async with it.socket() as other:
            assert "result" in await other.subscribe("v1.book.d", BOOK)


async def test_F50_a_sequence_number_is_skipped() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.book.d", BOOK)
        await wire.feed("v1.book.d")
        it.fault("F50")
        for size in ("1", "2", "3"):
            it.market(change("2999.95", size))
            await asyncio.sleep(0.07)

        numbers = [
            int(each["sequence_number"]) for each in await wire.gather(0.2) if "feed" in each
        ]

        steps = [after - before for before, after in itertools.pairwise(numbers)]
        assert numbers[0] == 2
        assert all(step > 0 for step in steps)


async def test_F51_the_snapshot_never_comes() -> None:
    async with rig() as it, it.socket() as wire:
        it.fault("F51")

        reply = await wire.subscribe("v1.book.d", BOOK)
        it.market(change("2999.95", "1"))

        assert reply["result"]["num_snapshots"] == [1]
        told = await wire.gather(0.15)
        assert all(each["sequence_number"] != "0" for each in told)


@pytest.mark.parametrize("name", ["F52", "F54"])
async def test_a_partition_cuts_every_request_and_socket(name: str) -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.book.d", BOOK)
        it.fault(name)

        for method in ("positions", "book"):
            with pytest.raises(aiohttp.ClientError):
                await it.ask(method, instrument=SYMBOL, depth=10)
        with pytest.raises(aiohttp.ClientError):
            await it.login()
        with pytest.raises(aiohttp.ClientError):
            async with it.socket():
                pass
        async with asyncio.timeout(2):
            async for _ in wire.socket:
                pass
        assert wire.socket.closed
        it.faults.clear()
        assert await it.result("positions") == []


async def test_F59_a_cancel_is_throttled_once() -> None:
    async with rig() as it:
        client_id = await it.placed(post_only=True)
        await it.ended(client_id, "OPEN")
        it.fault("F59")

        assert await it.fail("cancel_order", client_order_id=client_id) == (429, 1006)
        await it.result("cancel_order", client_order_id=client_id)
        await it.ended(client_id, "CANCELLED")


async def test_F74_positions_are_answered_with_nothing() -> None:
    async with rig() as it:
        it.fault("F74")
        assert await it.ask("positions") == (200, {})
        it.fault("F74", mode="error")
        assert await it.fail("positions") == (500, 1002)
        assert await it.result("positions") == []


async def test_faults_apply_to_orders_over_the_socket_too() -> None:
    async with rig() as it, it.socket() as wire:
        it.fault("F12")
        reply = await wire.call("v1/create_order", it.order(post_only=True))
        assert reply["error"]["code"] == 2080

        it.fault("F01")
        await wire.socket.send_json(
            {
                "jsonrpc": "2.0",
                "method": "v1/create_order",
                "params": it.order(post_only=True),
                "id": 9,
            }
        )
        async with asyncio.timeout(2):
            async for _ in wire.socket:
                pass
        assert wire.socket.closed
        assert len(it.engine.orders) == 1

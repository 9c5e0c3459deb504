"""One Backpack socket: keep-alive, goodbye, slow consumers, compression."""

import asyncio
import json
import socket
from typing import Any

import aiohttp

from exchanges.simulator.backpack_options import BackpackOptions
from strategy.domain import Qty, Side
from tests.sim.test_backpack_server_rig import (
    SYMBOL,
    Listener,
    Rig,
    level,
    listening,
    running,
    subscribed,
)

DEPTH = f"depth.{SYMBOL}"
ORDERS = f"account.orderUpdate.{SYMBOL}"


async def test_the_server_pings_and_keeps_a_client_that_answers() -> None:
    options = BackpackOptions(ping_seconds=0.05, pong_seconds=0.12)
    async with running(options) as rig, listening(rig, DEPTH) as heard:
        assert await heard.silent(0.4)
        rig.market([level("2999.97", "1")], [])
        assert (await heard.data(DEPTH))["e"] == "depth"


async def test_a_client_that_never_answers_pings_is_closed() -> None:
    options = BackpackOptions(ping_seconds=0.05, pong_seconds=0.12)
    async with running(options) as rig, rig.http.ws_connect(rig.url, autoping=False) as client:
        kinds = [(await client.receive(timeout=2)).type]
        while kinds[-1] is aiohttp.WSMsgType.PING:
            kinds.append((await client.receive(timeout=2)).type)
    assert kinds[0] is aiohttp.WSMsgType.PING
    assert kinds[-1] in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


async def test_a_client_ping_is_answered() -> None:
    async with running() as rig, rig.http.ws_connect(rig.url, autoping=False) as client:
        await client.ping(b"hello")
        message = await client.receive(timeout=2)
    assert (message.type, message.data) == (aiohttp.WSMsgType.PONG, b"hello")


async def test_stopping_the_server_says_goodbye() -> None:
    async with running() as rig, listening(rig, DEPTH) as heard:
        await rig.server.stop()
        message = await heard.socket.receive(timeout=2)
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)


async def test_a_consumer_that_cannot_keep_up_is_dropped_and_the_rest_go_on() -> None:
    async with running(BackpackOptions(queue_limit=50)) as rig:
        async with listening(rig, DEPTH) as slow, listening(rig, ORDERS) as other:
            for number in range(60):
                rig.market([level("2999.97", str(number + 1))], [])
            heard = 0
            while (await slow.socket.receive(timeout=2)).type is aiohttp.WSMsgType.TEXT:
                heard += 1
            await rig.limit("Bid", "2990")
            told = await other.data(ORDERS)
        depth = await rig.public.get_depth(SYMBOL)
    assert heard < 60
    assert told["e"] == "orderAccepted"
    assert depth["bids"]


async def test_a_client_that_never_reads_is_dropped() -> None:
    async with running(BackpackOptions(queue_limit=20)) as rig, listening(rig, DEPTH) as deaf:
        connection = deaf.socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.pause_reading()
        sockets = rig.server._streams._sockets
        (served,) = sockets
        assert served._transport is not None
        # The kernel would hold megabytes for a client that does not read.
        for end, option in (
            (connection.transport, socket.SO_RCVBUF),
            (served._transport, socket.SO_SNDBUF),
        ):
            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, option, 4096)
        wide = [level(f"2{number}", "1") for number in range(100, 200)]
        for number in range(2000):
            rig.market([(px, Qty(qty * (1 + number % 2))) for px, qty in wide], [])
            await asyncio.sleep(0)
            if not sockets:
                break
        assert not sockets
        connection.transport.resume_reading()
        assert (await rig.public.get_depth(SYMBOL))["bids"]


async def test_an_oversize_frame_closes_only_its_own_connection() -> None:
    async with (
        running(BackpackOptions(max_frame=1000)) as rig,
        listening(rig, DEPTH) as calm,
        listening(rig) as loud,
    ):
        await loud.socket.send_str("x" * 5000)
        message = await loud.socket.receive(timeout=2)
        rig.market([level("2999.97", "1")], [])
        assert (await calm.data(DEPTH))["e"] == "depth"
    assert message.type is aiohttp.WSMsgType.CLOSE
    assert message.data == 1009


async def test_compression_is_used_only_when_the_client_offers_it() -> None:
    async with running() as rig:
        async with rig.http.ws_connect(rig.url) as plain:
            assert plain.compress == 0
        async with rig.http.ws_connect(rig.url, compress=15) as packed:
            assert packed.compress
            heard = Listener(packed)
            await packed.send_json({"method": "SUBSCRIBE", "params": [DEPTH]})
            await subscribed(heard)
            rig.market([level("2999.97", "1")], [])
            assert (await heard.data(DEPTH))["e"] == "depth"


async def _frames(rig: Rig, heard: Listener) -> list[Any]:
    rig.market([level("2999.97", "1")], [])
    rig.trade("2999.99", "0.25", Side.SELL)
    return [await heard.frame() for _ in range(2)]


async def test_many_sockets_hear_the_same() -> None:
    trade = f"trade.{SYMBOL}"
    async with running() as rig, listening(rig, DEPTH, trade) as one:
        async with listening(rig, DEPTH, trade) as two:
            first = await _frames(rig, one)
            second = [await two.frame() for _ in range(2)]
        rig.market([level("2999.97", "2")], [])
        again = await one.data(DEPTH)
    assert json.dumps(first) == json.dumps(second)
    assert again["b"] == [["2999.97", "2.0000"]]

"""Backpack's door: signatures, clocks, limits, malformed requests and garbage."""

import asyncio
import json
from dataclasses import replace

import aiohttp
import pytest

from exchanges.simulator.backpack_options import BackpackOptions
from strategy.domain import NANO, Ns
from tests.sim.test_backpack_server_rig import ASKS, BIDS, QUICK, SYMBOL, running


async def test_a_wrong_key_signature_or_clock_is_refused_and_counted() -> None:
    async with running() as rig:
        path, instruction = "/api/v1/capital", "balanceQuery"
        seen = [
            await rig.call("GET", path, None, instruction, **{"X-API-Key": "someone"}),
            await rig.call("GET", path, None, "wrongInstruction"),
            await rig.call("GET", path, None, instruction, **{"X-Signature": "%%"}),
        ]
        rig.clock.ahead = 6 * NANO
        late = await rig.call("GET", path, None, instruction)
        rig.clock.ahead = -6 * NANO
        early = await rig.call("GET", path, None, instruction)
        rig.clock.ahead = 0
        wide = await rig.call("GET", path, None, instruction, **{"X-Window": "60001"})
        missing = await rig.call("GET", path)
        failures = rig.engine.accounts["backpack"].signature_failures
    messages = [body["message"] for _, body in seen]
    assert messages == ["Invalid signature", "Invalid signature", "Invalid X-Signature header"]
    assert {status for status, _ in [*seen, late, early, wide, missing]} == {400}
    assert late[1]["message"] == early[1]["message"] == "Request has expired"
    assert "X-Window" in wide[1]["message"]
    assert missing[1]["message"] == "Missing X-API-Key header"
    assert failures == 3


async def test_history_without_credentials_is_unauthorized() -> None:
    async with running() as rig:
        bare = await rig.call("GET", "/wapi/v1/history/fills")
        unknown = await rig.call(
            "GET", "/wapi/v1/history/fills", None, "fillHistoryQueryAll", **{"X-API-Key": "x"}
        )
    assert bare == unknown == (401, {"code": "UNAUTHORIZED", "message": "Unauthorized"})


async def test_a_badly_signed_order_never_reaches_the_engine() -> None:
    async with running() as rig:
        body = {"symbol": SYMBOL, "side": "Bid"}
        status, _ = await rig.call("POST", "/api/v1/order", body, "orderCancel")
        account = rig.engine.accounts["backpack"]
    assert status == 400
    assert (account.orders_received, account.orders_rejected) == (1, 1)
    assert account.signature_failures == 1
    assert not rig.engine.orders


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\x00", b"[" * 9000, b'{"a":{"b":1}}', b'"\\ud800"'],
)
async def test_a_malformed_body_is_a_parse_error(body: bytes) -> None:
    async with running() as rig:
        for method, path in (("POST", "order"), ("DELETE", "order"), ("POST", "orders")):
            status, answer = await rig.call(method, f"/api/v1/{path}", body)
            assert status == 400
            assert answer["code"] == "INVALID_CLIENT_REQUEST"
            assert answer["message"].startswith("parse request payload error: ")


async def test_an_oversize_body_is_refused_and_service_goes_on() -> None:
    async with running(BackpackOptions(max_body=1000)) as rig:
        status, body = await rig.call("POST", "/api/v1/order", b'"' + b"x" * 2000 + b'"')
        order = await rig.limit("Bid", "2990")
    assert (status, body["code"]) == (413, "INVALID_CLIENT_REQUEST")
    assert order["status"] == "New"


async def test_the_account_has_so_many_requests_a_minute() -> None:
    async with running(BackpackOptions(requests_per_minute=3)) as rig:
        for _ in range(3):
            await rig.account.get_balances()
        refused = await rig.account.get_balances()
        status, _ = await rig.call("GET", "/api/v1/capital", None, "balanceQuery")
        await rig.public.get_depth(SYMBOL)
        rig.clock.ahead += 61 * NANO
        headers = rig.venue_time({}, "balanceQuery")
        again, _ = await rig.call("GET", "/api/v1/capital", None, "balanceQuery", **headers)
    assert refused["code"] == "TOO_MANY_REQUESTS"
    assert (status, again) == (429, 200)


async def test_an_engine_that_does_not_answer_is_a_timeout_of_unknown_outcome() -> None:
    slow = replace(QUICK, latency=Ns(NANO))
    async with running(BackpackOptions(engine_seconds=0.05), slow) as rig:
        status, body = await rig.order()
        assert rig.engine.orders
    assert (status, body["code"]) == (503, "TIMEOUT")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"POST /api/v1/order HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
        b"POST /api/v1/order HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        (
            b"POST /api/v1/order HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n"
            b"Content-Length: 3\r\n\r\nabc"
        ),
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"\x00" * 100_000,
    ],
)
async def test_garbage_on_the_port_does_not_disturb_the_others(garbage: bytes) -> None:
    async with running() as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.server.port)
        writer.write(garbage)
        await asyncio.sleep(0.02)
        order = await rig.limit("Bid", "2990")
        writer.transport.abort()
        answer = await reader.read(100) if not reader.exception() else b""
        depth = await rig.public.get_depth(SYMBOL)
    assert order["status"] == "New"
    assert b" 500 " not in answer
    assert len(depth["asks"]) == len(ASKS)


async def test_an_order_is_shown_in_the_book_it_rests_in() -> None:
    async with running() as rig:
        await rig.limit("Bid", "2999.98", "1")
        depth = await rig.public.get_depth(SYMBOL)
        async with rig.http.get(f"{rig.url}/api/v1/depth?symbol={SYMBOL}") as answer:
            raw = await answer.text()
            assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert depth["bids"][-2] == ["2999.98", "5"]
    assert len(depth["bids"]) == len(BIDS)
    assert json.loads(raw)["asks"]


async def test_connections_can_be_held_open_without_a_request() -> None:
    async with running() as rig:
        idle = [await asyncio.open_connection("127.0.0.1", rig.server.port) for _ in range(20)]
        async with aiohttp.ClientSession() as other, other.get(f"{rig.url}/api/v1/ping") as answer:
            text = await answer.text()
        for _, writer in idle:
            writer.close()
    assert text == "pong"

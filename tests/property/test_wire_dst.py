"""The whole wire path in virtual time: real adapters, real servers, a network that fails by seed.

``python -m tests.dst.wire --seeds 1 --from <seed>`` replays the episode of any seed that fails here
with its trace.
"""

import asyncio
import os
import random  # noqa: TID251 - a seeded instance cuts the writes
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from exchanges.backpack.venue import BackpackVenue
from exchanges.grvt.venue import GrvtVenue
from exchanges.port import InDoubt, Outcome, Payload, Refused
from exchanges.transport.rest import NoAnswer, NotSent, RestClient
from strategy.domain import Venue
from tests.dst.wire import Tally, digest, told_of
from tests.dst.wire_faults import KINDS, Fault
from tests.dst.wire_loop import Address, WireLoop
from tests.dst.wire_seams import in_memory, simulate_on
from tests.dst.wire_world import Script, episode, run, script_of

pytestmark = pytest.mark.timeout(300)  # seconds of CPU, but a busy machine stretches them
ROOT = Path(__file__).parents[2]
SEEDS = (6, 8, 9, 13, 18)
"""Session expiry, dropped fills, half-open sockets, a reconnect storm, bad gateways among them."""
DOUBLES = 5
"""A seed at which a daemon that takes silence for a refusal hedges twice."""
PORT = 20_001
BY_NAME = {kind.name: kind for kind in KINDS}


@pytest.mark.parametrize("seed", SEEDS)
def test_on_the_wire_nothing_is_doubled_naked_or_left_behind(seed: int) -> None:
    report = episode(seed)
    assert not report.broken, told_of(report, whole=False)
    assert report.figures.fills > 5
    assert report.figures.over == 0
    assert report.counts.connections > 6


def only(seed: int, *faults: Fault) -> Script:
    return replace(script_of(seed), faults=faults, storm=10.0)


def test_a_calm_episode_needs_no_second_connection_and_a_black_hole_does() -> None:
    calm = run(only(3))
    hole = run(only(3, Fault(BY_NAME["black hole"], Venue.GRVT, 2.0, 8.0)))
    assert calm.broken == hole.broken == []
    assert calm.counts.resets == calm.counts.refused == 0
    assert hole.counts.connections > calm.counts.connections
    assert hole.lines.events("VENUE", "in_doubt") or hole.lines.events("VENUE", "read_failed")


def test_a_seed_repeats_exactly_also_after_another() -> None:
    assert digest(episode(16)) == digest(episode(16))


def test_a_seed_repeats_in_another_process_with_other_hashes() -> None:
    code = "from tests.dst.wire import digest, episode\nprint(digest(episode(16)))"
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "7"}, check=True, capture_output=True,
        text=True,
    ).stdout  # fmt: skip
    assert said.strip() == digest(episode(16))


def test_the_oracle_catches_a_daemon_that_takes_silence_for_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for venue in (GrvtVenue, BackpackVenue):
        monkeypatch.setattr(venue, "submit", _hasty(venue.submit))
    report = episode(DOUBLES)
    assert any("S1" in what for what in report.broken), report.broken


def _hasty(
    usual: Callable[..., Awaitable[Outcome]],
) -> Callable[..., Awaitable[Outcome]]:
    async def submit(port: object, payload: Payload) -> Outcome:
        outcome = await usual(port, payload)
        return Refused("timeout", outcome.why) if isinstance(outcome, InDoubt) else outcome

    return submit


def test_figures_add_up_and_a_failed_seed_is_told_with_its_replay() -> None:
    report = run(only(2))
    broken = replace(report, broken=["S1: something"])
    tally = Tally()
    for one in (report, broken):
        tally.add(one)
    assert tally.failed == [2]
    assert "2 seeds on the wire, 1 failed" in tally.text(1.0)
    assert f"{2 * report.figures.orders} orders" in tally.text(1.0)
    text = told_of(broken, whole=False)
    assert "seed 2 FAILED" in text
    assert "broke: S1: something" in text
    assert "--from 2" in text


def test_every_seed_has_faults_and_every_kind_a_seed() -> None:
    scripts = [script_of(seed) for seed in range(1, 101)]
    assert all(2 <= len(script.faults) <= 6 for script in scripts)
    assert {fault.kind.name for script in scripts for fault in script.faults} == set(BY_NAME)
    assert all(fault.venue in fault.kind.venues for s in scripts for fault in s.faults)


# --- the network itself ----------------------------------------------------------------------


class Shop:
    """A server that counts what reached it, and a client of the daemon's own."""

    def __init__(self, loop: WireLoop) -> None:
        self.loop = loop
        self.bought = 0
        self.frames: list[str] = []
        self.rest = RestClient()

    async def buy(self, request: web.Request) -> web.Response:
        self.bought += 1
        return web.json_response({"echo": (await request.read()).decode()})

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=2)
        await socket.prepare(request)
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            self.frames.append(message.data)
            await socket.send_str(message.data.upper())
        return socket

    async def open(self) -> web.AppRunner:
        app = web.Application()
        app.add_routes([web.post("/buy", self.buy), web.get("/ws", self.socket)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", PORT).start()
        await self.rest.open()
        return runner

    async def ask(self, seconds: float = 3.0) -> bytes:
        reply = await self.rest.request(
            "POST", f"http://127.0.0.1:{PORT}/buy", body=b"x" * 500, timeout=seconds
        )
        return reply.body


def visit(story: Callable[[Shop], Awaitable[None]], seed: int = 1) -> WireLoop:
    loop = make(seed)

    async def main(loop: WireLoop) -> None:
        shop = Shop(loop)
        runner = await shop.open()
        try:
            await story(shop)
        finally:
            await shop.rest.close()
            await runner.cleanup()
            await asyncio.sleep(5)

    with in_memory(loop, seed):
        simulate_on(loop, main)
    assert loop.open == {}
    return loop


def make(seed: int) -> WireLoop:
    made: Callable[[int], WireLoop] = WireLoop
    return made(seed)


def test_bytes_arrive_whole_whatever_the_borders() -> None:
    async def story(shop: Shop) -> None:
        for _ in range(20):
            assert await shop.ask() == b'{"echo": "' + b"x" * 500 + b'"}'

    loop = visit(story)
    assert loop.counts.connections == 1
    assert loop.counts.pieces > 60, "writes must arrive in pieces"


def test_a_lost_answer_is_no_answer_although_the_server_acted() -> None:
    async def story(shop: Shop) -> None:
        await shop.ask()
        shop.loop.address(PORT).weather.answers_lost = 1
        with pytest.raises(NoAnswer):
            await shop.ask()
        assert shop.bought == 2
        await shop.ask()

    assert visit(story).counts.lost == 1


def test_a_refused_connection_was_never_sent() -> None:
    async def story(shop: Shop) -> None:
        shop.loop.address(PORT).weather.refuse = True
        with pytest.raises(NotSent):
            await shop.ask()
        assert shop.bought == 0

    assert visit(story).counts.refused == 1


def test_what_left_into_a_black_hole_arrives_when_it_is_over() -> None:
    async def story(shop: Shop) -> None:
        await shop.ask()
        heal = shop.loop.hole(PORT)
        with pytest.raises(NoAnswer):
            await shop.ask(1.0)
        assert shop.bought == 1
        with pytest.raises(NotSent):
            await shop.ask(5.0)  # a new connection is not even made
        heal()
        await asyncio.sleep(1)
        assert shop.bought == 2, "the first request was only late"

    visit(story)


def test_a_half_open_socket_ends_by_its_heartbeat_only() -> None:
    async def story(shop: Shop) -> None:
        async with aiohttp.ClientSession() as session:
            socket = await session.ws_connect(f"http://127.0.0.1:{PORT}/ws", heartbeat=4)
            await socket.send_str("up")
            assert (await socket.receive()).data == "UP"
            begun = shop.loop.time()
            assert shop.loop.silence(PORT) == 2
            await socket.send_str("lost")
            await socket.receive()
            assert 4.0 < shop.loop.time() - begun < 7.0
            assert shop.frames == ["up"]
            await socket.close()

    visit(story)


def test_a_reset_reaches_both_ends() -> None:
    async def story(shop: Shop) -> None:
        async with aiohttp.ClientSession() as session:
            socket = await session.ws_connect(f"http://127.0.0.1:{PORT}/ws")
            assert shop.loop.reset(PORT) == 1
            assert (await socket.receive()).type in (
                aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE,
            )  # fmt: skip

    visit(story)


def test_a_write_is_cut_into_at_most_three_pieces_that_add_up() -> None:
    address = Address(PORT, random.Random(3))  # noqa: S311 - a network, not a secret
    for size in (1, 2, 3, 1000):
        for _ in range(50):
            pieces = address.split(bytes(size))
            assert 1 <= len(pieces) <= 3
            assert b"".join(pieces) == bytes(size)
            assert all(pieces)

"""A socket is kept alive, and is known to be dead."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
from aiohttp import WSMsgType, web

from exchanges.errors import VenueForbidden, VenueMalformed
from exchanges.transport import ws
from exchanges.transport.ws import Backoff, Send, SocketStats, run_socket
from strategy.domain import Ns


class Clock:
    """Sleeps are recorded and short; monotonic time is what the test says."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.per_call = 0
        self.now = 0

    def wall(self) -> Ns:
        return Ns(0)

    def mono(self) -> Ns:
        self.now += self.per_call
        return Ns(self.now)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0.002)


class RecordingFeed:
    """Says hello, records frames, and gives up on the frame ``bad``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.silence = 0.0
        self.frames: list[str] = []
        self.losses: list[str] = []
        self.statuses: list[int] = []
        self.forbidden = False

    async def address(self) -> tuple[str, Mapping[str, str]]:
        if self.forbidden:
            raise VenueForbidden("no key")
        return self.url, {"X-Who": "me"}

    async def opened(self, send: Send) -> None:
        await send("hello")

    async def text(self, frame: str, send: Send) -> None:
        self.frames.append(frame)
        if frame == "bad":
            raise VenueMalformed("cannot read it")
        await send(f"got {frame}")

    def refused(self, status: int) -> None:
        self.statuses.append(status)

    def closed(self, why: str) -> None:
        self.losses.append(why)


class Server:
    """Answers the first message with ``replies``, then waits or hangs up."""

    def __init__(self) -> None:
        self.url = ""
        self.replies: list[str | bytes] = []
        self.hang_up = False
        self.status = 101
        self.heard: list[str] = []
        self.headers: list[str] = []

    async def handle(self, call: web.Request) -> web.StreamResponse:
        if self.status != 101:
            return web.Response(status=self.status)
        self.headers.append(call.headers["X-Who"])
        socket = web.WebSocketResponse()
        await socket.prepare(call)
        async for message in socket:
            assert message.type is WSMsgType.TEXT
            self.heard.append(message.data)
            if message.data != "hello":
                continue
            for reply in self.replies:
                if isinstance(reply, bytes):
                    await socket.send_bytes(reply)
                else:
                    await socket.send_str(reply)
            if self.hang_up:
                await socket.close(code=1012)
        return socket


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_get("/", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"ws://127.0.0.1:{runner.addresses[0][1]}/"
    yield made
    await runner.cleanup()


async def run_until(
    feed: RecordingFeed, clock: Clock, done: Callable[[], bool], stats: SocketStats | None = None
) -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(run_socket(feed, clock, lambda: 0.5, stats))
        while not done():  # noqa: ASYNC110 - the condition is the feed's own record
            await asyncio.sleep(0.002)
        task.cancel()


async def test_frames_reach_the_feed_and_its_answers_the_venue(server: Server) -> None:
    server.replies = ["one", b"two"]
    feed, stats = RecordingFeed(server.url), SocketStats()
    await run_until(feed, Clock(), lambda: "got two" in server.heard, stats)
    assert feed.frames == ["one", "two"]
    assert server.heard == ["hello", "got one", "got two"]
    assert server.headers == ["me"]
    assert (stats.connections, stats.malformed) == (1, 0)
    assert feed.losses == []


async def test_F52_closed_socket_is_reopened_with_growing_waits(server: Server) -> None:
    server.hang_up = True
    feed, clock = RecordingFeed(server.url), Clock()
    await run_until(feed, clock, lambda: len(clock.slept) >= 4)
    assert feed.losses[0] == "closed by the venue (1012)"
    assert clock.slept[:4] == [0.1875, 0.375, 0.75, 1.5]


async def test_healthy_minute_resets_the_backoff(server: Server) -> None:
    server.hang_up = True
    feed, clock = RecordingFeed(server.url), Clock()
    clock.per_call = ws.HEALTHY + 1
    await run_until(feed, clock, lambda: len(clock.slept) >= 3)
    assert clock.slept[:3] == [0.1875] * 3


async def test_F49_silence_ends_the_socket(server: Server) -> None:
    feed = RecordingFeed(server.url)
    feed.silence = 0.05
    await run_until(feed, Clock(), lambda: bool(feed.losses))
    assert feed.losses[0] == "silent or unreachable"


async def test_malformed_frame_is_counted_and_reconnects(server: Server) -> None:
    server.replies = ["bad", "never read"]
    feed, stats = RecordingFeed(server.url), SocketStats()
    await run_until(feed, Clock(), lambda: stats.malformed >= 2, stats)
    assert set(feed.frames) == {"bad"}
    assert feed.losses[0] == "malformed: cannot read it"


async def test_refused_handshake_names_its_status(server: Server) -> None:
    server.status = 401
    feed = RecordingFeed(server.url)
    await run_until(feed, Clock(), lambda: len(feed.losses) >= 2)
    assert feed.statuses[:2] == [401, 401]
    assert feed.losses[0] == "handshake refused: http 401"


async def test_unreachable_and_forbidden_addresses_back_off() -> None:
    feed = RecordingFeed("ws://127.0.0.1:1/")
    await run_until(feed, Clock(), lambda: bool(feed.losses))
    assert feed.losses[0].startswith("connection lost")
    feed = RecordingFeed("ws://127.0.0.1:1/")
    feed.forbidden = True
    await run_until(feed, Clock(), lambda: bool(feed.losses))
    assert feed.losses[0] == "VenueForbidden: no key"


async def test_handshake_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws, "CONNECT_TIMEOUT", 0.05)
    gone = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        await gone.wait()
        writer.close()

    listener = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    feed = RecordingFeed(f"ws://127.0.0.1:{port}/")
    await run_until(feed, Clock(), lambda: bool(feed.losses))
    assert feed.losses[0] == "silent or unreachable"
    gone.set()
    listener.close()
    await listener.wait_closed()


def test_backoff_is_jittered_and_capped() -> None:
    low, high = Backoff(lambda: 0.0), Backoff(lambda: 1.0)
    lows = [low.next() for _ in range(12)]
    highs = [high.next() for _ in range(12)]
    assert lows[0] == 0.125
    assert highs[0] == 0.25
    assert lows[-1] == 7.5
    assert highs[-1] == 15.0
    low.reset()
    assert low.next() == 0.125

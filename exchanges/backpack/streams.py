"""Backpack sockets: the public book and trades, our orders and positions (venues.md B5).

The venue acknowledges no subscription, numbers only the book, replays nothing after a reconnect and
sends nothing in a quiet market. Hence: the book is up when a REST snapshot joins the updates; the
private surface is up after its first message, or when no error came within a grace; silence is
checked against REST; anything unreadable ends the connection, because what it said is lost.
"""

import abc
import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import aiohttp

from exchanges.backpack import ws_codec
from exchanges.backpack.codec import DEPTH_LIMITS, Snapshot
from exchanges.backpack.depth import DepthBook, DepthGapError
from exchanges.errors import VenueError, VenueRefused, VenueUnreachable
from exchanges.port import Sink, WallClock
from exchanges.transport.ws import CONNECT_TIMEOUT, HEARTBEAT, MAX_FRAME, Backoff
from strategy.domain import NANO, StreamState, Surface, Venue

SETTLE_SECONDS = 0.5
"""Wait for the first message, or for a refusal, after subscribing."""
QUIET_SECONDS = 3.0
"""Silence of the book after which REST is asked whether anything was missed."""
LAG_SECONDS = 1.0
"""How far REST may run ahead of the socket (venues.md F)."""
RESYNC_SECONDS = 0.25
RESYNC_LIMIT = 8
"""Snapshots that may fail to join, and the wait between them, before the connection is given up."""


STEADY_NS = 10 * NANO
"""A connection that served this long is followed by an immediate reconnect."""
CLOSE_SECONDS = 1.0
"""Longest wait for the venue to agree to a close of ours."""


class SessionLostError(VenueUnreachable):
    """The connection ended, or can no longer be trusted."""


class Wire(Protocol):
    """One open socket."""

    async def send(self, text: str) -> None:
        """Send a text frame; raises VenueUnreachable when the socket is gone."""
        ...

    async def receive(self) -> str | bytes:
        """Return the next data frame; raises VenueUnreachable when the socket is gone."""
        ...


Connect = Callable[[], AbstractAsyncContextManager[Wire]]
"""Opens a socket; entering raises VenueUnreachable."""
ReadSnapshot = Callable[[int], Awaitable[Snapshot]]
Work = Coroutine[object, object, None]
Sign = Callable[[list[str]], str]
"""Returns a signed SUBSCRIBE frame."""


class _Socket:
    """A ``Wire`` on aiohttp, which answers the venue's pings by itself."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        try:
            await self._socket.send_str(text)
        except (aiohttp.ClientError, OSError) as bad:
            raise SessionLostError(f"cannot send: {type(bad).__name__}") from bad

    async def receive(self) -> str | bytes:
        message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT or message.type is aiohttp.WSMsgType.BINARY:
            data: str | bytes = message.data
            return data
        raise SessionLostError(f"closed ({self._socket.close_code})")


@asynccontextmanager
async def dial(url: str) -> AsyncIterator[Wire]:
    """Open a socket with protocol pings, which alone tell a quiet market from a dead peer.

    Raises:
        SessionLostError: the connection or the handshake failed.
    """
    limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
    async with aiohttp.ClientSession(
        timeout=limits, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT):
                socket = await session.ws_connect(
                    url,
                    heartbeat=HEARTBEAT,
                    max_msg_size=MAX_FRAME,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
                )
        except aiohttp.WSServerHandshakeError as bad:
            raise SessionLostError(f"handshake refused: http {bad.status}") from bad
        except (aiohttp.ClientError, OSError) as bad:
            raise SessionLostError(f"cannot connect: {type(bad).__name__}") from bad
        try:
            yield _Socket(socket)
        finally:
            await socket.close()


class Session(abc.ABC):
    """One connection's worth of a surface; tells the sink when the surface goes up or down."""

    surface: Surface

    def __init__(self, symbol: str, clock: WallClock, sink: Sink) -> None:
        self._symbol = symbol
        self._clock = clock
        self._sink = sink
        self._up = False

    @abc.abstractmethod
    async def run(self, wire: Wire) -> None:
        """Serve the connection until it is lost.

        Raises:
            VenueError: always, in the end; a group of them when it ends while both parts run.
        """

    def lost(self, why: str) -> bool:
        """Report the surface down; true when it had been up."""
        was_up = self._up
        self._up = False
        self._sink(StreamState(Venue.BACKPACK, self.surface, False, why))
        return was_up

    def _complete(self) -> None:
        if not self._up:
            self._up = True
            self._sink(StreamState(Venue.BACKPACK, self.surface, True))


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for ``event``; false when it does not come in time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _together(listen: Work, beside: Work) -> None:
    """Run both until one fails; the failure comes as an exception group.

    ``listen`` runs in the body, not as a child: Python 3.11 leaves a stale cancel request on the
    parent when a child fails while its group is waiting, and real cancels would drown in it.
    """
    async with asyncio.TaskGroup() as group:
        group.create_task(beside)
        await listen


class PublicSession(Session):
    """One connection of the public surface: a gapless book, and trades."""

    surface = Surface.PUBLIC

    def __init__(self, symbol: str, clock: WallClock, snapshot: ReadSnapshot, sink: Sink) -> None:
        super().__init__(symbol, clock, sink)
        self._read_snapshot = snapshot
        self._book = DepthBook()
        self._heard = asyncio.Event()

    async def run(self, wire: Wire) -> None:
        """Subscribe, then keep the book complete for as long as the connection lives."""
        params = [f"{name}.{self._symbol}" for name in (ws_codec.DEPTH, ws_codec.TRADE)]
        await wire.send(json.dumps({"method": "SUBSCRIBE", "params": params}))
        await _together(self._listen(wire), self._keep())

    async def _listen(self, wire: Wire) -> None:
        while True:
            frame = opened(await wire.receive(), self._symbol)
            if frame is None:
                continue
            if frame.stream == ws_codec.TRADE:
                self._sink(ws_codec.trade(frame.data))
            elif frame.stream == ws_codec.DEPTH:
                self._on_depth(ws_codec.depth_delta(frame.data))

    def _on_depth(self, delta: ws_codec.DepthDelta) -> None:
        self._heard.set()
        try:
            changed = self._book.delta(delta)
        except DepthGapError as gap:
            self.lost(f"gap: {gap}")
            return
        if changed:
            self._sink(self._book.book())

    async def _keep(self) -> None:
        """Keep the book complete: fetch it at the start and after gaps, check it when quiet."""
        while True:
            await self._resync()
            while self._book.synced:
                self._heard.clear()
                if not await _within(self._heard, QUIET_SECONDS):
                    await self._check()

    async def _resync(self) -> None:
        # The subscription is not acknowledged; a snapshot older than its first update is no use.
        await _within(self._heard, SETTLE_SECONDS)
        for _ in range(RESYNC_LIMIT):
            snapshot = await self._read_snapshot(DEPTH_LIMITS[-1])
            try:
                self._book.snapshot(snapshot)
            except DepthGapError as gap:
                self.lost(f"gap: {gap}")
                await self._clock.sleep(RESYNC_SECONDS)
                continue
            self._sink(self._book.book())
            self._complete()
            return
        raise SessionLostError(f"no snapshot joined the updates in {RESYNC_LIMIT} tries")

    async def _check(self) -> None:
        """Tell a quiet market from a dead socket: REST knows how many updates there were."""
        try:
            snapshot = await self._read_snapshot(DEPTH_LIMITS[0])
        except VenueError:
            return  # Nothing learned: the book simply gets no younger.
        if snapshot.last_update_id > self._book.last_update_id:
            await self._clock.sleep(LAG_SECONDS)
        behind = snapshot.last_update_id - self._book.last_update_id
        if self._book.synced and behind > 0:
            raise SessionLostError(f"the socket is silent and {behind} updates behind REST")
        if not behind:
            self._sink(self._book.confirm(snapshot.book.event_time))


class PrivateSession(Session):
    """One connection of the private surface: our orders, fills and position."""

    surface = Surface.PRIVATE

    def __init__(self, symbol: str, clock: WallClock, sign: Sign, sink: Sink) -> None:
        super().__init__(symbol, clock, sink)
        self._sign = sign

    async def run(self, wire: Wire) -> None:
        """Subscribe signed, then pass everything on for as long as the connection lives."""
        streams = [f"{name}.{self._symbol}" for name in (ws_codec.ORDERS, ws_codec.POSITIONS)]
        await wire.send(self._sign(streams))
        await _together(self._listen(wire), self._settle())

    async def _listen(self, wire: Wire) -> None:
        while True:
            frame = opened(await wire.receive(), self._symbol)
            if frame is None:
                continue
            if frame.stream == ws_codec.ORDERS:
                self._complete()
                view, fill = ws_codec.order_update(frame.data)
                self._sink(view)
                if fill is not None:
                    self._sink(fill)
            elif frame.stream == ws_codec.POSITIONS:
                self._complete()
                self._sink(ws_codec.position(frame.data))

    async def _settle(self) -> None:
        await self._clock.sleep(SETTLE_SECONDS)
        self._complete()


class Streams:
    """Both surfaces, each on its own connection, for ever."""

    def __init__(self, connect: Connect, clock: WallClock, jitter: Callable[[], float]) -> None:
        self._connect = connect
        self._clock = clock
        self._jitter = jitter

    async def run(self, *surfaces: Callable[[], Session]) -> None:
        """Serve every surface until cancelled; each call of one makes a fresh session."""
        async with asyncio.TaskGroup() as group:
            for surface in surfaces:
                group.create_task(self._forever(surface))

    async def _forever(self, surface: Callable[[], Session]) -> None:
        backoff = Backoff(self._jitter)
        while True:
            session = surface()
            began = self._clock.mono()
            was_up = session.lost(await self._serve(session))
            if was_up and self._clock.mono() - began > STEADY_NS:
                # The venue closes sockets to restart: come back at once (venues.md B5).
                backoff.reset()
            else:
                await self._clock.sleep(backoff.next())

    async def _serve(self, session: Session) -> str:
        why = "ended"
        try:
            async with self._connect() as wire:
                await session.run(wire)
        except* VenueError as lost:
            why = _reasons(lost)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # A cancel that met the loss inside the task group was reported as the loss alone.
            raise asyncio.CancelledError
        return why


def _reasons(group: BaseExceptionGroup[VenueError]) -> str:
    parts: list[str] = []
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            parts.append(_reasons(error))
        else:
            parts.append(f"{type(error).__name__}: {error}")
    return "; ".join(parts)


def opened(raw: str | bytes, symbol: str) -> ws_codec.Frame | None:
    """Open a frame; None when it is not for us.

    Raises:
        VenueError: VenueRefused for the venue's error frame, VenueMalformed for an unreadable one.
    """
    frame = ws_codec.frame(raw, symbol)
    if isinstance(frame, ws_codec.ErrorFrame):
        raise VenueRefused(f"backpack socket: {frame.code} {frame.message}", frame.code)
    return frame

"""Backpack sockets: the public book and trades, our orders and positions (venues.md B5).

The venue acknowledges no subscription, numbers only the book, replays nothing after a reconnect and
sends nothing in a quiet market. Hence: the book is up when a REST snapshot joins the updates; the
private surface is up after its first message, or when no error came within a grace; silence is
checked against REST; anything unreadable ends the connection, because what it said is lost.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from random import Random  # noqa: TID251 - the type of the injected generator
from typing import Protocol

from exchanges.backpack import ws_codec
from exchanges.backpack.codec import DEPTH_LIMITS, Snapshot
from exchanges.backpack.depth import DepthBook, DepthGapError
from exchanges.errors import VenueError, VenueRefused, VenueUnreachable
from exchanges.port import Sink, WallClock
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
BACKOFF_BASE = 0.25
BACKOFF_CAP = 30.0


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


class _Level:
    """Tells the sink about one surface's state when it changes, and again with a new reason."""

    def __init__(self, surface: Surface, sink: Sink) -> None:
        self._surface = surface
        self._sink = sink
        self.up = False

    def set(self, up: bool, why: str = "") -> None:
        if up and self.up:
            return
        self.up = up
        self._sink(StreamState(Venue.BACKPACK, self._surface, up, why))


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


class PublicSession:
    """One connection of the public surface: a gapless book, and trades."""

    def __init__(self, symbol: str, clock: WallClock, snapshot: ReadSnapshot, sink: Sink) -> None:
        self._symbol = symbol
        self._clock = clock
        self._read_snapshot = snapshot
        self._sink = sink
        self._state = _Level(Surface.PUBLIC, sink)
        self._book = DepthBook()
        self._heard = asyncio.Event()

    async def run(self, wire: Wire) -> None:
        """Serve the connection until it is lost.

        Raises:
            VenueError: always, in the end; a group of them when several things break at once.
        """
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
            self._state.set(False, f"gap: {gap}")
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
                self._state.set(False, f"gap: {gap}")
                await self._clock.sleep(RESYNC_SECONDS)
                continue
            self._sink(self._book.book())
            self._state.set(True)
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

    def lost(self, why: str) -> bool:
        """Report the surface down; true when it had been up."""
        was_up = self._state.up
        self._state.set(False, why)
        return was_up


class PrivateSession:
    """One connection of the private surface: our orders, fills and position."""

    def __init__(self, symbol: str, clock: WallClock, sign: Sign, sink: Sink) -> None:
        self._symbol = symbol
        self._clock = clock
        self._sign = sign
        self._sink = sink
        self._state = _Level(Surface.PRIVATE, sink)

    async def run(self, wire: Wire) -> None:
        """Serve the connection until it is lost.

        Raises:
            VenueError: always, in the end; a group of them when several things break at once.
        """
        streams = [f"{name}.{self._symbol}" for name in (ws_codec.ORDERS, ws_codec.POSITIONS)]
        await wire.send(self._sign(streams))
        await _together(self._listen(wire), self._settle())

    async def _listen(self, wire: Wire) -> None:
        while True:
            frame = opened(await wire.receive(), self._symbol)
            if frame is None:
                continue
            if frame.stream == ws_codec.ORDERS:
                self._state.set(True)
                view, fill = ws_codec.order_update(frame.data)
                self._sink(view)
                if fill is not None:
                    self._sink(fill)
            elif frame.stream == ws_codec.POSITIONS:
                self._state.set(True)
                self._sink(ws_codec.position(frame.data))

    async def _settle(self) -> None:
        await self._clock.sleep(SETTLE_SECONDS)
        self._state.set(True)

    def lost(self, why: str) -> bool:
        """Report the surface down; true when it had been up."""
        was_up = self._state.up
        self._state.set(False, why)
        return was_up


class Session(Protocol):
    """One connection's worth of a surface."""

    async def run(self, wire: Wire) -> None:
        """Serve until lost; raises VenueError."""
        ...

    def lost(self, why: str) -> bool:
        """Report the surface down; true when it had been up."""
        ...


class Streams:
    """Both surfaces, each on its own connection, for ever."""

    def __init__(self, connect: Connect, clock: WallClock, rng: Random) -> None:
        self._connect = connect
        self._clock = clock
        self._rng = rng

    async def run(self, *surfaces: Callable[[], Session]) -> None:
        """Serve every surface until cancelled; each call of one makes a fresh session."""
        async with asyncio.TaskGroup() as group:
            for surface in surfaces:
                group.create_task(self._forever(surface))

    async def _forever(self, surface: Callable[[], Session]) -> None:
        failures = 0
        while True:
            session = surface()
            began = self._clock.mono()
            why = await self._serve(session)
            lived = self._clock.mono() - began
            # A connection that came up and broke at once must not be retried in a tight loop.
            failures = 0 if session.lost(why) and lived > STEADY_NS else failures + 1
            await self._clock.sleep(self._pause(failures))

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

    def _pause(self, failures: int) -> float:
        """Return seconds to wait: none after a steady connection, else growing, jittered."""
        if not failures:
            return 0.0
        longest = min(BACKOFF_CAP, BACKOFF_BASE * float(1 << min(failures, 10)))
        return longest * self._rng.uniform(0.5, 1.0)


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

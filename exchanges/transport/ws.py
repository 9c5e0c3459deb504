"""One WebSocket kept alive: heartbeat, silence limit, jittered backoff, reconnect until cancelled.

The feed decides what frames mean; this file decides when a socket is dead. Imports nothing of ours
but ``exchanges.errors``, ``exchanges.port`` and ``strategy.domain``.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from exchanges.errors import VenueError, VenueMalformed
from exchanges.port import WallClock
from strategy.domain import NANO

HEARTBEAT = 15.0
"""Seconds between our pings; a missing pong ends the socket within half as much again."""
CONNECT_TIMEOUT = 5.0
"""Seconds to reach the venue; a handshake may take as long again."""
CLOSE_TIMEOUT = 1.0
"""Longest wait for the venue to agree to a close of ours."""
BACKOFF_FIRST = 0.25
BACKOFF_MAX = 15.0
HEALTHY = 60 * NANO
"""ns after which a connection resets the backoff."""
MAX_FRAME = 16 * 1024 * 1024

log = logging.getLogger("hedged.exchanges")

Send = Callable[[str], Awaitable[None]]


class Feed(Protocol):
    """What runs on a socket."""

    async def address(self) -> tuple[str, Mapping[str, str]]:
        """Return URL and headers for the next connection; raises VenueError to back off."""
        ...

    async def opened(self, send: Send) -> None:
        """The socket is up: subscribe."""
        ...

    async def text(self, frame: str, send: Send) -> None:
        """One text frame; raises VenueMalformed to drop the connection."""
        ...

    def refused(self, status: int) -> None:
        """The handshake was answered with this HTTP status instead of an upgrade."""
        ...

    def closed(self, why: str) -> None:
        """The socket is down; called once per connection or failed attempt."""
        ...

    @property
    def silence(self) -> float:
        """Seconds without any frame after which the socket counts as dead; 0 = pings decide."""
        ...


@dataclass(slots=True)
class Backoff:
    """Exponential, capped, with full jitter from an injected source in [0, 1)."""

    jitter: Callable[[], float]
    failures: int = 0

    def next(self) -> float:
        """Return how long to wait before the next attempt."""
        ceiling = min(BACKOFF_MAX, BACKOFF_FIRST * 2 ** min(self.failures, 10))
        self.failures += 1
        return float(ceiling * (0.5 + self.jitter() / 2))

    def reset(self) -> None:
        """Start over after a healthy connection."""
        self.failures = 0


@dataclass(slots=True)
class SocketStats:
    """What happened to one feed's sockets so far."""

    connections: int = 0
    malformed: int = 0
    """Connections dropped because a frame could not be understood."""


async def run_socket(
    feed: Feed,
    clock: WallClock,
    jitter: Callable[[], float],
    stats: SocketStats | None = None,
) -> None:
    """Keep one feed connected until cancelled; counts what happens in ``stats``."""
    backoff = Backoff(jitter)
    counted = SocketStats() if stats is None else stats
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
    async with aiohttp.ClientSession(
        timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        while True:
            started = clock.mono()
            feed.closed(await _connection(session, feed, counted))
            if clock.mono() - started > HEALTHY:
                backoff.reset()
            await clock.sleep(backoff.next())


async def _connection(session: aiohttp.ClientSession, feed: Feed, stats: SocketStats) -> str:
    """Run one connection to its end; return why it ended."""
    try:
        socket = await _dial(session, feed)
        stats.connections += 1
        async with socket:
            return await _frames(socket, feed)
    except VenueMalformed as bad:
        stats.malformed += 1
        log.warning("feed dropped: %s", bad)
        return f"malformed: {bad}"
    except VenueError as bad:
        return f"{type(bad).__name__}: {bad}"
    except aiohttp.WSServerHandshakeError as bad:
        feed.refused(bad.status)
        return f"handshake refused: http {bad.status}"
    except TimeoutError:
        return "silent or unreachable"
    except (aiohttp.ClientError, OSError) as bad:
        return f"connection lost: {type(bad).__name__}"


async def _dial(session: aiohttp.ClientSession, feed: Feed) -> aiohttp.ClientWebSocketResponse:
    url, headers = await feed.address()
    async with asyncio.timeout(2 * CONNECT_TIMEOUT):
        return await session.ws_connect(
            url,
            headers=headers,
            heartbeat=HEARTBEAT,
            max_msg_size=MAX_FRAME,
            timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
        )


async def _frames(socket: aiohttp.ClientWebSocketResponse, feed: Feed) -> str:
    async with asyncio.timeout(CONNECT_TIMEOUT):
        await feed.opened(socket.send_str)
    while True:
        message = await socket.receive(timeout=feed.silence or None)
        match message.type:
            case aiohttp.WSMsgType.TEXT:
                await feed.text(message.data, socket.send_str)
            case aiohttp.WSMsgType.BINARY:
                await feed.text(message.data.decode("utf-8", "replace"), socket.send_str)
            case _:
                return f"closed by the venue ({socket.close_code})"

"""A TCP relay that sees bytes pass and times them: what a client was told, and what it then sent.

It stands between a client and a simulated venue on loopback, in a process of its own, so that a
client needs no change to be measured: from the fill's bytes going in to the order's coming out.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

CHUNK = 256 * 1024
FILL = b'"orderFill"'
ORDER = b'"signature"'
"""In the body of ``create_order``; it is the last part of it that either client writes."""
QUIET = 60_000_000
"""ns: a fill this soon after an order is part of the hedge under way, which waits for answers."""


class Stopwatch:
    """Pairs each fill with the order that answers it.

    Attributes:
        took: ns from a fill's last byte going in to the order's signature coming out.
    """

    def __init__(self, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self.took: list[int] = []
        self._clock = clock
        self._fill_at: int | None = None
        self._order_at: int | None = None

    def fill(self, data: bytes) -> None:
        """Bytes go to the client."""
        if FILL not in data or self._fill_at is not None:
            return
        now = self._clock()
        if self._order_at is None or now - self._order_at > QUIET:
            self._fill_at = now

    def order(self, data: bytes) -> None:
        """Bytes come from the client."""
        if ORDER not in data:
            return
        now = self._clock()
        if self._fill_at is not None:
            self.took.append(now - self._fill_at)
        self._fill_at, self._order_at = None, now

    def forget(self) -> None:
        """Begin anew with another client; what it has measured stays."""
        self._fill_at = self._order_at = None


class Tap:
    """One relay to one address."""

    def __init__(
        self, url: str, down: Callable[[bytes], None], up: Callable[[bytes], None]
    ) -> None:
        """Take the address relayed to, and what sees the bytes to and from the client."""
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 0)
        self._down, self._up = down, up
        self._server: asyncio.Server | None = None

    async def open(self) -> str:
        """Listen; returns ``host:port``."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return f"127.0.0.1:{port}"

    async def close(self) -> None:
        """Stop listening; connections end with their clients."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_relay(reader, far_writer, self._up))
            tasks.create_task(_relay(far_reader, writer, self._down))


async def _relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Callable[[bytes], None]
) -> None:
    with suppress(OSError):  # either end left: the other is closed, too
        while data := await reader.read(CHUNK):
            seen(data)
            writer.write(data)
            await writer.drain()
    writer.close()

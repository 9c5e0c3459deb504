"""One GRVT WebSocket connection: reading, bounded writing (venues.md A6.5).

The server sends no pings of its own and answers those of the client. A consumer that cannot keep
up is dropped; nothing is ever skipped silently.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from exchanges.simulator.grvt_auth import Session
from exchanges.simulator.grvt_options import GrvtOptions
from strategy.domain import Ns

_GOING_AWAY = 1001
_POLICY = 1008
_CLOSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Goodbye:
    """The end of what is written."""

    code: int
    why: bytes


class Socket:
    """A connected client.

    Args:
        options: limits.
        transport: of the connection, to reset it.
        session: the login it came with; None for market data only.
        clock: the venue's, Unix ns.
        lite: short field names.
        legacy: the envelope of ``/ws`` instead of JSON-RPC.
    """

    def __init__(
        self,
        options: GrvtOptions,
        transport: asyncio.Transport | None,
        session: Session | None,
        clock: Callable[[], Ns],
        *,
        lite: bool,
        legacy: bool,
    ) -> None:
        self.session = session
        self.lite = lite
        self.legacy = legacy
        self.muted = False
        """Half open: it stays up and says nothing (fault F49)."""
        self.opened_at = self.heard_at = clock()
        """Unix ns of the handshake, and of the last message of the client."""
        self._clock = clock
        self._transport = transport
        self._queue: asyncio.Queue[str | _Goodbye] = asyncio.Queue(options.queue_limit)
        self._ws = web.WebSocketResponse(
            autoping=False, compress=False, max_msg_size=options.max_frame
        )

    async def serve(
        self, request: web.Request, handle: Callable[["Socket", bytes], Awaitable[None]]
    ) -> web.WebSocketResponse:
        """Run the connection until either side ends it."""
        await self._ws.prepare(request)
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write())
            await self._read(handle)
            writer.cancel()
        return self._ws

    def offer(self, text: str) -> None:
        """Queue one message; drops the connection when the client is too slow."""
        if self.muted:
            return
        try:
            self._queue.put_nowait(text)
        except asyncio.QueueFull:
            self.drop()

    def farewell(self, code: int, why: bytes) -> None:
        """Close with a code once everything queued is written; a full queue is dropped."""
        try:
            self._queue.put_nowait(_Goodbye(code, why))
        except asyncio.QueueFull:
            self.drop()

    def drop(self) -> None:
        """Reset the TCP connection without a goodbye."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self, *, expired: bool = False) -> None:
        """Say goodbye and drop a client that does not answer in time."""
        code, why = (_POLICY, b"session expired") if expired else (_GOING_AWAY, b"shutdown")
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._ws.close(code=code, message=why)
        except (TimeoutError, ConnectionError):
            self.drop()

    async def _read(self, handle: Callable[["Socket", bytes], Awaitable[None]]) -> None:
        async for message in self._ws:
            self.heard_at = self._clock()
            if message.type is WSMsgType.TEXT:
                await handle(self, message.data.encode("utf-8", "surrogatepass"))
            elif message.type is WSMsgType.BINARY:
                await handle(self, message.data)
            elif message.type is WSMsgType.PING:
                await self._pong(message.data)

    async def _pong(self, payload: bytes) -> None:
        if self.muted:
            return
        try:
            await self._ws.pong(payload)
        except ConnectionError:
            self.drop()

    async def _write(self) -> None:
        try:
            while True:
                item = await self._queue.get()
                if isinstance(item, _Goodbye):
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await self._ws.close(code=item.code, message=item.why)
                    return
                await self._ws.send_str(item)
        except (ConnectionError, TimeoutError):
            self.drop()

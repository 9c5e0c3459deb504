"""One WebSocket connection: reading, bounded writing, keep-alive (venues.md B5).

The server pings every minute and closes a connection that has not answered for two. A consumer
that cannot keep up is dropped; nothing is ever skipped silently.
"""

import asyncio
from collections.abc import Callable

from aiohttp import WSMsgType, web

from exchanges.simulator.backpack_options import BackpackOptions

Key = tuple[str, str]
"""The account of a private stream, empty for a public one, and the stream's name."""
Handler = Callable[["Socket", bytes], None]
_GOING_AWAY = 1001


class Socket:
    """A connected client. ``muted`` models a half-open connection: it stays up and says nothing."""

    def __init__(self, options: BackpackOptions, transport: asyncio.Transport | None) -> None:
        self._options = options
        self._transport = transport
        self._queue: asyncio.Queue[str] = asyncio.Queue(options.queue_limit)
        # The venue compresses only when the client offers it (venues.md F).
        self._ws = web.WebSocketResponse(
            autoping=False, compress=True, max_msg_size=options.max_frame
        )
        self._alive_at = 0.0
        self.muted = False
        self.streams: set[Key] = set()

    async def serve(self, request: web.Request, handle: Handler) -> web.WebSocketResponse:
        """Run the connection until either side ends it."""
        await self._ws.prepare(request)
        self._alive_at = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self._write()), group.create_task(self._keep_alive())]
            await self._read(handle)
            for helper in helpers:
                helper.cancel()
        return self._ws

    def offer(self, text: str) -> None:
        """Queue one message; drops the connection when the client is too slow."""
        if self.muted:
            return
        try:
            self._queue.put_nowait(text)
        except asyncio.QueueFull:
            self.drop()

    def drop(self) -> None:
        """Reset the TCP connection without a goodbye."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Say goodbye (1001) and drop a client that does not answer in time."""
        try:
            async with asyncio.timeout(self._options.goodbye_seconds):
                await self._ws.close(code=_GOING_AWAY, message=b"server shutdown")
        except (TimeoutError, ConnectionError):
            self.drop()

    async def _read(self, handle: Handler) -> None:
        async for message in self._ws:
            if message.type is WSMsgType.TEXT:
                handle(self, message.data.encode("utf-8", "surrogatepass"))
            elif message.type is WSMsgType.BINARY:
                handle(self, message.data)
            elif message.type is WSMsgType.PING:
                await self._pong(message.data)
            elif message.type is WSMsgType.PONG:
                self._alive_at = asyncio.get_running_loop().time()

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
                await self._ws.send_str(await self._queue.get())
        except ConnectionError:
            self.drop()

    async def _keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                await asyncio.sleep(self._options.ping_seconds)
                if loop.time() - self._alive_at > self._options.pong_seconds:
                    await self._ws.close(code=_GOING_AWAY, message=b"no pong")
                    return
                if not self.muted:
                    await self._ws.ping()
        except ConnectionError:
            self.drop()

"""A whole simulation on loopback for the tests beside this one, and what must hold after each."""

import asyncio
import base64
import io
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import yarl
from hypothesis import HealthCheck, settings

from exchanges.simulator.host import SimConfig, SimHost
from strategy.domain import Venue
from tests.abuse.odd import LARGE

Json = dict[str, Any]
PATIENCE = 5.0
"""Seconds within which anything must be answered."""
NO_LIMITS = (
    "grvt.rate_tier=1000000",
    "backpack.requests_per_minute=1000000000",
    "backpack.history_per_minute=1000000000",
)
"""So that the answer to everything is not 429."""
_EXAMPLES = "HEDGED_ABUSE_EXAMPLES"


def bounded(share: float = 1.0) -> settings:
    """Return the profile: the same few examples every time, or many where the variable says so."""
    few = int(os.environ.get(_EXAMPLES, "150"))
    return settings(
        max_examples=max(int(few * share), 5),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; ``body`` is decoded where it is JSON, else text."""

    status: int
    body: Any
    json: bool


class _Complaints(logging.Handler):
    """Keeps what the servers log: an unhandled error of a request is a line there."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class House:
    """Both venues and the control server in this process, driven step by step from tests."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self.host = SimHost(SimConfig(book="synthetic:ETH", seed=3, switches=NO_LIMITS))
        self.complaints = _Complaints()

    def open(self) -> None:
        """Start everything."""
        loop = self._runner.get_loop()
        loop.set_exception_handler(self._lost)
        self.ready: Json = self.run(self.host.start()).as_dict()
        self._running = loop.create_task(self.host.run_forever())
        self.http = self.run(self._session())
        self.headers = self.run(self._login())

    def close(self) -> None:
        """Stop everything."""
        self._running.cancel()
        self.run(asyncio.wait([self._running]))
        self.run(self.http.close())
        self.run(self.host.stop())

    def run(self, work: Any) -> Any:
        """Run a coroutine on the house's loop."""

        async def bounded_work() -> Any:
            async with asyncio.timeout(12 * PATIENCE):
                return await work

        return self._runner.run(bounded_work())

    def _lost(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        self.complaints.lines.append(str(context))

    async def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=PATIENCE)
        )

    async def _login(self) -> dict[str, str]:
        keys = self.ready["grvt"]
        url = f"{keys['edge']}/auth/api_key/login"
        async with self.http.post(url, json={"api_key": keys["api_key"]}) as answer:
            return {
                "Cookie": f"gravity={answer.cookies['gravity'].value}",
                "X-Grvt-Account-Id": answer.headers["X-Grvt-Account-Id"],
            }

    async def send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> Answer:
        """Send one request; an answer must come in time."""
        sent = io.BytesIO(b"[" + b"1," * 600_000 + b"1]") if body == LARGE else body
        async with self.http.request(method, yarl.URL(url), headers=headers, data=sent) as answer:
            raw = await answer.read()
            if answer.content_type == "application/json":
                return Answer(answer.status, json.loads(raw) if raw else None, json=True)
            return Answer(answer.status, raw.decode(errors="replace"), json=False)

    async def throw(self, url: str, raw: bytes) -> None:
        """Send bytes that are no request and read what comes, for a moment."""
        at = yarl.URL(url)
        reader, writer = await asyncio.open_connection(at.host, at.port)
        try:
            writer.write(raw)
            writer.write_eof()
            async with asyncio.timeout(PATIENCE):
                answer = await reader.read()
            assert not answer.startswith(b"HTTP/1.1 5"), answer[:200]
        except ConnectionError:
            return  # a reset is an answer too
        finally:
            writer.close()

    def check(self) -> None:
        """Check what must hold after anything: no crossed book, no complaint, still running."""
        for venue in Venue:
            engine, symbol = self.host.universe.engines[venue], self.host.universe.symbols[venue]
            bid, ask = engine.touch(symbol)
            assert bid is None or ask is None or bid < ask, f"{venue} crossed: {bid} {ask}"
        assert not self._running.done(), "the simulation has ended"
        assert self.complaints.lines == []


@contextmanager
def house() -> Iterator[House]:
    """Run a simulation whose request limits are out of the way."""
    with asyncio.Runner() as runner:
        found = House(runner)
        watched = [logging.getLogger(name) for name in ("aiohttp.server", "aiohttp.web", "asyncio")]
        for logger in watched:
            logger.addHandler(found.complaints)
        found.open()
        try:
            yield found
        finally:
            found.close()
            for logger in watched:
                logger.removeHandler(found.complaints)


# --- a socket that can misbehave -------------------------------------------------------------


class RawSocket:
    """A WebSocket client by hand: fragments, wrong masks and opcodes are possible."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.closed = False

    @classmethod
    async def connect(cls, url: str, path: str, headers: dict[str, str]) -> "RawSocket":
        """Shake hands."""
        at = yarl.URL(url)
        reader, writer = await asyncio.open_connection(at.host, at.port)
        key = base64.b64encode(bytes(16)).decode()
        lines = [f"GET {path} HTTP/1.1", "Host: sim", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        assert head.startswith(b"HTTP/1.1 101"), head
        return cls(reader, writer)

    async def write(self, raw: bytes) -> None:
        """Send bytes as they are; a server that has gone is no error here."""
        try:
            self._writer.write(raw)
            await asyncio.wait_for(self._writer.drain(), PATIENCE)
        except ConnectionError:
            self.closed = True

    async def heard(self, until: bytes) -> list[bytes]:
        """Return the data frames up to the pong of ``until``, or up to the close."""
        found: list[bytes] = []
        await self.write(frame(0x9, until))
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    opcode, payload = await self._frame()
                    if opcode == 0x8:
                        self.closed = True
                        return found
                    if (opcode, payload) == (0xA, until):
                        return found
                    if opcode in (0x1, 0x2):
                        found.append(payload)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed = True
            return found

    async def _frame(self) -> tuple[int, bytes]:
        first, second = await self._reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            size = int.from_bytes(await self._reader.readexactly(2))
        elif size == 127:
            size = int.from_bytes(await self._reader.readexactly(8))
        return first & 0x0F, await self._reader.readexactly(size)

    async def close(self) -> None:
        """Drop the connection."""
        self._writer.close()
        try:
            await asyncio.wait_for(self._writer.wait_closed(), PATIENCE)
        except ConnectionError:
            self.closed = True


def frame(opcode: int, payload: bytes, *, last: bool = True, masked: bool = True) -> bytes:
    """Return the bytes of one frame; the mask is zero, which changes nothing."""
    size = len(payload)
    mark = 0x80 if masked else 0
    head = bytes([(0x80 if last else 0) | opcode])
    if size < 126:
        head += bytes([mark | size])
    elif size < 1 << 16:
        head += bytes([mark | 126]) + size.to_bytes(2)
    else:
        head += bytes([mark | 127]) + size.to_bytes(8)
    return head + (bytes(4) if masked else b"") + payload

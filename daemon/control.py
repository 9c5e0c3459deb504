"""The control socket ``<state-dir>/control.sock``: one JSON object per line, each way."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAME = "control.sock"
MAX_LINE = 64 * 1024
MAX_CLIENTS = 16
READ_LIMIT = 30.0
MAX_PATH = 100
"""Bytes; sun_path holds 108, and longer paths go through a directory handle."""

Handler = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


class DaemonNotRunning(Exception):  # noqa: N818 - named by what is so
    """No daemon answers on this state directory."""


class ControlFailed(Exception):  # noqa: N818
    """A daemon is there but gave no usable answer."""


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """Yield a name for the socket that fits into its address, however deep the directory."""
    if len(os.fsencode(path)) <= MAX_PATH:
        yield str(path)
        return
    handle = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{path.name}"
    finally:
        os.close(handle)


class ControlServer:
    """Answers requests ``{"cmd", "args"}`` with ``{"ok", ...}``; mode 0600."""

    def __init__(self, state_dir: Path, handler: Handler) -> None:
        """Take the directory and what answers; ``ValueError`` from it becomes an error reply."""
        self.path = state_dir / NAME
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[Any], None] = {}

    async def start(self) -> None:
        """Listen. A socket left by a dead daemon is replaced: the lease is ours.

        Raises:
            OSError: something that is no socket stands in its place, or no permission.
        """
        self._clear()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        os.fchmod(listener.fileno(), 0o600)  # before bind: it is never open to others
        try:
            with _reachable(self.path) as name:
                listener.bind(name)
            self._server = await asyncio.start_unix_server(
                self._serve, sock=listener, limit=MAX_LINE
            )
        except OSError:
            listener.close()
            raise

    async def stop(self) -> None:
        """Close the socket and end its clients; safe to call twice."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self._server = None
        self._clear()

    def _clear(self) -> None:
        try:
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise FileExistsError(f"{self.path} is not a socket; move it away")
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._clients) >= MAX_CLIENTS:
            writer.close()
            return
        self._clients[task] = None
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.LimitOverrunError):
            pass  # the client left, stalled or sent no line ends: only its connection ends
        finally:
            self._clients.pop(task, None)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(READ_LIMIT):
                try:
                    line = await reader.readline()
                except ValueError:  # longer than the limit
                    writer.write(b'{"ok":false,"error":"request too long"}\n')
                    await writer.drain()
                    return
            if not line.endswith(b"\n"):
                return
            reply = await self._reply(line)
            writer.write(json.dumps(reply, separators=(",", ":")).encode() + b"\n")
            async with asyncio.timeout(READ_LIMIT):
                await writer.drain()

    async def _reply(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except ValueError:  # not JSON, or not UTF-8
            return {"ok": False, "error": "a request is one JSON object per line"}
        cmd = request.get("cmd") if isinstance(request, dict) else None
        args = request.get("args", {}) if isinstance(request, dict) else None
        if not isinstance(cmd, str) or not isinstance(args, dict):
            return {"ok": False, "error": 'a request is {"cmd": "...", "args": {...}}'}
        try:
            return {"ok": True} | await self._handler(cmd, args)
        except ValueError as bad:
            return {"ok": False, "error": str(bad)}


def ask(state_dir: Path, cmd: str, /, *, timeout: float = 10.0, **args: Any) -> dict[str, Any]:
    """Send one request to the daemon of a state directory and return its reply.

    Raises:
        DaemonNotRunning: nothing listens there.
        ControlFailed: it did not answer in time, or not with a JSON object.
        PermissionError: it belongs to another user.
    """
    path = state_dir / NAME
    request = json.dumps({"cmd": cmd, "args": args}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(timeout)
        try:
            with _reachable(path) as name:
                link.connect(name)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as gone:
            raise DaemonNotRunning(f"no daemon answers on {path}") from gone
        try:
            link.sendall(request)
            reply = json.loads(_line(link))
        except (OSError, ValueError) as bad:
            raise ControlFailed(f"the daemon on {path} gave no answer to {cmd} ({bad})") from bad
    if not isinstance(reply, dict):
        raise ControlFailed(f"the daemon on {path} answered {cmd} with no object")
    return reply


def _line(link: socket.socket) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        part = link.recv(MAX_LINE)
        if not part:
            raise ConnectionError("connection closed")
        received += part
    return bytes(received)

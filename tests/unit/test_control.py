"""The control socket: requests, refusals, stale sockets, deep directories."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon.control import ControlFailed, ControlServer, DaemonNotRunning, ask
from daemon.notify import WATCHDOG_GAP, Notifier


async def echo(cmd: str, args: dict[str, Any]) -> dict[str, Any]:
    if cmd == "refuse":
        raise ValueError("refused: give something else")
    if cmd == "hang":
        await asyncio.sleep(30)
    if cmd == "no":
        return {"ok": False, "said": "no"}
    return {"cmd": cmd, "args": args}


@asynccontextmanager
async def serving(state_dir: Path) -> AsyncIterator[ControlServer]:
    server = ControlServer(state_dir, echo)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def asked(state_dir: Path, cmd: str, **args: Any) -> dict[str, Any]:
    return await asyncio.to_thread(lambda: ask(state_dir, cmd, timeout=2.0, **args))


async def raw(path: Path, data: bytes) -> list[bytes]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    writer.write_eof()
    async with asyncio.timeout(5):
        reply = await reader.read()
    writer.close()
    return reply.splitlines()


async def test_request_and_reply(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        reply = await asked(tmp_path, "status", day="2026-11-21", n=1)
        assert reply == {"ok": True, "cmd": "status", "args": {"day": "2026-11-21", "n": 1}}
        assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
        assert await asked(tmp_path, "no") == {"ok": False, "said": "no"}
        assert await asked(tmp_path, "refuse") == {
            "ok": False, "error": "refused: give something else",
        }  # fmt: skip
    assert not server.path.exists()
    await server.stop()


@pytest.mark.parametrize(
    "line", [b"garbage", b"\xff\xfe", b"[]", b'{"cmd": 1}', b'{"cmd": "x", "args": []}', b"null"]
)
async def test_bad_request_is_answered_and_the_connection_goes_on(
    tmp_path: Path, line: bytes
) -> None:
    async with serving(tmp_path) as server:
        replies = await raw(server.path, line + b'\n{"cmd":"status"}\n')
        assert [json.loads(reply)["ok"] for reply in replies] == [False, True]


async def test_oversize_and_broken_off_requests_end_only_their_connection(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        assert b"too long" in (await raw(server.path, b"x" * 200_000 + b"\n"))[0]
        assert await raw(server.path, b'{"cmd": "status"') == []
        assert (await asked(tmp_path, "status"))["ok"]


async def test_too_many_clients_are_turned_away_without_harm(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        links = [await asyncio.open_unix_connection(server.path) for _ in range(16)]
        await asyncio.sleep(0.05)
        with pytest.raises(ControlFailed):
            await asked(tmp_path, "status")
        for _, writer in links:
            writer.close()
        await asyncio.sleep(0.05)
        assert (await asked(tmp_path, "status"))["ok"]


async def test_stop_does_not_wait_for_a_hanging_request(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, asyncio.timeout(5):
        _, writer = await asyncio.open_unix_connection(server.path)
        writer.write(b'{"cmd":"hang"}\n')
        await asyncio.sleep(0.05)
        await server.stop()
        writer.close()
        assert not server.path.exists()


async def test_socket_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    with pytest.raises(DaemonNotRunning):
        ask(tmp_path, "status")
    async with serving(tmp_path):
        assert (await asked(tmp_path, "status"))["ok"]


async def test_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="not a socket"):
        await ControlServer(tmp_path, echo).start()
    assert path.read_text() == "mine"


async def test_directory_deeper_than_a_socket_address_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    async with serving(deep) as server:
        assert len(os.fsencode(server.path)) > 108
        assert (await asked(deep, "status"))["ok"]
    assert not server.path.exists()


def test_no_daemon_is_said_so(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none", tmp_path / ("f" * 150)):
        with pytest.raises(DaemonNotRunning, match="no daemon answers"):
            ask(place, "status")


async def test_daemon_that_does_not_answer_is_a_failure_in_bounded_time(tmp_path: Path) -> None:
    async with serving(tmp_path):
        with pytest.raises(ControlFailed, match="gave no answer to hang"):
            await asyncio.to_thread(lambda: ask(tmp_path, "hang", timeout=0.1))


# --- the service manager -------------------------------------------------------------------------


def test_notifier_speaks_systemds_protocol_and_paces_the_watchdog(tmp_path: Path) -> None:
    now = [0]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(1)
        notifier = Notifier(str(tmp_path / "notify"), lambda: now[0])
        notifier.ready()
        notifier.status("two\nlines")
        notifier.watchdog("mode=RUNNING net=0")
        now[0] = WATCHDOG_GAP - 1
        notifier.watchdog("paced")
        now[0] = WATCHDOG_GAP
        notifier.watchdog()
        notifier.stopping()
        notifier.close()
        notifier.ready()
        assert [manager.recv(200).decode() for _ in range(5)] == [
            "READY=1", "STATUS=two lines", "WATCHDOG=1\nSTATUS=mode=RUNNING net=0", "WATCHDOG=1",
            "STOPPING=1",
        ]  # fmt: skip


def test_notifier_knows_the_abstract_namespace() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"hedged-test-{os.getpid()}"
        manager.bind(f"\0{name}")
        manager.settimeout(1)
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": f"@{name}"})
        notifier.ready()
        notifier.close()
        assert manager.recv(100) == b"READY=1"


def test_notifier_without_a_manager_does_nothing(tmp_path: Path) -> None:
    for notifier in (
        Notifier.from_environment({}),
        Notifier(str(tmp_path / "gone"), lambda: 0),
    ):
        notifier.ready()
        notifier.watchdog("x")
        notifier.stopping()
        notifier.close()
        assert notifier._socket is None

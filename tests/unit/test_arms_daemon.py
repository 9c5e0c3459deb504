"""How the daemon's parts answer what goes wrong: one line, one exit code, nothing silent."""

import asyncio
import errno
import gzip
import queue
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from io import RawIOBase
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest

from daemon import admin, cli, journal_read
from daemon import control as control_module
from daemon import guard as guard_module
from daemon.bench import command
from daemon.bench.plot import plot_frontier
from daemon.config import ConfigError, RunConfig, load_config
from daemon.config_values import path as parse_path
from daemon.connecting import Connector, Failed
from daemon.control import ControlServer, DaemonNotRunning, ask
from daemon.inbox import Inbox
from daemon.journal import Journal, JournalError
from daemon.log_writer import LineWriter
from exchanges.errors import (
    UnknownTicker,
    VenueForbidden,
    VenueMalformed,
    VenueRefused,
    VenueUnreachable,
)
from exchanges.simulator.tape import BUNDLED
from strategy.domain import Fees, Instrument, Ns, Venue, bps
from tests.builders import BACKPACK, GRVT, WALL, draft
from tests.harness import Sink
from tests.unit.recovery_rig import Hands
from tests.unit.test_control_cli import Journalled, stored
from tests.unit.test_guard import Door
from tests.unit.test_journal_faults import payload

__all__ = ["stored"]


def config(folder: Path, **flags: str) -> RunConfig:
    given = {"ticker": "ETH", "size": "0.5", "log_file": "-"} | flags
    return load_config(given, {}, cwd=folder, terminal=False)


# --- the command line ----------------------------------------------------------------------------


def test_a_daemon_that_gives_no_answer_is_exit_75_in_one_line(
    stored: Journalled, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask_in_vain(*_: Any, **__: Any) -> Any:
        raise control_module.ControlFailed("the daemon gave no answer to halt (timed out)")

    monkeypatch.setattr(admin, "ask", ask_in_vain)
    assert cli.main(["halt"]) == 75
    assert capsys.readouterr().err == ("hedged: the daemon gave no answer to halt (timed out)\n")
    assert stored.mode == "RUNNING"


def test_another_users_files_are_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    Journal(state / "sim.db", Ns(WALL)).close()

    def forbidden(path: Path, _: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(journal_read, "copy_journal", forbidden)
    assert cli.main(["report", "--state-dir", str(state)]) == 78
    said = capsys.readouterr().err
    assert said == f"hedged: {state / 'sim.db'}: Permission denied; run as the daemon's user\n"


def test_ctrl_c_is_the_shells_exit_code_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_parse", interrupted)
    monkeypatch.setattr(cli, "_command", interrupted)
    assert cli.main(["status"]) == cli.EXIT_INTERRUPTED == 130
    assert capsys.readouterr().err == ""


def test_a_source_tree_that_is_not_installed_has_no_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(cli, "version", missing)
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == "hedged (not installed)\n"


def test_a_path_of_a_user_without_a_home_is_refused() -> None:
    with pytest.raises(ValueError, match="names a user without a home directory"):
        parse_path("~nobody-of-that-name/state")


def test_flatten_looks_again_while_a_leaving_daemon_does_not_answer(
    stored: Journalled, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: list[Exception | dict[str, Any]] = [
        {"ok": True, "said": "flattening"},
        control_module.ControlFailed("busy"),
        {"ok": True, "status": {}},
        control_module.ControlFailed("leaving"),
        DaemonNotRunning("gone"),
    ]

    def scripted(*_: Any, **__: Any) -> dict[str, Any]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(admin, "ask", scripted)
    monkeypatch.setattr(admin, "POLL", 0.001)
    assert cli.main(["flatten"]) == 0
    assert answers == []
    assert "flat: both venues confirm" in capsys.readouterr().out
    assert stored.closed == 1


def test_flatten_goes_on_without_a_journal_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "sim.db").write_bytes(b"no database at all" * 100)
    monkeypatch.chdir(tmp_path)
    asked: list[RunConfig] = []

    def unreachable(config: RunConfig) -> int:
        asked.append(config)
        return 75

    args = cli._parse("flatten", ["--ticker", "ETH", "--state-dir", str(state)])
    assert admin.flatten(args, unreachable) == 75
    assert [(c.ticker, c.venues, c.state_dir) for c in asked] == [("ETH", "sim", state)]
    assert "\ngoing on without it\n" in capsys.readouterr().out


# --- the bench -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--book", "none.jsonl.gz", "--book: none.jsonl.gz"),
        ("--sizes", "0.5,half", "--sizes '0.5,half': not a finite decimal: 'half'"),
        ("--book", "short.jsonl.gz", "--book short.jsonl.gz: the recording is too short"),
    ],
)
def test_a_bench_that_cannot_be_run_is_exit_2_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    flag: str, value: str, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "_track", None)
    with gzip.open(BUNDLED) as whole, gzip.open("short.jsonl.gz", "w") as short:
        short.writelines(islice(whole, 50))
    assert cli.main(["bench", "routing", "--arrivals", "1", "--jobs", "1", flag, value]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1


def test_a_plot_without_its_library_or_its_folder_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report: dict[str, Any] = {"ticker": "ETH", "frontier": {"1": []}, "sizes": {"1": {}}}
    with pytest.raises(ConfigError, match="No such file or directory"):
        plot_frontier(report, tmp_path / "none" / "f.svg")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match="--frontier needs matplotlib; install it"):
        plot_frontier(report, tmp_path / "f.svg")


# --- the way in ----------------------------------------------------------------------------------


class Gate:
    """A venue at the door: each step answers, or raises what it is told to."""

    def __init__(self, venue: Venue, **raises: Exception) -> None:
        self.venue = venue
        self.raises = raises

    def _step(self, name: str) -> None:
        if name in self.raises:
            raise self.raises[name]

    async def open(self) -> None:
        self._step("open")

    async def load(self, base: str) -> Instrument:
        assert base == "ETH"
        self._step("load")
        return GRVT if self.venue is Venue.GRVT else BACKPACK

    async def fees(self) -> Fees:
        self._step("fees")
        return Fees(self.venue, bps(0), bps(5))

    async def server_time(self) -> Ns:
        self._step("server_time")
        return Hands().wall()


async def connected(folder: Path, gate: Gate, *, size: str = "0.5") -> Sink:
    sink = Sink()
    ports: Any = {v: gate if v is gate.venue else Gate(v) for v in Venue}
    connector = Connector(config(folder, size=size), sink, cast("Any", Hands()), flatten_only=False)
    journal = Journal(folder / "live.db", Ns(WALL))
    try:
        await connector.connect(ports, journal)
    finally:
        journal.close()
    return sink


@pytest.mark.parametrize(
    ("step", "raised", "code", "said"),
    [
        ("load", UnknownTicker("no ETH here"), 2, "--ticker ETH: no ETH here"),
        ("open", VenueForbidden("no key"), 78, "grvt: no key; check its credentials"),
        ("open", VenueUnreachable("silent"), 75, "grvt: silent; try again later"),
        ("fees", VenueMalformed("no rate"), 75, "grvt: no rate; try again later"),
    ],
)
async def test_a_venue_that_cannot_be_used_ends_the_start_in_one_line(
    tmp_path: Path, step: str, raised: Exception, code: int, said: str
) -> None:
    with pytest.raises(Failed, match=said) as failed:
        await connected(tmp_path, Gate(Venue.GRVT, **{step: raised}))
    assert failed.value.code == code


async def test_a_size_that_a_venue_does_not_trade_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="--size") as failed:
        await connected(tmp_path, Gate(Venue.GRVT), size="0.001")
    assert failed.value.code == 2


@pytest.mark.parametrize("raised", [VenueMalformed("no time"), VenueRefused("no such page")])
async def test_a_venue_that_does_not_tell_its_time_is_said_and_not_refused(
    tmp_path: Path, raised: Exception
) -> None:
    sink = await connected(tmp_path, Gate(Venue.BACKPACK, server_time=raised))
    assert sink.events("ALERT", "clock_unknown") == [{"venue": "backpack", "why": str(raised)}]


# --- the control socket, the inbox, the log, the journal -----------------------------------------


async def test_a_control_socket_without_its_folder_is_an_error_and_leaks_nothing(
    tmp_path: Path,
) -> None:
    server = ControlServer(tmp_path / "none", cast("Any", None))
    with pytest.raises(FileNotFoundError):
        await server.start()
    await server.stop()


async def test_a_client_that_stalls_ends_its_own_connection_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(cmd: str, _: Any) -> dict[str, Any]:
        return {"said": cmd}

    monkeypatch.setattr(control_module, "READ_LIMIT", 0.05)
    server = ControlServer(tmp_path, handler)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(server.path))
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    answer = await asyncio.to_thread(ask, tmp_path, "status")
    assert answer == {"ok": True, "said": "status"}
    await server.stop()


async def test_the_inbox_waits_no_longer_than_told() -> None:
    inbox = Inbox()
    await asyncio.wait_for(inbox.wait(0.01), 5)
    assert inbox.drain() == []


def test_a_flush_of_a_full_queue_gives_up_in_time() -> None:
    class Blocked(RawIOBase):
        def __init__(self) -> None:
            self.asked: queue.Queue[None] = queue.Queue()
            self.go: queue.Queue[None] = queue.Queue()

        def write(self, data: Any) -> int:
            self.asked.put(None)
            self.go.get(timeout=10)
            return len(data)

    out = Blocked()
    writer = LineWriter(out, "test", capacity=1)
    assert writer.write(b"taken\n")
    out.asked.get(timeout=10)
    assert writer.write(b"queued\n")
    assert writer.flush(0.01) is False
    out.go.put(None)
    out.go.put(None)
    assert writer.flush(5)
    writer.close()


def test_an_identity_is_used_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "live.db", Ns(WALL))
    journal.order(payload(1), draft(), Ns(WALL))
    with pytest.raises(JournalError, match="order 1: identity used before"):
        journal.order(payload(1), draft(), Ns(WALL))
    journal.close()


# --- the guard -----------------------------------------------------------------------------------


async def test_a_guard_whose_key_is_refused_ends_with_78_and_closes_both_doors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    doors = {venue: Door(venue) for venue in Venue}
    doors[Venue.GRVT].failures["open"] = [VenueForbidden("no such key")]
    monkeypatch.setattr(guard_module, "live_ports", lambda *_: doors)
    live = replace(config(tmp_path), venues="live")
    assert await guard_module.run(live, Ns(1)) == 78
    assert "no such key" in capfd.readouterr().out
    assert [door.closed for door in doors.values()] == [True, True]

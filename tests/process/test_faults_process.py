"""What happens to the process and its host: signals, stalls, disk, memory, files, other instances.

Each test injects its fault into a real process and judges by the simulated venues' own books.
"""

import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from fcntl import F_SETPIPE_SZ, fcntl
from pathlib import Path

import pytest

from tests.process.crashing import Crasher, Venues, finished, said, truth
from tests.process.faults_rig import (
    CROSS,
    HELD,
    LIVE,
    PAIR,
    QUIET,
    Start,
    holds,
    inject,
    judged,
    resting,
    settled,
)
from tests.process.programs import HEDGED, PATIENCE, slack, until


def streams(text: str) -> set[str]:
    """Return the streams that a log says have come up."""
    return set(re.findall(r"stream_up (venue=\w+ surface=\w+)", text))


# --- signals -------------------------------------------------------------------------------------


def test_F33_a_kill_during_a_flatten_goes_on_with_the_flatten_and_only_that(
    venues: Venues, begin: Start, crasher: Crasher, tmp_path: Path
) -> None:
    run = begin(venues, *HELD)
    holds(venues, run)
    asked = crasher.start(tmp_path / "ask", "flatten", "--state-dir",
                          str(tmp_path / "run" / "state"), env=venues.environment())  # fmt: skip
    said(run, "[EMERGENCY] order ", 20)
    os.kill(run.pid, signal.SIGKILL)
    assert finished(run, 10) == -9
    finished(asked, 30)
    again = begin(venues, *CROSS, "--iter", "0")
    assert finished(again, 30) == 77, again.said()[-3000:]
    assert "[OPEN]" not in again.said()
    judged(venues, flat=True)
    latched = begin(venues, *CROSS, "--iter", "1")
    assert finished(latched, 15) == 77


def test_F34_sigterm_with_a_resting_maker_cancels_keeps_the_pair_and_exits_0(
    calm: Venues, begin: Start
) -> None:
    first = begin(calm, *HELD)
    holds(calm, first)
    os.kill(first.pid, signal.SIGTERM)
    assert finished(first, 25) == 0
    run = begin(calm, *QUIET, "--max-position", "1.0")
    until(lambda: resting(calm) > 0, 25, "a resting maker")
    began = time.monotonic()
    os.kill(run.pid, signal.SIGTERM)
    assert finished(run, 25) == 0, run.said()[-3000:]
    assert time.monotonic() - began <= 20 * slack()
    assert resting(calm) == 0
    assert calm.positions() == PAIR
    assert "[SHUTDOWN] positions_kept" in run.said()
    judged(calm, flat=False)


def test_F35_a_second_sigterm_and_a_kill_in_a_slow_stop_are_recovered(
    calm: Venues, begin: Start
) -> None:
    run = begin(calm, *QUIET)
    until(lambda: resting(calm) == 1, 25, "a resting maker")
    calm.ask("/faults", "POST", {"venue": "backpack", "fault": "F59", "count": 1000})
    os.kill(run.pid, signal.SIGTERM)
    time.sleep(0.7)  # noqa: TID251 - the cancels are refused
    os.kill(run.pid, signal.SIGTERM)
    time.sleep(0.5)  # noqa: TID251 - the second signal changes nothing
    assert run.status is None, "a second SIGTERM does not leave a maker behind"
    os.kill(run.pid, signal.SIGKILL)
    assert finished(run, 10) == -9
    assert resting(calm) == 1, "the maker outlived the process"
    calm.ask("/faults", "DELETE")
    again = begin(calm, *QUIET)
    said(again, "[RECONCILE] reconciled", 10)
    assert "left by the last run" in again.said() or "cancel" in again.said()
    os.kill(again.pid, signal.SIGTERM)
    assert finished(again, 25) == 0
    assert resting(calm) == 0
    judged(calm, flat=True)


def test_F36_a_stopped_process_forgets_what_it_received_before_it_acts_again(
    venues: Venues, begin: Start
) -> None:
    run = begin(venues, *CROSS, "--iter", "0")
    said(run, "[SMART_ROUTING] filled", 30)
    os.kill(run.pid, signal.SIGSTOP)
    time.sleep(6.5)  # noqa: TID251 - the stop
    at_stop = run.said()
    sent = venues.ask("/state")["backpack"]["orders_received"]
    assert venues.ask("/state")["backpack"]["orders_received"] == sent
    os.kill(run.pid, signal.SIGCONT)
    said(run, "[ALERT] paused", 10)
    until(lambda: len(streams(run.said()[len(at_stop) :])) == 4, 20, "four fresh streams")
    until(lambda: "[OPEN] order" in run.said()[len(at_stop) :], 20, "trading")
    text = run.said()[run.said().index("[ALERT] paused") :]
    opened = text.index("[OPEN] order")
    assert len(streams(text[:opened])) == 4, "it opened on what was received before"
    hedged = text.find("iteration n=")
    assert hedged < 0 or "stream_up venue=grvt surface=public" in text[:hedged]
    os.kill(run.pid, signal.SIGTERM)
    assert finished(run, 30) == 0
    settled(venues, begin)


# --- the loop and its watchdog -------------------------------------------------------------------


class Manager:
    """A service manager's notification socket."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self.told: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(0.2)
        self._open = True
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def _hear(self) -> None:
        while self._open:
            try:
                text = self._socket.recv(4096).decode()
            except TimeoutError:
                continue
            self.told.append((time.monotonic(), text))

    def pings(self) -> list[float]:
        return [at for at, text in self.told if text.startswith("WATCHDOG=1")]

    def close(self) -> None:
        self._open = False
        self._thread.join(2)
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


def test_F37_F46_pings_come_from_a_healthy_loop_only(
    venues: Venues, begin: Start, manager: Manager
) -> None:
    plan = {"block": 3, "seconds": 2.6, "armed": "ready"}
    run = begin(venues, *CROSS, "--iter", "0", plan=plan, NOTIFY_SOCKET=manager.path)
    said(run, "[ALERT] loop_lag", 30)
    late = time.monotonic()
    until(lambda: any(at > late for at in manager.pings()), 10, "pings again once it is well")
    os.kill(run.pid, signal.SIGSTOP)
    time.sleep(0.3)  # noqa: TID251 - what was on its way arrives
    before = len(manager.pings())
    time.sleep(2.5)  # noqa: TID251 - longer than the gap between two pings
    assert len(manager.pings()) == before, "a stopped process cannot ping"
    os.kill(run.pid, signal.SIGCONT)
    os.kill(run.pid, signal.SIGTERM)
    assert finished(run, 30) == 0
    texts = [text for _, text in manager.told]
    assert texts[0] == "READY=1"
    assert "mode=RUNNING net=" in next(t for t in texts if "STATUS=" in t)
    assert texts[-1] == "STOPPING=1"
    ready = run.said().index("[RECONCILE] reconciled")
    assert ready < run.said().index("[INIT] started"), "READY=1 comes after reconciliation"
    settled(venues, begin)


def test_F54_under_a_manager_a_start_waits_for_a_venue_and_then_trades(
    venues: Venues, begin: Start, manager: Manager
) -> None:
    inject(venues, "grvt", "F54", seconds=5)
    run = begin(venues, *CROSS, "--iter", "1", NOTIFY_SOCKET=manager.path)
    said(run, "[INIT] waiting why=", 30)
    assert finished(run, 60) == 0, run.said()[-3000:]
    assert any(text.startswith("STATUS=waiting: grvt") for _, text in manager.told)
    judged(venues, flat=True)


def test_F46_a_missed_watchdog_is_an_abort_and_the_restart_hedges(
    venues: Venues, begin: Start
) -> None:
    """systemd ends a silent service with SIGABRT and starts it again."""
    run = begin(venues, *HELD)
    holds(venues, run)
    os.kill(run.pid, signal.SIGABRT)
    assert finished(run, 10) == -signal.SIGABRT
    assert list((run.folder).glob("core*")) == []
    settled(venues, begin)


def test_F38_without_memory_the_makers_go_and_the_next_start_recovers(
    venues: Venues, begin: Start
) -> None:
    run = begin(venues, *CROSS, "--iter", "0", plan={"memory": 6, "armed": "ready"})
    assert finished(run, 30) in (70, -9, -6, -11)
    assert resting(venues) == 0 or run.status != 70
    settled(venues, begin)


def test_F38_an_oom_kill_is_a_kill_and_the_next_start_recovers(
    venues: Venues, begin: Start
) -> None:
    run = begin(venues, *CROSS, "--iter", "0", plan={"commit": 7, "armed": "ready"})
    assert finished(run, 30) == -9
    settled(venues, begin)


# --- the disk ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "why"),
    [({"full": 4}, "SQLITE_FULL"), ({"ioerr": 4}, "SQLITE_IOERR"), ({"ioerr": 7}, "SQLITE_IOERR")],
    ids=["F39_full", "F40_io_error", "F40_io_error_later"],
)
def test_F39_F40_a_journal_that_fails_reduces_from_memory_halts_and_is_recovered(
    venues: Venues, begin: Start, plan: dict[str, int], why: str
) -> None:
    run = begin(venues, *CROSS, "--iter", "0", plan={**plan, "armed": "ready"})
    assert finished(run, 40) == 78, run.said()[-3000:]
    text = run.said()
    lost = text.index("latch mode=REDUCING")
    assert why in text[lost:]
    assert "[OPEN] order" not in text[lost:], "S3, S12: nothing is opened without a journal"
    assert 'hedged: {"kind":"lost"' in text, "standard error has the record"
    assert abs(venues.net()) < 0.01
    assert resting(venues) == 0
    judged(venues, flat=False)
    reserve = run.folder / "state" / "live.reserve"
    assert b'"kind":"latch"' in reserve.read_bytes()
    latched = begin(venues, *CROSS, "--iter", "1")
    assert finished(latched, 15) == 77
    assert "[ALERT] emergency_recovered" in latched.said()
    assert "journal_lost" in latched.said()
    assert not reserve.read_bytes().strip(b"\0"), "the record is in the journal now"
    resumed = begin(venues, "resume", "--yes")
    assert finished(resumed, 10) == 0
    settled(venues, begin)


def died_with_a_broken_journal(venues: Venues, begin: Start) -> Path:
    """A daemon dies with a hedged pair, and its journal is no database any more."""
    run = begin(venues, *HELD)
    holds(venues, run)
    os.kill(run.pid, signal.SIGKILL)
    finished(run, 10)
    journal = run.folder / "state" / "live.db"
    journal.with_name("live.db-wal").unlink(missing_ok=True)
    journal.write_bytes(b"not a journal" * 1000)
    return journal


def test_F39_flatten_works_without_a_usable_journal(venues: Venues, begin: Start) -> None:
    journal = died_with_a_broken_journal(venues, begin)
    refused = begin(venues, *CROSS, "--iter", "1")
    assert finished(refused, 15) == 78
    done = begin(venues, "flatten", *LIVE)
    assert finished(done, 40) == 78, "flat, but the journal still needs a human"
    assert venues.positions() == ("0", "0"), done.said()[-3000:]
    assert resting(venues) == 0
    assert "[EMERGENCY] flat backpack=0 grvt=0" in done.said()
    assert journal.read_bytes().startswith(b"not a journal"), "the evidence is kept"
    judged(venues, flat=True)


def test_F41_a_journal_moved_away_is_made_anew_from_what_the_venues_hold(
    venues: Venues, begin: Start
) -> None:
    journal = died_with_a_broken_journal(venues, begin)
    refused = begin(venues, "adopt", *LIVE, "--yes")
    assert finished(refused, 15) == 78
    assert "or move it and its -wal away, and settle what is open with `hedged ad" in refused.said()
    journal.rename(journal.with_name("live.db.broken"))
    adopted = begin(venues, "adopt", *LIVE, "--yes")
    assert finished(adopted, 40) == 0, adopted.said()[-3000:]
    done = begin(venues, *CROSS, "--iter", "1")
    assert finished(done, 60) == 0, done.said()[-3000:]
    assert venues.positions() == ("0", "0")
    judged(venues, flat=True)


@pytest.mark.parametrize("kind", ["F41_corrupt", "F41_newer", "F41_locked", "F41_cut"])
def test_F41_a_journal_that_cannot_be_trusted_refuses_to_trade(
    venues: Venues, begin: Start, kind: str
) -> None:
    first = begin(venues, *CROSS, "--iter", "1")
    assert finished(first, 40) == 0
    path = first.folder / "state" / "live.db"
    held: sqlite3.Connection | None = None
    match kind:
        case "F41_corrupt":
            data = bytearray(path.read_bytes())
            data[4096 : 3 * 4096] = os.urandom(2 * 4096)
            path.write_bytes(data)
        case "F41_newer":
            with sqlite3.connect(path) as db:
                db.execute("UPDATE meta SET value='99' WHERE key='schema'")
            db.close()
        case "F41_locked":
            held = sqlite3.connect(path, isolation_level=None)
            held.execute("BEGIN EXCLUSIVE")
        case _:
            path.write_bytes(path.read_bytes()[: 2 * 4096])
    received = venues.ask("/state")["backpack"]["orders_received"]
    run = begin(venues, *CROSS, "--iter", "1")
    assert finished(run, 15) == 78, run.said()[-2000:]
    if held is not None:
        held.close()
    refused = [line for line in run.said().splitlines() if "refused" in line]
    assert len(refused) == 1
    assert "live.db" in refused[0]
    assert any(w in refused[0] for w in ("restore a copy", "install", "end that"))
    assert "Traceback" not in run.said()
    assert venues.ask("/state")["backpack"]["orders_received"] == received


# --- other instances -----------------------------------------------------------------------------


def test_F42_a_second_instance_exits_79_and_the_first_goes_on(venues: Venues, begin: Start) -> None:
    run = begin(venues, *HELD)
    holds(venues, run)
    received = venues.ask("/state")["backpack"]["orders_received"]
    done = subprocess.run(
        [*HEDGED, *CROSS], cwd=run.folder, env=venues.environment(), capture_output=True,
        text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 79
    assert f"pid {run.pid}" in done.stdout + done.stderr
    assert run.status is None
    assert venues.ask("/state")["backpack"]["orders_received"] == received
    os.kill(run.pid, signal.SIGTERM)
    assert finished(run, 30) == 0


def test_F43_a_younger_instance_of_another_host_stops_itself(
    venues: Venues, begin: Start, crasher: Crasher, tmp_path: Path
) -> None:
    run = begin(venues, *HELD)
    holds(venues, run)
    received = venues.ask("/state")["backpack"]["orders_received"]
    younger = crasher.start(tmp_path / "host2", *CROSS, env=venues.environment())
    assert finished(younger, 30) == 78, younger.said()[-2000:]
    assert "venue says" in younger.said()
    assert venues.ask("/state")["backpack"]["orders_received"] == received
    assert run.status is None
    assert "foreign" not in run.said()
    os.kill(run.pid, signal.SIGTERM)
    assert finished(run, 30) == 0
    settled(venues, begin)


# --- outputs and files ---------------------------------------------------------------------------


def test_F47_a_blocked_log_pipe_does_not_stop_trading(venues: Venues, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    fcntl(writer, F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(
        [*HEDGED, *CROSS, "--iter", "2", "--log-file", "-"],
        cwd=tmp_path, env=venues.environment(), stdout=writer, stderr=writer,
    )  # fmt: skip
    os.close(writer)
    try:
        assert process.wait(50 * PATIENCE) == 0, "it ended in order though nobody read its log"
    finally:
        os.close(reader)
        if process.poll() is None:
            process.kill()
            process.wait(10 * PATIENCE)
    assert truth(venues).orders >= 8
    judged(venues, flat=True)


def test_F48_at_80_percent_of_the_open_files_it_ends_in_order_to_be_started_again(
    venues: Venues, begin: Start
) -> None:
    run = begin(venues, *HELD)
    holds(venues, run)
    used = len(list(Path(f"/proc/{run.pid}/fd").iterdir()))
    hard = resource.prlimit(run.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(run.pid, resource.RLIMIT_NOFILE, (used + 1, hard))
    said(run, "[ALERT] open_files", 20)
    assert finished(run, 25) == 75, run.said()[-2000:]
    assert venues.positions() == PAIR
    settled(venues, begin)

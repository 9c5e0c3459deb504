"""One run of the daemon that cannot start, breaks or ends badly: its one line and its exit code."""

import asyncio
import errno
import signal
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from daemon import app as app_module
from daemon.app import START_AGAIN, App, Failed, run
from daemon.config import ConfigError, RunConfig, load_config
from daemon.core import Settings
from daemon.disk import CommitTimes
from daemon.emergency import RehearsalFailed
from daemon.lease import NAME, Lease
from daemon.metrics import RunMetrics
from daemon.reconcile import StartRefused
from exchanges.errors import VenueUnreachable
from exchanges.port import CancelAccepted, CancelOutcome
from strategy.domain import Ns, Venue
from tests.builders import LIMITS, params, world
from tests.harness import Sink
from tests.unit.recovery_rig import Hands


class Screen(Sink):
    """A log in memory."""

    def close(self) -> None:
        """Keep everything."""

    def add_secret(self, secret: str) -> None:
        assert secret


@dataclass
class Port:
    """A venue that can only be asked to cancel everything."""

    fails: Exception | None = None
    calls: list[str] = field(default_factory=list)

    async def cancel_all(self) -> CancelOutcome:
        self.calls.append("cancel_all")
        if self.fails is not None:
            raise self.fails
        return CancelAccepted(None)

    async def close(self) -> None:
        self.calls.append("close")


class Broken(App):
    """The daemon's own composition, where trading raises what it is told to."""

    raises: Exception = RuntimeError("a bug")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.doors = {Venue.BACKPACK: Port(VenueUnreachable("dark")), Venue.GRVT: Port()}

    async def _ports(self, *_: Any) -> Any:
        return self.doors

    async def _trade(self, *_: Any) -> int:
        raise self.raises


def config(folder: Path, **flags: str) -> RunConfig:
    given = {"ticker": "ETH", "size": "0.5", "log_file": "-", "state_dir": str(folder / "state")}
    return load_config(given | flags, {}, cwd=folder, terminal=False)


def made(folder: Path, kind: type[App] = App, **flags: str) -> tuple[Any, Screen]:
    screen = Screen()
    return kind(config(folder, **flags), cast("Any", screen)), screen


@pytest.fixture(autouse=True)
async def signals() -> AsyncIterator[None]:
    yield
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        running.remove_signal_handler(number)


async def refusal(app: App) -> tuple[int, str]:
    with pytest.raises(Failed) as failed:
        await app.run()
    assert "\n" not in str(failed.value)
    return failed.value.code, str(failed.value)


# --- the start -----------------------------------------------------------------------------------


async def test_a_refused_start_is_one_logged_line_and_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen()
    monkeypatch.setattr(app_module, "Logs", lambda _: screen)
    (tmp_path / "state").touch()
    assert await run(config(tmp_path)) == 78
    why = f"--state-dir {tmp_path / 'state'}: File exists; name one that is writable"
    assert screen.events("INIT", "refused") == [{"why": why, "exit": 78}]


async def test_a_second_daemon_of_a_state_directory_is_exit_79(tmp_path: Path) -> None:
    app, _ = made(tmp_path)
    with Lease(tmp_path / "state"):
        code, why = await refusal(app)
    assert code == 79
    assert "another hedged" in why


async def test_a_lease_that_cannot_be_opened_is_exit_78(tmp_path: Path) -> None:
    (tmp_path / "state" / NAME).mkdir(parents=True)
    app, _ = made(tmp_path)
    why = f"--state-dir {tmp_path / 'state'}: Is a directory; make it writable"
    assert await refusal(app) == (78, why)


async def test_a_damaged_journal_is_exit_78(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "sim.db").write_bytes(b"no database at all" * 100)
    app, _ = made(tmp_path)
    code, why = await refusal(app)
    assert code == 78
    assert why.startswith("journal sim.db: ")


@pytest.mark.parametrize(
    ("ms", "told"), [(50, []), (51, [{"why": "commit p50 1.00 ms, p95 51.00 ms"}])]
)
async def test_a_slow_disk_is_an_alert_not_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ms: int, told: list[dict[str, str]]
) -> None:
    took = CommitTimes(Ns(1_000_000), Ns(ms * 1_000_000))
    monkeypatch.setattr(app_module, "commit_times", lambda *_: took)
    app, screen = made(tmp_path, book=str(tmp_path / "absent"))
    await refusal(app)
    assert screen.events("ALERT", "disk_slow") == told


class Outage(App):
    """A start that finds its venues unreachable for a while."""

    left = 3
    code = 75

    async def _with_journal(self) -> int:
        self.left -= 1
        if self.left >= 0:
            raise Failed(self.code, "grvt: dark; try again later")
        return 0


def outage(folder: Path, *, managed: bool, **changes: int) -> tuple[Any, Screen, Hands]:
    app, screen = made(folder, Outage)
    hands = Hands()
    app.clock, app.notifier = hands, SimpleNamespace(managed=managed, status=lambda _: None)
    for name, value in changes.items():
        setattr(app, name, value)
    return app, screen, hands


async def test_under_a_manager_a_start_waits_out_an_outage_instead_of_spending_its_starts(
    tmp_path: Path,
) -> None:
    app, screen, hands = outage(tmp_path, managed=True)
    assert await app.run() == 0
    assert screen.events("INIT", "waiting") == [{"why": "grvt: dark; try again later"}] * 3
    assert hands.seconds == 3 * START_AGAIN


@pytest.mark.parametrize(
    ("managed", "changes", "tries"),
    [
        (False, {}, 1),  # by hand the first refusal is the answer
        (True, {"code": 78}, 1),  # a human is needed: waiting mends nothing
        (True, {"_stop_asked": True}, 1),
        (True, {"left": 1000}, 31),  # a minute, then the manager's turn
    ],
)
async def test_a_start_that_does_not_wait_or_not_for_ever(
    tmp_path: Path, managed: bool, changes: dict[str, int], tries: int
) -> None:
    app, _, _ = outage(tmp_path, managed=managed, **changes)
    before = app.left
    assert (await refusal(app))[0] == changes.get("code", 75)
    assert before - app.left == tries


async def test_a_disk_that_cannot_be_timed_leaves_the_word_to_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> CommitTimes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(app_module, "commit_times", full)
    app, screen = made(tmp_path, book=str(tmp_path / "absent"))
    await refusal(app)
    assert screen.events("ALERT", "disk_slow") == []


@pytest.mark.parametrize(
    ("book", "code", "said"),
    [
        ("none.jsonl", 78, "none.jsonl"),
        ("synthetic:ETH,colour=blue", 2, "book 'synthetic:ETH,colour=blue': "),
    ],
)
async def test_a_book_that_cannot_be_played_ends_the_start(
    tmp_path: Path, book: str, code: int, said: str
) -> None:
    app, _ = made(tmp_path)
    app.config = replace(app.config, book=book)
    ended, why = await refusal(app)
    assert ended == code
    assert said in why


async def test_shadow_without_live_books_ends_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(*_: Any) -> Any:
        raise ConfigError(75, "backpack shows no book; try again later")

    monkeypatch.setattr(app_module, "start_live_feed", refuses)
    app, _ = made(tmp_path)
    app.config = replace(app.config, venues="shadow")
    assert await refusal(app) == (75, "backpack shows no book; try again later")


async def test_an_emergency_path_that_cannot_be_built_ends_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any) -> int:
        raise RehearsalFailed("emergency path: finish: grvt: no key")

    monkeypatch.setattr(app_module, "rehearse", refuses)
    app, _ = made(tmp_path)
    with pytest.raises(Failed, match="grvt: no key; nothing was sent") as failed:
        app._rehearse({}, {}, Settings(params(), LIMITS))
    assert failed.value.code == 78


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (StartRefused("grvt holds 1 more; type `hedged flatten`"), 78, "grvt holds 1 more; type"),
        (VenueUnreachable("silent"), 75, "reconciliation: silent; try again later"),
    ],
)
async def test_a_start_that_does_not_reconcile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, code: int, said: str
) -> None:
    class Stuck:
        def __init__(self, *_: Any) -> None:
            """Read nothing."""

        async def start(self) -> None:
            raise raised

    monkeypatch.setattr(app_module, "Reconciler", Stuck)
    app, _ = made(tmp_path)
    nothing = cast("Any", None)
    with pytest.raises(Failed, match=said) as failed:
        await app._reconcile(nothing, nothing, nothing, nothing)
    assert failed.value.code == code


# --- a run that breaks ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (RuntimeError("a bug"), 70),
        (sqlite3.OperationalError("disk I/O error"), 78),
        (ExceptionGroup("loop", [sqlite3.OperationalError("disk I/O error")]), 78),
    ],
)
async def test_whatever_breaks_every_venue_is_told_to_cancel_and_a_trace_is_left(
    tmp_path: Path, raised: Exception, code: int
) -> None:
    app, screen = made(tmp_path, Broken)
    app.raises = raised
    assert await app.run() == code
    assert [door.calls for door in app.doors.values()] == [["cancel_all", "close"]] * 2
    assert screen.events("SHUTDOWN", "cancel_all") == [
        {"venue": "backpack", "answer": "VenueUnreachable('dark')"},
        {"venue": "grvt", "answer": "CancelAccepted"},
    ]
    (told,) = screen.events("ALERT", "internal_error")
    assert told["what"] == repr(raised)
    assert "in _trade" in told["trace"]


async def test_a_refusal_after_the_login_cancels_nothing_and_closes_both(tmp_path: Path) -> None:
    app, screen = made(tmp_path, Broken)
    app.raises = Failed(78, "grvt holds 1 more")
    assert await refusal(app) == (78, "grvt holds 1 more")
    assert [door.calls for door in app.doors.values()] == [["close"]] * 2
    assert screen.events("ALERT", "internal_error") == []


async def test_a_summary_that_cannot_be_written_is_said_and_changes_no_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any, **__: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = tmp_path / "out" / "summary.json"
    app, screen = made(tmp_path, summary_json=str(target))
    monkeypatch.setattr(Path, "write_text", refuses)
    w = world()
    app._report(cast("Any", SimpleNamespace(world=w)), RunMetrics(w), 0)
    why = f"--summary-json {target}: No space left on device"
    assert screen.events("METRICS", "summary_not_written") == [{"why": why}]
    assert len(screen.events("METRICS", "run_complete")) == 1

"""hedged-guard: when it acts, what it may do, and that it never stops trying (F35, F36, F45)."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from daemon import guard as guard_module
from daemon.app import App
from daemon.guard import CancelOnly, Guard, absent, main, running, watch
from daemon.heartbeat import Beat, Heart, last_beat
from daemon.notify import Notifier
from exchanges.errors import VenueForbidden, VenueUnreachable
from exchanges.port import CancelAccepted, CancelOutcome, InDoubt
from strategy.domain import Instrument, Ns, OrderView, Status, Venue
from tests.builders import BACKPACK, GRVT, SECOND
from tests.harness import Sink
from tests.unit.recovery_rig import Hands, doubtful, told

STALE = Ns(15 * SECOND)


class Door:
    """A venue that lists and cancels; ``failures`` are raised by the next calls."""

    def __init__(self, venue: Venue, resting: int = 1) -> None:
        self.venue = venue
        self.resting = resting
        self.sticky = False
        self.failures: dict[str, list[Exception]] = {}
        self.calls: list[str] = []
        self.closed = False

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.failures.get(name):
            raise self.failures[name].pop(0)

    async def open(self) -> None:
        self._call("open")

    async def close(self) -> None:
        self.closed = True

    async def load(self, base: str) -> Instrument:
        assert base == "ETH"
        self._call("load")
        return GRVT if self.venue is Venue.GRVT else BACKPACK

    async def open_orders(self) -> tuple[OrderView, ...]:
        self._call("open_orders")
        return (told(doubtful(), Status.OPEN),) * self.resting

    async def cancel_all(self) -> CancelOutcome:
        self._call("cancel_all")
        if self.sticky:
            return InDoubt("429")
        self.resting = 0
        return CancelAccepted(None)


class Rig:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Hands()
        self.doors = {venue: Door(venue) for venue in Venue}
        self.lines: list[tuple[str, str, dict[str, Any]]] = []
        ports: Mapping[Venue, CancelOnly] = self.doors
        self.guard = Guard(folder, "ETH", ports, self.clock, self.say, STALE)
        self.heart = Heart(folder, self.clock.mono, self.broken)

    def say(self, level: str, tag: str, event: str, fields: Mapping[str, str | int]) -> None:
        del level
        self.lines.append((tag, event, dict(fields)))

    def broken(self, why: str) -> None:
        self.lines.append(("", "broken", {"why": why}))

    def events(self, event: str) -> list[dict[str, Any]]:
        return [fields for _, name, fields in self.lines if name == event]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


# --- when ---


@pytest.mark.parametrize(
    ("beat", "alive", "why"),
    [
        (None, True, ""),
        (Beat(Ns(100 * SECOND), 7, ended=False), True, ""),
        (Beat(Ns(86 * SECOND), 7, ended=False), True, ""),
        (Beat(Ns(84 * SECOND), 7, ended=False), True, "no decision for 16 s"),
        (Beat(Ns(96 * SECOND), 7, ended=False), False, ""),
        (Beat(Ns(94 * SECOND), 7, ended=False), False, "process 7 is gone"),
        (Beat(Ns(10 * SECOND), 7, ended=True), False, ""),
        (Beat(Ns(900 * SECOND), 7, ended=False), True, "the heartbeat is of an earlier boot"),
    ],
)
def test_absence_is_a_vanished_process_or_a_loop_that_decides_nothing(
    beat: Beat | None, alive: bool, why: str
) -> None:
    assert absent(beat, Ns(100 * SECOND), STALE, lambda _: alive) == why


def test_a_process_is_running_gone_or_somebody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert running(os.getpid())
    raised: dict[int, type[OSError]] = {1: ProcessLookupError, 2: PermissionError}

    def kill(pid: int, number: int) -> None:
        assert number == 0
        raise raised[pid]

    monkeypatch.setattr(os, "kill", kill)
    assert not running(1)
    assert running(2)


# --- the heartbeat ---


def test_heartbeat_is_written_at_most_twice_a_second_and_says_how_it_ended(rig: Rig) -> None:
    assert last_beat(rig.folder) is None
    rig.heart.beat()
    first = last_beat(rig.folder)
    assert first == Beat(rig.clock.mono(), os.getpid(), ended=False)
    rig.clock.seconds = 0.4
    rig.heart.beat()
    assert last_beat(rig.folder) == first
    rig.clock.seconds = 0.5
    rig.heart.beat()
    assert last_beat(rig.folder) != first
    rig.heart.close(clean=True)
    rig.heart.close(clean=True)
    rig.clock.seconds = 9
    rig.heart.beat()
    ended = last_beat(rig.folder)
    assert ended is not None
    assert ended.ended


def test_an_unclean_end_leaves_the_last_beat_standing(rig: Rig) -> None:
    rig.heart.beat()
    rig.heart.close(clean=False)
    beat = last_beat(rig.folder)
    assert beat is not None
    assert not beat.ended


def test_no_file_and_garbage_are_told_apart(tmp_path: Path) -> None:
    assert last_beat(tmp_path) is None
    (tmp_path / "heartbeat").write_text("what 1 alive and kicking")
    with pytest.raises(ValueError, match="not a heartbeat"):
        last_beat(tmp_path)
    (tmp_path / "heartbeat").write_text("soon 1 alive")
    with pytest.raises(ValueError, match="invalid literal"):
        last_beat(tmp_path)


def test_F39_a_heartbeat_that_cannot_be_written_is_told_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes, offset: int) -> int:
        del fd, data, offset
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    rig.heart.beat()
    rig.clock.seconds = 1
    rig.heart.beat()
    assert len(rig.events("broken")) == 1
    monkeypatch.undo()


def test_F39_the_daemon_alerts_a_heartbeat_that_it_lost() -> None:
    sink = Sink()
    App._unheard(cast("App", SimpleNamespace(logs=sink)), "No space left on device")
    assert sink.events("ALERT", "heartbeat_lost") == [{"why": "No space left on device"}]


# --- what it does ---


async def test_a_living_daemon_is_left_alone(rig: Rig) -> None:
    rig.heart.beat()
    assert not await rig.guard.look()
    assert not any(door.calls for door in rig.doors.values())


async def test_a_directory_in_which_nothing_ever_ran_needs_no_guard(rig: Rig) -> None:
    rig.clock.seconds = 100
    assert not await rig.guard.look()


async def test_F36_makers_are_cancelled_on_both_venues_until_none_rests(rig: Rig) -> None:
    rig.heart.beat()
    rig.clock.seconds = 16
    assert await rig.guard.look()
    assert [d.resting for d in rig.doors.values()] == [0, 0]
    assert await rig.guard.look()
    assert len(rig.events("guard_cancel")) == 2
    assert len(rig.events("guard_acts")) == 1
    assert rig.guard.cancelled == 2
    assert all("open" not in d.calls[2:] for d in rig.doors.values()), "logged in once"


async def test_late_arrivals_are_looked_for_every_five_seconds(rig: Rig) -> None:
    rig.heart.beat()
    rig.clock.seconds = 16
    for _ in range(3):
        await rig.guard.look()
    listed = rig.doors[Venue.GRVT].calls.count("open_orders")
    rig.doors[Venue.GRVT].resting = 1
    rig.clock.seconds = 22
    await rig.guard.look()
    assert rig.doors[Venue.GRVT].calls.count("open_orders") == listed + 1
    assert rig.doors[Venue.GRVT].resting == 0


async def test_F55_one_dead_venue_never_starves_the_other(rig: Rig) -> None:
    dead = rig.doors[Venue.BACKPACK]
    dead.failures = {"open": [VenueUnreachable("down")] * 2}
    rig.heart.beat()
    rig.clock.seconds = 16
    await rig.guard.look()
    assert rig.doors[Venue.GRVT].resting == 0
    assert dead.calls == ["open"]
    await rig.guard.look()
    await rig.guard.look()
    assert dead.resting == 0
    assert len(rig.events("list_failed")) == 2


async def test_a_list_that_fails_is_no_reason_not_to_cancel(rig: Rig) -> None:
    door = rig.doors[Venue.GRVT]
    await rig.guard.connect()
    door.failures = {"open_orders": [VenueUnreachable("502")]}
    rig.heart.beat()
    rig.clock.seconds = 16
    await rig.guard.look()
    assert door.resting == 0


async def test_F59_a_cancel_that_is_not_taken_is_tried_again(rig: Rig) -> None:
    rig.doors[Venue.GRVT].sticky = True
    rig.heart.beat()
    rig.clock.seconds = 16
    for _ in range(3):
        await rig.guard.look()
    assert rig.doors[Venue.GRVT].calls.count("cancel_all") == 3
    assert {e["taken"] for e in rig.events("guard_cancel") if e["venue"] == "grvt"} == {"false"}


async def test_the_daemons_return_ends_it(rig: Rig) -> None:
    rig.heart.beat()
    rig.clock.seconds = 16
    await rig.guard.look()
    rig.heart.beat()
    assert not await rig.guard.look()
    assert not await rig.guard.look()
    assert len(rig.events("daemon_back")) == 1


async def test_an_unreadable_heartbeat_is_an_absence(rig: Rig) -> None:
    (rig.folder / "heartbeat").write_text("nonsense")
    assert await rig.guard.look()
    assert "cannot be read" in rig.events("guard_acts")[0]["why"]


async def test_keys_are_proved_at_the_start(rig: Rig) -> None:
    rig.doors[Venue.GRVT].failures = {"open": [VenueUnreachable("down")]}
    await rig.guard.connect()
    assert rig.events("unreachable") == [{"venue": "grvt", "why": "down"}]
    rig.doors[Venue.GRVT].failures = {"open": [VenueForbidden("wrong key")]}
    with pytest.raises(VenueForbidden):
        await rig.guard.connect()
    await rig.guard.close()
    assert all(door.closed for door in rig.doors.values())


async def test_it_looks_every_second_until_it_is_stopped(rig: Rig) -> None:
    rig.heart.beat()
    stop = asyncio.Event()
    asked = rig.clock.sleep

    async def sleep(seconds: float) -> None:
        await asked(seconds)
        if rig.clock.seconds > 20:
            stop.set()

    rig.clock.sleep = sleep  # type: ignore[method-assign]  # ends the run
    await watch(rig.guard, rig.clock, Notifier(None, rig.clock.mono), stop)
    assert rig.events("guard_acts") != []


# --- the command ---


def test_without_live_venues_there_is_nothing_to_guard(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--ticker", "ETH", "--log-format", "json"]) == 0
    assert "nothing_to_guard" in capfd.readouterr().out


@pytest.mark.parametrize("stale", ["0", "-1", "1.5", "soon"])
def test_a_wrong_patience_is_one_line(stale: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--ticker", "ETH", f"--stale={stale}"]) == 2
    assert "--stale" in capsys.readouterr().err


def test_the_guard_holds_no_door_that_could_open_anything() -> None:
    doors = {name for name in vars(CancelOnly) if not name.startswith("_")}
    assert doors == {"open", "close", "load", "open_orders", "cancel_all"}
    with pytest.raises(AssertionError):
        guard_module._no_orders()

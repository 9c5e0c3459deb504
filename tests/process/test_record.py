"""``hedged record`` as its users run it, against ``hedged simulate`` as the live venues."""

import gzip
import json
import signal
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from exchanges.simulator.tape import open_tape
from strategy.domain import Venue
from tests.process.programs import (
    HEDGED,
    PATIENCE,
    Simulator,
    environment,
    hedged,
    slack,
    start,
    until,
)

RECORD = ("record", "--ticker", "ETH", "--log-format", "console")
Sides = tuple[dict[str, str], dict[str, str]]
State = tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]


@dataclass
class Recorded:
    """What one recording says of one venue."""

    states: list[State] = field(default_factory=list)
    """Every book, whole, in order; unchanged ones once."""
    stamps: list[int] = field(default_factory=list)
    trades: list[tuple[str, str, str]] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def read(path: Path) -> dict[str, Recorded]:
    """Rebuild every book of a recording by the words of the format alone."""
    found = {venue.value: Recorded() for venue in Venue}
    books: dict[str, Sides] = {}
    for row in rows(path)[1:]:
        name, recorded = row["v"], found[row["v"]]
        if row["type"] == "trade":
            recorded.trades.append((row["px"], row["sz"], row["aggressor"]))
        elif row["type"] == "gap":
            recorded.gaps.append(row["why"])
            del books[name]
        else:
            shown = ({}, {}) if row["type"] == "snapshot" else books[name]
            books[name] = shown
            for side, key in zip(shown, ("bids", "asks"), strict=True):
                side.update(row[key])
                for px in [px for px, size in side.items() if size == "0"]:
                    del side[px]
            state = (tuple(sorted(shown[0].items())), tuple(sorted(shown[1].items())))
            if not recorded.states or recorded.states[-1] != state:
                recorded.states.append(state)
                recorded.stamps.append(row["ts"])
    return found


def places(again: list[State], first: list[State]) -> list[int]:
    """Return where each book stands in a first recording that is replayed round and round."""
    found: list[int] = []
    at = 0
    for state in again:
        ahead = [*range(at, len(first)), *range(at)]
        fits = [n for n in ahead if first[n] == state]
        assert fits, "a book that never was"
        found.append(fits[0])
        at = fits[0] + 1
    return found


def unbroken(again: list[State], first: list[State]) -> list[int]:
    """Return the same where not one book was skipped; a book may recur, so every start counts."""
    for start_at in range(len(first)):
        at = [(start_at + n) % len(first) for n in range(len(again))]
        if all(first[n] == state for n, state in zip(at, again, strict=True)):
            return at
    raise AssertionError("a book was skipped, or never was")


def laps(at: list[int]) -> int:
    return sum(after <= before for before, after in pairwise(at))


def inside(part: list[tuple[str, str, str]], whole: list[tuple[str, str, str]]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole)))


def the_recording(folder: Path) -> Path:
    (path,) = folder.glob("ETH-*.tape.jsonl.gz")
    return path


def waiting_file(folder: Path) -> bool:
    return any(path.stat().st_size for path in folder.glob("ETH-*.part"))


def test_record_replay_record_gives_the_same_books_through_forced_gaps(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    """F50 on GRVT and a killed Backpack socket (F52) in the first recording.

    The replay begins anew when it ends, and the second recording is longer than one pass, so that
    it goes through both gaps whenever it starts. Backpack publishes every change: not one book may
    be missing. GRVT publishes every 50 ms, so two recorded books may become one; none may be new
    or out of order. Stamps are times of receipt: the distances may differ by what publication and
    scheduling add, the median by less than a quarter of a second.
    """
    live = fresh_simulator("--speed", "2")
    first = tmp_path / "first"
    process = start(tmp_path, *RECORD, "--out", "first", "--duration", "4", env=live.environment())
    until(lambda: waiting_file(first), 20, "a first flush")
    live.ask("/faults", "POST", {"venue": "grvt", "fault": "F50", "count": 1})
    live.ask("/faults", "POST", {"venue": "backpack", "fault": "F52", "seconds": 0.2})
    assert process.wait(20 * PATIENCE) == 0
    tape = the_recording(first)
    assert open_tape(tape).roles == frozenset(Venue)
    a = read(tape)
    gaps = {name: len(recorded.gaps) for name, recorded in a.items()}
    assert gaps == {"backpack": 1, "grvt": 1}
    replay = fresh_simulator("--book", str(tape))
    done = hedged(
        tmp_path, *RECORD, "--out", "again", "--duration", "5.5", env=replay.environment(), limit=30
    )
    assert done.returncode == 0, done.stdout + done.stderr
    b = read(the_recording(tmp_path / "again"))
    for name, same in (("backpack", unbroken), ("grvt", places)):
        was, now = a[name], b[name]
        assert now.gaps == []
        at = same(now.states, was.states)
        assert laps(at) >= 1
        assert len(set(at)) >= 0.5 * len(was.states)
        assert inside(now.trades, was.trades * 4)
        lap = [
            pair for n, pair in enumerate(zip(now.stamps, at, strict=True), 1) if not laps(at[:n])
        ]
        drift = [
            (stamp - lap[0][0]) - (was.stamps[place] - was.stamps[lap[0][1]])
            for stamp, place in lap
        ]
        assert abs(statistics.median(drift)) < 250_000_000 * slack()
    assert b["backpack"].trades


def test_a_killed_recorder_leaves_a_readable_file_and_the_next_one_marks_the_hole(
    simulator: Simulator, tmp_path: Path
) -> None:
    out, env = tmp_path / "recordings", simulator.environment()
    process = start(tmp_path, *RECORD, env=env)
    until(lambda: waiting_file(out), 20, "a first flush")
    process.send_signal(signal.SIGKILL)
    process.wait(10 * PATIENCE)
    (part,) = out.iterdir()
    before = len(list(open_tape(part).events()))
    assert before > 2
    process = start(tmp_path, *RECORD, env=env)
    until(lambda: not part.exists() and waiting_file(out), 20, "a second file")
    process.terminate()
    assert process.wait(20 * PATIENCE) == 0
    old, new = sorted(out.iterdir())
    assert part.name == old.name + ".part"
    assert len(list(open_tape(old).events())) == before
    header, *events = rows(new)
    assert [row["type"] for row in events[:4]] == ["gap", "gap", "snapshot", "snapshot"]
    assert old.name in events[0]["why"]
    assert header["events"] == len(events)
    assert (header["from_ts"], header["to_ts"]) == (events[0]["ts"], events[-1]["ts"])
    assert list(open_tape(new).events())
    said = (tmp_path / "out.txt").read_text()
    assert f"[INIT] completed_unfinished_file file=recordings/{old.name}" in said
    assert f"[SHUTDOWN] recorded events={len(events)} gaps=2 bytes={new.stat().st_size}" in said


def test_a_full_disk_is_one_line_exit_78_and_a_whole_file(
    simulator: Simulator, tmp_path: Path
) -> None:
    """The limit on file sizes stands in for a full disk: the kernel refuses in the same place."""
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 48; exec "$@"', "-", *HEDGED, *RECORD, "--depth", "20"],
        cwd=tmp_path,
        env=simulator.environment(COVERAGE_PROCESS_CONFIG=""),  # it could not write, either
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 78, done.stdout + done.stderr
    (problem,) = [line for line in done.stdout.splitlines() if " refused " in line]
    assert "--out recordings: File too large" in problem
    assert "Traceback" not in done.stdout + done.stderr
    assert list(open_tape(the_recording(tmp_path / "recordings")).events())


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--ticker", "NOPE"), 2, "--ticker NOPE"),
        (("--ticker", "ETH", "--out", "taken"), 78, "--out taken"),
    ],
)
def test_what_cannot_be_recorded_is_one_line(
    simulator: Simulator, tmp_path: Path, flags: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "taken").write_text("")
    done = hedged(tmp_path, "record", *flags, env=simulator.environment(), limit=30)
    assert done.returncode == code, done.stdout + done.stderr
    (line,) = [row for row in done.stdout.splitlines() if "refused" in row]
    assert said in line


def test_unreachable_venues_are_exit_75(tmp_path: Path) -> None:
    nowhere = {"BACKPACK_API_URL": "http://127.0.0.1:1", "BACKPACK_WS_URL": "ws://127.0.0.1:1"}
    done = hedged(tmp_path, *RECORD, env=environment(**nowhere), limit=30)
    assert done.returncode == 75, done.stdout + done.stderr
    (line,) = done.stdout.splitlines()
    assert "backpack" in line
    assert "try again" in line
    assert not (tmp_path / "recordings").exists()

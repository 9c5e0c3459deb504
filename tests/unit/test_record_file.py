"""Recordings on disk: readable at every moment, whole after a kill."""

import fcntl
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from daemon import record_file
from daemon.record_file import PART, SUFFIX, TapeFile, TapeHead, newest, salvage
from exchanges.simulator.tape import open_tape
from strategy.domain import NANO, Ns, Venue

START = Ns(1_795_264_692 * NANO)
HEAD = TapeHead(
    "ETH",
    {
        "backpack": {"recorded": "Backpack", "tick": "0.01", "step": "0.0001"},
        "grvt": {"recorded": "GRVT", "tick": "0.01", "step": "0.01"},
    },
    "none stated",
)


def line(ts: int, venue: str = "grvt", kind: str = "snapshot") -> bytes:
    row = {"ts": ts, "v": venue, "type": kind, "bids": [["99", "1"]], "asks": [["101", "1"]]}
    return json.dumps(row).encode()


def books(ts: int) -> list[bytes]:
    return [line(ts, "backpack"), line(ts)]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in gzip.decompress(path.read_bytes()).splitlines()]


def test_the_file_is_named_by_ticker_and_utc_start_once_it_is_complete(tmp_path: Path) -> None:
    file = TapeFile(tmp_path, HEAD, START)
    file.append(books(START), START)
    assert [p.name for p in tmp_path.iterdir()] == [f"ETH-20261121T123812Z{SUFFIX}{PART}"]
    assert file.finish() == tmp_path / f"ETH-20261121T123812Z{SUFFIX}"
    assert [p.name for p in tmp_path.iterdir()] == [f"ETH-20261121T123812Z{SUFFIX}"]


def test_the_header_is_true_after_every_flush(tmp_path: Path) -> None:
    file = TapeFile(tmp_path, HEAD, START)
    for number in range(1, 12):
        last = Ns(START + number)
        file.append(books(last) * number, last)
        found = rows(file.part)
        assert found[0]["events"] == len(found) - 1 == number * (number + 1)
        assert (found[0]["from_ts"], found[0]["to_ts"]) == (START, last)
    path = file.finish()
    assert path is not None
    assert open_tape(path).roles == frozenset(Venue)


def test_an_unfinished_file_replays(tmp_path: Path) -> None:
    file = TapeFile(tmp_path, HEAD, START)
    file.append(books(START), START)
    file.append([line(START + 5, kind="delta")], Ns(START + 5))
    tape = open_tape(file.part)
    assert (tape.ticker, len(list(tape.events()))) == ("ETH", 3)
    file.finish()


def test_a_file_without_events_is_removed(tmp_path: Path) -> None:
    assert TapeFile(tmp_path, HEAD, START).finish() is None
    assert list(tmp_path.iterdir()) == []


def test_two_files_of_one_second_get_two_names(tmp_path: Path) -> None:
    files = [TapeFile(tmp_path, HEAD, START) for _ in range(2)]
    for file in files:
        file.append(books(START), START)
    names = [path.name for file in files if (path := file.finish())]
    assert names == [f"ETH-20261121T123812Z{SUFFIX}", f"ETH-20261121T123812Z-2{SUFFIX}"]


@pytest.mark.parametrize("torn", [1, 7, 30])
def test_a_killed_recorders_file_is_cut_to_its_last_whole_flush(tmp_path: Path, torn: int) -> None:
    file = TapeFile(tmp_path, HEAD, START)
    file.append(books(START), START)
    whole = file.part.read_bytes()
    file.append([line(START + 9)], Ns(START + 9))
    os.close(file._fd)  # the process is gone, and its lock with it
    file.part.write_bytes(file.part.read_bytes()[: len(whole) + torn])
    assert len(list(open_tape(file.part).events())) == 2
    assert salvage(tmp_path, "ETH") == [file.path]
    assert [row["type"] for row in rows(file.path)] == ["header", "snapshot", "snapshot"]
    assert len(list(open_tape(file.path).events())) == 2


def test_salvage_leaves_the_file_of_a_running_recorder_and_of_other_tickers(tmp_path: Path) -> None:
    running = TapeFile(tmp_path, HEAD, START)
    running.append(books(START), START)
    other = tmp_path / f"BTC-20261121T123812Z{SUFFIX}{PART}"
    other.write_bytes(b"")
    assert salvage(tmp_path, "ETH") == []
    assert running.part.exists()
    assert other.exists()
    running.finish()


def test_salvage_removes_a_file_in_which_nothing_can_be_read(tmp_path: Path) -> None:
    for name, content in (("a", b""), ("b", b"\x1f\x8bgarbage")):
        (tmp_path / f"ETH-{name}{SUFFIX}{PART}").write_bytes(content)
    assert salvage(tmp_path, "ETH") == []
    assert list(tmp_path.iterdir()) == []


def test_a_growing_file_is_locked(tmp_path: Path) -> None:
    file = TapeFile(tmp_path, HEAD, START)
    with file.part.open("rb") as again, pytest.raises(BlockingIOError):
        fcntl.flock(again.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    file.finish()


def test_a_full_disk_leaves_what_was_whole_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = TapeFile(tmp_path, HEAD, START)
    file.append(books(START), START)

    def half(fd: int, data: bytes, at: int) -> None:
        os.pwrite(fd, data[: len(data) // 2], at)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(record_file, "_write", half)
        with pytest.raises(OSError, match="No space"):
            file.append([line(START + 9)], Ns(START + 9))
    path = file.finish()
    assert path is not None
    assert len(rows(path)) == 3
    assert rows(path)[0]["events"] == 2


def test_the_newest_recording_is_the_one_that_began_last(tmp_path: Path) -> None:
    assert newest(tmp_path, "ETH") is None
    for moment in (START, Ns(START + 60 * NANO)):
        file = TapeFile(tmp_path, HEAD, moment)
        file.append(books(moment), moment)
        file.finish()
    found = newest(tmp_path, "ETH")
    assert found is not None
    assert found.name == f"ETH-20261121T123912Z{SUFFIX}"


def test_a_stored_member_keeps_its_length_and_is_gzip() -> None:
    data = HEAD.line(1, 2, 3)
    assert gzip.decompress(record_file._stored(data)) == data
    assert len(record_file._stored(data)) == len(data) + 23
    with pytest.raises(ValueError, match="licence"):
        record_file._stored(b" " * 70_000)

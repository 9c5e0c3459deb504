"""The recorder: what goes into a file, in which order, and what happens when the disk refuses."""

import argparse
import asyncio
import gzip
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from daemon import record as recorder_module
from daemon.cli import build_parser
from daemon.clock import SystemClock
from daemon.config import ConfigError
from daemon.logs import Logs
from daemon.record import RecordConfig, Recorder, Recording, settings
from daemon.record_file import TapeHead
from daemon.record_writer import Entry, TapeWriter, encode
from exchanges.recording import MarketGap
from exchanges.simulator.model import MarketBook, MarketTrade
from exchanges.simulator.tape import open_tape
from strategy.domain import (
    NANO,
    Book,
    Ns,
    Px,
    Qty,
    Side,
    StreamState,
    Surface,
    Trade,
    Venue,
    VenueEvent,
)

WALL = 1_795_264_692 * NANO
HEAD = TapeHead("ETH", {v.value: {"tick": "0.01", "step": "0.01"} for v in Venue}, "none stated")


class Clock:
    def __init__(self) -> None:
        self.at = 1_000
        self.step = 0

    def wall(self) -> Ns:
        return Ns(WALL + self.at + self.step)

    def mono(self) -> Ns:
        return Ns(self.at)

    async def sleep(self, seconds: float) -> None:
        self.at += int(seconds * NANO)


class Rig:
    """A recorder between hand-made events and a list."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.waiting = 0
        self.entries: list[Entry] = []
        self.told: list[tuple[str, str, str]] = []
        self.recorder = Recorder(
            100,
            self.entries.append,
            lambda: self.waiting,
            self.clock,
            lambda venue, event, why: self.told.append((venue.value, event, why)),
        )

    def take(self, *events: VenueEvent) -> None:
        for event in events:
            self.clock.at += 10
            self.recorder.take(event)

    def kinds(self) -> list[str]:
        return [f"{e.venue}:{json.loads(encode(e))['type']}" for e in self.entries]


def book(venue: Venue, bid: int = 99 * NANO, ask: int = 101 * NANO) -> Book:
    return Book(venue, ((Px(bid), Qty(NANO)),), ((Px(ask), Qty(NANO)),), Ns(1))


def trade(venue: Venue) -> Trade:
    return Trade(venue, Px(100 * NANO), Qty(NANO // 2), Side.BUY, Ns(1))


def down(venue: Venue, why: str) -> StreamState:
    return StreamState(venue, Surface.PUBLIC, up=False, why=why)


def running() -> Rig:
    rig = Rig()
    rig.take(book(Venue.GRVT), book(Venue.BACKPACK))
    rig.recorder.begin(None)
    rig.entries.clear()
    return rig


def test_a_file_begins_with_both_books_and_nothing_comes_before() -> None:
    rig = Rig()
    rig.take(book(Venue.GRVT), trade(Venue.GRVT))
    assert not rig.recorder.complete
    assert rig.recorder.why_incomplete() == "backpack: no book"
    rig.take(down(Venue.BACKPACK, "cannot connect"))
    assert rig.recorder.why_incomplete() == "backpack: no book (cannot connect)"
    rig.take(book(Venue.BACKPACK), book(Venue.GRVT, 98 * NANO))
    assert rig.entries == []
    rig.recorder.begin(None)
    assert rig.kinds() == ["backpack:snapshot", "grvt:snapshot"]
    assert rig.entries[1].change == MarketBook(
        ((Px(98 * NANO), Qty(NANO)),), ((Px(101 * NANO), Qty(NANO)),), snapshot=True
    )


def test_a_restart_is_marked_as_a_gap_of_both_venues() -> None:
    rig = Rig()
    rig.take(book(Venue.GRVT), book(Venue.BACKPACK))
    rig.recorder.begin("ETH-1.tape.jsonl.gz")
    assert rig.kinds() == ["backpack:gap", "grvt:gap", "backpack:snapshot", "grvt:snapshot"]
    assert "ETH-1.tape.jsonl.gz" in json.loads(encode(rig.entries[0]))["why"]


def test_F50_a_lost_stream_is_marked_and_followed_by_a_fresh_snapshot() -> None:
    rig = running()
    rig.take(book(Venue.GRVT, 98 * NANO), down(Venue.GRVT, "sequence 9 after 7"))
    rig.take(trade(Venue.BACKPACK), book(Venue.GRVT))
    assert rig.kinds() == ["grvt:delta", "grvt:gap", "backpack:trade", "grvt:snapshot"]
    assert rig.told == [("grvt", "gap", "sequence 9 after 7"), ("grvt", "book_is_back", "snapshot")]


def test_time_never_goes_back_when_the_wall_clock_steps() -> None:
    rig = running()
    rig.take(trade(Venue.GRVT))
    rig.clock.step = -5 * NANO
    rig.take(trade(Venue.GRVT))
    rig.recorder.begin(None)
    rig.take(trade(Venue.GRVT))
    stamps = [entry.ts for entry in rig.entries]
    assert stamps == sorted(stamps)
    assert stamps[0] == WALL + 1_030


def test_a_disk_that_does_not_keep_up_costs_data_and_says_so() -> None:
    rig = running()
    rig.waiting = recorder_module.MAX_PENDING + 1
    rig.take(trade(Venue.GRVT), book(Venue.GRVT, 98 * NANO))
    assert rig.kinds() == ["backpack:gap", "grvt:gap"]
    rig.waiting = recorder_module.MAX_PENDING // 2 + 1
    rig.take(book(Venue.GRVT, 97 * NANO))
    rig.waiting = 0
    rig.take(book(Venue.GRVT, 96 * NANO), book(Venue.BACKPACK))
    assert rig.kinds()[2:] == ["grvt:snapshot", "backpack:snapshot"]


def test_lines_are_those_of_the_format() -> None:
    bought = MarketTrade(Px(2_682_670_000_000), Qty(NANO // 4), Side.BUY)
    assert json.loads(encode(Entry(Ns(7), Venue.GRVT, bought))) == {
        "ts": 7, "v": "grvt", "type": "trade", "px": "2682.67", "sz": "0.25", "aggressor": "buy",
    }  # fmt: skip
    gone = MarketBook(((Px(NANO), Qty(0)),), (), snapshot=False)
    assert json.loads(encode(Entry(Ns(8), Venue.BACKPACK, gone))) == {
        "ts": 8, "v": "backpack", "type": "delta", "bids": [["1", "0"]], "asks": [],
    }  # fmt: skip
    assert json.loads(encode(Entry(Ns(9), Venue.GRVT, MarketGap("closed")))) == {
        "ts": 9, "v": "grvt", "type": "gap", "why": "closed",
    }  # fmt: skip


# --- the thread ----------------------------------------------------------------------------------


def snapshots(ts: int) -> list[Entry]:
    change = MarketBook(
        ((Px(99 * NANO), Qty(NANO)),), ((Px(101 * NANO), Qty(NANO)),), snapshot=True
    )
    return [Entry(Ns(ts), venue, change) for venue in Venue]


def until(condition: Callable[[], bool], limit: float = 5) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)  # noqa: TID251 - the thread under test runs in real time


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in gzip.decompress(path.read_bytes()).splitlines()]


def test_rotation_loses_nothing_and_every_file_replays(tmp_path: Path) -> None:
    writer = TapeWriter(tmp_path, HEAD, SystemClock(), lambda bad: pytest.fail(str(bad)))
    for number in range(3):
        for entry in snapshots(WALL + number * NANO):
            writer.put(entry)
        writer.put(Entry(Ns(WALL + number * NANO + 1), Venue.GRVT, MarketGap("closed")))
        writer.rotate()
    writer.close()
    assert (writer.events, writer.gaps, len(writer.paths)) == (9, 3, 3)
    assert [p.name for p in sorted(tmp_path.iterdir())] == [p.name for p in writer.paths]
    assert writer.size == sum(p.stat().st_size for p in writer.paths)
    for path in writer.paths:
        assert [row["type"] for row in rows(path)] == ["header", "snapshot", "snapshot", "gap"]
        assert rows(path)[0]["events"] == 3
        assert len(list(open_tape(path).events())) == 2


def test_what_came_is_on_disk_within_about_a_second(tmp_path: Path) -> None:
    writer = TapeWriter(tmp_path, HEAD, SystemClock(), lambda bad: pytest.fail(str(bad)))
    for entry in snapshots(WALL):
        writer.put(entry)
    until(lambda: writer.file_size > 0, 3)
    part = next(tmp_path.iterdir())
    assert part.name.endswith(".part")
    assert len(list(open_tape(part).events())) == 2
    writer.close()
    assert not writer.alive


def test_a_disk_that_refuses_is_told_once_and_the_loop_is_never_held_up(tmp_path: Path) -> None:
    told: list[OSError] = []
    gone = tmp_path / "gone"
    writer = TapeWriter(gone, HEAD, SystemClock(), told.append)
    for entry in snapshots(WALL) * 50:
        writer.put(entry)
    writer.rotate()
    until(lambda: bool(told))
    writer.put(snapshots(WALL)[0])
    writer.close()
    assert [bad.strerror for bad in told] == ["No such file or directory"]
    assert (writer.events, writer.paths) == (0, [])


async def test_a_run_rotates_in_step_with_the_disk_and_never_inside_a_gap(tmp_path: Path) -> None:
    config = replace(
        settings(flags("--ticker", "ETH"), {}, tmp_path),
        rotate_after=Ns(1),
        duration=Ns(5 * NANO // 2),
    )
    logs = Logs(config.run, stdout=FileIO(os.devnull, "wb"))
    writer = TapeWriter(tmp_path, HEAD, SystemClock(), lambda bad: pytest.fail(str(bad)))
    recorder = Recorder(9, writer.put, lambda: 0, SystemClock(), lambda _v, _e, _w: None)
    for venue in Venue:
        recorder.take(book(venue))
    recorder.begin(None)
    until(lambda: writer.file_size > 0)
    recorder.take(down(Venue.GRVT, "closed"))
    run = Recording(config, logs)
    try:
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(run._watch(recorder, writer))
            await asyncio.sleep(0.6)
            assert writer.paths == []
            recorder.take(book(Venue.GRVT, 98 * NANO))
            await watching
    finally:
        writer.close()
        logs.close()
    assert 2 <= len(writer.paths) <= 4
    first, second = (rows(path) for path in writer.paths[:2])
    assert [row["type"] for row in first] == ["header", *["snapshot"] * 2, "gap", "snapshot"]
    assert [row["type"] for row in second] == ["header", "snapshot", "snapshot"]
    assert second[2]["bids"] == [["98", "1"]]


# --- flags ---------------------------------------------------------------------------------------


def flags(*words: str) -> argparse.Namespace:
    return build_parser("record").parse_args(words)


def test_defaults_are_the_venues_themselves_and_an_hour_a_file(tmp_path: Path) -> None:
    found: RecordConfig = settings(flags("--ticker", "eth"), {}, tmp_path)
    assert (found.run.ticker, found.out, found.depth) == ("ETH", Path("recordings"), 500)
    assert (found.rotate_after, found.rotate_bytes) == (3600 * NANO, 256_000_000)
    assert (found.duration, found.licence, found.run.log_file) == (None, "none stated", None)
    assert found.run.endpoints.backpack_api is None


def test_addresses_come_from_the_environment(tmp_path: Path) -> None:
    env = {"GRVT_MARKET_DATA_URL": "http://127.0.0.1:1", "BACKPACK_WS_URL": "ws://127.0.0.1:2"}
    urls = settings(flags("--ticker", "ETH"), env, tmp_path).run.endpoints
    assert (urls.grvt_market_data, urls.backpack_ws) == tuple(env.values())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "--ticker is required"),
        (("--ticker", "E/H"), 2, "--ticker"),
        (("--ticker", "ETH", "--rotate-minutes", "0"), 2, "--rotate-minutes '0'"),
        (("--ticker", "ETH", "--rotate-mb", "x"), 2, "--rotate-mb 'x'"),
        (("--ticker", "ETH", "--duration", "-1"), 2, "--duration '-1'"),
        (("--ticker", "ETH", "--depth", "501"), 2, "--depth '501'"),
        (("--ticker", "ETH", "--licence", "a\nb"), 2, "--licence"),
        (("--ticker", "ETH", "--env-file", "nowhere"), 78, "nowhere"),
    ],
)
def test_a_bad_flag_is_one_line_and_its_exit_code(
    tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        settings(flags(*words), {}, tmp_path)
    assert refused.value.exit_code == code
    assert said in str(refused.value)

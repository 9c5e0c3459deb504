"""The tape reader: what a tape means, and one clear line for every tape that is wrong."""

import gzip
import json
import tracemalloc
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from exchanges.simulator.model import MarketBook, MarketTrade
from exchanges.simulator.tape import BUNDLED, TapeError, open_tape
from strategy.domain import NANO, Side, Venue, nano

T0 = 1_700_000_000 * NANO


def header(**changes: Any) -> dict[str, Any]:
    grid = {"recorded": "a test", "tick": "0.01", "step": "0.001"}
    row = {
        "type": "header",
        "format": "hedged-tape/1",
        "ticker": "ETH",
        "licence": "none",
        "streams": {"backpack": grid, "grvt": grid},
        "from_ts": T0,
        "to_ts": T0 + NANO,
        "events": 4,
    }
    return {key: value for key, value in (row | changes).items() if value is not None}


def snapshot(role: str, ts: int = T0, **changes: Any) -> dict[str, Any]:
    levels = {"bids": [["2999.99", "1.5"]], "asks": [["3000.01", "0.25"]]}
    return {"ts": ts, "v": role, "type": "snapshot"} | levels | changes


def trade(role: str, ts: int, **changes: Any) -> dict[str, Any]:
    row = {"ts": ts, "v": role, "type": "trade", "px": "3000.01", "sz": "0.1", "aggressor": "buy"}
    return row | changes


def good() -> list[dict[str, Any]]:
    return [
        header(),
        snapshot("backpack"),
        snapshot("grvt", T0 + 5),
        {"ts": T0 + 9, "v": "grvt", "type": "delta", "bids": [["2999.99", "0"]], "asks": []},
        trade("backpack", T0 + 10),
    ]


def write(path: Path, rows: list[dict[str, Any]], packed: bool = True) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if packed else text)
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_a_tape_is_read_gzipped_or_plain(tmp_path: Path, packed: bool) -> None:
    tape = open_tape(write(tmp_path / "t", good(), packed))

    events = list(tape.events())

    assert (tape.ticker, tape.duration, tape.lead) == ("ETH", NANO, 5)
    assert tape.roles == {Venue.BACKPACK, Venue.GRVT}
    assert tape.tick(Venue.GRVT) == "0.01"
    assert tape.step(Venue.GRVT) == "0.001"
    assert [(e.offset, e.venue.value) for e in events] == [
        (0, "backpack"),
        (5, "grvt"),
        (9, "grvt"),
        (10, "backpack"),
    ]
    book, _, delta, print_ = (e.event for e in events)
    assert book == MarketBook(
        ((nano("2999.99"), nano("1.5")),),  # type: ignore[arg-type]  # plain ints compare equal
        ((nano("3000.01"), nano("0.25")),),  # type: ignore[arg-type]
        snapshot=True,
    )
    assert isinstance(delta, MarketBook)
    assert not delta.snapshot
    assert delta.bids == ((nano("2999.99"), 0),)
    assert isinstance(print_, MarketTrade)
    assert (print_.px, print_.qty, print_.taker) == (nano("3000.01"), nano("0.1"), Side.BUY)


def test_a_tape_of_one_stream_plays_both_venues(tmp_path: Path) -> None:
    rows = [header(streams={"grvt": {"tick": "0.1", "step": "0.01"}}), snapshot("grvt")]
    tape = open_tape(write(tmp_path / "t", rows))

    events = list(tape.events())

    assert tape.roles == {Venue.GRVT}
    assert tape.tick(Venue.BACKPACK) == "0.1"
    assert {e.venue for e in events} == set(Venue)
    assert events[0].event == events[1].event


def test_a_pass_starts_afresh_even_where_the_recording_began_with_a_delta(tmp_path: Path) -> None:
    rows = [header(), snapshot("backpack", type="delta"), snapshot("grvt", type="delta")]
    tape = open_tape(write(tmp_path / "t", rows))

    assert [e.event.snapshot for e in tape.events() if isinstance(e.event, MarketBook)] == [
        True,
        True,
    ]


def change(index: int, **changes: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """Return a spoiler: sets fields of one row; a value of None removes the field."""

    def spoil(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        merged = rows[index] | changes
        rows[index] = {key: value for key, value in merged.items() if value is not None}
        return rows

    return spoil


BAD: list[tuple[str, Callable[[list[dict[str, Any]]], list[dict[str, Any]]], tuple[str, ...]]] = [
    ("empty", lambda _: [], ("empty",)),
    ("no header", lambda rows: rows[1:], ("line 1", "type", "'snapshot'", "header")),
    ("format", change(0, format="hedged-tape/9"), ("line 1", "format", "'hedged-tape/9'")),
    ("no ticker", change(0, ticker=None), ("line 1", "ticker", "missing")),
    (
        "ticker",
        change(0, ticker=7),
        (
            "line 1",
            "ticker is 7",
        ),
    ),
    ("no streams", change(0, streams={}), ("line 1", "streams")),
    ("stream", change(0, streams={"grvt": 3}), ("line 1", "streams.grvt is 3")),
    ("no tick", change(0, streams={"grvt": {"step": "1"}}), ("streams.grvt.tick is missing",)),
    (
        "tick",
        change(0, streams={"grvt": {"tick": "0", "step": "1"}}),
        ("streams.grvt.tick is '0'", "more than 0"),
    ),
    ("header role", change(0, streams={"okx": {}}), ("line 1", "role is 'okx'", "backpack")),
    ("span", change(0, to_ts=5), ("line 1", "to_ts is 5", "before")),
    ("no events", change(0, events=0), ("line 1", "events is 0", "empty")),
    ("header only", lambda rows: rows[:1], ("no events",)),
    ("one book only", lambda rows: rows[:2], ("'grvt'", "no book")),
    ("role", change(1, v="okx"), ("line 2", "role is 'okx'")),
    (
        "undeclared",
        change(0, streams={"grvt": {"tick": "1", "step": "1"}}),
        ("line 2", "v is 'backpack'", "header"),
    ),
    ("type", change(1, type=7), ("line 2", "type is 7", "snapshot")),
    ("crossed", change(1, bids=[["3000.01", "1"]]), ("line 2", "bids price is '3000.01'", "ask")),
    ("no type", change(1, type=None), ("line 2", "type is missing")),
    ("no bids", change(1, bids=None), ("line 2", "bids is missing")),
    ("bids", change(1, bids="x"), ("line 2", "bids is 'x'", "list")),
    ("level", change(1, asks=[["1"]]), ("line 2", "asks[0] is ['1']", "[price, size]")),
    (
        "price",
        change(1, bids=[["1", "1"], ["abc", "1"]]),
        ("line 2", "bids[1] price is 'abc'", "decimal"),
    ),
    ("size", change(1, bids=[["1", "-1"]]), ("line 2", "bids[0] size is '-1'")),
    ("float", change(1, bids=[["1", 1.5]]), ("line 2", "bids[0] size is 1.5", "string")),
    ("nan", change(1, bids=[["1", "NaN"]]), ("line 2", "bids[0] size is 'NaN'")),
    ("zero price", change(1, asks=[["0", "1"]]), ("line 2", "asks price", "more than 0")),
    ("fine", change(1, asks=[["1", "0.0000000001"]]), ("line 2", "9 decimal places")),
    ("backwards", change(2, ts=T0 - 1), ("line 3", f"ts is {T0 - 1}", "backwards")),
    ("ts", change(1, ts="soon"), ("line 2", "ts is 'soon'", "whole number")),
    ("no ts", change(1, ts=None), ("line 2", "ts is missing")),
    ("trade size", change(4, sz="0"), ("line 5", "sz is '0'", "more than 0")),
    ("no px", change(4, px=None), ("line 5", "px is missing")),
    ("aggressor", change(4, aggressor="up"), ("line 5", "aggressor is 'up'", "buy")),
]


@pytest.mark.parametrize(("spoil", "words"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_tape_is_one_line_that_names_place_and_remedy(
    tmp_path: Path,
    spoil: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
    words: tuple[str, ...],
) -> None:
    path = write(tmp_path / "bad.tape", spoil(good()))

    with pytest.raises(TapeError) as caught:
        open_tape(path)

    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(path))
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("no such file",)),
        (b"", ("empty",)),
        (b"\x00\x01binary", ("line 1", "not JSON")),
        (b"[1]\n", ("line 1", "JSON object")),
        (b"\x1f\x8b\x08not really gzip", ("damaged gzip",)),
        (gzip.compress(json.dumps(header()).encode(), mtime=0)[:40], ("damaged gzip",)),
    ],
)
def test_a_file_that_is_no_tape_is_one_line(
    tmp_path: Path, content: bytes | None, words: tuple[str, ...]
) -> None:
    path = tmp_path / "bad.tape"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(TapeError) as caught:
        open_tape(path)

    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_tape(tmp_path: Path) -> None:
    with pytest.raises(TapeError, match="cannot be read"):
        open_tape(tmp_path)


def test_a_long_value_is_cut_short_in_the_error(tmp_path: Path) -> None:
    path = write(tmp_path / "t", change(1, v="x" * 10_000)(good()))

    with pytest.raises(TapeError) as caught:
        open_tape(path)

    assert len(str(caught.value)) < 300


def test_damage_behind_the_head_is_found_while_replaying(tmp_path: Path) -> None:
    many = [trade("grvt", T0 + 10 + n) for n in range(2500)]
    tape = open_tape(write(tmp_path / "t", [*good()[:3], *many, {"ts": T0}]))

    with pytest.raises(TapeError, match="line 2504"):
        list(tape.events())


# --- gaps, later versions, size ---------------------------------------------------------------


def gap(role: str, ts: int) -> dict[str, Any]:
    return {"ts": ts, "v": role, "type": "gap", "why": "stream interrupted"}


def test_a_gap_makes_the_book_stale_until_the_next_snapshot(tmp_path: Path) -> None:
    lost = {"ts": T0 + 30, "v": "grvt", "type": "delta", "bids": [["2999.98", "1"]], "asks": []}
    rows = [*good(), gap("grvt", T0 + 20), lost, trade("grvt", T0 + 40)]
    stale = open_tape(write(tmp_path / "stale", rows))
    told = [e for e in stale.events() if e.offset >= 20]
    assert [(e.offset, type(e.event)) for e in told] == [(40, MarketTrade)]
    assert (stale.gaps, stale.stale) == (1, {Venue.GRVT})

    mended = open_tape(write(tmp_path / "mended", [*rows, snapshot("grvt", T0 + 50)]))
    last = list(mended.events())[-1]
    assert isinstance(last.event, MarketBook)
    assert last.event.snapshot
    assert (mended.gaps, mended.stale) == (1, set())


def test_a_gap_of_one_stream_leaves_the_other_alone(tmp_path: Path) -> None:
    change = {"ts": T0 + 30, "v": "grvt", "type": "delta", "bids": [["2999.98", "1"]], "asks": []}
    tape = open_tape(write(tmp_path / "t", [*good(), gap("backpack", T0 + 20), change]))

    assert [e.venue for e in tape.events() if e.offset == 30] == [Venue.GRVT]


def test_line_types_and_fields_of_later_versions_are_counted_and_passed_over(
    tmp_path: Path,
) -> None:
    funding = {"ts": T0 + 11, "v": "grvt", "type": "funding", "rate": "0.0001"}
    note = {"ts": T0 + 12, "type": "note"}
    odd = trade("backpack", T0 + 13, id="7", flags=[1])
    tape = open_tape(write(tmp_path / "t", [*good(), funding, note, note, odd]))

    events = list(tape.events())

    assert len(events) == len(good())
    assert tape.passed_over == {
        "type funding": 1,
        "type note": 2,
        "field id": 1,
        "field flags": 1,
    }


def test_a_misspelt_field_is_the_missing_one(tmp_path: Path) -> None:
    rows = good()
    rows[4]["size"] = rows[4].pop("sz")

    with pytest.raises(TapeError, match="line 5: sz is missing"):
        open_tape(write(tmp_path / "t", rows))


def test_the_names_that_are_counted_are_bounded(tmp_path: Path) -> None:
    odd = [{"ts": T0 + 10 + n, "v": "grvt", "type": f"type{n}" + "x" * 500} for n in range(500)]
    tape = open_tape(write(tmp_path / "t", [*good(), *odd]))
    assert len(list(tape.events())) == 4

    assert len(tape.passed_over) == 100
    assert max(map(len, tape.passed_over)) <= 70


def test_a_large_tape_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "large"
    levels = [[f"{2000 + n}.5", "1.25"] for n in range(100)]
    deltas = (
        json.dumps({"ts": T0 + 10 + n, "v": "grvt", "type": "delta", "bids": levels, "asks": []})
        for n in range(4000)
    )
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.writelines(json.dumps(row) + "\n" for row in good()[:3])
        file.writelines(line + "\n" for line in deltas)
    tape = open_tape(path)

    tracemalloc.start()
    seen = sum(1 for _ in tape.events())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert seen == 4002
    assert peak < 2_000_000, "ten times that is the file"


def test_the_bundled_recording_has_two_full_books_and_goes_nowhere() -> None:
    tape = open_tape(BUNDLED)
    first = [e.event for e in islice(tape.events(), 2)]
    mids: dict[Venue, list[int]] = {venue: [] for venue in Venue}
    takers = dict.fromkeys(Side, 0)
    for told in tape.events():
        if isinstance(told.event, MarketTrade):
            mids[told.venue].append(told.event.px)
            takers[told.event.taker] += 1

    assert tape.ticker == "ETH"
    assert BUNDLED.stat().st_size < 1_200_000
    assert 75 * NANO <= tape.duration <= 90 * NANO
    for book in first:
        assert isinstance(book, MarketBook)
        assert min(len(book.bids), len(book.asks)) >= 200
    for path in mids.values():
        assert abs(path[-1] - path[0]) * 10_000 < 10 * path[0]
    assert 0.5 < takers[Side.BUY] / takers[Side.SELL] < 2
    assert "MIT, Copyright (c) 2022 nkaz001" in BUNDLED.with_name("README.md").read_text("utf-8")

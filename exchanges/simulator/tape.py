"""Recorded markets: the reader of ``hedged-tape/1``, gzip or plain JSON lines.

Imports ``strategy.domain`` and ``model`` only. The file is streamed, once per pass, and never held
in memory. What is wrong with a tape is one ``TapeError`` of one line: file, line, field, value and
remedy. Line types and fields that this version does not know are counted and passed over, so that a
tape of a later version still replays; a misspelt field shows as the missing one.

A ``gap`` line says that the recorder lost a stream: its book is stale from there, stands still and
takes no changes until the stream's next snapshot.
"""

import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from exchanges.simulator.model import MarketBook, MarketEvent, MarketTrade
from strategy.domain import NANO, Level, Ns, Px, Qty, Side, Venue, nano, plain

FORMAT = "hedged-tape/1"
UNFINISHED = ".part"
"""Suffix of a recording that still grows, or whose recorder was killed: its end may be torn."""
BUNDLED = Path(__file__).with_name("data") / "eth_sample.tape.jsonl.gz"
"""The recording that comes with the package; its provenance is beside it."""
_HEAD_EVENTS = 2000
"""How many events are validated when a tape is opened."""
_GZIP_MAGIC = b"\x1f\x8b"
_FRACTION_DIGITS = 9
_SIDES = {"buy": Side.BUY, "sell": Side.SELL}
_BOOK_FIELDS = frozenset({"ts", "v", "type", "bids", "asks"})
_FIELDS = {
    "snapshot": _BOOK_FIELDS,
    "delta": _BOOK_FIELDS,
    "trade": frozenset({"ts", "v", "type", "px", "sz", "aggressor"}),
    "gap": frozenset({"ts", "v", "type", "why"}),
}
_MOST_UNITS = 1 << 16
_MOST_COUNTED = 100
"""Different unknown names that are remembered."""
_SHOWN = 60
"""Longest quoted value in an error line."""


class TapeError(ValueError):
    """A tape that cannot be replayed; the text is one clear line."""


class FeedEvent(NamedTuple):
    """One event of a market feed: ``offset`` is ns since the start of the pass."""

    offset: Ns
    venue: Venue
    event: MarketEvent


class Source(Protocol):
    """Where a universe gets its markets from: a tape, or a generator."""

    @property
    def ticker(self) -> str:
        """Base symbol."""
        ...

    @property
    def lead(self) -> Ns:
        """Offset at which every venue has shown its book."""
        ...

    def tick(self, venue: Venue) -> str | None:
        """Return the price grid as a decimal string; None means the venue's own."""
        ...

    def events(self) -> Iterator[FeedEvent]:
        """Yield one pass in time order; a pass may be endless."""
        ...


@dataclass(frozen=True, slots=True)
class Stream:
    """One recorded stream of a tape."""

    recorded: str
    """What was recorded, in words."""
    tick: str
    """Price grid, decimal."""
    step: str
    """Size grid, decimal."""


class Tape:
    """One recording; make it with ``open_tape``.

    A tape of one stream plays both venues: the other market is the same stream, matched by an
    engine of its own, so that the basis is zero.

    Attributes:
        path: the file.
        ticker: base symbol.
        streams: by the venue that the stream plays.
        duration: ns that the header says the recording spans.
        lead: offset, ns, at which every venue has shown its book.
        gaps: gap marks met in the last pass.
        passed_over: unknown line types and fields met in the last pass, with how often.
        stale: streams that are inside a gap where the last pass stands.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.ticker: str = header["ticker"]
        self.streams: dict[Venue, Stream] = header["streams"]
        self.duration = Ns(header["to_ts"] - header["from_ts"])
        self.lead = Ns(0)
        self.gaps = 0
        self.passed_over: dict[str, int] = {}
        self.stale: set[Venue] = set()

    @property
    def roles(self) -> frozenset[Venue]:
        """Venues that the tape has a stream of its own for."""
        return frozenset(self.streams)

    def tick(self, venue: Venue) -> str:
        """Return the recording's price grid."""
        return self._stream(venue).tick

    def step(self, venue: Venue) -> str:
        """Return the recording's size grid."""
        return self._stream(venue).step

    def events(self) -> Iterator[FeedEvent]:
        """Yield the events with their offset from the first one.

        The first book of each venue is a snapshot, whatever the tape calls it: a pass starts
        afresh.

        Raises:
            TapeError: the file vanished or a line is not an event.
        """
        first: int | None = None
        fresh = set(self.streams)
        derived = [venue for venue in Venue if venue not in self.streams]
        self.gaps, self.passed_over, self.stale = 0, {}, set()
        for ts, venue, event in _events(self.path, self.streams, self.passed_over):
            first = ts if first is None else first
            if isinstance(event, MarketBook):
                if venue in fresh:
                    fresh.remove(venue)
                    event = replace(event, snapshot=True)  # noqa: PLW2901 - the same, afresh
                if self._spoiled(venue, event):
                    continue
            elif event is None:
                self.gaps += 1
                self.stale.add(venue)
                continue
            for each in (venue, *derived):
                yield FeedEvent(Ns(ts - first), each, event)

    def _spoiled(self, venue: Venue, book: MarketBook) -> bool:
        """True for a change whose base was lost in a gap; a snapshot ends the gap."""
        if book.snapshot:
            self.stale.discard(venue)
        return venue in self.stale

    def _stream(self, venue: Venue) -> Stream:
        return self.streams.get(venue) or next(iter(self.streams.values()))


def open_tape(path: Path | str) -> Tape:
    """Open a tape and validate its header and its first events.

    Raises:
        TapeError: the file cannot be read or is not a tape, said in one line.
    """
    path = Path(path)
    lines = _lines(path)
    number, row = next(lines, (0, None))
    if row is None:
        raise TapeError(f"{path}: the tape is empty: give a file of format {FORMAT}")
    tape = Tape(path, _header(_At(path, number), row))
    missing = set(tape.roles)
    seen = 0
    for event in islice(tape.events(), _HEAD_EVENTS):
        seen += 1
        if missing and event.venue in missing and isinstance(event.event, MarketBook):
            missing.remove(event.venue)
            tape.lead = event.offset
    if not seen:
        raise TapeError(f"{path}: the tape has a header and no events: record it again")
    if missing:
        role = min(missing).value
        raise TapeError(
            f"{path}: streams names {role!r} but the first {seen} events hold no book of it:"
            " take it out of the header or start the tape where both books are present"
        )
    return tape


# --- lines ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _At:
    """A place in a tape, for error lines."""

    path: Path
    line: int

    def bad(self, field: str, value: object, remedy: str) -> TapeError:
        """Return the error for a field's value."""
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
        return TapeError(f"{self.path} line {self.line}: {field} is {shown}: {remedy}")

    def get(self, row: Mapping[str, Any], field: str) -> Any:
        """Return a required field."""
        if field not in row:
            raise TapeError(f"{self.path} line {self.line}: {field} is missing: add it")
        return row[field]


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line numbers and JSON objects."""
    for number, line in _raw_lines(path):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as bad:
            raise TapeError(
                f"{path} line {number}: not JSON ({bad}): give JSON lines of format {FORMAT}"
            ) from bad
        if not isinstance(row, dict):
            raise _At(path, number).bad("the line", row, "each line must be a JSON object")
        yield number, row


def _raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as plain:
            packed = plain.peek(2)[:2] == _GZIP_MAGIC
            with gzip.GzipFile(fileobj=plain) if packed else plain as file:
                number = 0
                for number, line in enumerate(file, 1):
                    if not line.isspace():
                        yield number, line
    except FileNotFoundError:
        raise TapeError(f"{path}: no such file: check the path given as the book") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as bad:
        if path.suffix == UNFINISHED:
            return
        raise TapeError(f"{path}: damaged gzip ({bad}): copy or record the file again") from bad
    except OSError as bad:
        raise TapeError(f"{path}: cannot be read ({bad.strerror}): give a readable file") from bad


# --- the header ----------------------------------------------------------------------------------


def _header(at: _At, row: Mapping[str, Any]) -> dict[str, Any]:
    if row.get("type") != "header":
        raise at.bad("type", row.get("type"), "the first line must be the tape's header")
    if row.get("format") != FORMAT:
        raise at.bad("format", row.get("format"), f"only {FORMAT!r} can be read")
    ticker = at.get(row, "ticker")
    if not isinstance(ticker, str) or not ticker.isalnum():
        raise at.bad("ticker", ticker, "give a base symbol such as 'ETH'")
    times = {name: _integer(at, name, at.get(row, name)) for name in ("from_ts", "to_ts", "events")}
    if times["to_ts"] < times["from_ts"]:
        raise at.bad("to_ts", times["to_ts"], f"it must not be before from_ts {times['from_ts']}")
    if not times["events"]:
        raise at.bad("events", 0, "the tape is empty: record it again")
    streams = at.get(row, "streams")
    if not isinstance(streams, dict) or not streams:
        raise at.bad("streams", streams, "name at least one stream, by role")
    return times | {
        "ticker": ticker,
        "streams": {_role(at, name): _stream(at, name, spec) for name, spec in streams.items()},
    }


def _stream(at: _At, name: str, spec: object) -> Stream:
    if not isinstance(spec, dict):
        raise at.bad(f"streams.{name}", spec, "give an object with tick and step")
    grid: dict[str, str] = {}
    for key in ("tick", "step"):
        if key not in spec:
            raise TapeError(f"{at.path} line {at.line}: streams.{name}.{key} is missing: add it")
        if not _decimal(at, f"streams.{name}.{key}", spec[key]):
            raise at.bad(f"streams.{name}.{key}", spec[key], "it must be more than 0")
        grid[key] = spec[key]
    return Stream(str(spec.get("recorded", "")), grid["tick"], grid["step"])


def _role(at: _At, name: object) -> Venue:
    for venue in Venue:
        if name == venue.value:
            return venue
    raise at.bad("role", name, f"use {' or '.join(repr(v.value) for v in Venue)}")


# --- events --------------------------------------------------------------------------------------


def _events(
    path: Path, streams: Mapping[Venue, Stream], passed_over: dict[str, int]
) -> Iterator[tuple[int, Venue, MarketEvent | None]]:
    """Yield the events; None is a gap. Counts what it passes over."""
    lines = _lines(path)
    next(lines, None)
    before = 0
    for number, row in lines:
        at = _At(path, number)
        ts = _integer(at, "ts", at.get(row, "ts"))
        if ts < before:
            raise at.bad("ts", ts, f"time goes backwards from {before}: sort the events by ts")
        before = ts
        kind = at.get(row, "type")
        known = _FIELDS.get(kind) if isinstance(kind, str) else frozenset[str]()
        if known is None:
            _count(passed_over, f"type {kind}")
            continue
        for extra in row.keys() - known:
            _count(passed_over, f"field {extra}")
        venue = _role(at, at.get(row, "v"))
        if venue not in streams:
            raise at.bad("v", venue.value, "the header names no such stream: add it there")
        yield ts, venue, _event(at, row)


def _count(counts: dict[str, int], name: str) -> None:
    name = name[:_SHOWN]
    if name in counts or len(counts) < _MOST_COUNTED:
        counts[name] = counts.get(name, 0) + 1


def _event(at: _At, row: Mapping[str, Any]) -> MarketEvent | None:
    kind = row["type"]
    if kind == "trade":
        return _trade(at, row)
    if kind == "gap":
        return None
    if kind not in _FIELDS:
        raise at.bad("type", kind, "use 'snapshot', 'delta', 'trade' or 'gap'")
    bids, asks = _levels(at, row, "bids"), _levels(at, row, "asks")
    if kind == "snapshot":
        _uncrossed(at, bids, asks)
    return MarketBook(bids, asks, kind == "snapshot")


def _uncrossed(at: _At, bids: tuple[Level, ...], asks: tuple[Level, ...]) -> None:
    best_bid = max((px for px, size in bids if size), default=None)
    best_ask = min((px for px, size in asks if size), default=None)
    if best_bid is not None and best_ask is not None and best_bid >= best_ask:
        raise at.bad(
            "bids price",
            plain(best_bid),
            f"the snapshot is crossed, its best ask is {plain(best_ask)}: record it again",
        )


def _trade(at: _At, row: Mapping[str, Any]) -> MarketTrade:
    px, size = (_decimal(at, name, at.get(row, name)) for name in ("px", "sz"))
    if not px or not size:
        name = "sz" if px else "px"
        raise at.bad(name, row[name], "it must be more than 0")
    taker = at.get(row, "aggressor")
    if not isinstance(taker, str) or taker not in _SIDES:
        raise at.bad("aggressor", taker, "use 'buy' or 'sell'")
    return MarketTrade(Px(px), Qty(size), _SIDES[taker])


def _levels(at: _At, row: Mapping[str, Any], name: str) -> tuple[Level, ...]:
    rows = at.get(row, name)
    if not isinstance(rows, list):
        raise at.bad(name, rows, "give a list of [price, size]")
    units = _UNITS
    try:
        # A list makes a tuple faster than a generator does, and this is where the time goes.
        levels: tuple[Level, ...] = tuple([(units[px], units[size]) for px, size in rows])
    except (TypeError, ValueError):
        raise _bad_level(at, name, rows) from None
    if levels and min(levels)[0] <= 0:
        raise at.bad(f"{name} price", "0", "it must be more than 0")
    return levels


def _bad_level(at: _At, name: str, rows: list[Any]) -> TapeError:
    """Return the error for the first level that is wrong."""
    for index, level in enumerate(rows):
        if not isinstance(level, list) or len(level) != 2:  # noqa: PLR2004 - price and size
            return at.bad(f"{name}[{index}]", level, "give [price, size]")
        for part, value in zip(("price", "size"), level, strict=True):
            try:
                _decimal(at, f"{name}[{index}] {part}", value)
            except TapeError as bad:
                return bad
    return at.bad(name, rows, "give a list of [price, size]")


def _integer(at: _At, name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise at.bad(name, value, "give a whole number, not negative")
    return value


def _decimal(at: _At, name: str, value: object) -> int:
    try:
        return int(_UNITS[value])
    except (TypeError, ValueError):
        raise at.bad(
            name, value, "give a decimal string, not negative, of at most 9 decimal places"
        ) from None


class _Units(dict[object, Any]):
    """Decimal strings in 1e-9 units; prices and sizes recur, so they are remembered."""

    def __missing__(self, text: object) -> int:
        if len(self) >= _MOST_UNITS:
            self.clear()
        units = self[text] = _units(text)
        return units


_UNITS = _Units()


def _units(text: object) -> int:
    if not isinstance(text, str) or not text.isascii():
        raise ValueError(text)
    whole, _, fraction = text.partition(".")
    if whole.isdigit() and len(fraction) <= _FRACTION_DIGITS and fraction.isdigit():
        return int(whole) * NANO + int(fraction.ljust(_FRACTION_DIGITS, "0"))
    units = nano(text)
    if units < 0:
        raise ValueError(text)
    return units

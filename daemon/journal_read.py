"""Reads a journal without touching it, also while its daemon writes.

The daemon holds its database exclusively, on purpose: nothing may lock it or write to it. A reader
therefore works on a private copy of the file and its write-ahead log, taken when both stood still.
"""

import filecmp
import json
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.config_sources import EXIT_USAGE, ConfigError
from daemon.journal import SCHEMA, JournalError
from daemon.journal_file import OLDER
from daemon.offline import journal_path
from daemon.retention import Totals, read_anchor, read_totals
from strategy.domain import Px, Qty, Quote, Side, Venue

COPY_TRIES = 20
COPY_WAIT = 0.05
WAL_HEADER = 32


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One order as the journal has it."""

    client_id: int
    venue: Venue
    side: Side
    qty: Qty
    px: Px
    tif: str
    post_only: bool
    reduce_only: bool
    purpose: str
    hedge_id: int
    touch: Px
    sent_wall: int
    state: str
    venue_order_id: str
    cum: Qty
    reason: str
    over_wall: int | None


@dataclass(frozen=True, slots=True)
class FillRow:
    """One execution as the journal has it; ``at`` is the venue's time."""

    venue: Venue
    trade_id: str
    client_id: int
    side: Side
    qty: Qty
    px: Px
    fee: Quote
    fee_asset: str
    is_maker: bool
    at: int


@dataclass(frozen=True, slots=True)
class MoneyRow:
    """A position taken over at a price (``qty``), or a funding payment (``amount``)."""

    venue: Venue
    qty: int
    px: Px
    amount: Quote
    at: int


@dataclass(frozen=True, slots=True)
class EventRow:
    """One row of the decisions' chain; ``wall`` is our clock, Unix ns."""

    seq: int
    wall: int
    kind: str
    body: dict[str, Any]


def find_journal(state_dir: Path, venues: str | None) -> Path:
    """Return the journal of a mode; None takes the one written last.

    Raises:
        ConfigError: there is none.
    """
    if venues is not None:
        path = journal_path(state_dir, venues)
        if not path.is_file():
            line = f"--venues {venues}: no journal of that mode in {state_dir}"
            raise ConfigError(EXIT_USAGE, line)
        return path
    found = sorted(state_dir.glob("*.db"), key=_written)
    if not found:
        raise ConfigError(
            EXIT_USAGE, f"--state-dir {state_dir}: no journal there; name the daemon's directory"
        )
    return found[-1]


def _written(path: Path) -> int:
    """Return when a journal was last written: its log counts, the file itself lags behind."""
    return max(p.stat().st_mtime_ns for p in (path, _wal(path)) if p.exists())


@contextmanager
def read_journal(path: Path) -> Iterator["JournalReader"]:
    """Open a copy of a journal.

    Raises:
        JournalError: not ours, of another schema, damaged, or never at rest.
    """
    with tempfile.TemporaryDirectory(prefix="hedged-") as folder:
        copy = Path(folder) / path.name
        try:
            copy_journal(path, copy)
        except PermissionError:
            raise  # the command line says whose file it is
        except OSError as bad:
            line = f"journal {path.name}: {bad.strerror}; cannot be copied to {folder}"
            raise JournalError(line) from bad
        try:
            with closing(sqlite3.connect(copy)) as db:
                yield JournalReader(db, path.name)
        except sqlite3.Error as bad:
            raise JournalError(f"journal {path.name}: {bad}; cannot be read") from bad


def copy_journal(path: Path, copy: Path) -> None:
    """Copy a database and its log so that they belong together.

    The log may grow meanwhile: its frames carry checksums, and a half-written one is left out. The
    database itself changes only when the log is folded into it, so two equal readings of it, with
    the log read in between and its header unchanged, are one state. Never for the process that has
    the journal open: closing any handle of a file drops that process's locks on it.

    Raises:
        JournalError: it changed during every try.
    """
    pause = threading.Event()
    wal, wal_copy = _wal(path), _wal(copy)
    for _ in range(COPY_TRIES):
        try:
            shutil.copyfile(path, copy)
            wal_copy.unlink(missing_ok=True)
            shutil.copyfile(wal, wal_copy)
        except FileNotFoundError:
            if not path.exists():
                raise
        filecmp.clear_cache()
        if filecmp.cmp(path, copy, shallow=False) and _header(wal) == _header(wal_copy):
            return
        pause.wait(COPY_WAIT)
    raise JournalError(f"journal {path.name}: it changed during every reading; try again")


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _header(wal: Path) -> bytes:
    """Return the log's first bytes, which are new whenever it begins anew; none without a log."""
    try:
        with wal.open("rb") as file:
            return file.read(WAL_HEADER)
    except FileNotFoundError:
        return b""


class JournalReader:
    """Queries on a copy. Everything is in 1e-9 units and Unix ns, as it was written."""

    def __init__(self, db: sqlite3.Connection, name: str) -> None:
        """Take a connection; raises JournalError when this release cannot read it."""
        self._db = db
        self.name = name
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
        if "meta" not in tables:
            raise JournalError(f"journal {name}: a foreign database; name the daemon's directory")
        schema = self.meta("schema")
        if schema not in (OLDER, str(SCHEMA)):
            raise JournalError(
                f"journal {name}: schema {schema}, this release reads {SCHEMA}; "
                "install the release that wrote it"
            )

    def meta(self, key: str) -> str | None:
        """Return a stored value."""
        row = self._db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def newest(self) -> int | None:
        """Return the time of the newest decision; None in an empty journal."""
        wall: int | None = self._db.execute("SELECT MAX(wall) FROM event").fetchone()[0]
        return wall

    def days(self) -> dict[str, Quote]:
        """Return the equity from which each UTC day's loss counts."""
        return dict(self._db.execute("SELECT day, baseline FROM days ORDER BY day"))

    def orders(self) -> list[OrderRow]:
        """Return every order, oldest first."""
        rows = self._db.execute(
            "SELECT client_id, venue, side, qty, px, tif, post_only, reduce_only, purpose,"
            " hedge_id, touch, sent_wall, state, venue_order_id, cum, reason, over_wall"
            " FROM orders ORDER BY sent_wall, client_id"
        )
        return [_order(row) for row in rows]

    def fills(self) -> list[FillRow]:
        """Return every execution, oldest first."""
        rows = self._db.execute(
            "SELECT venue, trade_id, client_id, side, qty, px, fee, fee_asset, is_maker, at"
            " FROM fills ORDER BY at, trade_id"
        )
        return [
            FillRow(
                Venue(r[0]), r[1], r[2], Side(r[3]), r[4], r[5], r[6], r[7], bool(r[8]), r[9]
            )
            for r in rows
        ]  # fmt: skip

    def adjustments(self) -> list[MoneyRow]:
        """Return the positions that policy took into the books."""
        rows = self._db.execute("SELECT venue, qty, px, at FROM adjustments ORDER BY seq")
        return [MoneyRow(Venue(r[0]), r[1], r[2], Quote(0), r[3]) for r in rows]

    def funding(self) -> list[MoneyRow]:
        """Return the funding payments; positive is received."""
        rows = self._db.execute("SELECT venue, amount, at FROM funding ORDER BY at")
        return [MoneyRow(Venue(r[0]), 0, Px(0), r[1], r[2]) for r in rows]

    def totals(self) -> Totals:
        """Return what became of the detail that is no longer there, by UTC day."""
        return read_totals(self._db)

    def newest_gone(self) -> int:
        """Return the newest hedge of which only totals are left; 0 without one."""
        return read_anchor(self._db).hedge_id

    def since(self) -> int:
        """Return the time of the oldest decision still there; 0 when all of them are."""
        if not read_anchor(self._db).seq:
            return 0
        oldest: int = self._db.execute("SELECT wall FROM event ORDER BY seq LIMIT 1").fetchone()[0]
        return oldest

    def events(self, *kinds: str) -> list[EventRow]:
        """Return the rows of these kinds, oldest first; without a kind, all of them."""
        marks = ",".join("?" * len(kinds))
        where = f"WHERE kind IN ({marks})" if kinds else ""
        return self._rows(where, kinds)

    def around(self, begin: int, end: int) -> list[EventRow]:
        """Return the rows of a span of our clock, both ends included."""
        return self._rows("WHERE wall BETWEEN ? AND ?", (begin, end))

    def _rows(self, where: str, args: Sequence[str | int]) -> list[EventRow]:
        query = f"SELECT seq, wall, kind, body FROM event {where} ORDER BY seq"  # noqa: S608 - fixed text
        return [EventRow(r[0], r[1], r[2], json.loads(r[3])) for r in self._db.execute(query, args)]


def _order(row: Sequence[Any]) -> OrderRow:
    venue, side, flags = Venue(row[1]), Side(row[2]), (bool(row[6]), bool(row[7]))
    return OrderRow(
        row[0], venue, side, row[3], row[4], row[5], *flags, row[8], row[9], row[10], row[11],
        row[12], row[13], row[14], row[15], row[16],
    )  # fmt: skip

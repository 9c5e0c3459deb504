"""The journal's file: its tables, and what happens when it fails under a running daemon (F39, F40).

SQLite raises, and the transaction is gone. A daemon that held a position could then neither write
nor act. So once it is told to survive, a connection whose file failed goes on in memory: enough
for cancels and reduce-only orders to keep their bookkeeping while the run halts. The failed handle
is never used again, not even to close it: a close would check-point, with pages and an ``fsync``
that the kernel may already have dropped.
"""

import gc
import sqlite3
from collections.abc import Callable, Sequence

SCHEMA = 2
OLDER = "1"
"""The schema that opening turns into ours: it had no totals."""

TOTALS = """
CREATE TABLE totals(
  day TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY(day, name)
) STRICT;
CREATE INDEX fills_order ON fills(client_id, venue);
"""
TABLES = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE orders(
  client_id INTEGER PRIMARY KEY, venue TEXT NOT NULL, symbol TEXT NOT NULL, side INTEGER NOT NULL,
  qty INTEGER NOT NULL, px INTEGER NOT NULL, tif TEXT NOT NULL, post_only INTEGER NOT NULL,
  reduce_only INTEGER NOT NULL, purpose TEXT NOT NULL, expires_at INTEGER NOT NULL,
  hedge_id INTEGER NOT NULL, touch INTEGER NOT NULL, life INTEGER NOT NULL,
  levels INTEGER NOT NULL, cap INTEGER NOT NULL, nonce INTEGER NOT NULL, digest TEXT NOT NULL,
  body BLOB NOT NULL, sent_wall INTEGER NOT NULL, state TEXT NOT NULL,
  venue_order_id TEXT NOT NULL DEFAULT '', cum INTEGER NOT NULL DEFAULT 0,
  reason TEXT NOT NULL DEFAULT '', over_wall INTEGER
) STRICT;
CREATE UNIQUE INDEX orders_nonce ON orders(nonce) WHERE venue = 'grvt';
CREATE INDEX orders_live ON orders(state) WHERE state NOT IN ('done', 'dead');
CREATE TABLE fills(
  venue TEXT NOT NULL, trade_id TEXT NOT NULL, client_id INTEGER NOT NULL, side INTEGER NOT NULL,
  qty INTEGER NOT NULL, px INTEGER NOT NULL, fee INTEGER NOT NULL, fee_asset TEXT NOT NULL,
  is_maker INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(venue, trade_id, client_id)
) STRICT;
CREATE TABLE adjustments(
  seq INTEGER PRIMARY KEY, venue TEXT NOT NULL, qty INTEGER NOT NULL, px INTEGER NOT NULL,
  reason TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;
CREATE TABLE funding(
  venue TEXT NOT NULL, key TEXT NOT NULL, amount INTEGER NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY(venue, key)
) STRICT;
CREATE TABLE days(day TEXT PRIMARY KEY, baseline INTEGER NOT NULL) STRICT;
CREATE TABLE event(
  seq INTEGER PRIMARY KEY, wall INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
  hash TEXT NOT NULL
) STRICT;
"""
TABLES += TOTALS
UPGRADE = f"BEGIN;{TOTALS}UPDATE meta SET value={SCHEMA} WHERE key='schema';COMMIT;"  # noqa: S608 - fixed text
"""From ``OLDER``, in one transaction."""

PRAGMAS = (
    "PRAGMA locking_mode=EXCLUSIVE",
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
)
"""One writer; a commit that has returned survives a power cut."""
TRANSACTION = frozenset({"BEGIN IMMEDIATE", "COMMIT"})
Values = Sequence[object]


class JournalError(Exception):
    """The journal cannot be trusted: a human must look (exit 78). One clear line."""


MEND = (
    "restore a copy, or move it and its -wal away, and settle what is open with `hedged adopt` or "
    "`hedged flatten`"
)
"""What to do about a journal that cannot be used any more; the file itself is evidence."""


class JournalLost(JournalError):  # noqa: N818 - named by what is so
    """The journal failed under a running daemon: nothing may be opened any more."""


class JournalFile:
    """One connection: durable, and after a failure that it may survive, in memory."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Take an open connection in autocommit mode."""
        self._db = db
        self._survives: Callable[[str], None] | None = None
        self.lost = ""
        """Why the file is no longer written; empty while it is."""

    def survive(self, told: Callable[[str], None]) -> None:
        """Go on in memory when the file fails from now on; ``told`` hears why, once."""
        self._survives = told

    def execute(self, sql: str, values: Values = ()) -> sqlite3.Cursor:
        """Run one statement.

        Raises:
            sqlite3.Error: it failed, and this connection may not survive that; or the statement
                itself breaks a constraint or is wrong.
        """
        if self.lost and sql in TRANSACTION:
            return self._db.cursor()  # in memory every statement stands alone
        try:
            return self._db.execute(sql, values)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.Error as bad:
            if self._survives is None or self.lost:
                raise
            self._lose(f"{bad} ({getattr(bad, 'sqlite_errorname', '')})", self._survives)
            return self.execute(sql, values)

    def _lose(self, why: str, told: Callable[[str], None]) -> None:
        abandon(self._db)
        self._db = memory()
        self.lost = why
        told(why)

    def close(self) -> None:
        """Close; a failed file stays as it is until the process ends."""
        self._db.close()


def memory() -> sqlite3.Connection:
    """Return an empty journal that lives as long as the process."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(TABLES)
    return db


class Handle(sqlite3.Connection):
    """A connection that can hold a reference to itself, and so outlive everything (``abandon``)."""

    me: "Handle | None" = None


def abandon(db: sqlite3.Connection) -> None:
    """Leave a handle to the kernel, which closes it without a check-point when the process ends.

    A cycle in the permanent generation is never collected, so that no finaliser closes it either.
    """
    if isinstance(db, Handle):
        db.me = db
        gc.freeze()


def remedy(bad: Exception) -> str:
    """Say what to do about a journal that cannot be opened."""
    busy = isinstance(bad, sqlite3.OperationalError) and "locked" in str(bad)
    if busy:
        return "another program has it open; end that, then start again"
    if isinstance(bad, sqlite3.OperationalError | OSError):
        return "make its directory writable, with room, then start again"
    return MEND

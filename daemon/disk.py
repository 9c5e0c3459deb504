"""What a durable commit costs on this disk: every order waits for one before it leaves (S3)."""

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from daemon.journal_file import PRAGMAS
from strategy.domain import Ns

COMMITS = 40
SLOW = Ns(5_000_000)
"""95 % of commits should be faster: a hedge waits for one."""
TOO_SLOW = Ns(50_000_000)
"""A disk like this costs more than the venue's own latency: find another before going live."""
ROW = bytes(512)
"""About what one order's rows are."""


@dataclass(frozen=True, slots=True)
class CommitTimes:
    """ns of one durable commit."""

    p50: Ns
    p95: Ns

    def __str__(self) -> str:
        return f"commit p50 {self.p50 / 1e6:.2f} ms, p95 {self.p95 / 1e6:.2f} ms"


def commit_times(folder: Path, mono: Callable[[], Ns]) -> CommitTimes:
    """Time commits to a scratch database, written as the journal is; it is removed after.

    Raises:
        OSError, sqlite3.Error: nothing can be written there.
    """
    scratch = folder / f".disk-{os.getpid()}"
    try:
        took = sorted(_timed(scratch, mono))
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{scratch}{suffix}").unlink(missing_ok=True)
    return CommitTimes(took[len(took) // 2], took[len(took) * 95 // 100])


def _timed(scratch: Path, mono: Callable[[], Ns]) -> list[Ns]:
    took = []
    db = sqlite3.connect(scratch, isolation_level=None, timeout=0)
    try:
        for pragma in PRAGMAS:
            db.execute(pragma)
        db.execute("CREATE TABLE scratch(body)")
        for _ in range(COMMITS):
            begun = mono()
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO scratch VALUES(?)", (ROW,))
            db.execute("COMMIT")
            took.append(Ns(mono() - begun))
    finally:
        db.close()
    return took

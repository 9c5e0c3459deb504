"""The reserve: room on disk, taken at the start, for the record of an emergency (F39, F40, F48).

When the journal cannot be written, cancels and reduce-only orders go on, and what they did is
written here and to standard error. The blocks and the descriptor are ours from the start, so that
neither a full disk nor a full table of open files stands in the way. The next start takes the
record into the journal and is latched, until a human has looked.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from safety.reasons import Reason
from strategy.domain import Mode, Ns

SIZE = 8 * 1024 * 1024
"""Bytes taken at the start."""
ROOM = SIZE // 2
"""Bytes kept when half is given back: some file systems need new blocks even to overwrite."""

Record = Mapping[str, Any]


class ReserveError(Exception):
    """There is no room for it, or it cannot be read: one line that says what to type."""


class Reserve:
    """``<state-dir>/<venues>.reserve``: zeros, or one JSON object per line."""

    def __init__(self, path: Path, told: Callable[[str], None] = lambda _: None) -> None:
        """Take the room at once; ``told`` hears every line of the record, file or no file.

        Raises:
            ReserveError: no room.
        """
        self.path = path
        self._told = told
        try:
            self._fd: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as bad:
            raise ReserveError(f"reserve {path.name}: {bad.strerror}; {REMEDY}") from bad
        try:
            os.posix_fallocate(self._fd, 0, SIZE)
            self._found = os.pread(self._fd, SIZE, 0).partition(b"\0")[0]
        except OSError as bad:
            self.close()
            raise ReserveError(f"reserve {path.name}: {bad.strerror}; {REMEDY}") from bad
        self._at = len(self._found)

    def records(self) -> list[dict[str, Any]]:
        """Return what an emergency left; a line that was torn by a power cut ends it."""
        found: list[dict[str, Any]] = []
        for line in self._found.split(b"\n"):
            try:
                record = json.loads(line)
            except ValueError:
                break
            if not isinstance(record, dict):
                break
            found.append(record)
        return found

    def append(self, record: Record) -> None:
        """Write one record durably; a reserve that fails too leaves standard error."""
        text = json.dumps(record, separators=(",", ":"))
        self._told(text)
        line = f"{text}\n".encode()
        if self._fd is None or self._at + len(line) > ROOM:
            return
        try:
            self._put(line)
        except OSError:
            try:
                os.ftruncate(self._fd, ROOM)
                self._put(line)
            except OSError as bad:
                self._told(f"reserve {self.path.name}: {bad.strerror}: the record is only here")
                return
        self._at += len(line)

    def _put(self, line: bytes) -> None:
        if self._fd is not None:
            os.pwrite(self._fd, line, self._at)
            os.fdatasync(self._fd)

    def clear(self) -> None:
        """Forget the record, durably: it is in the journal now."""
        if self._fd is None or not self._at:
            return
        os.pwrite(self._fd, bytes(self._at), 0)
        os.fdatasync(self._fd)
        self._found, self._at = b"", 0

    def close(self) -> None:
        """Give the descriptor back; the room stays taken. Safe to call twice."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


REMEDY = "free 8 MiB where the state directory is, then start again"


class Books(Protocol):
    """The journal, as far as a recovery writes it."""

    def take_order(self, row: Mapping[str, Any]) -> None:
        """Write an order whose end is not known."""
        ...

    def skip_client_ids(self, number: int) -> None:
        """Never hand those numbers out."""
        ...

    def event(self, kind: str, body: object, wall: Ns) -> int:
        """Append a decision."""
        ...

    def commit(self) -> None:
        """Make it durable."""
        ...


def recover(journal: Books, reserve: Reserve, wall: Ns) -> str:
    """Take the record of an emergency into the journal, latch included.

    Its orders are unresolved, like those of a process that died: the venues will say what became
    of them. The reserve is cleared once all of it is durable.

    Returns:
        Why the journal was lost then; empty without a record.
    """
    records = reserve.records()
    if not records:
        return ""
    why = str(records[0].get("why", "no reason left"))
    latched = False
    for record in records:
        match record:
            case {"kind": "order", "row": row}:
                journal.take_order(row)
                journal.skip_client_ids(row["client_id"])
            case {"kind": "lost", "client_id": number}:
                journal.skip_client_ids(number)
            case {"kind": "latch", "body": body}:
                journal.event("LatchMoved", body, wall)
                latched = True
            case _:
                pass  # a line of a later release: what it says is not needed to be safe
    if not latched:
        body = {"mode": Mode.REDUCING.value, "reason": f"{Reason.JOURNAL.value}: {why}"}
        journal.event("LatchMoved", body, wall)
    journal.commit()
    reserve.clear()
    return why

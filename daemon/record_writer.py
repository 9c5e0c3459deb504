"""The thread that writes a recording, so that a slow disk never holds up the sockets.

Only this thread touches the file. The loop reads the counters, which are plain integers.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import orjson

from daemon.record_file import TapeFile, TapeHead
from exchanges.port import WallClock
from exchanges.recording import Change, MarketGap
from exchanges.simulator.model import MarketTrade
from strategy.domain import NANO, Level, Ns, Venue, plain

FLUSH = Ns(NANO)
"""A SIGKILL loses at most what came since the last flush."""
_FLUSH_BYTES = 4 << 20
"""More text than this is written at once."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event with the time at which it was received, Unix ns."""

    ts: Ns
    venue: Venue
    change: Change


@dataclass(frozen=True, slots=True)
class _Rotate:
    """End the file; what follows goes to a new one."""


@dataclass(frozen=True, slots=True)
class _Close:
    """End the file and the thread."""


class TapeWriter:
    """Writes entries to one file after another.

    Args:
        folder: where recordings go; must exist.
        head: what their headers say.
        clock: when to flush.
        failed: called once, from the thread, when the disk refuses; nothing is written after it.

    Attributes:
        paths: complete recordings of this run, oldest first.
        events: written so far in all files, gaps included.
        gaps: gap marks written so far.
        size: bytes of all files so far.
        file_size: bytes of the file now open.
    """

    def __init__(
        self,
        folder: Path,
        head: TapeHead,
        clock: WallClock,
        failed: Callable[[OSError], None],
    ) -> None:
        self._folder = folder
        self._head = head
        self._clock = clock
        self._failed = failed
        self._queue: queue.SimpleQueue[Entry | _Rotate | _Close] = queue.SimpleQueue()
        self._lines: list[bytes] = []
        self._held = 0
        """Bytes in ``_lines``."""
        self._gaps = 0
        """Gap marks among ``_lines``."""
        self._first = self._last = Ns(0)
        self._due = Ns(0)
        self._file: TapeFile | None = None
        self._broken = False
        self.paths: list[Path] = []
        self.events = self.gaps = self.size = self.file_size = 0
        self._thread = threading.Thread(target=self._run, name="tape-writer", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """How many entries wait for the thread."""
        return self._queue.qsize()

    @property
    def alive(self) -> bool:
        """False once the thread has ended, by ``close`` or by a fault of the program."""
        return self._thread.is_alive()

    def put(self, entry: Entry) -> None:
        """Queue an event; never blocks."""
        self._queue.put(entry)

    def rotate(self) -> None:
        """Let what follows go to a new file; never blocks."""
        self._queue.put(_Rotate())

    def close(self) -> None:
        """Write what is queued, complete the file and end the thread; blocks."""
        self._queue.put(_Close())
        self._thread.join()

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            item = self._next()
            try:
                self._handle(item)
            except OSError as bad:
                self._give_up(bad)
            if isinstance(item, _Close):
                return

    def _next(self) -> Entry | _Rotate | _Close | None:
        """Return the next item; None when it is time to flush."""
        if not self._lines:
            return self._queue.get()
        wait = self._due - self._clock.mono()
        if wait <= 0 or self._held >= _FLUSH_BYTES:
            return None
        try:
            return self._queue.get(timeout=wait / NANO)
        except queue.Empty:
            return None

    def _handle(self, item: Entry | _Rotate | _Close | None) -> None:
        if self._broken:
            return
        if isinstance(item, Entry):
            self._add(item)
            return
        self._flush()
        if item is not None:
            self._finish()

    def _add(self, entry: Entry) -> None:
        if not self._lines:
            self._first, self._due = entry.ts, Ns(self._clock.mono() + FLUSH)
        line = encode(entry)
        self._lines.append(line)
        self._held += len(line)
        self._gaps += isinstance(entry.change, MarketGap)
        self._last = entry.ts

    def _flush(self) -> None:
        if not self._lines:
            return
        if self._file is None:
            self._file = TapeFile(self._folder, self._head, self._first)
        lines, self._lines, self._held = self._lines, [], 0
        before = self._file.size
        self._file.append(lines, self._last)
        self.file_size = self._file.size
        self.size += self._file.size - before
        self.events += len(lines)
        self.gaps, self._gaps = self.gaps + self._gaps, 0

    def _finish(self) -> None:
        file, self._file, self.file_size = self._file, None, 0
        if file is not None and (path := file.finish()) is not None:
            self.paths.append(path)

    def _give_up(self, bad: OSError) -> None:
        """Complete what the disk took, and tell the loop."""
        self._broken = True
        self._lines, self._held = [], 0
        try:
            self._finish()
        except OSError as worse:
            bad.add_note(f"the file keeps its .part name: {worse.strerror}")
        self._failed(bad)


def encode(entry: Entry) -> bytes:
    """Return an event as a line of ``hedged-tape/1``, without its end."""
    row: dict[str, object] = {"ts": entry.ts, "v": entry.venue.value}
    change = entry.change
    if isinstance(change, MarketGap):
        row |= {"type": "gap", "why": change.why}
    elif isinstance(change, MarketTrade):
        sold = {"px": plain(change.px), "sz": plain(change.qty), "aggressor": str(change.taker)}
        row |= {"type": "trade"} | sold
    else:
        row["type"] = "snapshot" if change.snapshot else "delta"
        row |= {"bids": _pairs(change.bids), "asks": _pairs(change.asks)}
    return orjson.dumps(row)


def _pairs(levels: tuple[Level, ...]) -> list[tuple[str, str]]:
    return [(_text(px), _text(qty)) for px, qty in levels]


_text = lru_cache(maxsize=1 << 14)(plain)

"""Writes lines from one thread per output, so that a blocked pipe or disk never blocks trading."""

import queue
import threading
from io import RawIOBase
from select import select

MAX_LINES = 10_000
BATCH = 256


class LineWriter:
    """A bounded queue and the thread that drains it; full means dropped and counted (F47)."""

    def __init__(self, out: RawIOBase, name: str, capacity: int = MAX_LINES) -> None:
        """Take an unbuffered binary output; ``close`` closes it."""
        self._out = out
        self._lines: queue.Queue[bytes | threading.Event] = queue.Queue(capacity)
        self._dropped = 0
        self._failed = 0
        """Counted by the thread alone."""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._drain, name=f"log-{name}", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> bool:
        """Queue a line; false when it was dropped. Never blocks."""
        if self._closing.is_set():
            self._dropped += 1
            return False
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1
            return False
        return True

    def dropped(self) -> int:
        """Return how many lines were lost: a full queue, or an output that failed."""
        return self._dropped + self._failed

    def flush(self, limit: float) -> bool:
        """Wait until everything queued so far is written, at most ``limit`` seconds."""
        written = threading.Event()
        try:
            self._lines.put(written, timeout=limit)
        except queue.Full:
            return False
        return written.wait(limit)

    def close(self, limit: float = 2.0) -> None:
        """Flush and end the thread; an output that stays blocked is abandoned."""
        if self._closing.is_set():
            return
        self._closing.set()
        if self.flush(limit):
            self._thread.join(limit)
            self._out.close()

    def _drain(self) -> None:
        while not (self._closing.is_set() and self._lines.empty()):
            entry: bytes | threading.Event | None = self._lines.get()
            batch: list[bytes] = []
            while isinstance(entry, bytes):
                batch.append(entry)
                entry = self._waiting() if len(batch) < BATCH else None
            if batch:
                self._put(batch)
            if entry is not None:
                entry.set()

    def _waiting(self) -> bytes | threading.Event | None:
        try:
            return self._lines.get_nowait()
        except queue.Empty:
            return None

    def _put(self, batch: list[bytes]) -> None:
        rest = memoryview(b"".join(batch))
        try:
            while rest:
                done = self._out.write(rest)
                if done is None:  # a non-blocking terminal: wait until it takes more
                    select([], [self._out], [], 1.0)
                else:
                    rest = rest[done:]
        except (OSError, ValueError):  # closed pipe, full disk: the log is lost, not the hedge
            self._failed += len(batch)

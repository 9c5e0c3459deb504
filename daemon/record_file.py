"""One recording on disk: gzip members that survive a SIGKILL, and a header that is always true.

The file is a plain ``.jsonl.gz``: every flush appends one complete gzip member, and gzip readers
join members. The header's ``to_ts`` and ``events`` are known only at the end, so the header is a
member of its own that is stored, not compressed, and padded with blanks: it keeps its length and is
written over in place after each flush. At any moment the file says what it holds, up to the flush.

While it grows the file is named ``.part`` and locked; it gets its name when it is complete.
"""

import errno
import fcntl
import gzip
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from exchanges.simulator.tape import FORMAT, UNFINISHED
from strategy.domain import NANO, Ns

SUFFIX = ".tape.jsonl.gz"
PART = UNFINISHED
_SLACK = 24
"""Blanks after the header's text: room for more digits in ``to_ts`` and ``events``."""
_LEVEL = 6
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_WORD = 4
_LARGEST_STORED = 0xFFFF
_CHUNK = 1 << 20
_GZIP_WBITS = 31


@dataclass(frozen=True, slots=True)
class TapeHead:
    """What the header says of the whole recording."""

    ticker: str
    streams: Mapping[str, Mapping[str, str]]
    """By role: ``recorded`` in words, ``tick`` and ``step`` as decimals."""
    licence: str

    def line(self, from_ts: int, to_ts: int, events: int) -> bytes:
        """Return the header line without its end."""
        return orjson.dumps(
            {
                "type": "header",
                "format": FORMAT,
                "ticker": self.ticker,
                "streams": self.streams,
                "licence": self.licence,
                "from_ts": from_ts,
                "to_ts": to_ts,
                "events": events,
            }
        )


def file_name(ticker: str, started: Ns) -> str:
    """Return the name of a recording by ticker and UTC start, without a suffix."""
    return f"{ticker}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(started // NANO))}"


class TapeFile:
    """A recording being written. Every method may block; all raise OSError.

    Args:
        folder: where it goes; must exist.
        head: what its header says.
        started: Unix ns of its first event.

    Attributes:
        path: the name that it gets when it is complete.
        size: bytes so far.
        events: events so far.
    """

    def __init__(self, folder: Path, head: TapeHead, started: Ns) -> None:
        self._head = head
        self._from = started
        self._to = started
        self.events = 0
        self.size = 0
        self._fd, self.path = _create(folder, file_name(head.ticker, started))
        self._room = len(head.line(started, started, 0)) + _SLACK

    @property
    def part(self) -> Path:
        """Its name while it grows."""
        return self.path.with_name(self.path.name + PART)

    def append(self, lines: Sequence[bytes], last: Ns) -> None:
        """Append events, one line each without its end, as one gzip member.

        What was written in part (a full disk) is cut off again: the file stays whole.

        Args:
            lines: one or more.
            last: Unix ns of the last of them.
        """
        self._to, self.events = last, self.events + len(lines)
        member = gzip.compress(b"\n".join(lines) + b"\n", _LEVEL, mtime=0)
        # The first write holds header and events: no file ever has the one without the other.
        at, data = (self.size, member) if self.size else (0, self._header() + member)
        try:
            _write(self._fd, data, at)
        except OSError:
            os.ftruncate(self._fd, self.size)
            self.events -= len(lines)
            raise
        if at:
            _write(self._fd, self._header(), 0)
        self.size = at + len(data)

    def finish(self) -> Path | None:
        """Sync, close, and give the file its name; one without events is removed (None)."""
        try:
            if not self.size:
                self.part.unlink()
                return None
            os.fsync(self._fd)
            self.part.rename(self.path)
            _sync_folder(self.path.parent)
            return self.path
        finally:
            os.close(self._fd)

    def _header(self) -> bytes:
        line = self._head.line(self._from, self._to, self.events)
        return _stored(line.ljust(self._room) + b"\n")


def salvage(folder: Path, ticker: str) -> list[Path]:
    """Complete what a killed recorder left: cut a torn end off, and give the file its name.

    Files that another recorder still writes are left alone; one without a single complete event is
    removed.

    Raises:
        OSError: a file cannot be read or renamed.
    """
    found = []
    for part in sorted(folder.glob(f"{ticker}-*{SUFFIX}{PART}")):
        with part.open("r+b") as file:
            if not _locked(file.fileno()):
                continue
            ends = list(_member_ends(part))
            if len(ends) < 2:  # noqa: PLR2004 - the header's member and one of events
                part.unlink()
                continue
            os.ftruncate(file.fileno(), ends[-1])
            os.fsync(file.fileno())
            whole = part.with_name(part.name.removesuffix(PART))
            part.rename(whole)
            found.append(whole)
    return found


def newest(folder: Path, ticker: str) -> Path | None:
    """Return the ticker's last complete recording in a folder, by its name."""
    return max(folder.glob(f"{ticker}-*{SUFFIX}"), key=lambda path: path.name, default=None)


def _create(folder: Path, name: str) -> tuple[int, Path]:
    """Create and lock a file under a free name: two starts within one second do not collide."""
    for number in range(1, 1000):
        path = folder / f"{name}{'' if number == 1 else f'-{number}'}{SUFFIX}"
        if path.exists():
            continue
        part = path.with_name(path.name + PART)
        try:
            fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            continue
        _locked(fd)
        return fd, path
    raise OSError(errno.EEXIST, "too many recordings of one second", str(folder / name))


def _locked(fd: int) -> bool:
    """Take the lock that ends with the process; False while another one holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, at)
        view, at = view[done:], at + done


def _stored(data: bytes) -> bytes:
    """Return a gzip member that holds the data as it is, so that its length never changes."""
    if len(data) > _LARGEST_STORED:
        raise ValueError(f"a header of {len(data)} bytes: shorten the licence")
    size = len(data).to_bytes(2, "little")
    block = b"\x01" + size + bytes(byte ^ 0xFF for byte in size) + data
    tail = zlib.crc32(data).to_bytes(_WORD, "little") + len(data).to_bytes(_WORD, "little")
    return _GZIP_HEAD + block + tail


def _member_ends(path: Path) -> Iterator[int]:
    """Yield the offset at which each complete gzip member ends."""
    with path.open("rb") as file:
        at, member, data = 0, zlib.decompressobj(_GZIP_WBITS), b""
        while data := data or file.read(_CHUNK):
            try:
                member.decompress(data)
            except zlib.error:  # the torn end: whatever follows cannot be read
                return
            if not member.eof:
                at, data = at + len(data), b""
                continue
            at += len(data) - len(member.unused_data)
            data = member.unused_data
            member = zlib.decompressobj(_GZIP_WBITS)
            yield at


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

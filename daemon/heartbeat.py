"""The heartbeat file: written by completed decisions, read by ``hedged-guard``.

One line of fixed width in ``<state-dir>/heartbeat``: monotonic ns, pid, and whether it ended in
order. The monotonic clock is one for all processes of a machine, and a stepped wall clock must
neither hide a dead daemon nor kill a living one (F60). Never synced: it is worth nothing after a
power cut.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from strategy.domain import Ns

NAME = "heartbeat"
GAP = Ns(500_000_000)
_WIDTH = 48


@dataclass(frozen=True, slots=True)
class Beat:
    """The last sign of life of a daemon."""

    at: Ns
    """Monotonic."""
    pid: int
    ended: bool
    """It ended in order, with nothing left that rests."""


class Heart:
    """Beats into the file, at most every ``GAP``.

    Args:
        state_dir: where the file is.
        mono: the machine's monotonic clock.
        failed: told once when the file cannot be written; the guard then acts, which is safe.
    """

    def __init__(
        self, state_dir: Path, mono: Callable[[], Ns], failed: Callable[[str], None]
    ) -> None:
        self._mono = mono
        self._failed = failed
        self._broken = False
        self._beat_at: Ns | None = None
        path = state_dir / NAME
        self._fd: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def beat(self) -> None:
        """Show that a decision was completed."""
        now = self._mono()
        if self._beat_at is None or now - self._beat_at >= GAP:
            self._beat_at = now
            self._write(Beat(now, os.getpid(), ended=False))

    def close(self, *, clean: bool) -> None:
        """Stop beating; ``clean`` tells the guard that there is nothing to cancel."""
        if self._fd is None:
            return
        if clean:
            self._write(Beat(self._mono(), os.getpid(), ended=True))
        os.close(self._fd)
        self._fd = None

    def _write(self, beat: Beat) -> None:
        if self._fd is None:
            return
        line = f"{beat.at} {beat.pid} {'ended' if beat.ended else 'alive'}"
        try:
            os.pwrite(self._fd, f"{line:<{_WIDTH - 1}}\n".encode(), 0)
        except OSError as bad:
            if not self._broken:
                self._broken = True
                self._failed(str(bad))


def last_beat(state_dir: Path) -> Beat | None:
    """Return the last beat; None where no daemon has ever run.

    Raises:
        ValueError: the file is not a heartbeat.
        OSError: it cannot be read.
    """
    try:
        text = (state_dir / NAME).read_text()
    except FileNotFoundError:
        return None
    words = text.split()
    if not words:
        return None  # a daemon has created it and has not decided anything yet
    if len(words) != 3 or words[2] not in ("alive", "ended"):  # noqa: PLR2004 - the line's words
        raise ValueError(f"{state_dir / NAME}: not a heartbeat: {text[:_WIDTH]!r}")
    return Beat(Ns(int(words[0])), int(words[1]), words[2] == "ended")

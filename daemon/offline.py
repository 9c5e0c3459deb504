"""A dead daemon's journal, opened for an operator's command."""

from pathlib import Path
from typing import Any

from daemon.clock import SystemClock
from daemon.config import EXIT_USAGE, ConfigError
from daemon.journal import Journal
from daemon.reconcile import journal_latch
from strategy.domain import Mode, Venue, plain
from strategy.events import LatchMoved

UNPROVED = "the venues were not asked at the end of the run"
"""What a run has proved of its end until it has proved more."""


def journal_path(state_dir: Path, venues: str) -> Path:
    """Return the journal of a mode: simulated money never mixes with real money."""
    return state_dir / f"{venues}.db"


def open_offline(state_dir: Path, venues: str | None) -> "Offline":
    """Open the journal of a mode; None takes the one written last.

    Raises:
        ConfigError: there is none. JournalError: it cannot be trusted.
    """
    if venues is not None:
        path = journal_path(state_dir, venues)
        if not path.exists():
            line = f"--venues {venues}: no journal of that mode in {state_dir}"
            raise ConfigError(EXIT_USAGE, line)
    else:
        path = max(state_dir.glob("*.db"), key=lambda p: p.stat().st_mtime_ns)
    return Offline(path)


class Offline:
    """Reads and latches; the caller holds the lease."""

    def __init__(self, path: Path) -> None:
        self._clock = SystemClock()
        self._journal = Journal(path, self._clock.wall())
        self._venues = path.stem

    def latch(self) -> tuple[str, str]:
        """Return the mode's name and the reason."""
        mode, reason = journal_latch(self._journal)
        return mode.name, reason

    def clear_latch(self) -> None:
        """Put the latch back to RUNNING, durably."""
        self._move(Mode.RUNNING, "")

    def set_latch(self, state: str, reason: str) -> None:
        """Set the latch, durably."""
        self._move(Mode[state], reason)

    def _move(self, mode: Mode, reason: str) -> None:
        moved = LatchMoved(mode, reason, self._clock.now())
        self._journal.event("LatchMoved", moved, moved.at.wall)
        self._journal.commit()

    def summary(self) -> dict[str, Any]:
        """Return ticker, mode and positions as journalled."""
        return {
            "ticker": self._journal.meta("ticker") or "",
            "venues": self._venues,
            "legs": {v.value: plain(self._journal.ledger(v).position) for v in Venue},
        }

    def residual(self) -> str:
        """Return what is not proved to be closed; empty when the last run ended proved flat.

        A run that died while it flattened has proved nothing, whatever its books say.
        """
        mode, proved = self.latch()[0], self._journal.meta("residual")
        if mode != Mode.HALTED.name:
            return f"the run ended {mode}, before both venues confirmed; {proved or UNPROVED}"
        return UNPROVED if proved is None else proved

    def close(self) -> None:
        """Release the journal."""
        self._journal.close()

"""Opens what a run keeps: the journal, and the reserve that stands in for it in an emergency."""

import os
import sqlite3
from io import FileIO
from pathlib import Path

from daemon.journal import Journal, JournalError
from daemon.log_writer import LineWriter
from daemon.reserve import Reserve, ReserveError, recover
from strategy.domain import Ns


class Keeping:
    """One run's journal and reserve, and the way to standard error for the record of the latter."""

    def __init__(self, path: Path, wall: Ns, *, flatten_only: bool) -> None:
        """Open both; take in what an emergency of an earlier run left.

        Args:
            path: the journal's file; the reserve stands beside it.
            wall: Unix ns.
            flatten_only: a run that only closes positions does so without a usable journal too.

        Raises:
            JournalError: the journal cannot be trusted or written, or there is no room for the
                reserve (exit 78).
        """
        self._stderr: LineWriter | None = None
        self.reserve: Reserve | None = None
        self.recovered = ""
        """Why an earlier run lost its journal, when its record was taken in just now."""
        try:
            self.reserve = Reserve(path.with_suffix(".reserve"), self._tell)
            self.journal = self._open(path, wall, self.reserve)
        except (JournalError, ReserveError) as bad:
            if not flatten_only:
                self.close()
                raise JournalError(str(bad)) from bad
            self.journal = Journal.in_memory(path, wall, str(bad))
        self.journal.survive(self.reserve)

    def _open(self, path: Path, wall: Ns, reserve: Reserve) -> Journal:
        journal = Journal(path, wall)
        try:
            self.recovered = recover(journal, reserve, wall)
        except (sqlite3.Error, OSError) as bad:
            line = f"journal {path.name}: {bad}; free room on its disk, then start again"
            raise JournalError(line) from bad
        return journal

    def _tell(self, line: str) -> None:
        """Write to standard error from its own thread: a blocked pipe must not stop a hedge."""
        if self._stderr is None:
            self._stderr = LineWriter(FileIO(os.dup(2), "wb"), "stderr")
        self._stderr.write(f"hedged: {line}\n".encode())

    def close(self) -> None:
        """Release the reserve and flush standard error; the journal is closed by its owner."""
        if self.reserve is not None:
            self.reserve.close()
        if self._stderr is not None:
            self._stderr.close()

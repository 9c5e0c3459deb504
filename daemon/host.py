"""What the daemon asks of its host: no core files, and enough open files (F48, F80)."""

import os
import resource
from collections.abc import Callable
from pathlib import Path

from strategy.domain import Ns
from strategy.params import SECOND

EVERY = Ns(5 * SECOND)
FULL_PERCENT = 80
"""Part of the open files allowed at which the daemon ends in order, to be started again."""
FILTER = Path("/proc/self/coredump_filter")
OPEN = Path("/proc/self/fd")


def no_core_files() -> None:
    """Keep the memory, and the keys in it, out of any core file, a piped one included (S14)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        FILTER.write_text("0")
    except OSError:  # not Linux, or no such file in this sandbox: the limit stands
        return


class Descriptors:
    """Counts open files every few seconds; holds one back for the end.

    Args:
        mono: monotonic ns.
        full: told once, with the count and the limit, when too many are open.
    """

    def __init__(self, mono: Callable[[], Ns], full: Callable[[int, int], None]) -> None:
        self._mono = mono
        self._full = full
        self._looked: Ns | None = None
        self._spare: int | None = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def look(self) -> None:
        """Count when it is time to; give the spare one back when there are too many."""
        now = self._mono()
        if self._looked is not None and now - self._looked < EVERY:
            return
        self._looked = now
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        used = count_open(limit)
        if used * 100 >= limit * FULL_PERCENT and self._spare is not None:
            self.close()
            self._full(used, limit)

    def close(self) -> None:
        """Give the spare one back; safe to call twice."""
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None


def count_open(limit: int) -> int:
    """Return how many files are open; the limit when not even the list can be opened."""
    try:
        return sum(1 for _ in OPEN.iterdir()) - 1
    except OSError:
        return limit

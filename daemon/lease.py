"""One daemon per state directory: an flock that the kernel releases with the process."""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

EXIT_LEASE = 79
NAME = "lease"


class LeaseHeld(Exception):  # noqa: N818 - named by what is so
    """Another process holds the lease (exit 79); one line naming its pid."""

    exit_code = EXIT_LEASE


class Lease:
    """The lock ``<state-dir>/lease``. The file stays: removing it would break the lock."""

    def __init__(self, state_dir: Path) -> None:
        """Take the lease at once.

        Raises:
            LeaseHeld: another process has it.
            OSError: the directory cannot be written.
        """
        self.path = state_dir / NAME
        state_dir.mkdir(parents=True, exist_ok=True)
        self._fd: int | None = _open(self.path)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            holder = _holder(self._fd)
            self.close()
            raise LeaseHeld(
                f"{self.path}: another hedged ({holder}) runs on this state directory; "
                "stop it, or give another --state-dir"
            ) from held
        with suppress(OSError):  # a full or read-only disk: the lock holds, without our name
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Release the lease; safe to call twice."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _open(path: Path) -> int:
    """Open the lease; one that is there can be locked even where nothing can be written (F39)."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as bad:
        if bad.errno not in (errno.EROFS, errno.ENOSPC, errno.EDQUOT) or not path.exists():
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _holder(fd: int) -> str:
    text = os.pread(fd, 32, 0).decode(errors="replace").strip()
    return f"pid {text}" if text.isdigit() else "pid unknown"

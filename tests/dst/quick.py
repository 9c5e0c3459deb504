"""What makes episodes fast without making them different in kind."""

from collections.abc import Iterator
from contextlib import contextmanager

from daemon import loop as daemon_loop


@contextmanager
def idling(seconds: float) -> Iterator[None]:
    """Let the loop decide on time alone this often meanwhile; every event still wakes it at once.

    The daemon's own 20 ms are most of an episode's work, so most seeds idle longer.
    """
    names = vars(daemon_loop)
    usual = names["IDLE"]
    names["IDLE"] = seconds
    try:
        yield
    finally:
        names["IDLE"] = usual

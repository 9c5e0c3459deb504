"""The one place that reads the clocks of the machine."""

import asyncio
import time

from strategy.domain import Now, Ns

BOOT_TIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux counts a sleep in this one only."""


class SystemClock:
    """Wall and monotonic time of this machine."""

    def wall(self) -> Ns:
        """Return Unix time in ns."""
        return Ns(time.time_ns())

    def mono(self) -> Ns:
        """Return monotonic time in ns, sleep of the machine included: data ages then, too (F36)."""
        return Ns(time.clock_gettime_ns(BOOT_TIME))

    def now(self) -> Now:
        """Return both readings."""
        return Now(self.mono(), self.wall())

    async def sleep(self, seconds: float) -> None:
        """Suspend for that long."""
        await asyncio.sleep(seconds)


def utc_day(wall: Ns) -> str:
    """Return the UTC day of a Unix time, ``YYYY-MM-DD``."""
    return time.strftime("%Y-%m-%d", time.gmtime(wall // 1_000_000_000))

"""Token buckets, so that the venue's own limit is never the one that stops a hedge (F04).

Reads wait for their turn; orders never wait: they are sent now or refused here, before they can be
in doubt. Part of an order lane is kept for orders that reduce risk. Time comes from the clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from exchanges.errors import VenueThrottled
from exchanges.port import WallClock
from strategy.domain import NANO, Ns

PATIENCE = 2.0
"""Seconds that a read may wait for its turn."""


@dataclass(frozen=True, slots=True)
class Rate:
    """``per_second`` requests on average, ``burst`` at once, the last ``reserve`` for the urgent.

    Raises:
        ValueError: a rate that never lets anything pass.
    """

    per_second: int
    burst: int
    reserve: int = 0

    def __post_init__(self) -> None:
        if self.per_second < 1 or self.burst < 1 or not 0 <= self.reserve < self.burst:
            raise ValueError(f"a lane that lets nothing pass: {self}")


class _Bucket:
    """Tokens in 1e-9; negative when readers are already queued for future ones."""

    def __init__(self, rate: Rate, now: Ns) -> None:
        self.rate = rate
        self._tokens = rate.burst * NANO
        self._at = now

    def refill(self, now: Ns) -> int:
        """Add what time brought; return the tokens there are."""
        gained = max(0, now - self._at) * self.rate.per_second
        self._tokens = min(self.rate.burst * NANO, self._tokens + gained)
        self._at = now
        return self._tokens

    def take(self) -> None:
        self._tokens -= NANO


class Limiter:
    """Independent lanes, each with its own rate."""

    def __init__(self, clock: WallClock, rates: Mapping[str, Rate]) -> None:
        self._clock = clock
        now = clock.mono()
        self._lanes = {lane: _Bucket(rate, now) for lane, rate in rates.items()}

    def try_acquire(self, lane: str, *, urgent: bool = False) -> bool:
        """Take a token now, if there is one; only urgent requests may use the reserve.

        Raises:
            KeyError: no such lane.
        """
        bucket = self._lanes[lane]
        floor = 0 if urgent else bucket.rate.reserve * NANO
        if bucket.refill(self._clock.mono()) - NANO < floor:
            return False
        bucket.take()
        return True

    def room(self, lane: str) -> int:
        """Return how many urgent requests the lane lets out now; raises KeyError without one."""
        return max(0, self._lanes[lane].refill(self._clock.mono()) // NANO)

    async def acquire(self, lane: str, patience: float = PATIENCE) -> None:
        """Wait for a token, first come first served.

        Raises:
            KeyError: no such lane.
            VenueThrottled: the turn would come later than ``patience`` seconds from now.
        """
        bucket = self._lanes[lane]
        short = NANO - bucket.refill(self._clock.mono())
        wait = max(0, short) / bucket.rate.per_second / NANO
        if wait > patience:
            raise VenueThrottled(f"{lane}: {wait:.1f} s until the next request is allowed", "local")
        bucket.take()
        if wait:
            await self._clock.sleep(wait)

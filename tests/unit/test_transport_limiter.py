"""Rate lanes: reads queue, orders never wait, hedges have a reserve (F04)."""

import pytest

from exchanges.errors import VenueThrottled
from exchanges.transport.limiter import Limiter, Rate
from strategy.domain import NANO, Ns


class VirtualClock:
    def __init__(self) -> None:
        self.now = 5 * NANO
        self.slept: list[float] = []

    def wall(self) -> Ns:
        return Ns(self.now)

    def mono(self) -> Ns:
        return Ns(self.now)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def test_F04_openers_leave_the_reserve_to_hedges() -> None:
    limiter = Limiter(VirtualClock(), {"orders": Rate(20, 4, reserve=2)})
    assert [limiter.try_acquire("orders") for _ in range(3)] == [True, True, False]
    assert [limiter.try_acquire("orders", urgent=True) for _ in range(3)] == [True, True, False]


def test_tokens_come_back_with_time_up_to_the_burst() -> None:
    clock = VirtualClock()
    limiter = Limiter(clock, {"orders": Rate(10, 2)})
    assert [limiter.try_acquire("orders") for _ in range(3)] == [True, True, False]
    clock.now += NANO // 10 - 1
    assert not limiter.try_acquire("orders")
    clock.now += 1
    assert limiter.try_acquire("orders")
    clock.now += 3600 * NANO
    assert [limiter.try_acquire("orders") for _ in range(3)] == [True, True, False]


async def test_reads_wait_for_their_turn_in_order() -> None:
    clock = VirtualClock()
    limiter = Limiter(clock, {"reads": Rate(2, 1)})
    for _ in range(3):
        await limiter.acquire("reads")
    assert clock.slept == [0.5, 1.0]


async def test_read_whose_turn_is_too_late_is_throttled_and_takes_nothing() -> None:
    clock = VirtualClock()
    limiter = Limiter(clock, {"reads": Rate(1, 1)})
    await limiter.acquire("reads")
    with pytest.raises(VenueThrottled, match="reads") as refused:
        await limiter.acquire("reads", patience=0.9)
    assert refused.value.code == "local"
    clock.now += NANO
    await limiter.acquire("reads")
    assert clock.slept == []


def test_lanes_are_independent() -> None:
    limiter = Limiter(VirtualClock(), {"a": Rate(1, 1), "b": Rate(1, 1)})
    assert limiter.try_acquire("a")
    assert limiter.try_acquire("b")
    with pytest.raises(KeyError):
        limiter.try_acquire("c")


@pytest.mark.parametrize(
    ("per_second", "burst", "reserve"), [(0, 1, 0), (1, 0, 0), (1, 2, 2), (1, 2, -1)]
)
def test_lane_that_lets_nothing_pass_is_refused(per_second: int, burst: int, reserve: int) -> None:
    with pytest.raises(ValueError, match="nothing pass"):
        Rate(per_second, burst, reserve)

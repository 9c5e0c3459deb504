"""The simulated loop: virtual time, seeded order, and processes that stall and die."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.simloop import SimError, SimLoop, simulate


def order(seed: int) -> list[int]:
    seen: list[int] = []

    async def main(loop: SimLoop) -> None:
        for number in range(8):
            loop.call_soon(seen.append, number)
        await asyncio.sleep(1)

    simulate(seed, main)
    return seen


def test_time_jumps_to_the_next_timer() -> None:
    async def main(loop: SimLoop) -> float:
        await asyncio.sleep(86_400)
        return loop.time()

    day, _ = simulate(1, main)
    assert day == 86_400


def test_the_ready_queue_is_shuffled_by_the_seed_alone() -> None:
    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(8)}) > 4


def test_a_deadlock_is_an_error() -> None:
    async def main(loop: SimLoop) -> None:
        await loop.create_future()

    with pytest.raises(SimError, match="deadlock"):
        simulate(1, main)


def test_a_busy_loop_is_an_error() -> None:
    async def main(loop: SimLoop) -> None:
        del loop
        for _ in range(10**6):
            await asyncio.sleep(0)

    with pytest.raises(SimError, match="busy loop"):
        simulate(1, main)


def test_threads_are_refused() -> None:
    async def main(loop: SimLoop) -> None:
        await asyncio.to_thread(loop.time)

    with pytest.raises(SimError, match="in a thread"):
        simulate(1, main)


def test_an_exception_that_nobody_handles_fails_the_episode() -> None:
    def bad() -> None:
        raise RuntimeError("lost")

    async def main(loop: SimLoop) -> None:
        loop.call_later(1, bad)
        await asyncio.sleep(2)

    with pytest.raises(SimError, match="lost"):
        simulate(1, main)


async def _ticking(seen: list[float], loop: SimLoop) -> None:
    for _ in range(1000):
        await asyncio.sleep(1)
        seen.append(loop.time())


def _with_process(act: Callable[[SimLoop], Awaitable[None]]) -> list[float]:
    seen: list[float] = []

    async def main(loop: SimLoop) -> None:
        process = loop.spawn(7, _ticking(seen, loop))
        await act(loop)
        loop.kill(7)
        loop.from_world(lambda: loop.bury(7))
        await asyncio.sleep(1)
        assert not loop.alive(7)
        assert process.cancelled()

    simulate(1, main)
    return seen


def test_a_stalled_process_runs_late_while_the_world_goes_on() -> None:
    async def act(loop: SimLoop) -> None:
        await asyncio.sleep(2.5)
        loop.stall(7, 10)
        await asyncio.sleep(12)

    assert _with_process(act) == [1, 2, 12.5, 13.5]


def test_a_killed_process_never_runs_again() -> None:
    async def act(loop: SimLoop) -> None:
        await asyncio.sleep(2.5)
        loop.kill(7)
        await asyncio.sleep(10)

    assert _with_process(act) == [1, 2]

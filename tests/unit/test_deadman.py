"""The countdown is refreshed by completed decisions only, and its loss is told (F36, F37, F46)."""

import asyncio
from dataclasses import replace

import pytest

from daemon.deadman import DeadMan
from exchanges.port import CancelAccepted, CancelOutcome, CancelUnknown, InDoubt
from strategy.domain import Now, Ns, Status, Tif, Venue
from strategy.world import World
from tests.builders import at, draft, planned, view, world
from tests.harness import Sink
from tests.unit.recovery_rig import FullPort, Hands, PlainPort, as_port, folded, narrator


def resting() -> World:
    made = draft(tif=Tif.GTC, post_only=True)
    w = planned(world(), made, 1)
    return folded(w, [view(w, 1, "0", Status.OPEN)])


class Rig:
    def __init__(self, switches: list[CancelOutcome] | None = None) -> None:
        self.clock = Hands()
        self.port = FullPort(Venue.GRVT, self.clock)
        if switches:
            self.port.switches = switches
        told_to, self.sink = narrator()
        ports = {
            Venue.GRVT: as_port(self.port),
            Venue.BACKPACK: as_port(PlainPort(Venue.BACKPACK, self.clock)),
        }
        self.dead_man = DeadMan(ports, told_to, self.clock)

    async def run(self, w: World, seconds: float) -> list[int]:
        """Tick every half second; return the countdowns asked for."""
        before = len(self.port.countdowns)
        end = self.clock.seconds + seconds
        while self.clock.seconds < end:
            await self.tick(w)
            self.clock.seconds += 0.5
        return self.port.countdowns[before:]

    async def tick(self, w: World) -> None:
        async with asyncio.TaskGroup() as tasks:
            self.dead_man.ticked(w, self.now, tasks)

    @property
    def now(self) -> Now:
        return self.clock.now()


async def test_the_switch_is_armed_at_once_and_refreshed_every_five_seconds() -> None:
    rig = Rig()
    assert await rig.run(resting(), 16) == [15, 15, 15, 15]
    assert rig.dead_man.armed(Venue.GRVT)


async def test_nothing_is_armed_while_nothing_can_rest() -> None:
    rig = Rig()
    assert await rig.run(planned(world(), draft(), 1), 20) == []
    assert not rig.dead_man.armed(Venue.GRVT)


async def test_the_switch_is_disarmed_once_nothing_rests_any_more() -> None:
    rig = Rig()
    await rig.run(resting(), 6)
    assert await rig.run(world(), 20) == [15, 0]
    assert not rig.dead_man.armed(Venue.GRVT)


async def test_F36_F37_a_loop_that_decides_nothing_refreshes_nothing() -> None:
    rig = Rig()
    await rig.run(resting(), 1)
    rig.clock.seconds += 60
    assert rig.port.countdowns == [15], "no timer of its own may cover a stuck loop up"


@pytest.mark.parametrize("answer", [InDoubt("429 1006"), CancelUnknown("1004")])
async def test_its_loss_is_alerted_once_retried_and_its_return_told(answer: CancelOutcome) -> None:
    taken = CancelAccepted(None)
    rig = Rig([taken, answer, answer, answer, taken])
    await rig.run(resting(), 5)
    assert rig.dead_man.armed(Venue.GRVT)
    await rig.run(resting(), 3)
    assert not rig.dead_man.armed(Venue.GRVT)
    assert await rig.run(resting(), 4)
    assert rig.dead_man.armed(Venue.GRVT)
    assert len(rig.sink.events("ALERT", "dead_man_lost")) == 1
    assert len(rig.sink.events("SAFETY", "dead_man_back")) == 1


async def test_a_failed_disarming_is_tried_again_and_is_no_loss() -> None:
    taken = CancelAccepted(None)
    rig = Rig([taken, taken, InDoubt("x"), taken])
    await rig.run(resting(), 1)
    assert await rig.run(world(), 12) == [15, 0, 0]
    assert rig.sink.events("ALERT", "dead_man_lost") == []


async def test_one_question_at_a_time() -> None:
    rig = Rig()
    gate = asyncio.Event()

    async def slow(countdown: Ns) -> CancelOutcome:
        rig.port.countdowns.append(countdown)
        await gate.wait()
        return CancelAccepted(None)

    rig.port.dead_man = slow  # type: ignore[method-assign]  # a venue that does not answer
    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            rig.dead_man.ticked(resting(), rig.now, tasks)
            rig.clock.seconds += 1
            await asyncio.sleep(0)
        assert len(rig.port.countdowns) == 1
        gate.set()


async def test_a_venue_without_a_switch_is_left_alone() -> None:
    clock = Hands()
    told_to, sink = narrator()
    dead_man = DeadMan({Venue.BACKPACK: as_port(PlainPort(Venue.BACKPACK, clock))}, told_to, clock)
    w = replace(resting(), stopping=True)
    async with asyncio.TaskGroup() as tasks:
        dead_man.ticked(w, at(0), tasks)
    assert not dead_man.armed(Venue.BACKPACK)
    assert isinstance(sink, Sink)
    assert sink.lines == []

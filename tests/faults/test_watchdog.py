"""Pings for a healthy loop only, and time that was lost (F36, F37, F46)."""

import pytest

from daemon.notify import Notifier
from daemon.watchdog import EMERGENCY, Watchdog
from strategy.domain import Ns
from tests.builders import SECOND, world

MS = SECOND // 1000


class Rig:
    """A watchdog, a clock, and what was said and pinged."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = 0
        self.said: list[tuple[str, int]] = []
        self.pings: list[str] = []
        notifier = Notifier("@nobody", lambda: self.time)
        monkeypatch.setattr(notifier, "watchdog", self.pings.append)
        self.dog = Watchdog(
            notifier, lambda: Ns(self.time), lambda e, ms: self.said.append((e, ms))
        )
        self.notifier = notifier

    def turn(self, after: int, lost: str = "", inside: int = 0) -> bool:
        self.time += after
        stale = self.dog.turn()
        self.time += inside
        self.dog.ticked(world(), lost)
        return stale


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    made = Rig(monkeypatch)
    made.notifier.close()
    return made


def test_F46_every_completed_decision_of_a_healthy_loop_pings(rig: Rig) -> None:
    assert not any(rig.turn(20 * MS) for _ in range(5))
    assert len(rig.pings) == 5
    assert rig.pings[0] == "mode=RUNNING net=0 in_doubt=0"
    assert rig.said == []
    assert rig.dog.worst == 20 * MS


def test_F37_a_blocked_loop_is_told_and_gets_no_ping_for_that_turn(rig: Rig) -> None:
    rig.turn(20 * MS)
    assert not rig.turn(2 * SECOND), "not yet long enough to forget what was received"
    assert rig.said == [("loop_lag", 2000)]
    assert len(rig.pings) == 1
    rig.turn(20 * MS)
    assert len(rig.pings) == 2


def test_F37_a_decision_that_takes_long_gets_no_ping(rig: Rig) -> None:
    rig.turn(20 * MS, inside=2 * SECOND)
    assert rig.pings == []


def test_F36_five_lost_seconds_make_everything_received_stale(rig: Rig) -> None:
    assert not rig.turn(30 * SECOND), "the first turn has nothing before it"
    assert rig.turn(30 * SECOND)
    assert rig.said == [("paused", 30_000)]
    assert not rig.turn(20 * MS)


def test_F39_without_a_journal_it_pings_while_it_may_reduce_and_no_longer(rig: Rig) -> None:
    rig.turn(20 * MS, lost="full")
    assert len(rig.pings) == 1
    while rig.time < EMERGENCY:
        rig.turn(SECOND, lost="full")
    before = len(rig.pings)
    rig.turn(SECOND, lost="full")
    assert len(rig.pings) == before

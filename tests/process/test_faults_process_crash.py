"""SIGKILL at commits and awaits of a real process: every restart recovers, nothing is doubled."""

import random  # noqa: TID251 - a seeded choice of crash points
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.crash_soak import chain, sampled
from tests.process.crashing import Crasher, Run, Truth, Venues, finished, said, truth
from tests.process.faults_rig import CROSS
from tests.process.programs import slack

RESTART = 10.0
"""Seconds from a start to reconciled (L4)."""
NAKED = 15.0
"""Seconds that an exposure may stand (L2), the restart included."""


@pytest.fixture(scope="module")
def venues(crasher: Crasher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venues]:
    made = Venues(crasher, tmp_path_factory.mktemp("venues"), "--speed", "8")
    yield made
    assert made.close() == 0


def recovered(crasher: Crasher, venues: Venues, folder: Path) -> Run:
    """Start normally after a crash and let one iteration end."""
    run = crasher.start(folder, *CROSS, "--iter", "1", env=venues.environment())
    assert said(run, "[RECONCILE] reconciled", RESTART) <= RESTART * slack()
    assert finished(run, 40) == 0, run.said()[-3000:]
    return run


def judged(venues: Venues, after: int, size: float = 0.5) -> Truth:
    """The venues' own books: flat now, never more exposed than one order, nothing twice."""
    assert venues.positions() == ("0", "0")
    found = truth(venues, after)
    assert found.worst_net <= size + 1e-9
    assert found.longest_naked <= NAKED * slack()
    assert found.doubled == ()
    return found


def orders_so_far(venues: Venues) -> int:
    return len(venues.ask("/audit")["orders"])


@pytest.mark.parametrize(
    "plan",
    [{"fill": 1}, {"order": 1}],
    ids=["F30_between_fill_and_hedge", "F31_between_commit_and_send"],
)
def test_F30_F31_a_kill_before_the_hedge_leaves_is_hedged_after_the_restart(
    crasher: Crasher, venues: Venues, tmp_path: Path, plan: dict[str, Any]
) -> None:
    before = orders_so_far(venues)
    env = venues.environment()
    run = crasher.start(tmp_path, *CROSS, "--iter", "0", env=env, plan=plan)
    assert finished(run, 30) == -9
    assert venues.positions() == ("0.5", "0"), "the primary filled and nothing hedged it"
    again = recovered(crasher, venues, tmp_path)
    text = again.said()
    hedged, opened = text.find("[SMART_ROUTING] iteration"), text.find("[OPEN] order")
    assert hedged > 0
    assert opened < 0 or hedged < opened, "it opened before it had hedged"
    judged(venues, before)


def test_F32_a_kill_between_send_and_answer_is_not_sent_twice(
    crasher: Crasher, tmp_path: Path
) -> None:
    slow = Venues(crasher, tmp_path / "venues", "--speed", "8", "--latency", "grvt.ack=400")
    try:
        env = slow.environment()
        folder = tmp_path / "run"
        run = crasher.start(folder, *CROSS, "--iter", "0", env=env, plan={"sent": 1})
        assert finished(run, 30) == -9
        sent = [r for r in slow.ask("/audit")["orders"] if r["venue"] == "grvt"]
        assert len(sent) == 1, "the order reached the venue"
        recovered(crasher, slow, folder)
        judged(slow, 0)
    finally:
        slow.close()


@pytest.mark.timeout(150)
def test_F30_crash_points_at_commits_and_awaits_recover_one_after_the_other(
    crasher: Crasher, venues: Venues, tmp_path: Path
) -> None:
    """A sample of what ``python -m tests.process.crash_soak`` runs in full."""
    before = orders_so_far(venues)
    points = sampled(random.Random(30), commits=5, steps=5)  # noqa: S311 - a sample, no secret
    figures = chain(crasher, venues, tmp_path, points, CROSS)
    assert figures.points == len(points) == 10
    assert figures.slowest_start <= RESTART * slack()
    judged(venues, before)

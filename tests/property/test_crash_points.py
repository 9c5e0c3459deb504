"""Crash points of short episodes: a sample of what ``python -m tests.dst.crashpoints`` runs whole.

``python -m tests.dst.crashpoints --from <seed> --scenario <name> --point <point>`` replays one.
"""

import sys

import pytest

from strategy.domain import Venue
from tests.dst import crashpoints, episode
from tests.dst.crashpoints import (
    BY_SCENARIO,
    MARKET,
    SCENARIOS,
    awaits,
    commits,
    crossed,
    elsewhere,
    source,
)
from tests.dst.crashworld import (
    CrashWorld,
    Moment,
    Point,
    Record,
    Scenario,
    Site,
    dies_on_send,
    live,
    sigterm,
)
from tests.dst.faults import BY_NAME, Fault
from tests.dst.policies import resolving

pytestmark = pytest.mark.timeout(300)  # seconds of CPU, but a busy machine stretches them
SEED = 3
SPREAD = 6
"""Crash points of each kind, in each scenario."""
CROSSED = 85
"""Awaits of the process's own modules at which the scenarios of one seed crash it, at least."""
REGRESSIONS = {
    ("cycle", 1, "1:before:1"): "a journal killed while it was opened kept its lock: exit 78",
    ("venue", 3, "1:before:1"): "a start while a market was halted failed its rehearsal: exit 78",
    ("cycle", 1, "1:after:2"): "a process that died in its main task passed for one that failed",
}
"""Points that failed once, and what was wrong."""


def spread(points: list[Point]) -> list[Point]:
    """Return a few of them from the first to the last."""
    last = len(points) - 1
    return [points[last * n // (SPREAD - 1)] for n in range(SPREAD)]


def why(world: CrashWorld) -> str:
    point = f"{world.scenario.name}, seed {world.script.seed}, {world.point}"
    return "\n".join([point, *world.truth.broken, world.lines.text()])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=list(BY_SCENARIO))
def test_F30_to_F33_L4_every_crash_recovers_hedged_and_nothing_is_doubled(
    scenario: Scenario,
) -> None:
    uncrashed = live(scenario, SEED)
    assert not uncrashed.truth.broken, why(uncrashed)
    record = uncrashed.record
    points = [*spread(list(commits(record))), *spread(awaits(record))]
    assert len(set(points)) == 2 * SPREAD
    for point in points:
        world = live(scenario, SEED, point)
        assert not world.truth.broken, why(world)
        assert world.killed_at is not None


@pytest.mark.parametrize("known", list(REGRESSIONS), ids=str)
def test_points_that_failed_once_pass(known: tuple[str, int, str]) -> None:
    name, seed, point = known
    world = live(BY_SCENARIO[name], seed, Point.parsed(point))
    assert not world.truth.broken, f"{REGRESSIONS[known]}\n{why(world)}"


def test_a_crash_happens_exactly_where_the_uncrashed_run_was() -> None:
    scenario = BY_SCENARIO["cycle"]
    record = live(scenario, SEED).record
    for moment in record.moments[::97]:
        world = live(scenario, SEED, Point(moment.life, "step", moment.step))
        assert world.killed_at == moment.ns


def test_awaits_of_every_module_of_the_process_are_crash_points() -> None:
    sites: set[Site] = set()
    for scenario in SCENARIOS:
        sites.update(live(scenario, SEED).record.sites)
    reached = crossed(sites)
    here = {a for a in source() if not elsewhere(a.file)}
    assert reached <= here
    assert len(reached) >= CROSSED, sorted(map(str, here - reached))
    # the venue without a wire refuses with words of its own, so that none is probed after a halt
    assert {a.file for a in here} - {a.file for a in reached} <= {"daemon/venue_watch.py"}


def test_steps_between_which_nothing_leaves_are_one_crash_point_but_for_the_time() -> None:
    second = 10**9
    moments = [
        Moment(1, 1, 0, commits=0, calls=0),
        Moment(1, 2, 1, commits=0, calls=0),
        Moment(1, 3, 2, commits=1, calls=0),
        Moment(1, 4, second, commits=1, calls=0),
        Moment(1, 5, 2 * second, commits=1, calls=0),
        Moment(1, 6, 2 * second, commits=1, calls=1),
    ]
    record = Record(moments, {("daemon/loop.py", 1, 0): [3]}, {1: 1})
    assert [str(p) for p in commits(record)] == ["1:before:1", "1:after:1"]
    assert [p.number for p in awaits(record)] == [4, 5, 6]
    assert [p.number for p in awaits(record, every=True)] == [1, 2, 3, 4, 5, 6]


def test_L4_a_restart_that_comes_too_late_is_held_against_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(episode, "RESTART_SECONDS", 30.0)
    world = live(BY_SCENARIO["cycle"], SEED, Point(1, "after", 8))
    said = "\n".join(world.truth.broken)
    assert "L4: reconciled" in said, why(world)


def test_F32_a_restart_that_takes_not_found_for_dead_is_caught_doubling_a_late_hedge() -> None:
    faults = (Fault(BY_NAME["F03"], Venue.GRVT, 0.15, 0.0, 0), dies_on_send(Venue.GRVT))
    flags = MARKET | {"iter": "0", "sleep": "4"}
    late = Scenario("late", flags, (*faults, sigterm(7.0)), storm=7.0, since=2)
    assert not live(late, SEED).truth.broken
    with resolving("not-found=rejected"):
        world = live(late, SEED)
    assert any("S1: hedge" in what for what in world.truth.broken), why(world)


def test_a_point_that_no_run_reaches_is_a_failure() -> None:
    world = live(BY_SCENARIO["latch"], SEED, Point(1, "step", 100_000))
    assert any("never reached" in what for what in world.truth.broken)


def test_the_command_replays_a_point_and_tells_its_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["crashpoints", "--from", str(SEED), "--scenario", "latch", "--point", "1:after:5"]
    monkeypatch.setattr(sys, "argv", argv)
    assert crashpoints.main() == 0
    assert "[WORLD] killed why=at a commit" in capsys.readouterr().out
    assert Point.parsed("2:before:17") == Point(2, "before", 17)
    with pytest.raises(ValueError, match="before, after or step"):
        Point.parsed("2:during:17")

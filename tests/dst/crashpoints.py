"""Every crash point of short episodes: ``python -m tests.dst.crashpoints --seeds 5``.

Each scenario is lived through once without a crash, while every commit and every await is recorded,
and then once for each crash point: before and after every commit, and at the awaits. Between two
commits or requests nothing leaves the process, so all its awaits there are one crash to the world,
but for the moment: the first and, if it is later at all, the last of them are taken, unless a
commit's own point is the same; and of every place in the code at which a task waits the first, a
middle and the last time. ``--every`` takes each single step.

The supervisor starts the daemon again after each crash. The venues' own books judge what follows.
"""

import argparse
import ast
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from daemon.app import Purpose
from strategy.domain import Venue, plain
from strategy.params import SECOND
from tests.dst.crashworld import (
    ROOT,
    CrashWorld,
    Point,
    Record,
    Scenario,
    Site,
    dies_on_send,
    live,
    sigterm,
)
from tests.dst.faults import BY_NAME, Fault, Kind, Stage

B, G = Venue.BACKPACK, Venue.GRVT
SHOWN = 40
"""Failures that are printed of one scenario and seed; all are counted, and listed at the end."""
SAME_MOMENT = 20_000_000
"""ns by which two crashes must differ that differ in nothing else."""


def _at(name: str, venue: Venue, at: float, seconds: float = 0.0, times: int = 1) -> Fault:
    return Fault(BY_NAME[name], venue, at, seconds, times - 1)


def _once(name: str, venue: Venue, at: float, times: int) -> Fault:
    """Return a fault of the board that usually lasts, for so many times only."""
    kind = Kind(f"{name} once", lambda stage, _rng, v, _fault: _few(stage, name, v, times))
    return Fault(kind, venue, at, 0.0, 0)


def _few(stage: Stage, name: str, venue: Venue, times: int) -> None:
    stage.universe.faults.add({"venue": venue.value, "fault": name, "count": times})
    stage.universe.apply_faults()


BASE = {
    "size": "0.4",
    "max_position": "0.4",
    "iter": "1",
    "primary_mode": "aggressive",
    "hedge_mode": "smart",
    "fill_timeout": "1",
    "flatten_on_exit": "true",
    "max_unhedged_ms": "4000",
}
MARKET = BASE | {"hedge_mode": "market"}
SCENARIOS = (
    # a whole cycle: one hedge's request is lost, another one's answer, and a socket
    Scenario("cycle", BASE, (_at("F02", G, 0.15), _at("F01", G, 0.15), _at("F50", B, 1.5))),
    # makers: a request and an answer lost, a fill during a cancel, a cancel refused, messages lost
    Scenario(
        "maker",
        MARKET | {"primary_mode": "bbo"},
        (_at("F02", B, 0.15), _at("F01", B, 0.15), _at("F22", B, 0.15), _at("F24", G, 0.2),
         _at("F59", B, 0.2, times=2), _at("stream loss", G, 0.2, 3.0)),
        storm=4.0,
    ),
    # orders say filled, and no message tells the fills
    Scenario("untold", BASE, (_at("F24", B, 0.15, times=3), _at("F24", G, 0.15, times=3))),
    # hedges are refused with a leg open: the budget is spent, and the leg is undone
    Scenario(
        "refused",
        MARKET | {"max_unhedged_ms": "1500"},
        (*[_at("F12", G, 0.15, times=4)] * 4, sigterm(3.5)),
    ),
    # the hedge venue is gone with a leg open and an order in doubt
    Scenario(
        "gone",
        MARKET | {"max_unhedged_ms": "1500"},
        (_at("F54", G, 0.5, 6.0), sigterm(7.0)),
        storm=7.0,
    ),
    # the latch: the day's loss is reached with a pair open
    Scenario("latch", MARKET | {"size": "0.2", "MAX_DAILY_LOSS": "0.5"}, ()),
    # an orderly stop that flattens, with a hedge in doubt
    Scenario("flatten", BASE | {"iter": "0"}, (_at("F02", G, 0.15), sigterm(0.7))),
    # the second life: it starts with a hedge that traded unheard of, or with a maker that rests
    Scenario(
        "hedge-lost",
        BASE,
        (dies_on_send(G), _once("F73", G, 1.0, 3)),
        since=2,
    ),
    Scenario("maker-lost", BASE | {"primary_mode": "bbo"}, (dies_on_send(B),), since=2),
    Scenario(
        "late",
        BASE,
        (_at("F03 late", G, 0.15, 4.0), _at("F30", B, 1.5)),
        storm=5.0,
        since=2,
    ),
    # the venue changes its rules, halts, and does not answer
    Scenario(
        "venue",
        BASE,
        (_at("F14", B, 0.3), _at("F68", G, 0.5, 2.5), _at("F74", B, 0.3, times=2)),
        storm=4.0,
    ),
    # `hedged flatten` after a SIGKILL: one venue dark, or a position that is not ours
    Scenario("dark", BASE, (dies_on_send(G),), since=2, by_hand=Purpose.FLATTEN, dark=4),
    Scenario(
        "stranger",
        BASE | {"primary_mode": "bbo"},
        (dies_on_send(B), _at("F25", G, 1.5), _at("F59", B, 1.5, times=2)),
        since=2,
        by_hand=Purpose.FLATTEN,
    ),
    # `hedged adopt` after one, with a hedge in doubt and a trade by hand; then the daemon again
    Scenario(
        "adopt", BASE, (dies_on_send(G), _at("F25", B, 1.5)), since=2, by_hand=Purpose.ADOPT
    ),
)  # fmt: skip
BY_SCENARIO = {scenario.name: scenario for scenario in SCENARIOS}


# --- which points --------------------------------------------------------------------------------


def commits(record: Record) -> Iterator[Point]:
    """Yield the moments before and after every commit."""
    for life, most in record.commits.items():
        for number in range(1, most + 1):
            yield Point(life, "before", number)
            yield Point(life, "after", number)


def awaits(record: Record, *, every: bool = False) -> list[Point]:
    """Return the steps to crash at, in order."""
    moments = record.moments
    chosen = set(range(len(moments))) if every else set()
    spans: dict[tuple[int, int, int], tuple[int, int]] = {}
    for index, m in enumerate(moments):
        key = m.life, m.commits, m.calls
        spans[key] = spans.get(key, (index, index))[0], index
    for (life, made, _), (first, last) in spans.items():
        if first and (moments[first - 1].life, moments[first - 1].commits) == (life, made):
            chosen.add(first)  # a request has left; after a commit the commit's own point is it
        late = moments[last].ns - moments[first].ns > SAME_MOMENT
        if late and (life, made, moments[last].calls + 1) in spans:
            chosen.add(last)
    for at in record.sites.values():
        chosen.update((at[0], at[len(at) // 2], at[-1]))
    return [Point(moments[i].life, "step", moments[i].step) for i in sorted(chosen)]


# --- the awaits of the source --------------------------------------------------------------------

ELSEWHERE = {
    "daemon/bench": "another command",
    "daemon/control.py": "the control socket: a real one, in tests/process",
    "daemon/doctor.py": "another command",
    "daemon/guard.py": "another process",
    "daemon/live_data.py": "shadow mode",
    "daemon/record.py": "another command",
    "daemon/simulate.py": "another command",
    "exchanges/backpack": "the wire: real processes, tests/process/crash_soak.py",
    "exchanges/grvt": "the wire: real processes, tests/process/crash_soak.py",
    "exchanges/transport": "the wire: real processes, tests/process/crash_soak.py",
    "exchanges/simulator": "the venues, which no crash of ours touches",
}
"""Product code that waits, but not in the simulated process."""


@dataclass(frozen=True, slots=True)
class Await:
    """One place in the source at which a task may be suspended."""

    file: str
    line: int
    column: int
    last: int
    """Last line of what it is suspended in: a ``with`` or ``for`` without its body."""
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.text}"


def elsewhere(file: str) -> bool:
    """True for a file whose awaits other tests cross."""
    return any(file == name or file.startswith(f"{name}/") for name in ELSEWHERE)


@cache
def source() -> tuple[Await, ...]:
    """Return every ``await``, ``async for`` and ``async with`` of daemon/ and exchanges/."""
    found: list[Await] = []
    for folder in ("daemon", "exchanges"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found += _of(path)
    return tuple(found)


def _of(path: Path) -> Iterator[Await]:
    text = path.read_text()
    name, lines = path.relative_to(ROOT).as_posix(), text.splitlines()
    for node in ast.walk(ast.parse(text)):
        last = 0
        if isinstance(node, ast.Await):
            last = node.end_lineno or node.lineno
        elif isinstance(node, ast.AsyncWith) and not _timeout(node):
            last = node.items[-1].context_expr.end_lineno or node.lineno
        elif isinstance(node, ast.AsyncFor):
            last = node.iter.end_lineno or node.lineno
        if last and isinstance(node, ast.Await | ast.AsyncWith | ast.AsyncFor):
            said = lines[node.lineno - 1].strip()
            yield Await(name, node.lineno, node.col_offset, last, said)


def _timeout(node: ast.AsyncWith) -> bool:
    """Return whether a block only bounds its body in time: entering and leaving it never waits."""
    context = node.items[0].context_expr
    return isinstance(context, ast.Call) and ast.unparse(context.func) == "asyncio.timeout"


def crossed(sites: Iterable[Site]) -> set[Await]:
    """Return the awaits of the source at which these sites were suspended."""
    by_file: dict[str, list[Await]] = {}
    for known in source():
        by_file.setdefault(known.file, []).append(known)
    found = set()
    for file, line, column in sites:
        there = [a for a in by_file.get(file, []) if a.line <= line <= a.last]
        exact = [a for a in there if (a.line, a.column) == (line, column)]
        found.update(exact or sorted(there, key=lambda a: a.last - a.line)[:1])
    return found


# --- figures -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one crash."""

    scenario: str
    seed: int
    point: Point
    broken: tuple[str, ...]
    reconciled: int
    hedged: int
    naked: int
    over: int

    @property
    def replay(self) -> str:
        where = f"--scenario {self.scenario} --point {self.point}"
        return f"python -m tests.dst.crashpoints --from {self.seed} {where}"


@dataclass(slots=True)
class Tally:
    """The figures over all runs."""

    commits: int = 0
    steps: int = 0
    classes: int = 0
    points: int = 0
    runs: int = 0
    sites: set[Site] = field(default_factory=set)
    failed: list[Outcome] = field(default_factory=list)
    reconciled: tuple[int, str] = (0, "")
    hedged: tuple[int, str] = (0, "")
    naked: tuple[int, str] = (0, "")
    over: int = 0

    def recorded(self, record: Record) -> None:
        """Count one uncrashed run."""
        self.commits += sum(record.commits.values())
        self.steps += len(record.moments)
        self.classes += len({(m.life, m.commits, m.calls) for m in record.moments})
        self.sites.update(record.sites)

    def add(self, outcome: Outcome) -> None:
        """Count one crash."""
        self.runs += 1
        name = f"{outcome.scenario}, seed {outcome.seed}, {outcome.point}"
        self.reconciled = max(self.reconciled, (outcome.reconciled, name))
        self.hedged = max(self.hedged, (outcome.hedged, name))
        self.naked = max(self.naked, (outcome.naked // SECOND, name))
        self.over = max(self.over, outcome.over)
        if outcome.broken:
            self.failed.append(outcome)

    def text(self, seconds: float) -> str:
        """Render the figures."""
        here = [a for a in source() if not elsewhere(a.file)]
        reached = crossed(self.sites)
        never = "".join(f"  {a}\n" for a in here if a not in reached)
        reconciled, hedged = plain(self.reconciled[0]), plain(self.hedged[0])
        return (
            f"{self.commits} commits, {self.steps} steps, {self.classes} of them the first after a "
            f"commit or a request\n"
            f"{self.points} crash points, {self.runs} runs, {len(self.failed)} failed; "
            f"{seconds:.0f} s\n"
            f"awaits crossed: {len(reached)} of {len(here)} in the process's modules "
            f"({len(source()) - len(here)} in other ones); never suspended at:\n{never}"
            f"slowest to reconciled, s after a restart in calm weather: {reconciled} "
            f"({self.reconciled[1]})\n"
            f"slowest to hedged, s: {hedged} ({self.hedged[1]})\n"
            f"worst naked base-seconds of an episode: {plain(self.naked[0])} ({self.naked[1]})\n"
            f"worst over-hedge: {plain(self.over)}\n"
        )


# --- running -------------------------------------------------------------------------------------

Job = tuple[str, int, Point]


def judged(job: Job) -> Outcome:
    """Run one crash."""
    name, seed, point = job
    world = live(BY_SCENARIO[name], seed, point)
    figures, broken = world.truth.figures, tuple(world.truth.broken)
    reconciled = hedged = 0
    if world.killed_at is not None:
        reconciled, hedged = world.reconciled() or 0, world.hedged() or 0
    return Outcome(name, seed, point, broken, reconciled, hedged, figures.naked, figures.over)


def planned(scenario: Scenario, seed: int, tally: Tally, *, every: bool) -> list[Job]:
    """Record a scenario and return its crashes; a run that breaks uncrashed is one failure."""
    world = live(scenario, seed)
    tally.recorded(world.record)
    if world.truth.broken:
        nowhere = Point(0, "step", 0)
        tally.failed.append(
            Outcome(scenario.name, seed, nowhere, tuple(world.truth.broken), 0, 0, 0, 0)
        )
    points = [*commits(world.record), *awaits(world.record, every=every)]
    tally.points += len(points)
    return [(scenario.name, seed, point) for point in points]


def enumerated(
    scenarios: Iterable[Scenario], seeds: Iterable[int], *, every: bool, jobs: int
) -> Tally:
    """Run every crash point of some scenarios and seeds."""
    tally = Tally()
    with get_context("fork").Pool(jobs) as pool:
        for seed in seeds:
            for scenario in scenarios:
                begun, failed = time.monotonic(), len(tally.failed)
                work = planned(scenario, seed, tally, every=every)
                for outcome in pool.imap_unordered(judged, work, chunksize=8):
                    tally.add(outcome)
                    if outcome.broken and len(tally.failed) - failed <= SHOWN:
                        sys.stdout.write(f"FAILED {outcome.replay}\n")
                        sys.stdout.writelines(f"  broke: {what}\n" for what in outcome.broken)
                sys.stdout.write(
                    f"seed {seed} {scenario.name}: {len(work)} points, "
                    f"{len(tally.failed) - failed} failed, {time.monotonic() - begun:.0f} s\n"
                )
                sys.stdout.flush()
    return tally


def told(world: CrashWorld) -> str:
    """Render one run with its trace."""
    broken = "".join(f"  broke: {what}\n" for what in world.truth.broken)
    return f"{broken}{world.lines.text(100_000)}\n"


def main() -> int:
    """Enumerate, or replay one point; exit 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--from", type=int, default=1, dest="first")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--scenario", choices=list(BY_SCENARIO), action="append")
    parser.add_argument("--every", action="store_true", help="crash at each single step")
    parser.add_argument("--point", type=Point.parsed, help="life:before|after|step:number")
    args = parser.parse_args()
    chosen = [BY_SCENARIO[name] for name in args.scenario or BY_SCENARIO]
    if args.point is not None:
        world = live(chosen[0], args.first, args.point if args.point.life else None)
        sys.stdout.write(told(world))
        return 1 if world.truth.broken else 0
    begun = time.monotonic()
    seeds = range(args.first, args.first + args.seeds)
    tally = enumerated(chosen, seeds, every=args.every, jobs=args.jobs)
    sys.stdout.write(tally.text(time.monotonic() - begun))
    sys.stdout.writelines(f"replay: {outcome.replay}\n" for outcome in tally.failed)
    return 1 if tally.failed or not tally.runs else 0


if __name__ == "__main__":
    sys.exit(main())

"""Crash points of a real process, as many as one likes: ``python -m tests.process.crash_soak``.

Every commit (before and after it) and every ``await`` that one iteration reaches, in three ways of
trading, each followed by a normal start. Figures go to standard output; a violation ends it.
``--no-awaits --way 0`` leaves the commits of one way. What these processes wait for in simulated
time is enumerated by ``tests.dst.crashpoints``; only here the wire's own awaits are crossed.
"""

import argparse
import json
import os
import random  # noqa: TID251 - a seeded choice of crash points
import signal
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.process.crashing import Crasher, Run, Truth, Venues, finished, said, truth
from tests.process.programs import PATIENCE as WAIT
from tests.process.programs import slack

LIVE = ("--ticker", "ETH", "--venues", "live", "--log-format", "console", "--fill-timeout", "1")
WAYS = (
    ("--size", "0.5", "--primary-mode", "aggressive", "--hedge-mode", "market"),
    ("--size", "0.5", "--primary-mode", "aggressive", "--hedge-mode", "smart",
     "--risk-aversion", "max"),
    ("--size", "0.3", "--primary-mode", "bbo", "--hedge-mode", "smart", "--risk-aversion", "3"),
)  # fmt: skip
MOST_COMMITS = 40
RESTART = 10.0
NAKED = 15.0
Plan = dict[str, Any]


@dataclass(slots=True)
class Figures:
    """What a chain of crashes found."""

    points: int = 0
    killed: int = 0
    """Points that were reached; at the others the process was killed after a while."""
    slowest_start: float = 0.0
    """Seconds from a start to reconciled."""
    trading: list[tuple[float, float]] = field(default_factory=list)
    """(from, to), monotonic seconds: when a process traded, from reconciled to its death."""


PATIENCE = 12.0
"""Seconds in which a run reaches its crash point, if it is on its way at all."""


RECONCILED = "[RECONCILE] reconciled"


def ended(run: Run, limit: float, figures: Figures) -> bool:
    """Wait that long for a run's end; true when it came. Note from when on it traded."""
    deadline, since = time.monotonic() + limit, 0.0
    while run.status is None and time.monotonic() < deadline:
        if not since and RECONCILED in run.said():
            since = time.monotonic()
        time.sleep(0.02)  # noqa: TID251 - a test process waits for another
    if since:
        figures.trading.append((since, time.monotonic()))
    return run.status is not None


def exposed(found: Truth, figures: Figures) -> float:
    """Return the seconds for which the longest exposure stood while a process traded.

    A chain kills some processes before they could hedge what the one before them left: that time is
    nobody's.
    """
    apart = time.time_ns() - time.monotonic_ns()
    spells = [((a - apart) / 1e9, (b - apart) / 1e9) for a, b in found.spells]
    return max(
        (sum(max(0.0, min(b, to) - max(a, since)) for since, to in figures.trading)
         for a, b in spells),
        default=0.0,
    )  # fmt: skip


def commits(most: int = MOST_COMMITS) -> list[Plan]:
    """Return every commit, before and after it, from the start and from ready on."""
    return [
        {"commit": n, "before": before, "armed": armed}
        for n in range(1, most + 1)
        for before in (True, False)
        for armed in ("start", "ready")
    ]


def sampled(rng: random.Random, *, commits: int, steps: int) -> list[Plan]:
    """Return a few crash points of each kind, in random order."""
    points: list[Plan] = [
        {"commit": rng.randint(1, 12), "before": rng.random() < 0.5, "armed": "ready"}
        for _ in range(commits)
    ]
    points += [{"step": rng.randint(1, 120), "armed": "ready"} for _ in range(steps)]
    rng.shuffle(points)
    return points


def chain(
    crasher: Crasher, venues: Venues, folder: Path, points: Iterable[Plan], flags: tuple[str, ...]
) -> Figures:
    """Crash at one point after the other, each start recovering from the crash before it."""
    figures = Figures()
    env = venues.environment(MAX_DAILY_LOSS="100000")  # fees add up over hundreds of runs
    for point in [*points, None]:
        iterations = "1" if point is None else "0"
        run = crasher.start(folder, *flags, "--iter", iterations, env=env, plan=point)
        if point is None or point.get("armed") == "ready":
            took = said(run, RECONCILED, RESTART)
            figures.slowest_start = max(figures.slowest_start, took)
        if point is None:
            assert ended(run, 60 * WAIT, figures), run.said()[-3000:]
            assert run.status == 0, run.said()[-3000:]
            break
        reached = ended(run, PATIENCE, figures)
        if not reached:  # the point is on no way that this run took: any other moment, then
            os.kill(run.pid, signal.SIGKILL)
        status = finished(run, 20)
        assert status == -9, f"{point}: exit {status}\n{run.said()[-3000:]}"
        figures.points += 1
        figures.killed += reached
    return figures


def recorded(crasher: Crasher, venues: Venues, folder: Path, flags: tuple[str, ...]) -> list[str]:
    """Return every ``await`` that one iteration reaches."""
    found = folder / "sites.json"
    plan = {"record": str(found), "step": 1500, "armed": "start"}
    finished(crasher.start(folder, *flags, "--iter", "1", env=venues.environment(), plan=plan), 90)
    if not found.exists():
        return []
    return sorted(json.loads(found.read_text()))


def main() -> None:
    """Enumerate; print one line per way of trading."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--from", type=int, default=1, dest="first")
    parser.add_argument("--commits", type=int, default=MOST_COMMITS)
    parser.add_argument("--awaits", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--way", type=int, choices=range(len(WAYS)), action="append")
    args = parser.parse_args()
    crasher = Crasher()
    for seed in range(args.first, args.first + args.seeds):
        rng = random.Random(seed)  # noqa: S311 - an order, no secret
        for way in args.way or range(len(WAYS)):
            with tempfile.TemporaryDirectory(prefix="crash-") as made:
                chosen = Chosen((*LIVE, *WAYS[way]), seed, args.commits, awaits=args.awaits)
                one(crasher, Path(made), chosen, rng)
    crasher.close()


@dataclass(frozen=True, slots=True)
class Chosen:
    """What to enumerate: how it trades, the market's seed, the last commit, and the awaits too."""

    flags: tuple[str, ...]
    seed: int
    most: int
    awaits: bool


def one(crasher: Crasher, base: Path, chosen: Chosen, rng: random.Random) -> None:
    """Run every crash point of one way of trading, in a random order."""
    began, flags, seed = time.monotonic(), chosen.flags, chosen.seed
    venues = Venues(crasher, base / "venues", "--speed", "8", "--seed", str(seed))
    sites = recorded(crasher, venues, base / "record", flags) if chosen.awaits else []
    after = len(venues.ask("/audit")["orders"])
    points = commits(chosen.most)
    points += [{"site": s, "n": rng.randint(1, 5), "armed": a}
               for s in sites for a in ("start", "ready")]  # fmt: skip
    rng.shuffle(points)
    figures = chain(crasher, venues, base / "run", points, flags)
    found = truth(venues, after)
    size = float(flags[flags.index("--size") + 1])
    assert venues.positions() == ("0", "0"), venues.positions()
    assert found.doubled == (), found.doubled
    assert found.worst_net <= size + 1e-9, found
    naked = exposed(found, figures)
    assert naked <= NAKED * slack(), (naked, found)
    print(json.dumps({  # noqa: T201 - the figures
        "seed": seed, "points": figures.points, "killed": figures.killed, "sites": len(sites),
        "slowest_start_s": round(figures.slowest_start, 2), "orders": found.orders,
        "worst_net": found.worst_net, "longest_naked_s": round(naked, 2),
        "with_the_dead_time_s": round(found.longest_naked, 2),
        "doubled": len(found.doubled), "seconds": round(time.monotonic() - began),
    }), flush=True)  # fmt: skip
    venues.close()


if __name__ == "__main__":
    main()

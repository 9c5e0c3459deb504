"""Crash points of a real process, as many as one likes: ``python -m tests.process.crash_soak``.

Every commit (before and after it) and every ``await`` that one iteration reaches, in three ways of
trading, each followed by a normal start. Figures go to standard output; a violation ends it.
"""

import argparse
import json
import os
import random  # noqa: TID251 - a seeded choice of crash points
import signal
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.process.crashing import Crasher, Run, Venues, finished, said, truth

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


PATIENCE = 12.0
"""Seconds in which a run reaches its crash point, if it is on its way at all."""


def ended(run: Run, limit: float) -> bool:
    """Wait that long for a run's end; true when it came."""
    deadline = time.monotonic() + limit
    while run.status is None and time.monotonic() < deadline:
        time.sleep(0.02)  # noqa: TID251 - a test process waits for another
    return run.status is not None


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
            took = said(run, "[RECONCILE] reconciled", RESTART)
            figures.slowest_start = max(figures.slowest_start, took)
        if point is None:
            assert finished(run, 60) == 0, run.said()[-3000:]
            break
        reached = ended(run, PATIENCE)
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
    args = parser.parse_args()
    crasher = Crasher()
    for seed in range(args.first, args.first + args.seeds):
        rng = random.Random(seed)  # noqa: S311 - an order, no secret
        for way in WAYS:
            with tempfile.TemporaryDirectory(prefix="crash-") as made:
                one(crasher, Path(made), seed, (*LIVE, *way), rng, args.commits)
    crasher.close()


def one(
    crasher: Crasher, base: Path, seed: int, flags: tuple[str, ...], rng: random.Random, most: int
) -> None:
    """Run every crash point of one way of trading, in a random order."""
    began = time.monotonic()
    venues = Venues(crasher, base / "venues", "--speed", "8", "--seed", str(seed))
    sites = recorded(crasher, venues, base / "record", flags)
    after = len(venues.ask("/audit")["orders"])
    points = commits(most)
    points += [{"site": s, "n": rng.randint(1, 5), "armed": a}
               for s in sites for a in ("start", "ready")]  # fmt: skip
    rng.shuffle(points)
    figures = chain(crasher, venues, base / "run", points, flags)
    found = truth(venues, after)
    size = float(flags[flags.index("--size") + 1])
    assert venues.positions() == ("0", "0"), venues.positions()
    assert found.doubled == (), found.doubled
    assert found.worst_net <= size + 1e-9, found
    assert found.longest_naked <= NAKED + RESTART, found
    print(json.dumps({  # noqa: T201 - the figures
        "seed": seed, "points": figures.points, "killed": figures.killed, "sites": len(sites),
        "slowest_start_s": round(figures.slowest_start, 2), "orders": found.orders,
        "worst_net": found.worst_net, "longest_naked_s": round(found.longest_naked, 2),
        "doubled": len(found.doubled), "seconds": round(time.monotonic() - began),
    }), flush=True)  # fmt: skip
    venues.close()


if __name__ == "__main__":
    main()

"""``make soak SEEDS=500 FROM=1``: the daemon under random faults, by seed, in two layers.

First the whole daemon in a simulated world (``tests/dst``): venues, network, clocks, market and
process all fail, in virtual time. Then the core alone against the engines (``tests/harness``), a
tenth as many. Prints the figures and each failing seed with its trace; ``make soak SEEDS=1
FROM=<seed>`` replays exactly that one.
"""

import argparse
import os
import random  # noqa: TID251 - each episode is drawn from its seed
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations, repeat

from strategy.domain import Ns, plain
from strategy.params import HedgeMode, Params, PrimaryMode
from tests.builders import LIMITS, SECOND, params, qty
from tests.dst import episode as dst
from tests.dst.faults import PAIRS
from tests.harness import Chaos
from tests.property.test_core_vs_simulator import check_end, run

TRACE_LINES = 60
CHUNK = 25
"""Seeds that a process runs before it reports."""


def drawn(seed: int) -> tuple[Params, Chaos]:
    """Draw one core episode's settings and faults."""
    rng = random.Random(seed)  # noqa: S311 - an episode, not a secret
    settings = params(
        iterations=rng.choice([0, 2, 3]),
        size=qty(rng.choice(["0.2", "0.4", "0.5", "1.0"])),
        max_position=qty("1.2"),
        fill_timeout=Ns(rng.choice([1, 2, 5]) * SECOND),
        hedge_mode=rng.choice(list(HedgeMode)),
        primary_mode=rng.choice(list(PrimaryMode)),
        max_unhedged=Ns(rng.choice([4, 8, 15]) * SECOND),
    )
    chaos = Chaos(
        ack_lost=rng.choice([0, 60, 200]),
        never_arrived=rng.choice([0, 40, 150]),
        late=rng.choice([0, 40, 150]),
        message_lost=rng.choice([0, 60, 300]),
        message_twice=rng.choice([0, 80, 300]),
        slow_message=rng.choice([0, 60, 200]),
        read_fails=rng.choice([0, 100, 400]),
    )
    return settings, chaos


def episode(seed: int) -> str:
    """Run one core episode; return what it did, or raise AssertionError with what it broke."""
    settings, chaos = drawn(seed)
    h = run(seed, settings, chaos, 90)
    try:
        check_end(h, LIMITS)
        naked = plain(h.core.world.naked_integral // SECOND)
        return f"{len(h.sent)} orders, {naked} base-seconds naked"
    finally:
        h.journal.close()


@dataclass(slots=True)
class Tally:
    """The figures over all seeds."""

    seeds: int = 0
    failed: list[int] = field(default_factory=list)
    virtual: float = 0.0
    orders: int = 0
    fills: int = 0
    idle: int = 0
    """Episodes without any fill: they prove little."""
    exits: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    pairs: set[tuple[str, str]] = field(default_factory=set)
    naked: tuple[int, int] = (0, 0)
    """Worst naked base-seconds, 1e-9, with its seed."""
    longest: tuple[int, int] = (0, 0)
    over: int = 0

    def add(self, seed: int, report: dst.Report) -> None:
        """Count one episode."""
        figures = report.figures
        self.seeds += 1
        self.virtual += report.virtual
        self.orders += figures.orders
        self.fills += figures.fills
        self.idle += not figures.fills
        self.exits[report.exit] += 1
        self.faults.update(report.injected)
        self.pairs.update(combinations(sorted(report.injected), 2))
        self.naked = max(self.naked, (figures.naked // SECOND, seed))
        self.longest = max(self.longest, (figures.longest, seed))
        self.over = max(self.over, figures.over)
        if report.broken:
            self.failed.append(seed)

    def merge(self, other: "Tally") -> None:
        """Add the figures of other seeds."""
        for name in ("seeds", "failed", "virtual", "orders", "fills", "idle", "exits", "faults"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.pairs |= other.pairs
        for name in ("naked", "longest", "over"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))

    def text(self, seconds: float) -> str:
        """Render the figures."""
        hours = self.virtual / 3600
        exits = ", ".join(f"{code}: {n}" for code, n in sorted(self.exits.items()))
        faults = ", ".join(f"{name} {n}" for name, n in sorted(self.faults.items()))
        return (
            f"{self.seeds} seeds, {len(self.failed)} failed; {hours:.2f} virtual hours in "
            f"{seconds:.0f} s: {hours / max(seconds, 1e-9) * 60:.2f} virtual hours per minute\n"
            f"{self.orders} orders, {self.fills} fills, {self.idle} episodes without a fill; "
            f"exits {exits}\n"
            f"faults injected: {sum(self.faults.values())}: {faults}\n"
            f"pairs of faults covered: {len(self.pairs)} of {len(PAIRS)}\n"
            f"worst naked base-seconds: {plain(self.naked[0])} (seed {self.naked[1]}); longest "
            f"spell {self.longest[0] / SECOND:.1f} s (seed {self.longest[1]}); "
            f"worst over-hedge: {plain(self.over)}\n"
        )


def told(seed: int, report: dst.Report, *, whole: bool) -> str:
    """Render one episode: what it broke, its faults and its trace."""
    lines = [f"seed {seed} {'FAILED' if report.broken else 'passed'}, exit {report.exit}"]
    lines += [f"  broke: {what}" for what in report.broken]
    lines += [f"  fault: {fault}" for fault in report.script.faults]
    lines.append(report.lines.text(100_000 if whole else TRACE_LINES))
    lines.append(f"replay: make soak SEEDS=1 FROM={seed}\n")
    return "\n".join(lines)


def some(seeds: range, whole: bool) -> tuple[Tally, str]:
    """Run a few of the daemon's episodes; return their figures, and what failed as text."""
    tally, text = Tally(), ""
    for seed in seeds:
        report = dst.episode(seed)
        tally.add(seed, report)
        if report.broken or whole:
            text += told(seed, report, whole=whole)
    return tally, text


def soak_daemon(first: int, count: int, jobs: int) -> Tally:
    """Run the daemon's episodes, in so many processes."""
    total = Tally()
    begun = time.monotonic()
    parts = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    with ProcessPoolExecutor(jobs) as pool:
        for part, (tally, text) in zip(
            parts, pool.map(some, parts, repeat(count == 1)), strict=True
        ):
            total.merge(tally)
            done = f"seed {part[-1]}: {len(total.failed)} failed so far\n"
            sys.stdout.write(text + (done if total.seeds % 100 < CHUNK and count > 1 else ""))
            sys.stdout.flush()
    sys.stdout.write(total.text(time.monotonic() - begun))
    return total


def soak_core(first: int, count: int) -> int:
    """Run the core's episodes; return how many failed."""
    failed = 0
    for seed in range(first, first + count):
        try:
            said = episode(seed)
        except AssertionError:
            failed += 1
            sys.stdout.write(f"core seed {seed} FAILED\n{traceback.format_exc(limit=-6)}\n")
        else:
            if count == 1:
                sys.stdout.write(f"core seed {seed}: {said}\n")
    sys.stdout.write(f"core: {count} seeds, {failed} failed\n")
    return failed


def main() -> int:
    """Run the seeds; exit 1 when any failed, or when nothing was exercised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--from", type=int, default=1, dest="first")
    parser.add_argument("--only", choices=("daemon", "core"), default=None)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    failed = 0
    if args.only != "core":
        tally = soak_daemon(args.first, args.seeds, args.jobs)
        failed += len(tally.failed)
        if tally.idle * 2 > tally.seeds and args.seeds > 1:
            failed += 1
            sys.stdout.write("most episodes traded nothing: the soak proves nothing\n")
    if args.only != "daemon":
        failed += soak_core(args.first, -(-args.seeds // 10))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

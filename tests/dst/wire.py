"""The whole wire path under deterministic simulation: ``python -m tests.dst.wire --seeds 50``.

The real daemon as ``--venues live`` runs it (SDK classes, codecs, sockets of aiohttp, journal on
SQLite) against the simulator's real servers, in one process, in virtual time, over a network in
memory that loses answers, delays, resets, goes silent and swallows. Judged by the engines' books.
"""

import argparse
import hashlib
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field

from strategy.domain import plain
from tests.dst.wire_world import Report, episode


def digest(report: Report) -> str:
    """Return a hash of everything that a seed repeats: lines, trades, and each piece on the wire.

    Sizes, times and directions of the pieces, not their bytes: the ``Date`` of an answer and the
    random key of a WebSocket handshake come from the machine, and are as long each time.
    """
    told = (report.lines.lines, report.trades, report.exit, report.broken, report.wire)
    return hashlib.sha256(repr(told).encode()).hexdigest()


@dataclass(slots=True)
class Tally:
    """The figures over all seeds."""

    seeds: int = 0
    failed: list[int] = field(default_factory=list)
    virtual: float = 0.0
    orders: int = 0
    fills: int = 0
    idle: int = 0
    exits: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    net: Counter[str] = field(default_factory=Counter)
    longest: tuple[int, int] = (0, 0)
    over: int = 0

    def add(self, report: Report) -> None:
        """Count one episode."""
        figures, seed = report.figures, report.script.seed
        self.seeds += 1
        self.virtual += report.virtual
        self.orders += figures.orders
        self.fills += figures.fills
        self.idle += not figures.fills
        self.exits[report.exit] += 1
        self.faults.update(report.injected)
        self.net.update(asdict(report.counts))
        self.longest = max(self.longest, (figures.longest, seed))
        self.over = max(self.over, figures.over)
        if report.broken:
            self.failed.append(seed)

    def text(self, seconds: float) -> str:
        """Render the figures; ``seconds`` is how long all of it took."""
        hours = self.virtual / 3600
        exits = ", ".join(f"{code}: {n}" for code, n in sorted(self.exits.items()))
        faults = ", ".join(f"{name} {n}" for name, n in sorted(self.faults.items()))
        net = ", ".join(f"{n} {name}" for name, n in self.net.items())
        return (
            f"{self.seeds} seeds on the wire, {len(self.failed)} failed; {hours:.2f} virtual hours "
            f"in {seconds:.0f} s\n"
            f"{self.orders} orders, {self.fills} fills, {self.idle} episodes without a fill; "
            f"exits {exits}\n"
            f"faults injected: {sum(self.faults.values())}: {faults}\n"
            f"network: {net}\n"
            f"longest naked spell {self.longest[0] / 1e9:.1f} s (seed {self.longest[1]}); "
            f"worst over-hedge: {plain(self.over)}\n"
        )


def told_of(report: Report, *, whole: bool) -> str:
    """Render one episode: what it broke, its faults and its trace."""
    seed = report.script.seed
    lines = [f"seed {seed} {'FAILED' if report.broken else 'passed'}, exit {report.exit}"]
    lines += [f"  broke: {what}" for what in report.broken]
    lines += [f"  fault: {fault}" for fault in report.script.faults]
    lines.append(report.lines.text(100_000 if whole else 60))
    lines.append(f"replay: python -m tests.dst.wire --seeds 1 --from {seed}\n")
    return "\n".join(lines)


def main() -> int:
    """Run the seeds; exit 1 when any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--from", type=int, default=1, dest="first")
    args = parser.parse_args()
    tally, begun = Tally(), time.monotonic()
    for seed in range(args.first, args.first + args.seeds):
        report = episode(seed)
        tally.add(report)
        if report.broken or args.seeds == 1:
            sys.stdout.write(told_of(report, whole=args.seeds == 1) + f"{digest(report)}\n")
        if tally.seeds % 25 == 0:
            sys.stdout.write(f"seed {seed}: {len(tally.failed)} failed so far\n")
        sys.stdout.flush()
    sys.stdout.write(tally.text(time.monotonic() - begun))
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())

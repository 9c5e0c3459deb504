"""The generated market beside the recorded one: ``python -m tests.bench.synthetic``.

The recorded figures are those of ETH on 2024-08-08 (a deep and a thin perpetual, 342 s), and what
users of the pair wrote down of GRVT's own book. Each statistic has the factor that the generator
keeps to, either way; ``python -m tests.bench.synthetic --tape FILE`` measures a recording instead.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from exchanges.simulator.synthetic import Synthetic
from exchanges.simulator.tape import open_tape
from strategy.domain import Venue
from tests.bench.statistics import Seen, pair_table, venue_table, watch

SECONDS = 300


@dataclass(frozen=True, slots=True)
class Wanted:
    """A recorded figure of the deep and the thin venue, and how near the generator must be."""

    deep: float
    thin: float
    factor: float


WANTED = {
    "spread bps p50": Wanted(0.037, 0.037, 1.25),
    "spread bps p99.9": Wanted(0.41, 1.08, 3),
    "top k p10": Wanted(3.3, 0.6, 2),
    "top k p50": Wanted(42, 19, 1.5),
    "top k p90": Wanted(118, 47, 1.5),
    "depth 1 bps k p50": Wanted(89, 30, 1.5),
    "depth 2 bps k p50": Wanted(254, 77, 1.5),
    "depth 5 bps k p50": Wanted(1_475, 752, 1.5),
    "sweep 10k bps p50": Wanted(0.02, 0.02, 1.5),
    "sweep 10k bps p90": Wanted(0.28, 1.08, 3),
    "sweep 10k bps p99": Wanted(0.90, 1.69, 2),
    "trades per s": Wanted(41, 5.6, 1.25),
    "trades at the touch": Wanted(0.98, 1.0, 1.1),
    "touch away 50 ms": Wanted(0.042, 0.039, 1.5),
    "  by bps": Wanted(0.61, 0.85, 1.4),
    "touch away 1 s": Wanted(0.32, 0.30, 1.5),
    "  by bps ": Wanted(1.18, 1.54, 1.6),
    "sigma 1 s bps": Wanted(1.22, 1.37, 1.35),
    "sigma 10 s bps": Wanted(3.41, 4.82, 1.7),
}
"""Of the thin venue as measured (``thin=measured``)."""
PAIR = {
    "basis bps mean": (2.41, 1.15),
    "basis bps sd": (0.62, 1.35),
    "basis autocorrelation 0.1 s": (0.79, 1.2),
    "basis autocorrelation 1 s": (0.39, 1.7),
    "lead ms": (100.0, 2.0),
}
"""The recorded figure of both venues together, and the factor."""
LOW = {"basis autocorrelation 5 s": (0.10, 0.25)}
"""A figure near zero, and how far from it the generator may be."""


@dataclass(frozen=True, slots=True)
class Row:
    """One statistic: recorded, generated (the median of the seeds), the factor allowed."""

    name: str
    recorded: float
    generated: float
    factor: float

    @property
    def near(self) -> bool:
        """True within the factor."""
        return self.recorded / self.factor <= self.generated <= self.recorded * self.factor


def measured(seeds: list[int], seconds: int = SECONDS) -> list[dict[Venue, Seen]]:
    """Return what the measured shapes give, one sample per seed."""
    return [watch(Synthetic("ETH", seed, "measured").events(), seconds) for seed in seeds]


def rows(samples: list[dict[Venue, Seen]]) -> dict[str, list[Row]]:
    """Return the table: the deep venue, the thin venue, and the two together."""
    deep = [venue_table(sample[Venue.BACKPACK]) for sample in samples]
    thin = [venue_table(sample[Venue.GRVT]) for sample in samples]
    pair = [pair_table(sample) for sample in samples]
    return {
        "deep": [
            Row(name, want.deep, median(each[name] for each in deep), want.factor)
            for name, want in WANTED.items()
        ],
        "thin": [
            Row(name, want.thin, median(each[name] for each in thin), want.factor)
            for name, want in WANTED.items()
        ],
        "pair": [
            Row(name, want, median(each[name] for each in pair), factor)
            for name, (want, factor) in PAIR.items()
        ],
    }


def main(argv: list[str] | None = None) -> int:
    """Print the table; 0 when every figure is near enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--tape", type=Path)
    given = parser.parse_args(argv)
    if given.tape is not None:
        samples = [watch(open_tape(given.tape).events(), given.seconds)]
    else:
        samples = measured([int(each) for each in given.seeds.split(",")], given.seconds)
    found = rows(samples)
    for part, table in found.items():
        sys.stdout.write(f"{part:<30}{'recorded':>12}{'here':>12}{'factor':>9}\n")
        for row in table:
            mark = "" if row.near else "  <-- off"
            sys.stdout.write(
                f"{row.name:<30}{row.recorded:>12.3f}{row.generated:>12.3f}{row.factor:>9}{mark}\n"
            )
    return 0 if all(row.near for table in found.values() for row in table) else 1


if __name__ == "__main__":
    sys.exit(main())

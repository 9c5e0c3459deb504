"""The numbers of the generated market: one table per venue, one for the price.

Imports ``strategy.domain`` only. Fitted to 342 s of recorded ETH (2024-08-08, a deep and a thin
perpetual) and to what users of the pair wrote down of GRVT's book: a spread of a tick or two, 13.07
ETH at the best price and 0.16, 0.05, 0.03, 0.02 ... behind it, or 0.02 at the top, public trades of
0.01 to 0.25. Sizes are 1e-3 ETH at 3000; distances 0.01 bps.
"""

from dataclasses import dataclass

from strategy.domain import NANO, Venue

_TABLE = 64
_MILLI = NANO // 1000


@dataclass(frozen=True, slots=True)
class Ladder:
    """A distribution of sizes by quantiles: (per mille, 1e-3 ETH), straight between them."""

    points: tuple[tuple[int, int], ...]

    def values(self) -> list[int]:
        """Return 64 equally likely sizes, 1e-9 ETH."""
        found = []
        for number in range(_TABLE):
            share = (2 * number + 1) * 1000 // (2 * _TABLE)
            upper = next(i for i, point in enumerate(self.points) if share <= point[0])
            (low, small), (high, large) = self.points[max(upper - 1, 0)], self.points[upper]
            span = max(high - low, 1)
            found.append((small * (high - share) + large * (share - low)) * _MILLI // span)
        return found


@dataclass(frozen=True, slots=True)
class Zone:
    """The levels from the zone before to ``to_bps`` behind the touch."""

    to_bps: int
    """0.01 bps."""
    gap_bps: int
    """Mean distance of two levels, 0.01 bps; a tick at least."""
    size: Ladder


@dataclass(frozen=True, slots=True)
class Shape:
    """What one venue's book and trades look like."""

    top: Ladder
    zones: tuple[Zone, ...]
    trade: Ladder
    trades: int
    """Per 100 s."""
    churn: int
    """Levels behind the touch that change at once, each side."""
    churn_per_mille: int
    """Share of the steps of 50 ms without a move in which sizes change."""
    tolerance: int
    """How far the mid may be off before the dealers move, 1e-6 bps."""
    lag_per_mille: int
    """Share of the moves in which one side follows a step later: a wide spread meanwhile."""


@dataclass(frozen=True, slots=True)
class Price:
    """How the fair price and the basis move, per step of 50 ms; 1e-6 bps."""

    jump_per_mille: tuple[int, int]
    """In quiet and in busy times."""
    turn_per_mille: tuple[int, int]
    """How likely quiet times end, and busy times."""
    jump_mean: int
    lag_steps: int
    """How much later the thin venue hears of it."""
    basis_mean: int
    basis_per_mille: int
    """Share of the steps in which the basis moves."""
    basis_keep: int
    """Per mille of the deviation left after a move."""
    basis_move: int


FAIR = Price(
    jump_per_mille=(30, 220),
    turn_per_mille=(7, 16),
    jump_mean=640_000,
    lag_steps=2,
    basis_mean=2_400_000,
    basis_per_mille=250,
    basis_keep=900,
    basis_move=230_000,
)

_DEEP = Shape(
    top=Ladder(((0, 10), (100, 1_100), (500, 14_000), (900, 39_000), (1000, 90_000))),
    zones=(
        Zone(100, 16, Ladder(((0, 3), (600, 300), (900, 3_000), (1000, 16_000)))),
        Zone(200, 17, Ladder(((0, 30), (500, 6_500), (1000, 20_000)))),
        Zone(500, 33, Ladder(((0, 500), (500, 18_000), (1000, 60_000)))),
        Zone(900, 100, Ladder(((0, 5_000), (500, 120_000), (1000, 240_000)))),
    ),
    trade=Ladder(((0, 1), (250, 12), (500, 71), (750, 480), (900, 1_600), (1000, 12_000))),
    trades=3_850,
    churn=2,
    churn_per_mille=350,
    tolerance=20_000,
    lag_per_mille=25,
)
_MEASURED = Shape(
    top=Ladder(((0, 5), (100, 200), (500, 6_300), (900, 15_700), (1000, 40_000))),
    zones=(
        Zone(100, 30, Ladder(((0, 3), (700, 150), (1000, 4_000)))),
        Zone(200, 25, Ladder(((0, 10), (500, 3_000), (1000, 10_000)))),
        Zone(500, 33, Ladder(((0, 100), (500, 16_000), (1000, 45_000)))),
        Zone(900, 100, Ladder(((0, 2_000), (500, 60_000), (1000, 120_000)))),
    ),
    trade=Ladder(((0, 3), (250, 18), (500, 149), (750, 413), (900, 1_700), (1000, 6_000))),
    trades=430,
    churn=2,
    churn_per_mille=350,
    tolerance=420_000,
    lag_per_mille=45,
)
_BEHIND = Ladder(((0, 20), (600, 30), (900, 90), (1000, 160)))
_REPORTED = Shape(
    top=Ladder(((0, 20), (500, 20), (510, 20), (850, 500), (860, 5_000), (1000, 14_000))),
    zones=(
        Zone(100, 43, _BEHIND),
        Zone(200, 43, _BEHIND),
        Zone(500, 43, _BEHIND),
        Zone(900, 43, _BEHIND),
    ),
    trade=Ladder(((0, 10), (700, 50), (1000, 250))),
    trades=430,
    churn=1,
    churn_per_mille=350,
    tolerance=420_000,
    lag_per_mille=45,
)

THIN = {"reported": _REPORTED, "measured": _MEASURED}
"""The hedge venue's book, by name."""
SHAPES = {Venue.BACKPACK: _DEEP, Venue.GRVT: _REPORTED}

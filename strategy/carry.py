"""Carry: the basis between the venues as a running mean in integers, and funding soon due.

Pure; imports ``strategy.domain`` only. The two legs settle in different coins (USDC and USDT), so
a price difference is mostly the rate between them, not an edge (REQ-29, REQ-44).
"""

from dataclasses import dataclass

from strategy.domain import Bps, Funding, Ns, Px, ratio_bps

BASIS_TAU = Ns(60_000_000_000)
"""Time constant of the running mean."""


@dataclass(frozen=True, slots=True)
class Basis:
    """Hedge mid over primary mid, in bps of the primary mid."""

    mean: Bps
    last: Bps
    at: Ns
    samples: int


def update_basis(basis: Basis | None, primary: Px | None, hedge: Px | None, at: Ns) -> Basis | None:
    """Fold one pair of mids; either missing leaves the estimate as it is."""
    if primary is None or hedge is None:
        return basis
    last = ratio_bps(hedge - primary, primary)
    if basis is None:
        return Basis(last, last, at, 1)
    elapsed = min(max(0, at - basis.at), BASIS_TAU)
    mean = basis.mean + (last - basis.mean) * elapsed // BASIS_TAU
    return Basis(Bps(mean), last, at, basis.samples + 1)


def opening_edge(basis: Basis, primary_px: Px, hedge_px: Px, direction: int) -> Bps:
    """Return the edge of opening at these prices over the basis estimate; positive is good.

    Buying the primary below, and selling the hedge above, what the basis explains is an edge.
    """
    gap = ratio_bps(hedge_px - primary_px, primary_px) - basis.mean
    return Bps(gap * direction)


def funding_flaw(
    primary: Funding | None, hedge: Funding | None, direction: int, wall: Ns, guard: Ns
) -> str:
    """Say why opening that way just now would pay a funding; empty when it would not (F70).

    Counts the settlements due within ``guard`` of Unix time ``wall``: longs pay a positive rate,
    and the hedge leg stands the other way round. A rate that is unknown settles nothing.

    Args:
        primary: the primary's current rate.
        hedge: the hedge venue's.
        direction: +1 buys the primary and sells the hedge.
        wall: now.
        guard: how long before a settlement opening is looked at.
    """
    received, due = 0, False
    for rate, position in ((primary, direction), (hedge, -direction)):
        if rate is not None and 0 <= rate.next_at - wall <= guard:
            received, due = received - rate.rate * position, True
    return "a funding that the position would pay settles soon" if due and received < 0 else ""

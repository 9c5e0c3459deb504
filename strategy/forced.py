"""Closes that a venue makes itself: what of one can be true. Pure."""

from dataclasses import replace

from strategy.domain import Fill, Qty, Quote
from strategy.world import World


def plausible(w: World, fill: Fill) -> Fill:
    """Return a forced close as far as it can be true (F23, F26).

    It closes what is held, and at most what orders of ours may have opened unheard of besides. A
    size beyond that is garbled: it counts for what our books hold, 0 if that is nothing, without a
    fee, for believing it would turn the hedge into the naked leg.
    """
    held = max(-w.legs[fill.venue].position * fill.side.value, 0)
    if fill.qty <= held + w.reserved(fill.venue, -fill.side.value):
        return fill
    return replace(fill, qty=Qty(held), fee=Quote(0))

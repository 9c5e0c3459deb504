"""One side of a local order book: sizes by price, best levels rebuilt only on change. Pure."""

from collections.abc import Iterable

from strategy.domain import Level, Px, Qty

MAX_LEVELS = 500
"""Levels published per side."""


class Ladder:
    """Keyed by number: venues pad the same price differently (venues.md F)."""

    def __init__(self, *, bids: bool) -> None:
        self._bids = bids
        self._sizes: dict[Px, Qty] = {}
        self.best: tuple[Level, ...] = ()

    def replace(self, levels: Iterable[Level]) -> None:
        """Start over from a snapshot."""
        self._sizes = {px: qty for px, qty in levels if qty}
        self._rebuild()

    def merge(self, changes: Iterable[Level]) -> bool:
        """Apply absolute sizes, zero removes; True when the published levels changed."""
        changed = False
        for px, qty in changes:
            if self._sizes.get(px, Qty(0)) == qty:
                continue
            changed = True
            if qty:
                self._sizes[px] = qty
            else:
                del self._sizes[px]
        if not changed:
            return False
        before = self.best
        self._rebuild()
        return self.best != before

    def _rebuild(self) -> None:
        self.best = tuple(sorted(self._sizes.items(), reverse=self._bids)[:MAX_LEVELS])

"""From a venue's public stream to what a recording holds: a snapshot, then only what changed. Pure.

The recorder writes it down, and shadow mode feeds it to the simulated engines. Books come whole
from the stream classes, which have checked their continuity; comparing two of them bounds a
recording to any depth and still lets a replay show exactly the levels that were seen.
"""

from dataclasses import dataclass

from exchanges.simulator.model import MarketBook, MarketTrade
from strategy.domain import Book, Level, Px, Qty, StreamState, Surface, Trade, Venue, VenueEvent


@dataclass(frozen=True, slots=True)
class MarketGap:
    """What happened from here to the next snapshot is not known; ``why`` is for people."""

    why: str


Change = MarketBook | MarketTrade | MarketGap


class MarketChanges:
    """One venue's market as a sequence of changes.

    Args:
        venue: whose events to take.
        depth: levels per side to keep, 1 or more.
    """

    def __init__(self, venue: Venue, depth: int) -> None:
        self.venue = venue
        self.why_down = ""
        """Why there is no book, in the stream's words; empty before it said anything."""
        self._depth = depth
        self._book: MarketBook | None = None

    @property
    def known(self) -> bool:
        """True from the first book on, until a gap."""
        return self._book is not None

    def snapshot(self) -> MarketBook | None:
        """Return the whole book as of the last event; None while it is not known, or crossed.

        A recording never begins with a crossed book: no replay could show it.
        """
        return None if self._book is None or _crossed(self._book) else self._book

    def take(self, event: VenueEvent) -> Change | None:
        """Return what an event of the public stream adds; None for nothing.

        A trade is dropped while the book that it met is not known: no replay could use it.
        """
        if isinstance(event, Book):
            return self._on_book(event)
        if isinstance(event, Trade):
            return MarketTrade(event.px, event.qty, event.taker) if self.known else None
        if isinstance(event, StreamState) and event.surface is Surface.PUBLIC and not event.up:
            return self.lose(event.why)
        return None

    def lose(self, why: str) -> MarketGap | None:
        """Forget the book; returns the gap that begins, None when it already had."""
        self.why_down = why
        if self._book is None:
            return None
        self._book = None
        return MarketGap(why)

    def _on_book(self, book: Book) -> MarketBook | None:
        bids, asks = book.bids[: self._depth], book.asks[: self._depth]
        before, whole = self._book, MarketBook(bids, asks, snapshot=True)
        if before is None and _crossed(whole):
            self.why_down = "the book is crossed"
            return None
        self._book = whole
        if before is None:
            return whole
        changed = MarketBook(_changed(before.bids, bids), _changed(before.asks, asks), False)
        return changed if changed.bids or changed.asks else None


def _crossed(book: MarketBook) -> bool:
    return bool(book.bids and book.asks) and book.bids[0][0] >= book.asks[0][0]


def _changed(before: tuple[Level, ...], now: tuple[Level, ...]) -> tuple[Level, ...]:
    """Return the absolute sizes that turn one side into the other; zero removes."""
    if before is now:  # the stream classes keep a side that did not change
        return ()
    old: dict[Px, Qty] = dict(before)
    changed = [level for level in now if old.pop(level[0], None) != level[1]]
    return (*((px, Qty(0)) for px in old), *changed)

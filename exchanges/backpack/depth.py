"""The local order book: snapshot plus numbered updates (venues.md B5, "Depth bootstrap"). Pure.

Levels are keyed by number, because REST and the socket pad the same price differently
(venues.md F).
"""

from collections import deque

from exchanges.backpack.codec import Snapshot
from exchanges.backpack.ws_codec import DepthDelta
from exchanges.ladder import Ladder
from strategy.domain import Book, Ns, Venue

MAX_BUFFERED = 5_000
"""Updates held while the snapshot is on its way; more means that it never will be usable."""


class DepthGapError(Exception):
    """An update is missing: the book is wrong and must be fetched again."""


class DepthBook:
    """Buffers updates until a snapshot arrives, then applies them without a hole."""

    def __init__(self) -> None:
        self._bids = Ladder(bids=True)
        self._asks = Ladder(bids=False)
        self._buffer: deque[DepthDelta] = deque()
        self._last: int | None = None
        self._first_after_snapshot = True
        self._at = Ns(0)

    @property
    def synced(self) -> bool:
        """True once a snapshot is applied and nothing has been missed since."""
        return self._last is not None

    @property
    def last_update_id(self) -> int:
        """The newest update the book contains; -1 before the snapshot."""
        return -1 if self._last is None else self._last

    def snapshot(self, snapshot: Snapshot) -> None:
        """Start from a REST book and replay what was buffered.

        Raises:
            DepthGapError: the buffer does not join up with the snapshot.
        """
        self._bids.replace(snapshot.book.bids)
        self._asks.replace(snapshot.book.asks)
        self._last = snapshot.last_update_id
        self._first_after_snapshot = True
        self._at = snapshot.book.event_time
        while self._buffer:
            self._apply(self._buffer.popleft())

    def delta(self, delta: DepthDelta) -> bool:
        """Take one update; True when it changed the book (false while buffering or if old).

        Raises:
            DepthGapError: an update was missed, or the snapshot is far too late.
        """
        if self._last is None:
            if len(self._buffer) >= MAX_BUFFERED:
                raise DepthGapError(f"no snapshot after {MAX_BUFFERED} updates")
            self._buffer.append(delta)
            return False
        return self._apply(delta)

    def book(self) -> Book:
        """Return the best levels of each side, best first."""
        return Book(
            venue=Venue.BACKPACK,
            bids=self._bids.best,
            asks=self._asks.best,
            event_time=self._at,
        )

    def confirm(self, at: Ns) -> Book:
        """Return the book with a newer time: a REST read agreed that nothing has changed."""
        self._at = Ns(max(self._at, at))
        return self.book()

    def _apply(self, delta: DepthDelta) -> bool:
        last = self.last_update_id
        if delta.last <= last:
            return False
        # The first update may overlap the snapshot; after it each one follows the last exactly.
        joins = delta.first <= last + 1 if self._first_after_snapshot else delta.first == last + 1
        if not joins:
            # Kept: a newer snapshot will join up with it.
            self._last = None
            self._buffer.appendleft(delta)
            raise DepthGapError(f"update {delta.first} does not follow {last}")
        self._first_after_snapshot = False
        self._last = delta.last
        self._at = delta.at
        bids_changed = self._bids.merge(delta.bids)
        return self._asks.merge(delta.asks) or bids_changed

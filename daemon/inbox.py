"""The queue before the single writer: private events are never dropped, books are conflated."""

import asyncio
from collections import deque

from strategy.domain import Book, Trade, Venue
from strategy.events import Event, Seen

TRADES = 1_000
"""Public trades that may wait; older ones are dropped and counted: they only feed estimates."""
BOUND = 100_000
"""Private events that may wait; more means the loop is stuck, which the watchdog ends."""


class InboxOverflow(Exception):  # noqa: N818 - the loop stopped consuming
    """Private events arrive and nobody reads them."""


class Inbox:
    """Many producers, one consumer, one event loop."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._books: dict[Venue, Seen] = {}
        self._trades: deque[Event] = deque(maxlen=TRADES)
        self.trades_dropped = 0
        self._wake = asyncio.Event()

    def put(self, event: Event) -> None:
        """Queue an event; only the newest book of a venue and the newest trades are kept."""
        if isinstance(event, Seen) and isinstance(event.event, Book):
            self._books[event.event.venue] = event
        elif isinstance(event, Seen) and isinstance(event.event, Trade):
            if event.event.venue is not Venue.GRVT:
                return  # no decision reads the primary's trades
            self.trades_dropped += len(self._trades) == TRADES
            self._trades.append(event)
        elif len(self._events) >= BOUND:
            raise InboxOverflow(f"{BOUND} private events are waiting")
        else:
            self._events.append(event)
        self._wake.set()

    def poke(self) -> None:
        """Wake the consumer without an event."""
        self._wake.set()

    def drain(self) -> list[Event]:
        """Take everything: private events in order, then trades, then the newest books."""
        taken: list[Event] = [*self._events, *self._trades, *self._books.values()]
        self._events.clear()
        self._trades.clear()
        self._books.clear()
        self._wake.clear()
        return taken

    def drain_streams(self) -> None:
        """Forget queued books and trades: they are from before a time that was lost."""
        self._trades.clear()
        self._books.clear()

    async def wait(self, seconds: float) -> None:
        """Wait for an event, a poke, or that long."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

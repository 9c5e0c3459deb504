"""A live market in place of a tape: the engines match against what the venues show right now.

Imports ``strategy.domain``, ``exchanges.recording`` and simulator modules only. It is told public
books and trades and can send nothing. What is not known is not traded against: in a gap, and when a
venue has been silent for too long, its simulated book is empty until the next whole book.
"""

from collections.abc import Callable, Iterator, Mapping

from exchanges.port import WallClock
from exchanges.recording import MarketChanges, MarketGap
from exchanges.simulator.model import Market, MarketBook, MarketEvent
from exchanges.simulator.tape import FeedEvent
from exchanges.simulator.universe import Universe
from strategy.domain import NANO, Book, Instrument, Ns, Venue, VenueEvent, plain

DEPTH = 500
"""Levels per side; the stream classes publish no more."""
CHECK_SECONDS = 0.2
_UNKNOWN = MarketBook((), (), snapshot=True)


class LiveFeed:
    """Both live markets as the source of a universe.

    Args:
        instruments: as the venues themselves list them: their ticks, steps and minimums.
        clock: ages of books.
        silence: ns without any book message after which a book is no longer known.
        tell: told of gaps and of their ends: venue, event and why.

    Attributes:
        ticker: base symbol.
        lead: 0; there is no recording to wait for.
        markets: what the engines list.
    """

    def __init__(
        self,
        instruments: Mapping[Venue, Instrument],
        clock: WallClock,
        silence: Ns,
        tell: Callable[[Venue, str, str], None],
    ) -> None:
        self.ticker = instruments[Venue.BACKPACK].base
        self.lead = Ns(0)
        self.markets = {venue: Market(listed) for venue, listed in instruments.items()}
        self._clock = clock
        self._silence = silence
        self._tell = tell
        self._changes = {venue: MarketChanges(venue, DEPTH) for venue in Venue}
        self._heard = dict.fromkeys(Venue, clock.mono())
        self._universe: Universe | None = None

    # --- as a source -------------------------------------------------------------------------

    @property
    def finite(self) -> bool:
        """False: a live market never repeats itself."""
        return False

    def tick(self, venue: Venue) -> str:
        """Return the venue's own price grid."""
        return plain(self.markets[venue].instrument.tick)

    def events(self) -> Iterator[FeedEvent]:
        """Yield nothing: a live market comes when it comes, by ``take``."""
        return iter(())

    # --- as a sink ---------------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """True while both books are known."""
        return all(changes.known for changes in self._changes.values())

    def why_incomplete(self) -> str:
        """Return which venues show no book, and what their streams say."""
        return "; ".join(
            f"{venue}: no book{f' ({changes.why_down})' if changes.why_down else ''}"
            for venue, changes in self._changes.items()
            if not changes.known
        )

    def attach(self, universe: Universe) -> None:
        """Show a universe the books that are known, and from now on everything."""
        self._universe = universe
        for venue, changes in self._changes.items():
            book = changes.snapshot()
            if book is not None:
                self._feed(venue, book)

    def take(self, event: VenueEvent) -> None:
        """Take one event of a live public stream."""
        venue = event.venue
        changes = self._changes[venue]
        if isinstance(event, Book):
            self._heard[venue] = self._clock.mono()
        known = changes.known
        change = changes.take(event)
        if isinstance(change, MarketGap):
            self._lost(venue, change)
        elif change is not None:
            if not known and self._universe is not None:
                self._tell(venue, "live_book_is_back", "snapshot")
            self._feed(venue, change)

    async def watch(self) -> None:
        """Forget books that have not been heard of for too long, until cancelled."""
        while True:
            await self._clock.sleep(CHECK_SECONDS)
            self.check()

    def check(self) -> None:
        """Forget the books that have not been heard of for too long."""
        now = self._clock.mono()
        for venue, changes in self._changes.items():
            quiet = now - self._heard[venue]
            if quiet <= self._silence or not changes.known:
                continue
            gap = changes.lose(f"silent for {quiet // NANO} s")
            if gap is not None:
                self._lost(venue, gap)

    def _lost(self, venue: Venue, gap: MarketGap) -> None:
        self._tell(venue, "live_gap", gap.why)
        self._feed(venue, _UNKNOWN)

    def _feed(self, venue: Venue, event: MarketEvent) -> None:
        universe = self._universe
        if universe is None:
            return
        now = universe.driver.now()
        for engine in universe.engines.values():
            engine.advance(now)
        universe.engines[venue].feed(now, universe.symbols[venue], event)
        universe.wake()

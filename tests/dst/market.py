"""A seeded market for both venues that can be turned upside down (long and short mirrored)."""

import random  # noqa: TID251 - a seeded instance makes the market
from collections.abc import Iterator

from exchanges.simulator.model import MarketBook, MarketTrade
from exchanges.simulator.tape import FeedEvent
from strategy.domain import Level, Ns, Px, Qty, Side, Venue, nano

MS = 1_000_000
CENTRE = nano(3000)
"""The price around which a market is mirrored."""
TICK = nano("0.01")
SIZES = ("0.2", "0.3", "0.5", "2", "8")
PRINTS = ("0.0137", "0.1", "0.4", "1", "3")


class Market:
    """An endless random walk; a ladder of levels and now and then a print on each venue.

    Args:
        seed: of everything in it.
        mirrored: reflect every price about ``CENTRE`` and swap the sides.
        pace: ms between two books of a venue.
    """

    ticker = "ETH"
    lead = Ns(0)

    def __init__(self, seed: int, *, mirrored: bool = False, pace: int = 200) -> None:
        self._seed = seed
        self._mirrored = mirrored
        self._pace = pace

    def tick(self, venue: Venue) -> str | None:
        del venue
        return "0.01"

    def events(self) -> Iterator[FeedEvent]:
        rng = random.Random(f"market {self._seed}")  # noqa: S311 - a market, not a secret
        mid, step = CENTRE, 0
        while True:
            at = Ns(step * self._pace * MS)
            mid += rng.randint(-20, 20) * TICK
            mid += (CENTRE - mid) // (TICK * 400) * TICK  # drawn home: no run-away in an hour
            for venue in Venue:
                wide = 1 if venue is Venue.BACKPACK else 4
                book = self._book(rng, mid, wide)
                yield FeedEvent(at, venue, book)
                if rng.random() < (0.5 if venue is Venue.BACKPACK else 0.3):
                    yield FeedEvent(Ns(at + self._pace * MS // 2), venue, self._print(rng, book))
            step += 1

    def _book(self, rng: random.Random, mid: int, wide: int) -> MarketBook:
        spread = rng.randint(1, 3 * wide)
        bids, asks = [], []
        depth = 0
        for size in SIZES:
            depth += rng.randint(1, 4)
            near, far = mid - depth * TICK, mid + (depth + spread) * TICK
            shown = Qty(nano(size) + rng.randint(0, 9) * nano("0.01"))
            bids.append((Px(near), shown))
            asks.append((Px(far), shown))
        return self._turned(tuple(bids), tuple(asks))

    def _turned(self, bids: tuple[Level, ...], asks: tuple[Level, ...]) -> MarketBook:
        if self._mirrored:
            bids, asks = _reflected(asks), _reflected(bids)
        return MarketBook(bids, asks, snapshot=True)

    def _print(self, rng: random.Random, book: MarketBook) -> MarketTrade:
        taker = Side.BUY if (rng.random() < 0.5) is not self._mirrored else Side.SELL
        hit = book.asks if taker is Side.BUY else book.bids
        return MarketTrade(hit[0][0], Qty(nano(rng.choice(PRINTS))), taker)


def reflected(px: int) -> int:
    """Return a price as the mirrored market has it."""
    return 2 * CENTRE - px


def _reflected(levels: tuple[Level, ...]) -> tuple[Level, ...]:
    return tuple((Px(reflected(px)), qty) for px, qty in levels)

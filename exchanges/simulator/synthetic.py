"""A seeded market without a recording: a deep primary book and a thin hedge book.

Imports ``strategy.domain`` and simulator modules only. The shape is that of the books that users of
the pair reported: a hedge spread of one or two ticks, a top of 0.02 to 13 ETH, and 0.02 to 0.16 ETH
per level behind it at gaps of 0.01 to 0.25, so that one ETH takes several levels and refills. The
fair price jumps about 1.7 times a second and moves 1.2 bps per square-root second in all; the hedge
venue follows 100 ms later at a wandering basis of 2.4 bps.
"""

import random  # noqa: TID251 - the type of the injected, seeded generator
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from exchanges.simulator.defaults import default_market
from exchanges.simulator.model import MarketBook, MarketTrade
from exchanges.simulator.tape import FeedEvent
from strategy.domain import BPS_ONE, NANO, Instrument, Level, Ns, Px, Qty, Side, Venue
from strategy.domain import nano as units

_MS = 1_000_000
STEP_NS = 50 * _MS
"""Books and the fair price move on this grid."""
_LAG_STEPS = 2
_STARTS = {"ETH": "3000", "BTC": "68000", "SOL": "150"}
_START = "10"
_REFERENCE = units("3000")
"""Sizes and gaps below are those of ETH at this price; other tickers get the same value."""

_JUMP_ONE_IN = 12
_JUMP_BPS = 930_000
"""1.2 bps per square-root second, gathered into jumps at one step in twelve; 1e-6 bps."""
_BASIS_ONE_IN = 10
_BASIS_MEAN = 2_400_000
_BASIS_KEEP = 607
"""Per mille of the deviation left after a move: forgets with a time constant of one second."""
_BASIS_BPS = 400_000
"""Spread of one move; with the keep above the basis itself spreads by about 0.5 bps."""

_TRADE_MS = 100_000
_BITS = 256
_SIGMA = 8
"""Standard deviation of the count of ones among ``_BITS`` random bits."""


def _normal(rng: random.Random, sigma: int) -> int:
    """Return a whole, almost normal variate of mean zero: no float comes near a price."""
    return (rng.getrandbits(_BITS).bit_count() - _BITS // 2) * sigma // _SIGMA


def _milli(rng: random.Random, low: int, high: int) -> int:
    """Return a size between so many thousandths, small ones more often than large ones."""
    return min(rng.randint(low, high), rng.randint(low, high)) * NANO // 1000


def _thin_top(rng: random.Random) -> int:
    kind = rng.randrange(100)
    if kind < 15:  # noqa: PLR2004 - a market maker's size, seldom
        return _milli(rng, 5_000, 15_000)
    return 20 * NANO // 1000 if kind < 65 else _milli(rng, 20, 500)  # noqa: PLR2004 - the usual dust


@dataclass(frozen=True, slots=True)
class _Shape:
    """What one venue's book looks like; sizes in 1e-9 ETH."""

    top: Callable[[random.Random], int]
    level: Callable[[random.Random], int]
    largest: int
    """Largest size behind the top, in 1e-9 ETH."""
    gap: int
    """Largest gap between levels, in hundredths of a dollar of ETH."""
    depth: int
    """Levels a side."""
    churn: int
    """Levels that leave or change per step."""
    trades: int
    """Trades per 100 s, which is ``_TRADE_MS``."""
    trade: Callable[[random.Random], int]


_SHAPES = {
    Venue.BACKPACK: _Shape(
        top=lambda rng: _milli(rng, 1_000, 40_000),
        level=lambda rng: _milli(rng, 100, 12_000),
        largest=12 * NANO,
        gap=3,
        depth=60,
        churn=3,
        trades=4_000,
        trade=lambda rng: _milli(rng, 10, 250) if rng.randrange(20) else _milli(rng, 250, 4_000),
    ),
    Venue.GRVT: _Shape(
        top=_thin_top,
        level=lambda rng: _milli(rng, 20, 160),
        largest=160 * NANO // 1000,
        gap=25,
        depth=30,
        churn=1,
        trades=500,
        trade=lambda rng: _milli(rng, 10, 250),
    ),
}


class _Ladder:
    """The displayed levels of one venue."""

    def __init__(self, rng: random.Random, instrument: Instrument, start: Px) -> None:
        self._rng = rng
        self._shape = _SHAPES[instrument.venue]
        self._tick = instrument.tick
        self._step = instrument.step
        self._scale = Px(start)
        cents = _REFERENCE // units("0.01")
        self._widest = max(self._shape.gap * start // cents // self._tick, 1) * self._tick
        """Largest gap between levels, on the tick."""
        self._sides: dict[Side, dict[int, int]] = {Side.BUY: {}, Side.SELL: {}}

    def best(self, side: Side) -> Px:
        """Return the best price of a side."""
        return Px(next(iter(self._sides[side])))

    def quote(self, mid: int) -> MarketBook:
        """Move the touch to a mid price; returns the levels that changed."""
        spread = self._tick * (1 + self._rng.randrange(2))
        bid = max(mid - spread // 2, self._tick) // self._tick * self._tick
        return MarketBook(
            self._requote(Side.BUY, bid), self._requote(Side.SELL, bid + spread), snapshot=False
        )

    def churn(self) -> MarketBook:
        """Let levels behind the touch leave, and others take their place."""
        changed: dict[Side, tuple[Level, ...]] = {}
        for side, held in self._sides.items():
            behind = list(held)[1 : self._shape.depth // 2]
            for px in self._rng.sample(behind, min(self._shape.churn, len(behind))):
                del held[px]
            gone = tuple((Px(px), Qty(0)) for px in behind if px not in held)
            changed[side] = _merged(gone, self._requote(side, next(iter(held))))
        return MarketBook(changed[Side.BUY], changed[Side.SELL], snapshot=False)

    def trade(self) -> MarketTrade:
        """Return a trade at the touch."""
        taker = Side.BUY if self._rng.getrandbits(1) else Side.SELL
        return MarketTrade(
            self.best(taker.opposite), self._size(self._shape.trade(self._rng)), taker
        )

    def _requote(self, side: Side, best: int) -> tuple[Level, ...]:
        """Rebuild a side behind its best price; returns what changed."""
        old = self._sides[side]
        new = {best: old.get(best) or self._size(self._shape.top(self._rng))}
        last = best
        kept = [px for px in old if (best - px) * side.value > 0]
        for px in kept:
            self._fill(new, side, last, px)
            size = old[px]
            # What was a top is no top any more: the dealer moved with the price.
            new[px] = size if size <= self._size(self._shape.largest) else self._level()
            last = px
        while len(new) < self._shape.depth and last > self._widest:
            last -= side.value * self._gap()
            new[last] = self._level()
        held = dict(list(new.items())[: self._shape.depth])
        self._sides[side] = held
        gone = tuple((Px(px), Qty(0)) for px in old if px not in held)
        return gone + tuple((Px(px), Qty(size)) for px, size in held.items() if old.get(px) != size)

    def _fill(self, new: dict[int, int], side: Side, last: int, px: int) -> None:
        while abs(last - px) > self._widest and len(new) < self._shape.depth:
            last -= side.value * self._gap()
            new[last] = self._level()

    def _gap(self) -> int:
        return self._rng.randint(1, self._widest // self._tick) * self._tick

    def _level(self) -> Qty:
        return self._size(self._shape.level(self._rng))

    def _size(self, eth: int) -> Qty:
        """Scale a size of ETH to this ticker by value, on the venue's step."""
        size = eth * _REFERENCE // self._scale // self._step * self._step
        return Qty(max(size, self._step))


def _merged(first: tuple[Level, ...], then: tuple[Level, ...]) -> tuple[Level, ...]:
    return tuple((dict(first) | dict(then)).items())


class Synthetic:
    """An endless generated market of both venues; every pass of one seed is the same.

    Attributes:
        ticker: base symbol.
        lead: 0, both books are there at once.
    """

    def __init__(self, ticker: str, seed: int) -> None:
        self.ticker = ticker
        self.lead = Ns(0)
        self._seed = seed

    def tick(self, venue: Venue) -> str | None:
        """Return None: the venue's own grid."""
        del venue
        return None

    def events(self) -> Iterator[FeedEvent]:
        """Yield the market from its start, for ever."""
        rng = random.Random(f"synthetic {self.ticker} {self._seed}")  # noqa: S311 - seeded
        start = Px(units(_STARTS.get(self.ticker, _START)))
        ladders = {
            venue: _Ladder(rng, default_market(venue, self.ticker, None).instrument, start)
            for venue in Venue
        }
        fair = _Fair(rng, start)
        for venue, ladder in ladders.items():
            book = ladder.quote(fair.mid(venue))
            yield FeedEvent(Ns(0), venue, MarketBook(book.bids, book.asks, snapshot=True))
        at = 0
        while True:
            at += STEP_NS
            fair.step()
            for venue, ladder in ladders.items():
                moved = fair.moved(venue)
                book = ladder.quote(fair.mid(venue)) if moved else ladder.churn()
                if book.bids or book.asks:
                    yield FeedEvent(Ns(at), venue, book)
            yield from _trades(rng, at, ladders)


class _Fair:
    """The fair price, and what each venue believes it to be."""

    def __init__(self, rng: random.Random, start: Px) -> None:
        self._rng = rng
        self._path: deque[int] = deque([start] * (_LAG_STEPS + 1), maxlen=_LAG_STEPS + 1)
        self._basis = _BASIS_MEAN
        self._told: dict[Venue, int] = {}

    def step(self) -> None:
        fair = self._path[-1]
        if not self._rng.randrange(_JUMP_ONE_IN):
            fair += fair * _normal(self._rng, _JUMP_BPS) // BPS_ONE
        self._path.append(fair)
        if not self._rng.randrange(_BASIS_ONE_IN):
            kept = (self._basis - _BASIS_MEAN) * _BASIS_KEEP // 1000
            self._basis = _BASIS_MEAN + kept + _normal(self._rng, _BASIS_BPS)

    def mid(self, venue: Venue) -> int:
        """Return the venue's mid price."""
        fair = self._path[-1]
        if venue is Venue.GRVT:
            fair = self._path[0] * (BPS_ONE + self._basis) // BPS_ONE
        self._told[venue] = fair
        return fair

    def moved(self, venue: Venue) -> bool:
        """Return whether the mid differs from the one last told."""
        told = self._told.get(venue)
        return self.mid(venue) != told


def _trades(rng: random.Random, at: int, ladders: dict[Venue, _Ladder]) -> Iterator[FeedEvent]:
    """Yield the trades until the next step, in time order."""
    found = []
    for venue, ladder in ladders.items():
        # One trial per millisecond makes the count all but Poisson.
        found += [
            (at + ms * _MS, venue, ladder)
            for ms in range(STEP_NS // _MS)
            if rng.randrange(_TRADE_MS) < _SHAPES[venue].trades
        ]
    for moment, venue, ladder in sorted(found, key=lambda row: row[0]):
        yield FeedEvent(Ns(moment), venue, ladder.trade())

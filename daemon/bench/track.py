"""A recorded hedge venue as a list of moments: book, trade and market figures after each event.

The tape is read once; every run of every router then reads the same moments, so that arrivals,
books and estimates are identical for all. Sizes 1e-9 base, prices 1e-9 quote, times ns.
"""

from bisect import bisect_right, insort
from dataclasses import dataclass, replace

from exchanges.simulator.defaults import default_market
from exchanges.simulator.model import MarketBook, MarketTrade
from exchanges.simulator.tape import Tape, open_tape
from strategy.domain import (
    NANO,
    Book,
    Instrument,
    Ns,
    Observed,
    Px,
    Qty,
    Quote,
    Side,
    Trade,
    Venue,
    nano,
)
from strategy.flow import Flow, observe_book, observe_trade

DEPTH = 50
"""Levels a side that a router sees: what the venue's full book stream offers."""
WALL = Ns(1_700_000_000 * NANO)
"""Where the replayed clock starts; nothing depends on it."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What the hedge venue showed from ``at`` on, and the trade that just happened, if one did."""

    at: Ns
    book: Observed[Book]
    trade: Trade | None
    flow: Flow


@dataclass(frozen=True, slots=True)
class Track:
    """One recorded market on one instrument."""

    name: str
    instrument: Instrument
    moments: list[Moment]
    times: list[Ns]

    def index(self, at: Ns) -> int:
        """Return the last moment at or before a time."""
        return bisect_right(self.times, at) - 1


class _Ladder:
    """One side of the recorded book, best first."""

    def __init__(self, side: Side, step: Qty) -> None:
        self.side = side
        self._step = step
        self._sizes: dict[int, int] = {}
        self._keys: list[int] = []

    def apply(self, levels: tuple[tuple[Px, Qty], ...], *, snapshot: bool) -> None:
        if snapshot:
            self._sizes.clear()
            self._keys.clear()
        for px, size in levels:
            key = -px * self.side.value
            known = key in self._sizes
            if size >= self._step:
                self._sizes[key] = size // self._step * self._step
                if not known:
                    insort(self._keys, key)
            elif known:
                del self._sizes[key]
                self._keys.pop(bisect_right(self._keys, key) - 1)

    def top(self) -> tuple[tuple[Px, Qty], ...]:
        sizes, sign = self._sizes, -self.side.value
        return tuple([(Px(key * sign), Qty(sizes[key])) for key in self._keys[:DEPTH]])


def instrument_of(tape: Tape) -> Instrument:
    """Return the hedge instrument on the recording's own grid, without listing minimums.

    The bench measures routing: a venue's minimum would leave rests that no router could trade.
    """
    listed = default_market(Venue.GRVT, tape.ticker, tape.tick(Venue.GRVT)).instrument
    step = Qty(nano(tape.step(Venue.GRVT)))
    return replace(listed, step=step, min_qty=step, min_notional=Quote(0))


def read_track(path: str) -> Track:
    """Read the stream that plays the hedge venue.

    Raises:
        TapeError: the file is no readable tape; the text is one clear line.
    """
    tape = open_tape(path)
    instrument = instrument_of(tape)
    bids, asks = _Ladder(Side.BUY, instrument.step), _Ladder(Side.SELL, instrument.step)
    moments: list[Moment] = []
    flow, book = Flow(), None
    for fed in tape.events():
        if fed.venue is not Venue.GRVT:
            continue
        at, trade = Ns(WALL + fed.offset), None
        if isinstance(fed.event, MarketBook):
            bids.apply(fed.event.bids, snapshot=fed.event.snapshot)
            asks.apply(fed.event.asks, snapshot=fed.event.snapshot)
            book = Observed(Book(Venue.GRVT, bids.top(), asks.top(), at), at, "tape")
            flow = observe_book(flow, book.value, instrument.tick, at)
        elif isinstance(fed.event, MarketTrade):
            trade = Trade(Venue.GRVT, fed.event.px, fed.event.qty, fed.event.taker, at)
            flow = observe_trade(flow, trade, at)
        if book is not None:
            moments.append(Moment(at, book, trade, flow))
    return Track(path, instrument, moments, [m.at for m in moments])

"""Recorded book changes, worked out ahead: what each one displays on one venue's grid.

Imports ``strategy.domain`` and simulator modules only. A recording changes a book in the same way
in every pass, whoever trades against it, so most of the work of a change is done once: sizes
floored to the step, levels that really change, the best price that is left. A book that stands
where the recording stands then takes a change without looking at its levels
(``levels.BookSide.take``). Any other book applies the same change level by level.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from exchanges.simulator.model import MarketBook
from exchanges.simulator.tape import FeedEvent
from strategy.domain import Instrument, Level, Px, Qty, Side, Venue

_MOST_KEPT = 300_000
"""Levels of a pass that are kept for the next one, about 60 MB; a longer tape is read again."""


class Delta(NamedTuple):
    """What one change does to one displayed side. Keys are ``price * side.value``."""

    sizes: dict[int, int]
    """New size by key, only where it changes; zero removes. Nobody may change it."""
    levels: tuple[Level, ...]
    """The same by price, best first."""
    best: int | None
    """Best key after the change."""
    image: dict[int, int] | None = None
    """With a snapshot, the whole side after it: what came before matters no more."""


@dataclass(frozen=True, slots=True)
class CompiledBook(MarketBook):
    """A book change with its effect, good for a book that stands at change ``after`` of ``run``.

    The snapshot that begins a run carries no effect: it is applied as it stands.
    """

    bid: Delta | None
    ask: Delta | None
    run: object
    """Identity of one pass of one stream."""
    after: int
    number: int


class Compiler:
    """Follows one stream on one instrument's grid.

    Args:
        instrument: gives tick and step.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._tick, self._step = instrument.tick, instrument.step
        self._sides = {side: _Side() for side in Side}
        self._run: object = None
        self._number = 0

    def compile(self, book: MarketBook) -> MarketBook:
        """Return the change with its effect; as it is where no effect can be foretold.

        That is so before the first snapshot, off the grid, and once the recording has crossed
        itself, when the engine decides which levels are gone.
        """
        if self._run is None and not book.snapshot:
            return book
        first = self._run is None
        if first:
            self._run, self._number = object(), 0
        compiled = self._after(book, self._number + 1)
        if not isinstance(compiled, CompiledBook):
            return book
        self._number += 1
        return replace(compiled, bid=None, ask=None) if first else compiled

    def again(self, first: MarketBook) -> MarketBook:
        """Return the first snapshot of a pass as it begins the next pass after this one."""
        if not isinstance(first, CompiledBook) or first.run is not self._run:
            return first
        return self._after(first, first.number)

    def _after(self, book: MarketBook, number: int) -> MarketBook:
        bids, asks = book.bids, book.asks
        if book.snapshot:
            bids = self._sides[Side.BUY].replaced(bids)
            asks = self._sides[Side.SELL].replaced(asks)
        bid, ask = self._delta(Side.BUY, bids), self._delta(Side.SELL, asks)
        if bid is None or ask is None or _crossed(bid, ask):
            self._run = None
            for side in self._sides.values():
                side.clear()
            return book
        if book.snapshot:
            bid = bid._replace(image=self._sides[Side.BUY].image(Side.BUY))
            ask = ask._replace(image=self._sides[Side.SELL].image(Side.SELL))
        return CompiledBook(
            book.bids, book.asks, book.snapshot, bid, ask, self._run, self._number, number
        )

    def _delta(self, side: Side, levels: tuple[Level, ...]) -> Delta | None:
        held = self._sides[side]
        sign, tick, step = side.value, self._tick, self._step
        sizes: dict[int, int] = {}
        shown, was = held.shown, held.shown.get
        for px, size in levels:
            if px % tick:
                return None
            whole: int = size
            if size % step:
                whole -= size % step
            if whole != was(px, 0):
                sizes[px * sign] = whole
                if whole:
                    shown[px] = whole
                else:
                    del shown[px]
        if not sizes:
            return Delta(sizes, (), held.best)
        keys = sorted(sizes, reverse=True)
        held.best = _best(held.best, keys, sizes, shown, sign)
        prices = keys if sign > 0 else [-key for key in keys]
        told: Any = tuple(zip(prices, map(sizes.__getitem__, keys), strict=True))
        return Delta(sizes, told, held.best)


class _Side:
    """What one side displays where the recording stands, by price."""

    def __init__(self) -> None:
        self.shown: dict[int, int] = {}
        self.best: int | None = None

    def clear(self) -> None:
        self.shown.clear()
        self.best = None

    def replaced(self, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        """Return a snapshot as a change: levels that it does not name are removed."""
        named = {px for px, _ in levels}
        return levels + tuple([(Px(px), Qty(0)) for px in self.shown if px not in named])

    def image(self, side: Side) -> dict[int, int]:
        """Return what the side displays, by key."""
        return {px * side.value: size for px, size in self.shown.items()}


def _best(
    best: int | None, keys: list[int], sizes: dict[int, int], shown: dict[int, int], sign: int
) -> int | None:
    """Return the best key after a change, looking at the whole side only when the best left."""
    if best is not None and not sizes.get(best, 1):
        best = None
        if shown:
            best = max(shown) if sign > 0 else -min(shown)
        return best
    for key in keys:
        if best is not None and key <= best:
            break
        if sizes[key]:
            return key
    return best


def _crossed(bid: Delta, ask: Delta) -> bool:
    return bid.best is not None and ask.best is not None and bid.best + ask.best >= 0


class CompiledFeed:
    """Passes of a source with their book changes compiled, kept when they are short enough.

    Args:
        passes: begins a pass of the source.
        instruments: the grid of each venue.
        finite: a pass ends, and every pass is the same.
    """

    def __init__(
        self,
        passes: Callable[[], Iterator[FeedEvent]],
        instruments: Mapping[Venue, Instrument],
        *,
        finite: bool,
    ) -> None:
        self._passes = passes
        self._instruments = instruments
        self._finite = finite
        self._kept: list[FeedEvent] | None = None

    def events(self) -> Iterator[FeedEvent]:
        """Begin a pass.

        Raises:
            TapeError: while iterating, the source is damaged.
        """
        return self._read() if self._kept is None else iter(self._kept)

    def _read(self) -> Iterator[FeedEvent]:
        compilers = {venue: Compiler(each) for venue, each in self._instruments.items()}
        kept: list[FeedEvent] = []
        room = _MOST_KEPT if self._finite else 0
        for told in self._passes():
            event = told.event
            if isinstance(event, MarketBook):
                room -= len(event.bids) + len(event.asks)
                event = compilers[told.venue].compile(event)
                told = FeedEvent(told.offset, told.venue, event)  # noqa: PLW2901 - the same, ready
            if room > 0:
                kept.append(told)
            elif kept:
                kept.clear()
            yield told
        if room > 0:
            self._kept = [self._again(told, compilers) for told in kept]

    def _again(self, told: FeedEvent, compilers: dict[Venue, Compiler]) -> FeedEvent:
        event = told.event
        if not isinstance(event, CompiledBook) or event.after:
            return told
        return FeedEvent(told.offset, told.venue, compilers[told.venue].again(event))

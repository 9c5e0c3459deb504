"""A seeded market without a recording: a deep primary book and a thin hedge book.

Imports ``strategy.domain`` and simulator modules only. The numbers are in ``synthetic_shapes``: two
venues as measured on recorded ETH, and the hedge venue as users of the pair reported it, thinner
still. ``python -m tests.bench.synthetic`` prints the generated statistics beside the recorded ones.

How it moves: the fair price jumps at random moments, mostly by less than a bp. The deep venue is at
the fair price at once; the thin one follows about 100 ms later at a wandering basis, and only when
it is off by more than its dealers tolerate. When a touch moves, some of the size in its way trades
first, so that whoever waits there is filled. Sizes change all the time, near the touch most.
"""

import random  # noqa: TID251 - the type of the injected, seeded generator
import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Self

from exchanges.simulator.defaults import default_market
from exchanges.simulator.latency import exponential, exponential_of
from exchanges.simulator.model import MarketBook, MarketEvent, MarketTrade
from exchanges.simulator.synthetic_shapes import FAIR, SHAPES, THIN, Ladder, Shape
from exchanges.simulator.tape import FeedEvent
from strategy.domain import BPS_ONE, NANO, Instrument, Level, Ns, Px, Qty, Side, Venue
from strategy.domain import nano as units

_MS = 1_000_000
STEP_NS = 50 * _MS
"""Books and the fair price move on this grid."""
_STARTS = {"ETH": "3000", "BTC": "68000", "SOL": "150"}
_START = "10"
_REFERENCE = units("3000")
"""Sizes are those of ETH at this price; other tickers get the same value."""
_WAIT_BITS = 10
_MAX_MOMENT_S = 3
_SECONDS = re.compile("[0-9]{1,6}")


class SyntheticError(ValueError):
    """A generated market that cannot be; the text is one clear line."""


@dataclass(frozen=True, slots=True)
class Moments:
    """What seldom happens: mean seconds between two of a kind, 0 for never."""

    jump: int = 0
    """The fair price jumps by 20 to 500 bps."""
    empty: int = 0
    """A venue shows no book for up to three seconds."""
    onesided: int = 0
    """A venue shows one side only for up to three seconds."""


class _Side:
    """One displayed side. Keys are price * side in ticks: the largest is the best."""

    def __init__(self, rng: random.Random, shape: Shape, sign: int, market: "_Grid") -> None:
        self._rng = rng
        self._shape = shape
        self._grid = market
        self.sign = sign
        self.keys: list[int] = []
        self.sizes: dict[int, int] = {}

    def move(self, best: int) -> dict[int, int]:
        """Move the best price to a key; returns the new sizes by key, 0 for levels that left."""
        keys, sizes = self.keys, self.sizes
        old = keys[-1] if keys else best - 1
        cut = bisect_right(keys, best)
        changed = dict.fromkeys(keys[cut:], 0)
        for key in keys[cut:]:
            del sizes[key]
        del keys[cut:]
        edge, far = self._grid.edges, best - self._grid.edges[-1]
        for place in edge[:-1]:
            # Levels that are now nearer, or farther, than they were look like their new place.
            low, high = sorted((old - place, best - place))
            for key in keys[bisect_left(keys, low) : bisect_right(keys, high)]:
                changed[key] = self._level(best - key)
        tail = bisect_left(keys, far)
        changed.update(dict.fromkeys(keys[:tail], 0))
        for key in keys[:tail]:
            del sizes[key]
        del keys[:tail]
        if keys and keys[-1] == old and old < best:
            changed[old] = self._level(best - old)
        changed[best] = self._top()
        inner, outer = (keys[-1], keys[0]) if keys else (far, best)
        changed.update(self._filled(best, best, inner))
        changed.update(self._filled(best, outer, far))
        sizes.update((key, size) for key, size in changed.items() if size)
        self.keys = sorted(sizes)
        return changed

    def churn(self) -> dict[int, int]:
        """Change the size at the touch and of a few levels behind it."""
        keys, draw = self.keys, self._rng.getrandbits
        best, grid = keys[-1], self._grid
        changed = {best: grid.tops[draw(6)]} if not draw(1) else {}
        for _ in range(self._shape.churn):
            # The product of two makes near levels change more often than far ones.
            dice = draw(22)
            place = ((dice & 255) * (dice >> 8 & 255) * len(keys)) >> 16
            key = keys[-1 - place]
            if key != best:
                zone = min(bisect_right(grid.edges, best - key), len(grid.edges) - 1)
                changed[key] = grid.sizes[zone][dice >> 16]
        self.sizes.update(changed)
        return changed

    def take(self, key: int, size: int) -> None:
        """Take traded size from a level."""
        self.sizes[key] = max(self.sizes[key] - size, self._grid.step)

    def levels(self, changed: dict[int, int]) -> tuple[Level, ...]:
        """Return changes as prices and sizes."""
        unit = self.sign * self._grid.tick
        # Best first, and without the calls of NewTypes: this is where the time goes.
        rows: Any = [(key * unit, changed[key]) for key in sorted(changed, reverse=True)]
        return tuple(rows)

    def whole(self) -> tuple[Level, ...]:
        """Return the whole side."""
        return self.levels(self.sizes)

    def _filled(self, best: int, start: int, end: int) -> dict[int, int]:
        """Return new levels behind ``start``, before ``end`` is reached."""
        found: dict[int, int] = {}
        key = start
        while True:
            key -= self._gap(best - key)
            if key <= end or key * self.sign < 1 - self.sign:
                return found
            found[key] = self._level(best - key)

    def _gap(self, distance: int) -> int:
        widest = self._grid.gaps[self._zone(distance)]
        return 1 + (self._rng.getrandbits(10) * (2 * widest - 1) >> 10)

    def _zone(self, distance: int) -> int:
        return min(bisect_right(self._grid.edges, distance), len(self._grid.edges) - 1)

    def _level(self, distance: int) -> int:
        table = self._grid.sizes[self._zone(distance)]
        return table[self._rng.getrandbits(6)]

    def _top(self) -> int:
        return self._grid.tops[self._rng.getrandbits(6)]


class _Grid:
    """A shape in the ticks and steps of one instrument."""

    def __init__(self, shape: Shape, instrument: Instrument, start: Px) -> None:
        self.tick, self.step = instrument.tick, instrument.step
        self._start = start
        self.edges = [self._ticks(zone.to_bps) for zone in shape.zones]
        self.gaps = [max(self._ticks(zone.gap_bps), 1) for zone in shape.zones]
        self.tops = self._sized(shape.top)
        self.sizes = [self._sized(zone.size) for zone in shape.zones]
        self.trades = self._sized(shape.trade)

    def _ticks(self, centi_bps: int) -> int:
        return max(self._start * centi_bps // 1_000_000 // self.tick, 1)

    def _sized(self, table: Ladder) -> list[int]:
        return [self.size(each) for each in table.values()]

    def size(self, eth: int) -> int:
        """Scale a size of ETH to this ticker by value, on the venue's step."""
        size = eth * _REFERENCE // self._start // self.step * self.step
        return max(size, self.step)


class _Market:
    """The displayed book and the trades of one venue."""

    def __init__(self, rng: random.Random, shape: Shape, instrument: Instrument, start: Px) -> None:
        self._rng = rng
        self.shape = shape
        self._grid = _Grid(shape, instrument, start)
        self.sides = {side: _Side(rng, shape, side.value, self._grid) for side in Side}
        self._bids, self._asks = self.sides[Side.BUY], self.sides[Side.SELL]
        self.mid = 0
        """Where the dealers think it is, 1e-9 quote."""
        mean = NANO * 100 // shape.trades
        spread = 64 - _WAIT_BITS
        self._waits = [
            exponential_of((2 * n + 1) << (spread - 1), mean) for n in range(1 << _WAIT_BITS)
        ]
        """Times between trades, equally likely."""
        self.next_trade = self._waits[rng.getrandbits(_WAIT_BITS)]
        self.hidden: frozenset[Side] = frozenset()
        self.hidden_until = 0
        self._lagging: tuple[_Side, int] | None = None

    def open(self, mid: int) -> MarketBook:
        """Return the first book."""
        self.mid = mid
        bid = mid // self._grid.tick
        self._bids.move(bid)
        self._asks.move(-bid - 1)
        return self._snapshot()

    def quote(self, mid: int) -> list[MarketEvent]:
        """Move to a mid price; the side that is left behind may follow a step later."""
        grid = self._grid
        up = mid > self.mid
        self.mid = mid
        bid = max(mid // grid.tick, 1)
        ask = bid + 1
        if not self._rng.getrandbits(4):
            ask += 1
        first, second = (self._asks, self._bids) if up else (self._bids, self._asks)
        goes, follows = (-ask, bid) if up else (bid, -ask)
        events: list[MarketEvent] = self._through(first, goes)
        changed = {first.sign: first.move(goes)}
        if _chance(self._rng, self.shape.lag_per_mille):
            self._lagging = (second, follows)
        else:
            self._lagging = None
            changed[second.sign] = second.move(follows)
        return [*events, self._change(changed)]

    def idle(self) -> list[MarketEvent]:
        """Return what happens while the price stands."""
        if self._lagging is not None:
            side, best = self._lagging
            self._lagging = None
            return [self._change({side.sign: side.move(best)})]
        if not _chance(self._rng, self.shape.churn_per_mille):
            return []
        return [self._change({side.sign: side.churn() for side in (self._bids, self._asks)})]

    def trade(self) -> MarketTrade:
        """Return the next trade at the touch; ``next_trade`` is then when the one after comes."""
        draw = self._rng.getrandbits(17)
        buys = draw & 1
        side = self._asks if buys else self._bids
        size = self._grid.trades[(draw >> 1) & 63]
        best = side.keys[-1]
        side.take(best, size)
        self.next_trade += self._waits[draw >> 7]
        px = best * side.sign * self._grid.tick
        return MarketTrade(Px(px), Qty(size), Side.BUY if buys else Side.SELL)

    def hide(self, sides: frozenset[Side], until: int) -> MarketBook:
        """Show nothing of these sides until an offset, or everything again."""
        self.hidden, self.hidden_until = sides, until
        return self._snapshot()

    def _through(self, side: _Side, best: int) -> list[MarketEvent]:
        """Return the trades that clear the way of a touch that moves away."""
        way = side.keys[bisect_right(side.keys, best) :]
        if not way or self._rng.getrandbits(1):
            return []
        taker = Side.BUY if side.sign < 0 else Side.SELL
        unit = side.sign * self._grid.tick
        return [
            MarketTrade(Px(key * unit), Qty(side.sizes[key]), taker) for key in reversed(way[-2:])
        ]

    def _change(self, changed: dict[int, dict[int, int]]) -> MarketBook:
        return MarketBook(
            () if Side.BUY in self.hidden else self._bids.levels(changed.get(1, {})),
            () if Side.SELL in self.hidden else self._asks.levels(changed.get(-1, {})),
            snapshot=False,
        )

    def _snapshot(self) -> MarketBook:
        return MarketBook(
            () if Side.BUY in self.hidden else self._bids.whole(),
            () if Side.SELL in self.hidden else self._asks.whole(),
            snapshot=True,
        )


class Synthetic:
    """An endless generated market of both venues; every pass of one seed is the same.

    Args:
        ticker: base symbol.
        seed: of everything random in it.
        thin: the hedge venue's book, ``reported`` or ``measured`` (``synthetic_shapes``).
        moments: rare events.
        repeat: seconds after which the same pass begins again, as a tape does; 0 for never. A pass
            that repeats is kept, which is fast.

    Attributes:
        ticker: base symbol.
        lead: 0, both books are there at once.
    """

    def __init__(
        self,
        ticker: str,
        seed: int,
        thin: str = "reported",
        moments: Moments = Moments(),
        repeat: int = 0,
    ) -> None:
        self.ticker = ticker
        self.lead = Ns(0)
        self._seed = seed
        self._shapes = {**SHAPES, Venue.GRVT: THIN[thin]}
        self._moments = moments
        self._repeat = repeat

    @property
    def finite(self) -> bool:
        """True when a pass ends and is repeated."""
        return self._repeat > 0

    @classmethod
    def parse(cls, text: str, seed: int) -> Self:
        """Read ``TICKER[,thin=measured][,jump=S][,empty=S][,onesided=S][,repeat=S]``.

        Raises:
            SyntheticError: one line naming the part that cannot be read.
        """
        ticker, *parts = text.split(",")
        if not ticker.isalnum():
            raise SyntheticError(f"{text!r} names no ticker: use e.g. 'synthetic:ETH'")
        thin, moments, repeat = "reported", Moments(), 0
        for part in parts:
            name, _, value = part.partition("=")
            seconds = int(value) if _SECONDS.fullmatch(value) else None
            if name == "thin" and value in THIN:
                thin = value
            elif name in ("jump", "empty", "onesided") and seconds is not None:
                moments = replace(moments, **{name: seconds})
            elif name == "repeat" and seconds is not None:
                repeat = seconds
            else:
                raise SyntheticError(
                    f"{part!r} is no setting of a synthetic market: use thin={'|'.join(THIN)};"
                    " jump=, empty= or onesided= with the mean seconds between two; or repeat= with"
                    " the seconds of a pass"
                )
        return cls(ticker, seed, thin, moments, repeat)

    def tick(self, venue: Venue) -> str | None:
        """Return None: the venue's own grid."""
        del venue
        return None

    def events(self) -> Iterator[FeedEvent]:
        """Yield the market from its start, for ever."""
        rng = random.Random(f"synthetic {self.ticker} {self._seed}")  # noqa: S311 - seeded
        start = Px(units(_STARTS.get(self.ticker, _START)))
        fair = _Fair(rng, start)
        markets = {
            venue: _Market(
                rng, self._shapes[venue], default_market(venue, self.ticker, None).instrument, start
            )
            for venue in Venue
        }
        rare = _Rare(rng, self._moments)
        for venue, market in markets.items():
            yield FeedEvent(Ns(0), venue, market.open(fair.target(venue)))
        at = 0
        while not self._repeat or at < self._repeat * NANO:
            yield from _trades(at, markets)
            at += STEP_NS
            fair.step()
            if self._moments != _NOTHING:
                yield from rare.step(at, fair, markets)
            for venue, market in markets.items():
                target = fair.target(venue)
                off = abs(target - market.mid) * BPS_ONE // market.mid
                moved = off > market.shape.tolerance
                for event in market.quote(target) if moved else market.idle():
                    yield FeedEvent(Ns(at), venue, event)


_NOTHING = Moments()


def _trades(at: int, markets: dict[Venue, _Market]) -> list[FeedEvent]:
    """Return the trades until the next step, in time order."""
    found: list[FeedEvent] = []
    end = at + STEP_NS
    for venue, market in markets.items():
        while market.next_trade < end:
            moment, trade = max(market.next_trade, at), market.trade()
            if not market.hidden:
                found.append(FeedEvent(Ns(moment), venue, trade))
    if len(found) > 1:
        found.sort(key=attrgetter("offset"))
    return found


class _Fair:
    """The fair price, and what each venue's dealers believe it to be."""

    def __init__(self, rng: random.Random, start: Px) -> None:
        self._rng = rng
        self._path: deque[int] = deque([start] * (FAIR.lag_steps + 1), maxlen=FAIR.lag_steps + 1)
        self._basis = FAIR.basis_mean
        self._busy = False

    def step(self) -> None:
        """Move on by one step."""
        rng, fair = self._rng, self._path[-1]
        if _chance(rng, FAIR.turn_per_mille[self._busy]):
            self._busy = not self._busy
        if _chance(rng, FAIR.jump_per_mille[self._busy]):
            move = exponential(rng, FAIR.jump_mean)
            fair += fair * (move if rng.getrandbits(1) else -move) // BPS_ONE
        self._path.append(fair)
        if _chance(rng, FAIR.basis_per_mille):
            kept = (self._basis - FAIR.basis_mean) * FAIR.basis_keep // 1000
            self._basis = FAIR.basis_mean + kept + _normal(rng, FAIR.basis_move)

    def jump(self, bps: int) -> None:
        """Jump by so many whole bps."""
        self._path.append(self._path[-1] * (10_000 + bps) // 10_000)

    def target(self, venue: Venue) -> int:
        """Return where the venue's mid should be."""
        if venue is Venue.GRVT:
            known = (self._path[0] + self._path[-1]) // 2
            return known * (BPS_ONE + self._basis) // BPS_ONE
        return self._path[-1]


def _chance(rng: random.Random, per_mille: int) -> bool:
    return rng.getrandbits(20) * 1000 < per_mille << 20


def _normal(rng: random.Random, sigma: int) -> int:
    """Return a whole, almost normal variate of mean zero: no float comes near a price."""
    return (rng.getrandbits(256).bit_count() - 128) * sigma // 8


class _Rare:
    """Makes the rare moments happen."""

    def __init__(self, rng: random.Random, moments: Moments) -> None:
        self._rng = rng
        self._moments = moments

    def step(self, at: int, fair: _Fair, markets: dict[Venue, _Market]) -> Iterator[FeedEvent]:
        """Yield what changes at an offset."""
        rng, moments = self._rng, self._moments
        if self._now(moments.jump):
            bps = rng.randrange(20, 501)
            fair.jump(bps if rng.getrandbits(1) else -bps)
        for venue, market in markets.items():
            if market.hidden:
                if at >= market.hidden_until:
                    yield FeedEvent(Ns(at), venue, market.hide(frozenset(), 0))
            elif self._now(moments.empty):
                yield FeedEvent(Ns(at), venue, market.hide(frozenset(Side), self._until(at)))
            elif self._now(moments.onesided):
                side = Side.BUY if rng.getrandbits(1) else Side.SELL
                yield FeedEvent(Ns(at), venue, market.hide(frozenset({side}), self._until(at)))

    def _now(self, every_seconds: int) -> bool:
        return every_seconds > 0 and not self._rng.randrange(every_seconds * NANO // STEP_NS)

    def _until(self, at: int) -> int:
        return at + self._rng.randrange(_MAX_MOMENT_S * NANO)

"""What a market looks like: the statistics of the data's table, for a tape or a generator alike."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import fmean, pstdev

from exchanges.simulator.model import MarketBook, MarketTrade
from exchanges.simulator.tape import FeedEvent
from strategy.domain import NANO, Side, Venue

GRID_NS = 50_000_000
"""Books are looked at on this grid."""
DEEP_EVERY = 5
"""Depth is added up at every so many looks."""
SWEEP_USD = 10_000


@dataclass(slots=True)
class _Half:
    """One side of a book; keys are price * side."""

    sign: int
    keys: list[int] = field(default_factory=list)
    sizes: dict[int, int] = field(default_factory=dict)

    def apply(self, book: MarketBook) -> None:
        if book.snapshot:
            self.keys.clear()
            self.sizes.clear()
        for px, size in book.bids if self.sign > 0 else book.asks:
            key = px * self.sign
            if size and key not in self.sizes:
                insort(self.keys, key)
            elif not size and key in self.sizes:
                del self.keys[bisect_left(self.keys, key)]
            if size:
                self.sizes[key] = size
            else:
                self.sizes.pop(key, None)

    @property
    def best(self) -> float:
        return self.keys[-1] * self.sign / NANO

    def usd(self, bps: float, mid: float) -> float:
        """Return the value within so many bps of the mid."""
        edge = mid * (1 - self.sign * bps / 1e4) * self.sign * NANO
        total = 0.0
        for key in reversed(self.keys):
            if key < edge:
                break
            total += key * self.sign / NANO * self.sizes[key] / NANO
        return total

    def sweep(self, usd: float, mid: float) -> float | None:
        """Return how far from the mid, bps, a taker of that value pays on average."""
        left, paid = usd, 0.0
        for key in reversed(self.keys):
            px = key * self.sign / NANO
            part = min(left, px * self.sizes[key] / NANO)
            paid += part * abs(px / mid - 1) * 1e4
            left -= part
            if left <= 0:
                return paid / usd
        return None


@dataclass(slots=True)
class Seen:
    """Samples of one venue."""

    mids: list[float] = field(default_factory=list)
    bids: list[float] = field(default_factory=list)
    asks: list[float] = field(default_factory=list)
    tops: list[float] = field(default_factory=list)
    depths: dict[int, list[float]] = field(default_factory=lambda: {1: [], 2: [], 5: []})
    sweeps: list[float] = field(default_factory=list)
    trades: int = 0
    through: int = 0
    """Trades at or beyond the touch that was displayed."""
    seconds: float = 0.0


class _Watch:
    def __init__(self) -> None:
        self.seen = Seen()
        self.halves = _Half(1), _Half(-1)
        self._looks = 0

    def hear(self, event: MarketBook | MarketTrade) -> None:
        if isinstance(event, MarketBook):
            for half in self.halves:
                half.apply(event)
            return
        self.seen.trades += 1
        half = self.halves[event.taker is Side.BUY]
        if half.keys and event.px * half.sign <= half.keys[-1]:
            self.seen.through += 1

    def look(self) -> None:
        bid, ask = self.halves
        if not bid.keys or not ask.keys or bid.best >= ask.best:
            return
        seen, mid = self.seen, (bid.best + ask.best) / 2
        seen.mids.append(mid)
        seen.bids.append(bid.best)
        seen.asks.append(ask.best)
        self._looks += 1
        if self._looks % DEEP_EVERY:
            return
        for half in self.halves:
            seen.tops.append(half.sizes[half.keys[-1]] / NANO * half.best)
            for bps, found in seen.depths.items():
                found.append(half.usd(bps, mid))
            sweep = half.sweep(SWEEP_USD, mid)
            if sweep is not None:
                seen.sweeps.append(sweep)


def watch(events: Iterator[FeedEvent], seconds: int) -> dict[Venue, Seen]:
    """Sample a market for so many seconds from its start."""
    watches = {venue: _Watch() for venue in Venue}
    sample, end = GRID_NS, seconds * NANO
    for told in events:
        while told.offset > sample and sample <= end:
            for each in watches.values():
                each.look()
            sample += GRID_NS
        if told.offset > end:
            break
        watches[told.venue].hear(told.event)
    for each in watches.values():
        each.seen.seconds = sample / NANO
    return {venue: each.seen for venue, each in watches.items()}


def quantile(values: list[float], share: float) -> float:
    """Return the value below which that share lies; NaN without values."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


def moved(seen: Seen, looks: int) -> tuple[float, float]:
    """Return how often the touch has moved away so many looks later, and by how many bps."""
    away = [(a - b) / a * 1e4 for a, b in zip(seen.bids, seen.bids[looks:], strict=False)]
    away += [(b - a) / a * 1e4 for a, b in zip(seen.asks, seen.asks[looks:], strict=False)]
    gone = [each for each in away if each > 0]
    return len(gone) / max(len(away), 1), fmean(gone) if gone else 0.0


def sigma(seen: Seen, looks: int) -> float:
    """Return the standard deviation of the mid's move in so many looks, bps."""
    moves = [(b / a - 1) * 1e4 for a, b in zip(seen.mids, seen.mids[looks:], strict=False)]
    return pstdev(moves)


def correlation(first: list[float], second: list[float]) -> float:
    """Return Pearson's correlation."""
    a, b = fmean(first), fmean(second)
    cov = fmean((x - a) * (y - b) for x, y in zip(first, second, strict=True))
    spread = pstdev(first) * pstdev(second)
    return cov / spread if spread else 0.0


def venue_table(seen: Seen) -> dict[str, float]:
    """Return the statistics of one venue, by the names of the data's table; USD in thousands."""
    spreads = [
        (ask - bid) / mid * 1e4
        for bid, ask, mid in zip(seen.bids, seen.asks, seen.mids, strict=True)
    ]
    soon, later = moved(seen, 1), moved(seen, 20)
    table = {
        "spread bps p50": quantile(spreads, 0.5),
        "spread bps p99.9": quantile(spreads, 0.999),
        "trades per s": seen.trades / seen.seconds,
        "trades at the touch": seen.through / max(seen.trades, 1),
        "touch away 50 ms": soon[0],
        "  by bps": soon[1],
        "touch away 1 s": later[0],
        "  by bps ": later[1],
        "sigma 1 s bps": sigma(seen, 20),
        "sigma 10 s bps": sigma(seen, 200),
    }
    for share in (10, 50, 90):
        table[f"top k p{share}"] = quantile(seen.tops, share / 100) / 1e3
    for bps, found in seen.depths.items():
        table[f"depth {bps} bps k p50"] = quantile(found, 0.5) / 1e3
    for share in (50, 90, 99):
        table[f"sweep 10k bps p{share}"] = quantile(seen.sweeps, share / 100)
    return table


def pair_table(seen: dict[Venue, Seen]) -> dict[str, float]:
    """Return the statistics of the two venues together."""
    deep, thin = seen[Venue.BACKPACK].mids, seen[Venue.GRVT].mids
    looks = min(len(deep), len(thin))
    basis = [(thin[i] / deep[i] - 1) * 1e4 for i in range(looks)]
    table = {"basis bps mean": fmean(basis), "basis bps sd": pstdev(basis)}
    for name, lag in (("0.1 s", 2), ("1 s", 20), ("5 s", 100)):
        table[f"basis autocorrelation {name}"] = correlation(basis[:-lag], basis[lag:])
    table["lead ms"] = 50.0 * max(range(11), key=lambda lag: _led(deep, thin, looks, lag))
    return table


def _led(deep: list[float], thin: list[float], looks: int, lag: int) -> float:
    first = [deep[i + 1] - deep[i] for i in range(looks - lag - 1)]
    second = [thin[i + 1] - thin[i] for i in range(lag, looks - 1)]
    return correlation(first, second)

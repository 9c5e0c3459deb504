"""Funding of the simulated venues: index, premium, rate and history (venues.md A7, B6).

Imports ``strategy.domain`` and ``model`` only. The rate of an interval is

    average premium + clamp(interest - premium, +-0.05 % per 8 h), capped,

where the premium is the mark's distance from the index, sampled once a minute. There is no second
market to take an index from: the index follows the mark with a lag of ten minutes, and a seeded
walk from interval to interval stands for what such an index would differ by. With a step of 0.05 %
about half of the rates are the interest alone, with a standard deviation of 0.034 % and an
autocorrelation of 0.86; recorded 8 h rates of ETH (Binance, 2020-2023) have 41 %, 0.034 %, 0.78.
"""

import random  # noqa: TID251 - the type of the injected, seeded generator
from dataclasses import dataclass, field

from exchanges.simulator.model import FundingPoint, Rules
from strategy.domain import NANO, Ns, Px

_MINUTE = 60 * NANO
_LAG = 10
"""Minutes that the index is behind the mark."""
_HOURS = 8
"""The interest and the clamp are quoted per eight hours."""
_HOUR = 3_600 * NANO
_BEFORE = 100
"""Intervals of history from before the start, made from the seed."""


@dataclass(slots=True)
class _Symbol:
    sampled_at: int
    index: int = 0
    premium: int = 0
    """Sum of minutely premiums of the running interval, 1e-9."""
    minutes: int = 0
    walk: int = 0
    history: list[FundingPoint] = field(default_factory=list)


class Funding:
    """Works out the funding rate of each symbol of one venue.

    Args:
        rules: interval, interest, clamp, cap and walk.
        symbols: what is listed.
        rng: seeded generator of the walk, nobody else's.
        now: Unix ns.

    Attributes:
        due: when a sample is due next, Unix ns.
    """

    def __init__(self, rules: Rules, symbols: list[str], rng: random.Random, now: Ns) -> None:
        self._rules = rules
        self._rng = rng
        self._symbols = {symbol: _Symbol(now // _MINUTE) for symbol in symbols}
        self._start = now
        self.due = now

    def next_at(self, now: Ns) -> Ns:
        """Return the next point of the UTC funding grid after ``now``."""
        return Ns((now // self._rules.funding_interval + 1) * self._rules.funding_interval)

    def sample(self, symbol: str, mark: Px, now: Ns) -> None:
        """Take the premium of the minutes since the last sample; cheap within a minute."""
        row = self._symbols[symbol]
        minute = now // _MINUTE
        self.due = Ns((minute + 1) * _MINUTE)
        if not mark:
            return
        if not row.index:
            row.index, row.sampled_at = mark, minute
            self._make_history(row, mark)
            return
        passed = minute - row.sampled_at
        if passed > 0:
            row.premium += self._premium(row, mark) * passed
            row.minutes += passed
            row.index += (mark - row.index) * min(passed, _LAG) // _LAG
            row.sampled_at = minute

    def index(self, symbol: str) -> Px:
        """Return the index price; 0 before there was a mark."""
        return Px(self._symbols[symbol].index)

    def rate(self, symbol: str) -> int:
        """Return the rate that the running interval would settle at now, 1e-9 of notional."""
        row = self._symbols[symbol]
        premium = row.premium // row.minutes if row.minutes else 0
        return self._rate(premium + row.walk)

    def settle(self, symbol: str, mark: Px, at: Ns) -> int:
        """End the running interval; returns its rate."""
        self.sample(symbol, mark, at)
        row = self._symbols[symbol]
        rate = self.rate(symbol)
        row.history.append(FundingPoint(at, rate, mark))
        row.premium = row.minutes = 0
        row.walk = self._step(row.walk)
        return rate

    def history(self, symbol: str) -> list[FundingPoint]:
        """Return the settled intervals, oldest first; those before the start are made up."""
        return self._symbols[symbol].history

    def _premium(self, row: _Symbol, mark: Px) -> int:
        return (mark - row.index) * NANO // row.index

    def _step(self, walk: int) -> int:
        size = self._rules.funding_walk
        return walk * 9 // 10 + self._rng.randint(-size, size)

    def _rate(self, premium: int) -> int:
        rules = self._rules
        interval, base = rules.funding_interval, _HOURS * _HOUR
        interest = rules.funding_rate * base // interval
        pull = min(max(interest - premium, -rules.funding_clamp), rules.funding_clamp)
        rate = (premium + pull) * interval // base
        return min(max(rate, -rules.funding_cap), rules.funding_cap)

    def _make_history(self, row: _Symbol, mark: Px) -> None:
        """Fill the history with intervals from before the start, once a price is known."""
        interval = self._rules.funding_interval
        last = self._start // interval
        walk = 0
        past: list[FundingPoint] = []
        for number in range(last - _BEFORE + 1, last + 1):
            past.append(FundingPoint(Ns(number * interval), self._rate(walk), mark))
            walk = self._step(walk)
        row.history[:0] = past

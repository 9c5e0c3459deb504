"""Both simulated venues and the market that drives them, in wall time or by hand.

Imports ``strategy.domain`` and simulator modules only.
"""

import asyncio
import random  # noqa: TID251 - one seeded instance per engine
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from exchanges.simulator.defaults import BACKPACK_RULES, GRVT_RULES, default_market
from exchanges.simulator.engine import MatchingEngine
from exchanges.simulator.model import Rules
from exchanges.simulator.tape import TapeEvent
from strategy.domain import Ns, Venue

ACCOUNT = "main"
"""The default account of each venue."""
SHORTEST = 0.001
"""Seconds: nobody sees a finer schedule, and a finer timer would spin."""
CATCH_UP = 2_000
"""Market events applied before other tasks of the loop get a turn."""


class Source(Protocol):
    """A tape or a generator."""

    ticker: str

    @property
    def name(self) -> str:
        """What to call it."""
        ...

    @property
    def ticks(self) -> Mapping[Venue, str]:
        """Tick per recorded venue."""
        ...

    @property
    def duration(self) -> int | None:
        """Ns of one pass; None when endless."""
        ...

    def events(self) -> Iterator[TapeEvent]:
        """Yield one pass."""
        ...


class Driver:
    """The venues' clock: this machine's, or one that only moves by hand."""

    def __init__(self, manual: Ns | None = None) -> None:
        self._manual = manual
        self._offset = time.time_ns() - time.monotonic_ns()

    def now(self) -> Ns:
        """Return the venues' Unix time; never steps back."""
        if self._manual is not None:
            return self._manual
        return Ns(self._offset + time.monotonic_ns())

    def set(self, now: Ns) -> None:
        """Move a manual clock forward.

        Raises:
            ValueError: the clock is the machine's, or would step back.
        """
        if self._manual is None or now < self._manual:
            raise ValueError("only a manual clock can be set, and only forward")
        self._manual = now


class Universe:
    """Two engines fed from one source; loops a tape with a fresh snapshot."""

    def __init__(self, source: Source, seed: int, speed: float, driver: Driver) -> None:
        self.source = source
        self.driver = driver
        self.loops = 0
        self.on_loop: Callable[[int], None] = lambda _: None
        self._speed = speed
        self._t0 = driver.now()
        self.engines: dict[Venue, MatchingEngine] = {
            venue: self._engine(venue, rules, seed)
            for venue, rules in ((Venue.BACKPACK, BACKPACK_RULES), (Venue.GRVT, GRVT_RULES))
        }
        self.symbols = {v: next(iter(e.markets)) for v, e in self.engines.items()}
        self._events = source.events()
        self._next: TapeEvent | None = next(self._events, None)

    def _engine(self, venue: Venue, rules: Rules, seed: int) -> MatchingEngine:
        ticks = self.source.ticks
        tick = ticks.get(venue) or next(iter(ticks.values()))
        market = default_market(venue, self.source.ticker, tick)
        engine = MatchingEngine(rules, [market], random.Random(f"{seed}{venue}"), self._t0)  # noqa: S311 - ids, not secrets
        engine.add_account(ACCOUNT)
        return engine

    def _due(self, event: TapeEvent) -> Ns:
        return Ns(self._t0 + int(event.at / self._speed))

    def next_due(self) -> Ns | None:
        """Return when ``advance`` next has something to do."""
        times = [e.next_due() for e in self.engines.values()]
        times.append(self._due(self._next) if self._next is not None else None)
        return min((t for t in times if t is not None), default=None)

    def advance(self, now: Ns, most: int | None = None) -> bool:
        """Apply everything due up to ``now`` in time order; False when ``most`` events cut it."""
        applied = 0
        while self._next is not None and self._due(self._next) <= now:
            if most is not None and applied >= most:
                return False
            due = self._due(self._next)
            for engine in self.engines.values():
                engine.advance(due)
            venue = self._next.venue
            self.engines[venue].feed(due, self.symbols[venue], self._next.event)
            applied += 1
            self._take_next()
        for engine in self.engines.values():
            engine.advance(now)
        return True

    def _take_next(self) -> None:
        self._next = next(self._events, None)
        if self._next is None and self.source.duration is not None:
            self._t0 = Ns(self._t0 + int(self.source.duration / self._speed) + 1)
            self.loops += 1
            self._events = self.source.events()
            self._next = next(self._events, None)
            self.on_loop(self.loops)

    async def run(self) -> None:
        """Drive in wall time until cancelled; falls behind rather than skip anything."""
        while True:
            complete = self.advance(self.driver.now(), CATCH_UP)
            due = self.next_due()
            behind = not complete or (due is not None and due <= self.driver.now())
            wait = 0.1 if due is None else (due - self.driver.now()) / 1e9
            await asyncio.sleep(0 if behind else min(max(wait, SHORTEST), 0.1))

"""Both simulated venues and their markets, driven by one clock.

Imports ``strategy.domain`` and simulator modules only. Everything that happens does so at a known
time: market events at ``t0 + offset / speed``, orders when the engine says that they are due. In
virtual time ``advance`` does all of it in time order, so a seed repeats a run exactly; ``run`` does
the same by the wall clock.
"""

import asyncio
import random  # noqa: TID251 - makes the seeded generators that the engines are given
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from heapq import heappop, heappush

from exchanges.simulator.credentials import grvt_credentials
from exchanges.simulator.defaults import BACKPACK_RULES, GRVT_RULES, default_market
from exchanges.simulator.engine import MatchingEngine
from exchanges.simulator.faults import FaultBoard
from exchanges.simulator.model import Ended, NewOrder, SimAccount, SimOrder
from exchanges.simulator.tape import FeedEvent, Source
from strategy.domain import NANO, Ns, Venue

_RULES = {Venue.BACKPACK: BACKPACK_RULES, Venue.GRVT: GRVT_RULES}
_SHORTEST_PASS = NANO
"""A tape of a single moment repeats once per second of the recording."""
_SHORTEST_SLEEP = 1_000_000
_BATCH = 64
"""Moments handled before other tasks have their turn: a few milliseconds of work."""
_LATE = 20_000_000
"""A market event that is later than this is stamped with the present."""


class Driver:
    """The clock of the simulated venues; make it with ``wall`` or ``manual``."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read

    @classmethod
    def wall(cls) -> "Driver":
        """Return a clock that starts at the wall time and never steps."""
        anchor = time.time_ns() - time.monotonic_ns()
        return cls(lambda: anchor + time.monotonic_ns())

    @classmethod
    def manual(cls, start: Ns) -> "Driver":
        """Return a clock that stands at Unix ns ``start`` until ``set`` moves it."""
        return cls(lambda: start)

    def now(self) -> Ns:
        """Return Unix ns."""
        return Ns(self._read())

    def set(self, now: Ns) -> None:
        """Stand at Unix ns ``now`` from here on.

        Raises:
            ValueError: time would go backwards.
        """
        if now < self.now():
            raise ValueError(f"time must not go back from {self.now()} to {now}")
        self._read = lambda: now


class _Engine(MatchingEngine):
    """An engine that tells when it was given work, so that nobody need poll it."""

    woken: Callable[[], None] | None = None

    def place(self, now: Ns, new: NewOrder) -> SimOrder:
        order = super().place(now, new)
        self._wake()
        return order

    def cancel(self, now: Ns, order: SimOrder, ended: Ended = Ended.CLIENT_CANCEL) -> None:
        super().cancel(now, order, ended)
        self._wake()

    def cancel_all(
        self,
        now: Ns,
        account: str,
        symbol: str | None = None,
        ended: Ended = Ended.CLIENT_BULK_CANCEL,
    ) -> list[SimOrder]:
        affected = super().cancel_all(now, account, symbol, ended)
        self._wake()
        return affected

    def _wake(self) -> None:
        if self.woken is not None:
            self.woken()


@dataclass(slots=True)
class _Dials:
    """What ``set_market`` asked for, and what the engine was last told."""

    halt: bool = False
    liquidity: int = NANO
    told: tuple[bool, int] = (False, NANO)


class Universe:
    """Both engines, fed by one source; each has one account.

    Args:
        source: a tape or a generator.
        seed: of the engines' ids and the accounts.
        speed: how fast the source is replayed, more than 0; orders keep their real latencies.
        driver: the clock.
        faults: the board; F65 (empty book) and F68 (halt) on it are applied here.

    Attributes:
        engines: the two venues.
        symbols: the source's ticker as each venue names it.
        loops: how often a pass of the source has ended.
        on_loop: called with ``loops`` whenever a pass ends.

    Raises:
        ValueError: the speed is not a positive number.
    """

    def __init__(
        self,
        source: Source,
        seed: int,
        speed: Decimal | float,
        driver: Driver,
        faults: FaultBoard | None = None,
    ) -> None:
        self.source = source
        self.driver = driver
        self.faults = FaultBoard(driver.now) if faults is None else faults
        self.loops = 0
        self.on_loop: Callable[[int], None] | None = None
        self._speed = _positive(speed)
        self._dials = {venue: _Dials() for venue in Venue}
        self._wake: asyncio.Event | None = None
        self._feed: Iterator[FeedEvent] = iter(())
        self._next: FeedEvent | None = None
        self._due: Ns | None = None
        """When ``_next`` is due; None before the start."""
        self._origin = 0
        """Source time, ns, at which the present pass began."""
        self._t0 = 0
        self._calls: list[tuple[Ns, int, Callable[[], None]]] = []
        self._calls_made = 0
        markets = {v: default_market(v, source.ticker, source.tick(v)) for v in Venue}
        now = driver.now()
        self.engines = {
            # S311: these generators make the ids of a simulation, no secrets.
            v: _Engine(_RULES[v], [m], random.Random(f"{v} {seed}"), now)  # noqa: S311
            for v, m in markets.items()
        }
        self.symbols = {v: m.instrument.symbol for v, m in markets.items()}
        self.accounts = {
            Venue.BACKPACK: self.engines[Venue.BACKPACK].add_account("backpack"),
            Venue.GRVT: self.engines[Venue.GRVT].add_account(grvt_credentials(seed).sub_account_id),
        }
        for engine in self.engines.values():
            engine.woken = self.wake

    def account(self, venue: Venue) -> SimAccount:
        """Return the venue's one account."""
        return self.accounts[venue]

    def start(self) -> None:
        """Begin the first pass now, with every book already shown; later calls do nothing.

        Raises:
            TapeError: the tape cannot be read.
        """
        if self._due is not None:
            return
        now = self.driver.now()
        self._t0 = now - self._scaled(self.source.lead)
        self._feed = self.source.events()
        self._fetch()
        # Not "all that is due": at an enormous speed that is a thousand passes.
        while self._next is not None and self._next.offset <= self.source.lead and not self.loops:
            self._happen(now, now)

    def advance(self, now: Ns) -> None:
        """Do everything due up to Unix ns ``now``, in time order across both venues.

        Raises:
            TapeError: the tape turned out to be damaged.
        """
        self.start()
        self._work(now, None)

    def next_due(self) -> Ns | None:
        """Return the Unix ns at which ``advance`` next has something to do."""
        moments = [self._next_moment(), self.faults.next_expiry()]
        return min((moment for moment in moments if moment is not None), default=None)

    async def run(self) -> None:
        """Drive the venues by the clock until cancelled.

        Raises:
            TapeError: the tape turned out to be damaged.
        """
        self.start()
        self._wake = wake = asyncio.Event()
        try:
            while True:
                if not self._work(self.driver.now(), _BATCH):
                    await asyncio.sleep(0)
                    continue
                wake.clear()
                due = self.next_due()
                delay = NANO if due is None else max(due - self.driver.now(), _SHORTEST_SLEEP)
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay / NANO):
                        await wake.wait()
        finally:
            self._wake = None

    def wake(self) -> None:
        """Make ``run`` look again: the engines or the faults have something new."""
        if self._wake is not None:
            self._wake.set()

    def set_market(
        self,
        venue: Venue,
        *,
        shift_bps: int | None = None,
        halt: bool | None = None,
        liquidity: int | None = None,
    ) -> None:
        """Shift, halt or scale one venue's market from now on; None leaves a setting as it is.

        While F65 or F68 is active it prevails over ``liquidity`` or ``halt``.

        Raises:
            ValueError: a shift of -10000 or less, or a negative liquidity.
        """
        if liquidity is not None and liquidity < 0:
            raise ValueError(f"liquidity {liquidity} is negative: use 0 or more")
        now, dials = self.driver.now(), self._dials[venue]
        if shift_bps is not None:
            self.engines[venue].set_market(now, self.symbols[venue], shift_bps=shift_bps)
        dials.halt = dials.halt if halt is None else halt
        dials.liquidity = dials.liquidity if liquidity is None else liquidity
        self.apply_faults()

    def apply_faults(self) -> None:
        """Bring the markets in line with F65 and F68 on the board, at once."""
        self._apply_faults()
        self.wake()

    def _apply_faults(self) -> None:
        for venue, dials in self._dials.items():
            empty, halted = (self.faults.holds(venue, name) for name in ("F65", "F68"))
            want = (dials.halt or halted, 0 if empty else dials.liquidity)
            if want == dials.told:
                continue
            halt, liquidity = want
            self.engines[venue].set_market(
                self.driver.now(),
                self.symbols[venue],
                halt=halt if halt != dials.told[0] else None,
                liquidity=liquidity if liquidity != dials.told[1] else None,
            )
            dials.told = want

    def call_at(self, at: Ns, act: Callable[[], None]) -> None:
        """Call ``act`` when time reaches Unix ns ``at``, in time order with everything else."""
        self._calls_made += 1
        heappush(self._calls, (at, self._calls_made, act))
        self.wake()

    # --- the feed ----------------------------------------------------------------------------

    def _work(self, now: Ns, most: int | None) -> bool:
        """Handle what is due up to ``now``, ``most`` moments at a time; returns whether all is."""
        self._apply_faults()
        handled = 0
        while (moment := self._next_moment()) is not None and moment <= now:
            if handled == most:
                return False
            handled += 1
            self._happen(moment, now)
        for engine in self.engines.values():
            engine.advance(now)
        return True

    def _next_moment(self) -> Ns | None:
        """Return when an engine or the feed is next due."""
        moments = [engine.next_due() for engine in self.engines.values()]
        moments.append(self._due)
        if self._calls:
            moments.append(self._calls[0][0])
        return min((moment for moment in moments if moment is not None), default=None)

    def _happen(self, moment: Ns, now: Ns) -> None:
        # By the wall clock, overload or a pause replays the market late: such books are of now.
        late = self._wake is not None and now - moment > _LATE
        stamp = now if late else moment
        for engine in self.engines.values():
            engine.advance(stamp)
        while self._calls and self._calls[0][0] <= moment:
            heappop(self._calls)[2]()
        if self._next is not None and self._due is not None and self._due <= moment:
            told = self._next
            self.engines[told.venue].feed(stamp, self.symbols[told.venue], told.event)
            self._fetch()

    def _fetch(self) -> None:
        last = self._next
        self._next = next(self._feed, None)
        if self._next is None and last is not None:
            self._origin += max(last.offset, _SHORTEST_PASS)
            self.loops += 1
            if self.on_loop is not None:
                self.on_loop(self.loops)
            self._feed = self.source.events()
            self._next = next(self._feed, None)
        if self._next is not None:
            self._due = Ns(self._t0 + self._scaled(self._origin + self._next.offset))

    def _scaled(self, source_ns: int) -> int:
        return source_ns * self._speed.denominator // self._speed.numerator


def _positive(speed: Decimal | float) -> Fraction:
    try:
        exact = Fraction(speed)
    except (ValueError, OverflowError):
        exact = Fraction(0)
    if exact <= 0:
        raise ValueError(f"speed {speed} is not a positive number: use e.g. 1 or 10")
    return exact

"""Both simulated venues and their markets, driven by one clock.

Imports ``strategy.domain`` and simulator modules only. Everything that happens does so at a known
time: market events at ``t0 + offset / speed``, orders when the engine says that they are due. In
virtual time ``advance`` does all of it in time order, so a seed repeats a run exactly; ``run`` does
the same by the wall clock.

At ``MAX_SPEED`` ("max") market events are applied one after the other without waiting, as fast as
the machine goes, and are stamped with the present. Orders, cancels, taker delays and funding keep
their real times, so a resting order sees minutes of the recording pass in the 3 ms that its cancel
takes, and streams carry thousands of messages a second: good for soak and throughput, no measure of
a strategy. In virtual time there is no waiting to leave out: there "max" is 1.
"""

import asyncio
import random  # noqa: TID251 - makes the seeded generators that the engines are given
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from heapq import heappop, heappush
from typing import Any

from exchanges.simulator.compiled import CompiledFeed
from exchanges.simulator.credentials import grvt_credentials
from exchanges.simulator.defaults import BACKPACK_RULES, GRVT_RULES, default_market
from exchanges.simulator.delayed import DelayedEngine
from exchanges.simulator.faults import FaultBoard
from exchanges.simulator.latency import Courier, LatencyModel
from exchanges.simulator.model import Market, SimAccount
from exchanges.simulator.synthetic import Synthetic
from exchanges.simulator.tape import FeedEvent, Source, Tape
from strategy.domain import NANO, Ns, Venue

MAX_SPEED = 1e12
"""As fast as possible."""
_NEVER = Ns(1 << 63)
_LOWEST_SHIFT = -10_000
_THIN = NANO // 100
"""What F67 leaves of the depth, 1e-9."""
_JUMP_BPS = 500
_DEPEG_BPS = 200
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

    def __init__(self, read: Callable[[], int] | None, start: Ns = Ns(0)) -> None:
        self._read = read
        self._at = start

    @classmethod
    def wall(cls) -> "Driver":
        """Return a clock that starts at the wall time and never steps."""
        anchor = time.time_ns() - time.monotonic_ns()
        return cls(lambda: anchor + time.monotonic_ns())

    @classmethod
    def manual(cls, start: Ns) -> "Driver":
        """Return a clock that stands at Unix ns ``start`` until ``set`` moves it."""
        return cls(None, start)

    @property
    def virtual(self) -> bool:
        """True when time is what the caller says."""
        return self._read is None

    def now(self) -> Ns:
        """Return Unix ns."""
        return self._at if self._read is None else Ns(self._read())

    def set(self, now: Ns) -> None:
        """Stand at Unix ns ``now`` from here on.

        Raises:
            ValueError: time would go backwards.
        """
        if now < self.now():
            raise ValueError(f"time must not go back from {self.now()} to {now}")
        self._read = None
        self._at = now

    def reach(self, now: Ns) -> None:
        """In virtual time, stand at Unix ns ``now`` unless it is later already."""
        if self._read is None and now > self._at:
            self._at = now


@dataclass(slots=True)
class _Dials:
    """What ``set_market`` asked for, and what the engine was last told."""

    halt: bool = False
    liquidity: int = NANO
    shift: int = 0
    told: tuple[bool, int, int] = (False, NANO, 0)


class Universe:
    """Both engines, fed by one source; each has one account.

    Args:
        source: a tape or a generator.
        seed: of the engines' ids and the accounts.
        speed: how fast the source is replayed, more than 0; orders keep their real latencies.
            ``MAX_SPEED`` and above is as fast as possible.
        driver: the clock.
        faults: the board; its states of the market (F64, F65, F67, F68, F72) are applied here.
        markets: what each venue lists; None takes the venue's defaults for the source's ticker.
        latency: delays between clients and books; None is the venues' constants.

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
        markets: Mapping[Venue, Market] | None = None,
        latency: LatencyModel | None = None,
    ) -> None:
        self.source = source
        self.driver = driver
        self.faults = FaultBoard(driver.now) if faults is None else faults
        self.loops = 0
        self.on_loop: Callable[[int], None] | None = None
        exact = _positive(speed)
        if driver.virtual and exact >= MAX_SPEED:
            exact = Fraction(1)
        self._ticks, self._per = exact.numerator, exact.denominator
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
        if markets is None:
            markets = {v: default_market(v, source.ticker, source.tick(v)) for v in Venue}
        now = driver.now()
        self.engines = {
            # S311: these generators make the ids of a simulation, no secrets.
            v: DelayedEngine(_RULES[v], [m], random.Random(f"{v} {seed}"), now)  # noqa: S311
            for v, m in markets.items()
        }
        self.symbols = {v: m.instrument.symbol for v, m in markets.items()}
        self.accounts = {
            Venue.BACKPACK: self.engines[Venue.BACKPACK].add_account("backpack"),
            Venue.GRVT: self.engines[Venue.GRVT].add_account(grvt_credentials(seed).sub_account_id),
        }
        self._compiled = CompiledFeed(
            source.events,
            {v: m.instrument for v, m in markets.items()},
            finite=isinstance(source, Tape) or (isinstance(source, Synthetic) and source.finite),
        )
        self._disturbed = False
        """True once somebody has given an engine, or this, something new to do."""
        for venue, engine in self.engines.items():
            engine.woken = self.wake
            if latency is not None:
                # S311: seeds the delays of a simulation, no secret.
                rng = random.Random(f"latency {venue} {seed}")  # noqa: S311
                engine.send_by(Courier(latency.paths[venue], rng), self.call_at)

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
        self._t0 = now - self.source.lead * self._per // self._ticks
        self._feed = self._compiled.events()
        self._fetch()
        # Not "all that is due": at an enormous speed that is a thousand passes.
        while self._next is not None and self._next.offset <= self.source.lead and not self.loops:
            self._happen(now, now)
        for engine in self.engines.values():
            engine.prompt = False

    def advance(self, now: Ns) -> None:
        """Do everything due up to Unix ns ``now``, in time order across both venues.

        A virtual clock goes along: listeners and ``call_at`` see the time of what happens.

        Raises:
            TapeError: the tape turned out to be damaged.
        """
        self.start()
        self._work(now, None)
        self.driver.reach(now)

    def next_due(self) -> Ns | None:
        """Return the Unix ns at which ``advance`` next has something to do."""
        soonest = self._next_but_market()
        if self._due is not None and self._due < soonest:
            return self._due
        return None if soonest == _NEVER else soonest

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
        self._disturbed = True
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
        dials = self._dials[venue]
        if shift_bps is not None:
            if shift_bps <= _LOWEST_SHIFT:
                raise ValueError(f"shift {shift_bps} would leave no price: use more than -10000")
            dials.shift = shift_bps
        dials.halt = dials.halt if halt is None else halt
        dials.liquidity = dials.liquidity if liquidity is None else liquidity
        self.apply_faults()

    def apply_faults(self) -> None:
        """Bring the markets in line with F64, F65, F67, F68 and F72 on the board, at once."""
        self._apply_faults()
        self.wake()

    def _apply_faults(self) -> None:
        for venue, dials in self._dials.items():
            empty, halted = (self.faults.holds(venue, name) for name in ("F65", "F68"))
            thin = _THIN if self.faults.holds(venue, "F67") else dials.liquidity
            want = (dials.halt or halted, 0 if empty else thin, self._shift(venue, dials))
            if want == dials.told:
                continue
            halt, liquidity, shift = want
            self.engines[venue].set_market(
                self.driver.now(),
                self.symbols[venue],
                halt=halt if halt != dials.told[0] else None,
                liquidity=liquidity if liquidity != dials.told[1] else None,
                shift_bps=shift if shift != dials.told[2] else None,
            )
            dials.told = want

    def _shift(self, venue: Venue, dials: _Dials) -> int:
        """Return the shift of a market with what F64 (jump) and F72 (depeg) add to it."""
        shift = dials.shift
        for name, usual in (("F64", _JUMP_BPS), ("F72", _DEPEG_BPS)):
            active = self.faults.peek(venue, name)
            shift += 0 if active is None else int(active.get("bps", usual))
        return max(shift, _LOWEST_SHIFT + 1)

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
        virtual = self.driver.virtual
        while True:
            other = self._next_but_market()
            if virtual:
                self._trade_until(min(other, Ns(now + 1)))
                if self._disturbed:
                    continue
            moment = other if self._due is None else min(other, self._due)
            if moment > now:
                break
            if handled == most:
                return False
            handled += 1
            self._happen(moment, now)
        for engine in self.engines.values():
            engine.advance(now)
        return True

    def _trade_until(self, end: Ns) -> None:
        """Apply market events before Unix ns ``end``, while nothing else has anything to do."""
        self._disturbed = False
        reach = self.driver.reach
        # Looking a venue up by its name is dear: this loop is where virtual time is spent.
        first = Venue.BACKPACK
        feeds = [(self.engines[v].feed, self.symbols[v]) for v in (first, first.other)]
        while self._next is not None and self._due is not None and self._due < end:
            told, due = self._next, self._due
            reach(due)
            feed, symbol = feeds[told.venue is not first]
            feed(due, symbol, told.event)
            self._fetch()
            if self._disturbed:
                return

    def _next_but_market(self) -> Ns:
        """Return when an engine, a call or the end of a fault is next due."""
        soonest = self._calls[0][0] if self._calls else _NEVER
        for engine in self.engines.values():
            due = engine.next_due()
            if due is not None and due < soonest:
                soonest = due
        expiry = self.faults.next_expiry()
        return soonest if expiry is None else min(soonest, expiry)

    def _happen(self, moment: Ns, now: Ns) -> None:
        # By the wall clock, overload or a pause replays the market late: such books are of now.
        late = self._wake is not None and now - moment > _LATE
        stamp = now if late else moment
        self.driver.reach(stamp)
        for engine in self.engines.values():
            engine.advance(stamp)
        while self._calls and self._calls[0][0] <= stamp:
            heappop(self._calls)[2]()
        if self._next is not None and self._due is not None and self._due <= moment:
            told = self._next
            self.engines[told.venue].feed(stamp, self.symbols[told.venue], told.event)
            self._fetch()
        expiry = self.faults.next_expiry()
        if expiry is not None and expiry <= moment:
            self._apply_faults()

    def _fetch(self) -> None:
        last = self._next
        self._next = next(self._feed, None)
        if self._next is None and last is not None:
            self._origin += max(last.offset, _SHORTEST_PASS)
            self.loops += 1
            if self.on_loop is not None:
                self.on_loop(self.loops)
            self._feed = self._compiled.events()
            self._next = next(self._feed, None)
        if self._next is not None:
            source_ns: Any = self._origin + self._next.offset
            self._due = self._t0 + source_ns * self._per // self._ticks


def _positive(speed: Decimal | float) -> Fraction:
    try:
        exact = Fraction(speed)
    except (ValueError, OverflowError):
        exact = Fraction(0)
    if exact <= 0:
        raise ValueError(f"speed {speed} is not a positive number: use e.g. 1 or 10")
    return exact

"""``python -m tests.week --days 7``: the real daemon at full activity for a simulated week.

Endless BUILD and UNWIND against the in-process venues in virtual time, journal on real SQLite, no
faults: what grows here grows in production. Prints memory, journal, tasks, orders and fills by the
hour and fails when one of them has a slope. Books are sparser than a real venue's, and the loop
idles longer between events: neither changes what is kept of an order, a hedge or a cycle.
"""

import argparse
import asyncio
import gc
import random  # noqa: TID251 - a seeded instance drives the network
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from daemon import loop as daemon_loop
from daemon import retention
from daemon.app import App
from daemon.journal import Journal
from daemon.loop import EXIT_OK
from exchanges.simulator.inprocess import InProcessVenue, Latency
from exchanges.simulator.model import EngineEvent, OrderChanged
from exchanges.simulator.universe import Driver, Universe
from strategy import fold
from strategy.domain import Ns, Venue, plain
from tests.dst.market import Market
from tests.dst.network import Link
from tests.dst.process import START, Lines, SimApp, SimClock, config_of, from_scratch
from tests.dst.quick import idling
from tests.simloop import WORLD, SimLoop, simulate

HOUR = 3600.0
WARM_UP = 12.0
"""Hours until caches, samples and the venues' own memory are full."""
FILLS_UP = 12.0
"""Hours after which a journal at its bound uses the room that it gave up itself."""
ENDED_ORDERS = 64
"""Kept in memory; the daemon keeps 256."""
ENDLESS = 1 << 60
RSS_BOUND = 1.0
"""MiB a day."""
JOURNAL_BOUND = 1.0
"""MiB a day of a journal that is at its bound."""
WAL_BOUND = 16 << 20
TASKS_BOUND = 4
SLACK = 2000
"""Decisions that may wait for their compaction."""
OPEN_BOUND = 10.0
"""Seconds; a start has no longer (L4)."""
KEPT_BY_VENUES = Ns(10 * 60 * 10**9)
"""Ended orders and fills that the simulated venues keep: theirs is not the memory under test."""
PAGE = resource.getpagesize()
DAEMON = 1
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Pace:
    """How densely the world moves; none of it changes what the daemon keeps.

    Attributes:
        books: ms between two books of a venue.
        idle: seconds after which the loop decides on time alone.
        poll: seconds between two looks at what must be read.
    """

    books: int = 2500
    idle: float = 1.5
    poll: float = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """The state at one virtual moment; sizes in bytes."""

    hours: float
    rss: int
    blocks: int
    """Live memory blocks of the interpreter."""
    journal: int
    wal: int
    rows: int
    decisions: int
    tasks: int
    orders: int
    fills: int


class Tail(Lines):
    """The log of the run: counted, with its last lines kept."""

    def __init__(self, loop: SimLoop) -> None:
        super().__init__(loop)
        self.counts: Counter[str] = Counter()

    def emit(self, level: str, tag: str, event: str, fields: Mapping[str, Any]) -> None:
        self.counts[f"{tag} {event}"] += 1
        if len(self.lines) > 400:
            del self.lines[:200]
        super().emit(level, tag, event, fields)


class WeekApp(SimApp):
    """The daemon with its own journal and reserve, nothing in their place."""

    book: Journal | None = None

    def _open_journal(self, path: Path) -> Journal:
        self.book = App._open_journal(self, path)
        return self.book


class Week:
    """One run: the venues, the daemon, and what is measured.

    Args:
        loop: virtual time.
        directory: the state directory.
        pace: how densely the world moves.
        seed: of the market and the venues.
    """

    def __init__(self, loop: SimLoop, directory: Path, pace: Pace, seed: int = 1) -> None:
        self.loop = loop
        self.directory = directory
        self.samples: list[Sample] = []
        self.universe = Universe(
            Market(seed, pace=pace.books), seed, 1, Driver(lambda: START + loop.ns())
        )
        self.clock = SimClock(loop)
        instant = Latency(Ns(0), Ns(0))
        self.links = {
            v: Link(
                InProcessVenue(self.universe, v, SimClock(loop), instant),
                loop,
                random.Random(f"link {v} {seed}"),  # noqa: S311 - a network, not a secret
            )
            for v in Venue
        }
        self.lines = Tail(loop)
        flags = {"size": "0.5", "iter": "0", "sleep": "0", "MAX_DAILY_LOSS": "1000000"}
        # passive hedges carry exposure for seconds each: a day without a pause is beyond two hours
        self.config = replace(config_of(directory, **flags), naked_day=ENDLESS)
        self.app = WeekApp(self.config, self.lines, self.clock)
        self.app.links = self.links
        self.orders = self.fills = 0
        self.net = 0
        for engine in self.universe.engines.values():
            engine.subscribe(self._heard)

    def _heard(self, event: EngineEvent) -> None:
        if not isinstance(event, OrderChanged):
            return
        self.orders += event.fill is None and event.order.due_at > event.at
        if event.fill is not None:
            self.fills += 1
            self.net += event.fill.qty * event.fill.side.value

    async def run(self, hours: float, every: float, told: Callable[[Sample], None]) -> int:
        """Trade for so long, measure ``every`` so many hours, then stop in order."""
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(self.universe.run())]
            for link in self.links.values():
                background += [tasks.create_task(link.listen()), tasks.create_task(link.watch())]
            await asyncio.sleep(0.1)
            ended = self.loop.spawn(DAEMON, self.app.main())
            at = self.loop.time()
            while self.loop.time() < at + hours * HOUR and not ended.done():
                until = self.loop.time() + every * HOUR
                while self.loop.time() < until and not ended.done():
                    await asyncio.sleep(60)
                    self._forget()
                self.samples.append(self._sample())
                told(self.samples[-1])
            self.app.terminate()
            code = await ended
            for task in background:
                task.cancel()
        return code

    def differs(self) -> list[str]:
        """Compare the venues, the books that were kept and those added up from the journal."""
        loop = self.app.loop
        if loop is None:
            return ["the daemon never traded"]
        world = loop.core.world
        scratch = from_scratch(self.directory / "live.db", world, self.clock.now())
        found = [f"violation: {note}" for note in world.violations]
        for venue, leg in world.legs.items():
            held = self.universe.account(venue).positions.get(self.universe.symbols[venue])
            if leg.position != (0 if held is None else held.qty):
                found.append(f"{venue}: the venue's position is not {plain(leg.position)}")
            for name in ("position", "cash", "fees", "funding", "volume"):
                mine, theirs = getattr(leg, name), getattr(scratch.legs[venue], name)
                if mine != theirs:
                    found.append(f"{venue} {name}: {mine} kept, {theirs} from the journal")
        if self.net:
            found.append(f"the venues' net is {plain(self.net)}")
        return found

    def _forget(self) -> None:
        """Let the venues forget what ended long ago."""
        before = self.universe.driver.now() - KEPT_BY_VENUES
        for engine in self.universe.engines.values():
            state = engine._state
            for order in list(state.orders.values()):
                if order.done_at is None or order.done_at > before:
                    break
                del state.orders[order.order_id]
                state.newest.pop((order.request.account, order.request.client_id), None)
            gone = next((n for n, f in enumerate(state.fills) if f.at > before), len(state.fills))
            del state.fills[:gone]

    def _sample(self) -> Sample:
        gc.collect()
        path = self.directory / "live.db"
        wal = path.with_name("live.db-wal")
        rows = {} if self.app.book is None else counted(self.app.book)
        return Sample(
            hours=self.loop.time() / HOUR,
            rss=resident(),
            blocks=sys.getallocatedblocks(),
            journal=path.stat().st_size,
            wal=wal.stat().st_size if wal.exists() else 0,
            rows=sum(rows.values()),
            decisions=rows.get("event", 0),
            tasks=self.loop.alive(DAEMON) + self.loop.alive(WORLD),
            orders=self.orders,
            fills=self.fills,
        )


def resident() -> int:
    """Return this process's resident bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def counted(book: Journal) -> dict[str, int]:
    """Return the rows of each table."""
    tables = [r[0] for r in book._db.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    return {t: book._db.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0] for t in tables}  # noqa: S608 - names of the schema


@contextmanager
def unhurried(pace: Pace) -> Iterator[None]:
    """Let the daemon look at the time less often, and over fewer ended orders, meanwhile.

    Every event still wakes it at once. Looking over the ended orders that memory holds is a third
    of the work; how many they are does not matter to what grows.
    """
    names, kept = vars(daemon_loop), vars(fold)
    usual, orders = names["POLL"], kept["KEEP_FINISHED"]
    names["POLL"], kept["KEEP_FINISHED"] = pace.poll, ENDED_ORDERS
    try:
        with idling(pace.idle):
            yield
    finally:
        names["POLL"], kept["KEEP_FINISHED"] = usual, orders


@contextmanager
def keeping(decisions: int) -> Iterator[None]:
    """Let the journal keep so many decisions in detail meanwhile."""
    names = vars(retention)
    usual = names["KEEP"]
    names["KEEP"] = decisions
    try:
        yield
    finally:
        names["KEEP"] = usual


@dataclass(slots=True)
class Report:
    """What a run showed."""

    samples: list[Sample]
    exit: int
    broken: list[str]
    counts: Counter[str]
    opened: float = 0.0
    """Seconds of this machine to open the journal at the end, chain and books included."""
    rows: dict[str, int] = field(default_factory=dict)

    def steady(self) -> list[Sample]:
        """Return the samples after the warm-up: caches and the books' memory fill first."""
        last = self.samples[-1].hours
        return [s for s in self.samples if s.hours >= min(WARM_UP, last / 4)]


def slope(samples: Sequence[Sample], name: str) -> float:
    """Return the least-squares slope of a figure, per day."""
    if len(samples) < 2:
        return 0.0
    days = [s.hours / 24 for s in samples]
    values = [float(getattr(s, name)) for s in samples]
    x, y = sum(days) / len(days), sum(values) / len(values)
    above = sum((d - x) * (v - y) for d, v in zip(days, values, strict=True))
    return above / sum((d - x) ** 2 for d in days)


def beyond(report: Report, decisions: int) -> list[str]:
    """Return what exceeds its bound; ``decisions`` is how many the journal may keep."""
    found = [*report.broken, *_growth(report), *_journal(report, decisions)]
    orders = [s.orders for s in report.samples]
    if any(later == earlier for earlier, later in pairwise(orders)):
        found.append("the daemon stopped trading")
    if report.exit != EXIT_OK:
        found.append(f"the daemon ended with {report.exit}")
    return found


def _growth(report: Report) -> list[str]:
    found = []
    steady, last = report.steady(), report.samples[-1]
    rss = slope(steady, "rss") / MIB
    if last.hours > WARM_UP and rss >= RSS_BOUND:
        found.append(f"RSS grows by {rss:.2f} MiB a day")
    early, late = _median(steady[: len(steady) // 2 + 1]), _median(steady[len(steady) // 2 :])
    if late > early + TASKS_BOUND:
        found.append(f"tasks grew from {early} to {late}")
    return found


def _journal(report: Report, decisions: int) -> list[str]:
    found = []
    if max(s.decisions for s in report.samples) > decisions + SLACK:
        found.append("decisions are kept beyond the bound")
    full = _full(report, decisions)
    size = slope(full, "journal") / MIB
    if len(full) > 2 and size >= JOURNAL_BOUND:
        found.append(f"the full journal still grows by {size:.2f} MiB a day")
    if max(s.wal for s in report.samples) > WAL_BOUND:
        found.append("the write-ahead log is not folded in")
    if report.opened > OPEN_BOUND:
        found.append(f"opening the journal takes {report.opened:.1f} s")
    return found


def _full(report: Report, decisions: int) -> list[Sample]:
    """Return the samples of a journal at its bound."""
    decided = [s for s in report.samples if s.decisions >= decisions]
    return [s for s in decided if s.hours >= decided[0].hours + FILLS_UP]


def _median(samples: Sequence[Sample]) -> int:
    return sorted(s.tasks for s in samples)[len(samples) // 2]


def live(hours: float, every: float, pace: Pace, told: Callable[[Week, Sample], None]) -> Report:
    """Run the daemon for so many virtual hours in a directory of its own."""
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108 - memory, if any
    directory = Path(tempfile.mkdtemp(prefix="week-", dir=base))
    weeks: list[Week] = []

    async def main(loop: SimLoop) -> int:
        week = Week(loop, directory, pace)
        weeks.append(week)
        return await week.run(hours, every, lambda sample: told(week, sample))

    try:
        with unhurried(pace):
            code, _ = simulate(1, main)
        week = weeks[0]
        begun = time.perf_counter()
        broken = week.differs()
        book = Journal(directory / "live.db", week.clock.wall())
        if not book.chain_intact():
            broken.append("the chain of decisions is broken")
        opened = time.perf_counter() - begun
        rows = counted(book)
        book.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Report(week.samples, code, broken, week.lines.counts, opened, rows)


def line(sample: Sample) -> str:
    """Render one sample."""
    return (
        f"{sample.hours:7.2f} h  rss {sample.rss / MIB:8.2f} MiB  blocks {sample.blocks:8}  "
        f"journal {sample.journal / MIB:8.2f} MiB  wal {sample.wal / MIB:5.2f} MiB  "
        f"rows {sample.rows:8}  tasks {sample.tasks:3}  orders {sample.orders:7}  "
        f"fills {sample.fills:7}\n"
    )


def figures(report: Report, seconds: float, decisions: int) -> str:
    """Render what a run showed."""
    steady, last = report.steady(), report.samples[-1]
    per_day = {n: slope(steady, n) for n in ("rss", "blocks", "journal", "wal", "rows", "tasks")}
    hours, full = last.hours, _full(report, decisions)
    bound = f"{slope(full, 'journal') / MIB:+.3f} MiB" if len(full) > 2 else "not reached"
    return (
        f"{hours:.1f} virtual hours in {seconds / 60:.1f} CPU minutes: "
        f"{hours / max(seconds / 60, 1e-9):.2f} virtual hours per minute; exit {report.exit}\n"
        f"per virtual hour: {last.orders / hours:.0f} orders, {last.fills / hours:.0f} fills, "
        f"{report.counts['METRICS iteration_complete'] / hours:.0f} iterations, "
        f"{report.counts['SMART_ROUTING filled'] / hours:.0f} hedges\n"
        f"slopes per day after the warm-up: RSS {per_day['rss'] / MIB:+.3f} MiB, "
        f"{per_day['blocks']:+.0f} blocks, journal {per_day['journal'] / MIB:+.3f} MiB, "
        f"WAL {per_day['wal'] / MIB:+.3f} MiB, {per_day['rows']:+.0f} rows, "
        f"{per_day['tasks']:+.2f} tasks; journal at its bound: {bound}\n"
        f"rows at the end: {report.rows}; opened in {report.opened:.2f} s\n"
    )


def main() -> int:
    """Run; exit 1 beyond a bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--every", type=float, default=2.0, help="hours between two samples")
    parser.add_argument("--books", type=int, default=Pace().books, help="ms between two books")
    parser.add_argument("--keep", type=int, default=retention.KEEP, help="decisions in detail")
    args = parser.parse_args()

    def told(_: Week, sample: Sample) -> None:
        sys.stdout.write(line(sample))
        sys.stdout.flush()

    begun = time.process_time()
    with keeping(args.keep):
        report = live(args.days * 24, args.every, Pace(books=args.books), told)
    sys.stdout.write(figures(report, time.process_time() - begun, args.keep))
    found = beyond(report, args.keep)
    sys.stdout.write("".join(f"BEYOND: {what}\n" for what in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

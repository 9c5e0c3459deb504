"""``hedged record``: public data of both venues to files that ``--book`` replays.

No key is read and nothing is signed. The loop takes what the sockets tell and stamps it with the
time of receipt; a thread writes it. A file begins with the whole books, and so does what follows a
gap, so that nothing between two lines is ever guessed.
"""

import argparse
import asyncio
import os
import random  # noqa: TID251 - one seeded instance, for back-off jitter only
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from daemon import config_values as v
from daemon.clock import SystemClock
from daemon.config import EXIT_CONFIG, EXIT_USAGE, ConfigError, RunConfig, load_config
from daemon.live_data import FIRST_BOOKS_SECONDS, load_public, no_books, public_venues
from daemon.logs import Logs
from daemon.record_file import TapeHead, newest, salvage
from daemon.record_writer import Entry, TapeWriter
from exchanges.ladder import MAX_LEVELS
from exchanges.port import WallClock
from exchanges.recording import Change, MarketChanges, MarketGap
from strategy.domain import NANO, Instrument, Ns, Venue, VenueEvent, plain

TICK_SECONDS = 0.25
REPORT = Ns(60 * NANO)
MINUTE = 60 * NANO
MEGABYTE = 1_000_000
MAX_PENDING = 200_000
"""Entries that may wait for the disk; beyond it a gap is better than no memory."""
MAX_LICENCE = 2_000
_NAMES = {Venue.BACKPACK: "Backpack", Venue.GRVT: "GRVT"}


@dataclass(frozen=True, slots=True)
class RecordConfig:
    """One recording run. Durations in ns."""

    run: RunConfig
    """Ticker, addresses and log; what concerns trading is of no use here."""
    out: Path
    rotate_after: Ns
    rotate_bytes: int
    duration: Ns | None
    """None: until stopped."""
    depth: int
    licence: str


def settings(args: argparse.Namespace, environ: Mapping[str, str], cwd: Path) -> RecordConfig:
    """Check the flags.

    Raises:
        ConfigError: one line naming the flag (exit 2), or file or variable (exit 78).
    """
    log_file = args.log_file or "-"  # the default log is that of a daemon of the same ticker
    # Shadow is the mode of public data without keys; a recorder has no orders, hence no size.
    given = vars(args) | {"venues": "shadow", "size": "1", "log_file": log_file}
    run = load_config(given, environ, cwd=cwd, terminal=sys.stdout.isatty())
    minutes = _take(args, "rotate_minutes", partial(v.count, least=1, most=7 * 24 * 60))
    megabytes = _take(args, "rotate_mb", partial(v.count, least=1, most=100_000))
    return RecordConfig(
        run=run,
        out=_take(args, "out", v.path),
        rotate_after=Ns(minutes * MINUTE),
        rotate_bytes=megabytes * MEGABYTE,
        duration=_take(args, "duration", v.positive_seconds),
        depth=_take(args, "depth", partial(v.count, least=1, most=MAX_LEVELS)),
        licence=_take(args, "licence", _licence),
    )


async def record(args: argparse.Namespace) -> int:
    """Record until the duration is over, SIGTERM or SIGINT; returns the exit code.

    Raises:
        ConfigError: a flag, file or variable that cannot be used.
    """
    config = settings(args, os.environ, Path.cwd())
    logs = Logs(config.run)
    try:
        await Recording(config, logs).run()
    except ConfigError as bad:
        logs.emit("error", "INIT", "refused", {"why": str(bad), "exit": bad.exit_code})
        return bad.exit_code
    finally:
        logs.close()
    return 0


class Recorder:
    """Takes what both venues tell and hands it, stamped, to the writer.

    Nothing is written before both books are known, and then both come first: a file that begins
    with one venue alone could not be replayed.

    Args:
        depth: levels per side to keep.
        put: takes entries; never blocks.
        pending: how many entries still wait for the disk.
        clock: time of receipt.
        tell: told of gaps and of their ends: venue, event and why.
    """

    def __init__(
        self,
        depth: int,
        put: Callable[[Entry], None],
        pending: Callable[[], int],
        clock: WallClock,
        tell: Callable[[Venue, str, str], None],
    ) -> None:
        self._changes = {venue: MarketChanges(venue, depth) for venue in Venue}
        self._put = put
        self._pending = pending
        self._clock = clock
        self._tell = tell
        self._last = Ns(0)
        self._full = False
        self._anchor = 0
        self._set_anchor()
        self.begun = False

    def take(self, event: VenueEvent) -> None:
        """Take one event of a stream."""
        if self._disk_is_slow():
            return
        changes = self._changes[event.venue]
        known = changes.known
        change = changes.take(event)
        if not self.begun or change is None:
            return
        if isinstance(change, MarketGap):
            self._tell(event.venue, "gap", change.why)
        elif not known:
            self._tell(event.venue, "book_is_back", "snapshot")
        self._entry(event.venue, change)

    @property
    def complete(self) -> bool:
        """True while there are two books that a file can begin with."""
        return all(changes.snapshot() is not None for changes in self._changes.values())

    def why_incomplete(self) -> str:
        """Return which venues show no book, and what their streams say."""
        return "; ".join(
            f"{venue}: no book{f' ({changes.why_down})' if changes.why_down else ''}"
            for venue, changes in self._changes.items()
            if changes.snapshot() is None
        )

    def begin(self, after: str | None) -> None:
        """Begin a file with both books; ``after`` names what came before it, with a hole between.

        Raises:
            ValueError: a book is not known.
        """
        self._set_anchor()
        for venue in self._changes if after else ():
            self._entry(venue, MarketGap(f"between {after} and here nothing was recorded"))
        for venue, changes in self._changes.items():
            book = changes.snapshot()
            if book is None:
                raise ValueError(f"{venue}: there is no book to begin with")
            self._entry(venue, book)
        self.begun = True

    def _entry(self, venue: Venue, change: Change) -> None:
        # A wall clock may step back; a tape must not.
        self._last = Ns(max(self._last, self._anchor + self._clock.mono()))
        self._put(Entry(self._last, venue, change))

    def _set_anchor(self) -> None:
        self._anchor = self._clock.wall() - self._clock.mono()

    def _disk_is_slow(self) -> bool:
        """Rather lose data, and say so, than fill the memory."""
        if self._full:
            self._full = self._pending() > MAX_PENDING // 2
        elif self._pending() > MAX_PENDING:
            self._full = True
            for venue, changes in self._changes.items():
                gap = changes.lose("the disk is too slow")
                if gap is not None:
                    self._tell(venue, "gap", gap.why)
                    self._entry(venue, gap)
        return self._full


class Recording:
    """One run of the recorder.

    Args:
        config: what to record.
        logs: where to say how it goes.
    """

    def __init__(self, config: RecordConfig, logs: Logs) -> None:
        self._config = config
        self._logs = logs
        self._clock = SystemClock()
        self._ended = asyncio.Event()
        self._disk: OSError | None = None
        self._told_files = 0

    async def run(self) -> None:
        """Record to the end.

        Raises:
            ConfigError: unknown ticker (2), venues unreachable (75), or the disk refuses (78).
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        rng = random.Random(self._config.run.seed)  # noqa: S311 - jitter, not a secret
        venues = public_venues(self._config.run, self._clock, rng.random)
        async with AsyncExitStack() as stack:
            for venue in venues.values():
                stack.push_async_callback(venue.close)
            instruments = await load_public(venues, self._config.run.ticker)
            before = await asyncio.to_thread(self._prepare)
            writer = TapeWriter(
                self._config.out,
                self._head(instruments),
                self._clock,
                lambda bad: _ignored(loop.call_soon_threadsafe(self._disk_failed, bad)),
            )
            recorder = Recorder(
                self._config.depth,
                writer.put,
                lambda: writer.pending,
                self._clock,
                self._tell,
            )
            failed: ConfigError | None = None
            async with asyncio.TaskGroup() as tasks:
                streams = [tasks.create_task(v.stream(recorder.take)) for v in venues.values()]
                try:
                    await self._begin(recorder, before)
                    await self._watch(recorder, writer)
                except ConfigError as bad:  # raised below, so that it is not wrapped in a group
                    failed = bad
                finally:
                    for stream in streams:
                        stream.cancel()
                    await asyncio.to_thread(writer.close)
        self._finish(writer, failed)

    # --- the start ---------------------------------------------------------------------------

    def _prepare(self) -> Path | None:
        """Make the folder, complete what a killed run left; returns the recording before ours."""
        out, ticker = self._config.out, self._config.run.ticker
        try:
            out.mkdir(parents=True, exist_ok=True)
            for path in salvage(out, ticker):
                self._say("warning", "INIT", "completed_unfinished_file", file=path)
            return newest(out, ticker)
        except OSError as bad:
            raise _disk_error(out, bad) from bad

    def _head(self, instruments: Mapping[Venue, Instrument]) -> TapeHead:
        streams = {
            venue.value: {
                "recorded": f"{_NAMES[venue]} {listed.symbol} perpetual",
                "tick": plain(listed.tick),
                "step": plain(listed.step),
            }
            for venue, listed in instruments.items()
        }
        for venue, listed in instruments.items():
            self._say(
                "info", "INIT", "instrument", venue=venue, symbol=listed.symbol,
                tick=plain(listed.tick), step=plain(listed.step),
            )  # fmt: skip
        return TapeHead(self._config.run.ticker, streams, self._config.licence)

    async def _begin(self, recorder: Recorder, before: Path | None) -> None:
        give_up = self._clock.mono() + int(FIRST_BOOKS_SECONDS * NANO)
        while not recorder.complete:
            if await self._pause():
                return
            if self._clock.mono() > give_up:
                raise no_books(recorder.why_incomplete())
        recorder.begin(None if before is None else before.name)
        config = self._config
        self._say(
            "info", "INIT", "recording", ticker=config.run.ticker, out=config.out,
            depth=config.depth, after="nothing" if before is None else before.name,
        )  # fmt: skip

    # --- while it runs -----------------------------------------------------------------------

    async def _pause(self) -> bool:
        """Wait one tick; returns whether the run is to end."""
        try:
            async with asyncio.timeout(TICK_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

    async def _watch(self, recorder: Recorder, writer: TapeWriter) -> None:
        """Rotate and report until stopped."""
        config, began = self._config, self._clock.mono()
        rotated = reported = began
        rotations = 0
        while not await self._pause():
            now = self._clock.mono()
            if config.duration is not None and now - began >= config.duration:
                return
            if not writer.alive:
                raise RuntimeError("the writing thread has died")
            due = now - rotated >= config.rotate_after or writer.file_size >= config.rotate_bytes
            # In a gap there is no book to begin a file with: the old one goes on. And the last
            # rotation must have been done, or a slow disk would get files of snapshots alone.
            done = rotations == len(writer.paths) and writer.file_size
            if due and done and recorder.complete:
                rotated, rotations = now, rotations + 1
                writer.rotate()
                recorder.begin(None)
            self._tell_files(writer)
            if now - reported >= REPORT:
                reported = now
                self._report("METRICS", "recording", writer)

    def _tell(self, venue: Venue, event: str, why: str) -> None:
        level = "warning" if event == "gap" else "info"
        self._say(level, "VENUE", event, venue=venue, why=why)

    def _tell_files(self, writer: TapeWriter) -> None:
        for path in writer.paths[self._told_files :]:
            self._told_files += 1
            self._say("info", "METRICS", "file_complete", file=path)

    def _disk_failed(self, bad: OSError) -> None:
        self._disk = bad
        self._ended.set()

    # --- the end -----------------------------------------------------------------------------

    def _finish(self, writer: TapeWriter, failed: ConfigError | None) -> None:
        self._tell_files(writer)
        self._report("SHUTDOWN", "recorded", writer)
        if self._disk is not None:
            raise _disk_error(self._config.out, self._disk) from self._disk
        if failed is not None:
            raise failed

    def _report(self, tag: str, event: str, writer: TapeWriter) -> None:
        self._say(
            "info", tag, event, events=writer.events, gaps=writer.gaps, bytes=writer.size,
            files=len(writer.paths) + (writer.file_size > 0), pending=writer.pending,
        )  # fmt: skip

    def _say(self, level: str, tag: str, event: str, **fields: object) -> None:
        self._logs.emit(level, tag, event, fields)


def _disk_error(out: Path, bad: OSError) -> ConfigError:
    notes = "".join(f" ({note})" for note in getattr(bad, "__notes__", ()))
    said = f"{bad.filename or out}: {bad.strerror}{notes}"
    return ConfigError(EXIT_CONFIG, f"--out {said}; free space or name a folder that is writable")


def _ignored(handle: object) -> None:
    """Take a result that nobody needs."""
    del handle


def _licence(text: str) -> str:
    if not text.isprintable() or len(text) > MAX_LICENCE:
        raise ValueError(f"must be one line of at most {MAX_LICENCE} characters")
    return text


def _take(args: argparse.Namespace, name: str, parse: Callable[[str], Any]) -> Any:
    text = getattr(args, name)
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as bad:
        flag = name.replace("_", "-")
        raise ConfigError(EXIT_USAGE, f"--{flag} {text!r}: {bad}") from bad

"""``hedged-guard``: a second, tiny process that cancels makers when the daemon is gone or stuck.

It watches the daemon's heartbeat file. When the daemon's process has vanished, or has not completed
a decision for ``--stale`` seconds, whatever rests on either venue is cancelled, again and again
until nothing rests. It holds the same keys and can do nothing else: the only doors that it has into
a venue list orders and cancel them (``CancelOnly``).
"""

import argparse
import asyncio
import os
import random  # noqa: TID251 - one seeded instance, for back-off jitter only
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from daemon.assembly import Seams, live_ports
from daemon.clock import SystemClock
from daemon.config import EXIT_CONFIG, EXIT_USAGE, ConfigError, RunConfig, load_config
from daemon.heartbeat import Beat, last_beat
from daemon.logs import Logs
from daemon.notify import Notifier
from exchanges.errors import VenueError, VenueForbidden
from exchanges.port import CancelAccepted, CancelOutcome, WallClock
from strategy.domain import Instrument, Ns, OrderView, Venue
from strategy.params import SECOND

STALE = "15"
"""Seconds without a completed decision; GRVT's own switch fires at the same time."""
GONE = Ns(5 * SECOND)
"""Grace of a vanished process: its service manager starts it again after 2 s."""
ROUND = 1.0
AGAIN = Ns(5 * SECOND)
"""Between looks once nothing rests: an order under way may still land."""
DUST = "0.000000001"

Say = Callable[[str, str, str, Mapping[str, str | int]], None]


class CancelOnly(Protocol):
    """What the guard may do with a venue: nothing that could open anything."""

    async def open(self) -> None:
        """Log in."""
        ...

    async def close(self) -> None:
        """Release every socket."""
        ...

    async def load(self, base: str) -> Instrument:
        """Look the perpetual up."""
        ...

    async def open_orders(self) -> tuple[OrderView, ...]:
        """List what rests."""
        ...

    async def cancel_all(self) -> CancelOutcome:
        """Cancel everything on the instrument."""
        ...


@dataclass(slots=True)
class _Door:
    port: CancelOnly
    ready: bool = False
    clear_at: Ns | None = None
    """Monotonic time of the last look that found nothing resting, in this absence."""


def absent(beat: Beat | None, now: Ns, stale: Ns, alive: Callable[[int], bool]) -> str:
    """Say why the daemon cannot be relied on to cancel; empty while it can, or need not."""
    if beat is None or beat.ended:
        return ""
    age = now - beat.at
    if age < 0:
        return "the heartbeat is of an earlier boot"
    if age > stale:
        return f"no decision for {age // SECOND} s"
    if age > min(GONE, stale) and not alive(beat.pid):
        return f"process {beat.pid} is gone"
    return ""


def running(pid: int) -> bool:
    """True when a process of that number exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Guard:
    """Watches one state directory.

    Args:
        state_dir: where the daemon beats.
        ticker: base symbol.
        ports: the venues, to list and to cancel only.
        clock: time.
        say: writes a log line (level, tag, event, fields).
        stale: ns without a decision after which the daemon counts as stuck.
    """

    def __init__(
        self,
        state_dir: Path,
        ticker: str,
        ports: Mapping[Venue, CancelOnly],
        clock: WallClock,
        say: Say,
        stale: Ns,
    ) -> None:
        self._state_dir = state_dir
        self._ticker = ticker
        self._doors = {venue: _Door(port) for venue, port in ports.items()}
        self._clock = clock
        self._say = say
        self._stale = stale
        self._why = ""
        self.cancelled = 0
        """Orders that rested without a daemon and are gone."""

    async def connect(self) -> None:
        """Log in everywhere, so that wrong keys are known before they are needed.

        Raises:
            VenueForbidden: the keys are refused.
        """
        for venue, door in self._doors.items():
            try:
                await self._ready(door)
            except VenueForbidden:
                raise
            except VenueError as bad:
                self._tell("warning", "VENUE", "unreachable", venue, str(bad))

    async def close(self) -> None:
        """Release both venues."""
        for door in self._doors.values():
            await door.port.close()

    async def look(self) -> bool:
        """Look once, and act when the daemon is absent; true while it is."""
        why = self._absent()
        if not why:
            if self._why:
                self._say("info", "SAFETY", "daemon_back", {})
                for door in self._doors.values():
                    door.clear_at = None
            self._why = ""
            return False
        if not self._why:
            self._say("error", "ALERT", "guard_acts", {"why": why})
        self._why = why
        async with asyncio.TaskGroup() as tasks:  # one dead venue never starves the other
            for venue, door in self._doors.items():
                if door.clear_at is None or self._clock.mono() - door.clear_at >= AGAIN:
                    tasks.create_task(self._clear(venue, door))
        return True

    def _absent(self) -> str:
        try:
            beat = last_beat(self._state_dir)
        except (OSError, ValueError) as bad:
            return f"the heartbeat cannot be read: {bad}"
        return absent(beat, self._clock.mono(), self._stale, running)

    async def _ready(self, door: _Door) -> None:
        if not door.ready:
            await door.port.open()
            await door.port.load(self._ticker)
            door.ready = True

    async def _clear(self, venue: Venue, door: _Door) -> None:
        """Cancel what rests on one venue; a list that fails is no reason not to cancel."""
        resting = -1
        try:
            await self._ready(door)
            resting = len(await door.port.open_orders())
        except VenueError as bad:
            self._tell("error", "VENUE", "list_failed", venue, str(bad))
        if not resting:
            door.clear_at = self._clock.mono()
            return
        door.clear_at = None
        if not door.ready:
            return  # not even logged in: the next round tries again
        outcome = await door.port.cancel_all()
        taken = isinstance(outcome, CancelAccepted)
        level = "warning" if taken else "error"
        told = {"venue": venue.value, "resting": resting, "taken": str(taken).lower()}
        self._say(level, "SAFETY", "guard_cancel", told)
        self.cancelled += max(0, resting) if taken else 0

    def _tell(self, level: str, tag: str, event: str, venue: Venue, why: str) -> None:
        self._say(level, tag, event, {"venue": venue.value, "why": why})


async def watch(guard: Guard, clock: WallClock, notifier: Notifier, stop: asyncio.Event) -> None:
    """Look every second until asked to stop."""
    notifier.ready()
    while not stop.is_set():
        absence = await guard.look()
        notifier.watchdog("cancelling: the daemon is absent" if absence else "watching")
        await clock.sleep(ROUND)
    notifier.stopping()


async def run(config: RunConfig, stale: Ns) -> int:
    """Guard until SIGTERM; returns the exit code."""
    clock = SystemClock()
    logs = Logs(replace(config, log_file=None))
    try:
        if config.venues != "live":
            why = f"venues={config.venues}: simulated orders end with their process"
            logs.emit("info", "INIT", "nothing_to_guard", {"why": why})
            return 0
        rng = random.Random(config.seed)  # noqa: S311 - jitter, not a secret
        seams = Seams(clock, rng, _no_orders, logs.add_secret)
        ports = live_ports(config, seams)
        guard = Guard(config.state_dir, config.ticker, ports, clock, logs.emit, stale)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        try:
            await guard.connect()
            logs.emit("info", "INIT", "guarding", {"stale_s": stale // SECOND})
            await watch(guard, clock, Notifier.from_environment(), stop)
        except VenueForbidden as bad:
            logs.emit("error", "INIT", "refused", {"why": str(bad), "exit": EXIT_CONFIG})
            return EXIT_CONFIG
        finally:
            await guard.close()
        return 0
    finally:
        logs.close()


def _no_orders() -> int:
    raise AssertionError("the guard never signs an order")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser: the daemon's own settings, and how long it may be silent."""
    parser = argparse.ArgumentParser(
        prog="hedged-guard",
        description="Cancels makers on both venues when the hedge daemon is gone or stuck.",
        allow_abbrev=False,
    )
    for name in ("ticker", "venues", "config", "env-file", "state-dir", "log-format"):
        parser.add_argument(f"--{name}")
    parser.add_argument(
        "--stale", default=STALE, help="seconds without a decision (default %(default)s)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the guard; expected trouble is one line on standard error."""
    given = vars(build_parser().parse_args(argv))
    try:
        stale = _stale(given.pop("stale"))
        flags = {**given, "size": DUST}
        terminal = sys.stdout.isatty()
        config = load_config(flags, os.environ, cwd=Path.cwd(), terminal=terminal)
    except ConfigError as bad:
        sys.stderr.write(f"hedged-guard: {bad}\n")
        return bad.exit_code
    return asyncio.run(run(config, stale))


def _stale(text: str) -> Ns:
    if not text.isdecimal() or not int(text):
        raise ConfigError(EXIT_USAGE, f"--stale {text!r}: not a positive whole number of seconds")
    return Ns(int(text) * SECOND)


if __name__ == "__main__":
    sys.exit(main())

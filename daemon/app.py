"""One run from the first check to the exit code: lease, journal, venues, reconciliation, loop."""

import asyncio
import gc
import json
import random  # noqa: TID251 - one seeded instance, for back-off jitter only
import signal
import sqlite3
import traceback
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from enum import StrEnum
from pathlib import Path
from typing import Any

from daemon.assembly import Seams, live_ports, sim_config, sim_ports
from daemon.clock import SystemClock
from daemon.config import ConfigError, RunConfig
from daemon.connecting import EXIT_UNREACHABLE, EXIT_USAGE, Connector, Failed
from daemon.control import ControlServer
from daemon.core import Core, Settings
from daemon.dark import DarkPort, remember
from daemon.disk import TOO_SLOW, commit_times
from daemon.emergency import RehearsalFailed, prove, rehearse
from daemon.heartbeat import Heart
from daemon.host import Descriptors, no_core_files
from daemon.journal import Journal, JournalError
from daemon.journal_file import MEND
from daemon.keeping import Keeping
from daemon.lease import Lease, LeaseHeld
from daemon.live_data import start_live_feed
from daemon.logs import Logs
from daemon.loop import EXIT_HALTED, EXIT_HUMAN, EXIT_OK, Loop
from daemon.metrics import RunMetrics
from daemon.narrator import Narrator
from daemon.notify import Notifier
from daemon.offline import UNPROVED, journal_path
from daemon.reconcile import Reconciler, StartRefused, journal_latch
from daemon.reload import Reloader
from daemon.resend import Recaller
from daemon.resolver import Resolver
from daemon.resuming import resumed_world
from daemon.settings import limits_of, params_of
from daemon.status import handle
from daemon.watchdog import Watchdog
from exchanges.errors import (
    VenueError,
)
from exchanges.port import VenuePort
from exchanges.simulator.host import SimConfigError, SimHost
from exchanges.simulator.live_feed import LiveFeed
from exchanges.simulator.tape import TapeError
from safety.reasons import Reason
from strategy.domain import Instrument, Mode, Now, Ns, Venue, plain
from strategy.events import LatchMoved
from strategy.params import SECOND
from strategy.world import World

__all__ = ["App", "Failed", "Purpose", "run"]

EXIT_INTERNAL = 70
EXIT_LEASE = 79
ABANDON_LIMIT = 5.0
FLATTEN_LIMIT = 60 * SECOND
"""A flatten without a daemon is over by then: flat, or with its residual named (L5)."""
START_PATIENCE = 60 * SECOND
"""Longer than a fifth of the unit's StartLimitIntervalSec, less than its TimeoutStartSec."""
START_AGAIN = 2.0
UINT32 = 0xFFFFFFFF


def broken_journal(bad: BaseException) -> bool:
    """True when the journal itself failed: it must not be written again before a human looked."""
    if isinstance(bad, BaseExceptionGroup):
        return any(broken_journal(one) for one in bad.exceptions)
    return isinstance(bad, sqlite3.Error | JournalError)


class Purpose(StrEnum):
    """What a run is for: to trade, to close both legs, or to take what is held into the books."""

    TRADE = "trade"
    FLATTEN = "flatten"
    ADOPT = "adopt"


async def run(
    config: RunConfig,
    *,
    purpose: str = Purpose.TRADE,
    reread: Callable[[], RunConfig] | None = None,
) -> int:
    """Run once; returns the exit code. Errors of the set-up end as one line in the log.

    ``purpose`` is the name of a Purpose: the command line imports nothing of this.
    ``reread`` reads the configuration again on SIGHUP; without it a reload changes nothing.
    """
    no_core_files()
    logs = Logs(config)
    app = App(config, logs, purpose=Purpose(purpose), reread=reread)
    try:
        return await app.run()
    except Failed as failed:
        logs.emit("error", "INIT", "refused", {"why": str(failed), "exit": failed.code})
        return failed.code
    finally:
        logs.close()


class App:
    """Owns everything with a lifetime."""

    def __init__(
        self,
        config: RunConfig,
        logs: Logs,
        *,
        purpose: Purpose = Purpose.TRADE,
        clock: SystemClock | None = None,
        reread: Callable[[], RunConfig] | None = None,
    ) -> None:
        self.config = config
        self._reread = reread or (lambda: self.config)
        self._reloader: Reloader | None = None
        self.logs = logs
        self.purpose = purpose
        self.clock = SystemClock() if clock is None else clock
        self.notifier = Notifier.from_environment()
        self.host: SimHost | None = None
        self._keeping: Keeping | None = None
        self._heart: Heart | None = None
        self._restart = False
        self._loop_running: Loop | None = None
        self._stop_asked = False

    @property
    def flatten_only(self) -> bool:
        """Whether the run only closes positions, and does so under worse conditions."""
        return self.purpose is Purpose.FLATTEN

    async def run(self) -> int:
        """Take the lease and the journal, then trade."""
        self._install_signals()
        try:
            self.config.state_dir.mkdir(parents=True, exist_ok=True)
        except OSError as bad:
            line = f"--state-dir {self.config.state_dir}: {bad.strerror}; name one that is writable"
            raise Failed(EXIT_HUMAN, line) from bad
        with self._lease():
            self._time_disk()
            return await self._patiently()

    async def _patiently(self) -> int:
        """Try a start again while a venue is unreachable, under a manager that counts starts.

        systemd gives a unit up after five starts in five minutes: an outage must not spend them,
        for the journal may hold a leg that is naked. Run by hand, the first refusal is the answer.
        """
        until = self.clock.mono() + (START_PATIENCE if self.notifier.managed else 0)
        while True:
            try:
                return await self._with_journal()
            except Failed as failed:
                late = self.clock.mono() >= until or self._stop_asked
                if failed.code != EXIT_UNREACHABLE or late:
                    raise
                self.logs.emit("warning", "INIT", "waiting", {"why": str(failed)})
                self.notifier.status(f"waiting: {failed}")
            await self.clock.sleep(START_AGAIN)

    def _time_disk(self) -> None:
        """Alert a disk that is slow to commit. It is not refused: a leg may be open."""
        try:
            took = commit_times(self.config.state_dir, self.clock.mono)
        except (OSError, sqlite3.Error):
            return  # the journal is opened next: it says what is wrong, with the remedy
        if took.p95 > TOO_SLOW:
            self.logs.emit("warning", "ALERT", "disk_slow", {"why": str(took)})

    def _lease(self) -> Lease:
        try:
            return Lease(self.config.state_dir)
        except LeaseHeld as held:
            raise Failed(EXIT_LEASE, str(held)) from held
        except OSError as bad:
            line = f"--state-dir {self.config.state_dir}: {bad.strerror}; make it writable"
            raise Failed(EXIT_HUMAN, line) from bad

    async def _with_journal(self) -> int:
        try:
            path = journal_path(self.config.state_dir, self.config.venues)
            journal = self._open_journal(path)
        except JournalError as bad:
            raise Failed(EXIT_HUMAN, str(bad)) from bad
        try:
            intact = journal.chain_intact()
            if journal.lost and not self.flatten_only:
                raise Failed(EXIT_HUMAN, f"journal {path.name}: {journal.lost}; {MEND}")
            if not intact and not self.flatten_only:
                why = f"journal {path.name}: its decisions are not one chain; {MEND}"
                raise Failed(EXIT_HUMAN, why)
            mode, reason = journal_latch(journal)
            if mode is Mode.HALTED and self.purpose is Purpose.TRADE:
                why = f"latched {mode.name} ({reason}); type `hedged resume` to trade again"
                raise Failed(EXIT_HALTED, why)
            # a run that died while it reduced or flattened goes on with that, and only that (F33)
            return await self._with_venues(journal)
        finally:
            journal.close()
            if self._keeping is not None:
                self._keeping.close()

    def _open_journal(self, path: Path) -> Journal:
        wall = self.clock.wall()
        self._keeping = Keeping(path, wall, flatten_only=self.flatten_only)
        if self._keeping.recovered:
            told = {"why": self._keeping.recovered}
            self.logs.emit("warning", "ALERT", "emergency_recovered", told)
        return self._keeping.journal

    async def _with_venues(self, journal: Journal) -> int:
        """Run the venues in one task group; the simulator lives exactly as long as the run."""
        failed: Failed | None = None
        code = EXIT_INTERNAL
        async with asyncio.TaskGroup() as tasks:
            background: list[asyncio.Task[Any]] = []
            try:
                code = await self._with_ports(journal, tasks, background)
            except Failed as why:  # raised outside, so that it is not wrapped in a group
                failed = why
            finally:
                for task in background:
                    task.cancel()
                if self.host is not None:
                    await self.host.stop()
        if failed is not None:
            raise failed
        return code

    async def _with_ports(
        self, journal: Journal, tasks: asyncio.TaskGroup, background: list[asyncio.Task[Any]]
    ) -> int:
        ports = await self._ports(journal, tasks, background)
        async with AsyncExitStack() as stack:
            for port in ports.values():
                stack.push_async_callback(port.close)
            try:
                return await self._trade(journal, ports)
            except Failed:
                raise
            except Exception as bad:  # noqa: BLE001 - a supervisor: no maker may outlive a crash
                return await self._abandon(ports, bad)

    async def _abandon(self, ports: Mapping[Venue, VenuePort], bad: Exception) -> int:
        """Cancel everything that may rest, whatever broke, and leave a trace of it."""
        trace = "".join(traceback.format_exception(bad))
        self.logs.emit("error", "ALERT", "internal_error", {"what": repr(bad), "trace": trace})
        for venue, port in ports.items():
            try:
                async with asyncio.timeout(ABANDON_LIMIT):
                    outcome = await port.cancel_all()
            except (TimeoutError, VenueError, ValueError) as failed:
                said = repr(failed)
            else:
                said = type(outcome).__name__
            fields = {"venue": venue.value, "answer": said}
            self.logs.emit("error", "SHUTDOWN", "cancel_all", fields)
        return EXIT_HUMAN if broken_journal(bad) else EXIT_INTERNAL

    async def _ports(
        self, journal: Journal, tasks: asyncio.TaskGroup, background: list[asyncio.Task[Any]]
    ) -> Mapping[Venue, VenuePort]:
        rng = random.Random(self.config.seed)  # noqa: S311 - jitter, not a secret
        seams = Seams(
            self.clock, rng, lambda: journal.last_client_id() & UINT32, self.logs.add_secret
        )
        if self.config.venues == "live":
            return live_ports(self.config, seams)
        live: LiveFeed | None = None
        try:
            if self.config.venues == "shadow":
                told = self._live_market
                live = await start_live_feed(
                    self.config, self.clock, rng.random, told, tasks, background
                )
            self.host = SimHost(sim_config(self.config), live)
            ready = await self.host.start()
        except ConfigError as bad:
            raise Failed(bad.exit_code, str(bad)) from bad
        except SimConfigError as bad:
            raise Failed(EXIT_USAGE, str(bad)) from bad
        except TapeError as bad:
            raise Failed(EXIT_HUMAN, str(bad)) from bad
        self.host.universe.on_loop = self._tape_looped
        background.append(tasks.create_task(self.host.run_forever()))
        self.logs.emit("info", "INIT", "simulator", {"control": self.host.control_url})
        return sim_ports(ready, seams)

    def _live_market(self, venue: Venue, event: str, why: str) -> None:
        level = "warning" if event == "live_gap" else "info"
        self.logs.emit(level, "VENUE", event, {"venue": venue.value, "why": why})

    def _tape_looped(self, loops: int) -> None:
        fields: dict[str, str | int] = {"loops": loops, "why": "end of the recorded book"}
        self.logs.emit("info", "INIT", "tape_looped", fields)

    # --- set-up ----------------------------------------------------------------------------

    async def _trade(self, journal: Journal, ports: Mapping[Venue, VenuePort]) -> int:
        ports = dict(ports)
        connector = Connector(self.config, self.logs, self.clock, flatten_only=self.flatten_only)
        instruments, fees = await connector.connect(ports, journal)
        live = self.config.venues == "live"
        world = resumed_world(journal, instruments, fees, self.clock.now(), live=live)
        metrics = RunMetrics(world)
        narrator = Narrator(self.logs, metrics)
        settings = Settings(params_of(self.config), limits_of(self.config))
        core = Core(world, settings, journal, ports, narrator, self.clock.now)
        self._rehearse(instruments, ports, settings)
        remember(journal, instruments)
        recall = Recaller(core, narrator)
        resolver = Resolver(ports, self.clock.now, recall, narrator)
        await self._reconcile(core, ports, resolver, narrator)
        if self.purpose is Purpose.ADOPT:
            return EXIT_OK
        metrics.started = core.world
        patience = self.config.open_patience_ns
        loop = Loop(core, ports, resolver, narrator, metrics, self.clock, patience)
        if self.flatten_only:
            core.on(LatchMoved(Mode.FLATTENING, Reason.OPERATOR.value, self.clock.now()))
            loop.flatten_by = Ns(self.clock.mono() + FLATTEN_LIMIT)
        code = await self._loop(loop, core, narrator, ports)
        self._report(core, metrics, code)
        return code

    def _rehearse(
        self,
        instruments: Mapping[Venue, Instrument],
        ports: Mapping[Venue, VenuePort],
        settings: Settings,
    ) -> None:
        """Build the emergency path dry, before it is needed (REQ-15)."""
        if any(isinstance(port, DarkPort) for port in ports.values()):
            return
        try:
            orders = rehearse(instruments, ports, settings, self.clock.now())
        except RehearsalFailed as bad:
            raise Failed(EXIT_HUMAN, f"{bad}; nothing was sent") from bad
        self.logs.emit("info", "EMERGENCY", "rehearsed", {"orders": orders})

    async def _prove(self, ports: Mapping[Venue, VenuePort], core: Core) -> None:
        """Say what both venues hold at the end of a run that left RUNNING, and keep it."""
        proof = await prove(ports, core.world)
        event, level = ("residual", "error") if proof.left else ("flat", "info")
        fields = {v.value: held for v, held in proof.positions.items()} | {"left": str(proof)}
        self.logs.emit(level, "EMERGENCY", event, fields)
        core.journal.put_meta("residual", str(proof))
        core.journal.commit()

    async def _reconcile(
        self,
        core: Core,
        ports: Mapping[Venue, VenuePort],
        resolver: Resolver,
        narrator: Narrator,
    ) -> None:
        work = Reconciler(core, ports, resolver, narrator, self.clock.now, self.clock.sleep)
        try:
            match self.purpose:
                case Purpose.TRADE:
                    await work.start()
                case Purpose.FLATTEN:
                    await work.flatten()
                case Purpose.ADOPT:
                    await work.adopt()
        except StartRefused as refused:
            raise Failed(EXIT_HUMAN, str(refused)) from refused
        except VenueError as bad:
            raise Failed(EXIT_UNREACHABLE, f"reconciliation: {bad}; try again later") from bad

    # --- running ---------------------------------------------------------------------------

    async def _loop(
        self, loop: Loop, core: Core, narrator: Narrator, ports: Mapping[Venue, VenuePort]
    ) -> int:
        journal = core.journal
        journal.put_meta("running", "1")
        journal.put_meta("residual", UNPROVED)
        journal.put_meta("ticker", self.config.ticker)
        journal.commit()
        self._loop_running = loop
        self._reloader = Reloader(self._reread, core, narrator)
        if self._stop_asked:
            loop.stop(flatten=self.config.flatten_on_exit)
        server = self._control(loop)
        await server.start()
        self._heart = Heart(self.config.state_dir, self.clock.mono, self._unheard)
        self._watch(loop, narrator)
        self._settle_memory()
        narrator.line(
            "info",
            "INIT",
            "started",
            ticker=self.config.ticker,
            venues=self.config.venues,
            size=plain(self.config.size),
            iterations=self.config.iterations,
        )
        self.notifier.ready()
        clean = False
        try:
            code = await loop.run()
            clean = not any(core.world.live())
            if self._restart and code == EXIT_OK:
                code = EXIT_UNREACHABLE
            if core.world.mode is not Mode.RUNNING:
                await self._prove(ports, core)
            journal.put_meta("running", "0")
            journal.commit()
        finally:
            self._heart.close(clean=clean)
            self.notifier.stopping()
            await server.stop()
        return code

    def _control(self, loop: Loop) -> ControlServer:
        return ControlServer(self.config.state_dir, lambda cmd, _: handle(loop, cmd))

    @staticmethod
    def _settle_memory() -> None:
        gc.collect()
        gc.freeze()  # a full collection over the SDKs' objects stalls the loop for tens of ms

    def _install_signals(self) -> None:
        """From the first moment on: a stop during the start ends it in order, too."""
        running = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            running.add_signal_handler(number, self._signalled)
        running.add_signal_handler(signal.SIGHUP, self._reload_asked)

    def _reload_asked(self) -> None:
        """Tighten limits between two decisions; before trading has begun they are new anyway."""
        if self._loop_running is not None:
            self._loop_running.soon(self._reload)

    def _reload(self, now: Now) -> None:
        if self._reloader is not None:
            self.config = self._reloader.reload(self.config, now)

    def _signalled(self) -> None:
        self._stop_asked = True
        if self._loop_running is not None:
            self._loop_running.stop(flatten=self.config.flatten_on_exit)

    def _watch(self, loop: Loop, narrator: Narrator) -> None:
        """Ping from completed decisions only, and let the loop know when time was lost."""

        def say(event: str, ms: int) -> None:
            narrator.line("error", "ALERT", event, ms=ms)

        watchdog = Watchdog(self.notifier, self.clock.mono, say)
        loop.on_turn = watchdog.turn
        files = Descriptors(self.clock.mono, self._too_many_files)

        heart = self._heart

        def ticked(w: World) -> None:
            if heart is not None:
                heart.beat()
            watchdog.ticked(w, loop.core.journal.lost)
            files.look()

        loop.on_tick = ticked

    def _unheard(self, why: str) -> None:
        self.logs.emit("error", "ALERT", "heartbeat_lost", {"why": why})

    def _too_many_files(self, used: int, limit: int) -> None:
        """End in order while that is possible; the service manager starts anew (exit 75)."""
        self.logs.emit("error", "ALERT", "open_files", {"used": used, "limit": limit})
        self._restart = True
        self._signalled()

    def _report(self, core: Core, metrics: RunMetrics, code: int) -> None:
        summary = metrics.summary(core.world, self.config.venues, code)
        self.logs.emit("info", "METRICS", "run_complete", summary)
        if self.config.summary_json is not None:
            text = json.dumps(summary, indent=2) + "\n"
            try:
                self.config.summary_json.parent.mkdir(parents=True, exist_ok=True)
                self.config.summary_json.write_text(text)
            except OSError as bad:
                why = f"--summary-json {self.config.summary_json}: {bad.strerror}"
                self.logs.emit("error", "METRICS", "summary_not_written", {"why": why})

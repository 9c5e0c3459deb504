"""One run from the first check to the exit code: lease, journal, venues, reconciliation, loop."""

import asyncio
import gc
import json
import random  # noqa: TID251 - one seeded instance, for back-off jitter only
import signal
import sqlite3
import traceback
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from daemon.assembly import Seams, live_ports, sim_config, sim_ports
from daemon.clock import SystemClock
from daemon.config import ConfigError, RunConfig
from daemon.control import ControlServer
from daemon.core import Core, Settings
from daemon.journal import Journal, JournalError
from daemon.lease import Lease, LeaseHeld
from daemon.logs import Logs
from daemon.loop import EXIT_HALTED, EXIT_HUMAN, Loop
from daemon.metrics import RunMetrics
from daemon.narrator import Narrator
from daemon.notify import Notifier
from daemon.offline import journal_path
from daemon.reconcile import Reconciler, StartRefused, journal_latch, load_world
from daemon.resolver import Resolver
from daemon.settings import check_sizes, limits_of, params_of
from daemon.status import handle
from exchanges.errors import (
    UnknownTicker,
    VenueError,
    VenueForbidden,
    VenueMalformed,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
)
from exchanges.port import VenuePort
from exchanges.simulator.host import SimConfigError, SimHost
from exchanges.simulator.tape import TapeError
from safety.reasons import Reason
from strategy.domain import Fees, Instrument, Mode, Ns, SignedQty, Venue, plain
from strategy.events import CyclePhase, LatchMoved
from strategy.params import SECOND
from strategy.world import Cycle, World

EXIT_USAGE = 2
EXIT_INTERNAL = 70
EXIT_UNREACHABLE = 75
EXIT_LEASE = 79
OPEN_TRIES = 3
ABANDON_LIMIT = 5.0
UINT32 = 0xFFFFFFFF
MAX_SKEW = Ns(SECOND)
"""Largest clock offset to a venue at which signatures are still safe."""


def broken_journal(bad: BaseException) -> bool:
    """True when the journal itself failed: it must not be written again before a human looked."""
    if isinstance(bad, BaseExceptionGroup):
        return any(broken_journal(one) for one in bad.exceptions)
    return isinstance(bad, sqlite3.Error | JournalError)


class Failed(Exception):  # noqa: N818 - carries the exit code and its one line
    """The run cannot start; one clear line."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = code


async def run(config: RunConfig, *, flatten_only: bool = False) -> int:
    """Run once; returns the exit code. Errors of the set-up end as one line in the log."""
    logs = Logs(config)
    app = App(config, logs, flatten_only=flatten_only)
    try:
        return await app.run()
    except Failed as failed:
        logs.emit("error", "INIT", "refused", {"why": str(failed), "exit": failed.code})
        return failed.code
    finally:
        logs.close()


class App:
    """Owns everything with a lifetime."""

    def __init__(self, config: RunConfig, logs: Logs, *, flatten_only: bool) -> None:
        self.config = config
        self.logs = logs
        self.flatten_only = flatten_only
        self.clock = SystemClock()
        self.notifier = Notifier.from_environment()
        self.host: SimHost | None = None
        self._loop_running: Loop | None = None
        self._stop_asked = False

    async def run(self) -> int:
        """Take the lease and the journal, then trade."""
        if self.config.venues == "shadow":
            raise Failed(EXIT_USAGE, "--venues shadow: not in this release; use sim or live")
        self._install_signals()
        try:
            self.config.state_dir.mkdir(parents=True, exist_ok=True)
        except OSError as bad:
            line = f"--state-dir {self.config.state_dir}: {bad.strerror}; name one that is writable"
            raise Failed(EXIT_HUMAN, line) from bad
        try:
            with Lease(self.config.state_dir):
                return await self._with_journal()
        except LeaseHeld as held:
            raise Failed(EXIT_LEASE, str(held)) from held

    async def _with_journal(self) -> int:
        try:
            path = journal_path(self.config.state_dir, self.config.venues)
            journal = Journal(path, self.clock.wall())
        except JournalError as bad:
            raise Failed(EXIT_HUMAN, str(bad)) from bad
        try:
            if not journal.chain_intact():
                why = f"journal {path.name}: its decisions are not one chain; restore a copy"
                raise Failed(EXIT_HUMAN, why)
            mode, reason = journal_latch(journal)
            if mode is Mode.HALTED and not self.flatten_only:
                why = f"latched {mode.name} ({reason}); type `hedged resume` to trade again"
                raise Failed(EXIT_HALTED, why)
            # a run that died while it reduced or flattened goes on with that, and only that (F33)
            return await self._with_venues(journal)
        finally:
            journal.close()

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
        self.host = SimHost(sim_config(self.config))
        try:
            ready = await self.host.start()
        except SimConfigError as bad:
            raise Failed(EXIT_USAGE, str(bad)) from bad
        except TapeError as bad:
            raise Failed(EXIT_HUMAN, str(bad)) from bad
        self.host.universe.on_loop = self._tape_looped
        background.append(tasks.create_task(self.host.run_forever()))
        self.logs.emit("info", "INIT", "simulator", {"control": self.host.control_url})
        return sim_ports(ready, seams)

    def _tape_looped(self, loops: int) -> None:
        fields: dict[str, str | int] = {"loops": loops, "why": "end of the recorded book"}
        self.logs.emit("info", "INIT", "tape_looped", fields)

    # --- set-up ----------------------------------------------------------------------------

    async def _trade(self, journal: Journal, ports: Mapping[Venue, VenuePort]) -> int:
        instruments, fees = await self._connect(ports)
        world = self._load(journal, instruments, fees)
        metrics = RunMetrics(world)
        narrator = Narrator(self.logs, metrics)
        settings = Settings(params_of(self.config), limits_of(self.config))
        core = Core(world, settings, journal, ports, narrator, self.clock.now)
        resolver = Resolver(ports, self.clock.now)
        await self._reconcile(core, ports, resolver, narrator)
        metrics.started = core.world
        patience = self.config.open_patience_ns
        loop = Loop(core, ports, resolver, narrator, metrics, self.clock, patience)
        if self.flatten_only:
            core.on(LatchMoved(Mode.FLATTENING, Reason.OPERATOR.value, self.clock.now()))
        code = await self._loop(loop, core, narrator)
        self._report(core, metrics, code)
        return code

    async def _connect(
        self, ports: Mapping[Venue, VenuePort]
    ) -> tuple[dict[Venue, Instrument], dict[Venue, Fees]]:
        """Log in, look the instruments up, and check sizes and clocks: nothing is sent before."""
        instruments: dict[Venue, Instrument] = {}
        fees: dict[Venue, Fees] = {}
        for venue, port in ports.items():
            try:
                await self._open(port)
                instruments[venue] = await port.load(self.config.ticker)
                fees[venue] = await port.fees()
                await self._check_clock(port)
            except UnknownTicker as bad:
                raise Failed(EXIT_USAGE, f"--ticker {self.config.ticker}: {bad}") from bad
            except VenueForbidden as bad:
                raise Failed(EXIT_HUMAN, f"{venue}: {bad}; check its credentials") from bad
            except VenueError as bad:
                raise Failed(EXIT_UNREACHABLE, f"{venue}: {bad}; try again later") from bad
            rules = instruments[venue]
            self.logs.emit(
                "info",
                "INIT",
                "instrument",
                {
                    "venue": venue.value,
                    "symbol": rules.symbol,
                    "tick": plain(rules.tick),
                    "step": plain(rules.step),
                    "min_qty": plain(rules.min_qty),
                    "min_notional": plain(rules.min_notional),
                },
            )
        try:
            check_sizes(self.config, instruments)
        except ConfigError as bad:
            raise Failed(bad.exit_code, str(bad)) from bad
        return instruments, fees

    async def _open(self, port: VenuePort) -> None:
        """Log in, with a few patient tries: reads and logins only are ever retried."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((VenueUnreachable, VenueThrottled)),
            stop=stop_after_attempt(OPEN_TRIES),
            wait=wait_exponential(multiplier=0.5, max=4),
            sleep=self.clock.sleep,
            reraise=True,
        ):
            with attempt:
                await port.open()

    async def _check_clock(self, port: VenuePort) -> None:
        """Refuse to sign with a clock that is off; a venue that will not tell its time is said."""
        before = self.clock.wall()
        try:
            stated = await port.server_time()
        except (VenueMalformed, VenueRefused) as bad:
            fields: dict[str, str | int] = {"venue": port.venue.value, "why": str(bad)}
            self.logs.emit("warning", "ALERT", "clock_unknown", fields)
            return
        offset = stated - (before + self.clock.wall()) // 2
        if abs(offset) > MAX_SKEW:
            ms = offset // 1_000_000
            raise Failed(
                EXIT_HUMAN, f"{port.venue}: our clock is {-ms} ms off the venue's; fix NTP first"
            )

    def _load(
        self,
        journal: Journal,
        instruments: Mapping[Venue, Instrument],
        fees: Mapping[Venue, Fees],
    ) -> World:
        now = self.clock.now()
        if self.config.venues == "sim":
            self._bury_last_sim(journal, instruments)
        world = load_world(journal, instruments, fees, now)
        world = replace(world, hedges=journal.last_hedge_id(), net_at=now.mono)
        cycle = self._resumed_cycle(journal, world)
        return replace(world, cycle=cycle)

    def _bury_last_sim(self, journal: Journal, instruments: Mapping[Venue, Instrument]) -> None:
        """End what the last simulated run left: its venues died with it, its losses stay."""
        journal.bury_live_orders("simulated venue ended with its process")
        for venue in instruments:
            books = journal.ledger(venue)
            if books.position:
                px = journal.last_price(venue)
                journal.adjustment(
                    venue,
                    SignedQty(-books.position),
                    px,
                    "simulated venue ended with its process",
                    self.clock.wall(),
                )
        journal.commit()

    def _resumed_cycle(self, journal: Journal, world: World) -> Cycle:
        """Go on where a run that held a position or died stopped; else begin at iteration 1."""
        stored = journal.meta("cycle")
        held = any(leg.position for leg in world.legs.values())
        crashed = journal.meta("running") == "1"
        if stored is None or not (held or crashed) or self.config.venues == "sim":
            return Cycle()
        state = json.loads(stored)
        if state["phase"] == CyclePhase.DONE.value:
            return Cycle()
        return Cycle(state["iteration"], CyclePhase(state["phase"]), self.clock.mono())

    async def _reconcile(
        self,
        core: Core,
        ports: Mapping[Venue, VenuePort],
        resolver: Resolver,
        narrator: Narrator,
    ) -> None:
        work = Reconciler(core, ports, resolver, narrator, self.clock.now, self.clock.sleep)
        try:
            if self.flatten_only:
                await work.adopt()
            else:
                await work.start()
        except StartRefused as refused:
            raise Failed(EXIT_HUMAN, str(refused)) from refused
        except VenueError as bad:
            raise Failed(EXIT_UNREACHABLE, f"reconciliation: {bad}; try again later") from bad

    # --- running ---------------------------------------------------------------------------

    async def _loop(self, loop: Loop, core: Core, narrator: Narrator) -> int:
        journal = core.journal
        journal.put_meta("running", "1")
        journal.put_meta("ticker", self.config.ticker)
        journal.commit()
        self._loop_running = loop
        if self._stop_asked:
            loop.stop(flatten=self.config.flatten_on_exit)
        server = ControlServer(self.config.state_dir, lambda cmd, _: handle(loop, cmd))
        await server.start()
        loop.on_tick = self._ticked
        gc.collect()
        gc.freeze()  # a full collection over the SDKs' objects stalls the loop for tens of ms
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
        try:
            code = await loop.run()
            journal.put_meta("running", "0")
            journal.commit()
        finally:
            self.notifier.stopping()
            await server.stop()
        return code

    def _install_signals(self) -> None:
        """From the first moment on: a stop during the start ends it in order, too."""
        running = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            running.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        self._stop_asked = True
        if self._loop_running is not None:
            self._loop_running.stop(flatten=self.config.flatten_on_exit)

    def _ticked(self, w: World) -> None:
        self.notifier.watchdog(f"mode={w.mode.name} net={plain(w.net)}")

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

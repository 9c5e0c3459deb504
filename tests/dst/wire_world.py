"""One episode on the wire: the real daemon and the real servers over a network in memory.

The daemon is what ``--venues live`` runs: SDK classes, codecs, aiohttp's sessions and sockets, the
journal on SQLite. It is judged by the engines' books and by what it leaves behind.
"""

import asyncio
import logging
import random  # noqa: TID251 - each episode is drawn from its seed
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from daemon.app import App, Purpose
from daemon.config import RunConfig, load_config
from daemon.loop import EXIT_HALTED, EXIT_HUMAN, EXIT_OK
from exchanges.port import Payload
from exchanges.simulator.backpack_server import BackpackServer
from exchanges.simulator.credentials import backpack_credentials, grvt_credentials
from exchanges.simulator.grvt_server import GrvtServer
from exchanges.simulator.model import EngineEvent, OrderChanged
from exchanges.simulator.universe import Driver, Universe
from strategy.domain import Draft, Mode, Venue, plain
from tests.dst.market import Market
from tests.dst.oracles import NAKED, Figures, Truth
from tests.dst.process import START, Lines, SimApp, SimClock, SimJournal, from_scratch
from tests.dst.quick import idling
from tests.dst.wire_faults import Fault, drawn
from tests.dst.wire_loop import Counts, WireLoop
from tests.dst.wire_seams import in_memory, simulate_on
from tests.simloop import WORLD, SimError

PORTS = {Venue.GRVT: 20_001, Venue.BACKPACK: 20_002}
CALM_SECONDS = 25.0
"""Between the end of the last fault and the orderly stop: a socket backs off for up to 15 s."""
PATIENCE = 90.0
"""After this a process that was asked to stop hangs."""
LINGER = 3.0
"""Seconds in which closing connections end."""
UNWOUND = 15 * 10**9
EXIT_INTERNAL = 70
BOOKS_MS = 500


@dataclass(frozen=True, slots=True)
class Script:
    """Everything that a seed decides, before the world begins."""

    seed: int
    storm: float
    flags: dict[str, str]
    faults: tuple[Fault, ...]


@dataclass(slots=True)
class Report:
    """What became of an episode."""

    script: Script
    broken: list[str]
    figures: Figures
    lines: Lines
    trades: list[tuple[int, Venue, int, int]]
    exit: int
    virtual: float
    injected: dict[str, int]
    counts: Counts
    wire: list[tuple[int, int, bool, int]] = field(default_factory=list)
    """(ns, port, from the server, size) of every piece on the wire."""


def script_of(seed: int) -> Script:
    """Draw an episode."""
    rng = random.Random(f"wire {seed}")  # noqa: S311 - an episode, not a secret
    storm = rng.choice([12.0, 18.0, 24.0])
    flags = {
        "size": rng.choice(["0.2", "0.5"]),
        "fill_timeout": rng.choice(["1", "2"]),
        "hedge_mode": rng.choice(["smart", "smart", "market"]),
        "primary_mode": rng.choice(["bbo", "bbo_minus_1"]),
        "max_unhedged_ms": rng.choice(["4000", "8000"]),
    }
    return Script(seed, storm, flags, tuple(drawn(rng, storm)))


class WireApp(SimApp):
    """The daemon's own composition with its own adapters, dialled over the virtual network."""

    async def _ports(self, journal: Any, tasks: Any, background: Any) -> Any:
        return await App._ports(self, journal, tasks, background)


class World:
    """The venues' servers, the network, and the machine."""

    def __init__(self, script: Script, loop: WireLoop, directory: Path) -> None:
        self.script = script
        self.loop = loop
        self.directory = directory
        seed = script.seed
        self.driver = Driver(lambda: START + loop.ns())
        self.universe = Universe(Market(seed, pace=BOOKS_MS), seed, 1, self.driver)
        self.clock = SimClock(loop)
        self.lines = Lines(loop)
        keys = grvt_credentials(seed), backpack_credentials(seed)
        engines, faults = self.universe.engines, self.universe.faults
        self.servers: dict[Venue, GrvtServer | BackpackServer] = {
            Venue.GRVT: GrvtServer(engines[Venue.GRVT], self.driver, faults, keys[0]),
            Venue.BACKPACK: BackpackServer(engines[Venue.BACKPACK], self.driver, faults, keys[1]),
        }
        self.config = config_of(directory, script)
        self.truth = Truth(self.universe, loop, self.config.max_position)
        self.injected: dict[str, int] = {}
        self._rng = random.Random(f"world {seed}")  # noqa: S311 - a schedule, not a secret
        self._undo: list[Callable[[], None]] = []
        self._app: WireApp | None = None
        self._owner = WORLD
        self._over = asyncio.Event()
        self.calm_at = 1 << 62
        self._arrived: set[str] = set()
        for venue, engine in engines.items():
            engine.subscribe(lambda event, v=venue: self._heard(v, event))  # type: ignore[misc]

    # --- what leaves and arrives -------------------------------------------------------------

    def _journalling(self, payload: Payload, draft: Draft) -> None:
        core = None if self._app is None or self._app.loop is None else self._app.loop.core
        self.truth.mode = Mode.RUNNING if core is None else core.world.mode
        self.truth.on_order(core, draft, payload)
        request = payload.request
        base = (1 << 63) if request.venue is Venue.GRVT else 0
        key = request.venue, str(base + request.client_id)
        if key in self.truth.sent:
            self.truth.say(f"S4: {request.client_id} names two different orders")
        self.truth.sent[key] = payload

    def _heard(self, venue: Venue, event: EngineEvent) -> None:
        """S3 where it counts: an order that a venue has was durable before."""
        if not isinstance(event, OrderChanged) or event.order.order_id in self._arrived:
            return
        order = event.order
        self._arrived.add(order.order_id)
        self.truth.figures.orders += 1
        payload = self.truth.sent.get((venue, order.request.client_id))
        journal = None if self._app is None else self._app.journal
        if payload is None:
            self.truth.say(f"{venue} has an order {order.request.client_id} that nobody journalled")
        elif journal is None or payload.request.client_id not in journal.durable:
            self.truth.say(f"S3: {payload.request.client_id} arrived before its row was durable")

    def port(self, venue: Venue) -> int:
        """Return where a venue listens."""
        return PORTS[venue]

    # --- the story ---------------------------------------------------------------------------

    async def run(self) -> int:
        """Live through the episode; returns the last exit code."""
        self.universe.start()
        async with asyncio.TaskGroup() as tasks:
            driving = tasks.create_task(self.universe.run())
            for venue, server in self.servers.items():
                await server.start("127.0.0.1", PORTS[venue])
            storm = tasks.create_task(self._storm())
            code = await self._process(Purpose.TRADE)
            self._over.set()
            await storm
            if code in (EXIT_HALTED, EXIT_HUMAN) and any(self.truth.positions.values()):
                self.lines.emit("info", "WORLD", "operator", {"types": "hedged flatten"})
                self._check_named(code)
                code = await self._process(Purpose.FLATTEN)
            for server in self.servers.values():
                await server.stop()
            await asyncio.sleep(LINGER)
            driving.cancel()
        self.truth.clock()
        self._judge(code)
        return code

    async def _process(self, purpose: Purpose) -> int:
        """Run the daemon to its end, and see what it leaves behind."""
        self._owner += 1
        app = WireApp(self.config, self.lines, self.clock, purpose)
        app.on_open = self._opened
        self._app = app
        task = self.loop.spawn(self._owner, app.main())
        begun = self.loop.ns()
        while not task.done():
            await asyncio.wait([task], timeout=5)
            since = begun if purpose is Purpose.FLATTEN else self.calm_at + CALM_SECONDS * 1e9
            if self.loop.ns() > since + PATIENCE * 1e9:
                raise SimError("the process hangs")
        code = self._ended(task)
        self.lines.emit("info", "WORLD", "exit", {"code": code})
        await asyncio.sleep(LINGER)
        self._check_left()
        self._check_books(app, code)
        return code

    def _opened(self, journal: SimJournal) -> None:
        journal.on_order = self._journalling

    def _ended(self, task: asyncio.Task[int]) -> int:
        why = None if task.cancelled() else task.exception()
        if task.cancelled() or why is not None:
            self.truth.say(f"the process ended with {why!r}")
            return EXIT_INTERNAL
        return task.result()

    async def _storm(self) -> None:
        """Inject the faults at their times; end them; then ask for an orderly stop."""
        for fault in self.script.faults:
            await asyncio.sleep(max(0.0, fault.at - self.loop.time()))
            if self._over.is_set():
                break
            self.injected[fault.kind.name] = self.injected.get(fault.kind.name, 0) + 1
            self.lines.emit("info", "WORLD", "fault", {"what": str(fault)})
            undo = fault.kind.act(self, self._rng, fault.venue)
            if undo is not None:
                self._undo.append(undo)
                self.loop.call_later(fault.seconds, self._end, undo)
        await self._wait(self.script.storm - self.loop.time())
        while self._undo:
            self._undo.pop()()
        self.universe.faults.clear()
        self.universe.apply_faults()
        for address in self.loop.addresses.values():
            address.weather.answers_lost = 0
        self.calm_at = self.loop.ns()
        self.lines.emit("info", "WORLD", "calm", {})
        await self._wait(CALM_SECONDS)
        while not self._over.is_set():
            if self._app is not None and self._app.loop is not None:
                self.lines.emit("info", "WORLD", "SIGTERM", {})
                self._app.terminate()
                return
            await asyncio.sleep(0.1)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._over.wait()

    def _end(self, undo: Callable[[], None]) -> None:
        if undo in self._undo:
            self._undo.remove(undo)
            undo()

    # --- judgement ---------------------------------------------------------------------------

    def _check_left(self) -> None:
        """No task and no connection of a process outlives it."""
        if self.loop.alive(self._owner):
            self.truth.say(f"{self.loop.alive(self._owner)} tasks outlive the process")
        mine = [end for end in self.loop.open.values() if not end._server]
        if mine:
            self.truth.say(f"{len(mine)} connections outlive the process")

    def _check_named(self, code: int) -> None:
        net = self.truth.net
        if abs(net) < NAKED:
            return
        ended = [f for _, _, _, event, f in self.lines.lines if event in ("latch", "refused")]
        if not any(plain(abs(p)) in str(ended) for p in self.truth.positions.values()):
            self.truth.say(f"exit {code} with a net of {plain(net)} that nothing names")

    def _check_books(self, app: WireApp, code: int) -> None:
        """The journal tells one story, and it is the venues'."""
        if code == EXIT_INTERNAL:
            self.truth.say("exit 70: an internal error")
        if app.journal is None:
            return
        self.truth.check_history(app.journal)
        if app.loop is None:
            return
        world = app.loop.core.world
        self.truth.broken += [n for n in world.violations if n.startswith("invariant")]
        self.truth.check_fold(world, from_scratch(app.journal.path, world, self.clock.now()))
        for venue, leg in world.legs.items():
            if code == EXIT_OK and leg.position != self.truth.positions[venue]:
                held = plain(self.truth.positions[venue])
                self.truth.say(f"{venue} holds {held}, the books say {plain(leg.position)}")

    def _judge(self, code: int) -> None:
        truth = self.truth
        truth.check_orders()
        truth.check_spells(self.calm_at, self.config.max_unhedged + UNWOUND)
        for venue, engine in self.universe.engines.items():
            left = engine.open_orders(self.universe.account(venue).account_id)
            if left:
                truth.say(f"{venue}: {len(left)} orders rest after the end")
        if abs(truth.net) >= NAKED:
            truth.say(f"left naked: {plain(truth.net)} with exit {code}")
        if self.loop.open:
            truth.say(f"{len(self.loop.open)} ends of connections are left at the end")


def config_of(directory: Path, script: Script) -> RunConfig:
    """Return the configuration of ``hedged --venues live`` against the simulator."""
    keys = grvt_credentials(script.seed), backpack_credentials(script.seed)
    grvt, backpack = (f"127.0.0.1:{PORTS[v]}" for v in (Venue.GRVT, Venue.BACKPACK))
    env = {
        "BACKPACK_PUBLIC_KEY": keys[1].public_key,
        "BACKPACK_SECRET_KEY": keys[1].secret_key,
        "BACKPACK_API_URL": f"http://{backpack}",
        "BACKPACK_WS_URL": f"ws://{backpack}",
        "GRVT_API_KEY": keys[0].api_key,
        "GRVT_PRIVATE_KEY": keys[0].private_key,
        "GRVT_TRADING_ACCOUNT_ID": keys[0].sub_account_id,
        "GRVT_ENVIRONMENT": "testnet",
        "GRVT_EDGE_URL": f"http://{grvt}",
        "GRVT_TRADES_URL": f"http://{grvt}",
        "GRVT_MARKET_DATA_URL": f"http://{grvt}",
        "GRVT_WS_TRADES_URL": f"ws://{grvt}",
        "GRVT_WS_MARKET_DATA_URL": f"ws://{grvt}",
        "MAX_DAILY_LOSS": "2000",
    }
    given = {"ticker": "ETH", "venues": "live", "state_dir": str(directory), "log_file": "-"}
    return load_config(given | script.flags, env, cwd=directory, terminal=False)


class _ToLines(logging.Handler):
    """What adapters log, among the lines of the episode."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        said = {"why": record.getMessage()}
        self._lines.emit(record.levelname.lower(), "SDK", record.name, said)


@contextmanager
def hearing(lines: Callable[[], Lines]) -> Iterator[None]:
    """Take what the adapters and their SDKs log into the episode's lines."""

    class Late(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            _ToLines(lines()).emit(record)

    root, handler = logging.getLogger(), Late()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def run(script: Script) -> Report:
    """Run one episode in a directory of its own."""
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108 - memory, if any
    directory = Path(tempfile.mkdtemp(prefix="wire-", dir=base))
    loop = cast("Callable[[int], WireLoop]", WireLoop)(script.seed)
    worlds: list[World] = []

    async def main(_: Any) -> int:
        worlds.append(World(script, loop, directory))
        return await worlds[0].run()

    broken: list[str] = []
    code = -1
    try:
        with in_memory(loop, script.seed), idling(0.1), hearing(lambda: worlds[0].lines):
            code = simulate_on(loop, main)
    except AssertionError as bad:
        broken.append(str(bad))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    world = worlds[0]
    return Report(
        script, [*broken, *world.truth.broken], world.truth.figures, world.lines,
        world.truth.trades, code, loop.time(), world.injected, loop.counts, loop.wire,
    )  # fmt: skip


def episode(seed: int) -> Report:
    """Run the episode of a seed."""
    return run(script_of(seed))

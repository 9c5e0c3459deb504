"""One episode: the real daemon in a simulated world, from one seed, judged by the world."""

import asyncio
import random  # noqa: TID251 - each episode is drawn from its seed
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from daemon.app import Purpose
from daemon.config import RunConfig
from daemon.loop import EXIT_HALTED, EXIT_HUMAN, EXIT_OK
from exchanges.port import Payload
from exchanges.simulator.inprocess import InProcessVenue, Latency
from exchanges.simulator.universe import Driver, Universe
from strategy.domain import Draft, Mode, Ns, Venue, plain
from tests.dst.faults import SETTLED_BY_HAND, UNREADABLE, Fault, drawn
from tests.dst.market import Market
from tests.dst.network import Link
from tests.dst.oracles import NAKED, Figures, Truth, ttl_of
from tests.dst.policies import port_class, resolving
from tests.dst.process import (
    START,
    CrashPlan,
    Lines,
    SimApp,
    SimClock,
    SimJournal,
    config_of,
    from_scratch,
    seed_cycle,
)
from tests.dst.quick import idling
from tests.simloop import WORLD, SimError, SimLoop, simulate

RESTART_SECONDS = 2.0
"""systemd's RestartSec of the unit."""
CALM_SECONDS = 6.0
"""Between the end of the last fault and the orderly stop."""
PATIENCE = 120.0
"""After this a process that was asked to stop hangs."""
LONGEST = 1000.0
"""Virtual seconds after which an episode is stuck."""
EXIT_INTERNAL = 70
EXIT_AGAIN = 75
RECONCILED = 10 * 10**9
UNWOUND = 15 * 10**9
"""How long the emergency path may take after the budget of the exposure is spent (L2)."""


@dataclass(frozen=True, slots=True)
class Script:
    """Everything that a seed decides, before the world begins."""

    seed: int
    storm: float
    """Seconds during which faults happen."""
    flags: dict[str, str]
    faults: tuple[Fault, ...]
    mirrored: bool = False
    policy: str = ""


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
    trace: list[str] = field(default_factory=list)


def script_of(seed: int) -> Script:
    """Draw an episode."""
    rng = random.Random(f"script {seed}")  # noqa: S311 - an episode, not a secret
    storm = rng.choice([8.0, 15.0, 30.0])
    size = rng.choice(["0.2", "0.4", "0.5", "1.0"])
    flags = {
        "size": size,
        "iter": rng.choice(["0", "0", "2"]),
        "max_position": rng.choice([size, "1.2", "2.0"]),
        "sleep": rng.choice(["0", "1", "4"]),
        "fill_timeout": rng.choice(["1", "2", "5"]),
        "hedge_mode": rng.choice(["smart", "smart", "market"]),
        "primary_mode": rng.choice(["bbo", "bbo_minus_1", "aggressive"]),
        "max_unhedged_ms": rng.choice(["4000", "8000", "15000"]),
        "MAX_DAILY_LOSS": rng.choice(["50", "50", "2000"]),
    }
    return Script(seed, storm, flags, tuple(drawn(seed, storm)))


class World:
    """The venues, the network, the machine and its supervisor."""

    def __init__(self, script: Script, loop: SimLoop, directory: Path) -> None:
        self.script = script
        self.loop = loop
        self.directory = directory
        seed = script.seed
        driver = Driver(lambda: START + loop.ns())
        market = Market(seed, mirrored=script.mirrored)
        self.universe = Universe(market, seed, 1, driver)
        self.clock = SimClock(loop)
        self.true_clock = SimClock(loop)
        latency = Latency(Ns(0), Ns(0))
        self.links = {
            v: Link(
                InProcessVenue(self.universe, v, self.true_clock, latency),
                loop,
                random.Random(f"link {v} {seed}"),  # noqa: S311 - a network, not a secret
            )
            for v in Venue
        }
        self.lines = Lines(loop)
        self.config: RunConfig = config_of(directory, **script.flags)
        self.truth = Truth(self.universe, loop, self.config.max_position)
        self.injected: dict[str, int] = {}
        self._rng = random.Random(f"world {seed}")  # noqa: S311 - a schedule, not a secret
        self._owner = WORLD
        self._app: SimApp | None = None
        self._ended: asyncio.Future[int] | None = None
        self._crash = CrashPlan()
        self._undo: list[Callable[[], None]] = []
        self._finished = False
        self._over = asyncio.Event()
        self._killed = False
        self._deaths = 0
        loop.before = self._before

    # --- the process -------------------------------------------------------------------------

    def start(self, purpose: Purpose = Purpose.TRADE) -> asyncio.Future[int]:
        """Start the daemon; the future says how it ended: -9 when it was killed."""
        self._owner += 1
        app = SimApp(self.config, self.lines, self.clock, purpose)
        app.links = self.links
        app.port_class = port_class(self.script.policy)
        app.crash = self._crash
        app.on_kill = lambda: self.kill("at a commit")
        app.on_open = self._opened
        self._app, self._killed = app, False
        ended: asyncio.Future[int] = self.loop.create_future()
        self._ended = ended
        for link in self.links.values():
            link.on_send = self._sending
            link.on_copy = self._copying
        task = self.loop.spawn(self._owner, app.main())

        def done(finished: asyncio.Task[int]) -> None:
            why = None if finished.cancelled() else finished.exception()
            if ended.done() or self._killed:
                return  # a kill at a commit may end the task before it is buried
            if finished.cancelled() or why is not None:
                self.truth.say(f"the process ended with {why!r}")
                ended.set_result(EXIT_INTERNAL)
            else:
                ended.set_result(finished.result())

        task.add_done_callback(done)
        return ended

    def _opened(self, journal: SimJournal) -> None:
        journal.on_order = self._journalling
        app = self._app
        if app is not None:
            self._started = self.loop.ns()

    def _journalling(self, payload: Payload, draft: Draft) -> None:
        core = None if self._app is None or self._app.loop is None else self._app.loop.core
        self.truth.mode = Mode.RUNNING if core is None else core.world.mode
        self.truth.on_order(core, draft, payload)

    def _copying(self, payload: Payload) -> None:
        if self._app is not None:
            self.truth.on_copy(self._app.journal, payload)

    def _sending(self, payload: Payload) -> None:
        app = self._app
        if app is not None:
            self.truth.on_send(app.journal, ttl_of(app), payload)

    def _before(self, owner: int) -> None:
        """Crash at an await, once the planned number of steps is reached."""
        if self.loop.time() > LONGEST:
            raise SimError("the episode never ends")
        if owner == self._owner and self._crash.step is not None:
            self._crash.step -= 1
            if self._crash.step <= 0:
                self.kill("at an await")

    # --- what faults may do -------------------------------------------------------------------

    def stall(self, seconds: float) -> None:
        """SIGSTOP for so long."""
        if self._app is not None:
            self.loop.stall(self._owner, seconds)
            self._awake = self.loop.ns() + round(seconds * 1e9)

    def kill(self, why: str) -> None:
        """SIGKILL: nothing of the process runs any more."""
        app, ended = self._app, self._ended
        if app is None or ended is None or ended.done() or self._killed:
            return
        self._killed = True
        self._deaths += 1
        self._crash.step = self._crash.commit = None
        self.lines.emit("info", "WORLD", "killed", {"why": why})
        self.loop.kill(self._owner)
        app.shut()
        owner = self._owner
        self.loop.from_world(lambda: self._bury(owner, ended))

    def _bury(self, owner: int, ended: asyncio.Future[int]) -> None:
        try:
            self.loop.bury(owner)
        except SimError as stuck:
            self.truth.say(str(stuck))
        if not ended.done():
            ended.set_result(-9)

    def crash_at(self, *, commit: int | None, before: bool, step: int | None) -> None:
        """Plan the process's death."""
        app = self._app
        if commit is not None and app is not None and app.journal is not None:
            self._crash.commit = app.journal.commits + commit
            self._crash.before = before
        self._crash.step = step

    def tolerate(self, why: str) -> None:
        """Do not blame the daemon for what others trade."""
        self.lines.emit("info", "WORLD", "tolerated", {"why": why})
        self.truth.tolerant = True

    # --- the story ---------------------------------------------------------------------------

    async def run(self) -> int:
        """Live through the episode; returns the last exit code."""
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(self.universe.run())]
            for link in self.links.values():
                background.append(tasks.create_task(link.listen()))
                background.append(tasks.create_task(link.watch()))
            await asyncio.sleep(0.1)
            storm = tasks.create_task(self._storm())
            code = await self._supervise()
            await storm
            code = await self._operator(code)
            for task in background:
                task.cancel()
        self.truth.clock()
        self._judge(code)
        return code

    async def _storm(self) -> None:
        """Inject the faults at their times; end them; then ask for an orderly stop."""
        for fault in self.script.faults:
            await asyncio.sleep(max(0.0, fault.at - self.loop.time()))
            if self._finished:
                break  # what befalls the account now is nobody's to hedge
            self.injected[fault.kind.name] = self.injected.get(fault.kind.name, 0) + 1
            self.lines.emit("info", "WORLD", "fault", {"what": str(fault)})
            undo = fault.kind.act(self, self._rng, fault.venue, fault)
            if undo is not None:
                self._undo.append(undo)
                self.loop.call_later(fault.seconds, self._end, undo)
        await self._wait(self.script.storm - self.loop.time())
        self._clear()
        await self._wait(CALM_SECONDS)
        while not self._finished:
            if self._app is not None and self._app.loop is not None and not self._killed:
                self.lines.emit("info", "WORLD", "SIGTERM", {})
                self._app.terminate()
                return
            await asyncio.sleep(0.1)

    async def _wait(self, seconds: float) -> None:
        """Wait so long, or until the daemon has ended for good."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._over.wait()

    def _end(self, undo: Callable[[], None]) -> None:
        if undo in self._undo:
            self._undo.remove(undo)
            undo()

    def _clear(self) -> None:
        """End every fault: from here on the world is kind."""
        while self._undo:
            self._undo.pop()()
        self.universe.faults.clear()
        self.universe.apply_faults()
        self._crash.step = self._crash.commit = None
        self.clock.drift(0)
        self.clock.offset = 0
        self.calm_at = max(self.loop.ns(), self._awake)
        self.lines.emit("info", "WORLD", "calm", {})

    calm_at = 1 << 62
    _awake = 0
    """When a stopped process runs again: nothing can bring it back before."""
    _started = 0

    async def _supervise(self) -> int:
        """Start the daemon, and again after a crash, as its unit says."""
        while True:
            code = await self._watched(self.start())
            self.lines.emit("info", "WORLD", "exit", {"code": code})
            if code == EXIT_INTERNAL:
                self.truth.say("exit 70: an internal error")
            if code not in (-9, EXIT_AGAIN):
                self._finished = True
                self._over.set()
                self._check_books(code)
                return code
            await asyncio.sleep(RESTART_SECONDS)

    async def _watched(self, ended: asyncio.Future[int]) -> int:
        """Wait for the process's end; a process that outlives the story hangs."""
        while True:
            done, _ = await asyncio.wait([ended], timeout=5)
            if done:
                return ended.result()
            self._check_reconciled()
            if self.loop.ns() > self.calm_at + (CALM_SECONDS + PATIENCE) * 1e9:
                self.truth.say("the process hangs")
                self.kill("it hangs")

    def _check_reconciled(self) -> None:
        """L4: a start in calm weather has reconciled within 10 s."""
        app = self._app
        took = self.loop.ns() - max(self._started, self.calm_at)
        if app is not None and app.loop is None and took > RECONCILED + 5 * 10**9:
            self.truth.say(f"L4: not reconciled after {took / 1e9:.1f} s of calm")
            self._started = self.loop.ns()

    async def _operator(self, code: int) -> int:
        """After a halt or a refusal with something left, a human types ``hedged flatten``."""
        self.exit_before = code
        if code not in (EXIT_HALTED, EXIT_HUMAN) or not any(self.truth.positions.values()):
            return code
        if not self.truth.tolerant and not self._by_hand():
            net = plain(self.truth.net)
            if abs(self.truth.net) >= NAKED:
                self.truth.say(f"ended with exit {code} and a net of {net}")
        self.lines.emit("info", "WORLD", "operator", {"types": "hedged flatten"})
        flattened = await self._watched(self.start(Purpose.FLATTEN))
        self.lines.emit("info", "WORLD", "exit", {"code": flattened})
        return flattened

    exit_before = 0

    def _by_hand(self) -> bool:
        return bool(SETTLED_BY_HAND & self.injected.keys())

    # --- judgement ---------------------------------------------------------------------------

    def _check_books(self, code: int) -> None:
        """The journal tells one story, and it is the venues'."""
        app = self._app
        if app is None or app.journal is None:
            return
        self.truth.check_history(app.journal)
        if app.loop is None:
            return
        world = app.loop.core.world
        for note in world.violations:
            if note.startswith("invariant"):
                self.truth.say(note)
        path = app.journal.path
        scratch = from_scratch(path, world, self.clock.now())
        self.truth.check_fold(world, scratch)
        doubts = [o.request.client_id for o in world.live()]
        if code == EXIT_OK and doubts:
            self.truth.say(f"L3: ended with live orders {doubts}")

    def _judge(self, code: int) -> None:
        """The end: flat or hedged, or named."""
        truth = self.truth
        truth.check_orders()
        truth.check_spells(self.calm_at, self.config.max_unhedged + UNWOUND)
        for venue, engine in self.universe.engines.items():
            left = engine.open_orders(self.universe.account(venue).account_id)
            mine = [o for o in left if (venue, o.request.client_id) in truth.sent]
            if mine:
                truth.say(f"{venue}: {len(mine)} orders rest after the end")
        if abs(truth.net) >= NAKED and not (truth.tolerant and code == EXIT_HALTED):
            truth.say(f"left naked: {plain(truth.net)} with exit {code}")
        unread = UNREADABLE & self.injected.keys() and self.lines.events("ALERT", "not_flat")
        if code == EXIT_HUMAN and not self._by_hand() and not (unread and not truth.net):
            truth.say("exit 78 without a cause that needs a human")


def run(script: Script) -> Report:
    """Run one episode in a directory of its own."""
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108 - memory, if any
    directory = Path(tempfile.mkdtemp(prefix="dst-", dir=base))
    worlds: list[World] = []

    async def main(loop: SimLoop) -> int:
        world = World(script, loop, directory)
        worlds.append(world)
        if script.mirrored:
            seed_cycle(directory / "live.db", 2)
        return await world.run()

    broken: list[str] = []
    idle = 0.02 if script.seed % 16 == 0 else 0.1
    code = -1
    virtual = 0.0
    try:
        with resolving(script.policy), idling(idle):
            code, loop = simulate(script.seed, main)
            virtual = loop.time()
    except AssertionError as bad:
        broken.append(str(bad))
        virtual = worlds[0].loop.time()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    world = worlds[0]
    return Report(
        script, [*broken, *world.truth.broken], world.truth.figures, world.lines,
        world.truth.trades, code, virtual, world.injected,
    )  # fmt: skip


def episode(seed: int, policy: str = "") -> Report:
    """Run the episode of a seed."""
    return run(replace(script_of(seed), policy=policy))

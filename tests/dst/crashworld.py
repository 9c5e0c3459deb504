"""A short episode that can be stopped dead at any commit or await of any of its processes.

A point is named by the life (the process number of the episode), and by the number of the commit or
of the step in that life. Without a point the episode is recorded: at every step, where each task of
the process was suspended, how many commits were durable and how many requests had left.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, CoroutineType
from typing import Any, TypeVar

from daemon.app import Purpose
from daemon.loop import EXIT_HALTED, EXIT_OK
from exchanges.port import Payload
from strategy.domain import Venue, plain
from tests.dst.episode import RESTART_SECONDS, Script, World
from tests.dst.faults import Fault, Kind
from tests.dst.network import Link
from tests.dst.oracles import NAKED
from tests.dst.quick import idling
from tests.simloop import SimLoop, simulate

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
L4 = 10 * 10**9
"""ns from a start in calm weather to reconciled, and to hedged."""
IDLE = 0.1
SENT = 0.02
"""Seconds after which an order has reached its venue, and the answer is not back yet."""
STOP_AGAIN = 3.0
"""Seconds after which a process that was started again is asked to stop, too."""
Site = tuple[str, int, int]
"""(file, line, column) of an expression at which a product frame is suspended."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where a process dies: ``kind`` is ``before`` or ``after`` (a commit), or ``step``."""

    life: int
    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.life}:{self.kind}:{self.number}"

    @classmethod
    def parsed(cls, text: str) -> "Point":
        """Read what ``str`` gives."""
        life, kind, number = text.split(":")
        if kind not in ("before", "after", "step"):
            raise ValueError(f"{text}: before, after or step")
        return cls(int(life), kind, int(number))


@dataclass(frozen=True, slots=True)
class Scenario:
    """A short story that crosses many code paths.

    Attributes:
        since: the first life whose crash points are enumerated.
        dark: seconds for which GRVT is unreachable when the operator flattens.
        by_hand: nobody starts the daemon again; the operator flattens or adopts what it left.
    """

    name: str
    flags: dict[str, str]
    faults: tuple[Fault, ...]
    storm: float = 3.0
    since: int = 1
    dark: int = 0
    by_hand: Purpose | None = None

    def script(self, seed: int) -> Script:
        return Script(seed, self.storm, dict(self.flags), self.faults)

    @property
    def calm_from(self) -> int:
        """ns at which its last fault has ended."""
        return round(max((f.at + f.seconds for f in self.faults), default=0.0) * 1e9)


@dataclass(slots=True)
class Moment:
    """One step of one life."""

    life: int
    step: int
    ns: int
    commits: int
    calls: int


@dataclass(slots=True)
class Record:
    """What the uncrashed run passed through.

    Attributes:
        moments: every step, in order.
        sites: by site, the indexes in ``moments`` at which a task was suspended there.
        commits: how many there were, by life.
    """

    moments: list[Moment] = field(default_factory=list)
    sites: dict[Site, list[int]] = field(default_factory=dict)
    commits: dict[int, int] = field(default_factory=dict)


class CrashWorld(World):
    """The world of one scenario, with one crash in it or none."""

    def __init__(
        self, scenario: Scenario, seed: int, point: Point | None, loop: SimLoop, directory: Path
    ) -> None:
        super().__init__(scenario.script(seed), loop, directory)
        self.scenario = scenario
        self.point = point
        self.record = Record()
        self.killed_at: int | None = None
        self.calls = 0
        self.kill_on_send: Venue | None = None
        """The next order to this venue leaves, and the process dies before its answer."""
        self._stop_wanted = False
        self._asked_to_stop: set[int] = set()
        for link in self.links.values():
            self._count(link)

    def _count(self, link: Link) -> None:
        """Count requests: between two of them, or two commits, nothing leaves the process."""
        carry = link.call

        async def counted(work: Callable[[], Awaitable[T]], seconds: float) -> T:
            self.calls += 1
            return await carry(work, seconds)

        link.call = counted  # type: ignore[method-assign]

    # --- the process -------------------------------------------------------------------------

    def start(self, purpose: Purpose = Purpose.TRADE) -> asyncio.Future[int]:
        """Start a life, with its crash if the point names it."""
        point = self.point
        self._crash.step = self._crash.commit = None
        if point is not None and point.life == self._owner + 1:
            if point.kind == "step":
                self._crash.step = point.number
            else:
                self._crash.commit, self._crash.before = point.number, point.kind == "before"
        return super().start(purpose)

    def kill(self, why: str) -> None:
        """Note when."""
        deaths = self._deaths
        super().kill(why)
        if self.point is not None and self._owner == self.point.life and self._deaths > deaths:
            self.killed_at = self.loop.ns()

    def _sending(self, payload: Payload) -> None:
        super()._sending(payload)
        if payload.request.venue is self.kill_on_send:
            self.kill_on_send = None
            self.loop.from_world(self._die_soon)

    def _die_soon(self) -> None:
        self.loop.call_later(SENT, self.kill, "F32 between send and answer")

    def _before(self, owner: int) -> None:
        super()._before(owner)
        alive = owner == self._owner and self._ended is not None and not self._ended.done()
        if self.point is None and alive and owner >= self.scenario.since:
            self._note(owner)

    def _note(self, owner: int) -> None:
        """Record where every task of the process is suspended before this step."""
        app = self._app
        journal = None if app is None else app.journal
        commits = 0 if journal is None else journal.commits
        r, index = self.record, len(self.record.moments)
        step = self.loop.steps[owner]
        r.moments.append(Moment(owner, step, self.loop.ns(), commits, self.calls))
        r.commits[owner] = max(commits, r.commits.get(owner, 0))
        for task in self.loop._tasks.get(owner, {}).values():
            for site in () if task.done() else suspended(task.get_coro()):
                at = r.sites.setdefault(site, [])
                if not at or at[-1] != index:
                    at.append(index)

    # --- the story ---------------------------------------------------------------------------

    def ask_stop(self) -> None:
        """SIGTERM, now and to whatever is started again later."""
        self._stop_wanted = True

    async def _supervise(self) -> int:
        if self.scenario.by_hand is None:
            return await super()._supervise()
        code = await self._watched(self.start())
        await asyncio.sleep(RESTART_SECONDS)
        self._finished = True
        self._over.set()
        return code

    async def _storm(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stopper())
            await super()._storm()
            self._asked_to_stop.add(self._owner)
            self._stop_wanted = True

    async def _stopper(self) -> None:
        """Send SIGTERM to every life once it trades; to a restarted one a little later."""
        while not self._finished:
            app, owner = self._app, self._owner
            trades = app is not None and app.loop is not None and not self._killed
            if self._stop_wanted and trades and owner not in self._asked_to_stop:
                late = STOP_AGAIN if owner > 1 else 0.0
                if self.loop.ns() >= self._started + late * 1e9 and app is not None:
                    self._asked_to_stop.add(owner)
                    self.lines.emit("info", "WORLD", "SIGTERM", {})
                    app.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self._over.wait()

    def _clear(self) -> None:
        """End the faults, but not the crash: shutdowns and flattens have crash points, too."""
        step, commit = self._crash.step, self._crash.commit
        super()._clear()
        self._crash.step, self._crash.commit = step, commit

    async def _operator(self, code: int) -> int:
        """Flatten by hand after a halt, or what nobody trades any more; again if killed."""
        if self.scenario.dark:
            spec = {"venue": "grvt", "fault": "F54", "seconds": self.scenario.dark}
            self.universe.faults.add(spec)
            self.universe.apply_faults()
        if code != -9:
            code = await super()._operator(code)
        while code == -9:
            code = await self._typed(self.scenario.by_hand or Purpose.FLATTEN)
            await asyncio.sleep(RESTART_SECONDS)
        if code == EXIT_OK and self.scenario.by_hand is Purpose.ADOPT:
            self._stop_wanted = False
            return await super()._supervise()
        return code

    async def _typed(self, purpose: Purpose) -> int:
        self.lines.emit("info", "WORLD", "operator", {"types": f"hedged {purpose}"})
        code = await self._watched(self.start(purpose))
        self.lines.emit("info", "WORLD", "exit", {"code": code})
        return code

    # --- judgement ---------------------------------------------------------------------------

    def _judge(self, code: int) -> None:
        super()._judge(code)
        left = {v.value: plain(p) for v, p in self.truth.positions.items() if abs(p) >= NAKED}
        if left:
            self.truth.say(f"not flat at the end: {left} with exit {code}")
        if code not in (EXIT_OK, EXIT_HALTED):
            self.truth.say(f"ended with exit {code}")
        if self.point is None:
            return
        if self.killed_at is None:
            self.truth.say("the crash point was never reached: the run did not repeat")
            return
        for what, took in (("reconciled", self.reconciled()), ("hedged", self.hedged())):
            if took is None:
                self.truth.say(f"L4: never {what} after the crash")
            elif took > L4:
                self.truth.say(f"L4: {what} {took / 1e9:.1f} s after the restart")

    def _calm(self) -> int:
        """ns of the restart, or of the last fault's end if that is later."""
        assert self.killed_at is not None
        restart = self.killed_at + round(RESTART_SECONDS * 1e9)
        faults = self.scenario.calm_from
        if self.scenario.dark:
            faults = max(faults, restart + self.scenario.dark * 10**9)
        return max(restart, faults)

    def reconciled(self) -> int | None:
        """ns from the restart in calm weather until the books and the venues agreed."""
        at = self._reconciled_at()
        return None if at is None else max(0, at - self._calm())

    def _reconciled_at(self) -> int | None:
        """When the next life traded, or said why it does not."""
        assert self.killed_at is not None
        done = {("RECONCILE", "reconciled"), ("INIT", "started"), ("INIT", "refused")}
        after = [
            at for at, _, t, e, _ in self.lines.lines if at > self.killed_at and (t, e) in done
        ]
        return after[0] if after else None

    def hedged(self) -> int | None:
        """ns from the restart in calm weather to the end of every exposure that the crash left."""
        assert self.killed_at is not None
        until = self._reconciled_at() or self.loop.ns()
        left = [b for a, b in self.truth.spells if a <= until and b > self.killed_at]
        since = self.truth.naked_since
        if since is not None and since <= until:
            return None
        return max([0, *(b - self._calm() for b in left)])


# --- where tasks wait ----------------------------------------------------------------------------

_NAMES: dict[CodeType, str] = {}
_SITES: dict[tuple[CodeType, int], Site] = {}


def _name(code: CodeType) -> str:
    """Return the product file of a code object, or nothing."""
    name = _NAMES.get(code)
    if name is None:
        path = Path(code.co_filename)
        inside = path.is_relative_to(ROOT / "daemon") or path.is_relative_to(ROOT / "exchanges")
        name = _NAMES[code] = path.relative_to(ROOT).as_posix() if inside else ""
    return name


def suspended(coro: Any) -> list[Site]:
    """Return the product expressions at which a suspended coroutine waits, outermost first."""
    found: list[Site] = []
    while isinstance(coro, CoroutineType):
        frame = coro.cr_frame
        if frame is not None and frame.f_lasti >= 0 and coro.cr_await is not None:
            code = frame.f_code
            if _name(code):
                found.append(_site(code, frame.f_lasti))
        coro = coro.cr_await
    return found


def _site(code: CodeType, last: int) -> Site:
    key = code, last
    if key not in _SITES:
        line, _, column, _ = list(code.co_positions())[last // 2]
        _SITES[key] = (_name(code), line or code.co_firstlineno, column or 0)
    return _SITES[key]


# --- running -------------------------------------------------------------------------------------


def live(scenario: Scenario, seed: int, point: Point | None = None) -> CrashWorld:
    """Live through a scenario: recorded without a point, judged with one."""
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108 - memory, if any
    directory = Path(tempfile.mkdtemp(prefix="crash-", dir=base))
    worlds: list[CrashWorld] = []

    def main(loop: SimLoop) -> Coroutine[Any, Any, int]:
        worlds.append(CrashWorld(scenario, seed, point, loop, directory))
        return worlds[0].run()

    try:
        with idling(IDLE):
            simulate(seed, main)
    except AssertionError as bad:
        worlds[0].truth.broken.append(str(bad))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return worlds[0]


def sigterm(at: float) -> Fault:
    """Return a SIGTERM as one of a scenario's faults."""

    def act(stage: Any, *_: object) -> None:
        stage.ask_stop()

    return Fault(Kind("SIGTERM", act), Venue.BACKPACK, at, 0.0, 0)


def dies_on_send(venue: Venue) -> Fault:
    """Return a SIGKILL between an order's sending and its answer (F32) as a scenario's fault."""

    def act(stage: Any, *_: object) -> None:
        stage.kill_on_send = venue

    return Fault(Kind("F32", act), venue, 0.12, 0.0, 0)

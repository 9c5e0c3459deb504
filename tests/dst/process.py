"""The real daemon as a process of the simulated world: started, stalled, killed, started again."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from daemon.app import App, Failed, Purpose
from daemon.clock import SystemClock
from daemon.config import RunConfig, load_config
from daemon.control import ControlServer
from daemon.journal import Journal
from daemon.logs import Logs
from daemon.loop import Loop
from daemon.reconcile import load_world
from exchanges.port import Payload
from strategy.domain import Bps, Draft, Fees, Now, Ns, Venue
from strategy.params import SECOND
from strategy.world import Order, World
from tests.dst.network import Link, NetPort
from tests.simloop import SimLoop

START = 1_790_000_000 * SECOND
"""Unix ns of the world's first moment."""
Field = str | int


class Killed(BaseException):
    """SIGKILL, at a journal commit: nothing of the process runs after it."""


class SimClock(SystemClock):
    """The machine's clocks: the monotonic one is the loop's, the wall clock may step and drift."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self.offset = 0
        self.ppm = 0
        self._since = 0

    def wall(self) -> Ns:
        passed = self._loop.ns() - self._since
        return Ns(START + self._loop.ns() + self.offset + passed * self.ppm // 1_000_000)

    def mono(self) -> Ns:
        return Ns(SECOND + self._loop.ns())

    def drift(self, ppm: int) -> None:
        """Run fast (or slow) from now on, without a step."""
        self.offset = self.wall() - START - self._loop.ns()
        self._since, self.ppm = self._loop.ns(), ppm


@dataclass(slots=True)
class CrashPlan:
    """Where the process dies: at which commit, before or after it, or at which await."""

    commit: int | None = None
    before: bool = False
    step: int | None = None


class SimJournal(Journal):
    """The real journal, which knows what is durable, and may die with its process."""

    def __init__(self, path: Path, now: Ns, crash: CrashPlan, killed: Callable[[], None]) -> None:
        self.commits = 0
        self.durable: set[int] = set()
        self.dead = False
        self.history: list[tuple[str, int, str, int]] = []
        self.on_order: Callable[[Payload, Draft], None] = lambda _p, _d: None
        self._crash = crash
        self._killed = killed
        super().__init__(path, now)
        self.durable = {r.request.client_id for r in self.orders(1 << 30)}

    def commit(self) -> None:
        if self.dead or not self._open:
            return
        self.commits += 1
        mine = self._crash.commit == self.commits
        if mine and self._crash.before:
            self._die()
        super().commit()
        rows = self._db.execute("SELECT client_id FROM orders ORDER BY client_id DESC LIMIT 8")
        self.durable.update(row[0] for row in rows)
        if mine:
            self._die()

    def _die(self) -> None:
        self._killed()
        self.die()  # nobody else knows of it while it is being opened
        raise Killed

    def die(self) -> None:
        """Lose what is not committed, as a power cut would."""
        if self.dead:
            return
        self.dead = True
        if self._open:
            self._db.execute("ROLLBACK")
            self._open = False
        self._db.close()

    def close(self) -> None:
        if not self.dead:
            super().close()

    def order(self, payload: Payload, draft: Draft, wall: Ns) -> None:
        self.on_order(payload, draft)
        super().order(payload, draft, wall)
        self.history.append(("sent", payload.request.client_id, "sent", 0))

    def order_changed(self, order: Order, wall: Ns) -> None:
        super().order_changed(order, wall)
        told = ("changed", int(order.request.client_id), order.state.value, int(order.cum))
        self.history.append(told)


class Lines:
    """The log of all processes of an episode, in memory, with virtual times."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self.lines: list[tuple[int, str, str, str, dict[str, Any]]] = []

    def emit(self, level: str, tag: str, event: str, fields: Mapping[str, Any]) -> None:
        self.lines.append((self._loop.ns(), level, tag, event, dict(fields)))

    def add_secret(self, secret: str) -> None:
        del secret

    def close(self) -> None:
        """Keep everything."""

    def events(self, tag: str, event: str, since: int = 0) -> list[dict[str, Any]]:
        return [f for at, _, t, e, f in self.lines[since:] if (t, e) == (tag, event)]

    def text(self, last: int = 60) -> str:
        return "\n".join(
            f"{at / 1e9:9.3f} {level:7} [{tag}] {event} "
            + " ".join(f"{k}={v}" for k, v in fields.items())
            for at, level, tag, event, fields in self.lines[-last:]
        )


class _NoControl:
    """The control socket of a simulated process: there is none."""

    async def start(self) -> None:
        """Listen to nobody."""

    async def stop(self) -> None:
        """Nothing was opened."""


class SimApp(App):
    """The daemon's own composition, over links instead of sockets."""

    def __init__(
        self, config: RunConfig, lines: Lines, clock: SimClock, purpose: Purpose = Purpose.TRADE
    ) -> None:
        super().__init__(config, cast("Logs", lines), purpose=purpose, clock=clock)
        self.crash = CrashPlan()
        self.on_kill: Callable[[], None] = lambda: None
        self.journal: SimJournal | None = None
        self.nets: dict[Venue, NetPort] = {}
        self.links: Mapping[Venue, Link] = {}
        self.port_class: type[NetPort] = NetPort
        self.loop: Loop | None = None
        self.on_open: Callable[[SimJournal], None] = lambda _: None

    def _open_journal(self, path: Path) -> Journal:
        self.journal = SimJournal(path, self.clock.wall(), self.crash, self.on_kill)
        self.on_open(self.journal)
        return self.journal

    async def _ports(self, journal: Any, tasks: Any, background: Any) -> Any:
        del journal, tasks, background
        self.nets = {venue: self.port_class(link) for venue, link in self.links.items()}
        return self.nets

    def _control(self, loop: Loop) -> ControlServer:
        self.loop = loop
        return cast("ControlServer", _NoControl())

    @staticmethod
    def _settle_memory() -> None:
        """Leave the test's memory alone."""

    async def main(self) -> int:
        """Run as ``daemon.app.run`` does, without signals and lease."""
        try:
            return await self._with_journal()
        except Failed as failed:
            fields: dict[str, Field] = {"why": str(failed), "exit": failed.code}
            self.logs.emit("error", "INIT", "refused", fields)
            return failed.code

    def terminate(self) -> None:
        """SIGTERM."""
        self._signalled()

    def shut(self) -> None:
        """Close every door to the world: the process is dead."""
        for net in self.nets.values():
            net.dead = True
        for link in self.links.values():
            link.detach()
        if self.journal is not None:
            self.journal.die()


def config_of(state_dir: Path, **flags: str) -> RunConfig:
    """Return a live configuration: real restarts, no simulator of the daemon's own."""
    env: dict[str, str] = {
        k: flags.pop(k) for k in ("MAX_POSITION", "MAX_DAILY_LOSS") if k in flags
    }
    given = {"ticker": "ETH", "state_dir": str(state_dir), "log_file": "-"} | flags
    config = load_config(given, env, cwd=state_dir, terminal=False)
    return replace(config, venues="live")


def seed_cycle(path: Path, iteration: int) -> None:
    """Make a fresh journal begin at an iteration: even ones build short."""
    journal = Journal(path, Ns(START))
    journal.put_meta("cycle", json.dumps({"iteration": iteration, "phase": "build"}))
    journal.put_meta("running", "1")
    journal.close()


def from_scratch(path: Path, world: World, at: Now) -> World:
    """Fold a journal's rows anew, with the instruments and fees of a world."""
    journal = Journal(path, at.wall)
    try:
        rules = {v: leg.instrument for v, leg in world.legs.items()}
        fees = {v: _fees(v, world) for v in world.legs}
        return load_world(journal, rules, fees, at)
    finally:
        with suppress(sqlite3.Error):
            journal.close()


def _fees(venue: Venue, world: World) -> Fees:
    leg = world.legs[venue]
    return Fees(venue, Bps(leg.maker_fee), Bps(leg.taker_fee))

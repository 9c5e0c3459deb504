"""Runs ``hedged`` with a crash point in it: a test-only door, no switch of the program.

One parent imports everything once and forks a child for each run, told on standard input as a JSON
line: ``argv``, ``env``, ``cwd``, ``out`` (a file for both outputs) and ``plan``. It answers with
the child's ``pid``, and with its ``status`` once it has ended.

A plan names one thing that happens to the process, counted from its start or, with ``armed`` =
``ready``, from the moment it says that it is ready. SIGKILL to itself: ``commit`` n (``before`` it
or after), ``step`` n (the n-th suspension of any task), ``site`` and ``n`` (the n-th suspension at
one ``await``), ``fill`` n (a fill has left exposure), ``order`` n (a hedge's row is durable, its
bytes not sent), ``sent`` n (its bytes are on their way). Else: ``full`` n and ``ioerr`` n (from the
n-th commit on the journal's file takes no more pages, or no more bytes), ``memory`` n (no memory is
left at the n-th commit), ``block`` n with ``seconds`` (a call blocks the loop after the n-th
commit), ``leak`` n (an error with every secret in its text), ``record`` (a file for the sites
reached), ``set`` (other values for names of modules).
"""

import asyncio
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Coroutine, Generator
from pathlib import Path
from select import select
from typing import Any

import uvloop

from daemon import cli, guard
from daemon.app import App
from daemon.core import Core
from daemon.journal import Journal
from daemon.notify import Notifier
from exchanges.port import Payload
from strategy.domain import Draft, Ns, Venue
from strategy.events import Event

ROOT = Path(__file__).parents[2]
SECRETS = ("BACKPACK_SECRET_KEY", "GRVT_API_KEY", "GRVT_PRIVATE_KEY")
Plan = dict[str, Any]


class Crash:
    """What shall happen, and how far the process is."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.armed = plan.get("armed", "start") == "start"
        self.commits = self.steps = self.fills = self.orders = 0
        self.sites: Counter[str] = Counter()

    def die(self) -> None:
        if self.plan.get("record"):
            Path(self.plan["record"]).write_text(json.dumps(self.sites))
        os.kill(os.getpid(), signal.SIGKILL)

    def suspended(self, coroutine: Any) -> None:
        """One task reached an ``await`` that really waits."""
        if not self.armed:
            return
        self.steps += 1
        if self.steps == self.plan.get("step"):
            self.die()
        if "site" in self.plan or "record" in self.plan:
            site = _site(coroutine)
            self.sites[site] += 1
            if site == self.plan.get("site") and self.sites[site] == self.plan.get("n", 1):
                self.die()
        if self.plan.get("record") and self.steps % 50 == 0:
            Path(self.plan["record"]).write_text(json.dumps(self.sites))

    def committing(self, journal: Journal) -> None:
        """The journal is about to commit."""
        if not self.armed:
            return
        self.commits += 1
        if self.commits == self.plan.get("commit") and self.plan.get("before"):
            self.die()
        if self.commits == self.plan.get("full"):
            pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
            journal._db.execute(f"PRAGMA max_page_count={pages}")
        if self.commits == self.plan.get("leak"):
            raise ValueError(" ".join(os.environ[name] for name in SECRETS))
        if self.commits == self.plan.get("memory"):
            resource.setrlimit(resource.RLIMIT_AS, (1, resource.RLIM_INFINITY))
            assert bytearray(1 << 28), "there was memory left"
        if self.commits == self.plan.get("ioerr"):
            grown = journal.path.with_name(f"{journal.path.name}-wal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (grown, resource.RLIM_INFINITY))

    def committed(self) -> None:
        if not self.armed:
            return
        if self.commits == self.plan.get("commit"):
            self.die()
        if self.commits == self.plan.get("block"):
            time.sleep(self.plan["seconds"])  # noqa: TID251 - the fault: a call that blocks the loop

    def folded(self, before: int, after: int) -> None:
        """The core folded an event; the net exposure was and is."""
        if self.armed and after and not before:
            self.fills += 1
            if self.fills == self.plan.get("fill"):
                self.die()

    def journalled(self, payload: Payload) -> None:
        """An order's row is durable; nothing has left yet."""
        if self.armed and payload.request.venue is Venue.GRVT:
            self.orders += 1
            if self.orders == self.plan.get("order"):
                self.die()
            if self.orders == self.plan.get("sent"):
                asyncio.get_running_loop().call_later(SENT, self.die)


SENT = 0.15
"""Seconds after which an order's bytes are with the venue, and a slow answer is not yet back."""


def _site(coroutine: Any) -> str:
    """Return the chain of our own lines at which a coroutine waits, innermost last."""
    found: list[str] = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None)
        if frame is not None and frame.f_code.co_filename.startswith(str(ROOT)):
            name = Path(frame.f_code.co_filename).relative_to(ROOT).as_posix()
            if not name.startswith((".", "tests")):
                found.append(f"{name}:{frame.f_lineno}")
        coroutine = getattr(coroutine, "cr_await", None)
    return " ".join(found[-3:]) or "elsewhere"


class Counted(Coroutine[Any, Any, Any]):
    """A coroutine that tells each of its suspensions."""

    def __init__(self, inner: Any, crash: Crash) -> None:
        self._inner = inner
        self._crash = crash

    def send(self, value: Any) -> Any:
        told = self._inner.send(value)
        self._crash.suspended(self._inner)
        return told

    def throw(self, *what: Any) -> Any:
        told = self._inner.throw(*what)
        self._crash.suspended(self._inner)
        return told

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self._inner.__await__())


def install(crash: Crash) -> None:  # noqa: C901 - one hook beside the other
    """Put the hooks in: this process is a child that runs once."""
    commit, ready, run = Journal.commit, Notifier.ready, App.run
    fold_one, order = Core.on, Journal.order

    def counted_on(self: Core, event: Event) -> None:
        before = self.world.net
        fold_one(self, event)
        crash.folded(before, self.world.net)

    def counted_order(self: Journal, payload: Payload, draft: Draft, wall: Ns) -> None:
        order(self, payload, draft, wall)
        crash.journalled(payload)

    def counted_commit(self: Journal) -> None:
        pending = self._open
        if pending:
            crash.committing(self)
        commit(self)
        if pending:
            crash.committed()

    def armed(self: Notifier) -> None:
        ready(self)
        crash.armed = True

    def factory(loop: Any, coro: Any, **rest: Any) -> asyncio.Task[Any]:
        return asyncio.Task(Counted(coro, crash), loop=loop, **rest)

    async def counted_run(self: App) -> int:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        return await loop.create_task(run(self))

    Core.on = counted_on  # type: ignore[method-assign]
    Journal.order = counted_order  # type: ignore[method-assign]
    Journal.commit = counted_commit  # type: ignore[method-assign]
    Notifier.ready = armed  # type: ignore[method-assign]
    App.run = counted_run  # type: ignore[method-assign]


def child(order: dict[str, Any]) -> int:
    """Become one run of the program."""
    out = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(out, number)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # a shell's background jobs ignore it
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    for name, value in order["plan"].get("set", {}).items():
        module, _, attribute = name.rpartition(".")
        setattr(importlib.import_module(module), attribute, value)
    if order["plan"]:
        install(Crash(order["plan"]))
    if order["argv"][0] == "guard":
        return guard.main(order["argv"][1:])
    return cli.main(order["argv"])


def fork(order: dict[str, Any]) -> int:
    """Start a child; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        code = child(order)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 70
    finally:
        sys.stdout.flush()
        os._exit(code)


def tell(**fields: int) -> None:
    os.write(1, f"{json.dumps(fields)}\n".encode())


def main() -> None:
    """Fork a child for every line, until standard input ends; then end with the last child."""
    assert uvloop is not None
    running: set[int] = set()
    text, reading = b"", True
    while reading or running:
        if reading and select([0], [], [], 0.02)[0]:
            read = os.read(0, 65536)
            reading, text = bool(read), text + read
            *lines, text = text.split(b"\n")
            for line in lines:
                pid = fork(json.loads(line))
                running.add(pid)
                tell(pid=pid)
        while running:
            pid, status = os.waitpid(-1, 0 if not reading else os.WNOHANG)
            if not pid:
                break
            running.discard(pid)
            tell(pid=pid, status=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()

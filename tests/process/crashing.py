"""The other side of ``tests.process.crash``: starts runs with crash points, and judges them."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.process.programs import PATIENCE, ROOT, Simulator, environment

NAKED = 0.01
"""The smallest exposure that the hedge venue trades."""


@dataclass(slots=True)
class Run:
    """One run of the program that is under way, or has ended."""

    pid: int
    began: float
    folder: Path
    status: int | None = None
    ended: float = 0.0

    def said(self) -> str:
        return (self.folder / "out.txt").read_text()


class Crasher:
    """The parent that forks runs."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.process.crash"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )
        self._asked: queue.Queue[Run] = queue.Queue()
        self._begun: queue.Queue[int] = queue.Queue()
        self._runs: dict[int, Run] = {}
        self._ears = threading.Thread(target=self._hear, daemon=True)
        self._ears.start()

    def _hear(self) -> None:
        assert self._parent.stdout is not None
        for line in self._parent.stdout:
            told = json.loads(line)
            if "status" not in told:
                run = self._runs[told["pid"]] = self._asked.get()
                run.pid = told["pid"]
                self._begun.put(run.pid)
                continue
            run = self._runs[told["pid"]]
            run.ended = time.monotonic()
            run.status = told["status"]

    def start(
        self, folder: Path, *argv: str, env: dict[str, str], plan: dict[str, Any] | None = None
    ) -> Run:
        """Start a run; its outputs go to ``out.txt`` of its folder, anew."""
        folder.mkdir(exist_ok=True)
        (folder / "out.txt").write_text("")
        order = {
            "argv": argv,
            "env": env,
            "cwd": str(folder),
            "out": str(folder / "out.txt"),
            "plan": plan or {},
        }
        run = Run(0, time.monotonic(), folder)
        assert self._parent.stdin is not None
        self._asked.put(run)
        self._parent.stdin.write(f"{json.dumps(order)}\n".encode())
        self._parent.stdin.flush()
        self._begun.get(timeout=10 * PATIENCE)
        return run

    def kill_left(self, folder: Path) -> None:
        """End what still runs below a folder: a test that failed leaves it behind."""
        for run in list(self._runs.values()):
            if run.status is None and folder in (run.folder, *run.folder.parents):
                os.kill(run.pid, signal.SIGKILL)
                finished(run, 10)

    def close(self) -> None:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._ears.join(20 * PATIENCE)
        self._parent.wait(20 * PATIENCE)
        self._parent.stdout.close()


class Venues(Simulator):
    """``hedged simulate``, forked."""

    def __init__(self, crasher: Crasher, folder: Path, *flags: str) -> None:
        self.run = crasher.start(folder, "simulate", *flags, env=environment())
        said(self.run, "\n", 20)
        self.ready = json.loads(self.run.said().splitlines()[0])
        self.control = self.ready["control"]

    def close(self) -> int:
        os.kill(self.run.pid, signal.SIGTERM)
        return finished(self.run, 20)


def finished(run: Run, limit: float) -> int:
    """Wait for a run's end; its exit code, or minus the signal that ended it."""
    deadline = time.monotonic() + limit * PATIENCE
    while run.status is None:
        assert time.monotonic() < deadline, (
            f"still running after {limit * PATIENCE} s:\n{run.said()[-3000:]}"
        )
        time.sleep(0.02)  # noqa: TID251 - a test process waits for another
    return run.status


def said(run: Run, what: str, limit: float) -> float:
    """Wait until a run has written something; returns the seconds since its start."""
    deadline = time.monotonic() + limit * PATIENCE
    while what not in run.said():
        assert run.status is None or what in run.said(), (
            f"ended with {run.status} before {what!r}:\n{run.said()[-3000:]}"
        )
        assert time.monotonic() < deadline, (
            f"no {what!r} in {limit * PATIENCE} s:\n{run.said()[-3000:]}"
        )
        time.sleep(0.02)  # noqa: TID251 - a test process waits for another
    return time.monotonic() - run.began


@dataclass(frozen=True, slots=True)
class Truth:
    """What the venues' own books say of a whole test."""

    worst_net: float
    """Base units."""
    longest_naked: float
    """Seconds with an exposure that the hedge venue would trade, the restarts included."""
    doubled: tuple[str, ...]
    """Client ids that an engine took more than once."""
    orders: int
    spells: tuple[tuple[int, int], ...] = ()
    """(from, to), Unix ns: when such an exposure stood."""


def truth(simulator: Simulator, after: int = 0) -> Truth:
    """Replay every order of the simulator's own record, or those after the first so many."""
    rows = simulator.ask("/audit")["orders"][after:]
    events = sorted(
        (int(r["last_fill_at"]), float(r["filled"]) * (1 if r["side"] == "buy" else -1))
        for r in rows
        if float(r["filled"])
    )
    net = worst = longest = 0.0
    since: int | None = None
    spells: list[tuple[int, int]] = []
    for at, size in events:
        if since is not None:
            longest = max(longest, (at - since) / 1e9)
        net += size
        worst = max(worst, abs(net))
        naked = abs(net) >= NAKED - 1e-9
        if since is not None and not naked:
            spells.append((since, at))
        since = (at if since is None else since) if naked else None
    ids = [(r["venue"], r["client_id"]) for r in rows]
    doubled = tuple(sorted({str(i[1]) for i in ids if ids.count(i) > 1}))
    return Truth(worst, longest, doubled, len(rows), tuple(spells))

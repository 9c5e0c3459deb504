"""The program as its users run it: real processes on loopback, judged by the simulator's books."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon.assembly import live_environment

ROOT = Path(__file__).parents[2]
HEDGED = [sys.executable, "-m", "daemon"]
PATIENCE = 4
"""Waits are as many times longer than an idle machine needs: they cost nothing when all is well."""


def slack() -> float:
    """Return how many times longer than on an idle machine anything may take now, at least 1.

    For figures of wall time: with more runnable processes than processors each gets its share.
    """
    return max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1))


OVERLOADED = 6
"""Slack beyond which the venues' own time-outs run out for want of a processor."""


def environment(**extra: str) -> dict[str, str]:
    names = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "COVERAGE_PROCESS_CONFIG")
    kept = {k: v for k, v in os.environ.items() if k in names}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", **extra}


class Simulator:
    """``hedged simulate`` in its own process."""

    def __init__(self, *flags: str) -> None:
        self.process = subprocess.Popen(
            [*HEDGED, "simulate", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.ready: dict[str, Any] = json.loads(line)
        self.control: str = self.ready["control"]

    def ask(self, path: str, method: str = "GET", body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control + path, data=data, method=method)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=10 * PATIENCE) as answer:  # noqa: S310 - loopback
            return json.loads(answer.read())

    def positions(self) -> tuple[str, str]:
        state = self.ask("/state")
        return state["backpack"]["position"], state["grvt"]["position"]

    def net(self) -> float:
        return sum(float(p) for p in self.positions())

    def environment(self, **extra: str) -> dict[str, str]:
        return environment(**live_environment(self.ready), **extra)

    def close(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20 * PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


def hedged(
    folder: Path, *flags: str, env: dict[str, str] | None = None, limit: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run to the end; the log goes to stdout in console format."""
    return subprocess.run(
        [*HEDGED, *flags],
        cwd=folder,
        env=environment() if env is None else env,
        capture_output=True,
        text=True,
        timeout=limit * PATIENCE,
        check=False,
    )


STARTED: list[subprocess.Popen[str]] = []
"""Daemons of the test that runs; none is left behind."""


def start(folder: Path, *flags: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start in the background, writing to ``out.txt``."""
    out = (folder / "out.txt").open("a")
    with out:
        process = subprocess.Popen(
            [*HEDGED, *flags],
            cwd=folder,
            env=environment() if env is None else env,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
        )
    STARTED.append(process)
    return process


def holding(simulator: Simulator, folder: Path, *flags: str) -> subprocess.Popen[str]:
    """Start a daemon that builds a pair of 0.5 and holds it; returns once both legs stand."""
    env = simulator.environment()
    process = start(folder, *flags, "--size", "0.5", "--sleep", "600", env=env)
    until(lambda: simulator.positions() == ("0.5", "-0.5"), 60, "a hedged position")
    return process


def until(condition: Callable[[], bool], limit: float, what: str) -> None:
    deadline = time.monotonic() + limit * PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)  # noqa: TID251 - a test process waits for another
    raise AssertionError(f"not within {limit * PATIENCE} s: {what}")

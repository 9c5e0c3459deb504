"""``hedged bench latency``: from a fill's bytes coming in to the signed hedge order's going out.

The simulated venues, the client and this process, which relays between them and holds the watch,
are three processes on loopback. The clients are the daemon as it trades, once with its journal on
the disk and once on a file system in memory, where a durable commit costs nothing, and the same
hedge as plain grvt-pysdk sends it (``sdk_hedger``). They take turns, so that a noisy machine is
noisy to all of them: compare within one run.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from daemon.assembly import live_environment
from daemon.bench.tap import Stopwatch, Tap

DISK, MEMORY, SDK = "hedged", "hedged_without_commit", "sdk"
VENUES = ("simulate",)
ROUNDS = 2
LIMIT = 600.0
"""Seconds that one client may take for its share of the samples."""
LEAVE = 15.0
SHM = Path("/dev/shm")  # noqa: S108 - a file system in memory is the point
PATHS = (DISK, MEMORY, SDK) if SHM.is_dir() else (DISK, SDK)
DAEMON = (
    "run", "--ticker", "ETH", "--size", "0.1", "--venues", "live", "--primary-mode", "aggressive",
    "--hedge-mode", "market", "--log-file", "-", "--log-format", "json",
)  # fmt: skip
KEPT = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "PYTHONPATH")


class BenchFailed(Exception):  # noqa: N818 - named by what happened
    """A client made no samples; one clear line."""


async def measure(samples: int) -> dict[str, Any]:
    """Run every client in turn; returns the report, in µs.

    Raises:
        BenchFailed: a process ended early, or made too few samples in time.
    """
    watches = {name: Stopwatch() for name in PATHS}
    for turn in range(1, ROUNDS + 1):
        for name, watch in watches.items():
            if len(watch.took) >= samples * turn // ROUNDS:
                continue
            async with _venues() as ready:  # new ones: nobody adopts what another client left
                await _client(name, ready, watch, samples * turn // ROUNDS)
    return report({name: watch.took for name, watch in watches.items()})


def report(took: Mapping[str, list[int]]) -> dict[str, Any]:
    """Return the figures: µs by path, and how many times longer the SDK takes."""
    told: dict[str, Any] = {name: _figures(values) for name, values in took.items()}
    told["ratio_p50"] = round(told[SDK]["p50"] / told[DISK]["p50"], 2)
    return told


def _figures(values: list[int]) -> dict[str, float | int]:
    ranked = sorted(values)
    p50, p99 = (ranked[min(len(ranked) * q // 100, len(ranked) - 1)] for q in (50, 99))
    return {"p50": round(p50 / 1000, 1), "p99": round(p99 / 1000, 1), "n": len(ranked)}


def text(told: Mapping[str, Any]) -> str:
    """Render the report."""
    lines = ["fill bytes in to signed order bytes out, µs on loopback\n"]
    lines.append(f"{'path':<24}{'p50':>10}{'p99':>10}{'n':>8}\n")
    lines += [
        f"{name:<24}{row['p50']:>10.1f}{row['p99']:>10.1f}{row['n']:>8}\n"
        for name, row in told.items()
        if name != "ratio_p50"
    ]
    if MEMORY not in told:
        lines.append(f"{MEMORY} was left out: no file system in memory at {SHM}\n")
    lines.append(f"plain grvt-pysdk takes {told['ratio_p50']} times as long at the median\n")
    return "".join(lines)


@asynccontextmanager
async def _venues() -> AsyncIterator[Mapping[str, Any]]:
    async with _process(*VENUES) as simulator:
        line = b"" if simulator.stdout is None else await simulator.stdout.readline()
        if not line:
            raise BenchFailed("hedged simulate did not start")
        yield json.loads(line)


async def _client(name: str, ready: Mapping[str, Any], watch: Stopwatch, goal: int) -> None:
    """Let one client trade until it has made its samples."""
    grvt = Tap(ready["grvt"]["trades"], lambda _: None, watch.order)
    backpack = Tap(ready["backpack"]["ws"], watch.fill, lambda _: None)
    env = _environment(ready, await grvt.open(), await backpack.open())
    watch.forget()
    where = str(SHM) if name == MEMORY else None
    with tempfile.TemporaryDirectory(prefix="hedged-bench-", dir=where) as folder:
        words = () if name == SDK else (*DAEMON, "--state-dir", folder)
        module = "daemon.bench.sdk_hedger" if name == SDK else "daemon"
        async with _process(*words, module=module, env=env) as client:
            await _until(watch, goal, client, name)
    del watch.took[goal:]  # what it did while it was leaving
    for tap in (grvt, backpack):
        await tap.close()


async def _until(
    watch: Stopwatch, goal: int, client: asyncio.subprocess.Process, name: str
) -> None:
    try:
        async with asyncio.timeout(LIMIT):
            while len(watch.took) < goal:
                await asyncio.sleep(0.1)
                if client.returncode is not None:
                    raise BenchFailed(f"{name} ended with exit {client.returncode}")
    except TimeoutError as late:
        raise BenchFailed(f"{name}: {len(watch.took)} of {goal} samples in time") from late


@asynccontextmanager
async def _process(
    *words: str, module: str = "daemon", env: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module of ours; SIGTERM at the end, and SIGKILL to what does not leave."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    run = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", module, *words),
        stdout=asyncio.subprocess.PIPE if env is None else asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=kept | dict(env or {}),
    )
    try:
        yield run
    finally:
        if run.returncode is None:
            run.terminate()
        try:
            async with asyncio.timeout(LEAVE):
                await run.wait()
        except TimeoutError:
            run.kill()
            await run.wait()


def _environment(ready: Mapping[str, Any], grvt_at: str, backpack_at: str) -> dict[str, str]:
    """Return a client's: orders and Backpack's socket go through the taps, the rest does not."""
    through = {"BACKPACK_WS_URL": f"ws://{backpack_at}", "GRVT_TRADES_URL": f"http://{grvt_at}"}
    return live_environment(ready) | through | {"MAX_DAILY_LOSS": "1000000"}

"""``hedged simulate``: both venues on local sockets until SIGTERM."""

import argparse
import asyncio
import gc
import json
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from daemon import config_values as v
from daemon.config import EXIT_CONFIG, EXIT_USAGE, ConfigError
from exchanges.simulator.host import SimConfig, SimHost
from exchanges.simulator.latency import LatencyModel
from exchanges.simulator.roster import MOST_ACCOUNTS

MAX_PORT = 65_535
_GC_THRESHOLDS = (10_000, 20, 100)
"""Rarely: orders and books are no cycles, and what is grows slowly."""


def settings(args: argparse.Namespace) -> SimConfig:
    """Check the flags.

    Raises:
        ConfigError: one line naming the flag (exit 2).
    """
    port = partial(v.count, most=MAX_PORT)
    return SimConfig(
        ticker=_take(args, "ticker", v.ticker),
        book=_take(args, "book", v.plain_text),
        seed=_take(args, "seed", partial(v.count, most=(1 << 63) - 1)),
        speed=_take(args, "speed", v.speed),
        host=_take(args, "host", v.plain_text),
        grvt_port=_take(args, "grvt_port", port),
        backpack_port=_take(args, "backpack_port", port),
        control_port=_take(args, "control_port", port),
        switches=tuple(args.switch),
        latency=_take(args, "latency", LatencyModel.parse),
        message_log=_take(args, "message_log", v.plain_text),
        accounts=_take(args, "accounts", partial(v.count, least=1, most=MOST_ACCOUNTS)),
    )


async def simulate(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    When every listener is up, one JSON line on standard output tells addresses and keys
    (contract section 5).

    Raises:
        ConfigError: a flag, the book file, or a port that cannot be used.
    """
    host = SimHost(settings(args))
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        ready = await host.start()
    except ValueError as bad:
        raise ConfigError(EXIT_CONFIG, str(bad)) from bad
    except OSError as bad:
        await host.stop()
        raise ConfigError(
            EXIT_CONFIG, f"--host {args.host}: cannot listen ({bad.strerror}); try port 0"
        ) from bad
    # A full collection over everything that was imported stalls the loop for 100 ms.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    line = ready.as_dict()
    sys.stdout.write(json.dumps(line if "event" in line else {"event": "ready"} | line) + "\n")
    sys.stdout.flush()
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(host.run_forever())
            await stopped.wait()
            running.cancel()
    finally:
        await host.stop()
    return 0


def _take(args: argparse.Namespace, name: str, parse: Callable[[str], Any]) -> Any:
    text = getattr(args, name)
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as bad:
        flag = name.replace("_", "-")
        raise ConfigError(EXIT_USAGE, f"--{flag} {text!r}: {bad}") from bad

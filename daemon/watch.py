"""``hedged watch``: the status of a running daemon, drawn again and again. It only ever asks."""

import argparse
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from daemon.admin import EXIT_OK, EXIT_UNREACHABLE
from daemon.config import EXIT_USAGE, ConfigError, resolve_state_dir
from daemon.control import ControlFailed, DaemonNotRunning, ask

LEAST, MOST = Decimal("0.1"), Decimal(3600)
CLEAR = "\x1b[H\x1b[2J"
TIMEOUT = 2.0
LEG = "{:<9}{:>12}{:>12}{:>9}{:>12}{:>12}{:>8}  {:<12}"
ORDER = "{:<12}{:<10}{:<10}{:<5}{:>10}{:>10}{:>12}{:>8}  {}"


def watch(args: argparse.Namespace) -> int:
    """Draw until the daemon has ended or Ctrl-C; 75 when none runs.

    On a terminal the screen is drawn over; elsewhere each look is written below the last one.
    """
    state_dir = resolve_state_dir(args.state_dir, os.environ)
    wait = float(_interval(args.interval))
    return follow(
        lambda: ask(state_dir, "status", timeout=TIMEOUT),
        threading.Event().wait,
        wait,
        CLEAR if sys.stdout.isatty() else "",
    )


def follow(
    look: Callable[[], Mapping[str, Any]],
    pause: Callable[[float], object],
    wait: float,
    clear: str,
) -> int:
    """Look, draw and pause, until nobody answers any more."""
    drawn = False
    while True:
        try:
            text = "\n".join(lines(look()["status"]))
        except DaemonNotRunning as gone:
            if not drawn:
                sys.stderr.write(f"hedged: {gone}; `hedged status` shows what its journal says\n")
                return EXIT_UNREACHABLE
            sys.stdout.write("the daemon has ended: `hedged status` shows what it left\n")
            return EXIT_OK
        except ControlFailed as failed:  # busy, or just leaving: the next look tells
            text = str(failed)
        drawn = True
        sys.stdout.write(f"{clear}{text}\n")
        sys.stdout.flush()
        pause(wait)


def _interval(text: str) -> Decimal:
    refused = ConfigError(EXIT_USAGE, f"--interval {text!r}: use {LEAST} to {MOST} seconds")
    try:
        value = Decimal(text)
        if LEAST <= value <= MOST:
            return value
    except InvalidOperation as bad:  # no number, or not a number
        raise refused from bad
    raise refused


def lines(shown: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of one look: the state, both legs, live orders, what is wrong."""
    why = f" ({shown['reason']})" if shown["reason"] else ""
    stopping = ", stopping" if shown["stopping"] else ""
    yield (
        f"{shown['mode']}{why}{stopping}  iteration {shown['iteration']} {shown['phase']}  "
        f"day {shown['day']} pnl {_or_unknown(shown['day_pnl'])}"
    )
    yield (
        f"net {shown['net']}  naked {shown['naked_ms']} ms  hedge {shown['hedge'] or 'none'}  "
        f"in doubt {shown['in_doubt']}"
    )
    yield ""
    yield LEG.format("venue", "position", "stated", "age ms", "bid", "ask", "age ms", "streams")
    for venue, leg in shown["legs"].items():
        yield _leg(venue, leg)
    if shown["orders"]:
        yield ""
        yield ORDER.format(
            "order", "venue", "purpose", "side", "qty", "filled", "price", "age ms", "state"
        )
        for order in shown["orders"]:
            named = ("order", "venue", "purpose", "side", "qty", "filled", "price", "age_ms")
            yield ORDER.format(*(str(order[n]) for n in named), order["state"])
    for alert in shown["alerts"]:
        yield f"! {alert}"


def _leg(venue: str, leg: Mapping[str, Any]) -> str:
    named = ("position", "venue_position", "venue_position_age_ms", "bid", "ask", "book_age_ms")
    streams = f"{leg['public_stream']}/{leg['private_stream']}"
    return LEG.format(venue, *(_or_unknown(leg[n]) for n in named), streams).rstrip()


def _or_unknown(value: object) -> str:
    return "?" if value is None else str(value)

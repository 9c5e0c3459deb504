"""The operator's commands: over the control socket, or on the journal of a dead daemon."""

import argparse
import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from daemon.config import EXIT_USAGE, ConfigError, RunConfig, load_config, resolve_state_dir
from daemon.control import ControlFailed, DaemonNotRunning, ask
from daemon.journal_file import JournalError
from daemon.lease import EXIT_LEASE, Lease, LeaseHeld
from safety.reasons import Reason
from strategy.domain import Mode

EXIT_OK = 0
EXIT_UNREACHABLE = 75
EXIT_HALTED = 77
OPERATOR = Reason.HALT.value
FLATTEN_LIMIT = 90.0
POLL = 0.25
LEASE_TRIES = 8
"""Looks at a lease that is held, before it counts as a daemon's."""
SILENCE = 20
"""Unanswered looks at a daemon before it counts as stuck."""


class OfflineState(Protocol):
    """A dead daemon's journal; ``daemon.offline.open_offline(state_dir, venues)`` gives one."""

    def latch(self) -> tuple[str, str]:
        """Return the mode's name and the reason, empty while RUNNING."""
        ...

    def clear_latch(self) -> None:
        """Put the latch back to RUNNING, durably."""
        ...

    def set_latch(self, state: str, reason: str) -> None:
        """Set the latch, durably."""
        ...

    def summary(self) -> dict[str, Any]:
        """Return ``ticker``, ``venues`` and ``legs`` (position text by venue), as journalled."""
        ...

    def residual(self) -> str:
        """Return what both venues still held when the last run ended latched; empty for flat."""
        ...

    def close(self) -> None:
        """Release the journal."""
        ...


def newest(state_dir: Path) -> Path:
    """Return the journal that was written last."""
    return max(state_dir.glob("*.db"), key=lambda path: path.stat().st_mtime_ns)


@contextmanager
def offline(state_dir: Path, venues: str | None) -> Iterator[OfflineState]:
    """Open the journal of a state directory, lease held; ``venues`` None takes the last used.

    Raises:
        ConfigError: there is none.
        LeaseHeld: a daemon is starting, or does not answer.
    """
    if not any(state_dir.glob("*.db")):
        raise ConfigError(
            EXIT_USAGE, f"--state-dir {state_dir}: no journal there; name the daemon's directory"
        )
    with _lease(state_dir):
        state: OfflineState = importlib.import_module("daemon.offline").open_offline(
            state_dir, venues
        )
        try:
            yield state
        finally:
            state.close()


def _lease(state_dir: Path) -> Lease:
    """Take the lease; another command that looks into the journal holds it for a moment only."""
    pause = threading.Event()
    for _ in range(LEASE_TRIES):
        try:
            return Lease(state_dir)
        except LeaseHeld:
            pause.wait(POLL)
    return Lease(state_dir)


def status(args: argparse.Namespace) -> int:
    """Show one look at the daemon; exit 75 when none runs."""
    state_dir = resolve_state_dir(args.state_dir, os.environ)
    try:
        shown = {"running": True} | _answer(ask(state_dir, "status"))["status"]
        code = EXIT_OK
    except DaemonNotRunning:
        with offline(state_dir, args.venues) as state:
            mode, reason = state.latch()
            shown = {"running": False, "mode": mode, "reason": reason} | state.summary()
        code = EXIT_UNREACHABLE
    _say(json.dumps(shown, indent=2) if args.json else "\n".join(_lines(shown)))
    return code


def halt(args: argparse.Namespace) -> int:
    """Latch HALTED: nothing is sent until an operator resumes. Positions stay."""
    state_dir = resolve_state_dir(args.state_dir, os.environ)
    try:
        _say(_answer(ask(state_dir, "halt"))["said"])
    except DaemonNotRunning:
        with offline(state_dir, args.venues) as state:
            state.set_latch(Mode.HALTED.name, OPERATOR)
        _say("halted: no daemon runs, and none will trade here until `hedged resume`")
    return EXIT_OK


def resume(args: argparse.Namespace) -> int:
    """Clear the latch after asking; the next start trades again."""
    state_dir = resolve_state_dir(args.state_dir, os.environ)
    try:
        _say(
            _answer(
                ask(state_dir, "resume", confirmed=_agreed(args, _clear("the running daemon")))
            )["said"]
        )
    except DaemonNotRunning:
        with offline(state_dir, args.venues) as state:
            mode, reason = state.latch()
            if mode == Mode.RUNNING.name:
                _say("nothing to resume: no latch is set")
                return EXIT_OK
            _agreed(args, _clear(f"{mode} ({reason})"))
            state.clear_latch()
        _say(f"resumed: {mode} ({reason}) is cleared; start the daemon to trade")
    return EXIT_OK


def flatten(args: argparse.Namespace, run: Callable[[RunConfig], int]) -> int:
    """Close both legs and wait until they are; with no daemon, ``run`` does it here."""
    state_dir = resolve_state_dir(args.state_dir, os.environ)
    try:
        _say(_answer(ask(state_dir, "flatten"))["said"])
        return _watch_flatten(state_dir, args.venues)
    except DaemonNotRunning:
        config = _closing_config(args, state_dir)
    code = run(config)
    if code not in (EXIT_OK, EXIT_HALTED):
        return code
    return _verdict(state_dir, config.venues)


def adopt(args: argparse.Namespace, run: Callable[[RunConfig], int]) -> int:
    """Take what both venues hold into the books after asking; ``run`` does it here (F75, F76)."""
    state_dir = resolve_state_dir(args.state_dir, os.environ)
    _no_daemon(state_dir)
    config = _closing_config(args, state_dir)
    if config.venues != "live":
        line = f"--venues {config.venues}: simulated positions end with their process; use live"
        raise ConfigError(EXIT_USAGE, line)
    _agreed(args, "Take whatever both venues hold into the books, to be hedged and closed")
    code = run(config)
    if code == EXIT_OK:
        with offline(state_dir, config.venues) as state:
            legs: Mapping[str, str] = state.summary()["legs"]
            mode, reason = state.latch()
        _say(f"the books agree with both venues: {_named(legs)}")
        if mode != Mode.RUNNING.name:
            _say(f"still latched {mode} ({reason}): `hedged resume`, then start the daemon")
    return code


def _no_daemon(state_dir: Path) -> None:
    try:
        ask(state_dir, "status")
    except DaemonNotRunning:
        return
    line = "a daemon runs and keeps its own books: stop it first (systemctl stop hedged@TICKER)"
    raise ConfigError(EXIT_LEASE, f"adopt: {line}")


def _named(legs: Mapping[str, str]) -> str:
    return ", ".join(f"{venue} {position}" for venue, position in legs.items())


def _watch_flatten(state_dir: Path, venues: str | None) -> int:
    """Follow the daemon until it has ended: it does so once both venues confirm flat."""
    deadline = time.monotonic() + FLATTEN_LIMIT
    silent = 0
    pause = threading.Event()
    while time.monotonic() < deadline and silent < SILENCE:
        try:
            ask(state_dir, "status", timeout=2.0)
            silent = 0
        except DaemonNotRunning:
            return _verdict(state_dir, venues)
        except ControlFailed:  # leaving, or busy: look again
            silent += 1
        pause.wait(POLL)
    _say("not flat yet: see `hedged status` and the log; the daemon keeps trying")
    return EXIT_HALTED


def _verdict(state_dir: Path, venues: str | None) -> int:
    """Say what the journal holds once the daemon has ended; 0 only when it is flat."""
    with offline(state_dir, venues) as state:
        legs: Mapping[str, str] = state.summary()["legs"]
        reason = state.latch()[1]
        proved = state.residual()
    if proved or "residual" in reason:
        _say(f"NOT flat: {proved or reason}; look at both web sites, then flatten again")
        return EXIT_HALTED
    left = {venue: position for venue, position in legs.items() if position != "0"}
    if not left:
        _say("flat: both venues confirm; latched until `hedged resume`")
        return EXIT_OK
    _say(f"NOT flat: {_named(left)}; close it by hand, or run `hedged flatten` again")
    return EXIT_HALTED


def _closing_config(args: argparse.Namespace, state_dir: Path) -> RunConfig:
    """Build the run that opens nothing, with the journal's ticker and mode where not given."""
    flags: dict[str, str | None] = dict(vars(args))
    last: dict[str, Any] = {}
    try:
        if not (args.ticker and args.venues):
            with offline(state_dir, args.venues) as state:
                last = state.summary()
    except JournalError as bad:  # the run does without it; the flags must say what it would have
        _say(f"{bad}\ngoing on without it")
        last = {"venues": newest(state_dir).stem}
    for name in ("ticker", "venues"):
        flags[name] = flags.get(name) or last.get(name) or None
    flags["state_dir"] = str(state_dir)
    flags["size"], flags["max_position"] = "0.000000001", None
    config = load_config(flags, os.environ, cwd=Path.cwd(), terminal=sys.stdout.isatty())
    # nothing is opened, but every size must be one that both venues trade
    return replace(config, size=config.max_position, build_to=config.max_position)


def _clear(what: str) -> str:
    return f"Clear the latch of {what} and allow trading again"


def _agreed(args: argparse.Namespace, question: str) -> bool:
    """Ask before something that only an operator may decide; --yes answers for a script."""
    if args.yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError(EXIT_USAGE, "no terminal to ask on; add --yes")
    sys.stdout.write(f"{question}? Type yes: ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() != "yes":
        raise ConfigError(EXIT_USAGE, "not confirmed; nothing changed")
    return True


def _answer(reply: dict[str, Any]) -> dict[str, Any]:
    if not reply.get("ok"):
        raise ConfigError(EXIT_USAGE, str(reply.get("said") or reply.get("error") or "refused"))
    return reply


def _lines(shown: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Render nested values as ``name value`` lines."""
    lines: list[str] = []
    for key, value in shown.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            lines.extend(_lines(value, f"{name}."))
        elif isinstance(value, list) and value:
            lines.extend(f"{name:<32} {json.dumps(entry)}" for entry in value)
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            lines.append(f"{name:<32} {text or '-'}")
    return lines


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()

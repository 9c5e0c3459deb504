"""The command line: which command, which flags, which exit code. Commands live elsewhere."""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

import uvloop

from daemon.config import EXIT_USAGE, ConfigError, RunConfig, load_config
from daemon.control import ControlFailed
from daemon.journal import JournalError
from daemon.lease import EXIT_LEASE, LeaseHeld

EXIT_INTERRUPTED = 130
EXIT_UNREACHABLE = 75
EXIT_HUMAN = 78

RUN_FLAGS: tuple[tuple[str, str, str], ...] = (
    ("ticker", "SYM", "base symbol, such as ETH (required)"),
    ("size", "QTY", "base units per maker order (required)"),
    ("iter", "N", "iterations of BUILD, hold and UNWIND; 0 = until stopped (default 0)"),
    ("venues", "MODE", ("sim: both venues simulated here; shadow: live public data, simulated "
     "orders; live: real orders (default sim)")),
    ("max-position", "QTY", ("BUILD repeats maker orders until the primary leg is this large "
     "(default: the size)")),
    ("sleep", "S", "seconds held between BUILD and UNWIND (default 0)"),
    ("fill-timeout", "S", "seconds a maker order may rest away from the touch (default 5)"),
    ("primary-mode", "MODE", ("bbo, bbo_minus_1 (a tick more passive) or aggressive (cross) "
     "(default bbo)")),
    ("hedge-mode", "MODE", "smart (the router) or market (one bounded IOC) (default smart)"),
    ("max-slippage-bps", "BPS", "price bound of each hedge order from the touch (default 5)"),
    ("min-spread", "BPS", "edge over the estimated basis required to open (default 0)"),
    ("risk-aversion", "X", ("0 = wait for the maker price as long as allowed, max = cross at once "
     "(default 1)")),
    ("max-unhedged-ms", "MS", "longest a fill may stay unhedged (default 15000)"),
    ("config", "FILE", "TOML settings; flag > environment > file > default"),
    ("env-file", "FILE", "credentials and limits (default .env if present)"),
    ("state-dir", "DIR", "journal, lease and control socket (default state)"),
    ("log-format", "FMT", "console or json (default console on a terminal, else json)"),
    ("log-file", "FILE", "log in console format; - for none (default logs/hedged-TICKER.log)"),
    ("summary-json", "FILE", "write the run's figures there at the end"),
    ("book", "FILE", "sim: recording to replay, or synthetic (default: bundled recording)"),
    ("seed", "N", "sim: seed of everything random (default 1)"),
    ("speed", "X", "sim: replay speed, or max (default 1)"),
)  # fmt: skip
EXIT_CODES = (
    "exit codes: 0 done; 2 usage; 70 internal error; 75 venues unreachable, try again; 77 halted "
    "by a guard until `hedged resume`; 78 configuration or state needs a human; 79 another "
    "instance holds the lease"
)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


@dataclass(frozen=True, slots=True)
class _Command:
    """A subcommand: its help line, its flags, and what runs it."""

    summary: str
    flags: Callable[[argparse.ArgumentParser], None]
    act: Callable[[argparse.Namespace], int]


# --- flags -----------------------------------------------------------------------------------


def _some_of_run(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add flags of ``run`` by name; without names all of them."""
    for name, shown, text in RUN_FLAGS:
        if name in names or not names:
            parser.add_argument(f"--{name}", metavar=shown, help=text)


def _run_flags(parser: argparse.ArgumentParser) -> None:
    _some_of_run(parser)
    parser.add_argument(
        "--flatten-on-exit",
        action="store_const",
        const="true",
        help="close both legs when stopped; without it positions stay",
    )


def _simulate_flags(parser: argparse.ArgumentParser) -> None:
    for port in ("grvt", "backpack", "control"):
        parser.add_argument(
            f"--{port}-port", default="0", metavar="PORT", help="0 = any free (default 0)"
        )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--ticker", metavar="SYM", help="base symbol (default: the recording's)")
    parser.add_argument(
        "--book",
        metavar="FILE",
        help=(
            "recording, or synthetic[:SYM[,thin=measured][,jump=S][,empty=S][,onesided=S]"
            "[,repeat=S]]"
        ),
    )
    parser.add_argument("--seed", default="1", metavar="N", help="seed of everything random")
    parser.add_argument(
        "--speed",
        default="1",
        metavar="X",
        help="replay speed; max = apply market events without waiting (default 1)",
    )
    parser.add_argument(
        "--latency",
        metavar="SPEC",
        help=(
            "delays in ms, [venue.]ack|fill|data=BASE[/JITTER[/TAIL]], such as "
            "ack=3/1/50,fill=2,grvt.data=5/2/100 (default ack=3, the rest 0)"
        ),
    )
    parser.add_argument(
        "--message-log", metavar="FILE", help="write every message of the run as JSON lines"
    )
    parser.add_argument(
        "--accounts", default="1", metavar="N", help="accounts of each venue (default 1)"
    )
    parser.add_argument(
        "--switch",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what a venue leaves open, such as grvt.request_ids=true; may be repeated",
    )


def _record_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ticker", metavar="SYM", help="base symbol, such as ETH (required)")
    parser.add_argument("--out", default="recordings", metavar="DIR", help="folder of the files")
    parser.add_argument(
        "--rotate-minutes", default="60", metavar="N", help="begin a new file after (default 60)"
    )
    parser.add_argument(
        "--rotate-mb", default="256", metavar="N", help="or after so many megabytes (default 256)"
    )
    parser.add_argument("--duration", metavar="S", help="seconds (default: until stopped)")
    parser.add_argument(
        "--depth", default="500", metavar="N", help="levels per side, at most 500 (default 500)"
    )
    parser.add_argument(
        "--licence", default="none stated", metavar="TEXT", help="put into the files' headers"
    )
    _some_of_run(parser, "config", "env-file", "log-format")
    parser.add_argument("--log-file", metavar="FILE", help="log in console format (default none)")


def _state_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state-dir", metavar="DIR", help="the daemon's (default state)")
    parser.add_argument(
        "--venues", metavar="MODE", help="with no daemon: whose journal (default: used last)"
    )


def _status_flags(parser: argparse.ArgumentParser) -> None:
    _state_flags(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _report_flags(parser: argparse.ArgumentParser) -> None:
    _state_flags(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--html", metavar="FILE", help="also write a self-contained page there")
    parser.add_argument(
        "--day", metavar="D", help="UTC day, such as 2026-11-21, or all (default: the newest)"
    )


def _explain_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "id", metavar="ID", help="an order's number, a hedge (h-17), an alert (a-17, or its name)"
    )
    _status_flags(parser)


def _resume_flags(parser: argparse.ArgumentParser) -> None:
    _state_flags(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _doctor_flags(parser: argparse.ArgumentParser) -> None:
    _some_of_run(parser, "ticker", "size", "max-position", "config", "env-file", "state-dir")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _watch_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state-dir", metavar="DIR", help="the daemon's (default state)")
    parser.add_argument("--interval", default="1", metavar="S", help="seconds (default 1)")


def _adopt_flags(parser: argparse.ArgumentParser) -> None:
    _run_flags(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _bench_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        metavar="WHAT",
        help=(
            "routing: every router on the same arrivals; latency: fill bytes in to order bytes out"
        ),
    )
    parser.add_argument("--book", metavar="FILE", help="recording (default: the bundled one)")
    parser.add_argument(
        "--sizes", default="0.1,0.5,1.0", metavar="QTY,...", help="(default 0.1,0.5,1.0)"
    )
    parser.add_argument(
        "--arrivals", default="500", metavar="N", help="times a size, both sides (default 500)"
    )
    parser.add_argument("--seed", default="1", metavar="N", help="of the arrivals (default 1)")
    parser.add_argument(
        "--samples", default="200", metavar="N", help="latency: hedges of each path (default 200)"
    )
    parser.add_argument("--jobs", metavar="N", help="processes (default: one a core)")
    parser.add_argument(
        "--frontier", metavar="FILE", help="also sweep --risk-aversion; plot to an SVG or PNG"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


# --- commands --------------------------------------------------------------------------------


def _run(args: argparse.Namespace) -> int:
    terminal, folder = sys.stdout.isatty(), Path.cwd()

    def read() -> RunConfig:
        return load_config(vars(args), os.environ, cwd=folder, terminal=terminal)

    return _run_config(read(), reread=read)


def _run_config(config: RunConfig, **options: Any) -> int:
    return _in_loop("daemon.app", "run", config, **options)


def _closing(name: str, args: argparse.Namespace) -> int:
    """Run the daemon for one purpose other than trading: ``flatten`` or ``adopt``."""
    return _admin(name, args, lambda config: _run_config(config, purpose=name))


def _admin(name: str, *args: object) -> int:
    return _call("daemon.admin", name, *args)


def _call(module: str, name: str, *args: object) -> int:
    """Import late, so that ``--help`` starts fast."""
    code: int = getattr(importlib.import_module(module), name)(*args)
    return code


def _in_loop(module: str, name: str, *args: object, **options: Any) -> int:
    """Import late, so that ``--help`` and the admin commands start fast; run under uvloop."""
    main_of: Callable[..., Coroutine[Any, Any, int]] = getattr(
        importlib.import_module(module), name
    )
    return uvloop.run(main_of(*args, **options))


COMMANDS: dict[str, _Command] = {
    "run": _Command("trade; the default when no command is given", _run_flags, _run),
    "simulate": _Command(
        "serve both simulated venues on local ports until SIGTERM",
        _simulate_flags,
        lambda args: _in_loop("daemon.simulate", "simulate", args),
    ),
    "record": _Command(
        "write live public data of both venues to recordings that --book replays",
        _record_flags,
        lambda args: _in_loop("daemon.record", "record", args),
    ),
    "bench": _Command(
        "measure the router against its baselines, or the latency of a hedge",
        _bench_flags,
        lambda args: _call("daemon.bench.command", "bench", args),
    ),
    "status": _Command(
        "one look at a running daemon", _status_flags, lambda args: _admin("status", args)
    ),
    "watch": _Command(
        "a live view of a running daemon, read-only",
        _watch_flags,
        lambda args: _call("daemon.watch", "watch", args),
    ),
    "doctor": _Command(
        "check everything before going live: keys, clocks, rules, money, disk; places no order",
        _doctor_flags,
        lambda args: _in_loop("daemon.doctor", "doctor", args),
    ),
    "report": _Command(
        "profit by cause, costs, hedges and exposure, from the journal",
        _report_flags,
        lambda args: _call("daemon.report", "report", args),
    ),
    "explain": _Command(
        "why: the causal chain of an order, a hedge or an alert",
        _explain_flags,
        lambda args: _call("daemon.explain", "explain", args),
    ),
    "halt": _Command(
        "latch HALTED: nothing is sent until resume",
        _state_flags,
        lambda args: _admin("halt", args),
    ),
    "resume": _Command("clear a latch (asks)", _resume_flags, lambda args: _admin("resume", args)),
    "flatten": _Command(
        "close both legs, verified flat; works with the daemon dead",
        _run_flags,
        lambda args: _closing("flatten", args),
    ),
    "adopt": _Command(
        "take what both venues hold into the books (asks); the next start hedges and closes it",
        _adopt_flags,
        lambda args: _closing("adopt", args),
    ),
}


def build_parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of one command; that of ``run`` also introduces the others."""
    command = COMMANDS[name]
    main = name == "run"
    listed = "\n".join(f"  {word:<12}{c.summary}" for word, c in COMMANDS.items())
    parser = _Parser(
        prog="hedged" if main else f"hedged {name}",
        description=(
            f"Delta-neutral hedge daemon: maker on Backpack, hedge on GRVT.\n\ncommands "
            f"(hedged COMMAND --help):\n{listed}\n"
            if main
            else command.summary
        ),
        epilog=EXIT_CODES if main else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if main:
        parser.add_argument("--version", action="version", version=f"hedged {_version()}")
    command.flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code. Expected trouble is one line on standard error."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        name = _command(words)
        return COMMANDS[name].act(_parse(name, words))
    except ConfigError as bad:
        return _fail(bad.exit_code, str(bad))
    except LeaseHeld as held:
        return _fail(EXIT_LEASE, str(held))
    except JournalError as bad:
        return _fail(EXIT_HUMAN, str(bad))
    except ControlFailed as failed:
        return _fail(EXIT_UNREACHABLE, str(failed))
    except PermissionError as bad:
        return _fail(EXIT_HUMAN, f"{bad.filename}: {bad.strerror}; run as the daemon's user")
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _command(words: list[str]) -> str:
    """Take the command off the front; flags first mean ``run``."""
    if not words or words[0].startswith("-"):
        return "run"
    name = words.pop(0)
    if name not in COMMANDS:
        close = get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(COMMANDS)}"
        raise ConfigError(EXIT_USAGE, f"unknown command {name!r}; {hint}")
    return name


def _parse(name: str, words: list[str]) -> argparse.Namespace:
    parser = build_parser(name)
    args, rest = parser.parse_known_args(words)
    if rest:
        flag = rest[0].partition("=")[0]
        known = [text for action in parser._actions for text in action.option_strings]  # noqa: SLF001 - argparse has no public list of its flags
        close = get_close_matches(flag, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"see {parser.prog} --help"
        raise ConfigError(EXIT_USAGE, f"unknown argument {flag!r}; {hint}")
    return args


def _version() -> str:
    try:
        return version("hedged")
    except PackageNotFoundError:
        return "(not installed)"


def _fail(code: int, line: str) -> int:
    sys.stderr.write(f"hedged: {line}\n")
    return code

"""The log: structlog, two line formats, never in the way of a hedge (REQ-36, F47)."""

import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from io import FileIO, RawIOBase
from pathlib import Path
from typing import Any

import structlog

from daemon.clock import SystemClock
from daemon.config import EXIT_CONFIG, ConfigError, RunConfig
from daemon.log_format import Plain, as_json, console, level_word, simple, stamp
from daemon.log_writer import LineWriter
from exchanges.transport.redact import MASK, SDK_LOGGERS, Redactor
from strategy.domain import Ns

TAGS = ("INIT", "RECONCILE", "OPEN", "CLOSE", "SMART_ROUTING", "SAFETY", "EMERGENCY", "METRICS",
        "SHUTDOWN", "VENUE", "ALERT")  # fmt: skip
DROP_NOTICE_GAP = 10_000_000_000
COOKIE = re.compile(r"(gravity=)[^;,\s\"']+")

Render = Callable[[str, str, str, str, Mapping[str, Plain]], str]


class _Outputs:
    """Where a rendered entry goes: each output has its own format, queue and thread."""

    def __init__(self, outputs: Iterable[tuple[Render, LineWriter]]) -> None:
        self.outputs = tuple(outputs)

    def entry(self, lines: Mapping[Render, bytes]) -> None:
        for render, writer in self.outputs:
            writer.write(lines[render])

    def dropped(self) -> int:
        return sum(writer.dropped() for _, writer in self.outputs)

    def flush(self, limit: float) -> bool:
        flushed = [writer.flush(limit) for _, writer in self.outputs]
        return all(flushed)

    def close(self, limit: float) -> None:
        for _, writer in self.outputs:
            writer.close(limit)


class TradingLogger:
    """Writes entries under one tag. No method blocks; none raises for any value (REQ-36)."""

    def __init__(self, sink: Callable[[str, str, str, Mapping[str, object]], None], tag: str,
                 bound: Mapping[str, object] | None = None) -> None:  # fmt: skip
        self._sink = sink
        self._tag = tag
        self._bound = dict(bound or {})

    def bind(self, tag: str | None = None, /, **fields: object) -> "TradingLogger":
        """Return a logger with another tag, or with fields that every entry carries."""
        return TradingLogger(self._sink, tag or self._tag, self._bound | fields)

    def debug(self, event: str, /, **fields: object) -> None:
        """Write an entry that only an investigation needs."""
        self._sink("debug", self._tag, event, self._bound | fields)

    def info(self, event: str, /, **fields: object) -> None:
        """Write a state change."""
        self._sink("info", self._tag, event, self._bound | fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Write something that an operator may have to look at."""
        self._sink("warning", self._tag, event, self._bound | fields)

    def error(self, event: str, /, **fields: object) -> None:
        """Write something that an operator must look at."""
        self._sink("error", self._tag, event, self._bound | fields)

    def log(self, message: str, level: str = "INFO") -> None:
        """Write free text, the interface that older modules of this field expect."""
        self._sink(level, self._tag, message, self._bound)


class Logs:
    """The process's log: standard output in the chosen format, the file always for ``tail``."""

    def __init__(
        self,
        config: RunConfig,
        *,
        wall: Callable[[], Ns] | None = None,
        stdout: RawIOBase | None = None,
    ) -> None:
        """Open the outputs and take over the loggers of libraries.

        Args:
            config: names format, file and the secrets to hide.
            wall: Unix ns; the machine's clock by default.
            stdout: unbuffered replacement of standard output.

        Raises:
            ConfigError: the log file cannot be opened (exit 78).
        """
        self._wall = wall or SystemClock().wall
        self._redactor = Redactor(config.credentials.secrets())
        self._told = 0
        self._told_at: Ns | None = None
        file = None if config.log_file is None else _open(config.log_file)
        screen = stdout or FileIO(os.dup(sys.__stdout__.fileno() if sys.__stdout__ else 1), "wb")
        outputs: list[tuple[Render, LineWriter]] = [
            (as_json if config.log_format == "json" else console, LineWriter(screen, "stdout"))
        ]
        if file is not None:
            outputs.append((console, LineWriter(file, "file")))
        self._outputs = _Outputs(outputs)
        self._entries: Any = structlog.wrap_logger(
            self._outputs,
            processors=[self._reduce, self._render],
            wrapper_class=structlog.BoundLoggerBase,
            context_class=dict,
        )
        self._restore = _take_over(TradingLogger(self.emit, "VENUE"))

    def logger(self, tag: str, /, **fields: object) -> TradingLogger:
        """Return a logger that writes under a tag."""
        return TradingLogger(self.emit, tag, fields)

    def emit(self, level: str, tag: str, event: str, fields: Mapping[str, Any]) -> None:
        """Write one entry; never blocks, never raises (REQ-36)."""
        self._entries._proxy_to_logger("entry", said=event, level=level, tag=tag, fields=fields)  # noqa: SLF001 - structlog's documented door for wrapper classes
        lost = self.dropped()
        if lost > self._told and self._may_tell():
            self._told = lost
            self.emit("error", "ALERT", "log_lines_dropped", {"count": lost})

    def add_secret(self, secret: str) -> None:
        """Hide one more secret from now on."""
        self._redactor.add(secret)

    def dropped(self) -> int:
        """Return how many lines were lost so far."""
        return self._outputs.dropped()

    def flush(self, limit: float = 2.0) -> bool:
        """Wait until what was logged is written, at most ``limit`` seconds per output."""
        return self._outputs.flush(limit)

    def close(self) -> None:
        """Flush, end the threads, give the libraries' loggers back."""
        self._restore()
        self._outputs.close(2.0)

    def _may_tell(self) -> bool:
        now = self._wall()
        if self._told_at is not None and now - self._told_at < DROP_NOTICE_GAP:
            return False
        self._told_at = now
        return True

    def _redact(self, text: str) -> str:
        """Hide registered secrets, and session cookies that nobody registered."""
        return COOKIE.sub(rf"\1{MASK}", self._redactor.text(text))

    # --- structlog processors --------------------------------------------------------------

    def _reduce(self, _: object, __: str, entry: Any) -> Any:
        redact = self._redact
        entry["ts"] = stamp(self._wall())
        entry["level"] = level_word(entry["level"])
        entry["event"] = str(simple(entry["said"], redact))  # structlog drops a None event
        entry["fields"] = {str(k): simple(v, redact) for k, v in entry["fields"].items()}
        return entry

    def _render(self, _: object, __: str, entry: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        lines: dict[Render, bytes] = {}
        for render, _writer in self._outputs.outputs:
            if render not in lines:
                text = render(
                    entry["ts"], entry["level"], entry["tag"], entry["event"], entry["fields"]
                )
                lines[render] = f"{text}\n".encode(errors="backslashreplace")
        return (lines,), {}


class _Bridge(logging.Handler):
    """Carries records of the standard library's loggers into the log."""

    def __init__(self, log: TradingLogger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {"logger": record.name, "message": _message(record)}
        if record.exc_info and record.exc_info[1] is not None:
            fields["trace"] = "".join(traceback.format_exception(record.exc_info[1]))
        write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        write("library", **fields)


def _message(record: logging.LogRecord) -> object:
    try:
        return record.getMessage()
    except (TypeError, ValueError, LookupError, AttributeError):  # arguments that do not fit
        return record.msg


def _take_over(log: TradingLogger) -> Callable[[], None]:
    """Route library loggers at WARNING and above; returns what undoes it."""
    bridge, root = _Bridge(log), logging.getLogger()
    root.addHandler(bridge)
    for name in [*SDK_LOGGERS, *(n for n in root.manager.loggerDict if _of_sdk(n))]:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    return partial(_give_back, root, bridge)


def _of_sdk(name: str) -> bool:
    return name.partition(".")[0] in SDK_LOGGERS


def _give_back(root: logging.Logger, bridge: logging.Handler) -> None:
    root.removeHandler(bridge)
    logging.captureWarnings(False)


def _open(path: Path) -> FileIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    except OSError as bad:
        raise ConfigError(
            EXIT_CONFIG,
            f"--log-file {path}: {bad.strerror}; give a path that can be written, or - for none",
        ) from bad
    return FileIO(fd, "wb")

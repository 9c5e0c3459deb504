"""The log: exact formats, nothing raises, nothing blocks, no secret survives."""

import io
import json
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.config import ConfigError, Credentials, RunConfig, load_config
from daemon.log_writer import LineWriter
from daemon.logs import Logs
from strategy.domain import Mode, Ns, Venue

WALL = Ns(1_795_244_889_123_456_789)
TS = "2026-11-21T07:08:09.123456Z"
SECRETS = Credentials(
    backpack_secret_key="canary+/backpack=",
    grvt_api_key='canary "api',
    grvt_private_key="0xcafecafe",
)


class Screen(io.RawIOBase):
    """Standard output that remembers, and blocks or fails when told to."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.open = threading.Event()
        self.open.set()
        self.broken = False

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        assert isinstance(data, memoryview)
        self.open.wait(5)
        if self.broken:
            raise BrokenPipeError
        part = bytes(data[:100])  # a raw output may take less than it is given
        self.seen += part
        return len(part)

    def lines(self) -> list[str]:
        return bytes(self.seen).decode().splitlines()


def configured(tmp_path: Path, fmt: str, file: str = "-") -> RunConfig:
    flags = {"ticker": "ETH", "size": "1", "log_format": fmt, "log_file": file}
    config = load_config(flags, {}, cwd=tmp_path, terminal=True)
    return replace(config, credentials=SECRETS)


Opened = Callable[..., tuple[Logs, Screen]]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made: list[Logs] = []

    def make(fmt: str = "console", file: str = "-") -> tuple[Logs, Screen]:
        screen = Screen()
        logs = Logs(configured(tmp_path, fmt, file), wall=lambda: WALL, stdout=screen)
        made.append(logs)
        return logs, screen

    yield make
    for logs in made:
        logs.close()


def one(logs: Logs, screen: Screen) -> str:
    assert logs.flush(5)
    lines = screen.lines()
    assert len(lines) == 1
    return lines[0]


def test_console_line_is_exactly_the_contract(opened: Opened) -> None:
    logs, screen = opened()
    fields = {"side": "sell", "target": Decimal("0.5"), "price": "3006.31", "age": 7}
    logs.emit("info", "SMART_ROUTING", "starting", fields)
    assert one(logs, screen) == (
        f"{TS} INFO  [SMART_ROUTING] starting side=sell target=0.5 price=3006.31 age=7"
    )


def test_json_line_is_exactly_the_contract_with_money_as_text(opened: Opened) -> None:
    logs, screen = opened("json")
    fields = {"price": Decimal("3006.310"), "n": 3, "why": 'a "b"\nc', "event": "own"}
    logs.emit("warning", "ALERT", "degraded", fields)
    assert json.loads(one(logs, screen)) == {
        "ts": TS, "level": "WARN", "tag": "ALERT", "event": "degraded",
        "price": "3006.310", "n": 3, "why": 'a "b"\nc', "event_": "own",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("level", "word"),
    [("debug", "DEBUG"), ("info", "INFO "), ("warning", "WARN "), ("WARN", "WARN "),
     ("error", "ERROR"), ("nonsense", "ERROR")],
)  # fmt: skip
def test_levels_keep_one_width(opened: Opened, level: str, word: str) -> None:
    logs, screen = opened()
    logs.emit(level, "INIT", "x", {})
    assert one(logs, screen) == f"{TS} {word} [INIT] x"


def test_file_is_always_console_and_appends(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "h.log"
    path.parent.mkdir()
    path.write_text("before\n")
    logs, screen = opened("json", str(path))
    logs.logger("OPEN", venue=Venue.GRVT).info("order", mode=Mode.HALTED, path=tmp_path / "a b")
    assert one(logs, screen).startswith('{"ts":')
    lines = path.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[1] == f'{TS} INFO  [OPEN] order venue=grvt mode=HALTED path="{tmp_path}/a b"'


def test_unwritable_log_file_is_exit_78_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--log-file .*give a path") as caught:
        Logs(configured(tmp_path, "json", str(tmp_path / "file" / "x.log")))
    assert caught.value.exit_code == 78


class Hostile:
    """A value whose every conversion raises."""

    def __str__(self) -> str:
        raise RuntimeError("str")

    def __repr__(self) -> str:
        raise RuntimeError("repr")


class HostileError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("str")


ODD: list[object] = [
    Hostile(),
    [Hostile()],
    {"k": Hostile()},
    HostileError(),
    "\udc80",
    "\x00\x1b[31m",
    "l1\nl2",
    "\u2028",
    "",
    "한글",
    10**5000,
    Decimal("1E+999999"),
    Decimal("NaN"),
    1.5,
    b"raw",
    None,
    True,
    "x" * 100_000,
    object,
]


@pytest.mark.parametrize("index", range(len(ODD)))
def test_REQ_36_no_value_can_break_the_log(opened: Opened, index: int) -> None:
    value = ODD[index]
    for fmt in ("console", "json"):
        logs, screen = opened(fmt)
        logger = logs.logger("VENUE")
        logger.info("odd", value=value)
        logger.error(value, event=value)  # type: ignore[arg-type]  # callers are not all typed
        logger.log("free text", level=20)  # type: ignore[arg-type]  # the library's numbers
        logger.log(f"free text {value!s:.20}" if isinstance(value, str) else "free text")
        assert logs.flush(5)
        lines = bytes(screen.seen).decode().split("\n")
        assert len(lines) == 5
        assert "\x1b" not in "".join(lines)
        assert all(len(line) < 10_000 for line in lines)


def test_REQ_36_logger_has_every_method_that_callers_expect(opened: Opened) -> None:
    logs, screen = opened()
    logger = logs.logger("OPEN").bind(order=4).bind("CLOSE")
    for write in (logger.debug, logger.info, logger.warning, logger.error):
        write("e", event="f", level="g", self="h")
    logger.log("said so", "WARNING")
    assert logs.flush(5)
    assert screen.lines()[0] == f"{TS} DEBUG [CLOSE] e order=4 event=f level=g self=h"
    assert screen.lines()[4] == f"{TS} WARN  [CLOSE] said so order=4"


def test_S14_secrets_and_cookies_never_reach_an_output(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "h.log"
    logs, screen = opened("json", str(path))
    logs.add_secret("canary-later")
    held = [*SECRETS.secrets(), "canary-later"]
    for secret in held:
        logs.emit("info", "VENUE", secret, {"a": secret, "b": f"{'x' * 3_990}{secret}"})
        logs.emit("info", "VENUE", "e", {"c": {"k": [secret]}, "d": ValueError(secret)})
        logging.getLogger("pysdk.grvt_raw_base").error("header %s", secret)
    logs.emit("info", "VENUE", "e", {"cookie": "gravity=canary-cookie; Path=/"})
    assert logs.flush(5)
    text = bytes(screen.seen).decode() + path.read_text()
    assert "canary" not in text
    assert "cafe" not in text
    assert text.count("***") > len(held)


def test_libraries_are_heard_from_warning_up_and_given_back(opened: Opened) -> None:
    before = list(logging.getLogger().handlers)
    logs, screen = opened()
    sdk = logging.getLogger("pysdk.grvt_raw_base")
    sdk.info("cookie at info")
    sdk.warning("late %s", "reply")
    bridge = next(h for h in logging.getLogger().handlers if h not in before)
    odd = {"msg": "bad %d arguments", "args": ("x",), "name": "n", "levelno": logging.WARNING}
    bridge.handle(logging.makeLogRecord(odd))
    logging.getLogger("aiohttp").error("it broke", exc_info=KeyError("k"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old call", UserWarning, stacklevel=1)
    assert logs.flush(5)
    lines = screen.lines()
    head = "[VENUE] library logger="
    assert lines[0] == f'{TS} WARN  {head}pysdk.grvt_raw_base message="late reply"'
    assert 'message="bad %d arguments"' in lines[1]
    assert lines[2].startswith(f"{TS} ERROR {head}aiohttp")
    assert "KeyError: 'k'" in lines[2]
    assert len(lines) in (3, 4)
    logs.close()
    assert logging.getLogger().handlers == before


# --- F47: outputs that block or fail -------------------------------------------------------------


def test_F47_blocked_output_never_blocks_the_caller(tmp_path: Path) -> None:
    screen, path = Screen(), tmp_path / "h.log"
    screen.open.clear()
    logs = Logs(configured(tmp_path, "console", str(path)), wall=lambda: WALL, stdout=screen)
    began = time.monotonic()
    for n in range(10_500):
        logs.emit("info", "OPEN", "order", {"n": n})
    assert time.monotonic() - began < 5
    assert logs.dropped() > 0
    screen.open.set()
    assert logs.flush(5)
    assert any("log_lines_dropped" in line for line in path.read_text().splitlines())
    assert path.read_text().count(" order ") > 10_000
    logs.close()


def test_F47_full_queue_drops_counts_and_closes_in_bounded_time() -> None:
    screen = Screen()
    screen.open.clear()
    writer = LineWriter(screen, "test", capacity=3)
    written = [writer.write(b"x\n") for _ in range(10)]
    assert written.count(False) == writer.dropped() >= 6
    began = time.monotonic()
    writer.close(limit=0.1)
    assert time.monotonic() - began < 2
    assert writer.write(b"late\n") is False
    screen.open.set()


def test_F47_failed_output_is_counted_and_survived() -> None:
    screen = Screen()
    screen.broken = True
    writer = LineWriter(screen, "test")
    assert writer.write(b"lost\n")
    assert writer.flush(5)
    assert writer.dropped() == 1
    screen.broken = False
    assert writer.write(b"kept\n")
    writer.close()
    assert bytes(screen.seen) == b"kept\n"


def test_closed_pipe_as_standard_output_is_survived(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    logs = Logs(configured(tmp_path, "console"), stdout=io.FileIO(writing, "wb"))
    logs.emit("info", "INIT", "started", {})
    assert logs.flush(5)
    assert logs.dropped() == 1
    logs.close()

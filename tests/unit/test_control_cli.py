"""The command line and the operator's commands, with a daemon and without."""

import argparse
import asyncio
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon import admin, cli
from daemon.config import ConfigError, RunConfig
from daemon.control import ControlServer
from daemon.lease import Lease
from tests.unit.test_config import KEYS


class Journalled:
    """An offline state in memory."""

    def __init__(self) -> None:
        self.mode, self.reason = "RUNNING", ""
        self.legs = {"backpack": "0", "grvt": "0"}
        self.closed = 0

    def open_offline(self, state_dir: Path, venues: str | None) -> "Journalled":
        assert (state_dir / "sim.db").exists()
        assert venues in (None, "sim", "live")
        return self

    def latch(self) -> tuple[str, str]:
        return self.mode, self.reason

    def clear_latch(self) -> None:
        self.mode, self.reason = "RUNNING", ""

    def set_latch(self, state: str, reason: str) -> None:
        self.mode, self.reason = state, reason

    def summary(self) -> dict[str, Any]:
        return {"ticker": "ETH", "venues": "sim", "legs": self.legs}

    def residual(self) -> str:
        return ""

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journalled:
    state = Journalled()
    module = types.ModuleType("daemon.offline")
    module.open_offline = state.open_offline  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, "daemon.offline", module)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "sim.db").touch()
    return state


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_every_command_prints_and_ends_0(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [name, "--help"] if name != "run" else ["--help"]
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: hedged")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("hedged ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--ticker is required"),
        (["--ticker", "ETH"], "--size is required"),
        (["--tickr", "ETH"], "did you mean --ticker?"),
        (["--size=1", "--max-slipage-bps=1"], "did you mean --max-slippage-bps?"),
        (["--tick", "ETH"], "unknown argument '--tick'"),
        (["--ticker", "ETH", "--size"], "expected one argument"),
        (["flaten"], "did you mean flatten?"),
        (["dance"], "known: run, simulate"),
        (["status", "--josn"], "did you mean --json?"),
        (["simulate", "--grvt-port", "70000"], "--grvt-port '70000': must be a whole number"),
        (["halt", "--state-dir", "nowhere"], "no journal there"),
    ],
)
def test_usage_error_is_exit_2_with_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if words[:1] == ["simulate"]:
        module = types.ModuleType("exchanges.simulator.host")
        module.SimConfig = module.SimHost = dict  # type: ignore[attr-defined]  # never built
        monkeypatch.setitem(sys.modules, "exchanges.simulator.host", module)
        monkeypatch.delitem(sys.modules, "daemon.simulate", raising=False)
    try:
        code: object = cli.main(words)
    except SystemExit as ended:
        code = ended.code
    shown = capsys.readouterr()
    assert code == 2
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    monkeypatch.delitem(sys.modules, "daemon.simulate", raising=False)


def test_run_gets_the_configuration_and_its_exit_code_is_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[RunConfig] = []

    async def run(config: RunConfig, *, reread: Callable[[], RunConfig]) -> int:
        await asyncio.sleep(0)
        seen.append(config)
        assert reread() == config
        return 77

    app = types.ModuleType("daemon.app")
    app.run = run  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, "daemon.app", app)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["--ticker", "ETH", "--size", "0.5", "--flatten-on-exit"]) == 77
    assert cli.main(["run", "--ticker=sol", "--size=1"]) == 77
    assert [c.ticker for c in seen] == ["ETH", "SOL"]
    assert [c.flatten_on_exit for c in seen] == [True, False]


# --- no daemon -----------------------------------------------------------------------------------


def test_halt_then_resume_on_the_journal_of_a_dead_daemon(
    stored: Journalled, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["halt"]) == 0
    assert (stored.mode, stored.reason) == ("HALTED", "operator_halt")
    assert cli.main(["halt"]) == 0
    assert cli.main(["resume", "--yes"]) == 0
    assert stored.mode == "RUNNING"
    assert "HALTED (operator_halt) is cleared" in capsys.readouterr().out
    assert cli.main(["resume", "--yes"]) == 0
    assert "nothing to resume" in capsys.readouterr().out
    assert stored.closed == 4


def test_resume_asks_and_keeps_the_latch_unless_told_yes(
    stored: Journalled, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.set_latch("HALTED", "max_daily_loss")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert cli.main(["resume"]) == 2
    assert "add --yes" in capsys.readouterr().err
    for answer, code in (("\n", 2), ("no\n", 2), ("yes\n", 0)):
        assert stored.mode == "HALTED"
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("sys.stdin.readline", lambda answer=answer: answer, raising=False)
        assert cli.main(["resume"]) == code
    assert stored.mode == "RUNNING"
    assert "HALTED (max_daily_loss)" in capsys.readouterr().out


def test_status_of_a_dead_daemon_says_so_and_is_exit_75(
    stored: Journalled, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.legs["grvt"] = "-0.5"
    assert cli.main(["status"]) == 75
    shown = capsys.readouterr().out
    assert "running                          false" in shown
    assert "legs.grvt                        -0.5" in shown


def test_journal_commands_respect_a_held_lease(
    stored: Journalled, capsys: pytest.CaptureFixture[str]
) -> None:
    with Lease(Path("state")):
        assert cli.main(["halt"]) == 79
    assert stored.mode == "RUNNING"
    assert "another hedged" in capsys.readouterr().err


def flatten_args(**flags: str) -> argparse.Namespace:
    names = [name.replace("-", "_") for name, _, _ in cli.RUN_FLAGS]
    return argparse.Namespace(**(dict.fromkeys(names) | flags))


def runner(configs: list[RunConfig], code: int) -> Callable[[RunConfig], int]:
    def run(config: RunConfig) -> int:
        configs.append(config)
        return code

    return run


def test_flatten_without_a_daemon_runs_with_the_journals_ticker(
    stored: Journalled, capsys: pytest.CaptureFixture[str]
) -> None:
    configs: list[RunConfig] = []
    assert admin.flatten(flatten_args(), runner(configs, 77)) == 0
    assert (configs[0].ticker, configs[0].venues) == ("ETH", "sim")
    assert configs[0].size == configs[0].build_to == configs[0].max_position
    assert "flat: both venues confirm" in capsys.readouterr().out
    stored.legs["grvt"] = "-0.1"
    assert admin.flatten(flatten_args(), runner(configs, 0)) == 77
    assert "NOT flat: grvt -0.1" in capsys.readouterr().out
    assert admin.flatten(flatten_args(), runner(configs, 75)) == 75


def adopt(*words: str, run: Callable[[RunConfig], int] = lambda _: 0) -> int:
    return admin.adopt(cli._parse("adopt", ["--ticker", "ETH", *words]), run)


def test_F76_adopt_says_what_the_books_hold_now_and_what_is_still_latched(
    stored: Journalled, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    stored.legs = {"backpack": "0.4", "grvt": "-0.5"}
    configs: list[RunConfig] = []
    live = ("--venues", "live", "--yes")
    assert adopt(*live, run=runner(configs, 0)) == 0
    assert configs[0].venues == "live"
    said = "the books agree with both venues: backpack 0.4, grvt -0.5\n"
    assert capsys.readouterr().out == said
    stored.mode, stored.reason = "HALTED", "position_mismatch"
    assert adopt(*live) == 0
    latched = "still latched HALTED (position_mismatch): `hedged resume`, then start the daemon\n"
    assert capsys.readouterr().out == said + latched
    assert adopt(*live, run=runner(configs, 75)) == 75
    assert capsys.readouterr().out == ""


def test_adopt_is_for_live_venues_and_asks_first(
    stored: Journalled, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="simulated positions end with their process; use live"):
        adopt("--yes")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="no terminal to ask on; add --yes"):
        adopt("--venues", "live")
    assert stored.mode == "RUNNING"


# --- with a daemon -------------------------------------------------------------------------------


class Daemon:
    """What the control socket's handler does; leaves soon after it was told to flatten."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.server = ControlServer(Path("state"), self.handle)
        self.watched = asyncio.Event()

    async def handle(self, cmd: str, args: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((cmd, args))
        if len(self.asked) == 3:
            self.watched.set()
        if cmd == "status":
            return {"ok": True, "status": {"mode": "RUNNING", "net": "0", "orders": [], "legs": {}}}
        if cmd == "resume":
            return {"ok": False, "said": "a running daemon is not latched"}
        return {"ok": True, "said": f"{cmd} it is"}


async def commanded(*words: str) -> tuple[int, Daemon]:
    daemon = Daemon()
    await daemon.server.start()
    try:
        code = await asyncio.to_thread(cli.main, list(words))
    finally:
        await daemon.server.stop()
    return code, daemon


async def test_status_and_halt_go_over_the_socket(
    stored: Journalled, capsys: pytest.CaptureFixture[str]
) -> None:
    code, daemon = await commanded("status", "--json")
    assert code == 0
    assert '"running": true' in capsys.readouterr().out
    code, daemon = await commanded("halt")
    assert (code, daemon.asked) == (0, [("halt", {})])
    assert capsys.readouterr().out == "halt it is\n"
    assert stored.mode == "RUNNING"


async def test_what_the_daemon_refuses_is_said_and_not_exit_0(
    stored: Journalled, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = await commanded("resume", "--yes")
    assert code == 2
    assert "a running daemon is not latched" in capsys.readouterr().err
    assert stored.closed == 0


async def test_adopt_is_refused_while_a_daemon_runs(
    stored: Journalled, capsys: pytest.CaptureFixture[str]
) -> None:
    code, daemon = await commanded("adopt", "--yes")
    assert (code, daemon.asked) == (79, [("status", {})])
    assert "a daemon runs and keeps its own books: stop it first" in capsys.readouterr().err
    assert stored.closed == 0


async def test_flatten_waits_for_the_daemon_to_end_and_then_reads_the_journal(
    stored: Journalled, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = Daemon()
    await daemon.server.start()
    command = asyncio.to_thread(cli.main, ["flatten"])
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(10):
        running = tasks.create_task(command)
        await daemon.watched.wait()
        await daemon.server.stop()
        assert await running == 0
    assert [cmd for cmd, _ in daemon.asked[:3]] == ["flatten", "status", "status"]
    assert "flat: both venues confirm" in capsys.readouterr().out
    assert stored.closed == 1

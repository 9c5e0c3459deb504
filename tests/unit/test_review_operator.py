"""What an operator is told, and what a file on disk may do to a running daemon."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from daemon.config import ConfigError, load_config
from daemon.loop import Loop
from daemon.status import handle
from strategy.domain import Mode
from strategy.world import World
from tests.builders import at, world


def loop_of(w: World) -> tuple[Loop, list[Any]]:
    put: list[Any] = []
    inbox = SimpleNamespace(put=put.append)
    loop = SimpleNamespace(core=SimpleNamespace(world=w), inbox=inbox, now=at)
    return cast("Loop", loop), put


async def test_F77_halt_of_a_latched_daemon_does_not_promise_to_keep_what_is_being_closed() -> None:
    loop, put = loop_of(world(mode=Mode.FLATTENING, reason="max_daily_loss: day_pnl -51"))
    said = (await handle(loop, "halt"))["said"]
    assert put == []
    assert "positions stay" not in said
    assert "FLATTENING" in said
    assert "max_daily_loss" in said


async def test_halt_of_a_running_daemon_keeps_the_pair() -> None:
    loop, put = loop_of(world())
    said = (await handle(loop, "halt"))["said"]
    assert [moved.mode for moved in put] == [Mode.REDUCING]
    assert "hedged positions stay" in said


def test_F44_a_file_nested_beyond_all_reason_is_one_line_and_no_crash(tmp_path: Path) -> None:
    deep = tmp_path / "deep.toml"
    deep.write_text("size = " + "[" * 5000)
    flags = {"ticker": "ETH", "config": str(deep), "state_dir": str(tmp_path)}
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(flags, {}, cwd=tmp_path, terminal=False)

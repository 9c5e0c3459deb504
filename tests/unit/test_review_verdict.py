"""``hedged flatten`` says flat only when both venues said so at the end of that very run."""

from pathlib import Path

import pytest

from daemon import admin
from daemon.journal import Journal
from daemon.offline import UNPROVED
from strategy.domain import Mode, Now, Ns
from strategy.events import LatchMoved
from tests.builders import WALL


def left_by_a_run(state_dir: Path, mode: Mode, residual: str | None) -> None:
    journal = Journal(state_dir / "live.db", Ns(WALL))
    if mode is not Mode.RUNNING:
        moved = LatchMoved(mode, "operator", Now(Ns(1), Ns(WALL)))
        journal.event("LatchMoved", moved, Ns(WALL))
    if residual is not None:
        journal.put_meta("residual", residual)
    journal.close()


@pytest.mark.parametrize("mode", [Mode.RUNNING, Mode.REDUCING, Mode.FLATTENING])
@pytest.mark.parametrize("residual", [None, ""])
def test_a_daemon_that_died_while_it_flattened_has_confirmed_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: Mode, residual: str | None
) -> None:
    left_by_a_run(tmp_path, mode, residual)
    assert admin._verdict(tmp_path, "live") == admin.EXIT_HALTED
    said = capsys.readouterr().out
    assert said.startswith("NOT flat: ")
    assert mode.name in said


@pytest.mark.parametrize("residual", [None, UNPROVED])
def test_a_run_that_halted_without_asking_the_venues_has_proved_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], residual: str | None
) -> None:
    left_by_a_run(tmp_path, Mode.HALTED, residual)
    assert admin._verdict(tmp_path, "live") == admin.EXIT_HALTED
    assert "venues were not asked" in capsys.readouterr().out


def test_flat_is_what_both_venues_confirmed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left_by_a_run(tmp_path, Mode.HALTED, "")
    assert admin._verdict(tmp_path, "live") == admin.EXIT_OK
    assert capsys.readouterr().out.startswith("flat: both venues confirm")

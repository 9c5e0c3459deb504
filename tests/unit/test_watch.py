"""``hedged watch``: what is drawn, and how it ends."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from daemon import cli, watch
from daemon.control import ControlFailed, DaemonNotRunning
from daemon.status import snapshot
from strategy.domain import Mode, Purpose, Venue
from tests.builders import at, draft, planned, world

GONE = DaemonNotRunning("no daemon answers on state/control.sock")


def scripted(*answers: Mapping[str, Any] | Exception) -> Callable[[], Mapping[str, Any]]:
    left = list(answers)

    def look() -> Mapping[str, Any]:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return look


def told() -> Mapping[str, Any]:
    return {"ok": True, "status": snapshot(world(), at(0).mono)}


def test_one_look_shows_the_state_both_legs_orders_and_alerts() -> None:
    w = world(mode=Mode.REDUCING, reason="margin: grvt 41 %")
    w = planned(w, draft(Venue.GRVT, size="0.3", purpose=Purpose.HEDGE), 7)
    text = "\n".join(watch.lines(snapshot(w, at(2).mono)))
    assert text.startswith("REDUCING (margin: grvt 41 %)  iteration 1 build  ")
    assert "naked 0 ms" in text
    assert "\nbackpack" in text
    assert "up/up" in text
    assert "\n7           grvt      hedge" in text
    assert "! latch REDUCING: margin: grvt 41 %" in text


def test_H3_what_is_not_known_is_a_question_mark_and_never_a_zero() -> None:
    shown = snapshot(world(), at(0).mono)
    for leg in shown["legs"].values():
        leg |= {"venue_position": None, "venue_position_age_ms": None, "bid": None}
    text = "\n".join(watch.lines(shown))
    assert text.count("?") == 2 * 3 + (shown["day_pnl"] is None)


def test_it_draws_until_the_daemon_has_ended(capsys: pytest.CaptureFixture[str]) -> None:
    pauses: list[float] = []
    look = scripted(told(), ControlFailed("busy"), told(), GONE)
    assert watch.follow(look, pauses.append, 0.5, "<clear>") == 0
    out = capsys.readouterr().out
    assert out.count("<clear>RUNNING") == 2
    assert "<clear>busy\n" in out
    assert out.endswith("the daemon has ended: `hedged status` shows what it left\n")
    assert pauses == [0.5] * 3


def test_without_a_daemon_it_says_so_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert watch.follow(scripted(GONE), lambda _: None, 1, "") == 75
    assert "`hedged status` shows what its journal says" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["0", "-1", "x", "nan", "99999"])
def test_an_interval_that_cannot_be(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["watch", "--interval", given]) == 2
    assert f"--interval '{given}': use 0.1 to 3600 seconds" in capsys.readouterr().err


def test_the_socket_of_the_state_directory_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def ask(folder: Path, cmd: str, timeout: float) -> Mapping[str, Any]:
        asked.append((folder, cmd, timeout))
        raise GONE

    monkeypatch.setattr(watch, "ask", ask)
    assert cli.main(["watch", "--state-dir", str(tmp_path)]) == 75
    assert asked == [(tmp_path, "status", watch.TIMEOUT)]
    assert capsys.readouterr().out == ""

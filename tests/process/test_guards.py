"""Guards where they show: the running daemon against ``hedged simulate`` in another process."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.process.programs import Simulator, start, until
from tests.process.test_live import LIVE, status_of

BUILT = ("--size", "0.5", "--sleep", "600")


def log_of(folder: Path) -> str:
    return (folder / "out.txt").read_text()


def hedged_pair(
    make: Callable[..., Simulator], folder: Path, *flags: str, **env: str
) -> tuple[Simulator, int, Callable[[float], int]]:
    simulator = make("--speed", "6")
    process = start(folder, *LIVE, *BUILT, *flags, env=simulator.environment(**env))
    until(lambda: simulator.positions() == ("0.5", "-0.5"), 60, "a hedged position")
    return simulator, process.pid, process.wait


def test_F44_sighup_tightens_at_once_and_refuses_to_loosen(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    file = tmp_path / "limits.toml"
    file.write_text("[limits]\nmax_daily_loss = 50\nmax_basis_bps = 90\n")
    _, pid, ended = hedged_pair(fresh_simulator, tmp_path, "--config", str(file))
    file.write_text("[limits]\nmax_daily_loss = 500\nmax_basis_bps = 80\n")
    os.kill(pid, signal.SIGHUP)
    until(lambda: "limit_tightened" in log_of(tmp_path), 10, "a reload")
    assert "limits.max_basis_bps 90.00 bps -> 80.00 bps" in log_of(tmp_path)
    assert "limits.max_daily_loss: 500 is looser than 50, which stays" in log_of(tmp_path)
    assert log_of(tmp_path).count("[ALERT] reload_refused") == 1
    file.write_text("[limits]\nmax_daily_loss = 0.01\n")  # the day has cost more than that
    os.kill(pid, signal.SIGHUP)
    assert ended(60) == 77
    assert "max_daily_loss: day_pnl -" in log_of(tmp_path)
    assert ", limit -0.01" in log_of(tmp_path)


def test_F78_F60_conditions_on_the_venue_are_told_and_end(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    simulator, pid, ended = hedged_pair(fresh_simulator, tmp_path)
    until(lambda: "[METRICS] progress" in log_of(tmp_path), 15, "a progress line")
    assert " basis_bps=" in log_of(tmp_path)
    simulator.ask("/faults", "POST", {"venue": "grvt", "fault": "F78", "leverage": 3})
    until(lambda: "[ALERT] account_changed" in log_of(tmp_path), 15, "F78")
    assert 'venue=grvt what="leverage 3, expected 10"' in log_of(tmp_path)
    assert any("account_changed" in a for a in status_of(tmp_path)["alerts"])
    simulator.ask("/faults", "POST", {"venue": "backpack", "fault": "F60", "offset_ms": 3000})
    until(lambda: "[ALERT] clock" in log_of(tmp_path), 20, "F60")
    simulator.ask("/faults", "DELETE")
    until(lambda: "cleared code=clock" in log_of(tmp_path), 20, "the end of F60")
    os.kill(pid, signal.SIGTERM)
    assert ended(30) == 0
    assert simulator.positions() == ("0.5", "-0.5")


def test_F79_a_revoked_hedge_key_pages_halts_and_keeps_the_hedged_pair(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    simulator, _, ended = hedged_pair(fresh_simulator, tmp_path)
    simulator.ask("/faults", "POST", {"venue": "grvt", "fault": "F79", "mode": "revoked"})
    assert ended(60) == 77
    log = log_of(tmp_path)
    assert "ERROR [ALERT] venue_forbidden" in log
    assert 'latch mode=REDUCING reason="venue_forbidden: grvt refuses our key: ' in log
    assert simulator.positions() == ("0.5", "-0.5")

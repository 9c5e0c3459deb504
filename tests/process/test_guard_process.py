"""``hedged-guard`` as its users run it: a process of its own, judged by the simulator's books."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.programs import PATIENCE, ROOT, Simulator, start, until

LIVE = (
    "--ticker", "ETH", "--venues", "live", "--log-format", "json", "--size", "0.5",
    "--primary-mode", "bbo_minus_1", "--fill-timeout", "60",
)  # fmt: skip
GUARD = [sys.executable, "-m", "daemon.guard"]


class Guarding:
    """The guard in its own process, writing to ``guard.txt``."""

    def __init__(self, folder: Path, env: dict[str, str], *flags: str) -> None:
        self.log = folder / "guard.txt"
        with self.log.open("a") as out:
            self.process = subprocess.Popen(
                [*GUARD, "--ticker", "ETH", "--venues", "live", "--stale", "4", *flags],
                cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def text(self) -> str:
        return self.log.read_text()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20 * PATIENCE)


@pytest.fixture
def slow(fresh_simulator: Callable[..., Simulator]) -> Simulator:
    """A simulator whose market hardly moves: makers rest."""
    return fresh_simulator("--speed", "0.02")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    pid = tmp_path / "state" / "lease"
    if pid.exists() and (text := pid.read_text().strip()).isdigit():
        try:
            os.kill(int(text), signal.SIGKILL)
        except ProcessLookupError:
            return


def resting(simulator: Simulator) -> int:
    return int(simulator.ask("/state")["backpack"]["open_orders"])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_F30_F36_makers_are_cancelled_when_the_daemon_is_killed_or_stopped(
    slow: Simulator, folder: Path, how: signal.Signals
) -> None:
    env = slow.environment()
    daemon = start(folder, *LIVE, env=env)
    guard = Guarding(folder, env)
    until(lambda: resting(slow) == 1, 25, "a resting maker")
    until(lambda: "guarding" in guard.text(), 15, "a guard that is logged in")
    time.sleep(4.5)  # noqa: TID251 - longer than the guard's patience
    assert "guard_acts" not in guard.text(), "a living daemon's maker is left alone"
    until(lambda: resting(slow) == 1, 25, "a maker, be it another one")
    received = slow.ask("/state")["grvt"]["orders_received"]
    daemon.send_signal(how)
    until(lambda: resting(slow) == 0, 12, "no maker rests")
    until(lambda: "guard_cancel" in guard.text(), 5, "the guard says so")
    assert "guard_acts" in guard.text()
    assert slow.ask("/state")["grvt"]["orders_received"] == received, "it opens nothing"
    if how is signal.SIGSTOP:
        daemon.send_signal(signal.SIGCONT)
        until(lambda: "daemon_back" in guard.text(), 15, "the guard stands back")
        daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(40 * PATIENCE) in (0, -9)
    assert guard.stop() == 0
    for secret in (env["BACKPACK_SECRET_KEY"], env["GRVT_API_KEY"], env["GRVT_PRIVATE_KEY"]):
        assert secret not in guard.text()


def test_an_orderly_end_leaves_nothing_to_guard(slow: Simulator, folder: Path) -> None:
    env = slow.environment()
    daemon = start(folder, *LIVE, env=env)
    until(lambda: resting(slow) == 1, 25, "a resting maker")
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(30 * PATIENCE) == 0
    guard = Guarding(folder, env)
    until(lambda: "guarding" in guard.text(), 15, "a guard that is logged in")
    time.sleep(4.5)  # noqa: TID251 - longer than the guard's patience
    assert "guard_acts" not in guard.text()
    assert guard.stop() == 0


def test_a_guard_with_wrong_keys_ends_at_once(slow: Simulator, folder: Path) -> None:
    env = {**slow.environment(), "GRVT_API_KEY": "wrong-key-canary-12345"}
    guard = Guarding(folder, env)
    assert guard.process.wait(20 * PATIENCE) == 78
    assert "refused" in guard.text()
    assert "wrong-key-canary" not in guard.text()


def test_the_unit_is_its_own_and_stays_closed(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "hedged-guard@.service").read_text()
    assert "PartOf" not in text
    assert "Restart=always" in text
    daemon = (ROOT / "deploy" / "hedged@.service").read_text()
    shared = re.findall(r"^(?:User|StateDirectory)=.*$", text, re.MULTILINE)
    assert shared
    assert all(line in daemon for line in shared), "or it could not read the heartbeat"
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        assert "ProtectSystem=strict" in text
        return
    unit = tmp_path / "hedged-guard@ETH.service"
    unit.write_text(re.sub(r"/opt/hedged/\S+/hedged-guard", "/bin/true", text))
    verified = subprocess.run(
        [analyze, "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert str(unit) not in verified.stderr, verified.stderr
    scored = subprocess.run(
        [analyze, "security", "--offline=true", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    score = re.search(r"exposure level for \S+: ([0-9.]+)", scored.stdout)
    assert score is not None
    assert float(score[1]) <= 1.5

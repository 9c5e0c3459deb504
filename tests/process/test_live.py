"""``hedged --venues live`` against ``hedged simulate`` in another process, over loopback."""

import json
import random  # noqa: TID251 - a seeded moment for each kill
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.process.programs import (
    OVERLOADED,
    PATIENCE,
    Simulator,
    hedged,
    holding,
    slack,
    start,
    until,
)

LIVE = ("--ticker", "ETH", "--venues", "live", "--log-format", "console", "--fill-timeout", "1")


def bps_from_touch(state: Path) -> list[Fraction]:
    """Return how far from the touch of its decision each hedge was bounded, as journalled."""
    with closing(sqlite3.connect(state / "live.db")) as journal:
        rows = journal.execute(
            "SELECT side, px, touch FROM orders WHERE tif = 'ioc' AND purpose = 'hedge'"
        ).fetchall()
    return [Fraction((px - touch) * side * 10_000, touch) for side, px, touch in rows]


def test_live_against_a_simulator_in_another_process(simulator: Simulator, tmp_path: Path) -> None:
    done = hedged(
        tmp_path, *LIVE, "--size", "0.5", "--iter", "2", "--summary-json", "s.json",
        env=simulator.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["iterations"] == 2
    assert summary["final"] == {"backpack": "0", "grvt": "0", "net": "0"}
    assert summary["degraded"] == 0 or slack() > OVERLOADED
    assert simulator.positions() == ("0", "0")
    starting = [line for line in done.stdout.splitlines() if "[SMART_ROUTING] starting" in line]
    assert len(starting) == summary["hedges"]
    assert all(" target=" in line and " price=" in line and " spread=" in line for line in starting)
    assert "[SMART_ROUTING] filled" in done.stdout
    log = (tmp_path / "logs" / "hedged-ETH.log").read_text()
    assert log.count("[SMART_ROUTING] starting") == len(starting)
    assert all(bps <= 5 for bps in bps_from_touch(tmp_path / "state"))


@pytest.mark.timeout(180)
def test_REQ_22_ten_kills_at_random_moments_then_a_normal_start(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    simulator = fresh_simulator("--speed", "6")
    env = simulator.environment()
    moments = random.Random(22)  # noqa: S311 - a schedule, not a secret
    for _ in range(10):
        process = start(tmp_path, *LIVE, "--size", "0.5", "--iter", "0", env=env)
        time.sleep(moments.uniform(1.2, 4.0))  # noqa: TID251 - the moment of the kill
        process.send_signal(signal.SIGKILL)
        process.wait(10 * PATIENCE)
    done = hedged(tmp_path, *LIVE, "--size", "0.5", "--iter", "1", env=env, limit=150)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "[RECONCILE] reconciled" in done.stdout
    assert simulator.positions() == ("0", "0")
    assert worst_net(simulator) <= 0.5 + 1e-9


def worst_net(simulator: Simulator) -> float:
    """Replay the simulator's own orders: the largest net position that ever stood."""
    events = []
    for row in simulator.ask("/audit")["orders"]:
        if float(row["filled"]):
            sign = 1 if row["side"] == "buy" else -1
            events.append((int(row["last_fill_at"]), sign * float(row["filled"])))
    net = worst = 0.0
    for _, size in sorted(events):
        net += size
        worst = max(worst, abs(net))
    return worst


def test_REQ_22_sigterm_with_a_resting_maker_cancels_and_exits_clean(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    simulator = fresh_simulator("--speed", "0.05")
    env = simulator.environment()
    flags = ("--size", "0.5", "--primary-mode", "bbo_minus_1", "--fill-timeout", "60")
    process = start(tmp_path, *LIVE, *flags, env=env)
    until(lambda: simulator.ask("/state")["backpack"]["open_orders"] == 1, 20, "a resting maker")
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30 * PATIENCE) == 0
    assert time.monotonic() - begun < 30 * slack()
    state = simulator.ask("/state")
    assert state["backpack"]["open_orders"] == state["grvt"]["open_orders"] == 0
    assert abs(simulator.net()) < 0.01


@pytest.mark.parametrize("fault", ["F01", "F02", "F05", "F06"])
def test_hedges_survive_lost_and_garbled_replies(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path, fault: str
) -> None:
    """F01, F02, F05, F06 on the hedge venue: no second order, flat at the end."""
    simulator = fresh_simulator("--speed", "6")
    simulator.ask("/faults", "POST", {"venue": "grvt", "fault": fault, "count": 1})
    done = hedged(
        tmp_path, *LIVE, "--size", "0.3", "--iter", "1", env=simulator.environment(), limit=90
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert simulator.positions() == ("0", "0")
    assert worst_net(simulator) <= 0.3 + 1e-9
    assert sum(simulator.ask("/faults")["taken"].values()) == 1


def status_of(folder: Path) -> dict[str, Any]:
    done = hedged(folder, "status", "--json", limit=20)
    return dict(json.loads(done.stdout)) if done.stdout.startswith("{") else {}


def test_operator_commands_on_a_running_daemon(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    simulator = fresh_simulator("--speed", "6")
    env = simulator.environment()
    process = holding(simulator, tmp_path, *LIVE)
    shown = status_of(tmp_path)
    assert shown["mode"] == "RUNNING"
    assert shown["legs"]["backpack"]["position"] == "0.5"
    second = hedged(tmp_path, *LIVE, "--size", "0.5", env=env, limit=30)
    assert second.returncode == 79
    flattened = hedged(tmp_path, "flatten", env=env, limit=60)
    assert flattened.returncode == 0, flattened.stdout + flattened.stderr
    assert process.wait(30 * PATIENCE) == 77
    assert simulator.positions() == ("0", "0")
    again = hedged(tmp_path, *LIVE, "--size", "0.5", "--iter", "1", env=env, limit=30)
    assert again.returncode == 77
    assert hedged(tmp_path, "resume", "--yes", limit=20).returncode == 0
    last = hedged(tmp_path, *LIVE, "--size", "0.5", "--iter", "1", env=env)
    assert last.returncode == 0, last.stdout[-2000:]


def test_flatten_works_with_the_daemon_dead(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    simulator = fresh_simulator("--speed", "6")
    env = simulator.environment()
    process = holding(simulator, tmp_path, *LIVE)
    process.send_signal(signal.SIGKILL)
    process.wait(10 * PATIENCE)
    done = hedged(tmp_path, "flatten", env=env, limit=60)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert simulator.positions() == ("0", "0")


def test_REQ_27_a_start_on_an_unexplained_position_is_refused(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    simulator = fresh_simulator("--speed", "6")
    env = simulator.environment()
    first, other = tmp_path / "first", tmp_path / "other"
    first.mkdir()
    other.mkdir()
    process = start(first, *LIVE, "--size", "0.5", "--sleep", "600", env=env)
    until(lambda: simulator.positions() == ("0.5", "-0.5"), 60, "a hedged position")
    process.send_signal(signal.SIGKILL)
    process.wait(10 * PATIENCE)
    received = simulator.ask("/state")["backpack"]["orders_received"]
    done = hedged(other, *LIVE, "--size", "0.5", "--iter", "1", env=env, limit=30)
    assert done.returncode == 78
    assert "venue says" in done.stdout
    assert "hedged flatten" in done.stdout
    assert simulator.ask("/state")["backpack"]["orders_received"] == received


def test_S14_secrets_appear_nowhere(simulator: Simulator, tmp_path: Path) -> None:
    env = simulator.environment()
    done = hedged(tmp_path, *LIVE, "--size", "0.2", "--iter", "1", env=env)
    assert done.returncode == 0
    secrets = [env[k] for k in ("BACKPACK_SECRET_KEY", "GRVT_API_KEY", "GRVT_PRIVATE_KEY")]
    secrets.append(env["GRVT_PRIVATE_KEY"].removeprefix("0x"))
    written = [done.stdout.encode(), done.stderr.encode()]
    written += [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    for secret in secrets:
        assert not any(secret.encode() in text for text in written)
    wrong = {**env, "GRVT_API_KEY": "wrong-key-canary-12345"}
    refused = hedged(tmp_path, *LIVE, "--size", "0.2", "--iter", "1", env=wrong, limit=30)
    assert refused.returncode == 78
    assert "GRVT_API_KEY" in refused.stdout
    assert "wrong-key-canary" not in refused.stdout + refused.stderr

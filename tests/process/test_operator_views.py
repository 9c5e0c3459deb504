"""``hedged doctor`` before going live, and ``hedged watch`` beside a daemon that trades."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.process.programs import HEDGED, PATIENCE, Simulator, hedged, holding

LIVE = ("--ticker", "ETH", "--venues", "live", "--log-format", "console")


def test_doctor_finds_the_simulated_venues_ready_and_places_nothing(
    simulator: Simulator, tmp_path: Path
) -> None:
    before = len(simulator.ask("/audit")["orders"])
    flags = ("doctor", "--ticker", "ETH", "--size", "0.5")
    done = hedged(tmp_path, *flags, "--json", env=simulator.environment(), limit=60)
    told = json.loads(done.stdout)
    disk = [c for c in told["checks"] if c["check"] == "disk"]
    failed = [c for c in told["checks"] if c["state"] == "FAIL" and c not in disk]
    assert failed == [], "the disk of a busy machine may be slow, nothing else"
    assert done.returncode == (0 if told["ready"] else 78)
    assert len(simulator.ask("/audit")["orders"]) == before
    assert simulator.positions() == ("0", "0")


def test_doctor_names_a_wrong_key_and_hides_it(simulator: Simulator, tmp_path: Path) -> None:
    env = simulator.environment() | {"GRVT_API_KEY": "canary-of-a-wrong-key"}
    done = hedged(tmp_path, "doctor", "--ticker", "ETH", "--size", "0.5", env=env, limit=60)
    assert done.returncode == 78
    assert "FAIL  grvt login" in done.stdout
    assert "GRVT_API_KEY" in done.stdout
    assert "canary" not in done.stdout + done.stderr


def test_watch_shows_a_daemon_that_trades_and_ends_with_it(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    simulator = fresh_simulator("--speed", "6")
    env = simulator.environment()
    process = holding(simulator, tmp_path, *LIVE)
    with subprocess.Popen(
        [*HEDGED, "watch", "--interval", "0.2"],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as view:
        assert view.stdout is not None
        seen = [view.stdout.readline() for _ in range(12)]
        process.send_signal(signal.SIGTERM)
        rest = view.stdout.read()
        assert view.wait(30 * PATIENCE) == 0
    text = "".join(seen)
    assert "RUNNING  iteration 1 hold" in text
    assert any(line.startswith("backpack") and " 0.5 " in line for line in seen)
    assert any(line.startswith("grvt") and " -0.5 " in line for line in seen)
    assert rest.endswith("the daemon has ended: `hedged status` shows what it left\n")
    assert process.wait(30 * PATIENCE) == 0


def test_bench_latency_times_the_daemon_and_the_sdk_over_the_wire(tmp_path: Path) -> None:
    done = hedged(tmp_path, "bench", "latency", "--samples", "1", "--json", limit=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    paths = {name for name in told if name != "ratio_p50"}
    assert {"hedged", "sdk"} <= paths <= {"hedged", "hedged_without_commit", "sdk"}
    assert all(
        told[name]["n"] == 1 and 0 < told[name]["p50"] <= told[name]["p99"] for name in paths
    )
    assert told["ratio_p50"] > 0
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"

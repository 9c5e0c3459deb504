"""``hedged --venues sim``: the embedded simulator through the real adapters."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.process.programs import (
    OVERLOADED,
    PATIENCE,
    Simulator,
    environment,
    hedged,
    slack,
    start,
    until,
)

ETH = ("--ticker", "ETH", "--log-format", "console", "--summary-json", "s.json")
QUICK = "[tuning]\npassive_seconds = 0.4\n"


def run(folder: Path, *flags: str, env: dict[str, str] | None = None) -> tuple[int, str, Any]:
    done = hedged(folder, *ETH, *flags, env=env, limit=150)
    path = folder / "s.json"
    summary = json.loads(path.read_text()) if path.exists() else None
    return done.returncode, done.stdout + done.stderr, summary


def quick(folder: Path) -> tuple[str, str]:
    (folder / "quick.toml").write_text(QUICK)
    return "--config", "quick.toml"


@pytest.mark.timeout(170)
@pytest.mark.parametrize("size", ["0.1", "0.5", "1.0"])
@pytest.mark.parametrize("book", ["recorded", "synthetic"])
def test_each_size_hedges_in_full_within_its_deadline(tmp_path: Path, size: str, book: str) -> None:
    flags = ["--size", size, "--iter", "1", "--speed", "3"]
    flags += ["--book", "synthetic"] if book == "synthetic" else []
    code, out, summary = run(tmp_path, *flags)
    assert code == 0, out[-3000:]
    assert summary["iterations"] == 1
    assert summary["final"] == {"backpack": "0", "grvt": "0", "net": "0"}
    assert summary["hedges"] >= 2
    if summary["hedges_failed"]:  # a typed refusal, then a flat finish
        assert "insufficient_liquidity" in out
        return
    assert summary["degraded"] == 0 or slack() > OVERLOADED
    deadline = min(max(20_000 * float(size), 5_000), 20_000)
    assert summary["fill_to_hedged_ms_p99"] <= deadline * slack()
    slippage = [float(x) for x in re.findall(r"iteration n=.*? slippage_bps=(-?[\d.]+)", out)]
    assert slippage
    assert max(slippage) <= 5


@pytest.mark.parametrize("hedge_mode", ["smart", "market"])
@pytest.mark.parametrize("primary_mode", ["bbo", "bbo_minus_1", "aggressive"])
def test_REQ_13_every_side_phase_and_mode_hedges_over_the_wire(
    tmp_path: Path, primary_mode: str, hedge_mode: str
) -> None:
    """Two iterations: BUILD and UNWIND, buying first and selling first."""
    code, out, summary = run(
        tmp_path, "--size", "0.2", "--iter", "2", "--speed", "8", "--fill-timeout", "1",
        "--primary-mode", primary_mode, "--hedge-mode", hedge_mode, *quick(tmp_path),
    )  # fmt: skip
    assert code == 0, out[-3000:]
    assert summary["iterations"] == 2
    assert summary["final"] == {"backpack": "0", "grvt": "0", "net": "0"}
    sides = re.findall(r"\[SMART_ROUTING\] starting side=(\w+)", out)
    assert {"buy", "sell"} == set(sides)
    assert summary["hedges"] == len(sides) >= 4
    assert summary["degraded"] == 0 or slack() > OVERLOADED
    if hedge_mode == "market":
        assert summary["maker_share"] == 0


def test_build_in_steps_up_to_max_position(tmp_path: Path) -> None:
    code, out, summary = run(
        tmp_path, "--size", "0.2", "--max-position", "0.5", "--iter", "1", "--speed", "8",
        "--fill-timeout", "1", *quick(tmp_path),
    )  # fmt: skip
    assert code == 0, out[-3000:]
    assert summary["cycles"] >= 6
    assert summary["final"]["net"] == "0"
    assert "hold iteration=1 first=buy backpack=0.5 grvt=-0.5" in out


@pytest.mark.parametrize(
    ("limit", "reason"),
    [({"MAX_DAILY_LOSS": "0.2"}, "max_daily_loss"), ({"MAX_POSITION": "0.3"}, "max_position")],
)
def test_REQ_23_limits_stop_openings_flatten_halt_and_stay_latched(
    tmp_path: Path, limit: dict[str, str], reason: str
) -> None:
    flags = ("--size", "0.2", "--max-position", "0.6", "--iter", "0", "--speed", "8",
             "--fill-timeout", "1", *quick(tmp_path))  # fmt: skip
    env = environment(**limit)
    code, out, summary = run(tmp_path, *flags, env=env)
    assert code == 77, out[-3000:]
    assert summary["final"] == {"backpack": "0", "grvt": "0", "net": "0"}
    assert summary["latch"] == "HALTED"
    assert summary["latch_reason"].startswith(reason)
    assert f'latch mode=REDUCING reason="{reason}' in out
    latched = out.index("latch mode=REDUCING")
    assert "[OPEN] order" not in out[latched:]
    assert run(tmp_path, *flags, env=env)[0] == 77
    resumed = hedged(tmp_path, "resume", "--yes", limit=20)
    assert resumed.returncode == 0, resumed.stderr
    if reason == "max_position":
        ok, out, _ = run(tmp_path, "--size", "0.2", "--iter", "1", "--speed", "8", *quick(tmp_path))
        assert ok == 0, out[-2000:]


BAD = [
    (("--ticker", "NOPE", "--size", "0.5"), 2, "NOPE"),
    (("--ticker", "ETH", "--size", "0.001"), 2, "0.01"),
    (("--ticker", "ETH", "--size", "0.505"), 2, "0.5 or 0.51"),
    (("--ticker", "ETH", "--size", "-1"), 2, "--size"),
    (("--ticker", "ETH", "--size", "nan"), 2, "--size"),
    (("--ticker", "ETH"), 2, "--size"),
    (("--size", "0.5"), 2, "--ticker"),
    (("--ticker", "ETH", "--size", "0.5", "--book", "absent.gz"), 78, "absent.gz"),
    (("--ticker", "ETH", "--size", "0.5", "--book", "bad.jsonl"), 78, "bad.jsonl"),
    (("--ticker", "ETH", "--size", "0.5", "--config", "bad.toml"), 78, "sizee"),
    (("--ticker", "ETH", "--size", "0.5", "--venues", "live"), 78, "BACKPACK_PUBLIC_KEY"),
    (("--ticker", "ETH", "--size", "0.5", "--primary-mode", "best"), 2, "--primary-mode"),
    (("--ticker", "ETH", "--size", "0.5", "--nonsense"), 2, "nonsense"),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "code", "names"), BAD, ids=lambda v: str(v)[:60])
def test_bad_input_is_one_clear_line_and_nothing_is_sent(
    tmp_path: Path, flags: tuple[str, ...], code: int, names: str
) -> None:
    (tmp_path / "bad.jsonl").write_text('{"type":"header","format":"other"}\n')
    (tmp_path / "bad.toml").write_text("sizee = 1\n")
    done = hedged(tmp_path, *flags, "--log-format", "console", limit=30)
    said = (done.stdout + done.stderr).strip()
    assert done.returncode == code, said
    assert names in said
    assert "Traceback" not in said
    problem = [x for x in said.splitlines() if "refused" in x or x.startswith("hedged")]
    assert len(problem) == 1, said


def test_json_log_lines_have_the_contract_fields(tmp_path: Path) -> None:
    done = hedged(
        tmp_path, "--ticker", "ETH", "--size", "0.1", "--iter", "1", "--speed", "8",
        "--log-format", "json", "--fill-timeout", "1", *quick(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert all({"ts", "level", "tag", "event"} <= set(row) for row in rows)
    started = [r for r in rows if (r["tag"], r["event"]) == ("SMART_ROUTING", "starting")]
    assert started
    assert all(isinstance(r["target"], str) and isinstance(r["price"], str) for r in started)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", r["ts"]) for r in rows)


def test_an_illiquid_hedge_venue_ends_in_an_undone_primary_and_flat(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    """F65: the hedge book empties under a fill; the primary is undone, reduce-only."""
    simulator = fresh_simulator("--speed", "6")
    (tmp_path / "slow.toml").write_text("[tuning]\npassive_seconds = 60\n")
    env = simulator.environment()
    process = start(
        tmp_path, "--ticker", "ETH", "--venues", "live", "--size", "0.5", "--fill-timeout", "1",
        "--max-unhedged-ms", "5000", "--log-format", "console", "--config", "slow.toml",
        "--hedge-mode", "smart", "--iter", "0", "--max-position", "5", env=env,
    )  # fmt: skip
    out = tmp_path / "out.txt"
    for _ in range(5):  # the resting hedge may be filled in the moment before the book empties
        until(lambda: simulator.ask("/state")["grvt"]["open_orders"] > 0, 60, "a resting hedge")
        simulator.ask("/market", "POST", {"venue": "grvt", "ticker": "ETH", "liquidity": 0})
        with suppress(AssertionError):
            until(lambda: "[EMERGENCY] order " in out.read_text(), 3, "an emergency")
            break
        simulator.ask("/market", "POST", {"venue": "grvt", "ticker": "ETH", "liquidity": 1})
    until(lambda: abs(simulator.net()) < 0.01, 20, "flat again")
    process.terminate()
    assert process.wait(35 * PATIENCE) in (0, 77)
    undone = [
        r for r in simulator.ask("/audit")["orders"]
        if r["venue"] == "backpack" and r["reduce_only"] and not r["post_only"]
    ]  # fmt: skip
    assert undone
    assert abs(simulator.net()) < 0.01

"""``hedged report`` and ``explain`` beside a daemon that trades, and after it has ended."""

import json
import re
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.process.programs import PATIENCE, hedged, start, until

FLAGS = ("--ticker", "ETH", "--size", "0.1", "--fill-timeout", "1", "--speed", "8",
         "--log-format", "console", "--log-file", "-", "--state-dir")  # fmt: skip


def report(folder: Path, state: Path) -> dict[str, Any]:
    done = hedged(folder, "report", "--json", "--state-dir", str(state), limit=30)
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def test_a_report_beside_a_running_daemon_disturbs_nothing(tmp_path: Path) -> None:
    state, out = tmp_path / "state", tmp_path / "out.txt"
    process = start(tmp_path, *FLAGS, str(state), "--iter", "0", "--hedge-mode", "market")
    try:
        until(lambda: "[METRICS] tca" in out.read_text(), 60, "a hedge")
        made = report(tmp_path, state)
        assert made["tca"]["all"]["n"] >= 1
        total = sum(Decimal(text) for text in made["pnl"]["attribution"].values())
        assert total == Decimal(made["pnl"]["total"])
        told = hedged(tmp_path, "explain", "h-1", "--state-dir", str(state), limit=30)
        assert told.returncode == 0, told.stderr
        assert "cross: market mode" in told.stdout
        assert process.poll() is None
    finally:
        process.terminate()
        code = process.wait(35 * PATIENCE)
    said = out.read_text()
    assert code == 0, said[-2000:]
    assert "internal_error" not in said
    with sqlite3.connect(state / "sim.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_the_report_of_a_run_agrees_with_its_summary_and_its_log(tmp_path: Path) -> None:
    state = tmp_path / "state"
    run = hedged(
        tmp_path, *FLAGS, str(state), "--iter", "1", "--summary-json", str(tmp_path / "s.json")
    )
    assert run.returncode == 0, run.stdout[-2000:]
    summary = json.loads((tmp_path / "s.json").read_text())
    made = report(tmp_path, state)
    assert round(Decimal(made["pnl"]["total"]), 6) == Decimal(summary["pnl_quote"])
    assert made["pnl"]["cost_bps_of_volume"] == summary["cost_bps_of_volume"]
    assert made["tca"]["all"]["n"] == summary["hedges"]
    assert made["tca"]["all"]["maker_share"] == summary["maker_share"]
    assert made["ticker"] == "ETH"
    logged = re.findall(r"\[METRICS\] tca hedge=(\S+) .*shortfall=(\S+) ", run.stdout)
    assert logged == [(h["hedge"], h["shortfall"]) for h in made["hedges"]]
    order = re.findall(r"\[SMART_ROUTING\] iteration .* order=(\d+)", run.stdout)[0]
    told = hedged(tmp_path, "explain", order, "--json", "--state-dir", str(state), limit=30)
    assert told.returncode == 0, told.stderr
    chain = json.loads(told.stdout)["chain"]
    assert {"inputs", "rule", "gate", "sent"} <= {step["step"] for step in chain}
    unknown = hedged(tmp_path, "explain", "h-999", "--state-dir", str(state), limit=30)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.count("\n") == 1

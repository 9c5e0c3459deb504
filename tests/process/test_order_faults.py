"""Orders whose fate is unknown, over the wire: the daemon against the simulator's own books."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exchanges.grvt.codec import client_text
from tests.process.programs import PATIENCE, Simulator, hedged, holding, start, until

LIVE = ("--ticker", "ETH", "--venues", "live", "--log-format", "json", "--fill-timeout", "1")


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def events(text: str, event: str) -> list[dict[str, Any]]:
    return [line for line in lines(text) if line["event"] == event]


def doubled(simulator: Simulator) -> list[str]:
    """Client ids that one venue took more than once."""
    ids = [(r["venue"], r["client_id"]) for r in simulator.ask("/audit")["orders"]]
    return [client for venue, client in ids if ids.count((venue, client)) > 1]


@pytest.mark.parametrize(
    "fault",
    [{"fault": "F02"}, {"fault": "F03", "delay_ms": 2500}, {"fault": "F13", "mode": "trimmed"}],
)
def test_F02_F03_F13_hedges_that_went_astray_end_hedged_and_never_doubled(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path, fault: dict[str, object]
) -> None:
    simulator = fresh_simulator("--speed", "6")
    simulator.ask("/faults", "POST", {"venue": "grvt", "count": 1, **fault})
    done = hedged(
        tmp_path, *LIVE, "--size", "0.3", "--iter", "1", "--hedge-mode", "market",
        env=simulator.environment(), limit=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert simulator.positions() == ("0", "0")
    assert doubled(simulator) == []
    assert sum(simulator.ask("/faults")["taken"].values()) == 1
    if fault["fault"] == "F13":
        return
    told(simulator, done.stdout, arrives=fault["fault"] == "F03")


def told(simulator: Simulator, text: str, *, arrives: bool) -> None:
    """An order in doubt ended by what the venue holds, or by a proof that is true.

    A machine that was slow may have left no time for a copy, or needed none: the late order may be
    found before a copy is due, and what never arrived may be proved dead and hedged anew.
    """
    taken = {str(r["client_id"]) for r in simulator.ask("/audit")["orders"]}
    doubtful, dead, copied = (
        {client_text(e["order"]) for e in events(text, what)}
        for what in ("in_doubt", "dead", "resent")
    )
    assert doubtful
    assert not dead & taken, "a proof of death about an order that the venue took"
    assert doubtful <= taken | dead
    assert copied <= doubtful
    if arrives:
        assert doubtful <= taken, "it arrived: it is found, and nothing takes its place"
    else:
        assert copied or dead, "what never arrived is sent again or proved dead"


def test_F74_F75_one_empty_answer_is_not_flat_and_an_orphan_pair_is_named(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    simulator = fresh_simulator("--speed", "6")
    env = simulator.environment()
    process = holding(simulator, tmp_path, *LIVE)
    process.send_signal(signal.SIGKILL)
    process.wait(10 * PATIENCE)
    other = tmp_path / "other"
    other.mkdir()
    lost = hedged(other, *LIVE, "--size", "0.5", "--iter", "1", env=env, limit=40)
    assert lost.returncode == 78
    why = events(lost.stdout, "refused")[0]["why"]
    assert "an orphan pair (no journal of it)" in why
    assert "grvt position differs" in why
    assert "`hedged flatten`" in why
    simulator.ask("/faults", "POST", {"venue": "grvt", "fault": "F74", "count": 1})
    again = hedged(tmp_path, *LIVE, "--size", "0.5", "--iter", "1", env=env, limit=40)
    assert again.returncode == 75, "an answer without positions is no answer"
    assert simulator.positions() == ("0.5", "-0.5")
    simulator.ask("/faults", "POST", {"venue": "backpack", "fault": "F74", "count": 1})
    done = hedged(tmp_path, *LIVE, "--size", "0.5", "--iter", "1", env=env, limit=90)
    assert done.returncode == 0, done.stdout[-3000:]
    assert simulator.positions() == ("0", "0")
    assert events(done.stdout, "reconciled")
    assert not events(done.stdout, "adopted")


def test_F69_REQ_42_a_failover_that_loses_the_maker_is_noticed_and_quoted_again(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    simulator = fresh_simulator("--speed", "0.05")
    env = simulator.environment()
    flags = ("--size", "0.5", "--primary-mode", "bbo_minus_1", "--fill-timeout", "60")
    process = start(tmp_path, *LIVE, *flags, env=env)

    def makers() -> list[str]:
        rows = simulator.ask("/audit")["orders"]
        return [r["client_id"] for r in rows if r["venue"] == "backpack"]

    until(lambda: simulator.ask("/state")["backpack"]["open_orders"] == 1, 25, "a resting maker")
    before = makers()
    simulator.ask("/faults", "POST", {"venue": "backpack", "fault": "F69"})
    until(lambda: len(makers()) > len(before), 25, "another maker")
    until(lambda: simulator.ask("/state")["backpack"]["open_orders"] == 1, 15, "it rests")
    assert doubled(simulator) == []
    process.send_signal(signal.SIGTERM)
    assert process.wait(30 * PATIENCE) == 0
    assert simulator.ask("/state")["backpack"]["open_orders"] == 0
    assert abs(simulator.net()) < 0.01

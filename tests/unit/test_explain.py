"""``hedged explain``: every order, hedge and alert tells its whole story, in order."""

import json
from pathlib import Path
from typing import Any

import pytest

from daemon import cli
from daemon.explain import Explainer, lines
from daemon.journal import Journal
from daemon.journal_read import read_journal
from strategy.domain import Mode, Ns, SignedQty, nano
from strategy.events import HedgeStarted, LatchMoved
from tests.builders import SECOND, at, draft, px
from tests.unit.tca_rig import Rig, passive_then_cross
from tests.unit.test_report import older, trade


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    trade(folder)
    return folder


def tell(path: Path, name: str) -> dict[str, Any]:
    with read_journal(path) as reader:
        return Explainer(reader, path).tell(name)


def steps(told: dict[str, Any]) -> list[str]:
    return [step["step"] for step in told["chain"]]


@pytest.fixture
def journalled(tmp_path: Path) -> Path:
    """The hedge by hand of test_tca, in a file; with a markout."""
    path = tmp_path / "sim.db"
    rig = Rig(str(path))
    passive_then_cross(rig)
    rig.tick(2)
    rig.journal.event(
        "Markout", {"hedge_id": 1, "after": 1, "mid": px("3001"), "quote": 5}, at(3).wall
    )
    rig.journal.close()
    return path


def test_a_hedge_tells_arrival_rule_orders_fills_cost_and_markout_in_order(
    state: Path,
) -> None:
    told = tell(state / "sim.db", "h-1")
    order = steps(told)
    for earlier, later in (
        ("cause", "hedge"), ("hedge", "inputs"), ("inputs", "rule"), ("rule", "gate"),
        ("gate", "sent"), ("sent", "answer"), ("answer", "fill"), ("fill", "tca"),
        ("tca", "markout"),
    ):  # fmt: skip
        assert order.index(earlier) < order.index(later), (earlier, later, order)
    times = [step["after_ms"] for step in told["chain"]]
    assert times == sorted(times)
    assert order.count("markout") == 3
    assert told["tca"]["hedge"] == "h-1"
    assert told["outcome"].startswith("ended ")
    assert f"filled {told['tca']['filled']} at {told['tca']['vwap']}; cost" in told["outcome"]


def test_inputs_carry_touch_spread_and_age(state: Path) -> None:
    told = tell(state / "sim.db", "h-1")
    inputs = [step["text"] for step in told["chain"] if step["step"] == "inputs"]
    assert any(text.startswith("grvt: bid ") for text in inputs)
    assert any(text.startswith("backpack: bid ") for text in inputs)
    assert all("spread" in text and "ms old (stream)" in text for text in inputs)


def test_an_order_of_the_primary_names_the_hedge_that_its_fill_led_to(state: Path) -> None:
    hedge = tell(state / "sim.db", "h-1")
    maker = next(step["order"] for step in hedge["chain"] if step["step"] == "cause")
    told = tell(state / "sim.db", str(maker))
    assert told["kind"] == "order"
    assert told["what"].startswith("open order on backpack: buy 0.5")
    assert "hedged by h-1" in told["outcome"]
    rule = next(step["text"] for step in told["chain"] if step["step"] == "rule")
    assert rule.startswith("build of iteration 1: rests at the touch")


def test_an_order_of_a_hedge_names_it(journalled: Path) -> None:
    told = tell(journalled, "2")
    assert steps(told) == ["inputs", "inputs", "rule", "gate", "sent", "answer", "fill", "end"]
    assert "part of h-1" in told["outcome"]
    rule = next(step["text"] for step in told["chain"] if step["step"] == "rule")
    assert rule.startswith("cross: cross 5.00 rest 6.00 bps")


def test_why_it_crossed_is_the_cost_models_text(journalled: Path) -> None:
    told = tell(journalled, "h-1")
    phase = [step["text"] for step in told["chain"] if step["step"] == "phase"]
    assert phase == ["h-1 to cross: cross 5.00 rest 6.00 bps"]
    assert "spread 0.08 + resting -0.01 + delay 0.30 + fee 2.67 + rebate -0.04" in told["outcome"]


def test_a_journal_of_an_older_release_still_tells_a_hedge(state: Path, tmp_path: Path) -> None:
    told = tell(older(state / "sim.db", tmp_path), "h-1")
    order = steps(told)
    assert {"hedge", "sent", "answer", "fill", "end"} <= set(order)
    assert "inputs" not in order
    assert f"filled {told['tca']['filled']} at" in told["outcome"]


def test_a_hedge_that_never_ended_says_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "sim.db", Ns(0))
    began = HedgeStarted(
        7, SignedQty(nano("-0.5")), px("3000"), px("3000.025"), at(0).mono, at(0.002)
    )
    journal.event("HedgeStarted", began, at(0).wall)
    journal.close()
    told = tell(tmp_path / "sim.db", "h-7")
    assert "not over, or its process died: filled 0" in told["outcome"]


# --- alerts ------------------------------------------------------------------------------------


@pytest.fixture
def alarmed(tmp_path: Path) -> tuple[Path, int]:
    """A denial, then a latch and its alert, then the operator's resume."""
    path = tmp_path / "sim.db"
    journal = Journal(path, Ns(0))
    denied = {"code": "max_position", "detail": "6 above 5", "draft": draft()}
    journal.event("Denied", denied, at(1).wall)
    journal.event("LatchMoved", LatchMoved(Mode.REDUCING, "max_position", at(2)), at(2).wall)
    body = {"event": "latch", "mode": "REDUCING", "reason": "max_position"}
    seq = journal.event("Alert", body, at(2).wall)
    journal.event("LatchMoved", LatchMoved(Mode.RUNNING, "", at(9)), at(9).wall)
    journal.close()
    return path, seq


def test_an_alert_tells_what_came_before_and_how_it_ended(alarmed: tuple[Path, int]) -> None:
    told = tell(alarmed[0], f"a-{alarmed[1]}")
    assert steps(told) == ["gate", "latch", "alert", "latch"]
    assert told["chain"][0]["text"] == (
        "denied hedge sell 0.5 on grvt: max_position, 6 above 5"
    )  # fmt: skip
    assert told["outcome"] == "RUNNING"
    assert told["advice"] == "docs/alerts.md, `latch`"


def test_an_alerts_name_is_the_newest_of_it(alarmed: tuple[Path, int]) -> None:
    assert tell(alarmed[0], "latch")["id"] == f"a-{alarmed[1]}"


def test_an_alert_that_names_a_hedge_brings_its_chain(journalled: Path) -> None:
    journal = Journal(journalled, Ns(0))
    seq = journal.event("Alert", {"event": "hedge_late", "hedge": "h-1"}, at(100).wall)
    journal.close()
    told = tell(journalled, f"a-{seq}")
    assert {"hedge", "sent", "tca", "alert"} <= set(steps(told))
    assert told["outcome"] == "nothing was latched since"


def test_an_alert_that_names_an_order_brings_its_chain(journalled: Path) -> None:
    journal = Journal(journalled, Ns(0))
    seq = journal.event("Alert", {"event": "quarantined", "order": 2}, at(100).wall)
    journal.close()
    assert {"inputs", "rule", "alert"} <= set(steps(tell(journalled, f"a-{seq}")))


# --- the command -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["h-99", "a-99", "99", "latch", "0xfeed", "h-", ""])
def test_an_unknown_id_is_exit_2_with_one_line(
    name: str, journalled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["explain", name, "--state-dir", str(journalled.parent)]) == 2
    shown = capsys.readouterr()
    assert "no order, hedge or alert" in shown.err
    assert (shown.err.count("\n"), shown.out) == (1, "")


def test_the_console_lines_name_day_time_and_outcome(
    journalled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["explain", "h-1", "--state-dir", str(journalled.parent)]) == 0
    text = capsys.readouterr().out.splitlines()
    assert text[0].startswith("h-1: hedge: buy 0.5 on grvt, arrival mid 3000.025, touch 3000.05")
    assert text[0].endswith("(2023-11-14 UTC)")
    assert text[-1].startswith("outcome: ended cross: filled 0.5 at 3000.136")
    assert any(line.split()[1:3] == ["+0.0", "ms"] for line in text)


def test_json_is_one_object_with_stable_keys(
    journalled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["explain", "h-1", "--json", "--state-dir", str(journalled.parent)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"id", "kind", "what", "chain", "outcome", "tca"} == set(told)
    assert {"at", "after_ms", "step", "text"} <= set(told["chain"][0])
    assert next(iter(lines(told))).startswith("h-1")


def test_a_venues_own_order_id_finds_the_order(state: Path) -> None:
    with read_journal(state / "sim.db") as reader:
        named = next(o for o in reader.orders() if o.venue_order_id)
    if not named.venue_order_id.isdecimal():
        assert tell(state / "sim.db", named.venue_order_id)["id"] == str(named.client_id)
    assert tell(state / "sim.db", str(named.client_id))["kind"] == "order"
    assert named.sent_wall > SECOND


def test_standing_conditions_are_said_in_words(alarmed: tuple[Path, int]) -> None:
    journal = Journal(alarmed[0], Ns(0))
    level = {"code": "cool_down", "what": "pause 10 s", "stops": True, "venue": ""}
    for levels, seconds in (([level], 3), ([], 4)):
        journal.event("LevelsMoved", {"levels": levels}, at(seconds).wall)
    journal.close()
    told = tell(alarmed[0], "latch")
    said = [step["text"] for step in told["chain"] if step["step"] == "levels"]
    assert said == ["cool_down (pause 10 s)", "no standing condition is left"]

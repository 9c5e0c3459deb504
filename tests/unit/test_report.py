"""``hedged report``: sums that are exact, journals of every kind, and pages that stand alone."""

import json
import shutil
import sqlite3
import xml.etree.ElementTree as ET
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from daemon import cli, journal_read
from daemon.journal import Journal, JournalError
from daemon.journal_read import copy_journal, find_journal, read_journal
from daemon.report import build
from daemon.report_data import load
from daemon.report_html import page
from daemon.report_pnl import NAMES
from daemon.report_svg import Point, histogram, nice, scatter
from daemon.report_text import lines
from strategy.decide import unhedged
from strategy.domain import Mode, Ns, plain
from strategy.events import CyclePhase
from strategy.world import World
from tests.builders import SECOND, params
from tests.harness import Harness

DAY = "2023-11-14"
"""Of the harness' clock."""
RECORDS = ("HedgeTca", "Decided", "FillMarked", "Markout", "Marked", "Alert", "Denied")
"""What a journal of the release before TCA does not hold."""


def finished(h: Harness) -> bool:
    w = h.core.world
    done = w.cycle.phase is CyclePhase.DONE or w.mode is Mode.HALTED
    return done and not any(w.live()) and not unhedged(w)


def trade(folder: Path) -> World:
    """Trade two iterations into a journal; returns the World at their end."""
    h = Harness(7, params(iterations=2, fill_timeout=Ns(2 * SECOND)), folder / "sim.db")
    h.journal.put_meta("ticker", "ETH")
    h.run(400, lambda: finished(h))
    h.run(35)  # the last markouts
    world = h.core.world
    assert world.cycle.phase is CyclePhase.DONE
    h.journal.close()
    return world


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World]:
    """A state directory with a journal, and the World at its end."""
    folder = tmp_path_factory.mktemp("state")
    return folder, trade(folder)


@pytest.fixture
def made(traded: tuple[Path, World]) -> dict[str, Any]:
    with read_journal(traded[0] / "sim.db") as reader:
        return build(load(reader), None)


def run(*words: str) -> int:
    return cli.main(list(words))


# --- profit ----------------------------------------------------------------------------------


def test_the_total_is_the_daemons_own_profit_of_the_day(
    traded: tuple[Path, World], made: dict[str, Any]
) -> None:
    assert made["day"] == DAY
    assert made["pnl"]["total"] == plain(traded[1].day_pnl() or 0)
    assert made["pnl"]["positions"] == {"backpack": "0", "grvt": "0"}


def test_the_causes_add_up_to_the_total_exactly(made: dict[str, Any]) -> None:
    attribution = made["pnl"]["attribution"]
    assert list(attribution) == list(NAMES)
    assert sum(Decimal(text) for text in attribution.values()) == Decimal(made["pnl"]["total"])
    assert made["pnl"]["fills_without_mid"] == 0


def test_fees_and_volume_are_those_of_the_fills(
    traded: tuple[Path, World], made: dict[str, Any]
) -> None:
    for venue, leg in traded[1].legs.items():
        assert made["pnl"]["attribution"][f"fees_{venue.value}"] == plain(-leg.fees)
        assert made["volume"][venue.value] == plain(leg.volume)


def test_hedge_lines_are_the_records_parts_with_the_other_sign(made: dict[str, Any]) -> None:
    for name in ("spread", "depth", "resting", "delay", "rounding"):
        paid = sum(Decimal(h["parts"][name]) for h in made["hedges"])
        assert Decimal(made["pnl"]["attribution"][f"hedge_{name}"]) == -paid


def test_a_day_without_trades_and_all_days_together(traded: tuple[Path, World]) -> None:
    with read_journal(traded[0] / "sim.db") as reader:
        rows = load(reader)
    other = build(rows, "2023-11-15")
    assert other["tca"]["all"]["n"] == 0
    assert other["volume"] == {"backpack": "0", "grvt": "0"}
    assert other["pnl"]["cost_bps_of_volume"] is None
    both = build(rows, "all")
    assert both["pnl"]["total"] == plain(traded[1].equity() or 0)
    assert both["tca"]["all"]["n"] == traded[1].hedges
    assert "No hedge ended" in "\n".join(lines(other))


# --- hedges ------------------------------------------------------------------------------------


def test_every_hedge_is_there_once_and_its_parts_sum(
    traded: tuple[Path, World], made: dict[str, Any]
) -> None:
    count = traded[1].hedges
    assert count >= 4
    assert made["tca"]["all"]["n"] == len({h["hedge"] for h in made["hedges"]}) == count
    for hedge in made["hedges"]:
        assert sum(Decimal(p) for p in hedge["parts"].values()) == Decimal(hedge["shortfall"])
        assert not hedge["rebuilt"]
    assert sum(Decimal(h["filled"]) for h in made["hedges"]) == 2
    for key in ("by_side", "by_phase", "by_cycle"):
        assert sum(g["n"] for g in made["tca"][key].values()) == count, key
    assert set(made["tca"]["by_cycle"]) == {"build", "unwind"}


def test_markouts_times_and_exposure_are_measured(
    traded: tuple[Path, World], made: dict[str, Any]
) -> None:
    for after in ("1s", "5s", "30s"):
        assert made["markouts"][after]["n"] == traded[1].hedges
        assert made["markouts"][after]["missing"] == 0
    assert made["latency"]["sent_us"]["p99"] >= 0
    assert made["latency"]["ack_us"]["p50"] > 0
    assert Decimal(made["naked"]["base_seconds"]) > 0
    assert made["naked"]["unknown"] == 0


def test_the_dearest_hedges_come_first(made: dict[str, Any]) -> None:
    costs = [h["shortfall_bps"] for h in made["worst"]]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] == max(h["shortfall_bps"] for h in made["hedges"])


# --- journals of every kind --------------------------------------------------------------------


def test_an_empty_journal_is_an_empty_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Journal(tmp_path / "sim.db", Ns(0)).close()
    assert run("report", "--state-dir", str(tmp_path)) == 0
    assert "No hedge ended" in capsys.readouterr().out
    assert run("report", "--state-dir", str(tmp_path), "--json") == 0
    empty = json.loads(capsys.readouterr().out)
    assert empty["pnl"]["total"] == "0"
    assert empty["hedges"] == []
    assert empty["as_of"] is None


def older(source: Path, folder: Path) -> Path:
    """A journal as the release before TCA would have left it."""
    path = folder / "sim.db"
    shutil.copyfile(source, path)
    with sqlite3.connect(path) as db:
        marks = ",".join("?" * len(RECORDS))
        db.execute(f"DELETE FROM event WHERE kind IN ({marks})", RECORDS)  # noqa: S608 - fixed text
    db.close()
    return path


def test_hedges_of_an_older_release_are_rebuilt_from_their_rows(
    traded: tuple[Path, World], made: dict[str, Any], tmp_path: Path
) -> None:
    with read_journal(older(traded[0] / "sim.db", tmp_path)) as reader:
        again = build(load(reader), DAY)
    assert [h["hedge"] for h in again["hedges"]] == again["rebuilt"]
    for known, rebuilt in zip(made["hedges"], again["hedges"], strict=True):
        for same in ("side", "filled", "vwap", "shortfall", "parts", "maker_share", "phase"):
            assert rebuilt[same] == known[same], same
        assert rebuilt["elapsed_ms"] is None
        assert rebuilt["naked_base_seconds"] is None
    assert again["pnl"]["total"] == made["pnl"]["total"]
    total = sum(Decimal(text) for text in again["pnl"]["attribution"].values())
    assert total == Decimal(again["pnl"]["total"])
    assert again["pnl"]["fills_without_mid"] > 0
    assert "rebuilt from orders and fills" in "\n".join(lines(again))


def test_an_open_position_is_valued_at_the_last_mid_and_said(
    traded: tuple[Path, World], tmp_path: Path
) -> None:
    """A journal cut in the middle: everything after the first hedge never happened."""
    path = tmp_path / "sim.db"
    shutil.copyfile(traded[0] / "sim.db", path)
    with sqlite3.connect(path) as db:
        cut = db.execute("SELECT wall FROM event WHERE kind='HedgeEnded'").fetchone()[0]
        db.execute("DELETE FROM event WHERE wall > ?", (cut,))
        db.execute("DELETE FROM fills WHERE at > ?", (cut,))
    db.close()
    with read_journal(path) as reader:
        half = build(load(reader), DAY)
    held = {venue: Decimal(size) for venue, size in half["pnl"]["positions"].items()}
    assert held["backpack"] > 0 > held["grvt"]
    assert half["hedges"][0]["hedge"] == "h-1"
    assert half["pnl"]["marks"]["grvt"]["source"] == "mid"
    total = sum(Decimal(text) for text in half["pnl"]["attribution"].values())
    assert total == Decimal(half["pnl"]["total"])
    assert f"grvt holds {held['grvt']}, valued at its last mid" in "\n".join(lines(half))


@pytest.mark.parametrize("schema", ["0", "3"])
def test_a_journal_of_another_schema_is_one_clear_line(
    schema: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Journal(tmp_path / "sim.db", Ns(0)).close()
    with sqlite3.connect(tmp_path / "sim.db") as db:
        db.execute("UPDATE meta SET value=? WHERE key='schema'", (schema,))
    db.close()
    assert run("report", "--state-dir", str(tmp_path)) == 78
    said = capsys.readouterr().err
    assert f"schema {schema}" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be read" * 20, b""]
)
def test_a_file_that_is_no_journal_is_one_clear_line(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sim.db").write_bytes(content)
    assert run("report", "--state-dir", str(tmp_path)) == 78
    said = capsys.readouterr().err
    assert "journal sim.db" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--venues", "live"), "no journal of that mode"),
        (("--day", "yesterday"), "--day 'yesterday': not a date"),
        (("--html", "/nowhere/at/all.html"), "--html /nowhere/at/all.html"),
    ],
)
def test_a_wrong_argument_is_exit_2_with_one_line(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Journal(tmp_path / "sim.db", Ns(0)).close()
    assert run("report", "--state-dir", str(tmp_path), *words) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert (shown.err.count("\n"), shown.out) == (1, "")


def test_without_a_journal_there_is_nothing_to_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("report", "--state-dir", str(tmp_path)) == 2
    assert "no journal there" in capsys.readouterr().err


def test_the_journal_written_last_is_taken(tmp_path: Path) -> None:
    for name in ("sim.db", "live.db"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "sim.db-wal").write_bytes(b"newer")
    assert find_journal(tmp_path, None).name == "sim.db"
    assert find_journal(tmp_path, "live").name == "live.db"


# --- reading beside a writer ---------------------------------------------------------------------


def test_reading_leaves_the_journal_as_it_was(traded: tuple[Path, World]) -> None:
    folder = traded[0]
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with read_journal(folder / "sim.db") as reader:
        assert reader.events("HedgeEnded")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_what_is_committed_is_read_while_the_writer_holds_the_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "sim.db", Ns(0))
    journal.put_meta("ticker", "ETH")
    journal.commit()
    journal.put_meta("ticker", "not committed")
    with read_journal(tmp_path / "sim.db") as reader:
        assert reader.meta("ticker") == "ETH"
    journal.close()


def test_a_journal_that_cannot_be_copied_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Journal(tmp_path / "sim.db", Ns(0)).close()

    def full(_: Path, copy: Path) -> None:
        raise OSError(28, "No space left on device", str(copy))

    monkeypatch.setattr(shutil, "copyfile", full)
    assert run("report", "--state-dir", str(tmp_path)) == 78
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert said.count("\n") == 1


def test_a_database_that_changes_during_the_copy_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, copy = tmp_path / "sim.db", tmp_path / "copy.db"
    source.write_bytes(b"first")
    real, changes = shutil.copyfile, iter([b"second", b"third"])

    def disturbed(a: Path, b: Path) -> object:
        made = real(a, b)
        content = next(changes, None)
        if a == source and content is not None:
            source.write_bytes(content)
        return made

    monkeypatch.setattr(shutil, "copyfile", disturbed)
    copy_journal(source, copy)
    assert copy.read_bytes() == b"third"
    monkeypatch.setattr(journal_read, "COPY_TRIES", 2)
    changes = iter([b"4", b"5", b"6"])
    with pytest.raises(JournalError, match="changed during every reading"):
        copy_journal(source, copy)


# --- what people see -----------------------------------------------------------------------------


def test_the_console_report_fits_a_terminal_and_names_every_cause(made: dict[str, Any]) -> None:
    text = list(lines(made))
    assert max(len(line) for line in text) <= 120
    whole = "\n".join(text)
    for name, words in NAMES.items():
        assert words in whole or name == "hedge_rounding"
    for heading in ("PROFIT", "HEDGES", "TIMES AND EXPOSURE", "DEAREST HEDGES"):
        assert heading in whole
    assert made["worst"][0]["hedge"] in whole


def test_the_page_is_whole_and_asks_for_nothing_outside_itself(
    traded: tuple[Path, World], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.html"
    assert run("report", "--state-dir", str(traded[0]), "--html", str(file)) == 0
    assert "PROFIT" in capsys.readouterr().out
    text = file.read_text()
    for outside in ("http:", "https:", "<script", "src=", "url(", "@import", "<link"):
        assert outside not in text
    assert "prefers-color-scheme: dark" in text
    charts = text.split("<svg")[1:]
    assert len(charts) == 2
    for chart in charts:
        ET.fromstring(f"<svg{chart.split('</svg>')[0]}</svg>")  # noqa: S314 - our own text
    assert text.count('class="dot ') == traded[1].hedges


def test_the_page_escapes_what_the_journal_holds(made: dict[str, Any]) -> None:
    text = page({**made, "ticker": "<b>ETH"})
    assert "<b>ETH" not in text
    assert "&lt;b&gt;ETH" in text


def test_the_page_of_an_empty_day_has_no_chart(tmp_path: Path) -> None:
    Journal(tmp_path / "sim.db", Ns(0)).close()
    with read_journal(tmp_path / "sim.db") as reader:
        text = page(build(load(reader), None))
    assert "<svg" not in text
    assert "No hedge with fills" in text


@pytest.mark.parametrize("values", [[0.0], [1.5], [-3.0, 4.0], [0.001, 250.0], [-0.02] * 9])
def test_a_histogram_counts_every_value_inside_its_frame(values: list[float]) -> None:
    chart = ET.fromstring(histogram(values, "cost"))  # noqa: S314 - our own text
    bars = chart.findall("rect")
    counted = sum(int((bar.findtext("title") or "").rsplit(": ", 1)[1]) for bar in bars)
    assert counted == len(values)
    for bar in bars:
        assert 0 <= float(bar.get("x", "-1")) <= 640
        assert float(bar.get("height", "-1")) > 0


def test_a_scatter_keeps_its_points_inside_and_labels_them() -> None:
    points = [Point(0.0, -4.0, "passive", "h-1 <&>"), Point(15.0, 22.5, "cross", "h-2")]
    chart = ET.fromstring(scatter(points, "seconds", "bps"))  # noqa: S314 - our own text
    dots = chart.findall("circle")
    assert [dot.findtext("title") for dot in dots] == ["h-1 <&>", "h-2"]
    assert all(56 <= float(dot.get("cx", "0")) <= 640 for dot in dots)
    assert all(0 <= float(dot.get("cy", "-1")) <= 260 for dot in dots)


@pytest.mark.parametrize(("step", "shown"), [(0.9, 1.0), (1.1, 2.0), (3.0, 5.0), (0.06, 0.1)])
def test_axis_steps_are_round(step: float, shown: float) -> None:
    assert nice(step) == pytest.approx(shown)

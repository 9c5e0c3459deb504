"""The page for others names what exists, all of it, and its examples are whole programs."""

import json
import re
import shlex
from pathlib import Path

import pytest

from daemon.cli import build_parser
from exchanges.simulator.fault_table import SPECS
from exchanges.simulator.latency import LatencyModel
from exchanges.simulator.switches import known
from strategy.domain import Venue

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
SHELL = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
ROUTES = {
    "GET /state", "GET /audit", "GET /faults", "POST /faults", "DELETE /faults", "POST /market",
    "POST /accounts", "PATCH /accounts", "POST /liquidate",
}  # fmt: skip


def section(title: str) -> str:
    found = re.search(
        rf"^##+ {re.escape(title)}\n(.*?)(?=^##+ |\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    assert found, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of a table, heading and rule left out."""
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in found[2:]]


def flags() -> dict[str, object]:
    actions = build_parser("simulate")._actions
    return {name: each.default for each in actions for name in each.option_strings}


def test_the_page_names_every_flag_and_no_other() -> None:
    named = set(re.findall(r"`(--[a-z-]+)", section("Start it")))
    assert named == {name for name in flags() if name.startswith("--")} - {"--help"}


def test_every_flag_of_an_example_exists() -> None:
    used = {word for line in SHELL for word in shlex.split(line) if word.startswith("--")}
    assert used
    assert used <= flags().keys()


def test_the_page_lists_every_fault_with_its_venue_and_how_long_it_lasts() -> None:
    listed = {row[0].strip("`"): row[1:] for row in rows(section("Faults"))}

    assert listed.keys() == SPECS.keys()
    for name, (text, where, lasts, *rest) in listed.items():
        spec = SPECS[name]
        venues = {"both": set(Venue), "GRVT": {Venue.GRVT}, "Backpack": {Venue.BACKPACK}}[where]
        assert (text, venues, lasts == "held") == (spec.text, set(spec.venues), spec.held)
        named = set(re.findall(r"`(\w+)`:", rest[0] if rest else ""))
        assert named == set(spec.settings), name


def test_the_page_lists_every_switch_with_its_default() -> None:
    listed = {row[0].strip("`"): row[1] for row in rows(section("What is a guess"))}

    assert listed == {name: f"`{value}`" if value else "empty" for name, value in known().items()}
    assert all(len(row) == 3 and row[2] for row in rows(section("What is a guess")))


def test_the_page_lists_every_control_request() -> None:
    assert {row[0].strip("`") for row in rows(section("Control"))} == ROUTES


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_a_python_example_compiles(number: int) -> None:
    compile(PYTHON[number], f"example {number}", "exec")


def test_there_is_an_example_for_every_client() -> None:
    text = "\n".join(PYTHON)
    for name in (
        "GrvtRawSync(", "GrvtRawAsync(", "GrvtCcxt(", "GrvtCcxtPro(", "GrvtCcxtWS(",
        "bpx.account", "bpx.async_.account", "ccxt.grvt(", "ccxt.pro.grvt(", "ccxt.backpack(",
        "ccxt.pro.backpack(", "hummingbot.connector",
    ):  # fmt: skip
        assert name in text


def test_json_and_bodies_of_examples_are_json() -> None:
    for kind, text in BLOCKS:
        if kind == "json" and "event" not in text:
            assert all(json.loads(line) for line in text.splitlines())
    bodies = [words[words.index("-d") + 1] for words in map(shlex.split, SHELL) if "-d" in words]
    assert len(bodies) > 5
    for body in bodies:
        spec = json.loads(body)
        assert spec["venue"] in set(Venue)
        assert spec.get("fault", "F01") in SPECS


def test_the_latency_of_the_example_is_read() -> None:
    example = next(line for line in SHELL if "--latency" in line)
    assert LatencyModel.parse(shlex.split(example)[-1]) != LatencyModel.default()


def test_the_page_cites_nothing_that_a_reader_cannot_have() -> None:
    assert "venues.md" not in PAGE
    assert not re.search(r"\bREQ-\d|/shared/|/work/", PAGE)

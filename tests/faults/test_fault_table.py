"""The table of faults: complete, current, nothing skipped."""

import ast
import re
from pathlib import Path

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.recorder import Recorder
from tests.faults.table import (
    DOCUMENT,
    ROOT,
    Proof,
    functions,
    mapped,
    numbers,
    outcome,
    proofs,
    render,
    results,
    sources,
)

SKIPS = ("skip", "skipif", "xfail", "importorskip")
REMEDY = "run `make test`, then `python -m tests.faults.table`"


def test_the_catalogue_has_eighty_faults() -> None:
    assert list(FAULTS) == [f"F{n:02d}" for n in range(1, 81)]


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_a_test_of_the_daemon(fault: str) -> None:
    assert proofs()[fault], f"{fault} ({FAULTS[fault]}) has no test with its number in its name"


def test_the_committed_table_is_current() -> None:
    written = mapped(DOCUMENT.read_text())
    assert written == mapped(render({})), REMEDY


def test_the_committed_table_says_that_every_fault_passed() -> None:
    rows = [r for r in DOCUMENT.read_text().splitlines() if re.match(r"\| F\d\d \|", r)]
    assert len(rows) == len(FAULTS)
    assert [r.split(" | ")[0] for r in rows if not r.endswith("| passed |")] == [], REMEDY


def _skips(path: Path) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.attr}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in SKIPS
    ]


def test_no_test_of_a_fault_can_be_skipped() -> None:
    with_faults = [
        p for p in sources() if any(numbers(f.name) for f in functions(ast.parse(p.read_text())))
    ]
    assert with_faults
    assert [skip for path in with_faults for skip in _skips(path)] == []
    assert [name for name, how in results().items() if how == "skipped"] == []


def test_a_name_may_carry_several_faults_and_spans() -> None:
    assert numbers("test_F30_F31_a_kill") == ["F30", "F31"]
    assert numbers("test_F01_to_F03_answers") == ["F01", "F02", "F03"]
    assert numbers("test_REQ_3_S14_F80_secret") == ["F80"]
    assert numbers("test_F99_unknown_or_F1_short_or_IF12x") == []


def test_the_worst_of_a_fault_s_tests_is_its_result() -> None:
    a, b = Proof("tests/x.py", "test_F01_a"), Proof("tests/x.py", "test_F01_b")
    assert outcome([a, b], {str(a): "passed", str(b): "passed"}) == "passed"
    assert outcome([a, b], {str(a): "passed"}) == "not run"
    assert outcome([a, b], {str(a): "failed", str(b): "skipped"}) == "failed, skipped"


def test_the_recorder_keeps_the_worst_of_all_parameters_and_phases() -> None:
    recorder = Recorder()
    for node, when, how in (
        ("tests/x.py::test_F01_a[1]", "setup", "passed"),
        ("tests/x.py::test_F01_a[1]", "call", "passed"),
        ("tests/x.py::test_F01_a[2]", "call", "failed"),
        ("tests/x.py::test_F01_a[3]", "call", "passed"),
        ("tests/x.py::test_F02_b", "teardown", "failed"),
        ("tests/x.py::test_other", "call", "failed"),
    ):
        recorder.note(node, when, how)
    assert recorder.ended == {
        "tests/x.py::test_F01_a": "failed",
        "tests/x.py::test_F02_b": "failed",
    }

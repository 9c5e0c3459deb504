"""The gate over a measured run: what it counts, and that it says every line that fell short."""

from dataclasses import dataclass, field
from pathlib import Path

import coverage
import pytest

from tests import coverage_gate
from tests.coverage_gate import TREE, arms, judge, runs

SOURCE = """\
try:
    work()
except (OSError, ValueError):
    raise Failed(
        "both lines are the first statement"
    )
except KeyError:
    pass
"""


@dataclass
class Run:
    """A measured run that tells what it was told."""

    ran: dict[str, list[int]] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)
    excluded: list[int] = field(default_factory=list)
    stats: dict[int, tuple[int, int]] = field(default_factory=dict)

    def get_data(self) -> coverage.CoverageData:
        data = coverage.CoverageData(no_disk=True)
        data.add_lines(self.ran)
        return data

    def analysis2(self, morf: str) -> tuple[str, list[int], list[int], list[int], str]:
        return morf, [], self.excluded, self.missing, ""

    def branch_stats(self, morf: str) -> dict[int, tuple[int, int]]:
        return self.stats if "strategy" in morf else {}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for package in TREE:
        (tmp_path / package).mkdir()
    (tmp_path / "daemon" / "deep").mkdir()
    (tmp_path / "daemon" / "deep" / "a.py").write_text(SOURCE)
    (tmp_path / "strategy" / "b.py").write_text("")
    return tmp_path


def test_an_arm_is_entered_when_its_first_statement_ran_not_when_it_was_tried(tree: Path) -> None:
    first, second = arms(tree / "daemon" / "deep" / "a.py")
    assert (first.line, first.catches) == (3, "(OSError, ValueError)")
    assert first.entered([4])
    assert first.entered([5])
    assert not first.entered([3, 7])
    assert second.entered([1, 2, 3, 7, 8])


def test_a_complete_run_has_figures_and_no_failures(tree: Path) -> None:
    run = Run({str(tree / "daemon" / "deep" / "a.py"): [1, 2, 4, 8]}, stats={2: (2, 2)})
    figures, failures = judge(run, tree)
    assert failures == []
    assert figures == [
        "strategy: 2 of 2 branches taken",
        "safety: 0 of 0 branches taken",
        "except arms: 2 of 2 entered",
    ]


def test_a_branch_a_line_an_exclusion_and_a_cold_arm_are_each_named(tree: Path) -> None:
    path, core = tree / "daemon" / "deep" / "a.py", tree / "strategy" / "b.py"
    run = Run({str(path): [8]}, missing=[7, 8, 10], excluded=[20], stats={2: (2, 1), 7: (2, 0)})
    figures, failures = judge(run, tree)
    assert failures == [
        f"{core}:20: left out of the count",
        f"{core}:7-8: never ran",
        f"{core}:10: never ran",
        f"{core}:2: 1 of 2 branches taken",
        f"{path}:3: except (OSError, ValueError): no test enters it",
    ]
    assert figures[0] == "strategy: 1 of 4 branches taken"
    assert figures[2] == "except arms: 1 of 2 entered"


def test_lines_are_told_in_runs() -> None:
    assert list(runs([])) == []
    assert list(runs([1, 2, 3, 7, 9, 10])) == ["1-3", "7", "9-10"]


def test_without_data_the_gate_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COVERAGE_FILE", str(tmp_path / "none"))
    assert coverage_gate.main() == 1
    assert capsys.readouterr().out.startswith("no coverage to judge")


def test_a_worker_saves_what_it_measured_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[str] = []

    class Current:
        def save(self) -> None:
            saved.append("saved")

    monkeypatch.setattr(coverage.Coverage, "current", lambda: None)
    coverage_gate.pytest_sessionfinish()
    monkeypatch.setattr(coverage.Coverage, "current", Current)
    coverage_gate.pytest_sessionfinish()
    assert saved == ["saved"]


def test_nothing_of_the_product_may_be_left_out_of_the_count() -> None:
    run = coverage.Coverage(config_file=str(coverage_gate.ROOT / "pyproject.toml"))
    assert run.get_option("run:branch")
    assert run.get_option("run:source_pkgs") == ["daemon", "exchanges", "safety", "strategy"]
    assert not any(run.get_option(f"{part}:omit") for part in ("run", "report"))
    assert not any(run.get_option(f"report:{what}") for what in ("exclude_also", "exclude_lines"))

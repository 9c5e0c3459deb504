"""The coverage that must hold: every branch of the core, every ``except`` arm of the tree.

``python -m tests.coverage_gate`` reads the combined data of a measured run (``coverage combine``)
and ends with 1, naming each line, when a branch of ``strategy`` or ``safety`` was not taken or when
no test entered an ``except`` arm of the product. Nothing is left out of the count: no file, no
pragma, no pattern. As a plugin of the run (``pytest -p tests.coverage_gate``) it saves what each
worker measured.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import coverage

ROOT = Path(__file__).resolve().parents[1]
CORE = ("strategy", "safety")
TREE = ("daemon", "exchanges", *CORE)


@dataclass(frozen=True, slots=True)
class Arm:
    """One ``except`` arm: where it stands, and the lines of the first statement in it."""

    path: Path
    line: int
    catches: str
    first: range

    def entered(self, ran: Iterable[int]) -> bool:
        """Tell whether any line of the first statement ran: the ``except`` line alone may miss."""
        return any(line in self.first for line in ran)


def pytest_sessionfinish() -> None:
    """Save at once: a worker that takes long to end is killed, and its own exit would save."""
    run = coverage.Coverage.current()
    if run is not None:
        run.save()


class Measured(Protocol):
    """What the gate reads of a measured run; ``coverage.Coverage`` fits."""

    def get_data(self) -> coverage.CoverageData: ...

    def analysis2(self, morf: str) -> tuple[str, list[int], list[int], list[int], str]: ...

    def branch_stats(self, morf: str) -> dict[int, tuple[int, int]]: ...


def sources(root: Path, packages: Iterable[str]) -> Iterator[Path]:
    """Yield every module of the packages, in order."""
    for package in packages:
        yield from sorted((root / package).rglob("*.py"))


def arms(path: Path) -> Iterator[Arm]:
    """Yield the ``except`` arms of one module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            first = node.body[0]
            last = first.end_lineno or first.lineno
            catches = ast.unparse(node.type) if node.type else "everything"
            yield Arm(path, node.lineno, catches, range(first.lineno, last + 1))


def runs(lines: Iterable[int]) -> Iterator[str]:
    """Yield rising line numbers as ``"7"`` and ``"9-12"``."""
    first, last = 0, -1
    for line in [*lines, 0]:
        if line == last + 1:
            last = line
            continue
        if first:
            yield str(first) if first == last else f"{first}-{last}"
        first = last = line


def gaps(run: Measured, path: Path) -> tuple[int, int, list[str]]:
    """Return how many branches a module has, how many were taken, and the lines that fell short."""
    _, _, excluded, missing, _ = run.analysis2(str(path))
    stats = run.branch_stats(str(path))
    told = [f"{path}:{lines}: left out of the count" for lines in runs(excluded)]
    told += [f"{path}:{lines}: never ran" for lines in runs(missing)]
    told += [
        f"{path}:{line}: {taken} of {total} branches taken"
        for line, (total, taken) in sorted(stats.items())
        if taken < total and line not in missing
    ]
    return sum(t for t, _ in stats.values()), sum(t for _, t in stats.values()), told


def judge(run: Measured, root: Path) -> tuple[list[str], list[str]]:
    """Return the figures to print and the failures, one line each."""
    figures: list[str] = []
    failures: list[str] = []
    for package in CORE:
        parts = [gaps(run, path) for path in sources(root, (package,))]
        total, taken = sum(part[0] for part in parts), sum(part[1] for part in parts)
        failures += [line for part in parts for line in part[2]]
        figures.append(f"{package}: {taken} of {total} branches taken")
    data = run.get_data()
    found = [arm for path in sources(root, TREE) for arm in arms(path)]
    ran = {path: data.lines(str(path)) or [] for path in {arm.path for arm in found}}
    cold = [arm for arm in found if not arm.entered(ran[arm.path])]
    failures += [f"{arm.path}:{arm.line}: except {arm.catches}: no test enters it" for arm in cold]
    figures.append(f"except arms: {len(found) - len(cold)} of {len(found)} entered")
    return figures, failures


def main() -> int:
    """Print the figures and each failure; 0 when there is none."""
    run = coverage.Coverage(config_file=str(ROOT / "pyproject.toml"))
    run.load()
    if not run.get_data().measured_files():
        sys.stdout.write("no coverage to judge: run the suite under coverage, then combine\n")
        return 1
    figures, failures = judge(run, ROOT)
    lines = [line.removeprefix(f"{ROOT}/") for line in (*failures, *figures)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Sample mutants, judge them in a private copy of the tree, report."""

import argparse
import json
import os
import random  # noqa: TID251 - a sample that its seed repeats
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests.mutation.operators import Mutant, mutants
from tests.mutation.report import load_reasons, rewritten, share, survivors, table
from tests.mutation.session import Result, run

ROOT = Path(__file__).parents[2]
PACKAGES = ("safety", "strategy")
COPIED = (
    "daemon", "deploy", "docs", "exchanges", "safety", "strategy", "tests", "Makefile",
    "README.md", "CHANGELOG.md", "pyproject.toml", "requirements.lock",
)  # fmt: skip
FOLDERS = ("tests/unit", "tests/property")
CORE = re.compile(r"^from (safety\.\w+|strategy\.(?!domain|params)\w+) import", re.MULTILINE)
FAR = {
    "test_audit", "test_bench_conclusions", "test_bench_fills", "test_core_regressions",
    "test_core_vs_simulator", "test_explain", "test_journal_faults", "test_recovery",
    "test_report", "test_requirements", "test_retention", "test_router_property", "test_tca",
}  # fmt: skip
"""Tests of the core's users, too long to meet a mutant within the budget."""


def near(root: Path) -> list[str]:
    """Return the quick test files that import the core: the ones that can judge it."""
    found = [p for folder in FOLDERS for p in sorted((root / folder).glob("test_*.py"))]
    chosen = [p for p in found if p.stem not in FAR and CORE.search(p.read_text())]
    return [p.relative_to(root).as_posix() for p in chosen]


def arguments(given: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--mutants", type=int, default=500, help="how many; 0 is all of them")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument(
        "--only", action="append", default=[], help="a file or package; may be repeated"
    )
    parser.add_argument("--tests", action="append", default=[], help="a test file; may be repeated")
    parser.add_argument("--budget", type=float, default=6, help="CPU seconds of tests a mutant")
    parser.add_argument("--jobs", type=int, default=1, help="processes that judge")
    parser.add_argument("--write", type=Path, help="the page whose generated part to renew")
    parser.add_argument("--recheck", type=Path, help="judge again what lived in these results")
    parser.add_argument("--results", type=Path, help="where to keep the results, JSON lines")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(given)


def everything(root: Path, only: list[str]) -> list[Mutant]:
    """Return all mutants of the chosen files."""
    files = [name for given in only or PACKAGES for name in _files(root, given)]
    return [m for file in files for m in mutants(file, (root / file).read_text())]


def _files(root: Path, given: str) -> list[str]:
    if given.endswith(".py"):
        return [given]
    return [p.relative_to(root).as_posix() for p in sorted((root / given).glob("*.py"))]


def sample(pool: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """Return that many of them, the same for the same seed, in their order."""
    if not count or count >= len(pool):
        return pool
    rng = random.Random(seed)  # noqa: S311 - a repeatable sample, not a secret
    return [pool[i] for i in sorted(rng.sample(range(len(pool)), count))]


def read_plan(path: Path) -> list[Mutant]:
    """Read mutants back from JSON lines."""
    return [_mutant(json.loads(row)) for row in path.read_text().splitlines()]


def read_results(path: Path) -> list[Result]:
    """Read results back from JSON lines."""
    found = [json.loads(row) for row in path.read_text().splitlines()]
    return [Result(**{**row, "mutant": _mutant(row["mutant"])}) for row in found]


def _mutant(row: dict[str, Any]) -> Mutant:
    first, last = row.pop("lines")
    return Mutant(**row, lines=(first, last))


def private_copy(folder: Path) -> Path:
    """Copy the tree, so that no mutant ever stands in the working one."""
    copy = folder / "tree"
    copy.mkdir()
    skip = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=skip)
        elif (ROOT / name).exists():
            shutil.copy2(ROOT / name, copy / name)
    return copy


def judge(options: argparse.Namespace, folder: Path) -> list[Result]:
    """Judge the sample in processes whose code is a private copy each."""
    pool = everything(ROOT, options.only)
    known: list[Result] = []
    plan = sample(pool, options.mutants, options.seed)
    if options.recheck:
        before = {r.mutant.key: r for r in read_results(options.recheck)}
        plan = [m for m in pool if m.key in before and not before[m.key].dead]
        known = [replace(before[m.key], mutant=m) for m in pool if _died(before, m)]
    sys.stderr.write(f"{len(plan)} of {len(pool)} mutants\n")
    parts = [part for n in range(options.jobs) if (part := plan[n :: options.jobs])]
    started = [_start(options, folder / str(n), part) for n, part in enumerate(parts)]
    results = known + [r for one in started for r in _finish(*one)]
    order = {m.key: n for n, m in enumerate(pool)}
    return sorted(results, key=lambda r: order[r.mutant.key])


def _died(before: dict[str, Result], mutant: Mutant) -> bool:
    return mutant.key in before and before[mutant.key].dead


Started = tuple[subprocess.Popen[bytes], Path, list[Mutant]]


def _start(options: argparse.Namespace, folder: Path, plan: list[Mutant]) -> Started:
    folder.mkdir()
    copy = private_copy(folder)
    (folder / "plan").write_text(_lines(plan))
    tests = [f"--tests={name}" for name in options.tests]
    command = [sys.executable, "-m", "tests.mutation", "--inside", str(folder), *tests]
    command.append(f"--budget={options.budget}")
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONHASHSEED": "0"}
    with (folder / "log").open("w") as log:
        made = subprocess.Popen(command, cwd=copy, stdout=log, env=environment)
    return made, folder, plan


def _finish(process: subprocess.Popen[bytes], folder: Path, plan: list[Mutant]) -> list[Result]:
    process.wait()
    results = read_results(folder / "results") if (folder / "results").exists() else []
    if len(results) != len(plan):
        sys.stderr.write((folder / "log").read_text()[-3000:])
        raise SystemExit(f"judged {len(results)} of {len(plan)} mutants")
    return results


def _lines(rows: Sequence[Mutant | Result]) -> str:
    return "".join(json.dumps(asdict(row)) + "\n" for row in rows)


def headline(options: argparse.Namespace, judged: int, pool: int) -> str:
    """Say what was judged and the command that judges it again."""
    only = "".join(f" --only {name}" for name in options.only)
    tests = "".join(f" --tests {name}" for name in options.tests)
    asked = f"--mutants {options.mutants} --seed {options.seed} --budget {options.budget:g}"
    command = f".venv/bin/python -m tests.mutation {asked}{only}{tests}"
    said = f"{judged} of {pool} mutants, seed {options.seed}."
    if options.recheck:
        before = read_results(options.recheck)
        lived = sum(not r.dead for r in before)
        first = share(len(before) - lived, len(before))
        said += f" At first {first} were killed; the {lived} that lived were judged again, with"
        said += " the tests written for them."
    return f"{said}\n\n```sh\n{command}\n```\n"


def inside(options: argparse.Namespace) -> int:
    """Work within the private copy."""
    folder: Path = options.inside
    if (folder / "tree").resolve() != ROOT:
        raise SystemExit("this is not the private copy")
    tests = options.tests or near(ROOT)
    return run(ROOT, read_plan(folder / "plan"), tests, options.budget, folder / "results")


def main(given: list[str]) -> int:
    """Run the command; 1 when a survivor has no known reason."""
    options = arguments(given)
    if options.inside:
        return inside(options)
    with tempfile.TemporaryDirectory(prefix="mutation-") as name:
        folder = Path(name).resolve()
        results = judge(options, folder)
    if options.results:
        options.results.write_text(_lines(results))
    reasons = load_reasons()
    head = headline(options, len(results), len(everything(ROOT, options.only)))
    said = f"{head}\n{table(results)}\n{survivors(results, reasons)}"
    sys.stdout.write(said)
    if options.write:
        options.write.write_text(rewritten(options.write.read_text(), f"\n{said}\n"))
    return int(any(not r.dead and r.mutant.key not in reasons for r in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

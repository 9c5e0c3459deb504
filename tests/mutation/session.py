"""One pytest session that judges every mutant: collected once, forked per mutant.

First each test runs under coverage, so that a mutant meets only the tests that execute it, the
quickest first. Then each mutant gets a forked child with the mutated function; mutants at module
level, which only an import brings in, get a new process and the mutated file of the private copy.
"""

import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path

import coverage
import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.mutation.operators import Mutant
from tests.mutation.swap import swap

CPU_SECONDS = 30
"""A mutant that computes for longer never ends: it counts as killed."""
MEMORY = 4 << 30
BROKEN = 99
"""Exit code of a child that could not make its mutant: a defect of the tool, not a kill."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one mutant: killed, timeout (or crash), survived or uncovered."""

    mutant: Mutant
    outcome: str
    by: str = ""
    tests: int = 0

    @property
    def dead(self) -> bool:
        """True when a test noticed."""
        return self.outcome in ("killed", "timeout")


class Judge:
    """The pytest plugin: it replaces the loop that runs the tests."""

    def __init__(self, root: Path, plan: list[Mutant], budget: float, out: Path) -> None:
        self._root = root
        self._plan = plan
        self._budget = budget
        self._out = out
        self._sources = {m.file: (root / m.file).read_bytes() for m in plan}
        self._seconds: dict[str, float] = {}
        self._failed: set[str] = set()
        self._items: dict[str, pytest.Item] = {}
        self._lines: dict[str, dict[int, set[str]]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note which tests fail."""
        report = yield
        if report.failed:
            self._failed.add(item.nodeid)
        return report

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Measure the tests, then judge the mutants."""
        self._measure(session)
        with self._out.open("w") as out:
            for mutant in self._plan:
                out.write(json.dumps(asdict(self._judged(mutant))) + "\n")
                out.flush()
        return True

    def _measure(self, session: pytest.Session) -> None:
        source = [str(self._root / name) for name in ("strategy", "safety")]
        cov = coverage.Coverage(data_file=None, source=source, branch=False, config_file=False)
        cov.start()
        for item in session.items:
            cov.switch_context(item.nodeid)
            begun = time.process_time()  # a busy machine makes no test slower
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            self._seconds[item.nodeid] = time.process_time() - begun
            self._items[item.nodeid] = item
        cov.stop()
        data = cov.get_data()
        for file in self._sources:
            by_line = data.contexts_by_lineno(str(self._root / file))
            self._lines[file] = {n: set(who) - {""} for n, who in by_line.items()}
        sys.stderr.write(f"{len(self._items)} tests, of which {len(self._failed)} fail:\n")
        sys.stderr.writelines(f"  left out: {name}\n" for name in sorted(self._failed))
        session.testsfailed = 0
        gc.collect()
        gc.freeze()

    def chosen(self, mutant: Mutant) -> list[str]:
        """Return the tests that execute a mutant's lines, quickest first, within the budget."""
        rows = self._lines[mutant.file]
        if mutant.function:
            first, last = mutant.lines
            rows = {n: who for n, who in rows.items() if first <= n <= last}
        names = set().union(*rows.values()) - self._failed
        if not mutant.function and not names:  # constants only: anyone may use them
            names = set(self._items) - self._failed
        picked: list[str] = []
        left = self._budget
        for name in sorted(names, key=lambda n: (self._seconds[n], n)):
            left -= self._seconds[name]
            if left < 0 and picked:
                break
            picked.append(name)
        return picked

    def _judged(self, mutant: Mutant) -> Result:
        names = self.chosen(mutant)
        if not names:
            return Result(mutant, "uncovered")
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            self._child(mutant, names, writer)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            by = pipe.read()
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == BROKEN:
            raise RuntimeError(f"the tool cannot make this mutant: {mutant.key}")
        if by not in ("", "import"):
            return Result(mutant, "killed", by, len(names))
        outcome = "timeout" if status else "survived"
        if outcome == "survived" and not mutant.function:
            return self._imported(mutant, names)
        return Result(mutant, outcome, tests=len(names))

    def _child(self, mutant: Mutant, names: list[str], writer: int) -> None:
        """Run the tests in this forked process until one fails; tell which, and leave."""
        void = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(void, stream)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        code = BROKEN
        try:
            if not swap(mutant, self._sources[mutant.file]):
                os.write(writer, b"import")
                os._exit(0)
            code = 1
            self._failed.clear()
            for name in names:
                item = self._items[name]
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
                if self._failed:
                    os.write(writer, name.encode())
                    os._exit(1)
            code = 0
        finally:
            os._exit(code)  # whatever happened, this process never goes on as the parent would

    def _imported(self, mutant: Mutant, names: list[str]) -> Result:
        """Run the tests in a new process over the mutated file."""
        path = self._root / mutant.file
        kept = path.with_suffix(".kept")
        shutil.copy2(path, kept)
        path.write_bytes(mutant.applied(self._sources[mutant.file]))
        command = [sys.executable, "-m", "tests.mutation.session", *names]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                command, cwd=self._root, env=environment, capture_output=True, text=True,
                check=False, timeout=10 * CPU_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Result(mutant, "timeout", tests=len(names))
        finally:
            shutil.move(kept, path)
        if not done.returncode:
            return Result(mutant, "survived", tests=len(names))
        words = [row.split()[1] for row in done.stdout.splitlines() if row.startswith("FAILED ")]
        return Result(mutant, "killed", words[0] if words else "import", len(names))


def quiet_hypothesis() -> None:
    """The same examples each time, no shrinking, nothing written."""
    settings.register_profile(
        "mutation",
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=60,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutation")


OPTIONS = ["-q", "-p", "no:cacheprovider", "--no-header", "--timeout=30"]
OPTIONS += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # Hypothesis is here before pytest


def run(root: Path, plan: list[Mutant], tests: list[str], budget: float, out: Path) -> int:
    """Judge a plan in this process, whose working directory is the private copy."""
    quiet_hypothesis()
    judge = Judge(root, plan, budget, out)
    return int(pytest.main([*OPTIONS, "-s", *tests], plugins=[judge]))


if __name__ == "__main__":
    quiet_hypothesis()
    sys.exit(int(pytest.main([*OPTIONS, "-x", *sys.argv[1:]])))

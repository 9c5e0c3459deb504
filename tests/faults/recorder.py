"""Keeps, in pytest's own cache, how each test of a fault ended: ``tests.faults.table`` reads it."""

import pytest

from tests.faults.table import numbers

KEY = "hedged/faults"
WORST = ("failed", "skipped", "passed")


class Recorder:
    """Collects outcomes by file and function; the worst of a function's parameters counts."""

    def __init__(self) -> None:
        self.ended: dict[str, str] = {}

    def note(self, node: str, when: str, outcome: str) -> None:
        """Take one report: the call itself, or a set-up or tear-down that did not pass."""
        path, _, name = node.partition("::")
        function = name.split("::")[-1].partition("[")[0]
        if not numbers(function) or (when != "call" and outcome == "passed"):
            return
        key = f"{path}::{function}"
        self.ended[key] = min(self.ended.get(key, "passed"), outcome, key=WORST.index)


def pytest_configure(config: pytest.Config) -> None:
    """Record in the main process only: workers report to it."""
    if not hasattr(config, "workerinput"):
        config.stash[_KEY] = Recorder()
        config.pluginmanager.register(_Hooks(config), "fault-recorder")


_KEY: pytest.StashKey[Recorder] = pytest.StashKey()


class _Hooks:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._config.stash[_KEY].note(report.nodeid, str(report.when), report.outcome)

    def pytest_sessionfinish(self) -> None:
        cache = getattr(self._config, "cache", None)
        if cache is None:
            return
        known: dict[str, str] = cache.get(KEY, {})
        cache.set(KEY, known | self._config.stash[_KEY].ended)

"""Fixtures of the tests that run the program as its users do."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.crashing import Crasher, Run, Venues
from tests.process.faults_rig import Start
from tests.process.programs import STARTED, Simulator

LONGEST = 300
"""Seconds that a test of processes may take on a machine that is busy with other things."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test of processes time enough for a busy machine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(LONGEST), append=False)


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    """Leave no daemon behind, whatever became of its test."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
            process.wait(10)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    running = Simulator("--speed", "4")
    yield running
    assert running.close() == 0


@pytest.fixture
def fresh_simulator() -> Iterator[Callable[..., Simulator]]:
    made: list[Simulator] = []

    def make(*flags: str) -> Simulator:
        made.append(Simulator(*flags))
        return made[-1]

    yield make
    for running in made:
        running.close()


# --- a daemon that can be killed anywhere, and venues that are judged -----------------------------


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    made = Crasher()
    yield made
    made.close()


@pytest.fixture
def serve(crasher: Crasher, tmp_path: Path) -> Iterator[Callable[..., Venues]]:
    """Start venues with flags of one's own."""
    made: list[Venues] = []

    def start(*flags: str) -> Venues:
        made.append(Venues(crasher, tmp_path / "venues", *flags))
        return made[-1]

    yield start
    for venues in made:
        assert venues.close() == 0


@pytest.fixture
def venues(serve: Callable[..., Venues]) -> Venues:
    return serve("--speed", "6")


@pytest.fixture
def calm(serve: Callable[..., Venues]) -> Venues:
    """A market so slow that a passive maker rests."""
    return serve("--speed", "0.05")


@pytest.fixture
def begin(crasher: Crasher, tmp_path: Path) -> Iterator[Start]:
    """Start a daemon that may have a plan to die, with more variables if given."""

    def start(simulator: Simulator, *flags: str, plan: Any = None, **env: str) -> Run:
        folder = tmp_path / "run"
        return crasher.start(folder, *flags, env=simulator.environment() | env, plan=plan)

    yield start
    crasher.kill_left(tmp_path / "run")

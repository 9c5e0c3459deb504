"""A small simulated week: ``python -m tests.week`` runs the large one.

The daemon trades without a pause in virtual time; its journal is bounded to a few hundred
decisions, so that an hour shows what months would.
"""

from collections import Counter
from dataclasses import replace

import pytest

from daemon.loop import EXIT_OK
from tests.week import (
    MIB,
    WARM_UP,
    Pace,
    Report,
    Sample,
    beyond,
    keeping,
    line,
    live,
    slope,
)

pytestmark = pytest.mark.timeout(300)  # seconds of CPU, but a busy machine stretches them
KEPT = 800
HOURS = 0.4
CALM = Sample(0.0, 90 * MIB, 450_000, 5 * MIB, 4 * MIB, 1000, 900, 10, 0, 0)


@pytest.fixture(scope="module")
def report() -> Report:
    with keeping(KEPT):
        return live(HOURS, HOURS / 10, Pace(), lambda *_: None)


def test_a_busy_run_keeps_its_tasks_and_its_memory(report: Report) -> None:
    assert report.exit == EXIT_OK
    assert report.samples[-1].orders > 500
    assert report.counts["METRICS iteration_complete"] > 25
    tasks = [sample.tasks for sample in report.samples]
    assert max(tasks) - min(tasks) <= 4, tasks
    blocks = [sample.blocks for sample in report.samples[4:]]
    assert max(blocks) - min(blocks) < 8_000, blocks


def test_the_journal_of_a_busy_run_is_bounded(report: Report) -> None:
    full = [s for s in report.samples if s.decisions >= KEPT]
    assert len(full) > 5
    assert max(s.decisions for s in full) < KEPT + 200
    sizes = [s.journal for s in full[len(full) // 2 :]]
    assert max(sizes) - min(sizes) < MIB // 4, [line(s) for s in full]
    assert report.rows["orders"] < 600
    assert report.rows["totals"] > 0


def test_books_added_up_from_totals_and_rows_are_those_of_the_venues(report: Report) -> None:
    assert report.broken == []
    assert beyond(report, KEPT) == []


def ran(*samples: Sample) -> Report:
    return Report(list(samples), EXIT_OK, [], Counter())


def days(count: int, **a_day: int) -> list[Sample]:
    found = []
    for hour in range(0, 24 * count, 4):
        a_day = {"orders": 24, **a_day}
        grown = {name: getattr(CALM, name) + per * hour // 24 for name, per in a_day.items()}
        found.append(replace(CALM, hours=float(hour + 4), **grown))
    return found


def test_a_flat_run_is_within_its_bounds() -> None:
    assert beyond(ran(*days(3)), 10_000) == []


@pytest.mark.parametrize(
    ("a_day", "said"),
    [
        ({"rss": 2 * MIB}, "RSS grows by 2.00 MiB a day"),
        ({"tasks": 5}, "tasks grew"),
        ({"wal": 20 * MIB}, "write-ahead log"),
        ({"journal": 2 * MIB}, "the full journal still grows"),
        ({"decisions": 5000}, "beyond the bound"),
    ],
)
def test_what_grows_is_named(a_day: dict[str, int], said: str) -> None:
    found = beyond(ran(*days(5, **a_day)), CALM.decisions)
    assert any(said in what for what in found), found


def test_a_slope_is_per_day_and_ignores_the_warm_up() -> None:
    report = ran(*days(4, rss=MIB))
    assert abs(slope(report.samples, "rss") - MIB) < 100
    assert all(s.hours >= WARM_UP for s in report.steady())
    assert slope(report.samples[:1], "rss") == 0.0

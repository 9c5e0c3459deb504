"""The wire bench runs: its figures are for a machine with nothing else to do."""

import argparse

from tests.bench.wire import Timetable, measure


async def test_the_bench_reports_both_phases_without_an_error() -> None:
    report = await measure(
        argparse.Namespace(seconds=0.6, rate=100.0, connections=2, peak=8_000, profile=None)
    )

    for phase in ("sustained", "peak"):
        found = report[phase]
        assert found["errors"] == {}
        assert len(found["by_kind"]) == 8
        assert found["requests"] == sum(found["by_kind"].values()) > 20
        assert found["server_cpu_us_per_request"] > 0
    assert report["goal"]["requests_per_second"] == 1_500


async def test_a_late_client_is_charged_from_when_its_request_was_due() -> None:
    table = Timetable(rate=1_000)
    first, second = await table.due(), await table.due()
    assert round(second - first, 6) == 0.001

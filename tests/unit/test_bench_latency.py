"""``hedged bench latency``: what is paired with what, the figures, and how it fails."""

import asyncio
from collections.abc import Iterator

import pytest

from daemon import cli
from daemon.bench import command, latency
from daemon.bench.latency import BenchFailed
from daemon.bench.tap import QUIET, Stopwatch, Tap

FILLED = b'..{"e":"orderFill"}'
SIGNED = b'POST /create_order ... "signature":{}'


def watch(*times: int) -> Stopwatch:
    left: Iterator[int] = iter(times)
    return Stopwatch(lambda: next(left))


def test_a_fill_is_paired_with_the_first_order_after_it() -> None:
    w = watch(1_000, 5_000)
    w.fill(b"a book")
    w.order(b"GET /time")
    w.fill(FILLED)
    w.fill(FILLED)  # the rest of the same order: the hedge is of the first bytes
    w.order(SIGNED)
    assert w.took == [4_000]


def test_a_fill_during_a_hedge_is_not_counted_for_it_waits_for_answers() -> None:
    w = watch(0, 10, 10 + QUIET, 50 + QUIET, 51 + 2 * QUIET, 60 + 2 * QUIET)
    w.fill(FILLED)
    w.order(SIGNED)
    w.fill(FILLED)  # QUIET after the order: still of that hedge
    w.order(SIGNED)
    w.fill(FILLED)
    w.order(SIGNED)
    assert w.took == [10, 9]


def test_an_order_without_a_fill_and_a_new_client_count_nothing() -> None:
    w = watch(0, 1, 2)
    w.order(SIGNED)
    w.forget()
    w.fill(FILLED)
    w.forget()
    w.order(SIGNED)
    assert w.took == []


async def test_a_tap_relays_both_ways_and_sees_every_byte() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readexactly(4)).upper())
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    down, up = bytearray(), bytearray()
    tap = Tap(f"http://127.0.0.1:{port}", down.extend, up.extend)
    at = (await tap.open()).split(":")
    reader, writer = await asyncio.open_connection(at[0], int(at[1]))
    writer.write(b"ping")
    assert await reader.read() == b"PING"
    assert (bytes(up), bytes(down)) == (b"ping", b"PING")
    writer.close()
    await tap.close()
    server.close()
    await Tap("ws://127.0.0.1:1", down.extend, up.extend).close()


def test_the_report_is_in_microseconds_and_compares_medians() -> None:
    took = {
        latency.DISK: [1_000_000] * 98 + [9_000_000] * 2,
        latency.SDK: [3_000_000, 3_000_000, 4_000_000],
    }
    told = latency.report(took)
    assert told == {
        "hedged": {"p50": 1000.0, "p99": 9000.0, "n": 100},
        "sdk": {"p50": 3000.0, "p99": 4000.0, "n": 3},
        "ratio_p50": 3.0,
    }
    shown = latency.text(told)
    assert "hedged                      1000.0    9000.0     100\n" in shown
    assert "hedged_without_commit was left out" in shown
    assert "plain grvt-pysdk takes 3.0 times as long" in shown


async def test_a_client_that_ends_or_makes_no_samples_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(latency, "LIMIT", 0.2)
    async with latency._process("--version") as ended:
        await ended.wait()
        with pytest.raises(BenchFailed, match="hedged ended with exit 0"):
            await latency._until(Stopwatch(), 1, ended, "hedged")
    async with latency._process("simulate") as idle:
        with pytest.raises(BenchFailed, match="sdk: 0 of 1 samples in time"):
            await latency._until(Stopwatch(), 1, idle, "sdk")
    assert idle.returncode is not None


async def test_what_does_not_leave_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "LEAVE", 0.0)
    async with latency._process("simulate") as stuck:
        assert stuck.stdout is not None
        await stuck.stdout.readline()
    assert stuck.returncode == -9


async def test_venues_that_do_not_start_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "VENUES", ("no-such-command",))
    with pytest.raises(BenchFailed, match="hedged simulate did not start"):
        async with latency._venues():
            pass


def test_a_failure_is_one_line_and_exit_70(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fails(samples: int) -> dict[str, object]:
        raise BenchFailed(f"sdk: 0 of {samples} samples in time")

    monkeypatch.setattr(command, "measure", fails)
    assert cli.main(["bench", "latency", "--samples", "7"]) == 70
    assert capsys.readouterr().err == "hedged: bench latency: sdk: 0 of 7 samples in time\n"
    assert cli.main(["bench", "latency", "--samples", "0"]) == 2
    assert cli.main(["bench", "speed"]) == 2
    assert "unknown; known: latency, routing" in capsys.readouterr().err

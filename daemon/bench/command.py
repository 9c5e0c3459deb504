"""``hedged bench``: arguments, worker processes, the tables and the frontier plot."""

import argparse
import asyncio
import json
import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from os import cpu_count
from pathlib import Path
from typing import Any

from daemon.bench.latency import BenchFailed, measure, text
from daemon.bench.plot import plot_frontier
from daemon.bench.routers import BASELINES, ROUTERS
from daemon.bench.routing import compare, frontier
from daemon.bench.track import Track, read_track
from daemon.config import EXIT_USAGE, ConfigError
from exchanges.simulator.tape import BUNDLED, TapeError
from strategy.domain import NANO, Qty, nano

RISKS: tuple[int | None, ...] = (
    0, NANO // 4, NANO // 2, NANO, 3 * NANO // 2, 2 * NANO, 4 * NANO, 8 * NANO, 20 * NANO, None,
)  # fmt: skip
"""Risk aversions of the frontier, in 1e-9; None is ``max``."""
COLUMNS = (
    ("cost_bps_mean", "cost"), ("cost_bps_ci95", "+-95%"), ("cost_bps_p95", "p95"),
    ("filled_pct", "filled%"), ("slippage_bps_mean", "slip"), ("fee_bps_mean", "fee"),
    ("maker_share", "maker"), ("seconds_mean", "s mean"), ("seconds_p95", "s p95"),
    ("iterations_mean", "orders"), ("naked_base_seconds_mean", "naked"),
)  # fmt: skip
EXIT_FAILED = 70
MOST = 1_000_000
"""Largest count that an argument may ask for."""
FALLBACK_SHARE = 0.02
"""Below this maker share resting did not pay on a book, and the report says so."""
FALLBACK_COST = 1.02
_track: Track | None = None
"""The market, read once and inherited by the worker processes."""

Row = dict[str, Any]


def bench(args: argparse.Namespace) -> int:
    """Run ``hedged bench WHAT``; returns the exit code.

    Raises:
        ConfigError: an argument is wrong, or the book cannot be read.
    """
    match args.what:
        case "routing":
            return _routing(args)
        case "latency":
            return _latency(args)
        case _:
            raise ConfigError(EXIT_USAGE, f"bench {args.what!r}: unknown; known: latency, routing")


def _latency(args: argparse.Namespace) -> int:
    samples = _count("--samples", args.samples)
    try:
        told = asyncio.run(measure(samples))
    except BenchFailed as bad:
        sys.stderr.write(f"hedged: bench latency: {bad}\n")
        return EXIT_FAILED
    sys.stdout.write(json.dumps(told, indent=2) + "\n" if args.json else text(told))
    return 0


def _routing(args: argparse.Namespace) -> int:
    global _track  # noqa: PLW0603 - forked workers inherit the market instead of reading it again
    book = args.book or str(BUNDLED)
    sizes, count, jobs = _sizes(args.sizes), _count("--arrivals", args.arrivals), _jobs(args.jobs)
    seed = _count("--seed", args.seed)
    try:
        _track = read_track(book)
    except TapeError as bad:
        raise ConfigError(EXIT_USAGE, f"--book: {bad}") from bad
    report = _report(book, sizes, count, seed, jobs, with_frontier=bool(args.frontier))
    if args.frontier:
        plot_frontier(report, Path(args.frontier))
    sys.stdout.write(json.dumps(report, indent=2) + "\n" if args.json else _text(report))
    return 0


def _sizes(text: str) -> list[Qty]:
    try:
        sizes = [Qty(nano(part.strip())) for part in text.split(",")]
    except ValueError as bad:
        raise ConfigError(EXIT_USAGE, f"--sizes {text!r}: {bad}; use e.g. 0.1,0.5,1.0") from bad
    if min(sizes) <= 0:
        raise ConfigError(EXIT_USAGE, f"--sizes {text!r}: sizes must be more than 0")
    return sizes


def _count(flag: str, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= MOST:
        raise ConfigError(EXIT_USAGE, f"{flag} {text!r}: must be a whole number of 1 or more")
    return int(text)


def _jobs(text: str | None) -> int:
    return cpu_count() or 1 if text is None else _count("--jobs", text)


def _compare(job: tuple[str, Qty, int, int]) -> Row:
    name, qty, count, seed = job
    if _track is None:
        raise RuntimeError("no market was read")
    return compare(_track, qty, count=count, seed=seed, routers=[name])[name]


def _risk(job: tuple[int | None, Qty, int, int]) -> Row:
    risk, qty, count, seed = job
    if _track is None:
        raise RuntimeError("no market was read")
    return frontier(_track, qty, count=count, seed=seed, risks=[risk])[0]


def _report(
    book: str, sizes: list[Qty], count: int, seed: int, jobs: int, *, with_frontier: bool
) -> Row:
    if _track is None:
        raise RuntimeError("no market was read")
    tasks = [(name, qty, count, seed) for qty in sizes for name in ROUTERS]
    sweep = [(risk, qty, count, seed) for qty in sizes for risk in RISKS] if with_frontier else []
    try:
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
            rows = list(pool.map(_compare, tasks))
            points = list(pool.map(_risk, sweep))
    except ValueError as bad:
        raise ConfigError(EXIT_USAGE, f"--book {book}: {bad}") from bad
    report: Row = {
        "book": book,
        "ticker": _track.instrument.base,
        "arrivals": count,
        "seed": seed,
        "sizes": {},
    }
    for (name, qty, _, _), row in zip(tasks, rows, strict=True):
        report["sizes"].setdefault(_plain(qty), {})[name] = row
    if sweep:
        report["frontier"] = {}
    for (_, qty, _, _), point in zip(sweep, points, strict=True):
        report["frontier"].setdefault(_plain(qty), []).append(point)
    report["verdicts"] = {
        size: verdict(rows, float(size)) for size, rows in report["sizes"].items()
    }
    return report


def _plain(qty: Qty) -> str:
    return f"{qty / NANO:.9f}".rstrip("0").rstrip(".")


def verdict(rows: Row, size: float) -> Row:
    """Say how ours compares on one size: the conditions a user would check by hand."""
    ours, market = rows["smart"], rows["market"]
    high = ours["cost_bps_mean"] + ours["cost_bps_ci95"]
    beaten = [
        name
        for name in BASELINES
        if name in rows and high < rows[name]["cost_bps_mean"] - rows[name]["cost_bps_ci95"]
    ]
    return {
        "cost_vs_market": round(ours["cost_bps_mean"] / market["cost_bps_mean"], 4),
        "p95_vs_market": round(ours["cost_bps_p95"] / market["cost_bps_p95"], 4),
        "naked_seconds": round(ours["naked_base_seconds_mean"] / size, 4),
        "beats_at_95": beaten,
        "fell_back_to_market": ours["maker_share"] < FALLBACK_SHARE
        and ours["cost_bps_mean"] <= FALLBACK_COST * market["cost_bps_mean"],
    }


def _text(report: Row) -> str:
    head = (
        f"{report['book']}: {report['ticker']}, {report['arrivals']} arrivals a size, both sides,"
        f" seed {report['seed']}\ncost: bps of notional against the arrival mid, fees included;"
        " naked: base x seconds\n"
    )
    return head + "".join(
        line
        for size, rows in report["sizes"].items()
        for line in (*_table(size, rows), _said(report["verdicts"][size]))
    )


def _table(size: str, rows: Row) -> Iterator[str]:
    yield f"\nsize {size}\n{'router':<15}" + "".join(f"{t:>9}" for _, t in COLUMNS) + "\n"
    for name, row in rows.items():
        yield f"{name:<15}" + "".join(f"{row[key]:>9.2f}" for key, _ in COLUMNS) + "\n"


def _said(found: Row) -> str:
    beaten = ", ".join(found["beats_at_95"]) or "nobody"
    note = (
        "resting does not pay on this book: smart crossed at once, as market does\n"
        if found["fell_back_to_market"]
        else ""
    )
    return (
        f"smart: {100 * found['cost_vs_market']:.0f} % of market's cost, p95"
        f" {found['p95_vs_market']:.2f} x market's, naked {found['naked_seconds']:.2f} s x size;"
        f" cheaper at 95 % than {beaten}\n{note}"
    )

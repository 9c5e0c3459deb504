"""``hedged report``: what was earned, what the hedges cost and why, from the journal alone."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from daemon.config import EXIT_USAGE, ConfigError, resolve_state_dir
from daemon.journal_read import find_journal, read_journal
from daemon.log_format import stamp
from daemon.metrics import bps_number
from daemon.report_data import Rows, Window, load, window
from daemon.report_html import page
from daemon.report_pnl import NAMES, Pnl, attribute
from daemon.report_tca import hedge_row, latency, markouts, naked, table, worst
from daemon.report_text import lines
from daemon.retention import HEDGES
from strategy.domain import Ns, Venue, plain, ratio_bps

EXIT_OK = 0


def report(args: argparse.Namespace) -> int:
    """Print the report of one day, or of everything (``--day all``).

    Raises:
        ConfigError: no journal, not a day, or a file that cannot be written.
        JournalError: the journal cannot be read.
    """
    state_dir = resolve_state_dir(args.state_dir, os.environ)
    with read_journal(find_journal(state_dir, args.venues)) as reader:
        made = build(load(reader), args.day)
    if args.html is not None:
        _write(Path(args.html), page(made))
    if args.json:
        sys.stdout.write(json.dumps(made, indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(lines(made)) + "\n")
    return EXIT_OK


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as bad:
        line = f"--html {path}: {bad.strerror}; name a file that can be written"
        raise ConfigError(EXIT_USAGE, line) from bad


def build(rows: Rows, day: str | None) -> dict[str, Any]:
    """Return the report: keys are stable, money and sizes are text, bps and times are numbers.

    In ``pnl`` positive is a gain; in ``tca`` positive is a cost.
    """
    span = window(day, rows)
    hedges = [h for h in rows.hedges if span.holds(h.ended_wall)]
    pnl = attribute(rows, span, hedges)
    return {
        "journal": rows.name,
        "ticker": rows.ticker,
        "day": span.day,
        "as_of": None if rows.newest is None else stamp(Ns(rows.newest)),
        "days": sorted({*rows.days, *(_days(rows))}),
        "pnl": _pnl(pnl),
        "volume": {venue.value: plain(amount) for venue, amount in pnl.volume.items()},
        "orders": _orders(rows, span),
        "tca": table(hedges),
        "latency": latency(hedges),
        "naked": naked(hedges),
        "markouts": markouts(rows, hedges),
        "worst": [hedge_row(rows, h) for h in worst(hedges)],
        "hedges": [hedge_row(rows, h) for h in hedges],
        "rebuilt": [h.name for h in hedges if h.rebuilt],
        "alerts": _alerts(rows, span),
        "only_totals": {
            "orders": sum(rows.total(span, v.value, "orders") for v in Venue),
            "hedges": rows.total(span, HEDGES, "n"),
            "failed": rows.total(span, HEDGES, "failed"),
        },
    }


def _days(rows: Rows) -> set[str]:
    return {stamp(Ns(f.at))[:10] for f in rows.fills} | {day for day, _ in rows.totals}


def _pnl(pnl: Pnl) -> dict[str, Any]:
    volume = pnl.volume[Venue.BACKPACK]

    def of_volume(amount: int) -> float | None:
        return bps_number(ratio_bps(amount, volume)) if volume else None

    return {
        "total": plain(pnl.total),
        "baseline": plain(pnl.baseline),
        "equity": plain(pnl.equity),
        "cost_bps_of_volume": of_volume(-pnl.total),
        "attribution": {name: plain(pnl.parts[name]) for name in NAMES},
        "attribution_bps_of_volume": {name: of_volume(pnl.parts[name]) for name in NAMES},
        "total_bps_of_volume": of_volume(pnl.total),
        "positions": {venue.value: plain(size) for venue, size in pnl.positions.items()},
        "marks": {
            venue.value: {"price": plain(px), "source": source}
            for venue, (px, source) in pnl.marks.items()
        },
        "fills_without_mid": pnl.unmarked,
    }


def _orders(rows: Rows, span: Window) -> dict[str, Any]:
    """Count orders by purpose, and those that ended without a trade."""
    sent = [o for o in rows.orders.values() if span.holds(o.sent_wall)]
    purposes = sorted({o.purpose for o in sent})
    untraded = sum(1 for o in sent if not o.cum and o.over_wall is not None)
    gone = sum(rows.total(span, v.value, "orders") for v in Venue)
    return {
        "sent": len(sent) + gone,
        "untraded": untraded + sum(rows.total(span, v.value, "untraded") for v in Venue),
        "by_purpose": {name: sum(o.purpose == name for o in sent) for name in purposes},
    }


def _alerts(rows: Rows, span: Window) -> list[dict[str, Any]]:
    return [
        {"alert": f"a-{event.seq}", "at": stamp(Ns(event.wall)), **event.body}
        for event in rows.alerts
        if span.holds(event.wall)
    ]

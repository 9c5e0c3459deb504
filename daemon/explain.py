"""``hedged explain ID``: the causal chain of an order, a hedge or an alert, from the journal alone.

A chain is a list of steps in the order of our clock: what was seen and how old it was, the rule or
estimate that decided, the gate's verdict, the order, the venue's answers, the fills, the outcome.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from daemon.config import EXIT_USAGE, ConfigError, resolve_state_dir
from daemon.explain_steps import Step, Story
from daemon.journal_read import EventRow, JournalReader, OrderRow, find_journal, read_journal
from daemon.log_format import stamp
from daemon.report_data import Rows, load
from daemon.report_tca import hedge_row
from daemon.tca import HedgeTca
from strategy.domain import NANO, Ns

EXIT_OK = 0
BEFORE_ALERT = 60 * NANO
AFTER_ALERT = 30 * NANO
MAX_AROUND = 40
"""Steps shown on each side of an alert that names neither an order nor a hedge."""
QUIET = frozenset({"FillMarked", "Marked", "Markout", "Decided", "HedgeTca", "VenueRead"})
"""Rows that say nothing of their own about an alert."""


def explain(args: argparse.Namespace) -> int:
    """Print the chain of one id.

    Raises:
        ConfigError: no journal, or nothing of that id in it (exit 2).
        JournalError: the journal cannot be read.
    """
    path = find_journal(resolve_state_dir(args.state_dir, os.environ), args.venues)
    with read_journal(path) as reader:
        told = Explainer(reader, path).tell(args.id)
    text = json.dumps(told, indent=2) if args.json else "\n".join(lines(told))
    sys.stdout.write(text + "\n")
    return EXIT_OK


def lines(told: dict[str, Any]) -> Iterator[str]:
    """Yield a chain as a person reads it: time, milliseconds since its first step, what."""
    day = f" ({told['chain'][0]['at'][:10]} UTC)" if told["chain"] else ""
    yield f"{told['id']}: {told['what']}{day}"
    for step in told["chain"]:
        after = f"{step['after_ms']:+.1f}"
        yield f"  {step['at'][11:26]} {after:>10} ms  {step['step']:<8} {step['text']}"
    yield f"outcome: {told['outcome']}"
    if "advice" in told:
        yield f"what to do: {told['advice']}"


class Explainer:
    """Tells one journal's stories."""

    def __init__(self, reader: JournalReader, path: Path) -> None:
        self._reader = reader
        self._path = path
        self._rows: Rows = load(reader)
        self._story = Story(self._rows, reader)

    def tell(self, name: str) -> dict[str, Any]:
        """Return the chain of an order id, ``h-17``, ``a-17`` or an alert's name.

        Raises:
            ConfigError: the journal knows no such thing.
        """
        hedge = re.fullmatch(r"h-?(\d+)", name)
        alert = re.fullmatch(r"a-?(\d+)", name)
        if hedge is not None:
            found = [h for h in self._rows.hedges if h.hedge_id == int(hedge[1])]
            if found:
                return self._hedge(found[0])
        elif alert is not None or not name.isdecimal():
            event = self._alert_row(name, int(alert[1]) if alert else None)
            if event is not None:
                return self._alert(event)
        order = self._order_row(name)
        if order is not None:
            return self._order(order)
        raise ConfigError(
            EXIT_USAGE,
            f"explain {name!r}: no order, hedge or alert of that name in {self._path}; give an "
            "order's number, a hedge such as h-17, or an alert such as a-17 or latch",
        )

    def _order_row(self, name: str) -> OrderRow | None:
        """Find an order by our number, else by its venue's id."""
        if name.isdecimal() and int(name) in self._rows.orders:
            return self._rows.orders[int(name)]
        by_venue = [o for o in self._rows.orders.values() if name and o.venue_order_id == name]
        return by_venue[-1] if by_venue else None

    def _alert_row(self, name: str, seq: int | None) -> EventRow | None:
        """Find an alert by its number, or the newest of a name."""
        for event in reversed(self._rows.alerts):
            if event.seq == seq or event.body["event"] == name:
                return event
        return None

    # --- the three stories -------------------------------------------------------------------

    def _order(self, order: OrderRow) -> dict[str, Any]:
        steps = self._story.order(order)
        hedge = next((h for h in self._rows.hedges if h.hedge_id == order.hedge_id), None)
        what = self._story.what(order)
        outcome = self._story.ended(order)
        if hedge is not None:
            outcome += f"; part of {hedge.name}"
        caused = self._story.caused(order)
        if caused:
            outcome += f"; hedged by {', '.join(caused)}"
        return _told(str(order.client_id), "order", what, steps, outcome)

    def _hedge(self, hedge: HedgeTca) -> dict[str, Any]:
        steps = self._story.hedge(hedge)
        what, outcome = self._story.hedge_words(hedge)
        told = _told(hedge.name, "hedge", what, steps, outcome)
        return {**told, "tca": hedge_row(self._rows, hedge)}

    def _alert(self, event: EventRow) -> dict[str, Any]:
        body = event.body
        fields = " ".join(f"{k}={v}" for k, v in body.items() if k != "event")
        steps = [*self._around(event), *self._named(body)]
        after = [s for s in self._story.latches() if s.wall >= event.wall]
        steps += [s for s in after[:3] if s.seq not in {known.seq for known in steps}]
        outcome = after[-1].text if after else "nothing was latched since"
        what = f"alert {body['event']} {fields}".rstrip()
        told = _told(f"a-{event.seq}", "alert", what, steps, outcome)
        return {**told, "advice": f"docs/alerts.md, `{body['event']}`"}

    def _named(self, body: dict[str, Any]) -> list[Step]:
        """Return the chain of the order or hedge that an alert names."""
        hedge = re.fullmatch(r"h-(\d+)", str(body.get("hedge", "")))
        if hedge is not None:
            found = [h for h in self._rows.hedges if h.hedge_id == int(hedge[1])]
            return self._story.hedge(found[0]) if found else []
        order = self._rows.orders.get(body.get("order", -1))
        return self._story.order(order) if order is not None else []

    def _around(self, event: EventRow) -> list[Step]:
        """Return what happened shortly before and after, the alert itself marked."""
        rows = self._reader.around(event.wall - BEFORE_ALERT, event.wall + AFTER_ALERT)
        kept = [row for row in rows if row.kind not in QUIET]
        before = [row for row in kept if row.seq <= event.seq][-MAX_AROUND:]
        after = [row for row in kept if row.seq > event.seq][:MAX_AROUND]
        return [step for row in (*before, *after) for step in self._story.plain_step(row)]


def _told(name: str, kind: str, what: str, steps: list[Step], outcome: str) -> dict[str, Any]:
    """Put a chain into the order of our clock; each step once."""
    unique = {(s.wall, s.seq, s.step, s.text): s for s in steps}
    ordered = sorted(unique.values(), key=lambda s: (s.wall, s.rank, s.seq))
    begin = ordered[0].wall if ordered else 0
    return {
        "id": name,
        "kind": kind,
        "what": what,
        "chain": [
            {
                "at": stamp(Ns(s.wall)),
                "after_ms": round((s.wall - begin) / 1_000_000, 3),
                "step": s.step,
                "text": s.text,
                **s.fields,
            }
            for s in ordered
        ],
        "outcome": outcome,
    }

"""Where a day's profit came from: one line per cause, and the lines add up to the profit exactly.

Sizes and money are whole 1e-9 units. Here positive is a gain, unlike in a TCA record.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from daemon.journal_read import FillRow
from daemon.report_data import Rows, Window
from daemon.retention import HEDGES, MAKER
from daemon.tca import HedgeTca, nearest
from strategy.domain import Px, Quote, SignedQty, Venue, notional

NAMES = {
    "spread_captured": "spread captured on backpack, against its mid",
    "hedge_spread": "hedges: half the spread at arrival",
    "hedge_depth": "hedges: depth beyond the touch",
    "hedge_resting": "hedges: resting, the touch not paid",
    "hedge_delay": "hedges: delay, drift since arrival",
    "hedge_rounding": "hedges: rounding",
    "unwinds": "roll-backs and flattening, against the mid",
    "fees_backpack": "fees on backpack",
    "fees_grvt": "fees on grvt",
    "funding_backpack": "funding on backpack",
    "funding_grvt": "funding on grvt",
    "rest": "basis between the venues and marks (rest)",
}
"""Every line of the attribution: its stable key and its words."""


@dataclass(frozen=True, slots=True)
class Pnl:
    """The profit of a span and its causes."""

    total: Quote
    baseline: Quote
    """Equity from which it counts."""
    equity: Quote
    """Equity at its end."""
    parts: dict[str, Quote]
    """By the keys of ``NAMES``; their sum is ``total``."""
    volume: dict[Venue, Quote]
    positions: dict[Venue, SignedQty]
    """At its end."""
    marks: dict[Venue, tuple[Px, str]]
    """What open positions are valued at, and whether that is a ``mid`` or a ``fill`` price."""
    unmarked: int
    """Fills without a mid of their moment: their spread is in the rest."""


def attribute(rows: Rows, span: Window, hedges: Iterable[HedgeTca]) -> Pnl:
    """Attribute the profit of a span; ``hedges`` are those that ended in it."""
    hedges = list(hedges)
    fills = [f for f in rows.fills if span.holds(f.at)]
    covered = {o.client_id for h in hedges for o in h.orders if o.venue == Venue.GRVT.value}
    covered |= {k for k, o in rows.orders.items() if 0 < o.hedge_id <= rows.gone}
    captured, unwound, unmarked = _edges(rows, span, fills, covered)
    baseline = rows.days.get(span.day)
    if baseline is None:
        baseline = _equity(rows, span.begin)[0]
    equity, positions, marks = _equity(rows, span.end)
    if any(source == "none" for _, source in marks.values()):
        # of that day only totals are left, without a mark: it ended where the next one began
        equity = next((rows.days[d] for d in sorted(rows.days) if d > span.day), equity)
    parts = {
        "spread_captured": captured,
        **{
            f"hedge_{name}": Quote(
                -sum(getattr(h.parts, name) for h in hedges) - rows.total(span, HEDGES, name)
            )
            for name in ("spread", "depth", "resting", "delay", "rounding")
        },
        "unwinds": unwound,
    }
    for venue in Venue:
        paid = sum(f.fee for f in fills if f.venue is venue)
        parts[f"fees_{venue.value}"] = Quote(-paid - rows.total(span, venue.value, "fees"))
    for venue in Venue:
        got = sum(r.amount for r in rows.funding if r.venue is venue and span.holds(r.at))
        parts[f"funding_{venue.value}"] = Quote(got + rows.total(span, venue.value, "funding"))
    total = Quote(equity - baseline)
    parts["rest"] = Quote(total - sum(parts.values()))
    volume = {
        v: Quote(
            sum(notional(f.px, f.qty) for f in fills if f.venue is v)
            + rows.total(span, v.value, "volume")
        )
        for v in Venue
    }
    return Pnl(total, baseline, equity, parts, volume, positions, marks, unmarked)


def _edges(
    rows: Rows, span: Window, fills: list[FillRow], covered: set[int]
) -> tuple[Quote, Quote, int]:
    """Return what makers and what other unhedged fills gained against the mid, and the unmarked."""
    captured = sum(rows.total(span, v.value, "captured") for v in Venue)
    unwound = sum(rows.total(span, v.value, "unwound") for v in Venue)
    unmarked = 0
    for fill in fills:
        if fill.venue is Venue.GRVT and fill.client_id in covered:
            continue
        mid = rows.mids.get((fill.venue.value, fill.trade_id, fill.client_id))
        if mid is None:
            unmarked += fill.at >= rows.since  # before that the totals have it
            continue
        edge = (mid - fill.px) * fill.side.value * fill.qty
        order = rows.orders.get(fill.client_id)
        if order is not None and order.purpose in MAKER:
            captured += edge
        else:
            unwound += edge
    return Quote(nearest(captured)), Quote(nearest(unwound)), unmarked


def _equity(
    rows: Rows, until: int
) -> tuple[Quote, dict[Venue, SignedQty], dict[Venue, tuple[Px, str]]]:
    """Return cash, fees, funding and positions at their marks, as they stood at a moment."""
    total = 0
    positions: dict[Venue, SignedQty] = {}
    marks: dict[Venue, tuple[Px, str]] = {}
    for venue in Venue:
        position, money = _leg(rows, venue, until)
        positions[venue] = SignedQty(position)
        total += money
        if position:
            marks[venue] = _mark(rows, venue, until)
            total += notional(marks[venue][0], position)
    return Quote(total), positions, marks


def _leg(rows: Rows, venue: Venue, until: int) -> tuple[int, int]:
    """Return one leg's position and its money at a moment."""
    position = rows.before(until, venue.value, "position")
    money = rows.before(until, venue.value, "cash") - rows.before(until, venue.value, "fees")
    money += rows.before(until, venue.value, "funding")
    for fill in rows.fills:
        if fill.venue is venue and fill.at < until:
            money -= fill.side.value * notional(fill.px, fill.qty) + fill.fee
            # a close that the venue forced has its size in an adjustment
            position += fill.side.value * fill.qty if fill.client_id else 0
    for row in rows.adjustments:
        if row.venue is venue and row.at < until:
            position += row.qty
            money -= notional(row.px, row.qty)
    money += sum(r.amount for r in rows.funding if r.venue is venue and r.at < until)
    return position, money


def _mark(rows: Rows, venue: Venue, until: int) -> tuple[Px, str]:
    """Return the newest journalled mid of a venue, else its newest fill price."""
    for wall, marked, mid in reversed(rows.marks):
        if marked is venue and wall < until:
            return mid, "mid"
    for fill in reversed(rows.fills):
        if fill.venue is venue and fill.at < until:
            return fill.px, "fill"
    return Px(0), "none"

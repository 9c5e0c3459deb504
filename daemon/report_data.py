"""What a report is made of: a journal's rows, with the TCA record of every hedge.

A hedge that no record tells of (a crash came before its end, or an older release wrote the journal)
is rebuilt from its decision, orders and fills: the money is exact, times and markouts are missing.
"""

import calendar
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from daemon.config_sources import EXIT_USAGE, ConfigError
from daemon.journal_read import EventRow, FillRow, JournalReader, MoneyRow, OrderRow
from daemon.retention import Totals
from daemon.tca import Execution, HedgeTca, Move, OrderTrail, Stages, read_tca, split, vwap
from strategy.domain import (
    ClientId,
    Px,
    Qty,
    Quote,
    Venue,
    notional,
    side_of,
)

ALL = "all"
DAY_NS = 86_400 * 10**9
FOREVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Markout:
    """What a hedge's fills were worth some seconds after the last one; positive is good."""

    after: int
    mid: Px
    quote: Quote


@dataclass(frozen=True, slots=True)
class Window:
    """A UTC day, or everything."""

    day: str
    begin: int
    end: int
    """Unix ns, excluded."""

    def holds(self, wall: int) -> bool:
        """True when that moment belongs to it."""
        return self.begin <= wall < self.end


@dataclass(frozen=True, slots=True)
class Rows:
    """One journal, read once."""

    name: str
    ticker: str
    newest: int | None
    days: Mapping[str, Quote]
    orders: Mapping[int, OrderRow]
    fills: tuple[FillRow, ...]
    adjustments: tuple[MoneyRow, ...]
    funding: tuple[MoneyRow, ...]
    mids: Mapping[tuple[str, str, int], Px]
    """Mid when a fill was seen, by venue, trade and order."""
    marks: tuple[tuple[int, Venue, Px], ...]
    """Every journalled mid with its time, oldest first."""
    hedges: tuple[HedgeTca, ...]
    """Oldest first."""
    markouts: Mapping[int, tuple[Markout, ...]]
    alerts: tuple[EventRow, ...]
    totals: Totals = field(default_factory=dict)
    """Of what is no longer kept in detail."""
    gone: int = 0
    """The newest hedge of which only totals are left."""
    since: int = 0
    """From then on every decision is there; 0 when none was ever taken away."""

    def total(self, span: Window, name: str, what: str) -> int:
        """Add a figure up over the days of a span of which totals are left."""
        return sum(
            amounts.get(what, 0)
            for (day, whose), amounts in self.totals.items()
            if whose == name and span.day in (ALL, day)
        )

    def before(self, until: int, name: str, what: str) -> int:
        """Add a figure up over the days before Unix ns ``until`` of which totals are left."""
        return sum(
            amounts.get(what, 0)
            for (day, whose), amounts in self.totals.items()
            if whose == name and _midnight(day) < until
        )


def window(day: str | None, rows: Rows) -> Window:
    """Return the span of a report; None is the newest day on which anything happened.

    Raises:
        ConfigError: not a date.
    """
    if day == ALL:
        return Window(ALL, 0, FOREVER)
    if day is None:
        day = utc_date(rows.newest or 0) if rows.newest else max(rows.days, default=utc_date(0))
    try:
        begin = _midnight(day)
    except ValueError as bad:
        line = f"--day {day!r}: not a date; write it as 2026-11-21, or all"
        raise ConfigError(EXIT_USAGE, line) from bad
    return Window(utc_date(begin), begin, begin + DAY_NS)


def _midnight(day: str) -> int:
    return calendar.timegm(time.strptime(day, "%Y-%m-%d")) * 10**9


def utc_date(wall: int) -> str:
    """Return the UTC day of a Unix time."""
    return time.strftime("%Y-%m-%d", time.gmtime(wall // 10**9))


def load(reader: JournalReader) -> Rows:
    """Read everything that reports and explanations use."""
    orders = {row.client_id: row for row in reader.orders()}
    fills = tuple(reader.fills())
    mids: dict[tuple[str, str, int], Px] = {}
    marks: list[tuple[int, Venue, Px]] = []
    for event in reader.events("FillMarked", "Marked"):
        body = event.body
        if event.kind == "FillMarked" and body["mid"] is not None:
            mids[body["venue"], body["trade_id"], body["client_id"]] = body["mid"]
            marks.append((event.wall, Venue(body["venue"]), body["mid"]))
        elif event.kind == "Marked":
            marks += [(event.wall, v, body[v.value]) for v in Venue if body[v.value] is not None]
    return Rows(
        name=reader.name,
        ticker=reader.meta("ticker") or "",
        newest=reader.newest(),
        days=reader.days(),
        orders=orders,
        fills=fills,
        adjustments=tuple(reader.adjustments()),
        funding=tuple(reader.funding()),
        mids=mids,
        marks=tuple(sorted(marks, key=lambda mark: mark[0])),
        hedges=_hedges(reader, orders, fills),
        markouts=_markouts(reader),
        alerts=tuple(reader.events("Alert")),
        totals=reader.totals(),
        gone=reader.newest_gone(),
        since=reader.since(),
    )


def _markouts(reader: JournalReader) -> dict[int, tuple[Markout, ...]]:
    found: dict[int, tuple[Markout, ...]] = {}
    for event in reader.events("Markout"):
        body = event.body
        one = Markout(body["after"], body["mid"], body["quote"])
        found[body["hedge_id"]] = (*found.get(body["hedge_id"], ()), one)
    return found


def _hedges(
    reader: JournalReader, orders: Mapping[int, OrderRow], fills: tuple[FillRow, ...]
) -> tuple[HedgeTca, ...]:
    found = {event.body["hedge_id"]: read_tca(event.body) for event in reader.events("HedgeTca")}
    moves: dict[int, list[EventRow]] = {}
    for event in reader.events("HedgeMoved", "HedgeEnded"):
        moves.setdefault(event.body["hedge_id"], []).append(event)
    for begun in reader.events("HedgeStarted"):
        hedge_id = begun.body["hedge_id"]
        if hedge_id not in found:
            found[hedge_id] = rebuild(begun, moves.get(hedge_id, []), orders, fills)
    return tuple(sorted(found.values(), key=lambda one: one.started_wall))


def rebuild(
    begun: EventRow,
    moves: list[EventRow],
    orders: Mapping[int, OrderRow],
    fills: tuple[FillRow, ...],
) -> HedgeTca:
    """Make a hedge's record from what the journal has of it."""
    body = begun.body
    side = side_of(body["target"])
    ours = {k: o for k, o in orders.items() if o.hedge_id == body["hedge_id"]}
    traded = [f for f in fills if f.client_id in ours and f.venue is Venue.GRVT]
    done = [
        Execution(
            ClientId(f.client_id), f.side, f.px, f.qty, ours[f.client_id].touch, f.fee, f.is_maker
        )
        for f in traded
    ]
    filled = Qty(sum(one.qty for one in done))
    stated = sum(o.cum for o in ours.values() if o.venue is Venue.GRVT)
    mid = Px(body["arrival_mid"])
    ended = [event for event in moves if event.kind == "HedgeEnded"]
    last = ended[-1] if ended else begun
    return HedgeTca(
        hedge_id=body["hedge_id"],
        side=side.value,
        target=Qty(abs(body["target"])),
        filled=filled,
        unpriced=Qty(max(0, stated - filled)),
        vwap=vwap(done),
        notional=notional(mid, filled),
        arrival_mid=mid,
        arrival_touch=Px(body["arrival_touch"]),
        primary_mid=None,
        book_age=None,
        iteration=0,
        cycle="unknown",
        started_wall=begun.wall,
        started_mono=body["fill_at"],
        ended_wall=max([last.wall, *(f.at for f in traded)]),
        ended_mono=last.body["at"]["mono"],
        moves=tuple(
            Move(e.body["phase"], e.body["why"], None) for e in moves if e.kind == "HedgeMoved"
        ),
        orders=tuple(_trail(order) for order in ours.values()),
        parts=split(side, mid, Px(body["arrival_touch"]), done),
        maker_qty=Qty(sum(one.qty for one in done if one.maker)),
        stages=Stages(),
        naked=None,
        failed=bool(ended) and bool(ended[-1].body["failed"]),
        rebuilt=True,
    )


def _trail(order: OrderRow) -> OrderTrail:
    return OrderTrail(
        client_id=order.client_id,
        venue=order.venue.value,
        purpose=order.purpose,
        side=order.side.value,
        px=order.px,
        qty=order.qty,
        touch=order.touch,
        post_only=order.post_only,
        filled=order.cum,
        sent=None,
        acked=None,
        first_fill=None,
        last_fill=None,
        ended=None,
        reason=order.reason,
    )

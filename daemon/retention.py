"""Bounds the journal: detail older than the newest ``KEEP`` decisions becomes totals by day.

What is taken away is over: ended orders with their fills, decisions, settled funding, adopted
positions. What the books, the loss budget and the daily reports need of it is added up in the same
transaction, so that the ledger before and after is one and the same (``totals``). What is live or
in doubt is never touched, nor are the newest ended orders, which late messages may still name. The
chain of decisions goes on from an anchor: the last one taken away, with the latch as it was.

Nothing here is ever in the way of an order: a few rows at a time, when nothing is to be sent.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from daemon.clock import utc_day
from daemon.tca import PARTS
from strategy.domain import Ns, Px, Venue, notional
from strategy.fold import KEEP_FINISHED
from strategy.params import SECOND

KEEP = 500_000
"""Decisions kept in detail: about 250 MB, a day and a half without a pause between hedges."""
BATCH = 100
"""Rows of a kind taken away at once: a few milliseconds."""
LOOK_EVERY = Ns(10 * SECOND)
NEXT = Ns(SECOND // 4)
"""Between two batches while there is more."""
SETTLED = 60 * SECOND
"""What ended so shortly before the oldest decision kept stays: decisions are told a little late."""
ANCHOR = "anchor"
"""Key of the small value that says where the chain goes on."""
HEDGES = "hedges"
"""Name under which a day's totals of hedges stand, beside those of the venues."""

MAKER = ("open", "close")
"""Purposes whose fills earn the spread."""

Amounts = Mapping[str, int]
Totals = Mapping[tuple[str, str], Amounts]
"""By UTC day and name: a venue, or ``HEDGES``."""


class Rows(Protocol):
    """A connection that runs statements."""

    def execute(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        ...


class Compacts(Protocol):
    """A journal that gives up detail."""

    def compact(self, keep: int, most: int) -> bool:
        """Turn the oldest detail into totals; true while there is more."""
        ...


class Retention:
    """Paces the compaction of one journal.

    Args:
        journal: what is bounded.
        keep: decisions that stay.
    """

    def __init__(self, journal: Compacts, keep: int | None = None) -> None:
        self._journal = journal
        self._keep = keep
        self._due = Ns(0)

    def tick(self, mono: Ns) -> None:
        """Take a batch away when one is due."""
        if mono >= self._due:
            keep = KEEP if self._keep is None else self._keep
            more = self._journal.compact(keep, BATCH)
            self._due = Ns(mono + (NEXT if more else LOOK_EVERY))


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where the chain goes on, and what is still needed of what was before.

    Attributes:
        seq: number of the last decision taken away; 0 before the first.
        digest: its hash.
        latch: mode and reason of the last latch taken away.
        hedge_id: the newest hedge taken away.
        fills: time and price of the newest fill taken away, by venue.
    """

    seq: int = 0
    digest: str = ""
    latch: tuple[int, str] | None = None
    hedge_id: int = 0
    fills: Mapping[str, tuple[int, int]] | None = None

    def fill(self, venue: str) -> tuple[int, int]:
        """Return time and price of a venue's newest fill taken away; zeros without one."""
        at, px = (self.fills or {}).get(venue, (0, 0))
        return at, px


def read_anchor(db: Rows) -> Anchor:
    """Return the anchor; an empty one while everything is still there."""
    row = db.execute("SELECT value FROM meta WHERE key=?", (ANCHOR,)).fetchone()
    if row is None:
        return Anchor()
    told = json.loads(row[0])
    latch = None if told["latch"] is None else (int(told["latch"][0]), str(told["latch"][1]))
    fills = {venue: (int(at), int(px)) for venue, (at, px) in told["fills"].items()}
    return Anchor(told["seq"], told["digest"], latch, told["hedge_id"], fills)


def read_totals(db: Rows) -> Totals:
    """Return the totals of what was taken away; none in a journal that never had any."""
    known = db.execute("SELECT 1 FROM sqlite_master WHERE name='totals'").fetchone()
    if known is None:
        return {}
    rows = db.execute("SELECT day, name, body FROM totals ORDER BY day, name")
    return {(day, name): json.loads(body) for day, name, body in rows}


def carried(db: Rows, name: str) -> Amounts:
    """Add up a name's totals over all days."""
    found: dict[str, int] = defaultdict(int)
    for (_, whose), amounts in read_totals(db).items():
        if whose == name:
            for what, amount in amounts.items():
                found[what] += amount
    return found


def due(db: Rows, keep: int) -> bool:
    """Return whether more than ``keep`` decisions are there; at least one stays."""
    # each alone is a look at the index, both together would be a walk over the table
    first = db.execute("SELECT MIN(seq) FROM event").fetchone()[0]
    last = db.execute("SELECT MAX(seq) FROM event").fetchone()[0]
    return first is not None and last - first >= max(keep, 1)


def compact(db: Rows, keep: int, most: int) -> bool:
    """Turn the oldest detail into totals, inside the caller's transaction, when it is ``due``.

    Args:
        db: the journal's connection.
        keep: decisions that stay.
        most: rows of each kind to take at once.

    Returns:
        True while more than that is due.
    """
    last = db.execute("SELECT MAX(seq) FROM event").fetchone()[0]
    return last is not None and _Compaction(db).run(last - keep, most)


class _Compaction:
    """One batch."""

    def __init__(self, db: Rows) -> None:
        self._db = db
        self._added: dict[tuple[str, str], dict[str, int]] = {}
        anchor = read_anchor(db)
        self._latch, self._hedge_id = anchor.latch, anchor.hedge_id
        self._fills: dict[str, tuple[int, int]] = dict(anchor.fills or {})

    def run(self, limit: int, most: int) -> bool:
        """Take decisions up to number ``limit``, and what ended before the oldest that stays."""
        upto, digest = self._decisions(limit, most)
        oldest = self._db.execute("SELECT wall FROM event WHERE seq>?", (upto,)).fetchone()
        if oldest is None:
            return False  # the file failed just now (F39), and what goes on in memory is empty
        before = oldest[0] - SETTLED
        orders = self._orders(before, most)
        self._forced(before, most)
        self._adjustments(before, most)
        self._funding(before, most)
        self._write(upto, digest)
        return upto < limit or orders

    def _add(self, wall: int, name: str, **amounts: int) -> None:
        day = self._added.setdefault((utc_day(Ns(wall)), name), defaultdict(int))
        for what, amount in amounts.items():
            day[what] += amount

    # --- what is taken -----------------------------------------------------------------------

    def _decisions(self, limit: int, most: int) -> tuple[int, str]:
        rows = self._db.execute(
            "SELECT seq, wall, kind, body, hash FROM event WHERE seq<=? ORDER BY seq LIMIT ?",
            (limit, most),
        ).fetchall()
        for _, _, kind, body, _ in rows:
            if kind == "HedgeTca":
                self._hedge(json.loads(body))
            elif kind == "FillMarked":
                self._edge(json.loads(body))
            elif kind == "HedgeStarted":
                self._hedge_id = max(self._hedge_id, json.loads(body)["hedge_id"])
            elif kind == "LatchMoved":
                told = json.loads(body)
                self._latch = told["mode"], told["reason"]
        upto, digest = (rows[-1][0], rows[-1][4]) if rows else (0, "")
        self._db.execute("DELETE FROM event WHERE seq<=?", (upto,))
        return upto, digest

    def _hedge(self, told: Mapping[str, Any]) -> None:
        parts = {name: told["parts"][name] for name in PARTS}
        whole = {name: told[name] for name in ("filled", "notional", "maker_qty")}
        self._add(
            told["ended_wall"], HEDGES, n=1, failed=int(told["failed"]), naked=told["naked"] or 0,
            **whole, **parts,
        )  # fmt: skip

    def _edge(self, told: Mapping[str, Any]) -> None:
        """Keep what a fill outside the hedges' records gained against the mid, 1e-18 quote."""
        name = told["venue"], told["trade_id"], told["client_id"]
        row = self._db.execute(
            "SELECT f.side, f.qty, f.px, f.at, o.purpose, o.hedge_id FROM fills AS f "
            "JOIN orders AS o ON o.client_id=f.client_id "
            "WHERE f.venue=? AND f.trade_id=? AND f.client_id=?",
            name,
        ).fetchone()
        if row is None or told["mid"] is None or (name[0] == Venue.GRVT and row[5]):
            return
        side, qty, px, at, purpose, _ = row
        edge = (told["mid"] - px) * side * qty
        what = "captured" if purpose in MAKER else "unwound"
        self._add(at, name[0], **{what: edge})

    def _orders(self, before: int, most: int) -> bool:
        """Take ended orders with their fills, but never the newest ``KEEP_FINISHED``."""
        newest = self._db.execute(
            "SELECT client_id FROM orders WHERE state IN ('done','dead') "
            "ORDER BY client_id DESC LIMIT 1 OFFSET ?",
            (KEEP_FINISHED,),
        ).fetchone()
        if newest is None:
            return False
        found: list[tuple[Any, ...]] = []
        for row in self._db.execute(
            "SELECT client_id, venue, side, cum, state, sent_wall, over_wall FROM orders "
            "WHERE client_id<=? ORDER BY client_id",
            newest,
        ):
            if row[5] >= before or len(found) == most:
                break
            if row[4] in ("done", "dead") and (row[6] is None or row[6] < before):
                found.append(row)
        for client_id, venue, side, cum, _, sent, over in found:
            self._add(sent, venue, orders=1, untraded=int(not cum))
            told = self._fills_of(client_id, venue)
            # traded sizes of which no fill ever told belong to the order's end
            self._add(over or sent, venue, position=side * cum - told)
            self._db.execute("DELETE FROM orders WHERE client_id=?", (client_id,))
        return len(found) == most

    def _fills_of(self, client_id: int, venue: str) -> int:
        """Take an order's fills; returns the signed size that they told of."""
        told = 0
        for side, qty, px, fee, at in self._db.execute(
            "SELECT side, qty, px, fee, at FROM fills WHERE client_id=? AND venue=?",
            (client_id, venue),
        ).fetchall():
            self._fill(venue, side, qty, px, fee, at)
            self._add(at, venue, position=side * qty)
            told += side * qty
        self._db.execute("DELETE FROM fills WHERE client_id=? AND venue=?", (client_id, venue))
        return told

    def _fill(self, venue: str, side: int, qty: int, px: int, fee: int, at: int) -> None:
        paid = notional(Px(px), qty)
        self._add(at, venue, cash=-side * paid, fees=fee, volume=paid, fills=1)
        self._fills[venue] = max(self._fills.get(venue, (0, 0)), (at, px))

    def _forced(self, before: int, most: int) -> None:
        """Take fills of closes that the venue forced: of no order, their size is adopted."""
        rows = self._db.execute(
            "SELECT rowid, venue, side, qty, px, fee, at FROM fills "
            "WHERE client_id=0 AND at<? LIMIT ?",
            (before, most),
        ).fetchall()
        for rowid, *told in rows:
            self._fill(*told)
            self._db.execute("DELETE FROM fills WHERE rowid=?", (rowid,))

    def _adjustments(self, before: int, most: int) -> None:
        rows = self._db.execute(
            "SELECT seq, venue, qty, px, at FROM adjustments WHERE at<? LIMIT ?", (before, most)
        ).fetchall()
        for seq, venue, qty, px, at in rows:
            self._add(at, venue, position=qty, cash=-notional(Px(px), qty))
            self._db.execute("DELETE FROM adjustments WHERE seq=?", (seq,))

    def _funding(self, before: int, most: int) -> None:
        """Take funding, but never a venue's newest: the next read begins there."""
        newest = self._db.execute("SELECT venue, MAX(at) FROM funding GROUP BY venue").fetchall()
        for venue, last in newest:
            rows = self._db.execute(
                "SELECT rowid, amount, at FROM funding WHERE venue=? AND at<? LIMIT ?",
                (venue, min(before, last), most),
            ).fetchall()
            for rowid, amount, at in rows:
                self._add(at, venue, funding=amount)
                self._db.execute("DELETE FROM funding WHERE rowid=?", (rowid,))

    # --- what stays of it --------------------------------------------------------------------

    def _write(self, upto: int, digest: str) -> None:
        for (day, name), amounts in self._added.items():
            row = self._db.execute(
                "SELECT body FROM totals WHERE day=? AND name=?", (day, name)
            ).fetchone()
            known = {} if row is None else json.loads(row[0])
            whole = {n: known.get(n, 0) + amounts.get(n, 0) for n in {**known, **amounts}}
            self._db.execute(
                "INSERT OR REPLACE INTO totals VALUES(?,?,?)", (day, name, json.dumps(whole))
            )
        anchor = {
            "seq": upto,
            "digest": digest,
            "latch": self._latch,
            "hedge_id": self._hedge_id,
            "fills": self._fills,
        }
        self._db.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (ANCHOR, json.dumps(anchor)))

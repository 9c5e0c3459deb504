"""The journal: SQLite, WAL, synchronous=FULL, one writer. Intent and what was observed.

An order row is committed before any of its bytes leave (S3). Traded sizes, fills and decisions are
buffered in the open transaction and committed at the end of every tick, or earlier by the next
order. Decisions form a hash chain, so that a row changed or missing is noticed.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any

from exchanges.port import Payload
from strategy.domain import (
    Bps,
    ClientId,
    Draft,
    Fill,
    FundingPayment,
    Ns,
    OrderRequest,
    Purpose,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Tif,
    Venue,
    notional,
)
from strategy.world import Order

SCHEMA = 1

TABLES = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE orders(
  client_id INTEGER PRIMARY KEY, venue TEXT NOT NULL, symbol TEXT NOT NULL, side INTEGER NOT NULL,
  qty INTEGER NOT NULL, px INTEGER NOT NULL, tif TEXT NOT NULL, post_only INTEGER NOT NULL,
  reduce_only INTEGER NOT NULL, purpose TEXT NOT NULL, expires_at INTEGER NOT NULL,
  hedge_id INTEGER NOT NULL, touch INTEGER NOT NULL, life INTEGER NOT NULL,
  levels INTEGER NOT NULL, cap INTEGER NOT NULL, nonce INTEGER NOT NULL, digest TEXT NOT NULL,
  body BLOB NOT NULL, sent_wall INTEGER NOT NULL, state TEXT NOT NULL,
  venue_order_id TEXT NOT NULL DEFAULT '', cum INTEGER NOT NULL DEFAULT 0,
  reason TEXT NOT NULL DEFAULT '', over_wall INTEGER
) STRICT;
CREATE UNIQUE INDEX orders_nonce ON orders(nonce) WHERE venue = 'grvt';
CREATE INDEX orders_live ON orders(state) WHERE state NOT IN ('done', 'dead');
CREATE TABLE fills(
  venue TEXT NOT NULL, trade_id TEXT NOT NULL, client_id INTEGER NOT NULL, side INTEGER NOT NULL,
  qty INTEGER NOT NULL, px INTEGER NOT NULL, fee INTEGER NOT NULL, fee_asset TEXT NOT NULL,
  is_maker INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(venue, trade_id, client_id)
) STRICT;
CREATE TABLE adjustments(
  seq INTEGER PRIMARY KEY, venue TEXT NOT NULL, qty INTEGER NOT NULL, px INTEGER NOT NULL,
  reason TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;
CREATE TABLE funding(
  venue TEXT NOT NULL, key TEXT NOT NULL, amount INTEGER NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY(venue, key)
) STRICT;
CREATE TABLE days(day TEXT PRIMARY KEY, baseline INTEGER NOT NULL) STRICT;
CREATE TABLE event(
  seq INTEGER PRIMARY KEY, wall INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
  hash TEXT NOT NULL
) STRICT;
"""


class JournalError(Exception):
    """The journal cannot be trusted: a human must look (exit 78). One clear line."""


@dataclass(frozen=True, slots=True)
class LoadedOrder:
    """An order row with what its fills add up to."""

    request: OrderRequest
    draft: Draft
    state: str
    venue_order_id: str
    cum: Qty
    filled: Qty
    cost: Quote
    fee: Quote
    trades: frozenset[str]
    sent_wall: Ns


@dataclass(frozen=True, slots=True)
class Ledger:
    """One venue's books as the journal has them."""

    position: SignedQty
    cash: Quote
    fees: Quote
    funding: Quote
    volume: Quote


class Journal:
    """One open journal file. Synchronous: a commit costs about 0.3 ms."""

    def __init__(self, path: Path, now: Ns) -> None:
        """Open or create; raises JournalError for a file that is not ours, newer or damaged.

        ``now`` is Unix ns: a fresh journal remembers when it was born.
        """
        self.path = path
        try:
            if path.parent.is_dir() and path.name != ":memory:":
                path.touch(mode=0o600)  # before SQLite would create it readable to all
            self._db = sqlite3.connect(path, isolation_level=None, timeout=0)
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._check()
        except (sqlite3.Error, OSError) as bad:
            raise JournalError(
                f"journal {path.name}: {bad}; keep the file, check the venues by hand, "
                "then move it away to start anew"
            ) from bad
        self._open = False
        if self.meta("born") is None:
            self.put_meta("born", str(now))
            self.commit()
        self.born = Ns(int(self.meta("born") or now))
        """Unix ns: money that moved earlier is not this journal's."""
        row = self._db.execute("SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1").fetchone()
        self._seq: int = row[0] if row else 0
        self._hash: str = row[1] if row else ""

    def _check(self) -> None:
        tables = {r[0] for r in self._db.execute("SELECT name FROM sqlite_master")}
        if "meta" not in tables:
            if tables:
                raise JournalError(f"journal {self.path.name}: a foreign database; move it away")
            self._db.executescript(f"BEGIN;{TABLES}COMMIT;")
            self._db.execute("INSERT INTO meta VALUES('schema', ?)", (str(SCHEMA),))
        schema = self.meta("schema")
        if schema != str(SCHEMA):
            raise JournalError(
                f"journal {self.path.name}: schema {schema}, this release reads {SCHEMA}; "
                "install the release that wrote it"
            )
        damage = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise JournalError(f"journal {self.path.name}: damaged ({damage}); restore a copy")

    # --- transaction -----------------------------------------------------------------------

    def _begin(self) -> None:
        if not self._open:
            self._db.execute("BEGIN IMMEDIATE")
            self._open = True

    def commit(self) -> None:
        """Make everything written so far durable."""
        if self._open:
            self._db.execute("COMMIT")
            self._open = False

    def close(self) -> None:
        """Commit and close."""
        self.commit()
        self._db.close()

    # --- small values ----------------------------------------------------------------------

    def meta(self, key: str) -> str | None:
        """Return a stored value."""
        row = self._db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put_meta(self, key: str, value: str) -> None:
        """Store a value."""
        self._begin()
        self._db.execute(
            "INSERT INTO meta VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value=excluded.value",
            (key, value),
        )

    def next_client_id(self, wall: Ns) -> ClientId:
        """Reserve the next order number.

        A fresh journal starts from the clock, so that the ids of a lost one are not used again
        (Backpack: uint32, venues.md B4).
        """
        last = self.meta("client_id")
        base = int(last) if last is not None else (wall // 1_000_000_000 - EPOCH) % (1 << 31)
        number = base + 1
        self.put_meta("client_id", str(number))
        return ClientId(number)

    def last_client_id(self) -> ClientId:
        """Return the newest order number reserved; 0 before the first."""
        return ClientId(int(self.meta("client_id") or 0))

    # --- writing ---------------------------------------------------------------------------

    def order(self, payload: Payload, draft: Draft, wall: Ns) -> None:
        """Write an order's row and commit it: from now on its bytes may leave (S3, S4).

        Raises:
            JournalError: the id or the nonce was used before.
        """
        r = payload.request
        self._begin()
        try:
            self._db.execute(
                "INSERT INTO orders(client_id, venue, symbol, side, qty, px, tif, post_only,"
                " reduce_only, purpose, expires_at, hedge_id, touch, life, levels, cap, nonce,"
                " digest, body, sent_wall, state) "
                "VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,'sent')",
                (
                    r.client_id,
                    r.venue.value,
                    r.symbol,
                    r.side.value,
                    r.qty,
                    r.px,
                    r.tif.value,
                    r.post_only,
                    r.reduce_only,
                    r.purpose.value,
                    r.expires_at,
                    draft.hedge_id,
                    draft.touch,
                    draft.life,
                    draft.levels,
                    draft.cap,
                    payload.nonce,
                    payload.digest,
                    payload.body,
                    wall,
                ),
            )
        except sqlite3.IntegrityError as bad:
            raise JournalError(f"order {r.client_id}: identity used before ({bad})") from bad
        self.commit()

    def order_changed(self, order: Order, wall: Ns) -> None:
        """Write an order's state."""
        self._begin()
        self._db.execute(
            "UPDATE orders SET state=?, venue_order_id=?, cum=?, reason=?, over_wall=? "
            "WHERE client_id=?",
            (
                order.state.value,
                order.venue_order_id,
                order.cum,
                order.reason,
                wall if order.state.over else None,
                order.request.client_id,
            ),
        )

    def fill(self, fill: Fill, client_id: ClientId) -> None:
        """Write one execution; a repeated one changes nothing."""
        self._begin()
        self._db.execute(
            "INSERT OR IGNORE INTO fills VALUES(?,?,?,?,?,?,?,?,?,?)",
            (
                fill.venue.value,
                fill.trade_id,
                client_id,
                fill.side.value,
                fill.qty,
                fill.px,
                fill.fee,
                fill.fee_asset,
                fill.is_maker,
                fill.at,
            ),
        )

    def bury_live_orders(self, reason: str) -> None:
        """End every live order of a venue that no longer exists (a simulated one only)."""
        self._begin()
        self._db.execute(
            "UPDATE orders SET state='dead', reason=? WHERE state NOT IN ('done','dead')",
            (reason,),
        )

    def adjustment(self, venue: Venue, qty: SignedQty, px: Px, reason: str, wall: Ns) -> None:
        """Write a position taken into the books by policy."""
        self._begin()
        self._db.execute(
            "INSERT INTO adjustments(venue, qty, px, reason, at) VALUES(?,?,?,?,?)",
            (venue.value, qty, px, reason, wall),
        )

    def funding(self, payment: FundingPayment) -> bool:
        """Write a funding payment; false when it is already there."""
        self._begin()
        done = self._db.execute(
            "INSERT OR IGNORE INTO funding VALUES(?,?,?,?)",
            (payment.venue.value, payment.key, payment.amount, payment.at),
        )
        return done.rowcount > 0

    def day(self, day: str, baseline: Quote) -> None:
        """Write the equity from which a UTC day's loss counts."""
        self._begin()
        self._db.execute("INSERT OR REPLACE INTO days VALUES(?, ?)", (day, baseline))

    def event(self, kind: str, body: object, wall: Ns) -> None:
        """Append one decision or alert to the hash chain."""
        self._begin()
        text = json.dumps(_jsonable(body), separators=(",", ":"), sort_keys=True)
        self._seq += 1
        self._hash = _link(self._hash, self._seq, wall, kind, text)
        self._db.execute(
            "INSERT INTO event VALUES(?,?,?,?,?)", (self._seq, wall, kind, text, self._hash)
        )

    # --- reading ---------------------------------------------------------------------------

    def day_baseline(self, day: str) -> Quote | None:
        """Return a day's baseline, if it has begun."""
        row = self._db.execute("SELECT baseline FROM days WHERE day=?", (day,)).fetchone()
        return None if row is None else Quote(row[0])

    def last_fill_at(self, venue: Venue) -> Ns:
        """Return the venue time of the newest fill; 0 without one."""
        row = self._db.execute("SELECT MAX(at) FROM fills WHERE venue=?", (venue.value,)).fetchone()
        return Ns(row[0] or 0)

    def has_fill(self, venue: Venue, trade_id: str) -> bool:
        """True when an execution is already booked."""
        row = self._db.execute(
            "SELECT 1 FROM fills WHERE venue=? AND trade_id=?", (venue.value, trade_id)
        ).fetchone()
        return row is not None

    def last_funding_at(self, venue: Venue) -> Ns:
        """Return the venue time of the newest funding payment; 0 without one."""
        row = self._db.execute(
            "SELECT MAX(at) FROM funding WHERE venue=?", (venue.value,)
        ).fetchone()
        return Ns(row[0] or 0)

    def last_price(self, venue: Venue) -> Px:
        """Return the price of the newest fill; 0 without one."""
        row = self._db.execute(
            "SELECT px FROM fills WHERE venue=? ORDER BY at DESC LIMIT 1", (venue.value,)
        ).fetchone()
        return Px(row[0] if row else 0)

    def last_hedge_id(self) -> int:
        """Return the newest hedge id used."""
        started = self._db.execute(
            "SELECT body FROM event WHERE kind='HedgeStarted' ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        orders = self._db.execute("SELECT MAX(hedge_id) FROM orders").fetchone()[0] or 0
        return max(orders, json.loads(started[0])["hedge_id"] if started else 0)

    def ledger(self, venue: Venue) -> Ledger:
        """Add a venue's books up from its rows, exactly."""
        position = cash = fees = volume = 0
        name = (venue.value,)
        for side, cum in self._db.execute("SELECT side, cum FROM orders WHERE venue=?", name):
            position += side * cum
        for side, qty, px, fee in self._db.execute(
            "SELECT side, qty, px, fee FROM fills WHERE venue=?", name
        ):
            paid = notional(px, qty)
            cash -= side * paid
            volume += paid
            fees += fee
        for qty, px in self._db.execute("SELECT qty, px FROM adjustments WHERE venue=?", name):
            position += qty
            cash -= notional(px, qty)
        paid_rows = self._db.execute("SELECT amount FROM funding WHERE venue=?", name)
        funding = sum(row[0] for row in paid_rows)
        return Ledger(SignedQty(position), Quote(cash), Quote(fees), Quote(funding), Quote(volume))

    def orders(self, keep: int) -> Iterator[LoadedOrder]:
        """Yield live orders and the newest ``keep`` finished ones, oldest first."""
        rows = self._db.execute(
            "SELECT * FROM (SELECT * FROM orders WHERE state IN ('done','dead') "
            "ORDER BY client_id DESC LIMIT ?) UNION ALL "
            "SELECT * FROM orders WHERE state NOT IN ('done','dead') ORDER BY client_id",
            (keep,),
        )
        names = [c[0] for c in rows.description]
        for row in rows.fetchall():
            yield self._load(dict(zip(names, row, strict=True)))

    def _load(self, row: dict[str, Any]) -> LoadedOrder:
        request = OrderRequest(
            client_id=ClientId(row["client_id"]),
            venue=Venue(row["venue"]),
            symbol=row["symbol"],
            side=Side(row["side"]),
            qty=Qty(row["qty"]),
            px=Px(row["px"]),
            tif=Tif(row["tif"]),
            post_only=bool(row["post_only"]),
            reduce_only=bool(row["reduce_only"]),
            expires_at=Ns(row["expires_at"]),
            purpose=Purpose(row["purpose"]),
        )
        draft = Draft(
            venue=request.venue,
            side=request.side,
            qty=request.qty,
            px=request.px,
            tif=request.tif,
            post_only=request.post_only,
            reduce_only=request.reduce_only,
            purpose=request.purpose,
            touch=Px(row["touch"]),
            life=Ns(row["life"]),
            hedge_id=row["hedge_id"],
            levels=row["levels"],
            cap=Bps(row["cap"]),
        )
        filled = cost = fee = 0
        trades = set()
        for trade, qty, px, paid in self._db.execute(
            "SELECT trade_id, qty, px, fee FROM fills WHERE venue=? AND client_id=?",
            (row["venue"], row["client_id"]),
        ):
            filled += qty
            cost += notional(px, qty)
            fee += paid
            trades.add(trade)
        return LoadedOrder(
            request,
            draft,
            row["state"],
            row["venue_order_id"],
            Qty(row["cum"]),
            Qty(filled),
            Quote(cost),
            Quote(fee),
            frozenset(trades),
            Ns(row["sent_wall"]),
        )

    def events(self, kind: str | None = None) -> Iterator[tuple[int, int, str, dict[str, Any]]]:
        """Yield (seq, wall, kind, body), oldest first."""
        where, args = ("WHERE kind=?", (kind,)) if kind else ("", ())
        query = f"SELECT seq, wall, kind, body FROM event {where} ORDER BY seq"  # noqa: S608 - fixed text
        for seq, wall, name, body in self._db.execute(query, args):
            yield seq, wall, name, json.loads(body)

    def chain_intact(self) -> bool:
        """True when every decision's hash follows from the one before it."""
        last = ""
        for seq, wall, kind, body, digest in self._db.execute(
            "SELECT seq, wall, kind, body, hash FROM event ORDER BY seq"
        ):
            if _link(last, seq, wall, kind, body) != digest:
                return False
            last = digest
        return True


EPOCH = 1_577_836_800
"""2020-01-01: order numbers of a fresh journal count from here."""


def _link(last: str, seq: int, wall: int, kind: str, text: str) -> str:
    """Return the hash that chains one decision to the one before it."""
    return hashlib.sha256(f"{last}{seq}{wall}{kind}{text}".encode()).hexdigest()


def _jsonable(value: object) -> object:
    """Render dataclasses, enums and containers as plain JSON values."""
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: _jsonable(getattr(value, f.name)) for f in fields(value)}  # type: ignore[arg-type]  # checked by the line above
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(v) for v in value]
    return value

"""The journal: SQLite, WAL, synchronous=FULL, one writer. Intent and what was observed.

An order row is committed before any of its bytes leave (S3). Traded sizes, fills and decisions are
buffered in the open transaction and committed at the end of every tick, or earlier by the next
order. Decisions form a hash chain, so that a row changed or missing is noticed.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from daemon.journal_file import (
    MEND,
    OLDER,
    PRAGMAS,
    SCHEMA,
    TABLES,
    UPGRADE,
    Handle,
    JournalError,
    JournalFile,
    JournalLost,
    remedy,
)
from daemon.journal_rows import OF_ORDER, Ledger, LoadedOrder, jsonable, loaded_order
from daemon.reserve import Reserve
from daemon.retention import carried, compact, due, read_anchor
from exchanges.port import Payload
from strategy.domain import (
    ClientId,
    Draft,
    Fill,
    FundingPayment,
    Mode,
    Ns,
    OrderRequest,
    Px,
    Quote,
    SignedQty,
    Venue,
    notional,
)
from strategy.world import Order

__all__ = ["SCHEMA", "Journal", "JournalError", "JournalLost", "Ledger", "LoadedOrder"]

ORDER = (
    "client_id", "venue", "symbol", "side", "qty", "px", "tif", "post_only", "reduce_only",
    "purpose", "expires_at", "hedge_id", "touch", "life", "levels", "cap", "nonce", "digest",
    "body", "sent_wall",
)  # fmt: skip
"""What an order's row holds from the beginning."""
_INSERT = f"({', '.join(ORDER)}, state) VALUES({'?,' * len(ORDER)}'sent')"


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
            opened = sqlite3.connect(path, isolation_level=None, timeout=0, factory=Handle)
            self._db = JournalFile(opened)
            for pragma in PRAGMAS:
                self._db.execute(pragma)
            self._check(opened)
            self._open = False
            if self.meta("born") is None:
                self.put_meta("born", str(now))
                self.commit()
            self.born = Ns(int(self.meta("born") or now))
            """Unix ns: money that moved earlier is not this journal's."""
            last = self._db.execute("SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1")
            seq, digest = last.fetchone() or (0, "")
            self._seq, self._hash = int(seq), str(digest)
            self._newest = self.last_client_id()
        except (sqlite3.Error, OSError) as bad:
            raise JournalError(f"journal {path.name}: {bad}; {remedy(bad)}") from bad
        self._reserve: Reserve | None = None

    @classmethod
    def in_memory(cls, path: Path, now: Ns, why: str) -> "Journal":
        """Return the journal of a run that may only flatten: its file cannot be used."""
        journal = cls(Path(":memory:"), now)
        journal.path, journal._db.lost = path, why
        return journal

    @property
    def lost(self) -> str:
        """Why nothing is durable any more; empty while it is."""
        return self._db.lost

    def survive(self, reserve: Reserve | None) -> None:
        """Go on in memory when the file fails from now on; the reserve keeps the record."""
        self._reserve = reserve
        self._db.survive(self._went)
        if self.lost:
            self._keep({"kind": "lost", "why": self.lost, "client_id": self._newest})

    def _went(self, why: str) -> None:
        apart = self._newest + EMERGENCY_IDS
        for key, value in (("client_id", apart), ("born", self.born), ("schema", SCHEMA)):
            self._db.execute("INSERT INTO meta VALUES(?, ?)", (key, str(value)))
        self._keep({"kind": "lost", "why": why, "client_id": self._newest})

    def _keep(self, record: Mapping[str, Any]) -> None:
        if self._reserve is not None:
            self._reserve.append(record)

    def _check(self, db: sqlite3.Connection) -> None:
        tables = {r[0] for r in self._db.execute("SELECT name FROM sqlite_master")}
        if "meta" not in tables:
            if tables:
                raise JournalError(f"journal {self.path.name}: a foreign database; move it away")
            db.executescript(f"BEGIN;{TABLES}COMMIT;")
            self._db.execute("INSERT INTO meta VALUES('schema', ?)", (str(SCHEMA),))
        schema = self.meta("schema")
        if schema == OLDER:
            db.executescript(UPGRADE)
            schema = self.meta("schema")
        if schema != str(SCHEMA):
            raise JournalError(
                f"journal {self.path.name}: schema {schema}, this release reads {SCHEMA}; "
                "install the release that wrote it"
            )
        damage = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            name = self.path.name
            raise JournalError(f"journal {name}: damaged ({damage}); {MEND}")

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
        """Commit and close; a reserve stays open with its owner."""
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

    def adopted_until(self, venue: Venue) -> Ns:
        """Return the venue time up to which fills of no order of ours are in the books; 0: none."""
        return Ns(int(self.meta(f"adopted:{venue.value}") or 0))

    def put_adopted(self, venue: Venue, until: Ns) -> None:
        """Store the venue time at which its whole position was taken into the books."""
        self.put_meta(f"adopted:{venue.value}", str(max(until, self.adopted_until(venue))))

    def next_client_id(self, wall: Ns) -> ClientId:
        """Reserve the next order number.

        A fresh journal starts from the clock, so that the ids of a lost one are not used again
        (F75), and somewhere else than one that began in the same second on another host (F43).
        Backpack takes a uint32 (venues.md B4).
        """
        last = self.meta("client_id")
        base = int(last) if last is not None else _first_id(wall)
        number = base + 1
        self._newest = ClientId(number)
        self.put_meta("client_id", str(number))
        return ClientId(number)

    def last_client_id(self) -> ClientId:
        """Return the newest order number reserved; 0 before the first."""
        return ClientId(int(self.meta("client_id") or 0))

    # --- writing ---------------------------------------------------------------------------

    def order(self, payload: Payload, draft: Draft, wall: Ns) -> None:
        """Write an order's row and commit it: from now on its bytes may leave (S3, S4).

        In memory, only a reduce-only order is taken: it may leave with its record in the reserve.

        Raises:
            JournalError: the id or the nonce was used before.
            JournalLost: the row is not durable, and must not leave.
        """
        r, before = payload.request, self.lost
        if before and not r.reduce_only:
            raise JournalLost(before)
        self._begin()
        row = (
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
        )
        try:
            self._db.execute(f"INSERT INTO orders{_INSERT}", row)
        except sqlite3.IntegrityError as bad:
            raise JournalError(f"order {r.client_id}: identity used before ({bad})") from bad
        self.commit()
        if self.lost and not before:
            raise JournalLost(self.lost)
        if self.lost:
            told = dict(zip(ORDER, row, strict=True)) | {"body": payload.body.hex()}
            self._keep({"kind": "order", "row": told})

    def take_order(self, row: Mapping[str, Any]) -> None:
        """Write the row of an order that left in an emergency: how it ended is not known yet."""
        self._begin()
        values = [bytes.fromhex(row[c]) if c == "body" else row[c] for c in ORDER]
        self._db.execute(f"INSERT OR IGNORE INTO orders{_INSERT}", values)

    def skip_client_ids(self, number: int) -> None:
        """Never hand out an order number up to this one."""
        self._newest = ClientId(max(number, self.last_client_id()))
        self.put_meta("client_id", str(self._newest))

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

    def event(self, kind: str, body: object, wall: Ns) -> int:
        """Append one decision, record or alert to the hash chain; returns its number."""
        self._begin()
        text = json.dumps(jsonable(body), separators=(",", ":"), sort_keys=True)
        self._seq += 1
        self._hash = _link(self._hash, self._seq, wall, kind, text)
        self._db.execute(
            "INSERT INTO event VALUES(?,?,?,?,?)", (self._seq, wall, kind, text, self._hash)
        )
        if self.lost and kind == "LatchMoved":
            self._keep({"kind": "latch", "body": json.loads(text)})
        return self._seq

    def compact(self, keep: int, most: int) -> bool:
        """Turn detail older than the newest ``keep`` decisions into totals; true if more is due.

        Takes at most ``most`` rows of each kind at once. What an emergency wrote in memory stays.
        """
        if self.lost or not due(self._db, keep):
            return False
        self._begin()
        return compact(self._db, keep, most)

    # --- reading ---------------------------------------------------------------------------

    def payload(self, request: OrderRequest) -> Payload | None:
        """Return an order's bytes as they were journalled before the first send (S4)."""
        row = self._db.execute(
            "SELECT body, nonce, digest FROM orders WHERE client_id=?", (request.client_id,)
        ).fetchone()
        return None if row is None else Payload(request, bytes(row[0]), (), row[1], row[2])

    def knows(self, client_id: ClientId) -> bool:
        """True when an order number was used in this journal."""
        row = self._db.execute("SELECT 1 FROM orders WHERE client_id=?", (client_id,)).fetchone()
        return row is not None

    def day_baseline(self, day: str) -> Quote | None:
        """Return a day's baseline, if it has begun."""
        row = self._db.execute("SELECT baseline FROM days WHERE day=?", (day,)).fetchone()
        return None if row is None else Quote(row[0])

    def last_fill_at(self, venue: Venue) -> Ns:
        """Return the venue time of the newest fill; 0 without one."""
        row = self._db.execute("SELECT MAX(at) FROM fills WHERE venue=?", (venue.value,)).fetchone()
        return Ns(row[0] or read_anchor(self._db).fill(venue.value)[0])

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
        return Px(row[0] if row else read_anchor(self._db).fill(venue.value)[1])

    def last_hedge_id(self) -> int:
        """Return the newest hedge id used."""
        started = self._db.execute(
            "SELECT body FROM event WHERE kind='HedgeStarted' ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        orders = self._db.execute("SELECT MAX(hedge_id) FROM orders").fetchone()[0] or 0
        newest = json.loads(started[0])["hedge_id"] if started else 0
        return max(orders, newest, read_anchor(self._db).hedge_id)

    def latch(self) -> tuple[int, str]:
        """Return the mode and the reason of the newest latch; RUNNING without one."""
        moved = self._db.execute(
            "SELECT body FROM event WHERE kind='LatchMoved' ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        if moved is None:
            return read_anchor(self._db).latch or (Mode.RUNNING.value, "")
        body = json.loads(moved[0])
        return int(body["mode"]), str(body["reason"])

    def ledger(self, venue: Venue) -> Ledger:
        """Add a venue's books up from its rows, exactly."""
        before = carried(self._db, venue.value)
        position, cash = before.get("position", 0), before.get("cash", 0)
        fees, volume = before.get("fees", 0), before.get("volume", 0)
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
        funding = before.get("funding", 0) + sum(row[0] for row in paid_rows)
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
            told = dict(zip(names, row, strict=True))
            of_order = (told["venue"], told["client_id"])
            yield loaded_order(told, self._db.execute(OF_ORDER, of_order).fetchall())

    def events(self, kind: str | None = None) -> Iterator[tuple[int, int, str, dict[str, Any]]]:
        """Yield (seq, wall, kind, body), oldest first."""
        where, args = ("WHERE kind=?", (kind,)) if kind else ("", ())
        query = f"SELECT seq, wall, kind, body FROM event {where} ORDER BY seq"  # noqa: S608 - fixed text
        for seq, wall, name, body in self._db.execute(query, args):
            yield seq, wall, name, json.loads(body)

    def chain_intact(self) -> bool:
        """True when every decision's hash follows from the one before it."""
        anchor = read_anchor(self._db)
        last, first = anchor.digest, anchor.seq + 1
        oldest = self._db.execute("SELECT MIN(seq) FROM event").fetchone()[0]
        if oldest is not None and oldest != first:
            return False
        for seq, wall, kind, body, digest in self._db.execute(
            "SELECT seq, wall, kind, body, hash FROM event ORDER BY seq"
        ):
            if _link(last, seq, wall, kind, body) != digest:
                return False
            last = digest
        return True


EMERGENCY_IDS = 1 << 16
"""How far beyond the file's newest number an emergency begins: should the reserve fail, too, the
next start counts on from the file, and must not give the numbers of orders in doubt again (S4)."""
ID_EVERY = 100_000_000
"""ns: the clock hands out numbers as fast as the order rate limit lets orders take them."""
ID_EPOCH = 15_778_368_000
"""2020-01-01 in those units."""
ID_WRAP = (1 << 32) - (1 << 24)
ID_APART = 1 << 20
"""How far from the clock's number a journal may begin: another one is hardly ever near."""


def _first_id(wall: Ns) -> int:
    salt = int.from_bytes(hashlib.sha256(str(wall).encode()).digest()[:4], "big") % ID_APART
    return (wall // ID_EVERY - ID_EPOCH + salt) % ID_WRAP


def _link(last: str, seq: int, wall: int, kind: str, text: str) -> str:
    """Return the hash that chains one decision to the one before it."""
    return hashlib.sha256(f"{last}{seq}{wall}{kind}{text}".encode()).hexdigest()

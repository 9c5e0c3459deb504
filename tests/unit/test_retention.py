"""The journal is bounded: what is taken away is over, and its sums are exactly those of before."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from daemon import retention
from daemon.journal import SCHEMA, Journal, JournalError
from daemon.journal_file import JournalFile
from daemon.journal_read import read_journal
from daemon.reconcile import journal_latch, load_world
from daemon.report import build
from daemon.report_data import load
from daemon.report_text import notes
from daemon.retention import LOOK_EVERY, NEXT, Retention, read_anchor, read_totals
from exchanges.port import Payload
from strategy.domain import (
    ClientId,
    Fees,
    Fill,
    FundingPayment,
    Mode,
    Ns,
    OrderRequest,
    Purpose,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Venue,
    nano,
)
from strategy.events import LatchMoved
from strategy.world import Order, OrderState
from tests.builders import SECOND, at, draft, params, world
from tests.dst.episode import episode
from tests.harness import Harness
from tests.soak import told

DAY = 86_400 * SECOND
FIRST = 1_790_035_200 * SECOND
"""Midnight, UTC."""
KEPT_ORDERS = 4
NO_MIDS = {"backpack": None, "grvt": None, "equity": None}


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "KEEP_FINISHED", KEPT_ORDERS)
    monkeypatch.setattr(retention, "SETTLED", 2 * SECOND)


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of half a minute of trading, ended in the middle of it."""
    path = tmp_path_factory.mktemp("state") / "sim.db"
    h = Harness(7, params(iterations=0, fill_timeout=Ns(2 * SECOND)), path)
    h.journal.put_meta("ticker", "ETH")
    h.run(30)
    h.journal.close()
    return path


@pytest.fixture
def copied(traded: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "sim.db"
    with closing(sqlite3.connect(traded)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


@contextmanager
def opened(path: Path) -> Iterator[Journal]:
    journal = Journal(path, Ns(FIRST))
    try:
        yield journal
    finally:
        journal.close()


def books(journal: Journal) -> object:
    """Everything of a journal that outlives its detail."""
    instruments = {v: leg.instrument for v, leg in world().legs.items()}
    fees = {v: Fees(v, leg.maker_fee, leg.taker_fee) for v, leg in world().legs.items()}  # type: ignore[arg-type]  # whole Bps
    again = load_world(journal, instruments, fees, at(0))
    return (
        [(v, journal.ledger(v), journal.last_fill_at(v), journal.last_price(v)) for v in Venue],
        [(v, leg.position, leg.cash, leg.fees, leg.volume) for v, leg in again.legs.items()],
        [o.request.client_id for o in again.live()],
        [o.request.client_id for o in again.orders.values()][-KEPT_ORDERS:],
        journal.last_hedge_id(),
        journal_latch(journal),
        journal.last_client_id(),
        journal.chain_intact(),
    )


def shrunk(journal: Journal, keep: int = 1) -> int:
    """Compact to the end; returns the number of batches."""
    batches = 1
    while journal.compact(keep, 40):
        journal.commit()
        batches += 1
    journal.commit()
    return batches


def count(journal: Journal, table: str) -> int:
    found: int = journal._db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]  # noqa: S608 - a table's name
    return found


# --- what must not change --------------------------------------------------------------------


def test_every_batch_leaves_the_books_the_latch_and_the_chain_as_they_were(copied: Path) -> None:
    with opened(copied) as journal:
        before, orders = books(journal), count(journal, "orders")
        journal.event("LatchMoved", LatchMoved(Mode.RUNNING, "", at(1)), at(1).wall)
        batches = 0
        more = True
        while more:
            more = journal.compact(1, 40)
            journal.commit()
            assert books(journal) == before
            batches += 1
        assert batches > 5
        assert count(journal, "event") == 1
        assert count(journal, "orders") < orders // 2
    with opened(copied) as journal:
        assert books(journal) == before


def test_a_report_of_the_day_is_the_same_from_totals(copied: Path) -> None:
    with read_journal(copied) as reader:
        whole = build(load(reader), None)
    with opened(copied) as journal:
        shrunk(journal, 50)
    with read_journal(copied) as reader:
        part = build(load(reader), None)
        told_of = " ".join(notes(part))
    for key in ("attribution", "total", "baseline", "equity", "positions", "fills_without_mid"):
        assert part["pnl"][key] == whole["pnl"][key], key
    assert part["volume"] == whole["volume"]
    assert (part["orders"]["sent"], part["day"]) == (whole["orders"]["sent"], whole["day"])
    gone = part["only_totals"]
    assert gone["orders"] > 0
    assert gone["hedges"] == len(whole["hedges"]) - len(part["hedges"])
    assert f"{gone['orders']} orders" in told_of
    assert whole["only_totals"] == {"orders": 0, "hedges": 0, "failed": 0}


def test_the_latch_and_the_newest_hedge_outlive_their_decisions(tmp_path: Path) -> None:
    with opened(tmp_path / "live.db") as journal:
        journal.event("HedgeStarted", {"hedge_id": 17}, Ns(FIRST))
        moved = LatchMoved(Mode.HALTED, "daily_loss", at(0))
        journal.event("LatchMoved", moved, Ns(FIRST))
        for n in range(5):
            journal.event("Marked", {"n": n}, Ns(FIRST + n * DAY))
        shrunk(journal)
        assert count(journal, "event") == 1
        assert journal_latch(journal) == (Mode.HALTED, "daily_loss")
        assert journal.last_hedge_id() == 17
    with opened(tmp_path / "live.db") as journal:
        assert journal.event("Marked", {}, Ns(FIRST)) == 8  # numbers go on
        assert journal.chain_intact()


# --- what may be taken away ------------------------------------------------------------------


def send(journal: Journal, number: int, when: int, state: OrderState, cum: str = "0") -> None:
    """Journal an order that ended (or did not) when it was sent."""
    made = draft(side=Side.BUY, size="0.5", price="3000", purpose=Purpose.HEDGE, hedge_id=1)
    request = OrderRequest(
        ClientId(number), made.venue, "ETH", made.side, made.qty, made.px, made.tif,
        post_only=False, reduce_only=False, expires_at=Ns(0), purpose=made.purpose,
    )  # fmt: skip
    journal.order(Payload(request, b"body", (), number, ""), made, Ns(when))
    if state is not OrderState.SENT:
        order = Order(request, made, state, at(0), cum=Qty(nano(cum)))
        journal.order_changed(order, Ns(when))


def trade(number: int, when: int, size: str = "0.5", side: Side = Side.BUY) -> Fill:
    return Fill(
        venue=Venue.GRVT, trade_id=f"t{number}", client_id=ClientId(number), venue_order_id="",
        symbol="ETH", side=side, qty=Qty(nano(size)), px=Px(nano("3000")), fee=Quote(nano("0.3")),
        fee_asset="USDT", is_maker=False, at=Ns(when),
    )  # fmt: skip


def aged(journal: Journal, days: int = 3) -> None:
    """Add decisions of later days, so that everything before them is old."""
    for n in range(3):
        journal.event("Marked", NO_MIDS, Ns(FIRST + days * DAY + n * SECOND))


@pytest.mark.parametrize(
    "state", [OrderState.SENT, OrderState.LIVE, OrderState.IN_DOUBT, OrderState.QUARANTINED]
)
def test_what_is_live_or_in_doubt_stays_however_old(tmp_path: Path, state: OrderState) -> None:
    with opened(tmp_path / "live.db") as journal:
        send(journal, 1, FIRST, state, "0.5" if state is not OrderState.SENT else "0")
        journal.fill(trade(1, FIRST), ClientId(1))
        for number in range(2, 12):
            send(journal, number, FIRST, OrderState.DEAD)
        aged(journal)
        shrunk(journal)
        left = [row.request.client_id for row in journal.orders(100)]
        assert 1 in left
        assert journal.payload(next(iter(journal.orders(0))).request) is not None
        assert journal.has_fill(Venue.GRVT, "t1")
        assert len(left) == 1 + KEPT_ORDERS


def test_what_ended_after_the_oldest_decision_stays(tmp_path: Path) -> None:
    with opened(tmp_path / "live.db") as journal:
        aged(journal, days=0)
        for number in range(1, 20):
            send(journal, number, FIRST + DAY, OrderState.DEAD)
        shrunk(journal)
        assert count(journal, "event") == 1
        assert count(journal, "orders") == 19


def test_a_size_that_no_fill_told_of_is_still_in_the_position(tmp_path: Path) -> None:
    with opened(tmp_path / "live.db") as journal:
        send(journal, 1, FIRST, OrderState.DONE, "0.5")
        journal.fill(trade(1, FIRST, "0.2"), ClientId(1))
        for number in range(2, 12):
            send(journal, number, FIRST, OrderState.DEAD)
        aged(journal)
        before = journal.ledger(Venue.GRVT)
        shrunk(journal)
        assert not journal.knows(ClientId(1))
        assert journal.ledger(Venue.GRVT) == before
        assert before.position == nano("0.5")


def test_forced_closes_adoptions_and_funding_become_totals_of_their_day(tmp_path: Path) -> None:
    with opened(tmp_path / "live.db") as journal:
        journal.fill(replace(trade(9, FIRST), side=Side.SELL), ClientId(0))
        journal.adjustment(Venue.GRVT, SignedQty(-nano("0.5")), Px(0), "forced", Ns(FIRST))
        journal.adjustment(Venue.BACKPACK, SignedQty(7), Px(nano("2")), "adopted", Ns(FIRST + DAY))
        for n, when in enumerate((FIRST, FIRST + DAY, FIRST + 2 * DAY)):
            journal.funding(FundingPayment(Venue.GRVT, str(n), Quote(n + 1), Ns(when)))
        aged(journal)
        before = [journal.ledger(v) for v in Venue]
        shrunk(journal)
        assert [journal.ledger(v) for v in Venue] == before
        assert count(journal, "adjustments") == count(journal, "fills") == 0
        assert count(journal, "funding") == 1, "the next read begins at the newest"
        assert journal.last_funding_at(Venue.GRVT) == FIRST + 2 * DAY
        assert journal.last_fill_at(Venue.GRVT) == FIRST
        totals = read_totals(journal._db)
        assert totals["2026-09-22", "grvt"]["position"] == -nano("0.5")
        assert totals["2026-09-22", "grvt"]["funding"] == 1
        assert totals["2026-09-23", "backpack"]["position"] == 7


def test_a_day_of_which_only_totals_are_left_ended_where_the_next_began(tmp_path: Path) -> None:
    with opened(tmp_path / "live.db") as journal:
        journal.day("2026-09-22", Quote(nano("10")))
        journal.day("2026-09-23", Quote(nano("4")))
        send(journal, 1, FIRST, OrderState.DONE, "0.5")
        journal.fill(trade(1, FIRST), ClientId(1))
        for number in range(2, 12):
            send(journal, number, FIRST + DAY, OrderState.DEAD)
        aged(journal)
        shrunk(journal)
    with read_journal(tmp_path / "live.db") as reader:
        made = build(load(reader), "2026-09-22")
    assert made["pnl"]["total"] == "-6"
    assert made["pnl"]["attribution"]["fees_grvt"] == "-0.3"
    assert made["pnl"]["attribution"]["rest"] == "-5.7"
    assert made["pnl"]["positions"]["grvt"] == "0.5"
    assert made["volume"]["grvt"] == "1500"
    assert made["days"][:2] == ["2026-09-22", "2026-09-23"]


def test_few_decisions_are_left_alone_and_a_lost_journal_too(tmp_path: Path) -> None:
    with opened(tmp_path / "live.db") as journal:
        assert not journal.compact(1, 10)
        aged(journal)
        assert not journal.compact(3, 10)
        assert count(journal, "event") == 3
        assert read_anchor(journal._db).seq == 0
    lost = Journal.in_memory(tmp_path / "other.db", Ns(FIRST), "full")
    aged(lost)
    assert not lost.compact(1, 10)
    assert count(lost, "event") == 3
    lost.close()


class FullAt:
    """A connection whose file fails for good at a statement of a batch."""

    def __init__(self, file: JournalFile, number: int) -> None:
        self._file = file
        self.left = number

    def execute(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        self.left -= 1
        if not self.left:
            self._file._lose("disk full", lambda _: None)
        return self._file.execute(sql, values)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 9, 14, 22])
def test_a_disk_that_fills_during_a_batch_stops_the_batch_only(copied: Path, number: int) -> None:
    with opened(copied) as journal:
        journal.survive(None)
        file = journal._db
        full = FullAt(file, number)
        journal._begin()
        retention.compact(full, 1, 40)
        assert full.left <= 0
        assert journal.lost == "disk full"
        assert not journal.compact(1, 40)
        journal.put_meta("goes", "on")
        journal.commit()
        assert journal.meta("goes") == "on"


# --- the chain, the schema, the pace ---------------------------------------------------------


def test_a_decision_taken_away_by_another_hand_is_noticed(copied: Path) -> None:
    with opened(copied) as journal:
        shrunk(journal, 100)
        assert journal.chain_intact()
        journal._db.execute("DELETE FROM event WHERE seq=(SELECT MIN(seq) FROM event)")
        assert not journal.chain_intact()


def test_a_changed_decision_after_the_anchor_is_noticed(copied: Path) -> None:
    with opened(copied) as journal:
        shrunk(journal, 100)
        journal._db.execute("UPDATE event SET body='{}' WHERE seq=(SELECT MIN(seq) FROM event)")
        assert not journal.chain_intact()


def test_a_journal_of_the_schema_before_is_taken_over(copied: Path) -> None:
    with opened(copied) as journal:
        before = books(journal)
    with closing(sqlite3.connect(copied)) as db, db:
        db.executescript("DROP TABLE totals; DROP INDEX fills_order;")
        db.execute("UPDATE meta SET value='1' WHERE key='schema'")
    with read_journal(copied) as reader:
        assert build(load(reader), None)["only_totals"]["orders"] == 0
    with opened(copied) as journal:
        assert journal.meta("schema") == str(SCHEMA)
        assert books(journal) == before
        assert shrunk(journal) > 1
        assert books(journal) == before


def test_a_journal_of_a_later_schema_is_refused(copied: Path) -> None:
    with closing(sqlite3.connect(copied)) as db, db:
        db.execute("UPDATE meta SET value='3' WHERE key='schema'")
    with pytest.raises(JournalError, match="schema 3, this release reads 2"):
        Journal(copied, Ns(FIRST))


def test_fills_of_an_order_are_found_by_index(copied: Path) -> None:
    with opened(copied) as journal:
        query = "EXPLAIN QUERY PLAN SELECT qty FROM fills WHERE venue=? AND client_id=?"
        steps = journal._db.execute(query, ("grvt", 1)).fetchall()
    assert "fills_order" in steps[0][3]


class Compacted:
    def __init__(self) -> None:
        self.more = True
        self.asked: list[tuple[int, int]] = []

    def compact(self, keep: int, most: int) -> bool:
        self.asked.append((keep, most))
        return self.more


def test_batches_follow_each_other_closely_until_nothing_is_due() -> None:
    journal = Compacted()
    keeper = Retention(journal, keep=9)
    keeper.tick(Ns(0))
    keeper.tick(Ns(NEXT - 1))
    assert len(journal.asked) == 1
    journal.more = False
    keeper.tick(NEXT)
    keeper.tick(Ns(NEXT + LOOK_EVERY - 1))
    assert len(journal.asked) == 2
    keeper.tick(Ns(NEXT + LOOK_EVERY))
    assert journal.asked == [(9, retention.BATCH)] * 3


@pytest.mark.timeout(300)  # seconds of CPU, but a busy machine stretches them
@pytest.mark.parametrize("seed", [3, 5])
def test_faults_and_crashes_change_no_book_of_a_journal_that_is_cut_short(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "KEEP", 20)
    monkeypatch.setattr(retention, "LOOK_EVERY", Ns(SECOND // 2))
    batches = []

    def compact(db: retention.Rows, keep: int, most: int) -> bool:
        batches.append(keep)
        return retention.compact(db, keep, most)

    monkeypatch.setattr("daemon.journal.compact", compact)
    report = episode(seed)
    assert not report.broken, told(seed, report, whole=False)
    assert len(batches) > 10

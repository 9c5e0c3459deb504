"""The journal when its file fails, the reserve that stands in, and the lease on a bad disk."""

import errno
import gc
import json
import os
import shutil
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from daemon.host import Descriptors, count_open, no_core_files
from daemon.journal import Journal, JournalError, JournalLost
from daemon.journal_file import Handle, abandon
from daemon.keeping import Keeping
from daemon.lease import Lease
from daemon.reconcile import journal_latch
from daemon.reserve import ROOM, SIZE, Reserve, ReserveError, recover
from exchanges.port import Payload
from strategy.domain import ClientId, Mode, Ns, OrderRequest, Purpose, Side, Tif, Venue
from strategy.events import LatchMoved
from tests.builders import SECOND, WALL, at, draft, px, qty

NOW = Ns(WALL)


def payload(number: int, *, reduce_only: bool = True) -> Payload:
    request = OrderRequest(
        client_id=ClientId(number),
        venue=Venue.GRVT,
        symbol="ETH_USDT_Perp",
        side=Side.SELL,
        qty=qty("0.5"),
        px=px(3000),
        tif=Tif.IOC,
        post_only=False,
        reduce_only=reduce_only,
        expires_at=Ns(WALL + 5 * SECOND),
        purpose=Purpose.UNWIND,
    )
    return Payload(request, b"bytes", (), number, f"d{number}")


def fill_up(journal: Journal) -> None:
    """Let the file take no more pages: SQLite's own SQLITE_FULL."""
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count={pages}")


def lose(journal: Journal) -> None:
    fill_up(journal)
    journal.put_meta("filler", "x" * 100_000)
    journal.commit()
    assert "SQLITE_FULL" in journal.lost


def test_F39_a_full_disk_is_an_error_unless_the_run_may_survive_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "live.db", NOW)
    fill_up(journal)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        journal.put_meta("filler", "x" * 100_000)
    assert journal.lost == ""
    journal._open = False
    journal.close()


def test_F39_S3_the_order_whose_commit_failed_never_leaves(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "live.db", NOW)
    journal.survive(None)
    fill_up(journal)
    big = Payload(payload(1).request, b"x" * 100_000, (), 1, "d")
    with pytest.raises(JournalLost):
        journal.order(big, draft(), NOW)
    with pytest.raises(JournalLost):
        journal.order(payload(2, reduce_only=False), draft(), NOW)
    journal.order(payload(3), draft(), NOW)
    assert [o.request.client_id for o in journal.orders(10)] == [1, 3]


def test_F39_the_next_start_takes_the_record_in_latched_and_never_reuses_an_id(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    died = tmp_path / "died"
    died.mkdir()
    with closing(Reserve(died / "live.reserve", told.append)) as reserve:
        journal = Journal(died / "live.db", NOW)
        first = journal.next_client_id(NOW)
        journal.commit()
        journal.survive(reserve)
        lose(journal)
        moved = LatchMoved(Mode.REDUCING, "journal_lost: full", at())
        journal.event("LatchMoved", moved, NOW)
        second = journal.next_client_id(NOW)
        assert second > first
        journal.order(payload(second), draft(hedge_id=3), NOW)
        journal.close()
    assert [json.loads(line)["kind"] for line in told] == ["lost", "latch", "order"]
    folder = shutil.copytree(died, tmp_path / "next")  # the lost handle ends with its process
    again = Keeping(folder / "live.db", NOW, flatten_only=False)
    try:
        assert "SQLITE_FULL" in again.recovered
        assert journal_latch(again.journal) == (Mode.REDUCING, "journal_lost: full")
        (order,) = list(again.journal.orders(10))
        assert (order.request, order.state) == (payload(second).request, "sent")
        assert order.draft.hedge_id == 3
        assert again.journal.next_client_id(NOW) == second + 1
        assert again.journal.chain_intact()
    finally:
        again.journal.close()
        again.close()
    once = Keeping(folder / "live.db", NOW, flatten_only=False)
    assert once.recovered == "", "taken in once"
    once.journal.close()
    once.close()


def test_F39_a_record_without_a_latch_goes_on_reducing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "live.db", NOW)
    with closing(Reserve(tmp_path / "live.reserve")) as reserve:
        reserve.append({"kind": "lost", "why": "full", "client_id": 7})
        reserve.append({"kind": "later release", "x": 1})
    with closing(Reserve(tmp_path / "live.reserve")) as reserve:
        assert recover(journal, reserve, NOW) == "full"
    assert journal_latch(journal)[0] is Mode.REDUCING
    assert journal.last_client_id() == 7
    journal.close()


def test_F39_a_torn_last_line_of_the_record_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "live.reserve"
    with closing(Reserve(path)) as reserve:
        reserve.append({"kind": "lost", "why": "full", "client_id": 7})
    with path.open("r+b") as file:
        file.seek(len(path.read_bytes().rstrip(b"\0")))
        file.write(b'{"kind":"ord')
    with closing(Reserve(path)) as reserve:
        assert [r["kind"] for r in reserve.records()] == ["lost"]
    path.write_bytes(b"7\n")
    with closing(Reserve(path)) as reserve:
        assert reserve.records() == []


def test_F39_the_reserve_takes_its_room_at_the_start(tmp_path: Path) -> None:
    with closing(Reserve(tmp_path / "live.reserve")) as reserve:
        assert reserve.path.stat().st_blocks * 512 >= SIZE
        assert reserve.records() == []
        reserve.clear()
    reserve.close()
    reserve.append({"kind": "late"})
    assert not (tmp_path / "live.reserve").read_bytes().strip(b"\0")


def test_F39_no_room_for_the_reserve_refuses_the_start_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, begin: int, size: int) -> None:
        del fd, begin, size
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ReserveError, match="free 8 MiB"):
        Reserve(tmp_path / "live.reserve")
    with pytest.raises(JournalError, match="free 8 MiB"):
        Keeping(tmp_path / "live.db", NOW, flatten_only=False)
    flatten = Keeping(tmp_path / "live.db", NOW, flatten_only=True)
    assert "free 8 MiB" in flatten.journal.lost
    flatten.journal.close()
    flatten.close()
    with pytest.raises(ReserveError, match="No such file"):
        Reserve(tmp_path / "absent" / "live.reserve")


def test_F39_a_reserve_that_needs_new_blocks_gives_half_back_and_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, full = os.pwrite, [True]

    def once_full(fd: int, data: bytes, offset: int) -> int:
        if full.pop() if full else False:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data, offset)

    with closing(Reserve(tmp_path / "live.reserve")) as reserve:
        monkeypatch.setattr(os, "pwrite", once_full)
        reserve.append({"kind": "lost", "why": "full", "client_id": 1})
        assert reserve.path.stat().st_size == ROOM
    with closing(Reserve(tmp_path / "live.reserve")) as reserve:
        assert len(reserve.records()) == 1


def test_F40_a_reserve_that_fails_too_leaves_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fd: int) -> None:
        del fd
        raise OSError(errno.EIO, "Input/output error")

    told: list[str] = []
    with closing(Reserve(tmp_path / "live.reserve", told.append)) as reserve:
        monkeypatch.setattr(os, "fdatasync", broken)
        reserve.append({"kind": "lost"})
    assert told == [
        '{"kind":"lost"}',
        "reserve live.reserve: Input/output error: the record is only here",
    ]


class Watched(Handle):
    """A handle that counts what is asked of it."""

    asked: int = 0
    broken: bool = False

    def execute(self, *args: object) -> sqlite3.Cursor:
        Watched.asked += 1
        if Watched.broken:
            bad = sqlite3.OperationalError("disk I/O error")
            bad.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise bad
        return super().execute(*args)  # type: ignore[arg-type]

    def close(self) -> None:
        Watched.asked += 1_000_000
        super().close()


def test_F40_a_handle_whose_fsync_failed_is_never_used_or_closed_again(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    journal = Journal(path, NOW)
    journal._db._db.close()
    handle = sqlite3.connect(path, isolation_level=None, timeout=0, factory=Watched)
    handle.execute("PRAGMA locking_mode=EXCLUSIVE")
    handle.execute("PRAGMA journal_mode=WAL")
    journal._db._db = handle
    journal.survive(None)
    journal.put_meta("a", "1")
    journal.commit()
    journal.put_meta("b", "2")
    wal = path.with_name("live.db-wal").read_bytes()
    Watched.broken, Watched.asked = True, 0
    journal.commit()
    assert Watched.asked == 1, "the failed commit itself"
    assert "SQLITE_IOERR_FSYNC" in journal.lost
    journal.put_meta("c", "3")
    journal.commit()
    journal.commit()
    journal.close()
    del handle
    gc.collect()
    assert Watched.asked == 1
    assert path.with_name("live.db-wal").read_bytes() == wal, "no check-point, no truncation"


def test_F40_abandoning_a_foreign_connection_does_nothing(tmp_path: Path) -> None:
    plain = sqlite3.connect(tmp_path / "x.db")
    abandon(plain)
    plain.close()
    assert not hasattr(plain, "me")


def test_F40_a_second_failure_in_memory_is_not_swallowed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "live.db", NOW)
    journal.survive(None)
    lose(journal)
    with pytest.raises(sqlite3.OperationalError):
        journal._db.execute("SELECT * FROM absent")
    with pytest.raises(sqlite3.ProgrammingError):
        journal._db.execute("SELECT ?", ())


@pytest.mark.parametrize(
    ("damage", "remedy"),
    [
        (lambda p: p.write_bytes(b"no journal" * 500), "move it and its -wal away"),
        (lambda p: p.unlink() or p.mkdir(), "writable"),
    ],
    ids=["corrupt", "directory"],
)
def test_F41_a_journal_that_cannot_be_opened_says_what_to_do(
    tmp_path: Path, damage: object, remedy: str
) -> None:
    path = tmp_path / "live.db"
    Journal(path, NOW).close()
    damage(path)  # type: ignore[operator]
    with pytest.raises(JournalError, match=remedy):
        Journal(path, NOW)


def test_F41_a_locked_journal_names_the_other_program(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    Journal(path, NOW).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(JournalError, match="another program has it open"):
        Journal(path, NOW)
    other.close()


def test_F41_a_flatten_goes_on_in_memory_with_the_reserve_as_its_record(tmp_path: Path) -> None:
    (tmp_path / "live.db").write_bytes(b"no journal" * 500)
    kept = Keeping(tmp_path / "live.db", NOW, flatten_only=True)
    number = kept.journal.next_client_id(NOW)
    kept.journal.order(payload(number), draft(), NOW)
    kept.journal.close()
    assert kept.reserve is not None
    kept.close()
    with closing(Reserve(tmp_path / "live.reserve")) as reserve:
        assert [r["kind"] for r in reserve.records()] == ["lost", "order"]


def test_F39_a_record_that_cannot_be_taken_in_stays_and_refuses_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Reserve(tmp_path / "live.reserve")) as reserve:
        reserve.append({"kind": "lost", "why": "full", "client_id": 7})

    def full(self: Journal) -> None:
        del self
        raise sqlite3.OperationalError("database or disk is full")

    Journal(tmp_path / "live.db", NOW).close()
    monkeypatch.setattr(Journal, "commit", full)
    with pytest.raises(JournalError, match="free room"):
        Keeping(tmp_path / "live.db", NOW, flatten_only=False)
    with closing(Reserve(tmp_path / "live.reserve")) as reserve:
        assert len(reserve.records()) == 1


def test_F43_F75_the_ids_of_another_journal_are_elsewhere(tmp_path: Path) -> None:
    """Lost and begun anew, or begun at the same moment on another host."""
    begun = [WALL, WALL + 1, WALL + 1000, WALL + SECOND, WALL + 61 * SECOND, WALL + 86400 * SECOND]
    first = []
    for n, wall in enumerate(begun):
        journal = Journal(tmp_path / f"{n}.db", Ns(wall))
        first.append(int(journal.next_client_id(Ns(wall))))
        assert journal.next_client_id(Ns(wall)) == first[-1] + 1
        journal.close()
    first.sort()
    assert min(b - a for a, b in pairwise(first)) > 1000
    far = Ns(4_000_000_000 * SECOND)
    other = Journal(tmp_path / "far.db", far)
    assert 0 < other.next_client_id(far) < 1 << 32
    other.close()


# --- the lease, open files, core files -----------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC])
def test_F39_the_lease_can_be_taken_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    Lease(tmp_path).close()
    real = os.open

    def read_only(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise OSError(code, os.strerror(code))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", read_only)
    with Lease(tmp_path) as held:
        assert held.path.exists()
    with pytest.raises(OSError, match=os.strerror(code)):
        Lease(tmp_path / "new")


def test_F48_too_many_open_files_are_told_once_and_the_spare_one_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[int, int]] = []
    time = [0]
    files = Descriptors(lambda: Ns(time[0]), lambda used, limit: told.append((used, limit)))
    monkeypatch.setattr("daemon.host.count_open", lambda _: 10)
    monkeypatch.setattr("resource.getrlimit", lambda _: (100, 100))
    files.look()
    assert told == []
    monkeypatch.setattr("daemon.host.count_open", lambda _: 80)
    time[0] += SECOND
    files.look()
    assert told == [], "it looks every five seconds"
    time[0] += 5 * SECOND
    files.look()
    time[0] += 5 * SECOND
    files.look()
    assert told == [(80, 100)]
    files.close()


def test_F48_a_list_that_cannot_be_opened_counts_as_full(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 3 <= count_open(1 << 20) < 1 << 20
    monkeypatch.setattr("daemon.host.OPEN", Path("/absent"))
    assert count_open(64) == 64


def test_F80_core_files_are_off_even_where_their_filter_cannot_be_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr("resource.setrlimit", lambda which, to: limits.append((which, to)))
    monkeypatch.setattr("daemon.host.FILTER", Path("/absent/filter"))
    no_core_files()
    assert [to for _, to in limits] == [(0, 0)]

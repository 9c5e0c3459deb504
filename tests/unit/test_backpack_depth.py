"""Depth bootstrap and gaps (venues.md B5)."""

import pytest

from exchanges.backpack.codec import Snapshot
from exchanges.backpack.depth import MAX_BUFFERED, DepthBook, DepthGapError
from exchanges.backpack.ws_codec import DepthDelta
from exchanges.ladder import MAX_LEVELS
from strategy.domain import NANO, Book, Level, Ns, Px, Qty, Venue


def level(px: int, qty: int) -> Level:
    return Px(px * NANO), Qty(qty * NANO)


def snapshot(last: int, bids: tuple[Level, ...], asks: tuple[Level, ...]) -> Snapshot:
    return Snapshot(Book(Venue.BACKPACK, bids, asks, Ns(last)), last)


def delta(first: int, last: int, *bids: Level, asks: tuple[Level, ...] = ()) -> DepthDelta:
    return DepthDelta(first, last, bids, asks, Ns(last))


def synced(last: int = 100) -> DepthBook:
    book = DepthBook()
    book.snapshot(snapshot(last, (level(3000, 1), level(2999, 2)), (level(3001, 1),)))
    return book


def test_updates_before_the_snapshot_are_buffered_and_replayed() -> None:
    book = DepthBook()
    assert not book.delta(delta(99, 100, level(1, 1)))
    assert not book.delta(delta(101, 101, level(3000, 5)))
    assert book.last_update_id == -1
    book.snapshot(snapshot(100, (level(3000, 1),), (level(3001, 1),)))
    assert book.synced
    assert book.last_update_id == 101
    assert book.book().bids == (level(3000, 5),)
    assert book.book().event_time == 101


def test_first_update_may_overlap_the_snapshot() -> None:
    book = synced()
    assert book.delta(delta(95, 103, level(3000, 7)))
    assert book.last_update_id == 103


def test_only_the_first_update_may_overlap() -> None:
    book = synced()
    book.delta(delta(101, 101, level(3000, 7)))
    with pytest.raises(DepthGapError):
        book.delta(delta(101, 102, level(3000, 8)))


def test_F50_gap_is_an_error_and_the_book_is_no_longer_synced() -> None:
    book = synced()
    with pytest.raises(DepthGapError):
        book.delta(delta(102, 102, level(3000, 7)))
    assert not book.synced
    assert book.last_update_id == -1


def test_gap_is_closed_by_a_newer_snapshot() -> None:
    book = synced()
    with pytest.raises(DepthGapError):
        book.delta(delta(102, 102, level(3000, 7)))
    book.delta(delta(103, 103, level(2990, 1)))
    with pytest.raises(DepthGapError):
        book.snapshot(snapshot(100, (), ()))
    book.snapshot(snapshot(101, (level(3000, 1),), (level(3001, 1),)))
    assert book.book().bids == (level(3000, 7), level(2990, 1))


def test_old_update_is_ignored() -> None:
    book = synced()
    assert not book.delta(delta(99, 100, level(3000, 9)))
    assert book.book().bids[0] == level(3000, 1)


def test_zero_removes_and_an_unchanged_update_is_no_change() -> None:
    book = synced()
    assert book.delta(delta(101, 101, level(3000, 0)))
    assert book.book().bids == (level(2999, 2),)
    assert not book.delta(delta(102, 102, level(2999, 2), level(1234, 0)))
    assert book.delta(delta(103, 103, level(2998, 1), level(2998, 0), asks=(level(3002, 3),)))
    assert book.book().bids == (level(2999, 2),)
    assert book.book().asks == (level(3001, 1), level(3002, 3))


def test_only_the_best_levels_are_shown_and_deeper_changes_are_silent() -> None:
    book = DepthBook()
    deep = tuple(level(10_000 - i, 1) for i in range(MAX_LEVELS + 10))
    book.snapshot(snapshot(1, deep, (level(10_001, 1),)))
    assert len(book.book().bids) == MAX_LEVELS
    assert not book.delta(delta(2, 2, level(10_000 - MAX_LEVELS - 5, 9)))
    assert book.last_update_id == 2


def test_confirm_only_moves_time_forward() -> None:
    book = synced()
    assert book.confirm(Ns(500)).event_time == 500
    assert book.confirm(Ns(400)).event_time == 500


def test_buffer_is_bounded() -> None:
    book = DepthBook()
    for number in range(MAX_BUFFERED):
        book.delta(delta(number, number))
    with pytest.raises(DepthGapError):
        book.delta(delta(MAX_BUFFERED, MAX_BUFFERED))

"""From a public stream to the changes that a recording holds."""

import random  # noqa: TID251 - a seeded walk of books

from exchanges.recording import MarketChanges, MarketGap
from exchanges.simulator.model import MarketBook, MarketTrade
from strategy.domain import (
    Book,
    Level,
    Ns,
    Px,
    Qty,
    Side,
    StreamState,
    Surface,
    Trade,
    Venue,
)

GRVT = Venue.GRVT


def side(*levels: tuple[int, int]) -> tuple[Level, ...]:
    return tuple((Px(px), Qty(size)) for px, size in levels)


def book(bids: tuple[Level, ...], asks: tuple[Level, ...]) -> Book:
    return Book(GRVT, bids, asks, Ns(1))


def down(why: str = "closed", surface: Surface = Surface.PUBLIC) -> StreamState:
    return StreamState(GRVT, surface, up=False, why=why)


def trade(px: int = 100) -> Trade:
    return Trade(GRVT, Px(px), Qty(3), Side.SELL, Ns(1))


def test_the_first_book_is_a_snapshot_and_later_ones_are_what_changed() -> None:
    changes = MarketChanges(GRVT, 10)
    bids, asks = side((99, 1), (98, 2)), side((101, 1), (102, 5))
    assert changes.take(book(bids, asks)) == MarketBook(bids, asks, snapshot=True)
    moved = changes.take(book(side((99, 4), (97, 1)), asks))
    assert moved == MarketBook(side((98, 0), (99, 4), (97, 1)), (), snapshot=False)


def test_an_unchanged_book_adds_nothing() -> None:
    changes = MarketChanges(GRVT, 10)
    changes.take(book(side((99, 1)), side((101, 1))))
    assert changes.take(book(side((99, 1)), side((101, 1)))) is None


def test_a_level_that_leaves_the_recorded_depth_is_removed_and_comes_back_whole() -> None:
    changes = MarketChanges(GRVT, 1)
    asks = side((101, 1))
    changes.take(book(side((99, 1), (98, 7)), asks))
    better = changes.take(book(side((100, 2), (99, 1)), asks))
    assert better == MarketBook(side((99, 0), (100, 2)), (), snapshot=False)
    back = changes.take(book(side((99, 1), (98, 7)), asks))
    assert back == MarketBook(side((100, 0), (99, 1)), (), snapshot=False)


def test_replaying_the_changes_gives_every_book_of_a_random_walk() -> None:
    rng, changes = random.Random(5), MarketChanges(GRVT, 4)  # noqa: S311 - a seeded walk
    shown: tuple[dict[Px, Qty], dict[Px, Qty]] = ({}, {})
    for _ in range(400):
        mid = rng.randint(50, 60)
        bids = side(*((mid - n, rng.randint(1, 3)) for n in range(1, rng.randint(1, 8))))
        asks = side(*((mid + n, rng.randint(1, 3)) for n in range(1, rng.randint(1, 8))))
        change = changes.take(book(bids, asks))
        assert change is None or isinstance(change, MarketBook)
        for held, told in zip(shown, (change.bids, change.asks) if change else (), strict=False):
            held.update(told)
            for px in [px for px, size in held.items() if not size]:
                del held[px]
        assert shown == (dict(bids[:4]), dict(asks[:4]))


def test_a_lost_stream_is_one_gap_and_the_next_book_is_a_snapshot() -> None:
    changes = MarketChanges(GRVT, 10)
    bids, asks = side((99, 1)), side((101, 1))
    changes.take(book(bids, asks))
    assert changes.take(down("sequence 9 after 7")) == MarketGap("sequence 9 after 7")
    assert changes.take(down("cannot connect")) is None
    assert (changes.known, changes.snapshot()) == (False, None)
    assert changes.why_down == "cannot connect"
    assert changes.take(book(bids, asks)) == MarketBook(bids, asks, snapshot=True)


def test_trades_count_only_while_the_book_they_met_is_known() -> None:
    changes = MarketChanges(GRVT, 10)
    assert changes.take(trade()) is None
    changes.take(book(side((99, 1)), side((101, 1))))
    assert changes.take(trade()) == MarketTrade(Px(100), Qty(3), Side.SELL)
    changes.take(down())
    assert changes.take(trade()) is None


def test_the_private_surface_and_a_stream_coming_up_change_nothing() -> None:
    changes = MarketChanges(GRVT, 10)
    changes.take(book(side((99, 1)), side((101, 1))))
    assert changes.take(down(surface=Surface.PRIVATE)) is None
    assert changes.take(StreamState(GRVT, Surface.PUBLIC, up=True)) is None
    assert changes.known


def test_a_recording_never_begins_with_a_crossed_book() -> None:
    changes = MarketChanges(GRVT, 10)
    assert changes.take(book(side((101, 1)), side((101, 1)))) is None
    assert (changes.known, changes.why_down) == (False, "the book is crossed")
    assert changes.take(book(side((99, 1)), side((101, 1)))) is not None
    changes.take(book(side((102, 1)), side((101, 1))))
    assert changes.known
    assert changes.snapshot() is None

"""The generated market has the shape that users of the pair reported (predecessor, section 3)."""

from dataclasses import dataclass, field
from itertools import islice, pairwise
from statistics import fmean, median, pstdev

import pytest

from exchanges.simulator.defaults import default_market
from exchanges.simulator.model import MarketBook, MarketTrade
from exchanges.simulator.synthetic import Synthetic
from strategy.domain import NANO, Venue, nano

SECONDS = 150
SAMPLE_NS = NANO // 10


@dataclass
class Seen:
    """What was on display, every tenth of a second."""

    mids: dict[Venue, list[float]] = field(default_factory=lambda: {v: [] for v in Venue})
    spreads: list[int] = field(default_factory=list)
    tops: list[int] = field(default_factory=list)
    near: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    trades: dict[Venue, int] = field(default_factory=lambda: dict.fromkeys(Venue, 0))
    behind: set[int] = field(default_factory=set)


def watch(ticker: str, seed: int, seconds: int) -> Seen:
    seen = Seen()
    books: dict[Venue, tuple[dict[int, int], dict[int, int]]] = {v: ({}, {}) for v in Venue}
    sample = SAMPLE_NS
    for told in Synthetic(ticker, seed).events():
        while told.offset > sample:
            look(seen, books)
            sample += SAMPLE_NS
        if told.offset > seconds * NANO:
            return seen
        if isinstance(told.event, MarketTrade):
            seen.trades[told.venue] += 1
            seen.sizes.append(told.event.qty)
            continue
        for held, changes in zip(
            books[told.venue], (told.event.bids, told.event.asks), strict=True
        ):
            held.update(changes)
            for px in [px for px, size in held.items() if not size]:
                del held[px]
    raise AssertionError("the market ended")


def look(seen: Seen, books: dict[Venue, tuple[dict[int, int], dict[int, int]]]) -> None:
    for venue, (bids, asks) in books.items():
        assert max(bids) < min(asks), "never crossed or locked"
        seen.mids[venue].append((max(bids) + min(asks)) / 2)
    bids, asks = books[Venue.GRVT]
    touch = min(asks)
    seen.spreads.append(touch - max(bids))
    seen.tops.append(asks[touch])
    seen.near.append(sum(size for px, size in asks.items() if px <= touch * 10_005 // 10_000))
    seen.behind |= {size for px, size in asks.items() if px != touch}


@pytest.fixture(scope="module")
def eth() -> Seen:
    return watch("ETH", 1, SECONDS)


def test_the_hedge_book_is_thin(eth: Seen) -> None:
    assert set(eth.spreads) == {nano("0.01"), nano("0.02")}
    assert median(eth.tops) <= nano("0.05")
    assert max(eth.tops) >= nano(5)
    assert nano("0.02") <= min(eth.behind)
    assert max(eth.behind) <= nano("0.16")
    short = sum(size < NANO for size in eth.near) / len(eth.near)
    assert short > 0.6, "1 ETH usually takes refills within 5 bps"


def test_the_fair_price_moves_1_2_bps_per_square_root_second(eth: Seen) -> None:
    path = eth.mids[Venue.BACKPACK]
    moves = [(b / a - 1) * 1e4 for a, b in zip(path, path[10:], strict=False)]
    assert 0.9 < pstdev(moves) < 1.5


def test_the_hedge_venue_follows_100_ms_later(eth: Seen) -> None:
    primary, hedge = (
        [(b / a - 1) * 1e4 for a, b in pairwise(eth.mids[v])] for v in (Venue.BACKPACK, Venue.GRVT)
    )
    together = fmean(a * b for a, b in zip(primary, hedge, strict=True))
    later = fmean(a * b for a, b in zip(primary, hedge[1:], strict=False))
    assert later > 5 * abs(together)


def test_the_basis_wanders_about_2_4_bps(eth: Seen) -> None:
    pairs = zip(eth.mids[Venue.GRVT], eth.mids[Venue.BACKPACK], strict=True)
    basis = [(hedge / primary - 1) * 1e4 for hedge, primary in pairs]
    assert 2.1 < fmean(basis) < 2.7
    assert 0.4 < pstdev(basis) < 0.8


def test_trades_come_at_their_rates_and_are_small(eth: Seen) -> None:
    assert 36 < eth.trades[Venue.BACKPACK] / SECONDS < 44
    assert 4 < eth.trades[Venue.GRVT] / SECONDS < 6
    small = sum(nano("0.01") <= size <= nano("0.25") for size in eth.sizes) / len(eth.sizes)
    assert small > 0.9


def test_one_seed_is_one_market() -> None:
    def head(seed: int) -> list[object]:
        return list(islice(Synthetic("ETH", seed).events(), 500))

    assert head(3) == head(3)
    assert head(3) != head(4)


@pytest.mark.parametrize("ticker", ["BTC", "SOL", "XYZ"])
def test_other_tickers_keep_the_venues_grid(ticker: str) -> None:
    grids = {v: default_market(v, ticker, None).instrument for v in Venue}
    before = 0
    for told in islice(Synthetic(ticker, 1).events(), 3000):
        assert told.offset >= before
        before = told.offset
        grid = grids[told.venue]
        rows = (
            (*told.event.bids, *told.event.asks)
            if isinstance(told.event, MarketBook)
            else ((told.event.px, told.event.qty),)
        )
        assert all(px > 0 and not px % grid.tick and not size % grid.step for px, size in rows)
    assert before > 10 * NANO

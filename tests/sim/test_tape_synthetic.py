"""The generated market looks like the recorded one, and its hedge book as users reported it."""

from itertools import islice, pairwise
from statistics import median

import pytest

from exchanges.simulator.defaults import default_market
from exchanges.simulator.model import MarketBook, MarketTrade
from exchanges.simulator.synthetic import Moments, Synthetic, SyntheticError
from exchanges.simulator.synthetic_shapes import Ladder
from exchanges.simulator.tape import FeedEvent
from strategy.domain import NANO, Side, Venue, nano
from tests.bench.statistics import Seen, pair_table, quantile, watch
from tests.bench.synthetic import LOW, measured, rows

SECONDS = 200
SEEDS = [1, 2, 3]


# --- measured ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def samples() -> list[dict[Venue, Seen]]:
    return measured(SEEDS, SECONDS)


@pytest.mark.parametrize("part", ["deep", "thin", "pair"])
def test_every_statistic_is_within_its_factor_of_the_recorded_one(
    samples: list[dict[Venue, Seen]], part: str
) -> None:
    off = [row for row in rows(samples)[part] if not row.near]

    assert off == []


def test_the_basis_forgets_within_seconds(samples: list[dict[Venue, Seen]]) -> None:
    tables = [pair_table(sample) for sample in samples]

    for name, (want, room) in LOW.items():
        assert abs(median(table[name] for table in tables) - want) < room


# --- reported ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reported() -> Seen:
    return watch(Synthetic("ETH", 1).events(), SECONDS)[Venue.GRVT]


def test_the_reported_hedge_book_has_a_tick_or_two_of_spread(reported: Seen) -> None:
    ticks = [round((a - b) * 100) for a, b in zip(reported.asks, reported.bids, strict=True)]

    assert quantile([float(each) for each in ticks], 0.95) <= 2
    assert min(ticks) == 1


def test_the_reported_top_is_dust_and_seldom_a_dealers_size(reported: Seen) -> None:
    tops = [usd / 3000 for usd in reported.tops]

    assert quantile(tops, 0.5) <= 0.05
    assert quantile(tops, 0.99) >= 5
    assert max(tops) <= 15


def test_one_eth_usually_takes_refills_of_the_reported_book(reported: Seen) -> None:
    near = [usd / 3000 for usd in reported.depths[5]]
    behind = [usd / 3000 for usd in reported.depths[2]]

    assert sum(size < 1 for size in near) / len(near) > 0.5
    assert quantile(behind, 0.5) < 0.7


def test_reported_public_trades_are_small() -> None:
    sizes = [
        told.event.qty
        for told in until(Synthetic("ETH", 1), SECONDS)
        if told.venue is Venue.GRVT and isinstance(told.event, MarketTrade)
    ]

    small = sum(nano("0.01") <= size <= nano("0.25") for size in sizes) / len(sizes)
    assert small > 0.9
    assert 4 < len(sizes) / SECONDS < 8


# --- the flow ------------------------------------------------------------------------------------


def until(source: Synthetic, seconds: int) -> list[FeedEvent]:
    found = []
    for told in source.events():
        if told.offset > seconds * NANO:
            break
        found.append(told)
    return found


def test_a_touch_that_moves_away_is_often_traded_through_first() -> None:
    books: dict[Venue, dict[Side, dict[int, int]]] = {v: {s: {} for s in Side} for v in Venue}
    cleared = moves = 0
    traded: set[tuple[Venue, int]] = set()
    for told in until(Synthetic("ETH", 2), 100):
        if isinstance(told.event, MarketTrade):
            traded.add((told.venue, told.event.px))
            continue
        asks = books[told.venue][Side.SELL]
        best = min(asks, default=0)
        for px, size in told.event.asks:
            asks[px] = size
            if not size:
                del asks[px]
        if min(asks) > best > 0:
            moves += 1
            cleared += (told.venue, best) in traded
        traded.clear()
    assert moves > 50
    assert cleared / moves > 0.3


def test_books_never_cross_and_time_never_goes_back() -> None:
    books: dict[Venue, dict[Side, dict[int, int]]] = {v: {s: {} for s in Side} for v in Venue}
    before = 0
    for told in until(Synthetic("ETH", 3, "measured", Moments(jump=20)), 120):
        assert told.offset >= before
        before = told.offset
        if isinstance(told.event, MarketBook):
            sides = books[told.venue]
            for side, levels in ((Side.BUY, told.event.bids), (Side.SELL, told.event.asks)):
                for px, size in levels:
                    assert size or px in sides[side]
                    sides[side][px] = size
                    if not size:
                        del sides[side][px]
            assert max(sides[Side.BUY]) < min(sides[Side.SELL])


def test_one_seed_is_one_market() -> None:
    def head(seed: int) -> list[object]:
        return list(islice(Synthetic("ETH", seed).events(), 500))

    assert head(3) == head(3)
    assert head(3) != head(4)


@pytest.mark.parametrize("ticker", ["BTC", "SOL", "XYZ"])
def test_other_tickers_keep_the_venues_grid(ticker: str) -> None:
    grids = {v: default_market(v, ticker, None).instrument for v in Venue}
    for told in islice(Synthetic(ticker, 1).events(), 3000):
        grid = grids[told.venue]
        levels = (
            (*told.event.bids, *told.event.asks)
            if isinstance(told.event, MarketBook)
            else ((told.event.px, told.event.qty),)
        )
        assert all(px > 0 and not px % grid.tick and not size % grid.step for px, size in levels)


# --- settings ------------------------------------------------------------------------------------


def test_rare_moments_happen_only_when_asked_for() -> None:
    calm = watch(Synthetic("ETH", 5).events(), 60)[Venue.BACKPACK].mids
    wild = watch(Synthetic.parse("ETH,jump=15", 5).events(), 60)[Venue.BACKPACK].mids

    def largest(mids: list[float]) -> float:
        return max(abs(b / a - 1) * 1e4 for a, b in pairwise(mids))

    assert largest(calm) < 15
    assert largest(wild) > 20


@pytest.mark.parametrize(("setting", "sides"), [("empty=10", 2), ("onesided=10", 1)])
def test_books_are_empty_or_one_sided_for_moments_and_come_back(setting: str, sides: int) -> None:
    hidden = whole = 0
    for told in until(Synthetic.parse(f"ETH,{setting}", 1), 120):
        if isinstance(told.event, MarketBook) and told.event.snapshot:
            missing = (not told.event.bids) + (not told.event.asks)
            hidden += missing == sides
            whole += missing == 0
            assert missing in (0, sides)
    assert hidden >= 4
    assert abs(whole - hidden) <= 4


def test_a_pass_can_repeat() -> None:
    source = Synthetic.parse("ETH,repeat=5", 1)

    assert source.finite
    assert not Synthetic("ETH", 1).finite
    first, second = list(source.events()), list(source.events())
    assert first == second
    assert 4 * NANO < first[-1].offset <= 5 * NANO


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "names no ticker"),
        ("E-H", "names no ticker"),
        ("ETH,thin=fat", "'thin=fat'"),
        ("ETH,jump", "'jump'"),
        ("ETH,jump=-1", "'jump=-1'"),
        ("ETH,empty=1e3", "'empty=1e3'"),
        ("ETH,what=1", "'what=1'"),
    ],
)
def test_a_setting_that_cannot_be_read_is_one_line(text: str, word: str) -> None:
    with pytest.raises(SyntheticError) as caught:
        Synthetic.parse(text, 1)

    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_ladder_is_its_quantiles() -> None:
    values = Ladder(((0, 0), (500, 100), (1000, 1000))).values()

    assert values == sorted(values)
    assert values[32] == pytest.approx(nano("0.1"), rel=0.2)
    assert values[-1] < nano("1") < values[-1] * 1.05

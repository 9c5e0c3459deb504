"""Books, prices and clips at their edges: behaviour that a small change of the source once kept."""

from dataclasses import replace

import pytest

from strategy.carry import BASIS_TAU, Basis, funding_flaw, opening_edge, update_basis
from strategy.depth import (
    HedgePrice,
    InsufficientLiquidity,
    absorbable,
    analyze_order_book_depth,
    fetch_bbo,
    find_hedge_price_with_liquidity,
    sweep_vwap,
    taker_cost,
)
from strategy.domain import Book, Funding, Instrument, Ns, Purpose, Side, Tif, Venue, bps, plain
from strategy.rollback import Rollback, chunk_size, place_market_order
from tests.builders import BACKPACK, GRVT, SECOND, at, book, params, px, qty

# --- walking the book ----------------------------------------------------------------------------

TWO = book(bids=[("3000.00", "1"), ("2999.00", "2")], asks=[("3000.05", "1"), ("3001.05", "2")])


def deep(levels: int, size: str = "1") -> Book:
    """A book of so many levels a side, a cent apart."""
    bids = [(plain(px(3000) - n * px("0.01")), size) for n in range(levels)]
    asks = [(plain(px("3000.05") + n * px("0.01")), size) for n in range(levels)]
    return book(bids=bids, asks=asks)


def test_a_book_without_bids_has_no_bbo_either() -> None:
    assert fetch_bbo(book(bids=[])) is None


def test_a_taker_pays_the_touch_of_the_other_side() -> None:
    bbo = fetch_bbo(TWO)
    assert bbo is not None
    assert (bbo.touch(Side.BUY), bbo.touch(Side.SELL)) == (px("3000.05"), px("3000.00"))


@pytest.mark.parametrize(
    ("side", "vwap"), [(Side.BUY, "3000.716666667"), (Side.SELL, "2999.333333333")]
)
def test_an_average_price_is_rounded_against_the_taker(side: Side, vwap: str) -> None:
    found = analyze_order_book_depth(TWO, side, qty("3"))
    assert plain(found.vwap) == vwap
    assert (found.filled, found.available, found.levels) == (qty(3), qty(3), 2)


def test_a_walk_that_needs_nothing_uses_no_level_and_names_the_touch() -> None:
    found = analyze_order_book_depth(TWO, Side.BUY, qty(0))
    assert (found.filled, found.levels) == (0, 0)
    assert (found.worst, found.vwap) == (px("3000.05"), px("3000.05"))
    assert found.available == qty(3)


def test_a_walk_over_an_empty_side_finds_nothing_at_no_price() -> None:
    found = analyze_order_book_depth(book(asks=[]), Side.BUY, qty(1))
    assert (found.filled, found.available, found.levels, found.worst) == (0, 0, 0, 0)


def test_a_target_met_exactly_by_a_level_needs_no_further_level() -> None:
    found = analyze_order_book_depth(TWO, Side.BUY, qty(1))
    assert (found.levels, found.worst) == (1, px("3000.05"))


@pytest.mark.parametrize("depth", [10, 50, 100])
def test_a_walk_sees_as_many_levels_as_it_was_asked_to(depth: int) -> None:
    assert analyze_order_book_depth(deep(120), Side.SELL, qty(200), depth).available == qty(depth)


def test_a_hedge_is_priced_from_levels_beyond_the_hundredth() -> None:
    """Both what covers the need and what is there when nothing does."""
    far = deep(120)
    found = find_hedge_price_with_liquidity(far, Side.BUY, qty(119), bps(50), GRVT)
    assert isinstance(found, HedgePrice)
    assert found.levels == 119
    short = find_hedge_price_with_liquidity(far, Side.BUY, qty(300), bps(50), GRVT)
    assert isinstance(short, InsufficientLiquidity)
    assert short.partial is not None
    assert (short.partial.qty, short.partial.levels) == (qty(120), 120)


@pytest.mark.parametrize("side", list(Side))
def test_a_level_exactly_at_the_cap_is_within_it(side: Side) -> None:
    bids = [("3000.00", "1"), ("2998.50", "1"), ("2998.49", "1")]
    asks = [("3000.00", "1"), ("3001.50", "1"), ("3001.51", "1")]
    edge = book(bids=[("2990", "1")], asks=asks)
    if side is Side.SELL:
        edge = book(bids=bids, asks=[("3010", "1")])
    found = find_hedge_price_with_liquidity(edge, side, qty(2), bps(5), GRVT)
    assert isinstance(found, HedgePrice)
    assert plain(found.px) == ("3001.5" if side is Side.BUY else "2998.5")
    assert sweep_vwap(edge, side, qty(2), bps(5), GRVT) == px(3000) + side.value * px("0.75")
    assert absorbable(edge, side, bps(5), GRVT) == qty(2)


@pytest.mark.parametrize("side", list(Side))
def test_a_sweep_stops_at_the_cap_and_never_averages_beyond_it(side: Side) -> None:
    assert sweep_vwap(TWO, side, qty(2), bps(1), GRVT) is None
    assert sweep_vwap(TWO, side, qty(1), bps(1), GRVT) == TWO.side(side)[0][0]
    assert sweep_vwap(TWO, side, qty(4), bps(50), GRVT) is None, "the book is exhausted"
    whole = sweep_vwap(TWO, side, qty(3), bps(50), GRVT)
    assert whole == analyze_order_book_depth(TWO, side, qty(3)).vwap


def test_what_is_there_is_offered_only_when_a_venue_would_take_it() -> None:
    dust = book(asks=[("3000.05", "0.0099")])
    found = find_hedge_price_with_liquidity(dust, Side.BUY, qty(1), bps(5), GRVT)
    assert isinstance(found, InsufficientLiquidity)
    assert found.partial is None
    assert found.available == qty("0.0099")


def test_a_size_cut_to_the_step_is_priced_for_that_size() -> None:
    """0.015 is there; 0.01 is what can be ordered, all of it at the first price."""
    thin = book(asks=[("3000.05", "0.01"), ("3000.10", "0.005")])
    found = find_hedge_price_with_liquidity(thin, Side.BUY, qty(1), bps(5), GRVT)
    assert isinstance(found, InsufficientLiquidity)
    assert found.partial is not None
    assert (found.partial.qty, found.partial.px, found.partial.levels) == (
        qty("0.01"), px("3000.05"), 1,
    )  # fmt: skip
    assert found.partial.slippage == 0


def test_a_flawed_book_has_nothing_available() -> None:
    found = find_hedge_price_with_liquidity(book(bids=[]), Side.BUY, qty(1), bps(5), GRVT)
    assert isinstance(found, InsufficientLiquidity)
    assert (found.available, found.why) == (0, "one_sided")


@pytest.mark.parametrize("flawed", [book(bids=[]), book(asks=[]), book(bids=[("3000.05", "1")])])
def test_a_flawed_book_absorbs_nothing(flawed: Book) -> None:
    assert absorbable(flawed, Side.BUY, bps(5), GRVT) == 0


def test_what_a_book_absorbs_is_on_the_step() -> None:
    assert absorbable(book(asks=[("3000.05", "0.337")]), Side.BUY, bps(5), GRVT) == qty("0.33")


def test_a_takers_cost_is_against_the_mid_with_the_fee() -> None:
    tight = book(bids=[("2999.70", "9")], asks=[("3000.30", "9")])
    for side in Side:
        assert taker_cost(tight, side, qty(1), bps(5), bps(4), GRVT) == bps(5)
    assert taker_cost(None, Side.BUY, qty(1), bps(5), bps(4), GRVT) is None
    assert taker_cost(tight, Side.BUY, qty(10), bps(5), bps(4), GRVT) is None
    assert taker_cost(book(bids=[]), Side.BUY, qty(1), bps(5), bps(4), GRVT) is None


# --- the basis and funding -----------------------------------------------------------------------


def basis(mean: str = "10", seconds: float = 0) -> Basis:
    return Basis(bps(mean), bps(mean), at(seconds).mono, 1)


def test_the_first_pair_of_mids_is_the_basis() -> None:
    assert update_basis(None, px(3000), px(3003), Ns(7)) == Basis(bps(10), bps(10), Ns(7), 1)


@pytest.mark.parametrize(("primary", "hedge"), [(None, px(3003)), (px(3000), None), (None, None)])
def test_a_missing_mid_leaves_the_basis_as_it_is(primary: None, hedge: None) -> None:
    assert update_basis(None, primary, hedge, at(1).mono) is None
    assert update_basis(basis(), primary, hedge, at(1).mono) == basis()


@pytest.mark.parametrize(
    ("seconds", "mean"), [(0, "10"), (6, "9"), (30, "5"), (60, "0"), (600, "0"), (-5, "10")]
)
def test_the_basis_follows_in_proportion_to_the_time_and_never_past_the_last(
    seconds: float, mean: str
) -> None:
    assert BASIS_TAU == 60 * SECOND
    moved = update_basis(basis(), px(3000), px(3000), at(seconds).mono)
    assert moved == Basis(bps(mean), bps(0), at(seconds).mono, 2)


def test_the_basis_is_an_average_not_the_last_value() -> None:
    moved = update_basis(basis("10"), px(3000), px(3006), at(15).mono)
    assert moved is not None
    assert (moved.mean, moved.last) == (bps("12.5"), bps(20))


@pytest.mark.parametrize(
    ("hedge", "direction", "edge"),
    [("3006", 1, "10"), ("3006", -1, "-10"), ("3000", 1, "-10"), ("3000", -1, "10")],
)
def test_an_edge_is_what_the_basis_does_not_explain(hedge: str, direction: int, edge: str) -> None:
    assert opening_edge(basis(), px(3000), px(hedge), direction) == bps(edge)


WALL = at().wall


def rate(venue: Venue, value: int, seconds: float) -> Funding:
    return Funding(venue, value, 8, Ns(WALL + int(seconds * SECOND)))


@pytest.mark.parametrize(
    ("primary", "hedge", "direction", "pays"),
    [
        ((100, 5), None, 1, True),  # longs pay, and the primary would be long
        ((100, 5), None, -1, False),
        ((-100, 5), None, -1, True),
        (None, (100, 5), 1, False),  # the hedge leg would be short
        (None, (100, 5), -1, True),
        (None, (-100, 5), 1, True),
        ((100, 5), (100, 5), 1, False),  # paid on one leg, received on the other
        ((100, 5), (99, 5), 1, True),
        ((100, 5), (101, 5), 1, False),
        ((99, 5), (100, 5), -1, True),
        ((0, 5), None, 1, False),
        ((100, 10), None, 1, True),  # the guard is ten seconds, inclusive
        ((100, 10.1), None, 1, False),
        ((100, 0), None, 1, True),
        ((100, -0.1), None, 1, False),
        ((100, 5), (500, 60), 1, True),  # the other settles too late to count
        (None, None, 1, False),
    ],
)
def test_F70_only_settlements_within_the_guard_count_each_for_its_leg(
    primary: tuple[int, float] | None,
    hedge: tuple[int, float] | None,
    direction: int,
    pays: bool,
) -> None:
    one = rate(Venue.BACKPACK, *primary) if primary else None
    two = rate(Venue.GRVT, *hedge) if hedge else None
    flaw = funding_flaw(one, two, direction, WALL, Ns(10 * SECOND))
    assert bool(flaw) is pays


# --- the roll-back's clips -----------------------------------------------------------------------


def roll(size: str, side: Side = Side.SELL, **changes: object) -> Rollback:
    made = Rollback(
        venue=Venue.BACKPACK, taker=side, qty=qty(size), reduce_only=True, cap=bps(5), hedge_id=7
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # field names are checked by replace


@pytest.mark.parametrize(
    ("price", "instrument", "eth", "size"),
    [
        ("3000", GRVT, True, "0.2"),
        ("1", GRVT, True, "0.2"),  # an ether is an ether at any price
        ("150", GRVT, False, "4"),
        ("151", GRVT, False, "3.97"),  # 3.9735, on the step
        ("100000", GRVT, False, "0.01"),  # one step where the notional does not reach it
        ("100000", BACKPACK, False, "0.006"),
    ],
)
def test_a_clip_is_a_fifth_of_an_ether_or_600_quote_units(
    price: str, instrument: Instrument, eth: bool, size: str
) -> None:
    assert chunk_size(params(base_is_eth=eth), px(price), instrument) == qty(size)


def test_a_clip_of_a_coarse_instrument_is_one_step() -> None:
    coarse = replace(GRVT, step=qty(1))
    for eth in (True, False):
        assert chunk_size(params(base_is_eth=eth), px(3000), coarse) == qty(1)


@pytest.mark.parametrize("side", list(Side))
def test_a_clip_is_a_capped_limit_ioc_that_says_what_it_is(side: Side) -> None:
    made = place_market_order(roll("1", side), book(Venue.BACKPACK), BACKPACK, params())
    assert not isinstance(made, InsufficientLiquidity)
    assert (made.venue, made.side, made.qty) == (Venue.BACKPACK, side, qty("0.2"))
    assert (made.tif, made.post_only, made.reduce_only) == (Tif.IOC, False, True)
    assert (made.purpose, made.hedge_id, made.cap) == (Purpose.UNWIND, 7, bps(5))
    assert made.touch == (px("3000.05") if side is Side.BUY else px("3000"))
    assert made.px == (px("3001.55") if side is Side.BUY else px("2998.5"))
    assert (made.levels, made.available, made.slippage) == (1, qty(30), 0)
    assert made.life == 5 * SECOND


@pytest.mark.parametrize(("size", "clip"), [("0.2", "0.2"), ("0.2049", "0.2049"), ("0.21", "0.2")])
def test_a_clip_takes_along_a_rest_that_could_not_be_closed(size: str, clip: str) -> None:
    coarse = replace(BACKPACK, min_qty=qty("0.005"))
    made = place_market_order(roll(size), book(Venue.BACKPACK), coarse, params())
    assert not isinstance(made, InsufficientLiquidity)
    assert made.qty == qty(clip)


def test_a_roll_back_takes_what_is_there() -> None:
    thin = book(Venue.BACKPACK, bids=[("3000.00", "0.05"), ("2900.00", "9")])
    made = place_market_order(roll("1"), thin, BACKPACK, params())
    assert not isinstance(made, InsufficientLiquidity)
    assert (made.qty, made.available) == (qty("0.05"), qty("0.05"))


def test_a_roll_back_without_anything_to_take_says_why() -> None:
    for nothing, why in ((None, "no_book"), (book(Venue.BACKPACK, bids=[]), "empty")):
        found = place_market_order(roll("1"), nothing, BACKPACK, params())
        assert isinstance(found, InsufficientLiquidity)
        assert (found.why, found.need) == (why, qty(1)), "no touch to size a clip by"

"""Book walking: cumulative depth, caps, typed refusals."""

import pytest

from strategy.depth import (
    HedgePrice,
    InsufficientLiquidity,
    absorbable,
    analyze_order_book_depth,
    calculate_slippage_bps,
    cap_price,
    fetch_bbo,
    find_hedge_price_with_liquidity,
)
from strategy.domain import Side, Venue, bps, bps_text, plain
from tests.builders import GRVT, book, px, qty

# The ask side that the predecessor recorded (predecessor.md section 3).
RECORDED = [
    ("3006.32", "13.07"), ("3006.38", "0.16"), ("3006.50", "0.05"), ("3006.51", "0.03"),
    ("3006.66", "0.06"), ("3006.69", "0.02"), ("3006.91", "0.02"), ("3007.03", "0.02"),
]  # fmt: skip
THIN = [("3000.05", "0.02"), ("3000.10", "0.1"), ("3000.20", "0.16"), ("3000.40", "0.3")]


def test_bbo_has_prices_sizes_spread_and_mid() -> None:
    bbo = fetch_bbo(book())
    assert bbo is not None
    assert (plain(bbo.bid), plain(bbo.bid_qty)) == ("3000", "5")
    assert (plain(bbo.ask), plain(bbo.ask_qty)) == ("3000.05", "5")
    assert plain(bbo.spread) == "0.05"
    assert plain(bbo.mid) == "3000.025"
    assert bps_text(bbo.spread_bps) == "0.17"


def test_bbo_of_a_one_sided_book_is_unknown_not_zero() -> None:
    assert fetch_bbo(book(asks=[])) is None


@pytest.mark.parametrize("depth", [10, 50, 100, 500])
def test_REQ_9_depth_is_cumulative_over_levels(depth: int) -> None:
    found = analyze_order_book_depth(book(asks=THIN), Side.BUY, qty("0.25"), depth)
    assert plain(found.filled) == "0.25"
    assert found.levels == 3
    assert plain(found.worst) == "3000.2"
    assert plain(found.available) == "0.58"


def test_depth_that_the_venue_does_not_serve_is_refused() -> None:
    with pytest.raises(ValueError, match="depth 7 is not one of"):
        analyze_order_book_depth(book(), Side.BUY, qty(1), 7)


def test_REQ_9_hedge_price_is_where_cumulative_size_reaches_the_target() -> None:
    found = find_hedge_price_with_liquidity(book(asks=THIN), Side.BUY, qty("0.5"), bps(5), GRVT)
    assert isinstance(found, HedgePrice)
    assert plain(found.px) == "3000.4"
    assert found.levels == 4
    expected = (
        px("3000.05") * 2 + px("3000.10") * 10 + px("3000.20") * 16 + px("3000.40") * 22
    ) // 50 + 1
    assert abs(found.vwap - expected) <= 1


def test_levels_used_counts_only_the_levels_needed() -> None:
    found = find_hedge_price_with_liquidity(
        book(bids=[("3006.31", "9")], asks=RECORDED), Side.BUY, qty(1), bps(5), GRVT
    )
    assert isinstance(found, HedgePrice)
    assert found.levels == 1
    assert found.slippage == 0


@pytest.mark.parametrize(
    ("bids", "asks", "why"),
    [
        ([("3000", "1")], [], "empty"),
        ([], [("3000", "1")], "one_sided"),
        ([("3000.10", "1")], [("3000", "1")], "crossed"),
        ([("2999", "1")], [("3000", "0.3")], "exhausted"),
        ([("2999", "1")], [("3000", "0.3"), ("3001.51", "9")], "beyond_cap"),
    ],
)
def test_insufficient_liquidity_is_typed(
    bids: list[tuple[str, str]], asks: list[tuple[str, str]], why: str
) -> None:
    found = find_hedge_price_with_liquidity(
        book(bids=bids, asks=asks), Side.BUY, qty(1), bps(5), GRVT
    )
    assert isinstance(found, InsufficientLiquidity)
    assert found.why == why
    assert found.need == qty(1)
    assert found.cap == bps(5)


def test_insufficient_liquidity_offers_what_is_there() -> None:
    found = find_hedge_price_with_liquidity(
        book(asks=[("3000.05", "0.337")]), Side.BUY, qty(1), bps(5), GRVT
    )
    assert isinstance(found, InsufficientLiquidity)
    assert found.partial is not None
    assert plain(found.partial.qty) == "0.33"


def test_no_book_is_insufficient_not_a_crash() -> None:
    found = find_hedge_price_with_liquidity(None, Side.SELL, qty(1), bps(5), GRVT)
    assert isinstance(found, InsufficientLiquidity)
    assert found.why == "no_book"


@pytest.mark.parametrize(("side", "expected"), [(Side.BUY, "3001.5"), (Side.SELL, "2998.5")])
def test_S10_cap_is_never_exceeded_by_rounding(side: Side, expected: str) -> None:
    assert plain(cap_price(side, px("3000"), bps(5), GRVT)) == expected
    off_tick = cap_price(side, px("3000.01"), bps("0.01"), GRVT)
    assert (off_tick - px("3000.01")) * side.value >= 0
    assert (off_tick - px("3000.01")) * side.value * 1_000_000 <= px("3000.01")


def test_sell_side_mirrors_buy_side() -> None:
    bids = [("3000.00", "0.02"), ("2999.95", "0.1"), ("2999.85", "0.16")]
    found = find_hedge_price_with_liquidity(book(bids=bids), Side.SELL, qty("0.2"), bps(5), GRVT)
    assert isinstance(found, HedgePrice)
    assert (plain(found.px), found.levels) == ("2999.85", 3)
    assert found.slippage > 0


def test_slippage_sign_is_positive_when_worse_on_both_sides() -> None:
    assert bps_text(calculate_slippage_bps(Side.BUY, px(3000), px("3000.30"))) == "1.00"
    assert bps_text(calculate_slippage_bps(Side.SELL, px(3000), px("3000.30"))) == "-1.00"


def test_absorbable_is_what_the_cap_covers() -> None:
    deep = book(
        Venue.GRVT,
        asks=[("3000", "0.5"), ("3001.5", "0.25"), ("3001.51", "9")],
        bids=[("2999", "1")],
    )
    assert plain(absorbable(deep, Side.BUY, bps(5), GRVT)) == "0.75"
    assert absorbable(None, Side.BUY, bps(5), GRVT) == 0

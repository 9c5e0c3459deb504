"""Where and how big the maker rests: price, size and the shared step."""

from dataclasses import replace

import pytest

from strategy.carry import Basis
from strategy.depth import fetch_bbo
from strategy.domain import Draft, Ns, Side, Status, bps, nano
from strategy.events import CyclePhase
from strategy.fold import fold
from strategy.params import PrimaryMode
from strategy.quote import (
    NoQuote,
    close_quote,
    maker_price,
    open_quote,
    pair_step,
    withdraw_reason,
)
from strategy.world import Cycle
from tests.builders import (
    SECOND,
    at,
    book,
    maker_draft,
    params,
    planned,
    px,
    qty,
    view,
    with_book,
    with_position,
    world,
)


@pytest.mark.parametrize(
    ("mode", "buy", "sell"),
    [
        (PrimaryMode.BBO, "3000", "3000.05"),
        (PrimaryMode.BBO_MINUS_1, "2999.99", "3000.06"),
        (PrimaryMode.AGGRESSIVE, "3000.05", "3000"),
    ],
)
def test_prices_of_the_modes(mode: PrimaryMode, buy: str, sell: str) -> None:
    tick = nano("0.01")
    bbo = fetch_bbo(book())
    assert bbo is not None
    assert maker_price(bbo, Side.BUY, mode, tick) == px(buy)
    assert maker_price(bbo, Side.SELL, mode, tick) == px(sell)


def test_the_pair_trades_on_the_coarser_step() -> None:
    assert pair_step(world()) == nano("0.01")


def test_a_size_cut_by_the_hedge_venue_lies_on_the_shared_step() -> None:
    thin = with_book(world(), book(bids=[("3000.00", "0.2567")]))
    made = open_quote(thin, params(), at())
    assert isinstance(made, Draft)
    assert made.qty == qty("0.25")


def test_dust_on_the_same_side_counts_against_what_can_be_absorbed() -> None:
    w = with_book(with_position(world(), "0.005", "0"), book(bids=[("3000.00", "0.3")]))
    made = open_quote(w, params(max_position=qty("2")), at())
    assert isinstance(made, Draft)
    assert made.qty == qty("0.29")


def test_the_last_build_order_is_what_is_missing() -> None:
    made = open_quote(with_position(world(), "0.4", "-0.4"), params(), at())
    assert isinstance(made, Draft)
    assert (made.qty, made.reduce_only, made.post_only) == (qty("0.1"), False, True)


def test_a_close_is_reduce_only_and_never_bigger_than_the_position() -> None:
    w = replace(with_position(world(), "0.1234", "-0.12"), cycle=Cycle(1, CyclePhase.UNWIND))
    made = close_quote(w, params(), at())
    assert isinstance(made, Draft)
    assert (made.qty, made.side, made.reduce_only) == (qty("0.1234"), Side.SELL, True)


def test_an_edge_below_the_minimum_opens_nothing_and_closes_all_the_same() -> None:
    w = world()
    found = open_quote(w, params(min_spread=bps(1)), at())
    assert found == NoQuote("edge below --min-spread")
    flat_basis = replace(w, basis=Basis(bps(0), bps(0), at().mono, 1))
    assert found == open_quote(flat_basis, params(min_spread=bps(1)), at())
    held = with_position(w, "0.5", "-0.5")
    assert isinstance(close_quote(held, params(min_spread=bps(1)), at()), Draft)


def test_a_primary_without_a_touch_is_no_place_to_rest() -> None:
    bare = replace(world(), legs={v: replace(leg, book=None) for v, leg in world().legs.items()})
    stale = NoQuote("backpack book is stale, one-sided or crossed")
    assert open_quote(bare, params(), at()) == stale
    assert close_quote(with_position(bare, "0.5", "-0.5"), params(), at()) == stale


def test_a_maker_at_the_touch_may_rest_and_one_left_behind_may_not() -> None:
    w = planned(world(), maker_draft())
    w = fold(w, view(w, 1, "0", Status.OPEN))
    order = next(iter(w.orders.values()))
    assert withdraw_reason(w, order, params(), at()) == ""
    away = replace(w, away_since=Ns(at().mono - 6 * SECOND))
    assert withdraw_reason(away, order, params(), at()) == "touch moved away"

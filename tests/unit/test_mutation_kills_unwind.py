"""The unwind at its edges: which leg, how much, at whose price, when it waits, what it says."""

from dataclasses import replace

import pytest

from safety.unwind import Flat, Orders, UnwindLeg, UnwindView, Wait, ladder, plan, tradable
from strategy.domain import (
    Bps,
    Draft,
    Mode,
    Qty,
    Quote,
    Side,
    SignedQty,
    Venue,
    bps,
    nano,
    plain,
)
from strategy.events import LatchMoved
from strategy.params import Params
from tests.builders import BACKPACK, GRVT, book, params, px, qty, with_position, world
from tests.unit.test_guards_core import Rig, flatten
from tests.unit.test_unwind import leg, view

WHOLE = params(chunk=qty(50))
"""Clips as large as what is left."""
WAITS = Wait("an order may still trade")
MODES = pytest.mark.parametrize("mode", [Mode.RUNNING, Mode.REDUCING])


def changed(v: UnwindView, venue: Venue, **changes: object) -> UnwindView:
    """With one leg otherwise."""
    one, other = (
        replace(of, **changes) if of.instrument.venue is venue else of  # type: ignore[arg-type]
        for of in v.legs
    )
    return replace(v, legs=(one, other))


def drafts(v: UnwindView, p: Params = WHOLE) -> dict[Venue, Draft]:
    step = plan(v, p)
    assert isinstance(step, Orders)
    assert len({d.venue for d in step.drafts}) == len(step.drafts)
    return {d.venue: d for d in step.drafts}


def why(v: UnwindView, p: Params = WHOLE) -> str:
    step = plan(v, p)
    assert not isinstance(step, Flat)
    return step.why


# --- dust ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("primary", "hedge"), [("0.495", "-0.5"), ("-0.495", "0.5")])
def test_flattening_closes_both_legs_though_only_growing_one_could_trade_their_difference(
    primary: str, hedge: str
) -> None:
    """0.005 is dust on the hedge venue and a size on the primary, which is the smaller leg."""
    step = plan(view(primary, hedge, Mode.REDUCING), WHOLE)
    assert step == Wait("exposure left, and no leg may trade it now")
    made = drafts(view(primary, hedge, Mode.FLATTENING))
    assert {v: plain(d.qty) for v, d in made.items()} == {
        Venue.BACKPACK: "0.495", Venue.GRVT: "0.49",
    }  # fmt: skip
    rig = Rig(with_position(world(), primary, hedge))
    rig.core.on(LatchMoved(Mode.REDUCING, "max_daily_loss: x", rig.now()))
    assert all(request.reduce_only for request in flatten(rig))
    assert [one.position for one in rig.w.legs.values()] == [0, 0]


def test_dust_on_both_venues_is_nothing_to_wait_for() -> None:
    coarse = replace(BACKPACK, step=qty("0.01"), min_qty=qty("0.01"))
    small = changed(view("0.006", "0.003", Mode.REDUCING), Venue.BACKPACK, instrument=coarse)
    left = Flat(((Venue.BACKPACK, SignedQty(6_000_000)), (Venue.GRVT, SignedQty(3_000_000))))
    assert plan(small, WHOLE) == left
    more = changed(small, Venue.GRVT, position=SignedQty(nano("0.006")))
    assert isinstance(plan(more, WHOLE), Wait), "0.012 would be traded, by neither leg of 0.006"
    assert plan(replace(small, mode=Mode.FLATTENING), WHOLE) == left


def test_the_smallest_size_that_a_venue_takes_is_tradable_and_less_is_not() -> None:
    priced = leg(Venue.GRVT, "1")
    unpriced = replace(priced, book=None)
    for one in (priced, unpriced):
        assert tradable(one, qty("0.01")) == qty("0.01")
        assert tradable(one, qty("0.0199")) == qty("0.01")
        assert tradable(one, qty("0.0099")) == 0
    assert tradable(replace(priced, mark=px(1)), qty("0.01")) == qty("0.01"), "a book comes first"
    assert tradable(replace(unpriced, mark=px(1)), qty("0.01")) == 0, "below the least notional"


# --- which leg, and how much ---------------------------------------------------------------------


def atom(venue: Venue, position: int) -> UnwindLeg:
    rules = replace(GRVT, venue=venue, step=Qty(1), min_qty=Qty(1), min_notional=Quote(0))
    return replace(leg(venue, "0", instrument=rules), position=SignedQty(position))


def test_the_smallest_exposure_is_shrunk_where_it_is_held() -> None:
    v = UnwindView(Mode.REDUCING, (atom(Venue.BACKPACK, 1), atom(Venue.GRVT, 0)), 0, 7)
    (made,) = drafts(v).values()
    assert (made.venue, made.side, made.qty) == (Venue.BACKPACK, Side.SELL, 1)


def test_a_leg_is_shrunk_by_no_more_than_it_holds() -> None:
    made = drafts(view("0.3", "0.2", Mode.REDUCING))
    assert {v: plain(d.qty) for v, d in made.items()} in (
        {Venue.BACKPACK: "0.3"}, {Venue.GRVT: "0.2"},
    )  # fmt: skip


def test_exposure_is_never_finished_on_the_primary() -> None:
    """The hedge leg is the larger; the primary could only grow to match it."""
    dark = changed(view("0.2", "-0.5"), Venue.GRVT, book=None)
    assert why(dark) == "no leg to trade on: no book, or its orders are in doubt"
    assert drafts(view("0.2", "-0.5")).keys() == {Venue.GRVT}


@MODES
def test_a_leg_that_is_stuck_with_an_order_in_doubt_leaves_the_other(mode: Mode) -> None:
    busy = changed(view("0.2", "0", mode), Venue.GRVT, busy=True)
    assert plan(busy, WHOLE) == WAITS
    assert drafts(changed(busy, Venue.GRVT, stuck=True)).keys() == {Venue.BACKPACK}
    own = changed(view("0.2", "0", mode), Venue.BACKPACK, busy=True, stuck=True)
    if mode is Mode.RUNNING:
        assert drafts(own).keys() == {Venue.GRVT}
    else:
        assert isinstance(plan(own, WHOLE), Wait)


def test_busy_is_not_stuck_unless_that_is_said() -> None:
    made = UnwindLeg(BACKPACK, SignedQty(nano("0.2")), book(Venue.BACKPACK), bps(5), busy=True)
    v = UnwindView(Mode.REDUCING, (made, leg(Venue.GRVT, "0")), 0, 7)
    assert plan(v, WHOLE) == WAITS


def test_what_the_cap_holds_back_is_dearer_than_any_price() -> None:
    """Of the hedge 0.02 could be had at once, cheaper; the primary can be undone in full."""
    thin = book(bids=[("3000.00", "0.02"), ("2900.00", "9")])
    v = changed(view("0.2", "0", hedge_book=thin), Venue.BACKPACK, fee=bps(90))
    assert drafts(v).keys() == {Venue.BACKPACK}
    assert why(v) == "undo=90.083333bps finish=unpriced"


@pytest.mark.parametrize("tries", [16, 17, 99])
def test_the_cap_is_doubled_sixteen_times_at_most(tries: int) -> None:
    assert ladder(params(cap=Bps(1)), tries) == 1 << 16
    assert ladder(params(cap=Bps(1)), 15) == 1 << 15


# --- at whose price ------------------------------------------------------------------------------


def test_a_book_prices_before_the_mark_does() -> None:
    v = view("0.2", "0")
    marked = changed(changed(v, Venue.GRVT, mark=px(2990)), Venue.BACKPACK, mark=px(2990))
    assert plan(marked, WHOLE) == plan(v, WHOLE)
    assert why(v) == "finish=4.583333bps undo=5.083333bps"


def test_F65_without_a_book_the_mark_and_the_whole_cap_are_reckoned_with() -> None:
    dark = changed(view("0.2", "0"), Venue.GRVT, book=None)
    assert why(dark) == "undo=5.083333bps finish=unpriced"
    marked = changed(dark, Venue.GRVT, mark=px(3000))
    assert why(marked) == "undo=5.083333bps finish=9.5bps"
    dear = changed(marked, Venue.BACKPACK, fee=bps(50))
    (made,) = drafts(dear).values()
    assert (made.venue, made.touch, plain(made.px)) == (Venue.GRVT, px(3000), "2998.5")


@pytest.mark.parametrize(
    ("size", "mark", "clip"),
    [
        ("0.5", "3000", "0.2"),
        ("0.21", "3000", "0.2"),  # 0.01 is 30 quote units: it can be closed later
        ("0.21", "1500", "0.21"),  # 15: it could not
        ("0.2", "3000", "0.2"),
        ("0.1", "3000", "0.1"),
    ],
)
def test_F65_a_clip_by_the_mark_is_one_chunk_and_leaves_what_can_be_closed(
    size: str, mark: str, clip: str
) -> None:
    v = changed(view("0", f"-{size}", Mode.REDUCING), Venue.GRVT, book=None, mark=px(mark))
    (made,) = drafts(v, params()).values()
    assert (made.venue, made.side, plain(made.qty)) == (Venue.GRVT, Side.BUY, clip)


# --- lockstep ------------------------------------------------------------------------------------


@pytest.mark.parametrize("venue", list(Venue))
def test_lockstep_waits_while_either_leg_has_an_order_or_no_price(venue: Venue) -> None:
    v = view("0.5", "-0.5", Mode.FLATTENING)
    assert why(v) == "flatten"
    assert plan(changed(v, venue, busy=True), WHOLE) == WAITS
    assert plan(changed(v, venue, book=None), WHOLE) == Wait("no book to trade on")
    assert isinstance(plan(changed(v, venue, book=None, mark=px(3000)), WHOLE), Orders)


def test_S15_the_clips_of_both_legs_are_equal_where_their_chunks_are_not() -> None:
    """600 quote units are 0.2 at 3,000 and 0.1 at 6,000: both legs close 0.1."""
    dear = book(bids=[("6000.00", "9")], asks=[("6000.05", "9")])
    v = view("0.5", "-0.5", Mode.FLATTENING, hedge_book=dear)
    made = drafts(v, params(base_is_eth=False))
    assert {d.qty for d in made.values()} == {qty("0.09")}, "rounded down to the coarser step"
    cheap = book(bids=[("5999.90", "9")], asks=[("5999.95", "9")])
    v = view("0.5", "-0.5", Mode.FLATTENING, hedge_book=cheap)
    assert {plain(d.qty) for d in drafts(v, params(base_is_eth=False)).values()} == {"0.1"}


def test_a_lockstep_clip_that_would_leave_dust_takes_the_whole_leg() -> None:
    half = book(bids=[("1500.00", "9")], asks=[("1500.05", "9")])
    v = view("0.21", "-0.21", Mode.FLATTENING, hedge_book=half)
    assert plain(drafts(v, params())[Venue.GRVT].qty) == "0.21"
    v = view("0.22", "-0.22", Mode.FLATTENING, hedge_book=half)
    assert plain(drafts(v, params())[Venue.GRVT].qty) == "0.2"

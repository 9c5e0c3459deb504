"""The emergency unwind: neutral first, by the cheaper leg, reduce-only, then flat in lockstep."""

from dataclasses import replace

import pytest

from safety.guards import GuardView, trips
from safety.latch import tighten
from safety.reasons import Reason
from safety.unwind import Flat, Orders, UnwindLeg, UnwindView, Wait, ladder, plan
from strategy.domain import (
    Book,
    Mode,
    Purpose,
    Quote,
    Side,
    SignedQty,
    Tif,
    Venue,
    bps,
    nano,
    plain,
)
from tests.builders import BACKPACK, GRVT, LIMITS, book, params, px, qty


def leg(venue: Venue, position: str, value: Book | None = None, **changes: object) -> UnwindLeg:
    made = UnwindLeg(
        instrument=GRVT if venue is Venue.GRVT else BACKPACK,
        position=SignedQty(nano(position)),
        book=value or book(venue),
        fee=bps("4.5") if venue is Venue.GRVT else bps(5),
        busy=False,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # field names are checked by replace


def view(
    primary: str, hedge: str, mode: Mode = Mode.RUNNING, hedge_book: Book | None = None
) -> UnwindView:
    return UnwindView(
        mode,
        (
            leg(Venue.BACKPACK, primary),
            leg(Venue.GRVT, hedge, hedge_book),
        ),
        tries=0,
        hedge_id=7,
    )


def only(step: Orders | Wait | Flat) -> Orders:
    assert isinstance(step, Orders)
    return step


@pytest.mark.parametrize("sign", ["", "-"])
def test_REQ_15_a_late_hedge_is_finished_when_that_is_cheaper(sign: str) -> None:
    (made,) = only(plan(view(f"{sign}0.2", "0"), params())).drafts
    assert made.venue is Venue.GRVT
    assert made.side is (Side.SELL if not sign else Side.BUY)
    assert made.qty == qty("0.2")
    assert not made.reduce_only
    assert made.tif is Tif.IOC
    assert made.purpose is Purpose.UNWIND


@pytest.mark.parametrize("sign", ["", "-"])
def test_REQ_15_the_primary_is_undone_when_the_hedge_book_is_dear(sign: str) -> None:
    dear = book(
        bids=[("2999.00", "0.02"), ("2998.00", "9")], asks=[("3001.00", "0.02"), ("3002.00", "9")]
    )
    (made,) = only(plan(view(f"{sign}0.2", "0", hedge_book=dear), params())).drafts
    assert made.venue is Venue.BACKPACK
    assert made.reduce_only
    assert made.side is (Side.SELL if not sign else Side.BUY)


def test_the_roll_back_is_chunked_at_a_fifth_of_an_ether() -> None:
    (made,) = only(plan(view("1.0", "0", Mode.REDUCING), params())).drafts
    assert made.qty == qty("0.2")


@pytest.mark.parametrize(
    ("primary", "hedge", "venue"),
    [("0.5", "-0.3", Venue.BACKPACK), ("0.3", "-0.5", Venue.GRVT), ("-0.5", "0", Venue.BACKPACK)],
)
def test_S15_reducing_nets_by_shrinking_the_larger_leg(
    primary: str, hedge: str, venue: Venue
) -> None:
    (made,) = only(plan(view(primary, hedge, Mode.REDUCING), params())).drafts
    assert made.venue is venue
    assert made.reduce_only


@pytest.mark.parametrize("sign", [1, -1])
def test_flattening_closes_both_legs_in_equal_reduce_only_clips(sign: int) -> None:
    step = plan(view(str(0.5 * sign), str(-0.5 * sign), Mode.FLATTENING), params())
    drafts = only(step).drafts
    assert {d.venue for d in drafts} == set(Venue)
    assert {plain(d.qty) for d in drafts} == {"0.2"}
    assert all(d.reduce_only and d.tif is Tif.IOC for d in drafts)
    assert len({d.side for d in drafts}) == 2


def test_flattening_when_nothing_is_left_names_the_dust() -> None:
    step = plan(view("0", "0", Mode.FLATTENING), params())
    assert step == Flat(())


def test_REQ_16_nothing_is_sent_while_an_earlier_order_may_trade() -> None:
    busy = view("0.5", "0", Mode.REDUCING)
    busy = replace(busy, legs=(replace(busy.legs[0], busy=True), busy.legs[1]))
    assert isinstance(plan(busy, params()), Wait)


def test_with_one_venue_dark_the_other_leg_is_used() -> None:
    dark = view("0.2", "0")
    dark = replace(dark, legs=(dark.legs[0], replace(dark.legs[1], book=None)))
    (made,) = only(plan(dark, params())).drafts
    assert made.venue is Venue.BACKPACK


def test_with_both_venues_dark_it_waits_and_says_so() -> None:
    dark = view("0.2", "0")
    dark = replace(dark, legs=(replace(dark.legs[0], book=None), replace(dark.legs[1], book=None)))
    step = plan(dark, params())
    assert isinstance(step, Wait)
    assert "no book" in step.why


def test_the_cap_widens_only_when_nothing_trades_and_ends_at_the_last_rung() -> None:
    assert [ladder(params(), n) for n in range(6)] == [
        bps(5), bps(10), bps(20), bps(40), bps(50), bps(50),
    ]  # fmt: skip


def test_S10_every_unwind_order_is_priced_within_its_cap() -> None:
    (made,) = only(plan(view("0.2", "0", Mode.REDUCING), params())).drafts
    assert made.px == px("2998.5")


def test_guards_trip_on_each_cause_and_only_then() -> None:
    calm = GuardView(Quote(0), 0, (), (), ())
    assert trips(calm, LIMITS, 3) == ()
    assert trips(replace(calm, day_pnl=None), LIMITS, 3) == ()
    cases = [
        (replace(calm, day_pnl=Quote(nano(-50))), Reason.MAX_DAILY_LOSS),
        (replace(calm, failures=3), Reason.HEDGE_FAILURES),
        (replace(calm, violations=("x",)), Reason.VIOLATION),
        (replace(calm, forced=("x",)), Reason.FORCED),
        (replace(calm, foreign=("x",)), Reason.FOREIGN),
    ]
    for view_, reason in cases:
        assert [trip.reason for trip in trips(view_, LIMITS, 3)] == [reason]


@pytest.mark.parametrize(
    ("mode", "exposed", "live", "flat", "after"),
    [
        (Mode.RUNNING, False, False, True, Mode.RUNNING),
        (Mode.REDUCING, True, False, False, Mode.REDUCING),
        (Mode.REDUCING, False, True, False, Mode.REDUCING),
        (Mode.REDUCING, False, False, False, Mode.FLATTENING),
        (Mode.FLATTENING, False, False, False, Mode.FLATTENING),
        (Mode.FLATTENING, False, True, True, Mode.FLATTENING),
        (Mode.FLATTENING, False, False, True, Mode.HALTED),
        (Mode.HALTED, False, False, True, Mode.HALTED),
    ],
)
def test_S12_the_latch_only_tightens(
    mode: Mode, exposed: bool, live: bool, flat: bool, after: Mode
) -> None:
    assert tighten(mode, exposed, live, flat, "max_daily_loss: x") is after


@pytest.mark.parametrize("reason", ["operator_halt", "position_mismatch: grvt says 1"])
def test_a_halt_that_keeps_positions_nets_and_stops(reason: str) -> None:
    assert tighten(Mode.REDUCING, True, False, False, reason) is Mode.REDUCING
    assert tighten(Mode.REDUCING, False, False, False, reason) is Mode.HALTED


def changed(made: UnwindView, index: int, value: Book | None = None, **rules: object) -> UnwindView:
    """The view with other rules, or another book, of one leg."""
    legs = list(made.legs)
    instrument = replace(legs[index].instrument, **rules)  # type: ignore[arg-type]  # checked by replace
    legs[index] = replace(legs[index], instrument=instrument, book=value or legs[index].book)
    return replace(made, legs=(legs[0], legs[1]))


@pytest.mark.parametrize("index", [0, 1])
def test_F68_F15_no_leg_of_a_pair_is_closed_while_the_other_cannot_be(index: int) -> None:
    pair = view("0.5", "-0.5", Mode.FLATTENING)
    assert len(only(plan(pair, params())).drafts) == 2
    for shut in (
        changed(pair, index, tradable=False),
        changed(pair, index, min_qty=qty("1")),
    ):
        step = plan(shut, params())
        assert isinstance(step, Wait)
        assert "no leg is closed alone" in step.why
    thin = book(pair.legs[index].instrument.venue, bids=[], asks=[])
    assert isinstance(plan(changed(pair, index, thin), params()), Wait)


def test_F68_exposure_is_removed_on_the_venue_that_trades() -> None:
    late = view("0.2", "0")
    (usual,) = only(plan(late, params())).drafts
    assert usual.venue is Venue.GRVT
    (made,) = only(plan(changed(late, 1, tradable=False), params())).drafts
    assert (made.venue, made.reduce_only) == (Venue.BACKPACK, True)
    both = changed(changed(late, 1, tradable=False), 0, tradable=False)
    assert isinstance(plan(both, params()), Wait)

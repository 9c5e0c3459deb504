"""The gate and the guards at their edges: exactly the limit, exactly nothing, the other side."""

from dataclasses import replace

import pytest

from safety.gate import Approved, Denied, LegRisk, RiskView, beyond_cap, gate
from safety.guards import GuardView, LegHealth, base_seconds, levels, trips
from safety.limits import Limits
from safety.reasons import Reason
from strategy.domain import (
    Draft,
    Mode,
    Ns,
    Purpose,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Venue,
    bps,
    nano,
)
from tests.builders import BACKPACK, GRVT, LIMITS, SECOND, at, draft, maker_draft, px, qty


def leg(position: str = "0", *, primary: bool = False, **changes: object) -> LegRisk:
    made = LegRisk(
        instrument=BACKPACK if primary else GRVT,
        position=SignedQty(nano(position)),
        reserved_buy=Qty(0),
        reserved_sell=Qty(0),
        bid=px("3000.00"),
        ask=px("3000.05"),
        book_at=at().mono,
        up=True,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # field names are checked by replace


def risk(of: LegRisk, other: LegRisk, **changes: object) -> RiskView:
    made = RiskView(
        mode=Mode.RUNNING,
        leg=of,
        other=other,
        net=SignedQty(of.position + other.position),
        day_pnl=Quote(0),
        unhedged=False,
        orders_last_minute=0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # field names are checked by replace


def code(made: Draft, view: RiskView, limits: Limits = LIMITS) -> Reason | None:
    ruling = gate(made, view, limits, at())
    return ruling.code if isinstance(ruling, Denied) else None


def detail(made: Draft, view: RiskView) -> str:
    ruling = gate(made, view, LIMITS, at())
    assert isinstance(ruling, Denied)
    return ruling.detail


EXPOSED = risk(leg(), leg("0.5", primary=True))
"""A hedge would sell 0.5."""
FLAT = risk(leg(primary=True), leg())
"""A maker may open."""


# --- exactness -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["0", "-0.01", "-0.5"])
def test_S16_a_size_of_nothing_or_less_never_passes(size: str) -> None:
    assert code(draft(size=size), EXPOSED) is Reason.SIZE


def test_S16_no_minimum_of_the_venue_makes_nothing_a_size() -> None:
    free = replace(GRVT, min_qty=Qty(0))
    view = replace(EXPOSED, leg=replace(EXPOSED.leg, instrument=free))
    assert code(draft(size="0"), view) is Reason.SIZE


def test_S16_the_venues_minimum_itself_passes_and_a_step_less_does_not() -> None:
    coarse = replace(GRVT, min_qty=qty("0.05"))
    view = replace(EXPOSED, leg=replace(EXPOSED.leg, instrument=coarse))
    assert code(draft(size="0.05"), view) is None
    assert code(draft(size="0.04"), view) is Reason.SIZE


def test_the_smallest_lot_and_price_of_an_instrument_pass() -> None:
    atom = replace(GRVT, tick=Px(1), step=Qty(1), min_qty=Qty(0))
    cheap = leg(instrument=atom, bid=Px(1), ask=Px(2))
    view = risk(cheap, leg("0.5", primary=True))
    assert code(replace(draft(), qty=Qty(1), px=Px(1), touch=Px(1)), view) is None
    assert code(replace(draft(), qty=Qty(1), px=Px(0), touch=Px(1)), view) is Reason.TICK


def test_an_opening_order_of_exactly_the_largest_size_passes() -> None:
    limits = replace(LIMITS, max_order=qty("0.5"))
    assert code(maker_draft(size="0.5"), FLAT, limits) is None
    assert code(maker_draft(size="0.5001"), FLAT, limits) is Reason.SIZE


# --- price and mode ------------------------------------------------------------------------------


def test_S10_post_only_is_bounded_by_the_other_touch_on_both_sides() -> None:
    buy, sell = maker_draft(), maker_draft(Side.SELL, price="3000.05")
    assert code(buy, FLAT) is None
    assert code(sell, FLAT) is None
    assert code(replace(buy, px=px("3000.04")), FLAT) is None
    assert code(replace(sell, px=px("3000.01")), FLAT) is None
    assert code(replace(sell, px=px("3000.00")), FLAT) is Reason.PRICE_CAP
    assert code(replace(sell, px=px("2999.99")), FLAT) is Reason.PRICE_CAP


@pytest.mark.parametrize(
    ("side", "price", "beyond"),
    [
        (Side.BUY, "3001.50", False),
        (Side.BUY, "3001.500000001", True),
        (Side.BUY, "2000", False),
        (Side.SELL, "2998.50", False),
        (Side.SELL, "2998.499999999", True),
        (Side.SELL, "4000", False),
    ],
)
def test_S10_the_cap_binds_from_the_first_unit_beyond_it(
    side: Side, price: str, beyond: bool
) -> None:
    assert beyond_cap(px(price), px(3000), side, bps(5)) is beyond


def test_F65_only_an_unwind_may_be_priced_from_the_mark() -> None:
    dark = replace(EXPOSED, leg=replace(EXPOSED.leg, bid=None, ask=None, mark=px(3000)))
    unwind = draft(price="2999.00", purpose=Purpose.UNWIND)
    assert code(unwind, dark) is None
    assert code(replace(unwind, px=px("2984.99")), dark) is Reason.PRICE_CAP
    assert code(draft(price="2999.00"), dark) is Reason.PRICE_CAP


def test_S12_a_halted_latch_says_so() -> None:
    assert detail(draft(), replace(EXPOSED, mode=Mode.HALTED)) == "halted"


# --- direction -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("position", "side", "allowed"),
    [
        ("0.5", Side.SELL, True),
        ("0.5", Side.BUY, False),
        ("-0.5", Side.BUY, True),
        ("-0.5", Side.SELL, False),
        ("0", Side.BUY, False),
        ("0", Side.SELL, False),
    ],
)
def test_S2_a_reduction_shrinks_its_own_leg_or_is_denied(
    position: str, side: Side, allowed: bool
) -> None:
    price = "3000.05" if side is Side.BUY else "3000.00"
    close = draft(side=side, size="0.2", price=price, purpose=Purpose.CLOSE, reduce_only=True)
    ruled = code(close, risk(leg(position), leg(primary=True)))
    assert ruled is (None if allowed else Reason.WRONG_DIRECTION)


@pytest.mark.parametrize("purpose", [Purpose.HEDGE, Purpose.UNWIND])
@pytest.mark.parametrize(
    ("exposed", "side", "allowed"),
    [
        ("0.5", Side.SELL, True),
        ("0.5", Side.BUY, False),
        ("-0.5", Side.BUY, True),
        ("-0.5", Side.SELL, False),
        ("0", Side.BUY, False),
        ("0", Side.SELL, False),
    ],
)
def test_S2_what_trades_against_the_net_shrinks_it_or_is_denied(
    purpose: Purpose, exposed: str, side: Side, allowed: bool
) -> None:
    price = "3000.05" if side is Side.BUY else "3000.00"
    made = draft(side=side, size="0.2", price=price, purpose=purpose)
    ruled = code(made, risk(leg(), leg(exposed, primary=True)))
    assert ruled is (None if allowed else Reason.WRONG_DIRECTION)


@pytest.mark.parametrize("sign", ["", "-"])
def test_the_smallest_exposure_still_has_a_direction(sign: str) -> None:
    atom = replace(GRVT, step=Qty(1), min_qty=Qty(0))
    view = risk(leg(instrument=atom), leg(f"{sign}0.000000001", primary=True))
    side, price = (Side.BUY, "3000.05") if sign else (Side.SELL, "3000.00")
    for purpose in (Purpose.HEDGE, Purpose.UNWIND):
        made = replace(draft(side=side, price=price, purpose=purpose), qty=Qty(1))
        assert code(made, view) is None
    holds = risk(leg(f"{sign}0.000000001", instrument=atom), leg(primary=True))
    close = replace(draft(side=side, price=price, reduce_only=True), qty=Qty(1))
    assert code(replace(close, purpose=Purpose.CLOSE), holds) is None


def test_an_unwind_that_shrinks_its_leg_may_increase_the_net() -> None:
    """Lockstep closing: one clip of the pair always goes first."""
    close = draft(size="0.2", purpose=Purpose.UNWIND, reduce_only=True)
    assert code(close, risk(leg("0.5"), leg("-0.5", primary=True))) is None


# --- limits of openings --------------------------------------------------------------------------


def test_the_order_rate_stops_openings_at_the_ceiling() -> None:
    limits = replace(LIMITS, max_orders_per_minute=60)
    assert code(maker_draft(), replace(FLAT, orders_last_minute=59), limits) is None
    assert code(maker_draft(), replace(FLAT, orders_last_minute=60), limits) is Reason.ORDER_RATE


def test_the_default_ceiling_is_ten_orders_a_second_and_an_approval_lives_a_second() -> None:
    assert LIMITS.max_orders_per_minute == 600
    assert LIMITS.approval_ttl == SECOND


def test_S8_an_approval_is_good_to_the_last_moment_and_not_before_it_was_given() -> None:
    ruling = gate(draft(), EXPOSED, LIMITS, at())
    assert isinstance(ruling, Approved)
    assert ruling.good(at().mono, Ns(SECOND))
    assert ruling.good(at(1).mono, Ns(SECOND))
    assert not ruling.good(Ns(at(1).mono + 1), Ns(SECOND))
    assert not ruling.good(Ns(at().mono - 1), Ns(SECOND))


def test_a_standing_condition_stops_openings_and_is_named() -> None:
    held = replace(FLAT, held="margin: low")
    assert code(maker_draft(), held) is Reason.HELD
    assert detail(maker_draft(), held) == "margin: low"


@pytest.mark.parametrize(
    ("side", "other", "buys", "sells", "denied"),
    [
        (Side.BUY, "-4.5", "0", "0", False),  # the hedge of 0.5 fills the leg exactly
        (Side.BUY, "-4.5001", "0", "0", True),
        (Side.SELL, "4.5", "0", "0", False),
        (Side.SELL, "4.5001", "0", "0", True),
        (Side.BUY, "4.9", "0", "0", False),  # the hedge will shrink that leg
        (Side.SELL, "-4.9", "0", "0", False),
        (Side.BUY, "-4", "0.5001", "0", True),  # the larger reservation, whichever way
        (Side.BUY, "-4", "0", "0.5001", True),
        (Side.BUY, "-4", "0.5", "0.5", False),
        (Side.BUY, "0", "0", "4.5001", True),
        (Side.BUY, "0", "0", "4.5", False),
        (Side.BUY, "4.9", "0", "0.2", True),
    ],
)
def test_S11_the_hedge_that_an_opening_calls_for_counts_on_the_other_leg(
    side: Side, other: str, buys: str, sells: str, denied: bool
) -> None:
    price = "3000.00" if side is Side.BUY else "3000.05"
    far = leg(other, reserved_buy=qty(buys), reserved_sell=qty(sells))
    ruled = code(maker_draft(side, "0.5", price), risk(leg(primary=True), far))
    assert ruled is (Reason.MAX_POSITION if denied else None)


def test_S11_the_worse_leg_is_named() -> None:
    mine = risk(leg("4.8", primary=True), leg("-4.5"))
    assert detail(maker_draft(size="0.3"), mine) == "leg would reach 5.1 of 5"
    theirs = risk(leg("4.5", primary=True), leg("-4.8"))
    assert detail(maker_draft(size="0.3"), theirs) == "leg would reach 5.1 of 5"


@pytest.mark.parametrize("position", ["4.5", "-5"])
def test_S11_a_leg_is_capped_on_the_side_that_grows(position: str) -> None:
    """Sizes that wait to be sold count for a sell only, and with the leg's own sign."""
    mine = leg(position, primary=True, reserved_sell=qty("0.4"))
    assert code(maker_draft(size="0.5"), risk(mine, leg())) is None
    short = leg("-4.5", primary=True, reserved_sell=qty("0.3"))
    sell = maker_draft(Side.SELL, "0.2", "3000.05")
    assert code(sell, risk(short, leg())) is None
    assert code(replace(sell, qty=qty("0.2001")), risk(short, leg())) is Reason.MAX_POSITION


def test_S9_a_book_that_never_came_is_stale_and_one_just_old_enough_is_not() -> None:
    for which in ("leg", "other"):
        part = getattr(FLAT, which)
        never = replace(FLAT, **{which: replace(part, book_at=None)})
        assert code(maker_draft(), never) is Reason.STALE
        edge = Ns(at().mono - LIMITS.stale)
        assert code(maker_draft(), replace(FLAT, **{which: replace(part, book_at=edge)})) is None
        older = replace(part, book_at=Ns(edge - 1))
        assert code(maker_draft(), replace(FLAT, **{which: older})) is Reason.STALE


# --- guards --------------------------------------------------------------------------------------

CALM = GuardView(Quote(0), 0, (), (), ())


def test_a_calm_view_has_nothing_to_say() -> None:
    assert (levels(CALM, LIMITS), trips(CALM, LIMITS, 3)) == ((), ())
    assert (CALM.naked_hedge, CALM.naked_day, CALM.since_failure) == (0, 0, 0)
    assert LegHealth(Venue.GRVT).growth == 0


def test_the_newest_note_is_the_one_told() -> None:
    (trip,) = trips(replace(CALM, violations=("old", "new")), LIMITS, 3)
    assert str(trip) == "venue_violation: new"


def test_without_a_cool_down_a_failed_hedge_pauses_nothing() -> None:
    none = replace(LIMITS, cool_down=Ns(0))
    for since in (0, -SECOND):  # a clock may be read in another order than it was noted
        assert levels(replace(CALM, failures=3, since_failure=Ns(since)), none) == ()


@pytest.mark.parametrize(
    ("basis", "told", "stops"),
    [("50", False, False), ("50.01", True, False), ("100", True, False), ("-100.01", True, True)],
)
def test_a_basis_is_told_beyond_half_of_its_limit_and_stops_beyond_it(
    basis: str, told: bool, stops: bool
) -> None:
    found = levels(replace(CALM, basis=bps(basis)), LIMITS)
    assert [level.stops for level in found] == ([stops] if told else [])


@pytest.mark.parametrize(
    ("offset", "growth", "told", "stops"),
    [
        (0.5, 0, False, False),
        (0.501, 0, True, False),
        (1, 0, True, False),
        (-1.001, 0, True, True),
        (0, 0.501, True, False),
        (None, 0.501, True, False),
        (None, 0.5, False, False),
        (None, 5, True, False),  # it moved, but what it is nobody knows
    ],
)
def test_a_clock_is_told_beyond_half_of_its_limit_and_stops_beyond_it(
    offset: float | None, growth: float, told: bool, stops: bool
) -> None:
    health = LegHealth(
        Venue.GRVT,
        offset=None if offset is None else Ns(int(offset * SECOND)),
        growth=Ns(int(growth * SECOND)),
    )
    found = levels(replace(CALM, legs=(health,)), LIMITS)
    assert [level.stops for level in found] == ([stops] if told else [])


def test_exposure_is_counted_in_whole_seconds() -> None:
    assert base_seconds(nano(300) * SECOND) == nano(300)

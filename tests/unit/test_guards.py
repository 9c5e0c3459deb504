"""The pure guards: each limit from both sides, and every text with field, value and limit."""

from dataclasses import replace

import pytest

from safety.gate import Approved, Denied, LegRisk, RiskView, gate
from safety.guards import GuardView, LegHealth, levels, trips
from safety.latch import tighten
from safety.limits import Limits
from safety.reasons import Reason
from safety.unwind import Flat, Orders, UnwindLeg, UnwindView, Wait, plan
from strategy.domain import (
    Bps,
    Mode,
    Ns,
    Purpose,
    Qty,
    Quote,
    Side,
    SignedQty,
    Venue,
    bps,
    nano,
)
from tests.builders import (
    BACKPACK,
    GRVT,
    LIMITS,
    SECOND,
    at,
    book,
    draft,
    maker_draft,
    params,
    px,
)

MS = 1_000_000
A, B = LegHealth(Venue.BACKPACK), LegHealth(Venue.GRVT)
CALM = GuardView(Quote(0), 0, (), (), (), legs=(A, B))


def with_leg(leg: LegHealth, **changes: object) -> GuardView:
    made = replace(leg, **changes)  # type: ignore[arg-type]  # field names are checked by replace
    return replace(CALM, legs=(made, B) if leg is A else (A, made))


def said(view: GuardView, limits: Limits = LIMITS) -> tuple[str, str] | None:
    fired = trips(view, limits, 3)
    return (fired[0].reason.value, fired[0].detail) if fired else None


def standing(view: GuardView, limits: Limits = LIMITS) -> list[tuple[str, str, bool, str]]:
    return [(lv.code, lv.venue, lv.stops, lv.what) for lv in levels(view, limits)]


def test_a_calm_view_fires_nothing_and_nothing_stands() -> None:
    assert trips(CALM, LIMITS, 3) == ()
    assert levels(CALM, LIMITS) == ()


def test_unknown_figures_fire_nothing() -> None:
    assert trips(replace(CALM, day_pnl=None, basis=None), LIMITS, 3) == ()


@pytest.mark.parametrize(
    ("view", "reason", "detail"),
    [
        (
            replace(CALM, day_pnl=Quote(nano("-50.5"))),
            "max_daily_loss",
            "day_pnl -50.5, limit -50",
        ),
        (
            replace(CALM, failures=3),
            "hedge_failures",
            "hedges in a row that needed an emergency 3, limit 3",
        ),
        (
            with_leg(B, margin_ratio=bps(6_000)),
            "margin",
            "margin_ratio of grvt 60.00 %, limit 60.00 %",
        ),
        (
            with_leg(A, liquidation_distance=bps(200)),
            "margin",
            "liquidation_distance of backpack 200.00 bps, limit 200.00 bps",
        ),
        (with_leg(A, liquidating=True), "margin", "backpack is liquidating the account"),
        (
            replace(CALM, naked_day=36_000 * SECOND),
            "naked_exposure",
            "naked_day 36000 base x s, limit 36000",
        ),
        (
            replace(CALM, basis=bps("-100.01")),
            "basis",
            "basis -100.01 bps, limit 100.00 either way",
        ),
        (with_leg(B, refused="1008"), "venue_forbidden", "grvt refuses our key: 1008"),
    ],
)
def test_every_trip_names_field_value_and_limit(view: GuardView, reason: str, detail: str) -> None:
    assert said(view) == (reason, detail)


@pytest.mark.parametrize(
    "view",
    [
        replace(CALM, day_pnl=Quote(nano(-50) + 1)),
        replace(CALM, failures=2),
        with_leg(B, margin_ratio=Bps(bps(6_000) - 1)),
        with_leg(A, liquidation_distance=Bps(bps(200) + 1)),
        replace(CALM, naked_day=36_000 * SECOND - 1),
        replace(CALM, basis=bps(100)),
        replace(CALM, basis=bps(-100)),
    ],
)
def test_just_within_a_limit_nothing_latches(view: GuardView) -> None:
    assert said(view) is None


def test_the_gravest_comes_first() -> None:
    view = replace(CALM, day_pnl=Quote(nano(-99)), failures=9, foreign=("x",), violations=("y",))
    assert [t.reason for t in trips(view, LIMITS, 3)] == [
        Reason.MAX_DAILY_LOSS, Reason.HEDGE_FAILURES, Reason.VIOLATION, Reason.FOREIGN,
    ]  # fmt: skip


# --- F79 ---------------------------------------------------------------------------------------


def test_F79_a_dead_hedge_venue_latches_whatever_is_open() -> None:
    view = with_leg(B, refused="revoked", live=True)
    assert said(replace(view, exposed=True)) == (
        "venue_forbidden", "grvt refuses our key: revoked",
    )  # fmt: skip


@pytest.mark.parametrize(("live", "exposed"), [(True, False), (False, True), (True, True)])
def test_F79_a_dead_primary_whose_order_may_fill_stays_hedgeable(live: bool, exposed: bool) -> None:
    view = replace(with_leg(A, refused="revoked", live=live), exposed=exposed)
    assert said(view) is None
    assert standing(view) == [("venue_forbidden", "backpack", True, "revoked")]


def test_F79_a_dead_primary_with_nothing_left_latches_and_keeps_the_pair() -> None:
    reason, detail = said(with_leg(A, refused="revoked")) or ("", "")
    assert reason == "venue_forbidden"
    assert tighten(Mode.REDUCING, False, False, False, f"{reason}: {detail}") is Mode.HALTED


# --- levels ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        (nano(150) - 1, []),
        (nano(150), [("naked_exposure", "naked_hedge", False)]),
        (nano(225) - 1, [("naked_exposure", "naked_hedge", False)]),
        (nano(225), [("naked_exposure", "naked_hedge", True)]),
        (nano(999), [("naked_exposure", "naked_hedge", True)]),
    ],
)
def test_the_exposure_ladder_tells_at_half_and_stops_at_three_quarters(
    used: int, expected: list[tuple[str, str, bool]]
) -> None:
    assert [row[:3] for row in standing(replace(CALM, naked_hedge=used))] == expected


def test_the_day_has_its_own_budget() -> None:
    (row,) = standing(replace(CALM, naked_day=nano("18000.0004")))
    assert row == (
        "naked_exposure", "naked_day", False, "naked_day 18000 base x s, limit 36000",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("failures", "waited", "stands"),
    [
        (0, 0, False),
        (1, 9_999, True),
        (1, 10_000, False),
        (2, 19_999, True),
        (2, 20_000, False),
        (40, 639_999, True),
        (40, 640_000, False),
    ],
)
def test_the_pause_after_failed_hedges_doubles_and_is_bounded(
    failures: int, waited: int, stands: bool
) -> None:
    view = replace(CALM, failures=failures, since_failure=Ns(waited * MS))
    assert bool(standing(view)) is stands
    if stands:
        assert standing(view)[0][:3] == ("cool_down", "", True)
    assert standing(view, replace(LIMITS, cool_down=Ns(0))) == []


@pytest.mark.parametrize(
    ("changes", "stops"),
    [
        ({"margin_ratio": bps(4_000)}, True),
        ({"liquidation_distance": bps(500)}, True),
        ({"liquidating": True}, True),
        ({"changed": "leverage 5, expected 10"}, True),
        ({"offset": Ns(501 * MS)}, False),
        ({"offset": Ns(-1001 * MS)}, True),
        ({"offset": Ns(100 * MS), "growth": Ns(-501 * MS)}, False),
    ],
)
def test_a_legs_conditions_stand(changes: dict[str, object], stops: bool) -> None:
    ((_, venue, stopping, what),) = standing(with_leg(B, **changes))
    assert (venue, stopping) == ("grvt", stops)
    assert what


@pytest.mark.parametrize(
    "changes",
    [
        {"margin_ratio": Bps(bps(4_000) - 1)},
        {"liquidation_distance": Bps(bps(500) + 1)},
        {"offset": Ns(500 * MS)},
        {"offset": Ns(-500 * MS), "growth": Ns(500 * MS)},
    ],
)
def test_just_within_nothing_stands(changes: dict[str, object]) -> None:
    assert standing(with_leg(A, **changes)) == []


@pytest.mark.parametrize(
    ("basis", "stops"), [("50", None), ("50.01", False), ("-51", False), ("100.01", True)]
)
def test_F72_the_basis_is_told_at_half_its_band(basis: str, stops: bool | None) -> None:
    rows = standing(replace(CALM, basis=bps(basis)))
    assert [row[2] for row in rows] == ([] if stops is None else [stops])


# --- the gate ----------------------------------------------------------------------------------


def risk(venue: Venue, **changes: object) -> RiskView:
    def leg(v: Venue) -> LegRisk:
        rules = BACKPACK if v is Venue.BACKPACK else GRVT
        return LegRisk(
            rules, SignedQty(0), Qty(0), Qty(0), px("3000"), px("3000.05"), at().mono, True
        )

    made = RiskView(Mode.RUNNING, leg(venue), leg(venue.other), SignedQty(0), Quote(0), False, 0)
    return replace(made, **changes)  # type: ignore[arg-type]  # field names are checked by replace


def test_the_gate_denies_what_opens_while_a_condition_stands() -> None:
    calm = gate(maker_draft(), risk(Venue.BACKPACK), LIMITS, at())
    assert isinstance(calm, Approved)
    denied = gate(maker_draft(), risk(Venue.BACKPACK, held="margin: x"), LIMITS, at())
    assert isinstance(denied, Denied)
    assert (denied.code, denied.detail) == (Reason.HELD, "margin: x")


def test_the_gate_never_holds_a_hedge() -> None:
    view = risk(Venue.GRVT, held="margin: x", net=SignedQty(nano("0.5")))
    assert isinstance(gate(draft(), view, LIMITS, at()), Approved)


# --- F65, F66: an unwind without a usable book ---------------------------------------------------


def leg(venue: Venue, held: str, **changes: object) -> UnwindLeg:
    rules = BACKPACK if venue is Venue.BACKPACK else GRVT
    made = UnwindLeg(rules, SignedQty(nano(held)), book(venue), bps(5), busy=False)
    return replace(made, **changes)  # type: ignore[arg-type]  # field names are checked by replace


def view(first: UnwindLeg, second: UnwindLeg, mode: Mode = Mode.RUNNING) -> UnwindView:
    return UnwindView(mode, (first, second), tries=0, hedge_id=1)


def test_F65_without_any_book_the_mark_prices_the_order() -> None:
    dark = {"book": None, "mark": px("3000")}
    step = plan(view(leg(Venue.BACKPACK, "0.2", book=None), leg(Venue.GRVT, "0", **dark)), params())
    assert isinstance(step, Orders)
    (made,) = step.drafts
    assert (made.venue, made.side) == (Venue.GRVT, Side.SELL)
    assert (made.touch, made.px) == (px("3000"), px("2998.5"))  # 5 bps from the mark, never more
    assert "finish=10bps" in step.why


def test_F65_a_book_that_can_be_read_is_cheaper_than_the_worst_of_a_mark() -> None:
    dark = leg(Venue.GRVT, "0", book=None, mark=px("3000"))
    step = plan(view(leg(Venue.BACKPACK, "0.2"), dark), params())
    assert isinstance(step, Orders)
    assert [d.venue for d in step.drafts] == [Venue.BACKPACK]


def test_F65_without_book_and_mark_it_waits() -> None:
    both = leg(Venue.BACKPACK, "0.2", book=None), leg(Venue.GRVT, "0", book=None)
    assert isinstance(plan(view(*both), params()), Wait)


def test_F65_flattening_by_mark_leaves_no_rest_below_the_minimum() -> None:
    dark = {"book": None, "mark": px("1500")}  # 0.01 of it is below the hedge venue's minimum
    legs = leg(Venue.BACKPACK, "0.21", **dark), leg(Venue.GRVT, "-0.21", **dark)
    step = plan(view(*legs, Mode.FLATTENING), params())
    assert isinstance(step, Orders)
    assert all(d.reduce_only for d in step.drafts)
    by_venue = {d.venue: d.qty for d in step.drafts}
    assert by_venue == {Venue.BACKPACK: nano("0.2"), Venue.GRVT: nano("0.21")}


@pytest.mark.parametrize(("price", "good"), [("2985.00", True), ("2984.99", False)])
def test_F65_the_gate_bounds_an_unwind_by_the_mark(price: str, good: bool) -> None:
    made = draft(price=price, purpose=Purpose.UNWIND)
    base = risk(Venue.GRVT, net=SignedQty(nano("0.5")))
    blind = replace(base, leg=replace(base.leg, bid=None, ask=None, mark=px("3000")))
    assert isinstance(gate(made, blind, LIMITS, at()), Approved) is good
    hedge = gate(replace(made, purpose=Purpose.HEDGE), blind, LIMITS, at())
    assert isinstance(hedge, Denied)
    assert hedge.detail == "no touch to bound the price by"


# --- arms that only odd moments reach ------------------------------------------------------------


def test_the_gate_denies_an_unwind_that_adds_to_the_exposure() -> None:
    made = draft(purpose=Purpose.UNWIND)  # sells while the net is short already
    denied = gate(made, risk(Venue.GRVT, net=SignedQty(nano("-0.5"))), LIMITS, at())
    assert isinstance(denied, Denied)
    assert denied.code is Reason.WRONG_DIRECTION


def test_the_gate_opens_nothing_at_the_ceiling_of_the_order_rate() -> None:
    full = risk(Venue.BACKPACK, orders_last_minute=LIMITS.max_orders_per_minute)
    denied = gate(maker_draft(), full, LIMITS, at())
    assert isinstance(denied, Denied)
    assert denied.code is Reason.ORDER_RATE
    hedge = replace(
        risk(Venue.GRVT, net=SignedQty(nano("0.5"))),
        orders_last_minute=LIMITS.max_orders_per_minute,
    )
    assert isinstance(gate(draft(), hedge, LIMITS, at()), Approved)


def test_an_unwind_without_a_leg_that_may_shrink_says_so() -> None:
    step = plan(view(leg(Venue.BACKPACK, "0.5"), leg(Venue.GRVT, "-0.8"), Mode.REDUCING), params())
    assert isinstance(step, Orders)  # the larger leg shrinks
    low = {"book": None, "mark": px("500")}  # 0.02 is below the hedge venue's minimum notional
    stuck = leg(Venue.BACKPACK, "0", **low), leg(Venue.GRVT, "0.02", **low)
    step = plan(view(*stuck, Mode.REDUCING), params())
    assert isinstance(step, Wait)
    assert step.why == "exposure left, and no leg may trade it now"
    empty = view(leg(Venue.BACKPACK, "0"), leg(Venue.GRVT, "0"), Mode.REDUCING)
    assert isinstance(plan(empty, params()), Flat)


def test_flattening_waits_without_any_price_and_without_liquidity() -> None:
    dark = leg(Venue.BACKPACK, "0.5", book=None), leg(Venue.GRVT, "-0.5", book=None)
    step = plan(view(*dark, Mode.FLATTENING), params())
    assert isinstance(step, Wait)
    assert step.why == "no book to trade on"
    thin = book(bids=[("3000.00", "0.00001")], asks=[("3000.05", "0.00001")])
    dry = (
        leg(Venue.BACKPACK, "0.5", book=replace(thin, venue=Venue.BACKPACK)),
        leg(Venue.GRVT, "-0.5", book=thin),
    )
    step = plan(view(*dry, Mode.FLATTENING), params())
    assert isinstance(step, Wait)
    assert step.why == "no liquidity within the cap"

"""Ends, waits and bounds to the unit: what is no end, whose end it was, how much is enough."""

from dataclasses import replace

import pytest

from safety.gate import Denied, gate
from safety.guards import GuardView, LegHealth, levels, trips
from safety.reasons import Reason
from strategy.decide import decide
from strategy.domain import (
    ClientId,
    Ns,
    Observed,
    Purpose,
    Px,
    Side,
    SignedQty,
    Status,
    Venue,
    nano,
    plain,
)
from strategy.events import OrderAnswered, RoutePhase, Verdict
from strategy.fold import KEEP_FINISHED, fold
from strategy.intents import Cancel, Emit, Intent, Place
from strategy.params import Params
from strategy.world import Hedge, Order, OrderState, World
from tests.builders import (
    BACKPACK,
    LIMITS,
    at,
    book,
    draft,
    fill,
    maker_draft,
    params,
    planned,
    px,
    qty,
    with_book,
    with_position,
    world,
)
from tests.unit.fold_rig import ONE, hedge_world, maker_world, order, running, says, seen
from tests.unit.test_mutation_kills_gate import FLAT, leg, risk

AT_ONCE = params(passive=Ns(0))


# --- what is no end, and whose end it was --------------------------------------------------------


def test_an_order_that_is_open_has_not_ended() -> None:
    w = seen(hedge_world(), says(hedge_world(), 1), 2)
    assert (running(w).took_at, running(w).last_over_at, running(w).refusals) == (0, 0, 0)
    w = seen(maker_world(), says(maker_world(), 1), 2)
    assert (w.rejects, w.retry_at) == (0, 0)


def ended(w: World, number: int) -> World:
    return seen(w, says(w, number, status=Status.CANCELLED), 3)


def test_the_end_of_another_hedges_order_is_not_the_running_hedges() -> None:
    w = planned(hedge_world(), replace(draft(), hedge_id=9), 2)
    assert running(ended(w, 2)) == running(w)
    assert running(ended(w, 1)).took_at == at(3).mono


def test_F16_a_maker_that_its_venue_ended_is_backed_off_also_beside_a_hedge() -> None:
    w = planned(hedge_world(), maker_draft(), 2)
    after = ended(w, 2)
    assert running(after) == running(w)
    assert (after.rejects, after.retry_at) == (1, at(3.25).mono)


def test_an_undo_on_the_primary_that_missed_holds_no_maker_back() -> None:
    undo = draft(Venue.BACKPACK, purpose=Purpose.UNWIND, hedge_id=7, reduce_only=True)
    after = ended(planned(with_position(world(), "0.5"), undo), 1)
    assert (after.unwind_tries, after.rejects, after.retry_at) == (1, 0, 0)


def test_what_is_flat_is_not_naked_even_where_nothing_is_priced() -> None:
    w = planned(with_position(world(), "0.5"), draft())
    dark = replace(
        w,
        legs={
            v: replace(one, book=None, facts=replace(one.facts, mark=None))
            for v, one in w.legs.items()
        },
    )
    dark = replace(dark, naked_since=at().mono)
    part = seen(dark, says(dark, 1, cum=qty("0.3")), 1)
    assert part.naked_since == at().mono
    assert seen(part, says(part, 1, cum=qty("0.5")), 2).naked_since is None


# --- how much is kept, how far is away -----------------------------------------------------------


def numbered(one: Order, number: int, state: OrderState) -> Order:
    request = replace(one.request, client_id=ClientId(number))
    return replace(one, request=request, state=state)


@pytest.mark.parametrize("over", [KEEP_FINISHED - 1, KEEP_FINISHED, KEEP_FINISHED + 1])
def test_of_the_finished_orders_the_newest_are_kept_and_of_the_live_ones_all(over: int) -> None:
    one = order(maker_world())
    live = 2 * KEEP_FINISHED
    states = [OrderState.DONE] * over + [OrderState.LIVE] * live
    kept = {ClientId(n): numbered(one, n, state) for n, state in enumerate(states, 10)}
    w = planned(replace(world(), orders=kept), maker_draft(), 9999)
    assert len(w.orders) == min(over, KEEP_FINISHED) + live + 1
    assert (ClientId(10) in w.orders) is (over <= KEEP_FINISHED)
    assert ClientId(10 + over) in w.orders


@pytest.mark.parametrize(("units", "away"), [(0, False), (1, True), (-1, False)])
@pytest.mark.parametrize("side", list(Side))
def test_one_unit_of_price_is_already_away(side: Side, units: int, away: bool) -> None:
    w = planned(world(), maker_draft(side))
    own = Px(nano(3000) + units * side.value)
    base = book(Venue.BACKPACK, [("2000", "9")], [("4000", "9")])
    level = ((own, qty(9)),)
    shown = replace(base, bids=level) if side is Side.BUY else replace(base, asks=level)
    assert (seen(w, shown, 2).away_since == at(2).mono) is away


@pytest.mark.parametrize("side", list(Side))
def test_what_traded_without_a_price_yet_is_money_at_its_limit(side: Side) -> None:
    """0.5 at 3,000 against a mid of 3,000.025."""
    w = planned(world(), maker_draft(side))
    w = seen(w, says(w, 1, cum=qty("0.5")))
    assert w.equity() == side.value * nano("0.0125")
    priced = fold(w, fill(w, 1, "0.5"))
    assert priced.equity() == w.equity()


# --- gate and guards -----------------------------------------------------------------------------


def test_the_smallest_other_leg_still_grows_or_shrinks_by_the_sign_it_has() -> None:
    """A hedge of a maker that sells would add to a long hedge leg, however small that is."""
    limits = replace(LIMITS, max_position=qty("0.5"))

    def denied(side: Side) -> bool:
        price = "3000.00" if side is Side.BUY else "3000.05"
        view = risk(leg(primary=True), replace(leg(), position=SignedQty(1)), net=SignedQty(0))
        return isinstance(gate(maker_draft(side, "0.5", price), view, limits, at()), Denied)

    assert denied(Side.SELL)
    assert not denied(Side.BUY)
    assert FLAT.leg.instrument == BACKPACK


def health(**changes: object) -> GuardView:
    one = replace(LegHealth(Venue.GRVT), **changes)  # type: ignore[arg-type]  # fields
    return GuardView(None, 0, (), (), (), legs=(one,))


def test_F61_a_clock_that_was_never_measured_differs_by_nothing() -> None:
    tight = replace(LIMITS, max_clock_offset=Ns(1))
    assert levels(health(), tight) == ()
    exact = replace(LIMITS, max_clock_offset=Ns(0))
    (told,) = levels(health(growth=Ns(5)), exact)
    assert not told.stops
    (told,) = levels(health(offset=Ns(1), growth=Ns(5)), exact)
    assert told.stops


@pytest.mark.parametrize(
    ("changes", "price", "passes"),
    [
        ({}, "2985", True),
        ({}, "2890", False),  # a touch that is current bounds it, whatever the mark
        ({"current": False}, "2890", True),
        ({"current": False}, "2885.49", False),
        ({"current": False, "mark": None}, "2985", True),
        ({"current": False, "mark": None}, "2890", False),
        ({"bid": None}, "2890", True),
        ({"bid": None, "mark": None}, "2985", False),
    ],
)
def test_F56_an_unwind_is_bounded_by_the_mark_where_the_book_is_old_or_gone(
    changes: dict[str, object], price: str, passes: bool
) -> None:
    held = replace(leg("0.5", mark=px(2900)), **changes)  # type: ignore[arg-type]  # fields
    view = risk(held, leg(primary=True))
    made = replace(draft(price=price, purpose=Purpose.UNWIND), reduce_only=True)
    assert (not isinstance(gate(made, view, LIMITS, at()), Denied)) is passes
    hedge = risk(replace(held, position=SignedQty(0)), leg("0.5", primary=True))
    hedged = not isinstance(gate(draft(price=price), hedge, LIMITS, at()), Denied)
    assert not hedged, "a hedge is bounded by the touch and its own cap"


def test_exposure_that_the_hedge_venue_will_not_take_latches() -> None:
    assert trips(health(), LIMITS, 3) == ()
    (trip,) = trips(replace(health(), stranded="net 0.005"), LIMITS, 3)
    assert str(trip) == f"{Reason.NAKED.value}: net 0.005"


def test_sizes_are_judged_by_the_hedge_mid_then_the_primarys_then_a_mark() -> None:
    def seen_by(hedge: bool, primary: bool, marks: tuple[str | None, str | None]) -> str | None:
        legs = {}
        base = world()
        for venue, shown, mark in (
            (Venue.GRVT, hedge, marks[0]), (Venue.BACKPACK, primary, marks[1]),
        ):  # fmt: skip
            one = base.legs[venue]
            fact = None if mark is None else Observed(px(mark), at().mono, "rest")
            value = book(venue, [("100", "1")], [("102", "1")]) if venue is Venue.BACKPACK else None
            own = Observed(value, at().mono, "stream") if value else one.book
            facts = replace(one.facts, mark=fact)
            legs[venue] = replace(one, facts=facts, book=own if shown else None)
        found = replace(base, legs=legs).price()
        return None if found is None else plain(found)

    assert seen_by(True, True, ("7", "8")) == "3000.025"
    assert seen_by(False, True, ("7", "8")) == "101"
    assert seen_by(False, False, ("7", "8")) == "7"
    assert seen_by(False, False, (None, "8")) == "8"
    assert seen_by(False, False, (None, None)) is None


@pytest.mark.parametrize(
    ("age", "bid", "counts"), [(3, "3000.00", True), (3.001, "3000.00", False), (0, "3001", False)]
)
def test_F72_the_basis_compares_uncrossed_books_of_the_same_time(
    age: float, bid: str, counts: bool
) -> None:
    w = replace(world(), basis=None)
    w = seen(w, book(bids=[(bid, "5")]), age)
    assert (w.basis is not None) is counts


# --- the router's waits --------------------------------------------------------------------------


def hedging(w: World, phase: RoutePhase = RoutePhase.CROSS, **changes: object) -> World:
    """Hedge 1 of 0.5 runs since second 0."""
    hedge = Hedge(1, SignedQty(nano("-0.5")), phase, px(3000), px("3000.02"), at().mono)
    if phase is RoutePhase.CROSS:
        hedge = replace(hedge, crossed_at=at().mono)
    return replace(w, hedge=replace(hedge, **changes), hedges=1)  # type: ignore[arg-type]  # fields


def placed(w: World, when: float, p: Params = AT_ONCE) -> list[Intent]:
    return [i for i in decide(w, p, at(when)) if isinstance(i, Place)]


def test_a_book_that_says_nothing_for_half_a_second_is_what_the_last_order_left() -> None:
    took = hedging(with_position(world(), "0.5"), took_at=at(1).mono, last_over_at=at(1).mono)
    assert placed(took, 1.499) == []
    assert len(placed(took, 1.5)) == 1
    newer = with_book(took, book(), 1.1)
    assert len(placed(newer, 1.1)) == 1


@pytest.mark.parametrize(("field", "why"), [("refusals", "refused"), ("missed", "too late")])
def test_resting_is_given_up_after_the_fourth_no_in_a_row(field: str, why: str) -> None:
    def left(times: int) -> list[str]:
        w = hedging(with_position(world(), "0.5"), RoutePhase.PASSIVE, **{field: times})
        intents = decide(w, params(risk_aversion=0), at())
        return [i.event.why for i in intents if isinstance(i, Emit)]  # type: ignore[union-attr]

    assert left(3) == []
    (said,) = left(4)
    assert why in said


def test_a_taking_order_is_not_resting_and_is_not_cancelled() -> None:
    w = planned(hedging(with_position(world(), "0.5")), replace(draft(size="0.3"), hedge_id=1))
    intents = decide(w, AT_ONCE, at())
    assert [i for i in intents if isinstance(i, Cancel)] == []
    assert len([i for i in intents if isinstance(i, Place)]) == 1


def test_crossing_says_why_it_cancels_what_rests() -> None:
    resting = replace(draft(price="3000.04"), hedge_id=1, post_only=True)
    w = planned(hedging(with_position(world(), "0.5")), resting)
    w = fold(w, OrderAnswered(ONE, Verdict.ACCEPTED, at()))
    (cancel,) = [i for i in decide(w, AT_ONCE, at(1)) if isinstance(i, Cancel)]
    assert (cancel.client_id, cancel.why) == (ONE, "cross")
    assert isinstance(w.hedge_leg.book, Observed)

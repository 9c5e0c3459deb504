"""The books' own rules at their edges: invariants, what a leg is told, how a hedge's orders end."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from strategy.domain import (
    ClientId,
    Fees,
    Px,
    Qty,
    Quote,
    SignedQty,
    Status,
    Venue,
    bps,
    nano,
)
from strategy.events import (
    Adopted,
    Event,
    OrderAnswered,
    OrderDead,
    Seen,
    StopAsked,
    VenueRead,
    Verdict,
)
from strategy.fold import fold
from strategy.invariants import broken
from strategy.world import Hedge, Order, OrderState, World
from tests.builders import GRVT, at, draft, fill, maker_draft, planned, qty, view, world
from tests.unit.fold_rig import ONE, hedge_world, maker_world, order, running

STOP = StopAsked(False, at())
"""An event that is no evidence of anything."""


def changed(w: World, **changes: object) -> World:
    """The same world with order 1 made otherwise."""
    made = replace(order(w), **changes)  # type: ignore[arg-type]  # field names are checked
    return replace(w, orders={**w.orders, ONE: made})


# --- S4, S5, S7, S16 -----------------------------------------------------------------------------


def test_a_fold_that_touches_no_order_breaks_nothing() -> None:
    w = maker_world()
    assert broken(w, w, STOP) == ""
    assert broken(w, replace(w, orders=dict(w.orders)), STOP) == ""


@pytest.mark.parametrize("field", ["cum", "filled"])
def test_S7_neither_the_traded_nor_the_priced_size_shrinks(field: str) -> None:
    w = changed(maker_world(), cum=qty("0.2"), filled=qty("0.2"))
    smaller = changed(w, filled=Qty(0)) if field == "filled" else changed(w, cum=Qty(0))
    if field == "cum":  # what is priced was never more
        w = changed(w, filled=Qty(0))
        smaller = changed(w, cum=qty("0.1"))
    assert "shrank" in broken(w, smaller, STOP)


def test_S7_equal_sizes_are_no_shrinking() -> None:
    w = changed(maker_world(), cum=qty("0.2"), filled=qty("0.2"))
    assert broken(w, changed(w, reason="told again"), STOP) == ""


def lost() -> World:
    return changed(maker_world(), state=OrderState.IN_DOUBT)


@pytest.mark.parametrize(
    ("event", "is_evidence"),
    [
        (STOP, False),
        (OrderAnswered(ONE, Verdict.IN_DOUBT, at()), False),
        (OrderAnswered(ONE, Verdict.ACCEPTED, at()), True),
        (OrderAnswered(ONE, Verdict.REFUSED, at()), True),
        (OrderDead(ONE, "proof", at()), True),
        (view(maker_world(), 1, "0", Status.OPEN), True),
    ],
)
def test_S5_a_doubt_ends_by_evidence_only(event: Event, is_evidence: bool) -> None:
    after = changed(lost(), state=OrderState.LIVE)
    assert ("S5" in broken(lost(), after, event)) is not is_evidence
    still = changed(lost(), reason="asked again")
    assert broken(lost(), still, event) == "", "it is in doubt as before"


@pytest.mark.parametrize("before", [OrderState.DONE, OrderState.DEAD, OrderState.LIVE])
@pytest.mark.parametrize("after", list(OrderState))
def test_an_ended_order_stays_ended_or_is_quarantined(
    before: OrderState, after: OrderState
) -> None:
    w = changed(maker_world(), state=before)
    revived = before.over and not after.over and after is not OrderState.QUARANTINED
    assert ("back to life" in broken(w, changed(w, state=after), STOP)) is revived


def traded(w: World, event: Event, cum: str, position: str, **changes: object) -> str:
    """What is broken when order 1 goes from 0.1 to ``cum`` and its leg from 1 to ``position``."""
    start = SignedQty(nano(1))
    w = replace(w, legs={**w.legs, Venue.BACKPACK: replace(w.primary, position=start)})
    w = changed(w, cum=qty("0.1"))
    after = changed(w, cum=qty(cum))
    leg = replace(w.primary, position=SignedQty(nano(position)))
    after = replace(after, legs={**w.legs, Venue.BACKPACK: leg})
    after = replace(after, **changes)  # type: ignore[arg-type]  # field names are checked
    return broken(w, after, event)


def test_a_position_moves_by_what_its_orders_traded() -> None:
    w = maker_world()
    assert traded(w, STOP, "0.3", "1.2") == ""
    assert "position moved" in traded(w, STOP, "0.3", "1")
    assert "position moved" in traded(w, STOP, "0.3", "1.3")
    assert "position moved" in traded(w, STOP, "0.1", "1.1"), "nothing traded"


def test_a_position_may_move_by_policy_or_by_the_venues_own_close() -> None:
    adopted = Adopted(Venue.BACKPACK, SignedQty(1), Px(1), "policy", at())
    assert traded(maker_world(), adopted, "0.3", "5") == ""
    assert traded(maker_world(), STOP, "0.3", "5", forced=("backpack x",)) == ""


def test_orders_of_the_other_venue_move_their_own_leg_only() -> None:
    w = planned(maker_world(), draft(), 2)
    after = fold(w, fill(w, 2, "0.2", "h"))
    assert broken(w, after, STOP) == ""
    assert "grvt" in broken(w, replace(after, legs=w.legs), STOP)


def test_every_order_is_checked_not_only_the_first() -> None:
    w = planned(maker_world(), maker_draft(), 2)
    second = replace(order(w, 2), cum=qty("0.6"))
    assert "order 2" in broken(w, replace(w, orders={**w.orders, ClientId(2): second}), STOP)


# --- what a leg is told --------------------------------------------------------------------------


def test_fees_told_by_a_venue_are_its_own_legs() -> None:
    w = fold(world(), VenueRead(Fees(Venue.GRVT, maker=bps(-1), taker=bps(4)), at()))
    assert (w.hedge_leg.maker_fee, w.hedge_leg.taker_fee) == (bps(-1), bps(4))
    assert (w.primary.maker_fee, w.primary.taker_fee) == (0, bps(5))


def test_F14_new_rules_of_an_instrument_take_the_place_of_the_old() -> None:
    coarse = replace(GRVT, tick=Px(nano("0.1")))
    w = fold(world(), VenueRead(coarse, at()))
    assert w.hedge_leg.instrument == coarse
    assert w.primary.instrument == world().primary.instrument
    again = fold(w, VenueRead(replace(coarse), at()))
    assert again.hedge_leg.instrument is w.hedge_leg.instrument


# --- how a hedge's orders end --------------------------------------------------------------------


def late_maker(w: World) -> World:
    """A passive hedge that the venue ended because it would have crossed."""
    return fold(w, OrderAnswered(ONE, Verdict.REFUSED, at(3), code="X", post_only_cross=True))


def refused(w: World) -> World:
    return fold(w, OrderAnswered(ONE, Verdict.REFUSED, at(3), code="X"))


def cancelled(w: World) -> World:
    return fold(w, view(w, 1, "0", Status.CANCELLED, 3))


@pytest.mark.parametrize(
    ("end", "refusals", "missed"), [(late_maker, 0, 3), (refused, 6, 0), (cancelled, 0, 0)]
)
def test_refusals_and_crossed_makers_are_counted_apart_and_in_a_row(
    end: Callable[[World], World], refusals: int, missed: int
) -> None:
    hedge = replace(running(hedge_world(post_only=True)), refusals=5, missed=2)
    w = replace(hedge_world(post_only=True), hedge=hedge)
    after: Hedge = running(end(w))
    assert (after.refusals, after.missed) == (refusals, missed)


@pytest.mark.parametrize("crossed", [True, False])
def test_an_order_that_traded_before_it_ended_is_neither(crossed: bool) -> None:
    w = hedge_world(post_only=True)
    w = fold(w, fill(w, 1, "0.1"))
    w = replace(w, hedge=replace(running(w), refusals=5, missed=2))
    reason = "POST_ONLY" if crossed else ""
    after = running(fold(w, view(w, 1, "0.1", Status.CANCELLED, 3, reason)))
    assert (after.refusals, after.missed) == (0, 0)


def test_the_rig_speaks_of_one_order() -> None:
    made: Order = order(maker_world())
    assert (made.cost, made.state) == (Quote(0), OrderState.SENT)
    assert isinstance(view(maker_world(), 1, "0", Status.OPEN), Seen)

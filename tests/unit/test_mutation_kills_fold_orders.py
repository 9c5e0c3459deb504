"""The fold at its edges: what becomes of orders, fills, exposure and refusals."""

from dataclasses import replace

import pytest

from strategy.domain import (
    ClientId,
    Fill,
    Ns,
    Purpose,
    Quote,
    Side,
    Status,
    Venue,
    nano,
    plain,
)
from strategy.events import (
    CancelAsked,
    OrderAnswered,
    OrderDead,
    OrderLoaded,
    Verdict,
)
from strategy.fold import (
    fold,
    match_order,
)
from strategy.world import (
    OrderState,
    World,
)
from tests.builders import (
    SECOND,
    at,
    book,
    draft,
    fill,
    maker_draft,
    planned,
    px,
    qty,
    with_book,
    with_position,
    world,
)
from tests.unit.fold_rig import (
    ONE,
    TWO,
    hedge_world,
    maker_world,
    order,
    running,
    says,
    seen,
    stranger,
)

# --- orders: planned, answered, dead -------------------------------------------------------------


def test_an_order_of_the_hedge_counts_as_its_step_and_sets_its_last_price() -> None:
    w = hedge_world()
    assert (running(w).iterations, running(w).last_px) == (1, px(3000))
    w = planned(w, replace(draft(price="2999.00"), hedge_id=1, post_only=True), 2)
    assert (running(w).iterations, running(w).last_px) == (2, px(3000)), (
        "a passive price binds none"
    )
    w = planned(w, replace(draft(price="2998.00"), hedge_id=2), 3)
    assert running(w).iterations == 2, "of another hedge"


def test_a_planned_order_is_sent_and_unanswered() -> None:
    w = maker_world(when=3)
    assert (order(w).state, order(w).sent) == (OrderState.SENT, at(3))


LOADED = OrderLoaded(
    request=order(maker_world()).request, draft=maker_draft(), cum=qty("0.2"), filled=qty("0.1"),
    cost=Quote(5), fee=Quote(6), state="live", venue_order_id="v", sent_wall=Ns(77),
    trades=frozenset({"t"}), at=at(9),
)  # fmt: skip


def test_a_loaded_order_is_as_it_was_and_its_state_to_be_asked_for() -> None:
    w = fold(world(), LOADED)
    made = order(w)
    assert (made.cum, made.filled, made.cost, made.fee) == (qty("0.2"), qty("0.1"), 5, 6)
    assert (made.state, made.venue_order_id, made.trades) == (
        OrderState.LIVE,
        "v",
        frozenset({"t"}),
    )
    assert (made.sent.mono, made.sent.wall) == (at(9).mono, 77)
    assert made.doubt_at == at(9).mono
    assert w.primary.position == 0, "its size is in the loaded positions"
    assert order(fold(world(), replace(LOADED, state="done"))).doubt_at is None


def test_answers_and_proofs_for_unknown_orders_change_nothing() -> None:
    w = world()
    assert fold(w, OrderAnswered(ONE, Verdict.ACCEPTED, at())) is w
    assert fold(w, OrderDead(ONE, "proof", at())) is w
    assert fold(w, CancelAsked(ONE, at(), "why")) is w


def test_a_cancel_is_a_flag_with_its_time() -> None:
    w = fold(maker_world(), CancelAsked(ONE, at(3), "why"))
    assert (order(w).cancel_at, order(w).state) == (at(3).mono, OrderState.SENT)


def test_a_lost_reply_is_noted_with_its_time_and_words_and_forgotten_when_answered() -> None:
    w = fold(maker_world(), OrderAnswered(ONE, Verdict.IN_DOUBT, at(2), message="timeout"))
    assert (order(w).doubt_at, order(w).reason) == (at(2).mono, "timeout")
    w = fold(w, OrderAnswered(ONE, Verdict.ACCEPTED, at(3)))
    assert (order(w).state, order(w).doubt_at) == (OrderState.LIVE, None)


def test_a_stream_that_knows_the_order_ends_the_doubt() -> None:
    doubt = fold(maker_world(), OrderAnswered(ONE, Verdict.IN_DOUBT, at(2), message="timeout"))
    for status in (Status.OPEN, Status.CANCELLED):
        assert order(seen(doubt, says(doubt, 1, status=status))).doubt_at is None


def test_an_acknowledgement_does_not_revive_what_has_ended() -> None:
    w = seen(maker_world(), says(maker_world(), 1, status=Status.CANCELLED))
    w = fold(w, OrderAnswered(ONE, Verdict.ACCEPTED, at(3)))
    assert order(w).state is OrderState.DONE
    broken = seen(maker_world(), says(maker_world(), 1, cum=qty(9)))
    broken = fold(broken, OrderAnswered(ONE, Verdict.ACCEPTED, at(3)))
    assert order(broken).state is OrderState.QUARANTINED


def test_an_acknowledgement_may_carry_the_venues_own_view() -> None:
    w = maker_world()
    stated = says(w, 1, cum=qty("0.2"))
    w = fold(w, OrderAnswered(ONE, Verdict.ACCEPTED, at(3), stated))
    assert (order(w).cum, order(w).venue_order_id) == (qty("0.2"), "v1")
    assert plain(w.primary.position) == "0.2"


def test_a_refusal_ends_the_order_with_its_code_words_and_time() -> None:
    w = fold(maker_world(), OrderAnswered(ONE, Verdict.REFUSED, at(2), code="X", message="no"))
    assert (order(w).state, order(w).reason) == (OrderState.DEAD, "X no")
    assert (order(w).over_at, order(w).crossed) == (at(2).mono, False)
    assert w.violations == ()
    crossed = OrderAnswered(ONE, Verdict.REFUSED, at(2), code="X", post_only_cross=True)
    w = fold(maker_world(), crossed)
    assert (order(w).crossed, order(w).reason) == (True, "X")


def test_a_refusal_of_what_has_ended_changes_nothing() -> None:
    w = seen(maker_world(), says(maker_world(), 1, status=Status.CANCELLED, reason="asked"))
    assert fold(w, OrderAnswered(ONE, Verdict.REFUSED, at(2), code="X")) is w


def test_a_proof_of_death_counts_once_and_keeps_what_traded() -> None:
    w = fold(maker_world(), OrderDead(ONE, "not found", at(2)))
    assert (order(w).state, order(w).reason) == (OrderState.DEAD, "not found")
    assert order(w).over_at == at(2).mono
    assert fold(w, OrderDead(ONE, "again", at(3))) is w
    traded = fold(maker_world(), fill(maker_world(), 1, "0.1"))
    assert order(fold(traded, OrderDead(ONE, "gone", at(2)))).state is OrderState.DONE


# --- whose order is it ---------------------------------------------------------------------------


def test_an_order_is_matched_by_our_id_on_its_own_venue() -> None:
    w = maker_world()
    assert match_order(w, Venue.BACKPACK, ONE, "") is order(w)
    assert match_order(w, Venue.GRVT, ONE, "") is None
    assert match_order(w, Venue.BACKPACK, TWO, "") is None


def test_an_order_is_matched_by_the_venues_id_once_that_is_known() -> None:
    w = maker_world()
    assert match_order(w, Venue.BACKPACK, None, "") is None, "an id that nobody told matches none"
    assert match_order(w, Venue.BACKPACK, None, "v1") is None
    w = seen(w, says(w, 1))
    assert match_order(w, Venue.BACKPACK, None, "v1") is order(w)
    assert match_order(w, Venue.BACKPACK, None, "v2") is None
    assert match_order(w, Venue.GRVT, None, "v1") is None


def test_a_later_order_is_found_behind_others() -> None:
    w = seen(maker_world(), says(maker_world(), 1))
    w = planned(w, maker_draft(), 2)
    w = seen(w, says(w, 2))
    assert match_order(w, Venue.BACKPACK, None, "v2") is order(w, 2)


def test_a_known_venue_id_is_kept_when_a_message_leaves_it_out() -> None:
    w = seen(maker_world(), says(maker_world(), 1))
    w = seen(w, says(w, 1, venue_order_id=""))
    assert order(w).venue_order_id == "v1"
    assert order(seen(w, says(w, 1, venue_order_id="v9"))).venue_order_id == "v9"


# --- views ---------------------------------------------------------------------------------------


def test_F25_an_order_of_nobody_is_foreign_unless_the_venue_made_it() -> None:
    w = maker_world()
    alien = says(w, 1, client_id=ClientId(9), venue_order_id="zz")
    assert seen(w, alien).foreign == ("backpack zz",)
    assert seen(w, replace(alien, forced=True)) is w


@pytest.mark.parametrize(
    ("changes", "state", "position"),
    [
        ({"cum": qty("0.5")}, OrderState.LIVE, "0.5"),  # all of it is no more than it
        ({"cum": qty("0.5001")}, OrderState.QUARANTINED, "0"),
        ({"side": Side.SELL}, OrderState.QUARANTINED, "0"),
        ({"side": Side.SELL, "status": Status.CANCELLED}, OrderState.DONE, "0"),
        ({"cum": qty("0.6"), "status": Status.FILLED}, OrderState.DONE, "0"),
    ],
)
def test_F23_what_contradicts_the_request_is_a_violation_and_not_traded_size(
    changes: dict[str, object], state: OrderState, position: str
) -> None:
    w = seen(maker_world(), says(maker_world(), 1, **changes), 2)
    assert (order(w).state, plain(w.primary.position)) == (state, position)
    assert bool(w.violations) is (state is not OrderState.LIVE)
    if w.violations:
        assert order(w).reason
        assert order(w).reason in w.violations[0]
    assert order(w).over_at == (at(2).mono if state is OrderState.DONE else None)


def test_S7_a_rejection_that_leaves_out_what_traded_is_no_contradiction() -> None:
    w = fold(maker_world(), fill(maker_world(), 1, "0.2"))
    w = seen(w, says(w, 1, status=Status.REJECTED, cum=qty(0)))
    assert (w.violations, order(w).state) == ((), OrderState.DONE)
    assert order(w).cum == qty("0.2")


def test_S7_a_final_size_equal_to_what_traded_is_none_either() -> None:
    w = fold(maker_world(), fill(maker_world(), 1, "0.2"))
    w = seen(w, says(w, 1, status=Status.CANCELLED, cum=qty("0.2")))
    assert (w.violations, order(w).state) == ((), OrderState.DONE)


def test_a_contradiction_of_what_has_ended_leaves_it_ended() -> None:
    w = seen(maker_world(), says(maker_world(), 1, status=Status.CANCELLED, reason="asked"))
    w = seen(w, says(w, 1, cum=qty(9)))
    assert (order(w).state, order(w).reason) == (OrderState.DONE, "asked")


@pytest.mark.parametrize(
    ("status", "reason", "post_only", "state", "crossed"),
    [
        (Status.REJECTED, "no margin", True, OrderState.DEAD, False),
        (Status.REJECTED, "Post only would take", True, OrderState.DONE, True),
        (Status.CANCELLED, "FAIL_POST_ONLY", True, OrderState.DONE, True),
        (Status.CANCELLED, "FAIL_POST_ONLY", False, OrderState.DONE, False),
        (Status.CANCELLED, "", True, OrderState.DONE, False),
        (Status.EXPIRED, "", True, OrderState.DONE, False),
    ],
)
def test_how_an_order_ended_is_kept(
    status: Status, reason: str, post_only: bool, state: OrderState, crossed: bool
) -> None:
    w = planned(world(), replace(maker_draft(), post_only=post_only))
    w = seen(w, says(w, 1, status=status, reason=reason), 4)
    made = order(w)
    assert (made.state, bool(made.crossed), made.over_at) == (state, crossed, at(4).mono)
    assert made.reason == (reason or status.value)


def test_a_repeated_end_does_not_count_twice() -> None:
    w = seen(maker_world(), says(maker_world(), 1, status=Status.CANCELLED), 1)
    assert w.rejects == 1
    again = seen(w, says(w, 1, status=Status.CANCELLED), 2)
    assert (again.rejects, order(again).over_at) == (1, at(1).mono)


# --- fills ---------------------------------------------------------------------------------------


def test_REQ_39_a_fill_moves_cash_fees_and_volume_of_its_own_leg() -> None:
    w = fold(maker_world(), fill(maker_world(), 1, "0.2", "a", fee="0.3"))
    w = fold(w, fill(w, 1, "0.1", "b", fee="-0.1"))
    leg = w.primary
    assert (plain(leg.cash), plain(leg.fees), plain(leg.volume)) == ("-900", "0.2", "900")
    assert (w.hedge_leg.cash, w.hedge_leg.fees, w.hedge_leg.volume) == (0, 0, 0)
    made = order(w)
    assert (plain(made.cost), plain(made.fee), made.trades) == ("900", "0.2", frozenset({"a", "b"}))
    sold = planned(world(), draft())
    sold = fold(sold, fill(sold, 1, "0.2"))
    assert (plain(sold.hedge_leg.cash), plain(sold.hedge_leg.position)) == ("600", "-0.2")


def test_a_fill_up_to_the_whole_order_is_no_violation_and_beyond_it_is() -> None:
    w = fold(maker_world(), fill(maker_world(), 1, "0.5", "a"))
    assert w.violations == ()
    w = fold(w, fill(w, 1, "0.0001", "b"))
    assert (order(w).state, order(w).filled) == (OrderState.QUARANTINED, qty("0.5"))
    assert len(w.violations) == 1
    assert order(w).reason == w.violations[0]
    assert plain(w.primary.position) == "0.5"


def test_a_fill_of_the_other_side_is_a_violation() -> None:
    event = fill(maker_world(), 1, "0.1").event
    assert isinstance(event, Fill)
    w = seen(maker_world(), replace(event, side=Side.SELL))
    assert (order(w).state, len(w.violations), w.primary.position) == (
        OrderState.QUARANTINED, 1, 0,
    )  # fmt: skip


def test_a_fill_beyond_an_ended_order_is_a_violation_and_leaves_it_ended() -> None:
    w = seen(maker_world(), says(maker_world(), 1, status=Status.FILLED, cum=qty("0.5")))
    w = fold(w, fill(w, 1, "0.6"))
    assert (order(w).state, len(w.violations)) == (OrderState.DONE, 1)


def test_F26_a_forced_close_moves_cash_fees_and_volume_too() -> None:
    closed = stranger(forced=True, side=Side.SELL)
    w = seen(with_position(world(), "-1", "1"), closed, 3)
    leg = w.hedge_leg
    assert (plain(leg.position), plain(leg.cash)) == ("0.5", "1500")
    assert (plain(leg.fees), plain(leg.volume)) == ("0.7", "1500")
    assert (w.forced, w.foreign) == (("grvt x",), ())
    assert w.naked_since == at(3).mono
    again = seen(w, replace(closed, trade_id="y"), 4)
    assert again.forced == ("grvt x", "grvt y")
    assert again.naked_integral == nano("0.5") * SECOND


def test_F26_a_forced_close_of_an_order_that_we_know_is_its_fill() -> None:
    event = fill(maker_world(), 1, "0.1").event
    assert isinstance(event, Fill)
    w = seen(maker_world(), replace(event, forced=True))
    assert (w.forced, order(w).filled) == ((), qty("0.1"))


# --- the hedge's own figures ---------------------------------------------------------------------


def test_a_hedge_adds_up_its_own_fills_against_each_orders_touch() -> None:
    w = hedge_world()
    w = fold(w, fill(w, 1, "0.2", fee="0.3"))
    hedge = running(w)
    assert (plain(hedge.filled), plain(hedge.cost)) == ("0.2", "600")
    assert (plain(hedge.touch_cost), plain(hedge.fee)) == ("600.01", "0.3")
    assert hedge.passive_filled == 0
    w = planned(w, replace(draft(size="0.1"), hedge_id=1, post_only=True), 2)
    w = fold(w, fill(w, 2, "0.1", "p", fee="0.1"))
    assert (plain(running(w).filled), plain(running(w).passive_filled)) == ("0.3", "0.1")
    assert (plain(running(w).cost), plain(running(w).fee)) == ("900", "0.4")


def test_fills_of_other_orders_or_of_the_primary_are_not_the_hedges() -> None:
    w = planned(hedge_world(), replace(draft(), hedge_id=2), 2)
    assert running(fold(w, fill(w, 2, "0.1"))).filled == 0
    undo = replace(maker_draft(Side.SELL), hedge_id=1)
    w = planned(hedge_world(), undo, 3)
    assert running(fold(w, fill(w, 3, "0.1"))).filled == 0


def test_the_end_of_a_hedges_order_is_noted_and_a_taking_one_asks_for_a_new_book() -> None:
    w = seen(hedge_world(), says(hedge_world(), 1, status=Status.CANCELLED, cum=qty("0.1")), 3)
    assert (running(w).last_over_at, running(w).took_at) == (at(3).mono, at(3).mono)
    rested = hedge_world(post_only=True)
    w = seen(rested, says(rested, 1, status=Status.CANCELLED), 3)
    assert (running(w).last_over_at, running(w).took_at) == (at(3).mono, 0)
    assert (w.rejects, w.retry_at) == (0, 0), "a hedge's order is no maker"


def test_refusals_of_a_hedges_orders_are_counted_in_a_row() -> None:
    w = hedge_world()
    for number in (1, 2):
        w = fold(w, OrderAnswered(ClientId(number), Verdict.REFUSED, at(number), code="X"))
        assert running(w).refusals == number
        w = planned(w, replace(draft(), hedge_id=1), number + 1)
    w = seen(w, says(w, 3, status=Status.CANCELLED, cum=qty("0.1")))
    assert running(w).refusals == 0


# --- exposure ------------------------------------------------------------------------------------


def test_exposure_is_integrated_from_change_to_change() -> None:
    w = fold(maker_world(), fill(maker_world(), 1, "0.2", "a", when=1))
    assert (w.net_at, w.naked_integral, w.naked_since) == (at(1).mono, 0, at(1).mono)
    w = fold(w, fill(w, 1, "0.1", "b", when=3))
    assert (w.net_at, w.naked_since) == (at(3).mono, at(1).mono)
    assert w.naked_integral == nano("0.2") * 2 * SECOND
    w = fold(w, fill(w, 1, "0.1", "late", when=2))
    assert w.naked_integral == nano("0.2") * 2 * SECOND, "time never runs backwards"
    assert plain(w.max_naked) == "0.4"


def test_the_largest_exposure_is_kept_when_it_shrinks() -> None:
    w = fold(maker_world(), fill(maker_world(), 1, "0.5"))
    w = planned(w, draft(size="0.3"), 2)
    w = fold(w, fill(w, 2, "0.3", "h"))
    assert (plain(w.net), plain(w.max_naked)) == ("0.2", "0.5")


def without_mids(w: World, *venues: Venue) -> World:
    for venue in venues:
        leg = w.legs[venue]
        blind = replace(leg, book=None, facts=replace(leg.facts, mark=None))
        w = replace(w, legs={**w.legs, venue: blind})
    return w


def test_without_any_price_all_exposure_counts() -> None:
    dark = without_mids(maker_world(), *Venue)
    assert fold(dark, fill(dark, 1, "0.0001")).naked_since is not None
    half = without_mids(maker_world(), Venue.GRVT)
    assert fold(half, fill(half, 1, "0.0001")).naked_since is None, "the primary's mid will do"
    cheap = with_book(maker_world(), book(bids=[("100", "1")], asks=[("101", "1")]))
    assert fold(cheap, fill(cheap, 1, "0.1")).naked_since is None, "10 quote units are dust there"


def test_REQ_20_each_maker_that_trades_counts_as_one_cycle() -> None:
    w = replace(maker_world(), rejects=3)
    w = fold(w, fill(w, 1, "0.1", "a"))
    assert (w.cycle.cycles, w.rejects) == (1, 0)
    w = fold(w, fill(w, 1, "0.1", "b"))
    assert w.cycle.cycles == 1
    w = planned(w, draft(size="0.2"), 2)
    assert fold(w, fill(w, 2, "0.1", "h")).cycle.cycles == 1, "a hedge is none"
    w = planned(w, replace(maker_draft(Side.SELL), hedge_id=1), 3)
    assert fold(w, fill(w, 3, "0.1", "u")).cycle.cycles == 1, "an undone one neither"


# --- after an end --------------------------------------------------------------------------------


def test_F16_makers_that_the_venue_ends_are_not_hammered() -> None:
    """A quarter of a second, doubled to four."""
    w = world()
    for number, wait in enumerate((0.25, 0.5, 1, 2, 4, 4), 1):
        w = planned(w, maker_draft(), number)
        w = seen(w, says(w, number, status=Status.CANCELLED), 10 * number)
        assert w.rejects == number
        assert w.retry_at == at(10 * number + wait).mono


def test_makers_that_traded_or_that_we_cancelled_are_no_rejections() -> None:
    w = fold(maker_world(), CancelAsked(ONE, at(), "why"))
    w = seen(w, says(w, 1, status=Status.CANCELLED))
    assert (w.rejects, w.retry_at) == (0, 0)
    w = seen(maker_world(), says(maker_world(), 1, status=Status.CANCELLED, cum=qty("0.1")))
    assert (w.rejects, w.retry_at) == (0, 0)
    w = planned(world(), draft())
    assert seen(w, says(w, 1, status=Status.CANCELLED)).rejects == 0, "of the hedge venue"


def unwound(w: World, number: int, cum: str, venue: Venue = Venue.GRVT, when: float = 0) -> World:
    made = replace(draft(), venue=venue, purpose=Purpose.UNWIND, hedge_id=9)
    w = planned(w, made, number)
    return seen(w, says(w, number, status=Status.CANCELLED, cum=qty(cum)), when)


def test_unwind_orders_that_trade_nothing_widen_the_cap_and_avoid_their_venue() -> None:
    w = unwound(unwound(world(), 1, "0", when=1), 2, "0", when=2)
    assert (w.unwind_tries, w.unwind_at, w.avoid) == (2, at(2).mono, Venue.GRVT)
    other = unwound(w, 3, "0.1", Venue.BACKPACK, 3)
    assert (other.unwind_tries, other.unwind_at, other.avoid) == (0, at(3).mono, Venue.GRVT)
    assert unwound(w, 4, "0.1").avoid is None


def test_a_hedge_that_dies_avoids_its_venue_and_one_that_rests_does_not() -> None:
    w = fold(hedge_world(), OrderAnswered(ONE, Verdict.REFUSED, at(), code="X"))
    assert (w.avoid, w.unwind_tries, w.unwind_at) == (Venue.GRVT, 0, 0)
    w = seen(hedge_world(), says(hedge_world(), 1, status=Status.CANCELLED))
    assert w.avoid is None
    w = fold(maker_world(), OrderAnswered(ONE, Verdict.REFUSED, at(), code="X"))
    assert w.avoid is None, "a maker is no reduction"

"""The fold at its edges: what each event leaves behind, and what it must leave alone."""

from dataclasses import replace

import pytest

from strategy.domain import (
    Book,
    ClientId,
    Fill,
    FundingPayment,
    Mode,
    Ns,
    OrderView,
    Position,
    Purpose,
    Quote,
    Side,
    SignedQty,
    Status,
    StreamState,
    Surface,
    Trade,
    Venue,
    nano,
    plain,
)
from strategy.events import (
    Adopted,
    CancelAsked,
    CycleMoved,
    CyclePhase,
    DayBegan,
    FundingSeen,
    HedgeEnded,
    HedgeMoved,
    HedgeStarted,
    LatchMoved,
    LevelsMoved,
    OrderAnswered,
    OrderDead,
    OrderLoaded,
    RoutePhase,
    Seen,
    StopAsked,
    Verdict,
)
from strategy.facts import Level
from strategy.fold import fold, initial, match_order
from strategy.world import Cycle, Hedge, Order, OrderState, World
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
    view,
    with_book,
    with_position,
    world,
)

ONE = ClientId(1)
TWO = ClientId(2)


def maker_world(size: str = "0.5", when: float = 0) -> World:
    return planned(world(), maker_draft(size=size), when=when)


def hedge_world(w: World | None = None, **changes: object) -> World:
    """Hedge 1 runs, and order 1 is its bounded IOC of 0.5 at 3000."""
    begun = HedgeStarted(1, SignedQty(nano("-0.5")), px(3000), px("3000.02"), at().mono, at())
    w = fold(w or with_position(world(), "0.5"), begun)
    made = replace(draft(), hedge_id=1, touch=px("3000.05"))
    return planned(w, replace(made, **changes))  # type: ignore[arg-type]  # field names are checked


def running(w: World) -> Hedge:
    assert w.hedge is not None
    return w.hedge


def order(w: World, number: int = 1) -> Order:
    return w.orders[ClientId(number)]


def says(w: World, number: int, **changes: object) -> OrderView:
    """What the venue says of an order: open, nothing traded, unless changed."""
    event = view(w, number, "0", Status.OPEN).event
    assert isinstance(event, OrderView)
    return replace(event, **changes)  # type: ignore[arg-type]  # field names are checked by replace


def seen(w: World, event: OrderView | Fill | Book | Trade | Position, when: float = 0) -> World:
    return fold(w, Seen(event, at(when), "stream"))


def stranger(venue: Venue = Venue.GRVT, trade: str = "x", **changes: object) -> Fill:
    made = Fill(
        venue, trade, None, "zz", "ETH", Side.BUY, qty("0.5"), px(3000), Quote(nano("0.7")),
        "USDT", False, at().wall,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]  # field names are checked by replace


# --- small events --------------------------------------------------------------------------------


def test_hedges_are_counted_by_their_largest_number() -> None:
    w = replace(world(), hedges=4)
    begun = HedgeStarted(5, SignedQty(1), px(3000), px(3001), at(1).mono, at(2))
    w = fold(w, begun)
    assert w.hedges == 5
    assert running(w) == Hedge(5, SignedQty(1), RoutePhase.PASSIVE, px(3000), px(3001), at(1).mono)
    assert fold(replace(w, hedges=9), begun).hedges == 9


def test_a_phase_change_of_another_hedge_or_of_none_changes_nothing() -> None:
    late = HedgeMoved(2, RoutePhase.CROSS, "x", at(1))
    w = hedge_world()
    assert fold(w, late) is w
    none = world()
    assert fold(none, late) is none


def test_a_hedge_stops_resting_once() -> None:
    w = fold(hedge_world(), HedgeMoved(1, RoutePhase.CROSS, "x", at(1)))
    assert (running(w).phase, running(w).crossed_at) == (RoutePhase.CROSS, at(1).mono)
    w = fold(w, HedgeMoved(1, RoutePhase.CROSS, "again", at(2)))
    assert running(w).crossed_at == at(1).mono
    w = fold(w, HedgeMoved(1, RoutePhase.EMERGENCY, "late", at(3)))
    assert (running(w).phase, running(w).crossed_at) == (RoutePhase.EMERGENCY, at(1).mono)


def test_a_hedge_that_never_crossed_has_no_crossing_time_in_the_emergency() -> None:
    w = fold(hedge_world(), HedgeMoved(1, RoutePhase.EMERGENCY, "late", at(3)))
    assert running(w).crossed_at is None


def test_failed_hedges_are_counted_in_a_row() -> None:
    w = hedge_world()
    for number, failed in enumerate((True, True, False), 1):
        w = fold(w, HedgeEnded(1, failed, at(number)))
        assert w.hedge is None
        assert w.ended_at == at(number).mono
        assert w.failures == (number if failed else 0)


def test_a_stop_stays_asked_and_its_flatten_too() -> None:
    soft = fold(world(), StopAsked(False, at()))
    assert (soft.stopping, soft.flatten_on_stop) == (True, False)
    hard = fold(soft, StopAsked(True, at()))
    assert (hard.stopping, hard.flatten_on_stop) == (True, True)
    assert fold(hard, StopAsked(False, at())).flatten_on_stop


def test_the_latch_the_day_and_the_levels_are_what_was_told() -> None:
    w = fold(world(), LatchMoved(Mode.REDUCING, "margin: low", at()))
    assert (w.mode, w.reason) == (Mode.REDUCING, "margin: low")
    assert fold(w, LatchMoved(Mode.REDUCING, "margin: low", at(1))) is w
    assert fold(w, LatchMoved(Mode.REDUCING, "other", at(1))).reason == "other"
    assert fold(w, LatchMoved(Mode.FLATTENING, "margin: low", at(1))).mode is Mode.FLATTENING
    w = fold(w, DayBegan("2023-11-15", Quote(nano(7)), at()))
    assert (w.day, w.day_baseline) == ("2023-11-15", nano(7))
    level = Level("basis", "x", stops=True)
    assert fold(w, LevelsMoved((level,), at())).levels == (level,)


def test_the_cycle_moves_and_keeps_its_count() -> None:
    w = replace(world(), cycle=Cycle(1, CyclePhase.BUILD, Ns(0), 7))
    w = fold(w, CycleMoved(2, CyclePhase.HOLD, at(3)))
    assert w.cycle == Cycle(2, CyclePhase.HOLD, at(3).mono, 7)


def test_a_new_world_is_as_it_was_told() -> None:
    w = initial(world().legs, Mode.HALTED, "operator")
    assert (w.mode, w.reason, w.orders) == (Mode.HALTED, "operator", {})
    assert initial(world().legs).mode is Mode.RUNNING


def test_a_funding_payment_reaches_its_own_leg() -> None:
    paid = FundingSeen(FundingPayment(Venue.GRVT, "k", Quote(nano("-0.2")), at().wall), at())
    w = fold(fold(world(), paid), paid)
    assert (plain(w.hedge_leg.funding), w.primary.funding) == ("-0.4", 0)


def test_an_adopted_position_costs_its_price_and_starts_the_clock() -> None:
    w = fold(world(), Adopted(Venue.GRVT, SignedQty(nano("-0.5")), px(3000), "policy", at(2)))
    assert plain(w.hedge_leg.position) == "-0.5"
    assert plain(w.hedge_leg.cash) == "1500"
    assert (w.naked_since, plain(w.max_naked)) == (at(2).mono, "0.5")
    w = fold(w, Adopted(Venue.BACKPACK, SignedQty(nano("0.5")), px(3001), "policy", at(4)))
    assert plain(w.primary.cash) == "-1500.5"
    assert w.naked_since is None
    assert w.naked_integral == nano("0.5") * 2 * SECOND


def test_a_venues_own_position_is_kept_beside_the_books() -> None:
    stated = Position(Venue.GRVT, "ETH", SignedQty(nano(3)), at().wall)
    w = seen(world(), stated, 2)
    assert w.hedge_leg.observed is not None
    assert (w.hedge_leg.observed.value, w.hedge_leg.observed.at) == (stated, at(2).mono)
    assert w.hedge_leg.observed.source == "stream"
    assert w.hedge_leg.position == 0
    assert w.primary.observed is None


@pytest.mark.parametrize("surface", list(Surface))
def test_a_stream_that_goes_down_takes_only_its_own_surface(surface: Surface) -> None:
    w = fold(world(), Seen(StreamState(Venue.GRVT, surface, up=False), at(2), "stream"))
    public = surface is Surface.PUBLIC
    assert (w.hedge_leg.public_up, w.hedge_leg.private_up) == (not public, public)
    assert w.hedge_leg.private_since == (0 if public else at(2).mono)
    assert (w.primary.public_up, w.primary.private_up) == (True, True)


# --- notes and the finished ----------------------------------------------------------------------


def test_the_newest_sixteen_notes_are_kept_each_once() -> None:
    w = world()
    for number in range(17):
        for _ in range(2):
            w = seen(w, stranger(trade=f"{number}"))
    assert w.foreign == tuple(f"grvt {number}" for number in range(1, 17))


def ended(w: World, number: int) -> World:
    return fold(planned(w, draft(), number), OrderDead(ClientId(number), "proof", at()))


def test_the_last_256_finished_orders_are_kept_once_twice_as_many_are_there() -> None:
    w = planned(world(), draft(), 1)  # still live: never forgotten
    for number in range(2, 513):
        w = ended(w, number)
    assert len(w.orders) == 512
    w = planned(w, draft(), 513)
    assert len(w.orders) == 258, "256 finished ones and both that live"
    assert set(w.orders) == {1, *range(257, 514)}


def test_live_orders_are_never_forgotten_however_many() -> None:
    w = world()
    for number in range(1, 520):
        w = planned(w, draft(), number)
    assert len(w.orders) == 519


# --- books and trades ----------------------------------------------------------------------------


@pytest.mark.parametrize("side", list(Side))
def test_the_touch_leaves_a_maker_only_when_it_moves_away(side: Side) -> None:
    """A buy at the bid of 3000 is left by a higher bid; a sell at the ask by a lower ask."""
    price = "3000.00" if side is Side.BUY else "3000.05"
    base = planned(world(), maker_draft(side, price=price))

    def moved(w: World, cents: int, when: float) -> World:
        bid, ask = (plain(px(p) + cents * px("0.01")) for p in ("3000.00", "3000.05"))
        return seen(w, book(Venue.BACKPACK, [(bid, "5")], [(ask, "5")]), when)

    assert moved(base, 0, 1).away_since is None
    assert moved(base, -3 * side.value, 1).away_since is None, "the market came to it"
    away = moved(base, side.value, 1)
    assert away.away_since == at(1).mono
    assert moved(away, 2 * side.value, 2).away_since == at(1).mono, "since it first left"
    assert moved(away, 0, 2).away_since is None
    assert planned(away, draft(), 2).away_since == at(1).mono
    assert planned(away, maker_draft(side), 2).away_since is None


def test_a_side_without_levels_has_left_nobody() -> None:
    w = seen(maker_world(), book(Venue.BACKPACK, bids=[]), 1)
    assert w.away_since is None


def test_books_of_the_hedge_venue_do_not_move_the_maker() -> None:
    higher = book(Venue.GRVT, [("3100", "5")], [("3101", "5")])
    assert seen(maker_world(), higher, 1).away_since is None
    away = replace(maker_world(), away_since=Ns(5))
    assert seen(away, book(Venue.GRVT), 1).away_since == 5


def test_without_a_maker_nothing_is_away() -> None:
    away = replace(world(), away_since=Ns(5))
    assert seen(away, book(Venue.BACKPACK), 1).away_since is None
    assert seen(world(), book(Venue.BACKPACK), 1).away_since is None


def test_a_book_is_kept_with_its_time_and_source_and_feeds_the_basis() -> None:
    dearer = book(Venue.GRVT, [("3003.00", "5")], [("3003.05", "5")])
    w = seen(world(), dearer, 2)
    assert w.hedge_leg.book is not None
    assert (w.hedge_leg.book.value, w.hedge_leg.book.at) == (dearer, at(2).mono)
    assert w.basis is not None
    assert plain(w.basis.mean * 1000) == "9.999917"


def test_only_the_hedge_market_feeds_the_flow() -> None:
    primary = seen(world(), book(Venue.BACKPACK), 1)
    assert primary.flow == world().flow
    of = [Trade(v, px(3000), qty(1), Side.SELL, at().wall) for v in Venue]
    assert seen(world(), of[0], 1).flow == world().flow
    assert seen(world(), of[1], 1).flow.volume == qty(1)
    hedge = seen(world(), book(Venue.GRVT), 1)
    assert hedge.flow.buy is not None
    assert hedge.flow.buy.px == px("3000.04"), "one of the venue's own ticks inside"


def resting(side: Side, size: str, price: str, **changes: object) -> World:
    made = replace(draft(side=side, size=size, price=price), post_only=True)
    made = replace(made, **changes)  # type: ignore[arg-type]  # field names are checked by replace
    return fold(planned(world(), made), OrderAnswered(ONE, Verdict.ACCEPTED, at()))


@pytest.mark.parametrize(
    ("side", "size", "price", "ahead"),
    [
        (Side.BUY, "2", "3000.00", "3"),  # 5 are shown, of which 2 are ours
        (Side.SELL, "2", "3000.05", "3"),
        (Side.BUY, "5", "3000.00", "0"),  # nothing but ours
        (Side.BUY, "7", "3000.00", "0"),  # a book that is behind shows less than ours
        (Side.BUY, "1", "2999.99", "5"),
    ],
)
def test_the_flow_is_of_the_market_without_our_own_orders(
    side: Side, size: str, price: str, ahead: str
) -> None:
    """The probe joins the touch of its side, behind what others show there."""
    tight = book(bids=[("3000.00", "5"), ("2999.99", "9")], asks=[("3000.01", "5")])
    if side is Side.SELL:
        tight = book(bids=[("3000.04", "5")], asks=[("3000.05", "5"), ("3000.06", "9")])
    w = seen(resting(side, size, price), tight, 1)
    probe = w.flow.buy if side is Side.BUY else w.flow.sell
    assert probe is not None
    assert plain(probe.ahead) == ahead
    other = w.flow.sell if side is Side.BUY else w.flow.buy
    assert other is not None
    kept = w.hedge_leg.book
    assert kept is not None
    assert kept.value == tight, "the book itself is kept as the venue says it"


@pytest.mark.parametrize("side", list(Side))
def test_only_the_level_at_our_price_is_lessened(side: Side) -> None:
    """With our 5 gone from the touch, the next level is the touch that a probe sees."""
    levels = {Side.BUY: ("2999.98", "2999.90"), Side.SELL: ("3000.03", "3000.11")}[side]
    near, far = levels
    bids, asks = [("2999.98", "5"), ("2999.90", "4")], [("3000.03", "5"), ("3000.11", "4")]
    w = seen(resting(side, "5", near), book(bids=bids, asks=asks), 1)
    opposite = w.flow.sell if side is Side.BUY else w.flow.buy
    assert opposite is not None
    assert opposite.px == px(far) + side.value * px("0.01")


def test_orders_not_known_to_rest_are_not_taken_out_of_the_book() -> None:
    tight = book(bids=[("3000.00", "5")], asks=[("3000.01", "5")])
    sent = planned(world(), replace(draft(side=Side.BUY, size="2"), post_only=True))
    taking = fold(planned(world(), draft(side=Side.BUY, size="2")),
                  OrderAnswered(ONE, Verdict.ACCEPTED, at()))  # fmt: skip
    for w in (sent, taking):
        probe = seen(w, tight, 1).flow.buy
        assert probe is not None
        assert probe.ahead == qty(5)


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
    assert (made.state, made.venue_order_id, made.trades) == (OrderState.LIVE, "v", {"t"})
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
    assert (plain(made.cost), plain(made.fee), made.trades) == ("900", "0.2", {"a", "b"})
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
    w = seen(with_position(world(), "-0.5", "0.5"), closed, 3)
    leg = w.hedge_leg
    assert (plain(leg.position), plain(leg.cash)) == ("0", "1500")
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
        w = replace(w, legs={**w.legs, venue: replace(w.legs[venue], book=None)})
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

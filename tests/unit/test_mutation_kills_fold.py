"""The fold at its edges: small events, notes, books and the market's flow."""

from dataclasses import replace

import pytest

from strategy.domain import (
    ClientId,
    FundingPayment,
    Mode,
    Ns,
    Position,
    Quote,
    Side,
    SignedQty,
    StreamState,
    Surface,
    Trade,
    Venue,
    nano,
    plain,
)
from strategy.events import (
    Adopted,
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
    RoutePhase,
    Seen,
    StopAsked,
    Verdict,
)
from strategy.facts import Level
from strategy.fold import fold
from strategy.world import (
    Cycle,
    Hedge,
    World,
    initial,
)
from tests.builders import (
    SECOND,
    at,
    book,
    draft,
    maker_draft,
    planned,
    px,
    qty,
    with_position,
    world,
)
from tests.unit.fold_rig import (
    ONE,
    hedge_world,
    maker_world,
    running,
    seen,
    stranger,
)
from tests.unit.test_guards_core import Rig

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


def test_S6_a_close_in_many_parts_counts_once_however_often_it_is_told() -> None:
    """The fold knows the newest sixteen parts; of older ones the core asks the journal."""
    rig = Rig(with_position(world(), "0", "-5"))
    parts = [stranger(trade=f"l{n}", forced=True, side=Side.BUY, qty=qty("0.2")) for n in range(20)]
    for source in ("stream", "rest"):
        for part in parts:
            rig.seen(part, source)
    assert plain(rig.w.hedge_leg.position) == "-1"

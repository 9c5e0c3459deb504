"""The alternating cycle: sizes, directions, phases, and what forbids the next order."""

from dataclasses import replace

import pytest

from strategy.decide import decide
from strategy.domain import Mode, Ns, Purpose, Side, Status, Tif, Venue, bps
from strategy.events import CyclePhase, OrderAnswered, Seen, StopAsked, Verdict
from strategy.fold import fold
from strategy.intents import Cancel, Emit, Place, Say
from strategy.params import Params, PrimaryMode
from strategy.world import Cycle, World
from tests.builders import (
    SECOND,
    at,
    book,
    draft,
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


def run(w: World, p: Params, when: float = 0) -> tuple[World, list[Place], list[Cancel]]:
    for _ in range(8):
        intents = decide(w, p, at(when))
        emits = [i for i in intents if isinstance(i, Emit)]
        if not emits:
            places = [i for i in intents if isinstance(i, Place)]
            return w, places, [i for i in intents if isinstance(i, Cancel)]
        for emit in emits:
            w = fold(w, emit.event)
    raise AssertionError("the cycle does not settle")


@pytest.mark.parametrize(("iteration", "side"), [(1, Side.BUY), (2, Side.SELL), (3, Side.BUY)])
def test_odd_iterations_buy_first_even_ones_sell_first(iteration: int, side: Side) -> None:
    w = replace(world(), cycle=Cycle(iteration))
    _, (place,), _ = run(w, params())
    assert place.draft.side is side
    assert place.draft.purpose is Purpose.OPEN
    assert not place.draft.reduce_only


@pytest.mark.parametrize(
    ("mode", "buy", "sell", "tif"),
    [
        (PrimaryMode.BBO, "3000.00", "3000.05", Tif.GTC),
        (PrimaryMode.BBO_MINUS_1, "2999.99", "3000.06", Tif.GTC),
        (PrimaryMode.AGGRESSIVE, "3001.55", "2998.5", Tif.IOC),
    ],
)
def test_primary_modes(mode: PrimaryMode, buy: str, sell: str, tif: Tif) -> None:
    for iteration, price in ((1, buy), (2, sell)):
        w = replace(world(), cycle=Cycle(iteration))
        _, (place,), _ = run(w, params(primary_mode=mode))
        assert place.draft.px == px(price)
        assert place.draft.tif is tif
        assert place.draft.post_only is (tif is Tif.GTC)


def test_build_repeats_size_steps_up_to_max_position() -> None:
    p = params(size=qty("0.4"), max_position=qty("1"))
    w = with_position(world(), "0.8", "-0.8")
    _, (place,), _ = run(w, p)
    assert place.draft.qty == qty("0.2")


def test_build_ends_at_max_position_and_unwinds_reduce_only() -> None:
    w, (place,), _ = run(with_position(world(), "0.5", "-0.5"), params())
    assert w.cycle.phase is CyclePhase.UNWIND
    assert place.draft.reduce_only
    assert place.draft.side is Side.SELL
    assert place.draft.purpose is Purpose.CLOSE


@pytest.mark.parametrize(("held", "expected"), [("0.3", "0.3"), ("0.7", "0.5"), ("-0.1", "0.1")])
def test_REQ_20_unwind_is_the_smaller_of_size_and_remaining(held: str, expected: str) -> None:
    hedge = held[1:] if held.startswith("-") else f"-{held}"
    w = replace(with_position(world(), held, hedge), cycle=Cycle(1, CyclePhase.UNWIND))
    _, (place,), _ = run(w, params())
    assert place.draft.qty == qty(expected)
    assert place.draft.side is (Side.BUY if held.startswith("-") else Side.SELL)
    assert place.draft.reduce_only


def test_hold_lasts_as_long_as_sleep() -> None:
    p = params(sleep=Ns(10 * SECOND))
    w, places, _ = run(with_position(world(), "0.5", "-0.5"), p)
    assert w.cycle.phase is CyclePhase.HOLD
    assert places == []
    w = with_book(with_book(w, book(Venue.BACKPACK), 10), book(), 10)
    w, places, _ = run(w, p, 10)
    assert w.cycle.phase is CyclePhase.UNWIND
    assert len(places) == 1


def test_the_last_iteration_ends_the_run() -> None:
    w = replace(world(), cycle=Cycle(3, CyclePhase.UNWIND))
    w, places, _ = run(w, params(iterations=3))
    assert w.cycle.phase is CyclePhase.DONE
    assert places == []


def test_zero_iterations_never_end() -> None:
    w = replace(world(), cycle=Cycle(999, CyclePhase.UNWIND))
    w, places, _ = run(w, params(iterations=0))
    assert (w.cycle.iteration, w.cycle.phase) == (1000, CyclePhase.BUILD)
    assert len(places) == 1


def test_REQ_18_no_next_maker_while_unhedged() -> None:
    _, places, _ = run(with_position(world(), "0.3", "-0.2"), params())
    assert all(p.draft.venue is Venue.GRVT for p in places)
    assert len(places) == 1


def test_REQ_18_no_next_maker_while_an_order_is_in_doubt() -> None:
    w = planned(with_position(world(), "0.3", "-0.3"), draft())
    w = fold(w, OrderAnswered(w.orders[next(iter(w.orders))].request.client_id,
                              Verdict.IN_DOUBT, at()))  # fmt: skip
    _, places, _ = run(w, params())
    assert places == []


def test_one_maker_at_a_time() -> None:
    _, places, cancels = run(planned(world(), maker_draft()), params())
    assert (places, cancels) == ([], [])


def test_a_maker_left_behind_by_the_touch_is_requoted_after_fill_timeout() -> None:
    w = planned(world(), maker_draft())
    w = fold(w, view(w, 1, "0", Status.OPEN))
    up = [("3000.50", "5")], [("3000.55", "5")]
    moved = book(Venue.BACKPACK, *up)
    for when in (1.0, 5.9, 6.1):
        w = with_book(w, book(), when)
        seen = view(w, 1, "0", Status.OPEN, when)
        w = fold(w, replace(seen, event=moved))
        _, _, cancels = run(w, params(), when)
        assert bool(cancels) is (when > 6)


def test_a_maker_at_the_touch_rests_on() -> None:
    w = planned(world(), maker_draft())
    for when in (2, 20):
        w = with_book(with_book(w, book(Venue.BACKPACK), when), book(), when)
        assert run(w, params(), when)[2] == []


def test_REQ_19_no_maker_beyond_what_the_hedge_venue_absorbs() -> None:
    thin = book(bids=[("3000.00", "0.1234")], asks=[("3000.05", "9")])
    _, (place,), _ = run(with_book(world(), thin), params())
    assert place.draft.qty == qty("0.12")
    dry = book(bids=[("3000.00", "0.004")], asks=[("3000.05", "9")])
    assert run(with_book(world(), dry), params())[1] == []


def test_a_resting_maker_is_withdrawn_when_the_hedge_book_goes_stale() -> None:
    w = planned(world(), maker_draft())
    w = with_book(w, book(Venue.BACKPACK), 5)
    _, _, cancels = run(w, params(), 5)
    assert [c.why for c in cancels] == ["grvt book is stale, one-sided or crossed"]


@pytest.mark.parametrize("venue", list(Venue))
def test_S9_no_maker_without_both_private_streams(venue: Venue) -> None:
    w = world()
    legs = {**w.legs, venue: replace(w.legs[venue], private_up=False)}
    intents = decide(replace(w, legs=legs), params(), at())
    assert not [i for i in intents if isinstance(i, Place)]
    (said,) = [i for i in intents if isinstance(i, Say)]
    assert dict(said.fields)["why"] == f"{venue} private stream is down"


def test_REQ_22_stopping_cancels_the_maker_and_opens_nothing() -> None:
    w = fold(planned(world(), maker_draft()), StopAsked(False, at()))
    _, places, cancels = run(w, params())
    assert places == []
    assert [c.why for c in cancels] == ["stopping"]


def test_a_latched_mode_cancels_the_maker_and_opens_nothing() -> None:
    w = replace(planned(world(), maker_draft()), mode=Mode.REDUCING, reason="max_daily_loss")
    _, places, cancels = run(w, params())
    assert (places, len(cancels)) == ([], 1)


def test_REQ_29_min_spread_gates_openings_on_the_edge_over_the_basis() -> None:
    base = book(Venue.BACKPACK)
    hedge = book(bids=[("3003.00", "5")], asks=[("3003.05", "5")])
    w = with_book(world(), hedge)
    for when in range(3):  # a constant basis of 10 bps is no edge
        for value in (base, hedge):
            seen = replace(view_of(w), event=value)
            w = fold(w, replace(seen, at=at(when)))
    assert run(w, params(min_spread=bps(2)), 2)[1] == []
    rich = book(bids=[("3004.50", "5")], asks=[("3004.55", "5")])
    assert len(run(with_book(w, rich, 2), params(min_spread=bps(2)), 2)[1]) == 1


def test_REQ_29_min_spread_never_gates_a_close() -> None:
    w = replace(with_position(world(), "0.5", "-0.5"), cycle=Cycle(1, CyclePhase.UNWIND))
    assert len(run(w, params(min_spread=bps(50)))[1]) == 1


def test_an_adopted_position_the_wrong_way_round_is_unwound_first() -> None:
    w, (place,), _ = run(with_position(world(), "-0.2", "0.2"), params())
    assert w.cycle.phase is CyclePhase.UNWIND
    assert place.draft.side is Side.BUY


def view_of(w: World) -> Seen:
    return view(planned(w, maker_draft()), 1, "0", Status.OPEN)

"""The router to the unit: what it says, when exactly it moves, and the limit of each order."""

from dataclasses import replace

import pytest

from strategy.cost import Estimate
from strategy.decide import decide
from strategy.domain import (
    BPS_ONE,
    Book,
    ClientId,
    Draft,
    Instrument,
    Now,
    Ns,
    Observed,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Venue,
    bps,
    nano,
    plain,
)
from strategy.events import CancelAsked, HedgeMoved, OrderAnswered, RoutePhase, Verdict
from strategy.fold import fold
from strategy.intents import Cancel, Emit, Intent, Place, Say
from strategy.params import Params
from strategy.router import HedgeTask, _split, _tend, place_iterative_market_order
from strategy.world import Hedge, World
from tests.builders import (
    GRVT,
    SECOND,
    WALL,
    at,
    book,
    draft,
    params,
    planned,
    px,
    qty,
    with_book,
    with_position,
    world,
)

AT_ONCE = params(passive=Ns(0))
PATIENT = params(risk_aversion=0)
SIGNS = pytest.mark.parametrize("sign", [1, -1])


def hedging(w: World, phase: RoutePhase = RoutePhase.CROSS, **changes: object) -> World:
    """Hedge 1 runs since second 0; its arrival is that of the standard book."""
    sign = -1 if w.net > 0 else 1
    touch = px("3000.00") if sign < 0 else px("3000.05")
    hedge = Hedge(1, SignedQty(-w.net), phase, touch, px("3000.025"), at().mono)
    if phase is RoutePhase.CROSS:
        hedge = replace(hedge, crossed_at=at().mono)
    return replace(w, hedge=replace(hedge, **changes), hedges=1)  # type: ignore[arg-type]  # fields


def naked(size: str = "0.5", sign: int = 1) -> World:
    """``sign`` 1: the primary is long, so the hedge sells."""
    return with_position(world(), plain(sign * nano(size)))


def rules(w: World, instrument: Instrument) -> World:
    return replace(w, legs={**w.legs, Venue.GRVT: replace(w.hedge_leg, instrument=instrument)})


def task(w: World, **changes: object) -> HedgeTask:
    assert w.hedge is not None
    assert w.hedge_leg.book is not None
    made = HedgeTask(
        hedge=w.hedge,
        need=-w.net,
        uncovered=-w.net,
        live=tuple(w.live(Venue.GRVT)),
        leg=w.hedge_leg,
        book=w.hedge_leg.book.value,
        reduce_only=False,
        rest_until=at(9).mono,
        stop_at=at(15).mono,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # field names are checked by replace


def drafts(intents: list[Intent]) -> list[Draft]:
    return [i.draft for i in intents if isinstance(i, Place)]


def placed(w: World, when: float = 0, p: Params = AT_ONCE) -> list[Draft]:
    return drafts(decide(w, p, at(when)))


def cancels(intents: list[Intent]) -> list[Cancel]:
    return [i for i in intents if isinstance(i, Cancel)]


def says(intents: list[Intent]) -> list[Say]:
    return [i for i in intents if isinstance(i, Say)]


def moves(intents: list[Intent]) -> list[HedgeMoved]:
    return [i.event for i in intents if isinstance(i, Emit) and isinstance(i.event, HedgeMoved)]


def resting(w: World, size: str = "0.5", price: str = "3000.01", when: float = 0) -> World:
    """With order 1 of the running hedge at rest."""
    side = Side.SELL if w.net > 0 else Side.BUY
    made = replace(draft(side=side, size=size, price=price), hedge_id=1, post_only=True)
    w = planned(w, made, when=when)
    return fold(w, OrderAnswered(ClientId(1), Verdict.ACCEPTED, at(when)))


# --- what is said --------------------------------------------------------------------------------


def test_a_hedge_at_rest_says_its_price_its_reason_and_its_age() -> None:
    w = hedging(naked(), RoutePhase.PASSIVE)
    (said,) = says(decide(w, PATIENT, at(0.5)))
    assert (said.tag, said.event, said.level) == ("SMART_ROUTING", "passive", "info")
    assert said.key == f"h-1:{px('3000.01')}"
    fields = dict(said.fields)
    assert str(fields.pop("why")).startswith("cross ")
    assert fields == {"price": "3000.01", "age_ms": 500, "hedge": "h-1"}


def test_a_late_hedge_says_what_remains_cancels_what_lives_and_moves_on() -> None:
    w = resting(hedging(naked()))
    late = task(w, stop_at=at(7).mono)
    assert place_iterative_market_order(late, PATIENT, at(6.999)) != []
    intents = place_iterative_market_order(late, PATIENT, at(7))
    assert cancels(intents) == [Cancel(ClientId(1), "deadline")]
    fields = (("hedge", "h-1"), ("remaining", "0.5"), ("elapsed_ms", 7000))
    assert says(intents) == [Say("SMART_ROUTING", "timeout", "warning", "1", fields)]
    assert moves(intents) == [HedgeMoved(1, RoutePhase.EMERGENCY, "deadline", at(7))]


def test_a_fallback_is_a_warning_of_its_hedge_also_while_the_other_side_nets() -> None:
    w = hedging(naked())
    w = replace(w, legs={**w.legs, Venue.GRVT: replace(w.hedge_leg, book=None)})
    why = "hedge book: no_book"
    fields = (("why", why), ("hedge", "h-1"))
    told = Say("SMART_ROUTING", "degraded", "warning", f"h-1:{why}", fields)
    assert told in decide(w, AT_ONCE, at())
    w = planned(w, replace(draft(side=Side.BUY), hedge_id=1))
    intents = decide(w, AT_ONCE, at())
    assert told in intents
    assert drafts(intents) == []


def test_too_little_liquidity_is_a_warning_with_its_figures() -> None:
    thin = book(bids=[("3000.00", "0.2"), ("2990.00", "9")])
    (said, _) = says(decide(with_book(hedging(naked()), thin), AT_ONCE, at()))
    fields = (
        ("hedge", "h-1"), ("need", "0.5"), ("available", "0.2"), ("cap_bps", "5.00"),
        ("why", "beyond_cap"),
    )  # fmt: skip
    assert said == Say("SMART_ROUTING", "insufficient_liquidity", "warning", "1:beyond_cap", fields)


@pytest.mark.parametrize(("bid", "jumped"), [("3015", False), ("3015.01", True), ("2985", False),
                                             ("2984.99", True)])  # fmt: skip
def test_F64_the_market_jumped_when_it_moved_by_more_than_the_emergency_cap(
    bid: str, jumped: bool
) -> None:
    moved = book(bids=[(bid, "9")], asks=[(plain(px(bid) + px("0.05")), "9")])
    whys = [dict(s.fields)["why"] for s in says(decide(with_book(hedging(naked()), moved),
                                                       AT_ONCE, at()))]  # fmt: skip
    assert ("the hedge market jumped" in whys) is jumped


@pytest.mark.parametrize(("age", "why"), [(3, "crossed"), (3.001, "stale")])
def test_a_book_is_stale_only_beyond_its_bound(age: float, why: str) -> None:
    crossed = book(bids=[("3000.10", "5")])
    (short, _) = sorted(
        says(decide(with_book(hedging(naked()), crossed), AT_ONCE, at(age))), key=lambda s: s.key
    )
    assert dict(short.fields)["why"] == why


# --- when it moves -------------------------------------------------------------------------------


def test_a_resting_order_moves_from_its_seventy_fifth_millisecond_by_the_smallest_tick() -> None:
    atom = replace(GRVT, tick=Px(1))
    w = rules(hedging(naked(), RoutePhase.PASSIVE), atom)
    held = resting(w, price="3000.000000001")
    assert cancels(decide(held, PATIENT, at(0.075))) == []
    behind = resting(w, price="3000.000000002")
    assert cancels(decide(behind, PATIENT, at(0.074))) == []
    (cancel,) = cancels(decide(behind, PATIENT, at(0.075)))
    assert cancel.why == "re-peg"


def priced(worth: str) -> Estimate:
    return Estimate(px("3000.01"), bps(5), bps(1), Ns(0), 0, bps(0), bps(0), qty(worth))


@pytest.mark.parametrize(("worth", "cut"), [("0.24", True), ("0.25", False), ("0.4", False)])
def test_a_resting_order_is_cut_down_below_half_of_its_worth_only(worth: str, cut: bool) -> None:
    w = resting(hedging(naked(), RoutePhase.PASSIVE))
    intents = _tend(task(w), priced(worth), qty(worth), PATIENT, at(1))
    assert [c.client_id for c in cancels(intents)] == [1] * cut


def test_S1_an_order_for_more_than_is_left_is_cancelled_and_asked_again_a_second_later() -> None:
    w = resting(hedging(naked(), RoutePhase.PASSIVE))
    w = fold(replace(w, legs=naked("0.3").legs), CancelAsked(ClientId(1), at(1), "x"))
    asked = [cancels(decide(w, PATIENT, at(1 + later))) for later in (0.5, 0.999, 1)]
    assert [len(found) for found in asked] == [0, 0, 1]


def test_what_is_worth_resting_in_full_rests_whatever_its_notional_there() -> None:
    """0.01 is 20 quote units at the mid, and less at the bid: it waits, and does not cross."""
    edge = book(bids=[("1999.90", "9")], asks=[("2000.10", "9")])
    w = hedging(with_book(naked("0.01"), edge), RoutePhase.PASSIVE, arrival_touch=px("1999.90"))
    intents = decide(w, PATIENT, at())
    assert moves(intents) == []
    assert drafts(intents) == []


def test_an_opposite_order_in_doubt_takes_no_room_at_rest() -> None:
    w = hedging(naked(), RoutePhase.PASSIVE)
    w = planned(w, replace(draft(side=Side.BUY, size="0.3"), hedge_id=1, post_only=True))
    w = fold(w, OrderAnswered(ClientId(1), Verdict.IN_DOUBT, at(), message="timeout"))
    (made,) = placed(w, p=PATIENT)
    assert (made.post_only, made.qty) == (True, qty("0.5"))


def test_nothing_worth_resting_rests_nothing_not_even_the_smallest_lot() -> None:
    atom = replace(GRVT, step=Qty(1), min_qty=Qty(0), min_notional=Quote(0))
    w = rules(hedging(naked(), RoutePhase.PASSIVE), atom)
    (made,) = drafts(_split(task(w), priced("0"), Qty(0), PATIENT, at()))
    assert (made.post_only, made.qty) == (False, qty("0.5"))


@SIGNS
def test_a_resting_order_remembers_the_touch_that_crossing_would_pay(sign: int) -> None:
    (made,) = placed(hedging(naked(sign=sign), RoutePhase.PASSIVE), p=PATIENT)
    touch, own = ("3000", "3000.01") if sign > 0 else ("3000.05", "3000.04")
    assert (plain(made.touch), plain(made.px)) == (touch, own)


def test_a_refused_order_is_followed_after_twice_the_pace_to_the_moment() -> None:
    w = hedging(naked(), refusals=1, last_over_at=at(1).mono)
    assert placed(w, 1.149) == []
    assert len(placed(w, 1.15)) == 1


def test_the_next_taking_order_waits_for_a_newer_book_and_for_the_pace() -> None:
    w = hedging(naked(), took_at=at(1).mono, last_over_at=at(1).mono)
    same = with_book(w, book(), 1)
    assert placed(same, 1.2) == [], "a book of that very moment may not show it yet"
    newer = with_book(w, book(), 1.05)
    assert placed(newer, 1.074) == []
    assert len(placed(newer, 1.075)) == 1


def test_a_first_order_waits_for_nothing_however_young_the_clock_is() -> None:
    w = hedging(naked(), crossed_at=Ns(1), fill_at=Ns(1))
    leg = replace(w.hedge_leg, book=Observed(book(), Ns(1), "stream"))
    w = replace(w, legs={**w.legs, Venue.GRVT: leg})
    assert len(drafts(decide(w, AT_ONCE, Now(Ns(5), Ns(WALL))))) == 1


# --- the limit of an order -----------------------------------------------------------------------


def around(touch: int, sign: int) -> Book:
    """The hedge venue's book with the touch that the hedge takes."""
    far = Px(touch + sign * nano("0.05"))
    level, other = ((Px(touch), qty(9)),), ((far, qty(9)),)
    bids, asks = (level, other) if sign > 0 else (other, level)
    return Book(Venue.GRVT, bids, asks, Ns(WALL))


@SIGNS
@pytest.mark.parametrize(
    ("touch", "limit"),
    [
        (nano(-1), nano(-1)),  # the book moved away: the limit follows it
        (nano(0), nano(0)),
        (nano("0.10"), nano(0)),  # it came back: the limit stays where it was
        (nano(30), None),  # but never beyond the cap
    ],
)
def test_S10_a_second_order_beside_a_live_one_never_steps_back_from_the_book(
    sign: int, touch: int, limit: int | None
) -> None:
    """Figures are from the last limit, positive in our favour; ``sign`` 1 sells."""
    last = nano(3000)
    shown = around(last + sign * touch, sign)
    w = with_book(hedging(naked(sign=sign), last_px=Px(last)), shown)
    (made,) = placed(w)
    cap = (last + sign * touch) * (BPS_ONE - sign * bps(5)) // BPS_ONE
    assert abs(made.px - (cap if limit is None else last + sign * limit)) < GRVT.tick
    assert (made.side, made.life) == (Side.SELL if sign > 0 else Side.BUY, 5 * SECOND)


@SIGNS
def test_S10_a_book_that_came_back_by_the_smallest_tick_leaves_the_limit(sign: int) -> None:
    w = rules(hedging(naked(sign=sign), last_px=px(3000)), replace(GRVT, tick=Px(1)))
    (made,) = placed(with_book(w, around(nano(3000) + sign, sign)))
    assert made.px == px(3000)

"""Every bad book and unwilling venue has one reaction, and none is silent (issue 4, item 6)."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from daemon.metrics import RunMetrics
from daemon.narrator import Narrator
from strategy.domain import BPS_ONE, Book, ClientId, Mode, Ns, Observed, Side, Status, Tif, Venue
from strategy.events import HedgeEnded, OrderAnswered, RoutePhase, Verdict
from strategy.fold import fold
from strategy.intents import Cancel, Emit, Intent, Place, Say
from strategy.params import Params
from strategy.router import MAX_PASSIVE_REFUSALS, PACE
from strategy.world import World
from tests.builders import (
    SECOND,
    at,
    book,
    draft,
    fill,
    maker_draft,
    params,
    planned,
    px,
    qty,
    view,
    with_book,
    world,
)
from tests.harness import Harness, Sink
from tests.unit.test_router import (
    AT_ONCE,
    cancels,
    exposed,
    fresh,
    phase,
    placed,
    resting,
    step,
)

CROSSED = book(bids=[("3000.05", "5")], asks=[("3000.05", "5")])
ONE_SIDED = book(bids=[])
OTHER_SIDED = book(asks=[])
EMPTY = book(bids=[], asks=[])


def without_book(w: World, when: float) -> World:
    legs = {**w.legs, Venue.GRVT: replace(w.hedge_leg, book=None)}
    return with_book(replace(w, legs=legs), book(Venue.BACKPACK), when)


def gapped(w: World, when: float) -> World:
    """The stream lost a message: its adapter says that it is down until the next snapshot."""
    w = fresh(w, when)
    return replace(w, legs={**w.legs, Venue.GRVT: replace(w.hedge_leg, public_up=False)})


def healed(w: World, when: float) -> World:
    w = fresh(w, when)
    return replace(w, legs={**w.legs, Venue.GRVT: replace(w.hedge_leg, public_up=True)})


def stale(w: World, when: float) -> World:
    return with_book(fresh(w, when), book(), when - 3.001)


def shown(value: Book) -> Callable[[World, float], World]:
    return lambda w, when: fresh(w, when, value)


BAD_BOOKS = [
    pytest.param(without_book, "no_book", id="none"),
    pytest.param(gapped, "stream_down", id="gapped"),
    pytest.param(stale, "stale", id="stale"),
    pytest.param(shown(EMPTY), "empty", id="empty"),
    pytest.param(shown(ONE_SIDED), "one_sided", id="one-sided"),
    pytest.param(shown(OTHER_SIDED), "one_sided", id="other-sided"),
    pytest.param(shown(CROSSED), "crossed", id="crossed"),
]
bad_books = pytest.mark.parametrize(("spoil", "why"), BAD_BOOKS)
Spoil = Callable[[World, float], World]


def said(intents: list[Intent], event: str) -> list[dict[str, str | int]]:
    return [dict(i.fields) for i in intents if isinstance(i, Say) and i.event == event]


def whys(intents: list[Intent]) -> list[str | int]:
    return list(dict.fromkeys(fields["why"] for fields in said(intents, "degraded")))


# --- books that nothing can be decided on --------------------------------------------------------


@bad_books
def test_without_a_usable_book_a_hedge_waits_and_says_so(spoil: Spoil, why: str) -> None:
    w, _ = step(exposed(), params(), 0)
    w, intents = step(spoil(w, 4), params(), 4)
    assert not [i for i in intents if isinstance(i, Place | Cancel)]
    assert whys(intents) == [f"hedge book: {why}"]
    assert phase(w) is RoutePhase.PASSIVE


@bad_books
def test_what_rests_stays_while_the_book_is_unusable(spoil: Spoil, why: str) -> None:
    """It is bounded in price, size and life, and a book that is gone gives no reason to cross."""
    w, _ = resting(params())
    w, intents = step(spoil(w, 4), params(), 4)
    assert not [i for i in intents if isinstance(i, Place | Cancel)]
    assert whys(intents) == [f"hedge book: {why}"]
    assert step(healed(w, 4.1), params(), 4.1)[1] == [], "back to normal, nothing more to say"


@bad_books
def test_a_crossing_waits_for_a_usable_book_and_names_what_is_missing(
    spoil: Spoil, why: str
) -> None:
    w, _ = step(spoil(exposed(), 4), AT_ONCE, 4)
    assert phase(w) is RoutePhase.CROSS
    w, intents = step(w, AT_ONCE, 4)
    assert not placed(intents)
    (fields,) = said(intents, "insufficient_liquidity")
    assert (fields["need"], fields["available"], fields["why"]) == ("0.5", "0", why)
    assert whys(intents) == [f"hedge book: {why}"]
    (place,) = placed(step(healed(w, 5), AT_ONCE, 5)[1])
    assert (place.draft.tif, place.draft.qty) == (Tif.IOC, qty("0.5"))


@bad_books
def test_the_deadline_needs_no_book(spoil: Spoil, why: str) -> None:
    w, _ = resting(params())
    w, intents = step(spoil(w, 15), params(), 15)
    assert phase(w) is RoutePhase.EMERGENCY, why
    assert [i.client_id for i in cancels(intents)] == [2]


@bad_books
def test_resting_ends_in_time_without_a_book(spoil: Spoil, why: str) -> None:
    w, _ = resting(params())
    w, intents = step(spoil(w, 13), params(), 13)
    assert phase(w) is RoutePhase.CROSS, why
    assert [i.client_id for i in cancels(intents)] == [2]


# --- thin books ----------------------------------------------------------------------------------


def test_a_thin_book_gives_what_it_has_and_the_rest_waits_for_a_newer_one() -> None:
    thin = book(bids=[("3000.00", "0.2"), ("2990.00", "9")])
    w, intents = step(with_book(exposed(), thin), AT_ONCE, 0)
    (place,) = placed(intents)
    assert (place.draft.qty, place.draft.px) == (qty("0.2"), px("3000.00"))
    assert whys(intents) == ["hedge book: beyond_cap"]
    w = planned(w, place.draft, 2)
    w = fold(w, view(w, 2, "0.2", Status.FILLED, 0.1))
    assert not placed(step(w, AT_ONCE, 0.3)[1])
    (place,) = placed(step(fresh(w, 0.3, thin), AT_ONCE, 0.3)[1])
    assert place.draft.qty == qty("0.2")


def test_a_book_without_one_tradable_lot_within_the_cap_gets_no_order() -> None:
    dust = book(bids=[("3000.00", "0.005"), ("2990.00", "9")])
    _, intents = step(with_book(exposed(), dust), AT_ONCE, 0)
    assert not placed(intents)
    (fields,) = said(intents, "insufficient_liquidity")
    assert (fields["available"], fields["why"]) == ("0.005", "beyond_cap")


def test_a_book_that_ends_within_the_cap_is_exhausted() -> None:
    short = book(bids=[("3000.00", "0.3")])
    _, intents = step(with_book(exposed(), short), AT_ONCE, 0)
    assert whys(intents) == ["hedge book: exhausted"]
    assert placed(intents)[0].draft.qty == qty("0.3")


def test_a_thin_book_does_not_stop_an_order_from_resting() -> None:
    _, intents = step(with_book(exposed(), book(bids=[("3000.00", "0.02")])), params(), 0)
    (place,) = placed(intents)
    assert (place.draft.post_only, place.draft.qty) == (True, qty("0.5"))
    assert whys(intents) == []


# --- jumping books -------------------------------------------------------------------------------


def within_cap(place: Place, touch: str, p: Params) -> bool:
    made = place.draft
    return (made.px - px(touch)) * made.side.value * BPS_ONE <= px(touch) * p.cap


@pytest.mark.parametrize("touch", ["2850.00", "2984.00", "3016.00", "3150.00"])
def test_a_jump_is_re_referenced_and_said(touch: str) -> None:
    """F64: the cap is measured from the touch of the decision, never from the arrival."""
    w, _ = step(exposed(), params(), 0)
    jumped = book(bids=[(touch, "5")], asks=[("3200.00", "5")])
    w, intents = step(fresh(w, 1, jumped), AT_ONCE, 1)
    assert whys(intents) == ["the hedge market jumped"]
    (place,) = placed(intents)
    assert place.draft.touch == px(touch)
    assert within_cap(place, touch, params())


def test_a_move_within_the_emergency_cap_is_no_jump() -> None:
    w, _ = step(exposed(), params(), 0)
    moved = book(bids=[("2986.00", "5")], asks=[("2986.05", "5")])
    assert whys(step(fresh(w, 1, moved), params(), 1)[1]) == []


def test_a_resting_order_follows_a_jump_the_same_way_as_any_move() -> None:
    w, number = resting(params())
    jumped = book(bids=[("2850.00", "5")], asks=[("2850.05", "5")])
    w, intents = step(fresh(w, 1, jumped), params(), 1)
    assert [i.why for i in cancels(intents)] == ["re-peg"]
    w = fold(w, view(w, number, "0", Status.CANCELLED, 1.1))
    (place,) = placed(step(fresh(w, 1.2, jumped), params(), 1.2)[1])
    assert place.draft.px == px("2850.01")


def test_F67_an_order_that_missed_is_repeated_at_the_cap_of_the_next_book() -> None:
    w, intents = step(exposed(), AT_ONCE, 0)
    w = planned(w, placed(intents)[0].draft, 2)
    w = fold(w, view(w, 2, "0", Status.CANCELLED, 0.1, "IOC"))
    gone = book(bids=[("2990.00", "0.2"), ("2989.90", "5")])
    (place,) = placed(step(fresh(w, 0.3, gone), AT_ONCE, 0.3)[1])
    assert (place.draft.px, place.draft.qty) == (px("2988.51"), qty("0.5"))


def test_a_book_that_jumps_back_never_draws_the_limit_beyond_the_cap() -> None:
    p = AT_ONCE
    w, intents = step(with_book(exposed(), book(bids=[("2950.00", "9")])), p, 0)
    w = planned(w, placed(intents)[0].draft, 2)
    w = fold(w, view(w, 2, "0", Status.CANCELLED, 0.1, "IOC"))
    (place,) = placed(step(fresh(w, 0.3), p, 0.3)[1])
    assert place.draft.px == px("2998.50"), "five bps below 3000.00, not 2950.00"
    assert within_cap(place, "3000.00", p)


# --- a venue that says no ------------------------------------------------------------------------


No = Callable[[World, int, float], World]


def refuse(w: World, number: int, when: float, code: str = "1006") -> World:
    answer = OrderAnswered(ClientId(number), Verdict.REFUSED, at(when), code=code, message="no")
    return fold(w, answer)


def reject(w: World, number: int, when: float) -> World:
    """The refusal comes by the order stream, after the order was acknowledged."""
    return fold(w, view(w, number, "0", Status.REJECTED, when, "MARGIN"))


def reject_post_only(w: World, number: int, when: float) -> World:
    if not w.orders[ClientId(number)].request.post_only:
        return reject(w, number, when)
    return fold(w, view(w, number, "0", Status.REJECTED, when, "FAIL_POST_ONLY"))


def refusals(no: No, p: Params) -> tuple[World, list[float], list[Tif]]:
    """Refuse every order until the deadline; return when and as what each was sent."""
    w, number = exposed(), 1
    sent: list[float] = []
    kinds: list[Tif] = []
    for tick in range(1, 301):
        when = tick / 20
        w, intents = step(fresh(w, when), p, when)
        for place in placed(intents):
            number += 1
            sent.append(when)
            kinds.append(place.draft.tif)
            w = no(planned(w, place.draft, number, when), number, when + 0.01)
        if phase(w) is RoutePhase.EMERGENCY:
            return w, sent, kinds
    return w, sent, kinds


@pytest.mark.parametrize("no", [refuse, reject, reject_post_only])
def test_refused_passive_orders_make_it_cross(no: No) -> None:
    w, sent, kinds = refusals(no, params())
    assert kinds[: MAX_PASSIVE_REFUSALS + 1] == [Tif.GTC] * MAX_PASSIVE_REFUSALS + [Tif.IOC]
    assert set(kinds[MAX_PASSIVE_REFUSALS:]) == {Tif.IOC}
    assert phase(w) is RoutePhase.EMERGENCY, "and at the deadline the emergency path takes over"
    gaps = [later - sooner for sooner, later in pairwise(sent)]
    late = MAX_PASSIVE_REFUSALS if no is reject_post_only else 0
    for count, gap in enumerate(gaps, 1):
        wanted = (PACE << min(max(count - late, 0), 4)) / SECOND
        assert wanted <= gap <= wanted + 0.15, f"back-off after {count} refusals"
    assert len(sent) < 20, "a venue that throttles is not hammered"


def test_a_venue_that_refuses_is_said_and_avoided() -> None:
    w, _, _ = refusals(refuse, params())
    assert w.hedge is not None
    assert w.hedge.refusals > MAX_PASSIVE_REFUSALS
    assert w.avoid is Venue.GRVT, "the emergency path tries the other leg first"
    w, intents = step(exposed(), params(), 0)
    assert w.hedge is not None
    w = replace(w, hedge=replace(w.hedge, refusals=MAX_PASSIVE_REFUSALS))
    assert "orders are refused" in whys(step(w, params(), 0)[1])
    assert whys(intents) == []


def test_one_order_that_is_taken_ends_the_back_off() -> None:
    w, _ = resting(params())
    w = refuse(w, 2, 0.1)
    assert not placed(step(fresh(w, 0.2), params(), 0.2)[1])
    w, intents = step(fresh(w, 0.3), params(), 0.3)
    w = planned(w, placed(intents)[0].draft, 3, 0.3)
    w = fold(w, view(w, 3, "0.1", Status.CANCELLED, 0.4))
    assert w.hedge is not None
    assert w.hedge.refusals == 0
    assert placed(step(fresh(w, 0.45), params(), 0.45)[1])


def test_an_order_that_came_too_late_only_waits_for_the_next_book() -> None:
    w, _ = resting(params())
    w = reject_post_only(w, 2, 0.1)
    assert w.hedge is not None
    assert (w.hedge.refusals, w.hedge.missed) == (0, 1)
    assert not placed(step(fresh(w, 0.15), params(), 0.15)[1])
    assert placed(step(fresh(w, 0.2), params(), 0.2)[1])


def test_an_order_in_doubt_reserves_its_size_until_it_is_resolved() -> None:
    w, intents = step(exposed(), AT_ONCE, 0)
    w = planned(w, placed(intents)[0].draft, 2)
    w = fold(w, OrderAnswered(ClientId(2), Verdict.IN_DOUBT, at(0.1), message="timeout"))
    assert not placed(step(fresh(w, 4), AT_ONCE, 4)[1])


# --- counted, alerted, once ----------------------------------------------------------------------


def narrator() -> tuple[Narrator, Sink]:
    sink = Sink()
    return Narrator(sink, RunMetrics(world())), sink


def degraded(hedge: int, why: str) -> Say:
    fields = (("why", why), ("hedge", f"h-{hedge}"))
    return Say("SMART_ROUTING", "degraded", "warning", f"h-{hedge}:{why}", fields)


def test_a_fallback_is_counted_and_alerted_once_per_hedge_and_reason() -> None:
    told, sink = narrator()
    for _ in range(3):
        told.say(degraded(1, "a"))
        told.say(degraded(1, "b"))
    assert told.metrics.degraded == 2
    told.say(degraded(2, "a"))
    assert told.metrics.degraded == 3
    assert [row["why"] for row in sink.events("SMART_ROUTING", "degraded")] == ["a", "b", "a"]
    alerts = sink.events("ALERT", "degraded")
    assert [(row["why"], row["count"], row["hedge"]) for row in alerts] == [
        ("a", 1, "h-1"),
        ("b", 2, "h-1"),
        ("a", 3, "h-2"),
    ]


def test_what_was_counted_is_forgotten_with_the_hedge() -> None:
    told, _ = narrator()
    w, _ = step(exposed(), params(), 0)
    told.say(degraded(1, "a"))
    ended = HedgeEnded(1, failed=False, at=at(1))
    told.changed(w, fold(w, ended), ended)
    assert told._fallbacks == set()


@pytest.mark.parametrize(("crossed", "count"), [(False, 1), (True, 0)])
def test_a_hedge_that_its_venue_refuses_is_a_fallback_unless_it_would_have_crossed(
    crossed: bool, count: int
) -> None:
    told, sink = narrator()
    w, _ = resting(params())
    w = planned(w, draft(hedge_id=1), 3)
    for number in (2, 3):
        no = OrderAnswered(
            ClientId(number), Verdict.REFUSED, at(0.1), code="1006", post_only_cross=crossed
        )
        after = fold(w, no)
        told.changed(w, after, no)
        w = after
    assert told.metrics.degraded == count, "once per hedge and code"
    assert len(sink.events("VENUE", "refused")) == 2


# --- the whole core against the simulated venues --------------------------------------------------


def hedging(seed: int, p: Params) -> Harness:
    h = Harness(seed, p)
    h.run(120, lambda: h.core.world.hedge is not None)
    assert h.core.world.hedge is not None
    return h


def settle(h: Harness, seconds: int = 90) -> None:
    h.run(seconds, lambda: h.core.world.mode is Mode.HALTED or not unfinished(h))


def unfinished(h: Harness) -> bool:
    w = h.core.world
    return w.hedge is not None or any(w.live(Venue.GRVT)) or bool(h.truth())


P = params(iterations=1, fill_timeout=Ns(SECOND), sleep=Ns(3600 * SECOND))


@pytest.mark.parametrize("seed", [3, 4])
def test_F68_a_halted_hedge_venue_is_counted_and_the_exposure_removed_elsewhere(seed: int) -> None:
    h = hedging(seed, replace(P, passive=Ns(0)))
    grvt = h.engines[Venue.GRVT]
    symbol = h.ports[Venue.GRVT].symbol
    grvt.set_market(Ns(h.time), symbol, halt=True)
    for order in grvt.open_orders("a"):
        grvt.cancel(Ns(h.time), order)
    h.run(60, lambda: h.truth() == 0)
    assert h.truth() == 0, "the other leg took the exposure back"
    assert h.metrics.degraded >= 1
    told = [row["why"] for row in h.sink.events("SMART_ROUTING", "degraded")]
    assert "grvt refused a hedge: market_closed CancelOnly" in told
    assert len(h.sink.events("ALERT", "degraded")) == len(told) == h.metrics.degraded
    h.journal.close()


@pytest.mark.parametrize("seed", [5, 6])
def test_F65_a_book_that_vanishes_is_counted_and_the_hedge_ends_when_it_is_back(seed: int) -> None:
    h = hedging(seed, replace(P, passive=Ns(0)))
    grvt = h.engines[Venue.GRVT]
    symbol = h.ports[Venue.GRVT].symbol
    grvt.set_market(Ns(h.time), symbol, liquidity=0)
    h.run(3)
    grvt.set_market(Ns(h.time), symbol, liquidity=10**9)
    settle(h)
    assert h.truth() == 0
    told = [row["why"] for row in h.sink.events("SMART_ROUTING", "degraded")]
    assert "hedge book: empty" in told
    assert len(told) == h.metrics.degraded
    h.journal.close()


@pytest.mark.parametrize("seed", [7, 8])
def test_F64_a_jump_is_hedged_at_the_new_touch_within_the_cap(seed: int) -> None:
    h = hedging(seed, params(iterations=1, fill_timeout=Ns(SECOND), sleep=Ns(3600 * SECOND)))
    for venue, engine in h.engines.items():
        engine.set_market(Ns(h.time), h.ports[venue].symbol, shift_bps=-500)
    settle(h)
    assert h.truth() == 0
    told = [row["why"] for row in h.sink.events("SMART_ROUTING", "degraded")]
    assert h.metrics.degraded == len(told)
    for row in h.core.world.orders.values():
        if row.draft.cap:
            far = (row.draft.px - row.draft.touch) * row.sign
            assert far * BPS_ONE <= row.draft.touch * row.draft.cap
    h.journal.close()


def test_a_healthy_venue_degrades_nothing() -> None:
    h = hedging(9, P)
    settle(h)
    assert h.truth() == 0
    assert h.metrics.degraded == 0
    assert not h.sink.events("SMART_ROUTING", "insufficient_liquidity")
    h.journal.close()


def test_emits_are_never_mixed_with_orders_of_the_old_phase() -> None:
    """The decision that changes the phase sends nothing: the next one reads the new World."""
    w, _ = resting(params(passive=Ns(2 * SECOND)))
    observed = Observed(book(), at(2).mono, "stream")
    w = replace(w, legs={**w.legs, Venue.GRVT: replace(w.hedge_leg, book=observed)})
    _, intents = step(w, params(passive=Ns(2 * SECOND)), 2)
    assert not [i for i in intents if isinstance(i, Emit)]
    assert [type(i) for i in intents] == [Cancel]
    assert w.orders[ClientId(2)].request.side is Side.SELL


def test_a_passive_order_in_doubt_does_not_keep_later_fills_exposed() -> None:
    w, number = resting(params())
    lost = OrderAnswered(ClientId(number), Verdict.IN_DOUBT, at(0.1), message="timeout")
    w = planned(fold(w, lost), maker_draft(Side.BUY, "0.4"), 9)
    w = fold(fold(w, fill(w, 9, "0.4", "m", 0.2)), view(w, 9, "0.4", Status.FILLED, 0.2))
    sent = []
    for tick in range(6, 300):
        when = tick / 20
        w, intents = step(fresh(w, when), params(), when)
        sent += [p.draft for p in placed(intents)]
        if sent:
            break
    assert sum(d.qty for d in sent) == qty("0.4"), "and not one unit of what is in doubt"

"""The executor, step by step: rest, follow, split, cross, fresh book, deadline."""

from dataclasses import replace

import pytest

from strategy.decide import decide, hedge_need, unhedged
from strategy.domain import (
    NANO,
    Book,
    ClientId,
    Ns,
    Purpose,
    Side,
    Status,
    Tif,
    Venue,
    bps,
    nano,
    plain,
)
from strategy.events import (
    CancelAsked,
    HedgeMoved,
    HedgeStarted,
    OrderAnswered,
    RoutePhase,
    Verdict,
)
from strategy.fold import fold
from strategy.intents import Cancel, Emit, Intent, Place, Say
from strategy.params import HedgeMode, Params
from strategy.router import calculate_timeout, deadline, rest_until
from strategy.world import World
from tests.builders import (
    SECOND,
    at,
    book,
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

BRIEF = params(passive=Ns(3 * SECOND))
AT_ONCE = params(passive=Ns(0))


def step(w: World, p: Params, when: float) -> tuple[World, list[Intent]]:
    """Decide and apply every Emit until the decision is stable, as the core does."""
    seen: list[Intent] = []
    for _ in range(8):
        intents = decide(w, p, at(when))
        seen += [i for i in intents if not isinstance(i, Emit)]
        emits = [i for i in intents if isinstance(i, Emit)]
        if not emits:
            return w, seen
        seen = [i for i in intents if not isinstance(i, Emit)]
        for emit in emits:
            w = fold(w, emit.event)
    raise AssertionError("the decision does not settle")


def exposed(size: str = "0.5", side: Side = Side.BUY, when: float = 0) -> World:
    w = planned(world(), maker_draft(side, size))
    return fold(fold(w, fill(w, 1, size, when=when)), view(w, 1, size, Status.FILLED, when))


def placed(intents: list[Intent]) -> list[Place]:
    return [i for i in intents if isinstance(i, Place)]


def cancels(intents: list[Intent]) -> list[Cancel]:
    return [i for i in intents if isinstance(i, Cancel)]


def phase(w: World) -> RoutePhase:
    assert w.hedge is not None
    return w.hedge.phase


def resting(p: Params, w: World | None = None) -> tuple[World, ClientId]:
    """A sell of the whole exposure rests as order 2, at 3000.01."""
    w, intents = step(w or exposed(), p, 0)
    (place,) = placed(intents)
    return planned(w, place.draft, 2), ClientId(2)


def fresh(w: World, when: float, value: Book | None = None) -> World:
    for venue in Venue:
        w = with_book(w, book(venue), when)
    return with_book(w, value, when) if value else w


@pytest.mark.parametrize(
    ("side", "taker", "price"), [(Side.BUY, Side.SELL, "3000.01"), (Side.SELL, Side.BUY, "3000.04")]
)
def test_first_order_rests_at_bbo_minus_one_tick(side: Side, taker: Side, price: str) -> None:
    w, intents = step(exposed(side=side), params(), 0)
    (place,) = placed(intents)
    assert place.draft.side is taker
    assert place.draft.px == px(price)
    assert place.draft.post_only
    assert place.draft.tif is Tif.GTC
    assert place.draft.qty == qty("0.5")
    assert w.hedge is not None
    assert w.hedge.phase is RoutePhase.PASSIVE


def test_REQ_21_each_fill_delta_is_hedged_at_once() -> None:
    w = planned(world(), maker_draft(size="0.5"))
    w = fold(w, fill(w, 1, "0.05", "a"))
    w, intents = step(w, params(), 0)
    (first,) = placed(intents)
    assert first.draft.qty == qty("0.05")
    w = planned(w, first.draft, 2)
    w = fold(w, fill(w, 1, "0.07", "b", 0.1))
    w, intents = step(w, params(), 0.1)
    (second,) = placed(intents)
    assert second.draft.qty == qty("0.07")
    assert second.draft.hedge_id == first.draft.hedge_id


@pytest.mark.parametrize("size", ["0.0099", "0.001"])
def test_REQ_21_fills_below_the_minimum_are_carried_as_dust(size: str) -> None:
    w = planned(world(), maker_draft())
    w = fold(w, fill(w, 1, size))
    assert placed(step(w, params(), 0)[1]) == []
    assert plain(w.net) == size
    w = fold(w, fill(w, 1, "0.0137", "t2"))
    (place,) = placed(step(w, params(), 0)[1])
    assert place.draft.qty == qty("0.02") if size == "0.0099" else qty("0.01")


def test_below_the_minimum_notional_nothing_is_sent() -> None:
    w = world()
    cheap = book(bids=[("1900.00", "5")], asks=[("1900.01", "5")])
    w = with_book(w, cheap)
    w = planned(w, maker_draft(price="1900.00"))
    w = fold(w, fill(w, 1, "0.0100"))
    assert hedge_need(w) == 0
    w = fold(w, fill(w, 1, "0.0100", "t2"))
    assert plain(hedge_need(w)) == "-0.02"


def test_an_unwind_hedge_never_leaves_a_rest_that_cannot_be_closed() -> None:
    w = exposed("0.5")
    w = planned(w, replace(maker_draft(), venue=Venue.GRVT, side=Side.SELL, purpose=Purpose.HEDGE,
                           px=px("1900.00"), touch=px("1900.00")), 2)  # fmt: skip
    w = fold(w, fill(w, 2, "0.5", "h"))
    w = with_book(w, book(bids=[("1900.00", "5")], asks=[("1900.01", "5")]))
    w = planned(w, maker_draft(Side.SELL), 3)
    w = fold(w, fill(w, 3, "0.49", "u"))
    # 0.49 would leave 0.01 (19 quote units) on GRVT: hedge 0.48 and keep 0.02 closable
    assert plain(hedge_need(w)) == "0.48"
    w = fold(w, fill(w, 3, "0.01", "u2"))
    assert plain(hedge_need(w)) == "0.5"


def test_REQ_5_crossing_waits_for_the_final_size_of_the_passive_order() -> None:
    w, first = resting(BRIEF)
    w, intents = step(fresh(w, 3.1), BRIEF, 3.1)
    assert [type(i) for i in intents if not isinstance(i, Say)] == [Cancel]
    w = fold(w, CancelAsked(first, at(3.1), "cross"))
    w = fold(w, fill(w, 2, "0.1", "late", 3.2))
    w, intents = step(fresh(w, 3.5), BRIEF, 3.5)
    assert intents == [], "a cancel is no end: nothing crosses, nothing is cancelled twice"
    w = fold(w, view(w, 2, "0.1", Status.CANCELLED, 3.6))
    (place,) = placed(step(w, BRIEF, 3.6)[1])
    assert place.draft.tif is Tif.IOC
    assert place.draft.qty == qty("0.4")


def test_REQ_10_the_crossing_order_is_a_bounded_limit_ioc() -> None:
    thin = book(bids=[("3000.00", "0.2"), ("2999.95", "0.2"), ("2999.90", "5")])
    w = with_book(exposed(), thin)
    (place,) = placed(step(w, params(passive=Ns(0)), 0)[1])
    made = place.draft
    assert (made.tif, made.post_only, made.px) == (Tif.IOC, False, px("2999.90"))
    assert made.levels == 3
    assert made.cap == bps(5)
    assert made.life == 5 * SECOND


def test_the_next_order_needs_a_book_newer_than_the_last_order() -> None:
    w, intents = step(exposed(), params(passive=Ns(0)), 0)
    w = planned(w, placed(intents)[0].draft, 2)
    w = fold(w, fill(w, 2, "0.3", "h", 0.1))
    w = fold(w, view(w, 2, "0.3", Status.CANCELLED, 0.1))
    assert placed(step(w, params(passive=Ns(0)), 0.3)[1]) == []
    w = fresh(w, 0.3)
    (place,) = placed(step(w, params(passive=Ns(0)), 0.3)[1])
    assert place.draft.qty == qty("0.2")


def test_the_limit_never_steps_back_from_the_book() -> None:
    p = params(passive=Ns(0))
    w, intents = step(with_book(exposed(), book(bids=[("2999.50", "0.1")])), p, 0)
    first = placed(intents)[0].draft
    w = planned(w, first, 2)
    w = fold(w, view(w, 2, "0.1", Status.CANCELLED, 0.1))
    w = fresh(w, 0.3, book(bids=[("3000.00", "9")]))
    (place,) = placed(step(w, p, 0.3)[1])
    assert place.draft.px == px("2998.50") < first.px, "what the first missed is taken at the cap"
    assert place.draft.touch == px("3000.00")


def test_insufficient_liquidity_is_said_and_what_is_there_is_taken() -> None:
    thin = book(bids=[("3000.00", "0.2"), ("2990.00", "9")])
    _, intents = step(with_book(exposed(), thin), params(passive=Ns(0)), 0)
    (said,) = [i for i in intents if isinstance(i, Say) and i.event == "insufficient_liquidity"]
    assert said.tag == "SMART_ROUTING"
    fields = dict(said.fields)
    assert (fields["need"], fields["available"], fields["cap_bps"]) == ("0.5", "0.2", "5.00")
    assert placed(intents)[0].draft.qty == qty("0.2")


def test_the_deadline_is_max_unhedged_while_a_hedge_may_rest() -> None:
    w, _ = resting(params())
    w, intents = step(fresh(w, 14.9), params(), 14.9)
    assert phase(w) is RoutePhase.CROSS
    w, intents = step(fresh(w, 15), params(), 15)
    assert phase(w) is RoutePhase.EMERGENCY
    assert [i.client_id for i in cancels(intents)] == [2]
    assert placed(intents) == []


@pytest.mark.parametrize(("size", "seconds"), [("0.1", 5), ("0.4", 8)])
def test_the_deadline_is_the_timeout_once_a_hedge_crosses(size: str, seconds: int) -> None:
    w, _ = step(exposed(size), AT_ONCE, 0)
    w, _ = step(fresh(w, seconds - 0.1), AT_ONCE, seconds - 0.1)
    assert phase(w) is RoutePhase.CROSS
    w, _ = step(fresh(w, seconds), AT_ONCE, seconds)
    assert phase(w) is RoutePhase.EMERGENCY


def test_max_unhedged_bounds_the_deadline() -> None:
    p = params(max_unhedged=Ns(4 * SECOND))
    w, _ = step(exposed(), p, 0)
    w, _ = step(fresh(w, 4.1), p, 4.1)
    assert phase(w) is RoutePhase.EMERGENCY


def test_a_late_hedge_says_so_and_cancels_what_is_live() -> None:
    w, _ = resting(params())
    _, intents = step(fresh(w, 20), params(), 20)
    assert [i.client_id for i in cancels(intents)] == [2]
    intents = decide(fresh(w, 20), params(), at(20))
    (said,) = [i for i in intents if isinstance(i, Say) and i.event == "timeout"]
    assert dict(said.fields) == {"hedge": "h-1", "remaining": "0.5", "elapsed_ms": 20_000}


def test_exposure_that_joins_a_hedge_which_crossed_long_ago_has_its_own_time() -> None:
    w, _ = step(exposed("0.1"), AT_ONCE, 0)
    assert w.hedge is not None
    begun, timeout = at(8).mono, Ns(5 * SECOND)
    assert deadline(w.hedge, at(0).mono, timeout, AT_ONCE) == at(5).mono
    assert deadline(w.hedge, begun, timeout, AT_ONCE) == at(13).mono
    brief = params(passive=Ns(0), max_unhedged=Ns(3 * SECOND))
    assert deadline(w.hedge, begun, timeout, brief) == at(11).mono


def test_market_mode_crosses_at_once() -> None:
    w, intents = step(exposed(), params(hedge_mode=HedgeMode.MARKET), 0)
    (place,) = placed(intents)
    assert place.draft.tif is Tif.IOC
    assert w.hedge is not None
    assert w.hedge.phase is RoutePhase.CROSS


def test_maximal_risk_aversion_crosses_at_once() -> None:
    w, intents = step(exposed(), params(risk_aversion=None), 0)
    (place,) = placed(intents)
    assert (place.draft.tif, place.draft.qty) == (Tif.IOC, qty("0.5"))
    assert phase(w) is RoutePhase.CROSS


def test_without_risk_aversion_it_rests_as_long_as_it_may() -> None:
    p = params(risk_aversion=0)
    w, _ = resting(p)
    w, intents = step(fresh(w, 12.9), p, 12.9)
    assert intents == []
    w, _ = step(fresh(w, 13), p, 13)
    assert phase(w) is RoutePhase.CROSS, "two seconds of fifteen are kept for crossing"


def test_a_hedge_rests_while_the_cost_model_finds_it_worth_it() -> None:
    p = params(risk_aversion=8 * NANO)
    w, _ = resting(p)
    w, intents = step(fresh(w, 0.5), p, 0.5)
    assert intents == []
    w, _ = step(fresh(w, 2), p, 2)
    assert phase(w) is RoutePhase.CROSS, "a second now costs more than resting earns"


def test_the_reason_to_cross_is_the_estimate() -> None:
    p = params(risk_aversion=8 * NANO)
    w, _ = resting(p)
    (emit,) = [i for i in decide(fresh(w, 2), p, at(2)) if isinstance(i, Emit)]
    assert isinstance(emit.event, HedgeMoved)
    assert emit.event.why.startswith("cross 5.08 rest 1.25 bps, wait 2")


def test_fills_that_arrive_meanwhile_join_the_running_hedge() -> None:
    p = params(passive=Ns(0), max_position=qty(1))
    w = planned(world(), maker_draft(size="1"))
    w = fold(w, fill(w, 1, "0.4", "a"))
    w, intents = step(w, p, 0)
    w = planned(w, placed(intents)[0].draft, 2)
    w = fold(w, fill(w, 1, "0.6", "b", 0.05))
    (more,) = placed(step(w, p, 0.05)[1])
    assert more.draft.qty == qty("0.6")
    assert more.draft.hedge_id == 1


def test_a_fill_that_joins_a_resting_hedge_rests_beside_it() -> None:
    w, first = resting(params())
    w = planned(w, maker_draft(size="0.2"), 3)
    w = fold(w, fill(w, 3, "0.2", "b", 0.2))
    (more,) = placed(step(w, params(), 0.2)[1])
    assert (more.draft.qty, more.draft.px) == (qty("0.2"), w.orders[first].request.px)


def test_a_reversed_exposure_nets_first() -> None:
    """The order that would add to it must end before anything is sent the other way."""
    w, _ = resting(params())
    w = planned(w, maker_draft(Side.SELL, "1"), 3)
    w = fold(fold(w, fill(w, 3, "1", "r", 0.1)), view(w, 3, "1", Status.FILLED, 0.1))
    w, intents = step(w, params(), 0.1)
    assert [i.client_id for i in cancels(intents)] == [2]
    assert placed(intents) == [], "its end changes the size to hedge, and the book"
    w = fold(w, fill(w, 2, "0.2", "meanwhile", 0.15))
    w = fold(w, view(w, 2, "0.2", Status.CANCELLED, 0.2))
    (place,) = placed(step(w, params(), 0.2)[1])
    assert (place.draft.side, place.draft.qty) == (Side.BUY, qty("0.7"))


def test_a_reversed_exposure_does_not_wait_for_an_order_in_doubt() -> None:
    w, number = resting(params())
    w = fold(w, OrderAnswered(number, Verdict.IN_DOUBT, at(0.1), message="timeout"))
    w = planned(w, maker_draft(Side.SELL, "1"), 3)
    w = fold(w, fill(w, 3, "1", "r", 0.1))
    _, intents = step(w, params(), 0.1)
    (place,) = placed(intents)
    assert (place.draft.side, place.draft.qty) == (Side.BUY, qty("0.5"))


def test_S1_a_resting_order_larger_than_what_is_left_is_cancelled() -> None:
    w, _ = resting(params())
    w = planned(w, maker_draft(Side.SELL, "0.2"), 3)
    w = fold(fold(w, fill(w, 3, "0.2", "r", 0.1)), view(w, 3, "0.2", Status.FILLED, 0.1))
    assert plain(hedge_need(w)) == "-0.3"
    _, intents = step(w, params(), 0.1)
    assert [i.client_id for i in cancels(intents)] == [2]
    assert placed(intents) == []


def test_without_a_hedge_book_nothing_is_sent_and_nothing_crashes() -> None:
    w = exposed()
    legs = {**w.legs, Venue.GRVT: replace(w.hedge_leg, book=None)}
    w, intents = step(replace(w, legs=legs), params(), 0.2)
    assert placed(intents) == []
    assert unhedged(w)


@pytest.mark.parametrize(
    ("size", "seconds"), [("0.1", 5), ("0.25", 5), ("0.5", 10), ("0.75", 15), ("1", 20), ("4", 20)]
)
def test_REQ_37_timeout_table(size: str, seconds: int) -> None:
    assert calculate_timeout(qty(size), px(3000), params()) == seconds * SECOND


def test_timeout_of_another_ticker_counts_notional() -> None:
    p = params(base_is_eth=False)
    assert calculate_timeout(qty("10"), px("150"), p) == 10 * SECOND


def test_resting_keeps_the_cross_reserve() -> None:
    w, _ = step(exposed(), params(), 0)
    assert w.hedge is not None
    begun, timeout = at(0).mono, Ns(10 * SECOND)
    for p, seconds in (
        (params(), 13),
        (BRIEF, 3),
        (params(passive=Ns(60 * SECOND), max_unhedged=Ns(8 * SECOND)), 6),
        (AT_ONCE, 0),
        (params(max_unhedged=Ns(SECOND)), 0),
    ):
        assert rest_until(w.hedge, begun, timeout, p) == at(seconds).mono


def test_L4_a_passive_order_lives_six_seconds_at_most_however_long_its_rest() -> None:
    (place,) = placed(step(exposed(), params(max_unhedged=Ns(60 * SECOND)), 0)[1])
    assert place.draft.post_only
    assert place.draft.life == 6 * SECOND


def test_a_passive_order_outlives_its_rest_on_the_venue_by_two_seconds() -> None:
    (place,) = placed(step(exposed(), BRIEF, 0)[1])
    assert place.draft.life == 5 * SECOND
    w, _ = step(exposed(), params(), 0)
    (place,) = placed(step(fresh(w, 12), params(), 12)[1])
    assert place.draft.life == 3 * SECOND


def test_hedge_started_carries_arrival_prices() -> None:
    (emit,) = [i for i in decide(exposed(), params(), at()) if isinstance(i, Emit)]
    assert isinstance(emit.event, HedgeStarted)
    assert emit.event.arrival_touch == px("3000.00")
    assert emit.event.target == -nano("0.5")

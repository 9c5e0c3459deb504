"""The decision at its edges: what is to hedge, from when, what ends a hedge, what is cancelled."""

from dataclasses import replace

import pytest

from strategy.decide import decide, emergency, exposed, hedge_need, unhedged
from strategy.domain import (
    ClientId,
    Instrument,
    Mode,
    Ns,
    Purpose,
    Quote,
    Side,
    SignedQty,
    Venue,
    bps,
    nano,
    plain,
)
from strategy.events import (
    CancelAsked,
    CyclePhase,
    HedgeEnded,
    HedgeStarted,
    OrderAnswered,
    RoutePhase,
    Verdict,
)
from strategy.fold import fold
from strategy.intents import Cancel, Emit, Intent, Place
from strategy.params import Params
from strategy.world import Cycle, Hedge, World
from tests.builders import (
    GRVT,
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
    with_book,
    with_position,
    world,
)

AT_ONCE = params(passive=Ns(0))


def dark(w: World, *venues: Venue) -> World:
    """Without a book or a mark on these venues."""
    blind = {v: replace(w.legs[v].facts, mark=None) for v in venues}
    legs = {
        v: replace(leg, book=None, facts=blind[v]) if v in blind else leg
        for v, leg in w.legs.items()
    }
    return replace(w, legs=legs)


def rules(w: World, instrument: Instrument) -> World:
    return replace(w, legs={**w.legs, Venue.GRVT: replace(w.hedge_leg, instrument=instrument)})


def hedging(w: World, phase: RoutePhase = RoutePhase.CROSS, **changes: object) -> World:
    """Hedge 1 runs since second 0."""
    hedge = Hedge(
        1, SignedQty(nano("-0.5")), phase, px(3000), px("3000.02"), at().mono, crossed_at=at().mono
    )
    return replace(w, hedge=replace(hedge, **changes), hedges=1)  # type: ignore[arg-type]  # fields


def ends(intents: list[Intent]) -> list[HedgeEnded]:
    return [i.event for i in intents if isinstance(i, Emit) and isinstance(i.event, HedgeEnded)]


def begins(intents: list[Intent]) -> list[HedgeStarted]:
    return [i.event for i in intents if isinstance(i, Emit) and isinstance(i.event, HedgeStarted)]


def cancels(intents: list[Intent]) -> dict[int, str]:
    return {i.client_id: i.why for i in intents if isinstance(i, Cancel)}


def placed(w: World, p: Params = AT_ONCE, when: float = 0) -> Place:
    (place,) = [i for i in decide(w, p, at(when)) if isinstance(i, Place)]
    return place


# --- what is to hedge ----------------------------------------------------------------------------


def test_nothing_exposed_or_nothing_priced_is_nothing_to_hedge() -> None:
    assert hedge_need(world()) == 0
    assert hedge_need(dark(world(), *Venue)) == 0
    naked = with_position(world(), "0.5")
    assert hedge_need(dark(naked, *Venue)) == 0
    assert plain(hedge_need(dark(naked, Venue.GRVT))) == "-0.5", "the primary's mid will do"
    unlit = {v: replace(leg, book=None) for v, leg in naked.legs.items()}
    assert plain(hedge_need(replace(naked, legs=unlit))) == "-0.5", "so will a mark"
    free = replace(GRVT, min_qty=qty("0"), min_notional=Quote(0))
    assert hedge_need(rules(world(), free)) == 0


def test_without_any_price_all_exposure_counts() -> None:
    assert exposed(dark(with_position(world(), "0.0001"), *Venue))
    assert not exposed(dark(world(), *Venue))
    assert not exposed(world())
    for venue in Venue:
        assert not exposed(dark(with_position(world(), "0.0001"), venue)), "dust, by one price"
        assert exposed(dark(with_position(world(), "0.5"), venue))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_hedge_that_grows_its_leg_never_minds_what_stays(sign: int) -> None:
    """0.015 more beside a leg of 0.005: only what shrinks a leg must leave a closable rest."""
    w = with_position(world(), plain(sign * nano("0.52")), plain(-sign * nano("0.505")))
    assert hedge_need(w) == -sign * nano("0.01")


@pytest.mark.parametrize("sign", [1, -1])
def test_REQ_21_what_shrinks_the_leg_leaves_a_rest_that_can_be_closed(sign: int) -> None:
    """At 1,500 the minimum is 0.02, which is 30 quote units; 0.01 could not be closed."""
    cheap = with_book(world(), book(bids=[("1500.00", "9")], asks=[("1500.01", "9")]))

    def need(primary: str, hedge: str) -> str:
        w = with_position(cheap, plain(sign * nano(primary)), plain(sign * nano(hedge)))
        return plain(sign * hedge_need(w))

    assert need("0.01", "-0.5") == "0.48", "0.49 would leave 0.01"
    assert need("0.02", "-0.5") == "0.48", "0.02 is closable"
    assert need("0", "-0.5") == "0.5", "nothing is left at all"
    assert need("0.495", "-0.5") == "0", "0.005 is dust"


def test_REQ_21_the_smallest_rest_also_counts() -> None:
    atom = replace(GRVT, step=qty("0.000000001"))
    w = rules(with_position(world(), "0.000000001", "-0.5"), atom)
    mid = px("3000.025")
    left = nano("0.5") - abs(hedge_need(w))
    assert left * mid >= nano("20") * 10**9
    assert hedge_need(w) < nano("0.499999999")


# --- who is unhedged, what runs when -------------------------------------------------------------


def test_a_running_hedge_a_live_order_or_a_doubt_is_unhedged() -> None:
    assert not unhedged(world())
    assert unhedged(hedging(world()))
    assert unhedged(planned(world(), draft()))
    lost = OrderAnswered(ClientId(1), Verdict.IN_DOUBT, at())
    assert unhedged(fold(planned(world(), maker_draft()), lost)), "a maker whose fate is unknown"
    assert not unhedged(planned(world(), maker_draft()))
    assert unhedged(with_position(world(), "0.5"))


@pytest.mark.parametrize("mode", list(Mode))
def test_exposure_is_the_unwinds_in_the_closing_modes_and_in_an_emergency(mode: Mode) -> None:
    closing = mode in (Mode.REDUCING, Mode.FLATTENING)
    assert emergency(replace(world(), mode=mode)) is closing
    late = hedging(world(), RoutePhase.EMERGENCY)
    assert emergency(late)
    assert not emergency(hedging(world()))


def test_S12_halted_decides_nothing_but_to_withdraw_the_maker() -> None:
    halted = replace(with_position(planned(world(), maker_draft()), "0.5"), mode=Mode.HALTED)
    halted = replace(halted, reason="operator")
    assert cancels(decide(halted, AT_ONCE, at())) == {1: "operator"}
    assert decide(replace(halted, orders={}), AT_ONCE, at()) == []
    assert decide(replace(world(), mode=Mode.HALTED), AT_ONCE, at()) == []
    assert decide(hedging(replace(world(), mode=Mode.HALTED)), AT_ONCE, at()) == []


@pytest.mark.parametrize("mode", [Mode.REDUCING, Mode.FLATTENING])
def test_a_latch_ends_the_running_hedge_once_nothing_is_exposed(mode: Mode) -> None:
    assert len(ends(decide(hedging(replace(world(), mode=mode)), AT_ONCE, at(5)))) == 1
    naked = with_position(replace(world(), mode=mode), "0.5")
    assert decide(hedging(naked), AT_ONCE, at(5)) == []
    assert decide(naked, AT_ONCE, at(5)) == [], "the unwind trades it, not the router"
    assert decide(replace(world(), mode=mode), AT_ONCE, at(5)) == []


# --- a hedge begins ------------------------------------------------------------------------------


@pytest.mark.parametrize(("primary", "touch"), [("0.5", "3000"), ("-0.5", "3000.05")])
def test_a_hedge_begins_with_the_touch_and_mid_of_its_own_venue(primary: str, touch: str) -> None:
    far = book(Venue.BACKPACK, [("3100", "5")], [("3101", "5")])
    w = replace(with_book(with_position(world(), primary), far), hedges=7)
    (begun,) = begins(decide(w, AT_ONCE, at(3)))
    assert (begun.hedge_id, begun.arrival_touch) == (8, px(touch))
    assert (begun.arrival_mid, begun.target) == (px("3000.025"), -nano(primary))


def test_without_a_hedge_book_a_hedge_begins_at_the_primarys_mid() -> None:
    (begun,) = begins(decide(dark(with_position(world(), "0.5"), Venue.GRVT), AT_ONCE, at()))
    assert (begun.arrival_mid, begun.arrival_touch) == (px("3000.025"), px("3000.025"))
    one = with_book(with_position(world(), "0.5"), book(asks=[]))
    (begun,) = begins(decide(one, AT_ONCE, at()))
    assert begun.arrival_touch == px("3000.025")


@pytest.mark.parametrize(
    ("since", "begun"), [(9.5, 9.5), (9.001, 9.001), (9, 10), (2, 10), (None, 10)]
)
def test_a_hedge_counts_from_the_fill_unless_that_is_a_second_ago(
    since: float | None, begun: float
) -> None:
    """An older mark was of dust: the exposure became large enough to hedge only now."""
    w = with_position(world(10), "0.5")
    w = replace(w, naked_since=None if since is None else at(since).mono)
    (event,) = begins(decide(w, AT_ONCE, at(10)))
    assert event.fill_at == at(begun).mono


# --- a hedge runs --------------------------------------------------------------------------------


def test_what_live_orders_reserve_is_not_sent_again() -> None:
    w = hedging(with_position(world(), "0.5"))
    w = planned(w, replace(draft(size="0.3"), hedge_id=1))
    assert placed(w).draft.qty == qty("0.2")
    w = planned(w, replace(draft(size="0.195"), hedge_id=1), 2)
    assert [i for i in decide(w, AT_ONCE, at()) if isinstance(i, Place)] == [], "dust is left"


@pytest.mark.parametrize(("primary", "side"), [("0.5", Side.SELL), ("-0.5", Side.BUY)])
def test_the_uncovered_size_has_the_hedges_direction(primary: str, side: Side) -> None:
    made = placed(hedging(with_position(world(), primary))).draft
    assert (made.side, made.qty) == (side, qty("0.5"))


@pytest.mark.parametrize("price", ["100.00", "3000.00"])
def test_sizes_too_small_for_the_market_at_hand_are_not_sent(price: str) -> None:
    """0.1 more than what an order covers: 10 quote units at 100, 300 at 3,000."""
    level = [(price, "9")], [(plain(px(price) + px("0.01")), "9")]
    w = hedging(with_position(with_book(world(), book(Venue.GRVT, *level)), "0.5"))
    w = planned(w, replace(draft(size="0.4", price=price), hedge_id=1))
    sent = [i for i in decide(w, AT_ONCE, at()) if isinstance(i, Place)]
    assert bool(sent) is (price == "3000.00")


@pytest.mark.parametrize(
    ("primary", "hedge", "phase", "reduces"),
    [
        ("0.2", "-0.5", CyclePhase.UNWIND, True),
        ("-0.2", "0.5", CyclePhase.UNWIND, True),
        ("0", "-0.5", CyclePhase.UNWIND, True),  # exactly the whole leg
        ("0.2", "-0.5", CyclePhase.BUILD, False),
        ("0.5", "0", CyclePhase.UNWIND, False),
        ("0.5", "-0.2", CyclePhase.UNWIND, False),  # it grows the leg
        ("0.7", "-0.5", CyclePhase.UNWIND, False),  # and so does this, of a leg that is larger
        ("-0.7", "0.5", CyclePhase.UNWIND, False),
        ("-1", "0.2", CyclePhase.UNWIND, False),
        ("1", "0.2", CyclePhase.UNWIND, False),  # it would turn the leg round
    ],
)
def test_S15_an_unwinding_hedge_is_reduce_only_where_it_only_shrinks_its_leg(
    primary: str, hedge: str, phase: CyclePhase, reduces: bool
) -> None:
    w = hedging(replace(with_position(world(), primary, hedge), cycle=Cycle(1, phase)))
    assert placed(w).draft.reduce_only is reduces


def test_exposure_that_began_later_gets_its_own_time() -> None:
    """The hedge crossed at 0; what is naked since 8 may take until 13 before the emergency."""
    w = replace(hedging(with_position(world(12), "0.1")), naked_since=at(8).mono)
    assert placed(w, when=12.9).draft.qty == qty("0.1")
    assert [i for i in decide(w, AT_ONCE, at(13)) if isinstance(i, Place)] == []
    older = replace(w, naked_since=at(-0.5).mono)
    assert [i for i in decide(older, AT_ONCE, at(12)) if isinstance(i, Place)] == []
    begun = hedging(with_position(world(12), "0.1"), fill_at=at(8).mono)
    for since in (None, at(2).mono):
        assert placed(replace(begun, naked_since=since), when=12.9).draft.qty == qty("0.1")


# --- a hedge ends --------------------------------------------------------------------------------


def done(phase: RoutePhase = RoutePhase.CROSS) -> World:
    """Hedged, but the fill details of its order have not come: traded 0.5, priced none."""
    w = hedging(with_position(world(), "0.5", "-0.5"), phase, last_over_at=at(4).mono)
    w = planned(w, replace(draft(), hedge_id=1))
    w = fold(w, OrderAnswered(ClientId(1), Verdict.ACCEPTED, at()))
    priced = fold(with_position(w, "0.5", "0"), fill(w, 1, "0.5"))
    assert priced.net == 0
    from_books = priced.orders[ClientId(1)]
    ended = replace(from_books, filled=qty("0"), state=type(from_books.state).DONE)
    return replace(
        priced,
        orders={ClientId(1): ended},
        hedge=replace(w.hedge, filled=qty("0")),  # type: ignore[type-var]  # it runs
    )


def test_a_hedge_waits_two_seconds_for_its_prices_and_then_ends() -> None:
    w = done()
    assert ends(decide(w, AT_ONCE, at(5.9))) == []
    (ended,) = ends(decide(w, AT_ONCE, at(6)))
    assert (ended.hedge_id, ended.failed) == (1, False)
    one = w.orders[ClientId(1)]
    priced = replace(w, orders={ClientId(1): replace(one, filled=one.cum)})
    assert len(ends(decide(priced, AT_ONCE, at(4)))) == 1, "nothing to wait for"


def test_unpriced_orders_of_other_hedges_do_not_hold_it_up() -> None:
    w = done()
    one = w.orders[ClientId(1)]
    other = replace(one, draft=replace(one.draft, hedge_id=2))
    assert len(ends(decide(replace(w, orders={ClientId(1): other}), AT_ONCE, at(4)))) == 1
    both = {ClientId(1): replace(one, filled=one.cum), ClientId(2): one}
    assert ends(decide(replace(w, orders=both), AT_ONCE, at(4))) == [], "one of two is priced"


def test_a_hedge_with_a_live_order_or_exposure_goes_on() -> None:
    w = planned(hedging(world()), replace(draft(), hedge_id=1))
    assert ends(decide(w, AT_ONCE, at(9))) == []
    assert ends(decide(hedging(with_position(world(), "0.5")), AT_ONCE, at(3))) == []


def test_an_emergency_ends_as_failed_once_no_unwind_may_trade() -> None:
    late = hedging(world(), RoutePhase.EMERGENCY)
    (ended,) = ends(decide(late, AT_ONCE, at(9)))
    assert ended.failed
    undo = draft(Venue.BACKPACK, purpose=Purpose.UNWIND)
    assert ends(decide(planned(late, undo), AT_ONCE, at(9))) == []
    both = planned(planned(late, undo), maker_draft(), 2)
    assert ends(decide(both, AT_ONCE, at(9))) == []
    maker = planned(late, maker_draft())
    assert len(ends(decide(maker, AT_ONCE, at(9)))) == 1, "a maker is no unwind"
    calm = planned(hedging(world()), undo)
    assert len(ends(decide(calm, AT_ONCE, at(9)))) == 1, (
        "and without an emergency none is waited for"
    )


# --- what is cancelled ---------------------------------------------------------------------------


@pytest.mark.parametrize("side", list(Side))
def test_S2_orders_that_would_add_to_the_exposure_are_cancelled_again_and_again(
    side: Side,
) -> None:
    w = planned(with_position(world(), plain(side.value * nano("0.5"))), draft(side=side))
    assert cancels(decide(w, AT_ONCE, at()))[1] == "would increase the exposure"
    w = fold(w, CancelAsked(ClientId(1), at(), "x"))
    assert 1 not in cancels(decide(w, AT_ONCE, at(0.9)))
    assert 1 in cancels(decide(w, AT_ONCE, at(1)))


def test_S2_without_exposure_no_order_would_add_to_it() -> None:
    w = planned(world(), draft())
    assert cancels(decide(w, AT_ONCE, at())) == {}


@pytest.mark.parametrize(
    ("net", "size", "cancelled"),
    [
        ("0", "0.01", True),
        ("0.005", "0.01", True),  # more than the dust
        ("0.005", "0.005", False),  # exactly the dust: nothing later could trade it
        ("0.005", "0.004", False),
        ("-0.005", "0.004", True),  # it would grow the dust
    ],
)
def test_S1_what_rests_when_nothing_is_left_to_hedge_is_cancelled_unless_it_tidies(
    net: str, size: str, cancelled: bool
) -> None:
    w = hedging(with_position(world(), net))
    w = planned(w, replace(draft(size=size), hedge_id=1, post_only=True))
    assert (1 in cancels(decide(w, AT_ONCE, at()))) is cancelled
    asked = fold(w, CancelAsked(ClientId(1), at(), "x"))
    assert cancels(decide(asked, AT_ONCE, at(0.5))) == {}
    mirror = hedging(with_position(world(), plain(-nano(net))))
    buy = replace(draft(side=Side.BUY, size=size, price="3000.05"), hedge_id=1, post_only=True)
    assert (1 in cancels(decide(planned(mirror, buy), AT_ONCE, at()))) is cancelled
    taking = planned(hedging(with_position(world(), "0")), replace(draft(size=size), hedge_id=1))
    assert cancels(decide(taking, AT_ONCE, at())) == {}, "an IOC ends by itself"


def test_the_figures_that_these_tests_lean_on() -> None:
    assert (AT_ONCE.settle, AT_ONCE.recancel, AT_ONCE.cap) == (2 * SECOND, SECOND, bps(5))

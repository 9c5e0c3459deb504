"""The maker's cycle, its quotes and the facts they lean on, at their edges."""

from dataclasses import replace

import pytest

from strategy.carry import Basis
from strategy.cost import Routing
from strategy.decide import decide
from strategy.depth import InsufficientLiquidity
from strategy.domain import (
    BPS_ONE,
    Bps,
    ClientId,
    Draft,
    Mode,
    Ns,
    Observed,
    OrderView,
    Purpose,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Status,
    Tif,
    Venue,
    bps,
    nano,
    notional,
    ordered,
    plain,
)
from strategy.events import CancelAsked, CycleMoved, CyclePhase, OrderDead, RoutePhase
from strategy.facts import (
    ClockOffset,
    ClockReading,
    Facts,
    Level,
    Mark,
    learned,
)
from strategy.fold import fold
from strategy.intents import Cancel, Emit, Intent, Place, Say
from strategy.params import FOREVER, HedgeMode, Params, PrimaryMode
from strategy.quote import NoQuote, close_quote, open_quote
from strategy.rollback import Rollback, place_market_order
from strategy.world import Cycle, Hedge, Leg, Order, OrderState, World
from tests.builders import (
    BACKPACK,
    GRVT,
    account,
    at,
    book,
    draft,
    maker_draft,
    params,
    planned,
    px,
    qty,
    with_book,
    with_position,
    world,
)

P = params()


def moved(intents: list[Intent]) -> list[tuple[CyclePhase, int]]:
    return [(i.event.phase, i.event.iteration) for i in intents if isinstance(i, Emit)
            and isinstance(i.event, CycleMoved)]  # fmt: skip


def placed(w: World, p: Params = P, when: float = 0) -> list[Draft]:
    return [i.draft for i in decide(w, p, at(when)) if isinstance(i, Place)]


def pair(size: str) -> World:
    """Hedged, so that only the cycle decides."""
    return with_position(world(), size, plain(-nano(size)))


def primary(w: World, **changes: object) -> World:
    made = replace(w.primary, **changes)  # type: ignore[arg-type]  # field names are checked
    return replace(w, legs={**w.legs, Venue.BACKPACK: made})


# --- the cycle -----------------------------------------------------------------------------------


def test_REQ_18_nothing_is_quoted_while_stopping_latched_or_backing_off() -> None:
    assert len(placed(world())) == 1
    assert placed(replace(world(), stopping=True)) == []
    assert placed(replace(world(), mode=Mode.REDUCING)) == []
    late = replace(world(), retry_at=at(1).mono)
    assert placed(late, when=0.999) == []
    assert len(placed(late, when=1)) == 1


def test_a_quote_that_must_wait_says_phase_and_reason() -> None:
    stops = Level("margin", "x 1, limit 1", stops=True)
    (said,) = decide(replace(world(), levels=(stops,)), P, at())
    fields = (("phase", "build"), ("why", "margin: x 1, limit 1"))
    assert said == Say("OPEN", "waiting", "info", "1:build:margin: x 1, limit 1", fields)


def test_a_hold_lasts_from_its_own_beginning() -> None:
    w = replace(pair("0.5"), cycle=Cycle(1, CyclePhase.HOLD, at(5).mono))
    nap = params(sleep=Ns(nano(2)))
    assert moved(decide(w, nap, at(6.9))) == []
    assert moved(decide(w, nap, at(7))) == [(CyclePhase.UNWIND, 1)]


@pytest.mark.parametrize(("iteration", "size", "phases"), [
    (1, "0.2", []), (2, "-0.2", []), (1, "-0.2", [CyclePhase.UNWIND]),
    (2, "0.2", [CyclePhase.UNWIND]), (1, "0.5", [CyclePhase.HOLD]), (2, "-0.5", [CyclePhase.HOLD]),
])  # fmt: skip
def test_REQ_20_odd_iterations_build_long_and_even_ones_short(
    iteration: int, size: str, phases: list[CyclePhase]
) -> None:
    w = replace(pair(size), cycle=Cycle(iteration))
    assert [phase for phase, _ in moved(decide(w, P, at()))] == phases


@pytest.mark.parametrize(("least", "size", "more"), [
    ("0.0001", "0.49", True), ("0.0001", "0.4901", False),  # 0.01 is a size of both venues
    ("0.05", "0.45", True), ("0.05", "0.46", False),
])  # fmt: skip
def test_a_build_goes_on_while_the_smallest_order_fits(least: str, size: str, more: bool) -> None:
    w = primary(pair(size), instrument=replace(BACKPACK, min_qty=qty(least)))
    assert (moved(decide(w, P, at())) == []) is more
    assert bool(placed(w)) is more


@pytest.mark.parametrize(("iterations", "iteration", "after"), [
    (3, 1, (CyclePhase.BUILD, 2)), (3, 2, (CyclePhase.BUILD, 3)), (3, 3, (CyclePhase.DONE, 3)),
    (0, 9, (CyclePhase.BUILD, 10)),
])  # fmt: skip
def test_iterations_are_counted_to_the_last(
    iterations: int, iteration: int, after: tuple[CyclePhase, int]
) -> None:
    w = replace(world(), cycle=Cycle(iteration, CyclePhase.UNWIND))
    assert moved(decide(w, params(iterations=iterations), at())) == [after]


# --- a maker that rests --------------------------------------------------------------------------


def cancels(w: World, when: float) -> list[str]:
    return [i.why for i in decide(w, P, at(when)) if isinstance(i, Cancel)]


def test_a_cancel_is_repeated_though_its_reason_is_gone() -> None:
    w = fold(planned(world(), maker_draft()), CancelAsked(ClientId(1), at(0.1), "x"))
    assert cancels(w, 1.09) == []
    assert cancels(w, 1.1) == ["again"]


def test_a_maker_is_withdrawn_when_the_touch_was_away_for_the_whole_time() -> None:
    w = replace(planned(world(3), maker_draft(), when=0), away_since=at(0).mono)
    assert cancels(w, 4.999) == []
    assert cancels(w, 5) == ["touch moved away"]


def test_what_forbids_opening_withdraws_no_maker_that_closes() -> None:
    stops = (Level("margin", "x", stops=True),)
    opening = replace(planned(world(), maker_draft()), levels=stops)
    assert cancels(opening, 1) == ["margin: x"]
    made = replace(maker_draft(Side.SELL), purpose=Purpose.CLOSE, reduce_only=True)
    assert cancels(replace(planned(pair("0.5"), made), levels=stops), 1) == []


# --- quotes --------------------------------------------------------------------------------------


def quoted(w: World, p: Params) -> Draft:
    made = open_quote(w, p, at())
    assert isinstance(made, Draft)
    return made


def test_REQ_20_a_closing_maker_rests_at_the_primarys_touch() -> None:
    far = book(bids=[("3005.00", "9")], asks=[("3005.05", "9")])
    w = replace(with_book(pair("0.5"), far), cycle=Cycle(1, CyclePhase.UNWIND))
    made = close_quote(w, P, at())
    assert isinstance(made, Draft)
    assert (made.px, made.side, made.reduce_only) == (px("3000.05"), Side.SELL, True)


def test_a_maker_and_a_taker_are_measured_from_their_own_touch_and_bound() -> None:
    maker, taker = quoted(world(), P), quoted(world(), params(primary_mode=PrimaryMode.AGGRESSIVE))
    assert (maker.touch, maker.cap, maker.post_only) == (px(3000), 0, True)
    assert (taker.touch, taker.cap, taker.post_only) == (px("3000.05"), bps(5), False)


@pytest.mark.parametrize(("iteration", "bid", "ask"), [
    (1, "3000.30", "3009"), (2, "2991", "2999.749995"),
])  # fmt: skip
def test_REQ_44_an_edge_of_exactly_the_least_spread_opens(
    iteration: int, bid: str, ask: str
) -> None:
    """A long primary sells the hedge at its bid, a short one buys it at its ask: 1 bps better."""
    shown = book(bids=[(bid, "9")], asks=[(ask, "9")])
    w = with_book(replace(world(), cycle=Cycle(iteration)), shown)
    w = replace(w, basis=Basis(Bps(0), Bps(0), at().mono, 1))
    assert quoted(w, params(min_spread=bps(1))).px in (px(3000), px("3000.05"))
    more = params(min_spread=Bps(bps(1) + 1))
    assert open_quote(w, more, at()) == NoQuote("edge below --min-spread")


def test_the_smallest_size_of_the_primary_is_quoted_and_nothing_is_not() -> None:
    least = primary(world(), instrument=replace(BACKPACK, min_qty=qty("0.5")))
    assert quoted(least, P).qty == qty("0.5")
    atom = {"step": Qty(1), "min_qty": Qty(0), "min_notional": Quote(0)}
    w = primary(world(), instrument=replace(BACKPACK, **atom))  # type: ignore[arg-type]  # fields
    leg = replace(w.hedge_leg, instrument=replace(GRVT, **atom))  # type: ignore[arg-type]  # fields
    w = replace(w, legs={**w.legs, Venue.GRVT: leg})
    assert quoted(w, params(size=Qty(1))).qty == 1
    poor = Observed(account(Venue.GRVT, available=Quote(0)), at().mono, "rest")
    broke = replace(leg, facts=replace(leg.facts, account=poor))
    none = open_quote(replace(w, legs={**w.legs, Venue.GRVT: broke}), P, at())
    assert none == NoQuote("hedge venue cannot absorb the minimum: margin")


def test_without_a_book_a_roll_back_misses_its_whole_size() -> None:
    roll = Rollback(Venue.GRVT, Side.SELL, qty("0.5"), reduce_only=True, cap=bps(5), hedge_id=1)
    assert place_market_order(roll, None, GRVT, P) == InsufficientLiquidity(
        qty("0.5"), Qty(0), bps(5), "no_book"
    )


# --- facts ---------------------------------------------------------------------------------------


def test_the_first_account_and_the_first_clock_reading_stay_beside_the_newest() -> None:
    facts = Facts()
    assert (facts.account_position, account().liquidating) == (0, False)
    first, second = account(), account(leverage=nano(3))
    for when, one in ((0, first), (1, second)):
        facts = learned(facts, one, SignedQty(when), at(when))
        facts = learned(facts, ClockOffset(Venue.GRVT, Ns(when)), SignedQty(0), at(when))
    assert facts.account == Observed(second, at(1).mono, "rest")
    assert (facts.baseline, facts.account_position) == (first, 1)
    assert facts.clock == ClockReading(Ns(1), at(1))
    assert facts.clock_first == ClockReading(Ns(0), at(0))
    marked = learned(facts, Mark(Venue.GRVT, px(3000)), SignedQty(0), at(2))
    assert marked.mark == Observed(px(3000), at(2).mono, "rest")


def test_a_fact_of_exactly_its_greatest_age_is_fresh() -> None:
    facts = learned(Facts(), account(), SignedQty(0), at(0))
    facts = learned(facts, Mark(Venue.GRVT, px(3000)), SignedQty(0), at(0))
    for late, known in ((2, True), (2.001, False)):
        assert (facts.fresh_account(at(late), Ns(nano(2))) is not None) is known
        assert (facts.fresh_mark(at(late), Ns(nano(2))) is not None) is known


@pytest.mark.parametrize(("maintenance", "equity", "ratio"), [
    (0, 0, 0), (0, -5, 0), (1, 1, BPS_ONE), (1, 0, BPS_ONE), (1, -1, BPS_ONE),
    (1, 4, BPS_ONE // 4),
])  # fmt: skip
def test_F71_margin_ratio_is_of_equity_and_nothing_without_positions(
    maintenance: int, equity: int, ratio: int
) -> None:
    made = account(maintenance=Quote(maintenance), equity=Quote(equity))
    assert made.margin_ratio() == ratio


# --- what was never told -------------------------------------------------------------------------


def test_what_was_never_told_is_nothing_and_no_good_news() -> None:
    leg = Leg(GRVT)
    assert not leg.public_up
    assert not leg.private_up
    assert leg.book is None
    assert leg.observed is None
    assert (leg.position, leg.cash, leg.fees, leg.funding, leg.volume) == (0, 0, 0, 0, 0)
    assert (leg.private_since, leg.taker_fee, leg.maker_fee) == (0, 0, 0)
    hedge = Hedge(1, SignedQty(1), world_phase(), Px(1), Px(1), Ns(1))
    assert (hedge.missed, hedge.refusals, hedge.last_px, hedge.took_at) == (0, 0, 0, 0)
    assert (hedge.filled, hedge.cost, hedge.touch_cost, hedge.fee) == (0, 0, 0, 0)
    assert (hedge.iterations, hedge.passive_filled, hedge.last_over_at) == (0, 0, 0)
    w = World(legs={})
    assert (w.cycle, w.hedges, w.failures, w.day_baseline) == (Cycle(), 0, 0, 0)
    assert (w.net_at, w.naked_integral, w.max_naked, w.rejects) == (0, 0, 0, 0)
    assert (w.unwind_tries, w.unwind_at, w.retry_at, w.ended_at) == (0, 0, 0, 0)
    assert not w.stopping
    assert not w.flatten_on_stop
    assert (Cycle().iteration, Cycle().since, Cycle().cycles) == (1, 0, 0)
    assert [Cycle(n).direction for n in (1, 2, 3)] == [1, -1, 1]


def world_phase() -> RoutePhase:
    return RoutePhase.PASSIVE


def test_an_order_reserves_what_it_may_still_trade_and_nothing_once_over() -> None:
    w = planned(world(), draft())
    one: Order = w.orders[ClientId(1)]
    assert (one.reserved, one.fee, one.crossed) == (qty("0.5"), 0, False)
    gone = fold(w, OrderDead(ClientId(1), "proof", at())).orders[ClientId(1)]
    assert (gone.state, gone.reserved) == (OrderState.DEAD, 0)


def test_S9_a_book_counts_while_its_stream_is_up_and_its_age_within_bounds() -> None:
    leg = world().hedge_leg
    assert leg.fresh_book(at(3), Ns(nano(3))) is not None
    assert leg.fresh_book(at(3.001), Ns(nano(3))) is None
    assert replace(leg, public_up=False).fresh_book(at(), Ns(nano(3))) is None


def test_levels_are_ordered_best_first_and_empty_ones_are_none() -> None:
    levels = [(Px(2), Qty(1)), (Px(3), Qty(0)), (Px(1), Qty(1)), (Px(4), Qty(2))]
    assert ordered(levels, bids=True) == ((4, 2), (2, 1), (1, 1))
    assert ordered(levels, bids=False) == ((1, 1), (2, 1), (4, 2))


def test_the_settings_that_nobody_gave_are_the_documented_ones() -> None:
    second = nano(1)
    assert Params(
        size=qty("0.5"), max_position=qty("0.5"), iterations=1, sleep=Ns(0),
        fill_timeout=Ns(5 * second), primary_mode=PrimaryMode.BBO, hedge_mode=HedgeMode.SMART,
        cap=bps(5), min_spread=bps(0), risk_aversion=nano(1), routing=Routing(), passive=FOREVER,
        max_unhedged=Ns(15 * second), cross_reserve=Ns(2 * second), stale=Ns(3 * second),
        hedge_life=Ns(5 * second), maker_rest=Ns(300 * second), maker_window=Ns(5 * second),
        recancel=Ns(second), base_is_eth=True, hedge_seconds=Ns(20 * second),
        hedge_notional=Quote(nano(3_000)), chunk=qty("0.2"), chunk_notional=Quote(nano(600)),
        emergency_cap=bps(50), max_failures=3, max_clock_offset=Ns(second), mark_band=bps(100),
        mark_fresh=Ns(15 * second), account_fresh=Ns(30 * second), hedge_orders=4,
        funding_guard=Ns(10 * second), settle=Ns(2 * second),
    ) == P  # fmt: skip
    assert not P.base_is_eth or placed(world())


def test_what_a_statement_leaves_out_is_no_claim() -> None:
    view_ = OrderView(Venue.GRVT, None, "v", "ETH", Side.BUY, Qty(1), Px(1), Qty(0), Status.OPEN)
    assert (view_.reduce_only, view_.forced, view_.reason) == (False, False, "")
    made = Draft(Venue.GRVT, Side.BUY, Qty(1), Px(1), Tif.IOC, post_only=False, reduce_only=False,
                 purpose=Purpose.HEDGE, touch=Px(1), life=Ns(1))  # fmt: skip
    assert (made.hedge_id, made.levels, made.available, made.slippage, made.cap) == (0, 0, 0, 0, 0)
    assert (GRVT.tradable, GRVT.size_decimals, BACKPACK.asset_id) == (True, 9, "")
    assert notional(Px(nano(2)), -3) == -6

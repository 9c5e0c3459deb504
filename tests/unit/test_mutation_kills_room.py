"""Exposure and room to the smallest lot: what is to hedge, and what could be absorbed."""

from dataclasses import replace

import pytest

from strategy.decide import decide, hedge_need
from strategy.depth import (
    absorbable,
    cap_price,
    find_hedge_price_with_liquidity,
    sweep_vwap,
)
from strategy.domain import (
    Book,
    ClientId,
    Mode,
    Now,
    Ns,
    Observed,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Status,
    Venue,
    bps,
    nano,
    plain,
)
from strategy.events import HedgeMoved, OrderAnswered, RoutePhase, Verdict
from strategy.facts import ClockReading, Readiness
from strategy.fold import fold
from strategy.hedgeable import hedge_room, off_mark, outgrown, unhedgeable
from strategy.intents import Cancel, Emit, Place, Say
from strategy.world import Hedge, World
from tests.builders import (
    GRVT,
    SECOND,
    WALL,
    account,
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
    with_position,
    world,
)
from tests.unit.fold_rig import hedge_world, running

P = params()
AT_ONCE = params(passive=Ns(0))
ATOM = replace(GRVT, tick=Px(1), step=Qty(1), min_qty=Qty(1), min_notional=Quote(0))


def hedge_leg(w: World, **changes: object) -> World:
    made = replace(w.hedge_leg, **changes)  # type: ignore[arg-type]  # field names are checked
    return replace(w, legs={**w.legs, Venue.GRVT: made})


def fact(w: World, **changes: object) -> World:
    made = replace(w.hedge_leg.facts, **changes)  # type: ignore[arg-type]  # field names are checked
    return hedge_leg(w, facts=made)


# --- what is to hedge ----------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
def test_one_smallest_lot_is_hedged_in_its_direction(sign: int) -> None:
    w = hedge_leg(with_position(world(), plain(sign)), instrument=ATOM)
    w = replace(w, legs={**w.legs, Venue.BACKPACK: replace(w.primary, position=SignedQty(sign))})
    assert hedge_need(w) == -sign
    hedge = Hedge(1, SignedQty(-sign), RoutePhase.CROSS, px(3000), px(3000), at().mono,
                  crossed_at=at().mono)  # fmt: skip
    (made,) = [i.draft for i in decide(replace(w, hedge=hedge, hedges=1), AT_ONCE, at())
               if isinstance(i, Place)]  # fmt: skip
    assert (made.side.value, made.qty) == (-sign, 1)
    reserving = replace(draft(side=made.side, size="0.000000001"), hedge_id=1)
    busy = planned(replace(w, hedge=hedge, hedges=1), reserving)
    assert [i for i in decide(busy, AT_ONCE, at()) if isinstance(i, Place)] == []


def test_S2_an_order_that_adds_to_the_smallest_exposure_is_cancelled() -> None:
    w = planned(world(), draft(side=Side.BUY))
    w = replace(w, legs={**w.legs, Venue.BACKPACK: replace(w.primary, position=SignedQty(1))})
    assert [i.client_id for i in decide(w, AT_ONCE, at()) if isinstance(i, Cancel)] == [1]


def test_S1_an_order_that_has_traded_all_tidies_nothing() -> None:
    w = with_position(world(), "0.5")
    hedge = Hedge(1, SignedQty(nano("-0.5")), RoutePhase.CROSS, px(3000), px(3000), at().mono)
    w = planned(replace(w, hedge=hedge, hedges=1), replace(draft(), hedge_id=1, post_only=True))
    w = fold(w, fill(w, 1, "0.5"))
    assert (w.net, w.orders[ClientId(1)].live) == (0, True)
    cancels = [i for i in decide(w, AT_ONCE, at()) if isinstance(i, Cancel)]
    assert [i.why for i in cancels] == ["nothing left to hedge"]
    w = fold(w, view(w, 1, "0.5", Status.FILLED))
    assert [i for i in decide(w, AT_ONCE, at()) if isinstance(i, Cancel)] == []


def moves(w: World, now: Now, **changes: object) -> list[RoutePhase]:
    intents = decide(w, params(**changes), now)
    return [i.event.phase for i in intents if isinstance(i, Emit)
            and isinstance(i.event, HedgeMoved)]  # fmt: skip


def test_the_deadline_counts_from_the_fill_where_nothing_marks_the_exposure() -> None:
    hedge = Hedge(1, SignedQty(nano("-0.5")), RoutePhase.PASSIVE, px(3000), px(3000), Ns(0))
    w = replace(with_position(world(), "0.5"), hedge=hedge, hedges=1, naked_since=None)
    for late, phase in ((-1, RoutePhase.CROSS), (0, RoutePhase.EMERGENCY)):
        now = Now(Ns(15 * SECOND + late), Ns(WALL))
        assert moves(w, now) == [phase]


def test_REQ_37_without_a_hedge_book_the_primarys_mid_gives_the_time_to_cross() -> None:
    """0.5 at 3,000 is half of 20 s of another ticker; at the arrival price it would be 5 s."""
    hedge = Hedge(1, SignedQty(nano("-0.5")), RoutePhase.CROSS, px(1), px(1), at().mono,
                  crossed_at=at().mono)  # fmt: skip
    w = hedge_leg(replace(with_position(world(), "0.5"), hedge=hedge, hedges=1), book=None)
    assert moves(w, at(9.9), base_is_eth=False) == []
    assert moves(w, at(10.1), base_is_eth=False) == [RoutePhase.EMERGENCY]


def test_a_refusal_after_it_traded_is_no_refusal_in_a_row() -> None:
    w = hedge_world()
    w = fold(w, fill(w, 1, "0.1"))
    w = replace(w, hedge=replace(running(w), refusals=3))
    after = fold(w, OrderAnswered(ClientId(1), Verdict.REFUSED, at(3), code="X"))
    assert running(after).refusals == 0
    assert after.violations


def test_S12_halted_opens_nothing() -> None:
    intents = decide(replace(world(), mode=Mode.HALTED), P, at())
    assert [i for i in intents if not isinstance(i, Say)] == []


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(("beyond", "had"), [(0, 2), (1, 1)])
def test_S10_the_cap_holds_to_the_unit_of_price(side: Side, beyond: int, had: int) -> None:
    """1 % of a touch of 10,000 units is 100: a level there counts, one unit further does not."""
    touch, sign = 10_000, side.value
    levels = tuple((Px(touch + sign * n), Qty(1)) for n in (0, 100 + beyond))
    other = ((Px(touch - sign * 50), Qty(1)),)
    asks, bids = (levels, other) if side is Side.BUY else (other, levels)
    shown = Book(Venue.GRVT, bids, asks, Ns(0))
    assert absorbable(shown, side, bps(100), ATOM) == had
    assert (sweep_vwap(shown, side, Qty(2), bps(100), ATOM) is not None) is (had == 2)
    found = find_hedge_price_with_liquidity(shown, side, Qty(2), bps(100), ATOM)
    assert found.available == had
    half = {Side.BUY: 4, Side.SELL: 2}[side]  # 3 units and half of it either way: 4.5 and 1.5
    assert cap_price(side, Px(3), bps(5_000), ATOM) == half


# --- what stands against a maker -----------------------------------------------------------------


def test_figures_at_their_limits_forbid_no_maker() -> None:
    reading = ClockReading(P.max_clock_offset, at())
    w = fact(world(), clock=reading, ready=Readiness(Venue.GRVT, session=True, orders=4))
    assert unhedgeable(w, P, at()) == ""
    late = fact(w, clock=replace(reading, offset=Ns(P.max_clock_offset + 1)))
    assert "clock differs" in unhedgeable(late, P, at())
    few = fact(w, ready=Readiness(Venue.GRVT, session=True, orders=3))
    assert "order lane" in unhedgeable(few, P, at())


@pytest.mark.parametrize(("bid", "off"), [("3029.99", False), ("3030.05", True), ("2969.99", False),
                                          ("2969.9", True)])  # fmt: skip
def test_F66_a_mid_at_the_band_itself_is_believed(bid: str, off: bool) -> None:
    """The mark is 3,000 and the band 100 bps: 3,030 and 2,970 are within."""
    near = book(bids=[(bid, "9")], asks=[(plain(px(bid) + px("0.02")), "9")])
    w = fact(with_book(world(), near), mark=Observed(px(3000), at().mono, "rest"))
    assert off_mark(w.hedge_leg, P, at()) is off
    assert not off_mark(hedge_leg(w, book=None).hedge_leg, P, at()), "nothing to compare"


# --- what could be absorbed ----------------------------------------------------------------------


def roomy(mid: str, position: int = 0, fee: int = 0, **changes: object) -> World:
    """The hedge venue trades single units around ``mid``, 9 deep, 1:1 on 10 quote units."""
    level = [(plain(px(mid) - 1), "9")], [(plain(px(mid) + 1), "9")]
    w = hedge_leg(with_book(world(), book(Venue.GRVT, *level)), instrument=ATOM, taker_fee=fee)
    w = hedge_leg(w, position=SignedQty(position))
    primary = replace(w.primary, position=SignedQty(-position))
    w = replace(w, legs={**w.legs, Venue.BACKPACK: primary})
    money = {"available": Quote(nano(10)), "leverage": nano(1), **changes}
    made = account(Venue.GRVT, **money)
    return fact(w, account=Observed(made, at().mono, "rest"), account_position=SignedQty(position))


def room(w: World, side: Side = Side.BUY) -> int:
    return hedge_room(w, side, P, at()).qty


def test_margin_covers_what_the_free_balance_pays_for_at_the_mid() -> None:
    assert room(roomy("2")) == nano(5)
    assert room(roomy("2", leverage=nano("1.5"))) == 7_500_000_001, "the margin is rounded down"
    assert room(roomy("2000", available=Quote(nano(4000)))) == nano(2)
    assert room(roomy("2", leverage=nano(100))) == nano(9), "and no more than the depth"


def test_a_taker_fee_uses_margin_and_a_rebate_frees_none() -> None:
    assert room(roomy("2", fee=bps(10_000))) == nano("2.5")
    assert room(roomy("2", fee=-bps(5_000))) == nano(5)


@pytest.mark.parametrize("available", [0, -1, nano(-7)])
def test_without_free_balance_only_what_shrinks_the_leg_has_room(available: int) -> None:
    money = Quote(available)
    assert room(roomy("2", available=money)) == 0
    assert room(roomy("2", nano(3), available=money)) == nano(3), "the hedge sells what is held"
    assert room(roomy("2", nano(3), available=money), Side.SELL) == 0


def test_the_smallest_balance_counts() -> None:
    assert room(roomy("0.5", available=Quote(1))) == 2


@pytest.mark.parametrize("leverage", [0, -1])
def test_an_account_without_leverage_has_no_room(leverage: int) -> None:
    assert room(roomy("2", leverage=leverage)) == 0


def test_the_extremes_of_leverage_divide_by_nothing() -> None:
    assert room(roomy("2", leverage=1, available=Quote(nano(1_000_000)))) == 500_000
    assert room(roomy("0.5", leverage=10**22, available=Quote(1))) == nano(1)


@pytest.mark.parametrize(("position", "known", "left"), [
    (nano(-3), nano(-3), nano(5)), (nano(-3), nano(-1), nano(3)), (nano(-3), 0, nano(2)),
    (nano(-1), nano(-3), nano(5)),
])  # fmt: skip
def test_what_the_leg_grew_since_the_account_was_read_is_used(
    position: int, known: int, left: int
) -> None:
    w = fact(roomy("2", position), account_position=SignedQty(known))
    assert room(w) == left


@pytest.mark.parametrize("side", list(Side))
def test_what_is_exposed_the_same_way_takes_room_and_the_other_way_gives_none(side: Side) -> None:
    same = replace(roomy("2"), legs=with_position(roomy("2"), plain(side.value * nano(2))).legs)
    assert room(same, side) == nano(3)
    assert room(same, side.opposite) == nano(5)
    assert outgrown(same, side, qty(3), P, at()) == ""
    assert outgrown(same, side, Qty(nano(3) + 1), P, at()) == (
        "grvt absorbs 3 of 3.000000001: margin"
    )
    assert maker_draft(side).side is side

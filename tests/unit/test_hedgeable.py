"""Hedgeability: never more on the primary than the hedge venue can absorb now (issue 4)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from strategy.decide import decide
from strategy.domain import (
    Funding,
    FundingPayment,
    Mode,
    Now,
    Ns,
    Observed,
    Purpose,
    Quote,
    Side,
    SignedQty,
    Status,
    Venue,
    bps,
    nano,
)
from strategy.events import CyclePhase, FundingSeen, LevelsMoved, VenueRead
from strategy.facts import Access, Account, ClockOffset, Level, Mark, Readiness, VenueFact
from strategy.fold import fold
from strategy.hedgeable import hedge_room, outgrown, unhedgeable
from strategy.intents import Cancel, Place, Say
from strategy.params import Params
from strategy.world import Cycle, Leg, World
from tests.builders import (
    SECOND,
    account,
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
    with_position,
    world,
)

MS = 1_000_000


def leg(w: World, venue: Venue, **changes: object) -> World:
    changed: Leg = replace(w.legs[venue], **changes)  # type: ignore[arg-type]  # checked by replace
    return replace(w, legs={**w.legs, venue: changed})


def read(w: World, fact: VenueFact, when: float = 0) -> World:
    return fold(w, VenueRead(fact, at(when)))


def money(w: World, **changes: object) -> World:
    return read(w, account(Venue.GRVT, **changes))


def resting(w: World | None = None) -> World:
    w = planned(world() if w is None else w, maker_draft())
    return fold(w, view(w, 1, "0", Status.OPEN))


def intents(w: World, when: float = 0, p: Params | None = None) -> tuple[list[str], list[str]]:
    """What stops a quote, and why a resting one is withdrawn."""
    out = decide(w, p or params(), at(when))
    said = [dict(i.fields)["why"] for i in out if isinstance(i, Say)]
    return [str(why) for why in said], [i.why for i in out if isinstance(i, Cancel)]


def test_a_healthy_world_is_hedgeable_and_quotes() -> None:
    assert unhedgeable(world(), params(), at()) == ""
    assert [i for i in decide(world(), params(), at()) if isinstance(i, Place)]
    assert intents(resting()) == ([], [])


def dead_session(w: World) -> World:
    return read(w, Readiness(Venue.GRVT, session=False, orders=20))


def no_lane(w: World) -> World:
    return read(w, Readiness(Venue.GRVT, session=True, orders=3))


def never_told(w: World) -> World:
    return leg(w, Venue.GRVT, facts=replace(w.hedge_leg.facts, ready=None))


def no_account(w: World) -> World:
    return leg(w, Venue.GRVT, facts=replace(w.hedge_leg.facts, account=None))


def poor(w: World) -> World:
    return money(w, available=Quote(0))


def revoked(w: World) -> World:
    return read(w, Access(Venue.GRVT, "1008"))


def clock_off(w: World) -> World:
    return read(w, ClockOffset(Venue.GRVT, Ns(-1001 * MS)))


def halted(w: World) -> World:
    rules = replace(w.hedge_leg.instrument, tradable=False)
    return leg(w, Venue.GRVT, instrument=rules)


def private_down(w: World) -> World:
    return leg(w, Venue.GRVT, private_up=False)


def public_down(w: World) -> World:
    return leg(w, Venue.GRVT, public_up=False)


def empty(w: World) -> World:
    return with_book(w, book(bids=[], asks=[]))


def one_sided(w: World) -> World:
    return with_book(w, book(asks=[]))


def crossed(w: World) -> World:
    return with_book(w, book(bids=[("3001", "5")], asks=[("3000", "5")]))


def off_mark(w: World) -> World:
    return read(w, Mark(Venue.GRVT, px("3040")))


def thin(w: World) -> World:
    return with_book(w, book(bids=[("3000.00", "0.004")]))


FLAWS: list[tuple[Callable[[World], World], str]] = [
    (private_down, "grvt private stream is down"),
    (dead_session, "grvt session is not authenticated"),
    (never_told, "grvt session is not authenticated"),
    (clock_off, "grvt clock differs from ours by more than 1000 ms"),
    (revoked, "grvt refuses our key: 1008"),
    (halted, "grvt market is not open"),
    (public_down, "grvt book is stale, one-sided or crossed"),
    (empty, "grvt book is stale, one-sided or crossed"),
    (one_sided, "grvt book is stale, one-sided or crossed"),
    (crossed, "grvt book is stale, one-sided or crossed"),
    (off_mark, "grvt book is off its mark price"),
    (no_lane, "grvt order lane has no room for a hedge"),
    (no_account, "grvt margin is unknown"),
    (poor, "hedge venue cannot absorb the minimum: margin"),
    (thin, "hedge venue cannot absorb the minimum: depth within the cap"),
]


@pytest.mark.parametrize(("spoil", "why"), FLAWS, ids=[f.__name__ for f, _ in FLAWS])
def test_each_missing_means_forbids_a_maker_and_says_which(
    spoil: Callable[[World], World], why: str
) -> None:
    assert intents(spoil(world())) == ([why], [])


@pytest.mark.parametrize(("spoil", "why"), FLAWS, ids=[f.__name__ for f, _ in FLAWS])
def test_a_resting_maker_is_withdrawn_the_moment_one_stops_being_true(
    spoil: Callable[[World], World], why: str
) -> None:
    assert intents(resting())[1] == []
    _, (said,) = intents(spoil(resting()))
    if "absorb" in why:
        assert said.startswith("grvt absorbs 0 of 0.5: ")
        assert said.endswith(why.rpartition(": ")[2])
    else:
        assert said == why


@pytest.mark.parametrize(("spoil", "why"), FLAWS, ids=[f.__name__ for f, _ in FLAWS])
def test_closing_makers_need_a_hedge_as_much_as_opening_ones(
    spoil: Callable[[World], World], why: str
) -> None:
    w = with_position(world(), "0.5", "-0.5")
    w = replace(w, cycle=Cycle(1, CyclePhase.UNWIND))
    if spoil in (thin, poor):  # a close buys back on the hedge venue: asks, and no margin
        w = with_book(w, book(asks=[("3000.05", "0.004")])) if spoil is thin else poor(w)
        expected = [why] if spoil is thin else []
    else:
        w, expected = spoil(w), [why]
    assert intents(w)[0] == expected


@pytest.mark.parametrize("mode", [Mode.REDUCING, Mode.FLATTENING, Mode.HALTED])
def test_a_latch_makes_nothing_hedgeable(mode: Mode) -> None:
    w = replace(resting(), mode=mode, reason="max_daily_loss: x")
    assert unhedgeable(w, params(), at()) == f"latched {mode.name.lower()}"
    assert "max_daily_loss: x" in intents(w)[1]


def test_an_account_reading_that_has_grown_old_is_no_margin() -> None:
    w = with_book(with_book(resting(), book(Venue.BACKPACK), 31), book(), 31)
    assert intents(w, 29.9)[1] == []
    assert intents(w, 31)[1] == ["grvt margin is unknown"]


@pytest.mark.parametrize(
    ("available", "leverage", "room"),
    [
        ("300", "10", "0.99"),  # 300 x 10 = 3000 quote, less the taker fee
        ("300", "1", "0.09"),
        ("30", "10", "0.09"),
        ("0.000000001", "10", "0"),
        ("-5", "10", "0"),
    ],
)
def test_margin_is_available_times_leverage_less_the_fee(
    available: str, leverage: str, room: str
) -> None:
    w = money(world(), available=Quote(nano(available)), leverage=nano(leverage))
    found = hedge_room(w, Side.BUY, params(), at())
    assert (found.qty, found.bound) == (qty(room) if room != "0" else 0, "margin")


def test_margin_bounds_the_size_of_the_next_maker() -> None:
    w = money(world(), available=Quote(nano("60")))
    (place,) = [i for i in decide(w, params(), at()) if isinstance(i, Place)]
    assert place.draft.qty == qty("0.19")


def test_without_an_account_or_a_price_there_is_no_room() -> None:
    assert hedge_room(no_account(world()), Side.BUY, params(), at()).qty == 0
    assert hedge_room(empty(world()), Side.BUY, params(), at()).qty == 0


def test_what_shrinks_the_hedge_leg_needs_no_margin() -> None:
    w = money(with_position(world(), "0.5", "-0.5"), available=Quote(0))
    assert hedge_room(w, Side.SELL, params(), at()).qty == qty("0.5")
    assert hedge_room(w, Side.BUY, params(), at()).qty == 0


def test_what_the_leg_grew_since_the_account_was_read_has_used_margin() -> None:
    w = money(world(), available=Quote(nano("300")))
    grown = with_position(w, "0.4", "-0.4")
    assert hedge_room(grown, Side.BUY, params(), at()).qty == qty("0.59")
    again = money(grown, available=Quote(nano("300")))
    assert again.hedge_leg.facts.account_position == SignedQty(nano("-0.4"))
    assert hedge_room(again, Side.BUY, params(), at()).qty == qty("0.99")


def test_exposure_that_waits_for_its_hedge_is_reserved() -> None:
    w = with_book(world(), book(bids=[("3000.00", "0.6")]))
    assert hedge_room(with_position(w, "0.2", "0"), Side.BUY, params(), at()).qty == qty("0.4")
    # the other way round nets first: it needs no more
    assert hedge_room(with_position(w, "-0.2", "0"), Side.BUY, params(), at()).qty == qty("0.6")


def test_a_partly_filled_maker_is_withdrawn_when_rest_and_exposure_outgrow_the_book() -> None:
    w = with_book(resting(), book(bids=[("3000.00", "0.5")]))
    w = fold(w, fill(w, 1, "0.3"))
    assert outgrown(w, Side.BUY, qty("0.2"), params(), at()) == ""
    thinner = with_book(w, book(bids=[("3000.00", "0.49")]))
    assert outgrown(thinner, Side.BUY, qty("0.2"), params(), at()) == (
        "grvt absorbs 0.19 of 0.2: depth within the cap"
    )


def test_depth_that_shrinks_below_the_resting_size_withdraws_it_at_once() -> None:
    w = resting()
    assert intents(with_book(w, book(bids=[("3000.00", "0.5")])))[1] == []
    _, (why,) = intents(with_book(w, book(bids=[("3000.00", "0.49")])))
    assert why == "grvt absorbs 0.49 of 0.5: depth within the cap"


# --- guards that forbid opening only -----------------------------------------------------------


HELD = Level("margin", "margin_ratio of grvt 41 %, limit 40 %", stops=True, venue="grvt")


def test_a_standing_condition_withdraws_an_opening_maker_and_not_a_closing_one() -> None:
    w = fold(resting(), LevelsMoved((HELD,), at()))
    assert intents(w)[1] == [f"margin: {HELD.what}"]
    close = replace(with_position(world(), "0.5", "-0.5"), cycle=Cycle(1, CyclePhase.UNWIND))
    close = fold(close, LevelsMoved((HELD,), at()))
    (place,) = [i for i in decide(close, params(), at()) if isinstance(i, Place)]
    assert place.draft.purpose is Purpose.CLOSE
    told = replace(HELD, stops=False)
    assert intents(fold(resting(), LevelsMoved((told,), at())))[1] == []


def funded(w: World, primary: str, hedge: str, in_seconds: float) -> World:
    due = Ns(at().wall + int(in_seconds * SECOND))
    for venue, rate, hours in ((Venue.BACKPACK, primary, 1), (Venue.GRVT, hedge, 8)):
        w = read(w, Funding(venue, nano(rate), hours, due))
    return w


@pytest.mark.parametrize(
    ("primary", "hedge", "iteration", "blocked"),
    [
        ("0.0001", "0", 1, True),  # long the primary pays
        ("0.0001", "0", 2, False),
        ("-0.0001", "0", 1, False),
        ("0", "-0.0001", 1, True),  # short the hedge venue pays a negative rate
        ("0", "0.0001", 2, True),
        ("0.0001", "0.0002", 1, False),  # what is received outweighs what is paid
        ("0.0002", "0.0001", 1, True),
        ("0.0001", "0.0001", 1, False),
    ],
)
def test_F70_no_opening_just_before_a_funding_that_the_position_would_pay(
    primary: str, hedge: str, iteration: int, blocked: bool
) -> None:
    w = funded(replace(world(), cycle=Cycle(iteration)), primary, hedge, 5)
    assert bool(intents(w)[0]) is blocked
    side = Side.BUY if iteration % 2 else Side.SELL
    price = "3000.00" if side is Side.BUY else "3000.05"
    maker = planned(w, maker_draft(side, price=price))
    maker = fold(maker, view(maker, 1, "0", Status.OPEN))
    assert bool(intents(maker)[1]) is blocked


@pytest.mark.parametrize("in_seconds", [11.0, -0.1])
def test_F70_the_window_is_short_and_ends_with_the_settlement(in_seconds: float) -> None:
    assert intents(funded(world(), "0.01", "0", in_seconds))[0] == []


def test_F70_a_close_never_waits_for_a_funding_and_zero_switches_it_off() -> None:
    w = funded(world(), "0.01", "-0.01", 5)
    assert intents(w, p=params(funding_guard=Ns(0)))[0] == []
    close = replace(with_position(w, "0.5", "-0.5"), cycle=Cycle(1, CyclePhase.UNWIND))
    assert intents(close)[0] == []


# --- clocks --------------------------------------------------------------------------------------


def test_F60_a_step_of_our_wall_clock_is_seen_before_any_venue_is_asked() -> None:
    w = read(resting(), ClockOffset(Venue.GRVT, Ns(0)))
    w = read(w, ClockOffset(Venue.BACKPACK, Ns(0)))
    assert intents(w, 1)[1] == []
    for step in (10, -10):
        now = Now(at(1).mono, Ns(at(1).wall + step * SECOND))
        out = decide(w, params(), now)
        whys = [i.why for i in out if isinstance(i, Cancel)]
        assert whys == ["backpack clock differs from ours by more than 1000 ms"]
    back = decide(w, params(), at(2))
    assert [i for i in back if isinstance(i, Cancel)] == []


def test_F60_a_clock_never_measured_is_no_reason_to_stand_still() -> None:
    assert world().primary.facts.clock_offset(at()) is None
    assert unhedgeable(world(), params(), at()) == ""


# --- facts -----------------------------------------------------------------------------------


def test_F78_the_first_account_read_is_what_later_ones_are_compared_with() -> None:
    w = money(world(), leverage=nano(5))
    facts = w.hedge_leg.facts
    assert facts.baseline is not None
    assert facts.account is not None
    assert (facts.baseline.leverage, facts.account.value.leverage) == (nano(10), nano(5))


def test_F79_a_refusal_keeps_its_first_moment_until_access_is_back() -> None:
    w = read(read(world(), Access(Venue.GRVT, "a"), 1), Access(Venue.GRVT, "b"), 5)
    assert (w.hedge_leg.facts.refused, w.hedge_leg.facts.refused_at) == ("b", at(1).mono)
    w = read(w, Access(Venue.GRVT, ""), 6)
    assert (w.hedge_leg.facts.refused, w.hedge_leg.facts.refused_at) == ("", None)


@pytest.mark.parametrize(
    ("equity", "maintenance", "ratio"),
    [("1000", "0", 0), ("1000", "400", 4000), ("400", "400", 10_000), ("-1", "1", 10_000)],
)
def test_margin_ratio_is_whole_at_liquidation(equity: str, maintenance: str, ratio: int) -> None:
    made: Account = account(equity=Quote(nano(equity)), maintenance=Quote(nano(maintenance)))
    assert made.margin_ratio() == bps(ratio)


def test_facts_age() -> None:
    facts = world().hedge_leg.facts
    assert facts.fresh_mark(at(15), Ns(15 * SECOND)) == px("3000.02")
    assert facts.fresh_mark(at(15.1), Ns(15 * SECOND)) is None
    assert replace(facts, mark=None).fresh_mark(at(), Ns(SECOND)) is None
    assert isinstance(facts.account, Observed)


def test_a_funding_payment_is_booked_to_its_leg() -> None:
    paid = FundingPayment(Venue.GRVT, "k", Quote(nano(-3)), Ns(1))
    w = fold(world(), FundingSeen(paid, at()))
    assert (w.hedge_leg.funding, w.primary.funding) == (nano(-3), 0)


def test_levels_and_naked_time_of_the_world() -> None:
    w = with_position(world(), "0.5", "0")
    assert w.naked_time(at(2)) == nano("0.5") * (at(2).mono - w.net_at)
    assert fold(w, LevelsMoved((HELD,), at())).held() == f"margin: {HELD.what}"
    assert w.held() == ""

"""The branches of the core that only odd input takes: each has one answer, and none is silent."""

from dataclasses import replace
from typing import Any

import pytest

from daemon.core import Command
from daemon.journal_file import JournalLost
from safety.guards import GuardView, Trip, trips
from safety.reasons import Reason
from strategy.cycle import advance_cycle
from strategy.domain import (
    Fees,
    Funding,
    Mode,
    Ns,
    Quote,
    Side,
    Status,
    Tif,
    Venue,
    bps,
    nano,
    nano_round,
    ratio_bps,
    side_of,
)
from strategy.events import OrderAnswered, VenueRead
from strategy.fold import fold
from strategy.quote import withdraw_reason
from tests.builders import (
    LIMITS,
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
    with_position,
    world,
)
from tests.unit.fold_rig import ONE, maker_world, seen
from tests.unit.test_guards_core import Rig
from tests.unit.test_router import AT_ONCE, exposed, fresh, placed, step

# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "1,0", "NaN", "Infinity", "-Infinity", "0x10"])
@pytest.mark.parametrize("read", [nano, nano_round])
def test_text_that_is_no_finite_decimal_is_an_error_that_quotes_it(read: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"not a finite decimal: '{text}'"):
        read(text)


def test_a_float_is_no_money_even_when_it_is_whole() -> None:
    value: Any = 1.0
    with pytest.raises(ValueError, match=r"float 1\.0 where exact money is required"):
        nano(value)


@pytest.mark.parametrize("whole", [0, -1])
def test_there_is_no_ratio_to_nothing(whole: int) -> None:
    with pytest.raises(ValueError, match=f"no ratio to {whole}"):
        ratio_bps(1, whole)


def test_a_zero_quantity_has_no_side() -> None:
    with pytest.raises(ValueError, match="a zero quantity has no side"):
        side_of(0)


# --- words that the type does not know: a programming error, never a silent no-op ----------------


def test_the_fold_refuses_what_is_no_event() -> None:
    stray: Any = "stray"
    with pytest.raises(AssertionError, match="stray"):
        fold(world(), stray)
    with pytest.raises(AssertionError, match="stray"):
        seen(world(), stray)


def test_the_fold_refuses_a_verdict_beside_the_three() -> None:
    stray: Any = "perhaps"
    with pytest.raises(AssertionError, match="perhaps"):
        fold(maker_world(), OrderAnswered(ONE, stray, at()))


def test_the_cycle_refuses_a_phase_that_it_does_not_know() -> None:
    stray: Any = "sideways"
    w = world()
    with pytest.raises(AssertionError, match="sideways"):
        advance_cycle(replace(w, cycle=replace(w.cycle, phase=stray)), params(), at(), False)


# --- the World -----------------------------------------------------------------------------------


def test_equity_is_unknown_while_a_position_has_no_mark() -> None:
    w = with_book(with_position(world(), "1", "-1"), None)
    assert w.equity() is None
    assert w.day_pnl() is None
    assert with_book(world(), None).equity() == 0, "without a position no mark is needed"


def test_a_funding_rate_that_was_read_is_kept_with_its_time() -> None:
    read = Funding(Venue.GRVT, rate=nano("0.0001"), interval_hours=8, next_at=at(60).wall)
    kept = fold(world(), VenueRead(read, at(2))).hedge_leg.facts.funding
    assert kept is not None
    assert (kept.value, kept.at) == (read, at(2).mono)


def test_fees_that_were_read_change_the_leg_and_not_the_facts() -> None:
    before = world()
    after = fold(before, VenueRead(Fees(Venue.GRVT, bps("-0.1"), bps(4)), at(2)))
    assert after.hedge_leg.facts == before.hedge_leg.facts
    assert (after.hedge_leg.maker_fee, after.hedge_leg.taker_fee) == (bps("-0.1"), bps(4))


# --- makers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [Mode.RUNNING, Mode.REDUCING])
def test_a_primary_order_that_takes_ends_by_itself_and_is_not_cancelled(mode: Mode) -> None:
    taking = replace(maker_draft(), tif=Tif.IOC, post_only=False)
    w = replace(planned(world(), taking), mode=mode)
    assert advance_cycle(w, params(), at(1), False) == []


def test_a_maker_that_rested_long_enough_is_withdrawn() -> None:
    p = params(maker_rest=Ns(5 * SECOND))
    w = maker_world()
    maker = w.orders[ONE]
    assert withdraw_reason(fresh(w, 4.9), maker, p, at(4.9)) == ""
    assert withdraw_reason(fresh(w, 5), maker, p, at(5)) == "rested long enough"


# --- guards --------------------------------------------------------------------------------------


def test_exposure_that_no_order_can_hedge_latches_with_its_own_words() -> None:
    calm = GuardView(Quote(0), 0, (), (), ())
    assert trips(calm, LIMITS, 3) == ()
    stuck = replace(calm, stranded="net 0.009 below the minimum of grvt")
    assert trips(stuck, LIMITS, 3) == (Trip(Reason.NAKED, "net 0.009 below the minimum of grvt"),)


# --- the router ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen_px", "limit"), [("3000.00", "2999.50"), ("3002.00", "3001.00"), ("2999.60", "2999.50")]
)
def test_a_second_taking_order_goes_as_far_as_the_first_that_is_still_in_flight_within_the_cap(
    seen_px: str, limit: str
) -> None:
    p = replace(AT_ONCE, cap=bps("3.3333"))
    w, intents = step(with_book(exposed(), book(bids=[("2999.50", "9")])), p, 0)
    (first,) = placed(intents)
    assert first.draft.px == px("2999.50")
    w = planned(w, first.draft, 2)
    w = planned(w, maker_draft(), 3)
    w = fold(fold(w, fill(w, 3, "0.5", "t3", 0.1)), view(w, 3, "0.5", Status.FILLED, 0.1))
    w = fresh(w, 0.3, book(bids=[(seen_px, "9")], asks=[("3002.10", "9")]))
    (second,) = placed(step(w, p, 0.3)[1])
    assert second.draft.qty == qty("0.5")
    assert (second.draft.px, second.draft.side) == (px(limit), Side.SELL)
    assert second.draft.px <= draft(price=seen_px).px


def test_F39_S3_an_order_whose_row_is_not_durable_is_neither_planned_nor_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    rig.fresh()

    def full(*_: object) -> None:
        raise JournalLost("database or disk is full")

    monkeypatch.setattr(rig.journal, "order", full)
    commands: list[Command] = []
    assert rig.core._place(maker_draft(), commands, rig.now()), "and the core decides again"
    assert (commands, rig.w.orders) == ([], {})

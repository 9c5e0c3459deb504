"""The fold: monotone, idempotent, and suspicious of what contradicts itself."""

from dataclasses import replace

import pytest

from strategy.domain import ClientId, Fill, OrderView, Quote, Side, Status, Venue, nano, plain
from strategy.events import OrderAnswered, OrderDead, Seen, Verdict
from strategy.fold import fold
from strategy.world import OrderState, World
from tests.builders import (
    at,
    draft,
    fill,
    maker_draft,
    planned,
    px,
    qty,
    view,
    with_position,
    world,
)


def maker_world(size: str = "0.5") -> World:
    return planned(world(), maker_draft(size=size))


def order_state(w: World, number: int = 1) -> OrderState:
    return w.orders[ClientId(number)].state


def test_S7_traded_size_never_shrinks() -> None:
    w = fold(maker_world(), view(maker_world(), 1, "0.3", Status.OPEN))
    later = fold(w, view(w, 1, "0.1", Status.OPEN))
    assert later.orders[ClientId(1)].cum == qty("0.3")
    assert later.primary.position == nano("0.3")


def test_S7_final_size_below_what_traded_is_a_violation() -> None:
    w = fold(maker_world(), view(maker_world(), 1, "0.3", Status.OPEN))
    broken = fold(w, view(w, 1, "0.1", Status.CANCELLED))
    assert order_state(broken) is OrderState.DONE
    assert broken.violations
    assert broken.primary.position == nano("0.3")


def test_F23_a_contradicted_order_that_the_venue_ended_does_not_block_for_ever() -> None:
    w = maker_world()
    w = fold(w, view(w, 1, "0.6", Status.OPEN))
    assert order_state(w) is OrderState.QUARANTINED
    w = fold(w, view(w, 1, "0", Status.CANCELLED))
    assert order_state(w) is OrderState.DONE
    assert w.reserved(Venue.BACKPACK, 1) == 0


def test_an_ended_order_never_comes_back_to_life() -> None:
    w = fold(maker_world(), view(maker_world(), 1, "0", Status.CANCELLED))
    w = fold(w, view(w, 1, "0.9", Status.OPEN))
    assert order_state(w) is OrderState.DONE
    assert w.violations


def test_F23_more_traded_than_ordered_is_a_violation() -> None:
    w = maker_world()
    broken = fold(w, view(w, 1, "0.6", Status.OPEN))
    assert order_state(broken) is OrderState.QUARANTINED
    assert broken.primary.position == 0


def test_REQ_26_a_repeated_fill_counts_once() -> None:
    w = maker_world()
    once = fold(w, fill(w, 1, "0.2", "t1"))
    twice = fold(once, fill(once, 1, "0.2", "t1"))
    assert plain(twice.primary.position) == "0.2"
    assert twice.primary.volume == once.primary.volume


def test_S6_order_and_fill_messages_commute() -> None:
    w = maker_world()
    messages = [
        fill(w, 1, "0.2", "t1"),
        fill(w, 1, "0.3", "t2"),
        view(w, 1, "0.2", Status.OPEN),
        view(w, 1, "0.5", Status.FILLED),
    ]
    ends = []
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]):
        end = w
        for index in order:
            end = fold(end, messages[index])
        record = end.orders[ClientId(1)]
        ends.append(
            (end.primary.position, end.primary.cash, record.state, record.cum, record.filled)
        )
    assert len(set(ends)) == 1
    assert ends[0][0] == nano("0.5")


def test_REQ_26_a_late_fill_of_a_replaced_order_is_exposure() -> None:
    w = maker_world()
    w = fold(w, view(w, 1, "0", Status.CANCELLED))
    w = planned(w, maker_draft(price="3000.01"), 2)
    w = fold(w, fill(w, 1, "0.2", "late"))
    assert plain(w.net) == "0.2"


def test_F20_fill_before_the_acknowledgement_is_adopted() -> None:
    w = maker_world()
    w = fold(w, fill(w, 1, "0.5"))
    w = fold(w, OrderAnswered(ClientId(1), Verdict.ACCEPTED, at()))
    assert order_state(w) is OrderState.LIVE
    assert plain(w.net) == "0.5"


def test_S5_a_lost_reply_is_in_doubt_and_keeps_its_reservation() -> None:
    w = planned(with_position(world(), "0.5"), draft())
    w = fold(w, OrderAnswered(ClientId(1), Verdict.IN_DOUBT, at(), message="timeout"))
    assert order_state(w) is OrderState.IN_DOUBT
    assert w.reserved(Venue.GRVT, -1) == qty("0.5")
    assert w.doubtful()


def test_a_lost_reply_does_not_undo_what_a_stream_said() -> None:
    w = maker_world()
    w = fold(w, view(w, 1, "0.1", Status.OPEN))
    w = fold(w, OrderAnswered(ClientId(1), Verdict.IN_DOUBT, at(), message="reset"))
    assert order_state(w) is OrderState.LIVE


def test_REQ_5_a_cancel_request_does_not_end_an_order() -> None:
    w = maker_world()
    w = fold(w, fill(w, 1, "0.1"))
    assert w.reserved(Venue.BACKPACK, 1) == qty("0.4")
    w = fold(w, view(w, 1, "0.3", Status.CANCELLED))
    assert w.reserved(Venue.BACKPACK, 1) == 0
    assert plain(w.net) == "0.3"


def test_F29_unknown_status_word_quarantines_the_order() -> None:
    w = maker_world()
    seen = view(w, 1, "0", Status.UNKNOWN)
    assert isinstance(seen.event, OrderView)
    w = fold(w, replace(seen, event=replace(seen.event, raw_status="Wobbling")))
    assert order_state(w) is OrderState.QUARANTINED
    assert "Wobbling" in w.orders[ClientId(1)].reason
    assert w.reserved(Venue.BACKPACK, 1) == qty("0.5")


def test_proof_of_death_frees_the_reservation() -> None:
    w = planned(world(), draft())
    w = fold(w, OrderAnswered(ClientId(1), Verdict.IN_DOUBT, at()))
    w = fold(w, OrderDead(ClientId(1), "not found after expiry", at(9)))
    assert order_state(w) is OrderState.DEAD
    assert w.reserved(Venue.GRVT, -1) == 0


def test_refusal_after_a_trade_is_a_violation() -> None:
    w = maker_world()
    w = fold(w, fill(w, 1, "0.1"))
    w = fold(w, OrderAnswered(ClientId(1), Verdict.REFUSED, at(), code="X"))
    assert w.violations


def test_F25_a_fill_of_nobody_is_foreign_activity() -> None:
    w = world()
    stranger = Fill(
        Venue.GRVT, "x", None, "zz", "ETH_USDT_Perp", Side.BUY, qty(1), px(3000), Quote(0),
        "USDT", False, at().wall,
    )  # fmt: skip
    w = fold(w, Seen(stranger, at(), "stream"))
    assert w.foreign == ("grvt x",)
    assert w.hedge_leg.position == 0


def test_F26_a_close_by_the_venue_itself_is_exposure_once() -> None:
    w = with_position(world(), "0.5", "-0.5")
    forced = Fill(
        Venue.BACKPACK, "liq", None, "zz", "ETH_USDC_PERP", Side.SELL, qty("0.5"), px(3000),
        Quote(0), "USDC", False, at().wall, forced=True,
    )  # fmt: skip
    w = fold(fold(w, Seen(forced, at(), "stream")), Seen(forced, at(), "rest"))
    assert w.primary.position == 0
    assert plain(w.net) == "-0.5"
    assert w.forced


def test_REQ_39_cash_fees_and_marks_give_the_profit_to_the_cent() -> None:
    w = maker_world()
    w = fold(w, fill(w, 1, "0.5", fee="0.3"))
    w = planned(w, draft(price="3000.05"), 2)
    w = fold(w, fill(w, 2, "0.5", "h1", fee="0.675"))
    # bought 0.5 at 3000.00, sold 0.5 at 3000.05, both marked at 3000.025
    assert plain(w.equity() or 0) == "-0.95"


def test_naked_exposure_is_integrated_over_time() -> None:
    w = maker_world()
    w = fold(w, fill(w, 1, "0.5", when=1))
    w = planned(w, draft(), 2, when=1)
    w = fold(w, fill(w, 2, "0.5", "h", when=3))
    assert w.naked_integral == nano("0.5") * 2 * 1_000_000_000
    assert plain(w.max_naked) == "0.5"
    assert w.naked_since is None


def test_dust_below_the_hedge_minimum_does_not_start_the_clock() -> None:
    w = maker_world()
    w = fold(w, fill(w, 1, "0.0037"))
    assert plain(w.net) == "0.0037"
    assert w.naked_since is None


# --- closes by the venue (F26), garbled (F23) ---


def closed(size: str, side: Side = Side.SELL) -> Seen:
    made = Fill(
        Venue.GRVT, "t9", None, "x1", "ETH_USDT_Perp", side, qty(size), px("3000"),
        Quote(0), "USDT", False, at().wall, forced=True,
    )  # fmt: skip
    return Seen(made, at(5), "stream")


def held_short_on_grvt() -> World:
    return with_position(world(), grvt="-0.4")


@pytest.mark.parametrize(
    ("told", "left", "violations"),
    [("0.4", "0", 0), ("0.1", "-0.3", 0), ("400", "0", 1), ("0.5", "0", 1)],
)
def test_F23_F26_a_close_by_the_venue_counts_for_no_more_than_is_held(
    told: str, left: str, violations: int
) -> None:
    w = fold(held_short_on_grvt(), closed(told, Side.BUY))
    assert w.hedge_leg.position == nano(left)
    assert len(w.violations) == violations
    assert len(w.forced) == 1
    assert fold(w, closed(told, Side.BUY)) is w, "it counts once"


def test_F23_F26_a_close_of_what_is_not_held_moves_nothing_and_is_a_violation() -> None:
    w = fold(held_short_on_grvt(), closed("0.4", Side.SELL))
    assert w.hedge_leg.position == nano("-0.4")
    assert w.forced == ()
    assert "a close of 0.4 where less is held" in w.violations[0]


def test_F26_a_close_may_hold_what_an_order_traded_unheard_of() -> None:
    w = planned(held_short_on_grvt(), draft(size="0.5"), 3)  # a sell, live
    w = fold(w, closed("0.9", Side.BUY))
    assert w.hedge_leg.position == nano("0.5")
    assert w.violations == ()
    beyond = planned(held_short_on_grvt(), draft(size="0.5"), 3)
    assert fold(beyond, closed("0.91", Side.BUY)).hedge_leg.position == 0

"""Liquidation by steps, the insurance fund, auto-deleveraging and forced closes (F26)."""

from dataclasses import replace

import pytest

from exchanges.simulator.defaults import BACKPACK_RULES, GRVT_RULES
from exchanges.simulator.model import (
    Ended,
    OrderChanged,
    Origin,
    Phase,
    PositionChanged,
    PublicTrade,
    Rules,
    SimFill,
)
from strategy.domain import NANO, Px, Qty, Quote, Side, Tif, bps, nano
from tests.sim.test_engine import Desk, snapshot

SMALL = replace(BACKPACK_RULES, starting_balance=Quote(nano(1000)), liquidation_fee=bps(0))


def forced(desk: Desk) -> list[SimFill]:
    return [fill for fill in desk.engine.fills if fill.forced]


def liquidating(desk: Desk) -> bool:
    return desk.engine.accounts["a"].liquidating


def market(desk: Desk, bid: str, ask: str, size: str = "100000") -> Desk:
    return desk.feed(snapshot([(bid, size)], [(ask, size)]))


def long_of(rules: Rules, qty: str) -> Desk:
    desk = market(Desk(rules), "3000", "3000.02")
    desk.buy(qty, "3000.02", tif=Tif.IOC)
    return desk


def test_a_large_position_is_closed_in_bounded_steps_until_it_is_healthy() -> None:
    rules = replace(
        GRVT_RULES,
        starting_balance=Quote(nano(100_000)),
        liquidation_step=Quote(nano(30_000)),
        liquidation_fee=bps(0),
    )
    desk = Desk(rules)
    desk.engine.set_leverage("a", 50)
    market(desk, "3000", "3000.02")
    desk.buy("600", "3000.02", tif=Tif.IOC)
    market(desk, "2862", "2862.02")
    closed = forced(desk)
    assert len(closed) >= 3
    assert len({fill.order_id for fill in closed}) == len(closed)
    assert all(fill.qty * fill.px <= nano(30_000) * NANO for fill in closed)
    assert {fill.origin for fill in closed} == {Origin.LIQUIDATION}
    held = desk.engine.accounts["a"].positions[desk.symbol].qty
    assert 0 < held < nano(600)
    assert desk.engine.equity("a") >= desk.engine.maintenance_margin("a")
    assert not desk.engine.accounts["a"].liquidating
    assert desk.engine.money().total == 0


def test_the_liquidation_fee_goes_to_the_insurance_fund() -> None:
    desk = long_of(replace(SMALL, liquidation_fee=bps(50)), "3")
    before = desk.engine.insurance()
    market(desk, "2690", "2690.02")
    (fill,) = forced(desk)
    value = 3 * nano(2690)
    assert fill.fee == value * 55 // 10_000
    assert desk.engine.insurance() == before + value * 50 // 10_000
    assert desk.engine.money().total == 0


def test_the_insurance_fund_pays_what_a_closed_account_still_owes() -> None:
    desk = long_of(SMALL, "3")
    before = desk.engine.insurance()
    market(desk, "2500", "2500.02")
    account = desk.engine.accounts["a"]
    assert [fill.px for fill in forced(desk)] == [nano(2500)]
    assert account.balance == 0
    owed = before - desk.engine.insurance()
    assert owed == nano(1500) + nano("0.06") + account.fees_paid - nano(1000)
    assert desk.engine.money().total == 0


def test_what_the_fund_cannot_pay_is_deleveraged_from_the_most_profitable_opposite() -> None:
    desk = market(Desk(replace(SMALL, insurance_fund=Quote(0))), "3000", "3000.02")
    desk.engine.add_account("rich", balance=Quote(nano(100_000)))
    desk.order(Side.SELL, "2", "3000", account="rich", tif=Tif.IOC)
    desk.order(Side.SELL, "2", "3000", account="b", tif=Tif.IOC)
    desk.wait()
    desk.buy("3", "3000.02", tif=Tif.IOC)
    last = desk.engine.last_price(desk.symbol)
    desk.events.clear()
    market(desk, "2500", "2500.02")
    # b earned as much as rich on a hundredth of its equity: it comes first, with all it has.
    fills = [f for f in forced(desk) if f.origin is Origin.ADL]
    assert [(f.account, f.qty, f.side) for f in fills] == [
        ("b", nano(2), Side.BUY),
        ("rich", nano(1), Side.BUY),
    ]
    assert [(f.account, f.qty) for f in forced(desk) if f.origin is Origin.LIQUIDATION] == [
        ("a", nano(2)),
        ("a", nano(1)),
    ]
    engine = desk.engine
    assert engine.accounts["a"].positions[desk.symbol].qty == 0
    assert 0 <= engine.accounts["a"].balance < nano("0.05")
    assert {f.fee for f in forced(desk)} == {0}
    assert {f.px for f in fills} == {fills[0].px}
    assert fills[0].px > nano(2600)
    assert not [event for event in desk.events if isinstance(event, PublicTrade)]
    assert engine.last_price(desk.symbol) == last
    assert engine.money().total == 0


def test_without_an_opposite_account_the_rest_of_the_market_is_deleveraged() -> None:
    desk = long_of(replace(SMALL, insurance_fund=Quote(0)), "3")
    desk.feed(snapshot([("2000", "1")], [("2000.02", "1")]))
    assert [(f.account, f.origin, f.qty) for f in forced(desk)] == [
        ("a", Origin.LIQUIDATION, nano(3))
    ]
    assert desk.engine.external_position(desk.symbol) == 0
    assert 0 <= desk.engine.accounts["a"].balance < nano("0.05")
    assert not [e for e in desk.events if isinstance(e, PublicTrade)][1:]


def test_a_healthy_bystander_is_not_touched() -> None:
    desk = long_of(SMALL, "3")
    desk.engine.deposit("b", Quote(nano(50_000)))
    desk.order(Side.BUY, "3", "3000.02", account="b", tif=Tif.IOC)
    resting = desk.order(Side.BUY, "1", "2400", account="b")
    desk.wait()
    market(desk, "2690", "2690.02")
    assert {fill.account for fill in forced(desk)} == {"a"}
    assert resting.phase is Phase.OPEN
    assert desk.engine.accounts["b"].positions[desk.symbol].qty == nano(3)


def test_an_account_that_cannot_be_closed_yet_is_marked_and_closed_later() -> None:
    desk = long_of(SMALL, "3")
    desk.feed(snapshot([("2690", "1")], [("2690.02", "9")]))
    assert liquidating(desk)
    assert desk.engine.accounts["a"].positions[desk.symbol].qty == nano(2)
    desk.feed(snapshot([("2689", "9")], [("2690.02", "9")]))
    assert desk.engine.accounts["a"].positions[desk.symbol].qty == 0
    assert not liquidating(desk)


def test_a_waiting_account_that_recovers_is_left_alone() -> None:
    desk = long_of(SMALL, "3")
    desk.feed(snapshot([("2690", "1")], [("2690.02", "9")]))
    assert liquidating(desk)
    market(desk, "2900", "2900.02")
    assert not liquidating(desk)
    assert desk.engine.accounts["a"].positions[desk.symbol].qty == nano(2)


@pytest.mark.parametrize("rules", [SMALL, replace(GRVT_RULES, starting_balance=Quote(nano(1000)))])
@pytest.mark.parametrize("side", list(Side))
def test_the_account_is_liquidated_at_its_liquidation_price(rules: Rules, side: Side) -> None:
    desk = market(Desk(rules), "3000", "3000.02")
    px = "3000.02" if side is Side.BUY else "3000"
    desk.order(side, "3", px, tif=Tif.IOC)
    desk.wait()
    at = desk.engine.liquidation_price("a", desk.symbol)
    assert at is not None
    assert (at < nano(3000)) is (side is Side.BUY)
    tick = nano("0.01")
    for distance, closed in ((3 * tick, False), (-3 * tick, True)):
        mid = at + side.value * distance
        half = 5 * nano("0.001")
        bid, ask = (mid - half) // tick * tick, (mid + half) // tick * tick + tick
        size = Qty(nano(100_000))
        levels = (((Px(bid), size),), ((Px(ask), size),))
        desk.feed(replace(snapshot([], []), bids=levels[0], asks=levels[1]))
        assert bool(forced(desk)) is closed
    assert desk.engine.liquidation_price("a", desk.symbol) is None


def test_F26_a_position_is_closed_on_demand_as_a_liquidation() -> None:
    desk = market(Desk(), "3000", "3000.02")
    desk.buy("2", "3000.02", tif=Tif.IOC)
    resting = desk.order(Side.BUY, "1", "2900", post_only=True)
    desk.wait().events.clear()
    order = desk.engine.force_close(desk.now, "a", desk.symbol)
    assert order is not None
    assert (order.phase, order.cum, order.request.side) == (Phase.FILLED, nano(2), Side.SELL)
    assert (resting.phase, resting.ended) == (Phase.CANCELLED, Ended.LIQUIDATION)
    (fill,) = forced(desk)
    assert (fill.origin, fill.px, fill.is_maker) == (Origin.LIQUIDATION, nano(3000), False)
    assert [e for e in desk.events if isinstance(e, PositionChanged)][-1].position.qty == 0
    assert desk.engine.force_close(desk.now, "a", desk.symbol) is None
    assert desk.engine.money().total == 0


def test_F26_a_position_is_deleveraged_on_demand_at_the_mark_without_fee() -> None:
    desk = market(Desk(), "3000", "3000.02")
    desk.sell("2", "3000", tif=Tif.IOC)
    resting = desk.order(Side.SELL, "1", "3100", post_only=True)
    desk.wait().events.clear()
    order = desk.engine.force_close(
        desk.now, "a", desk.symbol, origin=Origin.ADL, qty=Qty(nano("0.5"))
    )
    assert order is not None
    assert order.request.extra == {"forced": True, "origin": Origin.ADL}
    (fill,) = forced(desk)
    assert (fill.origin, fill.qty, fill.fee) == (Origin.ADL, nano("0.5"), 0)
    assert fill.px == nano("3000.01")
    assert resting.phase is Phase.OPEN
    assert desk.engine.accounts["a"].positions[desk.symbol].qty == -nano("1.5")
    assert not [e for e in desk.events if isinstance(e, PublicTrade)]
    assert [e.order.phase for e in desk.events if isinstance(e, OrderChanged) and e.fill] == [
        Phase.FILLED
    ]


@pytest.mark.parametrize(("origin", "qty"), [(Origin.USER, None), (Origin.ADL, 0)])
def test_only_the_venue_can_force_and_only_something(origin: Origin, qty: int | None) -> None:
    desk = market(Desk(), "3000", "3000.02")
    desk.buy("2", "3000.02", tif=Tif.IOC)
    size = None if qty is None else Qty(qty)
    with pytest.raises(ValueError, match="cannot force"):
        desk.engine.force_close(desk.now, "a", desk.symbol, origin=origin, qty=size)
    with pytest.raises(KeyError):
        desk.engine.force_close(desk.now, "nobody", desk.symbol)


def test_marks_that_move_less_than_a_tick_look_at_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = long_of(SMALL, "3")
    looked = 0
    breached = desk.engine._margin.breached

    def count(account: str) -> bool:
        nonlocal looked
        looked += 1
        return breached(account)

    monkeypatch.setattr(desk.engine._margin, "breached", count)
    market(desk, "2999.99", "3000.02")
    assert looked == 0
    market(desk, "2999.99", "3000.01")
    market(desk, "2999", "2999.01")
    assert looked == 2

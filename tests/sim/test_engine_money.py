"""Fees, positions, margin, funding and liquidation in the matching engine."""

from dataclasses import replace

import pytest

from exchanges.simulator.defaults import BACKPACK_RULES, GRVT_RULES
from exchanges.simulator.model import (
    Deny,
    Ended,
    FundingSettled,
    OrderChanged,
    Phase,
    PositionChanged,
    Rules,
)
from strategy.domain import Ns, Quote, Side, Tif, bps, nano
from tests.sim.test_engine import MS, T0, Desk, deny_of, snapshot, trade

HOUR = 3_600_000 * MS
SMALL = replace(BACKPACK_RULES, starting_balance=Quote(nano(1000)))


@pytest.mark.parametrize(
    ("rules", "taker_fee", "maker_fee"),
    [
        (GRVT_RULES, "1.3500045", "-0.003"),
        (BACKPACK_RULES, "1.500005", "0.6"),
    ],
)
def test_fees_follow_the_venue_and_a_negative_fee_is_a_rebate(
    rules: Rules, taker_fee: str, maker_fee: str
) -> None:
    desk = Desk(rules).base()
    taker = desk.buy("1", "3000.01", tif=Tif.IOC)
    maker = desk.order(Side.BUY, "1", "3000.00", post_only=True, account="b")
    desk.wait().feed(trade("3000", "1", Side.SELL))
    assert (taker.fee, maker.fee) == (nano(taker_fee), nano(maker_fee))
    a, b = desk.engine.accounts["a"], desk.engine.accounts["b"]
    assert a.balance == rules.starting_balance - nano(taker_fee)
    assert b.balance == rules.starting_balance - nano(maker_fee)
    assert (a.fees_paid, b.volume) == (nano(taker_fee), nano("3000"))
    assert [f.is_maker for f in desk.engine.fills] == [False, True]


def test_positions_keep_an_average_entry_and_realise_on_reduction() -> None:
    desk = Desk().feed(snapshot([("2990", "10")], [("3000", "1"), ("3010", "10")]))
    desk.buy("2", "3010", tif=Tif.IOC)
    position = desk.engine.accounts["a"].positions[desk.symbol]
    assert (position.qty, position.entry) == (nano("2"), nano("3005"))
    desk.sell("0.5", "2990", tif=Tif.IOC)
    assert (position.qty, position.entry) == (nano("1.5"), nano("3005"))
    assert position.realized == desk.engine.fills[-1].realized == nano("-7.5")
    desk.sell("2", "2990", tif=Tif.IOC)
    assert (position.qty, position.entry) == (nano("-0.5"), nano("2990"))
    assert position.realized == nano("-30")
    desk.buy("0.5", "3010", tif=Tif.IOC)
    assert (position.qty, position.entry, position.realized) == (0, 0, nano("-40"))
    account = desk.engine.accounts["a"]
    assert account.balance == nano(1_000_000) - nano(40) - position.fees
    assert desk.engine.equity("a") == account.balance


def test_equity_counts_unrealised_profit_at_the_mark() -> None:
    desk = Desk().base()
    desk.buy("1", "3000.01", tif=Tif.IOC)
    balance = desk.engine.accounts["a"].balance
    desk.feed(snapshot([("3100", "1")], [("3100.02", "1")]))
    assert desk.engine.equity("a") == balance + nano("100")


def test_margin_is_the_larger_side_of_position_and_orders() -> None:
    """Leverage 10 asks for a tenth (venues.md A7), more than the venue's least rate of 2 %."""
    desk = Desk().feed(snapshot([("2990", "1")], [("3010", "1")]))
    desk.order(Side.BUY, "1", "2900")
    desk.order(Side.SELL, "1", "3100")
    assert desk.engine.margin_used("a") == nano("310")
    desk.wait()
    desk.feed(trade("2900", "1", Side.SELL))
    assert desk.engine.margin_used("a") == nano("300")
    desk.engine.accounts["a"].leverage = 50
    assert desk.engine.margin_used("a") == nano("60")


def test_reducing_orders_need_no_margin_even_when_none_is_left() -> None:
    desk = Desk(SMALL).feed(snapshot([("3000", "9")], [("3000.02", "9")]))
    desk.buy("3", "3000.02", tif=Tif.IOC)
    desk.feed(snapshot([("2850", "9")], [("2850.02", "9")]))
    assert desk.engine.margin_used("a") > desk.engine.equity("a") > 0
    assert deny_of(desk, side=Side.BUY, qty="0.1", px="2850") is Deny.INSUFFICIENT_MARGIN
    assert desk.order(Side.SELL, "1", "2850", tif=Tif.IOC).live
    assert desk.order(Side.SELL, "1", "2850", tif=Tif.IOC, reduce_only=True).live
    assert deny_of(desk, side=Side.SELL, qty="9", px="2850") is Deny.INSUFFICIENT_MARGIN


def test_margin_lost_between_check_and_match_rejects_the_order() -> None:
    desk = Desk(SMALL).feed(snapshot([("3000", "9")], [("3000.02", "9")]))
    desk.buy("2.5", "3000.02", tif=Tif.IOC)
    late = desk.order(Side.BUY, "0.5", "2999")
    desk.feed(snapshot([("2850", "9")], [("2850.02", "9")])).wait()
    assert (late.phase, late.ended, late.deny) == (
        Phase.REJECTED,
        Ended.MARGIN,
        Deny.INSUFFICIENT_MARGIN,
    )


@pytest.mark.parametrize(
    ("rules", "hours", "rate"), [(BACKPACK_RULES, 1, "0.0000125"), (GRVT_RULES, 8, "0.0001")]
)
def test_funding_is_paid_by_longs_on_the_utc_grid(rules: Rules, hours: int, rate: str) -> None:
    interval = hours * HOUR
    start = Ns((T0 // interval + 1) * interval - 10_000 * MS)
    desk = Desk(rules, start=start).base()
    desk.buy("0.5", "3000.01", tif=Tif.IOC)
    desk.sell("0.25", "2999.99", account="b", tif=Tif.IOC)
    before = {key: account.balance for key, account in desk.engine.accounts.items()}
    assert desk.engine.next_due() == start + 10_000 * MS
    desk.wait(10_000)
    paid = [event for event in desk.events if isinstance(event, FundingSettled)]
    assert [(p.account, p.amount, p.at) for p in paid] == [
        ("a", -nano(rate) * 1500, start + 10_000 * MS),
        ("b", nano(rate) * 750, start + 10_000 * MS),
    ]
    for event in paid:
        account = desk.engine.accounts[event.account]
        assert account.balance == before[event.account] + event.amount
        assert account.positions[desk.symbol].funding == event.amount


def test_a_long_pause_settles_every_interval_missed() -> None:
    desk = Desk().base()
    desk.buy("1", "3000.01", tif=Tif.IOC)
    desk.wait(24 * 3_600_000)
    assert len([event for event in desk.events if isinstance(event, FundingSettled)]) == 24


def test_flat_accounts_pay_no_funding() -> None:
    desk = Desk().base()
    desk.buy("1", "3000.01", tif=Tif.IOC)
    desk.sell("1", "2999.90", tif=Tif.IOC)
    desk.wait(3_600_000)
    assert not [event for event in desk.events if isinstance(event, FundingSettled)]


def test_a_maintenance_breach_cancels_orders_and_closes_the_position_by_force() -> None:
    desk = Desk(SMALL).feed(snapshot([("3000", "9")], [("3000.02", "9")]))
    desk.buy("3", "3000.02", tif=Tif.IOC)
    resting = desk.order(Side.SELL, "1", "3050", post_only=True)
    desk.wait().events.clear()
    desk.feed(snapshot([("2690", "2"), ("2680", "9")], [("2690.02", "9")]))
    assert (resting.phase, resting.ended) == (Phase.CANCELLED, Ended.LIQUIDATION)
    forced = [f for f in desk.engine.fills if f.forced]
    assert [(f.px, f.qty, f.side) for f in forced] == [
        (nano("2690"), nano("2"), Side.SELL),
        (nano("2680"), nano("1"), Side.SELL),
    ]
    order = desk.engine.orders[forced[0].order_id]
    assert order.request.extra == {"forced": True}
    assert order.phase is Phase.FILLED
    assert desk.engine.accounts["a"].positions[desk.symbol].qty == 0
    changed = [type(event) for event in desk.events]
    assert changed.count(PositionChanged) == 2
    assert desk.engine.accounts["a"].orders_received == 2


def test_a_liquidation_waits_for_liquidity_and_goes_on_when_it_returns() -> None:
    desk = Desk(SMALL).feed(snapshot([("3000", "9")], [("3000.02", "9")]))
    desk.buy("3", "3000.02", tif=Tif.IOC)
    desk.feed(snapshot([("2690", "1")], [("2690.02", "9")]))
    position = desk.engine.accounts["a"].positions[desk.symbol]
    assert position.qty == nano("2")
    desk.wait()
    forced = [o for o in desk.engine.orders.values() if o.request.extra.get("forced")]
    assert [(o.phase, o.ended) for o in forced] == [(Phase.CANCELLED, Ended.MARKET)]
    desk.feed(snapshot([("2500", "9")], [("2690.02", "9")]))
    assert position.qty == 0


def test_a_halted_market_liquidates_nobody_until_it_reopens() -> None:
    desk = Desk(SMALL).feed(snapshot([("3000", "9")], [("3000.02", "9")]))
    desk.buy("3", "3000.02", tif=Tif.IOC)
    desk.engine.set_market(desk.now, desk.symbol, halt=True)
    desk.feed(snapshot([("2600", "9")], [("2600.02", "9")]))
    assert not [f for f in desk.engine.fills if f.forced]
    desk.engine.set_market(desk.now, desk.symbol, halt=False)
    assert [f.qty for f in desk.engine.fills if f.forced] == [nano("3")]


def test_only_the_liquidated_account_s_fill_is_forced() -> None:
    desk = Desk(SMALL).feed(snapshot([("3000", "9")], [("3000.02", "9")]))
    desk.buy("3", "3000.02", tif=Tif.IOC)
    desk.feed(snapshot([("2800", "0.1")], [("2800.02", "9")]))
    desk.order(Side.BUY, "3", "2700", account="b", post_only=True)
    desk.wait()
    desk.feed(snapshot([("2690", "1")], [("2700.02", "9")]))
    forced = {(f.account, f.is_maker): f.forced for f in desk.engine.fills[1:]}
    assert forced == {("a", False): True, ("b", True): False}


def test_a_healthy_account_is_left_alone() -> None:
    desk = Desk(SMALL).feed(snapshot([("3000", "9")], [("3000.02", "9")]))
    desk.buy("3", "3000.02", tif=Tif.IOC)
    desk.feed(snapshot([("2750", "9")], [("2750.02", "9")]))
    assert desk.engine.maintenance_margin("a") < desk.engine.equity("a")
    assert not [f for f in desk.engine.fills if f.forced]


def test_orders_tell_their_fee_and_times() -> None:
    desk = Desk(replace(BACKPACK_RULES, taker_fee=bps(10))).base()
    order = desk.buy("2", "3000.02")
    told = [e.fill for e in desk.events if isinstance(e, OrderChanged) and e.fill is not None]
    assert order.fee == sum(fill.fee for fill in told)
    assert order.first_fill_at == order.last_fill_at == order.done_at == order.due_at

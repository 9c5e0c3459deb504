"""Accounts in the sense of both venues: fees, tiers, builders, leverage, margin, transfers."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from exchanges.simulator.credentials import (
    backpack_account,
    backpack_credentials,
    grvt_credentials,
)
from exchanges.simulator.defaults import BACKPACK_RULES, GRVT_RULES
from exchanges.simulator.model import (
    Deny,
    Ended,
    FeeTier,
    NewOrder,
    Phase,
    Refusal,
    Rules,
    SelfTrade,
)
from strategy.domain import (
    NANO,
    Bps,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Tif,
    bps,
    nano,
)
from tests.sim.test_engine import Desk, snapshot, trade

DAY_MS = 86_400_000


def deep(desk: Desk, bid: str = "3000", ask: str = "3000.02") -> Desk:
    return desk.feed(snapshot([(bid, "100000")], [(ask, "100000")]))


def place(desk: Desk, side: Side, qty: str, px: str | None, **rest: Any) -> Any:
    fields = {"account": "a", "tif": Tif.IOC} | rest
    price = None if px is None else Px(nano(px))
    new = NewOrder(symbol=desk.symbol, side=side, qty=Qty(nano(qty)), px=price, **fields)
    order = desk.engine.place(desk.now, new)
    desk.wait()
    return order


# --- credentials -----------------------------------------------------------------------------


def test_the_first_account_of_a_seed_is_the_one_it_always_was() -> None:
    assert grvt_credentials(1, 0) == grvt_credentials(1)
    assert grvt_credentials(1).api_key.startswith("sim")
    assert backpack_credentials(1, 0) == backpack_credentials(1)
    assert backpack_account() == "backpack"


def test_every_account_of_a_seed_has_its_own_keys_under_one_main_account() -> None:
    grvt = [grvt_credentials(1, index) for index in range(4)]
    for secret in ("api_key", "private_key", "sub_account_id", "address"):
        assert len({getattr(keys, secret) for keys in grvt}) == 4
    assert {keys.main_account_id for keys in grvt} == {grvt[0].main_account_id}
    assert grvt_credentials(2).main_account_id != grvt[0].main_account_id
    assert len({backpack_credentials(1, index).public_key for index in range(4)}) == 4
    assert len({backpack_account(index) for index in range(4)}) == 4


# --- opening and money -----------------------------------------------------------------------


def test_an_account_is_opened_with_its_own_balance_and_tier() -> None:
    desk = deep(Desk(GRVT_RULES))
    account = desk.engine.add_account("c", balance=Quote(nano(250)), tier=2, main_account="0xmain")
    assert (account.balance, account.main_account) == (nano(250), "0xmain")
    assert desk.engine.fee_tier("c") == 2
    assert desk.engine.money().total == 0
    assert desk.engine.money().deposited == nano(2_000_250 + 1_000_000) * NANO


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"account_id": "a"}, "exists"),
        ({"account_id": "z", "balance": -1}, "negative"),
        ({"account_id": "z", "tier": 99}, "tier 99"),
        ({"account_id": "z", "tier": -1}, "tier -1"),
    ],
)
def test_an_account_that_cannot_be_opened_is_refused(fields: dict[str, Any], line: str) -> None:
    desk = Desk()
    with pytest.raises(ValueError, match=line):
        desk.engine.add_account(**fields)
    assert list(desk.engine.accounts) == ["a", "b"]


def test_money_moves_between_accounts_as_far_as_it_is_available() -> None:
    desk = deep(Desk())
    engine = desk.engine
    engine.transfer("a", "b", Quote(nano("1000.5")))
    assert engine.accounts["b"].balance == nano("1001000.5")
    desk.buy("100", "3000.02", tif=Tif.IOC)
    free = engine.available("a")
    assert 0 < free < engine.equity("a")
    with pytest.raises(Refusal, match="insufficient_margin"):
        engine.transfer("a", "b", Quote(free + 1))
    engine.transfer("a", "b", free)
    assert engine.available("a") == 0
    for amount in (0, -5):
        with pytest.raises(ValueError, match="not positive"):
            engine.transfer("b", "a", Quote(amount))
    assert engine.money().total == 0


def test_money_is_paid_in_and_out() -> None:
    engine = Desk().engine
    engine.deposit("a", Quote(nano(7)))
    engine.deposit("a", Quote(-nano(9)))
    assert engine.accounts["a"].balance == nano(999_998)
    with pytest.raises(Refusal):
        engine.deposit("a", Quote(-nano(999_999)))
    assert engine.money().total == 0


# --- fees ------------------------------------------------------------------------------------


def test_fills_are_charged_at_the_tier_of_each_account() -> None:
    desk = deep(Desk(BACKPACK_RULES))
    top = BACKPACK_RULES.fee_tiers[-1]
    desk.engine.set_fees("b", tier=len(BACKPACK_RULES.fee_tiers))
    assert desk.engine.fees("a") == (bps(2), bps(5))
    assert desk.engine.fees("b") == (top.maker, top.taker) == (bps(0), bps("1.8"))
    first = place(desk, Side.BUY, "1", "3000.02")
    second = place(desk, Side.BUY, "1", "3000.02", account="b")
    assert (first.fee, second.fee) == (nano("1.50001"), nano("0.5400036"))


def test_an_account_can_have_fees_of_its_own() -> None:
    desk = deep(Desk(GRVT_RULES))
    desk.engine.set_fees("a", custom=(bps(-1), bps(10)))
    order = place(desk, Side.BUY, "1", "3000.02")
    assert order.fee == nano("3.00002")
    desk.engine.set_fees("a")
    assert desk.engine.fees("a") == (bps("-0.01"), bps("4.5"))
    with pytest.raises(ValueError, match="use 0 to"):
        desk.engine.set_fees("a", tier=17)


def test_a_tier_by_volume_counts_the_thirty_days_before_today() -> None:
    tiers = (
        FeeTier(Quote(nano(100_000)), bps(1), bps(3)),
        FeeTier(Quote(nano(1_000_000)), bps(0), bps(2)),
    )
    desk = deep(Desk(replace(BACKPACK_RULES, fee_tiers=tiers)))
    engine = desk.engine
    engine.set_fees("a", tier=None)
    place(desk, Side.BUY, "40", "3000.02")
    assert (engine.fee_tier("a"), engine.fees("a")) == (0, (bps(2), bps(5)))
    desk.wait(DAY_MS)
    assert (engine.fee_tier("a"), engine.fees("a")) == (1, (bps(1), bps(3)))
    assert engine.fee_tier("b") == 0
    place(desk, Side.SELL, "40", "3000")
    desk.wait(29 * DAY_MS)
    assert engine.fee_tier("a") == 1
    desk.wait(2 * DAY_MS)
    assert engine.fee_tier("a") == 0
    place(desk, Side.BUY, "1", "3000.02")
    assert list(engine.accounts["a"].daily_volume) == [desk.now // (DAY_MS * 1_000_000)]


@pytest.mark.parametrize("rules", [GRVT_RULES, BACKPACK_RULES])
def test_higher_tiers_never_pay_more(rules: Rules) -> None:
    rows = [FeeTier(Quote(0), rules.maker_fee, rules.taker_fee), *rules.fee_tiers]
    for lower, higher in pairwise(rows):
        assert lower.volume < higher.volume
        assert (lower.maker, lower.taker) > (higher.maker, higher.taker)


def test_a_builder_earns_its_fee_on_every_fill_on_top_of_the_venue_s() -> None:
    desk = deep(Desk(GRVT_RULES))
    extra = {"builder_fee": bps(2), "builder": "0xb1"}
    taker = place(desk, Side.BUY, "1", "3000.02", extra=extra)
    maker = place(desk, Side.BUY, "2", "3000", tif=Tif.GTC, extra=extra, account="b")
    desk.feed(trade("2999", "200000", Side.SELL))
    assert (taker.fee, taker.builder_fee) == (nano("1.350009"), nano("0.600004"))
    assert maker.builder_fee == nano("1.2")
    account = desk.engine.accounts["a"]
    assert account.balance == nano(1_000_000) - taker.fee - taker.builder_fee
    assert account.fees_paid == taker.fee
    assert account.builder_fees_paid == desk.engine.fills[0].builder_fee == nano("0.600004")
    assert desk.engine.builder_fees() == {"0xb1": nano("1.800004")}
    assert desk.engine.money().total == 0


def test_orders_without_a_builder_earn_nobody_anything() -> None:
    desk = deep(Desk(GRVT_RULES))
    place(desk, Side.BUY, "1", "3000.02", extra={"builder_fee": Bps(0), "builder": "0xb1"})
    assert desk.engine.builder_fees() == {}


# --- leverage and margin ---------------------------------------------------------------------


def test_leverage_is_set_per_symbol_or_for_the_account() -> None:
    desk = deep(Desk(GRVT_RULES))
    engine = desk.engine
    place(desk, Side.BUY, "100", "3000.02")
    assert engine.margin_used("a") == nano("30000.1")
    engine.set_leverage("a", 20, desk.symbol)
    assert engine.leverage("a", desk.symbol) == 20
    assert engine.accounts["a"].leverage == 10
    assert engine.margin_used("a") == nano("15000.05")
    engine.set_leverage("a", 50)
    assert engine.leverage("a", desk.symbol) == 50
    assert engine.margin_used("a") == nano("6000.02")
    assert engine.leverage("b", desk.symbol) == 10


@pytest.mark.parametrize("leverage", [0, -1, 51])
def test_leverage_beyond_the_venue_s_is_refused(leverage: int) -> None:
    engine = Desk().engine
    with pytest.raises(ValueError, match="not from 1 to 50"):
        engine.set_leverage("a", leverage)
    assert engine.accounts["a"].leverage == 10


def test_leverage_that_equity_does_not_cover_is_refused_and_changes_nothing() -> None:
    desk = deep(Desk(GRVT_RULES))
    engine = desk.engine
    engine.set_leverage("a", 40, desk.symbol)
    place(desk, Side.BUY, "3000", "3000.02")
    for symbol in (desk.symbol, None):
        with pytest.raises(Refusal) as refused:
            engine.set_leverage("a", 2, symbol)
        assert refused.value.deny is Deny.INSUFFICIENT_MARGIN
        assert engine.leverage("a", desk.symbol) == 40
    engine.set_leverage("a", 50, desk.symbol)
    assert engine.leverage("a", desk.symbol) == 50


def test_backpack_margin_grows_with_the_square_root_of_the_notional() -> None:
    """imf = max(0.02, 0.0000935 * sqrt(N)), mmf = max(0.0125, 0.0000561 * sqrt(N)) (B6, B3.3)."""
    desk = deep(Desk(replace(BACKPACK_RULES, starting_balance=Quote(nano(100_000_000)))))
    engine, symbol = desk.engine, desk.symbol
    engine.set_leverage("a", 50)
    desk.feed(snapshot([("2500", "100000")], [("2500", "0"), ("2500.02", "100000")]))
    mark = engine.mark(symbol)
    assert mark == nano("2500.01")
    small, large = SignedQty(nano(1)), SignedQty(-nano(40_000))
    assert engine.margin_rates("a", symbol, small) == (nano("0.02"), nano("0.0125"))
    # sqrt(2500.01 * 40000) = 10000.02 (rounded down)
    initial, maintenance = engine.margin_rates("a", symbol, large)
    assert initial == pytest.approx(nano("0.935"), rel=1e-5)
    assert maintenance == pytest.approx(nano("0.561"), rel=1e-5)
    assert engine.margin_rates("a", symbol) == (nano("0.02"), nano("0.0125"))
    place(desk, Side.SELL, "10000", "2500")
    held, kept = engine.position_margin("a", symbol)
    assert held == engine.margin_used("a") == pytest.approx(nano(25_000_100) * 0.4675, rel=1e-4)
    assert (
        kept == engine.maintenance_margin("a") == pytest.approx(nano(25_000_100) * 0.2805, rel=1e-4)
    )


def test_grvt_margin_follows_the_risk_brackets() -> None:
    """Initial at the bracket's rate; maintenance adds up part by part (A4.1 margin_rules)."""
    rules = replace(GRVT_RULES, starting_balance=Quote(nano(100_000_000)))
    desk = deep(Desk(rules), "1999.99", "2000.01")
    engine, symbol = desk.engine, desk.symbol
    engine.set_leverage("a", 50, symbol)
    one = SignedQty(nano(1))
    assert engine.margin_rates("a", symbol, one) == (nano("0.02"), nano("0.01"))
    at_4m = SignedQty(nano(2_000))
    assert engine.margin_rates("a", symbol, at_4m) == (nano("0.04"), nano("0.015"))
    place(desk, Side.BUY, "6000", "2000.01")
    assert engine.position_margin("a", symbol) == (nano(1_200_000), nano(280_000))
    assert engine.maintenance_margin("a") == nano(280_000)
    below, above = (rules.margin_tiers[0].floor - 1, rules.margin_tiers[0].floor)
    margin = engine._margin
    assert 0 <= margin.maintenance_of(above) - margin.maintenance_of(below) <= 1


def test_a_bigger_order_needs_the_margin_of_its_bracket() -> None:
    desk = deep(Desk(replace(GRVT_RULES, starting_balance=Quote(nano(100_000)))), "1999.99", "2000")
    desk.engine.set_leverage("a", 50)
    with pytest.raises(Refusal) as refused:
        place(desk, Side.BUY, "1300", "2000")
    assert refused.value.deny is Deny.INSUFFICIENT_MARGIN
    assert place(desk, Side.BUY, "900", "2000").phase is Phase.FILLED


@pytest.mark.parametrize(("side", "px"), [(Side.BUY, "2999"), (Side.SELL, "3001")])
@pytest.mark.parametrize("rules", [GRVT_RULES, BACKPACK_RULES])
def test_the_largest_order_is_taken_and_one_step_more_is_refused(
    rules: Rules, side: Side, px: str
) -> None:
    desk = deep(Desk(replace(rules, starting_balance=Quote(nano("12345.678")))))
    engine, symbol = desk.engine, desk.symbol
    place(desk, Side.BUY, "10", "3000.02")
    desk.order(Side.SELL, "3", "3005")
    most = engine.max_order_qty("a", symbol, side, Px(nano(px)))
    step = engine.markets[symbol].instrument.step
    new = NewOrder("a", symbol, side, Qty(most + step), Px(nano(px)), Tif.GTC)
    with pytest.raises(Refusal) as refused:
        engine.place(desk.now, new)
    assert refused.value.deny is Deny.INSUFFICIENT_MARGIN
    order = engine.place(desk.now, replace(new, qty=most))
    assert order.live
    assert most > 0


def test_the_largest_reduce_only_order_is_the_position() -> None:
    desk = deep(Desk())
    engine, symbol, px = desk.engine, desk.symbol, Px(nano(3000))
    place(desk, Side.BUY, "1.5", "3000.02")
    assert engine.max_order_qty("a", symbol, Side.SELL, px, reduce_only=True) == nano("1.5")
    assert engine.max_order_qty("a", symbol, Side.BUY, px, reduce_only=True) == 0
    assert engine.max_order_qty("a", symbol, Side.BUY, Px(0)) == 0


def test_reduce_only_is_never_refused_for_margin() -> None:
    desk = deep(Desk(replace(BACKPACK_RULES, starting_balance=Quote(nano(1000)))))
    place(desk, Side.BUY, "3", "3000.02")
    deep(desk, "2800", "2800.02")
    assert desk.engine.available("a") == 0
    with pytest.raises(Refusal):
        place(desk, Side.BUY, "0.1", "2800.02")
    assert place(desk, Side.SELL, "3", "2800", reduce_only=True).phase is Phase.FILLED


def test_available_is_equity_less_margin_of_positions_and_orders() -> None:
    desk = deep(Desk())
    place(desk, Side.BUY, "2", "3000.02")
    desk.order(Side.BUY, "1", "2900")
    desk.wait()
    engine = desk.engine
    deep(desk, "3100", "3100.02")
    assert engine.unrealized("a", desk.symbol) == nano("199.98")
    assert engine.unrealized("b", desk.symbol) == 0
    assert engine.margin_used("a") == nano("910.002")
    assert engine.available("a") == engine.equity("a") - nano("910.002")


# --- two accounts, one account ---------------------------------------------------------------


def test_two_accounts_of_ours_trade_with_each_other() -> None:
    desk = Desk().base()
    maker = desk.order(Side.SELL, "1", "3000.00", account="b", post_only=True)
    desk.wait()
    taker = place(desk, Side.BUY, "1", "3000.00")
    assert (maker.phase, taker.phase) == (Phase.FILLED, Phase.FILLED)
    assert desk.engine.external_position(desk.symbol) == 0
    assert {f.trade_id for f in desk.engine.fills} == {desk.engine.fills[0].trade_id}


@pytest.mark.parametrize(
    ("mode", "maker_phase", "taker_phase", "filled"),
    [
        (None, Phase.OPEN, Phase.CANCELLED, "0"),
        (SelfTrade.REJECT_TAKER, Phase.OPEN, Phase.CANCELLED, "0"),
        (SelfTrade.REJECT_MAKER, Phase.CANCELLED, Phase.FILLED, "1"),
        (SelfTrade.REJECT_BOTH, Phase.CANCELLED, Phase.CANCELLED, "0"),
    ],
)
@pytest.mark.parametrize("tif", [Tif.IOC, Tif.FOK])
def test_orders_of_one_account_never_trade_with_each_other(
    mode: SelfTrade | None, maker_phase: Phase, taker_phase: Phase, filled: str, tif: Tif
) -> None:
    desk = Desk().base()
    maker = desk.order(Side.SELL, "1", "3000.00", post_only=True)
    desk.wait()
    extra = {} if mode is None else {"self_trade": mode}
    taker = place(desk, Side.BUY, "1", "3000.01", tif=tif, extra=extra)
    expected = Phase.OPEN if tif is Tif.FOK and mode is SelfTrade.REJECT_BOTH else maker_phase
    assert (maker.phase, taker.phase) == (expected, taker_phase)
    assert taker.cum == nano(filled)
    if maker.phase is Phase.CANCELLED:
        assert maker.ended is Ended.SELF_TRADE
    if taker.phase is Phase.CANCELLED:
        assert taker.ended is Ended.SELF_TRADE
    assert all(fill.px == nano("3000.01") for fill in desk.engine.fills)


@pytest.mark.parametrize("tif", [Tif.IOC, Tif.FOK])
def test_an_account_that_may_trade_with_itself_pays_both_fees_and_holds_nothing(tif: Tif) -> None:
    desk = Desk().base()
    maker = desk.order(Side.SELL, "1", "3000.00", post_only=True)
    desk.wait()
    taker = place(desk, Side.BUY, "1", "3000.01", tif=tif, extra={"self_trade": SelfTrade.ALLOW})
    assert (maker.phase, taker.phase) == (Phase.FILLED, Phase.FILLED)
    assert {fill.px for fill in desk.engine.fills} == {nano("3000")}
    assert desk.engine.accounts["a"].positions[desk.symbol].qty == 0
    assert maker.fee + taker.fee == desk.engine.accounts["a"].fees_paid
    assert desk.engine.money().total == 0


def test_accounts_of_both_venues_start_with_the_documented_fees() -> None:
    for rules in (GRVT_RULES, BACKPACK_RULES):
        engine = Desk(rules).engine
        assert engine.fees("a") == (rules.maker_fee, rules.taker_fee)
        assert engine.rules.max_leverage == 50

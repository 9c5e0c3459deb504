"""Funding: index, premium, clamp, cap, history and who pays whom (venues.md A7, B6)."""

from dataclasses import replace
from itertools import pairwise

import pytest

from exchanges.simulator.defaults import BACKPACK_RULES, GRVT_RULES
from exchanges.simulator.model import FundingSettled, Rules
from strategy.domain import NANO, Ns, Side, Tif, nano
from tests.sim.test_engine import MS, T0, Desk, snapshot

HOUR = 3_600_000
CALM = {GRVT_RULES.venue: replace(GRVT_RULES, funding_walk=0)}
CALM[BACKPACK_RULES.venue] = replace(BACKPACK_RULES, funding_walk=0)
both = pytest.mark.parametrize("rules", list(CALM.values()), ids=list(CALM))


def at_settlement(rules: Rules) -> Desk:
    """A desk one interval before the second settlement, the first one just done."""
    start = Ns((T0 // rules.funding_interval + 1) * rules.funding_interval - 1_000 * MS)
    return Desk(rules, start=start).base().wait(1_000)


@both
def test_a_market_that_stands_at_its_index_pays_the_interest(rules: Rules) -> None:
    desk = at_settlement(rules)
    assert desk.engine.index(desk.symbol) == desk.engine.mark(desk.symbol) == nano("3000")
    assert desk.engine.funding_rate(desk.symbol) == rules.funding_rate
    assert desk.engine.funding_history(desk.symbol)[-1].rate == rules.funding_rate
    assert (
        desk.engine.next_funding()
        == desk.now // rules.funding_interval * (rules.funding_interval) + rules.funding_interval
    )


@both
@pytest.mark.parametrize("direction", [1, -1])
def test_a_premium_moves_the_rate_with_it_as_far_as_the_cap(rules: Rules, direction: int) -> None:
    desk = at_settlement(rules)
    hours = rules.funding_interval // (HOUR * MS)
    rates = []
    for minute in range(60 * hours - 1):
        px = 3_000 + direction * minute * 12 // hours
        desk.feed(snapshot([(f"{px}.99", "5")], [(f"{px + 1}.01", "5")])).wait(60_000)
        rates.append(desk.engine.funding_rate(desk.symbol))
    assert abs(rates[-1]) <= rules.funding_cap
    assert (rates[-1] - rules.funding_rate) * direction > rules.funding_clamp * hours // 8
    assert len(set(rates)) > 10
    desk.wait(5 * 60_000)
    settled = desk.engine.funding_history(desk.symbol)[-1]
    assert settled.rate * direction > 0
    assert settled.at == desk.now // rules.funding_interval * rules.funding_interval


@both
def test_a_small_premium_is_pulled_back_to_the_interest(rules: Rules) -> None:
    """|interest - premium| within 0.05 % per 8 h: the interest alone."""
    desk = at_settlement(rules)
    for _ in range(20):
        desk.feed(snapshot([("3000.49", "5")], [("3000.51", "5")])).wait(60_000)
        assert desk.engine.funding_rate(desk.symbol) == rules.funding_rate


def test_the_rate_never_passes_its_cap() -> None:
    desk = at_settlement(CALM[GRVT_RULES.venue])
    for step in range(60):
        px = 3_000 + 40 * step
        desk.feed(snapshot([(f"{px}", "5")], [(f"{px + 1}", "5")])).wait(60_000)
    assert desk.engine.funding_rate(desk.symbol) == nano("0.003")


@pytest.mark.parametrize("rules", [GRVT_RULES, BACKPACK_RULES])
def test_rates_move_from_interval_to_interval_by_the_seed(rules: Rules) -> None:
    def settled(seed: int) -> list[int]:
        desk = Desk(rules, seed=seed).base()
        for _ in range(60):
            desk.wait(rules.funding_interval // MS)
        return [point.rate for point in desk.engine.funding_history(desk.symbol)[-60:]]

    one, again, other = settled(1), settled(1), settled(2)
    assert one == again != other
    assert len(set(one)) > 5
    assert rules.funding_rate in one
    assert all(abs(rate) <= rules.funding_cap for rate in one)


def test_the_history_reaches_back_before_the_start_on_the_grid() -> None:
    desk = Desk(GRVT_RULES)
    assert list(desk.engine.funding_history(desk.symbol)) == []
    desk.base()
    past = desk.engine.funding_history(desk.symbol)
    interval = GRVT_RULES.funding_interval
    assert len(past) == 100
    assert [point.at % interval for point in past] == [0] * 100
    assert [b.at - a.at for a, b in pairwise(past)] == [interval] * 99
    assert past[-1].at <= desk.start < past[-1].at + interval
    assert {point.mark for point in past} == {nano(3000)}
    desk.wait(interval // MS)
    assert desk.engine.funding_history(desk.symbol)[-1].at == past[99].at + interval


@both
def test_longs_shorts_and_the_rest_of_the_market_pay_each_other(rules: Rules) -> None:
    desk = at_settlement(rules)
    desk.buy("1", "3000.02", tif=Tif.IOC)
    desk.order(Side.SELL, "0.4", "2999.98", account="b", tif=Tif.IOC)
    desk.wait()
    before = desk.engine.money()
    desk.wait(rules.funding_interval // MS)
    paid = {e.account: e.amount for e in desk.events if isinstance(e, FundingSettled)}
    point = desk.engine.funding_history(desk.symbol)[-1]
    assert point.rate == rules.funding_rate
    assert paid == {
        "a": -(point.mark * point.rate // NANO),
        "b": point.mark * 4 // 10 * point.rate // NANO,
    }
    after = desk.engine.money()
    assert after.total == 0
    assert after.external - before.external == -sum(paid.values()) * NANO
    assert after.fees == before.fees


def test_funding_can_be_settled_out_of_turn_for_one_account() -> None:
    desk = Desk().base()
    desk.buy("1", "3000.02", tif=Tif.IOC)
    desk.order(Side.BUY, "1", "3000.20", account="b", tif=Tif.IOC)
    desk.wait()
    history = list(desk.engine.funding_history(desk.symbol))
    desk.engine.settle_funding(desk.now, desk.symbol, nano("0.01"), "b")
    paid = [e for e in desk.events if isinstance(e, FundingSettled)]
    assert [(e.account, e.rate) for e in paid] == [("b", nano("0.01"))]
    assert paid[0].amount < -nano(29)
    desk.engine.settle_funding(desk.now, desk.symbol, -nano("0.01"))
    assert {e.account for e in desk.events if isinstance(e, FundingSettled)} == {"a", "b"}
    assert list(desk.engine.funding_history(desk.symbol)) == history
    assert desk.engine.money().total == 0
    with pytest.raises(KeyError):
        desk.engine.settle_funding(desk.now, desk.symbol, 1, "nobody")
    with pytest.raises(KeyError):
        desk.engine.settle_funding(desk.now, "NOTHING", 1)


def test_funding_alone_can_cost_an_account_its_position() -> None:
    desk = Desk().feed(snapshot([("3000", "900")], [("3000.02", "900")]))
    desk.buy("500", "3000.02", tif=Tif.IOC)
    desk.engine.settle_funding(desk.now, desk.symbol, nano("0.66"))
    assert any(fill.forced for fill in desk.engine.fills)
    assert desk.engine.accounts["a"].positions[desk.symbol].qty < nano(500)

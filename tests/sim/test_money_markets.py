"""Cross margin over several markets of one venue: one equity carries all of them."""

import random  # noqa: TID251 - seeded instance for the engine ids
from dataclasses import replace

from exchanges.simulator.defaults import GRVT_RULES, default_market
from exchanges.simulator.engine import MatchingEngine
from exchanges.simulator.model import MarketBook, NewOrder, Phase, SimOrder
from strategy.domain import Ns, Px, Qty, Quote, Side, Tif, bps, nano

MS = 1_000_000
RULES = replace(GRVT_RULES, starting_balance=Quote(nano(10_000)), liquidation_fee=bps(0))


class Pair:
    """One account on an ETH and a BTC market."""

    def __init__(self) -> None:
        markets = [default_market(RULES.venue, base, None) for base in ("ETH", "BTC")]
        self.now = Ns(1_700_000_000 * 10**9)
        rng = random.Random(5)  # noqa: S311 - reproducible ids
        self.engine = MatchingEngine(RULES, markets, rng, self.now)
        self.engine.add_account("a")
        self.eth, self.btc = (market.instrument.symbol for market in markets)
        self.show(self.eth, 3_000)
        self.show(self.btc, 60_000)

    def show(self, symbol: str, px: int) -> None:
        size, tick = Qty(nano(1_000)), self.engine.markets[symbol].instrument.tick
        bids, asks = ((Px(nano(px) + n * tick), size) for n in (-1, 1))
        self.now = Ns(self.now + MS)
        self.engine.feed(self.now, symbol, MarketBook((bids,), (asks,), snapshot=True))
        assert self.engine.money().total == 0

    def take(self, symbol: str, side: Side, qty: str) -> SimOrder:
        new = NewOrder("a", symbol, side, Qty(nano(qty)), None, Tif.IOC)
        order = self.engine.place(self.now, new)
        self.now = Ns(self.now + 50 * MS)
        self.engine.advance(self.now)
        return order


def test_margin_of_all_markets_comes_from_one_equity() -> None:
    pair = Pair()
    assert pair.take(pair.eth, Side.BUY, "16").phase is Phase.FILLED
    assert pair.take(pair.btc, Side.SELL, "0.5").phase is Phase.FILLED
    eth, btc = (pair.engine.position_margin("a", symbol)[0] for symbol in (pair.eth, pair.btc))
    assert (eth, btc) == (nano(4_800), nano(3_000))
    assert pair.engine.margin_used("a") == eth + btc
    assert pair.engine.available("a") == pair.engine.equity("a") - eth - btc
    assert pair.engine.maintenance_margin("a") == nano(780)


def test_profit_on_one_market_carries_the_loss_on_another() -> None:
    pair = Pair()
    pair.take(pair.eth, Side.BUY, "16")
    pair.take(pair.btc, Side.SELL, "0.5")
    pair.show(pair.btc, 50_000)
    pair.show(pair.eth, 2_350)
    assert not any(fill.forced for fill in pair.engine.fills)
    pair.show(pair.btc, 60_000)
    assert any(fill.forced for fill in pair.engine.fills)


def test_a_liquidation_goes_from_market_to_market_until_the_account_is_healthy() -> None:
    pair = Pair()
    pair.take(pair.eth, Side.BUY, "16")
    pair.take(pair.btc, Side.BUY, "0.5")
    pair.show(pair.eth, 2_400)
    forced = [fill for fill in pair.engine.fills if fill.forced]
    assert {fill.symbol for fill in forced} == {pair.eth}
    account = pair.engine.accounts["a"]
    assert account.positions[pair.eth].qty == 0
    assert account.positions[pair.btc].qty == nano("0.5")
    assert pair.engine.equity("a") >= pair.engine.maintenance_margin("a")
    assert not account.liquidating
    pair.show(pair.btc, 40_000)
    assert account.positions[pair.btc].qty == 0
    assert account.balance == 0
    assert pair.engine.insurance() != RULES.insurance_fund


def test_leverage_of_one_market_leaves_the_other_alone() -> None:
    pair = Pair()
    pair.engine.set_leverage("a", 50, pair.btc)
    pair.take(pair.btc, Side.BUY, "1")
    pair.take(pair.eth, Side.BUY, "10")
    assert pair.engine.position_margin("a", pair.btc)[0] == nano(1_200)
    assert pair.engine.position_margin("a", pair.eth)[0] == nano(3_000)

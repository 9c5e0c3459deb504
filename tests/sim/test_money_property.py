"""Issue 3: money is conserved, whatever accounts and the market do to each other."""

import random  # noqa: TID251 - seeded instance for the engine ids
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchanges.simulator.defaults import BACKPACK_RULES, GRVT_RULES, default_market
from exchanges.simulator.engine import MatchingEngine
from exchanges.simulator.model import (
    EngineEvent,
    FundingSettled,
    MarketBook,
    MarketTrade,
    NewOrder,
    OrderChanged,
    Origin,
    Refusal,
    Rules,
    SelfTrade,
    SimOrder,
)
from strategy.domain import NANO, Ns, Px, Qty, Quote, Side, Tif, bps, nano

MS = 1_000_000
TICK = NANO // 100
STEP = NANO // 100
START = Ns(1_700_000_000 * NANO)
NAMES = ("poor", "rich", "third")


@dataclass
class Bank:
    """An engine whose accounts are poor enough to be liquidated."""

    rules: Rules
    events: list[EngineEvent] = field(default_factory=list)
    placed: list[SimOrder] = field(default_factory=list)
    held: dict[str, int] = field(default_factory=dict)
    funded: int = 0

    def __post_init__(self) -> None:
        market = default_market(self.rules.venue, "ETH", None)
        rng = random.Random(3)  # noqa: S311 - reproducible ids
        self.engine = MatchingEngine(self.rules, [market], rng, START)
        self.symbol = market.instrument.symbol
        for name, balance in zip(NAMES, (2_000, 1_000_000, 20_000), strict=True):
            self.engine.add_account(name, balance=Quote(balance * NANO))
        self.engine.subscribe(self.watch)
        self.now = START
        self.centre(3_000, 300)

    def watch(self, event: EngineEvent) -> None:
        """Reduce-only orders never increase a position; no order fills beyond its size."""
        if isinstance(event, OrderChanged) and event.fill is not None:
            new, fill = event.order.request, event.fill
            assert event.order.cum <= event.order.qty <= new.qty
            before = self.held.get(new.account, 0)
            after = before + new.side.value * fill.qty
            self.held[new.account] = after
            if new.reduce_only:
                assert abs(after) < abs(before)
                assert before * after >= 0
        elif isinstance(event, FundingSettled):
            self.funded += 1

    def centre(self, price: int, steps: int) -> None:
        """Show a book around a price; without ``steps`` it is empty."""
        px, size = price * NANO, Qty(steps * STEP)
        bids = tuple((Px(px - n * TICK), size) for n in (1, 2, 50) if steps)
        asks = tuple((Px(px + n * TICK), size) for n in (1, 2, 50) if steps)
        self.move(1)
        self.engine.feed(self.now, self.symbol, MarketBook(bids, asks, snapshot=True))

    def move(self, ms: int) -> None:
        self.now = Ns(self.now + ms * MS)
        self.engine.advance(self.now)

    def order(self, account: str, side: Side, steps: int, ticks: int | None, **rest: Any) -> None:
        mark = self.engine.mark(self.symbol)
        px = None if ticks is None else Px(mark // TICK * TICK + ticks * TICK)
        new = NewOrder(account, self.symbol, side, Qty(steps * STEP), px, **rest)
        with suppress(Refusal):
            self.placed.append(self.engine.place(self.now, new))
        self.move(150)

    def do(self, kind: str, what: dict[str, Any]) -> None:
        """Run one step; what the venue refuses changes nothing."""
        engine, symbol = self.engine, self.symbol
        acts: dict[str, Callable[..., object]] = {
            "order": self.order,
            "centre": self.centre,
            "wait": self.move,
            "cancel": self.cancel,
            "trade": self.trade,
            "force": partial(engine.force_close, self.now, symbol=symbol),
            "pay": partial(engine.settle_funding, self.now, symbol),
            "transfer": partial(engine.transfer, "rich", "poor"),
            "deposit": engine.deposit,
            "leverage": partial(engine.set_leverage, symbol=symbol),
            "market": partial(engine.set_market, self.now, symbol),
        }
        with suppress(Refusal):
            acts[kind](**what)

    def cancel(self, number: int) -> None:
        if self.placed:
            self.engine.cancel(self.now, self.placed[number % len(self.placed)])

    def trade(self, qty: Qty, taker: Side) -> None:
        event = MarketTrade(self.engine.mark(self.symbol), qty, taker)
        self.engine.feed(self.now, self.symbol, event)

    def check(self) -> None:
        engine, symbol = self.engine, self.symbol
        money = engine.money()
        assert money.total == 0
        held = [a.positions[symbol].qty if a.positions else 0 for a in engine.accounts.values()]
        assert sum(held) + engine.external_position(symbol) == 0
        assert money.builders == sum(engine.builder_fees().values()) * NANO
        bid, ask = engine.touch(symbol)
        assert bid is None or ask is None or bid < ask
        for account in engine.accounts.values():
            if account.balance < 0:
                assert any(position.qty for position in account.positions.values())


names = st.sampled_from(NAMES)
sides = st.sampled_from(list(Side))
extras = st.sampled_from(
    [
        {},
        {},
        {"builder_fee": bps("1.5"), "builder": "0xb1"},
        {"builder_fee": bps("0.3"), "builder": "0xb2"},
        {"self_trade": SelfTrade.REJECT_MAKER},
        {"self_trade": SelfTrade.REJECT_BOTH},
    ]
)
orders = st.fixed_dictionaries(
    {
        "account": names,
        "side": sides,
        "steps": st.integers(1, 900),
        "ticks": st.one_of(st.none(), st.integers(-60, 60)),
        "tif": st.sampled_from([Tif.GTC, Tif.GTC, *Tif]),
        "post_only": st.sampled_from([False, False, True]),
        "reduce_only": st.sampled_from([False, False, False, True]),
        "extra": extras,
    }
)
steps = st.lists(
    st.one_of(
        *[st.tuples(st.just("order"), orders)] * 5,
        *[
            st.tuples(
                st.just("centre"),
                st.fixed_dictionaries(
                    {
                        "price": st.integers(2_400, 3_600),
                        "steps": st.sampled_from([0, 1, 20, 300, 5_000]),
                    }
                ),
            )
        ]
        * 3,
        st.tuples(
            st.just("trade"),
            st.fixed_dictionaries(
                {"qty": st.integers(1, 900).map(lambda n: Qty(n * STEP)), "taker": sides}
            ),
        ),
        st.tuples(
            st.just("wait"),
            st.fixed_dictionaries({"ms": st.sampled_from([1, 150, 60_000, 3_700_000, 29_000_000])}),
        ),
        st.tuples(st.just("cancel"), st.fixed_dictionaries({"number": st.integers(0, 50)})),
        st.tuples(
            st.just("force"),
            st.fixed_dictionaries(
                {
                    "account": names,
                    "origin": st.sampled_from([Origin.LIQUIDATION, Origin.ADL]),
                    "qty": st.sampled_from([None, Qty(STEP), Qty(100 * STEP)]),
                }
            ),
        ),
        st.tuples(
            st.just("pay"),
            st.fixed_dictionaries(
                {
                    "rate": st.integers(-50_000_000, 50_000_000),
                    "account": st.one_of(st.none(), names),
                }
            ),
        ),
        st.tuples(
            st.just("transfer"),
            st.fixed_dictionaries({"amount": st.integers(1, 10**13).map(Quote)}),
        ),
        st.tuples(
            st.just("deposit"),
            st.fixed_dictionaries(
                {"account": names, "amount": st.integers(-(10**13), 10**12).map(Quote)}
            ),
        ),
        st.tuples(
            st.just("leverage"),
            st.fixed_dictionaries({"account": names, "leverage": st.integers(1, 50)}),
        ),
        st.tuples(
            st.just("market"),
            st.fixed_dictionaries(
                {
                    "shift_bps": st.sampled_from([None, -300, 0, 300]),
                    "halt": st.sampled_from([None, True, False, False]),
                    "liquidity": st.sampled_from([None, NANO // 2, NANO]),
                }
            ),
        ),
    ),
    min_size=10,
    max_size=40,
)
POOR_FUND = Quote(nano("50"))
rules = st.sampled_from(
    [
        replace(BACKPACK_RULES, insurance_fund=POOR_FUND),
        BACKPACK_RULES,
        replace(GRVT_RULES, insurance_fund=POOR_FUND),
        replace(GRVT_RULES, liquidation_step=Quote(nano("5000")), price_band=bps(5_000)),
    ]
)


@given(rules, sides, st.integers(1, 620), st.integers(1, 6_000), steps)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_money_and_positions_are_conserved_at_every_step(
    rules: Rules, side: Side, few: int, many: int, script: list[tuple[str, dict[str, Any]]]
) -> None:
    bank = Bank(rules)
    bank.centre(3_000, 5_000)
    bank.order("poor", side, few, None, tif=Tif.IOC)
    bank.order("third", side.opposite, many, None, tif=Tif.IOC)
    for kind, what in script:
        bank.do(kind, what)
        bank.check()


@given(st.integers(2_000, 2_950), st.integers(100, 2_000), st.sampled_from([0, 3, 5_000]))
@settings(max_examples=60, deadline=None)
def test_a_crash_leaves_no_account_below_zero_and_no_money_lost(
    price: int, size: int, depth: int
) -> None:
    bank = Bank(replace(GRVT_RULES, insurance_fund=POOR_FUND, price_band=bps(9_000)))
    bank.centre(3_000, 5_000)
    bank.order("third", Side.BUY, size, 2, tif=Tif.IOC)
    bank.order("rich", Side.SELL, size // 2 + 1, -2, tif=Tif.IOC)
    bank.order("poor", Side.BUY, 400, 2, tif=Tif.IOC)
    bank.check()
    bank.centre(price, depth)
    bank.centre(price, 1)
    bank.check()
    for account in bank.engine.accounts.values():
        flat = not any(position.qty for position in account.positions.values())
        assert account.balance >= 0 or not flat
        assert bank.engine.equity(account.account_id) >= 0

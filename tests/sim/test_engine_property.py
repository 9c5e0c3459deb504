"""Properties that hold for the matching engine whatever is placed, cancelled and recorded."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchanges.simulator.defaults import BACKPACK_RULES, GRVT_RULES
from exchanges.simulator.model import (
    BookChanged,
    EngineEvent,
    FundingSettled,
    MarketBook,
    MarketTrade,
    NewOrder,
    OrderChanged,
    Phase,
    PublicTrade,
    Refusal,
    SimOrder,
)
from strategy.domain import NANO, Px, Qty, Side, Tif
from tests.sim.test_engine import Desk

TICK = NANO // 100
STEP = NANO // 100

prices = st.integers(299_990, 300_010).map(lambda ticks: Px(ticks * TICK))
sizes = st.integers(1, 300).map(lambda steps: Qty(steps * STEP))
sides = st.sampled_from(list(Side))


def recorded(low: int, high: int) -> st.SearchStrategy[tuple[tuple[Px, Qty], ...]]:
    one = st.tuples(
        st.integers(low, high).map(lambda ticks: Px(ticks * TICK)),
        st.integers(0, 300).map(lambda steps: Qty(steps * STEP)),
    )
    return st.lists(one, max_size=4).map(lambda levels: tuple(dict(levels).items()))


books = st.builds(
    MarketBook,
    recorded(299_985, 300_002),
    recorded(299_998, 300_015),
    st.sampled_from([False, False, False, True]),
)
trades = st.builds(MarketTrade, prices, sizes, sides)
orders = st.fixed_dictionaries(
    {
        "account": st.sampled_from(["a", "b"]),
        "side": sides,
        "qty": sizes,
        "px": st.one_of(prices, prices, prices, st.none()),
        "tif": st.sampled_from([Tif.GTC, Tif.GTC, *Tif]),
        "post_only": st.sampled_from([False, False, True]),
        "reduce_only": st.sampled_from([False, False, False, True]),
        "pause": st.sampled_from([0, 4, 150, 150]),
    }
)
settings_of_market = st.fixed_dictionaries(
    {
        "shift_bps": st.sampled_from([None, None, -1, 0, 1]),
        "halt": st.sampled_from([None, None, None, True, False, False]),
        "liquidity": st.sampled_from([None, None, 0, NANO // 2, NANO, NANO]),
    }
)
calm = [
    st.tuples(st.just("book"), books),
    st.tuples(st.just("trade"), trades),
    *[st.tuples(st.just("order"), orders)] * 4,
    st.tuples(st.just("cancel"), st.integers(0, 50)),
    st.tuples(st.just("wait"), st.sampled_from([1, 10, 150, 150, 3_700_000])),
]
calm_steps = st.lists(st.one_of(*calm), min_size=20, max_size=60)
steps = st.lists(
    st.one_of(*calm, *calm, st.tuples(st.just("market"), settings_of_market)),
    min_size=20,
    max_size=60,
)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def play(desk: Desk, script: list[tuple[str, Any]], after: Callable[[], None]) -> list[SimOrder]:
    """Run a script; ``after`` runs after every step."""
    placed: list[SimOrder] = []
    refused = 0
    desk.base()
    for kind, what in script:
        if kind in ("book", "trade"):
            desk.feed(what)
        elif kind == "wait":
            desk.wait(what)
        elif kind == "market":
            desk.engine.set_market(desk.now, desk.symbol, **what)
        elif kind == "cancel":
            if placed:
                desk.engine.cancel(desk.now, placed[what % len(placed)])
        else:
            row = {key: value for key, value in what.items() if key != "pause"}
            try:
                placed.append(desk.engine.place(desk.now, NewOrder(symbol=desk.symbol, **row)))
            except Refusal:
                refused += 1
            desk.wait(what["pause"])
        after()
    received = sum(account.orders_received for account in desk.engine.accounts.values())
    assert received == len(placed) + refused
    return placed


@given(steps)
@quick
def test_the_displayed_book_is_never_crossed_or_locked(script: list[tuple[str, Any]]) -> None:
    desk = Desk()

    def check() -> None:
        bid, ask = desk.engine.touch(desk.symbol)
        assert bid is None or ask is None or bid < ask
        for levels in desk.shown():
            assert all(qty > 0 for _, qty in levels)

    play(desk, script, check)


@given(steps)
@quick
def test_book_messages_mirror_the_book_at_every_step(script: list[tuple[str, Any]]) -> None:
    desk = Desk()
    mirror: tuple[dict[Px, Qty], dict[Px, Qty]] = ({}, {})

    def apply(event: EngineEvent) -> None:
        if isinstance(event, BookChanged):
            for side, levels in zip(mirror, (event.bids, event.asks), strict=True):
                for px, qty in levels:
                    assert side.get(px, 0) != qty
                    side[px] = qty

    desk.engine.subscribe(apply)

    def check() -> None:
        for side, levels in zip(mirror, desk.shown(), strict=True):
            assert {px: qty for px, qty in side.items() if qty} == dict(levels)

    play(desk, script, check)


@given(steps)
@quick
def test_money_is_conserved(script: list[tuple[str, Any]]) -> None:
    desk = Desk(GRVT_RULES)
    engine = desk.engine

    def check() -> None:
        for key, account in engine.accounts.items():
            fills = [fill for fill in engine.fills if fill.account == key]
            funded = sum(
                event.amount
                for event in desk.events
                if isinstance(event, FundingSettled) and event.account == key
            )
            fees = sum(fill.fee for fill in fills)
            realized = sum(fill.realized for fill in fills)
            moved = account.balance - GRVT_RULES.starting_balance
            assert moved == realized - fees + funded
            assert account.fees_paid == fees == sum(p.fees for p in account.positions.values())
            net = sum(fill.side.value * fill.qty for fill in fills)
            assert net == sum(p.qty for p in account.positions.values())

    play(desk, script, check)


@given(st.lists(st.tuples(prices, sizes, sides), max_size=30))
@quick
def test_trades_between_accounts_are_zero_sum_before_fees(
    deals: list[tuple[Px, Qty, Side]],
) -> None:
    desk = Desk()

    def send(account: str, side: Side, qty: Qty, px: Px) -> SimOrder:
        return desk.engine.place(desk.now, NewOrder(account, desk.symbol, side, qty, px, Tif.GTC))

    for px, qty, side in deals:
        send("a", side, qty, px)
        desk.wait()
        assert send("b", side.opposite, qty, px).live
        desk.wait()
    a, b = desk.engine.accounts["a"], desk.engine.accounts["b"]
    held = a.positions[desk.symbol].qty if deals else 0
    if held:
        side = Side.SELL if held > 0 else Side.BUY
        send("a", side, Qty(abs(held)), Px(300_000 * TICK))
        desk.wait()
        send("b", side.opposite, Qty(abs(held)), Px(300_000 * TICK))
        desk.wait()
    for account in (a, b):
        assert all(position.qty == 0 for position in account.positions.values())
    total = a.balance + b.balance + a.fees_paid + b.fees_paid
    assert total == 2 * BACKPACK_RULES.starting_balance


@given(steps)
@quick
def test_cumulative_size_only_grows_and_never_exceeds_the_order(
    script: list[tuple[str, Any]],
) -> None:
    desk = Desk()
    step = desk.engine.markets[desk.symbol].instrument.step
    seen: dict[str, int] = {}
    done: set[str] = set()

    def watch(event: EngineEvent) -> None:
        if isinstance(event, OrderChanged):
            order = event.order
            assert order.order_id not in done
            assert seen.get(order.order_id, 0) <= order.cum <= order.qty <= order.request.qty
            assert order.cum % step == 0
            seen[order.order_id] = order.cum

    def check() -> None:
        for order in desk.engine.orders.values():
            mine = [fill for fill in desk.engine.fills if fill.order_id == order.order_id]
            assert order.cum == sum(fill.qty for fill in mine)
            assert (order.phase is Phase.FILLED) == (order.cum == order.qty and not order.live)
            if not order.live:
                assert order.ended is not None
                assert order.done_at is not None
                done.add(order.order_id)
            px, side = order.request.px, order.request.side.value
            assert px is None or all(fill.px * side <= px * side for fill in mine)

    desk.engine.subscribe(watch)
    play(desk, script, check)


class Priority:
    """Listener: when a resting order fills, none of its side is better placed, or earlier there.

    Orders that ended in the same step were ahead by definition; live ones are left to check.
    """

    def __init__(self, desk: Desk) -> None:
        self.resting: dict[str, SimOrder] = {}
        desk.engine.subscribe(self)

    def __call__(self, event: EngineEvent) -> None:
        if not isinstance(event, OrderChanged):
            return
        order, fill = event.order, event.fill
        if fill is None and order.phase is Phase.OPEN:
            self.resting.setdefault(order.order_id, order)
        elif fill is not None and fill.is_maker:
            self.check(order, fill.px)

    def check(self, filled: SimOrder, px: Px) -> None:
        sign = filled.request.side.value
        ids = list(self.resting)
        for order_id, other in self.resting.items():
            if other is filled or not other.live or other.request.side is not filled.request.side:
                continue
            assert other.request.px is not None
            assert other.request.px * sign <= px * sign
            if other.request.px == px:
                assert ids.index(order_id) > ids.index(filled.order_id)


@given(steps)
@quick
def test_better_prices_then_earlier_orders_fill_first(script: list[tuple[str, Any]]) -> None:
    desk = Desk()
    priority = Priority(desk)
    placed = play(desk, script, lambda: None)
    assert all(order in placed for order in priority.resting.values() if order.request.px)


@given(st.lists(st.tuples(sizes, sides, prices), min_size=1, max_size=15))
@quick
def test_takers_never_get_more_than_the_record_displayed(
    takes: list[tuple[Qty, Side, Px]],
) -> None:
    desk = Desk().base()
    before = dict([*desk.shown()[0], *desk.shown()[1]])
    for qty, side, px in takes:
        account = "a" if side is Side.BUY else "b"
        new = NewOrder(account, desk.symbol, side, qty, px, Tif.IOC)
        desk.engine.place(desk.now, new)
        desk.wait()
    taken: dict[Px, int] = {}
    for fill in desk.engine.fills:
        taken[fill.px] = taken.get(fill.px, 0) + fill.qty
    assert all(qty <= before[px] for px, qty in taken.items())
    after = dict([*desk.shown()[0], *desk.shown()[1]])
    assert all(after.get(px, 0) == before[px] - taken.get(px, 0) for px in before)


@given(calm_steps)
@quick
def test_a_recorded_trade_trades_and_prints_exactly_its_size(script: list[tuple[str, Any]]) -> None:
    desk = Desk()
    step = iter(script)
    seen = 0

    def check() -> None:
        nonlocal seen
        kind, what = next(step)
        new = [event for event in desk.events[seen:] if isinstance(event, PublicTrade)]
        seen = len(desk.events)
        if kind == "trade":
            assert sum(each.qty for each in new if not each.taker_order_id) == what.qty

    play(desk, script, check)
    ids = [event.trade_id for event in desk.events if isinstance(event, PublicTrade)]
    assert len(set(ids)) == len(ids)


@given(steps)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_same_calls_give_the_same_events(script: list[tuple[str, Any]]) -> None:
    first, second = Desk(GRVT_RULES), Desk(GRVT_RULES)
    play(first, script, lambda: None)
    play(second, script, lambda: None)
    assert repr(first.events) == repr(second.events)
    assert first.engine.fills == second.engine.fills


def test_another_seed_gives_other_ids_only() -> None:
    one, two = Desk(seed=1).base(), Desk(seed=2).base()
    first, second = one.buy("1", "3000.01"), two.buy("1", "3000.01")
    assert first.order_id != second.order_id
    assert one.fills(first) == two.fills(second)

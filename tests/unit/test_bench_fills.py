"""The bench's exchange against the simulated venue's own engine: the same orders, the same fills.

Both replay the same cut of the bundled recording; times, prices, sizes, makers and takers agree
exactly. Two differences are allowed, and neither can show here: the engine gathers recorded trades
finer than the step until they make one (the recording has none), and the bench sees no more than 50
levels a side (no order of the schedules reaches further).
"""

import random  # noqa: TID251 - seeded instances draw the schedules
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise

import pytest

from daemon.bench.fills import BenchOrder, Exchange, Stage
from daemon.bench.routing import COSTS
from daemon.bench.track import DEPTH, WALL, Moment, instrument_of
from exchanges.simulator.defaults import GRVT_RULES
from exchanges.simulator.engine import MatchingEngine
from exchanges.simulator.model import (
    Deny,
    Ended,
    Market,
    MarketBook,
    MarketEvent,
    MarketTrade,
    NewOrder,
    Phase,
    SimOrder,
)
from exchanges.simulator.tape import BUNDLED, open_tape
from strategy.domain import (
    Book,
    Instrument,
    Level,
    Ns,
    Observed,
    Px,
    Qty,
    Side,
    Tif,
    Trade,
    Venue,
    nano,
)
from strategy.flow import Flow
from tests.builders import SECOND

MS = 1_000_000
SPAN = Ns(12 * SECOND)
SEEDS = range(10)
CUTS = 4
Row = tuple[str, str, int, int, int]
"""Order, maker or taker, price, size, time since the start."""


# --- the recording -------------------------------------------------------------------------------


@dataclass(slots=True)
class Cut:
    """A stretch of the recording: the whole book at its start, then every event."""

    start: Ns
    book: MarketBook
    events: list[tuple[Ns, MarketEvent]] = field(default_factory=list)


@cache
def instrument() -> Instrument:
    return instrument_of(open_tape(BUNDLED))


@cache
def cuts() -> tuple[Cut, ...]:
    """Read the hedge venue's stream once; cut it where the book is whole."""
    sides: tuple[dict[Px, Qty], dict[Px, Qty]] = ({}, {})
    made: list[Cut] = []
    for fed in open_tape(BUNDLED).events():
        if fed.venue is not Venue.GRVT:
            continue
        at, event = Ns(WALL + fed.offset), fed.event
        if made and at - made[-1].start <= SPAN:
            made[-1].events.append((at, event))
        elif isinstance(event, MarketTrade) and sides[0]:
            made.append(Cut(at, whole(sides), [(at, event)]))
        if isinstance(event, MarketBook):
            apply(sides, event)
    return tuple(cut for cut in made[1:] if cut.events[-1][0] - cut.start > SPAN * 9 // 10)[:CUTS]


def apply(sides: tuple[dict[Px, Qty], dict[Px, Qty]], event: MarketBook) -> None:
    for side, changes in zip(sides, (event.bids, event.asks), strict=True):
        if event.snapshot:
            side.clear()
        side.update(changes)
        for px, qty in changes:
            if not qty:
                del side[px]


def whole(sides: tuple[dict[Px, Qty], dict[Px, Qty]]) -> MarketBook:
    return MarketBook(tuple(sides[0].items()), tuple(sides[1].items()), snapshot=True)


def shown(sides: tuple[dict[Px, Qty], dict[Px, Qty]], at: Ns) -> Book:
    """Return the first levels of a recorded book, as ``daemon.bench.track`` makes them."""
    step = instrument().step

    def top(side: dict[Px, Qty], *, bids: bool) -> tuple[Level, ...]:
        on_step = [(px, Qty(q // step * step)) for px, q in side.items() if q >= step]
        return tuple(sorted(on_step, reverse=bids)[:DEPTH])

    return Book(Venue.GRVT, top(sides[0], bids=True), top(sides[1], bids=False), at)


@cache
def seen(number: int) -> tuple[Moment, ...]:
    """Return a cut as the bench sees it."""
    return tuple(moments(cuts()[number]))


def moments(cut: Cut) -> Iterator[Moment]:
    """Yield a cut as the bench sees it, book by book."""
    sides: tuple[dict[Px, Qty], dict[Px, Qty]] = ({}, {})
    apply(sides, cut.book)
    book = Observed(shown(sides, cut.start), cut.start, "tape")
    yield Moment(cut.start, book, None, Flow())
    for at, event in cut.events:
        if isinstance(event, MarketTrade):
            trade = Trade(Venue.GRVT, event.px, event.qty, event.taker, at)
            yield Moment(at, book, trade, Flow())
            continue
        apply(sides, event)
        book = Observed(shown(sides, at), at, "tape")
        yield Moment(at, book, None, Flow())


# --- a schedule ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Act:
    """Place an order, or cancel the order of that name."""

    at: Ns
    name: str
    px: Px = Px(0)
    qty: Qty = Qty(0)
    post_only: bool = False
    cancel: bool = False


def schedule(market: tuple[Moment, ...], side: Side, seed: int) -> list[Act]:
    """Draw orders about the touch of their moment, and cancels of most of them."""
    rng = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    tick, start = instrument().tick, market[0].at
    acts: list[Act] = []
    for number in range(14):
        at = Ns(start + rng.randrange(SPAN - 2 * SECOND))
        book = next(m.book.value for m in reversed(market) if m.at <= at)
        touch = book.side(side)[0][0]
        post_only = rng.random() < 0.7
        ticks = rng.choice([1, 1, 1, 2, 5, 0]) if post_only else -rng.choice([0, 1, 10, 60])
        px = Px(touch - ticks * tick * side.value)
        size = Qty(nano(rng.choice(["0.05", "0.1", "0.5", "1", "6"])))
        name = f"o{number}"
        acts.append(Act(at, name, px, size, post_only))
        if rng.random() < 0.7:
            later = rng.choice([2 * MS, 20 * MS, 300 * MS, 2 * SECOND])
            acts.append(Act(Ns(at + 1 + rng.randrange(later)), name, cancel=True))
    return sorted(acts, key=lambda act: act.at)


# --- both venues ---------------------------------------------------------------------------------


def on_bench(
    market: tuple[Moment, ...], side: Side, acts: list[Act]
) -> tuple[list[Row], dict[str, str]]:
    """Run the schedule on the bench's exchange, moving time as ``daemon.bench.routing`` does."""
    first, *rest = market
    exchange = Exchange(side, COSTS, instrument().step, first.book.value)
    orders: dict[str, BenchOrder] = {}
    left = list(acts)
    while rest or left:
        at = min([m.at for m in rest[:1]] + [a.at for a in left[:1]])
        due = exchange.next_due()
        if due is not None and due < at:
            exchange.advance(due)
            continue
        exchange.advance(at)
        if rest and rest[0].at <= at:
            exchange.observe(rest.pop(0))
            continue
        act = left.pop(0)
        if act.cancel:
            exchange.cancel(orders[act.name], at)
        else:
            ioc = not act.post_only
            made = exchange.place(act.px, act.qty, at, post_only=act.post_only, ioc=ioc)
            orders[act.name] = made
    names = {order.number: name for name, order in orders.items()}
    fills: list[Row] = [
        (names[f.order.number], "maker" if f.maker else "taker", f.px, f.qty, f.at - first.at)
        for f in exchange.fills
    ]
    return fills, {name: state_of(order) for name, order in orders.items()}


def state_of(order: BenchOrder) -> str:
    if order.stage is not Stage.DONE:
        return "open"
    if order.crossed:
        return "refused"
    return "filled" if not order.left else "cancelled"


def on_engine(cut: Cut, side: Side, acts: list[Act]) -> tuple[list[Row], dict[str, str]]:
    """Run the schedule on the simulated venue's engine."""
    market = Market(replace(instrument(), min_qty=instrument().step))
    symbol = market.instrument.symbol
    engine = MatchingEngine(GRVT_RULES, [market], random.Random(1), cut.start)  # noqa: S311 - ids
    engine.add_account("a")
    engine.feed(cut.start, symbol, cut.book)
    orders: dict[str, SimOrder] = {}
    left = list(acts)
    for at, event in [*cut.events, (Ns(cut.events[-1][0] + SECOND), None)]:
        while left and left[0].at < at:
            act = left.pop(0)
            engine.advance(act.at)
            if act.cancel:
                engine.cancel(act.at, orders[act.name])
            else:
                tif = Tif.GTC if act.post_only else Tif.IOC
                new = NewOrder("a", symbol, side, act.qty, act.px, tif, act.post_only)
                orders[act.name] = engine.place(act.at, new)
        if event is not None:
            engine.feed(at, symbol, event)
    names = {order.order_id: name for name, order in orders.items()}
    fills: list[Row] = [
        (names[f.order_id], "maker" if f.is_maker else "taker", f.px, f.qty, f.at - cut.start)
        for f in engine.fills
    ]
    return fills, {name: phase_of(order) for name, order in orders.items()}


def phase_of(order: SimOrder) -> str:
    if order.live:
        return "open"
    if order.deny is Deny.POST_ONLY_CROSS:
        return "refused"
    assert order.ended in (Ended.FILLED, Ended.IOC, Ended.CLIENT_CANCEL), order.ended
    return "filled" if order.phase is Phase.FILLED else "cancelled"


def together(rows: list[Row]) -> list[Row]:
    """Join executions of one order at one price and time: how they are cut is of no account."""
    sums: dict[tuple[str, str, int, int], int] = {}
    for name, kind, px, qty, at in rows:
        sums[name, kind, px, at] = sums.get((name, kind, px, at), 0) + qty
    return sorted((n, kind, px, qty, at) for (n, kind, px, at), qty in sums.items())


# --- they agree ----------------------------------------------------------------------------------


def test_the_bench_uses_the_venues_own_rules() -> None:
    assert COSTS.latency == GRVT_RULES.latency
    assert COSTS.bump == GRVT_RULES.taker_delay
    assert COSTS.maker_fee == GRVT_RULES.maker_fee
    assert COSTS.taker_fee == GRVT_RULES.taker_fee


def test_the_cuts_hold_trades_and_books() -> None:
    assert len(cuts()) == CUTS
    for one, other in pairwise(cuts()):
        assert other.start > one.events[-1][0] - SECOND
    for cut in cuts():
        trades = [e for _, e in cut.events if isinstance(e, MarketTrade)]
        assert len(trades) > 20
        assert not any(e.qty % instrument().step for e in trades)
        assert sum(isinstance(e, MarketBook) for _, e in cut.events) > 200


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_orders_on_the_same_recording_fill_alike(seed: int) -> None:
    number = seed % CUTS
    traded = 0
    for side in Side:
        acts = schedule(seen(number), side, seed)
        fills, ends = on_bench(seen(number), side, acts)
        wanted, phases = on_engine(cuts()[number], side, acts)
        assert together(fills) == together(wanted)
        assert ends == phases
        traded += len(wanted)
    assert traded, "the schedules traded nothing: they prove nothing"


def book_of(bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> Book:
    def side(rows: list[tuple[str, str]]) -> tuple[Level, ...]:
        return tuple((Px(nano(px)), Qty(nano(qty))) for px, qty in rows)

    return Book(Venue.GRVT, side(bids), side(asks), Ns(0))


def resting(*sizes: str) -> tuple[Exchange, list[BenchOrder]]:
    """Buys at 100.0, one behind the other, behind 1 of the market."""
    book = book_of([("100", "1"), ("99", "9")], [("101", "2"), ("102", "9")])
    exchange = Exchange(Side.BUY, COSTS, Qty(nano("0.01")), book)
    orders = []
    for number, size in enumerate(sizes):
        px, qty = Px(nano(100)), Qty(nano(size))
        orders.append(exchange.place(px, qty, Ns(number), post_only=True, ioc=False))
    exchange.advance(Ns(10 * MS))
    return exchange, orders


def tell(exchange: Exchange, price: str, size: str, taker: Side = Side.SELL) -> None:
    trade = Trade(Venue.GRVT, Px(nano(price)), Qty(nano(size)), taker, Ns(20 * MS))
    exchange.observe(Moment(trade.at, Observed(exchange.book, trade.at, "tape"), trade, Flow()))


def test_a_cancel_overtakes_a_taker_that_waits_for_its_bump() -> None:
    exchange, _ = resting("1")
    taker = exchange.place(Px(nano(102)), Qty(nano(1)), Ns(11 * MS), post_only=False, ioc=True)
    exchange.cancel(taker, Ns(12 * MS))
    assert exchange.next_due() == Ns(12 * MS + COSTS.latency)
    exchange.advance(Ns(SECOND))
    assert (taker.stage, taker.cum) == (Stage.DONE, 0)


def test_one_trade_serves_all_of_our_orders_together() -> None:
    exchange, (first, second) = resting("0.5", "0.5")
    tell(exchange, "100", "1.7")
    assert (first.cum, second.cum) == (nano("0.5"), nano("0.2"))
    tell(exchange, "99.5", "0.1")
    assert second.cum == nano("0.3"), "through the price: no queue counts"


def test_what_was_shown_and_taken_comes_back_only_as_the_record_shows() -> None:
    exchange, _ = resting()
    taker = exchange.place(Px(nano(101)), Qty(nano("1.5")), Ns(0), post_only=False, ioc=True)
    exchange.advance(Ns(SECOND))
    assert taker.cum == nano("1.5")
    assert exchange.view().asks[0] == (nano(101), nano("0.5"))
    for shown_there, left in (("2", "0.5"), ("2.4", "0.9"), ("0.3", "101.5"), ("1", "0.7")):
        asks = [("101", shown_there), ("101.5", "1"), ("102", "9")]
        value = book_of([("100", "1")], asks)
        exchange.observe(Moment(Ns(0), Observed(value, Ns(0), "tape"), None, Flow()))
        touch, size = exchange.view().asks[0]
        if left == "101.5":
            assert touch == nano(left), "less is shown than we took: the level is empty"
        else:
            assert (touch, size) == (nano(101), nano(left))


def test_the_view_shows_our_own_orders() -> None:
    exchange, _ = resting("0.5", "0.2")
    assert exchange.view().bids[0] == (nano(100), nano("1.7"))


def test_fees_are_the_venues_rates_of_the_notional() -> None:
    exchange, (order,) = resting("0.5")
    tell(exchange, "99", "0.5")
    exchange.place(Px(nano(101)), Qty(nano(1)), Ns(0), post_only=False, ioc=True)
    exchange.advance(Ns(SECOND))
    made, took = exchange.fills
    assert (made.order, made.maker, made.fee) == (order, True, -nano("0.00005"))
    assert (took.maker, took.fee) == (False, nano("0.04545"))

"""What the simulated market may and may not give us, by hand and by random records.

The rules, as ``levels.BookSide`` and ``engine_match.Matcher`` apply them:

* A taker takes displayed size. A level shows ``E``; when its record goes from ``old`` to ``new``,
  ``E`` becomes ``clamp(E + new - old, 0, new)``. A record that does not change refills nothing,
  whether it repeats the level in a delta or in a snapshot.
* A maker waits behind the size displayed when it arrived. Recorded trades at its price use that
  queue up first; a recorded decrease without a trade is taken from behind the maker until nothing
  is left there. That is the pessimistic reading: who cancels is not recorded, and a simulator that
  lets cancels ahead help the maker fills orders that would not have filled.
* A trade through the price, or a recorded book that reaches it, fills at the maker's own price, up
  to the size that traded or crossed.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchanges.simulator.compiled import CompiledBook, CompiledFeed, Compiler
from exchanges.simulator.defaults import BACKPACK_RULES, GRVT_RULES
from exchanges.simulator.model import (
    MarketBook,
    MarketEvent,
    MarketTrade,
    NewOrder,
    Phase,
    PublicTrade,
    Refusal,
    SimOrder,
)
from exchanges.simulator.tape import FeedEvent
from strategy.domain import NANO, Level, Ns, Px, Qty, Side, Tif, Venue, nano
from tests.sim.test_engine import MS, Desk, delta, snapshot, trade

TICK = nano("0.01")
MID = nano("3000")
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# --- by hand -------------------------------------------------------------------------------------


def size_at(desk: Desk, px: str) -> int:
    bids, asks = desk.shown()
    return dict([*bids, *asks]).get(Px(nano(px)), 0)


@pytest.mark.parametrize("whole", [False, True])
def test_a_hole_stays_while_the_record_repeats_the_level(whole: bool) -> None:
    desk = Desk().base()
    desk.buy("0.4", "3000.01", tif=Tif.IOC)
    again = [("3000.01", "1"), ("3000.02", "2"), ("3000.10", "5")]
    for _ in range(3):
        desk.feed(snapshot([("2999.99", "1")], again) if whole else delta(asks=[("3000.01", "1")]))
    assert size_at(desk, "3000.01") == nano("0.6")


def test_a_snapshot_moves_a_hole_by_what_the_level_changed_and_drops_levels_it_leaves_out() -> None:
    desk = Desk().base()
    desk.buy("1.5", "3000.02", tif=Tif.IOC)
    desk.feed(snapshot([("2999.99", "1")], [("3000.02", "2.25")]))
    assert desk.shown()[1] == [(nano("3000.02"), nano("1.75"))]
    desk.feed(snapshot([("2999.99", "1")], [("3000.02", "0.5"), ("3000.03", "4")]))
    assert desk.shown()[1] == [(nano("3000.03"), nano("4"))]
    desk.feed(snapshot([("2999.99", "1")], [("3000.01", "1"), ("3000.03", "4")]))
    assert desk.shown()[1][0] == (nano("3000.01"), nano("1")), "gone and back is new size"


def test_a_maker_behind_a_queue_gets_what_trades_beyond_it() -> None:
    """1 displayed; trades 0.3 + 0.5 use 0.8 of it; then 0.6 trades: 0.2 queue and 0.4 ours."""
    desk = Desk().base()
    order = desk.order(Side.SELL, "0.5", "3000.01", post_only=True)
    desk.wait()
    cums = []
    for size in ("0.3", "0.5", "0.6", "9"):
        desk.feed(trade("3000.01", size, Side.BUY))
        cums.append(order.cum)
    assert cums == [0, 0, nano("0.4"), nano("0.5")]
    assert order.phase is Phase.FILLED


def test_a_trade_and_the_book_change_that_follows_it_count_once() -> None:
    """1 displayed, 0.6 trades, the record then shows 0.4 left: the queue is 0.4, not -0.2."""
    desk = Desk().base()
    order = desk.order(Side.SELL, "0.5", "3000.01", post_only=True)
    desk.wait()
    desk.feed(trade("3000.01", "0.6", Side.BUY), delta(asks=[("3000.01", "0.4")]))
    assert order.queue_ahead == nano("0.4")
    desk.feed(trade("3000.01", "0.4", Side.BUY))
    assert order.cum == 0


def test_a_recorded_decrease_is_taken_from_behind_until_nothing_is_left_there() -> None:
    """1 ahead, 2 join behind: cancels of 2.5 leave 0.5, all of it ahead."""
    desk = Desk().base()
    order = desk.order(Side.BUY, "0.5", "2999.99", post_only=True)
    desk.wait()
    aheads = []
    for size in ("3", "1.2", "1", "0.5", "4"):
        desk.feed(delta(bids=[("2999.99", size)]))
        aheads.append(order.queue_ahead)
    assert aheads == [nano(each) for each in ("1", "1", "1", "0.5", "0.5")]


def test_a_maker_alone_inside_the_spread_fills_first_and_its_size_is_no_extra_volume() -> None:
    desk = Desk().base()
    order = desk.order(Side.BUY, "0.5", "3000.00", post_only=True)
    desk.wait().feed(trade("2999.99", "0.8", Side.SELL))
    printed = [event.qty for event in desk.events if isinstance(event, PublicTrade)]
    assert order.cum == nano("0.5")
    assert sum(printed) == nano("0.8"), "what we got is part of what traded"


def test_a_book_that_crosses_fills_no_more_than_it_shows() -> None:
    desk = Desk().base()
    order = desk.order(Side.BUY, "5", "2999.99", post_only=True)
    desk.wait()
    desk.feed(delta(bids=[("2999.99", "0")], asks=[("2999.98", "0.7"), ("2999.99", "0.2")]))
    desk.feed(delta(asks=[("2999.98", "0.7"), ("2999.99", "0.2")]))
    assert order.cum == nano("0.9"), "shown again unchanged, it is the same size"
    desk.feed(delta(asks=[("2999.98", "1")]))
    assert order.cum == nano("1.2")


def test_our_quotes_on_both_sides_of_a_hole_never_lock_the_book() -> None:
    desk = Desk().base()
    desk.buy("1", "3000.01", tif=Tif.IOC)
    bid = desk.order(Side.BUY, "0.5", "3000.01", post_only=True)
    desk.wait()
    ask = desk.order(Side.SELL, "0.5", "3000.01", post_only=True, account="b")
    desk.wait()
    assert (bid.phase, ask.phase) == (Phase.OPEN, Phase.REJECTED)
    desk.feed(delta(asks=[("3000.01", "1.3")]))
    assert bid.cum == nano("0.3"), "what the record adds at our price meets our bid"
    touch = desk.engine.touch(desk.symbol)
    assert touch == (nano("3000.01"), nano("3000.02"))


# --- random records ------------------------------------------------------------------------------

Step = tuple[str, tuple[int, ...]]
"""What happens: ``book`` (mid, seed), ``trade``, ``make``, ``take``, ``cancel``."""

_small = st.integers(1, 40)
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.just("book"), st.tuples(st.integers(-6, 6), st.integers(0, 1 << 24))),
        st.tuples(st.just("trade"), st.tuples(st.integers(-4, 4), _small, st.booleans())),
        st.tuples(st.just("make"), st.tuples(st.integers(0, 5), _small, st.booleans())),
        st.tuples(st.just("take"), st.tuples(st.integers(0, 5), _small, st.booleans())),
        st.tuples(st.just("cancel"), st.tuples(st.integers(0, 9))),
    ),
    min_size=5,
    max_size=60,
)
UNIT = nano("0.05")


def levels(mid: int, seed: int, side: Side) -> dict[int, int]:
    """Return a recorded side: up to eight levels behind the mid, some of them missing."""
    found = {}
    for place in range(1, 9):
        size = (seed >> (3 * (place - 1))) & 7
        if size:
            found[MID + (mid - side.value * place) * TICK] = size * UNIT
    return found


@dataclass
class Record:
    """A record that never crosses itself, as deltas or as snapshots."""

    whole: bool
    held: dict[Side, dict[int, int]] = field(default_factory=lambda: {s: {} for s in Side})

    def change(self, mid: int, seed: int) -> MarketBook:
        sides: list[tuple[Level, ...]] = []
        for side in Side:
            new = levels(mid, seed, side)
            old, self.held[side] = self.held[side], new
            changed = new if self.whole else {px: new.get(px, 0) for px in {**old, **new}}
            sides.append(tuple((Px(px), Qty(size)) for px, size in changed.items()))
        return MarketBook(sides[0], sides[1], snapshot=self.whole)


class Play:
    """Plays a script on an engine, with the record compiled or plain, whole or in changes."""

    def __init__(
        self, script: list[Step], *, compiled: bool = False, whole: bool = False, grvt: bool = False
    ) -> None:
        self.script = script
        self.desk = Desk(GRVT_RULES if grvt else BACKPACK_RULES)
        self.record = Record(whole)
        instrument = self.desk.engine.markets[self.desk.symbol].instrument
        self.compiler = Compiler(instrument) if compiled else None
        self.placed: list[SimOrder] = []
        self.glided = 0

    def run(self) -> Iterator[tuple[Step, MarketEvent | None]]:
        self.record.held = {side: levels(0, 0o1234567, side) for side in Side}
        bids, asks = (
            tuple((Px(p), Qty(s)) for p, s in h.items()) for h in self.record.held.values()
        )
        first = MarketBook(bids, asks, snapshot=True)
        yield ("book", (0, 0)), self._feed(first)
        for step in self.script:
            yield step, self._do(*step)

    def finish(self) -> "Play":
        for _ in self.run():
            pass
        return self

    def _do(self, kind: str, of: tuple[int, ...]) -> MarketEvent | None:
        if kind == "book":
            return self._feed(self.record.change(of[0], of[1]))
        if kind == "trade":
            taker = Side.BUY if of[2] else Side.SELL
            return self._feed(MarketTrade(Px(MID + of[0] * TICK), Qty(of[1] * UNIT), taker))
        if kind == "cancel":
            live = [order for order in self.placed if order.live]
            if live:
                self.desk.engine.cancel(self.desk.now, live[of[0] % len(live)])
                self.desk.wait(5)
            return None
        self._order(kind, of)
        return None

    def _feed(self, event: MarketEvent) -> MarketEvent:
        given = event
        if self.compiler is not None and isinstance(event, MarketBook):
            given = self.compiler.compile(event)
            self.glided += isinstance(given, CompiledBook) and given.bid is not None
        self.desk.feed(given)
        return event

    def _order(self, kind: str, of: tuple[int, ...]) -> None:
        side = Side.BUY if of[2] else Side.SELL
        touch = self.desk.engine.touch(self.desk.symbol)[0 if side is Side.BUY else 1] or MID
        away = -side.value * of[0] if kind == "make" else side.value * of[0]
        tif, account = (Tif.GTC, "a") if kind == "make" else (Tif.IOC, "b")
        new = NewOrder(
            account,
            self.desk.symbol,
            side,
            Qty(of[1] * UNIT),
            Px(touch + away * TICK),
            tif,
            post_only=kind == "make",
        )
        with suppress(Refusal):  # a halted market takes none
            self.placed.append(self.desk.engine.place(self.desk.now, new))
        self.desk.wait(110)


@given(steps)
@quick
def test_a_level_shows_what_the_record_left_after_our_takers(script: list[Step]) -> None:
    play = Play([step for step in script if step[0] != "make"])
    effective: dict[Side, dict[int, int]] = {}
    before: dict[Side, dict[int, int]] = {}
    fills = 0
    for step, told in play.run():
        if isinstance(told, MarketBook):
            for side, held in play.record.held.items():
                old, left = before.get(side, {}), effective.get(side, {})
                effective[side] = {
                    px: min(max(left.get(px, 0) + size - old.get(px, 0), 0), size)
                    for px, size in held.items()
                }
                before[side] = dict(held)
        for fill in play.desk.engine.fills[fills:]:
            effective[fill.side.opposite][fill.px] -= fill.qty
        fills = len(play.desk.engine.fills)
        for side, shown in zip((Side.BUY, Side.SELL), play.desk.shown(), strict=True):
            assert dict(shown) == {px: e for px, e in effective[side].items() if e}, step


def reached(order: SimOrder, told: MarketEvent, old: dict[Side, dict[int, int]]) -> int:
    """Return how much of an event of the record could have traded with a resting order."""
    side, px = order.request.side, order.request.px or 0
    if isinstance(told, MarketTrade):
        through = (px - told.px) * side.value >= 0
        return told.qty if told.taker is side.opposite and through else 0
    book = dict(told.asks if side is Side.BUY else told.bids)
    return sum(
        max(size - old[side.opposite].get(level, 0), 0)
        for level, size in book.items()
        if (px - level) * side.value >= 0
    )


@given(steps)
@quick
def test_a_maker_never_gets_more_than_traded_at_or_through_its_price_or_crossed_it(
    script: list[Step],
) -> None:
    play = Play([step for step in script if step[0] != "take"])
    room: dict[str, int] = {}
    together = dict.fromkeys(Side, 0)
    old: dict[Side, dict[int, int]] = {side: {} for side in Side}
    rested: list[SimOrder] = []
    for _, told in play.run():
        if told is not None:
            for order in rested:
                room[order.order_id] += reached(order, told, old)
            for side in Side:
                together[side] += max(
                    (reached(o, told, old) for o in rested if o.request.side is side), default=0
                )
        old = {side: dict(held) for side, held in play.record.held.items()}
        assert all(order.cum <= room[order.order_id] for order in rested)
        rested = [order for order in play.placed if order.phase is Phase.OPEN]
        for order in rested:
            room.setdefault(order.order_id, 0)
    for side in Side:
        ours = sum(f.qty for f in play.desk.engine.fills if f.side is side and f.is_maker)
        assert ours <= together[side], "one trade has one budget, whoever waits for it"


@given(steps)
@quick
def test_nothing_that_we_display_crosses_or_locks_the_book(script: list[Step]) -> None:
    play = Play(script)
    for step, _ in play.run():
        bid, ask = play.desk.engine.touch(play.desk.symbol)
        assert bid is None or ask is None or bid < ask, step


# --- the fast way and the slow way ---------------------------------------------------------------


@given(steps, st.booleans(), st.booleans())
@settings(quick, max_examples=150)
def test_compiled_changes_give_the_same_messages_as_plain_ones(
    script: list[Step], whole: bool, grvt: bool
) -> None:
    plain = Play(script, whole=whole, grvt=grvt).finish()
    compiled = Play(script, compiled=True, whole=whole, grvt=grvt).finish()

    assert [repr(event) for event in compiled.desk.events] == [
        repr(event) for event in plain.desk.events
    ]
    assert compiled.desk.shown() == plain.desk.shown()


@given(steps, st.integers(0, 4), st.booleans())
@quick
def test_a_shift_a_scale_or_a_halt_in_between_keeps_the_two_ways_alike(
    script: list[Step], when: int, whole: bool
) -> None:
    def play(compiled: bool) -> Play:
        made = Play(script, compiled=compiled, whole=whole)
        engine, symbol = made.desk.engine, made.desk.symbol
        for place, _ in enumerate(made.run()):
            now = made.desk.now
            if place % 5 == when:
                engine.set_market(now, symbol, liquidity=NANO // 2, halt=place % 2 == 0)
            elif place % 5 == (when + 2) % 5:
                engine.set_market(now, symbol, shift_bps=1, halt=False)
            elif place % 5 == (when + 3) % 5:
                engine.set_market(now, symbol, shift_bps=0, liquidity=NANO)
        return made

    plain, compiled = play(compiled=False), play(compiled=True)
    assert [repr(event) for event in compiled.desk.events] == [
        repr(event) for event in plain.desk.events
    ]


def test_the_fast_way_is_taken() -> None:
    script: list[Step] = [("book", (n % 5 - 2, 0o7654321 + n)) for n in range(20)]
    play = Play(script, compiled=True).finish()

    assert play.glided == 20


def test_a_record_that_crosses_itself_is_left_to_the_engine() -> None:
    compiler = Compiler(Desk().engine.markets["ETH_USDC_PERP"].instrument)
    first = compiler.compile(snapshot([("2999", "1")], [("3001", "1")]))
    crossing = compiler.compile(delta(bids=[("3002", "1")]))
    after = compiler.compile(delta(bids=[("2998", "1")]))
    healed = compiler.compile(snapshot([("2999", "1")], [("3001", "1")]))

    kinds = [isinstance(each, CompiledBook) for each in (first, crossing, after, healed)]
    assert kinds == [True, False, False, True]


def test_prices_off_the_grid_are_left_to_the_engine() -> None:
    compiler = Compiler(Desk().engine.markets["ETH_USDC_PERP"].instrument)
    assert not isinstance(
        compiler.compile(snapshot([("2999.001", "1")], [("3001", "1")])), CompiledBook
    )


@pytest.mark.parametrize("whole", [False, True])
def test_passes_that_repeat_from_memory_are_those_read_anew(whole: bool) -> None:
    record = Record(whole)
    opening = Play([]).record
    opening.whole = True
    books = [opening.change(0, 0o1234567)]
    record.held = {side: dict(held) for side, held in opening.held.items()}
    books += [record.change(n % 7 - 3, 0o2345671 * (n + 1) % (1 << 24)) for n in range(60)]
    source = [FeedEvent(Ns(n * MS), Venue.BACKPACK, book) for n, book in enumerate(books)]
    desks = [Desk(), Desk()]
    instrument = desks[0].engine.markets[desks[0].symbol].instrument
    feed = CompiledFeed(lambda: iter(source), {Venue.BACKPACK: instrument}, finite=True)

    for number in range(4):
        for slow, fast in zip(source, feed.events(), strict=True):
            for desk, told in zip(desks, (slow, fast), strict=True):
                desk.feed(told.event)
            if number % 2 and not slow.offset % (7 * MS):
                for desk in desks:
                    desk.buy("0.1", None, tif=Tif.IOC)

    assert [repr(event) for event in desks[0].events] == [repr(event) for event in desks[1].events]
    again = list(feed.events())
    assert isinstance(again[0].event, CompiledBook)
    assert again[0].event.bid is not None, "the second pass begins as a change of the first"

"""What the market has been doing: probes that wait as a real order would, and what fades."""

from dataclasses import fields, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from strategy.domain import Book, Bps, Ns, Px, Qty, Side, Trade, Venue, bps, nano
from strategy.flow import (
    GAP,
    MEMORY,
    MS,
    Flow,
    Priors,
    Probe,
    displayed,
    expected_wait,
    observe_book,
    observe_trade,
    traded_per_second,
    volatility,
)
from tests.builders import SECOND, book, px, qty

TICK = px("0.01")
START = 10 * SECOND
PRIORS = Priors()
WIDE = book(bids=[("2999.90", "3"), ("2999.80", "4")], asks=[("3000.00", "5"), ("3000.10", "6")])
"""Probes: a buy at 2999.99 and a sell at 2999.91, both inside and alone at their price."""
TIGHT = book(bids=[("2999.99", "3"), ("2999.90", "1")], asks=[("3000.00", "5"), ("3000.10", "1")])
"""Probes join the touch: behind 3 on the bid, behind 5 on the ask."""


def ns(seconds: float) -> Ns:
    return Ns(START + int(seconds * SECOND))


def after(value: Book, when: float = 0, flow: Flow | None = None) -> Flow:
    return observe_book(flow or Flow(), value, TICK, ns(when))


def trade(price: str, size: str, taker: Side, when: float = 0) -> Trade:
    return Trade(Venue.GRVT, px(price), qty(size), taker, ns(when))


def traded(flow: Flow, price: str, size: str, taker: Side, when: float) -> Flow:
    made = trade(price, size, taker, when)
    return observe_trade(flow, made, made.at)


def of(flow: Flow, side: Side) -> Probe:
    probe = flow.buy if side is Side.BUY else flow.sell
    assert probe is not None
    return probe


# --- where a probe stands ------------------------------------------------------------------------


def test_probes_rest_one_tick_better_than_the_touch_that_crossing_pays() -> None:
    flow = after(WIDE)
    assert of(flow, Side.BUY) == Probe(px("2999.99"), Qty(0), ns(0))
    assert of(flow, Side.SELL) == Probe(px("2999.91"), Qty(0), ns(0))


def test_probes_that_join_a_level_wait_behind_all_of_it() -> None:
    flow = after(TIGHT)
    assert of(flow, Side.BUY) == Probe(px("2999.99"), qty(3), ns(0))
    assert of(flow, Side.SELL) == Probe(px("3000.00"), qty(5), ns(0))


def test_a_probe_left_behind_follows_the_touch_and_keeps_its_clock() -> None:
    up = book(bids=[("3000.00", "2")], asks=[("3000.20", "5")])
    flow = after(up, 1, after(TIGHT))
    assert of(flow, Side.BUY) == Probe(px("3000.19"), Qty(0), ns(0))


def test_a_probe_is_not_pulled_back_when_the_touch_comes_nearer() -> None:
    """The ask falls to one tick above: the order rests on at its price, and its place."""
    flow = after(WIDE)
    nearer = book(bids=[("2999.90", "3"), ("2999.80", "4")], asks=[("3000.00", "1")])
    assert of(after(nearer, 1, flow), Side.BUY) == of(flow, Side.BUY)


def test_a_queue_that_shrinks_without_trades_shortens_from_behind_only() -> None:
    fewer = book(bids=[("2999.99", "2"), ("2999.90", "1")], asks=[("3000.00", "5")])
    more = book(bids=[("2999.99", "9"), ("2999.90", "1")], asks=[("3000.00", "5")])
    flow = after(fewer, 1, after(TIGHT))
    assert of(flow, Side.BUY).ahead == qty(2)
    assert of(after(more, 2, flow), Side.BUY).ahead == qty(2)


def test_a_level_that_vanished_leaves_nothing_ahead() -> None:
    gone = book(bids=[("2999.98", "2")], asks=[("3000.00", "5")])
    assert of(after(gone, 1, after(TIGHT)), Side.BUY) == Probe(px("2999.99"), Qty(0), ns(0))


def test_displayed_size_beyond_the_book_is_what_the_caller_believes() -> None:
    levels = WIDE.bids
    assert displayed(levels, px("2999.90"), Side.BUY) == qty(3)
    assert displayed(levels, px("2999.85"), Side.BUY, unseen=qty(7)) == 0
    assert displayed(levels, px("2999.70"), Side.BUY, unseen=qty(7)) == qty(7)
    assert displayed(WIDE.asks, px("3000.05"), Side.SELL, unseen=qty(7)) == 0
    assert displayed(WIDE.asks, px("3000.20"), Side.SELL, unseen=qty(7)) == qty(7)


# --- how a wait ends -----------------------------------------------------------------------------


def test_trades_at_the_price_consume_the_queue_and_then_fill() -> None:
    flow = after(TIGHT)
    flow = traded(flow, "2999.99", "1", Side.SELL, 1)
    assert of(flow, Side.BUY).ahead == qty(2)
    flow = traded(flow, "2999.99", "2", Side.SELL, 1.5)
    assert of(flow, Side.BUY).ahead == 0, "the queue is gone, yet nothing was left for us"
    assert flow.waits == 0
    flow = traded(flow, "2999.99", "0.001", Side.SELL, 2)
    assert flow.buy is None
    assert flow.waits == 2000
    assert flow.squares == 2000 * 2000 // 2
    assert flow.sell is not None, "the other side goes on waiting"


def test_a_trade_through_the_price_fills_whatever_stands_ahead() -> None:
    flow = traded(after(TIGHT), "2999.98", "0.001", Side.SELL, 3)
    assert flow.buy is None
    assert flow.waits == 3000


def test_trades_behind_the_price_or_of_the_other_side_do_nothing() -> None:
    flow = after(WIDE)
    assert traded(flow, "3000.00", "50", Side.SELL, 1).buy == flow.buy
    assert traded(flow, "2999.99", "50", Side.BUY, 1).buy == flow.buy


def test_a_book_that_comes_to_the_price_fills_the_probe() -> None:
    down = book(bids=[("2999.80", "4")], asks=[("2999.99", "1")])
    flow = after(down, 4, after(WIDE))
    assert flow.waits == 4000
    assert of(flow, Side.BUY) == Probe(px("2999.98"), Qty(0), ns(4)), "the next wait begins"


def test_the_next_book_starts_a_new_wait_after_a_fill() -> None:
    flow = traded(after(TIGHT), "2999.98", "1", Side.SELL, 1)
    assert of(after(TIGHT, 1.5, flow), Side.BUY) == Probe(px("2999.99"), qty(3), ns(1.5))


def test_a_gap_drops_running_waits_and_counts_nothing() -> None:
    flow = after(TIGHT)
    late = after(TIGHT, GAP / SECOND + 0.001, flow)
    assert late.waits == flow.waits
    assert of(late, Side.BUY).since == late.at
    in_time = after(TIGHT, GAP / SECOND, flow)
    assert of(in_time, Side.BUY).since == ns(0)


def test_a_gap_gives_no_move_to_the_volatility() -> None:
    jumped = book(bids=[("3100.00", "3")], asks=[("3100.05", "5")])
    flow = after(jumped, 60, after(TIGHT))
    assert flow.variance == 0
    assert after(jumped, 62, flow).variance == 0


def test_an_insane_book_ends_the_waits_unfinished() -> None:
    for broken in (book(bids=[]), book(asks=[]), book(bids=[("3000.05", "1")])):
        flow = after(broken, 1, after(TIGHT))
        assert (flow.buy, flow.sell, flow.waits) == (None, None, 0)
        assert of(after(TIGHT, 2, flow), Side.BUY).since == ns(2)


def test_time_that_runs_backwards_is_a_gap() -> None:
    flow = after(TIGHT, -1, after(TIGHT))
    assert of(flow, Side.BUY).since == ns(-1)
    assert flow.waits == 0


# --- what the waits, moves and trades come to ----------------------------------------------------


def test_before_anything_was_seen_the_priors_hold() -> None:
    assert expected_wait(Flow(), Side.BUY, PRIORS) == PRIORS.wait
    assert volatility(Flow(), PRIORS) == PRIORS.volatility
    # 3,000 quote units a second of both sides at 3,000: half a unit of one side
    assert traded_per_second(Flow(), px(3000), PRIORS) == qty("0.5")


def test_expected_wait_is_that_of_a_random_moment() -> None:
    """Waits of 1 s and 3 s: a random moment falls into the long one three times of four."""
    seen = Flow(at=ns(0), waits=4000, squares=(1000**2 + 3000**2) // 2)
    knows_nothing = replace(PRIORS, weight=Ns(0))
    # (1 x 0.5 s + 3 x 1.5 s) / 4, less the one millisecond that the prior keeps
    assert abs(expected_wait(seen, Side.BUY, knows_nothing) - 1_250 * MS) <= MS


def test_waits_that_still_run_count_as_far_as_they_have_come() -> None:
    flow = after(TIGHT)
    aged = replace(flow, at=ns(8))
    assert expected_wait(aged, Side.BUY, PRIORS) > expected_wait(flow, Side.BUY, PRIORS)
    none = replace(PRIORS, weight=Ns(0))
    assert expected_wait(aged, Side.BUY, none) // MS == max(
        2 * (8000**2 // 2) // (2 * 8000 + 1), 8000 // 2
    )


def test_the_prior_wait_gives_way_as_waiting_is_seen() -> None:
    weight = PRIORS.weight // MS
    shown = [
        expected_wait(Flow(at=ns(0), waits=seen, squares=seen * 200), Side.BUY, PRIORS)
        for seen in (0, weight // 2, weight, 10 * weight)
    ]
    assert shown[0] == PRIORS.wait
    assert shown == sorted(shown, reverse=True)
    assert abs(shown[-1] - 200 * MS) < 5 * MS, "the prior has no voice left"


def test_volatility_measures_the_mid_over_a_second_or_more() -> None:
    moved = book(bids=[("3000.29", "3")], asks=[("3000.30", "5")])  # 1 bp above TIGHT
    flow = after(TIGHT)
    assert after(moved, 0.9, flow).variance == 0, "sampled too early"
    flow = after(moved, 1, flow)
    assert abs(flow.variance - bps(1) ** 2) <= 10 * bps(1), "to the rounding of one ratio"
    assert flow.variance_span == SECOND
    sure = replace(PRIORS, weight=Ns(1))
    assert abs(volatility(flow, sure) - bps(1)) < 1000


def test_a_longer_interval_is_scaled_to_one_second() -> None:
    moved = book(bids=[("3000.59", "3")], asks=[("3000.60", "5")])  # 2 bps in 4 s: 1 bp a root s
    flow = after(moved, 4, after(TIGHT))
    assert abs(volatility(flow, replace(PRIORS, weight=Ns(1))) - bps(1)) < 1000


def test_a_jump_fades_from_the_volatility() -> None:
    wild = book(bids=[("3030.00", "3")], asks=[("3030.01", "5")])
    flow = after(wild, 1, after(TIGHT))
    first = volatility(flow, PRIORS)
    for second in range(2, 122):
        flow = after(wild, second, flow)
    assert first > bps(25), "100 bps, spread over the prior's ten seconds and one"
    assert volatility(flow, PRIORS) < bps("2.5"), "exp(-4) of it after four time constants"


def test_turnover_is_what_one_side_of_takers_trades_in_a_second() -> None:
    flow = after(TIGHT)
    for second in range(1, 21):
        flow = traded(flow, "3000.05", "2", Side.BUY, second)
    sure = traded_per_second(flow, px(3000), PRIORS)
    assert abs(sure - qty(1)) < qty("0.1"), "2 a second on both sides, 1 on each"
    silent = traded_per_second(replace(flow, volume=0), px(3000), PRIORS)
    assert silent == 1, "never zero: it divides"


def test_memory_fades_over_its_time_constant() -> None:
    flow = replace(after(TIGHT), waits=1000, squares=500_000, volume=qty(60), span=Ns(MEMORY))
    later = after(TIGHT, 3, flow)
    assert (later.waits, later.squares) == (950, 475_000)
    assert later.volume == qty(57)
    assert later.span == MEMORY, "what fades is replaced by what is seen"


# --- symmetry and scale --------------------------------------------------------------------------

MIRROR = px(6000)
STEP = st.tuples(
    st.integers(0, 4000),  # ms since the last event
    st.integers(-30, 30),  # move of the bid, ticks
    st.integers(1, 12),  # spread, ticks
    st.lists(st.integers(1, 900), min_size=1, max_size=4),  # sizes, 0.01
    st.none() | st.tuples(st.booleans(), st.integers(-3, 3), st.integers(1, 600)),
)
HISTORY = st.lists(STEP, min_size=1, max_size=25)
Row = tuple[int, int, int, list[int], tuple[bool, int, int] | None]
Event = tuple[Ns, Book | Trade]


def events(history: list[Row]) -> list[Event]:
    """Turn drawn numbers into a market: a book a step, and perhaps a trade about its touch."""
    made: list[Event] = []
    when, bid = START, 300_000
    for wait, move, spread, sizes, print_of in history:
        when, bid = when + wait * MS, bid + move
        grown = [Qty(size * 10_000_000) for size in sizes]
        bids = [(Px((bid - 2 * i) * TICK), size) for i, size in enumerate(grown)]
        asks = [(Px((bid + spread + 3 * i) * TICK), size) for i, size in enumerate(grown)]
        made.append((Ns(when), Book(Venue.GRVT, tuple(bids), tuple(asks), Ns(when))))
        if print_of is not None:
            buys, off, size = print_of
            at = asks[0][0] if buys else bids[0][0]
            taker = Side.BUY if buys else Side.SELL
            made_of = Trade(Venue.GRVT, Px(at + off * TICK), Qty(size * 10_000_000), taker, Ns(0))
            made.append((Ns(when), made_of))
    return made


def run(history: list[Event], tick: Px = TICK) -> Flow:
    flow = Flow()
    for when, what in history:
        if isinstance(what, Book):
            flow = observe_book(flow, what, tick, when)
        else:
            flow = observe_trade(flow, what, when)
    return flow


def changed(
    history: list[Event], price: int = 1, size: int = 1, *, mirror: bool = False
) -> list[Event]:
    """Return the market scaled, or mirrored about 3,000: bids become asks and buys sells."""

    def at(level: tuple[Px, Qty]) -> tuple[Px, Qty]:
        return Px(MIRROR - level[0] if mirror else level[0] * price), Qty(level[1] * size)

    made: list[Event] = []
    for when, what in history:
        if isinstance(what, Book):
            bids, asks = tuple(map(at, what.bids)), tuple(map(at, what.asks))
            if mirror:
                bids, asks = asks, bids
            made.append((when, replace(what, bids=bids, asks=asks)))
        else:
            moved, grown = at((what.px, what.qty))
            taker = what.taker.opposite if mirror else what.taker
            made.append((when, replace(what, px=moved, qty=grown, taker=taker)))
    return made


@settings(max_examples=120, deadline=None)
@given(HISTORY)
def test_a_mirrored_market_has_mirrored_probes_and_equal_waits(history: list[Row]) -> None:
    one = events(history)
    flow, other = run(one), run(changed(one, mirror=True))
    assert (other.squares, other.waits) == (flow.squares, flow.waits)
    assert (other.volume, other.span) == (flow.volume, flow.span)
    assert expected_wait(other, Side.SELL, PRIORS) == expected_wait(flow, Side.BUY, PRIORS)
    for mine, theirs in ((flow.buy, other.sell), (flow.sell, other.buy)):
        if mine is None or theirs is None:
            assert mine is theirs
            continue
        assert theirs == Probe(Px(MIRROR - mine.px), mine.ahead, mine.since)


@settings(max_examples=80, deadline=None)
@given(HISTORY, st.sampled_from([10, 100]), st.sampled_from([1, 10, 100]))
def test_waits_and_volatility_do_not_know_the_price_or_size_unit(
    history: list[Row], price: int, size: int
) -> None:
    """Times 10 and times 100 of one market are times 1 and times 0.1 of another."""
    one = events(history)
    flow = run(one)
    scaled = run(changed(one, price, size), Px(TICK * price))
    assert expected_wait(scaled, Side.BUY, PRIORS) == expected_wait(flow, Side.BUY, PRIORS)
    assert abs(volatility(scaled, PRIORS) - volatility(flow, PRIORS)) <= 1
    assert scaled.span == flow.span
    # the running sum fades by integer steps: one unit an event at most
    assert abs(scaled.volume - flow.volume * size) <= size * 2 * len(one)
    for mine, theirs in ((flow.buy, scaled.buy), (flow.sell, scaled.sell)):
        if mine is None or theirs is None:
            assert mine is theirs
            continue
        assert theirs == Probe(Px(mine.px * price), Qty(mine.ahead * size), mine.since)


@settings(max_examples=80, deadline=None)
@given(HISTORY)
def test_every_figure_is_an_integer_and_bounded(history: list[Row]) -> None:
    one = events(history)
    flow = run(one)
    for field in fields(Flow):
        value: object = getattr(flow, field.name)
        assert value is None or isinstance(value, Probe) or type(value) is int, field.name
    for figure in (
        expected_wait(flow, Side.BUY, PRIORS),
        volatility(flow, PRIORS),
        traded_per_second(flow, px(3000), PRIORS),
    ):
        assert isinstance(figure, int)
        assert figure > 0
    longest = one[-1][0] - one[0][0]
    assert expected_wait(flow, Side.BUY, PRIORS) <= max(PRIORS.wait, longest) + MS
    assert flow.span <= MEMORY + GAP
    assert volatility(flow, PRIORS) >= Bps(0)


def test_the_expected_wait_is_at_least_a_millisecond() -> None:
    quick = Flow(at=ns(0), waits=10 * MEMORY // MS, squares=0)
    assert expected_wait(quick, Side.BUY, PRIORS) == MS
    assert nano("0.001") == MS


def test_a_market_that_runs_away_says_so_although_the_other_side_fills_all_the_time() -> None:
    flow, price = Flow(), 3000
    for tick in range(400):
        price += 1
        flow = observe_book(
            flow,
            book(bids=[(f"{price}.00", "5")], asks=[(f"{price}.05", "5")]),
            px("0.01"),
            ns(tick / 20),
        )
    assert flow.buy is not None
    assert expected_wait(flow, Side.BUY, PRIORS) >= (flow.at - flow.buy.since) // 2 - MS
    assert expected_wait(flow, Side.BUY, PRIORS) > 9 * SECOND
    assert expected_wait(flow, Side.SELL, PRIORS) < expected_wait(flow, Side.BUY, PRIORS)

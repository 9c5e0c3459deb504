"""The market's running figures and the cost model, figure by figure."""

from dataclasses import replace

import pytest

from strategy.cost import LONGEST_WAIT, UNIT, Routing, _worth, estimate, imbalance
from strategy.domain import (
    NANO,
    Book,
    Bps,
    Ns,
    Px,
    Qty,
    Side,
    Trade,
    Venue,
    bps,
)
from strategy.flow import (
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
from tests.unit.test_cost import EVEN, situation

TICK = px("0.01")
WIDE = book(bids=[("2999.90", "3")], asks=[("3000.00", "5")])
"""Probes: a buy at 2999.99 and a sell at 2999.91, alone at their price."""
NO_PRIORS = Priors(weight=Ns(0))


def ns(seconds: float) -> Ns:
    return Ns(10 * SECOND + int(seconds * SECOND))


def after(value: Book, when: float = 0, flow: Flow | None = None) -> Flow:
    return observe_book(flow or Flow(), value, TICK, ns(when))


def shifted(value: Book, change: str) -> Book:
    move = px(change)
    bids = tuple((Px(p + move), q) for p, q in value.bids)
    asks = tuple((Px(p + move), q) for p, q in value.asks)
    return replace(value, bids=bids, asks=asks)


# --- what fades, and gaps ------------------------------------------------------------------------


def test_volatility_fades_over_thirty_seconds_and_is_of_the_mid() -> None:
    flow = after(shifted(WIDE, "0.3"), 1, after(WIDE))
    move = 1_000_017  # 0.30 of 2999.95, in 1e-6 bps
    assert (flow.variance, flow.variance_span, flow.ref) == (move**2, SECOND, px("3000.25"))
    assert flow.ref_at == ns(1)
    later = after(shifted(WIDE, "0.3"), 4, flow)
    assert later.variance == move**2 - move**2 * 3 // 30
    assert later.variance_span == SECOND - SECOND * 3 // 30 + 3 * SECOND


def test_running_waits_survive_a_gap_of_five_seconds_and_no_longer_one() -> None:
    start = replace(after(WIDE), waits=60_000, squares=60_000, volume=60_000)
    at_five = after(WIDE, 5, start)
    assert at_five.buy is not None
    assert at_five.buy.since == ns(0)
    assert at_five.ref_at == ns(5), "the mid was compared"
    assert at_five.variance_span == 5 * SECOND
    assert (at_five.span, at_five.waits) == (5 * SECOND, 55_000)
    beyond = after(WIDE, 5.001, start)
    for probe in (beyond.buy, beyond.sell):
        assert probe is not None
        assert probe.since == ns(5.001)
    assert beyond.variance_span == 0
    assert beyond.span == 5 * SECOND, "a gap counts as no more"


def test_a_clock_that_goes_back_starts_the_probes_anew_and_fades_nothing() -> None:
    start = replace(after(WIDE, 3), volume=60_000)
    back = after(shifted(WIDE, "0.3"), 2, start)
    for probe in (back.buy, back.sell):
        assert probe is not None
        assert probe.since == ns(2)
    assert (back.at, back.volume, back.variance_span) == (ns(2), 60_000, 0)
    same = after(WIDE, 3, start)
    assert same == start


def test_what_is_as_old_as_the_memory_is_forgotten() -> None:
    start = replace(after(WIDE), volume=10**12, waits=10**6)
    for when, left in ((59, 10**12 // 60 + 1), (60, 0), (61, 0)):
        assert abs(after(WIDE, when, start).volume - left) <= 1


# --- probes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", list(Side))
def test_a_probe_follows_by_one_unit_and_never_back(side: Side) -> None:
    flow = observe_book(Flow(), WIDE, Px(1), ns(0))

    def probe(moved: int) -> Px:
        shown = shifted(WIDE, "0")
        level = shown.side(side)[0]
        near = ((Px(level[0] + moved * side.value), level[1]),)
        asks, bids = (near, shown.bids) if side is Side.BUY else (shown.asks, near)
        made = observe_book(flow, replace(shown, bids=bids, asks=asks), Px(1), ns(1))
        found = made.buy if side is Side.BUY else made.sell
        assert found is not None
        return found.px

    first = flow.buy if side is Side.BUY else flow.sell
    assert first is not None
    assert probe(0) == first.px
    assert probe(1) == first.px + side.value


@pytest.mark.parametrize("side", list(Side))
def test_what_came_to_a_probe_counts_as_traded_within_ten_levels(side: Side) -> None:
    """Twelve levels of 1, of which the first eleven reach the probe's price."""
    probe = Probe(px(3000), Qty(0), ns(0))
    levels = tuple((Px(px(3000) - side.value * (10 - n) * TICK), qty(1)) for n in range(12))
    far = ((Px(px(3000) - side.value * px(1)), qty(1)),)
    asks, bids = (levels, far) if side is Side.BUY else (far, levels)
    flow = Flow(at=ns(0), buy=probe if side is Side.BUY else None,
                sell=probe if side is Side.SELL else None)  # fmt: skip
    shown = Book(Venue.GRVT, bids, asks, ns(0))
    made = observe_book(flow, shown, TICK, ns(0))
    assert made.volume == qty(10)
    few = replace(shown, asks=levels[9:]) if side is Side.BUY else replace(shown, bids=levels[9:])
    assert observe_book(flow, few, TICK, ns(0)).volume == qty(2), "its own price counts too"


@pytest.mark.parametrize("side", list(Side))
def test_a_price_between_levels_shows_nothing_and_beyond_them_what_is_unseen(side: Side) -> None:
    levels = tuple((Px(1000 - side.value * n * 10), Qty(5 + n)) for n in range(2))
    cases = ((0, 5), (10, 6), (5, 0), (9, 0), (-1, 0), (11, 7), (99, 7))
    for behind, size in cases:
        assert displayed(levels, Px(1000 - side.value * behind), side, unseen=Qty(7)) == size
    assert displayed(levels, Px(1000 - side.value * 99), side) == 0


def hit(flow: Flow, side: Side, price: Px, size: int) -> Flow:
    taker = side.opposite
    return observe_trade(flow, Trade(Venue.GRVT, price, Qty(size), taker, ns(1)), ns(1))


@pytest.mark.parametrize("side", list(Side))
def test_a_trade_through_a_probe_fills_it_and_one_short_of_it_does_not(side: Side) -> None:
    probe = Probe(px(3000), Qty(5), ns(0))
    flow = Flow(at=ns(0), buy=probe, sell=probe)

    def left(beyond: int, size: int) -> Probe | None:
        after_it = hit(flow, side, Px(px(3000) - side.value * beyond), size)
        return after_it.buy if side is Side.BUY else after_it.sell

    assert left(1, 1) is None
    assert left(-1, 99) == probe
    assert left(0, 5) == replace(probe, ahead=Qty(0))
    assert left(0, 6) is None


# --- what is expected ----------------------------------------------------------------------------


@pytest.mark.parametrize("side", list(Side))
def test_waits_that_run_count_as_far_as_they_have_come(side: Side) -> None:
    own, other = Probe(px(1), Qty(0), ns(-4)), Probe(px(1), Qty(0), ns(-1))
    buy, sell = (own, other) if side is Side.BUY else (other, own)
    flow = Flow(at=ns(0), buy=buy, sell=sell, squares=90_000_000, waits=5_000)
    priors = Priors(wait=Ns(2 * NANO), weight=Ns(5_001 * NANO // 1000))
    total = 90_000_000 + 2_000 * 1 + 4_000**2 // 2 + 1_000**2 // 2
    assert expected_wait(flow, side, priors) == total * 1_000_000 // (5_000 + 1 + 4_000 + 1_000)
    calm = replace(flow, squares=0, waits=100_000)
    assert expected_wait(calm, side, priors) == 2_000 * 1_000_000, "half of its own at least"
    assert expected_wait(calm, side.opposite, priors) == 500 * 1_000_000


def test_priors_give_way_to_what_was_seen() -> None:
    flow = Flow(at=ns(0), variance=4 * 10**12, variance_span=Ns(SECOND), volume=qty(8),
                span=Ns(4 * SECOND))  # fmt: skip
    assert volatility(flow, NO_PRIORS) == 2 * 10**6
    assert traded_per_second(flow, px(3000), NO_PRIORS) == qty(1)
    assert (Priors().wait, Priors().weight) == (2 * NANO, 10 * NANO)
    assert Flow() == Flow(Ns(0), None, None, 0, 0, 0, Ns(0), Px(0), Ns(0), 0, Ns(0))


# --- the cost model ------------------------------------------------------------------------------


def test_the_routers_numbers_are_those_of_its_page() -> None:
    assert Routing() == Routing(
        exposure_price=bps("0.25"), ramp=Ns(NANO), urgency=UNIT // 2, lean=800_000, carry=450_000,
        adverse=800_000, queue=300_000, depth=10,
    )  # fmt: skip
    assert LONGEST_WAIT == 3600 * SECOND
    assert estimate(situation(), Routing()) == estimate(situation(), replace(Routing()))


def test_where_nothing_trades_the_wait_is_an_hour() -> None:
    dead = Routing(priors=Priors(turnover=0))
    assert estimate(situation(flow=Flow(at=ns(0))), dead).wait == 3600 * SECOND


def test_our_own_orders_are_not_in_the_imbalance() -> None:
    shown = Book(Venue.GRVT, ((Px(99), Qty(10)),), ((Px(101), Qty(10)),), ns(0))
    assert imbalance(shown, Side.BUY, (), 10) == 0
    own = ((Px(99), Qty(3)), (Px(99), Qty(1)))
    assert imbalance(shown, Side.BUY, own, 10) == -4 * UNIT // 16
    assert imbalance(shown, Side.BUY, (), 0) == 0, "nothing looked at leans nowhere"


def test_a_drift_against_the_hedge_makes_less_worth_resting() -> None:
    """A seller rests on the ask side: where that is the heavier, the mid leans down."""
    level = Routing(lean=0)
    slow = Flow(
        at=ns(0), waits=60_000, squares=60_000_000, volume=2 * qty("0.25"), span=Ns(60 * SECOND)
    )

    def worth(asks: str) -> int:
        tilted = book(bids=[("3000.00", "4")], asks=[("3000.06", asks)])
        return estimate(situation(tilted, flow=slow), level).worth

    assert worth("1") > worth("4") > worth("9")


@pytest.mark.parametrize("field", ["ramp", "patience"])
def test_no_ramp_and_no_patience_divide_by_nothing(field: str) -> None:
    if field == "ramp":
        assert estimate(situation(), Routing(ramp=Ns(0))).price == 0
    else:
        at_once = estimate(situation(patience=Ns(0)), Routing())
        assert at_once.price == bps("0.25")


@pytest.mark.parametrize(
    ("gain", "rate", "first", "per_size", "worth"),
    [
        (0, 0, 0, 0, 0),  # it costs nothing and gains nothing
        (-1, -5, 0, 0, 0),
        (1, 0, 0, 0, 10**7),  # it costs nothing and gains
        (1, -1, 10**12, 1, 10**7),
        (1, 1, 2 * SECOND, 0, 0),  # the first wait alone costs more than the gain
        (2, 1, 2 * SECOND, 0, 0),
        (2, 1, 2 * SECOND - 1, 0, 10**6),
        (2, 1, 2 * SECOND - 3, 0, 3 * 10**6),
        (2, 1, 0, UNIT, 2),
        (9, 1, 0, 0, 10**7),
    ],
)
def test_worth_is_the_size_whose_wait_the_gain_pays(
    gain: int, rate: int, first: int, per_size: int, worth: int
) -> None:
    assert _worth(Qty(10**7), gain, rate, first, per_size, Qty(1)) == worth


def test_the_book_of_these_figures_is_even() -> None:
    assert imbalance(EVEN, Side.SELL, (), 10) == 0
    assert Bps(0) == estimate(situation(), Routing()).drift

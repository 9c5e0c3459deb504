"""The cost model, term by term, and the ways in which it must lean."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy.cost import SECOND, UNIT, Estimate, Routing, Situation, estimate, imbalance
from strategy.domain import NANO, Book, Bps, Level, Ns, Px, Qty, Side, Venue, bps, nano
from strategy.flow import Flow, Priors
from tests.builders import GRVT, book, px, qty

ROUTING = Routing()
EVEN = book(bids=[("3000.00", "4"), ("2999.00", "6")], asks=[("3000.06", "4"), ("3001.06", "6")])
"""The mid is 3000.03; both sides weigh the same."""


def situation(value: Book = EVEN, taker: Side = Side.SELL, **changes: object) -> Situation:
    base = Situation(
        book=value,
        taker=taker,
        need=qty("0.5"),
        own=(),
        instrument=GRVT,
        taker_fee=bps("4.5"),
        maker_fee=bps("-0.01"),
        cap=bps(5),
        flow=Flow(),
        age=Ns(2 * SECOND),
        patience=Ns(10 * SECOND),
        risk_aversion=NANO,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # field names are checked by replace


def of(s: Situation, routing: Routing = ROUTING) -> Estimate:
    return estimate(s, routing)


# --- each term by hand ---------------------------------------------------------------------------


@pytest.mark.parametrize(("taker", "price"), [(Side.SELL, "3000.01"), (Side.BUY, "3000.05")])
def test_the_passive_price_is_one_tick_better_than_the_touch(taker: Side, price: str) -> None:
    assert of(situation(taker=taker)).px == px(price)


def test_crossing_costs_the_depth_walk_from_the_mid_and_the_taker_fee() -> None:
    # 0.5 fits the touch: 0.03 of 3000.03 is 0.1 bps
    assert abs(of(situation()).cross - bps("4.6")) <= 10
    # 8 takes 4 at 3000.00 and 4 at 2999.00: 0.53 of 3000.03 on average
    deep = of(situation(need=qty(8))).cross
    assert abs(deep - (bps("4.5") + bps("1.766649"))) <= 10


def test_insufficient_liquidity_is_priced_at_the_cap() -> None:
    # the cap is measured from the touch, the price from the mid, rounded to the tick inside
    thin = book(bids=[("3000.00", "0.1")], asks=[("3000.06", "0.1")])
    cost = of(situation(thin)).cross
    assert abs(cost - (bps("4.5") + bps("5.1"))) <= bps("0.02")


def test_resting_costs_its_price_the_maker_fee_and_adverse_selection() -> None:
    found = of(situation())
    price = bps("0.066666")  # selling at 3000.01 is 0.02 below the mid
    adverse = ROUTING.adverse * ROUTING.priors.volatility // UNIT
    assert abs(found.rest - (price - bps("0.01") + adverse)) <= 10


def test_the_wait_is_the_probes_and_the_time_that_takers_need_for_the_size() -> None:
    found = of(situation())
    # nothing seen: 2 s of prior, and 30 % of 0.5 at 0.5 traded a second
    assert abs(found.wait - (2 * SECOND + 3 * SECOND // 10)) < SECOND // 1000
    assert found.pressure == 0
    larger = of(situation(need=qty(5)))
    assert abs(larger.wait - 5 * SECOND) < SECOND // 100


def test_a_heavier_own_side_slows_the_fill_and_drifts_away() -> None:
    heavy = book(bids=[("3000.00", "1")], asks=[("3000.06", "3")])
    found = of(situation(heavy))
    assert found.pressure == UNIT // 2, "(3 - 1) / 4 on the side that a sell joins"
    sigma = ROUTING.priors.volatility
    assert found.drift == ROUTING.carry * sigma // UNIT // 2
    lean = ROUTING.lean // 4
    slower = (UNIT + lean) * UNIT // (UNIT - lean)
    assert abs(found.wait - (23 * SECOND // 10) * slower // UNIT) < SECOND // 100
    other = of(situation(heavy, Side.BUY))
    assert (other.pressure, other.drift) == (-UNIT // 2, -found.drift)
    assert other.wait < 2 * SECOND


def test_the_price_of_a_second_ramps_up_and_grows_with_the_age() -> None:
    def price(age: float, risk: int = NANO) -> int:
        return of(situation(age=Ns(int(age * SECOND)), risk_aversion=risk)).price

    full = ROUTING.exposure_price
    assert price(0) == 0, "nothing is crossed before the book was seen"
    ramp = ROUTING.ramp / SECOND
    assert price(ramp) == full * (UNIT + ROUTING.urgency // 10) // UNIT
    assert price(10) == full * (UNIT + ROUTING.urgency) // UNIT
    assert price(99) == price(10), "urgency ends with the patience"
    assert price(10, 2 * NANO) == 2 * price(10)
    assert price(10, 0) == 0


def test_what_is_worth_resting_waits_at_most_gain_over_rate() -> None:
    s = situation(need=qty(50), age=Ns(4 * SECOND), cap=bps(2))
    found = of(s)
    assert 0 < found.worth < s.need
    seconds = (found.cross - found.rest) / (found.price + found.drift)
    # of that time 2 s are the probe's, the rest is 30 % of size / (0.5 a second)
    assert abs(found.worth / NANO - (seconds - 2) * 0.5 / 0.3) < 0.01


def test_resting_that_costs_more_than_crossing_is_worth_nothing() -> None:
    free = situation(taker_fee=Bps(0), maker_fee=bps(2))
    assert of(free).worth == 0


def test_the_log_line_names_every_figure() -> None:
    text = of(situation()).text()
    assert text == (
        "cross 4.60 rest 1.26 bps, wait 2300 ms at 0.28 bps/s, drift 0.00 bps/s, worth 0.5"
    )


# --- our own orders ------------------------------------------------------------------------------


def test_our_own_orders_do_not_count_in_the_imbalance() -> None:
    ours = book(bids=[("3000.00", "4")], asks=[("3000.06", "4"), ("3000.01", "0.5")])
    own = ((px("3000.01"), qty("0.5")),)
    assert imbalance(ours, Side.SELL, own, 10) == 0
    assert imbalance(ours, Side.SELL, (), 10) > 0


def test_an_own_order_that_the_book_does_not_show_yet_is_not_subtracted() -> None:
    own = ((px("3000.01"), qty("0.5")),)
    assert imbalance(EVEN, Side.SELL, own, 10) == 0
    behind = ((px("3000.06"), qty(9)),)
    assert imbalance(EVEN, Side.SELL, behind, 1) == -UNIT, "at most what is displayed"


def test_orders_that_share_a_price_are_subtracted_once() -> None:
    """Two fills rest at one price, the book shows only the first of them yet."""
    thin = book(bids=[("3000.00", "0.05")], asks=[("3000.06", "0.1")])
    own = ((px("3000.06"), qty("0.1")), (px("3000.06"), qty("0.1")))
    assert imbalance(thin, Side.SELL, own, 10) == -UNIT
    assert of(situation(thin, own=own)).wait > 0


def test_levels_beyond_the_depth_do_not_count() -> None:
    far = book(
        bids=[("3000.00", "4"), ("2999.00", "6")], asks=[("3000.06", "4"), ("3001.06", "600")]
    )
    assert imbalance(far, Side.SELL, (), 1) == 0
    assert imbalance(far, Side.SELL, (), 2) > 0


# --- which way it leans --------------------------------------------------------------------------

SIZES = st.lists(st.integers(1, 400), min_size=1, max_size=6)


@st.composite
def books(draw: st.DrawFn) -> Book:
    """A sane book: grid of 0.01, sizes of 0.01."""
    spread = draw(st.integers(1, 900))
    gaps = draw(st.lists(st.integers(1, 80), min_size=6, max_size=6))
    sides: list[tuple[Level, ...]] = []
    for start, way in ((300_000, -1), (300_000 + spread, 1)):
        at, levels = start, []
        for gap, size in zip(gaps, draw(SIZES), strict=False):
            levels.append((Px(at * 10_000_000), Qty(size * 10_000_000)))
            at += gap * way
        sides.append(tuple(levels))
    return Book(Venue.GRVT, sides[0], sides[1], Ns(0))


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    patience = draw(st.integers(0, 20_000)) * 1_000_000
    seen = draw(st.integers(0, 60_000))
    flow = Flow(
        at=Ns(SECOND),
        waits=seen,
        squares=seen * draw(st.integers(1, 9_000)),
        volume=draw(st.integers(0, 500)) * NANO,
        span=Ns(draw(st.integers(0, 60)) * SECOND),
        variance=draw(st.integers(0, 500)) * UNIT * UNIT,
        variance_span=Ns(draw(st.integers(0, 30)) * SECOND),
    )
    return situation(
        draw(books()),
        draw(st.sampled_from(Side)),
        need=Qty(draw(st.integers(1, 500)) * 10_000_000),
        age=Ns(draw(st.integers(0, 20_000)) * 1_000_000),
        patience=Ns(patience),
        risk_aversion=draw(st.integers(0, 20)) * NANO // 4,
        flow=flow,
    )


@settings(max_examples=150, deadline=None)
@given(situations(), st.integers(0, 20 * NANO))
def test_more_risk_aversion_never_makes_more_worth_resting(s: Situation, more: int) -> None:
    averse = replace(s, risk_aversion=s.risk_aversion + more)
    assert of(averse).worth <= of(s).worth


@settings(max_examples=150, deadline=None)
@given(situations(), st.integers(0, 20))
def test_more_age_never_makes_more_worth_resting(s: Situation, more: int) -> None:
    older = replace(s, age=Ns(s.age + more * SECOND // 2))
    assert of(older).worth <= of(s).worth


@settings(max_examples=150, deadline=None)
@given(situations(), st.integers(0, 40))
def test_a_dearer_taker_never_makes_less_worth_resting(s: Situation, more: int) -> None:
    dearer = replace(s, taker_fee=Bps(s.taker_fee + more * UNIT // 4))
    assert of(dearer).worth >= of(s).worth


@settings(max_examples=200, deadline=None)
@given(situations(), st.integers(1, 500))
def test_a_larger_size_never_crosses_cheaper(s: Situation, more: int) -> None:
    """Also where the book runs out: the last price that the cap allows is the worst there is."""
    larger = replace(s, need=Qty(s.need + more * 10_000_000))
    assert of(larger).cross >= of(s).cross - 1


@settings(max_examples=100, deadline=None)
@given(situations())
def test_without_risk_aversion_or_drift_everything_rests_while_resting_is_cheaper(
    s: Situation,
) -> None:
    patient = replace(s, risk_aversion=0)
    calm = replace(ROUTING, carry=0)
    found = of(patient, calm)
    assert found.worth == (s.need if found.cross > found.rest else 0)


@settings(max_examples=150, deadline=None)
@given(situations())
def test_figures_are_integers_within_their_bounds(s: Situation) -> None:
    found = of(s)
    for figure in (found.cross, found.rest, found.wait, found.drift, found.price, found.worth):
        assert isinstance(figure, int)
    assert 0 <= found.worth <= s.need
    assert -UNIT <= found.pressure <= UNIT
    assert found.wait > 0
    assert found.price >= 0


@settings(max_examples=100, deadline=None)
@given(situations())
def test_the_mirrored_market_is_decided_alike(s: Situation) -> None:
    """Bids become asks and buys sells, about a price far away: one tick in bps, no more."""
    about = nano(6000)

    def turned(levels: tuple[Level, ...]) -> tuple[Level, ...]:
        return tuple((Px(about - level), size) for level, size in levels)

    mirrored = replace(
        s,
        book=replace(s.book, bids=turned(s.book.asks), asks=turned(s.book.bids)),
        taker=s.taker.opposite,
    )
    found, other = of(s), of(mirrored)
    assert other.px == about - found.px
    assert other.pressure == found.pressure
    assert abs(other.cross - found.cross) <= bps("0.1")
    assert abs(other.rest - found.rest) <= bps("0.1")


@settings(max_examples=100, deadline=None)
@given(situations(), st.sampled_from([10, 100]))
def test_the_unit_of_the_size_changes_nothing(s: Situation, times: int) -> None:
    """Sizes, need and turnover times 10: the same market, quoted in another unit."""

    def grown(levels: tuple[Level, ...]) -> tuple[Level, ...]:
        return tuple((level, Qty(size * times)) for level, size in levels)

    priors = replace(Priors(), turnover=Priors().turnover * times)
    routing = replace(ROUTING, priors=priors)
    larger = replace(
        s,
        book=replace(s.book, bids=grown(s.book.bids), asks=grown(s.book.asks)),
        need=Qty(s.need * times),
        flow=replace(s.flow, volume=s.flow.volume * times),
    )
    found, other = of(s), of(larger, routing)
    assert (other.cross, other.rest, other.drift) == (found.cross, found.rest, found.drift)
    assert abs(other.wait - found.wait) <= SECOND // 1000 + found.wait // 1000
    assert abs(other.worth - found.worth * times) <= max(found.worth * times // 100, nano("0.01"))

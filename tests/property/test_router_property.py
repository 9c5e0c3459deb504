"""The executor in every interleaving: late and repeated answers, moving books, fills that join.

What is sent, crossed and booked is judged by the exchange's own truth (``router_rig``).
"""

from dataclasses import replace
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strategy.decide import decide, hedge_need
from strategy.depth import cap_price
from strategy.domain import (
    BPS_ONE,
    Ns,
    Px,
    Quote,
    Side,
    Tif,
    nano,
)
from strategy.events import (
    RoutePhase,
)
from strategy.fold import fold
from strategy.world import OrderState
from tests.builders import GRVT, SECOND, params, qty
from tests.property.router_rig import (
    EPISODES,
    RISKS,
    TICK,
    Channel,
    Episode,
    Rig,
    Shape,
    market,
    rig,
    run,
)

quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
few = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


def check_prices(r: Rig) -> None:
    """Never beyond the cap; never back from the book once it crosses."""
    lasts: dict[int, Px] = {}
    for sent in r.sent:
        made, sign = sent.draft, r.side.value
        assert made.side is r.side
        assert made.px % TICK == 0
        assert made.qty % GRVT.step == 0
        if made.post_only:
            assert sent.phase is RoutePhase.PASSIVE, "resting is over for good"
            assert made.px == sent.touch - TICK * sign
            continue
        assert made.tif is Tif.IOC
        assert (made.px - sent.touch) * sign * BPS_ONE <= sent.touch * r.params.cap
        bound = cap_price(r.side, sent.touch, r.params.cap, GRVT)
        last = lasts.get(made.hedge_id)
        if last is not None:
            assert (made.px - last) * sign >= 0 or made.px == bound, "stepped back from the book"
        lasts[made.hedge_id] = made.px


def check_books(r: Rig) -> None:
    """Conservation: what the venue traded is what the core books, to the lot and the unit."""
    assert r.world.violations == ()
    assert r.traded == sum(o.cum for o in r.exchange.orders)
    assert all(0 <= o.cum <= o.qty for o in r.exchange.orders)
    assert all(f.qty % GRVT.step == 0 for f in r.exchange.fills)
    position = r.world.hedge_leg.position * r.side.value
    assert position == r.traded
    assert r.world.net * r.side.value == r.traded - r.target
    assert sum(o.filled for o in r.world.orders.values()) == r.traded
    assert r.world.hedge_leg.fees == sum(Quote(f.fee) for f in r.exchange.fills)
    live = [o for o in r.world.orders.values() if o.state not in (OrderState.DONE, OrderState.DEAD)]
    assert live == [], "an order that the venue ended is still reserved"


@quick
@given(EPISODES)
def test_S1_sent_minus_cancelled_never_exceeds_the_target(episode: Episode) -> None:
    r, _ = episode.run()
    r.check_bounds()
    check_prices(r)
    check_books(r)


@few
@given(EPISODES)
def test_the_same_events_give_the_same_decisions(episode: Episode) -> None:
    r, w = episode.run()
    for entry in r.log:
        if isinstance(entry, tuple):
            at, intents = entry
            assert decide(w, r.params, at) == intents
        else:
            w = fold(w, entry)
    assert w == r.world


@few
@given(EPISODES, st.integers(1, 100), st.integers(0, 4000))
def test_an_exposure_that_shrinks_is_never_hedged_beyond_what_is_known(
    episode: Episode, share: int, when: int
) -> None:
    """Orders are bounded when they are placed; what is then too large is cancelled."""
    total = sum(size for _, size in episode.arrivals)
    last = max(at for at, _ in episode.arrivals)
    r, _ = episode.run(((max(last, when), -(total * share // 100)),))
    check_books(r)


CALM = Shape(seed=1, step=1, spread=1, size=400, trades=900, broken=0, jump=0)
GOOD = Channel(seed=1, slow=5, twice=0, refused=0, doubtful=0)


@few
@given(
    seed=st.integers(0, 2**31),
    side=st.sampled_from(Side),
    risk=RISKS,
    size=st.sampled_from(["0.1", "0.5", "1"]),
)
def test_on_a_good_market_everything_is_hedged_within_the_deadline(
    seed: int, side: Side, risk: int | None, size: str
) -> None:
    p = params(risk_aversion=risk, max_unhedged=Ns(6 * SECOND))
    moments = market(replace(CALM, seed=seed), 12)
    gaps = [b.at - a.at for a, b in pairwise(moments)]
    r = rig(side, p, GOOD, moments[0].book.value)
    run(r, moments, [(Ns(SECOND), qty(size))])
    if max(gaps[:80]) < 3 * SECOND:  # a silent feed may well end in the emergency path
        assert r.traded == qty(size)
        assert hedge_need(r.world) == 0
        assert not r.late
    check_prices(r)
    assert nano(size) >= r.traded

"""S1-S5, S7, S8, S10, S11, S16: the real core and journal against the engines' own truth."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.core import Send
from exchanges.simulator.model import Phase, SimOrder
from safety.limits import Limits
from strategy.decide import unhedged
from strategy.domain import Mode, Ns, Purpose, Qty, Side, Tif, Venue, bps, nano, plain
from strategy.events import CyclePhase, StopAsked
from strategy.params import HedgeMode, Params, PrimaryMode
from tests.builders import BACKPACK, GRVT, LIMITS, SECOND, params, qty
from tests.harness import Chaos, Harness

HARSH = Chaos(
    ack_lost=60, never_arrived=40, late=40, message_lost=60, message_twice=80, slow_message=60,
    read_fails=100,
)  # fmt: skip


def finished(h: Harness) -> bool:
    w = h.core.world
    done = w.cycle.phase is CyclePhase.DONE or w.mode is Mode.HALTED or w.stopping
    return done and not any(w.live()) and not unhedged(w)


def check_orders(h: Harness, limits: Limits) -> None:
    """Everything that was sent, judged one by one."""
    rules = {Venue.GRVT: GRVT, Venue.BACKPACK: BACKPACK}
    assert all(h.committed_at_send), "S3: an order left before its row was committed"
    assert len({r.client_id for r in h.sent}) == len(h.sent), "S4: an id was used twice"
    for request in h.sent:
        instrument = rules[request.venue]
        assert request.qty % instrument.step == 0, "S16: size off step"
        assert request.px % instrument.tick == 0, "S16: price off tick"
        assert request.qty <= limits.max_position, "S11: order above the cap"
        if request.purpose in (Purpose.HEDGE, Purpose.UNWIND):
            assert request.tif is Tif.IOC or request.post_only, "REQ-10: an unbounded hedge"
    for engine in h.engines.values():
        for order in engine.orders.values():
            assert order.cum <= order.qty, "S7: traded more than ordered"
            check_cap(order)


def check_cap(order: SimOrder) -> None:
    """S10: no fill is worse than the order's own bound."""
    request = order.request
    if not order.cum or request.px is None:
        return
    average = order.cum_quote * 10**9 // order.cum
    assert (average - request.px) * request.side.value <= 1, "S10: filled beyond the limit price"


def run(seed: int, p: Params, chaos: Chaos, seconds: int, limits: Limits = LIMITS) -> Harness:
    h = Harness(seed, p, chaos=chaos, limits=limits)
    h.run(seconds, lambda: finished(h))
    h.chaos = Chaos()  # the storm is over: everything must resolve
    h.core.on(StopAsked(flatten=False, at=h.now()))
    h.run(60, lambda: finished(h))
    return h


def check_end(h: Harness, limits: Limits) -> None:
    w = h.core.world
    check_orders(h, limits)
    assert w.violations == (), w.violations
    assert not any(o.phase is Phase.OPEN for e in h.engines.values() for o in e.orders.values())
    for venue, port in h.ports.items():
        assert w.legs[venue].position == port.truth, f"{venue}: books differ from the venue"
        assert h.journal.ledger(venue).position == port.truth, "the journal differs"
    dust = nano("0.01")
    assert abs(h.truth()) < dust, f"left naked: {plain(h.truth())}"


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**31))
def test_S1_to_S16_hold_through_lost_late_and_repeated_messages(seed: int) -> None:
    p = params(iterations=2, size=qty("0.4"), max_position=qty("0.8"), fill_timeout=Ns(2 * SECOND))
    h = run(seed, p, HARSH, 60)
    check_end(h, LIMITS)
    h.journal.close()


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**31))
def test_a_calm_market_completes_every_iteration_exactly_flat(seed: int) -> None:
    p = params(iterations=2, fill_timeout=Ns(2 * SECOND))
    h = Harness(seed, p)
    h.run(240, lambda: finished(h))
    assert h.core.world.cycle.phase is CyclePhase.DONE
    assert [port.truth for port in h.ports.values()] == [0, 0]
    assert h.metrics.degraded == 0
    assert not h.sink.events("EMERGENCY", "hedge_late")
    check_orders(h, LIMITS)
    h.journal.close()


@pytest.mark.parametrize("hedge_mode", list(HedgeMode))
@pytest.mark.parametrize("primary_mode", list(PrimaryMode))
def test_REQ_13_every_side_phase_and_mode_hedges(
    hedge_mode: HedgeMode, primary_mode: PrimaryMode
) -> None:
    p = params(
        iterations=2,
        hedge_mode=hedge_mode,
        primary_mode=primary_mode,
        fill_timeout=Ns(SECOND),
    )
    h = Harness(7, p)
    h.run(600, lambda: finished(h))
    assert h.core.world.cycle.phase is CyclePhase.DONE
    traded = {
        (o.request.side, o.request.reduce_only)
        for o in h.engines[Venue.GRVT].orders.values()
        if o.cum
    }
    assert {side for side, _ in traded} == set(Side)
    assert [port.truth for port in h.ports.values()] == [0, 0]
    h.journal.close()


def test_REQ_2_a_half_ether_target_never_sends_more_than_half_an_ether() -> None:
    """The predecessor's fill parser read 0 and sent ten times the target."""
    for seed in range(5):
        h = run(seed, params(iterations=1), HARSH, 60)
        hedged: dict[int, int] = {}
        for request in h.sent:
            if request.purpose is Purpose.HEDGE:
                order = h.engines[Venue.GRVT].find("a", str(request.client_id))
                hedged[request.client_id] = order.cum * order.request.side.value if order else 0
        assert abs(sum(hedged.values())) <= nano("0.5")
        h.journal.close()


def test_S11_max_position_trips_unwinds_and_halts() -> None:
    limits = Limits(
        max_position=Qty(nano("1")), max_daily_loss=LIMITS.max_daily_loss, cap=bps(5),
        emergency_cap=bps(50), max_order=Qty(nano(5)), stale=Ns(3 * SECOND),
    )  # fmt: skip
    p = params(size=qty("0.4"), max_position=qty("2"), iterations=1, fill_timeout=Ns(SECOND))
    h = Harness(3, p, limits=limits)
    h.run(600, lambda: h.core.world.mode is Mode.HALTED)
    w = h.core.world
    assert w.mode is Mode.HALTED
    assert w.reason.startswith("max_position")
    assert [port.truth for port in h.ports.values()] == [0, 0]
    opened = [r for r in h.sent if r.purpose is Purpose.OPEN]
    assert sum(r.qty for r in opened) >= nano("0.8")
    last_open = max(r.client_id for r in opened)
    assert all(r.reduce_only for r in h.sent if r.client_id > last_open and
               r.purpose is Purpose.UNWIND)  # fmt: skip
    h.journal.close()


def test_S11_daily_loss_trips_unwinds_and_halts() -> None:
    limits = Limits(
        max_position=LIMITS.max_position, max_daily_loss=nano("0.5"), cap=bps(5),  # type: ignore[arg-type]
        emergency_cap=bps(50), max_order=Qty(nano(5)), stale=Ns(3 * SECOND),
    )  # fmt: skip
    h = Harness(4, params(iterations=0, fill_timeout=Ns(SECOND)), limits=limits)
    h.run(900, lambda: h.core.world.mode is Mode.HALTED)
    assert h.core.world.mode is Mode.HALTED
    assert h.core.world.reason.startswith("max_daily_loss")
    assert [port.truth for port in h.ports.values()] == [0, 0]
    sent_before = len(h.sent)
    h.run(30)
    assert len(h.sent) == sent_before, "S12: halted, yet an order was sent"
    h.journal.close()


def test_REQ_16_a_dead_hedge_venue_ends_in_one_exact_roll_back() -> None:
    """Hedges never arrive: the primary is undone once, never crossed through zero."""
    h = Harness(5, params(iterations=0, fill_timeout=Ns(SECOND), max_unhedged=Ns(4 * SECOND)))
    send = h._send

    def lose_hedges(command: Send) -> None:
        before = h.chaos
        if command.payload.request.venue is Venue.GRVT:
            h.chaos = Chaos(never_arrived=1000)
        send(command)
        h.chaos = before

    h._send = lose_hedges  # type: ignore[method-assign]
    h.run(400, lambda: h.core.world.mode is Mode.HALTED)
    assert h.core.world.mode is Mode.HALTED
    assert h.core.world.reason.startswith("hedge_failures")
    assert [port.truth for port in h.ports.values()] == [0, 0]
    assert h.sink.events("EMERGENCY", "unwind")
    h.journal.close()


def test_the_same_seed_replays_exactly() -> None:
    logs = []
    for _ in range(2):
        h = run(11, params(iterations=1), HARSH, 40)
        logs.append(h.sink.lines)
        h.journal.close()
    assert logs[0] == logs[1]

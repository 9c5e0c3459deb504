"""The unknown-order protocol on the real core and engines: copies, tombstones, proofs (F01-F03)."""

import pytest

from strategy.domain import Ns, Venue
from strategy.params import HedgeMode
from strategy.world import OrderState
from tests.builders import SECOND, params, qty
from tests.harness import Chaos, Harness

MARKET = params(size=qty("0.5"), max_position=qty("0.5"), hedge_mode=HedgeMode.MARKET)
SMART = params(size=qty("0.5"), max_position=qty("0.5"))


def run(seed: int, settings: object, chaos: Chaos, seconds: int = 60) -> Harness:
    h = Harness(seed, settings, chaos=chaos)  # type: ignore[arg-type]  # Params
    h.run(seconds)
    return h


def once(h: Harness) -> None:
    """No order reached an engine twice, and none traded beyond what was exposed."""
    for venue, engine in h.engines.items():
        ids = [o.request.client_id for o in engine.orders.values()]
        assert len(ids) == len(set(ids)), f"{venue}: an order doubled"
    assert all(h.committed_at_send)


def test_F02_hedges_that_never_arrive_are_delivered_by_a_copy() -> None:
    copies = naked = 0
    for seed in range(5):
        h = run(seed, MARKET, Chaos(never_arrived=400))
        once(h)
        copies += h.copies
        naked = max(naked, h.core.world.max_naked)
        assert abs(h.truth()) < qty("0.01")
    assert copies > 0
    assert naked <= qty("0.5")


def test_F01_F03_copies_never_double_an_order_that_lives_or_comes_late() -> None:
    copies = 0
    for seed in range(100, 105):
        h = run(seed, MARKET, Chaos(ack_lost=250, late=250, read_fails=200, message_lost=300))
        once(h)
        copies += h.copies
    assert copies > 0


def test_resting_hedges_in_doubt_are_buried_and_never_copied_late() -> None:
    buried = 0
    for seed in range(200, 205):
        h = run(seed, SMART, Chaos(never_arrived=200, late=200, message_lost=100))
        once(h)
        buried += len(h.ports[Venue.GRVT].buried)
    assert buried > 0


@pytest.mark.parametrize("fails", [0, 300])
def test_L3_every_doubt_ends_within_its_proof_deadline_and_ten_seconds(fails: int) -> None:
    for seed in range(300, 302):
        h = Harness(
            seed, MARKET, chaos=Chaos(never_arrived=300, late=200, ack_lost=200, read_fails=fails)
        )
        for _ in range(60):
            h.run(1)
            for order in h.core.world.live():
                if order.state is OrderState.IN_DOUBT:
                    life = order.request.expires_at - order.sent.wall
                    age = Ns(h.now().mono - order.sent.mono)
                    assert age <= life + 13 * SECOND, f"seed {seed}: {order.request.client_id}"
        once(h)

"""What may be sent twice: the journalled bytes, approved anew by the gate (S1, S2, S4, S8)."""

from dataclasses import replace
from pathlib import Path

import pytest

from daemon.core import Core, Send, Settings
from daemon.journal import Journal
from daemon.resend import Recaller, without
from exchanges.port import Payload
from strategy.domain import Mode, Now, Side, Venue, nano, plain
from strategy.events import LatchMoved, OrderAnswered, Verdict
from strategy.params import HedgeMode
from strategy.world import Order
from tests.builders import (
    LIMITS,
    at,
    book,
    maker_draft,
    params,
    planned,
    with_book,
    with_position,
    world,
)
from tests.harness import EnginePort, Harness
from tests.unit.recovery_rig import narrator


class Rig:
    """A core whose hedge order 1 is in doubt."""

    def __init__(self, mode: HedgeMode = HedgeMode.MARKET) -> None:
        harness = Harness(1, params())
        self.ports: dict[Venue, EnginePort] = harness.ports
        told_to, self.sink = narrator()
        self.journal = Journal(Path(":memory:"), at(0).wall)
        w = with_position(world(), backpack="0.5")
        settings = Settings(params(hedge_mode=mode), LIMITS)
        self.core = Core(w, settings, self.journal, self.ports, told_to, lambda: at(0))
        self.sent = next(c for c in self.core.tick() if isinstance(c, Send)).payload
        doubt = OrderAnswered(self.sent.request.client_id, Verdict.IN_DOUBT, at(0), message="x")
        self.core.on(doubt)
        self.recall = Recaller(self.core, told_to)

    @property
    def order(self) -> Order:
        return self.core.world.orders[self.sent.request.client_id]

    def ask(self, now: Now | None = None) -> Payload | None:
        return self.recall(self.order, at(0) if now is None else now)

    def refusal(self) -> str:
        return str(self.sink.events("VENUE", "not_resent")[0]["why"])


def test_S4_the_copy_is_what_was_journalled_before_the_first_send() -> None:
    rig = Rig()
    copy = rig.ask()
    assert copy is not None
    assert copy.body == rig.sent.body
    assert copy.digest == rig.sent.digest


def test_S2_a_copy_that_no_longer_shrinks_the_exposure_stays_home() -> None:
    rig = Rig()
    rig.core.world = with_position(rig.core.world)
    assert rig.ask() is None
    assert rig.refusal().startswith("wrong_direction")


def test_S1_a_copy_beyond_what_is_exposed_stays_home() -> None:
    rig = Rig()
    rig.core.world = with_position(rig.core.world, backpack="0.2")
    assert rig.ask() is None
    assert rig.refusal().startswith("over_hedge")


def test_S10_a_copy_beyond_the_cap_of_the_book_as_it_is_now_stays_home() -> None:
    rig = Rig()
    far = book(bids=[("3100.00", "5")], asks=[("3100.05", "5")])
    rig.core.world = with_book(rig.core.world, far)
    assert rig.ask() is None
    assert rig.refusal().startswith("price_cap")


def test_a_copy_that_would_rest_is_sent_even_when_the_touch_has_passed_it() -> None:
    """A post-only copy cannot take: the venue's refusal ends the doubt."""
    rig = Rig(HedgeMode.SMART)
    assert rig.order.request.post_only
    bid = rig.order.request.px + nano("50")
    past = book(bids=[(plain(bid), "5")], asks=[(plain(bid + nano("0.05")), "5")])
    rig.core.world = with_book(rig.core.world, past)
    assert rig.ask() is not None


def test_S12_nothing_is_sent_again_while_halted() -> None:
    rig = Rig()
    rig.core.on(LatchMoved(Mode.HALTED, "operator", at(0)))
    assert rig.ask() is None


def test_makers_are_never_sent_again() -> None:
    rig = Rig()
    w = planned(rig.core.world, maker_draft(), 99)
    maker = next(o for o in w.orders.values() if o.request.venue is Venue.BACKPACK)
    assert rig.recall(maker, at(0)) is None
    assert rig.sink.events("VENUE", "not_resent") == []


@pytest.mark.parametrize("lost", [True, False])
def test_S4_bytes_that_are_not_the_journalled_ones_stay_home(lost: bool) -> None:
    rig = Rig()
    change = "DELETE FROM orders" if lost else "UPDATE orders SET body = x'00'"
    rig.journal._db.execute(change)
    assert rig.ask() is None
    assert rig.refusal() == "the journal has not its bytes"


def test_an_orders_own_reservation_does_not_stand_in_its_way() -> None:
    rig = Rig()
    leg = rig.core.risk(Venue.GRVT, at(0)).leg
    freed = without(leg, rig.order)
    assert freed.reserved_sell == leg.reserved_sell - rig.order.reserved
    assert freed.reserved_buy == leg.reserved_buy
    buy = replace(rig.order, request=replace(rig.order.request, side=Side.BUY))
    full = replace(leg, reserved_buy=buy.reserved)
    assert without(full, buy).reserved_buy == 0

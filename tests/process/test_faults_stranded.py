"""Rules that change while a pair is open, in the real core and reader (F15, F68)."""

from dataclasses import replace
from typing import cast

import pytest

from daemon.account import AccountReader
from daemon.journal import Journal
from exchanges.port import VenuePort, WallClock
from strategy.domain import Instrument, Mode, Ns, Purpose, Qty, Side, Venue, nano
from strategy.events import Event, VenueRead
from strategy.facts import Readiness
from strategy.world import World
from tests.builders import GRVT, SECOND, book, params, with_position, world
from tests.unit.test_guards_core import Rig

RAISED = replace(GRVT, min_qty=Qty(nano(10)))


def stranded(backpack: str, grvt: str) -> World:
    """A world whose hedge venue has begun to refuse less than 10."""
    held = with_position(world(), backpack, grvt)
    raised = replace(held.legs[Venue.GRVT], instrument=RAISED)
    return replace(held, legs={**held.legs, Venue.GRVT: raised})


def test_F15_a_naked_primary_that_cannot_be_hedged_is_undone_reduce_only() -> None:
    rig = Rig(stranded("0.5", "0"))
    sent, _ = rig.tick(1)
    assert rig.mode == "REDUCING"
    assert rig.w.reason == "naked_exposure: net 0.5 cannot be hedged, minimum of grvt 10"
    (order,) = [send.payload.request for send in sent]
    assert (order.venue, order.side, order.reduce_only) == (Venue.BACKPACK, Side.SELL, True)
    assert order.purpose is Purpose.UNWIND


def test_F15_a_naked_hedge_leg_that_no_order_may_close_halts_with_its_name_and_an_alert() -> None:
    rig = Rig(stranded("0", "-0.5"))
    sent, _ = rig.tick(1)
    assert sent == []
    assert rig.mode == "HALTED"
    assert rig.w.reason.startswith("naked_exposure: net -0.5 cannot be hedged")
    assert [a["mode"] for a in rig.alerts("latch")] == ["REDUCING", "HALTED"]


@pytest.mark.parametrize("net", ["0.1999", "-0.1999"])
def test_F15_less_than_one_clip_is_dust_and_waits_for_more(net: str) -> None:
    rig = Rig(stranded(net, "0"))
    rig.tick(60)
    assert rig.w.mode is Mode.RUNNING


def test_F15_what_has_just_changed_is_given_a_moment() -> None:
    rig = Rig(stranded("0.5", "0"))
    rig.core.world = replace(rig.w, net_at=rig.now().mono)
    rig.tick(0.999)
    assert rig.mode == "RUNNING"
    rig.tick(0.001)
    assert rig.mode == "REDUCING"


def test_F15_without_any_price_nothing_is_known_to_be_too_small() -> None:
    rig = Rig(stranded("0.5", "0"))
    legs = {
        v: replace(leg, book=None, facts=replace(leg.facts, mark=None))
        for v, leg in rig.w.legs.items()
    }
    rig.core.world = replace(rig.w, legs=legs)
    rig.books = dict.fromkeys(Venue)
    rig.tick(5)
    assert rig.mode == "RUNNING"
    rig.books = {Venue.BACKPACK: book(Venue.BACKPACK), Venue.GRVT: None}
    rig.tick(5)
    assert rig.mode == "REDUCING", "the primary's price will do"


def test_F15_another_ticker_s_dust_is_measured_in_quote_units() -> None:
    rig = Rig(stranded("0.19", "0"), p=params(base_is_eth=False))
    rig.tick(60)
    assert rig.w.mode is Mode.RUNNING, "less than 600 quote units at 3000"
    rig = Rig(stranded("0.21", "0"), p=params(base_is_eth=False))
    rig.tick(60)
    assert rig.w.mode is not Mode.RUNNING


class Clock:
    """A hand-held one."""

    ns = SECOND

    def mono(self) -> Ns:
        return Ns(self.ns)

    wall = mono


class Port:
    """Answers with its rules and counts."""

    def __init__(self, rules: Instrument) -> None:
        self.rules = rules
        self.loads = 0

    def readiness(self) -> Readiness:
        return Readiness(self.rules.venue, session=True, orders=20)

    async def load(self, base: str) -> Instrument:
        assert base == self.rules.base
        self.loads += 1
        return self.rules


async def test_F68_a_closed_market_is_read_again_every_five_seconds_until_it_is_open() -> None:
    """No order leaves for it, so that none would be refused and have its rules read."""
    w, clock, told = world(), Clock(), list[Event]()
    ports = {leg.instrument.venue: Port(leg.instrument) for leg in w.legs.values()}
    closed = replace(w.primary, instrument=replace(w.primary.instrument, tradable=False))
    shut = replace(w, legs={**w.legs, Venue.BACKPACK: closed})
    reader = AccountReader(
        cast("dict[Venue, VenuePort]", ports), cast("Journal", None), told.append,
        cast("WallClock", clock),
    )  # fmt: skip
    for _ in range(3):
        reader.readiness(shut)
        for venue in Venue:
            await reader.rules(venue)
    assert (ports[Venue.BACKPACK].loads, ports[Venue.GRVT].loads) == (1, 0)
    (event,) = told
    assert isinstance(event, VenueRead)
    assert event.fact == w.primary.instrument
    clock.ns += 5 * SECOND
    reader.readiness(shut)
    await reader.rules(Venue.BACKPACK)
    clock.ns += 5 * SECOND
    reader.readiness(w)
    await reader.rules(Venue.BACKPACK)
    assert ports[Venue.BACKPACK].loads == 2, "open: nothing to ask"

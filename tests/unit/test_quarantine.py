"""Venue-wide quarantine: how it begins, what it stops, and what alone ends it (F23, F29, F52, F68,
F69, F36, F37)."""

from dataclasses import replace

import pytest

from daemon.quarantine import Watch
from strategy.domain import (
    Now,
    Ns,
    Observed,
    Position,
    SignedQty,
    Status,
    StreamState,
    Surface,
    Venue,
)
from strategy.events import Event, OrderAnswered, Seen, VenueRead, Verdict
from strategy.facts import Quarantine
from strategy.fold import fold
from strategy.hedgeable import unhedgeable
from strategy.quote import NoQuote, open_quote
from strategy.world import World
from tests.builders import at, draft, params, planned, view, world
from tests.unit.recovery_rig import doubtful, told


class Rig:
    def __init__(self, w: World | None = None) -> None:
        self.w = world() if w is None else w
        self.watch = Watch()
        self.seconds = 0.0

    @property
    def now(self) -> Now:
        return at(self.seconds)

    def on(self, event: Event) -> None:
        self.w = fold(self.w, event)
        self.watch.on(event, self.w, self.now)

    def tick(self, seconds: float | None = None) -> list[VenueRead]:
        if seconds is not None:
            self.seconds = seconds
        moved = self.watch.tick(self.w, self.now)
        for event in moved:
            self.on(event)
        return moved

    def why(self, venue: Venue = Venue.GRVT) -> str:
        return self.w.legs[venue].facts.quarantined

    def stream(self, *, up: bool, venue: Venue = Venue.GRVT) -> None:
        self.on(Seen(StreamState(venue, Surface.PUBLIC, up=up), self.now, "stream"))

    def read_position(self, qty: int = 0) -> None:
        for venue in Venue:
            stated = Position(venue, "X", SignedQty(qty), Ns(0))
            self.on(Seen(stated, self.now, "rest"))


def storm(rig: Rig) -> None:
    for n in range(5):
        rig.seconds = n * 2.0
        rig.stream(up=False)
        rig.stream(up=True)


def test_F52_a_reconnect_storm_shuts_the_venue_until_it_has_been_calm() -> None:
    rig = Rig()
    storm(rig)
    assert [m.fact for m in rig.tick()] == [Quarantine(Venue.GRVT, "reconnect storm")]
    assert rig.tick(30) == []
    assert [m.fact for m in rig.tick(39)] == [Quarantine(Venue.GRVT, "")]
    assert rig.why() == ""


def test_F52_a_few_losses_far_apart_are_no_storm() -> None:
    rig = Rig()
    for n in range(8):
        rig.seconds = n * 20.0
        rig.stream(up=False)
        rig.stream(up=True)
    assert rig.tick() == []


def test_F52_a_storm_is_not_over_while_a_stream_is_down() -> None:
    rig = Rig()
    storm(rig)
    rig.stream(up=False)
    rig.tick()
    assert rig.tick(500) == []
    assert rig.why() == "reconnect storm"


def test_quarantine_forbids_makers_on_both_venues_and_says_why() -> None:
    rig = Rig()
    storm(rig)
    rig.tick()
    flaw = unhedgeable(rig.w, params(), at(0))
    assert flaw == "grvt quarantined: reconnect storm"
    quote = open_quote(rig.w, params(), at(0))
    assert isinstance(quote, NoQuote)
    assert "quarantined" in quote.why


@pytest.mark.parametrize("code", ["2060", "TRADING_PAUSED", "MAINTENANCE"])
def test_F68_a_halted_market_stays_shut_until_the_venue_says_that_it_trades(code: str) -> None:
    rig = Rig(doubtful())
    rig.on(OrderAnswered(next(iter(rig.w.orders)), Verdict.REFUSED, at(0), code=code))
    rig.tick()
    assert rig.why() == "market halted"
    assert rig.watch.halted(Venue.GRVT)
    assert not rig.watch.halted(Venue.BACKPACK)
    rig.tick(1000)
    assert rig.why() == "market halted"
    rig.watch.reopened(Venue.GRVT)
    assert not rig.watch.halted(Venue.GRVT)
    rig.tick(1001)
    assert rig.why() == ""


def test_other_refusals_are_no_halt() -> None:
    rig = Rig(doubtful())
    rig.on(OrderAnswered(next(iter(rig.w.orders)), Verdict.REFUSED, at(0), code="2080"))
    rig.on(OrderAnswered(next(iter(rig.w.orders)), Verdict.IN_DOUBT, at(0), code="2060"))
    rig.on(replace(OrderAnswered(next(iter(rig.w.orders)), Verdict.REFUSED, at(0)), client_id=99))  # type: ignore[arg-type]  # an order that was forgotten
    assert rig.tick() == []


def test_F29_three_orders_that_we_did_not_understand_shut_the_venue() -> None:
    rig = Rig()
    for number in (1, 2, 3):
        rig.w = planned(rig.w, draft(), number)
        rig.on(view(rig.w, number, "0", Status.UNKNOWN))
        moved = rig.tick(float(number))
        assert bool(moved) == (number == 3)
    assert rig.why() == "answers not understood"
    for number in (1, 2, 3):
        rig.on(view(rig.w, number, "0", Status.CANCELLED))
    assert rig.tick(500) == []
    rig.tick(605)
    assert rig.why() == ""


def test_F69_a_failover_doubts_every_order_and_ends_when_positions_agree() -> None:
    rig = Rig(planned(world(), draft(), 1))
    ended = told(rig.w, Status.CANCELLED, reason="SYSTEM_FAILOVER")
    rig.on(Seen(ended, at(0), "stream"))
    assert rig.watch.failed_over == {Venue.GRVT}
    rig.watch.failed_over.clear()
    rig.on(Seen(ended, at(0), "stream"))
    assert rig.watch.failed_over == set(), "asked for once"
    rig.tick()
    assert rig.why() == "failed over"
    rig.tick(10)
    assert rig.why() == "failed over", "nobody has read the position yet"
    rig.read_position(5)
    rig.tick(10.1)
    assert rig.why() == "failed over", "the position is not what our orders add up to"
    rig.read_position()
    rig.tick(10.2)
    assert rig.why() == ""


def test_a_doubt_that_stays_keeps_the_venue_shut_after_a_failover() -> None:
    rig = Rig(doubtful())
    rig.on(Seen(told(rig.w, Status.PENDING, reason="SYSTEM_FAILOVER"), at(0), "stream"))
    rig.w = doubtful(rig.w)
    rig.tick(10)
    rig.read_position()
    rig.tick(10.1)
    assert rig.why() == "failed over"


def test_F36_F37_after_a_late_loop_nothing_is_opened_before_positions_were_read() -> None:
    rig = Rig()
    rig.watch.late(rig.now)
    assert {m.venue for m in rig.tick()} == set(Venue)
    assert rig.why(Venue.BACKPACK) == "our loop was late"
    rig.read_position()
    rig.tick(1)
    assert rig.why() != "", "read too early"
    rig.seconds = 6
    rig.read_position()
    assert {m.fact for m in rig.tick()} == {Quarantine(v, "") for v in Venue}


def test_F73_a_contradiction_found_by_a_read_counts_as_one() -> None:
    rig = Rig()
    rig.on(VenueRead(Quarantine(Venue.GRVT, "order 7 had ended and rests again"), at(0)))
    rig.tick()
    assert rig.why() == "contradiction"
    rig.seconds = 7
    rig.read_position()
    rig.tick()
    assert rig.why() == ""


def test_causes_add_up_and_end_one_by_one() -> None:
    rig = Rig()
    storm(rig)
    rig.watch.late(rig.now)
    rig.tick()
    assert rig.why() == "our loop was late, reconnect storm"
    rig.seconds = 20
    rig.read_position()
    rig.tick()
    assert rig.why() == "reconnect storm"


def test_a_streamed_position_is_no_read() -> None:
    rig = Rig()
    rig.watch.late(rig.now)
    rig.tick()
    legs = dict(rig.w.legs)
    for venue in Venue:
        seen = Observed(Position(venue, "X", SignedQty(0), Ns(0)), at(9).mono, "stream")
        legs[venue] = replace(legs[venue], observed=seen)
    rig.w = replace(rig.w, legs=legs)
    rig.tick(10)
    assert rig.why() == "our loop was late"

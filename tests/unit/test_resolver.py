"""The unknown-order protocol, answer by answer (faults.md section 4; F01-F03, F53, F60, F61)."""

from dataclasses import replace

import pytest

from daemon.resolver import RESENDS, Resolver, margin, past_life
from exchanges.errors import VenueUnreachable
from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelUnknown,
    Found,
    InDoubt,
    Payload,
)
from strategy.domain import ClientId, Fill, Now, Ns, Qty, Quote, Side, Status, Tif, Venue, nano
from strategy.events import CancelAsked, Event, OrderAnswered, OrderDead, Seen, VenueRead, Verdict
from strategy.facts import ClockOffset, Quarantine
from strategy.fold import fold
from strategy.params import SECOND
from strategy.world import Order, OrderState, World
from tests.builders import at
from tests.harness import Sink
from tests.unit.recovery_rig import (
    ABSENT,
    FullPort,
    Hands,
    PlainPort,
    as_port,
    doubtful,
    folded,
    narrator,
    told,
)

MS = 1_000_000
BODY = b"the signed bytes"


class Rig:
    """One resolver over scripted ports, driven by a clock that is moved by hand."""

    def __init__(self, w: World, port: PlainPort, *, approved: bool = True) -> None:
        self.w = w
        self.port = port
        self.clock = port.clock
        told_to, self.sink = narrator()
        self.approved = approved
        self.resolver = Resolver({port.venue: as_port(port)}, self.clock.now, self._recall, told_to)

    def _recall(self, order: Order, now: Now) -> Payload | None:
        del now
        return Payload(order.request, BODY, (), 7, "d") if self.approved else None

    @property
    def order(self) -> Order:
        return next(iter(self.w.orders.values()))

    async def until(self, seconds: float) -> list[Event]:
        """Poll every 0.1 s of the clock; fold and collect what follows."""
        events: list[Event] = []
        while self.clock.seconds < seconds and self.order.live:
            for order in self.resolver.due(self.w, self.clock.now()):
                expected = self.w.legs[order.request.venue].position
                follow = await self.resolver.resolve(order, expected)
                events += follow
                self.w = folded(self.w, follow)
            self.clock.seconds = round(self.clock.seconds + 0.1, 3)
        return events


def grvt(**changes: object) -> Rig:
    return Rig(doubtful(**changes), FullPort(Venue.GRVT, Hands()))  # type: ignore[arg-type]  # a draft's fields


async def test_F02_an_order_that_never_arrived_is_sent_again_byte_for_byte_once() -> None:
    rig = grvt()
    port = rig.port
    assert isinstance(port, FullPort)
    events = await rig.until(4)
    assert port.sent == [BODY]
    assert rig.resolver.counts["grvt resent"] == 1
    answered = next(e for e in events if isinstance(e, OrderAnswered))
    assert answered.verdict is Verdict.ACCEPTED
    assert rig.order.state is OrderState.LIVE


async def test_F02_no_copy_leaves_before_two_absences_and_the_visibility_delay() -> None:
    rig = grvt()
    await rig.until(1.0)
    assert rig.port.called("lookup") >= 2
    assert rig.port.called("resend") == 0


async def test_F02_proof_of_death_within_six_seconds_once_the_clock_is_measured() -> None:
    rig = Rig(doubtful(), PlainPort(Venue.GRVT, Hands()))
    rig.w = fold(rig.w, VenueRead(ClockOffset(Venue.GRVT, Ns(0)), at(0)))
    events = await rig.until(10)
    dead = next(e for e in events if isinstance(e, OrderDead))
    assert "not found on all after its expiry" in dead.proof
    life = dead.at.mono - rig.order.sent.mono
    assert 5 * SECOND < life <= 6 * SECOND
    assert rig.order.state is OrderState.DEAD


async def test_F61_the_margin_of_a_proof_widens_with_the_offset() -> None:
    w = doubtful()
    assert margin(w, Venue.GRVT, at(0)) == SECOND
    w = fold(w, VenueRead(ClockOffset(Venue.GRVT, Ns(-3 * SECOND)), at(0)))
    assert margin(w, Venue.GRVT, at(0)) == 3 * SECOND + 400 * MS
    rig = Rig(w, PlainPort(Venue.GRVT, Hands()))
    assert not await rig.until(8.3)
    assert rig.order.live


async def test_F60_a_wall_clock_that_jumps_ahead_proves_nothing() -> None:
    rig = Rig(doubtful(), PlainPort(Venue.GRVT, Hands()))
    rig.clock.offset = 60 * SECOND
    assert not await rig.until(5)
    assert rig.order.state is OrderState.IN_DOUBT
    assert not past_life(rig.order, rig.clock.now())


async def test_F03_an_order_found_after_the_copy_is_adopted_and_never_sent_again() -> None:
    rig = grvt()
    rig.port.lookups = [ABSENT, ABSENT, ABSENT, Found(told(rig.w, Status.FILLED, "0.5"))]
    await rig.until(6)
    assert rig.order.state is OrderState.DONE
    assert rig.order.cum == nano("0.5")
    assert rig.port.called("resend") == 1


async def test_F01_a_refused_copy_says_nothing_of_the_original() -> None:
    rig = grvt()
    assert isinstance(rig.port, FullPort)
    rig.port.copies = [InDoubt("the copy was refused: 2080")]
    await rig.until(4.5)
    assert rig.order.state is OrderState.IN_DOUBT
    copies = rig.port.called("resend")
    assert 1 <= copies <= RESENDS
    assert rig.resolver.counts["grvt resend_failed"] == copies
    assert rig.sink.events("VENUE", "resend_failed")[0]["why"] == "the copy was refused: 2080"


async def test_F02_copies_that_are_lost_too_are_few_and_stay_in_doubt() -> None:
    rig = grvt(life=Ns(30 * SECOND))
    assert isinstance(rig.port, FullPort)
    rig.port.copies = [InDoubt("reset")]
    await rig.until(29)
    assert rig.port.called("resend") == RESENDS
    assert rig.order.state is OrderState.IN_DOUBT


async def test_S8_nothing_is_sent_again_without_a_new_approval() -> None:
    rig = grvt()
    rig.approved = False
    await rig.until(4.5)
    assert rig.port.called("resend") == 0
    assert rig.order.state is OrderState.IN_DOUBT


async def test_no_copy_leaves_that_has_hardly_any_life_left() -> None:
    rig = grvt(life=Ns(SECOND + 300 * MS))
    await rig.until(2)
    assert rig.port.called("resend") == 0


async def test_a_resolver_without_a_journal_never_sends_again() -> None:
    rig = grvt()
    bare = Resolver({Venue.GRVT: as_port(rig.port)}, rig.clock.now)
    rig.clock.seconds = 2
    for _ in range(3):
        assert await bare.resolve(rig.order, 0) == []
    assert rig.port.called("resend") == 0
    rig.port.lookups = [InDoubt("html")]
    assert await bare.resolve(rig.order, 0) == []
    assert bare.counts == {"grvt lookup_failed": 1}


# --- cancels in advance ----------------------------------------------------------------------


async def test_a_resting_order_in_doubt_is_cancelled_in_advance_and_again_before_that_ends() -> (
    None
):
    rig = grvt(tif=Tif.GTC, post_only=True, life=Ns(30 * SECOND))
    rig.approved = False
    await rig.until(9)
    assert rig.port.called("resend") == 0
    assert rig.port.called("bury") >= 3
    assert rig.resolver.counts["grvt buried"] == rig.port.called("bury")


async def test_F02_an_unwanted_order_in_doubt_is_buried_before_its_copy_ends_the_doubt() -> None:
    rig = grvt(tif=Tif.GTC, post_only=True, life=Ns(30 * SECOND))
    rig.w = fold(rig.w, CancelAsked(ClientId(1), at(0), "wrong way"))
    await rig.until(3)
    calls = [call for call in rig.port.calls if call in ("bury", "resend")]
    assert calls == ["bury", "resend"]
    assert rig.order.state is not OrderState.IN_DOUBT


@pytest.mark.parametrize("answer", [InDoubt("429"), CancelUnknown("1004")])
async def test_a_burial_that_fails_is_counted_and_said(answer: InDoubt | CancelUnknown) -> None:
    rig = grvt(tif=Tif.GTC, post_only=True)
    assert isinstance(rig.port, FullPort)
    rig.port.burials = [answer]
    await rig.until(1)
    assert rig.resolver.counts["grvt bury_failed"] == 1
    assert rig.sink.events("VENUE", "bury_failed")


async def test_a_venue_that_documents_neither_is_only_asked() -> None:
    rig = Rig(doubtful(), PlainPort(Venue.GRVT, Hands()))
    await rig.until(4)
    assert set(rig.port.calls) == {"lookup"}


# --- failures are counted and said --------------------------------------------------------------


async def test_F53_failed_lookups_are_counted_said_once_and_prove_nothing() -> None:
    rig = Rig(doubtful(), PlainPort(Venue.GRVT, Hands(), lookups=[InDoubt("dns")]))
    events = await rig.until(12)
    assert events == []
    assert rig.resolver.counts["grvt lookup_failed"] >= 5
    assert len(rig.sink.events("VENUE", "lookup_failed")) == 1
    assert rig.order.state is OrderState.IN_DOUBT


async def test_F24_fill_details_are_fetched_and_a_failure_to_is_counted() -> None:
    rig = grvt()
    rig.port.lookups = [Found(told(rig.w, Status.FILLED, "0.5"))]
    rig.port.traded = VenueUnreachable("down")
    await rig.until(0.5)
    assert rig.order.state is OrderState.DONE
    assert rig.resolver.counts["grvt fills_failed"] == 1
    fill = Fill(
        Venue.GRVT, "t1", ClientId(1), "v1", "ETH_USDT_Perp", Side.SELL, Qty(nano("0.5")),
        rig.order.request.px, Quote(0), "USDT", False, Ns(0),
    )  # fmt: skip
    rig = grvt()
    rig.port.lookups = [Found(told(rig.w, Status.FILLED, "0.5"))]
    rig.port.traded = (fill, replace(fill, trade_id="t2", client_id=ClientId(9)))
    await rig.until(0.5)
    assert rig.order.filled == nano("0.5")


async def test_F29_an_unknown_word_ends_with_the_orders_own_expiry() -> None:
    rig = grvt()
    rig.port.lookups = [Found(told(rig.w, Status.UNKNOWN, raw_status="FROZEN"))]
    await rig.until(3)
    assert rig.order.state.value == "quarantined"
    events = await rig.until(12)
    assert "whatever 'FROZEN' means" in next(e for e in events if isinstance(e, OrderDead)).proof
    assert rig.order.state is OrderState.DEAD


# --- Backpack: no expiry at the engine, so the position has a say --------------------------------


def backpack(**fields: object) -> Rig:
    w = doubtful(venue=Venue.BACKPACK)
    return Rig(w, PlainPort(Venue.BACKPACK, Hands(), **fields))  # type: ignore[arg-type]  # its fields


async def test_backpack_absence_is_death_after_window_skew_and_lag_with_the_position_unmoved() -> (
    None
):
    rig = backpack()
    events = await rig.until(12)
    dead = next(e for e in events if isinstance(e, OrderDead))
    assert 8 * SECOND <= dead.at.mono - rig.order.sent.mono <= 9 * SECOND
    assert rig.port.called("position") == 1


async def test_backpack_position_that_cannot_be_read_proves_nothing() -> None:
    rig = backpack(positions=[VenueUnreachable("down")])
    assert await rig.until(12) == []
    assert rig.resolver.counts["backpack position_failed"] >= 1


async def test_F73_absent_order_with_a_moved_position_shuts_the_venue_in_time() -> None:
    rig = backpack(positions=["-0.5"])
    early = await rig.until(14)
    assert early == []
    assert rig.sink.events("VENUE", "doubt_disagrees")
    late = await rig.until(18)
    shut = next(e for e in late if isinstance(e, VenueRead))
    assert isinstance(shut.fact, Quarantine)
    assert "is on no surface" in shut.fact.why
    assert rig.order.state is OrderState.IN_DOUBT
    assert rig.w.legs[Venue.BACKPACK].facts.quarantined == shut.fact.why


async def test_backpack_orders_that_showed_life_never_die_of_absence() -> None:
    rig = backpack()
    rig.w = fold(rig.w, Seen(told(rig.w, Status.OPEN), at(0), "rest"))
    assert await rig.until(20) == []
    assert rig.order.live


async def test_F69_grvt_order_that_the_venue_forgot_ends_after_its_expiry_if_positions_agree() -> (
    None
):
    rig = grvt()
    rig.w = fold(rig.w, Seen(told(rig.w, Status.OPEN), at(0), "stream"))
    assert rig.order.venue_order_id
    events = await rig.until(12)
    assert isinstance(events[-1], OrderDead)
    assert rig.port.called("position") == 1


async def test_F69_every_order_of_a_venue_in_doubt_is_asked_for_at_once() -> None:
    rig = grvt(tif=Tif.GTC, post_only=True, life=Ns(60 * SECOND))
    rig.w = fold(rig.w, Seen(told(rig.w, Status.OPEN), at(0), "stream"))
    rig.clock.seconds = 0.5
    assert rig.resolver.due(rig.w, rig.clock.now()) == []
    rig.resolver.ask_all(Venue.GRVT, rig.clock.now())
    assert rig.resolver.due(rig.w, rig.clock.now()) == [rig.order]
    await rig.resolver.resolve(rig.order, 0)
    assert rig.resolver.due(rig.w, rig.clock.now()) == []
    rig.clock.seconds = 0.6
    rig.resolver.ask_all(Venue.GRVT, rig.clock.now())
    assert rig.resolver.due(rig.w, rig.clock.now()) == [rig.order]


async def test_resend_accepted_with_a_view_is_folded() -> None:
    rig = grvt()
    assert isinstance(rig.port, FullPort)
    rig.port.copies = [Accepted(told(rig.w, Status.PENDING, venue_order_id=""))]
    await rig.until(2)
    assert rig.order.state is OrderState.LIVE
    assert isinstance(rig.sink, Sink)


async def test_cancel_accepted_is_the_only_burial_that_counts() -> None:
    rig = grvt(tif=Tif.GTC, post_only=True)
    rig.approved = False
    assert isinstance(rig.port, FullPort)
    rig.port.burials = [InDoubt("x"), CancelAccepted(None)]
    await rig.until(6)
    assert rig.resolver.counts["grvt buried"] == 1

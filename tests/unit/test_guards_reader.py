"""What the daemon reads of the accounts beside the streams, and what it makes of each answer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from daemon.account import MAX_TRIP, AccountReader
from daemon.journal import Journal
from exchanges.port import VenuePort
from strategy.domain import (
    Bps,
    ClientId,
    Fees,
    Funding,
    FundingPayment,
    Ns,
    Quote,
    Venue,
    nano,
)
from strategy.events import Event, FundingSeen, OrderAnswered, VenueRead, Verdict
from strategy.facts import Access, Account, ClockOffset, Mark, Readiness
from strategy.fold import fold
from strategy.world import World
from tests.builders import SECOND, WALL, account, at, draft, maker_draft, planned, px, world

MS = 1_000_000


@dataclass
class Clock:
    ns: int = SECOND

    def mono(self) -> Ns:
        return Ns(self.ns)

    def wall(self) -> Ns:
        return Ns(WALL + self.ns)

    async def sleep(self, seconds: float) -> None:
        self.ns += round(seconds * SECOND)


@dataclass
class Port:
    venue: Venue
    clock: Clock
    offset_ms: int = 0
    there_ms: int = 0
    back_ms: int = 0
    ready: Readiness = field(init=False)

    def __post_init__(self) -> None:
        self.ready = Readiness(self.venue, session=True, orders=20)

    def readiness(self) -> Readiness:
        return self.ready

    async def server_time(self) -> Ns:
        self.clock.ns += self.there_ms * MS
        stated = Ns(self.clock.wall() + self.offset_ms * MS)
        self.clock.ns += self.back_ms * MS
        return stated

    async def account(self) -> Account:
        return account(self.venue)

    async def mark(self) -> Mark:
        return Mark(self.venue, px("3000"))

    async def fees(self) -> Fees:
        return Fees(self.venue, Bps(1), Bps(2))

    async def funding(self) -> Funding:
        return Funding(self.venue, nano("0.0001"), 8, Ns(WALL + 3600 * SECOND))

    async def funding_payments(self, since: Ns) -> tuple[FundingPayment, ...]:
        return (FundingPayment(self.venue, "k", Quote(nano(1)), Ns(since + 1)),)


class Rig:
    def __init__(self) -> None:
        self.clock = Clock()
        self.ports = {v: Port(v, self.clock) for v in Venue}
        self.told: list[Event] = []
        journal = Journal(Path(":memory:"), Ns(WALL))
        ports = cast("dict[Venue, VenuePort]", self.ports)
        self.reader = AccountReader(ports, journal, self.told.append, self.clock)

    def facts(self) -> list[Any]:
        return [e.fact for e in self.told if isinstance(e, VenueRead)]


def rig() -> Rig:
    return Rig()


async def offset(**changes: int) -> int | None:
    made = rig()
    for name, value in changes.items():
        setattr(made.ports[Venue.GRVT], name, value)
    await made.reader.clock(Venue.GRVT)
    found = made.facts()
    assert all(isinstance(fact, ClockOffset) for fact in found)
    return found[0].offset // MS if found else None


async def test_F61_an_offset_is_what_the_round_trip_cannot_explain() -> None:
    assert await offset() == 0
    assert await offset(offset_ms=700) == 700
    assert await offset(offset_ms=-700) == -700
    assert await offset(offset_ms=700, there_ms=50, back_ms=50) == 650
    assert await offset(offset_ms=-700, there_ms=50, back_ms=50) == -650
    assert await offset(there_ms=300, back_ms=100) == 0  # an uneven way is no offset


async def test_F61_an_answer_that_took_too_long_says_nothing() -> None:
    assert await offset(offset_ms=9000, there_ms=MAX_TRIP // MS, back_ms=1) is None


async def test_margin_and_slow_reads_become_events() -> None:
    made = rig()
    await made.reader.margin(Venue.GRVT)
    assert made.facts() == [account(Venue.GRVT), Mark(Venue.GRVT, px("3000"))]
    made = rig()
    await made.reader.slow(Venue.BACKPACK)
    assert isinstance(made.told[0], FundingSeen)
    assert [type(fact) for fact in made.facts()] == [Funding, Fees]


def test_fees_that_were_read_again_replace_those_of_the_start() -> None:
    w = fold(world(), VenueRead(Fees(Venue.GRVT, Bps(7), Bps(8)), at()))
    assert (w.hedge_leg.maker_fee, w.hedge_leg.taker_fee) == (7, 8)
    assert w.hedge_leg.facts == world().hedge_leg.facts


def test_readiness_is_told_when_it_changed_and_only_then() -> None:
    made = rig()
    w = world()
    assert made.reader.readiness(w) == []
    made.ports[Venue.GRVT].ready = Readiness(Venue.GRVT, session=False, orders=20)
    (event,) = made.reader.readiness(w)
    w = fold(w, event)
    assert made.reader.readiness(w) == []
    assert w.hedge_leg.facts.ready == made.ports[Venue.GRVT].ready


def answered(w: World, number: int, code: str, verdict: Verdict = Verdict.REFUSED) -> OrderAnswered:
    del w
    return OrderAnswered(ClientId(number), verdict, at(), code=code)


def test_F79_an_order_refused_for_the_key_makes_its_venue_suspect() -> None:
    cases: list[tuple[Callable[[World], World], str, Verdict, set[Venue]]] = [
        (lambda w: planned(w, draft()), "1008", Verdict.REFUSED, {Venue.GRVT}),
        (lambda w: planned(w, maker_draft()), "UNAUTHORIZED", Verdict.REFUSED, {Venue.BACKPACK}),
        (lambda w: planned(w, draft()), "2080", Verdict.REFUSED, set()),
        (lambda w: planned(w, draft()), "1008", Verdict.IN_DOUBT, set()),
        (lambda w: w, "1008", Verdict.REFUSED, set()),
    ]
    for change, code, verdict, suspects in cases:
        made = rig()
        w = change(world())
        made.reader.heard(answered(w, 1, code, verdict), w)
        assert made.reader.suspects == suspects


def test_F79_access_is_refused_and_granted_by_reads() -> None:
    made = rig()
    w = world()
    made.reader.granted(w, Venue.GRVT)
    assert made.told == []
    made.reader.refused(Venue.GRVT, "1008")
    made.reader.refused(Venue.BACKPACK, "")
    assert made.facts() == [Access(Venue.GRVT, "1008"), Access(Venue.BACKPACK, "forbidden")]
    assert made.reader.suspects == {Venue.GRVT, Venue.BACKPACK}
    w = fold(w, made.told[0])
    made.reader.granted(w, Venue.GRVT)
    assert made.facts()[-1] == Access(Venue.GRVT, "")
    assert made.reader.suspects == {Venue.BACKPACK}


@pytest.mark.parametrize("code", ["2000", "2002"])
def test_F79_a_signature_that_is_refused_stays_refused_whatever_reads_say(code: str) -> None:
    made = rig()
    w = planned(world(), draft())
    made.reader.heard(answered(w, 1, code), w)
    assert made.facts() == [Access(Venue.GRVT, f"the signature of an order: {code}")]
    assert made.reader.suspects == set(), "reads work: they use another key"
    w = fold(w, made.told[0])
    made.reader.granted(w, Venue.GRVT)
    assert len(made.told) == 1
    made.reader.heard(answered(w, 1, "", Verdict.ACCEPTED), w)
    made.reader.granted(w, Venue.GRVT)
    assert made.facts()[-1] == Access(Venue.GRVT, "")

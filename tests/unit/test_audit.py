"""The standing audit, and the supervisor beside the loop (F25, F36, F43, F52, F68, F69, F76)."""

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from daemon.audit import Auditor
from daemon.core import Core, Settings
from daemon.journal import Journal
from daemon.resolver import Resolver
from daemon.venue_watch import VenueWatch
from exchanges.errors import VenueUnreachable
from strategy.domain import (
    ClientId,
    Fill,
    Ns,
    OrderView,
    Position,
    Qty,
    Quote,
    Side,
    SignedQty,
    Status,
    StreamState,
    Surface,
    Tif,
    Venue,
    nano,
)
from strategy.events import Event, OrderAnswered, OrderPlanned, Seen, VenueRead, Verdict
from strategy.facts import Quarantine
from strategy.world import OrderState
from tests.builders import LIMITS, draft, params, planned, world
from tests.unit.recovery_rig import FullPort, Hands, as_port, narrator

RESTING = draft(tif=Tif.GTC, post_only=True)


@dataclass
class Rig:
    clock: Hands = field(default_factory=Hands)

    def __post_init__(self) -> None:
        self.ports = {v: FullPort(v, self.clock) for v in Venue}
        told_to, self.sink = narrator()
        self.journal = Journal(Path(":memory:"), self.clock.wall())
        ports = {v: as_port(p) for v, p in self.ports.items()}
        settings = Settings(params(), LIMITS)
        self.core = Core(world(), settings, self.journal, {}, told_to, self.clock.now)
        self.put: list[Event] = []
        self.auditor = Auditor(self.core, ports, told_to, self.clock.now, self.put.append)
        self.resolver = Resolver(ports, self.clock.now)
        self.watch = VenueWatch(
            self.core, ports, self.resolver, told_to, self.clock, self.put.append
        )

    def send(self, number: int = 1) -> OrderView:
        """Put an order of ours that rests into the books; return what the venue says of it."""
        w = planned(self.core.world, RESTING, number, self.clock.seconds)
        request = w.orders[ClientId(number)].request
        self.core.on(OrderPlanned(request, RESTING, self.clock.now()))
        view = OrderView(
            Venue.GRVT, request.client_id, f"v{number}", request.symbol, request.side,
            request.qty, request.px, Qty(0), Status.OPEN,
        )  # fmt: skip
        self.on(view)
        return view

    def on(self, what: OrderView | Fill | Position | StreamState, source: str = "stream") -> None:
        event = Seen(what, self.clock.now(), source)
        self.core.on(event)
        self.watch.heard(event)

    async def look(self) -> list[Event]:
        await self.auditor.look(Venue.GRVT)
        for event in self.put:
            self.core.on(event)
        taken, self.put[:] = list(self.put), []
        return taken

    async def tick(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self.watch.ticked(tasks)

    async def reads(self) -> None:
        for read in self.watch.due(self.clock.now()):
            for venue in Venue:
                await read(venue)


def fill(number: int | None, trade: str = "t1", size: str = "0.1") -> Fill:
    return Fill(
        Venue.GRVT, trade, None if number is None else ClientId(number), f"v{number}",
        "ETH_USDT_Perp", Side.SELL, Qty(nano(size)), RESTING.px, Quote(0), "USDT", True, Ns(0),
    )  # fmt: skip


async def test_a_venue_that_says_what_we_know_changes_nothing() -> None:
    rig = Rig()
    rig.ports[Venue.GRVT].resting = (rig.send(),)
    rig.clock.seconds = 10
    assert await rig.look() == []
    assert rig.sink.events("RECONCILE", "open_order") == []


@pytest.mark.parametrize("number", [None, 77])
async def test_F25_F43_F76_an_order_of_somebody_else_is_foreign_activity(
    number: int | None,
) -> None:
    rig = Rig()
    ours = rig.send()
    other = replace(
        ours, client_id=None if number is None else ClientId(number), venue_order_id="x9"
    )
    rig.ports[Venue.GRVT].resting = (other, ours)
    await rig.look()
    assert rig.core.world.foreign == ("grvt x9",)
    assert "x9" in rig.sink.events("RECONCILE", "open_order")[0]["what"]
    assert rig.ports[Venue.GRVT].called("cancel") == 0, "it is not ours to cancel"


async def test_an_order_that_came_back_is_cancelled_and_shuts_the_venue() -> None:
    rig = Rig()
    view = rig.send()
    rig.on(replace(view, status=Status.CANCELLED))
    rig.ports[Venue.GRVT].resting = (view,)
    assert await rig.look() == [], "its end may be younger than the answer"
    rig.clock.seconds = 10
    events = await rig.look()
    assert rig.ports[Venue.GRVT].called("cancel") == 1
    assert isinstance(events[0], VenueRead)
    assert isinstance(events[0].fact, Quarantine)
    assert "rests again" in events[0].fact.why
    assert rig.sink.events("RECONCILE", "ended_order")


async def test_F22_an_order_that_vanished_is_asked_for_by_name() -> None:
    rig = Rig()
    rig.send()
    rig.clock.seconds = 10
    await rig.watch.due(rig.clock.now())[0](Venue.GRVT)
    rig.resolver._asked.clear()
    await rig.tick()
    assert [o.request.client_id for o in rig.resolver.due(rig.core.world, rig.clock.now())] == [1]
    assert next(iter(rig.core.world.orders.values())).state is OrderState.LIVE


async def test_F24_an_execution_that_no_message_told_is_booked_from_the_history() -> None:
    rig = Rig()
    rig.send()
    rig.ports[Venue.GRVT].traded = (fill(1),)
    await rig.look()
    assert rig.core.world.hedge_leg.position == -nano("0.1")
    assert await rig.look() == [], "S6: once"


async def test_F25_an_execution_of_nobody_we_know_is_foreign_and_never_invented_away() -> None:
    rig = Rig()
    rig.ports[Venue.GRVT].traded = (fill(77, "t9"),)
    await rig.look()
    assert rig.core.world.foreign == ("grvt t9",)
    assert rig.core.world.hedge_leg.position == 0
    assert rig.sink.events("RECONCILE", "fill")


async def test_a_late_detail_of_an_order_long_forgotten_is_not_foreign() -> None:
    rig = Rig()
    rig.journal.fill(fill(77, "t8"), ClientId(77))
    rig.ports[Venue.GRVT].traded = (fill(77, "t8"),)
    assert await rig.look() == []
    assert rig.core.world.foreign == ()


async def test_a_read_that_fails_is_the_callers_and_audits_nothing() -> None:
    rig = Rig()
    rig.ports[Venue.GRVT].traded = VenueUnreachable("down")
    with pytest.raises(VenueUnreachable):
        await rig.look()
    assert rig.auditor._audited == {}


# --- the supervisor ----------------------------------------------------------------------------


async def test_positions_are_checked_after_a_fill_has_settled() -> None:
    rig = Rig()
    rig.send()
    assert not rig.watch.positions_due(rig.clock.now())
    rig.on(fill(1))
    rig.clock.seconds = 1
    rig.on(fill(1, "t2"))
    assert not rig.watch.positions_due(rig.clock.now())
    rig.clock.seconds = 2
    assert rig.watch.positions_due(rig.clock.now())
    assert not rig.watch.positions_due(rig.clock.now()), "once"


async def test_a_streamed_position_that_differs_is_looked_into() -> None:
    rig = Rig()
    rig.on(Position(Venue.GRVT, "X", SignedQty(0), Ns(0)))
    assert rig.watch._check_at is None
    rig.on(Position(Venue.GRVT, "X", SignedQty(5), Ns(0)))
    rig.clock.seconds = 2
    assert rig.watch.positions_due(rig.clock.now())


async def test_a_reconnect_is_followed_by_a_whole_audit_at_once() -> None:
    rig = Rig()
    await rig.reads()
    assert rig.watch.due(rig.clock.now()) == []
    rig.clock.seconds = 1
    rig.on(StreamState(Venue.GRVT, Surface.PRIVATE, up=True))
    assert rig.watch.positions_due(rig.clock.now())
    assert len(rig.watch.due(rig.clock.now())) == 1
    rig.clock.seconds = 6
    assert len(rig.watch.due(rig.clock.now())) == 1


async def test_F36_a_late_loop_shuts_both_venues_and_says_so() -> None:
    rig = Rig()
    await rig.tick()
    rig.clock.seconds = 30
    await rig.tick()
    alerts = rig.sink.events("ALERT", "venue_quarantined")
    assert {a["venue"] for a in alerts} == {"grvt", "backpack"}
    assert rig.core.world.hedge_leg.facts.quarantined == "our loop was late"
    rig.clock.seconds = 34
    await rig.tick()
    for venue in Venue:
        rig.on(Position(venue, "X", SignedQty(0), Ns(0)), "rest")
    rig.clock.seconds = 35
    for venue in Venue:
        rig.on(Position(venue, "X", SignedQty(0), Ns(0)), "rest")
    await rig.tick()
    assert len(rig.sink.events("VENUE", "quarantine_over")) == 2


async def test_F69_a_failover_asks_for_every_order_and_for_positions() -> None:
    rig = Rig()
    first, _ = rig.send(1), rig.send(2)
    rig.on(replace(first, status=Status.CANCELLED, reason="SYSTEM_FAILOVER"))
    await rig.tick()
    assert rig.watch.positions_due(rig.clock.now())
    assert [o.request.client_id for o in rig.resolver.due(rig.core.world, rig.clock.now())] == [2]
    assert rig.sink.events("ALERT", "venue_quarantined")[0]["why"] == "failed over"


async def test_F68_a_halted_market_is_probed_until_it_trades() -> None:
    rig = Rig()
    rig.send()
    rig.ports[Venue.GRVT].open = False
    rig.watch.heard(OrderAnswered(ClientId(1), Verdict.REFUSED, rig.clock.now(), code="2060"))
    await rig.tick()
    await rig.reads()
    assert rig.ports[Venue.GRVT].called("tradable") == 1
    assert rig.ports[Venue.BACKPACK].called("tradable") == 0
    rig.ports[Venue.GRVT].open = True
    await rig.reads()
    assert rig.ports[Venue.GRVT].called("tradable") == 1, "not more often than every 5 s"
    rig.clock.seconds = 5
    await rig.reads()
    await rig.tick()
    assert rig.core.world.hedge_leg.facts.quarantined == ""

"""The in-process venue: honest outcomes, ordered streams and injected faults, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from exchanges.errors import UnknownTicker, VenueError, VenueUnreachable
from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelUnknown,
    Found,
    InDoubt,
    NotFound,
    Refused,
    VenuePort,
)
from exchanges.simulator.inprocess import InProcessVenue
from exchanges.simulator.model import MarketBook, MarketTrade
from exchanges.simulator.universe import Driver, Universe
from strategy.domain import (
    NANO,
    Book,
    ClientId,
    Fill,
    Ns,
    OrderRef,
    OrderRequest,
    OrderView,
    Position,
    Purpose,
    Px,
    Qty,
    Side,
    Status,
    StreamState,
    Surface,
    Tif,
    Trade,
    Venue,
    VenueEvent,
    nano,
)
from tests.sim.test_universe import START, Script

T = TypeVar("T")


@dataclass
class VirtualClock:
    """Sleeps in the universe's own time."""

    universe: Universe

    def wall(self) -> Ns:
        return self.universe.driver.now()

    def mono(self) -> Ns:
        return self.universe.driver.now()

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self.universe.call_at(Ns(self.wall() + round(seconds * NANO)), woken.set)
        await woken.wait()


@dataclass
class Desk:
    """A universe in virtual time with one port and everything that its stream told."""

    venue: Venue
    universe: Universe = field(init=False)
    port: VenuePort = field(init=False)
    told: list[VenueEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.universe = Universe(Script(1000), 1, 1, Driver.manual(START))
        self.universe.start()
        self.port = InProcessVenue(self.universe, self.venue, VirtualClock(self.universe))

    @property
    def symbol(self) -> str:
        return self.universe.symbols[self.venue]

    def fault(self, name: str, **more: object) -> None:
        self.universe.faults.add({"venue": self.venue.value, "fault": name} | more)

    def feed(self, event: MarketBook | MarketTrade) -> None:
        engine = self.universe.engines[self.venue]
        engine.feed(self.universe.driver.now(), self.symbol, event)

    async def run(self, act: Callable[[], Awaitable[T]], ms: int = 1000) -> T:
        """Await ``act`` while virtual time goes on for so long, streaming meanwhile."""
        end = self.universe.driver.now() + ms * 1_000_000
        async with asyncio.TaskGroup() as tasks:
            stream = tasks.create_task(self.port.stream(self.told.append))
            acting = tasks.create_task(self._collect(act))
            await settle()
            while (due := self.universe.next_due()) is not None and due <= end:
                self.universe.driver.set(due)
                self.universe.advance(due)
                await settle()
            self.universe.driver.set(Ns(end))
            stream.cancel()
            assert acting.done(), "the call never came back"
        return acting.result()

    async def _collect(self, act: Callable[[], Awaitable[T]]) -> T:
        return await act()

    async def port_error(self, act: Callable[[], Awaitable[object]]) -> None:
        """Await a read that must raise, and raise what it raised."""
        caught: list[VenueError] = []

        async def expecting() -> None:
            try:
                await act()
            except VenueError as error:
                caught.append(error)

        await self.run(expecting)
        if caught:
            raise caught[0]

    async def submit(self, request: OrderRequest) -> object:
        payload = self.port.prepare(request)
        return await self.run(lambda: self.port.submit(payload))

    def request(self, number: int = 1, **changes: object) -> OrderRequest:
        wanted: dict[str, object] = {
            "client_id": ClientId(number),
            "venue": self.venue,
            "symbol": self.symbol,
            "side": Side.BUY,
            "qty": Qty(nano("0.5")),
            "px": Px(nano("3001")),
            "tif": Tif.IOC,
            "post_only": False,
            "reduce_only": False,
            "expires_at": Ns(START + 60 * NANO),
            "purpose": Purpose.HEDGE,
        }
        return OrderRequest(**(wanted | changes))  # type: ignore[arg-type]  # a table of fields

    def maker(self, number: int = 1, **changes: object) -> OrderRequest:
        resting = {"tif": Tif.GTC, "post_only": True, "px": Px(nano("2990"))}
        return self.request(number, **(resting | changes))

    def of(self, *kinds: type) -> list[VenueEvent]:
        return [event for event in self.told if isinstance(event, kinds)]


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(6):
        await asyncio.sleep(0)


@pytest.fixture(params=list(Venue), ids=str)
def desk(request: pytest.FixtureRequest) -> Desk:
    return Desk(request.param)


def ref(number: int, desk: Desk) -> OrderRef:
    return OrderRef(ClientId(number), desk.symbol)


async def test_a_hedge_goes_out_fills_and_is_told_in_the_engines_order(desk: Desk) -> None:
    outcome = await desk.submit(desk.request())

    assert isinstance(outcome, Accepted)
    assert outcome.view is not None
    if desk.venue is Venue.GRVT:
        assert (outcome.view.status, outcome.view.venue_order_id) == (Status.PENDING, "")
    else:
        assert (outcome.view.status, outcome.view.cum) == (Status.FILLED, nano("0.5"))
    views = [e for e in desk.told if isinstance(e, OrderView)]
    assert [v.status for v in views] == [Status.PENDING, Status.FILLED]
    assert all(v.client_id == 1 for v in views)
    kinds = [type(e) for e in desk.of(OrderView, Fill, Position)][1:]
    assert kinds == [OrderView, Fill, Position]
    fill = desk.of(Fill)[0]
    assert isinstance(fill, Fill)
    assert (fill.qty, fill.px, fill.client_id) == (nano("0.5"), nano("3001"), 1)
    assert (await desk.run(desk.port.position)).qty == nano("0.5")
    assert await desk.run(lambda: desk.port.fills(Ns(0))) == (fill,)


async def test_the_stream_starts_with_both_surfaces_and_a_whole_book(desk: Desk) -> None:
    await desk.run(desk.port.server_time, ms=250)

    ups = [e for e in desk.told if isinstance(e, StreamState)]
    assert [(e.surface, e.up) for e in ups] == [(Surface.PRIVATE, True), (Surface.PUBLIC, True)]
    books = [e for e in desk.told if isinstance(e, Book)]
    assert desk.told.index(books[0]) < desk.told.index(ups[1])
    assert all(book.sane for book in books)
    assert [book.event_time - START for book in books[1:]] == [100_000_000, 200_000_000]
    desk.feed(MarketTrade(Px(nano("3001")), Qty(NANO), Side.BUY))
    assert len(desk.of(Trade)) == 0, "a stream that was left tells nothing more"


async def test_a_maker_rests_fills_by_trades_and_is_found(desk: Desk) -> None:
    await desk.submit(desk.maker(px=Px(nano("3000"))))
    assert [v.cum for v in await desk.run(desk.port.open_orders)] == [0]

    async def trade() -> object:
        desk.feed(MarketTrade(Px(nano("3000")), Qty(nano("0.2")), Side.SELL))
        return await desk.port.lookup(ref(1, desk), START)

    found = await desk.run(trade)

    assert isinstance(found, Found)
    assert (found.view.status, found.view.cum) == (Status.OPEN, nano("0.2"))
    fills = desk.of(Fill)
    assert isinstance(fills[0], Fill)
    assert fills[0].is_maker


async def test_a_post_only_that_would_cross_is_told_as_such(desk: Desk) -> None:
    outcome = await desk.submit(desk.maker(px=Px(nano("3001"))))

    if desk.venue is Venue.BACKPACK:
        assert isinstance(outcome, Refused)
        assert outcome.post_only_cross
    else:
        assert isinstance(outcome, Accepted)
        last = desk.of(OrderView)[-1]
        assert isinstance(last, OrderView)
        assert (last.status, last.reason) == (Status.REJECTED, "FAIL_POST_ONLY")


async def test_a_refusal_before_the_book_is_certain(desk: Desk) -> None:
    outcome = await desk.submit(desk.request(px=Px(nano("3001.001"))))

    assert isinstance(outcome, Refused)
    assert outcome.code == "bad_tick"
    assert desk.of(OrderView) == []


async def test_an_expired_signature_never_reaches_the_engine(desk: Desk) -> None:
    outcome = await desk.submit(desk.request(expires_at=Ns(START + 1)))

    assert isinstance(outcome, Refused)
    assert outcome.code == "expired_signature"


async def test_a_cancel_ends_an_order_and_an_unknown_one_is_said_so(desk: Desk) -> None:
    await desk.submit(desk.maker())

    first = await desk.run(lambda: desk.port.cancel(ref(1, desk)))
    again = await desk.run(lambda: desk.port.cancel(ref(1, desk)))
    never = await desk.run(lambda: desk.port.cancel(ref(9, desk)))

    assert isinstance(first, CancelAccepted)
    if desk.venue is Venue.BACKPACK:
        assert first.view is not None
        assert first.view.status is Status.CANCELLED
    last = desk.of(OrderView)[-1]
    assert isinstance(last, OrderView)
    assert last.status is Status.CANCELLED
    assert isinstance(again, CancelUnknown)
    assert isinstance(never, CancelUnknown)


async def test_cancel_all_ends_every_order(desk: Desk) -> None:
    for number in (1, 2, 3):
        await desk.submit(desk.maker(number))

    outcome = await desk.run(desk.port.cancel_all)

    assert isinstance(outcome, CancelAccepted)
    assert await desk.run(desk.port.open_orders) == ()


async def test_grvt_may_not_know_an_order_for_a_moment() -> None:
    desk = Desk(Venue.GRVT)
    payload = desk.port.prepare(desk.maker())

    async def act() -> list[object]:
        await desk.port.submit(payload)
        early = await desk.port.lookup(ref(1, desk), START)
        await VirtualClock(desk.universe).sleep(0.1)
        return [early, await desk.port.lookup(ref(1, desk), START)]

    early, later = await desk.run(act)

    assert isinstance(early, NotFound)
    assert isinstance(later, Found)


async def test_reads_answer_what_the_venue_holds(desk: Desk) -> None:
    rules = desk.universe.engines[desk.venue].rules

    instrument = await desk.run(lambda: desk.port.load("ETH"))
    balance = await desk.run(desk.port.balance)
    fees = await desk.run(desk.port.fees)
    funding = await desk.run(desk.port.funding)
    book = await desk.run(lambda: desk.port.book(5))

    assert instrument.symbol == desk.symbol
    assert balance.equity == balance.available == rules.starting_balance
    assert (fees.maker, fees.taker) == (rules.maker_fee, rules.taker_fee)
    assert funding.interval_hours == (8 if desk.venue is Venue.GRVT else 1)
    assert funding.next_at > START
    assert book.sane
    assert await desk.run(lambda: desk.port.funding_payments(Ns(0))) == ()
    with pytest.raises(UnknownTicker):
        await desk.port_error(lambda: desk.port.load("BTC"))


def test_client_ids_are_the_venues_own(desk: Desk) -> None:
    with pytest.raises(ValueError, match="outside the range"):
        desk.port.prepare(desk.request(0))
    with pytest.raises(ValueError, match="outside the range"):
        desk.port.prepare(desk.request(1 << 63))
    assert desk.port.prepare(desk.request(5)) == desk.port.prepare(desk.request(5))


async def test_client_ids_are_mapped_to_the_range_of_api_clients(desk: Desk) -> None:
    await desk.submit(desk.request(7))

    (order,) = desk.universe.engines[desk.venue].orders.values()
    base = 1 << 63 if desk.venue is Venue.GRVT else 0
    assert order.request.client_id == str(base + 7)


# --- injected faults -----------------------------------------------------------------------------


async def test_F01_an_ack_is_lost_and_the_order_executed(desk: Desk) -> None:
    desk.fault("F01")

    assert isinstance(await desk.submit(desk.request()), InDoubt)
    found = await desk.run(lambda: desk.port.lookup(ref(1, desk), START))
    assert isinstance(found, Found)
    assert found.view.cum == nano("0.5")


@pytest.mark.parametrize("name", ["F02", "F05"])
async def test_F02_F05_a_create_never_arrives(desk: Desk, name: str) -> None:
    desk.fault(name)

    assert isinstance(await desk.submit(desk.request()), InDoubt)
    found = await desk.run(lambda: desk.port.lookup(ref(1, desk), START))
    assert isinstance(found, NotFound)
    assert isinstance(await desk.submit(desk.request(2)), Accepted)


async def test_F03_a_create_arrives_late(desk: Desk) -> None:
    desk.fault("F03", delay_ms=2500)

    assert isinstance(await desk.submit(desk.request()), InDoubt)
    assert desk.of(Fill) == []
    await desk.run(desk.port.server_time, ms=2000)

    (fill,) = desk.of(Fill)
    assert isinstance(fill, Fill)
    assert fill.at - START > 2500 * 1_000_000


async def test_F03_a_create_that_is_too_late_dies_of_its_expiry(desk: Desk) -> None:
    desk.fault("F03", delay_ms=2500)

    await desk.submit(desk.request(expires_at=Ns(START + 2 * NANO)))
    await desk.run(desk.port.server_time, ms=3000)

    assert isinstance(await desk.run(lambda: desk.port.lookup(ref(1, desk), START)), NotFound)


async def test_F11_every_post_only_is_refused(desk: Desk) -> None:
    desk.fault("F11")

    for number in (1, 2):
        outcome = await desk.submit(desk.maker(number))
        assert isinstance(outcome, Refused)
        assert outcome.post_only_cross
    assert isinstance(await desk.submit(desk.request(3)), Accepted)


async def test_F12_margin_is_insufficient(desk: Desk) -> None:
    desk.fault("F12")

    outcome = await desk.submit(desk.request())

    assert isinstance(outcome, Refused)
    assert outcome.code == "insufficient_margin"
    assert not outcome.post_only_cross


async def test_F19_a_fill_is_told_twice(desk: Desk) -> None:
    desk.fault("F19")

    await desk.submit(desk.request())

    first, second = desk.of(Fill)
    assert first == second


async def test_F24_the_order_says_filled_and_the_fill_is_missing(desk: Desk) -> None:
    desk.fault("F24")

    await desk.submit(desk.request())

    assert desk.of(Fill) == []
    last = desk.of(OrderView)[-1]
    assert isinstance(last, OrderView)
    assert (last.status, last.cum) == (Status.FILLED, nano("0.5"))
    assert len(await desk.run(lambda: desk.port.fills(Ns(0)))) == 1


async def test_F52_nothing_answers_while_the_venue_is_down(desk: Desk) -> None:
    desk.fault("F52", seconds=30)

    assert isinstance(await desk.submit(desk.request()), InDoubt)
    for act in (lambda: desk.port.cancel(ref(1, desk)), desk.port.cancel_all):
        assert isinstance(await desk.run(act), InDoubt)
    assert isinstance(await desk.run(lambda: desk.port.lookup(ref(1, desk), START)), InDoubt)
    with pytest.raises(VenueUnreachable):
        await desk.port_error(desk.port.position)
    with pytest.raises(VenueUnreachable):
        await desk.port_error(desk.port.open)
    assert desk.universe.engines[desk.venue].orders == {}


async def test_F59_F74_cancels_are_limited_and_positions_do_not_answer(desk: Desk) -> None:
    await desk.submit(desk.maker())
    desk.fault("F59")
    desk.fault("F74")

    assert isinstance(await desk.run(lambda: desk.port.cancel(ref(1, desk))), InDoubt)
    with pytest.raises(VenueUnreachable):
        await desk.port_error(desk.port.position)
    assert (await desk.run(desk.port.position)).qty == 0
    assert isinstance(await desk.run(lambda: desk.port.cancel(ref(1, desk))), CancelAccepted)
    await desk.port.close()

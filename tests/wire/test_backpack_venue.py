"""The adapter against the simulated Backpack: real sockets, signatures and error codes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random  # noqa: TID251 - a seeded generator
from typing import Any

import pytest

from exchanges.backpack import streams
from exchanges.backpack.venue import BackpackConfig, BackpackVenue
from exchanges.errors import UnknownTicker, VenueError, VenueForbidden
from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelUnknown,
    Found,
    InDoubt,
    Lookup,
    NotFound,
    Outcome,
    Refused,
)
from exchanges.simulator.backpack_options import BackpackOptions
from exchanges.simulator.backpack_server import BackpackServer
from exchanges.simulator.credentials import backpack_credentials
from exchanges.simulator.defaults import BACKPACK_RULES, default_market
from exchanges.simulator.engine import MatchingEngine
from exchanges.simulator.faults import FaultBoard
from exchanges.simulator.model import MarketBook, MarketTrade
from strategy.domain import (
    NANO,
    Book,
    ClientId,
    Fill,
    Level,
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
    bps,
)

SYMBOL = "ETH_USDC_PERP"


class RealClock:
    """The machine's clock."""

    def wall(self) -> Ns:
        return Ns(time.time_ns())

    def mono(self) -> Ns:
        return Ns(time.monotonic_ns())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class VenueClock:
    """The simulated venue's clock, three seconds ahead of ours."""

    def now(self) -> Ns:
        return Ns(time.time_ns() + 3 * NANO)


def level(px: str, qty: str) -> Level:
    return Px(int(px) * NANO // 100), Qty(int(qty) * NANO // 100)


@dataclass
class Rig:
    """A running venue, its market, and the adapter connected to it."""

    engine: MatchingEngine
    board: FaultBoard
    venue: BackpackVenue
    clock: VenueClock
    number: int = 0

    def market(self, bids: list[Level], asks: list[Level]) -> None:
        event = MarketBook(tuple(bids), tuple(asks), snapshot=True)
        self.engine.feed(self.clock.now(), SYMBOL, event)

    def trade(self, px: Px, qty: Qty, taker: Side) -> None:
        self.engine.feed(self.clock.now(), SYMBOL, MarketTrade(px, qty, taker))

    def fault(self, name: str, **more: Any) -> None:
        self.board.add({"venue": "backpack", "fault": name, **more})

    def order(self, side: Side, px: int, qty: int = NANO // 2, **changes: Any) -> OrderRequest:
        """Return an order; ``px`` in cents, ``qty`` in 1e-9."""
        self.number += 1
        fields: dict[str, Any] = {
            "client_id": ClientId(self.number),
            "venue": Venue.BACKPACK,
            "symbol": SYMBOL,
            "side": side,
            "qty": Qty(qty),
            "px": Px(px * NANO // 100),
            "tif": Tif.GTC,
            "post_only": True,
            "reduce_only": False,
            "expires_at": Ns(time.time_ns() + 5 * NANO),
            "purpose": Purpose.OPEN,
        }
        return OrderRequest(**(fields | changes))

    async def send(self, order: OrderRequest) -> Outcome:
        return await self.venue.submit(self.venue.prepare(order))

    def ref(self, order: OrderRequest) -> OrderRef:
        return OrderRef(order.client_id, order.symbol)

    async def look(self, order: OrderRequest) -> Lookup:
        return await self.venue.lookup(self.ref(order), Ns(time.time_ns() - 10 * NANO))


@asynccontextmanager
async def running(options: BackpackOptions | None = None) -> AsyncIterator[Rig]:
    clock, keys = VenueClock(), backpack_credentials(1)
    rng = Random(1)  # noqa: S311 - a simulation
    market = default_market(Venue.BACKPACK, "ETH", None)
    engine = MatchingEngine(BACKPACK_RULES, [market], rng, clock.now())
    board = FaultBoard(clock.now)
    server = BackpackServer(engine, clock, board, keys, options)
    await server.start("127.0.0.1", 0)
    address = f"127.0.0.1:{server.port}"
    config = BackpackConfig(
        keys.public_key, keys.secret_key, f"http://{address}", f"ws://{address}"
    )
    venue = BackpackVenue(config, RealClock(), rng)
    rig = Rig(engine, board, venue, clock)
    rig.market(
        [level("300000", "100"), level("299900", "500")],
        [level("300100", "100"), level("300200", "500")],
    )

    async def drive() -> None:
        while True:
            engine.advance(clock.now())
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        driver = group.create_task(drive())
        try:
            await venue.open()
            await venue.load("ETH")
            yield rig
        finally:
            await venue.close()
            await server.stop()
            driver.cancel()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running() as made:
        yield made


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the condition is a list that fills
            await asyncio.sleep(0.005)


def view_of(outcome: object) -> OrderView:
    assert isinstance(outcome, Accepted | Found | CancelAccepted)
    assert outcome.view is not None
    return outcome.view


async def test_reads_agree_with_the_venue(rig: Rig) -> None:
    venue = rig.venue
    instrument = await venue.load("ETH")
    assert (instrument.symbol, instrument.tradable) == (SYMBOL, True)
    assert (instrument.tick, instrument.step) == (NANO // 100, NANO // 10_000)
    with pytest.raises(UnknownTicker):
        await venue.load("NOPE")
    assert abs(venue.clock_offset - 3 * NANO) < NANO // 10
    assert (await venue.position()).qty == 0
    assert await venue.open_orders() == ()
    assert await venue.fills(Ns(0)) == ()
    assert await venue.funding_payments(Ns(0)) == ()
    assert (await venue.balance()).equity == BACKPACK_RULES.starting_balance
    fees = await venue.fees()
    assert (fees.maker, fees.taker) == (bps(2), bps(5))
    funding = await venue.funding()
    assert (funding.rate, funding.interval_hours) == (12_500, 1)
    book = await venue.book(5)
    assert book.bids == (level("300000", "100"), level("299900", "500"))
    assert book.sane


async def test_maker_rests_is_found_and_is_cancelled(rig: Rig) -> None:
    order = rig.order(Side.BUY, 299_950)
    view = view_of(await rig.send(order))
    assert (view.status, view.cum, view.client_id) == (Status.OPEN, 0, order.client_id)
    assert [row.client_id for row in await rig.venue.open_orders()] == [order.client_id]
    assert view_of(await rig.look(order)).status is Status.OPEN
    done = view_of(await rig.venue.cancel(rig.ref(order)))
    assert done.status is Status.CANCELLED
    assert isinstance(await rig.venue.cancel(rig.ref(order)), CancelUnknown)
    assert view_of(await rig.look(order)).status is Status.CANCELLED


async def test_cancel_by_venue_order_id_and_cancel_all(rig: Rig) -> None:
    first, second = rig.order(Side.BUY, 299_950), rig.order(Side.BUY, 299_940)
    placed = view_of(await rig.send(first))
    await rig.send(second)
    ref = OrderRef(first.client_id, SYMBOL, placed.venue_order_id)
    assert view_of(await rig.venue.lookup(ref, Ns(0))).status is Status.OPEN
    assert view_of(await rig.venue.cancel(ref)).status is Status.CANCELLED
    assert isinstance(await rig.venue.cancel_all(), CancelAccepted)
    assert await rig.venue.open_orders() == ()


async def test_immediate_order_reports_what_traded(rig: Rig) -> None:
    order = rig.order(Side.BUY, 300_100, 2 * NANO, tif=Tif.IOC, post_only=False)
    view = view_of(await rig.send(order))
    assert view.cum == NANO
    assert view.status.terminal
    assert (await rig.venue.position()).qty == NANO
    fills = await rig.venue.fills(Ns(time.time_ns() - 10 * NANO))
    assert [(row.qty, row.px, row.client_id) for row in fills] == [
        (NANO, 3001 * NANO, order.client_id)
    ]
    assert fills[0].fee > 0
    assert not fills[0].is_maker
    found = view_of(await rig.look(order))
    assert (found.cum, found.status.terminal) == (NANO, True)


async def test_F11_post_only_cross_is_refused_and_leaves_nothing(rig: Rig) -> None:
    order = rig.order(Side.BUY, 300_100)
    outcome = await rig.send(order)
    assert isinstance(outcome, Refused)
    assert outcome.post_only_cross
    assert isinstance(await rig.look(order), NotFound)


async def test_reduce_only_without_a_position_does_not_trade(rig: Rig) -> None:
    order = rig.order(Side.SELL, 300_000, tif=Tif.IOC, post_only=False, reduce_only=True)
    outcome = await rig.send(order)
    assert isinstance(outcome, Refused) or view_of(outcome).cum == 0
    assert (await rig.venue.position()).qty == 0


async def test_order_signed_too_long_ago_is_refused(rig: Rig) -> None:
    order = rig.order(Side.BUY, 299_950, expires_at=Ns(time.time_ns() + NANO // 5))
    payload = rig.venue.prepare(order)
    await asyncio.sleep(0.25)
    outcome = await rig.venue.submit(payload)
    assert isinstance(outcome, Refused)
    assert "expired" in outcome.message
    assert isinstance(await rig.look(order), NotFound)


async def test_wrong_key_is_forbidden(rig: Rig) -> None:
    other = backpack_credentials(2)
    stranger = BackpackVenue(
        BackpackConfig(other.public_key, other.secret_key, rig.venue._config.api_url, None),
        RealClock(),
        Random(1),  # noqa: S311 - jitter
    )
    with pytest.raises(VenueForbidden):
        await stranger.open()
    await stranger.close()


@pytest.mark.parametrize(("fault", "lives"), [("F01", True), ("F02", False), ("F06", True)])
async def test_F01_F02_F06_lost_answers_are_resolved_by_lookup(
    rig: Rig, fault: str, lives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchanges.backpack.venue.WRITE_TIMEOUT", 0.5)
    rig.fault(fault)
    order = rig.order(Side.BUY, 299_950)
    assert isinstance(await rig.send(order), InDoubt)
    await asyncio.sleep(0.05)
    assert isinstance(await rig.look(order), Found if lives else NotFound)


@pytest.mark.parametrize(
    ("fault", "kind"), [("F04", Refused), ("F05", InDoubt), ("F07", Refused), ("F12", Refused)]
)
async def test_F04_F05_F07_F12_answers_are_told_apart(rig: Rig, fault: str, kind: type) -> None:
    rig.fault(fault)
    order = rig.order(Side.BUY, 299_950)
    assert isinstance(await rig.send(order), kind)
    assert isinstance(await rig.look(order), NotFound)


async def test_F29_unknown_word_is_quarantined(rig: Rig) -> None:
    async with listening(rig) as events:
        rig.fault("F29")
        await rig.send(rig.order(Side.BUY, 299_950))
        await until(lambda: any(isinstance(e, OrderView) for e in events))
        views = [event for event in events if isinstance(event, OrderView)]
        assert Status.UNKNOWN in {view.status for view in views}


async def test_F59_throttled_cancel_is_in_doubt(rig: Rig) -> None:
    order = rig.order(Side.BUY, 299_950)
    await rig.send(order)
    rig.fault("F59")
    assert isinstance(await rig.venue.cancel(rig.ref(order)), InDoubt)
    assert view_of(await rig.look(order)).status is Status.OPEN


async def test_F74_failed_position_is_not_flat(rig: Rig) -> None:
    rig.fault("F74", mode="error")
    with pytest.raises(VenueError):
        await rig.venue.position()


async def test_cancel_received_but_not_executed_has_no_view() -> None:
    async with running(BackpackOptions(cancel_is_202=True, strict_client_id=True)) as rig:
        order = rig.order(Side.BUY, 299_950)
        await rig.send(order)
        assert await rig.venue.cancel(rig.ref(order)) == CancelAccepted(None)

        async def ended() -> bool:
            found = await rig.look(order)
            return isinstance(found, Found) and found.view.status is Status.CANCELLED

        await eventually(ended)


@pytest.mark.parametrize("word", ["Expired", "PartiallyFilled", "Cancelled"])
async def test_D9_any_word_for_a_partly_filled_immediate_order(word: str) -> None:
    async with running(BackpackOptions(remainder_status=word)) as rig:
        order = rig.order(Side.BUY, 300_100, 2 * NANO, tif=Tif.IOC, post_only=False)
        view = view_of(await rig.send(order))
        assert (view.cum, view.status.terminal) == (NANO, True)


async def test_order_hidden_by_lagging_history_is_found_later() -> None:
    async with running(BackpackOptions(history_lag=Ns(NANO // 2))) as rig:
        order = rig.order(Side.BUY, 300_100, NANO, tif=Tif.IOC, post_only=False)
        await rig.send(order)

        async def found() -> bool:
            return isinstance(await rig.look(order), Found)

        assert not await found()
        await eventually(found)
        assert view_of(await rig.look(order)).cum == NANO


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while not await condition():  # noqa: ASYNC110 - the condition asks the venue
            await asyncio.sleep(0.05)


@asynccontextmanager
async def listening(rig: Rig) -> AsyncIterator[list[VenueEvent]]:
    events: list[VenueEvent] = []
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.venue.stream(events.append))
        await until(lambda: up(events) == set(Surface))
        yield events
        task.cancel()


def up(events: list[VenueEvent]) -> set[Surface]:
    state: dict[Surface, bool] = {}
    for event in events:
        if isinstance(event, StreamState):
            state[event.surface] = event.up
    return {surface for surface, is_up in state.items() if is_up}


def last_book(events: list[VenueEvent]) -> Book:
    return [event for event in events if isinstance(event, Book)][-1]


async def test_streams_follow_orders_fills_position_book_and_trades(rig: Rig) -> None:
    async with listening(rig) as events:
        order = rig.order(Side.BUY, 300_050)
        await rig.send(order)
        await until(lambda: last_book(events).bids[0] == (order.px, order.qty))
        rig.trade(order.px, Qty(NANO // 5), Side.SELL)
        await until(lambda: any(isinstance(event, Fill) for event in events))
        await rig.venue.cancel(rig.ref(order))
        await until(
            lambda: any(isinstance(e, OrderView) and e.status is Status.CANCELLED for e in events)
        )
        fill = next(event for event in events if isinstance(event, Fill))
        assert (fill.client_id, fill.qty, fill.px) == (order.client_id, NANO // 5, order.px)
        assert fill.is_maker
        views = [event for event in events if isinstance(event, OrderView)]
        assert [view.cum for view in views] == sorted(view.cum for view in views)
        assert views[-1].cum == NANO // 5
        assert [e.qty for e in events if isinstance(e, Position)][-1] == NANO // 5
        assert any(isinstance(event, Trade) for event in events)
        rest = await rig.venue.fills(Ns(time.time_ns() - 10 * NANO))
        assert [row.trade_id for row in rest] == [fill.trade_id]
        await until(lambda: last_book(events).bids[0] == level("300000", "100"))


async def test_F50_missing_book_message_is_repaired_from_rest(rig: Rig) -> None:
    async with listening(rig) as events:
        rig.fault("F50")
        for cents in range(3):
            rig.market([level(str(299_900 + cents), "100")], [level("300100", "100")])
            await asyncio.sleep(0.05)
        await until(lambda: any(isinstance(e, StreamState) and not e.up for e in events))
        await until(lambda: up(events) == set(Surface))
        await until(lambda: last_book(events).bids == (level("299902", "100"),))


async def test_F49_silent_socket_is_found_out_by_rest(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(streams, "LAG_SECONDS", 0.1)
    async with listening(rig) as events:
        rig.fault("F49")
        for cents in range(30):
            rig.market([level(str(299_900 + cents), "100")], [level("300100", "100")])
            await asyncio.sleep(0.02)
        await until(lambda: last_book(events).bids == (level("299929", "100"),))


async def test_quiet_market_stays_up_and_fresh(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "QUIET_SECONDS", 0.1)
    async with listening(rig) as events:
        count = len(events)
        await until(lambda: len(events) >= count + 2)
        assert all(isinstance(event, Book) for event in events[count:])
        assert up(events) == set(Surface)

"""The adapter against the simulated GRVT: real sockets, signatures and error codes."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random  # noqa: TID251 - a seeded generator
from typing import Any

import pytest

from exchanges.errors import UnknownTicker, VenueError, VenueForbidden, VenueUnreachable
from exchanges.grvt.venue import GrvtConfig, GrvtVenue
from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelUnknown,
    Found,
    InDoubt,
    NotFound,
    Outcome,
    Refused,
)
from exchanges.simulator.credentials import grvt_credentials
from exchanges.simulator.defaults import GRVT_RULES, default_market
from exchanges.simulator.engine import MatchingEngine
from exchanges.simulator.faults import FaultBoard
from exchanges.simulator.grvt_options import GrvtOptions
from exchanges.simulator.grvt_server import GrvtServer
from exchanges.simulator.host import SimConfig, SimHost
from exchanges.simulator.model import MarketBook, MarketTrade
from exchanges.simulator.universe import Driver
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

SYMBOL = "ETH_USDT_Perp"
KEYS = grvt_credentials(1)


class RealClock:
    """The machine's clock; waits between reconnects are cut short."""

    def wall(self) -> Ns:
        return Ns(time.time_ns())

    def mono(self) -> Ns:
        return Ns(time.monotonic_ns())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.05))


def level(px: str, qty: str) -> Level:
    return Px(int(px) * NANO // 100), Qty(int(qty) * NANO // 100)


@dataclass
class Rig:
    """A running venue, its market, and the adapter connected to it."""

    engine: MatchingEngine
    board: FaultBoard
    driver: Driver
    server: GrvtServer
    venue: GrvtVenue
    cookies: list[str]
    number: int = 0
    events: list[VenueEvent] = field(default_factory=list)

    def market(self, bids: list[Level], asks: list[Level]) -> None:
        event = MarketBook(tuple(bids), tuple(asks), snapshot=True)
        self.engine.feed(self.driver.now(), SYMBOL, event)

    def trade(self, px: Px, qty: Qty, taker: Side) -> None:
        self.engine.feed(self.driver.now(), SYMBOL, MarketTrade(px, qty, taker))

    def fault(self, name: str, **more: Any) -> None:
        self.board.add({"venue": "grvt", "fault": name, **more})

    def order(self, side: Side, px: int, qty: int = NANO // 2, **changes: Any) -> OrderRequest:
        """Return an order; ``px`` in cents, ``qty`` in 1e-9."""
        self.number += 1
        fields: dict[str, Any] = {
            "client_id": ClientId(self.number),
            "venue": Venue.GRVT,
            "symbol": SYMBOL,
            "side": side,
            "qty": Qty(qty),
            "px": Px(px * NANO // 100),
            "tif": Tif.GTC,
            "post_only": True,
            "reduce_only": False,
            "expires_at": Ns(time.time_ns() + 20 * NANO),
            "purpose": Purpose.HEDGE,
        }
        return OrderRequest(**(fields | changes))

    def taker(self, side: Side, px: int, qty: int = NANO // 2, **changes: Any) -> OrderRequest:
        return self.order(side, px, qty, **({"tif": Tif.IOC, "post_only": False} | changes))

    async def send(self, order: OrderRequest) -> Outcome:
        return await self.venue.submit(self.venue.prepare(order))

    def ref(self, order: OrderRequest) -> OrderRef:
        return OrderRef(order.client_id, order.symbol)

    async def ended(self, order: OrderRequest) -> OrderView:
        """Ask until the venue states the order's end; it may be unknown at first (A5.1)."""
        async with asyncio.timeout(5):
            while True:
                found = await self.venue.lookup(self.ref(order), Ns(0))
                if isinstance(found, Found) and found.view.status.terminal:
                    return found.view
                await asyncio.sleep(0.03)

    async def resting(self, order: OrderRequest) -> OrderView:
        async with asyncio.timeout(5):
            while True:
                found = await self.venue.lookup(self.ref(order), Ns(0))
                if isinstance(found, Found) and found.view.status is Status.OPEN:
                    return found.view
                await asyncio.sleep(0.03)

    @asynccontextmanager
    async def streaming(self) -> AsyncIterator[list[VenueEvent]]:
        """Run the streams from "both surfaces up" to the end of the block."""
        events = self.events
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.venue.stream(events.append))
            await until(lambda: self.up() == set(Surface))
            yield events
            task.cancel()

    def up(self) -> set[Surface]:
        states = {e.surface: e.up for e in self.events if isinstance(e, StreamState)}
        return {surface for surface, up in states.items() if up}

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def losses(self, surface: Surface) -> list[str]:
        return [e.why for e in self.of(StreamState) if e.surface is surface and not e.up]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(8):
        while not condition():  # noqa: ASYNC110 - the condition is a list that fills
            await asyncio.sleep(0.005)


def config(address: str, **changes: Any) -> GrvtConfig:
    fields: dict[str, Any] = {
        "api_key": KEYS.api_key,
        "private_key": KEYS.private_key,
        "sub_account_id": KEYS.sub_account_id,
        "environment": "prod",
        "edge_url": f"http://{address}",
        "trades_url": f"http://{address}",
        "market_data_url": f"http://{address}",
        "ws_trades_url": f"ws://{address}",
        "ws_market_data_url": f"ws://{address}",
    }
    return GrvtConfig(**(fields | changes))


def made(settings: GrvtConfig, cookies: list[str] | None = None) -> GrvtVenue:
    nonces = itertools.count(1)
    told = [] if cookies is None else cookies
    rng = Random(1)  # noqa: S311 - jitter
    return GrvtVenue(settings, RealClock(), rng.random, lambda: next(nonces), told.append)


@asynccontextmanager
async def running(options: GrvtOptions | None = None) -> AsyncIterator[Rig]:
    driver = Driver.wall()
    market = default_market(Venue.GRVT, "ETH", None)
    engine = MatchingEngine(
        GRVT_RULES,
        [market],
        Random(1),  # noqa: S311 - a simulation
        driver.now(),
    )
    board, cookies = FaultBoard(driver.now), list[str]()
    server = GrvtServer(engine, driver, board, KEYS, options)
    await server.start("127.0.0.1", 0)
    venue = made(config(f"127.0.0.1:{server.port}"), cookies)
    rig = Rig(engine, board, driver, server, venue, cookies)
    rig.market(
        [level("300000", "100"), level("299900", "500")],
        [level("300100", "100"), level("300200", "500")],
    )

    async def drive() -> None:
        while True:
            engine.advance(driver.now())
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(drive())
        try:
            await venue.open()
            await venue.load("ETH")
            yield rig
        finally:
            await venue.close()
            await server.stop()
            task.cancel()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running() as started:
        yield started


async def test_reads_agree_with_the_venue(rig: Rig) -> None:
    venue = rig.venue
    instrument = await venue.load("ETH")
    assert (instrument.symbol, instrument.asset_id) == (SYMBOL, "0x030401")
    assert (instrument.tick, instrument.step) == (NANO // 100, NANO // 100)
    assert instrument.min_notional == 20 * NANO
    with pytest.raises(UnknownTicker):
        await venue.load("NOPE")
    assert abs(await venue.server_time() - time.time_ns()) < NANO // 10
    assert (await venue.position()).qty == 0
    assert await venue.open_orders() == ()
    assert await venue.fills(Ns(0)) == ()
    assert await venue.funding_payments(Ns(0)) == ()
    balance = await venue.balance()
    assert (balance.equity, balance.asset) == (GRVT_RULES.starting_balance, "USDT")
    fees = await venue.fees()
    assert (fees.maker, fees.taker) == (bps("-0.01"), bps("4.5"))
    funding = await venue.funding()
    assert (funding.rate, funding.interval_hours) == (100_000, 8)
    book = await venue.book(5)
    assert book.bids == (level("300000", "100"), level("299900", "500"))
    assert book.sane


async def test_A5_maker_is_acknowledged_rests_and_is_cancelled(rig: Rig) -> None:
    order = rig.order(Side.BUY, 299_950)
    outcome = await rig.send(order)
    assert isinstance(outcome, Accepted)
    assert outcome.view is not None
    assert (outcome.view.status, outcome.view.venue_order_id) == (Status.PENDING, "")
    view = await rig.resting(order)
    assert (view.client_id, view.qty, view.cum) == (order.client_id, NANO // 2, 0)
    assert view.venue_order_id
    assert [row.client_id for row in await rig.venue.open_orders()] == [order.client_id]
    assert await rig.venue.cancel(rig.ref(order)) == CancelAccepted(None)
    ended = await rig.ended(order)
    assert (ended.status, ended.reason) == (Status.CANCELLED, "CLIENT_CANCEL")
    assert await rig.venue.open_orders() == ()


async def test_A5_order_may_be_unknown_right_after_its_acknowledgement(rig: Rig) -> None:
    order = rig.order(Side.BUY, 299_950)
    assert isinstance(await rig.send(order), Accepted)
    assert await rig.venue.lookup(rig.ref(order), Ns(0)) == NotFound("order")
    assert (await rig.resting(order)).status is Status.OPEN


async def test_cancel_of_an_unknown_order_and_cancel_all(rig: Rig) -> None:
    stranger = rig.order(Side.BUY, 299_950)
    assert await rig.venue.cancel(rig.ref(stranger)) == CancelUnknown("1004")
    first, second = rig.order(Side.BUY, 299_950), rig.order(Side.SELL, 300_150)
    for order in (first, second):
        await rig.send(order)
        await rig.resting(order)
    assert await rig.venue.cancel_all() == CancelAccepted(None)
    for order in (first, second):
        assert (await rig.ended(order)).status is Status.CANCELLED


async def test_immediate_order_trades_what_there_is(rig: Rig) -> None:
    order = rig.taker(Side.BUY, 300_100, 2 * NANO)
    assert isinstance(await rig.send(order), Accepted)
    ended = await rig.ended(order)
    assert (ended.status, ended.cum, ended.reason) == (Status.CANCELLED, NANO, "IOC_CANCEL")
    assert (await rig.venue.position()).qty == NANO
    fills = await rig.venue.fills(Ns(time.time_ns() - 10 * NANO))
    assert [(f.qty, f.px, f.client_id) for f in fills] == [(NANO, 3001 * NANO, order.client_id)]
    assert fills[0].fee == 3001 * NANO * 45 // 100_000
    assert not fills[0].is_maker
    assert (await rig.venue.fees()).taker == bps("4.5")


async def test_all_or_nothing_order_without_liquidity_trades_nothing(rig: Rig) -> None:
    order = rig.taker(Side.BUY, 300_100, 2 * NANO, tif=Tif.FOK)
    await rig.send(order)
    ended = await rig.ended(order)
    assert (ended.status, ended.cum, ended.reason) == (Status.CANCELLED, 0, "FOK_CANCEL")


async def test_F11_post_only_cross_is_acknowledged_and_rejected_later(rig: Rig) -> None:
    order = rig.order(Side.BUY, 300_100)
    assert isinstance(await rig.send(order), Accepted)
    ended = await rig.ended(order)
    assert (ended.status, ended.reason) == (Status.REJECTED, "FAIL_POST_ONLY")


async def test_order_expires_by_its_signature(rig: Rig) -> None:
    order = rig.order(Side.BUY, 299_950, expires_at=Ns(time.time_ns() + NANO // 3))
    await rig.send(order)
    ended = await rig.ended(order)
    assert (ended.status, ended.reason) == (Status.CANCELLED, "EXPIRED")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"expires_at": Ns(1)}, "2001"),
        ({"qty": Qty(NANO * 10**6)}, "2080"),
        ({"px": Px(5000 * NANO)}, "7201"),
        ({"reduce_only": True}, "2400"),
    ],
)
async def test_F09_F12_F13_synchronous_refusals(
    rig: Rig, changes: dict[str, Any], code: str
) -> None:
    outcome = await rig.send(replace(rig.taker(Side.BUY, 300_100), **changes))
    assert isinstance(outcome, Refused)
    assert outcome.code == code


async def test_order_below_the_minimum_notional_is_refused(rig: Rig) -> None:
    rig.market([level("100", "100")], [level("101", "100")])
    outcome = await rig.send(rig.taker(Side.BUY, 101))
    assert isinstance(outcome, Refused)
    assert outcome.code == "2066"


async def test_F10_reused_client_id_is_in_doubt(rig: Rig) -> None:
    order = rig.order(Side.BUY, 299_950)
    await rig.send(order)
    await rig.resting(order)
    other = rig.order(Side.BUY, 299_940, client_id=order.client_id)
    assert isinstance(await rig.send(other), InDoubt)


async def test_S4_identical_bytes_never_make_a_second_order(rig: Rig) -> None:
    payload = rig.venue.prepare(rig.order(Side.BUY, 299_950))
    for _ in range(3):
        await rig.venue.submit(payload)
    await rig.resting(payload.request)
    assert len(rig.engine.orders) == 1


# --- faults ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "lives"), [("F01", True), ("F02", False), ("F06", True)])
async def test_lost_answer_is_in_doubt_and_then_looked_up(rig: Rig, name: str, lives: bool) -> None:
    rig.fault(name)
    order = rig.order(Side.BUY, 299_950)
    assert isinstance(await rig.send(order), InDoubt)
    await asyncio.sleep(0.1)
    found = await rig.venue.lookup(rig.ref(order), Ns(0))
    assert isinstance(found, Found if lives else NotFound)


async def test_F05_html_is_in_doubt_and_F04_is_refused(rig: Rig) -> None:
    rig.fault("F05")
    assert isinstance(await rig.send(rig.order(Side.BUY, 299_950)), InDoubt)
    rig.fault("F04")
    outcome = await rig.send(rig.order(Side.BUY, 299_950))
    assert isinstance(outcome, Refused)
    assert outcome.code == "1006"


async def test_F07_expired_session_is_renewed_and_the_order_goes_through(rig: Rig) -> None:
    rig.fault("F07")
    order = rig.order(Side.BUY, 299_950)
    assert isinstance(await rig.send(order), Accepted)
    assert (await rig.resting(order)).status is Status.OPEN
    assert len(set(rig.cookies)) == 2


async def test_F54_unreachable_venue(rig: Rig) -> None:
    rig.fault("F54")
    order = rig.order(Side.BUY, 299_950)
    assert not isinstance(await rig.send(order), Accepted)
    assert isinstance(await rig.venue.cancel(rig.ref(order)), InDoubt)
    assert isinstance(await rig.venue.lookup(rig.ref(order), Ns(0)), InDoubt)
    with pytest.raises(VenueUnreachable):
        await rig.venue.position()
    rig.board.clear()
    assert (await rig.venue.position()).qty == 0


async def test_F59_throttled_cancel_is_in_doubt(rig: Rig) -> None:
    order = rig.order(Side.BUY, 299_950)
    await rig.send(order)
    await rig.resting(order)
    rig.fault("F59")
    assert isinstance(await rig.venue.cancel(rig.ref(order)), InDoubt)
    assert await rig.venue.cancel(rig.ref(order)) == CancelAccepted(None)


async def test_F74_positions_that_cannot_be_read_are_an_error(rig: Rig) -> None:
    rig.fault("F74", mode="error")
    with pytest.raises(VenueError):
        await rig.venue.position()
    assert (await rig.venue.position()).qty == 0


async def test_wrong_keys(rig: Rig) -> None:
    address = f"127.0.0.1:{rig.server.port}"
    stranger = made(config(address, api_key="nobody-knows-this-key"))
    with pytest.raises(VenueForbidden):
        await stranger.open()
    await stranger.close()
    signer = made(config(address, private_key="0x" + "33" * 32))
    await signer.open()
    await signer.load("ETH")
    outcome = await signer.submit(signer.prepare(rig.order(Side.BUY, 299_950)))
    assert isinstance(outcome, Refused)
    assert outcome.code in ("2000", "2002")
    await signer.close()


async def test_error_bodies_with_request_ids_are_understood() -> None:
    async with running(GrvtOptions(request_ids=True)) as rig:
        order = rig.order(Side.BUY, 299_950)
        assert await rig.venue.lookup(rig.ref(order), Ns(0)) == NotFound("order")
        outcome = await rig.send(rig.taker(Side.BUY, 300_100, reduce_only=True))
        assert isinstance(outcome, Refused)


# --- streams ---------------------------------------------------------------------------------


async def test_streams_bring_both_surfaces_up_with_a_whole_book(rig: Rig) -> None:
    async with rig.streaming():
        first = rig.of(Book)[0]
        assert first.bids == (level("300000", "100"), level("299900", "500"))
        assert first.asks == (level("300100", "100"), level("300200", "500"))
        rig.market([level("300050", "30")], [level("300100", "70")])
        await until(lambda: rig.of(Book)[-1].bids == (level("300050", "30"),))
        assert rig.of(Book)[-1].asks == (level("300100", "70"),)
        rig.trade(Px(3001 * NANO), Qty(NANO // 10), Side.BUY)
        await until(lambda: bool(rig.of(Trade)))
        assert rig.of(Trade)[0].taker is Side.BUY
    assert rig.losses(Surface.PUBLIC) == []


async def test_streamed_book_equals_the_books_of_rest(rig: Rig) -> None:
    rng = Random(7)  # noqa: S311 - a market
    async with rig.streaming():
        for _ in range(30):
            bids = [level(str(300_000 - n), str(rng.randrange(1, 99))) for n in range(20)]
            asks = [level(str(300_100 + n), str(rng.randrange(1, 99))) for n in range(20)]
            rig.market(rng.sample(bids, 8), rng.sample(asks, 8))
            await asyncio.sleep(0.01)
        rest = await rig.venue.book(500)
        await until(
            lambda: (rig.of(Book)[-1].bids, rig.of(Book)[-1].asks) == (rest.bids, rest.asks)
        )
    assert rig.losses(Surface.PUBLIC) == []


async def test_hedge_is_told_as_order_fill_and_position(rig: Rig) -> None:
    async with rig.streaming():
        order = rig.taker(Side.SELL, 300_000)
        await rig.send(order)
        await until(lambda: bool(rig.of(Fill) and rig.of(Position)))
        await until(lambda: rig.of(OrderView)[-1].status is Status.FILLED)
    last = rig.of(OrderView)[-1]
    assert (last.client_id, last.cum, last.side) == (order.client_id, NANO // 2, Side.SELL)
    (fill,) = rig.of(Fill)
    assert (fill.client_id, fill.qty, fill.px) == (order.client_id, NANO // 2, 3000 * NANO)
    assert rig.of(Position)[-1].qty == -NANO // 2
    assert {v.client_id for v in rig.of(OrderView)} == {order.client_id}


async def test_resting_hedge_is_filled_by_the_market(rig: Rig) -> None:
    async with rig.streaming():
        order = rig.order(Side.SELL, 300_050)
        await rig.send(order)
        await until(lambda: any(v.status is Status.OPEN for v in rig.of(OrderView)))
        rig.trade(Px(3_000_500_000_000), Qty(NANO), Side.BUY)
        await until(lambda: bool(rig.of(Fill)))
    fill = rig.of(Fill)[0]
    assert (fill.is_maker, fill.px) == (True, 3_000_500_000_000)
    assert fill.fee < 0


async def test_F29_unknown_status_word_arrives_as_unknown(rig: Rig) -> None:
    async with rig.streaming():
        rig.fault("F29")
        await rig.send(rig.order(Side.BUY, 299_950))
        await until(lambda: bool(rig.of(OrderView)))
    assert rig.of(OrderView)[0].status is Status.UNKNOWN
    assert rig.of(OrderView)[0].raw_status


async def test_F50_gap_of_the_book_reconnects_to_a_whole_book(rig: Rig) -> None:
    async with rig.streaming():
        rig.fault("F50")
        rig.market([level("300050", "30")], [level("300100", "70")])
        await asyncio.sleep(0.12)
        rig.market([level("300060", "20")], [level("300100", "60")])
        await until(lambda: bool(rig.losses(Surface.PUBLIC)))
        await until(lambda: rig.up() == set(Surface))
        await until(lambda: rig.of(Book)[-1].bids == (level("300060", "20"),))
    assert "sequence" in rig.losses(Surface.PUBLIC)[0]
    assert rig.losses(Surface.PRIVATE) == []


async def test_F51_missing_snapshot_reconnects(rig: Rig) -> None:
    rig.fault("F51")
    async with rig.streaming():
        assert rig.of(Book)[-1].sane
    assert rig.losses(Surface.PUBLIC)


async def test_F52_cut_sockets_come_back(rig: Rig) -> None:
    async with rig.streaming():
        rig.fault("F52")
        await until(lambda: rig.up() == set())
        rig.board.clear()
        await until(lambda: rig.up() == set(Surface))
    assert rig.losses(Surface.PRIVATE)


async def test_F07_session_that_died_meanwhile_is_renewed_for_the_socket(rig: Rig) -> None:
    rig.venue._session._cookie = "dead"
    async with rig.streaming():
        assert len(rig.cookies) == 2
    assert "1000" in rig.losses(Surface.PRIVATE)[0]


# --- the whole simulation --------------------------------------------------------------------


async def test_hosted_simulation_is_traded_end_to_end() -> None:
    host = SimHost(SimConfig(book="synthetic:ETH", seed=1))
    ready = await host.start()
    venue = made(config(ready.grvt_at))
    events: list[VenueEvent] = []
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(host.run_forever())]
        await venue.open()
        instrument = await venue.load("ETH")
        tasks.append(group.create_task(venue.stream(events.append)))
        await until(lambda: any(isinstance(e, Book) and e.sane for e in events))
        ask = (await venue.book(10)).asks[0][0]
        order = OrderRequest(
            client_id=ClientId(1),
            venue=Venue.GRVT,
            symbol=instrument.symbol,
            side=Side.BUY,
            qty=Qty(10 * instrument.step),
            px=instrument.price_toward(Side.BUY, ask * 1005 // 1000),
            tif=Tif.IOC,
            post_only=False,
            reduce_only=False,
            expires_at=Ns(time.time_ns() + 5 * NANO),
            purpose=Purpose.HEDGE,
        )
        assert isinstance(await venue.submit(venue.prepare(order)), Accepted)
        await until(lambda: any(isinstance(e, Fill) for e in events))
        await until(lambda: any(isinstance(e, Position) and e.qty for e in events))
        assert (await venue.position()).qty == int(order.qty)
        for task in tasks:
            task.cancel()
    await venue.close()
    await host.stop()

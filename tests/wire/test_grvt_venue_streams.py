"""The adapter against the simulated GRVT: its sockets, and a whole simulation."""

import asyncio
import time
from collections.abc import AsyncIterator
from random import Random  # noqa: TID251 - a seeded generator

import pytest

from exchanges.port import (
    Accepted,
)
from exchanges.simulator.host import SimConfig, SimHost
from strategy.domain import (
    NANO,
    Book,
    ClientId,
    Fill,
    Ns,
    OrderRequest,
    OrderView,
    Position,
    Purpose,
    Px,
    Qty,
    Side,
    Status,
    Surface,
    Tif,
    Trade,
    Venue,
    VenueEvent,
)
from tests.wire.test_grvt_venue_rig import Rig, config, level, made, running, until


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running() as started:
        yield started


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

"""The protocol of unknown orders against the simulated GRVT: real signatures, real answers."""

import asyncio

from exchanges.grvt.venue import GrvtVenue
from exchanges.port import Accepted, CancelAccepted, CancelUnknown, InDoubt
from exchanges.simulator.grvt_options import GrvtOptions
from strategy.domain import NANO, Ns, Side, Status
from tests.wire.test_grvt_venue_rig import Rig, running


def taken(rig: Rig) -> int:
    return len(rig.engine.orders)


async def test_F01_a_copy_of_an_executed_order_is_acknowledged_and_trades_nothing() -> None:
    async with running() as rig:
        rig.fault("F01")
        payload = rig.venue.prepare(rig.taker(Side.BUY, 300_100))
        assert isinstance(await rig.venue.submit(payload), InDoubt)
        assert (await rig.ended(payload.request)).status is Status.FILLED
        assert isinstance(await rig.venue.resend(payload), Accepted)
        await asyncio.sleep(0.1)
        assert taken(rig) == 1
        assert (await rig.venue.position()).qty == NANO // 2


async def test_F02_F03_a_copy_is_taken_once_whichever_arrives_first() -> None:
    async with running() as rig:
        rig.fault("F03", delay_ms=300)
        payload = rig.venue.prepare(rig.taker(Side.BUY, 300_100))
        assert isinstance(await rig.venue.submit(payload), InDoubt)
        assert isinstance(await rig.venue.resend(payload), Accepted)
        await asyncio.sleep(0.5)
        assert taken(rig) == 1
        assert (await rig.ended(payload.request)).cum == NANO // 2


async def test_F10_an_overlap_with_the_living_order_is_understood() -> None:
    async with running() as rig:
        order = rig.order(Side.BUY, 290_000)
        payload = rig.venue.prepare(order)
        assert isinstance(await rig.venue.submit(payload), Accepted)
        rig.fault("F10")
        assert await rig.venue.resend(payload) == Accepted(None)


async def test_a_copy_with_no_life_left_is_refused_and_proves_nothing() -> None:
    async with running() as rig:
        order = rig.taker(Side.BUY, 300_100, expires_at=Ns(rig.driver.now() - NANO))
        answer = await rig.venue.resend(rig.venue.prepare(order))
        assert isinstance(answer, InDoubt)
        assert "2001" in answer.why


async def test_a_late_order_meets_its_tombstone() -> None:
    async with running() as rig:
        order = rig.order(Side.BUY, 290_000)
        assert await rig.venue.bury(rig.ref(order)) == CancelAccepted(None)
        assert isinstance(await rig.send(order), Accepted)
        ended = await rig.ended(order)
        assert (ended.status, ended.cum) == (Status.CANCELLED, 0)


async def test_a_venue_without_tombstones_gets_a_plain_cancel() -> None:
    async with running(GrvtOptions(cancel_ttl=False)) as rig:
        order = rig.order(Side.BUY, 290_000)
        assert await rig.venue.bury(rig.ref(order)) == CancelUnknown("1004")
        assert isinstance(await rig.send(order), Accepted)
        await rig.resting(order)
        assert await rig.venue.bury(rig.ref(order)) == CancelAccepted(None)
        assert (await rig.ended(order)).status is Status.CANCELLED


async def test_the_dead_man_switch_fires_unless_it_is_refreshed() -> None:
    async with running() as rig:
        order = rig.order(Side.BUY, 290_000)
        assert isinstance(await rig.send(order), Accepted)
        await rig.resting(order)
        for _ in range(3):
            assert await rig.venue.dead_man(Ns(2 * NANO)) == CancelAccepted(None)
            await asyncio.sleep(1.05)
        await rig.resting(order)
        ended = await rig.ended(order)
        assert ended.reason == "CLIENT_CANCEL_ON_DISCONNECT_TRIGGERED"


async def test_F68_a_probe_says_whether_the_market_trades() -> None:
    async with running() as rig:
        assert isinstance(rig.venue, GrvtVenue)
        assert await rig.venue.tradable()
        rig.engine.set_market(rig.driver.now(), "ETH_USDT_Perp", halt=True)
        assert not await rig.venue.tradable()

"""Margin, leverage, mark and readiness over the wire: both adapters against both venue faces."""

import asyncio

import pytest

from exchanges.errors import VenueForbidden
from exchanges.port import Accepted
from strategy.domain import NANO, Ns, Px, Side, Venue, nano
from tests.wire import test_backpack_venue as backpack
from tests.wire import test_grvt_venue_rig as grvt

MS = 1_000_000


async def test_a_flat_account_of_either_venue() -> None:
    async with backpack.running() as first:
        account = await first.venue.account()
        assert (account.venue, account.margin_mode) == (Venue.BACKPACK, "CROSS")
        assert (account.leverage, account.maintenance) == (nano(10), 0)
        assert account.equity == account.available == nano(1_000_000)
        assert account.liquidation is None
        assert not account.liquidating
    async with grvt.running() as second:
        account = await second.venue.account()
        assert (account.venue, account.margin_mode) == (Venue.GRVT, "CROSS")
        assert (account.leverage, account.maintenance) == (nano(10), 0)
        assert account.equity == account.available == nano(1_000_000)


async def test_a_position_takes_margin_and_the_mark_is_told() -> None:
    async with grvt.running() as rig:
        rig.market([grvt.level("299900", "500")], [grvt.level("300000", "500")])
        await rig.send(rig.taker(Side.BUY, 300_000, nano(1)))
        account = await rig.venue.account()
        while not account.maintenance:  # it trades after the speed bump
            await asyncio.sleep(0.02)
            account = await rig.venue.account()
        assert 0 < account.maintenance < account.equity
        assert account.available < account.equity - nano(250)  # a tenth of the notional
        assert 0 < account.margin_ratio() < nano(1)
        assert (await rig.venue.mark()).px == Px(nano("2999.5"))
    async with backpack.running() as other:
        other.market([backpack.level("299900", "500")], [backpack.level("300000", "500")])
        done = await other.send(other.order(Side.BUY, 300_100, nano(1), post_only=False))
        assert isinstance(done, Accepted)
        account = await other.venue.account()
        assert 0 < account.maintenance < account.equity
        assert (await other.venue.mark()).px == Px(nano("2999.5"))


async def test_F78_a_leverage_that_was_changed_on_the_venue_is_read() -> None:
    async with grvt.running() as rig:
        rig.engine.set_leverage(next(iter(rig.engine.accounts)), 3)
        assert (await rig.venue.account()).leverage == nano(3)
    async with backpack.running() as other:
        other.engine.set_leverage(next(iter(other.engine.accounts)), 4)
        assert (await other.venue.account()).leverage == nano(4)


async def test_readiness_follows_the_session_and_the_order_lane() -> None:
    async with grvt.running() as rig:
        ready = rig.venue.readiness()
        assert (ready.session, ready.orders) == (True, 20)
        rig.market([grvt.level("299900", "500")], [grvt.level("300000", "500")])
        for _ in range(3):
            await rig.send(rig.order(Side.BUY, 299_000))
        left = rig.venue.readiness().orders
        assert left is not None
        assert left < 20
        rig.venue._session.expire(rig.venue._session.headers())
        assert not rig.venue.readiness().session
        await rig.venue.position()  # any read logs in again
        assert rig.venue.readiness().session


async def test_F79_a_revoked_key_is_forbidden_for_every_account_read() -> None:
    async with grvt.running() as rig:
        rig.fault("F79", mode="revoked")
        with pytest.raises(VenueForbidden):
            await rig.venue.account()
    async with backpack.running() as other:
        other.fault("F79", mode="revoked")
        with pytest.raises(VenueForbidden):
            await other.venue.account()


@pytest.mark.parametrize("step", [-20, 20])
async def test_F60_hedges_are_taken_although_our_wall_clock_has_stepped(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty seconds behind, an expiry of our own clock would arrive expired."""
    async with grvt.running() as rig:
        rig.market([grvt.level("299900", "500")], [grvt.level("300000", "500")])
        told = await rig.venue.server_time()
        real = grvt.RealClock.wall
        monkeypatch.setattr(grvt.RealClock, "wall", lambda clock: Ns(real(clock) + step * NANO))
        made = rig.taker(Side.BUY, 300_000, expires_at=Ns(grvt.RealClock().wall() + 5 * NANO))
        outcome = await rig.send(made)
        assert isinstance(outcome, Accepted), outcome
        assert abs(told - real(grvt.RealClock())) < NANO

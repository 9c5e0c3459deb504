"""The adapter against the simulated GRVT: real REST, signatures and error codes."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from exchanges.errors import UnknownTicker, VenueError, VenueForbidden, VenueUnreachable
from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelUnknown,
    Found,
    InDoubt,
    NotFound,
    Refused,
)
from exchanges.simulator.defaults import GRVT_RULES
from exchanges.simulator.grvt_options import GrvtOptions
from strategy.domain import (
    NANO,
    Ns,
    Px,
    Qty,
    Side,
    Status,
    Tif,
    bps,
)
from tests.wire.test_grvt_venue_rig import SYMBOL, Rig, config, level, made, running


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

"""The simulated GRVT's remaining corners: builder approval, open questions, streams of bars."""

import asyncio
import random  # noqa: TID251 - the seeded generator of the engine
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from eth_account import Account

from exchanges.simulator.credentials import grvt_credentials
from exchanges.simulator.defaults import GRVT_RULES, default_market
from exchanges.simulator.engine import MatchingEngine
from exchanges.simulator.faults import FaultBoard
from exchanges.simulator.grvt_options import GrvtOptions
from exchanges.simulator.grvt_server import GrvtServer
from exchanges.simulator.model import NewOrder
from exchanges.simulator.universe import Driver
from strategy.domain import NANO, Ns, Px, Qty, Side, Tif, Venue, nano
from tests.sim.grvt_rig import CHAIN, STRANGER, SYMBOL, TAIL, Json, Rig, rig, sign

BUILDER = "0x21d2a053495994b1132a38cd1171acec40c6741e"
APPROVAL = {
    "AuthorizeBuilder": [
        {"name": "mainAccountID", "type": "address"},
        {"name": "builderAccountID", "type": "address"},
        {"name": "maxFutureFeeRate", "type": "uint32"},
        {"name": "maxSpotFeeRate", "type": "uint32"},
        *TAIL,
    ]
}


async def approval(it: Rig, key: str | None = None) -> Json:
    """Return a signed approval of 0.01 % as ccxt's adapter sends it when it signs in."""
    main = (await it.result("aggregated_account_summary"))["main_account_id"]
    account = Account.from_key(key or it.keys.private_key)
    expiration = it.clock.now() + 30 * NANO
    message = {
        "mainAccountID": main,
        "builderAccountID": BUILDER,
        "maxFutureFeeRate": int(Decimal("0.01") * 10_000),
        "maxSpotFeeRate": int(Decimal("0.01") * 10_000),
        "nonce": 5,
        "expiration": expiration,
    }
    signature = sign(APPROVAL, message, account, CHAIN)
    return {
        "main_account_id": main,
        "builder_account_id": BUILDER,
        "max_futures_fee_rate": "0.01",
        "max_spot_fee_rate": "0.01",
        "signature": {**signature, "expiration": str(expiration), "nonce": 5, "chain_id": "326"},
    }


# --- builder approval ------------------------------------------------------------------------


async def test_an_approved_builder_s_order_is_taken() -> None:
    async with rig() as it:
        status, answer = await it.ask("authorize_builder", await approval(it))
        _, listed = await it.ask("get_authorized_builders")
        client_id = await it.placed(builder=BUILDER, builder_fee="0.01")

        assert (status, answer["result"]["ack"]) == (200, True)
        assert listed["results"][0]["builder_account_id"] == BUILDER
        found = await it.ended(client_id, "OPEN")
        assert (found["builder"], found["builder_fee"]) == (BUILDER, "0.01")


async def test_an_approval_must_be_the_account_s_own() -> None:
    async with rig() as it:
        foreign = await approval(it, STRANGER)
        other = {**await approval(it), "main_account_id": "0x" + "12" * 20}

        assert await it.fail("authorize_builder", **foreign) == (403, 2000)
        assert await it.fail("authorize_builder", **other) == (403, 1001)
        assert (await it.ask("get_authorized_builders"))[1] == {"results": []}


# --- open questions --------------------------------------------------------------------------


async def test_a_socket_can_die_with_its_cookie() -> None:
    options = GrvtOptions(cookie_life=Ns(NANO), socket_dies_with_cookie=True)
    async with rig(options) as it, it.socket() as wire:
        assert "result" in await wire.subscribe("v1.fill", it.account)
        it.clock.ahead += 2 * NANO
        await wire.socket.send_json({"jsonrpc": "2.0", "method": "list_streams", "params": {}})

        async with asyncio.timeout(3):
            message = await wire.socket.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE


async def test_F74_positions_can_be_an_error() -> None:
    async with rig() as it:
        it.fault("F74", mode="error")

        assert await it.fail("positions") == (500, 1002)
        assert await it.result("positions") == []


async def test_F52_cuts_a_request_on_an_open_socket() -> None:
    async with rig() as it, it.socket() as wire:
        it.fault("F52", count=1)
        await wire.socket.send_json({"jsonrpc": "2.0", "method": "list_streams", "params": {}})

        async with asyncio.timeout(3):
            message = await wire.socket.receive()
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        assert await it.result("positions") == []


# --- streams ---------------------------------------------------------------------------------


async def test_bars_are_replayed_and_then_told_as_they_change() -> None:
    async with rig() as it, it.socket() as wire:
        it.trade("3000.01", "0.5", Side.BUY)
        reply = await wire.subscribe("v1.candle", f"{SYMBOL}@CI_1_M-TRADE")
        first = await wire.feed("v1.candle")
        it.trade("3000.02", "0.25", Side.BUY)
        later = await wire.feed("v1.candle")

        assert reply["result"]["num_snapshots"] == [1]
        assert (first["sequence_number"], first["feed"]["trades"]) == ("0", 1)
        assert later["sequence_number"] == "1"
        assert Decimal(later["feed"]["volume_b"]) >= Decimal("0.5")


async def test_the_old_envelope_unsubscribes_and_names_errors() -> None:
    async with rig() as it, it.socket("/ws") as wire:
        base = {"stream": "v1.mini.s", "feed": [f"{SYMBOL}@500"], "is_full": True}
        await wire.socket.send_json({**base, "request_id": 1, "method": "subscribe"})
        subscribed = await wire.next(lambda frame: frame.get("request_id") == 1)
        await wire.socket.send_json({**base, "request_id": 2, "method": "unsubscribe"})
        gone = await wire.next(lambda frame: frame.get("request_id") == 2)
        await wire.socket.send_json({**base, "request_id": 3, "method": "dance"})
        refused = await wire.next(lambda frame: frame.get("request_id") == 3)

        assert subscribed["subs"] == gone["unsubs"] == [f"{SYMBOL}@500"]
        assert (refused["code"], refused["status"]) == (1003, 400)


async def test_everything_can_be_unsubscribed_at_once() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.book.d", f"{SYMBOL}@50")
        reply = await wire.call("unsubscribe_all", {})
        left = await wire.call("list_streams", {})
        wire.kept.clear()

        assert reply["result"]["stream_reference"] == [
            {"stream": "v1.book.d", "selectors": [f"{SYMBOL}@50"]}
        ]
        assert left["result"] == {"stream_reference": []}
        # A snapshot or delta may have been on its way; after that nothing comes.
        await wire.gather(0.1)
        it.trade("3000.01", "0.5", Side.BUY)
        assert await wire.gather(0.2) == []


async def test_a_changed_leverage_is_told_as_a_position() -> None:
    async with rig() as it, it.socket() as wire:
        await it.ended(
            await it.placed(px="3001.0", tif="IMMEDIATE_OR_CANCEL"), "FILLED", "CANCELLED"
        )
        await wire.subscribe("v1.position", f"{it.account}-{SYMBOL}")
        status, answer = await it.ask("set_initial_leverage", instrument=SYMBOL, leverage="20")
        told = await wire.feed("v1.position")

        assert (status, answer) == (200, {"success": True})
        assert (told["feed"]["leverage"], told["feed"]["size"]) == ("20.0", "0.5")


# --- money -----------------------------------------------------------------------------------


async def test_funding_that_was_paid_is_positive() -> None:
    async with rig(funding_interval=Ns(10 * NANO)) as it:
        await it.ended(await it.placed(px="3001.0", tif="IMMEDIATE_OR_CANCEL"), "FILLED")
        it.clock.ahead += 10 * NANO
        rows: list[Any] = await it.result("funding_payment_history")
        held = (await it.result("positions"))[0]

        assert [(row["instrument"], row["currency"]) for row in rows] == [(SYMBOL, "USDT")]
        assert Decimal(rows[0]["amount"]) > 0
        assert held["cumulative_realized_funding_payment"] == rows[0]["amount"]


# --- life ------------------------------------------------------------------------------------


async def test_a_taken_port_is_an_error_and_what_was_traded_before_is_known() -> None:
    clock, keys = Driver.wall(), grvt_credentials(3)
    engine = MatchingEngine(
        GRVT_RULES,
        [default_market(Venue.GRVT, "ETH", None)],
        random.Random(3),  # noqa: S311 - makes ids, no secrets
        clock.now(),
    )
    engine.add_account("main")
    new = NewOrder(
        account="main",
        symbol=SYMBOL,
        side=Side.BUY,
        qty=Qty(nano("0.5")),
        px=Px(nano("2990")),
        tif=Tif.GTC,
        client_id="77",
    )
    placed = engine.place(clock.now(), new)
    first, second = (GrvtServer(engine, clock, FaultBoard(clock.now), keys) for _ in range(2))
    await first.start("127.0.0.1", 0)
    try:
        with pytest.raises(OSError, match="address already in use"):
            await second.start("127.0.0.1", first.port)
        assert placed.order_id in first._desk.members.first.orders
    finally:
        await first.stop()
        await second.stop()
    assert second.port == 0

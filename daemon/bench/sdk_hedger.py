"""A hedger as plain grvt-pysdk makes it: ``python -m daemon.bench.sdk_hedger``, until SIGTERM.

It crosses on Backpack every so often, and answers each fill with an order that the SDK's own raw
client encodes, signs and sends. Nothing is journalled, bounded or checked: it is the floor that the
SDK sets, for ``hedged bench latency``. Keys and addresses come from the daemon's environment.
"""

import asyncio
import contextlib
import json
import logging
import os
import random  # noqa: TID251 - back-off jitter of the adapter that makes the fills
import time
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from eth_account import Account
from pysdk.grvt_raw_async import GrvtRawAsync
from pysdk.grvt_raw_base import GrvtApiConfig
from pysdk.grvt_raw_env import GrvtEnv
from pysdk.grvt_raw_signing import sign_order
from pysdk.grvt_raw_types import (
    ApiCreateOrderRequest,
    Order,
    OrderLeg,
    OrderMetadata,
    Signature,
    TimeInForce,
)

from daemon.assembly import Seams, live_ports
from daemon.clock import SystemClock
from daemon.config import load_config
from exchanges.backpack.sdk import BackpackAccount, BackpackHttp
from exchanges.backpack.signer import BackpackConfig, VenueTime
from exchanges.grvt.signer import sdk_instrument
from exchanges.port import VenuePort
from exchanges.transport.rest import RestClient
from strategy.domain import (
    ClientId,
    Instrument,
    Ns,
    OrderRequest,
    Purpose,
    Qty,
    Side,
    Tif,
    Venue,
    nano,
    plain,
)

BASE = "ETH"
SIZE = Qty(nano("0.1"))
PAUSE = 0.15
ROOM_BPS = 20
LIFE = 60_000_000_000
FIRST_ID = 1 << 31


class SdkHedger:
    """Answers Backpack's fills with the SDK."""

    def __init__(self, env: dict[str, str]) -> None:
        self._backpack = BackpackConfig(
            env["BACKPACK_PUBLIC_KEY"], env["BACKPACK_SECRET_KEY"], env["BACKPACK_API_URL"],
            env["BACKPACK_WS_URL"],
        )  # fmt: skip
        self._env = env
        self._clock = SystemClock()
        self._numbers = iter(range(FIRST_ID, 1 << 32))
        self._price = ""

    async def run(self) -> None:
        """Trade until cancelled."""
        env, rng = self._env, random.Random(1)  # noqa: S311 - jitter, not a secret
        flags = {"ticker": BASE, "size": plain(SIZE), "venues": "live"}
        live = load_config(flags, env, cwd=Path.cwd(), terminal=False)
        ports = live_ports(live, Seams(self._clock, rng, lambda: 0, lambda _: None))
        maker, hedge = ports[Venue.BACKPACK], ports[Venue.GRVT]
        await maker.open()
        await hedge.open()
        rules = await maker.load(BASE)
        known = await hedge.load(BASE)  # with our adapter: the SDK's own types lack fields (G7)
        await hedge.close()
        config = GrvtApiConfig(
            env=GrvtEnv.TESTNET,
            trading_account_id=env["GRVT_TRADING_ACCOUNT_ID"],
            private_key=env["GRVT_PRIVATE_KEY"],
            api_key=env["GRVT_API_KEY"],
            logger=logging.getLogger("quiet"),
        )
        api = GrvtRawAsync(config)
        api.env.edge.rpc_endpoint = env["GRVT_EDGE_URL"]
        api.md_rpc, api.td_rpc = env["GRVT_MARKET_DATA_URL"], env["GRVT_TRADES_URL"]
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._answer(session, api, config, known, rules.symbol))
            await self._trade(maker, rules)

    async def _trade(self, maker: VenuePort, rules: Instrument) -> None:
        side = Side.BUY
        while True:
            await asyncio.sleep(PAUSE)
            mid = (await maker.book(5)).mid
            if mid is None:
                continue
            room = mid * ROOM_BPS // 10_000 * side.value
            # the hedge is on the other side, and as far behind its touch
            self._price = plain(rules.price_toward(side.opposite, mid - room))
            request = OrderRequest(
                ClientId(next(self._numbers)), rules.venue, rules.symbol, side, SIZE,
                rules.price_toward(side, mid + room), Tif.IOC, post_only=False, reduce_only=False,
                expires_at=Ns(self._clock.wall() + 5_000_000_000), purpose=Purpose.OPEN,
            )  # fmt: skip
            await maker.submit(maker.prepare(request))
            side = side.opposite

    async def _answer(
        self,
        session: aiohttp.ClientSession,
        api: GrvtRawAsync,
        config: GrvtApiConfig,
        rules: Instrument,
        symbol: str,
    ) -> None:
        """What is measured: a frame comes in, and the SDK sends the order."""
        keys = BackpackAccount(self._backpack, BackpackHttp(RestClient()), VenueTime(self._clock))
        account = Account.from_key(self._env["GRVT_PRIVATE_KEY"])
        known = {rules.symbol: sdk_instrument(rules)}
        async with session.ws_connect(self._backpack.ws) as socket:
            await socket.send_str(keys.subscription([f"account.orderUpdate.{symbol}"]))
            async for message in socket:
                data: dict[str, Any] = json.loads(message.data).get("data", {})
                if data.get("e") != "orderFill":
                    continue
                order = self._order(rules.symbol, data)
                signed = sign_order(order, config, account, known)
                await api.create_order_v1(ApiCreateOrderRequest(order=signed))

    def _order(self, symbol: str, fill: dict[str, Any]) -> Order:
        buys = fill["S"] == "Ask"
        number = next(self._numbers)
        leg = OrderLeg(
            instrument=symbol, size=fill["l"], limit_price=self._price, is_buying_asset=buys
        )
        until = str(time.time_ns() + LIFE)
        return Order(
            sub_account_id=self._env["GRVT_TRADING_ACCOUNT_ID"],
            time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL,
            legs=[leg],
            signature=Signature(signer="", r="", s="", v=0, expiration=until, nonce=number),
            metadata=OrderMetadata(client_order_id=str((1 << 63) + number)),
            is_market=False,
            post_only=False,
            reduce_only=False,
        )


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(SdkHedger(dict(os.environ)).run())

"""A running simulated Backpack for the tests beside this one; it starts and it stops."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random  # noqa: TID251 - a seeded generator
from typing import Any

import aiohttp
import pytest
from bpx.async_.account import Account
from bpx.async_.public import Public

from exchanges.simulator.backpack_options import BackpackOptions
from exchanges.simulator.backpack_server import BackpackServer
from exchanges.simulator.credentials import BackpackCredentials, backpack_credentials
from exchanges.simulator.defaults import BACKPACK_RULES, default_market
from exchanges.simulator.engine import MatchingEngine
from exchanges.simulator.faults import FaultBoard
from exchanges.simulator.model import MarketBook, MarketTrade, Rules
from strategy.domain import Level, Ns, Px, Qty, Side, Venue, nano

SYMBOL = "ETH_USDC_PERP"
MS = 1_000_000
QUICK = replace(BACKPACK_RULES, latency=Ns(MS), taker_delay=Ns(4 * MS))
"""The venue's rules with short waits, so that a test of forty orders takes a second."""

Json = dict[str, Any]


@dataclass
class VenueClock:
    """The machine's clock plus what a test adds."""

    ahead: int = 0

    def now(self) -> Ns:
        return Ns(time.time_ns() + self.ahead)


def level(px: str, qty: str) -> Level:
    return Px(nano(px)), Qty(nano(qty))


BIDS = [level("2999.99", "1.5"), level("2999.98", "4"), level("2999", "10")]
ASKS = [level("3000.01", "2"), level("3000.02", "3"), level("3001", "10")]


@dataclass
class Rig:
    """One venue and the SDK connected to it."""

    engine: MatchingEngine
    clock: VenueClock
    board: FaultBoard
    keys: BackpackCredentials
    server: BackpackServer
    http: aiohttp.ClientSession
    account: Any = field(init=False)
    """The SDK's Account: Any, because its results are annotated as unions of everything."""
    public: Any = field(init=False)

    def __post_init__(self) -> None:
        self.account = Account(self.keys.public_key, self.keys.secret_key)
        self.account.BPX_API_URL = f"{self.url}/"
        self.public = Public()
        self.public.BASE_URL = f"{self.url}/"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def market(self, bids: list[Level], asks: list[Level], *, snapshot: bool = False) -> None:
        event = MarketBook(tuple(bids), tuple(asks), snapshot=snapshot)
        self.engine.feed(self.clock.now(), SYMBOL, event)

    def trade(self, px: str, qty: str, taker: Side) -> None:
        event = MarketTrade(Px(nano(px)), Qty(nano(qty)), taker)
        self.engine.feed(self.clock.now(), SYMBOL, event)

    def fault(self, name: str, **more: Any) -> None:
        self.board.add({"venue": "backpack", "fault": name, **more})

    async def limit(self, side: str, px: str, qty: str = "0.5", **more: Any) -> Any:
        """Place a limit order with the SDK."""
        return await self.account.execute_order(
            SYMBOL, side, "Limit", quantity=qty, price=px, **more
        )

    async def call(
        self,
        method: str,
        path: str,
        params: Any = None,
        instruction: str | None = None,
        **headers: str,
    ) -> tuple[int, Any]:
        """Send one raw request, signed when an instruction is given; returns status and body."""
        sent = dict(headers)
        if instruction is not None:
            sent = self.account._headers(params or {}, instruction, None) | headers
        if method == "GET":
            kind: Json = {"params": params}
        else:
            kind = {"data": params if isinstance(params, bytes) else json.dumps(params)}
        async with self.http.request(method, self.url + path, headers=sent, **kind) as answer:
            text = await answer.text()
            if answer.content_type == "application/json":
                return answer.status, json.loads(text)
            return answer.status, text

    def venue_time(self, params: Json, instruction: str) -> dict[str, str]:
        """Return headers signed by the venue's clock rather than the machine's."""
        stamp = self.clock.now() // MS
        signature = self.account._sign(params, instruction, stamp, 5000)
        return {"X-Timestamp": str(stamp), "X-Signature": signature}

    async def order(self, **params: Any) -> tuple[int, Any]:
        """Send a raw order, on top of a plain resting bid."""
        body = {
            "symbol": SYMBOL,
            "side": "Bid",
            "orderType": "Limit",
            "quantity": "0.5",
            "price": "2990",
        } | params
        body = {name: value for name, value in body.items() if value is not None}
        return await self.call("POST", "/api/v1/order", body, "orderExecute")

    def subscribe_frame(self, *streams: str, window: str = "5000") -> Json:
        """Return a signed SUBSCRIBE."""
        stamp = self.clock.now() // MS
        signature = self.account._sign({}, "subscribe", stamp, int(window))
        return {
            "method": "SUBSCRIBE",
            "params": list(streams),
            "signature": [self.keys.public_key, signature, str(stamp), window],
        }


@asynccontextmanager
async def running(
    options: BackpackOptions | None = None, rules: Rules = QUICK, *, book: bool = True
) -> AsyncIterator[Rig]:
    clock, keys = VenueClock(), backpack_credentials(1)
    rng = Random(1)  # noqa: S311 - a simulation
    market = default_market(Venue.BACKPACK, "ETH", None)
    engine = MatchingEngine(rules, [market], rng, clock.now())
    engine.add_account("backpack")
    board = FaultBoard(clock.now)
    server = BackpackServer(engine, clock, board, keys, options)
    await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as http:
            rig = Rig(engine, clock, board, keys, server, http)
            if book:
                rig.market(BIDS, ASKS, snapshot=True)
            yield rig
    finally:
        await server.stop()


class Listener:
    """A socket that keeps what it heard, by stream."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.heard: list[Json] = []

    async def frame(self, seconds: float = 20) -> Json:
        message = await self.socket.receive(timeout=seconds)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        frame: Json = json.loads(message.data)
        self.heard.append(frame)
        return frame

    async def data(self, stream: str, seconds: float = 20) -> Json:
        """Return the next message of a stream."""
        async with asyncio.timeout(seconds):
            while True:
                frame = await self.frame(seconds)
                if frame.get("stream") == stream:
                    data: Json = frame["data"]
                    return data

    async def silent(self, seconds: float = 0.15) -> bool:
        """True when nothing but pings arrives for that long."""
        try:
            async with asyncio.timeout(seconds):
                await self.socket.receive()
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def listening(rig: Rig, *streams: str, path: str = "/") -> AsyncIterator[Listener]:
    """Connect and subscribe, with a signature; returns once the server has taken it."""
    async with rig.http.ws_connect(rig.url + path) as socket:
        listener = Listener(socket)
        if streams:
            await socket.send_json(rig.subscribe_frame(*streams))
            await subscribed(listener)
        yield listener


async def subscribed(listener: Listener) -> None:
    """Wait until the server has read everything sent so far: it answers a bad frame in turn."""
    await listener.socket.send_json({"method": "SUBSCRIBE", "params": ["nonsense"], "id": 99})
    while (await listener.frame()).get("id") != 99:
        pass


async def test_the_server_starts_on_a_free_port_and_stops_twice() -> None:
    async with running() as rig:
        assert rig.server.port > 0
        status, text = await rig.call("GET", "/api/v1/ping")
        await rig.server.stop()
    assert (status, text) == (200, "pong")


async def test_two_servers_cannot_share_a_port() -> None:
    async with running() as rig:
        other = BackpackServer(rig.engine, rig.clock, rig.board, rig.keys)
        with pytest.raises(OSError, match="in use"):
            await other.start("127.0.0.1", rig.server.port)
        await other.stop()

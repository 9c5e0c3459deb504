"""A running ``GrvtServer`` with raw clients: shared by the tests of the simulated GRVT's wire.

Orders are signed with ``eth_account``'s own EIP-712 encoder, so that the server's hand-written one
is checked against it.
"""

import asyncio
import random  # noqa: TID251 - the seeded generator of the engine
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import aiohttp
from eth_account import Account
from eth_account.messages import encode_typed_data

from exchanges.simulator.credentials import GrvtCredentials, grvt_credentials
from exchanges.simulator.defaults import GRVT_RULES, default_market
from exchanges.simulator.engine import MatchingEngine
from exchanges.simulator.faults import FaultBoard
from exchanges.simulator.grvt_options import GrvtOptions
from exchanges.simulator.grvt_server import GrvtServer
from exchanges.simulator.model import MarketBook, MarketTrade, Rules
from exchanges.simulator.universe import Driver
from strategy.domain import NANO, Level, Ns, Px, Qty, Side, Venue, nano

Json = dict[str, Any]
SYMBOL = "ETH_USDT_Perp"
CHAIN = 326
TIFS = {
    "GOOD_TILL_TIME": 1,
    "ALL_OR_NONE": 2,
    "IMMEDIATE_OR_CANCEL": 3,
    "FILL_OR_KILL": 4,
    "RETAIL_PRICE_IMPROVEMENT": 5,
}
STRANGER = "0x" + "33" * 32
WAIT = 20.0
SEED = 7
LEG = [
    {"name": "assetID", "type": "uint256"},
    {"name": "contractSize", "type": "uint64"},
    {"name": "limitPrice", "type": "uint64"},
    {"name": "isBuyingContract", "type": "bool"},
]
HEAD = [
    {"name": "subAccountID", "type": "uint64"},
    {"name": "isMarket", "type": "bool"},
    {"name": "timeInForce", "type": "uint8"},
    {"name": "postOnly", "type": "bool"},
    {"name": "reduceOnly", "type": "bool"},
    {"name": "legs", "type": "OrderLeg[]"},
]
BUILDER = [{"name": "builder", "type": "address"}, {"name": "builderFee", "type": "uint32"}]
TAIL = [{"name": "nonce", "type": "uint32"}, {"name": "expiration", "type": "int64"}]


def levels(first: str, step: str, count: int = 20, size: str = "10") -> tuple[Level, ...]:
    """Return levels from ``first``, each ``step`` further."""
    return tuple((Px(nano(first) + i * nano(step)), Qty(nano(size))) for i in range(count))


def touch_book() -> MarketBook:
    """Return a book of 20 levels of 10 around 3000, the spread 0.02."""
    return MarketBook(levels("2999.99", "-0.01"), levels("3000.01", "0.01"), snapshot=True)


def change(px: str, size: str, side: Side = Side.BUY) -> MarketBook:
    """Return a delta of one level."""
    level = ((Px(nano(px)), Qty(nano(size))),)
    bids, asks = (level, ()) if side is Side.BUY else ((), level)
    return MarketBook(bids, asks, snapshot=False)


class Clock:
    """The wall clock, which a test may set forward."""

    def __init__(self) -> None:
        self._wall = Driver.wall()
        self.ahead = 0

    def now(self) -> Ns:
        return Ns(self._wall.now() + self.ahead)


class Wire:
    """A JSON-RPC socket that keeps what nobody has asked for yet."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.kept: list[Json] = []
        self._id = 0

    async def receive(self) -> Json:
        """Return the next frame, newest from the wire."""
        async with asyncio.timeout(WAIT):
            found: Json = await self.socket.receive_json()
            return found

    async def next(self, wanted: Callable[[Json], bool]) -> Json:
        """Return the first frame that fits and keep the others."""
        for place, frame in enumerate(self.kept):
            if wanted(frame):
                return self.kept.pop(place)
        async with asyncio.timeout(WAIT):
            while True:
                frame = await self.socket.receive_json()
                if wanted(frame):
                    found: Json = frame
                    return found
                self.kept.append(frame)

    async def call(self, method: str, params: Any, **more: Any) -> Json:
        """Send one request and return its reply."""
        self._id += 1
        number = self._id
        await self.socket.send_json(
            {"jsonrpc": "2.0", "method": method, "params": params, "id": number, **more}
        )
        return await self.next(lambda frame: frame.get("id") == number)

    async def subscribe(self, stream: str, *selectors: str, **more: Any) -> Json:
        """Subscribe and return the reply."""
        return await self.call(
            "subscribe", {"stream": stream, "selectors": list(selectors), **more}
        )

    async def feed(self, stream: str) -> Json:
        """Return the next message of a stream."""
        return await self.next(lambda frame: frame.get("stream") == stream)

    async def gather(self, seconds: float) -> list[Json]:
        """Return everything kept and everything that arrives meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self.kept.append(await self.socket.receive_json())
        except TimeoutError:
            found, self.kept = self.kept, []
            return found


@dataclass
class Rig:
    """One server, its engine and an authenticated client."""

    engine: MatchingEngine
    clock: Clock
    faults: FaultBoard
    keys: GrvtCredentials
    server: GrvtServer
    http: aiohttp.ClientSession
    headers: dict[str, str]
    numbers: int = 2**63

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def account(self) -> str:
        return self.keys.sub_account_id

    async def post(
        self, path: str, body: Any, *, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Json]:
        """POST JSON with the session's login, or with other headers."""
        used = self.headers if headers is None else headers
        async with self.http.post(self.url + path, json=body, headers=used) as answer:
            return answer.status, await answer.json()

    async def ask(self, method: str, body: Json | None = None, **more: Any) -> tuple[int, Json]:
        """Call a trading or market method; the sub account is filled in."""
        request = {"sub_account_id": self.account, **(body or {}), **more}
        return await self.post(f"/full/v1/{method}", request)

    async def result(self, method: str, **more: Any) -> Any:
        """Return the ``result`` of a call that must succeed."""
        status, answer = await self.ask(method, **more)
        assert status == 200, answer
        return answer["result"]

    async def create(self, **changes: Any) -> tuple[int, Json]:
        """Send a signed order."""
        return await self.post("/full/v1/create_order", self.order(**changes))

    async def placed(self, **changes: Any) -> str:
        """Create an order that must be acknowledged; returns its client id."""
        status, answer = await self.create(**changes)
        assert status == 200, answer
        found: str = answer["result"]["metadata"]["client_order_id"]
        return found

    async def ended(self, client_id: str, *statuses: str) -> Json:
        """Poll ``/order`` until the order has one of the statuses."""
        async with asyncio.timeout(WAIT):
            while True:
                status, answer = await self.ask("order", client_order_id=client_id)
                if status == 200 and answer["result"]["state"]["status"] in statuses:
                    found: Json = answer["result"]
                    return found
                await asyncio.sleep(0.01)

    async def fail(self, method: str, **more: Any) -> tuple[int, int]:
        """Return HTTP status and code of a call that must fail."""
        status, answer = await self.ask(method, **more)
        return status, answer["code"]

    def order(
        self,
        *,
        side: str = "buy",
        size: str = "0.5",
        px: str = "2990.0",
        tif: str = "GOOD_TILL_TIME",
        post_only: bool = False,
        reduce_only: bool = False,
        market: bool = False,
        client_id: str | None = None,
        life: float = 60,
        nonce: int | None = None,
        chain: int = CHAIN,
        key: str | None = None,
        builder: str | None = None,
        builder_fee: str = "0.0",
        symbol: str = SYMBOL,
        sub_account: str | None = None,
        trigger: Json | None = None,
    ) -> Json:
        """Return a signed ``{"order": …}``."""
        self.numbers += 1
        account = Account.from_key(key or self.keys.private_key)
        expiration = self.clock.now() + int(Decimal(str(life)) * NANO)
        number = self.numbers % 2**32 if nonce is None else nonce
        sub = sub_account or self.account
        leg = {
            "assetID": int("0x030401", 16),
            "contractSize": int(Decimal(size) * 10**9),
            "limitPrice": 0 if market else int(Decimal(px) * 10**9),
            "isBuyingContract": side == "buy",
        }
        message: Json = {
            "subAccountID": int(sub),
            "isMarket": market,
            "timeInForce": TIFS[tif],
            "postOnly": post_only,
            "reduceOnly": reduce_only,
            "legs": [leg],
            "nonce": number,
            "expiration": expiration,
        }
        name, fields = "Order", [*HEAD, *TAIL]
        if builder is not None:
            name, fields = "OrderWithBuilderFee", [*HEAD, *BUILDER, *TAIL]
            message |= {"builder": builder, "builderFee": int(Decimal(builder_fee) * 10_000)}
        signature = sign({name: fields, "OrderLeg": LEG}, message, account, chain)
        order: Json = {
            "sub_account_id": sub,
            "is_market": market,
            "time_in_force": tif,
            "post_only": post_only,
            "reduce_only": reduce_only,
            "legs": [
                {
                    "instrument": symbol,
                    "size": size,
                    "limit_price": "0" if market else px,
                    "is_buying_asset": side == "buy",
                }
            ],
            "signature": {**signature, "expiration": str(expiration), "nonce": number},
            "metadata": {"client_order_id": client_id or str(self.numbers)},
        }
        if builder is not None:
            order |= {"builder": builder, "builder_fee": builder_fee}
        if trigger is not None:
            order["metadata"]["trigger"] = trigger
        return {"order": order}

    async def login(self) -> dict[str, str]:
        """Log in and return the headers that authenticate."""
        url = f"{self.url}/auth/api_key/login"
        async with self.http.post(url, json={"api_key": self.keys.api_key}) as answer:
            cookie = answer.cookies["gravity"].value
            account = answer.headers["X-Grvt-Account-Id"]
        return {"Cookie": f"gravity={cookie}", "X-Grvt-Account-Id": account}

    async def joined(self, index: int = 1) -> "Rig":
        """Return a client of a further sub-account, which the server serves from now on."""
        keys = grvt_credentials(SEED, index)
        self.server.add_account(keys)
        other = replace(self, keys=keys, headers={}, numbers=self.numbers + 10**6 * index)
        other.headers = await other.login()
        return other

    async def moved(self, side: str = "buy", size: str = "0.5") -> None:
        """Trade at market until the account has it."""
        await self.ended(await self.placed(market=True, side=side, size=size), "FILLED")

    @asynccontextmanager
    async def socket(
        self, path: str = "/ws/full", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Wire]:
        """Connect a socket; authenticated unless other headers are given."""
        used = self.headers if headers is None else headers
        async with self.http.ws_connect(self.url + path, headers=used) as socket:
            yield Wire(socket)

    def market(self, event: MarketBook | MarketTrade) -> None:
        """Let the external market move now."""
        self.engine.feed(self.clock.now(), SYMBOL, event)

    def trade(self, px: str, size: str, taker: Side) -> None:
        """Let somebody else trade now."""
        self.market(MarketTrade(Px(nano(px)), Qty(nano(size)), taker))

    def fault(self, name: str, **more: Any) -> None:
        """Inject a fault."""
        self.faults.add({"venue": "grvt", "fault": name, **more})


def tpsl(kind: str, px: str, by: str = "MARK", **more: Any) -> Json:
    """Return ``metadata.trigger`` of an order."""
    inner = {"trigger_by": by, "trigger_price": px, "close_position": False, **more}
    return {"trigger_type": kind, "tpsl": inner}


def sign(types: Json, message: Json, account: Any, chain: int) -> Json:
    """Sign typed data with the library's own encoder."""
    domain = {"name": "GRVT Exchange", "version": "0", "chainId": chain}
    signed = account.sign_message(encode_typed_data(domain, types, message))
    return {
        "signer": account.address.lower(),
        "r": f"0x{signed.r:064x}",
        "s": f"0x{signed.s:064x}",
        "v": signed.v,
    }


@asynccontextmanager
async def rig(
    options: GrvtOptions | None = None, rules: Rules = GRVT_RULES, **changes: Any
) -> AsyncIterator[Rig]:
    """Run a server on a free port; ``changes`` replace rules of the engine."""
    clock = Clock()
    keys = grvt_credentials(SEED)
    market = default_market(Venue.GRVT, "ETH", None)
    engine = MatchingEngine(
        replace(rules, **changes),
        [market],
        random.Random(7),  # noqa: S311 - makes ids, no secrets
        clock.now(),
    )
    engine.add_account(keys.sub_account_id)
    engine.feed(clock.now(), SYMBOL, touch_book())
    faults = FaultBoard(clock.now)
    server = GrvtServer(engine, clock, faults, keys, options)
    await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            made = Rig(engine, clock, faults, keys, server, http, {})
            made.headers = await made.login()
            yield made
    finally:
        await server.stop()

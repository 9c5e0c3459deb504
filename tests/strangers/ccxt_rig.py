"""ccxt's ``grvt`` and ``backpack`` pointed at ``hedged simulate``: unmodified but for base URLs.

ccxt 4.5.64 is the newest release that can be installed beside bpx-py 2.0.11: from 4.5.65 on ccxt
pins a ``cryptography`` (49, then 50) that bpx-py refuses (below 44). Two defects of that release
are therefore met here exactly as its users met them at the venue:

* its public GRVT requests carry no ``Content-Type``, which the venue refuses with 1003
  (ccxt pull request 29548); the remedy its users have is the ``headers`` setting, used below;
* it signs a GRVT limit price that has decimals as if it had none, so that the venue answers 2002
  (ccxt issue 28759); sessions therefore quote whole prices.
"""

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from tests.strangers.simulation import ASKS, BIDS, Simulation, until

ccxt: Any = importlib.import_module("ccxt")
"""By name, because its implicit re-exports do not exist for a strict type checker."""
for part in ("ccxt.async_support", "ccxt.pro"):
    importlib.import_module(part)

ETH_USDT = "ETH/USDT:USDT"
ETH_USDC = "ETH/USDC:USDC"
JSON_HEADERS = {"Content-Type": "application/json"}
STRANGER = "0x" + 32 * "22"
"""A wallet key that the venue has never seen."""

Rows = list[list[float]]
T = TypeVar("T")


def grvt(kind: Any, keys: Mapping[str, Any], **settings: Any) -> Any:
    """Build a GRVT client of any kind from the venue's part of the ready line.

    Sandbox mode is how ccxt signs for chain 326. The private socket is addressed by another name
    of the same host, because ccxt keeps one socket per address and the venue has two hosts.
    """
    chosen = {"privateKey": keys["private_key"], "enableRateLimit": False, "headers": JSON_HEADERS}
    exchange = kind(chosen | settings)
    exchange.set_sandbox_mode(True)
    trades = keys["ws_trades"].replace("127.0.0.1", "localhost")
    exchange.urls["api"] = {
        "privateEdge": keys["edge"] + "/",
        "privateTrading": keys["trades"] + "/",
        "publicMarket": keys["market_data"] + "/",
        "ws": {
            "publicMarket": keys["ws_market_data"] + "/ws/full",
            "privateTrading": trades + "/ws/full",
        },
    }
    return exchange


def backpack(kind: Any, keys: Mapping[str, Any], **settings: Any) -> Any:
    """Build a Backpack client of any kind from the venue's part of the ready line."""
    chosen = {"apiKey": keys["public_key"], "secret": keys["secret_key"], "enableRateLimit": False}
    exchange = kind(chosen | settings)
    api, ws = keys["api"], keys["ws"]
    exchange.urls["api"] = {"public": api, "private": api, "ws": {"public": ws, "private": ws}}
    return exchange


def levels(side: tuple[tuple[str, str], ...]) -> Rows:
    """Return one side of the steady book as ccxt renders it."""
    return [[float(px), float(size)] for px, size in side]


BID_ROWS = levels(BIDS)
ASK_ROWS = levels(ASKS)


def full(book: Any) -> bool:
    """True when a book is the steady one: nothing of it is taken, nothing of ours is in it."""
    return [row[:2] for row in book["bids"]] == BID_ROWS and [
        row[:2] for row in book["asks"]
    ] == ASK_ROWS


def refill(exchange: Any, symbol: str) -> None:
    """Wait until the market has shown its whole book again."""
    until(lambda: full(exchange.fetch_order_book(symbol)), seconds=5)


def flatten(exchange: Any, symbol: str, simulation: Simulation, venue: str) -> None:
    """Leave no order and no position behind: the next session starts flat."""
    if simulation.state(venue)["open_orders"]:
        exchange.cancel_all_orders(symbol)
        until(lambda: not simulation.state(venue)["open_orders"])
    held = Decimal(simulation.state(venue)["position"])
    if held:
        side = "sell" if held > 0 else "buy"
        exchange.create_order(symbol, "market", side, float(abs(held)), None, {"reduceOnly": True})
        until(lambda: simulation.state(venue)["position"] == "0")


# --- asynchronous clients ----------------------------------------------------------------------


async def reached(probe: Callable[[], Awaitable[T | None]], seconds: float = 10.0) -> T:
    """Return the first answer of an asynchronous ``probe`` that is neither None nor False."""
    async with asyncio.timeout(seconds):
        while True:
            found = await probe()
            if found is not None and found is not False:
                return found
            await asyncio.sleep(0.05)


async def refilled(exchange: Any, symbol: str) -> None:
    """Wait until the market has shown its whole book again."""

    async def probe() -> bool:
        return full(await exchange.fetch_order_book(symbol))

    await reached(probe)


async def flattened(exchange: Any, symbol: str, simulation: Simulation, venue: str) -> None:
    """Leave no order and no position behind: the next session starts flat."""
    if simulation.state(venue)["open_orders"]:
        await exchange.cancel_all_orders(symbol)

    async def quiet() -> bool:
        return not simulation.state(venue)["open_orders"]

    await reached(quiet)
    held = Decimal(simulation.state(venue)["position"])
    if held:
        side = "sell" if held > 0 else "buy"
        await exchange.create_order(
            symbol, "market", side, float(abs(held)), None, {"reduceOnly": True}
        )

    async def flat() -> bool:
        return bool(simulation.state(venue)["position"] == "0")

    await reached(flat)


async def told(exchange: Any, *statuses: str) -> Any:
    """Return the newest watched order once the stream has given it one of the statuses.

    From ccxt's own cache, which the stream fills: what arrives between two ``watch_orders`` calls
    wakes neither of them.
    """

    async def probe() -> Any:
        newest = dict(exchange.orders[-1])  # the cache updates its row in place
        return newest if newest["status"] in statuses else None

    return await reached(probe)


async def heard(
    tasks: asyncio.TaskGroup, watch: Callable[[], Coroutine[Any, Any, T]]
) -> "asyncio.Task[T]":
    """Start one ``watch_...`` call and give its subscription the time to arrive.

    Neither venue confirms to ccxt that a private stream is open, and neither replays it.
    """
    listening = tasks.create_task(watch())
    await asyncio.sleep(0.3)
    return listening

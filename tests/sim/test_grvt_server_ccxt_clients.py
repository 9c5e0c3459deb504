"""grvt-pysdk's ccxt-style clients against the simulated GRVT: GrvtCcxt, GrvtCcxtPro, GrvtCcxtWS.

They are unmodified but for their base URLs (venues.md A9). The first blocks and the others log in
with blocking calls (G1), so that each runs in a thread while the server answers here.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pysdk import grvt_ccxt, grvt_ccxt_env, grvt_ccxt_pro
from pysdk.grvt_ccxt import GrvtCcxt
from pysdk.grvt_ccxt_env import GrvtEnv, GrvtWSEndpointType
from pysdk.grvt_ccxt_pro import GrvtCcxtPro
from pysdk.grvt_ccxt_ws import GrvtCcxtWS

from tests.sim.grvt_rig import SYMBOL, Rig, rig

QUIET = logging.getLogger("grvt-sdk-under-test")
QUIET.setLevel(logging.CRITICAL)
RPC = GrvtWSEndpointType.TRADE_DATA_RPC_FULL
PATHS = {
    GrvtWSEndpointType.MARKET_DATA: "/ws",
    GrvtWSEndpointType.TRADE_DATA: "/ws",
    GrvtWSEndpointType.MARKET_DATA_RPC_FULL: "/ws/full",
    RPC: "/ws/full",
}


@contextmanager
def redirected(it: Rig) -> Iterator[None]:
    """Point every ccxt-style client that is built meanwhile at the simulator."""

    def endpoint(environment: GrvtEnv, name: str) -> str:
        del environment
        for table in grvt_ccxt_env.GRVT_ENDPOINTS.values():
            if name in table:
                return f"{it.url}/{table[name]}"
        return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grvt_ccxt, "get_grvt_endpoint", endpoint)
        patch.setattr(grvt_ccxt_pro, "get_grvt_endpoint", endpoint)
        yield


def parameters(it: Rig) -> dict[str, str]:
    return {
        "api_key": it.keys.api_key,
        "trading_account_id": it.account,
        "private_key": it.keys.private_key,
    }


async def elsewhere(scenario: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a client in a thread with a loop of its own; its endless tasks end with it (G25)."""
    return await asyncio.to_thread(lambda: asyncio.run(scenario()))


async def shut(client: Any) -> None:
    """Close the session; without one, ``__del__`` starts no task of its own (G3)."""
    await client._session.close()
    client._session = None


async def test_the_ccxt_client_trades_and_reads() -> None:
    async with rig() as it:

        def use() -> dict[str, Any]:
            client = GrvtCcxt(GrvtEnv.TESTNET, QUIET, parameters(it))
            with client._session:
                return {
                    "markets": client.load_markets(),
                    "book": client.fetch_order_book(SYMBOL, limit=10),
                    "order": client.create_order(
                        SYMBOL, "limit", "buy", "0.5", "2990", {"post_only": True}
                    ),
                    "balance": client.fetch_balance(),
                    "cancelled": client.cancel_all_orders(),
                    # Last: a cancel would overtake a taker in its 25 ms of waiting.
                    "market": client.create_order(SYMBOL, "market", "sell", "0.5"),
                }

        with redirected(it):
            got = await asyncio.to_thread(use)

        assert list(got["markets"]) == [SYMBOL]
        assert got["book"]["asks"][0]["price"] == "3000.01"
        assert got["order"]["state"]["status"] == "PENDING"
        assert got["balance"]["total"]["USDT"] == "1000000.0"
        assert got["cancelled"] is True
        sold = await it.ended(got["market"]["metadata"]["client_order_id"], "FILLED")
        assert sold["is_market"] is True


async def test_the_ccxt_pro_client_trades() -> None:
    async with rig() as it:

        async def scenario() -> list[Any]:
            client = GrvtCcxtPro(GrvtEnv.TESTNET, QUIET, parameters(it))
            await client.load_markets()
            order = await client.create_order(SYMBOL, "limit", "buy", "0.5", "2990")
            named = {"client_order_id": order["metadata"]["client_order_id"]}
            found: Any = {}
            while found.get("result", {}).get("state", {}).get("status") != "OPEN":
                found = await client.fetch_order(params=named)
            gone = await client.cancel_order(params=named)
            held = await client.fetch_positions([SYMBOL])
            trades = await client.fetch_my_trades(SYMBOL)
            await shut(client)
            return [named["client_order_id"], gone, held, trades["result"]]

        with redirected(it):
            client_id, gone, held, trades = await elsewhere(scenario)

        assert (gone, held, trades) == (True, [], [])
        await it.ended(client_id, "CANCELLED")


async def test_the_socket_client_subscribes_in_both_envelopes_and_creates_over_rpc() -> None:
    async with rig() as it:

        async def scenario() -> list[Any]:
            loop = asyncio.get_running_loop()
            client = GrvtCcxtWS(GrvtEnv.TESTNET, loop, QUIET, parameters(it))
            client.api_url = {
                kind: it.url.replace("http", "ws") + path for kind, path in PATHS.items()
            }
            books: asyncio.Queue[Any] = asyncio.Queue()
            fills: asyncio.Queue[Any] = asyncio.Queue()
            await client.load_markets()
            connected = [await client.connect_channel(kind) for kind in PATHS]
            await client.subscribe("book.s", books.put, params={"instrument": SYMBOL})
            book = await asyncio.wait_for(books.get(), 8)
            await client.subscribe("fill", fills.put, RPC, {"instrument": SYMBOL})
            await client.rpc_create_order(SYMBOL, "market", "buy", "0.5")
            fill = await asyncio.wait_for(fills.get(), 8)
            for task in asyncio.all_tasks(loop):
                if "_read_messages" in repr(task.get_coro()):
                    task.cancel()  # or they reconnect what is closed next (G25)
            await client.__aexit__()  # type: ignore[no-untyped-call]  # the SDK has no types here
            await shut(client)
            return [connected, book, fill]

        with redirected(it):
            connected, book, fill = await elsewhere(scenario)

        assert all(connected)
        assert book["feed"]["asks"][0]["price"] == "3000.01"
        assert (fill["feed"]["size"], fill["feed"]["is_taker"]) == ("0.5", True)
        assert fill["selector"] == f"{it.account}-{SYMBOL}"

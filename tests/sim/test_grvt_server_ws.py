"""The simulated GRVT's sockets: market streams, sequences, many and slow clients."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import aiohttp
import pytest

from exchanges.simulator.grvt_options import GrvtOptions
from strategy.domain import Side
from tests.sim.grvt_rig import SYMBOL, Json, Rig, change, rig, touch_book

BOOK = f"{SYMBOL}@50"


def merged(messages: Sequence[Json]) -> dict[str, dict[Decimal, Decimal]]:
    """Return the book that a snapshot and its deltas make."""
    book: dict[str, dict[Decimal, Decimal]] = {"bids": {}, "asks": {}}
    for message in messages:
        for side, held in book.items():
            for level in message["feed"].get(side, []):
                held[Decimal(level["price"])] = Decimal(level["size"])
    return {side: {px: size for px, size in held.items() if size} for side, held in book.items()}


async def fields(it: Rig) -> dict[str, dict[Decimal, Decimal]]:
    found = await it.result("book", instrument=SYMBOL, depth=500)
    return merged([{"feed": found}])


# --- the book --------------------------------------------------------------------------------


async def test_a_book_subscription_gives_a_snapshot_and_then_counts_up() -> None:
    async with rig() as it, it.socket() as wire:
        reply = await wire.subscribe("v1.book.d", BOOK)

        result = reply["result"]
        assert (reply["jsonrpc"], reply["method"]) == ("2.0", "subscribe")
        assert (result["stream"], result["subs"], result["unsubs"]) == ("v1.book.d", [BOOK], [])
        assert result["num_snapshots"] == [1]
        first = int(result["first_sequence_number"][0])
        assert first == int(result["latest_sequence_number"][0]) + 1
        snapshot = await wire.feed("v1.book.d")
        assert snapshot["sequence_number"] == snapshot["prev_sequence_number"] == "0"
        assert snapshot["selector"] == BOOK
        assert snapshot["feed"]["bids"][0]["price"] == "2999.99"
        numbers = []
        for size in ("1", "2", "3", "4"):
            it.market(change("2999.95", size))
            numbers.append(await wire.feed("v1.book.d"))
        assert [int(each["sequence_number"]) for each in numbers] == list(range(first, first + 4))
        for each in numbers:
            assert int(each["prev_sequence_number"]) == int(each["sequence_number"]) - 1


async def test_deltas_remove_with_zero_and_an_empty_one_is_a_heartbeat() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.book.d", BOOK)
        await wire.feed("v1.book.d")
        it.market(change("2999.95", "0"))

        found = await wire.next(lambda frame: bool(frame.get("feed", {}).get("bids")))
        quiet = await wire.feed("v1.book.d")

        assert found["feed"]["bids"] == [{"price": "2999.95", "size": "0.0", "num_orders": 0}]
        assert not quiet["feed"].get("bids")
        assert int(quiet["sequence_number"]) == int(found["sequence_number"]) + 1


async def test_snapshot_and_deltas_make_the_book_of_the_engine() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.book.d", BOOK)
        for n in range(30):
            it.market(change(f"{2999 - n % 3}.{50 + n}", str(n % 4)))
            await asyncio.sleep(0.01)
        await it.ended(await it.placed(tif="IMMEDIATE_OR_CANCEL", px="3000.02", size="3"), "FILLED")

        messages = [each for each in await wire.gather(0.15) if "feed" in each]

        assert messages[0]["sequence_number"] == "0"
        assert merged(messages) == await fields(it)


async def test_changes_are_conflated_to_the_rate() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.book.d", f"{SYMBOL}@100")
        await wire.feed("v1.book.d")
        for n in range(30):
            it.market(change("2999.95", str(n + 1)))
            await asyncio.sleep(0.01)

        found = [each for each in await wire.gather(0.2) if each.get("feed", {}).get("bids")]

        assert 1 <= len(found) < 15
        assert found[-1]["feed"]["bids"][0]["size"] == "30.0"


async def test_subscribing_again_replaces_the_rate() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.book.d", f"{SYMBOL}@100")
        await wire.feed("v1.book.d")

        reply = await wire.subscribe("v1.book.d", BOOK)

        assert reply["result"]["subs"] == [BOOK]
        assert reply["result"]["unsubs"] == [f"{SYMBOL}@100"]
        wire.kept.clear()
        it.market(change("2999.95", "1"))
        seen = {each["selector"] for each in await wire.gather(0.25) if "feed" in each}
        assert seen == {BOOK}


async def test_the_book_s_own_snapshots_repeat_without_a_number() -> None:
    async with rig() as it, it.socket() as wire:
        selector = f"{SYMBOL}@500-10"
        await wire.subscribe("v1.book.s", selector)

        messages = [await wire.feed("v1.book.s") for _ in range(2)]

        for message in messages:
            assert message["selector"] == selector
            assert message["sequence_number"] == "0"
            assert len(message["feed"]["bids"]) == len(message["feed"]["asks"]) == 10


async def test_unsubscribed_streams_fall_silent() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.book.d", BOOK)
        reply = await wire.call("unsubscribe", {"stream": "v1.book.d", "selectors": [BOOK]})
        assert reply["result"]["unsubs"] == [BOOK]
        await wire.subscribe("v1.book.d", BOOK)
        reply = await wire.call("unsubscribe_all", {})
        assert "error" not in reply
        wire.kept.clear()

        it.market(change("2999.95", "1"))
        assert await wire.gather(0.15) == []


# --- other market streams --------------------------------------------------------------------


async def test_trades_are_replayed_and_then_follow() -> None:
    async with rig() as it, it.socket() as wire:
        it.trade("3000.01", "0.5", Side.BUY)
        reply = await wire.subscribe("v1.trade", f"{SYMBOL}@50")
        assert reply["result"]["num_snapshots"] == [1]
        replayed = await wire.feed("v1.trade")
        it.trade("2999.99", "0.3", Side.SELL)
        live = await wire.feed("v1.trade")

        assert (replayed["sequence_number"], replayed["feed"]["price"]) == ("0", "3000.01")
        assert live["sequence_number"] == "1"
        assert (live["feed"]["size"], live["feed"]["is_taker_buyer"]) == ("0.3", False)


@pytest.mark.parametrize(
    ("stream", "selector", "field"),
    [
        ("v1.mini.s", f"{SYMBOL}@200", "best_bid_price"),
        ("v1.mini.d", f"{SYMBOL}@50", "best_bid_price"),
        ("v1.mini.d", f"{SYMBOL}@0", "best_bid_price"),
        ("v1.ticker.s", f"{SYMBOL}@500", "funding_rate"),
        ("v1.ticker.d", f"{SYMBOL}@100", "funding_rate"),
    ],
)
async def test_tickers_begin_complete(stream: str, selector: str, field: str) -> None:
    async with rig() as it, it.socket() as wire:
        reply = await wire.subscribe(stream, selector)
        message = await wire.feed(stream)

        assert reply["result"]["subs"] == [selector]
        assert message["sequence_number"] == "0"
        assert field in message["feed"]


async def test_a_ticker_s_deltas_hold_only_what_changed() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.mini.d", f"{SYMBOL}@50")
        await wire.feed("v1.mini.d")
        it.market(change("2999.99", "7"))

        changed = await wire.next(lambda each: "best_bid_size" in each.get("feed", {}))

        assert changed["feed"]["best_bid_size"] == "7.0"
        assert "best_ask_price" not in changed["feed"]
        assert int(changed["sequence_number"]) > 0


async def test_candles_follow_the_trades() -> None:
    async with rig() as it, it.socket() as wire:
        it.trade("3000.01", "0.5", Side.BUY)
        await wire.subscribe("v1.candle", f"{SYMBOL}@CI_1_M-TRADE")

        message = await wire.feed("v1.candle")

        assert message["feed"]["close"] == "3000.01"


@pytest.mark.parametrize(
    ("stream", "selector", "code"),
    [
        ("v1.book.d", "NO_SUCH_Perp@50", 3000),
        ("v1.books", BOOK, 3001),
        ("v1.book.d", f"{SYMBOL}@51", 3030),
        ("v1.book.s", f"{SYMBOL}@500-11", 3031),
        ("v1.mini.s", f"{SYMBOL}@0", 3030),
        ("v1.ticker.s", f"{SYMBOL}@50", 3030),
        ("v1.book.d", SYMBOL, 1101),
        ("v1.book.d", f"{SYMBOL}@50@50", 1101),
        ("v1.book.s", f"{SYMBOL}@500", 1103),
        ("v1.book.d", f"{SYMBOL}@50-10-3", 1103),
        ("v1.order", "1-2-3", 1102),
    ],
)
async def test_a_wrong_subscription_has_its_code(stream: str, selector: str, code: int) -> None:
    async with rig() as it, it.socket() as wire:
        reply = await wire.subscribe(stream, selector)

        assert reply["error"]["code"] == code
        assert reply["error"]["message"]
        assert reply["method"] == "subscribe"


# --- many and slow clients -------------------------------------------------------------------


async def test_two_sockets_count_for_themselves() -> None:
    async with rig() as it, it.socket() as one, it.socket() as two:
        await one.subscribe("v1.order", it.account)
        await it.placed(post_only=True)
        await one.feed("v1.order")
        reply = await two.subscribe("v1.order", it.account)
        await it.placed(post_only=True)
        message = await two.feed("v1.order")

        latest = int(reply["result"]["latest_sequence_number"][0])
        assert int(message["sequence_number"]) == latest + 1
        assert int(message["prev_sequence_number"]) == latest


async def test_a_client_that_does_not_read_is_dropped() -> None:
    async with rig(GrvtOptions(queue_limit=8)) as it:
        url, session = it.url + "/ws/full", it.http
        async with session.ws_connect(url, headers=it.headers) as lazy:
            await lazy.send_json(
                {
                    "jsonrpc": "2.0",
                    "method": "subscribe",
                    "params": {"stream": "v1.trade", "selectors": [f"{SYMBOL}@50"]},
                    "id": 1,
                }
            )
            await asyncio.sleep(0.1)
            for _ in range(200):  # one synchronous burst: the writer has no turn
                it.trade("3000.01", "0.5", Side.BUY)
            async with asyncio.timeout(3):
                kinds = {message.type async for message in lazy}
            assert lazy.closed
            assert kinds <= {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.ERROR}
        assert (await it.result("instrument", instrument=SYMBOL))["instrument"] == SYMBOL


async def test_a_client_that_vanishes_leaves_the_others_alone() -> None:
    async with rig() as it, it.socket() as stays:
        await stays.subscribe("v1.book.d", BOOK)
        async with it.socket() as leaves:
            await leaves.subscribe("v1.book.d", BOOK)
            assert leaves.socket._response.connection is not None
            transport = leaves.socket._response.connection.transport
            assert transport is not None
            transport.abort()
        stays.kept.clear()
        it.market(touch_book())

        assert (await stays.feed("v1.book.d"))["selector"] == BOOK


async def test_protocol_pings_are_answered() -> None:
    async with rig() as it, it.http.ws_connect(it.url + "/ws/full", autoping=False) as socket:
        await socket.ping(b"you there")
        message = await socket.receive(timeout=2)

        assert message.type is aiohttp.WSMsgType.PONG
        assert message.data == b"you there"


async def test_a_plain_request_to_the_socket_s_path_is_refused() -> None:
    async with rig() as it, it.http.get(it.url + "/ws/full") as answer:
        assert 400 <= answer.status < 500

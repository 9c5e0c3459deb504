"""The simulated GRVT's messages against the captured ones: same fields, same types, same units.

Every situation of a capture is brought about on the real server, and the difference is printed.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import pytest_asyncio

from exchanges.simulator.grvt_options import GrvtOptions
from exchanges.simulator.model import MarketBook
from strategy.domain import NANO, Ns, Side
from tests.fidelity.grvt_shapes import SHAPES
from tests.fidelity.shapes import differences
from tests.sim.grvt_rig import SYMBOL, Rig, Wire, change, rig
from tests.sim.test_grvt_server_switches import approval

MARKET_CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("instrument", {"instrument": SYMBOL}, "instrument"),
    ("all_instruments", {"is_active": True}, "instruments.reply"),
    ("instruments", {"kind": ["PERPETUAL"]}, "instruments.reply"),
    ("currency", {}, "currency.reply"),
    ("mini", {"instrument": SYMBOL}, "mini"),
    ("ticker", {"instrument": SYMBOL}, "ticker.reply"),
    ("book", {"instrument": SYMBOL, "depth": 10}, "book.reply"),
    ("trade_history", {"instrument": SYMBOL}, "trades.reply"),
    (
        "kline",
        {"instrument": SYMBOL, "interval": "CI_1_M", "type": "TRADE", "limit": 3},
        "kline.reply",
    ),
    ("funding", {"instrument": SYMBOL, "limit": 3}, "funding.reply"),
]
ACCOUNT_CALLS = [
    ("account_summary", "summary.reply"),
    ("aggregated_account_summary", "aggregate.reply"),
    ("get_sub_accounts", "sub_accounts.reply"),
    ("positions", "positions.reply"),
    ("open_orders", "open_orders.reply"),
    ("order_history", "order_history.reply"),
    ("fill_history", "fills.reply"),
    ("get_all_initial_leverage", "leverages.reply"),
    ("funding_payment_history", "payments.reply"),
]


@pytest_asyncio.fixture
async def venue() -> AsyncIterator[Rig]:
    """A venue on which we have traded, rested and been charged funding."""
    async with rig(latency=Ns(0), taker_delay=Ns(0), visibility=Ns(0)) as found:
        found.trade("3000.01", "0.5", Side.BUY)
        bought = await found.placed(px="3000.01", tif="IMMEDIATE_OR_CANCEL")
        await found.ended(bought, "FILLED")
        rested = await found.placed(px="2990.0")
        await found.ended(rested, "OPEN")
        yield found


def same(name: str, message: Any) -> None:
    """Fail with every difference, one a line."""
    found = differences(SHAPES[name], message)
    assert not found, f"{name}:\n" + "\n".join(map(str, found))


def not_empty(message: Any) -> None:
    """Fail when an answer of rows has none: its fields would not be compared at all."""
    rows: Iterable[Any] = message.get("result", message.get("results", message))
    assert rows, message


@pytest.mark.parametrize(("method", "body", "shape"), MARKET_CALLS)
async def test_market_data_is_as_captured(
    venue: Rig, method: str, body: dict[str, Any], shape: str
) -> None:
    status, answer = await venue.post(f"/full/v1/{method}", body, headers={})
    assert status == 200, answer
    not_empty(answer)
    same(shape, answer if shape.endswith(".reply") else answer["result"])


@pytest.mark.parametrize(("method", "shape"), ACCOUNT_CALLS)
async def test_account_data_is_as_captured(venue: Rig, method: str, shape: str) -> None:
    if method == "funding_payment_history":
        venue.clock.ahead += 9 * 3600 * NANO
    status, answer = await venue.ask(method)
    assert status == 200, answer
    not_empty(answer)
    same(shape, answer)


async def test_a_create_its_query_and_its_cancel_are_as_captured(venue: Rig) -> None:
    status, created = await venue.create(px="2980.0", client_id="9223372036854775900")
    assert status == 200
    same("order.reply", created)
    _, queried = await venue.ask("order", client_order_id="9223372036854775900")
    same("order.reply", queried)
    _, cancelled = await venue.ask("cancel_order", client_order_id="9223372036854775900")
    same("ack.reply", cancelled)
    _, every = await venue.ask("cancel_all_orders")
    same("ack.reply", every)


async def test_logins_and_leverage_are_as_captured(venue: Rig) -> None:
    for key in (venue.keys.api_key, "wrong"):
        async with venue.http.post(
            f"{venue.url}/auth/api_key/login", json={"api_key": key}
        ) as answer:
            same("login", await answer.json())
    _, changed = await venue.ask("set_initial_leverage", instrument=SYMBOL, leverage="5")
    same("leverage_set", changed)


@pytest.mark.parametrize(
    ("method", "body", "code"),
    [
        ("book", {"instrument": SYMBOL, "depth": 11}, 3031),
        ("book", {"instrument": 5}, 1003),
        ("order", {"sub_account_id": "", "client_order_id": "1"}, 3020),
        ("nothing", {}, 1004),
    ],
)
async def test_errors_are_as_captured(
    venue: Rig, method: str, body: dict[str, Any], code: int
) -> None:
    status, answer = await venue.post(f"/full/v1/{method}", body)
    same("error", answer)
    assert (answer["code"], answer["status"]) == (code, status)


@pytest.mark.parametrize(
    ("stream", "selector", "shape"),
    [
        ("v1.book.d", f"{SYMBOL}@50", "ws.book"),
        ("v1.book.s", f"{SYMBOL}@500-10", "ws.book"),
        ("v1.mini.s", f"{SYMBOL}@200", "ws.mini"),
        ("v1.mini.d", f"{SYMBOL}@0", "ws.mini"),
        ("v1.ticker.s", f"{SYMBOL}@500", "ws.ticker"),
        ("v1.ticker.d", f"{SYMBOL}@500", "ws.ticker"),
        ("v1.trade", f"{SYMBOL}@50", "ws.trade"),
        ("v1.candle", f"{SYMBOL}@CI_1_M-TRADE", "ws.candle"),
    ],
)
async def test_the_first_message_of_a_public_stream_is_as_captured(
    venue: Rig, stream: str, selector: str, shape: str
) -> None:
    async with venue.socket(headers={}) as wire:
        same("ws.subscribed", await wire.subscribe(stream, selector))
        message = await wire.feed(stream)
        same(shape, message)
        assert message["selector"] == selector
        assert (message["sequence_number"], message["prev_sequence_number"]) == ("0", "0")
        params = {"stream": stream, "selectors": [selector]}
        same("ws.unsubscribed", await wire.call("unsubscribe", params))


async def test_changes_of_public_streams_are_as_captured(venue: Rig) -> None:
    async with venue.socket(headers={}) as wire:
        for stream, selector in (
            ("v1.book.d", "50"),
            ("v1.mini.d", "0"),
            ("v1.trade", "50"),
        ):
            await wire.subscribe(stream, f"{SYMBOL}@{selector}")
            await wire.feed(stream)
        venue.market(change("2999.99", "0"))
        venue.trade("3000.01", "0.5", Side.BUY)
        removed = await _delta(wire, "v1.book.d")
        same("ws.book", removed)
        assert removed["feed"]["bids"][0] == {"price": "2999.99", "size": "0.0", "num_orders": 0}
        same("ws.mini_change", await _delta(wire, "v1.mini.d"))
        same("ws.trade", await _delta(wire, "v1.trade"))


async def test_a_quiet_book_sends_a_heartbeat_as_captured(venue: Rig) -> None:
    async with venue.socket(headers={}) as wire:
        await wire.subscribe("v1.book.d", f"{SYMBOL}@50")
        await wire.feed("v1.book.d")
        beat = await _delta(wire, "v1.book.d")
        same("ws.book", beat)
        assert (beat["feed"]["bids"], beat["feed"]["asks"]) == ([], [])


async def test_messages_of_a_snapshot_stream_may_be_numbered_after_the_first() -> None:
    async with rig(GrvtOptions(numbered_snapshots=True)) as it, it.socket(headers={}) as wire:
        await wire.subscribe("v1.mini.s", f"{SYMBOL}@200")
        numbers = [(await wire.feed("v1.mini.s"))["sequence_number"] for _ in range(3)]
    assert numbers == ["0", "1", "2"]


async def test_a_market_without_trades_has_a_whole_ticker() -> None:
    async with rig() as it:
        same("ticker", await it.result("ticker", instrument=SYMBOL))


async def test_an_empty_market_is_as_captured(venue: Rig) -> None:
    venue.market(MarketBook((), (), snapshot=True))
    await venue.ask("cancel_all_orders")
    _, book = await venue.post("/full/v1/book", {"instrument": SYMBOL, "depth": 10})
    same("book.reply", book)
    async with venue.socket(headers={}) as wire:
        await wire.subscribe("v1.mini.s", f"{SYMBOL}@200")
        message = await wire.feed("v1.mini.s")
    same("ws.mini", message)
    sides = [name for name in message["feed"] if name.startswith(("best_", "mid_"))]
    assert {message["feed"][name] for name in sides} == {"0.0"}


async def test_private_streams_are_as_captured(venue: Rig) -> None:
    async with venue.socket() as wire:
        for stream in ("v1.order", "v1.fill", "v1.position"):
            same("ws.subscribed", await wire.subscribe(stream, f"{venue.account}-{SYMBOL}"))
        await venue.placed(px="3000.01", tif="IMMEDIATE_OR_CANCEL")
        for stream, shape in (
            ("v1.order", "ws.order"),
            ("v1.fill", "ws.fill"),
            ("v1.position", "ws.position"),
        ):
            same(shape, await _delta(wire, stream))


async def test_errors_of_the_socket_are_as_captured(venue: Rig) -> None:
    async with venue.socket(headers={}) as wire:
        unknown = await wire.subscribe("v1.book.d", "NOPE_USDT_Perp@50")
        same("ws.error", unknown)
        assert unknown["error"] == {"code": 3000, "message": "Instrument is invalid"}
        method = await wire.call("nope", {})
        same("ws.error", method)
        assert method["error"] == {"code": 1200, "message": "RPC method not found"}
        await wire.socket.send_str('{"jsonrpc":"2.0"')
        garbled = await wire.receive()
        same("ws.error", garbled)
        assert (garbled["error"]["code"], garbled["id"], garbled["method"]) == (1003, 0, "")


async def test_builder_approvals_are_as_captured(venue: Rig) -> None:
    _, approved = await venue.ask("authorize_builder", await approval(venue))
    same("tx_ack.reply", approved)
    _, listed = await venue.ask("get_authorized_builders")
    not_empty(listed)
    same("builders.reply", listed)


async def _delta(wire: Wire, stream: str) -> Any:
    """Return the next message of a stream that is no snapshot."""
    return await wire.next(
        lambda frame: frame.get("stream") == stream and frame["sequence_number"] != "0"
    )

"""The simulated Backpack's messages against the captured ones: same fields, same types, same units.

Every situation of a capture is brought about on the real server, and the difference is printed.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from strategy.domain import NANO, Side
from tests.fidelity.backpack_shapes import SHAPES
from tests.fidelity.shapes import differences
from tests.sim.test_backpack_server_rig import SYMBOL, Rig, level, listening, running, subscribed

MINUTE = 60 * NANO
PUBLIC = [
    ("/api/v1/assets", {}, "assets"),
    ("/api/v1/markets", {}, "markets"),
    ("/api/v1/ticker", {"symbol": SYMBOL}, "ticker"),
    ("/api/v1/markPrices", {"symbol": SYMBOL}, "[mark]"),
    ("/api/v1/openInterest", {"symbol": SYMBOL}, "open_interest"),
    ("/api/v1/fundingRates", {"symbol": SYMBOL}, "fundings"),
    ("/api/v1/trades", {"symbol": SYMBOL}, "[trade]"),
    ("/api/v1/depth", {"symbol": SYMBOL}, "depth"),
    ("/api/v1/status", {}, "status"),
]
PRIVATE: list[tuple[str, str, dict[str, str], str]] = [
    ("/api/v1/capital", "balanceQuery", {}, "capital"),
    ("/api/v1/position", "positionQuery", {}, "[position]"),
    ("/wapi/v1/history/fills", "fillHistoryQueryAll", {}, "[fill]"),
    ("/wapi/v1/history/funding", "fundingHistoryQueryAll", {}, "[payment]"),
]


@pytest_asyncio.fixture
async def venue() -> AsyncIterator[Rig]:
    """A venue on which we have traded and rested."""
    async with running() as found:
        found.trade("3000.01", "0.5", Side.BUY)
        status, bought = await found.order(orderType="Market", price=None)
        assert (status, bought["status"]) == (200, "Filled")
        yield found


def same(name: str, message: Any) -> None:
    """Fail with every difference, one a line; a name in brackets is an array of it."""
    shape = [SHAPES[name[1:-1]]] if name.startswith("[") else SHAPES[name]
    assert message not in ([], {}), f"{name}: nothing to compare"
    found = differences(shape, message)
    assert not found, f"{name}:\n" + "\n".join(map(str, found))


@pytest.mark.parametrize(("path", "query", "shape"), PUBLIC)
async def test_market_data_is_as_captured(
    venue: Rig, path: str, query: dict[str, str], shape: str
) -> None:
    status, answer = await venue.call("GET", path, query)
    assert status == 200, answer
    same(shape, answer)


async def test_bars_are_as_captured(venue: Rig) -> None:
    start = (venue.clock.now() - MINUTE) // NANO
    query = {"symbol": SYMBOL, "interval": "1m", "startTime": str(start)}
    _, answer = await venue.call("GET", "/api/v1/klines", query)
    same("klines", answer)


async def test_depth_has_ascending_bids_and_a_quoted_update_id(venue: Rig) -> None:
    _, answer = await venue.call("GET", "/api/v1/depth", {"symbol": SYMBOL})
    prices = [float(px) for px, _ in answer["bids"]]
    assert prices == sorted(prices)
    assert answer["bids"][0][0] == "2999"  # prices of REST are not padded


@pytest.mark.parametrize(("path", "instruction", "query", "shape"), PRIVATE)
async def test_account_data_is_as_captured(
    venue: Rig, path: str, instruction: str, query: dict[str, str], shape: str
) -> None:
    headers: dict[str, str] = {}
    if shape == "[payment]":
        venue.clock.ahead += 3601 * NANO
        headers = venue.venue_time(query, instruction)
    status, answer = await venue.call("GET", path, query, instruction, **headers)
    assert status == 200, answer
    same(shape, answer)


async def test_orders_of_every_kind_are_as_captured(venue: Rig) -> None:
    _, rested = await venue.order(postOnly=True, clientId=7)
    same("limit_order", rested)
    _, taken = await venue.order(orderType="Market", price=None)
    same("market_order", taken)
    _, quoted = await venue.order(
        orderType="Market", price=None, quantity=None, quoteQuantity="300"
    )
    same("market_order", quoted)
    _, queried = await venue.call(
        "GET", "/api/v1/order", {"symbol": SYMBOL, "orderId": rested["id"]}, "orderQuery"
    )
    same("limit_order", queried)
    _, listed = await venue.call("GET", "/api/v1/orders", {}, "orderQueryAll")
    same("[limit_order]", listed)
    _, gone = await venue.call(
        "DELETE", "/api/v1/order", {"symbol": SYMBOL, "orderId": rested["id"]}, "orderCancel"
    )
    same("limit_order", gone)
    _, past = await venue.call("GET", "/wapi/v1/history/orders", {}, "orderHistoryQueryAll")
    assert {row["orderType"] for row in past} == {"Limit", "Market"}
    for row in past:
        same("past_order" if row["orderType"] == "Limit" else "past_market", row)


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("/api/v1/depth", {"symbol": "NO_USDC_PERP"}, 400, "INVALID_CLIENT_REQUEST"),
        ("/api/v1/markPrices", {"symbol": "NO_USDC_PERP"}, 400, "INVALID_CLIENT_REQUEST"),
        ("/api/v1/order", {"symbol": SYMBOL, "orderId": "1"}, 400, "INVALID_CLIENT_REQUEST"),
        ("/api/v1/nothing", {}, 404, "RESOURCE_NOT_FOUND"),
    ],
)
async def test_errors_are_as_captured(
    venue: Rig, path: str, query: dict[str, str], status: int, code: str
) -> None:
    found, answer = await venue.call("GET", path, query)
    same("error", answer)
    assert (found, answer["code"]) == (status, code)


async def test_texts_of_errors_are_as_captured(venue: Rig) -> None:
    query = {"symbol": "NO_USDC_PERP"}
    _, depth = await venue.call("GET", "/api/v1/depth", query)
    _, mark = await venue.call("GET", "/api/v1/markPrices", query)
    status, limit = await venue.call("GET", "/api/v1/depth", {"symbol": SYMBOL, "limit": "7"})

    assert depth["message"] == "Invalid market symbol"
    assert mark["message"] == "Symbol not found"
    assert status == 400
    same("plain_error", limit)
    assert limit.startswith("failed to parse parameter `limit`: ")


async def test_a_bad_limit_is_refused_in_plain_text_and_the_time_is_a_bare_number(
    venue: Rig,
) -> None:
    async with venue.http.get(f"{venue.url}/api/v1/time") as answer:
        same("time", int(await answer.text()))


async def test_public_streams_are_as_captured(venue: Rig) -> None:
    streams = ("depth", "depth.200ms", "bookTicker", "trade", "markPrice", "ticker", "kline.1m")
    async with listening(venue, *(f"{name}.{SYMBOL}" for name in streams)) as heard:
        venue.market([level("2999.99", "1.25")], [level("3000.01", "0")])
        venue.trade("3000.02", "0.1", Side.BUY)
        shapes = {
            "bookTicker": "ws.book_ticker",
            "markPrice": "ws.mark",
            "kline.1m": "ws.kline",
            "depth.200ms": "ws.depth",
        }
        wanted = {f"{name}.{SYMBOL}": shapes.get(name, f"ws.{name}") for name in streams}
        while wanted:
            frame = await heard.frame()
            shape = wanted.pop(frame["stream"], None)
            if shape is not None:
                same(shape, frame)


async def test_the_stream_of_depth_pads_its_numbers_and_removes_with_zero(venue: Rig) -> None:
    async with listening(venue, f"depth.{SYMBOL}") as heard:
        venue.market([level("2999", "0")], [])
        data = await heard.data(f"depth.{SYMBOL}")
    assert data["b"] == [["2999.00", "0.0000"]]
    assert data["U"] == data["u"]


async def test_private_streams_are_as_captured(venue: Rig) -> None:
    orders, positions = f"account.orderUpdate.{SYMBOL}", f"account.positionUpdate.{SYMBOL}"
    async with listening(venue, orders, positions) as heard:
        await venue.order(postOnly=True)
        await venue.order(orderType="Market", price=None)
        seen: dict[str, Any] = {}
        while not {"orderAccepted", "orderFill", "positionAdjusted"} <= seen.keys():
            frame = await heard.frame()
            seen[frame["data"].get("e", "first")] = frame
        same("ws.order", seen["orderAccepted"])
        same("ws.order_fill", seen["orderFill"])
        same("ws.position", seen["positionAdjusted"])
    async with listening(venue, positions) as heard:
        first = heard.heard[0] if heard.heard[0].get("stream") else await heard.frame()
        same("ws.position", first)
        assert "e" not in first["data"]


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        (["nonsense"], 4006, "Invalid stream"),
        ([f"depth.123ms.{SYMBOL}"], 4008, "Invalid depth window"),
    ],
)
async def test_errors_of_the_socket_are_as_captured(
    venue: Rig, params: list[str], code: int, message: str
) -> None:
    async with listening(venue) as heard:
        await heard.socket.send_json({"method": "SUBSCRIBE", "params": params})
        frame = await heard.frame()
    same("ws.error", frame)
    assert frame == {"id": None, "error": {"code": code, "message": message}}


async def test_garbage_on_the_socket_is_answered_as_captured(venue: Rig) -> None:
    async with listening(venue) as heard:
        await heard.socket.send_str("{not json")
        frame = await heard.frame()
        assert frame == {"id": None, "error": {"code": 4002, "message": "Parse error"}}
        await subscribed(heard)

"""The faults of the Backpack face beyond lost answers: singly and in combination, over the wire."""

import asyncio
import base64
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from strategy.domain import NANO, Side
from tests.sim.test_backpack_server_rig import (
    MS,
    SYMBOL,
    Rig,
    level,
    listening,
    running,
)

ORDERS = f"account.orderUpdate.{SYMBOL}"
POSITIONS = f"account.positionUpdate.{SYMBOL}"
DEPTH = f"depth.{SYMBOL}"
TICKER = f"bookTicker.{SYMBOL}"


# --- orders ----------------------------------------------------------------------------------

REFUSED = [
    ("F09", {}, "INVALID_CLIENT_REQUEST", "Request has expired"),
    ("F10", {"clientId": 7}, "INVALID_CLIENT_REQUEST", "Duplicate client id"),
    ("F12", {}, "INSUFFICIENT_MARGIN", "Insufficient margin"),
]


@pytest.mark.parametrize(("name", "change", "code", "message"), REFUSED)
async def test_F09_F10_F12_one_create_is_refused_and_the_next_is_taken(
    name: str, change: dict[str, Any], code: str, message: str
) -> None:
    async with running() as rig:
        rig.fault(name)
        status, body = await rig.order(**change)
        again, _ = await rig.order(**change)
    assert (status, body, again) == (400, {"code": code, "message": message}, 200)


async def test_F13_a_reduce_only_order_is_refused_though_it_reduces() -> None:
    async with running() as rig:
        await rig.limit("Bid", "3000.01", "1")
        rig.fault("F13")
        plain, _ = await rig.order()
        status, body = await rig.order(side="Ask", price="3010", reduceOnly=True)
        again, _ = await rig.order(side="Ask", price="3010", reduceOnly=True)
    assert (plain, again) == (200, 200)
    assert (status, body["message"]) == (400, "Reduce only order not reduced")


async def test_F14_the_tick_is_coarser_until_an_order_is_refused_for_it() -> None:
    async with running() as rig:
        rig.fault("F14")
        listed = (await rig.public.get_markets())[0]["filters"]["price"]["tickSize"]
        on_both, _ = await rig.order(price="2990.1")
        status, body = await rig.order(price="2990.01")
        again, _ = await rig.order(price="2990.01")
        after = (await rig.public.get_markets())[0]["filters"]["price"]["tickSize"]
    assert (listed, after) == ("0.1", "0.01")
    assert (on_both, again) == (200, 200)
    assert (status, body["message"]) == (400, "Price decimal too long")


async def test_F17_an_order_ends_by_self_trade_prevention() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        rig.fault("F17")
        status, body = await rig.order()
        told = [await heard.data(ORDERS) for _ in range(2)]
        history = await rig.account.get_order_history()
    assert (status, body["status"], body["executedQuantity"]) == (200, "Expired", "0")
    assert [frame["e"] for frame in told] == ["orderAccepted", "orderExpired"]
    assert told[1]["R"] == history[0]["expiryReason"] == "SelfTradePrevention"


async def batch(rig: Rig, *prices: str) -> list[dict[str, Any]]:
    """Send one bid per price; the client id is the place in the batch."""
    body = [
        {
            "clientId": number,
            "orderType": "Limit",
            "price": px,
            "quantity": "0.1",
            "side": "Bid",
            "symbol": SYMBOL,
        }
        for number, px in enumerate(prices, 1)
    ]
    stamp = rig.clock.now() // MS
    text = "&".join(
        "instruction=orderExecute&" + "&".join(f"{key}={row[key]}" for key in sorted(row))
        for row in body
    )
    signed = rig.account.private_key.sign(f"{text}&timestamp={stamp}&window=5000".encode())
    headers = {
        "X-API-Key": rig.keys.public_key,
        "X-Timestamp": str(stamp),
        "X-Signature": base64.b64encode(signed).decode(),
    }
    status, rows = await rig.call("POST", "/api/v1/orders", body, None, **headers)
    assert status == 200
    found: list[dict[str, Any]] = rows
    return found


async def test_F18_the_answers_of_a_batch_belong_to_others() -> None:
    async with running() as rig:
        fine = await batch(rig, "2990", "2991", "2990.001")
        rig.fault("F18")
        await rig.account.cancel_all_orders(SYMBOL)
        swapped = await batch(rig, "2990", "2991", "2990.001")
    assert [row.get("clientId") for row in fine] == [1, 2, None]
    assert [row["operation"] for row in fine] == ["Ok", "Ok", "Err"]
    assert [row.get("clientId") for row in swapped] == [None, 2, 1]


async def test_F20_the_stream_tells_an_order_before_its_answer() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        rig.fault("F20", delay_ms=150)
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(rig.order(price="3000.01"))
            told = [await heard.data(ORDERS) for _ in range(2)]
            assert not asking.done()
        _, answer = asking.result()
    assert [frame["e"] for frame in told] == ["orderAccepted", "orderFill"]
    assert (answer["id"], answer["status"]) == (told[0]["i"], "Filled")


async def test_F21_two_fill_messages_change_places() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        rig.fault("F21")
        await rig.limit("Bid", "3000.02", "3")
        told = [await heard.data(ORDERS) for _ in range(3)]
    assert [frame["e"] for frame in told] == ["orderAccepted", "orderFill", "orderFill"]
    assert [frame["z"] for frame in told[1:]] == ["3.0000", "2.0000"]


async def test_F21_a_fill_that_nothing_overtakes_comes_late() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        rig.fault("F21")
        await rig.limit("Bid", "3000.01", "1")
        told = [await heard.data(ORDERS) for _ in range(2)]
    assert [frame["e"] for frame in told] == ["orderAccepted", "orderFill"]


async def test_F22_a_cancel_is_accepted_and_the_fill_lands_before_it_takes_effect() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        order = await rig.limit("Bid", "2999.98", "0.5", post_only=True)
        rig.fault("F22", mode="202")
        body = {"symbol": SYMBOL, "orderId": order["id"]}
        got = await rig.call("DELETE", "/api/v1/order", body, "orderCancel")
        told = [await heard.data(ORDERS) for _ in range(3)]
        fills = await rig.account.get_fill_history()
    assert got == (202, "")
    assert [frame["e"] for frame in told] == ["orderAccepted", "orderFill", "orderCancelled"]
    assert (told[2]["z"], fills[0]["quantity"]) == ("0.2500", "0.25")


async def test_F22_a_fill_lands_behind_better_orders_and_in_a_bulk_cancel() -> None:
    async with running() as rig:
        better = await rig.limit("Bid", "2999.99", "0.2", post_only=True)
        order = await rig.limit("Bid", "2999.98", "0.5", post_only=True)
        rig.fault("F22")
        one = await rig.account.cancel_order(SYMBOL, order_id=order["id"])
        first = await rig.limit("Bid", "2999.97", "0.5", post_only=True)
        rig.fault("F22")
        every = await rig.account.cancel_all_orders(SYMBOL)
        history = await rig.account.get_order_history(order_id=better["id"])
    assert (one["status"], one["executedQuantity"]) == ("Cancelled", "0.25")
    assert history[0]["status"] == "Filled"
    assert [(row["id"], row["executedQuantity"]) for row in every] == [(first["id"], "0.25")]


# --- fills -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "told_cum"), [("larger", "1"), ("shrinks", "0")])
async def test_F23_a_cumulative_size_that_cannot_be(mode: str, told_cum: str) -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        rig.fault("F23", mode=mode)
        await rig.limit("Bid", "3000.01", "0.5")
        await heard.data(ORDERS)
        fill = await heard.data(ORDERS)
    assert fill["e"] == "orderFill"
    assert Decimal(fill["z"]) == Decimal(told_cum)
    assert fill["l"] == "0.5000"


@pytest.mark.parametrize("name", ["F25", "F76"])
async def test_F25_somebody_else_trades_the_account(name: str) -> None:
    async with running() as rig, listening(rig, ORDERS, POSITIONS) as heard:
        rig.fault(name, side="sell", size="0.3")
        told = [await heard.data(ORDERS) for _ in range(2)]
        held = await rig.account.get_open_positions()
        fills = await rig.account.get_fill_history()
    assert [frame["e"] for frame in told] == ["orderAccepted", "orderFill"]
    assert (told[1]["c"], told[1]["S"], told[1]["O"]) == (4_000_000_001, "Ask", "USER")
    assert held[0]["netQuantity"] == "-0.3"
    assert fills[0]["clientId"] == "4000000001"


@pytest.mark.parametrize(
    ("mode", "word"), [("liquidation", "LIQUIDATION_AUTOCLOSE"), ("adl", "ADL_AUTOCLOSE")]
)
async def test_F26_the_venue_closes_the_position_as_soon_as_there_is_one(
    mode: str, word: str
) -> None:
    async with running() as rig, listening(rig, ORDERS, POSITIONS) as heard:
        rig.fault("F26", mode=mode)
        await rig.limit("Bid", "3000.01", "0.5")
        told = [await heard.data(ORDERS) for _ in range(4)]
        held = await rig.account.get_open_positions()
    assert [frame["O"] for frame in told] == ["USER", "USER", word, word]
    assert held == []


async def test_F27_a_resting_order_fills_in_many_parts_at_once() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        order = await rig.limit("Bid", "2999.98", "0.5", post_only=True)
        rig.fault("F27", parts=50)
        told = [await heard.data(ORDERS) for _ in range(51)]
        fills = await rig.account.get_fill_history(limit=100)
    assert len({frame["t"] for frame in told[1:]}) == len(fills) == 50
    assert (told[-1]["X"], told[-1]["z"], told[-1]["i"]) == ("Filled", "0.5000", order["id"])


async def test_F28_a_fee_is_negative_and_in_another_asset_on_the_stream_and_in_history() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        rig.fault("F28", asset="BTC")
        await rig.limit("Bid", "3000.01", "0.5")
        await heard.data(ORDERS)
        fill = await heard.data(ORDERS)
        rows = await rig.account.get_fill_history()
    assert (fill["n"], fill["N"]) == ("-0.7500025", "BTC")
    assert (rows[0]["fee"], rows[0]["feeSymbol"]) == (fill["n"], "BTC")


# --- streams ---------------------------------------------------------------------------------


async def test_F51_a_subscription_of_any_stream_is_taken_and_never_served() -> None:
    async with running() as rig:
        rig.fault("F51")
        async with listening(rig) as heard:
            frame = rig.subscribe_frame(DEPTH, ORDERS)
            await heard.socket.send_json(frame)
            await asyncio.sleep(0.02)
            rig.market([level("2999.97", "1")], [])
            await rig.limit("Bid", "2990")
            assert await heard.silent(0.05)
            await heard.socket.send_json(frame)
            await asyncio.sleep(0.02)
            rig.market([level("2999.97", "2")], [])
            assert (await heard.data(DEPTH))["e"] == "depth"


@pytest.mark.parametrize(("mode", "silent"), [("public", DEPTH), ("private", ORDERS)])
async def test_F56_one_surface_stands_still_while_the_other_goes_on(mode: str, silent: str) -> None:
    async with running() as rig, listening(rig, DEPTH, ORDERS) as heard:
        rig.fault("F56", mode=mode)
        for number in range(3):
            rig.market([level("2999.97", str(number + 1))], [])
            await rig.limit("Bid", "2990", "0.1")
        await asyncio.sleep(0.02)
        rig.board.clear()
        rig.market([level("2999.97", "9")], [])
        while (frame := await heard.frame()).get("data", {}).get("b") != [["2999.97", "9.0000"]]:
            pass
    streams = {each["stream"] for each in heard.heard if "stream" in each and each is not frame}
    assert streams == {DEPTH, ORDERS} - {silent}


async def test_F57_a_flood_of_empty_messages_keeps_the_numbers_whole() -> None:
    async with running() as rig, listening(rig, DEPTH) as heard:
        rig.fault("F57", messages=30)
        told = [await heard.data(DEPTH) for _ in range(40)]
        rig.board.clear()
        snapshot = await rig.public.get_depth(SYMBOL)
    numbers = [frame["u"] for frame in told]
    assert numbers == list(range(numbers[0], numbers[0] + 40))
    assert all(frame["a"] == frame["b"] == [] for frame in told)
    assert int(snapshot["lastUpdateId"]) >= numbers[-1]


async def test_F66_the_book_is_shown_crossed_everywhere_and_then_mended() -> None:
    async with running() as rig, listening(rig, DEPTH, TICKER) as heard:
        rig.fault("F66")
        rig.market([level("2999.97", "1")], [level("3000.01", "1")])
        crossed, ticker = await heard.data(DEPTH), await heard.data(TICKER)
        rest = await rig.public.get_depth(SYMBOL)
        rig.board.clear()
        rig.market([level("2999.97", "2")], [])
        mended, fine = await heard.data(DEPTH), await heard.data(TICKER)
        after = await rig.public.get_depth(SYMBOL)
    assert ["3000.02", "0.0001"] in crossed["b"]
    assert (ticker["b"], ticker["a"]) == ("3000.02", "3000.01")
    assert rest["bids"][-1] == ["3000.02", "0.0001"]
    assert ["3000.02", "0.0000"] in mended["b"]
    assert (fine["b"], fine["a"]) == ("2999.99", "3000.01")
    assert after["bids"][-1][0] == "2999.99"


async def test_F69_a_failover_loses_open_orders_and_every_socket() -> None:
    async with running() as rig, listening(rig, DEPTH) as heard:
        order = await rig.limit("Bid", "2990")
        rig.fault("F69")
        await rig.call("GET", "/api/v1/ping")
        while (kind := (await heard.socket.receive(timeout=2)).type) is aiohttp.WSMsgType.TEXT:
            pass
        await asyncio.sleep(0.02)
        gone = await rig.account.get_open_order(SYMBOL, order_id=order["id"])
    assert kind in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE)
    assert gone["code"] == "RESOURCE_NOT_FOUND"


# --- clock, account, market ------------------------------------------------------------------


async def test_F60_the_venues_clock_is_away_and_honest_stamps_expire() -> None:
    async with running() as rig:
        rig.fault("F60", offset_ms=60_000)
        status, body = await rig.order()
        told = int((await rig.call("GET", "/api/v1/time"))[1])
        async with rig.http.ws_connect(rig.url) as socket:
            await socket.send_json(rig.subscribe_frame(ORDERS))
            frame = await socket.receive_json(timeout=2)
        rig.board.clear()
        again, _ = await rig.order()
    assert (status, body["message"], again) == (400, "Request has expired", 200)
    assert abs(told - rig.clock.now() // MS - 60_000) < 1_000
    assert frame["error"]["message"] == "Request has expired"


async def test_F61_the_venues_clock_drifts_from_when_it_was_injected() -> None:
    async with running() as rig:
        rig.fault("F61", ppm=100_000)
        early = int((await rig.call("GET", "/api/v1/time"))[1]) - rig.clock.now() // MS
        rig.clock.ahead += 100 * NANO
        late = int((await rig.call("GET", "/api/v1/time"))[1]) - rig.clock.now() // MS
    assert abs(early) < 100
    assert 9_500 < late < 10_500


async def test_F68_maintenance_is_told_and_takes_no_orders() -> None:
    async with running() as rig:
        rig.fault("F68", mode="maintenance")
        status, body = await rig.order()
        told = await rig.public.get_status()
        rig.board.clear()
        fine = await rig.public.get_status()
    assert (status, body["code"]) == (503, "MAINTENANCE")
    assert (told["status"], fine) == ("Maintenance", {"status": "Ok", "message": None})
    assert isinstance(told["message"], str)


async def test_F70_funding_is_settled_at_once_with_the_venues_sign() -> None:
    async with running() as rig:
        rig.fault("F70", ppm=1_000)
        before = Decimal((await rig.account.get_collateral())["netEquity"])
        await rig.limit("Ask", "2999.99", "1")
        await rig.call("GET", "/api/v1/ping")
        rows = await rig.account.get_funding_payments()
        after = Decimal((await rig.account.get_collateral())["netEquity"])
        conserved = rig.engine.money().total
    assert (rows[0]["quantity"], rows[0]["fundingRate"]) == ("3", "0.001")
    assert Decimal("1.4") < after - before < Decimal("1.6")
    assert conserved == 0


async def test_F71_all_free_margin_is_gone_until_cleared() -> None:
    async with running() as rig:
        rig.fault("F71")
        status, body = await rig.order()
        limits = await rig.account.get_max_order_quantity(SYMBOL, "Bid")
        rig.board.clear()
        again, _ = await rig.order()
        balance = rig.engine.accounts["backpack"].balance
    assert (status, body["code"], again) == (400, "INSUFFICIENT_MARGIN", 200)
    assert limits["maxOrderQuantity"] == "0"
    assert balance == 1_000_000 * NANO


async def test_F73_positions_are_told_larger_than_the_fills_give() -> None:
    async with running() as rig:
        await rig.limit("Ask", "2999.99", "0.5")
        rig.fault("F73", size="0.25")
        wrong = await rig.account.get_open_positions()
        async with listening(rig, POSITIONS) as heard:
            assert heard.heard[0]["data"]["q"] == "-0.7500"
        rig.board.clear()
        right = await rig.account.get_open_positions()
        await rig.limit("Bid", "3000.01", "0.5")
        rig.fault("F73")
        flat = await rig.account.get_open_positions()
    assert (wrong[0]["netQuantity"], right[0]["netQuantity"]) == ("-0.75", "-0.5")
    assert flat[0]["netQuantity"] == "0.1"


async def test_F78_the_leverage_is_changed_on_the_venue() -> None:
    async with running() as rig:
        rig.fault("F78", leverage=3)
        account = await rig.account.get_account()
    assert account["leverageLimit"] == "3"


@pytest.mark.parametrize(
    ("mode", "status", "code"), [("revoked", 401, "UNAUTHORIZED"), ("ip", 403, "FORBIDDEN")]
)
async def test_F79_the_key_is_refused_everywhere(mode: str, status: int, code: str) -> None:
    async with running() as rig:
        rig.fault("F79", mode=mode)
        got, body = await rig.order()
        history, _ = await rig.call("GET", "/wapi/v1/history/fills", None, "fillHistoryQueryAll")
        public, _ = await rig.call("GET", "/api/v1/time")
        async with rig.http.ws_connect(rig.url) as socket:
            await socket.send_json(rig.subscribe_frame(ORDERS))
            frame = await socket.receive_json(timeout=2)
    assert (got, body["code"], history, public) == (status, code, status, 200)
    assert frame["error"]["code"] == 4003


# --- together --------------------------------------------------------------------------------


async def test_a_doubled_odd_fill_in_the_wrong_place_of_a_lost_answer() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        for name in ("F01", "F19", "F28"):
            rig.fault(name)
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await rig.order(price="3000.01")
        told = [await heard.data(ORDERS) for _ in range(3)]
        fills = await rig.account.get_fill_history()
    assert [frame["e"] for frame in told] == ["orderAccepted", "orderFill", "orderFill"]
    assert told[1] == told[2]
    assert told[1]["N"] == fills[0]["feeSymbol"] == "SOL"


async def test_a_foreign_trade_is_liquidated_while_positions_answer_empty() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        for name in ("F25", "F26", "F74"):
            rig.fault(name)
        told = [await heard.data(ORDERS) for _ in range(4)]
        empty = await rig.account.get_open_positions()
        fills = await rig.account.get_fill_history()
    assert [frame["O"] for frame in told][::2] == ["USER", "LIQUIDATION_AUTOCLOSE"]
    assert empty == []
    assert [row["systemOrderType"] for row in fills] == ["LiquidatePositionOnBook", None]


async def test_a_race_a_throttled_cancel_and_a_gap_at_once() -> None:
    async with running() as rig, listening(rig, DEPTH) as heard:
        order = await rig.limit("Bid", "2999.98", "0.5", post_only=True)
        await heard.data(DEPTH)
        for name in ("F59", "F22", "F50"):
            rig.fault(name)
        throttled = await rig.account.cancel_order(SYMBOL, order_id=order["id"])
        cancelled = await rig.account.cancel_order(SYMBOL, order_id=order["id"])
        rig.trade("2999.99", "0.1", Side.SELL)
        rig.market([level("2999.97", "3")], [])
        left = rig.board.active()
    assert throttled["code"] == "TOO_MANY_REQUESTS"
    assert cancelled["executedQuantity"] == "0.25"
    assert left == []


async def test_F01_to_F06_a_batch_is_lost_late_or_garbled_like_one_order() -> None:
    async with running() as rig:
        lost = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
        for name, executed in (("F01", 2), ("F02", 2)):
            rig.fault(name)
            with pytest.raises(lost):
                await batch(rig, "2990", "2991")
            assert len(rig.engine.orders) == executed
        await rig.account.cancel_all_orders(SYMBOL)
        rig.fault("F03", delay_ms=30)
        with pytest.raises(lost):
            await batch(rig, "2990", "2991")
        await asyncio.sleep(0.08)
        assert len(await rig.account.get_open_orders()) == 2

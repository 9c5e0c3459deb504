"""Backpack over REST, driven by bpx-py: market data, orders, account, and every refusal."""

import asyncio
import base64
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from bpx.account import Account as SyncAccount
from bpx.public import Public as SyncPublic

from exchanges.simulator.backpack_options import BackpackOptions
from exchanges.simulator.defaults import BACKPACK_RULES
from strategy.domain import NANO, Ns, Quote, Side
from tests.sim.test_backpack_server_rig import ASKS, BIDS, MS, QUICK, SYMBOL, Rig, level, running

CROSS = {"code": "INVALID_ORDER", "message": "Order would immediately match and take"}
NOT_FOUND = {"code": "RESOURCE_NOT_FOUND", "message": "Not Found"}


# --- market data -----------------------------------------------------------------------------


async def test_markets_carry_the_filters_of_the_instrument() -> None:
    async with running() as rig:
        listed = await rig.public.get_markets()
        _, one = await rig.call("GET", f"/api/v1/markets/{SYMBOL}")
        status, by_query = await rig.call("GET", "/api/v1/market", {"symbol": SYMBOL})
        _, spot = await rig.call("GET", "/api/v1/markets", {"marketType": "SPOT"})
    assert (status, listed, spot) == (200, [one], [])
    assert by_query == one
    assert (one["symbol"], one["baseSymbol"], one["quoteSymbol"]) == (SYMBOL, "ETH", "USDC")
    assert (one["marketType"], one["orderBookState"]) == ("PERP", "Open")
    price, quantity = one["filters"]["price"], one["filters"]["quantity"]
    assert price["tickSize"] == "0.01"
    assert (price["maxMultiplier"], price["minImpactMultiplier"]) == ("1.25", "0.98")
    assert (quantity["stepSize"], quantity["minQuantity"]) == ("0.0001", "0.0001")
    assert one["fundingInterval"] == 3_600_000
    assert one["imfFunction"]["base"] == "0.02"


async def test_depth_has_ascending_bids_a_text_update_id_and_microseconds() -> None:
    async with running() as rig:
        depth = await rig.public.get_depth(SYMBOL)
        rig.market([level("2999.97", "1")], [])
        later = await rig.public.get_depth(SYMBOL)
        _, short = await rig.call("GET", "/api/v1/depth", {"symbol": SYMBOL, "limit": "5"})
        now = rig.clock.now()
    assert depth["bids"] == [["2999", "10"], ["2999.98", "4"], ["2999.99", "1.5"]]
    assert depth["asks"] == [["3000.01", "2"], ["3000.02", "3"], ["3001", "10"]]
    assert int(later["lastUpdateId"]) == int(depth["lastUpdateId"]) + 1
    assert isinstance(depth["lastUpdateId"], str)
    assert abs(depth["timestamp"] * 1000 - now) < NANO
    assert short["bids"][-1] == ["2999.99", "1.5"]


async def test_a_depth_limit_outside_the_enumeration_is_plain_text_400() -> None:
    async with running() as rig:
        status, text = await rig.call("GET", "/api/v1/depth", {"symbol": SYMBOL, "limit": "7"})
        other, bars = await rig.call("GET", "/api/v1/klines", {"symbol": SYMBOL, "interval": "7m"})
    assert (status, other) == (400, 400)
    assert text.startswith("failed to parse parameter `limit`")
    assert "valid enumeration value" in bars


async def test_ticker_is_empty_until_something_trades() -> None:
    async with running() as rig:
        status, body = await rig.call("GET", "/api/v1/ticker", {"symbol": SYMBOL})
        assert (status, body) == (204, "")
        assert await rig.public.get_tickers() == []
        rig.trade("3000.01", "0.5", Side.BUY)
        rig.trade("2999.99", "0.25", Side.SELL)
        ticker = await rig.public.get_ticker(SYMBOL)
        trades = await rig.public.get_recent_trades(SYMBOL)
        history = await rig.public.get_history_trades(SYMBOL, 1, 1)
        start = int(rig.clock.now() // NANO) - 120
        bars = await rig.public.get_klines(SYMBOL, "1m", start)
    assert (ticker["firstPrice"], ticker["lastPrice"]) == ("3000.01", "2999.99")
    assert (ticker["trades"], ticker["volume"]) == ("2", "0.75")
    assert [row["isBuyerMaker"] for row in trades] == [True, False]
    assert trades[0]["id"] > trades[1]["id"]
    assert trades[1]["quoteQuantity"] == "1500.005"
    assert history == trades[1:]
    assert sum(int(bar["trades"]) for bar in bars) == 2
    assert bars[0]["open"] == "3000.01"


async def test_marks_funding_and_open_interest_are_arrays() -> None:
    async with running() as rig:
        marks = await rig.public.get_all_mark_prices(SYMBOL)
        rates = await rig.public.get_funding_interval_rates(SYMBOL, 3)
        interest = await rig.public.get_open_interest(SYMBOL)
        assets = await rig.public.get_assets()
        empty = await rig.public.get_borrow_lend_markets()
        _, dated = await rig.call("GET", "/api/v1/markPrices", {"marketType": "DATED"})
        now = rig.clock.now() // MS
    assert (marks[0]["markPrice"], marks[0]["fundingRate"]) == ("3000", "0.0000125")
    assert 0 < marks[0]["nextFundingTimestamp"] - now <= 3_600_000
    assert len(rates) == 3
    assert rates[0]["intervalEndTimestamp"] > rates[1]["intervalEndTimestamp"]
    assert rates[0]["intervalEndTimestamp"].endswith(":00:00")
    assert interest[0]["openInterest"] == "0"
    assert {row["symbol"] for row in assets} == {"ETH", "USDC"}
    assert (empty, dated) == ([], [])


async def test_status_ping_and_time() -> None:
    async with running() as rig:
        assert await rig.public.get_status() == {"status": "Ok", "message": None}
        assert await rig.public.get_ping() == "pong"
        told = int(await rig.public.get_time())
        assert abs(told * MS - rig.clock.now()) < NANO


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/depth?symbol=ETH-PERP", 400, "INVALID_CLIENT_REQUEST"),
        ("GET", "/api/v1/ticker", 400, "INVALID_CLIENT_REQUEST"),
        ("GET", f"/api/v1/trades?symbol={SYMBOL}&limit=-1", 400, "INVALID_CLIENT_REQUEST"),
        ("GET", f"/api/v1/trades?symbol={SYMBOL}&limit=1001", 400, "INVALID_CLIENT_REQUEST"),
        ("GET", f"/api/v1/klines?symbol={SYMBOL}&interval=1m", 400, "INVALID_CLIENT_REQUEST"),
        ("GET", "/api/v1/nothing", 404, "RESOURCE_NOT_FOUND"),
        ("GET", "/", 404, "RESOURCE_NOT_FOUND"),
        ("PUT", "/api/v1/order", 405, "INVALID_CLIENT_REQUEST"),
    ],
)
async def test_public_requests_that_are_wrong_get_a_code(
    method: str, path: str, status: int, code: str
) -> None:
    async with running() as rig:
        seen, body = await rig.call(method, path)
    assert (seen, body["code"]) == (status, code)


# --- orders ----------------------------------------------------------------------------------


async def test_a_resting_limit_order_answers_new_and_is_found_by_both_ids() -> None:
    async with running() as rig:
        order = await rig.limit("Bid", "2990.5", "0.25", client_id=7, post_only=True)
        by_id = await rig.account.get_open_order(SYMBOL, order_id=order["id"])
        by_client = await rig.account.get_open_order(SYMBOL, client_id=7)
        listed = await rig.account.get_open_orders(symbol=SYMBOL)
        everywhere = await rig.account.get_open_orders()
        now = rig.clock.now() // MS
    assert (order["status"], order["clientId"]) == ("New", 7)
    assert (order["quantity"], order["price"]) == ("0.25", "2990.5")
    assert (order["executedQuantity"], order["executedQuoteQuantity"]) == ("0", "0")
    assert (order["orderType"], order["side"], order["timeInForce"]) == ("Limit", "Bid", "GTC")
    assert (order["postOnly"], order["selfTradePrevention"]) == (True, "RejectTaker")
    assert isinstance(order["id"], str)
    assert abs(order["createdAt"] - now) < 1000
    assert by_id == by_client == order
    assert listed == everywhere == [order]


async def test_a_taker_limit_order_answers_filled_and_is_then_forgotten() -> None:
    async with running() as rig:
        order = await rig.limit("Bid", "3000.02", "2.5", client_id=8)
        gone = await rig.account.get_open_order(SYMBOL, order_id=order["id"])
        status, _ = await rig.call(
            "GET", "/api/v1/order", {"symbol": SYMBOL, "clientId": "8"}, "orderQuery"
        )
    assert (order["status"], order["executedQuantity"]) == ("Filled", "2.5")
    assert Decimal(order["executedQuoteQuantity"]) == Decimal("7500.03")
    assert gone == NOT_FOUND
    assert status == 404


async def test_a_partly_filled_limit_order_rests_with_its_remainder() -> None:
    async with running() as rig:
        order = await rig.limit("Bid", "3000.01", "2.5")
        listed = await rig.account.get_open_orders()
    assert (order["status"], order["executedQuantity"]) == ("PartiallyFilled", "2")
    assert listed == [order]


@pytest.mark.parametrize("word", ["Expired", "PartiallyFilled", "Cancelled"])
async def test_D9_an_ioc_remainder_ends_with_the_switched_status(word: str) -> None:
    async with running(BackpackOptions(remainder_status=word)) as rig:
        order = await rig.limit("Ask", "2999.99", "2", time_in_force="IOC")
        history = await rig.account.get_order_history(order_id=order["id"])
    assert (order["status"], order["executedQuantity"]) == (word, "1.5")
    assert (history[0]["status"], history[0]["expiryReason"]) == (word, "ImmediateOrCancel")


async def test_an_immediate_order_without_a_counterpart_expires_with_nothing() -> None:
    async with running() as rig:
        ioc = await rig.limit("Bid", "2999", "1", time_in_force="IOC")
        fok = await rig.limit("Bid", "3000.01", "5", time_in_force="FOK")
        full = await rig.limit("Bid", "3000.01", "1", time_in_force="FOK")
    assert (ioc["status"], ioc["executedQuantity"]) == ("Expired", "0")
    assert (fok["status"], fok["executedQuantity"]) == ("Expired", "0")
    assert (full["status"], full["executedQuantity"]) == ("Filled", "1")


async def test_market_orders_by_size_by_quote_and_with_a_tolerance() -> None:
    async with running() as rig:
        sized = await rig.account.execute_order(SYMBOL, "Bid", "Market", quantity="1")
        quoted = await rig.account.execute_order(SYMBOL, "Ask", "Market", quote_quantity="600")
        _, bounded = await rig.order(
            orderType="Market",
            price=None,
            quantity="9",
            slippageTolerance="1",
            slippageToleranceType="TickSize",
        )
        history = await rig.account.get_order_history(order_id=bounded["id"])
    assert (sized["status"], sized["orderType"], sized["timeInForce"]) == (
        "Filled",
        "Market",
        "GTC",
    )
    assert sized["executedQuoteQuantity"] == "3000.01"
    assert "price" not in sized
    assert (quoted["quoteQuantity"], quoted["executedQuantity"]) == ("600", "0.2")
    assert (bounded["status"], bounded["executedQuantity"]) == ("Expired", "4")
    assert history[0]["expiryReason"] == "SlippageToleranceExceeded"


async def test_a_market_order_stops_at_the_impact_bound() -> None:
    async with running() as rig:
        rig.market([level("2999", "1")], [level("3000", "1"), level("3100", "9")], snapshot=True)
        order = await rig.account.execute_order(SYMBOL, "Bid", "Market", quantity="2")
        history = await rig.account.get_order_history(order_id=order["id"])
    assert (order["status"], order["executedQuantity"]) == ("Expired", "1")
    assert history[0]["expiryReason"] == "PriceImpact"


async def test_a_taker_waits_its_delay_and_a_post_only_order_does_not() -> None:
    async with running(rules=BACKPACK_RULES) as rig:
        loop = asyncio.get_running_loop()
        began = loop.time()
        _, maker = await rig.order(postOnly=True)
        maker_took = loop.time() - began
        began = loop.time()
        _, taker = await rig.order(price="3000.01")
        taker_took = loop.time() - began
    assert (maker["status"], taker["status"]) == ("New", "Filled")
    assert maker_took < 0.08
    assert taker_took >= 0.1


POST_ONLY = {"postOnly": True, "price": "3000.01"}
REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    (POST_ONLY, "INVALID_ORDER", "Order would immediately match and take"),
    ({"price": "2990.001"}, "INVALID_CLIENT_REQUEST", "Price decimal too long"),
    ({"price": "2990.0000000001"}, "INVALID_CLIENT_REQUEST", "Price decimal too long"),
    ({"quantity": "0.00011"}, "INVALID_CLIENT_REQUEST", "Quantity decimal too long"),
    ({"quantity": "0"}, "INVALID_ORDER", "Quantity is below the minimum allowed value"),
    ({"price": "4000"}, "INVALID_PRICE", "Price is too far from the last active price"),
    ({"quantity": "100000"}, "INSUFFICIENT_MARGIN", "Insufficient margin"),
    ({"reduceOnly": True}, "INVALID_ORDER", "Reduce only order not reduced"),
    ({"clientId": "7"}, "INVALID_CLIENT_REQUEST", "parse request payload error"),
    ({"symbol": "ETH-PERP"}, "INVALID_CLIENT_REQUEST", "Invalid market symbol"),
    ({"side": "Buy"}, "INVALID_CLIENT_REQUEST", "valid enumeration value"),
    ({"triggerPrice": "1"}, "NOT_IMPLEMENTED", "not supported"),
]


@pytest.mark.parametrize(("change", "code", "message"), REFUSALS)
async def test_a_refused_order_is_400_with_the_venues_words_and_counted(
    change: dict[str, Any], code: str, message: str
) -> None:
    async with running() as rig:
        status, body = await rig.order(**change)
        history = await rig.account.get_order_history()
        counted = rig.engine.accounts["backpack"]
    assert (status, body["code"]) == (400, code)
    assert message in body["message"]
    assert history == []
    assert (counted.orders_received, counted.orders_rejected) == (1, 1)
    assert counted.signature_failures == 0


async def test_a_repeated_live_client_id_is_refused() -> None:
    async with running() as rig:
        first = await rig.limit("Bid", "2990", client_id=5)
        second = await rig.limit("Bid", "2991", client_id=5)
        await rig.account.cancel_order(SYMBOL, order_id=first["id"])
        third = await rig.limit("Bid", "2991", client_id=5)
    assert second == {"code": "INVALID_CLIENT_REQUEST", "message": "Duplicate client id"}
    assert third["status"] == "New"


async def test_a_halted_market_pauses_trading_but_takes_cancels() -> None:
    async with running() as rig:
        order = await rig.limit("Bid", "2990")
        rig.engine.set_market(rig.clock.now(), SYMBOL, halt=True)
        market = (await rig.public.get_markets())[0]
        refused = await rig.limit("Bid", "2991")
        cancelled = await rig.account.cancel_order(SYMBOL, order_id=order["id"])
    assert market["orderBookState"] == "CancelOnly"
    assert refused["code"] == "TRADING_PAUSED"
    assert cancelled["status"] == "Cancelled"


async def test_too_many_open_orders_hit_the_order_limit() -> None:
    async with running(rules=replace(QUICK, max_open_orders=1)) as rig:
        await rig.limit("Bid", "2990")
        second = await rig.limit("Bid", "2991")
    assert second["code"] == "ORDER_LIMIT"


async def test_cancel_answers_the_cancelled_order_once_the_engine_did_it() -> None:
    async with running() as rig:
        first = await rig.limit("Bid", "2990", client_id=1)
        second = await rig.limit("Bid", "2991", client_id=2)
        by_id = await rig.account.cancel_order(SYMBOL, order_id=first["id"])
        by_text = await rig.account.cancel_order(SYMBOL, client_id=2)
        third = await rig.limit("Bid", "2992", client_id=3)
        status, by_number = await rig.call(
            "DELETE", "/api/v1/order", {"symbol": SYMBOL, "clientId": 3}, "orderCancel"
        )
        again = await rig.account.cancel_order(SYMBOL, order_id=first["id"])
        left = await rig.account.get_open_orders()
    assert (by_id["id"], by_id["status"]) == (first["id"], "Cancelled")
    assert (by_text["id"], by_text["status"]) == (second["id"], "Cancelled")
    assert (status, by_number["id"]) == (200, third["id"])
    assert (again, left) == (NOT_FOUND, [])


async def test_D12_a_text_client_id_is_refused_when_strict() -> None:
    async with running(BackpackOptions(strict_client_id=True)) as rig:
        await rig.limit("Bid", "2990", client_id=1)
        refused = await rig.account.cancel_order(SYMBOL, client_id=1)
        found = await rig.account.get_open_order(SYMBOL, client_id=1)
    assert refused["code"] == "INVALID_CLIENT_REQUEST"
    assert found["status"] == "New"


async def test_cancels_can_answer_202_without_a_body() -> None:
    async with running(BackpackOptions(cancel_is_202=True)) as rig:
        order = await rig.limit("Bid", "2990")
        body = {"symbol": SYMBOL, "orderId": order["id"]}
        one = await rig.call("DELETE", "/api/v1/order", body, "orderCancel")
        await rig.limit("Bid", "2991")
        every = await rig.call("DELETE", "/api/v1/orders", {"symbol": SYMBOL}, "orderCancelAll")
        await asyncio.sleep(0.01)
        left = await rig.account.get_open_orders()
    assert one == every == (202, "")
    assert left == []


async def test_cancel_all_returns_what_it_cancelled() -> None:
    async with running() as rig:
        placed = [await rig.limit("Bid", px) for px in ("2990", "2991")]
        conditional = {"symbol": SYMBOL, "orderType": "ConditionalOrder"}
        _, none = await rig.call("DELETE", "/api/v1/orders", conditional, "orderCancelAll")
        cancelled = await rig.account.cancel_all_orders(SYMBOL)
        again = await rig.account.cancel_all_orders(SYMBOL)
        _, unnamed = await rig.call("DELETE", "/api/v1/orders", {}, "orderCancelAll")
    assert [row["id"] for row in cancelled] == [row["id"] for row in placed]
    assert {row["status"] for row in cancelled} == {"Cancelled"}
    assert (none, again) == ([], [])
    assert "symbol" in unnamed["message"]


async def test_an_order_is_named_by_one_id_and_its_own_market() -> None:
    async with running() as rig:
        order = await rig.limit("Bid", "2990", client_id=4)
        both = await rig.account.get_open_order(SYMBOL, order_id=order["id"], client_id=4)
        neither = await rig.account.get_open_order(SYMBOL)
        other = await rig.account.get_open_order("BTC_USDC_PERP", order_id=order["id"])
        unknown = await rig.account.get_open_order(SYMBOL, order_id="1")
    assert both["code"] == neither["code"] == "INVALID_CLIENT_REQUEST"
    assert "Invalid market symbol" in other["message"]
    assert unknown == NOT_FOUND


async def test_a_batch_answers_each_order_on_its_own() -> None:
    async with running() as rig:
        good: dict[str, Any] = {
            "symbol": SYMBOL,
            "side": "Bid",
            "orderType": "Limit",
            "quantity": "0.1",
            "price": "2990",
        }
        batch = [good, good | {"price": "2990.001"}, good | {"clientId": 9}]
        stamp = rig.clock.now() // MS
        text = "&".join(
            "instruction=orderExecute&" + "&".join(f"{k}={v}" for k, v in sorted(row.items()))
            for row in batch
        )
        signed = rig.account.private_key.sign(f"{text}&timestamp={stamp}&window=5000".encode())
        headers = rig.account._headers({}, "x", None) | {
            "X-Signature": base64.b64encode(signed).decode(),
            "X-Timestamp": str(stamp),
        }
        status, rows = await rig.call("POST", "/api/v1/orders", batch, **headers)
        refused, _ = await rig.call("POST", "/api/v1/orders", batch[:2], **headers)
    assert (status, refused) == (200, 400)
    assert [row["operation"] for row in rows] == ["Ok", "Err", "Ok"]
    assert rows[0]["status"] == "New"
    assert rows[1]["message"] == "Price decimal too long"
    assert rows[2]["clientId"] == 9


# --- account ---------------------------------------------------------------------------------


async def test_positions_are_signed_and_flat_is_an_empty_list() -> None:
    async with running() as rig:
        assert await rig.account.get_open_positions() == []
        await rig.limit("Ask", "2999.99", "0.5")
        held = await rig.account.get_open_positions()
        _, named = await rig.call("GET", "/api/v1/position", {"symbol": SYMBOL}, "positionQuery")
        _, spot = await rig.call("GET", "/api/v1/position", {"marketType": "SPOT"}, "positionQuery")
    row = held[0]
    assert named == held
    assert spot == []
    assert (row["symbol"], row["netQuantity"], row["entryPrice"]) == (SYMBOL, "-0.5", "2999.99")
    assert (row["netExposureQuantity"], row["netCost"]) == ("0.5", "-1499.995")
    assert row["markPrice"] == "3000"
    assert Decimal(row["pnlUnrealized"]) == Decimal("-0.005")
    assert Decimal(row["breakEvenPrice"]) < Decimal("2999.99")
    assert Decimal(row["estLiquidationPrice"]) > Decimal(1900000)
    assert isinstance(row["positionId"], str)
    assert isinstance(row["userId"], int)


async def test_balances_collateral_and_account_figures() -> None:
    async with running() as rig:
        flat = await rig.account.get_collateral()
        await rig.limit("Bid", "3000.01", "1")
        await rig.limit("Bid", "2990", "1", post_only=True)
        balances = await rig.account.get_balances()
        collateral = await rig.account.get_collateral()
        account = await rig.account.get_account()
    assert flat["marginFraction"] is None
    assert flat["netEquity"] == flat["netEquityAvailable"] == "1000000"
    free, locked = (Decimal(balances["USDC"][key]) for key in ("available", "locked"))
    assert free + locked == Decimal("999998.499995")
    assert locked > Decimal(500)
    assert Decimal(collateral["netEquity"]) == Decimal("999998.489995")
    assert Decimal(collateral["netExposureFutures"]) == 3000
    assert Decimal(collateral["pnlUnrealized"]) == Decimal("-0.01")
    assert collateral["imf"] == "0.02"
    assert Decimal(collateral["marginFraction"]) > 300
    assert (account["futuresMakerFee"], account["futuresTakerFee"]) == ("2", "5")
    assert (account["leverageLimit"], account["limitOrders"]) == ("10", 1)
    assert account["liquidating"] is False


async def test_leverage_is_account_wide_and_bounded() -> None:
    async with running() as rig:
        changed = await rig.account.update_account(leverage_limit="5", auto_lend=True)
        account = await rig.account.get_account()
        high = await rig.account.update_account(leverage_limit="51")
        odd = await rig.account.update_account(leverage_limit="5.5")
        body = {"autoLend": "yes"}
        _, wrong = await rig.call("PATCH", "/api/v1/account", body, "accountUpdate")
        leverage = rig.engine.accounts["backpack"].leverage
    assert changed == ""
    assert (account["leverageLimit"], account["autoLend"], leverage) == ("5", True, 5)
    assert high["code"] == "MAX_LEVERAGE_REACHED"
    assert odd["code"] == wrong["code"] == "INVALID_CLIENT_REQUEST"


async def test_the_largest_order_follows_margin_price_and_position() -> None:
    async with running() as rig:
        at_mark = await rig.account.get_max_order_quantity(SYMBOL, "Bid")
        priced = await rig.account.get_max_order_quantity(SYMBOL, "Bid", price="2000")
        await rig.limit("Bid", "3000.01", "0.5")
        query = {"symbol": SYMBOL, "side": "Ask", "reduceOnly": "true"}
        _, reducing = await rig.call(
            "GET", "/api/v1/account/limits/order", query, "maxOrderQuantity"
        )
        query["side"] = "Bid"
        _, growing = await rig.call(
            "GET", "/api/v1/account/limits/order", query, "maxOrderQuantity"
        )
        bad = await rig.account.get_max_order_quantity(SYMBOL, "Bid", price="x")
        odd = await rig.account.get_max_order_quantity(SYMBOL, "Buy")
    assert at_mark["maxOrderQuantity"] == "3333.3333"
    assert (priced["maxOrderQuantity"], priced["price"]) == ("5000", "2000")
    assert (reducing["maxOrderQuantity"], reducing["reduceOnly"]) == ("0.5", True)
    assert growing["maxOrderQuantity"] == "0"
    assert bad["code"] == odd["code"] == "INVALID_CLIENT_REQUEST"


async def test_without_a_price_no_order_quantity_is_offered() -> None:
    async with running(book=False) as rig:
        limits = await rig.account.get_max_order_quantity(SYMBOL, "Bid")
        order = await rig.account.execute_order(SYMBOL, "Bid", "Market", quantity="1")
        depth = await rig.public.get_depth(SYMBOL)
    assert limits["maxOrderQuantity"] == "0"
    assert order["code"] == "INVALID_PRICE"
    assert (depth["bids"], depth["asks"]) == ([], [])


# --- history ---------------------------------------------------------------------------------


async def test_fills_carry_ids_fees_and_naive_utc_times() -> None:
    async with running() as rig:
        began = rig.clock.now() // MS
        taker = await rig.limit("Bid", "3000.02", "2.5", client_id=11)
        maker = await rig.limit("Bid", "2999.99", "0.5", post_only=True)
        rig.trade("2999.98", "0.5", Side.SELL)
        newest = await rig.account.get_fill_history(SYMBOL)
        user = await rig.account.get_fill_history(fill_type="User", from_=began)
        forced = await rig.account.get_fill_history(fill_type="Liquidation")
        later = await rig.account.get_fill_history(from_=began + 60_000)
        paged = await rig.account.get_fill_history(limit=1, offset=1)
        query = {"orderId": taker["id"], "sortDirection": "Asc"}
        _, own = await rig.call("GET", "/wapi/v1/history/fills", query, "fillHistoryQueryAll")
        query = {"sortDirection": "Up"}
        status, _ = await rig.call("GET", "/wapi/v1/history/fills", query, "fillHistoryQueryAll")
    assert [row["orderId"] for row in newest] == [maker["id"], taker["id"], taker["id"]]
    assert user == newest
    assert (forced, later, status) == ([], [], 400)
    assert paged == newest[1:2]
    assert own == newest[:0:-1]
    first = own[0]
    assert (first["clientId"], first["side"], first["symbol"]) == ("11", "Bid", SYMBOL)
    assert (first["price"], first["quantity"]) == ("3000.01", "2")
    assert (first["fee"], first["feeSymbol"], first["isMaker"]) == ("3.00001", "USDC", False)
    assert isinstance(first["tradeId"], int)
    assert len(first["timestamp"]) == len("2025-07-27T17:39:00.092")
    assert (newest[0]["isMaker"], newest[0]["fee"], newest[0]["clientId"]) == (
        True,
        "0.299999",
        None,
    )


async def test_order_history_remembers_finished_orders() -> None:
    async with running() as rig:
        filled = await rig.limit("Bid", "3000.01", "1", client_id=1)
        rests = await rig.limit("Bid", "2990", "1")
        await rig.account.cancel_order(SYMBOL, order_id=rests["id"])
        await rig.limit("Bid", "3000.01", "1", post_only=True)
        rows = await rig.account.get_order_history(SYMBOL)
        one = await rig.account.get_order_history(order_id=filled["id"])
    assert [(row["id"], row["status"]) for row in rows] == [
        (rests["id"], "Cancelled"),
        (filled["id"], "Filled"),
    ]
    assert one == rows[1:]
    assert "T" in rows[0]["createdAt"]
    assert rows[0]["expiryReason"] is None
    assert rows[0]["systemOrderType"] is None


async def test_history_can_lag_the_engine() -> None:
    async with running(BackpackOptions(history_lag=Ns(300 * MS))) as rig:
        order = await rig.limit("Bid", "3000.01", "1")
        early = (await rig.account.get_fill_history(), await rig.account.get_order_history())
        rig.clock.ahead += 400 * MS
        late = await rig.account.get_fill_history()
        orders = await rig.account.get_order_history()
    assert early == ([], [])
    assert late[0]["orderId"] == orders[0]["id"] == order["id"]


async def test_funding_payments_are_positive_when_received() -> None:
    async with running() as rig:
        await rig.limit("Ask", "2999.99", "1")
        rig.clock.ahead += 3_600 * NANO
        rig.engine.advance(rig.clock.now())
        status, rows = await rig.call(
            "GET",
            "/wapi/v1/history/funding",
            {"symbol": SYMBOL},
            "fundingHistoryQueryAll",
            **rig_headers(rig, {"symbol": SYMBOL}, "fundingHistoryQueryAll"),
        )
    assert status == 200
    assert (rows[0]["quantity"], rows[0]["fundingRate"]) == ("0.0375", "0.0000125")
    assert rows[0]["intervalEndTimestamp"].endswith(":00:00")


def rig_headers(rig: Rig, params: dict[str, str], instruction: str) -> dict[str, str]:
    """Sign with the venue's clock rather than the machine's."""
    stamp = rig.clock.now() // MS
    signature = rig.account._sign(params, instruction, stamp, 5000)
    return {"X-Timestamp": str(stamp), "X-Signature": signature}


async def test_a_liquidation_is_marked_in_fills_and_orders() -> None:
    async with running() as rig:
        await rig.limit("Bid", "3000.01", "1")
        rig.engine.accounts["backpack"].balance = Quote(NANO)
        rig.market([level("2900", "5")], [level("2900.01", "5")], snapshot=True)
        fills = await rig.account.get_fill_history()
        orders = await rig.account.get_order_history()
        user = await rig.account.get_fill_history(fill_type="User")
        positions = await rig.account.get_open_positions()
    assert (fills[0]["systemOrderType"], fills[0]["side"]) == ("LIQUIDATION_AUTOCLOSE", "Ask")
    assert orders[0]["systemOrderType"] == "LIQUIDATION_AUTOCLOSE"
    assert (fills[1]["systemOrderType"], orders[1]["systemOrderType"]) == (None, None)
    assert len(user) == 1
    assert positions == []


async def test_histories_of_other_features_are_empty_lists() -> None:
    async with running() as rig:
        account = rig.account
        found = [
            await account.get_deposits(),
            await account.get_withdrawals(),
            await account.get_borrow_lend_positions(),
            await account.get_interest_history(),
            await account.get_profit_and_loss_history(),
            await account.get_settlements_history(),
            await account.get_funding_payments(),
        ]
    assert found == [[]] * 7


# --- the sync SDK ----------------------------------------------------------------------------


async def test_the_synchronous_sdk_trades_too() -> None:
    async with running() as rig:
        account: Any = SyncAccount(rig.keys.public_key, rig.keys.secret_key)
        public: Any = SyncPublic()
        account.BPX_API_URL = public.BASE_URL = f"{rig.url}/"

        def trade() -> tuple[Any, ...]:
            placed = account.execute_order(
                SYMBOL, "Bid", "Limit", quantity="0.5", price="2990", client_id=3, post_only=True
            )
            return (
                public.get_markets(),
                placed,
                account.get_open_orders(),
                account.cancel_order(SYMBOL, client_id=3),
                account.get_balances(),
            )

        markets, placed, listed, cancelled, balances = await asyncio.to_thread(trade)
    assert markets[0]["symbol"] == SYMBOL
    assert placed["status"] == "New"
    assert listed == [placed]
    assert (cancelled["id"], cancelled["status"]) == (placed["id"], "Cancelled")
    assert balances["USDC"]["staked"] == "0"


# --- authentication and abuse ----------------------------------------------------------------


async def test_a_wrong_key_signature_or_clock_is_refused_and_counted() -> None:
    async with running() as rig:
        path, instruction = "/api/v1/capital", "balanceQuery"
        seen = [
            await rig.call("GET", path, None, instruction, **{"X-API-Key": "someone"}),
            await rig.call("GET", path, None, "wrongInstruction"),
            await rig.call("GET", path, None, instruction, **{"X-Signature": "%%"}),
        ]
        rig.clock.ahead = 6 * NANO
        late = await rig.call("GET", path, None, instruction)
        rig.clock.ahead = -6 * NANO
        early = await rig.call("GET", path, None, instruction)
        rig.clock.ahead = 0
        wide = await rig.call("GET", path, None, instruction, **{"X-Window": "60001"})
        missing = await rig.call("GET", path)
        failures = rig.engine.accounts["backpack"].signature_failures
    messages = [body["message"] for _, body in seen]
    assert messages == ["Invalid signature", "Invalid signature", "Invalid X-Signature header"]
    assert {status for status, _ in [*seen, late, early, wide, missing]} == {400}
    assert late[1]["message"] == early[1]["message"] == "Request has expired"
    assert "X-Window" in wide[1]["message"]
    assert missing[1]["message"] == "Missing X-API-Key header"
    assert failures == 3


async def test_history_without_credentials_is_unauthorized() -> None:
    async with running() as rig:
        bare = await rig.call("GET", "/wapi/v1/history/fills")
        unknown = await rig.call(
            "GET", "/wapi/v1/history/fills", None, "fillHistoryQueryAll", **{"X-API-Key": "x"}
        )
    assert bare == unknown == (401, {"code": "UNAUTHORIZED", "message": "Unauthorized"})


async def test_a_badly_signed_order_never_reaches_the_engine() -> None:
    async with running() as rig:
        body = {"symbol": SYMBOL, "side": "Bid"}
        status, _ = await rig.call("POST", "/api/v1/order", body, "orderCancel")
        account = rig.engine.accounts["backpack"]
    assert status == 400
    assert (account.orders_received, account.orders_rejected) == (1, 1)
    assert account.signature_failures == 1
    assert not rig.engine.orders


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\x00", b"[" * 9000, b'{"a":{"b":1}}', b'"\\ud800"'],
)
async def test_a_malformed_body_is_a_parse_error(body: bytes) -> None:
    async with running() as rig:
        for method, path in (("POST", "order"), ("DELETE", "order"), ("POST", "orders")):
            status, answer = await rig.call(method, f"/api/v1/{path}", body)
            assert status == 400
            assert answer["code"] == "INVALID_CLIENT_REQUEST"
            assert answer["message"].startswith("parse request payload error: ")


async def test_an_oversize_body_is_refused_and_service_goes_on() -> None:
    async with running(BackpackOptions(max_body=1000)) as rig:
        status, body = await rig.call("POST", "/api/v1/order", b'"' + b"x" * 2000 + b'"')
        order = await rig.limit("Bid", "2990")
    assert (status, body["code"]) == (413, "INVALID_CLIENT_REQUEST")
    assert order["status"] == "New"


async def test_the_account_has_so_many_requests_a_minute() -> None:
    async with running(BackpackOptions(requests_per_minute=3)) as rig:
        for _ in range(3):
            await rig.account.get_balances()
        refused = await rig.account.get_balances()
        status, _ = await rig.call("GET", "/api/v1/capital", None, "balanceQuery")
        await rig.public.get_depth(SYMBOL)
        rig.clock.ahead += 61 * NANO
        headers = rig_headers(rig, {}, "balanceQuery")
        again, _ = await rig.call("GET", "/api/v1/capital", None, "balanceQuery", **headers)
    assert refused["code"] == "TOO_MANY_REQUESTS"
    assert (status, again) == (429, 200)


async def test_an_engine_that_does_not_answer_is_a_timeout_of_unknown_outcome() -> None:
    slow = replace(QUICK, latency=Ns(NANO))
    async with running(BackpackOptions(engine_seconds=0.05), slow) as rig:
        status, body = await rig.order()
        assert rig.engine.orders
    assert (status, body["code"]) == (503, "TIMEOUT")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"POST /api/v1/order HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
        b"POST /api/v1/order HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        (
            b"POST /api/v1/order HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n"
            b"Content-Length: 3\r\n\r\nabc"
        ),
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"\x00" * 100_000,
    ],
)
async def test_garbage_on_the_port_does_not_disturb_the_others(garbage: bytes) -> None:
    async with running() as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.server.port)
        writer.write(garbage)
        await asyncio.sleep(0.02)
        order = await rig.limit("Bid", "2990")
        writer.transport.abort()
        answer = await reader.read(100) if not reader.exception() else b""
        depth = await rig.public.get_depth(SYMBOL)
    assert order["status"] == "New"
    assert b" 500 " not in answer
    assert len(depth["asks"]) == len(ASKS)


async def test_an_order_is_shown_in_the_book_it_rests_in() -> None:
    async with running() as rig:
        await rig.limit("Bid", "2999.98", "1")
        depth = await rig.public.get_depth(SYMBOL)
        async with rig.http.get(f"{rig.url}/api/v1/depth?symbol={SYMBOL}") as answer:
            raw = await answer.text()
            assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert depth["bids"][-2] == ["2999.98", "5"]
    assert len(depth["bids"]) == len(BIDS)
    assert json.loads(raw)["asks"]


async def test_connections_can_be_held_open_without_a_request() -> None:
    async with running() as rig:
        idle = [await asyncio.open_connection("127.0.0.1", rig.server.port) for _ in range(20)]
        async with aiohttp.ClientSession() as other, other.get(f"{rig.url}/api/v1/ping") as answer:
            text = await answer.text()
        for _, writer in idle:
            writer.close()
    assert text == "pong"

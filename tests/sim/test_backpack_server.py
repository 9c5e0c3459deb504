"""Backpack over REST, driven by bpx-py: market data, orders, and every refusal."""

import asyncio
import base64
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from bpx.account import Account as SyncAccount
from bpx.public import Public as SyncPublic

from exchanges.simulator.backpack_options import BackpackOptions
from exchanges.simulator.defaults import BACKPACK_RULES
from strategy.domain import NANO, Side
from tests.sim.test_backpack_server_rig import MS, QUICK, SYMBOL, level, running

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
    ({"quantity": "3000"}, "INSUFFICIENT_MARGIN", "Insufficient margin"),
    ({"quantity": "100000"}, "POSITION_LIMIT", "Position limit exceeded"),
    ({"reduceOnly": True}, "INVALID_ORDER", "Reduce only order not reduced"),
    ({"clientId": "7"}, "INVALID_CLIENT_REQUEST", "parse request payload error"),
    ({"symbol": "ETH-PERP"}, "INVALID_CLIENT_REQUEST", "Invalid market symbol"),
    ({"side": "Buy"}, "INVALID_CLIENT_REQUEST", "valid enumeration value"),
    (
        {"triggerPrice": "1"},
        "INVALID_CLIENT_REQUEST",
        "Must specify both `triggerPrice` and `triggerQuantity` or neither",
    ),
    ({"price": "3270.01"}, "INVALID_PRICE", "Price is too far from the last active price"),
    ({"price": "1000001"}, "INVALID_PRICE", "Price is above the maximum allowed value"),
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

"""Backpack's account, positions and histories, driven by bpx-py."""

from decimal import Decimal

from exchanges.simulator.backpack_options import BackpackOptions
from strategy.domain import NANO, Ns, Quote, Side
from tests.sim.test_backpack_server_rig import MS, SYMBOL, level, running


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
    # Resting orders count: the position of 1 and the bid for 1 more, at the mark.
    assert Decimal(collateral["netExposureFutures"]) == 6000
    assert Decimal(collateral["pnlUnrealized"]) == Decimal("-0.01")
    assert collateral["imf"] == "0.02"
    assert 166 < Decimal(collateral["marginFraction"]) < 167
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
    # 1,000,000 of equity at 10x would be 3333 at the mark; the margin rate grows with size (B6).
    assert at_mark["maxOrderQuantity"] == "1618.0962"
    assert (Decimal(priced["maxOrderQuantity"]) > 2000, priced["price"]) == (True, "2000")
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
            **rig.venue_time({"symbol": SYMBOL}, "fundingHistoryQueryAll"),
        )
    assert status == 200
    assert (rows[0]["quantity"], rows[0]["fundingRate"]) == ("0.0375", "0.0000125")
    assert rows[0]["intervalEndTimestamp"].endswith(":00:00")


async def test_a_liquidation_is_marked_in_fills_and_orders() -> None:
    async with running() as rig:
        await rig.limit("Bid", "3000.01", "1")
        rig.engine.accounts["backpack"].balance = Quote(NANO)
        rig.market([level("2900", "5")], [level("2900.01", "5")], snapshot=True)
        fills = await rig.account.get_fill_history()
        orders = await rig.account.get_order_history()
        user = await rig.account.get_fill_history(fill_type="User")
        positions = await rig.account.get_open_positions()
    assert (fills[0]["systemOrderType"], fills[0]["side"]) == ("LiquidatePositionOnBook", "Ask")
    assert orders[0]["systemOrderType"] == "LiquidatePositionOnBook"
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

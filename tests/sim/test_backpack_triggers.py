"""Trigger orders, take profits and stop losses of the Backpack face, over the wire."""

import base64
from typing import Any

import pytest

from exchanges.simulator.backpack_options import BackpackOptions
from strategy.domain import NANO, Quote, Side
from tests.sim.test_backpack_server_rig import SYMBOL, Listener, Rig, level, listening, running

ORDERS = f"account.orderUpdate.{SYMBOL}"
HISTORY = "/wapi/v1/history/orders"


def trigger(at: str, size: str = "0.5", **more: Any) -> dict[str, Any]:
    """Return the members of a market trigger order, on top of the rig's order."""
    return {
        "orderType": "Market",
        "price": None,
        "quantity": None,
        "triggerPrice": at,
        "triggerQuantity": size,
    } | more


async def events(heard: Listener, count: int) -> list[tuple[str, str]]:
    """Return event and state of the next messages of the order stream."""
    told = [await heard.data(ORDERS) for _ in range(count)]
    return [(frame["e"], frame["X"]) for frame in told]


async def placed(rig: Rig, **params: Any) -> dict[str, Any]:
    status, row = await rig.order(**params)
    assert status == 200, row
    found: dict[str, Any] = row
    return found


def move(rig: Rig, bid: str, ask: str) -> None:
    rig.market([level(bid, "5")], [level(ask, "5")], snapshot=True)


async def test_a_trigger_order_waits_is_shown_and_cancelled() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        order = await placed(rig, **trigger("3100", clientId=5, triggerBy="MarkPrice"))
        account = await rig.account.get_account()
        by_client = await rig.account.get_open_order(SYMBOL, client_id=5)
        listed = await rig.account.get_open_orders(SYMBOL)
        told = await heard.data(ORDERS)
        cancelled = await rig.account.cancel_order(SYMBOL, order_id=order["id"])
        ended = await events(heard, 1)
        gone = await rig.account.get_open_order(SYMBOL, order_id=order["id"])
        history = await rig.account.get_order_history(SYMBOL)
    assert order["status"] == by_client["status"] == "TriggerPending"
    assert (order["triggerPrice"], order["triggerQuantity"]) == ("3100", "0.5")
    assert (order["triggerBy"], order["quantity"], order["triggeredAt"]) == (
        "MarkPrice",
        None,
        None,
    )
    assert listed == [order]
    assert (account["triggerOrders"], account["limitOrders"]) == (1, 0)
    assert (told["e"], told["X"], told["i"], told["c"]) == (
        "triggerPlaced",
        "TriggerPending",
        order["id"],
        5,
    )
    assert (told["P"], told["B"], told["Y"], "q" in told) == ("3100", "MarkPrice", "0.5", False)
    assert (cancelled["id"], cancelled["status"]) == (order["id"], "Cancelled")
    assert ended == [("orderCancelled", "Cancelled")]
    assert gone["code"] == "RESOURCE_NOT_FOUND"
    assert [(row["id"], row["status"], row["triggerPrice"]) for row in history] == [
        (order["id"], "Cancelled", "3100")
    ]


async def test_a_trigger_fires_once_under_its_own_id() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        order = await placed(rig, **trigger("3100", triggerBy="MarkPrice"))
        move(rig, "3099", "3100")
        resting = await rig.account.get_open_orders()
        move(rig, "3100", "3100.02")
        told = [await heard.data(ORDERS) for _ in range(3)]
        move(rig, "3110", "3110.02")
        fills = await rig.account.get_fill_history()
        history = await rig.account.get_order_history()
        counted = rig.engine.accounts["backpack"].orders_received
    assert [row["status"] for row in resting] == ["TriggerPending"]
    assert [frame["e"] for frame in told] == ["triggerPlaced", "orderAccepted", "orderFill"]
    assert {frame["i"] for frame in told} == {order["id"]}
    assert (told[2]["X"], told[2]["P"]) == ("Filled", "3100")
    assert [row["orderId"] for row in fills] == [order["id"]]
    assert [(row["id"], row["status"]) for row in history] == [(order["id"], "Filled")]
    assert history[0]["triggeredAt"] is not None
    assert (history[0]["quantity"], counted) == ("0.5", 1)


@pytest.mark.parametrize(
    ("by", "price", "fires"),
    [("LastPrice", "3050", True), ("MarkPrice", "3050", False), ("IndexPrice", "3050", False)],
)
async def test_only_its_own_reference_price_fires_a_trigger(
    by: str, price: str, fires: bool
) -> None:
    async with running() as rig:
        await placed(rig, **trigger(price, triggerBy=by))
        rig.trade("3050", "0.1", Side.BUY)
        left = await rig.account.get_account()
    assert left["triggerOrders"] == (0 if fires else 1)


@pytest.mark.parametrize(("word", "left"), [("LastPrice", 0), ("MarkPrice", 1)])
async def test_a_trigger_without_a_reference_takes_the_switched_one(word: str, left: int) -> None:
    async with running(BackpackOptions(default_trigger_by=word)) as rig:
        order = await placed(rig, **trigger("3050"))
        rig.trade("3050", "0.1", Side.BUY)
        account = await rig.account.get_account()
    assert (order["triggerBy"], account["triggerOrders"]) == (word, left)


async def test_a_falling_trigger_fires_at_or_below_its_price() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        await placed(rig, **trigger("2950", side="Ask", triggerBy="MarkPrice"))
        move(rig, "2950", "2950.01")
        move(rig, "2949.99", "2950.01")
        told = await events(heard, 3)
    assert told[1:] == [("orderAccepted", "New"), ("orderFill", "Filled")]


async def test_a_limit_trigger_rests_after_it_fired_and_is_cancelled_by_its_id() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        order = await placed(
            rig,
            **trigger("3050", orderType="Limit", price="2990", triggerBy="MarkPrice", clientId=8),
        )
        move(rig, "3050", "3050.02")
        told = await events(heard, 2)
        found = await rig.account.get_open_order(SYMBOL, order_id=order["id"])
        cancelled = await rig.account.cancel_order(SYMBOL, client_id=8)
    assert told[1] == ("orderAccepted", "New")
    assert (found["id"], found["status"], found["price"]) == (order["id"], "New", "2990")
    assert (cancelled["id"], cancelled["status"]) == (order["id"], "Cancelled")


async def test_a_trigger_that_cannot_be_placed_fails_with_its_reason() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        await placed(rig, **trigger("3050", side="Ask", reduceOnly=True, triggerBy="MarkPrice"))
        move(rig, "3050", "3050.02")
        told = await events(heard, 2)
        history = await rig.account.get_order_history()
        account = rig.engine.accounts["backpack"]
    assert told[1] == ("triggerFailed", "TriggerFailed")
    assert (history[0]["status"], history[0]["expiryReason"]) == (
        "TriggerFailed",
        "StopWithoutPosition",
    )
    assert (account.orders_received, account.orders_rejected) == (1, 1)


async def test_a_trigger_that_margin_does_not_cover_fails() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        await placed(rig, **trigger("3050", triggerBy="MarkPrice"))
        rig.engine.deposit("backpack", Quote(-999_999 * NANO))
        move(rig, "3050", "3050.02")
        told = await events(heard, 2)
        history = await rig.account.get_order_history()
    assert told[1] == ("triggerFailed", "TriggerFailed")
    assert history[0]["expiryReason"] == "InsufficientMargin"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"triggerQuantity": "2"}, "PositionLimit"),
        ({"orderType": "Limit", "price": "2850", "side": "Ask"}, "PriceOutOfBounds"),
        ({"orderType": "Limit", "price": "3060", "postOnly": True}, "PostOnlyTaker"),
        ({"triggerQuantity": "100%", "side": "Ask"}, "StopWithoutPosition"),
    ],
)
async def test_a_trigger_that_the_gateway_or_the_book_refuses_fails(
    change: dict[str, Any], reason: str
) -> None:
    async with running(BackpackOptions(position_limit=5_000)) as rig:
        async with listening(rig, ORDERS) as heard:
            order = await placed(rig, **trigger("3050", triggerBy="MarkPrice") | change)
            move(rig, "3120", "3120.02" if reason != "PostOnlyTaker" else "3050")
            if reason == "PostOnlyTaker":
                move(rig, "3050", "3050.02")
            told = await events(heard, 2)
        history = await rig.account.get_order_history(order_id=order["id"])
    assert told == [("triggerPlaced", "TriggerPending"), ("triggerFailed", "TriggerFailed")]
    assert [(row["status"], row["expiryReason"]) for row in history] == [("TriggerFailed", reason)]


async def test_a_share_of_the_position_is_sized_when_it_fires() -> None:
    async with running() as rig:
        await rig.limit("Bid", "3000.02", "2")
        order = await placed(
            rig, **trigger("2950", "50%", side="Ask", reduceOnly=True, triggerBy="MarkPrice")
        )
        await rig.limit("Bid", "3000.02", "1")
        move(rig, "2950", "2950.01")
        move(rig, "2940", "2940.02")
        async with listening(rig) as settle:
            assert await settle.silent(0.05)
        held = await rig.account.get_open_positions()
    assert order["triggerQuantity"] == "50%"
    assert held[0]["netQuantity"] == "1.5"


REFUSED = [
    ({"triggerPrice": "3100.001"}, "INVALID_CLIENT_REQUEST", "Price decimal too long"),
    ({"triggerQuantity": "0.00001"}, "INVALID_CLIENT_REQUEST", "Quantity decimal too long"),
    ({"triggerQuantity": "0"}, "INVALID_ORDER", "Quantity is below the minimum allowed value"),
    ({"triggerPrice": "0"}, "INVALID_PRICE", "Price is below the minimum allowed value"),
    (
        {"triggerQuantity": None},
        "INVALID_CLIENT_REQUEST",
        "Must specify both `triggerPrice` and `triggerQuantity` or neither",
    ),
    (
        {"quoteQuantity": "100"},
        "INVALID_CLIENT_REQUEST",
        "Cannot specify `quoteQuantity` for a trigger order",
    ),
    (
        {"stopLossLimitPrice": "2900"},
        "INVALID_CLIENT_REQUEST",
        "Cannot specify `stopLossLimitPrice` without `stopLossTriggerPrice`",
    ),
    (
        {"takeProfitTriggerPrice": "3200.001"},
        "INVALID_CLIENT_REQUEST",
        "Price decimal too long",
    ),
    (
        {"orderType": "Limit", "price": "3300"},
        "INVALID_PRICE",
        "Price is too far from the last active price",
    ),
]


@pytest.mark.parametrize(("change", "code", "message"), REFUSED)
async def test_a_wrong_trigger_order_is_refused_and_counted(
    change: dict[str, Any], code: str, message: str
) -> None:
    async with running() as rig:
        status, body = await rig.order(**trigger("3100") | change)
        account = rig.engine.accounts["backpack"]
        shown = await rig.account.get_account()
    assert (status, body) == (400, {"code": code, "message": message})
    assert (account.orders_received, account.orders_rejected) == (1, 1)
    assert shown["triggerOrders"] == 0


async def test_attached_prices_off_the_tick_are_refused_on_any_order() -> None:
    async with running() as rig:
        status, body = await rig.order(stopLossTriggerPrice="2900.001")
    assert (status, body["message"]) == (400, "Price decimal too long")


async def test_trigger_orders_are_limited_and_their_client_ids_unique() -> None:
    async with running(BackpackOptions(max_trigger_orders=2)) as rig:
        await placed(rig, **trigger("3100", clientId=1))
        same = await rig.order(**trigger("3100", clientId=1))
        plain = await rig.order(clientId=1)
        await placed(rig, clientId=2)
        clash = await rig.order(**trigger("3100", clientId=2))
        await placed(rig, **trigger("3100"))
        many = await rig.order(**trigger("3100"))
    for status, body in (same, plain, clash):
        assert (status, body["message"]) == (400, "Duplicate client id")
    assert (many[0], many[1]["code"]) == (400, "ORDER_LIMIT")


async def test_no_trigger_is_taken_without_a_price_or_in_a_halted_market() -> None:
    async with running(book=False) as rig:
        status, body = await rig.order(**trigger("3100"))
        assert (status, body["code"]) == (400, "INVALID_PRICE")
    async with running() as rig:
        rig.engine.set_market(rig.clock.now(), SYMBOL, halt=True)
        status, body = await rig.order(**trigger("3100"))
        assert (status, body["code"]) == (400, "TRADING_PAUSED")


async def test_cancel_all_takes_resting_and_conditional_orders_or_one_kind() -> None:
    async with running() as rig:
        kinds: list[list[str]] = []
        for kind in ("RestingLimitOrder", "ConditionalOrder", None):
            await rig.limit("Bid", "2990", "0.1")
            await placed(rig, **trigger("3100"))
            body = {"symbol": SYMBOL} | ({} if kind is None else {"orderType": kind})
            status, rows = await rig.call("DELETE", "/api/v1/orders", body, "orderCancelAll")
            assert status == 200
            kinds.append(sorted(row["orderType"] for row in rows))
            assert all(row["status"] == "Cancelled" for row in rows)
            await rig.account.cancel_all_orders(SYMBOL)
    assert kinds == [["Limit"], ["Market"], ["Limit", "Market"]]


async def test_a_trigger_in_a_batch_is_answered_as_waiting() -> None:
    async with running() as rig:
        body = [
            {"symbol": SYMBOL, "side": "Bid"}
            | {name: value for name, value in trigger("3100").items() if value is not None},
            {"symbol": SYMBOL, "side": "Bid", "orderType": "Market", "triggerPrice": "1"},
        ]
        stamp = rig.clock.now() // 1_000_000
        text = "&".join(
            "instruction=orderExecute&" + "&".join(f"{key}={row[key]}" for key in sorted(row))
            for row in body
        )
        signature = rig.account.private_key.sign(f"{text}&timestamp={stamp}&window=5000".encode())
        headers = {
            "X-API-Key": rig.keys.public_key,
            "X-Timestamp": str(stamp),
            "X-Signature": base64.b64encode(signature).decode(),
        }
        status, rows = await rig.call("POST", "/api/v1/orders", body, None, **headers)
    assert status == 200
    assert (rows[0]["operation"], rows[0]["status"]) == ("Ok", "TriggerPending")
    assert (rows[1]["operation"], rows[1]["code"]) == ("Err", "INVALID_CLIENT_REQUEST")


# --- take profits and stop losses ------------------------------------------------------------


async def test_attached_orders_are_placed_with_the_fill_and_name_their_parent() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        parent = await placed(
            rig,
            price="3000.01",
            takeProfitTriggerPrice="3100",
            stopLossTriggerPrice="2900",
            stopLossLimitPrice="2890",
            stopLossTriggerBy="MarkPrice",
        )
        told = [await heard.data(ORDERS) for _ in range(4)]
        waiting = await rig.account.get_open_orders()
    assert (parent["takeProfitTriggerPrice"], parent["stopLossLimitPrice"]) == ("3100", "2890")
    assert (told[0]["a"], told[0]["b"], told[0]["k"], told[0]["g"]) == (
        "3100",
        "2900",
        "2890",
        "MarkPrice",
    )
    assert [frame["e"] for frame in told] == ["orderAccepted", "orderFill", *["triggerPlaced"] * 2]
    profit, loss = waiting
    assert (profit["orderType"], loss["orderType"], loss["price"]) == ("Market", "Limit", "2890")
    for row, frame in zip(waiting, told[2:], strict=True):
        assert (row["side"], row["reduceOnly"], row["triggerQuantity"]) == ("Ask", True, "0.5")
        assert row["relatedOrderId"] == frame["I"] == parent["id"]
        assert row["id"] == frame["i"]


async def test_a_take_profit_closes_the_position_and_its_stop_loss_expires() -> None:
    async with running() as rig:
        await placed(
            rig, price="3000.01", takeProfitTriggerPrice="3050", stopLossTriggerPrice="2900"
        )
        async with listening(rig, ORDERS) as heard:
            move(rig, "3060", "3060.02")
            rig.trade("3060", "0.1", Side.BUY)
            told = [await heard.data(ORDERS) for _ in range(3)]
            positions = await rig.account.get_open_positions()
            waiting = await rig.account.get_open_orders()
    assert [frame["e"] for frame in told] == ["orderAccepted", "orderFill", "orderExpired"]
    assert (told[2]["X"], told[2]["R"]) == ("Expired", "StopWithoutPosition")
    assert told[2]["P"] == "2900"
    assert (positions, waiting) == ([], [])


async def test_a_stop_loss_of_a_short_fires_upward() -> None:
    async with running() as rig:
        await placed(rig, side="Ask", price="2999.99", stopLossTriggerPrice="3050")
        move(rig, "3060", "3060.02")
        rig.trade("3060", "0.1", Side.BUY)
        async with listening(rig) as settle:
            assert await settle.silent(0.05)
        positions = await rig.account.get_open_positions()
    assert positions == []


async def test_attached_orders_grow_with_a_parent_that_fills_in_parts() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        await placed(rig, price="2999.99", quantity="1", stopLossTriggerPrice="2900")
        rig.market([level("2999.99", "0")], [])
        rig.trade("2999.98", "0.25", Side.SELL)
        rig.trade("2999.98", "0.5", Side.SELL)
        told = [await heard.data(ORDERS) for _ in range(5)]
        waiting = await rig.account.get_open_orders()
    assert [frame["e"] for frame in told] == [
        "orderAccepted",
        "orderFill",
        "triggerPlaced",
        "orderFill",
        "orderModified",
    ]
    assert (told[2]["Y"], told[4]["Y"]) == ("0.25", "0.75")
    assert [row["triggerQuantity"] for row in waiting if row["triggerQuantity"]] == ["0.75"]

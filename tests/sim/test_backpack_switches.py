"""Every switch of the Backpack face, both ways, over the wire (venues.md part D, B3, B4)."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from exchanges.simulator.backpack_options import BackpackOptions
from strategy.domain import NANO, Ns, Quote, Side, bps
from tests.sim.test_backpack_server_rig import (
    QUICK,
    SYMBOL,
    Rig,
    level,
    listening,
    running,
)

ORDERS = f"account.orderUpdate.{SYMBOL}"
LAG = Ns(NANO)
POSITIONS = f"account.positionUpdate.{SYMBOL}"


@pytest.mark.parametrize(("switch", "status"), [(False, 200), (True, 400)])
@pytest.mark.parametrize(("tif", "reason"), [("IOC", "ImmediateOrCancel"), ("FOK", "FillOrKill")])
async def test_D9_an_order_that_traded_nothing_is_200_expired_or_400(
    switch: bool, status: int, tif: str, reason: str
) -> None:
    async with running(BackpackOptions(unfilled_is_400=switch)) as rig:
        got, body = await rig.order(price="2990", timeInForce=tif)
        history = await rig.account.get_order_history()
    assert got == status
    if switch:
        assert body == {"code": "INVALID_ORDER", "message": f"Order expired: {reason}"}
    else:
        assert (body["status"], body["executedQuantity"]) == ("Expired", "0")
    assert (history[0]["status"], history[0]["expiryReason"]) == ("Expired", reason)


def test_D9_a_word_that_is_no_status_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="remainder_status"):
        BackpackOptions(remainder_status="400")
    with pytest.raises(ValueError, match="default_trigger_by"):
        BackpackOptions(default_trigger_by="Mood")


@pytest.mark.parametrize(
    ("switch", "answer"),
    [
        (False, (404, {"code": "RESOURCE_NOT_FOUND", "message": "Not Found"})),
        (True, (400, {"code": "INVALID_CLIENT_REQUEST", "message": "Order not found"})),
    ],
)
async def test_D10_the_cancel_of_an_unknown_order(switch: bool, answer: tuple[int, Any]) -> None:
    async with running(BackpackOptions(cancel_unknown_is_400=switch)) as rig:
        body = {"symbol": SYMBOL, "orderId": "1"}
        got = await rig.call("DELETE", "/api/v1/order", body, "orderCancel")
        query = await rig.call("GET", "/api/v1/order", body, "orderQuery")
    assert got == answer
    assert query[0] == 404


@pytest.mark.parametrize("text", ["Insufficient margin", "Account has insufficient margin"])
async def test_D10_the_words_of_a_margin_refusal(text: str) -> None:
    async with running(BackpackOptions(margin_message=text)) as rig:
        rig.engine.deposit("backpack", Quote(-999_999 * NANO))
        status, body = await rig.order()
    assert (status, body) == (400, {"code": "INSUFFICIENT_MARGIN", "message": text})


async def test_D11_a_repeated_client_id_is_refused_by_default() -> None:
    async with running() as rig:
        await rig.order(clientId=7)
        status, body = await rig.order(clientId=7)
        await rig.account.cancel_order(SYMBOL, client_id=7)
        again, _ = await rig.order(clientId=7)
    assert (status, body["message"], again) == (400, "Duplicate client id", 200)


async def test_D11_a_repeated_client_id_is_taken_and_the_newest_order_answers_to_it() -> None:
    async with running(BackpackOptions(accept_duplicate_client_id=True)) as rig:
        async with listening(rig, ORDERS) as heard:
            _, first = await rig.order(clientId=7)
            _, second = await rig.order(clientId=7, price="2991")
            told = [await heard.data(ORDERS) for _ in range(2)]
        found = await rig.account.get_open_order(SYMBOL, client_id=7)
        await rig.account.cancel_order(SYMBOL, client_id=7)
        left = await rig.account.get_open_order(SYMBOL, client_id=7)
        await rig.account.cancel_order(SYMBOL, client_id=7)
        none = await rig.account.get_open_order(SYMBOL, client_id=7)
        await rig.limit("Bid", "3000.01", "0.5", client_id=7)
        fills = await rig.account.get_fill_history()
    assert first["clientId"] == second["clientId"] == 7
    assert [frame["c"] for frame in told] == [7, 7]
    assert (found["id"], left["id"]) == (second["id"], first["id"])
    assert none["code"] == "RESOURCE_NOT_FOUND"
    assert fills[0]["clientId"] == "7"


@pytest.mark.parametrize("switch", [False, True])
async def test_D13_the_order_of_the_bids(switch: bool) -> None:
    async with running(BackpackOptions(bids_descending=switch)) as rig:
        depth = await rig.public.get_depth(SYMBOL)
    prices = [float(px) for px, _ in depth["bids"]]
    assert prices == sorted(prices, reverse=switch)


@pytest.mark.parametrize("switch", [False, True])
async def test_D14_an_acknowledgement_of_subscribe(switch: bool) -> None:
    options = BackpackOptions(subscribe_ack=switch)
    async with running(options) as rig, listening(rig) as heard:
        for method in ("SUBSCRIBE", "UNSUBSCRIBE"):
            await heard.socket.send_json(
                {"method": method, "params": [f"depth.{SYMBOL}"], "id": method}
            )
            if switch:
                assert await heard.frame() == {"id": method, "result": None}
            else:
                assert await heard.silent(0.05)


@pytest.mark.parametrize("switch", [False, True])
async def test_D15_a_position_update_at_funding(switch: bool) -> None:
    options = BackpackOptions(position_update_on_funding=switch)
    async with running(options) as rig:
        await rig.limit("Bid", "3000.01", "1")
        async with listening(rig, POSITIONS) as heard:
            rig.clock.ahead += 3_600 * NANO
            rig.engine.advance(rig.clock.now())
            if switch:
                assert (await heard.data(POSITIONS))["e"] == "positionAdjusted"
            else:
                assert await heard.silent(0.05)


@pytest.mark.parametrize("switch", [False, True])
async def test_a_flat_market_is_an_empty_list_or_404(switch: bool) -> None:
    async with running(BackpackOptions(flat_position_is_404=switch)) as rig:
        query = {"symbol": SYMBOL}
        named = await rig.call("GET", "/api/v1/position", query, "positionQuery")
        every = await rig.call("GET", "/api/v1/position", None, "positionQuery")
    missing = {"code": "RESOURCE_NOT_FOUND", "message": "Position not found"}
    assert named == ((404, missing) if switch else (200, []))
    assert every == (200, [])


async def test_a_reduce_only_order_without_a_position_can_be_accepted_and_expire() -> None:
    options = BackpackOptions(reduce_only_expires=True)
    async with running(options) as rig, listening(rig, ORDERS) as heard:
        status, body = await rig.order(reduceOnly=True)
        told = [await heard.data(ORDERS) for _ in range(2)]
        history = await rig.account.get_order_history()
        account = rig.engine.accounts["backpack"]
    assert (status, body["status"], body["executedQuantity"]) == (200, "Expired", "0")
    assert [frame["e"] for frame in told] == ["orderAccepted", "orderExpired"]
    assert (told[1]["R"], told[1]["i"]) == ("ReduceOnlyNotReduced", body["id"])
    assert (history[0]["id"], history[0]["expiryReason"]) == (body["id"], "ReduceOnlyNotReduced")
    assert (account.orders_received, account.orders_rejected) == (1, 0)


async def test_a_reduce_only_order_without_a_position_is_refused_by_default() -> None:
    async with running() as rig:
        status, body = await rig.order(reduceOnly=True)
    assert (status, body["message"]) == (400, "Reduce only order not reduced")


@pytest.mark.parametrize("limit", [3_000, 10_000_000])
async def test_the_position_limit_counts_what_is_held_and_resting(limit: int) -> None:
    async with running(BackpackOptions(position_limit=limit)) as rig:
        account = await rig.account.get_account()
        one, _ = await rig.order(quantity="0.9")
        two, body = await rig.order(quantity="0.9")
        other_side, _ = await rig.order(side="Ask", price="3010", quantity="0.9")
    assert account["positionLimit"] == str(limit)
    assert (one, other_side) == (200, 200)
    if limit == 3_000:
        assert (two, body) == (
            400,
            {"code": "POSITION_LIMIT", "message": "Position limit exceeded"},
        )
    else:
        assert two == 200


@pytest.mark.parametrize(
    ("band", "side", "price", "status"),
    [
        ((9_200, 10_900), "Bid", "3270", 200),
        ((9_200, 10_900), "Bid", "3271", 400),
        ((9_200, 10_900), "Ask", "2760", 200),
        ((9_200, 10_900), "Ask", "2759", 400),
        ((9_200, 10_900), "Bid", "2400", 200),
        ((9_900, 10_100), "Bid", "3040", 400),
    ],
)
async def test_the_band_around_the_mark_bounds_the_taking_side(
    band: tuple[int, int], side: str, price: str, status: int
) -> None:
    async with running(BackpackOptions(mark_band_bps=band)) as rig:
        got, body = await rig.order(side=side, price=price)
        markets = await rig.public.get_markets()
    assert got == status, body
    published = markets[0]["filters"]["price"]["meanMarkPriceBand"]
    assert published["minMultiplier"] == ("0.92" if band[0] == 9_200 else "0.99")


async def test_history_requests_of_an_address_are_rationed() -> None:
    async with running(BackpackOptions(history_per_minute=2)) as rig:
        path = f"/api/v1/trades/history?symbol={SYMBOL}"
        found = [(await rig.call("GET", path))[0] for _ in range(3)]
        other, _ = await rig.call("GET", f"/api/v1/trades?symbol={SYMBOL}")
        rig.clock.ahead += 61 * NANO
        later, _ = await rig.call("GET", path)
    assert (found, other, later) == ([200, 200, 429], 200, 200)


async def test_a_goodbye_waits_only_so_long_for_a_client_that_does_not_answer() -> None:
    async with running(BackpackOptions(goodbye_seconds=0.05)) as rig, listening(rig) as heard:
        connection = heard.socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.pause_reading()
        began = asyncio.get_running_loop().time()
        await rig.server.stop()
        assert asyncio.get_running_loop().time() - began < 0.9
        connection.transport.resume_reading()


# --- the engine's rules as this venue words them ---------------------------------------------


async def _own_bid(rig: Rig) -> dict[str, Any]:
    rig.market([level("2999.99", "0")], [])
    _, row = await rig.order(price="2999.99", quantity="0.5", postOnly=True)
    found: dict[str, Any] = row
    return found


@pytest.mark.parametrize(
    ("mode", "taker", "maker"),
    [
        (None, ("Expired", "0"), "New"),
        ("RejectTaker", ("Expired", "0"), "New"),
        ("RejectMaker", ("Filled", "0.5"), "Expired"),
        ("RejectBoth", ("Expired", "0"), "Expired"),
    ],
)
async def test_self_trade_prevention_ends_taker_maker_or_both(
    mode: str | None, taker: tuple[str, str], maker: str
) -> None:
    async with running() as rig:
        resting = await _own_bid(rig)
        _, row = await rig.order(side="Ask", price="2999.98", selfTradePrevention=mode)
        history = await rig.account.get_order_history(order_id=resting["id"])
    assert (row["status"], row["executedQuantity"]) == taker
    assert row["selfTradePrevention"] == (mode or "RejectTaker")
    assert history[0]["status"] == maker
    if maker == "Expired":
        assert history[0]["expiryReason"] == "SelfTradePrevention"


STATES = [
    ("CancelOnly", {}, "Trading is paused"),
    ("Closed", {}, "Trading is paused"),
    ("LimitOnly", {"orderType": "Market", "price": None}, "Market is in limit only mode"),
    (
        "LimitOnly",
        {"orderType": "Market", "price": None, "slippageTolerance": "1"},
        "Market is in limit only mode",
    ),
    ("PostOnly", {}, "Market is in post only mode"),
]


def _state(rig: Rig, state: str) -> None:
    rig.engine.markets[SYMBOL] = replace(rig.engine.markets[SYMBOL], state=state)


@pytest.mark.parametrize(("state", "change", "message"), STATES)
async def test_a_market_state_refuses_what_it_does_not_take(
    state: str, change: dict[str, Any], message: str
) -> None:
    async with running() as rig:
        resting = await rig.limit("Bid", "2990")
        _state(rig, state)
        status, body = await rig.order(**change)
        listed = await rig.public.get_markets()
        cancelled = await rig.account.cancel_order(SYMBOL, order_id=resting["id"])
    assert (status, body) == (400, {"code": "TRADING_PAUSED", "message": message})
    assert listed[0]["orderBookState"] == state
    assert cancelled["status"] == "Cancelled"


async def test_a_market_state_takes_what_it_allows() -> None:
    async with running() as rig:
        _state(rig, "LimitOnly")
        limit, _ = await rig.order()
        _state(rig, "PostOnly")
        post_only, _ = await rig.order(postOnly=True)
    assert (limit, post_only) == (200, 200)


async def test_a_closed_market_has_no_depth_and_silent_streams() -> None:
    async with running() as rig:
        _state(rig, "Closed")
        got = await rig.call("GET", f"/api/v1/depth?symbol={SYMBOL}")
        async with listening(rig, f"depth.{SYMBOL}") as heard:
            rig.market([level("2999.97", "1")], [])
            assert await heard.silent(0.05)
    assert got == (404, {"code": "RESOURCE_NOT_FOUND", "message": "Not Found"})


async def test_a_market_order_ends_at_the_impact_bound_and_a_limit_at_none() -> None:
    async with running(rules=replace(QUICK, market_impact=bps(2))) as rig:
        rig.market([], [level("3000.01", "0.1"), level("3000.02", "0"), level("3001", "10")])
        _, row = await rig.order(orderType="Market", price=None, quantity="1")
        _, limit = await rig.order(price="3001", quantity="0.5")
        history = await rig.account.get_order_history(order_id=row["id"])
    assert (row["status"], row["executedQuantity"]) == ("Expired", "0.1")
    assert history[0]["expiryReason"] == "PriceImpact"
    assert limit["status"] == "Filled"


async def test_a_cancel_that_is_only_accepted_also_covers_triggers() -> None:
    async with running(BackpackOptions(cancel_is_202=True)) as rig:
        body = {"orderType": "Market", "price": None, "quantity": None}
        _, row = await rig.order(**body, triggerPrice="3100", triggerQuantity="0.5")
        query = {"symbol": SYMBOL, "orderId": row["id"]}
        got = await rig.call("DELETE", "/api/v1/order", query, "orderCancel")
        every = await rig.call("DELETE", "/api/v1/orders", {"symbol": SYMBOL}, "orderCancelAll")
        left = await rig.account.get_open_orders()
    assert got == every == (202, "")
    assert left == []


async def test_an_order_in_history_shows_the_past_while_history_lags() -> None:
    options = BackpackOptions(history_lag=LAG)
    async with running(options) as rig:
        order = await rig.limit("Bid", "2999.99", "1", post_only=True)
        rig.clock.ahead += 2 * LAG
        rig.engine.advance(rig.clock.now())
        rig.market([level("2999.99", "0")], [])
        rig.trade("2999.98", "0.25", Side.SELL)
        headers = rig.venue_time({}, "orderHistoryQueryAll")
        path = "/wapi/v1/history/orders"
        _, early = await rig.call("GET", path, None, "orderHistoryQueryAll", **headers)
        rig.clock.ahead += 2 * LAG
        headers = rig.venue_time({}, "orderHistoryQueryAll")
        _, late = await rig.call("GET", path, None, "orderHistoryQueryAll", **headers)
    assert [(row["id"], row["status"]) for row in early] == [(order["id"], "New")]
    assert [(row["status"], row["executedQuantity"]) for row in late] == [
        ("PartiallyFilled", "0.25")
    ]


async def test_a_bar_is_told_once_more_when_it_is_closed() -> None:
    stream = f"kline.1m.{SYMBOL}"
    async with running() as rig, listening(rig, stream) as heard:
        rig.trade("2999.99", "0.5", Side.SELL)
        first = await heard.data(stream, 3)
        rig.clock.ahead += 61 * NANO
        closed = await heard.data(stream, 3)
    assert (first["X"], closed["X"]) == (False, True)
    assert (closed["t"], closed["n"]) == (first["t"], 1)


async def test_the_largest_order_echoes_the_flags_it_was_asked_with() -> None:
    path, name = "/api/v1/account/limits/order", "maxOrderQuantity"
    query = {"symbol": SYMBOL, "side": "Bid", "autoBorrow": "true", "reduceOnly": "false"}
    async with running() as rig:
        status, row = await rig.call("GET", path, query, name)
        wrong = await rig.call("GET", path, query | {"autoBorrow": "yes"}, name)
        fine = await rig.call("GET", path, query | {"price": "2990.0000000001"}, name)
    assert (status, row["autoBorrow"], row["reduceOnly"]) == (200, True, False)
    assert (wrong[0], fine[0]) == (400, 400)
    assert "Price decimal too long" in fine[1]["message"]


async def test_a_ticker_is_of_a_day_or_a_week() -> None:
    async with running() as rig:
        rig.trade("2999.99", "0.5", Side.SELL)
        path = f"/api/v1/ticker?symbol={SYMBOL}&interval="
        day, week = [await rig.call("GET", path + word) for word in ("1d", "1w")]
        wrong = await rig.call("GET", path + "1y")
    assert day == week
    assert day[1]["volume"] == "0.5"
    assert wrong[0] == 400
    assert "TickerInterval" in wrong[1]

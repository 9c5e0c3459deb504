"""Backpack's socket: subscriptions, sequence, private messages, keep-alive, slow consumers."""

import asyncio
from decimal import Decimal

import pytest

from exchanges.simulator.backpack_options import BackpackOptions
from strategy.domain import NANO, Quote, Side
from tests.sim.test_backpack_server_rig import (
    MS,
    SYMBOL,
    Json,
    level,
    listening,
    running,
    subscribed,
)

DEPTH = f"depth.{SYMBOL}"
ORDERS = f"account.orderUpdate.{SYMBOL}"
POSITIONS = f"account.positionUpdate.{SYMBOL}"
ALWAYS = {"e", "E", "s", "S", "o", "f", "X", "i", "z", "Z", "V", "T", "O", "r"}


# --- public streams --------------------------------------------------------------------------


async def test_depth_updates_are_numbered_without_a_hole_and_join_the_snapshot() -> None:
    async with running() as rig, listening(rig, DEPTH) as heard:
        rig.market([level("2999.97", "1")], [])
        first = await heard.data(DEPTH)
        snapshot = await rig.public.get_depth(SYMBOL)
        rig.market([level("2999.97", "0")], [level("3000.01", "0.5")])
        second = await heard.data(DEPTH)
        now = rig.clock.now() // 1000
    assert (first["e"], first["s"]) == ("depth", SYMBOL)
    assert (first["b"], first["a"]) == ([["2999.97", "1.0000"]], [])
    assert first["U"] == first["u"] == int(snapshot["lastUpdateId"])
    assert second["U"] == first["u"] + 1
    assert second["b"] == [["2999.97", "0.0000"]]
    assert second["a"] == [["3000.01", "0.5000"]]
    assert isinstance(first["E"], int)
    assert abs(second["T"] - now) < 2_000_000


async def test_windowed_depth_merges_updates_and_keeps_the_numbers_continuous() -> None:
    stream = f"depth.200ms.{SYMBOL}"
    async with running() as rig, listening(rig, stream, DEPTH) as heard:
        for qty in ("1", "2", "3"):
            rig.market([level("2999.97", qty)], [])
        first = await heard.data(stream)
        rig.market([level("2999.97", "0")], [level("3000.05", "7")])
        second = await heard.data(stream)
        rig.market([level("2999.96", "1")], [])
        third = await heard.data(stream)
    assert first["u"] - first["U"] == 2
    assert first["b"] == [["2999.97", "3.0000"]]
    assert second["U"] == first["u"] + 1
    assert (second["b"], second["a"]) == ([["2999.97", "0.0000"]], [["3000.05", "7.0000"]])
    assert third["U"] == third["u"] == second["u"] + 1


async def test_book_ticker_speaks_only_when_the_touch_changes() -> None:
    stream = f"bookTicker.{SYMBOL}"
    async with running() as rig, listening(rig, stream) as heard:
        rig.market([level("2990", "1")], [])
        first = await heard.data(stream)
        rig.market([level("2989", "1")], [])
        assert await heard.silent()
        rig.market([], [level("3000.01", "1.25")])
        second = await heard.data(stream)
    assert (first["b"], first["B"]) == ("2999.99", "1.5000")
    assert (first["a"], first["A"]) == ("3000.01", "2.0000")
    assert second["A"] == "1.2500"
    assert second["u"] > first["u"]


async def test_trades_name_buyer_and_seller() -> None:
    stream = f"trade.{SYMBOL}"
    async with running() as rig, listening(rig, stream) as heard:
        rig.trade("2999.99", "0.25", Side.SELL)
        market = await heard.data(stream)
        order = await rig.limit("Bid", "3000.01", "0.5")
        ours = await heard.data(stream)
    assert (market["p"], market["q"], market["m"]) == ("2999.99", "0.2500", True)
    assert market["a"] != market["b"]
    assert (ours["b"], ours["m"], ours["p"]) == (order["id"], False, "3000.01")
    assert isinstance(ours["t"], int)
    assert ours["t"] > market["t"]


async def test_marks_tickers_and_bars_are_published_every_second() -> None:
    streams = [f"{name}.{SYMBOL}" for name in ("markPrice", "ticker", "kline.1m")]
    async with running() as rig, listening(rig, *streams, f"openInterest.{SYMBOL}") as heard:
        rig.trade("3000.01", "0.5", Side.BUY)
        frames: dict[str, Json] = {}
        async with asyncio.timeout(3):
            while len(frames) < len(streams):
                frame = await heard.frame()
                frames[frame["stream"]] = frame["data"]
        now = rig.clock.now() // MS
    mark, ticker, bar = (frames[stream] for stream in streams)
    assert (mark["e"], mark["p"], mark["f"]) == ("markPrice", "3000", "0.0000125")
    assert 0 < mark["n"] - now <= 3_600_000
    assert (ticker["e"], ticker["c"], ticker["n"]) == ("ticker", "3000.01", 1)
    assert (bar["e"], bar["o"], bar["v"], bar["X"]) == ("kline", "3000.01", "0.5", False)
    assert bar["t"] < bar["T"]


async def test_unsubscribe_ends_a_stream_and_the_ws_path_is_tolerated() -> None:
    async with running() as rig, listening(rig, DEPTH, path="/ws") as heard:
        rig.market([level("2999.97", "1")], [])
        await heard.data(DEPTH)
        await heard.socket.send_json({"method": "UNSUBSCRIBE", "params": [DEPTH, "never.asked"]})
        await subscribed(heard)
        rig.market([level("2999.97", "2")], [])
        assert await heard.silent()


async def test_a_subscription_is_not_acknowledged_and_unknown_markets_are_silent() -> None:
    async with running() as rig, listening(rig) as heard:
        names = [DEPTH, "depth.DOGE_USDC_PERP", f"liquidation.{SYMBOL}"]
        await heard.socket.send_json({"method": "SUBSCRIBE", "params": names, "id": 1})
        assert await heard.silent()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("{", 4002),
        ("[]", 4002),
        ('{"method":"LOGIN"}', 4002),
        ('{"method":"SUBSCRIBE"}', 4002),
        ('{"method":"SUBSCRIBE","params":[1]}', 4002),
        ('{"method":"SUBSCRIBE","params":["nothing.X"]}', 4006),
        ('{"method":"SUBSCRIBE","params":["depth.100ms.X"]}', 4008),
        ('{"method":"SUBSCRIBE","params":["account.orderUpdate"]}', 4003),
        ('{"method":"SUBSCRIBE","params":["account.orderUpdate"],"signature":["a"]}', 4003),
    ],
)
async def test_a_bad_frame_is_answered_with_a_code_and_a_null_id(sent: str, code: int) -> None:
    async with running() as rig, listening(rig) as heard:
        await heard.socket.send_str(sent)
        text = await heard.frame()
        await heard.socket.send_bytes(sent.encode())
        binary = await heard.frame()
    assert (text["error"]["code"], text["id"]) == (code, None)
    assert text["error"]["message"]
    assert binary == text


async def test_an_error_echoes_the_id_of_its_request() -> None:
    async with running() as rig, listening(rig) as heard:
        await heard.socket.send_json({"method": "SUBSCRIBE", "params": ["x"], "id": 7})
        assert await heard.frame() == {
            "id": 7,
            "error": {"code": 4006, "message": "Invalid stream"},
        }


# --- private streams -------------------------------------------------------------------------


async def test_a_private_stream_needs_a_valid_signature() -> None:
    async with running() as rig, listening(rig) as heard:
        good = rig.subscribe_frame(ORDERS)
        key, signature, stamp, window = good["signature"]
        old = str(int(stamp) - 6000)
        for forged, says in (
            ([key, signature, stamp, "6000"], "Invalid signature"),
            (["someone", signature, stamp, window], "Invalid signature"),
            ([key, "??", stamp, window], "Invalid X-Signature header"),
            ([key, signature, old, window], "Request has expired"),
        ):
            await heard.socket.send_json(good | {"signature": forged})
            assert (await heard.frame())["error"]["message"] == says
        failures = rig.engine.accounts["backpack"].signature_failures
        await heard.socket.send_json(good)
        await subscribed(heard)
        order = await rig.limit("Bid", "2990")
        told = await heard.data(ORDERS)
    assert failures == 3
    assert told["i"] == order["id"]


async def test_an_order_is_told_from_acceptance_to_cancel() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        order = await rig.limit("Bid", "2990.5", "0.25", client_id=7, post_only=True)
        accepted = await heard.data(ORDERS)
        await rig.account.cancel_order(SYMBOL, order_id=order["id"])
        cancelled = await heard.data(ORDERS)
        now = rig.clock.now() // 1000
    assert accepted.keys() >= ALWAYS
    assert (accepted["e"], accepted["X"], accepted["i"]) == ("orderAccepted", "New", order["id"])
    assert (accepted["c"], accepted["p"], accepted["q"]) == (7, "2990.50", "0.2500")
    assert (accepted["o"], accepted["f"], accepted["S"]) == ("LIMIT", "GTC", "Bid")
    assert (accepted["z"], accepted["Z"], accepted["r"]) == ("0", "0", False)
    assert (accepted["y"], accepted["O"], accepted["V"]) == (True, "USER", "RejectTaker")
    assert abs(accepted["T"] - now) < 2_000_000
    assert (cancelled["e"], cancelled["X"]) == ("orderCancelled", "Cancelled")
    assert cancelled["T"] >= accepted["T"]


async def test_fills_follow_acceptance_with_cumulative_figures() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        order = await rig.limit("Bid", "3000.02", "2.5", client_id=8)
        told = [await heard.data(ORDERS) for _ in range(3)]
        history = await rig.account.get_fill_history()
    assert [frame["e"] for frame in told] == ["orderAccepted", "orderFill", "orderFill"]
    assert [frame["X"] for frame in told] == ["New", "PartiallyFilled", "Filled"]
    assert [frame["z"] for frame in told] == ["0", "2.0000", "2.5000"]
    assert [frame["Z"] for frame in told] == ["0", "6000.02", "7500.03"]
    first, last = told[1:]
    assert (first["l"], first["L"], first["m"]) == ("2.0000", "3000.01", False)
    assert (first["n"], first["N"]) == ("3.00001", "USDC")
    assert {first["t"], last["t"]} == {row["tradeId"] for row in history}
    assert {frame["i"] for frame in told} == {order["id"]}


async def test_a_resting_order_is_filled_as_maker() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        await rig.limit("Bid", "2999.99", "0.5", post_only=True)
        await heard.data(ORDERS)
        rig.trade("2999.98", "0.2", Side.SELL)
        fill = await heard.data(ORDERS)
    assert (fill["e"], fill["m"], fill["l"], fill["X"]) == (
        "orderFill",
        True,
        "0.2000",
        "PartiallyFilled",
    )


@pytest.mark.parametrize("word", ["Expired", "PartiallyFilled"])
async def test_an_immediate_remainder_is_told_as_expired_with_its_reason(word: str) -> None:
    async with (
        running(BackpackOptions(remainder_status=word)) as rig,
        listening(rig, ORDERS) as heard,
    ):
        await rig.limit("Ask", "2999.99", "2", time_in_force="IOC")
        told = [await heard.data(ORDERS) for _ in range(3)]
    assert [frame["e"] for frame in told] == ["orderAccepted", "orderFill", "orderExpired"]
    assert (told[2]["X"], told[2]["R"], told[2]["z"]) == (word, "ImmediateOrCancel", "1.5000")


async def test_a_market_order_carries_no_price_and_its_quote_size() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        await rig.account.execute_order(SYMBOL, "Ask", "Market", quote_quantity="600")
        accepted = await heard.data(ORDERS)
    assert (accepted["o"], accepted["f"], accepted["Q"]) == ("MARKET", "GTC", "600")
    assert "p" not in accepted


async def test_a_refused_order_is_never_told() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        await rig.limit("Bid", "3000.01", post_only=True)
        await rig.limit("Bid", "2990.001")
        assert await heard.silent()


async def test_the_engine_shrinking_a_reduce_only_order_is_told_as_modified() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        await rig.limit("Bid", "3000.01", "1")
        await rig.limit("Ask", "3010", "1", reduce_only=True, post_only=True)
        await rig.limit("Ask", "2999.99", "0.4")
        events: list[Json] = []
        while not events or events[-1]["e"] != "orderModified":
            events.append(await heard.data(ORDERS))
    modified = events[-1]
    assert (modified["q"], modified["X"], modified["r"]) == ("0.6000", "New", True)


async def test_a_reduce_only_order_that_outlives_its_position_is_told_as_expired() -> None:
    async with running() as rig, listening(rig, ORDERS) as heard:
        await rig.limit("Bid", "3000.01", "1")
        resting = await rig.limit("Ask", "3010", "1", reduce_only=True, post_only=True)
        await rig.limit("Ask", "2999.99", "1")
        events: list[Json] = []
        while not events or events[-1]["e"] != "orderExpired":
            events.append(await heard.data(ORDERS))
        history = await rig.account.get_order_history(order_id=resting["id"])
    expired = events[-1]
    assert (expired["i"], expired["R"]) == (resting["id"], "ReduceOnlyNotReduced")
    assert (history[0]["status"], history[0]["expiryReason"]) == ("Expired", expired["R"])


async def test_an_order_older_than_the_server_keeps_its_figures() -> None:
    async with running() as rig:
        order = await rig.limit("Bid", "2999.99", "1", post_only=True)
        rig.trade("2999.98", "0.25", Side.SELL)
        rig.server._streams._private._orders._told.clear()
        async with listening(rig, ORDERS) as heard:
            rig.trade("2999.98", "0.25", Side.SELL)
            told = [await heard.data(ORDERS) for _ in range(2)]
            await rig.account.cancel_order(SYMBOL, order_id=order["id"])
            cancelled = await heard.data(ORDERS)
    assert [frame["z"] for frame in told] == ["0.2500", "0.5000"]
    assert (cancelled["e"], cancelled["z"]) == ("orderCancelled", "0.5000")


async def test_open_interest_is_published_every_minute() -> None:
    stream = f"openInterest.{SYMBOL}"
    async with running() as rig, listening(rig, stream) as heard:
        await rig.limit("Bid", "3000.01", "1")
        rig.server._streams._ticks = 599
        data = await heard.data(stream)
    assert (data["e"], data["s"], data["o"]) == ("openInterest", SYMBOL, "1")


async def test_positions_open_adjust_and_close() -> None:
    async with running() as rig, listening(rig, POSITIONS) as heard:
        for side, px, qty in (
            ("Ask", "2999.99", "0.5"),
            ("Ask", "2999.99", "0.5"),
            ("Bid", "3000.01", "1"),
        ):
            await rig.limit(side, px, qty)
        told = [await heard.data(POSITIONS) for _ in range(3)]
    assert [frame["e"] for frame in told] == [
        "positionOpened",
        "positionAdjusted",
        "positionClosed",
    ]
    assert [frame["q"] for frame in told] == ["-0.5000", "-1.0000", "0"]
    opened = told[0]
    assert (opened["Q"], opened["B"], opened["l"]) == ("0.5000", "2999.99", "0")
    assert (opened["f"], opened["m"]) == ("0.02", "0.0125")
    assert isinstance(opened["i"], int)
    assert Decimal(told[2]["p"]) == Decimal("-0.02")


async def test_current_positions_are_pushed_on_subscribing_without_an_event_name() -> None:
    async with running() as rig:
        async with listening(rig, "account.positionUpdate") as flat:
            assert await flat.silent()
        await rig.limit("Bid", "3000.01", "0.5")
        async with listening(rig) as heard:
            await heard.socket.send_json(rig.subscribe_frame("account.positionUpdate", POSITIONS))
            pushed = [await heard.frame(), await heard.frame()]
    assert [frame["stream"] for frame in pushed] == ["account.positionUpdate", POSITIONS]
    assert "e" not in pushed[0]["data"]
    assert pushed[0]["data"]["q"] == "0.5000"


async def test_the_account_wide_stream_carries_the_same_messages() -> None:
    async with running() as rig, listening(rig, "account.orderUpdate", ORDERS) as heard:
        await rig.limit("Bid", "2990")
        first, second = await heard.frame(), await heard.frame()
    assert {first["stream"], second["stream"]} == {"account.orderUpdate", ORDERS}
    assert first["data"] == second["data"]


async def test_a_liquidation_is_told_with_its_origin() -> None:
    async with running() as rig:
        await rig.limit("Bid", "3000.01", "1")
        async with listening(rig, ORDERS, POSITIONS) as heard:
            rig.engine.accounts["backpack"].balance = Quote(NANO)
            rig.market([level("2900", "5")], [level("2900.01", "5")], snapshot=True)
            told = [await heard.data(ORDERS) for _ in range(2)]
    assert [frame["e"] for frame in told] == ["orderAccepted", "orderFill"]
    assert {frame["O"] for frame in told} == {"LIQUIDATION_AUTOCLOSE"}
    assert (told[1]["S"], told[1]["X"], told[1]["r"]) == ("Ask", "Filled", True)

"""The simulated GRVT's sockets: private streams, requests over the socket, other dialects."""

from typing import Any

import pytest

from exchanges.simulator.grvt_options import GrvtOptions, TellOrder
from tests.sim.grvt_rig import SYMBOL, Rig, Wire, rig

BOOK = f"{SYMBOL}@50"


# --- private streams -------------------------------------------------------------------------


async def private(it: Rig, wire: Wire, *streams: str) -> None:
    for stream in streams:
        reply = await wire.subscribe(stream, f"{it.account}-{SYMBOL}")
        assert reply["result"]["subs"] == [f"{it.account}-{SYMBOL}"]


async def test_an_execution_is_told_as_order_state_fill_position() -> None:
    async with rig() as it, it.socket() as wire:
        await private(it, wire, "v1.order", "v1.state", "v1.fill", "v1.position")
        client_id = await it.placed(tif="IMMEDIATE_OR_CANCEL", px="3000.01", size="0.5")
        await it.ended(client_id, "FILLED")

        told = await wire.gather(0.1)

        last = [(each["stream"], each["sequence_number"]) for each in told][-4:]
        assert [stream for stream, _ in last] == [
            "v1.order",
            "v1.state",
            "v1.fill",
            "v1.position",
        ]
        orders = [each["feed"] for each in told if each["stream"] == "v1.order"]
        assert [each["state"]["status"] for each in orders] == ["PENDING", "FILLED"]
        assert orders[-1]["metadata"]["client_order_id"] == client_id
        state = next(each["feed"] for each in told[::-1] if each["stream"] == "v1.state")
        assert state["client_order_id"] == client_id
        assert state["order_id"] == orders[-1]["order_id"]
        assert state["order_state"]["traded_size"] == ["0.5"]
        fill = next(each["feed"] for each in told if each["stream"] == "v1.fill")
        assert (fill["price"], fill["size"], fill["is_buyer"]) == ("3000.01", "0.5", True)
        position = told[-1]["feed"]
        assert (position["instrument"], position["size"]) == (SYMBOL, "0.5")


async def test_private_sequences_begin_at_one_and_have_no_gaps() -> None:
    async with rig() as it, it.socket() as wire:
        await private(it, wire, "v1.order", "v1.state")
        for _ in range(3):
            client_id = await it.placed(post_only=True)
            await it.ended(client_id, "OPEN")
            await it.ask("cancel_order", client_order_id=client_id)
            await it.ended(client_id, "CANCELLED")

        told = await wire.gather(0.1)

        for stream in ("v1.order", "v1.state"):
            numbers = [int(each["sequence_number"]) for each in told if each["stream"] == stream]
            assert numbers == list(range(1, len(numbers) + 1))
            assert len(numbers) >= 6


async def test_a_fill_can_be_told_first() -> None:
    async with rig(GrvtOptions(tell_order=TellOrder.FILL_FIRST)) as it, it.socket() as wire:
        await private(it, wire, "v1.order", "v1.fill")
        await it.ended(await it.placed(market=True), "FILLED")

        told = [each["stream"] for each in await wire.gather(0.1)]

        assert told[-2:] == ["v1.fill", "v1.order"]


async def test_a_selector_can_name_the_whole_account() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.order", it.account)
        await it.placed(post_only=True)

        assert (await wire.feed("v1.order"))["selector"] == it.account


async def test_nothing_private_is_replayed() -> None:
    async with rig() as it, it.socket() as wire:
        await it.ended(await it.placed(market=True), "FILLED")
        reply = await wire.subscribe("v1.position", it.account)

        assert reply["result"]["num_snapshots"] == [0]
        assert await wire.gather(0.12) == []


async def test_private_streams_need_a_session() -> None:
    async with rig() as it, it.socket(headers={}) as wire:
        reply = await wire.subscribe("v1.order", it.account)

        assert reply["error"]["code"] == 1000


async def test_another_account_s_streams_are_refused() -> None:
    async with rig() as it, it.socket() as wire:
        reply = await wire.subscribe("v1.order", "123")

        assert reply["error"]["code"] in {1001, 2003}


# --- requests over the socket ----------------------------------------------------------------


async def test_orders_can_be_placed_over_the_socket() -> None:
    async with rig() as it, it.socket() as wire:
        reply = await wire.call("v1/create_order", it.order(post_only=True))

        assert reply["method"] == "v1/create_order"
        order = reply["result"]["result"]
        assert (order["order_id"], order["state"]["status"]) == ("0x00", "PENDING")
        client_id = order["metadata"]["client_order_id"]
        await it.ended(client_id, "OPEN")
        names = {"sub_account_id": it.account, "client_order_id": client_id}
        listed = await wire.call("v1/open_orders", {"sub_account_id": it.account})
        assert len(listed["result"]["result"]) == 1
        assert (await wire.call("v1/cancel_order", names))["result"] == {"result": {"ack": True}}
        await it.ended(client_id, "CANCELLED")


async def test_a_refused_request_over_the_socket_is_an_error() -> None:
    async with rig() as it, it.socket() as wire:
        reply = await wire.call("v1/create_order", it.order(px="2990.005"))
        assert reply["error"]["code"] == 2064
        assert "result" not in reply
        assert (await wire.call("v1/nothing", {}))["error"]["code"] == 1200
        assert (await wire.call("nothing", {}))["error"]["code"] == 1200


async def test_trading_over_the_socket_needs_a_session() -> None:
    async with rig() as it, it.socket(headers={}) as wire:
        reply = await wire.call("v1/create_order", it.order())

        assert reply["error"]["code"] == 1000
        assert not it.engine.orders


@pytest.mark.parametrize("text", ["ping", "{", "[]", "1", "null", '{"jsonrpc":"2.0"}', '"x"'])
async def test_what_is_no_request_is_answered_with_1003(text: str) -> None:
    async with rig() as it, it.socket() as wire:
        await wire.socket.send_str(text)

        answer = await wire.receive()

        assert (answer.get("error") or answer)["code"] == 1003
        assert (await wire.subscribe("v1.book.d", BOOK))["result"]["subs"] == [BOOK]


async def test_wrong_parameters_never_end_the_socket() -> None:
    wrong: list[Any] = [[], "x", 1, {}, {"stream": 1}, {"stream": "v1.book.d"}]
    selectors: list[Any] = ["x", [1], [None], [[]], {}, []]
    wrong += [{"stream": "v1.book.d", "selectors": each} for each in selectors]
    async with rig() as it, it.socket() as wire:
        for params in wrong:
            assert "error" in await wire.call("subscribe", params)
        assert "result" in await wire.subscribe("v1.book.d", BOOK)


async def test_a_binary_frame_is_read_as_text() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.socket.send_bytes(b"\xff\xfe")

        answer = await wire.receive()

        assert (answer.get("error") or answer)["code"] == 1003


# --- other dialects --------------------------------------------------------------------------


async def test_the_legacy_socket_has_its_own_envelope() -> None:
    async with rig() as it, it.socket("/ws") as wire:
        selector = f"{SYMBOL}@500-10"
        await wire.socket.send_json(
            {
                "request_id": 5,
                "stream": "v1.book.s",
                "feed": [selector],
                "method": "subscribe",
                "is_full": True,
            }
        )

        reply = await wire.next(lambda each: "request_id" in each)
        message = await wire.feed("v1.book.s")

        assert reply["request_id"] == 5
        assert (reply["subs"], reply["unsubs"]) == ([selector], [])
        assert message["selector"] == selector
        assert message["feed"]["bids"][0]["price"] == "2999.99"


async def test_a_legacy_error_has_code_and_status() -> None:
    async with rig() as it, it.socket("/ws") as wire:
        await wire.socket.send_json(
            {"request_id": 5, "stream": "v1.book.s", "feed": ["x@500-10"], "method": "subscribe"}
        )

        answer = await wire.receive()

        found = answer.get("error") or answer
        assert found["code"] == 3000


async def test_the_lite_socket_has_short_names() -> None:
    async with rig() as it, it.socket("/ws/lite") as wire:
        await wire.socket.send_json(
            {"j": "2.0", "m": "subscribe", "p": {"s": "v1.book.d", "s1": [BOOK]}, "i": 1}
        )

        reply = await wire.next(lambda each: each.get("i") == 1)
        message = await wire.next(lambda each: "f" in each and "s1" in each)

        assert reply["r"]["s1"] == [BOOK]
        assert message["s1"] == BOOK
        assert message["f"]["b"][0]["p"] == "2999.99"

"""The open questions about GRVT (venues.md part D), each both ways, and A6.2's numbers."""

import asyncio
from typing import Any

import pytest

from exchanges.simulator.grvt_options import GrvtOptions, TellOrder
from exchanges.simulator.model import SelfTrade
from strategy.domain import NANO, Ns, Side
from tests.sim.grvt_rig import SYMBOL, Json, Rig, Wire, change, rig

MS = 1_000_000
BOOK = f"{SYMBOL}@50"


async def closed(wire: Wire, seconds: float = 3) -> int | None:
    """Read until the socket ends; returns the close code."""
    async with asyncio.timeout(seconds):
        async for _ in wire.socket:
            pass
    return wire.socket.close_code


# --- D1, D2: how sockets end -----------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [GrvtOptions(socket_idle=Ns(200 * MS)), GrvtOptions(socket_age=Ns(200 * MS))],
    ids=["idle", "age"],
)
async def test_a_socket_can_end_by_age_or_silence(options: GrvtOptions) -> None:
    async with rig(options) as it, it.socket() as wire:
        await wire.subscribe("v1.book.d", BOOK)
        assert await closed(wire) == 1001


async def test_a_socket_that_talks_is_not_idle() -> None:
    async with rig(GrvtOptions(socket_idle=Ns(300 * MS))) as it, it.socket() as wire:
        for _ in range(4):
            await asyncio.sleep(0.12)
            await wire.call("list_streams", {})
        assert not wire.socket.closed


async def test_sockets_can_be_closed_at_a_pace_with_several_codes() -> None:
    codes = []
    async with rig(GrvtOptions(socket_close_every=Ns(150 * MS))) as it:
        for _ in range(3):
            async with it.socket() as wire:
                codes.append(await closed(wire))
    assert codes == [1001, 1012, 1006]


async def test_by_default_nothing_ends_a_socket() -> None:
    async with rig(GrvtOptions(cookie_life=Ns(NANO))) as it, it.socket() as wire:
        it.clock.ahead += 3600 * NANO
        await asyncio.sleep(0.15)
        assert "result" in await wire.call("list_streams", {})


async def test_a_silent_socket_can_die_with_its_cookie() -> None:
    options = GrvtOptions(cookie_life=Ns(NANO), socket_dies_with_cookie=True)
    async with rig(options) as it, it.socket() as wire:
        it.clock.ahead += 2 * NANO
        assert await closed(wire) == 1008


# --- D3: replay ------------------------------------------------------------------------------


async def busy(it: Rig) -> str:
    """Have a position, a fill and an open order; returns the order's client id."""
    await it.moved()
    client_id = await it.placed(post_only=True)
    await it.ended(client_id, "OPEN")
    return client_id


@pytest.mark.parametrize("replay", [False, True])
@pytest.mark.parametrize("stream", ["v1.order", "v1.state", "v1.fill", "v1.position", "v1.cancel"])
async def test_private_streams_replay_behind_their_switch(stream: str, replay: bool) -> None:
    async with rig(GrvtOptions(private_replay=replay)) as it, it.socket() as wire:
        await busy(it)
        reply = await wire.subscribe(stream, it.account)
        told = await wire.gather(0.1)

        count = 1 if replay and stream != "v1.cancel" else 0
        assert reply["result"]["num_snapshots"] == [count]
        assert reply["result"]["first_sequence_number"] == ["1"]
        assert [row["sequence_number"] for row in told] == ["0"] * count
        assert [row["stream"] for row in told] == [stream] * count


async def test_a_replay_keeps_to_the_instrument() -> None:
    async with rig(GrvtOptions(private_replay=True)) as it, it.socket() as wire:
        client_id = await busy(it)
        await wire.subscribe("v1.order", f"{it.account}-{SYMBOL}")
        told = await wire.feed("v1.order")
        assert told["feed"]["metadata"]["client_order_id"] == client_id


# --- D4: which message comes first -----------------------------------------------------------


async def order_of_messages(it: Rig, wire: Wire) -> list[str]:
    """Fill an order at once and return the streams in the order that they told of the fill."""
    for stream in ("v1.order", "v1.fill", "v1.position"):
        await wire.subscribe(stream, it.account)
    await it.placed(market=True, size="0.5")
    told = await wire.gather(0.15)
    return [
        row["stream"].removeprefix("v1.")
        for row in told
        if row["feed"].get("state", {"status": "FILLED"})["status"] == "FILLED"
    ]


@pytest.mark.parametrize(
    ("tell", "wanted"),
    [
        (TellOrder.ORDER_FIRST, ["order", "fill", "position"]),
        (TellOrder.FILL_FIRST, ["fill", "order", "position"]),
    ],
)
async def test_an_execution_is_told_in_the_wanted_order(tell: TellOrder, wanted: list[str]) -> None:
    async with rig(GrvtOptions(tell_order=tell)) as it, it.socket() as wire:
        assert await order_of_messages(it, wire) == wanted


async def test_an_execution_can_be_told_in_any_order() -> None:
    seen = set()
    async with rig(GrvtOptions(tell_order=TellOrder.RANDOM)) as it:
        for _ in range(6):
            async with it.socket() as wire:
                seen.add(tuple(await order_of_messages(it, wire)))
    assert len(seen) > 1
    assert all(sorted(each) == ["fill", "order", "position"] for each in seen)


# --- D5, D6: cancels and errors --------------------------------------------------------------


async def test_an_unknown_cancel_can_be_acknowledged() -> None:
    async with rig(GrvtOptions(unknown_cancel_acks=True)) as it:
        assert await it.result("cancel_order", client_order_id="77") == {"ack": True}
    async with rig() as it:
        assert await it.fail("cancel_order", client_order_id="77") == (404, 1004)


@pytest.mark.parametrize("wanted", [False, True])
async def test_errors_carry_a_request_id_behind_the_switch(wanted: bool) -> None:
    async with rig(GrvtOptions(request_ids=wanted)) as it:
        _, answer = await it.ask("order", client_order_id="77")
        assert ("request_id" in answer) is wanted


# --- D7: an account that meets itself --------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "maker", "taker"),
    [
        (SelfTrade.ALLOW, "FILLED", "FILLED"),
        (SelfTrade.REJECT_TAKER, "OPEN", "CANCELLED"),
        (SelfTrade.REJECT_MAKER, "CANCELLED", "OPEN"),
        (SelfTrade.REJECT_BOTH, "CANCELLED", "CANCELLED"),
    ],
)
async def test_whose_order_ends_in_a_self_trade(mode: SelfTrade, maker: str, taker: str) -> None:
    async with rig(GrvtOptions(self_trade=mode)) as it:
        resting = await it.placed(px="3000.0", post_only=True)
        await it.ended(resting, "OPEN")
        crossing = await it.placed(px="3000.0", side="sell")

        later = await it.ended(crossing, taker)
        earlier = await it.ended(resting, maker)
        for row in (earlier, later):
            if row["state"]["status"] == "CANCELLED":
                assert row["state"]["reject_reason"] == "SELF_MATCHED_SUBACCOUNT"


# --- D8: the dead-man switch -----------------------------------------------------------------


async def test_the_dead_man_switch_can_be_late() -> None:
    async with rig(GrvtOptions(countdown_lag=Ns(500 * MS))) as it:
        client_id = await it.placed(post_only=True)
        await it.result("cancel_on_disconnect", countdown_time="1001")
        await asyncio.sleep(1.2)
        await it.ended(client_id, "OPEN")
        await it.ended(client_id, "CANCELLED")


@pytest.mark.parametrize("survives", [True, False])
async def test_the_dead_man_switch_may_not_survive_a_failover(survives: bool) -> None:
    async with rig(GrvtOptions(countdown_survives_failover=survives)) as it:
        await it.result("cancel_on_disconnect", countdown_time="1300")
        it.fault("F69")
        await asyncio.sleep(0.1)
        client_id = await it.placed(post_only=True)
        await it.ended(client_id, "OPEN")
        await asyncio.sleep(1.3)

        await it.ended(client_id, "CANCELLED" if survives else "OPEN")


# --- A5.1, A5.4: when the venue knows, and when it says no -------------------------------------


async def test_the_visibility_delay_is_a_switch() -> None:
    async with rig(GrvtOptions(visibility=Ns(200 * MS))) as it:
        client_id = await it.placed(post_only=True)
        assert await it.fail("order", client_order_id=client_id) == (404, 1004)
        assert await it.result("open_orders") == []
        await it.ended(client_id, "OPEN")
    async with rig(GrvtOptions(visibility=Ns(0))) as it:
        client_id = await it.placed(post_only=True)
        assert (await it.ask("order", client_order_id=client_id))[0] == 200


LATE: list[tuple[Json, int, str]] = [
    ({"size": "9000", "px": "2990.0"}, 2080, "BELOW_MARGIN"),
    ({"reduce_only": True, "side": "sell", "px": "3010.0"}, 2400, "FAIL_REDUCE_ONLY"),
    ({"client_id": "4711"}, 2012, "OVERLAPPING_CLIENT_ORDER_ID"),
]


@pytest.mark.parametrize(("order", "code", "reason"), LATE)
async def test_some_refusals_can_come_late(order: Json, code: int, reason: str) -> None:
    async with rig() as it:
        await it.ended(await it.placed(client_id="4711", post_only=True), "OPEN")
        assert (await it.create(**order))[1]["code"] == code
    async with rig(GrvtOptions(late_refusals=True)) as it, it.socket() as wire:
        await it.ended(await it.placed(client_id="4711", post_only=True), "OPEN")
        await wire.subscribe("v1.state", it.account)
        status, answer = await it.create(**order)
        told = [(await wire.feed("v1.state"))["feed"]["order_state"] for _ in range(2)]

        assert (status, answer["result"]["state"]["status"]) == (200, "PENDING")
        assert [row["status"] for row in told] == ["PENDING", "REJECTED"]
        assert told[-1]["reject_reason"] == reason
        account = it.engine.accounts[it.account]
        assert (account.orders_received, account.orders_rejected) == (2, 1)


# --- what older clients stumble over ---------------------------------------------------------


async def test_a_spot_instrument_is_listed_behind_its_switch() -> None:
    async with rig(GrvtOptions(spot_listed=True)) as it:
        kinds = [row["kind"] for row in await it.result("all_instruments")]
        assert kinds == ["PERPETUAL", "SPOT_SWAP"]
    async with rig() as it:
        assert [row["kind"] for row in await it.result("all_instruments")] == ["PERPETUAL"]


async def test_fields_can_be_left_out_of_every_reply() -> None:
    async with rig(GrvtOptions(omit=frozenset({"max_position_size", "is_rpi"}))) as it:
        it.trade("3000.0", "1", Side.BUY)
        row = await it.result("instrument", instrument=SYMBOL)
        trades = await it.result("trade", instrument=SYMBOL)
        assert "max_position_size" not in row
        assert "is_rpi" not in trades[0]
        assert row["instrument"] == SYMBOL


@pytest.mark.parametrize(
    "wrong",
    [{"rate_tier": 0}, {"socket_age": Ns(0)}, {"countdown_lag": Ns(-1)}, {"queue_limit": 0}],
)
def test_an_option_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        GrvtOptions(**wrong)


# --- A6.2: sequence numbers ------------------------------------------------------------------


async def numbers(it: Rig, wire: Wire, count: int = 3) -> list[tuple[int, int]]:
    """Return (number, previous) of the next book deltas."""
    found = []
    for _ in range(count):
        it.numbers += 1
        it.market(change("2999.95", str(it.numbers % 1000 + 1)))
        message = await wire.feed("v1.book.d")
        found.append((int(message["sequence_number"]), int(message["prev_sequence_number"])))
    return found


async def test_gateway_numbers_grow_by_one_and_global_ones_are_chained() -> None:
    async with rig() as it, it.socket() as local, it.socket() as wide:
        await local.subscribe("v1.book.d", BOOK)
        reply = await wide.subscribe("v1.book.d", BOOK, use_global_sequence_number=True)
        for wire in (local, wide):
            assert (await wire.feed("v1.book.d"))["sequence_number"] == "0"
        near = await numbers(it, local)
        far = [
            (int(row["sequence_number"]), int(row["prev_sequence_number"]))
            for row in [await wide.feed("v1.book.d") for _ in range(3)]
        ]

        assert near == [(1, 0), (2, 1), (3, 2)]
        assert reply["result"]["first_sequence_number"] == ["0"]
        assert all(number % 10**5 == 0 for number, _ in far)
        assert [before for _, before in far[1:]] == [number for number, _ in far[:-1]]
        assert far[0][0] < far[1][0] < far[2][0]


async def test_a_restarted_gateway_counts_anew_and_the_cluster_does_not() -> None:
    async with rig() as it:
        last: dict[bool, int] = {}
        for again in (False, True):
            for wide in (False, True):
                async with it.socket() as wire:
                    more = {"use_global_sequence_number": True} if wide else {}
                    await wire.subscribe("v1.book.d", BOOK, **more)
                    await wire.feed("v1.book.d")
                    number = (await numbers(it, wire, 1))[0][0]
                if again:
                    assert (number > last[wide]) is wide
                last[wide] = number + (10 if not wide else 0)
            it.fault("F69")
            await asyncio.sleep(0.12)


async def test_a_failover_closes_sockets_with_1012() -> None:
    async with rig() as it, it.socket() as wire:
        it.fault("F69")
        assert await closed(wire) == 1012
        async with it.socket() as other:
            assert "result" in await other.subscribe("v1.book.d", BOOK)

"""The rest of the catalogue's faults on the simulated GRVT's wire, singly and together."""

import asyncio
import time
from decimal import Decimal
from itertools import pairwise

import aiohttp
import pytest

from strategy.domain import NANO, Side
from tests.sim.grvt_rig import SYMBOL, Json, Rig, Wire, change, rig

BOOK = f"{SYMBOL}@50"


# --- orders ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status", "code"), [("F09", 403, 2001), ("F10", 400, 2012), ("F13", 400, 2402)]
)
async def test_a_create_is_refused_once(name: str, status: int, code: int) -> None:
    async with rig() as it:
        await it.moved()
        it.fault(name)
        order = {"reduce_only": True, "side": "sell", "px": "3010.0", "post_only": True}

        got, answer = await it.create(**order)
        assert (got, answer["code"]) == (status, code)
        await it.placed(**order)


async def test_F05_has_several_statuses() -> None:
    async with rig() as it:
        for status in (500, 503, 504):
            it.fault("F05", status=status)
            url = it.url + "/full/v1/create_order"
            async with it.http.post(url, json=it.order(), headers=it.headers) as answer:
                assert (answer.status, answer.content_type) == (status, "text/html")


async def test_F08_a_login_fails_or_is_slow() -> None:
    async with rig() as it:
        it.fault("F08")
        url = f"{it.url}/auth/api_key/login"
        async with it.http.post(url, json={"api_key": it.keys.api_key}) as answer:
            assert (answer.status, answer.cookies.get("gravity")) == (503, None)
        it.fault("F08", mode="slow", delay_ms=300)
        before = time.monotonic()
        assert "Cookie" in await it.login()
        assert time.monotonic() - before >= 0.3


async def test_F13_a_reduce_only_order_is_trimmed() -> None:
    async with rig() as it:
        await it.moved(size="1")
        it.fault("F13", mode="trimmed")
        client_id = await it.placed(
            reduce_only=True, side="sell", px="2999.0", size="1", tif="IMMEDIATE_OR_CANCEL"
        )
        order = await it.ended(client_id, "FILLED")
        assert order["state"]["traded_size"] == ["0.5"]
        assert (await it.result("positions"))[0]["size"] == "0.5"


async def test_F14_the_tick_changes_until_an_order_is_refused_for_it() -> None:
    async with rig() as it:
        it.fault("F14")
        row = await it.result("instrument", instrument=SYMBOL)
        first = await it.create(px="2990.05")
        second = await it.create(px="2990.05")
        again = await it.result("instrument", instrument=SYMBOL)

        assert (row["tick_size"], again["tick_size"]) == ("0.1", "0.01")
        assert (first[1].get("code"), second[0]) == (2064, 200)


async def test_F15_the_minimum_size_changes_until_an_order_is_refused_for_it() -> None:
    async with rig() as it:
        it.fault("F15")
        [row] = await it.result("all_instruments")
        assert (await it.create())[1]["code"] == 2062
        await it.placed()
        assert row["min_size"] == "10.0"


async def test_F17_an_order_ends_by_self_trade_prevention() -> None:
    async with rig() as it:
        it.fault("F17")
        order = await it.ended(await it.placed(market=True), "CANCELLED")
        assert order["state"]["reject_reason"] == "SELF_MATCHED_SUBACCOUNT"
        assert order["state"]["traded_size"] == ["0.0"]


async def test_F18_a_socket_answer_carries_another_id() -> None:
    async with rig() as it, it.socket() as wire:
        it.fault("F18")
        request = {"jsonrpc": "2.0", "method": "v1/positions", "id": 41}
        await wire.socket.send_json({**request, "params": {"sub_account_id": it.account}})
        await wire.socket.send_json({**request, "params": {"sub_account_id": it.account}})
        ids = [(await wire.receive())["id"] for _ in range(2)]
        assert ids == [42, 41]


@pytest.mark.parametrize("over", ["rest", "socket"])
async def test_F20_the_fill_is_told_before_the_create_is_answered(over: str) -> None:
    async with rig() as it, it.socket() as feeds, it.socket() as calls:
        await feeds.subscribe("v1.fill", it.account)
        it.fault("F20", delay_ms=400)
        before = time.monotonic()

        async def create() -> float:
            if over == "rest":
                await it.create(market=True)
            else:
                await calls.call("v1/create_order", it.order(market=True))
            return time.monotonic() - before

        async with asyncio.TaskGroup() as tasks:
            answered = tasks.create_task(create())
            await feeds.feed("v1.fill")
            told = time.monotonic() - before
        assert told < 0.35 < answered.result()


# --- fills and order messages ----------------------------------------------------------------


async def fills_told(it: Rig, wire: Wire, count: int = 1) -> list[Json]:
    """Fill as many orders and return the fill messages."""
    await wire.subscribe("v1.fill", it.account)
    for size in range(count):
        await it.moved(size=f"0.{size + 1}")
    return [row["feed"] for row in await wire.gather(0.1)]


async def test_F21_two_fills_arrive_in_the_wrong_order() -> None:
    async with rig() as it, it.socket() as wire:
        it.fault("F21")
        assert [row["size"] for row in await fills_told(it, wire, 3)] == ["0.2", "0.1", "0.3"]


async def test_F21_a_fill_that_none_follows_is_late() -> None:
    async with rig() as it, it.socket() as wire:
        it.fault("F21")
        assert await fills_told(it, wire) == []
        assert (await wire.feed("v1.fill"))["feed"]["size"] == "0.1"


async def test_F23_a_fill_is_larger_than_its_order() -> None:
    async with rig() as it, it.socket() as wire:
        it.fault("F23")
        assert [row["size"] for row in await fills_told(it, wire, 2)] == ["0.2", "0.2"]
        assert [row["size"] for row in await it.result("fill_history")] == ["0.2", "0.1"]


async def test_F23_a_traded_size_shrinks() -> None:
    async with rig() as it, it.socket() as wire:
        client_id = await it.placed(post_only=True, px="3000.0", size="1")
        await it.ended(client_id, "OPEN")
        await wire.subscribe("v1.order", it.account)
        it.trade("3000.0", "0.4", Side.SELL)
        it.fault("F23", mode="shrinks")
        it.trade("3000.0", "0.2", Side.SELL)
        it.trade("3000.0", "0.2", Side.SELL)
        told = [(await wire.feed("v1.order"))["feed"]["state"]["traded_size"] for _ in range(3)]
        assert told == [["0.4"], ["0.3"], ["0.8"]]


@pytest.mark.parametrize("name", ["F25", "F76"])
async def test_somebody_else_trades_the_account(name: str) -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.fill", it.account)
        it.fault(name, side="sell", size="0.3")
        fill = (await wire.feed("v1.fill"))["feed"]

        assert (fill["size"], fill["is_buyer"]) == ("0.3", False)
        assert int(fill["client_order_id"]) < 2**63
        assert (await it.result("positions"))[0]["size"] == "-0.3"
        order = await it.ended(fill["client_order_id"], "FILLED")
        assert order["order_id"] == fill["order_id"]


async def test_F25_of_an_account_that_is_not_served_stays_on_the_board() -> None:
    async with rig() as it:
        it.fault("F25", account="5")
        await asyncio.sleep(0.15)
        assert it.engine.accounts[it.account].orders_received == 0
        assert [row["fault"] for row in it.faults.active()] == ["F25"]


async def test_F25_can_be_of_another_account() -> None:
    async with rig() as it:
        other = await it.joined()
        it.fault("F25", account=other.account)
        await asyncio.sleep(0.15)
        assert await it.result("positions") == []
        assert (await other.result("positions"))[0]["size"] == "0.02"


@pytest.mark.parametrize("mode", ["liquidation", "adl"])
async def test_F26_the_venue_closes_the_position(mode: str) -> None:
    async with rig() as it, it.socket() as wire:
        it.fault("F26", mode=mode)
        await asyncio.sleep(0.1)  # nothing to close yet: it waits
        await wire.subscribe("v1.fill", it.account)
        await it.moved(size="1")
        told = [(await wire.feed("v1.fill"))["feed"] for _ in range(2)]

        assert [row["is_liquidation"] for row in told] == [False, True]
        assert await it.result("positions") == []
        assert it.engine.money().total == 0


async def test_F27_a_fill_comes_in_two_hundred_parts() -> None:
    async with rig() as it, it.socket() as wire:
        it.fault("F27")
        told = await fills_told(it, wire)
        listed = await it.result("fill_history")

        assert len(told) == len({row["trade_id"] for row in told}) == len(listed) == 200
        assert sum(Decimal(row["size"]) for row in told) == Decimal("0.1")
        fee = Decimal("3000.01") * Decimal("0.1") * Decimal("0.00045")
        assert abs(sum(Decimal(row["fee"]) for row in told) - fee) <= Decimal("1e-9")


async def test_F28_a_fee_is_negative_and_in_another_currency() -> None:
    async with rig() as it, it.socket() as wire:
        it.fault("F28", asset="GRVT")
        [fill] = await fills_told(it, wire)
        assert (fill["fee_currency"], Decimal(fill["fee"]) < 0) == ("GRVT", True)
        assert (await it.result("fill_history"))[0] == fill


# --- streams ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "numbers"), [("gap", [2, 3]), ("duplicate", [1, 1, 2, 3]), ("decrease", [1, 1, 2])]
)
async def test_F50_numbers_go_wrong_in_several_ways(mode: str, numbers: list[int]) -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.book.d", BOOK)
        await wire.feed("v1.book.d")
        if mode == "decrease":
            it.market(change("2999.95", "9"))
            await asyncio.sleep(0.07)
        it.fault("F50", mode=mode)
        for size in ("1", "2", "3")[: 2 if mode == "decrease" else 3]:
            it.market(change("2999.95", size))
            await asyncio.sleep(0.07)
        told = [int(row["sequence_number"]) for row in await wire.gather(0.1)]
        assert told == numbers


@pytest.mark.parametrize("mode", ["public", "private"])
async def test_F56_one_kind_of_stream_stands_still(mode: str) -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.book.d", BOOK)
        await wire.subscribe("v1.fill", it.account)
        await wire.feed("v1.book.d")
        it.fault("F56", mode=mode)
        await it.moved()
        it.market(change("2999.95", "1"))
        still = {row["stream"] for row in await wire.gather(0.2)}
        it.faults.clear()
        it.market(change("2999.95", "2"))
        await it.moved()
        after = {row["stream"] for row in await wire.gather(0.2)}

        assert still == ({"v1.fill"} if mode == "public" else {"v1.book.d"})
        assert after == {"v1.fill", "v1.book.d"}


async def test_F57_a_book_stream_is_flooded_without_a_gap() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.book.d", BOOK)
        await wire.feed("v1.book.d")
        it.fault("F57", messages=50, seconds=0.3)
        told = [int(row["sequence_number"]) for row in await wire.gather(0.4)]
        assert len(told) > 100
        assert all(after - before == 1 for before, after in pairwise(told))


async def test_F66_the_book_is_crossed_everywhere_and_then_not() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.book.d", BOOK)
        await wire.feed("v1.book.d")
        it.fault("F66", seconds=0.4)
        book = await it.result("book", instrument=SYMBOL, depth=10)
        mini = await it.result("mini", instrument=SYMBOL)
        crossed = (await wire.feed("v1.book.d"))["feed"]["bids"][0]
        mended = (await wire.feed("v1.book.d"))["feed"]["bids"][0]

        assert Decimal(book["bids"][0]["price"]) > Decimal(book["asks"][0]["price"])
        assert Decimal(mini["best_bid_price"]) > Decimal(mini["best_ask_price"])
        assert (crossed["price"], mended) == (
            "3000.02",
            {"price": "3000.02", "size": "0.0", "num_orders": 0},
        )


# --- clocks, money, settings -----------------------------------------------------------------


async def server_time(it: Rig) -> int:
    async with it.http.get(f"{it.url}/time") as answer:
        found: int = (await answer.json())["server_time"]
        return found


@pytest.mark.parametrize("offset", [-20_000, 20_000])
async def test_F60_the_venue_s_clock_is_off(offset: int) -> None:
    async with rig() as it:
        it.fault("F60", offset_ms=offset)
        assert abs(await server_time(it) - it.clock.now() // 10**6 - offset) < 500
        status, answer = await it.create(life=10)
        assert (status, answer.get("code")) == ((200, None) if offset < 0 else (403, 2001))


async def test_F61_the_venue_s_clock_drifts() -> None:
    async with rig() as it:
        it.fault("F61", ppm=100_000)
        it.clock.ahead += 100 * NANO
        drift = await server_time(it) - it.clock.now() // 10**6
        assert 9_900 < drift < 10_300


async def test_F69_every_order_is_lost() -> None:
    async with rig() as it:
        client_id = await it.placed(post_only=True)
        await it.ended(client_id, "OPEN")
        it.fault("F69")
        order = await it.ended(client_id, "CANCELLED")
        assert order["state"]["reject_reason"] == "SYSTEM_FAILOVER"


async def test_F70_funding_is_settled_at_once() -> None:
    async with rig() as it:
        await it.moved(size="1")
        it.fault("F70", ppm=1000)
        await asyncio.sleep(0.15)
        [row] = await it.result("funding_payment_history")
        [held] = await it.result("positions")

        assert Decimal(row["amount"]) == Decimal("3.0")
        assert held["cumulative_realized_funding_payment"] == row["amount"]
        assert it.engine.money().total == 0


async def test_F71_free_margin_is_gone_and_comes_back() -> None:
    async with rig() as it:
        await it.moved(size="1")
        before = await it.result("account_summary")
        it.fault("F71", seconds=0.4)
        await asyncio.sleep(0.15)
        tight = await it.result("account_summary")
        assert (await it.create(px="2990.0", size="1"))[1]["code"] == 2080
        await asyncio.sleep(0.5)
        after = await it.result("account_summary")

        assert Decimal(tight["total_equity"]) == Decimal(tight["initial_margin"])
        assert after["total_equity"] == before["total_equity"]


async def test_F72_the_quote_currency_is_worth_less() -> None:
    async with rig() as it:
        await it.moved()
        it.fault("F72")
        [held] = await it.result("positions")
        summary = await it.result("account_summary")
        assert (held["quote_index_price"], summary["settle_index_price"]) == ("0.98", "0.98")


async def test_F73_positions_are_wrong_even_when_there_is_none() -> None:
    async with rig() as it, it.socket() as wire:
        it.fault("F73", size="0.7")
        assert [row["size"] for row in await it.result("positions")] == ["0.7"]
        await wire.subscribe("v1.position", it.account)
        await it.moved(side="sell")
        told = (await wire.feed("v1.position"))["feed"]["size"]
        assert told == (await it.result("positions"))[0]["size"] == "-1.2"
        it.faults.clear()
        assert (await it.result("positions"))[0]["size"] == "-0.5"


async def test_F78_the_leverage_is_changed_on_the_venue() -> None:
    async with rig() as it:
        it.fault("F78", leverage=33)
        await asyncio.sleep(0.15)
        _, listed = await it.ask("get_all_initial_leverage")
        assert listed["results"][0]["leverage"] == "33.0"


@pytest.mark.parametrize(("mode", "code"), [("ip", 1008), ("revoked", 1000)])
async def test_F79_a_key_is_refused_everywhere(mode: str, code: int) -> None:
    async with rig() as it, it.socket() as wire:
        it.fault("F79", mode=mode)
        assert await it.fail("positions") == (401, code)
        reply = await wire.call("v1/positions", {"sub_account_id": it.account})
        assert reply["error"]["code"] == code
        url = f"{it.url}/auth/api_key/login"
        async with it.http.post(url, json={"api_key": it.keys.api_key}) as answer:
            body = await answer.json()
            assert answer.cookies.get("gravity") is None
        assert (answer.status, body.get("status")) == (
            (401, 401) if mode == "ip" else (200, "failure")
        )
        assert (await it.ask("mini", instrument=SYMBOL))[0] == 200
        it.faults.clear()
        assert await it.result("positions") == []


# --- together --------------------------------------------------------------------------------


async def test_faults_work_together() -> None:
    async with rig() as it, it.socket() as wire:
        await wire.subscribe("v1.fill", it.account)
        for name in ("F01", "F19", "F28", "F73", "F59"):
            it.fault(name)
        body = it.order(market=True, size="0.4")
        with pytest.raises(aiohttp.ClientError):
            await it.post("/full/v1/create_order", body)
        told = [(await wire.feed("v1.fill"))["feed"] for _ in range(2)]

        assert told[0] == told[1]
        assert told[0]["fee_currency"] == "ETH"
        assert (await it.result("positions"))[0]["size"] == "0.41"
        assert await it.fail("cancel_order", client_order_id="1") == (429, 1006)
        assert set(it.faults.taken) == {"grvt F01", "grvt F19", "grvt F28", "grvt F59"}


async def test_a_late_create_can_be_cancelled_at_once_and_told_late() -> None:
    async with rig() as it:
        it.fault("F03", delay_ms=200)
        it.fault("F16")
        body = it.order(post_only=True)
        with pytest.raises(aiohttp.ClientError):
            await it.post("/full/v1/create_order", body)
        order = await it.ended(body["order"]["metadata"]["client_order_id"], "CANCELLED")
        assert order["state"]["reject_reason"] == "MM_PROTECTION"


@pytest.mark.parametrize("pair", [("F52", "F04"), ("F79", "F12"), ("F09", "F12")])
async def test_the_outermost_of_two_faults_answers_first(pair: tuple[str, str]) -> None:
    async with rig() as it:
        for name in pair:
            it.fault(name, count=1)
        try:
            _, answer = await it.create()
            first = answer["code"]
        except aiohttp.ClientError:
            first = 0
        _, answer = await it.create()
        assert (first, answer["code"]) == {
            ("F52", "F04"): (0, 1006),
            ("F79", "F12"): (1008, 2080),
            ("F09", "F12"): (2001, 2080),
        }[pair]

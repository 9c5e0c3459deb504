"""The simulated GRVT over REST: sessions, market data, limits, and what is no request at all."""

import asyncio
import io
import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest
from eth_account import Account

from exchanges.simulator.grvt_options import GrvtOptions
from exchanges.simulator.model import MarketBook
from strategy.domain import NANO, Ns, Side
from tests.sim.grvt_rig import CHAIN, STRANGER, SYMBOL, TAIL, Json, Rig, rig, sign

LOGIN = "/auth/api_key/login"
PUBLIC = ("instrument", "mini", "ticker", "funding", "margin_rules", "trade", "trade_history")


# --- sessions --------------------------------------------------------------------------------


async def test_a_login_sets_a_cookie_that_every_client_can_read() -> None:
    async with rig() as it:
        async with it.http.post(it.url + LOGIN, json={"api_key": it.keys.api_key}) as answer:
            header = answer.headers["Set-Cookie"]
            body = await answer.json()

        assert (answer.status, body["status"]) == (200, "success")
        assert answer.headers["X-Grvt-Account-Id"]
        assert {"funding_account_address", "sub_account_id", "location"} <= body.keys()
        for attribute in ("Path=/", "HttpOnly"):
            assert attribute in header
        assert "secure" not in header.lower()
        expires = header.split("xpires=")[1].split(";")[0]
        assert expires.endswith("GMT")
        left = parsedate_to_datetime(expires) - datetime.fromtimestamp(
            it.clock.now() // NANO, tz=UTC
        )
        assert 23.9 < left.total_seconds() / 3600 <= 24


@pytest.mark.parametrize("body", [{"api_key": "wrong"}, {"api_key": ""}])
async def test_a_wrong_key_is_a_200_without_a_cookie(body: Json) -> None:
    async with rig() as it, it.http.post(it.url + LOGIN, json=body) as answer:
        assert answer.status == 200
        assert (await answer.json())["status"] == "failure"
        assert "Set-Cookie" not in answer.headers


async def test_trading_needs_the_cookie() -> None:
    async with rig() as it:
        body = {"sub_account_id": it.account}
        account = it.headers["X-Grvt-Account-Id"]
        for headers in ({}, {"Cookie": "gravity=abc", "X-Grvt-Account-Id": account}):
            status, answer = await it.post("/full/v1/positions", body, headers=headers)
            assert (status, answer["code"], answer["status"]) == (401, 1000, 401)
            assert "request_id" not in answer


async def test_a_quoted_cookie_is_the_same_cookie() -> None:
    async with rig() as it:
        name, _, value = it.headers["Cookie"].partition("=")
        headers = {**it.headers, "Cookie": f'other=1; {name}="{value}"'}

        status, _ = await it.post(
            "/full/v1/positions", {"sub_account_id": it.account}, headers=headers
        )

        assert status == 200


async def test_a_cookie_expires() -> None:
    async with rig(GrvtOptions(cookie_life=Ns(20 * NANO))) as it:
        assert await it.result("positions") == []
        it.clock.ahead = 21 * NANO

        assert await it.fail("positions") == (401, 1000)
        it.headers = await it.login()
        assert await it.result("positions") == []


def wallet_login(it: Rig, key: str, life: int = 60) -> Json:
    account = Account.from_key(key)
    expiration = it.clock.now() + life * NANO
    types = {"WalletLogin": [{"name": "signer", "type": "address"}, *TAIL]}
    message = {"signer": account.address, "nonce": 5, "expiration": expiration}
    parts = sign(types, message, account, CHAIN)
    return {
        "address": account.address,
        "signature": {**parts, "nonce": 5, "expiration": str(expiration)},
    }


async def test_a_wallet_can_log_in() -> None:
    async with rig() as it:
        url, body = it.url + "/auth/wallet/login", wallet_login(it, it.keys.private_key)
        async with it.http.post(url, json=body) as answer:
            assert (await answer.json())["status"] == "success"
            cookie = answer.cookies["gravity"].value

        it.headers = {"Cookie": f"gravity={cookie}"}
        assert await it.result("positions") == []


@pytest.mark.parametrize(("key", "life"), [(STRANGER, 60), (None, -1), (None, 400)])
async def test_a_wallet_that_does_not_fit_gets_no_cookie(key: str | None, life: int) -> None:
    async with rig() as it:
        body = wallet_login(it, key or it.keys.private_key, life)
        async with it.http.post(it.url + "/auth/wallet/login", json=body) as answer:
            assert (await answer.json())["status"] == "failure"
            assert "Set-Cookie" not in answer.headers


async def test_errors_can_carry_a_request_id() -> None:
    async with rig(GrvtOptions(request_ids=True)) as it:
        _, answer = await it.ask("instrument", instrument="X")

        assert isinstance(answer["request_id"], int)


# --- market data -----------------------------------------------------------------------------


async def test_the_time_is_in_milliseconds() -> None:
    async with rig() as it, it.http.get(it.url + "/time") as answer:
        told = (await answer.json())["server_time"]

        assert abs(told - it.clock.now() // 1_000_000) < 1000


async def test_market_data_needs_no_login() -> None:
    async with rig() as it:
        it.headers = {}
        it.trade("3000.01", "0.5", Side.BUY)
        for method in PUBLIC:
            status, _ = await it.ask(method, instrument=SYMBOL)
            assert status == 200, method


async def test_the_instrument_has_the_documented_fields() -> None:
    async with rig() as it:
        found = await it.result("instrument", instrument=SYMBOL)

        assert found["instrument_hash"] == "0x030401"
        assert (found["tick_size"], found["min_size"]) == ("0.01", "0.01")
        assert (found["base_decimals"], found["quote_decimals"]) == (9, 6)
        assert (found["min_notional"], found["funding_interval_hours"]) == ("20.0", 8)
        assert await it.result("all_instruments", is_active=True) == [found]
        assert await it.result("instruments", kind=["PERPETUAL"], base=["ETH"]) == [found]
        assert await it.result("instruments", base=["BTC"]) == []
        assert await it.fail("instrument", instrument="ETH") == (400, 3000)


async def test_the_book_is_best_first_in_documented_depths() -> None:
    async with rig() as it:
        book = await it.result("book", instrument=SYMBOL, depth=10, aggregate=1)

        assert [level["price"] for level in book["bids"][:2]] == ["2999.99", "2999.98"]
        assert book["asks"][0] == {"price": "3000.01", "size": "10.0", "num_orders": 1}
        assert len(book["bids"]) == len(book["asks"]) == 10
        assert len((await it.result("book", instrument=SYMBOL, depth=500))["asks"]) == 20
        for depth in (0, 11, -10, None):
            assert await it.fail("book", instrument=SYMBOL, depth=depth) == (400, 3031)
        assert await it.fail("book", instrument="ETH", depth=10) == (400, 3000)


async def test_own_orders_are_in_the_book() -> None:
    async with rig() as it:
        client_id = await it.placed(post_only=True, px="3000.0", size="0.25")
        await it.ended(client_id, "OPEN")

        book = await it.result("book", instrument=SYMBOL, depth=10)

        assert book["bids"][0] == {"price": "3000.0", "size": "0.25", "num_orders": 1}


async def test_tickers_and_trades_follow_the_market() -> None:
    async with rig() as it:
        it.trade("3000.01", "0.5", Side.BUY)

        mini = await it.result("mini", instrument=SYMBOL)
        ticker = await it.result("ticker", instrument=SYMBOL)
        [trade] = await it.result("trade", instrument=SYMBOL, limit=10)

        assert (mini["best_bid_price"], mini["best_ask_price"]) == ("2999.99", "3000.01")
        assert (mini["mark_price"], mini["last_price"]) == ("3000.0", "3000.01")
        assert (ticker["funding_rate"], ticker["funding_interval_hours"]) == ("0.01", 8)
        assert int(ticker["next_funding_time"]) > it.clock.now()
        assert ticker["buy_volume_24h_b"] == "0.5"
        assert (trade["price"], trade["size"], trade["is_taker_buyer"]) == (
            "3000.01",
            "0.5",
            True,
        )


async def test_histories_of_the_market_are_paged() -> None:
    async with rig() as it:
        for _ in range(3):
            it.trade("3000.01", "0.5", Side.BUY)

        _, first = await it.ask("trade_history", instrument=SYMBOL, limit=2)
        _, last = await it.ask("trade_history", instrument=SYMBOL, limit=2, cursor=first["next"])
        _, bars = await it.ask("kline", instrument=SYMBOL, interval="CI_1_M", type="TRADE")
        _, rates = await it.ask("funding", instrument=SYMBOL, limit=3)

        ids = [row["trade_id"] for row in first["result"] + last["result"]]
        assert len(set(ids)) == 3
        assert last["next"] == ""
        assert sum(bar["trades"] for bar in bars["result"]) == 3
        assert {row["funding_rate"] for row in rates["result"]} == {"0.01"}
        times = [int(row["funding_time"]) for row in rates["result"]]
        assert times == sorted(times, reverse=True)
        assert times[0] - times[1] == 8 * 3600 * NANO


@pytest.mark.parametrize(
    ("method", "body", "code"),
    [
        ("kline", {"interval": "CI_2_M", "type": "TRADE"}, 3040),
        ("kline", {"interval": "CI_1_M", "type": "LAST"}, 3041),
        ("funding", {"limit": 1001}, 3011),
        ("trade_history", {"limit": 0}, 3011),
        ("trade_history", {"cursor": "x"}, 1003),
        ("trade_history", {"start_time": 5}, 1003),
        ("funding", {"agg_type": "DAILY"}, 1003),
    ],
)
async def test_a_wrong_history_request_has_its_code(method: str, body: Json, code: int) -> None:
    async with rig() as it:
        assert await it.fail(method, instrument=SYMBOL, **body) == (400, code)


async def test_an_empty_market_answers_with_empty_sides() -> None:
    async with rig() as it:
        it.market(MarketBook((), (), snapshot=True))

        book = await it.result("book", instrument=SYMBOL, depth=10)
        mini = await it.result("mini", instrument=SYMBOL)

        assert (book["bids"], book["asks"]) == ([], [])
        assert (mini["best_bid_price"], mini["mid_price"]) == ("0.0", "0.0")


async def test_the_risk_brackets_say_the_margin() -> None:
    async with rig() as it:
        status, answer = await it.ask("margin_rules", instrument=SYMBOL)

        rules = answer.get("result", answer)
        assert status == 200
        assert rules["risk_brackets"][0]["initial_margin_rate"] == "0.02"
        assert rules["risk_brackets"][0]["maintenance_margin_rate"] == "0.01"


async def test_the_currencies_are_listed() -> None:
    async with rig() as it:
        status, answer = await it.ask("currency")

        assert status == 200
        assert "USDT" in json.dumps(answer)


# --- lite names ------------------------------------------------------------------------------


async def test_lite_market_data_has_short_names() -> None:
    async with rig() as it:
        status, answer = await it.post("/lite/v1/book", {"i": SYMBOL, "d": 10})

        assert status == 200
        book = answer["r"]
        assert book["b"][0]["p"] == "2999.99"
        assert book["b"][0]["s"] == "10.0"


# --- limits and garbage ----------------------------------------------------------------------


async def test_creates_are_limited_to_twenty_a_second() -> None:
    async with rig() as it:
        bodies = [it.order(post_only=True) for _ in range(25)]
        got = await asyncio.gather(*(it.post("/full/v1/create_order", body) for body in bodies))

        refused = [answer for status, answer in got if status == 429]
        assert refused
        assert {answer["code"] for answer in refused} == {1006}
        assert sum(status == 200 for status, _ in got) >= 20


async def test_the_whole_table_of_limits_can_be_switched_on() -> None:
    async with rig(GrvtOptions(rate_limits=True)) as it:
        it.clock.ahead = NANO  # the rig's own login used the first token
        it.headers = await it.login()
        got = [(await it.ask("positions"))[0] for _ in range(6)]

        assert got[:5] == [200] * 5
        assert got[5] == 429


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b'"x"', b"\xff\xfe", b"null"])
@pytest.mark.parametrize("path", ["/full/v1/create_order", "/full/v1/book", LOGIN])
async def test_a_body_that_is_no_object_is_1003(path: str, body: bytes) -> None:
    async with rig() as it:
        headers = {**it.headers, "Content-Type": "application/json"}
        async with it.http.post(it.url + path, data=body, headers=headers) as answer:
            assert (answer.status, (await answer.json())["code"]) == (400, 1003)


async def test_a_body_that_says_it_is_no_json_is_1003() -> None:
    async with (
        rig() as it,
        it.http.post(
            it.url + "/full/v1/book",
            data=json.dumps({"instrument": SYMBOL, "depth": 10}),
            headers={"Content-Type": "text/plain"},
        ) as answer,
    ):
        assert (answer.status, (await answer.json())["code"]) == (400, 1003)


@pytest.mark.parametrize("path", ["/", "/full/v1/nothing", "/full/v2/book", "/x/y/z", "/auth/x"])
async def test_an_unknown_path_is_1004(path: str) -> None:
    async with rig() as it:
        assert await it.post(path, {}) == (
            404,
            {"code": 1004, "message": "Data Not Found", "status": 404},
        )


async def test_a_get_of_a_method_is_no_success() -> None:
    async with rig() as it, it.http.get(it.url + "/full/v1/book") as answer:
        assert 400 <= answer.status < 500
        assert (await answer.json())["code"] in {1003, 1004}


async def raw(it: Rig, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", it.server.port)
    try:
        writer.write(data)
        await writer.drain()
        async with asyncio.timeout(2):
            return await reader.read(200)
    except (TimeoutError, ConnectionError):
        return b""
    finally:
        writer.close()


async def test_garbage_on_the_port_does_no_harm() -> None:
    async with rig() as it:
        await raw(it, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        await raw(it, b"POST /full/v1/book HTTP/1.1\r\nContent-Length: banana\r\n\r\n")
        # Half open: announces a body and never sends it.
        _, writer = await asyncio.open_connection("127.0.0.1", it.server.port)
        writer.write(b"POST /full/v1/book HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()

        assert (await it.result("instrument", instrument=SYMBOL))["instrument"] == SYMBOL
        writer.close()


async def test_an_oversize_body_is_refused_and_the_server_lives() -> None:
    async with rig() as it:
        body = io.BytesIO(b'{"instrument": "' + b"x" * (2 << 20) + b'"}')
        headers = {"Content-Type": "application/json"}
        try:
            async with it.http.post(it.url + "/full/v1/book", data=body, headers=headers) as got:
                assert (got.status, (await got.json())["code"]) == (413, 1003)
        except aiohttp.ClientOSError:  # the connection may be closed before all of it is sent
            assert it.server.port
        assert (await it.result("instrument", instrument=SYMBOL))["instrument"] == SYMBOL


async def test_fields_of_the_wrong_type_never_break_the_server() -> None:
    async with rig() as it:
        wrong: list[Any] = [1, -1, 1.5, True, [], {}, "", "x", [1], {"a": 1}, "9" * 50, None]
        methods = ("book", "order", "cancel_order", "fill_history", "create_order", "positions")
        fields = ("instrument", "depth", "sub_account_id", "order_id", "limit", "order", "kind")
        for method in methods:
            for field in fields:
                for value in wrong:
                    status, _ = await it.ask(method, **{field: value})
                    assert status < 500, (method, field, value)


async def test_the_server_can_be_stopped_twice_and_started_elsewhere() -> None:
    async with rig() as it:
        port = it.server.port
        assert port > 0
        await it.server.stop()
        await it.server.stop()
        with pytest.raises(aiohttp.ClientError):
            await it.ask("positions")

"""grvt-pysdk itself against the simulated GRVT: raw async and sync, Ccxt, CcxtPro and CcxtWS.

The clients are unmodified but for their base URLs (venues.md A9). Blocking ones run in a thread.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from pysdk import grvt_ccxt, grvt_ccxt_env, grvt_ccxt_pro
from pysdk import grvt_raw_types as types
from pysdk.grvt_ccxt import GrvtCcxt
from pysdk.grvt_ccxt_env import GrvtEndpointType, GrvtWSEndpointType
from pysdk.grvt_ccxt_env import GrvtEnv as CcxtEnv
from pysdk.grvt_ccxt_pro import GrvtCcxtPro
from pysdk.grvt_ccxt_ws import GrvtCcxtWS
from pysdk.grvt_raw_async import GrvtRawAsync
from pysdk.grvt_raw_base import GrvtApiConfig, GrvtError
from pysdk.grvt_raw_env import GrvtEnv
from pysdk.grvt_raw_signing import sign_order
from pysdk.grvt_raw_sync import GrvtRawSync

from strategy.domain import NANO, Side
from tests.sim.grvt_rig import SYMBOL, Rig, rig

QUIET = logging.getLogger("grvt-sdk-under-test")
QUIET.setLevel(logging.CRITICAL)


# --- the raw clients -------------------------------------------------------------------------


def config(it: Rig, **changes: Any) -> GrvtApiConfig:
    values = {
        "env": GrvtEnv.TESTNET,
        "trading_account_id": it.account,
        "private_key": it.keys.private_key,
        "api_key": it.keys.api_key,
        "logger": QUIET,
    }
    return GrvtApiConfig(**{**values, **changes})


def redirect(client: Any, url: str) -> None:
    client.env.edge.rpc_endpoint = url
    client.md_rpc = url
    client.td_rpc = url


@asynccontextmanager
async def raw(it: Rig, **changes: Any) -> AsyncIterator[GrvtRawAsync]:
    client = GrvtRawAsync(config(it, **changes))
    redirect(client, it.url)
    try:
        yield client
    finally:
        await client._session.close()


def ok(answer: Any) -> Any:
    assert not isinstance(answer, GrvtError), answer
    return answer.result


async def instrument(client: GrvtRawAsync) -> types.Instrument:
    found: types.Instrument = ok(
        await client.get_instrument_v1(types.ApiGetInstrumentRequest(SYMBOL))
    )
    return found


def unsigned(it: Rig, **changes: Any) -> types.Order:
    it.numbers += 1
    values: dict[str, Any] = {
        "sub_account_id": it.account,
        "time_in_force": types.TimeInForce.GOOD_TILL_TIME,
        "legs": [types.OrderLeg(SYMBOL, "0.5", is_buying_asset=True, limit_price="2990.0")],
        "signature": types.Signature(
            signer="",
            r="",
            s="",
            v=0,
            expiration=str(it.clock.now() + 60 * NANO),
            nonce=it.numbers % 2**32,
        ),
        "metadata": types.OrderMetadata(client_order_id=str(it.numbers)),
        "is_market": False,
        "post_only": False,
        "reduce_only": False,
    }
    return types.Order(**{**values, **changes})


async def send(it: Rig, client: GrvtRawAsync, **changes: Any) -> Any:
    row = await instrument(client)
    order = unsigned(it, **changes)
    signed = sign_order(order, client.config, client.account, {SYMBOL: row})
    return await client.create_order_v1(types.ApiCreateOrderRequest(signed))


async def settled(client: GrvtRawAsync, it: Rig, client_id: str) -> types.Order:
    """Poll until the order is neither unknown nor pending."""
    async with asyncio.timeout(3):
        while True:
            answer = await client.get_order_v1(
                types.ApiGetOrderRequest(it.account, client_order_id=client_id)
            )
            if not isinstance(answer, GrvtError):
                found: types.Order = answer.result
                assert found.state is not None
                if found.state.status is not types.OrderStatus.PENDING:
                    return found
            await asyncio.sleep(0.01)


async def test_REQ_9_the_raw_sdk_logs_in_and_reads_the_market() -> None:
    async with rig() as it, raw(it) as client:
        row = await instrument(client)
        book = ok(await client.orderbook_levels_v1(types.ApiOrderbookLevelsRequest(SYMBOL, 10)))
        ticker = ok(await client.ticker_v1(types.ApiTickerRequest(SYMBOL)))
        mini = ok(await client.mini_ticker_v1(types.ApiMiniTickerRequest(SYMBOL)))
        rows = ok(await client.get_all_instruments_v1(types.ApiGetAllInstrumentsRequest()))
        currencies = ok(await client.get_currency_v1(types.ApiGetCurrencyRequest()))
        summary = ok(
            await client.sub_account_summary_v1(types.ApiSubAccountSummaryRequest(it.account))
        )

        assert (row.instrument_hash, row.base_decimals, row.tick_size) == ("0x030401", 9, "0.01")
        assert (book.bids[0].price, book.asks[0].price) == ("2999.99", "3000.01")
        assert ticker.best_bid_price == mini.best_bid_price == "2999.99"
        assert [each.instrument for each in rows] == [SYMBOL]
        assert {each.symbol for each in currencies} >= {"USDT", "ETH"}
        assert summary.total_equity == "1000000.0"
        assert client._cookie is not None


async def test_the_raw_sdk_rests_finds_and_cancels_a_post_only_order() -> None:
    async with rig() as it, raw(it) as client:
        ack = ok(await send(it, client, post_only=True))
        assert (ack.order_id, ack.state.status) == ("0x00", types.OrderStatus.PENDING)
        assert (ack.state.book_size, ack.state.traded_size) == (["0.5"], ["0.0"])

        found = await settled(client, it, ack.metadata.client_order_id)
        listed = ok(await client.open_orders_v1(types.ApiOpenOrdersRequest(it.account)))
        assert found.state is not None
        assert found.state.status is types.OrderStatus.OPEN
        assert found.order_id is not None
        assert len(found.order_id) == 34
        assert [each.order_id for each in listed] == [found.order_id]

        done = await client.cancel_order_v1(
            types.ApiCancelOrderRequest(it.account, order_id=found.order_id)
        )
        assert ok(done).ack is True
        async with asyncio.timeout(3):
            while ok(await client.open_orders_v1(types.ApiOpenOrdersRequest(it.account))):
                await asyncio.sleep(0.01)
        ended = await settled(client, it, ack.metadata.client_order_id)
        assert ended.state is not None
        assert ended.state.status is types.OrderStatus.CANCELLED
        assert ended.state.reject_reason is types.OrderRejectReason.CLIENT_CANCEL


async def test_the_raw_sdk_takes_with_an_ioc_and_sees_fill_and_position() -> None:
    async with rig() as it, raw(it) as client:
        leg = types.OrderLeg(SYMBOL, "1.5", is_buying_asset=True, limit_price="3000.05")
        ack = ok(
            await send(it, client, legs=[leg], time_in_force=types.TimeInForce.IMMEDIATE_OR_CANCEL)
        )

        found = await settled(client, it, ack.metadata.client_order_id)
        fills = await client.fill_history_v1(types.ApiFillHistoryRequest(it.account))
        held = ok(await client.positions_v1(types.ApiPositionsRequest(it.account)))
        history = await client.order_history_v1(types.ApiOrderHistoryRequest(it.account))

        assert found.state is not None
        assert found.state.status is types.OrderStatus.FILLED
        assert found.state.traded_size == ["1.5"]
        row = ok(fills)[0]
        assert (row.size, row.price, row.is_taker) == ("1.5", "3000.01", True)
        assert (row.fee, row.fee_rate) == ("2.02500675", "0.045")
        assert row.client_order_id == ack.metadata.client_order_id
        assert [(each.instrument, each.size) for each in held] == [(SYMBOL, "1.5")]
        assert [each.order_id for each in ok(history)] == [found.order_id]


async def test_the_raw_sdk_reads_every_other_account_endpoint() -> None:
    async with rig() as it, raw(it) as client:
        ask: list[tuple[Callable[[Any], Any], Any]] = [
            (client.aggregated_account_summary_v1, types.EmptyRequest()),
            (client.funding_account_summary_v1, types.EmptyRequest()),
            (
                client.funding_payment_history_v1,
                types.ApiFundingPaymentHistoryRequest(it.account),
            ),
            (client.cancel_all_orders_v1, types.ApiCancelAllOrdersRequest(it.account)),
            (
                client.cancel_on_disconnect_v1,
                types.ApiCancelOnDisconnectRequest(it.account, countdown_time="30000"),
            ),
            (client.funding_rate_v1, types.ApiFundingRateRequest(SYMBOL)),
            (client.trade_v1, types.ApiTradeRequest(SYMBOL, 10)),
            (client.trade_history_v1, types.ApiTradeHistoryRequest(SYMBOL)),
            (
                client.candlestick_v1,
                types.ApiCandlestickRequest(
                    SYMBOL, types.CandlestickInterval.CI_1_M, types.CandlestickType.TRADE
                ),
            ),
            (client.get_filtered_instruments_v1, types.ApiGetFilteredInstrumentsRequest()),
        ]
        for method, request in ask:
            assert ok(await method(request)) is not None, method

        levels = await client.get_all_initial_leverage_v1(
            types.ApiGetAllInitialLeverageRequest(it.account)
        )
        changed = await client.set_initial_leverage_v1(
            types.ApiSetInitialLeverageRequest(it.account, SYMBOL, "20")
        )
        assert not isinstance(levels, GrvtError)
        assert levels.results[0].leverage == "10.0"
        assert not isinstance(changed, GrvtError)
        assert changed.success is True


async def test_the_raw_sdk_parses_refusals_as_its_own_error() -> None:
    async with rig() as it, raw(it) as client:
        leg = types.OrderLeg(SYMBOL, "0.505", is_buying_asset=True, limit_price="2990.0")
        granular = await send(it, client, legs=[leg])
        unknown = await client.get_order_v1(
            types.ApiGetOrderRequest(it.account, client_order_id="9223372036854770000")
        )

        assert isinstance(granular, GrvtError)
        assert (granular.code, granular.status) == (2065, 400)
        assert isinstance(unknown, GrvtError)
        assert (unknown.code, unknown.status) == (1004, 404)


async def test_a_wrong_key_leaves_the_raw_sdk_without_a_session() -> None:
    async with rig() as it, raw(it, api_key="wrong") as client:
        answer = await client.positions_v1(types.ApiPositionsRequest(it.account))

        assert client._cookie is None
        assert isinstance(answer, GrvtError)
        assert (answer.code, answer.status) == (1000, 401)


async def test_the_raw_sync_sdk_works_too() -> None:
    async with rig() as it:

        def use() -> tuple[Any, Any]:
            client = GrvtRawSync(config(it))
            redirect(client, it.url)
            with client._session:
                row = client.get_instrument_v1(types.ApiGetInstrumentRequest(SYMBOL))
                return row, client.positions_v1(types.ApiPositionsRequest(it.account))

        row, held = await asyncio.to_thread(use)

        assert ok(row).instrument == SYMBOL
        assert ok(held) == []


# --- the ccxt-style clients ------------------------------------------------------------------


@contextmanager
def redirected(it: Rig) -> Iterator[None]:
    """Point every ccxt-style client that is built meanwhile at the simulator."""

    def endpoint(environment: CcxtEnv, name: str) -> str:
        del environment
        for table in grvt_ccxt_env.GRVT_ENDPOINTS.values():
            if name in table:
                return f"{it.url}/{table[name]}"
        return ""

    assert GrvtEndpointType.EDGE in grvt_ccxt_env.GRVT_ENDPOINTS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grvt_ccxt, "get_grvt_endpoint", endpoint)
        patch.setattr(grvt_ccxt_pro, "get_grvt_endpoint", endpoint)
        yield


def parameters(it: Rig) -> dict[str, str]:
    return {
        "api_key": it.keys.api_key,
        "trading_account_id": it.account,
        "private_key": it.keys.private_key,
    }


async def test_the_ccxt_sdk_trades_and_reads() -> None:
    async with rig() as it:
        with redirected(it):

            def use() -> dict[str, Any]:
                client = GrvtCcxt(CcxtEnv.TESTNET, QUIET, parameters(it))
                with client._session:
                    return {
                        "markets": client.load_markets(),
                        "book": client.fetch_order_book(SYMBOL, limit=10),
                        "order": client.create_order(
                            SYMBOL, "limit", "buy", "0.5", "2990", {"post_only": True}
                        ),
                        "market": client.create_order(SYMBOL, "market", "sell", "0.5"),
                        "balance": client.fetch_balance(),
                        "cancelled": client.cancel_all_orders(),
                    }

            got = await asyncio.to_thread(use)

        assert list(got["markets"]) == [SYMBOL]
        assert got["book"]["asks"][0]["price"] == "3000.01"
        assert got["order"]["state"]["status"] == "PENDING"
        sold = await it.ended(got["market"]["metadata"]["client_order_id"], "FILLED")
        assert sold["is_market"] is True
        assert got["balance"]["total"]["USDT"] == "1000000.0"
        assert got["cancelled"] is True


# GrvtCcxtPro closes its session in a task made by __del__, which outlives the test (venues.md G3).
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_the_ccxt_pro_sdk_trades() -> None:
    async with rig() as it:
        with redirected(it):
            client = await _built(lambda: GrvtCcxtPro(CcxtEnv.TESTNET, QUIET, parameters(it)))
            await client.load_markets()
            order = await client.create_order(SYMBOL, "limit", "buy", "0.5", "2990")
            client_id = order["metadata"]["client_order_id"]
            await it.ended(client_id, "OPEN")
            found = await client.fetch_order(params={"client_order_id": client_id})
            gone = await client.cancel_order(params={"client_order_id": client_id})
            held = await client.fetch_positions([SYMBOL])
            await client._session.close()

        assert found["result"]["state"]["status"] == "OPEN"
        assert gone is True
        assert held == []
        await it.ended(client_id, "CANCELLED")


async def _built(make: Callable[[], Any]) -> Any:
    """Build a client whose constructor logs in with blocking calls (venues.md G1).

    It also needs a running loop, so that it is built in a thread that has one of its own while
    the server answers here; the session it makes there is replaced by one of this loop.
    """
    import aiohttp  # noqa: PLC0415 - only this seam needs a session of its own

    def in_thread() -> Any:
        async def build() -> Any:
            client = make()
            await client._session.close()
            return client

        return asyncio.run(build())

    client = await asyncio.to_thread(in_thread)
    client._session = aiohttp.ClientSession(headers={"Content-Type": "application/json"})
    client.update_session_with_cookie()
    return client


async def test_the_ws_sdk_s_own_envelopes_are_answered() -> None:
    """GrvtCcxtWS never stops its tasks (venues.md G25): its messages are sent for it."""
    async with rig() as it:
        selector = GrvtCcxtWS._construct_selector
        maker = GrvtCcxtWS.__new__(GrvtCcxtWS)
        maker._trading_account_id = it.account
        async with it.socket("/ws") as legacy, it.socket() as rpc:
            book = selector(maker, "book.s", {"instrument": SYMBOL})
            await legacy.socket.send_json(
                {
                    "request_id": 1,
                    "stream": "v1.book.s",
                    "feed": [book],
                    "method": "subscribe",
                    "is_full": True,
                }
            )
            answer = await legacy.next(lambda frame: frame.get("request_id") == 1)
            shown = await legacy.feed("v1.book.s")
            fills = selector(maker, "fill", {"instrument": SYMBOL})
            reply = await rpc.subscribe("v1.fill", fills)

        assert answer["subs"] == [book]
        assert shown["feed"]["asks"][0]["price"] == "3000.01"
        assert reply["result"]["subs"] == [f"{it.account}-{SYMBOL}"]
        assert GrvtWSEndpointType.TRADE_DATA_RPC_FULL in GrvtWSEndpointType


async def test_the_engine_and_the_sdk_agree_on_what_was_counted() -> None:
    async with rig() as it, raw(it) as client:
        await send(it, client, post_only=True)
        other = unsigned(it)
        wrong = sign_order(other, client.config, client.account, {SYMBOL: await instrument(client)})
        wrong.post_only = True
        refused = await client.create_order_v1(types.ApiCreateOrderRequest(wrong))
        account = it.engine.accounts[it.account]

        assert isinstance(refused, GrvtError)
        assert (refused.code, refused.status) == (2002, 403)
        assert (account.orders_received, account.orders_rejected) == (2, 1)
        assert account.signature_failures == 1
        assert it.engine.open_orders(it.account) or Side.BUY

"""The simulated GRVT with the venue's own SDK: raw clients, unmodified but for the addresses."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pysdk import grvt_raw_types as types
from pysdk.grvt_raw_async import GrvtRawAsync
from pysdk.grvt_raw_base import GrvtApiConfig, GrvtError
from pysdk.grvt_raw_env import GrvtEnv
from pysdk.grvt_raw_signing import sign_order
from pysdk.grvt_raw_sync import GrvtRawSync

from strategy.domain import NANO
from tests.sim.grvt_rig import SYMBOL, WAIT, Rig, rig

QUIET = logging.getLogger("grvt-sdk-under-test")
QUIET.setLevel(logging.CRITICAL)


def config(it: Rig, api_key: str | None = None) -> GrvtApiConfig:
    return GrvtApiConfig(
        env=GrvtEnv.TESTNET,
        trading_account_id=it.account,
        private_key=it.keys.private_key,
        api_key=api_key or it.keys.api_key,
        logger=QUIET,
    )


def redirect(client: Any, url: str) -> None:
    client.env.edge.rpc_endpoint = url
    client.md_rpc = client.td_rpc = url


@asynccontextmanager
async def sdk(it: Rig, api_key: str | None = None) -> AsyncIterator[GrvtRawAsync]:
    client = GrvtRawAsync(config(it, api_key))
    redirect(client, it.url)
    try:
        yield client
    finally:
        await client._session.close()  # the SDK offers no other way


def answered(value: Any) -> Any:
    """Return a result that is no error."""
    assert not isinstance(value, GrvtError), value
    return value


async def listed(client: GrvtRawAsync) -> dict[str, types.Instrument]:
    found = answered(
        await client.get_instrument_v1(types.ApiGetInstrumentRequest(instrument=SYMBOL))
    )
    return {SYMBOL: found.result}


async def order_of(it: Rig, client: GrvtRawAsync, **changes: Any) -> types.Order:
    it.numbers += 1
    fields: dict[str, Any] = {
        "px": "2990.0",
        "size": "0.5",
        "buy": True,
        "post_only": False,
        "is_market": False,
        "tif": types.TimeInForce.GOOD_TILL_TIME,
    } | changes
    order = types.Order(
        sub_account_id=it.account,
        time_in_force=fields["tif"],
        legs=[
            types.OrderLeg(
                instrument=SYMBOL,
                size=fields["size"],
                limit_price=fields["px"],
                is_buying_asset=fields["buy"],
            )
        ],
        signature=types.Signature(
            signer="",
            r="",
            s="",
            v=0,
            expiration=str(it.clock.now() + 60 * NANO),
            nonce=it.numbers % 2**32,
        ),
        metadata=types.OrderMetadata(client_order_id=str(it.numbers)),
        is_market=fields["is_market"],
        post_only=fields["post_only"],
        reduce_only=False,
    )
    return sign_order(order, client.config, client.account, await listed(client))


async def create(it: Rig, client: GrvtRawAsync, **changes: Any) -> Any:
    order = await order_of(it, client, **changes)
    return await client.create_order_v1(types.ApiCreateOrderRequest(order=order))


async def until(it: Rig, client: GrvtRawAsync, client_id: str, status: types.OrderStatus) -> Any:
    """Query by client id until the order has that status."""
    request = types.ApiGetOrderRequest(sub_account_id=it.account, client_order_id=client_id)
    async with asyncio.timeout(WAIT):
        while True:
            found = await client.get_order_v1(request)
            if isinstance(found, GrvtError):
                assert found.code == 1004
            elif found.result.state is not None and found.result.state.status is status:
                return found.result
            await asyncio.sleep(0.02)


async def test_the_sdk_reads_market_data() -> None:
    async with rig() as it, sdk(it) as client:
        instrument = (await listed(client))[SYMBOL]
        book = answered(
            await client.orderbook_levels_v1(
                types.ApiOrderbookLevelsRequest(instrument=SYMBOL, depth=10)
            )
        )
        mini = answered(await client.mini_ticker_v1(types.ApiMiniTickerRequest(instrument=SYMBOL)))
        ticker = answered(await client.ticker_v1(types.ApiTickerRequest(instrument=SYMBOL)))
        everything = answered(
            await client.get_all_instruments_v1(types.ApiGetAllInstrumentsRequest(is_active=True))
        )

        assert (instrument.tick_size, instrument.base_decimals) == ("0.01", 9)
        assert book.result.bids[0].price == "2999.99"
        assert mini.result.best_ask_price == "3000.01"
        assert ticker.result.mark_price == "3000.0"
        assert [each.instrument for each in everything.result] == [SYMBOL]


async def test_the_sdk_logs_in_and_places_a_maker_order() -> None:
    async with rig() as it, sdk(it) as client:
        ack = answered(await create(it, client, post_only=True)).result

        assert (ack.order_id, ack.state.status) == ("0x00", types.OrderStatus.PENDING)
        client_id = ack.metadata.client_order_id
        order = await until(it, client, client_id, types.OrderStatus.OPEN)
        request = types.ApiOpenOrdersRequest(sub_account_id=it.account, kind=None)
        resting = answered(await client.open_orders_v1(request)).result
        assert [each.order_id for each in resting] == [order.order_id]
        done = answered(
            await client.cancel_order_v1(
                types.ApiCancelOrderRequest(sub_account_id=it.account, client_order_id=client_id)
            )
        )
        assert done.result.ack
        order = await until(it, client, client_id, types.OrderStatus.CANCELLED)
        assert order.state.reject_reason is types.OrderRejectReason.CLIENT_CANCEL


@pytest.mark.parametrize(
    "kind",
    [
        {"tif": types.TimeInForce.IMMEDIATE_OR_CANCEL, "px": "3000.01"},
        {"tif": types.TimeInForce.GOOD_TILL_TIME, "px": "0", "is_market": True},
        {"tif": types.TimeInForce.IMMEDIATE_OR_CANCEL, "px": "0", "is_market": True},
    ],
)
async def test_the_sdk_takes_liquidity_and_reads_the_account(kind: dict[str, Any]) -> None:
    async with rig() as it, sdk(it) as client:
        ack = answered(await create(it, client, **kind)).result
        order = await until(it, client, ack.metadata.client_order_id, types.OrderStatus.FILLED)

        fills = answered(
            await client.fill_history_v1(types.ApiFillHistoryRequest(sub_account_id=it.account))
        )
        positions = answered(
            await client.positions_v1(types.ApiPositionsRequest(sub_account_id=it.account))
        )
        summary = answered(
            await client.sub_account_summary_v1(
                types.ApiSubAccountSummaryRequest(sub_account_id=it.account)
            )
        )

        assert order.state.traded_size == ["0.5"]
        assert [(fill.price, fill.size) for fill in fills.result] == [("3000.01", "0.5")]
        assert [(row.instrument, row.size) for row in positions.result] == [(SYMBOL, "0.5")]
        assert summary.result.sub_account_id == it.account
        assert len(summary.result.positions) == 1


async def test_the_sdk_reads_histories_and_overviews() -> None:
    async with rig() as it, sdk(it) as client:
        ack = answered(await create(it, client, is_market=True, px="0")).result
        await until(it, client, ack.metadata.client_order_id, types.OrderStatus.FILLED)
        account = it.account

        orders = answered(
            await client.order_history_v1(types.ApiOrderHistoryRequest(sub_account_id=account))
        )
        payments = answered(
            await client.funding_payment_history_v1(
                types.ApiFundingPaymentHistoryRequest(sub_account_id=account)
            )
        )
        total = answered(await client.aggregated_account_summary_v1(types.EmptyRequest()))
        funding = answered(await client.funding_account_summary_v1(types.EmptyRequest()))
        leverage = answered(
            await client.get_all_initial_leverage_v1(
                types.ApiGetAllInitialLeverageRequest(sub_account_id=account)
            )
        )
        rates = answered(
            await client.funding_rate_v1(types.ApiFundingRateRequest(instrument=SYMBOL, limit=2))
        )

        assert len(orders.result) == 1
        assert payments.result == []
        assert float(total.result.total_equity) < 1_000_000
        assert funding.result.total_equity == "0.0"
        assert [row.leverage for row in leverage.results] == ["10.0"]
        assert len(rates.result) == 2


async def test_the_sdk_sees_refusals_as_codes() -> None:
    async with rig() as it, sdk(it) as client:
        for changes, code in (({"px": "2990.001"}, 2064), ({"size": "0.001"}, 2062)):
            refused = await create(it, client, **changes)
            assert isinstance(refused, GrvtError)
            assert refused.code == code


async def test_the_sdk_arms_the_dead_man_switch_and_cancels_everything() -> None:
    async with rig() as it, sdk(it) as client:
        armed = answered(
            await client.cancel_on_disconnect_v1(
                types.ApiCancelOnDisconnectRequest(
                    sub_account_id=it.account, countdown_time="30000"
                )
            )
        )
        done = answered(
            await client.cancel_all_orders_v1(
                types.ApiCancelAllOrdersRequest(sub_account_id=it.account)
            )
        )

        assert (armed.result.ack, done.result.ack) == (True, True)


async def test_the_sdk_with_a_wrong_key_is_not_logged_in() -> None:
    async with rig() as it, sdk(it, "wrong") as client:
        refused = await client.positions_v1(types.ApiPositionsRequest(sub_account_id=it.account))

        assert isinstance(refused, GrvtError)
        assert (refused.code, refused.status) == (1000, 401)


async def test_the_synchronous_sdk_works_too() -> None:
    async with rig() as it:

        def use() -> Any:
            client = GrvtRawSync(config(it))
            redirect(client, it.url)
            try:
                return client.positions_v1(types.ApiPositionsRequest(sub_account_id=it.account))
            finally:
                client._session.close()

        found = answered(await asyncio.to_thread(use))

        assert found.result == []

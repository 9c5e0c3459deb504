"""GRVT's own SDK reads funding that was settled: sign, amount, currency (venues.md A4.2, A7).

Funding settles every eight hours, so that the server runs in this process, where the interval can
be made short and its clock set forward. The ccxt-style classes have no such method.
"""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from pysdk import grvt_raw_types as raw
from pysdk.grvt_raw_async import GrvtRawAsync
from pysdk.grvt_raw_base import GrvtApiConfig
from pysdk.grvt_raw_env import GrvtEnv
from pysdk.grvt_raw_sync import GrvtRawSync

from strategy.domain import NANO, Ns
from tests.sim.grvt_rig import SYMBOL, Rig, rig
from tests.strangers.grvt_faces import QUIET

HOUR = 3600 * NANO
RATE = Decimal("0.0001")
"""0.01 % an interval: longs pay (venues.md Part E)."""


def redirected(it: Rig, make: Any) -> Any:
    config = GrvtApiConfig(GrvtEnv.TESTNET, it.account, it.keys.private_key, it.keys.api_key, QUIET)
    client = make(config)
    client.env.edge.rpc_endpoint = client.td_rpc = client.md_rpc = it.url
    return client


async def payments_async(it: Rig, request: raw.ApiFundingPaymentHistoryRequest) -> Any:
    client = redirected(it, GrvtRawAsync)
    try:
        return await client.funding_payment_history_v1(request)
    finally:
        await client._session.close()


async def payments_sync(it: Rig, request: raw.ApiFundingPaymentHistoryRequest) -> Any:
    client = redirected(it, GrvtRawSync)
    with client._session:
        return await asyncio.to_thread(client.funding_payment_history_v1, request)


@pytest.mark.parametrize("ask", [payments_async, payments_sync])
@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_settled_funding_is_read_with_its_sign(ask: Any, side: str) -> None:
    async with rig(funding_interval=Ns(8 * HOUR)) as it:
        px = "3001.0" if side == "buy" else "2999.0"
        await it.ended(await it.placed(side=side, px=px, tif="IMMEDIATE_OR_CANCEL"), "FILLED")
        it.clock.ahead += 8 * HOUR
        answer = await ask(it, raw.ApiFundingPaymentHistoryRequest(sub_account_id=it.account))

        assert [(row.instrument, row.currency) for row in answer.result] == [(SYMBOL, "USDT")]
        paid = Decimal(answer.result[0].amount)
        mark = Decimal(3000)
        owed = mark * Decimal("0.5") * RATE
        assert paid == (owed if side == "buy" else -owed)  # positive is paid
        assert int(answer.result[0].event_time) % (8 * HOUR) == 0
        held = (await it.result("positions"))[0]
        assert Decimal(held["cumulative_realized_funding_payment"]) == paid

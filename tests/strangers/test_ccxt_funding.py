"""Funding payments as ccxt lists them, on venues whose clocks a test may set forward.

The servers run in this process: nobody waits eight hours. Positive is received on Backpack and
paid on GRVT (venues.md 0.1), and ccxt passes both on as they are.
"""

from typing import Any

import pytest

from tests.sim import grvt_rig
from tests.sim.test_backpack_server_rig import running
from tests.strangers.ccxt_rig import ETH_USDC, ETH_USDT, backpack, ccxt, grvt, reached

HOUR_MS = 3_600_000
HOUR_NS = HOUR_MS * 1_000_000


async def test_a_long_pays_on_grvt_and_the_payment_is_listed() -> None:
    async with grvt_rig.rig() as venue:
        ws = venue.url.replace("http", "ws")
        urls = {"edge": venue.url, "trades": venue.url, "market_data": venue.url}
        sockets = {"ws_trades": ws, "ws_market_data": ws}
        secret = {"private_key": venue.keys.private_key}
        exchange = grvt(ccxt.async_support.grvt, urls | sockets | secret)
        await exchange.load_markets()
        await exchange.create_order(ETH_USDT, "market", "buy", 2)

        async def held() -> Any:
            return await exchange.fetch_positions([ETH_USDT]) or None

        await reached(held)
        before = (await exchange.fetch_balance())["USDT"]["total"]
        assert await exchange.fetch_funding_history(ETH_USDT) == []

        venue.clock.ahead += 8 * HOUR_NS
        (payment,) = await exchange.fetch_funding_history(ETH_USDT)
        (position,) = await exchange.fetch_positions([ETH_USDT])
        after = (await exchange.fetch_balance())["USDT"]["total"]
        await exchange.close()

    assert payment["amount"] == pytest.approx(2 * 3000 * 0.0001)
    assert (payment["symbol"], payment["code"]) == (ETH_USDT, "USDT")
    assert payment["timestamp"] % (8 * HOUR_MS) == 0
    assert after == pytest.approx(before - 0.6)
    assert float(position["info"]["cumulative_realized_funding_payment"]) == pytest.approx(0.6)


async def test_a_short_receives_on_backpack_and_the_payment_is_listed() -> None:
    async with running() as venue:
        keys = {"public_key": venue.keys.public_key, "secret_key": venue.keys.secret_key}
        urls = {"api": venue.url, "ws": venue.url.replace("http", "ws")}
        exchange = backpack(ccxt.async_support.backpack, urls | keys)
        await exchange.load_markets()
        sold = await exchange.create_order(ETH_USDC, "market", "sell", 1)
        assert await exchange.fetch_funding_history(ETH_USDC) == []
        before = (await exchange.fetch_balance())["USDC"]["total"]

        venue.clock.ahead += HOUR_NS
        exchange.options["timeDifference"] = -HOUR_MS  # sign by the venue's clock
        (payment,) = await exchange.fetch_funding_history(ETH_USDC)
        (position,) = await exchange.fetch_positions([ETH_USDC])
        after = (await exchange.fetch_balance())["USDC"]["total"]
        await exchange.close()

    assert sold["filled"] == 1.0
    assert payment["amount"] == pytest.approx(float(position["markPrice"]) * 0.0000125)
    assert (payment["symbol"], payment["rate"]) == (ETH_USDC, 0.0000125)
    assert payment["timestamp"] % HOUR_MS == 0
    assert after == pytest.approx(before + payment["amount"])
    assert float(position["info"]["cumulativeFundingPayment"]) == pytest.approx(payment["amount"])

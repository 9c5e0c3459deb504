"""Backpack's 2000 requests a minute, as two strangers' clients of one account meet it (B3.4).

A module of its own: whoever has used up the minute stays locked out for the rest of it.
"""

from typing import Any

import pytest
from bpx.account import Account

from tests.strangers.ccxt_rig import ETH_USDC, backpack, ccxt
from tests.strangers.simulation import Simulation

PER_MINUTE = 2000


def test_requests_beyond_the_minutes_allowance_are_throttled(simulation: Simulation) -> None:
    exchange = backpack(ccxt.backpack, simulation.backpack)
    other: Any = Account(simulation.backpack["public_key"], simulation.backpack["secret_key"])
    other.BPX_API_URL = simulation.backpack["api"] + "/"
    exchange.load_markets()
    assert "USDC" in other.get_balances()

    for _ in range(PER_MINUTE - 1):
        exchange.fetch_open_orders(ETH_USDC)
    with pytest.raises(ccxt.RateLimitExceeded, match="TOO_MANY_REQUESTS"):
        exchange.fetch_open_orders(ETH_USDC)

    assert other.get_balances()["code"] == "TOO_MANY_REQUESTS"
    exchange.fetch_ticker(ETH_USDC)  # public data has an allowance of its own
    exchange.session.close()

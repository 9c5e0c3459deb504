"""Every row of venues.md A4.1, A4.2 and A6.3 that is in scope answers, in every envelope."""

from collections.abc import Callable
from typing import Any

import pytest

from exchanges.simulator.grvt_lite import _METHODS, to_lite
from tests.sim.grvt_rig import SYMBOL, Json, Rig, rig
from tests.sim.test_grvt_settings import approve, config

PAGE: Json = {"start_time": "1", "end_time": str(2**63), "limit": 10, "cursor": None}
NAMED: Json = {"instrument": SYMBOL}
MARKET: dict[str, Json] = {
    "instrument": NAMED,
    "all_instruments": {"is_active": True},
    "instruments": {"kind": ["PERPETUAL"], "base": ["ETH"], "quote": None, "limit": 1000},
    "mini": NAMED,
    "ticker": NAMED,
    "book": {**NAMED, "depth": 50, "aggregate": 1},
    "trade": {**NAMED, "limit": 10},
    "trade_history": {**NAMED, **PAGE},
    "kline": {**NAMED, **PAGE, "interval": "CI_5_M", "type": "MARK"},
    "funding": {**NAMED, **PAGE, "agg_type": None},
    "margin_rules": NAMED,
    "currency": {},
}
FILTER: Json = {"kind": ["PERPETUAL"], "base": None, "quote": ["USDT"]}
TRADING: dict[str, Callable[[Rig], Json]] = {
    "create_order": lambda it: it.order(),
    "bulk_orders": lambda it: {"orders": [it.order()["order"]]},
    "create_bulk_orders": lambda it: {"orders": [it.order()["order"]]},
    "cancel_order": lambda _: {"client_order_id": "4711"},
    "cancel_all_orders": lambda _: FILTER,
    "order": lambda _: {"client_order_id": "4711"},
    "open_orders": lambda _: FILTER,
    "order_history": lambda _: {**FILTER, **PAGE},
    "fill_history": lambda _: {**FILTER, **PAGE},
    "positions": lambda _: FILTER,
    "position_history": lambda _: {**FILTER, **PAGE, "status": ["CLOSED"]},
    "funding_payment_history": lambda _: {**NAMED, **PAGE},
    "account_summary": lambda _: {},
    "account_history": lambda _: PAGE,
    "aggregated_account_summary": lambda _: {},
    "funding_account_summary": lambda _: {},
    "cancel_on_disconnect": lambda _: {"countdown_time": "30000"},
    "get_all_initial_leverage": lambda _: {},
    "set_initial_leverage": lambda _: {**NAMED, "leverage": "7"},
    "set_position_config": config,
    "get_sub_accounts": lambda _: {},
    "deposit_history": lambda _: {"currency": ["USDT"], **PAGE},
    "transfer_history": lambda _: PAGE,
    "withdrawal_history": lambda _: PAGE,
    "get_authorized_builders": lambda _: {},
}


async def seasoned(it: Rig) -> None:
    """Trade a little, so that histories are not empty."""
    await it.moved()
    await it.moved(side="sell")
    await it.ended(await it.placed(client_id="4711", post_only=True), "OPEN")


def test_every_method_has_short_names() -> None:
    assert set(_METHODS) == {*MARKET, *TRADING, "authorize_builder"}


@pytest.mark.parametrize("name", MARKET)
async def test_a_market_row_answers_with_full_and_short_names(name: str) -> None:
    async with rig() as it, it.socket(headers={}) as wire:
        await seasoned(it)
        status, full = await it.post(f"/full/v1/{name}", MARKET[name], headers={})
        short = to_lite(MARKET[name], _METHODS[name][0])
        lite_status, lite = await it.post(f"/lite/v1/{name}", short, headers={})
        reply = await wire.call(f"v1/{name}", MARKET[name])

        assert (status, lite_status) == (200, 200), (full, lite)
        assert full
        assert len(lite) == len(full)
        assert set(reply["result"]) == set(full)


@pytest.mark.parametrize("name", TRADING)
async def test_a_trading_row_answers_with_full_and_short_names(name: str) -> None:
    async with rig() as it, it.socket() as wire:
        await seasoned(it)
        sub = {"sub_account_id": it.account}
        status, full = await it.post(f"/full/v1/{name}", sub | TRADING[name](it))
        short = to_lite(sub | TRADING[name](it), _METHODS[name][0])
        lite_status, lite = await it.post(f"/lite/v1/{name}", short)
        reply = await wire.call(f"v1/{name}", sub | TRADING[name](it))

        assert (status, lite_status) == (200, 200), (full, lite)
        assert set(reply["result"]) == set(full)
        assert len(lite) == len(full)


@pytest.mark.parametrize("name", TRADING)
async def test_a_trading_row_needs_a_login_and_a_body(name: str) -> None:
    async with rig() as it:
        sub = {"sub_account_id": it.account}
        status, answer = await it.post(f"/full/v1/{name}", sub | TRADING[name](it), headers={})
        assert (status, answer["code"]) == (401, 1000)
        url = f"{it.url}/full/v1/{name}"
        async with it.http.post(url, data=b"{}", headers=it.headers) as plain:
            assert (plain.status, (await plain.json())["code"]) == (400, 1003)


async def test_builders_are_approved_over_every_path() -> None:
    async with rig() as it:
        assert (await approve(it, "0.01"))[0] == 200


STREAMS: dict[str, tuple[list[str], list[tuple[str, int]]]] = {
    "v1.mini.s": (["200", "500", "1000", "5000"], [("50", 3030), ("x", 3030)]),
    "v1.mini.d": (["0", "50", "100", "200", "500", "1000", "5000"], [("1", 3030)]),
    "v1.ticker.s": (["500", "1000", "5000"], [("100", 3030)]),
    "v1.ticker.d": (["100", "200", "500", "1000", "5000"], [("50", 3030)]),
    "v1.book.s": (
        [f"{rate}-{depth}" for rate in (500, 1000) for depth in (10, 50, 100, 500)],
        [("500", 1103), ("50-10", 3030), ("500-11", 3031)],
    ),
    "v1.book.d": (["50", "100", "500", "1000"], [("200", 3030), ("50-10", 1103)]),
    "v1.trade": (["50", "200", "500", "1000"], [("60", 3013), ("0", 3011), ("1001", 3011)]),
    "v1.candle": (["CI_1_M-TRADE", "CI_1_H-MARK"], [("CI_7_M-TRADE", 3040), ("CI_1_M-X", 3041)]),
}


@pytest.mark.parametrize("stream", STREAMS)
async def test_a_public_stream_takes_its_selectors_and_no_others(stream: str) -> None:
    good, bad = STREAMS[stream]
    async with rig() as it, it.socket(headers={}) as wire:
        for secondary in good:
            reply = await wire.subscribe(stream, f"{SYMBOL}@{secondary}")
            assert reply["result"]["subs"] == [f"{SYMBOL}@{secondary}"]
        for secondary, code in bad:
            refused = await wire.subscribe(stream, f"{SYMBOL}@{secondary}")
            assert refused["error"]["code"] == code
        for selector, code in (("DOGE_USDT_Perp@50", 3000), (SYMBOL, 1101), ("@50", 1102)):
            assert (await wire.subscribe(stream, selector))["error"]["code"] == code


@pytest.mark.parametrize(
    "stream",
    ["v1.order", "v1.state", "v1.fill", "v1.position", "v1.cancel", "v1.deposit", "v1.transfer"],
)
async def test_a_private_stream_needs_a_login_and_the_account(stream: str) -> None:
    async with rig() as it, it.socket() as wire, it.socket(headers={}) as stranger:
        assert (await stranger.subscribe(stream, it.account))["error"]["code"] == 1000
        assert "result" in await wire.subscribe(stream, it.account)
        if stream in ("v1.deposit", "v1.transfer"):
            return  # their selectors are not documented
        wrong: list[tuple[Any, int]] = [("5", 1001), ("x", 3020), (f"{it.account}@50", 1103)]
        for selector, code in wrong:
            assert (await wire.subscribe(stream, selector))["error"]["code"] == code

"""Position settings, builder approvals and funding of the simulated GRVT."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from eth_account import Account

from exchanges.simulator.grvt_options import GrvtOptions
from strategy.domain import NANO
from tests.sim.grvt_rig import CHAIN, STRANGER, SYMBOL, TAIL, Json, Rig, rig, sign
from tests.sim.test_grvt_server_switches import APPROVAL, BUILDER

CONFIG = {
    "SetSubAccountPositionMarginConfig": [
        {"name": "subAccountID", "type": "uint64"},
        {"name": "asset", "type": "uint256"},
        {"name": "marginType", "type": "uint8"},
        {"name": "leverage", "type": "int32"},
        *TAIL,
    ]
}
MARGINS = {"ISOLATED": 1, "CROSS": 2}
HOUR_NS = 3600 * NANO


def config(
    it: Rig, leverage: str = "20", margin: str = "CROSS", key: str | None = None, **more: Any
) -> Json:
    """Return a signed ``set_position_config``; ``more`` replaces fields after signing."""
    expiration = it.clock.now() + 60 * NANO
    message = {
        "subAccountID": int(it.account),
        "asset": int("0x030401", 16),
        "marginType": MARGINS.get(margin, 0),
        "leverage": int(Decimal(leverage) * 1_000_000),
        "nonce": 5,
        "expiration": expiration,
    }
    account = Account.from_key(key or it.keys.private_key)
    signature = sign(CONFIG, message, account, CHAIN)
    return {
        "instrument": SYMBOL,
        "margin_type": margin,
        "leverage": leverage,
        "signature": {**signature, "expiration": str(expiration), "nonce": 5},
        **more,
    }


# --- position settings -----------------------------------------------------------------------


async def test_leverage_and_margin_type_are_set_by_a_signed_request() -> None:
    async with rig() as it:
        status, answer = await it.ask("set_position_config", config(it, "25", "ISOLATED"))
        _, listed = await it.ask("get_all_initial_leverage")
        await it.moved(size="1")
        [position] = await it.result("positions")

        assert (status, answer) == (200, {"ack": True})
        [row] = listed["results"]
        assert (row["leverage"], row["margin_type"]) == ("25.0", "ISOLATED")
        assert (position["leverage"], position["margin_type"]) == ("25.0", "ISOLATED")
        assert Decimal(position["isolated_im"]) == Decimal(position["mark_price"]) / 25
        assert "isolated_mm" in position


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"leverage": "51"}, 400, 2108),
        ({"leverage": "0.5"}, 400, 2107),
        ({"leverage": "2.5"}, 400, 2100),
        ({"margin": "PORTFOLIO"}, 400, 2104),
        ({"instrument": "DOGE_USDT_Perp"}, 400, 3000),
        ({"key": STRANGER}, 403, 2000),
        ({"signature": None}, 400, 1003),
        ({"sub_account_id": "5"}, 403, 1001),
    ],
)
async def test_a_setting_that_cannot_be_has_its_code(
    changes: dict[str, Any], status: int, code: int
) -> None:
    async with rig() as it:
        assert await it.fail("set_position_config", **config(it, **changes)) == (status, code)


async def test_a_signature_of_another_leverage_is_refused() -> None:
    async with rig() as it:
        request = config(it, "20") | {"leverage": "21"}
        assert await it.fail("set_position_config", **request) == (403, 2002)


async def test_the_margin_type_stands_while_there_is_an_order_or_a_position() -> None:
    async with rig() as it:
        client_id = await it.placed(post_only=True)
        await it.ended(client_id, "OPEN")
        isolated = config(it, "20", "ISOLATED")
        assert await it.fail("set_position_config", **isolated) == (400, 2103)
        await it.result("cancel_order", client_order_id=client_id)
        await it.ended(client_id, "CANCELLED")
        await it.moved()
        assert await it.fail("set_position_config", **isolated) == (400, 2102)
        assert (await it.ask("set_position_config", config(it, "20")))[0] == 200


async def test_a_leverage_that_equity_does_not_cover_is_refused() -> None:
    async with rig() as it:
        await it.ask("set_initial_leverage", instrument=SYMBOL, leverage="50")
        await it.placed(post_only=True, size="3000", px="2990.0")
        got = await it.fail("set_initial_leverage", instrument=SYMBOL, leverage="1")
        assert got == (400, 2100)


async def test_the_risk_brackets_follow_each_other_without_a_gap() -> None:
    async with rig() as it:
        _, rules = await it.ask("margin_rules", instrument=SYMBOL)
        rows = rules["risk_brackets"]

        assert [row["tier"] for row in rows] == list(range(1, len(rows) + 1))
        assert len(rows) > 1
        for below, above in pairwise(rows):
            assert below["notional_cap"] == above["notional_floor"]
        assert "notional_cap" not in rows[-1]
        assert (rows[0]["initial_margin_rate"], rows[0]["max_leverage"]) == ("0.02", 50)


# --- builders --------------------------------------------------------------------------------


async def approve(it: Rig, rate: str, key: str | None = None) -> tuple[int, Json]:
    """Approve the builder at a rate in percent."""
    expiration = it.clock.now() + 30 * NANO
    main = it.headers["X-Grvt-Account-Id"]
    scaled = max(int(Decimal(rate) * 10_000), 0)
    message = {
        "mainAccountID": main,
        "builderAccountID": BUILDER,
        "maxFutureFeeRate": scaled,
        "maxSpotFeeRate": scaled,
        "nonce": 5,
        "expiration": expiration,
    }
    signature = sign(APPROVAL, message, Account.from_key(key or it.keys.private_key), CHAIN)
    body = {
        "main_account_id": main,
        "builder_account_id": BUILDER,
        "max_futures_fee_rate": rate,
        "max_spot_fee_rate": rate,
        "signature": {**signature, "expiration": str(expiration), "nonce": 5},
    }
    return await it.ask("authorize_builder", body)


async def test_a_builder_fee_is_charged_told_and_earned() -> None:
    async with rig() as it:
        await approve(it, "0.05")
        before = it.engine.accounts[it.account].balance
        client_id = await it.placed(market=True, size="1", builder=BUILDER, builder_fee="0.02")
        await it.ended(client_id, "FILLED")
        [fill] = await it.result("fill_history")

        assert (fill["builder"], fill["builder_fee_rate"]) == (BUILDER, "0.02")
        fee = Decimal("3000.01") * Decimal("0.0002")
        assert Decimal(fill["builder_fee"]) == fee
        paid = before - it.engine.accounts[it.account].balance
        assert paid == (Decimal(fill["fee"]) + fee) * NANO
        assert dict(it.engine.builder_fees()) == {BUILDER: int(fee * NANO)}
        assert it.engine.money().total == 0


@pytest.mark.parametrize(
    ("fee", "code"), [("0.051", 7500), ("0.05", None), ("-0.01", 7501), ("0", None)]
)
async def test_a_builder_fee_stays_within_what_was_approved(fee: str, code: int | None) -> None:
    async with rig() as it:
        await approve(it, "0.05")
        order = it.order(post_only=True, builder=BUILDER, builder_fee=max(fee, "0"))
        order["order"]["builder_fee"] = fee
        status, answer = await it.post("/full/v1/create_order", order)
        assert (answer.get("code"), status == 200) == (code, code is None)


async def test_a_builder_that_was_not_approved_is_refused_and_its_fee_is_signed() -> None:
    async with rig() as it:
        status, answer = await it.create(builder=BUILDER, builder_fee="0.01")
        assert (status, answer["code"]) == (400, 7504)
        await approve(it, "0.05")
        forged = it.order(builder=BUILDER, builder_fee="0.01")
        forged["order"]["builder_fee"] = "0.02"
        status, answer = await it.post("/full/v1/create_order", forged)
        assert (status, answer["code"]) == (403, 2002)


@pytest.mark.parametrize(
    ("rate", "key", "code"), [("1.1", None, 7500), ("-1", None, 7501), ("0.05", STRANGER, 2000)]
)
async def test_an_approval_that_cannot_be_has_its_code(
    rate: str, key: str | None, code: int
) -> None:
    async with rig() as it:
        assert (await approve(it, rate, key))[1]["code"] == code


async def test_an_approval_can_be_changed_but_not_repeated() -> None:
    async with rig() as it:
        assert (await approve(it, "0.05"))[0] == 200
        assert (await approve(it, "0.05"))[1]["code"] == 7503
        assert (await approve(it, "0.06"))[0] == 200
        _, listed = await it.ask("get_authorized_builders")
        assert [row["max_futures_fee_rate"] for row in listed["results"]] == ["0.06"]


# --- funding ---------------------------------------------------------------------------------


async def test_the_funding_history_varies_and_never_contradicts_itself() -> None:
    async with rig() as it:
        rows = await it.result("funding", instrument=SYMBOL, limit=100)
        again = await it.result("funding", instrument=SYMBOL, limit=100)

        assert rows == again
        assert len({row["funding_rate"] for row in rows}) > 3
        assert all(abs(Decimal(row["funding_rate"])) <= Decimal("0.3") for row in rows)
        times = [int(row["funding_time"]) for row in rows]
        gaps = {later - earlier for later, earlier in pairwise(times)}
        assert gaps == {8 * HOUR_NS}


@pytest.mark.parametrize(("aggregation", "hours"), [("ONE_HOURLY", 1), ("FOUR_HOURLY", 4)])
async def test_funding_can_be_asked_for_in_other_widths(aggregation: str, hours: int) -> None:
    async with rig() as it:
        rows = await it.result("funding", instrument=SYMBOL, agg_type=aggregation, limit=24)
        times = [int(row["funding_time"]) for row in rows]
        gaps = {later - earlier for later, earlier in pairwise(times)}
        assert gaps == {hours * HOUR_NS}
        got = await it.fail("funding", instrument=SYMBOL, agg_type="DAILY")
        assert got == (400, 1003)


async def test_a_settled_interval_has_the_rate_that_was_paid() -> None:
    async with rig() as it:
        await it.moved(size="1")
        it.clock.ahead += 8 * HOUR_NS
        [paid] = await it.result("funding_payment_history")
        newest = (await it.result("funding", instrument=SYMBOL, limit=1))[0]

        rate = Decimal(newest["funding_rate"]) / 100
        assert newest["funding_time"] == paid["event_time"]
        assert abs(Decimal(paid["amount"]) - rate * Decimal(newest["mark_price"])) < Decimal("1e-6")


# --- limits ----------------------------------------------------------------------------------


async def test_transfers_were_never_made() -> None:
    async with rig() as it:
        for method in ("deposit_history", "transfer_history", "withdrawal_history"):
            assert await it.ask(method) == (200, {"result": [], "next": ""})


LIMITS: dict[str, tuple[int, Json]] = {
    "order": (5, {"client_order_id": "1"}),
    "open_orders": (5, {}),
    "order_history": (5, {}),
    "fill_history": (5, {}),
    "positions": (5, {}),
    "account_summary": (5, {}),
    "get_all_initial_leverage": (5, {}),
    "funding_payment_history": (5, {}),
    "cancel_all_orders": (2, {}),
    "cancel_on_disconnect": (1, {"countdown_time": "0"}),
    "cancel_order": (20, {"client_order_id": "1"}),
    "mini": (25, {"instrument": SYMBOL}),
    "instrument": (25, {"instrument": SYMBOL}),
    "book": (8, {"instrument": SYMBOL, "depth": 10}),
    "trade": (8, {"instrument": SYMBOL}),
    "kline": (8, {"instrument": SYMBOL, "interval": "CI_1_M", "type": "TRADE"}),
    "funding": (8, {"instrument": SYMBOL}),
}


@pytest.mark.parametrize("method", LIMITS)
async def test_every_rate_limit_is_a_429_behind_its_switch(method: str) -> None:
    count, body = LIMITS[method]
    async with rig(GrvtOptions(rate_limits=True)) as it:
        codes = [(await it.ask(method, body))[1].get("code") for _ in range(count + 3)]
    assert 1006 not in codes[:count]
    assert codes[-1] == 1006
    if method == "cancel_order":
        return  # always limited
    async with rig() as it:
        codes = [(await it.ask(method, body))[1].get("code") for _ in range(count + 3)]
    assert 1006 not in codes


async def test_logins_are_limited_behind_the_switch() -> None:
    async with rig(GrvtOptions(rate_limits=True)) as it:
        url = f"{it.url}/auth/api_key/login"
        async with it.http.post(url, json={"api_key": it.keys.api_key}) as answer:
            body = await answer.json()
        assert (answer.status, body["code"]) == (429, 1006)


async def test_a_higher_tier_allows_more() -> None:
    async with rig(GrvtOptions(rate_limits=True, rate_tier=3)) as it:
        codes = [(await it.ask("positions"))[1].get("code") for _ in range(20)]
        assert (1006 in codes[:15], codes[-1]) == (False, 1006)

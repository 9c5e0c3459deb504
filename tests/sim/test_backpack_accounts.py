"""Several accounts, their fees, margin, funding and forced closes on the Backpack face."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from exchanges.simulator.backpack_options import BackpackOptions
from exchanges.simulator.backpack_positions import SqrtFunction
from exchanges.simulator.backpack_server import BackpackServer
from exchanges.simulator.credentials import BackpackCredentials, backpack_credentials
from exchanges.simulator.model import Origin
from strategy.domain import NANO, Quote, Side, bps, nano
from tests.sim.test_backpack_server_rig import SYMBOL, Rig, level, listening, running

ORDERS = "account.orderUpdate"
POSITIONS = "account.positionUpdate"
SECOND = backpack_credentials(1, 1)


def as_owner(rig: Rig, keys: BackpackCredentials) -> Rig:
    """Return the rig with another account's SDK."""
    return replace(rig, keys=keys)


@asynccontextmanager
async def two(options: BackpackOptions | None = None) -> AsyncIterator[tuple[Rig, Rig]]:
    async with running(options) as rig:
        account = rig.server.add_account(SECOND)
        assert account.account_id == "backpack-1"
        yield rig, as_owner(rig, SECOND)


async def test_accounts_share_the_book_and_nothing_else() -> None:
    async with two() as (one, other):
        mine = await one.limit("Bid", "2990", client_id=1)
        theirs = await other.limit("Bid", "2991", client_id=1)
        await other.limit("Ask", "2999.99", "0.25")
        seen = [await rig.account.get_open_orders() for rig in (one, other)]
        foreign = await one.account.get_open_order(SYMBOL, order_id=theirs["id"])
        stolen = await one.account.cancel_order(SYMBOL, order_id=theirs["id"])
        fills = [await rig.account.get_fill_history() for rig in (one, other)]
        held = [await rig.account.get_open_positions() for rig in (one, other)]
        depth = await one.public.get_depth(SYMBOL)
    assert [[row["id"] for row in rows] for rows in seen] == [[mine["id"]], [theirs["id"]]]
    assert foreign["code"] == stolen["code"] == "RESOURCE_NOT_FOUND"
    assert [len(rows) for rows in fills] == [0, 1]
    assert held[0] == []
    assert (held[1][0]["netQuantity"], held[1][0]["subaccountId"]) == ("-0.25", 1)
    assert {"2990", "2991"} <= {px for px, _ in depth["bids"]}


async def test_accounts_trade_with_each_other_and_each_hears_its_own_side() -> None:
    async with two() as (one, other):
        one.market([level("2999.99", "0")], [])
        async with listening(one, ORDERS, POSITIONS) as mine, listening(other, ORDERS) as theirs:
            maker = await one.limit("Bid", "2999.99", "0.5", post_only=True)
            taker = await other.limit("Ask", "2999.99", "0.5")
            heard = [await mine.data(ORDERS) for _ in range(2)]
            opened = await mine.data(POSITIONS)
            other_side = [await theirs.data(ORDERS) for _ in range(2)]
            assert await theirs.silent(0.05)
    assert taker["status"] == "Filled"
    assert {frame["i"] for frame in heard} == {maker["id"]}
    assert {frame["i"] for frame in other_side} == {taker["id"]}
    assert (heard[1]["t"], heard[1]["m"]) == (other_side[1]["t"], True)
    assert other_side[1]["m"] is False
    assert (opened["e"], opened["q"]) == ("positionOpened", "0.5000")


async def test_settings_leverage_limits_and_refusals_are_of_one_account() -> None:
    async with two(BackpackOptions(requests_per_minute=6)) as (one, other):
        await one.account.update_account(leverage_limit="3", auto_lend=True)
        accounts = [await rig.account.get_account() for rig in (one, other)]
        await other.limit("Bid", "2990", "0.00001")
        bad = {"X-Signature": "A" * 86 + "=="}
        await other.call("GET", "/api/v1/capital", None, "balanceQuery", **bad)
        last = [await one.account.get_balances() for _ in range(5)][-1]
        fine = await other.account.get_balances()
        counted = [one.engine.accounts[name] for name in ("backpack", "backpack-1")]
    assert [row["leverageLimit"] for row in accounts] == ["3", "10"]
    assert [row["autoLend"] for row in accounts] == [True, False]
    assert last["code"] == "TOO_MANY_REQUESTS"
    assert "USDC" in fine
    assert [each.orders_rejected for each in counted] == [0, 1]
    assert [each.signature_failures for each in counted] == [0, 1]


async def test_one_server_takes_several_keys_from_the_start_and_keys_can_share_an_account() -> None:
    async with running() as rig:
        third = backpack_credentials(1, 2)
        server = BackpackServer(rig.engine, rig.clock, rig.board, [rig.keys, SECOND])
        server.add_account(third, "backpack")
        await server.start("127.0.0.1", 0)
        try:
            served = replace(rig, server=server)
            await served.limit("Bid", "2990")
            shared = await replace(served, keys=third).account.get_open_orders()
            apart = await replace(served, keys=SECOND).account.get_open_orders()
        finally:
            await server.stop()
    assert list(rig.engine.accounts) == ["backpack", "backpack-1"]
    assert (len(shared), apart) == (1, [])


async def test_a_key_opens_one_account_and_must_be_a_key() -> None:
    async with two() as (one, _):
        assert one.server.add_account(SECOND).account_id == "backpack-1"
        with pytest.raises(ValueError, match="already opens"):
            one.server.add_account(SECOND, "backpack")
        with pytest.raises(ValueError, match="32 bytes"):
            one.server.add_account(BackpackCredentials("QUJD", "QUJD"))
        assert len(one.engine.accounts) == 2


async def test_an_unknown_key_subscribes_to_nothing() -> None:
    async with running() as rig:
        stranger = as_owner(rig, SECOND)
        async with rig.http.ws_connect(rig.url) as socket:
            await socket.send_json(stranger.subscribe_frame(ORDERS))
            answer = await socket.receive_json(timeout=2)
        failures = rig.engine.accounts["backpack"].signature_failures
    assert answer == {"id": None, "error": {"code": 4003, "message": "Invalid signature"}}
    assert failures == 1


# --- fees ------------------------------------------------------------------------------------


async def test_fees_are_those_of_the_account_its_tier_and_its_own() -> None:
    async with two() as (one, other):
        base = await one.account.get_account()
        one.engine.set_fees("backpack", tier=5)
        one.engine.set_fees("backpack-1", custom=(bps("-1"), bps("3.25")))
        top, own = [await rig.account.get_account() for rig in (one, other)]
        await other.limit("Bid", "3000.01", "1")
        fills = await other.account.get_fill_history()
    assert (base["futuresMakerFee"], base["futuresTakerFee"]) == ("2", "5")
    assert (top["futuresMakerFee"], top["futuresTakerFee"]) == ("0", "1.8")
    assert (own["futuresMakerFee"], own["futuresTakerFee"]) == ("-1", "3.25")
    assert Decimal(fills[0]["fee"]) == Decimal("3000.01") * Decimal("0.000325")


# --- margin ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "initial", "maintenance"),
    [("3000", "0.02", "0.0125"), ("1000000", "0.0935", "0.0561"), ("250000", "0.04675", "0.02805")],
)
def test_the_published_functions_are_the_venues_square_roots(
    value: str, initial: str, maintenance: str
) -> None:
    imf, mmf = (
        SqrtFunction(nano(base), nano(factor))
        for base, factor in (("0.02", "0.0000935"), ("0.0125", "0.0000561"))
    )
    assert (imf.rate(nano(value)), mmf.rate(nano(value))) == (nano(initial), nano(maintenance))


@pytest.mark.parametrize("size", ["1", "100", "300"])
async def test_the_engine_charges_by_the_functions_that_are_published(size: str) -> None:
    async with running() as rig:
        rig.market([level("2999.99", "500")], [level("3000.01", "500")], snapshot=True)
        await rig.account.update_account(leverage_limit="50")
        await rig.limit("Bid", "3000.01", size)
        rig.market([level("2999.99", "500")], [level("3000.01", "500")], snapshot=True)
        market = (await rig.public.get_markets())[0]
        row = (await rig.account.get_open_positions())[0]
        collateral = await rig.account.get_collateral()
        kept = rig.engine.maintenance_margin("backpack")
        used = rig.engine.margin_used("backpack")
    value = Decimal(row["netExposureNotional"])
    for name, rate, charged in (("imf", row["imf"], used), ("mmf", row["mmf"], kept)):
        function = market[f"{name}Function"]
        assert function == row[f"{name}Function"]
        wanted = max(Decimal(function["base"]), Decimal(function["factor"]) * value.sqrt())
        assert abs(Decimal(rate) - wanted) < Decimal("0.00000001")
        assert abs(Decimal(charged) / NANO - wanted * value) < Decimal("0.01")
    assert collateral["imf"] == row["imf"]
    assert abs(Decimal(collateral["mmf"]) - Decimal(row["mmf"])) < Decimal("0.000001")
    assert Decimal(collateral["netEquityLocked"]) == Decimal(used) / NANO


async def test_leverage_that_the_open_position_does_not_bear_is_refused() -> None:
    async with running() as rig:
        await rig.limit("Bid", "3000.01", "2")
        rig.engine.deposit("backpack", Quote(-999_000 * NANO))
        answer = await rig.account.update_account(leverage_limit="1")
        account = await rig.account.get_account()
    assert answer["code"] == "INSUFFICIENT_MARGIN"
    assert account["leverageLimit"] == "10"


async def test_the_stated_liquidation_price_is_where_the_venue_liquidates() -> None:
    async with running() as rig:
        await rig.limit("Bid", "3000.01", "2")
        rig.engine.deposit("backpack", Quote(-999_300 * NANO))
        row = (await rig.account.get_open_positions())[0]
        at = Decimal(row["estLiquidationPrice"])
        above, below = str(round(at, 0) + 2), str(round(at, 0) - 2)
        rig.market([level(above, "9")], [level(str(Decimal(above) + 1), "9")], snapshot=True)
        held = await rig.account.get_open_positions()
        rig.market([level(below, "9")], [level(str(Decimal(below) + 1), "9")], snapshot=True)
        gone = await rig.account.get_open_positions()
    assert 2_600 < at < 2_700
    assert (len(held), gone) == (1, [])


# --- forced closes and funding ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "word", "system", "kind"),
    [
        (
            Origin.LIQUIDATION,
            "LIQUIDATION_AUTOCLOSE",
            "LiquidatePositionOnBook",
            "BookLiquidation",
        ),
        (Origin.ADL, "ADL_AUTOCLOSE", "LiquidatePositionOnAdl", "Adl"),
    ],
)
async def test_a_forced_close_carries_its_origin_everywhere(
    origin: Origin, word: str, system: str, kind: str
) -> None:
    async with running() as rig:
        await rig.limit("Bid", "3000.01", "1")
        async with listening(rig, ORDERS, POSITIONS, "liquidation") as heard:
            rig.engine.force_close(rig.clock.now(), "backpack", SYMBOL, origin=origin)
            told = [await heard.frame() for _ in range(4)]
        fills = await rig.account.get_fill_history(fill_type=kind)
        every = await rig.account.get_fill_history(fill_type="AllLiquidation")
        none = await rig.account.get_fill_history(fill_type="Backstop")
        orders = await rig.account.get_order_history()
    by_stream: dict[str, list[dict[str, Any]]] = {}
    for frame in told:
        by_stream.setdefault(frame["stream"], []).append(frame["data"])
    assert {frame["O"] for frame in by_stream[ORDERS]} == {word}
    assert [frame["e"] for frame in by_stream[ORDERS]] == ["orderAccepted", "orderFill"]
    assert by_stream[POSITIONS][0]["e"] == "positionClosed"
    assert (by_stream["liquidation"][0]["S"], by_stream["liquidation"][0]["q"]) == (
        "Ask",
        "1.0000",
    )
    assert fills == every
    assert (fills[0]["systemOrderType"], none) == (system, [])
    assert (orders[0]["systemOrderType"], orders[1]["systemOrderType"]) == (system, None)


async def test_an_unknown_fill_type_is_refused() -> None:
    async with running() as rig:
        answer = await rig.account.get_fill_history(fill_type="Mood")
    assert (answer["code"], "enumeration" in answer["message"]) == ("INVALID_CLIENT_REQUEST", True)


async def test_a_liquidation_ends_the_accounts_own_orders_with_its_origin() -> None:
    async with running() as rig:
        await rig.limit("Bid", "3000.01", "1")
        resting = await rig.limit("Bid", "2900", "0.1")
        async with listening(rig, ORDERS) as heard:
            rig.engine.force_close(rig.clock.now(), "backpack", SYMBOL)
            told = await heard.data(ORDERS)
    assert (told["i"], told["e"], told["R"]) == (resting["id"], "orderExpired", "Liquidation")
    assert told["O"] == "LIQUIDATION_AUTOCLOSE"


async def test_funding_pays_the_short_what_the_long_pays_at_the_hour() -> None:
    async with two() as (one, other):
        await one.limit("Bid", "3000.01", "1")
        await other.limit("Ask", "2999.99", "1")
        one.clock.ahead += 3_600 * NANO
        one.engine.advance(one.clock.now())
        path, name = "/wapi/v1/history/funding", "fundingHistoryQueryAll"
        rows = []
        for rig in (one, other):
            headers = rig.venue_time({}, name)
            status, found = await rig.call("GET", path, None, name, **headers)
            assert status == 200
            rows.append(found[0])
        settled = await one.call("GET", f"/api/v1/fundingRates?symbol={SYMBOL}&limit=1")
        headers = one.venue_time({"source": "FundingPayment"}, "settlementHistoryQueryAll")
        _, moved = await one.call(
            "GET",
            "/wapi/v1/history/settlement",
            {"source": "FundingPayment"},
            "settlementHistoryQueryAll",
            **headers,
        )
    paid, received = (Decimal(row["quantity"]) for row in rows)
    rate = Decimal(rows[0]["fundingRate"])
    assert (rate > 0, paid < 0) == (True, True)
    assert paid + received == 0
    assert abs(received - rate * 3000) < Decimal("0.00001")
    assert [row["subaccountId"] for row in rows] == [0, 1]
    assert settled[1][0]["fundingRate"] == rows[0]["fundingRate"]
    assert settled[1][0]["intervalEndTimestamp"] == rows[0]["intervalEndTimestamp"]
    assert [row["quantity"] for row in moved] == [rows[0]["quantity"]]


async def test_settlements_add_up_to_the_change_of_the_balance() -> None:
    async with running() as rig:
        await rig.limit("Bid", "3000.01", "1")
        await rig.limit("Ask", "2999.99", "1")
        rows = await rig.account.get_settlements_history()
        balances = await rig.account.get_balances()
        wrong = await rig.call(
            "GET", "/wapi/v1/history/settlement", {"source": "Mood"}, "settlementHistoryQueryAll"
        )
    assert sum(Decimal(row["quantity"]) for row in rows) == (
        Decimal(balances["USDC"]["available"]) - 1_000_000
    )
    assert {row["source"] for row in rows} == {"TradingFees", "RealizePnl"}
    assert wrong[0] == 400


# --- around trading --------------------------------------------------------------------------

AROUND = [
    ("GET", "/api/v1/account/limits/borrow", "maxBorrowQuantity", {"symbol": "USDC"}, 200, "0"),
    ("GET", "/api/v1/account/limits/borrow", "maxBorrowQuantity", {}, 400, "INVALID_ASSET"),
    ("POST", "/api/v1/account/convertDust", "convertDust", {}, 200, ""),
    ("POST", "/api/v1/account/convertDust", "convertDust", {"symbol": "X"}, 400, "INVALID_ASSET"),
    (
        "POST",
        "/api/v1/borrowLend",
        "borrowLendExecute",
        {"symbol": "USDC", "side": "Borrow", "quantity": "1"},
        400,
        "BORROW_LIMIT",
    ),
    (
        "POST",
        "/api/v1/borrowLend",
        "borrowLendExecute",
        {"symbol": "USDC", "side": "Lend", "quantity": "1"},
        400,
        "LEND_LIMIT",
    ),
    (
        "POST",
        "/api/v1/borrowLend",
        "borrowLendExecute",
        {"symbol": "USDC", "side": "Lend", "quantity": "0"},
        400,
        "INVALID_QUANTITY",
    ),
    (
        "POST",
        "/api/v1/borrowLend",
        "borrowLendExecute",
        {"symbol": "USDC"},
        400,
        "INVALID_CLIENT_REQUEST",
    ),
    (
        "GET",
        "/wapi/v1/capital/deposit/address",
        "depositAddressQuery",
        {"blockchain": "Solana"},
        200,
        "SIM",
    ),
    (
        "GET",
        "/wapi/v1/capital/deposit/address",
        "depositAddressQuery",
        {"blockchain": "a b"},
        400,
        "INVALID_CLIENT_REQUEST",
    ),
    ("POST", "/wapi/v1/capital/withdrawals", "withdraw", {"symbol": "USDC"}, 403, "FORBIDDEN"),
]


@pytest.mark.parametrize(("method", "path", "instruction", "params", "status", "says"), AROUND)
async def test_what_surrounds_trading_answers_as_an_account_without_it(
    method: str, path: str, instruction: str, params: dict[str, Any], status: int, says: str
) -> None:
    async with running() as rig:
        got, body = await rig.call(method, path, params, instruction)
    assert got == status, body
    assert says in str(body)


async def test_what_may_be_withdrawn_backs_neither_position_nor_order() -> None:
    async with running() as rig:
        await rig.limit("Bid", "2990", "10")
        row = await rig.account.get_max_withdrawal_quantity("USDC")
        free = rig.engine.available("backpack")
    assert Decimal(row["maxWithdrawalQuantity"]) == Decimal(free) / NANO < 1_000_000
    assert row["symbol"] == "USDC"


async def test_a_market_type_outside_the_enumeration_is_refused_and_another_one_is_empty() -> None:
    async with running() as rig:
        await rig.limit("Bid", "3000.01", "0.5")
        await rig.limit("Bid", "2990", "0.5")
        paths = {
            "/api/v1/orders": "orderQueryAll",
            "/api/v1/position": "positionQuery",
            "/wapi/v1/history/fills": "fillHistoryQueryAll",
            "/wapi/v1/history/orders": "orderHistoryQueryAll",
        }
        for path, name in paths.items():
            spot = await rig.call("GET", path, {"marketType": "SPOT"}, name)
            mood = await rig.call("GET", path, {"marketType": "Mood"}, name)
            perp = await rig.call("GET", path, {"marketType": "PERP"}, name)
            assert spot == (200, []), path
            assert (mood[0], mood[1]["code"]) == (400, "INVALID_CLIENT_REQUEST"), path
            assert len(perp[1]) >= 1, path


async def test_a_taker_order_hears_nothing_of_others_fills() -> None:
    async with two() as (one, other), listening(one, ORDERS) as heard:
        await other.limit("Bid", "3000.01", "0.5")
        one.trade("3000.01", "0.1", Side.BUY)
        assert await heard.silent(0.05)

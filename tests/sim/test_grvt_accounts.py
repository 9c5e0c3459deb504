"""Several keys and sub-accounts on the simulated GRVT, and every way to log in."""

from dataclasses import replace
from decimal import Decimal

import pytest
from eth_account import Account

from exchanges.simulator.credentials import grvt_credentials
from exchanges.simulator.grvt_options import GrvtOptions
from exchanges.simulator.model import Origin
from strategy.domain import NANO, Bps, Ns, Side
from tests.sim.grvt_rig import CHAIN, SEED, STRANGER, SYMBOL, TAIL, Json, Rig, rig, sign

LOGIN = {"WalletLogin": [{"name": "signer", "type": "address"}, *TAIL]}


# --- sub-accounts ----------------------------------------------------------------------------


async def test_a_further_sub_account_has_its_own_money_orders_and_history() -> None:
    async with rig() as it:
        other = await it.joined()
        client_id = await other.placed(market=True, size="2")
        await other.ended(client_id, "FILLED")

        assert await it.result("positions") == []
        assert [row["size"] for row in await other.result("positions")] == ["2.0"]
        assert await it.result("fill_history") == []
        assert len(await other.result("fill_history")) == 1
        assert await it.fail("order", client_order_id=client_id) == (404, 1004)
        summary = await it.result("account_summary")
        assert summary["total_equity"] == "1000000.0"


async def test_all_sub_accounts_are_listed_and_summed_under_their_main_account() -> None:
    async with rig() as it:
        other = await it.joined()
        await other.moved(size="2")
        _, listed = await it.ask("get_sub_accounts")
        total = await it.result("aggregated_account_summary")
        both = [(await each.result("account_summary"))["total_equity"] for each in (it, other)]

        assert listed == {"sub_account_ids": [it.account, other.account]}
        assert it.headers["X-Grvt-Account-Id"] == other.headers["X-Grvt-Account-Id"]
        assert Decimal(total["total_equity"]) == sum(map(Decimal, both))


async def test_a_session_is_of_one_sub_account_only() -> None:
    async with rig() as it:
        other = await it.joined()
        for method in ("positions", "open_orders", "account_summary", "cancel_all_orders"):
            assert await it.fail(method, sub_account_id=other.account) == (403, 1001)
        status, answer = await it.create(sub_account=other.account)
        assert (status, answer["code"]) == (403, 2003)


async def test_each_sub_account_has_its_own_signer() -> None:
    async with rig() as it:
        other = await it.joined()
        status, answer = await it.create(key=other.keys.private_key)
        assert (status, answer["code"]) == (403, 2000)
        await other.placed(post_only=True)


async def test_two_keys_of_one_sub_account_share_it() -> None:
    async with rig() as it:
        spare = grvt_credentials(SEED, 5)
        it.server.add_account(replace(spare, sub_account_id=it.account))
        second = replace(it, keys=replace(spare, sub_account_id=it.account), headers={})
        second.headers = await second.login()

        client_id = await it.placed(post_only=True)
        await second.ended(client_id, "OPEN")
        await second.result("cancel_order", client_order_id=client_id)
        await it.ended(client_id, "CANCELLED")
        await second.placed(post_only=True, key=spare.private_key)


async def test_a_key_in_use_cannot_be_given_to_another_sub_account() -> None:
    async with rig() as it:
        with pytest.raises(ValueError, match="in use for another"):
            it.server.add_account(replace(grvt_credentials(SEED, 1), api_key=it.keys.api_key))


async def test_private_streams_are_the_account_s_own() -> None:
    async with rig() as it:
        other = await it.joined()
        async with it.socket() as mine, other.socket() as theirs:
            foreign = await mine.subscribe("v1.fill", other.account)
            await mine.subscribe("v1.fill", it.account)
            await theirs.subscribe("v1.fill", other.account)
            await other.moved()

            assert foreign["error"]["code"] == 1001
            assert (await theirs.feed("v1.fill"))["feed"]["sub_account_id"] == other.account
            assert await mine.gather(0.1) == []


async def test_two_accounts_can_trade_with_each_other() -> None:
    async with rig() as it:
        other = await it.joined()
        maker = await it.placed(px="3000.0", post_only=True, size="0.4")
        await it.ended(maker, "OPEN")
        await other.placed(side="sell", px="3000.0", tif="IMMEDIATE_OR_CANCEL", size="0.4")
        await it.ended(maker, "FILLED")

        [mine], [theirs] = await it.result("fill_history"), await other.result("fill_history")
        assert (mine["is_taker"], theirs["is_taker"]) == (False, True)
        assert mine["trade_id"].split("-")[0] == theirs["trade_id"].split("-")[0]
        assert it.engine.money().total == 0


async def test_the_dead_man_switch_is_of_one_account() -> None:
    async with rig() as it:
        other = await it.joined()
        mine, theirs = await it.placed(post_only=True), await other.placed(post_only=True)
        await other.ended(theirs, "OPEN")
        await it.result("cancel_on_disconnect", countdown_time="1100")

        await it.ended(mine, "CANCELLED")
        await other.ended(theirs, "OPEN")


async def test_rate_limits_are_of_one_account() -> None:
    async with rig() as it:
        other = await it.joined()
        answers = [await it.ask("cancel_order", client_order_id="1") for _ in range(25)]

        assert answers[-1][1]["code"] == 1006
        assert await other.fail("cancel_order", client_order_id="1") == (404, 1004)


# --- fees ------------------------------------------------------------------------------------


async def test_the_fee_tier_is_the_account_s_own() -> None:
    async with rig() as it:
        other = await it.joined()
        other.engine.set_fees(other.account, custom=(Bps(-50_000), Bps(2_000_000)))
        await other.moved(size="1")

        _, base = await it.ask("funding_account_summary")
        _, better = await other.ask("funding_account_summary")
        [fill] = await other.result("fill_history")
        assert (base["tier"]["futures_taker_fee"], base["tier"]["futures_maker_fee"]) == (450, -1)
        assert (better["tier"]["futures_taker_fee"], better["tier"]["futures_maker_fee"]) == (
            200,
            -5,
        )
        assert fill["fee_rate"] == "0.02"
        assert Decimal(fill["fee"]) == Decimal("3000.01") * Decimal("0.0002")


# --- logins ----------------------------------------------------------------------------------


async def wallet(it: Rig, key: str, signer: str | None = None, life: int = 60) -> Json:
    """Log in by wallet; returns status, body and cookie."""
    account = Account.from_key(key)
    expiration = it.clock.now() + life * NANO
    message = {"signer": signer or account.address, "nonce": 9, "expiration": expiration}
    signature = sign(LOGIN, message, account, CHAIN)
    body = {
        "address": signer or account.address,
        "signature": {**signature, "expiration": str(expiration), "nonce": 9},
    }
    async with it.http.post(f"{it.url}/auth/wallet/login", json=body) as answer:
        return {
            "http": answer.status,
            "cookie": answer.headers.get("Set-Cookie"),
            "account": answer.headers.get("X-Grvt-Account-Id"),
            **await answer.json(),
        }


async def test_a_wallet_logs_in_to_the_account_that_its_address_signs_for() -> None:
    async with rig() as it:
        other = await it.joined()
        found = await wallet(it, other.keys.private_key)
        cookie = str(found["cookie"]).split(";")[0]
        status, _ = await it.post(
            "/full/v1/positions",
            {"sub_account_id": other.account},
            headers={"Cookie": cookie, "X-Grvt-Account-Id": str(found["account"])},
        )

        assert (found["http"], found["status"], found["sub_account_id"]) == (
            200,
            "success",
            other.account,
        )
        assert status == 200


@pytest.mark.parametrize("case", ["stranger", "forged", "too long", "over"])
async def test_a_wallet_that_is_not_ours_gets_no_cookie(case: str) -> None:
    async with rig() as it:
        mine = it.keys
        found = {
            "stranger": lambda: wallet(it, STRANGER),
            "forged": lambda: wallet(it, STRANGER, mine.address),
            "too long": lambda: wallet(it, mine.private_key, life=301),
            "over": lambda: wallet(it, mine.private_key, life=-1),
        }
        answer = await found[case]()

        assert (answer["http"], answer["status"], answer["cookie"]) == (200, "failure", None)


async def test_a_quoted_cookie_works_until_it_expires() -> None:
    async with rig(GrvtOptions(cookie_life=Ns(20 * NANO))) as it:
        name, value = it.headers["Cookie"].split("=", 1)
        quoted = {**it.headers, "Cookie": f'{name}="{value}"'}
        body = {"sub_account_id": it.account}
        before, _ = await it.post("/full/v1/positions", body, headers=quoted)
        it.clock.ahead += 21 * NANO
        after, answer = await it.post("/full/v1/positions", body, headers=quoted)

        assert (before, after, answer["code"]) == (200, 401, 1000)


# --- positions over their life ---------------------------------------------------------------


async def test_a_closed_position_is_in_the_history_with_its_figures() -> None:
    async with rig() as it:
        await it.moved(size="1")
        await it.moved(side="sell", size="0.4")
        status, part = await it.ask("position_history")
        await it.moved(side="sell", size="0.6")
        _, whole = await it.ask("position_history", start_time="1")

        assert status == 200
        [open_row], [row] = part["result"], whole["result"]
        assert (open_row["status"], open_row["closed_volume_base"]) == ("PARTIALLY_CLOSED", "0.4")
        assert "close_time" not in open_row
        assert "unrealized_pnl" in open_row
        assert (row["status"], row["is_long"], row["instrument"]) == ("CLOSED", True, SYMBOL)
        assert (row["entry_price"], row["exit_price"]) == ("3000.01", "2999.99")
        assert (row["closed_volume_base"], row["max_open_interest_base"]) == ("1.0", "1.0")
        assert Decimal(row["realized_pnl"]) == Decimal("-0.02")
        volume = Decimal("3000.01") + Decimal("2999.99")
        assert Decimal(row["cumulative_fee"]) == volume * Decimal("0.00045")
        assert int(row["close_time"]) > int(row["open_time"])


async def test_a_position_that_turns_around_ends_one_life_and_begins_another() -> None:
    async with rig() as it:
        await it.moved(size="1")
        await it.moved(side="sell", size="3")
        await it.moved(size="2")

        _, found = await it.ask("position_history")
        assert [(row["is_long"], row["max_open_interest_base"]) for row in found["result"]] == [
            (False, "2.0"),
            (True, "1.0"),
        ]
        _, longs = await it.ask("position_history", is_long=True)
        _, page = await it.ask("position_history", limit=1)
        _, rest = await it.ask("position_history", limit=1, cursor=page["next"])
        assert [row["is_long"] for row in longs["result"]] == [True]
        assert [row["is_long"] for row in rest["result"]] == [True]
        assert rest["next"] == ""


async def test_a_liquidated_position_says_so() -> None:
    async with rig() as it:
        await it.moved(size="1")
        it.engine.force_close(it.clock.now(), it.account, SYMBOL, origin=Origin.LIQUIDATION)
        _, found = await it.ask("position_history")
        fills = await it.result("fill_history")

        assert [row["status"] for row in found["result"]] == ["LIQUIDATED"]
        assert fills[0]["is_liquidation"] is True


@pytest.mark.parametrize("wrong", [{"status": ["GONE"]}, {"margin_type": ["X"]}, {"is_long": 1}])
async def test_a_position_history_takes_known_words_only(wrong: Json) -> None:
    async with rig() as it:
        assert await it.fail("position_history", **wrong) == (400, 1003)


async def test_the_exit_price_of_an_open_position_is_told() -> None:
    async with rig() as it:
        await it.moved(size="1")
        it.trade("3000.0", "0.1", Side.BUY)
        await it.moved(side="sell", size="0.5")
        [row] = await it.result("positions")

        assert (row["exit_price"], row["size"]) == ("2999.99", "0.5")

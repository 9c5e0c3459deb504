"""Several accounts on each venue of one hosted simulation, opened at start and at run time."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from bpx.async_.account import Account

from daemon import simulate
from daemon.cli import build_parser, main
from daemon.config import ConfigError
from exchanges.simulator.credentials import backpack_credentials, grvt_credentials
from exchanges.simulator.host import SimConfig, SimConfigError, SimHost
from exchanges.simulator.model import NewOrder
from strategy.domain import Qty, Side, Tif, Venue, nano
from tests.sim.test_host import running


async def backpack_position(api: str, row: dict[str, Any]) -> list[dict[str, Any]]:
    # Any: the SDK's results are annotated as unions of everything.
    account: Any = Account(row["public_key"], row["secret_key"])
    account.BPX_API_URL = f"{api}/"
    found = await account.get_open_positions()
    return list(found)


async def grvt_rows(url: str, row: dict[str, Any], what: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session:
        login = {"api_key": row["api_key"]}
        async with session.post(f"{url}/auth/api_key/login", json=login) as answer:
            cookie = answer.cookies["gravity"].value
            headers = {
                "Cookie": f"gravity={cookie}",
                "X-Grvt-Account-Id": answer.headers["X-Grvt-Account-Id"],
            }
        body = {"sub_account_id": row["sub_account_id"]}
        async with session.post(f"{url}/full/v1/{what}", json=body, headers=headers) as answer:
            return answer.status, await answer.json()


async def test_one_account_leaves_the_ready_line_as_it_was() -> None:
    async with running(SimConfig()) as (_, ready, _ask):
        assert set(ready.as_dict()) == {"event", "grvt", "backpack", "control"}
        assert [opened.account_id for opened in ready.accounts] == [
            grvt_credentials(1).sub_account_id,
            "backpack",
        ]


async def test_several_accounts_are_told_and_each_key_opens_its_own() -> None:
    async with running(SimConfig(accounts=2)) as (host, ready, _ask):
        line = ready.as_dict()
        rows = line["accounts"]
        grvt, backpack = rows[:2], rows[2:]
        assert [row["venue"] for row in rows] == ["grvt", "grvt", "backpack", "backpack"]
        assert grvt[0]["api_key"] == line["grvt"]["api_key"]
        assert grvt[1]["sub_account_id"] == grvt_credentials(1, 1).sub_account_id
        assert grvt[0]["main_account_id"] == grvt[1]["main_account_id"]
        assert backpack[1]["public_key"] == backpack_credentials(1, 1).public_key
        for venue, row in ((Venue.GRVT, grvt[1]), (Venue.BACKPACK, backpack[1])):
            symbol = host.universe.symbols[venue]
            new = NewOrder(row["account"], symbol, Side.BUY, Qty(nano("0.02")), None, Tif.IOC)
            host.universe.engines[venue].place(host.universe.driver.now(), new)
        await asyncio.sleep(0.2)
        api, url = line["backpack"]["api"], line["grvt"]["edge"]
        assert await backpack_position(api, backpack[0]) == []
        (held,) = await backpack_position(api, backpack[1])
        assert Decimal(held["netQuantity"]) == Decimal("0.02")
        assert (await grvt_rows(url, grvt[0], "positions"))[1].get("result", []) == []
        status, told = await grvt_rows(url, grvt[1], "positions")
        assert status == 200
        assert Decimal(told["result"][0]["size"]) == Decimal("0.02")


async def test_an_account_opened_at_run_time_can_be_used_at_once() -> None:
    async with running(SimConfig()) as (_, ready, ask):
        line = ready.as_dict()
        _, grvt = await ask("POST", "/accounts", {"venue": "grvt", "balance": "777"})
        _, backpack = await ask("POST", "/accounts", {"venue": "backpack"})
        assert await backpack_position(line["backpack"]["api"], backpack) == []
        status, told = await grvt_rows(line["grvt"]["edge"], grvt, "account_summary")
        assert status == 200
        assert told["result"]["sub_account_id"] == grvt["sub_account_id"]
        assert Decimal(told["result"]["total_equity"]) == 777


@pytest.mark.parametrize("accounts", [0, -1, 1_001])
async def test_a_number_of_accounts_that_makes_no_sense_is_refused(accounts: int) -> None:
    host = SimHost(replace(SimConfig(), accounts=accounts))
    with pytest.raises(SimConfigError, match=f"{accounts} accounts: use 1 to 1000"):
        await host.start()


@pytest.mark.parametrize("text", ["0", "x", "1001", "-2"])
def test_the_accounts_flag_is_a_whole_number_from_one(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--accounts", text]) == 2
    assert "--accounts" in capsys.readouterr().err


def test_the_accounts_flag_reaches_the_simulation() -> None:
    parsed = build_parser("simulate").parse_args(["--accounts", "3"])
    assert simulate.settings(parsed).accounts == 3
    parsed.accounts = "0"
    with pytest.raises(ConfigError, match="from 1 to 1000"):
        simulate.settings(parsed)

"""The control server's accounts: opening, changing, liquidating, and what state and audit tell."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from exchanges.simulator.control import ControlServer
from exchanges.simulator.credentials import (
    backpack_credentials,
    grvt_credentials,
)
from exchanges.simulator.model import NewOrder
from exchanges.simulator.roster import MOST_ACCOUNTS, Opened, Roster
from exchanges.simulator.synthetic import Synthetic
from exchanges.simulator.universe import Driver, Universe
from strategy.domain import Ns, Qty, Quote, Side, Tif, Venue, nano

START = Ns(1_700_000_000 * 10**9)
Ask = Callable[..., Awaitable[tuple[int, dict[str, Any]]]]


@asynccontextmanager
async def controlled() -> AsyncIterator[tuple[Universe, Roster, Ask]]:
    universe = Universe(Synthetic("ETH", 1), 1, 1.0, Driver.manual(START))
    roster = Roster(universe, 1)
    server = ControlServer(universe, roster)
    universe.start()
    await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:

            async def ask(verb: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
                async with session.request(verb, path, json=body) as answer:
                    return answer.status, await answer.json()

            yield universe, roster, ask
    finally:
        await server.stop()


def buy(universe: Universe, venue: Venue, account: str, qty: str) -> None:
    new = NewOrder(account, universe.symbols[venue], Side.BUY, Qty(nano(qty)), None, Tif.IOC)
    universe.engines[venue].place(universe.driver.now(), new)
    later = Ns(universe.driver.now() + 200_000_000)
    universe.driver.set(later)
    universe.advance(later)


async def test_an_account_is_opened_at_run_time_and_its_keys_are_answered() -> None:
    async with controlled() as (universe, roster, ask):
        told: list[Opened] = []
        roster.on_open = told.append
        status, grvt = await ask(
            "POST", "/accounts", {"venue": "grvt", "tier": 1, "balance": "2500.5"}
        )
        _, backpack = await ask("POST", "/accounts", {"venue": "backpack", "tier": "auto"})
        keys = grvt_credentials(1, 1)
        assert status == 200
        assert grvt == {
            "venue": "grvt",
            "account": keys.sub_account_id,
            "api_key": keys.api_key,
            "private_key": keys.private_key,
            "sub_account_id": keys.sub_account_id,
            "address": keys.address,
            "main_account_id": grvt_credentials(1).main_account_id,
        }
        assert backpack["account"] == "backpack-2"
        assert backpack["public_key"] == backpack_credentials(1, 1).public_key
        assert [opened.account_id for opened in told] == [grvt["account"], "backpack-2"]
        engine = universe.engines[Venue.GRVT]
        opened = engine.accounts[keys.sub_account_id]
        assert (opened.balance, engine.fee_tier(opened.account_id)) == (nano("2500.5"), 1)
        assert opened.main_account == universe.account(Venue.GRVT).main_account
        assert universe.engines[Venue.BACKPACK].accounts["backpack-2"].tier is None


async def test_state_tells_the_first_account_as_ever_and_all_by_id() -> None:
    async with controlled() as (universe, _, ask):
        _, opened = await ask("POST", "/accounts", {"venue": "grvt", "balance": 5000})
        buy(universe, Venue.GRVT, opened["account"], "0.1")
        buy(universe, Venue.GRVT, universe.account(Venue.GRVT).account_id, "0.2")
        _, state = await ask("GET", "/state")
        grvt = state["grvt"]
        assert (grvt["position"], grvt["fills"] > 0) == ("0.2", True)
        assert list(grvt["accounts"]) == list(universe.engines[Venue.GRVT].accounts)
        row = grvt["accounts"][opened["account"]]
        assert (row["position"], row["tier"], row["leverage"]) == ("0.1", 0, 10)
        assert Decimal(row["available"]) < Decimal(row["equity"]) < 5000
        assert (row["maker_bps"], row["taker_bps"]) == ("-0.01", "4.5")
        assert row["liquidation_price"] is None
        assert row["liquidating"] is False
        assert grvt["money"]["total"] == "0"
        assert Decimal(grvt["money"]["deposited"]) == 2_005_000
        assert list(state["backpack"]["accounts"]) == ["backpack"]


async def test_the_audit_names_the_account_of_every_order() -> None:
    async with controlled() as (universe, _, ask):
        _, opened = await ask("POST", "/accounts", {"venue": "backpack"})
        for account in ("backpack", opened["account"]):
            buy(universe, Venue.BACKPACK, account, "0.5")
        _, audit = await ask("GET", "/audit")
        assert [row["account"] for row in audit["orders"]] == ["backpack", "backpack-2"]


async def test_fees_leverage_and_money_are_changed_at_run_time() -> None:
    async with controlled() as (universe, _, ask):
        engine = universe.engines[Venue.BACKPACK]
        at = {"venue": "backpack"}
        _, tiered = await ask("PATCH", "/accounts", at | {"tier": 2})
        assert (tiered["account"], tiered["tier"], tiered["taker_bps"]) == ("backpack", 2, "3.8")
        _, own = await ask(
            "PATCH", "/accounts", at | {"account": "backpack", "maker_bps": "-0.5", "taker_bps": 3}
        )
        assert (own["maker_bps"], own["taker_bps"]) == ("-0.5", "3")
        _, geared = await ask("PATCH", "/accounts", at | {"leverage": 25, "deposit": "-999000"})
        assert (geared["leverage"], geared["balance"]) == (25, "1000")
        assert engine.fees("backpack") == (-500_000, 3_000_000)
        assert engine.money().total == 0


@pytest.mark.parametrize("kind", ["liquidation", "adl"])
async def test_F26_a_position_is_closed_by_the_venue_on_demand(kind: str) -> None:
    async with controlled() as (universe, _, ask):
        name = universe.account(Venue.GRVT).account_id
        buy(universe, Venue.GRVT, name, "0.5")
        at = {"venue": "grvt", "kind": kind}
        _, part = await ask("POST", "/liquidate", at | {"size": "0.2"})
        assert (part["account"], part["position"]) == (name, "0.3")
        _, rest = await ask("POST", "/liquidate", at | {"account": name})
        assert rest["position"] == "0"
        assert part["order_id"] != rest["order_id"]
        fills = [fill for fill in universe.engines[Venue.GRVT].fills if fill.forced]
        assert {fill.origin.value for fill in fills} == {kind}


@pytest.mark.parametrize(
    ("verb", "path", "body", "line"),
    [
        ("POST", "/accounts", {"venue": "okx"}, "venue 'okx' is unknown"),
        ("POST", "/accounts", {"venue": "grvt", "teir": 1}, "teir is unknown: use venue, tier"),
        ("POST", "/accounts", {"venue": "grvt", "tier": 9}, "fee tier 9 is unknown: use 0 to 4"),
        ("POST", "/accounts", {"venue": "grvt", "tier": 1.5}, "tier 1.5 is not a whole number"),
        ("POST", "/accounts", {"venue": "grvt", "balance": -1}, "balance -1"),
        ("POST", "/accounts", {"venue": "grvt", "balance": "1e-12"}, "balance: finer"),
        ("POST", "/accounts", {"venue": "grvt", "balance": True}, "balance True"),
        ("POST", "/accounts", {"venue": "grvt", "balance": "x"}, "balance 'x'"),
        ("POST", "/accounts", [], "not a JSON object"),
        ("PATCH", "/accounts", {"venue": "grvt", "account": "me"}, "account 'me' is unknown"),
        ("PATCH", "/accounts", {"venue": "grvt", "leverage": 51}, "leverage 51"),
        ("PATCH", "/accounts", {"venue": "grvt", "maker_bps": 1}, "go together"),
        ("PATCH", "/accounts", {"venue": "grvt", "deposit": -1_000_001}, "insufficient_margin"),
        (
            "PATCH",
            "/accounts",
            {"venue": "grvt", "maker_bps": "1e-10", "taker_bps": 5},
            "fees: finer",
        ),
        ("POST", "/liquidate", {"venue": "grvt"}, "no position to close"),
        ("POST", "/liquidate", {"venue": "grvt", "kind": "x"}, "kind 'x' is unknown"),
        ("POST", "/liquidate", {"venue": "grvt", "kind": []}, "kind [] is unknown"),
        ("POST", "/liquidate", {"venue": "grvt", "size": 0}, "size 0 is not in whole steps"),
        ("POST", "/liquidate", {"venue": "grvt", "size": "0.001"}, "not in whole steps of 0.01"),
        ("POST", "/liquidate", {"venue": "grvt", "qty": 1}, "qty is unknown"),
    ],
)
async def test_what_cannot_be_served_is_one_clear_line(
    verb: str, path: str, body: object, line: str
) -> None:
    async with controlled() as (universe, _, ask):
        status, told = await ask(verb, path, body)
        assert (status, set(told)) == (400, {"error"})
        assert line in told["error"]
        assert "\n" not in told["error"]
        assert len(universe.engines[Venue.GRVT].accounts) == 1


def test_a_roster_gives_a_seed_the_same_accounts_in_the_same_order() -> None:
    def names(seed: int) -> list[str]:
        universe = Universe(Synthetic("ETH", 1), seed, 1.0, Driver.manual(START))
        roster = Roster(universe, seed)
        for venue in (Venue.GRVT, Venue.BACKPACK, Venue.GRVT):
            roster.open(venue, balance=Quote(nano(10)))
        assert [keys.sub_account_id for keys in roster.grvt_keys()] == [
            opened.account_id for opened in roster.all()[:3]
        ]
        assert roster.backpack_keys() == [backpack_credentials(seed, n) for n in range(2)]
        return [opened.account_id for opened in roster.all()]

    assert names(1) == names(1)
    assert names(1)[3:] == ["backpack", "backpack-2"]
    assert names(1)[0] != names(2)[0]


def test_a_venue_opens_only_so_many_accounts() -> None:
    universe = Universe(Synthetic("ETH", 1), 1, 1.0, Driver.manual(START))
    roster = Roster(universe, 1)
    for _ in range(MOST_ACCOUNTS - 1):
        roster.open(Venue.BACKPACK)
    with pytest.raises(ValueError, match="no more can be opened"):
        roster.open(Venue.BACKPACK)

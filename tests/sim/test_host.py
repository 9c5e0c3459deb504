"""The hosted simulation: listeners, the ready line, the control server, clear refusals."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from eth_account import Account

from exchanges.simulator.credentials import backpack_credentials, grvt_credentials
from exchanges.simulator.host import Ready, SimConfig, SimConfigError, SimHost, open_source
from exchanges.simulator.model import NewOrder, Refusal
from exchanges.simulator.tape import TapeError
from strategy.domain import NANO, Px, Qty, Side, Tif, Venue, nano

Ask = Callable[..., Awaitable[tuple[int, dict[str, Any]]]]


@asynccontextmanager
async def running(config: SimConfig) -> AsyncIterator[tuple[SimHost, Ready, Ask]]:
    host = SimHost(config)
    ready = await host.start()
    try:
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            task = tasks.create_task(host.run_forever())

            async def ask(verb: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
                url = host.control_url + path
                async with session.request(verb, url, json=body) as answer:
                    return answer.status, await answer.json()

            yield host, ready, ask
            task.cancel()
    finally:
        await host.stop()


def order(host: SimHost, venue: Venue, **changes: Any) -> NewOrder:
    fields: dict[str, Any] = {
        "account": host.universe.account(venue).account_id,
        "symbol": host.universe.symbols[venue],
        "side": Side.BUY,
        "qty": Qty(nano("0.5")),
        "px": None,
        "tif": Tif.IOC,
        "client_id": "41",
    }
    return NewOrder(**(fields | changes))


async def test_the_ready_line_names_every_address_and_key() -> None:
    async with running(SimConfig()) as (host, ready, _):
        told = ready.as_dict()

    assert told["event"] == "ready"
    assert set(told) == {"event", "grvt", "backpack", "control"}
    urls = {key: told["grvt"].pop(key) for key in ("edge", "trades", "market_data")}
    sockets = {key: told["grvt"].pop(key) for key in ("ws_trades", "ws_market_data")}
    assert all(url.startswith("http://127.0.0.1:") for url in urls.values())
    assert all(url.startswith("ws://127.0.0.1:") for url in sockets.values())
    assert told["backpack"]["api"].startswith("http://127.0.0.1:")
    assert told["backpack"]["ws"].startswith("ws://127.0.0.1:")
    assert told["control"] == host.control_url
    keys = grvt_credentials(1)
    assert told["grvt"] == {
        "api_key": keys.api_key,
        "private_key": keys.private_key,
        "sub_account_id": keys.sub_account_id,
        "chain_id": 326,
    }
    assert told["backpack"]["secret_key"] == backpack_credentials(1).secret_key


async def test_the_backpack_listener_serves_the_market() -> None:
    async with (
        running(SimConfig()) as (_, ready, _ask),
        aiohttp.ClientSession(ready.as_dict()["backpack"]["api"]) as session,
        session.get("/api/v1/depth", params={"symbol": "ETH_USDC_PERP"}) as answer,
    ):
        assert answer.status == 200
        depth = await answer.json()
        assert depth["bids"]
        assert depth["asks"]


async def test_state_and_audit_tell_the_truth_of_the_engines() -> None:
    async with running(SimConfig()) as (host, _, ask):
        engine, now = host.universe.engines[Venue.GRVT], host.universe.driver.now()
        placed = engine.place(now, order(host, Venue.GRVT))
        with pytest.raises(Refusal):
            engine.place(now, order(host, Venue.GRVT, qty=Qty(1)))
        resting = order(
            host,
            Venue.BACKPACK,
            px=Px(nano("2500")),
            tif=Tif.GTC,
            post_only=True,
            client_id="42",
        )
        host.universe.engines[Venue.BACKPACK].place(now, resting)
        await asyncio.sleep(0.1)
        status, state = await ask("GET", "/state")
        _, audit = await ask("GET", "/audit")

    assert status == 200
    assert set(state) == {"backpack", "grvt"}
    grvt = state["grvt"]
    assert (grvt["position"], grvt["open_orders"], grvt["fills"] > 0) == ("0.5", 0, True)
    assert (grvt["orders_received"], grvt["orders_rejected"]) == (2, 1)
    assert grvt["signature_failures"] == 0
    assert nano(grvt["fees_paid"]) > 0
    assert nano(grvt["volume"]) > nano("1000")
    assert nano(grvt["balance"]) == nano("1000000") - nano(grvt["fees_paid"])
    assert state["backpack"]["open_orders"] == 1
    assert state["backpack"]["position"] == "0"
    taken, rested = sorted(audit["orders"], key=lambda row: str(row["client_id"]))
    assert taken["order_id"] == placed.order_id
    assert (taken["venue"], taken["client_id"], taken["side"]) == ("grvt", "41", "buy")
    assert (taken["size"], taken["filled"], taken["status"]) == ("0.5", "0.5", "filled")
    assert taken["price"] is None
    assert nano(taken["avg_price"]) >= nano(taken["touch_ask"])
    assert int(taken["first_fill_at"]) > int(taken["received_at"])
    assert taken["done_at"] == taken["last_fill_at"]
    assert (rested["price"], rested["post_only"], rested["time_in_force"]) == ("2500", True, "gtc")
    assert (rested["status"], rested["filled"], rested["avg_price"]) == ("open", "0", None)
    assert rested["first_fill_at"] is rested["done_at"] is None


async def test_faults_are_added_listed_and_cleared() -> None:
    async with running(SimConfig()) as (host, _, ask):
        status, told = await ask("POST", "/faults", {"venue": "grvt", "fault": "F01", "count": 2})
        assert (status, told["faults"][0]["count"]) == (200, 2)
        assert host.faults.take(Venue.GRVT, "F01") == {}
        _, told = await ask("GET", "/faults")
        assert told["faults"] == [{"venue": "grvt", "fault": "F01", "count": 1}]
        assert told["taken"] == {"grvt F01": 1}

        await ask("POST", "/faults", {"venue": "grvt", "fault": "F65"})
        _, state = await ask("GET", "/state")
        assert (state["grvt"]["bid"], state["grvt"]["ask"]) == (None, None)
        _, told = await ask("DELETE", "/faults")
        assert told["faults"] == []
        _, state = await ask("GET", "/state")
        assert state["grvt"]["bid"] is not None


async def test_the_market_is_shifted_scaled_and_halted() -> None:
    async with running(SimConfig(speed=0.001)) as (_, _ready, ask):
        _, before = await ask("GET", "/state")
        at = {"venue": "backpack", "ticker": "ETH"}
        _, shifted = await ask("POST", "/market", at | {"shift_bps": -500})
        assert abs(nano(shifted["bid"]) * 100 - nano(before["backpack"]["bid"]) * 95) < NANO
        _, empty = await ask("POST", "/market", at | {"liquidity": 0})
        assert empty["bid"] is None
        _, halted = await ask("POST", "/market", at | {"liquidity": 0.5, "halt": True})
        assert halted["market"] == "CancelOnly"
        _, open_again = await ask("POST", "/market", at | {"halt": False})
        assert open_again["market"] == "Open"
        assert open_again["bid"] == shifted["bid"]


@pytest.mark.parametrize(
    ("verb", "path", "body", "words"),
    [
        ("POST", "/faults", {"venue": "grvt", "fault": "F99"}, "'F99' is unknown"),
        ("POST", "/faults", ["F01"], "not a JSON object"),
        ("POST", "/market", {"venue": "okx", "ticker": "ETH"}, "venue 'okx' is unknown"),
        ("POST", "/market", {"venue": "grvt", "ticker": "BTC"}, "ticker 'BTC'"),
        ("POST", "/market", {"venue": "grvt", "ticker": "ETH", "halt": 1}, "halt 1"),
        ("POST", "/market", {"venue": "grvt", "ticker": "ETH", "shift_bps": 0.5}, "whole"),
        ("POST", "/market", {"venue": "grvt", "ticker": "ETH", "shift_bps": -10000}, "shift_bps"),
        ("POST", "/market", {"venue": "grvt", "ticker": "ETH", "liquidity": "x"}, "liquidity 'x'"),
        ("POST", "/market", {"venue": "grvt", "ticker": "ETH", "liquidity": True}, "liquidity"),
        ("POST", "/market", {"venue": "grvt", "ticker": "ETH", "shft": 1}, "shft is unknown"),
    ],
)
async def test_what_cannot_be_served_is_400_with_one_line(
    verb: str, path: str, body: object, words: str
) -> None:
    async with running(SimConfig()) as (_, _ready, ask):
        status, told = await ask(verb, path, body)

    assert status == 400
    assert words in told["error"]
    assert "\n" not in told["error"]


async def test_a_body_that_is_no_json_and_an_unknown_path_are_refused() -> None:
    async with running(SimConfig()) as (host, _, ask), aiohttp.ClientSession() as session:
        async with session.post(f"{host.control_url}/market", data=b"{") as answer:
            assert answer.status == 400
            assert "not JSON" in (await answer.json())["error"]
        status, told = await ask("GET", "/nothing")
        assert status == 404
        assert "/nothing" in told["error"]


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        (SimConfig(ticker="BTC"), SimConfigError, ("'BTC'", "bundled", "holds ETH")),
        (SimConfig(ticker="ETH", book="synthetic:SOL"), SimConfigError, ("holds SOL",)),
        (SimConfig(book="synthetic:"), SimConfigError, ("names no ticker",)),
        (SimConfig(book="/nowhere/x.tape"), TapeError, ("/nowhere/x.tape", "no such file")),
        (SimConfig(speed=0), SimConfigError, ("speed 0", "positive")),
        (SimConfig(speed=float("inf")), SimConfigError, ("speed inf",)),
    ],
)
async def test_settings_that_cannot_be_simulated_are_one_line(
    config: SimConfig, error: type[ValueError], words: tuple[str, ...]
) -> None:
    host = SimHost(config)

    with pytest.raises(error) as caught:
        await host.start()

    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value
    with pytest.raises(RuntimeError, match="not been started"):
        _ = host.universe


async def test_a_taken_port_leaves_nothing_open() -> None:
    async with running(SimConfig()) as (host, _, _ask):
        taken = int(host.control_url.rpartition(":")[2])
        second = SimHost(SimConfig(control_port=taken))
        with pytest.raises(OSError, match="address already in use"):
            await second.start()
        await second.stop()
    assert second.control_url == ""


@pytest.mark.parametrize(
    ("book", "ticker", "expected"),
    [
        (None, None, "ETH"),
        (None, "ETH", "ETH"),
        ("synthetic", None, "ETH"),
        ("synthetic", "SOL", "SOL"),
        ("synthetic:BTC", None, "BTC"),
    ],
)
def test_the_book_names_the_ticker(book: str | None, ticker: str | None, expected: str) -> None:
    assert open_source(SimConfig(book=book, ticker=ticker)).ticker == expected


async def test_the_synthetic_market_runs() -> None:
    async with running(SimConfig(book="synthetic:SOL", seed=5)) as (host, _, ask):
        await asyncio.sleep(0.2)
        _, state = await ask("GET", "/state")

    assert state["grvt"]["ticker"] == "SOL"
    assert nano(state["grvt"]["bid"]) > 0
    assert host.universe.loops == 0


def test_credentials_belong_to_the_seed_and_fit_together() -> None:
    first, second = grvt_credentials(1), grvt_credentials(2)

    assert first == grvt_credentials(1)
    assert first.private_key != second.private_key
    assert Account.from_key(first.private_key).address == first.address
    assert first.sub_account_id.isdigit()
    assert backpack_credentials(1) == backpack_credentials(1)
    assert backpack_credentials(1).public_key != backpack_credentials(2).public_key


def test_secrets_are_not_in_the_text_of_the_credentials() -> None:
    grvt, backpack = grvt_credentials(1), backpack_credentials(1)

    assert grvt.private_key not in repr(grvt)
    assert grvt.api_key not in repr(grvt)
    assert backpack.secret_key not in repr(backpack)

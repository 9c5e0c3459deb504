"""What the simulated venues and the adapters answer to odd clients, odd faults and lost sockets."""

import asyncio
from typing import Any, cast

import pytest

from exchanges.backpack import streams
from exchanges.backpack.streams import SessionLostError
from exchanges.errors import VenueUnreachable
from exchanges.grvt.public import GrvtPublic
from exchanges.simulator import backpack_socket, grvt_socket
from exchanges.simulator.backpack_options import BackpackOptions
from exchanges.simulator.grvt_options import GrvtOptions
from exchanges.simulator.switches import SwitchError, switched
from strategy.domain import Ns, Quote, nano
from tests.sim.grvt_rig import rig
from tests.unit.recovery_rig import Hands


class Transport:
    """Counts resets of a connection."""

    def __init__(self) -> None:
        self.aborted = 0

    def abort(self) -> None:
        self.aborted += 1


class Dead:
    """A socket of aiohttp whose peer has gone, or never answers a goodbye."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent

    async def close(self, **_: Any) -> None:
        if self.silent:
            await asyncio.Event().wait()
        raise ConnectionResetError

    async def pong(self, *_: Any) -> None:
        raise ConnectionResetError

    send_str = ping = pong


def backpack_client(socket: Dead) -> tuple[backpack_socket.Socket, Transport]:
    transport = Transport()
    options = BackpackOptions(goodbye_seconds=0.01, ping_seconds=0.01)
    client = backpack_socket.Socket(options, cast("Any", transport))
    client._ws = cast("Any", socket)
    client._alive_at = asyncio.get_running_loop().time()
    return client, transport


def grvt_client(
    socket: Dead, options: GrvtOptions | None = None
) -> tuple[grvt_socket.Socket, Transport]:
    transport = Transport()
    made = grvt_socket.Socket(
        options or GrvtOptions(),
        cast("Any", transport),
        None,
        lambda: Ns(1),
        lite=False,
        legacy=False,
    )
    made._ws = cast("Any", socket)
    return made, transport


@pytest.mark.parametrize("make", [backpack_client, grvt_client])
@pytest.mark.parametrize("silent", [False, True])
async def test_a_client_that_does_not_answer_a_goodbye_is_dropped(
    monkeypatch: pytest.MonkeyPatch, make: Any, silent: bool
) -> None:
    monkeypatch.setattr(grvt_socket, "_CLOSE_SECONDS", 0.01)
    client, transport = make(Dead(silent=silent))
    await client.close()
    assert transport.aborted == 1


@pytest.mark.parametrize("make", [backpack_client, grvt_client])
async def test_a_client_that_has_gone_is_dropped_by_whatever_is_written_next(make: Any) -> None:
    client, transport = make(Dead())
    await client._pong(b"")
    assert transport.aborted == 1
    client.offer("{}")
    await client._write()
    assert transport.aborted == 2


async def test_a_backpack_client_that_has_gone_is_found_by_the_servers_own_ping() -> None:
    client, transport = backpack_client(Dead())
    await asyncio.wait_for(client._keep_alive(), 5)
    assert transport.aborted == 1


async def test_a_grvt_client_that_has_no_room_for_a_goodbye_is_dropped() -> None:
    client, transport = grvt_client(Dead(), GrvtOptions(queue_limit=1))
    client.farewell(1001, b"")
    assert transport.aborted == 0
    client.farewell(1001, b"")
    assert transport.aborted == 1


# --- faults on the simulated GRVT ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "start"), [("F05", "<html>"), ("F06", '{"result":{"order_id":"0x00","sta')]
)
async def test_a_broken_answer_comes_over_the_socket_as_it_is(name: str, start: str) -> None:
    async with rig() as it, it.socket() as wire:
        it.fault(name)
        order = {"jsonrpc": "2.0", "method": "v1/create_order", "params": it.order(), "id": 1}
        await wire.socket.send_json(order)
        async with asyncio.timeout(5):
            assert (await wire.socket.receive_str()).startswith(start)
        after = await wire.call("v1/positions", {"sub_account_id": it.account})
        assert after["result"] == {"result": []}, "the socket lives on"


async def test_a_trade_by_hand_that_the_venue_refuses_leaves_the_account_as_it_was() -> None:
    async with rig() as it:
        it.fault("F25", size="0.0001")
        await asyncio.sleep(0.15)
        assert it.faults.taken == {"grvt F25": 1}
        assert await it.result("positions") == []


async def test_a_leverage_that_equity_does_not_cover_stays_as_it_was() -> None:
    async with rig() as it:
        await it.moved(size="10")
        equity = it.engine.available(it.account)
        it.engine.deposit(it.account, Quote(nano(10_000) - equity))
        _, before = await it.ask("get_all_initial_leverage")
        it.fault("F78", leverage=1)
        await asyncio.sleep(0.15)
        assert it.faults.taken == {"grvt F78": 1}
        assert (await it.ask("get_all_initial_leverage"))[1] == before


async def test_a_size_finer_than_a_billionth_has_its_own_code() -> None:
    async with rig() as it:
        order = it.order()
        order["order"]["legs"][0]["size"] = "0.5000000001"
        status, answer = await it.post("/full/v1/create_order", order)
        assert (status, answer["code"]) == (400, 2065)


# --- switches ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grvt.queue_limit=many", "switch grvt.queue_limit 'many': use a whole number"),
        ("grvt.queue_limit=0", "switch queue_limit 0 must be more than 0"),
        ("backpack.default_trigger_by=Gut", "switch default_trigger_by 'Gut' is no price"),
    ],
)
def test_a_switch_that_does_not_fit_is_named_with_its_value(text: str, said: str) -> None:
    with pytest.raises(SwitchError) as bad:
        switched([text])
    assert str(bad.value) == said


# --- the adapters' own sockets -------------------------------------------------------------------


async def test_a_socket_that_cannot_send_is_a_lost_session() -> None:
    wire = streams._Socket(cast("Any", Dead()))
    with pytest.raises(SessionLostError, match="cannot send: ConnectionResetError"):
        await wire.send("{}")


async def test_public_data_of_a_venue_that_cannot_be_reached_says_so() -> None:
    venue = GrvtPublic(Hands(), lambda: 0.5, url="http://127.0.0.1:1")
    await venue.open()
    try:
        with pytest.raises(VenueUnreachable, match="GRVT all_instruments: "):
            await venue.load("ETH")
    finally:
        await venue.close()

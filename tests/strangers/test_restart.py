"""``hedged simulate`` is killed and started again in the middle of sessions of GRVT's own SDK.

The simulator keeps no state: after a restart the account is new, and logins are void. What the SDK
makes of that is asserted as it is: its sockets and its public calls recover by themselves, its
logins do not (G6: a 401 never makes it log in again).
"""

from collections.abc import Callable, Iterator
from decimal import Decimal

import aiohttp
import pytest
import requests
from pysdk.grvt_ccxt_env import GrvtWSEndpointType

from tests.strangers.grvt_faces import SYMBOL, CcxtFace, Face, RawFace, Refused, Ticket
from tests.strangers.grvt_faces_async import (
    MARKET_RPC,
    RPC,
    CcxtProFace,
    CcxtWsFace,
    RawAsyncFace,
    Watched,
)
from tests.strangers.simulation import Simulation, until
from tests.strangers.test_grvt_sdk_session import acknowledged, flat, held, state_of

REST: tuple[Callable[[Simulation], Face], ...] = (RawFace, RawAsyncFace, CcxtFace, CcxtProFace)
GONE = (requests.ConnectionError, aiohttp.ClientConnectionError)


@pytest.fixture
def open_faces(redirected: Simulation) -> Iterator[Callable[..., Face]]:
    """Build faces; they are closed at the end, whatever happened to the simulator."""
    made: list[Face] = []

    def build(make: Callable[[Simulation], Face]) -> Face:
        made.append(make(redirected))
        return made[-1]

    yield build
    for face in made:
        face.close()


def logged_in_anew(face: Face) -> None:
    """Do what a user of the SDK must do after a 401 (G6): drop the cookie, so that it logs in."""
    face.client._cookie = None


def test_rest_clients_outlive_a_kill(
    redirected: Simulation, open_faces: Callable[..., Face]
) -> None:
    faces = [open_faces(make) for make in REST]
    for face in faces:
        assert face.positions() == []
    lost = acknowledged(faces[0], Ticket())
    state_of(faces[0], lost, "OPEN")

    redirected.kill()
    for face in faces:
        with pytest.raises(GONE):
            face.mini()
    redirected.restart()

    for face in faces:
        assert face.mini()["instrument"] == SYMBOL  # public calls recover by themselves
    refused = []
    for face in faces:
        with pytest.raises(Refused) as caught:
            face.positions()
        refused.append((caught.value.code, caught.value.status))
    assert refused == [(1000, 401)] * len(faces)
    for face in faces:
        logged_in_anew(face)
        assert face.positions() == []
        assert face.open_orders() == []  # the order died with the simulator
        named = acknowledged(face, Ticket(size="0.10", px="0", market=True))
        assert state_of(face, named, "FILLED")["traded_size"] == ["0.1"]
        assert held(face) == Decimal("0.1") == Decimal(redirected.state("grvt")["position"])
        flat(face)


def grows(watched: Watched, seconds: float = 20.0) -> None:
    """Wait for one more message."""
    seen = len(watched.messages)
    until(lambda: len(watched.messages) > seen, seconds)


def test_sockets_come_back_by_themselves_after_a_kill(
    redirected: Simulation, open_faces: Callable[..., Face]
) -> None:
    client = open_faces(CcxtWsFace)
    assert isinstance(client, CcxtWsFace)
    client.connected()
    kinds = (GrvtWSEndpointType.MARKET_DATA, MARKET_RPC)
    streams = [client.watch("mini.s", kind, instrument=SYMBOL, rate="200") for kind in kinds]
    streams.append(client.watch("book.d", MARKET_RPC, instrument=SYMBOL, rate="50"))
    for watched in streams:
        grows(watched)
    acknowledged(client, Ticket())

    redirected.kill()
    until(lambda: not any(client.client.is_connection_open(kind) for kind in kinds))
    for watched in streams:
        watched.messages.clear()
    redirected.restart()

    for watched in streams:
        grows(watched)
    # The class subscribes again, and the venue shows the book from its snapshot on (A6.2).
    assert streams[-1].messages[0]["sequence_number"] == "0"

    # The trading sockets come back with the old cookie: open, and not logged in.
    until(lambda: client.client.is_connection_open(RPC), 20)
    with pytest.raises(Refused) as refused:
        client.create(Ticket())
    assert refused.value.code == 1000
    logged_in_anew(client)
    client.thread.run(client.client.refresh_cookie())
    client.client.force_reconnect()

    def placed() -> str | None:
        try:
            return acknowledged(client, Ticket())
        except Refused as still:
            if still.code != 1000:
                raise
            return None

    named = until(placed, 20, every=0.5)
    assert state_of(client, named, "OPEN")["book_size"] == ["0.5"]
    client.cancel(named)
    state_of(client, named, "CANCELLED")
    assert redirected.state("grvt")["open_orders"] == 0


def test_a_restart_repeats_the_ready_line_and_starts_the_account_anew(
    redirected: Simulation,
) -> None:
    before = redirected.ready
    client = RawFace(redirected)
    named = acknowledged(client, Ticket(size="0.10", px="0", market=True))
    state_of(client, named, "FILLED")
    client.close()
    assert redirected.state("grvt")["position"] == "0.1"
    for _ in range(2):
        redirected.kill()
        redirected.restart()
        assert redirected.ready == before  # the same seed: the same keys, on the same ports
        state = redirected.state("grvt")
        assert (state["position"], state["fills"], state["balance"]) == ("0", 0, "1000000")

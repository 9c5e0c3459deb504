"""Each public class of grvt-pysdk 0.2.1 sees the venue's own error for what it does wrong.

The raw classes return ``GrvtError``. The ccxt-style ones raise nothing (G19): they answer ``{}`` or
False and keep the error object for ``get_endpoint_return_value``. GrvtCcxtWS tells nobody: the
answer to an RPC reaches its debug log only (G23), which is where these tests read it.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pysdk.grvt_ccxt_types import GrvtInvalidOrder

from tests.strangers.grvt_faces import (
    FIRST_API_ID,
    STRANGER,
    SYMBOL,
    CcxtFace,
    Face,
    RawFace,
    Refused,
    Ticket,
)
from tests.strangers.grvt_faces_async import RPC, CcxtProFace, CcxtWsFace, RawAsyncFace
from tests.strangers.simulation import ASKS, Simulation
from tests.strangers.test_grvt_sdk_session import acknowledged, flat, refilled, state_of

Make = Callable[..., Face]
FACES: tuple[Make, ...] = (RawFace, RawAsyncFace, CcxtFace, CcxtProFace, CcxtWsFace)
ABSENT = str(FIRST_API_ID + 2**40)


def name_of(made: Any) -> str:
    return str(made.name)


@pytest.fixture(scope="module", params=FACES, ids=name_of)
def face(request: pytest.FixtureRequest, redirected: Simulation) -> Iterator[Face]:
    made = opened(request.param, redirected)
    yield made
    made.close()


def opened(make: Make, it: Simulation, **keys: str) -> Face:
    made = make(it, **keys)
    if isinstance(made, CcxtWsFace):
        made.connected()
    return made


def refused(call: Callable[[], object]) -> Refused:
    """Return the refusal of a call that must not succeed."""
    with pytest.raises(Refused) as caught:
        call()
    return caught.value


def shows(face: Face, found: Refused, code: int, status: int) -> None:
    """Check the error; an RPC answer carries the code but no HTTP status (A6.4)."""
    over_rpc = isinstance(face, CcxtWsFace)
    assert found.code == code
    assert found.status in ((status, None) if over_rpc else (status,))


WRONG = {
    "off-tick price": (Ticket(px="2990.005"), 2064),
    "off-step size": (Ticket(size="0.505"), 2065),
    "size below the minimum": (Ticket(size="0.005"), 2062),
    "insufficient margin": (Ticket(size="5000.0"), 2080),
    "price outside the band": (Ticket(px="2000.0"), 7201),
    "reduce-only without a position": (Ticket(buy=False, px="3010.0", reduce_only=True), 2400),
    "post-only that does not rest": (
        Ticket(post_only=True, tif="IMMEDIATE_OR_CANCEL"),
        2032,
    ),
}


@pytest.mark.parametrize(("ticket", "code"), WRONG.values(), ids=list(WRONG))
def test_a_wrong_order_is_refused_with_its_code(
    face: Face, simulation: Simulation, ticket: Ticket, code: int
) -> None:
    before = simulation.state("grvt")
    shows(face, refused(lambda: face.create(ticket)), code, 400)
    after = simulation.state("grvt")
    assert after["orders_rejected"] == before["orders_rejected"] + 1
    assert (after["open_orders"], after["position"]) == (0, "0")


def test_a_signature_that_does_not_fit_is_refused(face: Face, simulation: Simulation) -> None:
    before = simulation.state("grvt")["signature_failures"]
    shows(face, refused(lambda: face.create(Ticket(tampered=True))), 2002, 403)
    assert simulation.state("grvt")["signature_failures"] == before + 1


@pytest.mark.parametrize("make", FACES, ids=name_of)
def test_a_private_key_that_the_venue_does_not_know_is_refused(
    make: Make, redirected: Simulation
) -> None:
    stranger = opened(make, redirected, private_key=STRANGER)
    try:
        found = refused(lambda: stranger.create(Ticket()))
    finally:
        stranger.close()
    shows(stranger, found, 2000, 403)
    assert redirected.state("grvt")["open_orders"] == 0


@pytest.mark.parametrize("make", FACES, ids=name_of)
def test_a_wrong_api_key_is_not_logged_in(make: Make, redirected: Simulation) -> None:
    """G7: the login fails silently and the requests go out without a cookie."""
    nobody = make(redirected, api_key="wrong")
    try:
        # Positions and money are asked over REST by all five.
        for ask in (nobody.summary, nobody.positions):
            found = refused(ask)
            assert (found.code, found.status) == (1000, 401)
    finally:
        nobody.close()


def test_the_socket_class_without_a_login_sends_nothing_and_says_so_to_nobody(
    redirected: Simulation,
) -> None:
    """G24: with no cookie it calls its trading sockets connected, and drops what they should send.

    A payload comes back as if it had been sent; only the venue's books tell.
    """
    nobody = CcxtWsFace(redirected, api_key="wrong")
    try:
        nobody.markets()
        before = redirected.state("grvt")["orders_received"]
        assert nobody.client.is_endpoint_connected(RPC) is True
        assert nobody.client.is_connection_open(RPC) is False
        payload = nobody._call("rpc_create_order", SYMBOL, "limit", "buy", "0.5", "2990")
        assert payload["params"]["order"]["legs"][0]["size"] == "0.500000000"
        assert redirected.state("grvt")["orders_received"] == before
    finally:
        nobody.close()


def test_a_post_only_order_that_would_cross_is_rejected_later(
    face: Face, simulation: Simulation
) -> None:
    refilled(face)
    named = acknowledged(face, Ticket(px=ASKS[0][0], post_only=True))
    state = state_of(face, named, "REJECTED", "OPEN", "FILLED")
    assert (state["status"], state["reject_reason"]) == ("REJECTED", "FAIL_POST_ONLY")
    assert state["traded_size"] == ["0.0"]
    assert simulation.state("grvt")["position"] == "0"


def test_a_reduce_only_order_must_not_increase(face: Face) -> None:
    refilled(face)
    state_of(face, acknowledged(face, Ticket(size="0.10", px="0", market=True)), "FILLED")
    try:
        wrong = Ticket(size="0.10", reduce_only=True)
        shows(face, refused(lambda: face.create(wrong)), 2401, 400)
    finally:
        flat(face)


def test_a_client_id_is_unique_among_live_orders(face: Face, simulation: Simulation) -> None:
    named = acknowledged(face, Ticket())
    state_of(face, named, "OPEN")
    shows(face, refused(lambda: face.create(Ticket(client_id=named))), 2012, 400)
    assert simulation.state("grvt")["open_orders"] == 1
    face.cancel(named)
    state_of(face, named, "CANCELLED")
    # After its end the id may be used again (A5.6).
    again = acknowledged(face, Ticket(client_id=named))
    assert state_of(face, again, "OPEN")["traded_size"] == ["0.0"]
    face.cancel(again)
    state_of(face, again, "CANCELLED")


def test_an_unknown_order_is_not_found(face: Face) -> None:
    shows(face, refused(lambda: face.order(ABSENT)), 1004, 404)
    shows(face, refused(lambda: face.cancel(ABSENT)), 1004, 404)


def test_too_many_requests_are_limited_and_let_through_again(face: Face) -> None:
    """20 cancels a second (A4.4)."""
    seen: list[Refused] = []
    while not seen or seen[-1].code == 1004:
        assert len(seen) < 400, "never limited"
        seen.append(refused(lambda: face.cancel(ABSENT)))
    assert len(seen) > 10  # as many as an earlier test of the same second left
    shows(face, seen[-1], 1006, 429)
    time.sleep(0.3)  # noqa: TID251 - a client that backs off
    assert refused(lambda: face.cancel(ABSENT)).code == 1004


@pytest.mark.parametrize("make", [RawFace, RawAsyncFace], ids=name_of)
def test_a_repeated_payload_is_taken_once_and_counts_against_the_limit(
    make: Callable[[Simulation], RawFace], redirected: Simulation
) -> None:
    """A5.6: the same payload with the same nonce is a duplicate and ignored."""
    client = make(redirected)
    time.sleep(0.5)  # noqa: TID251 - the tests before this one have spent the second's creates
    order = client.signed(Ticket())
    named = order.metadata.client_order_id
    acks = [client.send(order)["metadata"]["client_order_id"] for _ in range(3)]
    assert acks == [named] * 3
    state_of(client, named, "OPEN")
    assert redirected.state("grvt")["open_orders"] == 1
    codes: list[int] = []
    while not codes:
        try:
            client.send(order)
        except Refused as limited:
            codes.append(limited.code)
    assert codes == [1006]
    client.cancel(named)
    state_of(client, named, "CANCELLED")
    client.close()
    assert redirected.state("grvt")["open_orders"] == 0


@pytest.mark.parametrize("make", [CcxtFace, CcxtProFace, CcxtWsFace], ids=name_of)
def test_the_ccxt_classes_refuse_nonsense_before_they_send_it(
    make: Callable[[Simulation], CcxtFace], redirected: Simulation
) -> None:
    client = make(redirected)
    if isinstance(client, CcxtWsFace):
        client.connected()  # one that is still connecting takes its time to close
    client.markets()
    before = redirected.state("grvt")["orders_received"]
    wrong: list[tuple[Any, ...]] = [
        ("NO_USDT_Perp", "limit", "buy", "0.5", "2990"),
        (SYMBOL, "limit", "buy", "0.5", None),
        (SYMBOL, "market", "buy", "0.5", "2990"),
        (SYMBOL, "limit", "buy", "-0.5", "2990"),
    ]
    for words in wrong:
        with pytest.raises(GrvtInvalidOrder):
            client._call("create_order", *words)
    client.close()
    assert redirected.state("grvt")["orders_received"] == before

"""The venue over real HTTP: what an answer to a create, a cancel or a lookup means."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from exchanges.grvt import codec, sdk
from exchanges.grvt.venue import GrvtVenue
from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelUnknown,
    Found,
    InDoubt,
    NotFound,
    Refused,
)
from strategy.domain import (
    Ns,
    Purpose,
    Status,
)
from tests.unit.test_grvt_codec import (
    INSTRUMENT,
    ORDER,
    changed,
)
from tests.unit.test_grvt_signer import NONCE, Clock, config
from tests.unit.test_grvt_venue_rig import (
    ACK,
    EXPIRED,
    HANG,
    HTML,
    MISSING,
    REF,
    RESET,
    FakeGrvt,
    connected,
    error,
    order,
    serving,
)


@pytest.fixture
async def server() -> AsyncIterator[FakeGrvt]:
    async with serving() as fake:
        yield fake


@pytest.fixture
def learned() -> list[str]:
    return []


@pytest.fixture
async def bare(server: FakeGrvt, learned: list[str]) -> AsyncIterator[GrvtVenue]:
    async with connected(server, learned) as made:
        yield made


@pytest.fixture
async def venue(bare: GrvtVenue) -> GrvtVenue:
    await bare.open()
    await bare.load("ETH")
    return bare


async def test_A5_acknowledgement_is_accepted_pending_and_without_an_id(
    venue: GrvtVenue, server: FakeGrvt
) -> None:
    server.answers["create_order"] = (200, {"result": ACK})
    payload = venue.prepare(order())
    outcome = await venue.submit(payload)
    assert isinstance(outcome, Accepted)
    assert outcome.view is not None
    assert (outcome.view.status, outcome.view.venue_order_id) == (Status.PENDING, "")
    assert [body for name, body, _ in server.seen if name == "create_order"] == [payload.body]


REFUSED = [
    (1001, 403), (1003, 400), (1006, 429), (1008, 401), (1012, 400), (1400, 403),
    (2000, 403), (2001, 403), (2002, 403), (2003, 403), (2004, 403), (2005, 403), (2006, 403),
    (2007, 403), (2008, 403), (2010, 400), (2011, 400), (2020, 400), (2021, 400), (2030, 400),
    (2032, 400), (2042, 400), (2060, 400), (2062, 400), (2064, 400), (2065, 400), (2066, 400),
    (2067, 400), (2080, 400), (2082, 400), (2084, 400), (2090, 429), (2100, 400), (2108, 400),
    (2400, 400), (2401, 400), (2402, 400), (3000, 400), (3021, 400), (7201, 400), (7304, 400),
]  # fmt: skip


@pytest.mark.parametrize(("code", "status"), REFUSED)
async def test_F12_documented_refusals_are_certain(
    venue: GrvtVenue, server: FakeGrvt, code: int, status: int
) -> None:
    server.answers["create_order"] = error(code, status, request_id=123)
    outcome = await venue.submit(venue.prepare(order()))
    assert outcome == Refused(str(code), f"message {code}")
    assert len(server.asked("create_order")) == 1


IN_DOUBT: list[Any] = [
    error(2012, 400),
    error(1002, 500),
    error(1005, 500),
    error(1009, 503),
    error(2080, 500),
    error(2080, 200),
    error(1004, 404),
    error(2009, 400),
    error(2013, 400),
    error(9999, 400),
    HTML,
    (504, ""),
    (401, "<html>login</html>"),
    (404, "<html>"),
    (200, ""),
    (200, "{"),
    (200, "[]"),
    (200, {}),
    (200, {"result": None}),
    (200, {"result": {}}),
    (200, {"result": changed(ACK, "metadata.client_order_id", str(2**63 + 8))}),
    (200, {"result": changed(ACK, "legs.instrument", "BTC_USDT_Perp")}),
    (202, {"result": ACK}),
    RESET,
    HANG,
]


@pytest.mark.parametrize("answer", IN_DOUBT)
async def test_F05_F06_F10_everything_else_is_in_doubt(
    venue: GrvtVenue, server: FakeGrvt, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdk, "WRITE_TIMEOUT", 0.1)
    server.answers["create_order"] = answer
    assert isinstance(await venue.submit(venue.prepare(order())), InDoubt)
    assert len(server.asked("create_order")) == 1


async def test_F07_expired_session_is_renewed_once_and_the_same_bytes_go_again(
    venue: GrvtVenue, server: FakeGrvt
) -> None:
    server.answers["create_order"] = [EXPIRED, (200, {"result": ACK})]
    payload = venue.prepare(order())
    assert isinstance(await venue.submit(payload), Accepted)
    sent = [(body, headers["Cookie"]) for name, body, headers in server.seen[-2:] if name]
    assert sent == [
        (payload.body, "gravity=canary-cookie-1"),
        (payload.body, "gravity=canary-cookie-2"),
    ]
    assert server.logins == 2


async def test_F07_session_refused_twice_is_a_refusal(venue: GrvtVenue, server: FakeGrvt) -> None:
    server.answers["create_order"] = EXPIRED
    assert await venue.submit(venue.prepare(order())) == Refused("1000", "message 1000")
    assert (len(server.asked("create_order")), server.logins) == (2, 2)


async def test_F07_login_that_fails_after_a_refusal_is_a_refusal(
    venue: GrvtVenue, server: FakeGrvt
) -> None:
    server.answers["create_order"] = EXPIRED
    server.refuse_login = True
    outcome = await venue.submit(venue.prepare(order()))
    assert isinstance(outcome, Refused)
    assert outcome.code == "1000"
    assert len(server.asked("create_order")) == 1


async def test_order_that_never_left_is_refused(server: FakeGrvt) -> None:
    nowhere = config(edge_url=server.url, trades_url="http://127.0.0.1:1", market_data_url="x:")
    venue = GrvtVenue(nowhere, Clock(), lambda: 0.5, lambda: NONCE)
    await venue.open()
    venue._row = codec.find_instrument([INSTRUMENT], "ETH")
    outcome = await venue.submit(venue.prepare(order()))
    assert isinstance(outcome, Refused)
    assert outcome.code == "not_sent"
    assert isinstance(await venue.cancel(REF), InDoubt)
    assert isinstance(await venue.lookup(REF, Ns(0)), InDoubt)
    await venue.close()
    await venue.close()


async def test_F04_openers_run_out_of_rate_before_hedges_do(
    venue: GrvtVenue, server: FakeGrvt
) -> None:
    server.answers["create_order"] = error(2080, 400)
    opener = venue.prepare(order(purpose=Purpose.OPEN))
    codes = [(await venue.submit(opener)) for _ in range(11)]
    assert isinstance(codes[-1], Refused)
    assert codes[-1].code == "local_rate"
    hedge = await venue.submit(venue.prepare(order()))
    assert isinstance(hedge, Refused)
    assert hedge.code == "2080"
    assert len(server.asked("create_order")) == 11


# --- cancel and lookup -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((200, {"result": {"ack": True}}), CancelAccepted(None)),
        (MISSING, CancelUnknown("1004")),
        ((200, {"result": {"ack": False}}), None),
        ((200, {"result": {}}), None),
        ((200, {}), None),
        (error(1003, 400), None),
        (error(1004, 400), None),
        (error(1006, 429), None),
        ((404, "<html>"), None),
        (HTML, None),
        (RESET, None),
    ],
)
async def test_F59_cancel_outcomes(
    venue: GrvtVenue, server: FakeGrvt, answer: Any, expected: Any
) -> None:
    server.answers["cancel_order"] = answer
    outcome = await venue.cancel(REF)
    assert outcome == expected if expected is not None else isinstance(outcome, InDoubt)
    assert server.asked("cancel_order") == [
        {"sub_account_id": "8289849667772468", "client_order_id": str(2**63 + 7)}
    ]


async def test_cancel_all_names_the_perpetual(venue: GrvtVenue, server: FakeGrvt) -> None:
    server.answers["cancel_all_orders"] = [EXPIRED, (200, {"result": {"ack": True}})]
    assert await venue.cancel_all() == CancelAccepted(None)
    assert server.asked("cancel_all_orders")[-1] == {
        "sub_account_id": "8289849667772468",
        "kind": ["PERPETUAL"],
        "base": ["ETH"],
        "quote": ["USDT"],
    }
    server.answers["cancel_all_orders"] = HTML
    assert isinstance(await venue.cancel_all(), InDoubt)


async def test_lookup_finds_by_client_id(venue: GrvtVenue, server: FakeGrvt) -> None:
    server.answers["order"] = (200, {"result": ORDER})
    assert await venue.lookup(REF, Ns(0)) == Found(codec.order(ORDER))
    assert server.asked("order")[0]["client_order_id"] == str(2**63 + 7)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (MISSING, NotFound),
        ((404, "<html>not found</html>"), InDoubt),
        (error(1004, 200), InDoubt),
        (error(1004, 400), InDoubt),
        (error(3021, 400), InDoubt),
        (error(1001, 403), InDoubt),
        (error(1006, 429), InDoubt),
        ((200, {"result": None}), InDoubt),
        ((200, {"result": []}), InDoubt),
        ((200, {"result": changed(ORDER, "metadata.client_order_id", str(2**63 + 8))}), InDoubt),
        ((200, {"result": changed(ORDER, "legs.instrument", "BTC_USDT_Perp")}), InDoubt),
        (HTML, InDoubt),
        (RESET, InDoubt),
    ],
)
async def test_S5_only_the_venues_own_word_means_not_found(
    venue: GrvtVenue, server: FakeGrvt, answer: Any, kind: type
) -> None:
    server.answers["order"] = answer
    assert isinstance(await venue.lookup(REF, Ns(0)), kind)

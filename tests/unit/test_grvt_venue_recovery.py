"""GRVT over real HTTP: copies, cancels in advance, the dead-man switch (venues.md A5.6, A5.7)."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from exchanges.errors import VenueUnreachable
from exchanges.grvt import codec, sdk
from exchanges.grvt.venue import GrvtVenue
from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelUnknown,
    DeadManSwitch,
    InDoubt,
    Probes,
    Recovers,
)
from strategy.domain import NANO, Ns, Purpose, Status
from tests.unit.test_grvt_codec import INSTRUMENT, ORDER, changed
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
async def venue(server: FakeGrvt) -> AsyncIterator[GrvtVenue]:
    async with connected(server, []) as made:
        await made.open()
        await made.load("ETH")
        yield made


def test_the_venue_can_all_that_the_protocol_asks_for(venue: GrvtVenue) -> None:
    assert isinstance(venue, Recovers)
    assert isinstance(venue, DeadManSwitch)
    assert isinstance(venue, Probes)


async def test_S4_a_copy_is_the_same_bytes(venue: GrvtVenue, server: FakeGrvt) -> None:
    server.answers["create_order"] = [RESET, (200, {"result": ACK})]
    payload = venue.prepare(order())
    assert isinstance(await venue.submit(payload), InDoubt)
    copy = await venue.resend(payload)
    assert isinstance(copy, Accepted)
    assert copy.view is not None
    assert copy.view.status is Status.PENDING
    bodies = [body for name, body, _ in server.seen if name == "create_order"]
    assert bodies == [payload.body, payload.body]


async def test_F10_an_overlap_of_a_copy_means_that_the_order_lives(
    venue: GrvtVenue, server: FakeGrvt
) -> None:
    server.answers["create_order"] = error(2012, 400, request_id=3)
    assert await venue.resend(venue.prepare(order())) == Accepted(None)


@pytest.mark.parametrize(
    "answer", [error(2001, 403), error(2080, 400), error(1006, 429), error(2012, 500), HTML, HANG,
               RESET, (200, ""), error(1004, 404)]
)  # fmt: skip
async def test_F01_a_refused_or_unanswered_copy_leaves_the_original_in_doubt(
    venue: GrvtVenue, server: FakeGrvt, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdk, "WRITE_TIMEOUT", 0.1)
    server.answers["create_order"] = answer
    assert isinstance(await venue.resend(venue.prepare(order())), InDoubt)
    assert len(server.asked("create_order")) == 1


async def test_F07_a_copy_whose_session_cannot_be_renewed_is_in_doubt(
    venue: GrvtVenue, server: FakeGrvt
) -> None:
    server.answers["create_order"] = EXPIRED
    server.refuse_login = True
    assert isinstance(await venue.resend(venue.prepare(order())), InDoubt)


async def test_F04_a_copy_beyond_our_own_rate_is_not_sent(
    venue: GrvtVenue, server: FakeGrvt
) -> None:
    server.answers["create_order"] = (200, {"result": ACK})
    opener = venue.prepare(order(purpose=Purpose.OPEN))
    answers = [await venue.resend(opener) for _ in range(11)]
    assert isinstance(answers[-1], InDoubt)
    assert "was not sent" in answers[-1].why
    assert len(server.asked("create_order")) == 10


# --- cancels in advance ---


async def test_a_cancel_in_advance_waits_five_seconds(venue: GrvtVenue, server: FakeGrvt) -> None:
    server.answers["cancel_order"] = (200, {"result": {"ack": True}})
    assert await venue.bury(REF) == CancelAccepted(None)
    asked = server.asked("cancel_order")[0]
    assert asked["time_to_live_ms"] == "5000"
    assert asked["client_order_id"] == str(2**63 + 7)


async def test_a_venue_that_refuses_2300_gets_plain_cancels_from_then_on(
    venue: GrvtVenue, server: FakeGrvt
) -> None:
    server.answers["cancel_order"] = [error(2300, 400), MISSING]
    assert await venue.bury(REF) == CancelUnknown("1004")
    assert await venue.bury(REF) == CancelUnknown("1004")
    asked = server.asked("cancel_order")
    assert ["time_to_live_ms" in body for body in asked] == [True, False, False]


@pytest.mark.parametrize("answer", [RESET, HTML, error(1006, 429), error(2300, 500)])
async def test_F59_a_cancel_in_advance_without_an_answer_is_in_doubt(
    venue: GrvtVenue, server: FakeGrvt, answer: Any
) -> None:
    server.answers["cancel_order"] = answer
    assert isinstance(await venue.bury(REF), InDoubt)
    assert len(server.asked("cancel_order")) == 1


# --- the dead-man switch, the probe ---


async def test_the_switch_is_asked_for_in_milliseconds(venue: GrvtVenue, server: FakeGrvt) -> None:
    server.answers["cancel_on_disconnect"] = [
        (200, {"result": {"ack": True}}), error(6000, 400), RESET,
    ]  # fmt: skip
    assert await venue.dead_man(Ns(15 * NANO)) == CancelAccepted(None)
    assert isinstance(await venue.dead_man(Ns(0)), InDoubt)
    assert isinstance(await venue.dead_man(Ns(15 * NANO)), InDoubt)
    asked = [body["countdown_time"] for body in server.asked("cancel_on_disconnect")]
    assert asked == ["15000", "0", "15000"]


async def test_F68_a_market_that_is_no_longer_listed_does_not_trade(
    venue: GrvtVenue, server: FakeGrvt
) -> None:
    assert await venue.tradable()
    server.answers["all_instruments"] = (200, {"result": [changed(INSTRUMENT, "base", "BTC")]})
    assert not await venue.tradable()
    server.answers["all_instruments"] = HTML
    with pytest.raises(VenueUnreachable):
        await venue.tradable()


def test_F10_a_rejected_copy_is_no_end_of_the_order() -> None:
    rejected = changed(
        changed(ORDER, "state.status", "REJECTED"),
        "state.reject_reason",
        "OVERLAPPING_CLIENT_ORDER_ID",
    )
    view = codec.order(rejected)
    assert view.status is Status.UNKNOWN
    assert view.raw_status == "OVERLAPPING_CLIENT_ORDER_ID"

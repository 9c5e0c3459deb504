"""The in-process venue: copies, cancels in advance, the dead-man switch (venues.md A5.6, A5.7)."""

import pytest

from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelUnknown,
    DeadManSwitch,
    InDoubt,
    Payload,
    Probes,
    Recovers,
)
from exchanges.simulator.inprocess import InProcessVenue
from strategy.domain import NANO, ClientId, Ns, OrderRef, Status, Venue
from tests.sim.test_inprocess import Desk


def port(desk: Desk) -> InProcessVenue:
    assert isinstance(desk.port, InProcessVenue)
    assert isinstance(desk.port, Recovers)
    assert isinstance(desk.port, DeadManSwitch)
    assert isinstance(desk.port, Probes)
    return desk.port


def ref(desk: Desk, number: int = 1) -> OrderRef:
    return OrderRef(ClientId(number), desk.symbol)


def made(desk: Desk) -> int:
    return len(desk.universe.engines[desk.venue].orders)


async def copied(desk: Desk, payload: Payload, ms: int = 1000) -> Accepted | InDoubt:
    return await desk.run(lambda: port(desk).resend(payload), ms)


async def test_F01_a_copy_of_what_grvt_has_is_acknowledged_and_ignored() -> None:
    desk = Desk(Venue.GRVT)
    desk.fault("F01")
    payload = port(desk).prepare(desk.request())
    assert isinstance(await desk.run(lambda: port(desk).submit(payload)), InDoubt)
    copy = await copied(desk, payload)
    assert isinstance(copy, Accepted)
    assert copy.view is not None
    assert copy.view.status is Status.PENDING
    assert made(desk) == 1


async def test_F02_a_copy_of_what_never_arrived_is_taken() -> None:
    desk = Desk(Venue.GRVT)
    desk.fault("F02")
    payload = port(desk).prepare(desk.request())
    await desk.run(lambda: port(desk).submit(payload))
    assert made(desk) == 0
    assert isinstance(await copied(desk, payload), Accepted)
    assert made(desk) == 1


async def test_F03_the_late_original_of_a_copy_is_ignored() -> None:
    desk = Desk(Venue.GRVT)
    desk.fault("F03", delay_ms=500)
    payload = port(desk).prepare(desk.request())
    await desk.run(lambda: port(desk).submit(payload), 100)
    assert isinstance(await copied(desk, payload, 1000), Accepted)
    assert made(desk) == 1


async def test_a_refused_copy_is_in_doubt_and_backpack_gets_none() -> None:
    desk = Desk(Venue.GRVT)
    late = desk.request(expires_at=Ns(1))
    assert await copied(desk, port(desk).prepare(late)) == InDoubt(
        "the copy was refused: expired_signature"
    )
    other = Desk(Venue.BACKPACK)
    refused = await copied(other, port(other).prepare(other.request()))
    assert isinstance(refused, InDoubt)
    assert made(other) == 0


async def test_a_cancel_in_advance_ends_a_late_order_on_arrival() -> None:
    desk = Desk(Venue.GRVT)
    assert await desk.run(lambda: port(desk).bury(ref(desk))) == CancelAccepted(None)
    await desk.submit(desk.maker())
    assert await desk.run(lambda: port(desk).open_orders()) == ()
    await desk.submit(desk.maker(2))
    assert len(await desk.run(lambda: port(desk).open_orders())) == 1


async def test_a_cancel_in_advance_is_forgotten_after_five_seconds() -> None:
    desk = Desk(Venue.GRVT)
    await desk.run(lambda: port(desk).bury(ref(desk)), 5100)
    await desk.submit(desk.maker())
    assert len(await desk.run(lambda: port(desk).open_orders())) == 1


async def test_a_cancel_in_advance_of_an_order_that_is_there_is_a_cancel() -> None:
    desk = Desk(Venue.GRVT)
    await desk.submit(desk.maker())
    assert await desk.run(lambda: port(desk).bury(ref(desk))) == CancelAccepted(None)
    assert await desk.run(lambda: port(desk).open_orders()) == ()
    assert isinstance(await desk.run(lambda: port(desk).bury(ref(desk))), CancelUnknown)


async def test_the_countdown_cancels_everything_unless_refreshed_or_disarmed() -> None:
    desk = Desk(Venue.GRVT)
    await desk.submit(desk.maker())

    async def left() -> int:
        return len(await desk.run(lambda: port(desk).open_orders(), 10))

    arm = Ns(2 * NANO)
    assert await desk.run(lambda: port(desk).dead_man(arm), 1500) == CancelAccepted(None)
    await desk.run(lambda: port(desk).dead_man(arm), 1500)
    assert await left() == 1, "refreshed in time"
    await desk.run(lambda: port(desk).dead_man(Ns(0)), 3000)
    assert await left() == 1, "disarmed"
    await desk.run(lambda: port(desk).dead_man(arm), 2500)
    assert await left() == 0


@pytest.mark.parametrize("venue", list(Venue))
async def test_a_dead_venue_answers_nothing_and_a_halted_one_says_so(venue: Venue) -> None:
    desk = Desk(venue)
    assert await desk.run(lambda: port(desk).tradable())
    desk.universe.faults.add({"venue": venue.value, "fault": "F68"})
    desk.universe.apply_faults()
    assert not await desk.run(lambda: port(desk).tradable())
    desk.fault("F52")
    assert isinstance(await desk.run(lambda: port(desk).dead_man(Ns(NANO))), InDoubt)
    assert isinstance(await desk.run(lambda: port(desk).bury(ref(desk))), InDoubt)

"""The outbox: three-way outcomes become events, and no failed cancel is swallowed (F59, REQ-5)."""

import asyncio

import pytest

from daemon.core import CancelOrder, Command, Send
from daemon.inbox import Inbox
from daemon.metrics import RunMetrics
from daemon.narrator import Narrator
from daemon.outbox import Outbox
from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelOutcome,
    CancelUnknown,
    InDoubt,
    Outcome,
    Payload,
    Refused,
)
from safety.gate import Approved, LegRisk, RiskView, gate
from strategy.domain import ClientId, Mode, Ns, OrderRef, Qty, SignedQty, Status, Venue, nano
from strategy.events import Event, OrderAnswered, Seen, Verdict
from strategy.params import SECOND
from tests.builders import GRVT, LIMITS, at, draft, px, world
from tests.harness import Sink
from tests.unit.recovery_rig import Hands, PlainPort, as_port, doubtful, narrator, told

REF = OrderRef(ClientId(1), "ETH_USDT_Perp")


def approved(clock: Hands) -> Approved:
    leg = LegRisk(
        GRVT, SignedQty(0), Qty(0), Qty(0), px("3000.00"), px("3000.05"), clock.mono(), up=True
    )
    view = RiskView(
        Mode.RUNNING, leg, leg, SignedQty(nano("0.5")), None, unhedged=True, orders_last_minute=0
    )
    ruling = gate(draft(), view, LIMITS, clock.now())
    assert isinstance(ruling, Approved)
    return ruling


def send(clock: Hands) -> Send:
    request = next(iter(doubtful().orders.values())).request
    return Send(Payload(request, b"x", (), 1, "d"), approved(clock))


async def carried(
    port: PlainPort, *commands: Command, told_to: Narrator | None = None
) -> tuple[list[Event], Outbox]:
    inbox = Inbox()
    clock = port.clock
    async with asyncio.TaskGroup() as tasks:
        outbox = Outbox(
            {Venue.GRVT: as_port(port)}, inbox, clock.now, tasks, RunMetrics(world()),
            Ns(SECOND), told_to,
        )  # fmt: skip
        for command in commands:
            outbox.dispatch([command], clock.mono())
            await asyncio.sleep(0)
    assert outbox.pending == 0
    return inbox.drain(), outbox


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (Accepted(None), Verdict.ACCEPTED),
        (Refused("2080", "margin"), Verdict.REFUSED),
        (InDoubt("timeout"), Verdict.IN_DOUBT),
    ],
)
async def test_outcomes_stay_three_way(outcome: Outcome, verdict: Verdict) -> None:
    port = PlainPort(Venue.GRVT, Hands(), outcomes=[outcome])
    events, _ = await carried(port, send(port.clock))
    answer = events[0]
    assert isinstance(answer, OrderAnswered)
    assert answer.verdict is verdict


async def test_S8_an_order_that_waited_too_long_is_never_sent() -> None:
    port = PlainPort(Venue.GRVT, Hands())
    command = send(port.clock)
    port.clock.seconds = 2
    events, _ = await carried(port, command)
    assert isinstance(events[0], OrderAnswered)
    assert events[0].code == "approval_expired"
    assert port.calls == []


async def test_the_end_that_a_cancel_states_is_an_event() -> None:
    view = told(doubtful(), Status.CANCELLED)
    port = PlainPort(Venue.GRVT, Hands(), cancels=[CancelAccepted(view)])
    events, outbox = await carried(port, CancelOrder(Venue.GRVT, REF))
    assert events == [Seen(view, at(0), "cancel")]
    assert outbox.counts == {}


@pytest.mark.parametrize(
    ("answer", "what"),
    [(InDoubt("429"), "cancel_failed"), (CancelUnknown("1004"), "cancel_unknown")],
)
async def test_REQ_5_a_cancel_that_was_not_taken_is_counted_and_said_and_ends_nothing(
    answer: CancelOutcome, what: str
) -> None:
    told_to, sink = narrator()
    port = PlainPort(Venue.GRVT, Hands(), cancels=[answer])
    events, outbox = await carried(port, CancelOrder(Venue.GRVT, REF), told_to=told_to)
    assert events == []
    assert outbox.counts == {f"grvt {what}": 1}
    assert sink.events("VENUE", what)[0]["order"] == 1


async def test_F59_a_venue_that_takes_no_cancels_is_alerted_once() -> None:
    told_to, sink = narrator()
    port = PlainPort(Venue.GRVT, Hands(), cancels=[InDoubt("429 1006")])
    cancels = [CancelOrder(Venue.GRVT, REF)] * 5
    _, outbox = await carried(port, *cancels, told_to=told_to)
    assert outbox.counts == {"grvt cancel_failed": 5}
    assert len(sink.events("ALERT", "cancels_fail")) == 1


async def test_F59_one_taken_cancel_begins_the_count_anew() -> None:
    told_to, sink = narrator()
    failed = InDoubt("429 1006")
    port = PlainPort(
        Venue.GRVT, Hands(), cancels=[failed, failed, CancelUnknown("x"), failed, failed]
    )
    cancels = [CancelOrder(Venue.GRVT, REF)] * 5
    _, outbox = await carried(port, *cancels, told_to=told_to)
    assert outbox.counts["grvt cancel_failed"] == 4
    assert isinstance(sink, Sink)
    assert sink.events("ALERT", "cancels_fail") == []


async def test_failures_are_counted_without_anybody_to_tell() -> None:
    port = PlainPort(Venue.GRVT, Hands(), cancels=[InDoubt("reset")])
    _, outbox = await carried(port, CancelOrder(Venue.GRVT, REF))
    assert outbox.counts == {"grvt cancel_failed": 1}

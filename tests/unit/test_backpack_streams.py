"""Stream sessions against a scripted socket: bootstrap, gaps, silence, refusals, reconnects."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from exchanges.backpack import codec, streams
from exchanges.backpack.streams import PrivateSession, PublicSession, SessionLostError, Streams
from exchanges.errors import VenueError, VenueMalformed, VenueUnreachable
from strategy.domain import (
    NANO,
    Book,
    Fill,
    Ns,
    OrderView,
    Position,
    StreamState,
    Surface,
    Trade,
    Venue,
    VenueEvent,
)
from tests.unit.test_backpack_ws_codec import UPDATE

SYMBOL = "ETH_USDC_PERP"


class Clock:
    def __init__(self) -> None:
        self.slept: list[float] = []

    def wall(self) -> Ns:
        return Ns(10**18)

    def mono(self) -> Ns:
        return Ns(time.monotonic_ns())

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(min(seconds, 0.02))


class FakeWire:
    """Gives out queued frames; an exception in the queue is raised."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.frames: asyncio.Queue[str | VenueError] = asyncio.Queue()

    async def send(self, text: str) -> None:
        self.sent.append(text)

    async def receive(self) -> str | bytes:
        frame = await self.frames.get()
        if isinstance(frame, VenueError):
            raise frame
        return frame

    def push(self, stream: str, **data: object) -> None:
        self.frames.put_nowait(json.dumps({"stream": f"{stream}.{SYMBOL}", "data": data}))

    def depth(self, first: int, last: int, px: str = "3000", qty: str = "1") -> None:
        self.push("depth", U=first, u=last, b=[[px, qty]], a=[], T=last)


class Rest:
    """Answers snapshots from a list; the last one repeats."""

    def __init__(self, *last_ids: int) -> None:
        self.ids = list(last_ids)
        self.limits: list[int] = []
        self.broken = False

    async def __call__(self, limit: int) -> codec.Snapshot:
        self.limits.append(limit)
        await asyncio.sleep(0)
        if self.broken:
            raise VenueUnreachable("down")
        last = self.ids.pop(0) if len(self.ids) > 1 else self.ids[0]
        row = {
            "bids": [["2999", "1"]],
            "asks": [["3001", "1"]],
            "lastUpdateId": str(last),
            "timestamp": 10**9 + len(self.limits),
        }
        return codec.depth(row)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SETTLE_SECONDS", 0.02)
    monkeypatch.setattr(streams, "QUIET_SECONDS", 0.05)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not condition():  # noqa: ASYNC110 - the condition is the event list itself
            await asyncio.sleep(0.002)


@asynccontextmanager
async def public(rest: Rest) -> AsyncIterator[tuple[FakeWire, list[VenueEvent]]]:
    wire, events = FakeWire(), list[VenueEvent]()
    session = PublicSession(SYMBOL, Clock(), rest, events.append)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(session.run(wire))
        yield wire, events
        task.cancel()


def states(events: list[VenueEvent]) -> list[bool]:
    return [event.up for event in events if isinstance(event, StreamState)]


def books(events: list[VenueEvent]) -> list[Book]:
    return [event for event in events if isinstance(event, Book)]


async def test_public_surface_is_up_only_when_the_book_is_complete() -> None:
    async with public(Rest(100)) as (wire, events):
        wire.depth(100, 100)
        wire.depth(101, 101, "2999.5")
        await until(lambda: states(events) == [True])
        assert isinstance(events[0], Book)
        assert events[0].bids[0] == (2_999_500_000_000, NANO)
        wire.depth(102, 102, "2999.7", "2")
        await until(lambda: len(books(events)) > 1)
        assert books(events)[-1].bids[0] == (2_999_700_000_000, 2 * NANO)
        assert json.loads(wire.sent[0]) == {
            "method": "SUBSCRIBE",
            "params": [f"depth.{SYMBOL}", f"trade.{SYMBOL}"],
        }


async def test_F50_gap_takes_the_surface_down_until_a_new_snapshot_joins() -> None:
    rest = Rest(100, 104)
    async with public(rest) as (wire, events):
        await until(lambda: states(events) == [True])
        wire.depth(103, 103, "2990")
        wire.depth(104, 105, "2991")
        await until(lambda: states(events) == [True, False, True])
        down = next(e for e in events if isinstance(e, StreamState) and not e.up)
        assert down.surface is Surface.PUBLIC
        assert "gap" in down.why
        assert (2_991 * NANO, NANO) in books(events)[-1].bids


async def test_snapshot_older_than_the_updates_is_fetched_again() -> None:
    rest = Rest(90, 91, 100)
    async with public(rest) as (wire, events):
        wire.depth(101, 101)
        await until(lambda: True in states(events))
        assert len(rest.limits) == 3
        assert set(rest.limits) == {1000}


async def test_snapshots_that_never_join_end_the_connection() -> None:
    session = PublicSession(SYMBOL, Clock(), Rest(1), list[VenueEvent]().append)
    wire = FakeWire()
    wire.depth(101, 101)
    with pytest.raises(ExceptionGroup) as caught:
        await session.run(wire)
    assert isinstance(caught.value.exceptions[0], SessionLostError)


async def test_quiet_market_is_confirmed_by_rest_and_the_book_gets_younger() -> None:
    async with public(Rest(100)) as (_, events):
        await until(lambda: len(books(events)) >= 3)
        first, *_, last = books(events)
        assert first.bids == last.bids
        assert last.event_time > first.event_time
        assert states(events) == [True]


async def test_F49_silent_socket_behind_rest_is_given_up() -> None:
    session = PublicSession(SYMBOL, Clock(), Rest(100, 105), list[VenueEvent]().append)
    with pytest.raises(ExceptionGroup) as caught:
        await session.run(FakeWire())
    assert "5 updates behind" in str(caught.value.exceptions[0])


async def test_rest_one_update_ahead_of_the_socket_is_not_silence() -> None:
    rest = Rest(100, 101)
    async with public(rest) as (wire, events):
        await until(lambda: len(rest.limits) == 2)
        wire.depth(101, 101, "2999.9")
        await until(lambda: len(books(events)) >= 3)
        assert states(events) == [True]


async def test_F56_failed_check_neither_refreshes_nor_breaks_the_book() -> None:
    rest = Rest(100)
    async with public(rest) as (_, events):
        await until(lambda: states(events) == [True])
        rest.broken = True
        asked = len(rest.limits)
        await until(lambda: len(rest.limits) >= asked + 2)
        assert books(events)[-1].event_time <= 10**12 + asked * 1000
        assert states(events) == [True]


async def test_public_trades_are_passed_on() -> None:
    async with public(Rest(100)) as (wire, events):
        wire.push("trade", p="3000", q="0.5", m=True, T=5)
        wire.frames.put_nowait('{"id":1,"result":null}')
        await until(lambda: any(isinstance(event, Trade) for event in events))


@asynccontextmanager
async def private() -> AsyncIterator[tuple[FakeWire, list[VenueEvent]]]:
    wire, events = FakeWire(), list[VenueEvent]()
    session = PrivateSession(SYMBOL, Clock(), lambda names: "signed " + names[0], events.append)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(session.run(wire))
        yield wire, events
        task.cancel()


async def test_private_surface_is_up_after_a_silent_grace() -> None:
    async with private() as (wire, events):
        assert not events
        await until(lambda: states(events) == [True])
        assert wire.sent == [f"signed account.orderUpdate.{SYMBOL}"]


async def test_private_events_keep_their_order_and_open_the_surface() -> None:
    async with private() as (wire, events):
        wire.push("account.positionUpdate", s=SYMBOL, q="0.5", T=1)
        wire.push("account.orderUpdate", **UPDATE)
        wire.push("account.orderUpdate", **(UPDATE | {"e": "orderCancelled", "X": "Cancelled"}))
        await until(lambda: len(events) == 5)
        kinds = [type(event) for event in events]
        assert kinds == [StreamState, Position, OrderView, Fill, OrderView]


@pytest.mark.parametrize(
    "frame",
    [
        '{"id":null,"error":{"code":4006,"message":"Invalid stream"}}',
        "not json",
        f'{{"stream":"account.orderUpdate.{SYMBOL}","data":{{"e":"orderFill"}}}}',
    ],
)
async def test_F51_refused_or_unreadable_private_frame_ends_the_connection(frame: str) -> None:
    session = PrivateSession(SYMBOL, Clock(), lambda _: "", list[VenueEvent]().append)
    wire = FakeWire()
    wire.frames.put_nowait(frame)
    with pytest.raises(ExceptionGroup) as caught:
        await session.run(wire)
    assert isinstance(caught.value.exceptions[0], VenueError)


async def test_F52_reconnects_back_off_and_every_loss_is_reported() -> None:
    clock, events, opened = Clock(), list[VenueEvent](), list[int]()

    @asynccontextmanager
    async def connect() -> AsyncIterator[FakeWire]:
        opened.append(1)
        if len(opened) == 2:
            raise VenueUnreachable("refused")
        wire = FakeWire()
        wire.push("account.positionUpdate", s=SYMBOL, q="0", T=1)
        wire.frames.put_nowait(VenueMalformed("garbage"))
        yield wire

    def session() -> PrivateSession:
        return PrivateSession(SYMBOL, clock, lambda _: "", events.append)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(Streams(connect, clock, lambda: 0.5).run(session))
        await until(lambda: len(opened) >= 5)
        task.cancel()
    assert states(events)[:4] == [True, False, False, True]
    losses = [event for event in events if isinstance(event, StreamState) and not event.up]
    assert losses[0] == StreamState(
        Venue.BACKPACK, Surface.PRIVATE, False, "VenueMalformed: garbage"
    )
    assert "refused" in losses[1].why
    pauses = [seconds for seconds in clock.slept if seconds != streams.SETTLE_SECONDS]
    assert pauses[3] > pauses[0]


async def test_steady_connection_is_reopened_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STEADY_NS", 0)
    clock, events = Clock(), list[VenueEvent]()

    @asynccontextmanager
    async def connect() -> AsyncIterator[FakeWire]:
        wire = FakeWire()
        wire.push("account.positionUpdate", s=SYMBOL, q="0", T=1)
        wire.frames.put_nowait(SessionLostError("closed by the venue"))
        yield wire

    def session() -> PrivateSession:
        return PrivateSession(SYMBOL, clock, lambda _: "", events.append)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(Streams(connect, clock, lambda: 0.5).run(session))
        await until(lambda: states(events).count(True) >= 3)
        task.cancel()
    assert set(clock.slept) <= {0.0, streams.SETTLE_SECONDS}

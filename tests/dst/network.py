"""The network between one simulated process and the in-process venues: delay, loss, order, cuts.

What is under way belongs to the world, not to the process: a request that has left arrives although
its sender was killed, and an answer to a dead process is thrown away.
"""

import asyncio
import contextvars
import heapq
import random  # noqa: TID251 - a seeded instance drives the network
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from exchanges.errors import VenueError, VenueUnreachable
from exchanges.port import (
    Accepted,
    CancelOutcome,
    InDoubt,
    Lookup,
    NotFound,
    Outcome,
    Payload,
    Sink,
)
from exchanges.simulator.inprocess import InProcessVenue
from strategy.domain import (
    Balance,
    Book,
    Fees,
    Fill,
    Funding,
    FundingPayment,
    Instrument,
    Ns,
    OrderRef,
    OrderRequest,
    OrderView,
    Position,
    StreamState,
    Surface,
    Trade,
    Venue,
    VenueEvent,
)
from strategy.facts import Account, Mark, Readiness
from tests.simloop import WORLD, SimLoop

T = TypeVar("T")
MS = 1_000_000
READ_SECONDS = 5.0
WRITE_SECONDS = {Venue.GRVT: 3.0, Venue.BACKPACK: 5.0}
"""The deadlines of the real adapters (exchanges/grvt/sdk.py, exchanges/backpack/sdk.py)."""
SILENCE = 15.0
"""After this long without a frame the real sockets give the connection up."""
PUBLIC = (Book, Trade)


@dataclass(slots=True)
class Weather:
    """What one venue's network does to what passes; per mille where nothing else is said."""

    delay: tuple[int, int] = (1, 8)
    """One way, ms."""
    lose_request: int = 0
    lose_answer: int = 0
    lose_message: int = 0
    """Of private stream messages."""
    repeat_message: int = 0
    disorder: int = 0
    """Private messages that overtake others."""
    slow_message: int = 0
    """Private messages that come up to 3 s late, and all behind them."""
    cut: bool = False
    """Nothing passes, in neither direction (F53-F55)."""
    half_open: bool = False
    """Streams are silent, requests pass (F49)."""
    mute: frozenset[Surface] = frozenset()
    """Surfaces that stand still while the other goes on (F56)."""
    crossed: bool = False
    """Books are shown crossed (F66)."""
    told: dict[str, int] = field(default_factory=dict)
    """How often each thing happened."""

    def count(self, what: str) -> None:
        self.told[what] = self.told.get(what, 0) + 1


class Link:
    """One venue's network, for the whole episode; processes come and go."""

    def __init__(self, venue: InProcessVenue, loop: SimLoop, rng: random.Random) -> None:
        self.port = venue
        self.loop = loop
        self.rng = rng
        self.weather = Weather()
        self.sink: Sink | None = None
        """Where the running process listens."""
        self._free_at = 0
        self._queue: list[tuple[int, int, VenueEvent]] = []
        self._told_so_far = 0
        self._connection = 0
        self._context = contextvars.copy_context()
        self._heard_at = 0
        self._up = False
        self._cut_asked: bool = False
        self._under_way: asyncio.Task[None] | None = None
        self.on_send: Callable[[Payload], None] = lambda _: None
        self.on_copy: Callable[[Payload], None] = lambda _: None

    def happens(self, per_mille: int, what: str) -> bool:
        if not per_mille or self.rng.randrange(1000) >= per_mille:
            return False
        self.weather.count(what)
        return True

    def _lost(self, per_mille: int, what: str) -> bool:
        return self.weather.cut or self.happens(per_mille, what)

    def travel(self) -> float:
        low, high = self.weather.delay
        return self.rng.randint(low * 1000, high * 1000) / 1e6

    # --- requests ----------------------------------------------------------------------------

    async def call(self, work: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Carry one request and its answer; raises VenueUnreachable when none comes in time."""
        answer: asyncio.Future[T] = self.loop.create_future()
        self._under_way = self.loop.spawn(WORLD, self._carry(work, answer))
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError as late:
            raise VenueUnreachable(f"{self.port.venue}: no answer within {seconds} s") from late

    async def _carry(self, work: Callable[[], Awaitable[T]], answer: asyncio.Future[T]) -> None:
        await asyncio.sleep(self.travel())
        if self._lost(self.weather.lose_request, "request lost"):
            return
        try:
            said = await work()
        except (VenueError, ValueError) as bad:
            await asyncio.sleep(self.travel())
            if not answer.done():
                answer.set_exception(bad)
            return
        if self._lost(self.weather.lose_answer, "answer lost"):
            return
        await asyncio.sleep(self.travel())
        if not answer.done():
            answer.set_result(said)

    # --- streams -----------------------------------------------------------------------------

    async def listen(self) -> None:
        """Take the venue's stream for ever, and pass on what the network lets through."""
        await self.port.stream(self._told)

    async def watch(self) -> None:
        """Notice silence as the real sockets do, and reconnect with back-off."""
        backoff = 0.25
        while True:
            await asyncio.sleep(0.25)
            if self.sink is None:
                backoff = 0.25
                continue
            dead = self.weather.cut or self.weather.half_open
            if not dead:
                self._heard_at = self.loop.ns()
            closed = self._closing()
            if self._up and (closed or self._silent()):
                self._down("closed by the venue" if closed else "silence")
                await asyncio.sleep(backoff)
            elif not self._up and not dead:
                self._connect()
                backoff = 0.25
            elif not self._up:
                await asyncio.sleep(backoff * self.rng.random())
                backoff = min(2 * backoff, 4.0)

    def _closing(self) -> bool:
        return self._cut_asked

    def _silent(self) -> bool:
        return self.loop.ns() - self._heard_at > SILENCE * 1e9

    def reset(self) -> None:
        """Close the sockets; the client reconnects (F50, F52)."""
        self._cut_asked = True

    def attach(self, sink: Sink) -> None:
        """A process listens now."""
        self.sink = sink
        self._context = contextvars.copy_context()
        self._connect()

    def detach(self, sink: Sink | None = None) -> None:
        """Close the connection: this listener's, if another has not replaced it, or anybody's."""
        if sink is None or self.sink is sink:
            self.sink = None
            self._hang_up()

    def _hang_up(self) -> None:
        """What is under way on this connection is lost."""
        self._up = False
        self._connection += 1
        self._queue.clear()
        self._free_at = 0

    def _connect(self) -> None:
        if self.weather.cut or self.weather.half_open:
            return
        self._up, self._cut_asked = True, False
        self._heard_at = self.loop.ns()
        venue = self.port.venue
        self._deliver(StreamState(venue, Surface.PRIVATE, up=True), 0)
        self._deliver(self.port.shown(), 0)
        self._deliver(StreamState(venue, Surface.PUBLIC, up=True), 0)

    def _down(self, why: str) -> None:
        self._hang_up()
        for surface in Surface:
            self._deliver(StreamState(self.port.venue, surface, up=False, why=why), 0)

    def _told(self, event: VenueEvent) -> None:
        """Pass one message on, or not."""
        if self.sink is None or not self._up or isinstance(event, StreamState):
            return
        w = self.weather
        surface = Surface.PUBLIC if isinstance(event, PUBLIC) else Surface.PRIVATE
        if w.cut or w.half_open or surface in w.mute:
            w.count("silent")
            return
        if isinstance(event, Book) and w.crossed and event.sane:
            w.count("crossed")
            event = Book(event.venue, event.asks[:1], event.bids[:1], event.event_time)
        if surface is Surface.PUBLIC:
            self._deliver(event, self.travel())
            return
        if self.happens(w.lose_message, "message lost"):
            return
        for _ in range(2 if self.happens(w.repeat_message, "message twice") else 1):
            slow = 3.0 * self.rng.random() if self.happens(w.slow_message, "message slow") else 0
            self._deliver(
                event, self.travel() + slow, overtakes=self.happens(w.disorder, "disorder")
            )

    def _deliver(self, event: VenueEvent, delay: float, *, overtakes: bool = False) -> None:
        """Hand one message over: in order, as a socket does, unless it overtakes."""
        due = self.loop.ns() + round(delay * 1e9)
        if overtakes:
            due += self.rng.randint(1, 400) * MS
        else:
            due = self._free_at = max(due, self._free_at)
        self._told_so_far += 1
        heapq.heappush(self._queue, (due, self._told_so_far, event))
        # In the process's own context: while it is stalled its socket fills, and it reads late.
        self.loop.call_at(due / 1e9, self._hand, self._connection, context=self._context)

    def _hand(self, connection: int) -> None:
        """Give the process the next message: the queue has the order, the timer only the time."""
        if connection != self._connection or self.sink is None or not self._queue:
            return
        self.sink(heapq.heappop(self._queue)[2])


class NetPort:
    """A ``VenuePort`` of one process: everything goes over the link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._port = link.port
        self.dead = False
        """The process was killed: nothing leaves it any more."""

    @property
    def venue(self) -> Venue:
        return self._port.venue

    async def _read(self, work: Callable[[], Awaitable[T]]) -> T:
        if self.dead:
            raise asyncio.CancelledError
        return await self._link.call(work, READ_SECONDS)

    async def open(self) -> None:
        await self._read(self._port.open)

    async def close(self) -> None:
        self._link.detach()

    async def load(self, base: str) -> Instrument:
        return await self._read(lambda: self._port.load(base))

    async def server_time(self) -> Ns:
        return await self._read(self._port.server_time)

    def prepare(self, request: OrderRequest) -> Payload:
        return self._port.prepare(request)

    async def submit(self, payload: Payload) -> Outcome:
        if self.dead:
            raise asyncio.CancelledError
        self._link.on_send(payload)
        try:
            return await self._link.call(
                lambda: self._port.submit(payload), WRITE_SECONDS[self.venue]
            )
        except VenueUnreachable as late:
            return InDoubt(str(late))

    async def cancel(self, ref: OrderRef) -> CancelOutcome:
        return await self._write(lambda: self._port.cancel(ref))

    async def cancel_all(self) -> CancelOutcome:
        return await self._write(self._port.cancel_all)

    async def resend(self, payload: Payload) -> Accepted | InDoubt:
        """Send the same bytes again: S3 and S4 hold for a copy, too (its approval is its own)."""
        if self.dead:
            raise asyncio.CancelledError
        self._link.on_copy(payload)
        try:
            return await self._link.call(
                lambda: self._port.resend(payload), WRITE_SECONDS[self.venue]
            )
        except VenueUnreachable as late:
            return InDoubt(str(late))

    async def bury(self, ref: OrderRef) -> CancelOutcome:
        return await self._write(lambda: self._port.bury(ref))

    async def dead_man(self, countdown: Ns) -> CancelOutcome:
        return await self._write(lambda: self._port.dead_man(countdown))

    async def tradable(self) -> bool:
        return await self._read(self._port.tradable)

    async def _write(self, work: Callable[[], Awaitable[CancelOutcome]]) -> CancelOutcome:
        if self.dead:
            raise asyncio.CancelledError
        try:
            return await self._link.call(work, WRITE_SECONDS[self.venue])
        except VenueUnreachable as late:
            return InDoubt(str(late))

    async def lookup(self, ref: OrderRef, since: Ns) -> Lookup:
        if self.dead:
            raise asyncio.CancelledError
        try:
            return await self._link.call(lambda: self._port.lookup(ref, since), READ_SECONDS)
        except VenueUnreachable as late:
            return InDoubt(str(late))

    async def open_orders(self) -> tuple[OrderView, ...]:
        return await self._read(self._port.open_orders)

    async def position(self) -> Position:
        return await self._read(self._port.position)

    async def fills(self, since: Ns) -> tuple[Fill, ...]:
        return await self._read(lambda: self._port.fills(since))

    async def book(self, depth: int) -> Book:
        return await self._read(lambda: self._port.book(depth))

    async def balance(self) -> Balance:
        return await self._read(self._port.balance)

    async def account(self) -> Account:
        return await self._read(self._port.account)

    async def mark(self) -> Mark:
        return await self._read(self._port.mark)

    def readiness(self) -> Readiness:
        return self._port.readiness()

    async def fees(self) -> Fees:
        return await self._read(self._port.fees)

    async def funding(self) -> Funding:
        return await self._read(self._port.funding)

    async def funding_payments(self, since: Ns) -> tuple[FundingPayment, ...]:
        return await self._read(lambda: self._port.funding_payments(since))

    async def stream(self, sink: Sink) -> None:
        def mine(event: VenueEvent) -> None:
            sink(event)

        self._link.attach(mine)
        try:
            await asyncio.Event().wait()
        finally:
            self._link.detach(mine)


class OpenOrdersOnly(NetPort):
    """A port whose lookup asks the open orders alone: a broken policy for the oracles to catch."""

    async def lookup(self, ref: OrderRef, since: Ns) -> Lookup:
        found = await super().lookup(ref, since)
        view = getattr(found, "view", None)
        if view is not None and view.status.terminal:
            return NotFound("open orders")
        return found

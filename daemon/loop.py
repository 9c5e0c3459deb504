"""The daemon's loop: events in, decisions, commands out. I/O without decisions."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from daemon.account import AccountReader
from daemon.core import Core
from daemon.inbox import Inbox
from daemon.metrics import RunMetrics
from daemon.narrator import Narrator
from daemon.outbox import Outbox
from daemon.resolver import Resolver
from daemon.stuck import may_trade
from daemon.venue_watch import VenueWatch
from exchanges.errors import VenueError, VenueForbidden, VenueUnreachable
from exchanges.port import VenuePort, WallClock
from safety.guards import Trip
from safety.reasons import Reason
from strategy.decide import unhedged
from strategy.domain import Mode, Now, Ns, StreamState, Surface, Venue, VenueEvent, bps_text, plain
from strategy.events import CyclePhase, LatchMoved, Seen, StopAsked
from strategy.params import SECOND
from strategy.world import Order, World

EXIT_OK = 0
EXIT_HALTED = 77
EXIT_HUMAN = 78
IDLE = 0.02
"""Seconds between time-driven decisions when nothing arrives."""
POLL = 0.1
POSITION_EVERY = Ns(5 * SECOND)
POSITION_SOON = Ns(SECOND // 2)
"""While closing down or flattening."""
FILLS_EVERY = Ns(SECOND)
MARGIN_EVERY = Ns(5 * SECOND)
"""Margin, leverage and mark prices."""
CLOCK_EVERY = Ns(10 * SECOND)
ACCOUNT_EVERY = Ns(60 * SECOND)
"""Funding and fees."""
NEVER = Ns(-(1 << 62))
PROGRESS_EVERY = Ns(10 * SECOND)
STOP_LIMIT = Ns(24 * SECOND)
"""After this an orderly stop gives up; what is under way and the proof end within 30 s, then."""
VERIFY_LIMIT = Ns(15 * SECOND)
MISMATCHES = 3
"""Agreeing reads of an unexplained position before it trips the latch (F73)."""
SETTLE = Ns(2 * SECOND)


@dataclass(slots=True)
class _Poll:
    positions_at: Ns = Ns(0)
    fills_at: Ns = Ns(0)
    progress_at: Ns = Ns(0)
    margin_at: Ns = NEVER
    clock_at: Ns = NEVER
    account_at: Ns = NEVER
    resolving: set[int] | None = None
    reading: bool = False


class Loop:
    """Runs one core against two ports until it is done, stopped or halted."""

    def __init__(
        self,
        core: Core,
        ports: Mapping[Venue, VenuePort],
        resolver: Resolver,
        narrator: Narrator,
        metrics: RunMetrics,
        clock: WallClock,
        patience: Ns,
    ) -> None:
        self.core = core
        self._ports = ports
        self._resolver = resolver
        self._narrator = narrator
        self._metrics = metrics
        self._clock = clock
        self._patience = patience
        self._idle_at = clock.mono()
        self.inbox = Inbox()
        self._account = AccountReader(ports, core.journal, self.inbox.put, clock)
        self._watch = VenueWatch(core, ports, resolver, narrator, clock, self.inbox.put)
        self._acts: list[Callable[[Now], None]] = []
        self._poll_state = _Poll(resolving=set())
        self._mismatch: dict[Venue, int] = {}
        self._stop_at: Ns | None = None
        self._done_at: Ns | None = None
        self._streams: list[asyncio.Task[None]] = []
        self._questions: list[asyncio.Task[None]] = []
        """Reads under way: nobody waits for them at the end."""
        self.flatten_by: Ns | None = None
        """Monotonic time at which a flatten ends, whatever is left; None: it keeps trying."""
        self.on_turn: Callable[[], bool] = lambda: False
        """Called before every decision; true when too much time was lost since the last (F36)."""
        self.on_tick: Callable[[World], None] = lambda _: None
        """Called after every completed decision (watchdog, status)."""

    def now(self) -> Now:
        """Read both clocks."""
        return Now(self._clock.mono(), self._clock.wall())

    def soon(self, act: Callable[[Now], None]) -> None:
        """Run something between two decisions, where a failure ends the run in order."""
        self._acts.append(act)
        self.inbox.poke()

    def stop(self, *, flatten: bool) -> None:
        """Ask for an orderly stop; safe from a signal handler."""
        self.inbox.put(StopAsked(flatten, self.now()))

    async def run(self) -> int:
        """Trade until the end; returns the exit code."""
        async with asyncio.TaskGroup() as tasks:
            ttl = self.core.settings.limits.approval_ttl
            outbox = Outbox(
                self._ports, self.inbox, self.now, tasks, self._metrics, ttl, self._narrator
            )
            self._streams = self._stream(tasks)
            poll = tasks.create_task(self._poll(tasks))
            code = await self._work(outbox, tasks)
            for task in (*self._streams, poll, *self._questions):
                task.cancel()
        return code

    def _stream(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        return [tasks.create_task(p.stream(self._sink)) for p in self._ports.values()]

    def _forget_streams(self, tasks: asyncio.TaskGroup) -> None:
        """After lost time: what sockets still hold is old, so open new ones and read everything."""
        for task in self._streams:
            task.cancel()
        now = self.now()
        self.inbox.drain_streams()
        for venue in self._ports:
            for surface in Surface:
                self.core.on(Seen(StreamState(venue, surface, up=False), now, "stream"))
        self._streams = self._stream(tasks)
        self._poll_state.positions_at = self._poll_state.fills_at = NEVER

    def _sink(self, event: VenueEvent) -> None:
        self.inbox.put(Seen(event, self.now(), "stream"))

    async def _work(self, outbox: Outbox, tasks: asyncio.TaskGroup) -> int:
        """Decide after every event, and on time alone."""
        while True:
            await self.inbox.wait(IDLE)
            if self.on_turn():
                self._forget_streams(tasks)
            for event in self.inbox.drain():
                self.core.on(event)
                self._account.heard(event, self.core.world)
                self._watch.heard(event)
            while self._acts:
                self._acts.pop(0)(self.now())
            for event in self._account.readiness(self.core.world):
                self.core.on(event)
            fill_at = self.core.world.naked_since
            commands = self.core.tick()
            if commands or self.core.world.cycle.phase is CyclePhase.HOLD:
                self._idle_at = self._clock.mono()
            outbox.dispatch(commands, fill_at)
            self._watch.ticked(tasks)
            self.on_tick(self.core.world)
            code = self._finished(outbox)
            if code is not None:
                return code

    # --- ending ----------------------------------------------------------------------------

    def _finished(self, outbox: Outbox) -> int | None:
        w, now = self.core.world, self.now()
        quiet = not any(w.live()) and not outbox.pending and not unhedged(w)
        if w.stopping and self._stop_at is None:
            self._stop_at = now.mono
        if w.mode is Mode.HALTED and not may_trade(w, now) and not outbox.pending:
            return self._halted(w)
        if w.mode is not Mode.RUNNING:
            return self._overdue(w, now) or self._give_up(w, now)
        if w.stopping and quiet:
            return self._stopped(w, now)
        if w.cycle.phase is CyclePhase.DONE and quiet:
            return self._completed(w, now)
        return self._give_up(w, now)

    def _halted(self, w: World) -> int:
        """End halted, unless the latch was only the way to flatten on exit."""
        if w.stopping and w.flatten_on_stop and w.reason == Reason.OPERATOR.value:
            self.core.on(LatchMoved(Mode.RUNNING, "", self.now()))
            return EXIT_OK
        return EXIT_HUMAN if self.core.journal.lost else EXIT_HALTED

    def _overdue(self, w: World, now: Now) -> int | None:
        """End a flatten that has a limit, with what is left named, rather than try for ever."""
        if self.flatten_by is None or now.mono < self.flatten_by:
            return None
        left = " ".join(f"{v} {plain(leg.position)}" for v, leg in w.legs.items())
        self.core.on(LatchMoved(Mode.HALTED, f"{w.reason}; residual {left}", now))
        return EXIT_HALTED

    def _stopped(self, w: World, now: Now) -> int | None:
        open_legs = any(leg.position for leg in w.legs.values())
        if w.flatten_on_stop and open_legs:
            self.core.on(LatchMoved(Mode.FLATTENING, Reason.OPERATOR.value, now))
            return None
        if open_legs:
            self._narrator.line(
                "warning", "SHUTDOWN", "positions_kept",
                backpack=plain(w.primary.position), grvt=plain(w.hedge_leg.position),
                net=plain(w.net),
            )  # fmt: skip
        return EXIT_OK

    def _completed(self, w: World, now: Now) -> int | None:
        """All iterations done: leave once both venues confirm that nothing is left."""
        if self._done_at is None:
            self._done_at = now.mono
            self._poll_state.positions_at = Ns(0)
        if self.core.verified_flat():
            return EXIT_OK
        if now.mono - self._done_at > VERIFY_LIMIT:
            self._narrator.line(
                "error", "ALERT", "not_flat",
                backpack=plain(w.primary.position), grvt=plain(w.hedge_leg.position),
            )  # fmt: skip
            return EXIT_HUMAN
        return None

    def _give_up(self, w: World, now: Now) -> int | None:
        """Bound an orderly stop: name the residual rather than hang."""
        if self._stop_at is None or now.mono - self._stop_at < STOP_LIMIT:
            return None
        live = ", ".join(str(o.request.client_id) for o in w.live()) or "none"
        self._narrator.line(
            "error", "ALERT", "stop_incomplete", net=plain(w.net),
            backpack=plain(w.primary.position), grvt=plain(w.hedge_leg.position), orders=live,
        )  # fmt: skip
        return EXIT_HUMAN

    # --- reading what no stream says ---------------------------------------------------------

    async def _poll(self, tasks: asyncio.TaskGroup) -> None:
        """Start lookups, position reads and fill catch-up whenever they are due."""
        while True:
            await self._clock.sleep(POLL)
            now, w = self.now(), self.core.world
            resolving = self._poll_state.resolving
            for order in self._resolver.due(w, now):
                client_id = order.request.client_id
                if resolving is not None and client_id not in resolving:
                    resolving.add(client_id)
                    self._questions.append(tasks.create_task(self._resolve(order)))
            if not self._poll_state.reading:
                self._poll_state.reading = True
                self._questions.append(tasks.create_task(self._read(w, now)))
            self._questions = [task for task in self._questions if not task.done()]
            if now.mono - self._poll_state.progress_at >= PROGRESS_EVERY:
                self._poll_state.progress_at = now.mono
                self._progress(w)
                self._alert_idle(w, now)

    async def _resolve(self, order: Order) -> None:
        client_id = order.request.client_id
        try:
            expected = self.core.world.legs[order.request.venue].position
            for event in await self._resolver.resolve(order, expected):
                self._count_rescue(order, event)
                self.inbox.put(event)
        finally:
            if self._poll_state.resolving is not None:
                self._poll_state.resolving.discard(client_id)

    def _count_rescue(self, order: Order, event: object) -> None:
        """A hedge whose outcome only a lookup told us ran degraded: count it."""
        current = self.core.world.orders.get(order.request.client_id)
        told = isinstance(event, Seen) and getattr(event.event, "status", None) is not None
        if not order.draft.hedge_id or current is None or not current.live or not told:
            return
        status = event.event.status  # type: ignore[attr-defined]  # ``told`` checked it
        if status.terminal:
            self._narrator.degraded("outcome by lookup", order=order.request.client_id)

    async def _read(self, w: World, now: Now) -> None:
        """Read what is due, venue by venue: one that fails never starves the other."""
        state = self._poll_state
        try:
            ending = w.mode is not Mode.RUNNING or w.stopping or self._done_at is not None
            every = POSITION_SOON if ending or self._account.suspects else POSITION_EVERY
            due: list[Callable[[Venue], Awaitable[None]]] = []
            if now.mono - state.positions_at >= every or self._watch.positions_due(now):
                state.positions_at = now.mono
                due.append(self._read_position)
            if now.mono - state.fills_at >= FILLS_EVERY:
                state.fills_at = now.mono
                due.append(self._read_fills)
            if now.mono - state.margin_at >= MARGIN_EVERY:
                state.margin_at = now.mono
                due.append(self._account.margin)
            if now.mono - state.clock_at >= CLOCK_EVERY:
                state.clock_at = now.mono
                due.append(self._account.clock)
            if now.mono - state.account_at >= ACCOUNT_EVERY:
                state.account_at = now.mono
                due.append(self._account.slow)
            due += [self._account.rules, *self._watch.due(now)]
            for venue in self._ports:
                await self._read_venue(venue, due)
        finally:
            state.reading = False

    async def _read_venue(
        self, venue: Venue, due: list[Callable[[Venue], Awaitable[None]]]
    ) -> None:
        for read in due:
            try:
                await read(venue)
            except VenueForbidden as bad:
                self._account.refused(venue, str(bad))
                return
            except VenueError as bad:
                key = f"{venue}:{bad}"
                self._narrator.once(
                    "warning", "VENUE", "read_failed", key, venue=venue.value, why=str(bad)
                )
                if isinstance(bad, VenueUnreachable):
                    return  # the next one would wait for its deadline, too

    async def _read_position(self, venue: Venue) -> None:
        position = await self._ports[venue].position()
        at = self.now()
        self.inbox.put(Seen(position, at, "rest"))
        self._account.granted(self.core.world, venue)
        self._compare(venue, position.qty, at)

    def _compare(self, venue: Venue, stated: int, at: Now) -> None:
        """Trip the latch on a position that nothing in flight explains (F73)."""
        w = self.core.world
        leg = w.legs[venue]
        ended = max(
            (o.over_at or Ns(0) for o in w.orders.values() if o.cum and o.request.venue is venue),
            default=Ns(0),
        )
        apart = stated - leg.position
        in_flight = -w.reserved(venue, -1) <= apart <= w.reserved(venue, 1)
        if at.mono - ended <= SETTLE:
            return  # a fill may still be on its way into the read: it says nothing yet
        if not apart or in_flight:
            self._mismatch.pop(venue, None)
            return
        count = self._mismatch.get(venue, 0) + 1
        self._mismatch[venue] = count
        detail = f"{venue} says {plain(stated)}, books say {plain(leg.position)}"
        key = f"{detail}:{min(count, MISMATCHES)}"
        self._narrator.once("warning", "RECONCILE", "mismatch", key, what=detail, reads=count)
        if count >= MISMATCHES:
            trip = Trip(Reason.POSITION_MISMATCH, f"residual {plain(apart)}: {detail}")
            self.soon(lambda now: self.core.trip(trip, now))

    async def _read_fills(self, venue: Venue) -> None:
        """Fetch fill details of orders that traded more than their fills say (F24)."""
        w, now = self.core.world, self.now()
        late = [
            o
            for o in w.orders.values()
            if o.request.venue is venue and o.cum != o.filled and o.sent.mono < now.mono - SECOND
        ]
        if not late:
            return
        since = Ns(min(o.sent.wall for o in late) - 5 * SECOND)
        ids = {o.request.client_id for o in late}
        for fill in await self._ports[venue].fills(since):
            if fill.client_id in ids:
                self.inbox.put(Seen(fill, self.now(), "rest"))

    def _alert_idle(self, w: World, now: Now) -> None:
        """Alert while nothing has been sent for long and nothing rests."""
        idle = now.mono - self._idle_at
        if idle >= self._patience and not any(w.live()) and w.mode is Mode.RUNNING:
            self._narrator.line("warning", "ALERT", "idle", seconds=idle // SECOND)

    def _progress(self, w: World) -> None:
        pnl = w.day_pnl()
        self._narrator.line(
            "info",
            "METRICS",
            "progress",
            iteration=w.cycle.iteration,
            phase=w.cycle.phase.value,
            backpack=plain(w.primary.position),
            grvt=plain(w.hedge_leg.position),
            net=plain(w.net),
            basis_bps="unknown" if w.basis is None else bps_text(w.basis.mean),
            day_pnl="unknown" if pnl is None else plain(pnl // 1_000_000 * 1_000_000),
            mode=w.mode.name,
            degraded=self._metrics.degraded,
        )

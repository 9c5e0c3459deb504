"""The supervisor beside the decision loop: quarantine, dead-man's switches, the standing audit.

``heard`` takes every event after it was folded, ``ticked`` every completed decision: nothing here
runs on a timer of its own, so that a loop which is stuck is not covered up (faults.md section 7).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from daemon.audit import Auditor
from daemon.core import Core
from daemon.deadman import DeadMan
from daemon.narrator import Narrator
from daemon.quarantine import Watch
from daemon.resolver import Resolver
from exchanges.port import Probes, VenuePort, WallClock
from strategy.domain import Fill, Now, Ns, Position, StreamState, Surface, Venue
from strategy.events import Event, Seen, VenueRead
from strategy.facts import Quarantine
from strategy.params import SECOND

AUDIT_EVERY = Ns(5 * SECOND)
PROBE_EVERY = Ns(5 * SECOND)
LATE = Ns(5 * SECOND)
"""A pause of the decision loop after which nothing that it knew is believed (F36, F37)."""
SETTLE = Ns(2 * SECOND)
"""A fill is in every surface of its venue after this."""


class VenueWatch:
    """Watches both venues for one loop.

    Args:
        core: the single writer.
        ports: the venues.
        resolver: asks for single orders.
        narrator: says what changed.
        clock: monotonic and wall time.
        put: takes events from reads.
    """

    def __init__(
        self,
        core: Core,
        ports: Mapping[Venue, VenuePort],
        resolver: Resolver,
        narrator: Narrator,
        clock: WallClock,
        put: Callable[[Event], None],
    ) -> None:
        self._core = core
        self._ports = ports
        self._resolver = resolver
        self._narrator = narrator
        self._clock = clock
        self._watch = Watch()
        self._auditor = Auditor(core, ports, narrator, self._now, put)
        self.dead_man = DeadMan(ports, narrator, clock)
        self._beat: Ns | None = None
        self._audited_at = Ns(-AUDIT_EVERY)
        self._probed_at = Ns(-PROBE_EVERY)
        self._check_at: Ns | None = None
        """When positions should be read for a fill or a reconnect."""

    def _now(self) -> Now:
        return Now(self._clock.mono(), self._clock.wall())

    # --- from the decision loop --------------------------------------------------------------

    def heard(self, event: Event) -> None:
        """Take an event that was folded."""
        now = self._now()
        self._watch.on(event, self._core.world, now)
        if isinstance(event, Seen):
            self._seen(event, now)

    def _seen(self, seen: Seen, now: Now) -> None:
        what = seen.event
        if isinstance(what, StreamState) and what.up and what.surface is Surface.PRIVATE:
            # a reconnect: what the stream did not say is read at once
            self._audited_at = Ns(now.mono - AUDIT_EVERY)
            self._check_at = now.mono
        elif (isinstance(what, Fill) and seen.source == "stream") or (
            isinstance(what, Position)
            and seen.source == "stream"
            and what.qty != self._core.world.legs[what.venue].position
        ):
            self._soon(Ns(now.mono + SETTLE))

    def _soon(self, at: Ns) -> None:
        self._check_at = at if self._check_at is None else min(self._check_at, at)

    def ticked(self, tasks: asyncio.TaskGroup) -> None:
        """Take a completed decision."""
        now, w = self._now(), self._core.world
        if self._beat is not None and now.mono - self._beat > LATE:
            self._watch.late(now)
            self._check_at = now.mono
        self._beat = now.mono
        for venue in self._watch.failed_over | self._auditor.suspect:
            self._resolver.ask_all(venue, now)
        if self._watch.failed_over:
            self._check_at = now.mono
        self._watch.failed_over.clear()
        self._auditor.suspect.clear()
        for moved in self._watch.tick(w, now):
            self._core.on(moved)
            self._say(moved)
        self.dead_man.ticked(w, now, tasks)

    def _say(self, moved: VenueRead) -> None:
        fact = moved.fact
        if isinstance(fact, Quarantine) and fact.why:
            self._narrator.line(
                "error", "ALERT", "venue_quarantined", venue=fact.venue.value, why=fact.why
            )
        else:
            self._narrator.line("info", "VENUE", "quarantine_over", venue=moved.venue.value)

    # --- reads -------------------------------------------------------------------------------

    def positions_due(self, now: Now) -> bool:
        """True once when a fill, a reconnect or a failover asks for positions to be read."""
        due = self._check_at is not None and now.mono >= self._check_at
        if due:
            self._check_at = None
        return due

    def due(self, now: Now) -> list[Callable[[Venue], Awaitable[None]]]:
        """Return the reads that are due for every venue."""
        reads: list[Callable[[Venue], Awaitable[None]]] = []
        if now.mono - self._audited_at >= AUDIT_EVERY:
            self._audited_at = now.mono
            reads.append(self._auditor.look)
        if now.mono - self._probed_at >= PROBE_EVERY and any(map(self._watch.halted, Venue)):
            self._probed_at = now.mono
            reads.append(self._probe)
        return reads

    async def _probe(self, venue: Venue) -> None:
        """Ask a halted market whether it trades again; raises VenueError."""
        port = self._ports[venue]
        if not self._watch.halted(venue):
            return
        if not isinstance(port, Probes) or await port.tradable():
            self._watch.reopened(venue)

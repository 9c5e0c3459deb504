"""Carries commands to the venues and their outcomes back. Decides nothing, retries nothing."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

from daemon.core import CancelOrder, Command, Send
from daemon.inbox import Inbox
from daemon.metrics import RunMetrics
from daemon.narrator import Narrator
from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelOutcome,
    InDoubt,
    Outcome,
    Refused,
    VenuePort,
)
from strategy.domain import ClientId, Now, Ns, Venue
from strategy.events import OrderAnswered, Seen, Verdict

CANCELS_FAILING = 3
"""Cancels in a row that a venue did not take before a person is told (F59)."""


class Outbox:
    """One task per command, inside the daemon's task group.

    Attributes:
        pending: commands under way.
        counts: cancels that were not simply taken, by ``"venue what"``.
    """

    def __init__(
        self,
        ports: Mapping[Venue, VenuePort],
        inbox: Inbox,
        now: Callable[[], Now],
        tasks: asyncio.TaskGroup,
        metrics: RunMetrics,
        approval_ttl: Ns,
        narrator: Narrator | None = None,
    ) -> None:
        self._ports = ports
        self._inbox = inbox
        self._now = now
        self._tasks = tasks
        self._metrics = metrics
        self._approval_ttl = approval_ttl
        self._narrator = narrator
        self.pending = 0
        self.counts: Counter[str] = Counter()
        self._failing: Counter[Venue] = Counter()

    def dispatch(self, commands: list[Command], fill_at: Ns | None) -> None:
        """Start every command; ``fill_at`` is when the running hedge's oldest fill arrived."""
        for command in commands:
            self.pending += 1
            if isinstance(command, Send):
                self._tasks.create_task(self._send(command, fill_at))
            else:
                self._tasks.create_task(self._cancel(command))

    async def _send(self, command: Send, fill_at: Ns | None) -> None:
        client_id = command.payload.request.client_id
        try:
            now = self._now()
            if not command.approved.good(now.mono, self._approval_ttl):
                stale = Refused("approval_expired", "waited too long to be sent")
                self._inbox.put(answered(client_id, stale, now))
                return
            hedge_id = command.approved.draft.hedge_id
            if hedge_id and fill_at is not None:
                self._metrics.hedge_sent(hedge_id, fill_at, now.mono)
            outcome = await self._ports[command.payload.request.venue].submit(command.payload)
            self._inbox.put(answered(client_id, outcome, self._now()))
        finally:
            self.pending -= 1

    async def _cancel(self, command: CancelOrder) -> None:
        try:
            outcome = await self._ports[command.venue].cancel(command.ref)
            if isinstance(outcome, CancelAccepted) and outcome.view is not None:
                self._inbox.put(Seen(outcome.view, self._now(), "cancel"))
            self._told(command, outcome)
            # Every other answer leaves the order as it is: the resolver looks it up (REQ-5).
            self._inbox.poke()
        finally:
            self.pending -= 1

    def _told(self, command: CancelOrder, outcome: CancelOutcome) -> None:
        """Count and say what a cancel met; a venue that takes none is alerted (F59)."""
        venue, number = command.venue, command.ref.client_id
        failed = isinstance(outcome, InDoubt)
        self._failing[venue] = self._failing[venue] + 1 if failed else 0
        if isinstance(outcome, CancelAccepted):
            return
        what = "cancel_failed" if failed else "cancel_unknown"
        why = outcome.why if isinstance(outcome, InDoubt) else outcome.code
        self.counts[f"{venue} {what}"] += 1
        if self._narrator is None:
            return
        level, key = ("warning" if failed else "info"), f"{number}:{why}"
        self._narrator.once(level, "VENUE", what, key, venue=venue.value, order=number, why=why)
        if self._failing[venue] == CANCELS_FAILING:
            self._narrator.line(
                "error", "ALERT", "cancels_fail", venue=venue.value, order=number, why=why
            )


def answered(client_id: ClientId, outcome: Outcome, at: Now) -> OrderAnswered:
    """Turn a three-way outcome into its event."""
    match outcome:
        case Accepted():
            return OrderAnswered(client_id, Verdict.ACCEPTED, at, view=outcome.view)
        case Refused():
            return OrderAnswered(
                client_id,
                Verdict.REFUSED,
                at,
                code=outcome.code,
                message=outcome.message,
                post_only_cross=outcome.post_only_cross,
            )
        case InDoubt():
            return OrderAnswered(client_id, Verdict.IN_DOUBT, at, message=outcome.why)

"""Dead-man's switches: what may rest ends by itself when the decision loop stops deciding.

GRVT cancels everything unless its countdown is refreshed. The refresh is started by a completed
decision and by nothing else: a loop that is stuck, stopped or dead lets it fire (F36, F37, F46).
Backpack has no such switch (venues.md 0.1): there ``hedged-guard`` cancels from outside.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from daemon.narrator import Narrator
from exchanges.port import CancelAccepted, DeadManSwitch, InDoubt, VenuePort, WallClock
from strategy.domain import Now, Ns, Tif, Venue
from strategy.params import SECOND
from strategy.world import World

COUNTDOWN = Ns(15 * SECOND)
"""After this without a refresh the venue cancels all orders."""
REFRESH = Ns(5 * SECOND)
RETRY = Ns(1_500_000_000)
"""The venue takes about one call a second (venues.md A5.7)."""


@dataclass(slots=True)
class _Switch:
    port: DeadManSwitch
    asked_at: Ns = Ns(-(1 << 62))
    wanted_at: Ns = Ns(-(1 << 62))
    """When an order last might have rested."""
    until: Ns | None = None
    """Until when the venue is sure to hold it; None while disarmed."""
    asking: bool = False
    lost: bool = False


class DeadMan:
    """Keeps the switches armed while orders may rest."""

    def __init__(
        self, ports: Mapping[Venue, VenuePort], narrator: Narrator, clock: WallClock
    ) -> None:
        self._switches = {
            venue: _Switch(port) for venue, port in ports.items() if isinstance(port, DeadManSwitch)
        }
        self._narrator = narrator
        self._clock = clock

    def armed(self, venue: Venue) -> bool:
        """True while a venue has promised to cancel what we leave behind."""
        switch = self._switches.get(venue)
        return switch is not None and switch.until is not None and not switch.lost

    def ticked(self, w: World, now: Now, tasks: asyncio.TaskGroup) -> None:
        """Refresh what is due, after a completed decision."""
        for venue, switch in self._switches.items():
            if any(order.request.tif is Tif.GTC for order in w.live(venue)):
                switch.wanted_at = now.mono
            countdown = self._due(switch, now)
            if countdown is not None and not switch.asking:
                switch.asking, switch.asked_at = True, now.mono
                tasks.create_task(self._ask(venue, switch, countdown))

    @staticmethod
    def _due(switch: _Switch, now: Now) -> Ns | None:
        """Return the countdown to ask for now, 0 to disarm; None while nothing is due."""
        wanted = now.mono - switch.wanted_at < REFRESH
        if not wanted and switch.until is None:
            return None
        if now.mono - switch.asked_at < (RETRY if switch.lost or not wanted else REFRESH):
            return None
        return COUNTDOWN if wanted else Ns(0)

    async def _ask(self, venue: Venue, switch: _Switch, countdown: Ns) -> None:
        asked = self._clock.mono()
        try:
            outcome = await switch.port.dead_man(countdown)
        finally:
            switch.asking = False
        if isinstance(outcome, CancelAccepted):
            switch.until = Ns(asked + countdown) if countdown else None
            if switch.lost:
                self._narrator.line("info", "SAFETY", "dead_man_back", venue=venue.value)
            switch.lost = False
            return
        if not countdown:  # it fires on an empty book, or is disarmed the next time
            return
        switch.asked_at = asked  # again after ``RETRY``
        why = outcome.why if isinstance(outcome, InDoubt) else outcome.code
        if not switch.lost:
            switch.lost = True
            self._narrator.line("error", "ALERT", "dead_man_lost", venue=venue.value, why=why)

"""What the in-process venue keeps for later: cancels that wait, and the dead-man switch (A5.7).

Imports ``strategy.domain`` and simulator modules only.
"""

from exchanges.simulator.universe import Universe
from strategy.domain import NANO, Ns, Venue

BURIED = Ns(5 * NANO)
"""How long a cancel waits for its order."""


class Waiting:
    """Cancels in advance and the countdown of one venue's own account."""

    def __init__(self, universe: Universe, venue: Venue) -> None:
        self._universe = universe
        self._engine = universe.engines[venue]
        self._account = universe.account(venue)
        self._buried: dict[str, Ns] = {}
        self._lapse_at: Ns | None = None

    def bury(self, number: str) -> None:
        """Let a cancel wait for the order with that client id."""
        self._buried[number] = Ns(self._universe.driver.now() + BURIED)

    def catches(self, number: str) -> bool:
        """True when a cancel still waits for that order; it waits no longer then."""
        return self._buried.pop(number, Ns(0)) > self._universe.driver.now()

    def arm(self, countdown: Ns) -> None:
        """Cancel everything ``countdown`` from now unless armed again before; 0 disarms."""
        self._lapse_at = None
        if countdown:
            due = self._lapse_at = Ns(self._universe.driver.now() + countdown)
            self._universe.call_at(due, lambda: self._lapse(due))

    def _lapse(self, due: Ns) -> None:
        if self._lapse_at == due:
            self._lapse_at = None
            self._engine.cancel_all(self._universe.driver.now(), self._account.account_id)

"""The standing audit: resting orders and fills of both venues against the journal, every 5 s.

Positions are compared by the loop (F73); this looks at what a position cannot show: orders of
others, orders that came back, orders that vanished, and executions that nobody told us. Whatever is
found becomes an event or a question, never an invented fill.
"""

from collections.abc import Callable, Mapping

from daemon.core import Core
from daemon.narrator import Narrator
from daemon.reconcile import Finding, booked, fill_findings, order_findings
from exchanges.port import VenuePort
from strategy.domain import Fill, Now, Ns, OrderRef, Venue
from strategy.events import Event, Seen, VenueRead
from strategy.facts import Quarantine
from strategy.fold import match_order
from strategy.params import SECOND

OVERLAP = Ns(60 * SECOND)
"""How far before the last audit fills are read again: histories lag."""


class Auditor:
    """Asks both venues for what they have of ours, and acts on what differs.

    Args:
        core: the books and the journal.
        ports: the venues.
        narrator: told of every finding.
        now: both clocks.
        put: takes the events that follow.
    """

    def __init__(
        self,
        core: Core,
        ports: Mapping[Venue, VenuePort],
        narrator: Narrator,
        now: Callable[[], Now],
        put: Callable[[Event], None],
    ) -> None:
        self._core = core
        self._ports = ports
        self._narrator = narrator
        self._now = now
        self._put = put
        self._audited: dict[Venue, Ns] = {}
        """Wall time of each venue's last whole audit."""
        self.suspect: set[Venue] = set()
        """Venues that do not list an order of ours: each of ours should be asked for."""

    async def look(self, venue: Venue) -> None:
        """Audit one venue once; raises VenueError."""
        asked = self._now()
        port = self._ports[venue]
        resting = await port.open_orders()
        since = self._audited.get(venue, asked.wall) - OVERLAP
        fills = await port.fills(Ns(max(since, self._core.journal.born)))
        for finding in order_findings(self._core.world, venue, resting, asked.mono):
            await self._order(finding)
        self._fills(fills)
        self._audited[venue] = asked.wall

    async def _order(self, finding: Finding) -> None:
        venue, view = finding.venue, finding.view
        if view is None:
            # Nothing is wrong yet: its end may be on its way. The resolver asks for it by name.
            self.suspect.add(venue)
            return
        key = f"{finding.kind}:{finding.detail}"
        self._narrator.once(
            "error", "RECONCILE", finding.kind, key, venue=venue.value, what=finding.detail
        )
        if finding.kind == "open_order":
            self._put(Seen(view, self._now(), "rest"))  # the fold knows foreign activity (F25)
        elif view.client_id is not None:
            # Ours, ended by the venue's own word, and it rests again: the venue contradicts.
            await self._ports[venue].cancel(
                OrderRef(view.client_id, view.symbol, view.venue_order_id)
            )
            why = f"order {view.client_id} had ended and rests again"
            self._put(VenueRead(Quarantine(venue, why), self._now()))

    def _fills(self, fills: tuple[Fill, ...]) -> None:
        """Book executions of ours that no message told; name those of others."""
        w, journal = self._core.world, self._core.journal
        for fill in fills:
            ours = match_order(w, fill.venue, fill.client_id, fill.venue_order_id)
            if ours is not None and fill.trade_id not in ours.trades:
                self._put(Seen(fill, self._now(), "rest"))
        for finding, fill in fill_findings(w, fills, lambda f: booked(journal, f)):
            key = finding.detail
            self._narrator.once(
                "error", "RECONCILE", "fill", key, venue=fill.venue.value, what=finding.detail
            )
            self._put(Seen(fill, self._now(), "rest"))

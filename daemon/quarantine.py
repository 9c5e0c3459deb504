"""Venue-wide quarantine: nothing is opened on a venue that we do not understand at present.

Orders are frozen one by one by the fold; this watches a whole venue (F23, F29, F36, F37, F52, F68,
F69). Each cause ends by later venue truth, never by hope; while any stands, makers are withdrawn
and exposure goes on being hedged from positions. State is kept in the World as a fact, so that
``hedged status`` and the journal have it.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from strategy.domain import Now, Ns, OrderView, StreamState, Surface, Venue
from strategy.events import Event, OrderAnswered, Seen, VenueRead, Verdict
from strategy.facts import Quarantine
from strategy.params import SECOND
from strategy.world import OrderState, World

RECONNECTS = 5
"""Losses of one surface within ``STORM`` that make a storm (F52)."""
STORM = Ns(60 * SECOND)
CALM = Ns(30 * SECOND)
"""Without a further loss, before a storm is over."""
STRANGE = 3
"""Orders of a venue that we did not understand within ``MEMORY`` (F29)."""
MEMORY = Ns(600 * SECOND)
SETTLED = Ns(5 * SECOND)
"""How long a failover or a late loop is given before positions are believed."""
HALTS = frozenset({"2060", "7304", "1009", "TRADING_PAUSED", "MAINTENANCE"})
"""Refusals that say the market itself is halted (venues.md A4.3, B3.4; F68)."""
FAILOVER = "SYSTEM_FAILOVER"
"""GRVT: the venue lost its order state (venues.md A5.3; F69)."""

STORMY, STRANGER, HALTED, FAILED_OVER, LATE, DISAGREES = (
    "reconnect storm",
    "answers not understood",
    "market halted",
    "failed over",
    "our loop was late",
    "contradiction",
)


@dataclass(slots=True)
class _Venue:
    causes: dict[str, Ns] = field(default_factory=dict)
    """Since when (monotonic) each holds."""
    losses: dict[Surface, deque[Ns]] = field(
        default_factory=lambda: {s: deque(maxlen=RECONNECTS) for s in Surface}
    )
    strange: dict[int, Ns] = field(default_factory=dict)
    """Orders that were quarantined, with the time at which they first were."""
    open: bool = False
    """The venue has said that its market trades, since the halt."""
    said: str = ""


class Watch:
    """Decides which venues are quarantined, from what arrives and from time."""

    def __init__(self) -> None:
        self._venues = {venue: _Venue() for venue in Venue}
        self.failed_over: set[Venue] = set()
        """Venues whose every order must be asked for; whoever does it clears it."""

    def halted(self, venue: Venue) -> bool:
        """True while a venue must be asked whether its market trades again."""
        known = self._venues[venue]
        return HALTED in known.causes and not known.open

    def reopened(self, venue: Venue) -> None:
        """Take a venue's word that its market trades."""
        self._venues[venue].open = True

    def late(self, now: Now) -> None:
        """Distrust everything after a pause of the decision loop (F36, F37)."""
        for venue in Venue:
            self._cause(venue, LATE, now)

    # --- causes ------------------------------------------------------------------------------

    def on(self, event: Event, w: World, now: Now) -> None:
        """Take one event, after it was folded into ``w``."""
        if isinstance(event, Seen) and isinstance(event.event, StreamState):
            self._stream(event.event, now)
        elif isinstance(event, Seen) and isinstance(event.event, OrderView):
            self._view(event.event, now)
        elif isinstance(event, OrderAnswered) and event.verdict is Verdict.REFUSED:
            order = w.orders.get(event.client_id)
            if order is not None and event.code in HALTS:
                self._venues[order.request.venue].open = False
                self._cause(order.request.venue, HALTED, now)
        elif isinstance(event, VenueRead) and isinstance(event.fact, Quarantine):
            self._told(event.fact, now)

    def _told(self, fact: Quarantine, now: Now) -> None:
        known = self._venues[fact.venue]
        if fact.why and fact.why != known.said:
            self._cause(fact.venue, DISAGREES, now)

    def _stream(self, state: StreamState, now: Now) -> None:
        if state.up:
            return
        known = self._venues[state.venue]
        losses = known.losses[state.surface]
        losses.append(now.mono)
        if len(losses) == RECONNECTS and now.mono - losses[0] <= STORM:
            self._cause(state.venue, STORMY, now)

    def _view(self, view: OrderView, now: Now) -> None:
        if FAILOVER in view.reason.upper():
            if FAILED_OVER not in self._venues[view.venue].causes:
                self.failed_over.add(view.venue)
            self._cause(view.venue, FAILED_OVER, now)

    def _cause(self, venue: Venue, cause: str, now: Now) -> None:
        self._venues[venue].causes[cause] = now.mono

    # --- ends --------------------------------------------------------------------------------

    def tick(self, w: World, now: Now) -> list[VenueRead]:
        """Return what changed: venues that entered quarantine, left it, or for other reasons."""
        moved = []
        for venue, known in self._venues.items():
            self._strange(venue, known, w, now)
            for cause in [c for c in known.causes if self._over(venue, c, w, now)]:
                del known.causes[cause]
            why = ", ".join(sorted(known.causes))
            if why != known.said:
                known.said = why
                moved.append(VenueRead(Quarantine(venue, why), now))
        return moved

    def _strange(self, venue: Venue, known: _Venue, w: World, now: Now) -> None:
        for order in _frozen(w, venue):
            known.strange.setdefault(order, now.mono)
        known.strange = {o: at for o, at in known.strange.items() if now.mono - at < MEMORY}
        if len(known.strange) >= STRANGE:
            self._cause(venue, STRANGER, Now(max(known.strange.values()), now.wall))

    def _over(self, venue: Venue, cause: str, w: World, now: Now) -> bool:
        """True when a cause has ended by what the venue has said since."""
        known, leg = self._venues[venue], w.legs[venue]
        since = known.causes[cause]
        if not (leg.public_up and leg.private_up):
            return False
        if cause == STORMY:
            last = max((at for each in known.losses.values() for at in each), default=since)
            return now.mono - last >= CALM
        if cause == HALTED:
            return known.open
        if cause == STRANGER:
            return len(known.strange) < STRANGE
        # the position must have been read since, and agree, with nothing left in doubt
        seen = leg.observed
        read = seen is not None and seen.source == "rest" and seen.at >= since + SETTLED
        agrees = seen is not None and seen.value.qty == leg.position
        return read and agrees and not any(o.state.unknown for o in w.live(venue))


def _frozen(w: World, venue: Venue) -> Iterator[int]:
    for order in w.live(venue):
        if order.state is OrderState.QUARANTINED:
            yield order.request.client_id

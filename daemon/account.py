"""Reads what no stream says of the two accounts: money, margin, leverage, fees, funding, clocks.

Every answer becomes an event for the single writer; what could not be read stays as old as it is,
and its age then forbids what needs it. A refused key is an answer, too (F79).
"""

from collections.abc import Callable, Mapping

from daemon.journal import Journal
from exchanges.port import VenuePort, WallClock
from strategy.domain import Now, Ns, Venue
from strategy.events import Event, FundingSeen, OrderAnswered, VenueRead, Verdict
from strategy.facts import Access, ClockOffset
from strategy.world import World

MAX_TRIP = Ns(2_000_000_000)
"""A time answer that took longer says nothing about the clock."""
KEY_REFUSED = frozenset(
    {"1000", "1001", "1008", "1400", "FORBIDDEN", "UNAUTHORIZED", "INVALID_SIGNATURE"}
)
"""Refusals of an order that say that the key itself is not taken (venues.md A4.3, B3.4)."""
SIGNATURE_REFUSED = frozenset({"2000", "2002"})
"""GRVT does not take the key that signs orders, while reads need another one (venues.md A3.4)."""
NOT_THE_VENUE = frozenset({"local_rate", "not_sent", "approval_expired"})
"""Refusals of our own: the venue was not asked."""
RULES_GAP = Ns(5_000_000_000)
"""Between two reads of a venue's rules."""


class AccountReader:
    """Asks; decides nothing.

    Args:
        ports: the venues.
        journal: knows which funding payments are booked.
        put: takes each event.
        clock: time of the answers.

    Attributes:
        suspects: venues that refused our key: positions should be read again at once.
    """

    def __init__(
        self,
        ports: Mapping[Venue, VenuePort],
        journal: Journal,
        put: Callable[[Event], None],
        clock: WallClock,
    ) -> None:
        self._ports = ports
        self._journal = journal
        self._put = put
        self._clock = clock
        self.suspects: set[Venue] = set()
        self._doubted: dict[Venue, str] = {}
        """Venues that refused an order or are closed, and the base to look up there again."""
        self._rules_again: dict[Venue, Ns] = {}
        self._unsigned: set[Venue] = set()
        """Venues that refused our signature: no read says that they take it again."""

    def _now(self) -> Now:
        return Now(self._clock.mono(), self._clock.wall())

    # --- without I/O -------------------------------------------------------------------------

    def readiness(self, w: World) -> list[Event]:
        """Return what changed in what the adapters themselves know: session and order lanes."""
        told: list[Event] = []
        for venue, port in self._ports.items():
            ready = port.readiness()
            if ready != w.legs[venue].facts.ready:
                told.append(VenueRead(ready, self._now()))
            rules = w.legs[venue].instrument
            if not rules.tradable:  # no order is sent there, so none would be refused (F68)
                self._doubted.setdefault(venue, rules.base)
        return told

    def heard(self, event: Event, w: World) -> None:
        """Note an order that was refused because of a key, or that was taken after all."""
        order = w.orders.get(event.client_id) if isinstance(event, OrderAnswered) else None
        if order is None or not isinstance(event, OrderAnswered):
            return
        venue = order.request.venue
        if event.verdict is Verdict.ACCEPTED:
            self._unsigned.discard(venue)
        if event.verdict is not Verdict.REFUSED:
            return
        if event.code in SIGNATURE_REFUSED:
            self._unsigned.add(venue)
            why = f"the signature of an order: {event.code}"
            self._put(VenueRead(Access(venue, why), self._now()))
        elif event.code in KEY_REFUSED:
            self.suspects.add(venue)
        elif not event.post_only_cross and event.code not in NOT_THE_VENUE:
            self._doubted[venue] = w.legs[venue].instrument.base

    def refused(self, venue: Venue, why: str) -> None:
        """A read was refused because of the key or the address."""
        self.suspects.add(venue)
        self._put(VenueRead(Access(venue, why or "forbidden"), self._now()))

    def granted(self, w: World, venue: Venue) -> None:
        """A read that needs the key was answered."""
        self.suspects.discard(venue)
        if w.legs[venue].facts.refused and venue not in self._unsigned:
            self._put(VenueRead(Access(venue, ""), self._now()))

    # --- reads -------------------------------------------------------------------------------

    async def rules(self, venue: Venue) -> None:
        """Read the instrument again after a refused order (F14), or while it is closed (F68).

        The adapter and the World take the new rules in one step, so that nothing is decided by the
        ones and encoded by the others.
        """
        base = self._doubted.get(venue)
        if base is None or self._clock.mono() < self._rules_again.get(venue, 0):
            return
        del self._doubted[venue]
        self._rules_again[venue] = Ns(self._clock.mono() + RULES_GAP)
        self._put(VenueRead(await self._ports[venue].load(base), self._now()))

    async def margin(self, venue: Venue) -> None:
        """Read margin and mark: what the hedgeability and the margin guard rest on."""
        port = self._ports[venue]
        self._put(VenueRead(await port.account(), self._now()))
        self._put(VenueRead(await port.mark(), self._now()))

    async def clock(self, venue: Venue) -> None:
        """Measure the venue's clock; what the round trip leaves open counts in its favour."""
        sent = self._now()
        stated = await self._ports[venue].server_time()
        got = self._now()
        trip = got.mono - sent.mono
        if trip > MAX_TRIP:
            return
        apart = stated - (got.wall - trip // 2)
        sure = max(0, abs(apart) - trip // 2)
        self._put(VenueRead(ClockOffset(venue, Ns(sure if apart > 0 else -sure)), got))

    async def slow(self, venue: Venue) -> None:
        """Book new funding payments, and read what changes by the hour: fees and funding rate."""
        port = self._ports[venue]
        since = self._journal.last_funding_at(venue) or self._journal.born
        for payment in await port.funding_payments(since):
            self._put(FundingSeen(payment, self._now()))
        self._put(VenueRead(await port.funding(), self._now()))
        self._put(VenueRead(await port.fees(), self._now()))

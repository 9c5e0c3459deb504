"""The unknown-order protocol: lookups until the venue states an order's end, or proof of death.

``due`` is pure and level-triggered: it names the orders whose state must be asked for now, whatever
the reason (a lost reply, a lost stream message, a cancel that was not confirmed). An order leaves
IN_DOUBT only by venue evidence, or by one successful "not found" on every surface after the last
moment at which the venue could still have accepted it (faults.md section 4).

While a GRVT order is in doubt and not to be found, it is sent again byte for byte: the venue
ignores a copy of what it has, and answers for what it had not. One that would rest, or that nobody
wants any more, is cancelled in advance before that, so that its copy ends where it arrives.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from daemon.narrator import Narrator
from exchanges.errors import VenueError
from exchanges.port import (
    Accepted,
    CancelAccepted,
    Found,
    InDoubt,
    NotFound,
    Payload,
    Recovers,
    VenuePort,
)
from strategy.domain import Now, Ns, OrderRef, OrderView, Status, Tif, Venue, plain
from strategy.events import Event, OrderAnswered, OrderDead, Seen, VenueRead, Verdict
from strategy.facts import Quarantine
from strategy.params import SECOND
from strategy.world import Order, OrderState, World

MS = 1_000_000
TAKER_PATIENCE = Ns(1000 * MS)
"""A marketable order without an outcome is asked for after this."""
CANCEL_PATIENCE = Ns(500 * MS)
RESTING_CHECK = Ns(5 * SECOND)
BLIND_CHECK = Ns(SECOND)
"""How often a resting order is asked for while its private stream is down."""
SENT_PATIENCE = Ns(1500 * MS)
MIN_GAP = Ns(250 * MS)
MAX_GAP = Ns(2 * SECOND)
MAX_SKEW = Ns(SECOND)
"""Margin of a proof while the venue's clock is not measured; a start refuses more."""
PROOF_MARGIN = Ns(400 * MS)
"""Margin beside the measured offset: its own error, and a request already inside the venue."""
MARGIN_MOST = Ns(4 * SECOND)
"""Of an offset in a proof: more is a step, and orders are signed in the venue's time (F60)."""
HISTORY_LAG = Ns(2 * SECOND)
"""How far Backpack's history may lag its engine (venues.md B3.2)."""
RESENDS = 3
"""Copies of one order: identical ones, of which the venue takes one at most (venues.md A5.1)."""
RESEND_AFTER = Ns(SECOND)
"""A new order may be invisible for a moment (venues.md A5.1): no copy before that has passed."""
RESEND_ABSENT = 2
"""And not before so many answers did not know it."""
RESEND_LEFT = Ns(500 * MS)
"""Life that a copy must have left."""
BURY_AGAIN = Ns(2500 * MS)
"""A cancel waits 5 s for its order (venues.md A5.7), and lookups are up to 2 s apart."""
DISAGREES = Ns(10 * SECOND)
"""How long after its life an order may contradict the position before the venue is shut."""

NOWHERE = "is on no surface"
"""Of an order that its venue does not know, though the position moved."""

Recall = Callable[[Order, Now], Payload | None]
"""Gives the journalled bytes of an order that may be sent again now; None when it may not."""


def _never(order: Order, now: Now) -> Payload | None:
    del order, now
    return None


@dataclass(slots=True)
class _Asked:
    at: Ns
    times: int
    absent: int = 0
    """Answers that did not know it."""
    copies: int = 0
    buried_at: Ns | None = None
    after_life: bool = False
    """It was asked for after its life."""


def patience(order: Order, w: World) -> tuple[Ns, Ns]:
    """Return (reference time, wait) after which the order's state must be asked for."""
    if order.state.unknown:
        return order.doubt_at or order.sent.mono, Ns(0)
    if order.state is OrderState.SENT:
        return order.sent.mono, SENT_PATIENCE
    if order.cancel_at is not None:
        return order.cancel_at, CANCEL_PATIENCE
    if order.request.tif is not Tif.GTC:
        return order.sent.mono, TAKER_PATIENCE
    leg = w.legs[order.request.venue]
    if leg.private_since > order.sent.mono:
        return leg.private_since, Ns(0)  # the stream was interrupted: ask what it did not say
    return order.sent.mono, RESTING_CHECK if leg.private_up else BLIND_CHECK


class Resolver:
    """Remembers when each order was last asked for.

    Args:
        ports: the venues.
        now: both clocks.
        recall: what may be sent again; by default nothing is.
        narrator: told of every failure; None is silent.

    Attributes:
        counts: how often each thing happened, by ``"venue what"``, e.g. ``{"grvt resent": 1}``.
    """

    def __init__(
        self,
        ports: Mapping[Venue, VenuePort],
        now: Callable[[], Now],
        recall: Recall = _never,
        narrator: Narrator | None = None,
    ) -> None:
        self._ports = ports
        self._now = now
        self._recall = recall
        self._narrator = narrator
        self._asked: dict[int, _Asked] = {}
        self._asked_all: dict[Venue, Ns] = {}
        self._margins: dict[Venue, Ns] = {}
        self._behind: dict[Venue, Ns] = {}
        self.counts: Counter[str] = Counter()

    # --- when --------------------------------------------------------------------------------

    def ask_all(self, venue: Venue, now: Now) -> None:
        """Doubt every order of a venue: each is asked for at once (F69)."""
        self._asked_all[venue] = now.mono

    def due(self, w: World, now: Now) -> list[Order]:
        """Return the live orders to ask for now, oldest first."""
        live = list(w.live())
        known = {o.request.client_id for o in live}
        self._asked = {k: v for k, v in self._asked.items() if k in known}
        self._margins = {venue: margin(w, venue, now) for venue in w.legs}
        self._behind = {venue: behind(w, venue, now) for venue in w.legs}
        return [o for o in live if self._is_due(o, w, now)]

    def _is_due(self, order: Order, w: World, now: Now) -> bool:
        since, wait = patience(order, w)
        asked = self._asked.get(order.request.client_id)
        doubted = self._asked_all.get(order.request.venue, Ns(-1))
        if asked is None:
            return now.mono - since >= wait or doubted >= order.sent.mono
        if asked.at < doubted:
            return True
        if order.state.unknown and not asked.after_life and self._past(order, now):
            return True  # the first moment at which "not found" is a proof
        gap = min(MIN_GAP << min(asked.times, 3), MAX_GAP)
        if order.state is OrderState.LIVE and order.cancel_at is None:
            gap = max(gap, wait)
        return now.mono - asked.at >= gap

    def _past(self, order: Order, now: Now) -> bool:
        venue = order.request.venue
        late = self._behind.get(venue, Ns(0))
        return past_life(order, now, self._margins.get(venue, MAX_SKEW), late)

    # --- asking ------------------------------------------------------------------------------

    async def resolve(self, order: Order, expected: int) -> list[Event]:
        """Ask once; return what follows. ``expected`` is our position on that venue."""
        request = order.request
        asked = self._asked.setdefault(request.client_id, _Asked(self._now().mono, 0))
        asked_at = self._now()
        asked.at, asked.times = asked_at.mono, asked.times + 1
        since = Ns(order.sent.wall - 60 * SECOND)
        answer = await self._ports[request.venue].lookup(_ref(order), since)
        match answer:
            case Found():
                return await self._found(order, answer.view, asked_at, since)
            case InDoubt():
                self._failed(order, "lookup_failed", answer.why)
                return []
            case NotFound():
                asked.absent += 1
                asked.after_life = asked.after_life or self._past(order, asked_at)
                dead = await self._absent(order, answer, asked_at, expected)
                return dead or await self._recover(order, asked)

    async def _found(self, order: Order, view: OrderView, asked_at: Now, since: Ns) -> list[Event]:
        now = self._now()
        events: list[Event] = [Seen(view, now, "rest")]
        if view.status is Status.UNKNOWN and self._expired(order, asked_at):
            proof = f"expired, whatever {view.raw_status!r} means"
            events.append(OrderDead(order.request.client_id, proof, now))
        if view.cum > order.filled:
            events += await self._missing_fills(order, since)
        return events

    def _expired(self, order: Order, asked_at: Now) -> bool:
        """True when the venue's own expiry forbids any further fill: GRVT orders carry one."""
        return order.request.venue is Venue.GRVT and self._past(order, asked_at)

    async def _missing_fills(self, order: Order, since: Ns) -> list[Event]:
        """Fetch fill details that no stream delivered (F24)."""
        try:
            fills = await self._ports[order.request.venue].fills(since)
        except VenueError as bad:
            self._failed(order, "fills_failed", str(bad))
            return []
        mine = [f for f in fills if f.client_id == order.request.client_id]
        return [Seen(f, self._now(), "rest") for f in mine]

    async def _absent(
        self, order: Order, answer: NotFound, asked_at: Now, expected: int
    ) -> list[Event]:
        """Accept absence as death only after the order's life, and never against the position.

        An order that has shown signs of life is only lost by a venue that forgot it (F69): GRVT's
        own expiry ends it then, Backpack's resting orders have none.
        """
        venue = order.request.venue
        signs = bool(order.cum or order.venue_order_id)
        if not self._past(order, asked_at) or (signs and venue is Venue.BACKPACK):
            return []
        if signs or venue is Venue.BACKPACK:
            try:
                position = await self._ports[venue].position()
            except VenueError as bad:
                self._failed(order, "position_failed", str(bad))
                return []
            if position.qty != expected:
                return self._disagrees(order, position.qty, expected)
        proof = f"not found on {answer.surfaces} after its expiry"
        return [OrderDead(order.request.client_id, proof, self._now())]

    def _disagrees(self, order: Order, stated: int, expected: int) -> list[Event]:
        """Say that no surface knows the order while the position moved; in time, shut the venue."""
        why = (
            f"order {order.request.client_id} {NOWHERE}, but the position is "
            f"{plain(stated)} and not {plain(expected)}"
        )
        self._failed(order, "doubt_disagrees", why)
        now = self._now()
        life = order.request.expires_at - order.sent.wall
        if now.mono - order.sent.mono < life + DISAGREES:
            return []
        return [VenueRead(Quarantine(order.request.venue, why), now)]

    # --- recovering --------------------------------------------------------------------------

    async def _recover(self, order: Order, asked: _Asked) -> list[Event]:
        """Cancel a GRVT order in doubt in advance if it would rest, and send it again."""
        port = self._ports[order.request.venue]
        doubtful = order.state is OrderState.IN_DOUBT and not order.cum
        if not doubtful or order.request.venue is not Venue.GRVT or not isinstance(port, Recovers):
            return []
        if order.request.tif is Tif.GTC or order.cancel_at is not None:
            await self._bury(order, asked, port)
        return await self._resend(order, asked, port)

    async def _bury(self, order: Order, asked: _Asked, port: Recovers) -> None:
        """Let a cancel wait at the venue for an order that may still arrive."""
        now = self._now()
        if asked.buried_at is not None and now.mono - asked.buried_at < BURY_AGAIN:
            return
        asked.buried_at = now.mono
        outcome = await port.bury(_ref(order))
        if isinstance(outcome, CancelAccepted):
            self._count(order, "buried")
            return
        self._failed(order, "bury_failed", _said(outcome))

    async def _resend(self, order: Order, asked: _Asked, port: Recovers) -> list[Event]:
        """Send the journalled bytes again, at most so often, within their life."""
        now, request = self._now(), order.request
        early = asked.absent < RESEND_ABSENT or now.mono - order.sent.mono < RESEND_AFTER
        late = now.wall + RESEND_LEFT >= request.expires_at
        if early or late or asked.copies >= RESENDS:
            return []
        payload = self._recall(order, now)
        if payload is None:
            return []
        asked.copies += 1
        self._count(order, "resent")
        outcome = await port.resend(payload)
        asked.times = 0  # look again soon: the venue has it, or has had time to take it
        if isinstance(outcome, Accepted):
            accepted = Verdict.ACCEPTED
            return [OrderAnswered(request.client_id, accepted, self._now(), view=outcome.view)]
        self._failed(order, "resend_failed", outcome.why)
        return []

    # --- telling -----------------------------------------------------------------------------

    def _count(self, order: Order, what: str) -> None:
        venue, number = order.request.venue.value, order.request.client_id
        self.counts[f"{venue} {what}"] += 1
        if self._narrator is not None:
            count = self.counts[f"{venue} {what}"]
            self._narrator.line("info", "VENUE", what, venue=venue, order=number, count=count)

    def _failed(self, order: Order, what: str, why: str) -> None:
        """Count a failure, and say each reason once per order."""
        venue, number = order.request.venue.value, order.request.client_id
        self.counts[f"{venue} {what}"] += 1
        if self._narrator is not None:
            self._narrator.once(
                "warning", "VENUE", what, f"{number}:{why}", venue=venue, order=number, why=why
            )


def _ref(order: Order) -> OrderRef:
    return OrderRef(order.request.client_id, order.request.symbol, order.venue_order_id)


def _said(outcome: object) -> str:
    return str(getattr(outcome, "why", "")) or f"unknown order {getattr(outcome, 'code', '')}"


def margin(w: World, venue: Venue, now: Now) -> Ns:
    """Return how far beyond an order's life a proof must be: it widens with the offset (F61)."""
    offset = w.legs[venue].facts.clock_offset(now)
    return MAX_SKEW if offset is None else Ns(PROOF_MARGIN + min(abs(offset), MARGIN_MOST))


def behind(w: World, venue: Venue, now: Now) -> Ns:
    """Return by how much our wall clock is known to be late: 0 for one that is right or ahead."""
    return Ns(max(0, w.legs[venue].facts.clock_offset(now) or 0))


def past_life(order: Order, now: Now, skew: Ns = MAX_SKEW, late: Ns = Ns(0)) -> bool:
    """True when the venue can no longer take or trade an unanswered order, by both clocks.

    The wall clock alone may step (F60): the life is also waited out on the monotonic clock, from
    the sending, or from the load for an order of an earlier run; and a wall clock that was set
    back, by ``late``, keeps no order in doubt for as long as it was set back.
    """
    lag = HISTORY_LAG if order.request.venue is Venue.BACKPACK else 0
    life = order.request.expires_at - order.sent.wall
    by_wall = now.wall + late >= order.request.expires_at + skew + lag
    return by_wall and now.mono - order.sent.mono >= life + skew + lag

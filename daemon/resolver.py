"""The unknown-order protocol: lookups until the venue states an order's end, or proof of death.

``due`` is pure and level-triggered: it names the orders whose state must be asked for now, whatever
the reason (a lost reply, a lost stream message, a cancel that was not confirmed). An order leaves
IN_DOUBT only by venue evidence, or by one successful "not found" on every surface after the last
moment at which the venue could still have accepted it (faults.md section 4).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exchanges.errors import VenueError
from exchanges.port import Found, InDoubt, NotFound, VenuePort
from strategy.domain import Now, Ns, OrderRef, Status, Tif, Venue
from strategy.events import Event, OrderDead, Seen
from strategy.params import SECOND
from strategy.world import Order, OrderState, World

MS = 1_000_000
TAKER_PATIENCE = Ns(1000 * MS)
"""A marketable order without an outcome is asked for after this."""
CANCEL_PATIENCE = Ns(500 * MS)
RESTING_CHECK = Ns(5 * SECOND)
BLIND_CHECK = Ns(SECOND)
"""How often a resting order is asked for while its private stream is down."""
SENT_PATIENCE = Ns(3 * SECOND)
MIN_GAP = Ns(250 * MS)
MAX_GAP = Ns(2 * SECOND)
MAX_SKEW = Ns(SECOND)
HISTORY_LAG = Ns(2 * SECOND)
"""How far Backpack's history may lag its engine (venues.md B3.2)."""


@dataclass(slots=True)
class _Asked:
    at: Ns
    times: int


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
    """Remembers when each order was last asked for."""

    def __init__(self, ports: Mapping[Venue, VenuePort], now: Callable[[], Now]) -> None:
        self._ports = ports
        self._now = now
        self._asked: dict[int, _Asked] = {}

    def due(self, w: World, now: Now) -> list[Order]:
        """Return the live orders to ask for now, oldest first."""
        live = list(w.live())
        known = {o.request.client_id for o in live}
        self._asked = {k: v for k, v in self._asked.items() if k in known}
        return [o for o in live if self._is_due(o, w, now)]

    def _is_due(self, order: Order, w: World, now: Now) -> bool:
        since, wait = patience(order, w)
        asked = self._asked.get(order.request.client_id)
        if asked is None:
            return now.mono - since >= wait
        gap = min(MIN_GAP << min(asked.times, 3), MAX_GAP)
        if order.state is OrderState.LIVE and order.cancel_at is None:
            gap = max(gap, wait)
        return now.mono - asked.at >= gap

    async def resolve(self, order: Order, expected: int) -> list[Event]:
        """Ask once; return what follows. ``expected`` is our position on that venue."""
        request = order.request
        asked = self._asked.setdefault(request.client_id, _Asked(self._now().mono, 0))
        asked.at, asked.times = self._now().mono, asked.times + 1
        ref = OrderRef(request.client_id, request.symbol, order.venue_order_id)
        since = Ns(order.sent.wall - 60 * SECOND)
        asked_at = self._now()
        port = self._ports[request.venue]
        answer = await port.lookup(ref, since)
        now = self._now()
        match answer:
            case Found():
                events: list[Event] = [Seen(answer.view, now, "rest")]
                if answer.view.status is Status.UNKNOWN and self._expired(order, asked_at):
                    proof = f"expired, whatever {answer.view.raw_status!r} means"
                    events.append(OrderDead(request.client_id, proof, now))
                if answer.view.cum > order.filled:
                    events += await self._missing_fills(order, since)
                return events
            case InDoubt():
                return []
            case NotFound():
                return await self._absent(order, answer, asked_at, expected)

    @staticmethod
    def _expired(order: Order, asked_at: Now) -> bool:
        """True when the venue's own expiry forbids any further fill: GRVT orders carry one."""
        return order.request.venue is Venue.GRVT and past_life(order, asked_at)

    async def _missing_fills(self, order: Order, since: Ns) -> list[Event]:
        """Fetch fill details that no stream delivered (F24)."""
        try:
            fills = await self._ports[order.request.venue].fills(since)
        except VenueError:
            return []
        mine = [f for f in fills if f.client_id == order.request.client_id]
        return [Seen(f, self._now(), "rest") for f in mine]

    async def _absent(
        self, order: Order, answer: NotFound, asked_at: Now, expected: int
    ) -> list[Event]:
        """Accept absence as death only after the order's life, never after a sign of one."""
        if order.cum or order.venue_order_id or not past_life(order, asked_at):
            return []
        if order.request.venue is Venue.BACKPACK:
            try:
                position = await self._ports[Venue.BACKPACK].position()
            except VenueError:
                return []
            if position.qty != expected:
                return []
        proof = f"not found on {answer.surfaces} after its expiry"
        return [OrderDead(order.request.client_id, proof, self._now())]


def past_life(order: Order, now: Now) -> bool:
    """True when the venue can no longer take or trade an unanswered order, by both clocks.

    The wall clock alone may step (F60): the life is also waited out on the monotonic clock, from
    the sending, or from the load for an order of an earlier run.
    """
    lag = HISTORY_LAG if order.request.venue is Venue.BACKPACK else 0
    margin = MAX_SKEW + lag
    life = order.request.expires_at - order.sent.wall
    by_wall = now.wall >= order.request.expires_at + margin
    return by_wall and now.mono - order.sent.mono >= life + margin

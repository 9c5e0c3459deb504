"""The World: one immutable snapshot of everything a decision may read.

Pure; imports the core only. ``strategy.fold`` is the only code
that makes a new one. Books of our own making (positions, cash) derive from orders and fills; what a
venue states of itself is kept beside them as an observation, never merged silently.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from strategy.carry import Basis
from strategy.domain import (
    Book,
    ClientId,
    Draft,
    Instrument,
    Mode,
    Now,
    Ns,
    Observed,
    OrderRequest,
    Position,
    Purpose,
    Px,
    Qty,
    Quote,
    SignedQty,
    Venue,
    notional,
)
from strategy.events import CyclePhase, RoutePhase
from strategy.facts import Facts, Level
from strategy.flow import Flow


class OrderState(StrEnum):
    """Our view of an order's life. A cancel is a flag beside it, not a state."""

    SENT = "sent"
    """Journalled; its bytes may have left. Unanswered."""
    LIVE = "live"
    IN_DOUBT = "in_doubt"
    QUARANTINED = "quarantined"
    """The venue said something that we do not understand."""
    DONE = "done"
    """The venue ended it; ``cum`` is final."""
    DEAD = "dead"
    """Refused, or proved never to have lived."""

    @property
    def over(self) -> bool:
        """True when it can no longer trade."""
        return self in (OrderState.DONE, OrderState.DEAD)

    @property
    def unknown(self) -> bool:
        """True while nobody can say what became of it."""
        return self in (OrderState.IN_DOUBT, OrderState.QUARANTINED)


@dataclass(frozen=True, slots=True)
class Order:
    """One order of ours with everything that is known of it."""

    request: OrderRequest
    draft: Draft
    state: OrderState
    sent: Now
    venue_order_id: str = ""
    cum: Qty = Qty(0)
    """Largest cumulative traded size that the venue has stated or its fills add up to."""
    filled: Qty = Qty(0)
    """Size covered by fill details (price and fee known)."""
    cost: Quote = Quote(0)
    """Sum of price x size of those fills."""
    fee: Quote = Quote(0)
    trades: frozenset[str] = frozenset()
    cancel_at: Ns | None = None
    """Monotonic time of the last cancel request."""
    doubt_at: Ns | None = None
    over_at: Ns | None = None
    reason: str = ""
    crossed: bool = False
    """Ended only because a post-only order would have crossed."""

    @property
    def live(self) -> bool:
        """True while it may still trade: in-doubt and quarantined orders count."""
        return not self.state.over

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return self.request.side.value

    @property
    def reserved(self) -> Qty:
        """Size that may still trade, in full while in doubt."""
        return Qty(self.request.qty - self.cum) if self.live else Qty(0)

    @property
    def signed_cum(self) -> SignedQty:
        """Signed traded size."""
        return SignedQty(self.cum * self.sign)

    def cancel_due(self, now: Now, gap: Ns) -> bool:
        """True when a cancel may be asked for: never asked, or ``gap`` ago without an end."""
        return self.cancel_at is None or now.mono - self.cancel_at >= gap


@dataclass(frozen=True, slots=True)
class Leg:
    """One venue: our books of it, and its own statements with their ages."""

    instrument: Instrument
    position: SignedQty = SignedQty(0)
    """From orders and adoptions; the ledger."""
    cash: Quote = Quote(0)
    """Minus the cost of everything bought, plus the proceeds of everything sold."""
    fees: Quote = Quote(0)
    funding: Quote = Quote(0)
    volume: Quote = Quote(0)
    book: Observed[Book] | None = None
    observed: Observed[Position] | None = None
    public_up: bool = False
    private_up: bool = False
    private_since: Ns = Ns(0)
    taker_fee: int = 0
    maker_fee: int = 0
    facts: Facts = Facts()
    """What the venue says of the account and of itself."""

    def mid(self) -> Px | None:
        """The mid of the last book, whatever its age."""
        return self.book.value.mid if self.book else None

    def fresh_book(self, now: Now, max_age: Ns) -> Book | None:
        """Return the book only when it is fresh, two-sided, uncrossed and its stream is up."""
        if self.book is None or not self.public_up or self.book.age(now.mono) > max_age:
            return None
        return self.book.value if self.book.value.sane else None


@dataclass(frozen=True, slots=True)
class Hedge:
    """The running hedge. Signed sizes are on the hedge venue."""

    hedge_id: int
    target: SignedQty
    """What it had to trade when it began; later fills join it."""
    phase: RoutePhase
    arrival_touch: Px
    arrival_mid: Px
    fill_at: Ns
    iterations: int = 0
    filled: Qty = Qty(0)
    """With fill details."""
    cost: Quote = Quote(0)
    touch_cost: Quote = Quote(0)
    """What the same fills would have cost at each order's touch."""
    fee: Quote = Quote(0)
    passive_filled: Qty = Qty(0)
    last_over_at: Ns = Ns(0)
    """Monotonic time when its last order ended."""
    took_at: Ns = Ns(0)
    """Monotonic time when its last marketable order ended: a later book shows what that left."""
    refusals: int = 0
    """Consecutive orders that the venue refused outright."""
    missed: int = 0
    """Consecutive passive orders that came too late: they would have crossed."""
    last_px: Px = Px(0)
    """Price of the last marketable order: the router only moves toward the book."""
    crossed_at: Ns | None = None
    """Monotonic time at which it stopped resting for good."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """Progress through the iterations."""

    iteration: int = 1
    phase: CyclePhase = CyclePhase.BUILD
    since: Ns = Ns(0)
    cycles: int = 0
    """Maker orders that traded, each with its hedge."""

    @property
    def direction(self) -> int:
        """+1 when the BUILD of this iteration buys the primary (odd), -1 when it sells (even)."""
        return 1 if self.iteration % 2 else -1


class _LiveOrders:
    """Remembers the live ones of the mapping that was asked for last; such a mapping never changes.

    Each decision asks some dozens of times, while hundreds of ended orders are kept.
    """

    def __init__(self) -> None:
        self._orders: Mapping[ClientId, Order] | None = None
        self._live: tuple[Order, ...] = ()

    def of(self, orders: Mapping[ClientId, Order]) -> tuple[Order, ...]:
        """Return the live orders, oldest first."""
        if orders is not self._orders:
            self._live = tuple(order for order in orders.values() if order.live)
            self._orders = orders
        return self._live


_LIVE = _LiveOrders()


@dataclass(frozen=True, slots=True)
class World:
    """The snapshot."""

    legs: Mapping[Venue, Leg]
    orders: Mapping[ClientId, Order] = field(default_factory=lambda: MappingProxyType({}))
    cycle: Cycle = Cycle()
    hedge: Hedge | None = None
    hedges: int = 0
    """Hedges started, ever: the newest hedge id."""
    failures: int = 0
    """Consecutive hedges that needed the emergency path."""
    mode: Mode = Mode.RUNNING
    reason: str = ""
    stopping: bool = False
    flatten_on_stop: bool = False
    day: str = ""
    day_baseline: Quote = Quote(0)
    away_since: Ns | None = None
    """Since when the touch has left the resting maker behind."""
    naked_since: Ns | None = None
    """Since when the net exposure has been large enough to hedge; dust does not count."""
    net_at: Ns = Ns(0)
    naked_integral: int = 0
    """Sum of |net| x time, in 1e-9 base x ns."""
    max_naked: Qty = Qty(0)
    foreign: tuple[str, ...] = ()
    """Activity on our accounts that is not ours."""
    violations: tuple[str, ...] = ()
    """Broken venue promises (S7); any entry latches."""
    forced: tuple[str, ...] = ()
    """Closes that a venue made of its own accord."""
    unwind_tries: int = 0
    """Consecutive roll-back orders that traded nothing: widens the cap."""
    unwind_at: Ns = Ns(0)
    avoid: Venue | None = None
    """The venue whose last exposure-reducing order traded nothing: the unwind tries the other."""
    rejects: int = 0
    """Consecutive post-only rejections of makers."""
    basis: Basis | None = None
    """Running estimate of hedge mid over primary mid."""
    flow: Flow = Flow()
    """How the hedge venue's market fills passive orders and moves."""
    retry_at: Ns = Ns(0)
    """No maker before this monotonic time."""
    ended_at: Ns = Ns(0)
    """Monotonic time at which the last hedge ended."""
    levels: tuple[Level, ...] = ()
    """The guards' standing conditions."""

    @property
    def primary(self) -> Leg:
        """The Backpack leg."""
        return self.legs[Venue.BACKPACK]

    @property
    def hedge_leg(self) -> Leg:
        """The GRVT leg."""
        return self.legs[Venue.GRVT]

    @property
    def net(self) -> SignedQty:
        """Net exposure over both legs."""
        return SignedQty(self.primary.position + self.hedge_leg.position)

    def live(self, venue: Venue | None = None) -> Iterator[Order]:
        """Yield orders that may still trade, oldest first."""
        found = _LIVE.of(self.orders)
        return iter(found if venue is None else [o for o in found if o.request.venue is venue])

    def reserved(self, venue: Venue, sign: int) -> Qty:
        """Return what live orders of that direction may still trade on a venue."""
        return Qty(sum(o.reserved for o in self.live(venue) if o.sign == sign))

    def maker(self) -> Order | None:
        """Return the live primary order of the cycle, if any."""
        for order in self.live(Venue.BACKPACK):
            if order.request.purpose in (Purpose.OPEN, Purpose.CLOSE):
                return order
        return None

    def held(self) -> str:
        """Say which standing condition forbids opening; empty when none does."""
        return next((f"{level.code}: {level.what}" for level in self.levels if level.stops), "")

    def price(self) -> Px | None:
        """Return the price by which sizes are judged: the last mid of a venue, else its mark.

        Of any age: it decides what is dust, never what is paid. None before any was seen.
        """
        mid = self.hedge_leg.mid() or self.primary.mid()
        if mid:
            return mid
        marks = (leg.facts.mark for leg in (self.hedge_leg, self.primary))
        return next((mark.value for mark in marks if mark is not None), None)

    def naked_time(self, now: Now) -> int:
        """Return |net| x time carried until now, in 1e-9 base x ns."""
        return self.naked_integral + abs(self.net) * max(0, now.mono - self.net_at)

    def doubtful(self) -> bool:
        """True while any order's state is unknown."""
        return any(o.state.unknown for o in self.live())

    def equity(self) -> Quote | None:
        """Return cash, fees, funding and positions at the mids; None without a mark it needs."""
        total = 0
        for leg in self.legs.values():
            total += leg.cash - leg.fees + leg.funding
            if leg.position:
                mid = leg.mid()
                if mid is None:
                    return None
                total += notional(mid, leg.position)
        return Quote(total + self._unpriced())

    def _unpriced(self) -> int:
        """Cash of traded sizes whose fill details have not arrived, at their limit prices."""
        return sum(
            -notional(o.request.px, (o.cum - o.filled) * o.sign)
            for o in self.orders.values()
            if o.cum != o.filled
        )

    def day_pnl(self) -> Quote | None:
        """Return profit since the UTC day began; None while a mark is missing."""
        equity = self.equity()
        return None if equity is None or not self.day else Quote(equity - self.day_baseline)


def initial(legs: Mapping[Venue, Leg], mode: Mode = Mode.RUNNING, reason: str = "") -> World:
    """Return the World before any event."""
    return World(legs=dict(legs), mode=mode, reason=reason)

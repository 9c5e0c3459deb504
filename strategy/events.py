"""Everything that can change the World. Imports ``strategy.domain`` only.

Venue observations arrive wrapped in ``Seen``; the rest are our own acts and their answers. Every
event is journalled or can be read again from a venue, so that a restart is just the first tick.
"""

from dataclasses import dataclass
from enum import StrEnum

from strategy.domain import (
    ClientId,
    Draft,
    FundingPayment,
    Mode,
    Now,
    Ns,
    OrderRequest,
    OrderView,
    Px,
    Qty,
    Quote,
    SignedQty,
    Venue,
    VenueEvent,
)
from strategy.facts import Level, VenueFact


class CyclePhase(StrEnum):
    """Where an iteration stands."""

    BUILD = "build"
    HOLD = "hold"
    UNWIND = "unwind"
    DONE = "done"


class RoutePhase(StrEnum):
    """Where a hedge stands."""

    PASSIVE = "passive"
    CROSS = "cross"
    EMERGENCY = "emergency"


class Verdict(StrEnum):
    """The three-way outcome of a create."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    IN_DOUBT = "in_doubt"


@dataclass(frozen=True, slots=True)
class Seen:
    """A venue said something, by stream or by REST."""

    event: VenueEvent
    at: Now
    source: str


@dataclass(frozen=True, slots=True)
class OrderPlanned:
    """An approved order was journalled; its bytes may leave from now on."""

    request: OrderRequest
    draft: Draft
    at: Now


@dataclass(frozen=True, slots=True)
class OrderAnswered:
    """The outcome of a create."""

    client_id: ClientId
    verdict: Verdict
    at: Now
    view: OrderView | None = None
    code: str = ""
    message: str = ""
    post_only_cross: bool = False


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """A cancel was sent; a flag only, never an end."""

    client_id: ClientId
    at: Now
    why: str


@dataclass(frozen=True, slots=True)
class OrderDead:
    """Proof that an order in doubt never lived and no longer can (faults.md section 4)."""

    client_id: ClientId
    proof: str
    at: Now


@dataclass(frozen=True, slots=True)
class HedgeStarted:
    """Exposure passed the hedge venue's minimum: one hedge begins."""

    hedge_id: int
    target: SignedQty
    """Signed base to trade on the hedge venue."""
    arrival_touch: Px
    arrival_mid: Px
    fill_at: Ns
    """Monotonic time of the oldest unhedged fill."""
    at: Now


@dataclass(frozen=True, slots=True)
class HedgeMoved:
    """The hedge entered another phase."""

    hedge_id: int
    phase: RoutePhase
    why: str
    at: Now


@dataclass(frozen=True, slots=True)
class HedgeEnded:
    """The exposure is hedged, or was removed by the emergency path."""

    hedge_id: int
    failed: bool
    at: Now


@dataclass(frozen=True, slots=True)
class CycleMoved:
    """The cycle entered another phase."""

    iteration: int
    phase: CyclePhase
    at: Now


@dataclass(frozen=True, slots=True)
class LatchMoved:
    """The latch tightened, or an operator loosened it."""

    mode: Mode
    reason: str
    at: Now


@dataclass(frozen=True, slots=True)
class StopAsked:
    """A signal or the control socket asked for an orderly stop."""

    flatten: bool
    at: Now


@dataclass(frozen=True, slots=True)
class DayBegan:
    """A UTC day's loss budget starts from this equity."""

    day: str
    baseline: Quote
    at: Now


@dataclass(frozen=True, slots=True)
class Adopted:
    """A position that our orders do not explain entered the books by explicit policy."""

    venue: Venue
    qty: SignedQty
    px: Px
    reason: str
    at: Now


@dataclass(frozen=True, slots=True)
class FundingSeen:
    """A funding payment settled."""

    payment: FundingPayment
    at: Now


@dataclass(frozen=True, slots=True)
class VenueRead:
    """Something was read of a venue beside its streams: account, mark, clock, fees, access."""

    fact: VenueFact
    at: Now

    @property
    def venue(self) -> Venue:
        """Which leg it is about."""
        return self.fact.venue


@dataclass(frozen=True, slots=True)
class LevelsMoved:
    """The guards' standing conditions changed: all that hold now."""

    levels: tuple[Level, ...]
    at: Now


@dataclass(frozen=True, slots=True)
class OrderLoaded:
    """A journalled order was read back at start; it may still be live."""

    request: OrderRequest
    draft: Draft
    cum: Qty
    filled: Qty
    cost: Quote
    fee: Quote
    state: str
    venue_order_id: str
    sent_wall: Ns
    trades: frozenset[str]
    at: Now


Event = (
    Seen
    | OrderPlanned
    | OrderAnswered
    | CancelAsked
    | OrderDead
    | HedgeStarted
    | HedgeMoved
    | HedgeEnded
    | CycleMoved
    | LatchMoved
    | StopAsked
    | DayBegan
    | Adopted
    | FundingSeen
    | VenueRead
    | LevelsMoved
    | OrderLoaded
)

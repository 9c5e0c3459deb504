"""Switches of the simulated GRVT: the facts the venue leaves open (venues.md part D)."""

from dataclasses import dataclass
from enum import StrEnum

from exchanges.simulator.model import SelfTrade
from strategy.domain import NANO, Ns


class TellOrder(StrEnum):
    """In which order the private streams tell of one execution (venues.md D4)."""

    ORDER_FIRST = "order_first"
    """Order and state, then fill, then position."""
    FILL_FIRST = "fill_first"
    """Fill, then order and state, then position."""
    RANDOM = "random"
    """Any order; the same for the same sequence of fills."""


@dataclass(frozen=True, slots=True)
class GrvtOptions:
    """How the face behaves where the real one is uncertain, and its limits."""

    chain_id: int = 326
    """EIP-712 chain id of the testnet: a signature made for it can never be valid in production."""
    cookie_life: Ns = Ns(24 * 3600 * NANO)
    rate_limits: bool = False
    """Apply the whole table of venues.md A4.4; create and cancel are always limited to 20/s."""
    rate_tier: int = 1
    """How many times the rates of the table the account's tier allows (venues.md D17)."""
    request_ids: bool = False
    """Put ``request_id`` into REST errors, as some documents show (venues.md D6)."""
    finished_cancel_acks: bool = True
    """Acknowledge the cancel of a finished order; otherwise it is 1004 (venues.md D5)."""
    unknown_cancel_acks: bool = False
    """Acknowledge the cancel of an unknown order; otherwise it is 1004 (venues.md D5)."""
    cancel_ttl: bool = True
    """Take ``time_to_live_ms``; otherwise it is refused with 2300."""
    tell_order: TellOrder = TellOrder.ORDER_FIRST
    """How order, fill and position messages of one execution follow each other (venues.md D4)."""
    numbered_snapshots: bool = False
    """Number the messages of ``.s`` streams, all but the first, as captured once; documented: 0."""
    private_replay: bool = False
    """Tell live orders, recent fills and positions on subscription (venues.md D3)."""
    socket_dies_with_cookie: bool = False
    """Close sockets whose cookie has expired (venues.md D2)."""
    socket_idle: Ns | None = None
    """Close a socket that has sent nothing for this long; None never does (venues.md D1)."""
    socket_age: Ns | None = None
    """Close a socket of this age; None never does (venues.md D1)."""
    socket_close_every: Ns | None = None
    """Close all sockets at this pace, with 1001, 1012 and a reset in turn (venues.md D1)."""
    self_trade: SelfTrade = SelfTrade.ALLOW
    """Whose order ends when an account would trade with itself (venues.md D7)."""
    countdown_lag: Ns = Ns(0)
    """How much later than asked the dead-man switch cancels (venues.md D8)."""
    countdown_survives_failover: bool = True
    """Keep the dead-man switch armed through a failover (F69; venues.md D8)."""
    lookup_delay: bool = True
    """Hide new orders from queries for the engine's ``visibility`` (venues.md A5.1)."""
    visibility: Ns | None = None
    """How long new orders are hidden; None is what the engine's rules say (venues.md A5.1)."""
    late_refusals: bool = False
    """Acknowledge what margin, position or client id forbid, and reject it later (A5.4)."""
    pending_triggers: bool = False
    """Show a waiting trigger order as PENDING; otherwise it is OPEN. Neither is documented."""
    spot_listed: bool = False
    """List a ``SPOT_SWAP`` instrument, a kind that older clients do not know (A4.1, G12)."""
    omit: frozenset[str] = frozenset()
    """Fields that no reply has, to try clients that think them mandatory (A8.4, G13)."""
    queue_limit: int = 4096
    """Frames a slow socket may be behind before it is dropped."""
    max_frame: int = 1 << 18
    max_body: int = 1 << 20
    """Largest request body, bytes."""

    def __post_init__(self) -> None:
        """Check the limits; raises ValueError."""
        for name in ("rate_tier", "cookie_life", "queue_limit", "max_frame", "max_body"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be more than 0")
        for name in ("socket_idle", "socket_age", "socket_close_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} {value} must be more than 0")
        if self.countdown_lag < 0 or (self.visibility or 0) < 0:
            raise ValueError("countdown_lag and visibility must not be negative")

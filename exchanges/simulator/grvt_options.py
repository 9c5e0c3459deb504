"""Switches of the simulated GRVT: the facts the venue leaves open (venues.md part D)."""

from dataclasses import dataclass

from strategy.domain import NANO, Ns


@dataclass(frozen=True, slots=True)
class GrvtOptions:
    """How the face behaves where the real one is uncertain, and its limits."""

    chain_id: int = 326
    """EIP-712 chain id of the testnet: a signature made for it can never be valid in production."""
    cookie_life: Ns = Ns(24 * 3600 * NANO)
    rate_limits: bool = False
    """Apply the whole table of venues.md A4.4; create and cancel are always limited to 20/s."""
    request_ids: bool = False
    """Put ``request_id`` into REST errors, as some documents show (venues.md D6)."""
    finished_cancel_acks: bool = True
    """Acknowledge the cancel of a finished order; otherwise it is 1004 (venues.md D5)."""
    cancel_ttl: bool = True
    """Take ``time_to_live_ms``; otherwise it is refused with 2300."""
    fill_first: bool = False
    """Send the fill before the order and its state (venues.md D4)."""
    socket_dies_with_cookie: bool = False
    """Close sockets whose cookie has expired (venues.md D2)."""
    lookup_delay: bool = True
    """Hide new orders from queries for the engine's ``visibility`` (venues.md A5.1)."""
    queue_limit: int = 4096
    """Frames a slow socket may be behind before it is dropped."""
    max_frame: int = 1 << 18
    max_body: int = 1 << 20
    """Largest request body, bytes."""

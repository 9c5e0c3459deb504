"""Switches of the simulated Backpack: the facts the venue leaves open (venues.md part D)."""

from dataclasses import dataclass

from strategy.domain import Ns


@dataclass(frozen=True, slots=True)
class BackpackOptions:
    """How the face behaves where the real one is uncertain, and its limits."""

    ping_seconds: float = 60.0
    pong_seconds: float = 120.0
    history_lag: Ns = Ns(0)
    """How long fills and order history lag the engine."""
    remainder_status: str = "Expired"
    """Status of an IOC or market order that traded only in part (venues.md D9)."""
    strict_client_id: bool = False
    """Refuse a client id sent as a string in a DELETE body (venues.md D12)."""
    cancel_is_202: bool = False
    """Answer cancels with 202 and an empty body instead of the cancelled order."""
    requests_per_minute: int = 2000
    engine_seconds: float = 10.0
    """Longest wait for the engine's word; then TIMEOUT, whose outcome is unknown."""
    queue_limit: int = 4096
    """Frames a slow socket may be behind before it is dropped."""
    max_frame: int = 1 << 18
    max_body: int = 1 << 20
    """Largest request body, bytes."""

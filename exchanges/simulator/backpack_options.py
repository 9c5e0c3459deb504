"""Switches of the simulated Backpack: the facts the venue leaves open (venues.md part D)."""

from dataclasses import dataclass

from strategy.domain import Ns


@dataclass(frozen=True, slots=True)
class BackpackOptions:
    """How the face behaves where the real one is uncertain, and its limits."""

    # --- part D: each row that concerns Backpack, default as given there ---------------------

    remainder_status: str = "Expired"
    """Status of an IOC, FOK or market order that traded only in part: ``Expired``,
    ``PartiallyFilled`` or ``Cancelled`` (venues.md D9)."""
    unfilled_is_400: bool = False
    """Answer an immediate order that traded nothing with 400 instead of 200 ``Expired`` (D9)."""
    cancel_unknown_is_400: bool = False
    """Answer the cancel of an unknown order 400 INVALID_CLIENT_REQUEST "Order not found" instead
    of 404 RESOURCE_NOT_FOUND (D10)."""
    margin_message: str = "Insufficient margin"
    """Text that goes with INSUFFICIENT_MARGIN (D10)."""
    accept_duplicate_client_id: bool = False
    """Take an order whose client id a live order has, instead of 400 "Duplicate client id" (D11).
    The newest order answers to the id."""
    strict_client_id: bool = False
    """Refuse a client id sent as a string in a DELETE body (D12)."""
    bids_descending: bool = False
    """Order the bids of REST depth best first; the venue was seen ascending (D13)."""
    subscribe_ack: bool = False
    """Answer SUBSCRIBE and UNSUBSCRIBE with ``{"id", "result": null}`` (D14)."""
    position_update_on_funding: bool = False
    """Send ``positionAdjusted`` when funding is settled (D15)."""

    # --- answers the reference marks as alternatives (venues.md B3, B4) ----------------------

    cancel_is_202: bool = False
    """Answer cancels with 202 and an empty body instead of the cancelled order (B3.2)."""
    flat_position_is_404: bool = False
    """Answer ``GET /position?symbol=`` of a flat market 404 instead of an empty list (B3.3)."""
    reduce_only_expires: bool = False
    """Accept a reduce-only order without a position and let it expire with ReduceOnlyNotReduced,
    instead of 400 (B3.4)."""
    history_lag: Ns = Ns(0)
    """How long fills, orders, funding and position history lag the engine (B3.2)."""

    # --- limits and prices -------------------------------------------------------------------

    requests_per_minute: int = 2000
    """Signed requests of one account (B3.4)."""
    history_per_minute: int = 30
    """Public requests for k-lines and trade history of one address (B3.4)."""
    position_limit: int = 10_000_000
    """Largest exposure of an account in whole quote units, its open orders included."""
    max_trigger_orders: int = 50
    """Waiting trigger orders of one account; chosen: ORDER_LIMIT has no documented value."""
    mark_band_bps: tuple[int, int] = (9_200, 10_900)
    """A sell below, or a buy above, this share of the mark is out of band (B6
    ``meanMarkPriceBand``)."""
    max_price: int = 1_000_000
    """Highest limit price, whole quote units (B6)."""
    default_trigger_by: str = "LastPrice"
    """Reference of a trigger order that names none: ``LastPrice``, ``MarkPrice`` or
    ``IndexPrice``; not documented."""

    # --- connections -------------------------------------------------------------------------

    ping_seconds: float = 60.0
    pong_seconds: float = 120.0
    goodbye_seconds: float = 1.0
    """How long a stopping server waits after its Close frame; the venue gives 30 s (B5)."""
    engine_seconds: float = 10.0
    """Longest wait for the engine's word; then TIMEOUT, whose outcome is unknown."""
    queue_limit: int = 4096
    """Frames a slow socket may be behind before it is dropped."""
    max_frame: int = 1 << 18
    max_body: int = 1 << 20
    """Largest request body, bytes."""

    def __post_init__(self) -> None:
        if self.remainder_status not in ("Expired", "PartiallyFilled", "Cancelled"):
            raise ValueError(f"remainder_status {self.remainder_status!r} is no order status")
        if self.default_trigger_by not in ("LastPrice", "MarkPrice", "IndexPrice"):
            raise ValueError(f"default_trigger_by {self.default_trigger_by!r} is no price")

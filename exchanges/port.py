"""The one interface of a venue, with three-way outcomes. Imports ``strategy.domain`` only.

A reply that is neither an explicit acceptance nor an allow-listed refusal is ``InDoubt``: a timeout
is not a failure, an acknowledgement is not a fill, and a cancel is not the end of an order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from strategy.domain import (
    Balance,
    Book,
    Fees,
    Fill,
    Funding,
    FundingPayment,
    Instrument,
    Ns,
    OrderRef,
    OrderRequest,
    OrderView,
    Position,
    Venue,
    VenueEvent,
)
from strategy.facts import Account, Mark, Readiness


@dataclass(frozen=True, slots=True)
class Payload:
    """A signed order, ready to send; the same bytes are used for every resend."""

    request: OrderRequest
    body: bytes
    headers: tuple[tuple[str, str], ...]
    nonce: int
    digest: str
    """SHA-256 of the body, journalled before the first send."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The venue has the order. ``view`` is its reply where that reply states an outcome."""

    view: OrderView | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The venue certainly does not have the order: an allow-listed code."""

    code: str
    message: str
    post_only_cross: bool = False
    """True when the only fault was that a post-only order would have crossed."""


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Anything else: the order may or may not live, now or soon."""

    why: str


Outcome = Accepted | Refused | InDoubt


@dataclass(frozen=True, slots=True)
class CancelAccepted:
    """The request was received; the order ends only by its own terminal state."""

    view: OrderView | None


@dataclass(frozen=True, slots=True)
class CancelUnknown:
    """The venue knows no such live order: it may have filled. Look it up."""

    code: str


CancelOutcome = CancelAccepted | CancelUnknown | InDoubt


@dataclass(frozen=True, slots=True)
class Found:
    """The order's state."""

    view: OrderView


@dataclass(frozen=True, slots=True)
class NotFound:
    """A successful query that does not know the order. ``surfaces`` names what was asked."""

    surfaces: str


Lookup = Found | NotFound | InDoubt

Sink = Callable[[VenueEvent], None]
"""Receives stream events in order; must not block and must not raise."""


class WallClock(Protocol):
    """Time for signatures and deadlines, injected so that a seed replays a run exactly."""

    def wall(self) -> Ns:
        """Return Unix time in ns."""
        ...

    def mono(self) -> Ns:
        """Return monotonic time in ns."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Suspend for that long."""
        ...


class VenuePort(Protocol):
    """One venue, one account, one instrument (selected by ``load``).

    Reads raise ``exchanges.errors.VenueError``; they never return a default for an answer that was
    missing or malformed. Writes return outcomes and raise only ``asyncio.CancelledError``.
    """

    @property
    def venue(self) -> Venue:
        """Which leg this is."""
        ...

    async def open(self) -> None:
        """Create the session and log in; raises VenueUnreachable or VenueForbidden."""
        ...

    async def close(self) -> None:
        """Release every socket; safe to call twice."""
        ...

    async def load(self, base: str) -> Instrument:
        """Look the perpetual up by base symbol in the venue's own list; raises UnknownTicker."""
        ...

    async def server_time(self) -> Ns:
        """Return the venue's Unix time."""
        ...

    def prepare(self, request: OrderRequest) -> Payload:
        """Encode and sign; no I/O. Raises ValueError for a request that cannot be encoded."""
        ...

    async def submit(self, payload: Payload) -> Outcome:
        """Send once; never retries."""
        ...

    async def cancel(self, ref: OrderRef) -> CancelOutcome:
        """Ask for a cancel; never retries."""
        ...

    async def cancel_all(self) -> CancelOutcome:
        """Ask to cancel every order of the instrument on this account."""
        ...

    async def lookup(self, ref: OrderRef, since: Ns) -> Lookup:
        """Ask every surface that can know the order, from Unix time ``since`` on."""
        ...

    async def open_orders(self) -> tuple[OrderView, ...]:
        """Return the resting orders of the instrument."""
        ...

    async def position(self) -> Position:
        """Return the net position; zero only when a well-formed answer says so."""
        ...

    async def fills(self, since: Ns) -> tuple[Fill, ...]:
        """Return our fills of the instrument from Unix time ``since``, oldest first."""
        ...

    async def book(self, depth: int) -> Book:
        """Return the book over REST; ``depth`` is rounded up to what the venue allows."""
        ...

    async def balance(self) -> Balance:
        """Return account equity and free margin."""
        ...

    async def fees(self) -> Fees:
        """Return the account's maker and taker rates."""
        ...

    async def funding(self) -> Funding:
        """Return the current funding rate."""
        ...

    async def account(self) -> Account:
        """Return margin, leverage and liquidation price of the account for the instrument."""
        ...

    async def mark(self) -> Mark:
        """Return the venue's mark price of the instrument; raises VenueMalformed without one."""
        ...

    def readiness(self) -> Readiness:
        """Say, without I/O, whether an order that reduces risk could leave now."""
        ...

    async def funding_payments(self, since: Ns) -> tuple[FundingPayment, ...]:
        """Return settled payments from Unix time ``since``, oldest first."""
        ...

    async def stream(self, sink: Sink) -> None:
        """Run the public and private streams until cancelled, reconnecting with jittered backoff.

        Emits ``StreamState`` up only once a surface is subscribed and, for the book, complete.
        """
        ...


# --- what only some ports can do: ask with ``isinstance``, live without it ------------------------


@runtime_checkable
class Recovers(Protocol):
    """A port whose venue ignores a repeated signed order and takes cancels in advance (GRVT)."""

    async def resend(self, payload: Payload) -> Accepted | InDoubt:
        """Send the very same bytes again; never retries.

        ``Accepted``: the venue has the order, whichever copy reached it first. A refusal of the
        copy says nothing of the original and is ``InDoubt`` (venues.md A5.6).
        """
        ...

    async def bury(self, ref: OrderRef) -> CancelOutcome:
        """Cancel an order whether it has arrived or will within seconds (venues.md A5.7)."""
        ...


@runtime_checkable
class DeadManSwitch(Protocol):
    """A port whose venue cancels everything unless it is told otherwise in time (GRVT)."""

    async def dead_man(self, countdown: Ns) -> CancelOutcome:
        """Arm or refresh the switch: all orders end ``countdown`` from now; 0 disarms it.

        ``CancelAccepted``: the venue has taken it. Anything else: the switch is not to be relied on
        (venues.md A5.7).
        """
        ...


@runtime_checkable
class Probes(Protocol):
    """A port that can say whether its market trades now, without changing what it has loaded."""

    async def tradable(self) -> bool:
        """Return whether the venue takes every kind of order now; raises VenueError."""
        ...

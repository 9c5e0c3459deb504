"""A venue that cannot be reached when ``hedged flatten`` starts: the other does not wait for it.

Its rules come from the journal. Until it answers, nothing is read from it or sent to it, so that
its leg counts as the journal has it; from the moment that it answers it is a venue like any other.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict

from daemon.journal import Journal
from exchanges.errors import VenueError, VenueUnreachable
from exchanges.port import (
    CancelOutcome,
    InDoubt,
    Lookup,
    Outcome,
    Payload,
    Refused,
    Sink,
    VenuePort,
    WallClock,
)
from strategy.domain import (
    Balance,
    Book,
    Bps,
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
    Px,
    Qty,
    Quote,
    Venue,
)
from strategy.facts import Account, Mark, Readiness

AGAIN = 2.0
"""Seconds between attempts to reach it."""


class DarkPort:
    """A ``VenuePort`` around one that does not answer yet."""

    def __init__(self, port: VenuePort, base: str, clock: WallClock) -> None:
        self._port = port
        self._base = base
        self._clock = clock
        self._lit = False

    @property
    def venue(self) -> Venue:
        """The venue that does not answer."""
        return self._port.venue

    def _reached(self) -> VenuePort:
        if not self._lit:
            raise VenueUnreachable(f"{self.venue} has not answered yet")
        return self._port

    async def open(self) -> None:
        """Try once to log in and to load the instrument."""
        await self._port.open()
        await self._port.load(self._base)
        self._lit = True

    async def close(self) -> None:
        """Release every socket."""
        await self._port.close()

    async def load(self, base: str) -> Instrument:
        """Look the perpetual up."""
        return await self._reached().load(base)

    async def server_time(self) -> Ns:
        """Return the venue's time."""
        return await self._reached().server_time()

    def prepare(self, request: OrderRequest) -> Payload:
        """Encode and sign; raises ValueError while it is dark: nothing is decided for it then."""
        if not self._lit:
            raise ValueError(f"{self.venue} has not answered yet")
        return self._port.prepare(request)

    async def submit(self, payload: Payload) -> Outcome:
        """Send once it is reached; before that, nothing."""
        if not self._lit:
            return Refused("not_sent", f"{self.venue} has not answered yet")
        return await self._port.submit(payload)

    async def cancel(self, ref: OrderRef) -> CancelOutcome:
        """Ask for a cancel."""
        return await self._port.cancel(ref) if self._lit else InDoubt("venue not reached")

    async def cancel_all(self) -> CancelOutcome:
        """Ask to cancel everything."""
        return await self._port.cancel_all() if self._lit else InDoubt("venue not reached")

    async def lookup(self, ref: OrderRef, since: Ns) -> Lookup:
        """Ask for an order."""
        return await self._port.lookup(ref, since) if self._lit else InDoubt("venue not reached")

    async def open_orders(self) -> tuple[OrderView, ...]:
        """Return resting orders."""
        return await self._reached().open_orders()

    async def position(self) -> Position:
        """Return the position."""
        return await self._reached().position()

    async def fills(self, since: Ns) -> tuple[Fill, ...]:
        """Return fills."""
        return await self._reached().fills(since)

    async def book(self, depth: int) -> Book:
        """Return the book."""
        return await self._reached().book(depth)

    async def balance(self) -> Balance:
        """Return equity."""
        return await self._reached().balance()

    async def fees(self) -> Fees:
        """Return fee rates."""
        return await self._reached().fees()

    async def funding(self) -> Funding:
        """Return the funding rate."""
        return await self._reached().funding()

    async def account(self) -> Account:
        """Return margin."""
        return await self._reached().account()

    async def mark(self) -> Mark:
        """Return the mark price."""
        return await self._reached().mark()

    def readiness(self) -> Readiness:
        """Nothing can leave before it is reached."""
        return self._port.readiness() if self._lit else Readiness(self.venue, False, 0)

    async def funding_payments(self, since: Ns) -> tuple[FundingPayment, ...]:
        """Return funding payments."""
        return await self._reached().funding_payments(since)

    async def stream(self, sink: Sink) -> None:
        """Try until the venue answers, then run its streams until cancelled."""
        while not self._lit:
            try:
                await self.open()
            except VenueError:
                await self._clock.sleep(AGAIN)
        await self._port.stream(sink)


# --- what the journal knows of a venue -----------------------------------------------------------


def remember(journal: Journal, instruments: Mapping[Venue, Instrument]) -> None:
    """Write the venues' rules, for a flatten that cannot ask for them."""
    for venue, rules in instruments.items():
        told = asdict(rules) | {"venue": venue.value}
        journal.put_meta(f"instrument.{venue.value}", json.dumps(told))


def remembered(journal: Journal, venue: Venue) -> tuple[Instrument, Fees] | None:
    """Return a venue's rules as the last run saw them, without fees; None when there are none."""
    text = journal.meta(f"instrument.{venue.value}")
    if text is None:
        return None
    told = json.loads(text)
    rules = Instrument(
        venue=venue,
        symbol=told["symbol"],
        base=told["base"],
        quote=told["quote"],
        tick=Px(told["tick"]),
        step=Qty(told["step"]),
        min_qty=Qty(told["min_qty"]),
        min_notional=Quote(told["min_notional"]),
        asset_id=told["asset_id"],
        size_decimals=told["size_decimals"],
    )
    return rules, Fees(venue, Bps(0), Bps(0))

"""Backpack as a ``VenuePort``: three-way outcomes, unpriced orders impossible (venues.md part B).

The reply to a new order is the engine's final word, cancels may only be received (202), and a
finished order is forgotten by ``GET /order``; see ``outcomes`` and ``history``.
"""

import hashlib
from random import Random  # noqa: TID251 - the type of the injected generator
from typing import Any

from exchanges.backpack import account, codec, history, outcomes
from exchanges.backpack.sdk import (
    WRITE_TIMEOUT,
    BackpackAccount,
    BackpackHttp,
    BackpackPublic,
    ResourceNotFound,
)
from exchanges.backpack.signer import BackpackConfig, VenueTime
from exchanges.backpack.streams import PrivateSession, PublicSession, Streams, dial
from exchanges.errors import VenueMalformed
from exchanges.port import (
    CancelOutcome,
    InDoubt,
    Lookup,
    Outcome,
    Payload,
    Refused,
    Sink,
    WallClock,
)
from exchanges.transport.rest import NoAnswer, NotSent, RestClient
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
)
from strategy.facts import Account, Mark, Readiness

__all__ = ["BackpackConfig", "BackpackVenue"]


class BackpackVenue:
    """One Backpack account and one perpetual, over REST and the socket.

    Args:
        config: keys and endpoint overrides.
        clock: time for signatures and deadlines.
        rng: jitter of reconnects.

    Raises:
        ValueError: the keys do not fit each other.
    """

    def __init__(self, config: BackpackConfig, clock: WallClock, rng: Random) -> None:
        self._config = config
        self._clock = clock
        self._time = VenueTime(clock)
        self._http = BackpackHttp(RestClient())
        self._account = BackpackAccount(config, self._http, self._time)
        self._public = BackpackPublic(config, self._http)
        self._rng = rng
        self._market: codec.MarketRow | None = None

    @property
    def venue(self) -> Venue:
        """Backpack."""
        return Venue.BACKPACK

    @property
    def clock_offset(self) -> Ns:
        """The venue's clock minus ours, ns, as of the last ``server_time``."""
        return self._time.present()

    async def open(self) -> None:
        """Open the session, measure the venue's clock and prove the keys with a signed read.

        Raises:
            VenueError: VenueUnreachable or VenueForbidden above all.
        """
        await self._http.rest.open()
        await self.server_time()
        await self._account.get_account()

    async def close(self) -> None:
        """Release the session; safe to call twice."""
        await self._http.rest.close()

    async def load(self, base: str) -> Instrument:
        """Look the USDC perpetual up in the venue's market list (venues.md B3.1).

        Raises:
            VenueError: UnknownTicker when it is not listed, VenueMalformed when a field is missing.
        """
        self._market = codec.find_market(await self._public.get_markets(), base)
        return self._market.instrument

    async def server_time(self) -> Ns:
        """Return the venue's Unix time and learn the offset that signatures use."""
        sent = self._clock.wall()
        now = codec.server_time(await self._public.get_time())
        self._time.measured(now, sent, self._clock.wall())
        return now

    def prepare(self, request: OrderRequest) -> Payload:
        """Encode and sign a limit order that the venue refuses after ``expires_at``.

        Raises:
            ValueError: another market, off tick or step, no size or price, expired, post-only but
                immediate, or a client id beyond uint32.
        """
        instrument = self._loaded.instrument
        if request.venue is not Venue.BACKPACK or request.symbol != instrument.symbol:
            raise ValueError(f"{request.venue} {request.symbol} is not {instrument.symbol}")
        if request.px <= 0 or request.px % instrument.tick:
            raise ValueError(f"price {request.px} is not a positive multiple of {instrument.tick}")
        if request.qty <= 0 or request.qty % instrument.step:
            raise ValueError(f"size {request.qty} is not a positive multiple of {instrument.step}")
        signed = self._account.new_order(request)
        return Payload(
            request=request,
            body=signed.body,
            headers=signed.headers,
            nonce=signed.timestamp,
            digest=hashlib.sha256(signed.body).hexdigest(),
        )

    async def submit(self, payload: Payload) -> Outcome:
        """Send once. ``Accepted`` carries the engine's result, traded size included."""
        try:
            reply = await self._http.rest.request(
                "POST",
                self._account.order_url,
                headers=dict(payload.headers),
                body=payload.body,
                timeout=WRITE_TIMEOUT,
            )
        except NotSent as unsent:
            return Refused("not_sent", str(unsent))
        except NoAnswer as silent:
            return InDoubt(str(silent))
        return outcomes.submitted(reply.status, reply.body, payload.request)

    async def cancel(self, ref: OrderRef) -> CancelOutcome:
        """Ask once, by venue order id when known, else by client id."""
        try:
            reply = await self._http.send("DELETE", self._account.cancel_one(ref), WRITE_TIMEOUT)
        except (NotSent, NoAnswer) as silent:
            return InDoubt(str(silent))
        return outcomes.cancelled(reply.status, reply.body, ref)

    async def tradable(self) -> bool:
        """Return whether the order book is ``Open`` now (venues.md B3.1); nothing is reloaded."""
        rows = await self._public.get_markets()
        return codec.find_market(rows, self._loaded.instrument.base).instrument.tradable

    async def cancel_all(self) -> CancelOutcome:
        """Ask once to cancel every order of the loaded perpetual."""
        request = self._account.cancel_every(self._symbol)
        try:
            reply = await self._http.send("DELETE", request, WRITE_TIMEOUT)
        except (NotSent, NoAnswer) as silent:
            return InDoubt(str(silent))
        return outcomes.all_cancelled(reply.status, reply.body)

    async def lookup(self, ref: OrderRef, since: Ns) -> Lookup:
        """Ask for the resting order, then fills and order history from ``since`` (our clock)."""
        return await history.lookup(self._account, ref, self._time.earlier(since))

    async def open_orders(self) -> tuple[OrderView, ...]:
        """Return the resting orders of the perpetual."""
        views = codec.orders(await self._account.get_open_orders(symbol=self._symbol))
        return tuple(view for view in views if view.symbol == self._symbol)

    async def position(self) -> Position:
        """Return the net position; flat is an array without the symbol (B3.3).

        All positions are asked for: then flat is an empty array, while the answer for one symbol
        is a 404 that could also mean a wrong path. The documented text of it is still understood.
        """
        return codec.position(await self._positions(), self._symbol)

    async def _positions(self) -> Any:
        try:
            return await self._account.get_open_positions()
        except ResourceNotFound as missing:
            if "position not found" not in str(missing).casefold():
                raise VenueMalformed(f"position: {missing}", missing.code) from missing
            return []

    async def fills(self, since: Ns) -> tuple[Fill, ...]:
        """Return our fills from ``since``, oldest first, forced ones included."""
        return await history.fills(self._account, self._symbol, self._time.earlier(since))

    async def book(self, depth: int) -> Book:
        """Return the book with at least ``depth`` levels a side if it has them (1000 at most)."""
        return (await self._snapshot(codec.depth_limit(depth))).book

    async def balance(self) -> Balance:
        """Return net equity and what of it is free, USDC."""
        return codec.balance(await self._account.get_collateral())

    async def account(self) -> Account:
        """Return margin and leverage, from collateral, positions and settings."""
        collateral = await self._account.get_collateral()
        positions = await self._positions()
        return account.account(
            collateral, positions, await self._account.get_account(), self._symbol
        )

    async def mark(self) -> Mark:
        """Return the mark price."""
        return account.mark(await self._public.get_all_mark_prices(self._symbol), self._symbol)

    def readiness(self) -> Readiness:
        """Say that every request is signed by itself, and that no order lane limits us here."""
        return Readiness(Venue.BACKPACK, session=True, orders=None)

    async def fees(self) -> Fees:
        """Return the account's futures rates."""
        return codec.fees(await self._account.get_account())

    async def funding(self) -> Funding:
        """Return the current rate, a fraction per funding interval of the market."""
        rows = await self._public.get_all_mark_prices(self._symbol)
        return codec.funding(rows, self._symbol, self._loaded.funding_hours)

    async def funding_payments(self, since: Ns) -> tuple[FundingPayment, ...]:
        """Return settled funding from ``since``, oldest first, positive when received."""
        return await history.funding_payments(
            self._account, self._symbol, self._time.earlier(since)
        )

    async def stream(self, sink: Sink) -> None:
        """Run the public and private sockets until cancelled."""
        symbol, clock = self._symbol, self._clock

        def public() -> PublicSession:
            return PublicSession(symbol, clock, self._snapshot, sink)

        def private() -> PrivateSession:
            return PrivateSession(symbol, clock, self._account.subscription, sink)

        streams = Streams(lambda: dial(self._config.ws), clock, self._rng.random)
        await streams.run(public, private)

    async def _snapshot(self, limit: int) -> codec.Snapshot:
        return codec.depth(await self._public.depth(self._symbol, limit))

    @property
    def _loaded(self) -> codec.MarketRow:
        if self._market is None:
            raise ValueError("no instrument is loaded: call load first")
        return self._market

    @property
    def _symbol(self) -> str:
        return self._loaded.instrument.symbol

"""What every GRVT endpoint shares: engine, clock, faults, accounts, timers and histories.

The universe drives the engine. The desk only sees to it that orders taken here do not wait for the
universe's next look: it calls ``advance`` at the time that the engine itself names.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from exchanges.simulator.api import Engine
from exchanges.simulator.grvt_account_codec import AccountFigures
from exchanges.simulator.grvt_auth import Sessions, Signers
from exchanges.simulator.grvt_codec import fill_rows, shown_id
from exchanges.simulator.grvt_members import Credentials, Member, Members
from exchanges.simulator.grvt_options import GrvtOptions
from exchanges.simulator.grvt_payload import Fields, market_filter, sub_account
from exchanges.simulator.grvt_rates import ALWAYS, LOGINS, MARKET, TRADING, RateTable
from exchanges.simulator.grvt_tape import Tape
from exchanges.simulator.grvt_words import MS, ApiError, Json, dec
from exchanges.simulator.model import (
    EngineEvent,
    FundingSettled,
    Market,
    OrderChanged,
    PublicTrade,
    SimAccount,
    SimFill,
    SimOrder,
)
from strategy.domain import NANO, Instrument, Ns, Px, Qty, Venue

_SLACK_NS = 1_500_000
"""Leaves the universe the first go, so that the market is fed in time order."""
_SHORTEST = 0.001
_DOWN = ("F52", "F54")
_STRICTER_TICK = 10
_STRICTER_SIZE = 1000
_USUAL_SKEW_MS = 10_000
_USUAL_DRIFT_PPM = 100_000
_USUAL_DEPEG_BPS = 200
_BPS = 10_000
_MILLION = 1_000_000
_PARTS = 200
_LATE_MS = 500
_CREATES = frozenset({"create_order", "bulk_orders", "create_bulk_orders"})


class Driver(Protocol):
    """The venue's clock."""

    def now(self) -> Ns:
        """Return Unix ns."""
        ...


class Faults(Protocol):
    """The fault board."""

    def take(self, venue: Venue, name: str, /) -> Mapping[str, Any] | None:
        """Use up one count of an active fault."""
        ...

    def holds(self, venue: Venue, name: str, /) -> bool:
        """Tell whether a fault is active, without using it up."""
        ...

    def peek(self, venue: Venue, name: str, /) -> Mapping[str, Any] | None:
        """Return the settings of an active fault, without using it up."""
        ...

    def since(self, venue: Venue, name: str, /) -> Ns | None:
        """Return when an active fault was injected."""
        ...


class Desk:
    """State shared by the endpoints of one venue.

    Args:
        engine: the matching engine.
        driver: the venue's clock.
        faults: the fault board.
        credentials: one for each API key; the first is served the engine's first account.
        options: switches of what the venue leaves open.
    """

    def __init__(
        self,
        engine: Engine,
        driver: Driver,
        faults: Faults,
        credentials: Sequence[Credentials],
        options: GrvtOptions,
    ) -> None:
        self.engine = engine
        self.options = options
        self.members = Members()
        self.sessions = Sessions(self.members, options)
        self.signers = Signers(options)
        self.login_rates = RateTable(LOGINS if options.rate_limits else {}, options.rate_tier)
        self.market_rates = RateTable(MARKET if options.rate_limits else {}, options.rate_tier)
        self.tapes = {symbol: Tape() for symbol in engine.markets}
        self.builders: dict[str, dict[str, Json]] = {}
        """Approved builders by main account and address."""
        self.announce: Callable[[Member, SimOrder], None] = lambda _member, _order: None
        """Told of orders that are not the engine's; set by the streams."""
        self._driver = driver
        self._faults = faults
        self._timers: set[asyncio.TimerHandle] = set()
        self._kick: asyncio.TimerHandle | None = None
        self._kick_at: Ns | None = None
        self._requests = 0
        for each in credentials:
            self.add_member(each)
        engine.subscribe(self._on_event)

    # --- accounts and market -----------------------------------------------------------------

    def add_member(self, credentials: Credentials) -> Member:
        """Serve a key; its sub-account is created in the engine where there is none.

        Raises:
            ValueError: the key or the signer is in use for another sub-account.
        """
        table = TRADING if self.options.rate_limits else ALWAYS
        rates = RateTable(table, self.options.rate_tier)
        known = next((m for m in self.members if m.sub_account == credentials.sub_account_id), None)
        if known is not None:
            return self.members.add(credentials, known.account, known.rates)
        account = self._account_of(credentials)
        member = self.members.add(credentials, account, rates)
        engine = self.engine
        for order in engine.orders.values():
            if order.request.account == member.id:
                member.orders[shown_id(order)] = order
        for fill in engine.fills:
            if fill.account == member.id:
                self._keep_fill(member, fill, engine.orders[fill.order_id])
        return member

    def _account_of(self, credentials: Credentials) -> SimAccount:
        accounts = self.engine.accounts
        named = credentials.sub_account_id
        if named in accounts:
            return accounts[named]
        if accounts and not list(self.members):
            return next(iter(accounts.values()))
        return self.engine.add_account(named, main_account=credentials.main_account_id)

    def owner(self, order: SimOrder) -> Member | None:
        """Return whose order it is; None for an account that is not served."""
        return self.members.with_account(order.request.account)

    def check_account(self, request: Fields, who: Member, code: int = 1001) -> None:
        """Check the sub account of a request; raises ApiError 3020, or ``code`` for another's."""
        if str(sub_account(request)) != who.sub_account:
            raise ApiError(code)

    def market(self, symbol: str | None, code: int = 3000) -> Market:
        """Return a listed market with the rules that hold now; raises ApiError."""
        found = None if symbol is None else self.engine.markets.get(symbol)
        if found is None:
            raise ApiError(code)
        stricter = self._stricter(found.instrument)
        return found if stricter is None else replace(found, instrument=stricter)

    def _stricter(self, listed: Instrument) -> Instrument | None:
        """Return the rules that F14 (tick) and F15 (minimum) make of an instrument's."""
        found: Instrument | None = None
        if self.holds("F14"):
            found = replace(listed, tick=Px(listed.tick * _STRICTER_TICK))
        if self.holds("F15"):
            least = Qty(listed.min_qty * _STRICTER_SIZE)
            found = replace(listed if found is None else found, min_qty=least, step=least)
        return found

    def symbol_filter(self, request: Fields) -> Callable[[str], bool]:
        """Return the test that a request's ``kind``, ``base`` and ``quote`` put to a symbol."""
        wanted = market_filter(request)

        def takes(symbol: str) -> bool:
            instrument = self.engine.markets[symbol].instrument
            return wanted.takes(symbol, instrument.base, instrument.quote)

        return takes

    def figures(self, who: Member) -> AccountFigures:
        """Return an account's money as it now is."""
        engine = self.engine
        return AccountFigures(
            equity=engine.equity(who.id),
            balance=who.account.balance,
            initial_margin=engine.margin_used(who.id),
            maintenance_margin=engine.maintenance_margin(who.id),
            settle_index=self.quote_index(),
        )

    def quote_index(self) -> int:
        """Return the quote currency's price in USD, 1e-9; F72 moves it."""
        active = self.peek("F72")
        shift = 0 if active is None else int(active.get("bps", _USUAL_DEPEG_BPS))
        return NANO - shift * NANO // _BPS

    def index(self, symbol: str) -> Px:
        """Return the index price; the mark before there is one."""
        return self.engine.index(symbol) or self.engine.mark(symbol)

    def visible(self, order: SimOrder, now: Ns) -> bool:
        """True once queries know the order (venues.md A5.1)."""
        if not self.options.lookup_delay or "shown_id" in order.request.extra:
            return True  # a trigger was visible while it waited
        asked = self.options.visibility
        hidden = self.engine.rules.visibility if asked is None else asked
        return now >= order.received_at + hidden

    # --- time --------------------------------------------------------------------------------

    def clock(self) -> Ns:
        """Return the venue's time without advancing the engine."""
        return self._driver.now()

    def told(self, now: Ns) -> Ns:
        """Return the time by which the venue judges what clients signed."""
        return Ns(now + self.skew())

    def skew(self) -> Ns:
        """Return how far the clock that clients see is from the real one: F60 and F61 move it."""
        now, skew = self._driver.now(), 0
        stepped = self.peek("F60")
        if stepped is not None:
            skew += int(stepped.get("offset_ms", _USUAL_SKEW_MS)) * MS
        drifting, since = self.peek("F61"), self._faults.since(Venue.GRVT, "F61")
        if drifting is not None and since is not None:
            skew += (now - since) * int(drifting.get("ppm", _USUAL_DRIFT_PPM)) // _MILLION
        return Ns(skew)

    def now(self) -> Ns:
        """Bring the engine up to the present and return it; call before reading the engine."""
        now = self._driver.now()
        self.engine.advance(now)
        return now

    def at(self, when: Ns, action: Callable[[], None]) -> None:
        """Call ``action`` once the venue's clock has reached ``when``."""
        loop = asyncio.get_running_loop()

        def fire() -> None:
            self._timers.discard(handle)
            if self._driver.now() < when:
                self.at(when, action)
            else:
                action()

        wait = max((when - self._driver.now()) / NANO, 0)
        handle = loop.call_later(wait, fire)
        self._timers.add(handle)

    def kick(self) -> None:
        """See to it that the engine does its next work in time; call after giving it work."""
        due = self.engine.next_due()
        if due is None or (self._kick_at is not None and self._kick_at <= due):
            return
        if self._kick is not None:
            self._kick.cancel()
        self._kick_at = due
        wait = max((due + _SLACK_NS - self._driver.now()) / NANO, _SHORTEST)
        self._kick = asyncio.get_running_loop().call_later(wait, self._on_kick)

    def stop(self) -> None:
        """Cancel every timer."""
        for handle in self._timers:
            handle.cancel()
        self._timers.clear()
        if self._kick is not None:
            self._kick.cancel()
        self._kick = self._kick_at = None

    def _on_kick(self) -> None:
        self._kick = self._kick_at = None
        self.now()
        self.kick()

    # --- faults and limits -------------------------------------------------------------------

    def fault(self, name: str) -> Mapping[str, Any] | None:
        """Use up one occurrence of a fault, or return None."""
        return self._faults.take(Venue.GRVT, name)

    def peek(self, name: str) -> Mapping[str, Any] | None:
        """Return the settings of an active fault, without using it up."""
        return self._faults.peek(Venue.GRVT, name)

    def holds(self, name: str) -> bool:
        """True while a fault is active; uses nothing up."""
        return self._faults.holds(Venue.GRVT, name)

    def refuses(self) -> bool:
        """True when this request or handshake is to be cut off (F52, F54)."""
        return any(self.fault(name) is not None for name in _DOWN)

    def down(self) -> bool:
        """True while the venue is to be unreachable; uses nothing up."""
        return any(self.holds(name) for name in _DOWN)

    async def late_answer(self, method: str) -> None:
        """Hold the answer to a create back, so that its order and fill are told first (F20)."""
        late = self.fault("F20") if method in _CREATES else None
        if late is not None:
            await asyncio.sleep(int(late.get("delay_ms", _LATE_MS)) * MS / NANO)

    def next_request(self) -> int | None:
        """Return the number that an error names, where the options want one."""
        self._requests += 1
        return self._requests if self.options.request_ids else None

    # --- what the engine tells ---------------------------------------------------------------

    def _on_event(self, event: EngineEvent) -> None:
        if isinstance(event, OrderChanged):
            self._on_order(event)
        elif isinstance(event, PublicTrade):
            self.tapes[event.symbol].add(event, self.engine.mark(event.symbol))
        elif isinstance(event, FundingSettled):
            member = self.members.with_account(event.account)
            if member is not None:
                self.keep_funding(member, event)

    def _on_order(self, event: OrderChanged) -> None:
        order = event.order
        member = self.owner(order)
        if member is None:
            return
        # Late news (``delayed``) carries a copy of the order as it was; records are the engine's.
        member.orders[shown_id(order)] = self.engine.orders.get(order.order_id, order)
        if event.fill is not None:
            self._keep_fill(member, event.fill, order)

    def _keep_fill(self, member: Member, fill: SimFill, order: SimOrder) -> None:
        mark = self.engine.mark(fill.symbol)
        leverage = self.engine.leverage(member.id, fill.symbol)
        margin_type = member.margin_type(fill.symbol)
        member.lifecycles.fill(fill, mark, leverage, member.sub_account, margin_type)
        split, odd = self.fault("F27"), self.fault("F28")
        parts = 1 if split is None else int(split.get("parts", _PARTS))
        fees = self.engine.fees(member.id)
        rows = fill_rows(fill, order, (mark, self.index(fill.symbol)), fees, parts)
        for body in rows:
            body["fee_currency"] = self.engine.rules.settle_asset
            body["sub_account_id"] = member.sub_account
            if odd is not None:
                body["fee"] = dec(-abs(fill.fee) // parts)
                body["fee_currency"] = odd.get("asset", "ETH")
            member.fills.add(fill.at, fill.symbol, body)
        member.told = len(rows)

    def keep_funding(self, member: Member, event: FundingSettled) -> None:
        """GRVT's amount is positive when paid, the engine's when received (venues.md A4.2)."""
        member.lifecycles.fund(event.symbol, event.amount)
        body = {
            "event_time": str(event.at),
            "sub_account_id": member.sub_account,
            "instrument": event.symbol,
            "currency": self.engine.rules.settle_asset,
            "amount": dec(-event.amount),
            "tx_id": str(member.fundings.total + 1),
        }
        member.fundings.add(event.at, event.symbol, body)

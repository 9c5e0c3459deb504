"""What every GRVT endpoint shares: engine, clock, faults, account, timers and histories.

The universe drives the engine. The desk only sees to it that orders taken here do not wait for the
universe's next look: it calls ``advance`` at the time that the engine itself names.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from exchanges.simulator.api import Engine
from exchanges.simulator.grvt_auth import Credentials, Sessions, Signers
from exchanges.simulator.grvt_codec import AccountFigures, fill_json
from exchanges.simulator.grvt_history import History
from exchanges.simulator.grvt_options import GrvtOptions
from exchanges.simulator.grvt_payload import Fields, market_filter, sub_account
from exchanges.simulator.grvt_rates import ALWAYS, DOCUMENTED, RateTable
from exchanges.simulator.grvt_tape import Tape
from exchanges.simulator.grvt_words import ApiError, Json, dec
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
from strategy.domain import BPS_ONE, NANO, Ns, Venue, notional

_SLACK_NS = 1_500_000
"""Leaves the universe the first go, so that the market is fed in time order."""
_SHORTEST = 0.001
_DOWN = ("F52", "F54")


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


class Desk:
    """State shared by the endpoints of one venue and its one account.

    Args:
        engine: its first account is served, or one is created.
        driver: the venue's clock.
        faults: the fault board.
        credentials: API key, sub account and registered signer.
        options: switches of what the venue leaves open.
    """

    def __init__(
        self,
        engine: Engine,
        driver: Driver,
        faults: Faults,
        credentials: Credentials,
        options: GrvtOptions,
    ) -> None:
        self.engine = engine
        self.options = options
        self.sub_account = credentials.sub_account_id
        self.sessions = Sessions(credentials, options)
        self.signers = Signers(credentials, options)
        self.rates = RateTable(DOCUMENTED if options.rate_limits else ALWAYS)
        self.account: SimAccount = (
            next(iter(engine.accounts.values()))
            if engine.accounts
            else engine.add_account(Venue.GRVT.value)
        )
        self.tapes = {symbol: Tape() for symbol in engine.markets}
        self.orders: dict[str, SimOrder] = {
            order.order_id: order for order in engine.orders.values() if self.owns(order)
        }
        """The account's orders by id, in creation order."""
        self.fills = History()
        self.fundings = History()
        self.builders: dict[str, Json] = {}
        """Approved builders by address."""
        self._driver = driver
        self._faults = faults
        self._timers: set[asyncio.TimerHandle] = set()
        self._kick: asyncio.TimerHandle | None = None
        self._kick_at: Ns | None = None
        self._requests = 0
        for fill in engine.fills:
            if fill.account == self.account_id:
                self._keep_fill(fill, engine.orders[fill.order_id])
        engine.subscribe(self._on_event)

    # --- account and market ------------------------------------------------------------------

    @property
    def account_id(self) -> str:
        """The engine's id of the one account."""
        return self.account.account_id

    def owns(self, order: SimOrder) -> bool:
        """True for the account's orders."""
        return order.request.account == self.account_id

    def check_account(self, request: Fields, code: int = 1001) -> None:
        """Check the sub account of a request; raises ApiError 3020, or ``code`` for another's."""
        if str(sub_account(request)) != self.sub_account:
            raise ApiError(code)

    def market(self, symbol: str | None, code: int = 3000) -> Market:
        """Return a listed market; raises ApiError."""
        found = None if symbol is None else self.engine.markets.get(symbol)
        if found is None:
            raise ApiError(code)
        return found

    def symbol_filter(self, request: Fields) -> Callable[[str], bool]:
        """Return the test that a request's ``kind``, ``base`` and ``quote`` put to a symbol."""
        wanted = market_filter(request)

        def takes(symbol: str) -> bool:
            instrument = self.engine.markets[symbol].instrument
            return wanted.takes(symbol, instrument.base, instrument.quote)

        return takes

    def figures(self) -> AccountFigures:
        """Return the account's money as it now is."""
        engine, maintenance = self.engine, 0
        for position in self.account.positions.values():
            price = engine.mark(position.symbol) or position.entry
            value = notional(price, abs(position.qty))
            maintenance += value * engine.rules.maintenance_margin // BPS_ONE
        return AccountFigures(
            equity=engine.equity(self.account_id),
            balance=self.account.balance,
            initial_margin=engine.margin_used(self.account_id),
            maintenance_margin=maintenance,
            leverage=self.account.leverage,
        )

    def visible(self, order: SimOrder, now: Ns) -> bool:
        """True once queries know the order (venues.md A5.1)."""
        if not self.options.lookup_delay:
            return True
        return now >= order.received_at + self.engine.rules.visibility

    # --- time --------------------------------------------------------------------------------

    def clock(self) -> Ns:
        """Return the venue's time without advancing the engine."""
        return self._driver.now()

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

    def refuses(self) -> bool:
        """True when this request or handshake is to be cut off (F52, F54)."""
        return any(self.fault(name) is not None for name in _DOWN)

    def down(self) -> bool:
        """True while the venue is to be unreachable; uses nothing up."""
        return any(self._faults.holds(Venue.GRVT, name) for name in _DOWN)

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
        elif isinstance(event, FundingSettled) and event.account == self.account_id:
            self._keep_funding(event)

    def _on_order(self, event: OrderChanged) -> None:
        order = event.order
        if not self.owns(order):
            return
        self.orders.setdefault(order.order_id, order)
        if event.fill is not None:
            self._keep_fill(event.fill, order)

    def _keep_fill(self, fill: SimFill, order: SimOrder) -> None:
        mark = self.engine.mark(fill.symbol)
        body = fill_json(fill, order, mark, self.engine.rules, self.sub_account)
        self.fills.add(fill.at, fill.symbol, body)

    def newest_fill(self) -> Json:
        """Return the last fill of the account, as histories and streams show it."""
        return next(iter(self.fills.newest())).body

    def _keep_funding(self, event: FundingSettled) -> None:
        """GRVT's amount is positive when paid, the engine's when received (venues.md A4.2)."""
        number = self.fundings.total + 1
        body = {
            "event_time": str(event.at),
            "sub_account_id": self.sub_account,
            "instrument": event.symbol,
            "currency": self.engine.rules.settle_asset,
            "amount": dec(-event.amount),
            "tx_id": str(number),
        }
        self.fundings.add(event.at, event.symbol, body)

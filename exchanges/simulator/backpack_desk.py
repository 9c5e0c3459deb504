"""What every Backpack endpoint shares: engine, clock, faults, account, and waiting for the engine.

The universe drives the engine. Only after handing it an order or a cancel does the desk see to it
that it is not left asleep: until that can have taken effect, it calls ``advance`` at the times the
engine itself names.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from exchanges.simulator.api import Engine
from exchanges.simulator.backpack_auth import KeyRing
from exchanges.simulator.backpack_options import BackpackOptions
from exchanges.simulator.backpack_prints import Prints
from exchanges.simulator.backpack_words import MINUTE_NS, ApiError, bad_payload, throttled
from exchanges.simulator.model import (
    EngineEvent,
    FundingSettled,
    Market,
    NewOrder,
    OrderChanged,
    PublicTrade,
    SimAccount,
    SimOrder,
)
from strategy.domain import NANO, Ns, Venue

_SLACK_SECONDS = 0.002
"""Leaves the universe the first go, so that the market is fed in time order."""
_MAX_FUNDINGS = 10_000
_DOWN = ("F52", "F55")


class Driver(Protocol):
    """The venue's clock."""

    def now(self) -> Ns:
        """Return Unix ns."""
        ...


class Faults(Protocol):
    """The fault board."""

    def take(self, venue: Venue, name: str, /) -> Mapping[str, Any] | None:
        """Consume one occurrence of an active fault."""
        ...


class Credentials(Protocol):
    """The account's API key."""

    @property
    def public_key(self) -> str:
        """Base64 of the 32-byte verifying key."""
        ...


class Desk:
    """State shared by the endpoints of one venue and its one account."""

    def __init__(
        self,
        engine: Engine,
        driver: Driver,
        faults: Faults,
        credentials: Credentials,
        options: BackpackOptions,
    ) -> None:
        self.engine = engine
        self.options = options
        self.keys = KeyRing(credentials.public_key)
        self.prints = Prints()
        self.fundings: deque[FundingSettled] = deque(maxlen=_MAX_FUNDINGS)
        self.account: SimAccount = (
            next(iter(engine.accounts.values()))
            if engine.accounts
            else engine.add_account(Venue.BACKPACK.value)
        )
        self._driver = driver
        self._faults = faults
        self._waiters: dict[str, list[asyncio.Event]] = {}
        self._kick: asyncio.TimerHandle | None = None
        self._until = Ns(0)
        """When everything handed to the engine so far has taken effect."""
        self._requests: deque[Ns] = deque()
        engine.subscribe(self._on_event)

    @property
    def account_id(self) -> str:
        """The engine's id of the one account."""
        return self.account.account_id

    def clock(self) -> Ns:
        """Return the venue's time without advancing the engine."""
        return self._driver.now()

    def now(self) -> Ns:
        """Bring the engine up to the present and return it; call before reading the engine."""
        now = self._driver.now()
        self.engine.advance(now)
        return now

    def fault(self, name: str) -> Mapping[str, Any] | None:
        """Consume one occurrence of a fault, or return None."""
        return self._faults.take(Venue.BACKPACK, name)

    def down(self) -> bool:
        """True while the venue is to be unreachable (F52, F55)."""
        return any(self.fault(name) is not None for name in _DOWN)

    def market(self, symbol: object) -> Market:
        """Return a listed market; raises ApiError for any other symbol."""
        found = self.engine.markets.get(symbol) if isinstance(symbol, str) else None
        if found is None:
            raise bad_payload('failed to parse "MarketSymbol": Invalid market symbol')
        return found

    def owned(self, order: SimOrder | None, symbol: str) -> SimOrder | None:
        """Return the order if it is the account's and of that market."""
        if order is None or order.request.account != self.account_id:
            return None
        return order if order.request.symbol == symbol else None

    def count_request(self) -> None:
        """Spend one request of the account's minute; raises 429 when there is none left."""
        now = self.clock()
        recent = self._requests
        while recent and recent[0] <= now - MINUTE_NS:
            recent.popleft()
        if len(recent) >= self.options.requests_per_minute:
            raise throttled()
        recent.append(now)

    def count_refusal(self) -> None:
        """Count an order that was refused before the engine saw it."""
        self.account.orders_received += 1
        self.account.orders_rejected += 1

    def place(self, new: NewOrder) -> SimOrder:
        """Hand an order to the engine; raises ``Refusal``."""
        order = self.engine.place(self.now(), new)
        self._handed()
        return order

    def cancel(self, order: SimOrder) -> None:
        """Hand a cancel to the engine."""
        self.engine.cancel(self.now(), order)
        self._handed()

    def cancel_all(self, symbol: str) -> list[SimOrder]:
        """Hand a cancel of every order of a market to the engine; returns those affected."""
        orders = self.engine.cancel_all(self.now(), self.account_id, symbol)
        self._handed()
        return orders

    async def settled(self, order: SimOrder, done: Callable[[SimOrder], bool]) -> None:
        """Wait until ``done(order)``.

        Raises:
            ApiError: 503 TIMEOUT, outcome unknown, when the engine does not come to it in time.
        """
        changed = asyncio.Event()
        self._waiters.setdefault(order.order_id, []).append(changed)
        try:
            async with asyncio.timeout(self.options.engine_seconds):
                while not done(order):
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            raise ApiError(503, "TIMEOUT", "Timed out waiting for the engine") from None
        finally:
            self._forget(order.order_id, changed)

    def stop(self) -> None:
        """Cancel the timer."""
        if self._kick is not None:
            self._kick.cancel()
            self._kick = None

    def _handed(self) -> None:
        rules = self.engine.rules
        self._until = Ns(self.clock() + rules.latency + rules.taker_delay)
        self._arm()

    def _forget(self, order_id: str, changed: asyncio.Event) -> None:
        waiting = self._waiters[order_id]
        waiting.remove(changed)
        if not waiting:
            del self._waiters[order_id]

    def _arm(self) -> None:
        self.stop()
        due = self.engine.next_due()
        if due is not None and due <= self._until:
            delay = max(due - self.clock(), 0) / NANO + _SLACK_SECONDS
            self._kick = asyncio.get_running_loop().call_later(delay, self._kicked)

    def _kicked(self) -> None:
        self._kick = None
        self.now()
        self._arm()

    def _on_event(self, event: EngineEvent) -> None:
        if isinstance(event, OrderChanged):
            for changed in self._waiters.get(event.order.order_id, ()):
                changed.set()
        elif isinstance(event, PublicTrade):
            self.prints.add(event)
        elif isinstance(event, FundingSettled) and event.account == self.account_id:
            self.fundings.append(event)

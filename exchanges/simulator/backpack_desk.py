"""What every Backpack endpoint shares: engine, clock, faults, accounts, and waiting for the engine.

The universe drives the engine. Only after handing it an order or a cancel does the desk see to it
that it is not left asleep: until that can have taken effect, it calls ``advance`` at the times the
engine itself names.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from exchanges.simulator.api import Engine
from exchanges.simulator.backpack_codec import visible_id
from exchanges.simulator.backpack_members import Member, Members
from exchanges.simulator.backpack_options import BackpackOptions
from exchanges.simulator.backpack_prints import Prints
from exchanges.simulator.backpack_words import MS, ApiError, bad_payload, bad_request
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
from strategy.domain import NANO, Level, Ns, Px, Venue

_SLACK_SECONDS = 0.002
"""Leaves the universe the first go, so that the market is fed in time order."""
_STEP_MS = 10_000
_DRIFT_PPM = 100_000
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

    def peek(self, venue: Venue, name: str, /) -> Mapping[str, Any] | None:
        """Return the settings of an active fault without using it up."""
        ...

    def since(self, venue: Venue, name: str, /) -> Ns | None:
        """Return when an active fault was injected."""
        ...


class Credentials(Protocol):
    """An account's API key."""

    @property
    def public_key(self) -> str:
        """Base64 of the 32-byte verifying key."""
        ...


class Desk:
    """State shared by the endpoints of one venue."""

    def __init__(
        self,
        engine: Engine,
        driver: Driver,
        faults: Faults,
        credentials: Sequence[Credentials],
        options: BackpackOptions,
    ) -> None:
        self.engine = engine
        self.options = options
        self.members = Members()
        self.prints = Prints()
        self.ghosts: dict[str, SimOrder] = {}
        """Orders that ended here before the engine could know them, by order id."""
        self.aliases: dict[str, str] = {}
        """The engine's id by the client's, of trigger orders that have fired."""
        self.repeated: dict[tuple[str, int], SimOrder] = {}
        """Newest order by account and client id, of ids that were sent again (venues.md D11)."""
        self.odd_fees: dict[int, dict[str, str]] = {}
        """What F28 makes of the fee of a trade, by trade number, in REST's words."""
        self.followers: list[Callable[[OrderChanged], None]] = []
        """Told of orders that are announced by ``announce``."""
        self._driver = driver
        self._faults = faults
        self._waiters: dict[str, list[asyncio.Event]] = {}
        self._kick: asyncio.TimerHandle | None = None
        self._until = Ns(0)
        """When everything handed to the engine so far has taken effect."""
        self._next_id = 6_100_000_000
        for each in credentials:
            self.add_account(each)
        engine.subscribe(self._on_event)

    def add_account(self, credentials: Credentials, account_id: str | None = None) -> SimAccount:
        """Serve one more account, or one more key of an account.

        Args:
            credentials: the key; only the public half is used.
            account_id: the engine's account, created when it does not exist; None takes the first
                that is not served yet, or a new one.

        Raises:
            ValueError: not an ED25519 verifying key, or one that opens another account.
        """
        known = self.members.keys.checked(credentials.public_key)
        name = account_id or known or self._unserved()
        existing = self.engine.accounts.get(name)
        account = self.engine.add_account(name) if existing is None else existing
        return self.members.add(credentials.public_key, account).account

    def _unserved(self) -> str:
        for name in self.engine.accounts:
            if self.members.get(name) is None:
                return name
        number = len(self.engine.accounts)
        return f"{Venue.BACKPACK}-{number}" if number else str(Venue.BACKPACK)

    # --- time and faults ---------------------------------------------------------------------

    def clock(self) -> Ns:
        """Return the venue's time without advancing the engine."""
        return self._driver.now()

    def wall(self) -> Ns:
        """Return what the venue believes the time is: F60 makes it step, F61 makes it drift."""
        now = self.clock()
        step, drift = self.peek("F60"), self.peek("F61")
        if step is not None:
            now = Ns(now + int(step.get("offset_ms", _STEP_MS)) * MS)
        if drift is not None:
            passed = now - (self._faults.since(Venue.BACKPACK, "F61") or now)
            now = Ns(now + passed * int(drift.get("ppm", _DRIFT_PPM)) // 1_000_000)
        return now

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

    def peek(self, name: str) -> Mapping[str, Any] | None:
        """Return the settings of an active fault, or None, without using it up."""
        return self._faults.peek(Venue.BACKPACK, name)

    def check_key(self) -> None:
        """Refuse every key while F79 is active.

        Raises:
            ApiError: 401 for a revoked key, 403 for an address that is not on its list.
        """
        banned = self.fault("F79")
        if banned is not None:
            if banned.get("mode") == "ip":
                raise ApiError(403, "FORBIDDEN", "IP address is not whitelisted")
            raise ApiError(401, "UNAUTHORIZED", "API key has been revoked")

    def maintenance(self) -> bool:
        """True while the venue is down for maintenance: F68 with ``"mode": "maintenance"``."""
        halted = self.peek("F68")
        return halted is not None and halted.get("mode") == "maintenance"

    def funded(self, event: FundingSettled) -> None:
        """Record funding that the engine did not settle itself (F70)."""
        self.members[event.account].fundings.append(event)

    def fresh_id(self) -> str:
        """Return an order id of the face's own, beyond every id of the engine."""
        self._next_id += 1
        return str(self._next_id)

    # --- the market --------------------------------------------------------------------------

    def market(self, symbol: object, *, query: bool = False) -> Market:
        """Return a listed market.

        Args:
            symbol: what the client sent.
            query: it came in a query rather than a body; the venue's words differ.

        Raises:
            ApiError: no such market.
        """
        found = self.engine.markets.get(symbol) if isinstance(symbol, str) else None
        if found is None:
            if query:
                raise bad_request("Invalid market symbol")
            raise bad_payload('failed to parse "MarketSymbol": Invalid market symbol')
        if self.peek("F14") is None:
            return found
        coarse = replace(found.instrument, tick=Px(10 * found.instrument.tick))
        return replace(found, instrument=coarse)

    def crossing(self, symbol: str) -> Level | None:
        """Return the bid through the best ask that F66 shows, None without that fault."""
        if self.peek("F66") is None:
            return None
        inst = self.engine.markets[symbol].instrument
        _, ask = self.engine.touch(symbol)
        return None if ask is None else (Px(ask + inst.tick), inst.min_qty)

    def reference(self, symbol: str, by: str) -> Px:
        """Return ``LastPrice``, ``MarkPrice`` or ``IndexPrice``; 0 while there is none."""
        if by == "IndexPrice":
            return self.engine.index(symbol) or self.engine.mark(symbol)
        if by == "LastPrice":
            last = self.engine.last_price(symbol)
            return self.engine.mark(symbol) if last is None else last
        return self.engine.mark(symbol)

    # --- orders ------------------------------------------------------------------------------

    def shown(self, trade: PublicTrade) -> PublicTrade:
        """Return a public trade with the order ids that their owners know."""
        maker, taker = self._shown_id(trade.maker_order_id), self._shown_id(trade.taker_order_id)
        return replace(trade, maker_order_id=maker, taker_order_id=taker)

    def _shown_id(self, order_id: str) -> str:
        order = self.engine.orders.get(order_id)
        return order_id if order is None else visible_id(order)

    def by_order_id(self, member: Member, symbol: str, order_id: str) -> SimOrder | None:
        """Return the account's order with that id in a market, whatever became of it."""
        known = self.engine.orders.get(self.aliases.get(order_id, order_id))
        if known is None or visible_id(known) != order_id or known.request.account != member.id:
            return None
        return known if known.request.symbol == symbol else None

    def by_client_id(self, member: Member, symbol: str, number: int) -> SimOrder | None:
        """Return the account's newest live order with that client id, else the newest of all."""
        found = [self.repeated.get((member.id, number)), self.engine.find(member.id, str(number))]
        orders = [each for each in found if each is not None and each.request.symbol == symbol]
        return next((each for each in orders if each.live), orders[0] if orders else None)

    def place(self, new: NewOrder) -> SimOrder:
        """Hand an order to the engine; raises ``Refusal``."""
        order = self.engine.place(self.now(), new)
        repeated = new.extra.get("clientId")
        if isinstance(repeated, int):
            self.repeated[new.account, repeated] = order
        self._handed()
        return order

    def cancel(self, order: SimOrder) -> None:
        """Hand a cancel to the engine."""
        self.engine.cancel(self.now(), order)
        self._handed()

    def cancel_all(self, member: Member, symbol: str) -> list[SimOrder]:
        """Hand a cancel of every order of a market to the engine; returns those affected."""
        orders = self.engine.cancel_all(self.now(), member.id, symbol)
        self._handed()
        return orders

    def announce(self, order: SimOrder, now: Ns) -> None:
        """Tell the streams of an order that the engine never had."""
        for told in self.followers:
            told(OrderChanged(order, now))

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
        elif isinstance(event, FundingSettled):
            member = self.members.get(event.account)
            if member is not None:
                member.fundings.append(event)

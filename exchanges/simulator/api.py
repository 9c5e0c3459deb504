"""The engine's interface, as its faces see it. Imports ``strategy.domain`` and ``model`` only."""

from typing import Protocol

from exchanges.simulator.model import (
    EngineEvent,
    Listener,
    Market,
    MarketEvent,
    NewOrder,
    Rules,
    SimAccount,
    SimFill,
    SimOrder,
)
from strategy.domain import Level, Ns, Px, Quote

__all__ = ["Engine", "EngineEvent"]


class Engine(Protocol):
    """One simulated venue. Call ``advance(now)`` before reading anything at ``now``."""

    rules: Rules
    markets: dict[str, Market]
    """By symbol."""
    accounts: dict[str, SimAccount]
    """By account id."""
    orders: dict[str, SimOrder]
    """Every order ever, by order id, in creation order."""
    fills: list[SimFill]
    """Every fill ever, oldest first."""

    def add_account(self, account_id: str) -> SimAccount:
        """Create an account with the starting balance."""
        ...

    def subscribe(self, listener: Listener) -> None:
        """Call ``listener`` synchronously with every event, in order."""
        ...

    def place(self, now: Ns, new: NewOrder) -> SimOrder:
        """Take an order at the gateway; it reaches the book at ``due_at``. Raises Refusal."""
        ...

    def cancel(self, now: Ns, order: SimOrder) -> None:
        """Take a cancel at the gateway; effective one latency later if the order is still live."""
        ...

    def cancel_all(self, now: Ns, account: str, symbol: str | None = None) -> list[SimOrder]:
        """Cancel every live order of the account; returns those affected."""
        ...

    def find(self, account: str, client_id: str) -> SimOrder | None:
        """Return the newest order with that client id."""
        ...

    def open_orders(self, account: str, symbol: str | None = None) -> list[SimOrder]:
        """Return resting orders (phase OPEN), oldest first."""
        ...

    def advance(self, now: Ns) -> None:
        """Do everything due up to ``now``, in time order."""
        ...

    def next_due(self) -> Ns | None:
        """Return when ``advance`` next has something to do."""
        ...

    def feed(self, now: Ns, symbol: str, event: MarketEvent) -> None:
        """Apply one event of the external market."""
        ...

    def book(self, symbol: str, depth: int) -> tuple[list[Level], list[Level]]:
        """Return displayed bids and asks, best first, own orders included."""
        ...

    def touch(self, symbol: str) -> tuple[Px | None, Px | None]:
        """Return the best displayed bid and ask."""
        ...

    def mark(self, symbol: str) -> Px:
        """Return the mark price: the last mid of a two-sided book."""
        ...

    def equity(self, account: str) -> Quote:
        """Return balance plus unrealised profit at the mark."""
        ...

    def margin_used(self, account: str) -> Quote:
        """Return initial margin of positions and resting orders."""
        ...

    def set_market(
        self,
        now: Ns,
        symbol: str,
        *,
        shift_bps: int | None = None,
        halt: bool | None = None,
        liquidity: int | None = None,
    ) -> None:
        """Shift the external market, halt or resume it, or scale its sizes (1e-9; NANO is 1)."""
        ...

    def last_price(self, symbol: str) -> Px | None:
        """Return the last traded price."""
        ...

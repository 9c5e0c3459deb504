"""What every part of the matching engine shares: orders, indexes, ids, listeners.

Imports ``strategy.domain`` and simulator modules only. Orders end here and nowhere else.
"""

import random  # noqa: TID251 - the type of the injected, seeded generator
from collections.abc import Sequence

from exchanges.simulator.engine_book import SymbolBook
from exchanges.simulator.model import (
    Deny,
    Ended,
    EngineEvent,
    Listener,
    Market,
    NewOrder,
    OrderChanged,
    Phase,
    Rules,
    SimAccount,
    SimFill,
    SimOrder,
)
from strategy.domain import Ns, Px, Qty, Venue

HALTED = frozenset({"Closed", "CancelOnly"})
"""Market states in which nothing trades and nothing is accepted."""


class EngineState:
    """Orders, accounts, books and listeners of one venue, with their indexes."""

    def __init__(self, rules: Rules, markets: Sequence[Market], rng: random.Random) -> None:
        self.rules = rules
        self.markets = {market.instrument.symbol: market for market in markets}
        self.books = {symbol: SymbolBook(m.instrument) for symbol, m in self.markets.items()}
        self.accounts: dict[str, SimAccount] = {}
        self.orders: dict[str, SimOrder] = {}
        self.fills: list[SimFill] = []
        self.live: dict[str, dict[str, SimOrder]] = {}
        """Live orders by account, then order id, in creation order."""
        self.newest: dict[tuple[str, str], SimOrder] = {}
        """Newest order by account and client id."""
        self.listeners: list[Listener] = []
        self._rng = rng
        self._trade_no = rng.randrange(10_000_000, 90_000_000)
        self._order_no = rng.randrange(4_000_000_000, 5_000_000_000)

    def emit(self, event: EngineEvent) -> None:
        """Tell every listener, in the order of subscription."""
        for listener in self.listeners:
            listener(event)

    def create(self, new: NewOrder, now: Ns, due: Ns, phase: Phase = Phase.PENDING) -> SimOrder:
        """Record an order and tell that it exists."""
        order = SimOrder(
            order_id=self._order_id(),
            request=new,
            received_at=now,
            due_at=due,
            phase=phase,
            touch=self.books[new.symbol].touch(),
            updated_at=now,
        )
        self.orders[order.order_id] = order
        self.live[new.account][order.order_id] = order
        if new.client_id:
            self.newest[new.account, new.client_id] = order
        self.changed(order, now)
        return order

    def open(self, order: SimOrder, now: Ns, px: Px) -> None:
        """Rest an order on its book."""
        order.phase = Phase.OPEN
        self.books[order.request.symbol].side(order.request.side).rest(order, px)
        self.changed(order, now)

    def shrink(self, order: SimOrder, total: Qty, now: Ns) -> None:
        """Reduce an order's total size and, when it rests, its displayed size."""
        order.shrunk_qty = total
        if order.request.px is not None:
            self.books[order.request.symbol].side(order.request.side).touched(order.request.px)
        self.changed(order, now)

    def finish(
        self, order: SimOrder, phase: Phase, ended: Ended, now: Ns, deny: Deny | None = None
    ) -> None:
        """End an order and tell why."""
        self.retire(order, phase, ended, now)
        order.deny = deny
        if phase is Phase.REJECTED:
            self.accounts[order.request.account].orders_rejected += 1
        self.changed(order, now)

    def retire(self, order: SimOrder, phase: Phase, ended: Ended, now: Ns) -> None:
        """Take an order out of its book and of the live index, silently."""
        order.phase = phase
        order.ended = ended
        order.done_at = now
        order.updated_at = now
        self.live[order.request.account].pop(order.order_id, None)
        if order.request.px is not None:
            side = self.books[order.request.symbol].side(order.request.side)
            side.remove(order, order.request.px)

    def changed(self, order: SimOrder, now: Ns, fill: SimFill | None = None) -> None:
        """Tell listeners of an order as it now is."""
        order.updated_at = now
        self.emit(OrderChanged(order, now, fill))

    def begin_execution(self) -> int:
        """Return the number shared by the trade ids of one taker execution."""
        return self._trade_no + 1

    def next_trade_id(self, execution: int) -> str:
        """Return the next trade id of an execution, e.g. ``"74150425-1"``.

        The counter grows by one per trade, so that prefix + suffix - 1 is a unique, growing integer
        for a venue whose trade ids are numbers.
        """
        self._trade_no += 1
        return f"{execution}-{self._trade_no - execution + 1}"

    def _order_id(self) -> str:
        """GRVT: ``0x`` and 32 hex digits; Backpack: a number as text (venues.md A5.1, B3.2)."""
        self._order_no += self._rng.randint(1, 500)
        if self.rules.venue is Venue.GRVT:
            return f"0x0101{self._order_no:012x}{self._rng.getrandbits(64):016x}"
        return str(self._order_no)

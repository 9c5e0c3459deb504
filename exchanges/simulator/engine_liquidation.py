"""Liquidation, the insurance fund and auto-deleveraging of one simulated venue.

Imports ``strategy.domain`` and simulator modules only. An account whose equity is below its
maintenance margin loses its orders, then its positions, step by step, until it is healthy again:

1. forced orders against the book, no larger than ``Rules.liquidation_step`` and no worse than what
   the insurance fund could pay for;
2. when the book has nothing at such a price and the account is bankrupt: auto-deleveraging at the
   bankruptcy price, against the opposite accounts of ours with the highest profit for their
   equity, then against the rest of the market;
3. otherwise it waits for the market.

What a flat account still owes, the insurance fund pays.
"""

from exchanges.simulator.engine_margin import Margin
from exchanges.simulator.engine_match import Matcher
from exchanges.simulator.engine_state import HALTED, EngineState
from exchanges.simulator.margin import Ledger
from exchanges.simulator.model import Ended, NewOrder, Origin, Phase, SimOrder
from strategy.domain import NANO, Ns, Px, Qty, Side, Tif, side_of


class Liquidator:
    """Closes what accounts can no longer carry."""

    def __init__(
        self, state: EngineState, ledger: Ledger, margin: Margin, matcher: Matcher
    ) -> None:
        self._state = state
        self._ledger = ledger
        self._margin = margin
        self._matcher = matcher
        self._waiting: dict[str, None] = {}
        """Accounts below maintenance margin that the market could not close yet."""

    def run(self, now: Ns, *, moved: bool) -> bool:
        """Act once on each account that is below its maintenance margin; True if any did.

        Args:
            now: Unix ns.
            moved: a mark moved by a tick or more, so that every account with a position counts;
                else only those that traded, paid or wait.
        """
        ledger = self._ledger
        if not moved and not ledger.touched and not self._waiting:
            return False
        suspects = {**(ledger.exposed if moved else ledger.touched), **self._waiting}
        # Whoever this run touches is looked at in the next one.
        ledger.touched.clear()
        acted = False
        for account in suspects:
            if account in ledger.exposed:
                acted |= self._check(account, now)
        for account in list(self._waiting):
            if account not in ledger.exposed:
                self._release(account)
        return acted

    def _check(self, account: str, now: Ns) -> bool:
        """Act on an account that is below its maintenance margin; True if anything changed."""
        if not self._margin.breached(account):
            if account in self._waiting:
                self._release(account)
            return False
        self._waiting[account] = None
        self._state.accounts[account].liquidating = True
        acted = self._cancel(account, now)
        for position in list(self._state.accounts[account].positions.values()):
            if position.qty and self._state.markets[position.symbol].state not in HALTED:
                acted |= self._reduce(account, position.symbol, now)
                if not self._margin.breached(account):
                    break
        return acted

    def _release(self, account: str) -> None:
        """Leave an account that is healthy or flat; the fund pays what a flat one owes."""
        del self._waiting[account]
        self._state.accounts[account].liquidating = False
        if account not in self._ledger.exposed:
            self._ledger.cover(account)

    def _cancel(self, account: str, now: Ns) -> bool:
        live = list(self._state.live[account].values())
        for order in live:
            self._state.finish(order, Phase.CANCELLED, Ended.LIQUIDATION, now)
        return bool(live)

    def _reduce(self, account: str, symbol: str, now: Ns) -> bool:
        """Close one step of a position; True if anything traded."""
        if self._close_step(account, symbol, now):
            return True
        if self._ledger.equity(account) > 0:
            return False
        self._deleverage(account, symbol, now)
        return True

    # --- against the book ---------------------------------------------------------------

    def _close_step(self, account: str, symbol: str, now: Ns) -> bool:
        held = self._ledger.position(account, symbol)
        side = side_of(-held)
        opposite = self._state.books[symbol].side(side.opposite)
        limit = opposite.key(self._worst(account, symbol))
        best = opposite.best()
        if best is None or best < limit:
            return False
        order = self._order(account, symbol, side, self._step(symbol, held), now)
        self._matcher.sweep(order, limit, now)
        return True

    def _worst(self, account: str, symbol: str) -> int:
        """Return the worst price of a forced trade: beyond it the fund could not pay the debt."""
        held = self._ledger.position(account, symbol)
        backing = max(self._ledger.insurance, 0) * NANO // abs(held)
        worst = self._margin.bankruptcy(account, symbol) - side_of(held).value * backing
        return max(worst, 1)

    def _step(self, symbol: str, held: int) -> Qty:
        """Return the size of one forced order: a bounded notional, in whole steps."""
        instrument = self._state.markets[symbol].instrument
        mark = self._ledger.mark(symbol)
        size = abs(held)
        if mark:
            most = self._state.rules.liquidation_step * NANO // mark
            size = min(size, max(instrument.floor_qty(most), instrument.step))
        return Qty(size)

    def _order(
        self,
        account: str,
        symbol: str,
        side: Side,
        qty: Qty,
        now: Ns,
        origin: Origin = Origin.LIQUIDATION,
    ) -> SimOrder:
        extra: dict[str, object] = {"forced": True}
        if origin is not Origin.LIQUIDATION:
            extra["origin"] = origin
        new = NewOrder(account, symbol, side, qty, None, Tif.IOC, reduce_only=True, extra=extra)
        return self._state.create(new, now, now, Phase.OPEN)

    # --- against other accounts -----------------------------------------------------------

    def _deleverage(self, account: str, symbol: str, now: Ns) -> None:
        """Close a bankrupt position at its bankruptcy price against whoever holds the opposite."""
        held = self._ledger.position(account, symbol)
        side = side_of(-held)
        px = self._grid(symbol, side, self._margin.bankruptcy(account, symbol))
        order = self._order(account, symbol, side, Qty(abs(held)), now)
        for other in self._ranked(account, symbol, side):
            qty = Qty(min(abs(self._ledger.position(other, symbol)), order.remaining))
            if not qty:
                break
            victim = self._order(other, symbol, side.opposite, qty, now, Origin.ADL)
            self._matcher.assign(victim, order, qty, px, now)
        if order.live:
            self._matcher.assign(None, order, order.remaining, px, now)

    def _ranked(self, account: str, symbol: str, side: Side) -> list[str]:
        """Return the accounts on the other side of a bankrupt one, most profitable first.

        ``side`` is that of the forced order: the others hold what closes by trading against it.
        """
        ledger = self._ledger
        found = [
            other
            for other in ledger.exposed
            if other != account and ledger.position(other, symbol) * side.value > 0
        ]
        return sorted(found, key=lambda other: -self._rank(other, symbol))

    def _rank(self, account: str, symbol: str) -> int:
        """Return profit over equity, 1e-9: return on the position times its leverage."""
        equity = max(self._ledger.equity(account), 1)
        return self._ledger.unrealized(account, symbol) * NANO // equity

    def _grid(self, symbol: str, side: Side, px: int) -> Px:
        """Round to the tick in favour of the one who closes, to one tick at the least."""
        tick = self._state.markets[symbol].instrument.tick
        rounded = -(-px // tick) * tick if side is Side.SELL else px // tick * tick
        return Px(max(rounded, tick))

    # --- on demand ------------------------------------------------------------------------

    def force(
        self, account: str, symbol: str, origin: Origin, qty: Qty | None, now: Ns
    ) -> SimOrder | None:
        """Close a position, or ``qty`` of it, whatever the account's margin; None without one."""
        held = self._ledger.position(account, symbol)
        if not held:
            return None
        size = Qty(min(abs(held), abs(held) if qty is None else qty))
        if origin is Origin.LIQUIDATION:
            self._cancel(account, now)
            order = self._order(account, symbol, side_of(-held), size, now)
            self._matcher.sweep(order, None, now)
            return order
        order = self._order(account, symbol, side_of(-held), size, now, origin)
        mark = self._ledger.mark(symbol) or self._state.accounts[account].positions[symbol].entry
        self._matcher.assign(None, order, size, self._grid(symbol, side_of(-held), mark), now)
        return order

"""Accounts of a simulated venue: fees, positions, margin and funding, in exact integers.

Imports ``strategy.domain`` and ``model`` only. Cost and realised profit are held in 1e-18 quote, so
that averaging an entry price never creates or loses money; accounts see them in 1e-9.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from exchanges.simulator.model import NewOrder, Rules, SimAccount, SimOrder, SimPosition
from strategy.domain import (
    BPS_ONE,
    NANO,
    Bps,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    notional,
)


def _toward_zero(value: int, divisor: int) -> int:
    whole = abs(value) // divisor
    return whole if value >= 0 else -whole


@dataclass(slots=True)
class _Exact:
    """Signed cost of the open position and profit realised so far, 1e-18 quote."""

    cost: int = 0
    realized: int = 0


@dataclass(frozen=True, slots=True)
class Booked:
    """What one execution did to an account: 1e-9 quote."""

    fee: Quote
    realized: Quote
    position: SimPosition


class Ledger:
    """Books executions and funding, and answers the margin questions.

    ``mark`` gives the mark price of a symbol, 0 while none is known; positions are then valued at
    their entry, because a position without a price has no profit yet.
    """

    def __init__(
        self, rules: Rules, accounts: dict[str, SimAccount], mark: Callable[[str], Px]
    ) -> None:
        self._rules = rules
        self._accounts = accounts
        self._mark = mark
        self._exact: dict[tuple[str, str], _Exact] = {}

    def fill(
        self, account_id: str, symbol: str, side: Side, qty: Qty, px: Px, *, maker: bool
    ) -> Booked:
        """Book one execution: fee, average-entry position, realised profit, balance."""
        account = self._accounts[account_id]
        position = account.positions.setdefault(symbol, SimPosition(symbol))
        exact = self._exact.setdefault((account_id, symbol), _Exact())
        _trade(exact, position.qty, side.value * qty, px)
        position.qty = SignedQty(position.qty + side.value * qty)
        position.entry = Px(exact.cost // position.qty) if position.qty else Px(0)
        total = _toward_zero(exact.realized, NANO)
        realized = Quote(total - position.realized)
        position.realized = Quote(total)
        value = notional(px, qty)
        rate = self._rules.maker_fee if maker else self._rules.taker_fee
        fee = Quote(_toward_zero(value * rate, BPS_ONE))
        position.fees = Quote(position.fees + fee)
        account.fees_paid = Quote(account.fees_paid + fee)
        account.volume = Quote(account.volume + value)
        account.balance = Quote(account.balance + realized - fee)
        return Booked(fee, realized, position)

    def fund(self, account_id: str, symbol: str) -> Quote:
        """Settle one funding interval at the mark; returns what the account received.

        A positive rate is paid by longs to shorts on both venues (venues.md A7, B6).
        """
        account = self._accounts[account_id]
        position = account.positions[symbol]
        value = notional(self._price(position), position.qty)
        amount = Quote(-_toward_zero(value * self._rules.funding_rate, NANO))
        position.funding = Quote(position.funding + amount)
        account.balance = Quote(account.balance + amount)
        return amount

    def position(self, account_id: str, symbol: str) -> SignedQty:
        """Return the signed position, zero when there never was one."""
        position = self._accounts[account_id].positions.get(symbol)
        return SignedQty(0) if position is None else position.qty

    def reducible(self, account_id: str, symbol: str, side: Side) -> Qty:
        """Return how much an order of that side may trade and still only reduce."""
        return Qty(max(-side.value * self.position(account_id, symbol), 0))

    def equity(self, account_id: str) -> Quote:
        """Return balance plus unrealised profit at the mark."""
        account = self._accounts[account_id]
        unrealized = 0
        for symbol, position in account.positions.items():
            if position.qty and self._mark(symbol):
                cost = self._exact[account_id, symbol].cost
                unrealized += position.qty * self._mark(symbol) - cost
        return Quote(account.balance + _toward_zero(unrealized, NANO))

    def initial_margin(
        self, account_id: str, live: Iterable[SimOrder], extra: NewOrder | None = None
    ) -> Quote:
        """Return the initial margin of positions and live orders, optionally with one more.

        Per symbol it is the larger of long exposure with open buys and short exposure with open
        sells (venues.md A7), times the larger of the venue's rate and one over the account's
        leverage. Reduce-only orders need none.
        """
        account = self._accounts[account_id]
        buys: dict[str, int] = {}
        sells: dict[str, int] = {}
        waiting = [(order.request, order.remaining) for order in live]
        if extra is not None:
            waiting.append((extra, extra.qty))
        for request, qty in waiting:
            if not request.reduce_only:
                px = self._mark(request.symbol) if request.px is None else request.px
                bucket = buys if request.side is Side.BUY else sells
                bucket[request.symbol] = bucket.get(request.symbol, 0) + notional(px, qty)
        rate = max(self._rules.initial_margin, BPS_ONE // account.leverage)
        total = 0
        for symbol in dict.fromkeys([*account.positions, *buys, *sells]):
            held = account.positions.get(symbol)
            value = notional(self._price(held), held.qty) if held is not None else 0
            exposure = max(value + buys.get(symbol, 0), sells.get(symbol, 0) - value)
            total += _share(exposure, Bps(rate))
        return Quote(total)

    def maintenance(self, account_id: str) -> Quote:
        """Return the maintenance margin of the positions at the mark."""
        total = 0
        for position in self._accounts[account_id].positions.values():
            if position.qty:
                value = abs(notional(self._price(position), position.qty))
                total += _share(value, self._rules.maintenance_margin)
        return Quote(total)

    def breached(self, account_id: str) -> bool:
        """True when a position is open and equity is below the maintenance margin."""
        required = self.maintenance(account_id)
        return bool(required) and self.equity(account_id) < required

    def _price(self, position: SimPosition) -> Px:
        return self._mark(position.symbol) or position.entry


def _share(value: int, rate: Bps) -> int:
    return value * rate // BPS_ONE


def _trade(exact: _Exact, held: int, signed: int, px: int) -> None:
    """Move a signed size at a price through the exact cost; the closed part becomes profit."""
    closed = min(abs(held), abs(signed)) if held * signed < 0 else 0
    if closed:
        direction = 1 if held > 0 else -1
        share = exact.cost * closed // abs(held)
        exact.realized += direction * closed * px - share
        exact.cost -= share
        signed += direction * closed
    exact.cost += signed * px

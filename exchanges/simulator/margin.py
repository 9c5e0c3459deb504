"""The ledger of a simulated venue: fees, positions and every transfer of money, in exact integers.

Imports ``strategy.domain`` and ``model`` only. Cost and realised profit are held in 1e-18 quote, so
that averaging an entry price never creates or loses money; accounts see them in 1e-9.

Whatever an account receives, somebody pays: another account, the rest of the market (*external*),
the venue's fees, a builder or the insurance fund. ``money`` shows that nothing is ever lost.
"""

from collections.abc import Callable
from dataclasses import dataclass

from exchanges.simulator.model import Money, Rules, SimAccount, SimPosition
from strategy.domain import BPS_ONE, NANO, Bps, Px, Qty, Quote, Side, SignedQty, notional


def toward_zero(value: int, divisor: int) -> int:
    """Return the quotient without its fraction, of either sign."""
    whole = abs(value) // divisor
    return whole if value >= 0 else -whole


@dataclass(slots=True)
class _Exact:
    """Signed cost of the open position and profit realised so far, 1e-18 quote."""

    cost: int = 0
    realized: int = 0


@dataclass(frozen=True, slots=True)
class Terms:
    """What one execution costs an account, as rates of its notional."""

    fee: Bps
    penalty: Bps = Bps(0)
    """For the insurance fund, shown as part of the fee."""
    builder: str = ""
    builder_fee: Bps = Bps(0)


FREE = Terms(Bps(0))
"""Deleveraging costs no fee."""


@dataclass(frozen=True, slots=True)
class Booked:
    """What one execution did to an account: 1e-9 quote."""

    fee: Quote
    builder_fee: Quote
    realized: Quote
    position: SimPosition


class Ledger:
    """Books executions, funding and transfers.

    ``mark`` gives the mark price of a symbol, 0 while none is known; positions are then valued at
    their entry, because a position without a price has no profit yet.

    Attributes:
        insurance: what the insurance fund holds, 1e-9 quote; negative when it was overdrawn.
        builders: earned by each builder, 1e-9 quote.
        exposed: accounts with an open position, and how many they have.
        touched: accounts whose money or positions changed since somebody cleared it.
    """

    def __init__(
        self, rules: Rules, accounts: dict[str, SimAccount], mark: Callable[[str], Px]
    ) -> None:
        self._accounts = accounts
        self.mark = mark
        self._exact: dict[tuple[str, str], _Exact] = {}
        self._external: dict[str, int] = {}
        self._external_cash = 0
        self._fees = 0
        self._deposited: int = rules.insurance_fund
        self.insurance: int = rules.insurance_fund
        self.builders: dict[str, Quote] = {}
        self.exposed: dict[str, int] = {}
        self.touched: dict[str, None] = {}

    # --- bookings -----------------------------------------------------------------------

    def open(self, account: SimAccount) -> None:
        """Take up an account: its balance was paid in."""
        self._accounts[account.account_id] = account
        self._deposited += account.balance

    def deposit(self, account_id: str, amount: Quote) -> None:
        """Pay money in; negative takes it out."""
        self._credit(self._accounts[account_id], amount)
        self._deposited += amount

    def transfer(self, source: str, target: str, amount: Quote) -> None:
        """Move money between two accounts."""
        self._credit(self._accounts[source], -amount)
        self._credit(self._accounts[target], amount)

    def cover(self, account_id: str) -> Quote:
        """Let the insurance fund pay what an account owes; returns the payment."""
        account = self._accounts[account_id]
        owed = Quote(max(-account.balance, 0))
        self._credit(account, owed)
        self.insurance -= owed
        return owed

    def fill(
        self, account_id: str, symbol: str, side: Side, qty: Qty, px: Px, terms: Terms
    ) -> Booked:
        """Book one execution: fees, average-entry position, realised profit, balance.

        The rest of the market books the opposite; between two accounts of ours that cancels out.
        """
        account = self._accounts[account_id]
        position = account.positions.setdefault(symbol, SimPosition(symbol))
        exact = self._exact.setdefault((account_id, symbol), _Exact())
        signed = side.value * qty
        self._count_exposed(account_id, position.qty, position.qty + signed)
        _trade(exact, position.qty, signed, px)
        position.qty = SignedQty(position.qty + signed)
        position.entry = Px(exact.cost // position.qty) if position.qty else Px(0)
        self._external[symbol] = self._external.get(symbol, 0) - signed
        self._external_cash += signed * px
        total = toward_zero(exact.realized, NANO)
        realized = Quote(total - position.realized)
        position.realized = Quote(total)
        fee, builder_fee = self._charge(account, notional(px, qty), terms)
        position.fees = Quote(position.fees + fee)
        self._credit(account, realized - fee - builder_fee)
        return Booked(fee, builder_fee, realized, position)

    def _charge(self, account: SimAccount, value: Quote, terms: Terms) -> tuple[Quote, Quote]:
        """Give the fees to who earns them; the account is not debited here."""
        fee = toward_zero(value * terms.fee, BPS_ONE)
        penalty = toward_zero(value * terms.penalty, BPS_ONE)
        builder_fee = toward_zero(value * terms.builder_fee, BPS_ONE)
        self._fees += fee
        self.insurance += penalty
        if terms.builder_fee:
            earned = self.builders.get(terms.builder, 0)
            self.builders[terms.builder] = Quote(earned + builder_fee)
        account.fees_paid = Quote(account.fees_paid + fee + penalty)
        account.builder_fees_paid = Quote(account.builder_fees_paid + builder_fee)
        account.volume = Quote(account.volume + value)
        return Quote(fee + penalty), Quote(builder_fee)

    def fund(self, account_id: str, symbol: str, rate: int) -> Quote:
        """Settle one funding interval at the mark; returns what the account received.

        A positive rate is paid by longs to shorts on both venues (venues.md A7, B6). The rest of
        the market, which holds the opposite of all our accounts, pays or receives the difference.
        """
        account = self._accounts[account_id]
        position = account.positions[symbol]
        value = notional(self.price(position), position.qty)
        amount = Quote(-toward_zero(value * rate, NANO))
        position.funding = Quote(position.funding + amount)
        self._credit(account, amount)
        self._external_cash -= amount * NANO
        return amount

    def _credit(self, account: SimAccount, amount: int) -> None:
        account.balance = Quote(account.balance + amount)
        self.touched[account.account_id] = None

    def _count_exposed(self, account_id: str, before: int, after: int) -> None:
        change = bool(after) - bool(before)
        if change:
            count = self.exposed.get(account_id, 0) + change
            if count:
                self.exposed[account_id] = count
            else:
                del self.exposed[account_id]

    # --- reading ------------------------------------------------------------------------

    def price(self, position: SimPosition) -> Px:
        """Return the mark, or the entry while there is none."""
        return self.mark(position.symbol) or position.entry

    def position(self, account_id: str, symbol: str) -> SignedQty:
        """Return the signed position, zero when there never was one."""
        position = self._accounts[account_id].positions.get(symbol)
        return SignedQty(0) if position is None else position.qty

    def reducible(self, account_id: str, symbol: str, side: Side) -> Qty:
        """Return how much an order of that side may trade and still only reduce."""
        return Qty(max(-side.value * self.position(account_id, symbol), 0))

    def unrealized(self, account_id: str, symbol: str) -> Quote:
        """Return the profit of a position at the mark."""
        position = self._accounts[account_id].positions.get(symbol)
        if position is None:
            return Quote(0)
        return Quote(toward_zero(self._profit(account_id, position), NANO))

    def equity(self, account_id: str) -> Quote:
        """Return balance plus unrealised profit at the mark."""
        account = self._accounts[account_id]
        profit = sum(self._profit(account_id, each) for each in account.positions.values())
        return Quote(account.balance + toward_zero(profit, NANO))

    def _profit(self, account_id: str, position: SimPosition) -> int:
        """Return unrealised profit, 1e-18."""
        mark = self.mark(position.symbol) if position.qty else Px(0)
        return position.qty * mark - self._exact[account_id, position.symbol].cost if mark else 0

    def external(self, symbol: str) -> SignedQty:
        """Return the position of the rest of the market."""
        return SignedQty(self._external.get(symbol, 0))

    def money(self) -> Money:
        """Return where all the money is; what rounding left over belongs to its account."""
        accounts = sum(account.balance for account in self._accounts.values()) * NANO
        for (account_id, symbol), exact in self._exact.items():
            position = self._accounts[account_id].positions[symbol]
            accounts += exact.realized - position.realized * NANO
            accounts += position.qty * self.mark(symbol) - exact.cost
        external = sum(qty * self.mark(symbol) for symbol, qty in self._external.items())
        return Money(
            accounts=accounts,
            external=external + self._external_cash,
            fees=self._fees * NANO,
            builders=sum(self.builders.values()) * NANO,
            insurance=self.insurance * NANO,
            deposited=self._deposited * NANO,
        )


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

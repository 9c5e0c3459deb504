"""Accounts of one simulated venue: their settings, money and margin, as ``api.Engine`` states them.

Imports ``strategy.domain`` and simulator modules only. ``MatchingEngine`` is one of these and adds
orders, time and the market.
"""

import random  # noqa: TID251 - the type of the injected, seeded generator
from collections.abc import Mapping, Sequence

from exchanges.simulator.engine_fees import FeeTable
from exchanges.simulator.engine_funding import Funding
from exchanges.simulator.engine_margin import Margin
from exchanges.simulator.engine_state import EngineState
from exchanges.simulator.margin import Ledger
from exchanges.simulator.model import (
    Deny,
    FundingPoint,
    Market,
    Money,
    Refusal,
    Rules,
    SimAccount,
)
from strategy.domain import Bps, Ns, Px, Qty, Quote, Side, SignedQty


class AccountDesk:
    """The account side of an engine.

    Args:
        rules: How the venue behaves.
        markets: What it lists.
        rng: Seeded generator for order and trade ids; the funding walk gets its own from it.
        now: Unix ns.
    """

    def __init__(
        self, rules: Rules, markets: Sequence[Market], rng: random.Random, now: Ns
    ) -> None:
        walk = random.Random(0)  # noqa: S311 - replaced by the injected state at once
        walk.setstate(rng.getstate())
        self._state = EngineState(rules, markets, rng)
        self.rules = rules
        self.markets = self._state.markets
        self.accounts = self._state.accounts
        self._ledger = Ledger(rules, self.accounts, self.mark)
        self._margin = Margin(rules, self.accounts, self._ledger)
        self._fees = FeeTable(rules)
        self._funding = Funding(rules, list(self.markets), walk, now)
        self._now = now

    def add_account(
        self,
        account_id: str,
        *,
        balance: Quote | None = None,
        tier: int | None = 0,
        main_account: str = "",
    ) -> SimAccount:
        """Create an account; ``balance`` None is the starting balance, ``tier`` None by volume.

        Raises:
            ValueError: the account exists, the balance is negative, or there is no such tier.
        """
        if account_id in self.accounts:
            raise ValueError(f"account {account_id!r} exists")
        if balance is not None and balance < 0:
            raise ValueError(f"balance {balance} is negative: use 0 or more")
        self._fees.check(tier)
        paid_in = self.rules.starting_balance if balance is None else balance
        account = SimAccount(account_id, paid_in, main_account=main_account, tier=tier)
        self._ledger.open(account)
        self._state.live[account_id] = {}
        return account

    def mark(self, symbol: str) -> Px:
        """Return the mark price: the last mid of a two-sided book; 0 before there was one."""
        return self._state.books[symbol].mark

    # --- settings -----------------------------------------------------------------------

    def fees(self, account: str) -> tuple[Bps, Bps]:
        """Return the account's (maker, taker) fee now; negative is a rebate."""
        return self._fees.rates(self.accounts[account], self._now)

    def fee_tier(self, account: str) -> int:
        """Return the account's fee tier; 0 is the venue's base fees."""
        return self._fees.tier(self.accounts[account], self._now)

    def set_fees(
        self, account: str, *, tier: int | None = 0, custom: tuple[Bps, Bps] | None = None
    ) -> None:
        """Set the fee tier (None: by 30-day volume), or fees of this account alone.

        Raises:
            ValueError: no such tier.
        """
        self._fees.check(tier)
        self.accounts[account].tier = tier
        self.accounts[account].custom_fees = custom

    def leverage(self, account: str, symbol: str) -> int:
        """Return the account's leverage on a symbol."""
        return self._margin.leverage(self.accounts[account], symbol)

    def set_leverage(self, account: str, leverage: int, symbol: str | None = None) -> None:
        """Set the leverage of one symbol (GRVT), or of the whole account (Backpack).

        Raises:
            ValueError: not from 1 to the venue's largest.
            Refusal: equity does not cover what is open at the lower leverage; nothing changes.
        """
        if not 1 <= leverage <= self.rules.max_leverage:
            raise ValueError(f"leverage {leverage} is not from 1 to {self.rules.max_leverage}")
        held = self.accounts[account]
        before, needed = (held.leverage, dict(held.leverages)), self.margin_used(account)
        if symbol is None:
            held.leverage = leverage
            held.leverages.clear()
        else:
            held.leverages[symbol] = leverage
        after = self.margin_used(account)
        if after > needed and after > self.equity(account):
            held.leverage, held.leverages = before
            raise Refusal(Deny.INSUFFICIENT_MARGIN, f"leverage {leverage} needs {after}")

    # --- money --------------------------------------------------------------------------

    def equity(self, account: str) -> Quote:
        """Return balance plus unrealised profit at the mark."""
        return self._ledger.equity(account)

    def margin_used(self, account: str) -> Quote:
        """Return initial margin of positions and live orders."""
        return self._margin.initial(account, self._state.live[account].values())

    def available(self, account: str) -> Quote:
        """Return equity less initial margin, not below 0: what may back further orders."""
        return Quote(max(self.equity(account) - self.margin_used(account), 0))

    def maintenance_margin(self, account: str) -> Quote:
        """Return maintenance margin of the positions; equity below it means liquidation."""
        return self._margin.maintenance(account)

    def unrealized(self, account: str, symbol: str) -> Quote:
        """Return the profit of a position at the mark; 0 without one."""
        return self._ledger.unrealized(account, symbol)

    def margin_rates(
        self, account: str, symbol: str, qty: SignedQty | None = None
    ) -> tuple[int, int]:
        """Return (initial, maintenance) margin as fractions in 1e-9 of the notional.

        They are those of ``qty`` at the mark (None: of the position now); the initial one includes
        the account's leverage.
        """
        size = self._ledger.position(account, symbol) if qty is None else qty
        return self._margin.rates(account, symbol, self.mark(symbol), size)

    def position_margin(self, account: str, symbol: str) -> tuple[Quote, Quote]:
        """Return (initial, maintenance) margin of one position at the mark, without orders."""
        return self._margin.of_position(account, symbol)

    def liquidation_price(self, account: str, symbol: str) -> Px | None:
        """Return the mark at which the account would be liquidated; None when there is none."""
        return self._margin.liquidation_price(account, symbol)

    def max_order_qty(
        self, account: str, symbol: str, side: Side, px: Px, *, reduce_only: bool = False
    ) -> Qty:
        """Return the largest size, in whole steps, that margin (or the position) allows now."""
        instrument = self.markets[symbol].instrument
        if reduce_only:
            return self._margin.reducible(account, instrument, side)
        live = list(self._state.live[account].values())
        return self._margin.largest(account, live, instrument, side, px)

    def deposit(self, account: str, amount: Quote) -> None:
        """Pay money in; negative takes it out.

        Raises:
            Refusal: more than is available.
        """
        if amount < 0:
            self._check_available(account, Quote(-amount))
        self._ledger.deposit(account, amount)

    def transfer(self, source: str, target: str, amount: Quote) -> None:
        """Move money between two accounts.

        Raises:
            ValueError: the amount is not positive.
            Refusal: more than is available.
        """
        if amount <= 0:
            raise ValueError(f"amount {amount} is not positive")
        self._check_available(source, amount)
        self._ledger.transfer(source, self.accounts[target].account_id, amount)

    def _check_available(self, account: str, amount: Quote) -> None:
        free = self.available(account)
        if amount > free:
            raise Refusal(Deny.INSUFFICIENT_MARGIN, f"{amount} asked, {free} available")

    # --- funding ------------------------------------------------------------------------

    def index(self, symbol: str) -> Px:
        """Return the index price that funding compares the mark with; 0 before there was one."""
        return self._funding.index(symbol)

    def funding_rate(self, symbol: str) -> int:
        """Return the rate that the running interval would settle at now, 1e-9 of notional."""
        return self._funding.rate(symbol)

    def next_funding(self) -> Ns:
        """Return when funding is settled next, Unix ns."""
        return self._funding.next_at(self._now)

    def funding_history(self, symbol: str) -> Sequence[FundingPoint]:
        """Return the settled intervals, oldest first; those before the start are made up."""
        return self._funding.history(symbol)

    # --- the books of the venue ---------------------------------------------------------

    def money(self) -> Money:
        """Return where all the money is; ``total`` is always 0."""
        return self._ledger.money()

    def insurance(self) -> Quote:
        """Return what the insurance fund holds; negative when it was overdrawn."""
        return Quote(self._ledger.insurance)

    def builder_fees(self) -> Mapping[str, Quote]:
        """Return what each builder has earned, by the text in ``NewOrder.extra["builder"]``."""
        return self._ledger.builders

    def external_position(self, symbol: str) -> SignedQty:
        """Return the position of the rest of the market: minus the sum of all accounts'."""
        return self._ledger.external(symbol)

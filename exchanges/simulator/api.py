"""The engine's interface, as its faces see it. Imports ``strategy.domain`` and ``model`` only."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from exchanges.simulator.model import (
    EngineEvent,
    FundingPoint,
    Listener,
    Market,
    MarketEvent,
    Money,
    NewOrder,
    Origin,
    Rules,
    SimAccount,
    SimFill,
    SimOrder,
)
from strategy.domain import Bps, Level, Ns, Px, Qty, Quote, Side, SignedQty

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

    def add_account(
        self,
        account_id: str,
        *,
        balance: Quote | None = None,
        tier: int | None = 0,
        main_account: str = "",
    ) -> SimAccount:
        """Create an account; ``balance`` None is the starting balance, ``tier`` None by volume.

        Raises ValueError: the account exists, the balance is negative, or there is no such tier.
        """
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

    def available(self, account: str) -> Quote:
        """Return equity less initial margin, not below 0: what may back further orders."""
        ...

    def maintenance_margin(self, account: str) -> Quote:
        """Return the maintenance margin of the positions; equity below it means liquidation."""
        ...

    def unrealized(self, account: str, symbol: str) -> Quote:
        """Return the profit of a position at the mark; 0 without one."""
        ...

    def margin_rates(
        self, account: str, symbol: str, qty: SignedQty | None = None
    ) -> tuple[int, int]:
        """Return (initial, maintenance) margin as fractions in 1e-9 of the position's notional.

        They are those of ``qty`` at the mark (None: of the position now); the initial one includes
        the account's leverage.
        """
        ...

    def position_margin(self, account: str, symbol: str) -> tuple[Quote, Quote]:
        """Return (initial, maintenance) margin of one position at the mark, without orders."""
        ...

    def liquidation_price(self, account: str, symbol: str) -> Px | None:
        """Return the mark at which the account would be liquidated; None when there is none."""
        ...

    def max_order_qty(
        self, account: str, symbol: str, side: Side, px: Px, *, reduce_only: bool = False
    ) -> Qty:
        """Return the largest size, in whole steps, that margin (or the position) allows now."""
        ...

    # --- settings of an account ---------------------------------------------------------------

    def fees(self, account: str) -> tuple[Bps, Bps]:
        """Return the account's (maker, taker) fee now; negative is a rebate."""
        ...

    def fee_tier(self, account: str) -> int:
        """Return the account's fee tier; 0 is ``rules.maker_fee`` and ``rules.taker_fee``."""
        ...

    def set_fees(
        self, account: str, *, tier: int | None = 0, custom: tuple[Bps, Bps] | None = None
    ) -> None:
        """Set the fee tier (None: by 30-day volume), or fees of this account alone.

        Raises ValueError: no such tier.
        """
        ...

    def leverage(self, account: str, symbol: str) -> int:
        """Return the account's leverage on a symbol."""
        ...

    def set_leverage(self, account: str, leverage: int, symbol: str | None = None) -> None:
        """Set the leverage of one symbol (GRVT), or of the whole account (Backpack).

        Raises ValueError: not from 1 to ``rules.max_leverage``. Raises
        Refusal(INSUFFICIENT_MARGIN): equity does not cover what is open at the lower leverage.
        """
        ...

    def deposit(self, account: str, amount: Quote) -> None:
        """Pay money in (negative: out). Raises Refusal(INSUFFICIENT_MARGIN): not available."""
        ...

    def transfer(self, source: str, target: str, amount: Quote) -> None:
        """Move money between two accounts. Raises Refusal(INSUFFICIENT_MARGIN), ValueError."""
        ...

    # --- funding, forced closes, the books of the venue ---------------------------------------

    def index(self, symbol: str) -> Px:
        """Return the index price that funding compares the mark with; 0 before there was one."""
        ...

    def funding_rate(self, symbol: str) -> int:
        """Return the rate that the running interval would settle at now, 1e-9 of notional."""
        ...

    def next_funding(self) -> Ns:
        """Return when funding is settled next, Unix ns."""
        ...

    def funding_history(self, symbol: str) -> Sequence[FundingPoint]:
        """Return the settled intervals, oldest first."""
        ...

    def settle_funding(self, now: Ns, symbol: str, rate: int, account: str | None = None) -> None:
        """Settle funding out of turn at ``rate`` (1e-9 of notional), for one account or all."""
        ...

    def force_close(
        self,
        now: Ns,
        account: str,
        symbol: str,
        *,
        origin: Origin = Origin.LIQUIDATION,
        qty: Qty | None = None,
    ) -> SimOrder | None:
        """Close a position (or ``qty`` of it) as the venue would; None when there is none.

        A liquidation cancels the account's orders and trades with the book; ADL trades with the
        rest of the market at the mark, off the book.
        Raises ValueError for an origin of USER; KeyError for an unknown account.
        """
        ...

    def money(self) -> Money:
        """Return where all the money is; ``total`` is always 0."""
        ...

    def insurance(self) -> Quote:
        """Return what the insurance fund holds."""
        ...

    def builder_fees(self) -> Mapping[str, Quote]:
        """Return what each builder has earned, by the text in ``NewOrder.extra["builder"]``."""
        ...

    def external_position(self, symbol: str) -> SignedQty:
        """Return the position of the rest of the market: minus the sum of all accounts'."""
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

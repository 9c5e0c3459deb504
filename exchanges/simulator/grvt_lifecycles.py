"""Positions from opening to close, as ``/position_history`` tells them. Pure.

A lifecycle begins with the first trade from flat and ends when the position is flat again or turns
around; amounts are 1e-9 of base or quote, products are summed in 1e-18.
"""

from dataclasses import dataclass, field

from exchanges.simulator.grvt_history import History
from exchanges.simulator.grvt_words import Json, dec
from exchanges.simulator.model import SimFill
from strategy.domain import NANO, Ns, Px

CLOSED = "CLOSED"
LIQUIDATED = "LIQUIDATED"
PARTIALLY_CLOSED = "PARTIALLY_CLOSED"
STATUSES = frozenset({CLOSED, LIQUIDATED, "SETTLED", PARTIALLY_CLOSED})


@dataclass(slots=True)
class Lifecycle:
    """One position of one symbol."""

    symbol: str
    opened_at: Ns
    is_long: bool
    size: int = 0
    """Unsigned, now."""
    opened: int = 0
    opened_value: int = 0
    closed: int = 0
    closed_value: int = 0
    realized: int = 0
    fees: int = 0
    funding: int = 0
    """Positive when received."""
    most: int = 0
    most_value: int = 0
    margin: int = 0
    most_margin: int = 0

    @property
    def entry(self) -> int:
        """Average price of what opened it."""
        return self.opened_value // self.opened if self.opened else 0

    @property
    def exit(self) -> int:
        """Average price of what reduced it; 0 before anything has."""
        return self.closed_value // self.closed if self.closed else 0

    def open(self, qty: int, px: int, leverage: int) -> None:
        """Add to the position."""
        self.size += qty
        self.opened += qty
        self.opened_value += qty * px
        self.margin += qty * px // NANO // leverage
        self.most_margin = max(self.most_margin, self.margin)
        self.most = max(self.most, self.size)
        self.most_value = max(self.most_value, self.size * self.entry // NANO)

    def reduce(self, qty: int, px: int) -> None:
        """Take from the position."""
        self.margin -= self.margin * qty // self.size
        self.size -= qty
        self.closed += qty
        self.closed_value += qty * px


@dataclass(slots=True)
class Lifecycles:
    """The positions of one account: those that are open, and those that were."""

    open: dict[str, Lifecycle] = field(default_factory=dict)
    closed: History = field(default_factory=History)

    def exit_price(self, symbol: str) -> int:
        """Return the average exit price of the open position; 0 while nothing was closed."""
        held = self.open.get(symbol)
        return 0 if held is None else held.exit

    def fund(self, symbol: str, amount: int) -> None:
        """Book a funding payment, positive when received."""
        if symbol in self.open:
            self.open[symbol].funding += amount

    def fill(self, fill: SimFill, mark: Px, leverage: int, account: str, margin_type: str) -> None:
        """Book one execution."""
        side, left = fill.side.value, int(fill.qty)
        held = self.open.get(fill.symbol)
        fee = fill.fee + fill.builder_fee
        if held is not None and held.is_long != (side > 0):
            reducing = min(left, held.size)
            share = fee * reducing // left
            held.reduce(reducing, fill.px)
            held.realized += fill.realized
            held.fees += share
            left, fee = left - reducing, fee - share
            if not held.size:
                del self.open[fill.symbol]
                status = LIQUIDATED if fill.forced else CLOSED
                shown = lifecycle_json(held, status, leverage, account, margin_type)
                shown |= {"close_time": str(fill.at), "position_close_mark_price": dec(mark)}
                self.closed.add(fill.at, fill.symbol, shown)
        if not left:
            return
        held = self.open.get(fill.symbol)
        if held is None:
            held = Lifecycle(fill.symbol, fill.at, side > 0)
            self.open[fill.symbol] = held
        held.open(left, fill.px, leverage)
        held.fees += fee


def lifecycle_json(
    held: Lifecycle, status: str, leverage: int, account: str, margin_type: str
) -> Json:
    """Render an ApiPositionHistory; a position that is still open has no close."""
    return {
        "sub_account_id": account,
        "instrument": held.symbol,
        "open_time": str(held.opened_at),
        "status": status,
        "is_long": held.is_long,
        "margin_type": margin_type,
        "entry_price": dec(held.entry),
        "exit_price": dec(held.exit),
        "realized_pnl": dec(held.realized),
        "cumulative_fee": dec(held.fees),
        "cumulative_realized_funding_payment": dec(-held.funding),
        "closed_volume_base": dec(held.closed),
        "closed_volume_quote": dec(held.closed_value // NANO),
        "max_open_interest_base": dec(held.most),
        "max_open_interest_quote": dec(held.most_value),
        "cumulative_initial_margin": dec(held.margin),
        "max_initial_margin": dec(held.most_margin),
        "leverage": dec(leverage * NANO),
    }

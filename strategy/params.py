"""What a decision may be told besides the World. Imports ``strategy.domain`` only."""

from dataclasses import dataclass
from enum import StrEnum

from strategy.domain import Bps, Ns, Qty, Quote

SECOND = Ns(1_000_000_000)
FOREVER = Ns(1 << 62)


class PrimaryMode(StrEnum):
    """Where the maker rests."""

    BBO = "bbo"
    BBO_MINUS_1 = "bbo_minus_1"
    AGGRESSIVE = "aggressive"


class HedgeMode(StrEnum):
    """How a hedge is executed."""

    SMART = "smart"
    MARKET = "market"


@dataclass(frozen=True, slots=True)
class Params:
    """One run's settings, fixed for its life."""

    size: Qty
    max_position: Qty
    """BUILD target on the primary leg."""
    iterations: int
    """0 = until stopped."""
    sleep: Ns = Ns(0)
    fill_timeout: Ns = Ns(5 * SECOND)
    primary_mode: PrimaryMode = PrimaryMode.BBO
    hedge_mode: HedgeMode = HedgeMode.SMART
    cap: Bps = Bps(5_000_000)
    min_spread: Bps = Bps(0)
    passive: Ns = Ns(3 * SECOND)
    """How long a hedge rests at BBO-1tick before it crosses; 0 = cross at once."""
    max_unhedged: Ns = Ns(15 * SECOND)
    cross_reserve: Ns = Ns(2 * SECOND)
    """Time before the deadline kept for crossing."""
    stale: Ns = Ns(3 * SECOND)
    hedge_life: Ns = Ns(5 * SECOND)
    """Signature life of a marketable hedge."""
    maker_window: Ns = Ns(5 * SECOND)
    """How long the primary venue may still accept a maker order."""
    recancel: Ns = SECOND
    base_is_eth: bool = True
    hedge_seconds: Ns = Ns(20 * SECOND)
    """Deadline per 1 ETH, or per ``hedge_notional`` of another ticker."""
    hedge_notional: Quote = Quote(3_000 * 10**9)
    """Other tickers: quote units that count as one unit."""
    chunk: Qty = Qty(200_000_000)
    """Largest roll-back order, ETH; other tickers by ``chunk_notional``."""
    chunk_notional: Quote = Quote(600 * 10**9)
    emergency_cap: Bps = Bps(50_000_000)
    max_failures: int = 3
    settle: Ns = Ns(2 * SECOND)
    """How long a finished hedge waits for late fill details before it is reported without them."""

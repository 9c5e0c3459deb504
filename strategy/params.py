"""What a decision may be told besides the World. Imports the pure core only."""

from dataclasses import dataclass
from enum import StrEnum

from strategy.cost import Routing
from strategy.domain import NANO, Bps, Ns, Qty, Quote

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
    risk_aversion: int | None = NANO
    """Weight of exposure against cost, 1e-9; 0 rests as long as allowed, None crosses at once."""
    routing: Routing = Routing()
    passive: Ns = FOREVER
    """Longest rest at BBO-1tick, whatever the cost model says; 0 = cross at once."""
    max_unhedged: Ns = Ns(15 * SECOND)
    cross_reserve: Ns = Ns(2 * SECOND)
    """Time before the deadline kept for crossing."""
    stale: Ns = Ns(3 * SECOND)
    hedge_life: Ns = Ns(5 * SECOND)
    """Signature life of a marketable hedge."""
    maker_rest: Ns = Ns(300 * SECOND)
    """Longest rest of one maker: the primary venue has no expiry of its own, so it is re-quoted."""
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
    max_clock_offset: Ns = SECOND
    """Largest difference of our clock and a venue's at which makers may rest."""
    mark_band: Bps = Bps(100_000_000)
    """Largest distance of a book's mid from its venue's mark at which it counts as a book."""
    mark_fresh: Ns = Ns(15 * SECOND)
    account_fresh: Ns = Ns(30 * SECOND)
    """Oldest account reading that may back a maker."""
    hedge_orders: int = 4
    """Orders that the hedge venue's rate lane must let out before a maker may rest."""
    funding_guard: Ns = Ns(10 * SECOND)
    """No opening so long before a funding that the position would pay."""
    settle: Ns = Ns(2 * SECOND)
    """How long a finished hedge waits for late fill details before it is reported without them."""

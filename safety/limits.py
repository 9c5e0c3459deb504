"""The limits that wrap every order. Imports ``strategy.domain`` only."""

from dataclasses import dataclass

from strategy.domain import NANO, Bps, Ns, Qty, Quote, Venue, bps


@dataclass(frozen=True, slots=True)
class Limits:
    """One run's limits. Each applies to opening orders only, unless its line says otherwise."""

    max_position: Qty
    """Cap of each leg, counting resting and in-doubt orders in full."""
    max_daily_loss: Quote
    """Positive: realised and unrealised loss, fees and funding of one UTC day."""
    cap: Bps
    """Price bound from the touch; every marketable order."""
    emergency_cap: Bps
    """Price bound of the last rung of an unwind."""
    max_order: Qty
    """Largest single opening order; hedges are bounded by the net, closes by the position."""
    stale: Ns
    """Oldest book that an opening decision may use."""
    approval_ttl: Ns = Ns(1_000_000_000)
    """How long an approval stays good before its order is sent."""
    max_orders_per_minute: int = 600
    """Orders of any purpose; at the ceiling nothing more is opened."""
    cool_down: Ns = Ns(10 * NANO)
    """No opening so long after a failed hedge; doubled with each further one in a row."""
    max_naked_hedge: int = 300 * NANO
    """Exposure x time of one hedge, 1e-9 base x s; then the emergency path."""
    max_naked_day: int = 36_000 * NANO
    """Exposure x time of one UTC day, 1e-9 base x s; then the latch."""
    warn_margin_ratio: Bps = bps(4_000)
    """Maintenance margin over a leg's equity at which nothing more is opened."""
    max_margin_ratio: Bps = bps(6_000)
    """And at which both legs are closed in lockstep."""
    warn_liquidation_distance: Bps = bps(500)
    """Distance of a leg's mark from its liquidation price at which nothing more is opened."""
    min_liquidation_distance: Bps = bps(200)
    """And at which both legs are closed in lockstep."""
    max_basis: Bps = bps(100)
    """Largest running mean of hedge mid over primary mid, either way (USDC against USDT)."""
    max_clock_offset: Ns = Ns(NANO)
    """Largest difference of our clock and a venue's."""
    leverage: tuple[tuple[Venue, int], ...] = ()
    """Leverage that a venue's account must have, 1e-9; elsewhere what it had at the start."""

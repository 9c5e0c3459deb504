"""The limits that wrap every order. Imports ``strategy.domain`` only."""

from dataclasses import dataclass

from strategy.domain import Bps, Ns, Qty, Quote


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

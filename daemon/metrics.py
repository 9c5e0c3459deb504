"""One run's figures: the summary of contract section 6, from what the World recorded."""

from __future__ import annotations  # arrays take no parameter at run time before 3.12

from array import array
from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from strategy.domain import BPS_UNIT, Bps, Mode, Ns, Quote, Venue, plain, ratio_bps
from strategy.world import Hedge, World

MAX_SAMPLES = 10_000
"""Kept per figure; a longer run reports its newest."""


def _samples() -> MutableSequence[int]:
    return array("q")


def percentile(values: Sequence[int], share: int) -> int | None:
    """Return the ``share`` percentile (nearest rank), or None without values."""
    if not values:
        return None
    ranked = sorted(values)
    rank = -(-share * len(ranked) // 100)
    return ranked[max(rank, 1) - 1]


def bps_number(value: int) -> float:
    """Render ``Bps`` as a JSON number with four decimals: a report, no longer money."""
    return round(value / BPS_UNIT, 4)


def rounded(value: Quote) -> str:
    """Render money to 1e-6 as a plain string."""
    step = Decimal("0.000001")
    return f"{(Decimal(value) / 10**9).quantize(step, ROUND_HALF_EVEN).normalize():f}"


@dataclass(slots=True)
class HedgeStats:
    """Figures of finished hedges, one entry each; the newest ``MAX_SAMPLES`` of them."""

    iterations: MutableSequence[int] = field(default_factory=_samples)
    slippage: MutableSequence[int] = field(default_factory=_samples)
    fee: MutableSequence[int] = field(default_factory=_samples)
    hedged_ns: MutableSequence[int] = field(default_factory=_samples)
    sent_ns: MutableSequence[int] = field(default_factory=_samples)
    ended: int = 0
    filled: int = 0
    passive: int = 0
    failed: int = 0


@dataclass(slots=True)
class RunMetrics:
    """Collects while the run lives; ``summary`` reads it and the World."""

    started: World
    hedges: HedgeStats = field(default_factory=HedgeStats)
    iterations: int = 0
    degraded: int = 0
    _sent: set[int] = field(default_factory=set)

    def hedge_sent(self, hedge_id: int, fill_at: Ns, sent_at: Ns) -> None:
        """Take the time from the fill's arrival to its first hedge order's bytes."""
        if hedge_id and hedge_id not in self._sent:
            self._sent = {hedge_id}  # only the running hedge can be asked about again
            _keep(self.hedges.sent_ns, sent_at - fill_at)

    def hedge_ended(self, hedge: Hedge, failed: bool) -> None:
        """Take a finished hedge."""
        stats = self.hedges
        stats.failed += failed
        stats.ended += 1
        _keep(stats.iterations, hedge.iterations)
        if hedge.last_over_at:
            _keep(stats.hedged_ns, hedge.last_over_at - hedge.fill_at)
        if hedge.filled and hedge.touch_cost > 0:
            _keep(stats.slippage, slippage(hedge))
            _keep(stats.fee, ratio_bps(hedge.fee, hedge.cost))
            stats.filled += hedge.filled
            stats.passive += hedge.passive_filled

    def naked(self, w: World) -> int:
        """Return base x ns of exposure carried in this run."""
        return w.naked_integral - self.started.naked_integral

    def summary(self, w: World, mode: str, code: int) -> dict[str, Any]:
        """Return the figures; money and sizes are strings, None where nothing was measured."""
        volume = w.primary.volume - self.started.primary.volume
        pnl = _delta(w.equity(), self.started.equity())
        stats = self.hedges
        return {
            "iterations": self.iterations,
            "cycles": w.cycle.cycles - self.started.cycle.cycles,
            "volume_quote": rounded(Quote(volume)),
            "pnl_quote": None if pnl is None else rounded(pnl),
            "fees_quote": rounded(Quote(_sum(w, "fees") - _sum(self.started, "fees"))),
            "funding_quote": rounded(Quote(_sum(w, "funding") - _sum(self.started, "funding"))),
            "cost_bps_of_volume": (
                bps_number(ratio_bps(-pnl, volume)) if pnl is not None and volume else None
            ),
            "hedges": stats.ended,
            "hedge_iterations_mean": _mean(stats.iterations, 1),
            "hedge_slippage_bps_mean": _mean(stats.slippage, BPS_UNIT),
            "hedge_slippage_bps_p95": _scaled(percentile(stats.slippage, 95), BPS_UNIT),
            "hedge_fee_bps_mean": _mean(stats.fee, BPS_UNIT),
            "maker_share": round(stats.passive / stats.filled, 4) if stats.filled else None,
            "fill_to_hedge_sent_us_p50": _scaled(percentile(stats.sent_ns, 50), 1000),
            "fill_to_hedge_sent_us_p99": _scaled(percentile(stats.sent_ns, 99), 1000),
            "fill_to_hedged_ms_p50": _scaled(percentile(stats.hedged_ns, 50), 1_000_000),
            "fill_to_hedged_ms_p99": _scaled(percentile(stats.hedged_ns, 99), 1_000_000),
            "naked_base_seconds": plain(self.naked(w) // 1_000_000_000),
            "max_naked_base": plain(w.max_naked),
            "degraded": self.degraded,
            "hedges_failed": stats.failed,
            "final": {
                "backpack": plain(w.legs[Venue.BACKPACK].position),
                "grvt": plain(w.legs[Venue.GRVT].position),
                "net": plain(w.net),
            },
            "mode": mode,
            "latch": w.mode.name,
            "latch_reason": w.reason if w.mode is not Mode.RUNNING else "",
            "exit": code,
        }


def slippage(hedge: Hedge) -> Bps:
    """Return a hedge's VWAP against the touches at its orders' decisions; positive is worse."""
    sign = 1 if hedge.target > 0 else -1
    return ratio_bps((hedge.cost - hedge.touch_cost) * sign, hedge.touch_cost)


def average_price(hedge: Hedge) -> int:
    """Return the hedge's VWAP in 1e-9 quote; 0 before any fill detail."""
    return hedge.cost * 10**9 // hedge.filled if hedge.filled else 0


def _keep(values: MutableSequence[int], value: int) -> None:
    values.append(value)
    if len(values) > MAX_SAMPLES:
        del values[: MAX_SAMPLES // 10]


def _delta(after: Quote | None, before: Quote | None) -> Quote | None:
    return None if after is None or before is None else Quote(after - before)


def _sum(w: World, name: str) -> int:
    return sum(getattr(leg, name) for leg in w.legs.values())


def _mean(values: Sequence[int], unit: int) -> float | None:
    return round(sum(values) / len(values) / unit, 4) if values else None


def _scaled(value: int | None, unit: int) -> float | None:
    return None if value is None else round(value / unit, 4)

"""Statistics of hedges: counts, means and percentiles, by group. Costs in bps; positive is paid."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from daemon.log_format import stamp
from daemon.metrics import bps_number, percentile
from daemon.report_data import Rows
from daemon.tca import CROSS, EMERGENCY, MARKOUTS, PARTS, PASSIVE, HedgeTca
from strategy.domain import BPS_UNIT, Ns, Side, plain, ratio_bps

SHARES = (50, 95, 99)
MS, US = 1_000_000, 1_000
WORST = 5
STAGES = ("sent", "ack", "fill", "total")


def table(hedges: Sequence[HedgeTca]) -> dict[str, Any]:
    """Return the statistics of all hedges, and by side, by how they ended and by cycle phase."""
    return {
        "all": group(hedges),
        "by_side": grouped(hedges, ("buy", "sell"), lambda h: str(Side(h.side))),
        "by_phase": grouped(hedges, (PASSIVE, CROSS, EMERGENCY), lambda h: h.phase),
        "by_cycle": grouped(hedges, (), lambda h: h.cycle),
    }


def grouped(
    hedges: Sequence[HedgeTca], always: Iterable[str], name: Callable[[HedgeTca], str]
) -> dict[str, Any]:
    """Return the statistics of each group; those named ``always`` even when empty."""
    groups: dict[str, list[HedgeTca]] = {key: [] for key in always}
    for hedge in hedges:
        groups.setdefault(name(hedge), []).append(hedge)
    return {key: group(members) for key, members in groups.items()}


def group(hedges: Sequence[HedgeTca]) -> dict[str, Any]:
    """Return one group's statistics; None where nothing was measured."""
    priced = [h for h in hedges if h.notional]
    filled = sum(h.filled for h in priced)
    whole = sum(h.notional for h in priced)
    costs = [ratio_bps(h.shortfall, h.notional) for h in priced]
    return {
        "n": len(hedges),
        "filled": plain(filled),
        "notional": plain(whole),
        "shortfall": plain(sum(h.shortfall for h in priced)),
        "shortfall_bps": spread_of(costs, BPS_UNIT),
        "shortfall_bps_weighted": (
            bps_number(ratio_bps(sum(h.shortfall for h in priced), whole)) if whole else None
        ),
        "parts_bps_mean": {
            name: mean([ratio_bps(getattr(h.parts, name), h.notional) for h in priced], BPS_UNIT)
            for name in PARTS
        },
        "maker_share": round(sum(h.maker_qty for h in priced) / filled, 4) if filled else None,
        "orders_mean": mean([len(h.orders) for h in hedges], 1),
        "elapsed_ms": spread_of([h.elapsed for h in hedges if not h.rebuilt], MS),
        "failed": sum(h.failed for h in hedges),
    }


def spread_of(values: Sequence[int], unit: int) -> dict[str, float | None]:
    """Return mean and percentiles (nearest rank) of values, in ``unit``."""
    found: dict[str, float | None] = {"mean": mean(values, unit)}
    for share in SHARES:
        at = percentile(list(values), share)
        found[f"p{share}"] = None if at is None else round(at / unit, 4)
    return found


def mean(values: Sequence[int], unit: int) -> float | None:
    """Return the mean in ``unit``; None without values."""
    return round(sum(values) / len(values) / unit, 4) if values else None


def latency(hedges: Sequence[HedgeTca]) -> dict[str, Any]:
    """Return the latency of each stage in microseconds."""
    found = {}
    for name in STAGES:
        values = [getattr(h.stages, name) for h in hedges]
        found[f"{name}_us"] = spread_of([v for v in values if v is not None], US)
    return found


def naked(hedges: Sequence[HedgeTca]) -> dict[str, Any]:
    """Return the exposure that hedges carried until they were done."""
    known = [h for h in hedges if h.naked is not None]
    values = [(h.naked or 0) // 10**9 for h in known]
    longest = max((h.elapsed for h in known), default=None)
    return {
        "base_seconds": plain(sum(h.naked or 0 for h in known) // 10**9),
        "base_seconds_per_hedge": spread_of(values, 10**9),
        "largest_base": plain(max((h.target for h in hedges), default=0)),
        "longest_ms": None if longest is None else longest // MS,
        "unknown": len(hedges) - len(known),
    }


def markouts(rows: Rows, hedges: Sequence[HedgeTca]) -> dict[str, Any]:
    """Return mean markouts in bps of the hedges' notional; positive is good for us."""
    found: dict[str, Any] = {}
    for after in MARKOUTS:
        values = [
            ratio_bps(one.quote, h.notional)
            for h in hedges
            for one in rows.markouts.get(h.hedge_id, ())
            if one.after == after and h.notional
        ]
        found[f"{after}s"] = {
            "n": len(values),
            "missing": sum(1 for h in hedges if h.notional) - len(values),
            "bps": spread_of(values, BPS_UNIT),
        }
    return found


def hedge_row(rows: Rows, hedge: HedgeTca) -> dict[str, Any]:
    """Describe one hedge: money and sizes as text, bps and milliseconds as numbers."""
    marks = {one.after: one for one in rows.markouts.get(hedge.hedge_id, ())}
    return {
        "hedge": hedge.name,
        "at": stamp(Ns(hedge.started_wall)),
        "side": str(Side(hedge.side)),
        "phase": hedge.phase,
        "cycle": hedge.cycle,
        "iteration": hedge.iteration,
        "target": plain(hedge.target),
        "filled": plain(hedge.filled),
        "unpriced": plain(hedge.unpriced),
        "vwap": None if hedge.vwap is None else plain(hedge.vwap),
        "arrival_mid": plain(hedge.arrival_mid),
        "arrival_touch": plain(hedge.arrival_touch),
        "notional": plain(hedge.notional),
        "shortfall": plain(hedge.shortfall),
        "shortfall_bps": _bps(hedge, hedge.shortfall),
        "parts": {name: plain(getattr(hedge.parts, name)) for name in PARTS},
        "parts_bps": {name: _bps(hedge, getattr(hedge.parts, name)) for name in PARTS},
        "maker_share": None if hedge.maker_share is None else hedge.maker_share / 1_000_000,
        "orders": [order.client_id for order in hedge.orders],
        "why_crossed": next((m.why for m in hedge.moves if m.phase == CROSS), None),
        "elapsed_ms": None if hedge.rebuilt else hedge.elapsed // MS,
        "latency_us": {f"{name}_us": _us(getattr(hedge.stages, name)) for name in STAGES},
        "naked_base_seconds": None if hedge.naked is None else plain(hedge.naked // 10**9),
        "markouts": {
            f"{after}s": None if after not in marks else _marked(hedge, marks[after].quote)
            for after in MARKOUTS
        },
        "failed": hedge.failed,
        "rebuilt": hedge.rebuilt,
    }


def worst(hedges: Sequence[HedgeTca]) -> list[HedgeTca]:
    """Return the dearest hedges by bps, the dearest first."""
    priced = [h for h in hedges if h.notional]
    ranked = sorted(priced, key=lambda h: (-ratio_bps(h.shortfall, h.notional), h.hedge_id))
    return ranked[:WORST]


def _marked(hedge: HedgeTca, quote: int) -> dict[str, Any]:
    return {"quote": plain(quote), "bps": _bps(hedge, quote)}


def _bps(hedge: HedgeTca, amount: int) -> float | None:
    value = hedge.bps(amount)
    return None if value is None else bps_number(value)


def _us(value: int | None) -> float | None:
    return None if value is None else round(value / US, 1)

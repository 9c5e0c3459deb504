"""The guards: conditions that a person should know, that forbid opening, or that latch. Pure.

Each guard reads one view, compares one figure with one limit, and says field, value and limit. A
``Level`` stands exactly while its condition holds; a ``Trip`` latches until an operator resumes.
Imports the domain only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from safety.limits import Limits
from safety.reasons import Reason
from strategy.domain import NANO, Bps, Ns, Quote, Venue, bps_text, plain
from strategy.facts import Level

MS = 1_000_000
MAX_DOUBLINGS = 6


@dataclass(frozen=True, slots=True)
class Trip:
    """A guard fired."""

    reason: Reason
    detail: str

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}"


@dataclass(frozen=True, slots=True)
class LegHealth:
    """One venue as the guards see it; None is a figure that nobody knows."""

    venue: Venue
    margin_ratio: Bps | None = None
    """Maintenance margin over equity."""
    liquidation_distance: Bps | None = None
    """From the worse of mark and mid to the liquidation price."""
    liquidating: bool = False
    offset: Ns | None = None
    """The venue's clock minus ours."""
    growth: Ns = Ns(0)
    """How far the offset has moved since it was first measured."""
    refused: str = ""
    """Why the venue refuses our key."""
    changed: str = ""
    """What of leverage and margin mode is not as it was."""
    live: bool = False
    """Orders of ours may still trade there."""


@dataclass(frozen=True, slots=True)
class GuardView:
    """What the guards read."""

    day_pnl: Quote | None
    failures: int
    violations: tuple[str, ...]
    foreign: tuple[str, ...]
    forced: tuple[str, ...]
    legs: tuple[LegHealth, ...] = ()
    basis: Bps | None = None
    """Running mean of hedge mid over primary mid."""
    naked_hedge: int = 0
    """Exposure x time of the running hedge, 1e-9 base x s."""
    naked_day: int = 0
    """Exposure x time of the UTC day, 1e-9 base x s."""
    since_failure: Ns = Ns(0)
    """Time since the last hedge ended."""
    exposed: bool = False
    """Net exposure is left that a venue would trade."""
    stranded: str = ""
    """Exposure that is no dust, and that the hedge venue's minimum keeps from being hedged."""


def trips(view: GuardView, limits: Limits, max_failures: int) -> tuple[Trip, ...]:
    """Return every guard that fires now, the gravest first; each latches until a resume."""
    return (*_money(view, limits, max_failures), *_notes(view), *_venues(view, limits))


def _money(view: GuardView, limits: Limits, max_failures: int) -> Iterator[Trip]:
    if view.day_pnl is not None and view.day_pnl <= -limits.max_daily_loss:
        detail = f"day_pnl {plain(view.day_pnl)}, limit -{plain(limits.max_daily_loss)}"
        yield Trip(Reason.MAX_DAILY_LOSS, detail)
    if view.failures >= max_failures:
        detail = f"hedges in a row that needed an emergency {view.failures}, limit {max_failures}"
        yield Trip(Reason.HEDGE_FAILURES, detail)


def _notes(view: GuardView) -> Iterator[Trip]:
    for reason, notes in (
        (Reason.VIOLATION, view.violations),
        (Reason.FORCED, view.forced),
        (Reason.FOREIGN, view.foreign),
    ):
        if notes:
            yield Trip(reason, notes[-1])


def _venues(view: GuardView, limits: Limits) -> Iterator[Trip]:
    for leg in view.legs:
        # A dead primary with an order that may still fill must stay hedgeable on the other venue.
        stranded = leg.venue is Venue.BACKPACK and (leg.live or view.exposed)
        if leg.refused and not stranded:
            yield Trip(Reason.FORBIDDEN, f"{leg.venue} refuses our key: {leg.refused}")
        low = margin_flaw(leg, limits.max_margin_ratio, limits.min_liquidation_distance)
        if leg.liquidating or low:
            yield Trip(Reason.MARGIN, low or f"{leg.venue} is liquidating the account")
    if view.naked_day >= limits.max_naked_day:
        yield Trip(Reason.NAKED, naked_text("naked_day", view.naked_day, limits.max_naked_day))
    if view.stranded:
        yield Trip(Reason.NAKED, view.stranded)
    if view.basis is not None and abs(view.basis) > limits.max_basis:
        detail = f"basis {bps_text(view.basis)} bps, limit {bps_text(limits.max_basis)} either way"
        yield Trip(Reason.BASIS, detail)


def margin_flaw(leg: LegHealth, most: Bps, least: Bps) -> str:
    """Say which margin figure of a leg has reached its limit; empty when none has (F71)."""
    ratio, distance = leg.margin_ratio, leg.liquidation_distance
    if ratio is not None and ratio >= most:
        return (
            f"margin_ratio of {leg.venue} {bps_text(Bps(ratio // 100))} %, "
            f"limit {bps_text(Bps(most // 100))} %"
        )
    if distance is not None and distance <= least:
        return (
            f"liquidation_distance of {leg.venue} {bps_text(distance)} bps, "
            f"limit {bps_text(least)} bps"
        )
    return ""


def naked_text(field: str, used: int, limit: int) -> str:
    """Return field, value and limit of an exposure budget, base x s with three places."""
    return f"{field} {plain(used // 1_000_000 * 1_000_000)} base x s, limit {plain(limit)}"


# --- levels ----------------------------------------------------------------------------------


def levels(view: GuardView, limits: Limits) -> tuple[Level, ...]:
    """Return every condition that stands now; those with ``stops`` forbid opening."""
    found = [*_naked(view, limits), *_cooling(view, limits), *_basis(view, limits)]
    for leg in view.legs:
        found += _leg(leg, limits)
    return tuple(found)


def _naked(view: GuardView, limits: Limits) -> Iterator[Level]:
    """Climb the ladder of each budget: half is told, three quarters stop opening."""
    for field, used, limit in (
        ("naked_hedge", view.naked_hedge, limits.max_naked_hedge),
        ("naked_day", view.naked_day, limits.max_naked_day),
    ):
        if 2 * used >= limit:
            stops = 4 * used >= 3 * limit
            yield Level(Reason.NAKED.value, naked_text(field, used, limit), stops, field)


def _cooling(view: GuardView, limits: Limits) -> Iterator[Level]:
    """Pause opening after a failed hedge, twice as long after each further one in a row."""
    if not view.failures or not limits.cool_down:
        return
    pause = limits.cool_down << min(view.failures - 1, MAX_DOUBLINGS)
    if view.since_failure < pause:
        what = f"hedges in a row that failed {view.failures}, pause {plain(pause)} s"
        yield Level(Reason.COOL_DOWN.value, what, stops=True)


def _basis(view: GuardView, limits: Limits) -> Iterator[Level]:
    if view.basis is not None and 2 * abs(view.basis) > limits.max_basis:
        what = f"basis {bps_text(view.basis)} bps, limit {bps_text(limits.max_basis)} either way"
        yield Level(Reason.BASIS.value, what, stops=abs(view.basis) > limits.max_basis)


def _leg(leg: LegHealth, limits: Limits) -> Iterator[Level]:
    name = leg.venue.value
    if leg.refused:
        yield Level(Reason.FORBIDDEN.value, leg.refused, stops=True, venue=name)
    low = margin_flaw(leg, limits.warn_margin_ratio, limits.warn_liquidation_distance)
    if low or leg.liquidating:
        what = low or f"{name} is liquidating the account"
        yield Level(Reason.MARGIN.value, what, stops=True, venue=name)
    if leg.changed:
        yield Level(Reason.SETTINGS.value, leg.changed, stops=True, venue=name)
    worst = max(abs(leg.offset or 0), abs(leg.growth))
    if 2 * worst > limits.max_clock_offset:
        stops = abs(leg.offset or 0) > limits.max_clock_offset
        what = (
            f"offset_ms {(leg.offset or 0) // MS}, moved_ms {leg.growth // MS}, "
            f"limit {limits.max_clock_offset // MS}"
        )
        yield Level(Reason.CLOCK.value, what, stops, name)


def base_seconds(base_ns: int) -> int:
    """Turn 1e-9 base x ns into 1e-9 base x s."""
    return base_ns // NANO

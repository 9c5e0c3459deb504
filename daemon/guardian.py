"""Watches the World for the guards: what stands, what latches, what must be hurried.

The guards themselves are pure (``safety.guards``); here is only what they need remembered: since
when a condition has stood, what the running hedge and the UTC day have used of their exposure
budgets (the latter survives a restart), and the text of a condition at the moment it began.
"""

import json
from dataclasses import dataclass

from daemon.journal import Journal
from daemon.narrator import Narrator
from safety.guards import GuardView, LegHealth, Trip, base_seconds, levels, naked_text, trips
from safety.limits import Limits
from safety.reasons import Reason
from strategy.decide import exposed
from strategy.domain import BPS_ONE, NANO, Bps, Now, Ns, Px, Quote, Venue, plain, ratio_bps
from strategy.events import RoutePhase
from strategy.facts import Level
from strategy.hedgeable import off_mark
from strategy.params import Params
from strategy.rollback import chunk_size
from strategy.world import Leg, World

LASTS = Ns(NANO)
"""How long what a single odd message could cause must stand before it latches (F66)."""
PATIENCE = {
    Reason.MAX_DAILY_LOSS: LASTS,
    Reason.BASIS: LASTS,
    Reason.MARGIN: LASTS,
    Reason.FORBIDDEN: Ns(3 * LASTS),
}
"""A refused key is told at once, and asked for again every half second before it latches (F08)."""
BLIND = Ns(2 * NANO)
"""How long a running hedge goes on without a usable book of its venue (F65) or an open market
(F68): a short break ends before it. After that the mark prices what finishes it, or the primary
undoes it.
"""
META = "naked_day"
GRAVE = frozenset({Reason.FORBIDDEN.value, Reason.MARGIN.value})
"""Conditions that page at once."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the World found."""

    levels: tuple[Level, ...]
    trip: Trip | None
    hurry: str
    """Why the running hedge must take the emergency path now; empty when it need not."""


class Guardian:
    """Remembers what the guards need between two looks.

    Args:
        journal: keeps the day's exposure over a restart.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        stored = json.loads(journal.meta(META) or "{}")
        self._day: str = stored.get("day", "")
        self._before: int = stored.get("used", 0)
        """Exposure x time of the day before this process, or before the day's first look."""
        self._day_from = 0
        self._hedge: tuple[int, int] | None = None
        """The running hedge, and the World's exposure x time when it began."""
        self._since: dict[Reason, Ns] = {}
        self._standing: dict[tuple[str, str, bool], Level] = {}
        self._blind_since: Ns | None = None

    def look(self, w: World, params: Params, limits: Limits, now: Now) -> Look:
        """Return what stands, what latches now, and whether the hedge must be hurried."""
        view = self._view(w, params, limits, now)
        fired = trips(view, limits, params.max_failures)
        why = self._late(w, view, limits) or self._blind(w, params, now)
        hurry = why if w.hedge is not None and w.hedge.phase is not RoutePhase.EMERGENCY else ""
        return Look(self._stand(levels(view, limits)), self._patient(fired, now), hurry)

    @staticmethod
    def _late(w: World, view: GuardView, limits: Limits) -> str:
        if w.hedge is None or view.naked_hedge < limits.max_naked_hedge:
            return ""
        return naked_text("naked_hedge", view.naked_hedge, limits.max_naked_hedge)

    def _blind(self, w: World, params: Params, now: Now) -> str:
        """Say that the running hedge has had nothing to price by for too long."""
        leg = w.hedge_leg
        market = leg.instrument.tradable
        if w.hedge is None or (market and leg.fresh_book(now, params.stale) is not None):
            self._blind_since = None
            return ""
        self._blind_since = now.mono if self._blind_since is None else self._blind_since
        if now.mono - self._blind_since < BLIND:
            return ""
        return "no usable book" if market else "the market is closed"

    def _stand(self, found: tuple[Level, ...]) -> tuple[Level, ...]:
        """Keep the text with which each condition began, so that a level moves only twice."""
        self._standing = {level.key: self._standing.get(level.key, level) for level in found}
        return tuple(self._standing.values())

    def _patient(self, fired: tuple[Trip, ...], now: Now) -> Trip | None:
        """Return the first trip that has stood for as long as its kind must."""
        self._since = {t.reason: self._since.get(t.reason, now.mono) for t in fired}
        for trip in fired:
            stood = now.mono - self._since[trip.reason]
            if stood >= PATIENCE.get(trip.reason, 0):
                return trip
        return None

    def _view(self, w: World, params: Params, limits: Limits, now: Now) -> GuardView:
        return GuardView(
            day_pnl=self._pnl(w, params, now),
            failures=w.failures,
            violations=w.violations,
            foreign=w.foreign,
            forced=w.forced,
            legs=tuple(_health(w, venue, limits, now) for venue in w.legs),
            basis=w.basis.mean if w.basis is not None else None,
            naked_hedge=base_seconds(self._of_hedge(w, now)),
            naked_day=base_seconds(self._of_day(w, now)),
            since_failure=Ns(now.mono - w.ended_at),
            exposed=exposed(w),
            stranded=stranded(w, params, now),
        )

    @staticmethod
    def _pnl(w: World, params: Params, now: Now) -> Quote | None:
        """Return the day's profit; None while a book that it needs is not to be believed."""
        return w.day_pnl() if believed(w, params, now) else None

    # --- exposure budgets --------------------------------------------------------------------

    def _of_hedge(self, w: World, now: Now) -> int:
        """Return the running hedge's exposure x time, 1e-9 base x ns."""
        total = w.naked_time(now)
        if w.hedge is None:
            if self._hedge is not None:
                self._save(w, now)
            self._hedge = None
            return 0
        if self._hedge is None or self._hedge[0] != w.hedge.hedge_id:
            before = abs(w.net) * max(0, now.mono - w.hedge.fill_at)
            self._hedge = w.hedge.hedge_id, max(0, total - before)
        return total - self._hedge[1]

    def _of_day(self, w: World, now: Now) -> int:
        """Return the UTC day's exposure x time; a wall clock set back begins no new day (F62)."""
        if w.day > self._day:
            self._day, self._before, self._day_from = w.day, 0, w.naked_time(now)
        return self._before + w.naked_time(now) - self._day_from

    def _save(self, w: World, now: Now) -> None:
        used = self._of_day(w, now)
        self._journal.put_meta(META, json.dumps({"day": self._day, "used": used}))


def believed(w: World, params: Params, now: Now) -> bool:
    """True while the books that positions are valued by are up, recent, sane and near the mark.

    One leg at a price of long ago beside the other's of now looks like a loss, and is none.
    """
    return all(
        leg.fresh_book(now, params.mark_fresh) is not None and not off_mark(leg, params, now)
        for leg in w.legs.values()
        if leg.position
    )


def stranded(w: World, params: Params, now: Now) -> str:
    """Say which exposure the hedge venue would refuse as too small though it is no dust (F15).

    Dust waits for more; what is left by a venue that raised its minimum would stay for ever.
    """
    settled = now.mono - w.net_at >= LASTS and w.hedge is None and not any(w.live(Venue.GRVT))
    if not settled or exposed(w) or not more_than_dust(w, params):
        return ""
    leg = w.hedge_leg.instrument
    return f"net {plain(w.net)} cannot be hedged, minimum of {leg.venue} {plain(leg.min_qty)}"


def more_than_dust(w: World, params: Params) -> bool:
    """True from one clip of an unwind on; unknown without any price."""
    mid = w.price()
    return mid is not None and abs(w.net) >= chunk_size(params, mid, w.primary.instrument)


def undoable(w: World, params: Params) -> bool:
    """True while exposure that is no dust can be undone on the primary, whatever else trades it."""
    return w.primary.position * w.net > 0 and more_than_dust(w, params)


def _health(w: World, venue: Venue, limits: Limits, now: Now) -> LegHealth:
    leg = w.legs[venue]
    facts = leg.facts
    account = facts.account.value if facts.account is not None else None
    offset = facts.clock_offset(now)
    first = facts.clock_first.offset if facts.clock_first is not None else Ns(0)
    return LegHealth(
        venue=venue,
        margin_ratio=None if account is None else account.margin_ratio(),
        liquidation_distance=liquidation_distance(leg),
        liquidating=account is not None and account.liquidating,
        offset=offset,
        growth=Ns(0) if offset is None else Ns(offset - first),
        refused=facts.refused,
        changed=_changed(leg, limits),
        live=any(w.live(venue)),
    )


def liquidation_distance(leg: Leg) -> Bps | None:
    """Return how far the worse of mid and mark is from the liquidation price; None without one.

    A price on the wrong side is of a position that is no more: the margin ratio speaks then.
    """
    facts = leg.facts
    held = facts.account_position
    if facts.account is None or facts.account.value.liquidation is None or not held:
        return None
    edge = facts.account.value.liquidation
    sign = 1 if held > 0 else -1
    mark = facts.mark.value if facts.mark is not None else None
    prices: list[Px] = [px for px in (leg.mid(), mark) if px]
    found = [ratio_bps((px - edge) * sign, px) for px in prices]
    nearest = min(found, default=None)
    return nearest if nearest is not None and 0 <= nearest < BPS_ONE else None


def _changed(leg: Leg, limits: Limits) -> str:
    """Say which setting of the account is not what it was, or not what was configured (F78)."""
    facts = leg.facts
    if facts.account is None or facts.baseline is None:
        return ""
    now, first = facts.account.value, facts.baseline
    wanted = dict(limits.leverage).get(leg.instrument.venue, first.leverage)
    if now.leverage != wanted:
        return f"leverage {plain(now.leverage)}, expected {plain(wanted)}"
    if now.margin_mode != first.margin_mode:
        return f"margin_mode {now.margin_mode}, expected {first.margin_mode}"
    return ""


def tell(narrator: Narrator, before: tuple[Level, ...], after: tuple[Level, ...]) -> None:
    """Write one alert for each condition that began, and one line for each that ended (H2)."""
    old, new = {level.key for level in before}, {level.key for level in after}
    for level in after:
        if level.key not in old:
            grave = "error" if level.code in GRAVE else "warning"
            stops = str(level.stops).lower()
            narrator.line(grave, "ALERT", level.code, **_named(level), stops_opening=stops)
    for level in before:
        if level.key not in new:
            narrator.line("info", "SAFETY", "cleared", code=level.code, **_named(level))


def _named(level: Level) -> dict[str, str | int]:
    named: dict[str, str | int] = {"venue": level.venue} if level.venue in set(Venue) else {}
    return named | {"what": level.what}

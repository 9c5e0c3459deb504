"""The latch RUNNING → REDUCING → FLATTENING → HALTED, and the guards that move it. Pure."""

from dataclasses import dataclass

from safety.limits import Limits
from safety.reasons import KEEPS_POSITIONS, Reason
from strategy.domain import Mode, Quote, plain


@dataclass(frozen=True, slots=True)
class Trip:
    """A guard fired."""

    reason: Reason
    detail: str

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}"


@dataclass(frozen=True, slots=True)
class GuardView:
    """What the guards read."""

    day_pnl: Quote | None
    failures: int
    violations: tuple[str, ...]
    foreign: tuple[str, ...]
    forced: tuple[str, ...]


def guards(view: GuardView, limits: Limits, max_failures: int) -> Trip | None:
    """Return the first guard that fires; each latches until an operator resumes."""
    if view.day_pnl is not None and view.day_pnl <= -limits.max_daily_loss:
        detail = f"day {plain(view.day_pnl)} reached -{plain(limits.max_daily_loss)}"
        return Trip(Reason.MAX_DAILY_LOSS, detail)
    if view.failures >= max_failures:
        return Trip(Reason.HEDGE_FAILURES, f"{view.failures} hedges in a row needed an emergency")
    for reason, notes in (
        (Reason.VIOLATION, view.violations),
        (Reason.FORCED, view.forced),
        (Reason.FOREIGN, view.foreign),
    ):
        if notes:
            return Trip(reason, notes[-1])
    return None


def tighten(mode: Mode, exposed: bool, live: bool, flat: bool, reason: str) -> Mode:
    """Return the next mode of a latch that has left RUNNING.

    ``exposed``: net exposure is left; ``live``: orders may still trade; ``flat``: both legs are
    verified flat by the venues; ``reason``: why it left RUNNING.
    """
    if mode is Mode.REDUCING and not exposed and not live:
        keep = reason.startswith(tuple(r.value for r in KEEPS_POSITIONS))
        return Mode.HALTED if keep else Mode.FLATTENING
    if mode is Mode.FLATTENING and flat and not live:
        return Mode.HALTED
    return mode

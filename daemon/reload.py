"""Tighten-only reload on SIGHUP (F44): a limit becomes tighter while the daemon runs, never looser.

The whole configuration is read again as at the start. Every limit that is tighter applies from the
next decision on; what is looser, what is no limit and what cannot be read is refused with one clear
line and an alert, and the old value stays. A restart is the way to loosen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from math import lcm

from daemon.config import OPTIONS, ConfigError, RunConfig
from daemon.core import Core, Settings
from daemon.narrator import Narrator
from daemon.settings import limits_of, params_of
from safety.limits import Limits
from strategy.domain import Bps, Instrument, Now, Qty, Venue, bps_text, plain
from strategy.params import Params

MS = 1_000_000


def _bps(value: int) -> str:
    return f"{bps_text(Bps(value))} bps"


def _percent(value: int) -> str:
    return f"{bps_text(Bps(value // 100))} %"


def _seconds(value: int) -> str:
    return f"{plain(value)} s"


def _ms(value: int) -> str:
    return f"{value // MS} ms"


SMALLER, LARGER = -1, 1
TIGHTER: Mapping[str, tuple[int, Callable[[int], str]]] = {
    "max_position": (SMALLER, plain),
    "max_daily_loss": (SMALLER, plain),
    "max_slippage": (SMALLER, _bps),
    "min_spread": (LARGER, _bps),
    "max_unhedged": (SMALLER, _ms),
    "stale_book_ns": (SMALLER, _seconds),
    "emergency_max_bps": (SMALLER, _bps),
    "hedge_failures_max": (SMALLER, str),
    "orders_per_minute": (SMALLER, str),
    "naked_hedge": (SMALLER, plain),
    "naked_day": (SMALLER, plain),
    "cool_down": (LARGER, _seconds),
    "warn_margin": (SMALLER, _percent),
    "max_margin": (SMALLER, _percent),
    "warn_liquidation": (LARGER, _bps),
    "min_liquidation": (LARGER, _bps),
    "max_basis": (SMALLER, _bps),
    "mark_gap": (SMALLER, _bps),
    "clock_offset": (SMALLER, _ms),
    "funding_guard": (LARGER, _seconds),
}
"""The limits that a reload may tighten: which way is tighter, and how a value is shown."""
NAMES = {option.name: ".".join(p for p in option.file_key if p) for option in OPTIONS}


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload does."""

    config: RunConfig
    """What holds from now on."""
    applied: tuple[str, ...]
    """One text for each limit that became tighter: key, old and new value."""
    refused: tuple[str, ...]
    """One line for each change that was not taken."""


def reread(old: RunConfig, read: Callable[[], RunConfig]) -> Reloaded:
    """Read the configuration again and take what is tighter; a broken one changes nothing."""
    try:
        new = read()
    except ConfigError as bad:
        return Reloaded(old, (), (f"not reloaded, every limit stays: {bad}",))
    return tighten_only(old, new)


def tighten_only(old: RunConfig, new: RunConfig) -> Reloaded:
    """Compare two configurations field by field."""
    taken: dict[str, int] = {}
    applied, refused = [], []
    for field in fields(RunConfig):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before == after:
            continue
        name = NAMES.get(field.name, field.name)
        if field.name not in TIGHTER:
            refused.append(f"{name}: no limit; only a restart changes it")
            continue
        way, show = TIGHTER[field.name]
        if (after - before) * way > 0:
            taken[field.name] = after
            applied.append(f"{name} {show(before)} -> {show(after)}")
        else:
            refused.append(
                f"{name}: {show(after)} is looser than {show(before)}, which stays; "
                "restart to loosen it"
            )
    changes: dict[str, object] = dict(taken)
    config = replace(old, **changes)  # type: ignore[arg-type]  # the names are RunConfig's own
    return Reloaded(config, tuple(applied), tuple(refused))


def settings_after(config: RunConfig, instruments: Mapping[Venue, Instrument]) -> Settings:
    """Return the settings of a tightened configuration.

    A cap below what the run builds to makes it build less: an order beyond a cap would latch.
    """
    params, limits = params_of(config), limits_of(config)
    return Settings(_within(params, limits, instruments), limits)


def _within(params: Params, limits: Limits, instruments: Mapping[Venue, Instrument]) -> Params:
    step = lcm(*(rules.step for rules in instruments.values()))
    cap = Qty(limits.max_position // step * step)
    return replace(params, size=min(params.size, cap), max_position=min(params.max_position, cap))


class Reloader:
    """Carries a reload out: between two decisions, journalled, and said line by line.

    Args:
        read: reads the whole configuration again, as the start did.
        core: whose settings it replaces.
        narrator: says what was taken and what was not.
    """

    def __init__(self, read: Callable[[], RunConfig], core: Core, narrator: Narrator) -> None:
        self._read = read
        self._core = core
        self._narrator = narrator

    def reload(self, config: RunConfig, now: Now) -> RunConfig:
        """Return the configuration that holds from now on."""
        found = reread(config, self._read)
        for what in found.refused:
            self._narrator.line("warning", "ALERT", "reload_refused", what=what)
        if found.applied:
            rules = {venue: leg.instrument for venue, leg in self._core.world.legs.items()}
            self._core.settings = settings_after(found.config, rules)
            self._core.journal.event("LimitsTightened", {"what": found.applied}, now.wall)
        for what in found.applied:
            self._narrator.line("info", "SAFETY", "limit_tightened", what=what)
        if not found.applied and not found.refused:
            self._narrator.line("info", "SAFETY", "reloaded", what="nothing has changed")
        return found.config

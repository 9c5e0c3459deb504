"""The fault board: which injected faults are active, on which venue, and for how long.

Imports ``fault_table`` and ``strategy.domain`` only. The servers, the in-process face and the
universe ask it at the fitting places with ``take``; it never acts by itself. Numbers are those of
the fault catalogue.

A fault stays until its ``count`` is used up, its ``seconds`` are over or it is cleared. With none
of them it happens once, or lasts until cleared where ``fault_table.SPECS`` says ``held``. That
table also says what each does, on which venue, and which settings it takes. Several may be active
at once.

The universe applies the states of the market (F64, F65, F67, F68, F72), where ``count`` has no
meaning; the servers apply all others. The in-process face applies F01, F02, F03, F05, F11, F12,
F19, F24, F52, F54, F55, F59 and F74 itself, as a server would.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from exchanges.simulator.fault_table import ELSEWHERE, SPECS, FaultError, FaultSpec
from strategy.domain import NANO, Ns, Venue

__all__ = ["WIRE_FAULTS", "FaultBoard", "FaultError"]

WIRE_FAULTS: dict[str, str] = {name: spec.text for name, spec in SPECS.items()}
"""Faults that a venue can cause, by catalogue number: one line each."""

_BOUNDS = ("count", "seconds")


@dataclass(slots=True)
class _Active:
    venue: Venue
    name: str
    count: int | None
    until: Ns | None
    since: Ns
    params: dict[str, Any] = field(default_factory=dict)

    def spec(self, now: Ns) -> dict[str, Any]:
        shown: dict[str, Any] = {"venue": self.venue.value, "fault": self.name}
        if self.count is not None:
            shown["count"] = self.count
        if self.until is not None:
            shown["seconds"] = round((self.until - now) / NANO, 3)
        return shown | self.params


class FaultBoard:
    """Active faults of both venues.

    Args:
        now: the venues' clock, Unix ns, by which ``seconds`` run out.

    Attributes:
        taken: how often each fault was applied, by ``"venue name"``, e.g. ``{"grvt F01": 1}``.
    """

    def __init__(self, now: Callable[[], Ns]) -> None:
        self._now = now
        self._active: list[_Active] = []
        self.taken: dict[str, int] = {}

    def add(self, spec: Mapping[str, Any]) -> None:
        """Activate ``{"venue", "fault", "count"?, "seconds"?, ...}``; other keys are its settings.

        Raises:
            FaultError: unknown venue, name or key, a fault that this venue cannot have, or a value
                that does not fit.
        """
        params = dict(spec)
        venue = _venue(params.pop("venue", None))
        name = _name(params.pop("fault", None), venue)
        bounds = {key: _positive(key, params.pop(key)) for key in _BOUNDS if key in params}
        _check_settings(name, SPECS[name], venue, params)
        count, seconds = bounds.get("count"), bounds.get("seconds")
        if count is None and seconds is None and not SPECS[name].held:
            count = Decimal(1)
        now = self._now()
        until = None if seconds is None else Ns(now + int(seconds * NANO))
        left = None if count is None else int(count)
        self._active.append(_Active(venue, name, left, until, now, params))

    def clear(self) -> None:
        """End every fault."""
        self._active.clear()

    def active(self) -> list[dict[str, Any]]:
        """Return the active faults as they were added, with what is left of count and seconds."""
        self._expire()
        now = self._now()
        return [each.spec(now) for each in self._active]

    def take(self, venue: Venue, name: str) -> dict[str, Any] | None:
        """Use up one count of a fault and return its parameters; None when it is not active."""
        if not self._active:  # the hot path: nothing is injected
            return None
        found = self._find(venue, name)
        if found is None:
            return None
        key = f"{venue} {name}"
        self.taken[key] = self.taken.get(key, 0) + 1
        if found.count is not None:
            found.count -= 1
            if not found.count:
                self._active.remove(found)
        return dict(found.params)

    def holds(self, venue: Venue, name: str) -> bool:
        """Return whether a fault is active, without using it up."""
        return bool(self._active) and self._find(venue, name) is not None

    def peek(self, venue: Venue, name: str) -> dict[str, Any] | None:
        """Return the settings of an active fault without using it up; None when it is not."""
        found = self._find(venue, name) if self._active else None
        return None if found is None else dict(found.params)

    def since(self, venue: Venue, name: str) -> Ns | None:
        """Return when an active fault was injected, Unix ns; None when it is not active."""
        found = self._find(venue, name) if self._active else None
        return None if found is None else found.since

    def next_expiry(self) -> Ns | None:
        """Return when the next fault ends by time, Unix ns."""
        return min((each.until for each in self._active if each.until is not None), default=None)

    def _find(self, venue: Venue, name: str) -> _Active | None:
        self._expire()
        for each in self._active:
            if each.venue is venue and each.name == name:
                return each
        return None

    def _expire(self) -> None:
        now = self._now()
        self._active = [each for each in self._active if each.until is None or each.until > now]


def _venue(value: object) -> Venue:
    for venue in Venue:
        if value == venue.value:
            return venue
    raise FaultError(f"venue {value!r} is unknown: use one of {', '.join(v.value for v in Venue)}")


def _name(value: object, venue: Venue) -> str:
    if isinstance(value, str) and value in ELSEWHERE:
        raise FaultError(f"fault {value} {ELSEWHERE[value]}")
    if not isinstance(value, str) or value not in SPECS:
        raise FaultError(f"fault {value!r} is unknown: use one of {', '.join(SPECS)}")
    if venue not in SPECS[value].venues:
        raise FaultError(f"fault {value} is of {venue.other.value} only: not for {venue.value}")
    return value


def _check_settings(name: str, spec: FaultSpec, venue: Venue, params: Mapping[str, Any]) -> None:
    known = {key: each for key, each in spec.settings.items() if venue in each.venues}
    for key, value in params.items():
        if key not in known:
            words = ", ".join((*_BOUNDS, *known))
            raise FaultError(f"{key!r} is unknown for fault {name}: use {words}")
        known[key].check(key, value)


def _positive(key: str, value: object) -> Decimal:
    """Return a positive number; ``count`` must be whole."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole and not (key == "seconds" and isinstance(value, float)):
        raise FaultError(f"{key} {value!r} is not a {'' if key == 'seconds' else 'whole '}number")
    number = Decimal(str(value))
    if not number.is_finite() or number <= 0:
        raise FaultError(f"{key} {value!r} must be more than 0")
    return number

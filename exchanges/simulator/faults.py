"""The fault board: which injected faults are active, on which venue, and for how long.

Imports ``strategy.domain`` only. The servers, the in-process face and the universe ask it at the
fitting places with ``take``; it never acts by itself. Numbers are those of the fault catalogue.

A fault stays until its ``count`` is used up, its ``seconds`` are over or it is cleared. With none
of them it has the default below: once, or until cleared ("held").

=====  ==================================================================  =========  ========
name   what happens                                                        default    applied by
=====  ==================================================================  =========  ========
F01    create executed, connection dropped instead of the answer           once       server
F02    create dropped before the engine, no answer                         once       server
F03    no answer; the create reaches the engine ``delay_ms`` later         once       server
F04    create answered 429                                                 once       server
F05    create answered 502 with an HTML body, not executed                 once       server
F06    create executed, answered 200 with a garbled body                   once       server
F07    create answered "session expired" (GRVT 401/1000, Backpack 401)     once       server
F11    every post-only order is refused as crossing                        held       server
F12    create refused for insufficient margin                              once       server
F16    order accepted, then cancelled at once by the venue                 once       server
F19    a fill message is sent twice                                        once       server
F22    a cancel is acknowledged; a fill of the order lands before its end  once       server
F24    the order message says filled, the fill message is missing          once       server
F29    an order message carries an unknown status word                     once       server
F49    open WebSockets stay open and go silent                             once       server
F50    one book message is missing: a gap in the sequence                  once       server
F51    a subscription is acknowledged, its snapshot never comes            once       server
F52    connections are refused or reset                                    held       server
F54    the same, named as the partition of GRVT                            held       server
F55    the same, named as the partition of Backpack                        held       server
F59    a cancel is answered 429                                            once       server
F65    the market shows an empty book                                      held       universe
F68    the market is halted                                                held       universe
F74    positions are answered empty (or ``"mode": "error"``: 500)          once       server
=====  ==================================================================  =========  ========

The in-process face applies F01, F02, F03, F05, F11, F12, F19, F24, F52, F54, F55, F59 and F74
itself, as a server would. ``count`` has no meaning for F65 and F68, which are states.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from strategy.domain import NANO, Ns, Venue

WIRE_FAULTS: dict[str, str] = {
    "F01": "create executed, connection dropped instead of the answer",
    "F02": "create dropped before the engine",
    "F03": "create reaches the engine delay_ms later, no answer",
    "F04": "429 on create",
    "F05": "502 with an HTML body on create",
    "F06": "create executed, 200 with a garbled body",
    "F07": "session expired",
    "F11": "post-only orders always refused as crossing",
    "F12": "create refused for insufficient margin",
    "F16": "order accepted, then cancelled at once",
    "F19": "fill message sent twice",
    "F22": "a fill lands during a cancel",
    "F24": "order says filled, fill message missing",
    "F29": "unknown status word",
    "F49": "WebSocket goes silent",
    "F50": "gap in the book's sequence",
    "F51": "no snapshot after subscribe",
    "F52": "connections refused or reset",
    "F54": "GRVT unreachable",
    "F55": "Backpack unreachable",
    "F59": "429 on cancel",
    "F65": "empty book",
    "F68": "market halted",
    "F74": "positions answered empty, or an error with mode=error",
}
"""Faults that a venue can cause, by catalogue number: one line each."""

_HELD = frozenset({"F11", "F52", "F54", "F55", "F65", "F68"})
_ONLY = {"F54": Venue.GRVT, "F55": Venue.BACKPACK}
_NUMBERS = ("count", "seconds", "delay_ms")


class FaultError(ValueError):
    """A fault that cannot be injected; the text is one clear line."""


@dataclass(slots=True)
class _Active:
    venue: Venue
    name: str
    count: int | None
    until: Ns | None
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
        """Activate ``{"venue", "fault", "count"?, "seconds"?, ...}``; other keys go to the taker.

        Raises:
            FaultError: unknown venue or name, or a number that is not positive.
        """
        params = dict(spec)
        venue = _venue(params.pop("venue", None))
        name = _name(params.pop("fault", None), venue)
        numbers = {key: _positive(key, params[key]) for key in _NUMBERS if key in params}
        count, seconds = params.pop("count", None), numbers.get("seconds")
        params.pop("seconds", None)
        if count is None and seconds is None and name not in _HELD:
            count = 1
        until = None if seconds is None else Ns(self._now() + int(seconds * NANO))
        self._active.append(_Active(venue, name, count, until, params))

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
    if not isinstance(value, str) or value not in WIRE_FAULTS:
        raise FaultError(f"fault {value!r} is unknown: use one of {', '.join(WIRE_FAULTS)}")
    if _ONLY.get(value, venue) is not venue:
        raise FaultError(
            f"fault {value} is of {_ONLY[value].value} only: use F52 for {venue.value}"
        )
    return value


def _positive(key: str, value: object) -> Decimal:
    """Return a positive number; ``count`` and ``delay_ms`` must be whole."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole and not (key == "seconds" and isinstance(value, float)):
        raise FaultError(f"{key} {value!r} is not a {'' if key == 'seconds' else 'whole '}number")
    number = Decimal(str(value))
    if not number.is_finite() or number <= 0:
        raise FaultError(f"{key} {value!r} must be more than 0")
    return number

"""The faces' switches as text, ``venue.name=value``: what ``hedged simulate --switch`` takes.

Imports ``strategy.domain`` and the options of the two faces only. Every field of ``GrvtOptions``
and ``BackpackOptions`` is a switch; its type says how its value is written:

- on or off: ``true`` or ``false``
- a time: a number with ``ms``, ``s``, ``m`` or ``h``, e.g. ``250ms``; ``none`` where allowed
- a number, a word, or several with commas between them
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from enum import Enum
from functools import partial
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from exchanges.simulator.backpack_options import BackpackOptions
from exchanges.simulator.grvt_options import GrvtOptions
from strategy.domain import Ns, Venue

_OPTIONS: Mapping[Venue, type[GrvtOptions] | type[BackpackOptions]] = {
    Venue.GRVT: GrvtOptions,
    Venue.BACKPACK: BackpackOptions,
}
_TIME = re.compile(r"(\d{1,9})(ms|s|m|h)", re.ASCII)
_UNITS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_WHOLE = re.compile(r"-?\d{1,15}", re.ASCII)
_DECIMAL = re.compile(r"\d{1,6}(\.\d{1,3})?", re.ASCII)


class SwitchError(ValueError):
    """A switch that does not exist or a value that does not fit; the text is one clear line."""


def known() -> dict[str, str]:
    """Return every switch, e.g. ``grvt.request_ids``, with its default as it would be written."""
    found = {}
    for venue, options in _OPTIONS.items():
        default = options()
        for each in fields(options):
            found[f"{venue.value}.{each.name}"] = _shown(
                getattr(default, each.name), _hints(venue)[each.name]
            )
    return found


def switched(texts: Iterable[str]) -> tuple[GrvtOptions, BackpackOptions]:
    """Return both venues' options with the given switches set, e.g. ``grvt.request_ids=true``.

    Raises:
        SwitchError: an unknown name, or a value that does not fit.
    """
    chosen: dict[Venue, dict[str, Any]] = {venue: {} for venue in Venue}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise SwitchError(f"switch {text!r} has no value: write venue.name=value")
        venue, key = _named(name)
        try:
            chosen[venue][key] = _value(_hints(venue)[key], value)
        except ValueError as bad:
            raise SwitchError(f"switch {name} {value!r}: {bad}") from bad
    try:
        return GrvtOptions(**chosen[Venue.GRVT]), BackpackOptions(**chosen[Venue.BACKPACK])
    except ValueError as bad:
        raise SwitchError(f"switch {bad}") from bad


def _hints(venue: Venue) -> dict[str, Any]:
    return get_type_hints(_OPTIONS[venue])


def _named(name: str) -> tuple[Venue, str]:
    names = known()
    if name not in names:
        close = get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]}?" if close else "see docs/simulator.md"
        raise SwitchError(f"switch {name!r} is unknown: {hint}")
    venue, _, key = name.partition(".")
    return Venue(venue), key


def _value(hint: Any, text: str) -> Any:
    """Read a value by the type of its field; raises ValueError."""
    members = get_args(hint)
    if get_origin(hint) is frozenset:
        return frozenset(filter(None, text.split(",")))
    if get_origin(hint) is tuple:
        return tuple(_whole(part) for part in text.split(",", len(members)))
    if NoneType in members:
        inner = next(each for each in members if each is not NoneType)
        return None if text == "none" else _value(inner, text)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _word(hint, text)
    return _READERS[hint](text)


def _word(kind: type[Enum], text: str) -> Enum:
    for member in kind:
        if text in (member.value, member.name.lower()):
            return member
    raise ValueError(f"use one of {', '.join(member.name.lower() for member in kind)}")


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("use true or false")
    return text == "true"


def _whole(text: str) -> int:
    if _WHOLE.fullmatch(text) is None:
        raise ValueError("use a whole number")
    return int(text)


def _seconds(text: str) -> float:
    if _DECIMAL.fullmatch(text) is None:
        raise ValueError("use a number of seconds")
    return float(text)


def _time(text: str) -> Ns:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("use a number with ms, s, m or h, such as 250ms")
    return Ns(int(found[1]) * _UNITS[found[2]])


_READERS: Mapping[Any, Callable[[str], Any]] = {
    bool: _flag,
    int: _whole,
    float: _seconds,
    str: str,
    Ns: _time,
}


def _shown(value: Any, hint: Any) -> str:
    """Return a default as it would be written."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, tuple | frozenset):
        return ",".join(map(str, value))
    if hint is Ns or Ns in get_args(hint):
        return _time_text(value)
    return str(value)


def _time_text(value: int) -> str:
    fits = partial(filter, lambda unit: not value % _UNITS[unit])
    unit = max(fits(_UNITS), key=_UNITS.__getitem__) if value else "s"
    return f"{value // _UNITS[unit]}{unit}"

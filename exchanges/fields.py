"""Strict readers of venue JSON: a missing or odd field is an error, never a default.

JSON numbers with a fraction are read as ``Decimal`` so that no binary float ever exists; pure,
imports ``strategy.domain`` and the error types only.
"""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

from exchanges.errors import VenueMalformed
from strategy.domain import Ns, nano, nano_round

_PLAIN = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,20}", re.ASCII)
_MAX_EXPONENT = 18
"""Nothing priced in USDC has more integer digits; beyond it ``nano`` would build giant integers."""
_SHALLOW = 100
"""Text with no more brackets than this cannot be nested dangerously."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
US = 1_000
MS = 1_000_000
"""Nanoseconds in a microsecond and in a millisecond."""

Json = dict[str, Any]


def _shown(value: Any) -> str:
    return repr(value)[:80]


def _no_constant(word: str) -> Any:
    raise ValueError(f"JSON constant {word}")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)


def decode(raw: bytes | str, what: str) -> Any:
    """Decode JSON with exact numbers.

    Raises:
        VenueMalformed: not UTF-8 or not JSON (an HTML page, a truncated answer, ``NaN``).
    """
    try:
        text = raw.decode() if isinstance(raw, bytes) else raw
        if text.count("[") + text.count("{") > _SHALLOW:
            # A dependency raises the recursion limit so far that deep nesting would overflow the
            # C stack in the standard decoder; orjson refuses it at 1024 levels.
            orjson.loads(text)
        return _DECODER.decode(text)
    except ValueError as bad:
        raise VenueMalformed(f"{what}: not JSON: {_shown(raw)}") from bad


def as_object(value: Any, what: str) -> Json:
    """Return ``value`` as a JSON object; raises VenueMalformed."""
    if not isinstance(value, dict):
        raise VenueMalformed(f"{what}: expected an object, got {_shown(value)}")
    return value


def as_list(value: Any, what: str) -> list[Any]:
    """Return ``value`` as a JSON array; raises VenueMalformed."""
    if not isinstance(value, list):
        raise VenueMalformed(f"{what}: expected an array, got {_shown(value)}")
    return value


def required(row: Json, key: str, what: str) -> Any:
    """Return a member that must be present and not null; raises VenueMalformed."""
    value = row.get(key)
    if value is None:
        raise VenueMalformed(f"{what}: field {key!r} is missing")
    return value


def text(row: Json, key: str, what: str) -> str:
    """Return a string member; raises VenueMalformed."""
    value = required(row, key, what)
    if not isinstance(value, str):
        raise VenueMalformed(f"{what}: field {key!r} is not a string: {_shown(value)}")
    return value


def integer(row: Json, key: str, what: str) -> int:
    """Return an integer member, given bare or as a string of digits; raises VenueMalformed."""
    return to_integer(required(row, key, what), f"{what}: field {key!r}")


def to_integer(value: Any, what: str) -> int:
    """Read a non-negative integer that the venue prints bare or quoted; raises VenueMalformed."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    raise VenueMalformed(f"{what} is not an integer: {_shown(value)}")


def flag(row: Json, key: str, what: str) -> bool:
    """Return a boolean member that must be present; raises VenueMalformed."""
    value = required(row, key, what)
    if not isinstance(value, bool):
        raise VenueMalformed(f"{what}: field {key!r} is not a boolean: {_shown(value)}")
    return value


def optional_flag(row: Json, key: str, what: str) -> bool:
    """Return a boolean that the venue leaves out or nulls when unset (false)."""
    return False if row.get(key) is None else flag(row, key, what)


def _decimal(value: Any, what: str) -> Decimal:
    quoted = isinstance(value, str) and _PLAIN.fullmatch(value)
    bare = isinstance(value, int | Decimal) and not isinstance(value, bool)
    if not (quoted or bare):
        raise VenueMalformed(f"{what} is not a decimal: {_shown(value)}")
    number = Decimal(value)
    if number and number.adjusted() > _MAX_EXPONENT:
        raise VenueMalformed(f"{what} is out of range: {_shown(value)}")
    return number


def exact(value: Any, what: str) -> int:
    """Read a price or size, quoted or bare, as 1e-9 units without rounding.

    Raises:
        VenueMalformed: not a decimal, or finer than 1e-9.
    """
    try:
        return nano(_decimal(value, what))
    except ValueError as bad:
        raise VenueMalformed(f"{what}: {bad}") from bad


def rounded(value: Any, what: str) -> int:
    """Read a venue-computed amount (fee, equity, rate) as 1e-9 units, half even."""
    return nano_round(_decimal(value, what))


def unsigned(value: Any, what: str) -> int:
    """Read a size or price that cannot be negative, in 1e-9 units; raises VenueMalformed."""
    units = exact(value, what)
    if units < 0:
        raise VenueMalformed(f"{what} is negative: {_shown(value)}")
    return units


def amount(row: Json, key: str, what: str) -> int:
    """Return a non-negative price or size member in 1e-9 units; raises VenueMalformed."""
    return unsigned(required(row, key, what), f"{what}: field {key!r}")


def positive(row: Json, key: str, what: str) -> int:
    """Return a price or size member above zero in 1e-9 units; raises VenueMalformed."""
    units = amount(row, key, what)
    if not units:
        raise VenueMalformed(f"{what}: field {key!r} is zero")
    return units


def iso_utc(row: Json, key: str, what: str) -> Ns:
    """Read a naive ISO-8601 time, which the venue means as UTC, as Unix ns (venues.md B3.2)."""
    value = text(row, key, what)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as bad:
        raise VenueMalformed(f"{what}: field {key!r} is not a time: {_shown(value)}") from bad
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    gone = moment - _EPOCH
    return Ns((gone.days * 86_400 + gone.seconds) * 1_000_000_000 + gone.microseconds * US)

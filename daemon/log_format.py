"""The two line formats. Rendering never runs a value's own code unguarded, so it never raises."""

import json
import math
import reprlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from pathlib import PurePath

from strategy.domain import Ns

LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARN", "error": "ERROR"}
MAX_TEXT = 4_000
"""Characters of one value; the rest is cut and marked."""
MAX_BITS = 4_096
MAX_EXPONENT = 60

Scalar = str | int | float | bool | None
Plain = Scalar | dict[str, Scalar]

_repr = reprlib.Repr()
_repr.maxother = _repr.maxstring = 100_000


def stamp(wall: Ns) -> str:
    """Render Unix ns as ``2026-11-21T07:08:09.123456Z``."""
    whole, rest = divmod(wall, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{rest // 1000:06d}Z"


def level_word(level: object) -> str:
    """Return the printed word of a level; an unknown one counts as an error."""
    name = level.lower() if isinstance(level, str) else ""
    return LEVELS.get("warning" if name == "warn" else name, "ERROR")


def simple(value: object, redact: Callable[[str], str]) -> Plain:
    """Reduce any value to what both formats can print; a plain mapping keeps one level."""
    if type(value) is dict and all(type(key) is str for key in value):
        return {redact(key): scalar(entry, redact) for key, entry in value.items()}
    return scalar(value, redact)


def scalar(value: object, redact: Callable[[str], str]) -> Scalar:
    """Reduce any value to text, number, bool or None; money (Decimal) becomes text.

    Text is redacted whole before it is cut, so that no half of a secret survives.
    """
    if type(value) is float and math.isfinite(value):
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return scalar(value.value, redact) if isinstance(value.value, str) else value.name
    if isinstance(value, str):
        return _cut(redact(str.__str__(value)))
    if isinstance(value, int):
        return int(value) if value.bit_length() <= MAX_BITS else f"{value.bit_length()}-bit integer"
    return _cut(redact(_text(value)))


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        if value.is_finite() and abs(value.adjusted()) <= MAX_EXPONENT:
            return format(value, "f")
        return Decimal.__str__(value)
    if isinstance(value, PurePath):
        return PurePath.__str__(value)
    if isinstance(value, BaseException):
        return "".join(traceback.format_exception_only(value)).strip()
    return _repr.repr(value)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}... ({len(text)} characters)"


def console(ts: str, level: str, tag: str, event: str, fields: Mapping[str, Plain]) -> str:
    """Render one console line, without its line end."""
    head = f"{ts} {level:<5} [{tag}] {_one_line(event)}"
    return " ".join([head, *_pairs(fields)])


def _pairs(fields: Mapping[str, Plain]) -> Iterator[str]:
    """Yield ``key=value``; a mapping's entries as ``key_entry=value``."""
    for key, value in fields.items():
        if isinstance(value, dict):
            yield from _pairs({f"{key}_{name}": entry for name, entry in value.items()})
        else:
            yield f"{_key(key)}={_word(value)}"


def as_json(ts: str, level: str, tag: str, event: str, fields: Mapping[str, Plain]) -> str:
    """Render one JSON line; a field named like one of the four heads gets an underscore."""
    line: dict[str, Plain] = {"ts": ts, "level": level, "tag": tag, "event": event}
    for key, value in fields.items():
        line[f"{key}_" if key in ("ts", "level", "tag", "event") else key] = value
    return json.dumps(line, separators=(",", ":"))


def _word(value: Scalar) -> str:
    if isinstance(value, str):
        bare = value and value.isprintable() and not any(c in ' "=\\' for c in value)
        return value if bare else json.dumps(value, ensure_ascii=not value.isprintable())
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _key(key: str) -> str:
    return key if key.isidentifier() else json.dumps(key)


def _one_line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)[1:-1]

"""The shape of a venue's message: field names, JSON types, units; and how two of them differ.

A shape is written with plain Python values::

    "dec"        decimal string             "intstr"   digits in a string
    "ns"         19 digits in a string      "us", "ms" bare integer of 16 or 13 digits
    "iso"        naive ISO-8601 string      "isospace" the same with a space
    "int", "bool", "str", "null", "number"  "hex"      0x and hexadecimal digits
    "u32str"     a uint32 in a string       "hours"    ms that are whole hours
    "= a b c"    a string that is one of these words
    "dec?"       the same, or null          "dec | int" either
    {"name": s}  an object with exactly these fields; "name?" may be absent, "name+" only in an
                 old capture
    [s]          an array of s              [s, s]     an array of exactly two
    "any"        whatever

Ours: written down from reading captured messages, none of which is kept here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Shape = str | dict[str, Any] | list[Any]

_DECIMAL = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
_DIGITS = re.compile(r"\d+", re.ASCII)
_NS = re.compile(r"0|\d{19}", re.ASCII)
_HEX = re.compile(r"0x[0-9a-fA-F]+", re.ASCII)
US_DIGITS, MS_DIGITS = 16, 13
HOUR_MS, MAX_U32 = 3_600_000, 2**32


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _iso(separator: str) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        if not isinstance(value, str) or separator not in value:
            return False
        try:
            return datetime.fromisoformat(value).tzinfo is None
        except ValueError:
            return False

    return check


KINDS: Mapping[str, Callable[[Any], bool]] = {
    "any": lambda _: True,
    "bool": lambda value: isinstance(value, bool),
    "dec": _matches(_DECIMAL),
    "hex": _matches(_HEX),
    "int": _whole,
    "intstr": _matches(_DIGITS),
    "iso": _iso("T"),
    "isospace": _iso(" "),
    "ms": lambda value: _whole(value) and len(str(value)) == MS_DIGITS,
    "ns": _matches(_NS),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "str": lambda value: isinstance(value, str),
    "hours": lambda value: _whole(value) and value > 0 and value % HOUR_MS == 0,
    "u32str": lambda value: isinstance(value, str) and value.isdigit() and int(value) < MAX_U32,
    "us": lambda value: _whole(value) and len(str(value)) == US_DIGITS,
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that is not as captured."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"{self.path or '(message)'}: {self.why}"


def differences(
    shape: Shape, value: Any, path: str = "", *, newest: bool = True
) -> list[Difference]:
    """Compare field by field; empty when names, types and units are the same.

    Args:
        shape: what it should be.
        value: decoded JSON.
        path: where in the message this is.
        newest: a message as the venue sends it today, so that ``+`` fields must be there.
    """
    if isinstance(shape, str):
        return [] if fits(shape, value) else [Difference(path, f"{value!r:.60} is not {shape}")]
    if isinstance(shape, dict):
        return _object(shape, value, path, newest=newest)
    return _array(shape, value, path, newest=newest)


def fits(kind: str, value: Any) -> bool:
    """True when a scalar is of one of the kinds."""
    if kind.endswith("?"):
        return value is None or fits(kind[:-1], value)
    if kind.startswith("= "):
        return isinstance(value, str) and value in kind[2:].split()
    return any(KINDS[name](value) for name in kind.split(" | "))


def _object(shape: dict[str, Any], value: Any, path: str, *, newest: bool) -> list[Difference]:
    if not isinstance(value, dict):
        return [Difference(path, f"{value!r:.60} is not an object")]
    free = "?" if newest else "?+"
    named = {key.rstrip("?+"): inner for key, inner in shape.items()}
    found = [
        Difference(_join(path, key.rstrip("+")), "missing")
        for key in shape
        if key[-1] not in free and key.rstrip("+") not in value
    ]
    for key, inner in value.items():
        if key in named:
            found += differences(named[key], inner, _join(path, key), newest=newest)
        else:
            found.append(Difference(_join(path, key), f"extra ({inner!r:.60})"))
    return found


def _array(shape: list[Any], value: Any, path: str, *, newest: bool) -> list[Difference]:
    if not isinstance(value, list):
        return [Difference(path, f"{value!r:.60} is not an array")]
    if len(shape) > 1 and len(shape) != len(value):
        return [Difference(path, f"{len(value)} members, not {len(shape)}")]
    kinds = shape if len(shape) > 1 else shape * len(value)
    return [
        difference
        for place, (inner, member) in enumerate(zip(kinds, value, strict=True))
        for difference in differences(inner, member, f"{path}[{place}]", newest=newest)
    ]


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def names_only(shape: Shape) -> Shape:
    """Return the shape with every scalar free: for samples whose number types were lost."""
    if isinstance(shape, str):
        return "any"
    if isinstance(shape, dict):
        return {key: names_only(inner) for key, inner in shape.items()}
    return [names_only(inner) for inner in shape]


def field_names(shape: Shape) -> frozenset[str]:
    """Return every field name of a shape, at any depth."""
    if isinstance(shape, str):
        return frozenset()
    if isinstance(shape, dict):
        own = frozenset(key.rstrip("?+") for key in shape)
        return own.union(*(field_names(inner) for inner in shape.values()))
    return frozenset[str]().union(*(field_names(inner) for inner in shape))


_VALUES: Mapping[str, tuple[Any, ...]] = {
    "any": ("x", 1, None),
    "bool": (True, False),
    "dec": ("3000.05", "0.5", "12"),
    "hours": (3_600_000, 28_800_000),
    "u32str": ("7", "4294967295"),
    "hex": ("0x01010105034cddc7000000006621285c", "0x00"),
    "int": (1, 7),
    "intstr": ("7", "9223372036854775815"),
    "iso": ("2026-09-23T04:00:00", "2026-09-23T04:00:00.092"),
    "isospace": ("2026-09-23 04:00:00",),
    "ms": (1790133798064,),
    "ns": ("1790586284450000000",),
    "null": (None,),
    "number": (0.001, 1),
    "str": ("ETH_USDC_PERP",),
    "us": (1790134357267289,),
}
VARIANTS = 12
"""Enough to see every word of every list of words."""


def instance(shape: Shape, variant: int) -> Any:
    """Return a message of that shape with our own values; variants differ in what may differ.

    Even variants have every optional field; two of three have values where null is possible.
    """
    if isinstance(shape, dict):
        return {
            key.rstrip("?+"): instance(inner, variant)
            for key, inner in shape.items()
            if key[-1] not in "?+" or variant % 2 == 0
        }
    if isinstance(shape, list):
        return [instance(inner, variant) for inner in shape]
    if shape.endswith("?"):
        return None if variant % 3 == 0 else instance(shape[:-1], variant)
    words = shape[2:].split() if shape.startswith("= ") else _VALUES[shape.partition(" | ")[0]]
    return words[variant % len(words)]

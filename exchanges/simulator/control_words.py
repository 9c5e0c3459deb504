"""Reading requests and writing answers of the control server: one clear line for what is wrong."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson
from aiohttp import web

from strategy.domain import Venue, plain

HIGHEST = 1_000_000_000
"""Bound of every number: beyond it prices, sizes and money mean nothing."""

Json = dict[str, Any]


class ControlError(ValueError):
    """A request that cannot be served; the text is one clear line."""


async def body_of(request: web.Request) -> Json:
    """Return the JSON object that a request carries.

    Raises:
        ControlError: it carries none.
    """
    try:
        value = orjson.loads(await request.read())
    except (orjson.JSONDecodeError, web.RequestPayloadError) as bad:
        raise ControlError(f"the body is not JSON ({bad}): send a JSON object") from bad
    if not isinstance(value, dict):
        raise ControlError("the body is not a JSON object: send one")
    return value


def only(spec: Mapping[str, Any], *known: str) -> None:
    """Refuse keys that mean nothing here.

    Raises:
        ControlError: naming the first of them and the ones to use.
    """
    unknown = sorted(str(key) for key in spec if key not in known)
    if unknown:
        raise ControlError(f"{unknown[0]} is unknown: use {', '.join(known)}")


def venue_of(spec: Mapping[str, Any]) -> Venue:
    """Return the venue that a request names.

    Raises:
        ControlError: it names none.
    """
    name = spec.get("venue")
    for venue in Venue:
        if name == venue.value:
            return venue
    raise ControlError(f"venue {name!r} is unknown: use one of {', '.join(v.value for v in Venue)}")


def number(
    spec: Mapping[str, Any], name: str, least: int, most: int = HIGHEST, *, whole: bool = False
) -> Decimal | None:
    """Return a number within bounds, or None where there is none.

    Raises:
        ControlError: not such a number.
    """
    value = spec.get(name)
    if value is None:
        return None
    try:
        found = Decimal("NaN") if isinstance(value, bool) else Decimal(str(value))
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or not least <= found <= most:
        raise ControlError(f"{name} {value!r} is not a number from {least} to {most}")
    if whole and found != int(found):
        raise ControlError(f"{name} {value!r} is not a whole number")
    return found


def reply(value: Json, status: int = 200) -> web.Response:
    """Answer JSON."""
    return web.Response(
        body=orjson.dumps(value), status=status, content_type="application/json", charset="utf-8"
    )


def plain_or_none(units: int | None) -> str | None:
    """Render 1e-9 units; None stays None."""
    return None if units is None else plain(units)

"""Typed access to a flat Backpack request, with the venue's parse errors (venues.md B3.4). Pure."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from exchanges.simulator.backpack_auth import Params
from exchanges.simulator.backpack_words import CLIENT_ID_MAX, ApiError, bad_payload, refusal
from exchanges.simulator.model import Deny
from strategy.domain import Px, Qty, nano

_PLAIN = re.compile(r"[0-9]{1,15}(\.[0-9]{1,40})?", re.ASCII)


def wrong(kind: str, field: str, detail: str) -> ApiError:
    """Return the refusal of one member of a body."""
    return bad_payload(
        f'failed to parse "{kind}": {detail} (occurred while parsing field `{field}`)'
    )


class Reader:
    """One object of type ``kind``; every failure is the venue's parse error."""

    def __init__(self, row: Params, kind: str) -> None:
        self._row = row
        self._kind = kind

    def text(self, field: str) -> str | None:
        """Return a string member; None when absent."""
        value = self._row.get(field)
        if value is None or isinstance(value, str):
            return value
        raise wrong(self._kind, field, 'Expected input type "string"')

    def word(self, field: str, allowed: Mapping[str, Any]) -> str | None:
        """Return a member of an enumeration; None when absent."""
        value = self.text(field)
        if value is not None and value not in allowed:
            raise wrong(self._kind, field, "Expect a valid enumeration value.")
        return value

    def flag(self, field: str) -> bool | None:
        """Return a boolean member; None when absent."""
        value = self._row.get(field)
        if value is None or isinstance(value, bool):
            return value
        raise wrong(self._kind, field, 'Expected input type "boolean"')

    def decimal(self, field: str) -> Decimal | None:
        """Return a non-negative decimal that came as a string; None when absent."""
        value = self.text(field)
        if value is None:
            return None
        if not _PLAIN.fullmatch(value):
            raise wrong(self._kind, field, "Invalid decimal")
        return Decimal(value)

    def price(self, field: str) -> Px | None:
        """Return a positive price; None when absent."""
        units = exact(self.decimal(field), Deny.BAD_TICK)
        if units == 0:
            raise ApiError(400, "INVALID_PRICE", "Price is below the minimum allowed value")
        return None if units is None else Px(units)

    def quantity(self, field: str) -> Qty | None:
        """Return a size in base units; None when absent."""
        units = exact(self.decimal(field), Deny.BAD_STEP)
        return None if units is None else Qty(units)

    def uint32(self, field: str) -> int | None:
        """Return a JSON integer of at most 32 bits; None when absent."""
        return self.integer(field, CLIENT_ID_MAX, "uint32")

    def integer(self, field: str, most: int, kind: str) -> int | None:
        """Return a JSON integer from 0 to ``most``; None when absent."""
        value = self._row.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise wrong(self._kind, field, f'Expected input type "integer" ({kind})')
        return value


def exact(value: Decimal | None, too_fine: Deny) -> int | None:
    """Return 1e-9 units; raises ApiError with the words of ``too_fine`` for a finer value."""
    if value is None:
        return None
    try:
        return nano(value)
    except ValueError:
        raise refusal(too_fine) from None

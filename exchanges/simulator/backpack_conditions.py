"""Trigger orders and attached take profits and stop losses, as a client writes them. Pure.

Field names and their enumeration: venues.md B3.2. What the venue does not document is chosen here:
a trigger quantity may be a percentage of the position, and a bare limit price is refused.
"""

import re
from dataclasses import dataclass

from exchanges.simulator.backpack_reader import Reader, wrong
from exchanges.simulator.backpack_words import Json, bad_request
from strategy.domain import Px, Qty, nano, plain

PRICES = ("LastPrice", "MarkPrice", "IndexPrice")
"""What ``triggerBy``, ``takeProfitTriggerBy`` and ``stopLossTriggerBy`` may say."""
LEGS = ("takeProfit", "stopLoss")
_KIND = "OrderExecutePayload"
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)%", re.ASCII)
_WHOLE = nano(100)


@dataclass(frozen=True, slots=True)
class Condition:
    """When a trigger order fires, and for how much: a size, or a share of the position."""

    price: Px
    by: str
    qty: Qty | None
    percent: int | None
    """1e-9 of a percent; None for a size."""

    def echo(self) -> Json:
        """Return the members that order objects print."""
        size = plain(self.qty or 0) if self.percent is None else f"{plain(self.percent)}%"
        return {
            "triggerBy": self.by,
            "triggerPrice": plain(self.price),
            "triggerQuantity": size,
        }


@dataclass(frozen=True, slots=True)
class Leg:
    """A take profit or stop loss to be placed when its order trades; market without a limit."""

    kind: str
    """``takeProfit`` or ``stopLoss``."""
    price: Px
    limit: Px | None
    by: str

    def echo(self) -> Json:
        """Return the members that order objects print."""
        return {
            f"{self.kind}TriggerPrice": plain(self.price),
            f"{self.kind}LimitPrice": None if self.limit is None else plain(self.limit),
            f"{self.kind}TriggerBy": self.by,
        }


def read_condition(row: Reader, default_by: str) -> Condition | None:
    """Read ``triggerPrice``, ``triggerQuantity`` and ``triggerBy``.

    Raises:
        ApiError: only one of the first two, or a malformed value.
    """
    price, size = row.price("triggerPrice"), row.text("triggerQuantity")
    by = row.word("triggerBy", dict.fromkeys(PRICES))
    if (price is None) != (size is None):
        raise bad_request("Must specify both `triggerPrice` and `triggerQuantity` or neither")
    if price is None or size is None:
        if by is not None:
            raise bad_request("Cannot specify `triggerBy` without `triggerPrice`")
        return None
    share = _PERCENT.fullmatch(size)
    if share is None:
        return Condition(price, by or default_by, row.quantity("triggerQuantity"), None)
    percent = nano(share.group(1))
    if not 0 < percent <= _WHOLE:
        raise wrong(_KIND, "triggerQuantity", "Invalid percentage")
    return Condition(price, by or default_by, None, percent)


def read_legs(row: Reader, default_by: str) -> tuple[Leg, ...]:
    """Read what is attached to an order: its take profit and its stop loss.

    Raises:
        ApiError: a limit price or a reference without a trigger price, or a malformed value.
    """
    legs: list[Leg] = []
    for kind in LEGS:
        price, limit = row.price(f"{kind}TriggerPrice"), row.price(f"{kind}LimitPrice")
        by = row.word(f"{kind}TriggerBy", dict.fromkeys(PRICES))
        if price is not None:
            legs.append(Leg(kind, price, limit, by or default_by))
        elif limit is not None or by is not None:
            extra = "LimitPrice" if limit is not None else "TriggerBy"
            raise bad_request(f"Cannot specify `{kind}{extra}` without `{kind}TriggerPrice`")
    return tuple(legs)


def share_of(percent: int, held: int) -> Qty:
    """Return ``percent`` (1e-9 of a percent) of a signed position, as a size."""
    return Qty(abs(held) * percent // _WHOLE)

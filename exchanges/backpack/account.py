"""Margin, leverage and mark of Backpack (venues.md B3.3). Pure readers.

Imports the domain, the field readers and errors only.
"""

from typing import Any

from exchanges.errors import VenueMalformed
from exchanges.fields import (
    Json,
    amount,
    as_list,
    as_object,
    exact,
    optional_flag,
    positive,
    required,
    rounded,
    text,
    unsigned,
)
from strategy.domain import NANO, Px, Quote, Venue, notional
from strategy.facts import Account, Mark

CROSS = "CROSS"
"""The only mode: the whole account's equity backs every position."""


def account(collateral: Any, positions: Any, settings: Any, symbol: str) -> Account:
    """Read our account from collateral, positions and account settings.

    The maintenance margin is that of the positions at their marks: the collateral's own ``mmf`` is
    a fraction whose base is not documented.

    Raises:
        VenueMalformed: a field is missing or odd.
    """
    money, row = as_object(collateral, "collateral"), as_object(settings, "account")
    held = [as_object(item, "position") for item in as_list(positions, "position")]
    ours = [item for item in held if text(item, "symbol", "position") == symbol]
    return Account(
        venue=Venue.BACKPACK,
        equity=Quote(_money(money, "netEquity")),
        available=Quote(_money(money, "netEquityAvailable")),
        maintenance=Quote(sum(_maintenance(item) for item in held)),
        leverage=positive(row, "leverageLimit", "account"),
        margin_mode=CROSS,
        liquidation=_liquidation(ours[0]) if ours else None,
        liquidating=optional_flag(row, "liquidating", "account"),
    )


def _money(row: Json, key: str) -> int:
    return rounded(required(row, key, "collateral"), f"collateral: field {key!r}")


def _maintenance(row: Json) -> int:
    qty = exact(required(row, "netQuantity", "position"), "position: field 'netQuantity'")
    if not qty:
        return 0
    value = notional(Px(amount(row, "markPrice", "position")), abs(qty))
    share = rounded(required(row, "mmf", "position"), "position: field 'mmf'")
    return value * share // NANO


def _liquidation(row: Json) -> Px | None:
    """Return the venue's estimate; it nulls it or says 0 where there is none."""
    value = row.get("estLiquidationPrice")
    if value is None:
        return None
    return Px(unsigned(value, "position: field 'estLiquidationPrice'")) or None


def mark(value: Any, symbol: str) -> Mark:
    """Read the symbol's mark of ``GET /api/v1/markPrices``; raises VenueMalformed without one."""
    for item in as_list(value, "markPrices"):
        row = as_object(item, "markPrices")
        if text(row, "symbol", "markPrices") == symbol:
            return Mark(Venue.BACKPACK, Px(positive(row, "markPrice", "markPrices")))
    raise VenueMalformed(f"markPrices: no row for {symbol}")

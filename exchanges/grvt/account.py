"""Margin, leverage and mark of GRVT, and orders signed in the venue's own time. Pure readers.

Imports the domain, the field readers and errors only (venues.md A4.2, A7).
"""

from typing import Any

from exchanges.errors import VenueMalformed
from exchanges.fields import Json, as_list, as_object, positive, required, rounded, text, unsigned
from exchanges.port import WallClock
from strategy.domain import Ns, Px, Quote, Venue
from strategy.facts import Account, Mark

MAX_TRIP = Ns(1_000_000_000)
"""A time answer that took longer says too little."""


def account(summary: Any, leverages: Any, symbol: str) -> Account:
    """Read our account from a SubAccount and the ``results`` of ``get_all_initial_leverage``.

    Raises:
        VenueMalformed: a field is missing, or the instrument has no leverage.
    """
    what = "account"
    row = as_object(summary, what)
    setting = _of(leverages, symbol, "leverages")
    if setting is None:
        raise VenueMalformed(f"GRVT leverages: no row of {symbol}")
    held = _of(required(row, "positions", what), symbol, "account positions")
    mode = setting if setting.get("margin_type") is not None else row
    return Account(
        venue=Venue.GRVT,
        equity=Quote(_money(row, "total_equity")),
        available=Quote(_money(row, "available_balance")),
        maintenance=Quote(_money(row, "maintenance_margin")),
        leverage=positive(setting, "leverage", "leverage"),
        margin_mode=text(mode, "margin_type", what),
        liquidation=None if held is None else _liquidation(held),
    )


def _of(rows: Any, symbol: str, what: str) -> Json | None:
    found = [as_object(row, what) for row in as_list(rows, what)]
    return next((row for row in found if text(row, "instrument", what) == symbol), None)


def _money(row: Json, key: str) -> int:
    return rounded(required(row, key, "account"), f"account: field {key!r}")


def _liquidation(row: Json) -> Px | None:
    """Return the venue's estimate; it leaves it out or says 0 where there is none."""
    value = row.get("est_liquidation_price")
    if value is None:
        return None
    return Px(unsigned(value, "position: field 'est_liquidation_price'")) or None


def mark(value: Any) -> Mark:
    """Read the mark price of a MiniTicker; raises VenueMalformed while there is none."""
    return Mark(Venue.GRVT, Px(positive(as_object(value, "mini"), "mark_price", "mini")))


class VenueTime:
    """The venue's time by our monotonic clock, so that a step of the wall clock spoils no order.

    An order's expiry is signed in the venue's time (F60): with our own wall clock ten seconds
    behind, every hedge would arrive expired; ten ahead, it would live longer than was meant.
    """

    def __init__(self, clock: WallClock) -> None:
        self._clock = clock
        self._told: tuple[Ns, Ns] | None = None
        """Monotonic time of the newest good answer, and the venue's time then."""

    def measured(self, venue: Ns, sent: Ns, received: Ns) -> None:
        """Learn from one answer; ``sent`` and ``received`` are monotonic."""
        if received - sent <= MAX_TRIP:
            self._told = Ns((sent + received) // 2), venue

    def expiry(self, expires_at: Ns) -> Ns:
        """Translate an expiry of our wall clock into the venue's; as it is until it was asked."""
        if self._told is None:
            return expires_at
        mono, venue = self._told
        return Ns(venue + self._clock.mono() - mono + expires_at - self._clock.wall())

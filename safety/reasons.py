"""Every reason that the gate, the guards and the latch can give: stable words for the log."""

from enum import StrEnum


class Reason(StrEnum):
    """Codes; the detail beside them names field, value and limit."""

    MAX_POSITION = "max_position"
    MAX_DAILY_LOSS = "max_daily_loss"
    LOSS_UNKNOWN = "loss_unknown"
    PRICE_CAP = "price_cap"
    SIZE = "size"
    TICK = "tick"
    STALE = "stale_book"
    STREAM_DOWN = "stream_down"
    LATCHED = "latched"
    NOT_REDUCE_ONLY = "not_reduce_only"
    WRONG_DIRECTION = "wrong_direction"
    OVER_HEDGE = "over_hedge"
    UNHEDGED = "unhedged"
    IN_DOUBT = "in_doubt"
    ORDER_RATE = "order_rate"
    HEDGE_FAILURES = "hedge_failures"
    VIOLATION = "venue_violation"
    FOREIGN = "foreign_activity"
    FORCED = "venue_forced_close"
    OPERATOR = "operator"
    """The operator asked to close both legs."""
    HALT = "operator_halt"
    """The operator asked to stop where it stands."""
    POSITION_MISMATCH = "position_mismatch"
    JOURNAL = "journal_lost"
    """Nothing can be made durable any more: nothing may be opened."""
    MARGIN = "margin"
    BASIS = "basis"
    NAKED = "naked_exposure"
    FORBIDDEN = "venue_forbidden"
    CLOCK = "clock"
    SETTINGS = "account_changed"
    COOL_DOWN = "cool_down"
    HELD = "held"
    """A standing condition of the guards forbids opening; the detail names it."""


KEEPS_POSITIONS = (
    Reason.HALT, Reason.POSITION_MISMATCH, Reason.NAKED, Reason.FORBIDDEN, Reason.JOURNAL,
)  # fmt: skip
"""Latches that net the exposure and stop, without closing the hedged pair: the operator asked for
that, the books are not to be trusted with closing anything, the venue would not take the orders, or
closing would only add to the exposure that was too much."""

"""GRVT's rate limits: a token bucket per endpoint (venues.md A4.4)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from exchanges.simulator.grvt_words import ApiError
from strategy.domain import NANO, Ns


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per ``seconds``; as many may come at once."""

    count: int
    seconds: int = 1


ALWAYS: dict[str, Rate] = {"create_order": Rate(20), "cancel_order": Rate(20)}
"""Limits that are on unless the options say otherwise."""
_ACCOUNT = Rate(5, 2)
_QUERY = Rate(5)
_SLOW_MARKET = Rate(8)
_FAST_MARKET = Rate(25)
_ONCE = Rate(1)
LOGINS: dict[str, Rate] = {"login": _ONCE}
MARKET: dict[str, Rate] = {
    **dict.fromkeys(("instrument", "all_instruments", "instruments"), _FAST_MARKET),
    **dict.fromkeys(("mini", "ticker", "currency", "margin_rules"), _FAST_MARKET),
    **dict.fromkeys(("book", "trade", "trade_history", "kline", "funding"), _SLOW_MARKET),
}
"""Limits of a client without a login, whatever account it has."""
TRADING: dict[str, Rate] = {
    **ALWAYS,
    "cancel_all_orders": Rate(2),
    "cancel_on_disconnect": _ONCE,
    "authorize_builder": _ONCE,
    **dict.fromkeys(
        ("order", "open_orders", "order_history", "fill_history", "positions", "position_history"),
        _QUERY,
    ),
    **dict.fromkeys(
        (
            "account_summary",
            "account_history",
            "aggregated_account_summary",
            "funding_account_summary",
            "funding_payment_history",
            "get_sub_accounts",
            "get_all_initial_leverage",
            "set_initial_leverage",
            "set_position_config",
            "get_authorized_builders",
        ),
        _ACCOUNT,
    ),
}
"""Limits of one sub-account; a bulk request spends those of what it contains."""


@dataclass(slots=True)
class _Bucket:
    """Tokens in 1e-9, so that no fraction is lost between requests."""

    tokens: int
    at: Ns


@dataclass(slots=True)
class RateTable:
    """The buckets of one account or of one address; ``tier`` multiplies every rate."""

    rates: Mapping[str, Rate]
    tier: int = 1
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def spend(self, method: str, now: Ns, count: int = 1) -> None:
        """Take tokens of the method: all or none.

        Raises:
            ApiError: 429/1006 when there are not as many.
        """
        rate = self.rates.get(method)
        if rate is None or not count:
            return
        full = rate.count * self.tier * NANO
        bucket = self._buckets.setdefault(method, _Bucket(full, now))
        gained = max(now - bucket.at, 0) * rate.count * self.tier // rate.seconds
        bucket.tokens = min(bucket.tokens + gained, full)
        bucket.at = now
        if bucket.tokens < count * NANO:
            raise ApiError(1006)
        bucket.tokens -= count * NANO

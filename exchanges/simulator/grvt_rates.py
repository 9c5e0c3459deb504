"""GRVT's rate limits: a token bucket per endpoint (venues.md A4.4)."""

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
DOCUMENTED: dict[str, Rate] = ALWAYS | {
    "cancel_all_orders": Rate(2),
    "cancel_on_disconnect": Rate(1),
    "login": Rate(1),
    "order": _QUERY,
    "open_orders": _QUERY,
    "order_history": _QUERY,
    "fill_history": _QUERY,
    "positions": _QUERY,
    "account_summary": _ACCOUNT,
    "aggregated_account_summary": _ACCOUNT,
    "funding_account_summary": _ACCOUNT,
    "funding_payment_history": _ACCOUNT,
    "get_sub_accounts": _ACCOUNT,
    "get_all_initial_leverage": _ACCOUNT,
    "set_initial_leverage": _ACCOUNT,
    "instrument": _FAST_MARKET,
    "all_instruments": _FAST_MARKET,
    "instruments": _FAST_MARKET,
    "mini": _FAST_MARKET,
    "ticker": _FAST_MARKET,
    "book": _SLOW_MARKET,
    "trade": _SLOW_MARKET,
    "trade_history": _SLOW_MARKET,
    "kline": _SLOW_MARKET,
    "funding": _SLOW_MARKET,
}


@dataclass(slots=True)
class _Bucket:
    """Tokens in 1e-9, so that no fraction is lost between requests."""

    tokens: int
    at: Ns


@dataclass(slots=True)
class RateTable:
    """The buckets of one account."""

    rates: dict[str, Rate]
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def spend(self, method: str, now: Ns) -> None:
        """Take one token of the method.

        Raises:
            ApiError: 429/1006 when none is left.
        """
        rate = self.rates.get(method)
        if rate is None:
            return
        full = rate.count * NANO
        bucket = self._buckets.setdefault(method, _Bucket(full, now))
        gained = max(now - bucket.at, 0) * rate.count // rate.seconds
        bucket.tokens = min(bucket.tokens + gained, full)
        bucket.at = now
        if bucket.tokens < NANO:
            raise ApiError(1006)
        bucket.tokens -= NANO

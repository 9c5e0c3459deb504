"""Backpack's words for the engine's facts: refusals, states, reasons, numbers and times. Pure.

Tags name the section of the protocol reference, e.g. "venues.md B3.4".
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from exchanges.simulator.model import Deny, Ended, Origin, Phase, SimFill, SimOrder
from strategy.domain import NANO, Bps, Ns, Side, plain

Json = dict[str, Any]

US = 1_000
MS = 1_000_000
MINUTE_NS = 60 * NANO
SETTLE = "USDC"
CLIENT_ID_MAX = 2**32 - 1
USER_ID = 1_813_870
LIQUIDATION_ORIGIN = "LIQUIDATION_AUTOCLOSE"
ADL_ORIGIN = "ADL_AUTOCLOSE"
SYSTEM_TYPES = {
    LIQUIDATION_ORIGIN: "LiquidatePositionOnBook",
    ADL_ORIGIN: "LiquidatePositionOnAdl",
    "BACKSTOP_LIQUIDITY_PROVIDER": "LiquidatePositionOnBackstop",
    "COLLATERAL_CONVERSION": "CollateralConversion",
    "SETTLEMENT_AUTOCLOSE": "FutureExpiry",
}
"""``systemOrderType`` over REST for each ``O`` of the order stream but USER (venues.md B5)."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ApiError(Exception):
    """An answer other than success: HTTP status, code and message (venues.md B3.4)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message

    def body(self) -> Json:
        """Return ``{"code", "message"}``."""
        return {"code": self.code, "message": self.message}


class PlainError(Exception):
    """A 400 whose body is plain text: a query parameter outside its enumeration."""


def bad_request(message: str) -> ApiError:
    """Return 400 INVALID_CLIENT_REQUEST."""
    return ApiError(400, "INVALID_CLIENT_REQUEST", message)


def bad_payload(detail: str) -> ApiError:
    """Return the refusal of a body that does not parse."""
    return bad_request(f"parse request payload error: {detail}")


def bad_parameter(name: str, detail: str) -> ApiError:
    """Return the refusal of a query parameter that does not parse."""
    return bad_request(f"failed to parse parameter `{name}`: {detail}")


def not_found() -> ApiError:
    """Return 404: unknown, or finished and therefore forgotten."""
    return ApiError(404, "RESOURCE_NOT_FOUND", "Not Found")


def throttled() -> ApiError:
    """Return 429."""
    return ApiError(429, "TOO_MANY_REQUESTS", "Too many requests")


@dataclass(frozen=True, slots=True)
class _Words:
    status: int
    code: str
    message: str


_REDUCE_ONLY = _Words(400, "INVALID_ORDER", "Reduce only order not reduced")
_DENY = {
    Deny.UNKNOWN_SYMBOL: _Words(400, "INVALID_MARKET", "Invalid market"),
    Deny.MARKET_CLOSED: _Words(400, "TRADING_PAUSED", "Trading is paused"),
    Deny.BAD_TICK: _Words(400, "INVALID_CLIENT_REQUEST", "Price decimal too long"),
    Deny.BAD_STEP: _Words(400, "INVALID_CLIENT_REQUEST", "Quantity decimal too long"),
    Deny.BELOW_MIN_QTY: _Words(400, "INVALID_ORDER", "Quantity is below the minimum allowed value"),
    Deny.BELOW_MIN_NOTIONAL: _Words(
        400, "INVALID_ORDER", "Quantity is below the minimum allowed value"
    ),
    Deny.NO_PRICE: _Words(400, "INVALID_PRICE", "No price is available for the market"),
    Deny.PRICE_BAND: _Words(400, "INVALID_PRICE", "Price is too far from the last active price"),
    Deny.DUPLICATE_CLIENT_ID: _Words(400, "INVALID_CLIENT_REQUEST", "Duplicate client id"),
    Deny.TOO_MANY_ORDERS: _Words(400, "ORDER_LIMIT", "Too many open orders"),
    Deny.INSUFFICIENT_MARGIN: _Words(400, "INSUFFICIENT_MARGIN", "Insufficient margin"),
    Deny.REDUCE_ONLY_NO_POSITION: _REDUCE_ONLY,
    Deny.REDUCE_ONLY_INCREASES: _REDUCE_ONLY,
    Deny.POST_ONLY_CROSS: _Words(400, "INVALID_ORDER", "Order would immediately match and take"),
    Deny.UNSUPPORTED: _Words(400, "NOT_IMPLEMENTED", "Order kind is not supported"),
    Deny.EXPIRED_SIGNATURE: _Words(400, "INVALID_CLIENT_REQUEST", "Request has expired"),
}

_EXPIRY = {
    Ended.IOC: "ImmediateOrCancel",
    Ended.FOK: "FillOrKill",
    Ended.MARKET: "InsufficientLiquidity",
    Ended.PRICE_IMPACT: "PriceImpact",
    Ended.POST_ONLY: "PostOnlyTaker",
    Ended.REDUCE_ONLY: "ReduceOnlyNotReduced",
    Ended.MARGIN: "InsufficientMargin",
    Ended.SELF_TRADE: "SelfTradePrevention",
    Ended.LIQUIDATION: "Liquidation",
}
_CANCELLED = frozenset({Ended.CLIENT_CANCEL, Ended.CLIENT_BULK_CANCEL, Ended.DISCONNECT_CANCEL})
REMAINDER = frozenset({Ended.IOC, Ended.FOK, Ended.MARKET, Ended.PRICE_IMPACT})
"""Endings of an order that took what it could; its final word is uncertain (venues.md D9)."""


def refusal(deny: Deny) -> ApiError:
    """Return the venue's answer to a refused order (venues.md B3.4)."""
    words = _DENY[deny]
    return ApiError(words.status, words.code, words.message)


def late_refusal(order: SimOrder) -> ApiError | None:
    """Return the refusal if the engine ended the order on arrival, None when it was accepted."""
    if order.phase is not Phase.REJECTED:
        return None
    return refusal(order.deny or Deny.UNSUPPORTED)


def user_cancelled(order: SimOrder) -> bool:
    """True when a client request ended the order."""
    return order.ended in _CANCELLED


def status_word(order: SimOrder) -> str:
    """Return ``New``, ``PartiallyFilled``, ``Filled``, ``Cancelled`` or ``Expired``."""
    if order.live:
        return "PartiallyFilled" if order.cum else "New"
    if order.phase is Phase.FILLED:
        return "Filled"
    return "Cancelled" if user_cancelled(order) else "Expired"


def expiry_reason(order: SimOrder) -> str | None:
    """Return why an order expired; None unless its status is ``Expired``."""
    if status_word(order) != "Expired" or order.ended is None:
        return None
    if order.ended is Ended.IOC and order.request.extra.get("tolerance"):
        return "SlippageToleranceExceeded"
    return _EXPIRY.get(order.ended, "Unknown")


_ORIGINS = {Origin.LIQUIDATION: LIQUIDATION_ORIGIN, Origin.ADL: ADL_ORIGIN}


def origin(order: SimOrder | None, fill: SimFill | None) -> str:
    """Return who made the order, as the stream's ``O``: USER, or the venue's own reason."""
    if fill is not None:
        return _ORIGINS.get(fill.origin, "USER")
    extra = {} if order is None else order.request.extra
    if not extra.get("forced"):
        return "USER"
    return ADL_ORIGIN if extra.get("origin") is Origin.ADL else LIQUIDATION_ORIGIN


def system_type(order: SimOrder | None, fill: SimFill | None) -> str | None:
    """Return REST's word for ``origin``; None for the user's own orders."""
    return SYSTEM_TYPES.get(origin(order, fill))


def side_word(side: Side) -> str:
    """Return ``Bid`` or ``Ask``."""
    return "Bid" if side is Side.BUY else "Ask"


def padded(units: int, step: int) -> str:
    """Render with the decimals of ``step``, as the socket does; zero is ``"0"``."""
    if not units:
        return "0"
    decimals = len(plain(step).partition(".")[2])
    whole, _, frac = plain(units).partition(".")
    return f"{whole}.{frac.ljust(decimals, '0')}" if decimals or frac else whole


def fraction(value: Bps) -> str:
    """Render ``Bps`` as a fraction, e.g. 200 bps as ``"0.02"``."""
    return plain(value // 10)


def bps_number(value: Bps) -> str:
    """Render ``Bps`` as a plain number of basis points, e.g. ``"2"``."""
    return plain(value * 1000)


def iso(at: Ns) -> str:
    """Render Unix ns as naive UTC ISO-8601 with milliseconds (history endpoints)."""
    return _naive(at).isoformat(timespec="milliseconds")


def iso_seconds(at: Ns) -> str:
    """Render Unix ns as naive UTC ISO-8601 without a fraction (funding intervals)."""
    return _naive(at).isoformat(timespec="seconds")


def kline_time(at: Ns) -> str:
    """Render Unix ns as the REST k-line does: a space between date and time."""
    return _naive(at).isoformat(sep=" ", timespec="seconds")


def _naive(at: Ns) -> datetime:
    return (_EPOCH + timedelta(microseconds=at // US)).replace(tzinfo=None)

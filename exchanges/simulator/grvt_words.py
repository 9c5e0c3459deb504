"""GRVT's words for the engine's facts: error codes, states, reasons, decimals. Pure.

Tags name the section of the protocol reference, e.g. "venues.md A4.3".
"""

from typing import Any

from exchanges.simulator.model import Deny, Ended, Phase, SimOrder
from strategy.domain import NANO, Bps, Tif, plain

Json = dict[str, Any]

MS = 1_000_000
KIND = "PERPETUAL"
NO_ORDER_ID = "0x00"
"""Order id of every create reply (venues.md A5.1)."""
NO_ADDRESS = "0x00"
"""Builder of an order without one."""
UNSPECIFIED = "UNSPECIFIED"
UNKNOWN_STATUS = "SUSPENDED"
"""A status word that no client knows (fault F29)."""
MAX_U64 = 2**64 - 1
MAX_U32 = 2**32 - 1

_ERRORS: dict[int, tuple[int, str]] = {
    1000: (401, "You need to authenticate prior to using this functionality"),
    1001: (403, "You are not authorized to access this functionality"),
    1002: (500, "Internal Server Error"),
    1003: (400, "Request could not be processed due to malformed syntax"),
    1004: (404, "Data Not Found"),
    1006: (429, "You have surpassed the allocated rate limit for your tier"),
    1008: (401, "Your IP has not been whitelisted for access"),
    1009: (503, "We are temporarily deactivating this API endpoint, please try again later"),
    1012: (400, "Invalid signature chain ID"),
    1101: (400, "Feed Format must be in the format of <primary>@<secondary>"),
    1102: (400, "Wrong number of primary selectors"),
    1103: (400, "Wrong number of secondary selectors"),
    1200: (400, "RPC method not found"),
    2000: (403, "Signature is from an unauthorized signer"),
    2001: (403, "Signature has expired"),
    2002: (403, "Signature does not match payload"),
    2003: (403, "Order sub account does not match logged in user"),
    2005: (403, "Signature V must be 27/28"),
    2006: (403, "Signature R/S must have exactly 64 characters long without 0x prefix"),
    2007: (403, "Signature S must be in the lower half of the curve"),
    2008: (403, "Signature exceeds maximum allowed duration."),
    2010: (400, "Order ID should be empty when creating an order"),
    2011: (400, "Client Order ID should be supplied when creating an order"),
    2012: (400, "Client Order ID overlaps with existing active order"),
    2020: (400, "Market Order must always be supplied without a limit price"),
    2021: (400, "Limit Order must always be supplied with a limit price"),
    2030: (400, "Orderbook Orders must have a TimeInForce of GTT/IOC/FOK"),
    2032: (400, "Post Only can only be set to true for GTT/AON orders"),
    2040: (400, "Order must contain at least one leg"),
    2042: (400, "Orderbook Orders must contain only one leg"),
    2050: (400, "Order state must be empty upon creation"),
    2060: (400, "Order Legs contain one or more inactive derivative"),
    2061: (400, "Unsupported Instrument Requested"),
    2062: (400, "Order size smaller than min size"),
    2064: (400, "Invalid limit price tick"),
    2065: (400, "Order size too granular"),
    2066: (400, "Order below minimum notional. Please try again with a higher price or size."),
    2067: (
        400,
        (
            "Order below minimum notional. Please try reducing your position again with a "
            "higher price or size."
        ),
    ),
    2080: (400, "Insufficient margin to create order"),
    2081: (400, "Order Fill would result in exceeding maximum position size"),
    2082: (400, "Pre-order check failed"),
    2090: (429, "Max open orders exceeded"),
    2100: (400, "Invalid initial leverage"),
    2107: (400, "Attempted to set leverage below minimum"),
    2108: (400, "Attempted to set leverage above maximum"),
    2102: (400, "Margin type change failed, has open position for this instrument"),
    2103: (400, "Margin type change failed, has open orders for this instrument"),
    2104: (400, "Margin type not supported"),
    2110: (400, "Invalid trigger by"),
    2112: (400, "Invalid trigger order"),
    2113: (400, "Trigger price must be non-zero"),
    2114: (
        400,
        "Invalid position linked TPSL orders, position linked TPSL must be a reduce-only order",
    ),
    2117: (400, "Position linked TPSL orders must be created from web or mobile clients"),
    2222: (400, "Order is not a TPSL order"),
    2233: (400, "Both order ID and client order ID cannot be provided"),
    2234: (400, "Bulk create orders must have the same instrument"),
    2235: (400, "Bulk orders count exceeds the maximum allowed"),
    2236: (400, "Bulk orders does not support trigger order"),
    2242: (
        400,
        (
            "Split TPSL functionality not supported; you may be using a deprecated API, or this "
            "functionality is temporarily disabled"
        ),
    ),
    2300: (400, "Order cancel time-to-live settings currently disabled."),
    2301: (400, "Order cancel time-to-live exceeds maximum allowed value."),
    2400: (400, "Reduce only order with no position"),
    2401: (400, "Reduce only order must not increase position size"),
    2402: (400, "Reduce only order size exceeds maximum allowed value"),
    2413: (
        400,
        (
            "Replace order failed, number of orders provided does not match the number of orders "
            "to replace"
        ),
    ),
    3000: (400, "Instrument is invalid"),
    3001: (400, "Stream handler not found"),
    3011: (400, "Limit exceeds min or max value"),
    3013: (400, "Exact limit value is not supported"),
    3020: (400, "Sub account ID must be an uint64 integer"),
    3021: (400, "Either order ID or client order ID must be supplied"),
    3030: (400, "Feed rate is invalid"),
    3031: (400, "Depth is invalid"),
    3040: (400, "Candlestick interval is invalid"),
    3041: (400, "Candlestick type is invalid"),
    6000: (400, "Countdown time is bigger than 300s supported"),
    7201: (
        400,
        "Attempted to create a limit order at a price outside of asset's price protection band.",
    ),
    7500: (400, "Builder Fee exceeds the allowed program limit."),
    7501: (400, "Builder Fee can't be negative."),
    7502: (400, "Builder Account does not exist."),
    7503: (400, "Builder is already authorized for this account with the given fee."),
    7504: (400, "Builder is not authorized for the specified user."),
}
"""Code to HTTP status and message (venues.md A4.3)."""

SIGNATURE_CODES = frozenset({1012, 2000, 2001, 2002, 2005, 2006, 2007, 2008})
"""Refusals that count as signature failures."""

_DENIALS: dict[Deny, int] = {
    Deny.UNKNOWN_SYMBOL: 2061,
    Deny.MARKET_CLOSED: 2060,
    Deny.BAD_TICK: 2064,
    Deny.BAD_STEP: 2065,
    Deny.BELOW_MIN_QTY: 2062,
    Deny.BELOW_MIN_NOTIONAL: 2066,
    Deny.NO_PRICE: 2082,
    Deny.PRICE_BAND: 7201,
    Deny.DUPLICATE_CLIENT_ID: 2012,
    Deny.TOO_MANY_ORDERS: 2090,
    Deny.INSUFFICIENT_MARGIN: 2080,
    Deny.REDUCE_ONLY_NO_POSITION: 2400,
    Deny.REDUCE_ONLY_INCREASES: 2401,
    Deny.POST_ONLY_CROSS: 2082,
    Deny.UNSUPPORTED: 2082,
    Deny.EXPIRED_SIGNATURE: 2001,
}

_REASONS: dict[Ended, str] = {
    Ended.FILLED: UNSPECIFIED,
    Ended.CLIENT_CANCEL: "CLIENT_CANCEL",
    Ended.CLIENT_BULK_CANCEL: "CLIENT_BULK_CANCEL",
    Ended.DISCONNECT_CANCEL: "CLIENT_CANCEL_ON_DISCONNECT_TRIGGERED",
    Ended.IOC: "IOC_CANCEL",
    Ended.FOK: "FOK_CANCEL",
    Ended.MARKET: "MARKET_CANCEL",
    Ended.EXPIRED: "EXPIRED",
    Ended.POST_ONLY: "FAIL_POST_ONLY",
    Ended.REDUCE_ONLY: "REDUCE_ONLY_LIMIT",
    Ended.MARGIN: "BELOW_MARGIN",
    Ended.SELF_TRADE: "SELF_MATCHED_SUBACCOUNT",
    Ended.PRICE_IMPACT: "MARKET_CANCEL",
    Ended.LIQUIDATION: "LIQUIDATION",
    Ended.MARKET_CLOSED: "INSTRUMENT_DEACTIVATED",
    Ended.FAILOVER: "SYSTEM_FAILOVER",
}
"""venues.md A5.3."""

DENIED_LATER: dict[Deny, str] = {
    Deny.INSUFFICIENT_MARGIN: "BELOW_MARGIN",
    Deny.REDUCE_ONLY_NO_POSITION: "FAIL_REDUCE_ONLY",
    Deny.REDUCE_ONLY_INCREASES: "FAIL_REDUCE_ONLY",
    Deny.DUPLICATE_CLIENT_ID: "OVERLAPPING_CLIENT_ORDER_ID",
}
"""Why an order is rejected that these forbid after it was acknowledged (venues.md A5.4)."""
_UNFIT = "INSTRUMENT_INVALID"


def late_reason(deny: Deny) -> str:
    """Return why an acknowledged order was rejected that the engine would have refused at once."""
    if deny is Deny.MARKET_CLOSED:
        return "INSTRUMENT_DEACTIVATED"
    return DENIED_LATER.get(deny, _UNFIT)


def late_code_reason(code: int) -> str:
    """Return the reason of an order that one refusal of a bulk request ended."""
    deny = next((deny for deny, known in _DENIALS.items() if known == code), None)
    return _UNFIT if deny is None else late_reason(deny)


_STATUSES: dict[Phase, str] = {
    Phase.PENDING: "PENDING",
    Phase.OPEN: "OPEN",
    Phase.FILLED: "FILLED",
    Phase.CANCELLED: "CANCELLED",
    Phase.REJECTED: "REJECTED",
}

TIF_NUMBERS: dict[str, int] = {
    "GOOD_TILL_TIME": 1,
    "ALL_OR_NONE": 2,
    "IMMEDIATE_OR_CANCEL": 3,
    "FILL_OR_KILL": 4,
    "RETAIL_PRICE_IMPROVEMENT": 5,
}
"""What a signature commits to (venues.md A3)."""
BOOK_TIFS: dict[str, Tif] = {
    "GOOD_TILL_TIME": Tif.GTC,
    "IMMEDIATE_OR_CANCEL": Tif.IOC,
    "FILL_OR_KILL": Tif.FOK,
}
"""Those that the order book takes; the others are refused with 2030."""


class ApiError(Exception):
    """An answer other than success (venues.md A4.3)."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.status, self.message = _ERRORS[code]
        super().__init__(f"{code}: {self.message}")

    def body(self, request_id: int | None = None) -> Json:
        """Return the REST error object; some documents show a ``request_id`` in it."""
        found: Json = {"code": self.code, "message": self.message, "status": self.status}
        if request_id is not None:
            found["request_id"] = request_id
        return found


class Dropped(Exception):  # noqa: N818 - what happens to the connection, not an error of ours
    """The connection is reset instead of an answer (faults F01 to F03)."""


class Mangled(Exception):  # noqa: N818 - what is sent, not an error of ours
    """An answer that is no JSON (faults F05 and F06)."""

    def __init__(self, status: int, text: str, content_type: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.content_type = content_type


def malformed() -> ApiError:
    """Return 400/1003: the request does not have the documented shape."""
    return ApiError(1003)


def denied(deny: Deny, *, reduce_only: bool) -> ApiError:
    """Return the code of an engine refusal; reductions below the notional have their own."""
    if deny is Deny.BELOW_MIN_NOTIONAL and reduce_only:
        return ApiError(2067)
    return ApiError(_DENIALS[deny])


def status_word(order: SimOrder) -> str:
    """Return the order's status: there is no partially filled one (venues.md A5.2)."""
    return _STATUSES[order.phase]


def reason_word(order: SimOrder) -> str:
    """Return why the order ended; the face may know better than the engine (``reason``)."""
    if order.ended is None:
        return UNSPECIFIED
    own, held = order.request.extra.get("reason"), order.request.extra.get("held_reason")
    if isinstance(held, str):
        return held
    if isinstance(own, str) and order.ended in (Ended.CLIENT_CANCEL, Ended.CLIENT_BULK_CANCEL):
        return own
    if order.ended is Ended.REDUCE_ONLY and order.phase is Phase.REJECTED:
        return "FAIL_REDUCE_ONLY"
    return _REASONS[order.ended]


def dec(units: int) -> str:
    """Render 1e-9 units with at least one fractional digit, e.g. ``"6.0"`` (venues.md A4)."""
    text = plain(units)
    return text if "." in text else f"{text}.0"


def percent(rate: Bps) -> str:
    """Render a fee rate as GRVT does: 4.5 bps is ``"0.045"`` (venues.md A4.2)."""
    return dec(rate * 10)


def ratio(part: int, whole: int) -> int:
    """Return ``part / whole`` in 1e-9, truncated toward zero; 0 when there is no whole."""
    if not whole:
        return 0
    magnitude = abs(part) * NANO // abs(whole)
    return magnitude if (part >= 0) == (whole > 0) else -magnitude

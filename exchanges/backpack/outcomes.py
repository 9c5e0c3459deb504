"""What a Backpack answer to a write proves (venues.md B3.4, C2). Pure.

The venue's reply to an order is the engine's final word, but only when it is that reply: anything
that is neither an order nor an allow-listed refusal leaves the order in doubt.
"""

from dataclasses import dataclass

from exchanges.backpack import codec
from exchanges.errors import VenueMalformed
from exchanges.fields import as_object, decode
from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelOutcome,
    CancelUnknown,
    InDoubt,
    Outcome,
    Refused,
)
from strategy.domain import OrderRef, OrderRequest, OrderView

OK = 200
RECEIVED = 202
"""Accepted by the gateway, not yet executed; the body is empty (venues.md B3.2)."""
NOT_FOUND = 404
UNAVAILABLE = 503

_BEFORE_ENGINE = frozenset(
    {
        "FORBIDDEN",
        "INSUFFICIENT_FUNDS",
        "INSUFFICIENT_MARGIN",
        "INVALID_MARKET",
        "INVALID_ORDER",
        "INVALID_PRICE",
        "INVALID_QUANTITY",
        "INVALID_SIGNATURE",
        "INVALID_SYMBOL",
        "MAX_LEVERAGE_REACHED",
        "ORDER_LIMIT",
        "POSITION_LIMIT",
        "TOO_MANY_REQUESTS",
        "TRADING_PAUSED",
        "UNAUTHORIZED",
    }
)
_CLIENT_ERROR = "INVALID_CLIENT_REQUEST"
_MISSING = "RESOURCE_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The venue's ``{"code","message"}``."""

    code: str
    message: str

    def says(self, words: str) -> bool:
        """True when the message contains ``words``, in any case."""
        return words in self.message.casefold()


def error_body(body: bytes) -> ErrorBody | None:
    """Read an error answer; None when it is not the venue's own (an edge page, nothing)."""
    try:
        row = as_object(decode(body, "error"), "error")
    except VenueMalformed:
        return None
    code, message = row.get("code"), row.get("message")
    if not isinstance(code, str) or not code:
        return None
    return ErrorBody(code, message[:200] if isinstance(message, str) else "")


def is_missing(status: int, error: ErrorBody | None) -> bool:
    """True when the venue itself says that it has no such resting order or position.

    The cancel of an unknown order has been seen as 404 and as 400 (venues.md B3.4).
    """
    if error is None:
        return False
    if status == NOT_FOUND:
        return error.code == _MISSING or error.says("not found")
    return status == 400 and error.says("order not found")  # noqa: PLR2004 - HTTP bad request


def submitted(status: int, body: bytes, request: OrderRequest) -> Outcome:
    """Judge the answer to ``POST /api/v1/order``."""
    if status == OK:
        view = _own_order(body, request.client_id, request.symbol, execution=True)
        return Accepted(view) if isinstance(view, OrderView) else InDoubt(view)
    error = error_body(body)
    if error is None:
        return InDoubt(f"http {status} without a venue code")
    if _certainly_refused(status, error):
        cross = error.code == "INVALID_ORDER" and error.says("immediately match")
        return Refused(error.code, error.message, post_only_cross=cross and request.post_only)
    return InDoubt(f"http {status} {error.code}: {error.message}")


def _certainly_refused(status: int, error: ErrorBody) -> bool:
    if status == UNAVAILABLE:
        return error.code == "MAINTENANCE"
    if not 400 <= status < 500:  # noqa: PLR2004 - HTTP client errors
        return False
    if error.code == _CLIENT_ERROR:
        # A duplicate client id means that an order with this id exists: perhaps this very one.
        return not error.says("duplicate")
    return error.code in _BEFORE_ENGINE or error.code.startswith("ACCOUNT_")


def cancelled(status: int, body: bytes, ref: OrderRef) -> CancelOutcome:
    """Judge the answer to ``DELETE /api/v1/order``."""
    if status == RECEIVED:
        return CancelAccepted(None)
    if status == OK:
        view = _own_order(body, ref.client_id, ref.symbol, execution=False)
        return CancelAccepted(view) if isinstance(view, OrderView) else InDoubt(view)
    error = error_body(body)
    if is_missing(status, error):
        return CancelUnknown(error.code if error else "")
    return _refused_cancel(status, error)


def all_cancelled(status: int, body: bytes) -> CancelOutcome:
    """Judge the answer to ``DELETE /api/v1/orders``: 200 with the orders, or 202."""
    if status == RECEIVED:
        return CancelAccepted(None)
    if status == OK:
        try:
            codec.orders(decode(body, "cancel all"))
        except VenueMalformed as bad:
            return InDoubt(str(bad))
        return CancelAccepted(None)
    return _refused_cancel(status, error_body(body))


def _refused_cancel(status: int, error: ErrorBody | None) -> InDoubt:
    if error is None:
        return InDoubt(f"http {status} without a venue code")
    return InDoubt(f"http {status} {error.code}: {error.message}")


def _own_order(body: bytes, client_id: int, symbol: str, *, execution: bool) -> OrderView | str:
    """Read the order in an answer; a text says why it proves nothing."""
    try:
        value = decode(body, "order")
        view = codec.execution(value) if execution else codec.order(value)
    except VenueMalformed as bad:
        return str(bad)
    if view.client_id != client_id or view.symbol != symbol:
        return f"the answer names order {view.client_id} of {view.symbol}"
    return view

"""What a GRVT answer means for money: accepted, certainly refused, or in doubt. Pure.

Only codes that the venue documents as refusals count as such (venues.md A4.3); an unknown code, a
server error, HTML and anything unreadable leave a create in doubt (faults.md section 4).
"""

from dataclasses import dataclass
from typing import Any

from exchanges.errors import (
    VenueError,
    VenueForbidden,
    VenueMalformed,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
)
from exchanges.fields import as_object, decode, flag, required
from exchanges.grvt import codec
from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelOutcome,
    CancelUnknown,
    InDoubt,
    Outcome,
    Refused,
)
from exchanges.transport.rest import Reply
from strategy.domain import OrderRequest

OK, UNAUTHENTICATED, MISSING, TOO_MANY, SERVER_ERROR = 200, 401, 404, 429, 500
RELOGIN = "1000"
"""Not authenticated: the cookie has expired."""
NOT_FOUND = "1004"
OVERLAP = "2012"
"""An active order has this client id; ours are unique, so it is the one that was sent."""
TTL_REFUSED = frozenset({"2300", "2301"})
"""The venue takes no cancel in advance (venues.md A4.3)."""
THROTTLED = "1006"
FORBIDDEN_CODES = frozenset({"1000", "1001", "1008", "1400", "2000", "2003", "2004"})
REFUSALS = frozenset(
    str(code)
    for code in (
        1000, 1001, 1003, 1006, 1008, 1012, 1400,  # session, shape, rate, permissions
        *range(2000, 2009), 2010, 2011,  # signature; 2012 means that the id may live already
        *range(2020, 2085), 2090,  # order validation, margin, number of open orders
        *range(2100, 2109), *range(2400, 2403),  # leverage, reduce-only
        3000, 3020, 3021, 7201, 7304,  # instrument, ids, price band, reduce-only mode
    )
)  # fmt: skip
"""Codes that say the order was never taken (venues.md A4.3)."""


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The venue's error object; both documented forms, with and without ``request_id``."""

    code: str
    message: str


def error_body(reply: Reply) -> ErrorBody | None:
    """Return the venue's error object of a reply; None when the reply carries none."""
    try:
        return _error(decode(reply.body, "error"))
    except VenueMalformed:
        return None


def _error(body: Any) -> ErrorBody | None:
    code = body.get("code") if isinstance(body, dict) else None
    if isinstance(code, bool) or not isinstance(code, int | str):
        return None
    return ErrorBody(str(code), str(body.get("message", "")))


def expired(reply: Reply) -> bool:
    """True when the session was refused; 1008 is about the address, not the session."""
    if reply.status != UNAUTHENTICATED:
        return False
    error = error_body(reply)
    return error is None or error.code == RELOGIN


def result_of(body: dict[str, Any], method: str) -> Any:
    """Return the ``result`` of an answer's body; raises VenueMalformed without one."""
    return required(body, "result", f"GRVT {method}")


def envelope(reply: Reply, method: str) -> dict[str, Any]:
    """Return the whole body of a successful answer; raises VenueError, by ``read_error``."""
    if reply.status != OK:
        raise read_error(reply.status, error_body(reply), method)
    body = as_object(decode(reply.body, f"GRVT {method}"), f"GRVT {method}")
    error = _error(body)
    if error is not None:
        raise read_error(reply.status, error, method)
    return body


def read_error(status: int, error: ErrorBody | None, method: str) -> VenueError:
    """Name an unsuccessful answer to a read by what the caller must do (venues.md A4.3)."""
    code = error.code if error else ""
    said = error.message if error else "no venue error body"
    text = f"GRVT {method}: http {status} {code} {said}"
    kind: type[VenueError]
    if code == NOT_FOUND and status != MISSING:
        kind = VenueMalformed  # it contradicts itself, and absence is too costly to guess
    elif status == TOO_MANY or code == THROTTLED:
        kind = VenueThrottled
    elif code in FORBIDDEN_CODES or status == UNAUTHENTICATED:
        kind = VenueForbidden
    elif status >= SERVER_ERROR:
        kind = VenueUnreachable
    else:
        kind = VenueMalformed if error is None else VenueRefused
    return kind(text, code)


def is_missing(error: VenueError) -> bool:
    """True when the venue itself says that it knows no such thing: 404 and code 1004."""
    return isinstance(error, VenueRefused) and error.code == NOT_FOUND


def created(reply: Reply, request: OrderRequest) -> Outcome:
    """Read the answer to a create (venues.md A5.1, A5.4)."""
    error = error_body(reply)
    if error is not None:
        if error.code in REFUSALS and 400 <= reply.status < SERVER_ERROR:  # noqa: PLR2004 - HTTP
            return Refused(error.code, error.message)
        return InDoubt(f"http {reply.status} code {error.code}: {error.message}")
    if reply.status != OK:
        return InDoubt(f"http {reply.status} without the venue's error body")
    try:
        view = codec.order(result_of(envelope(reply, "create_order"), "create_order"))
    except VenueError as bad:
        return InDoubt(f"http 200 with an unreadable order: {bad}")
    if view.client_id != request.client_id or view.symbol != request.symbol:
        return InDoubt("the reply is about another order")
    return Accepted(view)


def resent(reply: Reply, request: OrderRequest) -> Accepted | InDoubt:
    """Read the answer to a create sent again, byte for byte (venues.md A5.6, C3).

    A repeated payload is ignored; the shape of that answer is not documented, so every form that
    only our own order can cause is understood: the acknowledgement again, or an overlap with the
    order that lives. A refusal of the copy is no refusal of the original.
    """
    error = error_body(reply)
    if error is not None and error.code == OVERLAP and reply.status < SERVER_ERROR:
        return Accepted(None)
    outcome = created(reply, request)
    if isinstance(outcome, Refused):
        return InDoubt(f"the copy was refused: {outcome.code} {outcome.message}")
    return outcome


def buried(reply: Reply) -> CancelOutcome | None:
    """Read the answer to a cancel with a time to live; None when the venue takes no such thing."""
    error = error_body(reply)
    if error is not None and error.code in TTL_REFUSED and reply.status < SERVER_ERROR:
        return None
    return cancelled(reply)


def cancelled(reply: Reply) -> CancelOutcome:
    """Read the answer to a cancel: an acknowledgement is not the end of an order (A5.7)."""
    try:
        ack = as_object(result_of(envelope(reply, "cancel"), "cancel"), "cancel")
        return CancelAccepted(None) if flag(ack, "ack", "cancel") else InDoubt("not acknowledged")
    except VenueError as bad:
        return CancelUnknown(bad.code) if is_missing(bad) else InDoubt(str(bad))

"""Which answers to a write prove what (venues.md B3.4, faults.md section 4)."""

import json

import pytest

from exchanges.backpack import outcomes
from exchanges.backpack.sdk import ResourceNotFound, read_error
from exchanges.errors import (
    VenueError,
    VenueForbidden,
    VenueMalformed,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
)
from exchanges.port import Accepted, CancelAccepted, CancelUnknown, InDoubt, Refused
from strategy.domain import (
    NANO,
    ClientId,
    Ns,
    OrderRef,
    OrderRequest,
    Purpose,
    Px,
    Qty,
    Side,
    Status,
    Tif,
    Venue,
)
from tests.unit.test_backpack_codec import ORDER

REF = OrderRef(ClientId(7), "ETH_USDC_PERP")
HTML = b"<html><body>502 Bad Gateway</body></html>"


def request(post_only: bool = True) -> OrderRequest:
    return OrderRequest(
        client_id=ClientId(7),
        venue=Venue.BACKPACK,
        symbol="ETH_USDC_PERP",
        side=Side.BUY,
        qty=Qty(NANO),
        px=Px(3000 * NANO),
        tif=Tif.GTC,
        post_only=post_only,
        reduce_only=False,
        expires_at=Ns(10**18),
        purpose=Purpose.OPEN,
    )


def error(code: str, message: str = "text") -> bytes:
    return json.dumps({"code": code, "message": message}).encode()


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "INVALID_ORDER", "Reduce only order not reduced"),
        (400, "INVALID_PRICE", "Price is too far from the last active price"),
        (400, "INVALID_QUANTITY", ""),
        (400, "INVALID_CLIENT_REQUEST", "Price decimal too long"),
        (400, "INVALID_CLIENT_REQUEST", "Request has expired"),
        (400, "INVALID_CLIENT_REQUEST", "Invalid signature"),
        (400, "INSUFFICIENT_MARGIN", "Insufficient margin"),
        (400, "INSUFFICIENT_FUNDS", ""),
        (400, "INVALID_MARKET", ""),
        (400, "INVALID_SYMBOL", ""),
        (400, "MAX_LEVERAGE_REACHED", ""),
        (400, "ORDER_LIMIT", ""),
        (400, "POSITION_LIMIT", ""),
        (400, "TRADING_PAUSED", ""),
        (400, "INVALID_SIGNATURE", ""),
        (400, "ACCOUNT_LIQUIDATING", ""),
        (403, "ACCOUNT_DEACTIVATED", ""),
        (401, "UNAUTHORIZED", ""),
        (403, "FORBIDDEN", ""),
        (429, "TOO_MANY_REQUESTS", ""),
        (503, "MAINTENANCE", ""),
    ],
)
def test_F04_allow_listed_code_is_refused(status: int, code: str, message: str) -> None:
    outcome = outcomes.submitted(status, error(code, message), request())
    assert outcome == Refused(code, message)


def test_F11_post_only_cross_is_told_apart() -> None:
    body = error("INVALID_ORDER", "Order would immediately match and take")
    outcome = outcomes.submitted(400, body, request())
    assert isinstance(outcome, Refused)
    assert outcome.post_only_cross
    taker = outcomes.submitted(400, body, request(post_only=False))
    assert isinstance(taker, Refused)
    assert not taker.post_only_cross


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (202, b""),
        (200, b""),
        (200, b"{"),
        (200, b"[]"),
        (200, b'{"id":"1"}'),
        (200, HTML),
        (200, json.dumps(ORDER | {"clientId": 8}).encode()),
        (200, json.dumps(ORDER | {"symbol": "BTC_USDC_PERP"}).encode()),
        (204, b""),
        (302, b""),
        (400, b""),
        (400, HTML),
        (400, b'"INVALID_ORDER"'),
        (400, b'{"message":"no code"}'),
        (400, error("SOMETHING_NEW")),
        (400, error("INVALID_CLIENT_REQUEST", "Duplicate client id")),
        (400, error("PRECONDITION_FAILED")),
        (404, error("RESOURCE_NOT_FOUND")),
        (429, HTML),
        (500, error("SERVER_ERROR")),
        (500, error("INVALID_ORDER")),
        (502, HTML),
        (503, HTML),
        (503, error("TIMEOUT")),
        (503, error("INVALID_ORDER")),
        (504, error("TIMEOUT")),
        (400, error("TIMEOUT")),
    ],
)
def test_F05_F06_anything_else_is_in_doubt(status: int, body: bytes) -> None:
    assert isinstance(outcomes.submitted(status, body, request()), InDoubt)


def test_accepted_carries_the_traded_size() -> None:
    row = ORDER | {"status": "Expired", "timeInForce": "IOC", "executedQuantity": "0.2"}
    outcome = outcomes.submitted(200, json.dumps(row).encode(), request())
    assert isinstance(outcome, Accepted)
    assert outcome.view is not None
    assert outcome.view.cum == NANO // 5
    assert outcome.view.status is Status.EXPIRED


def test_F29_accepted_with_an_unknown_status_is_unknown() -> None:
    row = ORDER | {"status": "Novel"}
    outcome = outcomes.submitted(200, json.dumps(row).encode(), request())
    assert isinstance(outcome, Accepted)
    assert outcome.view is not None
    assert outcome.view.status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, json.dumps(ORDER | {"status": "Cancelled"}).encode(), CancelAccepted),
        (202, b"", CancelAccepted),
        (404, error("RESOURCE_NOT_FOUND", "Not Found"), CancelUnknown),
        (400, error("INVALID_CLIENT_REQUEST", "Order not found"), CancelUnknown),
        (404, HTML, InDoubt),
        (400, error("INVALID_CLIENT_REQUEST", "Invalid signature"), InDoubt),
        (200, b"", InDoubt),
        (200, json.dumps(ORDER | {"clientId": 8}).encode(), InDoubt),
        (429, error("TOO_MANY_REQUESTS"), InDoubt),
        (500, error("SERVER_ERROR"), InDoubt),
        (502, HTML, InDoubt),
    ],
)
def test_cancel_outcomes(status: int, body: bytes, kind: type) -> None:
    assert isinstance(outcomes.cancelled(status, body, REF), kind)


def test_F22_cancel_reply_shows_what_traded_before_it() -> None:
    body = json.dumps(ORDER | {"status": "Cancelled", "executedQuantity": "0.3"}).encode()
    outcome = outcomes.cancelled(200, body, REF)
    assert isinstance(outcome, CancelAccepted)
    assert outcome.view is not None
    assert outcome.view.cum == 3 * NANO // 10


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, json.dumps([ORDER]).encode(), CancelAccepted),
        (200, b"[]", CancelAccepted),
        (202, b"", CancelAccepted),
        (200, b"{}", InDoubt),
        (500, HTML, InDoubt),
        (401, error("UNAUTHORIZED"), InDoubt),
    ],
)
def test_cancel_all_outcomes(status: int, body: bytes, kind: type) -> None:
    assert isinstance(outcomes.all_cancelled(status, body), kind)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, error("RESOURCE_NOT_FOUND"), ResourceNotFound),
        (404, error("WHATEVER", "position not found"), ResourceNotFound),
        (404, error("WHATEVER", "no route"), VenueRefused),
        (404, HTML, VenueMalformed),
        (429, HTML, VenueThrottled),
        (401, error("UNAUTHORIZED"), VenueForbidden),
        (403, HTML, VenueForbidden),
        (400, error("INVALID_CLIENT_REQUEST", "Invalid signature"), VenueForbidden),
        (400, error("INVALID_CLIENT_REQUEST", "Request has expired"), VenueRefused),
        (500, error("SERVER_ERROR"), VenueUnreachable),
        (502, HTML, VenueUnreachable),
        (503, error("MAINTENANCE"), VenueUnreachable),
        (418, b"", VenueMalformed),
    ],
)
def test_read_errors_are_named_by_what_to_do(
    status: int, body: bytes, kind: type[VenueError]
) -> None:
    assert type(read_error(status, outcomes.error_body(body))) is kind

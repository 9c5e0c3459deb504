"""Request bodies of Backpack, parsed as strictly as the venue does (venues.md B3.2). Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from exchanges.simulator.backpack_auth import Params
from exchanges.simulator.backpack_words import (
    CLIENT_ID_MAX,
    ApiError,
    Json,
    bad_payload,
    bad_request,
    refusal,
)
from exchanges.simulator.model import Deny
from strategy.domain import NANO, Px, Qty, Side, Tif, nano

_PLAIN = re.compile(r"[0-9]{1,15}(\.[0-9]{1,40})?", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,10}", re.ASCII)
_SIDES = {"Bid": Side.BUY, "Ask": Side.SELL}
_TIFS = {"GTC": Tif.GTC, "IOC": Tif.IOC, "FOK": Tif.FOK}
_STP = frozenset({"RejectTaker", "RejectMaker", "RejectBoth", "Allow"})
_UNSUPPORTED = (
    "triggerPrice",
    "triggerQuantity",
    "takeProfitTriggerPrice",
    "takeProfitLimitPrice",
    "stopLossTriggerPrice",
    "stopLossLimitPrice",
)
MAX_BATCH = 50


def _no_constant(word: str) -> Any:
    raise ValueError(f"JSON constant {word}")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)


def decode(body: bytes) -> Any:
    """Decode a JSON body without binary floats.

    Raises:
        ApiError: 400 "parse request payload error: ..." for anything that is not JSON.
    """
    try:
        return _DECODER.decode(body.decode())
    except (ValueError, RecursionError):
        raise bad_payload("expected a JSON value") from None


def as_params(value: Any, kind: str) -> Params:
    """Return a flat JSON object as the parameters that were signed; raises ApiError."""
    if not isinstance(value, dict):
        raise bad_payload(f'failed to parse "{kind}": Expected input type "object"')
    for key, item in value.items():
        if item is not None and not isinstance(item, str | int | Decimal):
            raise bad_payload(f'failed to parse "{kind}": field `{key}` has an unexpected type')
    return value


def as_batch(value: Any) -> list[Params]:
    """Return the body of ``POST /orders``; raises ApiError for an empty or oversize one."""
    if not isinstance(value, list) or not 0 < len(value) <= MAX_BATCH:
        raise bad_payload(f"expected an array of 1 to {MAX_BATCH} orders")
    return [as_params(item, "OrderExecutePayload") for item in value]


def _wrong(kind: str, field: str, detail: str) -> ApiError:
    return bad_payload(
        f'failed to parse "{kind}": {detail} (occurred while parsing field `{field}`)'
    )


@dataclass(frozen=True, slots=True)
class OrderPlan:
    """An order as the client wrote it, in domain units."""

    symbol: str
    side: Side
    market: bool
    qty: Qty | None
    quote_qty: int | None
    """Market order sized in quote, 1e-9 units."""
    px: Px | None
    tif: Tif
    post_only: bool
    reduce_only: bool | None
    client_id: int | None
    stp: str
    slippage: Decimal | None
    slippage_in_ticks: bool
    raw: Json


class _Reader:
    """Typed access to one object; every failure is the venue's parse error."""

    def __init__(self, row: Params, kind: str) -> None:
        self._row = row
        self._kind = kind

    def text(self, field: str) -> str | None:
        value = self._row.get(field)
        if value is None or isinstance(value, str):
            return value
        raise _wrong(self._kind, field, 'Expected input type "string"')

    def word(self, field: str, allowed: Mapping[str, Any]) -> str | None:
        value = self.text(field)
        if value is not None and value not in allowed:
            raise _wrong(self._kind, field, "Expect a valid enumeration value.")
        return value

    def flag(self, field: str) -> bool | None:
        value = self._row.get(field)
        if value is None or isinstance(value, bool):
            return value
        raise _wrong(self._kind, field, 'Expected input type "boolean"')

    def decimal(self, field: str) -> Decimal | None:
        value = self.text(field)
        if value is None:
            return None
        if not _PLAIN.fullmatch(value):
            raise _wrong(self._kind, field, "Invalid decimal")
        return Decimal(value)

    def uint32(self, field: str) -> int | None:
        value = self._row.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= CLIENT_ID_MAX:
            raise _wrong(self._kind, field, 'Expected input type "integer" (uint32)')
        return value


def order_plan(params: Params) -> OrderPlan:
    """Read an OrderExecutePayload.

    Raises:
        ApiError: a wrong type, an unknown word, a missing member, or a combination the venue or
            this simulator refuses.
    """
    row = _Reader(params, "OrderExecutePayload")
    for name in _UNSUPPORTED:
        if params.get(name) is not None:
            raise ApiError(400, "NOT_IMPLEMENTED", f"{name} is not supported")
    symbol = row.text("symbol")
    side = row.word("side", _SIDES)
    kind = row.word("orderType", {"Limit": 1, "Market": 1})
    if symbol is None or side is None or kind is None:
        missing = "symbol" if symbol is None else "side" if side is None else "orderType"
        raise _wrong("OrderExecutePayload", missing, f"field `{missing}` is required")
    tif_word = row.word("timeInForce", _TIFS)
    plan = OrderPlan(
        symbol=symbol,
        side=_SIDES[side],
        market=kind == "Market",
        qty=_quantity(row.decimal("quantity")),
        quote_qty=_money(row.decimal("quoteQuantity")),
        px=_price(row.decimal("price")),
        tif=_TIFS[tif_word or "GTC"],
        post_only=bool(row.flag("postOnly")),
        reduce_only=row.flag("reduceOnly"),
        client_id=row.uint32("clientId"),
        stp=row.word("selfTradePrevention", dict.fromkeys(_STP)) or "RejectTaker",
        slippage=row.decimal("slippageTolerance"),
        slippage_in_ticks=row.word("slippageToleranceType", {"TickSize": 1, "Percent": 1})
        == "TickSize",
        raw=dict(params),
    )
    _check_combination(plan)
    return plan


def _check_combination(plan: OrderPlan) -> None:
    if plan.market:
        _check_market(plan)
        return
    if plan.qty is None:
        raise bad_request("Must specify `quantity` for a limit order")
    if plan.px is None:
        raise bad_request("Must specify `price` for a limit order")
    if plan.quote_qty is not None:
        raise bad_request("Cannot specify `quoteQuantity` for a limit order")
    if plan.post_only and plan.tif is not Tif.GTC:
        raise bad_request("Post only orders must be GTC")


def _check_market(plan: OrderPlan) -> None:
    if (plan.qty is None) == (plan.quote_qty is None):
        raise bad_request("Must specify exactly one of `quantity` or `quoteQuantity`")
    if plan.post_only:
        raise bad_request("Market orders cannot be post only")


def _price(value: Decimal | None) -> Px | None:
    units = _exact(value, Deny.BAD_TICK)
    if units == 0:
        raise ApiError(400, "INVALID_PRICE", "Price is below the minimum allowed value")
    return None if units is None else Px(units)


def _quantity(value: Decimal | None) -> Qty | None:
    units = _exact(value, Deny.BAD_STEP)
    return None if units is None else Qty(units)


def _exact(value: Decimal | None, too_fine: Deny) -> int | None:
    if value is None:
        return None
    try:
        return nano(value)
    except ValueError:
        raise refusal(too_fine) from None


def _money(value: Decimal | None) -> int | None:
    if value is None:
        return None
    return int(value.scaleb(9))


def slippage_bound(plan: OrderPlan, touch: Px, tick: Px) -> Px | None:
    """Return the worst price of a market order with a slippage tolerance; None without one.

    ``Percent`` is percent of the touch, ``TickSize`` a number of ticks.
    """
    if plan.slippage is None:
        return None
    if plan.slippage_in_ticks:
        distance = int(plan.slippage) * tick
    else:
        distance = touch * int(plan.slippage * NANO) // (100 * NANO)
    worst = touch + plan.side.value * distance
    # Rounded toward the touch: a tolerance is never exceeded.
    rounded = worst // tick * tick if plan.side is Side.BUY else -(-worst // tick) * tick
    return Px(max(rounded, tick))


@dataclass(frozen=True, slots=True)
class OrderKey:
    """Which order a GET or DELETE names: exactly one of the two ids."""

    symbol: str
    order_id: str | None
    client_id: int | None


def order_key(params: Params, *, from_query: bool, strict: bool) -> OrderKey:
    """Read ``symbol`` and exactly one of ``orderId`` and ``clientId``.

    Args:
        params: body or query members.
        from_query: a query carries every value as text.
        strict: refuse a client id given as a string in a body (venues.md D12).

    Raises:
        ApiError: malformed, or not exactly one id.
    """
    row = _Reader(params, "OrderCancelPayload")
    symbol = row.text("symbol")
    if symbol is None:
        raise _wrong("OrderCancelPayload", "symbol", "field `symbol` is required")
    value = params.get("clientId")
    if isinstance(value, str) and (from_query or not strict):
        if not _DIGITS.fullmatch(value) or int(value) > CLIENT_ID_MAX:
            raise _wrong("OrderCancelPayload", "clientId", "Expected a uint32")
        client_id: int | None = int(value)
    else:
        client_id = row.uint32("clientId")
    order_id = row.text("orderId")
    if (order_id is None) == (client_id is None):
        raise bad_request("Must specify exactly one of `orderId` or `clientId`")
    return OrderKey(symbol, order_id, client_id)

"""Request bodies of Backpack, parsed as strictly as the venue does (venues.md B3.2). Pure."""

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from exchanges.simulator.backpack_auth import Params
from exchanges.simulator.backpack_conditions import (
    Condition,
    Leg,
    read_condition,
    read_legs,
)
from exchanges.simulator.backpack_reader import Reader, wrong
from exchanges.simulator.backpack_words import CLIENT_ID_MAX, bad_payload, bad_request
from strategy.domain import NANO, Px, Qty, Side, Tif

_DIGITS = re.compile(r"[0-9]{1,10}", re.ASCII)
_SIDES = {"Bid": Side.BUY, "Ask": Side.SELL}
_TIFS = {"GTC": Tif.GTC, "IOC": Tif.IOC, "FOK": Tif.FOK}
_STP = frozenset({"RejectTaker", "RejectMaker", "RejectBoth", "Allow"})
_EXECUTE = "OrderExecutePayload"
_CANCEL = "OrderCancelPayload"
_BROKER_MAX = 2**16 - 1
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
        orjson.loads(body)  # bounds the depth: the decoder below recurses, and can end the process
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
    condition: Condition | None
    """Set on a trigger order, which has no ``qty`` of its own."""
    legs: tuple[Leg, ...]


def order_plan(params: Params, default_by: str = "LastPrice") -> OrderPlan:
    """Read an OrderExecutePayload.

    Args:
        params: its members.
        default_by: the reference price of a trigger that names none.

    Raises:
        ApiError: a wrong type, an unknown word, a missing member, or a combination the venue
            refuses.
    """
    row = Reader(params, _EXECUTE)
    _check_spot_fields(row)
    symbol = row.text("symbol")
    side = row.word("side", _SIDES)
    kind = row.word("orderType", {"Limit": 1, "Market": 1})
    if symbol is None or side is None or kind is None:
        missing = "symbol" if symbol is None else "side" if side is None else "orderType"
        raise wrong(_EXECUTE, missing, f"field `{missing}` is required")
    tif_word = row.word("timeInForce", _TIFS)
    plan = OrderPlan(
        symbol=symbol,
        side=_SIDES[side],
        market=kind == "Market",
        qty=row.quantity("quantity"),
        quote_qty=_money(row.decimal("quoteQuantity")),
        px=row.price("price"),
        tif=_TIFS[tif_word or "GTC"],
        post_only=bool(row.flag("postOnly")),
        reduce_only=row.flag("reduceOnly"),
        client_id=row.uint32("clientId"),
        stp=row.word("selfTradePrevention", dict.fromkeys(sorted(_STP))) or "RejectTaker",
        slippage=row.decimal("slippageTolerance"),
        slippage_in_ticks=row.word("slippageToleranceType", {"TickSize": 1, "Percent": 1})
        == "TickSize",
        condition=read_condition(row, default_by),
        legs=read_legs(row, default_by),
    )
    _check_combination(plan)
    return plan


def _check_spot_fields(row: Reader) -> None:
    """Check members that mean nothing on a perpetual but must have the right type."""
    for name in ("autoLend", "autoLendRedeem", "autoBorrow", "autoBorrowRepay"):
        row.flag(name)
    row.integer("brokerId", _BROKER_MAX, "uint16")


def _check_combination(plan: OrderPlan) -> None:
    if plan.market:
        _check_market(plan)
        return
    if plan.qty is None and plan.condition is None:
        raise bad_request("Must specify `quantity` for a limit order")
    if plan.px is None:
        raise bad_request("Must specify `price` for a limit order")
    if plan.quote_qty is not None:
        raise bad_request("Cannot specify `quoteQuantity` for a limit order")
    if plan.post_only and plan.tif is not Tif.GTC:
        raise bad_request("Post only orders must be GTC")


def _check_market(plan: OrderPlan) -> None:
    if plan.condition is not None:
        if plan.quote_qty is not None:
            raise bad_request("Cannot specify `quoteQuantity` for a trigger order")
    elif (plan.qty is None) == (plan.quote_qty is None):
        raise bad_request("Must specify exactly one of `quantity` or `quoteQuantity`")
    if plan.post_only:
        raise bad_request("Market orders cannot be post only")


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
    row = Reader(params, _CANCEL)
    symbol = row.text("symbol")
    if symbol is None:
        raise wrong(_CANCEL, "symbol", "field `symbol` is required")
    value = params.get("clientId")
    if isinstance(value, str) and (from_query or not strict):
        if not _DIGITS.fullmatch(value) or int(value) > CLIENT_ID_MAX:
            raise wrong(_CANCEL, "clientId", "Expected a uint32")
        client_id: int | None = int(value)
    else:
        client_id = row.uint32("clientId")
    order_id = row.text("orderId")
    if (order_id is None) == (client_id is None):
        raise bad_request("Must specify exactly one of `orderId` or `clientId`")
    return OrderKey(symbol, order_id, client_id)

"""Reading what GRVT clients send: strict types, null means absent (venues.md A4, G18).

Everything that does not have the documented shape is 400/1003; nothing here knows the engine.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from exchanges.simulator.grvt_words import (
    MAX_U32,
    MAX_U64,
    NO_ORDER_ID,
    TIF_NUMBERS,
    UNSPECIFIED,
    ApiError,
    malformed,
)
from strategy.domain import Ns, Side, nano

_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?([eE][+-]?\d{1,2})?", re.ASCII)
_HEX = re.compile(r"0x[0-9a-fA-F]{1,40}", re.ASCII)
_DIGITS = 20
"""Longest uint64."""
_MAX_INT64 = 2**63 - 1
_DEFAULT_LIMIT = 500
_MAX_LIMIT = 1000
TRIGGER_KINDS = ("TAKE_PROFIT", "STOP_LOSS")
TRIGGER_PRICES = ("INDEX", "LAST", "MID", "MARK")


def decode(body: bytes) -> dict[str, Any]:
    """Decode a JSON object; raises ApiError 1003."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise malformed() from None
    if not isinstance(value, dict):
        raise malformed()
    return value


class Fields:
    """Typed access to one JSON object; a wrong type is ApiError 1003."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self._row = row

    def has(self, key: str) -> bool:
        """True when the field is there and not null."""
        return self._row.get(key) is not None

    def text(self, key: str) -> str | None:
        """Return a string."""
        value = self._row.get(key)
        if value is not None and not isinstance(value, str):
            raise malformed()
        return value

    def required(self, key: str) -> str:
        """Return a string that must be there."""
        value = self.text(key)
        if value is None:
            raise malformed()
        return value

    def flag(self, key: str) -> bool:
        """Return a boolean; absent is false."""
        value = self._row.get(key)
        if value is not None and not isinstance(value, bool):
            raise malformed()
        return bool(value)

    def whole(self, key: str) -> int | None:
        """Return a JSON integer."""
        value = self._row.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise malformed()
        return value

    def unsigned(self, key: str, most: int = MAX_U64) -> int | None:
        """Return an unsigned number sent as a decimal string."""
        value = self.text(key)
        if value is None or value == "":
            return None
        found = whole_text(value)
        if found is None or found > most:
            raise malformed()
        return found

    def words(self, key: str) -> frozenset[str]:
        """Return a filter list; empty when absent, which filters nothing."""
        return frozenset(self.texts(key))

    def texts(self, key: str) -> list[str]:
        """Return a list of strings; empty when absent."""
        value = self._row.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise malformed()
        return value

    def texts_or_nulls(self, key: str) -> list[str]:
        """Return a list of strings, its nulls left out."""
        value = self._row.get(key)
        if not isinstance(value, list):
            return self.texts(key)
        return Fields({key: [item for item in value if item is not None]}).texts(key)

    def inner(self, key: str) -> "Fields":
        """Return an object that must be there."""
        value = self._row.get(key)
        if not isinstance(value, dict):
            raise malformed()
        return Fields(value)

    def rows(self, key: str) -> list["Fields"]:
        """Return a list of objects that must be there."""
        value = self._row.get(key)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise malformed()
        return [Fields(item) for item in value]


def whole_text(value: str) -> int | None:
    """Return a decimal string of at most 20 digits as a number, or None."""
    if value.isascii() and value.isdigit() and len(value) <= _DIGITS:
        return int(value)
    return None


def decimal_text(value: str) -> Decimal:
    """Parse a decimal string such as ``"0E-9"``; raises ApiError 1003."""
    if _NUMBER.fullmatch(value) is None:
        raise malformed()
    return Decimal(value)


def _units(value: str, too_fine: int) -> int:
    """Return a non-negative decimal in 1e-9 units; what is finer has its own code."""
    number = decimal_text(value)
    if number < 0 or number >= MAX_U64 // 10**9:
        raise malformed()
    try:
        return nano(number)
    except ValueError:
        raise ApiError(too_fine) from None


@dataclass(frozen=True, slots=True)
class SignatureParts:
    """The ``signature`` object as sent."""

    signer: str
    r: str
    s: str
    v: int
    expiration: Ns
    nonce: int
    chain_id: str | None


def signature_parts(row: Fields) -> SignatureParts:
    """Read a signature; its cryptographic form is checked elsewhere."""
    v, nonce = row.whole("v"), row.whole("nonce")
    expiration = row.unsigned("expiration", _MAX_INT64)
    if v is None or nonce is None or expiration is None or not 0 <= nonce <= MAX_U32:
        raise malformed()
    return SignatureParts(
        signer=address(row.required("signer")),
        r=row.required("r"),
        s=row.required("s"),
        v=v,
        expiration=Ns(expiration),
        nonce=nonce,
        chain_id=row.text("chain_id"),
    )


def address(value: str) -> str:
    """Return a hexadecimal address in lower case; raises ApiError 1003."""
    if _HEX.fullmatch(value) is None:
        raise malformed()
    return value.lower()


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a take profit or stop loss order becomes a real one."""

    kind: str
    """``TAKE_PROFIT`` or ``STOP_LOSS``."""
    by: str
    """Which price is watched: INDEX, LAST, MID or MARK."""
    px: int
    """1e-9."""


@dataclass(frozen=True, slots=True)
class OrderPlan:
    """An order as the client wrote it; sizes and prices in 1e-9 units."""

    sub_account: int
    symbol: str
    side: Side
    size: int
    limit_px: int
    """0 for a market order."""
    market: bool
    tif: str
    post_only: bool
    reduce_only: bool
    client_id: str
    signature: SignatureParts
    builder: str
    """Lower-case address, or empty."""
    builder_fee: Decimal
    """Percent."""
    trigger: Trigger | None = None


def order_plan(row: Fields) -> OrderPlan:
    """Read an Order and check what needs no market (venues.md A4.2, A5.5).

    Raises:
        ApiError: 1003, or the code of the rule that it breaks.
    """
    if (row.text("order_id") or NO_ORDER_ID) != NO_ORDER_ID:
        raise ApiError(2010)
    if row.has("state"):
        raise ApiError(2050)
    legs = row.rows("legs")
    if not legs:
        raise ApiError(2040)
    if len(legs) > 1:
        raise ApiError(2042)
    leg = legs[0]
    if not leg.has("is_buying_asset"):
        raise malformed()
    builder, builder_fee = _builder(row)
    plan = OrderPlan(
        sub_account=sub_account(row),
        symbol=leg.required("instrument"),
        side=Side.BUY if leg.flag("is_buying_asset") else Side.SELL,
        size=_units(leg.required("size"), 2065),
        limit_px=_units(leg.text("limit_price") or "0", 2064),
        market=row.flag("is_market"),
        tif=row.required("time_in_force"),
        post_only=row.flag("post_only"),
        reduce_only=row.flag("reduce_only"),
        client_id=_client_id(row),
        signature=signature_parts(row.inner("signature")),
        builder=builder,
        builder_fee=builder_fee,
        trigger=_trigger(row),
    )
    _check_kind(plan)
    return plan


def sub_account(row: Fields) -> int:
    """Return the sub account a request names; 3020 when it is no uint64."""
    found = whole_text(row.required("sub_account_id"))
    if found is None or found > MAX_U64:
        raise ApiError(3020)
    return found


def _client_id(row: Fields) -> str:
    number = row.inner("metadata").unsigned("client_order_id") if row.has("metadata") else None
    if number is None:
        raise ApiError(2011)
    return str(number)


def _trigger(row: Fields) -> Trigger | None:
    """Read ``metadata.trigger``; None for an ordinary order.

    Raises:
        ApiError: 2110 for an unknown price, 2112 for an unknown kind, 2113 without a price, 2114,
            2117 and 2242 for position-linked and split ones, which API clients may not send.
    """
    metadata = row.inner("metadata")
    if not metadata.has("trigger"):
        return None
    outer = metadata.inner("trigger")
    kind = outer.text("trigger_type") or UNSPECIFIED
    if kind == UNSPECIFIED:
        return None
    if kind not in TRIGGER_KINDS or row.flag("post_only"):
        raise ApiError(2112)
    inner = outer.inner("tpsl")
    by = inner.text("trigger_by") or UNSPECIFIED
    if by not in TRIGGER_PRICES:
        raise ApiError(2110)
    px = _units(inner.text("trigger_price") or "0", 2112)
    if not px:
        raise ApiError(2113)
    if inner.flag("close_position"):
        raise ApiError(2117 if row.flag("reduce_only") else 2114)
    if inner.flag("is_split_position"):
        raise ApiError(2242)
    return Trigger(kind, by, px)


def _builder(row: Fields) -> tuple[str, Decimal]:
    fee = decimal_text(row.text("builder_fee") or "0")
    if fee < 0:
        raise ApiError(7501)
    if fee > MAX_U32 // 10_000:
        raise malformed()
    builder = address(row.text("builder") or "0x00")
    return (builder, fee) if int(builder, 16) else ("", fee)


def _check_kind(plan: OrderPlan) -> None:
    if plan.tif not in TIF_NUMBERS:
        raise malformed()
    if plan.tif not in ("GOOD_TILL_TIME", "IMMEDIATE_OR_CANCEL", "FILL_OR_KILL"):
        raise ApiError(2030)
    if plan.post_only and (plan.tif != "GOOD_TILL_TIME" or plan.market):
        raise ApiError(2032)
    if plan.market and plan.limit_px:
        raise ApiError(2020)
    if not plan.market and not plan.limit_px:
        raise ApiError(2021)


@dataclass(frozen=True, slots=True)
class Filter:
    """The ``kind``/``base``/``quote`` filters and, on histories, an instrument."""

    kinds: frozenset[str]
    bases: frozenset[str]
    quotes: frozenset[str]
    instrument: str | None

    def takes(self, symbol: str, base: str, quote: str) -> bool:
        """True when a perpetual passes."""
        return (
            (not self.kinds or "PERPETUAL" in self.kinds)
            and (not self.bases or base in self.bases)
            and (not self.quotes or quote in self.quotes)
            and (self.instrument is None or symbol == self.instrument)
        )


def market_filter(row: Fields) -> Filter:
    """Read the filters of a request."""
    return Filter(
        row.words("kind"), row.words("base"), row.words("quote"), row.text("instrument") or None
    )


@dataclass(frozen=True, slots=True)
class Page:
    """A window of a history, newest first; the cursor is the number of rows already given."""

    start: Ns
    end: Ns
    limit: int
    before: int | None
    """Give rows with a smaller number only."""


def page_of(row: Fields) -> Page:
    """Read ``start_time``, ``end_time``, ``limit`` and ``cursor`` (venues.md A4).

    Raises:
        ApiError: 3011 for a limit outside 1 to 1000, 1003 for a cursor that is not ours.
    """
    limit = row.whole("limit")
    limit = _DEFAULT_LIMIT if limit is None else limit
    if not 0 < limit <= _MAX_LIMIT:
        raise ApiError(3011)
    start = row.unsigned("start_time")
    end = row.unsigned("end_time")
    return Page(
        start=Ns(0 if start is None else start),
        end=Ns(MAX_U64 if end is None else end),
        limit=limit,
        before=row.unsigned("cursor"),
    )

"""Strict readers of GRVT JSON (full names): a missing field is an error, never a default. Pure.

``traded_size``, ``book_size`` and ``avg_fill_price`` are lists parallel to ``legs``; the order book
has one leg (venues.md A4.2). Every reader raises VenueMalformed for a shape, type or value that the
venue does not document. Imports ``strategy.domain``, the field readers and errors only.
"""

from dataclasses import dataclass
from typing import Any

from exchanges.errors import UnknownTicker, VenueMalformed
from exchanges.fields import (
    Json,
    amount,
    as_list,
    as_object,
    exact,
    flag,
    integer,
    optional_flag,
    positive,
    required,
    rounded,
    text,
    unsigned,
)
from strategy.domain import (
    BPS_UNIT,
    NANO,
    Balance,
    Book,
    Bps,
    ClientId,
    Fees,
    Fill,
    Funding,
    FundingPayment,
    Instrument,
    Level,
    Ns,
    OrderView,
    Position,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Status,
    Trade,
    Venue,
    bps,
    ordered,
)

API_ID_BASE = 1 << 63
"""API clients use client order ids from here up, to 2^64 - 1 (venues.md A5.6)."""
_ID_DIGITS = 20
OVERLAPPING = "OVERLAPPING_CLIENT_ORDER_ID"
"""Says that a copy was refused; the order with that id may live (F10, venues.md A5.4)."""
UNSPECIFIED = "UNSPECIFIED"
LIQUIDATION = "LIQUIDATION"
"""The reason of an order that the venue itself created or ended (venues.md A5.3)."""
NO_ORDER_ID = "0x00"
"""The acknowledgement's placeholder, not an id (venues.md A5.1)."""
PERPETUAL = "PERPETUAL"
ACTIVE = "ACTIVE"
"""Status of an instrument that trades; a delisted one says DELISTED."""
STATUSES = {
    "PENDING": Status.PENDING,
    "OPEN": Status.OPEN,
    "FILLED": Status.FILLED,
    "CANCELLED": Status.CANCELLED,
    "REJECTED": Status.REJECTED,
}


def client_text(client_id: ClientId) -> str:
    """Return our order number in the venue's API range.

    Raises:
        ValueError: the number does not fit the range.
    """
    if not 0 < client_id < API_ID_BASE:
        raise ValueError(f"client id {client_id} is not between 1 and 2^63 - 1")
    return str(API_ID_BASE + client_id)


def client_number(value: object) -> ClientId | None:
    """Return our order number, or None for an id outside our range."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _ID_DIGITS:
        number = int(value) - API_ID_BASE
        if 0 < number < API_ID_BASE:
            return ClientId(number)
    return None


def side(is_buy: bool) -> Side:
    """Return the side of GRVT's boolean."""
    return Side.BUY if is_buy else Side.SELL


def _single(row: Json, key: str, what: str) -> Any:
    values = as_list(required(row, key, what), f"{what}: field {key!r}")
    if len(values) != 1:
        raise VenueMalformed(f"{what}: field {key!r} has {len(values)} legs, expected 1")
    return values[0]


def order(value: Any) -> OrderView:
    """Read an Order; an unknown status word gives ``Status.UNKNOWN`` with the word itself (F29)."""
    row = as_object(value, "order")
    leg = as_object(_single(row, "legs", "order"), "order leg")
    metadata = as_object(required(row, "metadata", "order"), "order metadata")
    state = as_object(required(row, "state", "order"), "order state")
    venue_id = text(row, "order_id", "order")
    word = text(state, "status", "order state")
    reason = text(state, "reject_reason", "order state")
    return OrderView(
        venue=Venue.GRVT,
        client_id=client_number(required(metadata, "client_order_id", "order metadata")),
        venue_order_id="" if venue_id == NO_ORDER_ID else venue_id,
        symbol=text(leg, "instrument", "order leg"),
        side=side(flag(leg, "is_buying_asset", "order leg")),
        qty=Qty(amount(leg, "size", "order leg")),
        px=_limit_price(row, leg),
        cum=Qty(unsigned(_single(state, "traded_size", "order state"), "order: 'traded_size'")),
        status=Status.UNKNOWN if reason == OVERLAPPING else STATUSES.get(word, Status.UNKNOWN),
        reason="" if reason == UNSPECIFIED else reason,
        raw_status=reason if reason == OVERLAPPING else word,
        reduce_only=optional_flag(row, "reduce_only", "order"),
        forced=reason == LIQUIDATION,
    )


def _limit_price(row: Json, leg: Json) -> Px:
    """Return the limit price; only market orders, which are never ours, have none."""
    if optional_flag(row, "is_market", "order") and leg.get("limit_price") is None:
        return Px(0)
    return Px(amount(leg, "limit_price", "order leg"))


def fill(value: Any) -> Fill:
    """Read a Fill; ``fee`` is positive when paid (venues.md A4.2).

    Captured fills of different ages leave out ``fee_currency`` and ``is_liquidation``: the fee is
    then in the currency that the perpetual settles in, and the fill an ordinary one.
    """
    row = as_object(value, "fill")
    symbol = text(row, "instrument", "fill")
    return Fill(
        venue=Venue.GRVT,
        trade_id=text(row, "trade_id", "fill"),
        client_id=client_number(required(row, "client_order_id", "fill")),
        venue_order_id=text(row, "order_id", "fill"),
        symbol=symbol,
        side=side(flag(row, "is_buyer", "fill")),
        qty=Qty(positive(row, "size", "fill")),
        px=Px(positive(row, "price", "fill")),
        fee=Quote(rounded(required(row, "fee", "fill"), "fill: field 'fee'")),
        fee_asset=_fee_asset(row, symbol),
        is_maker=not flag(row, "is_taker", "fill"),
        at=Ns(integer(row, "event_time", "fill")),
        forced=optional_flag(row, "is_liquidation", "fill"),
    )


def _fee_asset(row: Json, symbol: str) -> str:
    if row.get("fee_currency") is not None:
        return text(row, "fee_currency", "fill")
    parts = symbol.split("_")
    if len(parts) != 3:  # noqa: PLR2004 - base, quote and kind, e.g. ETH_USDT_Perp
        raise VenueMalformed(f"fill: no field 'fee_currency', and {symbol!r} names no currency")
    return parts[1]


def fee_rate(value: Any) -> tuple[bool, Bps]:
    """Return (is maker, rate) of a fill; the venue states percent, ``"0.045"`` is 4.5 bps."""
    row = as_object(value, "fill")
    percent = rounded(required(row, "fee_rate", "fill"), "fill: field 'fee_rate'")
    return not flag(row, "is_taker", "fill"), Bps(percent * 100 * BPS_UNIT // NANO)


def position(value: Any) -> Position:
    """Read a Position: signed size, short negative."""
    row = as_object(value, "position")
    size = exact(required(row, "size", "position"), "position: field 'size'")
    return Position(
        Venue.GRVT,
        text(row, "instrument", "position"),
        SignedQty(size),
        Ns(integer(row, "event_time", "position")),
    )


def levels(value: Any, what: str) -> list[Level]:
    """Read a list of book levels; size zero deletes."""
    found = []
    for item in as_list(value, what):
        row = as_object(item, what)
        found.append((Px(positive(row, "price", what)), Qty(amount(row, "size", what))))
    return found


@dataclass(frozen=True, slots=True)
class BookMessage:
    """One book payload: a snapshot's levels, or absolute changes."""

    symbol: str
    bids: list[Level]
    asks: list[Level]
    at: Ns


def book_message(value: Any) -> BookMessage:
    """Read a payload of a book stream, where a side without levels may be absent (A6.3)."""
    row = as_object(value, "book")
    sides = {side: levels(row[side], side) for side in ("bids", "asks") if row.get(side)}
    return BookMessage(
        text(row, "instrument", "book"),
        sides.get("bids", []),
        sides.get("asks", []),
        Ns(integer(row, "event_time", "book")),
    )


def book(value: Any) -> Book:
    """Read a whole book of REST, where both sides are present."""
    row = as_object(value, "book")
    sides = {side: levels(required(row, side, "book"), side) for side in ("bids", "asks")}
    return Book(
        Venue.GRVT,
        ordered(sides["bids"], bids=True),
        ordered(sides["asks"], bids=False),
        Ns(integer(row, "event_time", "book")),
    )


def trade(value: Any) -> Trade:
    """Read a public trade."""
    row = as_object(value, "trade")
    return Trade(
        Venue.GRVT,
        Px(positive(row, "price", "trade")),
        Qty(positive(row, "size", "trade")),
        side(flag(row, "is_taker_buyer", "trade")),
        Ns(integer(row, "event_time", "trade")),
    )


@dataclass(frozen=True, slots=True)
class InstrumentRow:
    """A perpetual, and what of it the domain has no place for."""

    instrument: Instrument
    funding_hours: int | None
    """None when the venue does not state the interval here."""


def find_instrument(rows: Any, base: str) -> InstrumentRow:
    """Find the perpetual of a base symbol in the venue's own list of active ones (REQ-30).

    Raises:
        UnknownTicker: it is not listed.
        VenueMalformed: a field is missing, or several perpetuals have that base.
    """
    found = []
    for item in as_list(rows, "instruments"):
        row = as_object(item, "instrument")
        kind, listed = text(row, "kind", "instrument"), text(row, "base", "instrument")
        if kind == PERPETUAL and listed == base:
            found.append(row)
    if not found:
        raise UnknownTicker(f"GRVT lists no perpetual with base {base!r}")
    if len(found) > 1:
        raise VenueMalformed(f"GRVT lists {len(found)} perpetuals with base {base!r}")
    return _instrument(found[0])


def _instrument(row: Json) -> InstrumentRow:
    """Sizes are multiples of ``min_size``; ``base_decimals`` only scales signed sizes (A4.1)."""
    what = "instrument"
    least = Qty(positive(row, "min_size", what))
    hours = row.get("funding_interval_hours")
    # Captured since 2026-09; before, that only active ones were asked for had to do.
    state = ACTIVE if row.get("status") is None else text(row, "status", what)
    return InstrumentRow(
        Instrument(
            venue=Venue.GRVT,
            symbol=text(row, "instrument", what),
            base=text(row, "base", what),
            quote=text(row, "quote", what),
            tick=Px(positive(row, "tick_size", what)),
            step=least,
            min_qty=least,
            min_notional=Quote(amount(row, "min_notional", what)),
            asset_id=text(row, "instrument_hash", what),
            size_decimals=integer(row, "base_decimals", what),
            tradable=state == ACTIVE,
        ),
        None if hours is None else integer(row, "funding_interval_hours", what),
    )


def balance(value: Any) -> Balance:
    """Read equity and free margin of a SubAccount."""
    row = as_object(value, "account")
    equity = rounded(required(row, "total_equity", "account"), "account: 'total_equity'")
    free = rounded(required(row, "available_balance", "account"), "account: 'available_balance'")
    asset = text(row, "settle_currency", "account")
    return Balance(Venue.GRVT, Quote(equity), Quote(free), asset)


def funding(value: Any, hours: int | None) -> Funding:
    """Read the current rate of a Ticker: percent per interval, here a fraction (A4.1).

    Args:
        value: the ticker; live ones state the interval, the documented shape does not.
        hours: the interval that the instrument states, for a ticker without one.
    """
    row = as_object(value, "ticker")
    percent = rounded(required(row, "funding_rate", "ticker"), "ticker: field 'funding_rate'")
    if row.get("funding_interval_hours") is not None:
        hours = integer(row, "funding_interval_hours", "ticker")
    if not hours:
        raise VenueMalformed("neither ticker nor instrument states the funding interval")
    at = Ns(integer(row, "next_funding_time", "ticker"))
    return Funding(Venue.GRVT, percent // 100, hours, at)


def funding_payment(value: Any) -> tuple[str, FundingPayment]:
    """Read one payment and its instrument: the venue's positive is paid, ours is received."""
    what = "funding payment"
    row = as_object(value, what)
    paid = rounded(required(row, "amount", what), f"{what}: field 'amount'")
    at = Ns(integer(row, "event_time", what))
    symbol = text(row, "instrument", what)
    return symbol, FundingPayment(Venue.GRVT, f"{symbol}:{at}", Quote(-paid), at)


def default_fees() -> Fees:
    """Return the rates of live fills (venues.md A7), until a fill of ours states its own."""
    return Fees(Venue.GRVT, maker=bps("-0.01"), taker=bps("4.5"))

"""Backpack REST answers to domain values (venues.md B3). Pure; VenueMalformed, never a guess.

Units on the wire: decimals are strings, ``createdAt`` of a live order is ms, depth ``timestamp`` is
microseconds, everything under ``history`` is naive ISO-8601 UTC.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from exchanges.errors import UnknownTicker, VenueMalformed
from exchanges.fields import (
    MS,
    US,
    Json,
    amount,
    as_list,
    as_object,
    exact,
    flag,
    integer,
    iso_utc,
    optional_flag,
    positive,
    required,
    rounded,
    text,
    to_integer,
    unsigned,
)
from strategy.domain import (
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
    Venue,
    ordered,
)

SETTLE = "USDC"
CLIENT_ID_MAX = 2**32 - 1
"""``clientId`` is a uint32; 0 is dropped by the SDK, so ours start at 1 (venues.md B8 P6)."""
DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
_HOUR_MS = 3_600_000

_SIDES = {"Bid": Side.BUY, "Ask": Side.SELL}
_STATUS = {
    "New": Status.OPEN,
    "PartiallyFilled": Status.OPEN,
    "Filled": Status.FILLED,
    "Cancelled": Status.CANCELLED,
    "Expired": Status.EXPIRED,
    "TriggerPending": Status.PENDING,
    "TriggerFailed": Status.REJECTED,
}
_NEVER_REST = frozenset({"IOC", "FOK"})


def side(word: Any, what: str) -> Side:
    """Read ``Bid`` or ``Ask``; raises VenueMalformed for any other word."""
    found = _SIDES.get(word) if isinstance(word, str) else None
    if found is None:
        raise VenueMalformed(f"{what}: unknown side {word!r}")
    return found


def side_word(value: Side) -> str:
    """Return the venue's word for a side."""
    return "Bid" if value is Side.BUY else "Ask"


def status(word: str) -> Status:
    """Map the venue's order state; a word we do not know is ``Status.UNKNOWN``."""
    return _STATUS.get(word, Status.UNKNOWN)


def client_id(value: Any, what: str) -> ClientId | None:
    """Read a client id: bare on orders, quoted on fills, null or 0 when foreign."""
    if value is None:
        return None
    number = to_integer(value, f"{what}: client id")
    if number > CLIENT_ID_MAX:
        raise VenueMalformed(f"{what}: client id {number} is beyond uint32")
    return ClientId(number) if number else None


def forced_origin(word: Any) -> bool:
    """True when the venue itself made the order: any origin other than the user (venues.md B5)."""
    return word is not None and word not in ("USER", "User")


# --- instruments and market data -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MarketRow:
    """A listed perpetual: its rounding rules and its funding period."""

    instrument: Instrument
    funding_hours: int


def find_market(value: Any, base: str) -> MarketRow:
    """Find the USDC perpetual of ``base`` in ``GET /api/v1/markets`` (venues.md B3.1).

    Raises:
        UnknownTicker: the venue lists none.
        VenueMalformed: a field is missing or odd, or two rows match.
    """
    what = "markets"
    rows = [as_object(row, what) for row in as_list(value, what)]
    found = [
        row
        for row in rows
        if text(row, "marketType", what) == "PERP"
        and text(row, "baseSymbol", what) == base
        and text(row, "quoteSymbol", what) == SETTLE
    ]
    if not found:
        raise UnknownTicker(f"backpack lists no {base} perpetual quoted in {SETTLE}")
    if len(found) > 1:
        raise VenueMalformed(f"markets: {len(found)} perpetuals of {base}")
    return market(found[0])


def market(row: Json) -> MarketRow:
    """Read one market row; tradable only while ``orderBookState`` is ``Open``."""
    what = f"market {text(row, 'symbol', 'market')}"
    filters = as_object(required(row, "filters", what), f"{what} filters")
    price = as_object(required(filters, "price", what), f"{what} price filter")
    quantity = as_object(required(filters, "quantity", what), f"{what} quantity filter")
    period, rest = divmod(integer(row, "fundingInterval", what), _HOUR_MS)
    if rest or not period:
        raise VenueMalformed(f"{what}: funding interval is not whole hours")
    instrument = Instrument(
        venue=Venue.BACKPACK,
        symbol=text(row, "symbol", what),
        base=text(row, "baseSymbol", what),
        quote=text(row, "quoteSymbol", what),
        tick=Px(positive(price, "tickSize", what)),
        step=Qty(positive(quantity, "stepSize", what)),
        min_qty=Qty(positive(quantity, "minQuantity", what)),
        min_notional=Quote(0),
        tradable=text(row, "orderBookState", what) == "Open",
    )
    return MarketRow(instrument, period)


def levels(value: Any, what: str) -> list[Level]:
    """Read ``[[price, size], ...]``; a zero size is kept, it removes a level on the socket."""
    out: list[Level] = []
    for pair in as_list(value, what):
        row = as_list(pair, what)
        if len(row) != 2:  # noqa: PLR2004 - a level is a price and a size
            raise VenueMalformed(f"{what}: a level has {len(row)} members")
        px = unsigned(row[0], f"{what} price")
        if not px:
            raise VenueMalformed(f"{what}: a level at price zero")
        out.append((Px(px), Qty(unsigned(row[1], f"{what} size"))))
    return out


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A REST book with the update id it is complete up to."""

    book: Book
    last_update_id: int


def depth(value: Any) -> Snapshot:
    """Read ``GET /api/v1/depth``: sides are sorted here, bids come ascending (venues.md F)."""
    what = "depth"
    row = as_object(value, what)
    book = Book(
        venue=Venue.BACKPACK,
        bids=ordered(levels(required(row, "bids", what), "depth bids"), bids=True),
        asks=ordered(levels(required(row, "asks", what), "depth asks"), bids=False),
        event_time=Ns(integer(row, "timestamp", what) * US),
    )
    return Snapshot(book, integer(row, "lastUpdateId", what))


def depth_limit(wanted: int) -> int:
    """Round a depth up to one the venue allows; the largest when more is wanted."""
    return next((limit for limit in DEPTH_LIMITS if limit >= wanted), DEPTH_LIMITS[-1])


def funding(value: Any, symbol: str, interval_hours: int) -> Funding:
    """Read the symbol's row of ``GET /api/v1/markPrices``; the rate is a fraction per interval."""
    what = "markPrices"
    for item in as_list(value, what):
        row = as_object(item, what)
        if text(row, "symbol", what) == symbol:
            return Funding(
                venue=Venue.BACKPACK,
                rate=rounded(required(row, "fundingRate", what), "fundingRate"),
                interval_hours=interval_hours,
                next_at=Ns(integer(row, "nextFundingTimestamp", what) * MS),
            )
    raise VenueMalformed(f"markPrices: no row for {symbol}")


def server_time(value: Any) -> Ns:
    """Read ``GET /api/v1/time``: milliseconds as plain text, which is also valid JSON."""
    return Ns(to_integer(value, "server time") * MS)


# --- orders and fills ------------------------------------------------------------------------


def order(value: Any) -> OrderView:
    """Read an order object, live or from history (venues.md B3.2).

    ``px`` is 0 for a market order, which has no price; ``qty`` is what traded for one sized in
    quote or in percent of a position. None of these is ever ours, but they stand in our histories.
    """
    what = "order"
    row = as_object(value, what)
    cum = Qty(amount(row, "executedQuantity", what))
    market_order = text(row, "orderType", what) == "Market"
    word = text(row, "status", what)
    return OrderView(
        venue=Venue.BACKPACK,
        client_id=client_id(row.get("clientId"), what),
        venue_order_id=text(row, "id", what),
        symbol=text(row, "symbol", what),
        side=side(row.get("side"), what),
        qty=_order_size(row, cum, market_order),
        px=Px(0) if market_order else Px(positive(row, "price", what)),
        cum=cum,
        status=status(word),
        reason=row["expiryReason"] if isinstance(row.get("expiryReason"), str) else "",
        raw_status=word,
        reduce_only=optional_flag(row, "reduceOnly", what),
        forced=forced_origin(row.get("systemOrderType")),
    )


def _order_size(row: Json, cum: Qty, market_order: bool) -> Qty:
    """Return the size; an order that waits for a trigger states it in ``triggerQuantity`` only."""
    if row.get("quantity") is not None:
        return Qty(amount(row, "quantity", "order"))
    waiting = row.get("triggerQuantity")
    if isinstance(waiting, str) and waiting.endswith("%"):
        return cum
    if waiting is not None:
        return Qty(amount(row, "triggerQuantity", "order"))
    if market_order:
        return cum
    raise VenueMalformed("order: field 'quantity' is missing")


def execution(value: Any) -> OrderView:
    """Read the reply to a new order: the engine's final word on its matching (venues.md B4).

    An order traded in full is ``FILLED`` whatever the status says, and an immediate order that
    reports a live state has ended: it never rests, and its reply comes after matching.
    """
    view = order(value)
    if view.status is Status.UNKNOWN:
        return view
    if view.cum >= view.qty > 0:
        return replace(view, status=Status.FILLED)
    tif = as_object(value, "order").get("timeInForce")
    if view.status is Status.OPEN and tif in _NEVER_REST:
        return replace(view, status=Status.EXPIRED)
    return view


def orders(value: Any) -> tuple[OrderView, ...]:
    """Read an array of orders."""
    return tuple(order(row) for row in as_list(value, "orders"))


def created_at(value: Any) -> Ns:
    """Return when an order of ``history/orders`` was created, Unix ns (ISO there, not ms)."""
    return iso_utc(as_object(value, "history order"), "createdAt", "history order")


def fill(value: Any) -> Fill:
    """Read one row of ``history/fills``; a system fill without a trade id gets a derived one."""
    what = "fill"
    row = as_object(value, what)
    forced = forced_origin(row.get("systemOrderType"))
    order_id = text(row, "orderId", what)
    if row.get("tradeId") is None and forced:
        trade_id = f"system:{order_id}:{text(row, 'timestamp', what)}"
    else:
        trade_id = str(integer(row, "tradeId", what))
    return Fill(
        venue=Venue.BACKPACK,
        trade_id=trade_id,
        client_id=client_id(row.get("clientId"), what),
        venue_order_id=order_id,
        symbol=text(row, "symbol", what),
        side=side(row.get("side"), what),
        qty=Qty(positive(row, "quantity", what)),
        px=Px(positive(row, "price", what)),
        fee=Quote(rounded(required(row, "fee", what), "fee")),
        fee_asset=text(row, "feeSymbol", what),
        is_maker=flag(row, "isMaker", what),
        at=iso_utc(row, "timestamp", what),
        forced=forced,
    )


def oldest_first(rows: Iterable[Fill]) -> tuple[Fill, ...]:
    """Order fills by time, then trade id, once each: pages overlap when new fills push them."""
    unique = {row.trade_id: row for row in rows}
    return tuple(sorted(unique.values(), key=lambda row: (row.at, len(row.trade_id), row.trade_id)))


# --- account ---------------------------------------------------------------------------------


def position(value: Any, symbol: str) -> Position:
    """Read ``GET /api/v1/position``: an empty array is flat, anything odd is an error.

    Numbers come bare or quoted. The venue gives no time here, so ``at`` is 0.
    """
    what = "position"
    rows = [as_object(item, what) for item in as_list(value, what)]
    ours = [row for row in rows if text(row, "symbol", what) == symbol]
    if len(ours) > 1:
        raise VenueMalformed(f"position: {len(ours)} rows for {symbol}")
    qty = sum(exact(required(row, "netQuantity", what), "netQuantity") for row in ours)
    return Position(Venue.BACKPACK, symbol, SignedQty(qty), Ns(0))


def balance(value: Any) -> Balance:
    """Read ``GET /api/v1/capital/collateral``, in USDC."""
    what = "collateral"
    row = as_object(value, what)
    return Balance(
        venue=Venue.BACKPACK,
        equity=Quote(rounded(required(row, "netEquity", what), "netEquity")),
        available=Quote(rounded(required(row, "netEquityAvailable", what), "netEquityAvailable")),
        asset=SETTLE,
    )


def fees(value: Any) -> Fees:
    """Read ``GET /api/v1/account``: futures rates in basis points, negative is a rebate."""
    what = "account"
    row = as_object(value, what)
    maker = rounded(required(row, "futuresMakerFee", what), "futuresMakerFee")
    taker = rounded(required(row, "futuresTakerFee", what), "futuresTakerFee")
    return Fees(Venue.BACKPACK, maker=Bps(maker // 1000), taker=Bps(taker // 1000))


def funding_payment(value: Any) -> FundingPayment:
    """Read one row of ``history/funding``: ``quantity`` is positive when received."""
    what = "funding payment"
    row = as_object(value, what)
    symbol = text(row, "symbol", what)
    return FundingPayment(
        venue=Venue.BACKPACK,
        key=f"{symbol}@{text(row, 'intervalEndTimestamp', what)}",
        amount=Quote(rounded(required(row, "quantity", what), "quantity")),
        at=iso_utc(row, "intervalEndTimestamp", what),
    )

"""Backpack socket frames to domain events (venues.md B5). Pure; raises VenueMalformed.

``E`` and ``T`` are microseconds. Frames of streams we did not ask for are ignored: the venue sends
no acknowledgement today, and one that appears must not hurt (venues.md D14).
"""

from dataclasses import dataclass
from typing import Any

from exchanges.backpack.codec import client_id, forced_origin, levels, side, status
from exchanges.fields import (
    US,
    Json,
    amount,
    as_object,
    decode,
    exact,
    flag,
    integer,
    optional_flag,
    positive,
    required,
    rounded,
    text,
)
from strategy.domain import (
    Fill,
    Level,
    Ns,
    OrderView,
    Position,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Trade,
    Venue,
)

DEPTH = "depth"
TRADE = "trade"
ORDERS = "account.orderUpdate"
POSITIONS = "account.positionUpdate"


@dataclass(frozen=True, slots=True)
class Frame:
    """One stream message: the stream's name without its symbol, and its data."""

    stream: str
    data: Json


@dataclass(frozen=True, slots=True)
class ErrorFrame:
    """The venue refused something we sent, e.g. 4006 "Invalid stream"."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class DepthDelta:
    """Absolute sizes of changed levels; zero removes. Update ids ``first`` to ``last``."""

    first: int
    last: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    at: Ns


def frame(raw: bytes | str, symbol: str) -> Frame | ErrorFrame | None:
    """Open the envelope; None for frames that are not a stream of ``symbol``.

    Raises:
        VenueMalformed: not a JSON object, or a stream without data.
    """
    what = "socket frame"
    message = as_object(decode(raw, what), what)
    if message.get("error") is not None:
        error = as_object(message["error"], what)
        return ErrorFrame(str(error.get("code", "")), str(error.get("message", ""))[:200])
    name = message.get("stream")
    if not isinstance(name, str) or not name.endswith(f".{symbol}"):
        return None
    return Frame(name.removesuffix(f".{symbol}"), as_object(required(message, "data", what), what))


def depth_delta(data: Json) -> DepthDelta:
    """Read one ``depth`` update; ``U`` and ``u`` come bare or quoted."""
    return DepthDelta(
        first=integer(data, "U", DEPTH),
        last=integer(data, "u", DEPTH),
        bids=tuple(levels(required(data, "b", DEPTH), "depth bids")),
        asks=tuple(levels(required(data, "a", DEPTH), "depth asks")),
        at=_engine_time(data, DEPTH),
    )


def trade(data: Json) -> Trade:
    """Read one public trade; ``m`` says the buyer rested, so the taker sold."""
    return Trade(
        venue=Venue.BACKPACK,
        px=Px(positive(data, "p", TRADE)),
        qty=Qty(positive(data, "q", TRADE)),
        taker=Side.SELL if flag(data, "m", TRADE) else Side.BUY,
        at=_engine_time(data, TRADE),
    )


def order_update(data: Json) -> tuple[OrderView, Fill | None]:
    """Read one ``account.orderUpdate``: the order's state, and its execution on ``orderFill``.

    ``cum`` is ``z``. An origin other than ``USER`` sets ``forced``: the venue closed our leg.
    """
    event = text(data, "e", ORDERS)
    market_order = text(data, "o", ORDERS) == "MARKET"
    cum = Qty(amount(data, "z", ORDERS))
    sized_in_base = data.get("q") is not None or not market_order
    word = text(data, "X", ORDERS)
    reason = data.get("R")
    view = OrderView(
        venue=Venue.BACKPACK,
        client_id=client_id(data.get("c"), ORDERS),
        venue_order_id=_order_id(data),
        symbol=text(data, "s", ORDERS),
        side=side(data.get("S"), ORDERS),
        qty=Qty(amount(data, "q", ORDERS)) if sized_in_base else cum,
        px=Px(0) if market_order else Px(positive(data, "p", ORDERS)),
        cum=cum,
        status=status(word),
        reason=reason if isinstance(reason, str) else "",
        raw_status=word,
        reduce_only=optional_flag(data, "r", ORDERS),
        forced=forced_origin(required(data, "O", ORDERS)),
    )
    return view, _execution(data, view) if event == "orderFill" else None


def _execution(data: Json, view: OrderView) -> Fill:
    return Fill(
        venue=Venue.BACKPACK,
        trade_id=str(integer(data, "t", ORDERS)),
        client_id=view.client_id,
        venue_order_id=view.venue_order_id,
        symbol=view.symbol,
        side=view.side,
        qty=Qty(positive(data, "l", ORDERS)),
        px=Px(positive(data, "L", ORDERS)),
        fee=Quote(rounded(required(data, "n", ORDERS), "fee")),
        fee_asset=text(data, "N", ORDERS),
        is_maker=flag(data, "m", ORDERS),
        at=_engine_time(data, ORDERS),
        forced=view.forced,
    )


def position(data: Json) -> Position:
    """Read one ``account.positionUpdate``; the first ones after subscribing carry no ``e``."""
    moment = data.get("T") if data.get("T") is not None else data.get("E")
    return Position(
        venue=Venue.BACKPACK,
        symbol=text(data, "s", POSITIONS),
        qty=SignedQty(exact(required(data, "q", POSITIONS), "position q")),
        at=Ns(0) if moment is None else Ns(integer({"T": moment}, "T", POSITIONS) * US),
    )


def _order_id(data: Json) -> str:
    value: Any = required(data, "i", ORDERS)
    return value if isinstance(value, str) else str(integer(data, "i", ORDERS))


def _engine_time(data: Json, what: str) -> Ns:
    return Ns(integer(data, "T", what) * US)

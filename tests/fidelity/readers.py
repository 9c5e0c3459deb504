"""Which reader of ours takes a message of which shape; what no part of the daemon reads says so."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from exchanges.backpack import codec as backpack
from exchanges.backpack import outcomes as backpack_outcomes
from exchanges.backpack import ws_codec
from exchanges.errors import UnknownTicker, VenueError
from exchanges.fields import decode, integer
from exchanges.grvt import codec as grvt
from exchanges.grvt import outcomes as grvt_outcomes
from exchanges.transport.rest import Reply
from strategy.domain import Status

Read = Callable[[Any], object]
"""Takes a decoded message; raises VenueError when it does not understand it."""


def _exact(message: Any) -> Any:
    """Decode as the daemon does, so that no number is a binary float."""
    return decode(json.dumps(message), "message")


def _grvt_instrument(row: Any) -> object:
    if row["kind"] != grvt.PERPETUAL:
        with pytest.raises(UnknownTicker):
            grvt.find_instrument([row], row["base"])
        return None
    found = grvt.find_instrument([row], row["base"]).instrument
    assert found.tradable is (row.get("status", "ACTIVE") == "ACTIVE")
    return found


def _known_status(read: Read) -> Read:
    def check(message: Any) -> object:
        found = read(message)
        view = found[0] if isinstance(found, tuple) else found
        assert getattr(view, "status", None) is not Status.UNKNOWN
        return found

    return check


def _result(read: Read) -> Read:
    return lambda body: read(grvt_outcomes.result_of(body, "sample"))


def _each(read: Read) -> Read:
    return lambda rows: [read(row) for row in rows]


def _feed(read: Read) -> Read:
    def check(message: Any) -> object:
        integer(message, "sequence_number", message["stream"])
        return read(message["feed"])

    return check


def _grvt_error(body: Any) -> object:
    found = grvt_outcomes.error_body(Reply(body.get("status", 400), json.dumps(body).encode(), {}))
    assert found is not None
    return found


def _grvt_subscribed(message: Any) -> object:
    numbers = message["result"]["first_sequence_number"]
    assert message["result"]["subs"]
    return [int(number) for number in numbers]


def _cancelled(body: Any) -> object:
    return grvt_outcomes.cancelled(Reply(200, json.dumps(body).encode(), {}))


_order = _known_status(grvt.order)
GRVT: Mapping[str, Read] = {
    "book": grvt.book,
    "book.reply": _result(grvt.book),
    "instrument": _grvt_instrument,
    "instruments.reply": _result(_each(_grvt_instrument)),
    "ticker": lambda row: grvt.funding(row, 8),
    "ticker.reply": _result(lambda row: grvt.funding(row, 8)),
    "trade": grvt.trade,
    "trades.reply": _result(_each(grvt.trade)),
    "error": _grvt_error,
    "summary": grvt.balance,
    "summary.reply": _result(grvt.balance),
    "ack.reply": _cancelled,
    "order": _order,
    "order.reply": _result(_order),
    "open_orders.reply": _result(_each(_order)),
    "order_history.reply": _result(_each(_order)),
    "fill": lambda row: (grvt.fill(row), grvt.fee_rate(row)),
    "fills.reply": _result(_each(lambda row: (grvt.fill(row), grvt.fee_rate(row)))),
    "position": grvt.position,
    "positions.reply": _result(_each(grvt.position)),
    "payment": grvt.funding_payment,
    "payments.reply": _result(_each(grvt.funding_payment)),
    "ws.subscribed": _grvt_subscribed,
    "ws.error": lambda message: _grvt_error(message["error"]),
    "ws.book": _feed(grvt.book_message),
    "ws.trade": _feed(grvt.trade),
    "ws.order": _feed(_order),
    "ws.fill": _feed(grvt.fill),
    "ws.position": _feed(grvt.position),
}


def _socket(read: Callable[[dict[str, Any]], object]) -> Read:
    def check(message: Any) -> object:
        symbol = message["data"]["s"]
        # One capture was asked for without a symbol, which ours never are.
        named = message["stream"].endswith(f".{symbol}")
        stream = message["stream"] if named else f"any.{symbol}"
        frame = ws_codec.frame(json.dumps({**message, "stream": stream}), symbol)
        assert isinstance(frame, ws_codec.Frame)
        return read(frame.data)

    return check


def _socket_error(message: Any) -> object:
    frame = ws_codec.frame(json.dumps(message), "ETH_USDC_PERP")
    assert isinstance(frame, ws_codec.ErrorFrame)
    return frame


def _backpack_error(body: Any) -> object:
    found = backpack_outcomes.error_body(json.dumps(body).encode())
    assert found is not None
    return found


def _backpack_markets(rows: Any) -> object:
    return backpack.find_market(rows, next(r["baseSymbol"] for r in rows))


_past = _known_status(backpack.order)
_update = _known_status(ws_codec.order_update)
BACKPACK: Mapping[str, Read] = {
    "markets": _backpack_markets,
    "all_markets": _backpack_markets,
    "mark": lambda row: backpack.funding([row], row["symbol"], 1),
    "depth": backpack.depth,
    "fill": backpack.fill,
    "time": backpack.server_time,
    "market_order": _past,
    "limit_order": _past,
    "past_trigger": lambda row: (_past(row), backpack.created_at(row)),
    "past_order": lambda row: (_past(row), backpack.created_at(row)),
    "past_market": lambda row: (_past(row), backpack.created_at(row)),
    "position": lambda row: backpack.position([row], row["symbol"]),
    "payment": backpack.funding_payment,
    "error": _backpack_error,
    "ws.error": _socket_error,
    "ws.ticker": _socket(lambda data: data),
    "ws.book_ticker": _socket(lambda data: data),
    "ws.kline": _socket(lambda data: data),
    "ws.mark": _socket(lambda data: data),
    "ws.trade": _socket(ws_codec.trade),
    "ws.trade.data": ws_codec.trade,
    "ws.depth": _socket(ws_codec.depth_delta),
    "ws.depth.data": ws_codec.depth_delta,
    "ws.order": _socket(_update),
    "ws.order_fill": _socket(_update),
    "ws.order_fill.data": _update,
    "ws.position": _socket(ws_codec.position),
    "ws.position.data": ws_codec.position,
}
READERS: Mapping[str, Mapping[str, Read]] = {"grvt": GRVT, "backpack": BACKPACK}


def refusal(venue: str, shape: str, message: Any) -> str:
    """Return why our codecs refuse a message, "" when they take it."""
    try:
        READERS[venue][shape](_exact(message))
    except VenueError as bad:
        return f"{type(bad).__name__}: {bad}"
    return ""

"""Backpack's streams: subscriptions, fan-out of events, timed publications (venues.md B5)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from exchanges.simulator import backpack_frames as frames
from exchanges.simulator.backpack_auth import SignatureError, Stamp, string_to_sign
from exchanges.simulator.backpack_codec import open_interest
from exchanges.simulator.backpack_desk import Desk
from exchanges.simulator.backpack_orders import UNKNOWN_STATUS, reply_status
from exchanges.simulator.backpack_payload import decode
from exchanges.simulator.backpack_prints import kline_frame, trade_number
from exchanges.simulator.backpack_socket import Socket
from exchanges.simulator.backpack_topics import (
    DEPTH_WINDOWS_MS,
    Kind,
    Topic,
    TopicError,
    parse_topic,
)
from exchanges.simulator.backpack_words import ApiError, Json
from exchanges.simulator.model import (
    BookChanged,
    EngineEvent,
    OrderChanged,
    PositionChanged,
    PublicTrade,
)
from strategy.domain import Level, Ns, Px, Qty

_TICK_MS = 100
_SLOW_TICKS = 10
_OPEN_INTEREST_TICKS = 600
_FIRST_UPDATE_ID = 1_662_976_171
"""Update ids are numbered here, from the moment the server listens, so that none is ever missed."""
_SIGNATURE_PARTS = 4
_BAD_JSON = 4002
_BAD_SIGNATURE = 4003


@dataclass(slots=True)
class _Window:
    """Depth changes of one market waiting for the end of their window."""

    first: int = 0
    last: int = 0
    at: Ns = Ns(0)
    bids: dict[Px, Qty] = field(default_factory=dict)
    asks: dict[Px, Qty] = field(default_factory=dict)


class Streams:
    """Every socket of the venue and what it subscribed to."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._orders = frames.OrderFeed(desk.engine)
        self._sockets: set[Socket] = set()
        self._subscribers: dict[str, set[Socket]] = {}
        self._topics: dict[str, Topic] = {}
        self._touch: dict[str, tuple[Level, Level]] = {}
        self._held = {
            symbol: held.qty for symbol, held in desk.account.positions.items() if held.qty
        }
        self._windows: dict[str, _Window] = {}
        self._sent_bars: dict[str, tuple[int, int]] = {}
        self._sent_days: dict[str, tuple[int, int]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0
        self.update_ids = dict.fromkeys(desk.engine.markets, _FIRST_UPDATE_ID)
        desk.engine.subscribe(self._on_event)

    # --- connections -------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the timed publications."""
        self._timer = asyncio.get_running_loop().call_later(_TICK_MS / 1000, self._tick)

    async def stop(self) -> None:
        """Close every socket."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        async with asyncio.TaskGroup() as group:
            for socket in self._sockets:
                group.create_task(socket.close())

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Run one connection."""
        socket = Socket(self._desk.options, request.transport)
        self._sockets.add(socket)
        try:
            return await socket.serve(request, self._handle)
        finally:
            self._sockets.discard(socket)
            for name in list(socket.streams):
                self._leave(socket, name)

    def _handle(self, socket: Socket, raw: bytes) -> None:
        message: Any = None
        try:
            message = _message(raw)
            self._request(socket, message)
        except TopicError as error:
            known = isinstance(message, dict) and isinstance(message.get("id"), int | str)
            body = {"code": error.code, "message": error.message}
            socket.offer(_text({"id": message["id"] if known else None, "error": body}))

    def _request(self, socket: Socket, message: Mapping[str, Any]) -> None:
        method, params = message.get("method"), message.get("params")
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            raise TopicError(_BAD_JSON, "Invalid method")
        if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
            raise TopicError(_BAD_JSON, "Invalid params")
        if method == "UNSUBSCRIBE":
            for name in params:
                self._leave(socket, name)
            return
        topics = [parse_topic(name) for name in params]
        if any(topic.private for topic in topics):
            self._authenticate(message.get("signature"))
        for topic in topics:
            self._join(socket, topic)

    def _authenticate(self, signature: Any) -> None:
        if (
            not isinstance(signature, list)
            or len(signature) != _SIGNATURE_PARTS
            or not all(isinstance(part, str) for part in signature)
        ):
            raise TopicError(_BAD_SIGNATURE, "Missing signature")
        desk = self._desk
        try:
            key, signed, timestamp, window = signature
            stamp = Stamp(key, signed, timestamp, window)
            text = string_to_sign("subscribe", {}, stamp.timestamp, stamp.window)
            desk.keys.verify(stamp, text, desk.clock())
        except SignatureError as error:
            desk.account.signature_failures += 1
            raise TopicError(_BAD_SIGNATURE, error.message) from None
        except ApiError as error:
            raise TopicError(_BAD_SIGNATURE, error.message) from None

    def _join(self, socket: Socket, topic: Topic) -> None:
        # A market that does not exist, or is closed, is silent rather than refused (venues.md F).
        if topic.symbol and topic.symbol not in self._desk.engine.markets:
            return
        socket.streams.add(topic.name)
        self._topics[topic.name] = topic
        self._subscribers.setdefault(topic.name, set()).add(socket)
        if topic.kind is Kind.POSITIONS:
            self._push_positions(socket, topic)

    def _leave(self, socket: Socket, name: str) -> None:
        socket.streams.discard(name)
        members = self._subscribers.get(name)
        if members is None:
            return
        members.discard(socket)
        if not members:
            for memory in (self._subscribers, self._topics, self._windows):
                memory.pop(name, None)
            self._sent_bars.pop(name, None)
            self._sent_days.pop(name, None)

    def _push_positions(self, socket: Socket, topic: Topic) -> None:
        if self._desk.fault("F51") is not None:
            return
        now = self._desk.now()
        for held in self._desk.account.positions.values():
            if held.qty and topic.symbol in ("", held.symbol):
                data = frames.position(self._desk.engine, held, None, now, now)
                socket.offer(_text({"stream": topic.name, "data": data}))

    # --- fan-out -----------------------------------------------------------------------------

    def _publish(self, name: str, data: Json) -> None:
        members = self._subscribers.get(name)
        if not members:
            return
        if self._desk.fault("F49") is not None:
            self._mute()
        text = _text({"stream": name, "data": data})
        for socket in members:
            socket.offer(text)

    def _mute(self) -> None:
        # A half-open connection never recovers: only a new one hears anything.
        for socket in self._sockets:
            socket.muted = True

    def _on_event(self, event: EngineEvent) -> None:
        if isinstance(event, BookChanged):
            self._on_book(event)
        elif isinstance(event, PublicTrade):
            self._on_trade(event)
        elif isinstance(event, OrderChanged):
            self._on_order(event)
        elif isinstance(event, PositionChanged):
            self._on_position(event)

    def _on_book(self, event: BookChanged) -> None:
        symbol = event.symbol
        self.update_ids[symbol] += 1
        number = self.update_ids[symbol]
        inst = self._desk.engine.markets[symbol].instrument
        name = f"{Kind.DEPTH}.{symbol}"
        if name in self._subscribers and self._desk.fault("F50") is None:
            times = (self._desk.clock(), event.at)
            self._publish(name, frames.depth(inst, event.bids, event.asks, (number,) * 2, times))
        for label in DEPTH_WINDOWS_MS:
            self._collect(f"{Kind.DEPTH}.{label}.{symbol}", event, number)
        self._book_ticker(event, number)

    def _collect(self, name: str, event: BookChanged, number: int) -> None:
        if name not in self._subscribers:
            return
        window = self._windows.setdefault(name, _Window(first=number))
        window.last, window.at = number, event.at
        window.bids.update(event.bids)
        window.asks.update(event.asks)

    def _book_ticker(self, event: BookChanged, number: int) -> None:
        name = f"{Kind.BOOK_TICKER}.{event.symbol}"
        if name not in self._subscribers:
            return
        bids, asks = self._desk.engine.book(event.symbol, 1)
        if not bids or not asks or self._touch.get(event.symbol) == (bids[0], asks[0]):
            return
        self._touch[event.symbol] = (bids[0], asks[0])
        inst = self._desk.engine.markets[event.symbol].instrument
        times = (self._desk.clock(), event.at)
        self._publish(name, frames.book_ticker(inst, bids[0], asks[0], number, times))

    def _on_trade(self, event: PublicTrade) -> None:
        name = f"{Kind.TRADE}.{event.symbol}"
        if name in self._subscribers:
            inst = self._desk.engine.markets[event.symbol].instrument
            number = trade_number(event.trade_id)
            self._publish(name, frames.trade(inst, event, number, self._desk.clock()))

    def _private(self, kind: Kind, symbol: str, data: Json) -> None:
        self._publish(f"{kind}.{symbol}", data)
        self._publish(str(kind), data)

    def _on_order(self, event: OrderChanged) -> None:
        order = event.order
        if order.request.account != self._desk.account_id:
            return
        symbol = order.request.symbol
        for data in self._orders.frames(event, self._desk.clock()):
            for copy in self._spoiled(data, reply_status(order, self._desk.options)):
                self._private(Kind.ORDERS, symbol, copy)

    def _spoiled(self, data: Json, remainder: str | None) -> list[Json]:
        """Apply the injected faults of order messages; returns what is really sent."""
        if remainder is not None and data["e"] == "orderExpired":
            data["X"] = remainder
        if not any(name.startswith(Kind.ORDERS) for name in self._subscribers):
            return []
        if data["e"] != "orderFill":
            if self._desk.fault("F29") is not None:
                data["X"] = UNKNOWN_STATUS
            return [data]
        if self._desk.fault("F24") is not None:
            return []
        return [data, data] if self._desk.fault("F19") is not None else [data]

    def _on_position(self, event: PositionChanged) -> None:
        if event.account != self._desk.account_id:
            return
        held = event.position
        before = self._held.get(held.symbol, 0)
        self._held[held.symbol] = held.qty
        if before or held.qty:
            word = frames.position_event(before, held.qty)
            now = self._desk.clock()
            data = frames.position(self._desk.engine, held, word, now, event.at)
            self._private(Kind.POSITIONS, held.symbol, data)

    # --- timed publications ------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK_MS / 1000, self._tick)
        if not self._sockets:
            return
        if self._desk.down():
            for socket in self._sockets:
                socket.drop()
            return
        if self._desk.fault("F49") is not None:
            self._mute()
        self._ticks += 1
        now = self._desk.clock()
        for topic in list(self._topics.values()):
            self._timed(topic, now)

    def _timed(self, topic: Topic, now: Ns) -> None:
        if topic.kind is Kind.DEPTH:
            if topic.detail and self._ticks * _TICK_MS % DEPTH_WINDOWS_MS[topic.detail] == 0:
                self._flush(topic, now)
        elif topic.kind is Kind.OPEN_INTEREST:
            if self._ticks % _OPEN_INTEREST_TICKS == 0:
                size = open_interest(self._desk.engine, topic.symbol)
                self._publish(topic.name, frames.open_interest(topic.symbol, size, now))
        elif self._ticks % _SLOW_TICKS == 0:
            self._slow(topic, now)

    def _flush(self, topic: Topic, now: Ns) -> None:
        window = self._windows.pop(topic.name, None)
        if window is None or self._desk.fault("F50") is not None:
            return
        inst = self._desk.engine.markets[topic.symbol].instrument
        bids, asks = tuple(window.bids.items()), tuple(window.asks.items())
        ids, times = (window.first, window.last), (now, window.at)
        self._publish(topic.name, frames.depth(inst, bids, asks, ids, times))

    def _slow(self, topic: Topic, now: Ns) -> None:
        if topic.kind is Kind.MARK_PRICE:
            self._publish(topic.name, frames.mark_price(self._desk.engine, topic.symbol, now))
        elif topic.kind is Kind.TICKER:
            day = self._desk.prints.day(topic.symbol, now)
            if day is not None and self._sent_days.get(topic.name) != (day.start, day.count):
                self._sent_days[topic.name] = (day.start, day.count)
                self._publish(topic.name, frames.ticker(topic.symbol, day, now))
        elif topic.kind is Kind.KLINE:
            bar = self._desk.prints.bar(topic.symbol, topic.detail, now)
            if bar is not None and self._sent_bars.get(topic.name) != (bar.start, bar.count):
                self._sent_bars[topic.name] = (bar.start, bar.count)
                self._publish(topic.name, kline_frame(topic.symbol, bar, topic.detail, now))


def _message(raw: bytes) -> Json:
    try:
        message = decode(raw)
    except ApiError:
        raise TopicError(_BAD_JSON, "Invalid JSON") from None
    if not isinstance(message, dict):
        raise TopicError(_BAD_JSON, "Invalid JSON")
    return message


def _text(frame: Json) -> str:
    return orjson.dumps(frame).decode()

"""Backpack's streams: subscriptions, fan-out of events, timed publications (venues.md B5)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from exchanges.simulator import backpack_frames as frames
from exchanges.simulator.backpack_auth import SignatureError, Stamp, string_to_sign
from exchanges.simulator.backpack_desk import Desk
from exchanges.simulator.backpack_faults import Mischief
from exchanges.simulator.backpack_members import Member
from exchanges.simulator.backpack_payload import decode
from exchanges.simulator.backpack_positions import open_interest
from exchanges.simulator.backpack_prints import Bar, kline_frame, trade_number
from exchanges.simulator.backpack_private import PrivateFeed
from exchanges.simulator.backpack_socket import Key, Socket
from exchanges.simulator.backpack_topics import (
    DEPTH_WINDOWS_MS,
    Kind,
    Topic,
    TopicError,
    parse_topic,
)
from exchanges.simulator.backpack_triggers import TriggerBook
from exchanges.simulator.backpack_words import ApiError, Json
from exchanges.simulator.model import (
    BookChanged,
    EngineEvent,
    OrderChanged,
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
_FLOOD = 100


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

    def __init__(self, desk: Desk, triggers: TriggerBook, mischief: Mischief) -> None:
        self._desk = desk
        self._mischief = mischief
        mischief.drop_sockets = self._drop_all
        self._private = PrivateFeed(desk, triggers, self._to_owner, self._is_heard)
        self._sockets: dict[Socket, None] = {}
        self._subscribers: dict[Key, set[Socket]] = {}
        self._topics: dict[str, Topic] = {}
        """Public streams that have a subscriber, by name."""
        self._crossed: dict[str, Px] = {}
        """The bid through the ask that F66 shows, by market."""
        self._touch: dict[str, tuple[Level, Level]] = {}
        self._windows: dict[str, _Window] = {}
        self._sent_bars: dict[str, tuple[int, int]] = {}
        self._open_bars: dict[str, Bar] = {}
        """The bar last published of each k-line stream, until its end has been told."""
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
        self._sockets[socket] = None
        try:
            return await socket.serve(request, self._handle)
        finally:
            self._sockets.pop(socket, None)
            for key in list(socket.streams):
                self._leave(socket, key)

    def _handle(self, socket: Socket, raw: bytes) -> None:
        message: Any = None
        try:
            message = _message(raw)
            self._request(socket, message)
        except TopicError as error:
            body = {"code": error.code, "message": error.message}
            socket.offer(_text({"id": _request_id(message), "error": body}))
        else:
            if self._desk.options.subscribe_ack:
                socket.offer(_text({"id": _request_id(message), "result": None}))

    def _request(self, socket: Socket, message: Mapping[str, Any]) -> None:
        method, params = message.get("method"), message.get("params")
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            raise TopicError(_BAD_JSON, "Invalid method")
        if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
            raise TopicError(_BAD_JSON, "Invalid params")
        if method == "UNSUBSCRIBE":
            for key in [key for key in socket.streams if key[1] in params]:
                self._leave(socket, key)
            return
        topics = [parse_topic(name) for name in params]
        owner: Member | None = None
        if any(topic.private for topic in topics):
            owner = self._authenticate(message.get("signature"))
        if topics and self._desk.fault("F51") is not None:
            # A zombie: the venue took the subscription and never serves it.
            return
        for topic in topics:
            self._join(socket, topic, owner)

    def _authenticate(self, signature: Any) -> Member:
        if (
            not isinstance(signature, list)
            or len(signature) != _SIGNATURE_PARTS
            or not all(isinstance(part, str) for part in signature)
        ):
            raise TopicError(_BAD_SIGNATURE, "Missing signature")
        members = self._desk.members
        try:
            key, signed, timestamp, window = signature
            stamp = Stamp(key, signed, timestamp, window)
            text = string_to_sign("subscribe", {}, stamp.timestamp, stamp.window)
            self._desk.check_key()
            return members[members.keys.verify(stamp, text, self._desk.wall())]
        except SignatureError as error:
            members.named(signature[0]).account.signature_failures += 1
            raise TopicError(_BAD_SIGNATURE, error.message) from None
        except ApiError as error:
            raise TopicError(_BAD_SIGNATURE, error.message) from None

    def _join(self, socket: Socket, topic: Topic, owner: Member | None) -> None:
        # A market that does not exist, or is closed, is silent rather than refused (venues.md F).
        market = self._desk.engine.markets.get(topic.symbol)
        if topic.symbol and (market is None or market.state == "Closed"):
            return
        key = (owner.id if owner is not None and topic.private else "", topic.name)
        socket.streams.add(key)
        self._subscribers.setdefault(key, set()).add(socket)
        if not topic.private:
            self._topics[topic.name] = topic
        elif owner is not None and topic.kind is Kind.POSITIONS:
            for data in self._private.positions(owner, topic.symbol):
                socket.offer(_text({"stream": topic.name, "data": data}))

    def _leave(self, socket: Socket, key: Key) -> None:
        socket.streams.discard(key)
        members = self._subscribers.get(key)
        if members is None:
            return
        members.discard(socket)
        if not members:
            del self._subscribers[key]
            if not key[0]:
                self._topics.pop(key[1], None)
                self._windows.pop(key[1], None)
                self._sent_bars.pop(key[1], None)
                self._open_bars.pop(key[1], None)
                self._sent_days.pop(key[1], None)

    # --- fan-out -----------------------------------------------------------------------------

    def _publish(self, name: str, data: Json, account: str = "") -> None:
        key = (account, name)
        if not self._subscribers.get(key):
            return
        if self._desk.fault("F49") is not None:
            self._mute()
        if self._silenced(private=bool(account)):
            return
        text = _text({"stream": name, "data": data})
        self._offer(key, text)

    def _offer(self, key: Key, text: str) -> None:
        for socket in self._subscribers.get(key, ()):
            socket.offer(text)

    def _silenced(self, *, private: bool) -> bool:
        """Return whether F56 has this surface silent while the other goes on."""
        split = self._desk.fault("F56")
        if split is None:
            return False
        mode: str = split.get("mode", "public")
        return private == (mode == "private")

    def _mute(self) -> None:
        # A half-open connection never recovers: only a new one hears anything.
        for socket in self._sockets:
            socket.muted = True

    def _drop_all(self) -> None:
        for socket in self._sockets:
            socket.drop()

    def _to_owner(self, member: Member, kind: Kind, symbol: str, data: Json) -> None:
        self._publish(f"{kind}.{symbol}", data, member.id)
        self._publish(str(kind), data, member.id)

    def _is_heard(self, member: Member, kind: Kind) -> bool:
        return any(
            account == member.id and name.startswith(kind) for account, name in self._subscribers
        )

    def _on_event(self, event: EngineEvent) -> None:
        if isinstance(event, BookChanged):
            self._on_book(event)
        elif isinstance(event, PublicTrade):
            self._on_trade(event)
        else:
            self._private.on_event(event)
            if isinstance(event, OrderChanged) and event.fill is not None and event.fill.forced:
                inst = self._desk.engine.markets[event.fill.symbol].instrument
                data = frames.liquidation(inst, event.fill, self._desk.clock())
                self._publish(str(Kind.LIQUIDATION), data)

    def _on_book(self, event: BookChanged) -> None:
        symbol = event.symbol
        self.update_ids[symbol] += 1
        number = self.update_ids[symbol]
        inst = self._desk.engine.markets[symbol].instrument
        name = f"{Kind.DEPTH}.{symbol}"
        if ("", name) in self._subscribers and self._desk.fault("F50") is None:
            times = (self._desk.clock(), event.at)
            bids = event.bids + self._crossing(symbol)
            self._publish(name, frames.depth(inst, bids, event.asks, (number,) * 2, times))
        for label in DEPTH_WINDOWS_MS:
            self._collect(f"{Kind.DEPTH}.{label}.{symbol}", event, number)
        self._book_ticker(event, number)

    def _crossing(self, symbol: str) -> tuple[Level, ...]:
        """Return the crossing bid of F66 as it changed: shown, moved or taken back."""
        old, new = self._crossed.pop(symbol, None), self._desk.crossing(symbol)
        gone = () if old is None or (new is not None and new[0] == old) else ((old, Qty(0)),)
        if new is None:
            return gone
        self._desk.fault("F66")
        self._crossed[symbol] = new[0]
        return (*gone, new)

    def _collect(self, name: str, event: BookChanged, number: int) -> None:
        if ("", name) not in self._subscribers:
            return
        window = self._windows.setdefault(name, _Window(first=number))
        window.last, window.at = number, event.at
        window.bids.update(event.bids)
        window.asks.update(event.asks)

    def _book_ticker(self, event: BookChanged, number: int) -> None:
        name = f"{Kind.BOOK_TICKER}.{event.symbol}"
        if ("", name) not in self._subscribers:
            return
        bids, asks = self._desk.engine.book(event.symbol, 1)
        crossing = self._desk.crossing(event.symbol)
        if crossing is not None:
            bids = [crossing]
        if not bids or not asks or self._touch.get(event.symbol) == (bids[0], asks[0]):
            return
        self._touch[event.symbol] = (bids[0], asks[0])
        inst = self._desk.engine.markets[event.symbol].instrument
        times = (self._desk.clock(), event.at)
        self._publish(name, frames.book_ticker(inst, bids[0], asks[0], number, times))

    def _on_trade(self, event: PublicTrade) -> None:
        name = f"{Kind.TRADE}.{event.symbol}"
        if ("", name) in self._subscribers:
            inst = self._desk.engine.markets[event.symbol].instrument
            number = trade_number(event.trade_id)
            shown = self._desk.shown(event)
            self._publish(name, frames.trade(inst, shown, number, self._desk.clock()))

    # --- timed publications ------------------------------------------------------------------

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_TICK_MS / 1000, self._tick)
        if not self._sockets:
            return
        if self._desk.down():
            self._drop_all()
            return
        if self._desk.fault("F49") is not None:
            self._mute()
        self._mischief.act()
        self._private.flush()
        self._flood()
        self._ticks += 1
        now = self._desk.clock()
        for topic in list(self._topics.values()):
            self._timed(topic, now)

    def _flood(self) -> None:
        """Send many messages that change nothing on every realtime book stream (F57)."""
        spec = self._desk.peek("F57")
        if spec is None:
            return
        self._desk.fault("F57")
        now = self._desk.clock()
        for topic in list(self._topics.values()):
            if topic.kind is Kind.DEPTH and not topic.detail:
                for _ in range(int(spec.get("messages", _FLOOD))):
                    self._on_book(BookChanged(topic.symbol, (), (), now, 0))

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
            self._bar(topic, now)

    def _bar(self, topic: Topic, now: Ns) -> None:
        """Publish a bar that changed, and once more, with ``X``, when it is closed (B5)."""
        bar = self._desk.prints.bar(topic.symbol, topic.detail, now)
        last = self._open_bars.get(topic.name)
        if last is not None and (bar is None or bar.start != last.start):
            del self._open_bars[topic.name]
            self._publish(topic.name, kline_frame(topic.symbol, last, topic.detail, now))
        if bar is not None and self._sent_bars.get(topic.name) != (bar.start, bar.count):
            self._sent_bars[topic.name] = (bar.start, bar.count)
            self._open_bars[topic.name] = bar
            self._publish(topic.name, kline_frame(topic.symbol, bar, topic.detail, now))


def _message(raw: bytes) -> Json:
    try:
        message = decode(raw)
    except ApiError:
        raise TopicError(_BAD_JSON, "Parse error") from None
    if not isinstance(message, dict):
        raise TopicError(_BAD_JSON, "Parse error")
    return message


def _request_id(message: Any) -> int | str | None:
    """Return the ``id`` of a request, to be echoed (venues.md B5)."""
    found = message.get("id") if isinstance(message, dict) else None
    return found if isinstance(found, int | str) else None


def _text(frame: Json) -> str:
    return orjson.dumps(frame).decode()

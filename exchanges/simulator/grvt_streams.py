"""GRVT's streams: channels with sequence numbers, timed and event-driven (venues.md A6).

Numbers grow by exactly one per stream and selector; snapshots carry 0. Changes are conflated
between two publications of a channel.
"""

import asyncio
from dataclasses import dataclass, field

import orjson

from exchanges.simulator.grvt_account import AccountApi
from exchanges.simulator.grvt_codec import book_json, order_json, state_feed
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_lite import feed_to_lite
from exchanges.simulator.grvt_market import MarketApi
from exchanges.simulator.grvt_socket import Socket
from exchanges.simulator.grvt_tape import candle_json, trade_json
from exchanges.simulator.grvt_topics import SNAPS, Kind, Topic
from exchanges.simulator.grvt_words import UNKNOWN_STATUS, Json
from exchanges.simulator.model import (
    BookChanged,
    EngineEvent,
    OrderChanged,
    PositionChanged,
    PublicTrade,
    SimOrder,
)
from strategy.domain import Ns, Px, Qty

_TICK_MS = 50
_HEARTBEAT_TICKS = 20
"""An unchanged book says so once a second (venues.md F)."""
_WHOLE_BOOK = 10_000
_CANDLES = 5
"""Bars replayed on subscription."""
_ALWAYS_SENT = ("event_time", "instrument")


@dataclass(slots=True)
class Channel:
    """One stream and selector, for every socket that asked for it."""

    topic: Topic
    members: set[Socket] = field(default_factory=set)
    sequence: int = 0
    """Number of the last delta."""
    bids: dict[Px, Qty] = field(default_factory=dict)
    asks: dict[Px, Qty] = field(default_factory=dict)
    last: Json = field(default_factory=dict)
    idle: int = 0

    def push(self, feed: Json) -> None:
        """Send a delta to every member."""
        self.sequence += 1
        self._deliver(self.members, feed, self.sequence)

    def snapshot(self, members: set[Socket], feed: Json) -> None:
        """Send a full payload, which carries sequence 0."""
        self._deliver(members, feed, 0)

    def _deliver(self, members: set[Socket], feed: Json, number: int) -> None:
        if not members:
            return
        message = {
            "stream": self.topic.stream,
            "selector": self.topic.selector,
            "sequence_number": str(number),
            "feed": feed,
            "prev_sequence_number": str(max(number - 1, 0)),
        }
        texts: dict[bool, str] = {}
        for socket in list(members):
            if socket.lite not in texts:
                shown = feed_to_lite(message) if socket.lite else message
                texts[socket.lite] = orjson.dumps(shown).decode()
            socket.offer(texts[socket.lite])


@dataclass(frozen=True, slots=True)
class Joined:
    """What a subscription's reply says of one selector."""

    snapshots: int
    first: int
    latest: int


class Streams:
    """Every channel of the venue.

    Args:
        desk: shared state.
        market: renders books and tickers.
        account: renders positions.
    """

    def __init__(self, desk: Desk, market: MarketApi, account: AccountApi) -> None:
        self._desk = desk
        self._market = market
        self._account = account
        self._channels: dict[tuple[str, str], Channel] = {}
        self.sockets: set[Socket] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0
        desk.engine.subscribe(self._on_event)

    # --- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the timed publications."""
        self._timer = asyncio.get_running_loop().call_later(_TICK_MS / 1000, self._tick)

    async def stop(self) -> None:
        """Close every socket."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        async with asyncio.TaskGroup() as group:
            for socket in self.sockets:
                group.create_task(socket.close())

    def join(self, socket: Socket, topic: Topic) -> Joined:
        """Add a member; ``greet`` sends its snapshots, after the reply."""
        key = topic.stream, topic.selector
        channel = self._channels.setdefault(key, Channel(topic))
        if not channel.members:
            channel.bids.clear()
            channel.asks.clear()
            if topic.kind in (Kind.MINI_DELTA, Kind.TICKER_DELTA):
                channel.last = self._row(topic, self._desk.now())
        channel.members.add(socket)
        latest = channel.sequence
        first = 0 if topic.kind in SNAPS else latest + 1
        return Joined(len(self._snapshots(channel)), first, latest)

    def greet(self, socket: Socket, topic: Topic) -> None:
        """Send the snapshots of a subscription, unless F51 withholds them."""
        channel = self._channels[topic.stream, topic.selector]
        feeds = self._snapshots(channel)
        if feeds and self._desk.fault("F51") is not None:
            return
        for feed in feeds:
            channel.snapshot({socket}, feed)

    def leave(self, socket: Socket, topic: Topic) -> None:
        """Remove a member."""
        channel = self._channels.get((topic.stream, topic.selector))
        if channel is not None:
            channel.members.discard(socket)

    # --- snapshots ---------------------------------------------------------------------------

    def _snapshots(self, channel: Channel) -> list[Json]:
        topic, now = channel.topic, self._desk.now()
        if topic.kind in (Kind.PRIVATE, Kind.SILENT):
            return []
        tape = self._desk.tapes[topic.symbol]
        if topic.kind is Kind.TRADE:
            newest = [each for each, _ in zip(tape.newest(), range(topic.depth), strict=False)]
            return [trade_json(each) for each in reversed(newest)]
        if topic.kind is Kind.CANDLE:
            bars = tape.bars(topic.interval, Ns(0), now)[-_CANDLES:]
            return [candle_json(topic.symbol, bar, topic.interval) for bar in bars]
        return [self._row(topic, now)]

    def _row(self, topic: Topic, now: Ns) -> Json:
        """Render the full payload of a book or ticker stream."""
        if topic.kind in (Kind.BOOK_SNAP, Kind.BOOK_DELTA):
            return self._market.book_row(topic.symbol, topic.depth or _WHOLE_BOOK, now)
        if topic.kind in (Kind.MINI_SNAP, Kind.MINI_DELTA):
            return self._market.mini_row(topic.symbol, now)
        return self._market.ticker_row(topic.symbol, now)

    # --- timed publications ------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK_MS / 1000, self._tick)
        self._ticks += 1
        self._disturb()
        now = self._desk.clock()
        for channel in self._channels.values():
            period = channel.topic.rate_ms // _TICK_MS
            if period and channel.members and not self._ticks % period:
                self._publish(channel, now)

    def _disturb(self) -> None:
        """Cut or silence open sockets as active faults say."""
        if not self.sockets:
            return
        if self._desk.down():
            for socket in self.sockets:
                socket.drop()
        elif self._desk.fault("F49") is not None:
            for socket in self.sockets:
                socket.muted = True

    def _publish(self, channel: Channel, now: Ns) -> None:
        kind = channel.topic.kind
        if kind in SNAPS:
            channel.snapshot(channel.members, self._row(channel.topic, now))
        elif kind is Kind.BOOK_DELTA:
            self._publish_book(channel, now)
        elif kind is Kind.CANDLE:
            self._publish_candle(channel, now)
        else:
            self._publish_changes(channel, now)

    def _publish_book(self, channel: Channel, now: Ns) -> None:
        if not channel.bids and not channel.asks:
            channel.idle += channel.topic.rate_ms // _TICK_MS
            if channel.idle < _HEARTBEAT_TICKS:
                return
        elif self._desk.fault("F50") is not None:
            channel.sequence += 1  # this delta is lost, its number is not used again
            channel.bids.clear()
            channel.asks.clear()
            return
        channel.idle = 0
        symbol = channel.topic.symbol
        channel.push(book_json(symbol, channel.bids.items(), channel.asks.items(), now))
        channel.bids.clear()
        channel.asks.clear()

    def _publish_candle(self, channel: Channel, now: Ns) -> None:
        topic = channel.topic
        bars = self._desk.tapes[topic.symbol].bars(topic.interval, Ns(0), now)
        row = candle_json(topic.symbol, bars[-1], topic.interval) if bars else {}
        if row != channel.last:
            channel.last = row
            channel.push(row)

    def _publish_changes(self, channel: Channel, now: Ns) -> None:
        """Send the fields that changed; one that is gone is sent empty (venues.md A6.3)."""
        row = self._row(channel.topic, now)
        changed = {
            key: value
            for key, value in row.items()
            if key not in _ALWAYS_SENT and channel.last.get(key) != value
        }
        changed |= dict.fromkeys(channel.last.keys() - row.keys(), "")
        channel.last = row
        if changed:
            channel.push({key: row[key] for key in _ALWAYS_SENT} | changed)

    # --- what the engine tells ---------------------------------------------------------------

    def _on_event(self, event: EngineEvent) -> None:
        if isinstance(event, BookChanged):
            self._on_book(event)
        elif isinstance(event, PublicTrade):
            self._on_trade(event)
        elif isinstance(event, OrderChanged):
            if self._desk.owns(event.order):
                self._on_order(event)
        elif isinstance(event, PositionChanged) and event.account == self._desk.account_id:
            row = self._account.position_row(event.position, event.at)
            self.tell("v1.position", event.position.symbol, row)

    def _on_book(self, event: BookChanged) -> None:
        for channel in self._channels.values():
            topic = channel.topic
            if topic.kind is Kind.BOOK_DELTA and topic.symbol == event.symbol and channel.members:
                channel.bids.update(event.bids)
                channel.asks.update(event.asks)

    def _on_trade(self, event: PublicTrade) -> None:
        newest = next(self._desk.tapes[event.symbol].newest())
        for channel in self._channels.values():
            topic = channel.topic
            if topic.kind is Kind.TRADE and topic.symbol == event.symbol and channel.members:
                channel.push(trade_json(newest))

    def _on_order(self, event: OrderChanged) -> None:
        """Tell order, state and fill, in that order unless the options say otherwise."""
        if self._desk.options.fill_first:
            self._tell_fill(event)
        self._tell_order(event.order)
        if not self._desk.options.fill_first:
            self._tell_fill(event)

    def _tell_order(self, order: SimOrder) -> None:
        desk, symbol = self._desk, order.request.symbol
        status = UNKNOWN_STATUS if desk.fault("F29") is not None else None
        self.tell("v1.order", symbol, order_json(order, desk.sub_account, status))
        self.tell("v1.state", symbol, state_feed(order, status))

    def _tell_fill(self, event: OrderChanged) -> None:
        """Tell a fill: not at all under F24, twice under F19."""
        if event.fill is None or self._desk.fault("F24") is not None:
            return
        body = self._desk.newest_fill()
        times = 2 if self._desk.fault("F19") is not None else 1
        for _ in range(times):
            self.tell("v1.fill", event.fill.symbol, body)

    def tell(self, stream: str, symbol: str, feed: Json) -> None:
        """Publish on a private stream: to all instruments' channel and to the instrument's."""
        account = self._desk.sub_account
        for selector in (account, f"{account}-{symbol}"):
            channel = self._channels.get((stream, selector))
            if channel is not None:
                channel.push(feed)

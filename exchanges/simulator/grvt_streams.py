"""GRVT's streams: subscriptions, timed publications, and the life of open sockets (venues.md A6).

Changes are conflated between two publications of a channel.
"""

import asyncio
from collections.abc import Callable

from exchanges.simulator.grvt_account import AccountApi
from exchanges.simulator.grvt_channels import Channel, Cluster, Joined
from exchanges.simulator.grvt_codec import book_json
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_market import MarketApi
from exchanges.simulator.grvt_members import Member
from exchanges.simulator.grvt_private import PrivateFeed
from exchanges.simulator.grvt_socket import Socket
from exchanges.simulator.grvt_tape import candle_json, trade_json
from exchanges.simulator.grvt_topics import SNAPS, Kind, Topic
from exchanges.simulator.grvt_words import MS, Json
from exchanges.simulator.model import BookChanged, EngineEvent, PublicTrade
from strategy.domain import Ns, Qty

_TICK_MS = 50
_HEARTBEAT_TICKS = 20
"""An unchanged book says so once a second (venues.md F)."""
_WHOLE_BOOK = 10_000
_CANDLES = 5
"""Bars replayed on subscription."""
_ALWAYS_SENT = ("event_time", "instrument")
_FLOOD = 200
_PRIVATE = (Kind.PRIVATE, Kind.SILENT)


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
        self._channels: dict[tuple[str, str], Channel] = {}
        self._cluster = Cluster(desk.clock() // MS)
        self._private = PrivateFeed(desk, account, self._channels)
        self.sockets: dict[Socket, None] = {}
        self.disturb: Callable[[], None] = lambda: None
        """Called at every tick, for what active faults do by themselves."""
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

    def restart(self) -> None:
        """Begin all numbers anew, but not the global ones, as a restarted gateway does."""
        for channel in self._channels.values():
            channel.restart()

    def join(self, socket: Socket, topic: Topic, *, wide: bool = False) -> Joined:
        """Add a member; ``greet`` sends its snapshots, after the reply.

        Args:
            socket: of the client.
            topic: what it asked for.
            wide: number by the cluster's global numbers.
        """
        key = topic.stream, topic.selector
        channel = self._channels.setdefault(key, Channel(topic, self._cluster))
        if not channel.members:
            channel.bids.clear()
            channel.asks.clear()
            channel.crossed = None
            if topic.kind in (Kind.MINI_DELTA, Kind.TICKER_DELTA):
                channel.last = self._row(topic, self._desk.now())
        channel.members[socket] = wide
        snapshots = len(self._snapshots(channel))
        return channel.joined(snapshots, numbered=topic.kind not in SNAPS, wide=wide)

    def greet(self, socket: Socket, topic: Topic) -> None:
        """Send the snapshots of a subscription, unless F51 withholds them."""
        channel = self._channels[topic.stream, topic.selector]
        feeds = self._snapshots(channel)
        if feeds and self._desk.fault("F51") is not None:
            return
        for feed in feeds:
            channel.snapshot([socket], feed)

    def leave(self, socket: Socket, topic: Topic) -> None:
        """Remove a member."""
        channel = self._channels.get((topic.stream, topic.selector))
        if channel is not None:
            channel.members.pop(socket, None)

    def tell(self, member: Member, stream: str, symbol: str, feed: Json) -> None:
        """Publish on a private stream of an account."""
        self._private.tell(member, stream, symbol, feed)

    # --- snapshots ---------------------------------------------------------------------------

    def _snapshots(self, channel: Channel) -> list[Json]:
        topic, now = channel.topic, self._desk.now()
        if topic.kind is Kind.SILENT:
            return []
        if topic.kind is Kind.PRIVATE:
            return self._private.replay(topic, now)
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
        self.disturb()
        now = self._desk.clock()
        flood = self._desk.peek("F57")
        for channel in list(self._channels.values()):
            period = channel.topic.rate_ms // _TICK_MS
            if not period or not channel.members or self._still(channel.topic):
                continue
            if not self._ticks % period:
                self._publish(channel, now)
            if flood is not None and channel.topic.kind is Kind.BOOK_DELTA:
                empty = book_json(channel.topic.symbol, (), (), now)
                for _ in range(int(flood.get("messages", _FLOOD))):
                    channel.push(empty)

    def _still(self, topic: Topic) -> bool:
        """True while F56 keeps the public streams from moving."""
        stale = self._desk.peek("F56")
        return stale is not None and stale.get("mode") != "private" and topic.kind not in _PRIVATE

    def _publish(self, channel: Channel, now: Ns) -> None:
        kind = channel.topic.kind
        if kind in SNAPS and self._desk.options.numbered_snapshots:
            channel.push(self._row(channel.topic, now))
        elif kind in SNAPS:
            channel.snapshot(channel.members, self._row(channel.topic, now))
        elif kind is Kind.BOOK_DELTA:
            self._publish_book(channel, now)
        elif kind is Kind.CANDLE:
            self._publish_candle(channel, now)
        else:
            self._publish_changes(channel, now)

    def _publish_book(self, channel: Channel, now: Ns) -> None:
        self._cross(channel)
        if not channel.bids and not channel.asks:
            channel.idle += channel.topic.rate_ms // _TICK_MS
            if channel.idle < _HEARTBEAT_TICKS:
                return
        channel.idle = 0
        symbol = channel.topic.symbol
        row = book_json(symbol, channel.bids.items(), channel.asks.items(), now)
        wrong = self._desk.fault("F50") if row["bids"] or row["asks"] else None
        if wrong is None:
            channel.push(row)
        elif wrong.get("mode") == "duplicate":
            channel.repeat(row)
        elif wrong.get("mode") == "decrease":
            channel.restart()
            channel.push(row)
        else:
            channel.skip()  # this delta is lost, its number is not used again
        channel.bids.clear()
        channel.asks.clear()

    def _cross(self, channel: Channel) -> None:
        """Show a bid inside the asks while F66 is active, and take it back afterwards."""
        wanted = self._market.crossing_bid(channel.topic.symbol)
        px = None if wanted is None else wanted[0]
        if px == channel.crossed:
            return
        if channel.crossed is not None:
            channel.bids.setdefault(channel.crossed, Qty(0))
        if wanted is not None:
            channel.bids[wanted[0]] = wanted[1]
        channel.crossed = px

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
            fits = topic.kind is Kind.TRADE and topic.symbol == event.symbol
            if fits and channel.members and not self._still(topic):
                channel.push(trade_json(newest))

"""GRVT sockets: the book with sequence check, trades, our orders, fills and positions.

JSON-RPC on ``/ws/full`` (venues.md A6). Deltas carry a sequence that grows by exactly one; a gap
or a decrease drops the connection, and the reconnect starts from a new snapshot. Private streams
replay nothing: what happened meanwhile is read over REST by whoever owns the orders.
"""

import abc
import json
from collections.abc import Callable, Mapping
from typing import Any

from exchanges.errors import VenueMalformed
from exchanges.fields import Json, as_list, as_object, decode, integer, required, text, to_integer
from exchanges.grvt import codec
from exchanges.grvt.outcomes import RELOGIN, UNAUTHENTICATED
from exchanges.grvt.session import GrvtSession
from exchanges.ladder import Ladder
from exchanges.port import Sink, WallClock
from exchanges.transport.ws import Send
from strategy.domain import (
    NANO,
    Book,
    Fill,
    Ns,
    OrderView,
    Position,
    StreamState,
    Surface,
    Venue,
)

SILENCE = 10.0
"""Seconds: an empty delta is a heartbeat, so a book without any is dead (venues.md F)."""
ANSWER = 5.0
"""Seconds within which a subscription must be answered."""
BOOK_RATE = 50
"""ms between book messages; also the trades replayed on subscribing, the smallest allowed."""
BOOK, TRADES = "v1.book.d", "v1.trade"
READERS: Mapping[str, Callable[[Any], OrderView | Fill | Position]] = {
    "v1.order": codec.order,
    "v1.fill": codec.fill,
    "v1.position": codec.position,
}
"""The private streams and what reads them."""


class Sequence:
    """Continuity of one stream: snapshots carry 0, deltas grow by one (venues.md A6.2)."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._last: int | None = None

    def start(self, first: int) -> None:
        """Learn the number of the first delta, which may have come before this was known.

        Raises:
            VenueMalformed: the first delta that came is another one.
        """
        if self._first is not None and self._first != first:
            raise VenueMalformed(f"sequence starts at {first}, not at {self._first}")
        if self._last is None:
            self._last = first - 1

    def fresh(self, number: int, what: str) -> bool:
        """True for the next message, False for a repeated one; raises VenueMalformed on a gap."""
        if self._last is not None and number == self._last:
            return False  # a network retry (venues.md F)
        if self._last is not None and number != self._last + 1:
            raise VenueMalformed(f"{what}: sequence {number} after {self._last}")
        self._first = number if self._first is None else self._first
        self._last = number
        return True


class RpcFeed(abc.ABC):
    """What both sockets share: subscriptions, their answers, and the state of the surface."""

    surface: Surface

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._waiting: dict[int, str] = {}
        self._up = False

    def closed(self, why: str) -> None:
        """Report the surface down; the next connection starts from nothing."""
        self._up = False
        self._waiting = {}
        self._sink(StreamState(Venue.GRVT, self.surface, up=False, why=why))

    @abc.abstractmethod
    def refused(self, status: int) -> None:
        """Learn from a refused handshake, by its HTTP status."""

    async def text(self, frame: str, send: Send) -> None:
        """Take one frame: an answer, or a feed message; raises VenueMalformed to reconnect."""
        del send  # nothing needs an answer of ours
        message = as_object(decode(frame, "frame"), "frame")
        if "feed" in message:
            stream = text(message, "stream", "feed")
            number = integer(message, "sequence_number", stream)
            self._feed(stream, number, as_object(message["feed"], stream))
        elif "result" in message:
            self._answered(message)
        else:
            self._rejected(message)
            raise VenueMalformed(f"neither feed nor answer: {frame[:160]}")
        if not self._up and self._complete():
            self._up = True
            self._sink(StreamState(Venue.GRVT, self.surface, up=True))

    async def _subscribe(self, send: Send, streams: Mapping[str, str]) -> None:
        self._waiting = dict(enumerate(streams, 1))
        for number, (stream, selector) in enumerate(streams.items(), 1):
            params = {"stream": stream, "selectors": [selector]}
            frame = {"jsonrpc": "2.0", "method": "subscribe", "params": params, "id": number}
            await send(json.dumps(frame))

    def _answered(self, message: Json) -> None:
        stream = self._waiting.pop(integer(message, "id", "answer"), None)
        if stream is None:
            raise VenueMalformed("an answer to something that was not asked")
        answer = as_object(message["result"], f"{stream} answer")
        if not as_list(required(answer, "subs", stream), f"{stream} answer: 'subs'"):
            raise VenueMalformed(f"{stream}: nothing was subscribed")
        self._subscribed(stream, answer)

    def _rejected(self, message: Json) -> None:
        """Learn from an error frame: one that is about the session is like a refused handshake."""
        error = message.get("error")
        row = error if isinstance(error, dict) else message
        if str(row.get("code")) == RELOGIN:
            self.refused(UNAUTHENTICATED)

    @abc.abstractmethod
    def _subscribed(self, stream: str, answer: Json) -> None:
        """Learn from the answer to a subscription."""

    def _complete(self) -> bool:
        return not self._waiting

    @abc.abstractmethod
    def _feed(self, stream: str, number: int, feed: Json) -> None:
        """Take one message of a stream; ``number`` is 0 for snapshots and replays."""


class MarketFeed(RpcFeed):
    """The book and the trades of one instrument, at ``{url}/ws/full``."""

    surface = Surface.PUBLIC

    def __init__(self, url: str, symbol: str, clock: WallClock, sink: Sink) -> None:
        super().__init__(sink)
        self._url = f"{url}/ws/full"
        self._symbol = symbol
        self._clock = clock
        self._bids = Ladder(bids=True)
        self._asks = Ladder(bids=False)
        self._sequence = Sequence()
        self._snapshot = False
        self._book_at = Ns(0)

    @property
    def silence(self) -> float:
        """Book heartbeats come even without a change."""
        return SILENCE

    async def address(self) -> tuple[str, Mapping[str, str]]:
        """Market data needs no login."""
        return self._url, {}

    def refused(self, status: int) -> None:
        """Nothing to learn: market data needs no login."""

    async def opened(self, send: Send) -> None:
        """Subscribe to the book's changes and to trades."""
        self._sequence = Sequence()
        self._snapshot = False
        self._book_at = self._clock.mono()
        selector = f"{self._symbol}@{BOOK_RATE}"
        await self._subscribe(send, {BOOK: selector, TRADES: selector})

    async def text(self, frame: str, send: Send) -> None:
        """Take one frame; trades alone do not keep a socket alive whose book is silent."""
        await super().text(frame, send)
        if self._clock.mono() - self._book_at > SILENCE * NANO:
            raise VenueMalformed("the book is silent")

    def _complete(self) -> bool:
        return self._snapshot and not self._waiting

    def _subscribed(self, stream: str, answer: Json) -> None:
        if stream != BOOK:
            return
        what = f"{stream} answer: 'first_sequence_number'"
        first = as_list(required(answer, "first_sequence_number", stream), what)
        if len(first) != 1:
            raise VenueMalformed(f"{what} has {len(first)} numbers for one selector")
        self._sequence.start(to_integer(first[0], what))

    def _feed(self, stream: str, number: int, feed: Json) -> None:
        symbol = text(feed, "instrument", stream)
        if symbol != self._symbol:
            raise VenueMalformed(f"{stream} of {symbol}, asked for {self._symbol}")
        if stream == BOOK:
            self._on_book(number, codec.book_message(feed))
        elif stream != TRADES:
            raise VenueMalformed(f"a message of {stream}, which was not asked for")
        elif number:  # the replay on subscribing, numbered 0, is history (venues.md F)
            self._sink(codec.trade(feed))

    def _on_book(self, number: int, change: codec.BookMessage) -> None:
        self._book_at = self._clock.mono()
        if number == 0:
            self._bids.replace(change.bids)
            self._asks.replace(change.asks)
            self._snapshot = True
        elif not self._snapshot:
            raise VenueMalformed("a change of the book before its snapshot")
        elif not self._sequence.fresh(number, BOOK):
            return
        else:
            self._bids.merge(change.bids)
            self._asks.merge(change.asks)
        # Unchanged books are passed on too: a heartbeat proves that the book is still true.
        self._sink(Book(Venue.GRVT, self._bids.best, self._asks.best, change.at))


class AccountFeed(RpcFeed):
    """Our orders, fills and position of one instrument, at ``{url}/ws/full``."""

    surface = Surface.PRIVATE

    def __init__(
        self, url: str, account: str, symbol: str, session: GrvtSession, sink: Sink
    ) -> None:
        super().__init__(sink)
        self._url = f"{url}/ws/full"
        self._selector = f"{account}-{symbol}"
        self._symbol = symbol
        self._session = session
        self._sent: Mapping[str, str] = {}
        self._sequences: dict[str, Sequence] = {}

    @property
    def silence(self) -> float:
        """Nothing is sent while nothing happens: once subscribed, protocol pings decide."""
        return ANSWER if self._waiting else 0.0

    async def address(self) -> tuple[str, Mapping[str, str]]:
        """Log in first: the cookie is checked at the handshake (venues.md A2.2)."""
        await self._session.ensure()
        self._sent = self._session.headers()
        return self._url, self._sent

    def refused(self, status: int) -> None:
        """Renew the session before the next attempt when it was refused."""
        if status == UNAUTHENTICATED:
            self._session.expire(self._sent)

    async def opened(self, send: Send) -> None:
        """Subscribe to everything private."""
        self._sequences = {name: Sequence() for name in READERS}
        await self._subscribe(send, dict.fromkeys(self._sequences, self._selector))

    def _subscribed(self, stream: str, answer: Json) -> None:
        """Nothing to learn: where private numbers start is not documented (venues.md D3)."""

    def _feed(self, stream: str, number: int, feed: Json) -> None:
        sequence = self._sequences.get(stream)
        if sequence is None:
            raise VenueMalformed(f"a message of {stream}, which was not asked for")
        # Numbered 0 is a snapshot or replay (venues.md D3): folding it again changes nothing.
        if number and not sequence.fresh(number, stream):
            return
        event = READERS[stream](feed)
        if event.symbol != self._symbol:
            raise VenueMalformed(f"{stream} of {event.symbol}, asked for {self._symbol}")
        self._sink(event)

"""GRVT's streams and their selectors (venues.md A6.3). Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

from exchanges.simulator.grvt_market import DEPTHS, check_candle
from exchanges.simulator.grvt_payload import whole_text
from exchanges.simulator.grvt_words import MAX_U64, ApiError


class Kind(Enum):
    """How a stream is published."""

    MINI_SNAP = auto()
    MINI_DELTA = auto()
    TICKER_SNAP = auto()
    TICKER_DELTA = auto()
    BOOK_SNAP = auto()
    BOOK_DELTA = auto()
    TRADE = auto()
    CANDLE = auto()
    PRIVATE = auto()
    SILENT = auto()
    """Accepted, and nothing is ever published: deposits, transfers, withdrawals."""


RAW_MS = 50
"""What the raw rate of ``v1.mini.d`` amounts to here."""
CANDLE_MS = 1000
_STREAMS: dict[str, Kind] = {
    "v1.mini.s": Kind.MINI_SNAP,
    "v1.mini.d": Kind.MINI_DELTA,
    "v1.ticker.s": Kind.TICKER_SNAP,
    "v1.ticker.d": Kind.TICKER_DELTA,
    "v1.book.s": Kind.BOOK_SNAP,
    "v1.book.d": Kind.BOOK_DELTA,
    "v1.trade": Kind.TRADE,
    "v1.candle": Kind.CANDLE,
    "v1.order": Kind.PRIVATE,
    "v1.state": Kind.PRIVATE,
    "v1.fill": Kind.PRIVATE,
    "v1.position": Kind.PRIVATE,
    "v1.cancel": Kind.PRIVATE,
    "v1.deposit": Kind.SILENT,
    "v1.transfer": Kind.SILENT,
    "v1.withdrawal": Kind.SILENT,
}
_RATES: dict[Kind, tuple[int, ...]] = {
    Kind.MINI_SNAP: (200, 500, 1000, 5000),
    Kind.MINI_DELTA: (0, 50, 100, 200, 500, 1000, 5000),
    Kind.TICKER_SNAP: (500, 1000, 5000),
    Kind.TICKER_DELTA: (100, 200, 500, 1000, 5000),
    Kind.BOOK_SNAP: (500, 1000),
    Kind.BOOK_DELTA: (50, 100, 500, 1000),
}
_REPLAYS = (50, 200, 500, 1000)
_PAIRED = frozenset({Kind.BOOK_SNAP, Kind.CANDLE})
_MOST_PRIMARIES = 2
SNAPS = frozenset({Kind.MINI_SNAP, Kind.TICKER_SNAP, Kind.BOOK_SNAP})
"""Full payloads each time, always with sequence 0."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One subscription as asked for."""

    stream: str
    selector: str
    primary: str
    kind: Kind
    symbol: str = ""
    """Empty on a private stream means every instrument."""
    rate_ms: int = 0
    """0 when it is driven by events."""
    depth: int = 0
    """Levels of a book, or trades to replay."""
    interval: str = ""
    account: str = ""
    """Sub-account of a private stream."""


def stream_kind(stream: str) -> Kind:
    """Return how a stream is published; raises ApiError 3001 for an unknown one."""
    kind = _STREAMS.get(stream)
    if kind is None:
        raise ApiError(3001)
    return kind


def parse_topic(stream: str, selector: str, symbols: Collection[str], account: str) -> Topic:
    """Read one selector.

    Raises:
        ApiError: 1001, 1101 to 1103, 3000, 3001, 3011, 3013, 3020, 3030, 3031, 3040 or 3041.
    """
    kind = stream_kind(stream)
    if kind is Kind.SILENT:
        return Topic(stream, selector, selector, kind)
    if kind is Kind.PRIVATE:
        return _private(stream, selector, symbols, account)
    primary, at, secondary = selector.partition("@")
    if not at or "@" in secondary:
        raise ApiError(1101)
    if "-" in primary or not primary:
        raise ApiError(1102)
    if primary not in symbols:
        raise ApiError(3000)
    parts = secondary.split("-")
    if len(parts) != 1 + (kind in _PAIRED) or not all(parts):
        raise ApiError(1103)
    topic = Topic(stream, selector, primary, kind, symbol=primary)
    return _with_secondary(topic, parts)


def _with_secondary(topic: Topic, parts: list[str]) -> Topic:
    kind, base = topic.kind, (topic.stream, topic.selector, topic.primary, topic.kind, topic.symbol)
    if kind is Kind.CANDLE:
        check_candle(parts[0], parts[1])
        return Topic(*base, rate_ms=CANDLE_MS, interval=parts[0])
    number = whole_text(parts[0])
    if kind is Kind.TRADE:
        if number is None or not 0 < number <= _REPLAYS[-1]:
            raise ApiError(3011)
        if number not in _REPLAYS:
            raise ApiError(3013)
        return Topic(*base, depth=number)
    if number is None or number not in _RATES[kind]:
        raise ApiError(3030)
    depth = 0
    if kind is Kind.BOOK_SNAP:
        depth = whole_text(parts[1]) or 0
        if depth not in DEPTHS:
            raise ApiError(3031)
    return Topic(*base, rate_ms=number or RAW_MS, depth=depth)


def _private(stream: str, selector: str, symbols: Collection[str], account: str) -> Topic:
    if "@" in selector:
        raise ApiError(1103)
    named, dash, symbol = selector.partition("-")
    most = 1 if stream == "v1.cancel" else _MOST_PRIMARIES
    if selector.count("-") >= most:
        raise ApiError(1102)
    number = whole_text(named)
    if number is None or number > MAX_U64:
        raise ApiError(3020)
    if str(number) != account:
        raise ApiError(1001)
    if dash and symbol not in symbols:
        raise ApiError(3000)
    return Topic(stream, selector, selector, Kind.PRIVATE, symbol=symbol, account=account)

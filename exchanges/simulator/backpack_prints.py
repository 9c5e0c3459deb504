"""The public tape of one venue: recent trades, minute bars and what is summed from them.

Bounded in memory: the newest trades, and the minutes of the last week.
"""

from collections import deque
from dataclasses import dataclass

from exchanges.simulator.backpack_words import MINUTE_NS, MS, Json, iso_seconds, kline_time
from exchanges.simulator.model import PublicTrade
from strategy.domain import NANO, Ns, Px, Quote, notional, plain

MAX_TRADES = 1_000
MAX_MINUTES = 7 * 24 * 60
DAY_MINUTES = 24 * 60
_HOUR = 60
INTERVAL_MINUTES = {
    "1m": 1,
    "3m": 3,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": _HOUR,
    "2h": 2 * _HOUR,
    "4h": 4 * _HOUR,
    "6h": 6 * _HOUR,
    "8h": 8 * _HOUR,
    "12h": 12 * _HOUR,
    "1d": DAY_MINUTES,
    "3d": 3 * DAY_MINUTES,
    "1w": 7 * DAY_MINUTES,
    "1month": 30 * DAY_MINUTES,
}


def trade_number(trade_id: str) -> int:
    """Return the integer the venue prints for an engine trade id (venues.md B3.2 ``tradeId``).

    The engine's ids are an execution's number and a place in it, ``"74150425-2"``; their sum less
    one is unique and grows.
    """
    first, _, place = trade_id.partition("-")
    return int(first) + int(place or 1) - 1


@dataclass(slots=True)
class Bar:
    """Trades of one interval; sizes in 1e-9 base, ``turnover`` in 1e-9 quote."""

    start: Ns
    open: Px
    high: Px
    low: Px
    close: Px
    volume: int = 0
    turnover: int = 0
    count: int = 0

    def add(self, other: "Bar") -> None:
        """Extend with a later bar."""
        self.high = max(self.high, other.high)
        self.low = min(self.low, other.low)
        self.close = other.close
        self.volume += other.volume
        self.turnover += other.turnover
        self.count += other.count

    def copy(self, start: Ns) -> "Bar":
        """Return the same figures under another start."""
        return Bar(
            start,
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume,
            self.turnover,
            self.count,
        )


class Prints:
    """Trades of every market of the venue."""

    def __init__(self) -> None:
        self._trades: dict[str, deque[PublicTrade]] = {}
        self._minutes: dict[str, deque[Bar]] = {}

    def add(self, trade: PublicTrade) -> None:
        """Record one print."""
        self._trades.setdefault(trade.symbol, deque(maxlen=MAX_TRADES)).append(trade)
        minutes = self._minutes.setdefault(trade.symbol, deque(maxlen=MAX_MINUTES))
        start = Ns(trade.at // MINUTE_NS * MINUTE_NS)
        value: Quote = notional(trade.px, trade.qty)
        bar = Bar(start, trade.px, trade.px, trade.px, trade.px, trade.qty, value, 1)
        if minutes and minutes[-1].start >= start:
            minutes[-1].add(bar)
        else:
            minutes.append(bar)

    def newest(self, symbol: str, limit: int, offset: int = 0) -> list[PublicTrade]:
        """Return up to ``limit`` trades, newest first."""
        trades = list(self._trades.get(symbol, ()))
        trades.reverse()
        return trades[offset : offset + limit]

    def bars(self, symbol: str, interval: str, start: Ns, end: Ns) -> list[Bar]:
        """Return the non-empty bars that begin in ``[start, end]``, oldest first."""
        width = INTERVAL_MINUTES[interval] * MINUTE_NS
        out: list[Bar] = []
        for minute in self._minutes.get(symbol, ()):
            begins = Ns(minute.start // width * width)
            if not start - width < begins <= end:
                continue
            if out and out[-1].start == begins:
                out[-1].add(minute)
            else:
                out.append(minute.copy(begins))
        return out

    def bar(self, symbol: str, interval: str, now: Ns) -> Bar | None:
        """Return the bar that contains ``now``, or None when nothing has traded in it."""
        width = INTERVAL_MINUTES[interval] * MINUTE_NS
        begins = Ns(now // width * width)
        found = self.bars(symbol, interval, begins, now)
        return found[-1] if found and found[-1].start == begins else None

    def day(self, symbol: str, now: Ns, minutes: int = DAY_MINUTES) -> Bar | None:
        """Return the last 24 hours (or ``minutes``) as one bar, or None when nothing traded."""
        total: Bar | None = None
        for minute in self._minutes.get(symbol, ()):
            if minute.start <= now - minutes * MINUTE_NS:
                continue
            if total is None:
                total = minute.copy(minute.start)
            else:
                total.add(minute)
        return total


def ticker_json(symbol: str, day: Bar) -> Json:
    """Render ``GET /api/v1/ticker`` (venues.md B3.1)."""
    change = day.close - day.open
    return {
        "symbol": symbol,
        "firstPrice": plain(day.open),
        "lastPrice": plain(day.close),
        "priceChange": plain(change),
        "priceChangePercent": _ratio(change, day.open),
        "high": plain(day.high),
        "low": plain(day.low),
        "volume": plain(day.volume),
        "quoteVolume": plain(day.turnover),
        "trades": str(day.count),
    }


def _ratio(part: int, whole: int) -> str:
    magnitude = abs(part) * 1_000_000 // whole
    return plain((magnitude if part >= 0 else -magnitude) * 1_000)


def kline_json(bar: Bar, interval: str) -> Json:
    """Render one row of ``GET /api/v1/klines``."""
    end = Ns(bar.start + INTERVAL_MINUTES[interval] * MINUTE_NS)
    return {
        "start": kline_time(bar.start),
        "end": kline_time(end),
        "open": plain(bar.open),
        "high": plain(bar.high),
        "low": plain(bar.low),
        "close": plain(bar.close),
        "volume": plain(bar.volume),
        "quoteVolume": plain(bar.turnover),
        "trades": str(bar.count),
    }


def kline_frame(symbol: str, bar: Bar, interval: str, now: Ns) -> Json:
    """Render ``kline.<interval>.<symbol>``; ``X`` tells that the bar is closed."""
    end = Ns(bar.start + INTERVAL_MINUTES[interval] * MINUTE_NS)
    return {
        "e": "kline",
        "E": now // 1_000,
        "s": symbol,
        "t": iso_seconds(bar.start),
        "T": iso_seconds(end),
        "o": plain(bar.open),
        "c": plain(bar.close),
        "h": plain(bar.high),
        "l": plain(bar.low),
        "v": plain(bar.volume),
        "n": bar.count,
        "X": now >= end,
    }


def trade_json(trade: PublicTrade, number: int, buyer_is_maker: bool) -> Json:
    """Render one row of ``GET /api/v1/trades``."""
    return {
        "id": number,
        "price": plain(trade.px),
        "quantity": plain(trade.qty),
        "quoteQuantity": plain(trade.px * trade.qty // NANO),
        "timestamp": trade.at // MS,
        "isBuyerMaker": buyer_is_maker,
    }

"""GRVT's public tape: recent trades, minute bars, and what is summed from them (venues.md A4.1).

Bounded in memory: the newest trades, and the minutes of the last week.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from exchanges.simulator.grvt_words import Json, dec, ratio
from exchanges.simulator.model import PublicTrade
from strategy.domain import NANO, Ns, Px, Side, notional

MINUTE_NS = 60 * NANO
DAY_MINUTES = 24 * 60
MAX_TRADES = 5_000
MAX_MINUTES = 7 * DAY_MINUTES
INTERVALS: dict[str, int] = {
    "CI_1_M": 1,
    "CI_3_M": 3,
    "CI_5_M": 5,
    "CI_15_M": 15,
    "CI_30_M": 30,
    "CI_1_H": 60,
    "CI_2_H": 120,
    "CI_4_H": 240,
    "CI_6_H": 360,
    "CI_8_H": 480,
    "CI_12_H": 720,
    "CI_1_D": DAY_MINUTES,
    "CI_3_D": 3 * DAY_MINUTES,
    "CI_5_D": 5 * DAY_MINUTES,
    "CI_1_W": 7 * DAY_MINUTES,
    "CI_2_W": 14 * DAY_MINUTES,
    "CI_3_W": 21 * DAY_MINUTES,
    "CI_4_W": 28 * DAY_MINUTES,
}
"""Minutes per candlestick interval."""
CANDLE_TYPES = frozenset({"TRADE", "MARK", "INDEX", "MID"})
"""All four are drawn from trades here."""


@dataclass(slots=True)
class Bar:
    """Trades of one interval; sizes in 1e-9 base, turnovers in 1e-9 quote, by taker side."""

    start: Ns
    open: Px
    high: Px
    low: Px
    close: Px
    bought: int = 0
    sold: int = 0
    bought_quote: int = 0
    sold_quote: int = 0
    count: int = 0

    def add(self, other: "Bar") -> None:
        """Extend with a later bar."""
        self.high = max(self.high, other.high)
        self.low = min(self.low, other.low)
        self.close = other.close
        self.bought += other.bought
        self.sold += other.sold
        self.bought_quote += other.bought_quote
        self.sold_quote += other.sold_quote
        self.count += other.count


@dataclass(frozen=True, slots=True)
class Print:
    """One trade with its number on the tape and the mark price at its time."""

    number: int
    trade: PublicTrade
    mark: Px


class Tape:
    """Trades of one market."""

    def __init__(self) -> None:
        self._prints: deque[Print] = deque(maxlen=MAX_TRADES)
        self._minutes: deque[Bar] = deque(maxlen=MAX_MINUTES)
        self._count = 0

    def add(self, trade: PublicTrade, mark: Px) -> Print:
        """Record one trade."""
        self._count += 1
        entry = Print(self._count, trade, mark)
        self._prints.append(entry)
        start = Ns(trade.at // MINUTE_NS * MINUTE_NS)
        bar = Bar(start, trade.px, trade.px, trade.px, trade.px, count=1)
        value = notional(trade.px, trade.qty)
        if trade.taker is Side.BUY:
            bar.bought, bar.bought_quote = trade.qty, value
        else:
            bar.sold, bar.sold_quote = trade.qty, value
        if self._minutes and self._minutes[-1].start >= start:
            self._minutes[-1].add(bar)
        else:
            self._minutes.append(bar)
        return entry

    def newest(self) -> Iterator[Print]:
        """Yield trades, newest first."""
        return reversed(self._prints)

    def bars(self, interval: str, start: Ns, end: Ns) -> list[Bar]:
        """Return the non-empty bars that open in ``[start, end]``, oldest first."""
        width = INTERVALS[interval] * MINUTE_NS
        out: list[Bar] = []
        for minute in self._minutes:
            opens = Ns(minute.start // width * width)
            if not start <= opens <= end:
                continue
            if out and out[-1].start == opens:
                out[-1].add(minute)
            else:
                out.append(replace(minute, start=opens))
        return out

    def last_size(self) -> int:
        """Return the size of the last trade; 0 before the first."""
        return self._prints[-1].trade.qty if self._prints else 0

    def day(self, now: Ns) -> Bar | None:
        """Return the last 24 hours as one bar; None when nothing traded."""
        total: Bar | None = None
        for minute in self._minutes:
            if minute.start <= now - DAY_MINUTES * MINUTE_NS:
                continue
            if total is None:
                total = replace(minute)
            else:
                total.add(minute)
        return total


def trade_json(entry: Print) -> Json:
    """Render a public Trade."""
    trade = entry.trade
    return {
        "event_time": str(trade.at),
        "instrument": trade.symbol,
        "is_taker_buyer": trade.taker is Side.BUY,
        "size": dec(trade.qty),
        "price": dec(trade.px),
        "mark_price": dec(entry.mark),
        "index_price": dec(entry.mark),
        "interest_rate": "0.0",
        "forward_price": "0.0",
        "trade_id": trade.trade_id,
        "venue": "ORDERBOOK",
        "is_rpi": False,
    }


def candle_json(symbol: str, bar: Bar, interval: str) -> Json:
    """Render a Candlestick."""
    return {
        "open_time": str(bar.start),
        "close_time": str(bar.start + INTERVALS[interval] * MINUTE_NS),
        "open": dec(bar.open),
        "close": dec(bar.close),
        "high": dec(bar.high),
        "low": dec(bar.low),
        "volume_b": dec(bar.bought + bar.sold),
        "volume_q": dec(bar.bought_quote + bar.sold_quote),
        "trades": bar.count,
        "instrument": symbol,
    }


def day_json(day: Bar | None) -> Json:
    """Render the 24 hour figures of a Ticker; prices that do not exist are ``0.0``."""
    volumes = {
        "buy_volume_24h_b": dec(day.bought if day else 0),
        "sell_volume_24h_b": dec(day.sold if day else 0),
        "buy_volume_24h_q": dec(day.bought_quote if day else 0),
        "sell_volume_24h_q": dec(day.sold_quote if day else 0),
    }
    if day is None:
        return volumes | dict.fromkeys(("high_price", "low_price", "open_price"), "0.0")
    long_short = ratio(day.bought, day.sold) or NANO
    return volumes | {
        "high_price": dec(day.high),
        "low_price": dec(day.low),
        "open_price": dec(day.open),
        "long_short_ratio": dec(long_short),
    }

"""GRVT market data over REST, and the tickers that the streams share (venues.md A4.1)."""

from collections.abc import Iterator
from itertools import islice

from exchanges.simulator.grvt_codec import (
    HOUR_NS,
    book_json,
    currency_rows,
    instrument_json,
    margin_rules_json,
)
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_history import Row, page_json
from exchanges.simulator.grvt_payload import Fields, market_filter, page_of
from exchanges.simulator.grvt_tape import (
    CANDLE_TYPES,
    INTERVALS,
    MINUTE_NS,
    candle_json,
    day_json,
    trade_json,
)
from exchanges.simulator.grvt_words import ApiError, Json, dec
from exchanges.simulator.model import Market
from strategy.domain import Level, Ns

DEPTHS = (10, 50, 100, 500)
_MAX_FUNDING_ROWS = 3 * 90
"""How far the funding history reaches back, in intervals."""
_AGGREGATIONS = frozenset({"FUNDING_INTERVAL", "ONE_HOURLY", "FOUR_HOURLY", "EIGHT_HOURLY"})


class MarketApi:
    """Answers public queries."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # --- instruments -------------------------------------------------------------------------

    def instrument(self, request: Fields) -> Json:
        """Answer ``/instrument``."""
        market = self._named(request)
        return {"result": instrument_json(market, self._desk.engine.rules)}

    def instruments(self, request: Fields) -> Json:
        """Answer ``/instruments`` and ``/all_instruments``; a halted one is not active."""
        wanted, active = market_filter(request), request.flag("is_active")
        limit = request.whole("limit")
        if limit is not None and limit < 1:
            raise ApiError(3011)
        rows = []
        for symbol, market in self._desk.engine.markets.items():
            listed = market.instrument
            if active and not listed.tradable:
                continue
            if wanted.takes(symbol, listed.base, listed.quote):
                rows.append(instrument_json(market, self._desk.engine.rules))
        return {"result": rows[:limit]}

    def margin_rules(self, request: Fields) -> Json:
        """Answer ``/margin_rules``; the reply has no ``result`` around it."""
        return margin_rules_json(self._named(request), self._desk.engine.rules)

    def currency(self, request: Fields) -> Json:
        """Answer ``/currency``."""
        del request
        return {"result": currency_rows()}

    # --- prices ------------------------------------------------------------------------------

    def book(self, request: Fields) -> Json:
        """Answer ``/book``; depth 10, 50, 100 or 500, else 3031."""
        symbol = self._named(request).instrument.symbol
        depth = request.whole("depth")
        if depth not in DEPTHS:
            raise ApiError(3031)
        now = self._desk.now()
        return {"result": self.book_row(symbol, depth, now)}

    def book_row(self, symbol: str, depth: int, now: Ns) -> Json:
        """Render the book as it now is."""
        bids, asks = self._desk.engine.book(symbol, depth)
        return book_json(symbol, bids, asks, now)

    def mini(self, request: Fields) -> Json:
        """Answer ``/mini``."""
        symbol = self._named(request).instrument.symbol
        return {"result": self.mini_row(symbol, self._desk.now())}

    def ticker(self, request: Fields) -> Json:
        """Answer ``/ticker``."""
        symbol = self._named(request).instrument.symbol
        return {"result": self.ticker_row(symbol, self._desk.now())}

    def mini_row(self, symbol: str, now: Ns) -> Json:
        """Render a MiniTicker; prices that do not exist are left out."""
        desk = self._desk
        bids, asks = desk.engine.book(symbol, 1)
        mark, last = desk.engine.mark(symbol), desk.engine.last_price(symbol)
        row: Json = {"event_time": str(now), "instrument": symbol}
        if mark:
            row |= {"mark_price": dec(mark), "index_price": dec(mark)}
        if last is not None:
            row |= {
                "last_price": dec(last),
                "last_size": dec(desk.tapes[symbol].last_size()),
            }
        if bids and asks:
            row["mid_price"] = dec((bids[0][0] + asks[0][0]) // 2)
        return row | _touch("best_bid", bids) | _touch("best_ask", asks)

    def ticker_row(self, symbol: str, now: Ns) -> Json:
        """Render a Ticker; funding rates are percent per interval."""
        rules = self._desk.engine.rules
        rate = dec(rules.funding_rate * 100)
        return (
            self.mini_row(symbol, now)
            | {
                "funding_rate_8h_curr": rate,
                "funding_rate_8h_avg": rate,
                "interest_rate": "0.0",
                "forward_price": "0.0",
                "open_interest": dec(self._open_interest(symbol)),
                "long_short_ratio": "1.0",
                "funding_rate": rate,
                "funding_interval_hours": rules.funding_interval // HOUR_NS,
                "next_funding_time": str(self._next_funding(now)),
            }
            | day_json(self._desk.tapes[symbol].day(now))
        )

    # --- trades and bars ---------------------------------------------------------------------

    def trade(self, request: Fields) -> Json:
        """Answer ``/trade``: the newest, at most 1000."""
        symbol = self._named(request).instrument.symbol
        limit = page_of(request).limit
        self._desk.now()
        newest = islice(self._desk.tapes[symbol].newest(), limit)
        return {"result": [trade_json(each) for each in newest]}

    def trade_history(self, request: Fields) -> Json:
        """Answer ``/trade_history``, newest first."""
        symbol = self._named(request).instrument.symbol
        page = page_of(request)
        self._desk.now()
        rows = (
            Row(each.number, each.trade.at, symbol, trade_json(each))
            for each in self._desk.tapes[symbol].newest()
        )
        return page_json(rows, page, _any)

    def kline(self, request: Fields) -> Json:
        """Answer ``/kline``, newest first."""
        symbol = self._named(request).instrument.symbol
        interval = request.required("interval")
        check_candle(interval, request.required("type"))
        page = page_of(request)
        now = self._desk.now()
        bars = self._desk.tapes[symbol].bars(interval, page.start, min(page.end, now))
        rows = (
            Row(bar.start // MINUTE_NS, bar.start, symbol, candle_json(symbol, bar, interval))
            for bar in reversed(bars)
        )
        return page_json(rows, page, _any)

    def funding(self, request: Fields) -> Json:
        """Answer ``/funding``: one row per interval, newest first; the rate is constant here."""
        symbol = self._named(request).instrument.symbol
        if (request.text("agg_type") or "FUNDING_INTERVAL") not in _AGGREGATIONS:
            raise ApiError(1003)
        page = page_of(request)
        now = self._desk.now()
        return page_json(self._funding_rows(symbol, now), page, _any)

    def _funding_rows(self, symbol: str, now: Ns) -> Iterator[Row]:
        rules = self._desk.engine.rules
        rate = dec(rules.funding_rate * 100)
        newest = now // rules.funding_interval
        for number in range(newest, newest - _MAX_FUNDING_ROWS, -1):
            at = Ns(number * rules.funding_interval)
            body = {
                "instrument": symbol,
                "funding_rate": rate,
                "funding_time": str(at),
                "mark_price": dec(self._desk.engine.mark(symbol)),
                "funding_rate_8_h_avg": rate,
                "funding_interval_hours": rules.funding_interval // HOUR_NS,
            }
            yield Row(number, at, symbol, body)

    def _named(self, request: Fields) -> Market:
        return self._desk.market(request.required("instrument"))

    def _next_funding(self, now: Ns) -> int:
        interval = self._desk.engine.rules.funding_interval
        return (now // interval + 1) * interval

    def _open_interest(self, symbol: str) -> int:
        held = (
            account.positions[symbol].qty
            for account in self._desk.engine.accounts.values()
            if symbol in account.positions
        )
        return sum(abs(qty) for qty in held)


def check_candle(interval: str, kind: str) -> None:
    """Check a candlestick's interval (3040) and type (3041)."""
    if interval not in INTERVALS:
        raise ApiError(3040)
    if kind not in CANDLE_TYPES:
        raise ApiError(3041)


def _touch(name: str, levels: list[Level]) -> Json:
    if not levels:
        return {}
    px, size = levels[0]
    return {f"{name}_price": dec(px), f"{name}_size": dec(size)}


def _any(symbol: str) -> bool:
    del symbol
    return True

"""GRVT market data over REST, and the tickers that the streams share (venues.md A4.1)."""

from itertools import islice

from exchanges.simulator.grvt_codec import (
    HOUR_NS,
    book_json,
    currency_rows,
    instrument_json,
    margin_rules_json,
    spot_json,
)
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_funding import AGGREGATIONS, FundingBook
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
from strategy.domain import Level, Ns, Px

DEPTHS = (10, 50, 100, 500)


class MarketApi:
    """Answers public queries."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._funding = FundingBook(desk)

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
                rows.append(self._instrument_row(symbol))
        if self._desk.options.spot_listed and rows:
            rows.append(spot_json(rows[0]))
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
        bids, asks = self._levels(symbol, depth)
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
        """Render a MiniTicker; prices and sizes that do not exist are ``0.0``, as captured."""
        desk = self._desk
        bids, asks = self._levels(symbol, 1)
        mark, last = desk.engine.mark(symbol), desk.engine.last_price(symbol)
        row: Json = {
            "event_time": str(now),
            "instrument": symbol,
            "mark_price": dec(mark),
            "index_price": dec(desk.index(symbol)),
            "last_price": dec(last or 0),
            "last_size": dec(desk.tapes[symbol].last_size()),
            "mid_price": dec((bids[0][0] + asks[0][0]) // 2 if bids and asks else 0),
        }
        return row | _touch("best_bid", bids) | _touch("best_ask", asks)

    def ticker_row(self, symbol: str, now: Ns) -> Json:
        """Render a Ticker; funding rates are percent per interval."""
        rules = self._desk.engine.rules
        rate = self._funding.rate(symbol)
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
                "next_funding_time": str(self._funding.next_time()),
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
        """Answer ``/funding``: one row per interval, newest first."""
        symbol = self._named(request).instrument.symbol
        aggregation = request.text("agg_type") or "FUNDING_INTERVAL"
        if aggregation not in AGGREGATIONS:
            raise ApiError(1003)
        page = page_of(request)
        now = self._desk.now()
        return page_json(self._funding.rows(symbol, now, aggregation), page, _any)

    def _named(self, request: Fields) -> Market:
        return self._desk.market(request.required("instrument"))

    def _instrument_row(self, symbol: str) -> Json:
        return instrument_json(self._desk.market(symbol), self._desk.engine.rules)

    def _levels(self, symbol: str, depth: int) -> tuple[list[Level], list[Level]]:
        """Return the book as it is shown: crossed under F66."""
        bids, asks = self._desk.engine.book(symbol, depth)
        crossing = self.crossing_bid(symbol)
        return (bids if crossing is None else [crossing, *bids][:depth]), asks

    def crossing_bid(self, symbol: str) -> Level | None:
        """Return the bid that F66 shows inside the asks; None while it is not active."""
        if not self._desk.holds("F66"):
            return None
        bids, asks = self._desk.engine.book(symbol, 1)
        if not bids or not asks:
            return None
        tick = self._desk.engine.markets[symbol].instrument.tick
        return Px(asks[0][0] + tick), bids[0][1]

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
    px, size = levels[0] if levels else (0, 0)
    return {f"{name}_price": dec(px), f"{name}_size": dec(size)}


def _any(symbol: str) -> bool:
    del symbol
    return True

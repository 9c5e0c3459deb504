"""Backpack's public REST endpoints (venues.md B3.1)."""

from collections.abc import Mapping

from aiohttp import web

from exchanges.simulator.backpack_codec import mark_json, market_json, open_interest
from exchanges.simulator.backpack_desk import Desk
from exchanges.simulator.backpack_gate import page, reply, whole_number
from exchanges.simulator.backpack_prints import (
    INTERVAL_MINUTES,
    kline_json,
    ticker_json,
    trade_json,
    trade_number,
)
from exchanges.simulator.backpack_words import (
    MS,
    US,
    Json,
    PlainError,
    bad_parameter,
    iso_seconds,
)
from exchanges.simulator.model import Market
from strategy.domain import NANO, Level, Ns, Side, plain

DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
_DEFAULT_DEPTH = 1000


def _enumeration(name: str, kind: str) -> PlainError:
    return PlainError(
        f"failed to parse parameter `{name}`: failed to parse "
        f'"{kind}": Expect a valid enumeration value.'
    )


def _pairs(side: list[Level]) -> list[list[str]]:
    return [[plain(px), plain(qty)] for px, qty in side]


class PublicApi:
    """Market data over REST."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._update_ids: Mapping[str, int] = {}

    def follow(self, update_ids: Mapping[str, int]) -> None:
        """Take the newest update id of each market from the streams that number them."""
        self._update_ids = update_ids

    def routes(self) -> list[web.RouteDef]:
        """Return the endpoints."""
        return [
            web.get("/api/v1/markets", self.markets),
            web.get("/api/v1/market", self.one_market),
            web.get("/api/v1/markets/{symbol}", self.one_market),
            web.get("/api/v1/ticker", self.ticker),
            web.get("/api/v1/tickers", self.tickers),
            web.get("/api/v1/depth", self.depth),
            web.get("/api/v1/markPrices", self.mark_prices),
            web.get("/api/v1/fundingRates", self.funding_rates),
            web.get("/api/v1/openInterest", self.open_interest),
            web.get("/api/v1/trades", self.trades),
            web.get("/api/v1/trades/history", self.trades),
            web.get("/api/v1/klines", self.klines),
            web.get("/api/v1/status", self.status),
            web.get("/api/v1/ping", self.ping),
            web.get("/api/v1/time", self.time),
            web.get("/api/v1/assets", self.assets),
            web.get("/api/v1/collateral", self.nothing),
            web.get("/api/v1/securities", self.nothing),
            web.get("/api/v1/borrowLend/markets", self.nothing),
            web.get("/api/v1/borrowLend/markets/history", self.nothing),
        ]

    def _symbol(self, request: web.Request) -> str:
        symbol = request.match_info.get("symbol") or request.query.get("symbol")
        if symbol not in self._desk.engine.markets:
            raise bad_parameter("symbol", 'failed to parse "MarketSymbol": Invalid market symbol')
        return symbol

    def _symbols(self, request: web.Request) -> list[str]:
        if request.query.get("symbol") is not None:
            return [self._symbol(request)]
        return list(self._desk.engine.markets)

    def _listed(self, request: web.Request) -> list[Market]:
        # Only perpetuals are simulated; asking for another kind finds none.
        if request.query.get("marketType", "PERP") != "PERP":
            return []
        return list(self._desk.engine.markets.values())

    async def markets(self, request: web.Request) -> web.Response:
        """List the markets."""
        rules = self._desk.engine.rules
        return reply([market_json(market, rules) for market in self._listed(request)])

    async def one_market(self, request: web.Request) -> web.Response:
        """Describe one market."""
        engine = self._desk.engine
        return reply(market_json(engine.markets[self._symbol(request)], engine.rules))

    async def ticker(self, request: web.Request) -> web.Response:
        """Sum the last 24 hours; 204 without a body when nothing has traded."""
        symbol = self._symbol(request)
        day = self._desk.prints.day(symbol, self._desk.now())
        return web.Response(status=204) if day is None else reply(ticker_json(symbol, day))

    async def tickers(self, request: web.Request) -> web.Response:
        """Sum the last 24 hours of every market that has traded."""
        now = self._desk.now()
        days = {
            market.instrument.symbol: self._desk.prints.day(market.instrument.symbol, now)
            for market in self._listed(request)
        }
        return reply([ticker_json(symbol, day) for symbol, day in days.items() if day])

    async def depth(self, request: web.Request) -> web.Response:
        """Return the book: asks and bids both by ascending price (venues.md D13)."""
        symbol = self._symbol(request)
        limit = self._depth_limit(request)
        now = self._desk.now()
        bids, asks = self._desk.engine.book(symbol, limit)
        return reply(
            {
                "asks": _pairs(asks),
                "bids": _pairs(bids[::-1]),
                "lastUpdateId": str(self._update_ids.get(symbol, 0)),
                "timestamp": now // US,
            }
        )

    def _depth_limit(self, request: web.Request) -> int:
        word = request.query.get("limit")
        if word is None:
            return _DEFAULT_DEPTH
        if word not in {str(limit) for limit in DEPTH_LIMITS}:
            raise _enumeration("limit", "DepthLimit")
        return int(word)

    async def mark_prices(self, request: web.Request) -> web.Response:
        """Return marks and current funding: an array even for one symbol."""
        now = self._desk.now()
        if request.query.get("marketType", "PERP") != "PERP":
            return reply([])
        engine = self._desk.engine
        return reply([mark_json(engine, symbol, now) for symbol in self._symbols(request)])

    async def funding_rates(self, request: web.Request) -> web.Response:
        """Return past funding rates, newest first; the simulated rate is constant."""
        symbol = self._symbol(request)
        limit = whole_number(request.query, "limit", 100, 10_000)
        offset = whole_number(request.query, "offset", 0, 10**9)
        rules = self._desk.engine.rules
        last = self._desk.now() // rules.funding_interval
        ends = range(last - offset, max(last - offset - limit, 0), -1)
        return reply(
            [
                {
                    "symbol": symbol,
                    "intervalEndTimestamp": iso_seconds(Ns(end * rules.funding_interval)),
                    "fundingRate": plain(rules.funding_rate),
                }
                for end in ends
            ]
        )

    async def open_interest(self, request: web.Request) -> web.Response:
        """Return open interest of the simulated accounts."""
        now = self._desk.now()
        return reply(
            [
                {
                    "symbol": symbol,
                    "openInterest": open_interest(self._desk.engine, symbol),
                    "timestamp": now // MS,
                }
                for symbol in self._symbols(request)
            ]
        )

    async def trades(self, request: web.Request) -> web.Response:
        """Return public trades, newest first."""
        symbol = self._symbol(request)
        limit = whole_number(request.query, "limit", 100, 1000)
        offset = whole_number(request.query, "offset", 0, 10**9)
        self._desk.now()
        rows = self._desk.prints.newest(symbol, limit, offset)
        return reply(
            [trade_json(row, trade_number(row.trade_id), row.taker is Side.SELL) for row in rows]
        )

    async def klines(self, request: web.Request) -> web.Response:
        """Return bars that have trades, oldest first; times of the query are seconds."""
        symbol = self._symbol(request)
        interval = request.query.get("interval")
        if interval not in INTERVAL_MINUTES:
            raise _enumeration("interval", "KlineInterval")
        now = self._desk.now()
        if "startTime" not in request.query:
            raise bad_parameter("startTime", "is required")
        start = whole_number(request.query, "startTime", 0, 10**11)
        end = whole_number(request.query, "endTime", now // NANO, 10**11)
        bars = self._desk.prints.bars(symbol, interval, Ns(start * NANO), Ns(end * NANO))
        return reply([kline_json(bar, interval) for bar in bars])

    async def status(self, _request: web.Request) -> web.Response:
        """Say that the venue is up."""
        return reply({"status": "Ok", "message": None})

    async def ping(self, _request: web.Request) -> web.Response:
        """Answer ``pong`` as plain text."""
        return web.Response(text="pong")

    async def time(self, _request: web.Request) -> web.Response:
        """Return Unix ms as plain text."""
        return web.Response(text=str(self._desk.clock() // MS))

    async def assets(self, _request: web.Request) -> web.Response:
        """List the assets of the markets."""
        found = {self._desk.engine.rules.settle_asset: None}
        for market in self._desk.engine.markets.values():
            found |= {market.instrument.base: None, market.instrument.quote: None}
        rows: list[Json] = [
            {"symbol": name, "displayName": name, "coingeckoId": None, "tokens": []}
            for name in found
        ]
        return reply(rows)

    async def nothing(self, request: web.Request) -> web.Response:
        """Answer an endpoint of features that a perpetuals simulator does not have."""
        return reply(page([], request.query))

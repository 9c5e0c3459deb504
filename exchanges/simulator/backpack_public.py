"""Backpack's public REST endpoints (venues.md B3.1)."""

from collections import deque
from collections.abc import Mapping

from aiohttp import web

from exchanges.simulator.backpack_codec import mark_json
from exchanges.simulator.backpack_desk import Desk
from exchanges.simulator.backpack_gate import Handler, page, perpetual, reply, whole_number
from exchanges.simulator.backpack_positions import market_json, open_interest
from exchanges.simulator.backpack_prints import (
    DAY_MINUTES,
    INTERVAL_MINUTES,
    kline_json,
    ticker_json,
    trade_json,
    trade_number,
)
from exchanges.simulator.backpack_words import (
    MINUTE_NS,
    MS,
    US,
    Json,
    PlainError,
    bad_parameter,
    bad_request,
    iso_seconds,
    not_found,
    throttled,
)
from exchanges.simulator.model import Market
from strategy.domain import NANO, Level, Ns, Side, plain

DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
_TICKER_MINUTES = {"1d": DAY_MINUTES, "1w": 7 * DAY_MINUTES}
_DEFAULT_DEPTH = 1000
_MOST_ADDRESSES = 1_000
"""Addresses whose history requests are remembered."""


def _enumeration(name: str, kind: str) -> PlainError:
    return PlainError(
        f"failed to parse parameter `{name}`: failed to parse "
        f'"{kind}": Expect a valid enumeration value.'
    )


def _span(request: web.Request) -> int:
    """Return the minutes that ``interval`` asks a ticker for."""
    minutes = _TICKER_MINUTES.get(request.query.get("interval", "1d"))
    if minutes is None:
        raise _enumeration("interval", "TickerInterval")
    return minutes


def _pairs(side: list[Level]) -> list[list[str]]:
    return [[plain(px), plain(qty)] for px, qty in side]


class PublicApi:
    """Market data over REST."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._update_ids: Mapping[str, int] = {}
        self._asked: dict[str, deque[Ns]] = {}

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
            web.get("/api/v1/trades/history", self._rationed(self.trades)),
            web.get("/api/v1/klines", self._rationed(self.klines)),
            web.get("/api/v1/status", self.status),
            web.get("/api/v1/ping", self.ping),
            web.get("/api/v1/time", self.time),
            web.get("/api/v1/assets", self.assets),
            web.get("/api/v1/collateral", self.nothing),
            web.get("/api/v1/securities", self.nothing),
            web.get("/api/v1/borrowLend/markets", self.nothing),
            web.get("/api/v1/borrowLend/markets/history", self.nothing),
        ]

    def _rationed(self, handler: Handler) -> Handler:
        """Allow each address so many requests for history a minute (venues.md B3.4)."""

        async def check(request: web.Request) -> web.StreamResponse:
            now, most = self._desk.clock(), self._desk.options.history_per_minute
            address = request.remote or ""
            if address not in self._asked and len(self._asked) >= _MOST_ADDRESSES:
                self._asked.pop(next(iter(self._asked)))
            recent = self._asked.setdefault(address, deque())
            while recent and recent[0] <= now - MINUTE_NS:
                recent.popleft()
            if len(recent) >= most:
                raise throttled()
            recent.append(now)
            return await handler(request)

        return check

    def _symbol(self, request: web.Request, unknown: str = "Invalid market symbol") -> str:
        symbol = request.match_info.get("symbol") or request.query.get("symbol")
        if symbol not in self._desk.engine.markets:
            raise bad_request(unknown)
        return symbol

    def _symbols(self, request: web.Request, unknown: str) -> list[str]:
        if request.query.get("symbol") is not None:
            return [self._symbol(request, unknown)]
        return list(self._desk.engine.markets)

    def _listed(self, request: web.Request) -> list[Market]:
        # Only perpetuals are simulated; asking for another kind finds none.
        if not perpetual(request.query):
            return []
        return [self._desk.market(symbol) for symbol in self._desk.engine.markets]

    async def markets(self, request: web.Request) -> web.Response:
        """List the markets."""
        engine, options = self._desk.engine, self._desk.options
        return reply([market_json(engine, market, options) for market in self._listed(request)])

    async def one_market(self, request: web.Request) -> web.Response:
        """Describe one market."""
        engine = self._desk.engine
        market = self._desk.market(self._symbol(request))
        return reply(market_json(engine, market, self._desk.options))

    async def ticker(self, request: web.Request) -> web.Response:
        """Sum the last day, or week by ``interval``; 204 without a body when nothing has traded."""
        symbol = self._symbol(request)
        day = self._desk.prints.day(symbol, self._desk.now(), _span(request))
        return web.Response(status=204) if day is None else reply(ticker_json(symbol, day))

    async def tickers(self, request: web.Request) -> web.Response:
        """Sum the last day or week of every market that has traded."""
        now, minutes = self._desk.now(), _span(request)
        days = {
            market.instrument.symbol: self._desk.prints.day(market.instrument.symbol, now, minutes)
            for market in self._listed(request)
        }
        return reply([ticker_json(symbol, day) for symbol, day in days.items() if day])

    async def depth(self, request: web.Request) -> web.Response:
        """Return the book: asks and bids both by ascending price, unless switched (D13).

        A closed market answers 404 (captured).
        """
        symbol = self._symbol(request)
        if self._desk.engine.markets[symbol].state == "Closed":
            raise not_found()
        limit = self._depth_limit(request)
        now = self._desk.now()
        bids, asks = self._desk.engine.book(symbol, limit)
        crossing = self._desk.crossing(symbol)
        if crossing is not None:
            bids = [crossing, *bids]
        return reply(
            {
                "asks": _pairs(asks),
                "bids": _pairs(bids if self._desk.options.bids_descending else bids[::-1]),
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
        self._desk.now()
        if not perpetual(request.query):
            return reply([])
        engine = self._desk.engine
        symbols = self._symbols(request, "Symbol not found")
        return reply([mark_json(engine, symbol) for symbol in symbols])

    async def funding_rates(self, request: web.Request) -> web.Response:
        """Return past funding rates, newest first."""
        symbol = self._symbol(request)
        limit = whole_number(request.query, "limit", 100, 10_000)
        offset = whole_number(request.query, "offset", 0, 10**9)
        self._desk.now()
        points = list(self._desk.engine.funding_history(symbol))[::-1]
        return reply(
            [
                {
                    "symbol": symbol,
                    "intervalEndTimestamp": iso_seconds(point.at),
                    "fundingRate": plain(point.rate),
                }
                for point in points[offset : offset + limit]
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
                for symbol in self._symbols(request, "Invalid market symbol")
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
        """Say whether the venue is up."""
        if self._desk.maintenance():
            return reply({"status": "Maintenance", "message": "Scheduled maintenance"})
        return reply({"status": "Ok", "message": None})

    async def ping(self, _request: web.Request) -> web.Response:
        """Answer ``pong`` as plain text."""
        return web.Response(text="pong")

    async def time(self, _request: web.Request) -> web.Response:
        """Return Unix ms as plain text."""
        return web.Response(text=str(self._desk.wall() // MS))

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

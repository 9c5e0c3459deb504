"""GRVT's public data without an account: the instrument list, book and trades (venues.md A1, A4.1).

No login, no cookie, no key: there is nothing here that could authenticate a request.
"""

from collections.abc import Callable

import orjson

from exchanges.errors import VenueUnreachable
from exchanges.grvt import codec, outcomes
from exchanges.grvt.streams import MarketFeed
from exchanges.port import Sink, WallClock
from exchanges.transport.rest import NoAnswer, NotSent, RestClient
from exchanges.transport.ws import run_socket
from strategy.domain import Instrument, Venue

MARKET_DATA = {
    "prod": "https://market-data.grvt.io",
    "testnet": "https://market-data.testnet.grvt.io",
}
"""Market-data hosts by environment (venues.md A1); the socket is on the same host."""
READ_TIMEOUT = 5.0
_JSON = {"Content-Type": "application/json"}
_METHOD = "all_instruments"


class GrvtPublic:
    """One perpetual's market data.

    Args:
        clock: time of the socket.
        jitter: numbers in [0, 1) for reconnect waits.
        environment: ``prod`` or ``testnet``.
        url: REST address in place of the venue's own.
        ws_url: socket address (scheme, host, port) in place of the venue's own.

    Raises:
        ValueError: the environment is neither ``prod`` nor ``testnet``.
    """

    def __init__(
        self,
        clock: WallClock,
        jitter: Callable[[], float],
        *,
        environment: str = "prod",
        url: str | None = None,
        ws_url: str | None = None,
    ) -> None:
        if environment not in MARKET_DATA:
            raise ValueError(f"GRVT environment {environment!r}: use prod or testnet")
        own = MARKET_DATA[environment]
        self._url = (url or own).rstrip("/")
        self._ws_url = (ws_url or own.replace("https://", "wss://")).rstrip("/")
        self._clock = clock
        self._jitter = jitter
        self._rest = RestClient()
        self._symbol = ""

    @property
    def venue(self) -> Venue:
        """GRVT."""
        return Venue.GRVT

    async def open(self) -> None:
        """Make the HTTP session; sends nothing."""
        await self._rest.open()

    async def close(self) -> None:
        """Release the session; safe to call twice."""
        await self._rest.close()

    async def load(self, base: str) -> Instrument:
        """Find the perpetual in the venue's own list.

        Raises:
            VenueError: UnknownTicker when it is not listed, VenueUnreachable without an answer.
        """
        try:
            reply = await self._rest.request(
                "POST",
                f"{self._url}/full/v1/{_METHOD}",
                headers=_JSON,
                body=orjson.dumps({"is_active": True}),
                timeout=READ_TIMEOUT,
            )
        except (NotSent, NoAnswer) as silent:
            raise VenueUnreachable(f"GRVT {_METHOD}: {silent}") from silent
        rows = outcomes.result_of(outcomes.envelope(reply, _METHOD), _METHOD)
        instrument = codec.find_instrument(rows, base).instrument
        self._symbol = instrument.symbol
        return instrument

    async def stream(self, sink: Sink) -> None:
        """Tell ``sink`` books, trades and the stream's state until cancelled.

        Raises:
            ValueError: no instrument is loaded.
        """
        if not self._symbol:
            raise ValueError("no instrument is loaded: call load first")
        feed = MarketFeed(self._ws_url, self._symbol, self._clock, sink)
        await run_socket(feed, self._clock, self._jitter)

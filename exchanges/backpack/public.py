"""Backpack's public data without an account: the market list, book and trades (venues.md B3.1, B5).

No key, no signature: there is nothing here that could authenticate a request.
"""

from collections.abc import Callable

from exchanges.backpack import codec
from exchanges.backpack.sdk import BackpackHttp
from exchanges.backpack.signer import API_URL, WS_URL
from exchanges.backpack.streams import PublicSession, Streams, dial
from exchanges.port import Sink, WallClock
from exchanges.transport.rest import RestClient
from strategy.domain import Instrument, Venue


class BackpackPublicData:
    """One perpetual's market data.

    Args:
        clock: time of the socket.
        jitter: numbers in [0, 1) for reconnect waits.
        url: REST address in place of the venue's own.
        ws_url: socket address in place of the venue's own.
    """

    def __init__(
        self,
        clock: WallClock,
        jitter: Callable[[], float],
        *,
        url: str | None = None,
        ws_url: str | None = None,
    ) -> None:
        self._url = (url or API_URL).rstrip("/")
        self._ws_url = (ws_url or WS_URL).rstrip("/")
        self._clock = clock
        self._jitter = jitter
        self._http = BackpackHttp(RestClient())
        self._symbol = ""

    @property
    def venue(self) -> Venue:
        """Backpack."""
        return Venue.BACKPACK

    async def open(self) -> None:
        """Make the HTTP session; sends nothing."""
        await self._http.rest.open()

    async def close(self) -> None:
        """Release the session; safe to call twice."""
        await self._http.rest.close()

    async def load(self, base: str) -> Instrument:
        """Find the USDC perpetual in the venue's market list.

        Raises:
            VenueError: UnknownTicker when it is not listed, VenueUnreachable without an answer.
        """
        rows = await self._http.get(f"{self._url}/api/v1/markets")
        instrument = codec.find_market(rows, base).instrument
        self._symbol = instrument.symbol
        return instrument

    async def stream(self, sink: Sink) -> None:
        """Tell ``sink`` books, trades and the stream's state until cancelled.

        Raises:
            ValueError: no instrument is loaded.
        """
        if not self._symbol:
            raise ValueError("no instrument is loaded: call load first")

        def session() -> PublicSession:
            return PublicSession(self._symbol, self._clock, self._snapshot, sink)

        await Streams(lambda: dial(self._ws_url), self._clock, self._jitter).run(session)

    async def _snapshot(self, limit: int) -> codec.Snapshot:
        address = f"{self._url}/api/v1/depth?symbol={self._symbol}&limit={limit}"
        return codec.depth(await self._http.get(address))

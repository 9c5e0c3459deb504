"""The way in: logs in to both venues, learns their rules, and checks sizes and clocks."""

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from daemon.clock import SystemClock
from daemon.config import ConfigError, RunConfig
from daemon.dark import DarkPort, remembered
from daemon.journal import Journal
from daemon.loop import EXIT_HUMAN
from daemon.narrator import LogSink
from daemon.settings import check_sizes
from exchanges.errors import (
    UnknownTicker,
    VenueError,
    VenueForbidden,
    VenueMalformed,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
)
from exchanges.port import VenuePort
from strategy.domain import Fees, Instrument, Ns, Venue, plain
from strategy.params import SECOND

EXIT_USAGE = 2
EXIT_UNREACHABLE = 75
OPEN_TRIES = 3
MAX_SKEW = Ns(SECOND)
"""Largest clock offset to a venue at which signatures are still safe."""


class Failed(Exception):  # noqa: N818 - carries the exit code and its one line
    """The run cannot start; one clear line."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = code


async def clock_offset(port: VenuePort, clock: SystemClock) -> Ns:
    """Return the venue's clock minus ours, ns, to half a round trip; raises VenueError."""
    before = clock.wall()
    stated = await port.server_time()
    return Ns(stated - (before + clock.wall()) // 2)


class Connector:
    """Connects one run."""

    def __init__(
        self, config: RunConfig, logs: LogSink, clock: SystemClock, *, flatten_only: bool
    ) -> None:
        self._config = config
        self._logs = logs
        self._clock = clock
        self._flatten_only = flatten_only

    async def connect(
        self, ports: dict[Venue, VenuePort], journal: Journal
    ) -> tuple[dict[Venue, Instrument], dict[Venue, Fees]]:
        """Log in, look the instruments up, and check sizes and clocks: nothing is sent before.

        A flatten does not wait for a venue that is dark: its port is replaced by one that does.

        Raises:
            Failed: with the exit code and the line to end with.
        """
        instruments: dict[Venue, Instrument] = {}
        fees: dict[Venue, Fees] = {}
        for venue, port in list(ports.items()):
            try:
                await self._open(port)
                instruments[venue] = await port.load(self._config.ticker)
                fees[venue] = await port.fees()
                await self._check_clock(port)
            except UnknownTicker as bad:
                raise Failed(EXIT_USAGE, f"--ticker {self._config.ticker}: {bad}") from bad
            except VenueForbidden as bad:
                raise Failed(EXIT_HUMAN, f"{venue}: {bad}; check its credentials") from bad
            except VenueError as bad:
                known = remembered(journal, venue) if self._flatten_only else None
                if known is None or any(isinstance(p, DarkPort) for p in ports.values()):
                    raise Failed(EXIT_UNREACHABLE, f"{venue}: {bad}; try again later") from bad
                dark: dict[str, str | int] = {"venue": venue.value, "why": str(bad)}
                self._logs.emit("error", "ALERT", "venue_dark", dark)
                instruments[venue], fees[venue] = known
                ports[venue] = DarkPort(port, self._config.ticker, self._clock)
            rules = instruments[venue]
            self._logs.emit(
                "info",
                "INIT",
                "instrument",
                {
                    "venue": venue.value,
                    "symbol": rules.symbol,
                    "tick": plain(rules.tick),
                    "step": plain(rules.step),
                    "min_qty": plain(rules.min_qty),
                    "min_notional": plain(rules.min_notional),
                },
            )
        try:
            check_sizes(self._config, instruments)
        except ConfigError as bad:
            raise Failed(bad.exit_code, str(bad)) from bad
        return instruments, fees

    async def _open(self, port: VenuePort) -> None:
        """Log in, with a few patient tries: reads and logins only are ever retried."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((VenueUnreachable, VenueThrottled)),
            stop=stop_after_attempt(OPEN_TRIES),
            wait=wait_exponential(multiplier=0.5, max=4),
            sleep=self._clock.sleep,
            reraise=True,
        ):
            with attempt:
                await port.open()

    async def _check_clock(self, port: VenuePort) -> None:
        """Refuse to sign with a clock that is off; a venue that will not tell its time is said."""
        try:
            offset = await clock_offset(port, self._clock)
        except (VenueMalformed, VenueRefused) as bad:
            fields: dict[str, str | int] = {"venue": port.venue.value, "why": str(bad)}
            self._logs.emit("warning", "ALERT", "clock_unknown", fields)
            return
        if abs(offset) > MAX_SKEW:
            ms = offset // 1_000_000
            # NTP mends a step by itself, and a leg may be naked meanwhile: try again, not a human
            raise Failed(
                EXIT_UNREACHABLE,
                f"{port.venue}: our clock is {-ms} ms off the venue's; fix NTP, this tries again",
            )

"""Public data of both live venues, for the recorder and for shadow mode: no key, nothing signed."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from daemon.config import EXIT_USAGE, ConfigError, RunConfig
from exchanges.backpack.public import BackpackPublicData
from exchanges.errors import UnknownTicker, VenueError
from exchanges.grvt.public import GrvtPublic
from exchanges.port import Sink, WallClock
from exchanges.simulator.live_feed import LiveFeed
from strategy.domain import NANO, Instrument, Ns, Venue

EXIT_UNREACHABLE = 75
FIRST_BOOKS_SECONDS = 15.0
"""How long both venues may take to show a book before the start is given up."""
POLL_SECONDS = 0.05
QUIET_MARGIN = Ns(NANO)
"""A quiet Backpack book is confirmed over REST only when it is as old as the daemon allows."""


class PublicVenue(Protocol):
    """One venue's market data; it can send no order."""

    async def open(self) -> None:
        """Make the HTTP session."""
        ...

    async def close(self) -> None:
        """Release every socket; safe to call twice."""
        ...

    async def load(self, base: str) -> Instrument:
        """Look the perpetual up; raises UnknownTicker or another VenueError."""
        ...

    async def stream(self, sink: Sink) -> None:
        """Tell books, trades and the stream's state until cancelled, reconnecting."""
        ...


def public_venues(
    config: RunConfig, clock: WallClock, jitter: Callable[[], float]
) -> Mapping[Venue, PublicVenue]:
    """Return both venues at their own public addresses, or at those given."""
    urls = config.endpoints
    return {
        Venue.BACKPACK: BackpackPublicData(
            clock, jitter, url=urls.backpack_api, ws_url=urls.backpack_ws
        ),
        Venue.GRVT: GrvtPublic(
            clock,
            jitter,
            environment=config.credentials.grvt_environment,
            url=urls.grvt_market_data,
            ws_url=urls.grvt_ws_market_data,
        ),
    }


async def load_public(venues: Mapping[Venue, PublicVenue], ticker: str) -> dict[Venue, Instrument]:
    """Open both and look the perpetual up on each.

    Raises:
        ConfigError: one line; exit 2 for a ticker that is not listed, 75 for a venue that does
            not answer or not sensibly.
    """
    found = {}
    for name, venue in venues.items():
        await venue.open()
        try:
            found[name] = await venue.load(ticker)
        except UnknownTicker as bad:
            raise ConfigError(EXIT_USAGE, f"--ticker {ticker}: {bad}") from bad
        except VenueError as bad:
            raise ConfigError(EXIT_UNREACHABLE, f"{bad}; try again later") from bad
    return found


async def start_live_feed(
    config: RunConfig,
    clock: WallClock,
    jitter: Callable[[], float],
    tell: Callable[[Venue, str, str], None],
    tasks: asyncio.TaskGroup,
    background: list[asyncio.Task[Any]],
) -> LiveFeed:
    """Open both venues' public data and return the feed once both books are known.

    Args:
        config: ticker, addresses, and how old a book may be.
        clock: time of sockets and ages.
        jitter: numbers in [0, 1) for reconnect waits.
        tell: told of gaps and of their ends: venue, event and why.
        tasks: runs the streams.
        background: takes the tasks; whoever holds it cancels them.

    Raises:
        ConfigError: as ``load_public``; exit 75 too when a book does not come.
    """
    venues = public_venues(config, clock, jitter)
    try:
        instruments = await load_public(venues, config.ticker)
    except ConfigError:
        for venue in venues.values():
            await venue.close()
        raise
    silence = Ns(config.stale_book_ns + QUIET_MARGIN)
    feed = LiveFeed(instruments, clock, silence, tell)
    background += [tasks.create_task(_serve(venue, feed.take)) for venue in venues.values()]
    background.append(tasks.create_task(feed.watch()))
    give_up = clock.mono() + int(FIRST_BOOKS_SECONDS * NANO)
    while not feed.complete:
        if clock.mono() > give_up:
            raise no_books(feed.why_incomplete())
        await clock.sleep(POLL_SECONDS)
    return feed


def no_books(why: str) -> ConfigError:
    """Return the error of venues that list the ticker and show no book of it."""
    line = f"{why} within {FIRST_BOOKS_SECONDS:.0f} s; try again later"
    return ConfigError(EXIT_UNREACHABLE, line)


async def _serve(venue: PublicVenue, sink: Sink) -> None:
    try:
        await venue.stream(sink)
    finally:
        await venue.close()

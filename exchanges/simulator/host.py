"""Hosts one simulation: the universe, both wire faces and the control server, in one event loop.

Imports ``strategy.domain`` and simulator modules only. ``start`` opens the listeners; the caller
runs ``run_forever`` as a task of its own.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

from exchanges.simulator.backpack_server import BackpackServer
from exchanges.simulator.control import ControlServer
from exchanges.simulator.credentials import BackpackCredentials, GrvtCredentials
from exchanges.simulator.faults import FaultBoard
from exchanges.simulator.grvt_server import GrvtServer
from exchanges.simulator.latency import LatencyModel
from exchanges.simulator.live_feed import LiveFeed
from exchanges.simulator.message_log import MessageLog, open_log
from exchanges.simulator.roster import MOST_ACCOUNTS, Opened, Roster
from exchanges.simulator.switches import switched
from exchanges.simulator.synthetic import Synthetic, SyntheticError
from exchanges.simulator.tape import BUNDLED, Source, open_tape
from exchanges.simulator.universe import Driver, Universe
from strategy.domain import Venue

CHAIN_ID = 326
"""GRVT's test network: a signature made for it is void in production (venues.md A3)."""
_SYNTHETIC = "synthetic"
_DEFAULT_TICKER = "ETH"


class SimConfigError(ValueError):
    """Settings that cannot be simulated; the text is one clear line."""


@dataclass(frozen=True, slots=True)
class SimConfig:
    """What to simulate and where to listen; port 0 takes any free one."""

    ticker: str | None = None
    """Base symbol that the book must be of; None takes the book's."""
    book: str | None = None
    """A tape's path, ``synthetic`` or ``synthetic:TICKER[,SETTINGS]``; None is the bundled tape."""
    seed: int = 1
    speed: float = 1.0
    host: str = "127.0.0.1"
    grvt_port: int = 0
    backpack_port: int = 0
    control_port: int = 0
    accounts: int = 1
    """How many accounts each venue has at the start; more can be opened at run time."""
    switches: tuple[str, ...] = ()
    """Facts the venues leave open, set otherwise, e.g. ``grvt.request_ids=true``."""
    latency: LatencyModel | None = None
    """Delays between clients and books; None is the venues' constants."""
    message_log: str | None = None
    """Path of the file that every message of the run is written to."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Where everything listens (``host:port``) and the keys that open it."""

    grvt_at: str
    backpack_at: str
    control_at: str
    grvt: GrvtCredentials
    backpack: BackpackCredentials
    accounts: tuple[Opened, ...] = ()
    """Every account of both venues; told only when a venue has more than one."""

    def as_dict(self) -> dict[str, Any]:
        """Return the ready line as JSON types; all GRVT surfaces share one port."""
        line = self._line()
        if len(self.accounts) > len(Venue):
            line["accounts"] = [opened.as_dict() for opened in self.accounts]
        return line

    def _line(self) -> dict[str, Any]:
        return {
            "event": "ready",
            "grvt": {
                "edge": f"http://{self.grvt_at}",
                "trades": f"http://{self.grvt_at}",
                "market_data": f"http://{self.grvt_at}",
                "ws_trades": f"ws://{self.grvt_at}",
                "ws_market_data": f"ws://{self.grvt_at}",
                "api_key": self.grvt.api_key,
                "private_key": self.grvt.private_key,
                "sub_account_id": self.grvt.sub_account_id,
                "chain_id": CHAIN_ID,
            },
            "backpack": {
                "api": f"http://{self.backpack_at}",
                "ws": f"ws://{self.backpack_at}",
                "public_key": self.backpack.public_key,
                "secret_key": self.backpack.secret_key,
            },
            "control": f"http://{self.control_at}",
        }


def open_source(config: SimConfig) -> Source:
    """Open the tape or the generator that the settings name.

    Raises:
        TapeError: the tape cannot be replayed.
        SimConfigError: the ticker is not on it.
    """
    book, ticker = config.book, config.ticker
    if book is not None and book.partition(":")[0] == _SYNTHETIC:
        named = book.partition(":")[2] if ":" in book else ticker or _DEFAULT_TICKER
        try:
            source: Source = Synthetic.parse(named, config.seed)
        except SyntheticError as bad:
            raise SimConfigError(f"book {book!r}: {bad}") from bad
        what = book
    else:
        source = open_tape(BUNDLED if book is None else book)
        what = f"the bundled recording {BUNDLED.name}" if book is None else book
    if ticker is not None and ticker != source.ticker:
        raise SimConfigError(
            f"ticker {ticker!r} is not on {what}: it holds {source.ticker};"
            f" use that ticker, another book, or synthetic:{ticker}"
        )
    return source


def _roster(universe: Universe, config: SimConfig) -> Roster:
    """Open the accounts that the settings ask for, each venue's first being there already."""
    if not 1 <= config.accounts <= MOST_ACCOUNTS:
        raise SimConfigError(f"{config.accounts} accounts: use 1 to {MOST_ACCOUNTS}")
    roster = Roster(universe, config.seed)
    for _ in range(config.accounts - 1):
        for venue in Venue:
            roster.open(venue)
    return roster


def _serve(grvt: GrvtServer, backpack: BackpackServer, opened: Opened) -> None:
    """Let the venue's server know the key of a new account."""
    if isinstance(opened.credentials, GrvtCredentials):
        grvt.add_account(opened.credentials)
    else:
        backpack.add_account(opened.credentials, opened.account_id)


class SimHost:
    """One running simulation.

    Args:
        config: what to simulate and where to listen.
        live: the market in place of a tape or generator; what the config says of those is void.

    Attributes:
        control_url: base address of the control server; set by ``start``.
    """

    def __init__(self, config: SimConfig, live: LiveFeed | None = None) -> None:
        self._config = config
        self._live = live
        self._universe: Universe | None = None
        self._servers: list[GrvtServer | BackpackServer | ControlServer] = []
        self._log: BinaryIO | None = None
        self.control_url = ""

    @property
    def universe(self) -> Universe:
        """The simulated venues.

        Raises:
            RuntimeError: before ``start``.
        """
        if self._universe is None:
            raise RuntimeError("the simulation has not been started")
        return self._universe

    @property
    def faults(self) -> FaultBoard:
        """The fault board of both venues; raises RuntimeError before ``start``."""
        return self.universe.faults

    async def start(self) -> Ready:
        """Open the book and every listener; on failure nothing stays open.

        Raises:
            TapeError: the tape cannot be replayed.
            SwitchError: a switch that does not exist, or does not fit.
            SimConfigError: the ticker is not on the tape, the speed is not a positive number, or
                there are too many accounts.
            OSError: an address cannot be bound.
        """
        config, driver = self._config, Driver.wall()
        options = switched(config.switches)
        live = self._live
        source = open_source(config) if live is None else live
        markets = None if live is None else live.markets
        try:
            universe = Universe(
                source, config.seed, config.speed, driver, markets=markets, latency=config.latency
            )
        except ValueError as bad:
            raise SimConfigError(str(bad)) from bad
        roster = _roster(universe, config)
        if config.message_log is not None:
            self._log = open_log(config.message_log)
            MessageLog(universe, self._log)
        universe.start()
        if live is not None:
            live.attach(universe)
        engines, faults = universe.engines, universe.faults
        keys = roster.grvt_keys(), roster.backpack_keys()
        grvt = GrvtServer(engines[Venue.GRVT], driver, faults, keys[0], options[0])
        backpack = BackpackServer(engines[Venue.BACKPACK], driver, faults, keys[1], options[1])
        roster.on_open = partial(_serve, grvt, backpack)
        control = ControlServer(universe, roster)
        try:
            await self._listen(grvt, config.grvt_port)
            await self._listen(backpack, config.backpack_port)
            await self._listen(control, config.control_port)
        except OSError:
            await self.stop()
            raise
        self._universe = universe
        at = [f"{config.host}:{server.port}" for server in (grvt, backpack, control)]
        self.control_url = f"http://{at[2]}"
        return Ready(at[0], at[1], at[2], keys[0][0], keys[1][0], tuple(roster.all()))

    async def run_forever(self) -> None:
        """Drive the venues until cancelled.

        Raises:
            TapeError: the tape turned out to be damaged.
        """
        await self.universe.run()

    async def stop(self) -> None:
        """Close every listener; safe to call twice."""
        while self._servers:
            await self._servers.pop().stop()
        if self._log is not None:
            self._log.close()
            self._log = None

    async def _listen(self, server: GrvtServer | BackpackServer | ControlServer, port: int) -> None:
        await server.start(self._config.host, port)
        self._servers.append(server)

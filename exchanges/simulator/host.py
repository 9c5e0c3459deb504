"""Hosts one simulation: universe, both wire faces and the control server in one event loop.

Used by ``hedged simulate`` and, embedded, by ``hedged run --venues sim``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exchanges.simulator.backpack_server import BackpackServer
from exchanges.simulator.control import ControlServer
from exchanges.simulator.credentials import (
    BackpackCredentials,
    GrvtCredentials,
    backpack_credentials,
    grvt_credentials,
)
from exchanges.simulator.faults import FaultBoard
from exchanges.simulator.grvt_server import GrvtServer
from exchanges.simulator.synthetic import STARTS, Synthetic
from exchanges.simulator.tape import open_tape
from exchanges.simulator.universe import Driver, Source, Universe
from strategy.domain import Venue

BUNDLED = Path(__file__).with_name("data") / "eth_sample.tape.jsonl.gz"
"""The recorded book that a fresh clone replays."""
CHAIN_ID = 326
"""GRVT testnet: a signature made here can never be valid in production."""


class SimConfigError(ValueError):
    """Settings that cannot be simulated; one clear line."""


@dataclass(frozen=True, slots=True)
class SimConfig:
    """What to simulate and where to listen."""

    ticker: str | None = None
    book: str | None = None
    """A path, ``synthetic`` or ``synthetic:TICKER``; None replays the bundled sample."""
    seed: int = 1
    speed: float = 1.0
    host: str = "127.0.0.1"
    grvt_port: int = 0
    backpack_port: int = 0
    control_port: int = 0


@dataclass(frozen=True, slots=True)
class Ready:
    """Where everything listens, and the keys that open it."""

    grvt_url: str
    grvt_ws: str
    grvt: GrvtCredentials
    backpack_url: str
    backpack_ws: str
    backpack: BackpackCredentials
    control: str

    def as_dict(self) -> dict[str, Any]:
        """Return the ready line of contract section 5."""
        return {
            "event": "ready",
            "grvt": {
                "edge": self.grvt_url,
                "trades": self.grvt_url,
                "market_data": self.grvt_url,
                "ws_trades": self.grvt_ws,
                "ws_market_data": self.grvt_ws,
                "api_key": self.grvt.api_key,
                "private_key": self.grvt.private_key,
                "sub_account_id": self.grvt.sub_account_id,
                "chain_id": CHAIN_ID,
            },
            "backpack": {
                "api": self.backpack_url,
                "ws": self.backpack_ws,
                "public_key": self.backpack.public_key,
                "secret_key": self.backpack.secret_key,
            },
            "control": self.control,
        }


def open_source(config: SimConfig) -> Source:
    """Open what ``--book`` names; raises TapeError or SimConfigError."""
    book = config.book
    if book is not None and (book == "synthetic" or book.startswith("synthetic:")):
        ticker = book.partition(":")[2] or config.ticker or "ETH"
        if ticker not in STARTS:
            known = ", ".join(STARTS)
            raise SimConfigError(f"--book {book}: no synthetic {ticker}; use one of {known}")
        source: Source = Synthetic(ticker, config.seed)
    else:
        source = open_tape(Path(book) if book is not None else BUNDLED)
    if config.ticker is not None and config.ticker != source.ticker:
        raise SimConfigError(
            f"--ticker {config.ticker}: the book {source.name} lists {source.ticker} only; "
            f"use --ticker {source.ticker}, or another --book"
        )
    return source


class SimHost:
    """One running simulation."""

    def __init__(self, config: SimConfig, on_loop: Callable[[int], None] | None = None) -> None:
        self._config = config
        self._on_loop = on_loop
        self._universe: Universe | None = None
        self._servers: list[GrvtServer | BackpackServer | ControlServer] = []
        self.control_url = ""
        self.faults: FaultBoard | None = None

    @property
    def universe(self) -> Universe:
        """The simulated venues.

        Raises:
            RuntimeError: before ``start``.
        """
        if self._universe is None:
            raise RuntimeError("the simulation is not started")
        return self._universe

    async def start(self) -> Ready:
        """Open the book and every listener; raises TapeError, SimConfigError or OSError."""
        config = self._config
        if not config.speed > 0:
            raise SimConfigError(f"--speed {config.speed}: use a number above 0")
        source = open_source(config)
        driver = Driver()
        self._universe = universe = Universe(source, config.seed, config.speed, driver)
        if self._on_loop is not None:
            universe.on_loop = self._on_loop
        universe.advance(driver.now())
        self.faults = faults = FaultBoard(driver.now)
        grvt_keys = grvt_credentials(config.seed)
        backpack_keys = backpack_credentials(config.seed)
        grvt = GrvtServer(universe.engines[Venue.GRVT], driver, faults, grvt_keys)
        backpack = BackpackServer(universe.engines[Venue.BACKPACK], driver, faults, backpack_keys)
        control = ControlServer(universe, faults)
        for server, port in (
            (grvt, config.grvt_port),
            (backpack, config.backpack_port),
            (control, config.control_port),
        ):
            await server.start(config.host, port)
            self._servers.append(server)
        self.control_url = f"http://{config.host}:{control.port}"
        return Ready(
            grvt_url=f"http://{config.host}:{grvt.port}",
            grvt_ws=f"ws://{config.host}:{grvt.port}",
            grvt=grvt_keys,
            backpack_url=f"http://{config.host}:{backpack.port}",
            backpack_ws=f"ws://{config.host}:{backpack.port}",
            backpack=backpack_keys,
            control=self.control_url,
        )

    async def run_forever(self) -> None:
        """Drive the market until cancelled."""
        await self.universe.run()

    async def stop(self) -> None:
        """Close every listener; safe to call twice."""
        while self._servers:
            await self._servers.pop().stop()

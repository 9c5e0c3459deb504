"""A running simulated GRVT with the adapter connected to it, shared by the wire tests."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random  # noqa: TID251 - a seeded generator
from typing import Any

from exchanges.grvt.venue import GrvtConfig, GrvtVenue
from exchanges.port import (
    Found,
    Outcome,
)
from exchanges.simulator.credentials import grvt_credentials
from exchanges.simulator.defaults import GRVT_RULES, default_market
from exchanges.simulator.engine import MatchingEngine
from exchanges.simulator.faults import FaultBoard
from exchanges.simulator.grvt_options import GrvtOptions
from exchanges.simulator.grvt_server import GrvtServer
from exchanges.simulator.model import MarketBook, MarketTrade
from exchanges.simulator.universe import Driver
from strategy.domain import (
    NANO,
    ClientId,
    Level,
    Ns,
    OrderRef,
    OrderRequest,
    OrderView,
    Purpose,
    Px,
    Qty,
    Side,
    Status,
    StreamState,
    Surface,
    Tif,
    Venue,
    VenueEvent,
)

SYMBOL = "ETH_USDT_Perp"
KEYS = grvt_credentials(1)


class RealClock:
    """The machine's clock; waits between reconnects are cut short."""

    def wall(self) -> Ns:
        return Ns(time.time_ns())

    def mono(self) -> Ns:
        return Ns(time.monotonic_ns())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.05))


def level(px: str, qty: str) -> Level:
    return Px(int(px) * NANO // 100), Qty(int(qty) * NANO // 100)


@dataclass
class Rig:
    """A running venue, its market, and the adapter connected to it."""

    engine: MatchingEngine
    board: FaultBoard
    driver: Driver
    server: GrvtServer
    venue: GrvtVenue
    cookies: list[str]
    number: int = 0
    events: list[VenueEvent] = field(default_factory=list)

    def market(self, bids: list[Level], asks: list[Level]) -> None:
        event = MarketBook(tuple(bids), tuple(asks), snapshot=True)
        self.engine.feed(self.driver.now(), SYMBOL, event)

    def trade(self, px: Px, qty: Qty, taker: Side) -> None:
        self.engine.feed(self.driver.now(), SYMBOL, MarketTrade(px, qty, taker))

    def fault(self, name: str, **more: Any) -> None:
        self.board.add({"venue": "grvt", "fault": name, **more})

    def order(self, side: Side, px: int, qty: int = NANO // 2, **changes: Any) -> OrderRequest:
        """Return an order; ``px`` in cents, ``qty`` in 1e-9."""
        self.number += 1
        fields: dict[str, Any] = {
            "client_id": ClientId(self.number),
            "venue": Venue.GRVT,
            "symbol": SYMBOL,
            "side": side,
            "qty": Qty(qty),
            "px": Px(px * NANO // 100),
            "tif": Tif.GTC,
            "post_only": True,
            "reduce_only": False,
            "expires_at": Ns(time.time_ns() + 20 * NANO),
            "purpose": Purpose.HEDGE,
        }
        return OrderRequest(**(fields | changes))

    def taker(self, side: Side, px: int, qty: int = NANO // 2, **changes: Any) -> OrderRequest:
        return self.order(side, px, qty, **({"tif": Tif.IOC, "post_only": False} | changes))

    async def send(self, order: OrderRequest) -> Outcome:
        return await self.venue.submit(self.venue.prepare(order))

    def ref(self, order: OrderRequest) -> OrderRef:
        return OrderRef(order.client_id, order.symbol)

    async def ended(self, order: OrderRequest) -> OrderView:
        """Ask until the venue states the order's end; it may be unknown at first (A5.1)."""
        async with asyncio.timeout(30):
            while True:
                found = await self.venue.lookup(self.ref(order), Ns(0))
                if isinstance(found, Found) and found.view.status.terminal:
                    return found.view
                await asyncio.sleep(0.03)

    async def resting(self, order: OrderRequest) -> OrderView:
        async with asyncio.timeout(30):
            while True:
                found = await self.venue.lookup(self.ref(order), Ns(0))
                if isinstance(found, Found) and found.view.status is Status.OPEN:
                    return found.view
                await asyncio.sleep(0.03)

    @asynccontextmanager
    async def streaming(self) -> AsyncIterator[list[VenueEvent]]:
        """Run the streams from "both surfaces up" to the end of the block."""
        events = self.events
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.venue.stream(events.append))
            await until(lambda: self.up() == set(Surface))
            yield events
            task.cancel()

    def up(self) -> set[Surface]:
        states = {e.surface: e.up for e in self.events if isinstance(e, StreamState)}
        return {surface for surface, up in states.items() if up}

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def losses(self, surface: Surface) -> list[str]:
        return [e.why for e in self.of(StreamState) if e.surface is surface and not e.up]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the condition is a list that fills
            await asyncio.sleep(0.005)


def config(address: str, **changes: Any) -> GrvtConfig:
    fields: dict[str, Any] = {
        "api_key": KEYS.api_key,
        "private_key": KEYS.private_key,
        "sub_account_id": KEYS.sub_account_id,
        "environment": "prod",
        "edge_url": f"http://{address}",
        "trades_url": f"http://{address}",
        "market_data_url": f"http://{address}",
        "ws_trades_url": f"ws://{address}",
        "ws_market_data_url": f"ws://{address}",
    }
    return GrvtConfig(**(fields | changes))


def made(settings: GrvtConfig, cookies: list[str] | None = None) -> GrvtVenue:
    nonces = itertools.count(1)
    told = [] if cookies is None else cookies
    rng = Random(1)  # noqa: S311 - jitter
    return GrvtVenue(settings, RealClock(), rng.random, lambda: next(nonces), told.append)


@asynccontextmanager
async def running(options: GrvtOptions | None = None) -> AsyncIterator[Rig]:
    driver = Driver.wall()
    market = default_market(Venue.GRVT, "ETH", None)
    engine = MatchingEngine(
        GRVT_RULES,
        [market],
        Random(1),  # noqa: S311 - a simulation
        driver.now(),
    )
    board, cookies = FaultBoard(driver.now), list[str]()
    server = GrvtServer(engine, driver, board, KEYS, options)
    await server.start("127.0.0.1", 0)
    venue = made(config(f"127.0.0.1:{server.port}"), cookies)
    rig = Rig(engine, board, driver, server, venue, cookies)
    rig.market(
        [level("300000", "100"), level("299900", "500")],
        [level("300100", "100"), level("300200", "500")],
    )

    async def drive() -> None:
        while True:
            engine.advance(driver.now())
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(drive())
        try:
            await venue.open()
            await venue.load("ETH")
            yield rig
        finally:
            await venue.close()
            await server.stop()
            task.cancel()

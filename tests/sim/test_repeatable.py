"""One seed is one run: two sessions write byte-identical logs of every message."""

import asyncio
import hashlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from exchanges.errors import VenueError
from exchanges.port import Payload
from exchanges.simulator.inprocess import InProcessVenue
from exchanges.simulator.latency import LatencyModel
from exchanges.simulator.message_log import MessageLog, MessageLogError, open_log
from exchanges.simulator.synthetic import Synthetic
from exchanges.simulator.tape import BUNDLED, Source, open_tape
from exchanges.simulator.universe import Driver, Universe
from strategy.domain import (
    NANO,
    ClientId,
    Ns,
    OrderRef,
    OrderRequest,
    Purpose,
    Px,
    Qty,
    Side,
    Tif,
    Venue,
    nano,
)
from tests.sim.test_inprocess import VirtualClock

START = Ns((1_790_002_800 - 6) * NANO)
"""Six seconds before a full hour, when Backpack settles funding."""
SECONDS = 12
LATENCY = "ack=2/3/80,fill=1/4/60,data=1/5/60"
FAULTS = (
    {"venue": "grvt", "fault": "F01", "count": 2},
    {"venue": "backpack", "fault": "F19", "count": 3},
    {"venue": "grvt", "fault": "F65", "seconds": 0.7},
    {"venue": "backpack", "fault": "F11", "seconds": 1.5},
)
STEP = 250_000_000


class Trader:
    """Trades one venue through its port: a maker at the touch, a taker every other step."""

    def __init__(self, universe: Universe, venue: Venue) -> None:
        self.universe = universe
        self.venue = venue
        self.clock = VirtualClock(universe)
        self.port = InProcessVenue(universe, venue, self.clock)
        self.number = 0

    async def trade(self) -> None:
        while True:
            await self.clock.sleep(STEP / NANO)
            with suppress(VenueError):
                await self.step()

    async def step(self) -> None:
        book = await self.port.book(5)
        if not book.sane:
            return
        maker = self.request(Side.BUY, book.bids[0][0], post_only=True)
        await self.port.submit(maker)
        if self.number % 4 == 1:
            far = book.bids[-1][0]
            await self.port.submit(self.request(Side.SELL, far, post_only=False))
        await self.clock.sleep(0.1)
        ref = OrderRef(maker.request.client_id, maker.request.symbol)
        await self.port.cancel(ref)
        await self.port.lookup(ref, Ns(0))

    def request(self, side: Side, px: Px, *, post_only: bool) -> Payload:
        self.number += 1
        return self.port.prepare(
            OrderRequest(
                client_id=ClientId(self.number),
                venue=self.venue,
                symbol=self.universe.symbols[self.venue],
                side=side,
                qty=Qty(nano("0.2")),
                px=px,
                tif=Tif.GTC if post_only else Tif.IOC,
                post_only=post_only,
                reduce_only=False,
                expires_at=Ns(self.clock.wall() + 60 * NANO),
                purpose=Purpose.OPEN,
            )
        )


async def play(universe: Universe, seconds: int) -> None:
    """Let both traders trade while virtual time goes on, one moment after the other."""
    end = universe.driver.now() + seconds * NANO
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(Trader(universe, venue).trade()) for venue in Venue]
        while universe.driver.now() < end:
            for _ in range(6):
                await asyncio.sleep(0)
            due = universe.next_due()
            universe.advance(Ns(end if due is None else min(due, end)))
        for each in running:
            each.cancel()


def session(seed: int, source: str = "tape", seconds: int = SECONDS) -> bytes:
    """Return the message log of one scripted session, with jittered delays and faults."""
    made: Source = open_tape(BUNDLED) if source == "tape" else Synthetic("ETH", seed)
    latency = LatencyModel.parse(LATENCY)
    universe = Universe(made, seed, 1, Driver.manual(START), latency=latency)
    log = io.BytesIO()
    MessageLog(universe, log)
    universe.start()
    for number, fault in enumerate(FAULTS):
        at = Ns(START + (1 + 2 * number) * NANO)
        universe.call_at(at, partial(universe.faults.add, fault))
    asyncio.run(play(universe, seconds))
    return log.getvalue()


@pytest.mark.parametrize("source", ["tape", "synthetic"])
def test_one_seed_writes_one_log_and_another_seed_another(source: str) -> None:
    first, second = session(7, source), session(7, source)

    assert first == second
    assert first != session(8, source)


def test_the_log_holds_every_kind_of_message_of_both_venues_in_order() -> None:
    rows = [json.loads(line) for line in session(7).splitlines()]

    kinds = Counter((row["v"], row["type"]) for row in rows)
    for venue in Venue:
        assert min(kinds[venue.value, kind] for kind in ("book", "trade", "order", "position")) > 0
    assert kinds["backpack", "funding"] == 1
    assert sum("fill" in row for row in rows) > 10
    assert [row["t"] for row in rows] == sorted(row["t"] for row in rows)
    assert all(row["t"] >= row["at"] for row in rows)
    late = [row["t"] - row["at"] for row in rows if row["type"] == "book" and row["t"] > START]
    assert len(set(late)) > 50, "the delays are jittered"
    phases = Counter(row["phase"] for row in rows if row["type"] == "order")
    assert {"pending", "open", "filled", "cancelled"} <= set(phases)


def test_lines_are_canonical() -> None:
    for line in session(7, seconds=2).splitlines()[:500]:
        row = json.loads(line)
        assert line == json.dumps(row, sort_keys=True, separators=(",", ":")).encode()
        assert all(not isinstance(value, float) for value in row.values())


def test_other_processes_with_other_hash_seeds_write_the_same_bytes() -> None:
    code = (
        "import hashlib; from tests.sim.test_repeatable import session;"
        "print(hashlib.sha256(session(7, seconds=5)).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "4242")
    }

    assert found == {hashlib.sha256(session(7, seconds=5)).hexdigest()}


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MessageLogError, match=r"^message log .*cannot be written") as caught:
        open_log(str(tmp_path / "missing" / "log.jsonl"))

    assert "\n" not in str(caught.value)

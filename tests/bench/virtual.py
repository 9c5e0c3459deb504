"""How fast virtual time goes: simulated seconds per second of one core, both venues quoting.

``python -m tests.bench.virtual [--seconds N] [--json] [--profile]``. Each row is one market, from
opening it to the end of the run: reading and decoding the recording is part of the time. On each
venue a maker keeps one post-only order of 0.1 at the touch, looks at the book four times a second,
moves the order when the touch has left it, and turns round when it has filled. The time is that of
the process on its core (``time.process_time``), so that a busy machine does not count.
"""

import argparse
import cProfile
import gc
import json
import pstats
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from exchanges.simulator.model import EngineEvent, NewOrder, OrderChanged, Refusal, SimOrder
from exchanges.simulator.synthetic import Synthetic
from exchanges.simulator.tape import BUNDLED, Source, open_tape
from exchanges.simulator.universe import Driver, Universe
from strategy.domain import NANO, Ns, Px, Qty, Side, Tif, Venue, nano

START = Ns(1_790_000_000 * NANO)
LOOK_NS = 250_000_000
SIZE = Qty(nano("0.1"))
GOAL = 1_000
BOOKS = ("ETH", "ETH,repeat=300")
"""Generated as it goes, and a pass of five minutes kept and repeated."""


class Maker:
    """Keeps one passive order at the touch of one venue."""

    def __init__(self, universe: Universe, venue: Venue) -> None:
        self.universe = universe
        self.engine = universe.engines[venue]
        self.symbol = universe.symbols[venue]
        self.account = universe.account(venue).account_id
        self.order: SimOrder | None = None
        self.leaving = False
        self.fills = 0
        self.placed = 0
        self.engine.subscribe(self.hear)
        self.look()

    def hear(self, event: EngineEvent) -> None:
        if not isinstance(event, OrderChanged) or event.order.request.account != self.account:
            return
        if event.fill is not None:
            self.fills += 1
        if not event.order.live and event.order is self.order:
            self.order = None
            self.leaving = False

    def look(self) -> None:
        now = self.universe.driver.now()
        self.universe.call_at(Ns(now + LOOK_NS), self.look)
        bid, ask = self.engine.touch(self.symbol)
        if bid is None or ask is None:
            return
        held = self.engine.accounts[self.account].positions.get(self.symbol)
        side = Side.SELL if held is not None and held.qty > 0 else Side.BUY
        px = bid if side is Side.BUY else ask
        if self.order is None:
            self.place(now, side, px)
        elif not self.leaving and self.order.request.px != px:
            self.leaving = True
            self.engine.cancel(now, self.order)

    def place(self, now: Ns, side: Side, px: Px) -> None:
        self.placed += 1
        new = NewOrder(
            self.account, self.symbol, side, SIZE, px, Tif.GTC, True, client_id=str(self.placed)
        )
        try:
            self.order = self.engine.place(now, new)
        except Refusal:
            self.order = None


@dataclass(frozen=True, slots=True)
class Row:
    """One market's figures."""

    market: str
    simulated_seconds: int
    cpu_seconds: float
    per_second: float
    orders: int
    fills: int


def run(name: str, source: Source, seconds: int, opened: float) -> Row:
    """Quote on both venues for so many simulated seconds."""
    universe = Universe(source, 1, 1, Driver.manual(START))
    universe.start()
    # As `hedged simulate` does once it has started: what is there now is there for good.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    makers = [Maker(universe, venue) for venue in Venue]
    universe.advance(Ns(START + seconds * NANO))
    cpu = time.process_time() - opened
    return Row(
        name,
        seconds,
        round(cpu, 3),
        round(seconds / cpu, 1),
        sum(maker.placed for maker in makers),
        sum(maker.fills for maker in makers),
    )


def rows(seconds: int, tapes: list[Path]) -> list[Row]:
    """Run every market."""
    found = []
    for path in tapes:
        opened = time.process_time()
        found.append(run(path.name, open_tape(path), seconds, opened))
    for book in BOOKS:
        opened = time.process_time()
        found.append(run(f"synthetic:{book}", Synthetic.parse(book, 1), seconds, opened))
    return found


def main(argv: list[str] | None = None) -> int:
    """Print the table, and which markets miss the goal: a figure of the machine, not a test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--tape", type=Path, action="append", default=None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args(argv)
    tapes = given.tape or [BUNDLED]
    if given.profile:
        with cProfile.Profile() as profile:
            rows(given.seconds, tapes)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return 0
    found = rows(given.seconds, tapes)
    if given.json:
        sys.stdout.write(json.dumps([asdict(row) for row in found]) + "\n")
    else:
        for row in found:
            sys.stdout.write(
                f"{row.market:<28} {row.per_second:>8} simulated s per s"
                f"  ({row.simulated_seconds} s in {row.cpu_seconds} s,"
                f" {row.orders} orders, {row.fills} fills)\n"
            )
    short = [row.market for row in found if row.per_second < GOAL]
    if short:
        sys.stdout.write(f"below {GOAL} on this machine now: {', '.join(short)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

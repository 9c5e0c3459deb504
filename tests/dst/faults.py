"""The generator: which faults an episode has, when, and how each is put into the world.

Names are those of the catalogue. A fault of the board is asked for by the venue itself; the others
act on the network, the clocks, the market, the account or the process.
"""

import random  # noqa: TID251 - each episode is drawn from its seed
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Protocol

from exchanges.simulator.model import Ended, NewOrder, Origin, Refusal
from exchanges.simulator.universe import Universe
from strategy.domain import Ns, Qty, Quote, Side, Surface, Tif, Venue, nano
from tests.dst.network import Link
from tests.dst.process import START, SimClock
from tests.simloop import SimLoop

B, G = Venue.BACKPACK, Venue.GRVT
BOTH = (B, G)


class Stage(Protocol):
    """What a fault may act on."""

    loop: SimLoop
    universe: Universe
    links: dict[Venue, Link]
    clock: SimClock

    def stall(self, seconds: float) -> None:
        """Freeze the process (SIGSTOP)."""
        ...

    def kill(self, why: str) -> None:
        """End the process (SIGKILL)."""
        ...

    def crash_at(self, *, commit: int | None, before: bool, step: int | None) -> None:
        """End the process at a journal commit or an await from now on."""
        ...

    def tolerate(self, why: str) -> None:
        """A second actor or the venue trades our account: S1 is not ours alone."""
        ...


Act = Callable[[Stage, random.Random, Venue, "Fault"], Callable[[], None] | None]
"""Applies a fault; returns what undoes it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault."""

    name: str
    act: Act
    venues: tuple[Venue, ...] = BOTH
    seconds: tuple[int, int] = (1, 20)
    """How long it lasts."""
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one episode."""

    kind: Kind
    venue: Venue
    at: float
    """Virtual seconds."""
    seconds: float
    number: int
    """A second dimension: a count, a size, a place, as the kind reads it."""

    def __str__(self) -> str:
        lasts = f"at {self.at:.3f} s for {self.seconds:.1f} s"
        return f"{self.kind.name} {self.venue} {lasts} ({self.number})"


# --- the board -----------------------------------------------------------------------------------


def _count(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> None:
    """Inject a fault that happens a few times."""
    del rng
    spec = {"venue": venue.value, "fault": fault.kind.name[:3], "count": 1 + fault.number % 4}
    stage.universe.faults.add(spec | fault.kind.settings)
    stage.universe.apply_faults()


def _hold(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> None:
    """Inject a fault that lasts."""
    del rng
    spec: dict[str, Any] = {"venue": venue.value, "fault": fault.kind.name[:3]}
    spec["seconds"] = max(1, round(fault.seconds))
    settings = dict(fault.kind.settings)
    if fault.kind.name == "F64":
        settings["bps"] = (-1 if fault.number % 2 else 1) * (20 + 10 * (fault.number % 40))
    stage.universe.faults.add(spec | settings)
    stage.universe.apply_faults()


# --- the network ---------------------------------------------------------------------------------


def _weather(**changes: Any) -> Act:
    def act(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> Callable[[], None]:
        del rng, fault
        weather = stage.links[venue].weather
        before = {name: getattr(weather, name) for name in changes}
        for name, value in changes.items():
            setattr(weather, name, value)

        def undo() -> None:
            for name, value in before.items():
                setattr(weather, name, value)

        return undo

    return act


def _reset(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> None:
    del rng, fault
    stage.links[venue].reset()


def _storm(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> None:
    """Close the sockets again and again (F52)."""
    for turn in range(3 + fault.number % 5):
        delay = turn * (0.3 + rng.random())
        stage.loop.call_later(delay, stage.links[venue].reset)


# --- time and process ----------------------------------------------------------------------------


def _step(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> Callable[[], None]:
    """The wall clock jumps by up to 10 s, and is set right later (F60)."""
    del rng, venue
    jump = (-1 if fault.number % 2 else 1) * (1 + fault.number % 10) * 10**9
    stage.clock.offset += jump

    def undo() -> None:
        stage.clock.offset -= jump

    return undo


def _drift(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> Callable[[], None]:
    del rng, venue
    stage.clock.drift((-1 if fault.number % 2 else 1) * 1000 * (1 + fault.number % 20))

    def undo() -> None:
        stage.clock.drift(0)
        stage.clock.offset = 0  # time was set right

    return undo


def _stop(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> None:
    del rng, venue
    stage.stall(fault.seconds)


def _kill(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> None:
    del rng, venue, fault
    stage.kill("F30 SIGKILL")


def _kill_commit(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> None:
    del rng, venue
    stage.crash_at(commit=1 + fault.number % 12, before=bool(fault.number % 2), step=None)


def _kill_await(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> None:
    del rng, venue
    stage.crash_at(commit=None, before=False, step=1 + fault.number % 400)


# --- the market and the account ------------------------------------------------------------------


def _foreign(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> None:
    """Somebody trades the account by hand (F25, F76)."""
    stage.tolerate("F25")
    universe = stage.universe
    engine, now = universe.engines[venue], universe.driver.now()
    engine.advance(now)
    side = Side.BUY if rng.random() < 0.5 else Side.SELL
    bid, ask = engine.touch(universe.symbols[venue])
    px = ask if side is Side.BUY else bid
    if px is None:
        return
    qty = Qty(nano("0.05") * (1 + fault.number % 4))
    new = NewOrder(
        account=universe.account(venue).account_id,
        symbol=universe.symbols[venue],
        side=side,
        qty=qty,
        px=px,
        tif=Tif.IOC,
        client_id=str(4_000_000_000 + fault.number) if venue is B else str(77_000 + fault.number),
    )
    try:
        engine.place(now, new)
    except Refusal:
        return


def _forced(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> None:
    """The venue closes our position (F26)."""
    del rng
    stage.tolerate("F26")
    universe = stage.universe
    engine, now = universe.engines[venue], universe.driver.now()
    engine.advance(now)
    origin = Origin.ADL if fault.number % 2 else Origin.LIQUIDATION
    engine.force_close(
        now, universe.account(venue).account_id, universe.symbols[venue], origin=origin
    )


def _fail_over(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> None:
    """All open orders are lost and sockets close (F69)."""
    del rng, fault
    universe = stage.universe
    engine, now = universe.engines[venue], universe.driver.now()
    engine.advance(now)
    engine.cancel_all(now, universe.account(venue).account_id, ended=Ended.FAILOVER)
    stage.links[venue].reset()


def _funding(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> None:
    del rng
    universe = stage.universe
    now = universe.driver.now()
    universe.engines[venue].settle_funding(
        now, universe.symbols[venue], (-1 if fault.number % 2 else 1) * nano("0.0001")
    )


def _margin(
    stage: Stage, rng: random.Random, venue: Venue, fault: Fault
) -> Callable[[], None] | None:
    """All free margin is gone for a while (F71)."""
    del rng, fault
    universe = stage.universe
    engine, name = universe.engines[venue], universe.account(venue).account_id
    amount = Quote(max(0, engine.available(name) - nano(1)))
    try:
        engine.deposit(name, Quote(-amount))
    except Refusal:
        return None
    return lambda: engine.deposit(name, amount)


KINDS = (
    *(Kind(f, _count) for f in (
        "F01", "F02", "F03", "F04", "F05", "F06", "F07", "F09", "F10", "F12", "F14", "F16",
        "F17", "F19", "F20", "F21", "F22", "F24", "F28", "F29", "F59", "F74",
    )),
    Kind("F03 late", _count, settings={"delay_ms": 4500}),
    Kind("F11", _hold, (B,), (1, 15)),
    Kind("F13", _count),
    Kind("F13 trimmed", _count, (G,), settings={"mode": "trimmed"}),
    Kind("F23", _count),
    Kind("F54", _hold, (G,), (1, 40)),
    Kind("F55", _hold, (B,), (1, 40)),
    Kind("F64", _hold, seconds=(2, 30)),
    Kind("F65", _hold),
    Kind("F67", _hold),
    Kind("F68", _hold, seconds=(1, 30)),
    Kind("F72", _hold, (B,), (2, 30), {"bps": -30}),
    Kind("F73", _hold, seconds=(1, 20), settings={"size": "0.3"}),
    Kind("F79", _hold, seconds=(1, 20)),
    Kind("delay", _weather(delay=(200, 900)), seconds=(2, 20)),
    Kind("loss", _weather(lose_request=150, lose_answer=150), seconds=(5, 30)),
    Kind("stream loss", _weather(lose_message=300), seconds=(5, 40)),
    Kind("stream repeats", _weather(repeat_message=400), seconds=(5, 40)),
    Kind("stream disorder", _weather(disorder=400), seconds=(5, 40)),
    Kind("stream slow", _weather(slow_message=200), seconds=(5, 30)),
    Kind("F49", _weather(half_open=True), seconds=(2, 30)),
    Kind("F50", _reset),
    Kind("F52", _storm),
    Kind("F53", _weather(cut=True), seconds=(1, 40)),
    Kind("F56", _weather(mute=frozenset({Surface.PUBLIC})), seconds=(2, 20)),
    Kind("F56 private", _weather(mute=frozenset({Surface.PRIVATE})), seconds=(2, 20)),
    Kind("F66", _weather(crossed=True), seconds=(1, 15)),
    Kind("F60", _step, (B,), (2, 30)),
    Kind("F61", _drift, (B,), (10, 40)),
    Kind("F36", _stop, (B,), (5, 30)),
    Kind("F37", _stop, (B,), (1, 3)),
    Kind("F30", _kill, (B,)),
    Kind("F31 commit", _kill_commit, (B,)),
    Kind("F32 await", _kill_await, (B,)),
    Kind("F25", _foreign),
    Kind("F26", _forced),
    Kind("F69", _fail_over, (G,)),
    Kind("F70", _funding),
    Kind("F71", _margin, seconds=(2, 20)),
)  # fmt: skip
BY_NAME = {kind.name: kind for kind in KINDS}
PAIRS = tuple(combinations([kind.name for kind in KINDS], 2))
"""Every pair of kinds: seed n has pair n, so that len(PAIRS) seeds have all of them."""
SETTLED_BY_HAND = frozenset({"F25", "F26", "F73", "F23", "F79"})
"""After these a run may end HALTED, or refuse to start, with a residual to name."""
UNREADABLE = frozenset({"F53", "F54"})
"""After these a run that is over may be unable to verify that it is flat, and say so (78)."""


def drawn(seed: int, storm: float) -> list[Fault]:
    """Return an episode's faults: the seed's pair, and up to four more."""
    rng = random.Random(f"faults {seed}")  # noqa: S311 - an episode, not a secret
    names = list(PAIRS[seed % len(PAIRS)])
    kind = rng.randrange(10)
    if kind == 0:
        names = names[:1]
    for _ in range(0 if kind < 5 else rng.randrange(5)):
        names.append(rng.choice(KINDS).name)
    return sorted((_one(BY_NAME[name], rng, storm) for name in names), key=lambda f: f.at)


def _one(kind: Kind, rng: random.Random, storm: float) -> Fault:
    low, high = kind.seconds
    return Fault(
        kind,
        rng.choice(kind.venues),
        rng.randrange(500, round(storm * 900)) / 1000,
        rng.randrange(low * 1000, high * 1000 + 1) / 1000,
        rng.randrange(1000),
    )


__all__ = [
    "BY_NAME",
    "KINDS",
    "PAIRS",
    "SETTLED_BY_HAND",
    "START",
    "UNREADABLE",
    "Fault",
    "Ns",
    "Stage",
    "drawn",
]

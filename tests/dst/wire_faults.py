"""What befalls an episode on the wire: the simulator's own faults, and those of the network."""

import asyncio
import random  # noqa: TID251 - each episode is drawn from its seed
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from exchanges.simulator.universe import Universe
from strategy.domain import Venue
from tests.dst.wire_loop import WireLoop

B, G = Venue.BACKPACK, Venue.GRVT
BOTH = (B, G)


class Stage(Protocol):
    """What a fault may act on."""

    loop: WireLoop
    universe: Universe

    def port(self, venue: Venue) -> int:
        """Return where a venue listens."""
        ...


Undo = Callable[[], None]
Act = Callable[[Stage, random.Random, Venue], Undo | None]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault."""

    name: str
    act: Act
    venues: tuple[Venue, ...] = BOTH
    seconds: tuple[int, int] = (1, 6)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of an episode."""

    kind: Kind
    venue: Venue
    at: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.kind.name} {self.venue} at {self.at:.3f} s for {self.seconds:.1f} s"


def _board(name: str, count: tuple[int, int] = (1, 3), **settings: int) -> Act:
    """Ask the simulator for one of its own faults."""

    def act(stage: Stage, rng: random.Random, venue: Venue) -> None:
        asked = {"venue": venue.value, "fault": name, "count": rng.randint(*count)}
        stage.universe.faults.add(asked | settings)
        stage.universe.apply_faults()

    return act


def _lost_answer(stage: Stage, rng: random.Random, venue: Venue) -> None:
    """The connection is reset in place of the next answers, which were acted upon."""
    stage.loop.address(stage.port(venue)).weather.answers_lost += rng.randint(1, 3)


def _reset(stage: Stage, rng: random.Random, venue: Venue) -> None:
    del rng
    stage.loop.reset(stage.port(venue))


def _silence(stage: Stage, rng: random.Random, venue: Venue) -> None:
    """Half-open: the connections are dead, and nobody is told."""
    del rng
    stage.loop.silence(stage.port(venue))


def _hole(stage: Stage, rng: random.Random, venue: Venue) -> Undo:
    del rng
    return stage.loop.hole(stage.port(venue))


def _refuse(stage: Stage, rng: random.Random, venue: Venue) -> Undo:
    """Nobody gets in, and who is in is thrown out."""
    del rng
    weather = stage.loop.address(stage.port(venue)).weather
    weather.refuse = True
    stage.loop.reset(stage.port(venue))

    def undo() -> None:
        weather.refuse = False

    return undo


def _slow(stage: Stage, rng: random.Random, venue: Venue) -> Undo:
    weather = stage.loop.address(stage.port(venue)).weather
    more = rng.choice([200, 800, 2500])
    weather.extra += more

    def undo() -> None:
        weather.extra -= more

    return undo


def _storm(stage: Stage, rng: random.Random, venue: Venue) -> Undo:
    """A reconnect storm: every connection is reset again and again."""
    over = asyncio.Event()

    def again() -> None:
        if not over.is_set():
            stage.loop.reset(stage.port(venue))
            stage.loop.call_later(rng.uniform(0.05, 0.6), again)

    again()
    return over.set


KINDS = (
    Kind("reset", _reset),
    Kind("lost answer", _lost_answer),
    Kind("half-open", _silence),
    Kind("black hole", _hole, seconds=(1, 12)),
    Kind("refused", _refuse),
    Kind("slow", _slow),
    Kind("reconnect storm", _storm),
    Kind("F01 answer lost", _board("F01")),
    Kind("F02 create lost", _board("F02")),
    Kind("F03 create late", _board("F03", delay_ms=2500)),
    Kind("F04 throttled", _board("F04")),
    Kind("F05 bad gateway", _board("F05")),
    Kind("F06 garbled answer", _board("F06")),
    Kind("F07 session expired", _board("F07"), (G,)),
    Kind("F19 fill twice", _board("F19")),
    Kind("F20 answer late", _board("F20", delay_ms=1200)),
    Kind("F24 fill message dropped", _board("F24")),
    Kind("F49 stream silent", _board("F49", (1, 1))),
    Kind("F50 book gap", _board("F50")),
    Kind("F51 no snapshot", _board("F51", (1, 1))),
    Kind("F59 cancel throttled", _board("F59")),
)


def drawn(rng: random.Random, storm: float) -> list[Fault]:
    """Draw two to six faults of different kinds, in the order of their times."""
    found = []
    for kind in rng.sample(KINDS, rng.randint(2, 6)):
        at, seconds = rng.uniform(2.0, storm), float(rng.randint(*kind.seconds))
        found.append(Fault(kind, rng.choice(kind.venues), at, seconds))
    return sorted(found, key=lambda fault: fault.at)

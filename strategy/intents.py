"""What a decision can ask for. Imports the pure core only."""

from dataclasses import dataclass

from strategy.domain import ClientId, Draft
from strategy.events import CycleMoved, HedgeEnded, HedgeMoved, HedgeStarted, LatchMoved


@dataclass(frozen=True, slots=True)
class Place:
    """Propose an order to the gate."""

    draft: Draft


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask a venue to cancel one of our orders."""

    client_id: ClientId
    why: str


@dataclass(frozen=True, slots=True)
class Emit:
    """Change the World by an event of our own."""

    event: HedgeStarted | HedgeMoved | HedgeEnded | CycleMoved | LatchMoved


@dataclass(frozen=True, slots=True)
class Say:
    """A fact for the log, said once per ``key`` until another is said under the same event."""

    tag: str
    event: str
    level: str
    key: str
    fields: tuple[tuple[str, str | int], ...]


Intent = Place | Cancel | Emit | Say

"""A scripted venue for the protocol of unknown orders: every answer by hand, every call noted."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from daemon.metrics import RunMetrics
from daemon.narrator import Narrator
from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelOutcome,
    InDoubt,
    Lookup,
    NotFound,
    Outcome,
    Payload,
    VenuePort,
)
from strategy.domain import (
    Fill,
    Now,
    Ns,
    OrderRef,
    OrderView,
    Position,
    Qty,
    SignedQty,
    Status,
    Venue,
    nano,
)
from strategy.events import Event, OrderAnswered, Verdict
from strategy.fold import fold
from strategy.world import World
from tests.builders import at, draft, planned, world
from tests.harness import Sink

ABSENT = NotFound("all")


class Hands:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.offset = 0
        """How far the wall clock has stepped, ns."""

    def now(self) -> Now:
        now = at(self.seconds)
        return Now(now.mono, Ns(now.wall + self.offset))

    def wall(self) -> Ns:
        return self.now().wall

    def mono(self) -> Ns:
        return self.now().mono

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class PlainPort:
    """A venue that knows neither copies nor cancels in advance."""

    venue: Venue
    clock: Hands
    lookups: list[Lookup | Exception] = field(default_factory=lambda: [ABSENT])
    positions: list[str | Exception] = field(default_factory=lambda: ["0"])
    resting: tuple[OrderView, ...] = ()
    traded: tuple[Fill, ...] | Exception = ()
    cancels: list[CancelOutcome] = field(default_factory=lambda: [CancelAccepted(None)])
    outcomes: list[Outcome] = field(default_factory=lambda: [Accepted(None)])
    calls: list[str] = field(default_factory=list)

    @staticmethod
    def _next(answers: Sequence[Any]) -> Any:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]  # type: ignore[attr-defined]  # a list
        if isinstance(answer, Exception):
            raise answer
        return answer

    def called(self, name: str) -> int:
        return self.calls.count(name)

    async def lookup(self, ref: OrderRef, since: Ns) -> Lookup:
        del ref, since
        self.calls.append("lookup")
        return cast("Lookup", self._next(self.lookups))

    async def position(self) -> Position:
        self.calls.append("position")
        stated = SignedQty(nano(self._next(self.positions)))
        return Position(self.venue, "X", stated, self.clock.wall())

    async def open_orders(self) -> tuple[OrderView, ...]:
        self.calls.append("open_orders")
        return self.resting

    async def fills(self, since: Ns) -> tuple[Fill, ...]:
        del since
        self.calls.append("fills")
        if isinstance(self.traded, Exception):
            raise self.traded
        return self.traded

    async def submit(self, payload: Payload) -> Outcome:
        del payload
        self.calls.append("submit")
        return cast("Outcome", self._next(self.outcomes))

    async def cancel(self, ref: OrderRef) -> CancelOutcome:
        del ref
        self.calls.append("cancel")
        return cast("CancelOutcome", self._next(self.cancels))

    async def cancel_all(self) -> CancelOutcome:
        self.calls.append("cancel_all")
        return cast("CancelOutcome", self._next(self.cancels))


@dataclass
class FullPort(PlainPort):
    """A venue with everything that GRVT documents."""

    copies: list[Accepted | InDoubt] = field(default_factory=lambda: [Accepted(None)])
    burials: list[CancelOutcome] = field(default_factory=lambda: [CancelAccepted(None)])
    switches: list[CancelOutcome] = field(default_factory=lambda: [CancelAccepted(None)])
    countdowns: list[int] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    open: bool = True

    async def resend(self, payload: Payload) -> Accepted | InDoubt:
        self.calls.append("resend")
        self.sent.append(payload.body)
        return cast("Accepted | InDoubt", self._next(self.copies))

    async def bury(self, ref: OrderRef) -> CancelOutcome:
        del ref
        self.calls.append("bury")
        return cast("CancelOutcome", self._next(self.burials))

    async def dead_man(self, countdown: Ns) -> CancelOutcome:
        self.calls.append("dead_man")
        self.countdowns.append(countdown // 1_000_000_000)
        return cast("CancelOutcome", self._next(self.switches))

    async def tradable(self) -> bool:
        self.calls.append("tradable")
        return self.open


def as_port(port: PlainPort) -> VenuePort:
    """Take a script for a port: only what a test calls is there."""
    return cast("VenuePort", port)


def narrator() -> tuple[Narrator, Sink]:
    sink = Sink()
    return Narrator(sink, RunMetrics(world())), sink


def doubtful(w: World | None = None, venue: Venue = Venue.GRVT, **changes: object) -> World:
    """A world with order 1 in doubt since it was sent."""
    made = draft(venue, **changes)  # type: ignore[arg-type]  # the fields of a draft
    w = planned(world() if w is None else w, made, 1)
    answer = OrderAnswered(next(iter(w.orders)), Verdict.IN_DOUBT, at(0), message="timeout")
    return fold(w, answer)


def told(w: World, status: Status, cum: str = "0", **changes: object) -> OrderView:
    """What the venue says of order 1."""
    request = next(iter(w.orders.values())).request
    view = OrderView(
        request.venue, request.client_id, "v1", request.symbol, request.side, request.qty,
        request.px, Qty(nano(cum)), status,
    )  # fmt: skip
    return replace(view, **changes)  # type: ignore[arg-type]  # field names are checked by replace


def folded(w: World, events: Sequence[Event]) -> World:
    for event in events:
        w = fold(w, event)
    return w

"""What stands between a fault and a latch or an order: data that must not be believed."""

import hashlib
from dataclasses import replace
from pathlib import Path

from daemon.core import Command, Core, Send, Settings
from daemon.journal import Journal
from daemon.metrics import RunMetrics
from daemon.narrator import Narrator
from exchanges.port import Payload
from strategy.domain import (
    Book,
    Mode,
    Now,
    Ns,
    OrderRequest,
    Px,
    Quote,
    SignedQty,
    StreamState,
    Surface,
    Venue,
    nano,
)
from strategy.events import Seen, VenueRead
from strategy.facts import Mark
from tests.builders import LIMITS, SECOND, WALL, params, px, qty, world
from tests.harness import Sink

DAY = 86_400 * SECOND
MIDNIGHT = (WALL // DAY + 1) * DAY


class Signs:
    """Encodes; there is no venue."""

    def prepare(self, request: OrderRequest) -> Payload:
        body = repr(request).encode()
        digest = hashlib.sha256(body).hexdigest()
        return Payload(request, body, (), request.client_id, digest)


class Rig:
    """One core with positions, a clock that is set by hand, and books as they are fed."""

    def __init__(
        self, backpack: str, grvt: str, wall: int = WALL, mode: Mode = Mode.RUNNING
    ) -> None:
        self.seconds = 0.0
        self.wall = wall
        w = world()
        held = {Venue.BACKPACK: nano(backpack), Venue.GRVT: nano(grvt)}
        legs = {
            v: replace(leg, position=SignedQty(held[v]), cash=Quote(-3000 * held[v]))
            for v, leg in w.legs.items()
        }
        w = replace(w, legs=legs, mode=mode, reason="" if mode is Mode.RUNNING else "operator")
        narrator = Narrator(Sink(), RunMetrics(w))
        self.core = Core(
            w,
            Settings(params(max_position=qty(5)), LIMITS),
            Journal(Path(":memory:"), Ns(wall)),
            {venue: Signs() for venue in Venue},
            narrator,
            self.now,
        )

    def now(self) -> Now:
        passed = int(self.seconds * SECOND)
        return Now(Ns(SECOND + passed), Ns(self.wall + passed))

    def book(self, venue: Venue, mid: str, spread: str = "0.10") -> None:
        half = nano(spread) // 2
        told = Book(
            venue,
            ((Px(nano(mid) - half), qty(5)),),
            ((Px(nano(mid) + half), qty(5)),),
            Ns(0),
        )
        self.core.on(Seen(told, self.now(), "stream"))

    def mark(self, venue: Venue, price: str) -> None:
        self.core.on(VenueRead(Mark(venue, px(price)), self.now()))

    def cut(self, venue: Venue) -> None:
        down = StreamState(venue, Surface.PUBLIC, up=False)
        self.core.on(Seen(down, self.now(), "stream"))

    def tick(self, seconds: float) -> list[Command]:
        self.seconds = seconds
        return self.core.tick()


def test_F56_an_unwind_goes_by_the_fresh_mark_when_the_last_book_is_old() -> None:
    rig = Rig("0", "0.5", mode=Mode.REDUCING)
    rig.book(Venue.GRVT, "3000")
    rig.cut(Venue.GRVT)
    rig.seconds = 10
    rig.mark(Venue.GRVT, "2960")  # 133 bps away from the book of ten seconds ago
    sent = [c for c in rig.tick(10) if isinstance(c, Send)]
    assert [c.payload.request.venue for c in sent] == [Venue.GRVT]
    assert px("2958") <= sent[0].payload.request.px <= px("2960")


def test_F56_an_unwind_beyond_the_cap_of_a_fresh_mark_is_denied_though_an_old_book_allows_it() -> (
    None
):
    rig = Rig("0", "0.5", mode=Mode.REDUCING)
    rig.book(Venue.GRVT, "2960")
    rig.cut(Venue.GRVT)
    rig.seconds = 10
    rig.mark(Venue.GRVT, "3000")
    sent = [c for c in rig.tick(10) if isinstance(c, Send)]
    assert [c.payload.request.px >= px("2985") for c in sent] == [True]


def test_F62_F66_a_crossed_book_at_midnight_is_no_baseline_of_the_new_day() -> None:
    rig = Rig("2", "-2", MIDNIGHT - 2 * SECOND)
    for venue in Venue:
        rig.book(venue, "3000")
    rig.tick(0)
    yesterday = rig.core.world.day
    rig.seconds = 2.5
    rig.book(Venue.BACKPACK, "3000")
    rig.book(Venue.GRVT, "2960", spread="-4")
    rig.tick(2.5)
    assert rig.core.world.day == yesterday
    for second in (3, 4, 5, 6):
        rig.seconds = second
        for venue in Venue:
            rig.book(venue, "3000")
        rig.tick(second)
    w = rig.core.world
    assert (w.day > yesterday, w.day_pnl(), w.mode) == (True, 0, Mode.RUNNING)


def test_F56_a_dead_stream_of_one_leg_is_no_loss() -> None:
    rig = Rig("5", "-5")
    for venue in Venue:
        rig.book(venue, "3000")
    rig.tick(0)
    rig.cut(Venue.GRVT)
    for second in range(1, 30):
        rig.seconds = second
        rig.book(Venue.BACKPACK, str(3000 - second))  # GRVT follows, unseen
        rig.tick(second)
    assert rig.core.world.mode is Mode.RUNNING


def test_a_real_loss_still_trips_with_both_books_fresh() -> None:
    rig = Rig("5", "-5")
    for second in range(4):
        rig.seconds = second
        rig.book(Venue.BACKPACK, str(3000 - 5 * second))
        rig.book(Venue.GRVT, "3000")
        rig.tick(second)
    rig.book(Venue.BACKPACK, "2985")
    rig.tick(4.5)
    assert rig.core.world.reason.startswith("max_daily_loss")


def test_F56_F72_a_book_that_no_longer_moves_is_no_basis() -> None:
    rig = Rig("0.5", "-0.5")
    for venue in Venue:
        rig.book(venue, "3000")
    rig.tick(0)
    rig.cut(Venue.GRVT)
    for second in range(1, 300):
        rig.seconds = second
        rig.book(Venue.BACKPACK, str(3000 - min(second, 45)))
        rig.tick(second)
    assert rig.core.world.mode is Mode.RUNNING


def test_F66_a_crossed_book_is_no_basis() -> None:
    rig = Rig("0", "0")
    for venue in Venue:
        rig.book(venue, "3000")
    before = rig.core.world.basis
    rig.seconds = 1
    rig.book(Venue.GRVT, "2000", spread="-1")
    assert rig.core.world.basis == before

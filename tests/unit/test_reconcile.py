"""Reconciliation: the journal against both venues as a pure diff, and what a refused start says
(F25, F43, F73, F74, F75, F76, REQ-27)."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from daemon.core import Core, Settings
from daemon.journal import Journal
from daemon.reconcile import (
    Finding,
    Reconciler,
    StartRefused,
    booked,
    fill_findings,
    findings,
    order_findings,
    refusal,
)
from daemon.resolver import Resolver
from exchanges.errors import VenueMalformed, VenueUnreachable
from exchanges.port import CancelAccepted, CancelUnknown, InDoubt
from strategy.domain import (
    Book,
    ClientId,
    Fill,
    Ns,
    OrderView,
    Position,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Status,
    Tif,
    Venue,
    nano,
)
from strategy.fold import fold
from strategy.world import World
from tests.builders import (
    LIMITS,
    SECOND,
    at,
    book,
    draft,
    params,
    planned,
    view,
    with_position,
    world,
)
from tests.unit.recovery_rig import FullPort, Hands, as_port, narrator, told

RESTING = draft(tif=Tif.GTC, post_only=True)


def stated(backpack: str = "0", grvt: str = "0") -> dict[Venue, Position]:
    sizes = {Venue.BACKPACK: backpack, Venue.GRVT: grvt}
    return {v: Position(v, "X", SignedQty(nano(s)), Ns(0)) for v, s in sizes.items()}


NONE: dict[Venue, tuple[OrderView, ...]] = {Venue.BACKPACK: (), Venue.GRVT: ()}


def fill(number: int | None = 9, trade: str = "t1") -> Fill:
    return Fill(
        Venue.GRVT, trade, None if number is None else ClientId(number), "v9", "ETH_USDT_Perp",
        Side.SELL, Qty(nano("0.1")), Px(nano(3000)), Quote(0), "USDT", False, Ns(5),
    )  # fmt: skip


# --- the diff ---


def test_agreement_has_no_findings() -> None:
    w = with_position(world(), "0.5", "-0.5")
    assert findings(w, stated("0.5", "-0.5"), NONE) == []


def test_F73_every_position_that_differs_is_named_with_both_figures() -> None:
    found = findings(with_position(world(), "0.5", "-0.5"), stated("0.5", "-0.3"), NONE)
    assert found == [Finding("position", Venue.GRVT, "venue says -0.3, our orders add up to -0.5")]


def resting() -> World:
    w = planned(world(), RESTING, 1)
    return fold(w, view(w, 1, "0", Status.OPEN))


def test_orders_are_known_ended_lost_or_foreign() -> None:
    w = resting()
    ours = told(w, Status.OPEN)
    assert order_findings(w, Venue.GRVT, (ours,), at(10).mono) == []
    assert order_findings(w, Venue.GRVT, (), at(1).mono) == [], "it may have just been sent"
    assert [f.kind for f in order_findings(w, Venue.GRVT, (), at(10).mono)] == ["lost_order"]
    foreign = replace(ours, client_id=None)
    kinds = [f.kind for f in order_findings(w, Venue.GRVT, (ours, foreign), at(10).mono)]
    assert kinds == ["open_order"]
    over = fold(w, view(w, 1, "0", Status.CANCELLED))
    assert order_findings(over, Venue.GRVT, (ours,), at(1).mono) == []
    assert [f.kind for f in order_findings(over, Venue.GRVT, (ours,), at(10).mono)] == [
        "ended_order"
    ]
    assert [f.kind for f in order_findings(over, Venue.GRVT, (ours,), None)] == ["ended_order"]


def test_F43_an_id_of_ours_on_the_other_venue_is_not_ours() -> None:
    w = resting()
    other = replace(told(w, Status.OPEN), venue=Venue.BACKPACK)
    assert [f.kind for f in order_findings(w, Venue.BACKPACK, (other,), None)] == ["open_order"]


def test_F25_executions_of_nobody_are_found_and_booked_ones_are_not() -> None:
    journal = Journal(Path(":memory:"), Ns(1))
    w = world()
    found = fill_findings(w, [fill(), fill(None, "t2")], lambda f: booked(journal, f))
    assert [f.kind for f, _ in found] == ["fill", "fill"]
    assert "sell 0.1 at 3000 (trade t1)" in found[0][0].detail
    journal.fill(fill(), ClientId(9))
    assert booked(journal, fill())
    assert not booked(journal, fill(None, "t2"))


def test_F75_an_orphan_pair_is_called_by_its_name_with_everything_that_differs() -> None:
    found = findings(world(), stated("0.5", "-0.5"), NONE)
    line = refusal(world(), found)
    assert line.startswith("an orphan pair (no journal of it): backpack position differs: venue")
    assert "grvt position differs: venue says -0.5" in line
    assert "`hedged flatten`" in line
    one = refusal(world(), found[:1])
    assert one.startswith("backpack position differs")


# --- the start ---


class Port(FullPort):
    quoted = True
    seconds = 100
    """The venue's time."""

    async def server_time(self) -> Ns:
        if self.seconds < 0:
            raise VenueMalformed("time: no such field")
        return Ns(self.seconds * SECOND)

    async def book(self, depth: int) -> Book:
        del depth
        whole = book(self.venue)
        return whole if self.quoted else replace(whole, asks=())


@dataclass
class Rig:
    clock: Hands = field(default_factory=Hands)

    def __post_init__(self) -> None:
        self.ports = {v: Port(v, self.clock) for v in Venue}
        told_to, self.sink = narrator()
        self.journal = Journal(Path(":memory:"), self.clock.wall())
        ports = {v: as_port(p) for v, p in self.ports.items()}
        settings = Settings(params(), LIMITS)
        self.core = Core(world(), settings, self.journal, {}, told_to, self.clock.now)
        resolver = Resolver(ports, self.clock.now)
        self.work = Reconciler(
            self.core, ports, resolver, told_to, self.clock.now, self.clock.sleep
        )

    def positions(self, backpack: list[str], grvt: list[str]) -> None:
        self.ports[Venue.BACKPACK].positions = list(backpack)
        self.ports[Venue.GRVT].positions = list(grvt)


async def test_a_start_on_agreement_says_what_it_found() -> None:
    rig = Rig()
    await rig.work.start()
    assert rig.sink.events("RECONCILE", "reconciled")[0]["net"] == "0"


async def test_REQ_27_a_refused_start_names_every_difference_and_invents_nothing() -> None:
    rig = Rig()
    rig.positions(["0.5"], ["-0.5"])
    with pytest.raises(StartRefused) as refused:
        await rig.work.start()
    assert "backpack position differs" in str(refused.value)
    assert "grvt position differs" in str(refused.value)
    assert rig.core.world.net == 0
    assert len(rig.sink.events("RECONCILE", "position")) == 2
    assert rig.journal.ledger(Venue.GRVT).position == 0


async def test_F74_one_empty_answer_is_not_flat() -> None:
    rig = Rig()
    rig.core.world = with_position(rig.core.world, "0.5", "-0.5")
    rig.positions(["0.5"], ["0", "-0.5"])
    await rig.work.start()
    assert rig.sink.events("RECONCILE", "position") == []


async def test_F74_a_venue_that_never_agrees_with_itself_is_not_believed() -> None:
    rig = Rig()
    rig.positions(["0"], ["0", "-0.1", "0", "-0.1", "0", "-0.1"])
    with pytest.raises(VenueMalformed, match="another position each time"):
        await rig.work.start()


async def test_F74_an_error_is_not_flat_either() -> None:
    rig = Rig()
    rig.ports[Venue.GRVT].positions = [VenueUnreachable("502")]
    with pytest.raises(VenueUnreachable):
        await rig.work.start()


async def test_F76_what_others_traded_meanwhile_is_named_even_when_positions_agree() -> None:
    rig = Rig()
    rig.journal.fill(replace(fill(), at=Ns(1)), ClientId(9))
    rig.ports[Venue.GRVT].traded = (replace(fill(None, "t7"), at=Ns(9)),)
    await rig.work.start()
    assert "trade t7" in rig.sink.events("RECONCILE", "fill")[0]["what"]


async def test_a_fresh_journal_does_not_blame_others_for_the_past() -> None:
    rig = Rig()
    rig.ports[Venue.GRVT].traded = (fill(None, "t7"),)
    await rig.work.start()
    assert rig.sink.events("RECONCILE", "fill") == []


@pytest.mark.parametrize("answer", [InDoubt("429"), CancelUnknown("1004")])
async def test_cancels_of_the_last_runs_orders_that_fail_are_said(
    answer: InDoubt | CancelUnknown,
) -> None:
    rig = Rig()
    rig.core.world = resting()
    rig.ports[Venue.GRVT].cancels = [answer]
    rig.ports[Venue.GRVT].lookups = [InDoubt("502")]
    with pytest.raises(StartRefused, match="no venue states how it ended"):
        await rig.work.start()
    assert len(rig.sink.events("RECONCILE", "cancel_failed")) == 1
    assert rig.clock.seconds > 30


# --- flatten adopts ---


async def test_F75_flatten_adopts_what_both_reads_state_and_only_that() -> None:
    rig = Rig()
    rig.positions(["0.5"], ["0", "-0.5"])
    await rig.work.flatten()
    assert rig.core.world.primary.position == nano("0.5")
    assert rig.core.world.hedge_leg.position == -nano("0.5")
    assert rig.journal.ledger(Venue.GRVT).position == -nano("0.5")


async def test_flatten_waits_for_every_order_to_go_and_says_which_does_not() -> None:
    rig = Rig()
    stuck = told(resting(), Status.OPEN)
    rig.ports[Venue.GRVT].resting = (stuck,)
    rig.ports[Venue.GRVT].cancels = [InDoubt("429"), CancelAccepted(None)]
    with pytest.raises(StartRefused, match="grvt v1 does not end"):
        await rig.work.flatten()
    assert rig.sink.events("RECONCILE", "cancel_failed")[0]["why"] == "429"


# --- the operator adopts ---


async def test_F76_adopt_takes_a_trade_by_hand_into_the_books_for_good() -> None:
    rig = Rig()
    w = resting()
    rig.core.world = fold(w, view(w, 1, "0.5", Status.FILLED))
    rig.journal.fill(replace(fill(1, "t1"), at=Ns(5)), ClientId(1))
    by_hand = replace(fill(77, "t2"), client_id=None, at=Ns(99 * SECOND))
    rig.ports[Venue.GRVT].traded = (by_hand,)
    rig.positions(["0"], ["0.6"])
    before = rig.core.world.hedge_leg.position
    assert not booked(rig.journal, by_hand)
    await rig.work.adopt()
    assert rig.core.world.hedge_leg.position == nano("0.6") != before
    assert rig.sink.events("RECONCILE", "fill"), "the evidence is kept"
    assert booked(rig.journal, by_hand)
    later = replace(by_hand, trade_id="t3", at=Ns(101 * SECOND))
    assert not booked(rig.journal, later), "what comes after is new"
    assert rig.ports[Venue.GRVT].sent == [], "nothing is traded"


async def test_F26_a_close_by_the_venue_while_nobody_looked_is_booked_by_the_start() -> None:
    rig = Rig()
    w = resting()
    rig.core.world = fold(w, view(w, 1, "0.5", Status.FILLED))
    rig.journal.fill(replace(fill(1, "t1"), at=Ns(5)), ClientId(1))
    before = rig.core.world.hedge_leg.position
    closed = replace(fill(77, "t2"), client_id=None, side=Side.BUY, at=Ns(9), forced=True)
    rig.ports[Venue.GRVT].traded = (closed,)
    for _ in range(2):  # it is booked once
        await rig.work.fills()
        assert rig.core.world.hedge_leg.position == before + closed.qty
    assert len(rig.core.world.forced) == 1


async def test_F26_a_flatten_after_a_close_by_the_venue_books_it_once() -> None:
    rig = Rig()
    rig.positions(["0.5"], ["0"])
    await rig.work.flatten()
    closed = replace(fill(77, "t2"), client_id=None, at=Ns(99 * SECOND), forced=True)
    assert booked(rig.journal, closed), "the position was read after it, so it is in it"


async def test_a_venue_without_a_clock_can_still_be_flattened_by_ours() -> None:
    rig = Rig()
    rig.positions(["0.5"], ["-0.5"])
    rig.ports[Venue.GRVT].seconds = -1
    await rig.work.flatten()
    assert rig.core.world.hedge_leg.position == -nano("0.5")
    assert rig.journal.adopted_until(Venue.GRVT) == rig.clock.wall()
    assert rig.journal.adopted_until(Venue.BACKPACK) == 100 * SECOND


async def test_F76_adopt_refuses_while_an_order_of_someone_else_may_still_trade() -> None:
    rig = Rig()
    stranger = replace(told(resting(), Status.OPEN), client_id=None, venue_order_id="x9")
    rig.ports[Venue.GRVT].resting = (stranger,)
    rig.positions(["0.5"], ["-0.5"])
    with pytest.raises(StartRefused, match=r"grvt open_order: .*x9.*cancel it by hand"):
        await rig.work.adopt()
    assert rig.core.world.primary.position == 0


async def test_F75_adopt_takes_nothing_at_all_where_one_leg_has_no_price() -> None:
    rig = Rig()
    rig.positions(["0.5"], ["-0.5"])
    rig.ports[Venue.GRVT].quoted = False
    with pytest.raises(StartRefused, match="no book with two sides to price"):
        await rig.work.adopt()
    assert rig.core.world.primary.position == 0
    assert rig.journal.ledger(Venue.BACKPACK).position == 0


async def test_fills_that_the_journal_misses_are_read_again_at_the_start() -> None:
    rig = Rig()
    w = resting()
    ended = fold(w, view(w, 1, "0.5", Status.FILLED))
    rig.core.world = ended
    mine = replace(fill(1), qty=Qty(nano("0.5")), venue_order_id="v1")
    rig.ports[Venue.GRVT].traded = (mine, fill(77, "t5"))
    await rig.work.fills()
    assert rig.core.world.orders[ClientId(1)].filled == nano("0.5")
    assert rig.core.world.foreign == ()

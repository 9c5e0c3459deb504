"""An order that nobody can clear must end in a latch with a name, and a flatten must still work."""

import random  # noqa: TID251 - the type of a generator that a fault is given
from dataclasses import replace
from typing import Any

import pytest

from daemon.resolver import behind, margin, past_life
from daemon.stuck import contradicted, may_trade, reducible, residue, unclear
from exchanges.port import InDoubt, Lookup, NotFound, Outcome, Payload
from strategy.domain import Fill, Now, Ns, OrderRef, OrderView, Position, SignedQty, Venue, nano
from strategy.events import OrderAnswered, Seen, VenueRead, Verdict
from strategy.facts import ClockOffset, Quarantine
from strategy.fold import fold
from strategy.world import World
from tests.builders import SECOND, at
from tests.dst.episode import Report, run, script_of
from tests.dst.faults import BY_NAME, B, Fault, Kind, Stage
from tests.unit.fold_rig import ONE, hedge_world, maker_world

FLAGS = {
    "size": "0.5", "iter": "0", "primary_mode": "bbo", "hedge_mode": "smart",
    "max_position": "1.2",
}  # fmt: skip


def lived(seed: int, *faults: Fault) -> Report:
    script = script_of(seed)
    return run(replace(script, storm=20.0, flags=script.flags | FLAGS, faults=faults))


def latches(report: Report) -> list[str]:
    moved = report.lines.events("SAFETY", "latch")
    return [f"{fields['mode']} {fields['reason']}" for fields in moved]


@pytest.mark.parametrize("seed", [2, 5])
def test_F02_F25_a_lost_order_beside_a_trade_by_hand_halts_named_and_a_flatten_closes_all(
    seed: int,
) -> None:
    """Seed 2 loses a maker, seed 5 a clip of the unwind itself."""
    lost = Fault(BY_NAME["F02"], B, 3.0, 10.0, 0)
    by_hand = Fault(BY_NAME["F25"], B, 4.0, 10.0, 1)
    report = lived(seed, lost, by_hand)
    assert report.broken == []
    assert report.exit == 77
    halted = [moved for moved in latches(report) if moved.startswith("HALTED")]
    assert "in doubt on backpack, backpack says" in halted[0]
    assert report.lines.events("EMERGENCY", "flat") != []


def vanished(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> None:
    """The venue takes one taking order, executes it, and knows of it on no surface but one."""
    del rng, fault
    stage.tolerate("what no surface tells cannot be hedged")
    port: Any = stage.links[venue].port
    link: Any = stage.links[venue]
    submit, lookup, fills, deliver = port.submit, port.lookup, port.fills, link._deliver
    hidden: set[int] = set()

    async def swallow(payload: Payload) -> Outcome:
        if hidden:
            return await submit(payload)  # type: ignore[no-any-return]  # the port's own
        hidden.add(payload.request.client_id)
        await submit(payload)
        return InDoubt("connection reset")

    async def absent(ref: OrderRef, since: Ns) -> Lookup:
        if ref.client_id in hidden:
            return NotFound("all")
        return await lookup(ref, since)  # type: ignore[no-any-return]  # the port's own

    async def without(since: Ns) -> tuple[Fill, ...]:
        return tuple(f for f in await fills(since) if f.client_id not in hidden)

    def silent(event: object, *args: Any, **kwargs: Any) -> None:
        if not (isinstance(event, OrderView | Fill) and event.client_id in hidden):
            deliver(event, *args, **kwargs)

    port.submit, port.lookup, port.fills, link._deliver = swallow, absent, without, silent


def test_an_execution_that_no_surface_tells_is_not_left_running_for_ever() -> None:
    report = lived(1, Fault(Kind("vanished", vanished), B, 3.0, 1.0, 0))
    moved = latches(report)
    assert moved[0].startswith("REDUCING position_mismatch: order ")
    assert moved[1].startswith("HALTED")
    assert report.lines.events("EMERGENCY", "flat") != []


# --- which orders, and what is said of them ------------------------------------------------------


def in_doubt(quarantined: str) -> World:
    w = maker_world()
    w = fold(w, OrderAnswered(ONE, Verdict.IN_DOUBT, at(1), message="timeout"))
    w = fold(w, VenueRead(Quarantine(B, quarantined), at(2)))
    return fold(w, Seen(Position(B, "ETH", SignedQty(nano("0.3")), Ns(0)), at(3), "rest"))


@pytest.mark.parametrize(
    "why", ["contradiction", "order 1 is on no surface, but", "x, contradiction"]
)
def test_an_order_is_stuck_once_its_life_is_over_at_a_venue_that_contradicts(why: str) -> None:
    w = in_doubt(why)
    assert contradicted(w, at(2)) == []
    assert may_trade(w, at(2))
    late = at(60)
    assert [o.request.client_id for o in contradicted(w, late)] == [ONE]
    assert not may_trade(w, late)


@pytest.mark.parametrize("why", ["", "reconnect storm"])
def test_an_order_is_only_late_while_its_venue_merely_does_not_answer(why: str) -> None:
    w = in_doubt(why)
    assert contradicted(w, at(60)) == []
    assert may_trade(w, at(60))


def test_the_residue_names_order_venue_and_both_figures() -> None:
    w = in_doubt("contradiction")
    stuck = contradicted(w, at(60))
    assert residue(w, stuck) == "order 1 in doubt on backpack, backpack says 0.3, books say 0"
    legs = {v: replace(leg, observed=None) for v, leg in w.legs.items()}
    assert "backpack says nothing" in residue(replace(w, legs=legs), stuck)


@pytest.mark.parametrize(
    ("backpack", "grvt", "expected"),
    [("0.5", "0", False), ("-0.1", "0.5", True), ("0.5", "-0.2", False), ("0", "-0.5", True)],
)
def test_only_a_leg_without_a_stuck_order_can_still_shrink_the_exposure(
    backpack: str, grvt: str, expected: bool
) -> None:
    w = in_doubt("contradiction")
    held = {Venue.BACKPACK: backpack, Venue.GRVT: grvt}
    legs = {v: replace(leg, position=SignedQty(nano(held[v]))) for v, leg in w.legs.items()}
    w = replace(w, legs=legs)
    assert reducible(w, contradicted(w, at(60))) is expected


# --- a wall clock that is set back ---------------------------------------------------------------


@pytest.mark.parametrize("back", [10, 60, 3600])
def test_F60_a_clock_set_back_keeps_a_lost_hedge_in_doubt_no_longer_than_its_proof_needs(
    back: int,
) -> None:
    """Orders are signed in the venue's time, so their life ends by it, whatever our clock says."""
    w = hedge_world()
    w = fold(w, VenueRead(ClockOffset(Venue.GRVT, Ns(0)), at(0)))
    w = fold(w, OrderAnswered(ONE, Verdict.IN_DOUBT, at(0.1), message="timeout"))
    lost = w.orders[ONE]
    life = (lost.request.expires_at - lost.sent.wall) / SECOND

    def later(seconds: float) -> Now:
        now = at(seconds)
        return Now(now.mono, Ns(now.wall - back * SECOND))

    def proved(now: Now) -> bool:
        late = behind(w, Venue.GRVT, now)
        return past_life(lost, now, margin(w, Venue.GRVT, now), late)

    assert not proved(later(life + 0.3))
    assert proved(later(life + 4.5))
    assert not unclear(w, lost, later(life + 6.9)), "a lookup after its life has its time"
    assert unclear(w, lost, later(life + 7.1))


def test_F60_a_clock_that_was_ahead_when_it_signed_is_waited_out() -> None:
    w = hedge_world()
    lost = w.orders[ONE]
    assert not past_life(lost, Now(at(30).mono, lost.sent.wall), Ns(0), Ns(0))

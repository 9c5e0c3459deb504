"""An end is within 30 s of SIGTERM (contract 3), whatever the venues answer, or do not."""

import asyncio
import random  # noqa: TID251 - the type of a generator that a fault is given
from dataclasses import replace
from typing import Any, cast

import pytest

from daemon import emergency
from daemon.emergency import prove
from exchanges.port import VenuePort
from strategy.domain import Venue
from tests.builders import world
from tests.dst.episode import Report, run, script_of
from tests.dst.faults import BY_NAME, B, Fault, G, Kind, Stage

FLAGS = {
    "size": "0.5", "iter": "0", "primary_mode": "aggressive", "hedge_mode": "market",
    "max_position": "0.5", "sleep": "600",
}  # fmt: skip


class Silent:
    """A venue that takes every question and answers none."""

    async def position(self) -> None:
        await asyncio.Event().wait()


async def test_F54_F55_the_proof_waits_for_both_silent_venues_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(emergency, "READ_LIMIT", 0.2)
    ports = {venue: cast("VenuePort", Silent()) for venue in Venue}
    async with asyncio.timeout(0.35):
        proof = await prove(ports, world())
    assert list(proof.positions) == list(Venue)
    assert [text.split(",")[0] for text in proof.left] == [
        "backpack unreadable (no answer)", "grvt unreadable (no answer)",
    ]  # fmt: skip


def terminate(stage: Stage, rng: random.Random, venue: Venue, fault: Fault) -> None:
    del rng, venue, fault
    app = cast("Any", stage)._app
    app.terminate()


def stopped(seed: int) -> Report:
    """A run that holds a pair is told to stop a moment after both venues went dark."""
    script = script_of(seed)
    faults = (
        Fault(BY_NAME["F53"], B, 14.9, 60.0, 0),
        Fault(BY_NAME["F53"], G, 14.9, 60.0, 0),
        Fault(Kind("SIGTERM", terminate), B, 15.5, 1.0, 0),
    )
    return run(replace(script, storm=60.0, flags=script.flags | FLAGS, faults=faults))


def test_F53_a_stop_with_nothing_to_do_does_not_wait_for_answers_that_never_come() -> None:
    report = stopped(0)
    assert report.exit == 0
    assert report.virtual < 17
    assert report.lines.events("SHUTDOWN", "positions_kept") != []

"""The World of a run that begins: what the journal holds, and where the cycle goes on."""

import json
from collections.abc import Mapping
from dataclasses import replace

from daemon.journal import Journal
from daemon.reconcile import load_world
from strategy.domain import Fees, Instrument, Now, SignedQty, Venue
from strategy.events import CyclePhase
from strategy.world import Cycle, World

ENDED = "simulated venue ended with its process"


def resumed_world(
    journal: Journal,
    instruments: Mapping[Venue, Instrument],
    fees: Mapping[Venue, Fees],
    now: Now,
    *,
    live: bool,
) -> World:
    """Rebuild the World; a simulated venue of the last run is gone, with what it held."""
    if not live:
        _bury_last_sim(journal, instruments, now)
    world = load_world(journal, instruments, fees, now)
    world = replace(world, hedges=journal.last_hedge_id(), net_at=now.mono)
    return replace(world, cycle=_cycle(journal, world, now) if live else Cycle())


def _bury_last_sim(journal: Journal, instruments: Mapping[Venue, Instrument], now: Now) -> None:
    """End what the last simulated run left: its venues died with it, its losses stay."""
    journal.bury_live_orders(ENDED)
    for venue in instruments:
        held = journal.ledger(venue).position
        if held:
            px = journal.last_price(venue)
            journal.adjustment(venue, SignedQty(-held), px, ENDED, now.wall)
    journal.commit()


def _cycle(journal: Journal, world: World, now: Now) -> Cycle:
    """Go on where a run that held a position or died stopped; else begin at iteration 1."""
    stored = journal.meta("cycle")
    held = any(leg.position for leg in world.legs.values())
    crashed = journal.meta("running") == "1"
    if stored is None or not (held or crashed):
        return Cycle()
    state = json.loads(stored)
    if state["phase"] == CyclePhase.DONE.value:
        return Cycle()
    return Cycle(state["iteration"], CyclePhase(state["phase"]), now.mono)

"""The emergency unwind over the wire: with a venue dead, with the daemon dead, proved or named."""

import os
import signal
import time
from typing import Any

from daemon.app import FLATTEN_LIMIT
from tests.process.crashing import Venues, finished, said, truth
from tests.process.faults_rig import CROSS, HELD, LIVE, PAIR, Start
from tests.process.programs import Simulator, until


def died_holding(venues: Simulator, begin: Start, plan: Any = None) -> None:
    """A daemon dies with a hedged pair, or with a naked fill."""
    run = begin(venues, *HELD, plan=plan)
    if plan is None:
        until(lambda: venues.positions() == PAIR, 30, "a hedged position")
        said(run, "[SMART_ROUTING] filled", 10)
        time.sleep(0.5)  # noqa: TID251 - and its commit
        os.kill(run.pid, signal.SIGKILL)
    assert finished(run, 30) == -9


def test_REQ_15_the_emergency_path_is_built_dry_at_every_start(
    venues: Venues, begin: Start
) -> None:
    run = begin(venues, *CROSS, "--iter", "1")
    assert finished(run, 40) == 0
    assert "[EMERGENCY] rehearsed orders=" in run.said()
    assert run.said().index("rehearsed") < run.said().index("[OPEN]")


def test_flatten_with_the_daemon_dead_is_proved_by_both_venues(
    venues: Venues, begin: Start
) -> None:
    died_holding(venues, begin)
    done = begin(venues, "flatten", *LIVE)
    assert finished(done, 40) == 0, done.said()[-3000:]
    assert "[EMERGENCY] flat backpack=0 grvt=0" in done.said()
    assert venues.positions() == ("0", "0")
    assert truth(venues).doubled == ()


def test_F54_flatten_with_the_hedge_venue_dead_removes_the_exposure_and_ends_when_it_is_back(
    venues: Venues, begin: Start
) -> None:
    died_holding(venues, begin, plan={"fill": 1})
    assert venues.positions() == ("0.5", "0")
    venues.ask("/faults", "POST", {"venue": "grvt", "fault": "F54"})
    done = begin(venues, "flatten", *LIVE)
    said(done, "[ALERT] venue_dark venue=grvt", 30)
    until(lambda: venues.positions() == ("0", "0"), 30, "the other leg closes the exposure")
    venues.ask("/faults", "DELETE")
    assert finished(done, 40) == 0, done.said()[-3000:]
    assert "[EMERGENCY] flat" in done.said()


def test_F55_flatten_with_the_primary_venue_dead_keeps_the_pair_until_it_is_back(
    venues: Venues, begin: Start
) -> None:
    """Closing the leg that answers would only make the other one naked."""
    died_holding(venues, begin)
    venues.ask("/faults", "POST", {"venue": "backpack", "fault": "F55"})
    done = begin(venues, "flatten", *LIVE)
    said(done, "[ALERT] venue_dark venue=backpack", 30)
    said(done, "[INIT] started", 20)
    time.sleep(2)  # noqa: TID251 - time in which it could do the wrong thing
    assert venues.positions() == PAIR
    venues.ask("/faults", "DELETE")
    assert finished(done, 40) == 0, done.said()[-3000:]
    assert venues.positions() == ("0", "0")
    assert truth(venues).worst_net <= 0.5 + 1e-9


def test_F54_flatten_with_a_venue_dead_for_good_names_the_residual_at_its_limit(
    venues: Venues, begin: Start
) -> None:
    died_holding(venues, begin)
    venues.ask("/faults", "POST", {"venue": "grvt", "fault": "F54"})
    assert FLATTEN_LIMIT <= 60 * 10**9
    limit = {"set": {"daemon.app.FLATTEN_LIMIT": 4 * 10**9}}
    done = begin(venues, "flatten", *LIVE, plan=limit)
    assert finished(done, 40) == 77, done.said()[-3000:]
    assert "[EMERGENCY] residual" in done.said()
    last = done.said().splitlines()[-1]
    assert last.startswith("NOT flat")
    assert "backpack 0.5" in last
    assert "grvt unreadable" in last
    # the line that told of the fill may be older than the commit that the kill prevented
    assert "-0.5" in last or "in doubt" in last
    assert venues.positions() == PAIR

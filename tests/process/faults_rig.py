"""What the tests of process faults share: how a daemon is run, what a venue does, who judges."""

from collections.abc import Callable
from typing import Any

from tests.process.crashing import Run, finished, said, truth
from tests.process.programs import Simulator, slack, until

LIVE = ("--ticker", "ETH", "--venues", "live", "--log-format", "console", "--fill-timeout", "1")
SIZE = ("--size", "0.5")
CROSS = (*LIVE, *SIZE, "--primary-mode", "aggressive", "--hedge-mode", "market")
HELD = (*CROSS, "--iter", "0", "--sleep", "600")
QUIET = (*LIVE, *SIZE, "--iter", "0", "--primary-mode", "bbo_minus_1", "--fill-timeout", "60")
PAIR = ("0.5", "-0.5")
NAKED = 15.0
"""Seconds that an exposure may stand (L2)."""
Start = Callable[..., Run]


def inject(venues: Simulator, venue: str, fault: str, **settings: Any) -> None:
    venues.ask("/faults", "POST", {"venue": venue, "fault": fault} | settings)


def holds(venues: Simulator, run: Run) -> None:
    """Wait until a pair is held and the daemon knows."""
    until(lambda: venues.positions() == PAIR, 30, "a hedged position")
    said(run, "[CLOSE] hold", 10)


def settled(venues: Simulator, begin: Start, *, flat: bool = True) -> Run:
    """A normal start after the fault: it recovers, and nothing was traded twice."""
    run = begin(venues, *CROSS, "--iter", "1")
    assert said(run, "[RECONCILE] reconciled", 10) <= 10 * slack()
    assert finished(run, 40) == 0, run.said()[-3000:]
    judged(venues, flat=flat)
    return run


def judged(venues: Simulator, *, flat: bool) -> None:
    found = truth(venues)
    assert found.worst_net <= 0.5 + 1e-9
    assert found.doubled == ()
    assert found.longest_naked <= NAKED * slack()
    if flat:
        assert venues.positions() == ("0", "0")


def resting(simulator: Simulator) -> int:
    state = simulator.ask("/state")
    return int(state["backpack"]["open_orders"]) + int(state["grvt"]["open_orders"])


def orders_of(run: Run) -> list[str]:
    return [
        line for line in run.said().splitlines() if "] order " in line or "iteration n=" in line
    ]

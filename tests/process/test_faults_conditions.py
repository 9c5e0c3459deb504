"""Conditions at a venue that no order of ours caused: margin, strangers, halts, storms, keys."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.process.crashing import Run, Venues, finished, said, truth
from tests.process.faults_rig import CROSS, HELD, LIVE, QUIET, Start, holds, inject, resting
from tests.process.programs import Simulator, slack, until

NEAR = 760
"""Basis points upward at which a short with all free margin gone is close to its liquidation."""


def orders(venues: Simulator) -> int:
    return len(venues.ask("/audit")["orders"])


def after(run: Run, what: str) -> str:
    """Return what a run has said since something."""
    return run.said()[run.said().index(what) :]


def test_F71_a_short_whose_margin_runs_out_is_warned_of_then_both_legs_close_in_lockstep(
    serve: Callable[..., Venues], begin: Start
) -> None:
    venues = serve("--speed", "2")
    run = begin(venues, *HELD)
    holds(venues, run)
    before = orders(venues)
    inject(venues, "grvt", "F71")
    until(lambda: account(venues)["available"] == "0", 10, "no free margin")
    for shift in range(300, NEAR + 1, 20):
        for venue in ("backpack", "grvt"):
            venues.ask("/market", "POST", {"venue": venue, "ticker": "ETH", "shift_bps": shift})
        if run.status is not None or "latch mode=REDUCING" in run.said():
            break
        time.sleep(0.25)  # noqa: TID251 - the market rises
    assert finished(run, 60) == 77, run.said()[-3000:]
    text = run.said()
    warned = text.index("[ALERT] margin venue=grvt")
    assert warned < text.index('latch mode=REDUCING reason="margin: liquidation_distance of grvt')
    assert "[OPEN] order" not in text[warned:]
    assert venues.positions() == ("0", "0")
    found = truth(venues, before)
    assert found.worst_net <= 0.2 + 1e-9, "one clip of each leg at a time"
    assert found.doubled == ()
    ours = venues.ask("/audit")["orders"][before:]
    assert all(row["reduce_only"] for row in ours), "and no order of a liquidation"
    assert account(venues)["liquidating"] is False


def account(venues: Simulator) -> dict[str, Any]:
    (row,) = venues.ask("/state")["grvt"]["accounts"].values()
    return dict(row)


@pytest.mark.parametrize(("venue", "left"), [("backpack", ("0.1", "0")), ("grvt", ("0", "0"))])
def test_F25_an_order_of_a_stranger_latches_names_it_and_only_our_own_part_is_closed(
    serve: Callable[..., Venues], begin: Start, venue: str, left: tuple[str, str]
) -> None:
    venues = serve("--speed", "6")
    run = begin(venues, *HELD)
    holds(venues, run)
    inject(venues, venue, "F25", side="buy", size="0.1")
    assert finished(run, 60) == 77, run.said()[-3000:]
    alert = after(run, f'[ALERT] foreign_activity what="{venue} ')
    assert 'latch mode=REDUCING reason="foreign_activity: ' in alert
    assert "[OPEN] order" not in alert
    assert venues.positions() == left
    if left != ("0", "0"):
        assert "residual backpack 0.1" in alert
    assert truth(venues).doubled == ()


def traded_by_hand(venues: Venues, begin: Start) -> None:
    """A killed run, a trade by hand meanwhile, and a start that refuses and sends nothing."""
    run = begin(venues, *HELD)
    holds(venues, run)
    os.kill(run.pid, signal.SIGSTOP)
    inject(venues, "backpack", "F76", side="sell", size="0.1")
    until(lambda: venues.positions() == ("0.4", "-0.5"), 10, "the trade by hand")
    os.kill(run.pid, signal.SIGKILL)
    assert finished(run, 30) == -9
    before = orders(venues)
    refused = begin(venues, *CROSS, "--iter", "1")
    assert finished(refused, 40) == 78, refused.said()[-3000:]
    assert 'what="venue says 0.4, our orders add up to 0.5"' in refused.said()
    assert 'fill venue=backpack what="sell 0.1 at ' in refused.said()
    assert "`hedged flatten` (or keep it with `hedged adopt`)" in refused.said()
    assert orders(venues) == before, "nothing was sent"


def test_F76_trades_by_hand_while_we_were_away_refuse_the_start_until_the_operator_decides(
    serve: Callable[..., Venues], begin: Start
) -> None:
    venues = serve("--speed", "6")
    traded_by_hand(venues, begin)
    done = begin(venues, "flatten", *LIVE)
    assert finished(done, 60) == 0, done.said()[-3000:]
    assert "adopted venue=backpack qty=-0.1 " in done.said()
    assert venues.positions() == ("0", "0")


def test_F76_what_was_traded_by_hand_is_adopted_hedged_and_closed_by_the_next_start(
    serve: Callable[..., Venues], begin: Start
) -> None:
    venues = serve("--speed", "6")
    traded_by_hand(venues, begin)
    before = orders(venues)
    silent = begin(venues, "adopt", *LIVE)
    assert finished(silent, 20) == 2
    assert "no terminal to ask on; add --yes" in silent.said()
    adopted = begin(venues, "adopt", *LIVE, "--yes")
    assert finished(adopted, 40) == 0, adopted.said()[-3000:]
    assert "the books agree with both venues: backpack 0.4, grvt -0.5" in adopted.said()
    assert 'fill venue=backpack what="sell 0.1 at ' in adopted.said(), "the evidence is kept"
    assert orders(venues) == before, "nothing was sent"
    run = begin(venues, *CROSS, "--iter", "1")
    assert finished(run, 60) == 0, run.said()[-3000:]
    assert "foreign_activity" not in run.said(), "its fill is known from now on"
    assert venues.positions() == ("0", "0")
    assert truth(venues).doubled == ()


def test_F75_an_orphan_pair_is_adopted_into_a_new_journal_and_closed(
    serve: Callable[..., Venues], begin: Start
) -> None:
    venues = serve("--speed", "6")
    run = begin(venues, *HELD)
    holds(venues, run)
    os.kill(run.pid, signal.SIGKILL)
    assert finished(run, 30) == -9
    lost = ("--state-dir", "another")
    adopted = begin(venues, "adopt", *LIVE, *lost, "--yes")
    assert finished(adopted, 40) == 0, adopted.said()[-3000:]
    assert "the books agree with both venues: backpack 0.5, grvt -0.5" in adopted.said()
    assert venues.positions() == ("0.5", "-0.5")
    done = begin(venues, *CROSS, "--iter", "1", *lost)
    assert finished(done, 60) == 0, done.said()[-3000:]
    assert venues.positions() == ("0", "0")
    assert truth(venues).doubled == ()


def test_F29_a_hedge_whose_status_word_nobody_knows_is_frozen_and_counted_by_its_fills(
    serve: Callable[..., Venues], begin: Start
) -> None:
    venues = serve("--speed", "6")
    inject(venues, "grvt", "F29", count=1)
    run = begin(venues, *CROSS, "--iter", "1")
    assert finished(run, 60) == 0, run.said()[-3000:]
    assert "[ALERT] quarantined order=" in run.said()
    assert sum(venues.ask("/faults")["taken"].values()) == 1
    found = truth(venues)
    assert venues.positions() == ("0", "0")
    assert found.doubled == ()
    assert found.worst_net <= 0.5 + 1e-9
    assert found.longest_naked <= 15 * slack()


def test_F29_a_maker_whose_status_word_nobody_knows_is_frozen_asked_for_and_not_placed_twice(
    serve: Callable[..., Venues], begin: Start
) -> None:
    venues = serve("--speed", "0.02")
    inject(venues, "backpack", "F29", count=1)
    run = begin(venues, *QUIET)
    said(run, "[ALERT] quarantined order=", 30)
    until(lambda: resting(venues) == 1, 30, "the maker")
    time.sleep(2)  # noqa: TID251 - time in which it could place another
    assert resting(venues) == 1
    os.kill(run.pid, signal.SIGTERM)
    assert finished(run, 40) == 0, run.said()[-3000:]
    assert resting(venues) == 0
    assert truth(venues).doubled == ()
    assert venues.positions() == ("0", "0")


def test_F52_a_venue_that_keeps_hanging_up_is_shut_to_opening_and_hedged_over_rest(
    serve: Callable[..., Venues], begin: Start
) -> None:
    venues = serve("--speed", "6", "--switch", "grvt.socket_close_every=1s")
    run = begin(venues, *CROSS, "--iter", "0", "--sleep", "1")
    said(run, '[ALERT] venue_quarantined venue=grvt why="reconnect storm"', 60)
    until(lambda: abs(venues.net()) < 0.01, 30, "whatever was open is hedged")
    before = orders(venues)
    time.sleep(3)  # noqa: TID251 - time in which it could open
    assert orders(venues) == before
    assert run.status is None
    os.kill(run.pid, signal.SIGTERM)
    assert finished(run, 40) == 0, run.said()[-3000:]
    found = truth(venues)
    assert found.doubled == ()
    assert found.worst_net <= 0.5 + 1e-9
    assert found.longest_naked <= 15 * slack()


def test_F68_a_halted_primary_keeps_the_pair_and_is_traded_again_when_it_is_open(
    serve: Callable[..., Venues], begin: Start
) -> None:
    venues = serve("--speed", "6")
    run = begin(venues, *CROSS, "--iter", "0", "--sleep", "1")
    holds(venues, run)
    inject(venues, "backpack", "F68", mode="maintenance")
    said(run, '[ALERT] venue_quarantined venue=backpack why="market halted"', 30)
    kept, before = venues.positions(), orders(venues)
    time.sleep(2)  # noqa: TID251 - time in which it could trade
    assert orders(venues) == before
    assert venues.positions() == kept
    assert abs(venues.net()) < 0.01
    venues.ask("/faults", "DELETE")
    said(run, "[VENUE] quarantine_over venue=backpack", 30)
    until(lambda: orders(venues) > before + 2, 30, "trading again")
    os.kill(run.pid, signal.SIGTERM)
    assert finished(run, 40) == 0, run.said()[-3000:]
    assert truth(venues).doubled == ()
    assert truth(venues).longest_naked <= 15 * slack()


def test_F68_a_halted_hedge_venue_opens_nothing_pages_and_is_hedged_on_when_it_is_open(
    serve: Callable[..., Venues], begin: Start
) -> None:
    """The primary leg has just closed: nothing but the halted venue can end the exposure."""
    venues = serve("--speed", "6")
    run = begin(venues, *CROSS, "--iter", "0", "--sleep", "1", "--max-unhedged-ms", "5000")
    holds(venues, run)
    inject(venues, "grvt", "F68")
    said(run, '[ALERT] venue_quarantined venue=grvt why="market halted"', 30)
    said(run, "[ALERT] hedge_late", 30)
    venues.ask("/faults", "DELETE")
    until(lambda: abs(venues.net()) < 0.01, 30, "its end")
    assert "[OPEN] order" not in after(run, "venue_quarantined").partition("quarantine_over")[0]
    os.kill(run.pid, signal.SIGTERM)
    assert finished(run, 40) == 0, run.said()[-3000:]
    found = truth(venues)
    assert found.doubled == ()
    assert found.worst_net <= 0.5 + 1e-9


def test_F79_a_maker_that_fills_while_the_hedge_venue_refuses_our_key_is_undone_on_the_primary(
    serve: Callable[..., Venues], begin: Start
) -> None:
    """Its cancel is refused too (F59), so it fills when the market comes to it."""
    venues = serve("--speed", "0.02")
    run = begin(venues, *QUIET)
    until(lambda: resting(venues) == 1, 30, "a resting maker")
    inject(venues, "backpack", "F59", count=100_000)
    inject(venues, "grvt", "F79", mode="revoked")
    said(run, "[ALERT] venue_forbidden venue=grvt", 30)
    said(run, "[ALERT] cancels_fail venue=backpack", 30)
    assert resting(venues) == 1
    venues.ask("/market", "POST", {"venue": "backpack", "ticker": "ETH", "shift_bps": -20})
    assert finished(run, 60) == 77, run.said()[-3000:]
    assert venues.positions() == ("0", "0")
    text = after(run, "[OPEN] filled")
    assert 'latch mode=REDUCING reason="venue_forbidden: grvt refuses our key' in text
    assert "[EMERGENCY] order venue=backpack side=sell" in text
    assert "[ALERT] latch mode=HALTED" in text
    found = truth(venues)
    assert found.doubled == ()
    assert found.longest_naked <= 15 * slack()
    rows = venues.ask("/audit")["orders"]
    assert all(row["reduce_only"] for row in rows[1:]), "the maker, and what undid it"

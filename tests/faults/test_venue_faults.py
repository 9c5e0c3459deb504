"""Faults of orders and fills, one kind alone, on the whole daemon in the simulated world.

Every episode is judged by the engines' own books: S1 to S16 and L2 to L4 hold, and it ends flat or
hedged. What is asserted here is what that fault's row asks for beside.
"""

import pytest

from strategy.domain import Venue
from tests.dst.faults import BY_NAME
from tests.faults.alone import episode, kept, refusals

B, G = Venue.BACKPACK, Venue.GRVT


def cases(*names: str) -> list[tuple[str, Venue]]:
    """Return kinds with each venue that can have them."""
    return [(name, venue) for name in names for venue in BY_NAME[name].venues]


ORDERS = cases("F01", "F02", "F03", "F03 late", "F04", "F05", "F06", "F07", "F10", "F16")
TOLD = cases("F23", "F24", "F25", "F26", "F29", "F59")
STREAMS = cases("F49", "F50", "F52", "F53", "F54", "F55", "F56 private")
MARKET = cases("F60", "F61", "F65", "F66", "F68", "F69", "F70", "F71", "F72", "F73", "F74", "F79")


@pytest.mark.parametrize(("name", "venue"), ORDERS, ids=str)
def test_F01_to_F07_F10_F16_orders_that_go_astray_never_double_and_end_hedged(
    name: str, venue: Venue
) -> None:
    report = episode(name, venue=venue, seed=2)
    assert report.exit == 0
    assert report.figures.longest <= 15 * 10**9


@pytest.mark.parametrize(("name", "venue"), TOLD, ids=str)
def test_F23_to_F26_F29_F59_what_a_venue_tells_wrongly_ends_flat_or_named(
    name: str, venue: Venue
) -> None:
    report = episode(name, venue=venue, seed=2)
    assert report.exit in (0, 77, 78)
    if name in ("F24", "F59"):
        assert report.exit == 0


@pytest.mark.parametrize(("name", "venue"), STREAMS, ids=str)
def test_F49_F50_F52_to_F56_lost_streams_and_venues_end_hedged(name: str, venue: Venue) -> None:
    report = episode(name, venue=venue, seed=2, at=(2.0,), seconds=6.0)
    assert report.exit == 0
    assert report.figures.longest <= 20 * 10**9


@pytest.mark.parametrize(("name", "venue"), MARKET, ids=str)
def test_F60_F61_F65_F66_F68_to_F74_F79_bad_markets_clocks_and_accounts_end_flat_or_named(
    name: str, venue: Venue
) -> None:
    report = episode(name, venue=venue, seed=2, at=(2.0,), seconds=6.0)
    assert report.exit in (0, 77, 78)
    assert report.figures.longest <= 20 * 10**9


BOTH = pytest.mark.parametrize("venue", Venue, ids=str)


@BOTH
def test_F09_an_expired_signature_is_a_definite_refusal_and_is_built_anew(venue: Venue) -> None:
    report = episode("F09", venue=venue)
    again = refusals(report, "expired_signature")
    assert again
    assert report.lines.events("VENUE", "in_doubt") == []
    assert len({f["order"] for f in again}) == len(again), "a new order each time, with a new id"


def test_F11_post_only_crosses_are_backed_off_and_never_hedged() -> None:
    report = episode(kept("F11"), venue=B, seconds=6.0, at=(0.6,))
    crosses = refusals(report, "post_only_cross")
    assert 2 <= len(crosses) <= 12, "the wait between two attempts grows"
    started = report.lines.events("SMART_ROUTING", "starting")
    filled = [line for line in report.trades if line[1] is B]
    assert len(started) <= len(filled), "zero hedges for makers that never rested"


def test_F12_a_hedge_wall_withdraws_makers_and_undoes_the_primary_reduce_only() -> None:
    report = episode(
        kept("F12"), venue=G, at=(1.0,), seconds=9.0, storm=12.0, max_unhedged_ms="3000"
    )
    assert refusals(report, "insufficient_margin")
    assert report.lines.events("ALERT", "degraded")
    undone = report.lines.events("EMERGENCY", "order")
    assert any(f["venue"] == "backpack" and f["reduce_only"] == "true" for f in undone)
    assert report.figures.longest <= 15 * 10**9


@BOTH
def test_F13_a_refused_reduction_is_no_loop_and_the_position_decides(venue: Venue) -> None:
    report = episode("F13", venue=venue)
    assert len(refusals(report, "reduce_only")) <= 20


def test_F13_a_trimmed_reduction_counts_with_what_the_venue_says() -> None:
    report = episode("F13 trimmed", venue=G)
    assert report.lines.events("ALERT", "venue_violation") == []


@BOTH
def test_F14_an_order_off_the_new_tick_is_refused_and_nothing_is_rounded_up(venue: Venue) -> None:
    report = episode("F14", venue=venue)
    assert refusals(report, "bad_tick")
    assert report.lines.events("VENUE", "in_doubt") == []


@BOTH
def test_F19_a_fill_told_twice_is_hedged_once(venue: Venue) -> None:
    report = episode("F19", venue=venue)
    assert report.lines.events("ALERT", "venue_violation") == []


@BOTH
def test_F20_a_fill_before_its_acknowledgement_is_hedged_at_once(venue: Venue) -> None:
    report = episode("F20", venue=venue)
    assert report.lines.events("ALERT", "foreign_activity") == []


@BOTH
def test_F21_fills_out_of_order_hedge_the_larger_total_and_balance_in_the_end(
    venue: Venue,
) -> None:
    report = episode("F21", venue=venue)
    assert report.lines.events("ALERT", "venue_violation") == []


def test_F22_a_fill_during_a_cancel_is_hedged() -> None:
    report = episode("F22", venue=B, fill_timeout="1")
    assert report.lines.events("ALERT", "stop_incomplete") == []


@BOTH
def test_F28_an_odd_fee_is_booked_as_it_is_and_moves_no_hedge(venue: Venue) -> None:
    """The episode's own oracle: fees from scratch are those of the fold."""
    report = episode("F28", venue=venue)
    assert report.lines.events("ALERT", "hedge_late") == []
    assert report.exit == 0


@BOTH
def test_F56_a_stale_public_stream_opens_nothing_though_the_private_one_is_up(
    venue: Venue,
) -> None:
    report = episode("F56", venue=venue, at=(2.0,), seconds=6.0)
    told = [str(f.get("why", "")) for _, _, _, _, f in report.lines.lines]
    assert any("stale" in why or "public" in why or "book" in why for why in told)


def test_F64_a_jump_between_fill_and_hedge_is_bounded_by_the_cap() -> None:
    report = episode("F64", venue=G, seconds=5.0)
    assert report.figures.longest <= 15 * 10**9, "S10 is checked for every order by the episode"


@BOTH
def test_F67_depth_that_vanishes_leaves_a_rest_that_is_hedged_too(venue: Venue) -> None:
    report = episode("F67", venue=venue, seconds=3.0)
    assert report.figures.longest <= 15 * 10**9

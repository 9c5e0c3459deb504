"""The executor at rest: it follows the touch, keeps its queue, and splits when that is cheapest."""

from dataclasses import replace

import pytest

from strategy.cost import Estimate
from strategy.domain import Ns, Status, Tif, bps, plain
from strategy.events import CancelAsked, RoutePhase
from strategy.flow import Flow
from strategy.fold import fold
from strategy.router import HedgeTask, _split
from strategy.world import World
from tests.builders import SECOND, at, book, fill, params, planned, px, qty, view, with_book
from tests.unit.test_router import cancels, exposed, fresh, phase, placed, resting, step

# --- following the touch -------------------------------------------------------------------------


def test_an_order_that_the_touch_left_behind_is_cancelled_and_only_then_replaced() -> None:
    w, number = resting(params())
    away = book(bids=[("2999.95", "5")], asks=[("3000.01", "0.5"), ("3000.05", "5")])
    w, intents = step(fresh(w, 1, away), params(), 1)
    assert [(i.client_id, i.why) for i in cancels(intents)] == [(2, "re-peg")]
    assert placed(intents) == []
    w = fold(w, CancelAsked(number, at(1), "re-peg"))
    assert step(fresh(w, 1.1, away), params(), 1.1)[1] == []
    w = fold(w, view(w, 2, "0.2", Status.CANCELLED, 1.2))
    (place,) = placed(step(fresh(w, 1.2, away), params(), 1.2)[1])
    assert (place.draft.px, place.draft.qty) == (px("2999.96"), qty("0.3"))


def test_an_order_is_not_moved_within_a_book_interval_of_its_sending() -> None:
    w, _ = resting(params())
    away = book(bids=[("2999.95", "5")])
    assert step(with_book(w, away, 0.05), params(), 0.05)[1] == []
    assert cancels(step(with_book(w, away, 0.08), params(), 0.08)[1])


@pytest.mark.parametrize("own", ["0.5", "9"])
def test_an_order_keeps_its_queue_while_the_touch_stays(own: str) -> None:
    """Others may join or leave it: only the price that crossing pays moves the order."""
    w, _ = resting(params())
    joined = book(asks=[("3000.01", own), ("3000.05", "5")])
    assert step(fresh(w, 1, joined), params(), 1)[1] == []


def test_an_order_never_steps_back_from_the_book() -> None:
    w, _ = resting(params())
    for bid in ("3000.01", "3000.02", "3000.30"):
        up = book(bids=[(bid, "5")], asks=[("3000.40", "5")])
        assert step(fresh(w, 1, up), params(), 1)[1] == []


# --- splitting -----------------------------------------------------------------------------------


def slow(w: World, size: str) -> World:
    """A market in which one side's takers trade that size in a minute."""
    flow = Flow(
        at=at(0).mono,
        waits=60_000,
        squares=60_000 * 1_000,
        volume=2 * qty(size),
        span=Ns(60 * SECOND),
    )
    return replace(w, flow=flow)


def test_part_rests_and_the_excess_crosses_when_that_is_cheapest() -> None:
    w, _ = step(slow(exposed(), "0.25"), params(), 0)
    _, intents = step(fresh(w, 2), params(), 2)
    rest, take = (i.draft for i in placed(intents))
    assert (rest.tif, rest.post_only, rest.qty) == (Tif.GTC, True, qty("0.18"))
    assert (take.tif, take.post_only, take.qty) == (Tif.IOC, False, qty("0.32"))
    assert rest.qty + take.qty == qty("0.5")
    assert rest.hedge_id == take.hedge_id


def test_a_resting_order_far_larger_than_its_worth_is_cut_down() -> None:
    w, _ = resting(params(), slow(exposed(), "0.25"))
    w, intents = step(fresh(w, 2), params(), 2)
    (cancel,) = cancels(intents)
    assert cancel.why.endswith("worth 0.18386272")
    assert placed(intents) == []
    assert phase(w) is RoutePhase.PASSIVE


def test_the_follow_up_of_a_split_needs_a_newer_book() -> None:
    w, _ = step(slow(exposed(), "0.25"), params(), 0)
    w, intents = step(fresh(w, 2), params(), 2)
    rest, take = (i.draft for i in placed(intents))
    w = planned(planned(w, rest, 2, 2), take, 3, 2)
    w = fold(w, fill(w, 3, "0.1", "t", 2.1))
    w = fold(w, view(w, 3, "0.1", Status.CANCELLED, 2.1))
    assert placed(step(w, params(), 2.5)[1]) == []
    (more,) = placed(step(fresh(w, 2.5), params(), 2.5)[1])
    assert (more.draft.tif, more.draft.qty) == (Tif.IOC, qty("0.22"))


def test_a_split_leaves_no_rest_below_the_minimum() -> None:
    """0.01 at 1,900 is below the 20 quote units that the venue trades: it crosses with the rest."""
    cheap = book(bids=[("1900.00", "9")], asks=[("1900.05", "9")])
    w, _ = step(with_book(exposed(), cheap), params(), 0)
    assert w.hedge is not None
    task = HedgeTask(
        w.hedge, -qty("0.5"), -qty("0.5"), (), w.hedge_leg, cheap, reduce_only=False,
        rest_until=at(9).mono, stop_at=at(15).mono,
    )  # fmt: skip
    priced = Estimate(px("1900.01"), bps(5), bps(1), Ns(0), 0, bps(0), bps(0), qty("0.01"))
    for worth, sizes in (("0.01", ["0.5"]), ("0.02", ["0.02", "0.48"]), ("0.49", ["0.5"])):
        intents = _split(task, priced, qty(worth), params(), at(0))
        assert [plain(i.draft.qty) for i in placed(intents)] == sizes

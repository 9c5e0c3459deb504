"""The invariants bite: each broken book is caught, and the latch closes on it."""

from dataclasses import replace

from strategy.domain import ClientId, SignedQty, Status, nano
from strategy.events import CancelAsked, OrderAnswered, Verdict
from strategy.fold import fold
from strategy.invariants import broken
from strategy.world import Order, OrderState, World
from tests.builders import at, fill, maker_draft, params, planned, qty, view, world
from tests.harness import Harness

ID = ClientId(1)
ASKED = CancelAsked(ID, at(), "x")


def with_order(w: World, **changes: object) -> World:
    order: Order = replace(w.orders[ID], **changes)  # type: ignore[arg-type]  # names are checked
    return replace(w, orders={**w.orders, ID: order})


def base() -> World:
    w = planned(world(), maker_draft())
    return fold(w, view(w, 1, "0", Status.OPEN))


def test_every_honest_fold_passes() -> None:
    w = base()
    event = fill(w, 1, "0.2")
    assert broken(w, fold(w, event), event) == ""


def test_S7_traded_beyond_the_order_is_caught() -> None:
    w = base()
    assert "S7" in broken(w, with_order(w, cum=qty("9")), ASKED)


def test_S7_a_shrinking_size_is_caught() -> None:
    w = fold(base(), fill(base(), 1, "0.2"))
    assert "S7" in broken(w, with_order(w, cum=qty("0.1"), filled=qty("0.1")), ASKED)


def test_S5_leaving_doubt_without_evidence_is_caught() -> None:
    w = planned(world(), maker_draft())
    w = fold(w, OrderAnswered(ID, Verdict.IN_DOUBT, at()))
    assert "S5" in broken(w, with_order(w, state=OrderState.DEAD), ASKED)
    answered = OrderAnswered(ID, Verdict.REFUSED, at(), code="X")
    assert broken(w, fold(w, answered), answered) == ""


def test_S4_a_request_that_changes_is_caught() -> None:
    w = base()
    other = replace(w.orders[ID].request, qty=qty("0.7"))
    assert "S4" in broken(w, with_order(w, request=other), ASKED)


def test_S16_a_float_in_the_books_is_caught() -> None:
    w = base()
    assert "S16" in broken(w, with_order(w, fee=0.1), ASKED)


def test_a_position_that_moves_by_itself_is_caught() -> None:
    w = fold(base(), fill(base(), 1, "0.2"))
    moved = with_order(w, reason="touched")
    legs = {v: replace(leg, position=SignedQty(nano(1))) for v, leg in moved.legs.items()}
    assert "position moved" in broken(w, replace(moved, legs=legs), ASKED)


def test_a_broken_invariant_closes_the_latch() -> None:
    h = Harness(1, params())
    h.run(2)
    order = next(iter(h.core.world.orders))
    honest = h.core.world
    wrong = {**honest.orders, order: replace(honest.orders[order], cum=qty("9"))}
    h.core.world = replace(honest, orders=wrong)
    h.core.on(CancelAsked(order, h.now(), "touch it"))
    assert any("invariant" in v for v in h.core.world.violations)
    h.core.tick()
    assert h.core.world.mode.name != "RUNNING"
    h.journal.close()

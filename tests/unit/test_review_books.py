"""Books and identities that must survive what is dropped, lost or written nowhere."""

from dataclasses import replace
from pathlib import Path

from daemon.journal import Journal
from strategy.domain import ClientId, Ns, Status
from strategy.events import OrderAnswered, OrderPlanned, Verdict
from strategy.fold import KEEP_FINISHED, fold
from strategy.world import World
from tests.builders import WALL, at, maker_draft, planned, qty, world
from tests.unit.fold_rig import says, seen


def followed(w: World, number: int) -> World:
    """That many further orders, each refused at once."""
    first = w.orders[ClientId(1)]
    for n in range(2, number + 2):
        request = replace(first.request, client_id=ClientId(n))
        w = fold(w, OrderPlanned(request, first.draft, at()))
        w = fold(w, OrderAnswered(ClientId(n), Verdict.REFUSED, at(), code="x"))
    return w


def traded_without_a_price() -> World:
    w = planned(world(), maker_draft(size="0.5"))
    return seen(w, says(w, 1, cum=qty("0.5"), status=Status.FILLED))


def test_F24_an_order_whose_fill_has_no_price_yet_is_not_dropped_with_its_money() -> None:
    w = traded_without_a_price()
    after = followed(w, 3 * KEEP_FINISHED)
    assert after.equity() == w.equity()
    assert len(after.orders) <= 2 * KEEP_FINISHED + 1


def test_L6_even_orders_without_a_price_do_not_pile_up_for_ever() -> None:
    w = traded_without_a_price()
    first = w.orders[ClientId(1)]
    many = {
        ClientId(n): replace(first, request=replace(first.request, client_id=ClientId(n)))
        for n in range(1, 8 * KEEP_FINISHED + 1)
    }
    after = followed(replace(w, orders=many), 8 * KEEP_FINISHED)
    assert len(after.orders) <= 8 * KEEP_FINISHED


def test_F40_S4_what_left_in_an_emergency_without_a_record_is_never_named_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "live.db"
    journal = Journal(path, Ns(WALL))
    newest = journal.next_client_id(Ns(WALL))
    journal.commit()
    journal.survive(None)  # the reserve is on the same broken disk
    lost = journal._db
    file = lost._db
    lost._lose("disk I/O error", journal._went)
    file.close()
    emergency = [journal.next_client_id(Ns(WALL)) for _ in range(20)]
    journal.close()
    again = Journal(path, Ns(WALL))
    after = [again.next_client_id(Ns(WALL)) for _ in range(1000)]
    again.close()
    assert min(after) == newest + 1
    assert set(emergency).isdisjoint(after)
    assert max(emergency) < 1 << 32

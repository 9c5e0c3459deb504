"""Faults that the in-process venue applies itself, told as the real adapters would tell them."""

import pytest

from exchanges.errors import VenueForbidden
from exchanges.port import Accepted, Found, InDoubt, Refused
from strategy.domain import Fill, OrderView, Position, Status, Venue, nano
from tests.sim.test_inprocess import Desk, ref
from tests.sim.test_universe import START


@pytest.fixture(params=list(Venue))
def desk(request: pytest.FixtureRequest) -> Desk:
    return Desk(request.param)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("F04", "rate_limited"),
        ("F09", "expired_signature"),
        ("F14", "bad_tick"),
        ("F79", "forbidden"),
    ],
)
async def test_F04_F09_F14_F79_a_create_is_certainly_refused(
    desk: Desk, name: str, code: str
) -> None:
    desk.fault(name)

    outcome = await desk.submit(desk.request())

    assert isinstance(outcome, Refused)
    assert outcome.code == code
    assert desk.universe.engines[desk.venue].orders == {}


async def test_F06_a_garbled_answer_leaves_an_executed_order_in_doubt(desk: Desk) -> None:
    desk.fault("F06")

    assert isinstance(await desk.submit(desk.request()), InDoubt)
    found = await desk.run(lambda: desk.port.lookup(ref(1, desk), START))
    assert isinstance(found, Found)
    assert found.view.cum == nano("0.5")


async def test_F10_an_overlapping_id_is_doubt(desk: Desk) -> None:
    desk.fault("F10")

    assert isinstance(await desk.submit(desk.request()), InDoubt)


async def test_F13_a_reduce_only_order_is_refused(desk: Desk) -> None:
    desk.fault("F13")

    outcome = await desk.submit(desk.request(reduce_only=True))

    assert isinstance(outcome, Refused)


async def test_F16_an_accepted_order_is_cancelled_at_once(desk: Desk) -> None:
    desk.fault("F16")

    assert isinstance(await desk.submit(desk.maker()), Accepted)
    last = desk.of(OrderView)[-1]
    assert isinstance(last, OrderView)
    assert last.status is Status.CANCELLED


async def test_F20_an_answer_comes_after_its_fill(desk: Desk) -> None:
    desk.fault("F20", delay_ms=500)

    assert isinstance(await desk.submit(desk.request()), Accepted)
    assert len(desk.of(Fill)) == 1


async def test_F21_two_fills_arrive_in_the_wrong_order(desk: Desk) -> None:
    desk.fault("F21")

    await desk.submit(desk.request(1))
    assert desk.of(Fill) == []
    await desk.submit(desk.request(2))

    clients = [fill.client_id for fill in desk.of(Fill) if isinstance(fill, Fill)]
    assert clients == [2, 1]


async def test_F23_a_fill_is_larger_than_its_order(desk: Desk) -> None:
    desk.fault("F23")

    await desk.submit(desk.request())

    (fill,) = desk.of(Fill)
    assert isinstance(fill, Fill)
    assert fill.qty > nano("0.5")


async def test_F28_a_fee_is_negative_and_of_another_currency(desk: Desk) -> None:
    desk.fault("F28")

    await desk.submit(desk.request())

    (fill,) = desk.of(Fill)
    assert isinstance(fill, Fill)
    assert fill.fee < 0
    assert fill.fee_asset == "POINTS"


async def test_F29_nobody_knows_the_status_word(desk: Desk) -> None:
    desk.fault("F29", count=50)

    await desk.submit(desk.request())

    words = {view.status for view in desk.of(OrderView) if isinstance(view, OrderView)}
    assert words == {Status.UNKNOWN}


async def test_F73_a_position_is_told_larger_than_it_is(desk: Desk) -> None:
    desk.fault("F73", size="0.3")

    told = await desk.run(desk.port.position)

    assert isinstance(told, Position)
    assert told.qty == nano("0.3")


async def test_F79_a_read_with_a_refused_key_is_forbidden(desk: Desk) -> None:
    desk.fault("F79")

    with pytest.raises(VenueForbidden):
        await desk.port_error(desk.port.position)
    assert isinstance(await desk.run(lambda: desk.port.lookup(ref(1, desk), START)), InDoubt)

"""Two accounts of the simulated GRVT trade with each other through the venue's own SDK."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from tests.strangers.grvt_faces import RawFace, Refused, Ticket
from tests.strangers.grvt_faces_async import RawAsyncFace
from tests.strangers.simulation import Simulation, until
from tests.strangers.test_grvt_sdk_session import (
    MAKER,
    TAKER,
    acknowledged,
    flat,
    held,
    money,
    state_of,
)

PX = Decimal(3000)
"""Between the recorded bid and ask."""


@dataclass(frozen=True)
class Account:
    """Another account of the same venue."""

    grvt: dict[str, Any]


@pytest.fixture(scope="module")
def second(simulation: Simulation) -> Account:
    opened = simulation.ask("/accounts", "POST", {"venue": "grvt"})
    keys = {name: opened[name] for name in ("api_key", "private_key", "sub_account_id")}
    return Account(simulation.grvt | keys)


@pytest.fixture
def maker(simulation: Simulation) -> Iterator[RawFace]:
    face = RawFace(simulation)
    yield face
    face.cancel_all()
    until(lambda: not face.open_orders())
    flat(face)
    face.close()


@pytest.fixture
def taker(second: Account) -> Iterator[RawFace]:
    face = RawAsyncFace(second)
    yield face
    flat(face)
    face.close()


def test_one_account_fills_the_other_in_part(
    simulation: Simulation, maker: RawFace, taker: RawFace
) -> None:
    start = money(taker)
    resting = acknowledged(maker, Ticket(buy=False, size="5.00", px=str(PX), post_only=True))
    state_of(maker, resting, "OPEN")
    took = acknowledged(taker, Ticket(size="0.30", px=str(PX), tif="IMMEDIATE_OR_CANCEL"))
    assert state_of(taker, took, "FILLED")["traded_size"] == ["0.3"]

    fill = taker.fills()[0]
    assert (fill["is_taker"], fill["is_buyer"], Decimal(fill["price"])) == (True, True, PX)
    cost = PX * Decimal("0.3")
    assert Decimal(fill["fee"]) == cost * TAKER
    assert money(taker) == start - cost * TAKER
    assert held(taker) == Decimal("0.3")

    # One execution has one number for both sides and for the tape (A4.2).
    execution = fill["trade_id"].partition("-")[0]
    other = next(row for row in maker.fills() if row["trade_id"].partition("-")[0] == execution)
    assert (other["is_taker"], other["is_buyer"], other["size"]) == (False, False, "0.3")
    assert (other["client_order_id"], Decimal(other["fee"])) == (resting, cost * MAKER)
    assert any(row["trade_id"].partition("-")[0] == execution for row in maker.trades())
    state = state_of(maker, resting, "OPEN")
    assert Decimal(state["traded_size"][0]) >= Decimal("0.3")  # recorded buys reach it as well
    assert simulation.state("grvt")["money"]["total"] == "0"


def test_an_account_sees_and_ends_only_its_own_orders(maker: RawFace, taker: RawFace) -> None:
    named = acknowledged(maker, Ticket())
    state_of(maker, named, "OPEN")
    assert taker.open_orders() == []
    for ask in (taker.order, taker.cancel):
        with pytest.raises(Refused) as refused:
            ask(named)
        assert refused.value.code == 1004
    assert taker.cancel_all() is True
    assert state_of(maker, named, "OPEN", "CANCELLED")["status"] == "OPEN"


def test_a_login_opens_no_other_account(simulation: Simulation, second: Account) -> None:
    """The keys of one account with the number of the other (A4.3: 1001, and 2003 for orders)."""
    mixed = Account(second.grvt | {"sub_account_id": simulation.grvt["sub_account_id"]})
    thief = RawFace(mixed)
    before = simulation.state("grvt")["open_orders"]
    codes: list[int] = []
    for ask in (thief.positions, thief.summary, lambda: thief.create(Ticket())):
        with pytest.raises(Refused) as refused:
            ask()
        codes.append(refused.value.code)
    thief.close()
    assert codes == [1001, 1001, 2003]
    assert simulation.state("grvt")["open_orders"] == before

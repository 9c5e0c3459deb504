"""Each public class of grvt-pysdk 0.2.1 completes a session with ``hedged simulate``.

One script for all five, from login to flat again; every figure is checked, and against the
simulator's own books. The classes are unmodified but for their addresses.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from tests.strangers.grvt_faces import SYMBOL, CcxtFace, Face, Json, RawFace, Refused, Ticket
from tests.strangers.grvt_faces_async import CcxtProFace, CcxtWsFace, RawAsyncFace
from tests.strangers.simulation import ASKS, BIDS, PRINT_SIZE, Simulation, until

FACES: tuple[Callable[[Simulation], Face], ...] = (
    RawFace,
    RawAsyncFace,
    CcxtFace,
    CcxtProFace,
    CcxtWsFace,
)
TAKER, MAKER = Decimal("0.00045"), Decimal("-0.000001")
"""0.045 % paid, 0.0001 % received (venues.md A7)."""
ASK, BID = Decimal(ASKS[0][0]), Decimal(BIDS[0][0])


@pytest.fixture(scope="module", params=FACES, ids=lambda made: str(made.name))
def face(request: pytest.FixtureRequest, redirected: Simulation) -> Iterator[Face]:
    made: Face = request.param(redirected)
    if isinstance(made, CcxtWsFace):
        made.connected()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def clean(face: Face, simulation: Simulation) -> None:
    """Start flat and without orders, whatever an earlier failure left."""
    state = simulation.state("grvt")
    if state["open_orders"] or state["position"] != "0":
        face.cancel_all()
        flat(face)


def state_of(face: Face, named: str, *wanted: str) -> Json:
    """Query by client id until the order is in one of those states; returns its state."""

    def look() -> Json | None:
        try:
            state: Json = face.order(named)["state"]
        except Refused as no:
            if no.code != 1004:
                raise
            return None  # not yet visible (A5.1)
        return state if state["status"] in wanted else None

    return until(look)


def refilled(face: Face) -> None:
    """Wait until the recorded market shows its touch again."""
    touch = ((BID, Decimal(1)), (ASK, Decimal(1)))

    def look() -> bool:
        book = face.book(10)
        best = [(Decimal(side[0]["price"]), Decimal(side[0]["size"])) for side in
                (book["bids"], book["asks"]) if side]  # fmt: skip
        return tuple(best) == touch

    until(look)


def acknowledged(face: Face, ticket: Ticket) -> str:
    """Send an order; returns its client id. The reply states no outcome (A5.1)."""
    ack = face.create(ticket)
    assert (ack["order_id"], ack["state"]["status"]) == ("0x00", "PENDING")
    assert [Decimal(size) for size in ack["state"]["book_size"]] == [Decimal(ticket.size)]
    assert Decimal(ack["state"]["traded_size"][0]) == 0
    assert ack["legs"][0]["is_buying_asset"] is ticket.buy
    return str(ack["metadata"]["client_order_id"])


def money(face: Face) -> Decimal:
    """Return the account's USDT."""
    rows = {row["currency"]: row["balance"] for row in face.summary()["spot_balances"]}
    return Decimal(rows["USDT"])


def held(face: Face) -> Decimal:
    """Return the position's size; no row means flat."""
    rows = face.positions()
    assert [row["instrument"] for row in rows] in ([], [SYMBOL])
    return Decimal(rows[0]["size"]) if rows else Decimal(0)


def agrees(face: Face, it: Simulation) -> None:
    """Position and money are what the simulator's own books say."""
    state = it.state("grvt")
    assert held(face) == Decimal(state["position"])
    assert money(face) == Decimal(state["balance"])


def flat(face: Face) -> None:
    """Close what is held with a reduce-only market order."""
    size = held(face)
    if size:
        ticket = Ticket(buy=size < 0, size=str(abs(size)), px="0", market=True, reduce_only=True)
        state_of(face, acknowledged(face, ticket), "FILLED")
    assert held(face) == 0


# --- the session ---------------------------------------------------------------------------------


def test_markets_and_prices(face: Face) -> None:
    listed = {row["instrument"]: row for row in face.markets()}
    eth = listed[SYMBOL]
    assert (eth["instrument_hash"], eth["base_decimals"]) == ("0x030401", 9)
    assert (eth["tick_size"], eth["min_size"]) == ("0.01", "0.01")
    refilled(face)
    for row in (face.ticker(), face.mini()):
        assert (row["instrument"], row["mark_price"], row["mid_price"]) == (
            SYMBOL, "3000.0", "3000.0",
        )  # fmt: skip
        assert (row["best_bid_price"], row["best_ask_price"]) == ("2999.5", "3000.5")
        assert (row["best_bid_size"], row["best_ask_size"]) == ("1.0", "1.0")
    book = face.book(10)
    assert [level["price"] for level in book["bids"]] == ["2999.5", "2999.0", "2998.0", "2990.0"]
    assert [level["size"] for level in book["asks"]] == ["1.0", "2.0", "50.0", "500.0"]
    assert book["instrument"] == SYMBOL


def test_public_trades_candles_and_funding_rates(face: Face) -> None:
    def prints() -> list[Json] | None:
        touch = {(False, BID), (True, ASK)}
        return [row for row in face.trades() if Decimal(row["size"]) == Decimal(PRINT_SIZE)
                and (row["is_taker_buyer"], Decimal(row["price"])) in touch] or None  # fmt: skip

    trades = until(prints)
    assert {(row["instrument"], row["venue"]) for row in trades} == {(SYMBOL, "ORDERBOOK")}
    times = [int(trade["event_time"]) for trade in trades]
    assert times == sorted(times, reverse=True)
    bar = face.candles()[0]
    assert Decimal(bar["low"]) <= Decimal(bar["close"]) <= Decimal(bar["high"])
    assert int(bar["close_time"]) - int(bar["open_time"]) == 60_000_000_000
    assert bar["trades"] > 0
    rates = face.funding_rates()
    assert len(rates) == 3
    assert all(abs(Decimal(row["funding_rate"])) <= Decimal("0.3") for row in rates)  # %, A4.1
    gaps = {int(a["funding_time"]) - int(b["funding_time"]) for a, b in pairwise(rates)}
    assert gaps == {8 * 3600 * 1_000_000_000}


def test_account_and_leverage(face: Face, simulation: Simulation) -> None:
    agrees(face, simulation)
    summary = face.summary()
    assert summary["sub_account_id"] == simulation.grvt["sub_account_id"]
    assert summary["settle_currency"] == "USDT"
    assert summary["positions"] == []
    assert summary["total_equity"] == summary["available_balance"]
    leverages = face.leverages()
    if leverages is None:  # the ccxt-style classes have no such method
        return
    row = next(row for row in leverages if row["instrument"] == SYMBOL)
    assert (row["leverage"], row["min_leverage"], row["max_leverage"]) == ("10.0", "1.0", "50.0")
    face.set_leverage("20")
    rows: Any = face.leverages()
    assert rows[0]["leverage"] == "20.0"
    face.set_leverage("10")
    with pytest.raises(Refused) as refused:
        face.set_leverage("51")
    assert (refused.value.code, refused.value.status) == (2108, 400)


@pytest.mark.parametrize("post_only", [False, True], ids=["limit", "post-only"])
def test_a_resting_order_is_listed_queried_and_cancelled(
    face: Face, simulation: Simulation, post_only: bool
) -> None:
    before = face.summary()
    named = acknowledged(face, Ticket(px="2990.0", post_only=post_only))
    state = state_of(face, named, "OPEN")
    assert (state["book_size"], state["traded_size"]) == (["0.5"], ["0.0"])

    order = face.order(named)
    assert order["order_id"] != "0x00"
    assert order["order_id"].startswith("0x")
    assert (order["post_only"], order["legs"][0]["limit_price"]) == (post_only, "2990.0")
    resting = face.open_orders()
    assert [row["order_id"] for row in resting] == [order["order_id"]]
    assert simulation.state("grvt")["open_orders"] == 1
    margin = Decimal(face.summary()["initial_margin"])
    assert margin == Decimal(2990) * Decimal("0.5") / 10
    sizes = {level["price"]: level["size"] for level in face.book(10)["bids"]}
    assert sizes["2990.0"] == "500.5"  # the market's and ours

    assert face.cancel(named) is True
    state = state_of(face, named, "CANCELLED")
    assert (state["reject_reason"], state["traded_size"]) == ("CLIENT_CANCEL", ["0.0"])
    assert face.open_orders() == []
    assert face.history()[0]["metadata"]["client_order_id"] == named
    assert face.summary()["available_balance"] == before["available_balance"]


def test_a_taker_fills_in_part_pays_its_fee_and_is_closed_by_a_market_order(
    face: Face, simulation: Simulation
) -> None:
    start = money(face)
    refilled(face)
    ioc = acknowledged(face, Ticket(size="1.50", px=str(ASK), tif="IMMEDIATE_OR_CANCEL"))
    state = state_of(face, ioc, "CANCELLED")
    assert (state["traded_size"], state["reject_reason"]) == (["1.0"], "IOC_CANCEL")
    assert [Decimal(px) for px in state["avg_fill_price"]] == [ASK]

    fee = ASK * TAKER
    fill = face.fills()[0]
    assert (fill["client_order_id"], fill["is_taker"], fill["is_buyer"]) == (ioc, True, True)
    assert (Decimal(fill["price"]), fill["size"]) == (ASK, "1.0")
    assert (Decimal(fill["fee"]), fill["fee_rate"]) == (fee, "0.045")
    assert money(face) == start - fee
    agrees(face, simulation)
    row = next(row for row in simulation.audit("grvt") if row["client_id"] == ioc)
    assert (row["filled"], row["avg_price"], Decimal(row["fee"])) == ("1", "3000.5", fee)
    refilled(face)
    row = face.positions()[0]
    assert (row["size"], Decimal(row["entry_price"])) == ("1.0", ASK)
    assert (row["mark_price"], row["unrealized_pnl"]) == ("3000.0", "-0.5")
    assert row["notional"] == "3000.0"
    assert Decimal(face.summary()["total_equity"]) == start - fee - Decimal("0.5")

    close = acknowledged(
        face, Ticket(buy=False, size="1.00", px="0", market=True, reduce_only=True)
    )
    state_of(face, close, "FILLED")
    assert face.positions() == []
    fill = face.fills()[0]
    assert (Decimal(fill["price"]), fill["realized_pnl"]) == (BID, "-1.0")
    assert money(face) == start - fee - BID * TAKER - 1
    agrees(face, simulation)
    assert [row["metadata"]["client_order_id"] for row in face.history()[:2]] == [close, ioc]


def test_a_maker_fills_in_part_and_earns_its_rebate(face: Face, simulation: Simulation) -> None:
    start = money(face)
    px = Decimal("2999.6")  # ahead of the best bid, so that recorded sells reach it first
    named = acknowledged(face, Ticket(size="1.00", px=str(px), post_only=True))

    def partly() -> Json | None:
        rows = [row for row in face.open_orders() if row["state"]["traded_size"] != ["0.0"]]
        return rows[0] if rows else None

    order = until(partly)
    assert order["metadata"]["client_order_id"] == named
    assert order["state"]["status"] == "OPEN"  # there is no partially filled status (A5.2)
    traded, left = (Decimal(order["state"][key][0]) for key in ("traded_size", "book_size"))
    assert 0 < traded < 1
    assert traded + left == 1
    assert face.cancel(named) is True
    state = state_of(face, named, "CANCELLED")
    traded = Decimal(state["traded_size"][0])

    fill = face.fills()[0]
    assert (fill["client_order_id"], fill["is_taker"]) == (named, False)
    assert Decimal(fill["fee"]) == px * Decimal(fill["size"]) * MAKER
    assert held(face) == traded
    assert money(face) == start - px * traded * MAKER
    agrees(face, simulation)
    flat(face)


def test_everything_is_cancelled_at_once(face: Face, simulation: Simulation) -> None:
    named = [acknowledged(face, Ticket(px=px, post_only=True)) for px in ("2980.0", "2985.0")]
    for each in named:
        state_of(face, each, "OPEN")
    assert len(face.open_orders()) == 2
    assert face.cancel_all() is True
    for each in named:
        assert state_of(face, each, "CANCELLED")["reject_reason"] == "CLIENT_BULK_CANCEL"
    assert face.open_orders() == []
    assert simulation.state("grvt")["open_orders"] == 0


def test_a_fill_or_kill_order_fills_whole_or_not_at_all(face: Face) -> None:
    refilled(face)
    px = str(ASK)
    named = acknowledged(face, Ticket(size="1.50", px=px, tif="FILL_OR_KILL"))
    state = state_of(face, named, "CANCELLED")
    assert (state["reject_reason"], state["traded_size"]) == ("FOK_CANCEL", ["0.0"])
    named = acknowledged(face, Ticket(size="1.00", px=px, tif="FILL_OR_KILL"))
    assert state_of(face, named, "FILLED")["traded_size"] == ["1.0"]
    flat(face)


def test_no_funding_was_settled_meanwhile(face: Face) -> None:
    payments = face.funding_payments()
    if payments is None:  # the ccxt-style classes have no such method
        assert not hasattr(face.client, "fetch_funding_history")
        return
    assert payments == []

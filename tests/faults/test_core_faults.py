"""Faults on the core alone against the engines, on the adapters, and on time (F15 to F63)."""

import ast
import os
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.clock import SystemClock, utc_day
from daemon.inbox import BOUND, TRADES, Inbox, InboxOverflow
from daemon.log_format import stamp
from exchanges.backpack.outcomes import submitted
from exchanges.grvt.outcomes import created
from exchanges.port import InDoubt
from exchanges.simulator.model import MarketTrade
from exchanges.transport.rest import Reply
from strategy.decide import hedge_need
from strategy.domain import (
    ClientId,
    Ns,
    OrderRequest,
    Px,
    Qty,
    Side,
    SignedQty,
    Status,
    Trade,
    Venue,
    nano,
)
from strategy.events import Seen
from tests.builders import SECOND, at, book, draft, params, planned, px, qty, view, world
from tests.builders import with_position as held
from tests.harness import Harness

ROOT = Path(__file__).parents[2]


# --- F15: dust -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("fill", "need"), [("0.0049", "0"), ("0.0099", "0"), ("0.0149", "-0.01")])
def test_F15_dust_waits_until_it_can_be_hedged(fill: str, need: str) -> None:
    assert hedge_need(held(world(), fill, "0")) == nano(need)


def test_F15_fills_below_the_minimum_add_up_and_are_hedged_together() -> None:
    """A quarter of the trades is of 0.0137: the hedge venue trades steps of 0.01 only."""
    h = Harness(15, params(iterations=0, size=qty("0.1"), max_position=qty("0.1")))
    h.run(90)
    hedges = [r for r in h.sent if r.venue is Venue.GRVT]
    assert hedges
    assert all(r.qty % nano("0.01") == 0 for r in hedges), "never rounded up"
    assert not hedge_need(h.core.world) or any(h.core.world.live()), "what is left is dust"
    h.journal.close()


# --- F18: answers of others ----------------------------------------------------------------------


def a_request(venue: Venue, number: int) -> OrderRequest:
    w = planned(world(), draft(venue), number=number)
    return w.orders[ClientId(number)].request


def test_F18_an_answer_about_another_order_is_in_doubt_at_grvt() -> None:
    request = a_request(Venue.GRVT, 7)
    for theirs in ("9223372036854775816", "1"):
        order = {
            "order_id": "0x00", "sub_account_id": "1", "is_market": False,
            "time_in_force": "IMMEDIATE_OR_CANCEL", "post_only": False, "reduce_only": False,
            "legs": [{"instrument": request.symbol, "size": "0.5", "limit_price": "3000.0",
                      "is_buying_asset": False}],
            "metadata": {"client_order_id": theirs, "create_time": "1"},
            "state": {"status": "PENDING", "reject_reason": "UNSPECIFIED",
                      "book_size": ["0.5"], "traded_size": ["0.0"], "update_time": "1",
                      "avg_fill_price": ["0.0"]},
        }  # fmt: skip
        outcome = created(Reply(200, orjson.dumps({"result": order}), {}), request)
        assert isinstance(outcome, InDoubt), outcome
        assert outcome.why


def test_F18_an_answer_about_another_order_is_in_doubt_at_backpack() -> None:
    request = a_request(Venue.BACKPACK, 7)
    answer = {
        "id": "1", "clientId": 8, "symbol": request.symbol, "side": "Ask", "orderType": "Limit",
        "quantity": "0.5", "price": "3000", "executedQuantity": "0", "executedQuoteQuantity": "0",
        "status": "New", "timeInForce": "GTC", "postOnly": True, "reduceOnly": False,
        "selfTradePrevention": "RejectTaker", "createdAt": 1,
    }  # fmt: skip
    outcome = submitted(200, orjson.dumps(answer), request)
    assert isinstance(outcome, InDoubt)
    assert "8" in outcome.why


# --- F27, F57: too many messages -----------------------------------------------------------------


def test_F27_two_hundred_fills_in_one_second_are_hedged_as_one_exposure() -> None:
    h = Harness(27, params(iterations=1, size=qty("0.5"), max_position=qty("0.5")))
    resting = h.engines[Venue.BACKPACK]
    h.run(60, until=lambda: any(o.live for o in resting.orders.values()))
    maker = next(o for o in resting.orders.values() if o.live)
    side, price = maker.request.side, maker.request.px or Px(0)
    assert side is Side.BUY
    # the queue ahead of it trades first, then two hundred little fills arrive at once
    part = Qty(nano("0.0025"))
    resting.feed(Ns(h.time), maker.request.symbol, MarketTrade(price, qty("100"), Side.SELL))
    before = len(resting.fills)
    for _ in range(200):
        resting.feed(Ns(h.time), maker.request.symbol, MarketTrade(price, part, Side.SELL))
    assert resting.fills[-1].order_id == maker.order_id
    assert len(resting.fills) >= before
    h.run(60)
    started = h.sink.events("SMART_ROUTING", "starting")
    assert 1 <= len(started) <= 4
    assert sum(p.truth for p in h.ports.values()) == h.truth()
    assert abs(h.truth()) < nano("0.01")
    h.journal.close()


def test_F27_F57_private_events_are_never_dropped_and_books_and_trades_are_conflated() -> None:
    inbox = Inbox()
    w = planned(world(), draft(), number=1)
    states = (Status.OPEN, Status.OPEN, Status.FILLED, Status.CANCELLED)
    private = [view(w, 1, "0.1", status, when=n / 100) for n, status in enumerate(states * 50)]
    for n, event in enumerate(private):
        inbox.put(event)
        inbox.put(Seen(book(), at(n), "stream"))
        trade = Trade(Venue.GRVT, px(3000), qty(1), Side.BUY, Ns(n))
        for _ in range(30):
            inbox.put(Seen(trade, at(n), "stream"))
    taken = inbox.drain()
    assert taken[: len(private)] == private
    assert sum(isinstance(e, Seen) and e.event == book() for e in taken) == 1
    assert len(taken) == len(private) + TRADES + 1
    assert inbox.trades_dropped == 30 * len(private) - TRADES
    assert inbox.drain() == []


def test_F57_a_backlog_that_nobody_reads_ends_the_run_instead_of_growing() -> None:
    inbox = Inbox()
    event = view(planned(world(), draft(), number=1), 1, "0", Status.OPEN)
    for _ in range(BOUND):
        inbox.put(event)
    with pytest.raises(InboxOverflow):
        inbox.put(event)


def test_F36_after_lost_time_queued_books_and_trades_are_forgotten_and_private_events_kept() -> (
    None
):
    inbox = Inbox()
    private = view(planned(world(), draft(), number=1), 1, "0", Status.OPEN)
    inbox.put(private)
    inbox.put(Seen(book(), at(), "stream"))
    inbox.put(Seen(Trade(Venue.GRVT, px(1), qty(1), Side.BUY, Ns(0)), at(), "stream"))
    inbox.drain_streams()
    assert inbox.drain() == [private]


# --- F58: no way round a certificate -------------------------------------------------------------


def test_F58_no_switch_turns_certificates_off() -> None:
    found = []
    for path in sorted(p for d in ("daemon", "exchanges") for p in (ROOT / d).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg in ("ssl", "verify_ssl", "verify"):
                found.append(f"{path.name}:{node.value.lineno}")
            if isinstance(node, ast.Attribute) and node.attr in ("CERT_NONE", "check_hostname"):
                found.append(f"{path.name}:{node.lineno}")
    assert found == []


# --- F63: calendars ------------------------------------------------------------------------------


@pytest.fixture
def zones() -> Iterator[None]:
    before = os.environ.get("TZ")
    yield
    if before is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = before
    time.tzset()


LEAP = 1_483_228_800
"""2017-01-01 00:00:00 UTC: a leap second came before it, which Unix time does not count."""
SUMMER = 1_711_846_800
"""2024-03-31 01:00:00 UTC: central Europe's clocks jump to 03:00."""


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati"])
def test_F63_days_and_stamps_are_utc_whatever_the_machines_zone(zones: None, zone: str) -> None:
    del zones
    os.environ["TZ"] = zone
    time.tzset()
    for second, day in ((LEAP - 1, "2016-12-31"), (LEAP, "2017-01-01"), (SUMMER, "2024-03-31")):
        assert utc_day(Ns(second * SECOND)) == day
        assert stamp(Ns(second * SECOND)).startswith(day)
    assert utc_day(Ns(LEAP * SECOND - 1)) == "2016-12-31"
    assert stamp(Ns(SUMMER * SECOND)) == "2024-03-31T01:00:00.000000Z"


@given(st.integers(0, 4_000_000_000 * SECOND), st.integers(0, 200_000 * SECOND))
def test_F63_utc_days_never_go_back_and_last_86400_seconds(wall: int, later: int) -> None:
    first, second = utc_day(Ns(wall)), utc_day(Ns(wall + later))
    assert first <= second
    assert (first == second) == (wall // (86_400 * SECOND) == (wall + later) // (86_400 * SECOND))


def test_F63_durations_come_from_a_clock_that_no_calendar_moves(zones: None) -> None:
    del zones
    clock = SystemClock()
    before = clock.mono()
    os.environ["TZ"] = "Pacific/Kiritimati"
    time.tzset()
    assert 0 <= clock.mono() - before < SECOND
    assert SignedQty(0) == 0

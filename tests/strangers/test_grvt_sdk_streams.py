"""GrvtCcxtWS of grvt-pysdk 0.2.1 watches ``hedged simulate`` in both of its envelopes.

The old envelope goes to ``/ws``, JSON-RPC to ``/ws/full``; every stream is asked for on both.
"""

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from pysdk.grvt_ccxt_env import GrvtWSEndpointType as Socket

from tests.strangers.grvt_faces import SYMBOL, Json, Ticket
from tests.strangers.grvt_faces_async import MARKET_RPC, RPC, CcxtWsFace
from tests.strangers.simulation import ASKS, BIDS, PRINT_SIZE, Simulation, until
from tests.strangers.test_grvt_sdk_session import acknowledged, flat, held, refilled, state_of

MARKET, TRADES = Socket.MARKET_DATA, Socket.TRADE_DATA


def name_of(kind: Any) -> str:
    return str(kind.value)


@pytest.fixture(scope="module")
def client(redirected: Simulation) -> Iterator[CcxtWsFace]:
    made = CcxtWsFace(redirected)
    made.connected()
    yield made
    made.close()


@pytest.mark.parametrize("kind", [MARKET, MARKET_RPC], ids=name_of)
def test_prices_are_watched(client: CcxtWsFace, kind: Socket) -> None:
    refilled(client)
    for stream in ("mini.s", "mini.d", "ticker.s", "ticker.d"):
        row = client.watch(stream, kind, instrument=SYMBOL, rate="500").first()
        assert (row["instrument"], row["mark_price"]) == (SYMBOL, "3000.0")
        assert (row["best_bid_price"], row["best_ask_size"]) == ("2999.5", "1.0")
        if stream.startswith("ticker"):
            assert (row["funding_rate"], row["funding_interval_hours"]) == ("0.01", 8)


@pytest.mark.parametrize("kind", [MARKET, MARKET_RPC], ids=name_of)
def test_full_books_are_watched(client: CcxtWsFace, kind: Socket) -> None:
    refilled(client)
    watched = client.watch("book.s", kind, instrument=SYMBOL, rate="500", depth="10")
    until(lambda: len(watched.messages) > 2)
    for message in watched.messages:
        assert message["selector"] == f"{SYMBOL}@500-10"
        assert (message["sequence_number"], message["stream"]) == ("0", "v1.book.s")
        feed = message["feed"]
        assert [Decimal(level["price"]) for level in feed["bids"]] == [Decimal(p) for p, _ in BIDS]
        assert [Decimal(level["size"]) for level in feed["asks"]] == [Decimal(s) for _, s in ASKS]


def applied(messages: list[Json]) -> dict[str, dict[Decimal, Decimal]]:
    """Return the book that a snapshot and the changes after it amount to."""
    book: dict[str, dict[Decimal, Decimal]] = {"bids": {}, "asks": {}}
    for message in messages:
        if message["sequence_number"] == "0":
            book = {"bids": {}, "asks": {}}
        for side, levels in book.items():
            for level in message["feed"].get(side, []):
                px, size = Decimal(level["price"]), Decimal(level["size"])
                levels[px] = size
                if not size:
                    del levels[px]
    return book


@pytest.mark.parametrize("kind", [MARKET, MARKET_RPC], ids=name_of)
def test_book_changes_add_up_to_the_polled_book(client: CcxtWsFace, kind: Socket) -> None:
    refilled(client)
    watched = client.watch("book.d", kind, instrument=SYMBOL, rate="50")
    watched.first()
    named = acknowledged(client, Ticket(px="2997.0", size="0.70", post_only=True))
    ours = Decimal("2997.0")
    until(lambda: applied(watched.messages)["bids"].get(ours) == Decimal("0.7"))
    polled = {Decimal(row["price"]): Decimal(row["size"]) for row in client.book(10)["bids"]}
    assert applied(watched.messages)["bids"] == polled
    client.cancel(named)
    until(lambda: ours not in applied(watched.messages)["bids"])

    numbers = [int(message["sequence_number"]) for message in watched.messages]
    assert numbers[0] == 0  # the snapshot (A6.2)
    changes = [message for message in watched.messages if message["sequence_number"] != "0"]
    assert len(changes) >= 2
    for before, after in pairwise(changes):
        assert int(after["sequence_number"]) == int(before["sequence_number"]) + 1
        assert after["prev_sequence_number"] == before["sequence_number"]


@pytest.mark.parametrize("kind", [MARKET, MARKET_RPC], ids=name_of)
def test_trades_and_candles_are_watched(client: CcxtWsFace, kind: Socket) -> None:
    trades = client.watch("trade", kind, instrument=SYMBOL, limit="50")
    printed = trades.first(lambda row: row["size"] == "0.1" and row["price"] == "3000.5")
    assert (printed["is_taker_buyer"], Decimal(printed["size"])) == (True, Decimal(PRINT_SIZE))
    live = len(trades.messages)
    until(lambda: len(trades.messages) >= live + 2)  # and not only what is replayed at first
    bar = client.watch("candle", kind, instrument=SYMBOL, interval="CI_1_M").first()
    assert bar["instrument"] == SYMBOL
    assert Decimal(bar["low"]) <= Decimal(bar["close"]) <= Decimal(bar["high"])


@pytest.mark.parametrize("kind", [TRADES, RPC], ids=name_of)
def test_an_order_is_followed_from_acknowledgement_to_position(
    client: CcxtWsFace, simulation: Simulation, kind: Socket
) -> None:
    orders, states, fills, positions = (
        client.watch(stream, kind, instrument=SYMBOL)
        for stream in ("order", "state", "fill", "position")
    )
    refilled(client)
    px = ASKS[0][0]
    named = acknowledged(client, Ticket(size="1.20", px=px, tif="IMMEDIATE_OR_CANCEL"))
    done = orders.first(
        lambda row: (
            row["metadata"]["client_order_id"] == named and row["state"]["status"] == "CANCELLED"
        )
    )
    assert (done["state"]["traded_size"], done["state"]["reject_reason"]) == (
        ["1.0"], "IOC_CANCEL",
    )  # fmt: skip
    last = states.first(
        lambda row: row["client_order_id"] == named and row["order_state"]["status"] == "CANCELLED"
    )
    assert last["order_id"] == done["order_id"] != "0x00"
    fill = fills.first(lambda row: row["client_order_id"] == named)
    assert (fill["size"], Decimal(fill["price"]), fill["is_taker"]) == ("1.0", Decimal(px), True)
    assert fill["order_id"] == done["order_id"]
    position = positions.first(lambda row: row["size"] != "0.0")
    assert position["size"] == "1.0"
    assert Decimal(position["size"]) == held(client)
    assert simulation.state("grvt")["position"] == "1"
    flat(client)
    positions.first(lambda row: Decimal(row["size"]) == 0)


def test_the_newest_depth_replaces_the_older_one(client: CcxtWsFace) -> None:
    """A6.1: one secondary selector a primary one. The class keeps both callbacks (G26)."""
    narrow = client.watch("book.s", MARKET_RPC, instrument=SYMBOL, rate="500", depth="10")
    narrow.first()
    wide = client.watch("book.s", MARKET_RPC, instrument=SYMBOL, rate="500", depth="50")
    wide.first()
    heard = len(narrow.messages)
    more = len(wide.messages) + 2
    until(lambda: len(wide.messages) >= more)
    assert len(narrow.messages) == heard


def test_a_wrong_selector_is_refused_on_the_socket(client: CcxtWsFace) -> None:
    """The class shows nothing of it (G23): no message comes, and the error is in its debug log."""
    wrong = {3030: {"rate": "7"}, 3000: {"instrument": "NO_USDT_Perp"}}
    for code, changed in wrong.items():
        client.heard.clear()
        params = {"instrument": SYMBOL, "rate": "500"} | changed
        silent = client.watch("mini.s", MARKET_RPC, **params)
        assert until(lambda: client.heard.errors() or None) == [code]
        assert silent.messages == []


def test_the_class_cannot_watch_cancels(client: CcxtWsFace) -> None:
    """G26: it builds an empty selector for ``v1.cancel``, which the venue refuses."""
    client.heard.clear()
    silent = client.watch("cancel", RPC)
    assert until(lambda: client.heard.errors() or None) == [3020]
    assert silent.messages == []


def test_orders_live_on_when_the_class_is_forced_to_reconnect(
    client: CcxtWsFace, simulation: Simulation
) -> None:
    """A5.7: the dead-man switch is no matter of sockets. Subscriptions come back by themselves."""
    watched = client.watch("mini.s", MARKET_RPC, instrument=SYMBOL, rate="200")
    watched.first()
    named = acknowledged(client, Ticket())
    state_of(client, named, "OPEN")
    client.thread.run(client.client._reconnect(MARKET_RPC))
    client.thread.run(client.client._reconnect(RPC))
    seen = len(watched.messages)
    until(lambda: len(watched.messages) > seen)
    assert simulation.state("grvt")["open_orders"] == 1
    assert client.order(named)["state"]["status"] == "OPEN"
    client.cancel(named)
    state_of(client, named, "CANCELLED")

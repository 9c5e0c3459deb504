"""What the sockets make of GRVT's frames: a gapless book, our own events, the truth of "up"."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from exchanges.errors import VenueError, VenueMalformed
from exchanges.grvt.streams import AccountFeed, MarketFeed
from strategy.domain import (
    NANO,
    Book,
    Fill,
    OrderView,
    Position,
    Status,
    StreamState,
    Surface,
    Trade,
    Venue,
    VenueEvent,
)
from tests.unit.test_grvt_codec import AT, BOOK, FILL, ORDER, POSITION, SYMBOL, TRADE, changed
from tests.unit.test_grvt_signer import SUB_ACCOUNT, Clock

UP = StreamState(Venue.GRVT, Surface.PUBLIC, up=True)
PRIVATE_UP = StreamState(Venue.GRVT, Surface.PRIVATE, up=True)


class Rig:
    """A feed, what it told, and what it asked for."""

    def __init__(self) -> None:
        self.clock = Clock(AT)
        self.events: list[VenueEvent] = []
        self.sent: list[dict[str, Any]] = []
        self.feed: MarketFeed | AccountFeed = MarketFeed(
            "ws://market", SYMBOL, self.clock, self.events.append
        )

    async def send(self, text: str) -> None:
        self.sent.append(json.loads(text))

    async def open(self) -> None:
        await self.feed.opened(self.send)

    async def hear(self, *frames: Mapping[str, Any] | str) -> None:
        for frame in frames:
            text = frame if isinstance(frame, str) else json.dumps(frame)
            await self.feed.text(text, self.send)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def answer(number: int, stream: str, first: str = "101") -> dict[str, Any]:
    result = {
        "stream": stream,
        "subs": [f"{SYMBOL}@50"],
        "unsubs": [],
        "num_snapshots": [1],
        "first_sequence_number": [first],
        "latest_sequence_number": ["100"],
    }
    return {"jsonrpc": "2.0", "result": result, "id": number, "method": "subscribe"}


def message(stream: str, number: int, feed: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "stream": stream,
        "selector": f"{SYMBOL}@50",
        "sequence_number": str(number),
        "prev_sequence_number": str(max(number - 1, 0)),
        "feed": feed,
    }


def book(number: int, **sides: list[tuple[str, str]]) -> dict[str, Any]:
    feed: dict[str, Any] = {"event_time": str(AT + number), "instrument": SYMBOL}
    for side, levels in sides.items():
        feed[side] = [{"price": px, "size": qty, "num_orders": 1} for px, qty in levels]
    return message("v1.book.d", number, feed)


SNAPSHOT = message("v1.book.d", 0, BOOK)
ANSWERS = (answer(1, "v1.book.d"), answer(2, "v1.trade"))


@pytest.fixture
async def market() -> Rig:
    rig = Rig()
    await rig.open()
    return rig


async def test_market_socket_asks_for_book_and_trades(market: Rig) -> None:
    assert await market.feed.address() == ("ws://market/ws/full", {})
    assert [(frame["method"], frame["params"], frame["id"]) for frame in market.sent] == [
        ("subscribe", {"stream": "v1.book.d", "selectors": [f"{SYMBOL}@50"]}, 1),
        ("subscribe", {"stream": "v1.trade", "selectors": [f"{SYMBOL}@50"]}, 2),
    ]


async def test_public_surface_is_up_only_with_answers_and_snapshot(market: Rig) -> None:
    await market.hear(*ANSWERS)
    assert market.of(StreamState) == []
    await market.hear(SNAPSHOT)
    assert market.of(StreamState) == [UP]
    await market.hear(book(101), book(102))
    assert market.of(StreamState) == [UP]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
async def test_answers_and_first_messages_come_in_any_order(
    market: Rig, order: tuple[int, ...]
) -> None:
    frames = (*ANSWERS, SNAPSHOT)
    await market.hear(*(frames[place] for place in order))
    assert market.of(StreamState) == [UP]


async def test_book_is_built_from_snapshot_and_changes_by_number(market: Rig) -> None:
    await market.hear(
        *ANSWERS,
        SNAPSHOT,
        book(101, bids=[("2999.90", "0.0"), ("2999.95", "3.0")]),
        book(102, asks=[("3000.1", "0.5")]),
    )
    last = market.of(Book)[-1]
    assert last.bids == ((3000 * NANO, NANO // 2), (2_999_950_000_000, 3 * NANO))
    assert last.asks == ((3_000_100_000_000, NANO // 2),)
    assert last.event_time == AT + 102


async def test_heartbeat_renews_the_books_age(market: Rig) -> None:
    await market.hear(*ANSWERS, SNAPSHOT, book(101))
    first, second = market.of(Book)
    assert (first.bids, first.asks) == (second.bids, second.asks)
    assert second.event_time == AT + 101


async def test_repeated_number_is_ignored(market: Rig) -> None:
    await market.hear(*ANSWERS, SNAPSHOT, book(101), book(101, bids=[("1.0", "1.0")]))
    assert len(market.of(Book)) == 2


@pytest.mark.parametrize("numbers", [(101, 103), (101, 102, 100), (102,), (99,), (1,)])
async def test_F50_gap_or_decrease_ends_the_connection(
    market: Rig, numbers: tuple[int, ...]
) -> None:
    await market.hear(*ANSWERS, SNAPSHOT, *(book(number) for number in numbers[:-1]))
    with pytest.raises(VenueMalformed, match="sequence"):
        await market.hear(book(numbers[-1]))


async def test_answer_after_the_first_changes_confirms_them(market: Rig) -> None:
    await market.hear(SNAPSHOT, book(101), book(102), *ANSWERS, book(103))
    assert market.of(StreamState) == [UP]
    assert len(market.of(Book)) == 4


async def test_F50_changes_missed_before_the_answer_are_noticed(market: Rig) -> None:
    await market.hear(SNAPSHOT, book(103))
    with pytest.raises(VenueMalformed, match="starts at 101, not at 103"):
        await market.hear(*ANSWERS)


async def test_F50_after_a_reconnect_the_book_starts_from_its_snapshot(market: Rig) -> None:
    await market.hear(*ANSWERS, SNAPSHOT, book(101))
    market.feed.closed("gap")
    assert market.of(StreamState)[-1] == StreamState(
        Venue.GRVT, Surface.PUBLIC, up=False, why="gap"
    )
    await market.open()
    await market.hear(answer(1, "v1.book.d", "7"), answer(2, "v1.trade", "9"))
    assert not market.of(StreamState)[-1].up
    await market.hear(message("v1.book.d", 0, BOOK | {"asks": []}), book(7))
    assert market.of(StreamState)[-1] == UP
    assert market.of(Book)[-1].asks == ()


async def test_F51_changes_without_a_snapshot_end_the_connection(market: Rig) -> None:
    await market.hear(*ANSWERS)
    with pytest.raises(VenueMalformed, match="before its snapshot"):
        await market.hear(book(101))
    assert market.of(StreamState) == []


async def test_F49_trades_do_not_hide_a_silent_book(market: Rig) -> None:
    await market.hear(*ANSWERS, SNAPSHOT)
    assert market.feed.silence == 10.0
    market.clock.now += 9 * NANO
    await market.hear(message("v1.trade", 1, TRADE))
    market.clock.now += 2 * NANO
    with pytest.raises(VenueMalformed, match="silent"):
        await market.hear(message("v1.trade", 2, TRADE))


async def test_replayed_trades_are_history(market: Rig) -> None:
    await market.hear(*ANSWERS, message("v1.trade", 0, TRADE))
    assert market.of(Trade) == []
    await market.hear(message("v1.trade", 5, TRADE))
    assert [trade.px for trade in market.of(Trade)] == [3_000_100_000_000]


@pytest.mark.parametrize(
    "frame",
    [
        "ping",
        "[]",
        "{}",
        {"jsonrpc": "2.0", "error": {"code": 3000, "message": "Instrument is invalid"}, "id": 1},
        {"code": 1003, "message": "malformed", "status": 400},
        answer(9, "v1.book.d"),
        answer(1, "v1.book.d") | {"result": {"subs": []}},
        answer(1, "v1.book.d") | {"result": {"subs": ["x"]}},
        answer(1, "v1.book.d") | {"result": {"subs": ["x"], "first_sequence_number": []}},
        message("v1.book.d", 0, BOOK | {"instrument": "BTC_USDT_Perp"}),
        message("v1.mini.s", 1, BOOK),
        message("v1.book.d", 0, {}),
        {"stream": "v1.book.d", "sequence_number": "0", "feed": None},
        {"stream": "v1.book.d", "feed": BOOK},
        {"sequence_number": "0", "feed": BOOK},
    ],
)
async def test_REQ_4_unreadable_frame_ends_the_connection(market: Rig, frame: Any) -> None:
    with pytest.raises(VenueMalformed):
        await market.hear(frame)
    assert market.of(StreamState) == []


async def test_market_handshake_teaches_nothing(market: Rig) -> None:
    market.feed.refused(401)
    assert market.events == []


# --- the private socket ----------------------------------------------------------------------


class FakeSession:
    """Counts; has one cookie."""

    def __init__(self) -> None:
        self.ensured = 0
        self.expired: list[Mapping[str, str]] = []
        self.error: VenueError | None = None

    async def ensure(self) -> None:
        self.ensured += 1
        if self.error is not None:
            raise self.error

    def headers(self) -> dict[str, str]:
        return {"Cookie": "gravity=c", "X-Grvt-Account-Id": "ACC:7"}

    def expire(self, sent: Mapping[str, str]) -> None:
        self.expired.append(sent)


@pytest.fixture
async def private() -> Rig:
    rig = Rig()
    rig.feed = AccountFeed(
        "ws://trades",
        SUB_ACCOUNT,
        SYMBOL,
        FakeSession(),  # type: ignore[arg-type] # a recorder stands in for the login
        rig.events.append,
    )
    await rig.open()
    return rig


PRIVATE = ("v1.order", "v1.fill", "v1.position")


async def test_private_socket_authenticates_and_asks_for_our_instrument(private: Rig) -> None:
    url, headers = await private.feed.address()
    assert url == "ws://trades/ws/full"
    assert headers == {"Cookie": "gravity=c", "X-Grvt-Account-Id": "ACC:7"}
    assert [frame["params"]["stream"] for frame in private.sent] == list(PRIVATE)
    assert {frame["params"]["selectors"][0] for frame in private.sent} == {
        f"{SUB_ACCOUNT}-{SYMBOL}"
    }


async def test_private_surface_is_up_once_all_is_answered(private: Rig) -> None:
    assert private.feed.silence == 5.0
    await private.hear(answer(1, PRIVATE[0]), answer(3, PRIVATE[2]))
    assert private.events == []
    await private.hear(answer(2, PRIVATE[1]))
    assert private.events == [PRIVATE_UP]
    assert private.feed.silence == 0.0


async def test_F20_private_events_in_any_order_even_before_the_answers(private: Rig) -> None:
    await private.hear(
        message("v1.fill", 1, FILL),
        message("v1.order", 1, changed(ORDER, "state.status", "FILLED")),
        message("v1.position", 1, POSITION),
    )
    assert [type(event) for event in private.events] == [Fill, OrderView, Position]
    view = private.of(OrderView)[0]
    assert (view.status, view.client_id) == (Status.FILLED, 7)


async def test_F19_repeated_private_message_is_dropped_and_replays_pass(private: Rig) -> None:
    await private.hear(message("v1.fill", 4, FILL), message("v1.fill", 4, FILL))
    assert len(private.of(Fill)) == 1
    await private.hear(message("v1.order", 0, ORDER), message("v1.order", 0, ORDER))
    assert len(private.of(OrderView)) == 2


async def test_F24_missed_private_message_ends_the_connection(private: Rig) -> None:
    await private.hear(message("v1.fill", 4, FILL), message("v1.order", 9, ORDER))
    with pytest.raises(VenueMalformed, match=r"v1\.fill: sequence 6 after 4"):
        await private.hear(message("v1.fill", 6, FILL))


async def test_F29_unknown_status_passes_and_does_not_end_the_connection(private: Rig) -> None:
    await private.hear(message("v1.order", 1, changed(ORDER, "state.status", "SUSPENDED")))
    assert private.of(OrderView)[0].status is Status.UNKNOWN


@pytest.mark.parametrize(
    "frame",
    [
        message("v1.order", 1, changed(ORDER, "legs.instrument", "BTC_USDT_Perp")),
        message("v1.state", 1, {}),
        message("v1.fill", 1, changed(FILL, "size", ...)),
    ],
)
async def test_REQ_3_private_message_that_cannot_be_ours_ends_the_connection(
    private: Rig, frame: Any
) -> None:
    with pytest.raises(VenueMalformed):
        await private.hear(frame)
    assert private.events == []


async def test_F07_refused_handshake_renews_the_session(private: Rig) -> None:
    session = private.feed._session  # type: ignore[union-attr] # the private feed has one
    assert isinstance(session, FakeSession)
    _, headers = await private.feed.address()
    private.feed.refused(503)
    assert session.expired == []
    private.feed.refused(401)
    assert session.expired == [headers]


@pytest.mark.parametrize(
    ("frame", "renewed"),
    [
        ({"jsonrpc": "2.0", "error": {"code": 1000, "message": "log in"}, "id": 1}, 1),
        ({"code": 1000, "message": "log in", "status": 401}, 1),
        ({"jsonrpc": "2.0", "error": {"code": 1101, "message": "selector"}, "id": 1}, 0),
        ({"jsonrpc": "2.0", "error": "1000", "id": 1}, 0),
    ],
)
async def test_F07_refused_subscription_renews_the_session(
    private: Rig, frame: Any, renewed: int
) -> None:
    session = private.feed._session  # type: ignore[union-attr] # the private feed has one
    assert isinstance(session, FakeSession)
    with pytest.raises(VenueMalformed):
        await private.hear(frame)
    assert len(session.expired) == renewed


async def test_every_failed_attempt_is_reported(private: Rig) -> None:
    private.feed.closed("connection lost: OSError")
    private.feed.closed("handshake refused: http 503")
    assert [(event.up, event.why) for event in private.of(StreamState)] == [
        (False, "connection lost: OSError"),
        (False, "handshake refused: http 503"),
    ]

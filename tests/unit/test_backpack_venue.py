"""The venue over real HTTP against a scripted server: outcomes, reads, streams."""

import asyncio
import json
from collections.abc import AsyncIterator
from random import Random  # noqa: TID251 - a seeded generator
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from exchanges.backpack import codec
from exchanges.backpack import venue as venue_module
from exchanges.backpack.venue import BackpackConfig, BackpackVenue
from exchanges.errors import VenueError, VenueForbidden, VenueMalformed, VenueUnreachable
from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelUnknown,
    Found,
    InDoubt,
    NotFound,
    Probes,
    Refused,
)
from strategy.domain import (
    NANO,
    Book,
    ClientId,
    Fill,
    Ns,
    OrderRef,
    OrderView,
    Position,
    Px,
    Qty,
    Status,
    StreamState,
    Surface,
    Tif,
    Trade,
    Venue,
    VenueEvent,
    bps,
)
from tests.unit.test_backpack_codec import FILL, MARKET, ORDER
from tests.unit.test_backpack_signer import NOW_MS, PUBLIC, SEED, Clock, request
from tests.unit.test_backpack_ws_codec import UPDATE

SYMBOL = "ETH_USDC_PERP"
REF = OrderRef(ClientId(7), SYMBOL)
MISSING = (404, {"code": "RESOURCE_NOT_FOUND", "message": "Not Found"})
HTML = (502, "<html>Bad Gateway</html>")
HANG = "hang"
RESET = "reset"


class FakeBackpack:
    """Answers by method and path from a table; records what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "GET /api/v1/time": (200, str(NOW_MS + 40)),
            "GET /api/v1/account": (200, {"futuresMakerFee": "2", "futuresTakerFee": "5"}),
            "GET /api/v1/markets": (200, [MARKET]),
        }
        self.seen: list[tuple[str, dict[str, str], str, dict[str, str]]] = []
        self.frames: list[str] = []
        self.subscribed: list[dict[str, Any]] = []
        self.connections: set[int] = set()
        self.url = ""
        self.hang_up = False
        self.refuse_sockets = False

    async def handle(self, call: web.Request) -> web.StreamResponse:
        if call.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(call)
        name = f"{call.method} {call.path}"
        assert call.transport is not None
        self.connections.add(call.transport.get_extra_info("peername")[1])
        self.seen.append((name, dict(call.query), await call.text(), dict(call.headers)))
        answer = self.answers.get(name, MISSING)
        if answer == HANG:
            await asyncio.sleep(30)
        if answer == RESET:
            call.transport.abort()
            return web.Response()
        status, body = answer
        text = body if isinstance(body, str) else json.dumps(body)
        kind = "application/json" if not isinstance(body, str) else "text/plain"
        return web.Response(status=status, text=text, content_type=kind)

    async def _socket(self, call: web.Request) -> web.StreamResponse:
        if self.refuse_sockets:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(call)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.subscribed.append(json.loads(message.data))
                private = "signature" in self.subscribed[-1]
                for frame in self.frames:
                    if ("account." in frame) == private:
                        await socket.send_str(frame)
                if self.hang_up:
                    await socket.close()
        return socket

    def asked(self, name: str) -> tuple[dict[str, str], str, dict[str, str]]:
        return next(rest for seen, *rest in reversed(self.seen) if seen == name)  # type: ignore[return-value] # star unpacking gives a list


@pytest.fixture
async def server() -> AsyncIterator[FakeBackpack]:
    fake = FakeBackpack()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@pytest.fixture
async def bare(server: FakeBackpack) -> AsyncIterator[BackpackVenue]:
    config = BackpackConfig(PUBLIC, SEED, f"http://{server.url}", f"ws://{server.url}")
    made = BackpackVenue(config, Clock(), Random(1))  # noqa: S311 - jitter
    yield made
    await made.close()


@pytest.fixture
async def venue(bare: BackpackVenue) -> BackpackVenue:
    await bare.open()
    await bare.load("ETH")
    return bare


async def test_open_proves_the_keys_and_learns_the_clock(
    venue: BackpackVenue, server: FakeBackpack
) -> None:
    assert venue.venue is Venue.BACKPACK
    assert venue.clock_offset == 40_000_000
    _, _, headers = server.asked("GET /api/v1/account")
    assert headers["X-API-Key"] == PUBLIC
    assert headers["X-Timestamp"] == str(NOW_MS + 40)


async def test_open_with_refused_keys_is_forbidden(
    bare: BackpackVenue, server: FakeBackpack
) -> None:
    server.answers["GET /api/v1/account"] = (401, {"code": "UNAUTHORIZED", "message": "no"})
    with pytest.raises(VenueForbidden):
        await bare.open()


async def test_nothing_can_be_asked_before_load(bare: BackpackVenue) -> None:
    with pytest.raises(ValueError, match="load"):
        bare.prepare(request())


async def test_P1_one_connection_serves_every_request(
    venue: BackpackVenue, server: FakeBackpack
) -> None:
    for _ in range(5):
        await venue.server_time()
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"px": Px(3000 * NANO + 1)},
        {"px": Px(0)},
        {"qty": Qty(NANO // 100_000)},
        {"qty": Qty(0)},
        {"symbol": "BTC_USDC_PERP"},
        {"venue": Venue.GRVT},
        {"client_id": ClientId(2**32)},
    ],
)
async def test_order_that_does_not_fit_the_market_is_never_signed(
    venue: BackpackVenue, changes: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"price|size|is not|client id"):
        venue.prepare(request(**changes))


async def test_S4_prepared_bytes_are_the_bytes_sent(
    venue: BackpackVenue, server: FakeBackpack
) -> None:
    server.answers["POST /api/v1/order"] = (200, ORDER)
    payload = venue.prepare(request())
    assert payload.nonce == NOW_MS + 40
    assert len(payload.digest) == 64
    outcome = await venue.submit(payload)
    assert isinstance(outcome, Accepted)
    assert outcome.view is not None
    assert outcome.view.cum == NANO // 1000
    _, body, headers = server.asked("POST /api/v1/order")
    assert body.encode() == payload.body
    assert headers["X-Signature"] == dict(payload.headers)["X-Signature"]
    assert headers["Content-Type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((200, ORDER | {"status": "Expired", "timeInForce": "IOC"}), Accepted),
        ((400, {"code": "INSUFFICIENT_MARGIN", "message": "Insufficient margin"}), Refused),
        ((429, {"code": "TOO_MANY_REQUESTS", "message": ""}), Refused),
        ((503, {"code": "MAINTENANCE", "message": ""}), Refused),
        ((202, ""), InDoubt),
        ((504, {"code": "TIMEOUT", "message": ""}), InDoubt),
        (HTML, InDoubt),
        ((200, "{"), InDoubt),
        (RESET, InDoubt),
        (HANG, InDoubt),
    ],
)
async def test_F05_submit_outcomes_over_http(
    venue: BackpackVenue,
    server: FakeBackpack,
    answer: Any,
    kind: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(venue_module, "WRITE_TIMEOUT", 0.2)
    server.answers["POST /api/v1/order"] = answer
    assert isinstance(await venue.submit(venue.prepare(request())), kind)
    assert [name for name, *_ in server.seen].count("POST /api/v1/order") == 1


async def test_order_that_never_left_is_refused() -> None:
    config = BackpackConfig(PUBLIC, SEED, "http://127.0.0.1:1", "ws://127.0.0.1:1")
    venue = BackpackVenue(config, Clock(), Random(1))  # noqa: S311 - jitter
    with pytest.raises(VenueUnreachable):
        await venue.open()
    venue._market = codec.find_market([MARKET], "ETH")
    outcome = await venue.submit(venue.prepare(request()))
    assert isinstance(outcome, Refused)
    assert outcome.code == "not_sent"
    assert isinstance(await venue.cancel(REF), InDoubt)
    assert isinstance(await venue.lookup(REF, Ns(0)), InDoubt)
    await venue.close()
    await venue.close()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((200, ORDER | {"status": "Cancelled"}), CancelAccepted),
        ((202, ""), CancelAccepted),
        (MISSING, CancelUnknown),
        (
            (400, {"code": "INVALID_CLIENT_REQUEST", "message": "Order not found"}),
            CancelUnknown,
        ),
        ((404, "<html>"), InDoubt),
        (HTML, InDoubt),
        (RESET, InDoubt),
    ],
)
async def test_cancel_outcomes_over_http(
    venue: BackpackVenue, server: FakeBackpack, answer: Any, kind: type
) -> None:
    server.answers["DELETE /api/v1/order"] = answer
    assert isinstance(await venue.cancel(REF), kind)
    assert json.loads(server.asked("DELETE /api/v1/order")[1]) == {"symbol": SYMBOL, "clientId": 7}
    if answer != RESET:  # aiohttp itself repeats a DELETE whose keep-alive connection dropped
        assert [name for name, *_ in server.seen].count("DELETE /api/v1/order") == 1


async def test_cancel_all_names_the_symbol(venue: BackpackVenue, server: FakeBackpack) -> None:
    server.answers["DELETE /api/v1/orders"] = (202, "")
    assert await venue.cancel_all() == CancelAccepted(None)
    assert json.loads(server.asked("DELETE /api/v1/orders")[1]) == {"symbol": SYMBOL}
    server.answers["DELETE /api/v1/orders"] = HTML
    assert isinstance(await venue.cancel_all(), InDoubt)
    server.answers["DELETE /api/v1/orders"] = RESET
    assert isinstance(await venue.cancel_all(), InDoubt)


async def test_F68_only_an_open_market_is_tradable(
    venue: BackpackVenue, server: FakeBackpack
) -> None:
    assert isinstance(venue, Probes)
    assert await venue.tradable()
    status, rows = server.answers["GET /api/v1/markets"]
    halted = [row | {"orderBookState": "CancelOnly"} for row in rows]
    server.answers["GET /api/v1/markets"] = (status, halted)
    assert not await venue.tradable()


async def test_lookup_walks_the_surfaces(venue: BackpackVenue, server: FakeBackpack) -> None:
    since = Ns(1_753_637_940_000_000_000)
    server.answers["GET /wapi/v1/history/fills"] = (200, [])
    server.answers["GET /wapi/v1/history/orders"] = (200, [])
    assert isinstance(await venue.lookup(REF, since), NotFound)
    assert server.asked("GET /api/v1/order")[0] == {"symbol": SYMBOL, "clientId": "7"}
    assert server.asked("GET /wapi/v1/history/fills")[0]["from"] == str(since // 1_000_000)
    server.answers["GET /wapi/v1/history/fills"] = (200, [FILL | {"quantity": "0.001"}])
    assert isinstance(await venue.lookup(REF, since), InDoubt)
    past = ORDER | {"createdAt": "2025-07-27T17:39:00.05", "status": "Cancelled"}
    server.answers["GET /wapi/v1/history/orders"] = (200, [past])
    found = await venue.lookup(REF, since)
    assert isinstance(found, Found)
    assert found.view.status is Status.CANCELLED
    server.answers["GET /api/v1/order"] = (404, "<html>not found</html>")
    assert isinstance(await venue.lookup(REF, since), InDoubt)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((200, []), 0),
        ((404, {"code": "RESOURCE_NOT_FOUND", "message": "Position not found"}), 0),
        ((200, [{"symbol": SYMBOL, "netQuantity": "-0.5"}]), -NANO // 2),
        ((200, [{"symbol": "BTC_USDC_PERP", "netQuantity": "1"}]), 0),
        ((200, {}), None),
        ((200, ""), None),
        ((204, ""), None),
        (MISSING, None),
        ((404, "<html>"), None),
        (HTML, None),
    ],
)
async def test_F74_flat_is_only_what_the_venue_says_so(
    venue: BackpackVenue, server: FakeBackpack, answer: Any, expected: int | None
) -> None:
    server.answers["GET /api/v1/position"] = answer
    if expected is None:
        with pytest.raises(VenueError):
            await venue.position()
    else:
        assert (await venue.position()).qty == expected


async def test_reads_over_http(venue: BackpackVenue, server: FakeBackpack) -> None:
    other = ORDER | {"symbol": "BTC_USDC_PERP"}
    server.answers |= {
        "GET /api/v1/orders": (200, [ORDER, other]),
        "GET /wapi/v1/history/fills": (200, [FILL]),
        "GET /wapi/v1/history/funding": (200, []),
        "GET /api/v1/capital/collateral": (200, {"netEquity": "10", "netEquityAvailable": "9"}),
        "GET /api/v1/markPrices": (
            200,
            [{"symbol": SYMBOL, "fundingRate": "0.0001", "nextFundingTimestamp": NOW_MS}],
        ),
        "GET /api/v1/depth": (
            200,
            {"bids": [["1", "1"]], "asks": [], "lastUpdateId": "3", "timestamp": 5},
        ),
    }
    assert [view.client_id for view in await venue.open_orders()] == [7]
    assert [row.trade_id for row in await venue.fills(Ns(0))] == ["12345"]
    assert await venue.funding_payments(Ns(0)) == ()
    assert (await venue.balance()).equity == 10 * NANO
    assert (await venue.fees()).taker == bps(5)
    assert (await venue.funding()).rate == 100_000
    assert (await venue.book(7)).bids == ((NANO, NANO),)
    assert server.asked("GET /api/v1/depth")[0] == {"symbol": SYMBOL, "limit": "10"}


async def test_F06_read_without_json_is_malformed(
    venue: BackpackVenue, server: FakeBackpack
) -> None:
    server.answers["GET /api/v1/capital/collateral"] = (200, "<html>")
    with pytest.raises(VenueMalformed):
        await venue.balance()


async def test_S14_no_error_shows_a_secret(venue: BackpackVenue, server: FakeBackpack) -> None:
    for answer in (HTML, RESET, (400, {"code": "X", "message": "bad"})):
        server.answers["GET /api/v1/capital/collateral"] = answer
        with pytest.raises(VenueError) as caught:
            await venue.balance()
        assert SEED not in repr(caught.value)
        assert "X-Signature" not in repr(caught.value)


async def test_streams_bring_both_surfaces_up(venue: BackpackVenue, server: FakeBackpack) -> None:
    server.answers["GET /api/v1/depth"] = (
        200,
        {
            "bids": [["2999", "1"]],
            "asks": [["3001", "1"]],
            "lastUpdateId": "10",
            "timestamp": 5,
        },
    )
    depth = {"U": 11, "u": 11, "b": [["2999.5", "1"]], "a": [], "T": 6}
    trade = {"p": "3000", "q": "0.1", "m": True, "T": 7}
    server.frames = [
        json.dumps({"stream": f"{name}.{SYMBOL}", "data": data})
        for name, data in (
            ("depth", depth),
            ("trade", trade),
            ("account.positionUpdate", {"s": SYMBOL, "q": "0.5", "T": 8}),
            ("account.orderUpdate", UPDATE),
        )
    ]
    events: list[VenueEvent] = []
    wanted = {Book, Trade, Position, OrderView, Fill}

    def complete() -> bool:
        up = {event.surface for event in events if isinstance(event, StreamState) and event.up}
        return up == set(Surface) and wanted <= {type(event) for event in events}

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(venue.stream(events.append))
        while not complete():  # noqa: ASYNC110 - the condition is the event list itself
            await asyncio.sleep(0.01)
        task.cancel()
    private = next(frame for frame in server.subscribed if "signature" in frame)
    assert private["params"] == [
        f"account.orderUpdate.{SYMBOL}",
        f"account.positionUpdate.{SYMBOL}",
    ]
    assert private["signature"][0] == PUBLIC


async def losses(venue: BackpackVenue, count: int) -> list[StreamState]:
    events: list[VenueEvent] = []

    def down() -> list[StreamState]:
        return [event for event in events if isinstance(event, StreamState) and not event.up]

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(venue.stream(events.append))
        while len(down()) < count:  # noqa: ASYNC110 - the condition is the event list itself
            await asyncio.sleep(0.01)
        task.cancel()
    return down()


async def test_F52_closed_socket_is_reported_and_reopened(
    venue: BackpackVenue, server: FakeBackpack
) -> None:
    server.hang_up = True
    states = await losses(venue, 6)
    assert any("closed (1000)" in state.why for state in states)
    assert len(server.subscribed) >= 4


async def test_refused_handshake_is_reported(venue: BackpackVenue, server: FakeBackpack) -> None:
    server.refuse_sockets = True
    states = await losses(venue, 2)
    assert all("handshake refused: http 503" in state.why for state in states)


async def test_unreachable_socket_is_reported(server: FakeBackpack) -> None:
    config = BackpackConfig(PUBLIC, SEED, f"http://{server.url}", "ws://127.0.0.1:1")
    made = BackpackVenue(config, Clock(), Random(1))  # noqa: S311 - jitter
    await made.open()
    await made.load("ETH")
    states = await losses(made, 2)
    assert all("cannot connect" in state.why for state in states)
    await made.close()


async def test_immediate_reduce_only_order_is_sent_as_such(
    venue: BackpackVenue, server: FakeBackpack
) -> None:
    row = ORDER | {"timeInForce": "IOC", "status": "PartiallyFilled", "executedQuantity": "0.2"}
    server.answers["POST /api/v1/order"] = (200, row)
    outcome = await venue.submit(
        venue.prepare(request(tif=Tif.IOC, post_only=False, reduce_only=True))
    )
    assert isinstance(outcome, Accepted)
    assert outcome.view is not None
    assert (outcome.view.status, outcome.view.cum) == (Status.EXPIRED, NANO // 5)
    sent = json.loads(server.asked("POST /api/v1/order")[1])
    assert (sent["timeInForce"], sent["reduceOnly"]) == ("IOC", True)

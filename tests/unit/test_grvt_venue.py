"""The venue over real HTTP against a scripted server: outcomes, reads, the session."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from exchanges.errors import (
    UnknownTicker,
    VenueError,
    VenueForbidden,
    VenueMalformed,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
)
from exchanges.grvt import codec, history, sdk
from exchanges.grvt.venue import GrvtVenue
from exchanges.port import (
    Accepted,
    CancelAccepted,
    CancelUnknown,
    Found,
    InDoubt,
    NotFound,
    Refused,
)
from exchanges.transport.limiter import Rate
from strategy.domain import (
    NANO,
    ClientId,
    Ns,
    OrderRef,
    Purpose,
    Status,
    Venue,
    bps,
)
from tests.unit.test_grvt_codec import (
    ACCOUNT,
    AT,
    BOOK,
    FILL,
    INSTRUMENT,
    ORDER,
    PAYMENT,
    POSITION,
    SYMBOL,
    TICKER,
    changed,
)
from tests.unit.test_grvt_signer import API_KEY, NONCE, PRIVATE_KEY, Clock, config, request

REF = OrderRef(ClientId(7), SYMBOL)
HTML = (502, "<html>Bad Gateway</html>")
HANG = "hang"
RESET = "reset"
ACK = changed(
    changed(changed(ORDER, "order_id", "0x00"), "state.status", "PENDING"),
    "state.traded_size",
    ["0.0"],
)


def error(code: int, status: int, **more: Any) -> tuple[int, dict[str, Any]]:
    return status, {"code": code, "message": f"message {code}", "status": status} | more


MISSING = error(1004, 404)
EXPIRED = error(1000, 401)


class FakeGrvt:
    """Answers by method name from a table; a list is used up, its last answer stays."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "time": (200, {"server_time": 1_750_000_000_123}),
            "all_instruments": (200, {"result": [INSTRUMENT]}),
        }
        self.seen: list[tuple[str, bytes, dict[str, str]]] = []
        self.logins = 0
        self.refuse_login = False
        self.url = ""

    async def handle(self, call: web.Request) -> web.StreamResponse:
        name = call.path.rpartition("/")[2]
        if name == "login":
            return self._login(await call.json())
        self.seen.append((name, await call.read(), dict(call.headers)))
        answer = self.answers.get(name, MISSING)
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if answer == HANG:
            await asyncio.sleep(30)
        if answer == RESET:
            assert call.transport is not None
            call.transport.abort()
            return web.Response()
        status, body = answer
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text)

    def _login(self, body: dict[str, str]) -> web.Response:
        assert body == {"api_key": API_KEY}
        if self.refuse_login:
            return web.json_response({"status": "failure"})
        self.logins += 1
        headers = {
            "Set-Cookie": f"gravity=canary-cookie-{self.logins}; Path=/",
            "X-Grvt-Account-Id": "ACC:7",
        }
        return web.json_response({"status": "success"}, headers=headers)

    def asked(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(body or b"{}") for seen, body, _ in self.seen if seen == name]


@pytest.fixture
async def server() -> AsyncIterator[FakeGrvt]:
    fake = FakeGrvt()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@pytest.fixture
def learned() -> list[str]:
    return []


@pytest.fixture
async def bare(server: FakeGrvt, learned: list[str]) -> AsyncIterator[GrvtVenue]:
    url = server.url
    made = GrvtVenue(
        config(edge_url=url, trades_url=f"{url}/", market_data_url=url),
        Clock(),
        lambda: 0.5,
        lambda: NONCE,
        learned.append,
    )
    yield made
    await made.close()


@pytest.fixture
async def venue(bare: GrvtVenue) -> GrvtVenue:
    await bare.open()
    await bare.load("ETH")
    return bare


def order(**changes: Any) -> Any:
    return request(**({"qty": NANO // 2} | changes))


async def test_open_logs_in_once_and_tells_the_cookie(
    venue: GrvtVenue, server: FakeGrvt, learned: list[str]
) -> None:
    assert venue.venue is Venue.GRVT
    assert (server.logins, learned) == (1, ["canary-cookie-1"])
    assert server.asked("all_instruments") == [{"is_active": True}]
    server.answers["account_summary"] = (200, {"result": ACCOUNT})
    await venue.balance()
    _, _, headers = server.seen[-1]
    assert headers["Cookie"] == "gravity=canary-cookie-1"
    assert headers["X-Grvt-Account-Id"] == "ACC:7"
    assert headers["Content-Type"] == "application/json"


async def test_A2_open_with_a_refused_key_is_forbidden(bare: GrvtVenue, server: FakeGrvt) -> None:
    server.refuse_login = True
    with pytest.raises(VenueForbidden, match="GRVT_API_KEY"):
        await bare.open()


async def test_unlisted_ticker_is_unknown(venue: GrvtVenue) -> None:
    with pytest.raises(UnknownTicker):
        await venue.load("SOL")


async def test_server_time_is_milliseconds(venue: GrvtVenue, server: FakeGrvt) -> None:
    assert await venue.server_time() == 1_750_000_000_123_000_000
    for answer in (HTML, (200, "[]"), (200, {"time": 1})):
        server.answers["time"] = answer
        with pytest.raises(VenueError):
            await venue.server_time()


async def test_server_time_of_an_unreachable_venue(venue: GrvtVenue, server: FakeGrvt) -> None:
    server.answers["time"] = RESET
    with pytest.raises(VenueUnreachable):
        await venue.server_time()


@pytest.mark.parametrize(
    ("environment", "market", "trades"),
    [
        ("prod", "wss://market-data.grvt.io", "wss://trades.grvt.io"),
        ("testnet", "wss://market-data.testnet.grvt.io", "wss://trades.testnet.grvt.io"),
    ],
)
def test_addresses_of_the_environment_are_the_sdks(
    environment: str, market: str, trades: str
) -> None:
    made = GrvtVenue(config(environment), Clock(), lambda: 0.5, lambda: NONCE)
    assert made.socket_addresses() == (market, trades)
    assert made._sdk.md_rpc == market.replace("wss", "https")
    assert made._sdk.td_rpc == trades.replace("wss", "https")
    overridden = config("prod", ws_market_data_url="ws://a/", ws_trades_url="ws://b")
    made = GrvtVenue(overridden, Clock(), lambda: 0.5, lambda: NONCE)
    assert made.socket_addresses() == ("ws://a", "ws://b")


# --- create ----------------------------------------------------------------------------------


async def test_A5_acknowledgement_is_accepted_pending_and_without_an_id(
    venue: GrvtVenue, server: FakeGrvt
) -> None:
    server.answers["create_order"] = (200, {"result": ACK})
    payload = venue.prepare(order())
    outcome = await venue.submit(payload)
    assert isinstance(outcome, Accepted)
    assert outcome.view is not None
    assert (outcome.view.status, outcome.view.venue_order_id) == (Status.PENDING, "")
    assert [body for name, body, _ in server.seen if name == "create_order"] == [payload.body]


REFUSED = [
    (1001, 403), (1003, 400), (1006, 429), (1008, 401), (1012, 400), (1400, 403),
    (2000, 403), (2001, 403), (2002, 403), (2003, 403), (2004, 403), (2005, 403), (2006, 403),
    (2007, 403), (2008, 403), (2010, 400), (2011, 400), (2020, 400), (2021, 400), (2030, 400),
    (2032, 400), (2042, 400), (2060, 400), (2062, 400), (2064, 400), (2065, 400), (2066, 400),
    (2067, 400), (2080, 400), (2082, 400), (2084, 400), (2090, 429), (2100, 400), (2108, 400),
    (2400, 400), (2401, 400), (2402, 400), (3000, 400), (3021, 400), (7201, 400), (7304, 400),
]  # fmt: skip


@pytest.mark.parametrize(("code", "status"), REFUSED)
async def test_F12_documented_refusals_are_certain(
    venue: GrvtVenue, server: FakeGrvt, code: int, status: int
) -> None:
    server.answers["create_order"] = error(code, status, request_id=123)
    outcome = await venue.submit(venue.prepare(order()))
    assert outcome == Refused(str(code), f"message {code}")
    assert len(server.asked("create_order")) == 1


IN_DOUBT: list[Any] = [
    error(2012, 400),
    error(1002, 500),
    error(1005, 500),
    error(1009, 503),
    error(2080, 500),
    error(2080, 200),
    error(1004, 404),
    error(2009, 400),
    error(2013, 400),
    error(9999, 400),
    HTML,
    (504, ""),
    (401, "<html>login</html>"),
    (404, "<html>"),
    (200, ""),
    (200, "{"),
    (200, "[]"),
    (200, {}),
    (200, {"result": None}),
    (200, {"result": {}}),
    (200, {"result": changed(ACK, "metadata.client_order_id", str(2**63 + 8))}),
    (200, {"result": changed(ACK, "legs.instrument", "BTC_USDT_Perp")}),
    (202, {"result": ACK}),
    RESET,
    HANG,
]


@pytest.mark.parametrize("answer", IN_DOUBT)
async def test_F05_F06_F10_everything_else_is_in_doubt(
    venue: GrvtVenue, server: FakeGrvt, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdk, "WRITE_TIMEOUT", 0.1)
    server.answers["create_order"] = answer
    assert isinstance(await venue.submit(venue.prepare(order())), InDoubt)
    assert len(server.asked("create_order")) == 1


async def test_F07_expired_session_is_renewed_once_and_the_same_bytes_go_again(
    venue: GrvtVenue, server: FakeGrvt
) -> None:
    server.answers["create_order"] = [EXPIRED, (200, {"result": ACK})]
    payload = venue.prepare(order())
    assert isinstance(await venue.submit(payload), Accepted)
    sent = [(body, headers["Cookie"]) for name, body, headers in server.seen[-2:] if name]
    assert sent == [
        (payload.body, "gravity=canary-cookie-1"),
        (payload.body, "gravity=canary-cookie-2"),
    ]
    assert server.logins == 2


async def test_F07_session_refused_twice_is_a_refusal(venue: GrvtVenue, server: FakeGrvt) -> None:
    server.answers["create_order"] = EXPIRED
    assert await venue.submit(venue.prepare(order())) == Refused("1000", "message 1000")
    assert (len(server.asked("create_order")), server.logins) == (2, 2)


async def test_F07_login_that_fails_after_a_refusal_is_a_refusal(
    venue: GrvtVenue, server: FakeGrvt
) -> None:
    server.answers["create_order"] = EXPIRED
    server.refuse_login = True
    outcome = await venue.submit(venue.prepare(order()))
    assert isinstance(outcome, Refused)
    assert outcome.code == "1000"
    assert len(server.asked("create_order")) == 1


async def test_order_that_never_left_is_refused(server: FakeGrvt) -> None:
    nowhere = config(edge_url=server.url, trades_url="http://127.0.0.1:1", market_data_url="x:")
    venue = GrvtVenue(nowhere, Clock(), lambda: 0.5, lambda: NONCE)
    await venue.open()
    venue._row = codec.find_instrument([INSTRUMENT], "ETH")
    outcome = await venue.submit(venue.prepare(order()))
    assert isinstance(outcome, Refused)
    assert outcome.code == "not_sent"
    assert isinstance(await venue.cancel(REF), InDoubt)
    assert isinstance(await venue.lookup(REF, Ns(0)), InDoubt)
    await venue.close()
    await venue.close()


async def test_F04_openers_run_out_of_rate_before_hedges_do(
    venue: GrvtVenue, server: FakeGrvt
) -> None:
    server.answers["create_order"] = error(2080, 400)
    opener = venue.prepare(order(purpose=Purpose.OPEN))
    codes = [(await venue.submit(opener)) for _ in range(11)]
    assert isinstance(codes[-1], Refused)
    assert codes[-1].code == "local_rate"
    hedge = await venue.submit(venue.prepare(order()))
    assert isinstance(hedge, Refused)
    assert hedge.code == "2080"
    assert len(server.asked("create_order")) == 11


# --- cancel and lookup -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((200, {"result": {"ack": True}}), CancelAccepted(None)),
        (MISSING, CancelUnknown("1004")),
        ((200, {"result": {"ack": False}}), None),
        ((200, {"result": {}}), None),
        ((200, {}), None),
        (error(1003, 400), None),
        (error(1004, 400), None),
        (error(1006, 429), None),
        ((404, "<html>"), None),
        (HTML, None),
        (RESET, None),
    ],
)
async def test_F59_cancel_outcomes(
    venue: GrvtVenue, server: FakeGrvt, answer: Any, expected: Any
) -> None:
    server.answers["cancel_order"] = answer
    outcome = await venue.cancel(REF)
    assert outcome == expected if expected is not None else isinstance(outcome, InDoubt)
    assert server.asked("cancel_order") == [
        {"sub_account_id": "8289849667772468", "client_order_id": str(2**63 + 7)}
    ]


async def test_cancel_all_names_the_perpetual(venue: GrvtVenue, server: FakeGrvt) -> None:
    server.answers["cancel_all_orders"] = [EXPIRED, (200, {"result": {"ack": True}})]
    assert await venue.cancel_all() == CancelAccepted(None)
    assert server.asked("cancel_all_orders")[-1] == {
        "sub_account_id": "8289849667772468",
        "kind": ["PERPETUAL"],
        "base": ["ETH"],
        "quote": ["USDT"],
    }
    server.answers["cancel_all_orders"] = HTML
    assert isinstance(await venue.cancel_all(), InDoubt)


async def test_lookup_finds_by_client_id(venue: GrvtVenue, server: FakeGrvt) -> None:
    server.answers["order"] = (200, {"result": ORDER})
    assert await venue.lookup(REF, Ns(0)) == Found(codec.order(ORDER))
    assert server.asked("order")[0]["client_order_id"] == str(2**63 + 7)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (MISSING, NotFound),
        ((404, "<html>not found</html>"), InDoubt),
        (error(1004, 200), InDoubt),
        (error(1004, 400), InDoubt),
        (error(3021, 400), InDoubt),
        (error(1001, 403), InDoubt),
        (error(1006, 429), InDoubt),
        ((200, {"result": None}), InDoubt),
        ((200, {"result": []}), InDoubt),
        ((200, {"result": changed(ORDER, "metadata.client_order_id", str(2**63 + 8))}), InDoubt),
        ((200, {"result": changed(ORDER, "legs.instrument", "BTC_USDT_Perp")}), InDoubt),
        (HTML, InDoubt),
        (RESET, InDoubt),
    ],
)
async def test_S5_only_the_venues_own_word_means_not_found(
    venue: GrvtVenue, server: FakeGrvt, answer: Any, kind: type
) -> None:
    server.answers["order"] = answer
    assert isinstance(await venue.lookup(REF, Ns(0)), kind)


# --- reads -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((200, {"result": []}), 0),
        ((200, {"result": [POSITION]}), -NANO // 2),
        ((200, {"result": [POSITION | {"instrument": "ETH_USDC_Perp"}]}), 0),
        ((200, {"result": [POSITION, POSITION]}), None),
        ((200, {"result": None}), None),
        ((200, {"result": {}}), None),
        ((200, {"result": [{}]}), None),
        ((200, {}), None),
        ((200, ""), None),
        (MISSING, None),
        (HTML, None),
    ],
)
async def test_F74_flat_is_only_what_the_venue_says_so(
    venue: GrvtVenue, server: FakeGrvt, answer: Any, expected: int | None
) -> None:
    server.answers["positions"] = answer
    if expected is None:
        with pytest.raises(VenueError):
            await venue.position()
    else:
        held = await venue.position()
        assert (held.qty, held.symbol) == (expected, SYMBOL)


async def test_reads_over_http(venue: GrvtVenue, server: FakeGrvt) -> None:
    other = changed(ORDER, "legs.instrument", "ETH_USDC_Perp")
    server.answers |= {
        "open_orders": (200, {"result": [ORDER, other]}),
        "account_summary": (200, {"result": ACCOUNT}),
        "book": (200, {"result": BOOK}),
        "ticker": (200, {"result": changed(TICKER, "funding_interval_hours", ...)}),
    }
    assert [view.client_id for view in await venue.open_orders()] == [7]
    assert (await venue.balance()).available == 900_500_000_000
    assert (await venue.book(11)).bids[0] == (3000 * NANO, NANO // 2)
    assert server.asked("book") == [{"instrument": SYMBOL, "depth": 50}]
    await venue.book(5000)
    assert server.asked("book")[-1]["depth"] == 500
    funding = await venue.funding()
    assert (funding.rate, funding.interval_hours) == (100_000, 8)


async def test_fills_are_paged_filtered_and_oldest_first(
    venue: GrvtVenue, server: FakeGrvt
) -> None:
    rows = [FILL | {"trade_id": f"{n}-1", "event_time": str(AT + n)} for n in range(5, 0, -1)]
    rows[1]["instrument"] = "ETH_USDC_Perp"
    server.answers["fill_history"] = [
        (200, {"result": rows[:3], "next": "c1"}),
        (200, {"result": rows[2:], "next": ""}),
    ]
    found = await venue.fills(Ns(AT + 2))
    assert [fill.trade_id for fill in found] == ["2-1", "3-1", "5-1"]
    first, second = server.asked("fill_history")
    assert (first["start_time"], first["limit"]) == (str(AT + 2), 1000)
    assert "cursor" not in first
    assert second["cursor"] == "c1"


async def test_history_is_never_given_in_part(
    venue: GrvtVenue, server: FakeGrvt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_PAGES", 3)
    monkeypatch.setattr(history, "PAGE", 1)
    server.answers["fill_history"] = (200, {"result": [FILL], "next": "again"})
    with pytest.raises(VenueMalformed, match="more than 3 pages"):
        await venue.fills(Ns(0))
    server.answers["fill_history"] = (200, {"result": [FILL]})
    with pytest.raises(VenueMalformed, match="next"):
        await venue.fills(Ns(0))
    server.answers["fill_history"] = (200, {"result": []})
    assert await venue.fills(Ns(0)) == ()


async def test_funding_payments_are_ours_and_positive_when_received(
    venue: GrvtVenue, server: FakeGrvt
) -> None:
    older = PAYMENT | {"event_time": str(AT - 5), "amount": "-0.5"}
    other = PAYMENT | {"instrument": "BTC_USDT_Perp"}
    server.answers["funding_payment_history"] = (
        200, {"result": [PAYMENT, other, older], "next": ""},
    )  # fmt: skip
    paid = await venue.funding_payments(Ns(0))
    assert [payment.amount for payment in paid] == [NANO // 2, -1_250_000_000]
    assert server.asked("funding_payment_history")[0]["instrument"] == SYMBOL
    assert len(await venue.funding_payments(Ns(AT))) == 1


async def test_fees_are_those_of_the_newest_fills(venue: GrvtVenue, server: FakeGrvt) -> None:
    server.answers["fill_history"] = (200, {"result": [], "next": ""})
    assert (await venue.fees()).taker == bps("4.5")
    newest, oldest = FILL | {"fee_rate": "0.04"}, FILL | {"fee_rate": "0.05"}
    server.answers["fill_history"] = (200, {"result": [newest, oldest], "next": ""})
    fees = await venue.fees()
    assert (fees.maker, fees.taker) == (bps("-0.01"), bps("4"))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(1006, 429), VenueThrottled),
        ((429, ""), VenueThrottled),
        (error(1001, 403), VenueForbidden),
        (error(1008, 401), VenueForbidden),
        (error(1002, 500, request_id=5), VenueUnreachable),
        (HTML, VenueUnreachable),
        (RESET, VenueUnreachable),
        (error(3000, 400), VenueRefused),
        ((400, "<html>"), VenueMalformed),
        ((302, ""), VenueMalformed),
        ((200, "<html>"), VenueMalformed),
        (error(3000, 200), VenueRefused),
    ],
)
async def test_REQ_4_read_errors_say_what_to_do(
    venue: GrvtVenue, server: FakeGrvt, answer: Any, kind: type[VenueError]
) -> None:
    server.answers["account_summary"] = answer
    with pytest.raises(kind):
        await venue.balance()


@pytest.mark.parametrize("refusal", [EXPIRED, (401, "<html>")])
async def test_F07_read_logs_in_again_once(
    venue: GrvtVenue, server: FakeGrvt, refusal: Any
) -> None:
    server.answers["account_summary"] = [refusal, (200, {"result": ACCOUNT})]
    await venue.balance()
    assert server.logins == 2
    server.answers["account_summary"] = refusal
    with pytest.raises(VenueForbidden):
        await venue.balance()
    assert server.logins == 3


async def test_rate_of_reads_is_held(server: FakeGrvt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sdk.RATES, sdk.SUMMARY, Rate(per_second=1, burst=1))
    monkeypatch.setattr(Clock, "sleep", _never)
    made = GrvtVenue(
        config(edge_url=server.url, trades_url=server.url), Clock(), lambda: 0.5, lambda: NONCE
    )
    await made.open()
    server.answers["account_summary"] = (200, {"result": ACCOUNT})
    await made.balance()
    with pytest.raises(VenueThrottled):
        await asyncio.gather(*(made.balance() for _ in range(3)))
    await made.close()


async def _never(clock: Clock, seconds: float) -> None:
    del clock, seconds


async def test_S14_no_secret_in_errors_or_logs(
    venue: GrvtVenue, server: FakeGrvt, caplog: pytest.LogCaptureFixture
) -> None:
    shown: list[str] = []
    with caplog.at_level(logging.DEBUG):
        for answer in (HTML, RESET, error(1000, 401), error(2080, 400), (200, "{")):
            server.answers |= {"account_summary": answer, "create_order": answer}
            shown.append(repr(await venue.submit(venue.prepare(order()))))
            with pytest.raises(VenueError) as caught:
                await venue.balance()
            shown.append(repr(caught.value))
            shown.append(repr(caught.value.__cause__))
        server.refuse_login = True
        venue._session.expire(venue._session.headers())
        with pytest.raises(VenueForbidden) as refused:
            await venue.open()
        shown.append(repr(refused.value))
    text = "\n".join([*shown, caplog.text])
    for secret in (API_KEY, PRIVATE_KEY[2:], "canary-cookie"):
        assert secret not in text

"""The venue over real HTTP: opening, reads, the session, and what may be shown."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from exchanges.errors import (
    UnknownTicker,
    VenueError,
    VenueForbidden,
    VenueMalformed,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
)
from exchanges.grvt import history, sdk
from exchanges.grvt.venue import GrvtVenue
from exchanges.transport.limiter import Rate
from strategy.domain import (
    NANO,
    Ns,
    Venue,
    bps,
)
from tests.unit.test_grvt_codec import (
    ACCOUNT,
    AT,
    BOOK,
    FILL,
    ORDER,
    PAYMENT,
    POSITION,
    SYMBOL,
    TICKER,
    changed,
)
from tests.unit.test_grvt_signer import API_KEY, NONCE, PRIVATE_KEY, Clock, config
from tests.unit.test_grvt_venue_rig import (
    EXPIRED,
    HTML,
    MISSING,
    RESET,
    FakeGrvt,
    connected,
    error,
    order,
    serving,
)


@pytest.fixture
async def server() -> AsyncIterator[FakeGrvt]:
    async with serving() as fake:
        yield fake


@pytest.fixture
def learned() -> list[str]:
    return []


@pytest.fixture
async def bare(server: FakeGrvt, learned: list[str]) -> AsyncIterator[GrvtVenue]:
    async with connected(server, learned) as made:
        yield made


@pytest.fixture
async def venue(bare: GrvtVenue) -> GrvtVenue:
    await bare.open()
    await bare.load("ETH")
    return bare


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

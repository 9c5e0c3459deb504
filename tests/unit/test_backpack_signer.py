"""Keys, signatures and validity through our facade (venues.md B2)."""

import asyncio
import base64
import json
from typing import Any

import pytest

from exchanges.backpack.sdk import BackpackAccount, BackpackHttp, BackpackPublic, wire_client_id
from exchanges.backpack.signer import BackpackConfig, VenueTime
from exchanges.transport.rest import Reply
from strategy.domain import (
    NANO,
    ClientId,
    Ns,
    OrderRef,
    OrderRequest,
    Purpose,
    Px,
    Qty,
    Side,
    Tif,
    Venue,
)

SEED = base64.b64encode(bytes(range(32))).decode()
PUBLIC = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
ORDER_SIGNATURE = (
    "FPOKaJyhZBbBaufGTXJ/FNkxbTPPV1dtjMF9CWQWxR7y9q1mpTgbIeTkvmx/NK/U8/R2+snjDgnnZw0JR/3WDw=="
)
SUBSCRIBE_SIGNATURE = (
    "+l7W9gsWo7wgxsSyafqWB1Q/506+FeIpLn7LZu6L9cxoWjT0jP5/krBY+fN3hLePKAYNW5RpHpy+suhu5B2/Dg=="
)
NOW_MS = 1_750_000_000_000
MS = 1_000_000


class Clock:
    def __init__(self, wall_ms: int = NOW_MS) -> None:
        self.ms = wall_ms

    def wall(self) -> Ns:
        return Ns(self.ms * MS)

    def mono(self) -> Ns:
        return Ns(0)

    async def sleep(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)
        await asyncio.sleep(0.001)


class FakeRest:
    """Records requests and answers them all with one reply."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.seen: list[tuple[str, str, dict[str, Any]]] = []

    async def request(self, method: str, url: str, **rest: Any) -> Reply:
        self.seen.append((method, url, rest))
        return self.reply


def config() -> BackpackConfig:
    return BackpackConfig(PUBLIC, SEED, api_url="http://127.0.0.1:1")


def facade(clock: Clock | None = None) -> tuple[BackpackAccount, FakeRest, VenueTime]:
    rest = FakeRest(Reply(200, b"[]", {}))
    time = VenueTime(clock or Clock())
    http = BackpackHttp(rest)  # type: ignore[arg-type] # a recorder stands in for the network
    return BackpackAccount(config(), http, time), rest, time


def request(**changes: Any) -> OrderRequest:
    fields: dict[str, Any] = {
        "client_id": ClientId(7),
        "venue": Venue.BACKPACK,
        "symbol": "ETH_USDC_PERP",
        "side": Side.BUY,
        "qty": Qty(NANO // 100),
        "px": Px(3000 * NANO + NANO // 2),
        "tif": Tif.GTC,
        "post_only": True,
        "reduce_only": False,
        "expires_at": Ns((NOW_MS + 5000) * MS),
        "purpose": Purpose.OPEN,
    }
    return OrderRequest(**(fields | changes))


def test_vector_1_order_signature_of_the_sdk() -> None:
    account, _, _ = facade()
    params = {
        "symbol": "ETH_USDC_PERP",
        "side": "Bid",
        "orderType": "Limit",
        "quantity": "0.01",
        "price": "3000.5",
        "postOnly": True,
        "clientId": 7,
    }
    headers = account._headers(params, "orderExecute", None)
    assert headers["X-Signature"] == ORDER_SIGNATURE
    assert headers["X-Timestamp"] == str(NOW_MS)
    assert headers["X-Window"] == "5000"
    assert headers["X-API-Key"] == PUBLIC


def test_vector_2_subscription_signature() -> None:
    account, _, _ = facade()
    frame = json.loads(account.subscription(["account.orderUpdate.ETH_USDC_PERP"]))
    assert frame["method"] == "SUBSCRIBE"
    assert frame["signature"] == [PUBLIC, SUBSCRIBE_SIGNATURE, str(NOW_MS), "5000"]


def test_new_order_is_priced_plain_and_numbered_with_an_integer() -> None:
    account, _, _ = facade()
    signed = account.new_order(request())
    assert json.loads(signed.body) == {
        "symbol": "ETH_USDC_PERP",
        "side": "Bid",
        "orderType": "Limit",
        "quantity": "0.01",
        "price": "3000.5",
        "postOnly": True,
        "timeInForce": "GTC",
        "clientId": 7,
    }
    assert dict(signed.headers)["X-Window"] == "5000"
    assert signed.timestamp == NOW_MS


def test_immediate_reduce_only_order_says_so() -> None:
    account, _, _ = facade()
    signed = account.new_order(
        request(tif=Tif.IOC, post_only=False, reduce_only=True, side=Side.SELL)
    )
    body = json.loads(signed.body)
    assert (body["timeInForce"], body["reduceOnly"], body["side"]) == ("IOC", True, "Ask")
    assert "postOnly" not in body


@pytest.mark.parametrize(
    ("left_ms", "timestamp", "window"),
    [
        (5000, NOW_MS, 5000),
        (1000, NOW_MS, 1000),
        (300, NOW_MS - 700, 1000),
        (60_000, NOW_MS, 60_000),
        (600_000, NOW_MS, 60_000),
    ],
)
def test_order_cannot_be_accepted_after_it_expires(
    left_ms: int, timestamp: int, window: int
) -> None:
    account, _, _ = facade()
    signed = account.new_order(request(expires_at=Ns((NOW_MS + left_ms) * MS)))
    headers = dict(signed.headers)
    assert (headers["X-Timestamp"], headers["X-Window"]) == (str(timestamp), str(window))
    assert int(headers["X-Timestamp"]) + int(headers["X-Window"]) <= NOW_MS + left_ms


def test_sub_millisecond_expiry_is_rounded_down() -> None:
    account, _, _ = facade()
    headers = dict(account.new_order(request(expires_at=Ns(NOW_MS * MS + 1500_900_000))).headers)
    assert headers["X-Window"] == "1500"


def test_F60_signatures_follow_the_venues_clock_and_expiry_stays_on_ours() -> None:
    account, _, time = facade()
    time.measured(Ns((NOW_MS + 10_000) * MS), Ns((NOW_MS - 10) * MS), Ns((NOW_MS + 10) * MS))
    assert time.offset == 10_000 * MS
    headers = dict(account.new_order(request()).headers)
    assert headers["X-Timestamp"] == str(NOW_MS + 10_000)
    assert headers["X-Window"] == "5000"


@pytest.mark.parametrize(("offset_ms", "expected"), [(500, 1000), (-500, 500), (-2000, 0)])
def test_since_is_never_later_than_meant_on_either_clock(offset_ms: int, expected: int) -> None:
    time = VenueTime(Clock())
    time.offset = Ns(offset_ms * MS)
    assert time.earlier(Ns(1000 * MS)) == expected * MS


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": ClientId(0)},
        {"client_id": ClientId(2**32)},
        {"expires_at": Ns(NOW_MS * MS)},
        {"tif": Tif.IOC},
    ],
)
def test_order_that_cannot_be_encoded_is_a_value_error(changes: dict[str, Any]) -> None:
    account, _, _ = facade()
    with pytest.raises(ValueError, match=r"client id|expired|post-only"):
        account.new_order(request(**changes))


def test_failed_order_does_not_pin_the_timestamp() -> None:
    clock = Clock()
    account, _, _ = facade(clock)
    account.new_order(request(expires_at=Ns((NOW_MS + 300) * MS)))
    clock.ms += 50
    assert account._headers({}, "accountQuery", None)["X-Timestamp"] == str(NOW_MS + 50)


def test_largest_client_id_is_accepted() -> None:
    assert wire_client_id(2**32 - 1) == 2**32 - 1


def test_cancel_names_the_order_id_else_the_integer_client_id() -> None:
    account, _, _ = facade()
    by_id = account.cancel_one(OrderRef(ClientId(7), "ETH_USDC_PERP", "42"))
    assert by_id.data == {"symbol": "ETH_USDC_PERP", "orderId": "42"}
    by_client = account.cancel_one(OrderRef(ClientId(7), "ETH_USDC_PERP"))
    assert by_client.data == {"symbol": "ETH_USDC_PERP", "clientId": 7}
    assert by_client.url == "http://127.0.0.1:1/api/v1/order"


async def test_reads_go_through_our_transport_with_a_deadline() -> None:
    account, rest, _ = facade()
    assert await account.get_open_orders(symbol="ETH_USDC_PERP") == []
    method, url, sent = rest.seen[0]
    assert (method, url) == ("GET", "http://127.0.0.1:1/api/v1/orders")
    assert sent["params"] == {"symbol": "ETH_USDC_PERP"}
    assert sent["timeout"] > 0
    public = BackpackPublic(config(), BackpackHttp(rest))  # type: ignore[arg-type] # as above
    await public.depth("ETH_USDC_PERP", 50)
    assert rest.seen[1][1] == "http://127.0.0.1:1/api/v1/depth?symbol=ETH_USDC_PERP&limit=50"


def test_P4_every_facade_has_its_own_transport() -> None:
    first, second = facade()[0], facade()[0]
    assert first.http_client is not second.http_client


@pytest.mark.parametrize(
    ("public", "secret"),
    [
        (PUBLIC, "not base64!"),
        (PUBLIC, base64.b64encode(bytes(64)).decode()),
        ("", SEED),
        (PUBLIC, "\u00e9" * 44),
    ],
)
def test_P15_bad_keys_are_refused_without_showing_them(public: str, secret: str) -> None:
    with pytest.raises(ValueError, match="backpack") as caught:
        BackpackConfig(public, secret)
    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


def test_keys_must_belong_together() -> None:
    other = base64.b64encode(bytes(32)).decode()
    wrong = BackpackConfig(other, SEED)
    http = BackpackHttp(FakeRest(Reply(200, b"", {})))  # type: ignore[arg-type] # as above
    with pytest.raises(ValueError, match="does not belong"):
        BackpackAccount(wrong, http, VenueTime(Clock()))


@pytest.mark.parametrize("bad", [{"api_url": "ftp://x"}, {"ws_url": "https://x"}])
def test_addresses_need_their_scheme(bad: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must start with"):
        BackpackConfig(PUBLIC, SEED, **bad)


def test_S14_secrets_are_not_in_any_repr() -> None:
    account, _, _ = facade()
    assert SEED not in repr(config())
    assert SEED not in repr(account)
    default = BackpackConfig(PUBLIC, SEED)
    assert (default.api, default.ws) == (
        "https://api.backpack.exchange/",
        "wss://ws.backpack.exchange",
    )

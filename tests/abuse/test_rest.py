"""Random requests at every door: answered in time, never a 500, always a documented code.

The same few examples run every time; ``HEDGED_ABUSE_EXAMPLES=5000`` runs as many of each.
"""

import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.simulator.fault_table import SPECS
from strategy.domain import Venue, plain
from tests.abuse.codes import (
    BACKPACK_CODES,
    BACKPACK_STATUSES,
    CONTROL_STATUSES,
    GRVT_CODES,
    GRVT_STATUSES,
)
from tests.abuse.odd import (
    backpack_orders,
    garbage,
    grvt_orders,
    junk,
    odd,
    rarely,
    rarely_from,
)
from tests.abuse.requests import (
    BackpackSigner,
    Endpoint,
    GrvtOrders,
    backpack_endpoints,
    grvt_methods,
)
from tests.abuse.rig import Answer, House, bounded, house

pytestmark = pytest.mark.timeout(0)
METHODS = sorted(grvt_methods("0"))
VERBS = rarely("POST", "GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD")
TYPES = rarely(
    "application/json",
    "",
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/json; charset=utf-16",
)
COOKIES = rarely(None, "", "gravity=", "gravity=x", 'gravity="', ";;=;", "gravity=%00; gravity=a")
CONTROL: dict[str, dict[str, Any]] = {
    "faults": {"fault": "F03", "count": 1, "seconds": 0.01, "delay_ms": 5},
    "market": {"ticker": "ETH", "shift_bps": 0, "liquidity": "1"},
    "accounts": {"tier": 1, "account": "nobody", "leverage": 10, "maker_bps": 1, "taker_bps": 5},
    "liquidate": {"kind": "adl", "size": "0.01"},
}
"""What changes no more than the next test can bear."""
QUIET_FAULTS = sorted(set(SPECS) - {"F52", "F54", "F55", "F66", "F69"})
"""Without those that cut this client off, or cross the shown book on purpose."""


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    with house() as found:
        yield found
        session(found)


def near(found: House, venue: Venue) -> str:
    """Return a price at the touch, so that odd orders do trade."""
    bid, _ = found.host.universe.engines[venue].touch(found.host.universe.symbols[venue])
    return plain(bid or 3000 * 10**9)


def documented_grvt(answer: Answer) -> None:
    assert answer.status in GRVT_STATUSES, answer
    if answer.status == 200:
        assert "code" not in answer.body, answer
    elif answer.body is not None:  # the answer to HEAD has none
        assert answer.json, answer
        assert answer.body["code"] in GRVT_CODES, answer
        assert answer.body.keys() >= {"code", "message", "status"}


@bounded()
@given(data=st.data())
def test_grvt_answers_anything_with_a_documented_code(home: House, data: st.DataObject) -> None:
    keys = home.ready["grvt"]
    name = data.draw(st.sampled_from(METHODS))
    family = data.draw(rarely("full", "lite", "half"))
    valid = grvt_methods(keys["sub_account_id"])[name]
    body = data.draw(rarely_from(odd(valid).map(dumps), st.one_of(junk.map(dumps), garbage)))
    cookie = data.draw(COOKIES)
    headers = {**home.headers, "Content-Type": data.draw(TYPES)}
    if cookie is not None:
        headers["Cookie"] = cookie
    url = f"{keys['trades']}/{family}/v1/{name}"

    documented_grvt(home.run(home.send(data.draw(VERBS), url, headers, body)))
    home.check()


@bounded()
@given(data=st.data())
def test_grvt_orders_of_any_kind_are_answered(home: House, data: st.DataObject) -> None:
    keys = home.ready["grvt"]
    orders = home.__dict__.setdefault("orders", GrvtOrders(keys))
    touch = near(home, Venue.GRVT)
    body = data.draw(grvt_orders(orders.template(touch), touch))
    if data.draw(st.integers(0, 9)):
        body = orders.sign(body)
    headers = {**home.headers, "Content-Type": "application/json"}

    documented_grvt(
        home.run(home.send("POST", f"{keys['trades']}/full/v1/create_order", headers, dumps(body)))
    )
    home.check()


@bounded(0.5)
@given(data=st.data())
def test_grvt_bulk_requests_of_any_kind_are_answered(home: House, data: st.DataObject) -> None:
    keys, touch = home.ready["grvt"], near(home, Venue.GRVT)
    orders = home.__dict__.setdefault("orders", GrvtOrders(keys))
    count = data.draw(st.integers(0, 3))
    rows = [data.draw(grvt_orders(orders.template(touch), touch)) for _ in range(count)]
    name, version = data.draw(
        st.sampled_from(
            [("bulk_orders", "v2"), ("bulk_orders", "v1"), ("create_bulk_orders", "v1")]
        )
    )
    body = grvt_methods(keys["sub_account_id"])[name] | {"orders": orders.sign_all(rows)}
    body = data.draw(rarely_from(st.just(body), odd(body)))
    headers = {**home.headers, "Content-Type": "application/json"}
    url = f"{keys['trades']}/full/{version}/{name}"

    documented_grvt(home.run(home.send("POST", url, headers, dumps(body))))
    home.check()


@bounded(0.3)
@given(data=st.data())
def test_grvt_logins_of_any_kind_are_answered(home: House, data: st.DataObject) -> None:
    keys = home.ready["grvt"]
    way = data.draw(st.sampled_from(["api_key", "wallet", "other"]))
    wallet = {
        "address": "0x01",
        "signature": {"signer": "0x01", "r": "0x", "s": "0x", "v": 27, "nonce": 1},
    }
    valid = wallet if way == "wallet" else {"api_key": keys["api_key"]}
    body = data.draw(st.one_of(odd(valid).map(dumps), junk.map(dumps), garbage))
    url = f"{keys['edge']}/auth/{way}/login"
    headers = {"Content-Type": data.draw(TYPES)}

    answer = home.run(home.send(data.draw(VERBS), url, headers, body))
    documented_grvt(answer)
    if answer.status == 200:
        assert answer.body["status"] in ("success", "failure")


def documented_backpack(answer: Answer) -> None:
    assert answer.status in BACKPACK_STATUSES, answer
    if answer.status >= 400 and answer.json and answer.body is not None:
        assert answer.body.keys() == {"code", "message"}
        assert answer.body["code"] in BACKPACK_CODES, answer
    elif answer.status >= 400 and answer.body:
        assert answer.body.startswith("failed to parse parameter `"), answer


ENDPOINTS = backpack_endpoints()
NO_BODY = ("GET", "HEAD")


@bounded(2)
@given(data=st.data())
def test_backpack_answers_anything_with_a_documented_code(home: House, data: st.DataObject) -> None:
    keys = home.ready["backpack"]
    found = data.draw(st.sampled_from(ENDPOINTS))
    verb = data.draw(rarely(found.method, "PUT", "PATCH", "HEAD", "DELETE"))
    touch = near(home, Venue.BACKPACK)
    orders = found.instruction == "orderExecute"
    params = data.draw(backpack_orders(touch) if orders else odd(found.params))
    url, body = keys["api"] + found.path, None
    if found.method == "GET":
        url, params = queried(url, params)
    else:
        body = dumps(params)
    headers = headers_of(home, found, params, data)
    if body is not None and not data.draw(st.integers(0, 9)):
        body = data.draw(st.one_of(garbage, junk.map(dumps)))

    documented_backpack(home.run(home.send(verb, url, headers, body)))
    home.check()


@bounded(0.5)
@given(data=st.data())
def test_backpack_batches_of_any_kind_are_answered(home: House, data: st.DataObject) -> None:
    keys, touch = home.ready["backpack"], near(home, Venue.BACKPACK)
    rows: list[Any] = data.draw(st.lists(backpack_orders(touch), max_size=3))
    if not data.draw(st.integers(0, 4)):
        rows.append(data.draw(junk))
    headers = BackpackSigner(keys).headers("orderExecute", rows)

    answer = home.run(home.send("POST", f"{keys['api']}/api/v1/orders", headers, dumps(rows)))
    documented_backpack(answer)
    if answer.status == 200:
        assert len(answer.body) == len(rows)
        refused = [row["code"] for row in answer.body if row["operation"] == "Err"]
        assert set(refused) <= BACKPACK_CODES
    home.check()


@bounded(0.5)
@given(data=st.data())
def test_the_control_server_answers_anything(home: House, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([*CONTROL, "state", "audit", "nothing"]))
    verb = data.draw(st.sampled_from(["GET", "POST", "POST", "POST", "PATCH", "DELETE", "PUT"]))
    valid = CONTROL.get(path, {}) | {"venue": data.draw(st.sampled_from(["grvt", "backpack"]))}
    if path == "faults" and data.draw(st.booleans()):
        valid["fault"] = data.draw(st.sampled_from(QUIET_FAULTS))
    body = data.draw(st.one_of(odd(valid).map(dumps), junk.map(dumps), garbage))
    url = f"{home.ready['control']}/{path}"

    answer = home.run(home.send(verb, url, {"Content-Type": "application/json"}, body))
    home.run(home.send("DELETE", f"{home.ready['control']}/faults", {}, None))
    restored(home)

    assert answer.status in CONTROL_STATUSES, answer
    assert answer.json
    if answer.status != 200:
        assert answer.body.keys() == {"error"}
        assert "\n" not in answer.body["error"]


# --- helpers ---------------------------------------------------------------------------------


def dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


def queried(url: str, params: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the address with its query, and the parameters as the server will read them."""
    told = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in params.items()
        if value is not None
    }
    read = {key.encode(errors="replace").decode(): text(value) for key, value in told.items()}
    query = urllib.parse.urlencode(read)
    return (f"{url}?{query}" if query else url), read


def text(value: str) -> str:
    return value.encode(errors="replace").decode()[:2000]


def headers_of(
    found: House, endpoint: Endpoint, params: Any, data: st.DataObject
) -> dict[str, str]:
    """Return the right headers, or now and then wrong ones."""
    signer = BackpackSigner(found.ready["backpack"])
    headers = signer.headers(endpoint.instruction or "none", params)
    if not endpoint.instruction:
        return {}
    kind = data.draw(rarely("right", "other", "missing", "odd"))
    if kind == "other":
        return signer.headers("subscribe", params)
    if kind == "missing":
        del headers[data.draw(st.sampled_from(sorted(headers)))]
    elif kind == "odd":
        name = data.draw(st.sampled_from(["X-API-Key", "X-Signature", "X-Timestamp", "X-Window"]))
        headers[name] = data.draw(
            st.sampled_from(["", "0", "-1", "x", "9" * 30, "1e3", "60001", "AAAA", "=" * 88])
        )
    return headers


def restored(found: House) -> None:
    """Undo what an odd request to the control server may have done to the markets."""
    for venue in ("grvt", "backpack"):
        body = {"venue": venue, "ticker": "ETH", "shift_bps": 0, "halt": False, "liquidity": "1"}
        url = f"{found.ready['control']}/market"
        answer = found.run(found.send("POST", url, {}, dumps(body)))
        assert answer.status == 200, answer


def session(found: House) -> None:
    """Go through a normal session: whatever was sent before, both venues still serve."""
    keys = found.ready["grvt"]
    headers = {**found.headers, "Content-Type": "application/json"}
    orders = GrvtOrders(keys)
    orders._number = 1 << 20
    own = {"sub_account_id": keys["sub_account_id"]}

    def grvt(method: str, body: dict[str, Any]) -> Any:
        url = f"{keys['trades']}/full/v1/{method}"
        answer = found.run(found.send("POST", url, headers, dumps(body)))
        assert answer.status == 200, answer
        return answer.body["result"]

    grvt("cancel_all_orders", own)
    book = grvt("book", {"instrument": "ETH_USDT_Perp", "depth": 10})
    bid = f"{float(book['bids'][0]['price']) * 0.97:.0f}.0"
    order = orders.template(bid)
    order["order"]["legs"][0]["is_buying_asset"] = True
    order["order"]["post_only"] = True
    created = grvt("create_order", orders.sign(order))
    assert created["state"]["status"] == "PENDING"
    named = own | {"client_order_id": created["metadata"]["client_order_id"]}
    assert grvt("cancel_order", named) == {"ack": True}

    keys = found.ready["backpack"]
    signer = BackpackSigner(keys)

    def backpack(verb: str, path: str, instruction: str, params: dict[str, Any]) -> Any:
        signed = signer.headers(instruction, params)
        body = None if verb == "GET" else dumps(params)
        answer = found.run(found.send(verb, keys["api"] + path, signed, body))
        assert answer.status == 200, answer
        return answer.body

    backpack("DELETE", "/api/v1/orders", "orderCancelAll", {"symbol": "ETH_USDC_PERP"})
    price = f"{float(near(found, Venue.BACKPACK)) * 0.97:.0f}"
    placed = backpack(
        "POST",
        "/api/v1/order",
        "orderExecute",
        {
            "symbol": "ETH_USDC_PERP",
            "side": "Bid",
            "orderType": "Limit",
            "quantity": "0.1",
            "price": price,
            "postOnly": True,
        },
    )
    assert placed["status"] == "New"
    gone = {"symbol": "ETH_USDC_PERP", "orderId": placed["id"]}
    assert backpack("DELETE", "/api/v1/order", "orderCancel", gone)["status"] == "Cancelled"

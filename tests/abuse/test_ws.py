"""Random frames on every socket: text, binary, fragments, wrong masks, odd subscriptions and calls.

A socket either answers with documented codes or closes; it is never silent for long, and the server
goes on serving others.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.abuse.codes import BACKPACK_SOCKET_CODES, GRVT_CODES
from tests.abuse.odd import garbage, junk, odd, rarely, rarely_from, scalars
from tests.abuse.requests import PERP, SYMBOL, BackpackSigner, GrvtOrders, grvt_methods
from tests.abuse.rig import House, RawSocket, bounded, frame, house
from tests.abuse.test_rest import session

pytestmark = pytest.mark.timeout(0)
SHARE = 0.5
GRVT_PATHS = ["/ws/full", "/ws/full", "/ws/lite", "/ws"]
GRVT_STREAMS = [
    "v1.mini.s", "v1.mini.d", "v1.ticker.s", "v1.ticker.d", "v1.book.s", "v1.book.d", "v1.trade",
    "v1.candle", "v1.order", "v1.state", "v1.cancel", "v1.fill", "v1.position", "v1.deposit", "v9",
]  # fmt: skip
SECONDARY = ["@500", "@50", "@500-10", "@0", "@CI_1_M-TRADE", "", "@", "@-", "@9999999999", "@x-y"]
BACKPACK_STREAMS = [
    "depth", "depth.200ms", "depth.7ms", "bookTicker", "trade", "markPrice", "ticker", "kline.1m",
    "kline.9m", "openInterest", "liquidation", "account.orderUpdate", "account.positionUpdate", "x",
]  # fmt: skip
LARGE_FRAME = b"[" + b"1," * 150_000 + b"1]"


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    with house() as found:
        yield found
        session(found)


@st.composite
def frames(draw: st.DrawFn, text: st.SearchStrategy[bytes]) -> bytes:
    """Return the bytes of one message: a frame, fragments of one, or no frame at all."""
    kind = draw(rarely("text", "binary", "fragments", "unmasked", "opcode", "control", "raw"))
    if kind == "raw":
        return draw(st.binary(max_size=40))
    body = draw(rarely_from(text, st.one_of(garbage, junk.map(lambda it: json.dumps(it).encode()))))
    body = LARGE_FRAME if body == b"@large" else body
    if kind == "fragments":
        return fragments(draw, body)
    if kind == "unmasked":
        return frame(0x1, body, masked=False)
    if kind == "opcode":
        return frame(draw(st.sampled_from([0x0, 0x3, 0x7, 0xB, 0xF])), body)
    if kind == "control":
        return frame(
            draw(st.sampled_from([0x8, 0x9, 0xA])), body[: draw(st.sampled_from([2, 200]))]
        )
    return frame(0x2 if kind == "binary" else 0x1, body)


def fragments(draw: st.DrawFn, body: bytes) -> bytes:
    """Return a message in two or three frames, with a ping between them."""
    half = len(body) // 2
    parts = frame(0x1, body[:half], last=False) + frame(0x9, b"between")
    if draw(st.booleans()):
        parts += frame(0x0, b"", last=False)
    return parts + frame(0x0, body[half:])


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


async def talk(url: str, path: str, headers: dict[str, str], sent: list[bytes]) -> Any:
    """Send the frames, then ask for a pong; returns every message heard."""
    socket = await RawSocket.connect(url, path, headers)
    try:
        for raw in sent:
            await socket.write(raw)
        return [json.loads(message) for message in await socket.heard(b"still there?")]
    finally:
        await socket.close()


# --- GRVT ------------------------------------------------------------------------------------


@st.composite
def grvt_messages(draw: st.DrawFn, account: str, orders: GrvtOrders) -> bytes:
    """Return a subscription, a call, or something like it."""
    stream = draw(st.sampled_from(GRVT_STREAMS))
    primary = draw(rarely(SYMBOL, account, f"{account}-{SYMBOL}", "1", "", "-", "NOPE_USDT_Perp"))
    selector = primary + draw(st.sampled_from(SECONDARY))
    methods = grvt_methods(account)
    name = draw(st.sampled_from(["subscribe", "unsubscribe", "unsubscribe_all", *methods]))
    if name in methods:
        call = {"method": f"v1/{name}", "params": methods[name]}
        if draw(st.integers(0, 5)) == 0:
            call = {"method": "v1/create_order", "params": orders.sign(orders.template("2000.0"))}
    else:
        call = {"method": name, "params": {"stream": stream, "selectors": [selector]}}
    modern = {"jsonrpc": "2.0", "id": draw(rarely(1, 0, -1, 2**32, "1", None, 1.5)), **call}
    legacy = {
        "request_id": 1,
        "stream": stream,
        "feed": [selector],
        "method": "subscribe",
        "is_full": True,
    }
    short = {"j": "2.0", "m": "subscribe", "p": {"s": stream, "s1": [selector]}, "i": 1}
    found = draw(rarely(modern, legacy, short))
    return text(draw(rarely_from(st.just(found), odd(found))))


def grvt_codes(message: Any) -> list[Any]:
    """Return the error codes of a message, with full or short names."""
    assert isinstance(message, dict), message
    error = message.get("error") or message.get("e")
    if isinstance(error, dict):
        return [error.get("code", error.get("c"))]
    return [message["code"]] if "code" in message else []


@bounded(SHARE)
@given(data=st.data())
def test_grvt_sockets_answer_anything_or_close(home: House, data: st.DataObject) -> None:
    keys = home.ready["grvt"]
    orders = home.__dict__.setdefault("orders", GrvtOrders(keys))
    headers = home.headers if data.draw(st.integers(0, 3)) else {}
    messages = frames(grvt_messages(keys["sub_account_id"], orders))
    sent = data.draw(st.lists(messages, min_size=1, max_size=4))
    path = data.draw(st.sampled_from(GRVT_PATHS))

    for message in home.run(talk(keys["trades"], path, headers, sent)):
        assert set(grvt_codes(message)) <= GRVT_CODES, message
    home.check()


# --- Backpack --------------------------------------------------------------------------------


@st.composite
def backpack_messages(draw: st.DrawFn, signer: BackpackSigner) -> bytes:
    """Return a subscription, signed where it should be or not."""
    stream = draw(st.sampled_from(BACKPACK_STREAMS))
    symbol = draw(rarely(f".{PERP}", "", ".", ".NO_USDC_PERP", f".{PERP}.{PERP}"))
    message: dict[str, Any] = {
        "method": draw(rarely("SUBSCRIBE", "UNSUBSCRIBE", "PING", "", "subscribe")),
        "params": [stream + symbol] * draw(st.sampled_from([1, 1, 1, 2, 200])),
    }
    if draw(st.booleans()):
        message["signature"] = signer.subscription()
    if draw(st.booleans()):
        message["id"] = draw(rarely_from(st.just(1), scalars))
    return text(draw(rarely_from(st.just(message), odd(message))))


@bounded(SHARE)
@given(data=st.data())
def test_backpack_sockets_answer_anything_or_close(home: House, data: st.DataObject) -> None:
    keys = home.ready["backpack"]
    messages = frames(backpack_messages(BackpackSigner(keys)))
    sent = data.draw(st.lists(messages, min_size=1, max_size=4))
    path = data.draw(st.sampled_from(["/", "/ws"]))

    for message in home.run(talk(keys["api"], path, {}, sent)):
        assert message.keys() in ({"stream", "data"}, {"id", "error"}), message
        if "error" in message:
            assert message["error"]["code"] in BACKPACK_SOCKET_CODES, message
    home.check()


# --- no HTTP at all --------------------------------------------------------------------------

RAW = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [
            b"GET / HTTP/9.9\r\n\r\n",
            b"POST /full/v1/book HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"POST /full/v1/book HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            (
                b"GET /ws/full HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 99\r\nSec-WebSocket-Key: x\r\n\r\n"
            ),
        ]
    ),
)


@bounded(SHARE)
@given(raw=RAW, port=st.sampled_from(["grvt", "backpack", "control"]))
def test_garbage_on_any_port_leaves_it_serving(home: House, raw: bytes, port: str) -> None:
    urls = {
        "grvt": home.ready["grvt"]["edge"],
        "backpack": home.ready["backpack"]["api"],
        "control": home.ready["control"],
    }
    paths = {"grvt": "/time", "backpack": "/api/v1/time", "control": "/state"}

    home.run(home.throw(urls[port], raw))
    answer = home.run(home.send("GET", urls[port] + paths[port], {}, None))

    assert answer.status == 200
    # What is no HTTP is logged by the web server itself, and that is all right.
    home.complaints.lines.clear()
    home.check()

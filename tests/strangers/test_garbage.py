"""Half-open sockets and garbage on each of the three ports leave ``hedged simulate`` serving.

After each attack every port answers a well-behaved client, memory is bounded, and nothing was
written to standard error.
"""

import gzip
import json
import random  # noqa: TID251 - a seeded generator of rubbish
import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.strangers.rude import (
    BINARY,
    CLOSE,
    HOST,
    PING,
    TEXT,
    drained,
    exchange,
    flood,
    frame,
    tcp,
    upgraded,
)
from tests.strangers.simulation import Simulation

PORTS = ("grvt", "backpack", "control")
GET = {"grvt": "/time", "backpack": "/api/v1/time", "control": "/state"}
POST = {"grvt": "/full/v1/ticker", "backpack": "/api/v1/order", "control": "/market"}
SOCKETS = (("grvt", "/ws/full"), ("grvt", "/ws/lite"), ("grvt", "/ws"), ("backpack", "/"))
GROWTH_KIB = 64 * 1024
"""How much the process may grow at most under any one attack."""
MIB = 1 << 20


def serves(it: Simulation) -> None:
    """Every port answers, and quickly."""
    for which in PORTS:
        url = f"http://{HOST}:{it.port(which)}{GET[which]}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.status == 200
            assert json.loads(answer.read())


@pytest.fixture(autouse=True)
def unharmed(simulation: Simulation) -> Iterator[None]:
    serves(simulation)
    before, said = simulation.peak_kib, len(simulation.stderr)
    yield
    serves(simulation)
    assert simulation.peak_kib - before < GROWTH_KIB
    assert simulation.stderr[said:] == ""
    assert simulation.process.poll() is None


def rubbish(size: int) -> bytes:
    return random.Random(size).randbytes(size)  # noqa: S311 - no secret


def post(which: str, body: bytes, *headers: str, size: int | None = None) -> bytes:
    """Return a POST as bytes; ``size`` is what it claims to send."""
    claimed = len(body) if size is None else size
    lines = [
        f"POST {POST[which]} HTTP/1.1", f"Host: {HOST}", "Content-Type: application/json",
        "Connection: close", f"Content-Length: {claimed}", *headers,
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


# --- half-open ------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", PORTS)
def test_connections_that_never_send(simulation: Simulation, which: str) -> None:
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(tcp(simulation.port(which)))
        serves(simulation)


@pytest.mark.parametrize("which", PORTS)
def test_requests_of_which_only_half_arrives(simulation: Simulation, which: str) -> None:
    whole = post(which, b'{"instrument":"ETH_USDT_Perp"}')
    with ExitStack() as stack:
        for cut in range(1, len(whole), 3):
            sock = stack.enter_context(tcp(simulation.port(which)))
            sock.sendall(whole[:cut])
        serves(simulation)


@pytest.mark.parametrize("which", PORTS)
def test_a_client_that_asks_and_never_reads(simulation: Simulation, which: str) -> None:
    """The answers pile up to a bound; then the server stops reading from that client."""
    ask = f"GET {GET[which]} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode() * 200
    with tcp(simulation.port(which), small_window=True) as sock:
        assert flood(sock, ask, 64 * MIB) < 64 * MIB
        serves(simulation)


@pytest.mark.parametrize(("which", "path"), SOCKETS)
def test_a_socket_that_asks_and_never_reads(simulation: Simulation, which: str, path: str) -> None:
    """A consumer that cannot keep up is dropped."""
    ask = frame(TEXT, b'{"method":"nonsense","id":1}') * 500
    with upgraded(simulation.port(which), path, small_window=True) as sock:
        assert flood(sock, ask, 64 * MIB) < 64 * MIB
        serves(simulation)


@pytest.mark.parametrize(("which", "path"), SOCKETS)
def test_a_subscriber_that_vanishes_without_a_goodbye(
    simulation: Simulation, which: str, path: str
) -> None:
    modern: dict[str, Any] = {
        "jsonrpc": "2.0", "method": "subscribe", "id": 1,
        "params": {"stream": "v1.book.d", "selectors": ["ETH_USDT_Perp@50"]},
    }  # fmt: skip
    old: dict[str, dict[str, Any]] = {
        "/ws": {"request_id": 1, "stream": "v1.book.d", "feed": ["ETH_USDT_Perp@50"],
                "method": "subscribe", "is_full": True},
        "/": {"method": "SUBSCRIBE", "params": ["depth.ETH_USDC_PERP"]},
    }  # fmt: skip
    ask = old.get(path, modern)
    for _ in range(20):
        with upgraded(simulation.port(which), path) as sock:
            sock.sendall(frame(TEXT, json.dumps(ask).encode()))
            # Linger zero: close sends a reset and no FIN.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


# --- garbage --------------------------------------------------------------------------------------


NOT_HTTP: dict[str, bytes] = {
    "zeros": bytes(4096),
    "noise": rubbish(65_536),
    "tls hello": bytes.fromhex("16030100f5010000f10303") + rubbish(230),
    "http2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rubbish(64),
    "only newlines": b"\r\n" * 5000,
    "unknown version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "unknown method": b"BREW /coffee HTTP/1.1\r\nHost: x\r\n\r\n",
    "no path": b"GET HTTP/1.1\r\n\r\n",
    "bad path": b"GET /\xff\xfe%zz?%00=\x80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "long path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "long header": b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    "bad header": b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
    "header of bytes": b"GET / HTTP/1.1\r\nCookie: gravity=\xff\xfe\x00\r\n\r\n",
    "negative length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nabc",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 9\r\n\r\nabc",
    "length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n"
    b"\r\n0\r\n\r\n",
    "bad chunk": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "bad upgrade": b"GET /ws/full HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: short\r\nSec-WebSocket-Version: 99\r\n\r\n",
    "http0.9": b"GET /\r\n",
}


@pytest.mark.parametrize("which", PORTS)
@pytest.mark.parametrize("raw", NOT_HTTP.values(), ids=list(NOT_HTTP))
def test_bytes_that_are_no_request(simulation: Simulation, which: str, raw: bytes) -> None:
    answer = exchange(simulation.port(which), raw)
    assert answer == b"" or answer.startswith(b"HTTP/1."), answer[:100]
    assert not answer.startswith((b"HTTP/1.1 5", b"HTTP/1.0 5")), answer[:300]


BODIES: dict[str, Callable[[str], bytes]] = {
    "empty": lambda which: post(which, b""),
    "noise": lambda which: post(which, rubbish(5000)),
    "no object": lambda which: post(which, b"[1,2,3]"),
    "deep": lambda which: post(which, b"[" * 100_000),
    "wide number": lambda which: post(which, b'{"instrument":' + b"9" * 50_000 + b"}"),
    "lone surrogate": lambda which: post(which, b'{"instrument":"\\ud800"}'),
    "bad utf8": lambda which: post(which, b'{"instrument":"\xff\xfe"}'),
    "claims a terabyte": lambda which: post(which, b"{}", size=1 << 40),
    "cut short": lambda which: post(which, b'{"instrument":', size=500),
    "not gzip": lambda which: post(which, rubbish(500), "Content-Encoding: gzip"),
    "not deflate": lambda which: post(which, rubbish(500), "Content-Encoding: deflate"),
    "two megabytes": lambda which: post(which, b" " * (2 * MIB) + b"{}"),
}


@pytest.mark.parametrize("which", PORTS)
@pytest.mark.parametrize("make", BODIES.values(), ids=list(BODIES))
def test_bodies_that_mean_nothing(
    simulation: Simulation, which: str, make: Callable[[str], bytes]
) -> None:
    answer = exchange(simulation.port(which), make(which))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer[:300]


@pytest.mark.parametrize("which", PORTS)
def test_a_body_that_unpacks_to_a_hundred_times_its_size(
    simulation: Simulation, which: str
) -> None:
    """The limit on bodies holds for what they unpack to."""
    bomb = gzip.compress(b" " * (256 * MIB), 1)
    answer = exchange(simulation.port(which), post(which, bomb, "Content-Encoding: gzip"))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer[:300]


FRAMES: dict[str, bytes] = {
    "noise": rubbish(10_000),
    "text noise": frame(TEXT, rubbish(500)),
    "text that is no json": frame(TEXT, b"ping"),
    "binary": frame(BINARY, rubbish(500)),
    "binary json": frame(BINARY, b'{"jsonrpc":"2.0","method":"subscribe","id":1}'),
    "empty": frame(TEXT, b""),
    "json of no object": frame(TEXT, b"[[],null,1e999]"),
    "deep json": frame(TEXT, b'{"a":' * 20_000),
    "huge": frame(TEXT, b" " * (4 * MIB)),
    "claims an exabyte": bytes([0x81, 0xFF]) + b"\x0f" + b"\xff" * 7 + b"\0\0\0\0abc",
    "endless fragments": frame(TEXT, b"a", fin=False) + frame(0, b"a" * 1000, fin=False) * 2000,
    "continuation of nothing": frame(0, b"abc"),
    "reserved opcode": frame(5, b"abc"),
    "reserved bits": bytes([0xF1]) + frame(TEXT, b"abc")[1:],
    "unmasked": frame(TEXT, b'{"id":1}', masked=False),
    "long ping": frame(PING, b"a" * 200),
    "many pings": frame(PING, b"are you there") * 2000,
    "close with a bad code": frame(CLOSE, b"\x00\x01"),
    "close with one byte": frame(CLOSE, b"\x03"),
}


@pytest.mark.parametrize(("which", "path"), SOCKETS)
@pytest.mark.parametrize("raw", FRAMES.values(), ids=list(FRAMES))
def test_frames_that_mean_nothing(
    simulation: Simulation, which: str, path: str, raw: bytes
) -> None:
    with upgraded(simulation.port(which), path) as sock:
        try:
            sock.sendall(raw + frame(CLOSE, b"\x03\xe8"))
        except ConnectionError:
            return  # it has hung up already
        drained(sock)

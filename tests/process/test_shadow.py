"""``hedged --venues shadow`` against ``hedged simulate``, which plays the live venues."""

import json
import re
import signal
import socket
import sqlite3
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.process.programs import PATIENCE, Simulator, environment, hedged, start, until

SHADOW = ("--ticker", "ETH", "--venues", "shadow", "--size", "0.1", "--fill-timeout", "1",
          "--hedge-mode", "market", "--log-format", "console")  # fmt: skip
PRIVATE_HEADERS = ("cookie", "x-grvt-account-id", "x-api-key", "x-signature", "authorization")
PUBLIC_REQUESTS = {
    "GET /api/v1/markets",
    "GET /api/v1/depth",
    "GET /",
    "POST /full/v1/all_instruments",
    "GET /ws/full",
}
PUBLIC_STREAMS = {
    "depth.ETH_USDC_PERP",
    "trade.ETH_USDC_PERP",
    "v1.book.d ETH_USDT_Perp@50",
    "v1.trade ETH_USDT_Perp@50",
}


class Tap:
    """Forwards TCP to one port and keeps every byte that the client sent."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._to = (parts.hostname, parts.port)
        self._door = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._door]
        self.said: list[bytearray] = []
        self.url = f"{parts.scheme}://127.0.0.1:{self._door.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._door.accept()
                theirs = socket.create_connection(self._to)
                self._open += [ours, theirs]
                self.said.append(bytearray())
                for pair in ((ours, theirs, self.said[-1]), (theirs, ours, None)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, kept: bytearray | None) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if kept is not None:
                    kept += data
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def requests(said: bytes) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """Yield (method and path, headers, rest) of the HTTP requests of one connection."""
    while said:
        head, _, said = said.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        size = int(headers.get("content-length", "0"))
        yield " ".join(first.split(" ")[:2]).partition("?")[0], headers, said
        if "upgrade" in headers:
            return
        said = said[size:]


def frames(said: bytes) -> Iterator[dict[str, Any]]:
    """Yield the JSON text frames that a WebSocket client sent (RFC 6455, masked)."""
    while len(said) > 1:
        kind, size, at = said[0] & 0x0F, said[1] & 0x7F, 2
        if size == 126:
            size, at = int.from_bytes(said[2:4]), 4
        mask, body = said[at : at + 4], said[at + 4 : at + 4 + size]
        if kind == 1:
            yield json.loads(bytes(byte ^ mask[n % 4] for n, byte in enumerate(body)))
        said = said[at + 4 + size :]


def streams_of(frame: dict[str, Any]) -> set[str]:
    """Return what a frame subscribes to; anything but an unsigned subscription fails here."""
    assert frame["method"].lower() == "subscribe", frame
    assert "signature" not in frame
    params = frame["params"]
    if isinstance(params, list):
        return set(params)
    return {f"{params['stream']} {selector}" for selector in params["selectors"]}


@contextmanager
def tapped(live: Simulator) -> Iterator[tuple[dict[str, str], list[Tap], list[Tap]]]:
    """Yield an environment without any key, the taps of public and those of private addresses."""
    grvt, backpack = live.ready["grvt"], live.ready["backpack"]
    public = {
        "GRVT_MARKET_DATA_URL": Tap(grvt["market_data"]),
        "GRVT_WS_MARKET_DATA_URL": Tap(grvt["ws_market_data"]),
        "BACKPACK_API_URL": Tap(backpack["api"]),
        "BACKPACK_WS_URL": Tap(backpack["ws"]),
    }
    private = {
        "GRVT_EDGE_URL": Tap(grvt["edge"]),
        "GRVT_TRADES_URL": Tap(grvt["trades"]),
        "GRVT_WS_TRADES_URL": Tap(grvt["ws_trades"]),
    }
    try:
        env = environment(**{name: tap.url for name, tap in (public | private).items()})
        yield env, list(public.values()), list(private.values())
    finally:
        for tap in (public | private).values():
            tap.close()


def keyless(live: Simulator) -> dict[str, str]:
    return {k: v for k, v in live.environment().items() if "KEY" not in k and "ACCOUNT" not in k}


def opened(text: str) -> int:
    return text.count("[OPEN] order ")


def test_a_shadow_run_hedges_against_live_books_and_sends_nothing_private(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    live = fresh_simulator("--speed", "6")
    with tapped(live) as (env, public, private):
        done = hedged(tmp_path, *SHADOW, "--iter", "1", "--summary-json", "s.json", env=env)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        said = [bytes(each) for tap in public for each in tap.said]
        assert [tap.said for tap in private] == [[], [], []]
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["mode"] == "shadow"
    assert summary["iterations"] == 1
    assert summary["hedges"] >= 2
    assert float(summary["volume_quote"]) > 0
    assert summary["final"] == {"backpack": "0", "grvt": "0", "net": "0"}
    asked, subscribed = set(), set()
    for each in said:
        for line, headers, rest in requests(each):
            asked.add(line)
            assert not [name for name in PRIVATE_HEADERS if name in headers], line
            if "upgrade" in headers:
                for frame in frames(rest):
                    subscribed |= streams_of(frame)
    assert asked == PUBLIC_REQUESTS
    assert subscribed == PUBLIC_STREAMS
    for venue, state in live.ask("/state").items():
        assert (state["orders_received"], state["signature_failures"]) == (0, 0), venue
    assert live.ask("/audit") == {"orders": []}
    with sqlite3.connect(tmp_path / "state" / "shadow.db") as journal:
        (fills,) = journal.execute("SELECT count(*) FROM fills").fetchone()
    journal.close()
    assert fills >= 4


def test_F54_while_a_live_venue_is_lost_its_shadow_book_is_empty_and_nothing_is_opened(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    live = fresh_simulator("--speed", "6")
    process = start(tmp_path, *SHADOW, "--iter", "0", env=keyless(live))
    out = tmp_path / "out.txt"
    until(lambda: "[METRICS] iteration_complete" in out.read_text(), 40, "an iteration")
    found = re.search(r"simulator control=(\S+)", out.read_text())
    assert found is not None

    def shadow() -> Any:
        with urllib.request.urlopen(f"{found[1]}/state", timeout=5) as answer:  # noqa: S310 - loopback
            return json.loads(answer.read())

    live.ask("/faults", "POST", {"venue": "grvt", "fault": "F54"})
    until(lambda: "[VENUE] live_gap venue=grvt" in out.read_text(), 15, "the loss noticed")
    until(lambda: shadow()["grvt"]["open_orders"] + shadow()["backpack"]["open_orders"] == 0,
          15, "makers cancelled")  # fmt: skip
    before = opened(out.read_text())
    for _ in range(10):
        state = shadow()
        assert (state["grvt"]["bid"], state["grvt"]["ask"]) == (None, None)
        assert state["backpack"]["bid"] is not None
        time.sleep(0.1)  # noqa: TID251 - a second in which nothing may happen
    text = out.read_text()
    assert opened(text) == before
    live.ask("/faults", "DELETE")
    until(lambda: "[VENUE] live_book_is_back venue=grvt" in out.read_text(), 20, "the book back")
    until(lambda: opened(out.read_text()) > before, 20, "opening again")
    process.send_signal(signal.SIGTERM)
    assert process.wait(35 * PATIENCE) == 0, out.read_text()[-3000:]
    assert live.ask("/audit") == {"orders": []}


def test_unreachable_live_venues_are_exit_75_with_one_clear_line(tmp_path: Path) -> None:
    nowhere = {"BACKPACK_API_URL": "http://127.0.0.1:1", "BACKPACK_WS_URL": "ws://127.0.0.1:1"}
    done = hedged(tmp_path, *SHADOW, "--iter", "1", env=environment(**nowhere), limit=30)
    assert done.returncode == 75, done.stdout + done.stderr
    (line,) = done.stdout.splitlines()
    assert "[INIT] refused" in line
    assert "backpack" in line
    assert "Traceback" not in done.stderr

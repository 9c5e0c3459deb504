"""How many requests a second both simulated venues answer over the wire, and how fast.

``python -m tests.bench.wire`` starts ``hedged simulate`` as a process of its own on one core, loads
it from this one on another, and prints JSON. Two phases, each on REST of both venues, the same mix
(a fifth each: create, book, cancel, open orders, book):

- ``sustained``: requests leave on a timetable of ``--rate`` a second; a latency counts from the
  moment the request was due, so waiting for a slow server is not left out.
- ``peak``: ``--connections`` clients to each venue send as fast as they are answered.

GRVT orders carry real EIP-712 signatures, made before the clock starts; the server recovers the
signer of every one. Backpack requests are signed as they leave. The venues' own request limits,
which would be all that a load test finds, are lifted by switches. What the venue waits on purpose
(the configured engine latency in Backpack's synchronous answers to orders and cancels) is
subtracted, as ``above configured latency``.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop
from eth_account import Account

from exchanges.simulator.defaults import BACKPACK_RULES
from tests.bench.wire_client import BackpackSigner, Connection, Json, Signed, http, presigned

GRVT_SYMBOL, BACKPACK_SYMBOL = "ETH_USDT_Perp", "ETH_USDC_PERP"
GOAL_RATE, GOAL_P99_MS = 1_500, 20.0
LIFE_NS = 3600 * 10**9
NO_LIMITS = (
    "grvt.rate_tier=1000000",
    "backpack.requests_per_minute=1000000000",
    "backpack.history_per_minute=1000000000",
)
AWAY = 0.97
"""Where our bids rest, as a share of the touch."""
STEPS = 5
"""Requests of one round: create, book, cancel, open orders, book."""
_JSON = "application/json"


@dataclass
class Tally:
    """What happened."""

    above: list[float] = field(default_factory=list)
    """Milliseconds of each answer above the configured latency."""
    kinds: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def report(self, seconds: float) -> Json:
        """Return the figures."""
        ranked = sorted(self.above)
        return {
            "requests": len(ranked),
            "seconds": round(seconds, 2),
            "requests_per_second": round(len(ranked) / seconds, 1),
            "p50_ms_above_configured_latency": round(_quantile(ranked, 0.5), 3),
            "p99_ms_above_configured_latency": round(_quantile(ranked, 0.99), 3),
            "max_ms_above_configured_latency": round(ranked[-1], 3) if ranked else None,
            "by_kind": dict(sorted(self.kinds.items())),
            "errors": dict(self.errors),
        }


def _quantile(ranked: list[float], share: float) -> float:
    return ranked[min(int(len(ranked) * share), len(ranked) - 1)] if ranked else float("nan")


Due = Callable[[], Awaitable[float]]
"""Waits for the next moment to send; returns it, in seconds of the monotonic clock."""


class Client:
    """Rounds of requests on one connection; subclasses know a venue."""

    venue = ""

    def __init__(self, connection: Connection, tally: Tally, wait_ms: float) -> None:
        self._connection = connection
        self._tally = tally
        self._wait_ms = wait_ms

    async def _send(self, due: Due, kind: str, raw: Callable[[], bytes]) -> bytes:
        began = await due()
        status, body = await self._connection.request(raw())
        spent = (time.perf_counter() - began) * 1000
        waits = self._wait_ms if kind in ("create", "cancel") else 0.0
        self._tally.above.append(spent - waits)
        self._tally.kinds[f"{self.venue} {kind}"] += 1
        if status >= 300:
            self._tally.errors[f"{self.venue} {kind} {status} {body[:120]!r}"] += 1
        return body

    async def round(self, due: Due) -> None:
        """Send one request of each kind."""
        raise NotImplementedError


class GrvtClient(Client):
    """GRVT: acknowledged creates, signed ahead."""

    venue = "grvt"

    def __init__(
        self, connection: Connection, tally: Tally, orders: list[Signed], head: Json, account: str
    ) -> None:
        super().__init__(connection, tally, 0.0)  # an acknowledgement waits for nothing
        self._orders = orders
        self._head = head
        self._account = account

    def _post(self, method: str, body: bytes | Json) -> bytes:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        return http("POST", f"/full/v1/{method}", self._head, sent)

    async def round(self, due: Due) -> None:
        """Create, book, cancel, open orders, book."""
        if not self._orders:
            raise RuntimeError("the orders signed ahead ran out: give a higher --peak")
        order = self._orders.pop()
        book = {"instrument": GRVT_SYMBOL, "depth": 10}
        account = {"sub_account_id": self._account}
        named = account | {"client_order_id": order.client_id}
        await self._send(due, "create", lambda: self._post("create_order", order.body))
        await self._send(due, "book", lambda: self._post("book", book))
        await self._send(due, "cancel", lambda: self._post("cancel_order", named))
        await self._send(due, "open orders", lambda: self._post("open_orders", account))
        await self._send(due, "book", lambda: self._post("book", book))


class BackpackClient(Client):
    """Backpack: synchronous answers, signed as they leave."""

    venue = "backpack"

    def __init__(
        self, connection: Connection, tally: Tally, signer: BackpackSigner, px: str, wait_ms: float
    ) -> None:
        super().__init__(connection, tally, wait_ms)
        self._signer = signer
        self._px = px

    def _signed(self, method: str, path: str, instruction: str, params: Json) -> bytes:
        stamp = time.time_ns() // 1_000_000
        head = self._signer.headers(instruction, params, stamp)
        body = b"" if method == "GET" else json.dumps(params).encode()
        return http(method, path, head, body)

    async def round(self, due: Due) -> None:
        """Create, book, cancel, open orders, book."""
        number = next(self._signer.client_ids)
        order = {
            "symbol": BACKPACK_SYMBOL,
            "side": "Bid",
            "orderType": "Limit",
            "quantity": "0.1",
            "price": self._px,
            "postOnly": True,
            "clientId": number,
        }
        named = {"symbol": BACKPACK_SYMBOL, "clientId": number}
        depth = http("GET", f"/api/v1/depth?symbol={BACKPACK_SYMBOL}&limit=10", {})
        path = "/api/v1/order"
        await self._send(due, "create", lambda: self._signed("POST", path, "orderExecute", order))
        await self._send(due, "book", lambda: depth)
        await self._send(due, "cancel", lambda: self._signed("DELETE", path, "orderCancel", named))
        await self._send(
            due, "open orders", lambda: self._signed("GET", f"{path}s", "orderQueryAll", {})
        )
        await self._send(due, "book", lambda: depth)


# --- the phases ------------------------------------------------------------------------------


class Timetable:
    """Moments to send at, evenly ``rate`` a second, shared by all clients."""

    def __init__(self, rate: float) -> None:
        self._step = 1 / rate
        self._next = time.perf_counter()

    async def due(self) -> float:
        """Take the next moment and wait for it."""
        moment, self._next = self._next, self._next + self._step
        ahead = moment - time.perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        return moment


async def _at_once() -> float:
    return time.perf_counter()


async def _phase(clients: list[Client], due: Due, seconds: float) -> float:
    """Let every client work until the time is over; returns how long it took."""
    began = time.perf_counter()

    async def work(client: Client) -> None:
        while time.perf_counter() - began < seconds:
            await client.round(due)

    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(work(client))
    return time.perf_counter() - began


# --- setting up ------------------------------------------------------------------------------


async def _connect(url: str) -> Connection:
    at = urlsplit(url)
    assert at.hostname is not None
    assert at.port is not None
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, at.hostname, at.port)
    return connection


async def _grvt_login(keys: Json) -> Json:
    """Log in on a raw connection; returns the headers that authenticate."""
    at = urlsplit(keys["edge"])
    body = json.dumps({"api_key": keys["api_key"]}).encode()
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    writer.write(http("POST", "/auth/api_key/login", {"Content-Type": _JSON}, body))
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.close()
    lines = [line.split(": ", 1) for line in head.split("\r\n") if ": " in line]
    found = {name.lower(): value for name, value in lines}
    return {
        "Content-Type": _JSON,
        "Cookie": found["set-cookie"].partition(";")[0],
        "X-Grvt-Account-Id": found["x-grvt-account-id"],
    }


async def _touch(connection: Connection, raw: bytes) -> float:
    status, body = await connection.request(raw)
    assert status == 200, body
    answer = json.loads(body)
    bids = answer["result"]["bids"] if "result" in answer else answer["bids"]
    prices = [float(row["price"] if isinstance(row, dict) else row[0]) for row in bids]
    return max(prices)


async def _clients(ready: Json, tally: Tally, connections: int, orders: int) -> list[Client]:
    """Connect, and sign as many orders as the run can need."""
    grvt, backpack = ready["grvt"], ready["backpack"]
    grvt["signer"] = Account.from_key(grvt["private_key"]).address
    head = await _grvt_login(grvt)
    asks = [await _connect(grvt["trades"]), await _connect(backpack["api"])]
    book = json.dumps({"instrument": GRVT_SYMBOL, "depth": 10}).encode()
    touch = await _touch(asks[0], http("POST", "/full/v1/book", {"Content-Type": _JSON}, book))
    depth = http("GET", f"/api/v1/depth?symbol={BACKPACK_SYMBOL}&limit=10", {})
    other = await _touch(asks[1], depth)
    for each in asks:
        each.close()
    grvt["instrument_hash"] = "0x030401"
    until = time.time_ns() + LIFE_NS
    signed = list(presigned(grvt, GRVT_SYMBOL, f"{touch * AWAY:.0f}.0", until, orders))
    signer, wait_ms = BackpackSigner(backpack), BACKPACK_RULES.latency / 1e6
    found: list[Client] = []
    for _ in range(connections):
        account = grvt["sub_account_id"]
        found.append(GrvtClient(await _connect(grvt["trades"]), tally, signed, head, account))
        px = f"{other * AWAY:.0f}"
        found.append(BackpackClient(await _connect(backpack["api"]), tally, signer, px, wait_ms))
    return found


@contextlib.asynccontextmanager
async def _simulator(profile: str | None) -> AsyncIterator[Json]:
    """Run the server on a core of its own, where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    command = [sys.executable]
    command += ["-m", "cProfile", "-o", profile] if profile else []
    command += ["-m", "daemon", "simulate"]
    for switch in NO_LIMITS:
        command += ["--switch", switch]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - our own program, before the clock starts
    if len(cores) > 1:
        os.sched_setaffinity(server.pid, cores[:1])
        os.sched_setaffinity(0, cores[1:])
    try:
        assert server.stdout is not None
        ready: Json = json.loads(server.stdout.readline())
        yield ready | {"pid": server.pid}
    finally:
        server.terminate()
        server.communicate(timeout=20)
        os.sched_setaffinity(0, cores)


def _cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used: it does not depend on other load."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


async def measure(args: argparse.Namespace) -> Json:
    """Run both phases; returns the report."""
    load = round(os.getloadavg()[0], 2)
    orders = int((args.rate + args.peak) * (args.seconds + 2) / (2 * STEPS))
    async with _simulator(args.profile) as ready:
        warm, sustained, peak = Tally(), Tally(), Tally()
        clients = await _clients(ready, warm, args.connections, orders)
        await _phase(clients, _at_once, 1.0)
        report: Json = {}
        for name, tally in (("sustained", sustained), ("peak", peak)):
            for client in clients:
                client._tally = tally
            due = Timetable(args.rate).due if name == "sustained" else _at_once
            used = _cpu_seconds(ready["pid"])
            report[name] = tally.report(await _phase(clients, due, args.seconds))
            used = _cpu_seconds(ready["pid"]) - used
            report[name]["server_cpu_us_per_request"] = round(used * 1e6 / len(tally.above), 1)
    held = report["sustained"]
    return {
        "bench": "wire",
        "cores": len(os.sched_getaffinity(0)),
        "load_average_before": load,
        "connections_per_venue": args.connections,
        "signed": "GRVT creates EIP-712 (made ahead, recovered by the server); Backpack ED25519",
        "limits": "lifted",
        **report,
        "goal": {"requests_per_second": GOAL_RATE, "p99_ms_above_configured_latency": GOAL_P99_MS},
        "holds": not held["errors"]
        and held["requests_per_second"] >= min(GOAL_RATE, args.rate) * 0.99
        and held["p99_ms_above_configured_latency"] < GOAL_P99_MS,
    }


def main() -> None:
    """Print the report as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each phase")
    parser.add_argument("--rate", type=float, default=GOAL_RATE, help="of the sustained phase")
    parser.add_argument("--connections", type=int, default=16, help="to each venue")
    parser.add_argument("--peak", type=float, default=6_000, help="most that a peak may reach")
    parser.add_argument("--profile", metavar="FILE", help="cProfile of the server")
    report: Any = uvloop.run(measure(parser.parse_args()))
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

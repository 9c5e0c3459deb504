"""A scripted GRVT over real HTTP, shared by the tests of the venue."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from exchanges.grvt.venue import GrvtVenue
from strategy.domain import (
    NANO,
    ClientId,
    OrderRef,
)
from tests.unit.test_grvt_codec import (
    INSTRUMENT,
    ORDER,
    SYMBOL,
    changed,
)
from tests.unit.test_grvt_signer import API_KEY, NONCE, Clock, config, request

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


@asynccontextmanager
async def serving() -> AsyncIterator[FakeGrvt]:
    """Run the scripted server."""
    fake = FakeGrvt()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@asynccontextmanager
async def connected(server: FakeGrvt, learned: list[str]) -> AsyncIterator[GrvtVenue]:
    """Make a venue of the server; it is not opened yet."""
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


def order(**changes: Any) -> Any:
    return request(**({"qty": NANO // 2} | changes))

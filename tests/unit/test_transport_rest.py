"""The difference that money depends on: never sent, or maybe arrived."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from exchanges.transport import rest as transport
from exchanges.transport.rest import NoAnswer, NotSent, RestClient


class Server:
    """Answers by path; counts connections and requests."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[tuple[str, bytes, dict[str, str]]] = []
        self.ports: set[int] = set()

    async def handle(self, call: web.Request) -> web.StreamResponse:
        assert call.transport is not None
        self.ports.add(call.transport.get_extra_info("peername")[1])
        self.seen.append((call.path_qs, await call.read(), dict(call.headers)))
        match call.path:
            case "/hang":
                await asyncio.sleep(30)
            case "/reset":
                call.transport.abort()
            case "/cut":
                answer = web.StreamResponse(headers={"Content-Length": "100"})
                await answer.prepare(call)
                await answer.write(b"part")
                call.transport.close()
                return answer
            case "/move":
                raise web.HTTPFound("/ok")
            case _:
                pass
        headers = {"Set-Cookie": "gravity=abc; Path=/", "X-Grvt-Account-Id": "7"}
        return web.Response(text="fine", headers=headers)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def rest() -> AsyncIterator[RestClient]:
    client = RestClient()
    await client.open()
    yield client
    await client.close()


async def test_answer_is_complete_with_headers_and_cookies(
    server: Server, rest: RestClient
) -> None:
    reply = await rest.request(
        "POST", f"{server.url}/ok", headers={"X-A": "b"}, body=b"{}", params={"q": "1"}, timeout=2
    )
    assert (reply.status, reply.body) == (200, b"fine")
    assert reply.headers["x-grvt-account-id"] == "7"
    assert reply.cookies == ("gravity=abc; Path=/",)
    path, body, headers = server.seen[0]
    assert (path, body, headers["X-A"]) == ("/ok?q=1", b"{}", "b")


async def test_P1_one_connection_serves_all_and_no_cookie_is_kept(
    server: Server, rest: RestClient
) -> None:
    await rest.open()
    for _ in range(3):
        await rest.request("GET", f"{server.url}/ok", timeout=2)
    assert len(server.ports) == 1
    assert all("Cookie" not in headers for _, _, headers in server.seen)


@pytest.mark.parametrize("path", ["hang", "reset", "cut"])
async def test_F01_request_that_may_have_arrived_has_no_answer(
    server: Server, rest: RestClient, path: str
) -> None:
    with pytest.raises(NoAnswer):
        await rest.request("POST", f"{server.url}/{path}", body=b"order", timeout=0.3)
    assert [body for _, body, _ in server.seen] == [b"order"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x", "http://name.invalid/x", "not a url", "ftp://127.0.0.1/x"]
)
async def test_request_without_a_connection_was_never_sent(rest: RestClient, url: str) -> None:
    with pytest.raises(NotSent):
        await rest.request("POST", url, body=b"order", timeout=2)


async def test_closed_client_sends_nothing_and_closes_twice(server: Server) -> None:
    client = RestClient()
    with pytest.raises(NotSent):
        await client.request("GET", f"{server.url}/ok", timeout=1)
    await client.open()
    await client.close()
    await client.close()
    with pytest.raises(NotSent):
        await client.request("GET", f"{server.url}/ok", timeout=1)
    assert server.seen == []


async def test_redirect_is_an_answer_and_is_not_followed(server: Server, rest: RestClient) -> None:
    reply = await rest.request("POST", f"{server.url}/move", body=b"order", timeout=2)
    assert reply.status == 302
    assert len(server.seen) == 1


async def test_venue_that_takes_no_connection_has_seen_nothing(
    rest: RestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT", 0.05)
    # A full backlog: the kernel answers nobody any more, as a filtered address would.
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    waiting = [socket.socket() for _ in range(4)]
    for each in waiting:
        each.setblocking(False)
        each.connect_ex(("127.0.0.1", port))
    with pytest.raises(NotSent, match="no connection within"):
        await rest.request("POST", f"http://127.0.0.1:{port}/x", body=b"order", timeout=5)
    for each in (*waiting, listener):
        each.close()

"""The asynchronous classes of grvt-pysdk, each on an event loop of its own in a thread.

The loop runs for as long as the client lives: GrvtCcxtWS keeps its readers and its connector on it.
"""

import ast
import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from pysdk import grvt_ccxt_env
from pysdk.grvt_ccxt_env import GrvtWSEndpointType
from pysdk.grvt_ccxt_pro import GrvtCcxtPro
from pysdk.grvt_ccxt_ws import GrvtCcxtWS
from pysdk.grvt_raw_async import GrvtRawAsync
from pysdk.grvt_raw_base import GrvtApiConfig

from tests.strangers.grvt_faces import QUIET, CcxtFace, Door, Json, RawFace, Refused
from tests.strangers.simulation import until

CALL_SECONDS = 20.0
RPC = GrvtWSEndpointType.TRADE_DATA_RPC_FULL
MARKET_RPC = GrvtWSEndpointType.MARKET_DATA_RPC_FULL
T = TypeVar("T")


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, what: Coroutine[Any, Any, T], seconds: float = CALL_SECONDS) -> T:
        """Run a coroutine there to its end."""
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(seconds)

    def make(self, build: Callable[[], T]) -> T:
        """Call ``build`` there: the SDK's sessions want a running loop (G2)."""

        async def built() -> T:
            return build()

        return self.run(built())

    def close(self) -> None:
        """End what still runs there (the SDK's endless tasks, G25) and the loop."""
        self.run(cancel_others())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CALL_SECONDS)
        self.loop.close()


async def cancel_others(named: str = "") -> None:
    """Cancel every other task whose coroutine's name has ``named`` in it."""
    others = [
        task
        for task in asyncio.all_tasks()
        if task is not asyncio.current_task() and named in repr(task.get_coro())
    ]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def drop_leaked() -> None:
    """Drop the sockets that the class has lost sight of.

    Its readers and its connector reconnect side by side, and the slower one's socket stays open
    with nobody to close it (G25). Only the library's own task still knows it.
    """
    for task in asyncio.all_tasks():
        coro: Any = task.get_coro()
        if coro.__qualname__ == "WebSocketCommonProtocol.close_connection":
            coro.cr_frame.f_locals["self"].transport.abort()  # nobody reads: no goodbye can come


class RawAsyncFace(RawFace):
    """``GrvtRawAsync``."""

    name = "GrvtRawAsync"

    def _build(self, config: GrvtApiConfig) -> Any:
        self.thread = Loop()
        return self.thread.make(lambda: GrvtRawAsync(config))

    def _ask(self, method: str, request: object) -> Any:
        return self.thread.run(getattr(self.client, method)(request))

    def close(self) -> None:
        self.thread.run(self.client._session.close())  # the SDK offers no other way (G3)
        self.thread.close()


class CcxtProFace(CcxtFace):
    """``GrvtCcxtPro``."""

    name = "GrvtCcxtPro"

    def _build(self, parameters: dict[str, str]) -> Any:
        self.thread = Loop()
        return self.thread.make(
            lambda: GrvtCcxtPro(grvt_ccxt_env.GrvtEnv.TESTNET, QUIET, parameters)
        )

    def _call(self, method: str, *args: Any, **named: Any) -> Any:
        return self.thread.run(getattr(self.client, method)(*args, **named))

    def close(self) -> None:
        self.thread.run(self.client._session.close())
        self.client._session = None  # or ``__del__`` starts a task where no loop runs (G3)
        self.thread.close()


class Overheard(logging.Handler):
    """What the socket class receives: only its debug log tells of RPC answers (G23)."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())

    def clear(self) -> None:
        """Forget what was said so far."""
        self._said.clear()

    def answers(self) -> list[Json]:
        """Return the RPC answers, oldest first.

        They are parsed here and not as they come, on the client's thread: CPython 3.11 cannot
        build two syntax trees in two threads at once, and the test runner builds its own.
        """
        mark, found = "received message=", []
        for said in list(self._said):
            _, here, shown = said.partition(mark)
            if here and "'jsonrpc'" in shown:
                found.append(ast.literal_eval(shown))
        return found

    def errors(self) -> list[int]:
        """Return the codes of the RPC errors."""
        return [row["error"]["code"] for row in self.answers() if "error" in row]


class CcxtWsFace(CcxtProFace):
    """``GrvtCcxtWS``: orders over JSON-RPC on its socket, queries by the REST it inherits."""

    name = "GrvtCcxtWS"

    def _build(self, parameters: dict[str, str]) -> Any:
        self.thread = Loop()
        self.heard = Overheard()
        logger = logging.Logger("grvt-sdk-socket", logging.DEBUG)  # noqa: LOG001 - heard here only
        logger.addHandler(self.heard)
        client = self.thread.make(
            lambda: socket_client(self._it, self.thread.loop, logger, parameters)
        )
        self.thread.run(client.initialize())  # type: ignore[no-untyped-call]  # the SDK has none
        return client

    def connected(self) -> None:
        """Wait for all four sockets, and for the readers that look every two seconds."""
        kinds = self.client.endpoint_types
        until(lambda: self.client.are_endpoints_connected(kinds))

    def watch(
        self, stream: str, kind: GrvtWSEndpointType | None = None, **params: str
    ) -> "Watched":
        """Subscribe; messages are kept."""
        watched = Watched()
        self.thread.run(self.client.subscribe(stream, watched.take, kind, params))
        return watched

    def answer(self, payload: Json) -> Json:
        """Return the venue's RPC answer to a payload the class says it sent."""
        number = payload["id"]

        def look() -> Json | None:
            return next((row for row in self.heard.answers() if row.get("id") == number), None)

        found = until(look, every=0.005)
        self.heard.clear()
        return found

    def _rpc(self, payload: Json) -> Json:
        answer = self.answer(payload)
        if "error" in answer:
            raise Refused(answer["error"])
        found: Json = answer["result"]["result"]
        return found

    def _create(self, *words: Any) -> Json:
        payload = self._call("rpc_create_order", *words)
        assert payload["method"] == "v1/create_order"
        return self._rpc(payload)

    def order(self, named: str) -> Json:
        return self._rpc(self._call("rpc_fetch_order", params={"client_order_id": named}))

    def open_orders(self) -> list[Json]:
        rows: Any = self._rpc(self._call("rpc_fetch_open_orders"))
        return list(rows)

    def cancel(self, named: str) -> bool:
        payload = self._call("rpc_cancel_order", params={"client_order_id": named})
        return bool(self._rpc(payload)["ack"])

    def cancel_all(self) -> bool:
        return bool(self._rpc(self._call("rpc_cancel_all_orders"))["ack"])

    def close(self) -> None:
        # Readers and connector reopen whatever closes, so they end first (G25).
        self.thread.run(cancel_others("GrvtCcxtWS."))
        self.thread.run(self.client.__aexit__())
        self.thread.run(drop_leaked())
        super().close()


class Watched:
    """The messages of one subscription, oldest first."""

    def __init__(self) -> None:
        self.messages: list[Json] = []

    async def take(self, message: Json) -> None:
        """Keep one message: the SDK's callback."""
        self.messages.append(message)

    def first(self, fits: Callable[[Json], bool] = bool, seconds: float = 10.0) -> Json:
        """Return the feed of the first message that fits, waiting for it."""
        return until(
            lambda: next((row["feed"] for row in list(self.messages) if fits(row["feed"])), None),
            seconds,
        )


def socket_client(
    it: Door,
    loop: asyncio.AbstractEventLoop,
    logger: logging.Logger,
    parameters: dict[str, str],
) -> GrvtCcxtWS:
    """Build the socket class and point its four sockets at the simulation (A9)."""
    client = GrvtCcxtWS(grvt_ccxt_env.GrvtEnv.TESTNET, loop, logger, parameters)
    client.api_url = {
        GrvtWSEndpointType.MARKET_DATA: it.grvt["ws_market_data"] + "/ws",
        GrvtWSEndpointType.TRADE_DATA: it.grvt["ws_trades"] + "/ws",
        MARKET_RPC: it.grvt["ws_market_data"] + "/ws/full",
        RPC: it.grvt["ws_trades"] + "/ws/full",
    }
    return client

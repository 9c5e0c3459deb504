"""The simulated Backpack on the wire: one port for REST and WebSocket (venues.md part B).

Imports the engine's interface and the domain only; the clock, the faults and the credentials are
injected. Real clients work against it unmodified but for their base URLs.
"""

from aiohttp import web

from exchanges.simulator.api import Engine
from exchanges.simulator.backpack_account import AccountApi
from exchanges.simulator.backpack_desk import Credentials, Desk, Driver, Faults
from exchanges.simulator.backpack_gate import Gate, error_middleware
from exchanges.simulator.backpack_options import BackpackOptions
from exchanges.simulator.backpack_orders import OrderApi
from exchanges.simulator.backpack_public import PublicApi
from exchanges.simulator.backpack_streams import Streams
from exchanges.simulator.backpack_words import ApiError

_SHUTDOWN_SECONDS = 1.0


class BackpackServer:
    """Serves one account of one engine over HTTP and WebSocket.

    Args:
        engine: the matching engine; its first account is served, or one is created.
        driver: the venue's clock, Unix ns.
        faults: the fault board.
        credentials: the account's ED25519 key pair; only the public half is used.
        options: switches of what the venue leaves open.
    """

    def __init__(
        self,
        engine: Engine,
        driver: Driver,
        faults: Faults,
        credentials: Credentials,
        options: BackpackOptions | None = None,
    ) -> None:
        chosen = BackpackOptions() if options is None else options
        self._desk = Desk(engine, driver, faults, credentials, chosen)
        self._streams = Streams(self._desk)
        self._orders = OrderApi(self._desk, Gate(self._desk))
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port that is listened on; 0 before ``start``."""
        return self._port

    async def start(self, host: str, port: int) -> None:
        """Listen; ``port`` 0 takes any free one.

        Raises:
            OSError: the address cannot be bound.
        """
        runner = web.AppRunner(
            self._application(), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = int(runner.addresses[0][1])
        self._streams.start()

    async def stop(self) -> None:
        """Close every connection and the listener; safe to call twice."""
        self._orders.stop()
        self._desk.stop()
        await self._streams.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _application(self) -> web.Application:
        public = PublicApi(self._desk)
        public.follow(self._streams.update_ids)
        account = AccountApi(self._desk, Gate(self._desk))
        app = web.Application(
            middlewares=[error_middleware(self._desk)],
            client_max_size=self._desk.options.max_body,
        )
        app.add_routes([*public.routes(), *self._orders.routes(), *account.routes()])
        app.add_routes([web.get("/", self._socket), web.get("/ws", self._socket)])
        return app

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise ApiError(404, "RESOURCE_NOT_FOUND", "Not Found")
        return await self._streams.serve(request)

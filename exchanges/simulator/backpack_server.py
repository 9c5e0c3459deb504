"""The simulated Backpack on the wire: one port for REST and WebSocket (venues.md part B).

Imports the engine's interface and the domain only; the clock, the faults and the credentials are
injected. Real clients work against it unmodified but for their base URLs.
"""

from collections.abc import Sequence

from aiohttp import web

from exchanges.simulator.api import Engine
from exchanges.simulator.backpack_account import AccountApi
from exchanges.simulator.backpack_cancels import CancelApi
from exchanges.simulator.backpack_desk import Credentials, Desk, Driver, Faults
from exchanges.simulator.backpack_faults import Mischief
from exchanges.simulator.backpack_gate import Gate, error_middleware
from exchanges.simulator.backpack_history import HistoryApi
from exchanges.simulator.backpack_options import BackpackOptions
from exchanges.simulator.backpack_orders import OrderApi
from exchanges.simulator.backpack_public import PublicApi
from exchanges.simulator.backpack_streams import Streams
from exchanges.simulator.backpack_triggers import TriggerBook
from exchanges.simulator.backpack_wallet import WalletApi
from exchanges.simulator.backpack_words import ApiError
from exchanges.simulator.model import SimAccount
from exchanges.simulator.wirelog import WIRE_LOG

_SHUTDOWN_SECONDS = 1.0


class BackpackServer:
    """Serves the accounts of one engine over HTTP and WebSocket.

    Args:
        engine: the matching engine.
        driver: the venue's clock, Unix ns.
        faults: the fault board.
        credentials: the accounts' ED25519 key pairs, one or several; only the public halves are
            used. Each opens the engine's next account, or a new one when there is none.
        options: switches of what the venue leaves open.
    """

    def __init__(
        self,
        engine: Engine,
        driver: Driver,
        faults: Faults,
        credentials: Credentials | Sequence[Credentials],
        options: BackpackOptions | None = None,
    ) -> None:
        chosen = BackpackOptions() if options is None else options
        keys = credentials if isinstance(credentials, Sequence) else (credentials,)
        self._desk = Desk(engine, driver, faults, keys, chosen)
        self._triggers = TriggerBook(self._desk)
        self._mischief = Mischief(self._desk)
        self._streams = Streams(self._desk, self._triggers, self._mischief)
        self._triggers.attach()
        self._orders = OrderApi(self._desk, Gate(self._desk), self._triggers)
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port that is listened on; 0 before ``start``."""
        return self._port

    def add_account(self, credentials: Credentials, account_id: str | None = None) -> SimAccount:
        """Serve one more account, or one more key of an account, from now on.

        Args:
            credentials: its key; only the public half is used.
            account_id: the engine's account, created when it does not exist; None takes the first
                that no key opens yet, or creates one.

        Raises:
            ValueError: not an ED25519 verifying key, or one that opens another account.
        """
        return self._desk.add_account(credentials, account_id)

    async def start(self, host: str, port: int) -> None:
        """Listen; ``port`` 0 takes any free one.

        Raises:
            OSError: the address cannot be bound.
        """
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            logger=WIRE_LOG,
            shutdown_timeout=_SHUTDOWN_SECONDS,
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
        desk, gate = self._desk, Gate(self._desk)
        public = PublicApi(desk)
        public.follow(self._streams.update_ids)
        app = web.Application(
            middlewares=[error_middleware(desk, self._mischief.act)],
            client_max_size=desk.options.max_body,
        )
        for api in (
            public,
            self._orders,
            CancelApi(desk, gate, self._triggers),
            AccountApi(desk, gate, self._triggers),
            HistoryApi(desk, gate, self._triggers),
            WalletApi(desk, gate),
        ):
            app.add_routes(api.routes())
        app.add_routes([web.get("/", self._socket), web.get("/ws", self._socket)])
        return app

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise ApiError(404, "RESOURCE_NOT_FOUND", "Not Found")
        return await self._streams.serve(request)

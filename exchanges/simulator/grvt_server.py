"""The simulated GRVT on the wire: edge, trades and market data, REST and WebSocket, on one port.

Imports the engine's interface and the domain only; the clock, the faults and the credentials are
injected. Real clients work against it unmodified but for their base URLs (venues.md part A).
"""

from aiohttp import web

from exchanges.simulator.api import Engine
from exchanges.simulator.grvt_account import AccountApi
from exchanges.simulator.grvt_auth import Credentials
from exchanges.simulator.grvt_cancels import Cancels
from exchanges.simulator.grvt_desk import Desk, Driver, Faults
from exchanges.simulator.grvt_gate import Gate, Method, Methods, error_middleware
from exchanges.simulator.grvt_market import MarketApi
from exchanges.simulator.grvt_options import GrvtOptions
from exchanges.simulator.grvt_orders import OrderApi
from exchanges.simulator.grvt_rpc import Rpc
from exchanges.simulator.grvt_streams import Streams

_SHUTDOWN_SECONDS = 1.0


class GrvtServer:
    """Serves one account of one engine over HTTP and WebSocket.

    Args:
        engine: the matching engine; its first account is served, or one is created.
        driver: the venue's clock, Unix ns.
        faults: the fault board.
        credentials: API key, sub account and registered signer.
        options: switches of what the venue leaves open.
    """

    def __init__(
        self,
        engine: Engine,
        driver: Driver,
        faults: Faults,
        credentials: Credentials,
        options: GrvtOptions | None = None,
    ) -> None:
        chosen = GrvtOptions() if options is None else options
        self._desk = desk = Desk(engine, driver, faults, credentials, chosen)
        market, account = MarketApi(desk), AccountApi(desk)
        cancels = Cancels(desk)
        orders = OrderApi(desk, cancels)
        self._streams = Streams(desk, market, account)
        account.publish = self._streams.tell
        cancels.publish = lambda row: self._streams.tell("v1.cancel", "", row)
        methods = Methods(desk, _public(market), _private(account, orders, cancels))
        self._gate = Gate(desk, methods)
        self._rpc = Rpc(desk, methods, self._streams)
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
        app = web.Application(
            middlewares=[error_middleware(self._desk)],
            client_max_size=self._desk.options.max_body,
        )
        app.add_routes([*self._gate.routes(), *self._rpc.routes()])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
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
        self._desk.stop()
        await self._streams.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


def _public(market: MarketApi) -> dict[str, Method]:
    return {
        "instrument": market.instrument,
        "all_instruments": market.instruments,
        "instruments": market.instruments,
        "currency": market.currency,
        "margin_rules": market.margin_rules,
        "mini": market.mini,
        "ticker": market.ticker,
        "book": market.book,
        "trade": market.trade,
        "trade_history": market.trade_history,
        "kline": market.kline,
        "funding": market.funding,
    }


def _private(account: AccountApi, orders: OrderApi, cancels: Cancels) -> dict[str, Method]:
    return {
        "create_order": orders.create,
        "order": orders.order,
        "open_orders": orders.open_orders,
        "order_history": orders.order_history,
        "cancel_order": cancels.cancel,
        "cancel_all_orders": cancels.cancel_all,
        "cancel_on_disconnect": cancels.countdown,
        "fill_history": account.fill_history,
        "funding_payment_history": account.funding_payment_history,
        "positions": account.positions,
        "position_history": account.position_history,
        "account_summary": account.account_summary,
        "account_history": account.account_history,
        "aggregated_account_summary": account.aggregated_account_summary,
        "funding_account_summary": account.funding_account_summary,
        "get_sub_accounts": account.sub_accounts,
        "get_all_initial_leverage": account.leverages,
        "set_initial_leverage": account.set_leverage,
        "get_authorized_builders": account.builders,
        "authorize_builder": account.authorize_builder,
    }

"""The simulated GRVT on the wire: edge, trades and market data, REST and WebSocket, on one port.

Imports the engine's interface and the domain only; the clock, the faults and the credentials are
injected. Real clients work against it unmodified but for their base URLs (venues.md part A).
"""

from collections.abc import Sequence

from aiohttp import web

from exchanges.simulator.api import Engine
from exchanges.simulator.grvt_account import AccountApi
from exchanges.simulator.grvt_bulk import BulkApi
from exchanges.simulator.grvt_cancels import Cancels
from exchanges.simulator.grvt_chaos import Chaos
from exchanges.simulator.grvt_desk import Desk, Driver, Faults
from exchanges.simulator.grvt_gate import Gate, Method, Methods, PublicMethod, error_middleware
from exchanges.simulator.grvt_market import MarketApi
from exchanges.simulator.grvt_members import Credentials
from exchanges.simulator.grvt_options import GrvtOptions
from exchanges.simulator.grvt_orders import OrderApi
from exchanges.simulator.grvt_rpc import Rpc
from exchanges.simulator.grvt_settings import SettingsApi
from exchanges.simulator.grvt_streams import Streams
from exchanges.simulator.grvt_triggers import Triggers
from exchanges.simulator.wirelog import WIRE_LOG

_SHUTDOWN_SECONDS = 1.0


class GrvtServer:
    """Serves the accounts of one engine over HTTP and WebSocket.

    Args:
        engine: the matching engine; the first credentials are served its first account, or the one
            named like their sub-account, which is created where there is none.
        driver: the venue's clock, Unix ns.
        faults: the fault board.
        credentials: API key, sub account and registered signer, or several of them.
        options: switches of what the venue leaves open.
    """

    def __init__(
        self,
        engine: Engine,
        driver: Driver,
        faults: Faults,
        credentials: Credentials | Sequence[Credentials],
        options: GrvtOptions | None = None,
    ) -> None:
        chosen = GrvtOptions() if options is None else options
        keys = credentials if isinstance(credentials, Sequence) else (credentials,)
        self._desk = desk = Desk(engine, driver, faults, keys, chosen)
        market, account = MarketApi(desk), AccountApi(desk)
        triggers = Triggers(desk)
        cancels = Cancels(desk, triggers)
        orders = OrderApi(desk, cancels, triggers)
        settings = SettingsApi(desk, account)
        bulk = BulkApi(desk, orders, cancels, triggers)
        self._streams = Streams(desk, market, account)
        settings.publish = self._streams.tell
        cancels.publish = lambda member, row: self._streams.tell(member, "v1.cancel", "", row)
        self._streams.disturb = Chaos(desk, self._streams, cancels, settings).act
        private = _account_methods(account, settings) | _order_methods(orders, cancels, bulk)
        methods = Methods(desk, _public(market), private)
        self._gate = Gate(desk, methods)
        self._rpc = Rpc(desk, methods, self._streams)
        self._runner: web.AppRunner | None = None
        self._port = 0

    def add_account(self, credentials: Credentials) -> None:
        """Serve a further key from now on, with its sub-account where that is new.

        Raises:
            ValueError: the key or the signer is in use for another sub-account.
        """
        self._desk.add_member(credentials)

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
        runner = web.AppRunner(
            app, access_log=None, logger=WIRE_LOG, shutdown_timeout=_SHUTDOWN_SECONDS
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
        self._desk.stop()
        await self._streams.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


def _public(market: MarketApi) -> dict[str, PublicMethod]:
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


def _order_methods(orders: OrderApi, cancels: Cancels, bulk: BulkApi) -> dict[str, Method]:
    return {
        "create_order": orders.create,
        "bulk_orders": bulk.bulk,
        "create_bulk_orders": bulk.create,
        "order": orders.order,
        "open_orders": orders.open_orders,
        "order_history": orders.order_history,
        "cancel_order": cancels.cancel,
        "cancel_all_orders": cancels.cancel_all,
        "cancel_on_disconnect": cancels.countdown,
    }


def _account_methods(account: AccountApi, settings: SettingsApi) -> dict[str, Method]:
    return {
        "fill_history": account.fill_history,
        "funding_payment_history": account.funding_payment_history,
        "positions": account.positions,
        "position_history": account.position_history,
        "deposit_history": account.no_transfers,
        "transfer_history": account.no_transfers,
        "withdrawal_history": account.no_transfers,
        "account_summary": account.account_summary,
        "account_history": account.account_history,
        "aggregated_account_summary": account.aggregated_account_summary,
        "funding_account_summary": account.funding_account_summary,
        "get_sub_accounts": account.sub_accounts,
        "get_all_initial_leverage": settings.leverages,
        "set_initial_leverage": settings.set_leverage,
        "set_position_config": settings.set_position_config,
        "get_authorized_builders": settings.builders,
        "authorize_builder": settings.authorize_builder,
    }

"""The simulator's control server: state, audit, faults, market, accounts (JSON over HTTP).

For tests and operators of a simulation; no venue has such a surface. Imports ``strategy.domain``
and simulator modules only. What cannot be served is answered 400 ``{"error": one clear line}``.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from exchanges.simulator.control_accounts import AccountRoutes, money_row
from exchanges.simulator.control_words import (
    ControlError,
    Json,
    body_of,
    number,
    only,
    plain_or_none,
    reply,
    venue_of,
)
from exchanges.simulator.faults import FaultError
from exchanges.simulator.model import SimOrder
from exchanges.simulator.roster import Roster
from exchanges.simulator.universe import Universe
from exchanges.simulator.wirelog import WIRE_LOG
from strategy.domain import NANO, Venue, plain

__all__ = ["ControlError", "ControlServer"]

_SHUTDOWN_SECONDS = 1.0
_LOWEST_SHIFT = -9_999
_HIGHEST = 1_000_000
"""Bound of shift and liquidity: beyond it the prices and sizes mean nothing."""


class ControlServer:
    """Serves one universe, its fault board and its accounts.

    ``GET /state``, ``GET /audit``, ``GET|POST|DELETE /faults``, ``POST /market``,
    ``POST|PATCH /accounts`` and ``POST /liquidate``.

    Args:
        universe: the simulated venues.
        roster: opens further accounts.
    """

    def __init__(self, universe: Universe, roster: Roster) -> None:
        self._universe = universe
        self._accounts = AccountRoutes(universe, roster)
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
        app = web.Application(middlewares=[_answer_errors])
        app.add_routes(
            [
                web.get("/state", self._state),
                web.get("/audit", self._audit),
                web.get("/faults", self._faults),
                web.post("/faults", self._add_fault),
                web.delete("/faults", self._clear_faults),
                web.post("/market", self._market),
                *self._accounts.routes(),
            ]
        )
        runner = web.AppRunner(
            app, access_log=None, logger=WIRE_LOG, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the listener; safe to call twice."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # --- reading -----------------------------------------------------------------------------

    async def _state(self, _: web.Request) -> web.Response:
        return reply({venue.value: self._venue_state(venue) for venue in Venue})

    def _venue_state(self, venue: Venue) -> Json:
        universe = self._universe
        engine, account = universe.engines[venue], universe.account(venue)
        engine.advance(universe.driver.now())
        symbol, name = universe.symbols[venue], account.account_id
        held = account.positions.get(symbol)
        bid, ask = engine.touch(symbol)
        mine = [order for order in engine.orders.values() if order.request.account == name]
        return {
            "ticker": universe.source.ticker,
            "symbol": symbol,
            "position": plain(0 if held is None else held.qty),
            "open_orders": sum(order.live for order in mine),
            "orders_received": account.orders_received,
            "orders_rejected": account.orders_rejected,
            "signature_failures": account.signature_failures,
            "fills": sum(fill.account == name for fill in engine.fills),
            "balance": plain(account.balance),
            "equity": plain(engine.equity(name)),
            "fees_paid": plain(account.fees_paid),
            "volume": plain(account.volume),
            "bid": plain_or_none(bid),
            "ask": plain_or_none(ask),
            "market": engine.markets[symbol].state,
            "loops": universe.loops,
            "accounts": self._accounts.rows(venue),
            "money": money_row(engine),
        }

    async def _audit(self, _: web.Request) -> web.Response:
        rows = [
            (order.received_at, _audit_row(venue, order))
            for venue, engine in self._universe.engines.items()
            for order in engine.orders.values()
        ]
        rows.sort(key=lambda row: row[0])
        return reply({"orders": [row for _, row in rows]})

    async def _faults(self, _: web.Request) -> web.Response:
        return self._fault_reply()

    def _fault_reply(self) -> web.Response:
        board = self._universe.faults
        return reply({"faults": board.active(), "taken": board.taken})

    # --- acting ------------------------------------------------------------------------------

    async def _add_fault(self, request: web.Request) -> web.Response:
        self._universe.faults.add(await body_of(request))
        self._universe.apply_faults()
        return self._fault_reply()

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self._universe.faults.clear()
        self._universe.apply_faults()
        return self._fault_reply()

    async def _market(self, request: web.Request) -> web.Response:
        spec = await body_of(request)
        venue = self._venue(spec)
        only(spec, "venue", "ticker", "shift_bps", "halt", "liquidity")
        halt = spec.get("halt")
        if halt is not None and not isinstance(halt, bool):
            raise ControlError(f"halt {halt!r} is not true or false")
        shift = number(spec, "shift_bps", _LOWEST_SHIFT, _HIGHEST, whole=True)
        liquidity = number(spec, "liquidity", 0, _HIGHEST)
        self._universe.set_market(
            venue,
            shift_bps=None if shift is None else int(shift),
            halt=halt,
            liquidity=None if liquidity is None else int(liquidity * NANO),
        )
        return reply(self._venue_state(venue))

    def _venue(self, spec: Mapping[str, Any]) -> Venue:
        venue, ticker, listed = venue_of(spec), spec.get("ticker"), self._universe.source.ticker
        if ticker not in (listed, self._universe.symbols[venue]):
            raise ControlError(f"ticker {ticker!r} is not simulated: use {listed!r}")
        return venue


def _audit_row(venue: Venue, order: SimOrder) -> Json:
    request = order.request
    average = order.cum_quote * NANO // order.cum if order.cum else None
    why = order.deny or order.ended
    return {
        "venue": venue.value,
        "account": request.account,
        "order_id": order.order_id,
        "client_id": request.client_id,
        "side": str(request.side),
        "price": plain_or_none(request.px),
        "size": plain(order.qty),
        "filled": plain(order.cum),
        "avg_price": plain_or_none(average),
        "fee": plain(order.fee),
        "time_in_force": request.tif.value,
        "post_only": request.post_only,
        "reduce_only": request.reduce_only,
        "received_at": str(order.received_at),
        "first_fill_at": _time(order.first_fill_at),
        "last_fill_at": _time(order.last_fill_at),
        "done_at": _time(order.done_at),
        "status": order.phase.value,
        "reason": "" if why is None else why.value,
        "touch_bid": plain_or_none(order.touch[0]),
        "touch_ask": plain_or_none(order.touch[1]),
    }


def _time(at: int | None) -> str | None:
    return None if at is None else str(at)


@web.middleware
async def _answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except (ControlError, FaultError) as bad:
        return reply({"error": str(bad)}, 400)
    except web.HTTPException as bad:
        return reply({"error": f"{request.method} {request.path}: {bad.reason}"}, bad.status)

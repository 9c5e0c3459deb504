"""The simulator's control server: state, audit, faults, market (JSON over HTTP).

For tests and operators of a simulation; no venue has such a surface. Imports ``strategy.domain``
and simulator modules only. What cannot be served is answered 400 ``{"error": one clear line}``.
"""

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson
from aiohttp import web

from exchanges.simulator.faults import FaultError
from exchanges.simulator.model import SimOrder
from exchanges.simulator.universe import Universe
from strategy.domain import NANO, Venue, plain

_SHUTDOWN_SECONDS = 1.0
_LOWEST_SHIFT = -9_999
_HIGHEST = 1_000_000
"""Bound of shift and liquidity: beyond it the prices and sizes mean nothing."""

Json = dict[str, Any]


class ControlError(ValueError):
    """A request that cannot be served; the text is one clear line."""


class ControlServer:
    """Serves one universe and its fault board.

    ``GET /state``, ``GET /audit``, ``GET|POST|DELETE /faults`` and ``POST /market``.
    """

    def __init__(self, universe: Universe) -> None:
        self._universe = universe
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
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
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
        return _reply({venue.value: self._venue_state(venue) for venue in Venue})

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
            "bid": _plain(bid),
            "ask": _plain(ask),
            "market": engine.markets[symbol].state,
            "loops": universe.loops,
        }

    async def _audit(self, _: web.Request) -> web.Response:
        rows = [
            (order.received_at, _audit_row(venue, order))
            for venue, engine in self._universe.engines.items()
            for order in engine.orders.values()
        ]
        rows.sort(key=lambda row: row[0])
        return _reply({"orders": [row for _, row in rows]})

    async def _faults(self, _: web.Request) -> web.Response:
        return self._fault_reply()

    def _fault_reply(self) -> web.Response:
        board = self._universe.faults
        return _reply({"faults": board.active(), "taken": board.taken})

    # --- acting ------------------------------------------------------------------------------

    async def _add_fault(self, request: web.Request) -> web.Response:
        self._universe.faults.add(await _body(request))
        self._universe.apply_faults()
        return self._fault_reply()

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self._universe.faults.clear()
        self._universe.apply_faults()
        return self._fault_reply()

    async def _market(self, request: web.Request) -> web.Response:
        spec = await _body(request)
        venue = self._venue(spec)
        unknown = sorted(spec.keys() - {"venue", "ticker", "shift_bps", "halt", "liquidity"})
        if unknown:
            raise ControlError(f"{unknown[0]} is unknown: use shift_bps, halt or liquidity")
        halt = spec.get("halt")
        if halt is not None and not isinstance(halt, bool):
            raise ControlError(f"halt {halt!r} is not true or false")
        shift = _number(spec, "shift_bps", _LOWEST_SHIFT)
        if shift is not None and shift != int(shift):
            raise ControlError(f"shift_bps {spec['shift_bps']!r} is not a whole number")
        liquidity = _number(spec, "liquidity", 0)
        self._universe.set_market(
            venue,
            shift_bps=None if shift is None else int(shift),
            halt=halt,
            liquidity=None if liquidity is None else int(liquidity * NANO),
        )
        return _reply(self._venue_state(venue))

    def _venue(self, spec: Mapping[str, Any]) -> Venue:
        name, ticker = spec.get("venue"), spec.get("ticker")
        listed = self._universe.source.ticker
        for venue in Venue:
            if name == venue.value:
                if ticker not in (listed, self._universe.symbols[venue]):
                    raise ControlError(f"ticker {ticker!r} is not simulated: use {listed!r}")
                return venue
        raise ControlError(
            f"venue {name!r} is unknown: use one of {', '.join(v.value for v in Venue)}"
        )


def _audit_row(venue: Venue, order: SimOrder) -> Json:
    request = order.request
    average = order.cum_quote * NANO // order.cum if order.cum else None
    why = order.deny or order.ended
    return {
        "venue": venue.value,
        "order_id": order.order_id,
        "client_id": request.client_id,
        "side": str(request.side),
        "price": _plain(request.px),
        "size": plain(order.qty),
        "filled": plain(order.cum),
        "avg_price": _plain(average),
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
        "touch_bid": _plain(order.touch[0]),
        "touch_ask": _plain(order.touch[1]),
    }


def _plain(units: int | None) -> str | None:
    return None if units is None else plain(units)


def _time(at: int | None) -> str | None:
    return None if at is None else str(at)


def _number(spec: Mapping[str, Any], name: str, least: int) -> Decimal | None:
    value = spec.get(name)
    if value is None:
        return None
    try:
        number = Decimal("NaN") if isinstance(value, bool) else Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or not least <= number <= _HIGHEST:
        raise ControlError(f"{name} {value!r} is not a number from {least} to {_HIGHEST}")
    return number


def _reply(value: Json, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(value), status=status, content_type="application/json", charset="utf-8"
    )


async def _body(request: web.Request) -> Json:
    try:
        value = orjson.loads(await request.read())
    except orjson.JSONDecodeError as bad:
        raise ControlError(f"the body is not JSON ({bad}): send a JSON object") from bad
    if not isinstance(value, dict):
        raise ControlError("the body is not a JSON object: send one")
    return value


@web.middleware
async def _answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except (ControlError, FaultError) as bad:
        return _reply({"error": str(bad)}, 400)
    except web.HTTPException as bad:
        return _reply({"error": f"{request.method} {request.path}: {bad.reason}"}, bad.status)

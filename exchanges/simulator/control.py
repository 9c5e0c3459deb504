"""The simulator's control server: state, audit, faults, market (contract section 5).

JSON over HTTP for tests and operators of a simulation; it is no venue surface.
Imports ``strategy.domain`` and simulator modules only.
"""

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from exchanges.simulator.faults import FaultBoard, FaultError
from exchanges.simulator.model import Phase, SimOrder
from exchanges.simulator.universe import ACCOUNT, Universe
from strategy.domain import NANO, Px, Venue, plain


class ControlError(ValueError):
    """A request that cannot be served; one clear line."""


class ControlServer:
    """Serves one universe."""

    def __init__(self, universe: Universe, faults: FaultBoard) -> None:
        self._universe = universe
        self._faults = faults
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes any free one."""
        app = web.Application(middlewares=[_errors])
        app.router.add_get("/state", self._state)
        app.router.add_get("/audit", self._audit)
        app.router.add_get("/faults", self._get_faults)
        app.router.add_post("/faults", self._add_fault)
        app.router.add_delete("/faults", self._clear_faults)
        app.router.add_post("/market", self._market)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Release the port."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _advance(self) -> None:
        self._universe.advance(self._universe.driver.now())

    async def _state(self, _: web.Request) -> web.Response:
        self._advance()
        return web.json_response({v.value: self._venue_state(v) for v in Venue})

    def _venue_state(self, venue: Venue) -> dict[str, Any]:
        engine = self._universe.engines[venue]
        account = engine.accounts[ACCOUNT]
        symbol = self._universe.symbols[venue]
        held = account.positions.get(symbol)
        live = [o for o in engine.orders.values() if o.live and o.request.account == ACCOUNT]
        fills = sum(1 for f in engine.fills if f.account == ACCOUNT)
        bid, ask = engine.touch(symbol)
        return {
            "ticker": self._universe.source.ticker,
            "symbol": symbol,
            "position": plain(held.qty) if held else "0",
            "open_orders": len(live),
            "orders_received": account.orders_received,
            "orders_rejected": account.orders_rejected,
            "signature_failures": account.signature_failures,
            "fills": fills,
            "balance": plain(account.balance),
            "equity": plain(engine.equity(ACCOUNT)),
            "fees_paid": plain(account.fees_paid),
            "volume": plain(account.volume),
            "bid": _price(bid),
            "ask": _price(ask),
            "market": engine.markets[symbol].state,
            "tape_loops": self._universe.loops,
        }

    async def _audit(self, _: web.Request) -> web.Response:
        self._advance()
        rows = [
            _audit_row(venue, order)
            for venue in Venue
            for order in self._universe.engines[venue].orders.values()
        ]
        rows.sort(key=lambda row: int(row["received_at"]))
        return web.json_response({"orders": rows})

    async def _get_faults(self, _: web.Request) -> web.Response:
        return web.json_response({"faults": self._faults.active(), "taken": self._faults.taken})

    async def _add_fault(self, request: web.Request) -> web.Response:
        spec = await _body(request)
        self._faults.add(spec)
        if spec["fault"] in ("F65", "F68"):
            self._market_fault(Venue(spec["venue"]), str(spec["fault"]))
        return web.json_response({"ok": True, "faults": self._faults.active()})

    def _market_fault(self, venue: Venue, name: str) -> None:
        self._advance()
        engine, symbol = self._universe.engines[venue], self._universe.symbols[venue]
        now = self._universe.driver.now()
        if name == "F65":
            engine.set_market(now, symbol, liquidity=0)
        else:
            engine.set_market(now, symbol, halt=True)

    async def _clear_faults(self, _: web.Request) -> web.Response:
        active = {f["fault"] for f in self._faults.active()}
        self._faults.clear()
        self._advance()
        now = self._universe.driver.now()
        for venue, engine in self._universe.engines.items():
            symbol = self._universe.symbols[venue]
            if "F65" in active:
                engine.set_market(now, symbol, liquidity=NANO)
            if "F68" in active:
                engine.set_market(now, symbol, halt=False)
        return web.json_response({"ok": True, "faults": []})

    async def _market(self, request: web.Request) -> web.Response:
        spec = await _body(request)
        venue, symbol = self._target(spec)
        shift, halt = spec.get("shift_bps"), spec.get("halt")
        liquidity = spec.get("liquidity")
        if halt is not None and not isinstance(halt, bool):
            raise ControlError(f"halt {halt!r}: use true or false")
        self._advance()
        self._universe.engines[venue].set_market(
            self._universe.driver.now(),
            symbol,
            shift_bps=None if shift is None else int(_decimal("shift_bps", shift, -5000)),
            halt=halt,
            liquidity=None
            if liquidity is None
            else int(_decimal("liquidity", liquidity, 0) * NANO),
        )
        return web.json_response({"ok": True, **self._venue_state(venue)})

    def _target(self, spec: Mapping[str, Any]) -> tuple[Venue, str]:
        try:
            venue = Venue(str(spec.get("venue")))
        except ValueError as bad:
            raise ControlError(f"venue {spec.get('venue')!r}: use backpack or grvt") from bad
        ticker = spec.get("ticker", self._universe.source.ticker)
        if ticker not in (self._universe.source.ticker, self._universe.symbols[venue]):
            known = self._universe.source.ticker
            raise ControlError(f"ticker {ticker!r}: this simulation lists {known}")
        return venue, self._universe.symbols[venue]


def _decimal(field: str, value: object, least: int) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation as bad:
        raise ControlError(f"{field} {value!r}: use a number") from bad
    if isinstance(value, bool) or not number.is_finite() or number < least:
        raise ControlError(f"{field} {value!r}: use a number from {least} up")
    return number


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        value = json.loads(await request.read())
    except ValueError as bad:
        raise ControlError("the body is not JSON") from bad
    if not isinstance(value, dict):
        raise ControlError("the body is not a JSON object")
    return value


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except (ControlError, FaultError) as bad:
        return web.json_response({"error": str(bad)}, status=400)
    return answer


def _price(px: Px | None) -> str | None:
    return None if px is None else plain(px)


def _audit_row(venue: Venue, order: SimOrder) -> dict[str, Any]:
    request = order.request
    average = order.cum_quote * NANO // order.cum if order.cum else 0
    denied = order.deny.value if order.deny else ""
    bid, ask = order.touch
    return {
        "venue": venue.value,
        "order_id": order.order_id,
        "client_id": request.client_id,
        "side": str(request.side),
        "price": _price(request.px),
        "size": plain(order.qty),
        "filled": plain(order.cum),
        "avg_price": plain(average),
        "fee": plain(order.fee),
        "time_in_force": request.tif.value,
        "post_only": request.post_only,
        "reduce_only": request.reduce_only,
        "received_at": str(order.received_at),
        "first_fill_at": _time(order.first_fill_at),
        "last_fill_at": _time(order.last_fill_at),
        "done_at": _time(order.done_at),
        "status": "open" if order.phase is Phase.OPEN else order.phase.value,
        "reason": denied or (order.ended.value if order.ended else ""),
        "touch_bid": _price(bid),
        "touch_ask": _price(ask),
    }


def _time(at: int | None) -> str | None:
    return None if at is None else str(at)

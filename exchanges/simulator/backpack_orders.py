"""Backpack's order endpoints: the reply to a new order is the engine's final word (venues.md B3.2).

Injected faults of the order path are applied here, before or after the engine as each one says.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

from exchanges.simulator.backpack_auth import Params, Stamp, invalid_signature
from exchanges.simulator.backpack_codec import order_json
from exchanges.simulator.backpack_desk import Desk
from exchanges.simulator.backpack_gate import (
    BatchCall,
    Call,
    Gate,
    Handler,
    dropped,
    refused,
    reply,
)
from exchanges.simulator.backpack_options import BackpackOptions
from exchanges.simulator.backpack_payload import (
    OrderPlan,
    order_key,
    order_plan,
    slippage_bound,
)
from exchanges.simulator.backpack_words import (
    REMAINDER,
    ApiError,
    bad_parameter,
    bad_payload,
    late_refusal,
    not_found,
    refusal,
    throttled,
    user_cancelled,
)
from exchanges.simulator.model import Deny, Market, MarketTrade, NewOrder, Phase, Refusal, SimOrder
from strategy.domain import NANO, Px, Qty, Side, Tif, plain

_HOLD_MS = 3_000
_THROTTLED = 429
UNKNOWN_STATUS = "Hibernating"
"""A word outside the venue's enumeration (F29)."""
_HTML = "<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>"
_GARBLED = '{"id":"4227701917","clientId":'


def _arrived(order: SimOrder) -> bool:
    return order.phase is not Phase.PENDING


def _ended(order: SimOrder) -> bool:
    return not order.live


def reply_status(order: SimOrder, options: BackpackOptions) -> str | None:
    """Return the configured word for a partly traded remainder (venues.md D9), else None."""
    if order.cum and order.ended in REMAINDER:
        return options.remainder_status
    return None


class OrderApi:
    """New orders, queries and cancels."""

    def __init__(self, desk: Desk, gate: Gate) -> None:
        self._desk = desk
        self._gate = gate
        self._held: set[asyncio.TimerHandle] = set()

    def routes(self) -> list[web.RouteDef]:
        """Return the endpoints."""
        signed = self._gate.signed
        batch = self._gate.signed_batch("orderExecute", self.batch)
        return [
            web.post("/api/v1/order", self._counted(signed("orderExecute", self.execute))),
            web.get("/api/v1/order", signed("orderQuery", self.query)),
            web.delete("/api/v1/order", signed("orderCancel", self.cancel)),
            web.post("/api/v1/orders", self._counted(batch)),
            web.get("/api/v1/orders", signed("orderQueryAll", self.query_all)),
            web.delete("/api/v1/orders", signed("orderCancelAll", self.cancel_all)),
        ]

    def stop(self) -> None:
        """Forget held orders."""
        for timer in self._held:
            timer.cancel()
        self._held.clear()

    def _counted(self, checked: Handler) -> Handler:
        """Count an order request that is refused at the door; a throttled one was never taken."""

        async def count(request: web.Request) -> web.StreamResponse:
            try:
                return await checked(request)
            except ApiError as error:
                if error.status != _THROTTLED:
                    self._desk.count_refusal()
                raise

        return count

    # --- new orders --------------------------------------------------------------------------

    async def execute(self, call: Call) -> web.Response:
        """Place one order and answer with what the engine made of it."""
        early = self._before_engine(call)
        if early is not None:
            return early
        lost = self._desk.fault("F01")
        garbled = self._desk.fault("F06")
        try:
            answer = reply(await self._result(call.params))
        except ApiError as error:
            answer = refused(error)
        if lost is not None:
            return dropped(call.request)
        if garbled is not None:
            return web.Response(text=_GARBLED, content_type="application/json")
        return answer

    async def batch(self, call: BatchCall) -> web.Response:
        """Place several orders; each is answered on its own."""
        self._refuse_early()
        rows: list[Any] = []
        for params in call.orders:
            try:
                rows.append({"operation": "Ok", **await self._result(params)})
            except ApiError as error:
                rows.append({"operation": "Err", **error.body()})
        return reply(rows)

    def _refuse_early(self) -> None:
        if self._desk.fault("F04") is not None:
            raise throttled()
        if self._desk.fault("F07") is not None:
            raise invalid_signature()

    def _before_engine(self, call: Call) -> web.Response | None:
        self._refuse_early()
        if self._desk.fault("F05") is not None:
            return web.Response(text=_HTML, status=502, content_type="text/html")
        if self._desk.fault("F02") is not None:
            return dropped(call.request)
        held = self._desk.fault("F03")
        if held is not None:
            self._hold(call.params, call.stamp, held)
            return dropped(call.request)
        return None

    def _hold(self, params: Params, stamp: Stamp, spec: Mapping[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        seconds = int(spec.get("delay_ms", _HOLD_MS)) / 1000

        def release() -> None:
            self._held.discard(timer)
            try:
                # The venue checks the window when the request reaches it.
                stamp.check_clock(self._desk.clock())
            except ApiError:
                self._desk.count_refusal()
                return
            # A refusal is counted where it is raised; there is nobody left to tell.
            with suppress(ApiError):
                self._place(params)

        timer = loop.call_later(seconds, release)
        self._held.add(timer)

    async def _result(self, params: Params) -> dict[str, Any]:
        order = self._place(params)
        await self._desk.settled(order, _arrived)
        refused_late = late_refusal(order)
        if refused_late is not None:
            raise refused_late
        row = order_json(order, self._status(order))
        if order.live and self._desk.fault("F16") is not None:
            self._desk.cancel(order)
        return row

    def _status(self, order: SimOrder) -> str | None:
        if self._desk.fault("F29") is not None:
            return UNKNOWN_STATUS
        return reply_status(order, self._desk.options)

    def _place(self, params: Params) -> SimOrder:
        """Hand an order to the engine; raises ApiError with the venue's refusal."""
        desk = self._desk
        try:
            plan = order_plan(params)
            market = desk.market(plan.symbol)
            self._refuse_injected(plan)
        except ApiError:
            desk.count_refusal()
            raise
        desk.now()
        try:
            return desk.place(self._new_order(plan, market))
        except Refusal as no:
            raise refusal(no.deny) from no

    def _refuse_injected(self, plan: OrderPlan) -> None:
        if plan.post_only and self._desk.fault("F11") is not None:
            raise refusal(Deny.POST_ONLY_CROSS)
        if self._desk.fault("F12") is not None:
            raise refusal(Deny.INSUFFICIENT_MARGIN)

    def _new_order(self, plan: OrderPlan, market: Market) -> NewOrder:
        extra: dict[str, object] = {
            "orderType": "Market" if plan.market else "Limit",
            "selfTradePrevention": plan.stp,
        }
        qty = plan.qty
        px = plan.px
        tif = plan.tif
        if plan.market:
            px = self._market_bound(plan, market)
            extra["tolerance"] = plan.slippage is not None
            tif = Tif.FOK if plan.tif is Tif.FOK else Tif.IOC
            if qty is None:
                qty = self._base_size(plan, market)
                extra["quoteQuantity"] = plain(plan.quote_qty or 0)
        return NewOrder(
            account=self._desk.account_id,
            symbol=plan.symbol,
            side=plan.side,
            qty=qty or Qty(0),
            px=px,
            tif=tif,
            post_only=plan.post_only,
            reduce_only=bool(plan.reduce_only),
            client_id="" if plan.client_id is None else str(plan.client_id),
            extra=extra,
        )

    def _market_bound(self, plan: OrderPlan, market: Market) -> Px | None:
        bid, ask = self._desk.engine.touch(plan.symbol)
        touch = ask if plan.side is Side.BUY else bid
        if touch is None:
            return None
        return slippage_bound(plan, touch, market.instrument.tick)

    def _base_size(self, plan: OrderPlan, market: Market) -> Qty:
        """Convert a quote size into base by walking the displayed book."""
        bids, asks = self._desk.engine.book(plan.symbol, 1000)
        left, size = plan.quote_qty or 0, 0
        for px, qty in asks if plan.side is Side.BUY else bids:
            take = min(qty, left * NANO // px)
            size += take
            left -= take * px // NANO
            if take < qty:
                break
        return market.instrument.floor_qty(size)

    # --- queries and cancels -----------------------------------------------------------------

    def _find(self, params: Params, *, from_query: bool) -> SimOrder:
        """Return the resting order that the request names; raises 404 for any other."""
        desk = self._desk
        key = order_key(params, from_query=from_query, strict=desk.options.strict_client_id)
        desk.market(key.symbol)
        desk.now()
        if key.order_id is not None:
            found = desk.engine.orders.get(key.order_id)
        else:
            found = desk.engine.find(desk.account_id, str(key.client_id))
        order = desk.owned(found, key.symbol)
        if order is None or order.phase is not Phase.OPEN:
            raise not_found()
        return order

    async def query(self, call: Call) -> web.Response:
        """Return a resting order; 404 once it has finished."""
        return reply(order_json(self._find(call.params, from_query=True)))

    async def query_all(self, call: Call) -> web.Response:
        """Return the resting orders, oldest first."""
        symbol = call.params.get("symbol")
        if symbol is not None:
            self._desk.market(symbol)
        if call.params.get("marketType", "PERP") != "PERP":
            return reply([])
        self._desk.now()
        wanted = symbol if isinstance(symbol, str) else None
        orders = self._desk.engine.open_orders(self._desk.account_id, wanted)
        return reply([order_json(order) for order in orders])

    async def cancel(self, call: Call) -> web.Response:
        """Cancel one order and answer once the engine has done it."""
        if self._desk.fault("F59") is not None:
            raise throttled()
        desk = self._desk
        order = self._find(call.params, from_query=False)
        desk.cancel(order)
        if desk.fault("F22") is not None:
            self._trade_into(order)
        if desk.options.cancel_is_202:
            return web.Response(status=202)
        await desk.settled(order, _ended)
        if not user_cancelled(order):
            # It traded while the cancel was on its way.
            raise not_found()
        return reply(order_json(order))

    def _trade_into(self, order: SimOrder) -> None:
        """Let the market trade half of a resting order before its cancel takes effect (F22)."""
        desk, new = self._desk, order.request
        inst = desk.engine.markets[new.symbol].instrument
        half = max(inst.floor_qty(order.remaining // 2), inst.step)
        if new.px is None:
            return
        # One percent through the order's price: nothing queued ahead of it is in the way.
        through = Px(new.px - new.side.value * new.px // 100)
        desk.engine.feed(desk.now(), new.symbol, MarketTrade(through, half, new.side.opposite))

    async def cancel_all(self, call: Call) -> web.Response:
        """Cancel every resting order of a market; returns those that were cancelled."""
        desk = self._desk
        if desk.fault("F59") is not None:
            raise throttled()
        symbol = call.params.get("symbol")
        if symbol is None:
            raise bad_payload("field `symbol` is required")
        market = desk.market(symbol)
        kind = call.params.get("orderType", "RestingLimitOrder")
        if kind == "ConditionalOrder":
            return reply([])
        if kind != "RestingLimitOrder":
            raise bad_parameter("orderType", "Expect a valid enumeration value.")
        orders = desk.cancel_all(market.instrument.symbol)
        if desk.options.cancel_is_202:
            return web.Response(status=202)
        for order in orders:
            await desk.settled(order, _ended)
        return reply([order_json(order) for order in orders if user_cancelled(order)])

"""Backpack's resting and waiting orders: queries and cancels (venues.md B3.2)."""

from typing import Any

from aiohttp import web

from exchanges.simulator.backpack_auth import Params
from exchanges.simulator.backpack_codec import created_at, order_json
from exchanges.simulator.backpack_desk import Desk
from exchanges.simulator.backpack_gate import Call, Gate, perpetual, reply
from exchanges.simulator.backpack_members import Member
from exchanges.simulator.backpack_payload import order_key
from exchanges.simulator.backpack_triggers import Trigger, TriggerBook
from exchanges.simulator.backpack_words import (
    ApiError,
    bad_parameter,
    bad_payload,
    not_found,
    throttled,
    user_cancelled,
)
from exchanges.simulator.model import MarketTrade, Phase, SimOrder
from strategy.domain import Ns, Px, Qty

_RESTING, _CONDITIONAL = "RestingLimitOrder", "ConditionalOrder"


def _ended(order: SimOrder) -> bool:
    return not order.live


class CancelApi:
    """What waits, and how it is taken back."""

    def __init__(self, desk: Desk, gate: Gate, triggers: TriggerBook) -> None:
        self._desk = desk
        self._gate = gate
        self._triggers = triggers

    def routes(self) -> list[web.RouteDef]:
        """Return the endpoints."""
        signed = self._gate.signed
        return [
            web.get("/api/v1/order", signed("orderQuery", self.query)),
            web.delete("/api/v1/order", signed("orderCancel", self.cancel)),
            web.get("/api/v1/orders", signed("orderQueryAll", self.query_all)),
            web.delete("/api/v1/orders", signed("orderCancelAll", self.cancel_all)),
        ]

    def _find(
        self, member: Member, params: Params, *, from_query: bool
    ) -> SimOrder | Trigger | None:
        """Return the resting or waiting order that the request names; None for any other."""
        desk = self._desk
        key = order_key(params, from_query=from_query, strict=desk.options.strict_client_id)
        symbol = desk.market(key.symbol).instrument.symbol
        desk.now()
        trigger: Trigger | None = None
        if key.client_id is not None:
            trigger = self._triggers.named(member.id, key.client_id)
            order = desk.by_client_id(member, symbol, key.client_id)
        else:
            order_id = str(key.order_id)
            trigger = self._triggers.find(member.id, symbol, order_id)
            order = desk.by_order_id(member, symbol, order_id)
        if order is not None and order.phase is Phase.OPEN:
            return order
        waits = trigger is not None and trigger.waiting and trigger.plan.symbol == symbol
        return trigger if waits else None

    async def query(self, call: Call) -> web.Response:
        """Return a resting or waiting order; 404 once it has finished."""
        found = self._find(call.member, call.params, from_query=True)
        if found is None:
            raise not_found()
        return reply(_row(found))

    async def query_all(self, call: Call) -> web.Response:
        """Return the resting and the waiting orders, oldest first."""
        symbol = call.params.get("symbol")
        if symbol is not None:
            self._desk.market(symbol, query=True)
        if not perpetual(call.params):
            return reply([])
        self._desk.now()
        wanted = symbol if isinstance(symbol, str) else None
        member = call.member
        orders: list[SimOrder | Trigger] = [
            *self._desk.engine.open_orders(member.id, wanted),
            *self._triggers.waiting(member.id, wanted),
        ]
        orders.sort(key=_placed_at)
        return reply([_row(order) for order in orders])

    async def cancel(self, call: Call) -> web.Response:
        """Cancel one order and answer once the engine has done it."""
        desk = self._desk
        if desk.fault("F59") is not None:
            raise throttled()
        order = self._find(call.member, call.params, from_query=False)
        if order is None:
            raise self._unknown()
        if isinstance(order, Trigger):
            self._triggers.cancel(order, desk.now())
            return self._accepted() if desk.options.cancel_is_202 else reply(_row(order))
        race = desk.fault("F22")
        desk.cancel(order)
        if race is not None:
            self._trade_into(order)
        if desk.options.cancel_is_202 or (race is not None and race.get("mode") == "202"):
            return self._accepted()
        await desk.settled(order, _ended)
        if not user_cancelled(order):
            # It traded while the cancel was on its way.
            raise self._unknown()
        return reply(order_json(order))

    async def cancel_all(self, call: Call) -> web.Response:
        """Cancel the resting and waiting orders of a market; returns those that were cancelled."""
        desk = self._desk
        if desk.fault("F59") is not None:
            raise throttled()
        symbol = call.params.get("symbol")
        if symbol is None:
            raise bad_payload("field `symbol` is required")
        symbol = desk.market(symbol).instrument.symbol
        kind = call.params.get("orderType")
        if kind not in (None, _RESTING, _CONDITIONAL):
            raise bad_parameter("orderType", "Expect a valid enumeration value.")
        now, member = desk.now(), call.member
        waiting = [] if kind == _RESTING else self._triggers.waiting(member.id, symbol)
        for trigger in waiting:
            self._triggers.cancel(trigger, now)
        orders = [] if kind == _CONDITIONAL else desk.cancel_all(member, symbol)
        resting = [order for order in orders if order.phase is Phase.OPEN]
        if resting and desk.fault("F22") is not None:
            self._trade_into(resting[0])
        if desk.options.cancel_is_202:
            return self._accepted()
        for order in orders:
            await desk.settled(order, _ended)
        rows = [order_json(order) for order in orders if user_cancelled(order)]
        return reply([*rows, *(_row(trigger) for trigger in waiting)])

    def _accepted(self) -> web.Response:
        return web.Response(status=202)

    def _unknown(self) -> ApiError:
        if self._desk.options.cancel_unknown_is_400:
            return ApiError(400, "INVALID_CLIENT_REQUEST", "Order not found")
        return not_found()

    def _trade_into(self, order: SimOrder) -> None:
        """Let the market trade half of a resting order before its cancel takes effect (F22)."""
        desk, new = self._desk, order.request
        inst = desk.engine.markets[new.symbol].instrument
        half = max(inst.floor_qty(order.remaining // 2), inst.step)
        if new.px is None:
            return
        # One percent through the order's price: nothing queued ahead of it is in the way, and
        # what other orders stand before it trades first.
        through = Px(new.px - new.side.value * new.px // 100)
        size = Qty(half + self._better(order, new.px))
        desk.engine.feed(desk.now(), new.symbol, MarketTrade(through, size, new.side.opposite))

    def _better(self, order: SimOrder, px: Px) -> int:
        """Return the size of every account's orders that trade before ``order``."""
        new, size = order.request, 0
        for account in self._desk.engine.accounts:
            for each in self._desk.engine.open_orders(account, new.symbol):
                if each.request.side is not new.side or each.request.px is None:
                    continue
                ahead = (each.request.px - px) * new.side.value
                older = ahead == 0 and each.received_at < order.received_at
                if each is not order and (ahead > 0 or older):
                    size += each.remaining
        return size


def _placed_at(found: SimOrder | Trigger) -> Ns:
    return created_at(found.shape if isinstance(found, Trigger) else found)


def _row(found: SimOrder | Trigger) -> dict[str, Any]:
    if isinstance(found, Trigger):
        return order_json(found.shape, found.status)
    return order_json(found)

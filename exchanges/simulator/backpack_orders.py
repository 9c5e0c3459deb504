"""Backpack's new orders: the reply is the engine's final word (venues.md B3.2, B4).

Injected faults of the order path are applied here, before or after the engine as each one says.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiohttp import web

from exchanges.simulator.backpack_auth import Params, Stamp, invalid_signature
from exchanges.simulator.backpack_build import new_order
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
from exchanges.simulator.backpack_members import Member
from exchanges.simulator.backpack_options import BackpackOptions
from exchanges.simulator.backpack_payload import OrderPlan, order_plan
from exchanges.simulator.backpack_triggers import Trigger, TriggerBook
from exchanges.simulator.backpack_words import (
    REMAINDER,
    ApiError,
    bad_request,
    expiry_reason,
    late_refusal,
    refusal,
    throttled,
)
from exchanges.simulator.model import Deny, Ended, NewOrder, Phase, Refusal, SimOrder
from strategy.domain import Ns

_HOLD_MS = 3_000
_REPLY_MS = 50
_THROTTLED = 429
UNKNOWN_STATUS = "Hibernating"
"""A word outside the venue's enumeration (F29)."""
_HTML = "<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>"
_GARBLED = '{"id":"4227701917","clientId":'
_REDUCE_ONLY = frozenset({Deny.REDUCE_ONLY_NO_POSITION, Deny.REDUCE_ONLY_INCREASES})

_Work = Callable[[Member, Sequence[Params]], Awaitable[web.Response]]


def _arrived(order: SimOrder) -> bool:
    return order.phase is not Phase.PENDING


def reply_status(order: SimOrder, options: BackpackOptions) -> str | None:
    """Return the configured word for a partly traded remainder (venues.md D9), else None."""
    if order.cum and order.ended in REMAINDER:
        return options.remainder_status
    return None


def pause_ms(spec: Mapping[str, Any], default: int) -> float:
    """Return a fault's ``delay_ms`` in seconds."""
    return int(spec.get("delay_ms", default)) / 1000


class OrderApi:
    """New orders, one at a time and in batches."""

    def __init__(self, desk: Desk, gate: Gate, triggers: TriggerBook) -> None:
        self._desk = desk
        self._gate = gate
        self._triggers = triggers
        self._held: set[asyncio.TimerHandle] = set()

    def routes(self) -> list[web.RouteDef]:
        """Return the endpoints."""
        one = self._gate.signed("orderExecute", self.execute)
        batch = self._gate.signed_batch("orderExecute", self.batch)
        return [
            web.post("/api/v1/order", self._counted(one)),
            web.post("/api/v1/orders", self._counted(batch)),
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
                    named = self._desk.members.named(request.headers.get("X-API-Key"))
                    named.count_refusal()
                raise

        return count

    # --- endpoints ---------------------------------------------------------------------------

    async def execute(self, call: Call) -> web.Response:
        """Place one order and answer with what the engine made of it."""
        return await self._answered(call.request, call, [call.params], self._one)

    async def batch(self, call: BatchCall) -> web.Response:
        """Place several orders; each is answered on its own, in the order they were sent."""
        return await self._answered(call.request, call, call.orders, self._each)

    async def _one(self, member: Member, orders: Sequence[Params]) -> web.Response:
        return reply(await self._result(member, orders[0]))

    async def _each(self, member: Member, orders: Sequence[Params]) -> web.Response:
        rows: list[Any] = []
        for params in orders:
            try:
                rows.append({"operation": "Ok", **await self._result(member, params)})
            except ApiError as error:
                rows.append({"operation": "Err", **error.body()})
        if self._desk.fault("F18") is not None:
            rows.reverse()
        return reply(rows)

    async def _answered(
        self, request: web.Request, call: Call | BatchCall, orders: Sequence[Params], work: _Work
    ) -> web.Response:
        """Do ``work`` unless a fault is before it, and spoil its answer if one is behind it."""
        early = self._before_engine(request, call, orders)
        if early is not None:
            return early
        lost = self._desk.fault("F01")
        garbled = self._desk.fault("F06")
        late = self._desk.fault("F20")
        try:
            answer = await work(call.member, orders)
        except ApiError as error:
            answer = refused(error)
        if late is not None:
            await asyncio.sleep(pause_ms(late, _REPLY_MS))
        if lost is not None:
            return dropped(request)
        if garbled is not None:
            return web.Response(text=_GARBLED, content_type="application/json")
        return answer

    def _refuse_early(self) -> None:
        if self._desk.maintenance():
            raise ApiError(503, "MAINTENANCE", "System under maintenance")
        if self._desk.fault("F04") is not None:
            raise throttled()
        if self._desk.fault("F07") is not None:
            raise invalid_signature()
        if self._desk.fault("F09") is not None:
            raise bad_request("Request has expired")

    def _before_engine(
        self, request: web.Request, call: Call | BatchCall, orders: Sequence[Params]
    ) -> web.Response | None:
        self._refuse_early()
        if self._desk.fault("F05") is not None:
            return web.Response(text=_HTML, status=502, content_type="text/html")
        if self._desk.fault("F02") is not None:
            return dropped(request)
        held = self._desk.fault("F03")
        if held is not None:
            self._hold(call.member, orders, call.stamp, held)
            return dropped(request)
        return None

    def _hold(
        self, member: Member, orders: Sequence[Params], stamp: Stamp, spec: Mapping[str, Any]
    ) -> None:
        loop = asyncio.get_running_loop()

        def release() -> None:
            self._held.discard(timer)
            try:
                # The venue checks the window when the request reaches it.
                stamp.check_clock(self._desk.wall())
            except ApiError:
                member.count_refusal()
                return
            for params in orders:
                # A refusal is counted where it is raised; there is nobody left to tell.
                with suppress(ApiError):
                    self._place(member, params)

        timer = loop.call_later(pause_ms(spec, _HOLD_MS), release)
        self._held.add(timer)

    # --- one order ---------------------------------------------------------------------------

    async def _result(self, member: Member, params: Params) -> dict[str, Any]:
        order = self._place(member, params)
        if isinstance(order, Trigger):
            return order_json(order.shape, order.status)
        await self._desk.settled(order, _arrived)
        refused_late = late_refusal(order)
        if refused_late is not None:
            raise self._worded(refused_late)
        if self._desk.options.unfilled_is_400 and order.ended in REMAINDER and not order.cum:
            raise ApiError(400, "INVALID_ORDER", f"Order expired: {expiry_reason(order)}")
        row = order_json(order, self._status(order))
        if order.live and self._desk.fault("F16") is not None:
            self._desk.cancel(order)
        return row

    def _status(self, order: SimOrder) -> str | None:
        if self._desk.fault("F29") is not None:
            return UNKNOWN_STATUS
        return reply_status(order, self._desk.options)

    def _place(self, member: Member, params: Params) -> SimOrder | Trigger:
        """Hand an order to the engine; raises ApiError with the venue's refusal."""
        desk = self._desk
        try:
            plan = order_plan(params, desk.options.default_trigger_by)
            desk.market(plan.symbol)
            self._refuse_injected(plan)
            self._refuse_repeated(member, plan)
            desk.now()
            if plan.condition is not None:
                return self._triggers.place(member, plan, plan.condition)
            new = new_order(desk, member, plan)
        except ApiError as error:
            member.count_refusal()
            raise self._worded(error) from None
        if desk.fault("F17") is not None:
            member.account.orders_received += 1
            return self._ghost(new, Ended.SELF_TRADE)
        try:
            return desk.place(new)
        except Refusal as no:
            if no.deny in _REDUCE_ONLY and desk.options.reduce_only_expires:
                member.account.orders_rejected -= 1
                return self._ghost(new, Ended.REDUCE_ONLY)
            raise self._worded(refusal(no.deny)) from no

    def _worded(self, error: ApiError) -> ApiError:
        if error.code == "INSUFFICIENT_MARGIN":
            return ApiError(error.status, error.code, self._desk.options.margin_message)
        return error

    def _refuse_injected(self, plan: OrderPlan) -> None:
        if plan.post_only and self._desk.fault("F11") is not None:
            raise refusal(Deny.POST_ONLY_CROSS)
        if plan.reduce_only and self._desk.fault("F13") is not None:
            raise refusal(Deny.REDUCE_ONLY_NO_POSITION)
        for name, deny in (
            ("F10", Deny.DUPLICATE_CLIENT_ID),
            ("F12", Deny.INSUFFICIENT_MARGIN),
        ):
            if self._desk.fault(name) is not None:
                raise refusal(deny)

    def _refuse_repeated(self, member: Member, plan: OrderPlan) -> None:
        """Refuse a client id that a waiting trigger order has; the engine knows its own."""
        if plan.client_id is None or self._desk.options.accept_duplicate_client_id:
            return
        if self._triggers.named(member.id, plan.client_id) is not None:
            raise refusal(Deny.DUPLICATE_CLIENT_ID)
        if plan.condition is not None:
            known = self._desk.by_client_id(member, plan.symbol, plan.client_id)
            if known is not None and known.live:
                raise refusal(Deny.DUPLICATE_CLIENT_ID)

    def _ghost(self, new: NewOrder, ended: Ended) -> SimOrder:
        """Return an order that was accepted and expired at once, unknown to the engine."""
        now: Ns = self._desk.now()
        order = SimOrder(self._desk.fresh_id(), new, now, now, Phase.CANCELLED, ended)
        order.done_at = order.updated_at = now
        self._desk.ghosts[order.order_id] = order
        self._desk.announce(order, now)
        return order

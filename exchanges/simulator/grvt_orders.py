"""GRVT order entry and order queries (venues.md A4.2, A5).

A create is checked, signed for, and handed to the engine; the reply is an acknowledgement without
outcome. What becomes of the order is told by the streams and by queries.
"""

from dataclasses import replace

from exchanges.simulator.grvt_build import check_position, check_stricter, new_order
from exchanges.simulator.grvt_cancels import Cancels
from exchanges.simulator.grvt_codec import ack_json, order_json
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_eip712 import Asset
from exchanges.simulator.grvt_history import Row, page_json
from exchanges.simulator.grvt_members import Member
from exchanges.simulator.grvt_payload import Fields, OrderPlan, decimal_text, order_plan, page_of
from exchanges.simulator.grvt_triggers import Triggers
from exchanges.simulator.grvt_words import (
    DENIED_LATER,
    MS,
    SIGNATURE_CODES,
    ApiError,
    Dropped,
    Json,
    Mangled,
    denied,
)
from exchanges.simulator.model import (
    EngineEvent,
    NewOrder,
    OrderChanged,
    Phase,
    Refusal,
    SimOrder,
)
from strategy.domain import BPS_ONE, Ns, Px, Side, bps

_DEFAULT_HOLD_MS = 3000
_CROSSING = bps(100)
"""How far through the touch a post-only order is priced when it must cross (F11)."""
_MAX_REMEMBERED = 20_000
_GATEWAY_ERROR = "<html><head><title>{0} Error</title></head><body>{0}</body></html>"
_REFUSALS = (("F04", 1006), ("F07", 1000), ("F09", 2001), ("F10", 2012), ("F12", 2080))
"""Faults that refuse a create, with their codes."""
_COUNTED = frozenset({"F09", "F10", "F12"})


class OrderApi:
    """Creates and looks up orders; ``cancels`` holds the tombstones that catch late creates."""

    inside = True
    """Hears the engine at once, whatever the latency model (``delayed.DelayedEngine``)."""

    def __init__(self, desk: Desk, cancels: Cancels, triggers: Triggers) -> None:
        self._desk = desk
        self._cancels = cancels
        self._triggers = triggers
        self._taken: dict[bytes, tuple[OrderPlan, Ns]] = {}
        """Orders by signed digest: a repeated payload is ignored (venues.md A5.6)."""
        self._crossed: dict[str, NewOrder] = {}
        desk.engine.subscribe(self._on_event)

    # --- create ------------------------------------------------------------------------------

    def create(self, request: Fields, who: Member) -> Json:
        """Answer ``/create_order``, or fail as an active fault says.

        Raises:
            ApiError: the order is refused.
            Dropped: the connection is to be reset instead.
            Mangled: the answer is no JSON.
        """
        desk = self._desk
        if desk.fault("F02") is not None:
            raise Dropped
        held = desk.fault("F03")
        if held is not None:
            delay = int(held.get("delay_ms", _DEFAULT_HOLD_MS))
            desk.at(Ns(desk.clock() + delay * MS), lambda: self._late(request, who))
            raise Dropped
        self.refuse_by_fault(who)
        answer = self._create(request, who)
        if desk.fault("F01") is not None:
            raise Dropped
        if desk.fault("F06") is not None:
            raise Mangled(200, '{"result":{"order_id":"0x00","sta', "application/json")
        return answer

    def refuse_by_fault(self, who: Member) -> None:
        """Refuse before the engine (F04, F05, F07, F09, F10, F12)."""
        desk = self._desk
        broken = desk.fault("F05")
        if broken is not None:
            status = int(broken.get("status", 502))
            raise Mangled(status, _GATEWAY_ERROR.format(status), "text/html")
        for name, code in _REFUSALS:
            if desk.fault(name) is not None:
                if name in _COUNTED:
                    who.count_refusal()
                raise ApiError(code)

    def _late(self, request: Fields, who: Member) -> None:
        """Take a create that was held back (F03); nobody waits for the answer."""
        try:
            self._create(request, who)
        except ApiError:
            return

    def _create(self, request: Fields, who: Member) -> Json:
        plan, digest = self.checked(request, who, "order")
        known = self._taken.get(digest)
        if known is not None:
            return {"result": ack_json(*known)}
        now = self._desk.now()
        self.take(plan, digest, who, now)
        return {"result": ack_json(plan, now)}

    def checked(self, row: Fields, who: Member, inside: str = "") -> tuple[OrderPlan, bytes]:
        """Return the plan and the signed digest of an order that is properly made.

        Args:
            row: the order, or what has it in the field ``inside``.
            who: asks.
            inside: name of that field; empty when the row is the order.

        Raises:
            ApiError: shape, account, signature or builder are wrong; the account counts it.
        """
        try:
            plan = order_plan(row.inner(inside) if inside else row)
            return plan, self._signed(plan, who, self._desk.now())
        except ApiError as error:
            who.count_refusal()
            who.account.signature_failures += error.code in SIGNATURE_CODES
            raise

    def repeated(self, digest: bytes) -> Json | None:
        """Return the acknowledgement of a payload that was taken before."""
        known = self._taken.get(digest)
        return None if known is None else ack_json(*known)

    def take(self, plan: OrderPlan, digest: bytes, who: Member, now: Ns) -> SimOrder:
        """Hand an order on; raises ApiError when it is refused."""
        if plan.trigger is not None:
            order = self._triggers.place(who, [(plan, plan.trigger)], now)[0].order
            self.remember(plan, digest, now)
            return order
        order = self._place(plan, who, now)
        self.remember(plan, digest, now)
        self._cancels.catch(order, who, plan.client_id, now)
        for name, reason in (("F16", "MM_PROTECTION"), ("F17", "SELF_MATCHED_SUBACCOUNT")):
            if order.live and self._desk.fault(name) is not None:
                order.request.extra["reason"] = reason
                self._desk.engine.cancel(now, order)
        self._desk.kick()
        return order

    def remember(self, plan: OrderPlan, digest: bytes, now: Ns) -> None:
        """Keep a signed digest, so that the same payload is not taken twice."""
        self._taken[digest] = (plan, now)
        if len(self._taken) > _MAX_REMEMBERED:
            del self._taken[next(iter(self._taken))]

    def _signed(self, plan: OrderPlan, who: Member, now: Ns) -> bytes:
        """Check account, signature and builder; returns the signed digest."""
        desk = self._desk
        if str(plan.sub_account) != who.sub_account:
            raise ApiError(2003)
        instrument = desk.market(plan.symbol, 2061).instrument
        asset = Asset(int(instrument.asset_id, 16), instrument.size_decimals)
        digest = desk.signers.check_order(plan, asset, who, desk.told(now))
        if plan.builder:
            approved = desk.builders.get(who.main, {}).get(plan.builder)
            if approved is None:
                raise ApiError(7504)
            if plan.builder_fee > decimal_text(approved["max_futures_fee_rate"]):
                raise ApiError(7500)
        return digest

    def _place(self, plan: OrderPlan, who: Member, now: Ns) -> SimOrder:
        desk = self._desk
        try:
            new = new_order(desk, who, self._trimmed(plan))
            check_stricter(desk, plan)
            check_position(desk, who, plan)
            self._triggers.check_held(who, plan.client_id)
        except ApiError:
            who.count_refusal()
            raise
        crossing = self._crossing_px(new)
        sent = new if crossing is None else replace(new, px=crossing)
        try:
            order = desk.engine.place(now, sent)
        except Refusal as no:
            if desk.options.late_refusals and no.deny in DENIED_LATER:
                who.account.orders_received -= 1
                who.account.orders_rejected -= 1
                return self._triggers.reject_later(who, plan, no.deny, now)
            raise denied(no.deny, reduce_only=new.reduce_only) from no
        if crossing is not None:
            self._crossed[order.order_id] = new
        return order

    def _trimmed(self, plan: OrderPlan) -> OrderPlan:
        """Return what is left of a reduce-only order under F13.

        Raises:
            ApiError: 2402 where the fault refuses it.
        """
        if not plan.reduce_only:
            return plan
        fault = self._desk.fault("F13")
        if fault is None:
            return plan
        if fault.get("mode") != "trimmed":
            raise ApiError(2402)
        instrument = self._desk.engine.markets[plan.symbol].instrument
        return replace(plan, size=max(instrument.floor_qty(plan.size // 2), instrument.step))

    def _crossing_px(self, new: NewOrder) -> Px | None:
        """Return a price at which a post-only order is sure to cross (F11), else None."""
        if not new.post_only or self._desk.fault("F11") is None:
            return None
        bid, ask = self._desk.engine.touch(new.symbol)
        touch = ask if new.side is Side.BUY else bid
        if touch is None:
            return None
        instrument = self._desk.engine.markets[new.symbol].instrument
        return instrument.price_toward(
            new.side.opposite, touch + new.side.value * touch * _CROSSING // BPS_ONE
        )

    def _on_event(self, event: EngineEvent) -> None:
        """Give a rejected order of F11 the price back that its client wrote."""
        if not self._crossed or not isinstance(event, OrderChanged):
            return
        order = event.order
        if not order.live and order.order_id in self._crossed:
            order.request = self._crossed.pop(order.order_id)

    # --- queries -----------------------------------------------------------------------------

    def order(self, request: Fields, who: Member) -> Json:
        """Answer ``/order``: finished orders too; 1004 while it is not yet visible."""
        desk = self._desk
        desk.check_account(request, who)
        now = desk.now()
        found = self._cancels.named(request, who)
        if found is None or not desk.visible(found, now):
            raise ApiError(1004)
        return {"result": order_json(found, who.sub_account)}

    def open_orders(self, request: Fields, who: Member) -> Json:
        """Answer ``/open_orders``, oldest first; waiting triggers are among them."""
        desk = self._desk
        desk.check_account(request, who)
        takes = desk.symbol_filter(request)
        now = desk.now()
        found = [*desk.engine.open_orders(who.id), *self._triggers.open_orders(who)]
        found.sort(key=lambda order: order.received_at)
        return {
            "result": [
                order_json(order, who.sub_account)
                for order in found
                if desk.visible(order, now) and takes(order.request.symbol)
            ]
        }

    def order_history(self, request: Fields, who: Member) -> Json:
        """Answer ``/order_history``: every finished or live order, newest first."""
        desk = self._desk
        desk.check_account(request, who)
        takes, page = desk.symbol_filter(request), page_of(request)
        now = desk.now()
        total = len(who.orders)
        rows = (
            Row(total - place, order.received_at, order.request.symbol, {"order": order_id})
            for place, (order_id, order) in enumerate(reversed(who.orders.items()))
            if order.phase is not Phase.PENDING and desk.visible(order, now)
        )
        found = page_json(rows, page, takes)
        found["result"] = [
            order_json(who.orders[row["order"]], who.sub_account) for row in found["result"]
        ]
        return found

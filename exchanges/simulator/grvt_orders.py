"""GRVT order entry and order queries (venues.md A4.2, A5).

A create is checked, signed for, and handed to the engine; the reply is an acknowledgement without
outcome. What becomes of the order is told by the streams and by queries.
"""

from dataclasses import replace

from exchanges.simulator.grvt_cancels import Cancels
from exchanges.simulator.grvt_codec import ack_json, order_json, wire_of
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_eip712 import Asset
from exchanges.simulator.grvt_history import Row, page_json
from exchanges.simulator.grvt_payload import (
    Fields,
    OrderPlan,
    order_plan,
    page_of,
)
from exchanges.simulator.grvt_words import (
    BOOK_TIFS,
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
from strategy.domain import BPS_ONE, Ns, Px, Qty, Side, bps

_DEFAULT_HOLD_MS = 3000
_CROSSING = bps(100)
"""How far through the touch a post-only order is priced when it must cross (F11)."""
_MAX_REMEMBERED = 20_000
_BAD_GATEWAY = "<html><head><title>502 Bad Gateway</title></head><body>502</body></html>"


class OrderApi:
    """Creates and looks up orders; ``cancels`` holds the tombstones that catch late creates."""

    def __init__(self, desk: Desk, cancels: Cancels) -> None:
        self._desk = desk
        self._cancels = cancels
        self._taken: dict[bytes, tuple[OrderPlan, Ns]] = {}
        """Orders by signed digest: a repeated payload is ignored (venues.md A5.6)."""
        self._crossed: dict[str, NewOrder] = {}
        desk.engine.subscribe(self._on_event)

    # --- create ------------------------------------------------------------------------------

    def create(self, request: Fields) -> Json:
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
            desk.at(Ns(desk.clock() + delay * MS), lambda: self._late(request))
            raise Dropped
        self._refuse_by_fault()
        answer = self._create(request)
        if desk.fault("F01") is not None:
            raise Dropped
        if desk.fault("F06") is not None:
            raise Mangled(200, '{"result":{"order_id":"0x00","sta', "application/json")
        return answer

    def _refuse_by_fault(self) -> None:
        """Refuse before the engine (F04, F05, F07, F12)."""
        desk = self._desk
        if desk.fault("F04") is not None:
            raise ApiError(1006)
        if desk.fault("F05") is not None:
            raise Mangled(502, _BAD_GATEWAY, "text/html")
        if desk.fault("F07") is not None:
            raise ApiError(1000)
        if desk.fault("F12") is not None:
            self._count_refusal()
            raise ApiError(2080)

    def _late(self, request: Fields) -> None:
        """Take a create that was held back (F03); nobody waits for the answer."""
        try:
            self._create(request)
        except ApiError:
            return

    def _create(self, request: Fields) -> Json:
        desk = self._desk
        now = desk.now()
        try:
            plan = order_plan(request)
            digest = self._signed(plan, now)
        except ApiError as error:
            self._count_refusal()
            desk.account.signature_failures += error.code in SIGNATURE_CODES
            raise
        known = self._taken.get(digest)
        if known is not None:
            return {"result": ack_json(*known)}
        order = self._place(plan, now)
        self._taken[digest] = (plan, now)
        if len(self._taken) > _MAX_REMEMBERED:
            del self._taken[next(iter(self._taken))]
        self._cancels.catch(order, plan.client_id, now)
        if desk.fault("F16") is not None:
            order.request.extra["reason"] = "MM_PROTECTION"
            desk.engine.cancel(now, order)
        desk.kick()
        return {"result": ack_json(plan, now)}

    def _signed(self, plan: OrderPlan, now: Ns) -> bytes:
        """Check account, signature and builder; returns the signed digest."""
        desk = self._desk
        if str(plan.sub_account) != desk.sub_account:
            raise ApiError(2003)
        instrument = desk.market(plan.symbol, 2061).instrument
        asset = Asset(int(instrument.asset_id, 16), instrument.size_decimals)
        digest = desk.signers.check_order(plan, asset, now)
        if plan.builder and plan.builder not in desk.builders:
            raise ApiError(7504)
        return digest

    def _place(self, plan: OrderPlan, now: Ns) -> SimOrder:
        new = NewOrder(
            account=self._desk.account_id,
            symbol=plan.symbol,
            side=plan.side,
            qty=Qty(plan.size),
            px=None if plan.market else Px(plan.limit_px),
            tif=BOOK_TIFS[plan.tif],
            post_only=plan.post_only,
            reduce_only=plan.reduce_only,
            client_id=plan.client_id,
            expires_at=plan.signature.expiration,
            extra={"wire": wire_of(plan)},
        )
        crossing = self._crossing_px(new)
        sent = new if crossing is None else replace(new, px=crossing)
        try:
            order = self._desk.engine.place(now, sent)
        except Refusal as no:
            raise denied(no.deny, reduce_only=new.reduce_only) from no
        if crossing is not None:
            self._crossed[order.order_id] = new
        return order

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

    def _count_refusal(self) -> None:
        """Count an order that the engine never sees."""
        self._desk.account.orders_received += 1
        self._desk.account.orders_rejected += 1

    def _on_event(self, event: EngineEvent) -> None:
        """Give a rejected order of F11 the price back that its client wrote."""
        if not self._crossed or not isinstance(event, OrderChanged):
            return
        order = event.order
        if not order.live and order.order_id in self._crossed:
            order.request = self._crossed.pop(order.order_id)

    # --- queries -----------------------------------------------------------------------------

    def order(self, request: Fields) -> Json:
        """Answer ``/order``: finished orders too; 1004 while it is not yet visible."""
        desk = self._desk
        desk.check_account(request)
        now = desk.now()
        found = self._cancels.named(request)
        if found is None or not desk.visible(found, now):
            raise ApiError(1004)
        return {"result": order_json(found, desk.sub_account)}

    def open_orders(self, request: Fields) -> Json:
        """Answer ``/open_orders``, oldest first."""
        desk = self._desk
        desk.check_account(request)
        takes = desk.symbol_filter(request)
        now = desk.now()
        return {
            "result": [
                order_json(order, desk.sub_account)
                for order in desk.engine.open_orders(desk.account_id)
                if desk.visible(order, now) and takes(order.request.symbol)
            ]
        }

    def order_history(self, request: Fields) -> Json:
        """Answer ``/order_history``: every finished or live order, newest first."""
        desk = self._desk
        desk.check_account(request)
        takes, page = desk.symbol_filter(request), page_of(request)
        now = desk.now()
        total = len(desk.orders)
        rows = (
            Row(total - place, order.received_at, order.request.symbol, {"order": order.order_id})
            for place, order in enumerate(reversed(desk.orders.values()))
            if order.phase is not Phase.PENDING and desk.visible(order, now)
        )
        found = page_json(rows, page, takes)
        found["result"] = [
            order_json(desk.orders[row["order"]], desk.sub_account) for row in found["result"]
        ]
        return found

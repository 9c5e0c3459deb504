"""Orders that GRVT shows and the engine does not have: waiting triggers, and late rejections.

A take profit or stop loss waits here until the price it watches reaches its trigger price, and is
then placed as an ordinary order under the id it waited with. Two of them may cancel each other
(OCO), and they may wait for a parent to fill first (OTO, OTOCO).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from exchanges.simulator.grvt_build import check_waiting, new_order
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_members import Member
from exchanges.simulator.grvt_payload import OrderPlan, Trigger
from exchanges.simulator.grvt_words import ApiError, late_reason
from exchanges.simulator.model import (
    BookChanged,
    Deny,
    Ended,
    EngineEvent,
    OrderChanged,
    Phase,
    PublicTrade,
    Refusal,
    SimOrder,
)
from strategy.domain import Ns, Side

_OCO = "OCO_COUNTER_PART_TRIGGERED"


@dataclass(slots=True, eq=False)
class Waiting:
    """One trigger order before it fires."""

    member: Member
    plan: OrderPlan
    trigger: Trigger
    order: SimOrder
    """What is shown meanwhile; the engine does not know it."""
    group: list["Waiting"] = field(default_factory=list)
    """It and its counterparts; they end together."""
    parent: SimOrder | None = None
    """The order that must fill first."""

    @property
    def armed(self) -> bool:
        """True when only the price is missing."""
        return self.parent is None or self.parent.phase is Phase.FILLED


class Triggers:
    """Every waiting trigger order of the venue."""

    inside = True
    """Hears the engine at once, whatever the latency model (``delayed.DelayedEngine``)."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._waiting: dict[str, Waiting] = {}
        """By the order id that is shown."""
        self._newest: dict[tuple[str, str], SimOrder] = {}
        """Held orders by sub-account and client id, until they become the engine's."""
        self._serial = 0
        desk.engine.subscribe(self._on_event)

    # --- taking ------------------------------------------------------------------------------

    def place(
        self,
        member: Member,
        plans: Sequence[tuple[OrderPlan, Trigger]],
        now: Ns,
        parent: SimOrder | None = None,
    ) -> list[Waiting]:
        """Let triggers wait; several are each other's counterparts.

        Raises:
            ApiError: 2012, or the rule of the instrument that one of them breaks.
        """
        for plan, _ in plans:
            check_waiting(self._desk, plan)
            self.check_client_id(member, plan.client_id)
        group: list[Waiting] = []
        for plan, trigger in plans:
            order = self._hold(member, plan, now)
            order.phase = Phase.PENDING if self._desk.options.pending_triggers else Phase.OPEN
            waiting = Waiting(member, plan, trigger, order, group, parent)
            group.append(waiting)
            self._waiting[order.order_id] = waiting
            self._expire_later(waiting)
        for waiting in group:
            self._desk.announce(member, waiting.order)
        for symbol in dict.fromkeys(plan.symbol for plan, _ in plans):
            # A price that is already there fires at once, but after the acknowledgement.
            self._desk.at(now, partial(self._look, symbol))
        return group

    def reject_later(self, member: Member, plan: OrderPlan, deny: Deny, now: Ns) -> SimOrder:
        """Acknowledge an order that is then rejected, as the engine would have refused it."""
        order = self._hold(member, plan, now)
        due = Ns(now + self._desk.engine.rules.latency)
        self._desk.announce(member, order)
        self._desk.at(
            due, lambda: self._end(member, order, Ended.REDUCE_ONLY, late_reason(deny), deny)
        )
        return order

    def check_client_id(self, member: Member, client_id: str) -> None:
        """Raise ApiError 2012 when a live order of the account has the client id."""
        self.check_held(member, client_id)
        known = self._desk.engine.find(member.id, client_id)
        if known is not None and known.live:
            raise ApiError(2012)

    def check_held(self, member: Member, client_id: str) -> None:
        """The same for orders that the engine does not know."""
        held = self._newest.get((member.sub_account, client_id))
        if held is not None and held.live:
            raise ApiError(2012)

    def _hold(self, member: Member, plan: OrderPlan, now: Ns) -> SimOrder:
        self._serial += 1
        order_id = f"0x0102{self._serial:012x}{now:016x}"
        order = SimOrder(
            order_id,
            new_order(self._desk, member, plan, order_id),
            received_at=now,
            due_at=now,
            updated_at=now,
        )
        member.orders[order_id] = order
        member.account.orders_received += 1
        self._newest[member.sub_account, plan.client_id] = order
        return order

    def _expire_later(self, waiting: Waiting) -> None:
        due = waiting.plan.signature.expiration

        def expire() -> None:
            if self._waiting.pop(waiting.order.order_id, None) is not None:
                self._end(waiting.member, waiting.order, Ended.EXPIRED, "EXPIRED")

        self._desk.at(due, expire)

    # --- finding -----------------------------------------------------------------------------

    def find(self, member: Member, client_id: str) -> SimOrder | None:
        """Return a held order by client id; None for one that is the engine's."""
        return self._newest.get((member.sub_account, client_id))

    def waiting(self, order: SimOrder) -> Waiting | None:
        """Return the trigger behind an order that is shown, while it waits."""
        return self._waiting.get(order.order_id)

    def open_orders(self, member: Member) -> list[SimOrder]:
        """Return an account's waiting orders, oldest first."""
        return [each.order for each in self._waiting.values() if each.member is member]

    # --- ending ------------------------------------------------------------------------------

    def cancel(self, order: SimOrder, reason: str = "CLIENT_CANCEL") -> bool:
        """Cancel a waiting order with its counterparts; False when it does not wait."""
        found = self._waiting.get(order.order_id)
        if found is None:
            return False
        for each in list(found.group):
            if self._waiting.pop(each.order.order_id, None) is not None:
                self._end(each.member, each.order, Ended.CLIENT_CANCEL, reason)
        return True

    def cancel_all(self, member: Member, takes: Callable[[str], bool], reason: str) -> None:
        """Cancel the waiting orders of an account whose symbol passes."""
        for order in self.open_orders(member):
            if takes(order.request.symbol):
                self.cancel(order, reason)

    def _end(
        self,
        member: Member,
        order: SimOrder,
        ended: Ended,
        reason: str,
        deny: Deny | None = None,
    ) -> None:
        now = self._desk.clock()
        order.phase = Phase.CANCELLED if deny is None else Phase.REJECTED
        order.ended, order.deny = ended, deny
        order.done_at = order.updated_at = now
        order.request.extra["held_reason"] = reason
        if deny is not None:
            member.account.orders_rejected += 1
        self._desk.announce(member, order)

    # --- firing ------------------------------------------------------------------------------

    def _on_event(self, event: EngineEvent) -> None:
        if not self._waiting:
            return
        if isinstance(event, OrderChanged):
            self._follow_parent(event)
        elif isinstance(event, BookChanged | PublicTrade):
            self._check(event.symbol, event.at)

    def _follow_parent(self, event: OrderChanged) -> None:
        """End what waits for an order that has ended without filling."""
        order = event.order
        if order.live:
            return
        for waiting in list(self._waiting.values()):
            if waiting.parent is order and order.phase is not Phase.FILLED:
                self.cancel(waiting.order)

    def _look(self, symbol: str) -> None:
        self._check(symbol, self._desk.now())

    def _check(self, symbol: str, now: Ns) -> None:
        for waiting in list(self._waiting.values()):
            still = waiting.order.order_id in self._waiting
            if still and waiting.plan.symbol == symbol and waiting.armed and self._reached(waiting):
                self._fire(waiting, now)

    def _reached(self, waiting: Waiting) -> bool:
        trigger, symbol = waiting.trigger, waiting.plan.symbol
        price = self._price(trigger.by, symbol)
        if not price:
            return False
        profit, sells = trigger.kind == "TAKE_PROFIT", waiting.plan.side is Side.SELL
        return price >= trigger.px if profit == sells else price <= trigger.px

    def _price(self, by: str, symbol: str) -> int | None:
        engine = self._desk.engine
        if by == "LAST":
            return engine.last_price(symbol)
        if by == "MARK":
            return engine.mark(symbol)
        if by == "INDEX":
            return self._desk.index(symbol)
        bid, ask = engine.touch(symbol)
        return None if bid is None or ask is None else (bid + ask) // 2

    def _fire(self, waiting: Waiting, now: Ns) -> None:
        member, held = waiting.member, waiting.order
        del self._waiting[held.order_id]
        for other in waiting.group:
            if self._waiting.pop(other.order.order_id, None) is not None:
                self._end(member, other.order, Ended.CLIENT_CANCEL, _OCO)
        self._newest.pop((member.sub_account, waiting.plan.client_id), None)
        member.account.orders_received -= 1  # the engine counts it again
        try:
            self._desk.engine.place(now, held.request)
        except Refusal as no:
            self._newest[member.sub_account, waiting.plan.client_id] = held
            member.account.orders_rejected -= 1  # and this refusal
            self._end(member, held, Ended.REDUCE_ONLY, late_reason(no.deny), no.deny)
            return
        self._desk.kick()

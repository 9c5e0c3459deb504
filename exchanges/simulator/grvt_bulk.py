"""Several GRVT orders in one request: create, cancel, replace, and linked triggers.

``/full/v2/bulk_orders`` as documented; ``create_bulk_orders`` is its older form, which only
creates. All orders are checked before the first is taken. What the venue does not document is
chosen: an order that the engine refuses is told as REJECTED in its place, the others go on.
"""

from collections.abc import Sequence

from exchanges.simulator.grvt_cancels import Cancels
from exchanges.simulator.grvt_codec import ack_json
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_members import Member
from exchanges.simulator.grvt_orders import OrderApi
from exchanges.simulator.grvt_payload import Fields, OrderPlan, Trigger
from exchanges.simulator.grvt_triggers import Triggers, Waiting
from exchanges.simulator.grvt_words import ApiError, Json, late_code_reason
from exchanges.simulator.model import SimOrder
from strategy.domain import Ns

MOST = 100
"""Orders and cancels of one request."""
_PAIR = 2

Signed = tuple[OrderPlan, bytes]


class BulkApi:
    """Answers the bulk requests.

    Args:
        desk: shared state.
        orders: checks and takes single orders.
        cancels: takes single cancels.
        triggers: keeps linked triggers.
    """

    def __init__(self, desk: Desk, orders: OrderApi, cancels: Cancels, triggers: Triggers) -> None:
        self._desk = desk
        self._orders = orders
        self._cancels = cancels
        self._triggers = triggers

    def create(self, request: Fields, who: Member) -> Json:
        """Answer ``/create_bulk_orders``: ``{"result": [Order]}``."""
        return {"result": self._bulk(request.rows("orders"), [], who)}

    def bulk(self, request: Fields, who: Member) -> Json:
        """Answer ``/bulk_orders``: cancels first, then creates.

        Raises:
            ApiError: 2012, 2233 to 2236, 2413, or what one of the orders breaks.
        """
        desk = self._desk
        desk.check_account(request, who)
        rows = request.rows("orders") if request.has("orders") else []
        ids = _ids(request, "order_i_ds", "order_ids")
        client_ids = _ids(request, "client_order_i_ds", "client_order_ids")
        if ids and client_ids:
            raise ApiError(2233)
        if not rows and not ids and not client_ids:
            raise ApiError(3021)
        if max(len(rows), len(ids), len(client_ids)) > MOST:
            raise ApiError(2235)
        wait = self._cancels.time_to_live(request)
        found: list[SimOrder | None] = [who.orders.get(each) for each in ids]
        found += [self._cancels.with_client_id(who, each) for each in client_ids]
        orders = self._bulk(rows, found, who)
        if wait:
            now = desk.clock()
            for client_id, order in zip(client_ids, found, strict=False):
                if order is None:
                    self._cancels.bury(who, client_id, wait, now)
        acks = [{"ack": order is not None or bool(wait)} for order in found]
        return {"orders": orders, "cancel_acks": acks}

    def _bulk(self, rows: list[Fields], ending: list[SimOrder | None], who: Member) -> list[Json]:
        desk = self._desk
        now = desk.now()
        if len(rows) > MOST:
            raise ApiError(2235)
        who.rates.spend("create_order", now, len(rows))
        who.rates.spend("cancel_order", now, min(len(ending), 1))
        if rows:
            self._orders.refuse_by_fault(who)
        signed = [self._orders.checked(row, who) for row in rows]
        plans = [plan for plan, _ in signed]
        _check_batch(plans)
        parent = self._replaced_parent(plans, ending)
        for order in ending:
            if order is not None and order.live:
                self._cancels.end(order, now)
        if any(plan.trigger is not None for plan in plans):
            return self._linked(signed, who, now, parent)
        return [self._one(each, who, now) for each in signed]

    def _one(self, signed: Signed, who: Member, now: Ns) -> Json:
        """Take one order; a refusal is told in its place."""
        plan, digest = signed
        known = self._orders.repeated(digest)
        if known is not None:
            return known
        shown = ack_json(plan, now)
        try:
            self._orders.take(plan, digest, who, now)
        except ApiError as error:
            shown["state"] |= {"status": "REJECTED", "reject_reason": late_code_reason(error.code)}
        return shown

    def _linked(
        self, signed: Sequence[Signed], who: Member, now: Ns, parent: SimOrder | None
    ) -> list[Json]:
        """Take triggers that belong together, with or without a parent order among them."""
        waiting: list[tuple[OrderPlan, Trigger]] = []
        for plan, digest in signed:
            if plan.trigger is None:
                parent = self._orders.take(plan, digest, who, now)
            else:
                waiting.append((plan, plan.trigger))
        self._triggers.place(who, waiting, now, parent)
        for plan, digest in signed:
            self._orders.remember(plan, digest, now)
        return [ack_json(plan, now) for plan, _ in signed]

    def _replaced_parent(
        self, plans: Sequence[OrderPlan], ending: Sequence[SimOrder | None]
    ) -> SimOrder | None:
        """Return the parent of the triggers that triggers replace.

        Raises:
            ApiError: 2413 for another number of them, 2222 for an order that is no waiting trigger.
        """
        if not ending or all(plan.trigger is None for plan in plans):
            return None
        if len(plans) != len(ending):
            raise ApiError(2413)
        replaced: list[Waiting] = []
        for order in ending:
            found = None if order is None else self._triggers.waiting(order)
            if found is None:
                raise ApiError(2222)
            replaced.append(found)
        return replaced[0].parent


def _ids(request: Fields, *names: str) -> list[str]:
    """Return the ids under either spelling; null entries, as the documents show, name nothing."""
    for name in names:
        found = request.texts_or_nulls(name)
        if found:
            return found
    return []


def _check_batch(plans: Sequence[OrderPlan]) -> None:
    """Check that orders may come together.

    Raises:
        ApiError: 2012 for a repeated client id, 2234 for several instruments, 2236 for triggers
            that do not belong together.
    """
    if len({plan.symbol for plan in plans}) > 1:
        raise ApiError(2234)
    if len({plan.client_id for plan in plans}) < len(plans):
        raise ApiError(2012)
    triggers = [plan for plan in plans if plan.trigger is not None]
    parents = [plan for plan in plans if plan.trigger is None]
    if not triggers:
        return
    kinds = {plan.trigger.kind for plan in triggers if plan.trigger is not None}
    paired = len(triggers) == len(kinds) <= _PAIR and len(parents) <= 1
    sizes, sides = {plan.size for plan in plans}, {plan.side for plan in triggers}
    opposite = all(parent.side not in sides for parent in parents)
    if not (paired and opposite and len(sizes) == len(sides) == 1):
        raise ApiError(2236)

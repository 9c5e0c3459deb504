"""Trigger orders, and the take profits and stop losses attached to orders (venues.md B3.2, B4, B5).

They wait here, beside the engine, and become orders of the engine when their reference price
reaches the trigger price from where it stood. What the venue does not document is chosen: an
attached order is reduce-only, is placed with the first fill of its parent, grows with it, and
expires with ``StopWithoutPosition`` when the position it protects is gone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from exchanges.simulator.backpack_build import (
    check_band,
    check_state,
    check_ticks,
    new_order,
)
from exchanges.simulator.backpack_codec import echo, visible_id
from exchanges.simulator.backpack_conditions import Condition, Leg, share_of
from exchanges.simulator.backpack_desk import Desk
from exchanges.simulator.backpack_members import Member
from exchanges.simulator.backpack_payload import OrderPlan
from exchanges.simulator.backpack_words import MS, ApiError, Json, refusal
from exchanges.simulator.model import (
    BookChanged,
    Deny,
    Ended,
    EngineEvent,
    Market,
    NewOrder,
    OrderChanged,
    Phase,
    PositionChanged,
    PublicTrade,
    Refusal,
    SimFill,
    SimOrder,
)
from strategy.domain import Ns, Px, Qty, Tif

PENDING = "TriggerPending"
FAILED = "TriggerFailed"
_NO_POSITION = "StopWithoutPosition"
_REASONS = {
    Deny.INSUFFICIENT_MARGIN: "InsufficientMargin",
    Deny.REDUCE_ONLY_NO_POSITION: _NO_POSITION,
    Deny.REDUCE_ONLY_INCREASES: _NO_POSITION,
    Deny.PRICE_BAND: "PriceOutOfBounds",
    Deny.NO_PRICE: "InvalidPrice",
    Deny.BAD_TICK: "InvalidPrice",
    Deny.BAD_STEP: "InvalidQuantity",
    Deny.BELOW_MIN_QTY: "InvalidQuantity",
    Deny.BELOW_MIN_NOTIONAL: "InvalidQuantity",
    Deny.POST_ONLY_CROSS: "PostOnlyTaker",
}
_CODES = {"POSITION_LIMIT": "PositionLimit", "INVALID_PRICE": "PriceOutOfBounds"}
"""Expiry reasons of the gateway's own refusals."""


@dataclass(slots=True)
class Trigger:
    """One trigger order, waiting or over."""

    shape: SimOrder
    """What queries and streams show while it waits; the engine never sees it."""
    plan: OrderPlan
    condition: Condition
    rising: bool
    """It fires at or above its price, else at or below."""
    parent: str | None = None
    """The order it protects; None for one that the client placed itself."""
    status: str = PENDING
    reason: str | None = None
    fired: SimOrder | None = None

    @property
    def id(self) -> str:
        """Its id, before and after it fires."""
        return self.shape.order_id

    @property
    def waiting(self) -> bool:
        """True until it fires or ends."""
        return self.status == PENDING

    def reached(self, reference: Px) -> bool:
        """Return whether its reference price makes it fire."""
        if not reference:
            return False
        if self.rising:
            return reference >= self.condition.price
        return reference <= self.condition.price


@dataclass(slots=True)
class _Family:
    """The attached orders of one parent, by kind, and what the parent has traded."""

    legs: dict[str, Trigger] = field(default_factory=dict)
    traded: int = 0


Told = Callable[[str, Trigger, Ns], None]
"""Told the stream's event word, the trigger and the time."""


class TriggerBook:
    """Every trigger order of the venue.

    Args:
        desk: the venue.
    """

    inside = True
    """Hears the engine at once, whatever the latency model (``delayed.DelayedEngine``)."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._all: dict[str, Trigger] = {}
        self._waiting: dict[str, dict[str, Trigger]] = {}
        """By market, then id: usually empty, because every price is checked against it."""
        self._families: dict[str, _Family] = {}
        self._told: list[Told] = []

    def attach(self) -> None:
        """Begin to watch the market; after the streams, so that causes are told before effects."""
        self._desk.engine.subscribe(self._on_event)

    def follow(self, told: Told) -> None:
        """Call ``told`` with every change of a trigger order that is not yet the engine's."""
        self._told.append(told)

    # --- reading -----------------------------------------------------------------------------

    def waiting(self, account_id: str, symbol: str | None = None) -> list[Trigger]:
        """Return the waiting trigger orders of an account, oldest first."""
        return [
            each
            for each in self.of(account_id)
            if each.waiting and symbol in (None, each.plan.symbol)
        ]

    def of(self, account_id: str) -> Iterator[Trigger]:
        """Yield every trigger order of an account, oldest first."""
        return (each for each in self._all.values() if each.shape.request.account == account_id)

    def find(self, account_id: str, symbol: str, trigger_id: str) -> Trigger | None:
        """Return a trigger order of the account and market, whatever became of it."""
        found = self._all.get(trigger_id)
        if found is None or found.shape.request.account != account_id:
            return None
        return found if found.plan.symbol == symbol else None

    def named(self, account_id: str, client_id: int) -> Trigger | None:
        """Return the newest waiting trigger order with a client id."""
        found = [each for each in self.waiting(account_id) if each.plan.client_id == client_id]
        return found[-1] if found else None

    # --- placing and ending ------------------------------------------------------------------

    def place(self, member: Member, plan: OrderPlan, condition: Condition) -> Trigger:
        """Take a trigger order of a client.

        Raises:
            ApiError: it breaks a rule of the market, there is no reference price, or the account
                has too many.
        """
        desk, market = self._desk, self._desk.market(plan.symbol)
        now = desk.now()
        check_state(market, plan)
        check_ticks(market, plan, condition.price)
        _check_size(market, condition)
        if plan.px is not None:
            check_band(desk, plan.side, plan.px, market)
        reference = desk.reference(plan.symbol, condition.by)
        if not reference:
            raise refusal(Deny.NO_PRICE)
        if len(self.waiting(member.id)) >= desk.options.max_trigger_orders:
            raise refusal(Deny.TOO_MANY_ORDERS)
        member.account.orders_received += 1
        shape = self._shape(member.id, plan, condition, None, now)
        rising = reference < condition.price
        return self._add(Trigger(shape, plan, condition, rising), now)

    def cancel(self, trigger: Trigger, now: Ns) -> None:
        """End a waiting trigger order at its owner's wish."""
        self._end(trigger, "Cancelled", None, now)
        self._tell("orderCancelled", trigger, now)

    def _add(self, trigger: Trigger, now: Ns) -> Trigger:
        self._all[trigger.id] = trigger
        self._waiting.setdefault(trigger.plan.symbol, {})[trigger.id] = trigger
        self._tell("triggerPlaced", trigger, now)
        return trigger

    def _end(self, trigger: Trigger, status: str, reason: str | None, now: Ns) -> None:
        trigger.status, trigger.reason = status, reason
        trigger.shape.phase = Phase.CANCELLED
        trigger.shape.ended = Ended.CLIENT_CANCEL if reason is None else Ended.REDUCE_ONLY
        trigger.shape.done_at = trigger.shape.updated_at = now
        self._waiting.get(trigger.plan.symbol, {}).pop(trigger.id, None)

    def _tell(self, word: str, trigger: Trigger, now: Ns) -> None:
        for told in self._told:
            told(word, trigger, now)

    def _shape(
        self, account: str, plan: OrderPlan, condition: Condition, parent: str | None, now: Ns
    ) -> SimOrder:
        """Return what is shown of a trigger order while it waits."""
        legs: Json = {key: value for leg in plan.legs for key, value in leg.echo().items()}
        extra: dict[str, object] = {
            "orderType": "Market" if plan.market else "Limit",
            "selfTradePrevention": plan.stp,
            "unsized": True,
            "echo": legs | condition.echo() | {"relatedOrderId": parent},
        }
        request = NewOrder(
            account=account,
            symbol=plan.symbol,
            side=plan.side,
            qty=condition.qty or Qty(0),
            px=plan.px,
            tif=plan.tif,
            post_only=plan.post_only,
            reduce_only=bool(plan.reduce_only),
            client_id="" if plan.client_id is None else str(plan.client_id),
            extra=extra,
        )
        return SimOrder(self._desk.fresh_id(), request, now, now, updated_at=now)

    # --- firing ------------------------------------------------------------------------------

    def _on_event(self, event: EngineEvent) -> None:
        if isinstance(event, BookChanged | PublicTrade):
            for trigger in list(self._waiting.get(event.symbol, {}).values()):
                if trigger.reached(self._desk.reference(event.symbol, trigger.condition.by)):
                    self._fire(trigger, event.at)
        elif isinstance(event, OrderChanged):
            if event.fill is not None:
                self._on_fill(event.order, event.fill)
            elif event.order.phase is Phase.REJECTED:
                self._on_rejected(event.order, event.at)
        elif isinstance(event, PositionChanged):
            self._on_position(event)

    def _fire(self, trigger: Trigger, now: Ns) -> None:
        """Hand the order to the engine; what refuses it now is told as ``triggerFailed``."""
        member = self._desk.members[trigger.shape.request.account]
        self._waiting[trigger.plan.symbol].pop(trigger.id)
        extra: Json = {
            "orderId": trigger.id,
            "placedAt": trigger.shape.received_at,
            "echo": echo(trigger.shape) | {"triggeredAt": now // MS},
        }
        plan = replace(trigger.plan, qty=self._size(trigger, member), condition=None)
        # The request was counted when it was placed; the engine counts it again now.
        member.account.orders_received -= 1
        try:
            trigger.fired = self._desk.place(new_order(self._desk, member, plan, extra))
        except Refusal as no:
            self._fail(trigger, self._reason(trigger, no.deny), now)
        except ApiError as error:
            member.count_refusal()
            self._fail(trigger, _CODES.get(error.code, "Unknown"), now)
        else:
            trigger.status = "Triggered"
            self._desk.aliases[trigger.id] = trigger.fired.order_id

    def _size(self, trigger: Trigger, member: Member) -> Qty:
        condition = trigger.condition
        if condition.percent is None:
            return condition.qty or Qty(0)
        held = member.account.positions.get(trigger.plan.symbol)
        size = share_of(condition.percent, 0 if held is None else held.qty)
        return self._desk.market(trigger.plan.symbol).instrument.floor_qty(size)

    def _reason(self, trigger: Trigger, deny: Deny) -> str:
        if trigger.condition.percent is not None and deny is Deny.BELOW_MIN_QTY:
            return _NO_POSITION  # a share of nothing
        return _REASONS.get(deny, "Unknown")

    def _fail(self, trigger: Trigger, reason: str, now: Ns) -> None:
        self._end(trigger, FAILED, reason, now)
        self._tell("triggerFailed", trigger, now)

    def _on_rejected(self, order: SimOrder, now: Ns) -> None:
        trigger = self._all.get(visible_id(order))
        if trigger is not None:
            reason = self._reason(trigger, order.deny or Deny.UNSUPPORTED)
            self._fail(trigger, reason, now)

    # --- take profits and stop losses --------------------------------------------------------

    def _on_fill(self, order: SimOrder, fill: SimFill) -> None:
        legs = order.request.extra.get("legs")
        if not isinstance(legs, tuple) or not legs:
            return
        family = self._families.setdefault(visible_id(order), _Family())
        family.traded += fill.qty
        for leg in legs:
            placed = family.legs.get(leg.kind)
            if placed is None:
                family.legs[leg.kind] = self._attach(order, leg, Qty(family.traded), fill.at)
            elif placed.waiting:
                self._grow(placed, Qty(family.traded), fill.at)

    def _attach(self, parent: SimOrder, leg: Leg, qty: Qty, now: Ns) -> Trigger:
        new = parent.request
        condition = Condition(leg.price, leg.by, qty, None)
        plan = OrderPlan(
            symbol=new.symbol,
            side=new.side.opposite,
            market=leg.limit is None,
            qty=None,
            quote_qty=None,
            px=leg.limit,
            tif=Tif.GTC,
            post_only=False,
            reduce_only=True,
            client_id=None,
            stp="RejectTaker",
            slippage=None,
            slippage_in_ticks=False,
            condition=condition,
            legs=(),
        )
        # A take profit lies beyond the price in the direction of the position, a stop loss behind.
        rising = (leg.kind == "takeProfit") == (new.side.value > 0)
        shape = self._shape(new.account, plan, condition, visible_id(parent), now)
        return self._add(Trigger(shape, plan, condition, rising, visible_id(parent)), now)

    def _grow(self, trigger: Trigger, qty: Qty, now: Ns) -> None:
        trigger.condition = replace(trigger.condition, qty=qty)
        trigger.shape.request.extra["echo"] = echo(trigger.shape) | trigger.condition.echo()
        self._tell("orderModified", trigger, now)

    def _on_position(self, event: PositionChanged) -> None:
        held, waiting = event.position, self._waiting.get(event.position.symbol)
        if not waiting:
            return
        for trigger in list(waiting.values()):
            mine = trigger.parent is not None and trigger.shape.request.account == event.account
            if mine and held.qty * trigger.plan.side.value >= 0:
                self._end(trigger, "Expired", _NO_POSITION, event.at)
                self._tell("orderExpired", trigger, event.at)


def _check_size(market: Market, condition: Condition) -> None:
    """Check step and minimum as the engine does for an order; a share is sized when it fires."""
    if condition.qty is None:
        return
    if condition.qty % market.instrument.step:
        raise refusal(Deny.BAD_STEP)
    if condition.qty < market.instrument.min_qty:
        raise refusal(Deny.BELOW_MIN_QTY)

"""GRVT cancels: by id, in bulk, by tombstone, and by the dead-man switch (venues.md A5.7).

A cancel's answer says only that the request was received.
"""

from collections.abc import Callable
from dataclasses import dataclass

from exchanges.simulator.grvt_codec import cancel_feed
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_members import Member
from exchanges.simulator.grvt_payload import Fields
from exchanges.simulator.grvt_triggers import Triggers
from exchanges.simulator.grvt_words import MS, NO_ORDER_ID, ApiError, Json
from exchanges.simulator.model import MarketTrade, Phase, SimOrder
from strategy.domain import NANO, Ns, Qty

_ACK: Json = {"result": {"ack": True}}
_TTL_STEP_MS = 100
_MAX_TTL_MS = 5000
_MAX_COUNTDOWN_MS = 300_000
_COD_REASON = "CLIENT_CANCEL_ON_DISCONNECT_TRIGGERED"


@dataclass(frozen=True, slots=True)
class _Tombstone:
    """A cancel that waits for its order."""

    member: Member
    client_id: str
    until: Ns

    @property
    def key(self) -> tuple[str, str]:
        """Sub-account and client id."""
        return self.member.sub_account, self.client_id


class Cancels:
    """Takes cancels; ``publish`` receives the results for ``v1.cancel``."""

    def __init__(self, desk: Desk, triggers: Triggers) -> None:
        self._desk = desk
        self._triggers = triggers
        self._tombstones: dict[tuple[str, str], _Tombstone] = {}
        self.publish: Callable[[Member, Json], None] = lambda _member, _row: None

    # --- which order -------------------------------------------------------------------------

    def named(self, request: Fields, who: Member) -> SimOrder | None:
        """Return the order that a request names by exactly one of its ids, or None.

        Raises:
            ApiError: 3021 for none, 2233 for both.
        """
        order_id, client_id = request.text("order_id"), request.unsigned("client_order_id")
        if order_id == NO_ORDER_ID:
            order_id = None  # the acknowledgement's placeholder names nothing
        if order_id and client_id is not None:
            raise ApiError(2233)
        if order_id:
            return who.orders.get(order_id)
        if client_id is None:
            raise ApiError(3021)
        return self.with_client_id(who, str(client_id))

    def with_client_id(self, who: Member, client_id: str) -> SimOrder | None:
        """Return an account's newest order with a client id."""
        held = self._triggers.find(who, client_id)
        known = self._desk.engine.find(who.id, client_id)
        if held is None or known is None:
            return known if held is None else held
        return held if held.received_at >= known.received_at else known

    # --- endpoints ---------------------------------------------------------------------------

    def cancel(self, request: Fields, who: Member) -> Json:
        """Answer ``/cancel_order``.

        Raises:
            ApiError: 1004 for an unknown order without a time to live.
        """
        desk = self._desk
        if desk.fault("F59") is not None:
            raise ApiError(1006)
        desk.check_account(request, who)
        now = desk.now()
        order = self.named(request, who)
        wait = self.time_to_live(request)
        if order is None:
            if wait and request.has("client_order_id"):
                self.bury(who, str(request.unsigned("client_order_id")), wait, now)
            elif not desk.options.unknown_cancel_acks:
                raise ApiError(1004)
        elif order.live:
            self.end(order, now)
        elif not desk.options.finished_cancel_acks:
            raise ApiError(1004)
        return _ACK

    def end(self, order: SimOrder, now: Ns) -> None:
        """Cancel a live order, waiting triggers included."""
        desk = self._desk
        if self._triggers.cancel(order):
            return
        desk.engine.cancel(now, order)
        if order.phase is Phase.OPEN and desk.fault("F22") is not None:
            self._fill_meanwhile(order, now)
        desk.kick()

    def cancel_all(self, request: Fields, who: Member) -> Json:
        """Answer ``/cancel_all_orders``: every live order that passes the filters."""
        desk = self._desk
        if desk.fault("F59") is not None:
            raise ApiError(1006)
        desk.check_account(request, who)
        takes = desk.symbol_filter(request)
        now = desk.now()
        self._triggers.cancel_all(who, takes, "CLIENT_BULK_CANCEL")
        for symbol in desk.engine.markets:
            if takes(symbol):
                desk.engine.cancel_all(now, who.id, symbol)
        desk.kick()
        return _ACK

    def catch(self, order: SimOrder, who: Member, client_id: str, now: Ns) -> None:
        """Cancel a new order that a tombstone waits for, before it can trade."""
        waiting = self._tombstones.pop((who.sub_account, client_id), None)
        if waiting is not None and now < waiting.until:
            self._desk.engine.cancel(now, order)

    # --- the dead-man switch -----------------------------------------------------------------

    def countdown(self, request: Fields, who: Member) -> Json:
        """Answer ``/cancel_on_disconnect``: arm, refresh or disarm the dead-man switch.

        Whole seconds count; up to 1000 ms disarms.

        Raises:
            ApiError: 6000 above 300 s.
        """
        desk = self._desk
        desk.check_account(request, who)
        asked = request.unsigned("countdown_time") or 0
        if asked > _MAX_COUNTDOWN_MS:
            raise ApiError(6000)
        if asked <= NANO // MS:
            who.countdown = None
            return _ACK
        seconds = asked // (NANO // MS)
        due = Ns(desk.clock() + seconds * NANO + desk.options.countdown_lag)
        who.countdown = due
        desk.at(due, lambda: self._lapse(who, due))
        return _ACK

    def _lapse(self, who: Member, due: Ns) -> None:
        """Cancel everything, unless a later heartbeat moved the end."""
        if who.countdown != due:
            return
        who.countdown = None
        self.sweep(who, _COD_REASON)

    def sweep(self, who: Member, reason: str) -> None:
        """Cancel all orders of an account for a reason of the venue's."""
        desk = self._desk
        for order in desk.engine.cancel_all(desk.now(), who.id):
            order.request.extra["reason"] = reason
        self._triggers.cancel_all(who, lambda _: True, reason)
        desk.kick()

    # --- cancels that wait -------------------------------------------------------------------

    def time_to_live(self, request: Fields) -> int:
        """Return the time to live in ms, rounded down to 100; 0 when there is none.

        Raises:
            ApiError: 2300 when switched off, 2301 above 5 s.
        """
        asked = request.unsigned("time_to_live_ms")
        if not asked:
            return 0
        if not self._desk.options.cancel_ttl:
            raise ApiError(2300)
        if asked > _MAX_TTL_MS:
            raise ApiError(2301)
        return asked // _TTL_STEP_MS * _TTL_STEP_MS

    def bury(self, who: Member, client_id: str, wait_ms: int, now: Ns) -> None:
        """Keep a cancel for an order that has not arrived; only the first of them counts."""
        stone = _Tombstone(who, client_id, Ns(now + wait_ms * MS))
        if stone.key in self._tombstones:
            self._tell(stone, "DROPPED_DUPLICATE", now)
            return
        self._tombstones[stone.key] = stone
        self._desk.at(stone.until, lambda: self._expire(stone))

    def _expire(self, stone: _Tombstone) -> None:
        if self._tombstones.get(stone.key) is stone:
            del self._tombstones[stone.key]
            self._tell(stone, "EXPIRED", self._desk.clock())

    def _tell(self, stone: _Tombstone, status: str, now: Ns) -> None:
        row = cancel_feed(
            stone.member.sub_account, stone.client_id, NO_ORDER_ID, status, "CLIENT_CANCEL", now
        )
        self.publish(stone.member, row)

    def _fill_meanwhile(self, order: SimOrder, now: Ns) -> None:
        """Trade half of a resting order before its cancel takes effect (F22)."""
        new = order.request
        if new.px is None:
            return
        step = self._desk.engine.markets[new.symbol].instrument.step
        part = max(order.remaining // 2 // step * step, step)
        qty = Qty(order.queue_ahead + part)
        self._desk.engine.feed(now, new.symbol, MarketTrade(new.px, qty, new.side.opposite))

"""GRVT cancels: by id, in bulk, by tombstone, and by the dead-man switch (venues.md A5.7).

A cancel's answer says only that the request was received.
"""

from collections.abc import Callable
from dataclasses import dataclass

from exchanges.simulator.grvt_codec import cancel_feed
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_payload import Fields
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

    client_id: str
    until: Ns


class Cancels:
    """Takes cancels; ``publish`` receives the results for ``v1.cancel``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._tombstones: dict[str, _Tombstone] = {}
        self._countdown: Ns | None = None
        self.publish: Callable[[Json], None] = lambda _: None

    def named(self, request: Fields) -> SimOrder | None:
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
            return self._desk.orders.get(order_id)
        if client_id is None:
            raise ApiError(3021)
        return self._desk.engine.find(self._desk.account_id, str(client_id))

    def cancel(self, request: Fields) -> Json:
        """Answer ``/cancel_order``.

        Raises:
            ApiError: 1004 for an unknown order without a time to live.
        """
        desk = self._desk
        if desk.fault("F59") is not None:
            raise ApiError(1006)
        desk.check_account(request)
        now = desk.now()
        order = self.named(request)
        wait = self._time_to_live(request)
        if order is None:
            if not wait or not request.has("client_order_id"):
                raise ApiError(1004)
            self._bury(str(request.unsigned("client_order_id")), Ns(now + wait * MS), now)
            return _ACK
        if not order.live:
            if not desk.options.finished_cancel_acks:
                raise ApiError(1004)
            return _ACK
        desk.engine.cancel(now, order)
        if order.phase is Phase.OPEN and desk.fault("F22") is not None:
            self._fill_meanwhile(order, now)
        desk.kick()
        return _ACK

    def cancel_all(self, request: Fields) -> Json:
        """Answer ``/cancel_all_orders``: every live order that passes the filters."""
        desk = self._desk
        if desk.fault("F59") is not None:
            raise ApiError(1006)
        desk.check_account(request)
        takes = desk.symbol_filter(request)
        now = desk.now()
        for symbol in desk.engine.markets:
            if takes(symbol):
                desk.engine.cancel_all(now, desk.account_id, symbol)
        desk.kick()
        return _ACK

    def catch(self, order: SimOrder, client_id: str, now: Ns) -> None:
        """Cancel a new order that a tombstone waits for, before it can trade."""
        waiting = self._tombstones.pop(client_id, None)
        if waiting is not None and now < waiting.until:
            self._desk.engine.cancel(now, order)

    def countdown(self, request: Fields) -> Json:
        """Answer ``/cancel_on_disconnect``: arm, refresh or disarm the dead-man switch.

        Whole seconds count; up to 1000 ms disarms.

        Raises:
            ApiError: 6000 above 300 s.
        """
        desk = self._desk
        desk.check_account(request)
        asked = request.unsigned("countdown_time") or 0
        if asked > _MAX_COUNTDOWN_MS:
            raise ApiError(6000)
        if asked <= NANO // MS:
            self._countdown = None
            return _ACK
        seconds = asked // (NANO // MS)
        due = Ns(desk.clock() + seconds * NANO)
        self._countdown = due
        desk.at(due, lambda: self._lapse(due))
        return _ACK

    def _lapse(self, due: Ns) -> None:
        """Cancel everything, unless a later heartbeat moved the end."""
        if self._countdown != due:
            return
        self._countdown = None
        desk = self._desk
        for order in desk.engine.cancel_all(desk.now(), desk.account_id):
            order.request.extra["reason"] = _COD_REASON
        desk.kick()

    def _time_to_live(self, request: Fields) -> int:
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

    def _bury(self, client_id: str, until: Ns, now: Ns) -> None:
        """Keep a cancel for an order that has not arrived; only the first of them counts."""
        if client_id in self._tombstones:
            self._tell(client_id, "DROPPED_DUPLICATE", now)
            return
        stone = _Tombstone(client_id, until)
        self._tombstones[client_id] = stone
        self._desk.at(until, lambda: self._expire(stone))

    def _expire(self, stone: _Tombstone) -> None:
        if self._tombstones.get(stone.client_id) is stone:
            del self._tombstones[stone.client_id]
            self._tell(stone.client_id, "EXPIRED", self._desk.clock())

    def _tell(self, client_id: str, status: str, now: Ns) -> None:
        account = self._desk.sub_account
        self.publish(cancel_feed(account, client_id, NO_ORDER_ID, status, "CLIENT_CANCEL", now))

    def _fill_meanwhile(self, order: SimOrder, now: Ns) -> None:
        """Trade half of a resting order before its cancel takes effect (F22)."""
        new = order.request
        if new.px is None:
            return
        step = self._desk.engine.markets[new.symbol].instrument.step
        part = max(order.remaining // 2 // step * step, step)
        qty = Qty(order.queue_ahead + part)
        self._desk.engine.feed(now, new.symbol, MarketTrade(new.px, qty, new.side.opposite))

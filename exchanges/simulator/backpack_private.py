"""The private messages of Backpack: orders and positions of each account (venues.md B5).

Turns engine events into messages and applies the injected faults of the private streams; who hears
them is not decided here.
"""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from exchanges.simulator import backpack_frames as frames
from exchanges.simulator.backpack_desk import Desk
from exchanges.simulator.backpack_members import Member
from exchanges.simulator.backpack_orders import UNKNOWN_STATUS, reply_status
from exchanges.simulator.backpack_topics import Kind
from exchanges.simulator.backpack_triggers import Trigger, TriggerBook
from exchanges.simulator.backpack_words import Json
from exchanges.simulator.model import (
    EngineEvent,
    FundingSettled,
    OrderChanged,
    PositionChanged,
    SimPosition,
)
from strategy.domain import Ns, SignedQty, nano

Send = Callable[[Member, Kind, str, Json], None]
"""Told the account, the stream, the market and the message."""
Heard = Callable[[Member, Kind], bool]
"""Whether anybody listens to a stream of an account."""
_ODD_FEE = "SOL"
"""An asset that no fee of a perpetual is charged in (F28)."""


class PrivateFeed:
    """What the owners of accounts are told.

    Args:
        desk: the venue.
        triggers: its trigger orders.
        send: takes each message.
        heard: tells whether it would reach anybody, so that no fault is spent on nobody.
    """

    def __init__(self, desk: Desk, triggers: TriggerBook, send: Send, heard: Heard) -> None:
        self._desk = desk
        self._send = send
        self._heard = heard
        self._orders = frames.OrderFeed(desk.engine)
        self._late: list[tuple[Member, str, Json]] = []
        """Fill messages that F21 lets others overtake."""
        self._held = {
            (account.account_id, symbol): held.qty
            for account in desk.engine.accounts.values()
            for symbol, held in account.positions.items()
        }
        triggers.follow(self._on_trigger)
        desk.followers.append(self._on_order)

    def on_event(self, event: EngineEvent) -> None:
        """Take an event of the engine."""
        if isinstance(event, OrderChanged):
            self._on_order(event)
        elif isinstance(event, PositionChanged):
            self._on_position(event)
        elif isinstance(event, FundingSettled):
            self._on_funding(event)

    def positions(self, member: Member, symbol: str) -> list[Json]:
        """Return the push on subscribing: every open position, without ``e``."""
        now = self._desk.now()
        return [
            frames.position(self._desk.engine, member, held, None, (now, now))
            for held in shown_positions(self._desk, member)
            if symbol in ("", held.symbol)
        ]

    # --- orders ------------------------------------------------------------------------------

    def _on_order(self, event: OrderChanged) -> None:
        order = event.order
        member = self._desk.members.get(order.request.account)
        if member is None:
            return
        for data in self._orders.frames(event, self._desk.clock()):
            remainder = reply_status(order, self._desk.options)
            if remainder is not None and data["e"] == "orderExpired":
                data["X"] = remainder
            self._tell(member, order.request.symbol, data)

    def _on_trigger(self, word: str, trigger: Trigger, _at: Ns) -> None:
        member = self._desk.members[trigger.shape.request.account]
        data = self._orders.trigger(word, trigger, self._desk.clock())
        self._tell(member, trigger.plan.symbol, data)

    def _tell(self, member: Member, symbol: str, data: Json) -> None:
        if not self._heard(member, Kind.ORDERS):
            return
        if data["e"] == "orderFill":
            self._tell_fill(member, symbol, data)
            return
        if self._desk.fault("F29") is not None:
            data["X"] = UNKNOWN_STATUS
        self._send(member, Kind.ORDERS, symbol, data)
        self.flush()

    def _tell_fill(self, member: Member, symbol: str, data: Json) -> None:
        if self._desk.fault("F24") is not None:
            return
        self._spoil(data)
        if self._desk.fault("F21") is not None:
            self._late.append((member, symbol, data))
            return
        copies = 2 if self._desk.fault("F19") is not None else 1
        for _ in range(copies):
            self._send(member, Kind.ORDERS, symbol, data)
        self.flush()

    def flush(self) -> None:
        """Send the fills that something has overtaken by now."""
        late, self._late = self._late, []
        for member, symbol, data in late:
            self._send(member, Kind.ORDERS, symbol, data)

    def _spoil(self, data: Json) -> None:
        """Apply F23 (a cumulative size that cannot be) and F28 (a fee that should not be)."""
        wrong = self._desk.fault("F23")
        if wrong is not None:
            shrinks = wrong.get("mode") == "shrinks"
            data["z"] = "0" if shrinks else str(2 * Decimal(data["q"]))
        odd = self._desk.fault("F28")
        if odd is not None:
            fee, asset = f"-{data['n']}", str(odd.get("asset", _ODD_FEE))
            data |= {"n": fee, "N": asset}
            self._desk.odd_fees[int(data["t"])] = {"fee": fee, "feeSymbol": asset}

    # --- positions ---------------------------------------------------------------------------

    def _on_position(self, event: PositionChanged) -> None:
        member = self._desk.members.get(event.account)
        held = event.position
        key = (event.account, held.symbol)
        before = self._held.get(key, 0)
        self._held[key] = held.qty
        if member is None or not (before or held.qty):
            return
        word = frames.position_event(before, held.qty)
        self._tell_position(member, held, word, event.at)

    def _on_funding(self, event: FundingSettled) -> None:
        member = self._desk.members.get(event.account)
        if member is None or not self._desk.options.position_update_on_funding:
            return
        held = member.account.positions[event.symbol]
        self._tell_position(member, held, "positionAdjusted", event.at)

    def _tell_position(self, member: Member, held: SimPosition, word: str, at: Ns) -> None:
        if not self._heard(member, Kind.POSITIONS):
            return
        times = (self._desk.clock(), at)
        told = _mistaken(self._desk, held)
        data = frames.position(self._desk.engine, member, told, word, times)
        self._send(member, Kind.POSITIONS, held.symbol, data)


def shown_positions(desk: Desk, member: Member) -> list[SimPosition]:
    """Return the positions that the venue states: the open ones, or what F73 makes of them."""
    held = [each for each in member.account.positions.values() if each.qty]
    if not held and desk.peek("F73") is not None:
        symbol = next(iter(desk.engine.markets))
        held = [SimPosition(symbol, entry=desk.engine.mark(symbol))]
    return [_mistaken(desk, each) for each in held]


def _mistaken(desk: Desk, held: SimPosition) -> SimPosition:
    wrong = desk.fault("F73")
    if wrong is None:
        return held
    more = nano(str(wrong.get("size", "0.1")))
    return replace(held, qty=SignedQty(held.qty + (more if held.qty >= 0 else -more)))

"""Faults of the Backpack face that no request causes: the venue, or another hand, acts by itself.

They happen with the next request, or within a tenth of a second while a socket is connected. What
each does, and its settings, says ``fault_table``.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from exchanges.simulator.backpack_desk import Desk
from exchanges.simulator.backpack_members import Member
from exchanges.simulator.model import FundingSettled, MarketTrade, NewOrder, Origin, Refusal
from strategy.domain import NANO, Px, Qty, Quote, Side, Tif, nano, notional

_PARTS = 200
_FOREIGN_CLIENT_ID = "4000000001"
"""A client id that no client of ours chose."""
_LEVERAGE = 1
_FUNDING_PPM = 1_000
_ORIGINS = {"liquidation": Origin.LIQUIDATION, "adl": Origin.ADL}

Spec = Mapping[str, Any]


class Mischief:
    """Does what is injected, to the account that the fault names or to the main one.

    Args:
        desk: the venue.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.drop_sockets: Callable[[], None] = lambda: None
        """Set by whoever has the sockets."""
        self._taken_away: dict[str, Quote] = {}
        """Money that F71 keeps, by account."""
        self._acts: dict[str, Callable[[Member, Spec], None]] = {
            "F25": self._foreign,
            "F26": self._force,
            "F27": self._crumble,
            "F69": self._fail_over,
            "F70": self._fund,
            "F76": self._foreign,
            "F78": self._releverage,
        }
        self._able: dict[str, Callable[[Member], bool]] = {
            "F26": _holds_position,
            "F27": self._has_resting,
            "F70": _holds_position,
        }
        """When a fault can happen at all; until then it waits."""

    def act(self) -> None:
        """Do what is injected and possible now."""
        for name, do in self._acts.items():
            spec = self._desk.peek(name)
            if spec is None:
                continue
            member = self._desk.members.get(str(spec.get("account"))) or self._desk.members.main
            able = self._able.get(name)
            if able is None or able(member):
                self._desk.fault(name)
                do(member, spec)
        self._starve()

    def _has_resting(self, member: Member) -> bool:
        return bool(self._desk.engine.open_orders(member.id))

    def _foreign(self, member: Member, spec: Spec) -> None:
        """Trade ``size`` (default: the minimum) on ``side`` (default: buy) at market."""
        symbol, market = next(iter(self._desk.engine.markets.items()))
        size = Qty(nano(spec["size"])) if "size" in spec else market.instrument.min_qty
        side = Side.SELL if spec.get("side") == "sell" else Side.BUY
        new = NewOrder(
            member.id,
            symbol,
            side,
            size,
            None,
            Tif.IOC,
            client_id=_FOREIGN_CLIENT_ID,
            extra={"orderType": "Market"},
        )
        with suppress(Refusal):  # an empty or halted market: the other hand is refused as well
            self._desk.place(new)

    def _force(self, member: Member, spec: Spec) -> None:
        """Close every position as ``mode`` says: ``liquidation`` (default) or ``adl``."""
        origin = _ORIGINS[str(spec.get("mode", "liquidation"))]
        for symbol, held in list(member.account.positions.items()):
            if held.qty:
                now = self._desk.now()
                self._desk.engine.force_close(now, member.id, symbol, origin=origin)

    def _crumble(self, member: Member, spec: Spec) -> None:
        """Let the market trade the oldest resting order in many ``parts``, all at once."""
        engine = self._desk.engine
        order = engine.open_orders(member.id)[0]
        inst, new = engine.markets[order.request.symbol].instrument, order.request
        part = max(inst.floor_qty(order.remaining // int(spec.get("parts", _PARTS))), inst.step)
        # Through the order's price: what is queued ahead of it is not in the way.
        px = new.px or inst.tick
        through = Px(px - new.side.value * px // 100)
        while order.live and order.remaining:
            size = Qty(min(part, order.remaining))
            trade = MarketTrade(through, size, new.side.opposite)
            engine.feed(self._desk.now(), new.symbol, trade)

    def _fail_over(self, _member: Member, _spec: Spec) -> None:
        """Lose every open order and every socket."""
        for member in self._desk.members:
            for symbol in self._desk.engine.markets:
                self._desk.cancel_all(member, symbol)
        self.drop_sockets()

    def _fund(self, member: Member, spec: Spec) -> None:
        """Settle funding now, at ``ppm`` of the notional: positive is paid by longs."""
        now, engine = self._desk.now(), self._desk.engine
        rate = int(spec.get("ppm", _FUNDING_PPM)) * (NANO // 1_000_000)
        for symbol, held in member.account.positions.items():
            if held.qty:
                value = notional(engine.mark(symbol), held.qty)
                amount = Quote(-value * rate // NANO)
                # A debt beyond the free margin is cut to it: the engine lends nothing.
                amount = Quote(max(amount, -engine.available(member.id)))
                engine.deposit(member.id, amount)
                self._desk.funded(FundingSettled(member.id, symbol, amount, rate, now))

    def _releverage(self, member: Member, spec: Spec) -> None:
        """Set the account's leverage to ``leverage`` (default 1), whatever is open."""
        member.account.leverage = int(spec.get("leverage", _LEVERAGE))

    def _starve(self) -> None:
        """Take all free margin away while F71 is active, and give it back after."""
        spec = self._desk.peek("F71")
        if spec is None:
            for account, amount in self._taken_away.items():
                self._desk.engine.deposit(account, amount)
            self._taken_away.clear()
            return
        member = self._desk.members.get(str(spec.get("account"))) or self._desk.members.main
        if member.id not in self._taken_away:
            self._desk.fault("F71")
            self._desk.now()
            free = self._desk.engine.available(member.id)
            self._desk.engine.deposit(member.id, Quote(-free))
            self._taken_away[member.id] = free


def _holds_position(member: Member) -> bool:
    return any(held.qty for held in member.account.positions.values())

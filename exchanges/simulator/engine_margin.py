"""Margin of the simulated venues' accounts: what positions and orders ask for (venues.md A7, B3.3).

Imports ``strategy.domain`` and simulator modules only. All positions and resting orders of an
account share its equity (cross margin). Rates are ``Bps``, money is 1e-9 quote.
"""

from collections.abc import Iterable
from math import isqrt

from exchanges.simulator.margin import Ledger
from exchanges.simulator.model import NewOrder, Rules, SimAccount, SimOrder, SimPosition
from strategy.domain import (
    BPS_ONE,
    NANO,
    Bps,
    Instrument,
    Px,
    Qty,
    Quote,
    Side,
    Tif,
    notional,
)

_BPS_PER_NANO = BPS_ONE // NANO


class Margin:
    """Answers the margin questions of one venue.

    GRVT charges by risk bracket (``Rules.margin_tiers``, A4.1), Backpack by the square root of the
    notional (``initial_factor``, ``maintenance_factor``, B6); a leverage asks for at least its
    inverse of what opens.
    """

    def __init__(self, rules: Rules, accounts: dict[str, SimAccount], ledger: Ledger) -> None:
        self._rules = rules
        self._accounts = accounts
        self._ledger = ledger

    # --- rates --------------------------------------------------------------------------

    def leverage(self, account: SimAccount, symbol: str) -> int:
        """Return the account's leverage on a symbol."""
        return account.leverages.get(symbol, account.leverage)

    def initial_rate(self, account: SimAccount, symbol: str, value: int) -> Bps:
        """Return the rate that opening up to a notional needs."""
        rules = self._rules
        rate = max(rules.initial_margin, BPS_ONE // self.leverage(account, symbol))
        if rules.initial_factor:
            rate = max(rate, _root_rate(rules.initial_factor, value))
        for tier in rules.margin_tiers:
            if value < tier.floor:
                break
            rate = max(rate, tier.initial)
        return Bps(rate)

    def maintenance_of(self, value: int) -> Quote:
        """Return the maintenance margin of one position's notional."""
        rules = self._rules
        rate, cumulative = rules.maintenance_margin, 0
        if rules.maintenance_factor:
            rate = max(rate, _root_rate(rules.maintenance_factor, value))
        for tier in rules.margin_tiers:
            if value < tier.floor:
                break
            rate, cumulative = tier.maintenance, tier.cumulative
        return Quote(max(_share(value, rate) - cumulative, 0))

    def rates(self, account_id: str, symbol: str, px: Px, qty: int) -> tuple[int, int]:
        """Return (initial, maintenance) fractions in 1e-9 of a position's notional."""
        value = abs(notional(px, qty))
        initial = self.initial_rate(self._accounts[account_id], symbol, value)
        if value:
            return initial // _BPS_PER_NANO, self.maintenance_of(value) * NANO // value
        return initial // _BPS_PER_NANO, self._rules.maintenance_margin // _BPS_PER_NANO

    # --- margin -------------------------------------------------------------------------

    def initial(
        self, account_id: str, live: Iterable[SimOrder], extra: NewOrder | None = None
    ) -> Quote:
        """Return the initial margin of positions and live orders, optionally with one more.

        Per symbol it is the larger of long exposure with open buys and short exposure with open
        sells (venues.md A7), times the rate of that exposure. Reduce-only orders need none.
        """
        account = self._accounts[account_id]
        buys: dict[str, int] = {}
        sells: dict[str, int] = {}
        for order in live:
            if not order.request.reduce_only:
                self._count(order.request, order.remaining, buys, sells)
        if extra is not None and not extra.reduce_only:
            self._count(extra, extra.qty, buys, sells)
        total = 0
        for symbol in dict.fromkeys([*account.positions, *buys, *sells]):
            held = account.positions.get(symbol)
            value = self._value(held)
            exposure = max(value + buys.get(symbol, 0), sells.get(symbol, 0) - value)
            if exposure:
                total += _share(exposure, self.initial_rate(account, symbol, exposure))
        return Quote(total)

    def _count(
        self, request: NewOrder, qty: Qty, buys: dict[str, int], sells: dict[str, int]
    ) -> None:
        px = self._ledger.mark(request.symbol) if request.px is None else request.px
        bucket = buys if request.side is Side.BUY else sells
        bucket[request.symbol] = bucket.get(request.symbol, 0) + notional(px, qty)

    def of_position(self, account_id: str, symbol: str) -> tuple[Quote, Quote]:
        """Return (initial, maintenance) margin of one position at the mark."""
        account = self._accounts[account_id]
        value = abs(self._value(account.positions.get(symbol)))
        initial = _share(value, self.initial_rate(account, symbol, value))
        return Quote(initial), self.maintenance_of(value)

    def maintenance(self, account_id: str) -> Quote:
        """Return the maintenance margin of the positions at the mark."""
        held = self._accounts[account_id].positions.values()
        return Quote(sum(self.maintenance_of(abs(self._value(p))) for p in held if p.qty))

    def breached(self, account_id: str) -> bool:
        """True when a position is open and equity is below the maintenance margin."""
        required = self.maintenance(account_id)
        return bool(required) and self._ledger.equity(account_id) < required

    def _value(self, position: SimPosition | None) -> int:
        if position is None:
            return 0
        return notional(self._ledger.price(position), position.qty)

    # --- prices and sizes ---------------------------------------------------------------

    def bankruptcy(self, account_id: str, symbol: str) -> int:
        """Return the price at which closing the position leaves no equity; it may be negative.

        It is rounded in the account's favour, so that the close leaves no debt.
        """
        position = self._accounts[account_id].positions[symbol]
        room = self._ledger.equity(account_id) * NANO // abs(position.qty)
        mark = self._ledger.price(position)
        return mark - room if position.qty > 0 else mark + room

    def liquidation_price(self, account_id: str, symbol: str) -> Px | None:
        """Return the mark at which equity meets the maintenance margin, other marks unchanged.

        The rate is that of the position's notional now. None without a position or such a price.
        """
        position = self._accounts[account_id].positions.get(symbol)
        if position is None or not position.qty:
            return None
        mark, qty = self._ledger.price(position), position.qty
        required = self.maintenance_of(abs(notional(mark, qty)))
        rate = required * NANO // max(abs(notional(mark, qty)), 1)
        others = self.maintenance(account_id) - required
        room = (self._ledger.equity(account_id) - others) * NANO - qty * mark
        # equity(px) = others + |qty| * px * rate, solved for px; long below, short above the mark.
        slope = qty * NANO - abs(qty) * rate
        px = -room * NANO // slope if slope else 0
        return Px(px) if px > 0 else None

    def largest(
        self, account_id: str, live: list[SimOrder], instrument: Instrument, side: Side, px: Px
    ) -> Qty:
        """Return the largest order, in whole steps, that equity covers or that adds no margin."""
        allowed = max(self._ledger.equity(account_id), self.initial(account_id, live))
        if px <= 0:
            return Qty(0)

        def fits(steps: int) -> bool:
            qty = Qty(steps * instrument.step)
            order = NewOrder(account_id, instrument.symbol, side, qty, px, Tif.GTC)
            return self.initial(account_id, live, order) <= allowed

        high = 1
        while fits(high):
            high *= 2
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return Qty(low * instrument.step)

    def reducible(self, account_id: str, instrument: Instrument, side: Side) -> Qty:
        """Return the largest reduce-only order, in whole steps."""
        return instrument.floor_qty(self._ledger.reducible(account_id, instrument.symbol, side))


def _root_rate(factor: int, value: int) -> Bps:
    """Return ``factor * sqrt(value)``, the factor in 1e-9 and the value in 1e-9 quote."""
    return Bps(factor * isqrt(value * NANO) * _BPS_PER_NANO // NANO)


def _share(value: int, rate: int) -> int:
    return value * rate // BPS_ONE

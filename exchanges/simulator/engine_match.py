"""Matching: takers against the book, recorded trades and crossings against resting orders.

Imports ``strategy.domain`` and simulator modules only. An execution is told as order and position
of the maker, then of the taker, then the public trade; the book follows when the step is done.
"""

from dataclasses import dataclass
from enum import Enum, auto

from exchanges.simulator.engine_book import SymbolBook
from exchanges.simulator.engine_checks import affordable, check_reduces, state_refuses
from exchanges.simulator.engine_fees import FeeTable
from exchanges.simulator.engine_margin import Margin
from exchanges.simulator.engine_state import EngineState
from exchanges.simulator.levels import BookSide
from exchanges.simulator.margin import FREE, Booked, Ledger, Terms
from exchanges.simulator.model import (
    Deny,
    Ended,
    MarketTrade,
    OrderChanged,
    Origin,
    Phase,
    PositionChanged,
    PublicTrade,
    Refusal,
    SelfTrade,
    SimFill,
    SimOrder,
)
from strategy.domain import BPS_ONE, Bps, Ns, Px, Qty, Quote, Side, Tif, notional


class _Stop(Enum):
    """Why a taker stopped."""

    DONE = auto()
    EMPTY = auto()
    LIMIT = auto()
    SELF = auto()


@dataclass(frozen=True, slots=True)
class _Deal:
    """One execution about to happen; a side that is None belongs to the recorded market."""

    execution: int
    px: Px
    qty: Qty
    taker_side: Side
    maker: SimOrder | None
    taker: SimOrder | None
    assigned: bool = False
    """Deleveraging: no fees, no public trade."""


class Matcher:
    """Executes orders on the books of one venue."""

    def __init__(self, state: EngineState, ledger: Ledger, margin: Margin, fees: FeeTable) -> None:
        self._state = state
        self._ledger = ledger
        self._margin = margin
        self._fees = fees

    # --- an order reaches the book ------------------------------------------------------

    def arrive(self, order: SimOrder, now: Ns) -> None:
        """Let a pending order act on the book: reject, rest, or take and then rest or end."""
        if not self._admit(order, now):
            return
        new = order.request
        book = self._state.books[new.symbol]
        opposite = book.side(new.side.opposite)
        limit = self._limit(opposite, order)
        if new.post_only and new.px is not None:
            best = opposite.best()
            if best is not None and limit is not None and best >= limit:
                self._state.finish(
                    order, Phase.REJECTED, Ended.POST_ONLY, now, Deny.POST_ONLY_CROSS
                )
            else:
                self._state.open(order, now, new.px)
            return
        order.phase = Phase.OPEN
        if new.tif is Tif.FOK:
            short = self._fok_short(opposite, order, limit)
            if short is not None:
                self._state.finish(order, Phase.CANCELLED, short, now)
                return
        self._conclude(order, self._sweep(book, order, limit, now), now)

    def _admit(self, order: SimOrder, now: Ns) -> bool:
        """Check again what may have changed while the order waited (venues.md A5.4)."""
        new, state = order.request, self._state
        if new.expires_at is not None and new.expires_at <= now:
            state.finish(order, Phase.CANCELLED, Ended.EXPIRED, now)
            return False
        if state_refuses(state.markets[new.symbol].state, new):
            state.finish(order, Phase.REJECTED, Ended.MARKET_CLOSED, now, Deny.MARKET_CLOSED)
            return False
        if new.reduce_only:
            try:
                check_reduces(self._ledger, new)
            except Refusal as refusal:
                state.finish(order, Phase.REJECTED, Ended.REDUCE_ONLY, now, refusal.deny)
                return False
            allowed = self._ledger.reducible(new.account, new.symbol, new.side)
            if order.remaining > allowed:
                state.shrink(order, allowed, now)
        elif not self._covered(order):
            state.finish(order, Phase.REJECTED, Ended.MARGIN, now, Deny.INSUFFICIENT_MARGIN)
            return False
        return True

    def _covered(self, order: SimOrder) -> bool:
        """True when margin still covers the order, which is itself among the live ones."""
        account = order.request.account
        if affordable(self._state, self._ledger, self._margin, None, account):
            return True
        live = self._state.live[account].values()
        without = [each for each in live if each is not order]
        return self._margin.initial(account, live) <= self._margin.initial(account, without)

    def _limit(self, opposite: BookSide, order: SimOrder) -> int | None:
        """Return the worst key the order may take; a market order stops at the impact bound."""
        if order.request.px is not None:
            return opposite.key(order.request.px)
        best = opposite.best()
        if best is None:
            return None
        # Rounding the distance down keeps the bound inside the stated impact.
        return best - abs(best) * self._state.rules.market_impact // BPS_ONE

    def _fok_short(self, opposite: BookSide, order: SimOrder, limit: int | None) -> Ended | None:
        """Return why a fill-or-kill order cannot fill whole, or None when it can."""
        account, mode = order.request.account, _self_trade(order)
        available = 0
        for key in opposite.walk():
            if limit is not None and key < limit:
                break
            ahead = own = 0
            for each in opposite.own.get(key, ()):
                if each.request.account != account or mode is SelfTrade.ALLOW:
                    ahead += each.remaining
                elif mode is SelfTrade.REJECT_MAKER:
                    own += each.remaining
                else:
                    reached = available + each.queue_ahead + ahead
                    return None if reached >= order.remaining else Ended.SELF_TRADE
            available += opposite.displayed(key) - own
            if available >= order.remaining:
                return None
        return Ended.FOK

    def sweep(self, order: SimOrder, limit: int | None, now: Ns) -> None:
        """Let a forced order take down to a key (None: all of the book) and end it."""
        book = self._state.books[order.request.symbol]
        self._conclude(order, self._sweep(book, order, limit, now), now)

    def assign(self, victim: SimOrder | None, order: SimOrder, qty: Qty, px: Px, now: Ns) -> None:
        """Trade a forced order with another one, or with the rest of the market, off the book."""
        execution = self._state.begin_execution()
        deal = _Deal(execution, px, qty, order.request.side, victim, order, assigned=True)
        self._execute(deal, order.request.symbol, now)

    def _sweep(self, book: SymbolBook, taker: SimOrder, limit: int | None, now: Ns) -> _Stop:
        side = book.side(taker.request.side.opposite)
        execution = self._state.begin_execution()
        while taker.remaining:
            key = side.best()
            if key is None:
                return _Stop.EMPTY
            if limit is not None and key < limit:
                return _Stop.LIMIT
            queue = side.own.get(key)
            head = queue[0] if queue else None
            if head is not None and not head.queue_ahead:
                if _prevented(taker, head):
                    if self._stops_at_own(taker, head, now):
                        return _Stop.SELF
                    continue
                qty, maker = min(head.remaining, taker.remaining), head
            else:
                room = side.effective(key) if head is None else head.queue_ahead
                qty, maker = Qty(min(room, taker.remaining)), None
                side.consume(key, qty)
            deal = _Deal(execution, side.px(key), qty, taker.request.side, maker, taker)
            self._execute(deal, taker.request.symbol, now)
        return _Stop.DONE

    def _stops_at_own(self, taker: SimOrder, maker: SimOrder, now: Ns) -> bool:
        """Prevent a self-trade as the taker asks (venues.md B4); True when the taker stops."""
        mode = _self_trade(taker)
        if mode is not SelfTrade.REJECT_TAKER:
            self._state.finish(maker, Phase.CANCELLED, Ended.SELF_TRADE, now)
        return mode is not SelfTrade.REJECT_MAKER

    def _conclude(self, order: SimOrder, stop: _Stop, now: Ns) -> None:
        """End or rest what is left of a taker."""
        new = order.request
        if not order.live:
            return
        if stop is _Stop.SELF:
            self._state.finish(order, Phase.CANCELLED, Ended.SELF_TRADE, now)
        elif new.px is None:
            ended = Ended.PRICE_IMPACT if stop is _Stop.LIMIT else Ended.MARKET
            self._state.finish(order, Phase.CANCELLED, ended, now)
        elif new.tif is Tif.GTC:
            self._state.open(order, now, new.px)
        else:
            ended = Ended.IOC if new.tif is Tif.IOC else Ended.FOK
            self._state.finish(order, Phase.CANCELLED, ended, now)

    # --- the recorded market meets resting orders ---------------------------------------

    def record_trade(self, symbol: str, event: MarketTrade, now: Ns) -> None:
        """Let a recorded trade reach our resting orders; print it, our part at our prices.

        One budget, best price first: orders better than the trade's price fill at once, those at it
        after the size queued ahead of them has traded.
        """
        book = self._state.books[symbol]
        px, budget = book.print_of(event)
        side = book.asks if event.taker is Side.BUY else book.bids
        limit = px * side.sign
        execution = self._state.begin_execution()
        while budget:
            key = side.best_own()
            if key is None or key < limit:
                break
            head = side.own[key][0]
            if key == limit and head.queue_ahead:
                passed = Qty(min(head.queue_ahead, budget))
                side.move_up(key, passed)
                self._print(symbol, px, passed, event.taker, execution, now)
                budget = Qty(budget - passed)
                continue
            qty = Qty(min(head.remaining, budget))
            budget = Qty(budget - qty)
            deal = _Deal(execution, side.px(key), qty, event.taker, head, None)
            self._execute(deal, symbol, now)
        if budget:
            self._print(symbol, px, budget, event.taker, execution, now)

    def _print(self, symbol: str, px: Px, qty: Qty, taker: Side, execution: int, now: Ns) -> None:
        self._state.books[symbol].last_price = px
        trade_id = self._state.next_trade_id(execution)
        self._state.emit(PublicTrade(symbol, trade_id, px, qty, taker, now))

    def uncross(self, symbol: str, now: Ns) -> None:
        """Fill resting orders that the external market now crosses or meets, at their own price."""
        book = self._state.books[symbol]
        bid, ask = book.bids.best(), book.asks.best()
        if bid is None or ask is None or bid + ask < 0:
            return
        book.drop_stale()
        for side in (book.bids, book.asks):
            market = book.side(side.side.opposite)
            execution = self._state.begin_execution()
            while True:
                own, ext = side.best_own(), market.best_ext()
                if own is None or ext is None or own + ext < 0:
                    break
                head = side.own[own][0]
                qty = Qty(min(market.effective(ext), head.remaining))
                market.consume(ext, qty)
                deal = _Deal(execution, side.px(own), qty, market.side, head, None)
                self._execute(deal, symbol, now)

    # --- one execution ------------------------------------------------------------------

    def _execute(self, deal: _Deal, symbol: str, now: Ns) -> None:
        trade_id = self._state.next_trade_id(deal.execution)
        events: list[OrderChanged | PositionChanged] = []
        for order in (deal.maker, deal.taker):
            if order is not None:
                events += self._fill(order, deal, trade_id, now)
        if not deal.assigned:
            self._state.books[symbol].last_price = deal.px
        for event in events:
            self._state.emit(event)
        if not deal.assigned:
            self._tell_trade(deal, symbol, trade_id, now)
        for order in (deal.maker, deal.taker):
            if order is not None:
                self._trim_reducers(order.request.account, symbol, now)

    def _tell_trade(self, deal: _Deal, symbol: str, trade_id: str, now: Ns) -> None:
        self._state.emit(
            PublicTrade(
                symbol,
                trade_id,
                deal.px,
                deal.qty,
                deal.taker_side,
                now,
                "" if deal.maker is None else deal.maker.order_id,
                "" if deal.taker is None else deal.taker.order_id,
            )
        )

    def _fill(
        self, order: SimOrder, deal: _Deal, trade_id: str, now: Ns
    ) -> tuple[OrderChanged, PositionChanged]:
        new = order.request
        maker = order is deal.maker
        booked = self._book(order, deal, now, maker=maker)
        order.cum = Qty(order.cum + deal.qty)
        order.cum_quote = Quote(order.cum_quote + notional(deal.px, deal.qty))
        order.fee = Quote(order.fee + booked.fee)
        order.builder_fee = Quote(order.builder_fee + booked.builder_fee)
        order.first_fill_at = now if order.first_fill_at is None else order.first_fill_at
        order.last_fill_at = now
        order.updated_at = now
        if not order.remaining:
            self._state.retire(order, Phase.FILLED, Ended.FILLED, now)
        if maker and new.px is not None:
            self._state.books[new.symbol].side(new.side).touched(new.px)
        origin = _origin(order)
        fill = SimFill(
            trade_id=trade_id,
            order_id=order.order_id,
            account=new.account,
            symbol=new.symbol,
            side=new.side,
            qty=deal.qty,
            px=deal.px,
            fee=booked.fee,
            is_maker=maker,
            realized=booked.realized,
            at=now,
            forced=origin is not Origin.USER,
            builder_fee=booked.builder_fee,
            origin=origin,
        )
        self._state.fills.append(fill)
        changed = OrderChanged(order, now, fill)
        return changed, PositionChanged(new.account, booked.position, now)

    def _book(self, order: SimOrder, deal: _Deal, now: Ns, *, maker: bool) -> Booked:
        """Charge and book one side of an execution."""
        new = order.request
        account = self._state.accounts[new.account]
        terms = FREE if deal.assigned else self._terms(order, now, maker=maker)
        self._fees.traded(account, notional(deal.px, deal.qty), now)
        return self._ledger.fill(new.account, new.symbol, new.side, deal.qty, deal.px, terms)

    def _terms(self, order: SimOrder, now: Ns, *, maker: bool) -> Terms:
        account = self._state.accounts[order.request.account]
        rate = self._fees.rates(account, now)[0 if maker else 1]
        extra = order.request.extra
        if extra.get("forced"):
            return Terms(rate, self._state.rules.liquidation_fee)
        builder_fee = extra.get("builder_fee")
        if isinstance(builder_fee, int) and builder_fee:
            return Terms(rate, Bps(0), str(extra.get("builder", "")), Bps(builder_fee))
        return Terms(rate)

    def _trim_reducers(self, account: str, symbol: str, now: Ns) -> None:
        """Shrink or end resting reduce-only orders that the position no longer covers."""
        for order in list(self._state.live[account].values()):
            new = order.request
            if not new.reduce_only or new.symbol != symbol or order.phase is not Phase.OPEN:
                continue
            allowed = self._ledger.reducible(account, symbol, new.side)
            if not allowed:
                self._state.finish(order, Phase.CANCELLED, Ended.REDUCE_ONLY, now)
            elif order.remaining > allowed:
                self._state.shrink(order, Qty(order.cum + allowed), now)


def _self_trade(order: SimOrder) -> SelfTrade:
    """Return what the order asks for when it meets one of its own account."""
    mode = order.request.extra.get("self_trade", SelfTrade.REJECT_TAKER)
    return mode if isinstance(mode, SelfTrade) else SelfTrade.REJECT_TAKER


def _prevented(taker: SimOrder, maker: SimOrder) -> bool:
    """True when the two are of one account that does not trade with itself."""
    own = maker.request.account == taker.request.account
    return own and _self_trade(taker) is not SelfTrade.ALLOW


def _origin(order: SimOrder) -> Origin:
    """Return who sent an order; a maker that a forced order meets traded of its own will."""
    extra = order.request.extra
    if not extra.get("forced"):
        return Origin.USER
    origin = extra.get("origin", Origin.LIQUIDATION)
    return origin if isinstance(origin, Origin) else Origin.LIQUIDATION

"""One hedger against a recorded market: the venue's rules for a handful of orders, nothing else.

The rules are the simulated venue's own (a test holds the two together): a taker waits for latency
and speed bump, walks the displayed size, and the hole it leaves refills only as the record shows; a
maker waits behind the size displayed ahead of it, which recorded trades consume and withdrawals
shorten from behind, and fills on trades at or through its price or when the record crosses it.
"""

from dataclasses import dataclass, field, replace
from enum import Enum, auto

from daemon.bench.track import Moment
from strategy.domain import Book, Bps, Level, Ns, Px, Qty, Quote, Side, Trade, notional
from strategy.flow import displayed


@dataclass(frozen=True, slots=True)
class Costs:
    """What the venue charges and how long it takes; the same for every router."""

    maker_fee: Bps
    taker_fee: Bps
    latency: Ns
    bump: Ns
    """Extra wait of an order that is not post-only."""


class Stage(Enum):
    """Life of a bench order."""

    SENT = auto()
    OPEN = auto()
    DONE = auto()


@dataclass(slots=True)
class BenchOrder:
    """One order. Only ``Exchange`` changes it."""

    number: int
    px: Px
    qty: Qty
    post_only: bool
    ioc: bool
    due: Ns
    """When it acts on the book."""
    stage: Stage = Stage.SENT
    ahead: Qty = Qty(0)
    cum: Qty = Qty(0)
    crossed: bool = False
    """Refused: it would have crossed."""
    cancel_due: Ns | None = None

    @property
    def left(self) -> Qty:
        """Size that has not traded."""
        return Qty(self.qty - self.cum)


@dataclass(frozen=True, slots=True)
class BenchFill:
    """One execution."""

    order: BenchOrder
    px: Px
    qty: Qty
    fee: Quote
    maker: bool
    at: Ns


@dataclass(slots=True)
class Exchange:
    """The venue as one hedger of one side meets it."""

    side: Side
    costs: Costs
    step: Qty
    """Size grid: executions are multiples of it."""
    book: Book
    orders: list[BenchOrder] = field(default_factory=list)
    fills: list[BenchFill] = field(default_factory=list)
    _taken: dict[Px, tuple[Qty, Qty]] = field(default_factory=dict)
    """By price: what we took of the displayed size, and the size the record showed then."""
    _shown: Book | None = None

    # --- orders ---------------------------------------------------------------------------

    def place(self, px: Px, qty: Qty, now: Ns, *, post_only: bool, ioc: bool) -> BenchOrder:
        """Send an order."""
        wait = self.costs.latency + (0 if post_only else self.costs.bump)
        order = BenchOrder(len(self.orders), px, qty, post_only, ioc, Ns(now + wait))
        self.orders.append(order)
        return order

    def cancel(self, order: BenchOrder, now: Ns) -> None:
        """Send a cancel; it takes the latency."""
        if order.cancel_due is None and order.stage is not Stage.DONE:
            order.cancel_due = Ns(now + self.costs.latency)

    def live(self) -> list[BenchOrder]:
        """Return orders that may still trade."""
        return [o for o in self.orders if o.stage is not Stage.DONE]

    def next_due(self) -> Ns | None:
        """Return when something sent takes effect."""
        live = self.live()
        dues = [o.due for o in live if o.stage is Stage.SENT] + [o.cancel_due for o in live]
        return min((due for due in dues if due is not None), default=None)

    def advance(self, now: Ns) -> None:
        """Let everything due by ``now`` take effect."""
        for order in self.live():
            cancel = order.cancel_due
            overtaken = cancel is not None and cancel < order.due  # a taker waits for its bump
            if order.stage is Stage.SENT and order.due <= now and not overtaken:
                self._arrive(order, now)
            if order.stage is not Stage.DONE and cancel is not None and cancel <= now:
                self._end(order)

    def _arrive(self, order: BenchOrder, now: Ns) -> None:
        facing = self._facing()
        crosses = bool(facing) and (order.px - facing[0][0]) * self.side.value >= 0
        if order.post_only and crosses:
            order.crossed = True
            self._end(order)
            return
        order.stage = Stage.OPEN
        if crosses:
            self._take(order, facing, now)
        if order.stage is Stage.OPEN and order.ioc:
            self._end(order)
        elif order.stage is Stage.OPEN:
            order.ahead = displayed(self.book.side(self.side.opposite), order.px, self.side)
            self._shown = None

    def _take(self, order: BenchOrder, facing: tuple[Level, ...], now: Ns) -> None:
        for px, size in facing:
            if (px - order.px) * self.side.value > 0 or not order.left:
                return
            qty = Qty(min(size, order.left))
            taken, _ = self._taken.get(px, (Qty(0), Qty(0)))
            shown = displayed(self.book.side(self.side), px, self.side.opposite)
            self._taken[px] = (Qty(taken + qty), shown)
            self._fill(order, px, qty, now, maker=False)

    def _fill(self, order: BenchOrder, px: Px, qty: Qty, now: Ns, *, maker: bool) -> None:
        rate = self.costs.maker_fee if maker else self.costs.taker_fee
        fee = Quote(notional(px, qty) * rate // 10_000_000_000)
        order.cum = Qty(order.cum + qty)
        self._shown = None
        self.fills.append(BenchFill(order, px, qty, fee, maker, now))
        if not order.left:
            self._end(order)

    def _end(self, order: BenchOrder) -> None:
        order.stage = Stage.DONE
        self._shown = None

    # --- the record ---------------------------------------------------------------------

    def observe(self, moment: Moment) -> None:
        """Let the recorded market move on: its trade first, or its new book."""
        resting = self._resting()
        if moment.trade is not None:
            self._traded(resting, moment.trade)
            return
        self._refill(moment.book.value)
        self.book = moment.book.value
        self._shown = None
        own = self.book.side(self.side.opposite)
        for order in resting:
            order.ahead = min(order.ahead, displayed(own, order.px, self.side, unseen=order.ahead))
            facing = self._facing()
            if facing and (order.px - facing[0][0]) * self.side.value >= 0:
                self._crossed(order, facing, moment.at)

    def _resting(self) -> list[BenchOrder]:
        """Return resting orders as the market reaches them: best price first, then oldest."""
        resting = [o for o in self.orders if o.stage is Stage.OPEN]
        return sorted(resting, key=lambda o: (-o.px * self.side.value, o.due))

    def _traded(self, resting: list[BenchOrder], trade: Trade) -> None:
        """Let one trade reach our orders: its size serves all of them together."""
        budget: int = trade.qty if trade.taker is not self.side else 0
        for order in resting:
            beyond = (order.px - trade.px) * self.side.value
            if beyond < 0:
                return
            if not beyond:
                passed = min(order.ahead, budget)
                budget -= passed
                for each in resting:
                    if each.px == order.px:
                        each.ahead = Qty(max(each.ahead - passed, 0))
            qty = Qty(min(budget, order.left) // self.step * self.step)
            if qty:
                budget -= qty
                self._fill(order, order.px, qty, trade.at, maker=True)

    def _crossed(self, order: BenchOrder, facing: tuple[Level, ...], now: Ns) -> None:
        """The record came to our price: its size there trades with us, at our price."""
        for px, size in facing:
            if (order.px - px) * self.side.value < 0 or not order.left:
                return
            qty = Qty(min(size, order.left))
            taken, _ = self._taken.get(px, (Qty(0), Qty(0)))
            self._taken[px] = (Qty(taken + qty), size)
            self._fill(order, order.px, qty, now, maker=True)

    def _refill(self, book: Book) -> None:
        """Carry what we took over to the next book: a level gives back only what it gained."""
        for px, (taken, before) in list(self._taken.items()):
            shown = displayed(book.side(self.side), px, self.side.opposite)
            effective = min(max(before - taken + shown - before, 0), shown)
            if shown - effective <= 0:
                del self._taken[px]
            else:
                self._taken[px] = (Qty(shown - effective), shown)

    # --- what the hedger sees -----------------------------------------------------------

    def _facing(self) -> tuple[Level, ...]:
        """Return the levels that a taker meets, without what we took."""
        levels = self.book.side(self.side)
        if not self._taken:
            return levels
        net = [(px, Qty(size - self._taken.get(px, (0, 0))[0])) for px, size in levels]
        return tuple([level for level in net if level[1] > 0])

    def view(self) -> Book:
        """Return the displayed book: net of what we took, with our own resting orders."""
        if self._shown is None:
            self._shown = self._displayed()
        return self._shown

    def _displayed(self) -> Book:
        resting = [o for o in self.orders if o.stage is Stage.OPEN]
        if not resting and not self._taken:
            return self.book
        own = dict(self.book.side(self.side.opposite))
        for order in resting:
            own[order.px] = Qty(own.get(order.px, 0) + order.left)
        joined = tuple(sorted(own.items(), reverse=self.side is Side.BUY))
        if self.side is Side.BUY:
            return replace(self.book, bids=joined, asks=self._facing())
        return replace(self.book, asks=joined, bids=self._facing())

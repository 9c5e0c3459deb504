"""The matching engine of one simulated venue: the implementation of ``api.Engine``.

Imports ``strategy.domain`` and simulator modules only. It reads no clock: time is the ``now``
of each call, and what is due happens in (time, sequence) order at its own time. The injected
generator is used for ids only, so the same calls give the same output.

It trades against a recording. A level shows what the recording shows, less what our takers consumed
of it; resting orders wait behind the size displayed before them and fill by recorded trades, by
other accounts, or when the recorded book crosses them.
"""

import random  # noqa: TID251 - the type of the injected, seeded generator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from heapq import heappop, heappush

from exchanges.simulator.engine_accounts import AccountDesk
from exchanges.simulator.engine_checks import check
from exchanges.simulator.engine_liquidation import Liquidator
from exchanges.simulator.engine_match import Matcher
from exchanges.simulator.engine_state import HALTED
from exchanges.simulator.model import (
    Ended,
    FundingSettled,
    Listener,
    Market,
    MarketBook,
    MarketEvent,
    NewOrder,
    Origin,
    Phase,
    Refusal,
    Rules,
    SimAccount,
    SimOrder,
)
from strategy.domain import Level, Ns, Px, Qty


class _Kind(Enum):
    ARRIVE = auto()
    CANCEL = auto()
    EXPIRE = auto()
    FUNDING = auto()


@dataclass(frozen=True, slots=True)
class _Work:
    """Something due; ``ended`` is the reason that a cancel or expiry gives."""

    kind: _Kind
    order: SimOrder | None = None
    ended: Ended = Ended.CLIENT_CANCEL

    @property
    def stale(self) -> bool:
        """True when the order ended before its work was due."""
        return self.order is not None and not self.order.live


class MatchingEngine(AccountDesk):
    """One simulated venue; see ``api.Engine`` for the contract of the methods it shares.

    A listener may read anything and call ``place``, ``cancel`` and ``cancel_all``: they only queue.

    Args:
        rules: How the venue behaves.
        markets: What it lists.
        rng: Seeded generator for order and trade ids.
        now: Unix ns; the first funding is due at the next multiple of the interval after it.
    """

    def __init__(
        self, rules: Rules, markets: Sequence[Market], rng: random.Random, now: Ns
    ) -> None:
        super().__init__(rules, markets, rng, now)
        self.orders = self._state.orders
        self.fills = self._state.fills
        self._matcher = Matcher(self._state, self._ledger, self._margin, self._fees)
        self._liquidator = Liquidator(self._state, self._ledger, self._margin, self._matcher)
        self._checked = dict.fromkeys(self.markets, 0)
        """The mark of each symbol when accounts were last looked at."""
        self._queue: list[tuple[Ns, int, _Work]] = []
        self._sequence = 0
        self._busy = False
        self._schedule(self._funding.next_at(now), _Work(_Kind.FUNDING))
        for symbol, market in self.markets.items():
            self._state.books[symbol].frozen = market.state in HALTED

    def subscribe(self, listener: Listener) -> None:
        """Call ``listener`` synchronously with every event, in order."""
        self._state.listeners.append(listener)

    # --- orders -------------------------------------------------------------------------

    def place(self, now: Ns, new: NewOrder) -> SimOrder:
        """Take an order at the gateway; it reaches the book at ``due_at``, one latency later.

        Every order that is not post-only waits the venue's taker delay on top (venues.md A5.5, F).
        The account counts every order received, and as rejected those refused here or at the book.

        Raises:
            Refusal: the venue refuses it before acknowledging; no order exists.
            KeyError: unknown account.
        """
        now = self._reach(now)
        account = self.accounts[new.account]
        account.orders_received += 1
        try:
            check(self._state, self._ledger, self._margin, now, new)
        except Refusal:
            account.orders_rejected += 1
            raise
        delay = self._gateway(new.account, now)
        due = Ns(now + delay + (0 if new.post_only else self.rules.taker_delay))
        order = self._state.create(new, now, due)
        self._schedule(due, _Work(_Kind.ARRIVE, order))
        if new.expires_at is not None:
            self._schedule(new.expires_at, _Work(_Kind.EXPIRE, order, Ended.EXPIRED))
        return order

    def cancel(self, now: Ns, order: SimOrder, ended: Ended = Ended.CLIENT_CANCEL) -> None:
        """Take a cancel at the gateway; effective one latency later if the order is still live.

        It can overtake a taker that waits for its delay. ``ended`` is the reason to record.
        """
        now = self._reach(now)
        if order.live:
            due = Ns(now + self._gateway(order.request.account, now))
            self._schedule(due, _Work(_Kind.CANCEL, order, ended))

    def cancel_all(
        self,
        now: Ns,
        account: str,
        symbol: str | None = None,
        ended: Ended = Ended.CLIENT_BULK_CANCEL,
    ) -> list[SimOrder]:
        """Cancel every live order of the account, pending ones included; returns those affected."""
        now = self._reach(now)
        found = [
            order
            for order in self._state.live[account].values()
            if symbol is None or order.request.symbol == symbol
        ]
        due = Ns(now + self._gateway(account, now))
        for order in found:
            self._schedule(due, _Work(_Kind.CANCEL, order, ended))
        return found

    def _gateway(self, account: str, now: Ns) -> Ns:
        """Return how long a request of the account takes from the gateway to the book."""
        del account, now
        return self.rules.latency

    def find(self, account: str, client_id: str) -> SimOrder | None:
        """Return the newest order with that client id."""
        return self._state.newest.get((account, client_id))

    def open_orders(self, account: str, symbol: str | None = None) -> list[SimOrder]:
        """Return resting orders (phase OPEN), oldest first."""
        return [
            order
            for order in self._state.live[account].values()
            if order.phase is Phase.OPEN and (symbol is None or order.request.symbol == symbol)
        ]

    # --- time ---------------------------------------------------------------------------

    def advance(self, now: Ns) -> None:
        """Do everything due up to ``now``, in time order; nothing when called by a listener."""
        if self._busy:
            return
        if self._queue and self._queue[0][0] <= now:
            with self._exclusive():
                self._run_due(now)
        self._now = max(self._now, now)

    def next_due(self) -> Ns | None:
        """Return when ``advance`` next has something to do (at the latest, the next funding)."""
        while self._queue and self._queue[0][2].stale:
            heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def _reach(self, now: Ns) -> Ns:
        """Advance, and return the engine's time, which never runs backwards."""
        self.advance(now)
        return max(now, self._now)

    def _run_due(self, now: Ns) -> None:
        while self._queue and self._queue[0][0] <= now:
            at, _, work = heappop(self._queue)
            if work.stale:
                continue
            self._now = max(self._now, at)
            self._do(work, self._now)
            self._settle(self._now)

    def _do(self, work: _Work, at: Ns) -> None:
        if work.order is None:
            self._fund(at)
        elif work.kind is _Kind.ARRIVE:
            self._matcher.arrive(work.order, at)
        else:
            self._state.finish(work.order, Phase.CANCELLED, work.ended, at)

    def _schedule(self, at: Ns, work: _Work) -> None:
        self._sequence += 1
        heappush(self._queue, (at, self._sequence, work))

    def _exclusive(self) -> "MatchingEngine":
        if self._busy:
            raise RuntimeError("a listener must not move the market: queue it and do it afterwards")
        self._busy = True
        return self

    def __enter__(self) -> None:
        """Move the market, alone: only through ``_exclusive``."""

    def __exit__(self, *_: object) -> None:
        self._busy = False

    def _settle(self, now: Ns) -> None:
        """Publish the books, then close accounts below maintenance margin until none is left."""
        moved = self._publish(now)
        while self._liquidator.run(now, moved=moved):
            moved = self._publish(now)

    def _publish(self, now: Ns) -> bool:
        """Tell what changed; returns whether a mark moved by a tick or more."""
        moved = False
        sample = now >= self._funding.due
        for symbol, book in self._state.books.items():
            changed = book.publish(symbol, now)
            if changed is not None:
                self._state.emit(changed)
            if abs(book.mark - self._checked[symbol]) >= book.instrument.tick:
                self._checked[symbol] = book.mark
                moved = True
            if sample:
                self._funding.sample(symbol, book.mark, now)
        return moved

    # --- the market ---------------------------------------------------------------------

    def feed(self, now: Ns, symbol: str, event: MarketEvent) -> None:
        """Apply one event of the external market, after everything due before it.

        While the market is halted, books are remembered but not shown, and trades are ignored.

        Raises:
            KeyError: unknown symbol.
        """
        if self._queue and self._queue[0][0] <= now:
            self.advance(now)
        self._now = max(self._now, now)
        self._exclusive()
        try:
            book = self._state.books[symbol]
            if isinstance(event, MarketBook):
                if not book.glide(symbol, event, self._now):
                    book.apply(event)
                if book.reached and not book.frozen:
                    self._matcher.uncross(symbol, self._now)
            elif not book.frozen:
                self._matcher.record_trade(symbol, event, self._now)
                if not book.dirty:
                    return
            self._settle(self._now)
        finally:
            self._busy = False

    def set_market(
        self,
        now: Ns,
        symbol: str,
        *,
        shift_bps: int | None = None,
        halt: bool | None = None,
        liquidity: int | None = None,
    ) -> None:
        """Shift the external market, halt or resume it, or scale its sizes.

        Each setting is absolute and stays until set again: ``shift_bps`` in whole basis points from
        the recording (0 undoes it), ``liquidity`` in 1e-9 of the recording (``NANO`` undoes it, 0
        empties the book). A shift or scale set while the market is halted shows when it resumes.

        Raises:
            KeyError: unknown symbol.
            ValueError: a shift of -10000 or less, or a negative liquidity.
        """
        self.advance(now)
        with self._exclusive():
            book = self._state.books[symbol]
            book.transform(shift_bps, liquidity)
            if halt is not None:
                self._halt(symbol, halt)
            if not book.frozen:
                book.rebuild()
                self._matcher.uncross(symbol, self._now)
            self._settle(self._now)

    def _halt(self, symbol: str, halt: bool) -> None:
        market = self.markets[symbol]
        instrument = replace(market.instrument, tradable=not halt)
        state = "CancelOnly" if halt else "Open"
        self.markets[symbol] = replace(market, instrument=instrument, state=state)
        self._state.books[symbol].frozen = halt

    def book(self, symbol: str, depth: int) -> tuple[list[Level], list[Level]]:
        """Return displayed bids and asks, best first, own orders included."""
        book = self._state.books[symbol]
        return book.bids.levels(depth), book.asks.levels(depth)

    def update_id(self, symbol: str) -> int:
        """Return the id of the symbol's last ``BookChanged``; 0 before the first."""
        return self._state.books[symbol].update_id

    def touch(self, symbol: str) -> tuple[Px | None, Px | None]:
        """Return the best displayed bid and ask."""
        return self._state.books[symbol].touch()

    def last_price(self, symbol: str) -> Px | None:
        """Return the last traded price."""
        return self._state.books[symbol].last_price

    # --- funding and forced closes ------------------------------------------------------

    def _fund(self, at: Ns) -> None:
        self._schedule(self._funding.next_at(at), _Work(_Kind.FUNDING))
        for symbol, book in self._state.books.items():
            self._pay(symbol, self._funding.settle(symbol, book.mark, at), at, self.accounts)

    def settle_funding(self, now: Ns, symbol: str, rate: int, account: str | None = None) -> None:
        """Settle funding out of turn at ``rate`` (1e-9 of notional), for one account or all.

        The running interval and the history are left as they are.

        Raises:
            KeyError: unknown symbol or account.
        """
        self.advance(now)
        who = self.accounts if account is None else {account: self.accounts[account]}
        with self._exclusive():
            self._pay(self.markets[symbol].instrument.symbol, rate, self._now, who)
            self._settle(self._now)

    def _pay(self, symbol: str, rate: int, at: Ns, accounts: Mapping[str, SimAccount]) -> None:
        for name, account in accounts.items():
            position = account.positions.get(symbol)
            if position is not None and position.qty:
                amount = self._ledger.fund(name, symbol, rate)
                self._state.emit(FundingSettled(name, symbol, amount, rate, at))

    def force_close(
        self,
        now: Ns,
        account: str,
        symbol: str,
        *,
        origin: Origin = Origin.LIQUIDATION,
        qty: Qty | None = None,
    ) -> SimOrder | None:
        """Close a position (or ``qty`` of it) as the venue would; None when there is none.

        A liquidation cancels the account's orders and trades with the book; ADL trades with the
        rest of the market at the mark, off the book.

        Raises:
            ValueError: the origin is USER, or ``qty`` is not positive.
            KeyError: unknown account.
        """
        if origin is Origin.USER or (qty is not None and qty <= 0):
            raise ValueError(f"cannot force {qty} as {origin.value}")
        self.advance(now)
        with self._exclusive():
            order = self._liquidator.force(account, symbol, origin, qty, self._now)
            self._settle(self._now)
        return order

"""The engine as a universe runs it: it tells when it has work, and delays news and requests.

Imports ``strategy.domain`` and simulator modules only. The delays sit between the engine and those
who listen to it, so that both faces, on the wire and in-process, have them alike. Whoever reads the
engine's records (orders, positions, balances) reads the truth; whoever listens, or reads the public
book, learns of it as late as the latency model says.
"""

from collections.abc import Callable
from functools import partial

from exchanges.simulator.engine import MatchingEngine
from exchanges.simulator.latency import Courier, frozen
from exchanges.simulator.model import (
    BookChanged,
    Ended,
    EngineEvent,
    Listener,
    NewOrder,
    SimOrder,
)
from strategy.domain import Level, Ns, Px, Qty

Post = Callable[[Ns, Callable[[], None]], None]
"""Calls back at a Unix ns of the simulation."""


class DelayedEngine(MatchingEngine):
    """A matching engine that wakes its driver and tells its news by courier.

    Attributes:
        woken: called when the engine was given work, so that nobody need poll it.
        prompt: True until the market has begun: the first books are known to everybody.
    """

    woken: Callable[[], None] | None = None
    prompt = True
    _courier: Courier | None = None
    _post: Post | None = None
    _audience: list[Listener]
    _public: dict[str, tuple[dict[int, int], dict[int, int]]]

    def send_by(self, courier: Courier, post: Post) -> None:
        """Delay requests and news from here on; call it before anybody subscribes."""
        self._courier = courier
        self._post = post
        self._audience = []
        self._public = {symbol: ({}, {}) for symbol in self.markets}
        super().subscribe(self._told)

    def subscribe(self, listener: Listener) -> None:
        """Call ``listener`` with every event, in order, when the news reaches the streams.

        A method of an object with a true attribute ``inside`` is a part of the venue: it hears at
        once.
        """
        inside = getattr(getattr(listener, "__self__", None), "inside", False)
        if self._courier is None or inside:
            super().subscribe(listener)
        else:
            self._audience.append(listener)

    def place(self, now: Ns, new: NewOrder) -> SimOrder:
        """Take an order at the gateway, as ``MatchingEngine.place`` does."""
        order = super().place(now, new)
        self._wake()
        return order

    def cancel(self, now: Ns, order: SimOrder, ended: Ended = Ended.CLIENT_CANCEL) -> None:
        """Take a cancel at the gateway, as ``MatchingEngine.cancel`` does."""
        super().cancel(now, order, ended)
        self._wake()

    def cancel_all(
        self,
        now: Ns,
        account: str,
        symbol: str | None = None,
        ended: Ended = Ended.CLIENT_BULK_CANCEL,
    ) -> list[SimOrder]:
        """Cancel every live order, as ``MatchingEngine.cancel_all`` does."""
        affected = super().cancel_all(now, account, symbol, ended)
        self._wake()
        return affected

    def book(self, symbol: str, depth: int) -> tuple[list[Level], list[Level]]:
        """Return the displayed book as it is known outside."""
        if self._courier is None or not self._courier.public_late:
            return super().book(symbol, depth)
        bids, asks = self._public[symbol]
        best_bids = sorted(bids.items(), reverse=True)[:depth]
        best_asks = sorted(asks.items())[:depth]
        return (
            [(Px(px), Qty(size)) for px, size in best_bids],
            [(Px(px), Qty(size)) for px, size in best_asks],
        )

    def _gateway(self, account: str, now: Ns) -> Ns:
        if self._courier is None:
            return super()._gateway(account, now)
        return self._courier.request(account, now)

    def _told(self, event: EngineEvent) -> None:
        if self._courier is None or self._post is None:
            raise RuntimeError("news without a courier: call send_by first")
        late = self._courier.late and not self.prompt
        at = self._courier.news(event, event.at) if late else event.at
        if at <= event.at:
            self._deliver(event)
        else:
            self._post(at, partial(self._deliver, frozen(event)))

    def _deliver(self, event: EngineEvent) -> None:
        if isinstance(event, BookChanged):
            for held, levels in zip(
                self._public[event.symbol], (event.bids, event.asks), strict=True
            ):
                held.update(levels)
                for px, size in levels:
                    if not size:
                        held.pop(px, None)
        for listener in self._audience:
            listener(event)

    def _wake(self) -> None:
        if self.woken is not None:
            self.woken()

"""One symbol's simulated book: both sides, and the recorded market that feeds them.

Imports ``strategy.domain`` and simulator modules only; it knows prices and sizes, never accounts.
"""

from exchanges.simulator.compiled import CompiledBook
from exchanges.simulator.levels import BookSide
from exchanges.simulator.model import BookChanged, MarketBook, MarketTrade
from strategy.domain import BPS_ONE, BPS_UNIT, NANO, Instrument, Level, Ns, Px, Qty, Side

_MOST_WAITING = 8192
"""Compiled changes that the raw recording may lack, to bound memory."""


class SymbolBook:
    """Displayed book of one instrument, with the transforms that ``set_market`` asks for.

    The recording is kept as recorded (``raw``), so that a shift or a scale can change at any time.
    External sizes are floored to the instrument's step, as a venue with that step shows them, so
    that no fill can leave a position that the venue's own step cannot close.
    """

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.bids = BookSide(Side.BUY)
        self.asks = BookSide(Side.SELL)
        self.update_id = 0
        self.mark = Px(0)
        """Last mid of a two-sided book; 0 before the first."""
        self.last_price: Px | None = None
        self.frozen = False
        """While the market is halted the displayed external side stays; the recording goes on."""
        self._shift = 0
        self._liquidity = NANO
        self._messages = 0
        self._raw: dict[Side, dict[int, int]] = {Side.BUY: {}, Side.SELL: {}}
        self._crumbs: dict[Side, tuple[Px, int]] = {}
        self._raw_waiting: list[CompiledBook] = []
        """Changes that ``_raw`` lacks still, oldest first."""
        self._run: object = None
        """The run of compiled changes that ``_raw`` follows, and how far it is."""
        self._number = 0
        self._even = False
        """True when the external side shows exactly what ``_raw`` holds, floored to the step."""
        self._told: BookChanged | None = None
        """What ``publish`` is to return, when ``glide`` has worked it out."""
        self.reached = True
        """False when the last change of the recording cannot have reached an order of ours."""
        self._taken: CompiledBook | None = None
        """The change that ``glide`` took without telling, because it reaches our orders."""

    def side(self, side: Side) -> BookSide:
        """Return the bids for BUY and the asks for SELL."""
        return self.bids if side is Side.BUY else self.asks

    def touch(self) -> tuple[Px | None, Px | None]:
        """Return the best displayed bid and ask."""
        bid, ask = self.bids.best(), self.asks.best()
        return None if bid is None else Px(bid), None if ask is None else Px(-ask)

    @property
    def dirty(self) -> bool:
        """True when the display may have changed since ``publish``."""
        return self.bids.dirty or self.asks.dirty

    def apply(self, event: MarketBook) -> None:
        """Apply a recorded snapshot or delta; crossings are left to the matcher."""
        self._messages += 1
        self.reached = True
        follows = (
            isinstance(event, CompiledBook)
            and event.run is self._run
            and event.after == self._number
        )
        if event.snapshot:
            self._raw_waiting.clear()
        self._catch_up()
        self._even = not self.frozen and self._plain and (self._even or event.snapshot)
        self._run = None
        if isinstance(event, CompiledBook) and (follows or event.snapshot):
            self._run, self._number = event.run, event.number
        for side, levels in ((self.bids, event.bids), (self.asks, event.asks)):
            if event.snapshot:
                self._replace(side, levels)
            else:
                self._change(side, levels)

    def glide(self, symbol: str, event: MarketBook, now: Ns) -> bool:
        """Apply a change that was worked out for the book as it is; False when it was not.

        What ``publish`` will tell is worked out here too, unless the change reaches our orders:
        then the matcher comes first.
        """
        if not isinstance(event, CompiledBook) or event.run is not self._run:
            return False
        bid, ask = event.bid, event.ask
        if event.after != self._number or not self._even or bid is None or ask is None:
            return False
        if self.frozen or self._told is not None or self._taken is not None:
            return False
        bids, asks = self.bids, self.asks
        best_bid, best_ask = bids.best_after(bid), asks.best_after(ask)
        self.reached = best_bid is None or best_ask is None or best_bid + best_ask >= 0
        self._messages += 1
        self._number = event.number
        self._keep(event)
        if best_bid is None or best_ask is None or best_bid + best_ask >= 0:
            self._taken = event
            bids.take(bid, self._messages, told=False)
            asks.take(ask, self._messages, told=False)
            if best_bid is None:
                bids.catch_up()
            if best_ask is None:
                asks.catch_up()
            return True
        ours = bids.take(bid, self._messages, told=True), asks.take(ask, self._messages, told=True)
        self.mark = Px((best_bid - best_ask) // 2)
        told_bids = bids.told(bid) if ours[0] else bid.levels
        told_asks = asks.told(ask) if ours[1] else ask.levels
        if told_bids or told_asks:
            self.update_id += 1
            self._told = BookChanged(symbol, told_bids, told_asks, now, self.update_id)
        return True

    def _keep(self, event: CompiledBook) -> None:
        if event.snapshot:
            self._raw_waiting.clear()
        self._raw_waiting.append(event)
        if len(self._raw_waiting) > _MOST_WAITING:
            self._catch_up()

    def _replace(self, side: BookSide, levels: tuple[Level, ...]) -> None:
        raw = self._raw[side.side]
        raw.clear()
        raw.update((px, size) for px, size in levels if size > 0)
        if not self.frozen:
            side.reset(self._image(side), self._messages, forget=False)

    def _change(self, side: BookSide, levels: tuple[Level, ...]) -> None:
        raw = self._raw[side.side]
        for px, size in levels:
            old = raw.get(px, 0)
            if size:
                raw[px] = size
            elif old:
                del raw[px]
            change = self._size(size) - self._size(old)
            if not self.frozen and (change or size):
                side.record(self._key(side, px), change, self._messages)

    def _catch_up(self) -> None:
        for event in self._raw_waiting:
            for side, levels in ((Side.BUY, event.bids), (Side.SELL, event.asks)):
                raw = self._raw[side]
                if event.snapshot:
                    raw.clear()
                raw.update(levels)
                for px, size in levels:
                    if not size:
                        raw.pop(px, None)
        self._raw_waiting.clear()

    @property
    def _plain(self) -> bool:
        return not self._shift and self._liquidity == NANO

    def rebuild(self) -> None:
        """Show the recording anew, e.g. after a halt, a shift or a scale."""
        self._messages += 1
        self._catch_up()
        for side in (self.bids, self.asks):
            side.reset(self._image(side), self._messages, forget=True)
        self._even = not self.frozen and self._plain

    def transform(self, shift_bps: int | None, liquidity: int | None) -> None:
        """Set the shift (whole basis points from the recording) and the scale of sizes (NANO is 1).

        Raises:
            ValueError: the shift would make prices non-positive, or the scale is negative.
        """
        self._even = False
        if shift_bps is not None:
            if shift_bps * BPS_UNIT <= -BPS_ONE:
                raise ValueError(f"shift_bps {shift_bps} leaves no price: use more than -10000")
            self._shift = shift_bps * BPS_UNIT
        if liquidity is not None:
            if liquidity < 0:
                raise ValueError(f"liquidity {liquidity} is negative: use 0 or more")
            self._liquidity = liquidity

    def print_of(self, event: MarketTrade) -> tuple[Px, Qty]:
        """Return price and size of a recorded trade as this market shows it.

        Trades below one step are gathered per side and price until they make a step; the size is 0
        until then.
        """
        if not self._crumbs and self._plain:
            instrument = self.instrument
            if not event.qty % instrument.step and not event.px % instrument.tick:
                return event.px, event.qty
        maker = self.side(event.taker.opposite)
        px = maker.px(self._key(maker, event.px))
        scaled = event.qty * self._liquidity // NANO
        crumb_px, crumb = self._crumbs.get(event.taker, (px, 0))
        if crumb_px == px:
            scaled += crumb
        qty = scaled // self.instrument.step * self.instrument.step
        self._crumbs.pop(event.taker, None)
        if scaled != qty:
            self._crumbs[event.taker] = (px, scaled - qty)
        return px, Qty(qty)

    def drop_stale(self) -> None:
        """Resolve external bids and asks that meet: the levels recorded longer ago are gone."""
        while True:
            bid, ask = self.bids.best_ext(), self.asks.best_ext()
            if bid is None or ask is None or bid + ask < 0:
                return
            if self.bids.stamp(bid) < self.asks.stamp(ask):
                self._drop(self.bids, bid)
            else:
                self._drop(self.asks, ask)

    def publish(self, symbol: str, now: Ns) -> BookChanged | None:
        """Return what changed on display since the last call, and renew the mark."""
        told = self._told
        if told is not None:
            self._told = None
            return told
        taken, self._taken = self._taken, None
        if taken is None and not self.bids.dirty and not self.asks.dirty:
            return None
        bid, ask = self.bids.best(), self.asks.best()
        if bid is not None and ask is not None:
            self.mark = Px((bid - ask) // 2)
        if taken is None or taken.bid is None or taken.ask is None:
            bids, asks = self.bids.changes(), self.asks.changes()
        else:
            bids, asks = self.bids.told(taken.bid), self.asks.told(taken.ask)
        if not bids and not asks:
            return None
        self.update_id += 1
        return BookChanged(symbol, bids, asks, now, self.update_id)

    def _drop(self, side: BookSide, key: int) -> None:
        self._run = None
        raw = self._raw[side.side]
        for px in [px for px in raw if self._key(side, px) == key]:
            del raw[px]
        side.drop(key)

    def _image(self, side: BookSide) -> dict[int, int]:
        image: dict[int, int] = {}
        for px, size in self._raw[side.side].items():
            shown = self._size(size)
            if shown:
                key = self._key(side, px)
                image[key] = image.get(key, 0) + shown
        return image

    def _size(self, size: int) -> int:
        if self._liquidity != NANO:
            size = size * self._liquidity // NANO
        return size // self.instrument.step * self.instrument.step

    def _key(self, side: BookSide, px: int) -> int:
        if self._shift:
            px = px * (BPS_ONE + self._shift) // BPS_ONE
        tick = self.instrument.tick
        # Flooring the key moves bids down and asks up: rounding alone can never cross the book.
        return px * side.sign // tick * tick

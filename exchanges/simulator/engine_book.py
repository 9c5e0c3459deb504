"""One symbol's simulated book: both sides, and the recorded market that feeds them.

Imports ``strategy.domain`` and simulator modules only; it knows prices and sizes, never accounts.
"""

from exchanges.simulator.levels import BookSide
from exchanges.simulator.model import BookChanged, MarketBook, MarketTrade
from strategy.domain import BPS_ONE, BPS_UNIT, NANO, Instrument, Ns, Px, Qty, Side


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

    def side(self, side: Side) -> BookSide:
        """Return the bids for BUY and the asks for SELL."""
        return self.bids if side is Side.BUY else self.asks

    def touch(self) -> tuple[Px | None, Px | None]:
        """Return the best displayed bid and ask."""
        bid, ask = self.bids.best(), self.asks.best()
        return (
            None if bid is None else self.bids.px(bid),
            None if ask is None else self.asks.px(ask),
        )

    def apply(self, event: MarketBook) -> None:
        """Apply a recorded snapshot or delta; crossings are left to the matcher."""
        self._messages += 1
        for side, levels in ((self.bids, event.bids), (self.asks, event.asks)):
            raw = self._raw[side.side]
            if event.snapshot:
                raw.clear()
                raw.update((px, size) for px, size in levels if size > 0)
                if not self.frozen:
                    side.reset(self._image(side), self._messages)
                continue
            for px, size in levels:
                old = raw.get(px, 0)
                if size:
                    raw[px] = size
                elif old:
                    del raw[px]
                change = self._size(size) - self._size(old)
                if not self.frozen and (change or size):
                    side.record(self._key(side, px), change, self._messages)

    def rebuild(self) -> None:
        """Show the recording anew, e.g. after a halt, a shift or a scale."""
        self._messages += 1
        for side in (self.bids, self.asks):
            side.reset(self._image(side), self._messages)

    def transform(self, shift_bps: int | None, liquidity: int | None) -> None:
        """Set the shift (whole basis points from the recording) and the scale of sizes (NANO is 1).

        Raises:
            ValueError: the shift would make prices non-positive, or the scale is negative.
        """
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
        maker = self.side(event.taker.opposite)
        px = maker.px(self._key(maker, event.px))
        scaled = event.qty * self._liquidity // NANO
        crumb_px, crumb = self._crumbs.get(event.taker, (px, 0))
        if crumb_px == px:
            scaled += crumb
        qty = scaled // self.instrument.step * self.instrument.step
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
        if not self.bids.dirty and not self.asks.dirty:
            return None
        bid, ask = self.touch()
        if bid is not None and ask is not None:
            self.mark = Px((bid + ask) // 2)
        bids, asks = self.bids.changes(), self.asks.changes()
        if not bids and not asks:
            return None
        self.update_id += 1
        return BookChanged(symbol, bids, asks, now, self.update_id)

    def _drop(self, side: BookSide, key: int) -> None:
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

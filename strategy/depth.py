"""Book walking: touch, cumulative depth, and the price at which a size can be had.

Pure; imports ``strategy.domain`` only. Sizes are unsigned, prices and sizes in 1e-9 units.
"""

from dataclasses import dataclass

from strategy.domain import (
    BPS_ONE,
    Book,
    Bps,
    Instrument,
    Level,
    Px,
    Qty,
    Side,
    ratio_bps,
)

DEPTHS = (10, 50, 100, 500)
"""Levels per side that the hedge venue serves (venues.md A4.1); walks never look further."""


@dataclass(frozen=True, slots=True)
class Bbo:
    """Best bid and offer. ``spread`` is in quote per base."""

    bid: Px
    bid_qty: Qty
    ask: Px
    ask_qty: Qty

    @property
    def spread(self) -> Px:
        """Ask minus bid."""
        return Px(self.ask - self.bid)

    @property
    def mid(self) -> Px:
        """Midpoint, rounded down to 1e-9."""
        return Px((self.bid + self.ask) // 2)

    @property
    def spread_bps(self) -> Bps:
        """Spread relative to the mid."""
        return ratio_bps(self.spread, self.mid)

    def touch(self, taker: Side) -> Px:
        """Return the price that a taker of that side pays first."""
        return self.ask if taker is Side.BUY else self.bid


@dataclass(frozen=True, slots=True)
class DepthAnalysis:
    """What a walk over the first ``depth`` levels finds for a target size."""

    taker: Side
    target: Qty
    available: Qty
    """Cumulative size of all levels looked at."""
    levels: int
    """Levels used: as many as the target needs, or all of them."""
    worst: Px
    """Price of the last level used."""
    vwap: Px
    """Average price of the size that can be had, rounded against the taker."""
    filled: Qty
    """min(target, available)."""


@dataclass(frozen=True, slots=True)
class HedgePrice:
    """A limit price at which cumulative size covers the target within the cap."""

    px: Px
    qty: Qty
    touch: Px
    vwap: Px
    slippage: Bps
    """Of the expected VWAP from the touch; positive is worse."""
    levels: int
    available: Qty
    """Cumulative size within the cap."""


@dataclass(frozen=True, slots=True)
class InsufficientLiquidity:
    """The book cannot give ``need`` within ``cap``; ``available`` is what it can give."""

    need: Qty
    available: Qty
    cap: Bps
    why: str
    """``no_book``, ``empty``, ``one_sided``, ``crossed``, ``exhausted`` or ``beyond_cap``."""
    partial: HedgePrice | None = None
    """How to take what there is, when it is worth an order."""


def fetch_bbo(book: Book) -> Bbo | None:
    """Return the touch of a two-sided book, or None: a one-sided book has no spread and no mid."""
    if not book.bids or not book.asks:
        return None
    (bid, bid_qty), (ask, ask_qty) = book.bids[0], book.asks[0]
    return Bbo(bid, bid_qty, ask, ask_qty)


def calculate_slippage_bps(taker: Side, reference: Px, price: Px) -> Bps:
    """Return how much worse than ``reference`` a taker's ``price`` is; negative is better."""
    return ratio_bps((price - reference) * taker.value, reference)


def cap_price(taker: Side, touch: Px, cap: Bps, instrument: Instrument) -> Px:
    """Return the worst price within ``cap`` of the touch, on the tick and never beyond the cap."""
    scaled = touch * (BPS_ONE + cap * taker.value)
    exact = scaled // BPS_ONE if taker is Side.BUY else -(-scaled // BPS_ONE)
    return instrument.price_toward(taker, exact)


def _vwap(taker: Side, cost: int, filled: int) -> Px:
    """Average price of ``cost`` (price x size) over ``filled``, rounded against the taker."""
    return Px(-(-cost // filled) if taker is Side.BUY else cost // filled)


def _walk(
    levels: tuple[Level, ...], target: Qty, taker: Side, limit: Px | None, depth: int
) -> DepthAnalysis:
    """Accumulate levels, best first, until the target is covered or the limit price is passed."""
    available = filled = cost = used = 0
    worst = levels[0][0] if levels else Px(0)
    sign: int = taker.value
    for px, qty in levels[:depth]:
        if limit is not None and (px - limit) * sign > 0:
            break
        available += qty
        if filled < target:
            take = min(target - filled, qty)
            filled += take
            cost += px * take
            used += 1
            worst = px
    vwap = _vwap(taker, cost, filled) if filled else worst
    return DepthAnalysis(taker, target, Qty(available), used, worst, vwap, Qty(filled))


def analyze_order_book_depth(
    book: Book, taker: Side, target: Qty, depth: int = 50
) -> DepthAnalysis:
    """Walk up to ``depth`` levels (10, 50, 100 or 500) by cumulative size.

    Raises:
        ValueError: ``depth`` is not one that the hedge venue serves.
    """
    if depth not in DEPTHS:
        raise ValueError(f"depth {depth} is not one of {DEPTHS}")
    return _walk(book.side(taker), target, taker, None, depth)


def sweep_vwap(book: Book, taker: Side, target: Qty, cap: Bps, instrument: Instrument) -> Px | None:
    """Return the average price of taking ``target`` now, or None when the cap holds size back.

    Looks no deeper than it must: what every routing decision asks, where
    ``find_hedge_price_with_liquidity`` also says what else there is.
    """
    levels = book.side(taker)
    limit = cap_price(taker, levels[0][0], cap, instrument)
    sign: int = taker.value
    left: int = target
    cost = 0
    for px, qty in levels:
        if (px - limit) * sign > 0:
            return None
        if qty >= left:
            return _vwap(taker, cost + px * left, target)
        left -= qty
        cost += px * qty
    return None


def find_hedge_price_with_liquidity(
    book: Book | None,
    taker: Side,
    target: Qty,
    max_slippage: Bps,
    instrument: Instrument,
) -> HedgePrice | InsufficientLiquidity:
    """Return the price at which cumulative size reaches ``target`` within the cap.

    The cap is measured from the touch; the limit returned is the price of the last level needed,
    so that a book that moves away meanwhile cannot fill worse than what was decided.
    """
    flaw = _flaw(book, taker)
    if book is None or flaw:
        return InsufficientLiquidity(target, Qty(0), max_slippage, flaw)
    levels = book.side(taker)
    touch = levels[0][0]
    limit = cap_price(taker, touch, max_slippage, instrument)
    walk = _walk(levels, target, taker, limit, DEPTHS[-1])
    if walk.available >= target:
        return _priced(walk, taker, touch, target)
    why = "beyond_cap" if len(levels) > walk.levels else "exhausted"
    within = instrument.floor_qty(walk.available)
    partial = None
    if instrument.hedgeable(within, touch):
        part = _walk(levels, within, taker, limit, DEPTHS[-1])
        partial = _priced(part, taker, touch, within)
    return InsufficientLiquidity(target, walk.available, max_slippage, why, partial)


def _flaw(book: Book | None, taker: Side) -> str:
    """Say why a book cannot price anything; empty when it can."""
    if book is None:
        return "no_book"
    if not book.side(taker):
        return "empty"
    if not book.side(taker.opposite):
        return "one_sided"
    return "" if book.sane else "crossed"


def _priced(walk: DepthAnalysis, taker: Side, touch: Px, qty: Qty) -> HedgePrice:
    return HedgePrice(
        px=walk.worst,
        qty=qty,
        touch=touch,
        vwap=walk.vwap,
        slippage=calculate_slippage_bps(taker, touch, walk.vwap),
        levels=walk.levels,
        available=walk.available,
    )


def absorbable(book: Book | None, taker: Side, cap: Bps, instrument: Instrument) -> Qty:
    """Return how much a taker of that side can have within ``cap`` right now, on the step."""
    if book is None or _flaw(book, taker):
        return Qty(0)
    levels = book.side(taker)
    limit = cap_price(taker, levels[0][0], cap, instrument)
    total = 0
    for px, qty in levels:
        if (px - limit) * taker.value > 0:
            break
        total += qty
    return instrument.floor_qty(total)


def taker_cost(
    book: Book | None, taker: Side, qty: Qty, cap: Bps, fee: Bps, instrument: Instrument
) -> Bps | None:
    """Return the cost against the mid, fee included, of taking ``qty`` now; None if impossible."""
    found = find_hedge_price_with_liquidity(book, taker, qty, cap, instrument)
    if book is None or book.mid is None or isinstance(found, InsufficientLiquidity):
        return None
    return Bps(calculate_slippage_bps(taker, book.mid, found.vwap) + fee)

"""The bounded roll-back: clips of capped LIMIT IOCs, never an unpriced order.

Pure; imports domain, depth and params only, so that ``safety`` may use it (ADR 0005).
"""

from dataclasses import dataclass

from strategy.depth import InsufficientLiquidity, cap_price, find_hedge_price_with_liquidity
from strategy.domain import (
    NANO,
    Book,
    Bps,
    Draft,
    Instrument,
    Purpose,
    Px,
    Qty,
    Quote,
    Side,
    Tif,
    Venue,
)
from strategy.params import Params


def chunk_size(params: Params, px: Px, instrument: Instrument) -> Qty:
    """Return the largest roll-back order: 0.2 ETH, or 600 quote units of another base.

    Never less than the venue trades: an exposure could not be closed at all then.
    """
    least = max(instrument.step, instrument.min_qty)
    if params.base_is_eth:
        return max(instrument.floor_qty(params.chunk), least)
    return max(instrument.floor_qty(_units(params.chunk_notional, px)), least)


def _units(amount: Quote, px: Px) -> int:
    return amount * NANO // px


@dataclass(frozen=True, slots=True)
class Rollback:
    """One bounded roll-back: what to trade where, how far from the touch, for which hedge."""

    venue: Venue
    taker: Side
    qty: Qty
    reduce_only: bool
    cap: Bps
    hedge_id: int


def place_market_order(
    roll: Rollback, book: Book | None, instrument: Instrument, params: Params
) -> Draft | InsufficientLiquidity:
    """Build the next clip of a roll-back: a capped LIMIT IOC of at most one chunk, never unpriced.

    Takes what is there when the cap does not cover a whole clip.
    """
    touch = book.side(roll.taker)[0][0] if book and book.side(roll.taker) else Px(0)
    clip = roll.qty
    if touch:
        clip = Qty(min(roll.qty, chunk_size(params, touch, instrument)))
        rest = roll.qty - clip
        if rest and not instrument.hedgeable(rest, touch):
            clip = roll.qty  # never leave a rest that could not be closed
    found = find_hedge_price_with_liquidity(book, roll.taker, clip, roll.cap, instrument)
    if isinstance(found, InsufficientLiquidity):
        if found.partial is None:
            return found
        found = found.partial
    return Draft(
        venue=roll.venue,
        side=roll.taker,
        qty=found.qty,
        px=cap_price(roll.taker, found.touch, roll.cap, instrument),
        tif=Tif.IOC,
        post_only=False,
        reduce_only=roll.reduce_only,
        purpose=Purpose.UNWIND,
        touch=found.touch,
        life=params.hedge_life,
        hedge_id=roll.hedge_id,
        levels=found.levels,
        available=found.available,
        slippage=found.slippage,
        cap=roll.cap,
    )

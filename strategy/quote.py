"""Where and how big the Backpack maker rests. Pure; imports the core only."""

from dataclasses import dataclass
from math import lcm

from strategy.carry import funding_flaw, opening_edge
from strategy.depth import cap_price, fetch_bbo
from strategy.domain import (
    Book,
    Bps,
    Draft,
    Now,
    Purpose,
    Px,
    Qty,
    Side,
    Tif,
    Venue,
    side_of,
)
from strategy.hedgeable import hedge_room, outgrown, unhedgeable
from strategy.params import Params, PrimaryMode
from strategy.world import Order, World


@dataclass(frozen=True, slots=True)
class NoQuote:
    """Why no maker may rest now."""

    why: str


def pair_step(w: World) -> Qty:
    """Return the smallest size that both venues can trade exactly."""
    return Qty(lcm(w.primary.instrument.step, w.hedge_leg.instrument.step))


def maker_price(book: Book, side: Side, mode: PrimaryMode, tick: int) -> Px | None:
    """Return the resting price for a mode, or None when the book has no touch.

    ``bbo`` joins the touch, ``bbo_minus_1`` stands one tick behind it, ``aggressive`` pays the
    opposite touch.
    """
    bbo = fetch_bbo(book)
    if bbo is None:
        return None
    if mode is PrimaryMode.AGGRESSIVE:
        return bbo.touch(side)
    own = bbo.touch(side.opposite)
    behind = tick * side.value if mode is PrimaryMode.BBO_MINUS_1 else 0
    return Px(own - behind)


def open_quote(w: World, params: Params, now: Now) -> Draft | NoQuote:
    """Return the next BUILD maker: min(size, room to the target, what the hedge venue absorbs)."""
    side = side_of(w.cycle.direction)
    room = params.max_position - abs(w.primary.position)
    flaw = unhedgeable(w, params, now) or unopenable(w, params, now)
    if flaw:
        return NoQuote(flaw)
    px = _price(w, side, params)
    if px is None:
        return NoQuote("no touch on the primary")
    if params.min_spread and not _edge_ok(w, px, params):
        return NoQuote("edge below --min-spread")
    return _sized(w, side, px, min(params.size, room), False, params, now)


def unopenable(w: World, params: Params, now: Now) -> str:
    """Say what forbids opening though it could be hedged: a guard, or a funding about to be paid.

    Never asked for an order that closes.
    """
    rates = [leg.facts.funding for leg in (w.primary, w.hedge_leg)]
    primary, hedge = (rate.value if rate else None for rate in rates)
    return w.held() or funding_flaw(
        primary, hedge, w.cycle.direction, now.wall, params.funding_guard
    )


def close_quote(w: World, params: Params, now: Now) -> Draft | NoQuote:
    """Return the next UNWIND maker: min(size, remaining), reduce-only (REQ-20)."""
    side = side_of(-w.primary.position)
    flaw = unhedgeable(w, params, now)
    if flaw:
        return NoQuote(flaw)
    px = _price(w, side, params)
    if px is None:
        return NoQuote("no touch on the primary")
    return _sized(w, side, px, min(params.size, abs(w.primary.position)), True, params, now)


def _price(w: World, side: Side, params: Params) -> Px | None:
    book = w.primary.book
    if book is None:
        return None
    return maker_price(book.value, side, params.primary_mode, w.primary.instrument.tick)


def _edge_ok(w: World, px: Px, params: Params) -> bool:
    book = w.hedge_leg.book
    if book is None or w.basis is None:
        return False
    bbo = fetch_bbo(book.value)
    if bbo is None:
        return False
    hedge_px = bbo.touch(side_of(-w.cycle.direction))
    return opening_edge(w.basis, px, hedge_px, w.cycle.direction) >= params.min_spread


def _sized(
    w: World, side: Side, px: Px, want: int, closing: bool, params: Params, now: Now
) -> Draft | NoQuote:
    """Fit the size to what can be hedged, on a step that both venues share where possible."""
    room = hedge_room(w, side, params, now)
    qty = min(want, room.qty)
    step = pair_step(w)
    instrument = w.primary.instrument
    fitted = instrument.floor_qty(qty) if qty == want else Qty(qty // step * step)
    if fitted < max(instrument.min_qty, 1):
        return NoQuote(f"hedge venue cannot absorb the minimum: {room.bound}")
    book = w.primary.book
    bbo = fetch_bbo(book.value) if book else None
    if bbo is None:
        return NoQuote("no touch on the primary")
    cross = params.primary_mode is PrimaryMode.AGGRESSIVE
    touch = bbo.touch(side if cross else side.opposite)
    return Draft(
        venue=Venue.BACKPACK,
        side=side,
        qty=fitted,
        px=cap_price(side, px, params.cap, instrument) if cross else px,
        tif=Tif.IOC if cross else Tif.GTC,
        post_only=not cross,
        reduce_only=closing,
        purpose=Purpose.CLOSE if closing else Purpose.OPEN,
        touch=touch,
        life=params.maker_window,
        cap=params.cap if cross else Bps(0),
    )


def withdraw_reason(w: World, maker: Order, params: Params, now: Now) -> str:
    """Say why a resting maker must be cancelled now; empty when it may rest on."""
    flaw = unhedgeable(w, params, now)
    if not flaw and maker.request.purpose.opens:
        flaw = unopenable(w, params, now)
    flaw = flaw or outgrown(w, maker.request.side, maker.reserved, params, now)
    if flaw:
        return flaw
    if w.away_since is not None and now.mono - w.away_since >= params.fill_timeout:
        return "touch moved away"
    return ""

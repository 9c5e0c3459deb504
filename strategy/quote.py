"""Where and how big the Backpack maker rests. Pure; imports the core only."""

from dataclasses import dataclass
from math import lcm

from strategy.carry import opening_edge
from strategy.depth import absorbable, cap_price, fetch_bbo
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


def unready(w: World, params: Params, now: Now) -> str:
    """Say which feed or account surface forbids a new maker; empty when all are good (S9)."""
    for venue, leg in w.legs.items():
        if not leg.instrument.tradable:
            return f"{venue} market is not open"
        if not leg.private_up:
            return f"{venue} private stream is down"
        if leg.fresh_book(now, params.stale) is None:
            return f"{venue} book is stale, one-sided or crossed"
    return ""


def hedge_room(w: World, maker_side: Side, params: Params, now: Now) -> Qty:
    """Return what the hedge venue can absorb within the cap now for a maker of that side."""
    book = w.hedge_leg.fresh_book(now, params.stale)
    return absorbable(book, maker_side.opposite, params.cap, w.hedge_leg.instrument)


def open_quote(w: World, params: Params, now: Now) -> Draft | NoQuote:
    """Return the next BUILD maker: min(size, room to the target, what the hedge venue absorbs)."""
    side = side_of(w.cycle.direction)
    room = params.max_position - abs(w.primary.position)
    flaw = unready(w, params, now)
    if flaw:
        return NoQuote(flaw)
    px = _price(w, side, params)
    if px is None:
        return NoQuote("no touch on the primary")
    if params.min_spread and not _edge_ok(w, px, params):
        return NoQuote("edge below --min-spread")
    return _sized(w, side, px, min(params.size, room), False, params, now)


def close_quote(w: World, params: Params, now: Now) -> Draft | NoQuote:
    """Return the next UNWIND maker: min(size, remaining), reduce-only (REQ-20)."""
    side = side_of(-w.primary.position)
    flaw = unready(w, params, now)
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
    qty = min(want, room)
    step = pair_step(w)
    instrument = w.primary.instrument
    fitted = instrument.floor_qty(qty) if qty == want else Qty(qty // step * step)
    if fitted < max(instrument.min_qty, 1):
        return NoQuote("hedge venue cannot absorb the minimum within the cap")
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
    flaw = unready(w, params, now)
    if flaw:
        return flaw
    room = hedge_room(w, maker.request.side, params, now)
    if 2 * room < maker.reserved:
        return "hedge venue cannot absorb it within the cap"
    if w.away_since is not None and now.mono - w.away_since >= params.fill_timeout:
        return "touch moved away"
    return ""

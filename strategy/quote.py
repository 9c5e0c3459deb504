"""Where and how big the Backpack maker rests. Pure; imports the core only."""

from dataclasses import dataclass
from math import lcm

from strategy.carry import funding_flaw, opening_edge
from strategy.depth import Bbo, cap_price, fetch_bbo
from strategy.domain import (
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


def maker_price(bbo: Bbo, side: Side, mode: PrimaryMode, tick: int) -> Px:
    """Return the resting price for a mode.

    ``bbo`` joins the touch, ``bbo_minus_1`` stands one tick behind it, ``aggressive`` pays the
    opposite touch.
    """
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
    touches = _touches(w, params, now)
    if flaw or touches is None:
        return NoQuote(flaw)
    primary, hedge = touches
    px = maker_price(primary, side, params.primary_mode, w.primary.instrument.tick)
    if params.min_spread and not _edge_ok(w, px, hedge, params):
        return NoQuote("edge below --min-spread")
    return _sized(w, primary, side, min(params.size, room), params, now)


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
    touches = _touches(w, params, now)
    if flaw or touches is None:
        return NoQuote(flaw)
    size = min(params.size, abs(w.primary.position))
    return _sized(w, touches[0], side, size, params, now, closing=True)


def _touches(w: World, params: Params, now: Now) -> tuple[Bbo, Bbo] | None:
    """Return both venues' best prices; None unless both books are usable."""
    books = [leg.fresh_book(now, params.stale) for leg in (w.primary, w.hedge_leg)]
    primary, hedge = (fetch_bbo(book) if book else None for book in books)
    return (primary, hedge) if primary and hedge else None


def _edge_ok(w: World, px: Px, hedge: Bbo, params: Params) -> bool:
    if w.basis is None:
        return False
    hedge_px = hedge.touch(side_of(-w.cycle.direction))
    return opening_edge(w.basis, px, hedge_px, w.cycle.direction) >= params.min_spread


def _sized(
    w: World, bbo: Bbo, side: Side, want: int, params: Params, now: Now, *, closing: bool = False
) -> Draft | NoQuote:
    """Fit the size to what can be hedged, on a step that both venues share where possible."""
    room = hedge_room(w, side, params, now)
    qty = min(want, room.qty)
    step = pair_step(w)
    instrument = w.primary.instrument
    fitted = instrument.floor_qty(qty) if qty == want else Qty(qty // step * step)
    if fitted < max(instrument.min_qty, 1):
        return NoQuote(f"hedge venue cannot absorb the minimum: {room.bound}")
    px = maker_price(bbo, side, params.primary_mode, instrument.tick)
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
    if now.mono - maker.sent.mono >= params.maker_rest:
        return "rested long enough"
    return ""

"""The emergency unwind: first neutral, then flat, by the cheapest bounded orders.

Pure; imports ``strategy.domain``, ``depth``, ``rollback`` and ``params`` only. Re-evaluated from
the live books at every step: whichever leg removes the exposure cheaper goes first, reduce-only
wherever it shrinks its leg, and always so once the latch has left RUNNING (S15).
"""

from dataclasses import dataclass

from strategy.depth import InsufficientLiquidity, cap_price, taker_cost
from strategy.domain import (
    Book,
    Bps,
    Draft,
    Instrument,
    Mode,
    Purpose,
    Px,
    Qty,
    Side,
    SignedQty,
    Tif,
    Venue,
    plain,
    side_of,
)
from strategy.params import Params
from strategy.rollback import Rollback, chunk_size, place_market_order

FAR = Bps(1 << 60)


@dataclass(frozen=True, slots=True)
class UnwindLeg:
    """One leg as the unwind sees it."""

    instrument: Instrument
    position: SignedQty
    book: Book | None
    """Fresh and two-sided, or None."""
    fee: Bps
    busy: bool
    """Orders may still trade on it, in-doubt ones included."""
    stuck: bool = False
    """Busy only with orders in doubt whose life is over: its venue cannot be asked."""
    mark: Px | None = None
    """The venue's fresh mark price: what an order is priced from without a usable book (F65)."""

    @property
    def mid(self) -> Px | None:
        """The mid of a usable book, else the mark."""
        return self.book.mid if self.book else self.mark


@dataclass(frozen=True, slots=True)
class UnwindView:
    """Everything the unwind reads."""

    mode: Mode
    legs: tuple[UnwindLeg, UnwindLeg]
    """Primary, hedge."""
    tries: int
    """Consecutive roll-back orders that traded nothing."""
    hedge_id: int
    avoid: Venue | None = None
    """The venue whose last attempt traded nothing: whatever its book says, the other goes first."""

    @property
    def net(self) -> int:
        """Net exposure."""
        return self.legs[0].position + self.legs[1].position


@dataclass(frozen=True, slots=True)
class Orders:
    """Send these now."""

    drafts: tuple[Draft, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can or may be sent now."""

    why: str


@dataclass(frozen=True, slots=True)
class Flat:
    """Nothing is left that a venue would trade; ``residual`` names the dust per venue."""

    residual: tuple[tuple[Venue, SignedQty], ...]


def ladder(params: Params, tries: int) -> Bps:
    """Return this attempt's price cap: doubled each time nothing traded, up to the last rung."""
    return Bps(min(params.cap << min(tries, 16), params.emergency_cap))


def tradable(leg: UnwindLeg, qty: int) -> Qty:
    """Return an unsigned size as the leg's venue would take it; 0 when it is dust."""
    floored = leg.instrument.floor_qty(qty)
    mid = leg.mid
    if mid is not None and not leg.instrument.hedgeable(floored, mid):
        return Qty(0)
    return floored if floored >= leg.instrument.min_qty else Qty(0)


def plan(view: UnwindView, params: Params) -> Orders | Wait | Flat:
    """Return the next step: neutral first, then, when flattening, both legs in lockstep clips."""
    options = _options(view)
    if options:
        return _cheapest(view, options, params)
    if view.mode is Mode.FLATTENING:
        return _lockstep(view, params)  # dust that only an opening order could trade goes with it
    if any(tradable(leg, abs(view.net)) for leg in view.legs):
        return Wait("exposure left, and no leg may trade it now")
    return Flat(_dust(view))


def _dust(view: UnwindView) -> tuple[tuple[Venue, SignedQty], ...]:
    return tuple((leg.instrument.venue, leg.position) for leg in view.legs if leg.position)


@dataclass(frozen=True, slots=True)
class _Option:
    leg: UnwindLeg
    side: Side
    qty: Qty
    reduce_only: bool


def _options(view: UnwindView) -> list[_Option]:
    """List the ways to remove the net: finish on the hedge leg, or shrink a leg."""
    if not view.net:
        return []
    side = side_of(-view.net)
    found = []
    for leg in view.legs:
        shrinks = leg.position * view.net > 0
        size = min(abs(view.net), abs(leg.position)) if shrinks else abs(view.net)
        finishes = leg.instrument.venue is Venue.GRVT and view.mode is Mode.RUNNING
        qty = tradable(leg, size) if leg.instrument.tradable else Qty(0)
        if qty and (shrinks or finishes):
            found.append(_Option(leg, side, qty, shrinks))
    return found


def _cheapest(view: UnwindView, options: list[_Option], params: Params) -> Orders | Wait:
    """Choose by all-in taker cost from the live books; unpriceable options go last."""
    if any(leg.busy and not leg.stuck for leg in view.legs):
        return Wait("an order may still trade")
    options = [option for option in options if not option.leg.busy]
    cap = ladder(params, view.tries)
    ranked = sorted(
        options,
        key=lambda o: (o.leg.instrument.venue is view.avoid, _cost(o, cap), o.reduce_only),
    )
    for option in ranked:
        draft = _draft(option, view, cap, params)
        if isinstance(draft, Draft):
            return Orders((draft,), _explain(ranked, cap))
    return Wait("no leg to trade on: no book, or its orders are in doubt")


def _cost(option: _Option, cap: Bps) -> Bps:
    leg = option.leg
    if leg.book is None and leg.mark is not None:
        return Bps(cap + leg.fee)  # the worst that the price bound allows
    cost = taker_cost(leg.book, option.side, option.qty, cap, leg.fee, leg.instrument)
    return FAR if cost is None else cost


def _explain(ranked: list[_Option], cap: Bps) -> str:
    parts = []
    for option in ranked:
        cost = _cost(option, cap)
        verb = "undo" if option.leg.instrument.venue is Venue.BACKPACK else "finish"
        text = "unpriced" if cost == FAR else f"{plain(cost * 1000)}bps"
        parts.append(f"{verb}={text}")
    return " ".join(parts)


def _draft(
    option: _Option, view: UnwindView, cap: Bps, params: Params
) -> Draft | InsufficientLiquidity:
    roll = Rollback(
        venue=option.leg.instrument.venue,
        taker=option.side,
        qty=option.qty,
        reduce_only=option.reduce_only,
        cap=cap,
        hedge_id=view.hedge_id,
    )
    leg = option.leg
    if leg.book is None and leg.mark is not None:
        return _by_mark(roll, leg.mark, leg.instrument, params)
    return place_market_order(roll, leg.book, leg.instrument, params)


def _by_mark(roll: Rollback, mark: Px, instrument: Instrument, params: Params) -> Draft:
    """Build a clip without a book: a LIMIT IOC at the mark, give or take the cap (F65, F66)."""
    clip = Qty(min(roll.qty, chunk_size(params, mark, instrument)))
    rest = roll.qty - clip
    if rest and not instrument.hedgeable(rest, mark):
        clip = roll.qty  # never leave a rest that could not be closed
    return Draft(
        venue=roll.venue,
        side=roll.taker,
        qty=clip,
        px=cap_price(roll.taker, mark, roll.cap, instrument),
        tif=Tif.IOC,
        post_only=False,
        reduce_only=roll.reduce_only,
        purpose=Purpose.UNWIND,
        touch=mark,
        life=params.hedge_life,
        hedge_id=roll.hedge_id,
        cap=roll.cap,
    )


def _lockstep(view: UnwindView, params: Params) -> Orders | Wait | Flat:
    """Close both legs by equal clips; a clip never leaves a rest that could not be closed.

    A leg is never closed while the other one cannot be: the hedged pair is the safer state.
    """
    if any(leg.busy for leg in view.legs):
        return Wait("an order may still trade")
    open_legs = [leg for leg in view.legs if _matters(leg, view, params)]
    if not open_legs:
        return Flat(_dust(view))
    if any(leg.mid is None for leg in open_legs):
        return Wait("no book to trade on")
    shut = [leg.instrument.venue for leg in open_legs if not _closable(leg)]
    if shut:
        return Wait(f"{shut[0]} takes no order to close its leg, and no leg is closed alone")
    cap = ladder(params, view.tries)
    clip = min(_clip(leg, params) for leg in open_legs)
    drafts = []
    for leg in open_legs:
        qty = _close_size(leg, clip)
        side = side_of(-leg.position)
        draft = _draft(_Option(leg, side, qty, reduce_only=True), view, cap, params)
        if isinstance(draft, Draft):
            drafts.append(draft)
    both = len(drafts) == len(open_legs)
    return Orders(tuple(drafts), "flatten") if both else Wait("no liquidity within the cap")


def _closable(leg: UnwindLeg) -> bool:
    return leg.instrument.tradable and bool(tradable(leg, abs(leg.position)))


def _matters(leg: UnwindLeg, view: UnwindView, params: Params) -> bool:
    """True for a leg that its venue would trade, or that the other one's venue would (F15)."""
    if tradable(leg, abs(leg.position)):
        return True
    other = view.legs[0] if leg is view.legs[1] else view.legs[1]
    mid = leg.mid or other.mid
    clip = chunk_size(params, mid, other.instrument) if mid is not None else 0
    return bool(clip) and abs(leg.position) >= clip


def _clip(leg: UnwindLeg, params: Params) -> Qty:
    mid = leg.mid
    whole = tradable(leg, abs(leg.position))
    return whole if mid is None else Qty(min(whole, chunk_size(params, mid, leg.instrument)))


def _close_size(leg: UnwindLeg, clip: Qty) -> Qty:
    whole = leg.instrument.floor_qty(abs(leg.position))
    qty = leg.instrument.floor_qty(clip)
    rest = whole - qty
    return whole if rest and not tradable(leg, rest) else qty

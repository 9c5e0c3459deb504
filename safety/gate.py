"""The gate: the only maker of ``Approved`` orders. Pure; imports ``strategy.domain`` only.

Limits never block an order that reduces risk (REQ-23): position, loss and staleness limits apply to
opening orders; direction, price cap, size and exactness apply to all.
"""

from dataclasses import dataclass
from typing import Final

from safety.limits import Limits
from safety.reasons import Reason
from strategy.domain import (
    BPS_ONE,
    Bps,
    Draft,
    Instrument,
    Mode,
    Now,
    Ns,
    Purpose,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    bps_text,
    plain,
)

_SEAL: Final = object()


@dataclass(frozen=True, slots=True)
class LegRisk:
    """One leg as the gate sees it."""

    instrument: Instrument
    position: SignedQty
    reserved_buy: Qty
    """What live buys may still trade, in-doubt ones in full."""
    reserved_sell: Qty
    bid: Px | None
    ask: Px | None
    book_at: Ns | None
    """Monotonic time of the book; None without one."""
    up: bool
    """Both streams of the venue are up."""
    mark: Px | None = None
    """The venue's fresh mark: bounds an unwind where the book has no touch (F65)."""
    current: bool = True
    """False for a book that is old: a fresh mark bounds an unwind better (F56)."""

    def reserved(self, side: Side) -> Qty:
        """Return the reservation of one direction."""
        return self.reserved_buy if side is Side.BUY else self.reserved_sell


@dataclass(frozen=True, slots=True)
class RiskView:
    """Everything the gate reads."""

    mode: Mode
    leg: LegRisk
    """The leg that the order trades."""
    other: LegRisk
    net: SignedQty
    day_pnl: Quote | None
    unhedged: bool
    orders_last_minute: int
    held: str = ""
    """The standing condition of the guards that forbids opening; empty when none does."""


@dataclass(frozen=True, slots=True)
class Approved:
    """A draft that passed. Only ``gate`` can make one."""

    draft: Draft
    at: Ns
    """Monotonic time of the approval."""
    seal: object

    def __post_init__(self) -> None:
        if self.seal is not _SEAL:
            raise TypeError("Approved orders come from the gate only")

    def good(self, now: Ns, ttl: Ns) -> bool:
        """True while the approval is young enough to send on (S8)."""
        return 0 <= now - self.at <= ttl


@dataclass(frozen=True, slots=True)
class Denied:
    """A draft that did not pass, and why."""

    draft: Draft
    code: Reason
    detail: str


def gate(draft: Draft, view: RiskView, limits: Limits, now: Now) -> Approved | Denied:
    """Approve or deny one draft against one view."""
    for check in (_shape, _price, _latch, _direction):
        denied = check(draft, view, limits)
        if denied is not None:
            return Denied(draft, *denied)
    if draft.purpose.opens:
        denied = _opening(draft, view, limits, now)
        if denied is not None:
            return Denied(draft, *denied)
    return Approved(draft, now.mono, _SEAL)


Verdict = tuple[Reason, str] | None


def _shape(draft: Draft, view: RiskView, limits: Limits) -> Verdict:
    """Exactness (S16): on the tick, on the step, within the sizes."""
    rules = view.leg.instrument
    if draft.qty <= 0 or draft.qty % rules.step or draft.qty < rules.min_qty:
        return Reason.SIZE, f"qty {plain(draft.qty)} off step {plain(rules.step)}"
    if draft.purpose.opens and draft.qty > limits.max_order:
        return Reason.SIZE, f"qty {plain(draft.qty)} above {plain(limits.max_order)}"
    if draft.px <= 0 or draft.px % rules.tick:
        return Reason.TICK, f"price {plain(draft.px)} off tick {plain(rules.tick)}"
    return None


def _price(draft: Draft, view: RiskView, limits: Limits) -> Verdict:
    """Bound every price (S10): marketable by the cap, passive by the opposite touch."""
    opposite = view.leg.ask if draft.side is Side.BUY else view.leg.bid
    if draft.purpose is Purpose.UNWIND and (opposite is None or not view.leg.current):
        opposite = view.leg.mark or opposite
    if opposite is None:
        return Reason.PRICE_CAP, "no touch to bound the price by"
    sign = draft.side.value
    if draft.post_only:
        crosses = (draft.px - opposite) * sign >= 0
        return (Reason.PRICE_CAP, "post-only at or through the touch") if crosses else None
    cap = limits.emergency_cap if draft.purpose is Purpose.UNWIND else limits.cap
    if beyond_cap(draft.px, opposite, draft.side, cap):
        return Reason.PRICE_CAP, f"price {plain(draft.px)} beyond {bps_text(cap)} bps of the touch"
    return None


def beyond_cap(px: Px, touch: Px, side: Side, cap: Bps) -> bool:
    """True when a taker's price is worse than ``cap`` from the touch."""
    return (px - touch) * side.value * BPS_ONE > touch * cap


def _latch(draft: Draft, view: RiskView, limits: Limits) -> Verdict:  # noqa: ARG001 - one signature
    """Enforce the latch (S12, S15): nothing when halted, reduce-only below RUNNING."""
    if view.mode is Mode.HALTED:
        return Reason.LATCHED, "halted"
    if view.mode is Mode.RUNNING:
        return None
    if draft.purpose.opens:
        return Reason.LATCHED, view.mode.name.lower()
    if not draft.reduce_only:
        return Reason.NOT_REDUCE_ONLY, f"{draft.purpose.value} in {view.mode.name.lower()}"
    return None


def _direction(draft: Draft, view: RiskView, limits: Limits) -> Verdict:  # noqa: ARG001 - same
    """Reductions shrink their leg; hedges shrink the net, reservations included (S1, S2)."""
    sign = draft.side.value
    committed = view.leg.reserved(draft.side) + draft.qty
    if draft.reduce_only and (view.leg.position * sign >= 0 or committed > abs(view.leg.position)):
        return Reason.WRONG_DIRECTION, f"does not shrink {plain(view.leg.position)}"
    if draft.purpose is Purpose.HEDGE:
        if view.net * sign >= 0:
            return Reason.WRONG_DIRECTION, f"would increase net {plain(view.net)}"
        if committed > abs(view.net):
            return Reason.OVER_HEDGE, f"{plain(committed)} committed for net {plain(view.net)}"
    if draft.purpose is Purpose.UNWIND and not draft.reduce_only and view.net * sign >= 0:
        return Reason.WRONG_DIRECTION, f"would increase net {plain(view.net)}"
    return None


def _opening(draft: Draft, view: RiskView, limits: Limits, now: Now) -> Verdict:
    """Limits of orders that increase the primary leg."""
    if view.orders_last_minute >= limits.max_orders_per_minute:
        return Reason.ORDER_RATE, f"{view.orders_last_minute} orders in the last minute"
    if view.held:
        return Reason.HELD, view.held
    if view.unhedged:
        return Reason.UNHEDGED, f"net {plain(view.net)} is not hedged"
    sign = draft.side.value
    after = abs(view.leg.position + (view.leg.reserved(draft.side) + draft.qty) * sign)
    other = abs(view.other.position) + max(view.other.reserved_buy, view.other.reserved_sell)
    mirrored = other + draft.qty if view.other.position * sign <= 0 else other
    if after > limits.max_position or mirrored > limits.max_position:
        worst = plain(max(after, mirrored))
        return Reason.MAX_POSITION, f"leg would reach {worst} of {plain(limits.max_position)}"
    if view.day_pnl is None:
        return Reason.LOSS_UNKNOWN, "no mark for an open position"
    if view.day_pnl <= -limits.max_daily_loss:
        return (
            Reason.MAX_DAILY_LOSS,
            f"day {plain(view.day_pnl)} of {plain(-limits.max_daily_loss)}",
        )
    return _freshness(view, limits, now)


def _freshness(view: RiskView, limits: Limits, now: Now) -> Verdict:
    """No opening decision on an input older than its bound (S9)."""
    for leg in (view.leg, view.other):
        name = leg.instrument.venue.value
        if not leg.up:
            return Reason.STREAM_DOWN, name
        if leg.book_at is None or now.mono - leg.book_at > limits.stale:
            return Reason.STALE, name
    return None

"""Hedgeability: may a maker rest, and how much of it could the hedge venue absorb now?

Everything that a hedge will need must be there *before* the maker can fill: an open market, a
fresh and sane book with depth within the cap, free margin, room in the order lane, an
authenticated session with its streams up, a usable clock and a latch that allows trading. The
quote is withdrawn at the moment one of these stops being true (issue 4). Unknown is not good.

Pure; imports the core only.
"""

from dataclasses import dataclass

from strategy.depth import absorbable
from strategy.domain import (
    BPS_ONE,
    NANO,
    Mode,
    Now,
    Px,
    Qty,
    Side,
    Venue,
    plain,
    ratio_bps,
)
from strategy.facts import Account
from strategy.params import Params
from strategy.world import Leg, World

MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Room:
    """What the hedge venue can absorb now, and what bounds it."""

    qty: Qty
    bound: str


def unhedgeable(w: World, params: Params, now: Now) -> str:
    """Say why no maker may rest on the primary now, whatever its size; empty when one may."""
    if w.mode is not Mode.RUNNING:
        return f"latched {w.mode.name.lower()}"
    for venue, leg in w.legs.items():
        flaw = _session(leg, params, now) or _market(leg, params, now)
        if flaw:
            return f"{venue} {flaw}"
    flaw = _means(w.hedge_leg, params, now)
    return f"{w.hedge_leg.instrument.venue} {flaw}" if flaw else ""


def _session(leg: Leg, params: Params, now: Now) -> str:
    """Say what is wrong with the account's connection to one venue."""
    facts = leg.facts
    if facts.refused:
        return f"refuses our key: {facts.refused}"
    if facts.quarantined:
        return f"quarantined: {facts.quarantined}"
    if not leg.private_up:
        return "private stream is down"
    if facts.ready is None or not facts.ready.session:
        return "session is not authenticated"
    offset = facts.clock_offset(now)
    if offset is not None and abs(offset) > params.max_clock_offset:
        return f"clock differs from ours by more than {params.max_clock_offset // MS} ms"
    return ""


def _market(leg: Leg, params: Params, now: Now) -> str:
    """Say what is wrong with one venue's market data (F65, F66, F68)."""
    if not leg.instrument.tradable:
        return "market is not open"
    if leg.fresh_book(now, params.stale) is None:
        return "book is stale, one-sided or crossed"
    if off_mark(leg, params, now):
        return "book is off its mark price"
    return ""


def off_mark(leg: Leg, params: Params, now: Now) -> bool:
    """True when the book's mid is further from the venue's own fresh mark than the band (F66)."""
    mid, mark = leg.mid(), leg.facts.fresh_mark(now, params.mark_fresh)
    return (
        mid is not None
        and mark is not None
        and abs(ratio_bps(mid - mark, mark)) > (params.mark_band)
    )


def _means(leg: Leg, params: Params, now: Now) -> str:
    """Say which means of hedging are missing: rate budget or knowledge of the margin."""
    ready = leg.facts.ready
    if ready is not None and ready.orders is not None and ready.orders < params.hedge_orders:
        return "order lane has no room for a hedge"
    if leg.facts.fresh_account(now, params.account_fresh) is None:
        return "margin is unknown"
    return ""


def hedge_room(w: World, maker_side: Side, params: Params, now: Now) -> Room:
    """Return the largest maker of that side whose whole fill could be hedged now.

    The least of depth within the cap and margin, less what is already exposed the same way.
    """
    leg = w.hedge_leg
    taker = maker_side.opposite
    book = leg.fresh_book(now, params.stale)
    depth = Room(absorbable(book, taker, params.cap, leg.instrument), "depth within the cap")
    margin = Room(_margin_room(leg, taker, params, now), "margin")
    least = min(depth, margin, key=lambda room: room.qty)
    exposed = max(0, w.net * maker_side.value)
    return Room(Qty(max(0, least.qty - exposed)), least.bound)


def _margin_room(leg: Leg, taker: Side, params: Params, now: Now) -> Qty:
    """Return what a taker may trade on the venue by margin: what shrinks the leg needs none.

    What the leg grew since the account was read has already used some of what was free then.
    """
    account, px = leg.facts.fresh_account(now, params.account_fresh), leg.mid()
    if account is None or px is None:
        return Qty(0)
    shrinks = max(0, -leg.position * taker.value)
    grown = max(0, abs(leg.position) - abs(leg.facts.account_position))
    opens = max(0, _affordable(account, px, leg.taker_fee) - grown)
    return leg.instrument.floor_qty(shrinks + opens)


def _affordable(account: Account, px: Px, taker_fee: int) -> int:
    """Return the size whose initial margin and taker fee the free balance covers, 1e-9 base."""
    if account.leverage <= 0 or account.available <= 0:
        return 0
    margin = px * NANO // account.leverage
    fee = px * max(taker_fee, 0) // BPS_ONE
    return account.available * NANO // max(margin + fee, 1)


def outgrown(w: World, maker_side: Side, size: Qty, params: Params, now: Now) -> str:
    """Say why a resting maker with ``size`` left is more than can be hedged; empty when not."""
    room = hedge_room(w, maker_side, params, now)
    if room.qty >= size:
        return ""
    return f"{Venue.GRVT} absorbs {plain(room.qty)} of {plain(size)}: {room.bound}"

"""The emergency path's ends: built dry at the start, and proved, or its residual named, at the end.

It must not be the code that never ran (REQ-15). So before anything trades, every order that an
unwind would need is planned, approved and signed for both venues and both signs, and thrown away.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import lcm
from typing import Protocol

from daemon.core import Preparer, Settings
from exchanges.errors import VenueError
from exchanges.port import VenuePort
from safety.gate import Denied, LegRisk, RiskView, gate
from safety.unwind import Orders, UnwindLeg, UnwindView, plan
from strategy.domain import (
    NANO,
    Book,
    Bps,
    ClientId,
    Draft,
    Instrument,
    Mode,
    Now,
    Ns,
    OrderRequest,
    OrderView,
    Position,
    Px,
    Qty,
    Side,
    SignedQty,
    Venue,
    plain,
)
from strategy.world import World

READ_LIMIT = 3.0
"""Seconds for both venues' last statements."""
TICKS = 1_000_000
"""The rehearsal's price, in ticks: far from any rounding."""
DRY_ID = ClientId((1 << 32) - 1)
"""Of rehearsed orders: no run reaches it, and they never leave."""
PAIRS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (-1, 1))
"""Positions of the rehearsal, in sizes: one leg naked, or both paired."""


class RehearsalFailed(Exception):  # noqa: N818 - named by what happened
    """An order of the emergency path could not be built; one line that names it."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What both venues say at the end.

    Attributes:
        positions: size by venue, as text; ``unreadable`` where the venue did not say.
        left: everything that is not closed, named; empty when flat is proved.
    """

    positions: Mapping[Venue, str]
    left: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(self.left)


async def prove(ports: Mapping[Venue, VenuePort], w: World) -> Proof:
    """Ask both venues for positions and open orders, and the books for orders in doubt."""
    async with asyncio.TaskGroup() as tasks:  # one that is silent takes no time from the other
        asked = {v: tasks.create_task(_stated(w, v, port)) for v, port in ports.items()}
    told = {venue: task.result() for venue, task in asked.items()}
    left = [text for _, texts in told.values() for text in texts]
    left += [f"order {o.request.client_id} in doubt" for o in w.live()]
    return Proof({venue: held for venue, (held, _) in told.items()}, tuple(left))


async def _stated(w: World, venue: Venue, port: VenuePort) -> tuple[str, list[str]]:
    """Ask one venue; returns its position as text and what is left there."""
    try:
        async with asyncio.timeout(READ_LIMIT):
            held, resting = await port.position(), await port.open_orders()
    except (VenueError, TimeoutError) as bad:
        ours = plain(w.legs[venue].position)
        why = str(bad) or "no answer"
        return "unreadable", [f"{venue} unreadable ({why}), our books say {ours}"]
    return plain(held.qty), _left(w, venue, held, resting)


def _left(w: World, venue: Venue, held: Position, resting: tuple[OrderView, ...]) -> list[str]:
    leg = w.legs[venue]
    mid, size = leg.mid(), leg.instrument.floor_qty(abs(held.qty))
    found = []
    if size and (mid is None or leg.instrument.hedgeable(size, mid)):
        found.append(f"{venue} {plain(held.qty)}")
    if resting:
        found.append(f"{venue} {len(resting)} open orders")
    return found


# --- rehearsal -----------------------------------------------------------------------------------


class _Signs(Protocol):
    def prepare(self, request: OrderRequest) -> object:
        """Encode and sign."""
        ...


def rehearse(
    instruments: Mapping[Venue, Instrument],
    ports: Mapping[Venue, Preparer],
    settings: Settings,
    now: Now,
) -> int:
    """Build every order of the emergency path dry; returns how many.

    Raises:
        RehearsalFailed: one could not be planned, approved or signed.
    """
    built = 0
    for mode in (Mode.REDUCING, Mode.FLATTENING):
        for pair in PAIRS:
            if mode is Mode.FLATTENING or pair[0] + pair[1]:
                built += _one(mode, pair, instruments, ports, settings, now)
    return built


def _one(
    mode: Mode,
    pair: tuple[int, int],
    instruments: Mapping[Venue, Instrument],
    ports: Mapping[Venue, _Signs],
    settings: Settings,
    now: Now,
) -> int:
    size = _size(instruments)
    rules = (instruments[Venue.BACKPACK], instruments[Venue.GRVT])
    legs = tuple(_leg(r, p * size) for r, p in zip(rules, pair, strict=True))
    view = UnwindView(mode=mode, legs=(legs[0], legs[1]), tries=0, hedge_id=0)
    step = plan(view, settings.params)
    what = f"{mode.name.lower()} of {plain(legs[0].position)} and {plain(legs[1].position)}"
    if not isinstance(step, Orders):
        raise RehearsalFailed(f"emergency path: {what} gives no order ({type(step).__name__})")
    for draft in step.drafts:
        _approve_and_sign(draft, view, ports, settings, now, what)
    return len(step.drafts)


def _approve_and_sign(
    draft: Draft,
    view: UnwindView,
    ports: Mapping[Venue, _Signs],
    settings: Settings,
    now: Now,
    what: str,
) -> None:
    ruling = gate(draft, _risk(draft.venue, view, now), settings.limits, now)
    if isinstance(ruling, Denied):
        raise RehearsalFailed(f"emergency path: {what}: {ruling.code.value}: {ruling.detail}")
    rules = next(leg.instrument for leg in view.legs if leg.instrument.venue is draft.venue)
    request = draft.request(DRY_ID, rules.symbol, now.wall)
    try:
        ports[draft.venue].prepare(request)
    except ValueError as bad:
        raise RehearsalFailed(f"emergency path: {what}: {draft.venue}: {bad}") from bad


def _size(instruments: Mapping[Venue, Instrument]) -> int:
    """Return twice the smallest size that both venues trade at the rehearsal's prices."""
    step = lcm(*(i.step for i in instruments.values()))
    least = max(
        max(i.min_qty, -(-i.min_notional * NANO // (i.tick * TICKS))) for i in instruments.values()
    )
    return -(-2 * least // step) * step


def _leg(rules: Instrument, position: int) -> UnwindLeg:
    """Return a leg of the rehearsal: as if its market traded, for a halt must stop no start."""
    depth = Qty(1_000_000 * NANO)
    bid, ask = Px(rules.tick * TICKS), Px(rules.tick * (TICKS + 1))
    return UnwindLeg(
        instrument=replace(rules, tradable=True),
        position=SignedQty(position),
        book=Book(rules.venue, ((bid, depth),), ((ask, depth),), Ns(0)),
        fee=Bps(0),
        busy=False,
    )


def _risk(venue: Venue, view: UnwindView, now: Now) -> RiskView:
    def risk(leg: UnwindLeg) -> LegRisk:
        book = leg.book
        return LegRisk(
            instrument=leg.instrument,
            position=leg.position,
            reserved_buy=Qty(0),
            reserved_sell=Qty(0),
            bid=None if book is None else book.side(Side.SELL)[0][0],
            ask=None if book is None else book.side(Side.BUY)[0][0],
            book_at=now.mono,
            up=True,
        )

    mine, other = sorted(view.legs, key=lambda leg: leg.instrument.venue is not venue)
    return RiskView(
        mode=view.mode,
        leg=risk(mine),
        other=risk(other),
        net=SignedQty(view.net),
        day_pnl=None,
        unhedged=True,
        orders_last_minute=0,
    )

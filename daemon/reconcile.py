"""Start-up reconciliation: the journal against both venues, as a pure diff with named findings.

The venue is the authority on what happened, the journal on what was intended. Orders are
resolved first, then fills read again, then positions compared: what our orders do not explain is
never traded over and never invented away (REQ-27). A refused start says what differs and what to
type.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from daemon.core import Core
from daemon.journal import Journal
from daemon.narrator import Narrator
from daemon.resolver import Resolver
from exchanges.port import VenuePort
from strategy.domain import (
    Fees,
    Instrument,
    Mode,
    Now,
    Ns,
    OrderRef,
    OrderView,
    Position,
    Px,
    SignedQty,
    Tif,
    Venue,
    plain,
)
from strategy.events import Adopted, CancelAsked, Event, OrderLoaded, Seen
from strategy.fold import KEEP_FINISHED, fold, initial
from strategy.params import SECOND
from strategy.world import Leg, Order, World

RESOLVE_LIMIT = 30.0
"""Seconds that the orders of the last run may take to resolve."""
COMPARE_TRIES = 3
COMPARE_WAIT = 0.5
"""Seconds between comparisons of positions that differ."""
CLEAR_TRIES = 20
CATCH_UP = Ns(60 * SECOND)
"""How far before the newest known fill the venues are read again."""


class StartRefused(Exception):  # noqa: N818 - a decision, not a fault
    """Trading must not start; one line that says what differs and what to type (exit 78)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between the journal and a venue."""

    kind: str
    venue: Venue
    detail: str


def findings(
    w: World, positions: Mapping[Venue, Position], resting: Mapping[Venue, tuple[OrderView, ...]]
) -> list[Finding]:
    """Return everything that our own orders do not explain."""
    found = []
    for venue, leg in w.legs.items():
        stated = positions[venue].qty
        if stated != leg.position:
            detail = f"venue says {plain(stated)}, our orders add up to {plain(leg.position)}"
            found.append(Finding("position", venue, detail))
        for view in resting[venue]:
            known = w.orders.get(view.client_id) if view.client_id is not None else None
            if known is None or not known.live:
                rest = plain(view.qty - view.cum)
                detail = f"{view.side} {rest} at {plain(view.px)} (id {view.venue_order_id})"
                found.append(Finding("open_order", venue, detail))
    return found


def load_world(
    journal: Journal,
    instruments: Mapping[Venue, Instrument],
    fees: Mapping[Venue, Fees],
    at: Now,
) -> World:
    """Rebuild the World from the journal's rows."""
    legs = {}
    for venue, instrument in instruments.items():
        books = journal.ledger(venue)
        legs[venue] = Leg(
            instrument=instrument,
            position=books.position,
            cash=books.cash,
            fees=books.fees,
            funding=books.funding,
            volume=books.volume,
            taker_fee=fees[venue].taker,
            maker_fee=fees[venue].maker,
        )
    mode, reason = journal_latch(journal)
    world = initial(legs, mode, reason)
    for row in journal.orders(KEEP_FINISHED):
        loaded = OrderLoaded(
            request=row.request,
            draft=row.draft,
            cum=row.cum,
            filled=row.filled,
            cost=row.cost,
            fee=row.fee,
            state="in_doubt" if row.state not in ("done", "dead") else row.state,
            venue_order_id=row.venue_order_id,
            sent_wall=row.sent_wall,
            trades=row.trades,
            at=at,
        )
        world = fold(world, loaded)
    return world


def journal_latch(journal: Journal) -> tuple[Mode, str]:
    """Return the latch as the journal has it."""
    last: tuple[Mode, str] = (Mode.RUNNING, "")
    for _, _, _, body in journal.events("LatchMoved"):
        last = (Mode(body["mode"]), str(body["reason"]))
    return last


class Reconciler:
    """Runs the start-up reconciliation through the core, so that every finding is journalled."""

    def __init__(
        self,
        core: Core,
        ports: Mapping[Venue, VenuePort],
        resolver: Resolver,
        narrator: Narrator,
        now: Callable[[], Now],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._core = core
        self._ports = ports
        self._resolver = resolver
        self._narrator = narrator
        self._now = now
        self._sleep = sleep

    async def orders(self) -> None:
        """Cancel whatever the last run left resting, and resolve every order to its end.

        Nothing of ours may trade while positions are compared, or stay behind a refused start.

        Raises:
            StartRefused: a venue could not state an order's end in time.
        """
        deadline = self._now().mono + int(RESOLVE_LIMIT * SECOND)
        while live := list(self._core.world.live()):
            if self._now().mono > deadline:
                names = ", ".join(str(o.request.client_id) for o in live)
                raise StartRefused(
                    f"order {names}: no venue states how it ended after {RESOLVE_LIMIT:.0f} s; "
                    "check the venue, then start again"
                )
            await self._cancel(live)
            for order in self._resolver.due(self._core.world, self._now()):
                expected = self._core.world.legs[order.request.venue].position
                for event in await self._resolver.resolve(order, expected):
                    self._apply(event)
            self._core.journal.commit()
            await self._sleep(0.1)

    async def _cancel(self, live: list[Order]) -> None:
        """Ask for the cancel of orders that may rest; again each second until they have ended."""
        for order in live:
            request, now = order.request, self._now()
            again = order.cancel_due(now, SECOND)
            if request.tif is Tif.GTC and again:
                self._apply(CancelAsked(request.client_id, now, "left by the last run"))
                ref = OrderRef(request.client_id, request.symbol, order.venue_order_id)
                await self._ports[request.venue].cancel(ref)

    def _apply(self, event: Event) -> None:
        self._core.on(event)

    async def fills(self) -> None:
        """Read our fills again from just before the newest one known."""
        for venue, port in self._ports.items():
            newest = self._core.journal.last_fill_at(venue)
            orders = self._core.world.orders.values()
            sent = [o.sent.wall for o in orders if o.request.venue is venue and o.cum != o.filled]
            since = min([*sent, *([newest] if newest else [])], default=0)
            if not since:
                continue
            for fill in await port.fills(Ns(since - CATCH_UP)):
                if fill.client_id is not None and fill.client_id in self._core.world.orders:
                    self._apply(Seen(fill, self._now(), "rest"))

    async def positions(self) -> list[Finding]:
        """Read positions and resting orders of both venues and compare."""
        stated, resting = {}, {}
        for venue, port in self._ports.items():
            stated[venue] = await port.position()
            resting[venue] = await port.open_orders()
            self._apply(Seen(stated[venue], self._now(), "rest"))
        found = findings(self._core.world, stated, resting)
        for item in found:
            self._narrator.line(
                "error", "RECONCILE", item.kind, venue=item.venue.value, what=item.detail
            )
        return found

    async def start(self) -> None:
        """Reconcile or refuse.

        Raises:
            StartRefused: something is left that our orders do not explain.
        """
        found: list[Finding] = []
        for _ in range(COMPARE_TRIES):  # a fill may land between one read and the next
            await self.orders()
            await self.fills()
            found = await self.positions()
            if not found:
                break
            await self._sleep(COMPARE_WAIT)
        if found:
            first = found[0]
            raise StartRefused(
                f"{first.venue} {first.kind} differs: {first.detail}"
                f"{f' (and {len(found) - 1} more)' if len(found) > 1 else ''}; "
                "close it by hand or with `hedged flatten`, then start again"
            )
        w = self._core.world
        self._narrator.line(
            "info",
            "RECONCILE",
            "reconciled",
            backpack=plain(w.primary.position),
            grvt=plain(w.hedge_leg.position),
            net=plain(w.net),
            orders=sum(1 for _ in w.live()),
        )

    async def _clear(self) -> None:
        """Cancel every order on both venues, whoever's, until none rests.

        Raises:
            StartRefused: a venue still lists some.
        """
        left: list[str] = []
        for _ in range(CLEAR_TRIES):
            left = []
            for venue, port in self._ports.items():
                await port.cancel_all()
                left += [f"{venue} {o.venue_order_id}" for o in await port.open_orders()]
            if not left:
                return
            await self._sleep(COMPARE_WAIT)
        raise StartRefused(f"{left[0]} does not end: cancel it by hand, then flatten again")

    async def adopt(self) -> None:
        """Take what the venues state into the books, for ``hedged flatten``; cancel the rest."""
        await self._clear()
        await self.orders()
        await self.fills()
        for venue, port in self._ports.items():
            stated = await port.position()
            leg = self._core.world.legs[venue]
            extra = SignedQty(stated.qty - leg.position)
            if extra:
                book = await port.book(10)
                mid = book.mid or Px(0)
                reason = "operator flatten"
                self._apply(Adopted(venue, extra, mid, reason, self._now()))
            self._apply(Seen(stated, self._now(), "rest"))
        self._core.journal.commit()

"""Start-up reconciliation: the journal against both venues, as a pure diff with named findings.

The venue is the authority on what happened, the journal on what was intended. Orders are
resolved first, then fills read again, then positions compared: what our orders do not explain is
never traded over and never invented away (REQ-27). A refused start says what differs and what to
type.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from daemon.core import Core
from daemon.dark import DarkPort
from daemon.journal import Journal
from daemon.narrator import Narrator
from daemon.resolver import Resolver
from exchanges.errors import VenueMalformed, VenueRefused
from exchanges.port import CancelAccepted, CancelOutcome, InDoubt, VenuePort
from strategy.domain import (
    Fees,
    Fill,
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
from strategy.fold import KEEP_FINISHED, fold, match_order
from strategy.params import SECOND
from strategy.world import Leg, Order, OrderState, World, initial

RESOLVE_LIMIT = 30.0
"""Seconds that the orders of the last run may take to resolve."""
COMPARE_TRIES = 3
COMPARE_WAIT = 0.5
"""Seconds between comparisons of positions that differ."""
UNDER_WAY = Ns(3 * SECOND)
"""What began or ended so shortly before a question may not be in its answer."""
CLEAR_TRIES = 20
CATCH_UP = Ns(60 * SECOND)
"""How far before the newest known fill the venues are read again."""


class StartRefused(Exception):  # noqa: N818 - a decision, not a fault
    """Trading must not start; one line that says what differs and what to type (exit 78)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between the journal and a venue.

    ``kind``: ``position``; ``open_order`` (rests, and no order of ours is known by its id);
    ``ended_order`` (ours, over by our books, and yet it rests); ``lost_order`` (rests by our books,
    and the venue does not list it); ``fill`` (of no order of ours).
    """

    kind: str
    venue: Venue
    detail: str
    view: OrderView | None = None
    """What the venue says of the order, where it says anything."""


def findings(
    w: World, positions: Mapping[Venue, Position], resting: Mapping[Venue, tuple[OrderView, ...]]
) -> list[Finding]:
    """Return everything that our own orders do not explain, when nothing of ours is under way."""
    found = []
    for venue in w.legs:
        found += position_findings(w, positions[venue])
        found += order_findings(w, venue, resting[venue], None)
    return found


def position_findings(w: World, stated: Position) -> list[Finding]:
    """Compare one venue's position with what our orders add up to."""
    ours = w.legs[stated.venue].position
    if stated.qty == ours:
        return []
    detail = f"venue says {plain(stated.qty)}, our orders add up to {plain(ours)}"
    return [Finding("position", stated.venue, detail)]


def order_findings(
    w: World, venue: Venue, resting: tuple[OrderView, ...], asked: Ns | None
) -> list[Finding]:
    """Compare one venue's resting orders with ours.

    ``asked`` is the monotonic time at which the venue was asked: what of ours began or ended later
    than ``UNDER_WAY`` before it proves nothing. None: nothing of ours can be under way.
    """
    found = []
    for view in resting:
        known = w.orders.get(view.client_id) if view.client_id is not None else None
        rest = plain(view.qty - view.cum)
        detail = f"{view.side} {rest} at {plain(view.px)} (id {view.venue_order_id})"
        if known is None or known.request.venue is not venue:
            found.append(Finding("open_order", venue, detail, view))
        elif not known.live and _before(known.over_at, asked):
            found.append(Finding("ended_order", venue, detail, view))
    listed = {view.client_id for view in resting}
    for order in w.live(venue):
        client_id = order.request.client_id
        rests = order.state is OrderState.LIVE and order.request.tif is Tif.GTC
        if rests and client_id not in listed and _before(order.sent.mono, asked):
            found.append(Finding("lost_order", venue, f"order {client_id}"))
    return found


def _before(at: Ns | None, asked: Ns | None) -> bool:
    return asked is None or at is None or at < asked - UNDER_WAY


def fill_findings(
    w: World, fills: Iterable[Fill], booked: Callable[[Fill], bool]
) -> list[tuple[Finding, Fill]]:
    """Return the executions that no order of ours explains and the journal does not have."""
    found = []
    for fill in fills:
        ours = match_order(w, fill.venue, fill.client_id, fill.venue_order_id)
        if ours is None and not booked(fill):
            detail = f"{fill.side} {plain(fill.qty)} at {plain(fill.px)} (trade {fill.trade_id})"
            found.append((Finding("fill", fill.venue, detail), fill))
    return found


def refusal(w: World, found: list[Finding]) -> str:
    """Say in one line everything that differs, and what to type."""
    differs = "; ".join(f"{f.venue} {f.kind} differs: {f.detail}" for f in found)
    moved = {f.venue for f in found if f.kind == "position"}
    orphan = "" if w.orders or moved != set(w.legs) else "an orphan pair (no journal of it): "
    keep = " (or keep it with `hedged adopt`)" if moved else ""
    return f"{orphan}{differs}; close it by hand or with `hedged flatten`{keep}, then start again"


def booked(journal: Journal, fill: Fill) -> bool:
    """True when the journal has an execution, the order that it is of, or an adoption of it."""
    ours = fill.client_id is not None and journal.knows(fill.client_id)
    had = ours or journal.has_fill(fill.venue, fill.trade_id)
    return had or 0 < fill.at <= journal.adopted_until(fill.venue)


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
    mode, reason = journal.latch()
    return Mode(mode), reason


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
        self._ports = {v: p for v, p in ports.items() if not isinstance(p, DarkPort)}
        """The venues that answer: all, but for a flatten that may not wait for one (item 5)."""
        self._resolver = resolver
        self._narrator = narrator
        self._now = now
        self._sleep = sleep

    def _live(self) -> list[Order]:
        return [o for o in self._core.world.live() if o.request.venue in self._ports]

    async def orders(self, *, stated: bool = False) -> None:
        """Cancel whatever the last run left resting, and resolve every order to its end.

        Nothing of ours may trade while positions are compared, or stay behind a refused start.

        Args:
            stated: the venues' positions are to be taken as they are: an order that is on no
                surface after its life is then dead, whatever our books say of the position.

        Raises:
            StartRefused: a venue could not state an order's end in time.
        """
        deadline = self._now().mono + int(RESOLVE_LIMIT * SECOND)
        while live := self._live():
            if self._now().mono > deadline:
                names = ", ".join(str(o.request.client_id) for o in live)
                raise StartRefused(
                    f"order {names}: no venue states how it ended after {RESOLVE_LIMIT:.0f} s; "
                    "check the venue, then start again, or take its word with `hedged flatten` "
                    "or `hedged adopt`"
                )
            await self._cancel(live)
            due = self._resolver.due(self._core.world, self._now())
            if due:
                await self.fills()  # a forced close moves the position that is expected below
            for order in (o for o in due if o.request.venue in self._ports):
                expected = self._core.world.legs[order.request.venue].position
                if stated:
                    expected = (await self._ports[order.request.venue].position()).qty
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
                self._told(request.venue, await self._ports[request.venue].cancel(ref))

    def _told(self, venue: Venue, outcome: CancelOutcome) -> None:
        """Say what a cancel met that was not simply taken."""
        if isinstance(outcome, CancelAccepted):
            return
        why = outcome.why if isinstance(outcome, InDoubt) else f"unknown order {outcome.code}"
        self._narrator.once(
            "warning", "RECONCILE", "cancel_failed", f"{venue}:{why}", venue=venue.value, why=why
        )

    def _apply(self, event: Event) -> None:
        self._core.on(event)

    async def fills(self) -> None:
        """Read fills again from just before the newest one known: ours, and closes by the venue.

        What the venue closed while nobody looked is an event like any other (F26): the other leg is
        exposed, and a start that refused would leave it so.
        """
        for venue, port in self._ports.items():
            newest = self._core.journal.last_fill_at(venue)
            orders = self._core.world.orders.values()
            sent = [o.sent.wall for o in orders if o.request.venue is venue and o.cum != o.filled]
            since = min([*sent, *([newest] if newest else [])], default=0)
            if not since:
                continue
            for fill in await port.fills(Ns(since - CATCH_UP)):
                ours = fill.client_id is not None and fill.client_id in self._core.world.orders
                if ours or (fill.forced and not booked(self._core.journal, fill)):
                    self._apply(Seen(fill, self._now(), "rest"))

    async def positions(self) -> list[Finding]:
        """Read positions and resting orders of both venues and compare.

        Raises:
            VenueMalformed: a venue does not make up its mind.
        """
        stated, resting = {}, {}
        for venue, port in self._ports.items():
            resting[venue] = await port.open_orders()
            stated[venue] = await self._agreed(port)
            self._apply(Seen(stated[venue], self._now(), "rest"))
        return findings(self._core.world, stated, resting)

    async def _agreed(self, port: VenuePort) -> Position:
        """Read a position until two answers agree: one empty answer is not flat (F74).

        Raises:
            VenueMalformed: they never do, while nothing of ours trades.
        """
        last = await port.position()
        for _ in range(COMPARE_TRIES):
            stated = await port.position()
            if stated.qty == last.qty:
                return stated
            last = stated
            await self._sleep(COMPARE_WAIT)
        raise VenueMalformed(f"{port.venue} states another position each time: {plain(last.qty)}")

    async def _foreign_fills(self) -> list[Finding]:
        """Return what others traded on our accounts since the journal's newest fill (F25, F76)."""
        found: list[Finding] = []
        journal = self._core.journal
        for venue, port in self._ports.items():
            newest = journal.last_fill_at(venue)
            if not newest:
                continue  # a fresh journal knows nothing of what was before it
            fills = await port.fills(Ns(newest + 1))
            known = fill_findings(self._core.world, fills, lambda f: booked(journal, f))
            found += [finding for finding, _ in known]
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
        foreign = await self._foreign_fills()
        self._say([*found, *foreign])
        if found:
            raise StartRefused(refusal(self._core.world, [*found, *foreign]))
        self._agree()

    def _agree(self) -> None:
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

    def _say(self, found: list[Finding]) -> None:
        for item in found:
            level = "warning" if item.kind == "fill" else "error"
            self._narrator.line(
                level, "RECONCILE", item.kind, venue=item.venue.value, what=item.detail
            )

    # --- taking what is there into the books ------------------------------------------------

    async def flatten(self) -> None:
        """Adopt what the venues state, to be closed; cancel what rests, whoever's it is.

        Raises:
            StartRefused: a venue still lists some order.
        """
        await self._clear()
        await self._settle()
        await self._adopt("operator flatten", priced=False)

    async def adopt(self) -> None:
        """Adopt what the venues state, to be hedged and kept: ``hedged adopt`` (F75, F76).

        Fills of others count as known from here on; nothing is sent but cancels of our own orders.

        Raises:
            StartRefused: an order that is not ours rests (what it will trade cannot be adopted), or
                there is no price to take a position in at.
        """
        await self._settle()
        for venue, port in self._ports.items():
            left = order_findings(self._core.world, venue, await port.open_orders(), None)
            self._say(left)
            if left:
                what = f"{venue} {left[0].kind}: {left[0].detail}"
                raise StartRefused(f"{what}; cancel it by hand, then adopt again")
        foreign = await self._foreign_fills()
        await self._adopt("operator adopt", priced=True)
        self._say(foreign)
        self._agree()

    async def _settle(self) -> None:
        await self.orders(stated=True)
        await self.fills()

    async def _adopt(self, reason: str, *, priced: bool) -> None:
        taken = []
        for venue, port in self._ports.items():
            until = await self._time(port)  # what traded before it is in the position after it
            stated = await self._agreed(port)
            extra = SignedQty(stated.qty - self._core.world.legs[venue].position)
            mid = (await port.book(10)).mid if extra else None
            if priced and extra and not mid:
                line = f"{venue}: no book with two sides to price {plain(extra)} at"
                raise StartRefused(f"{line}; nothing was adopted, try again later")
            taken.append((stated, extra, mid or Px(0), until))
        for stated, extra, px, until in taken:
            if extra:
                self._apply(Adopted(stated.venue, extra, px, reason, self._now()))
            self._core.journal.put_adopted(stated.venue, until)
            self._apply(Seen(stated, self._now(), "rest"))
        self._core.journal.commit()

    async def _time(self, port: VenuePort) -> Ns:
        """Return the venue's time, or ours where it tells none: the start has alerted that."""
        try:
            return await port.server_time()
        except (VenueMalformed, VenueRefused):
            return self._now().wall

    async def _clear(self) -> None:
        """Cancel every order on both venues, whoever's, until none rests.

        Raises:
            StartRefused: a venue still lists some.
        """
        left: list[str] = []
        for _ in range(CLEAR_TRIES):
            left = []
            for venue, port in self._ports.items():
                self._told(venue, await port.cancel_all())
                left += [f"{venue} {o.venue_order_id}" for o in await port.open_orders()]
            if not left:
                return
            await self._sleep(COMPARE_WAIT)
        raise StartRefused(f"{left[0]} does not end: cancel it by hand, then flatten again")

"""Follows each hedge and writes its TCA record when it ends, then its markouts as they fall due.

Owned by the core, and never in the way of an order: what explains a decision is kept in memory and
journalled by the first tick that sends nothing. After a crash it is the journal's orders and fills
that count; only the times and the texts of that moment are lost.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from daemon.journal import Journal
from daemon.tca import (
    MARKOUTS,
    Execution,
    HedgeTca,
    Move,
    OrderTrail,
    markout,
    span,
    split,
    stages,
    vwap,
)
from strategy.domain import (
    ClientId,
    Draft,
    Fill,
    Now,
    Ns,
    Px,
    Qty,
    Quote,
    Venue,
    notional,
    side_of,
)
from strategy.events import (
    Event,
    HedgeEnded,
    HedgeMoved,
    HedgeStarted,
    OrderPlanned,
    Seen,
)
from strategy.fold import match_order
from strategy.intents import Say
from strategy.params import SECOND
from strategy.world import Leg, Order, OrderState, World

MARK_EVERY = Ns(60 * SECOND)
"""How often the mids of open positions are journalled, for the report's marks."""
KNOWN = (OrderState.LIVE, OrderState.DONE)


@dataclass(slots=True)
class _Trail:
    """An order of the running hedge, as far as it has come. Monotonic times."""

    acked: Ns | None = None
    first_fill: Ns | None = None
    last_fill: Ns | None = None
    ended: Ns | None = None


@dataclass(slots=True)
class _Running:
    """The hedge that runs now."""

    began: HedgeStarted
    primary_mid: Px | None
    book_age: int | None
    naked: int
    iteration: int
    cycle: str
    moves: list[Move] = field(default_factory=list)
    trails: dict[ClientId, _Trail] = field(default_factory=dict)
    done: list[Execution] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Due:
    """A markout to take."""

    at: Ns
    hedge_id: int
    after: int
    done: tuple[Execution, ...]


class TcaDesk:
    """One journal's hedges. ``on`` sees every event that changed the World, ``tick`` the time."""

    def __init__(self, journal: Journal, stale: Ns) -> None:
        """Take the journal, and the age beyond which a book prices nothing."""
        self._journal = journal
        self._stale = stale
        self._running: _Running | None = None
        self._rule = ""
        self._note = ""
        self._later: list[tuple[str, Mapping[str, object], Ns]] = []
        self._due: deque[_Due] = deque()
        self._marked_at = Ns(0)

    # --- what happens ----------------------------------------------------------------------

    def on(self, before: World, after: World, event: Event) -> HedgeTca | None:
        """Follow one event; returns the record of a hedge that it ended."""
        match event:
            case Seen(event=Fill() as fill):
                self._filled(before, after, fill, event.at)
            case OrderPlanned():
                self._planned(after, event)
            case HedgeStarted():
                self._running = self._begin(before, event)
            case HedgeMoved():
                self._moved(event)
            case HedgeEnded():
                return self._end(after, event)
            case _:
                pass
        if self._running is not None and after.orders is not before.orders:
            self._follow(self._running, after, event.at.mono)
        return None

    def say(self, say: Say) -> None:
        """Remember the router's words for the orders that it places next."""
        words = dict(say.fields)
        if (say.tag, say.event) == ("SMART_ROUTING", "passive"):
            self._rule = f"rest: {words.get('why', '')}"
        elif (say.tag, say.event) == ("SMART_ROUTING", "insufficient_liquidity"):
            self._note = f"takes what is there: {words.get('why', '')}"

    def rule(self, why: str) -> None:
        """Remember why the orders that follow are placed."""
        self._rule = why

    def later(self, kind: str, body: Mapping[str, object], wall: Ns) -> None:
        """Journal a row as soon as nothing is waiting to be sent."""
        self._later.append((kind, body, wall))

    def tick(self, w: World, now: Now) -> None:
        """Write what waited, and take the markouts that are due."""
        if self._later:
            for kind, body, wall in self._later:
                self._journal.event(kind, body, wall)
            self._later.clear()
        while self._due and self._due[0].at <= now.mono:
            self._take(self._due.popleft(), w, now)
        if now.mono - self._marked_at >= MARK_EVERY:
            self._marked_at = now.mono
            if any(leg.position for leg in w.legs.values()):
                self._mark(w, now)

    # --- orders and fills --------------------------------------------------------------------

    def _planned(self, w: World, event: OrderPlanned) -> None:
        draft = event.draft
        running = self._running
        why = self._rule if draft.hedge_id else _maker_rule(w, draft)
        if running is not None and draft.hedge_id == running.began.hedge_id:
            running.trails[event.request.client_id] = _Trail()
        if self._note:
            why, self._note = f"{why}; {self._note}", ""
        body = {
            "client_id": event.request.client_id,
            "hedge_id": draft.hedge_id,
            "why": why,
            "mode": w.mode.name,
            "net": w.net,
            "basis": None if w.basis is None else w.basis.mean,
            "inputs": {v.value: _inputs(w.legs[v], event.at) for v in Venue},
        }
        self.later("Decided", body, event.at.wall)

    def _filled(self, before: World, after: World, fill: Fill, at: Now) -> None:
        order = match_order(after, fill.venue, fill.client_id, fill.venue_order_id)
        if order is None:
            return
        client_id = order.request.client_id
        known = before.orders.get(client_id)
        if fill.trade_id not in order.trades or (known and fill.trade_id in known.trades):
            return
        body = {
            "client_id": client_id,
            "venue": fill.venue.value,
            "trade_id": fill.trade_id,
            "mid": after.legs[fill.venue].mid(),
            "mono": at.mono,
        }
        self.later("FillMarked", body, at.wall)
        running = self._running
        trail = running.trails.get(client_id) if running else None
        if running is None or trail is None:
            return
        trail.acked = trail.acked or at.mono  # a fill may overtake its acknowledgement
        trail.first_fill = trail.first_fill or at.mono
        trail.last_fill = at.mono
        if fill.venue is Venue.GRVT:
            running.done.append(
                Execution(
                    client_id, fill.side, fill.px, fill.qty, order.draft.touch, fill.fee,
                    fill.is_maker,
                )
            )  # fmt: skip

    @staticmethod
    def _follow(running: _Running, w: World, at: Ns) -> None:
        """Note when each order was first confirmed, and when it ended."""
        for client_id, trail in running.trails.items():
            order = w.orders.get(client_id)
            if order is None or trail.ended is not None:
                continue
            if trail.acked is None and order.state in KNOWN:
                trail.acked = at
            if order.state.over:
                trail.ended = at

    # --- hedges ------------------------------------------------------------------------------

    def _begin(self, w: World, event: HedgeStarted) -> _Running:
        self._rule = self._note = ""
        book = w.hedge_leg.book
        return _Running(
            began=event,
            primary_mid=w.primary.mid(),
            book_age=None if book is None else book.age(event.at.mono),
            naked=w.naked_integral,
            iteration=w.cycle.iteration,
            cycle=w.cycle.phase.value,
        )

    def _moved(self, event: HedgeMoved) -> None:
        running = self._running
        self._rule = f"{event.phase.value}: {event.why}"
        if running is not None and running.began.hedge_id == event.hedge_id:
            at = span(event.at.mono, running.began.fill_at)
            running.moves.append(Move(event.phase.value, event.why, at))

    def _end(self, w: World, event: HedgeEnded) -> HedgeTca | None:
        running, self._running = self._running, None
        if running is None or running.began.hedge_id != event.hedge_id:
            return None
        record = _record(running, w, event)
        self._journal.event("HedgeTca", record, event.at.wall)
        last = record.stages.total
        if last is not None:
            begin = running.began.fill_at + last
            done = tuple(running.done)
            for after in MARKOUTS:
                at = Ns(begin + after * SECOND)
                self._due.append(_Due(at, event.hedge_id, after, done))
            self._due = deque(sorted(self._due, key=lambda due: due.at))
        self._mark(w, event.at)
        return record

    def _take(self, due: _Due, w: World, now: Now) -> None:
        """Journal one markout, unless no fresh book says where the mid is."""
        if now.mono - due.at > self._stale:
            return  # the loop was away: a later mid is another markout
        book = w.hedge_leg.fresh_book(now, self._stale)
        mid = book.mid if book is not None else None
        if mid is not None:
            body = {"hedge_id": due.hedge_id, "after": due.after, "mid": mid}
            body["quote"] = markout(due.done, mid)
            self._journal.event("Markout", body, now.wall)

    def _mark(self, w: World, now: Now) -> None:
        self._marked_at = now.mono
        mids = {venue.value: leg.mid() for venue, leg in w.legs.items()}
        self.later("Marked", {**mids, "equity": w.equity()}, now.wall)


def _record(running: _Running, w: World, event: HedgeEnded) -> HedgeTca:
    began, done = running.began, running.done
    side = side_of(began.target)
    orders = tuple(
        _trail(w.orders[client_id], trail, began.fill_at)
        for client_id, trail in running.trails.items()
        if client_id in w.orders
    )
    ours = [w.orders[o.client_id] for o in orders if o.venue == Venue.GRVT.value]  # type: ignore[index]  # a ClientId, journalled as a plain int
    filled = Qty(sum(one.qty for one in done))
    return HedgeTca(
        hedge_id=began.hedge_id,
        side=side.value,
        target=Qty(abs(began.target)),
        filled=filled,
        unpriced=Qty(sum(order.cum - order.filled for order in ours)),
        vwap=vwap(done),
        notional=Quote(notional(began.arrival_mid, filled)),
        arrival_mid=began.arrival_mid,
        arrival_touch=began.arrival_touch,
        primary_mid=running.primary_mid,
        book_age=running.book_age,
        iteration=running.iteration,
        cycle=running.cycle,
        started_wall=began.at.wall - (began.at.mono - began.fill_at),
        started_mono=began.fill_at,
        ended_wall=event.at.wall,
        ended_mono=event.at.mono,
        moves=tuple(running.moves),
        orders=orders,
        parts=split(side, began.arrival_mid, began.arrival_touch, done),
        maker_qty=Qty(sum(one.qty for one in done if one.maker)),
        stages=stages(orders),
        naked=w.naked_integral - running.naked,
        failed=event.failed,
    )


def _trail(order: Order, trail: _Trail, fill_at: Ns) -> OrderTrail:
    request = order.request

    def after(at: Ns | None) -> int | None:
        return None if at is None else span(at, fill_at)

    return OrderTrail(
        client_id=request.client_id,
        venue=request.venue.value,
        purpose=request.purpose.value,
        side=request.side.value,
        px=request.px,
        qty=request.qty,
        touch=order.draft.touch,
        post_only=request.post_only,
        filled=order.cum,
        sent=after(order.sent.mono),
        acked=after(trail.acked),
        first_fill=after(trail.first_fill),
        last_fill=after(trail.last_fill),
        ended=after(trail.ended),
        reason=order.reason,
    )


def _inputs(leg: Leg, now: Now) -> dict[str, object]:
    """Return what the decision saw of one venue: touch and age; None where there was nothing."""
    seen = leg.book
    if seen is None:
        return {"bid": None, "ask": None, "age": None, "source": ""}
    book = seen.value
    return {
        "bid": book.bids[0][0] if book.bids else None,
        "ask": book.asks[0][0] if book.asks else None,
        "age": seen.age(now.mono),
        "source": seen.source,
    }


def _maker_rule(w: World, draft: Draft) -> str:
    """Say why a maker rests where it does."""
    tick = w.legs[draft.venue].instrument.tick
    behind = (draft.touch - draft.px) * draft.side.value // tick
    cycle = w.cycle
    where = f"{behind} ticks behind the touch" if behind > 0 else "at the touch"
    how = f"rests {where}" if draft.post_only else "crosses, bounded"
    return f"{cycle.phase.value} of iteration {cycle.iteration}: {how}"

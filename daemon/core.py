"""The single writer: folds events, decides, gates and journals. No I/O but the journal.

``on`` takes one event; ``tick`` returns the commands whose effects are already durable. The asyncio
shell (``daemon.loop``) only carries commands out and brings events back, and the test harnesses
drive this same class against the simulator without a loop.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from daemon.clock import utc_day
from daemon.guardian import Guardian, believed, tell, undoable
from daemon.journal import Journal, JournalLost
from daemon.narrator import Narrator
from daemon.retention import Retention
from daemon.stuck import contradicted, given_up, residue, unclear
from daemon.tca_desk import TcaDesk
from exchanges.port import Payload
from safety.gate import Approved, Denied, LegRisk, RiskView, gate
from safety.guards import Trip
from safety.latch import tighten
from safety.limits import Limits
from safety.reasons import KEEPS_POSITIONS, Reason
from safety.unwind import Flat, Orders, UnwindLeg, UnwindView, Wait, plan
from strategy.decide import decide, emergency, exposed, unhedged
from strategy.domain import (
    Bps,
    ClientId,
    Draft,
    Fill,
    Mode,
    Now,
    Ns,
    OrderRef,
    OrderRequest,
    Position,
    Px,
    Quote,
    Side,
    SignedQty,
    Venue,
    plain,
)
from strategy.events import (
    Adopted,
    CancelAsked,
    CycleMoved,
    DayBegan,
    Event,
    FundingSeen,
    HedgeMoved,
    LatchMoved,
    LevelsMoved,
    OrderPlanned,
    RoutePhase,
    Seen,
    VenueRead,
)
from strategy.fold import fold, match_order
from strategy.forced import plausible
from strategy.intents import Cancel, Emit, Intent, Place, Say
from strategy.invariants import broken
from strategy.params import Params
from strategy.world import Leg, World

KEPT = tuple(reason.value for reason in KEEPS_POSITIONS)
CLOSES = (Reason.MARGIN, Reason.FORCED)
"""Trips after which the pair is closed even where another reason would have kept it."""
MAX_STEPS = 64
"""Decisions per tick; a correct core settles in a handful."""
MINUTE = Ns(60_000_000_000)
UNWIND_PACE = Ns(150_000_000)
MAX_PACE = Ns(2_000_000_000)
RESIDUAL_READS = 3
"""Agreeing reads after which a venue's position that is not ours is named and left."""


@dataclass(frozen=True, slots=True)
class Send:
    """Carry out: send these journalled bytes."""

    payload: Payload
    approved: Approved


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """Carry out: ask for a cancel."""

    venue: Venue
    ref: OrderRef


Command = Send | CancelOrder


class Preparer(Protocol):
    """The part of a venue port that the core uses: encoding and signing, no I/O."""

    def prepare(self, request: OrderRequest) -> Payload:
        """Encode and sign."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """What the core is told once."""

    params: Params
    limits: Limits


class Core:
    """The World and the only code that moves it."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        journal: Journal,
        preparers: Mapping[Venue, Preparer],
        narrator: Narrator,
        now: Callable[[], Now],
    ) -> None:
        self.world = world
        self.settings = settings
        self.journal = journal
        self._preparers = preparers
        self._narrator = narrator
        self._now = now
        self._tca = TcaDesk(journal, settings.params.stale)
        self._retention = Retention(journal)
        narrator.recorder = self._alerted
        self._sent_at: deque[Ns] = deque()
        self._guardian = Guardian(journal)
        self._apart: dict[Venue, int] = {}
        """Consecutive REST reads in which a venue's position was not ours."""

    # --- events ----------------------------------------------------------------------------

    def on(self, event: Event) -> None:
        """Fold one event, write what must survive, and say what changed."""
        if isinstance(event, FundingSeen) and not self.journal.funding(event.payment):
            return  # already booked: a payment counts once, whoever reads it again
        if isinstance(event, Seen) and self._booked_before(event):
            return
        self._narrator.heard(event)
        before = self.world
        self.world = fold(before, event)
        if self.world is before:
            return
        problem = broken(before, self.world, event)
        if problem:
            noted = (*self.world.violations, f"invariant: {problem}")
            self.world = replace(self.world, violations=noted)
        self._record(before, event)
        if isinstance(event, LevelsMoved):
            tell(self._narrator, before.levels, event.levels)
        tca = self._tca.on(before, self.world, event)
        self._narrator.changed(before, self.world, event, tca)

    def _alerted(self, event: str, fields: Mapping[str, str | int]) -> int:
        """Journal an alert, so that it can be explained; returns its number."""
        return self.journal.event("Alert", {"event": event, **fields}, self._now().wall)

    def _booked_before(self, event: Seen) -> bool:
        """True for a forced close that the journal has: it is of no order that could tell."""
        what = event.event
        if (
            not isinstance(what, Fill)
            or not what.forced
            or match_order(self.world, what.venue, what.client_id, what.venue_order_id) is not None
        ):
            return False
        return self.journal.has_fill(what.venue, what.trade_id)

    def _record(self, before: World, event: Event) -> None:
        at = self._now()
        match event:
            case Seen():
                self._record_seen(before, event)
            case Adopted():
                self.journal.adjustment(
                    event.venue, event.qty, event.px, event.reason, event.at.wall
                )
            case FundingSeen():
                pass  # written above, where it is also deduplicated
            case VenueRead():
                pass  # read again after a restart
            case DayBegan():
                self.journal.day(event.day, event.baseline)
            case CycleMoved():
                state = {"iteration": event.iteration, "phase": event.phase.value}
                self.journal.put_meta("cycle", json.dumps(state))
                self.journal.event("CycleMoved", event, event.at.wall)
            case _:
                self.journal.event(type(event).__name__, event, event.at.wall)
        self._record_orders(before, at)

    def _record_seen(self, before: World, event: Seen) -> None:
        what = event.event
        if isinstance(what, Position) and event.source == "rest":
            same = what.qty == self.world.legs[what.venue].position
            self._apart[what.venue] = 0 if same else self._apart.get(what.venue, 0) + 1
        if isinstance(what, Fill):
            order = match_order(self.world, what.venue, what.client_id, what.venue_order_id)
            if order is not None and what.trade_id in order.trades:
                self.journal.fill(what, order.request.client_id)
            elif what.forced and self.world.forced != before.forced:
                closed = plausible(before, what)
                self.journal.fill(closed, ClientId(0))
                signed = SignedQty(closed.qty * closed.side.value)
                # priced at 0: the fill row carries the money, this one only the size
                self.journal.adjustment(what.venue, signed, Px(0), "forced", event.at.wall)
        for name in ("violations", "foreign", "forced"):
            notes = getattr(self.world, name)
            if notes != getattr(before, name):
                self.journal.event(name, {"note": notes[-1]}, event.at.wall)

    def _record_orders(self, before: World, at: Now) -> None:
        if self.world.orders is before.orders:
            return
        for client_id, order in self.world.orders.items():
            known = before.orders.get(client_id)
            if known is None or known is order:
                continue
            same = (known.state, known.cum, known.venue_order_id, known.reason)
            if same != (order.state, order.cum, order.venue_order_id, order.reason):
                self.journal.order_changed(order, at.wall)

    # --- decisions -------------------------------------------------------------------------

    def tick(self) -> list[Command]:
        """Decide until nothing changes; return durable commands."""
        commands: list[Command] = []
        for _ in range(MAX_STEPS):
            now = self._now()
            self._roll_day(now)
            if self.journal.lost:
                self.trip(Trip(Reason.JOURNAL, self.journal.lost), now)
            self._guard(now)
            self._move_latch(now)
            intents = decide(self.world, self.settings.params, now)
            if emergency(self.world):
                intents = [*intents, *self._unwind(now)]
            progressed = [self._carry_out(intent, commands, now) for intent in intents]
            if not any(progressed):
                break
        if not commands:  # bookkeeping never stands before an order
            self._tca.tick(self.world, self._now())
            self._retention.tick(self._now().mono)
        self.journal.commit()
        return commands

    def _carry_out(self, intent: Intent, commands: list[Command], now: Now) -> bool:
        match intent:
            case Emit():
                self.on(intent.event)
                return True
            case Say():
                self._narrator.say(intent)
                self._tca.say(intent)
                return False
            case Cancel():
                return self._cancel(intent, commands, now)
            case Place():
                return self._place(intent.draft, commands, now)

    def _cancel(self, intent: Cancel, commands: list[Command], now: Now) -> bool:
        order = self.world.orders.get(intent.client_id)
        if order is None or not order.live:
            return False
        self.on(CancelAsked(intent.client_id, now, intent.why))
        request = order.request
        ref = OrderRef(request.client_id, request.symbol, order.venue_order_id)
        commands.append(CancelOrder(request.venue, ref))
        return True

    def _place(self, draft: Draft, commands: list[Command], now: Now) -> bool:
        ruling = gate(draft, self.risk(draft.venue, now), self.settings.limits, now)
        if isinstance(ruling, Denied):
            return self._denied(ruling, now)
        client_id = self.journal.next_client_id(now.wall)
        symbol = self.world.legs[draft.venue].instrument.symbol
        request = draft.request(client_id, symbol, now.wall)
        payload = self._preparers[draft.venue].prepare(request)
        try:
            self.journal.order(payload, draft, now.wall)
        except JournalLost:  # not durable: it must not leave (S3); what follows only reduces
            return True
        self.on(OrderPlanned(request, draft, now))
        self._sent_at.append(now.mono)
        commands.append(Send(payload, ruling))
        return True

    def _denied(self, denied: Denied, now: Now) -> bool:
        if self._narrator.denied(denied):
            draft = denied.draft
            body = {"code": denied.code.value, "detail": denied.detail, "draft": draft}
            self._tca.later("Denied", body, now.wall)
        if denied.code is Reason.MAX_POSITION and denied.draft.purpose.opens:
            self.trip(Trip(denied.code, denied.detail), now)
            return True
        return False

    # --- guards ----------------------------------------------------------------------------

    def _roll_day(self, now: Now) -> None:
        """Begin a UTC day's loss budget; a day already journalled keeps its baseline (F62)."""
        day = utc_day(now.wall)
        if day == self.world.day:
            return
        known = self.journal.day_baseline(day)
        known_worth = believed(self.world, self.settings.params, now)
        equity = self.world.equity() if known_worth else None
        if known is None and equity is None:
            return
        baseline = known if known is not None else equity
        self.on(DayBegan(day, Quote(baseline or 0), now))

    def _guard(self, now: Now) -> None:
        """Let the guards look: levels stand and end, a trip latches, a late hedge is hurried."""
        settings = self.settings
        look = self._guardian.look(self.world, settings.params, settings.limits, now)
        if look.levels != self.world.levels:
            self.on(LevelsMoved(look.levels, now))
        if look.hurry and self.world.hedge is not None and self.world.mode is Mode.RUNNING:
            hedge_id = self.world.hedge.hedge_id
            self.on(HedgeMoved(hedge_id, RoutePhase.EMERGENCY, look.hurry, now))
        if look.trip is not None:
            self.trip(look.trip, now)
        stuck = contradicted(self.world, now)
        if stuck:
            self.trip(Trip(Reason.POSITION_MISMATCH, residue(self.world, stuck)), now)

    def trip(self, trip: Trip, now: Now) -> None:
        """Latch, or take the graver reason of two: a pair near liquidation is not kept."""
        w = self.world
        kept = w.mode is Mode.REDUCING and w.reason.startswith(KEPT)
        if w.mode is Mode.RUNNING or (kept and trip.reason in CLOSES):
            self.on(LatchMoved(Mode.REDUCING, str(trip), now))

    def _move_latch(self, now: Now) -> None:
        w = self.world
        left = exposed(w) or w.hedge is not None or undoable(w, self.settings.params)
        live = any(w.live())
        hopeless = given_up(w, now) if live and w.mode is not Mode.HALTED else ""
        if hopeless:
            self.on(LatchMoved(Mode.HALTED, f"{w.reason}; residual {hopeless}", now))
            return
        residual = self._residual() if w.mode is Mode.FLATTENING and not live else ""
        # asked only where it counts: it looks at every order kept, on each tick of the hot path
        flat = w.mode is Mode.FLATTENING and (bool(residual) or self.verified_flat())
        following = tighten(w.mode, left, live, flat, w.reason)
        if following is not w.mode:
            reason = f"{w.reason}; residual {residual}" if residual else w.reason
            self.on(LatchMoved(following, reason, now))

    def _read_after_end(self, leg: Leg) -> bool:
        """True when the venue stated its position over REST after the last order ended."""
        ended = max((o.over_at or Ns(0) for o in self.world.orders.values()), default=Ns(0))
        seen = leg.observed
        return seen is not None and seen.source == "rest" and seen.at > ended

    def verified_flat(self) -> bool:
        """True when both venues said, after the last order ended, that nothing tradable is left."""
        for leg in self.world.legs.values():
            seen = leg.observed
            if seen is None or not self._read_after_end(leg):
                return False
            if seen.value.qty != leg.position or self._closable(leg):
                return False
        return True

    def _residual(self) -> str:
        """Name what venues hold beside our books, once our books are flat and reads agree.

        It is not ours to close (a second actor's, or a venue's contradiction), and waiting for it
        would never end: the latch closes and says so.
        """
        legs = self.world.legs
        if any(self._left(leg) or not self._read_after_end(leg) for leg in legs.values()):
            return ""
        apart = {v: c for v, c in self._apart.items() if c >= RESIDUAL_READS}
        return " ".join(
            f"{venue} {plain(leg.observed.value.qty)}"
            for venue, leg in legs.items()
            if venue in apart and leg.observed is not None
        )

    def _gone(self, leg: Leg) -> bool:
        """True when a venue keeps saying that it holds nothing, whatever our books say (F73)."""
        seen = leg.observed
        reads = self._apart.get(leg.instrument.venue, 0)
        return reads >= RESIDUAL_READS and seen is not None and not seen.value.qty

    def _left(self, leg: Leg) -> bool:
        return self._closable(leg) and not self._gone(leg)

    @staticmethod
    def _closable(leg: Leg) -> bool:
        mid = leg.mid()
        size = leg.instrument.floor_qty(abs(leg.position))
        return bool(size) and (mid is None or leg.instrument.hedgeable(size, mid))

    def _unwind(self, now: Now) -> list[Intent]:
        """Ask the unwind for its next step, once nothing but its own orders may still trade."""
        w, params = self.world, self.settings.params
        cancels: list[Intent] = [
            Cancel(o.request.client_id, "unwind")
            for o in w.live()
            if o.request.post_only and o.cancel_due(now, params.recancel)
        ]
        pace = min(UNWIND_PACE << min(w.unwind_tries, 8), MAX_PACE)
        paced = now.mono - w.unwind_at < pace if w.unwind_at else False
        if cancels or paced:
            return cancels
        step = plan(self._unwind_view(now), params)
        match step:
            case Orders():
                self._narrator.unwind(w, step.why)
                self._tca.rule(f"unwind: {step.why}")
                return [Place(d) for d in step.drafts]
            case Wait():
                self._narrator.unwind_waits(w, step.why)
                return []
            case Flat():
                return []

    def _unwind_view(self, now: Now) -> UnwindView:
        w = self.world
        flattening = w.mode is Mode.FLATTENING

        def view(venue: Venue) -> UnwindLeg:
            leg = w.legs[venue]
            return UnwindLeg(
                instrument=leg.instrument,
                position=SignedQty(0) if flattening and self._gone(leg) else leg.position,
                book=leg.fresh_book(now, self.settings.params.stale),
                mark=leg.facts.fresh_mark(now, self.settings.params.mark_fresh),
                fee=Bps(leg.taker_fee),
                busy=any(w.live(venue)),
                stuck=all(unclear(w, o, now) for o in w.live(venue)),
            )

        return UnwindView(
            mode=w.mode,
            legs=(view(Venue.BACKPACK), view(Venue.GRVT)),
            tries=w.unwind_tries,
            hedge_id=w.hedge.hedge_id if w.hedge else 0,
            avoid=w.avoid,
        )

    # --- the gate's view -------------------------------------------------------------------

    def risk(self, venue: Venue, now: Now) -> RiskView:
        """Return what the gate reads for an order on a venue."""
        w = self.world
        while self._sent_at and now.mono - self._sent_at[0] > MINUTE:
            self._sent_at.popleft()
        return RiskView(
            mode=w.mode,
            leg=self._leg_risk(venue, now),
            other=self._leg_risk(venue.other, now),
            net=w.net,
            day_pnl=w.day_pnl(),
            unhedged=unhedged(w) or w.maker() is not None,
            orders_last_minute=len(self._sent_at),
            held=w.held(),
        )

    def _leg_risk(self, venue: Venue, now: Now) -> LegRisk:
        leg = self.world.legs[venue]
        book = leg.book.value if leg.book else None
        if book is not None and book.bids and book.asks and not book.sane:
            book = None  # a crossed book bounds nothing (F66)
        return LegRisk(
            instrument=leg.instrument,
            position=leg.position,
            reserved_buy=self.world.reserved(venue, Side.BUY.value),
            reserved_sell=self.world.reserved(venue, Side.SELL.value),
            bid=book.bids[0][0] if book and book.bids else None,
            ask=book.asks[0][0] if book and book.asks else None,
            book_at=leg.book.at if leg.book else None,
            up=leg.public_up and leg.private_up,
            mark=leg.facts.fresh_mark(now, self.settings.params.mark_fresh),
            current=leg.fresh_book(now, self.settings.params.stale) is not None,
        )

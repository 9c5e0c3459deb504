"""What must hold, judged by the engines' own fills and positions, never by the daemon's books."""

from dataclasses import dataclass, field

from daemon.app import App
from daemon.core import Core
from exchanges.port import Payload
from exchanges.simulator.model import EngineEvent, OrderChanged, SimFill
from exchanges.simulator.universe import Universe
from strategy.domain import Draft, Mode, Ns, Purpose, Qty, Venue, nano, plain
from strategy.params import SECOND
from strategy.world import World
from tests.dst.process import SimJournal
from tests.simloop import SimLoop

NAKED = nano("0.01")
"""The smallest exposure that GRVT trades: less is dust."""
KEPT = frozenset({"done", "dead"})


@dataclass(slots=True)
class Figures:
    """What one episode adds to the totals."""

    orders: int = 0
    fills: int = 0
    naked: int = 0
    """1e-9 base x ns."""
    longest: int = 0
    """ns of the longest spell with a hedgeable exposure."""
    over: int = 0
    """1e-9 base traded beyond what was exposed, by hedges."""
    reconciled: int = 0
    """ns of the slowest start with both venues up."""


@dataclass(slots=True)
class Truth:
    """The world's own account of the daemon: subscribes to both engines.

    Attributes:
        broken: every violation, with its virtual time.
        tolerant: a second actor or the venue itself trades the account: S1 is not ours alone.
    """

    universe: Universe
    loop: SimLoop
    cap: Qty
    tolerant: bool = False
    broken: list[str] = field(default_factory=list)
    figures: Figures = field(default_factory=Figures)
    positions: dict[Venue, int] = field(default_factory=lambda: dict.fromkeys(Venue, 0))
    sent: dict[tuple[Venue, str], Payload] = field(default_factory=dict)
    trades: list[tuple[int, Venue, int, int]] = field(default_factory=list)
    """(ns, venue, signed size, price) of every fill of ours."""
    mode: Mode = Mode.RUNNING
    planned: dict[int, int] = field(default_factory=dict)
    journalled: dict[int, bytes] = field(default_factory=dict)
    _at: int = 0
    naked_since: int | None = None
    spells: list[tuple[int, int]] = field(default_factory=list)
    """(from, to), ns: when a hedgeable exposure stood."""

    def __post_init__(self) -> None:
        for venue, engine in self.universe.engines.items():
            engine.subscribe(lambda event, v=venue: self._heard(v, event))  # type: ignore[misc]

    def say(self, what: str) -> None:
        """Record a violation."""
        self.broken.append(f"{self.loop.time():.3f} s: {what}")

    @property
    def net(self) -> int:
        return sum(self.positions.values())

    # --- trades ------------------------------------------------------------------------------

    def _heard(self, venue: Venue, event: EngineEvent) -> None:
        if not isinstance(event, OrderChanged) or event.fill is None:
            return
        if event.fill.account != self.universe.account(venue).account_id:
            return
        self._traded(venue, event.fill, event.order.request.client_id)

    def _traded(self, venue: Venue, fill: SimFill, client: str) -> None:
        self.clock()
        before = self.net
        signed = fill.qty * fill.side.value
        self.positions[venue] += signed
        after = self.net
        self.figures.fills += 1
        self.trades.append((self.loop.ns(), venue, signed, fill.px))
        known = self.sent.get((venue, client))
        if known is not None:
            self._judge_hedge(known, before, after, signed)
        if not self.tolerant and abs(self.positions[venue]) > self.cap:
            self.say(f"S11: {venue} holds {plain(self.positions[venue])}")
        naked = abs(after) >= NAKED
        if naked and self.naked_since is None:
            self.naked_since = self.loop.ns()
        if not naked and self.naked_since is not None:
            self.spells.append((self.naked_since, self.loop.ns()))
            self.naked_since = None

    def _judge_hedge(self, known: Payload, before: int, after: int, signed: int) -> None:
        """S1 and S2: what a hedge trades was exposed, and it never crosses zero."""
        request = known.request
        reducing = request.purpose is Purpose.HEDGE or (
            request.purpose is Purpose.UNWIND and self.mode is not Mode.FLATTENING
        )
        if not reducing:
            return
        exposed = max(0, -before if signed > 0 else before)
        over = max(0, abs(signed) - exposed)
        if over and not self.tolerant:
            self.figures.over = max(self.figures.over, over)
            self.say(
                f"S1: {request.purpose} {request.client_id} on {request.venue} traded "
                f"{plain(signed)} at a net of {plain(before)}: {plain(over)} too much"
            )
        del after

    def clock(self) -> None:
        """Bring the naked exposure's integral to the present."""
        now = self.loop.ns()
        self.figures.naked += abs(self.net) * (now - self._at)
        self._at = now
        if self.naked_since is not None:
            self.figures.longest = max(self.figures.longest, now - self.naked_since)

    # --- what leaves -------------------------------------------------------------------------

    def on_order(self, core: Core | None, draft: Draft, payload: Payload) -> None:
        """An order is about to be journalled: S9, S12, S15, S16."""
        self.planned[payload.request.client_id] = self.loop.ns()
        self.journalled[payload.request.client_id] = payload.body
        if core is None:
            return
        w = core.world
        if w.mode is not Mode.RUNNING and draft.purpose.opens:
            self.say(f"S12: an opening order in mode {w.mode.name}")
        if w.mode in (Mode.REDUCING, Mode.FLATTENING) and not draft.reduce_only:
            self.say(f"S15: {draft.purpose} without reduce-only in mode {w.mode.name}")
        if w.mode is Mode.HALTED:
            self.say(f"S12: {draft.purpose} sent while HALTED")
        if draft.purpose.opens:
            self._fresh(w, core)

    def _fresh(self, w: World, core: Core) -> None:
        now = self.loop.ns() + SECOND
        for venue, leg in w.legs.items():
            age = now - leg.book.at if leg.book else None
            if age is None or age > core.settings.limits.stale:
                self.say(f"S9: opened on a book of {venue} of age {age}")

    def on_send(self, journal: SimJournal | None, ttl: int, payload: Payload) -> None:
        """Bytes are about to leave: S3, S4, S8."""
        self.figures.orders += 1
        request = payload.request
        if journal is None or request.client_id not in journal.durable:
            self.say(f"S3: order {request.client_id} left before its row was committed")
        base = (1 << 63) if request.venue is Venue.GRVT else 0
        key = request.venue, str(base + request.client_id)
        known = self.sent.setdefault(key, payload)
        if known.body != payload.body:
            self.say(f"S4: {request.client_id} names two different orders")
        age = self.loop.ns() - self.planned.get(request.client_id, 0)
        if age > ttl:
            self.say(f"S8: order {request.client_id} left {age / 1e9:.3f} s after its approval")

    def on_copy(self, journal: SimJournal | None, payload: Payload) -> None:
        """The same bytes are about to leave once more: S3, S4; the gate has approved the copy."""
        request = payload.request
        if journal is None or request.client_id not in journal.durable:
            self.say(f"S3: a copy of {request.client_id} left before its row was committed")
        key = request.venue, str((1 << 63) + request.client_id)
        self.sent.setdefault(key, payload)  # a crash before the first sending left it to the copy
        known = self.sent[key].body, self.journalled.get(request.client_id)
        if request.venue is not Venue.GRVT or known != (payload.body, payload.body):
            self.say(f"S4: {request.client_id} was sent again with other bytes")

    # --- the end -----------------------------------------------------------------------------

    def check_spells(self, calm_at: int, bound: int) -> None:
        """L2: with the venues well again, no exposure outlasts its budget and the emergency."""
        now = self.loop.ns()
        open_now = [] if self.naked_since is None else [(self.naked_since, now)]
        for since, until in [*self.spells, *open_now]:
            took = until - max(since, calm_at)
            if took > bound and not self.tolerant:
                self.say(f"L2: naked for {took / 1e9:.1f} s of calm, from {since / 1e9:.3f} s on")

    def check_orders(self) -> None:
        """S7, S10 and "no order doubled" over everything that the engines took."""
        for venue, engine in self.universe.engines.items():
            seen: dict[str, int] = {}
            mine = self.universe.account(venue).account_id
            for order in engine.orders.values():
                if (
                    order.request.account != mine
                    or (venue, order.request.client_id) not in self.sent
                ):
                    continue
                seen[order.request.client_id] = seen.get(order.request.client_id, 0) + 1
                if order.cum > order.request.qty:
                    self.say(f"S7: {order.request.client_id} traded more than ordered")
                px = order.request.px
                if order.cum and px is not None:
                    average = order.cum_quote * 10**9 // order.cum
                    if (average - px) * order.request.side.value > 1:
                        self.say(f"S10: {order.request.client_id} filled beyond its bound")
            doubled = [client for client, times in seen.items() if times > 1]
            if doubled:
                self.say(f"S4: the engine took {doubled} more than once")

    def check_history(self, journal: SimJournal) -> None:
        """The journal's own story: sent first, sizes grow, nothing ended comes back."""
        last: dict[int, tuple[str, int]] = {}
        for _, client, state, cum in journal.history:
            known = last.get(client)
            if known is not None:
                if cum < known[1]:
                    self.say(f"S7: the journal's traded size of {client} shrank")
                if known[0] in KEPT and state not in (*KEPT, "quarantined"):
                    self.say(f"S5: the journal let {client} come back to life")
            last[client] = state, cum

    def check_fold(self, live: World, scratch: World) -> None:
        """Fold from scratch equals the incremental fold."""
        for venue, leg in live.legs.items():
            other = scratch.legs[venue]
            for name in ("position", "cash", "fees", "funding", "volume"):
                mine, theirs = getattr(leg, name), getattr(other, name)
                if mine != theirs:
                    self.say(f"fold: {venue} {name} {mine} incrementally, {theirs} from scratch")
        for client, order in live.orders.items():
            known = scratch.orders.get(client)
            if known is None:
                continue
            mine = (order.cum, order.filled, order.cost, order.fee, order.state.over)
            theirs = (known.cum, known.filled, known.cost, known.fee, known.state.over)
            if mine != theirs:
                self.say(f"fold: order {client} {mine} incrementally, {theirs} from scratch")


def ttl_of(app: App) -> Ns:
    """Return how long an approval of this process is good."""
    loop = getattr(app, "loop", None)
    ttl: Ns = loop.core.settings.limits.approval_ttl if loop is not None else Ns(SECOND)
    return ttl

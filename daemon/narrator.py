"""Turns World changes into the log lines of contract section 4: one line per state change."""

from collections.abc import Callable, Mapping
from typing import Protocol

from daemon.metrics import RunMetrics, average_price, slippage
from daemon.tca import PARTS, HedgeTca
from safety.gate import Denied
from strategy.depth import fetch_bbo
from strategy.domain import (
    Instrument,
    Mode,
    Now,
    OrderView,
    Purpose,
    Px,
    Quote,
    Side,
    StreamState,
    Venue,
    bps_text,
    plain,
    ratio_bps,
    side_of,
)
from strategy.events import (
    Adopted,
    CancelAsked,
    CycleMoved,
    CyclePhase,
    DayBegan,
    Event,
    HedgeEnded,
    HedgeMoved,
    HedgeStarted,
    LatchMoved,
    OrderAnswered,
    OrderDead,
    OrderPlanned,
    RoutePhase,
    Seen,
    StopAsked,
    VenueRead,
    Verdict,
)
from strategy.intents import Say
from strategy.world import Hedge, Order, OrderState, World

Field = str | int


class LogSink(Protocol):
    """Where lines go."""

    def emit(self, level: str, tag: str, event: str, fields: Mapping[str, Field]) -> None:
        """Write one line; never blocks, never raises."""
        ...


class Narrator:
    """Says what changed, counts what degraded."""

    def __init__(self, sink: LogSink, metrics: RunMetrics) -> None:
        self.sink = sink
        self.metrics = metrics
        self.recorder: Callable[[str, Mapping[str, Field]], int] | None = None
        """Journals an alert; its number makes the alert's id, which the line then carries."""
        self._said: dict[str, str] = {}
        self._fallbacks: set[str] = set()
        """Fallbacks of the running hedge that were counted."""

    # --- plain words -----------------------------------------------------------------------

    def line(self, level: str, tag: str, event: str, **fields: Field) -> None:
        """Write one line."""
        if tag == "ALERT" and self.recorder is not None:
            fields["alert"] = f"a-{self.recorder(event, fields)}"
        self.sink.emit(level, tag, event, fields)

    def once(self, level: str, tag: str, event: str, key: str, **fields: Field) -> bool:
        """Write one line unless the last one of this event had the same key; true if written."""
        slot = f"{tag}.{event}.{fields.get('venue', '')}"
        if self._said.get(slot) == key:
            return False
        self._said[slot] = key
        self.line(level, tag, event, **fields)
        return True

    def say(self, say: Say) -> None:
        """Write what a decision wants said; a fallback is counted once per hedge and reason."""
        fields = dict(say.fields)
        if say.event == "degraded":
            self._fallback(say.key, str(fields.pop("why")), **fields)
            return
        self.once(say.level, say.tag, say.event, say.key, **fields)

    def _fallback(self, key: str, why: str, **fields: Field) -> None:
        if key not in self._fallbacks:
            self._fallbacks.add(key)
            self.degraded(why, **fields)

    def degraded(self, why: str, **fields: Field) -> None:
        """Count, log and alert a bounded fallback: never silent."""
        self.metrics.degraded += 1
        self.line("warning", "SMART_ROUTING", "degraded", why=why, **fields)
        self.line("warning", "ALERT", "degraded", why=why, count=self.metrics.degraded, **fields)

    def denied(self, denied: Denied) -> bool:
        """Say what the gate refused, once per reason; true when it was said."""
        draft = denied.draft
        return self.once(
            "warning",
            "SAFETY",
            "denied",
            f"{draft.venue}:{draft.purpose}:{denied.code}:{denied.detail}",
            code=denied.code.value,
            detail=denied.detail,
            venue=draft.venue.value,
            purpose=draft.purpose.value,
            side=str(draft.side),
            qty=plain(draft.qty),
        )

    def unwind(self, w: World, why: str) -> None:
        """Say what the emergency path chose."""
        key = f"{why}:{w.net}:{w.unwind_tries}:{w.unwind_at}"
        fields = _positions(w)
        self.once("warning", "EMERGENCY", "unwind", key, why=why, **fields, tries=w.unwind_tries)

    def unwind_waits(self, w: World, why: str) -> None:
        """Say what the emergency path waits for, once."""
        self.once("warning", "EMERGENCY", "waiting", f"{w.mode}:{why}", why=why, **_positions(w))

    def heard(self, event: Event) -> None:
        """Alert that a venue kept us from trading with ourselves: somebody else trades (F17).

        It may be told of an order that has already ended, and then changes nothing in the World.
        """
        what = event.event if isinstance(event, Seen) else None
        if isinstance(what, OrderView) and what.reason.upper().startswith("SELF"):
            number = what.client_id or 0
            self.once(
                "error", "ALERT", "self_trade", str(number),
                venue=what.venue.value, order=number, why=what.reason,
            )  # fmt: skip

    # --- world changes ---------------------------------------------------------------------

    def changed(  # noqa: C901, PLR0912 - one dispatch
        self, before: World, after: World, event: Event, tca: HedgeTca | None = None
    ) -> None:
        """Say what one event changed; ``tca`` is the record of the hedge that it ended."""
        match event:
            case OrderPlanned():
                self._planned(after, event)
            case HedgeStarted():
                self._hedge_started(after, event)
            case HedgeMoved():
                self._hedge_moved(event)
            case HedgeEnded():
                self._hedge_ended(before, event, tca)
            case CycleMoved():
                self._cycle_moved(before, after, event)
            case LatchMoved():
                self._latch_moved(after, event)
            case OrderAnswered():
                self._answered(after, event)
            case OrderDead():
                self.line("warning", "VENUE", "dead", order=event.client_id, proof=event.proof)
            case CancelAsked() if before.orders[event.client_id].cancel_at is None:
                self.line("info", "VENUE", "cancel", order=event.client_id, why=event.why)
            case StopAsked():
                self.line("info", "SHUTDOWN", "stopping", flatten=str(event.flatten).lower())
            case DayBegan():
                self.line("info", "SAFETY", "day", day=event.day, baseline=plain(event.baseline))
            case Adopted():
                self.line(
                    "warning",
                    "RECONCILE",
                    "adopted",
                    venue=event.venue.value,
                    qty=plain(event.qty),
                    price=plain(event.px),
                    reason=event.reason,
                )
            case VenueRead() if isinstance(event.fact, Instrument):
                if event.fact != before.legs[event.venue].instrument:
                    self._rules(event.fact)
            case _:
                pass
        if isinstance(event, Seen) and isinstance(event.event, StreamState):
            self._stream(event.event)
        self._notes(before, after)
        self._orders(before, after)

    def _planned(self, w: World, event: OrderPlanned) -> None:
        draft, request = event.draft, event.request
        common: dict[str, Field] = {
            "side": str(draft.side),
            "qty": plain(draft.qty),
            "price": plain(draft.px),
        }
        if draft.purpose is Purpose.HEDGE:
            n = w.hedge.iterations if w.hedge else 0
            self.line(
                "info",
                "SMART_ROUTING",
                "iteration",
                n=n,
                qty=plain(draft.qty),
                price=plain(draft.px),
                levels=draft.levels,
                available=plain(draft.available),
                slippage_bps=bps_text(draft.slippage),
                order=request.client_id,
                side=str(draft.side),
                kind="post_only" if draft.post_only else "ioc",
                hedge=f"h-{draft.hedge_id}",
            )
            return
        tag = {Purpose.OPEN: "OPEN", Purpose.CLOSE: "CLOSE"}.get(draft.purpose, "EMERGENCY")
        self.line(
            "info",
            tag,
            "order",
            venue=draft.venue.value,
            **common,
            kind="post_only" if draft.post_only else "ioc",
            reduce_only=str(draft.reduce_only).lower(),
            touch=plain(draft.touch),
            order=request.client_id,
        )

    def _hedge_started(self, w: World, event: HedgeStarted) -> None:
        leg = w.hedge_leg
        bbo = fetch_bbo(leg.book.value) if leg.book else None
        side = side_of(event.target)
        price = Px(event.arrival_touch - leg.instrument.tick * side.value)
        self.line(
            "info",
            "SMART_ROUTING",
            "starting",
            side=str(side),
            target=plain(abs(event.target)),
            price=plain(price),
            spread=plain(bbo.spread) if bbo else "unknown",
            spread_bps=bps_text(bbo.spread_bps) if bbo else "unknown",
            book_age_ms=(leg.book.age(event.at.mono) // 1_000_000) if leg.book else -1,
            hedge=f"h-{event.hedge_id}",
        )

    def _hedge_moved(self, event: HedgeMoved) -> None:
        hedge = f"h-{event.hedge_id}"
        if event.phase is RoutePhase.CROSS:
            self.line("info", "SMART_ROUTING", "cross", why=event.why, hedge=hedge)
        elif event.phase is RoutePhase.EMERGENCY:
            self.line("warning", "EMERGENCY", "hedge_late", why=event.why, hedge=hedge)
            self.line("warning", "ALERT", "hedge_late", hedge=hedge)

    def _hedge_ended(self, before: World, event: HedgeEnded, tca: HedgeTca | None) -> None:
        hedge = before.hedge
        if hedge is None:
            return
        self._fallbacks.clear()
        self.metrics.hedge_ended(hedge, event.failed)
        fields: dict[str, Field] = {
            "iterations": hedge.iterations,
            "filled": plain(hedge.filled),
            "avg_price": plain(average_price(hedge)),
            "slippage_bps": bps_text(slippage(hedge)) if hedge.touch_cost else "unknown",
            "fee_bps": bps_text(ratio_bps(hedge.fee, hedge.cost)) if hedge.cost else "unknown",
            "elapsed_ms": _elapsed(hedge, event.at),
            "hedge": f"h-{hedge.hedge_id}",
        }
        if tca is not None and tca.filled:
            fields["shortfall_bps"] = _bps(tca, tca.shortfall)
            fields["maker_share"] = _share(tca)
        if event.failed:
            self.line("error", "SMART_ROUTING", "failed", **fields)
        else:
            self.line("info", "SMART_ROUTING", "filled", **fields)
        if tca is not None:
            self._tca(tca)

    def _tca(self, tca: HedgeTca) -> None:
        """Say what the hedge cost, part by part."""
        self.line(
            "info",
            "METRICS",
            "tca",
            hedge=tca.name,
            side=str(Side(tca.side)),
            phase=tca.phase,
            filled=plain(tca.filled),
            vwap="unknown" if tca.vwap is None else plain(tca.vwap),
            arrival_mid=plain(tca.arrival_mid),
            shortfall=plain(tca.shortfall),
            shortfall_bps=_bps(tca, tca.shortfall),
            **{f"{name}_bps": _bps(tca, getattr(tca.parts, name)) for name in PARTS[:-1]},
            maker_share=_share(tca),
            elapsed_ms=tca.elapsed // 1_000_000,
            naked_base_seconds=plain((tca.naked or 0) // 1_000_000_000),
        )

    def _cycle_moved(self, before: World, after: World, event: CycleMoved) -> None:
        if event.phase in (CyclePhase.BUILD, CyclePhase.DONE):
            self.metrics.iterations += before.cycle.phase is CyclePhase.UNWIND
            self.line(
                "info",
                "METRICS",
                "iteration_complete",
                iteration=before.cycle.iteration,
                pnl=plain(_round(after.day_pnl())),
                **_positions(after),
            )
        if event.phase is not CyclePhase.DONE:
            first = "buy" if after.cycle.direction > 0 else "sell"
            tag = "OPEN" if event.phase is CyclePhase.BUILD else "CLOSE"
            self.line(
                "info",
                tag,
                event.phase.value,
                iteration=event.iteration,
                first=first,
                **_positions(after),
            )

    def _latch_moved(self, w: World, event: LatchMoved) -> None:
        level = "info" if event.mode is Mode.RUNNING else "error"
        mode = event.mode.name
        self.line(level, "SAFETY", "latch", mode=mode, reason=event.reason, **_positions(w))
        if event.mode is not Mode.RUNNING:
            self.line("error", "ALERT", "latch", mode=mode, reason=event.reason)

    def _answered(self, w: World, event: OrderAnswered) -> None:
        order = w.orders.get(event.client_id)
        venue = order.request.venue.value if order else "unknown"
        if event.verdict is Verdict.IN_DOUBT:
            self.line(
                "warning", "VENUE", "in_doubt", order=event.client_id, venue=venue,
                why=event.message,
            )  # fmt: skip
        elif event.verdict is Verdict.REFUSED:
            level = "info" if event.post_only_cross else "warning"
            self.line(
                level, "VENUE", "refused", order=event.client_id, venue=venue, code=event.code,
                message=event.message,
            )  # fmt: skip

    def _stream(self, state: StreamState) -> None:
        level = "info" if state.up else "warning"
        self.line(
            level,
            "VENUE",
            "stream_up" if state.up else "stream_down",
            venue=state.venue.value,
            surface=state.surface.value,
            why=state.why,
        )

    def _notes(self, before: World, after: World) -> None:
        for name, event in (
            ("violations", "venue_violation"),
            ("foreign", "foreign_activity"),
            ("forced", "venue_forced_close"),
        ):
            notes = getattr(after, name)
            if notes != getattr(before, name):
                self.line("error", "ALERT", event, what=notes[-1])

    def _orders(self, before: World, after: World) -> None:
        if after.orders is before.orders:
            return
        for client_id, order in after.orders.items():
            known = before.orders.get(client_id)
            if known is not None and known is not order:
                self._order(after, known, order)

    def _order(self, w: World, known: Order, order: Order) -> None:
        purpose = order.request.purpose
        if order.state is OrderState.QUARANTINED and known.state is not order.state:
            self.line(
                "error", "ALERT", "quarantined", order=order.request.client_id, why=order.reason
            )
        ended = order.state.over and not known.state.over
        if ended and order.state is OrderState.DEAD and purpose is Purpose.HEDGE:
            self._refused_hedge(order)
        if purpose in (Purpose.OPEN, Purpose.CLOSE):
            self._maker(purpose, known, order, ended)
        elif purpose is Purpose.HEDGE and ended and 0 < order.cum < order.request.qty:
            self.line(
                "info",
                "SMART_ROUTING",
                "partial_fill",
                filled=plain(order.cum),
                of=plain(order.request.qty),
                remaining=plain(abs(w.net)),
                order=order.request.client_id,
                hedge=f"h-{order.draft.hedge_id}",
            )
        elif purpose is Purpose.UNWIND and ended:
            self.line(
                "warning",
                "EMERGENCY",
                "order_ended",
                venue=order.request.venue.value,
                filled=plain(order.cum),
                of=plain(order.request.qty),
                reason=order.reason,
                **_positions(w),
            )

    def _rules(self, rules: Instrument) -> None:
        """Alert that a venue has changed its rules while we trade (F14)."""
        self.line(
            "warning",
            "ALERT",
            "instrument_changed",
            venue=rules.venue.value,
            tick=plain(rules.tick),
            step=plain(rules.step),
            min_qty=plain(rules.min_qty),
            min_notional=plain(rules.min_notional),
        )

    def _refused_hedge(self, order: Order) -> None:
        """Count that the router must back off; a post-only order that would cross is no fault."""
        if not order.crossed:
            venue, hedge = order.request.venue.value, f"h-{order.draft.hedge_id}"
            why = f"{venue} refused a hedge: {order.reason}"
            self._fallback(f"{hedge}:refused", why, order=order.request.client_id, hedge=hedge)

    def _maker(self, purpose: Purpose, known: Order, order: Order, ended: bool) -> None:
        tag = "OPEN" if purpose is Purpose.OPEN else "CLOSE"
        if order.cum > known.cum:
            self.line(
                "info",
                tag,
                "filled" if order.cum == order.request.qty else "partial_fill",
                venue=order.request.venue.value,
                side=str(order.request.side),
                qty=plain(order.cum - known.cum),
                of=plain(order.request.qty),
                price=plain(order.request.px),
                order=order.request.client_id,
            )
        elif ended and order.cum < order.request.qty:
            self.line(
                "info",
                tag,
                "ended",
                filled=plain(order.cum),
                of=plain(order.request.qty),
                reason=order.reason,
                order=order.request.client_id,
            )


def _elapsed(hedge: Hedge, at: Now) -> int:
    return ((hedge.last_over_at or at.mono) - hedge.fill_at) // 1_000_000


def _bps(tca: HedgeTca, amount: int) -> str:
    value = tca.bps(amount)
    return "unknown" if value is None else bps_text(value)


def _share(tca: HedgeTca) -> str:
    share = tca.maker_share
    return "unknown" if share is None else plain(share * 1000)


def _round(value: Quote | None) -> int:
    return 0 if value is None else value // 1000 * 1000


def _positions(w: World) -> dict[str, Field]:
    return {
        "backpack": plain(w.legs[Venue.BACKPACK].position),
        "grvt": plain(w.legs[Venue.GRVT].position),
        "net": plain(w.net),
    }

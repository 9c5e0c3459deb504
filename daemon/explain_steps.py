"""The steps of a causal chain: one journal row, order or fill becomes one line in plain words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from daemon.journal_read import EventRow, FillRow, JournalReader, OrderRow
from daemon.report_data import Rows
from daemon.tca import PARTS, HedgeTca
from strategy.domain import BPS_UNIT, Bps, Mode, Side, Venue, bps_text, plain

MS = 1_000_000
RANKS = ("cause", "hedge", "phase", "inputs", "rule", "gate", "sent")
"""Steps of one moment, in the order in which they depend on each other."""
_SHOWN = {"client_id": "order", "hedge_id": "hedge_id", "code": "code"}


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a chain."""

    wall: int
    seq: int
    step: str
    text: str
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """The place among steps of the same moment."""
        return RANKS.index(self.step) if self.step in RANKS else len(RANKS)


class Story:
    """Makes steps from a journal's rows."""

    def __init__(self, rows: Rows, reader: JournalReader) -> None:
        self._rows = rows
        self._decided = {e.body["client_id"]: e for e in reader.events("Decided")}
        self._seen = {
            (e.body["venue"], e.body["trade_id"], e.body["client_id"]): e
            for e in reader.events("FillMarked")
        }
        self._answers: dict[int, list[EventRow]] = {}
        for event in reader.events("OrderAnswered", "CancelAsked", "OrderDead"):
            self._answers.setdefault(event.body["client_id"], []).append(event)
        self._hedge_rows: dict[int, list[EventRow]] = {}
        for event in reader.events("HedgeStarted", "HedgeMoved", "HedgeEnded", "Markout"):
            self._hedge_rows.setdefault(event.body["hedge_id"], []).append(event)
        self._denied = reader.events("Denied")
        self._latch = reader.events("LatchMoved")

    # --- orders ------------------------------------------------------------------------------

    def what(self, order: OrderRow) -> str:
        """Describe an order in one line."""
        kind = "post-only" if order.post_only else order.tif
        reduce = " reduce-only" if order.reduce_only else ""
        return (
            f"{order.purpose} order on {order.venue.value}: {order.side} {plain(order.qty)} "
            f"at {plain(order.px)}, {kind}{reduce}"
        )

    def order(self, order: OrderRow) -> list[Step]:
        """Return an order's chain."""
        steps = self._decision(order)
        words = self.what(order)
        sent = {
            "order": order.client_id,
            "venue": order.venue.value,
            "side": str(order.side),
            "qty": plain(order.qty),
            "price": plain(order.px),
            "tif": order.tif,
            "post_only": order.post_only,
            "touch": plain(order.touch),
        }
        text = f"{order.client_id} {words}; touch {plain(order.touch)}"
        steps.append(Step(order.sent_wall, 0, "sent", text, sent))
        for event in self._answers.get(order.client_id, []):
            steps += self.plain_step(event)
        steps += [self._fill(f) for f in self._rows.fills if f.client_id == order.client_id]
        if order.over_wall is not None:
            text = f"{order.client_id} {self.ended(order)}"
            steps.append(Step(order.over_wall, 1 << 62, "end", text, {"order": order.client_id}))
        return steps

    def _decision(self, order: OrderRow) -> list[Step]:
        event = self._decided.get(order.client_id)
        if event is None:
            return []
        body = event.body
        steps = [
            Step(event.wall, event.seq, "inputs", _inputs(Venue(name), seen), {"venue": name})
            for name, seen in body["inputs"].items()
        ]
        net = f"net {plain(body['net'])}"
        basis = body["basis"]
        around = net if basis is None else f"{net}, basis {bps_text(Bps(basis))} bps"
        steps.append(Step(event.wall, event.seq, "rule", f"{body['why'] or 'hedge'} ({around})"))
        gate = f"approved {order.client_id} in mode {body['mode']}"
        steps.append(Step(event.wall, event.seq, "gate", gate, {"verdict": "approved"}))
        return steps

    def ended(self, order: OrderRow) -> str:
        """Say how an order ended, or that it has not."""
        traded = f"traded {plain(order.cum)} of {plain(order.qty)}"
        if order.over_wall is None:
            return f"not over, state {order.state}: {traded}"
        reason = f", {order.reason}" if order.reason else ""
        return f"over ({order.state}{reason}): {traded}"

    def caused(self, order: OrderRow) -> list[str]:
        """Return the hedges that an order's fills led to: those that ran when it traded."""
        if order.venue is not Venue.BACKPACK or order.hedge_id:
            return []
        seen = [self._fill(f).wall for f in self._rows.fills if f.client_id == order.client_id]
        return [h.name for h in self._rows.hedges if any(_led_to(wall, h) for wall in seen)]

    def _fill(self, fill: FillRow) -> Step:
        seen = self._seen.get((fill.venue.value, fill.trade_id, fill.client_id))
        mid = seen.body["mid"] if seen is not None else None
        role = "maker" if fill.is_maker else "taker"
        at = "" if mid is None else f", mid then {plain(mid)}"
        text = (
            f"{fill.client_id} {fill.venue.value} {fill.side} {plain(fill.qty)} at "
            f"{plain(fill.px)} as {role}, fee {plain(fill.fee)} {fill.fee_asset}{at}"
        )
        fields = {
            "order": fill.client_id,
            "venue": fill.venue.value,
            "qty": plain(fill.qty),
            "price": plain(fill.px),
            "fee": plain(fill.fee),
            "maker": fill.is_maker,
        }
        if seen is None:
            return Step(fill.at, 0, "fill", f"{text} (venue's time)", fields)
        return Step(seen.wall, seen.seq, "fill", text, fields)

    # --- hedges ------------------------------------------------------------------------------

    def hedge(self, hedge: HedgeTca) -> list[Step]:
        """Return a hedge's chain: the fills that caused it, its orders, its phases, its cost."""
        steps: list[Step] = []
        for fill in self._rows.fills:
            order = self._rows.orders.get(fill.client_id)
            step = self._fill(fill)
            if fill.venue is Venue.BACKPACK and order is not None and not order.hedge_id:
                steps += [replace(step, step="cause")] if _led_to(step.wall, hedge) else []
        for event in self._hedge_rows.get(hedge.hedge_id, []):
            steps += self.plain_step(event)
        for row in self._rows.orders.values():
            if row.hedge_id == hedge.hedge_id:
                steps += self.order(row)
        for event in self._denied:
            mine = event.body["draft"]["hedge_id"] == hedge.hedge_id
            steps += self.plain_step(event) if mine else []
        if not hedge.rebuilt:
            steps.append(Step(hedge.ended_wall, (1 << 62) + 1, "tca", tca_words(hedge)))
        return steps

    def hedge_words(self, hedge: HedgeTca) -> tuple[str, str]:
        """Return what a hedge was for, and how it ended."""
        what = (
            f"hedge: {Side(hedge.side)} {plain(hedge.target)} on grvt, arrival mid "
            f"{plain(hedge.arrival_mid)}, touch {plain(hedge.arrival_touch)}"
        )
        over = any(e.kind == "HedgeEnded" for e in self._hedge_rows.get(hedge.hedge_id, []))
        if not over:
            return what, f"not over, or its process died: filled {plain(hedge.filled)} so far"
        at = "" if hedge.vwap is None else f" at {plain(hedge.vwap)}"
        how = "the emergency path removed the exposure" if hedge.failed else f"ended {hedge.phase}"
        return what, f"{how}: filled {plain(hedge.filled)}{at}; {tca_words(hedge)}"

    # --- anything ------------------------------------------------------------------------------

    def latches(self) -> list[Step]:
        """Return every move of the latch."""
        return [step for event in self._latch for step in self.plain_step(event)]

    def plain_step(self, event: EventRow) -> list[Step]:
        """Return one journal row as a step."""
        body = event.body
        step, text = _WORDS.get(event.kind, _other)(body)
        fields: dict[str, Any] = {shown: body[key] for key, shown in _SHOWN.items() if key in body}
        return [Step(event.wall, event.seq, step, text or event.kind, fields)]


def _led_to(wall: int, hedge: HedgeTca) -> bool:
    """True for a primary fill that a hedge answers: seen when it began, or while it ran."""
    return hedge.started_wall - MS <= wall <= hedge.ended_wall


def tca_words(hedge: HedgeTca) -> str:
    """Return a hedge's cost and its parts on one line."""
    if not hedge.notional:
        return "nothing was filled on the hedge venue"
    parts = [
        f"{name} {bps_text(hedge.bps(getattr(hedge.parts, name)) or Bps(0))}"
        for name in PARTS
        if getattr(hedge.parts, name)
    ]
    share = (hedge.maker_share or 0) // 10_000
    naked = (
        "" if hedge.naked is None else f", naked {plain(hedge.naked // 10**15 * 10**6)} base x s"
    )
    cost = bps_text(hedge.bps(hedge.shortfall) or Bps(0))
    time = "" if hedge.rebuilt else f", {hedge.elapsed // MS} ms"
    return (
        f"cost {cost} bps ({plain(hedge.shortfall)} quote) = {' + '.join(parts) or '0'}; "
        f"maker {share}%{time}{naked}"
    )


def _inputs(venue: Venue, seen: Mapping[str, Any]) -> str:
    """Say what a decision saw of one venue, and how old it was."""
    bid, ask, age = seen["bid"], seen["ask"], seen["age"]
    if age is None:
        return f"{venue.value}: no book"
    if bid is None or ask is None:
        return f"{venue.value}: one-sided book, {age // MS} ms old ({seen['source']})"
    wide = (ask - bid) * 10_000 * BPS_UNIT * 2 // (ask + bid)
    return (
        f"{venue.value}: bid {plain(bid)} ask {plain(ask)}, spread {plain(ask - bid)} "
        f"({bps_text(Bps(wide))} bps), {age // MS} ms old ({seen['source']})"
    )


def _answered(body: Mapping[str, Any]) -> tuple[str, str]:
    why = " ".join(str(body[k]) for k in ("code", "message") if body.get(k))
    view = body.get("view")
    stated = f", {view['status']}, traded {plain(view['cum'])}" if view else ""
    return "answer", f"{body['client_id']} {body['verdict']}{stated}{f': {why}' if why else ''}"


def _hedge_started(body: Mapping[str, Any]) -> tuple[str, str]:
    age = (body["at"]["mono"] - body["fill_at"]) / MS
    text = (
        f"h-{body['hedge_id']} must trade {plain(body['target'])} on grvt, {age:.1f} ms after the "
        f"fill; arrival mid {plain(body['arrival_mid'])}, touch {plain(body['arrival_touch'])}"
    )
    return "hedge", text


def _markout(body: Mapping[str, Any]) -> tuple[str, str]:
    return "markout", (
        f"{body['after']} s after the last fill the mid is {plain(body['mid'])}: "
        f"{plain(body['quote'])} quote (+ is good)"
    )


def _denied(body: Mapping[str, Any]) -> tuple[str, str]:
    draft = body["draft"]
    text = (
        f"denied {draft['purpose']} {Side(draft['side'])} {plain(draft['qty'])} on "
        f"{draft['venue']}: {body['code']}, {body['detail']}"
    )
    return "gate", text


def _latched(body: Mapping[str, Any]) -> tuple[str, str]:
    reason = f": {body['reason']}" if body["reason"] else ""
    return "latch", f"{Mode(body['mode']).name}{reason}"


def _alerted(body: Mapping[str, Any]) -> tuple[str, str]:
    rest = " ".join(f"{k}={v}" for k, v in body.items() if k != "event")
    return "alert", f"{body['event']} {rest}".rstrip()


def _levels(body: Mapping[str, Any]) -> tuple[str, str]:
    held = [f"{one['venue']} {one['code']} ({one['what']})".strip() for one in body["levels"]]
    return "levels", ", ".join(held) or "no standing condition is left"


def _planned(body: Mapping[str, Any]) -> tuple[str, str]:
    r = body["request"]
    kind = "post-only" if r["post_only"] else r["tif"]
    return "sent", (
        f"{r['client_id']} {r['purpose']} order on {r['venue']}: {Side(r['side'])} "
        f"{plain(r['qty'])} at {plain(r['px'])}, {kind}"
    )


def _other(body: Mapping[str, Any]) -> tuple[str, str]:
    shown = {k: v for k, v in body.items() if k != "at"}
    return "event", " ".join(f"{k}={v}" for k, v in shown.items())


_WORDS: dict[str, Callable[[Mapping[str, Any]], tuple[str, str]]] = {
    "OrderPlanned": _planned,
    "OrderAnswered": _answered,
    "CancelAsked": lambda b: ("cancel", f"{b['client_id']} cancel asked: {b['why']}"),
    "OrderDead": lambda b: ("answer", f"{b['client_id']} proved dead: {b['proof']}"),
    "HedgeStarted": _hedge_started,
    "HedgeMoved": lambda b: ("phase", f"h-{b['hedge_id']} to {b['phase']}: {b['why']}"),
    "HedgeEnded": lambda b: (
        "end",
        f"h-{b['hedge_id']} {'ended by the emergency path' if b['failed'] else 'is hedged'}",
    ),
    "Markout": _markout,
    "Denied": _denied,
    "LatchMoved": _latched,
    "LevelsMoved": _levels,
    "Alert": _alerted,
    "CycleMoved": lambda b: ("cycle", f"iteration {b['iteration']} {b['phase']}"),
    "StopAsked": lambda b: ("stop", f"a stop was asked for, flatten {str(b['flatten']).lower()}"),
}

"""What the control socket answers: a read-only look, and the three operator acts."""

from typing import Any

from daemon.loop import Loop
from safety.reasons import Reason
from strategy.domain import Mode, Ns, Venue, plain
from strategy.events import LatchMoved, RoutePhase
from strategy.world import Leg, Order, World


def snapshot(w: World, now: Ns) -> dict[str, Any]:
    """Describe the World; every observed value carries its age (H3)."""
    pnl = w.day_pnl()
    return {
        "mode": w.mode.name,
        "reason": w.reason,
        "iteration": w.cycle.iteration,
        "phase": w.cycle.phase.value,
        "net": plain(w.net),
        "naked_ms": 0 if w.naked_since is None else (now - w.naked_since) // 1_000_000,
        "day": w.day,
        "day_pnl": None if pnl is None else plain(pnl),
        "hedge": None if w.hedge is None else f"h-{w.hedge.hedge_id} {w.hedge.phase.value}",
        "in_doubt": w.doubtful(),
        "stopping": w.stopping,
        "alerts": _alerts(w),
        "legs": {v.value: _leg(w.legs[v], now) for v in Venue},
        "orders": [_order(o, now) for o in w.live()],
    }


def _alerts(w: World) -> list[str]:
    """Return every condition that an operator should know now (H2: present iff it holds)."""
    found = [*w.violations, *w.forced, *w.foreign]
    found += [f"{level.code} {level.what}" for level in w.levels]
    if w.mode is not Mode.RUNNING:
        found.append(f"latch {w.mode.name}: {w.reason}")
    if w.hedge is not None and w.hedge.phase is RoutePhase.EMERGENCY:
        found.append(f"hedge_late h-{w.hedge.hedge_id}")
    for venue, leg in w.legs.items():
        down = [n for n, up in (("public", leg.public_up), ("private", leg.private_up)) if not up]
        found += [f"{venue} {name} stream down" for name in down]
        if leg.facts.quarantined:
            found.append(f"{venue} quarantined: {leg.facts.quarantined}")
        apart = leg.observed is not None and leg.observed.value.qty != leg.position
        if apart and not any(w.live(venue)):
            found.append(f"{venue} position differs from the books")
    return found


def _leg(leg: Leg, now: Ns) -> dict[str, Any]:
    book, seen = leg.book, leg.observed
    return {
        "position": plain(leg.position),
        "venue_position": None if seen is None else plain(seen.value.qty),
        "venue_position_age_ms": None if seen is None else seen.age(now) // 1_000_000,
        "bid": plain(book.value.bids[0][0]) if book and book.value.bids else None,
        "ask": plain(book.value.asks[0][0]) if book and book.value.asks else None,
        "book_age_ms": None if book is None else book.age(now) // 1_000_000,
        "public_stream": "up" if leg.public_up else "down",
        "private_stream": "up" if leg.private_up else "down",
        "quarantined": leg.facts.quarantined,
    }


def _order(order: Order, now: Ns) -> dict[str, Any]:
    request = order.request
    return {
        "order": request.client_id,
        "venue": request.venue.value,
        "purpose": request.purpose.value,
        "side": str(request.side),
        "qty": plain(request.qty),
        "filled": plain(order.cum),
        "price": plain(request.px),
        "state": order.state.value,
        "age_ms": (now - order.sent.mono) // 1_000_000,
    }


async def handle(loop: Loop, command: str) -> dict[str, Any]:
    """Answer one control request."""
    now = loop.now()
    w = loop.core.world
    match command:
        case "status":
            return {"ok": True, "status": snapshot(w, now.mono)}
        case "halt":
            if w.mode is not Mode.RUNNING:
                return {"ok": True, "said": f"latched already: {w.mode.name} ({w.reason})"}
            loop.inbox.put(LatchMoved(Mode.REDUCING, Reason.HALT.value, now))
            said = "halting: makers are cancelled, what filled is netted, hedged positions stay"
            return {"ok": True, "said": said}
        case "flatten":
            if w.mode < Mode.FLATTENING:
                loop.inbox.put(LatchMoved(Mode.REDUCING, Reason.OPERATOR.value, now))
            return {"ok": True, "said": "closing both legs; then latched until `hedged resume`"}
        case "resume":
            if w.mode is Mode.RUNNING:
                return {"ok": False, "said": "the running daemon is not latched"}
            said = f"still {w.mode.name} ({w.reason}): wait until it has ended, then resume"
            return {"ok": False, "said": said}
        case _:
            return {"ok": False, "said": f"unknown command {command!r}"}

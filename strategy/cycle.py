"""The alternating cycle: BUILD, hold, UNWIND; odd iterations buy first. Pure."""

from typing import assert_never

from strategy.domain import Draft, Mode, Now
from strategy.events import CycleMoved, CyclePhase
from strategy.intents import Cancel, Emit, Intent, Place, Say
from strategy.params import Params
from strategy.quote import NoQuote, close_quote, open_quote, pair_step, withdraw_reason
from strategy.world import World


def advance_cycle(w: World, params: Params, now: Now, unhedged: bool) -> list[Intent]:
    """Manage the resting maker, else move the cycle on, else quote.

    ``unhedged`` is true while anything is unhedged or in doubt: no next order then (REQ-18).
    """
    maker = w.maker()
    if maker is not None:
        return _tend_maker(w, params, now)
    if unhedged or w.stopping or w.mode is not Mode.RUNNING or now.mono < w.retry_at:
        return []
    moved = _next_phase(w, params, now)
    if moved is not None:
        return [Emit(moved)]
    phase = w.cycle.phase
    if phase is CyclePhase.BUILD:
        return _quoted(w, open_quote(w, params, now))
    if phase is CyclePhase.UNWIND:
        return _quoted(w, close_quote(w, params, now))
    return []


def _quoted(w: World, quote: Draft | NoQuote) -> list[Intent]:
    if isinstance(quote, NoQuote):
        key = f"{w.cycle.iteration}:{w.cycle.phase}:{quote.why}"
        fields = (("phase", w.cycle.phase.value), ("why", quote.why))
        return [Say("OPEN", "waiting", "info", key, fields)]
    return [Place(quote)]


def _next_phase(w: World, params: Params, now: Now) -> CycleMoved | None:
    """Return the phase change that the position and the clock call for, if any."""
    cycle = w.cycle
    match cycle.phase:
        case CyclePhase.BUILD:
            return _after_build(w, params, now)
        case CyclePhase.HOLD:
            due = now.mono - cycle.since >= params.sleep
            return CycleMoved(cycle.iteration, CyclePhase.UNWIND, now) if due else None
        case CyclePhase.UNWIND:
            return None if w.primary.position else _next_iteration(w, params, now)
        case CyclePhase.DONE:
            return None
        case _:
            assert_never(cycle.phase)


def _after_build(w: World, params: Params, now: Now) -> CycleMoved | None:
    """Leave BUILD when the target is reached, or at once for a position the wrong way round."""
    cycle, position = w.cycle, w.primary.position
    if position * cycle.direction < 0:
        return CycleMoved(cycle.iteration, CyclePhase.UNWIND, now)
    room = params.max_position - abs(position)
    if room < max(pair_step(w), w.primary.instrument.min_qty):
        return CycleMoved(cycle.iteration, CyclePhase.HOLD, now)
    return None


def _next_iteration(w: World, params: Params, now: Now) -> CycleMoved:
    done = params.iterations and w.cycle.iteration >= params.iterations
    if done:
        return CycleMoved(w.cycle.iteration, CyclePhase.DONE, now)
    return CycleMoved(w.cycle.iteration + 1, CyclePhase.BUILD, now)


def _tend_maker(w: World, params: Params, now: Now) -> list[Intent]:
    """Cancel a maker that must not or need not rest; a cancel is repeated until it has ended."""
    maker = w.maker()
    if maker is None or not maker.request.post_only:
        return []
    if not maker.cancel_due(now, params.recancel):
        return []
    if w.stopping or w.mode is not Mode.RUNNING:
        return [Cancel(maker.request.client_id, "stopping" if w.stopping else w.reason)]
    why = withdraw_reason(w, maker, params, now)
    if why or maker.cancel_at is not None:
        return [Cancel(maker.request.client_id, why or "again")]
    return []

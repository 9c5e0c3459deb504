"""Orders in doubt for good, at a venue that contradicts itself: no further question clears them.

Such an order is beyond its life and on no surface of its venue, so it trades no more; and yet the
position is not what it would be without it, so nobody can say how much it traded. Waiting for it
would never end. It is never called dead (S5): the latch closes around it, and names it.
"""

from daemon.quarantine import DISAGREES
from daemon.resolver import NOWHERE, behind, past_life
from strategy.decide import exposed
from strategy.domain import Mode, Now, Ns, plain
from strategy.params import SECOND
from strategy.world import Order, World


def contradicted(w: World, now: Now) -> list[Order]:
    """Return those orders, oldest first."""
    shut = [v for v, leg in w.legs.items() if _contradicts(leg.facts.quarantined)]
    return [o for v in shut for o in w.live(v) if unclear(w, o, now)]


ASKED = Ns(6 * SECOND)
"""Beyond an order's life: by then a lookup has been made after it, and has had its time (5 s)."""


def unclear(w: World, order: Order, now: Now) -> bool:
    """True for an order in doubt whose life is over while its venue cannot say how it ended."""
    late = behind(w, order.request.venue, now)
    asked = Now(Ns(now.mono - ASKED), Ns(now.wall - ASKED))
    return order.state.unknown and past_life(order, asked, late=late)


def _contradicts(quarantined: str) -> bool:
    return DISAGREES in quarantined or NOWHERE in quarantined


def may_trade(w: World, now: Now) -> bool:
    """True while an order is live that can still trade, or whose end a venue may still state."""
    ids = [o.request.client_id for o in contradicted(w, now)]
    return any(o.request.client_id not in ids for o in w.live())


def reducible(w: World, stuck: list[Order]) -> bool:
    """True while a leg without such an order could still shrink the net exposure."""
    venues = [o.request.venue for o in stuck]
    return any(leg.position * w.net > 0 for v, leg in w.legs.items() if v not in venues)


def given_up(w: World, now: Now) -> str:
    """Say what is left of a latched run in which nothing can move any more; empty while it can.

    What the books can net goes on; the rest is for a person (L2).
    """
    stuck = contradicted(w, now) if w.mode is not Mode.RUNNING else []
    if not stuck or may_trade(w, now) or (exposed(w) and reducible(w, stuck)):
        return ""
    return residue(w, stuck)


def residue(w: World, stuck: list[Order]) -> str:
    """Name the orders, and what their venues say beside what the books say."""
    told = [f"order {o.request.client_id} in doubt on {o.request.venue}" for o in stuck]
    for venue in dict.fromkeys(o.request.venue for o in stuck):
        leg = w.legs[venue]
        says = "nothing" if leg.observed is None else plain(leg.observed.value.qty)
        told.append(f"{venue} says {says}, books say {plain(leg.position)}")
    return ", ".join(told)

"""What may be sent a second time: the journalled bytes of an order in doubt, approved anew.

A copy that arrives where the first one was lost is a new act, so it passes the gate like one (S8):
it must still shrink the exposure, within the cap of the book as it is now (S1, S2, S10).
"""

import hashlib
from dataclasses import replace

from daemon.core import Core
from daemon.narrator import Narrator
from exchanges.port import Payload
from safety.gate import Denied, LegRisk, gate
from safety.reasons import Reason
from strategy.domain import Now, Purpose, Qty, Side
from strategy.world import Order

TOUCH = Reason.PRICE_CAP
"""No obstacle for a copy that is post-only: it cannot take, and the refusal ends the doubt."""


class Recaller:
    """Gives the bytes of an order in doubt to the resolver, or nothing."""

    def __init__(self, core: Core, narrator: Narrator) -> None:
        self._core = core
        self._narrator = narrator

    def __call__(self, order: Order, now: Now) -> Payload | None:
        """Return the payload if the gate approves it once more at ``now``; else None."""
        request = order.request
        if request.purpose not in (Purpose.HEDGE, Purpose.UNWIND):
            return None
        core = self._core
        view = core.risk(request.venue, now)
        freed = replace(view, leg=without(view.leg, order))
        ruling = gate(order.draft, freed, core.settings.limits, now)
        if isinstance(ruling, Denied) and not (order.request.post_only and ruling.code is TOUCH):
            self._refused(order, f"{ruling.code.value}: {ruling.detail}")
            return None
        payload = core.journal.payload(request)
        if payload is None or hashlib.sha256(payload.body).hexdigest() != payload.digest:
            self._refused(order, "the journal has not its bytes")
            return None
        return payload

    def _refused(self, order: Order, why: str) -> None:
        number, venue = order.request.client_id, order.request.venue.value
        key = f"{number}:{why}"
        self._narrator.once("info", "VENUE", "not_resent", key, venue=venue, order=number, why=why)


def without(leg: LegRisk, order: Order) -> LegRisk:
    """Return the leg without an order's own reservation, which its copy does not add to."""
    if order.request.side is Side.BUY:
        return replace(leg, reserved_buy=Qty(leg.reserved_buy - order.reserved))
    return replace(leg, reserved_sell=Qty(leg.reserved_sell - order.reserved))

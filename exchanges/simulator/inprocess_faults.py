"""What the fault board does to a venue without a wire: outcomes spoiled, messages garbled.

Imports ``strategy.domain``, ``exchanges.port``, ``exchanges.errors`` and simulator modules only.
Each fault is told as the real adapters would tell it: a 429 that the venue documents as a refusal
is ``Refused``, a garbled answer leaves an executed order in doubt.
"""

from dataclasses import replace

from exchanges.errors import VenueForbidden, VenueUnreachable
from exchanges.port import InDoubt, Outcome, Refused
from exchanges.simulator.faults import FaultBoard
from exchanges.simulator.model import Deny
from strategy.domain import (
    Fill,
    Ns,
    OrderRequest,
    OrderView,
    Position,
    Qty,
    Quote,
    SignedQty,
    Status,
    Venue,
    VenueEvent,
    nano,
)

_MS = 1_000_000
_LATE_MS = 2_000
"""How late an answer of F20 is when the fault does not say."""
_RELOGIN_MS = 300
"""What F07 costs: the adapter logs in again and sends the same bytes."""
_DOWN = {Venue.GRVT: ("F52", "F54"), Venue.BACKPACK: ("F52", "F55")}
_DOUBT = {
    "F02": "timeout: never arrived",
    "F05": "http 502 without a venue code",
    "F10": "code 2012: the client id overlaps with an active order",
}
_REFUSED = {
    "F04": ("rate_limited", "429 too many requests"),
    "F09": (Deny.EXPIRED_SIGNATURE.value, "signature expired"),
    "F12": (Deny.INSUFFICIENT_MARGIN.value, "insufficient margin"),
    "F14": (Deny.BAD_TICK.value, "the tick has changed"),
    "F79": ("forbidden", "the key is refused"),
}


class Injected:
    """The faults of one venue, asked at the fitting places.

    Args:
        board: which faults are active.
        venue: whose they are.
    """

    def __init__(self, board: FaultBoard, venue: Venue) -> None:
        self._board = board
        self._venue = venue
        self._held: Fill | None = None
        """A fill message that waits for the next one (F21)."""

    def _take(self, name: str) -> bool:
        return self._board.take(self._venue, name) is not None

    def _has(self, name: str) -> bool:
        """Use a fault up where the venue can have it at all."""
        return self._board.holds(self._venue, name) and self._take(name)

    def reach(self) -> None:
        """Pass a request in; raises VenueUnreachable while the venue is down (F52, F54, F55)."""
        for name in _DOWN[self._venue]:
            if self._take(name):
                raise VenueUnreachable(f"{self._venue} is unreachable ({name})")

    def admit(self) -> None:
        """Pass a read in; raises VenueForbidden while the key is refused (F79)."""
        if self._has("F79"):
            raise VenueForbidden(f"{self._venue}: the key is refused")

    def spoiled(self, request: OrderRequest) -> Outcome | None:
        """Return the answer to a create that the fault keeps from the engine."""
        for name, why in _DOUBT.items():
            if self._take(name):
                return InDoubt(why)
        if request.post_only and self._take("F11"):
            return Refused(Deny.POST_ONLY_CROSS.value, "would cross", post_only_cross=True)
        for name, (code, message) in _REFUSED.items():
            if self._take(name):
                return Refused(code, message)
        return self._not_reduced(request)

    def _not_reduced(self, request: OrderRequest) -> Outcome | None:
        """Refuse a reduce-only order (F13); the trimmed kind is ``size``'s."""
        settings = self._board.peek(self._venue, "F13")
        if not request.reduce_only or settings is None or settings.get("mode") == "trimmed":
            return None
        self._take("F13")
        return Refused(Deny.REDUCE_ONLY_INCREASES.value, "reduce only")

    def size(self, request: OrderRequest, step: Qty) -> Qty:
        """Return the size that the venue takes: F13 trims a reduce-only order to half."""
        if request.reduce_only and self._has("F13"):
            return Qty(max(step, request.qty // 2 // step * step))
        return request.qty

    def ends_at_once(self) -> bool:
        """True when an accepted order is cancelled by the venue at once (F16, F17)."""
        return self._take("F16") or self._take("F17")

    def lost(self) -> InDoubt | None:
        """Return what the client has instead of the answer to an executed create (F01, F06)."""
        if self._take("F01"):
            return InDoubt("connection reset")
        if self._take("F06"):
            return InDoubt("http 200 with an unreadable order")
        return None

    def late(self) -> Ns:
        """Return how much later than usual the answer to a create is (F07, F20)."""
        settings = self._board.take(self._venue, "F20")
        slow = 0 if settings is None else int(settings.get("delay_ms", _LATE_MS))
        return Ns((slow + (_RELOGIN_MS if self._take("F07") else 0)) * _MS)

    def view(self, view: OrderView) -> OrderView:
        """Return what is told of an order: perhaps with a word that nobody knows (F29)."""
        if self._has("F29"):
            return replace(view, status=Status.UNKNOWN, raw_status="NEW_WORD")
        return view

    def position(self, told: Position) -> Position:
        """Return what is told of a position (F73); raises VenueUnreachable under F74."""
        if self._take("F74"):
            raise VenueUnreachable(f"{self._venue}: 500 on positions")
        settings = self._board.take(self._venue, "F73")
        if settings is None:
            return told
        more = nano(settings.get("size", "1"))
        return replace(told, qty=SignedQty(told.qty + more))

    def fills(self, fill: Fill) -> list[VenueEvent]:
        """Return the messages of one execution: none, one, two, or another one first."""
        if self._take("F24"):
            return []
        if self._has("F28"):
            fill = replace(fill, fee=Quote(-abs(fill.fee)), fee_asset="POINTS")
        if self._larger():
            fill = replace(fill, qty=Qty(fill.qty * 1000))
        if self._held is not None:
            first, self._held = self._held, None
            return [fill, first]
        if self._has("F21"):
            self._held = fill
            return []
        return [fill, fill] if self._take("F19") else [fill]

    def _larger(self) -> bool:
        settings = self._board.peek(self._venue, "F23")
        return settings is not None and settings.get("mode") != "shrinks" and self._take("F23")

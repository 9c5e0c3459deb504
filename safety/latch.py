"""The latch RUNNING → REDUCING → FLATTENING → HALTED: it only ever tightens by itself. Pure."""

from safety.reasons import KEEPS_POSITIONS
from strategy.domain import Mode


def tighten(mode: Mode, exposed: bool, live: bool, flat: bool, reason: str) -> Mode:
    """Return the next mode of a latch that has left RUNNING.

    ``exposed``: net exposure is left; ``live``: orders may still trade; ``flat``: both legs are
    verified flat by the venues; ``reason``: why it left RUNNING.
    """
    if mode is Mode.REDUCING and not exposed and not live:
        keep = reason.startswith(tuple(r.value for r in KEEPS_POSITIONS))
        return Mode.HALTED if keep else Mode.FLATTENING
    if mode is Mode.FLATTENING and flat and not live:
        return Mode.HALTED
    return mode

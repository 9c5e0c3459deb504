"""What one hedge cost, and why: the arithmetic and the record of transaction cost analysis.

Pure; imports the strategy's types only. Money is whole units of 1e-9 quote, and positive is a cost.
The parts of a shortfall add up to its total exactly: what integer division leaves over has a name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strategy.domain import (
    NANO,
    Bps,
    ClientId,
    Ns,
    Px,
    Qty,
    Quote,
    Side,
    Venue,
    ratio_bps,
)

MARKOUTS = (1, 5, 30)
"""Seconds after the last fill at which the hedge venue's mid is looked at again."""
PASSIVE, CROSS, EMERGENCY = "passive", "cross", "emergency"


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill on the hedge venue, with what its order knew when it was decided."""

    client_id: ClientId
    side: Side
    px: Px
    qty: Qty
    touch: Px
    """The price that a taker would have paid first at the order's decision."""
    fee: Quote
    maker: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """A shortfall, split. 1e-9 quote; positive is paid, negative is earned."""

    spread: Quote = Quote(0)
    """Half the spread at arrival, on everything filled: what crossing at once begins with."""
    depth: Quote = Quote(0)
    """Taker fills beyond the touch of their order's decision."""
    resting: Quote = Quote(0)
    """Maker fills against the touch that they did not pay: negative is what resting saved."""
    delay: Quote = Quote(0)
    """How far the touch had moved between arrival and each order's decision."""
    fee: Quote = Quote(0)
    rebate: Quote = Quote(0)
    """Fees that the venue paid us: never positive."""
    rounding: Quote = Quote(0)
    """What rounding each part to 1e-9 leaves of the total."""

    @property
    def total(self) -> Quote:
        """The implementation shortfall against the arrival mid, fees included."""
        return Quote(self.price + self.fee + self.rebate)

    @property
    def price(self) -> Quote:
        """The shortfall without fees."""
        return Quote(self.spread + self.depth + self.resting + self.delay + self.rounding)


PARTS = ("spread", "depth", "resting", "delay", "fee", "rebate", "rounding")


def split(side: Side, mid: Px, touch: Px, done: Sequence[Execution]) -> Parts:
    """Split the shortfall of executions against the mid at arrival.

    A fill on the other side than the hedge's counts by its own side, against the other touch.

    Args:
        side: the hedge's side, which ``touch`` is the taker's price of.
        mid: mid of the hedge venue at arrival.
        touch: best price for a taker of that side at arrival.
        done: the fills, in any order.
    """
    half = (touch - mid) * side.value
    spread = depth = resting = delay = exact = fee = rebate = 0
    for one in done:
        sign = one.side.value
        beyond = (one.px - one.touch) * sign * one.qty
        exact += (one.px - mid) * sign * one.qty
        spread += half * one.qty
        delay += ((one.touch - mid) * sign - half) * one.qty
        depth += 0 if one.maker else beyond
        resting += beyond if one.maker else 0
        fee += max(one.fee, 0)
        rebate += min(one.fee, 0)
    shown = {"spread": spread, "depth": depth, "resting": resting, "delay": delay}
    price = {name: Quote(nearest(units)) for name, units in shown.items()}
    rest = Quote(nearest(exact) - sum(price.values()))
    return Parts(**price, fee=Quote(fee), rebate=Quote(rebate), rounding=rest)


def nearest(units: int) -> int:
    """Divide 1e-18 units to 1e-9, half away from zero: the same for a buy and its mirror."""
    rounded = (abs(units) * 2 + NANO) // (2 * NANO)
    return rounded if units >= 0 else -rounded


def markout(done: Sequence[Execution], mid: Px) -> Quote:
    """Return what the fills are worth at a later mid; positive is good for us."""
    return Quote(nearest(sum((mid - one.px) * one.side.value * one.qty for one in done)))


def vwap(done: Sequence[Execution]) -> Px | None:
    """Return the average fill price, rounded to 1e-9; None without a fill."""
    filled = sum(one.qty for one in done)
    if not filled:
        return None
    return Px((sum(one.px * one.qty for one in done) * 2 + filled) // (2 * filled))


# --- the record ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OrderTrail:
    """One order of a hedge. Times are ns after the hedge's oldest unhedged fill was seen."""

    client_id: int
    venue: str
    purpose: str
    side: int
    px: Px
    qty: Qty
    touch: Px
    post_only: bool
    filled: Qty
    sent: int | None
    acked: int | None
    """When a venue first confirmed that it has the order."""
    first_fill: int | None
    last_fill: int | None
    ended: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Move:
    """The hedge changed its phase; ``why`` is the cost model's text."""

    phase: str
    why: str
    at: int | None


@dataclass(frozen=True, slots=True)
class Stages:
    """Latency by stage, in ns; None where the stage did not happen or was not seen."""

    sent: int | None = None
    """From the fill seen to the first hedge order."""
    ack: int | None = None
    """From the first acknowledged order's sending to its acknowledgement."""
    fill: int | None = None
    """From the first filled order's acknowledgement to its first fill."""
    total: int | None = None
    """From the fill seen to the last hedge fill."""


@dataclass(frozen=True, slots=True)
class HedgeTca:
    """One hedge's record, as it is journalled when the hedge ends."""

    hedge_id: int
    side: int
    target: Qty
    filled: Qty
    """On the hedge venue, with known prices."""
    unpriced: Qty
    """Traded on the hedge venue, but its fill details had not come when the hedge ended."""
    vwap: Px | None
    notional: Quote
    """Filled size at the arrival mid: what bps are of."""
    arrival_mid: Px
    arrival_touch: Px
    primary_mid: Px | None
    book_age: int | None
    iteration: int
    cycle: str
    """The cycle's phase: build, hold or unwind."""
    started_wall: int
    started_mono: int
    ended_wall: int
    ended_mono: int
    moves: tuple[Move, ...]
    orders: tuple[OrderTrail, ...]
    parts: Parts
    maker_qty: Qty
    stages: Stages
    naked: int | None
    """Exposure carried, 1e-9 base x ns."""
    failed: bool
    """The exposure was removed by the emergency path."""
    rebuilt: bool = False
    """Made from the journal's orders and fills: no record was written, so times are missing."""

    @property
    def name(self) -> str:
        """The id as operators see it."""
        return f"h-{self.hedge_id}"

    @property
    def phase(self) -> str:
        """How it ended: ``passive`` when it never crossed, ``cross`` or ``emergency``."""
        seen = {move.phase for move in self.moves}
        if EMERGENCY in seen or self.failed:
            return EMERGENCY
        return CROSS if CROSS in seen else PASSIVE

    @property
    def shortfall(self) -> Quote:
        """Cost against the arrival mid, fees included; positive is paid."""
        return self.parts.total

    def bps(self, amount: int) -> Bps | None:
        """Return an amount in bps of the hedge's notional; None for a hedge without fills."""
        return ratio_bps(amount, self.notional) if self.notional else None

    @property
    def maker_share(self) -> int | None:
        """Share of the filled size that rested, in 1e-6."""
        return self.maker_qty * 1_000_000 // self.filled if self.filled else None

    @property
    def elapsed(self) -> int:
        """From the fill seen to the last hedge fill, else to the end; ns."""
        done = self.stages.total
        return self.ended_mono - self.started_mono if done is None else done


def read_tca(body: Mapping[str, Any]) -> HedgeTca:
    """Rebuild a record from its journalled form.

    Raises:
        KeyError, TypeError: it is not one.
    """
    fields = dict(body)
    fields["moves"] = tuple(Move(**move) for move in fields["moves"])
    fields["orders"] = tuple(OrderTrail(**order) for order in fields["orders"])
    fields["parts"] = Parts(**fields["parts"])
    fields["stages"] = Stages(**fields["stages"])
    return HedgeTca(**fields)


def stages(orders: Sequence[OrderTrail]) -> Stages:
    """Return the latency of each stage from the orders on the hedge venue."""
    ours = [o for o in orders if o.venue == Venue.GRVT.value]
    sent = [o.sent for o in ours if o.sent is not None]
    acked = [o.acked - o.sent for o in ours if o.acked is not None and o.sent is not None]
    filled = sorted(
        (o.first_fill, o.first_fill - o.acked)
        for o in ours
        if o.first_fill is not None and o.acked is not None
    )
    last = [o.last_fill for o in ours if o.last_fill is not None]
    return Stages(
        sent=min(sent, default=None),
        ack=acked[0] if acked else None,
        fill=filled[0][1] if filled else None,
        total=max(last, default=None),
    )


def span(after: int, before: Ns) -> int:
    """Return the time between two monotonic readings."""
    return after - before

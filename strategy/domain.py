"""Domain types: fixed-point numbers, instruments, books, orders, fills.

Imports the standard library only; holds no clock, no randomness, no I/O. Every price, size and
amount is an integer count of 1e-9 units; ``Decimal`` exists only at the wire and the console.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Generic, NewType, TypeVar

NANO = 10**9
BPS_UNIT = 10**6
"""One basis point is ``BPS_UNIT`` of ``Bps``; the unit price ratio is ``BPS_ONE``."""
BPS_ONE = 10_000 * BPS_UNIT

Px = NewType("Px", int)
"""Price, 1e-9 quote per base."""
Qty = NewType("Qty", int)
"""Unsigned size, 1e-9 base."""
SignedQty = NewType("SignedQty", int)
"""Signed size, 1e-9 base; long is positive."""
Quote = NewType("Quote", int)
"""Signed money, 1e-9 of the quote currency."""
Bps = NewType("Bps", int)
"""Basis points in 1e-6 bps."""
Ns = NewType("Ns", int)
"""Nanoseconds: a monotonic reading or a Unix time, as the field says."""
ClientId = NewType("ClientId", int)
"""Our order number, unique for the life of the journal; adapters map it to the venue's range."""


def nano(value: str | int | Decimal) -> int:
    """Convert a decimal to 1e-9 units exactly.

    Raises:
        ValueError: not a finite decimal, or finer than 1e-9 (money is never rounded silently).
    """
    if isinstance(value, float):  # pragma: no mutate - a float has already lost the money
        raise ValueError(f"float {value!r} where exact money is required")  # noqa: TRY004
    try:
        scaled = Decimal(value).scaleb(9)
        whole = int(scaled)
    except (ArithmeticError, ValueError) as bad:
        raise ValueError(f"not a finite decimal: {value!r}") from bad
    if scaled != whole:
        raise ValueError(f"finer than 1e-9: {value!r}")
    return whole


def nano_round(value: str | int | Decimal) -> int:
    """Convert to 1e-9 units, rounding half even: for venue-computed figures such as fees or marks.

    Raises:
        ValueError: not a finite decimal.
    """
    try:
        return round(Decimal(value).scaleb(9))
    except (ArithmeticError, ValueError) as bad:
        raise ValueError(f"not a finite decimal: {value!r}") from bad


def plain(units: int) -> str:
    """Render 1e-9 units as a plain decimal string: no exponent, no trailing zeros."""
    sign = "-" if units < 0 else ""
    whole, frac = divmod(abs(units), NANO)
    if not frac:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{frac:09d}".rstrip("0")


def bps_text(value: Bps) -> str:
    """Render ``Bps`` with two decimals, e.g. ``"0.07"``."""
    cents = (abs(value) + BPS_UNIT // 200) // (BPS_UNIT // 100)
    sign = "-" if value < 0 and cents else ""
    return f"{sign}{cents // 100}.{cents % 100:02d}"


def bps(value: str | int | Decimal) -> Bps:
    """Convert a number of basis points to ``Bps``.

    Raises:
        ValueError: not a finite decimal.
    """
    return Bps(nano(value) // 1000)


def notional(px: Px, qty: int) -> Quote:
    """Return price times (signed) size, truncated toward zero to 1e-9 quote."""
    product = px * abs(qty) // NANO
    return Quote(product if qty >= 0 else -product)


def ratio_bps(part: int, whole: int) -> Bps:
    """Return ``part / whole`` in ``Bps``, rounded half away from zero; ``whole`` must be positive.

    Raises:
        ValueError: ``whole`` is not positive.
    """
    if whole <= 0:
        raise ValueError(f"no ratio to {whole}")
    magnitude = (abs(part) * BPS_ONE * 2 + whole) // (2 * whole)
    return Bps(magnitude if part >= 0 else -magnitude)


class Venue(StrEnum):
    """The two legs: Backpack is the primary (maker), GRVT the hedge."""

    BACKPACK = "backpack"
    GRVT = "grvt"

    @property
    def other(self) -> "Venue":
        """The opposite leg."""
        return Venue.GRVT if self is Venue.BACKPACK else Venue.BACKPACK


class Side(Enum):
    """Order side; the value is its sign."""

    BUY = 1
    SELL = -1

    @property
    def opposite(self) -> "Side":
        """The other side."""
        return Side.SELL if self is Side.BUY else Side.BUY

    def __str__(self) -> str:
        return self.name.lower()


def side_of(delta: int) -> Side:
    """Return the side that trades ``delta`` (signed base); zero has no side.

    Raises:
        ValueError: ``delta`` is zero.
    """
    if not delta:
        raise ValueError("a zero quantity has no side")
    return Side.BUY if delta > 0 else Side.SELL


class Tif(StrEnum):
    """Time in force."""

    GTC = "gtc"
    """Rests until its expiry (GRVT: GOOD_TILL_TIME)."""
    IOC = "ioc"
    FOK = "fok"


class Purpose(StrEnum):
    """Why an order exists; decides which limits apply to it."""

    OPEN = "open"
    CLOSE = "close"
    HEDGE = "hedge"
    UNWIND = "unwind"

    @property
    def opens(self) -> bool:
        """True when the order may increase the primary leg."""
        return self is Purpose.OPEN


class Status(StrEnum):
    """What a venue says of an order."""

    PENDING = "pending"
    OPEN = "open"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    """A word we do not know: the order is quarantined, never guessed."""

    @property
    def terminal(self) -> bool:
        """True when the venue has finished with the order."""
        return self in _TERMINAL


_TERMINAL = frozenset({Status.FILLED, Status.CANCELLED, Status.REJECTED, Status.EXPIRED})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Observed(Generic[T]):
    """A value with the monotonic time we saw it and where it came from."""

    value: T
    at: Ns
    source: str

    def age(self, now: Ns) -> Ns:
        """Return how old the value is at monotonic ``now``."""
        return Ns(now - self.at)


@dataclass(frozen=True, slots=True)
class Instrument:
    """A perpetual as its venue defines it; the only place where prices and sizes are rounded."""

    venue: Venue
    symbol: str
    base: str
    quote: str
    tick: Px
    step: Qty
    min_qty: Qty
    min_notional: Quote
    asset_id: str = ""
    """GRVT ``instrument_hash``; empty on Backpack."""
    size_decimals: int = 9
    """GRVT ``base_decimals``, the scale of signed sizes."""
    tradable: bool = True
    """False unless the venue says the market is open for every order kind."""

    def floor_qty(self, qty: int) -> Qty:
        """Round an unsigned size down to the step."""
        return Qty(max(qty, 0) // self.step * self.step)

    def price_toward(self, side: Side, px: int) -> Px:
        """Round to the tick without ever paying more than ``px``: buys down, sells up."""
        if side is Side.BUY:
            return Px(px // self.tick * self.tick)
        return Px(-(-px // self.tick) * self.tick)

    def hedgeable(self, qty: int, px: Px) -> bool:
        """True when an unsigned size meets the minimum size and notional at ``px``."""
        floored = self.floor_qty(qty)
        return floored >= max(self.min_qty, 1) and notional(px, floored) >= self.min_notional


Level = tuple[Px, Qty]


@dataclass(frozen=True, slots=True)
class Book:
    """One venue's order book; each side best first, sizes positive."""

    venue: Venue
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    event_time: Ns
    """The venue's own time of the update, Unix ns."""

    def side(self, taker: Side) -> tuple[Level, ...]:
        """Return the levels that a taker of that side consumes, best first."""
        return self.asks if taker is Side.BUY else self.bids

    @property
    def mid(self) -> Px | None:
        """The mid price, or None when a side is empty."""
        if not self.bids or not self.asks:
            return None
        return Px((self.bids[0][0] + self.asks[0][0]) // 2)

    @property
    def sane(self) -> bool:
        """True when both sides are present and not crossed or locked."""
        return bool(self.bids and self.asks) and self.bids[0][0] < self.asks[0][0]


def ordered(levels: Sequence[Level], bids: bool) -> tuple[Level, ...]:
    """Sort levels best first and drop empty ones."""
    return tuple(
        sorted((lv for lv in levels if lv[1] > 0), key=lambda lv: -lv[0] if bids else lv[0])
    )


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """One order exactly as it will be sent: bounded in price, size and life."""

    client_id: ClientId
    venue: Venue
    symbol: str
    side: Side
    qty: Qty
    px: Px
    tif: Tif
    post_only: bool
    reduce_only: bool
    expires_at: Ns
    """Unix ns after which the venue can no longer act on it (GRVT) or accept it (Backpack)."""
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class OrderRef:
    """How to name one of our orders to its venue."""

    client_id: ClientId
    symbol: str
    venue_order_id: str = ""
    """Empty until the venue has told us; GRVT's ``0x00`` acknowledgement counts as unknown."""


@dataclass(frozen=True, slots=True)
class OrderView:
    """What a venue says of one order at one moment. ``cum`` is cumulative traded size."""

    venue: Venue
    client_id: ClientId | None
    """None when the order carries no id of our range: foreign."""
    venue_order_id: str
    symbol: str
    side: Side
    qty: Qty
    px: Px
    cum: Qty
    status: Status
    reason: str = ""
    raw_status: str = ""
    reduce_only: bool = False
    forced: bool = False
    """True when the venue itself created it: liquidation, ADL, settlement."""


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of ours. ``fee`` is positive when paid, negative when rebated."""

    venue: Venue
    trade_id: str
    client_id: ClientId | None
    venue_order_id: str
    symbol: str
    side: Side
    qty: Qty
    px: Px
    fee: Quote
    fee_asset: str
    is_maker: bool
    at: Ns
    """The venue's time, Unix ns."""
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """A venue's statement of our net position."""

    venue: Venue
    symbol: str
    qty: SignedQty
    at: Ns
    """The venue's time, Unix ns; 0 when it gives none."""


@dataclass(frozen=True, slots=True)
class Trade:
    """A public trade."""

    venue: Venue
    px: Px
    qty: Qty
    taker: Side
    at: Ns


class Surface(StrEnum):
    """Independent freshness domains of one venue."""

    PUBLIC = "public"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class StreamState:
    """A stream of one surface went up (subscribed and complete) or down."""

    venue: Venue
    surface: Surface
    up: bool
    why: str = ""


VenueEvent = Book | Trade | OrderView | Fill | Position | StreamState
"""Everything a venue stream can tell us."""


@dataclass(frozen=True, slots=True)
class Balance:
    """Account money on one venue, in its settle currency."""

    venue: Venue
    equity: Quote
    available: Quote
    asset: str


@dataclass(frozen=True, slots=True)
class Fees:
    """Account fee rates; negative is a rebate."""

    venue: Venue
    maker: Bps
    taker: Bps


@dataclass(frozen=True, slots=True)
class Funding:
    """The current funding rate: positive means longs pay shorts."""

    venue: Venue
    rate: int
    """Fraction of notional per interval, in 1e-9."""
    interval_hours: int
    next_at: Ns


@dataclass(frozen=True, slots=True)
class FundingPayment:
    """One settled funding payment; ``amount`` is positive when received."""

    venue: Venue
    key: str
    """Unique per payment: venue id or interval end."""
    amount: Quote
    at: Ns


class Mode(IntEnum):
    """The latch: it only ever tightens by itself; an operator loosens it."""

    RUNNING = 0
    REDUCING = 1
    """No opening; makers cancelled; exposure netted by reduce-only orders."""
    FLATTENING = 2
    """Both legs are closed with reduce-only orders."""
    HALTED = 3
    """Nothing is sent until an operator resumes."""


@dataclass(frozen=True, slots=True)
class Now:
    """One reading of both clocks."""

    mono: Ns
    wall: Ns


@dataclass(frozen=True, slots=True)
class Draft:
    """An order as a decision proposes it: the gate has not seen it, and it has no identity yet."""

    venue: Venue
    side: Side
    qty: Qty
    px: Px
    tif: Tif
    post_only: bool
    reduce_only: bool
    purpose: Purpose
    touch: Px
    """The decision's reference: best price on the side it takes from; a maker's own side."""
    life: Ns
    """How long the venue may act on it, from sending."""
    hedge_id: int = 0
    """The hedge that it belongs to; 0 for makers."""
    levels: int = 0
    """Book levels used to price it; 0 for a passive order."""
    available: Qty = Qty(0)
    """Cumulative size within the cap when it was priced."""
    slippage: Bps = Bps(0)
    """Expected, of its VWAP from the touch."""
    cap: Bps = Bps(0)
    """Price bound from the touch that the decision used; 0 for a passive order."""

    def request(self, client_id: ClientId, symbol: str, wall: Ns) -> OrderRequest:
        """Return the order that this becomes when it is sent at Unix time ``wall``."""
        return OrderRequest(
            client_id=client_id,
            venue=self.venue,
            symbol=symbol,
            side=self.side,
            qty=self.qty,
            px=self.px,
            tif=self.tif,
            post_only=self.post_only,
            reduce_only=self.reduce_only,
            expires_at=Ns(wall + self.life),
            purpose=self.purpose,
        )

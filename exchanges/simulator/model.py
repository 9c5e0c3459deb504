"""Types shared by the matching engine and its faces. Imports ``strategy.domain`` only.

The engine is synchronous and deterministic: every method takes ``now`` (Unix ns of the simulated
venue), pending work is due at known times, and listeners are called in one fixed order.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from strategy.domain import (
    NANO,
    Bps,
    Instrument,
    Level,
    Ns,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Tif,
    Venue,
)


class Deny(StrEnum):
    """Why the engine refuses or ends an order; each face maps it to its venue's own words."""

    UNKNOWN_SYMBOL = "unknown_symbol"
    MARKET_CLOSED = "market_closed"
    BAD_TICK = "bad_tick"
    BAD_STEP = "bad_step"
    BELOW_MIN_QTY = "below_min_qty"
    BELOW_MIN_NOTIONAL = "below_min_notional"
    NO_PRICE = "no_price"
    PRICE_BAND = "price_band"
    DUPLICATE_CLIENT_ID = "duplicate_client_id"
    TOO_MANY_ORDERS = "too_many_orders"
    INSUFFICIENT_MARGIN = "insufficient_margin"
    REDUCE_ONLY_NO_POSITION = "reduce_only_no_position"
    REDUCE_ONLY_INCREASES = "reduce_only_increases"
    POST_ONLY_CROSS = "post_only_cross"
    UNSUPPORTED = "unsupported"
    EXPIRED_SIGNATURE = "expired_signature"


class Ended(StrEnum):
    """Why an accepted order is no longer live."""

    FILLED = "filled"
    CLIENT_CANCEL = "client_cancel"
    CLIENT_BULK_CANCEL = "client_bulk_cancel"
    DISCONNECT_CANCEL = "disconnect_cancel"
    IOC = "ioc"
    FOK = "fok"
    MARKET = "market"
    EXPIRED = "expired"
    POST_ONLY = "post_only"
    REDUCE_ONLY = "reduce_only"
    MARGIN = "margin"
    SELF_TRADE = "self_trade"
    PRICE_IMPACT = "price_impact"
    LIQUIDATION = "liquidation"
    MARKET_CLOSED = "market_closed"
    FAILOVER = "failover"


class Phase(StrEnum):
    """Engine-side life of an order."""

    PENDING = "pending"
    """Accepted at the gateway, waiting for the engine (latency, taker delay)."""
    OPEN = "open"
    FILLED = "filled"
    CANCELLED = "cancelled"
    """Ended after acceptance; ``ended`` says why. May carry fills."""
    REJECTED = "rejected"
    """Ended by the engine before it ever rested, with no fill."""


class Origin(StrEnum):
    """Who sent the order behind a fill; everything but USER is ``forced``."""

    USER = "user"
    LIQUIDATION = "liquidation"
    """The venue closes a position that its account can no longer carry."""
    ADL = "adl"
    """Auto-deleveraging: a healthy position is closed against a bankrupt one."""


class SelfTrade(StrEnum):
    """What happens when an order would meet one of its own account (Backpack's words, B3.2)."""

    ALLOW = "allow"
    """Both sides trade (GRVT's default, venues.md D7)."""
    REJECT_TAKER = "reject_taker"
    """The rest of the incoming order ends; Backpack's default (venues.md B4)."""
    REJECT_MAKER = "reject_maker"
    """The resting order ends and the incoming one goes on."""
    REJECT_BOTH = "reject_both"


class Refusal(Exception):  # noqa: N818 - the engine's synchronous "no"
    """Raised by ``place`` for everything that the venue refuses before acknowledging."""

    def __init__(self, deny: Deny, detail: str = "") -> None:
        super().__init__(f"{deny.value}: {detail}" if detail else deny.value)
        self.deny = deny
        self.detail = detail


@dataclass(frozen=True, slots=True)
class FeeTier:
    """Fee rates of accounts whose volume of the last 30 days is at least ``volume``."""

    volume: Quote
    maker: Bps
    taker: Bps


@dataclass(frozen=True, slots=True)
class MarginTier:
    """Margin of a position whose notional is at least ``floor`` (GRVT's risk bracket, A4.1).

    The maintenance margin of a notional N is ``N * maintenance - cumulative``: each part of the
    position is charged at the rate of its own bracket.
    """

    floor: Quote
    initial: Bps
    maintenance: Bps
    cumulative: Quote = Quote(0)


@dataclass(frozen=True, slots=True)
class Rules:
    """How one venue behaves. Times in ns."""

    venue: Venue
    latency: Ns
    """Gateway to engine, for every order and cancel."""
    taker_delay: Ns
    """Extra wait of every order that is not post-only (GRVT 25 ms, Backpack 100 ms)."""
    visibility: Ns
    """How long after creation a query may still not know the order (GRVT)."""
    maker_fee: Bps
    taker_fee: Bps
    initial_margin: Bps
    maintenance_margin: Bps
    max_open_orders: int
    price_band: Bps
    """Largest distance of a limit price from the mid."""
    market_impact: Bps
    """Largest distance from the touch at which a market order still fills."""
    starting_balance: Quote
    funding_interval: Ns
    funding_rate: int
    """Fraction of notional per interval, in 1e-9; positive: longs pay."""
    settle_asset: str
    taker_only_tif: frozenset[Tif] = frozenset({Tif.IOC, Tif.FOK})
    initial_factor: int = 0
    """Backpack's square-root margin: the rate is at least factor * sqrt(notional); 1e-9 (B6)."""
    maintenance_factor: int = 0
    margin_tiers: tuple[MarginTier, ...] = ()
    """GRVT's risk brackets above the first, lowest floor first; the first has the rates above."""
    max_leverage: int = 50
    fee_tiers: tuple[FeeTier, ...] = ()
    """Tiers 1 and up, lowest volume first; tier 0 is ``maker_fee`` and ``taker_fee``."""
    funding_clamp: int = 500_000
    """The premium is drawn to the interest by at most this (0.05 % per 8 h), 1e-9 (A7)."""
    funding_cap: int = 3_000_000
    """Largest rate of one interval either way, 1e-9."""
    funding_walk: int = 0
    """Largest seeded step of the premium from one interval to the next, 1e-9; 0: none."""
    liquidation_fee: Bps = Bps(0)
    """Charged on forced fills on top of the taker fee, for the insurance fund."""
    liquidation_step: Quote = Quote(50_000 * NANO)
    """Largest notional that one forced order closes."""
    insurance_fund: Quote = Quote(1_000_000 * NANO)
    """What the insurance fund holds at the start."""


@dataclass(frozen=True, slots=True)
class NewOrder:
    """A request to the engine. ``px`` is None for a market order."""

    account: str
    symbol: str
    side: Side
    qty: Qty
    px: Px | None
    tif: Tif
    post_only: bool = False
    reduce_only: bool = False
    client_id: str = ""
    """The venue-side client id as text; empty when the client gave none."""
    expires_at: Ns | None = None
    extra: dict[str, object] = field(default_factory=dict)
    """Face-private fields to echo back (signature, metadata).

    The engine reads: ``builder_fee`` (Bps, charged on every fill on top of the fee) with
    ``builder`` (text, who earns it), and ``self_trade`` (a ``SelfTrade``). On orders of its own it
    sets ``forced`` to True, and ``origin`` to ``Origin.ADL`` when it deleverages.
    """


@dataclass(slots=True)
class SimOrder:
    """The engine's record of an order. Only the engine mutates it."""

    order_id: str
    request: NewOrder
    received_at: Ns
    due_at: Ns
    phase: Phase = Phase.PENDING
    ended: Ended | None = None
    deny: Deny | None = None
    """Set with ``REJECTED``: why."""
    cum: Qty = Qty(0)
    cum_quote: Quote = Quote(0)
    fee: Quote = Quote(0)
    builder_fee: Quote = Quote(0)
    queue_ahead: Qty = Qty(0)
    """Displayed size ahead of it at its price."""
    touch: tuple[Px | None, Px | None] = (None, None)
    """Best displayed bid and ask at receipt."""
    first_fill_at: Ns | None = None
    last_fill_at: Ns | None = None
    done_at: Ns | None = None
    updated_at: Ns = Ns(0)
    shrunk_qty: Qty | None = None
    """New total size after the engine shrank a reduce-only order."""

    @property
    def qty(self) -> Qty:
        """Total size now."""
        return self.request.qty if self.shrunk_qty is None else self.shrunk_qty

    @property
    def remaining(self) -> Qty:
        """Size that has not traded; meaningful while live."""
        return Qty(self.qty - self.cum)

    @property
    def live(self) -> bool:
        """True while the order may still trade."""
        return self.phase in (Phase.PENDING, Phase.OPEN)


@dataclass(frozen=True, slots=True)
class SimFill:
    """One execution on one order."""

    trade_id: str
    """Unique on the venue; the same id on the public trade."""
    order_id: str
    account: str
    symbol: str
    side: Side
    qty: Qty
    px: Px
    fee: Quote
    is_maker: bool
    realized: Quote
    at: Ns
    forced: bool = False
    builder_fee: Quote = Quote(0)
    """Paid on top of ``fee`` to the order's builder (GRVT)."""
    origin: Origin = Origin.USER


@dataclass(slots=True)
class SimPosition:
    """Net position with average entry."""

    symbol: str
    qty: SignedQty = SignedQty(0)
    entry: Px = Px(0)
    realized: Quote = Quote(0)
    fees: Quote = Quote(0)
    funding: Quote = Quote(0)
    """Cumulative, positive when received."""


@dataclass(slots=True)
class SimAccount:
    """One trading account of a venue."""

    account_id: str
    balance: Quote
    leverage: int = 10
    """Of every symbol without an entry in ``leverages``."""
    positions: dict[str, SimPosition] = field(default_factory=dict)
    volume: Quote = Quote(0)
    fees_paid: Quote = Quote(0)
    orders_received: int = 0
    orders_rejected: int = 0
    signature_failures: int = 0
    main_account: str = ""
    """GRVT: the main (funding) account whose sub-account this is; empty where there is none."""
    tier: int | None = 0
    """Fee tier, 0 is the rules' own fees; None: by the volume of the last 30 days."""
    custom_fees: tuple[Bps, Bps] | None = None
    """Maker and taker fee of this account alone, before any tier."""
    leverages: dict[str, int] = field(default_factory=dict)
    """By symbol, where the account set one (GRVT's set_initial_leverage)."""
    builder_fees_paid: Quote = Quote(0)
    liquidating: bool = False
    """True while equity is below the maintenance margin."""
    daily_volume: dict[int, Quote] = field(default_factory=dict)
    """Traded notional by UTC day (days since 1970), for the 30-day volume."""


@dataclass(frozen=True, slots=True)
class FundingPoint:
    """One settled funding interval of a symbol."""

    at: Ns
    rate: int
    """Fraction of notional, in 1e-9; positive: longs paid."""
    mark: Px


@dataclass(frozen=True, slots=True)
class Money:
    """Where all the money of a venue is, in 1e-18 of the settle currency; ``total`` is 0 always.

    The rest of the market (the recording's traders, whom our accounts trade with) is one
    counterparty: it holds the opposite of our accounts' positions and pays what they earn.
    """

    accounts: int
    """Balances and unrealised profit of all accounts."""
    external: int
    """Cash and position, at the mark, of the rest of the market."""
    fees: int
    builders: int
    insurance: int
    deposited: int
    """What was ever paid in, the insurance fund's start included, less what was paid out."""

    @property
    def total(self) -> int:
        """Everything held less everything paid in: 0, or the engine has made or lost money."""
        held = self.accounts + self.external + self.fees + self.builders + self.insurance
        return held - self.deposited


# --- what the engine tells its listeners -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class OrderChanged:
    """An order was acknowledged, rested, traded, shrank or ended; ``fill`` when it traded."""

    order: SimOrder
    at: Ns
    fill: SimFill | None = None


@dataclass(frozen=True, slots=True)
class PositionChanged:
    """A position changed by a fill or a forced close."""

    account: str
    position: SimPosition
    at: Ns


@dataclass(frozen=True, slots=True)
class BookChanged:
    """Absolute displayed sizes (own orders included) of the levels that changed; zero removes."""

    symbol: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    at: Ns
    update_id: int
    """Grows by one per message."""


@dataclass(frozen=True, slots=True)
class PublicTrade:
    """A trade print: recorded market flow, or one of our accounts trading."""

    symbol: str
    trade_id: str
    px: Px
    qty: Qty
    taker: Side
    at: Ns
    maker_order_id: str = ""
    taker_order_id: str = ""


@dataclass(frozen=True, slots=True)
class FundingSettled:
    """Funding was paid to (positive) or by an account."""

    account: str
    symbol: str
    amount: Quote
    rate: int
    at: Ns


EngineEvent = OrderChanged | PositionChanged | BookChanged | PublicTrade | FundingSettled
Listener = Callable[[EngineEvent], None]


# --- what a market feed tells the engine -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class MarketBook:
    """Displayed external sizes. ``snapshot`` replaces the whole book, else absolute changes."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    snapshot: bool


@dataclass(frozen=True, slots=True)
class MarketTrade:
    """A recorded trade of the external market."""

    px: Px
    qty: Qty
    taker: Side


MarketEvent = MarketBook | MarketTrade


@dataclass(frozen=True, slots=True)
class Market:
    """One listed perpetual: its rules for rounding and its state."""

    instrument: Instrument
    state: str = "Open"
    """Backpack's words: Open, Closed, CancelOnly, LimitOnly, PostOnly."""

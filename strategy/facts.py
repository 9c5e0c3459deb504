"""What a venue says of our account and of itself, besides orders, fills and books.

Part of the domain: imports ``strategy.domain`` only, holds no clock and no I/O. Every fact carries
when it was learned; a fact that was never learned is None, which never counts as good news.
"""

from dataclasses import dataclass, replace

from strategy.domain import (
    BPS_ONE,
    Bps,
    Fees,
    Funding,
    Instrument,
    Now,
    Ns,
    Observed,
    Px,
    Quote,
    SignedQty,
    Venue,
    ratio_bps,
)


@dataclass(frozen=True, slots=True)
class Account:
    """Money, margin and leverage of our account on one venue, for one instrument."""

    venue: Venue
    equity: Quote
    available: Quote
    """What may back further positions: equity less initial margin."""
    maintenance: Quote
    """Maintenance margin of all positions: equity below it means liquidation."""
    leverage: int
    """1e-9; the initial margin of what opens is its notional divided by this."""
    margin_mode: str
    """The venue's word, such as ``CROSS``."""
    liquidation: Px | None = None
    """The venue's own estimate for our instrument; None without one."""
    liquidating: bool = False
    """The venue is closing the account's positions."""

    def margin_ratio(self) -> Bps:
        """Return maintenance margin over equity, ``BPS_ONE`` at liquidation and beyond."""
        if self.maintenance <= 0:
            return Bps(0)
        if self.equity <= self.maintenance:
            return Bps(BPS_ONE)
        return ratio_bps(self.maintenance, self.equity)


@dataclass(frozen=True, slots=True)
class Readiness:
    """What the adapter itself knows, without asking: can an order leave now?"""

    venue: Venue
    session: bool
    """Requests would be authenticated."""
    orders: int | None
    """Orders that reduce risk which the rate lane lets out now; None without such a lane."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The venue's mark price of our instrument."""

    venue: Venue
    px: Px


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """The venue's clock minus ours, less what the round trip leaves uncertain."""

    venue: Venue
    offset: Ns


@dataclass(frozen=True, slots=True)
class Access:
    """Whether the venue takes our key; ``why`` is empty when it does."""

    venue: Venue
    why: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Our own judgement of a venue: ``why`` nothing may be opened there; empty releases it."""

    venue: Venue
    why: str


LegFact = Account | Readiness | Mark | ClockOffset | Access | Quarantine | Funding
"""What a leg keeps among its ``Facts``."""
VenueFact = LegFact | Fees | Instrument
"""Everything that is read of a venue beside its streams."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """A measured offset with both of our clocks at the time."""

    offset: Ns
    at: Now

    def offset_at(self, now: Now) -> Ns:
        """Return the offset that our wall clock has now.

        The monotonic clock never steps: how far the wall clock has moved beside it since the
        measurement is a step or a drift of ours (F60, F61), seen before the venue is asked again.
        """
        stepped = (now.wall - self.at.wall) - (now.mono - self.at.mono)
        return Ns(self.offset - stepped)


@dataclass(frozen=True, slots=True)
class Facts:
    """The newest fact of each kind about one venue."""

    account: Observed[Account] | None = None
    account_position: SignedQty = SignedQty(0)
    """Our books' position when ``account`` was read: what traded since is not in it."""
    baseline: Account | None = None
    """The first account read of this run; its settings must stay (F78)."""
    ready: Readiness | None = None
    mark: Observed[Px] | None = None
    clock: ClockReading | None = None
    clock_first: ClockReading | None = None
    refused: str = ""
    """Why the venue refuses our key; empty while it does not (F79)."""
    refused_at: Ns | None = None
    """Monotonic time of the first refusal in a row."""
    funding: Observed[Funding] | None = None
    quarantined: str = ""
    """Why nothing may be opened there; empty while it may."""

    def fresh_account(self, now: Now, max_age: Ns) -> Account | None:
        """Return the account unless its reading is older than ``max_age``."""
        if self.account is None or self.account.age(now.mono) > max_age:
            return None
        return self.account.value

    def fresh_mark(self, now: Now, max_age: Ns) -> Px | None:
        """Return the mark unless its reading is older than ``max_age``."""
        if self.mark is None or self.mark.age(now.mono) > max_age:
            return None
        return self.mark.value

    def clock_offset(self, now: Now) -> Ns | None:
        """Return the venue's clock minus ours; None while it was never measured."""
        return None if self.clock is None else self.clock.offset_at(now)


@dataclass(frozen=True, slots=True)
class Level:
    """A condition that a person should know, present exactly while it holds (H2)."""

    code: str
    what: str
    """Field, value and limit, as of the moment that it began."""
    stops: bool
    """Nothing may be opened while it holds."""
    venue: str = ""

    @property
    def key(self) -> tuple[str, str, bool]:
        """What makes it the same condition."""
        return self.code, self.venue, self.stops


def learned(facts: Facts, fact: LegFact, position: SignedQty, at: Now) -> Facts:
    """Return the facts with one more; ``position`` is our books' on that venue."""
    match fact:
        case Account():
            seen = Observed(fact, at.mono, "rest")
            first = fact if facts.baseline is None else facts.baseline
            return replace(facts, account=seen, account_position=position, baseline=first)
        case Readiness():
            return replace(facts, ready=fact)
        case Mark():
            return replace(facts, mark=Observed(fact.px, at.mono, "rest"))
        case ClockOffset():
            reading = ClockReading(fact.offset, at)
            first_reading = facts.clock_first or reading
            return replace(facts, clock=reading, clock_first=first_reading)
        case Access():
            since = facts.refused_at if facts.refused_at is not None else at.mono
            return replace(facts, refused=fact.why, refused_at=since if fact.why else None)
        case Quarantine():
            return replace(facts, quarantined=fact.why)
        case _:
            return replace(facts, funding=Observed(fact, at.mono, "rest"))

"""Stream names of Backpack's socket: which exist, which are private, what they carry. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from exchanges.simulator.backpack_prints import INTERVAL_MINUTES

DEPTH_WINDOWS_MS = {"200ms": 200, "600ms": 600, "1000ms": 1000}
_MIN_PARTS = 2


class Kind(StrEnum):
    """What a stream carries; the value is the first part of its name."""

    BOOK_TICKER = "bookTicker"
    DEPTH = "depth"
    TRADE = "trade"
    MARK_PRICE = "markPrice"
    TICKER = "ticker"
    KLINE = "kline"
    OPEN_INTEREST = "openInterest"
    LIQUIDATION = "liquidation"
    ORDERS = "account.orderUpdate"
    POSITIONS = "account.positionUpdate"
    RFQS = "account.rfqUpdate"


_PLAIN = frozenset(
    {
        Kind.BOOK_TICKER,
        Kind.DEPTH,
        Kind.TRADE,
        Kind.MARK_PRICE,
        Kind.TICKER,
        Kind.OPEN_INTEREST,
        Kind.LIQUIDATION,
    }
)
PRIVATE = frozenset({Kind.ORDERS, Kind.POSITIONS, Kind.RFQS})


class TopicError(Exception):
    """The venue refuses the name, with the code of its error frame (venues.md F)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Topic:
    """One stream. ``symbol`` is empty for every market of the account."""

    name: str
    kind: Kind
    symbol: str
    detail: str = ""
    """Depth window or k-line interval; empty for realtime depth."""

    @property
    def private(self) -> bool:
        """True when a subscription needs a signature."""
        return self.kind in PRIVATE


def parse_topic(name: str) -> Topic:
    """Read a stream name.

    Raises:
        TopicError: 4006 for an unknown stream, 4008 for a depth window that does not exist.
    """
    if name.startswith("account."):
        return _private(name)
    parts = name.split(".")
    head, symbol = parts[0], parts[-1]
    if name == Kind.LIQUIDATION:
        return Topic(name, Kind.LIQUIDATION, "")
    if len(parts) == _MIN_PARTS and head in _PLAIN and symbol:
        return Topic(name, Kind(head), symbol)
    if len(parts) == _MIN_PARTS + 1 and symbol:
        return _detailed(name, head, parts[1], symbol)
    raise TopicError(4006, "Invalid stream")


def _private(name: str) -> Topic:
    for kind in sorted(PRIVATE):
        if name == kind:
            return Topic(name, kind, "")
        symbol = name.removeprefix(f"{kind}.")
        if symbol != name and symbol and "." not in symbol:
            return Topic(name, kind, symbol)
    raise TopicError(4006, "Invalid stream")


def _detailed(name: str, head: str, detail: str, symbol: str) -> Topic:
    if head == Kind.DEPTH:
        if detail not in DEPTH_WINDOWS_MS:
            raise TopicError(4008, "Invalid depth window")
        return Topic(name, Kind.DEPTH, symbol, detail)
    if head == Kind.KLINE and detail in INTERVAL_MINUTES:
        return Topic(name, Kind.KLINE, symbol, detail)
    raise TopicError(4006, "Invalid stream")

"""Parsers of single settings: text in, typed value out, ``ValueError`` saying what is wanted.

No parser ever repeats the value it was given: the caller does, and leaves it out for a secret.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from strategy.domain import BPS_UNIT, Bps, Ns, Qty, Quote, nano

T = TypeVar("T")

MAX_SLIPPAGE_BPS = 1_000
"""A cap of more than ten percent is a typing error."""
MAX_EXPONENT = 30
MAX_SECONDS = 7 * 86_400
MAX_CLOCK_MS = 1_250
"""A quarter of the 5 s that an order's signature is good for."""
MAX_SPEED = 1e12
"""``--speed max``: what ``exchanges.simulator.universe`` takes for as fast as possible."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1: a GRVT signing key is a number below it."""
SEED_BYTES = 32


def number(text: str) -> Decimal:
    """Parse a finite decimal.

    Raises:
        ValueError: anything else, NaN and infinities included.
    """
    try:
        value = Decimal(text.strip())
    except InvalidOperation as bad:
        raise ValueError("not a number") from bad
    if not value.is_finite():
        raise ValueError("not a finite number")
    if value and abs(value.adjusted()) > MAX_EXPONENT:
        raise ValueError("too large or too small a number")
    return value


def _units(text: str, least: int, what: str) -> int:
    value = number(text)
    try:
        units = nano(value)
    except ValueError as bad:
        raise ValueError("finer than 1e-9, the smallest unit used") from bad
    if units < least:
        raise ValueError(f"must be {what}")
    return units


def size(text: str) -> Qty:
    """Parse a size above zero, base units."""
    return Qty(_units(text, 1, "above 0, in base units such as 0.5"))


def money(text: str) -> Quote:
    """Parse an amount above zero, quote units."""
    return Quote(_units(text, 1, "above 0, in quote units such as 50"))


def seconds(text: str) -> Ns:
    """Parse a duration of zero or more seconds into ns."""
    value = Ns(_units(text, 0, "0 or more seconds"))
    if value > MAX_SECONDS * 10**9:
        raise ValueError("longer than a week")
    return value


def positive_seconds(text: str) -> Ns:
    """Parse a duration above zero seconds into ns."""
    value = seconds(text)
    if not value:
        raise ValueError("must be above 0 seconds")
    return value


def milliseconds(text: str) -> Ns:
    """Parse a duration above zero milliseconds into ns."""
    return Ns(count(text, least=1, most=MAX_SECONDS * 1000) * 1_000_000)


def _basis_points(text: str) -> Bps:
    value = number(text) * BPS_UNIT
    if value != value.to_integral_value():
        raise ValueError("finer than 1e-6 bps, the smallest unit used")
    return Bps(int(value))


def slippage(text: str) -> Bps:
    """Parse a price bound above zero, bps."""
    value = _basis_points(text)
    if not 0 < value <= MAX_SLIPPAGE_BPS * BPS_UNIT:
        raise ValueError(f"must be above 0 and at most {MAX_SLIPPAGE_BPS} bps")
    return value


def percent(text: str) -> Bps:
    """Parse a share above zero and at most 100 %, into bps."""
    value = _basis_points(text)
    if not 0 < value <= 100 * BPS_UNIT:
        raise ValueError("must be above 0 and at most 100, in percent")
    return Bps(value * 100)


def base_seconds(text: str) -> int:
    """Parse an exposure budget above zero: base units x seconds, 1e-9."""
    return _units(text, 1, "above 0, in base units x seconds such as 30")


def leverage(text: str) -> int:
    """Parse a leverage from 1 to 1000, 1e-9."""
    value = _units(text, 10**9, "1 or more, such as 10")
    if value > 1000 * 10**9:
        raise ValueError("must be at most 1000")
    return value


def clock_offset(text: str) -> Ns:
    """Parse a clock difference, ms into ns; at most a quarter of what a signature lives (F60)."""
    return Ns(count(text, least=1, most=MAX_CLOCK_MS) * 1_000_000)


def edge(text: str) -> Bps:
    """Parse an edge in bps; negative accepts a loss of that size."""
    value = _basis_points(text)
    if abs(value) > MAX_SLIPPAGE_BPS * BPS_UNIT:
        raise ValueError(f"must be between -{MAX_SLIPPAGE_BPS} and {MAX_SLIPPAGE_BPS} bps")
    return value


def risk_aversion(text: str) -> int | None:
    """Parse a risk aversion in 1e-9; ``max`` is None."""
    if text.strip() == "max":
        return None
    return _units(text, 0, "0 or more, or `max`")


def count(text: str, *, least: int = 0, most: int = 10**9) -> int:
    """Parse a whole number within bounds."""
    if not re.fullmatch(r"[0-9]{1,19}", text.strip()) or not least <= int(text) <= most:
        raise ValueError(f"must be a whole number from {least} to {most}")
    return int(text)


def at_least_one(text: str) -> int:
    """Parse a whole number of 1 or more."""
    return count(text, least=1)


def speed(text: str) -> float:
    """Parse a replay speed above zero, or ``max``; a ratio of durations, no money."""
    if text == "max":
        return MAX_SPEED
    value = number(text)
    if not 0 < value <= 10**6:
        raise ValueError("must be above 0 and at most 1000000 (1 is real time), or max")
    return float(value)


def ticker(text: str) -> str:
    """Parse a base symbol; one typed in lower case throughout is raised."""
    if not re.fullmatch(r"[A-Za-z0-9]{1,20}", text):
        raise ValueError("must be a base symbol of letters and digits such as ETH")
    return text.upper() if text.islower() else text


def words(allowed: Iterable[str]) -> Callable[[str], str]:
    """Return a parser of one of the ``allowed`` words."""
    known = tuple(allowed)

    def parse(text: str) -> str:
        if text not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return text

    return parse


def switch(text: str) -> bool:
    """Parse true or false."""
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def path(text: str) -> Path:
    """Parse a path; ``~`` is the home directory."""
    if not text or "\0" in text:
        raise ValueError("must be a path")
    try:
        return Path(text).expanduser()
    except RuntimeError as bad:
        raise ValueError("names a user without a home directory") from bad


def plain_text(text: str) -> str:
    """Parse a text that is not empty."""
    if not text:
        raise ValueError("must not be empty")
    return text


def loopback(url: str) -> bool:
    """True when the address stays on this machine."""
    return urlsplit(url).hostname in LOOPBACK


def address(schemes: tuple[str, str]) -> Callable[[str], str]:
    """Return a parser of addresses; the first (plain) scheme is for this machine only."""
    clear, secure = schemes

    def parse(text: str) -> str:
        bare = text.rstrip("/")
        try:
            parts = urlsplit(bare)
            port = parts.port
        except ValueError as bad:
            raise ValueError(f"not an address; give {secure}://host") from bad
        if parts.scheme not in schemes or not parts.hostname or port == 0:
            raise ValueError(f"must be {secure}://host[:port]")
        if parts.path or parts.query or parts.fragment or parts.username:
            raise ValueError("must be scheme, host and port only: the client adds the path")
        if parts.scheme == clear and not loopback(bare):
            raise ValueError(f"must be {secure}://; plain {clear}:// only on this machine")
        return bare

    return parse


def backpack_key(text: str) -> str:
    """Check a Backpack key: base64 of 32 bytes (venues.md B2)."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as bad:
        raise ValueError("is not base64; copy it again from the API page") from bad
    if len(raw) != SEED_BYTES:
        raise ValueError(f"must be base64 of {SEED_BYTES} bytes, it holds {len(raw)}")
    return text


def grvt_private_key(text: str) -> str:
    """Check a GRVT signing key: 0x and 64 hex digits, a key of secp256k1 (venues.md A3)."""
    if not re.fullmatch(r"0x[0-9a-fA-F]{64}", text) or not 0 < int(text, 16) < CURVE_ORDER:
        raise ValueError("must be 0x and 64 hex digits, the API key's private key")
    return text


def grvt_account(text: str) -> str:
    """Check a GRVT sub account id: a uint64 in decimal."""
    if not re.fullmatch(r"[0-9]{1,20}", text) or not 0 < int(text) < 1 << 64:
        raise ValueError("must be the trading account's number (sub account id)")
    return text

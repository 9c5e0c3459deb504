"""ED25519 request signatures as Backpack checks them (venues.md B2). No I/O."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from decimal import Decimal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from exchanges.simulator.backpack_words import MS, ApiError, bad_request
from strategy.domain import Ns

DEFAULT_WINDOW_MS = 5_000
MAX_WINDOW_MS = 60_000
_SIGNATURE_BYTES = 64
_MAX_DIGITS = 16

Scalar = str | int | bool | Decimal | None
Params = Mapping[str, Scalar]


class SignatureError(ApiError):
    """The request is not signed by the account's key: counted as a signature failure."""


def invalid_signature() -> SignatureError:
    """Return 400 "Invalid signature"."""
    return SignatureError(400, "INVALID_CLIENT_REQUEST", "Invalid signature")


def _word(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _section(instruction: str, params: Params) -> str:
    pairs = sorted((key, _word(value)) for key, value in params.items() if value is not None)
    return "&".join([f"instruction={instruction}", *(f"{key}={value}" for key, value in pairs)])


def string_to_sign(instruction: str, params: Params, timestamp: int, window: int) -> str:
    """Return the exact text a client signs: parameters sorted by key, not URL-encoded.

    Args:
        instruction: the endpoint's name, e.g. ``orderExecute``.
        params: every body or query member; null members are left out.
        timestamp: Unix ms.
        window: ms; part of the text even when the header is absent.
    """
    return f"{_section(instruction, params)}&timestamp={timestamp}&window={window}"


def batch_string(instruction: str, batch: Iterable[Params], timestamp: int, window: int) -> str:
    """Return the text of ``POST /orders``: each order prefixed, one timestamp at the end."""
    sections = "&".join(_section(instruction, params) for params in batch)
    return f"{sections}&timestamp={timestamp}&window={window}"


def _integer(text: str, header: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise bad_request(f"Invalid {header} header")
    return int(text)


class Stamp:
    """The four authentication values of one request, in header or socket form.

    Raises:
        ApiError: missing, malformed, or a window beyond 60 000 ms.
    """

    __slots__ = ("key", "signature", "timestamp", "window")

    def __init__(self, key: str, signature: str, timestamp: str, window: str | None) -> None:
        self.key = key
        self.signature = _decoded(signature)
        self.timestamp = _integer(timestamp, "X-Timestamp")
        self.window = DEFAULT_WINDOW_MS if window is None else _integer(window, "X-Window")
        if self.window > MAX_WINDOW_MS:
            raise bad_request("Invalid X-Window header: must be at most 60000")

    def check_clock(self, now: Ns) -> None:
        """Raise "Request has expired" when ``now`` is further than the window from the stamp."""
        if abs(now // MS - self.timestamp) > self.window:
            raise bad_request("Request has expired")


def _decoded(signature: str) -> bytes:
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError) as bad:
        raise SignatureError(400, "INVALID_CLIENT_REQUEST", "Invalid X-Signature header") from bad
    if len(raw) != _SIGNATURE_BYTES:
        raise SignatureError(400, "INVALID_CLIENT_REQUEST", "Invalid X-Signature header")
    return raw


def stamp_of(headers: Mapping[str, str], *, wapi: bool) -> Stamp:
    """Read the authentication headers.

    Args:
        headers: case-insensitive request headers.
        wapi: a history endpoint, which answers 401 to a request without credentials.

    Raises:
        ApiError: a header is missing or malformed.
    """
    values: list[str] = []
    for name in ("X-API-Key", "X-Signature", "X-Timestamp"):
        value = headers.get(name)
        if value is None:
            if wapi:
                raise ApiError(401, "UNAUTHORIZED", "Unauthorized")
            raise bad_request(f"Missing {name} header")
        values.append(value)
    return Stamp(values[0], values[1], values[2], headers.get("X-Window"))


def _verifier(public_key: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))


class KeyRing:
    """The API keys of every simulated account: a key opens exactly one account (venues.md B2)."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[Ed25519PublicKey, str]] = {}

    def add(self, public_key: str, account_id: str) -> None:
        """Let a key open an account.

        Args:
            public_key: base64 of the 32-byte verifying key.
            account_id: the engine's id of the account.

        Raises:
            ValueError: not such a key, or one that opens another account.
        """
        known = self._keys.get(public_key)
        if known is not None and known[1] != account_id:
            raise ValueError(f"the key already opens account {known[1]!r}")
        self._keys[public_key] = (_verifier(public_key), account_id)

    def checked(self, public_key: str) -> str | None:
        """Return the id of the account that a key opens; None for an unknown key.

        Raises:
            ValueError: not base64 of a 32-byte verifying key.
        """
        _verifier(public_key)
        return self.holder(public_key)

    def holder(self, public_key: str) -> str | None:
        """Return the id of the account that a key opens; None for an unknown key."""
        known = self._keys.get(public_key)
        return None if known is None else known[1]

    def verify(self, stamp: Stamp, text: str, now: Ns, *, wapi: bool = False) -> str:
        """Check key, clock and signature of ``text``; returns the id of the account it opens.

        Raises:
            SignatureError: unknown key or wrong signature.
            ApiError: outside the window.
        """
        known = self._keys.get(stamp.key)
        if known is None:
            if wapi:
                raise SignatureError(401, "UNAUTHORIZED", "Unauthorized")
            raise invalid_signature()
        stamp.check_clock(now)
        try:
            known[0].verify(stamp.signature, text.encode("utf-8", "surrogatepass"))
        except InvalidSignature:
            raise invalid_signature() from None
        return known[1]

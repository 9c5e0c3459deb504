"""Test credentials of the simulated venues, derived from the seed so that a run can be repeated.

They open nothing but the simulator: never fund an address made from them.
"""

import base64
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_account import Account

_API_KEY_CHARS = 27
_SUB_ACCOUNT_DIGITS = 15


@dataclass(frozen=True, slots=True)
class GrvtCredentials:
    """API key and signer of one GRVT trading account (venues.md A2, A3)."""

    api_key: str = field(repr=False)
    private_key: str = field(repr=False)
    """Secp256k1 key, ``0x`` and 64 hex digits."""
    sub_account_id: str
    """Decimal text."""
    address: str
    """Checksummed address of ``private_key``: the signer that orders must name."""
    main_account_id: str = ""
    """Address of the main (funding) account that all sub-accounts of a seed share."""


@dataclass(frozen=True, slots=True)
class BackpackCredentials:
    """ED25519 key pair of one Backpack account, each half base64 of 32 bytes (venues.md B2)."""

    public_key: str
    secret_key: str = field(repr=False)


def grvt_credentials(seed: int, index: int = 0) -> GrvtCredentials:
    """Return a GRVT sub-account of a seed; 0 is the first. Each has its own key and signer."""
    private_key = "0x" + _bytes("grvt private key", seed, index).hex()
    number = int.from_bytes(_bytes("grvt sub account", seed, index)) % 10**_SUB_ACCOUNT_DIGITS
    first = Account.from_key("0x" + _bytes("grvt private key", seed).hex())
    return GrvtCredentials(
        api_key="sim" + _bytes("grvt api key", seed, index).hex()[: _API_KEY_CHARS - 3],
        private_key=private_key,
        sub_account_id=str(10**_SUB_ACCOUNT_DIGITS + number),
        address=str(Account.from_key(private_key).address),
        main_account_id="0x" + sha256(str(first.address).encode()).hexdigest()[:40],
    )


def backpack_credentials(seed: int, index: int = 0) -> BackpackCredentials:
    """Return the key pair of a Backpack account of a seed; 0 is the first."""
    secret = _bytes("backpack secret key", seed, index)
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key()
    return BackpackCredentials(
        public_key=base64.b64encode(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode(),
        secret_key=base64.b64encode(secret).decode(),
    )


def backpack_account(index: int = 0) -> str:
    """Return the engine's id of a seed's Backpack account; 0 is the first."""
    return f"backpack-{index + 1}" if index else "backpack"


def _bytes(what: str, seed: int, index: int = 0) -> bytes:
    which = f" {index}" if index else ""
    return sha256(f"simulator {what} {seed}{which}".encode()).digest()

"""GRVT sessions and signatures: who may ask, and who signed (venues.md A2, A3)."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from exchanges.simulator.grvt_eip712 import (
    Asset,
    builder_digest,
    config_digest,
    order_digest,
    recover,
    wallet_login_digest,
)
from exchanges.simulator.grvt_members import Member, Members
from exchanges.simulator.grvt_options import GrvtOptions
from exchanges.simulator.grvt_payload import (
    Fields,
    OrderPlan,
    SignatureParts,
    address,
    decimal_text,
    signature_parts,
)
from exchanges.simulator.grvt_words import ApiError, malformed
from strategy.domain import NANO, Ns

ACCOUNT_HEADER = "X-Grvt-Account-Id"
ACCOUNT_QUERY = "x_grvt_account_id"
"""How browsers name the account on a socket."""
COOKIE = "gravity"
_MAX_SIGNATURE = 30 * 24 * 3600 * NANO
_MAX_LOGIN = 300 * NANO
_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
_RS_DIGITS = 64
_MAX_SESSIONS = 1000
_MAX_RATE = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Session:
    """A login: whose, the cookie's value and when it stops working, Unix ns."""

    member: Member
    token: str
    expires_at: Ns


class Sessions:
    """Logins of all accounts.

    Args:
        members: the accounts with their keys and signers.
        options: chain id and cookie life.
    """

    def __init__(self, members: Members, options: GrvtOptions) -> None:
        self._members = members
        self._options = options
        self._live: dict[str, Session] = {}
        self._serial = 0

    def key_login(self, api_key: str, now: Ns) -> Session | None:
        """Log in with an API key; None when it is not ours."""
        member = self._members.with_key(api_key)
        return None if member is None else self._open(member, now)

    def wallet_login(self, request: Fields, now: Ns) -> Session | None:
        """Log in with a signed ``WalletLogin``; None when signer, digest or time do not fit.

        Raises:
            ApiError: 1003, or the code of a malformed signature.
        """
        signer = address(request.required("address"))
        parts = signature_parts(request.inner("signature"))
        _check_form(parts, self._options.chain_id)
        if not now < parts.expiration <= now + _MAX_LOGIN:
            return None
        member = self._members.with_signer(signer)
        digest = wallet_login_digest(signer, parts, self._options.chain_id)
        if member is None or recover(digest, parts) != signer:
            return None
        return self._open(member, now)

    def authenticate(
        self, headers: Mapping[str, str], now: Ns, named: str | None = None
    ) -> Session:
        """Return the session of a request.

        The account header may be missing, but must not name another account.

        Args:
            headers: of the request.
            now: Unix ns.
            named: the account in the query of a socket's address.

        Raises:
            ApiError: 401/1000.
        """
        session = self._live.get(cookie_value(headers.get("Cookie", "")))
        account = headers.get(ACCOUNT_HEADER, named)
        if session is None or session.expires_at <= now:
            raise ApiError(1000)
        if account is not None and account.lower() != session.member.main:
            raise ApiError(1000)
        return session

    def _open(self, member: Member, now: Ns) -> Session:
        self._serial += 1
        seed = f"{member.main}:{member.sub_account}:{self._serial}".encode()
        # The padding "=" is deliberate: clients quote such a value (venues.md A2.2).
        token = base64.urlsafe_b64encode(sha256(seed).digest()).decode()
        session = Session(member, token, Ns(now + self._options.cookie_life))
        self._live[token] = session
        if len(self._live) > _MAX_SESSIONS:
            del self._live[next(iter(self._live))]
        return session


def cookie_value(header: str) -> str:
    """Return the ``gravity`` cookie of a Cookie header, without optional quotes; or ``""``."""
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value.strip('"')
    return ""


class Signers:
    """Checks signatures of orders, of builder approvals and of position settings."""

    def __init__(self, options: GrvtOptions) -> None:
        self._chain_id = options.chain_id

    def check_order(self, plan: OrderPlan, asset: Asset, member: Member, now: Ns) -> bytes:
        """Return the digest of a properly signed order (venues.md A3, A4.3).

        Raises:
            ApiError: 1012, 2000, 2001, 2002, 2005, 2006, 2007 or 2008.
        """
        parts = plan.signature
        self._check_parts(parts, now)
        digest = order_digest(plan, asset, self._chain_id)
        _check_signer(digest, parts, member)
        return digest

    def check_builder(self, request: Fields, member: Member, now: Ns) -> tuple[str, str, str]:
        """Return (builder, futures rate, spot rate) of a signed approval; rates in percent.

        Raises:
            ApiError: 1001 for another main account, else as ``check_order``.
        """
        if address(request.required("main_account_id")) != member.main:
            raise ApiError(1001)
        builder = address(request.required("builder_account_id"))
        futures, spot = (
            request.required("max_futures_fee_rate"),
            request.required("max_spot_fee_rate"),
        )
        parts = signature_parts(request.inner("signature"))
        self._check_parts(parts, now)
        rates = _scaled(futures), _scaled(spot)
        digest = builder_digest(member.main, builder, rates, parts, self._chain_id)
        _check_signer(digest, parts, member)
        return builder, futures, spot

    def check_config(
        self, request: Fields, asset: Asset, config: tuple[int, int], member: Member, now: Ns
    ) -> None:
        """Check the signature of ``set_position_config``; ``config`` is margin type and leverage.

        Raises:
            ApiError: as ``check_order``.
        """
        parts = signature_parts(request.inner("signature"))
        self._check_parts(parts, now)
        digest = config_digest(int(member.sub_account), asset, config, parts, self._chain_id)
        _check_signer(digest, parts, member)

    def _check_parts(self, parts: SignatureParts, now: Ns) -> None:
        _check_form(parts, self._chain_id)
        _check_life(parts, now)


def _check_signer(digest: bytes, parts: SignatureParts, member: Member) -> None:
    if recover(digest, parts) != parts.signer:
        # A signer that is not even registered is named first.
        raise ApiError(2002 if parts.signer in member.signers else 2000)
    if parts.signer not in member.signers:
        raise ApiError(2000)


def _scaled(rate: str) -> int:
    scaled = int(decimal_text(rate) * 10_000)
    if not 0 <= scaled <= _MAX_RATE:
        raise malformed()
    return scaled


def _check_form(parts: SignatureParts, chain_id: int) -> None:
    """Check chain id, v, length of r and s, and low s, in that order."""
    if parts.chain_id not in (None, "", "0", str(chain_id)):
        raise ApiError(1012)
    if parts.v not in (27, 28):
        raise ApiError(2005)
    if not (_is_half(parts.r) and _is_half(parts.s)):
        raise ApiError(2006)
    if int(parts.s, 16) > _CURVE_ORDER // 2:
        raise ApiError(2007)


def _is_half(value: str) -> bool:
    digits = value.removeprefix("0x")
    return len(digits) == _RS_DIGITS and _HEX_DIGITS.issuperset(digits)


def _check_life(parts: SignatureParts, now: Ns) -> None:
    if parts.expiration <= now:
        raise ApiError(2001)
    if parts.expiration > now + _MAX_SIGNATURE:
        raise ApiError(2008)

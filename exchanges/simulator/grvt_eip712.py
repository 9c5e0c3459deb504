"""EIP-712 digests of what GRVT clients sign, and recovery of the signer (venues.md A3). Pure.

Encoded by hand from the type strings, so that it shares no code with the clients it checks.
"""

from dataclasses import dataclass
from functools import lru_cache

from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from exchanges.simulator.grvt_payload import OrderPlan, SignatureParts
from exchanges.simulator.grvt_words import TIF_NUMBERS
from strategy.domain import NANO, Side

_WORD = 32
_LEG = "OrderLeg(uint256 assetID,uint64 contractSize,uint64 limitPrice,bool isBuyingContract)"
_HEAD = (
    "uint64 subAccountID,bool isMarket,uint8 timeInForce,bool postOnly,bool reduceOnly,"
    "OrderLeg[] legs"
)
_TAIL = "uint32 nonce,int64 expiration"
ORDER_TYPE = f"Order({_HEAD},{_TAIL}){_LEG}"
BUILDER_ORDER_TYPE = f"OrderWithBuilderFee({_HEAD},address builder,uint32 builderFee,{_TAIL}){_LEG}"
WALLET_LOGIN_TYPE = f"WalletLogin(address signer,{_TAIL})"
AUTHORIZE_BUILDER_TYPE = (
    "AuthorizeBuilder(address mainAccountID,address builderAccountID,uint32 maxFutureFeeRate,"
    f"uint32 maxSpotFeeRate,{_TAIL})"
)
POSITION_CONFIG_TYPE = (
    "SetSubAccountPositionMarginConfig(uint64 subAccountID,uint256 asset,uint8 marginType,"
    f"int32 leverage,{_TAIL})"
)
"""Not in the SDK; as several clients that trade on the venue sign it."""
LEVERAGE_SCALE = 1_000_000
"""A leverage times this is what is signed."""
_DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId)"
FEE_SCALE = 10_000
"""A builder fee in percent times this is what is signed."""
_LEGACY_V = (27, 28)


@dataclass(frozen=True, slots=True)
class Asset:
    """What a signature says of an instrument."""

    asset_id: int
    size_decimals: int


def order_digest(plan: OrderPlan, asset: Asset, chain_id: int) -> bytes:
    """Return the digest that an order's signer signs."""
    leg = _struct(
        _LEG,
        asset.asset_id,
        plan.size * 10**asset.size_decimals // NANO,
        plan.limit_px,
        int(plan.side is Side.BUY),
    )
    builder: tuple[int, ...] = ()
    if plan.builder:
        builder = (int(plan.builder, 16), int(plan.builder_fee * FEE_SCALE))
    struct = _struct(
        BUILDER_ORDER_TYPE if plan.builder else ORDER_TYPE,
        plan.sub_account,
        int(plan.market),
        TIF_NUMBERS[plan.tif],
        int(plan.post_only),
        int(plan.reduce_only),
        int.from_bytes(keccak(leg)),
        *builder,
        plan.signature.nonce,
        plan.signature.expiration,
    )
    return _digest(struct, chain_id)


def wallet_login_digest(signer: str, signature: SignatureParts, chain_id: int) -> bytes:
    """Return the digest of ``POST /auth/wallet/login``."""
    struct = _struct(WALLET_LOGIN_TYPE, int(signer, 16), signature.nonce, int(signature.expiration))
    return _digest(struct, chain_id)


def builder_digest(
    main: str, builder: str, rates: tuple[int, int], signature: SignatureParts, chain_id: int
) -> bytes:
    """Return the digest of ``authorize_builder``; rates are percent times ``FEE_SCALE``."""
    struct = _struct(
        AUTHORIZE_BUILDER_TYPE,
        int(main, 16),
        int(builder, 16),
        *rates,
        signature.nonce,
        int(signature.expiration),
    )
    return _digest(struct, chain_id)


def config_digest(
    account: int, asset: Asset, config: tuple[int, int], signature: SignatureParts, chain_id: int
) -> bytes:
    """Return the digest of ``set_position_config``.

    Args:
        account: sub-account number.
        asset: of the instrument.
        config: margin type (1 isolated, 2 cross) and leverage times ``LEVERAGE_SCALE``.
        signature: nonce and expiration are signed too.
        chain_id: of the domain.
    """
    struct = _struct(
        POSITION_CONFIG_TYPE,
        account,
        asset.asset_id,
        *config,
        signature.nonce,
        int(signature.expiration),
    )
    return _digest(struct, chain_id)


def recover(digest: bytes, signature: SignatureParts) -> str | None:
    """Return the lower-case address that signed, or None when the numbers are no signature."""
    vrs = (signature.v - _LEGACY_V[0], int(signature.r, 16), int(signature.s, 16))
    try:
        key = Signature(vrs=vrs).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError):
        return None
    return str(key.to_address())


def _struct(type_string: str, *words: int) -> bytes:
    """Return a struct's hash; every member is one 32-byte word."""
    encoded = b"".join(word.to_bytes(_WORD) for word in words)
    return keccak(_type_hash(type_string) + encoded)


@lru_cache(maxsize=16)
def _type_hash(type_string: str) -> bytes:
    return keccak(text=type_string)


@lru_cache(maxsize=4)
def _domain(chain_id: int) -> bytes:
    name, version = keccak(text="GRVT Exchange"), keccak(text="0")
    return keccak(_type_hash(_DOMAIN_TYPE) + name + version + chain_id.to_bytes(_WORD))


def _digest(struct: bytes, chain_id: int) -> bytes:
    return keccak(b"\x19\x01" + _domain(chain_id) + struct)

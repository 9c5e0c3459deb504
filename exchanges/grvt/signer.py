"""Order bodies, encoded and signed by the SDK: EIP-712, secp256k1 (venues.md A3). No I/O.

The SDK truncates a size or price finer than its scale without a word (venues.md A10, G16), so
everything that could be truncated is refused here.
"""

import logging
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import orjson
from eth_account import Account
from pysdk.grvt_raw_base import GrvtApiConfig
from pysdk.grvt_raw_env import GrvtEnv, GrvtEnvConfig, get_env_config
from pysdk.grvt_raw_signing import sign_order
from pysdk.grvt_raw_types import Instrument as SdkInstrument
from pysdk.grvt_raw_types import (
    InstrumentSettlementPeriod,
    Kind,
    Order,
    OrderLeg,
    OrderMetadata,
    Signature,
    TimeInForce,
)

from exchanges.grvt.codec import client_text
from strategy.domain import NANO, Instrument, OrderRequest, Side, Tif, Venue, plain

TIFS = {
    Tif.GTC: TimeInForce.GOOD_TILL_TIME,
    Tif.IOC: TimeInForce.IMMEDIATE_OR_CANCEL,
    Tif.FOK: TimeInForce.FILL_OR_KILL,
}
ENVIRONMENTS = {"prod": GrvtEnv.PROD, "testnet": GrvtEnv.TESTNET}
MAX_NONCE = (1 << 32) - 1
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class GrvtConfig:
    """Keys and addresses of one sub-account; None keeps the environment's own address.

    Raises:
        ValueError: the environment is neither ``prod`` nor ``testnet``.
    """

    api_key: str = field(repr=False)
    private_key: str = field(repr=False)
    sub_account_id: str
    environment: str
    """``prod`` or ``testnet``."""
    edge_url: str | None = None
    trades_url: str | None = None
    market_data_url: str | None = None
    ws_trades_url: str | None = None
    ws_market_data_url: str | None = None

    def __post_init__(self) -> None:
        if self.environment not in ENVIRONMENTS:
            raise ValueError(f"GRVT environment {self.environment!r}: use prod or testnet")

    @property
    def sdk_environment(self) -> GrvtEnv:
        """Return the environment whose chain id signs: 325 in production, else 326.

        With any address on loopback it is always 326, so that what a simulator sees can never be
        valid in production (venues.md A9).
        """
        urls = (
            self.edge_url, self.trades_url, self.market_data_url,
            self.ws_trades_url, self.ws_market_data_url,
        )  # fmt: skip
        if any(urlsplit(url or "").hostname in _LOOPBACK for url in urls):
            return GrvtEnv.TESTNET
        return ENVIRONMENTS[self.environment]

    def sdk_endpoints(self) -> GrvtEnvConfig:
        """Return the SDK's own addresses of the environment."""
        return get_env_config(self.sdk_environment)

    def sdk_config(self) -> GrvtApiConfig:
        """Return the SDK's own settings, with a logger that drops what it says of keys (G9)."""
        logger = logging.getLogger("pysdk.hedged")
        logger.setLevel(logging.WARNING)
        return GrvtApiConfig(
            env=self.sdk_environment,
            trading_account_id=self.sub_account_id,
            private_key=self.private_key,
            api_key=self.api_key,
            logger=logger,
        )


class OrderSigner:
    """Turns requests into signed bodies.

    Raises:
        ValueError: the private key is no secp256k1 key.
    """

    def __init__(self, config: GrvtConfig) -> None:
        self._config = config.sdk_config()
        self._sub_account_id = config.sub_account_id
        self._account = Account.from_key(config.private_key)

    @property
    def address(self) -> str:
        """Return the signer's checksummed address."""
        return str(self._account.address)

    def body(self, request: OrderRequest, instrument: Instrument, nonce: int) -> bytes:
        """Return the body of ``create_order``; the same bytes serve every resend (S4).

        Raises:
            ValueError: the request does not fit the instrument, or cannot be encoded exactly.
        """
        check(request, instrument, nonce)
        order = Order(
            sub_account_id=self._sub_account_id,
            time_in_force=TIFS[request.tif],
            legs=[
                OrderLeg(
                    instrument=request.symbol,
                    size=plain(request.qty),
                    limit_price=plain(request.px),
                    is_buying_asset=request.side is Side.BUY,
                )
            ],
            signature=Signature(
                signer="", r="", s="", v=0, expiration=str(request.expires_at), nonce=nonce
            ),
            metadata=OrderMetadata(client_order_id=client_text(request.client_id)),
            is_market=False,
            post_only=request.post_only,
            reduce_only=request.reduce_only,
        )
        known = {request.symbol: sdk_instrument(instrument)}
        return orjson.dumps({"order": sign_order(order, self._config, self._account, known)})


def check(request: OrderRequest, instrument: Instrument, nonce: int) -> None:
    """Refuse whatever could not be encoded exactly as it was asked for; raises ValueError."""
    _check_identity(request, instrument, nonce)
    if request.qty <= 0 or request.qty % instrument.step:
        raise ValueError(f"size {request.qty} is not a positive multiple of {instrument.step}")
    if request.qty * 10**instrument.size_decimals % NANO:
        raise ValueError(f"size {request.qty} is finer than {instrument.size_decimals} decimals")
    if request.px <= 0 or request.px % instrument.tick:
        raise ValueError(f"price {request.px} is not a positive multiple of {instrument.tick}")
    if request.post_only and request.tif is not Tif.GTC:
        raise ValueError("post-only orders rest: only with GTC")


def _check_identity(request: OrderRequest, instrument: Instrument, nonce: int) -> None:
    if request.venue is not Venue.GRVT or request.symbol != instrument.symbol:
        raise ValueError(f"{request.venue} {request.symbol} is not {instrument.symbol}")
    if not 0 <= nonce <= MAX_NONCE:
        raise ValueError(f"nonce {nonce} is not a uint32")
    if request.expires_at <= 0:
        raise ValueError("an order without an expiry")


def sdk_instrument(instrument: Instrument) -> SdkInstrument:
    """Return the part of the SDK's instrument that signing reads: hash and size scale."""
    return SdkInstrument(
        instrument=instrument.symbol,
        instrument_hash=instrument.asset_id,
        base=instrument.base,
        quote=instrument.quote,
        kind=Kind.PERPETUAL,
        venues=[],
        settlement_period=InstrumentSettlementPeriod.PERPETUAL,
        base_decimals=instrument.size_decimals,
        quote_decimals=6,
        tick_size=plain(instrument.tick),
        min_size=plain(instrument.min_qty),
        create_time="0",
        max_position_size="0",
    )

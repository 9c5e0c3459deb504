"""What to ask: every endpoint of both venues and of the control server, with a valid request."""

import base64
import json
import time
from dataclasses import dataclass
from typing import Any

from coincurve import PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eth_account import Account

from exchanges.simulator.backpack_auth import batch_string, string_to_sign
from exchanges.simulator.grvt_eip712 import Asset, order_digest
from exchanges.simulator.grvt_payload import Fields, order_plan
from exchanges.simulator.grvt_words import ApiError

Json = dict[str, Any]
SYMBOL, PERP = "ETH_USDT_Perp", "ETH_USDC_PERP"
_ID_BASE = 1 << 63
_LIFE_NS = 600 * 10**9
_PAGE = {"start_time": "1", "end_time": "9223372036854775807", "limit": 5, "cursor": ""}
_FILTER = {"kind": ["PERPETUAL"], "base": ["ETH"], "quote": ["USDT"]}


_HISTORIES = {
    "borrowLend": "borrowHistoryQueryAll",
    "interest": "interestHistoryQueryAll",
    "borrowLend/positions": "borrowPositionHistoryQueryAll",
    "dust": "dustHistoryQueryAll",
    "pnl": "pnlHistoryQueryAll",
    "rfq": "rfqHistoryQueryAll",
    "quote": "quoteHistoryQueryAll",
    "strategies": "strategyHistoryQueryAll",
}


def grvt_methods(account: str) -> dict[str, Json]:
    """Return a valid body of every method but ``create_order``."""
    own: Json = {"sub_account_id": account}
    named: Json = {"instrument": SYMBOL}
    return {
        "instrument": named,
        "all_instruments": {"is_active": True},
        "instruments": {**_FILTER, "is_active": True, "limit": 5},
        "currency": {},
        "margin_rules": named,
        "mini": named,
        "ticker": named,
        "book": {**named, "depth": 10, "aggregate": 1},
        "trade": {**named, "limit": 5},
        "trade_history": {**named, **_PAGE},
        "kline": {**named, **_PAGE, "interval": "CI_1_M", "type": "TRADE"},
        "funding": {**named, **_PAGE, "agg_type": "FUNDING_INTERVAL"},
        "order": {**own, "client_order_id": str(_ID_BASE + 1)},
        "open_orders": {**own, **_FILTER},
        "order_history": {**own, **_FILTER, **_PAGE},
        "cancel_order": {**own, "client_order_id": str(_ID_BASE + 1), "time_to_live_ms": "150"},
        "cancel_all_orders": {**own, **_FILTER},
        "cancel_on_disconnect": {**own, "countdown_time": "0"},
        "fill_history": {**own, **_FILTER, **_PAGE},
        "funding_payment_history": {**own, **named, **_PAGE},
        "positions": {**own, **_FILTER},
        "position_history": {**own, **_PAGE},
        "account_summary": own,
        "account_history": {**own, **_PAGE},
        "aggregated_account_summary": {},
        "funding_account_summary": {},
        "get_sub_accounts": {},
        "get_all_initial_leverage": own,
        "set_initial_leverage": {**own, **named, "leverage": "10"},
        "set_position_config": {**own, **named, "margin_type": "CROSS", "leverage": "10"},
        "get_authorized_builders": {},
        "bulk_orders": {**own, "orders": [], "client_order_ids": [str(_ID_BASE + 1)]},
        "create_bulk_orders": {"orders": []},
        "authorize_builder": {
            "main_account_id": "0x01",
            "builder_account_id": "0x02",
            "max_futures_fee_rate": "0.001",
            "max_spot_fee_rate": "0.001",
            "signature": _blank("0x03", 1),
        },
        "nothing": {},
    }


def _blank(signer: str, nonce: int) -> Json:
    return {
        "signer": signer,
        "r": "0x" + 64 * "0",
        "s": "0x" + 64 * "0",
        "v": 27,
        "expiration": str(time.time_ns() + _LIFE_NS),
        "nonce": nonce,
    }


class GrvtOrders:
    """Orders near the market, signed after whatever was done to them."""

    def __init__(self, keys: Json) -> None:
        self._key = PrivateKey(bytes.fromhex(keys["private_key"].removeprefix("0x")))
        self._signer = Account.from_key(keys["private_key"]).address
        self._account = keys["sub_account_id"]
        self._chain = keys["chain_id"]
        self._number = 0

    def template(self, px: str) -> Json:
        """Return a valid unsigned order."""
        self._number += 1
        return {
            "order": {
                "sub_account_id": self._account,
                "is_market": False,
                "time_in_force": "GOOD_TILL_TIME",
                "post_only": False,
                "reduce_only": False,
                "legs": [
                    {
                        "instrument": SYMBOL,
                        "size": "0.5",
                        "limit_price": px,
                        "is_buying_asset": self._number % 2 == 0,
                    }
                ],
                "metadata": {"client_order_id": str(_ID_BASE + self._number)},
                "signature": _blank(self._signer, self._number),
            }
        }

    def sign_all(self, rows: list[Json]) -> list[Any]:
        """Sign the orders of a bulk request."""
        return [self.sign(row).get("order") for row in rows]

    def sign(self, body: Json) -> Json:
        """Sign what can be signed: a body that is no order stays as it is."""
        try:
            digest = order_digest(
                order_plan(Fields(body).inner("order")), Asset(0x030401, 9), self._chain
            )
        except (ApiError, OverflowError):
            return body
        raw = self._key.sign_recoverable(digest, hasher=None)
        halves = {"r": f"0x{raw[:32].hex()}", "s": f"0x{raw[32:64].hex()}", "v": 27 + raw[64]}
        body["order"]["signature"] |= halves
        return body


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of Backpack; no instruction means public."""

    method: str
    path: str
    instruction: str
    params: Json


def backpack_endpoints() -> list[Endpoint]:
    """Return every endpoint but the socket, each with a valid request."""
    named = {"symbol": PERP}
    page = {"limit": "5", "offset": "0"}
    order = {
        "symbol": PERP,
        "side": "Bid",
        "orderType": "Limit",
        "quantity": "0.1",
        "price": "2900",
        "timeInForce": "GTC",
        "clientId": 7,
    }
    trigger = order | {"triggerPrice": "2800", "triggerQuantity": "0.1", "triggerBy": "MarkPrice"}
    market = {"symbol": PERP, "side": "Ask", "orderType": "Market", "quantity": "0.1"}
    public = [
        ("markets", {"marketType": "PERP"}),
        ("market", named),
        (f"markets/{PERP}", {}),
        ("ticker", {**named, "interval": "1d"}),
        ("tickers", {}),
        ("depth", {**named, "limit": "10"}),
        ("markPrices", named),
        ("fundingRates", {**named, **page}),
        ("openInterest", named),
        ("trades", {**named, **page}),
        ("trades/history", {**named, **page}),
        ("klines", {**named, "interval": "1m", "startTime": "1700000000"}),
        *((name, {}) for name in ("status", "ping", "time", "assets", "collateral")),
        *((name, {}) for name in ("securities", "borrowLend/markets", "nothing")),
        ("borrowLend/markets/history", {"interval": "1d"}),
    ]
    private: list[tuple[str, str, str, Json]] = [
        ("POST", "/api/v1/order", "orderExecute", order),
        ("POST", "/api/v1/order", "orderExecute", market),
        ("POST", "/api/v1/order", "orderExecute", trigger),
        ("GET", "/api/v1/order", "orderQuery", {**named, "clientId": "7"}),
        ("DELETE", "/api/v1/order", "orderCancel", {**named, "clientId": 7}),
        ("GET", "/api/v1/orders", "orderQueryAll", named),
        ("DELETE", "/api/v1/orders", "orderCancelAll", named),
        ("GET", "/api/v1/account", "accountQuery", {}),
        ("PATCH", "/api/v1/account", "accountUpdate", {"leverageLimit": "10"}),
        (
            "GET",
            "/api/v1/account/limits/order",
            "maxOrderQuantity",
            {**named, "side": "Bid", "price": "3000", "reduceOnly": "true"},
        ),
        ("GET", "/api/v1/capital", "balanceQuery", {}),
        ("GET", "/api/v1/capital/collateral", "collateralQuery", {}),
        ("GET", "/api/v1/position", "positionQuery", named),
        ("GET", "/wapi/v1/history/fills", "fillHistoryQueryAll", {**named, **page, "from": "1"}),
        ("GET", "/wapi/v1/history/orders", "orderHistoryQueryAll", {**named, **page}),
        ("GET", "/wapi/v1/history/funding", "fundingHistoryQueryAll", {**named, **page}),
        ("GET", "/wapi/v1/history/settlement", "settlementHistoryQueryAll", {**named, **page}),
        ("GET", "/wapi/v1/capital/deposits", "depositQueryAll", page),
        ("GET", "/wapi/v1/capital/withdrawals", "withdrawalQueryAll", page),
        ("GET", "/api/v1/borrowLend/positions", "borrowLendPositionQuery", {}),
        *(("GET", f"/wapi/v1/history/{name}", rule, page) for name, rule in _HISTORIES.items()),
        ("GET", "/api/v1/account/limits/borrow", "maxBorrowQuantity", {"symbol": "USDC"}),
        ("GET", "/api/v1/account/limits/withdrawal", "maxWithdrawalQuantity", {"symbol": "USDC"}),
        ("POST", "/api/v1/account/convertDust", "convertDust", {"symbol": "USDC"}),
        (
            "POST",
            "/api/v1/borrowLend",
            "borrowLendExecute",
            {"side": "Borrow", "quantity": "1", "symbol": "USDC"},
        ),
        (
            "GET",
            "/wapi/v1/capital/deposit/address",
            "depositAddressQuery",
            {"blockchain": "Solana"},
        ),
        (
            "POST",
            "/wapi/v1/capital/withdrawals",
            "withdraw",
            {"address": "x", "blockchain": "Solana", "quantity": "1", "symbol": "USDC"},
        ),
    ]
    found = [Endpoint("GET", f"/api/v1/{path}", "", dict(params)) for path, params in public]
    return found + [Endpoint(*row) for row in private]


class BackpackSigner:
    """Signs whatever it is given, as a client would."""

    def __init__(self, keys: Json) -> None:
        self._public = keys["public_key"]
        self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(keys["secret_key"]))

    def headers(self, instruction: str, params: Any, window: str = "5000") -> dict[str, str]:
        """Return the headers of a request; a list is signed as a batch."""
        stamp = time.time_ns() // 1_000_000
        if isinstance(params, list):
            text = batch_string(instruction, [_flat(row) for row in params], stamp, int(window))
        else:
            text = string_to_sign(instruction, _flat(params), stamp, int(window))
        raw = self._key.sign(text.encode("utf-8", "surrogatepass"))
        return {
            "X-API-Key": self._public,
            "X-Signature": base64.b64encode(raw).decode(),
            "X-Timestamp": str(stamp),
            "X-Window": window,
            "Content-Type": "application/json; charset=utf-8",
        }

    def subscription(self) -> list[str]:
        """Return the ``signature`` member of a SUBSCRIBE."""
        headers = self.headers("subscribe", {})
        names = ("X-API-Key", "X-Signature", "X-Timestamp", "X-Window")
        return [headers[name] for name in names]


def _flat(params: Any) -> Json:
    if not isinstance(params, dict):
        return {}
    return {
        key: value if isinstance(value, str | int | bool | None) else json.dumps(value)
        for key, value in params.items()
    }

"""One way to call each public class of grvt-pysdk 0.2.1, so that one script can be held with all.

The classes are unmodified: only their addresses point at the simulation (venues.md A9). A face
adds nothing that the SDK does not do; it only turns answers into plain JSON types and the error
that the class shows (a ``GrvtError``, or the venue's error object that the ccxt-style classes keep
for their last call) into ``Refused``.
"""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pysdk import grvt_ccxt_env
from pysdk import grvt_raw_types as raw
from pysdk.grvt_ccxt import GrvtCcxt
from pysdk.grvt_ccxt_env import GrvtEndpointType
from pysdk.grvt_raw_base import DataclassJSONEncoder, GrvtApiConfig, GrvtError
from pysdk.grvt_raw_env import GrvtEnv
from pysdk.grvt_raw_signing import sign_order
from pysdk.grvt_raw_sync import GrvtRawSync

SYMBOL = "ETH_USDT_Perp"
STRANGER = "0x" + "22" * 32
"""A private key that the venue does not know."""
QUIET = logging.getLogger("grvt-sdk-of-strangers")
QUIET.setLevel(logging.CRITICAL)
FIRST_API_ID = 2**63
"""API clients choose their order ids from here on (venues.md A5.6)."""
NS = 1_000_000_000

Json = dict[str, Any]


class Door(Protocol):
    """Where GRVT listens and the keys of one account: a simulation, or another account of it."""

    @property
    def grvt(self) -> dict[str, Any]: ...


class Refused(Exception):  # noqa: N818 - the venue's "no", as the class under test shows it
    """What the SDK shows of a refusal: code and HTTP status."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(str(error))
        self.code, self.status = error["code"], error.get("status")


@dataclass(frozen=True)
class Ticket:
    """An order to send, in the words that all classes share."""

    buy: bool = True
    size: str = "0.50"
    px: str = "2990.0"
    """``"0"`` for a market order."""
    tif: str = "GOOD_TILL_TIME"
    post_only: bool = False
    reduce_only: bool = False
    market: bool = False
    client_id: str = ""
    """Empty: the next unused one."""
    nonce: int = 0
    """For a repeated payload; 0: the next unused one."""
    tampered: bool = False
    """Change what was signed, after signing."""


class Numbers:
    """Client ids and nonces that no other session of this process uses."""

    def __init__(self) -> None:
        self._last = 0

    def __call__(self) -> int:
        self._last += 1
        return self._last


NUMBERS = Numbers()


def client_id(ticket: Ticket) -> str:
    """Return the ticket's client id, or a new one."""
    return ticket.client_id or str(FIRST_API_ID + NUMBERS())


class Face(Protocol):
    """What every class can do. A refusal is ``Refused``; rows are plain JSON types."""

    name: str
    client: Any
    """The unmodified client."""

    def markets(self) -> list[Json]: ...
    def ticker(self) -> Json: ...
    def mini(self) -> Json: ...
    def book(self, depth: int) -> Json: ...
    def trades(self) -> list[Json]: ...
    def candles(self) -> list[Json]: ...
    def funding_rates(self) -> list[Json]: ...
    def summary(self) -> Json: ...
    def positions(self) -> list[Json]: ...
    def create(self, ticket: Ticket) -> Json: ...
    def order(self, named: str) -> Json: ...
    def open_orders(self) -> list[Json]: ...
    def history(self) -> list[Json]: ...
    def fills(self) -> list[Json]: ...
    def cancel(self, named: str) -> bool: ...
    def cancel_all(self) -> bool: ...
    def leverages(self) -> list[Json] | None: ...
    def set_leverage(self, leverage: str) -> None: ...
    def funding_payments(self) -> list[Json] | None: ...
    def close(self) -> None: ...


# --- the raw classes -----------------------------------------------------------------------------


def raw_config(it: Door, api_key: str | None, private_key: str | None) -> GrvtApiConfig:
    """Return the settings of a raw client; TESTNET signs for the simulator's chain id."""
    return GrvtApiConfig(
        env=GrvtEnv.TESTNET,
        trading_account_id=it.grvt["sub_account_id"],
        private_key=private_key or it.grvt["private_key"],
        api_key=api_key or it.grvt["api_key"],
        logger=QUIET,
    )


def redirect(client: Any, it: Door) -> None:
    """Point a raw client at the simulation: the environment is the instance's own (A9)."""
    client.env.edge.rpc_endpoint = it.grvt["edge"]
    client.md_rpc, client.td_rpc = it.grvt["market_data"], it.grvt["trades"]


class RawFace:
    """``GrvtRawSync``; ``_ask`` is what the asynchronous class does otherwise."""

    name = "GrvtRawSync"

    def __init__(
        self, it: Door, api_key: str | None = None, private_key: str | None = None
    ) -> None:
        self._account: str = it.grvt["sub_account_id"]
        self.client: Any = self._build(raw_config(it, api_key, private_key))
        redirect(self.client, it)
        self._listed: dict[str, raw.Instrument] = {}

    def _build(self, config: GrvtApiConfig) -> Any:
        return GrvtRawSync(config)

    def _ask(self, method: str, request: object) -> Any:
        return getattr(self.client, method)(request)

    def close(self) -> None:
        self.client._session.close()  # the SDK offers no other way (G3)

    def _plain(self, method: str, request: object) -> Json:
        answer = self._ask(method, request)
        found: Json = json.loads(json.dumps(answer, cls=DataclassJSONEncoder))
        if isinstance(answer, GrvtError):
            raise Refused(found)
        return found

    def _rows(self, method: str, request: object) -> list[Json]:
        rows: list[Json] = self._plain(method, request)["result"]
        return rows

    def _row(self, method: str, request: object) -> Json:
        row: Json = self._plain(method, request)["result"]
        return row

    def markets(self) -> list[Json]:
        return self._rows("get_all_instruments_v1", raw.ApiGetAllInstrumentsRequest(is_active=True))

    def ticker(self) -> Json:
        return self._row("ticker_v1", raw.ApiTickerRequest(instrument=SYMBOL))

    def mini(self) -> Json:
        return self._row("mini_ticker_v1", raw.ApiMiniTickerRequest(instrument=SYMBOL))

    def book(self, depth: int) -> Json:
        return self._row(
            "orderbook_levels_v1", raw.ApiOrderbookLevelsRequest(instrument=SYMBOL, depth=depth)
        )

    def trades(self) -> list[Json]:
        return self._rows("trade_v1", raw.ApiTradeRequest(instrument=SYMBOL, limit=20))

    def candles(self) -> list[Json]:
        request = raw.ApiCandlestickRequest(
            instrument=SYMBOL,
            interval=raw.CandlestickInterval.CI_1_M,
            type=raw.CandlestickType.TRADE,
            limit=10,
        )
        return self._rows("candlestick_v1", request)

    def funding_rates(self) -> list[Json]:
        return self._rows("funding_rate_v1", raw.ApiFundingRateRequest(instrument=SYMBOL, limit=3))

    def summary(self) -> Json:
        return self._row(
            "sub_account_summary_v1",
            raw.ApiSubAccountSummaryRequest(sub_account_id=self._account),
        )

    def positions(self) -> list[Json]:
        return self._rows("positions_v1", raw.ApiPositionsRequest(sub_account_id=self._account))

    def signed(self, ticket: Ticket) -> raw.Order:
        """Return the ticket as the SDK's own ``sign_order`` signs it."""
        if not self._listed:
            request = raw.ApiGetInstrumentRequest(instrument=SYMBOL)
            self._listed = {SYMBOL: self._ask("get_instrument_v1", request).result}
        leg = raw.OrderLeg(
            instrument=SYMBOL,
            size=ticket.size,
            limit_price=ticket.px,
            is_buying_asset=ticket.buy,
        )
        expires = str(time.time_ns() + 60 * NS)
        nonce = ticket.nonce or NUMBERS()
        order = raw.Order(
            sub_account_id=self._account,
            time_in_force=raw.TimeInForce(ticket.tif),
            legs=[leg],
            signature=raw.Signature(signer="", r="", s="", v=0, expiration=expires, nonce=nonce),
            metadata=raw.OrderMetadata(client_order_id=client_id(ticket)),
            is_market=ticket.market,
            post_only=ticket.post_only,
            reduce_only=ticket.reduce_only,
        )
        sign_order(order, self.client.config, self.client.account, self._listed)
        if ticket.tampered:
            leg.size = "0.51"
        return order

    def create(self, ticket: Ticket) -> Json:
        return self.send(self.signed(ticket))

    def send(self, order: raw.Order) -> Json:
        """Send a signed order."""
        return self._row("create_order_v1", raw.ApiCreateOrderRequest(order=order))

    def order(self, named: str) -> Json:
        request = raw.ApiGetOrderRequest(sub_account_id=self._account, client_order_id=named)
        return self._row("get_order_v1", request)

    def open_orders(self) -> list[Json]:
        return self._rows("open_orders_v1", raw.ApiOpenOrdersRequest(sub_account_id=self._account))

    def history(self) -> list[Json]:
        return self._rows(
            "order_history_v1", raw.ApiOrderHistoryRequest(sub_account_id=self._account)
        )

    def fills(self) -> list[Json]:
        return self._rows("fill_history_v1", raw.ApiFillHistoryRequest(self._account))

    def cancel(self, named: str) -> bool:
        request = raw.ApiCancelOrderRequest(sub_account_id=self._account, client_order_id=named)
        return bool(self._row("cancel_order_v1", request)["ack"])

    def cancel_all(self) -> bool:
        request = raw.ApiCancelAllOrdersRequest(sub_account_id=self._account)
        return bool(self._row("cancel_all_orders_v1", request)["ack"])

    def leverages(self) -> list[Json] | None:
        rows: list[Json] = self._plain(
            "get_all_initial_leverage_v1", raw.ApiGetAllInitialLeverageRequest(self._account)
        )["results"]
        return rows

    def set_leverage(self, leverage: str) -> None:
        request = raw.ApiSetInitialLeverageRequest(self._account, SYMBOL, leverage)
        assert self._plain("set_initial_leverage_v1", request) == {"success": True}

    def funding_payments(self) -> list[Json] | None:
        return self._rows(
            "funding_payment_history_v1", raw.ApiFundingPaymentHistoryRequest(self._account)
        )


# --- the ccxt-style classes ----------------------------------------------------------------------


def ccxt_domains(it: Door) -> Any:
    """Return the endpoint table that replaces the SDK's: there is no other hook (A9)."""

    def domains(env_name: str) -> dict[GrvtEndpointType, str]:
        del env_name
        return {
            GrvtEndpointType.EDGE: it.grvt["edge"],
            GrvtEndpointType.TRADE_DATA: it.grvt["trades"],
            GrvtEndpointType.MARKET_DATA: it.grvt["market_data"],
        }

    return domains


def ccxt_parameters(it: Door, api_key: str | None, private_key: str | None) -> dict[str, str]:
    """Return the ``parameters`` of a ccxt-style client."""
    return {
        "api_key": api_key or it.grvt["api_key"],
        "trading_account_id": it.grvt["sub_account_id"],
        "private_key": private_key or it.grvt["private_key"],
    }


class CcxtFace:
    """``GrvtCcxt``; the asynchronous classes differ in ``_build`` and ``_call``."""

    name = "GrvtCcxt"

    def __init__(
        self, it: Door, api_key: str | None = None, private_key: str | None = None
    ) -> None:
        self._it = it
        self.client: Any = self._build(ccxt_parameters(it, api_key, private_key))

    def _build(self, parameters: dict[str, str]) -> Any:
        return GrvtCcxt(grvt_ccxt_env.GrvtEnv.TESTNET, QUIET, parameters)

    def _call(self, method: str, *args: Any, **named: Any) -> Any:
        return getattr(self.client, method)(*args, **named)

    def close(self) -> None:
        self.client._session.close()

    def last(self, end_point: str) -> Json:
        """Return the raw body of the last answer; the class has no other way to show an error."""
        path = grvt_ccxt_env.get_grvt_endpoint(grvt_ccxt_env.GrvtEnv.TESTNET, end_point)
        found: Json = self.client.get_endpoint_return_value(path)
        return found

    def _checked(self, end_point: str, answer: Any) -> Any:
        if self.last(end_point).get("code"):
            # G19: the methods answer {}, [] or the error object itself, and raise nothing.
            assert answer in ({}, [], False) or answer == self.last(end_point)
            raise Refused(self.last(end_point))
        return answer

    def markets(self) -> list[Json]:
        # Before the rows are asked for: orders need them loaded, and they are perpetuals (G22).
        self.client.markets = self._call("load_markets")
        rows: list[Json] = self._call("fetch_all_markets")
        return rows

    def ticker(self) -> Json:
        found: Json = self._call("fetch_ticker", SYMBOL)
        return found

    def mini(self) -> Json:
        found: Json = self._call("fetch_mini_ticker", SYMBOL)
        return found

    def book(self, depth: int) -> Json:
        found: Json = self._call("fetch_order_book", SYMBOL, limit=depth)
        return found

    def trades(self) -> list[Json]:
        recent: list[Json] = self._call("fetch_recent_trades", SYMBOL, limit=20)
        paged: list[Json] = self._call("fetch_trades", SYMBOL, limit=20)["result"]
        assert paged[0]["trade_id"] >= recent[0]["trade_id"]
        return recent

    def candles(self) -> list[Json]:
        rows: list[Json] = self._call("fetch_ohlcv", SYMBOL, "1m", limit=10)["result"]
        return rows

    def funding_rates(self) -> list[Json]:
        rows: list[Json] = self._call("fetch_funding_rate_history", SYMBOL, limit=3)["result"]
        return rows

    def summary(self) -> Json:
        found: Json = self._checked("GET_ACCOUNT_SUMMARY", self._call("get_account_summary"))
        return found

    def positions(self) -> list[Json]:
        rows: list[Json] = self._checked("GET_POSITIONS", self._call("fetch_positions", [SYMBOL]))
        return rows

    def create(self, ticket: Ticket) -> Json:
        params: Json = {
            "client_order_id": client_id(ticket),
            "time_in_force": ticket.tif,
            "post_only": ticket.post_only,
            "reduce_only": ticket.reduce_only,
        }
        kind, side = "market" if ticket.market else "limit", "buy" if ticket.buy else "sell"
        px = None if ticket.market else ticket.px
        if not self.client.markets:
            self.markets()
        listed = self.client.markets[SYMBOL]
        true_hash = listed["instrument_hash"]
        if ticket.tampered:
            listed["instrument_hash"] = "0x030501"  # signs for another asset than the leg names
        try:
            return self._create(SYMBOL, kind, side, ticket.size, px, params)
        finally:
            listed["instrument_hash"] = true_hash

    def _create(self, *words: Any) -> Json:
        found: Json = self._checked("CREATE_ORDER", self._call("create_order", *words))
        return found

    def order(self, named: str) -> Json:
        answer = self._call("fetch_order", params={"client_order_id": named})
        found: Json = self._checked("GET_ORDER", answer)["result"]
        return found

    def open_orders(self) -> list[Json]:
        rows: list[Json] = self._checked("GET_OPEN_ORDERS", self._call("fetch_open_orders", SYMBOL))
        return rows

    def history(self) -> list[Json]:
        answer = self._call("fetch_order_history", {"kind": "PERPETUAL", "limit": 500})
        rows: list[Json] = self._checked("GET_ORDER_HISTORY", answer)["result"]
        return rows

    def fills(self) -> list[Json]:
        answer = self._call("fetch_my_trades", SYMBOL)
        rows: list[Json] = self._checked("GET_FILL_HISTORY", answer)["result"]
        return rows

    def cancel(self, named: str) -> bool:
        answer = self._call("cancel_order", params={"client_order_id": named})
        return bool(self._checked("CANCEL_ORDER", answer))

    def cancel_all(self) -> bool:
        return bool(self._checked("CANCEL_ALL_ORDERS", self._call("cancel_all_orders")))

    def leverages(self) -> list[Json] | None:
        return None  # these classes have no such method

    def set_leverage(self, leverage: str) -> None:
        raise NotImplementedError(f"{self.name} cannot set a leverage of {leverage}")

    def funding_payments(self) -> list[Json] | None:
        return None  # these classes have no such method

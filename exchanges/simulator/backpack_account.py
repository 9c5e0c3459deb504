"""Backpack's account, position and history endpoints (venues.md B3.2, B3.3)."""

from decimal import Decimal

from aiohttp import web

from exchanges.simulator.backpack_auth import Params
from exchanges.simulator.backpack_codec import (
    collateral_json,
    fill_json,
    history_order_json,
    position_json,
)
from exchanges.simulator.backpack_desk import Desk
from exchanges.simulator.backpack_frames import forced
from exchanges.simulator.backpack_gate import Call, Gate, page, reply, whole_number
from exchanges.simulator.backpack_orders import reply_status
from exchanges.simulator.backpack_prints import trade_number
from exchanges.simulator.backpack_words import (
    MS,
    USER_ID,
    ApiError,
    Json,
    bad_parameter,
    bad_payload,
    bps_number,
    iso_seconds,
    late_refusal,
)
from exchanges.simulator.model import Phase, SimFill
from strategy.domain import NANO, Ns, Px, nano, plain

_MAX_LEVERAGE = 50
_FAR = 10**15
"""Unix ms beyond any request, for an open end of a time range."""
_EMPTY_HISTORIES = {
    "/wapi/v1/capital/deposits": "depositQueryAll",
    "/wapi/v1/capital/withdrawals": "withdrawalQueryAll",
    "/wapi/v1/history/borrowLend": "borrowHistoryQueryAll",
    "/wapi/v1/history/interest": "interestHistoryQueryAll",
    "/wapi/v1/history/borrowLend/positions": "borrowPositionHistoryQueryAll",
    "/wapi/v1/history/dust": "dustHistoryQueryAll",
    "/wapi/v1/history/pnl": "pnlHistoryQueryAll",
    "/wapi/v1/history/settlement": "settlementHistoryQueryAll",
    "/wapi/v1/history/rfq": "rfqHistoryQueryAll",
    "/wapi/v1/history/quote": "quoteHistoryQueryAll",
    "/wapi/v1/history/strategies": "strategyHistoryQueryAll",
    "/api/v1/borrowLend/positions": "borrowLendPositionQuery",
}
_SETTINGS = ("autoBorrowSettlements", "autoLend", "autoRealizePnl", "autoRepayBorrows")


def _perp(params: Params) -> bool:
    return params.get("marketType", "PERP") == "PERP"


def _sorted(rows: list[Json], params: Params) -> list[Json]:
    """Return oldest-first rows in the order asked for: newest first unless ``Asc``."""
    direction = params.get("sortDirection", "Desc")
    if direction not in ("Asc", "Desc"):
        raise bad_parameter("sortDirection", "Expect a valid enumeration value.")
    return rows if direction == "Asc" else rows[::-1]


class AccountApi:
    """What the account owns, may do and did."""

    def __init__(self, desk: Desk, gate: Gate) -> None:
        self._desk = desk
        self._gate = gate
        self._settings = dict.fromkeys(_SETTINGS, False)

    def routes(self) -> list[web.RouteDef]:
        """Return the endpoints."""
        signed = self._gate.signed
        return [
            web.get("/api/v1/account", signed("accountQuery", self.account)),
            web.patch("/api/v1/account", signed("accountUpdate", self.update)),
            web.get("/api/v1/account/limits/order", signed("maxOrderQuantity", self.limits)),
            web.get("/api/v1/capital", signed("balanceQuery", self.capital)),
            web.get("/api/v1/capital/collateral", signed("collateralQuery", self.collateral)),
            web.get("/api/v1/position", signed("positionQuery", self.positions)),
            web.get("/wapi/v1/history/fills", signed("fillHistoryQueryAll", self.fills)),
            web.get("/wapi/v1/history/orders", signed("orderHistoryQueryAll", self.orders)),
            web.get("/wapi/v1/history/funding", signed("fundingHistoryQueryAll", self.fundings)),
            *(
                web.get(path, signed(instruction, self.empty))
                for path, instruction in _EMPTY_HISTORIES.items()
            ),
        ]

    async def account(self, _call: Call) -> web.Response:
        """Return fees (basis points, negative is a rebate), leverage and settings."""
        desk = self._desk
        desk.now()
        rules = desk.engine.rules
        return reply(
            {
                "autoBorrowSettlements": self._settings["autoBorrowSettlements"],
                "autoLend": self._settings["autoLend"],
                "autoRealizePnl": self._settings["autoRealizePnl"],
                "autoRepayBorrows": self._settings["autoRepayBorrows"],
                "borrowLimit": "0",
                "futuresMakerFee": bps_number(rules.maker_fee),
                "futuresTakerFee": bps_number(rules.taker_fee),
                "leverageLimit": str(desk.account.leverage),
                "limitOrders": len(desk.engine.open_orders(desk.account_id)),
                "liquidating": False,
                "positionLimit": "10000000",
                "spotMakerFee": "8",
                "spotTakerFee": "10",
                "triggerOrders": 0,
            }
        )

    async def update(self, call: Call) -> web.Response:
        """Change leverage (account-wide) and settings; 200 with an empty body."""
        changes: dict[str, bool] = {}
        for name in _SETTINGS:
            value = call.params.get(name)
            if value is None:
                continue
            if not isinstance(value, bool):
                raise bad_payload(f'field `{name}`: Expected input type "boolean"')
            changes[name] = value
        leverage = call.params.get("leverageLimit")
        if leverage is not None:
            self._desk.account.leverage = _leverage(leverage)
        self._settings |= changes
        return web.Response()

    async def limits(self, call: Call) -> web.Response:
        """Return the largest order that margin, or the position when reducing, allows."""
        desk = self._desk
        market = desk.market(call.params.get("symbol"))
        side = call.params.get("side")
        if side not in ("Bid", "Ask"):
            raise bad_parameter("side", "Expect a valid enumeration value.")
        desk.now()
        symbol = market.instrument.symbol
        row: Json = {"symbol": symbol, "side": side}
        price = call.params.get("price")
        px = desk.engine.mark(symbol) if price is None else _price(price)
        if price is not None:
            row["price"] = price
        if call.params.get("reduceOnly") == "true":
            row["reduceOnly"] = True
            held = desk.account.positions.get(symbol)
            size = 0 if held is None else held.qty if side == "Ask" else -held.qty
        else:
            free = desk.engine.equity(desk.account_id) - desk.engine.margin_used(desk.account_id)
            # Without a price nothing can be ordered at all.
            size = max(free, 0) * desk.account.leverage * NANO // px if px else 0
        row["maxOrderQuantity"] = plain(market.instrument.floor_qty(size))
        return reply(row)

    async def capital(self, _call: Call) -> web.Response:
        """Return balances by asset: free, and held as margin."""
        desk = self._desk
        desk.now()
        balance = desk.account.balance
        locked = min(desk.engine.margin_used(desk.account_id), max(balance, 0))
        return reply(
            {
                desk.engine.rules.settle_asset: {
                    "available": plain(balance - locked),
                    "locked": plain(locked),
                    "staked": "0",
                }
            }
        )

    async def collateral(self, _call: Call) -> web.Response:
        """Return equity and margin."""
        self._desk.now()
        return reply(collateral_json(self._desk.engine, self._desk.account))

    async def positions(self, call: Call) -> web.Response:
        """Return open positions; flat is an empty list."""
        desk = self._desk
        broken = desk.fault("F74")
        if broken is not None:
            if broken.get("mode") == "error":
                raise ApiError(500, "SERVER_ERROR", "Internal server error")
            return reply([])
        symbol = call.params.get("symbol")
        if symbol is not None:
            desk.market(symbol)
        desk.now()
        return reply(
            [
                position_json(desk.engine, desk.account, held)
                for held in desk.account.positions.values()
                if held.qty and _perp(call.params) and symbol in (None, held.symbol)
            ]
        )

    # --- history -----------------------------------------------------------------------------

    async def fills(self, call: Call) -> web.Response:
        """Return executions, liquidations included unless ``fillType=User``."""
        desk, params = self._desk, call.params
        visible = Ns(desk.now() - desk.options.history_lag)
        first = whole_number(params, "from", 0, _FAR)
        last = whole_number(params, "to", _FAR, _FAR)

        def wanted(fill: SimFill) -> bool:
            return (
                fill.account == desk.account_id
                and fill.at <= visible
                and first <= fill.at // MS <= last
                and params.get("orderId") in (None, fill.order_id)
                and params.get("symbol") in (None, fill.symbol)
                and _fill_type(params, fill)
            )

        rows = [
            fill_json(
                fill,
                desk.engine.orders.get(fill.order_id),
                trade_number(fill.trade_id),
                desk.engine.rules.settle_asset,
            )
            for fill in desk.engine.fills
            if wanted(fill) and _perp(params)
        ]
        return reply(page(_sorted(rows, params), params))

    async def orders(self, call: Call) -> web.Response:
        """Return every accepted order, finished or resting."""
        desk, params = self._desk, call.params
        visible = desk.now() - desk.options.history_lag
        rows = [
            history_order_json(order, forced(order, None), reply_status(order, desk.options))
            for order in desk.engine.orders.values()
            if order.request.account == desk.account_id
            and order.phase is not Phase.PENDING
            and late_refusal(order) is None
            and order.received_at <= visible
            and params.get("orderId") in (None, order.order_id)
            and params.get("symbol") in (None, order.request.symbol)
            and _perp(params)
        ]
        return reply(page(_sorted(rows, params), params))

    async def fundings(self, call: Call) -> web.Response:
        """Return funding payments, newest first; ``quantity`` is positive when received."""
        desk, params = self._desk, call.params
        desk.now()
        rows: list[Json] = [
            {
                "userId": USER_ID,
                "subaccountId": 0,
                "symbol": paid.symbol,
                "quantity": plain(paid.amount),
                "intervalEndTimestamp": iso_seconds(paid.at),
                "fundingRate": plain(paid.rate),
            }
            for paid in desk.fundings
            if params.get("symbol") in (None, paid.symbol)
        ]
        return reply(page(_sorted(rows, params), params))

    async def empty(self, call: Call) -> web.Response:
        """Answer a history that a simulated account never has."""
        return reply(page([], call.params))


def _fill_type(params: Params, fill: SimFill) -> bool:
    kind = params.get("fillType")
    if kind is None:
        return True
    if kind == "User":
        return not fill.forced
    return fill.forced and kind in ("Liquidation", "BookLiquidation", "AllLiquidation")


def _leverage(value: object) -> int:
    if not isinstance(value, str) or not value.isascii() or not value.isdigit():
        raise bad_payload("field `leverageLimit`: Expected a whole number as a string")
    number = int(value[:9])
    if not 1 <= number <= _MAX_LEVERAGE:
        raise ApiError(400, "MAX_LEVERAGE_REACHED", f"Leverage must be 1 to {_MAX_LEVERAGE}")
    return number


def _price(value: object) -> Px:
    text = str(value)
    if not text.replace(".", "", 1).isdigit() or not text.isascii():
        raise bad_parameter("price", "Invalid decimal")
    if not 0 < Decimal(text) < Decimal(10) ** 9:
        raise bad_parameter("price", "out of range")
    try:
        return Px(nano(text))
    except ValueError:
        raise bad_parameter("price", "Price decimal too long") from None

"""Backpack's account, margin and position endpoints (venues.md B3.3)."""

from decimal import Decimal

from aiohttp import web

from exchanges.simulator.backpack_auth import Params
from exchanges.simulator.backpack_desk import Desk
from exchanges.simulator.backpack_gate import Call, Gate, perpetual, reply
from exchanges.simulator.backpack_members import SETTINGS
from exchanges.simulator.backpack_positions import collateral_json, position_json
from exchanges.simulator.backpack_private import shown_positions
from exchanges.simulator.backpack_triggers import TriggerBook
from exchanges.simulator.backpack_words import (
    ApiError,
    Json,
    bad_parameter,
    bad_payload,
    bps_number,
    refusal,
)
from exchanges.simulator.model import Refusal
from strategy.domain import Px, Side, nano, plain

_SPOT_FEES = {"spotMakerFee": "8", "spotTakerFee": "10"}
_SIDES = {"Bid": Side.BUY, "Ask": Side.SELL}
_LIMIT_FLAGS = ("autoBorrow", "autoBorrowRepay", "autoLendRedeem")


class AccountApi:
    """What the account owns and may do."""

    def __init__(self, desk: Desk, gate: Gate, triggers: TriggerBook) -> None:
        self._desk = desk
        self._gate = gate
        self._triggers = triggers

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
        ]

    async def account(self, call: Call) -> web.Response:
        """Return fees (basis points, negative is a rebate), leverage and settings."""
        desk, member = self._desk, call.member
        desk.now()
        maker, taker = desk.engine.fees(member.id)
        row: Json = {
            **{name: member.settings[name] for name in SETTINGS},
            "borrowLimit": "0",
            "futuresMakerFee": bps_number(maker),
            "futuresTakerFee": bps_number(taker),
            "leverageLimit": str(member.account.leverage),
            "limitOrders": len(desk.engine.open_orders(member.id)),
            "liquidating": member.account.liquidating,
            "positionLimit": str(desk.options.position_limit),
            **_SPOT_FEES,
            "triggerOrders": len(self._triggers.waiting(member.id)),
        }
        return reply(row)

    async def update(self, call: Call) -> web.Response:
        """Change leverage (account-wide) and settings; 200 with an empty body."""
        changes: dict[str, bool] = {}
        for name in SETTINGS:
            value = call.params.get(name)
            if value is None:
                continue
            if not isinstance(value, bool):
                raise bad_payload(f'field `{name}`: Expected input type "boolean"')
            changes[name] = value
        leverage = call.params.get("leverageLimit")
        if leverage is not None:
            self._set_leverage(call.member.id, leverage)
        call.member.settings.update(changes)
        return web.Response()

    def _set_leverage(self, account_id: str, value: object) -> None:
        most = self._desk.engine.rules.max_leverage
        if not isinstance(value, str) or not value.isascii() or not value.isdigit():
            raise bad_payload("field `leverageLimit`: Expected a whole number as a string")
        number = int(value[:9])
        if not 1 <= number <= most:
            raise ApiError(400, "MAX_LEVERAGE_REACHED", f"Leverage must be 1 to {most}")
        self._desk.now()
        try:
            self._desk.engine.set_leverage(account_id, number)
        except Refusal as no:
            raise refusal(no.deny) from no

    async def limits(self, call: Call) -> web.Response:
        """Return the largest order that margin, or the position when reducing, allows."""
        desk, params = self._desk, call.params
        symbol = desk.market(params.get("symbol"), query=True).instrument.symbol
        side = _SIDES.get(str(params.get("side")))
        if side is None:
            raise bad_parameter("side", "Expect a valid enumeration value.")
        desk.now()
        row: Json = {"symbol": symbol, "side": params["side"]}
        price = params.get("price")
        px = desk.engine.mark(symbol) if price is None else _price(price)
        if price is not None:
            row["price"] = price
        reducing = _truth(params, "reduceOnly")
        if reducing is not None:
            row["reduceOnly"] = reducing
        for name in _LIMIT_FLAGS:
            asked = _truth(params, name)
            if asked is not None:
                row[name] = asked
        # Without a price nothing can be ordered at all.
        size = (
            desk.engine.max_order_qty(call.member.id, symbol, side, px, reduce_only=bool(reducing))
            if px
            else 0
        )
        row["maxOrderQuantity"] = plain(size)
        return reply(row)

    async def capital(self, call: Call) -> web.Response:
        """Return balances by asset: free, and held as margin."""
        desk, member = self._desk, call.member
        desk.now()
        balance = member.account.balance
        locked = min(desk.engine.margin_used(member.id), max(balance, 0))
        return reply(
            {
                desk.engine.rules.settle_asset: {
                    "available": plain(balance - locked),
                    "locked": plain(locked),
                    "staked": "0",
                }
            }
        )

    async def collateral(self, call: Call) -> web.Response:
        """Return equity and margin."""
        self._desk.now()
        return reply(collateral_json(self._desk.engine, call.member))

    async def positions(self, call: Call) -> web.Response:
        """Return open positions; flat is an empty list, or 404 for one market by the switch."""
        desk, member = self._desk, call.member
        broken = desk.fault("F74")
        if broken is not None:
            if broken.get("mode") == "error":
                raise ApiError(500, "SERVER_ERROR", "Internal server error")
            return reply([])
        symbol = call.params.get("symbol")
        if symbol is not None:
            desk.market(symbol, query=True)
        desk.now()
        rows = [
            position_json(desk.engine, member, held)
            for held in shown_positions(desk, member)
            if perpetual(call.params) and symbol in (None, held.symbol)
        ]
        if symbol is not None and not rows and desk.options.flat_position_is_404:
            raise ApiError(404, "RESOURCE_NOT_FOUND", "Position not found")
        return reply(rows)


def _truth(params: Params, name: str) -> bool | None:
    """Return a boolean query parameter; None when absent."""
    value = params.get(name)
    if value is None:
        return None
    if value not in ("true", "false"):
        raise bad_parameter(name, "Expected input type boolean")
    return value == "true"


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

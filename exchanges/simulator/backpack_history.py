"""Backpack's history endpoints, which may lag the engine (venues.md B3.2, B3.3)."""

from dataclasses import replace
from typing import Any

from aiohttp import web

from exchanges.simulator.backpack_auth import Params
from exchanges.simulator.backpack_codec import created_at, fill_json, history_order_json, visible_id
from exchanges.simulator.backpack_desk import Desk
from exchanges.simulator.backpack_gate import Call, Gate, page, perpetual, reply, whole_number
from exchanges.simulator.backpack_members import Member
from exchanges.simulator.backpack_orders import reply_status
from exchanges.simulator.backpack_positions import position_number
from exchanges.simulator.backpack_prints import trade_number
from exchanges.simulator.backpack_triggers import Trigger, TriggerBook
from exchanges.simulator.backpack_words import (
    ADL_ORIGIN,
    LIQUIDATION_ORIGIN,
    MS,
    USER_ID,
    Json,
    bad_parameter,
    iso,
    iso_seconds,
    late_refusal,
    origin,
)
from exchanges.simulator.model import Phase, SimFill, SimOrder
from strategy.domain import Ns, Qty, Quote, notional, plain

_FAR = 10**15
"""Unix ms beyond any request, for an open end of a time range."""
_FORCED = frozenset({LIQUIDATION_ORIGIN, ADL_ORIGIN})
_FILL_TYPES = {
    "User": frozenset({"USER"}),
    "BookLiquidation": frozenset({LIQUIDATION_ORIGIN}),
    "Adl": frozenset({ADL_ORIGIN}),
    "Backstop": frozenset[str](),
    "Liquidation": _FORCED,
    "AllLiquidation": _FORCED,
    "CollateralConversion": frozenset[str](),
    "CollateralConversionAndSpotLiquidation": frozenset[str](),
}
_SOURCES = {
    "FundingPayment": "FundingPayment",
    "RealizePnl": "RealizePnl",
    "TradingFees": "TradingFees",
}
_NEVER = frozenset(
    {
        "BackstopLiquidation",
        "CulledBorrowInterest",
        "CulledRealizePnl",
        "CulledRealizePnlBookUtilization",
        "TradingFeesSystem",
    }
)
"""Settlements that a simulated account never has."""


def ordered(rows: list[Any], params: Params) -> list[Any]:
    """Return oldest-first rows in the order asked for: newest first unless ``Asc``.

    Raises:
        ApiError: another word in ``sortDirection``.
    """
    direction = params.get("sortDirection", "Desc")
    if direction not in ("Asc", "Desc"):
        raise bad_parameter("sortDirection", "Expect a valid enumeration value.")
    return rows if direction == "Asc" else rows[::-1]


class HistoryApi:
    """What an account did."""

    def __init__(self, desk: Desk, gate: Gate, triggers: TriggerBook) -> None:
        self._desk = desk
        self._gate = gate
        self._triggers = triggers

    def routes(self) -> list[web.RouteDef]:
        """Return the endpoints."""
        signed = self._gate.signed
        return [
            web.get("/wapi/v1/history/fills", signed("fillHistoryQueryAll", self.fills)),
            web.get("/wapi/v1/history/orders", signed("orderHistoryQueryAll", self.orders)),
            web.get("/wapi/v1/history/funding", signed("fundingHistoryQueryAll", self.fundings)),
            web.get(
                "/wapi/v1/history/settlement", signed("settlementHistoryQueryAll", self.settlements)
            ),
        ]

    def _visible(self) -> Ns:
        return Ns(self._desk.now() - self._desk.options.history_lag)

    # --- fills -------------------------------------------------------------------------------

    async def fills(self, call: Call) -> web.Response:
        """Return executions, liquidations included unless ``fillType=User``."""
        params, visible = call.params, self._visible()
        first = whole_number(params, "from", 0, _FAR)
        last = whole_number(params, "to", _FAR, _FAR)
        kinds = _fill_types(params)
        rows = [
            self._fill_row(fill)
            for fill in self._fills(call.member, visible)
            if first <= fill.at // MS <= last
            and params.get("orderId") in (None, self._order_id(fill))
            and params.get("symbol") in (None, fill.symbol)
            and (kinds is None or origin(None, fill) in kinds)
            and perpetual(params)
        ]
        return reply(page(ordered(rows, params), params))

    def _fills(self, member: Member, visible: Ns) -> list[SimFill]:
        found = self._desk.engine.fills
        return [fill for fill in found if fill.account == member.id and fill.at <= visible]

    def _order_id(self, fill: SimFill) -> str:
        order = self._desk.engine.orders.get(fill.order_id)
        return fill.order_id if order is None else visible_id(order)

    def _fill_row(self, fill: SimFill) -> Json:
        desk = self._desk
        order = desk.engine.orders.get(fill.order_id)
        number = trade_number(fill.trade_id)
        return fill_json(fill, order, number, desk.engine.rules.settle_asset) | desk.odd_fees.get(
            number, {}
        )

    # --- orders ------------------------------------------------------------------------------

    async def orders(self, call: Call) -> web.Response:
        """Return every accepted order, finished, resting or waiting for its trigger."""
        params, visible = call.params, self._visible()
        rows = [
            row
            for _, row in sorted(
                [*self._engine_rows(call.member, visible), *self._other_rows(call.member, visible)],
                key=lambda dated: dated[0],
            )
            if params.get("orderId") in (None, row["id"])
            and params.get("symbol") in (None, row["symbol"])
            and perpetual(params)
        ]
        return reply(page(ordered(rows, params), params))

    def _engine_rows(self, member: Member, visible: Ns) -> list[tuple[Ns, Json]]:
        rows: list[tuple[Ns, Json]] = []
        for order in self._desk.engine.orders.values():
            if order.request.account != member.id or order.phase is Phase.PENDING:
                continue
            if late_refusal(order) is None and order.received_at <= visible:
                seen = self._as_of(order, visible)
                row = history_order_json(seen, reply_status(seen, self._desk.options))
                rows.append((created_at(order), row))
        return rows

    def _other_rows(self, member: Member, visible: Ns) -> list[tuple[Ns, Json]]:
        """Return the orders that the engine never had: ghosts and triggers that have not fired."""
        ghosts = [each for each in self._desk.ghosts.values() if each.request.account == member.id]
        rows = [(each.received_at, history_order_json(each)) for each in ghosts]
        for trigger in self._triggers.of(member.id):
            fired = trigger.fired is not None and late_refusal(trigger.fired) is None
            if not fired:
                rows.append((trigger.shape.received_at, _trigger_row(trigger)))
        return [row for row in rows if row[0] <= visible]

    def _as_of(self, order: SimOrder, visible: Ns) -> SimOrder:
        """Return the order as it stood at a time."""
        if order.updated_at <= visible:
            return order
        fills = [
            fill
            for fill in self._desk.engine.fills
            if fill.order_id == order.order_id and fill.at <= visible
        ]
        cum = Qty(sum(fill.qty for fill in fills))
        quote = Quote(sum(notional(fill.px, fill.qty) for fill in fills))
        if order.done_at is not None and order.done_at <= visible:
            return replace(order, cum=cum, cum_quote=quote)
        return replace(order, phase=Phase.OPEN, ended=None, cum=cum, cum_quote=quote)

    # --- money -------------------------------------------------------------------------------

    async def fundings(self, call: Call) -> web.Response:
        """Return funding payments, newest first; ``quantity`` is positive when received."""
        params, visible, member = call.params, self._visible(), call.member
        rows: list[Json] = [
            {
                "userId": USER_ID,
                "subaccountId": member.subaccount,
                "symbol": paid.symbol,
                "quantity": plain(paid.amount),
                "intervalEndTimestamp": iso_seconds(paid.at),
                "fundingRate": plain(paid.rate),
            }
            for paid in member.fundings
            if params.get("symbol") in (None, paid.symbol) and paid.at <= visible
        ]
        return reply(page(ordered(rows, params), params))

    async def settlements(self, call: Call) -> web.Response:
        """Return what moved the balance: fees, realised profit and funding."""
        params, visible, member = call.params, self._visible(), call.member
        wanted = params.get("source")
        if wanted is not None and wanted not in _SOURCES and wanted not in _NEVER:
            raise bad_parameter("source", "Expect a valid enumeration value.")
        moves: list[tuple[Ns, str, str, int]] = []
        for fill in self._fills(member, visible):
            moves.append((fill.at, fill.symbol, "TradingFees", -fill.fee))
            if fill.realized:
                moves.append((fill.at, fill.symbol, "RealizePnl", fill.realized))
        moves += [
            (paid.at, paid.symbol, "FundingPayment", paid.amount)
            for paid in member.fundings
            if paid.at <= visible
        ]
        moves.sort(key=lambda move: move[0])
        rows = [
            {
                "userId": USER_ID,
                "subaccountId": member.subaccount,
                "quantity": plain(amount),
                "source": source,
                "timestamp": iso(at),
                "positionId": str(position_number(self._desk.engine, member, symbol)),
                "engineSequence": number,
            }
            for number, (at, symbol, source, amount) in enumerate(moves, 1)
            if wanted in (None, source)
        ]
        return reply(page(ordered(rows, params), params))


def _trigger_row(trigger: Trigger) -> Json:
    return history_order_json(trigger.shape, trigger.status, trigger.reason)


def _fill_types(params: Params) -> frozenset[str] | None:
    kind = params.get("fillType")
    if kind is None:
        return None
    found = _FILL_TYPES.get(str(kind))
    if found is None:
        raise bad_parameter("fillType", "Expect a valid enumeration value.")
    return found

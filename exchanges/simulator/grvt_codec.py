"""GRVT's JSON shapes with full names (venues.md A4.1, A4.2). Pure.

Decimals are strings with a fractional digit, times are ns strings, counts are integers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exchanges.simulator.grvt_payload import OrderPlan
from exchanges.simulator.grvt_words import (
    KIND,
    NO_ADDRESS,
    NO_ORDER_ID,
    UNSPECIFIED,
    Json,
    dec,
    percent,
    ratio,
    reason_word,
    status_word,
)
from exchanges.simulator.model import Market, Rules, SimFill, SimOrder, SimPosition
from strategy.domain import BPS_ONE, NANO, Level, Ns, Px, Side, notional

HOUR_NS = 3600 * NANO
_CREATED = "1700000000000000000"
_QUOTE_DECIMALS = 6
_MAX_POSITION = "30000.0"
_RATE_CAP = "0.3"
QUOTE_INDEX = "1.0"
"""Price of the settle currency in USD."""


# --- orders and fills ------------------------------------------------------------------------


def wire_of(plan: OrderPlan) -> Json:
    """Return what an order echoes of its request: kept in the engine's ``extra``."""
    parts = plan.signature
    return {
        "sub_account_id": str(plan.sub_account),
        "is_market": plan.market,
        "time_in_force": plan.tif,
        "post_only": plan.post_only,
        "reduce_only": plan.reduce_only,
        "limit_price": dec(plan.limit_px),
        "client_order_id": plan.client_id,
        "builder": plan.builder or NO_ADDRESS,
        "builder_fee": dec(int(plan.builder_fee * NANO)),
        "signature": {
            "signer": parts.signer,
            "r": parts.r,
            "s": parts.s,
            "v": parts.v,
            "expiration": str(parts.expiration),
            "nonce": parts.nonce,
            "chain_id": "0",
        },
    }


def forced_wire(sub_account: str) -> Json:
    """Return the echo of an order that the venue itself created: a liquidation."""
    return {
        "sub_account_id": sub_account,
        "is_market": True,
        "time_in_force": "IMMEDIATE_OR_CANCEL",
        "post_only": False,
        "reduce_only": True,
        "limit_price": "0.0",
        "client_order_id": "0",
        "builder": NO_ADDRESS,
        "builder_fee": "0.0",
        "signature": {
            "signer": NO_ADDRESS,
            "r": "0x" + 64 * "0",
            "s": "0x" + 64 * "0",
            "v": 27,
            "expiration": "0",
            "nonce": 0,
            "chain_id": "0",
        },
    }


def _order_shell(wire: Json, symbol: str, side: Side, size: int, created: Ns) -> Json:
    return {
        "sub_account_id": wire["sub_account_id"],
        "is_market": wire["is_market"],
        "time_in_force": wire["time_in_force"],
        "post_only": wire["post_only"],
        "reduce_only": wire["reduce_only"],
        "legs": [
            {
                "instrument": symbol,
                "size": dec(size),
                "limit_price": wire["limit_price"],
                "is_buying_asset": side is Side.BUY,
            }
        ],
        "signature": wire["signature"],
        "metadata": {
            "client_order_id": wire["client_order_id"],
            "create_time": str(created),
            "trigger": {
                "trigger_type": UNSPECIFIED,
                "tpsl": {
                    "trigger_by": UNSPECIFIED,
                    "trigger_price": "0.0",
                    "close_position": False,
                    "is_split_position": False,
                },
            },
            "broker": UNSPECIFIED,
            "is_position_transfer": False,
            "allow_crossing": False,
        },
        "builder": wire["builder"],
        "builder_fee": wire["builder_fee"],
    }


def ack_json(plan: OrderPlan, now: Ns) -> Json:
    """Render the create reply: an acknowledgement without id or outcome (venues.md A5.1)."""
    shell = _order_shell(wire_of(plan), plan.symbol, plan.side, plan.size, now)
    state = {
        "status": "PENDING",
        "reject_reason": UNSPECIFIED,
        "book_size": [dec(plan.size)],
        "traded_size": ["0.0"],
        "update_time": str(now),
        "avg_fill_price": ["0.0"],
    }
    return {"order_id": NO_ORDER_ID, **shell, "state": state}


def order_json(order: SimOrder, sub_account: str, status: str | None = None) -> Json:
    """Render an Order; ``status`` replaces its word."""
    new = order.request
    wire = new.extra.get("wire")
    known = wire if isinstance(wire, dict) else forced_wire(sub_account)
    shell = _order_shell(known, new.symbol, new.side, new.qty, order.received_at)
    return {"order_id": order.order_id, **shell, "state": state_json(order, status)}


def state_json(order: SimOrder, status: str | None = None) -> Json:
    """Render an OrderState; lists are parallel to ``legs`` (venues.md A4.2)."""
    average = order.cum_quote * NANO // order.cum if order.cum else 0
    return {
        "status": status_word(order) if status is None else status,
        "reject_reason": reason_word(order),
        "book_size": [dec(order.remaining if order.live else 0)],
        "traded_size": [dec(order.cum)],
        "update_time": str(order.updated_at),
        "avg_fill_price": [dec(average)],
    }


def state_feed(order: SimOrder, status: str | None = None) -> Json:
    """Render a message of ``v1.state``."""
    wire = order.request.extra.get("wire")
    return {
        "order_id": order.order_id,
        "client_order_id": wire["client_order_id"] if isinstance(wire, dict) else "0",
        "order_state": state_json(order, status),
    }


def fill_json(fill: SimFill, order: SimOrder, mark: Px, rules: Rules, sub_account: str) -> Json:
    """Render a Fill (venues.md A4.2): fee positive when paid, ``fee_rate`` in percent."""
    wire = order.request.extra.get("wire")
    known = wire if isinstance(wire, dict) else forced_wire(sub_account)
    return {
        "event_time": str(fill.at),
        "sub_account_id": sub_account,
        "instrument": fill.symbol,
        "is_buyer": fill.side is Side.BUY,
        "is_taker": not fill.is_maker,
        "size": dec(fill.qty),
        "price": dec(fill.px),
        "mark_price": dec(mark),
        "index_price": dec(mark),
        "interest_rate": "0.0",
        "forward_price": "0.0",
        "realized_pnl": dec(fill.realized),
        "fee": dec(fill.fee),
        "fee_rate": percent(rules.maker_fee if fill.is_maker else rules.taker_fee),
        "trade_id": fill.trade_id,
        "order_id": fill.order_id,
        "venue": "ORDERBOOK",
        "is_liquidation": fill.forced,
        "client_order_id": known["client_order_id"],
        "signer": known["signature"]["signer"],
        "broker": UNSPECIFIED,
        "is_rpi": False,
        "builder": known["builder"],
        "builder_fee_rate": "0.0",
        "builder_fee": "0.0",
        "fee_currency": rules.settle_asset,
    }


def cancel_feed(
    sub_account: str, client_id: str, order_id: str, status: str, reason: str, now: Ns
) -> Json:
    """Render a message of ``v1.cancel`` (venues.md A5.7)."""
    return {
        "sub_account_id": sub_account,
        "client_order_id": client_id,
        "order_id": order_id,
        "reason": reason,
        "update_time": str(now),
        "cancel_status": status,
    }


# --- account ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """Money of the account, 1e-9 of the settle currency."""

    equity: int
    balance: int
    initial_margin: int
    maintenance_margin: int
    leverage: int

    @property
    def unrealized(self) -> int:
        """Profit of the open positions."""
        return self.equity - self.balance

    @property
    def available(self) -> int:
        """``total_equity - initial_margin - min(unrealized_pnl, 0)`` (venues.md A4.2)."""
        return self.equity - self.initial_margin - min(self.unrealized, 0)


def position_json(
    position: SimPosition, mark: Px, figures: AccountFigures, sub_account: str, now: Ns
) -> Json:
    """Render a Position: size and notional signed, roi in percent, funding positive when paid."""
    size = position.qty
    price = mark or position.entry
    gain = size * (price - position.entry)
    unrealized = abs(gain) // NANO if gain >= 0 else -(abs(gain) // NANO)
    cost = notional(position.entry, abs(size))
    total = unrealized + position.realized
    return {
        "event_time": str(now),
        "sub_account_id": sub_account,
        "instrument": position.symbol,
        "size": dec(size),
        "notional": dec(notional(price, size)),
        "entry_price": dec(position.entry),
        "exit_price": "0.0",
        "mark_price": dec(price),
        "unrealized_pnl": dec(unrealized),
        "realized_pnl": dec(position.realized),
        "total_pnl": dec(total),
        "roi": dec(ratio(total * 100, cost)),
        "quote_index_price": QUOTE_INDEX,
        "est_liquidation_price": dec(_liquidation(size, price, figures)),
        "leverage": dec(figures.leverage * NANO),
        "cumulative_fee": dec(position.fees),
        "cumulative_realized_funding_payment": dec(-position.funding),
        "margin_type": "CROSS",
    }


def _liquidation(size: int, price: int, figures: AccountFigures) -> int:
    """Estimate where equity meets maintenance margin, other things equal."""
    if not size:
        return 0
    room = (figures.equity - figures.maintenance_margin) * NANO // abs(size)
    return max(price - room if size > 0 else price + room, 0)


def balance_json(figures: AccountFigures, asset: str) -> Json:
    """Render a SpotBalance."""
    return {
        "currency": asset,
        "balance": dec(figures.balance),
        "index_price": QUOTE_INDEX,
        "entry_price": "0.0",
        "realized_pnl": "0.0",
        "unrealized_pnl": "0.0",
        "available_to_transfer": dec(max(figures.available, 0)),
    }


def summary_json(
    figures: AccountFigures, positions: Sequence[Json], asset: str, sub_account: str, now: Ns
) -> Json:
    """Render a SubAccount (venues.md A4.2)."""
    return {
        "event_time": str(now),
        "sub_account_id": sub_account,
        "margin_type": "SIMPLE_CROSS_MARGIN",
        "settle_currency": asset,
        "unrealized_pnl": dec(figures.unrealized),
        "total_equity": dec(figures.equity),
        "initial_margin": dec(figures.initial_margin),
        "maintenance_margin": dec(figures.maintenance_margin),
        "available_balance": dec(figures.available),
        "spot_balances": [balance_json(figures, asset)],
        "positions": list(positions),
        "settle_index_price": QUOTE_INDEX,
        "is_vault": False,
        "vault_im_additions": "0.0",
        "derisk_margin": dec(figures.maintenance_margin),
        "derisk_to_maintenance_margin_ratio": "1.0",
        "total_cross_equity": dec(figures.equity),
        "cross_unrealized_pnl": dec(figures.unrealized),
        "sub_account_mode": "SINGLE_ASSET",
        "margin_balance": dec(figures.equity),
    }


# --- market data -----------------------------------------------------------------------------


def instrument_json(market: Market, rules: Rules) -> Json:
    """Render an Instrument; sizes are multiples of ``min_size`` (venues.md A4.1)."""
    instrument = market.instrument
    return {
        "instrument": instrument.symbol,
        "instrument_hash": instrument.asset_id,
        "base": instrument.base,
        "quote": instrument.quote,
        "kind": KIND,
        "venues": ["ORDERBOOK", "RFQ"],
        "settlement_period": "PERPETUAL",
        "base_decimals": instrument.size_decimals,
        "quote_decimals": _QUOTE_DECIMALS,
        "tick_size": dec(instrument.tick),
        "min_size": dec(instrument.min_qty),
        "create_time": _CREATED,
        "max_position_size": _MAX_POSITION,
        "funding_interval_hours": rules.funding_interval // HOUR_NS,
        "adjusted_funding_rate_cap": _RATE_CAP,
        "adjusted_funding_rate_floor": f"-{_RATE_CAP}",
        "min_notional": dec(instrument.min_notional),
    }


def level_rows(levels: Iterable[Level]) -> list[Json]:
    """Render book levels; size zero deletes and has no orders (venues.md F)."""
    return [
        {"price": dec(px), "size": dec(size), "num_orders": 1 if size else 0} for px, size in levels
    ]


def book_json(symbol: str, bids: Iterable[Level], asks: Iterable[Level], at: Ns) -> Json:
    """Render OrderbookLevels: a whole book or the levels that changed."""
    return {
        "event_time": str(at),
        "instrument": symbol,
        "bids": level_rows(bids),
        "asks": level_rows(asks),
    }


def margin_rules_json(market: Market, rules: Rules) -> Json:
    """Render the one risk bracket that the engine applies."""
    return {
        "instrument": market.instrument.symbol,
        "max_position_size": _MAX_POSITION,
        "risk_brackets": [
            {
                "tier": 1,
                "notional_floor": "0.0",
                "maintenance_margin_rate": dec(ratio(rules.maintenance_margin, BPS_ONE)),
                "initial_margin_rate": dec(ratio(rules.initial_margin, BPS_ONE)),
                "max_leverage": max_leverage(rules),
                "cumulative_maintenance_amount": "0.0",
            }
        ],
    }


def max_leverage(rules: Rules) -> int:
    """Return the largest leverage that the initial margin allows."""
    return max(BPS_ONE // rules.initial_margin, 1)


def currency_rows() -> list[Json]:
    """Render ``/currency``: the ids that signatures of transfers would use."""
    table = (("USD", 1, 6), ("USDC", 2, 6), ("USDT", 3, 6), ("ETH", 4, 9), ("BTC", 5, 9))
    return [
        {
            "id": number,
            "symbol": symbol,
            "balance_decimals": decimals,
            "quantity_multiplier": str(10**decimals),
        }
        for symbol, number, decimals in table
    ]

"""GRVT's JSON shapes of orders, fills and markets, full names (venues.md A4.1, A4.2). Pure.

Decimals are strings with a fractional digit, times are ns strings, counts are integers.
"""

from collections.abc import Iterable

from exchanges.simulator.grvt_payload import OrderPlan, Trigger
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
from exchanges.simulator.model import MarginTier, Market, Rules, SimFill, SimOrder
from strategy.domain import BPS_ONE, NANO, Bps, Level, Ns, Px, Quote, Side

HOUR_NS = 3600 * NANO
_CREATED = "1700000000000000000"
_QUOTE_DECIMALS = 6
MAX_POSITION = 30_000 * NANO
"""Largest position, 1e-9 base (venues.md A4.1)."""
_RATE_CAP = "0.3"
_NO_TRIGGER: Json = {
    "trigger_type": UNSPECIFIED,
    "tpsl": {
        "trigger_by": UNSPECIFIED,
        "trigger_price": "0.0",
        "close_position": False,
        "is_split_position": False,
    },
}


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
        "trigger": _NO_TRIGGER if plan.trigger is None else trigger_json(plan.trigger),
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


def trigger_json(trigger: Trigger) -> Json:
    """Render the trigger of an order."""
    return {
        "trigger_type": trigger.kind,
        "tpsl": {
            "trigger_by": trigger.by,
            "trigger_price": dec(trigger.px),
            "close_position": False,
            "is_split_position": False,
        },
    }


def shown_id(order: SimOrder) -> str:
    """Return the id that clients know: a fired trigger keeps the one it waited with."""
    kept = order.request.extra.get("shown_id")
    return kept if isinstance(kept, str) else order.order_id


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
        "trigger": _NO_TRIGGER,
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
            "trigger": wire["trigger"],
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
    return {"order_id": shown_id(order), **shell, "state": state_json(order, status)}


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
        "order_id": shown_id(order),
        "client_order_id": wire["client_order_id"] if isinstance(wire, dict) else "0",
        "order_state": state_json(order, status),
    }


def fill_rows(
    fill: SimFill, order: SimOrder, prices: tuple[Px, Px], fees: tuple[Bps, Bps], parts: int = 1
) -> list[Json]:
    """Render a Fill (venues.md A4.2): fee positive when paid, ``fee_rate`` in percent.

    Account and currency of the fee are left to the caller.

    Args:
        fill: the execution.
        order: of which it is one.
        prices: mark and index now.
        fees: maker and taker rate of the account.
        parts: in how many rows to tell it; more than one under F27.
    """
    row = _fill_row(fill, order, prices, fees)
    count = min(parts, fill.qty)
    if count == 1:
        return [row]
    shares = {
        name: _shares(amount, count)
        for name, amount in (
            ("size", fill.qty),
            ("fee", fill.fee),
            ("builder_fee", fill.builder_fee),
            ("realized_pnl", fill.realized),
        )
    }
    return [
        row
        | {name: dec(amounts[n]) for name, amounts in shares.items()}
        | {"trade_id": f"{fill.trade_id}{n:04d}"}
        for n in range(count)
    ]


def _shares(amount: int, count: int) -> list[int]:
    """Split an amount into parts that sum to it exactly."""
    even = abs(amount) // count
    last = abs(amount) - even * (count - 1)
    sign = -1 if amount < 0 else 1
    return [sign * even] * (count - 1) + [sign * last]


def _fill_row(fill: SimFill, order: SimOrder, prices: tuple[Px, Px], fees: tuple[Bps, Bps]) -> Json:
    wire = order.request.extra.get("wire")
    known = wire if isinstance(wire, dict) else forced_wire("")
    mark, index = prices
    return {
        "event_time": str(fill.at),
        "sub_account_id": known["sub_account_id"],
        "instrument": fill.symbol,
        "is_buyer": fill.side is Side.BUY,
        "is_taker": not fill.is_maker,
        "size": dec(fill.qty),
        "price": dec(fill.px),
        "mark_price": dec(mark),
        "index_price": dec(index),
        "interest_rate": "0.0",
        "forward_price": "0.0",
        "realized_pnl": dec(fill.realized),
        "fee": dec(fill.fee),
        "fee_rate": percent(fees[0] if fill.is_maker else fees[1]),
        "trade_id": fill.trade_id,
        "order_id": shown_id(order),
        "venue": "ORDERBOOK",
        "is_liquidation": fill.forced,
        "client_order_id": known["client_order_id"],
        "signer": known["signature"]["signer"],
        "broker": UNSPECIFIED,
        "is_rpi": False,
        "builder": known["builder"],
        "builder_fee_rate": known["builder_fee"],
        "builder_fee": dec(fill.builder_fee),
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
        "max_position_size": dec(MAX_POSITION),
        "funding_interval_hours": rules.funding_interval // HOUR_NS,
        "adjusted_funding_rate_cap": _RATE_CAP,
        "adjusted_funding_rate_floor": f"-{_RATE_CAP}",
        "min_notional": dec(instrument.min_notional),
        "asset_class": UNSPECIFIED,
        "status": "ACTIVE",
    }


def spot_json(listed: Json) -> Json:
    """Return a spot instrument beside a perpetual; its kind is unknown to older clients (G12)."""
    return listed | {
        "instrument": f"{listed['base']}_{listed['quote']}",
        "instrument_hash": "0x080401",
        "kind": "SPOT_SWAP",
        "venues": ["ORDERBOOK"],
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
    """Render the risk brackets that the engine applies; the last one has no cap."""
    first = MarginTier(Quote(0), rules.initial_margin, rules.maintenance_margin)
    tiers = [first, *(tier for tier in rules.margin_tiers if tier.floor)]
    rows: list[Json] = []
    for number, tier in enumerate(tiers):
        row: Json = {"tier": number + 1, "notional_floor": dec(tier.floor)}
        if number + 1 < len(tiers):
            row["notional_cap"] = dec(tiers[number + 1].floor)
        most = min(BPS_ONE // tier.initial, rules.max_leverage)
        row |= {
            "maintenance_margin_rate": dec(ratio(tier.maintenance, BPS_ONE)),
            "initial_margin_rate": dec(ratio(tier.initial, BPS_ONE)),
            "max_leverage": max(most, 1),
            "cumulative_maintenance_amount": dec(tier.cumulative),
        }
        rows.append(row)
    return {
        "instrument": market.instrument.symbol,
        "max_position_size": dec(MAX_POSITION),
        "risk_brackets": rows,
    }


def max_leverage(rules: Rules) -> int:
    """Return the largest leverage that the venue allows."""
    return rules.max_leverage


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

"""Markets, positions and margin of Backpack as REST prints them (venues.md B3.1, B3.3, B6). Pure.

The margin functions that are published here are the ones the engine charges by.
"""

from dataclasses import dataclass
from math import isqrt

from exchanges.simulator.api import Engine
from exchanges.simulator.backpack_members import Member
from exchanges.simulator.backpack_options import BackpackOptions
from exchanges.simulator.backpack_words import MS, USER_ID, Json
from exchanges.simulator.model import Market, Rules, SimPosition
from strategy.domain import BPS_ONE, NANO, Side, notional, plain

_LISTED = "2025-01-21T06:34:54.691858"
_POSITION_ID_BASE = 4_238_420_454
_SHARES = 10_000
"""Basis points in one."""
_BPS_PER_NANO = BPS_ONE // NANO
"""``Bps`` units in 1e-9."""


# --- markets ---------------------------------------------------------------------------------


def _multiplier(distance: int) -> str:
    return plain((BPS_ONE + distance) * NANO // BPS_ONE)


def _share(of_ten_thousand: int) -> str:
    return plain(of_ten_thousand * NANO // _SHARES)


def market_json(engine: Engine, market: Market, options: BackpackOptions) -> Json:
    """Render one row of ``GET /api/v1/markets`` (venues.md B3.1, B6)."""
    inst, rules = market.instrument, engine.rules
    low, high = options.mark_band_bps
    return {
        "symbol": inst.symbol,
        "baseSymbol": inst.base,
        "quoteSymbol": inst.quote,
        "marketType": "PERP",
        "filters": {
            "price": {
                "minPrice": plain(inst.tick),
                "maxPrice": str(options.max_price),
                "tickSize": plain(inst.tick),
                "maxMultiplier": _multiplier(rules.price_band),
                "minMultiplier": _multiplier(-rules.price_band),
                "maxImpactMultiplier": _multiplier(rules.market_impact),
                "minImpactMultiplier": _multiplier(-rules.market_impact),
                "meanMarkPriceBand": {"maxMultiplier": _share(high), "minMultiplier": _share(low)},
                "meanPremiumBand": {"tolerancePct": "0.05"},
                "borrowEntryFeeMaxMultiplier": None,
                "borrowEntryFeeMinMultiplier": None,
            },
            "quantity": {
                "minQuantity": plain(inst.min_qty),
                "maxQuantity": None,
                "stepSize": plain(inst.step),
            },
        },
        "imfFunction": initial_function(rules).json(),
        "mmfFunction": maintenance_function(rules).json(),
        "fundingInterval": rules.funding_interval // MS,
        "fundingRateUpperBound": "100",
        "fundingRateLowerBound": "-100",
        "openInterestLimit": "64000",
        "orderBookState": market.state,
        "createdAt": _LISTED,
        "visible": True,
        "positionLimitWeight": None,
    }


def open_interest(engine: Engine, symbol: str) -> str:
    """Return the long side of the simulated accounts; the external market's is not known."""
    held = (account.positions.get(symbol) for account in engine.accounts.values())
    return plain(sum(position.qty for position in held if position and position.qty > 0))


# --- margin ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SqrtFunction:
    """Share of notional: ``max(base, factor * sqrt(notional))``; both in 1e-9 (venues.md B3.3)."""

    base: int
    factor: int

    def rate(self, value: int) -> int:
        """Return the share, 1e-9, at a notional in 1e-9 quote."""
        return max(self.base, self.factor * isqrt(value * NANO) // NANO)

    def json(self) -> Json:
        """Render ``imfFunction`` or ``mmfFunction``."""
        return {"type": "sqrt", "base": plain(self.base), "factor": plain(self.factor)}


def initial_function(rules: Rules) -> SqrtFunction:
    """Return what opening is charged by, unless the account's leverage asks for more."""
    return SqrtFunction(rules.initial_margin // _BPS_PER_NANO, rules.initial_factor)


def maintenance_function(rules: Rules) -> SqrtFunction:
    """Return what liquidation is decided by."""
    return SqrtFunction(rules.maintenance_margin // _BPS_PER_NANO, rules.maintenance_factor)


def exposure(
    engine: Engine, account_id: str, symbol: str, side: Side | None = None, more: int = 0
) -> int:
    """Return the largest size the account could come to hold in a market, resting orders included.

    Reduce-only orders add none. Sizes in 1e-9 base.

    Args:
        engine: the venue.
        account_id: the account.
        symbol: the market.
        side: of one order more to count.
        more: its size.
    """
    held = engine.accounts[account_id].positions.get(symbol)
    qty = 0 if held is None else held.qty
    bids = more if side is Side.BUY else 0
    asks = more if side is Side.SELL else 0
    for order in engine.open_orders(account_id, symbol):
        if not order.request.reduce_only:
            if order.request.side is Side.BUY:
                bids += order.remaining
            else:
                asks += order.remaining
    return max(abs(qty), qty + bids, asks - qty)


def total_exposure(engine: Engine, account_id: str) -> tuple[int, int]:
    """Return notional exposure of an account at the mark and the initial margin rate on it.

    The first in 1e-9 quote, the second a 1e-9 share, 0 without exposure.
    """
    total = charged = 0
    for symbol in engine.markets:
        value = notional(engine.mark(symbol), exposure(engine, account_id, symbol))
        total += value
        charged += value * initial_function(engine.rules).rate(value)
    return total, charged // total if total else 0


# --- positions -------------------------------------------------------------------------------


def position_number(engine: Engine, member: Member, symbol: str) -> int:
    """Return the stable id of an account's position in a market."""
    markets = list(engine.markets)
    return _POSITION_ID_BASE + member.subaccount * len(markets) + markets.index(symbol)


def break_even(position: SimPosition) -> int:
    """Return the price at which the position, with what it cost and earned, would be flat."""
    if not position.qty:
        return 0
    spent = position.fees - position.funding - position.realized
    return position.entry + spent * NANO // position.qty


def position_json(engine: Engine, member: Member, position: SimPosition) -> Json:
    """Render one row of ``GET /api/v1/position`` (venues.md B3.3)."""
    symbol = position.symbol
    mark = engine.mark(symbol)
    size = exposure(engine, member.id, symbol)
    value = notional(mark, size)
    initial = initial_function(engine.rules)
    maintenance = maintenance_function(engine.rules)
    return {
        "symbol": symbol,
        "netQuantity": plain(position.qty),
        "netCost": plain(notional(position.entry, position.qty)),
        "netExposureQuantity": plain(size),
        "netExposureNotional": plain(value),
        "entryPrice": plain(position.entry),
        "breakEvenPrice": plain(break_even(position)),
        "markPrice": plain(mark),
        "estLiquidationPrice": plain(engine.liquidation_price(member.id, symbol) or 0),
        "imf": plain(initial.rate(value)),
        "mmf": plain(maintenance.rate(value)),
        "imfFunction": initial.json(),
        "mmfFunction": maintenance.json(),
        "pnlRealized": plain(position.realized),
        "pnlUnrealized": plain(engine.unrealized(member.id, symbol)),
        "cumulativeFundingPayment": plain(position.funding),
        "cumulativeInterest": "0",
        "positionId": str(position_number(engine, member, symbol)),
        "userId": USER_ID,
        "subaccountId": member.subaccount_id,
    }


def collateral_json(engine: Engine, member: Member) -> Json:
    """Render ``GET /api/v1/capital/collateral`` (venues.md B3.3)."""
    account = member.account
    equity = engine.equity(member.id)
    used = engine.margin_used(member.id)
    total, rate = total_exposure(engine, member.id)
    kept = engine.maintenance_margin(member.id)
    held = sum(
        abs(notional(engine.mark(symbol), position.qty))
        for symbol, position in account.positions.items()
    )
    balance = plain(account.balance)
    return {
        "assetsValue": plain(max(account.balance, 0)),
        "borrowLiability": "0",
        "liabilitiesValue": plain(max(-account.balance, 0)),
        "netEquity": plain(equity),
        "netEquityAvailable": plain(max(equity - used, 0)),
        "netEquityLocked": plain(used),
        "netExposureFutures": plain(total),
        "pnlUnrealized": plain(equity - account.balance),
        "unsettledEquity": "0",
        "imf": plain(rate),
        "mmf": plain(kept * NANO // held) if held else "0",
        "marginFraction": plain(equity * NANO // total) if total else None,
        "collateral": [
            {
                "symbol": engine.rules.settle_asset,
                "assetMarkPrice": "1",
                "totalQuantity": balance,
                "balanceNotional": balance,
                "collateralWeight": "1",
                "collateralValue": balance,
                "openOrderQuantity": "0",
                "lendQuantity": "0",
                "availableQuantity": balance,
            }
        ],
    }

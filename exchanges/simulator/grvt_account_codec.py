"""GRVT's account shapes with full names: positions, money, fee tier (venues.md A4.2). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from exchanges.simulator.grvt_words import Json, dec, ratio
from exchanges.simulator.model import SimPosition
from strategy.domain import NANO, Ns, Px, notional


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """Money of the account, 1e-9 of the settle currency."""

    equity: int
    balance: int
    initial_margin: int
    maintenance_margin: int
    settle_index: int = NANO
    """Price of the settle currency in USD, 1e-9."""

    @property
    def unrealized(self) -> int:
        """Profit of the open positions."""
        return self.equity - self.balance

    @property
    def available(self) -> int:
        """``total_equity - initial_margin - min(unrealized_pnl, 0)`` (venues.md A4.2)."""
        return self.equity - self.initial_margin - min(self.unrealized, 0)


@dataclass(frozen=True, slots=True)
class PositionFigures:
    """What the venue knows of a position besides its size: prices, margin and settings."""

    mark: Px
    liquidation: Px | None
    exit_price: int
    leverage: int
    margin_type: str
    initial_margin: int
    maintenance_margin: int
    quote_index: int = NANO


def position_json(
    position: SimPosition, figures: PositionFigures, sub_account: str, now: Ns
) -> Json:
    """Render a Position: size and notional signed, roi in percent, funding positive when paid."""
    size = position.qty
    price = figures.mark or position.entry
    gain = size * (price - position.entry)
    unrealized = abs(gain) // NANO if gain >= 0 else -(abs(gain) // NANO)
    cost = notional(position.entry, abs(size))
    total = unrealized + position.realized
    row: Json = {
        "event_time": str(now),
        "sub_account_id": sub_account,
        "instrument": position.symbol,
        "size": dec(size),
        "notional": dec(notional(price, size)),
        "entry_price": dec(position.entry),
        "exit_price": dec(figures.exit_price),
        "mark_price": dec(price),
        "unrealized_pnl": dec(unrealized),
        "realized_pnl": dec(position.realized),
        "total_pnl": dec(total),
        "roi": dec(ratio(total * 100, cost)),
        "quote_index_price": dec(figures.quote_index),
        "est_liquidation_price": dec(figures.liquidation or 0),
        "leverage": dec(figures.leverage * NANO),
        "cumulative_fee": dec(position.fees),
        "cumulative_realized_funding_payment": dec(-position.funding),
        "margin_type": figures.margin_type,
    }
    if figures.margin_type == "ISOLATED":
        row["isolated_balance"] = row["isolated_im"] = dec(figures.initial_margin)
        row["isolated_mm"] = dec(figures.maintenance_margin)
    return row


def balance_json(balance: int, available: int, index: int, asset: str) -> Json:
    """Render a SpotBalance; ``index`` is the asset's price in USD, 1e-9."""
    return {
        "currency": asset,
        "balance": dec(balance),
        "index_price": dec(index),
        "entry_price": "0.0",
        "realized_pnl": "0.0",
        "unrealized_pnl": "0.0",
        "available_to_transfer": dec(max(available, 0)),
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
        "spot_balances": [
            balance_json(figures.balance, figures.available, figures.settle_index, asset)
        ],
        "positions": list(positions),
        "settle_index_price": dec(figures.settle_index),
        "is_vault": False,
        "vault_im_additions": "0.0",
        "derisk_margin": dec(figures.maintenance_margin),
        "derisk_to_maintenance_margin_ratio": "1.0",
        "total_cross_equity": dec(figures.equity),
        "cross_unrealized_pnl": dec(figures.unrealized),
        "sub_account_mode": "SINGLE_ASSET",
        "margin_balance": dec(figures.equity),
    }

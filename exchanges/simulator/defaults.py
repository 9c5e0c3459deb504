"""Default rules and instruments of the two simulated venues (venues.md Part E, Part F, A4.1, B6).

Imports ``strategy.domain`` and ``model`` only. Figures no document states (price band and impact on
GRVT, order limits, instruments outside the tables, fee tiers between the first and the top, GRVT's
risk brackets, liquidation fees) are choices, marked so below.
"""

from dataclasses import dataclass
from zlib import crc32

from exchanges.simulator.model import FeeTier, MarginTier, Market, Rules
from strategy.domain import Instrument, Ns, Px, Qty, Quote, Venue, bps, nano

_MS = 1_000_000
_HOUR = 3_600_000 * _MS


def _tier(volume: str, maker: str, taker: str) -> FeeTier:
    return FeeTier(Quote(nano(volume)), bps(maker), bps(taker))


def _bracket(floor: str, initial: int, maintenance: int, cumulative: str) -> MarginTier:
    return MarginTier(Quote(nano(floor)), bps(initial), bps(maintenance), Quote(nano(cumulative)))


# Chosen: no document states any tier but the first (venues.md A7).
_GRVT_FEES = (
    _tier("5000000", "-0.02", "4.2"),
    _tier("25000000", "-0.03", "3.9"),
    _tier("100000000", "-0.05", "3.5"),
    _tier("500000000", "-0.1", "3"),
)
# The top is captured (venues.md F); the volumes and the tiers between are chosen.
_BACKPACK_FEES = (
    _tier("5000000", "1.6", "4.4"),
    _tier("25000000", "1.2", "3.8"),
    _tier("100000000", "0.8", "3.2"),
    _tier("500000000", "0.4", "2.5"),
    _tier("1000000000", "0", "1.8"),
)
# Chosen: brackets exist (/margin_rules, A4.1), their bounds are not documented. The cumulative
# amounts make the maintenance margin continuous from bracket to bracket.
_GRVT_BRACKETS = (
    _bracket("2000000", 400, 200, "20000"),
    _bracket("10000000", 1000, 500, "320000"),
    _bracket("30000000", 2000, 1000, "1820000"),
)

GRVT_RULES = Rules(
    venue=Venue.GRVT,
    latency=Ns(3 * _MS),
    taker_delay=Ns(25 * _MS),
    visibility=Ns(50 * _MS),
    maker_fee=bps("-0.01"),
    taker_fee=bps("4.5"),
    initial_margin=bps(200),
    maintenance_margin=bps(100),
    max_open_orders=200,  # chosen: the limit exists (2090), its value is not documented
    price_band=bps(1000),  # chosen: 7201 exists, its width is not documented
    market_impact=bps(200),  # chosen: as Backpack
    starting_balance=Quote(nano(1_000_000)),
    funding_interval=Ns(8 * _HOUR),
    funding_rate=nano("0.0001"),
    settle_asset="USDT",
    margin_tiers=_GRVT_BRACKETS,
    fee_tiers=_GRVT_FEES,
    funding_cap=nano("0.003"),
    funding_walk=nano("0.0005"),  # fitted to recorded 8 h rates, see engine_funding
    liquidation_fee=bps(50),  # chosen
)

BACKPACK_RULES = Rules(
    venue=Venue.BACKPACK,
    latency=Ns(3 * _MS),
    taker_delay=Ns(100 * _MS),
    visibility=Ns(0),
    maker_fee=bps(2),
    taker_fee=bps(5),
    initial_margin=bps(200),
    maintenance_margin=bps(125),
    max_open_orders=200,  # chosen: the limit exists (ORDER_LIMIT), its value is not documented
    price_band=bps(2500),
    market_impact=bps(200),
    starting_balance=Quote(nano(1_000_000)),
    funding_interval=Ns(_HOUR),
    funding_rate=nano("0.0000125"),
    settle_asset="USDC",
    initial_factor=nano("0.0000935"),
    maintenance_factor=nano("0.0000561"),
    fee_tiers=_BACKPACK_FEES,
    funding_cap=nano("0.01"),
    funding_walk=nano("0.0005"),  # chosen, as GRVT
    liquidation_fee=bps(50),  # chosen
)


@dataclass(frozen=True, slots=True)
class _Listing:
    tick: str
    step: str
    min_notional: str
    asset_id: str = ""


_GRVT: dict[str, _Listing] = {
    "ETH": _Listing("0.01", "0.01", "20", "0x030401"),
    "BTC": _Listing("0.1", "0.001", "100", "0x030501"),
    "SOL": _Listing("0.01", "0.1", "20", "0x030601"),
}
_BACKPACK: dict[str, _Listing] = {
    "ETH": _Listing("0.01", "0.0001", "0"),
    "BTC": _Listing("0.1", "0.00001", "0"),
    "SOL": _Listing("0.01", "0.01", "0"),
}


def default_market(venue: Venue, base: str, tape_tick: str | None) -> Market:
    """Return the venue's open perpetual on ``base`` (e.g. ``"ETH"``).

    Bases outside the tables get a chosen, usable instrument. ``tape_tick`` (a decimal string)
    replaces the tick, because recorded prices lie on the recording's own grid.

    Raises:
        ValueError: ``tape_tick`` is not a positive decimal of at most nine places.
    """
    if venue is Venue.GRVT:
        listing = _GRVT.get(base) or _Listing("0.0001", "0.1", "20", _asset_id(base))
        symbol, quote = f"{base}_USDT_Perp", "USDT"
    else:
        listing = _BACKPACK.get(base) or _Listing("0.0001", "0.1", "0")
        symbol, quote = f"{base}_USDC_PERP", "USDC"
    tick = nano(listing.tick if tape_tick is None else tape_tick)
    if tick <= 0:
        raise ValueError(f"tick {tape_tick!r} of {base} must be positive")
    return Market(
        Instrument(
            venue=venue,
            symbol=symbol,
            base=base,
            quote=quote,
            tick=Px(tick),
            step=Qty(nano(listing.step)),
            min_qty=Qty(nano(listing.step)),
            min_notional=Quote(nano(listing.min_notional)),
            asset_id=listing.asset_id,
            size_decimals=9,
        )
    )


def _asset_id(base: str) -> str:
    """Return a stable made-up asset id in the shape of the real ones."""
    return f"0x03{crc32(base.encode()) & 0xFFFF | 0x8000:04x}"

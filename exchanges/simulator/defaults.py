"""Default rules and instruments of the two simulated venues (venues.md Part E, Part F, A4.1, B6).

Imports ``strategy.domain`` and ``model`` only. Figures no document states (price band and impact on
GRVT, order limits, instruments outside the tables) are choices, marked so below.
"""

from dataclasses import dataclass
from zlib import crc32

from exchanges.simulator.model import Market, Rules
from strategy.domain import Instrument, Ns, Px, Qty, Quote, Venue, bps, nano

_MS = 1_000_000
_HOUR = 3_600_000 * _MS

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

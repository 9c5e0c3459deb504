"""From the configuration to what the core reads; sizes are checked against the venues' rules."""

from collections.abc import Mapping
from math import lcm

from daemon.config import EXIT_USAGE, ConfigError, RunConfig
from safety.limits import Limits
from strategy.domain import Instrument, Qty, Venue, plain
from strategy.params import HedgeMode, Params, PrimaryMode

ETH = "ETH"


def params_of(config: RunConfig) -> Params:
    """Return the strategy's settings."""
    return Params(
        size=config.size,
        max_position=config.build_to,
        iterations=config.iterations,
        sleep=config.sleep,
        fill_timeout=config.fill_timeout,
        primary_mode=PrimaryMode(config.primary_mode),
        hedge_mode=HedgeMode(config.hedge_mode),
        cap=config.max_slippage,
        min_spread=config.min_spread,
        risk_aversion=config.risk_aversion,
        passive=config.passive_ns,
        max_unhedged=config.max_unhedged,
        stale=config.stale_book_ns,
        base_is_eth=config.ticker == ETH,
        emergency_cap=max(config.emergency_max_bps, config.max_slippage),
        max_failures=config.hedge_failures_max,
        chunk=config.chunk_qty,
        hedge_seconds=config.hedge_seconds_per_notional,
        hedge_notional=config.hedge_notional,
        max_clock_offset=config.clock_offset,
        mark_band=config.mark_gap,
        funding_guard=config.funding_guard,
    )


def limits_of(config: RunConfig) -> Limits:
    """Return the limits that wrap every order."""
    leverages = (
        (Venue.BACKPACK, config.backpack_leverage),
        (Venue.GRVT, config.grvt_leverage),
    )
    return Limits(
        max_position=config.max_position,
        max_daily_loss=config.max_daily_loss,
        cap=config.max_slippage,
        emergency_cap=max(config.emergency_max_bps, config.max_slippage),
        max_order=Qty(max(config.size, config.build_to, config.max_position)),
        stale=config.stale_book_ns,
        max_orders_per_minute=config.orders_per_minute,
        cool_down=config.cool_down,
        max_naked_hedge=config.naked_hedge,
        max_naked_day=config.naked_day,
        warn_margin_ratio=config.warn_margin,
        max_margin_ratio=config.max_margin,
        warn_liquidation_distance=config.warn_liquidation,
        min_liquidation_distance=config.min_liquidation,
        max_basis=config.max_basis,
        max_clock_offset=config.clock_offset,
        leverage=tuple((venue, wanted) for venue, wanted in leverages if wanted is not None),
    )


def check_sizes(config: RunConfig, instruments: Mapping[Venue, Instrument]) -> None:
    """Refuse sizes that one of the venues could not trade exactly.

    Raises:
        ConfigError: one line naming the flag, the value, the rule and the nearest good values.
    """
    step = lcm(*(i.step for i in instruments.values()))
    least = max(*(i.min_qty for i in instruments.values()), step)
    for flag, value in (("--size", config.size), ("--max-position", config.build_to)):
        if value < least:
            raise ConfigError(
                EXIT_USAGE,
                f"{flag} {plain(value)}: below the smallest size that both venues trade; "
                f"use at least {plain(least)}",
            )
        if value % step:
            low, high = value // step * step, (value // step + 1) * step
            raise ConfigError(
                EXIT_USAGE,
                f"{flag} {plain(value)}: not a multiple of {plain(step)}, the step of both "
                f"venues; use {plain(low)} or {plain(high)}",
            )

"""Builds the two venue ports for a mode: simulated, or live (by the venues' or given addresses)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random  # noqa: TID251 - the type of the injected generator
from typing import Any

from daemon.config import RunConfig
from exchanges.backpack.venue import BackpackConfig, BackpackVenue
from exchanges.grvt.venue import GrvtConfig, GrvtVenue
from exchanges.port import VenuePort, WallClock
from exchanges.simulator.host import Ready, SimConfig
from strategy.domain import Venue


@dataclass(frozen=True, slots=True)
class Seams:
    """What the ports need from outside: time, jitter, and the nonce of the next order."""

    clock: WallClock
    rng: Random
    nonce: Callable[[], int]
    learned: Callable[[str], None]
    """Told every secret that a venue hands out, so that the log can hide it."""


def sim_config(config: RunConfig) -> SimConfig:
    """Return the embedded simulator's settings."""
    return SimConfig(
        ticker=config.ticker,
        book=config.book,
        seed=config.seed,
        speed=config.speed,
        host="127.0.0.1",
        grvt_port=0,
        backpack_port=0,
        control_port=0,
    )


def sim_ports(ready: Ready, seams: Seams) -> Mapping[Venue, VenuePort]:
    """Return the real adapters, pointed at the embedded simulator's sockets."""
    told = ready.as_dict()
    grvt, backpack = told["grvt"], told["backpack"]
    return _ports(
        GrvtConfig(
            api_key=grvt["api_key"],
            private_key=grvt["private_key"],
            sub_account_id=grvt["sub_account_id"],
            environment="testnet",
            edge_url=grvt["edge"],
            trades_url=grvt["trades"],
            market_data_url=grvt["market_data"],
            ws_trades_url=grvt["ws_trades"],
            ws_market_data_url=grvt["ws_market_data"],
        ),
        BackpackConfig(
            public_key=backpack["public_key"],
            secret_key=backpack["secret_key"],
            api_url=backpack["api"],
            ws_url=backpack["ws"],
        ),
        seams,
    )


def live_environment(told: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables by which ``--venues live`` trades on a simulator's ready line."""
    grvt, backpack = told["grvt"], told["backpack"]
    return {
        "BACKPACK_PUBLIC_KEY": backpack["public_key"],
        "BACKPACK_SECRET_KEY": backpack["secret_key"],
        "BACKPACK_API_URL": backpack["api"],
        "BACKPACK_WS_URL": backpack["ws"],
        "GRVT_API_KEY": grvt["api_key"],
        "GRVT_PRIVATE_KEY": grvt["private_key"],
        "GRVT_TRADING_ACCOUNT_ID": grvt["sub_account_id"],
        "GRVT_ENVIRONMENT": "testnet",
        "GRVT_EDGE_URL": grvt["edge"],
        "GRVT_TRADES_URL": grvt["trades"],
        "GRVT_MARKET_DATA_URL": grvt["market_data"],
        "GRVT_WS_TRADES_URL": grvt["ws_trades"],
        "GRVT_WS_MARKET_DATA_URL": grvt["ws_market_data"],
    }


def live_ports(config: RunConfig, seams: Seams) -> Mapping[Venue, VenuePort]:
    """Return the adapters for the credentials and addresses of the environment."""
    keys, urls = config.credentials, config.endpoints
    return _ports(
        GrvtConfig(
            api_key=keys.grvt_api_key,
            private_key=keys.grvt_private_key,
            sub_account_id=keys.grvt_trading_account_id,
            environment=keys.grvt_environment,
            edge_url=urls.grvt_edge,
            trades_url=urls.grvt_trades,
            market_data_url=urls.grvt_market_data,
            ws_trades_url=urls.grvt_ws_trades,
            ws_market_data_url=urls.grvt_ws_market_data,
        ),
        BackpackConfig(
            public_key=keys.backpack_public_key,
            secret_key=keys.backpack_secret_key,
            api_url=urls.backpack_api,
            ws_url=urls.backpack_ws,
        ),
        seams,
    )


def _ports(grvt: GrvtConfig, backpack: BackpackConfig, seams: Seams) -> Mapping[Venue, VenuePort]:
    return {
        Venue.BACKPACK: BackpackVenue(backpack, seams.clock, seams.rng),
        Venue.GRVT: GrvtVenue(grvt, seams.clock, seams.rng.random, seams.nonce, seams.learned),
    }

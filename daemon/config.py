"""The configuration of one run: every flag, limit, credential and tunable, checked once.

Precedence: flag > environment > file > default. The env file counts as environment; a variable
that is really set wins over it. Whatever is wrong ends as one ``ConfigError`` line.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from daemon import config_values as v
from daemon.config_sources import (
    EXIT_CONFIG,
    EXIT_USAGE,
    ConfigError,
    read_env_file,
    read_toml,
)
from strategy.domain import Bps, Ns, Qty, Quote, plain

__all__ = ["EXIT_CONFIG", "EXIT_USAGE", "ConfigError", "Credentials", "Endpoints", "RunConfig",
           "load_config", "resolve_state_dir"]  # fmt: skip

VENUES = ("sim", "shadow", "live")
LIMITS = ("MAX_POSITION", "MAX_DAILY_LOSS")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys of both venues; empty where the mode needs none. Never printed."""

    backpack_public_key: str = field(default="", repr=False)
    backpack_secret_key: str = field(default="", repr=False)
    grvt_api_key: str = field(default="", repr=False)
    grvt_private_key: str = field(default="", repr=False)
    grvt_trading_account_id: str = field(default="", repr=False)
    grvt_environment: str = "prod"

    def secrets(self) -> tuple[str, ...]:
        """Return what must never appear in any output; the longest first."""
        held = (self.backpack_secret_key, self.grvt_api_key, self.grvt_private_key,
                self.grvt_private_key.removeprefix("0x"), self.backpack_public_key)  # fmt: skip
        return tuple(sorted({s for s in held if s}, key=len, reverse=True))


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses in place of the venues' own; None keeps the venue's."""

    grvt_edge: str | None = None
    grvt_trades: str | None = None
    grvt_market_data: str | None = None
    grvt_ws_trades: str | None = None
    grvt_ws_market_data: str | None = None
    backpack_api: str | None = None
    backpack_ws: str | None = None


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One run, fixed for its life. Sizes 1e-9 base, money 1e-9 quote, durations ns."""

    ticker: str
    size: Qty
    build_to: Qty
    """``--max-position``: where BUILD stops on the primary leg; default the size."""
    max_position: Qty
    """``MAX_POSITION``: cap of each leg."""
    max_daily_loss: Quote
    """``MAX_DAILY_LOSS``: of one UTC day, positive."""
    iterations: int
    """0 = until stopped."""
    venues: str
    """``sim``, ``shadow`` or ``live``."""
    sleep: Ns
    fill_timeout: Ns
    primary_mode: str
    hedge_mode: str
    max_slippage: Bps
    min_spread: Bps
    risk_aversion: int | None
    """1e-9; None is ``max``: cross at once."""
    max_unhedged: Ns
    flatten_on_exit: bool
    state_dir: Path
    log_format: str
    """``console`` or ``json``."""
    log_file: Path | None
    summary_json: Path | None
    book: str | None
    """None is the bundled recording."""
    seed: int
    speed: float
    passive_ns: Ns
    stale_book_ns: Ns
    emergency_max_bps: Bps
    hedge_failures_max: int
    chunk_qty: Qty
    """Largest order of the roll-back hedge path, ETH."""
    hedge_seconds_per_notional: Ns
    """Deadline of a hedge for each ``hedge_notional`` of it."""
    hedge_notional: Quote
    open_patience_ns: Ns
    orders_per_minute: int
    naked_hedge: int
    """Exposure budget of one hedge, 1e-9 base x s; default the size for a minute."""
    naked_day: int
    """Of one UTC day; default the size for two hours."""
    cool_down: Ns
    warn_margin: Bps
    max_margin: Bps
    warn_liquidation: Bps
    min_liquidation: Bps
    max_basis: Bps
    mark_gap: Bps
    clock_offset: Ns
    funding_guard: Ns
    backpack_leverage: int | None
    """1e-9; None is whatever the account has at the start."""
    grvt_leverage: int | None
    credentials: Credentials = field(default=Credentials(), repr=False)
    endpoints: Endpoints = Endpoints()


@dataclass(frozen=True, slots=True)
class _Option:
    """One setting: its field, parser, default, and the places it may come from."""

    name: str
    parse: Callable[[str], Any]
    default: str | None = None
    """None: must be given, or is worked out from others."""
    key: str = ""
    """Its key in the file; the field's name when empty."""
    section: str = ""
    flag: str = ""
    env: str = ""

    @property
    def file_key(self) -> tuple[str, str]:
        return self.section, self.key or self.name


def _flag(name: str, flag: str, parse: Callable[[str], Any], default: str | None = None) -> _Option:
    return _Option(name, parse, default, key=flag.replace("-", "_"), flag=f"--{flag}")


def _tuning(name: str, key: str, parse: Callable[[str], Any], default: str) -> _Option:
    return _Option(name, parse, default, key=key, section="tuning")


def _limit(name: str, key: str, parse: Callable[[str], Any], default: str | None = None) -> _Option:
    return _Option(name, parse, default, key=key, section="limits")


OPTIONS = (
    _flag("ticker", "ticker", v.ticker),
    _flag("size", "size", v.size),
    _flag("iterations", "iter", v.count, "0"),
    _flag("venues", "venues", v.words(VENUES), "sim"),
    _flag("build_to", "max-position", v.size),
    _flag("sleep", "sleep", v.seconds, "0"),
    _flag("fill_timeout", "fill-timeout", v.positive_seconds, "5"),
    _flag("primary_mode", "primary-mode", v.words(("bbo", "bbo_minus_1", "aggressive")), "bbo"),
    _flag("hedge_mode", "hedge-mode", v.words(("smart", "market")), "smart"),
    _flag("max_slippage", "max-slippage-bps", v.slippage, "5"),
    _flag("min_spread", "min-spread", v.edge, "0"),
    _flag("risk_aversion", "risk-aversion", v.risk_aversion, "1"),
    _flag("max_unhedged", "max-unhedged-ms", v.milliseconds, "15000"),
    _flag("flatten_on_exit", "flatten-on-exit", v.switch, "false"),
    _Option("state_dir", v.path, "state", flag="--state-dir", env="STATE_DIRECTORY"),
    _flag("log_format", "log-format", v.words(("console", "json"))),
    _flag("log_file", "log-file", v.path),
    _flag("summary_json", "summary-json", v.path),
    _flag("book", "book", v.plain_text),
    _flag("seed", "seed", partial(v.count, most=(1 << 63) - 1), "1"),
    _flag("speed", "speed", v.speed, "1"),
    _Option("max_position", v.size, "5", section="limits", env="MAX_POSITION"),
    _Option("max_daily_loss", v.money, "50", section="limits", env="MAX_DAILY_LOSS"),
    _limit("orders_per_minute", "max_orders_per_minute", v.at_least_one, "600"),
    _limit("naked_hedge", "max_naked_hedge", v.base_seconds),
    _limit("naked_day", "max_naked_day", v.base_seconds),
    _limit("cool_down", "failure_pause_seconds", v.seconds, "10"),
    _limit("warn_margin", "warn_margin_percent", v.percent, "40"),
    _limit("max_margin", "max_margin_percent", v.percent, "60"),
    _limit("warn_liquidation", "warn_liquidation_bps", v.slippage, "500"),
    _limit("min_liquidation", "min_liquidation_bps", v.slippage, "200"),
    _limit("max_basis", "max_basis_bps", v.slippage, "100"),
    _limit("mark_gap", "max_mark_gap_bps", v.slippage, "100"),
    _limit("clock_offset", "max_clock_offset_ms", v.clock_offset, "1000"),
    _limit("funding_guard", "funding_guard_seconds", v.seconds, "10"),
    _limit("backpack_leverage", "backpack_leverage", v.leverage),
    _limit("grvt_leverage", "grvt_leverage", v.leverage),
    _tuning("passive_ns", "passive_seconds", v.seconds, "60"),
    _tuning("stale_book_ns", "stale_book_seconds", v.positive_seconds, "3"),
    _tuning("emergency_max_bps", "emergency_max_bps", v.slippage, "50"),
    _tuning("hedge_failures_max", "hedge_failures_max", v.at_least_one, "3"),
    _tuning("chunk_qty", "chunk_qty", v.size, "0.2"),
    _tuning("hedge_seconds_per_notional", "hedge_seconds_per_notional", v.positive_seconds, "20"),
    _tuning("hedge_notional", "hedge_notional", v.money, "3000"),
    _tuning("open_patience_ns", "open_patience_seconds", v.positive_seconds, "300"),
)
WORKED_OUT = frozenset(
    {"build_to", "log_format", "log_file", "summary_json", "book"}
    | {"naked_hedge", "naked_day", "backpack_leverage", "grvt_leverage"}
)
NAKED_HEDGE_SECONDS = 60
NAKED_DAY_SECONDS = 7_200
"""Default exposure budgets, as seconds for which the size may stand unhedged."""

_HTTP, _WS = v.address(("http", "https")), v.address(("ws", "wss"))
ENDPOINTS: dict[str, tuple[str, Callable[[str], str]]] = {
    "grvt_edge": ("GRVT_EDGE_URL", _HTTP),
    "grvt_trades": ("GRVT_TRADES_URL", _HTTP),
    "grvt_market_data": ("GRVT_MARKET_DATA_URL", _HTTP),
    "grvt_ws_trades": ("GRVT_WS_TRADES_URL", _WS),
    "grvt_ws_market_data": ("GRVT_WS_MARKET_DATA_URL", _WS),
    "backpack_api": ("BACKPACK_API_URL", _HTTP),
    "backpack_ws": ("BACKPACK_WS_URL", _WS),
}
CREDENTIALS: dict[str, tuple[str, Callable[[str], str]]] = {
    "backpack_public_key": ("BACKPACK_PUBLIC_KEY", v.backpack_key),
    "backpack_secret_key": ("BACKPACK_SECRET_KEY", v.backpack_key),
    "grvt_api_key": ("GRVT_API_KEY", v.plain_text),
    "grvt_private_key": ("GRVT_PRIVATE_KEY", v.grvt_private_key),
    "grvt_trading_account_id": ("GRVT_TRADING_ACCOUNT_ID", v.grvt_account),
}


def load_config(
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    *,
    cwd: Path,
    terminal: bool,
) -> RunConfig:
    """Build the configuration of a run.

    Args:
        flags: text by flag name without dashes in front and with underscores (``fill_timeout``,
            ``iter``), None or absent where not given; ``config`` and ``env_file`` included.
        environ: the process environment.
        cwd: where ``.env`` is looked for.
        terminal: whether the log goes to a terminal.

    Raises:
        ConfigError: one line; exit code 2 for a flag, 78 for anything else.
    """
    env = dict(_env_file(flags.get("env_file"), environ, cwd))
    env.update(environ)
    config_file = flags.get("config")
    stored = read_toml(Path(config_file), _known_keys()) if config_file else {}
    values: dict[str, Any] = {}
    for option in OPTIONS:
        values[option.name] = _value(option, flags, env, stored, config_file)
    _work_out(values, terminal)
    _check_together(values, flags)
    live = values["venues"] == "live"
    endpoints = _endpoints(env, stored, config_file)
    if live:
        _check_endpoints(endpoints)
    return RunConfig(**values, credentials=_credentials(env, live), endpoints=endpoints)


def resolve_state_dir(flag: str | None, environ: Mapping[str, str]) -> Path:
    """Return the state directory that a run with this flag and environment would use."""
    option = next(o for o in OPTIONS if o.name == "state_dir")
    path: Path = _value(option, {"state_dir": flag}, environ, {}, None)
    return path


def _env_file(flag: str | None, environ: Mapping[str, str], cwd: Path) -> Mapping[str, str]:
    """Read the env file named, else systemd's credential ``env``, else ``.env`` if present."""
    found = [Path(flag)] if flag else []
    if not found and (given := environ.get("CREDENTIALS_DIRECTORY")):
        found = [p for p in [Path(given) / "env"] if p.is_file()]
    if not found:
        found = [p for p in [cwd / ".env"] if p.is_file()]
    if not found:
        return {}
    values = read_env_file(found[0])
    for name in values:
        close = get_close_matches(name.upper(), LIMITS, 1, 0.8)
        if name not in LIMITS and close:  # a mistyped limit must not become the default
            raise ConfigError(
                EXIT_CONFIG, f"{found[0]}: unknown limit {name}; did you mean {close[0]}?"
            )
    return values


def _known_keys() -> dict[str, tuple[str, ...]]:
    known: dict[str, list[str]] = {"": [], "limits": [], "tuning": [], "endpoints": []}
    for option in OPTIONS:
        section, key = option.file_key
        known[section].append(key)
    known["endpoints"].extend(ENDPOINTS)
    return {section: tuple(keys) for section, keys in known.items()}


def _value(
    option: _Option,
    flags: Mapping[str, str | None],
    env: Mapping[str, str],
    stored: Mapping[tuple[str, str], str],
    config_file: str | None,
) -> Any:
    """Return a setting from the first place that has it."""
    if option.flag and (text := flags.get(option.flag[2:].replace("-", "_"))) is not None:
        return _parsed(option.parse, text, option.flag, EXIT_USAGE)
    if option.env and (text := env.get(option.env)) is not None:
        first = text.split(":")[0] if option.env == "STATE_DIRECTORY" else text
        return _parsed(option.parse, first, option.env, EXIT_CONFIG)
    if option.file_key in stored:
        shown = ".".join(part for part in option.file_key if part)
        return _parsed(
            option.parse, stored[option.file_key], f"{config_file}: {shown}", EXIT_CONFIG
        )
    if option.default is not None:
        return option.parse(option.default)
    if option.name in WORKED_OUT:
        return None
    example = {"ticker": "ETH", "size": "0.5"}[option.name]
    raise ConfigError(EXIT_USAGE, f"{option.flag} is required; for example {option.flag} {example}")


def _parsed(parse: Callable[[str], Any], text: str, place: str, code: int) -> Any:
    try:
        return parse(text)
    except ValueError as bad:
        raise ConfigError(code, f"{place} {text!r}: {bad}") from bad


def _work_out(values: dict[str, Any], terminal: bool) -> None:
    """Fill in what depends on other settings."""
    if values["build_to"] is None:
        values["build_to"] = values["size"]
    if values["naked_hedge"] is None:
        values["naked_hedge"] = values["size"] * NAKED_HEDGE_SECONDS
    if values["naked_day"] is None:
        values["naked_day"] = values["size"] * NAKED_DAY_SECONDS
    if values["log_format"] is None:
        values["log_format"] = "console" if terminal else "json"
    if values["log_file"] is None:
        values["log_file"] = Path("logs") / f"hedged-{values['ticker']}.log"
    elif values["log_file"] == Path("-"):
        values["log_file"] = None


def _check_together(values: dict[str, Any], flags: Mapping[str, str | None]) -> None:
    """Refuse settings that contradict one another."""
    size, build_to = values["size"], values["build_to"]
    if build_to < size:
        raise ConfigError(
            EXIT_USAGE,
            f"--max-position {plain(build_to)}: below --size {plain(size)}, so no order fits; "
            "raise it or lower --size",
        )
    for warn, worst, shown in (
        (values["warn_margin"], values["max_margin"], "warn_margin_percent: above max_margin"),
        (values["min_liquidation"], values["warn_liquidation"],
         "warn_liquidation_bps: below min_liquidation"),
        (values["naked_hedge"], values["naked_day"], "max_naked_hedge: above max_naked_day"),
    ):  # fmt: skip
        if warn > worst:
            raise ConfigError(EXIT_CONFIG, f"limits.{shown}, so it could never be reached first")
    given = [f for f in ("book", "seed", "speed") if flags.get(f) is not None]
    if given and values["venues"] != "sim":
        raise ConfigError(
            EXIT_USAGE,
            f"--{given[0]}: only with --venues sim, not {values['venues']}; leave it out",
        )


def _endpoints(
    env: Mapping[str, str], stored: Mapping[tuple[str, str], str], config_file: str | None
) -> Endpoints:
    found: dict[str, str] = {}
    for name, (variable, parse) in ENDPOINTS.items():
        if env.get(variable):
            found[name] = _parsed(parse, env[variable], variable, EXIT_CONFIG)
        elif ("endpoints", name) in stored:
            text = stored["endpoints", name]
            found[name] = _parsed(parse, text, f"{config_file}: endpoints.{name}", EXIT_CONFIG)
    return Endpoints(**found)


def _check_endpoints(endpoints: Endpoints) -> None:
    """Refuse half a simulator: real hedges of simulated fills would be real losses."""
    given = {f.name: getattr(endpoints, f.name) for f in fields(endpoints)}
    local = [name for name, url in given.items() if url is not None and v.loopback(url)]
    outside = [name for name in given if name not in local]
    if local and outside:
        raise ConfigError(
            EXIT_CONFIG,
            f"{ENDPOINTS[local[0]][0]} is on this machine but {ENDPOINTS[outside[0]][0]} is not: "
            "one leg would be real and one simulated; set all seven addresses or none",
        )


def _credentials(env: Mapping[str, str], live: bool) -> Credentials:
    """Take the keys; with ``live`` each must be there and well formed. Never shows a value."""
    keys: dict[str, str] = {}
    for name, (variable, parse) in CREDENTIALS.items():
        keys[name] = env.get(variable, "").strip()
        if not live:
            continue
        if not keys[name]:
            raise ConfigError(
                EXIT_CONFIG,
                f"{variable} is missing; --venues live needs it in the environment or the env file",
            )
        try:
            parse(keys[name])
        except ValueError as bad:
            raise ConfigError(EXIT_CONFIG, f"{variable} {bad}") from bad
    if live:
        _check_pair(keys)
    place = env.get("GRVT_ENVIRONMENT", "prod")
    _parsed(v.words(("prod", "testnet")), place, "GRVT_ENVIRONMENT", EXIT_CONFIG)
    return Credentials(**keys, grvt_environment=place)


def _check_pair(keys: Mapping[str, str]) -> None:
    """Refuse Backpack keys of two different pairs before the venue does."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - slow import
        Ed25519PrivateKey,
    )

    seed = base64.b64decode(keys["backpack_secret_key"])
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    if base64.b64encode(public).decode() != keys["backpack_public_key"]:
        raise ConfigError(
            EXIT_CONFIG,
            "BACKPACK_PUBLIC_KEY is not the public key of BACKPACK_SECRET_KEY; copy both again",
        )

"""The configuration: precedence, defaults, and one clear line for everything wrong."""

import base64
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from daemon.config import (
    CREDENTIALS,
    ENDPOINTS,
    ConfigError,
    RunConfig,
    load_config,
    resolve_state_dir,
)
from strategy.domain import bps, nano

SEED = bytes(range(32))
PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
KEYS = {
    "BACKPACK_PUBLIC_KEY": base64.b64encode(PUBLIC).decode(),
    "BACKPACK_SECRET_KEY": base64.b64encode(SEED).decode(),
    "GRVT_API_KEY": "canary-api-key",
    "GRVT_PRIVATE_KEY": "0x" + "ab" * 32,
    "GRVT_TRADING_ACCOUNT_ID": "8289849667772468",
}
LOCAL = {
    variable: ("ws" if "WS" in variable else "http") + "://127.0.0.1:4000"
    for variable, _ in ENDPOINTS.values()
}
NEEDED = {"ticker": "ETH", "size": "0.5"}


def load(tmp_path: Path, env: Mapping[str, str] | None = None, /, **flags: str) -> RunConfig:
    return load_config(NEEDED | flags, env or {}, cwd=tmp_path, terminal=True)


def refused(
    tmp_path: Path, env: Mapping[str, str] | None = None, /, **flags: str
) -> tuple[int, str]:
    with pytest.raises(ConfigError) as caught:
        load_config(NEEDED | flags, env or {}, cwd=tmp_path, terminal=True)
    assert "\n" not in str(caught.value)
    return caught.value.exit_code, str(caught.value)


def test_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert (config.ticker, config.size, config.build_to) == ("ETH", nano("0.5"), nano("0.5"))
    assert (config.iterations, config.venues, config.sleep) == (0, "sim", 0)
    assert config.fill_timeout == 5 * 10**9
    assert (config.primary_mode, config.hedge_mode) == ("bbo", "smart")
    assert (config.max_slippage, config.min_spread) == (bps(5), bps(0))
    assert config.risk_aversion == 10**9
    assert config.max_unhedged == 15 * 10**9
    assert (config.max_position, config.max_daily_loss) == (nano(5), nano(50))
    assert config.state_dir == Path("state")
    assert config.log_file == Path("logs/hedged-ETH.log")
    assert (config.log_format, config.summary_json, config.book) == ("console", None, None)
    assert (config.seed, config.speed, config.flatten_on_exit) == (1, 1.0, False)
    assert (config.passive_ns, config.stale_book_ns) == (60 * 10**9, 3 * 10**9)
    assert (config.emergency_max_bps, config.hedge_failures_max) == (bps(50), 3)
    assert config.chunk_qty == nano("0.2")
    assert (config.hedge_seconds_per_notional, config.hedge_notional) == (20 * 10**9, nano(3000))
    assert config.open_patience_ns == 300 * 10**9
    assert config.credentials.grvt_environment == "prod"


def test_log_is_json_when_not_on_a_terminal(tmp_path: Path) -> None:
    piped = load_config(NEEDED, {}, cwd=tmp_path, terminal=False)
    chosen = load_config(NEEDED | {"log_format": "console"}, {}, cwd=tmp_path, terminal=False)
    assert (piped.log_format, chosen.log_format) == ("json", "console")


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_text('state-dir = "from-file"\nsleep = 7\n[limits]\nmax_position = 1\n')
    flags = {"config": str(file)}
    assert load(tmp_path, **flags).state_dir == Path("from-file")
    env = {"STATE_DIRECTORY": "from-env:second", "MAX_POSITION": "2"}
    assert load(tmp_path, env, **flags).state_dir == Path("from-env")
    assert load(tmp_path, env, **flags, state_dir="from-flag").state_dir == Path("from-flag")
    assert load(tmp_path, **flags).max_position == nano(1)
    assert load(tmp_path, env, **flags).max_position == nano(2)
    assert load(tmp_path, **flags).sleep == 7 * 10**9
    assert load(tmp_path, **flags, sleep="0.25").sleep == 250_000_000


def test_file_may_give_everything_and_keeps_money_exact(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_text(
        'ticker = "SOL"\nsize = 0.1\nflatten-on-exit = true\nlog-file = "-"\n'
        "[tuning]\nchunk_qty = 0.3\npassive_seconds = 1.5\n"
        '[endpoints]\ngrvt_edge = "https://proxy.example:8443"\n'
    )
    config = load_config({"config": str(file)}, {}, cwd=tmp_path, terminal=True)
    assert (config.ticker, config.size) == ("SOL", nano(Decimal("0.1")))
    assert config.flatten_on_exit
    assert config.log_file is None
    assert (config.chunk_qty, config.passive_ns) == (nano("0.3"), 1_500_000_000)
    assert config.endpoints.grvt_edge == "https://proxy.example:8443"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_slipage_bps = 5", "did you mean max_slippage_bps?"),
        ("[limits]\nmax_posiiton = 5", "did you mean max_position?"),
        ("[limts]\nmax_position = 5", "did you mean limits?"),
        ("zzz = 5", "known here: ticker"),
        ('[endpoints]\ngrvt_api_key = "x"', "unknown key endpoints.grvt_api_key"),
        ("sleep = [1]", "sleep: must be one number or text"),
        ("sleep = -1", "sleep '-1': must be 0 or more seconds"),
        ("sleep = nan", "not a finite number"),
        ("sleep = ", "not TOML"),
        ("max-position = 1\nmax_position = 2", "given twice"),
    ],
)
def test_F44_bad_file_is_exit_78_with_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "h.toml"
    file.write_text(text)
    code, line = refused(tmp_path, config=str(file))
    assert code == 78
    assert said in line
    assert str(file) in line


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("ticker", "ETH/../x", "base symbol"),
        ("size", "0", "above 0"),
        ("size", "-1", "above 0"),
        ("size", "NaN", "finite"),
        ("size", "Infinity", "finite"),
        ("size", "abc", "not a number"),
        ("size", "0.0000000001", "finer than 1e-9"),
        ("size", "1e400000000", "too large"),
        ("size", "1e31", "too large"),
        ("iter", "-1", "whole number"),
        ("iter", "1.5", "whole number"),
        ("venues", "Live", "one of sim, shadow, live"),
        ("max_position", "0.4", "below --size 0.5"),
        ("sleep", "-0.1", "0 or more"),
        ("sleep", "1e9", "longer than a week"),
        ("fill_timeout", "0", "above 0 seconds"),
        ("primary_mode", "BBO", "one of bbo"),
        ("hedge_mode", "fast", "one of smart, market"),
        ("max_slippage_bps", "0", "above 0"),
        ("max_slippage_bps", "5000", "at most 1000"),
        ("min_spread", "nan", "finite"),
        ("risk_aversion", "-1", "0 or more, or `max`"),
        ("risk_aversion", "MAX", "not a number"),
        ("max_unhedged_ms", "0", "whole number from 1"),
        ("speed", "0", "above 0"),
        ("seed", "x", "whole number"),
        ("log_format", "xml", "one of console, json"),
        ("book", "", "empty"),
        ("state_dir", "", "path"),
    ],
)
def test_bad_flag_is_exit_2_naming_flag_and_remedy(
    tmp_path: Path, flag: str, value: str, said: str
) -> None:
    code, line = refused(tmp_path, **{flag: value})
    assert code == 2
    assert f"--{flag.replace('_', '-')}" in line
    assert said in line


@pytest.mark.parametrize("missing", ["ticker", "size"])
def test_required_flag_is_named(tmp_path: Path, missing: str) -> None:
    flags = {name: text for name, text in NEEDED.items() if name != missing}
    with pytest.raises(ConfigError, match=f"--{missing} is required") as caught:
        load_config(flags, {}, cwd=tmp_path, terminal=True)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "value"), [("max", None), ("0", 0), ("2.5", 2_500_000_000), ("1", 10**9)]
)
def test_risk_aversion_is_a_number_or_max(tmp_path: Path, text: str, value: int | None) -> None:
    assert load(tmp_path, risk_aversion=text).risk_aversion == value


def test_ticker_in_lower_case_is_raised_but_mixed_case_kept(tmp_path: Path) -> None:
    assert load(tmp_path, ticker="eth").ticker == "ETH"
    assert load(tmp_path, ticker="kPEPE").ticker == "kPEPE"


def test_simulator_flags_are_refused_outside_the_simulator(tmp_path: Path) -> None:
    code, line = refused(tmp_path, venues="shadow", book="x.gz")
    assert (code, "--book: only with --venues sim" in line) == (2, True)


# --- environment and credentials -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MAX_POSITION", "nan", "MAX_POSITION 'nan': not a finite number"),
        ("MAX_POSITION", "", "not a number"),
        ("MAX_DAILY_LOSS", "-5", "above 0"),
        ("GRVT_ENVIRONMENT", "PROD", "one of prod, testnet"),
        ("GRVT_ENVIRONMENT", "staging", "one of prod, testnet"),
        ("GRVT_EDGE_URL", "ftp://x", "must be https://host"),
        ("GRVT_EDGE_URL", "http://edge.example", "plain http:// only on this machine"),
        ("GRVT_EDGE_URL", "https://edge.example/v1", "host and port only"),
        ("BACKPACK_WS_URL", "https://x.example", "must be wss://host"),
        ("BACKPACK_WS_URL", "ws://127.0.0.1:99999", "not an address"),
    ],
)
def test_bad_environment_is_exit_78_naming_the_variable(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    code, line = refused(tmp_path, {name: value})
    assert code == 78
    assert line.startswith(name)
    assert said in line


@pytest.mark.parametrize("missing", sorted(KEYS))
def test_live_names_the_missing_credential(tmp_path: Path, missing: str) -> None:
    env = {name: key for name, key in KEYS.items() if name != missing}
    code, line = refused(tmp_path, env, venues="live")
    assert code == 78
    assert line.startswith(f"{missing} is missing")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BACKPACK_SECRET_KEY", "not base64 canary"),
        ("BACKPACK_SECRET_KEY", base64.b64encode(b"canary" * 10).decode()),
        ("BACKPACK_PUBLIC_KEY", "canary"),
        ("BACKPACK_PUBLIC_KEY", base64.b64encode(b"c" * 32).decode()),
        ("GRVT_PRIVATE_KEY", "ab" * 32),
        ("GRVT_PRIVATE_KEY", "0xcanary"),
        ("GRVT_PRIVATE_KEY", "0x" + "00" * 32),
        ("GRVT_PRIVATE_KEY", "0x" + "ff" * 32),
        ("GRVT_TRADING_ACCOUNT_ID", "canary"),
        ("GRVT_TRADING_ACCOUNT_ID", str(1 << 64)),
    ],
)
def test_S14_malformed_credential_is_named_and_never_shown(
    tmp_path: Path, name: str, value: str
) -> None:
    code, line = refused(tmp_path, KEYS | {name: value}, venues="live")
    assert code == 78
    assert name in line
    assert value not in line
    assert KEYS["BACKPACK_SECRET_KEY"] not in line


def test_S14_credentials_stay_out_of_repr(tmp_path: Path) -> None:
    config = load(tmp_path, KEYS, venues="live")
    assert config.credentials.grvt_private_key == KEYS["GRVT_PRIVATE_KEY"]
    shown = f"{config!r} {config.credentials!r} {config}"
    assert not any(key in shown for key in KEYS.values())
    assert set(CREDENTIALS) <= set(config.credentials.__slots__)
    assert KEYS["GRVT_PRIVATE_KEY"].removeprefix("0x") in config.credentials.secrets()


def test_sim_needs_no_credentials_and_ignores_bad_ones(tmp_path: Path) -> None:
    assert load(tmp_path, {"GRVT_PRIVATE_KEY": "bad"}).venues == "sim"
    assert load(tmp_path, venues="shadow").venues == "shadow"


def test_live_on_loopback_needs_every_address_there(tmp_path: Path) -> None:
    config = load(tmp_path, KEYS | LOCAL, venues="live")
    assert config.endpoints.backpack_ws == "ws://127.0.0.1:4000"
    half = {name: url for name, url in LOCAL.items() if not name.startswith("GRVT_WS")}
    code, line = refused(tmp_path, KEYS | half, venues="live")
    assert code == 78
    assert "one leg would be real and one simulated" in line


def test_state_directory_of_the_service_manager_wins_over_the_default() -> None:
    assert resolve_state_dir(None, {}) == Path("state")
    assert resolve_state_dir(None, {"STATE_DIRECTORY": "/var/lib/hedged"}) == Path(
        "/var/lib/hedged"
    )
    assert resolve_state_dir("mine", {"STATE_DIRECTORY": "/x"}) == Path("mine")


# --- the env file --------------------------------------------------------------------------------


def test_env_file_knows_quotes_comments_and_export(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# limits\n\nexport MAX_POSITION=3 # each leg\nMAX_DAILY_LOSS='25'\n"
        'GRVT_API_KEY="a \\"b\\" # c"\nGRVT_ENVIRONMENT = testnet\nOTHER_TOOL=x=y#z\n'
    )
    config = load(tmp_path)
    assert (config.max_position, config.max_daily_loss) == (nano(3), nano(25))
    assert config.credentials.grvt_api_key == 'a "b" # c'
    assert config.credentials.grvt_environment == "testnet"
    assert load(tmp_path, {"MAX_POSITION": "4"}).max_position == nano(4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("MAX_POSITION", "line 1: not KEY=VALUE"),
        ("\nGRVT_API_KEY='canary", "line 2: GRVT_API_KEY: the closing quote is missing"),
        ('GRVT_API_KEY="canary', "closing quote is missing"),
        ("GRVT_API_KEY='canary' x", "text after the closing quote"),
        ("MAX_POSITON=1", "did you mean MAX_POSITION?"),
        ("max_daily_loss=1", "did you mean MAX_DAILY_LOSS?"),
    ],
)
def test_bad_env_file_is_exit_78_without_showing_values(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "keys.env"
    file.write_text(text)
    code, line = refused(tmp_path, env_file=str(file))
    assert code == 78
    assert said in line
    assert "canary" not in line


def test_named_files_must_exist(tmp_path: Path) -> None:
    for flag in ("env_file", "config"):
        code, line = refused(tmp_path, **{flag: str(tmp_path / "none")})
        assert code == 78
        assert "No such file" in line
    (tmp_path / "latin").write_bytes(b"A=\xff")
    assert "not UTF-8" in refused(tmp_path, env_file=str(tmp_path / "latin"))[1]


def test_systemd_credential_is_the_env_file(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("MAX_POSITION=2\n")
    (tmp_path / ".env").write_text("MAX_POSITION=3\n")
    config = load(tmp_path, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert config.max_position == nano(2)

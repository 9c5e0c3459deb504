"""SIGHUP reads the configuration again: tighter limits apply, everything else is refused (F44)."""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from daemon.config import OPTIONS, ConfigError, RunConfig, load_config
from daemon.core import Core, Settings
from daemon.journal import Journal
from daemon.metrics import RunMetrics
from daemon.narrator import Narrator
from daemon.reload import TIGHTER, Reloader, reread, settings_after, tighten_only
from daemon.settings import limits_of, params_of
from strategy.domain import Ns, Venue, bps, nano
from tests.builders import BACKPACK, GRVT, WALL, at, world
from tests.harness import Sink

NEEDED = {"ticker": "ETH", "size": "0.5"}
RULES = {Venue.BACKPACK: BACKPACK, Venue.GRVT: GRVT}
BASE = """
[limits]
max_position = 5
max_daily_loss = 50
max_naked_hedge = 30
max_naked_day = 3600
warn_margin_percent = 40
max_margin_percent = 60
"""


class Folder:
    """A configuration file that a test may edit, and what a start reads from it."""

    def __init__(self, path: Path) -> None:
        self.file = path / "hedged.toml"
        self.env: dict[str, str] = {}
        self.write(BASE)

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def change(self, key: str, value: str) -> None:
        old = next((ln for ln in self.file.read_text().splitlines() if ln.startswith(key)), None)
        text = self.file.read_text()
        self.write(f"{text}{key} = {value}\n" if old is None else text.replace(
            old, f"{key} = {value}"))  # fmt: skip

    def read(self) -> RunConfig:
        flags = NEEDED | {"config": str(self.file)}
        return load_config(flags, self.env, cwd=self.file.parent, terminal=False)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def core_of(config: RunConfig) -> tuple[Core, Sink]:
    sink, w = Sink(), world()
    settings = Settings(params_of(config), limits_of(config))
    narrator = Narrator(sink, RunMetrics(w))
    journal = Journal(Path(":memory:"), Ns(WALL))
    return Core(w, settings, journal, {}, narrator, at), sink


# --- one limit after the other -----------------------------------------------------------------


TIGHTER_VALUES = {
    "max_position": ("4", "6"),
    "max_daily_loss": ("40", "60"),
    "max_slippage_bps": ("4", "6"),
    "min_spread": ("1", "-1"),
    "max_unhedged_ms": ("14000", "16000"),
    "stale_book_seconds": ("2", "4"),
    "emergency_max_bps": ("40", "60"),
    "hedge_failures_max": ("2", "4"),
    "max_orders_per_minute": ("599", "601"),
    "max_naked_hedge": ("29", "31"),
    "max_naked_day": ("3599", "3601"),
    "failure_pause_seconds": ("11", "9"),
    "warn_margin_percent": ("39", "41"),
    "max_margin_percent": ("59", "61"),
    "warn_liquidation_bps": ("501", "499"),
    "min_liquidation_bps": ("201", "199"),
    "max_basis_bps": ("99", "101"),
    "max_mark_gap_bps": ("99", "101"),
    "max_clock_offset_ms": ("999", "1001"),
    "funding_guard_seconds": ("11", "9"),
}
OPTION = {o.file_key[1]: o for o in OPTIONS if o.name in TIGHTER}


def test_F44_every_limit_that_can_be_tightened_is_tried_here() -> None:
    assert {OPTION[key].name for key in TIGHTER_VALUES} == set(TIGHTER)
    assert set(TIGHTER) <= {f.name for f in fields(RunConfig)}


@pytest.mark.parametrize("key", TIGHTER_VALUES)
def test_F44_a_tighter_limit_applies_at_once(folder: Folder, key: str) -> None:
    old = folder.read()
    place(folder, key, TIGHTER_VALUES[key][0])
    found = reread(old, folder.read)
    assert found.refused == ()
    (text,) = found.applied
    assert " -> " in text
    assert key in text
    assert found.config == folder.read()


@pytest.mark.parametrize("key", TIGHTER_VALUES)
def test_F44_a_looser_limit_is_refused_with_one_line_and_the_old_one_stays(
    folder: Folder, key: str
) -> None:
    old = folder.read()
    place(folder, key, TIGHTER_VALUES[key][1])
    found = reread(old, folder.read)
    assert found.applied == ()
    (line,) = found.refused
    assert key in line
    assert "looser than" in line
    assert "\n" not in line
    assert found.config == old


def place(folder: Folder, key: str, value: str) -> None:
    """Put a setting into the section that it belongs to."""
    section = OPTION[key].section
    if section == "limits":
        folder.change(key, value)
    elif section:
        folder.write(f"{folder.file.read_text()}[{section}]\n{key} = {value}\n")
    else:
        folder.write(f"{key} = {value}\n{folder.file.read_text()}")


def test_F44_tighter_and_looser_in_one_file_are_judged_one_by_one(folder: Folder) -> None:
    old = folder.read()
    folder.change("max_position", "2")
    folder.change("max_daily_loss", "500")
    found = reread(old, folder.read)
    assert found.applied == ("limits.max_position 5 -> 2",)
    (line,) = found.refused
    assert line == "limits.max_daily_loss: 500 is looser than 50, which stays; restart to loosen it"
    assert (found.config.max_position, found.config.max_daily_loss) == (nano(2), nano(50))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits]\nmax_position = -1", "above 0"),
        ("[limits]\nmax_position = nan", "finite"),
        ("[limits]\nmax_positoin = 1", "did you mean max_position?"),
        ("[limits", "not TOML"),
        ("[limits]\nwarn_margin_percent = 70", "warn_margin_percent: above max_margin"),
    ],
)
def test_F44_an_invalid_file_changes_nothing_not_even_its_good_lines(
    folder: Folder, text: str, said: str
) -> None:
    old = folder.read()
    folder.write(f"{text}\n")
    found = reread(old, folder.read)
    assert (found.config, found.applied) == (old, ())
    (line,) = found.refused
    assert line.startswith("not reloaded, every limit stays: ")
    assert said in line


def test_F44_a_file_that_is_gone_changes_nothing(folder: Folder) -> None:
    old = folder.read()
    folder.file.unlink()
    assert "give a readable file" in reread(old, folder.read).refused[0]


def test_F44_environment_limits_are_read_again_and_still_win(folder: Folder) -> None:
    folder.env["MAX_POSITION"] = "3"
    old = folder.read()
    folder.env["MAX_POSITION"] = "2"
    folder.change("max_position", "1")
    assert reread(old, folder.read).config.max_position == nano(2)


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("iter", "3", "iter"),
        ("venues", '"live"', "venues"),
        ("hedge_mode", '"market"', "hedge_mode"),
    ],
)
def test_F44_what_is_no_limit_waits_for_a_restart(
    folder: Folder, key: str, value: str, name: str
) -> None:
    old = folder.read()
    folder.env = keys() if key == "venues" else {}
    folder.write(f"{key} = {value}\n{BASE}")
    found = tighten_only(old, folder.read())
    assert f"{name}: no limit; only a restart changes it" in found.refused
    assert found.config == old


def keys() -> dict[str, str]:
    from tests.unit.test_config import KEYS as CREDENTIALS  # noqa: PLC0415 - one use

    return dict(CREDENTIALS)


def test_S14_a_changed_key_is_refused_without_being_shown(folder: Folder) -> None:
    old = folder.read()
    secret = replace(old, credentials=replace(old.credentials, grvt_api_key="canary"))
    (line,) = tighten_only(old, secret).refused
    assert line == "credentials: no limit; only a restart changes it"


# --- in the core ------------------------------------------------------------------------------


def test_F44_the_next_decision_uses_the_tighter_limits(folder: Folder) -> None:
    config = folder.read()
    core, sink = core_of(config)
    folder.change("max_daily_loss", "40")
    after = Reloader(folder.read, core, core._narrator).reload(config, at())
    assert core.settings.limits.max_daily_loss == nano(40)
    assert after.max_daily_loss == nano(40)
    assert [f["what"] for f in sink.events("SAFETY", "limit_tightened")] == [
        "limits.max_daily_loss 50 -> 40"
    ]
    kinds = [kind for _, _, kind, _ in core.journal.events()]
    assert "LimitsTightened" in kinds


def test_F44_a_refused_reload_alerts_once_per_line_and_keeps_the_settings(folder: Folder) -> None:
    config = folder.read()
    core, sink = core_of(config)
    before = core.settings
    folder.change("max_daily_loss", "400")
    assert Reloader(folder.read, core, core._narrator).reload(config, at()) == config
    assert core.settings is before
    assert len(sink.events("ALERT", "reload_refused")) == 1


def test_F44_loosening_back_to_where_it_was_is_loosening(folder: Folder) -> None:
    config = folder.read()
    core, _ = core_of(config)
    reloader = Reloader(folder.read, core, core._narrator)
    folder.change("max_daily_loss", "40")
    config = reloader.reload(config, at())
    folder.change("max_daily_loss", "50")
    assert reloader.reload(config, at()).max_daily_loss == nano(40)


def test_F44_nothing_changed_is_said(folder: Folder) -> None:
    config = folder.read()
    core, sink = core_of(config)
    Reloader(folder.read, core, core._narrator).reload(config, at())
    assert len(sink.events("SAFETY", "reloaded")) == 1


def test_F44_a_cap_below_the_target_makes_it_build_less_instead_of_latching(
    folder: Folder,
) -> None:
    folder.change("max_position", "0.305")
    settings = settings_after(folder.read(), RULES)
    assert settings.limits.max_position == nano("0.305")
    assert (settings.params.size, settings.params.max_position) == (nano("0.3"), nano("0.3"))
    folder.change("max_position", "3")
    roomy = settings_after(folder.read(), RULES)
    assert (roomy.params.size, roomy.params.max_position) == (nano("0.5"), nano("0.5"))


def test_F44_every_setting_reaches_gate_guards_and_strategy(folder: Folder) -> None:
    for key, (value, _) in TIGHTER_VALUES.items():
        if OPTION[key].section == "limits":
            folder.change(key, value)
    config = folder.read()
    limits, params = limits_of(config), params_of(config)
    assert limits.max_orders_per_minute == 599
    assert (limits.max_naked_hedge, limits.max_naked_day) == (nano(29), nano(3599))
    assert (limits.warn_margin_ratio, limits.max_margin_ratio) == (bps(3900), bps(5900))
    assert limits.warn_liquidation_distance == bps(501)
    assert limits.min_liquidation_distance == bps(201)
    assert (limits.max_basis, params.mark_band) == (bps(99), bps(99))
    assert limits.max_clock_offset == params.max_clock_offset == 999_000_000
    assert (limits.cool_down, params.funding_guard) == (11 * 10**9, 11 * 10**9)


# --- bad input, in the style of the start ------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("max_naked_hedge", "0", "above 0, in base units x seconds"),
        ("max_naked_day", "nan", "not a finite number"),
        ("failure_pause_seconds", "-1", "0 or more seconds"),
        ("failure_pause_seconds", "900000", "longer than a week"),
        ("warn_margin_percent", "0", "above 0 and at most 100, in percent"),
        ("max_margin_percent", "100.1", "above 0 and at most 100, in percent"),
        ("max_margin_percent", '"x"', "not a number"),
        ("warn_liquidation_bps", "2000", "at most 1000 bps"),
        ("min_liquidation_bps", "0", "above 0"),
        ("max_basis_bps", "-5", "above 0"),
        ("max_mark_gap_bps", "0.0000001", "finer than 1e-6 bps"),
        ("max_clock_offset_ms", "1251", "whole number from 1 to 1250"),
        ("max_clock_offset_ms", "0.5", "whole number"),
        ("funding_guard_seconds", "inf", "not a finite number"),
        ("max_orders_per_minute", "0", "whole number from 1"),
        ("grvt_leverage", "0.5", "1 or more"),
        ("backpack_leverage", "1001", "at most 1000"),
        ("warn_margin_percent", "61", "above max_margin"),
        ("min_liquidation_bps", "501", "below min_liquidation"),
        ("max_naked_hedge", "3601", "above max_naked_day"),
    ],
)
def test_F44_a_bad_limit_ends_the_start_with_one_line_and_exit_78(
    folder: Folder, key: str, value: str, said: str
) -> None:
    folder.change(key, value)
    with pytest.raises(ConfigError) as caught:
        folder.read()
    assert caught.value.exit_code == 78
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_defaults_of_the_exposure_budgets_follow_the_size(tmp_path: Path) -> None:
    config = load_config(NEEDED | {"size": "0.2"}, {}, cwd=tmp_path, terminal=False)
    assert (config.naked_hedge, config.naked_day) == (nano(12), nano(1440))
    assert (config.grvt_leverage, config.backpack_leverage) == (None, None)
    assert limits_of(config).leverage == ()
    wanted = replace(config, grvt_leverage=nano(7))
    assert limits_of(wanted).leverage == ((Venue.GRVT, nano(7)),)


# --- the signal --------------------------------------------------------------------------------


async def test_F44_SIGHUP_is_answered_between_decisions_and_before_trading_it_is_harmless(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daemon.app import App  # noqa: PLC0415 - slow import

    config = folder.read()
    core, sink = core_of(config)
    acts: list[Callable[..., None]] = []

    class Running:
        def soon(self, act: Callable[..., None]) -> None:
            acts.append(act)

    app = App(config, sink, reread=folder.read)  # type: ignore[arg-type]  # emits
    running = asyncio.get_running_loop()
    app._install_signals()
    try:
        os.kill(os.getpid(), signal.SIGHUP)  # not trading yet: the limits were read just now
        await asyncio.sleep(0.01)
        assert acts == []
        monkeypatch.setattr(app, "_loop_running", Running())
        app._reloader = Reloader(folder.read, core, core._narrator)
        folder.change("max_daily_loss", "40")
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.01)
        assert core.settings.limits.max_daily_loss == nano(50)
        (act,) = acts
        act(at())
        assert core.settings.limits.max_daily_loss == nano(40)
        assert app.config.max_daily_loss == nano(40)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            running.remove_signal_handler(number)


def test_F44_the_unit_reloads_by_SIGHUP_and_reads_a_file_that_a_reload_can_see() -> None:
    unit = (Path(__file__).parents[2] / "deploy" / "hedged@.service").read_text()
    assert "ExecReload=/bin/kill -HUP $MAINPID" in unit
    assert "--config /etc/hedged/%i.toml" in unit
    assert "LoadCredential=toml" not in unit  # a credential is copied once, at the start

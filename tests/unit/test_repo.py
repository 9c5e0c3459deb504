"""The repository itself: rules that a tool or a reader relies on."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import daemon
from daemon.cli import COMMANDS, RUN_FLAGS
from daemon.config import CREDENTIALS, ENDPOINTS, LIMITS, OPTIONS, load_config
from daemon.config_sources import read_env_file
from daemon.logs import TAGS

ROOT = Path(__file__).parents[2]
PACKAGES = ("daemon", "exchanges", "safety", "strategy")
SOURCES = sorted(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))
TREE = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))]
TEXTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "Makefile", "pyproject.toml")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(p for p in (ROOT / "deploy").rglob("*") if p.is_file()),
]
SUPERVISORS = {"daemon/app.py": 1, "daemon/loop.py": 1}
"""Where a broad except may stand, and how many."""
EMOJI = re.compile("[\u2600-\u27bf\u2b50-\u2b55\U0001f000-\U0001faff\ufe0f]")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_daemon_package_is_ours_not_python_daemon() -> None:
    assert daemon.__file__ is not None
    assert Path(daemon.__file__).parent == ROOT / "daemon"
    assert "python-daemon" not in (ROOT / "requirements.lock").read_text()


def test_lock_holds_names_versions_and_hashes_only() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = r"[a-z0-9-]+==[a-z0-9.]+( ; [^;\\]+)? \\"
    hashed = r"    --hash=sha256:[0-9a-f]{64}( \\)?"
    odd = [line for line in lines if not re.fullmatch(f"{pinned}|{hashed}", line)]
    assert lines
    assert odd == []


def test_lock_holds_every_direct_dependency() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    wanted = set(re.findall(r'^  "([a-z-]+)[>=]=', text, re.MULTILINE)) | {"setuptools"}
    locked = set(
        re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    assert {"aiohttp", "grvt-pysdk", "pytest"} <= wanted
    assert wanted <= locked


def test_makefile_has_at_most_ten_targets() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):(?!=)", text, re.MULTILINE))
    assert {"run", "test", "check"} <= targets
    assert len(targets) <= 10


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_source_file_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500


def broad(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException"))
        for kind in kinds
    )


def test_only_the_two_supervisors_catch_everything() -> None:
    found: dict[str, int] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and broad(node):
                found[relative(path)] = found.get(relative(path), 0) + 1
    assert {p: n for p, n in found.items() if n > SUPERVISORS.get(p, 0)} == {}


def test_uvloop_is_run_by_the_command_line_and_by_what_is_measured_beside_it_only() -> None:
    users = {relative(path) for path in SOURCES if re.search(r"\buvloop\b", path.read_text())}
    assert users == {"daemon/cli.py", "daemon/bench/sdk_hedger.py"}


@pytest.mark.parametrize("path", [*TREE, *TEXTS], ids=relative)
def test_no_emoji_and_no_path_of_one_machine(path: Path) -> None:
    text = path.read_text()
    assert EMOJI.search(text) is None
    assert re.search(r"(?<![\w.])/(home|root|work)/\w", text) is None


# --- what the documents say against what the program does ----------------------------------------


def test_readme_names_every_flag_command_and_variable() -> None:
    text = (ROOT / "README.md").read_text()
    flags = [f"--{name}" for name, _, _ in RUN_FLAGS] + ["--flatten-on-exit"]
    variables = [name for name, _ in (*CREDENTIALS.values(), *ENDPOINTS.values())]
    named = [*flags, *COMMANDS, *variables, *LIMITS, "GRVT_ENVIRONMENT"]
    assert [name for name in named if f"`{name}" not in text] == []


def test_readme_defaults_are_the_programs() -> None:
    rows = dict(
        re.findall(
            r"^\| `(--[a-z-]+)` \| ([^|]*) \|", (ROOT / "README.md").read_text(), re.MULTILINE
        )
    )
    plain = {o.flag: o.default for o in OPTIONS if o.flag and o.default not in (None, "false")}
    assert {flag: rows[flag].strip(" `") for flag in plain} == plain


def test_every_flag_of_the_command_line_is_read_by_the_configuration() -> None:
    known = {o.flag for o in OPTIONS if o.flag} | {"--config", "--env-file"}
    assert {f"--{name}" for name, _, _ in RUN_FLAGS} | {"--flatten-on-exit"} == known


def test_alerts_page_covers_every_tag() -> None:
    text = (ROOT / "docs" / "alerts.md").read_text()
    assert [tag for tag in TAGS if f"`{tag}`" not in text] == []


def test_alerts_page_covers_every_alert_that_the_code_can_write() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text()
    events: set[str] = set()
    for path in SOURCES:
        events.update(re.findall(r'"ALERT",\s*"([a-z_]+)"', path.read_text()))
    assert "latch" in events
    assert [event for event in sorted(events) if f"`{event}`" not in page] == []


def test_examples_in_deploy_load(tmp_path: Path) -> None:
    deploy = ROOT / "deploy"
    values = read_env_file(deploy / "env.example")
    assert set(values) == {n for n, _ in CREDENTIALS.values()} | {"GRVT_ENVIRONMENT", *LIMITS}
    example = (deploy / "config.example.toml").read_text()
    whole = re.sub(r"^# ?(\w+ = )", r"\1", example, flags=re.MULTILINE)
    whole = re.sub(r"^grvt_edge.*$", "", whole, flags=re.MULTILINE)
    (tmp_path / "whole.toml").write_text(whole)
    for name, file in (("ETH", deploy / "config.example.toml"), ("ETH", tmp_path / "whole.toml")):
        flags = {"ticker": name, "config": str(file), "env_file": str(deploy / "env.example")}
        given = load_config(flags, {}, cwd=tmp_path, terminal=True)
        bare = {"ticker": "ETH", "size": "0.5"}
        assert given == load_config(bare, {}, cwd=tmp_path, terminal=True)


# --- the service ---------------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["deploy/install.sh", ".ci/run"])
def test_shell_script_parses_and_stops_at_errors(script: str) -> None:
    text = (ROOT / script).read_text()
    shell = "sh" if text.startswith("#!/bin/sh") else "bash"
    assert re.search(r"^set -eu", text, re.MULTILINE)
    assert subprocess.run([shell, "-n", ROOT / script], check=False).returncode == 0
    assert (ROOT / script).stat().st_mode & 0o111


def unit_text() -> str:
    return (ROOT / "deploy" / "hedged@.service").read_text()


def test_unit_does_not_restart_what_a_human_must_look_at() -> None:
    assert "RestartPreventExitStatus=2 77 78 79" in unit_text()
    assert "Type=notify" in unit_text()
    assert int(re.findall(r"TimeoutStopSec=(\d+)", unit_text())[0]) > 30


def test_unit_exposure_stays_low(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:  # a machine without systemd checks the directives themselves
        for wanted in ("ProtectSystem=strict", "NoNewPrivileges=yes", "CapabilityBoundingSet=\n"):
            assert wanted in unit_text()
        return
    unit = tmp_path / "hedged@ETH.service"
    unit.write_text(re.sub(r"/opt/hedged/\S+/hedged", "/bin/true", unit_text()))
    verified = subprocess.run(
        [analyze, "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert str(unit) not in verified.stderr
    scored = subprocess.run(
        [analyze, "security", "--offline=true", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    score = re.search(r"exposure level for \S+: ([0-9.]+)", scored.stdout)
    assert score is not None
    assert float(score[1]) <= 1.5

"""Canaries in every credential: no output, file or core of any of our programs shows one (S14)."""

import base64
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.process.crash import SECRETS
from tests.process.programs import HEDGED, PATIENCE, Simulator, hedged, start, until
from tests.process.test_faults_host import forms
from tests.process.test_shadow import Tap

LIVE = ("--ticker", "ETH", "--venues", "live", "--size", "0.5", "--fill-timeout", "1",
        "--primary-mode", "aggressive", "--hedge-mode", "market")  # fmt: skip
UNLIMITED = ("bash", "-c", 'ulimit -c "$(ulimit -Hc)"; exec "$@"', "-")
"""Lets what it starts leave a core file, as far as this host allows it."""
WORD = "canary-7f3a9c51-planted"


def files(folder: Path, kept: Iterable[str] = ()) -> dict[str, bytes]:
    """Return everything that a folder holds, but for what the test itself wrote there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in kept
    }


def clean(written: dict[str, bytes], secrets: Iterable[bytes]) -> None:
    shown = [name for name, data in written.items() for secret in secrets if secret in data]
    assert shown == [], "these show a secret"


def env_file(folder: Path, env: dict[str, str]) -> tuple[dict[str, str], str]:
    """Move the credentials into a file; returns the environment without them, and the file."""
    path = folder / "secrets.env"
    path.write_text("".join(f"{name}={env[name]}\n" for name in SECRETS))
    path.chmod(0o600)
    return {k: v for k, v in env.items() if k not in SECRETS}, path.name


def test_F80_S14_no_program_writes_a_key_or_a_session_whatever_the_venues_answer(
    fresh_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    """Daemon, status, report, explain, guard, recorder and simulator, with errors on the way."""
    venues = fresh_simulator("--speed", "6", "--message-log", str(tmp_path / "messages.jsonl"))
    taps = {
        name: Tap(venues.environment()[name]) for name in ("GRVT_TRADES_URL", "BACKPACK_API_URL")
    }
    try:
        full = venues.environment() | {name: tap.url for name, tap in taps.items()}
        env, secrets = env_file(tmp_path, full)
        flags = ("--env-file", secrets, "--log-format", "json", "--log-file", "run.log")
        for venue, fault in (("grvt", "F07"), ("grvt", "F06"), ("backpack", "F05")):
            venues.ask("/faults", "POST", {"venue": venue, "fault": fault, "count": 1})
        run = start(tmp_path, *LIVE, *flags, "--sleep", "600", "--summary-json", "s.json", env=env)
        until(lambda: venues.positions() == ("0.5", "-0.5"), 90, "a hedged position")
        with (tmp_path / "guard.txt").open("w") as out:
            guard = subprocess.Popen(
                [sys.executable, "-m", "daemon.guard", "--ticker", "ETH", "--venues", "live",
                 "--env-file", secrets],
                cwd=tmp_path, env=env, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        outputs = [
            hedged(tmp_path, *command, env=env, limit=30)
            for command in (
                ("status", "--json"),
                ("report", "--json", "--html", "report.html"),
                ("explain", "h-1"),
                ("record", "--ticker", "ETH", "--duration", "1"),
            )
        ]
        assert [done.returncode for done in outputs] == [0, 0, 0, 0], outputs
        until(lambda: "guarding" in (tmp_path / "guard.txt").read_text(), 30, "a guard")
        venues.ask("/faults", "POST", {"venue": "grvt", "fault": "F79", "mode": "revoked"})
        assert run.wait(60 * PATIENCE) == 77
        guard.send_signal(signal.SIGTERM)
        guard.wait(30 * PATIENCE)
    finally:
        for tap in taps.values():
            tap.close()
    sent = b"".join(bytes(said) for tap in taps.values() for said in tap.said)
    cookies = {found for found in re.findall(rb"gravity=([^;\s]+)", sent) if len(found) > 7}
    assert cookies, "a session was used"
    written = files(tmp_path, kept=("secrets.env",))
    written |= {f"out {n}": (d.stdout + d.stderr).encode() for n, d in enumerate(outputs)}
    suffixes = {Path(name).suffix for name in written}
    assert suffixes >= {".db", ".log", ".json", ".html", ".gz", ".jsonl", ".txt", ".reserve"}
    clean(written, [form for name in SECRETS for form in forms(full[name])])
    clean(written, cookies)
    assert any(full["BACKPACK_PUBLIC_KEY"].encode() in data for data in (sent,)), "the tap heard"


def _wrong(name: str) -> dict[str, str]:
    """Return what could stand in a credential by mistake: a word, and a well-formed wrong key."""
    raw = WORD.encode().ljust(32, b"!")
    well = {
        "BACKPACK_SECRET_KEY": base64.b64encode(raw).decode(),
        "GRVT_PRIVATE_KEY": f"0x{raw.hex()}",
        "GRVT_API_KEY": WORD,
    }
    return {"word": WORD, "well-formed": well[name]}


@pytest.mark.parametrize(
    ("name", "kind"),
    [*((name, "word") for name in SECRETS), ("BACKPACK_SECRET_KEY", "well-formed")],
)
def test_F80_S14_a_credential_that_is_wrong_is_named_and_never_shown(
    simulator: Simulator, tmp_path: Path, name: str, kind: str
) -> None:
    wrong = _wrong(name)[kind]
    env = simulator.environment() | {name: wrong}
    done = hedged(tmp_path, *LIVE, "--iter", "1", "--log-format", "console", env=env, limit=40)
    assert done.returncode in (75, 78), done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert name in said.splitlines()[-1]
    clean(files(tmp_path) | {"out": said.encode()}, forms(wrong) | {WORD.encode()})


@pytest.mark.parametrize("how", [signal.SIGABRT, signal.SIGSEGV])
def test_F80_S14_an_abort_leaves_no_core_file_where_the_host_would_allow_one(
    simulator: Simulator, tmp_path: Path, how: signal.Signals
) -> None:
    """The limit is lifted as far as the host lets anybody; a process beside it may leave one."""
    beside = tmp_path / "beside"
    beside.mkdir()
    control = subprocess.run(
        [*UNLIMITED, sys.executable, "-c", "import os; os.abort()"], cwd=beside, check=False
    )
    assert control.returncode == -signal.SIGABRT
    folder = tmp_path / "run"
    folder.mkdir()
    out = (folder / "out.txt").open("w")
    with out:
        process = subprocess.Popen(
            [*UNLIMITED, *HEDGED, *LIVE, "--sleep", "600", "--log-format", "json"],
            cwd=folder, env=simulator.environment(), stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        until(lambda: '"event":"started"' in (folder / "out.txt").read_text().replace(" ", ""),
              40, "a daemon that holds its keys")  # fmt: skip
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        (core,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
        assert core.split()[4:6] == ["0", "0"]
        mask = Path(f"/proc/{process.pid}/coredump_filter").read_text().strip()
        assert int(mask, 16) == 0, "not even a piped core file has memory in it"
        process.send_signal(how)
        assert process.wait(20 * PATIENCE) == -how
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(20 * PATIENCE)
    assert not list(folder.rglob("core*"))
    env = simulator.environment()
    clean(files(folder), [form for name in SECRETS for form in forms(env[name])])
    assert json.loads((folder / "out.txt").read_text().splitlines()[0])["event"]

"""A crash loop, the unit files, and secrets in every output (F45, F46, F48, F80)."""

import base64
import os
import signal
import time
from pathlib import Path

import pytest

from exchanges.transport.redact import MASK
from tests.process.crash import SECRETS
from tests.process.crashing import Crasher, Venues, finished, said, truth
from tests.process.faults_rig import CROSS, HELD, PAIR, QUIET, resting
from tests.process.programs import ROOT, until


def unit(name: str) -> dict[str, list[str]]:
    """Return a unit file's directives."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "deploy" / name).read_text().splitlines():
        if "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_F45_F46_F48_the_unit_ends_a_crash_loop_and_hands_over_to_the_guard() -> None:
    daemon, guard = unit("hedged@.service"), unit("hedged-guard@.service")
    assert daemon["StartLimitBurst"] == ["5"]
    assert daemon["StartLimitIntervalSec"] == ["300"]
    assert daemon["OnFailure"] == ["hedged-guard@%i.service"]
    assert daemon["Restart"] == ["on-failure"]
    assert daemon["RestartPreventExitStatus"][0].split() == ["2", "77", "78", "79"]
    assert daemon["Type"] == ["notify"]
    assert daemon["WatchdogSec"] == ["15"]
    assert daemon["OOMPolicy"] == ["stop"]
    assert daemon["MemoryHigh"]
    assert daemon["MemoryMax"]
    assert daemon["LimitCORE"] == ["0"]
    assert daemon["LimitNOFILE"] == ["4096"]
    assert int(daemon["TimeoutStopSec"][0]) > 30, "an orderly stop takes up to 30 s"
    assert guard["Restart"] == ["always"]
    assert guard["StartLimitIntervalSec"] == ["0"], "the guard itself never gives up"
    assert "PartOf" not in guard


@pytest.mark.timeout(90)
def test_F45_a_crash_loop_leaves_a_maker_and_the_guard_cancels_it(
    crasher: Crasher, tmp_path: Path
) -> None:
    calm = Venues(crasher, tmp_path / "venues", "--speed", "0.05")
    try:
        env, folder = calm.environment(), tmp_path / "run"
        run = crasher.start(folder, *QUIET, env=env)
        until(lambda: resting(calm) == 1, 25, "a resting maker")
        os.kill(run.pid, signal.SIGKILL)
        assert finished(run, 10) == -9
        for _ in range(2):  # a bad deploy: it dies before it can cancel
            assert finished(crasher.start(folder, *QUIET, env=env, plan={"step": 5}), 20) == -9
        assert resting(calm) == 1
        guard = crasher.start(
            folder, "guard", "--ticker", "ETH", "--venues", "live", "--stale", "2",
            "--log-format", "console", env=env,
        )  # fmt: skip
        until(lambda: resting(calm) == 0, 30, "the guard cancels what rests")
        os.kill(guard.pid, signal.SIGTERM)
        assert finished(guard, 20) == 0, guard.said()[-2000:]
        assert truth(calm).orders == 1, "the guard opens nothing"
    finally:
        crasher.kill_left(tmp_path / "run")
        calm.close()


def forms(secret: str) -> set[bytes]:
    """Return a secret as it could stand in a file."""
    bare = secret.removeprefix("0x")
    found = {secret.encode(), bare.encode(), bare.upper().encode(), secret.encode().hex().encode()}
    try:
        raw = bytes.fromhex(bare) if secret.startswith("0x") else base64.b64decode(secret)
    except ValueError:
        return found
    return found | {raw, raw.hex().encode(), base64.b64encode(raw)}


def test_F80_S14_a_secret_in_an_exception_or_a_dying_process_reaches_no_output(
    crasher: Crasher, tmp_path: Path
) -> None:
    venues = Venues(crasher, tmp_path / "venues", "--speed", "6")
    try:
        env, folder = venues.environment(), tmp_path / "run"
        plans: tuple[dict[str, int], ...] = ({"leak": 6}, {"full": 6}, {"memory": 6}, {})
        outputs = []
        for plan in plans:
            run = crasher.start(
                folder, *CROSS, "--iter", "1", "--summary-json", "s.json", env=env,
                plan={**plan, "armed": "ready"},
            )  # fmt: skip
            finished(run, 40)
            outputs.append(run.said())
            finished(crasher.start(folder, "resume", "--yes", env=env), 10)
        assert "ValueError" in outputs[0]
        assert MASK in outputs[0]
        written = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert {p.suffix for p in written} >= {".db", ".reserve", ".json", ".log"}
        texts = [*written.values(), *(text.encode() for text in outputs)]
        for name in SECRETS:
            for form in forms(env[name]):
                assert not any(form in text for text in texts), name
    finally:
        venues.close()


def test_F80_S14_a_dying_process_leaves_no_core_file(crasher: Crasher, tmp_path: Path) -> None:
    venues = Venues(crasher, tmp_path / "venues", "--speed", "6")
    try:
        run = crasher.start(tmp_path / "run", *HELD, env=venues.environment())
        said(run, "[RECONCILE] reconciled", 20)
        limits = Path(f"/proc/{run.pid}/limits").read_text()
        (core,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
        assert core.split()[4:6] == ["0", "0"]
        mask = Path(f"/proc/{run.pid}/coredump_filter").read_text().strip()
        assert int(mask, 16) == 0, "not even a piped core file has memory in it"
        until(lambda: venues.positions() == PAIR, 30, "a hedged position")
        os.kill(run.pid, signal.SIGQUIT)
        assert finished(run, 10) == -signal.SIGQUIT
        assert not list(tmp_path.rglob("core*"))
    finally:
        crasher.kill_left(tmp_path / "run")
        venues.close()


def test_F38_L6_a_running_daemon_stays_far_below_its_memory_limit(
    crasher: Crasher, tmp_path: Path
) -> None:
    venues = Venues(crasher, tmp_path / "venues", "--speed", "6")
    try:
        run = crasher.start(tmp_path / "run", *HELD, env=venues.environment())
        until(lambda: venues.positions() == PAIR, 30, "a hedged position")
        time.sleep(0.5)  # noqa: TID251 - it goes on working
        status = Path(f"/proc/{run.pid}/status").read_text()
        rss = next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmRSS"))
        high = unit("hedged@.service")["MemoryHigh"][0]
        assert high.endswith("M")
        assert rss < int(high[:-1]) * 1024 // 2
        os.kill(run.pid, signal.SIGTERM)
        assert finished(run, 30) == 0
    finally:
        crasher.kill_left(tmp_path / "run")
        venues.close()

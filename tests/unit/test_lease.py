"""The lease: one holder, named, released by the kernel."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.lease import EXIT_LEASE, Lease, LeaseHeld

HOLD = (
    "import sys, pathlib; from daemon.lease import Lease; lease = Lease(pathlib.Path(sys.argv[1]));"
    "print('held', flush=True); sys.stdin.read()"
)


def holder(state_dir: Path) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(state_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_F42_second_instance_is_refused_with_the_holders_pid(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        with pytest.raises(LeaseHeld, match=rf"\(pid {other.pid}\)") as caught:
            Lease(tmp_path)
        assert caught.value.exit_code == EXIT_LEASE == 79
        assert "\n" not in str(caught.value)
        assert other.stdin is not None
        other.stdin.close()
    with Lease(tmp_path) as lease:
        assert lease.path.read_text() == f"{os.getpid()}\n"


def test_lease_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait(5)
        Lease(tmp_path).close()
    assert (tmp_path / "lease").exists()


def test_lease_is_released_on_close_and_the_file_stays(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "new" / "dir")
    with pytest.raises(LeaseHeld):
        Lease(tmp_path / "new" / "dir")
    lease.close()
    lease.close()
    Lease(tmp_path / "new" / "dir").close()
    assert lease.path.stat().st_mode & 0o777 == 0o600


def test_lease_is_not_inherited_by_children(tmp_path: Path) -> None:
    with Lease(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    Lease(tmp_path).close()
    child.communicate(b"\n", timeout=10)
    assert child.returncode == 0

"""``hedged simulate`` as the users of other clients run it: a process of its own on loopback.

``Simulation`` starts it, speaks to its control server, kills it and starts it again on the same
ports. ``steady_tape`` writes a market whose every touch is known, so that a session can assert
prices, sizes and fees instead of only their presence.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[2]
START_SECONDS = 30.0
STOP_SECONDS = 15.0
T0 = 1_700_000_000_000_000_000
MS = 1_000_000

BIDS = (("2999.50", "1.00"), ("2999.00", "2.00"), ("2998.00", "50.00"), ("2990.00", "500.00"))
ASKS = (("3000.50", "1.00"), ("3001.00", "2.00"), ("3002.00", "50.00"), ("3010.00", "500.00"))
"""The steady market of both venues, best first; what was taken from it is back within a second."""
PRINT_SIZE = "0.10"
"""Each recorded trade: a sell at the best bid or a buy at the best ask, one side every 250 ms."""

T = TypeVar("T")


def steady_tape(path: Path, ticker: str = "ETH") -> Path:
    """Write a tape of one second that repeats: the same books, four small trades a venue.

    A hole that a taker leaves refills only as the record shows, so that at the end of each second
    every level but the last of a side is recorded as gone and, at the same moment, as back.
    """
    grid = {"recorded": "made for tests", "tick": "0.01", "step": "0.01"}
    venues = ("backpack", "grvt")
    books = {"bids": BIDS, "asks": ASKS}
    gone = {side: [(px, "0") for px, _ in levels[:-1]] for side, levels in books.items()}
    moments: list[tuple[int, dict[str, Any]]] = [(0, {"type": "snapshot", **books})]
    for number in range(4):
        side, px = ("buy", ASKS[0][0]) if number % 2 else ("sell", BIDS[0][0])
        print_ = {"type": "trade", "px": px, "sz": PRINT_SIZE, "aggressor": side}
        moments.append((125 + number * 250, print_))
    moments += [(1000, {"type": "delta", **gone}), (1000, {"type": "delta", **books})]
    rows = [{"ts": T0 + at * MS, "v": venue, **row} for at, row in moments for venue in venues]
    header = {
        "type": "header",
        "format": "hedged-tape/1",
        "ticker": ticker,
        "licence": "none",
        "streams": dict.fromkeys(venues, grid),
        "from_ts": T0,
        "to_ts": rows[-1]["ts"],
        "events": len(rows),
    }
    path.write_text("".join(json.dumps(row) + "\n" for row in (header, *rows)))
    return path


class Simulation:
    """One ``hedged simulate`` process and a small client of its control server.

    Args:
        folder: where its standard error goes (``stderr.txt``).
        flags: of ``hedged simulate``, e.g. ``("--book", "synthetic", "--seed", "7")``.

    Attributes:
        ready: the parsed ready line.
        grvt: addresses and keys of GRVT (``edge``, ``trades``, ``market_data``, ``ws_trades``,
            ``ws_market_data``, ``api_key``, ``private_key``, ``sub_account_id``, ``chain_id``).
        backpack: ``api``, ``ws``, ``public_key``, ``secret_key``.
        control: base address of the control server.
    """

    ready: dict[str, Any]
    grvt: dict[str, Any]
    backpack: dict[str, Any]
    control: str

    def __init__(self, folder: Path, *flags: str) -> None:
        self._errors = folder / "stderr.txt"
        self._flags = flags
        self._start(*flags)

    def _start(self, *flags: str) -> None:
        names = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "COVERAGE_PROCESS_CONFIG")
        kept = {k: v for k, v in os.environ.items() if k in names}
        with self._errors.open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "daemon", "simulate", *flags],
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**kept, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"},
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"no ready line: {self.stderr}"
        self.ready = json.loads(line)
        self.grvt, self.backpack = self.ready["grvt"], self.ready["backpack"]
        self.control = self.ready["control"]

    # --- the control server ------------------------------------------------------------------

    def ask(self, path: str, method: str = "GET", body: object = None) -> Any:
        """Return a control answer, parsed; raises ``HTTPError`` for a refusal."""
        data = None if body is None else json.dumps(body).encode()
        url = self.control + path
        request = urllib.request.Request(url, data=data, method=method)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            return json.loads(answer.read())

    def state(self, venue: str) -> dict[str, Any]:
        """Return one venue's part of ``/state``."""
        found: dict[str, Any] = self.ask("/state")[venue]
        return found

    def audit(self, venue: str) -> list[dict[str, Any]]:
        """Return one venue's orders, oldest first."""
        return [row for row in self.ask("/audit")["orders"] if row["venue"] == venue]

    def market(self, venue: str, ticker: str = "ETH", **change: Any) -> dict[str, Any]:
        """Shift, halt or scale one venue's market: ``shift_bps``, ``halt``, ``liquidity``."""
        found: dict[str, Any] = self.ask(
            "/market", "POST", {"venue": venue, "ticker": ticker, **change}
        )
        return found

    def fault(self, venue: str, name: str, **how: Any) -> dict[str, Any]:
        """Inject a fault by its catalogue name, e.g. ``fault("grvt", "F04", count=2)``."""
        found: dict[str, Any] = self.ask("/faults", "POST", {"venue": venue, "fault": name, **how})
        return found

    # --- life and death ----------------------------------------------------------------------

    @property
    def stderr(self) -> str:
        """What the process has written to standard error so far."""
        return self._errors.read_text() if self._errors.exists() else ""

    @property
    def peak_kib(self) -> int:
        """The most memory that the process ever had resident, KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(row for row in status.splitlines() if row.startswith("VmHWM:"))
        return int(line.split()[1])

    def port(self, which: str) -> int:
        """Return a listener's port: ``grvt``, ``backpack`` or ``control``."""
        grvt, backpack = self.grvt["edge"], self.backpack["api"]
        url = {"grvt": grvt, "backpack": backpack, "control": self.control}[which]
        return int(url.rpartition(":")[2])

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.process.kill()
        self._reap()

    def restart(self) -> None:
        """Start it again on the same ports; the account starts anew, as no state is kept."""
        ports = [f"--{which}-port={self.port(which)}" for which in ("grvt", "backpack", "control")]
        self._start(*self._flags, *ports)

    def close(self) -> int:
        """Stop it in order; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        code = self.process.wait(STOP_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


@contextmanager
def simulating(folder: Path, *flags: str) -> Iterator[Simulation]:
    """Run a simulation meanwhile; it must end in order and without a traceback."""
    running = Simulation(folder, *flags)
    try:
        yield running
    finally:
        code = running.close()
    assert (code, running.stderr) == (0, "")


PATIENCE = 3
"""Waits are as many times longer than an idle machine needs; a test may take 60 s in all."""


def until(probe: Callable[[], T | None], seconds: float = 10.0, every: float = 0.05) -> T:
    """Return the first answer of ``probe`` that is neither None nor False."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        found = probe()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < deadline, f"not within {seconds * PATIENCE} s"
        time.sleep(every)  # noqa: TID251 - a client process waits for another process

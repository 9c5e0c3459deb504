"""``hedged doctor``: every check can fail, says so in one line, and nothing is ever placed."""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon import cli, disk, doctor
from daemon.clock import SystemClock
from daemon.disk import CommitTimes
from daemon.emergency import RehearsalFailed
from daemon.lease import Lease
from exchanges.errors import UnknownTicker, VenueForbidden, VenueMalformed, VenueUnreachable
from exchanges.port import CancelUnknown, InDoubt
from strategy.domain import (
    Fees,
    Ns,
    Position,
    Quote,
    SignedQty,
    StreamState,
    Surface,
    Venue,
    bps,
    nano,
)
from strategy.facts import Account
from tests.builders import BACKPACK, GRVT, book
from tests.unit.test_config import KEYS


class Port:
    """A healthy venue, but for what a test puts in the place of one answer."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.instead: dict[str, Any] = {}
        self.asked: list[str] = []
        self.closed = 0

    async def _tell(self, name: str, good: object) -> Any:
        self.asked.append(name)
        answer = self.instead.get(name, good)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def open(self) -> None:
        await self._tell("open", None)

    async def close(self) -> None:
        self.closed += 1

    async def server_time(self) -> Ns:
        late = await self._tell("server_time", 0)
        return Ns(SystemClock().wall() + late)

    async def load(self, base: str) -> object:
        assert base == "ETH"
        return await self._tell("load", GRVT if self.venue is Venue.GRVT else BACKPACK)

    async def fees(self) -> Fees:
        good = Fees(self.venue, bps(2), bps(5))
        told: Fees = await self._tell("fees", good)
        return told

    async def book(self, depth: int) -> object:
        del depth
        return await self._tell("book", book(self.venue))

    async def account(self) -> Account:
        money = Quote(nano("1000000"))
        good = Account(self.venue, money, money, Quote(0), nano("10"), "CROSS")
        told: Account = await self._tell("account", good)
        return told

    async def position(self) -> Position:
        held = await self._tell("position", "0")
        return Position(self.venue, "X", SignedQty(nano(held)), Ns(0))

    async def open_orders(self) -> tuple[object, ...]:
        return ()

    async def cancel(self, ref: object) -> object:
        del ref
        return await self._tell("cancel", CancelUnknown("1004"))

    async def stream(self, sink: Callable[[object], None]) -> None:
        for surface in await self._tell("stream", tuple(Surface)):
            sink(StreamState(self.venue, surface, up=True))
        await asyncio.Event().wait()


class Clinic:
    """Runs the command on two scripted venues, in its own directory."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        monkeypatch.chdir(tmp_path)
        for name, value in KEYS.items():
            monkeypatch.setenv(name, value)
        self.ports = {venue: Port(venue) for venue in Venue}
        self.built: int | Exception = 12
        self.folder = tmp_path
        self._capsys = capsys
        monkeypatch.setattr(doctor, "live_ports", lambda *_: self.ports)
        monkeypatch.setattr(doctor, "rehearse", self._rehearse)
        monkeypatch.setattr(doctor, "STREAMS_LIMIT", 0.05)

    def _rehearse(self, *_: object) -> int:
        if isinstance(self.built, Exception):
            raise self.built
        return self.built

    def run(self, *flags: str, size: str = "0.5") -> tuple[int, Mapping[str, Mapping[str, str]]]:
        """Return the exit code, and the checks by venue and name."""
        code = cli.main(["doctor", "--ticker", "ETH", "--size", size, "--json", *flags])
        told = json.loads(self._capsys.readouterr().out)
        assert told["ready"] is (code == 0)
        assert all(port.closed == 1 for port in self.ports.values())
        return code, {f"{c['venue']} {c['check']}".strip(): c for c in told["checks"]}


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Clinic:
    return Clinic(tmp_path, monkeypatch, capsys)


def test_all_is_well(clinic: Clinic) -> None:
    code, checks = clinic.run()
    assert code == 0
    assert {c["state"] for c in checks.values()} <= {"ok", "warn"}, checks
    assert len(checks) == 2 + 2 * 9 + 3
    assert checks["grvt fees"]["detail"] == "maker 2.00 bps, taker 5.00 bps"
    assert not list(clinic.folder.glob("state/.disk*")), "the scratch file is gone"


@pytest.mark.parametrize(
    ("name", "instead", "failed", "why", "code"),
    [
        ("open", VenueForbidden("the key is refused"), "login", "the key is refused", 78),
        ("open", VenueUnreachable(""), "login", "no answer; try again later", 75),
        ("server_time", -3_000_000_000, "clock", "fix NTP", 78),
        ("load", UnknownTicker("lists no ETH"), "instrument", "lists no ETH", 78),
        ("fees", VenueMalformed("fees: no such field"), "fees", "no such field", 78),
        ("cancel", InDoubt("403 forbidden"), "trading", "may the key trade?", 78),
        ("stream", (Surface.PUBLIC,), "streams", "not up after 0 s: private", 78),
    ],
)  # fmt: skip
def test_what_fails_is_named_and_the_rest_is_still_checked(
    clinic: Clinic, name: str, instead: object, failed: str, why: str, code: int
) -> None:
    clinic.ports[Venue.GRVT].instead[name] = instead
    got, checks = clinic.run()
    assert got == code
    assert checks[f"grvt {failed}"]["state"] == "FAIL"
    assert why in checks[f"grvt {failed}"]["detail"]
    assert checks["backpack streams"]["state"] == "ok"
    others = [k for k, c in checks.items() if c["state"] == "FAIL" and k != f"grvt {failed}"]
    assert others == []


def test_without_a_login_or_an_instrument_nothing_more_is_asked(clinic: Clinic) -> None:
    clinic.ports[Venue.BACKPACK].instead["open"] = VenueForbidden("no")
    _, checks = clinic.run()
    assert [k for k in checks if k.startswith("backpack")] == ["backpack login"]
    assert "sizes" not in checks, "they need the rules of both"
    assert clinic.ports[Venue.BACKPACK].asked == ["open"]


def test_a_book_with_one_side(clinic: Clinic) -> None:
    clinic.ports[Venue.GRVT].instead["book"] = replace(book(Venue.GRVT), asks=())
    code, checks = clinic.run()
    assert (code, checks["grvt book"]["detail"]) == (78, "no book with two sides")
    assert "basis" not in checks, "it needs the books of both"


def test_a_market_that_is_closed(clinic: Clinic) -> None:
    clinic.ports[Venue.GRVT].instead["load"] = replace(GRVT, tradable=False)
    code, checks = clinic.run()
    assert code == 78
    assert "the market is not open" in checks["grvt instrument"]["detail"]


def test_a_position_is_told_and_no_obstacle(clinic: Clinic) -> None:
    clinic.ports[Venue.GRVT].instead["position"] = "-0.5"
    code, checks = clinic.run()
    assert (code, checks["grvt positions"]["state"]) == (0, "warn")
    assert "position -0.5, 0 open orders" in checks["grvt positions"]["detail"]


def test_money_and_leverage(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    poor = Account(Venue.GRVT, Quote(nano("100")), Quote(nano("90")), Quote(0), nano("10"), "CROSS")
    clinic.ports[Venue.GRVT].instead["account"] = poor
    monkeypatch.setenv("MAX_POSITION", "2")
    code, checks = clinic.run()
    assert code == 78
    assert "MAX_POSITION 2 needs 6" in checks["grvt account"]["detail"]
    assert checks["backpack account"]["state"] == "ok"


def test_leverage_that_is_not_the_configured_one(clinic: Clinic) -> None:
    (clinic.folder / "c.toml").write_text("[limits]\ngrvt_leverage = 5\n")
    code, checks = clinic.run("--config", "c.toml")
    assert code == 78
    assert "the configuration expects leverage 5" in checks["grvt account"]["detail"]


def test_a_size_that_one_venue_does_not_trade_and_an_unwind_that_cannot_be_built(
    clinic: Clinic,
) -> None:
    clinic.built = RehearsalFailed("emergency path: nothing fits")
    code, checks = clinic.run(size="0.505")
    assert code == 78
    assert "not a multiple of 0.01" in checks["sizes"]["detail"]
    assert checks["emergency"]["detail"] == "emergency path: nothing fits"


@pytest.mark.parametrize(("ms", "state"), [(4, "ok"), (20, "warn"), (80, "FAIL")])
def test_a_slow_disk(clinic: Clinic, monkeypatch: pytest.MonkeyPatch, ms: int, state: str) -> None:
    monkeypatch.setattr(
        doctor, "commit_times", lambda *_: CommitTimes(Ns(1_000_000), Ns(ms * 1_000_000))
    )
    code, checks = clinic.run()
    assert checks["disk"]["state"] == state
    assert code == (78 if state == "FAIL" else 0)


def test_a_disk_that_cannot_be_written_and_a_daemon_that_runs(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lease(clinic.folder / "state"):
        code, checks = clinic.run()
        assert (code, checks["state"]["state"]) == (0, "warn")
        assert "disk" not in checks
    for port in clinic.ports.values():
        port.closed = 0

    def full(*_: object) -> CommitTimes:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(doctor, "commit_times", full)
    code, checks = clinic.run()
    assert code == 78
    assert "disk is full; name one that is writable" in checks["state"]["detail"]


def test_keys_that_others_may_read(clinic: Clinic) -> None:
    env = clinic.folder / ".env"
    env.write_text("MAX_POSITION=1\n")
    env.chmod(0o644)
    code, checks = clinic.run()
    assert code == 78
    assert checks["keys"]["detail"] == ".env can be read by others: chmod 600 .env"
    env.chmod(0o600)
    for port in clinic.ports.values():
        port.closed = 0
    assert clinic.run()[1]["keys"]["state"] == "ok"


def test_S14_no_secret_is_printed(clinic: Clinic, capsys: pytest.CaptureFixture[str]) -> None:
    refused = VenueForbidden(f"bad key {KEYS['GRVT_API_KEY']}")
    clinic.ports[Venue.GRVT].instead["open"] = refused
    assert cli.main(["doctor", "--ticker", "ETH", "--size", "0.5"]) == 78
    out = capsys.readouterr().out
    assert KEYS["GRVT_API_KEY"] not in out
    assert "FAIL  grvt login" in out
    assert "bad key ***" in out
    assert out.endswith("NOT ready: 1 of 12 checks failed\n")


def test_commit_times_are_of_real_commits(tmp_path: Path) -> None:
    ticks = iter(range(0, 10_000_000, 1_000))
    took = disk.commit_times(tmp_path, lambda: Ns(next(ticks)))
    assert took == CommitTimes(Ns(1_000), Ns(1_000))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(sqlite3.OperationalError):
        disk.commit_times(tmp_path / "absent", lambda: Ns(0))

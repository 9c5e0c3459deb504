"""Public data, recordings and the simulator's process that cannot begin: one line, one code."""

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest

from daemon import cli, live_data, record, simulate
from daemon.config import ConfigError, RunConfig, load_config
from daemon.record_writer import TapeWriter
from exchanges.errors import UnknownTicker, VenueUnreachable
from strategy.domain import Instrument, Venue
from tests.builders import GRVT, WALL
from tests.unit.recovery_rig import Hands
from tests.unit.test_record import HEAD, snapshots, until


def config(folder: Path) -> RunConfig:
    given = {"ticker": "ETH", "size": "0.5", "log_file": "-"}
    return load_config(given, {}, cwd=folder, terminal=False)


# --- public data ---------------------------------------------------------------------------------


class Public:
    """A venue's public data, which may refuse to be loaded."""

    def __init__(self, raised: Exception | None = None) -> None:
        self.raised = raised
        self.closed = False

    async def open(self) -> None:
        """Connect to nothing."""

    async def close(self) -> None:
        self.closed = True

    async def load(self, base: str) -> Instrument:
        del base
        if self.raised is not None:
            raise self.raised
        return GRVT

    async def stream(self, sink: Any) -> None:
        """Tell nothing until cancelled."""
        del sink
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (UnknownTicker("not listed"), 2, "--ticker ETH: not listed"),
        (VenueUnreachable("silent"), 75, "silent; try again later"),
    ],
)
async def test_shadow_without_public_data_ends_in_one_line_and_leaves_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, code: int, said: str
) -> None:
    venues = {venue: Public(raised) for venue in Venue}
    monkeypatch.setattr(live_data, "public_venues", lambda *_: venues)
    async with asyncio.TaskGroup() as tasks:
        with pytest.raises(ConfigError, match=said) as failed:
            await live_data.start_live_feed(
                config(tmp_path), Hands(), lambda: 0.5, lambda *_: None, tasks, []
            )
    assert failed.value.exit_code == code
    assert [venue.closed for venue in venues.values()] == [True, True]


async def test_a_recorder_without_public_data_logs_the_refusal_and_returns_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    venues = {venue: Public(VenueUnreachable("silent")) for venue in Venue}
    monkeypatch.setattr(record, "public_venues", lambda *_: venues)
    monkeypatch.chdir(tmp_path)
    args = cli._parse("record", ["--ticker", "ETH", "--out", str(tmp_path / "out")])
    assert await record.record(args) == 75
    assert "silent; try again later" in capfd.readouterr().out


async def test_a_folder_that_cannot_be_made_ends_a_recording_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(record, "public_venues", lambda *_: {v: Public() for v in Venue})
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    args = cli._parse("record", ["--ticker", "ETH", "--out", str(tmp_path / "file" / "out")])
    assert await record.record(args) == 78
    assert "Not a directory" in capfd.readouterr().out


async def test_venues_that_show_no_book_end_a_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(record, "public_venues", lambda *_: {v: Public() for v in Venue})
    monkeypatch.setattr(record, "FIRST_BOOKS_SECONDS", 0.01)
    monkeypatch.chdir(tmp_path)
    args = cli._parse("record", ["--ticker", "ETH", "--out", str(tmp_path / "out")])
    assert await record.record(args) == 75
    assert "try again later" in capfd.readouterr().out
    assert list((tmp_path / "out").iterdir()) == []


def test_a_disk_that_refuses_the_end_of_a_file_too_leaves_the_part_and_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[OSError] = []
    writer = TapeWriter(tmp_path, HEAD, Hands(), told.append)

    def refuses(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    for entry in snapshots(WALL):
        writer.put(entry)
    writer.rotate()
    until(lambda: bool(writer.paths))
    monkeypatch.setattr("daemon.record_writer.TapeFile.append", refuses)
    monkeypatch.setattr("daemon.record_writer.TapeFile.finish", refuses)
    writer.put(snapshots(WALL)[0])
    writer.close()
    (bad,) = told
    assert bad.__notes__ == ["the file keeps its .part name: No space left on device"]


# --- the simulator's process ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ValueError("--book: no such file"), "--book: no such file"),
        (OSError(errno.EADDRINUSE, "Address already in use"), "cannot listen .Address already"),
    ],
)
async def test_a_simulator_that_cannot_start_is_one_line(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, said: str
) -> None:
    stopped: list[bool] = []

    class Host:
        def __init__(self, _: Any) -> None:
            """Serve nothing."""

        async def start(self) -> Any:
            raise raised

        async def stop(self) -> None:
            stopped.append(True)

    monkeypatch.setattr(simulate, "SimHost", Host)
    with pytest.raises(ConfigError, match=said):
        await simulate.simulate(cli._parse("simulate", []))
    assert stopped == ([True] if isinstance(raised, OSError) else [])

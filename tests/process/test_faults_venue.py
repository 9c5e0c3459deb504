"""Faults of the venues that only the wire has, on a real process judged by the venues' books."""

import datetime as dt
import os
import re
import signal
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.process.crashing import Crasher, Venues, finished, said, truth
from tests.process.faults_rig import (
    CROSS,
    HELD,
    LIVE,
    PAIR,
    QUIET,
    Start,
    inject,
    orders_of,
    settled,
)
from tests.process.programs import Simulator, slack, until


def taken(venues: Simulator) -> int:
    return sum(venues.ask("/faults")["taken"].values())


def flat(venues: Simulator, worst: float = 0.5) -> None:
    found = truth(venues)
    assert venues.positions() == ("0", "0")
    assert found.worst_net <= worst + 1e-9
    assert found.doubled == ()
    assert found.longest_naked <= 15 * slack()


@pytest.mark.parametrize("venue", ["backpack", "grvt"])
def test_F14_a_coarser_tick_is_refused_once_then_read_told_and_kept_to(
    venues: Venues, begin: Start, venue: str
) -> None:
    """One price in ten lies on the coarser tick by chance, so it trades until one did not."""
    run = begin(venues, *CROSS, "--iter", "0", "--sleep", "1")
    until(lambda: venues.positions() == PAIR, 30, "a hedged position")
    inject(venues, venue, "F14", count=1000)
    said(run, f"[ALERT] instrument_changed venue={venue}", 60)
    before, refused = len(orders_of(run)), taken(venues)
    until(lambda: len(orders_of(run)) > before + 3, 40, "trading on the new tick")
    assert taken(venues) <= refused + 1, "what was on its way, and nothing more"
    os.kill(run.pid, signal.SIGTERM)
    assert finished(run, 45) == 0, run.said()[-3000:]
    settled(venues, begin)


def test_F15_a_hedge_below_a_minimum_that_was_raised_is_refused_once_and_hedged_when_allowed(
    venues: Venues, begin: Start
) -> None:
    run = begin(venues, *CROSS, "--iter", "0", "--sleep", "1")
    until(lambda: venues.positions() == PAIR, 30, "a hedged position")
    inject(venues, "grvt", "F15", count=1)
    until(lambda: taken(venues) == 1, 60, "an order that the new rules forbid")
    said(run, "[VENUE] refused", 20)
    os.kill(run.pid, signal.SIGTERM)
    assert finished(run, 45) == 0, run.said()[-3000:]
    settled(venues, begin)


def test_F15_exposure_that_the_hedge_venue_calls_too_small_is_undone_or_named_never_kept(
    venues: Venues, begin: Start
) -> None:
    """The minimum stays raised: what has filled on the primary can be hedged no more."""
    run = begin(venues, *CROSS, "--iter", "0", "--sleep", "1")
    until(lambda: venues.positions() == PAIR, 30, "a hedged position")
    inject(venues, "grvt", "F15", count=1000)
    assert finished(run, 60) == 77, run.said()[-3000:]
    text = run.said()
    assert 'latch mode=REDUCING reason="naked_exposure: net ' in text
    assert "cannot be hedged, minimum of grvt 10" in text
    assert "[ALERT] latch mode=HALTED" in text
    assert "[OPEN] order" not in text[text.index("latch mode=REDUCING") :]
    assert truth(venues).doubled == ()
    assert truth(venues).worst_net <= 0.5 + 1e-9


@pytest.mark.parametrize("venue", ["backpack", "grvt"])
def test_F17_self_trade_prevention_is_definite_and_alerts(
    venues: Venues, begin: Start, venue: str
) -> None:
    inject(venues, venue, "F17", count=1)
    run = begin(venues, *CROSS, "--iter", "1")
    assert finished(run, 45) == 0, run.said()[-3000:]
    assert taken(venues) == 1
    assert f"[ALERT] self_trade venue={venue}" in run.said()
    flat(venues)


def test_F27_a_fill_in_two_hundred_parts_is_one_hedge(venues: Venues, begin: Start) -> None:
    inject(venues, "backpack", "F27", count=1, parts=200)
    run = begin(venues, *QUIET[:-4], "--primary-mode", "bbo", "--hedge-mode", "market")
    until(lambda: taken(venues) == 1, 40, "a fill in parts")
    until(lambda: abs(venues.net()) < 0.01, 20, "its hedge")
    os.kill(run.pid, signal.SIGTERM)
    assert finished(run, 30) == 0, run.said()[-3000:]
    text = run.said()
    assert "foreign" not in text
    assert text.count("[SMART_ROUTING] starting") <= text.count("[OPEN] order") + 3
    assert abs(venues.net()) < 0.01
    assert truth(venues).doubled == ()


@pytest.mark.parametrize("venue", ["backpack", "grvt"])
def test_F57_flooded_book_streams_delay_no_hedge_and_drop_no_private_event(
    venues: Venues, begin: Start, venue: str
) -> None:
    inject(venues, venue, "F57", messages=50)
    run = begin(venues, *CROSS, "--iter", "1")
    assert finished(run, 50) == 0, run.said()[-3000:]
    late = [int(x) for x in re.findall(r" elapsed_ms=(\d+)", run.said())]
    assert late
    assert max(late) <= 5_000 * slack()
    flat(venues)


def test_F77_flatten_twice_and_halt_meanwhile_is_one_flatten(
    venues: Venues, begin: Start, crasher: Crasher, tmp_path: Path
) -> None:
    run = begin(venues, *HELD)
    until(lambda: venues.positions() == PAIR, 30, "a hedged position")
    state = ("--state-dir", str(tmp_path / "run" / "state"))
    env = venues.environment()
    asked = [
        crasher.start(tmp_path / f"ask{n}", command, *state, env=env)
        for n, command in enumerate(("flatten", "flatten", "halt", "flatten"))
    ]
    assert finished(run, 40) == 77, run.said()[-3000:]
    assert {finished(a, 40) for a in asked} <= {0, 75}, [a.said() for a in asked]
    assert finished(asked[0], 1) == 0
    assert run.said().count("[SAFETY] latch mode=HALTED") == 1
    assert run.said().count("[SAFETY] latch mode=REDUCING") == 1
    flat(venues)
    again = crasher.start(tmp_path / "again", "flatten", *LIVE, *state, env=env)
    assert finished(again, 40) == 0, again.said()[-2000:]
    flat(venues)


# --- TLS -----------------------------------------------------------------------------------------


class _Answer(BaseHTTPRequestHandler):
    asked = 0

    def do_POST(self) -> None:
        type(self).asked += 1

    do_GET = do_POST  # noqa: N815 - the base class's name

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def imposter(tmp_path: Path) -> Iterator[str]:
    """A server with a certificate that nobody signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "cert.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    _Answer.asked = 0
    server = HTTPServer(("localhost", 0), _Answer)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # broken off
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    thread.join(5)
    server.server_close()


@pytest.mark.parametrize("address", ["GRVT_EDGE_URL", "GRVT_MARKET_DATA_URL", "BACKPACK_API_URL"])
def test_F58_a_certificate_that_nobody_signed_ends_the_start_and_no_secret_is_sent(
    venues: Venues, begin: Start, imposter: str, address: str
) -> None:
    run = begin(venues, *CROSS, "--iter", "1", **{address: imposter})
    assert finished(run, 40) == 75, run.said()[-2000:]
    assert _Answer.asked == 0, "no request got through"
    assert "Traceback" not in run.said()
    assert venues.ask("/state")["backpack"]["orders_received"] == 0


def test_F43_two_instances_that_start_flat_at_the_same_time_both_stop_and_leave_nothing(
    crasher: Crasher, tmp_path: Path
) -> None:
    calm = Venues(crasher, tmp_path / "venues", "--speed", "6")
    try:
        env = calm.environment()
        runs = [
            crasher.start(tmp_path / f"run{n}", *QUIET[:-4], "--primary-mode", "bbo", env=env)
            for n in range(2)
        ]
        until(lambda: any(r.status is not None for r in runs), 40, "one of them notices")
        stopped = next(r for r in runs if r.status is not None)
        assert stopped.status in (77, 78), stopped.said()[-2000:]
        for run in runs:
            with suppress(ProcessLookupError, AssertionError):  # it may be about to end by itself
                said(run, "[RECONCILE] reconciled", 10)
                os.kill(run.pid, signal.SIGTERM)
        assert {finished(r, 40) for r in runs} <= {0, 77, 78}
        assert truth(calm).doubled == ()
    finally:
        for n in range(2):
            crasher.kill_left(tmp_path / f"run{n}")
        calm.close()

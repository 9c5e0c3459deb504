"""``hedged doctor``: everything that can be checked before real orders, without placing one.

Each check is one line; what depends on a failed one is left out. The only write that is asked of a
venue is a cancel of an order that nobody has: it shows that the key may trade.
"""

import argparse
import asyncio
import json
import os
import random  # noqa: TID251 - one seeded instance, for back-off jitter only
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from daemon.assembly import Seams, live_ports
from daemon.clock import SystemClock
from daemon.config import ConfigError, RunConfig, load_config
from daemon.connecting import EXIT_UNREACHABLE, MAX_SKEW, clock_offset
from daemon.core import Settings
from daemon.disk import SLOW, TOO_SLOW, commit_times
from daemon.emergency import DRY_ID, RehearsalFailed, rehearse
from daemon.lease import Lease, LeaseHeld
from daemon.loop import EXIT_HUMAN, EXIT_OK
from daemon.settings import check_sizes, limits_of, params_of
from exchanges.errors import VenueError, VenueThrottled, VenueUnreachable
from exchanges.port import InDoubt, VenuePort
from exchanges.transport.redact import Redactor
from strategy.domain import (
    Instrument,
    OrderRef,
    Px,
    StreamState,
    Surface,
    Venue,
    VenueEvent,
    bps_text,
    notional,
    plain,
    ratio_bps,
)

OK, WARN, FAIL = "ok", "warn", "FAIL"
STREAMS_LIMIT = 15.0
"""Seconds for both streams of a venue to be up."""
READ_LIMIT = 20.0


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the result: ``state`` is ``ok``, ``warn`` or ``FAIL``."""

    check: str
    venue: str
    state: str
    detail: str
    unreachable: bool = False
    """It failed only because the venue did not answer."""


Step = tuple[str, Callable[[], Awaitable[tuple[str, str]]]]


async def doctor(args: argparse.Namespace) -> int:
    """Check and print; returns 0 when ready, 75 when a venue only did not answer, else 78.

    Raises:
        ConfigError: the configuration itself cannot be used.
    """
    flags = vars(args) | {"venues": "live"}
    config = load_config(flags, os.environ, cwd=Path.cwd(), terminal=sys.stdout.isatty())
    redact = Redactor(config.credentials.secrets())
    checks = [*_host(config, flags.get("env_file"))]
    checks += await Venues(config, redact.add).examine()
    told = [asdict(c) | {"detail": redact.text(c.detail)} for c in checks]
    failed = [c for c in checks if c.state == FAIL]
    if args.json:
        for row in told:
            del row["unreachable"]
        sys.stdout.write(json.dumps({"ready": not failed, "checks": told}, indent=2) + "\n")
    else:
        for row in told:
            what = f"{row['venue']} {row['check']}".strip()
            sys.stdout.write(f"{row['state']:<5} {what:<22} {row['detail']}\n")
        verdict = f"NOT ready: {len(failed)} of {len(checks)} checks failed" if failed else "ready"
        sys.stdout.write(f"{verdict}\n")
    if not failed:
        return EXIT_OK
    return EXIT_UNREACHABLE if all(c.unreachable for c in failed) else EXIT_HUMAN


# --- this machine --------------------------------------------------------------------------------


def _host(config: RunConfig, env_file: str | None) -> Iterator[Check]:
    """Look at the state directory, its disk, and who may read the credentials."""
    folder, clock = config.state_dir, SystemClock()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Lease(folder):
            yield Check("state", "", OK, f"{folder} is ours to write")
            took = commit_times(folder, clock.mono)
    except LeaseHeld as held:
        yield Check("state", "", WARN, f"{held}; its disk was not measured")
    except (OSError, sqlite3.Error) as bad:
        yield Check("state", "", FAIL, f"{folder}: {bad}; name one that is writable")
    else:
        state = OK if took.p95 <= SLOW else WARN if took.p95 <= TOO_SLOW else FAIL
        remedy = "" if state == OK else "; every order waits for a commit: use a faster disk"
        yield Check("disk", "", state, f"{took}{remedy}")
    keys = Path(env_file or ".env")
    if keys.is_file():
        open_to_all = keys.stat().st_mode & 0o077
        remedy = f"{keys} can be read by others: chmod 600 {keys}"
        yield Check("keys", "", FAIL if open_to_all else OK, remedy if open_to_all else str(keys))


# --- the venues ----------------------------------------------------------------------------------


class Venues:
    """Asks both venues, one after the other.

    Args:
        config: of a live run.
        learned: told every secret that a venue hands out.
    """

    def __init__(self, config: RunConfig, learned: Callable[[str], None]) -> None:
        self._config = config
        self._clock = SystemClock()
        rng = random.Random(config.seed)  # noqa: S311 - jitter, not a secret
        self._ports = live_ports(config, Seams(self._clock, rng, lambda: DRY_ID, learned))
        self._rules: dict[Venue, Instrument] = {}
        self._mids: dict[Venue, Px] = {}

    async def examine(self) -> list[Check]:
        """Run every check of both venues, and of the two together."""
        found: list[Check] = []
        try:
            for port in self._ports.values():
                found += await self._venue(port)
        finally:
            for port in self._ports.values():
                await port.close()
        if len(self._rules) == len(self._ports):
            found += self._together()
        return found

    async def _venue(self, port: VenuePort) -> list[Check]:
        steps: tuple[Step, ...] = (
            ("login", lambda: self._login(port)),
            ("clock", lambda: self._offset(port)),
            ("instrument", lambda: self._instrument(port)),
            ("fees", lambda: self._fees(port)),
            ("book", lambda: self._book(port)),
            ("account", lambda: self._account(port)),
            ("positions", lambda: self._held(port)),
            ("trading", lambda: self._may_trade(port)),
            ("streams", lambda: self._streams(port)),
        )
        found: list[Check] = []
        for name, step in steps:
            check = await self._run(port.venue, name, step)
            found.append(check)
            if check.state == FAIL and name in ("login", "instrument"):
                break  # without these nothing else can be asked
        return found

    async def _run(
        self, venue: Venue, name: str, step: Callable[[], Awaitable[tuple[str, str]]]
    ) -> Check:
        try:
            async with asyncio.timeout(READ_LIMIT):
                state, detail = await step()
        except (VenueUnreachable, VenueThrottled, TimeoutError) as bad:
            why = f"{str(bad) or 'no answer'}; try again later"
            return Check(name, venue.value, FAIL, why, unreachable=True)
        except VenueError as bad:
            return Check(name, venue.value, FAIL, str(bad))
        return Check(name, venue.value, state, detail)

    async def _login(self, port: VenuePort) -> tuple[str, str]:
        await port.open()
        return OK, "the key is taken"

    async def _offset(self, port: VenuePort) -> tuple[str, str]:
        offset = await clock_offset(port, self._clock)
        said = f"ours is {-offset // 1_000_000} ms ahead"
        if abs(offset) > MAX_SKEW:
            return FAIL, f"{said}: signatures are refused; fix NTP"
        return OK, said

    async def _instrument(self, port: VenuePort) -> tuple[str, str]:
        rules = await port.load(self._config.ticker)
        self._rules[port.venue] = rules
        said = (
            f"{rules.symbol}, tick {plain(rules.tick)}, step {plain(rules.step)}, "
            f"least {plain(rules.min_qty)} and {plain(rules.min_notional)} {rules.quote}"
        )
        return (OK, said) if rules.tradable else (FAIL, f"{said}: the market is not open")

    async def _fees(self, port: VenuePort) -> tuple[str, str]:
        fees = await port.fees()
        return OK, f"maker {bps_text(fees.maker)} bps, taker {bps_text(fees.taker)} bps"

    async def _book(self, port: VenuePort) -> tuple[str, str]:
        book = await port.book(10)
        mid = book.mid
        if mid is None or not book.sane:
            return FAIL, "no book with two sides"
        self._mids[port.venue] = mid
        spread = ratio_bps(book.asks[0][0] - book.bids[0][0], mid)
        return OK, f"mid {plain(mid)}, spread {bps_text(spread)} bps"

    async def _account(self, port: VenuePort) -> tuple[str, str]:
        account = await port.account()
        mid = self._mids.get(port.venue, Px(0))
        wanted = dict(limits_of(self._config).leverage).get(port.venue)
        most = notional(mid, self._config.max_position)
        needed = most * 10**9 // max(account.leverage, 1)
        said = (
            f"equity {plain(account.equity)}, free {plain(account.available)}, "
            f"leverage {plain(account.leverage)} ({account.margin_mode})"
        )
        if wanted is not None and wanted != account.leverage:
            return FAIL, f"{said}; the configuration expects leverage {plain(wanted)}"
        if account.available < needed:
            short = f"MAX_POSITION {plain(self._config.max_position)} needs {plain(needed)}"
            return FAIL, f"{said}; {short}: deposit, or lower it"
        return OK, said

    async def _held(self, port: VenuePort) -> tuple[str, str]:
        held, resting = await port.position(), await port.open_orders()
        if not held.qty and not resting:
            return OK, "flat, no open orders"
        said = f"position {plain(held.qty)}, {len(resting)} open orders"
        return WARN, f"{said}: a start refuses what its journal does not explain"

    async def _may_trade(self, port: VenuePort) -> tuple[str, str]:
        """Cancel an order that nobody has: a key that may not trade is refused even that."""
        symbol = self._rules[port.venue].symbol
        answer = await port.cancel(OrderRef(DRY_ID, symbol, ""))
        if isinstance(answer, InDoubt):
            return FAIL, f"a cancel is refused: {answer.why}; may the key trade?"
        return OK, "the key may cancel; that it may place orders, only the first order shows"

    async def _streams(self, port: VenuePort) -> tuple[str, str]:
        up: set[Surface] = set()
        done = asyncio.Event()

        def heard(event: VenueEvent) -> None:
            if isinstance(event, StreamState) and event.up:
                up.add(event.surface)
                if len(up) == len(Surface):
                    done.set()

        async with asyncio.TaskGroup() as tasks:
            streaming = tasks.create_task(port.stream(heard))
            try:
                async with asyncio.timeout(STREAMS_LIMIT):
                    await done.wait()
            except TimeoutError:
                down = ", ".join(s.value for s in Surface if s not in up)
                return FAIL, f"not up after {STREAMS_LIMIT:.0f} s: {down}; is the address blocked?"
            finally:
                streaming.cancel()
        return OK, "public and private are up"

    def _together(self) -> Iterator[Check]:
        """Judge what needs both venues: sizes, the basis, and the emergency path."""
        try:
            check_sizes(self._config, self._rules)
            yield Check("sizes", "", OK, f"{plain(self._config.size)} is traded by both")
        except ConfigError as bad:
            yield Check("sizes", "", FAIL, str(bad))
        if len(self._mids) == len(Venue):
            apart = self._mids[Venue.GRVT] - self._mids[Venue.BACKPACK]
            basis = bps_text(ratio_bps(apart, self._mids[Venue.BACKPACK]))
            yield Check("basis", "", OK, f"GRVT is {basis} bps over Backpack")
        settings = Settings(params_of(self._config), limits_of(self._config))
        try:
            built = rehearse(self._rules, self._ports, settings, self._clock.now())
        except RehearsalFailed as bad:
            yield Check("emergency", "", FAIL, str(bad))
        else:
            yield Check("emergency", "", OK, f"{built} orders of the unwind built and signed")

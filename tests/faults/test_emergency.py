"""The emergency path: built dry for both venues and signs, and proved or its residual named."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.core import Settings
from daemon.dark import DarkPort, remember, remembered
from daemon.emergency import DRY_ID, RehearsalFailed, prove, rehearse
from daemon.journal import Journal
from exchanges.errors import VenueUnreachable
from exchanges.port import (
    CancelAccepted,
    CancelOutcome,
    InDoubt,
    Payload,
    Refused,
    Sink,
    VenuePort,
)
from safety.limits import Limits
from strategy.domain import (
    ClientId,
    Instrument,
    Ns,
    OrderRef,
    OrderRequest,
    OrderView,
    Position,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Status,
    Venue,
    bps,
    nano,
)
from tests.builders import BACKPACK, GRVT, LIMITS, WALL, at, draft, params, planned, px, qty, world

SETTINGS = Settings(params(), LIMITS)
RULES = {Venue.BACKPACK: BACKPACK, Venue.GRVT: GRVT}


class Signer:
    """Keeps what it would sign."""

    def __init__(self, bad: bool = False) -> None:
        self.signed: list[OrderRequest] = []
        self.bad = bad

    def prepare(self, request: OrderRequest) -> Payload:
        if self.bad:
            raise ValueError("no key")
        self.signed.append(request)
        return Payload(request, b"", (), 0, "")


def built(
    rules: Mapping[Venue, Instrument] = RULES, limits: Limits = LIMITS, base_is_eth: bool = True
) -> dict[Venue, Signer]:
    signers = {venue: Signer() for venue in Venue}
    settings = Settings(params(base_is_eth=base_is_eth), limits)
    orders = rehearse(rules, signers, settings, at())
    assert orders == sum(len(s.signed) for s in signers.values())
    return signers


def test_REQ_15_both_venues_and_both_signs_are_planned_approved_and_signed() -> None:
    for signer in built().values():
        assert {request.side for request in signer.signed} == set(Side)
        assert all(r.reduce_only and r.client_id == DRY_ID for r in signer.signed)


@pytest.mark.parametrize(
    ("tick", "step", "least", "base_is_eth"),
    [
        ("0.1", "0.00001", "0.0001", False),
        ("0.0001", "1", "10", False),
        ("0.01", "0.01", "0", True),
    ],
    ids=["BTC", "SOL-like", "no minimum"],
)
def test_REQ_15_any_instrument_can_be_rehearsed(
    tick: str, step: str, least: str, base_is_eth: bool
) -> None:
    rules = {
        venue: replace(
            rule, tick=Px(nano(tick)), step=Qty(nano(step)), min_qty=Qty(nano(least)),
            min_notional=Quote(nano("20")),
        )
        for venue, rule in RULES.items()
    }  # fmt: skip
    assert all(signer.signed for signer in built(rules, base_is_eth=base_is_eth).values())


def test_REQ_15_an_order_that_cannot_be_signed_or_approved_refuses_the_start() -> None:
    broken = {Venue.BACKPACK: Signer(), Venue.GRVT: Signer(bad=True)}
    with pytest.raises(RehearsalFailed, match="grvt: no key"):
        rehearse(RULES, broken, SETTINGS, at())
    tight = replace(LIMITS, emergency_cap=bps(0))
    with pytest.raises(RehearsalFailed, match="price_cap"):
        rehearse(RULES, {v: Signer() for v in Venue}, Settings(params(), tight), at())


class StillPort:
    """A venue that answers from memory; the parts of a port that are asked here."""

    def __init__(self, venue: Venue, held: str = "0", orders: int = 0) -> None:
        self.venue = venue
        self.held = held
        self.orders = orders
        self.reachable = True
        self.opened = 0
        self.streamed = False

    async def open(self) -> None:
        self.opened += 1
        if not self.reachable:
            self.reachable = True
            raise VenueUnreachable("down")

    async def close(self) -> None:
        self.opened = -1

    async def load(self, base: str) -> Instrument:
        del base
        return RULES[self.venue]

    def prepare(self, request: OrderRequest) -> Payload:
        return Payload(request, b"", (), 0, "")

    async def submit(self, payload: Payload) -> InDoubt:
        del payload
        return InDoubt("reached")

    async def cancel(self, ref: OrderRef) -> CancelOutcome:
        del ref
        return CancelAccepted(None)

    async def cancel_all(self) -> CancelOutcome:
        return CancelAccepted(None)

    async def lookup(self, ref: OrderRef, since: Ns) -> InDoubt:
        del ref, since
        return InDoubt("reached")

    async def position(self) -> Position:
        if not self.reachable:
            raise VenueUnreachable("down")
        return Position(self.venue, "ETH", SignedQty(nano(self.held)), Ns(0))

    async def open_orders(self) -> tuple[OrderView, ...]:
        one = OrderView(
            self.venue, ClientId(1), "v1", "ETH", Side.BUY, qty(1), px(1), qty(0), Status.OPEN, ""
        )
        return (one,) * self.orders

    async def stream(self, sink: Sink) -> None:
        del sink
        self.streamed = True


def ports(*still: StillPort) -> dict[Venue, VenuePort]:
    return {port.venue: port for port in still}  # type: ignore[misc]  # only what is asked


async def test_flat_is_proved_by_both_venues_positions_orders_and_no_doubt() -> None:
    proof = await prove(ports(StillPort(Venue.BACKPACK), StillPort(Venue.GRVT)), world())
    assert proof.left == ()
    assert proof.positions == {Venue.BACKPACK: "0", Venue.GRVT: "0"}


async def test_dust_is_flat_and_everything_else_is_named() -> None:
    dust = ports(StillPort(Venue.BACKPACK, "0.00009"), StillPort(Venue.GRVT, "0.005"))
    assert (await prove(dust, world())).left == ()
    w = planned(world(), draft())
    held = ports(StillPort(Venue.BACKPACK, "0.5", orders=2), StillPort(Venue.GRVT, "-0.5"))
    left = (await prove(held, w)).left
    assert left == ("backpack 0.5", "backpack 2 open orders", "grvt -0.5", "order 1 in doubt")


async def test_F54_a_venue_that_does_not_answer_is_a_residual_by_the_books() -> None:
    dead = StillPort(Venue.GRVT)
    dead.reachable = False
    proof = await prove(ports(StillPort(Venue.BACKPACK), dead), world())
    assert str(proof) == "grvt unreadable (down), our books say 0"
    assert proof.positions[Venue.GRVT] == "unreadable"


class Clock:
    """Counts the waits."""

    def __init__(self) -> None:
        self.slept = 0

    def wall(self) -> Ns:
        return Ns(WALL)

    def mono(self) -> Ns:
        return Ns(0)

    async def sleep(self, seconds: float) -> None:
        del seconds
        self.slept += 1


READS = ("open_orders", "position", "balance", "fees", "funding", "account", "mark", "server_time")


async def test_F54_a_dark_venue_is_neither_read_nor_traded_until_it_answers() -> None:
    still, clock = StillPort(Venue.GRVT), Clock()
    dark = DarkPort(still, "ETH", clock)  # type: ignore[arg-type]  # only what is asked
    ref, request = OrderRef(ClientId(1), "ETH", ""), payload_request()
    for name in READS:
        with pytest.raises(VenueUnreachable, match="not answered yet"):
            await getattr(dark, name)()
    for awaited in (
        dark.load("ETH"),
        dark.fills(Ns(0)),
        dark.book(1),
        dark.funding_payments(Ns(0)),
    ):
        with pytest.raises(VenueUnreachable):
            await awaited
    with pytest.raises(ValueError, match="not answered yet"):
        dark.prepare(request)
    sent = await dark.submit(Payload(request, b"", (), 0, ""))
    assert isinstance(sent, Refused)
    assert sent.code == "not_sent"
    assert isinstance(await dark.cancel(ref), InDoubt)
    assert isinstance(await dark.cancel_all(), InDoubt)
    assert await dark.lookup(ref, Ns(0)) == InDoubt("venue not reached")
    assert not dark.readiness().session


async def test_F54_a_dark_venue_that_answers_is_a_venue_like_any_other() -> None:
    still, clock = StillPort(Venue.GRVT), Clock()
    still.reachable = False
    dark = DarkPort(still, "ETH", clock)  # type: ignore[arg-type]  # only what is asked
    await dark.stream(lambda _: None)
    assert (still.opened, clock.slept, still.streamed) == (2, 1, True)
    assert (await dark.position()).venue is dark.venue is Venue.GRVT
    request = payload_request()
    assert await dark.submit(dark.prepare(request)) == InDoubt("reached")
    ref = OrderRef(ClientId(1), "ETH", "")
    assert isinstance(await dark.cancel(ref), CancelAccepted)
    assert isinstance(await dark.cancel_all(), CancelAccepted)
    assert await dark.lookup(ref, Ns(0)) == InDoubt("reached")
    await dark.close()
    assert still.opened == -1


def payload_request() -> OrderRequest:
    w = planned(world(), draft())
    return w.orders[ClientId(1)].request


def test_F54_the_rules_of_a_dark_venue_come_from_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "live.db", Ns(WALL))
    assert remembered(journal, Venue.GRVT) is None
    remember(journal, RULES)
    known = remembered(journal, Venue.GRVT)
    assert known is not None
    assert known[0] == GRVT
    assert known[1].taker == 0
    journal.close()

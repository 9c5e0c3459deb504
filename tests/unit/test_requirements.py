"""Requirements that no single module owns, each named after the failure it forbids."""

import asyncio
import base64
import csv
import hashlib
import inspect
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path

import pytest
from aiohttp import web

from daemon.clock import SystemClock
from exchanges.backpack.venue import BackpackVenue
from exchanges.grvt.venue import GrvtVenue
from exchanges.port import VenuePort
from exchanges.simulator.inprocess import InProcessVenue
from exchanges.transport.rest import RestClient
from safety.guards import Trip
from safety.reasons import Reason
from strategy.depth import HedgePrice, find_hedge_price_with_liquidity
from strategy.domain import Ns, Purpose, Px, Side, Venue, bps, nano
from strategy.events import CyclePhase
from strategy.world import Leg
from tests.builders import GRVT, SECOND, book, params, px, qty, with_book
from tests.harness import Chaos, Harness
from tests.unit.test_router import exposed, placed, step

ADAPTERS = (BackpackVenue, GrvtVenue, InProcessVenue)


async def test_REQ_1_a_slow_venue_never_blocks_the_loop(unused_tcp_port: int) -> None:
    """The predecessor awaited a blocking call; here the loop keeps turning while a venue stalls."""

    async def stall(_: web.Request) -> web.Response:
        await asyncio.sleep(0.6)
        return web.Response(text="{}")

    app = web.Application()
    app.router.add_get("/", stall)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    client = RestClient()
    await client.open()
    clock, turns = SystemClock(), 0
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(
            client.request("GET", f"http://127.0.0.1:{unused_tcp_port}/", timeout=5.0)
        )
        while not asked.done():
            await clock.sleep(0.01)
            turns += 1
    assert asked.result().status == 200
    assert turns > 20
    await client.close()
    await runner.cleanup()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_REQ_1_adapter_reads_are_truly_async(adapter: type) -> None:
    for name in ("submit", "cancel", "lookup", "position", "open_orders", "fills", "book"):
        assert inspect.iscoroutinefunction(getattr(adapter, name)), f"{adapter.__name__}.{name}"


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_REQ_14_adapters_share_one_protocol_to_the_parameter(adapter: type) -> None:
    """A signature that drifts fails here at run time, and in the type checker before."""
    for name, wanted in inspect.getmembers(VenuePort, inspect.isfunction):
        if name.startswith("_"):
            continue
        have = inspect.signature(getattr(adapter, name))
        need = inspect.signature(wanted)
        assert list(have.parameters) == list(need.parameters), f"{adapter.__name__}.{name}"


@pytest.mark.parametrize("name", ["grvt-pysdk", "bpx-py"])
def test_REQ_41_the_sdks_are_installed_unpatched(name: str) -> None:
    """The predecessor's fix lived in a patched copy on one branch."""
    installed = distribution(name)
    record = installed.read_text("RECORD")
    assert record is not None
    checked = 0
    for row in csv.reader(record.splitlines()):
        path, digest = row[0], row[1]
        if not path.endswith(".py") or not digest:
            continue
        kind, _, wanted = digest.partition("=")
        content = Path(str(installed.locate_file(path))).read_bytes()
        found = base64.urlsafe_b64encode(hashlib.new(kind, content).digest()).rstrip(b"=")
        assert found.decode() == wanted, path
        checked += 1
    assert checked > 5


def test_REQ_7_every_hedge_order_has_a_short_life_of_its_own() -> None:
    """Cancelling a coroutine must not orphan an order: the venue itself ends each one."""
    _, intents = step(exposed(), params(), 0)
    assert placed(intents)[0].draft.life <= params().max_unhedged
    _, intents = step(exposed(), params(passive=Ns(2 * SECOND)), 0)
    assert placed(intents)[0].draft.life <= 4 * SECOND
    _, intents = step(exposed(), params(passive=Ns(0)), 0)
    assert placed(intents)[0].draft.life <= 5 * SECOND


@pytest.mark.parametrize("tick", ["0.01", "0.1", "0.5"])
def test_REQ_8_ticks_come_from_the_instrument_only(tick: str) -> None:
    """A tick of ten cents was once taken for ten dollars."""
    w = exposed()
    rules = replace(GRVT, tick=Px(nano(tick)))
    leg: Leg = replace(w.hedge_leg, instrument=rules)
    w = replace(w, legs={**w.legs, Venue.GRVT: leg})
    w = with_book(w, book(bids=[("3000.00", "5")], asks=[("3001.00", "5")]))
    (place,) = placed(step(w, params(), 0)[1])
    assert place.draft.px == px("3000.00") + nano(tick)
    found = find_hedge_price_with_liquidity(
        book(asks=[("3000.00", "1")], bids=[("2999", "1")]), Side.BUY, qty("1"), bps(5), rules
    )
    assert isinstance(found, HedgePrice)
    assert found.px % nano(tick) == 0


def test_REQ_11_a_chunked_roll_back_totals_the_target_exactly() -> None:
    """Thirteen chunks of a 1.0 target once added up to 1.04, then to -2.1."""
    h = Harness(21, params(size=qty("1"), max_position=qty("1"), iterations=0,
                           fill_timeout=Ns(SECOND)))  # fmt: skip
    h.run(300, lambda: h.core.world.cycle.phase is CyclePhase.UNWIND)
    assert h.core.world.primary.position == nano("1")
    h.core.trip(Trip(Reason.OPERATOR, "test"), h.now())
    h.run(60, lambda: h.core.world.mode.name == "HALTED")
    assert [port.truth for port in h.ports.values()] == [0, 0]
    clips = [
        o for e in h.engines.values() for o in e.orders.values()
        if o.request.reduce_only and not o.request.post_only and o.cum
    ]  # fmt: skip
    assert clips
    assert all(o.request.qty <= nano("0.2") for o in clips)
    h.journal.close()


def test_REQ_12_a_hedge_is_judged_by_its_fills_to_the_lot() -> None:
    """Not by a position read after a sleep, and not by nine tenths of it."""
    h = Harness(22, params(iterations=1, fill_timeout=Ns(SECOND)))
    h.run(240, lambda: h.core.world.cycle.phase is CyclePhase.DONE)
    filled = h.sink.events("SMART_ROUTING", "filled")
    assert filled
    hedged = sum(nano(row["filled"]) for row in filled)
    truth = sum(f.qty for f in h.engines[Venue.GRVT].fills if f.account == "a")
    assert hedged == truth
    for row in filled:
        assert nano(row["avg_price"]) > 0
        assert row["fee_bps"] != "unknown"
    h.journal.close()


def test_REQ_6_a_create_is_never_sent_twice_under_two_names() -> None:
    """An unanswered create is resolved before anything replaces it."""
    h = Harness(23, params(iterations=0, fill_timeout=Ns(SECOND)), chaos=Chaos(ack_lost=400))
    h.run(60)
    live: dict[str, list[int]] = {}
    for request in h.sent:
        if request.purpose is Purpose.HEDGE:
            live.setdefault(request.symbol, []).append(request.client_id)
    ids = [i for group in live.values() for i in group]
    assert len(ids) == len(set(ids))
    assert abs(h.truth()) <= nano("0.5")
    h.journal.close()

"""Defects that were found once, each as the sequence of events that showed it."""

from dataclasses import replace

import pytest

from daemon.core import Send
from exchanges.port import Found, InDoubt, Lookup, NotFound
from exchanges.simulator.model import NewOrder, SimOrder
from strategy.decide import exposed, unhedged
from strategy.domain import (
    Fill,
    Mode,
    Now,
    Ns,
    OrderRef,
    OrderRequest,
    OrderView,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Status,
    Tif,
    Venue,
    VenueEvent,
    nano,
)
from strategy.events import CyclePhase, LatchMoved, Seen
from strategy.params import HedgeMode
from tests.builders import LIMITS, SECOND, params, qty, with_position, world
from tests.harness import ACCOUNT, MS, START, Chaos, Harness, view_of


def episode(seed: int, **changes: object) -> Harness:
    return Harness(seed, params(iterations=0, fill_timeout=Ns(SECOND), **changes))


def halted(h: Harness) -> bool:
    return h.core.world.mode is Mode.HALTED


def truths(h: Harness) -> list[int]:
    return [port.truth for port in h.ports.values()]


def test_F54_a_hedge_venue_that_is_gone_ends_in_an_undone_primary() -> None:
    """One order in doubt on a venue that answers nothing kept the primary naked without bound."""
    h = episode(5)
    send, down = h._send, [False]
    h.ports[Venue.GRVT].fails = lambda: down[0]

    def lossy(command: Send) -> None:
        before = h.chaos
        if down[0] and command.payload.request.venue is Venue.GRVT:
            h.chaos = Chaos(never_arrived=1000)
        send(command)
        h.chaos = before

    h._send = lossy  # type: ignore[method-assign]
    h.run(2)
    down[0] = True
    h.run(120)
    assert abs(h.truth()) < nano("0.01")
    assert h.sink.events("EMERGENCY", "hedge_late")
    down[0] = False
    h.run(60, lambda: h.core.world.hedge is None)
    assert h.core.world.hedge is None
    assert h.core.world.failures == 1
    h.journal.close()


def test_F25_a_position_of_someone_else_is_named_and_the_latch_closes() -> None:
    h = episode(3)
    h.run(5)
    engine = h.engines[Venue.BACKPACK]
    manual = NewOrder(
        account=ACCOUNT, symbol=h.ports[Venue.BACKPACK].symbol, side=Side.BUY,
        qty=Qty(nano("0.3")), px=Px(nano(3300)), tif=Tif.IOC, client_id="999999",
    )  # fmt: skip
    engine.place(Ns(h.time), manual)
    h.run(120, lambda: halted(h))
    assert halted(h)
    assert "residual backpack 0.3" in h.core.world.reason
    assert truths(h) == [nano("0.3"), 0]
    h.journal.close()


def test_F23_a_contradicted_order_does_not_block_the_unwind_for_ever() -> None:
    h = episode(3)
    h.run(60, lambda: any(o.cum and o.live for o in h.core.world.live(Venue.BACKPACK)))
    order = next(o for o in h.core.world.live(Venue.BACKPACK) if o.cum)
    request = order.request
    bogus = Fill(
        Venue.BACKPACK, "bogus", request.client_id, order.venue_order_id, request.symbol,
        request.side, request.qty, request.px, Quote(0), "USD", True, Ns(h.time),
    )  # fmt: skip
    h.core.on(Seen(bogus, h.now(), "stream"))
    h.run(120, lambda: halted(h))
    assert halted(h)
    assert "venue_violation" in h.core.world.reason
    assert abs(h.truth()) < nano("0.01")
    h.journal.close()


def test_F29_unknown_status_words_on_the_hedge_venue_end_flat() -> None:
    """The venue answers every question about our orders with a word that nobody knows."""
    h = episode(5)
    port, deliver = h.ports[Venue.GRVT], h._deliver

    async def lookup(ref: OrderRef, since: Ns) -> Lookup:
        del since
        order = port.find(ref.client_id)
        if order is None:
            return NotFound("all")
        seen = view_of(Venue.GRVT, order)
        return Found(replace(seen, status=Status.UNKNOWN, raw_status="NEWWORD"))

    def garbled(message: VenueEvent) -> None:
        if isinstance(message, OrderView) and message.venue is Venue.GRVT:
            message = replace(message, status=Status.UNKNOWN, raw_status="NEWWORD")
        deliver(message)

    port.lookup = lookup  # type: ignore[method-assign]
    h._deliver = garbled  # type: ignore[method-assign]
    h.run(120, lambda: halted(h))
    assert abs(h.truth()) <= nano("0.5")
    naked = h.core.world.naked_since
    assert naked is None or h.now().mono - naked < 40 * SECOND
    h.journal.close()


@pytest.mark.parametrize("seed", range(6))
def test_F60_a_stepping_clock_is_no_proof_of_death(seed: int) -> None:
    """The wall clock jumps ahead while an order is in flight: it must not be sent again."""
    h = Harness(seed, params(iterations=1, sleep=Ns(30 * SECOND), fill_timeout=Ns(SECOND),
                             hedge_mode=HedgeMode.MARKET))  # fmt: skip
    offset, held = [0], list[OrderRequest]()

    def stepped() -> Now:
        return Now(Ns(h.time - START + SECOND), Ns(h.time + offset[0]))

    h.now = h.core._now = h.resolver._now = stepped  # type: ignore[method-assign]
    send, worst = h._send, [0]

    def delayed(command: Send) -> None:
        request = command.payload.request
        if request.venue is not Venue.GRVT or held:
            send(command)
            return
        held.append(request)
        h.at(1000 * MS, lambda: offset.__setitem__(0, 10 * SECOND))
        h.at(2000 * MS, lambda: h._answer(request, InDoubt("timeout")))
        h.at(4000 * MS, lambda: h._arrive(request, reply=False))

    h._send = delayed  # type: ignore[method-assign]

    def watch() -> bool:
        if held:
            exposed = h.truth() * (1 if held[0].side is Side.SELL else -1)
            worst[0] = min(worst[0], exposed)
        return False

    h.run(25, watch)
    assert held
    assert worst[0] > -nano("0.01"), "hedged twice"
    h.journal.close()


def test_F16_makers_that_the_venue_cancels_at_once_are_not_hammered() -> None:
    h = episode(5)
    h.run(400, lambda: h.core.world.cycle.phase is CyclePhase.UNWIND and not h.core.world.maker())
    engine = h.engines[Venue.BACKPACK]
    place = engine.place

    def cancelled(now: Ns, new: NewOrder) -> SimOrder:
        order = place(now, new)
        if new.post_only:
            engine.cancel(now, order)
        return order

    engine.place = cancelled  # type: ignore[method-assign]
    before = len(h.sent)
    h.run(20)
    assert len(h.sent) - before <= 20
    h.journal.close()


def test_F66_one_gapped_book_is_no_daily_loss() -> None:
    h = Harness(3, params(iterations=1, sleep=Ns(20 * SECOND), fill_timeout=Ns(SECOND)))
    h.run(60, lambda: h.core.world.cycle.phase is CyclePhase.HOLD)
    assert h.core.world.primary.position > 0
    seen = h.core.world.primary.book
    assert seen is not None
    gapped = replace(seen.value, bids=((Px(seen.value.bids[0][0] * 70 // 100), qty(1)),))
    h.core.on(Seen(gapped, h.now(), "stream"))
    h._carry(h.core.tick())
    h.run(5)
    assert h.core.world.mode is Mode.RUNNING
    h.journal.close()


def test_F26_a_forced_close_is_booked_once_also_across_a_restart() -> None:
    h = episode(4)
    h.run(60, lambda: h.core.world.primary.position == nano("0.5"))
    forced = Fill(
        Venue.BACKPACK, "liq-1", None, "zz", h.ports[Venue.BACKPACK].symbol, Side.SELL,
        qty("0.5"), Px(nano(2999)), Quote(nano(1)), "USDC", False, Ns(h.time), forced=True,
    )  # fmt: skip
    for _ in range(3):
        h.core.on(Seen(forced, h.now(), "stream"))
    h.core.world = replace(h.core.world, forced=())  # what a restart forgets
    h.core.on(Seen(forced, h.now(), "rest"))
    h.core.journal.commit()
    leg, books = h.core.world.primary, h.journal.ledger(Venue.BACKPACK)
    assert (books.position, books.cash, books.fees) == (leg.position, leg.cash, leg.fees)
    h.journal.close()


def test_REQ_23_a_small_max_position_never_blocks_the_way_out() -> None:
    limits = replace(LIMITS, max_position=qty("0.1"), max_order=qty("0.1"))
    h = episode(6)
    h.run(60, lambda: h.core.world.cycle.phase is CyclePhase.UNWIND)
    h.core.settings = replace(h.core.settings, limits=limits)
    h.core.on(LatchMoved(Mode.FLATTENING, "operator", h.now()))
    h.run(60, lambda: halted(h))
    assert halted(h)
    assert truths(h) == [0, 0]
    h.journal.close()


def test_no_price_at_all_is_not_hedged() -> None:
    """After a restart with a naked leg and no book yet, nothing may count as done."""
    w = with_position(world(), "0.5", "0")
    legs = {v: replace(leg, book=None) for v, leg in w.legs.items()}
    blind = replace(w, legs=legs)
    assert exposed(blind)
    assert unhedged(blind)


def test_F73_a_flatten_on_a_venue_that_is_already_flat_ends_and_says_so() -> None:
    """Closes of a position that the venue no longer has were refused and repeated for ever."""
    h = episode(8)
    h.run(60, lambda: h.core.world.cycle.phase is CyclePhase.UNWIND)
    engine, symbol = h.engines[Venue.BACKPACK], h.ports[Venue.BACKPACK].symbol
    engine.accounts[ACCOUNT].positions[symbol].qty = SignedQty(0)
    h.core.on(LatchMoved(Mode.FLATTENING, "operator", h.now()))
    h.run(120, lambda: halted(h))
    assert halted(h)
    assert "residual backpack 0" in h.core.world.reason
    assert h.ports[Venue.GRVT].truth == 0
    h.journal.close()

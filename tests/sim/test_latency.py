"""Delays between clients and books: their distribution, their order, and what is late by them."""

import asyncio
import random  # noqa: TID251 - seeds the delays under test
from dataclasses import dataclass, field
from itertools import count, pairwise
from statistics import fmean

import pytest

from daemon.assembly import Seams, sim_ports
from daemon.config_values import MAX_SPEED as CONFIGURED_MAX_SPEED
from daemon.config_values import speed
from exchanges.simulator.defaults import BACKPACK_RULES, GRVT_RULES
from exchanges.simulator.host import SimConfig, SimHost
from exchanges.simulator.inprocess import InProcessVenue
from exchanges.simulator.latency import Courier, Delay, LatencyModel, Path
from exchanges.simulator.model import (
    BookChanged,
    EngineEvent,
    NewOrder,
    OrderChanged,
    Phase,
    PositionChanged,
    SimOrder,
)
from exchanges.simulator.universe import MAX_SPEED, Driver, Universe
from strategy.domain import (
    NANO,
    Book,
    ClientId,
    Fill,
    Ns,
    OrderRequest,
    Purpose,
    Px,
    Qty,
    Side,
    StreamState,
    Surface,
    Tif,
    Venue,
    nano,
)
from tests.sim.test_inprocess import VirtualClock
from tests.sim.test_universe import MS, START, Script


def delay(base: float = 0, jitter: float = 0, tail: float = 0) -> Delay:
    return Delay(*(Ns(round(ms * MS)) for ms in (base, jitter, tail)))


def generator(seed: int = 1) -> random.Random:
    return random.Random(seed)  # noqa: S311 - delays of a simulation, no secret


def draws(of: Delay, count: int = 20_000, seed: int = 1) -> list[int]:
    rng = generator(seed)
    return [of.draw(rng) for _ in range(count)]


# --- distributions -------------------------------------------------------------------------------


def test_a_constant_delay_leaves_the_generator_alone() -> None:
    rng = generator()
    before = rng.getstate()

    assert delay(3).draw(rng) == 3 * MS
    assert rng.getstate() == before
    assert delay().none
    assert not delay(3).none


def test_jitter_and_tail_have_their_means_and_never_go_below_the_base() -> None:
    jittered = draws(delay(2, 4))
    tailed = draws(delay(2, 0, 100), 100_000)

    assert min(jittered) >= 2 * MS
    assert fmean(jittered) == pytest.approx(6 * MS, rel=0.05)
    assert fmean(tailed) == pytest.approx(3 * MS, rel=0.15)
    late = sum(each > 2 * MS for each in tailed) / len(tailed)
    assert late == pytest.approx(0.01, rel=0.2)


def test_jitter_is_exponential() -> None:
    jittered = sorted(draws(delay(0, 1)))

    for share, mean in ((0.5, 0.693), (0.9, 2.303), (0.99, 4.605)):
        assert jittered[int(share * len(jittered))] == pytest.approx(mean * MS, rel=0.12)


def test_one_seed_is_one_sequence_of_delays() -> None:
    assert draws(delay(1, 2, 30), 500) == draws(delay(1, 2, 30), 500)
    assert draws(delay(1, 2, 30), 500) != draws(delay(1, 2, 30), 500, seed=2)


# --- the setting ---------------------------------------------------------------------------------


def test_the_default_is_the_constant_of_each_venue() -> None:
    model = LatencyModel.default()

    assert model.paths[Venue.GRVT] == Path(Delay(GRVT_RULES.latency))
    assert model.paths[Venue.BACKPACK] == Path(Delay(BACKPACK_RULES.latency))
    assert LatencyModel.parse("") == model


def test_a_setting_names_kinds_and_venues() -> None:
    model = LatencyModel.parse("ack=2.5/1/50, grvt.data=5, backpack.fill=1/0/20")

    assert model.paths[Venue.GRVT] == Path(delay(2.5, 1, 50), delay(), delay(5))
    assert model.paths[Venue.BACKPACK] == Path(delay(2.5, 1, 50), delay(1, 0, 20), delay())
    assert LatencyModel.parse(str(model)) == model


@pytest.mark.parametrize(
    "text",
    [
        "ack",
        "ack=",
        "ack=x",
        "ack=-1",
        "ack=1/2/3/4",
        "ack=99999",
        "ack=1e3",
        "post=1",
        "okx.ack=1",
        "grvt.=1",
        "=1",
    ],
)
def test_a_setting_that_cannot_be_read_is_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^latency '") as caught:
        LatencyModel.parse(text)

    assert "\n" not in str(caught.value)


def test_max_is_a_speed_and_in_virtual_time_it_is_real_time() -> None:
    assert speed("max") == CONFIGURED_MAX_SPEED == MAX_SPEED
    made = Universe(Script(9), 1, MAX_SPEED, Driver.manual(START))
    made.start()

    assert made.next_due() == START + 100 * MS


# --- between gateway and book --------------------------------------------------------------------


@dataclass
class Run:
    """A universe in virtual time, and what a listener heard and when."""

    text: str
    seed: int = 1
    heard: list[tuple[int, EngineEvent]] = field(default_factory=list)
    universe: Universe = field(init=False)

    def __post_init__(self) -> None:
        driver = Driver.manual(START)
        latency = LatencyModel.parse(self.text)
        self.universe = Universe(Script(1000), self.seed, 1, driver, latency=latency)
        self.engine = self.universe.engines[Venue.GRVT]
        self.symbol = self.universe.symbols[Venue.GRVT]
        self.account = self.universe.account(Venue.GRVT).account_id
        self.engine.subscribe(lambda event: self.heard.append((driver.now() - START, event)))
        self.universe.start()

    def place(self, px: str, number: int = 1, *, post_only: bool = True) -> SimOrder:
        new = NewOrder(
            self.account,
            self.symbol,
            Side.BUY,
            Qty(nano("0.1")),
            Px(nano(px)),
            Tif.GTC if post_only else Tif.IOC,
            post_only,
            client_id=str(number),
        )
        return self.engine.place(self.universe.driver.now(), new)

    def go(self, ms: int) -> None:
        self.universe.advance(Ns(START + ms * MS))

    def times(self, kind: type[EngineEvent]) -> list[int]:
        return [at for at, event in self.heard if isinstance(event, kind)]


def test_ack_is_what_an_order_and_a_cancel_take_to_the_book() -> None:
    run = Run("ack=7")
    order = run.place("2990")
    phases = []
    for ms in (6, 20):
        run.go(ms)
        phases.append(order.phase)
    run.engine.cancel(run.universe.driver.now(), order)
    run.go(40)

    assert phases == [Phase.PENDING, Phase.OPEN]
    assert order.due_at == START + 7 * MS
    assert order.done_at == START + 27 * MS


def test_requests_of_one_account_reach_the_book_in_the_order_sent() -> None:
    run = Run("ack=1/20/200")
    placed = [run.place("2990", number) for number in range(1, 200)]

    due = [order.due_at for order in placed]
    assert due == sorted(due)
    assert len(set(due)) > 5
    run.engine.cancel(run.universe.driver.now(), placed[-1])
    run.go(3_000)
    assert placed[-1].phase is Phase.CANCELLED
    assert placed[-1].first_fill_at is None


# --- between book and listeners ------------------------------------------------------------------


def test_private_news_is_late_and_tells_the_order_as_it_was() -> None:
    run = Run("ack=1,fill=10")
    order = run.place("3001", post_only=False)
    run.go(100)

    states = [
        (at // MS, event.order.phase, event.order.cum)
        for at, event in run.heard
        if isinstance(event, OrderChanged)
    ]
    filled = (order.done_at or 0) - START
    assert filled // MS == 26
    assert states == [(10, Phase.PENDING, 0), (36, Phase.FILLED, nano("0.1"))]
    assert run.times(PositionChanged) == [filled + 10 * MS]


def test_private_news_of_one_account_keeps_its_order_under_jitter() -> None:
    run = Run("ack=1,fill=1/30/300")
    for number in range(1, 60):
        run.place("2990", number)
    run.go(5_000)

    news = [event for _, event in run.heard if isinstance(event, OrderChanged)]
    told: dict[str, list[Phase]] = {}
    for event in news:
        told.setdefault(event.order.order_id, []).append(event.order.phase)
    assert [event.at for event in news] == sorted(event.at for event in news)
    assert all(phases == [Phase.PENDING, Phase.OPEN] for phases in told.values())
    times = run.times(OrderChanged)
    assert times == sorted(times)
    assert len(set(times)) > 3


def test_public_data_is_late_for_streams_and_for_the_public_book_but_not_for_matching() -> None:
    run = Run("data=30")
    run.go(110)
    bid_before = run.engine.book(run.symbol, 1)[0][0][0]
    assert run.engine.touch(run.symbol)[0] == nano("2999.01")
    run.go(131)
    bid_after = run.engine.book(run.symbol, 1)[0][0][0]

    assert (bid_before, bid_after) == (nano("2999"), nano("2999.01"))
    assert run.times(BookChanged) == [0, 130 * MS]


def test_book_messages_keep_their_order_under_jitter() -> None:
    run = Run("data=1/150/500")
    run.go(20_000)

    ids = [event.update_id for _, event in run.heard if isinstance(event, BookChanged)]
    assert len(ids) > 150
    assert ids == sorted(ids)
    gaps = {b - a for a, b in pairwise(run.times(BookChanged))}
    assert len(gaps) > 20


def test_every_listener_hears_of_an_event_at_the_same_moment() -> None:
    run = Run("fill=2/10,data=2/10")
    second: list[tuple[int, EngineEvent]] = []
    driver = run.universe.driver
    run.engine.subscribe(lambda event: second.append((driver.now() - START, event)))
    run.place("2990")
    run.go(2_000)

    later = [row for row in run.heard if row[0]]
    assert [(at, repr(event)) for at, event in second] == [(at, repr(event)) for at, event in later]
    assert len(second) > 10


def test_news_without_delay_is_told_at_once_unless_older_news_is_under_way() -> None:
    courier = Courier(Path(delay(1), delay(5), delay()), generator())
    book = BookChanged("X", (), (), Ns(100), 1)

    assert courier.news(book, Ns(100)) == 100
    assert courier.late
    assert not courier.public_late


async def test_the_in_process_face_is_late_by_the_same_model() -> None:
    run = Run("ack=1,fill=10,data=30")
    told: list[tuple[int, object]] = []
    driver = run.universe.driver
    port = InProcessVenue(run.universe, Venue.GRVT, VirtualClock(run.universe))
    async with asyncio.TaskGroup() as tasks:
        stream = tasks.create_task(
            port.stream(lambda event: told.append((driver.now() - START, event)))
        )
        await asyncio.sleep(0)
        run.place("3001", post_only=False)
        run.go(150)
        stream.cancel()

    fills = [at for at, event in told if isinstance(event, Fill)]
    books = [(at, event) for at, event in told if isinstance(event, Book)]
    assert fills == [36 * MS]
    assert books[-1][0] == 130 * MS
    assert books[-1][1].event_time == START + 100 * MS
    assert books[-1][1].bids[0][0] == nano("2999.01")
    assert driver.now() == START + 150 * MS


def test_the_delays_of_a_seed_do_not_touch_ids_or_markets() -> None:
    plain, late = Run(""), Run("ack=3,fill=1/9/90,data=1/9/90")
    ids = [each.place("2990").order_id for each in (plain, late)]
    for each in (plain, late):
        each.go(5_000)

    assert ids[0] == ids[1]
    assert plain.engine.touch(plain.symbol) == late.engine.touch(late.symbol)


class RealClock:
    """The machine's clock."""

    def wall(self) -> Ns:
        return Driver.wall().now()

    def mono(self) -> Ns:
        return self.wall()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.mark.parametrize("venue", list(Venue))
async def test_the_wire_face_is_late_by_the_same_model(venue: Venue) -> None:
    config = SimConfig(book="synthetic:ETH", latency=LatencyModel.parse("ack=1,fill=150,data=150"))
    host = SimHost(config)
    ready = await host.start()
    numbers = count(1)
    port = sim_ports(ready, Seams(RealClock(), generator(), lambda: next(numbers), lambda _: None))[
        venue
    ]
    driver, told = host.universe.driver, list[tuple[int, object]]()
    private, filled = asyncio.Event(), asyncio.Event()

    def hear(event: object) -> None:
        told.append((driver.now(), event))
        if isinstance(event, StreamState) and event.surface is Surface.PRIVATE and event.up:
            private.set()
        if isinstance(event, Fill):
            filled.set()

    try:
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(host.run_forever())]
            await port.open()
            instrument = await port.load("ETH")
            running.append(tasks.create_task(port.stream(hear)))
            await private.wait()
            ask = (await port.book(10)).asks[-1][0]
            request = OrderRequest(
                client_id=ClientId(1),
                venue=venue,
                symbol=instrument.symbol,
                side=Side.BUY,
                qty=Qty(nano("0.1")),
                px=ask,
                tif=Tif.IOC,
                post_only=False,
                reduce_only=False,
                expires_at=Ns(driver.now() + 30 * NANO),
                purpose=Purpose.OPEN,
            )
            await port.submit(port.prepare(request))
            await filled.wait()
            for each in running:
                each.cancel()
    finally:
        await port.close()
        await host.stop()

    fill = next((at, event) for at, event in told if isinstance(event, Fill))
    happened = host.universe.engines[venue].fills[0].at
    assert 150 * MS <= fill[0] - happened < 2_000 * MS

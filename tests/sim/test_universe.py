"""Both venues on one clock: time order, speed, loops, faults of the market, determinism."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from exchanges.simulator.faults import FaultBoard, FaultError
from exchanges.simulator.model import BookChanged, EngineEvent, MarketBook, NewOrder, PublicTrade
from exchanges.simulator.synthetic import Synthetic
from exchanges.simulator.tape import FeedEvent, TapeError, open_tape
from exchanges.simulator.universe import Driver, Universe
from strategy.domain import NANO, Ns, Px, Qty, Side, Tif, Venue, nano
from tests.sim.test_tape import T0, header, snapshot, write

START = Ns(1_790_000_000 * NANO)
MS = 1_000_000


class Script:
    """A source of two books, then a bid that steps up once per 100 ms."""

    ticker = "ETH"
    lead = Ns(0)

    def __init__(self, steps: int = 9) -> None:
        self.steps = steps

    def tick(self, venue: Venue) -> str | None:
        del venue
        return "0.01"

    def events(self) -> Iterator[FeedEvent]:
        for venue in Venue:
            yield FeedEvent(Ns(0), venue, self.book(0, snapshot=True))
        for step in range(1, self.steps + 1):
            for venue in Venue:
                yield FeedEvent(Ns(step * 100 * MS), venue, self.book(step, snapshot=False))

    def book(self, step: int, *, snapshot: bool) -> MarketBook:
        bid = Px(nano("2999.00") + step * nano("0.01"))
        ask = ((Px(nano("3001")), Qty(nano(5))),) if snapshot else ()
        return MarketBook(((bid, Qty(nano(1))),), ask, snapshot=snapshot)


def universe(speed: float = 1, steps: int = 9, seed: int = 1) -> tuple[Universe, Driver]:
    driver = Driver.manual(START)
    return Universe(Script(steps), seed, speed, driver), driver


def go(made: tuple[Universe, Driver], ms: int) -> None:
    made[0].start()
    made[1].set(Ns(START + ms * MS))
    made[0].advance(made[1].now())


def best_bid(made: Universe, venue: Venue = Venue.GRVT) -> int:
    bid = made.engines[venue].touch(made.symbols[venue])[0]
    assert bid is not None
    return bid


def test_both_books_are_there_from_the_start() -> None:
    made, _ = universe()

    made.start()

    assert made.symbols == {Venue.BACKPACK: "ETH_USDC_PERP", Venue.GRVT: "ETH_USDT_Perp"}
    for venue, engine in made.engines.items():
        assert None not in engine.touch(made.symbols[venue])
        assert list(engine.accounts) == [made.account(venue).account_id]


@pytest.mark.parametrize(("speed", "ms", "steps"), [(1, 350, 3), (10, 35, 3), (0.5, 700, 3)])
def test_speed_maps_the_recordings_time(speed: float, ms: int, steps: int) -> None:
    made = universe(speed)
    go(made, ms)

    assert best_bid(made[0]) == nano("2999") + steps * nano("0.01")
    assert made[0].next_due() == START + int((steps + 1) * 100 * MS / speed)


def test_events_happen_at_their_own_time_in_order() -> None:
    made = universe()
    seen: list[tuple[int, Venue]] = []

    def listen(venue: Venue) -> None:
        def heard(event: EngineEvent) -> None:
            if isinstance(event, BookChanged):
                seen.append((event.at - START, venue))

        made[0].engines[venue].subscribe(heard)

    for venue in Venue:
        listen(venue)
    go(made, 10_000)

    times = [at for at, _ in seen]
    assert times == sorted(times)
    assert times[:4] == [0, 0, 100 * MS, 100 * MS]


def test_orders_and_market_are_interleaved_in_time() -> None:
    made, driver = universe()
    made.start()
    engine, symbol = made.engines[Venue.BACKPACK], made.symbols[Venue.BACKPACK]
    name = made.account(Venue.BACKPACK).account_id
    bid = Px(nano("2999.05"))
    new = NewOrder(name, symbol, Side.SELL, Qty(NANO), bid, Tif.IOC, client_id="1")

    order = engine.place(driver.now(), new)
    go((made, driver), 5_000)

    assert order.due_at == START + 103 * MS
    assert order.done_at == order.due_at, "judged by the book of its own moment, not of the end"
    assert order.cum == 0


def test_a_tape_loops_with_a_fresh_book_and_tells_how_often() -> None:
    made = universe(steps=20)
    told: list[int] = []
    made[0].on_loop = told.append

    go(made, 2_050)
    assert best_bid(made[0]) == nano("2999")
    go(made, 2_150)
    assert best_bid(made[0]) == nano("2999.01")
    go(made, 4_100)

    assert told == [1, 2]
    assert made[0].loops == 2


def test_a_tape_of_one_moment_loops_once_a_second(tmp_path: Path) -> None:
    tape = open_tape(write(tmp_path / "t", [header(), snapshot("backpack"), snapshot("grvt")]))
    driver = Driver.manual(START)
    made = Universe(tape, 1, 1, driver)

    go((made, driver), 3_500)

    assert made.loops == 4


def test_late_books_are_waited_for(tmp_path: Path) -> None:
    late = T0 + 300 * MS
    tape = open_tape(
        write(tmp_path / "t", [header(), snapshot("backpack"), snapshot("grvt", late)])
    )
    made = Universe(tape, 1, 1, Driver.manual(START))

    made.start()

    assert all(None not in e.touch(made.symbols[v]) for v, e in made.engines.items())


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf")])
def test_a_speed_that_is_not_a_positive_number_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match=r"speed .* is not a positive number"):
        universe(speed)


def test_one_seed_is_one_run() -> None:
    def run(seed: int) -> list[object]:
        driver = Driver.manual(START)
        made = Universe(Synthetic("ETH", seed), seed, 1, driver)
        seen: list[object] = []
        for engine in made.engines.values():
            engine.subscribe(seen.append)
        made.start()
        for venue in Venue:
            name = made.account(venue).account_id
            new = NewOrder(name, made.symbols[venue], Side.BUY, Qty(NANO), None, Tif.IOC)
            made.engines[venue].place(driver.now(), new)
        go((made, driver), 3_000)
        return [repr(event) for event in seen]

    first = run(7)
    assert first == run(7)
    assert first != run(8)
    assert any("SimFill(" in str(event) for event in first)
    assert any(str(event).startswith(PublicTrade.__name__) for event in first)


def test_a_manual_clock_never_goes_back() -> None:
    driver = Driver.manual(START)

    with pytest.raises(ValueError, match="must not go back"):
        driver.set(Ns(START - 1))

    assert driver.now() == START


def test_calls_happen_at_their_time() -> None:
    made = universe()
    seen: list[int] = []
    made[0].call_at(Ns(START + 250 * MS), lambda: seen.append(best_bid(made[0])))

    go(made, 5_000)

    assert seen == [nano("2999.02")]


def test_virtual_time_goes_along_with_what_happens() -> None:
    made, driver = universe()
    made.start()
    seen: list[int] = []
    made.engines[Venue.GRVT].subscribe(lambda _: seen.append(driver.now() - START))
    made.call_at(Ns(START + 150 * MS), lambda: seen.append(driver.now() - START))

    made.advance(Ns(START + 350 * MS))

    assert seen == [100 * MS, 150 * MS, 200 * MS, 300 * MS]
    assert driver.now() == START + 350 * MS


def test_a_fault_ends_at_its_own_time_within_one_long_advance() -> None:
    made, _ = universe()
    made.start()
    engine, symbol = made.engines[Venue.GRVT], made.symbols[Venue.GRVT]
    bids: list[int | None] = []
    made.faults.add({"venue": "grvt", "fault": "F65", "seconds": 0.2})
    for ms in (199, 201):
        made.call_at(Ns(START + ms * MS), lambda: bids.append(engine.touch(symbol)[0]))

    made.advance(Ns(START + 10_000 * MS))

    assert bids == [None, nano("2999.02")]


def test_a_short_tape_is_decoded_once_and_a_pass_from_memory_is_the_same(tmp_path: Path) -> None:
    moves = [
        {"ts": T0 + n * MS, "v": "grvt", "type": "delta", "bids": [[f"2999.{n:02d}", "2"]],
         "asks": []}
        for n in range(1, 90)
    ]  # fmt: skip
    path = write(tmp_path / "t", [header(), snapshot("backpack"), snapshot("grvt"), *moves])
    driver = Driver.manual(START)
    made = Universe(open_tape(path), 1, 1, driver)
    told: dict[int, list[str]] = {}

    def heard(event: EngineEvent) -> None:
        if isinstance(event, BookChanged):
            told.setdefault(made.loops, []).append(repr((event.bids, event.asks)))

    made.engines[Venue.GRVT].subscribe(heard)
    go((made, driver), 1_500)
    path.unlink()
    go((made, driver), 3_950)

    assert made.loops == 4
    assert told[2] == told[3] == told[1]
    assert len(told[1]) == 90


# --- faults of the market ------------------------------------------------------------------------


def test_F65_empties_the_book_until_its_time_is_over() -> None:
    made = universe()
    made[0].start()
    made[0].faults.add({"venue": "grvt", "fault": "F65", "seconds": 0.2})
    made[0].apply_faults()
    engine, symbol = made[0].engines[Venue.GRVT], made[0].symbols[Venue.GRVT]

    assert engine.touch(symbol) == (None, None)
    assert made[0].next_due() == START + 100 * MS
    go(made, 201)
    assert best_bid(made[0]) == nano("2999.02")
    assert best_bid(made[0], Venue.BACKPACK) == nano("2999.02")


def test_F68_halts_until_cleared_and_spares_what_was_set_by_hand() -> None:
    made, driver = universe()
    made.start()
    made.set_market(Venue.BACKPACK, liquidity=NANO // 2)
    made.faults.add({"venue": "backpack", "fault": "F68"})
    made.apply_faults()
    symbol = made.symbols[Venue.BACKPACK]
    engine = made.engines[Venue.BACKPACK]
    assert engine.markets[symbol].state == "CancelOnly"

    go((made, driver), 1_000)
    made.faults.clear()
    made.apply_faults()

    assert engine.markets[symbol].state == "Open"
    assert engine.book(symbol, 1)[0][0][1] == NANO // 2


def test_a_market_can_be_shifted_and_negative_liquidity_is_refused() -> None:
    made, _ = universe()
    made.start()

    made.set_market(Venue.GRVT, shift_bps=500)

    assert best_bid(made) == nano("2999") * 105 // 100
    with pytest.raises(ValueError, match="negative"):
        made.set_market(Venue.GRVT, liquidity=-1)


class Clock:
    def __init__(self) -> None:
        self.time = START

    def now(self) -> Ns:
        return self.time


def test_a_fault_without_bounds_happens_once_and_a_state_lasts() -> None:
    board = FaultBoard(lambda: START)
    board.add({"venue": "grvt", "fault": "F03", "delay_ms": 5})
    board.add({"venue": "grvt", "fault": "F11"})

    assert board.take(Venue.BACKPACK, "F03") is None
    assert board.take(Venue.GRVT, "F03") == {"delay_ms": 5}
    assert board.take(Venue.GRVT, "F03") is None
    assert [board.take(Venue.GRVT, "F11") for _ in range(3)] == [{}, {}, {}]
    assert board.taken == {"grvt F03": 1, "grvt F11": 3}
    board.clear()
    assert board.active() == []


def test_count_and_seconds_bound_a_fault() -> None:
    clock = Clock()
    board = FaultBoard(clock.now)
    board.add({"venue": "grvt", "fault": "F04", "count": 2, "seconds": 1.5})
    board.add({"venue": "backpack", "fault": "F52", "seconds": 3})

    assert board.next_expiry() == START + 1_500 * MS
    assert board.take(Venue.GRVT, "F04") == {}
    assert board.active()[0] == {"venue": "grvt", "fault": "F04", "count": 1, "seconds": 1.5}
    clock.time = Ns(START + 2 * NANO)
    assert board.take(Venue.GRVT, "F04") is None
    assert board.holds(Venue.BACKPACK, "F52")
    assert [each["fault"] for each in board.active()] == ["F52"]


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"venue": "okx", "fault": "F01"}, "venue 'okx' is unknown"),
        ({"fault": "F01"}, "venue None is unknown"),
        ({"venue": "grvt", "fault": "F99"}, "fault 'F99' is unknown"),
        ({"venue": "grvt", "fault": ["F01"]}, "is unknown"),
        ({"venue": "grvt"}, "fault None is unknown"),
        ({"venue": "grvt", "fault": "F55"}, "of backpack only"),
        ({"venue": "grvt", "fault": "F01", "count": 0}, "count 0 must be more than 0"),
        ({"venue": "grvt", "fault": "F01", "count": 1.5}, "count 1.5 is not a whole number"),
        ({"venue": "grvt", "fault": "F01", "count": True}, "count True"),
        ({"venue": "grvt", "fault": "F49", "seconds": -1}, "seconds -1 must be more than 0"),
        ({"venue": "grvt", "fault": "F49", "seconds": "x"}, "seconds 'x' is not a number"),
        ({"venue": "grvt", "fault": "F49", "seconds": float("nan")}, "seconds nan"),
        ({"venue": "grvt", "fault": "F03", "delay_ms": "1"}, "delay_ms '1'"),
    ],
)
def test_a_fault_that_cannot_be_is_one_line(spec: dict[str, object], word: str) -> None:
    board = FaultBoard(lambda: START)

    with pytest.raises(FaultError) as caught:
        board.add(spec)

    assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert board.active() == []


# --- by the wall clock ---------------------------------------------------------------------------


async def test_the_wall_clock_drives_the_market_in_time() -> None:
    driver = Driver.wall()
    made = Universe(Script(5), 1, 1, driver)
    lag: list[int] = []
    started = driver.now()

    def heard(event: EngineEvent) -> None:
        if isinstance(event, BookChanged):
            lag.append(driver.now() - event.at)

    made.engines[Venue.GRVT].subscribe(heard)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.run())
        await asyncio.sleep(0.36)
        running.cancel()

    assert best_bid(made) == nano("2999.03")
    assert max(lag) < 50 * MS
    assert driver.now() - started < NANO


async def test_an_order_wakes_the_market_when_it_is_due() -> None:
    driver = Driver.wall()
    made = Universe(Script(100), 1, 0.001, driver)
    engine, symbol = made.engines[Venue.BACKPACK], made.symbols[Venue.BACKPACK]
    name = made.account(Venue.BACKPACK).account_id
    new = NewOrder(name, symbol, Side.BUY, Qty(NANO), Px(nano("2990")), Tif.GTC, post_only=True)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.run())
        await asyncio.sleep(0.02)
        order = engine.place(driver.now(), new)
        await asyncio.sleep(0.05)
        opened = not order.live or bool(engine.open_orders(name))
        engine.cancel(driver.now(), order)
        await asyncio.sleep(0.05)
        ended = order.done_at
        engine.cancel_all(driver.now(), name)
        running.cancel()

    assert opened
    assert ended is not None
    assert driver.now() - ended < 500 * MS


async def test_an_enormous_speed_replays_flat_out_and_lets_others_run() -> None:
    made = Universe(Script(5), 1, 1e12, Driver.wall())
    turns = 0
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.run())
        while made.loops < 100:
            turns += 1
            await asyncio.sleep(0)
        running.cancel()

    assert turns > 10
    book = made.engines[Venue.GRVT]
    assert book.mark(made.symbols[Venue.GRVT]) > 0


async def test_damage_found_while_running_ends_the_run_with_one_line(tmp_path: Path) -> None:
    many = [snapshot("grvt", T0 + 10 + n) for n in range(2500)]
    path = write(tmp_path / "t", [header(), snapshot("backpack"), *many])
    with path.open("ab") as tape:
        tape.write(json.dumps({"ts": T0}).encode())
    made = Universe(open_tape(path), 1, 1000, Driver.wall())

    with pytest.raises(TapeError, match=r"not JSON|damaged gzip"):
        await made.run()

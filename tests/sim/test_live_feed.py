"""Shadow mode's market: simulated engines that match against what live venues show."""

from dataclasses import replace

from exchanges.simulator.live_feed import LiveFeed
from exchanges.simulator.model import NewOrder, Phase
from exchanges.simulator.universe import Driver, Universe
from strategy.domain import (
    NANO,
    Book,
    Instrument,
    Ns,
    Px,
    Qty,
    Quote,
    Side,
    StreamState,
    Surface,
    Tif,
    Trade,
    Venue,
)

START = 1_795_264_692 * NANO
SILENCE = Ns(4 * NANO)
GRVT, BACKPACK = Venue.GRVT, Venue.BACKPACK
SYMBOLS = {BACKPACK: "ETH_USDC_PERP", GRVT: "ETH_USDT_Perp"}


class Clock:
    def __init__(self) -> None:
        self.at = Ns(0)

    def wall(self) -> Ns:
        return Ns(START + self.at)

    def mono(self) -> Ns:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at = Ns(self.at + int(seconds * NANO))


def listed(venue: Venue) -> Instrument:
    """A perpetual with rules that no default of the simulator has."""
    return Instrument(
        venue, SYMBOLS[venue], "ETH", "USDX", tick=Px(NANO // 2), step=Qty(NANO // 4),
        min_qty=Qty(NANO // 2), min_notional=Quote(7 * NANO), asset_id="0x1", size_decimals=6,
    )  # fmt: skip


def levels(*pairs: tuple[int, int]) -> tuple[tuple[Px, Qty], ...]:
    return tuple((Px(px * NANO), Qty(size * NANO)) for px, size in pairs)


def book(venue: Venue, *, bid: int = 99, ask: int = 101) -> Book:
    return Book(venue, levels((bid, 5), (bid - 1, 9)), levels((ask, 5)), Ns(1))


class Rig:
    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[tuple[str, str, str]] = []
        self.feed = LiveFeed(
            {venue: listed(venue) for venue in Venue},
            self.clock,
            SILENCE,
            lambda venue, event, why: self.told.append((venue.value, event, why)),
        )
        self.driver = Driver.manual(Ns(START))
        self.universe = Universe(self.feed, 1, 1.0, self.driver, markets=self.feed.markets)

    def begin(self) -> "Rig":
        for venue in Venue:
            self.feed.take(book(venue))
        self.universe.start()
        self.feed.attach(self.universe)
        return self

    def at(self, seconds: float) -> None:
        self.clock.at = Ns(int(seconds * NANO))
        self.driver.set(Ns(START + self.clock.at))
        self.universe.advance(self.driver.now())

    def shown(self, venue: Venue) -> tuple[object, object]:
        return self.universe.engines[venue].touch(SYMBOLS[venue])


def test_the_engines_list_what_the_live_venues_list() -> None:
    rig = Rig().begin()
    for venue in Venue:
        engine = rig.universe.engines[venue]
        assert engine.markets[SYMBOLS[venue]].instrument == listed(venue)
        assert rig.feed.tick(venue) == "0.5"
    assert (rig.feed.ticker, rig.feed.lead, list(rig.feed.events())) == ("ETH", 0, [])


def test_the_books_are_there_when_the_simulation_begins_and_follow() -> None:
    rig = Rig()
    assert rig.feed.why_incomplete() == "backpack: no book; grvt: no book"
    rig.begin()
    assert rig.feed.complete
    assert rig.shown(GRVT) == rig.shown(BACKPACK) == (99 * NANO, 101 * NANO)
    rig.at(1)
    rig.feed.take(book(GRVT, bid=100))
    assert rig.shown(GRVT) == (100 * NANO, 101 * NANO)
    assert rig.shown(BACKPACK) == (99 * NANO, 101 * NANO)
    assert rig.universe.engines[GRVT].book(SYMBOLS[GRVT], 9)[0] == list(levels((100, 5), (99, 9)))


def test_orders_are_matched_against_the_live_book_by_the_venues_rules() -> None:
    rig = Rig().begin()
    engine = rig.universe.engines[GRVT]
    account = rig.universe.account(GRVT).account_id
    taker = engine.place(
        Ns(START),
        NewOrder(account, SYMBOLS[GRVT], Side.BUY, Qty(2 * NANO), Px(101 * NANO), Tif.IOC),
    )
    rig.at(0.001)
    assert taker.phase.value == "pending"  # the gateway's latency and the speed bump still run
    rig.at(1)
    assert (taker.phase, taker.cum_quote) == (Phase.FILLED, 202 * NANO)
    assert rig.universe.engines[GRVT].book(SYMBOLS[GRVT], 9)[1] == list(levels((101, 3)))


def test_a_resting_order_fills_by_live_trades_behind_its_queue() -> None:
    rig = Rig().begin()
    engine = rig.universe.engines[BACKPACK]
    account = rig.universe.account(BACKPACK).account_id
    new = NewOrder(account, SYMBOLS[BACKPACK], Side.BUY, Qty(NANO), Px(99 * NANO), Tif.GTC)
    maker = engine.place(Ns(START), replace(new, post_only=True))
    rig.at(1)
    assert (maker.phase, maker.queue_ahead) == (Phase.OPEN, 5 * NANO)
    rig.feed.take(Trade(BACKPACK, Px(99 * NANO), Qty(5 * NANO), Side.SELL, Ns(1)))
    assert maker.cum == 0
    rig.feed.take(Trade(BACKPACK, Px(99 * NANO), Qty(2 * NANO), Side.SELL, Ns(2)))
    assert maker.phase is Phase.FILLED


def test_F50_in_a_gap_the_book_is_empty_and_nothing_trades_against_what_was() -> None:
    rig = Rig().begin()
    rig.at(1)
    rig.feed.take(StreamState(GRVT, Surface.PUBLIC, up=False, why="sequence 9 after 7"))
    assert rig.shown(GRVT) == (None, None)
    assert rig.shown(BACKPACK) == (99 * NANO, 101 * NANO)
    engine = rig.universe.engines[GRVT]
    account = rig.universe.account(GRVT).account_id
    blind = engine.place(
        rig.driver.now(),
        NewOrder(account, SYMBOLS[GRVT], Side.BUY, Qty(2 * NANO), Px(101 * NANO), Tif.IOC),
    )
    rig.at(2)
    assert (blind.phase, blind.cum) == (Phase.CANCELLED, 0)
    rig.feed.take(book(GRVT, bid=98))
    assert rig.shown(GRVT) == (98 * NANO, 101 * NANO)
    assert rig.told == [
        ("grvt", "live_gap", "sequence 9 after 7"),
        ("grvt", "live_book_is_back", "snapshot"),
    ]


def test_F49_a_silent_venue_is_a_gap_and_an_unchanged_book_is_not_silence() -> None:
    rig = Rig().begin()
    for second in range(1, 9):
        rig.at(second)
        rig.feed.take(book(BACKPACK))  # nothing changed, but it was heard
        rig.feed.check()
    assert rig.shown(BACKPACK) == (99 * NANO, 101 * NANO)
    assert rig.shown(GRVT) == (None, None)
    assert rig.told == [("grvt", "live_gap", "silent for 5 s")]
    rig.feed.take(StreamState(GRVT, Surface.PUBLIC, up=False, why="closed"))
    assert len(rig.told) == 1
    assert rig.feed.why_incomplete() == "grvt: no book (closed)"


async def test_the_watch_looks_by_itself() -> None:
    rig = Rig().begin()

    async def sleep(seconds: float) -> None:
        if rig.shown(GRVT) == (None, None):
            raise TimeoutError
        rig.at(rig.clock.at / NANO + seconds)

    rig.clock.sleep = sleep  # type: ignore[method-assign] # time that somebody else moves
    try:
        await rig.feed.watch()
    except TimeoutError:
        rig.told.sort()
    assert [event for _, event, _ in rig.told] == ["live_gap", "live_gap"]

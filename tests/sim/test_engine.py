"""The life of an order in the matching engine, and the desk that the other engine tests use."""

import random  # noqa: TID251 - seeded instance for the engine ids
import re
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from exchanges.simulator.api import Engine
from exchanges.simulator.defaults import BACKPACK_RULES, GRVT_RULES, default_market
from exchanges.simulator.engine import MatchingEngine
from exchanges.simulator.model import (
    BookChanged,
    Deny,
    Ended,
    EngineEvent,
    MarketBook,
    MarketTrade,
    NewOrder,
    OrderChanged,
    Phase,
    PositionChanged,
    PublicTrade,
    Refusal,
    Rules,
    SimOrder,
)
from strategy.domain import Ns, Px, Qty, Side, Tif, Venue, bps, nano

MS = 1_000_000
T0 = Ns(1_700_000_000 * 10**9)


def lv(*pairs: tuple[str, str]) -> tuple[tuple[Px, Qty], ...]:
    return tuple((Px(nano(px)), Qty(nano(size))) for px, size in pairs)


def snapshot(bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> MarketBook:
    return MarketBook(lv(*bids), lv(*asks), snapshot=True)


def delta(
    bids: list[tuple[str, str]] | None = None, asks: list[tuple[str, str]] | None = None
) -> MarketBook:
    return MarketBook(lv(*(bids or [])), lv(*(asks or [])), snapshot=False)


def trade(px: str, qty: str, taker: Side) -> MarketTrade:
    return MarketTrade(Px(nano(px)), Qty(nano(qty)), taker)


@dataclass
class Desk:
    """An engine with two accounts, a clock in milliseconds and a record of every event."""

    rules: Rules = BACKPACK_RULES
    seed: int = 7
    start: Ns = T0
    events: list[EngineEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        market = default_market(self.rules.venue, "ETH", None)
        rng = random.Random(self.seed)  # noqa: S311 - reproducible ids
        self.engine = MatchingEngine(self.rules, [market], rng, self.start)
        self.symbol = market.instrument.symbol
        self.engine.subscribe(self.events.append)
        self.engine.add_account("a")
        self.engine.add_account("b")
        self.now = self.start

    def base(self) -> "Desk":
        """Three levels a side around 3000."""
        return self.feed(
            snapshot(
                [("2999.99", "1"), ("2999.98", "2"), ("2999.90", "5")],
                [("3000.01", "1"), ("3000.02", "2"), ("3000.10", "5")],
            )
        )

    def feed(self, *events: MarketBook | MarketTrade) -> "Desk":
        for event in events:
            self.now = Ns(self.now + MS)
            self.engine.feed(self.now, self.symbol, event)
        return self

    def wait(self, ms: int = 200) -> "Desk":
        self.now = Ns(self.now + ms * MS)
        self.engine.advance(self.now)
        return self

    def order(
        self,
        side: Side,
        qty: str,
        px: str | None,
        *,
        account: str = "a",
        tif: Tif = Tif.GTC,
        post_only: bool = False,
        reduce_only: bool = False,
        client_id: str = "",
        life_ms: int | None = None,
        symbol: str | None = None,
    ) -> SimOrder:
        new = NewOrder(
            account=account,
            symbol=self.symbol if symbol is None else symbol,
            side=side,
            qty=Qty(nano(qty)),
            px=None if px is None else Px(nano(px)),
            tif=tif,
            post_only=post_only,
            reduce_only=reduce_only,
            client_id=client_id,
            expires_at=None if life_ms is None else Ns(self.now + life_ms * MS),
        )
        return self.engine.place(self.now, new)

    def buy(self, qty: str, px: str | None, account: str = "a", tif: Tif = Tif.GTC) -> SimOrder:
        """Place and wait until it acted."""
        order = self.order(Side.BUY, qty, px, account=account, tif=tif)
        self.wait()
        return order

    def sell(self, qty: str, px: str | None, account: str = "a", tif: Tif = Tif.GTC) -> SimOrder:
        order = self.order(Side.SELL, qty, px, account=account, tif=tif)
        self.wait()
        return order

    def fills(self, order: SimOrder) -> list[tuple[int, int]]:
        return [(f.px, f.qty) for f in self.engine.fills if f.order_id == order.order_id]

    def shown(self) -> tuple[list[tuple[Px, Qty]], list[tuple[Px, Qty]]]:
        return self.engine.book(self.symbol, 100)


def deny_of(desk: Desk, **kwargs: Any) -> Deny:
    with pytest.raises(Refusal) as caught:
        desk.order(**kwargs)
    return caught.value.deny


def test_the_engine_satisfies_the_interface_of_its_faces() -> None:
    engine: Engine = Desk().engine
    assert engine.rules is BACKPACK_RULES


@pytest.mark.parametrize(
    ("rules", "post_only", "ms"),
    [
        (GRVT_RULES, False, 28),
        (GRVT_RULES, True, 3),
        (BACKPACK_RULES, False, 103),
        (BACKPACK_RULES, True, 3),
    ],
)
def test_takers_wait_for_the_speed_bump_and_post_only_does_not(
    rules: Rules, post_only: bool, ms: int
) -> None:
    desk = Desk(rules).base()
    order = desk.order(Side.BUY, "0.1", "2999.90", post_only=post_only)
    assert order.phase is Phase.PENDING
    assert order.touch == (nano("2999.99"), nano("3000.01"))
    assert desk.engine.next_due() == order.due_at == desk.now + ms * MS
    desk.wait(ms - 1)
    assert order.phase.value == "pending"
    desk.wait(1)
    assert order.phase.value == "open"
    assert desk.engine.open_orders("a") == [order]


def test_a_post_only_order_that_would_cross_or_lock_is_rejected_at_the_book() -> None:
    desk = Desk().base()
    order = desk.order(Side.BUY, "0.1", "3000.01", post_only=True)
    desk.wait()
    assert (order.phase, order.deny, order.ended) == (
        Phase.REJECTED,
        Deny.POST_ONLY_CROSS,
        Ended.POST_ONLY,
    )
    assert desk.engine.accounts["a"].orders_rejected == 1
    assert not desk.engine.fills


def test_ioc_takes_what_its_limit_allows_and_ends() -> None:
    desk = Desk().base()
    order = desk.buy("5", "3000.02", tif=Tif.IOC)
    assert desk.fills(order) == [(nano("3000.01"), nano("1")), (nano("3000.02"), nano("2"))]
    assert (order.phase, order.ended, order.cum) == (Phase.CANCELLED, Ended.IOC, nano("3"))
    assert order.cum_quote == nano("9000.05")


def test_ioc_without_a_match_ends_without_a_fill() -> None:
    desk = Desk().base()
    order = desk.buy("1", "3000.00", tif=Tif.IOC)
    assert (order.phase, order.ended, order.cum) == (Phase.CANCELLED, Ended.IOC, 0)


@pytest.mark.parametrize(("qty", "phase"), [("3", Phase.FILLED), ("3.1", Phase.CANCELLED)])
def test_fok_fills_whole_or_not_at_all(qty: str, phase: Phase) -> None:
    desk = Desk().base()
    order = desk.buy(qty, "3000.02", tif=Tif.FOK)
    assert order.phase is phase
    assert order.cum == (nano(qty) if phase is Phase.FILLED else 0)
    assert order.ended is (Ended.FILLED if phase is Phase.FILLED else Ended.FOK)


def test_a_crossing_limit_order_takes_and_rests_the_remainder() -> None:
    desk = Desk().base()
    order = desk.buy("1.5", "3000.01")
    assert (order.phase, order.cum, order.remaining) == (Phase.OPEN, nano("1"), nano("0.5"))
    bids, asks = desk.shown()
    assert bids[0] == (nano("3000.01"), nano("0.5"))
    assert asks[0][0] == nano("3000.02")


def test_a_market_order_stops_at_the_impact_bound() -> None:
    desk = Desk(replace(BACKPACK_RULES, market_impact=bps(1))).base()
    order = desk.buy("10", None, tif=Tif.IOC)
    assert (order.cum, order.ended) == (nano("8"), Ended.MARKET)
    desk = Desk(replace(BACKPACK_RULES, market_impact=bps("0.1"))).base()
    order = desk.buy("10", None, tif=Tif.IOC)
    assert (order.cum, order.ended) == (nano("3"), Ended.PRICE_IMPACT)


def test_an_order_that_expires_while_it_waits_never_trades() -> None:
    desk = Desk().base()
    order = desk.order(Side.BUY, "1", "3000.01", tif=Tif.IOC, life_ms=50)
    desk.wait()
    assert (order.phase, order.ended, order.cum) == (Phase.CANCELLED, Ended.EXPIRED, 0)
    assert order.done_at == order.request.expires_at


def test_a_resting_order_expires_at_its_time() -> None:
    desk = Desk().base()
    order = desk.order(Side.BUY, "1", "2999.99", post_only=True, life_ms=500)
    desk.wait(499)
    assert order.phase.value == "open"
    desk.wait(1)
    assert (order.phase.value, order.ended) == ("cancelled", Ended.EXPIRED)
    assert desk.shown()[0][0] == (nano("2999.99"), nano("1"))


def test_a_cancel_takes_one_latency_and_may_overtake_a_waiting_taker() -> None:
    desk = Desk().base()
    taker = desk.order(Side.BUY, "1", "3000.01", tif=Tif.IOC)
    maker = desk.order(Side.BUY, "1", "2999.99", post_only=True)
    desk.engine.cancel(desk.now, taker)
    desk.wait(2)
    assert taker.live
    desk.wait(1)
    assert (taker.phase, taker.ended) == (Phase.CANCELLED, Ended.CLIENT_CANCEL)
    assert desk.engine.cancel_all(desk.now, "a") == [maker]
    desk.wait(3)
    assert (maker.phase, maker.ended) == (Phase.CANCELLED, Ended.CLIENT_BULK_CANCEL)
    assert not desk.engine.fills


def test_a_cancel_can_lose_the_race_with_a_fill() -> None:
    desk = Desk().base()
    maker = desk.order(Side.BUY, "1", "3000", post_only=True)
    desk.wait(3)
    desk.engine.cancel(desk.now, maker)
    desk.feed(trade("3000", "1", Side.SELL)).wait()
    assert (maker.phase, maker.ended) == (Phase.FILLED, Ended.FILLED)


def test_a_cancel_of_one_account_or_symbol_leaves_the_rest() -> None:
    desk = Desk().base()
    mine = desk.order(Side.BUY, "1", "2999", account="a")
    other = desk.order(Side.BUY, "1", "2999", account="b")
    assert desk.engine.cancel_all(desk.now, "a", "OTHER") == []
    desk.engine.cancel_all(desk.now, "a", ended=Ended.DISCONNECT_CANCEL)
    desk.wait()
    assert mine.ended is Ended.DISCONNECT_CANCEL
    assert desk.engine.open_orders("b", desk.symbol) == [other]


def test_a_taker_ends_before_it_meets_its_own_order() -> None:
    desk = Desk().base()
    maker = desk.sell("1", "3000.01")
    assert maker.queue_ahead == nano("1")
    taker = desk.buy("3", "3000.02")
    assert (taker.cum, taker.ended) == (nano("1"), Ended.SELF_TRADE)
    assert (maker.phase, maker.cum) == (Phase.OPEN, 0)
    whole = desk.buy("2", "3000.02", tif=Tif.FOK)
    assert (whole.cum, whole.ended) == (0, Ended.SELF_TRADE)


def test_a_fill_or_kill_that_is_done_before_its_own_order_fills() -> None:
    desk = Desk().base()
    desk.sell("1", "3000.02")
    whole = desk.buy("3", "3000.02", tif=Tif.FOK)
    assert (whole.cum, whole.ended) == (nano("3"), Ended.FILLED)


def test_a_reduce_only_order_is_trimmed_to_the_position() -> None:
    desk = Desk().base()
    desk.buy("1", "3000.01")
    order = desk.order(Side.SELL, "2", "2999.98", tif=Tif.IOC, reduce_only=True)
    desk.wait()
    assert (order.qty, order.cum, order.phase) == (nano("1"), nano("1"), Phase.FILLED)
    assert desk.engine.accounts["a"].positions[desk.symbol].qty == 0


def test_a_reduce_only_order_in_the_position_s_direction_is_refused() -> None:
    desk = Desk().base()
    desk.buy("1", "3000.01")
    row = {"side": Side.BUY, "qty": "1", "px": "2999", "reduce_only": True}
    assert deny_of(desk, **row) is Deny.REDUCE_ONLY_INCREASES


def test_a_reduce_only_order_that_lost_its_position_while_waiting_is_rejected() -> None:
    desk = Desk().base()
    desk.buy("1", "3000.01")
    first = desk.order(Side.SELL, "1", "2999.99", tif=Tif.IOC)
    second = desk.order(Side.SELL, "1", "2999.98", tif=Tif.IOC, reduce_only=True)
    desk.wait()
    assert first.phase is Phase.FILLED
    assert (second.phase, second.ended) == (Phase.REJECTED, Ended.REDUCE_ONLY)
    assert second.deny is Deny.REDUCE_ONLY_NO_POSITION


def test_resting_reduce_only_orders_shrink_and_end_with_the_position() -> None:
    desk = Desk().base()
    desk.buy("1", "3000.01")
    resting = desk.order(Side.SELL, "1", "3000.05", reduce_only=True)
    desk.wait()
    desk.sell("0.4", "2999.99", tif=Tif.IOC)
    assert (resting.shrunk_qty, resting.phase) == (nano("0.6"), Phase.OPEN)
    assert (nano("3000.05"), nano("0.6")) in desk.shown()[1]
    desk.sell("0.6", "2999.90", tif=Tif.IOC)
    assert (resting.phase, resting.ended) == (Phase.CANCELLED, Ended.REDUCE_ONLY)
    assert nano("3000.05") not in [px for px, _ in desk.shown()[1]]


def test_events_come_as_order_position_trade_and_then_book() -> None:
    desk = Desk().base()
    maker = desk.sell("1", "3000.00", account="b")
    desk.events.clear()
    taker = desk.buy("1", "3000.00")
    kinds = [type(event) for event in desk.events]
    assert kinds == [
        OrderChanged,
        *(OrderChanged, PositionChanged) * 2,
        PublicTrade,
        BookChanged,
    ]
    pending, as_maker, _, as_taker, _, printed, book = desk.events
    assert isinstance(pending, OrderChanged) and pending.fill is None  # noqa: PT018 - narrows
    assert isinstance(as_maker, OrderChanged) and as_maker.fill  # noqa: PT018 - narrows
    assert isinstance(as_taker, OrderChanged) and as_taker.fill  # noqa: PT018 - narrows
    assert isinstance(printed, PublicTrade)
    assert isinstance(book, BookChanged)
    assert as_maker.fill.trade_id == as_taker.fill.trade_id == printed.trade_id
    assert (printed.maker_order_id, printed.taker_order_id) == (maker.order_id, taker.order_id)
    assert book.asks == ((nano("3000"), 0),)
    assert book.update_id == desk.engine.update_id(desk.symbol)


def test_one_taker_execution_shares_its_trade_id_prefix() -> None:
    desk = Desk().base()
    first = desk.buy("3", "3000.02", tif=Tif.IOC)
    desk.buy("1", "3000.10", tif=Tif.IOC)
    ids = [f.trade_id.split("-") for f in desk.engine.fills]
    assert [suffix for _, suffix in ids] == ["1", "2", "1"]
    assert ids[0][0] == ids[1][0] != ids[2][0]
    numbers = [int(prefix) + int(suffix) - 1 for prefix, suffix in ids]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    assert len(desk.fills(first)) == 2


@pytest.mark.parametrize(
    ("rules", "shape"), [(GRVT_RULES, r"0x[0-9a-f]{32}"), (BACKPACK_RULES, r"[1-9]\d{9}")]
)
def test_order_ids_have_the_venue_s_shape_and_are_unique(rules: Rules, shape: str) -> None:
    desk = Desk(rules).base()
    ids = [desk.order(Side.BUY, "0.1", "2999").order_id for _ in range(50)]
    assert len(set(ids)) == 50
    assert all(re.fullmatch(shape, each) for each in ids)


def test_a_listener_may_place_and_cancel_but_not_move_the_market() -> None:
    desk = Desk().base()
    placed: list[SimOrder] = []

    def react(event: EngineEvent) -> None:
        if isinstance(event, OrderChanged) and event.fill and not placed:
            placed.append(desk.order(Side.SELL, "1", "3000.01"))
            with pytest.raises(RuntimeError):
                desk.engine.feed(desk.now, desk.symbol, delta())

    desk.engine.subscribe(react)
    desk.buy("1", "3000.01")
    desk.wait()
    assert placed[0].phase is Phase.OPEN


def test_an_account_exists_once() -> None:
    with pytest.raises(ValueError, match="exists"):
        Desk().engine.add_account("a")


def test_default_markets_are_those_of_the_venues() -> None:
    eth = default_market(Venue.GRVT, "ETH", None).instrument
    assert (eth.symbol, eth.asset_id, eth.min_notional) == ("ETH_USDT_Perp", "0x030401", nano(20))
    btc = default_market(Venue.BACKPACK, "BTC", "0.01").instrument
    assert (btc.symbol, btc.tick, btc.step) == ("BTC_USDC_PERP", nano("0.01"), nano("0.00001"))
    other = default_market(Venue.GRVT, "WIF", None).instrument
    assert len(other.asset_id) == len("0x030401")
    assert default_market(Venue.BACKPACK, "SOL", None).instrument.tradable
    with pytest.raises(ValueError, match="positive"):
        default_market(Venue.GRVT, "ETH", "0")

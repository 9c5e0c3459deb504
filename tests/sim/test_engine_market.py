"""The recorded market: effective size, queues, recorded trades, crossings, set_market."""

from time import process_time

import pytest

from exchanges.simulator.defaults import GRVT_RULES
from exchanges.simulator.model import BookChanged, Ended, MarketBook, Phase, PublicTrade
from strategy.domain import NANO, Px, Qty, Side, Tif, nano
from tests.sim.test_engine import Desk, delta, snapshot, trade


def size_at(desk: Desk, px: str) -> int:
    bids, asks = desk.shown()
    return dict([*bids, *asks]).get(Px(nano(px)), Qty(0))


# --- effective size ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("consumed", "recorded", "left"),
    [
        ("0", "2", "2"),
        ("0.4", "1", "0.6"),  # an unchanged record refills nothing
        ("0.4", "1.5", "1.1"),  # new size adds
        ("0.4", "0.5", "0.1"),  # cancels take from what is left
        ("0.4", "0.3", "0"),  # clamped at zero
        ("1", "1.2", "0.2"),
        ("1", "0", "0"),
    ],
)
def test_a_consumed_level_refills_only_as_the_record_shows(
    consumed: str, recorded: str, left: str
) -> None:
    desk = Desk().base()
    if consumed != "0":
        desk.buy(consumed, "3000.01", tif=Tif.IOC)
    desk.feed(delta(asks=[("3000.01", recorded)]))
    assert size_at(desk, "3000.01") == nano(left)


def test_a_level_that_was_removed_and_shown_again_is_new() -> None:
    desk = Desk().base()
    desk.buy("1", "3000.01", tif=Tif.IOC)
    desk.feed(delta(asks=[("3000.01", "0")]), delta(asks=[("3000.01", "0.7")]))
    assert size_at(desk, "3000.01") == nano("0.7")


def test_a_snapshot_refills_only_levels_that_it_shows_changed() -> None:
    desk = Desk().base()
    desk.buy("3", "3000.02", tif=Tif.IOC)
    assert desk.shown()[1][0][0] == nano("3000.10")
    desk.base()
    assert desk.shown()[1][0][0] == nano("3000.10"), "the same size again is no new size"
    desk.feed(snapshot([("2999.99", "1")], [("3000.01", "1.5"), ("3000.10", "5")]))
    assert desk.shown()[1][0] == (nano("3000.01"), nano("0.5"))


def test_external_sizes_are_shown_in_whole_steps() -> None:
    desk = Desk(GRVT_RULES).feed(snapshot([("2999", "0.127")], [("3000", "0.003"), ("3001", "1")]))
    assert desk.shown() == ([(nano("2999"), nano("0.12"))], [(nano("3001"), nano("1"))])


def test_prices_off_the_tick_are_moved_away_from_the_touch() -> None:
    desk = Desk().feed(snapshot([("2999.996", "1")], [("2999.997", "1"), ("3000.00", "1")]))
    assert desk.engine.touch(desk.symbol) == (nano("2999.99"), nano("3000"))
    assert size_at(desk, "3000") == nano("2")


# --- queue and recorded trades ----------------------------------------------------------


def test_an_order_waits_behind_what_was_displayed_when_it_reached_the_book() -> None:
    desk = Desk().base()
    order = desk.order(Side.BUY, "0.5", "2999.99", post_only=True)
    desk.feed(delta(bids=[("2999.99", "4")]), delta(bids=[("2999.99", "4")])).wait()
    assert order.queue_ahead == nano("4")
    assert size_at(desk, "2999.99") == nano("4.5")


@pytest.mark.parametrize(
    ("traded", "cum", "ahead"),
    [("0.4", "0", "0.6"), ("1", "0", "0"), ("1.2", "0.2", "0"), ("9", "0.5", "0")],
)
def test_a_recorded_trade_fills_after_the_queue_ahead(traded: str, cum: str, ahead: str) -> None:
    desk = Desk().base()
    order = desk.order(Side.BUY, "0.5", "2999.99", post_only=True)
    desk.wait().feed(trade("2999.99", traded, Side.SELL))
    assert (order.cum, order.queue_ahead) == (nano(cum), nano(ahead))


def test_recorded_trades_of_the_other_side_or_a_better_price_pass_by() -> None:
    desk = Desk().base()
    order = desk.order(Side.BUY, "0.5", "2999.99", post_only=True)
    desk.wait().feed(trade("2999.99", "9", Side.BUY), trade("3000.00", "9", Side.SELL))
    assert (order.cum, order.queue_ahead) == (0, nano("1"))


def test_a_trade_through_the_price_fills_at_the_order_s_own_price() -> None:
    desk = Desk().base()
    order = desk.order(Side.BUY, "0.5", "2999.99", post_only=True)
    desk.wait().feed(trade("2999.98", "0.3", Side.SELL))
    assert desk.fills(order) == [(nano("2999.99"), nano("0.3"))]
    assert desk.engine.fills[0].is_maker


def test_one_trade_has_one_budget_spent_on_the_best_price_first() -> None:
    desk = Desk().base()
    worse = desk.order(Side.BUY, "0.5", "2999.99", post_only=True)
    better = desk.order(Side.BUY, "0.5", "3000.00", post_only=True, account="b")
    desk.wait().feed(trade("2999.99", "1.7", Side.SELL))
    assert better.cum == nano("0.5")
    assert worse.cum == nano("0.2")


def test_orders_at_one_price_fill_in_time_order_with_the_size_between_them() -> None:
    desk = Desk().base()
    first = desk.order(Side.BUY, "0.5", "2999.99", post_only=True)
    desk.wait().feed(delta(bids=[("2999.99", "1.4")]))
    second = desk.order(Side.BUY, "0.5", "2999.99", post_only=True, account="b")
    desk.wait()
    assert (first.queue_ahead, second.queue_ahead) == (nano("1"), nano("1.4"))
    desk.feed(trade("2999.99", "1.6", Side.SELL))
    assert (first.cum, second.cum, second.queue_ahead) == (nano("0.5"), 0, nano("0.3"))
    desk.feed(trade("2999.99", "0.5", Side.SELL))
    assert second.cum == nano("0.2")


def test_cancels_ahead_cap_the_queue() -> None:
    desk = Desk().base()
    order = desk.order(Side.BUY, "0.5", "2999.99", post_only=True)
    desk.wait().feed(delta(bids=[("2999.99", "0.3")]))
    assert order.queue_ahead == nano("0.3")
    desk.feed(delta(bids=[("2999.99", "5")]))
    assert order.queue_ahead == nano("0.3")


def test_a_taker_meets_external_size_and_own_orders_in_queue_order() -> None:
    desk = Desk().base()
    maker = desk.order(Side.SELL, "0.5", "3000.01", post_only=True, account="b")
    desk.wait().feed(delta(asks=[("3000.01", "1.8")]))
    taker = desk.buy("2", "3000.01", tif=Tif.IOC)
    px = nano("3000.01")
    assert desk.fills(taker) == [(px, nano("1")), (px, nano("0.5")), (px, nano("0.5"))]
    assert desk.fills(maker) == [(px, nano("0.5"))]
    assert size_at(desk, "3000.01") == nano("0.3")


def test_a_taker_that_stops_short_shortens_the_queue() -> None:
    desk = Desk().base()
    maker = desk.order(Side.SELL, "0.5", "3000.01", post_only=True, account="b")
    desk.wait()
    desk.buy("0.4", "3000.01", tif=Tif.IOC)
    assert (maker.queue_ahead, maker.cum) == (nano("0.6"), 0)


def test_recorded_trades_are_printed_once_with_our_part_at_our_price() -> None:
    desk = Desk().base()
    order = desk.order(Side.BUY, "0.5", "3000.00", post_only=True)
    desk.wait().feed(trade("2999.99", "2", Side.SELL))
    prints = [event for event in desk.events if isinstance(event, PublicTrade)]
    assert [(p.px, p.qty, p.maker_order_id) for p in prints] == [
        (nano("3000"), nano("0.5"), order.order_id),
        (nano("2999.99"), nano("1.5"), ""),
    ]
    assert desk.engine.last_price(desk.symbol) == nano("2999.99")
    assert size_at(desk, "2999.99") == nano("1")


def test_trades_below_one_step_add_up_to_a_step() -> None:
    desk = Desk(GRVT_RULES).base()
    order = desk.order(Side.BUY, "0.05", "3000.00", post_only=True)
    desk.wait().feed(trade("3000", "0.004", Side.SELL), trade("3000", "0.004", Side.SELL))
    assert order.cum == 0
    desk.feed(trade("3000", "0.004", Side.SELL))
    assert order.cum == nano("0.01")
    desk.feed(trade("2999.99", "0.009", Side.SELL))
    assert order.cum == nano("0.01")


# --- crossings --------------------------------------------------------------------------


def test_a_recorded_ask_at_or_below_our_bid_fills_it_at_our_price() -> None:
    desk = Desk().base()
    order = desk.order(Side.BUY, "1.5", "2999.99", post_only=True)
    desk.wait().feed(delta(bids=[("2999.99", "0")], asks=[("2999.97", "0.4"), ("2999.99", "0.6")]))
    assert desk.fills(order) == [(nano("2999.99"), nano("0.4")), (nano("2999.99"), nano("0.6"))]
    assert order.phase is Phase.OPEN
    assert size_at(desk, "2999.97") == 0
    assert desk.engine.touch(desk.symbol) == (nano("2999.99"), nano("3000.01"))
    desk.feed(delta(asks=[("2999.97", "0.5")]))
    assert order.cum == nano("1.1")


def test_a_recorded_bid_through_our_ask_fills_and_the_rest_stays() -> None:
    desk = Desk().base()
    order = desk.order(Side.SELL, "0.5", "3000.00", post_only=True)
    desk.wait().feed(delta(bids=[("3000.00", "2")]))
    assert (order.phase, order.ended) == (Phase.FILLED, Ended.FILLED)
    assert size_at(desk, "3000.00") == nano("1.5")


def test_a_record_that_crosses_itself_keeps_its_newer_side() -> None:
    desk = Desk().base()
    desk.feed(delta(bids=[("3000.02", "3")]))
    assert desk.engine.touch(desk.symbol) == (nano("3000.02"), nano("3000.10"))
    desk.feed(delta(asks=[("2999.98", "3")]))
    assert desk.engine.touch(desk.symbol) == (nano("2999.90"), nano("2999.98"))
    desk.feed(delta(asks=[("2999.98", "0"), ("3000.01", "1")], bids=[("2999.98", "2")]))
    assert desk.engine.touch(desk.symbol) == (nano("2999.98"), nano("3000.01"))


def test_book_messages_rebuild_the_displayed_book() -> None:
    desk = Desk().base()
    desk.order(Side.BUY, "0.5", "2999.98", post_only=True)
    desk.wait().feed(delta(asks=[("3000.01", "0"), ("3000.03", "1")]))
    desk.buy("2", "3000.02", tif=Tif.IOC)
    desk.feed(delta(asks=[("3000.03", "1")]))
    mirror: dict[bool, dict[Px, Qty]] = {True: {}, False: {}}
    messages = [event for event in desk.events if isinstance(event, BookChanged)]
    for message in messages:
        for is_bid, levels in ((True, message.bids), (False, message.asks)):
            mirror[is_bid].update(levels)
    bids, asks = desk.shown()
    assert {px: q for px, q in mirror[True].items() if q} == dict(bids)
    assert {px: q for px, q in mirror[False].items() if q} == dict(asks)
    assert [m.update_id for m in messages] == list(range(1, len(messages) + 1))


# --- set_market -------------------------------------------------------------------------


def test_a_shift_moves_the_book_and_the_recording_after_it() -> None:
    desk = Desk().base()
    desk.engine.set_market(desk.now, desk.symbol, shift_bps=100)
    assert desk.engine.touch(desk.symbol) == (nano("3029.98"), nano("3030.02"))
    desk.feed(delta(asks=[("3000.00", "1")]), trade("3000.00", "1", Side.BUY))
    assert desk.engine.touch(desk.symbol)[1] == nano("3030")
    assert desk.engine.last_price(desk.symbol) == nano("3030")
    desk.engine.set_market(desk.now, desk.symbol, shift_bps=0)
    assert desk.engine.touch(desk.symbol) == (nano("2999.99"), nano("3000"))


def test_a_shift_through_a_resting_order_fills_it() -> None:
    desk = Desk().base()
    order = desk.order(Side.SELL, "0.5", "3010", post_only=True)
    desk.wait()
    desk.engine.set_market(desk.now, desk.symbol, shift_bps=500)
    assert desk.fills(order) == [(nano("3010"), nano("0.5"))]


def test_levels_that_a_shift_rounds_together_add_up() -> None:
    desk = Desk().base()
    desk.engine.set_market(desk.now, desk.symbol, shift_bps=-9000)
    assert desk.shown() == (
        [(nano("299.99"), nano("8"))],
        [(nano("300.01"), nano("8"))],
    )
    desk.feed(delta(bids=[("2999.99", "0.5")]))
    assert desk.shown()[0] == [(nano("299.99"), nano("7.5"))]


def test_liquidity_scales_the_book_the_recording_and_its_trades() -> None:
    desk = Desk().base()
    order = desk.order(Side.BUY, "1", "3000.00", post_only=True)
    desk.wait()
    desk.engine.set_market(desk.now, desk.symbol, liquidity=NANO // 10)
    assert size_at(desk, "3000.01") == nano("0.1")
    desk.feed(delta(asks=[("3000.01", "3")]), trade("3000", "2", Side.SELL))
    assert size_at(desk, "3000.01") == nano("0.3")
    assert order.cum == nano("0.2")


def test_no_liquidity_empties_the_book_but_for_our_orders() -> None:
    desk = Desk().base()
    order = desk.order(Side.BUY, "1", "3000.00", post_only=True)
    desk.wait()
    mark = desk.engine.mark(desk.symbol)
    desk.engine.set_market(desk.now, desk.symbol, liquidity=0)
    desk.feed(delta(asks=[("3000.01", "3")]), trade("3000", "2", Side.SELL))
    assert desk.shown() == ([(nano("3000"), nano("1"))], [])
    assert (order.cum, desk.engine.mark(desk.symbol)) == (0, mark)
    taker = desk.buy("1", None, account="b", tif=Tif.IOC)
    assert (taker.cum, taker.ended) == (0, Ended.MARKET)


def test_a_halt_freezes_trading_and_a_resume_shows_the_recording_as_it_is_now() -> None:
    desk = Desk().base()
    order = desk.order(Side.BUY, "1", "3000.00", post_only=True)
    late = desk.order(Side.BUY, "1", "3000.01", tif=Tif.IOC)
    desk.wait(10)
    desk.engine.set_market(desk.now, desk.symbol, halt=True)
    market = desk.engine.markets[desk.symbol]
    assert (market.state, market.instrument.tradable) == ("CancelOnly", False)
    fall = delta([("2999.99", "0"), ("2999.98", "0")], [("2999.95", "0.4"), ("3000.01", "0")])
    desk.feed(trade("2999", "9", Side.SELL), fall)
    desk.wait()
    assert (late.phase, late.ended) == (Phase.REJECTED, Ended.MARKET_CLOSED)
    assert (order.cum, size_at(desk, "3000.01")) == (0, nano("1"))
    desk.engine.set_market(desk.now, desk.symbol, halt=False)
    assert desk.engine.markets[desk.symbol].state == "Open"
    assert order.cum == nano("0.4")
    assert desk.engine.touch(desk.symbol) == (nano("3000"), nano("3000.02"))


def test_orders_can_be_cancelled_during_a_halt() -> None:
    desk = Desk().base()
    order = desk.order(Side.BUY, "1", "3000.00", post_only=True)
    desk.wait()
    desk.engine.set_market(desk.now, desk.symbol, halt=True)
    desk.engine.cancel(desk.now, order)
    desk.wait()
    assert order.ended is Ended.CLIENT_CANCEL
    assert desk.engine.touch(desk.symbol)[0] == nano("2999.99")


@pytest.mark.parametrize(
    ("setting", "word"), [({"shift_bps": -10_000}, "shift_bps"), ({"liquidity": -1}, "liquidity")]
)
def test_impossible_settings_are_refused(setting: dict[str, int], word: str) -> None:
    desk = Desk().base()
    with pytest.raises(ValueError, match=word):
        desk.engine.set_market(
            desk.now,
            desk.symbol,
            shift_bps=setting.get("shift_bps"),
            liquidity=setting.get("liquidity"),
        )
    assert desk.engine.touch(desk.symbol) == (nano("2999.99"), nano("3000.01"))


def test_the_mark_is_the_last_mid_of_a_two_sided_book() -> None:
    desk = Desk()
    assert desk.engine.mark(desk.symbol) == 0
    desk.base()
    assert desk.engine.mark(desk.symbol) == nano("3000")
    desk.feed(snapshot([], [("3100", "1")]))
    assert desk.engine.mark(desk.symbol) == nano("3000")


# --- speed ------------------------------------------------------------------------------


def test_thousands_of_recorded_events_a_second_with_our_orders_resting() -> None:
    """The design goal is 5,000 events a second; the assertion leaves room for a loaded machine."""
    desk = Desk()
    bids = [(f"{3000 - i / 100:.2f}", "1") for i in range(1, 501)]
    asks = [(f"{3000 + i / 100:.2f}", "1") for i in range(1, 501)]
    desk.feed(snapshot(bids, asks))
    for i in range(1, 11):
        desk.order(Side.BUY, "0.1", f"{3000 - i / 100:.2f}", post_only=True)
        desk.order(Side.SELL, "0.1", f"{3000 + i / 100:.2f}", post_only=True, account="b")
    desk.wait()
    events: list[MarketBook] = [
        delta(
            [(f"{3000 - (i + k) % 60 / 100 - 0.01:.2f}", f"{(i * k) % 7}") for k in range(6)],
            [(f"{3000 + (i + k) % 60 / 100 + 0.01:.2f}", f"{(i * k) % 5}") for k in range(6)],
        )
        for i in range(2000)
    ]
    started = process_time()
    desk.feed(*events)
    assert len(events) / (process_time() - started) > 1500

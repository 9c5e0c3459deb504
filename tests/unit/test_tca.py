"""TCA by hand: the parts of a shortfall, the record of a hedge, its markouts, and its log line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.journal import Journal
from daemon.metrics import RunMetrics
from daemon.narrator import Narrator
from daemon.tca import (
    PARTS,
    Execution,
    Parts,
    markout,
    nearest,
    read_tca,
    split,
    vwap,
)
from strategy.domain import (
    ClientId,
    Now,
    Ns,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Venue,
    nano,
    plain,
)
from strategy.events import (
    HedgeEnded,
    HedgeMoved,
    HedgeStarted,
    RoutePhase,
)
from strategy.fold import fold
from tests.builders import SECOND, at, book, draft, px, qty, with_book, world
from tests.harness import Sink
from tests.unit.tca_rig import ASK, BID, MID, Rig, ioc, passive_then_cross


def done(
    side: Side, price: str, size: str, touch: str, fee: str = "0", maker: bool = False
) -> Execution:
    return Execution(
        ClientId(1), side, px(price), qty(size), px(touch), Quote(nano(fee)), maker
    )  # fmt: skip


def shown(parts: Parts) -> dict[str, str]:
    return {name: plain(getattr(parts, name)) for name in PARTS if getattr(parts, name)}


# --- the arithmetic ----------------------------------------------------------------------------


def test_a_buy_through_two_levels_pays_half_the_spread_depth_and_fee() -> None:
    fills = [
        done(Side.BUY, "3000.05", "0.3", "3000.05", "0.405"),
        done(Side.BUY, "3000.10", "0.2", "3000.05", "0.27"),
    ]
    parts = split(Side.BUY, MID, ASK, fills)
    assert shown(parts) == {"spread": "0.0125", "depth": "0.01", "fee": "0.675"}
    assert plain(parts.total) == "0.6975"
    assert plain(vwap(fills) or 0) == "3000.07"


def test_a_sell_through_two_levels_is_the_same_mirrored() -> None:
    fills = [
        done(Side.SELL, "3000.00", "0.3", "3000.00", "0.405"),
        done(Side.SELL, "2999.95", "0.2", "3000.00", "0.27"),
    ]
    parts = split(Side.SELL, MID, BID, fills)
    assert shown(parts) == {"spread": "0.0125", "depth": "0.01", "fee": "0.675"}
    assert plain(parts.total) == "0.6975"


def test_passive_then_cross_after_the_touch_moved_away_splits_resting_delay_and_rebate() -> None:
    fills = [
        done(Side.BUY, "3000.04", "0.2", "3000.05", "-0.006", maker=True),
        done(Side.BUY, "3000.20", "0.3", "3000.20", "0.4"),
    ]
    parts = split(Side.BUY, MID, ASK, fills)
    assert shown(parts) == {
        "spread": "0.0125",
        "resting": "-0.002",
        "delay": "0.045",
        "fee": "0.4",
        "rebate": "-0.006",
    }
    assert plain(parts.total) == "0.4495"
    assert plain(parts.price) == "0.0555"


def test_a_favourable_drift_is_a_negative_delay() -> None:
    parts = split(Side.SELL, MID, BID, [done(Side.SELL, "3001.00", "1", "3001.00")])
    assert shown(parts) == {"spread": "0.025", "delay": "-1"}
    assert plain(parts.total) == "-0.975"


def test_a_fill_on_the_other_side_counts_by_its_own_touch() -> None:
    """Exposure that reversed during the hedge: selling at the bid also pays half the spread."""
    both = [
        done(Side.BUY, "3000.05", "0.2", "3000.05"),
        done(Side.SELL, "3000.00", "0.1", "3000.00"),
    ]
    assert shown(split(Side.BUY, MID, ASK, both)) == {"spread": "0.0075"}


def test_what_rounding_leaves_over_has_a_name() -> None:
    odd = Execution(ClientId(1), Side.BUY, Px(3), Qty(500_000_000), Px(2), Quote(0), maker=False)
    parts = split(Side.BUY, Px(0), Px(1), [odd])
    assert (parts.spread, parts.depth, parts.delay) == (1, 1, 1)  # each a half, away from zero
    assert parts.rounding == -1
    assert parts.total == 2  # three halves, away from zero


def test_without_a_fill_there_is_no_cost_and_no_average() -> None:
    assert split(Side.BUY, MID, ASK, []) == Parts()
    assert vwap([]) is None


def test_markout_is_positive_when_the_market_moves_our_way() -> None:
    bought = [done(Side.BUY, "3000", "0.5", "3000")]
    sold = [done(Side.SELL, "3000", "0.5", "3000")]
    assert plain(markout(bought, px("3001"))) == "0.5"
    assert plain(markout(sold, px("3001"))) == "-0.5"


prices = st.integers(1, 10**7).map(lambda ticks: ticks * 10**7)
sizes = st.integers(1, 10**12)
executions = st.lists(
    st.tuples(st.sampled_from(Side), prices, sizes, prices, st.integers(-(10**9), 10**9),
              st.booleans()),
    max_size=6,
)  # fmt: skip


@given(rows=executions, mid=st.integers(1, 10**17), half=st.integers(0, 10**12))
def test_parts_add_up_to_the_shortfall_exactly_and_mirror(
    rows: list[tuple[Side, int, int, int, int, bool]], mid: int, half: int
) -> None:
    straight = [
        Execution(ClientId(1), side, Px(p), Qty(q), Px(t), Quote(fee), maker)
        for side, p, q, t, fee, maker in rows
    ]
    mirrored = [
        replace(one, side=one.side.opposite, px=Px(2 * mid - one.px), touch=Px(2 * mid - one.touch))
        for one in straight
    ]
    parts = split(Side.BUY, Px(mid), Px(mid + half), straight)
    exact = sum((one.px - mid) * one.side.value * one.qty for one in straight)
    assert parts.total == nearest(exact) + sum(one.fee for one in straight)
    assert sum(getattr(parts, name) for name in PARTS) == parts.total
    assert abs(parts.rounding) <= 4
    assert split(Side.SELL, Px(mid), Px(mid - half), mirrored) == parts


# --- the desk ------------------------------------------------------------------------------------


def test_a_hedge_that_rests_and_then_crosses_has_every_part_and_every_time() -> None:
    record = passive_then_cross(Rig())
    assert shown(record.parts) == {
        "spread": "0.0125", "resting": "-0.002", "delay": "0.045", "fee": "0.4",
        "rebate": "-0.006",
    }  # fmt: skip
    assert plain(record.shortfall) == "0.4495"
    assert (record.phase, record.failed, record.rebuilt) == ("cross", False, False)
    assert (plain(record.filled), plain(record.maker_qty)) == ("0.5", "0.2")
    assert record.maker_share == 400_000
    assert plain(record.vwap or 0) == "3000.136"
    assert [m.why for m in record.moves] == ["cross 5.00 rest 6.00 bps"]
    ms = 1_000_000
    assert (record.stages.sent, record.stages.ack) == (2 * ms, 10 * ms)
    assert (record.stages.fill, record.stages.total) == (488 * ms, 1250 * ms)
    first, second = record.orders
    assert (first.sent, first.acked, first.first_fill, first.last_fill, first.ended) == (
        2 * ms, 12 * ms, 500 * ms, 700 * ms, 1100 * ms,
    )  # fmt: skip
    assert (second.post_only, plain(second.filled), second.ended) == (False, "0.3", 1250 * ms)


def test_a_record_survives_the_journal_unchanged_and_holds_no_float() -> None:
    rig = Rig()
    record = passive_then_cross(rig)
    (body,) = rig.rows("HedgeTca")
    assert read_tca(body) == record

    def floats(value: object) -> bool:
        if isinstance(value, dict):
            return any(floats(v) for v in value.values())
        if isinstance(value, list):
            return any(floats(v) for v in value)
        return isinstance(value, float)

    assert not floats(body)
    assert rig.journal.chain_intact()


def test_naked_exposure_is_this_hedges_alone() -> None:
    rig = Rig()
    rig.plan(draft(Venue.BACKPACK, Side.SELL, "0.5", "3000"), 9, 0)
    rig.fill(9, "0.5", "3000", "0", 0)
    record = passive_then_cross(rig)
    # 0.5 for 0.5 s, 0.35 for 0.2 s, 0.3 for 0.55 s
    assert plain((record.naked or 0) // SECOND) == "0.485"


def test_decisions_wait_until_nothing_is_sent_and_keep_the_routers_words() -> None:
    rig = Rig()
    passive_then_cross(rig)
    assert rig.rows("Decided") == []
    rig.tick(1.3)
    decided = {row["client_id"]: row for row in rig.rows("Decided")}
    assert decided[1]["why"] == "rest: resting is cheaper"
    assert decided[2]["why"] == "cross: cross 5.00 rest 6.00 bps"
    assert decided[1]["inputs"]["grvt"] == {
        "bid": nano("3000.00"), "ask": nano("3000.05"), "age": 2_000_000, "source": "stream",
    }  # fmt: skip
    assert [row["mid"] for row in rig.rows("FillMarked")] == [MID] * 3


def test_markouts_are_taken_when_due_from_a_fresh_book_only() -> None:
    rig = Rig()
    passive_then_cross(rig)
    rig.tick(2.2)
    assert rig.rows("Markout") == []
    rig.world = with_book(rig.world, book(bids=[("3001.00", "1")], asks=[("3001.10", "1")]), 2)
    rig.tick(2.26)
    (first,) = rig.rows("Markout")
    # 0.2 at 3000.04 and 0.3 at 3000.20, both below 3001.05
    assert (first["after"], first["mid"]) == (1, nano("3001.05"))
    assert plain(first["quote"]) == "0.457"
    rig.tick(6.3)  # the book is now older than it may be: no markout, rather than a wrong one
    assert len(rig.rows("Markout")) == 1
    rig.world = with_book(rig.world, book(bids=[("2999.00", "1")], asks=[("2999.10", "1")]), 31)
    rig.tick(31.26)
    assert [row["after"] for row in rig.rows("Markout")] == [1, 30]


def test_a_loop_that_was_away_leaves_the_markout_out() -> None:
    rig = Rig()
    passive_then_cross(rig)
    rig.world = with_book(rig.world, book(), 20)
    rig.tick(20)
    assert rig.rows("Markout") == []


def test_a_crash_after_the_end_keeps_the_record_without_markouts(tmp_path: Path) -> None:
    path = str(tmp_path / "sim.db")
    rig = Rig(path)
    record = passive_then_cross(rig)
    rig.journal.close()
    again = Journal(Path(path), Ns(0))
    bodies = [body for _, _, _, body in again.events("HedgeTca")]
    assert [read_tca(body) for body in bodies] == [record]
    assert list(again.events("Markout")) == []
    again.close()


def test_a_hedge_undone_on_the_primary_has_no_average_and_no_markout() -> None:
    rig = Rig()
    rig.start("-0.5")
    rig.on(HedgeMoved(1, RoutePhase.EMERGENCY, "deadline", at(5)))
    rig.on(HedgeEnded(1, failed=True, at=at(6)))
    (record,) = rig.records
    assert (record.phase, record.failed, record.vwap) == ("emergency", True, None)
    assert record.bps(record.shortfall) is None
    assert record.maker_share is None
    rig.tick(60)
    assert rig.rows("Markout") == []


def test_a_trade_without_its_details_is_counted_as_unpriced() -> None:
    rig = Rig()
    rig.start("0.5")
    rig.plan(ioc("3000.05", "3000.05", "0.5"), 1, 0.002)
    rig.end_order(1, "0.5", 0.1)
    rig.on(HedgeEnded(1, failed=False, at=at(3)))
    assert plain(rig.records[0].unpriced) == "0.5"
    assert rig.records[0].filled == 0


def test_a_repeated_fill_counts_once() -> None:
    rig = Rig()
    rig.start("0.5")
    rig.plan(ioc("3000.05", "3000.05", "0.5"), 1, 0.002)
    for _ in range(2):
        rig.fill(1, "0.5", "3000.05", "0.675", 0.1)
    rig.on(HedgeEnded(1, failed=False, at=at(1)))
    assert plain(rig.records[0].filled) == "0.5"
    rig.tick(1)
    assert len(rig.rows("FillMarked")) == 1


def test_open_positions_are_marked_every_minute_for_the_report() -> None:
    rig = Rig()
    rig.tick(0)
    rig.tick(100)
    assert rig.rows("Marked") == []  # flat: nothing to value
    rig.plan(draft(Venue.BACKPACK, Side.SELL, "0.5", "3000"), 9, 100)
    rig.fill(9, "0.5", "3000", "0", 100)
    rig.tick(159)
    assert rig.rows("Marked") == []
    rig.tick(161)
    rig.tick(162)
    (marked,) = rig.rows("Marked")
    assert marked["grvt"] == MID


# --- the log -------------------------------------------------------------------------------------


@pytest.fixture
def told() -> list[tuple[str, str, str, dict[str, Any]]]:
    rig, sink = Rig(), Sink()
    narrator = Narrator(sink, RunMetrics(rig.world))
    passive_then_cross(rig)
    running = rig.world
    # the narrator reads the hedge from the World before its end
    before = fold(
        running,
        HedgeStarted(1, SignedQty(nano("0.5")), ASK, MID, at(0).mono, Now(Ns(0), Ns(0))),
    )
    narrator.changed(before, running, HedgeEnded(1, failed=False, at=at(1.3)), rig.records[0])
    return sink.lines


def test_the_filled_line_carries_the_shortfall_and_the_maker_share(
    told: list[tuple[str, str, str, dict[str, Any]]],
) -> None:
    filled = next(f for _, tag, event, f in told if (tag, event) == ("SMART_ROUTING", "filled"))
    wanted = {"iterations", "avg_price", "slippage_bps", "fee_bps", "elapsed_ms"}
    assert wanted <= set(filled)
    assert (filled["shortfall_bps"], filled["maker_share"]) == ("3.00", "0.4")


def test_the_tca_line_has_every_part(told: list[tuple[str, str, str, dict[str, Any]]]) -> None:
    line = next(f for _, tag, event, f in told if (tag, event) == ("METRICS", "tca"))
    assert line["hedge"] == "h-1"
    parts = {k: v for k, v in line.items() if k.endswith("_bps")}
    assert parts == {
        "shortfall_bps": "3.00", "spread_bps": "0.08", "depth_bps": "0.00",
        "resting_bps": "-0.01", "delay_bps": "0.30", "fee_bps": "2.67", "rebate_bps": "-0.04",
    }  # fmt: skip
    assert line["vwap"] == "3000.136"


def test_an_alert_is_journalled_and_its_line_names_it() -> None:
    sink = Sink()
    narrator = Narrator(sink, RunMetrics(world()))
    kept: list[tuple[str, dict[str, Any]]] = []

    def recorder(event: str, fields: Any) -> int:
        kept.append((event, dict(fields)))
        return 17

    narrator.recorder = recorder
    narrator.degraded("no book", order=5)
    assert kept == [("degraded", {"why": "no book", "count": 1, "order": 5})]
    assert sink.events("ALERT", "degraded")[0]["alert"] == "a-17"

"""The guards in the real core with a real journal: what stands, latches, survives and is said."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon.core import CancelOrder, Core, Send, Settings
from daemon.guardian import META, liquidation_distance
from daemon.journal import Journal
from daemon.metrics import RunMetrics
from daemon.narrator import Narrator
from daemon.reconcile import journal_latch
from daemon.status import snapshot
from exchanges.port import Payload
from safety.guards import Trip
from safety.limits import Limits
from safety.reasons import Reason
from strategy.domain import (
    Bps,
    ClientId,
    Mode,
    Now,
    Ns,
    OrderRequest,
    Position,
    Px,
    Quote,
    Side,
    SignedQty,
    Status,
    Venue,
    VenueEvent,
    bps,
    nano,
    plain,
)
from strategy.events import (
    HedgeEnded,
    HedgeStarted,
    LatchMoved,
    OrderAnswered,
    Seen,
    VenueRead,
    Verdict,
)
from strategy.facts import Access, ClockOffset, Mark, Readiness, VenueFact
from strategy.params import Params
from strategy.world import World
from tests.builders import (
    GRVT,
    LIMITS,
    SECOND,
    WALL,
    account,
    book,
    fill,
    params,
    px,
    view,
    with_position,
    world,
)
from tests.harness import Sink

MS = 1_000_000
DAY = 86_400 * SECOND


class Preparer:
    def prepare(self, request: OrderRequest) -> Payload:
        number = request.client_id
        return Payload(request, repr(request).encode(), (), number, f"d{number}")


class Rig:
    """The real core on a hand-held clock, with fresh books whenever it looks."""

    def __init__(
        self,
        w: World | None = None,
        path: Path | str = ":memory:",
        limits: Limits = LIMITS,
        p: Params | None = None,
    ) -> None:
        self.mono = SECOND
        self.wall = WALL + SECOND
        self.sink = Sink()
        self.journal = Journal(Path(path), Ns(self.wall))
        start = world() if w is None else w
        self.metrics = RunMetrics(start)
        narrator = Narrator(self.sink, self.metrics)
        settings = Settings(params() if p is None else p, limits)
        preparers = {v: Preparer() for v in Venue}
        self.core = Core(start, settings, self.journal, preparers, narrator, self.now)
        self.books: dict[Venue, Any] = {v: book(v) for v in Venue}

    @property
    def w(self) -> World:
        return self.core.world

    @property
    def mode(self) -> str:
        return self.core.world.mode.name

    def now(self) -> Now:
        return Now(Ns(self.mono), Ns(self.wall))

    def pass_time(self, seconds: float) -> None:
        self.mono += round(seconds * SECOND)
        self.wall += round(seconds * SECOND)

    def seen(self, event: VenueEvent, source: str = "stream") -> None:
        self.core.on(Seen(event, self.now(), source))

    def read(self, *facts: VenueFact) -> None:
        for fact in facts:
            self.core.on(VenueRead(fact, self.now()))

    def fresh(self) -> None:
        for made in self.books.values():
            if made is not None:
                self.seen(made)
        for venue in Venue:
            if self.w.legs[venue].facts.account is not None:
                held = self.w.legs[venue].facts.account
                assert held is not None
                self.read(held.value)

    def tick(self, after: float = 0) -> tuple[list[Send], list[CancelOrder]]:
        self.pass_time(after)
        self.fresh()
        commands = self.core.tick()
        sent = [c for c in commands if isinstance(c, Send)]
        return sent, [c for c in commands if isinstance(c, CancelOrder)]

    def alerts(self, event: str) -> list[dict[str, Any]]:
        return self.sink.events("ALERT", event)

    def cleared(self) -> list[str]:
        return [str(f["code"]) for f in self.sink.events("SAFETY", "cleared")]

    def quoted(self) -> ClientId:
        sent, _ = self.tick()
        (made,) = sent
        return made.payload.request.client_id

    def rests(self, number: ClientId) -> None:
        self.core.on(OrderAnswered(number, Verdict.ACCEPTED, self.now()))
        self.seen(view(self.w, number, "0", Status.OPEN).event)


def rested() -> Rig:
    rig = Rig()
    rig.rests(rig.quoted())
    assert rig.tick(0.1) == ([], [])
    return rig


def hedged(**changes: Any) -> Rig:
    """A hedged pair, flat money, and the venues' statements of it."""
    w = with_position(world(), "0.5", "-0.5")
    legs = {
        v: replace(leg, cash=Quote(-nano("3000.025") * (1 if v is Venue.BACKPACK else -1) // 2))
        for v, leg in w.legs.items()
    }
    rig = Rig(replace(w, legs=legs), p=params(sleep=Ns(600 * SECOND)), **changes)
    for venue in Venue:
        rig.read(account(venue))
    return rig


def flatten(rig: Rig) -> list[OrderRequest]:
    """Carry the emergency path out: every order fills in full at its price, reads agree."""
    done: list[OrderRequest] = []
    for _ in range(40):
        for order in list(rig.w.live()):
            request = order.request
            number, size = request.client_id, plain(request.qty)
            done.append(request)
            rig.seen(fill(rig.w, number, size, f"t{number}").event)
            rig.seen(view(rig.w, number, size, Status.FILLED).event)
        for venue, leg in rig.w.legs.items():
            rig.pass_time(0.001)
            rig.seen(Position(venue, leg.instrument.symbol, leg.position, Ns(0)), "rest")
        rig.tick(0.5)
        if rig.w.mode is Mode.HALTED:
            return done
    raise AssertionError(f"never halted: {rig.w.mode} {rig.w.reason} {rig.w.net}")


# --- S12: the latch and its reasons ------------------------------------------------------------


def test_S12_a_latch_is_persisted_with_field_value_and_limit(tmp_path: Path) -> None:
    rig = hedged(path=tmp_path / "j.db")
    rig.core.world = replace(rig.w, day_baseline=Quote(nano(60)))
    rig.tick()
    assert rig.mode == "RUNNING"
    rig.tick(1.1)
    assert rig.mode in ("REDUCING", "FLATTENING")
    reason = rig.w.reason
    assert reason.startswith("max_daily_loss: day_pnl -")
    assert reason.endswith(", limit -50")
    flatten(rig)
    rig.journal.close()
    again = Journal(tmp_path / "j.db", Ns(WALL))
    assert journal_latch(again) == (Mode.HALTED, reason)
    again.close()


# --- F62: the day ------------------------------------------------------------------------------


def test_F62_the_loss_budget_begins_anew_at_midnight_and_only_there() -> None:
    rig = hedged()
    rig.tick()
    first = rig.w.day
    baseline = rig.w.day_baseline
    rig.core.world = replace(rig.w, day_baseline=Quote(baseline + nano(30)))  # 30 lost today
    rig.journal.day(first, rig.w.day_baseline)
    rig.wall += DAY
    rig.tick()
    assert rig.w.day > first
    assert rig.w.day_pnl() == 0
    # a wall clock set back across midnight finds the old budget, not a new one
    rig.wall -= DAY
    rig.tick()
    assert rig.w.day == first
    assert rig.w.day_pnl() == -nano(30)


def test_F62_a_day_in_mid_cycle_keeps_an_open_halt(tmp_path: Path) -> None:
    rig = hedged(path=tmp_path / "j.db")
    rig.core.world = replace(rig.w, day_baseline=Quote(nano(60)))
    rig.tick()
    rig.tick(1.1)
    flatten(rig)
    before = rig.w.reason
    rig.wall += DAY
    for _ in range(3):
        assert rig.tick(1) == ([], [])
    assert (rig.w.mode, rig.w.reason) == (Mode.HALTED, before)
    rig.journal.close()
    again = Journal(tmp_path / "j.db", Ns(WALL))
    assert journal_latch(again) == (Mode.HALTED, before)
    again.close()


def test_F62_the_loss_of_a_day_survives_a_restart(tmp_path: Path) -> None:
    rig = hedged(path=tmp_path / "j.db")
    rig.tick()
    day, baseline = rig.w.day, rig.w.day_baseline
    rig.journal.close()
    w = replace(with_position(world(), "0.5", "-0.5"), day="")
    again = Rig(w, path=tmp_path / "j.db", p=params(sleep=Ns(600 * SECOND)))
    again.tick()
    assert (again.w.day, again.w.day_baseline) == (day, baseline)


def test_daily_loss_counts_marks_fees_and_funding() -> None:
    rig = hedged()
    rig.tick()
    start = rig.w.day_pnl()
    assert start is not None
    legs = dict(rig.w.legs)
    legs[Venue.GRVT] = replace(legs[Venue.GRVT], fees=Quote(nano(7)), funding=Quote(nano(-5)))
    rig.core.world = replace(rig.w, legs=legs)
    rig.books[Venue.BACKPACK] = book(Venue.BACKPACK, [("2980", "5")], [("2980.05", "5")])
    rig.tick()
    now = rig.w.day_pnl()
    assert now is not None
    assert now - start == nano("-7") + nano("-5") + nano("-20.0") // 2


# --- F65, F66: books ---------------------------------------------------------------------------


BAD_BOOKS: dict[str, Callable[[], Any]] = {
    "empty": lambda: book(bids=[], asks=[]),
    "one_sided": lambda: book(bids=[]),
    "crossed": lambda: book(bids=[("3000.10", "5")], asks=[("3000.05", "5")]),
    "locked": lambda: book(bids=[("3000.05", "5")], asks=[("3000.05", "5")]),
}


@pytest.mark.parametrize("kind", ["empty", "one_sided"])
def test_F65_without_a_reference_nothing_is_opened_and_what_rests_is_withdrawn(kind: str) -> None:
    rig = Rig()
    rig.books[Venue.GRVT] = BAD_BOOKS[kind]()
    assert rig.tick() == ([], [])
    rig = rested()
    rig.books[Venue.GRVT] = BAD_BOOKS[kind]()
    _, (cancel,) = rig.tick()
    assert cancel.venue is Venue.BACKPACK
    (said,) = rig.sink.events("VENUE", "cancel")
    assert said["why"] == "grvt book is stale, one-sided or crossed"


@pytest.mark.parametrize("kind", ["crossed", "locked"])
def test_F66_a_crossed_book_is_no_reference(kind: str) -> None:
    rig = rested()
    rig.books[Venue.GRVT] = BAD_BOOKS[kind]()
    assert len(rig.tick()[1]) == 1


def test_F66_a_mid_far_from_the_mark_is_no_reference() -> None:
    rig = rested()
    rig.read(Mark(Venue.BACKPACK, Px(nano("3040"))))
    _, (cancel,) = rig.tick()
    assert cancel.venue is Venue.BACKPACK
    assert rig.sink.events("VENUE", "cancel")[-1]["why"] == "backpack book is off its mark price"
    rig = Rig()
    rig.read(Mark(Venue.GRVT, Px(nano("2969"))))
    assert rig.tick() == ([], [])
    rig.pass_time(16)  # a mark that is no longer fresh judges nothing
    assert len(rig.tick()[0]) == 1


def test_F66_a_loss_on_a_book_that_nobody_believes_is_no_loss() -> None:
    rig = hedged()
    rig.tick()
    far = [("2700", "5")], [("2700.05", "5")]
    rig.books[Venue.BACKPACK] = book(Venue.BACKPACK, *far)  # 150 lost, if it were true
    rig.read(Mark(Venue.BACKPACK, Px(nano("3000"))))
    rig.tick(0.1)
    rig.read(Mark(Venue.BACKPACK, Px(nano("3000"))))
    rig.tick(2)
    assert rig.mode == "RUNNING"
    rig.read(Mark(Venue.BACKPACK, Px(nano("2700"))))  # the venue confirms the price
    rig.tick(0.1)
    rig.tick(1.1)
    assert rig.w.reason.startswith("max_daily_loss: ")


def test_F65_exposure_without_any_book_is_removed_by_the_mark() -> None:
    rig = Rig(with_position(world(), "0.5", "0"), p=params(max_unhedged=Ns(5 * SECOND)))
    rig.books = {v: book(v, bids=[], asks=[]) for v in Venue}
    sold = []
    for _ in range(40):
        rig.read(Mark(Venue.GRVT, Px(nano("3000"))))
        sold += rig.tick(0.5)[0]
        if sold:
            break
    (send,) = sold
    assert send.payload.request.venue is Venue.GRVT
    assert send.payload.request.side is Side.SELL
    assert send.payload.request.px == px("2998.5")


# --- F60, F61: clocks --------------------------------------------------------------------------


def test_F60_a_clock_that_steps_stops_opening_and_alerts_with_both_figures() -> None:
    rig = rested()
    rig.read(ClockOffset(Venue.GRVT, Ns(0)), ClockOffset(Venue.BACKPACK, Ns(0)))
    assert rig.tick(1) == ([], [])
    rig.wall += 10 * SECOND  # nobody has asked a venue since
    assert len(rig.tick(0.1)[1]) == 1
    assert [a["venue"] for a in rig.alerts("clock")] == ["backpack", "grvt"]
    assert rig.alerts("clock")[0]["what"] == "offset_ms -10000, moved_ms -10000, limit 1000"
    rig.wall -= 10 * SECOND
    rig.tick(0.1)
    assert rig.cleared() == ["clock", "clock"]


def test_F60_deadlines_stay_on_the_monotonic_clock() -> None:
    p = params(max_unhedged=Ns(5 * SECOND))
    rig = Rig(with_position(world(), "0.5", "0"), p=p)
    rig.books[Venue.GRVT] = BAD_BOOKS["empty"]()
    rig.tick()
    rig.wall += 3_600 * SECOND
    rig.tick(1)
    assert rig.sink.events("EMERGENCY", "hedge_late") == []
    rig.tick(4.5)
    assert len(rig.sink.events("EMERGENCY", "hedge_late")) == 1


def test_F61_an_offset_that_grows_slowly_is_told_before_it_stops_anything() -> None:
    rig = Rig()
    for ms in (0, 200, 400):
        rig.read(ClockOffset(Venue.GRVT, Ns(ms * MS)))
        rig.tick(10)
    assert rig.alerts("clock") == []
    rig.read(ClockOffset(Venue.GRVT, Ns(600 * MS)))
    rig.tick(0.1)
    (told,) = rig.alerts("clock")
    assert (told["stops_opening"], told["what"]) == (
        "false", "offset_ms 600, moved_ms 600, limit 1000",
    )  # fmt: skip
    rig.read(ClockOffset(Venue.GRVT, Ns(1100 * MS)))
    rig.tick(0.1)
    assert [a["stops_opening"] for a in rig.alerts("clock")] == ["false", "true"]
    assert rig.w.held().startswith("clock: offset_ms 1100")


def test_F61_a_drift_between_two_measurements_is_seen_too() -> None:
    rig = Rig()
    rig.read(ClockOffset(Venue.GRVT, Ns(0)))
    rig.tick()
    rig.mono += 100 * SECOND
    rig.wall += 100 * SECOND + 700 * MS  # 7,000 ppm fast
    rig.tick()
    assert rig.alerts("clock")[0]["what"] == "offset_ms -700, moved_ms -700, limit 1000"


# --- F71: margin -------------------------------------------------------------------------------


def test_F71_margin_warns_first_and_opens_nothing_more() -> None:
    rig = rested()
    rig.read(account(Venue.GRVT, equity=Quote(nano(1000)), maintenance=Quote(nano(400))))
    _, (cancel,) = rig.tick()
    assert cancel.venue is Venue.BACKPACK
    (told,) = rig.alerts("margin")
    assert told["what"] == "margin_ratio of grvt 40.00 %, limit 40.00 %"
    assert rig.mode == "RUNNING"


def test_F71_then_both_legs_are_closed_in_lockstep_before_the_venue_does() -> None:
    rig = hedged()
    rig.tick()
    rig.read(account(Venue.GRVT, equity=Quote(nano(1000)), maintenance=Quote(nano(600))))
    rig.tick(0.1)
    assert rig.mode == "RUNNING"  # one reading is no margin call
    rig.tick(1.1)
    assert rig.w.reason == "margin: margin_ratio of grvt 60.00 %, limit 60.00 %"
    sent = flatten(rig)
    assert all(request.reduce_only for request in sent)
    assert [request.venue for request in sent[:2]] == [Venue.BACKPACK, Venue.GRVT]
    assert sent[0].qty == sent[1].qty
    assert (rig.w.primary.position, rig.w.hedge_leg.position) == (0, 0)


@pytest.mark.parametrize("kept", ["operator_halt", "position_mismatch: x"])
def test_F71_a_pair_near_liquidation_is_closed_though_another_latch_would_keep_it(
    kept: str,
) -> None:
    rig = Rig(with_position(world(), "1.0", "-0.5"))  # something is left to reduce
    rig.tick()
    rig.core.on(LatchMoved(Mode.REDUCING, kept, rig.now()))
    rig.read(account(Venue.GRVT, equity=Quote(nano(1000)), maintenance=Quote(nano(600))))
    rig.tick(0.1)
    rig.tick(1.1)
    assert rig.w.reason.startswith("margin: ")
    rig.core.trip(Trip(Reason.POSITION_MISMATCH, "y"), rig.now())
    assert rig.w.reason.startswith("margin: "), "the graver reason stays"


@pytest.mark.parametrize(
    ("venue", "edge", "expected"),
    [
        (Venue.BACKPACK, "2955", "WARN"),  # long: 150 bps below
        (Venue.BACKPACK, "2851", "WARN"),
        (Venue.BACKPACK, "2800", ""),
        (Venue.GRVT, "3150", "WARN"),  # short: above
        (Venue.GRVT, "3055", "TRIP"),
        (Venue.BACKPACK, "2945", "TRIP"),
        (Venue.GRVT, "2900", ""),  # the wrong side: of a position that is no more
    ],
)
def test_F71_distance_to_the_venues_own_liquidation_price(
    venue: Venue, edge: str, expected: str
) -> None:
    rig = hedged()
    rig.read(account(venue, liquidation=Px(nano(edge))))
    rig.tick()
    rig.tick(1.1)
    tripped = rig.w.mode is not Mode.RUNNING
    near = "2955" if venue is Venue.BACKPACK else "3055"
    assert tripped is (expected == "TRIP" or edge == near)
    assert bool(rig.alerts("margin")) is bool(expected)


def test_F71_the_worse_of_mid_and_mark_counts() -> None:
    rig = hedged()
    rig.read(account(Venue.BACKPACK, liquidation=Px(nano("2900"))))
    by_mid = liquidation_distance(rig.w.primary)
    rig.read(Mark(Venue.BACKPACK, Px(nano("2950"))))
    worse = liquidation_distance(rig.w.primary)
    assert by_mid is not None
    assert worse is not None
    assert worse == Bps(169_491_525)
    assert by_mid > worse


def test_F71_no_liquidation_price_or_no_position_is_no_distance() -> None:
    assert liquidation_distance(world().primary) is None
    rig = hedged()
    assert liquidation_distance(rig.w.primary) is None
    bare = replace(rig.w.primary, facts=replace(rig.w.primary.facts, account=None))
    assert liquidation_distance(bare) is None


def test_F71_an_account_that_is_being_liquidated_latches() -> None:
    rig = hedged()
    rig.read(account(Venue.BACKPACK, liquidating=True))
    rig.tick()
    rig.tick(1.1)
    assert rig.w.reason == "margin: backpack is liquidating the account"


# --- F72: basis --------------------------------------------------------------------------------


def test_F72_a_depeg_alerts_then_reduces_both_legs_without_touching_the_net() -> None:
    rig = hedged()
    rig.tick()
    depegged = [("3060", "5")], [("3060.05", "5")]  # 200 bps: the mean follows within minutes
    for second in range(200):
        rig.books[Venue.GRVT] = book(Venue.GRVT, *depegged)
        rig.read(Mark(Venue.GRVT, Px(nano("3060"))))
        rig.read(Mark(Venue.BACKPACK, Px(nano("3000"))))
        rig.tick(1)
        if rig.w.mode is not Mode.RUNNING:
            break
        assert rig.w.net == 0, second
    assert rig.alerts("basis")[0]["stops_opening"] == "false"
    assert rig.w.reason.startswith("basis: basis 10")
    assert rig.w.reason.endswith(" bps, limit 100.00 either way")
    assert rig.w.basis is not None
    assert rig.w.basis.mean > bps(100)


def test_F72_one_odd_pair_of_books_moves_the_mean_too_little_to_latch() -> None:
    rig = hedged()
    rig.tick()
    rig.books[Venue.GRVT] = book(Venue.GRVT, [("3300", "5")], [("3300.05", "5")])
    rig.tick(0.1)
    rig.books[Venue.GRVT] = book()
    rig.tick(1)
    rig.tick(1)
    assert rig.mode == "RUNNING"


# --- F78, F79 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"leverage": nano(5)}, "leverage 5, expected 10"),
        ({"margin_mode": "ISOLATED"}, "margin_mode ISOLATED, expected CROSS"),
    ],
)
def test_F78_changed_settings_of_the_account_stop_opening_until_they_are_back(
    changes: dict[str, Any], what: str
) -> None:
    rig = rested()
    rig.read(account(Venue.GRVT, **changes))
    assert len(rig.tick()[1]) == 1
    (told,) = rig.alerts("account_changed")
    assert (told["venue"], told["what"], told["stops_opening"]) == ("grvt", what, "true")
    assert rig.mode == "RUNNING"
    rig.read(account(Venue.GRVT))
    rig.tick(0.1)
    assert rig.cleared() == ["account_changed"]


def test_F78_a_configured_leverage_is_checked_from_the_start() -> None:
    rig = Rig(limits=replace(LIMITS, leverage=((Venue.BACKPACK, nano(5)),)))
    assert rig.tick() == ([], [])
    assert rig.alerts("account_changed")[0]["what"] == "leverage 10, expected 5"


def test_F78_without_an_account_nothing_can_have_changed() -> None:
    w = world()
    bare = {v: replace(leg, facts=replace(leg.facts, account=None)) for v, leg in w.legs.items()}
    rig = Rig(replace(w, legs=bare))
    rig.tick()
    assert rig.alerts("account_changed") == []


def test_F79_a_revoked_hedge_key_pages_at_once_withdraws_and_latches_with_the_pair_kept() -> None:
    rig = hedged()
    rig.tick()
    rig.read(Access(Venue.GRVT, "1008 address not whitelisted"))
    rig.tick(0.1)
    (told,) = rig.alerts("venue_forbidden")
    assert told["venue"] == "grvt"
    assert ("error", "ALERT", "venue_forbidden") in {row[:3] for row in rig.sink.lines}
    assert rig.mode == "RUNNING"
    rig.tick(3)
    assert rig.mode == "HALTED"
    assert rig.w.reason == "venue_forbidden: grvt refuses our key: 1008 address not whitelisted"
    assert rig.w.primary.position == SignedQty(nano("0.5"))
    assert rig.w.net == 0


def test_F79_exposure_at_a_dead_hedge_venue_is_undone_on_the_other() -> None:
    rig = Rig(with_position(world(), "0.5", "0"))
    rig.read(Access(Venue.GRVT, "revoked"))
    rig.books[Venue.GRVT] = None
    sent: list[Send] = []
    for _ in range(12):
        for send in rig.tick(0.5)[0]:
            number = send.payload.request.client_id
            if send.payload.request.venue is Venue.BACKPACK:
                sent.append(send)
            else:
                refused = OrderAnswered(number, Verdict.REFUSED, rig.now(), code="1008")
                rig.core.on(refused)
    assert sent
    assert sent[0].payload.request.reduce_only
    assert sent[0].payload.request.side is Side.SELL


def test_F79_a_key_that_works_again_within_seconds_latches_nothing() -> None:
    rig = Rig()
    rig.read(Access(Venue.GRVT, "session"))
    rig.tick(0.1)
    rig.tick(2)
    rig.read(Access(Venue.GRVT, ""))
    rig.tick(2)
    assert rig.mode == "RUNNING"
    assert rig.cleared() == ["venue_forbidden"]


# --- exposure budgets, circuit breaker ---------------------------------------------------------


def test_exposure_time_climbs_the_ladder_alert_stop_emergency() -> None:
    limits = replace(LIMITS, max_naked_hedge=nano(10), max_naked_day=nano(1000))
    rig = Rig(with_position(world(), "0.5", "0"), limits=limits,
              p=params(max_unhedged=Ns(600 * SECOND), passive=Ns(600 * SECOND)))  # fmt: skip
    rig.core.world = replace(rig.w, net_at=Ns(rig.mono), naked_since=Ns(rig.mono))
    rig.tick()  # rests, and nobody takes it
    assert rig.alerts("naked_exposure") == []
    rig.tick(10)
    assert [a["stops_opening"] for a in rig.alerts("naked_exposure")] == ["false"]
    rig.tick(5)
    assert [a["stops_opening"] for a in rig.alerts("naked_exposure")] == ["false", "true"]
    assert rig.sink.events("EMERGENCY", "hedge_late") == []
    rig.tick(5)
    (late,) = rig.sink.events("EMERGENCY", "hedge_late")
    assert late["why"] == "naked_hedge 10 base x s, limit 10"
    assert rig.mode == "RUNNING"
    rig.tick(1)
    assert len(rig.sink.events("EMERGENCY", "hedge_late")) == 1


@pytest.mark.parametrize("bad", ["empty", "crossed"])
def test_F65_F66_a_running_hedge_without_a_usable_book_is_late_after_two_seconds(bad: str) -> None:
    rig = Rig(with_position(world(), "0.5", "0"), p=params(max_unhedged=Ns(600 * SECOND)))
    rig.tick()
    rig.books[Venue.GRVT] = BAD_BOOKS[bad]()
    rig.tick(0.1)
    rig.tick(1.5)
    rig.books[Venue.GRVT] = book()
    rig.tick(1)
    rig.books[Venue.GRVT] = BAD_BOOKS[bad]()
    rig.tick(0.1)
    rig.tick(1.9)
    assert rig.sink.events("EMERGENCY", "hedge_late") == [], "a short break is no reason"
    rig.tick(0.2)
    assert rig.sink.events("EMERGENCY", "hedge_late")[0]["why"] == "no usable book"


def test_F68_a_running_hedge_in_a_closed_market_is_late_after_two_seconds() -> None:
    rig = Rig(with_position(world(), "0.5", "0"), p=params(max_unhedged=Ns(600 * SECOND)))
    rig.tick()
    rig.read(replace(GRVT, tradable=False))
    rig.tick(0.1)
    assert rig.sink.events("EMERGENCY", "hedge_late") == []
    rig.tick(2)
    assert rig.sink.events("EMERGENCY", "hedge_late")[0]["why"] == "the market is closed"


def test_a_days_exposure_latches_keeps_the_pair_and_survives_a_restart(tmp_path: Path) -> None:
    limits = replace(LIMITS, max_naked_day=nano(20))
    rig = Rig(with_position(world(), "0.5", "0"), tmp_path / "j.db", limits)
    rig.core.world = replace(rig.w, net_at=Ns(rig.mono))
    rig.tick()
    rig.core.on(HedgeStarted(1, SignedQty(nano("-0.5")), px("3000"), px("3000"),
                             Ns(rig.mono), rig.now()))  # fmt: skip
    rig.tick(30)
    rig.core.on(HedgeEnded(1, failed=False, at=rig.now()))
    rig.core.world = with_position(rig.w, "0.5", "-0.5")
    rig.core.world = replace(rig.w, naked_integral=15 * nano(SECOND), net_at=Ns(rig.mono))
    rig.tick()
    stored = json.loads(rig.journal.meta(META) or "{}")
    assert stored == {"day": rig.w.day, "used": 15 * nano(SECOND)}
    rig.journal.close()
    again = Rig(with_position(world(), "0.5", "0"), tmp_path / "j.db", limits)
    again.core.world = replace(again.w, net_at=Ns(again.mono))
    again.tick()
    assert again.mode == "RUNNING"
    again.tick(10.1)
    assert again.w.reason.startswith("naked_exposure: naked_day 20.05 base x s, limit 20")
    again.wall += DAY
    again.core.world = replace(again.w, mode=Mode.RUNNING)
    again.tick()
    assert again.mode == "RUNNING"  # the next day has its own


def test_F62_a_wall_clock_set_back_renews_no_exposure_budget() -> None:
    rig = Rig(with_position(world(), "0.5", "0"), limits=replace(LIMITS, max_naked_day=nano(20)))
    rig.core.world = replace(rig.w, net_at=Ns(rig.mono))
    rig.tick()
    rig.tick(30)
    rig.wall -= DAY
    rig.tick(11)
    assert rig.w.reason.startswith("naked_exposure: ")


def test_a_failed_hedge_pauses_opening_and_the_third_in_a_row_latches() -> None:
    rig = Rig()
    for number in (1, 2, 3):
        rig.core.on(HedgeStarted(number, SignedQty(nano("-0.5")), px("3000"), px("3000"),
                                 Ns(rig.mono), rig.now()))  # fmt: skip
        rig.core.on(HedgeEnded(number, failed=True, at=rig.now()))
        if number == 3:
            break
        assert rig.tick() == ([], [])
        (*_, told) = rig.alerts("cool_down")
        assert told["what"] == f"hedges in a row that failed {number}, pause {number * 10} s"
        assert rig.tick(number * 10 - 0.1) == ([], [])
        sent, _ = rig.tick(0.2)
        assert len(sent) == 1
        rig.core.on(OrderAnswered(sent[0].payload.request.client_id, Verdict.REFUSED, rig.now()))
    rig.tick()
    assert rig.w.reason == ("hedge_failures: hedges in a row that needed an emergency 3, limit 3")


def test_a_good_hedge_ends_the_pause() -> None:
    rig = Rig()
    for number, failed in ((1, True), (2, False)):
        rig.core.on(HedgeStarted(number, SignedQty(nano("-0.5")), px("3000"), px("3000"),
                                 Ns(rig.mono), rig.now()))  # fmt: skip
        rig.core.on(HedgeEnded(number, failed=failed, at=rig.now()))
    assert len(rig.tick()[0]) == 1


# --- what is said and shown --------------------------------------------------------------------


def test_H2_a_condition_is_told_once_shown_while_it_stands_and_explained_later() -> None:
    rig = Rig()
    rig.read(account(Venue.GRVT, leverage=nano(5)))
    for _ in range(5):
        rig.tick(0.1)
    (told,) = rig.alerts("account_changed")
    assert str(told["alert"]).startswith("a-")
    shown = snapshot(rig.w, Ns(rig.mono))["alerts"]
    assert "account_changed leverage 5, expected 10" in shown
    kinds = [kind for _, _, kind, _ in rig.journal.events()]
    assert kinds.count("LevelsMoved") == 1
    assert "VenueRead" not in kinds
    rig.read(account(Venue.GRVT))
    rig.tick(0.1)
    assert snapshot(rig.w, Ns(rig.mono))["alerts"] == []


def test_H2_conditions_come_and_go_one_by_one() -> None:
    rig = Rig()
    rig.read(account(Venue.GRVT, leverage=nano(5)))
    rig.tick(0.1)
    rig.read(Access(Venue.BACKPACK, "revoked"))
    rig.tick(0.1)
    assert len(rig.alerts("account_changed")) == len(rig.alerts("venue_forbidden")) == 1
    rig.read(account(Venue.GRVT))
    rig.tick(0.1)
    assert rig.cleared() == ["account_changed"]
    assert [level.code for level in rig.w.levels] == ["venue_forbidden"]


def test_the_gate_says_which_condition_held_an_order_back() -> None:
    rig = Rig()
    rig.read(account(Venue.GRVT, leverage=nano(5)))
    rig.tick()
    assert rig.sink.events("OPEN", "waiting")[-1]["why"] == (
        "account_changed: leverage 5, expected 10"
    )


def test_readiness_changes_the_next_decision() -> None:
    rig = rested()
    rig.read(Readiness(Venue.GRVT, session=True, orders=0))
    assert len(rig.tick()[1]) == 1
    assert rig.sink.events("VENUE", "cancel")[-1]["why"] == (
        "grvt order lane has no room for a hedge"
    )


def test_a_maker_and_its_hedge_survive_every_condition() -> None:
    """What stands forbids opening only: the fill that still came is hedged."""
    rig = rested()
    number = next(iter(rig.w.orders))
    rig.read(account(Venue.GRVT, leverage=nano(5)))
    rig.tick()
    rig.seen(fill(rig.w, number, "0.5").event)
    rig.seen(view(rig.w, number, "0.5", Status.FILLED).event)
    sent, _ = rig.tick(0.01)
    assert [s.payload.request.venue for s in sent] == [Venue.GRVT]

"""The gate: limits stop openings and only openings; direction, price and size bind everything."""

from dataclasses import replace

import pytest

from safety.gate import Approved, Denied, LegRisk, RiskView, gate
from safety.reasons import Reason
from strategy.domain import (
    Draft,
    Instrument,
    Mode,
    Ns,
    Purpose,
    Qty,
    Quote,
    Side,
    SignedQty,
    Tif,
    nano,
)
from tests.builders import BACKPACK, GRVT, LIMITS, SECOND, at, draft, maker_draft, px, qty


def leg(instrument: Instrument, position: str = "0", **changes: object) -> LegRisk:
    made = LegRisk(
        instrument=instrument,
        position=SignedQty(nano(position)),
        reserved_buy=Qty(0),
        reserved_sell=Qty(0),
        bid=px("3000.00"),
        ask=px("3000.05"),
        book_at=at().mono,
        up=True,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # field names are checked by replace


def risk(primary: str = "0", hedge: str = "0", *, of: str = "hedge", **changes: object) -> RiskView:
    a, b = leg(BACKPACK, primary), leg(GRVT, hedge)
    made = RiskView(
        mode=Mode.RUNNING,
        leg=b if of == "hedge" else a,
        other=a if of == "hedge" else b,
        net=SignedQty(nano(primary) + nano(hedge)),
        day_pnl=Quote(0),
        unhedged=False,
        orders_last_minute=0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # field names are checked by replace


def code(made: Draft, view: RiskView) -> Reason | None:
    ruling = gate(made, view, LIMITS, at())
    return ruling.code if isinstance(ruling, Denied) else None


def test_a_good_maker_and_a_good_hedge_pass() -> None:
    assert code(maker_draft(), risk(of="primary")) is None
    assert code(draft(), risk("0.5")) is None


def test_approved_orders_come_from_the_gate_only() -> None:
    with pytest.raises(TypeError, match="gate only"):
        Approved(draft(), at().mono, object())


def test_S8_an_approval_grows_too_old() -> None:
    ruling = gate(draft(), risk("0.5"), LIMITS, at())
    assert isinstance(ruling, Approved)
    assert ruling.good(at(0.5).mono, Ns(SECOND))
    assert not ruling.good(at(1.5).mono, Ns(SECOND))


@pytest.mark.parametrize(
    ("position", "size", "denied"),
    [("0", "5", False), ("4.5", "0.5", False), ("4.5", "0.5001", True), ("-5", "0.5", False)],
)
def test_S11_max_position_caps_the_leg(position: str, size: str, denied: bool) -> None:
    view = risk(position, of="primary")
    assert (code(maker_draft(size=size), view) is Reason.MAX_POSITION) is denied


def test_S11_resting_and_in_doubt_orders_count_in_full() -> None:
    view = risk("4", of="primary")
    view = replace(view, leg=replace(view.leg, reserved_buy=qty("0.8")))
    assert code(maker_draft(size="0.3"), view) is Reason.MAX_POSITION
    assert code(maker_draft(size="0.2"), view) is None


def test_REQ_23_limits_never_block_a_reducing_order() -> None:
    close = replace(maker_draft(Side.SELL, "2", "3000.05"), purpose=Purpose.CLOSE, reduce_only=True)
    view = risk("9", "-9", of="primary", day_pnl=Quote(nano(-999)), orders_last_minute=99_999)
    assert code(close, view) is None
    hedge = draft(size="2")
    assert code(hedge, risk("9", "-7", day_pnl=None, orders_last_minute=99_999)) is None


@pytest.mark.parametrize("pnl", [-50, -51])
def test_S11_daily_loss_stops_openings(pnl: int) -> None:
    view = risk(of="primary", day_pnl=Quote(nano(pnl)))
    assert code(maker_draft(), view) is Reason.MAX_DAILY_LOSS


def test_unknown_loss_is_not_zero_loss() -> None:
    assert code(maker_draft(), risk(of="primary", day_pnl=None)) is Reason.LOSS_UNKNOWN


def test_REQ_18_no_opening_while_anything_is_unhedged() -> None:
    assert code(maker_draft(), risk(of="primary", unhedged=True)) is Reason.UNHEDGED


def test_S9_no_opening_on_a_stale_book_or_a_dead_stream() -> None:
    view = risk(of="primary")
    stale = replace(view, other=replace(view.other, book_at=Ns(at().mono - 4 * SECOND)))
    assert code(maker_draft(), stale) is Reason.STALE
    down = replace(view, other=replace(view.other, up=False))
    assert code(maker_draft(), down) is Reason.STREAM_DOWN


@pytest.mark.parametrize(
    ("side", "price", "denied"),
    [
        (Side.SELL, "2998.50", False),
        (Side.SELL, "2998.49", True),
        (Side.BUY, "3001.55", False),
        (Side.BUY, "3001.56", True),
    ],
)
def test_S10_price_is_capped_from_the_touch(side: Side, price: str, denied: bool) -> None:
    exposed = "0.5" if side is Side.SELL else "-0.5"
    made = draft(side=side, price=price)
    assert (code(made, risk(exposed)) is Reason.PRICE_CAP) is denied


def test_S10_post_only_at_the_opposite_touch_is_denied() -> None:
    assert code(maker_draft(price="3000.05"), risk(of="primary")) is Reason.PRICE_CAP


def test_S10_without_a_touch_nothing_is_sent() -> None:
    view = risk("0.5")
    assert code(draft(), replace(view, leg=replace(view.leg, bid=None))) is Reason.PRICE_CAP


@pytest.mark.parametrize("side", list(Side))
def test_REQ_17_a_hedge_never_increases_the_net(side: Side) -> None:
    exposed = "0.5" if side is Side.BUY else "-0.5"
    price = "3000.05" if side is Side.BUY else "3000.00"
    assert code(draft(side=side, price=price), risk(exposed)) is Reason.WRONG_DIRECTION


def test_S1_hedges_never_exceed_the_net_with_reservations() -> None:
    view = risk("0.5")
    view = replace(view, leg=replace(view.leg, reserved_sell=qty("0.2")))
    assert code(draft(size="0.3"), view) is None
    assert code(draft(size="0.31"), view) is Reason.OVER_HEDGE


def test_REQ_16_a_close_never_exceeds_its_position() -> None:
    close = draft(side=Side.BUY, size="0.51", price="3000.05", reduce_only=True,
                  purpose=Purpose.UNWIND)  # fmt: skip
    assert code(close, risk("0.6", "-0.5")) is Reason.WRONG_DIRECTION
    view = risk("0", "-0.5")
    view = replace(view, leg=replace(view.leg, reserved_buy=qty("0.3")))
    assert code(replace(close, qty=qty("0.3")), view) is Reason.WRONG_DIRECTION


@pytest.mark.parametrize("mode", [Mode.REDUCING, Mode.FLATTENING])
def test_S15_reducing_modes_take_reduce_only_orders_only(mode: Mode) -> None:
    assert code(draft(), risk("0.5", mode=mode)) is Reason.NOT_REDUCE_ONLY
    assert code(maker_draft(), risk(of="primary", mode=mode)) is Reason.LATCHED
    close = draft(side=Side.BUY, price="3000.05", reduce_only=True, purpose=Purpose.UNWIND)
    assert code(close, risk("0", "-0.5", mode=mode)) is None


def test_S12_halted_sends_nothing() -> None:
    close = draft(side=Side.BUY, price="3000.05", reduce_only=True, purpose=Purpose.UNWIND)
    assert code(close, risk("0", "-0.5", mode=Mode.HALTED)) is Reason.LATCHED


@pytest.mark.parametrize(
    ("size", "price", "expected"),
    [
        ("0.005", "3000.00", Reason.SIZE),
        ("0.015", "3000.00", Reason.SIZE),
        ("0", "3000.00", Reason.SIZE),
        ("0.5", "2999.995", Reason.TICK),
        ("0.5", "0", Reason.TICK),
    ],
)
def test_S16_only_exact_sizes_and_prices_pass(size: str, price: str, expected: Reason) -> None:
    assert code(draft(size=size, price=price), risk("9")) is expected


def test_emergency_orders_have_their_own_cap() -> None:
    made = draft(price="2990.00", purpose=Purpose.UNWIND, tif=Tif.IOC)
    assert code(made, risk("0.5")) is None
    assert code(replace(made, px=px("2984.99")), risk("0.5")) is Reason.PRICE_CAP


def test_REQ_23_the_order_size_limit_binds_openings_only() -> None:
    small = replace(LIMITS, max_order=qty("0.1"))
    opening = gate(maker_draft(size="0.2"), risk(of="primary"), small, at())
    assert isinstance(opening, Denied)
    assert opening.code is Reason.SIZE
    assert isinstance(gate(draft(size="0.5"), risk("0.5"), small, at()), Approved)

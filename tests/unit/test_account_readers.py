"""What the venues say of the account, read strictly; and orders signed in the venue's own time."""

from typing import Any

import pytest

from exchanges.backpack import account as backpack
from exchanges.backpack.signer import VenueTime as BackpackTime
from exchanges.errors import VenueMalformed
from exchanges.grvt import account as grvt
from exchanges.transport.limiter import Limiter, Rate
from strategy.domain import NANO, Ns, Px, Quote, Venue, nano
from strategy.facts import Account, Mark

MS = 1_000_000
ETH = "ETH_USDT_Perp"


class Clock:
    """Both clocks by hand: the wall clock may step."""

    def __init__(self) -> None:
        self.mono_ns, self.wall_ns = 5 * NANO, 1_700_000_000 * NANO

    def mono(self) -> Ns:
        return Ns(self.mono_ns)

    def wall(self) -> Ns:
        return Ns(self.wall_ns)

    async def sleep(self, seconds: float) -> None:
        self.run(seconds)

    def run(self, seconds: float) -> None:
        self.mono_ns += round(seconds * NANO)
        self.wall_ns += round(seconds * NANO)


# --- GRVT ----------------------------------------------------------------------------------------


def summary(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "margin_type": "SIMPLE_CROSS_MARGIN",
        "total_equity": "1000.5",
        "available_balance": "700.25",
        "maintenance_margin": "15",
        "positions": [
            {"instrument": "BTC_USDT_Perp", "est_liquidation_price": "1"},
            {"instrument": ETH, "est_liquidation_price": "3300.1"},
        ],
    }
    return row | changes


def leverages(**changes: Any) -> list[dict[str, Any]]:
    return [
        {"instrument": "BTC_USDT_Perp", "leverage": "50.0", "margin_type": "CROSS"},
        {"instrument": ETH, "leverage": "10.0", "margin_type": "CROSS"} | changes,
    ]


def test_a_grvt_account_is_summary_position_and_leverage() -> None:
    assert grvt.account(summary(), leverages(), ETH) == Account(
        venue=Venue.GRVT,
        equity=Quote(nano("1000.5")),
        available=Quote(nano("700.25")),
        maintenance=Quote(nano(15)),
        leverage=nano(10),
        margin_mode="CROSS",
        liquidation=Px(nano("3300.1")),
    )


@pytest.mark.parametrize("price", ["0.0", "0", None])
def test_no_liquidation_price_is_none_and_not_zero(price: str | None) -> None:
    held = [{"instrument": ETH, "est_liquidation_price": price}]
    assert grvt.account(summary(positions=held), leverages(), ETH).liquidation is None
    assert grvt.account(summary(positions=[]), leverages(), ETH).liquidation is None


def test_without_a_margin_type_of_the_instrument_the_accounts_own_counts() -> None:
    rows = leverages(margin_type=None)
    assert grvt.account(summary(), rows, ETH).margin_mode == "SIMPLE_CROSS_MARGIN"


@pytest.mark.parametrize(
    ("changed", "rows", "said"),
    [
        ({"total_equity": None}, leverages(), "'total_equity' is missing"),
        ({"available_balance": "x"}, leverages(), "'available_balance'"),
        ({"maintenance_margin": None}, leverages(), "'maintenance_margin' is missing"),
        ({"positions": None}, leverages(), "'positions' is missing"),
        ({}, leverages()[:1], "no row of ETH_USDT_Perp"),
        ({}, leverages(leverage="0"), "'leverage' is zero"),
        ({}, {"x": 1}, "expected an array"),
    ],
)
def test_a_grvt_answer_that_lacks_something_is_no_account(
    changed: dict[str, Any], rows: Any, said: str
) -> None:
    with pytest.raises(VenueMalformed, match=said):
        grvt.account(summary(**changed), rows, ETH)


def test_a_mark_that_is_zero_is_no_mark() -> None:
    assert grvt.mark({"mark_price": "3000.5"}) == Mark(Venue.GRVT, Px(nano("3000.5")))
    with pytest.raises(VenueMalformed, match="zero"):
        grvt.mark({"mark_price": "0.0"})


# --- Backpack ------------------------------------------------------------------------------------

PERP = "ETH_USDC_PERP"
COLLATERAL = {"netEquity": "900", "netEquityAvailable": "800.5"}
SETTINGS = {"leverageLimit": "10", "liquidating": False}


def position(symbol: str = PERP, **changes: Any) -> dict[str, Any]:
    row = {
        "symbol": symbol,
        "netQuantity": "-0.5",
        "markPrice": "3000",
        "mmf": "0.0125",
        "estLiquidationPrice": "3200.5",
    }
    return row | changes


def test_a_backpack_account_is_collateral_positions_and_settings() -> None:
    rows = [position(), position("SOL_USDC_PERP", netQuantity="10", markPrice="100", mmf="0.05")]
    assert backpack.account(COLLATERAL, rows, SETTINGS, PERP) == Account(
        venue=Venue.BACKPACK,
        equity=Quote(nano(900)),
        available=Quote(nano("800.5")),
        maintenance=Quote(nano("68.75")),  # of every position: they share the equity
        leverage=nano(10),
        margin_mode="CROSS",
        liquidation=Px(nano("3200.5")),
    )


def test_a_flat_backpack_account_needs_no_margin() -> None:
    flat = backpack.account(COLLATERAL, [], SETTINGS | {"liquidating": True}, PERP)
    assert (flat.maintenance, flat.liquidation, flat.liquidating) == (0, None, True)
    closed = [position(netQuantity="0", markPrice=None, estLiquidationPrice="0")]
    assert backpack.account(COLLATERAL, closed, SETTINGS, PERP).maintenance == 0
    assert backpack.account(COLLATERAL, closed, SETTINGS, PERP).liquidation is None


@pytest.mark.parametrize(
    ("collateral", "rows", "settings"),
    [
        ({"netEquity": "1"}, [], SETTINGS),
        ({"netEquityAvailable": "1"}, [], SETTINGS),
        (COLLATERAL, [position(mmf=None)], SETTINGS),
        (COLLATERAL, [position(markPrice=None)], SETTINGS),
        (COLLATERAL, [position(netQuantity=None)], SETTINGS),
        (COLLATERAL, {}, SETTINGS),
        (COLLATERAL, [], {}),
        (COLLATERAL, [], {"leverageLimit": "10", "liquidating": "no"}),
    ],
)
def test_a_backpack_answer_that_lacks_something_is_no_account(
    collateral: Any, rows: Any, settings: Any
) -> None:
    with pytest.raises(VenueMalformed):
        backpack.account(collateral, rows, settings, PERP)


def test_backpack_mark_of_our_symbol_only() -> None:
    rows = [{"symbol": "SOL_USDC_PERP", "markPrice": "1"}, {"symbol": PERP, "markPrice": "3000"}]
    assert backpack.mark(rows, PERP) == Mark(Venue.BACKPACK, Px(nano(3000)))
    with pytest.raises(VenueMalformed, match="no row"):
        backpack.mark(rows[:1], PERP)
    with pytest.raises(VenueMalformed, match="missing"):
        backpack.mark([{"symbol": PERP, "markPrice": None}], PERP)


# --- F60: the venue's time by our monotonic clock ----------------------------------------------


@pytest.mark.parametrize("step", [-10, 0, 10])
def test_F60_a_step_of_the_wall_clock_changes_no_expiry_at_grvt(step: int) -> None:
    clock = Clock()
    time = grvt.VenueTime(clock)
    venue = clock.wall() + 300 * MS
    time.measured(Ns(venue), clock.mono(), clock.mono())
    clock.run(7)
    clock.wall_ns += step * NANO
    expires = Ns(clock.wall() + 5 * NANO)
    assert time.expiry(expires) == venue + 12 * NANO


def test_F60_until_it_was_asked_and_after_a_slow_answer_our_clock_serves() -> None:
    clock = Clock()
    time = grvt.VenueTime(clock)
    assert time.expiry(Ns(77)) == 77
    time.measured(Ns(1), Ns(0), Ns(grvt.MAX_TRIP + 1))
    assert time.expiry(Ns(77)) == 77


@pytest.mark.parametrize("step", [-10, 0, 10])
def test_F60_backpack_timestamps_stay_the_venues_after_a_step(step: int) -> None:
    clock = Clock()
    time = BackpackTime(clock)
    venue = clock.wall() + 300 * MS
    time.measured(Ns(venue), clock.wall(), clock.wall())
    clock.run(7)
    clock.wall_ns += step * NANO
    assert time.now_ms() == (venue + 7 * NANO) // MS
    stamp, window = time.validity(Ns(clock.wall() + 5 * NANO))
    assert (stamp, window) == ((venue + 7 * NANO) // MS, 5000)
    assert time.present() == 300 * MS - step * NANO


# --- the order lane ----------------------------------------------------------------------------


def test_room_counts_what_urgent_orders_may_take_now() -> None:
    clock = Clock()
    limiter = Limiter(clock, {"orders": Rate(per_second=20, burst=20, reserve=10)})
    assert limiter.room("orders") == 20
    for _ in range(10):
        assert limiter.try_acquire("orders")
    assert not limiter.try_acquire("orders")  # the rest is kept for hedges
    assert limiter.room("orders") == 10
    for _ in range(10):
        assert limiter.try_acquire("orders", urgent=True)
    assert limiter.room("orders") == 0
    clock.run(0.1)
    assert limiter.room("orders") == 2

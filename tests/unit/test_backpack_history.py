"""The recovery recipe: what three surfaces together prove (venues.md B3.2, faults.md 4)."""

from typing import Any

import pytest

from exchanges.backpack import history
from exchanges.backpack.sdk import ResourceNotFound
from exchanges.errors import VenueError, VenueForbidden, VenueMalformed, VenueUnreachable
from exchanges.port import Found, InDoubt, NotFound
from strategy.domain import NANO, ClientId, Ns, OrderRef, Status
from tests.unit.test_backpack_codec import FILL, ORDER, Row

SYMBOL = "ETH_USDC_PERP"
REF = OrderRef(ClientId(7), SYMBOL)
SINCE = Ns(1_753_637_940_000_000_000)
MISSING = ResourceNotFound("404", "RESOURCE_NOT_FOUND")
PAST = ORDER | {"createdAt": "2025-07-27T17:39:00.050", "executedQuantity": "0.25"}


class FakeAccount:
    """Answers each surface with rows, or raises."""

    def __init__(
        self,
        resting: Row | VenueError = MISSING,
        fills: list[Any] | VenueError | str = "",
        orders: list[Any] | VenueError | str = "",
    ) -> None:
        self.resting = resting
        self.fills = fills
        self.orders = orders
        self.funding: list[Any] = []
        self.offsets: list[int] = []
        self.from_ms: list[int] = []
        self.ignores_offset = False

    async def resting_order(self, ref: OrderRef) -> Any:
        assert ref == REF
        return _give(self.resting)

    async def get_fill_history(self, *, symbol: str, limit: int, offset: int, from_: int) -> Any:
        assert symbol == SYMBOL
        self.from_ms.append(from_)
        return _page(self.fills, limit, 0 if self.ignores_offset else offset)

    async def get_order_history(self, *, symbol: str, limit: int, offset: int) -> Any:
        assert symbol == SYMBOL
        self.offsets.append(offset)
        return _page(self.orders, limit, offset)

    async def get_funding_payments(self, *, symbol: str, limit: int, offset: int) -> Any:
        assert symbol == SYMBOL
        return _page(self.funding, limit, offset)


def _give(value: Any) -> Any:
    if isinstance(value, VenueError):
        raise value
    return value


def _page(value: Any, limit: int, offset: int) -> Any:
    given = _give(value)
    if given == "":
        return []
    return given[offset : offset + limit] if isinstance(given, list) else given


async def look(account: FakeAccount) -> Any:
    return await history.lookup(account, REF, SINCE)  # type: ignore[arg-type] # a scripted account


@pytest.mark.parametrize(
    ("resting", "kind"),
    [
        (ORDER, Found),
        (ORDER | {"clientId": 8}, InDoubt),
        (ORDER | {"symbol": "BTC_USDC_PERP"}, InDoubt),
        ({"id": "1"}, InDoubt),
        (VenueUnreachable("503"), InDoubt),
        (VenueForbidden("401"), InDoubt),
        (VenueMalformed("html 404"), InDoubt),
    ],
)
async def test_resting_order_is_found_and_an_error_is_never_absence(
    resting: Any, kind: type
) -> None:
    assert isinstance(await look(FakeAccount(resting)), kind)


async def test_F02_not_found_needs_all_three_surfaces() -> None:
    assert await look(FakeAccount()) == NotFound("order,fills,history")


@pytest.mark.parametrize(
    "broken", [VenueUnreachable("timeout"), VenueMalformed("odd"), {"code": "X"}, [{"odd": 1}]]
)
async def test_F53_a_broken_surface_leaves_the_order_in_doubt(broken: Any) -> None:
    assert isinstance(await look(FakeAccount(fills=broken)), InDoubt)
    assert isinstance(await look(FakeAccount(orders=broken)), InDoubt)


@pytest.mark.parametrize(
    ("fill_qty", "status", "executed", "kind", "cum"),
    [
        # History is final and fills agree, or lag behind it.
        (["0.25"], "Cancelled", "0.25", Found, NANO // 4),
        ([], "Cancelled", "0.25", Found, NANO // 4),
        ([], "Expired", "0", Found, 0),
        (["0.25", "0.25"], "Filled", "0.5", Found, NANO // 2),
        # Fills alone complete the order while its history row is old.
        (["0.25", "0.25"], "PartiallyFilled", "0.25", Found, NANO // 2),
        # Anything that may still change.
        (["0.3"], "Cancelled", "0.25", InDoubt, 0),
        (["0.25"], "PartiallyFilled", "0.25", InDoubt, 0),
        ([], "New", "0", InDoubt, 0),
        ([], "Unheard", "0", Found, 0),
    ],
)
async def test_F01_final_state_from_history_and_fills(
    fill_qty: list[str], status: str, executed: str, kind: type, cum: int
) -> None:
    fills = [FILL | {"quantity": qty, "tradeId": n} for n, qty in enumerate(fill_qty)]
    outcome = await look(
        FakeAccount(fills=fills, orders=[PAST | {"status": status, "executedQuantity": executed}])
    )
    assert isinstance(outcome, kind)
    if isinstance(outcome, Found):
        assert outcome.view.cum == cum
        assert outcome.view.status.terminal or outcome.view.status is Status.UNKNOWN


async def test_fills_without_a_history_row_mean_that_history_lags() -> None:
    outcome = await look(FakeAccount(fills=[FILL]))
    assert isinstance(outcome, InDoubt)
    assert "lags" in outcome.why


async def test_rows_of_other_orders_prove_nothing() -> None:
    other = {"clientId": "8", "orderId": "1", "id": "1"}
    outcome = await look(FakeAccount(fills=[FILL | other], orders=[PAST | other]))
    assert isinstance(outcome, NotFound)


async def test_order_created_before_since_is_another_life_of_the_number() -> None:
    old = PAST | {"createdAt": "2025-07-27T17:38:59", "status": "Filled"}
    assert isinstance(await look(FakeAccount(orders=[old])), NotFound)


async def test_two_orders_with_our_number_are_in_doubt() -> None:
    outcome = await look(FakeAccount(orders=[PAST, PAST | {"id": "2"}]))
    assert isinstance(outcome, InDoubt)


async def test_fills_are_paged_filtered_and_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PAGE", 2)
    rows = [FILL | {"tradeId": 10 - n, "timestamp": f"2025-07-27T17:39:0{5 - n}"} for n in range(5)]
    account = FakeAccount(fills=[*rows, FILL | {"timestamp": "2025-07-27T17:38:00"}])
    found = await history.fills(account, SYMBOL, SINCE)  # type: ignore[arg-type] # scripted
    assert [row.trade_id for row in found] == ["6", "7", "8", "9", "10"]
    assert set(account.from_ms) == {SINCE // 1_000_000}
    assert len(account.from_ms) == 4


async def test_venue_that_ignores_the_offset_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PAGE", 1)

    account = FakeAccount(fills=[FILL, FILL])
    account.ignores_offset = True
    with pytest.raises(VenueMalformed, match="repeats"):
        await history.fills(account, SYMBOL, SINCE)  # type: ignore[arg-type] # scripted


@pytest.mark.parametrize(("newest_first", "pages"), [(True, 1), (False, 3)])
async def test_order_history_stops_early_only_when_it_runs_newest_first(
    newest_first: bool, pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PAGE", 2)
    rows = [PAST | {"id": str(n), "createdAt": f"2025-07-27T17:38:{n:02}"} for n in range(5)]
    account = FakeAccount(orders=rows[::-1] if newest_first else rows)
    found = await history.past_orders(account, SYMBOL, SINCE)  # type: ignore[arg-type] # scripted
    assert found == ()
    assert len(account.offsets) == pages


async def test_funding_payments_are_unique_oldest_first_and_since() -> None:
    def paid(hour: int, amount: str) -> Row:
        return {
            "symbol": SYMBOL,
            "quantity": amount,
            "intervalEndTimestamp": f"2025-07-27T{hour}:00:00",
            "fundingRate": "0.00001",
        }

    account = FakeAccount()
    account.funding = [paid(19, "-0.2"), paid(18, "0.1"), paid(18, "0.1"), paid(17, "5")]
    found = await history.funding_payments(account, SYMBOL, SINCE)  # type: ignore[arg-type] # scripted
    assert [row.amount for row in found] == [NANO // 10, -NANO // 5]

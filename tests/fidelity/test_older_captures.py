"""What captured messages of different ages have in common with what our codecs expect today."""

import pytest

from exchanges.backpack import codec as backpack
from exchanges.errors import VenueMalformed
from exchanges.grvt import codec as grvt
from strategy.domain import NANO, Status
from tests.fidelity import backpack_shapes, grvt_shapes
from tests.fidelity.shapes import instance

FILL = instance(grvt_shapes.FILL, 0) | {"instrument": "ETH_USDT_Perp", "fee_currency": "USDT"}
OLDER = {key: value for key, value in FILL.items() if key not in ("fee_currency", "is_liquidation")}
TRIGGER = instance(backpack_shapes.PAST_TRIGGER, 1) | {"executedQuantity": "0", "status": "Expired"}


def test_a_fill_without_its_currency_is_paid_in_the_settle_currency() -> None:
    assert grvt.fill(OLDER) == grvt.fill(FILL | {"is_liquidation": False})


@pytest.mark.parametrize("symbol", ["ETH", "ETH_USDT", "A_B_C_D"])
def test_a_fill_whose_symbol_names_no_currency_is_an_error(symbol: str) -> None:
    with pytest.raises(VenueMalformed, match="fee_currency"):
        grvt.fill(OLDER | {"instrument": symbol})


@pytest.mark.parametrize(
    ("word", "tradable"), [("ACTIVE", True), ("DELISTED", False), ("HALTED", False)]
)
def test_F68_only_an_active_instrument_is_tradable(word: str, tradable: bool) -> None:
    row = instance(grvt_shapes.INSTRUMENT, 0) | {"status": word, "base": "ETH"}
    assert grvt.find_instrument([row], "ETH").instrument.tradable is tradable


def test_an_instrument_without_min_notional_is_refused() -> None:
    row = instance(grvt_shapes.INSTRUMENT, 0)
    del row["min_notional"]
    with pytest.raises(VenueMalformed, match="min_notional"):
        grvt.find_instrument([row], row["base"])


def test_an_order_that_waited_for_a_trigger_has_the_size_of_its_trigger() -> None:
    view = backpack.order(TRIGGER | {"triggerQuantity": "0.25"})
    assert (view.qty, view.cum, view.status) == (NANO // 4, 0, Status.EXPIRED)


def test_a_trigger_in_percent_of_a_position_has_the_size_that_traded() -> None:
    view = backpack.order(TRIGGER | {"triggerQuantity": "50%", "executedQuantity": "0.1"})
    assert (view.qty, view.cum) == (NANO // 10, NANO // 10)


@pytest.mark.parametrize("size", [None, "half", 0.5])
def test_REQ_3_an_order_without_any_size_is_an_error(size: object) -> None:
    with pytest.raises(VenueMalformed):
        backpack.order(TRIGGER | {"triggerQuantity": size})

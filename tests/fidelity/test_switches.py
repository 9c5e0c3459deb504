"""Switches of the simulated venues as text."""

import pytest

from exchanges.simulator.backpack_options import BackpackOptions
from exchanges.simulator.grvt_options import GrvtOptions
from exchanges.simulator.model import SelfTrade
from exchanges.simulator.switches import SwitchError, known, switched
from strategy.domain import NANO, Ns


def test_no_switch_leaves_the_defaults() -> None:
    assert switched([]) == (GrvtOptions(), BackpackOptions())


def test_every_switch_takes_its_own_default() -> None:
    names = known()
    assert switched(f"{name}={value}" for name, value in names.items()) == switched([])
    assert {"grvt.request_ids", "backpack.remainder_status"} <= names.keys()


def test_values_are_read_by_the_type_of_their_field() -> None:
    grvt, backpack = switched(
        [
            "grvt.request_ids=true",
            "grvt.cookie_life=20s",
            "grvt.socket_idle=1500ms",
            "grvt.omit=fee_currency,builder",
            "grvt.self_trade=reject_maker",
            "backpack.mark_band_bps=9000,11000",
            "backpack.ping_seconds=0.5",
            "backpack.remainder_status=Cancelled",
            "backpack.requests_per_minute=100000",
        ]
    )
    assert grvt.request_ids
    assert (grvt.cookie_life, grvt.socket_idle) == (20 * NANO, Ns(1500 * 10**6))
    assert grvt.omit == {"fee_currency", "builder"}
    assert grvt.self_trade is SelfTrade.REJECT_MAKER
    assert backpack.mark_band_bps == (9000, 11000)
    assert (backpack.ping_seconds, backpack.requests_per_minute) == (0.5, 100_000)
    assert backpack.remainder_status == "Cancelled"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("grvt.request_ids", "no value"),
        ("grvt.request_id=true", "did you mean grvt.request_ids"),
        ("nowhere.x=1", "unknown"),
        ("grvt.request_ids=yes", "true or false"),
        ("grvt.cookie_life=20", "ms, s, m or h"),
        ("grvt.rate_tier=many", "whole number"),
        ("backpack.ping_seconds=soon", "seconds"),
        ("grvt.tell_order=last", "order_first, fill_first, random"),
        ("backpack.remainder_status=Gone", "remainder_status"),
    ],
)
def test_a_switch_that_does_not_fit_is_named_in_one_line(text: str, says: str) -> None:
    with pytest.raises(SwitchError, match=says) as told:
        switched([text])
    assert "\n" not in str(told.value)

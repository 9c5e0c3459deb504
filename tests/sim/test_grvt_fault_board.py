"""The fault board: which faults it takes, and what it says to those that it does not."""

import pytest

from exchanges.simulator.fault_table import ELSEWHERE, SPECS
from exchanges.simulator.faults import FaultBoard, FaultError
from strategy.domain import NANO, Ns, Venue
from tests.sim.grvt_rig import Json
from tests.sim.test_universe import best_bid, universe


@pytest.mark.parametrize(
    "name", [name for name, spec in SPECS.items() if Venue.GRVT in spec.venues]
)
def test_every_row_of_the_catalogue_that_grvt_can_cause_is_accepted(name: str) -> None:
    board = FaultBoard(lambda: Ns(NANO))
    board.add({"venue": "grvt", "fault": name, "seconds": 5})
    assert board.holds(Venue.GRVT, name)
    assert board.since(Venue.GRVT, name) == NANO


def test_the_whole_catalogue_is_either_injected_or_explained() -> None:
    assert set(SPECS) | set(ELSEWHERE) == {f"F{number:02d}" for number in range(1, 81)}
    assert not set(SPECS) & set(ELSEWHERE)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_no_venue_can_cause_is_refused_with_a_line(name: str) -> None:
    board = FaultBoard(lambda: Ns(NANO))
    with pytest.raises(FaultError, match=f"fault {name} ") as caught:
        board.add({"venue": "grvt", "fault": name})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"fault": "F01", "note": "x"}, "'note' is unknown for fault F01: use count, seconds"),
        ({"fault": "F03", "delay": 5}, "'delay' is unknown for fault F03: use count, seconds, del"),
        ({"fault": "F05", "status": 418}, "status 418 is unknown: use one of 500, 502, 503, 504"),
        ({"fault": "F23", "mode": "x"}, "mode 'x' is unknown: use one of larger, shrinks"),
        ({"fault": "F25", "size": 1}, "size 1 is not a positive decimal in text"),
        ({"fault": "F25", "size": "-1"}, "size '-1' is not a positive decimal in text"),
        ({"fault": "F25", "size": "x"}, "size 'x' is not a positive decimal in text"),
        ({"fault": "F26", "account": ""}, "account '' is not a short text"),
        ({"fault": "F27", "parts": 1}, "parts 1 must be from 2 to"),
        ({"fault": "F60", "offset_ms": 0.5}, "offset_ms 0.5 is not a whole number"),
        ({"fault": "F64", "bps": -9001}, "bps -9001 must be from -9000"),
        ({"fault": "F22", "mode": "202"}, "'mode' is unknown for fault F22"),
    ],
)
def test_a_setting_that_does_not_fit_is_one_clear_line(spec: Json, word: str) -> None:
    board = FaultBoard(lambda: Ns(NANO))
    with pytest.raises(FaultError) as caught:
        board.add({"venue": "grvt", **spec})
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


# --- states of the market --------------------------------------------------------------------


@pytest.mark.parametrize(("name", "bps", "usual"), [("F64", 700, 500), ("F72", -300, 200)])
def test_F64_F72_the_market_moves_while_the_fault_lasts(name: str, bps: int, usual: int) -> None:
    for settings, moved in (({}, usual), ({"bps": bps}, bps)):
        made, _ = universe()
        made.start()
        before = best_bid(made)
        made.set_market(Venue.GRVT, shift_bps=100)
        made.faults.add({"venue": "grvt", "fault": name, **settings})
        made.apply_faults()
        assert best_bid(made) == before * (10_100 + moved) // 10_000
        made.faults.clear()
        made.apply_faults()
        assert best_bid(made) == before * 101 // 100


def test_F67_the_depth_vanishes_while_the_fault_lasts() -> None:
    made, _ = universe()
    made.start()
    engine, symbol = made.engines[Venue.GRVT], made.symbols[Venue.GRVT]
    whole = engine.book(symbol, 1)[0][0][1]
    made.faults.add({"venue": "grvt", "fault": "F67"})
    made.apply_faults()
    assert engine.book(symbol, 1)[0][0][1] == whole // 100
    made.faults.add({"venue": "grvt", "fault": "F65"})
    made.apply_faults()
    assert engine.book(symbol, 1) == ([], [])
    made.faults.clear()
    made.apply_faults()
    assert engine.book(symbol, 1)[0][0][1] == whole


def test_a_shift_that_leaves_no_price_is_refused() -> None:
    made, _ = universe()
    with pytest.raises(ValueError, match="no price"):
        made.set_market(Venue.GRVT, shift_bps=-10_000)

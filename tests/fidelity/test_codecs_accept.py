"""Our codecs take every captured message: rebuilt from its shape here, the captures where found."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

from tests.fidelity import backpack_shapes, grvt_shapes, samples
from tests.fidelity.readers import READERS, refusal
from tests.fidelity.shapes import (
    VARIANTS,
    Difference,
    Shape,
    differences,
    field_names,
    instance,
    names_only,
)

SHAPES: Mapping[str, Mapping[str, Shape]] = {
    "grvt": grvt_shapes.SHAPES,
    "backpack": backpack_shapes.SHAPES,
}
CASES = [
    (venue, name) for venue, found in SHAPES.items() for name in found if name in READERS[venue]
]
REFUSED_ON_PURPOSE = {
    "grvt_rest.jsonl:5": "an instrument of 2025-12 without min_notional, which bounds our orders",
}
"""Captures that a codec must refuse, and why."""
NOT_OURS = {
    "grvt": "account transfers, candles, mini tickers: nothing in the daemon reads them",
    "backpack": "assets, bars, deposits, tickers: nothing in the daemon reads them",
}


@pytest.mark.parametrize(("venue", "name"), CASES)
def test_codecs_take_every_variant_of_a_captured_shape(venue: str, name: str) -> None:
    shape = SHAPES[venue][name]
    for variant in range(VARIANTS):
        message = instance(shape, variant)
        assert not differences(shape, message, newest=False)
        assert refusal(venue, name, message) == "", message


def test_shapes_notice_a_missing_an_extra_and_a_changed_field() -> None:
    book = instance(grvt_shapes.BOOK, 0)
    worse = {**book, "event_time": 1790586284450000000, "depth": 10}
    del worse["asks"]

    found = {difference.path: difference.why for difference in differences(grvt_shapes.BOOK, worse)}

    assert found["asks"] == "missing"
    assert found["depth"].startswith("extra")
    assert found["event_time"].endswith("is not ns")


def test_a_field_of_the_newest_captures_may_be_absent_only_from_old_ones() -> None:
    old = instance(grvt_shapes.POSITION, 1)
    assert "margin_type" not in old
    assert differences(grvt_shapes.POSITION, old, newest=False) == []
    assert differences(grvt_shapes.POSITION, old) == [Difference("margin_type", "missing")]


def _found() -> list[samples.Sample]:
    root = samples.folder()
    if root is None:
        pytest.skip(f"{samples.VARIABLE} names no folder of captured messages")
    return list(samples.read(root))


def _compared(sample: samples.Sample) -> list[Difference]:
    """Compare a capture with the shape that we wrote down from it."""
    shapes = SHAPES[sample.venue]
    if sample.message is None:
        spare = samples.named_in(sample.text) - field_names(shapes[sample.shape])
        return [Difference(name, "extra") for name in sorted(spare - {"result", "results"})]
    if sample.shape == "all_markets":
        kinds = [backpack_shapes.SPOT_MARKET, backpack_shapes.MARKET]
        return differences([names_only(kind) for kind in kinds], sample.message)
    shape = shapes[sample.shape]
    return differences(shape if sample.typed else names_only(shape), sample.message, newest=False)


def test_every_capture_has_the_shape_that_we_wrote_down() -> None:
    wrong = {sample.place: _compared(sample) for sample in _found()}

    assert {place: found for place, found in wrong.items() if found} == {}


def _tidied(sample: samples.Sample) -> Iterator[object]:
    """Yield the messages to read: where only text was kept, its first whole row."""
    if sample.message is not None:
        yield sample.message
        return
    start = sample.text.rfind("{", 0, sample.text.find('"instrument"'))
    end = sample.text.find("}", start)
    if sample.shape in ("instruments.reply", "trades.reply") and 0 < start < end:
        yield {"result": [json.loads(sample.text[start : end + 1])]}


def test_codecs_take_every_capture(capsys: pytest.CaptureFixture[str]) -> None:
    count: Counter[str] = Counter()
    refused = {}
    for sample in _found():
        count["messages"] += 1
        if sample.shape not in READERS[sample.venue]:
            count["not read by the daemon"] += 1
            continue
        messages = list(_tidied(sample))
        count["cut short: only names compared"] += not messages
        for message in messages:
            why = refusal(sample.venue, sample.shape, message)
            count["refused" if why else "accepted"] += 1
            if why:
                refused[sample.place] = why
    with capsys.disabled():
        print(json.dumps({"captures": dict(count), "refused": refused}, indent=1))  # noqa: T201 - the figures are the point

    assert refused.keys() == REFUSED_ON_PURPOSE.keys()

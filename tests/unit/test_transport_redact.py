"""No secret leaves the process through a text (S14)."""

import logging
from collections.abc import Iterator

import pytest

from exchanges.transport.redact import KEPT, SDK_LOGGERS, Redactor, tame_sdk_loggers

KEY = "0x" + "ab12" * 16
COOKIE = "canary-cookie-0001"


@pytest.fixture
def records() -> Iterator[list[str]]:
    """What reaches the root logger; gives every touched logger back afterwards."""
    seen: list[str] = []

    class Catch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(self.format(record))

    root, catch = logging.getLogger(), Catch()
    names = [logging.getLogger(name) for name in SDK_LOGGERS]
    before = [(each, each.level, each.propagate, list(each.handlers)) for each in names]
    root.addHandler(catch)
    yield seen
    root.removeHandler(catch)
    for logger, level, propagate, handlers in before:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers


def test_S14_secret_and_its_bare_form_are_masked() -> None:
    redactor = Redactor((KEY,))
    assert redactor.text(f"a {KEY} b {KEY[2:]} c") == "a *** b *** c"


def test_S14_cookie_learned_at_run_time_is_masked() -> None:
    redactor = Redactor()
    assert COOKIE in redactor.text(COOKIE)
    redactor.add(COOKIE)
    redactor.add(COOKIE)
    assert redactor.text(f"gravity={COOKIE};") == "gravity=***;"


def test_longer_secret_goes_first_so_that_no_rest_remains() -> None:
    redactor = Redactor(("secret-part", "secret-part-and-tail"))
    assert redactor.text("secret-part-and-tail") == "***"


def test_short_values_would_mask_ordinary_words() -> None:
    assert Redactor(("ETH", "")).text("ETH is fine") == "ETH is fine"


def test_L6_learned_values_are_bounded_and_configured_ones_stay() -> None:
    redactor = Redactor((KEY,))
    for number in range(3 * KEPT):
        redactor.add(f"cookie-{number:08d}")
    assert "***" in redactor.text(f"cookie-{3 * KEPT - 1:08d}")
    assert redactor.text("cookie-00000000") == "cookie-00000000"
    assert redactor.text(KEY) == "***"


def test_S14_sdk_loggers_are_capped_and_masked_children_included(records: list[str]) -> None:
    child = logging.getLogger("pysdk.grvt_raw_base")
    child.setLevel(logging.DEBUG)
    tame_sdk_loggers(Redactor((KEY, COOKIE)))
    child.info("ask for cookie data=%s", KEY)
    child.warning("bad answer for %s", COOKIE)
    logging.getLogger("bpx").error("request of %s", KEY)
    assert records == ["bad answer for ***", "request of ***"]


def test_S14_traceback_of_an_sdk_shows_no_secret(records: list[str]) -> None:
    tame_sdk_loggers(Redactor((KEY,)))
    try:
        int(f"{KEY} is no number")
    except ValueError:
        logging.getLogger("pysdk.client").exception("failed with %s", KEY)
    assert len(records) == 1
    assert records[0].startswith("failed with *** (ValueError: ")
    assert "*** is no number" in records[0]
    assert KEY[2:] not in records[0]


def test_taming_twice_says_everything_once(records: list[str]) -> None:
    tame_sdk_loggers(Redactor())
    tame_sdk_loggers(Redactor((KEY,)))
    logging.getLogger("pysdk").warning("once %s", KEY)
    assert records == ["once ***"]

"""No secret leaves the process through a text (S14)."""

from exchanges.transport.redact import KEPT, Redactor

KEY = "0x" + "ab12" * 16
COOKIE = "canary-cookie-0001"


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

"""Odd values, and requests with odd places in them."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

_WORDS = [
    "", " ", "0", "-0", "-1", "0.0", "00001", "1e400", "1E-400", "0E-9", "NaN", "Infinity", "-inf",
    "0x", "0x00", "0xzz", "null", "true", "٣", "½", "9" * 40, "9" * 4000, "-" + "9" * 40, "1_000",
    "0." + "0" * 30 + "1", "18446744073709551615", "18446744073709551616", "9223372036854775808",
    "4294967296", "ETH_USDT_Perp", "ETH_USDC_PERP", "eth_usdt_perp", "../../etc/passwd", "%00", "&",
    "a=b&c=d", "\u0000", "\ud800", "\U0001f9ea" * 50, "'; --", "{}", "[]",
]  # fmt: skip
_NUMBERS = [0, -1, 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**64, -(2**63), 0.5, -0.0, 1e-9, 1e308]

scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(_NUMBERS),
    st.sampled_from(_WORDS),
    st.integers(-10, 10_000),
    st.text(max_size=12),
    st.decimals(
        allow_nan=False, allow_infinity=False, min_value=-10_000, max_value=10_000, places=4
    ).map(str),
)
junk: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
deep = st.sampled_from(
    [
        b"[" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 900 + b"]" * 900,
        b'{"a":' * 5000,
        b'{"a":' * 800 + b"1" + b"}" * 800,
    ]
)
garbage = st.one_of(
    st.binary(max_size=64),
    deep,
    st.sampled_from(
        [b"", b"null", b"[]", b'"x"', b"{", b"{}x", b"\xff\xfe{}", b'{"a":NaN}', b"1e999"]
    ),
    st.just(b"@large"),
)
"""Bodies that are mostly no JSON object; ``@large`` stands for one larger than any body may be."""
LARGE = b"@large"


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every place in a JSON value but the root."""
    found: list[tuple[Any, ...]] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += [(*at, key), *paths(inner, (*at, key))]
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            found += [(*at, place), *paths(inner, (*at, place))]
    return found


def _replaced(value: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    copy = json.loads(json.dumps(value))
    holder = copy
    for step in path[:-1]:
        holder = holder[step]
    change(holder, path[-1])
    return copy


SIZES = st.sampled_from(
    ["0.5", "0.1", "1", "3.37", "250", "0.01", "0.001", "0.00001", "0", "-1", "0.1234567891", "1e3"]
)
AWAY = st.sampled_from([-30_000, -400, -3, -1, 0, 1, 2, 5, 400, 30_000, 290_000])
"""Distance of a price from the touch, in ticks of 0.01."""


def sometimes(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """Return the usual value three times of four."""
    return st.integers(0, 3).flatmap(
        lambda n: st.sampled_from(others) if n == 3 else st.just(usual)
    )


def rarely(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """Return the usual value but once in ten times."""
    return rarely_from(st.just(usual), st.sampled_from(others))


def rarely_from(
    usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    """Draw from ``usual`` but once in ten times."""
    return st.integers(0, 9).flatmap(lambda number: other if number == 9 else usual)


def price(draw: st.DrawFn, touch: str) -> str:
    """Return a price somewhere around the touch, now and then off the tick."""
    cents = int(touch.replace(".", "")) if "." not in touch else round(float(touch) * 100)
    cents = cents * 100 if "." not in touch else cents
    at = max(cents + draw(AWAY), 0)
    fine = draw(sometimes("", "5", "000000001", "0"))
    return f"{at // 100}.{at % 100:02d}{fine}"


@st.composite
def grvt_orders(draw: st.DrawFn, template: Json, touch: str) -> Json:
    """Return an order of any kind and size, before anything odd is done to it."""
    order = json.loads(json.dumps(template))
    row, leg = order["order"], order["order"]["legs"][0]
    row["is_market"] = draw(sometimes(False, True))
    row["time_in_force"] = draw(
        sometimes(
            "GOOD_TILL_TIME",
            "IMMEDIATE_OR_CANCEL",
            "FILL_OR_KILL",
            "ALL_OR_NONE",
            "RETAIL_PRICE_IMPROVEMENT",
        )
    )
    row["post_only"], row["reduce_only"] = (
        draw(sometimes(False, True)),
        draw(sometimes(False, True)),
    )
    leg["is_buying_asset"], leg["size"] = draw(st.booleans()), draw(SIZES)
    leg["limit_price"] = "0" if row["is_market"] else price(draw, touch)
    return order if draw(st.integers(0, 2)) else draw(odd(order))


@st.composite
def backpack_orders(draw: st.DrawFn, touch: str) -> Json:
    """Return an order of any kind and size, now and then with something odd in it."""
    market = draw(sometimes(False, True))
    order: Json = {
        "symbol": draw(sometimes("ETH_USDC_PERP", "BTC_USDC_PERP", "", "ETH_USDC")),
        "side": draw(st.sampled_from(["Bid", "Ask"])),
        "orderType": "Market" if market else "Limit",
        "quantity": draw(SIZES),
        "timeInForce": draw(sometimes("GTC", "IOC", "FOK", "XXX")),
        "postOnly": draw(sometimes(False, True)),
        "reduceOnly": draw(sometimes(False, True)),
        "clientId": draw(st.sampled_from([1, 2, 3, 2**32 - 1, 2**32, 0, -1, None])),
        "selfTradePrevention": draw(sometimes("RejectTaker", "RejectMaker", "RejectBoth", "Allow")),
    }
    if market and draw(st.booleans()):
        order["quoteQuantity"] = order.pop("quantity")
    if not market:
        order["price"] = price(draw, touch)
    if not draw(st.integers(0, 3)):
        order |= {
            "triggerPrice": price(draw, touch),
            "triggerQuantity": draw(sometimes("0.1", "50%", "0", "-1%", "x")),
            "triggerBy": draw(sometimes("LastPrice", "MarkPrice", "IndexPrice", "x")),
        }
    order = {key: value for key, value in order.items() if value is not None}
    return order if draw(st.integers(0, 2)) else draw(odd(order))


@st.composite
def odd(draw: st.DrawFn, template: Mapping[str, Any]) -> Json:
    """Return the template, or the template with up to three odd places."""
    value: Any = dict(template)
    for _ in range(draw(st.integers(0, 3))):
        places = paths(value)
        if not places or draw(st.integers(0, 9)) == 0:
            value = value | {draw(st.text(max_size=5)): draw(junk)}
            continue
        path = draw(st.sampled_from(places))
        if draw(st.integers(0, 4)) == 0:
            value = _replaced(value, path, lambda holder, key: holder.pop(key))
        else:
            put = draw(st.one_of(scalars, junk))
            value = _replaced(value, path, lambda holder, key, put=put: _set(holder, key, put))  # type: ignore[misc]
    found: Json = value
    return found


def _set(holder: Any, key: Any, value: Any) -> None:
    holder[key] = value

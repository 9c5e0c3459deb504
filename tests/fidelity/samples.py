"""Captured messages in a folder outside, named by ``HEDGED_WIRE_SAMPLES``: none is kept here.

Their licences are mixed, so tests read them where somebody has them and never need them. Which
message is of which shape is told by its place: file and line.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "HEDGED_WIRE_SAMPLES"

_GRVT_REST = """
    login login builders.reply tx_ack.reply instruments.reply instrument currency.reply currency
    ticker.reply ticker book.reply trades.reply trade fill kline.reply candle funding.reply funding
    summary.reply summary deposits.reply withdrawals.reply transfers.reply deposit withdrawal
    transfer ack.reply transfers.reply tx_ack.reply tx_ack transfer aggregate.reply
    sub_accounts.reply ack.reply order.reply fills.reply positions.reply position leverages.reply
    leverage_set leverage_set leverage leverages.reply leverage payments.reply payment
    order_history.reply open_orders.reply order.reply order ack ack.reply ack.reply
"""
_GRVT_WS = """
    ws.subscribed ws.mini_change ws.ticker ws.mini ws.mini_change ws.trade ws.candle ws.book
    ws.fill ws.position ws.order ws.error
"""
_BACKPACK_REST = """
    assets all_markets securities ticker klines mark open_interest fundings trade fill status
    capital deposits withdrawal withdrawals deposit_address market_order limit_order past_trigger
    position payment error error
"""
_BACKPACK_WS = """
    ws.ticker ws.ticker.data ws.book_ticker ws.book_ticker.data ws.kline ws.kline.data ws.trade
    ws.trade.data ws.depth ws.depth.data ws.order ws.order_fill.data ws.position ws.position.data
    ws.error
"""
_LIVE_GRVT_REST = "book book instrument instrument mini error error error"
_LIVE_GRVT_WS = """
    ws.subscribed ws.unsubscribed ws.error ws.error ws.error error ws.book ws.book ws.book ws.book
    ws.book ws.mini ws.mini ws.mini_change ws.trade
"""
_LIVE_BACKPACK = """
    ws.subscribe ws.depth ws.depth ws.depth ws.book_ticker ws.mark ws.ticker ws.error ws.error
    ws.error fundings error error error plain_error time status
"""
FILES: Sequence[tuple[str, str, str, bool]] = (
    ("ccxt_4.5.90/grvt_rest.jsonl", "grvt", _GRVT_REST, False),
    ("ccxt_4.5.90/grvt_ws.jsonl", "grvt", _GRVT_WS, False),
    ("ccxt_4.5.90/backpack_rest.jsonl", "backpack", _BACKPACK_REST, False),
    ("ccxt_4.5.90/backpack_ws.jsonl", "backpack", _BACKPACK_WS, False),
    ("lqz13th_perp_dex/grvt_rest_bodies.jsonl", "grvt", _LIVE_GRVT_REST, True),
    ("lqz13th_perp_dex/grvt_ws_frames.jsonl", "grvt", _LIVE_GRVT_WS, True),
    ("nemanull_arbitrage-observatory/backpack_ws_frames.jsonl", "backpack", _LIVE_BACKPACK, True),
)
"""File, venue, shape of each line, and whether number types are the venue's own."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One captured message."""

    place: str
    """File and line, e.g. ``grvt_ws.jsonl:3``."""
    venue: str
    shape: str
    message: Any
    """None when only text was kept that is not JSON."""
    text: str
    typed: bool
    """False when number types were lost: then only the names count."""


def folder() -> Path | None:
    """Return where the samples are, or None."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


def read(root: Path) -> Iterator[Sample]:
    """Read every sample.

    Raises:
        ValueError: a file has more or fewer lines than we have labels for.
    """
    for name, venue, words, typed in FILES:
        labels = words.split()
        lines = (root / name).read_text().splitlines()
        if len(lines) != len(labels):
            raise ValueError(f"{name}: {len(lines)} lines, {len(labels)} labels")
        for number, (line, label) in enumerate(zip(lines, labels, strict=True), 1):
            row = json.loads(line)
            found = [row[key] for key in ("msg", "body", "frame") if key in row]
            yield Sample(
                place=f"{name.rpartition('/')[2]}:{number}",
                venue=venue,
                shape=label,
                message=found[0] if found else None,
                text=row.get("raw_text", ""),
                typed=typed,
            )


def named_in(text: str) -> frozenset[str]:
    """Return the field names of a piece of JSON that was cut short."""
    return frozenset(re.findall(r'"(\w+)"\s*:', text))

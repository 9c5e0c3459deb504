"""GRVT's histories, page by page: newest first on the wire, oldest first here (venues.md A4)."""

from typing import Any

from exchanges.errors import VenueMalformed
from exchanges.fields import Json, as_list
from exchanges.grvt import codec
from exchanges.grvt.outcomes import result_of
from exchanges.grvt.sdk import GrvtSdk
from strategy.domain import Fees, Fill, FundingPayment, Instrument, Ns

PAGE = 1000
"""The venue's largest page."""
MAX_PAGES = 100
RECENT = 50
"""Fills looked at for the account's rates."""


def filters(rules: Instrument) -> Json:
    """Return the request fields that select the perpetual's base and quote."""
    return {"kind": [codec.PERPETUAL], "base": [rules.base], "quote": [rules.quote]}


async def pages(sdk: GrvtSdk, method: str, since: Ns, request: Json) -> list[Any]:
    """Read a history from Unix time ``since`` on, every page of it.

    Raises:
        VenueError: a page could not be read, is malformed, or there are too many of them: a part
            of a history is never given for the whole.
    """
    rows: list[Any] = []
    cursor = ""
    for _ in range(MAX_PAGES):
        ask = request | {"start_time": str(since), "limit": PAGE}
        page = await sdk.read_page(method, **(ask | {"cursor": cursor} if cursor else ask))
        found = as_list(result_of(page, method), f"GRVT {method}")
        rows += found
        cursor = _next(page, full=len(found) >= PAGE, what=f"GRVT {method}")
        if not cursor:
            return rows
    raise VenueMalformed(f"GRVT {method}: more than {MAX_PAGES} pages since {since}")


def _next(page: Json, *, full: bool, what: str) -> str:
    """Return the next cursor, "" at the end; a full page must say whether it is the last."""
    cursor = page.get("next")
    if cursor is None and not full:
        return ""
    if not isinstance(cursor, str):
        raise VenueMalformed(f"{what}: a page without 'next'")
    return cursor


async def fills(sdk: GrvtSdk, rules: Instrument, since: Ns) -> tuple[Fill, ...]:
    """Return our fills of the instrument from Unix time ``since``, oldest first."""
    rows = await pages(sdk, "fill_history", since, filters(rules))
    found = {fill.trade_id: fill for fill in map(codec.fill, rows) if fill.symbol == rules.symbol}
    recent = (fill for fill in found.values() if fill.at >= since)
    return tuple(sorted(recent, key=lambda fill: (fill.at, fill.trade_id)))


async def funding_payments(
    sdk: GrvtSdk, rules: Instrument, since: Ns
) -> tuple[FundingPayment, ...]:
    """Return settled payments from Unix time ``since``, oldest first, positive when received."""
    rows = await pages(sdk, "funding_payment_history", since, {"instrument": rules.symbol})
    payments = [paid for symbol, paid in map(codec.funding_payment, rows) if symbol == rules.symbol]
    return tuple(sorted((p for p in payments if p.at >= since), key=lambda p: p.at))


async def fees(sdk: GrvtSdk, rules: Instrument) -> Fees:
    """Return the rates of our newest fills, one per role; documented ones where there is none."""
    page = await sdk.read_page("fill_history", **filters(rules), limit=RECENT)
    known = codec.default_fees()
    rates = {True: known.maker, False: known.taker}
    for row in reversed(as_list(result_of(page, "fill_history"), "GRVT fill_history")):
        is_maker, rate = codec.fee_rate(row)
        rates[is_maker] = rate
    return Fees(known.venue, maker=rates[True], taker=rates[False])

"""Paged reads of ``wapi/v1/history`` and the recovery recipe built on them (venues.md B3.2).

``GET /order`` forgets an order the moment it stops resting and history may lag the engine, so only
three well-formed answers together prove anything.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from exchanges.backpack import codec
from exchanges.backpack.sdk import BackpackAccount, ResourceNotFound
from exchanges.errors import VenueError, VenueMalformed
from exchanges.fields import MS, as_list
from exchanges.port import Found, InDoubt, Lookup, NotFound
from strategy.domain import Fill, FundingPayment, Ns, OrderRef, OrderView, Qty, Status

PAGE = 1000
"""Rows per request, the venue's largest."""
SURFACES = "order,fills,history"

ReadPage = Callable[[int], Awaitable[Any]]
"""Reads the page at an offset."""


async def _rows(read: ReadPage, what: str, enough: Callable[[list[Any]], bool]) -> list[Any]:
    """Read pages until a short one, or until ``enough`` says the rest is too old."""
    rows: list[Any] = []
    previous: list[Any] | None = None
    while True:
        page = as_list(await read(len(rows)), what)
        if page and page == previous:
            raise VenueMalformed(f"{what}: the venue repeats a page")
        rows.extend(page)
        if len(page) < PAGE or enough(page):
            return rows
        previous = page


def _older_than(since: Ns, at: Callable[[Any], Ns]) -> Callable[[list[Any]], bool]:
    """Return a test for a page that runs newest first and ends before ``since``."""

    def enough(page: list[Any]) -> bool:
        return at(page[0]) >= at(page[-1]) < since

    return enough


async def fills(account: BackpackAccount, symbol: str, since: Ns) -> tuple[Fill, ...]:
    """Return every fill of the symbol from ``since`` (venue time), oldest first.

    Raises:
        VenueError: a page was not answered, or not in the documented shape.
    """

    async def read(offset: int) -> Any:
        return await account.get_fill_history(
            symbol=symbol, limit=PAGE, offset=offset, from_=since // MS
        )

    rows = await _rows(read, "fills", lambda _page: False)
    found = [codec.fill(row) for row in rows]
    return codec.oldest_first(row for row in found if row.symbol == symbol and row.at >= _ms(since))


async def past_orders(account: BackpackAccount, symbol: str, since: Ns) -> tuple[OrderView, ...]:
    """Return the orders of the symbol created from ``since`` (venue time) on, in venue order."""

    async def read(offset: int) -> Any:
        return await account.get_order_history(symbol=symbol, limit=PAGE, offset=offset)

    rows = await _rows(read, "order history", _older_than(since, codec.created_at))
    return tuple(codec.order(row) for row in rows if codec.created_at(row) >= _ms(since))


async def funding_payments(
    account: BackpackAccount, symbol: str, since: Ns
) -> tuple[FundingPayment, ...]:
    """Return the settled funding of the symbol from ``since`` (venue time), oldest first."""

    async def read(offset: int) -> Any:
        return await account.get_funding_payments(symbol=symbol, limit=PAGE, offset=offset)

    rows = await _rows(
        read, "funding history", _older_than(since, lambda row: codec.funding_payment(row).at)
    )
    unique = {paid.key: paid for paid in map(codec.funding_payment, rows) if paid.at >= since}
    return tuple(sorted(unique.values(), key=lambda paid: paid.at))


def _ms(since: Ns) -> Ns:
    """Round down to the venue's resolution, so that the same millisecond is included."""
    return Ns(since // MS * MS)


async def lookup(account: BackpackAccount, ref: OrderRef, since: Ns) -> Lookup:
    """Ask for the resting order, then fills, then order history (faults.md section 4).

    ``NotFound`` needs all three to have answered well-formed without it; a venue that is down,
    forbids or garbles is ``InDoubt``.
    """
    try:
        try:
            return _resting(codec.order(await account.resting_order(ref)), ref)
        except ResourceNotFound:
            traded = [row for row in await fills(account, ref.symbol, since) if _ours(row, ref)]
            views = await past_orders(account, ref.symbol, since)
    except VenueError as bad:
        return InDoubt(f"{type(bad).__name__}: {bad}")
    return resolve(traded, [view for view in views if _ours(view, ref)])


def _ours(row: Fill | OrderView, ref: OrderRef) -> bool:
    return row.client_id == ref.client_id or (
        bool(ref.venue_order_id) and row.venue_order_id == ref.venue_order_id
    )


def _resting(view: OrderView, ref: OrderRef) -> Lookup:
    if not _ours(view, ref) or view.symbol != ref.symbol:
        return InDoubt(f"the answer names order {view.client_id} of {view.symbol}")
    return Found(view)


def resolve(traded: list[Fill], past: list[OrderView]) -> Lookup:
    """Judge an order that is not resting from its fills and its history rows. Pure."""
    cum = Qty(sum(row.qty for row in traded))
    if len({view.venue_order_id for view in past}) > 1:
        return InDoubt("two orders carry the same client id")
    if not past:
        if traded:
            return InDoubt(f"fills exist but the order history lags ({len(traded)} fills)")
        return NotFound(SURFACES)
    view = past[0]
    if view.status is Status.UNKNOWN or (view.status.terminal and view.cum >= cum):
        return Found(view)
    if cum == view.qty:
        return Found(replace(view, status=Status.FILLED, cum=cum))
    if view.cum < cum:
        return InDoubt("fills are ahead of the order history")
    return InDoubt(f"the order is not resting but history still says {view.raw_status}")

"""Histories of GRVT: reverse chronological pages with a cursor (venues.md A4). Pure."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from exchanges.simulator.grvt_payload import Page
from exchanges.simulator.grvt_words import Json
from strategy.domain import Ns

MAX_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Row:
    """One row with its number: it grows by one and is the cursor of the row after it."""

    number: int
    at: Ns
    symbol: str
    body: Json


class History:
    """Rows in time order; the newest are kept."""

    def __init__(self, keep: int = MAX_ROWS) -> None:
        self._rows: deque[Row] = deque(maxlen=keep)
        self.total = 0
        """Rows ever added."""

    def add(self, at: Ns, symbol: str, body: Json) -> None:
        """Append one row."""
        self.total += 1
        self._rows.append(Row(self.total, at, symbol, body))

    def newest(self) -> Iterable[Row]:
        """Yield rows, newest first."""
        return reversed(self._rows)


def page_json(rows: Iterable[Row], page: Page, takes: Callable[[str], bool]) -> Json:
    """Return ``{"result", "next"}`` for rows given newest first; ``next`` is empty at the end.

    Args:
        rows: newest first.
        page: the window asked for.
        takes: tells whether a symbol passes the filters.
    """
    found: list[Row] = []
    for row in rows:
        if row.at < page.start:
            break
        if row.at > page.end or not takes(row.symbol):
            continue
        if page.before is not None and row.number >= page.before:
            continue
        if len(found) == page.limit:
            return {"result": [each.body for each in found], "next": str(found[-1].number)}
        found.append(row)
    return {"result": [each.body for each in found], "next": ""}

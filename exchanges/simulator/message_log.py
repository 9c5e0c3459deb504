"""Every message of a run, one canonical JSON line each, for comparing runs byte by byte.

Imports ``strategy.domain`` and simulator modules only. Keys are sorted, money and sizes are decimal
strings, times are Unix ns of the simulation: ``t`` is when listeners were told, ``at`` when it
happened at the venue. In virtual time the same seed and the same requests give the same bytes.

========  =========================================================================================
type      fields besides ``t``, ``at``, ``v`` (venue)
========  =========================================================================================
book      ``symbol``, ``id``, ``bids``, ``asks``: absolute sizes of the levels that changed
trade     ``symbol``, ``id``, ``px``, ``sz``, ``aggressor``; ours: ``maker``, ``taker`` order ids
order     ``account``, ``symbol``, ``id``, ``client``, ``side``, ``px``, ``sz``, ``cum``, ``phase``,
          ``ended``, ``deny``, and ``fill`` when it traded
position  ``account``, ``symbol``, ``sz``, ``entry``, ``realized``, ``fees``, ``funding``
funding   ``account``, ``symbol``, ``amount``, ``rate``
========  =========================================================================================
"""

from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from exchanges.simulator.model import (
    BookChanged,
    EngineEvent,
    OrderChanged,
    PositionChanged,
    PublicTrade,
    SimFill,
    SimOrder,
)
from exchanges.simulator.universe import Universe
from strategy.domain import Level, Venue, plain


class MessageLog:
    """Writes what both engines of a universe tell.

    Args:
        universe: subscribed to at once; what its engines told before is not in the log.
        file: opened for writing bytes; the caller closes it.

    Attributes:
        lines: how many were written.
    """

    def __init__(self, universe: Universe, file: BinaryIO) -> None:
        self._driver = universe.driver
        self._file = file
        self.lines = 0
        for venue, engine in universe.engines.items():
            engine.subscribe(partial(self._write, venue))

    def _write(self, venue: Venue, event: EngineEvent) -> None:
        row = message(event) | {"t": self._driver.now(), "at": event.at, "v": venue.value}
        self._file.write(orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE))
        self.lines += 1


class MessageLogError(ValueError):
    """A log that cannot be written; the text is one clear line."""


def open_log(path: str) -> BinaryIO:
    """Open a new message log; one that is there is replaced.

    Raises:
        MessageLogError: it cannot be written.
    """
    try:
        return Path(path).open("wb")
    except OSError as bad:
        raise MessageLogError(
            f"message log {path}: cannot be written ({bad.strerror}): give a path that can"
        ) from bad


def message(event: EngineEvent) -> dict[str, Any]:
    """Return an event as JSON types, without its times and venue."""
    if isinstance(event, BookChanged):
        return {
            "type": "book",
            "symbol": event.symbol,
            "id": event.update_id,
            "bids": _levels(event.bids),
            "asks": _levels(event.asks),
        }
    if isinstance(event, PublicTrade):
        return _trade(event)
    if isinstance(event, OrderChanged):
        found = _order(event.order)
        return found if event.fill is None else found | {"fill": _fill(event.fill)}
    if isinstance(event, PositionChanged):
        return _position(event)
    return {
        "type": "funding",
        "account": event.account,
        "symbol": event.symbol,
        "amount": plain(event.amount),
        "rate": plain(event.rate),
    }


def _levels(levels: tuple[Level, ...]) -> list[tuple[str, str]]:
    return [(plain(px), plain(size)) for px, size in levels]


def _trade(event: PublicTrade) -> dict[str, Any]:
    row = {
        "type": "trade",
        "symbol": event.symbol,
        "id": event.trade_id,
        "px": plain(event.px),
        "sz": plain(event.qty),
        "aggressor": str(event.taker),
    }
    ours = {"maker": event.maker_order_id, "taker": event.taker_order_id}
    return row | {key: order for key, order in ours.items() if order}


def _order(order: SimOrder) -> dict[str, Any]:
    request = order.request
    return {
        "type": "order",
        "account": request.account,
        "symbol": request.symbol,
        "id": order.order_id,
        "client": request.client_id,
        "side": str(request.side),
        "px": None if request.px is None else plain(request.px),
        "sz": plain(order.qty),
        "cum": plain(order.cum),
        "phase": order.phase.value,
        "ended": None if order.ended is None else order.ended.value,
        "deny": None if order.deny is None else order.deny.value,
    }


def _fill(fill: SimFill) -> dict[str, Any]:
    return {
        "id": fill.trade_id,
        "px": plain(fill.px),
        "sz": plain(fill.qty),
        "fee": plain(fill.fee),
        "maker": fill.is_maker,
        "realized": plain(fill.realized),
        "forced": fill.forced,
    }


def _position(event: PositionChanged) -> dict[str, Any]:
    held = event.position
    return {
        "type": "position",
        "account": event.account,
        "symbol": held.symbol,
        "sz": plain(held.qty),
        "entry": plain(held.entry),
        "realized": plain(held.realized),
        "fees": plain(held.fees),
        "funding": plain(held.funding),
    }

"""Funding as GRVT tells it: the rate now, and the settled intervals (venues.md A4.1, A7)."""

from collections.abc import Iterator

from exchanges.simulator.grvt_codec import HOUR_NS
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_history import Row
from exchanges.simulator.grvt_words import Json, dec
from exchanges.simulator.model import FundingPoint
from strategy.domain import Ns

AGGREGATIONS = {
    "FUNDING_INTERVAL": 0,
    "ONE_HOURLY": 1,
    "FOUR_HOURLY": 4,
    "EIGHT_HOURLY": 8,
}
"""Hours of a row; 0 is the instrument's own interval (venues.md A4.1)."""


class FundingBook:
    """Renders funding rates; in percent per interval, as everywhere on the venue."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def rate(self, symbol: str) -> str:
        """Return the rate that the running interval would settle at."""
        return dec(self._desk.engine.funding_rate(symbol) * 100)

    def next_time(self) -> Ns:
        """Return when funding is settled next."""
        return self._desk.engine.next_funding()

    def rows(self, symbol: str, now: Ns, aggregation: str) -> Iterator[Row]:
        """Yield history rows, newest first.

        Args:
            symbol: of the instrument.
            now: Unix ns.
            aggregation: a key of ``AGGREGATIONS``; another width than the interval's takes the
                share of the rate that falls on it, and the running rate for what is not settled.
        """
        engine = self._desk.engine
        interval = engine.rules.funding_interval
        width = AGGREGATIONS[aggregation] * HOUR_NS or interval
        points = {point.at: point for point in engine.funding_history(symbol)}
        running = FundingPoint(now, engine.funding_rate(symbol), engine.mark(symbol))
        number = now // width
        while True:
            at = Ns(number * width)
            settled = Ns(-(-at // interval) * interval)
            point = running if settled > now else points.get(settled)
            if point is None:
                return
            yield Row(number, at, symbol, self._row(symbol, at, point, width))
            number -= 1

    def _row(self, symbol: str, at: Ns, point: FundingPoint, width: int) -> Json:
        interval = self._desk.engine.rules.funding_interval
        return {
            "instrument": symbol,
            "funding_rate": dec(point.rate * width // interval * 100),
            "funding_time": str(at),
            "mark_price": dec(point.mark),
            "funding_rate_8_h_avg": dec(point.rate * 8 * HOUR_NS // interval * 100),
            "funding_interval_hours": interval // HOUR_NS,
        }

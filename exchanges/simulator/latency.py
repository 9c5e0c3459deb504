"""How long things take between a client and the book: three delays per venue, seeded.

Imports ``strategy.domain`` and simulator modules only. A delay is ``base`` always, plus an
exponential ``jitter`` of that mean, plus, once in a hundred draws, an exponential ``tail`` of that
mean: the shape of a round trip over the internet. Whole nanoseconds and integer arithmetic only, so
that a seed gives the same delays on every machine.

``ack``
    What an order or a cancel takes from the gateway to the book. Requests of one account stay in
    order; a venue's speed bump comes on top.
``fill``
    What private news (fills, positions, order states, funding) takes from the book to the streams.
    News of one account stays in order.
``data``
    What public data (books, trades) takes from the book to the streams and to whoever reads the
    book. It stays in order.
"""

import random  # noqa: TID251 - the type of the injected, seeded generator
import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Self

from exchanges.simulator.defaults import BACKPACK_RULES, GRVT_RULES
from exchanges.simulator.model import (
    BookChanged,
    EngineEvent,
    FundingSettled,
    OrderChanged,
    PositionChanged,
    PublicTrade,
)
from strategy.domain import Ns, Venue

_MS = 1_000_000
_TAIL_ONE_IN = 100
_BITS = 64
_MAX_MS = 60_000
_KINDS = ("ack", "fill", "data")
_EXAMPLE = "ack=3/1/50,fill=2,grvt.data=5/2/100"
_FIGURE = re.compile(r"(\d{1,5})(?:\.(\d{1,6}))?")
_PARTS = 3


@dataclass(frozen=True, slots=True)
class Delay:
    """One distribution of delays, ns; without jitter and tail it is a constant."""

    base: Ns = Ns(0)
    jitter: Ns = Ns(0)
    """Mean of what is added to every draw."""
    tail: Ns = Ns(0)
    """Mean of what is added to one draw in a hundred."""

    @property
    def none(self) -> bool:
        """True when it never takes any time."""
        return not (self.base or self.jitter or self.tail)

    def draw(self, rng: random.Random) -> Ns:
        """Return one delay; a constant leaves the generator alone."""
        delay: int = self.base
        if self.jitter:
            delay += exponential(rng, self.jitter)
        if self.tail and not rng.randrange(_TAIL_ONE_IN):
            delay += exponential(rng, self.tail)
        return Ns(delay)

    def __str__(self) -> str:
        figures = [self.base, self.jitter, self.tail]
        while len(figures) > 1 and not figures[-1]:
            figures.pop()
        return "/".join(_ms(each) for each in figures)


@dataclass(frozen=True, slots=True)
class Path:
    """The three delays of one venue."""

    ack: Delay
    fill: Delay = Delay()
    data: Delay = Delay()


@dataclass(frozen=True, slots=True)
class LatencyModel:
    """The delays of both venues.

    Attributes:
        paths: by venue; the default is each venue's constant from the gateway to the book
            (venues.md part F) and nothing from the book to the streams.
    """

    paths: Mapping[Venue, Path]

    @classmethod
    def default(cls) -> Self:
        """Return the constants of the venues' rules."""
        rules = {Venue.BACKPACK: BACKPACK_RULES, Venue.GRVT: GRVT_RULES}
        return cls({venue: Path(Delay(rules[venue].latency)) for venue in Venue})

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read e.g. ``ack=3/1/50,fill=2,grvt.data=5/2/100``; what is not named keeps its default.

        Each figure is milliseconds, ``BASE[/JITTER[/TAIL]]``; without a venue it holds for both.

        Raises:
            ValueError: one line naming the part that cannot be read.
        """
        paths = dict(cls.default().paths)
        for part in filter(None, (each.strip() for each in text.split(","))):
            name, found, figures = part.partition("=")
            scope, _, kind = name.strip().rpartition(".")
            venues = [venue for venue in Venue if scope in ("", venue.value)]
            if not found or not venues or kind not in _KINDS:
                raise ValueError(
                    f"latency {part!r} is not [venue.]ack|fill|data=MS[/JITTER[/TAIL]]:"
                    f" use e.g. {_EXAMPLE}"
                )
            delay = _delay(part, figures.strip())
            for venue in venues:
                paths[venue] = replace(paths[venue], **{kind: delay})
        return cls(paths)

    def __str__(self) -> str:
        return ",".join(
            f"{venue.value}.{kind}={getattr(path, kind)}"
            for venue, path in self.paths.items()
            for kind in _KINDS
        )


class Courier:
    """Says when each request of one venue reaches its book, and each piece of news its listeners.

    Args:
        path: the venue's delays.
        rng: seeded generator of its own, so that delays never change ids or markets.
    """

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path = path
        self._rng = rng
        self._last: dict[tuple[str, str], Ns] = {}
        self.public_late = not path.data.none
        """True when public data takes time."""
        self.late = not (path.fill.none and path.data.none)
        """True when any news takes time."""

    def request(self, account: str, now: Ns) -> Ns:
        """Return how long a request that leaves at Unix ns ``now`` takes to the book."""
        due = self._in_order(("ack", account), now + self.path.ack.draw(self._rng))
        return Ns(due - now)

    def news(self, event: EngineEvent, now: Ns) -> Ns:
        """Return the Unix ns at which listeners hear of an event, never before earlier news."""
        path = self.path
        if isinstance(event, BookChanged | PublicTrade):
            lane, delay = ("data", event.symbol), path.data
        elif isinstance(event, OrderChanged):
            lane, delay = ("fill", event.order.request.account), path.fill
        else:
            # A position is told with the fill that changed it, in the same breath.
            alone = isinstance(event, FundingSettled)
            lane, delay = ("fill", event.account), path.fill if alone else Delay()
        if delay.none and lane not in self._last:
            return now
        return self._in_order(lane, now + delay.draw(self._rng))

    def _in_order(self, lane: tuple[str, str], due: int) -> Ns:
        last = Ns(max(due, self._last.get(lane, 0)))
        self._last[lane] = last
        return last


def frozen(event: EngineEvent) -> EngineEvent:
    """Return an event as it is now: the engine goes on changing the records that it names."""
    if isinstance(event, OrderChanged):
        return replace(event, order=copy(event.order))
    if isinstance(event, PositionChanged):
        return replace(event, position=copy(event.position))
    return event


def exponential(rng: random.Random, mean: int) -> int:
    """Return a whole exponential variate of that mean: minus log2 of a uniform one, by pieces."""
    return exponential_of(rng.getrandbits(_BITS) | 1, mean)


def exponential_of(uniform: int, mean: int) -> int:
    """Return the exponential variate of a uniform one of 64 bits, not 0."""
    halvings = _BITS - uniform.bit_length()
    rest = (1 << _BITS) - (uniform << halvings)
    # The pieces have the mean 1 + 1/2, which is divided out again.
    scaled = (halvings << (_BITS - 1)) + rest
    return mean * 2 * scaled // (3 << (_BITS - 1))


def _delay(part: str, figures: str) -> Delay:
    words = figures.split("/")
    found = [_FIGURE.fullmatch(word.strip()) for word in words]
    if len(words) > _PARTS or not all(found):
        raise ValueError(
            f"latency {part!r}: {figures!r} is not BASE[/JITTER[/TAIL]] in ms: use e.g. 3/1/50"
        )
    values = [
        int(each[1]) * _MS + int((each[2] or "").ljust(6, "0"))
        for each in found
        if each is not None
    ]
    if max(values) > _MAX_MS * _MS:
        raise ValueError(f"latency {part!r}: more than {_MAX_MS} ms: use less")
    return Delay(*(Ns(value) for value in values))


def _ms(delay: int) -> str:
    whole, rest = divmod(delay, _MS)
    return f"{whole}.{rest:06d}".rstrip("0") if rest else str(whole)

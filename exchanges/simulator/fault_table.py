"""The faults that a simulated venue can be told to have: name, effect, default, settings.

Imports ``strategy.domain`` only. Numbers are those of the fault catalogue. What no venue can cause
is listed too, with the line that says what to do instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from strategy.domain import Venue

BOTH = frozenset(Venue)
GRVT = frozenset({Venue.GRVT})
BACKPACK = frozenset({Venue.BACKPACK})
_LONGEST = 64
_LARGEST = 10**12


class FaultError(ValueError):
    """A fault that cannot be injected; the text is one clear line."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key that a fault takes besides venue, fault, count and seconds.

    ``choices`` lists the only words or numbers allowed; else it is a whole number of at least
    ``least``, or with ``exact`` a positive decimal in text, or with ``text`` any short text.
    """

    choices: tuple[str | int, ...] = ()
    least: int = 1
    exact: bool = False
    text: bool = False
    venues: frozenset[Venue] = BOTH

    def check(self, key: str, value: object) -> None:
        """Raise FaultError when the value does not fit."""
        if self.choices:
            if isinstance(value, bool) or value not in self.choices:
                words = ", ".join(str(word) for word in self.choices)
                raise FaultError(f"{key} {value!r} is unknown: use one of {words}")
        elif self.text:
            if not isinstance(value, str) or not 0 < len(value) <= _LONGEST:
                raise FaultError(f"{key} {value!r} is not a short text")
        elif self.exact:
            _positive_text(key, value)
        else:
            self._check_whole(key, value)

    def _check_whole(self, key: str, value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise FaultError(f"{key} {value!r} is not a whole number")
        if self.least == 1 and value <= 0:
            raise FaultError(f"{key} {value!r} must be more than 0")
        if not self.least <= value <= _LARGEST:
            raise FaultError(f"{key} {value!r} must be from {self.least} to {_LARGEST}")


def _positive_text(key: str, value: object) -> None:
    try:
        number = Decimal(value) if isinstance(value, str) else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or not 0 < number <= _LARGEST:
        raise FaultError(f'{key} {value!r} is not a positive decimal in text, e.g. "0.01"')


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """What a fault does, where, and whether it lasts until cleared when nothing bounds it."""

    text: str
    venues: frozenset[Venue] = BOTH
    held: bool = False
    settings: Mapping[str, Setting] = field(default_factory=dict)


_DELAY = {"delay_ms": Setting()}
_ACCOUNT = Setting(text=True)
_BPS = {"bps": Setting(least=-9_000)}
_FOREIGN = {
    "side": Setting(choices=("buy", "sell")),
    "size": Setting(exact=True),
    "account": _ACCOUNT,
}

SPECS: dict[str, FaultSpec] = {
    "F01": FaultSpec("create executed, connection dropped instead of the answer"),
    "F02": FaultSpec("create dropped before the engine"),
    "F03": FaultSpec("create reaches the engine delay_ms later, no answer", settings=_DELAY),
    "F04": FaultSpec("429 on create"),
    "F05": FaultSpec(
        "5xx with an HTML body on create",
        settings={"status": Setting(choices=(500, 502, 503, 504), venues=GRVT)},
    ),
    "F06": FaultSpec("create executed, 200 with a garbled body"),
    "F07": FaultSpec("session expired"),
    "F08": FaultSpec(
        "login fails, or takes delay_ms with mode=slow",
        GRVT,
        settings={"mode": Setting(choices=("error", "slow")), **_DELAY},
    ),
    "F09": FaultSpec("create refused: its signature has expired"),
    "F10": FaultSpec("create refused: its client id overlaps with an active order"),
    "F11": FaultSpec("post-only orders always refused as crossing", held=True),
    "F12": FaultSpec("create refused for insufficient margin"),
    "F13": FaultSpec(
        "reduce-only order refused, or trimmed to half with mode=trimmed",
        settings={"mode": Setting(choices=("refused", "trimmed"), venues=GRVT)},
    ),
    "F14": FaultSpec("the tick is ten times as large until an order has been refused for it"),
    "F15": FaultSpec("the minimum size is 1000 times as large until an order is refused", GRVT),
    "F16": FaultSpec("order accepted, then cancelled at once"),
    "F17": FaultSpec("order accepted, then ended by self-trade prevention"),
    "F18": FaultSpec("the answer of a batch or socket request belongs to another one"),
    "F19": FaultSpec("fill message sent twice"),
    "F20": FaultSpec("create answered delay_ms late, after its order and fill", settings=_DELAY),
    "F21": FaultSpec("two fill messages arrive in the wrong order"),
    "F22": FaultSpec(
        "a fill lands during a cancel",
        settings={"mode": Setting(choices=("202",), venues=BACKPACK)},
    ),
    "F23": FaultSpec(
        "a fill larger than its order, or with mode=shrinks a traded size that falls",
        settings={"mode": Setting(choices=("larger", "shrinks"))},
    ),
    "F24": FaultSpec("order says filled, fill message missing"),
    "F25": FaultSpec("a fill of an order that the client never sent", settings=_FOREIGN),
    "F26": FaultSpec(
        "the position is closed by the venue: mode liquidation or adl",
        settings={"mode": Setting(choices=("liquidation", "adl")), "account": _ACCOUNT},
    ),
    "F27": FaultSpec("the next fill is told in many parts", settings={"parts": Setting(least=2)}),
    "F28": FaultSpec(
        "a fill whose fee is negative and in another currency",
        settings={"asset": Setting(text=True)},
    ),
    "F29": FaultSpec("unknown status word"),
    "F49": FaultSpec("WebSocket goes silent"),
    "F50": FaultSpec(
        "gap in the book's sequence; or a repeated, or a smaller number",
        settings={"mode": Setting(choices=("gap", "duplicate", "decrease"), venues=GRVT)},
    ),
    "F51": FaultSpec("no snapshot after subscribe"),
    "F52": FaultSpec("connections refused or reset", held=True),
    "F54": FaultSpec("GRVT unreachable", GRVT, held=True),
    "F55": FaultSpec("Backpack unreachable", BACKPACK, held=True),
    "F56": FaultSpec(
        "public streams stand still while private ones go on; mode=private: the reverse",
        held=True,
        settings={"mode": Setting(choices=("public", "private"))},
    ),
    "F57": FaultSpec(
        "every book stream is flooded with messages",
        held=True,
        settings={"messages": Setting()},
    ),
    "F59": FaultSpec("429 on cancel"),
    "F60": FaultSpec(
        "the venue's clock is offset_ms away from the client's",
        held=True,
        settings={"offset_ms": Setting(least=-_LARGEST)},
    ),
    "F61": FaultSpec(
        "the venue's clock drifts by ppm from now on",
        held=True,
        settings={"ppm": Setting(least=-500_000)},
    ),
    "F64": FaultSpec("the price jumps by bps", held=True, settings=_BPS),
    "F65": FaultSpec("empty book", held=True),
    "F66": FaultSpec("the book is shown crossed", held=True),
    "F67": FaultSpec("the depth vanishes: 1 % of the sizes is left", held=True),
    "F68": FaultSpec(
        "market halted",
        held=True,
        settings={"mode": Setting(choices=("maintenance",), venues=BACKPACK)},
    ),
    "F69": FaultSpec("the venue fails over: open orders are lost, sockets close"),
    "F70": FaultSpec(
        "funding is settled now at ppm of the notional",
        settings={"ppm": Setting(least=-1_000_000), "account": _ACCOUNT},
    ),
    "F71": FaultSpec(
        "all free margin of the account is gone", held=True, settings={"account": _ACCOUNT}
    ),
    "F72": FaultSpec(
        "the quote currency moves by bps against the dollar", held=True, settings=_BPS
    ),
    "F73": FaultSpec(
        "positions are told larger than they are", held=True, settings={"size": Setting(exact=True)}
    ),
    "F74": FaultSpec(
        "positions answered empty, or an error with mode=error",
        settings={"mode": Setting(choices=("empty", "error"))},
    ),
    "F76": FaultSpec("somebody trades the account by hand", settings=_FOREIGN),
    "F78": FaultSpec(
        "the account's leverage is changed on the venue",
        settings={"leverage": Setting(), "account": _ACCOUNT},
    ),
    "F79": FaultSpec(
        "the key is refused: mode ip (not whitelisted) or revoked",
        held=True,
        settings={"mode": Setting(choices=("ip", "revoked"))},
    ),
}
"""Faults that a venue can cause, by catalogue number."""

_PROCESS = "happens to the process or its host, not to a venue: kill, stop or starve the daemon"
_DAEMON = "happens inside the daemon, not to a venue"
ELSEWHERE: dict[str, str] = {
    **{f"F{number}": _PROCESS for number in range(30, 49)},
    "F53": "is name resolution, which happens at the client: use F52",
    "F58": "is TLS, which the simulator does not speak: use F52",
    "F62": "is the calendar: set the daemon's clock",
    "F63": "is the calendar: set the daemon's clock",
    "F75": "is a lost journal: start the daemon without one",
    "F77": _DAEMON,
    "F80": _DAEMON,
}
"""Rows of the catalogue that no venue can cause, and what to do instead."""

"""Channels of the simulated GRVT: one stream and selector, its members and its numbers.

A gateway's numbers grow by exactly one per channel and restart with it; global ones grow over all
channels and never restart (venues.md A6.2). Snapshots carry 0 either way.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from exchanges.simulator.grvt_lite import feed_to_lite
from exchanges.simulator.grvt_socket import Socket
from exchanges.simulator.grvt_topics import Topic
from exchanges.simulator.grvt_words import Json
from strategy.domain import Px, Qty

_DEDUP = 10**5
"""A global number is that of the cluster's payload times this, plus a counter within it."""


@dataclass(slots=True)
class Cluster:
    """The counter behind global numbers; it survives restarts of the gateway."""

    payload: int

    def next(self) -> int:
        """Return the next global number."""
        self.payload += 1
        return self.payload * _DEDUP


@dataclass(frozen=True, slots=True)
class Joined:
    """What a subscription's reply says of one selector."""

    snapshots: int
    first: int
    latest: int


@dataclass(slots=True)
class Channel:
    """One stream and selector, for every socket that asked for it."""

    topic: Topic
    cluster: Cluster
    members: dict[Socket, bool] = field(default_factory=dict)
    """Whether each wants global numbers."""
    sequence: int = 0
    """Number of the last delta."""
    global_sequence: int = 0
    bids: dict[Px, Qty] = field(default_factory=dict)
    asks: dict[Px, Qty] = field(default_factory=dict)
    last: Json = field(default_factory=dict)
    idle: int = 0
    crossed: Px | None = None
    """Price of the bid that F66 shows inside the asks."""

    def push(self, feed: Json) -> None:
        """Send a delta to every member."""
        self.sequence += 1
        before, self.global_sequence = self.global_sequence, self.cluster.next()
        local = [socket for socket, wide in self.members.items() if not wide]
        wide = [socket for socket, wide in self.members.items() if wide]
        self._deliver(local, feed, self.sequence, self.sequence - 1)
        self._deliver(wide, feed, self.global_sequence, before)

    def skip(self) -> None:
        """Use a number up without sending it: a gap."""
        self.sequence += 1
        self.global_sequence = self.cluster.next()

    def repeat(self, feed: Json) -> None:
        """Send a delta twice under one number, as after a network's retry."""
        self.push(feed)
        local = [socket for socket, wide in self.members.items() if not wide]
        self._deliver(local, feed, self.sequence, self.sequence - 1)

    def snapshot(self, members: Iterable[Socket], feed: Json) -> None:
        """Send a full payload, which carries sequence 0."""
        self._deliver(list(members), feed, 0, 0)

    def restart(self) -> None:
        """Begin numbering anew, as after a restart of the gateway."""
        self.sequence = 0

    def joined(self, snapshots: int, *, numbered: bool, wide: bool) -> Joined:
        """Return what a new member is told; with global numbers the first is not known."""
        if wide:
            return Joined(snapshots, 0, self.global_sequence)
        return Joined(snapshots, self.sequence + 1 if numbered else 0, self.sequence)

    def _deliver(self, members: list[Socket], feed: Json, number: int, before: int) -> None:
        if not members:
            return
        message = {
            "stream": self.topic.stream,
            "selector": self.topic.selector,
            "sequence_number": str(number),
            "feed": feed,
            "prev_sequence_number": str(before),
        }
        texts: dict[bool, str] = {}
        for socket in members:
            if socket.lite not in texts:
                shown = feed_to_lite(message) if socket.lite else message
                texts[socket.lite] = orjson.dumps(shown).decode()
            socket.offer(texts[socket.lite])

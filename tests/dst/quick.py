"""What makes episodes fast without making them different in kind.

A World remembers which orders are live: the same answers, many times faster. A long episode asks
for them some thousand times a virtual second, each time over every order kept, and the mapping of a
World never changes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from daemon import loop as daemon_loop
from strategy.domain import ClientId, Venue
from strategy.world import Order, World


class _Memo:
    def __init__(self) -> None:
        self.of: Mapping[ClientId, Order] | None = None
        self.live: tuple[Order, ...] = ()


@contextmanager
def remembering() -> Iterator[None]:
    """Let every World remember its live orders meanwhile."""
    usual, memo = World.live, _Memo()

    def live(world: World, venue: Venue | None = None) -> Iterator[Order]:
        if world.orders is not memo.of:
            memo.of = world.orders
            memo.live = tuple(order for order in world.orders.values() if order.live)
        if venue is None:
            return iter(memo.live)
        return iter([order for order in memo.live if order.request.venue is venue])

    World.live = live  # type: ignore[method-assign, assignment]  # put back below
    try:
        yield
    finally:
        World.live = usual  # type: ignore[method-assign]


@contextmanager
def idling(seconds: float) -> Iterator[None]:
    """Let the loop decide on time alone this often meanwhile; every event still wakes it at once.

    The daemon's own 20 ms are most of an episode's work, so most seeds idle longer.
    """
    names = vars(daemon_loop)
    usual = names["IDLE"]
    names["IDLE"] = seconds
    try:
        yield
    finally:
        names["IDLE"] = usual

"""Deliberately broken policies for orders without an answer: the oracles must catch each."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from daemon import app as daemon_app
from daemon.resolver import Resolver
from exchanges.port import InDoubt, NotFound, Outcome, Payload, Refused
from strategy.domain import Now
from strategy.events import Event, OrderDead
from strategy.world import Order
from tests.dst.network import NetPort, OpenOrdersOnly

POLICIES = ("timeout=failed", "not-found=rejected", "open-orders-only", "freeze-for-ever")


class TimeoutIsFailure(NetPort):
    """A port that reports an unanswered create as refused."""

    async def submit(self, payload: Payload) -> Outcome:
        outcome = await super().submit(payload)
        return Refused("timeout", outcome.why) if isinstance(outcome, InDoubt) else outcome


class NotFoundIsRejection(Resolver):
    """A resolver that takes the first "not found" for the end of an order."""

    async def _absent(
        self, order: Order, answer: NotFound, asked_at: Now, expected: int
    ) -> list[Event]:
        del answer, asked_at, expected
        return [OrderDead(order.request.client_id, "not found", self._now())]


class FreezeForEver(Resolver):
    """A resolver that waits until an order is found, however long."""

    async def _absent(
        self, order: Order, answer: NotFound, asked_at: Now, expected: int
    ) -> list[Event]:
        del order, answer, asked_at, expected
        return []


def port_class(policy: str) -> type[NetPort]:
    """Return the port that a policy uses."""
    if policy == "timeout=failed":
        return TimeoutIsFailure
    return OpenOrdersOnly if policy == "open-orders-only" else NetPort


@contextmanager
def resolving(policy: str) -> Iterator[None]:
    """Let the daemon resolve by a broken policy meanwhile."""
    chosen: dict[str, Any] = {
        "not-found=rejected": NotFoundIsRejection,
        "open-orders-only": NotFoundIsRejection,
        "freeze-for-ever": FreezeForEver,
    }
    names = vars(daemon_app)
    usual = names["Resolver"]
    names["Resolver"] = chosen.get(policy, usual)
    try:
        yield
    finally:
        names["Resolver"] = usual

"""Where the libraries under the wire reach past the loop: name, socket, clock, masks, set order."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar

from aiohttp import connector
from aiohttp._websocket.writer import WebSocketWriter

from tests.dst.wire_loop import WireLoop
from tests.simloop import SimError

T = TypeVar("T")


async def _start_connection(addr_infos: Sequence[Any], **_: Any) -> Any:
    """Stand for aiohappyeyeballs: dial on the running loop."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, WireLoop):
        raise RuntimeError("only the virtual network is dialled here")  # noqa: TRY004 - no type of a caller's
    return await loop.dial(addr_infos[0][-1][1])


class _InOrder(dict[Any, None]):
    """A set of tasks that remembers their order: a cancelled group goes over it."""

    def add(self, task: Any) -> None:
        self[task] = None

    def discard(self, task: Any) -> None:
        self.pop(task, None)


@contextmanager
def in_order() -> Iterator[None]:
    """Let task groups cancel their tasks in the order of their making, not by address."""
    usual = vars(asyncio.TaskGroup)["__init__"]

    def made(group: asyncio.TaskGroup) -> None:
        usual(group)
        vars(group)["_tasks"] = _InOrder()

    setattr(asyncio.TaskGroup, "__init__", made)  # noqa: B010 - mypy forbids the assignment
    try:
        yield
    finally:
        setattr(asyncio.TaskGroup, "__init__", usual)  # noqa: B010 - the same


@contextmanager
def in_memory(loop: WireLoop, seed: int) -> Iterator[Mapping[str, Any]]:
    """Let aiohttp dial the loop instead of the kernel, by the loop's clock, with seeded masks."""
    module = vars(connector)
    usual = {name: module[name] for name in ("aiohappyeyeballs", "monotonic")}
    masks = (WebSocketWriter.__init__.__kwdefaults__ or {})["random"]

    eyeballs = SimpleNamespace(**vars(usual["aiohappyeyeballs"]))
    eyeballs.start_connection = _start_connection
    module["aiohappyeyeballs"], module["monotonic"] = eyeballs, loop.time
    masks.seed(seed)
    try:
        with in_order():
            yield usual
    finally:
        module.update(usual)
        masks.seed()


def simulate_on(loop: WireLoop, main: Callable[[WireLoop], Coroutine[Any, Any, T]]) -> T:
    """Run ``main`` to its end; fails with what nobody caught.

    Raises:
        SimError: a deadlock, a busy loop, or an exception that no task handled.
    """
    try:
        result: T = loop.run_until_complete(main(loop))
    except BaseException:
        loop.abandon()
        raise
    finally:
        loop.close()
    if loop.errors:
        raise SimError("; ".join(loop.errors))
    return result

"""An asyncio event loop on a virtual clock: no sockets, no threads, and one seed repeats a run.

Time stands still while anything is ready, and jumps to the next timer when nothing is. The ready
queue is shuffled by the seed in every round, so that code which leans on the order in which asyncio
happens to wake tasks is found out. Every callback belongs to the *owner* in whose context it was
scheduled: one owner can be stalled (SIGSTOP) or killed (SIGKILL) while the rest of the world goes
on.
"""

import asyncio
import contextvars
import heapq
import random  # noqa: TID251 - a seeded instance shuffles the ready queue
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, NoReturn, TypeVar, cast

from strategy.domain import NANO, Ns

T = TypeVar("T")

WORLD = 0
"""The owner of everything that is not inside a simulated process."""
BUSY = 200_000
"""Callbacks at one moment of virtual time; more is a loop that never waits."""
OWNER: contextvars.ContextVar[int] = contextvars.ContextVar("owner", default=WORLD)


class SimError(AssertionError):
    """The simulated program hangs, or spins."""


class _Timer(asyncio.TimerHandle):
    """A timer that knows its owner."""

    owner = WORLD


class _Handle(asyncio.Handle):
    """A callback that knows its owner."""

    owner = WORLD


class SimLoop(asyncio.AbstractEventLoop):
    """A loop whose clock is a number.

    Args:
        seed: of the shuffle.

    Attributes:
        steps: callbacks run so far, by owner: the simulated process's await points.
        errors: what nobody caught, in order.
        before: called before each callback with its owner; it may kill or stall that owner.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"loop {seed}")  # noqa: S311 - a schedule, not a secret
        self._ns = 0
        self._ready: list[_Handle | _Timer] = []
        self._batch: list[_Handle | _Timer] = []
        """What is left of the round that runs."""
        self._timers: list[tuple[int, int, _Timer]] = []
        self._made = 0
        self._stopping = self._running = self._closed = False
        self._stalled: dict[int, int] = {}
        self._held: list[_Handle | _Timer] = []
        self._dead: set[int] = set()
        self._buried: set[int] = set()
        self._tasks: dict[int, dict[int, asyncio.Task[Any]]] = {}
        self._generators: list[AsyncGenerator[Any, Any]] = []
        self.steps: dict[int, int] = {}
        self.errors: list[str] = []
        self.before: Callable[[int], None] | None = None

    # --- time --------------------------------------------------------------------------------

    def time(self) -> float:
        """Return virtual seconds since the loop was made."""
        return self._ns / NANO

    def ns(self) -> Ns:
        """Return the same in ns, exactly."""
        return Ns(self._ns)

    # --- scheduling --------------------------------------------------------------------------

    def call_soon(  # type: ignore[override]  # typeshed: variadic generics
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Run ``callback`` in one of the next rounds."""
        held = contextvars.copy_context() if context is None else context
        handle = _Handle(callback, args, self, held)
        handle.owner = held.get(OWNER, WORLD)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # the same

    def call_later(  # type: ignore[override]  # the same
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run ``callback`` in ``delay`` virtual seconds."""
        return self._at(self._ns + max(0, round(delay * NANO)), callback, args, context)

    def call_at(  # type: ignore[override]  # the same
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run ``callback`` at virtual time ``when``."""
        return self._at(round(when * NANO), callback, args, context)

    def _at(
        self,
        due: int,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> asyncio.TimerHandle:
        held = contextvars.copy_context() if context is None else context
        timer = _Timer(due / NANO, callback, args, self, held)
        timer.owner = held.get(OWNER, WORLD)
        self._made += 1
        heapq.heappush(self._timers, (due, self._made, timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Take no note: a cancelled timer is passed over when it is due."""

    # --- running -----------------------------------------------------------------------------

    def run_until_complete(self, future: Any) -> Any:
        """Run until a coroutine or future is done; returns its result.

        Raises:
            SimError: nothing is ready, no timer is left, and the future is not done.
        """
        asked: asyncio.Future[Any] = (
            self.create_task(future) if asyncio.iscoroutine(future) else future
        )
        asked.add_done_callback(lambda _: self.stop())
        self.run_forever()
        if not asked.done():
            raise SimError("the loop was stopped before its future was done")
        return asked.result()

    def run_forever(self) -> None:
        """Run until ``stop``."""
        self._running, self._stopping = True, False
        asyncio._set_running_loop(self)
        rounds, moment = 0, self._ns
        try:
            while not self._stopping:
                if self._ns != moment:
                    rounds, moment = 0, self._ns
                rounds += self._round()
                if rounds > BUSY:
                    raise SimError(f"busy loop: {rounds} callbacks at {self.time():.6f} s")
        finally:
            asyncio._set_running_loop(None)
            self._running = False

    def _round(self) -> int:
        """Run what is ready, in shuffled order, or jump to the next timer; return how many ran."""
        self._wake_stalled()
        if not self._ready:
            self._jump()
        while self._timers and self._timers[0][0] <= self._ns:
            self._ready.append(heapq.heappop(self._timers)[2])
        batch, self._ready = self._ready, []
        if len(batch) > 1:
            self._rng.shuffle(batch)
        self._batch = batch
        ran = len(batch)
        while self._batch:
            self._run(self._batch.pop())
        return ran

    def _run(self, handle: _Handle | _Timer) -> None:
        if handle.cancelled():
            return
        owner = handle.owner
        if owner in self._buried:
            return
        if owner in self._dead or owner in self._stalled:
            self._held.append(handle)
            return
        if owner != WORLD:
            self.steps[owner] = self.steps.get(owner, 0) + 1
        if self.before is not None:
            self.before(owner)
            if owner in self._dead:
                self._held.append(handle)
                return
        handle._run()

    def _jump(self) -> None:
        """Let virtual time pass until the next timer, or the end of a stall."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        moments = [until for owner, until in self._stalled.items() if owner not in self._dead]
        if self._timers:
            moments.append(self._timers[0][0])
        if not moments:
            raise SimError("deadlock: nothing is ready and no timer is left")
        self._ns = max(self._ns, min(moments))
        self._wake_stalled()

    def _wake_stalled(self) -> None:
        over = [o for o, t in self._stalled.items() if t <= self._ns and o not in self._dead]
        for owner in over:
            del self._stalled[owner]
            self._ready += [h for h in self._held if h.owner == owner]
            self._held = [h for h in self._held if h.owner != owner]

    def stop(self) -> None:
        """End ``run_forever`` after this round."""
        self._stopping = True

    def is_running(self) -> bool:
        """Return whether the loop runs."""
        return self._running

    def is_closed(self) -> bool:
        """Return whether ``close`` was called."""
        return self._closed

    def close(self) -> None:
        """Drop everything that is scheduled."""
        self._closed = True
        self._ready.clear()
        self._held.clear()
        self._timers.clear()

    # --- owners ------------------------------------------------------------------------------

    def spawn(self, owner: int, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task, and everything that it will ever schedule, as ``owner``."""
        context = contextvars.copy_context()
        context.run(OWNER.set, owner)
        return context.run(lambda: self.create_task(work))

    def from_world(self, act: Callable[[], None]) -> None:
        """Call ``act`` in the next round as the world, whoever asks, outside any task."""
        context = contextvars.copy_context()
        context.run(OWNER.set, WORLD)
        self.call_soon(act, context=context)

    def stall(self, owner: int, seconds: float) -> None:
        """Run nothing of ``owner`` for so long; its timers are late then, as after SIGSTOP."""
        self._stalled[owner] = self._ns + round(seconds * NANO)

    def kill(self, owner: int) -> None:
        """Never run anything of ``owner`` again; call ``bury`` afterwards, from the world."""
        self._dead.add(owner)

    def bury(self, owner: int) -> None:
        """Unwind the frames of a killed owner, at one moment, without anybody else running.

        Its doors to the world must be shut before: what its ``finally`` blocks do reaches nothing.
        """
        self._stalled.pop(owner, None)
        tasks = [t for t in self._tasks.pop(owner, {}).values() if not t.done()]
        waiting = [*self._held, *self._batch, *self._ready]
        mine = [h for h in waiting if h.owner == owner]
        self._held = [h for h in self._held if h.owner != owner]
        outer = [h for h in (*self._batch, *self._ready) if h.owner != owner]
        self._batch, self._ready = [], []
        for task in tasks:
            task.cancel()
        while mine or any(not task.done() for task in tasks):
            if not mine and not self._ready:
                raise SimError(f"process {owner} does not die: {tasks}")
            for handle in mine:
                if not handle.cancelled():
                    handle._run()
            outer += [h for h in self._ready if h.owner != owner]
            mine = [h for h in self._ready if h.owner == owner]
            self._ready = []
        self._ready = outer
        self._buried.add(owner)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # seen: nobody awaits what was killed

    def abandon(self) -> None:
        """Cancel whatever still runs, after an episode that failed, and let it unwind."""
        self._stopping = False
        asyncio._set_running_loop(self)
        try:
            for _ in range(100):
                left = [t for ts in self._tasks.values() for t in ts.values() if not t.done()]
                for task in left:
                    task.cancel()
                batch, self._ready = self._ready + self._held, []
                self._held = []
                for handle in batch:
                    if not handle.cancelled():
                        handle._run()
                if not left:
                    return
        finally:
            asyncio._set_running_loop(None)

    def alive(self, owner: int) -> int:
        """Return how many tasks of ``owner`` have not ended."""
        return sum(not task.done() for task in self._tasks.get(owner, {}).values())

    # --- futures and tasks -------------------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        """Start a coroutine as a task of its owner."""
        task: asyncio.Task[T] = asyncio.Task(coro, loop=self, name=name, context=context)
        owner = (context or contextvars.copy_context()).get(OWNER, WORLD)
        self._made += 1
        mine, number = self._tasks.setdefault(owner, {}), self._made
        mine[number] = task
        task.add_done_callback(lambda _: mine.pop(number, None) if owner == WORLD else None)
        if len(mine) > 1000 and owner != WORLD:  # keep the register small
            self._tasks[owner] = {n: t for n, t in mine.items() if not t.done()}
        return task

    def run_in_executor(  # type: ignore[override]  # it never returns
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> NoReturn:
        """Refuse: a thread would not repeat.

        Raises:
            SimError: always.
        """
        raise SimError(f"{func!r}{args} on {executor} in a thread cannot be repeated")

    async def shutdown_asyncgens(self) -> None:
        """Do nothing: no asynchronous generator outlives its task here."""

    async def shutdown_default_executor(self) -> None:
        """Do nothing: there is no thread."""

    # --- errors ------------------------------------------------------------------------------

    def get_debug(self) -> bool:
        """Return False: debug mode reads the wall clock."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Remember what nobody caught; the episode fails with it."""
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Handle it as every other."""
        self.call_exception_handler(context)


def simulate(seed: int, main: Callable[[SimLoop], Coroutine[Any, Any, T]]) -> tuple[T, SimLoop]:
    """Run ``main`` on a new loop to its end; fails with what nobody caught.

    Raises:
        SimError: a deadlock, a busy loop, or an exception that no task handled.
    """
    # what it does not have (sockets, pipes, signals) raises NotImplementedError by inheritance
    loop = cast("Callable[[int], SimLoop]", SimLoop)(seed)
    try:
        result = loop.run_until_complete(main(loop))
    except BaseException:
        loop.abandon()
        raise
    finally:
        loop.close()
    if loop.errors:
        raise SimError("; ".join(loop.errors))
    return result, loop

"""Watches the loop itself: pings systemd for a healthy one, and notices when time was lost.

A ping proves that a decision completed and was committed, and that the loop is not behind. Stale
venue data is no reason to withhold it: a restart does not mend a venue (faults.md section 7). Time
is lost when the process was stopped, the machine slept, or something blocked the loop: whatever
was on its way then is from before, however fresh it looks when it is read.
"""

from collections.abc import Callable
from dataclasses import dataclass

from daemon.notify import Notifier
from strategy.domain import Ns, plain
from strategy.params import SECOND
from strategy.world import World

BEHIND = Ns(2 * SECOND)
"""A loop that was this long in one turn gets no ping for it, and an alert."""
PAUSED = Ns(5 * SECOND)
"""After this long nothing that was received before may be acted on (F36, F37)."""
EMERGENCY = Ns(60 * SECOND)
"""How long a run without a journal may reduce: then it is not healthy any more (L5)."""
Say = Callable[[str, int], None]


@dataclass(slots=True)
class Watchdog:
    """One loop's watch.

    Attributes:
        notifier: where pings go.
        mono: monotonic ns, sleep of the machine included.
        say: hears ``loop_lag`` or ``paused``, with milliseconds.
        worst: ns of the longest turn so far.
    """

    notifier: Notifier
    mono: Callable[[], Ns]
    say: Say
    worst: Ns = Ns(0)
    _turned: Ns | None = None
    _late: bool = False
    _lost: Ns | None = None

    def turn(self) -> bool:
        """Begin a turn of the loop; true when so much time was lost that all data is stale."""
        now = self.mono()
        took = Ns(0) if self._turned is None else Ns(now - self._turned)
        self._turned = now
        self.worst = max(self.worst, took)
        self._late = took >= BEHIND
        if self._late:
            self.say("paused" if took >= PAUSED else "loop_lag", took // 1_000_000)
        return took >= PAUSED

    def ticked(self, w: World, lost: str) -> None:
        """Ping after a completed decision, unless the loop is behind or stuck without a journal.

        ``lost`` says why nothing is durable any more; empty while it is.
        """
        now = self.mono()
        if lost and self._lost is None:
            self._lost = now
        stuck = self._lost is not None and now - self._lost >= EMERGENCY
        behind = self._late or (self._turned is not None and now - self._turned >= BEHIND)
        if not behind and not stuck:
            self.notifier.watchdog(
                f"mode={w.mode.name} net={plain(w.net)} in_doubt={int(w.doubtful())}"
            )

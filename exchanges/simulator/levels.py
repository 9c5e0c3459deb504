"""Price levels of one side of a simulated book. Imports ``strategy.domain`` and ``model`` only.

Levels are named by a *key*, ``price * side.value``: on both sides the larger key is the better
price, so one piece of code serves both, and the best level is the end of a sorted list.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator

from exchanges.simulator.model import SimOrder
from strategy.domain import Level, Px, Qty, Side


class BookSide:
    """External size, the recording behind it and our orders, on one side of one book.

    Two external figures per level: *shown* is what the recording displays, *effective* is what is
    left of it after our takers; the hole a taker leaves refills only as the recording shows new
    size. In a level an own order waits behind ``queue_ahead`` of the effective size. Sizes are 1e-9
    base.
    """

    def __init__(self, side: Side) -> None:
        self.side = side
        self.sign: int = side.value
        self.ext: dict[int, int] = {}
        """Effective external size by key; only positive entries."""
        self.own: dict[int, list[SimOrder]] = {}
        """Resting own orders by key, first in time first."""
        self._shown: dict[int, int] = {}
        self._stamp: dict[int, int] = {}
        self._ext_keys: list[int] = []
        self._own_keys: list[int] = []
        self._dirty: dict[int, None] = {}
        self._published: dict[int, int] = {}

    # --- reading ------------------------------------------------------------------------

    def key(self, px: int) -> int:
        """Return the key of a price."""
        return px * self.sign

    def px(self, key: int) -> Px:
        """Return the price of a key."""
        return Px(key * self.sign)

    def best_ext(self) -> int | None:
        """Return the key of the best level with external size."""
        return self._ext_keys[-1] if self._ext_keys else None

    def best_own(self) -> int | None:
        """Return the key of the best level with an own order."""
        return self._own_keys[-1] if self._own_keys else None

    def best(self) -> int | None:
        """Return the key of the best displayed level."""
        if not self._own_keys:
            return self._ext_keys[-1] if self._ext_keys else None
        if not self._ext_keys:
            return self._own_keys[-1]
        return max(self._ext_keys[-1], self._own_keys[-1])

    def displayed(self, key: int) -> int:
        """Return external plus own size at a level."""
        size = self.ext.get(key, 0)
        for order in self.own.get(key, ()):
            size += order.remaining
        return size

    def walk(self) -> Iterator[int]:
        """Yield the keys of displayed levels, best first. The side must not change meanwhile."""
        ext, own = self._ext_keys, self._own_keys
        i, j = len(ext) - 1, len(own) - 1
        while i >= 0 or j >= 0:
            if j < 0 or (i >= 0 and ext[i] > own[j]):
                yield ext[i]
                i -= 1
            else:
                if i >= 0 and ext[i] == own[j]:
                    i -= 1
                yield own[j]
                j -= 1

    def levels(self, depth: int) -> list[Level]:
        """Return up to ``depth`` displayed levels, best first."""
        found: list[Level] = []
        for key in self.walk():
            if len(found) >= depth:
                break
            found.append((self.px(key), Qty(self.displayed(key))))
        return found

    def stamp(self, key: int) -> int:
        """Return when the recording last spoke of a level, as a count of its messages."""
        return self._stamp.get(key, 0)

    @property
    def dirty(self) -> bool:
        """True when a level may have changed since ``changes``."""
        return bool(self._dirty)

    def changes(self) -> tuple[Level, ...]:
        """Return the displayed size of each level that changed, best first; zero removes."""
        found: list[Level] = []
        for key in sorted(self._dirty, reverse=True):
            size = self.displayed(key)
            if size == self._published.get(key, 0):
                continue
            if size:
                self._published[key] = size
            else:
                del self._published[key]
            found.append((self.px(key), Qty(size)))
        self._dirty.clear()
        return tuple(found)

    # --- the external market ------------------------------------------------------------

    def record(self, key: int, change: int, stamp: int) -> None:
        """Apply a recorded change of size: effective becomes clamp(E + change, 0, shown)."""
        shown = self._shown.get(key, 0) + change
        if shown:
            self._shown[key] = shown
            self._stamp[key] = stamp
        else:
            self._shown.pop(key, None)
            self._stamp.pop(key, None)
        self._set_ext(key, min(max(self.ext.get(key, 0) + change, 0), shown))

    def reset(self, image: dict[int, int], stamp: int) -> None:
        """Replace the whole external side by ``image``: what takers consumed is forgotten."""
        for key in [key for key in self._ext_keys if key not in image]:
            self._set_ext(key, 0)
        self._shown = dict(image)
        self._stamp = dict.fromkeys(image, stamp)
        for key, size in image.items():
            self._set_ext(key, size)

    def drop(self, key: int) -> None:
        """Remove a level of the recording."""
        self._shown.pop(key, None)
        self._stamp.pop(key, None)
        self._set_ext(key, 0)

    def consume(self, key: int, qty: int) -> None:
        """Take external size from the front of a level: everyone behind it moves up."""
        self.move_up(key, qty)
        self._set_ext(key, self.ext[key] - qty)

    def move_up(self, key: int, qty: int) -> None:
        """Shorten the queue ahead of every own order at a level, as recorded trades do."""
        for order in self.own.get(key, ()):
            order.queue_ahead = Qty(max(order.queue_ahead - qty, 0))

    def _set_ext(self, key: int, size: int) -> None:
        old = self.ext.get(key, 0)
        if size == old:
            return
        if not size:
            del self.ext[key]
            del self._ext_keys[bisect_left(self._ext_keys, key)]
        else:
            if not old:
                insort(self._ext_keys, key)
            self.ext[key] = size
        # Size that left without trading is taken from behind us until none is left there.
        for order in self.own.get(key, ()):
            if order.queue_ahead > size:
                order.queue_ahead = Qty(size)
        self._dirty[key] = None

    # --- own orders ---------------------------------------------------------------------

    def rest(self, order: SimOrder, px: Px) -> None:
        """Put an order at the end of its level."""
        key = self.key(px)
        order.queue_ahead = Qty(self.ext.get(key, 0))
        if key not in self.own:
            self.own[key] = []
            insort(self._own_keys, key)
        self.own[key].append(order)
        self._dirty[key] = None

    def touched(self, px: Px) -> None:
        """Note that an own order's remaining size at a price changed."""
        self._dirty[self.key(px)] = None

    def remove(self, order: SimOrder, px: Px) -> None:
        """Take an order off its level; an order that does not rest here is left alone."""
        key = self.key(px)
        queue = self.own.get(key)
        if queue is None or not any(each is order for each in queue):
            return
        queue[:] = [each for each in queue if each is not order]
        if not queue:
            del self.own[key]
            del self._own_keys[bisect_left(self._own_keys, key)]
        self._dirty[key] = None

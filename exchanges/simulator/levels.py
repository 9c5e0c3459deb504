"""Price levels of one side of a simulated book.

Imports ``strategy.domain`` and simulator modules only.

Levels are named by a *key*, ``price * side.value``: on both sides the larger key is the better
price, so one piece of code serves both, and the best level is the end of a sorted list.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any

from exchanges.simulator.compiled import Delta
from exchanges.simulator.model import SimOrder
from strategy.domain import Level, Px, Qty, Side

_MANY = 64
"""Levels that come and go above which all are sorted anew."""
_MOST_LOOSE = 8192
_LONG_LOOK = 128
"""Changes that are looked through for a level before they are bundled."""
_MOST_BUNDLES = 256
"""Bundles of changes that wait before they are applied all the same, to bound memory."""


class BookSide:
    """External size, the recording behind it and our orders, on one side of one book.

    Two external figures per level: *shown* is what the recording displays, *effective* is what is
    left of it after our takers; the hole a taker leaves refills only as the recording shows new
    size. In a level an own order waits behind ``queue_ahead`` of the effective size. Sizes are 1e-9
    base.

    Changes that were worked out ahead (``take``) wait until somebody looks at the levels; only the
    best price, the levels with own orders and those with holes are kept exact meanwhile.
    """

    def __init__(self, side: Side) -> None:
        self.side = side
        self.sign: int = side.value
        self._ext: dict[int, int] = {}
        self.own: dict[int, list[SimOrder]] = {}
        """Resting own orders by key, first in time first."""
        self._shown: dict[int, int] = {}
        self._stamp: dict[int, int] = {}
        self._ext_keys: list[int] = []
        self._own_keys: list[int] = []
        self._dirty: dict[int, None] = {}
        self._published: dict[int, int] = {}
        self._waiting: list[dict[int, int]] = []
        """Changes not yet applied, oldest first, bundled but for the last few."""
        self._loose = 0
        """How many of them are not bundled."""
        self._last_stamp = 0
        self._untold = False
        """True while listeners have not been told of the last of them."""
        self._whole = False
        """True when the oldest of them is the whole side."""
        self._waiting_best: int | None = None
        """Best external key once they are applied."""
        self._exact: dict[int, None] = {}
        """Keys that are up to date although changes wait: own orders, holes, and where they were.
        """
        self._holes: dict[int, None] = {}
        """Keys where effective differs from shown."""

    @property
    def ext(self) -> dict[int, int]:
        """Effective external size by key; only positive entries."""
        if self._waiting:
            self.catch_up()
        return self._ext

    # --- reading ------------------------------------------------------------------------

    def key(self, px: int) -> int:
        """Return the key of a price."""
        return px * self.sign

    def px(self, key: int) -> Px:
        """Return the price of a key."""
        return Px(key * self.sign)

    def best_ext(self) -> int | None:
        """Return the key of the best level with external size."""
        if self._waiting:
            return self._waiting_best
        return self._ext_keys[-1] if self._ext_keys else None

    def best_own(self) -> int | None:
        """Return the key of the best level with an own order."""
        return self._own_keys[-1] if self._own_keys else None

    def best(self) -> int | None:
        """Return the key of the best displayed level."""
        ext = self.best_ext()
        if not self._own_keys:
            return ext
        own = self._own_keys[-1]
        return own if ext is None or own > ext else ext

    def displayed(self, key: int) -> int:
        """Return external plus own size at a level."""
        if self._waiting and key not in self._exact:
            self.catch_up()
        size = self._ext.get(key, 0)
        for order in self.own.get(key, ()):
            size += order.remaining
        return size

    def effective(self, key: int) -> int:
        """Return the external size of a level, without looking at the others."""
        self._settle(key)
        return self._ext.get(key, 0)

    def walk(self) -> Iterator[int]:
        """Yield the keys of displayed levels, best first. The side must not change meanwhile."""
        self.catch_up()
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
        if depth <= 0:
            return []
        self.catch_up()
        sign, ext, own = self.sign, self._ext, self.own
        keys = self._ext_keys[-depth:]
        if own:
            keys = sorted({*keys, *own})[-depth:]
        # NewTypes are called for nothing: books are read far more often than anything else.
        found: list[Any] = [
            (key * sign, self.displayed(key) if key in own else ext[key]) for key in reversed(keys)
        ]
        return found

    def stamp(self, key: int) -> int:
        """Return when the recording last spoke of a level, as a count of its messages."""
        self.catch_up()
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
        if len(self._exact) > len(self.own) + len(self._holes):
            self._exact = dict.fromkeys([*self.own, *self._holes])
        return tuple(found)

    def told(self, delta: Delta) -> tuple[Level, ...]:
        """Return ``changes`` after ``take`` of one change, without looking at its other levels."""
        if self._untold:
            self._untold = False
            if delta.image is not None:
                self._restart(delta.image)
        if not self._dirty:
            return delta.levels
        if len(self._dirty) == 1:
            return self._told_one(delta.levels, next(iter(self._dirty)))
        sign = self.sign
        ours = {key * sign for key in self._dirty}
        others = [level for level in delta.levels if level[0] not in ours]
        return tuple(sorted([*self.changes(), *others], reverse=sign > 0))

    def _told_one(self, levels: tuple[Level, ...], ours: int) -> tuple[Level, ...]:
        """Put the one level that is ours into its place; it is mostly near the best."""
        rows = self.changes()
        sign = self.sign
        for place, level in enumerate(levels):
            key = level[0] * sign
            if key <= ours:
                return (*levels[:place], *rows, *levels[place + (key == ours) :])
        return levels + rows

    # --- the external market ------------------------------------------------------------

    def record(self, key: int, change: int, stamp: int) -> None:
        """Apply a recorded change of size: effective becomes clamp(E + change, 0, shown)."""
        if self._waiting:
            self.catch_up()
        self._record(key, self._shown.get(key, 0) + change, stamp)

    def _record(self, key: int, shown: int, stamp: int) -> None:
        change = shown - self._shown.get(key, 0)
        if shown:
            self._shown[key] = shown
            self._stamp[key] = stamp
        else:
            self._shown.pop(key, None)
            self._stamp.pop(key, None)
        effective = min(max(self._ext.get(key, 0) + change, 0), shown)
        if effective == shown:
            self._holes.pop(key, None)
        self._set_ext(key, effective)

    def reset(self, image: dict[int, int], stamp: int, *, forget: bool) -> None:
        """Replace the whole external side by ``image``.

        What takers consumed of a level comes back only where the size shown there changes, or
        everywhere with ``forget``, for a book that is not the old one any more.
        """
        self.catch_up()
        holes = {} if forget else {k: None for k in self._holes if k in image}
        for key in [key for key in self._ext_keys if key not in image]:
            self._set_ext(key, 0)
        for key in holes:
            self._record(key, image[key], stamp)
        holes = {key: None for key in holes if key in self._holes}
        self._shown = dict(image)
        self._stamp = dict.fromkeys(image, stamp)
        for key, size in image.items():
            if key not in holes:
                self._set_ext(key, size)
        self._holes = holes

    def drop(self, key: int) -> None:
        """Remove a level of the recording."""
        self.catch_up()
        self._shown.pop(key, None)
        self._stamp.pop(key, None)
        self._holes.pop(key, None)
        self._set_ext(key, 0)

    def consume(self, key: int, qty: int) -> None:
        """Take external size from the front of a level: everyone behind it moves up."""
        self._settle(key)
        self.move_up(key, qty)
        self._holes[key] = None
        self._set_ext(key, self._ext[key] - qty)
        if key not in self._ext:
            self.catch_up()

    def take(self, delta: Delta, stamp: int, *, told: bool) -> bool:
        """Apply a change that was worked out for exactly this side of the recording, later.

        The levels that our orders stand on or took from are brought up to date now, by the rule of
        ``record``. ``told``: listeners hear of it before anything else happens here. Returns
        whether the display may differ from the recording's: ask ``told``.
        """
        sizes = delta.sizes
        if not sizes and delta.image is None:
            return bool(self._dirty)
        if self._loose >= _MOST_LOOSE:
            self._bundle()
        self._waiting.append(sizes)
        self._loose += 1
        self._untold = not told
        if told and delta.image is not None:
            self._restart(delta.image)
        self._waiting_best = delta.best
        self._last_stamp = stamp
        for key in self._exact:
            if key in sizes:
                self._record(key, sizes[key], stamp)
                self._dirty[key] = None
        return bool(self._dirty)

    def _restart(self, image: dict[int, int]) -> None:
        """Forget the changes before a snapshot."""
        self._waiting = [image]
        self._whole = True
        self._loose = 0

    def _bundle(self) -> None:
        """Make one change of the last ones, so that looking a level up stays cheap."""
        merged: dict[int, int] = {}
        for sizes in self._waiting[-self._loose :]:
            merged.update(sizes)
        self._waiting[-self._loose :] = [merged]
        self._loose = 0
        if len(self._waiting) > _MOST_BUNDLES:
            self.catch_up()

    def best_after(self, delta: Delta) -> int | None:
        """Return the best displayed key after ``take``; None when that must be looked up."""
        best = delta.best
        if best is None:
            return None
        if self._holes and best in self._holes:
            change = delta.sizes.get(best, self._shown[best]) - self._shown[best]
            if self._ext.get(best, 0) + change <= 0:
                return None
        own = self._own_keys
        return own[-1] if own and own[-1] > best else best

    def catch_up(self) -> None:
        """Apply the changes that wait; the levels kept exact have them already."""
        if not self._waiting:
            return
        untold = self._waiting.pop() if self._untold else {}
        self._untold = False
        self._merge()
        for key, size in untold.items():
            if key not in self._exact:
                self._record(key, size, self._last_stamp)
                self._dirty[key] = None
        self._exact = dict.fromkeys([*self.own, *self._holes])

    def _merge(self) -> None:
        merged = dict.fromkeys(self._ext, 0) if self._whole else {}
        self._whole = False
        for sizes in self._waiting:
            merged.update(sizes)
        self._waiting.clear()
        self._loose = 0
        for key in self._exact:
            merged.pop(key, None)
        gone = [key for key, size in merged.items() if not size]
        fresh = {key: size for key, size in merged.items() if size}
        new = [key for key in fresh if key not in self._ext]
        gone = [key for key in gone if key in self._ext]
        moved = len(new) + len(gone)
        for side in (self._ext, self._shown, self._published):
            side.update(fresh)
            for key in gone:
                side.pop(key, None)
        # When exactly they came is of no use: a level that crosses is newer than all of these.
        self._stamp.update(dict.fromkeys(fresh, self._last_stamp))
        for key in gone:
            self._stamp.pop(key, None)
        if moved:
            self._sort(gone, new)

    def _sort(self, gone: list[int], new: list[int]) -> None:
        """Bring the sorted keys in line with the levels, moving few where few have changed."""
        keys = self._ext_keys
        if len(gone) + len(new) > _MANY:
            self._ext_keys = sorted(self._ext)
            return
        for key in gone:
            del keys[bisect_left(keys, key)]
        for key in new:
            insort(keys, key)

    def _settle(self, key: int) -> None:
        """Bring one level up to date and keep it so."""
        if self._waiting and key not in self._exact:
            untold = self._waiting[-1] if self._untold else {}
            looked = 0
            for sizes in reversed(self._waiting):
                looked += 1
                if key in sizes and sizes is not untold:
                    self._published_as(key, sizes[key])
                    break
            else:
                if self._whole:
                    self._published_as(key, 0)
            if key in untold:
                self._record(key, untold[key], self._last_stamp)
                self._dirty[key] = None
            if looked > _LONG_LOOK and not self._untold:
                self._bundle()
        self._exact[key] = None

    def _published_as(self, key: int, size: int) -> None:
        """Apply one waiting change, which listeners have been told of already."""
        dirty = key in self._dirty
        self._record(key, size, self._last_stamp)
        if not dirty:
            self._dirty.pop(key, None)
        if size:
            self._published[key] = size
        else:
            self._published.pop(key, None)

    def move_up(self, key: int, qty: int) -> None:
        """Shorten the queue ahead of every own order at a level, as recorded trades do."""
        for order in self.own.get(key, ()):
            order.queue_ahead = Qty(max(order.queue_ahead - qty, 0))

    def _set_ext(self, key: int, size: int) -> None:
        old = self._ext.get(key, 0)
        if size == old:
            return
        if not size:
            del self._ext[key]
            del self._ext_keys[bisect_left(self._ext_keys, key)]
        else:
            if not old:
                insort(self._ext_keys, key)
            self._ext[key] = size
        # Size that left without trading is taken from behind us until none is left there.
        for order in self.own.get(key, ()):
            if order.queue_ahead > size:
                order.queue_ahead = Qty(size)
        self._dirty[key] = None

    # --- own orders ---------------------------------------------------------------------

    def rest(self, order: SimOrder, px: Px) -> None:
        """Put an order at the end of its level."""
        key = self.key(px)
        self._settle(key)
        order.queue_ahead = Qty(self._ext.get(key, 0))
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

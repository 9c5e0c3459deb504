"""What the tool's own tests mutate."""

from dataclasses import dataclass
from enum import IntEnum

LIMIT = 5
SUM = LIMIT + 0


@dataclass(frozen=True, slots=True)
class Box:
    """Something with a default, a property and a static method."""

    limit: int = LIMIT

    @property
    def doubled(self) -> int:
        """Twice the limit."""
        return self.limit * 2

    @staticmethod
    def made() -> "Box":
        """Make one."""
        return Box()


class Kind(IntEnum):
    """Members are made at import."""

    ONLY = 3


def clipped(value: int) -> int:
    """Return the value, at most the limit."""
    return min(value, LIMIT)

"""Two small charts as inline SVG: a histogram and a scatter. Pure; colours come from the page.

Figures here are for the eye: floats are pixels and axis labels, never money.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 16, 44
MAX_BINS = 40
TICKS = 5


@dataclass(frozen=True, slots=True)
class Point:
    """One dot: ``kind`` is its CSS class, ``label`` what hovering shows."""

    x: float
    y: float
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale from values to pixels."""

    low: float
    high: float
    step: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)

    def ticks(self) -> Iterator[float]:
        """Yield round values from end to end."""
        count = round((self.high - self.low) / self.step)
        for index in range(count + 1):
            yield self.low + index * self.step


def axis(values: Sequence[float], begin: float, end: float, least: float = 0.0) -> Axis:
    """Return a scale of round steps, none below ``least``, that holds every value and zero."""
    low, high = min([0.0, *values]), max([0.0, *values])
    if low == high:
        high = low + 1.0
    step = max(nice((high - low) / TICKS), least)
    return Axis(floor(low / step) * step, ceil(high / step) * step, step, begin, end)


def nice(step: float) -> float:
    """Round a step up to 1, 2 or 5 times a power of ten."""
    size = 10.0 ** floor(log10(step))
    return next(size * times for times in (1, 2, 5, 10) if step <= size * times * 1.000001)


def histogram(values: Sequence[float], words: str) -> str:
    """Draw how often each cost occurs; ``words`` name the horizontal axis."""
    across = axis(values, LEFT, WIDTH - RIGHT)
    width = nice((across.high - across.low) / MAX_BINS)
    bins: dict[int, int] = {}
    for value in values:
        bins[floor(value / width)] = bins.get(floor(value / width), 0) + 1
    up = axis([float(count) for count in bins.values()], HEIGHT - BOTTOM, TOP, least=1.0)
    bars = []
    for index, count in sorted(bins.items()):
        left, right = across.at(index * width), across.at((index + 1) * width)
        top = up.at(count)
        said = f"{_label(index * width)} to {_label((index + 1) * width)}: {count}"
        bars.append(
            f'<rect class="bar" x="{left:.1f}" y="{top:.1f}" width="{max(right - left - 1, 1):.1f}"'
            f' height="{HEIGHT - BOTTOM - top:.1f}"><title>{escape(said)}</title></rect>'
        )
    return _chart([*_frame(across, up, words, "hedges"), *bars], f"Histogram: {words}")


def scatter(points: Sequence[Point], words_x: str, words_y: str) -> str:
    """Draw one dot for each hedge."""
    across = axis([p.x for p in points], LEFT, WIDTH - RIGHT)
    up = axis([p.y for p in points], HEIGHT - BOTTOM, TOP)
    dots = [
        f'<circle class="dot {escape(p.kind)}" cx="{across.at(p.x):.1f}" cy="{up.at(p.y):.1f}"'
        f' r="3.5"><title>{escape(p.label)}</title></circle>'
        for p in points
    ]
    return _chart([*_frame(across, up, words_x, words_y), *dots], f"{words_y} against {words_x}")


def _frame(across: Axis, up: Axis, words_x: str, words_y: str) -> Iterator[str]:
    """Yield grid, labels and the zero lines."""
    for value in across.ticks():
        x = across.at(value)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        yield f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" class="mid">{_label(value)}</text>'
    for value in up.ticks():
        y = up.at(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" class="end">{_label(value)}</text>'
    x, y = across.at(0), up.at(0)
    yield f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    yield f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    yield f'<text x="{(LEFT + WIDTH) // 2}" y="{HEIGHT - 8}" class="mid">{escape(words_x)}</text>'
    middle = (TOP + HEIGHT - BOTTOM) // 2
    yield (
        f'<text x="14" y="{middle}" class="mid" transform="rotate(-90 14 {middle})">'
        f"{escape(words_y)}</text>"
    )


def _chart(pieces: Sequence[str], title: str) -> str:
    body = "\n".join(pieces)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">\n'
        f"{body}\n</svg>"
    )


def _label(value: float) -> str:
    """Render an axis value without noise."""
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text

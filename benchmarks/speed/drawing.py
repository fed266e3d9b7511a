"""Charts as SVG: lines with a logarithmic scale both ways, and points with intervals, one below the other."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 400, 60, 110, 20, 40
COLOURS = ("#1f6feb", "#d1570b", "#2a7d3c", "#8a3ffc")
NAMES, ROW, BETWEEN = 120, 22, 40  # of a chart of points: room for names, height of a row, room between panels


@dataclass(frozen=True)
class Drawing:
    """Lines of points (x, y), all above 0, by name."""

    lines: dict[str, list[tuple[float, float]]]
    across: str
    upwards: str

    def svg(self) -> str:
        """The whole file."""
        xs, ys = ([point[axis] for points in self.lines.values() for point in points] for axis in (0, 1))
        x, y = Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT), Scale(min(ys), max(ys), HEIGHT - BOTTOM, TOP)
        return _file(HEIGHT, [*self._axes(x, y), *self._curves(x, y)])

    def _axes(self, x: "Scale", y: "Scale") -> Iterator[str]:
        for value in x.ticks():
            yield f'<path d="M{x(value):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e5e5e5"/>'
            yield f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>'
        for value in y.ticks():
            yield f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#e5e5e5"/>'
            yield f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        yield f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(self.across)}</text>'
        turned = f"translate(14 {HEIGHT / 2}) rotate(-90)"
        yield f'<text transform="{turned}" text-anchor="middle">{escape(self.upwards)}</text>'

    def _curves(self, x: "Scale", y: "Scale") -> Iterator[str]:
        for (name, points), colour in zip(self.lines.items(), COLOURS, strict=False):
            places = [(x(across), y(up)) for across, up in points]
            drawn = " ".join(f"{across:.1f},{up:.1f}" for across, up in places)
            yield f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
            yield from (f'<circle cx="{across:.1f}" cy="{up:.1f}" r="2" fill="{colour}"/>' for across, up in places)
            across, up = places[-1]
            yield f'<text x="{across + 8:.1f}" y="{up + 4:.1f}" fill="{colour}">{escape(name)}</text>'


@dataclass(frozen=True)
class Dots:
    """Panels side by side, each with a value and the ends of its interval by name; the names are those of the first."""

    panels: dict[str, dict[str, tuple[float, float, float]]]

    def svg(self) -> str:
        """The whole file."""
        names = list(next(iter(self.panels.values())))
        across, down = min(2, len(self.panels)), 2 * TOP + ROW * len(names) + BETWEEN
        width = (WIDTH - NAMES - BETWEEN * (across - 1) - 20) / across
        body: list[str] = []
        for number, (title, values) in enumerate(self.panels.items()):
            row, column = divmod(number, across)
            left, top = NAMES + column * (width + BETWEEN), TOP + row * down
            body += self._panel(title, values, left, top, width)
            if not column:
                heights = (top + ROW * place + ROW + 4 for place in range(1, len(names) + 1))
                body += [
                    f'<text x="{NAMES - 8}" y="{y}" text-anchor="end">{escape(name)}</text>'
                    for y, name in zip(heights, names, strict=True)
                ]
        return _file(TOP + down * -(-len(self.panels) // across), body)

    def _panel(
        self, title: str, values: dict[str, tuple[float, float, float]], left: float, top: float, width: float
    ) -> Iterator[str]:
        low, high = min(each[1] for each in values.values()), max(each[2] for each in values.values())
        step = next(step for step in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, math.inf) if high - low <= 6 * step)
        first, last = (step * math.floor(low / step), step * math.ceil(high / step)) if step < math.inf else (low, high)
        bottom = top + ROW * len(values) + ROW + 8

        def place(value: float) -> float:
            return left + width * (value - first) / ((last - first) or 1.0)

        yield f'<text x="{left:.1f}" y="{top + 8}" font-weight="bold">{escape(title)}</text>'
        for tick in range(round((last - first) / step) + 1 if step < math.inf else 0):
            x, shown = place(first + tick * step), f"{first + tick * step:.2g}"
            yield f'<path d="M{x:.1f} {top + 16}V{bottom}" stroke="#e5e5e5"/>'
            yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{shown}</text>'
        for row, (name, (value, start, end)) in enumerate(values.items(), start=1):
            y, colour = top + ROW * row + ROW, COLOURS[0 if name.startswith("backpass") else 1]
            yield f'<path d="M{place(start):.1f} {y}H{place(end):.1f}" stroke="{colour}" stroke-width="1.5"/>'
            yield f'<circle cx="{place(value):.1f}" cy="{y}" r="4" fill="{colour}"/>'


def _file(height: int, body: Iterable[str]) -> str:
    background = '<rect width="100%" height="100%" fill="white"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">\n' + "\n".join([background, *body]) + "\n</svg>\n"
    )


@dataclass(frozen=True)
class Scale:
    """From numbers between `low` and `high`, by their logarithms, to places between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = math.log(self.high / self.low) or 1.0
        return self.start + (self.end - self.start) * math.log(value / self.low) / span

    def ticks(self) -> Iterator[float]:
        """1, 2, 5, 10, ... as far as they lie within."""
        for power in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1):
            yield from (d * 10.0**power for d in (1, 2, 5) if self.low <= d * 10.0**power <= self.high)

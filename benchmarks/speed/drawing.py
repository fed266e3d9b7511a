"""A line chart as SVG, with a logarithmic scale both ways."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 400, 60, 110, 20, 40
COLOURS = ("#1f6feb", "#d1570b", "#2a7d3c", "#8a3ffc")


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
        background = '<rect width="100%" height="100%" fill="white"/>'
        body = "\n".join([background, *self._axes(x, y), *self._curves(x, y)])
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'font-family="sans-serif" font-size="12">\n{body}\n</svg>\n'
        )

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

"""The pictures of the story, drawn as SVG from what the ledger has as JSON: readable in light and dark, and small."""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import product
from math import exp
from typing import Any

Ledger = dict[str, Any]
Point = tuple[float, float]

# Light first, dark second; signs differ by dashes as well as by colour.
COLOURS = {
    "paper": ("#ffffff", "#14171b"),
    "ink": ("#1d2126", "#e6e8ea"),
    "faint": ("#5c646d", "#9aa3ad"),
    "line": ("#c9c7c0", "#454e58"),
    "plus": ("#0b6e4f", "#62d2a2"),
    "minus": ("#a83232", "#ff8f8f"),
    "here": ("#a85300", "#ffb454"),
}
WIDTH = 640


def _style() -> str:
    light, dark = (";".join(f"--{name}:{pair[k]}" for name, pair in COLOURS.items()) for k in (0, 1))
    return (
        f"svg{{{light}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}"
        "text{font:15px system-ui,sans-serif;fill:var(--ink);text-anchor:middle;stroke:var(--paper);stroke-width:5px;"
        "stroke-linejoin:round;paint-order:stroke}.faint{fill:var(--faint)}.left{text-anchor:start}.right{text-anchor:end}"
        "rect,circle{fill:var(--paper)}circle{stroke:var(--faint);stroke-width:1.5}"
        ".here{stroke:var(--here);stroke-width:3}.dot{fill:var(--here);stroke:none}"
        "path{fill:none;stroke:var(--line)}.plus{stroke:var(--plus)}.minus{stroke:var(--minus);stroke-dasharray:7 4}"
        ".curve{stroke:var(--plus);stroke-width:2.5}.tangent{stroke:var(--here);stroke-width:2.5;stroke-dasharray:9 4}"
    )


class Picture:
    """An SVG that grows piece by piece."""

    def __init__(self, title: str, height: float) -> None:
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img">'
            f"<title>{escape(title)}</title><style>{_style()}</style>"
        )
        self._parts = [f'<rect width="{WIDTH}" height="{height:g}"/>']

    def svg(self) -> str:
        """The whole file."""
        return "\n".join([self._head, *self._parts, "</svg>", ""])

    def path(self, points: Sequence[Point], kind: str = "", width: float = 1) -> None:
        """A line through some points."""
        way = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        wide = f' stroke-width="{width:.1f}"' if width != 1 else ""
        self._parts.append(f'<path{_class(kind)} d="M{way}"{wide}/>')

    def circle(self, at: Point, radius: float, kind: str = "") -> None:
        """A node, or a point of a curve."""
        self._parts.append(f'<circle{_class(kind)} cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius:g}"/>')

    def text(self, at: Point, words: str, kind: str = "") -> None:
        """Words whose middle line is at that height."""
        self._parts.append(f'<text{_class(kind)} x="{at[0]:.1f}" y="{at[1] + 5:.1f}">{escape(words)}</text>')


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


class Layout:
    """Where the nodes stand: inputs, hidden nodes and outputs, from left to right."""

    height, radius = 425, 37

    def __init__(self, names: Sequence[Sequence[str]]) -> None:
        self.names = names

    def at(self, column: int, row: int) -> Point:
        """The middle of a node."""
        return (146, 324, 490)[column], (self.height - 35) * (row + 0.5) / len(self.names[column]) + 3

    def wires(self) -> Iterator[tuple[int, int, int]]:
        """Every wire: the column that it comes from, the node there, and the node that it goes to."""
        for column in (0, 1):
            for source, target in product(range(len(self.names[column])), range(len(self.names[column + 1]))):
                yield column, source, target

    def draw(self, picture: Picture, widths: Callable[[int, int, int], float], most: Sequence[float]) -> None:
        """The wires: as wide as their number is large, of all that go to one layer."""
        for column, source, target in self.wires():
            value = widths(column, source, target)
            kind = "" if value == 0 else "plus" if value > 0 else "minus"
            width = 1 if value == 0 else 0.8 + 6 * abs(value) / most[column]
            picture.path([self.at(column, source), self.at(column + 1, target)], kind, width)

    def nodes(
        self, picture: Picture, inside: Sequence[Sequence[str]], beneath: Sequence[Sequence[str]], legend: str
    ) -> None:
        """The nodes, with what stands in them, beneath them and beside them, and what that is."""
        for column, names in enumerate(self.names):
            for row, name in enumerate(names):
                x, y = self.at(column, row)
                picture.circle((x, y), self.radius, "here" if (column, row) == (1, 0) else "")
                picture.text((x, y), inside[column][row])
                if column == 1:
                    picture.text((x, y - self.radius - 11), name, "faint")
                else:
                    side = -1 if column == 0 else 1
                    kind = "right" if column == 0 else "left"
                    picture.text((x + side * (self.radius + 8), y), name, kind)
                if beneath[column]:
                    picture.text((x, y + self.radius + 11), beneath[column][row], "faint")
        picture.text((WIDTH / 2, self.height - 15), legend, "faint")


def weights_of(ledger: Ledger, what: str) -> list[list[list[float]]]:
    """The numbers called `what` of both layers' weights: [layer][from][to]."""
    return [each[what] for each in ledger["weights"] if each["name"].endswith(".weight")]


def biases_of(ledger: Ledger, what: str) -> list[list[float]]:
    """The same of the biases: [layer][node]."""
    return [each[what] for each in ledger["weights"] if each["name"].endswith(".bias")]


def values_of(ledger: Ledger, way: str, symbol: str) -> list[list[float]]:
    """A quantity of every node, as "z" forward or "δ" backward: [layer][node]."""
    return [
        [next(each["value"] for each in node[way] if each["symbol"] == symbol) for node in layer["nodes"]]
        for layer in ledger["layers"]
    ]


def _largest(numbers: list[list[list[float]]]) -> list[float]:
    return [max(abs(value) for row in layer for value in row) for layer in numbers]


def _inputs(ledger: Ledger) -> list[str]:
    return [f"{value:g}" for cell in ledger["columns"] for _, value in cell["features"]]


def forward(ledger: Ledger, names: Sequence[Sequence[str]], shown: Callable[[float], str]) -> str:
    """Values go from left to right: in each node what it passes on, on each wire its weight."""
    picture, layout = Picture("Forward: every node's weighted sum and value", Layout.height), Layout(names)
    weights = weights_of(ledger, "before")
    layout.draw(picture, lambda layer, i, k: weights[layer][i][k], _largest(weights))
    values, sums = values_of(ledger, "forward", "a"), values_of(ledger, "forward", "z")
    desired = [f"{each['desired']:g}" for each in ledger["error"]["outputs"]]
    labelled = [*names[:2], [f"{name}: {want}" for name, want in zip(names[2], desired, strict=True)]]
    Layout(labelled).nodes(
        picture,
        [_inputs(ledger), *([shown(value) for value in layer] for layer in values)],
        [[], *([f"z {shown(value)}" for value in layer] for layer in sums)],
        "in a node: a, beneath it: z; on a wire: its weight, dashed below 0",
    )
    return picture.svg()


def backward(ledger: Ledger, names: Sequence[Sequence[str]], shown: Callable[[float], str]) -> str:
    """Errors go from right to left: in each node its δ, on each wire to a hidden node what comes back over it."""
    picture, layout = Picture("Backward: every node's error", Layout.height), Layout(names)
    weights, deltas = weights_of(ledger, "before")[1], values_of(ledger, "backward", "δ")
    parts = [[weight * delta for weight, delta in zip(row, deltas[1], strict=True)] for row in weights]
    layout.draw(picture, lambda layer, i, k: parts[i][k] if layer else 0, [1, *_largest([parts])])
    for k, (part, place) in enumerate(zip(parts[0], (0.5, 0.5, 0.42), strict=True)):
        (x1, y1), (x2, y2) = layout.at(1, 0), layout.at(2, k)
        picture.text((x1 + place * (x2 - x1), y1 + place * (y2 - y1)), shown(part))
    errors = values_of(ledger, "backward", "error")
    layout.nodes(
        picture,
        [_inputs(ledger), *([shown(value) for value in layer] for layer in deltas)],
        [[], *([f"error {shown(value)}" for value in layer] for layer in errors)],
        "in a node: δ, beneath it: its error; on a wire to a hidden node: weight · δ",
    )
    return picture.svg()


def changes(ledger: Ledger, names: Sequence[Sequence[str]]) -> str:
    """What the step adds to every weight, on its wire, and to every bias, in its node."""
    picture, layout = Picture("The change of every weight and bias", Layout.height), Layout(names)
    weights, biases = weights_of(ledger, "change"), biases_of(ledger, "change")
    most = max(_largest(weights))
    layout.draw(picture, lambda layer, i, k: weights[layer][i][k], [most, most])
    layout.nodes(
        picture,
        [_inputs(ledger), *([f"{value:+.2g}" for value in layer] for layer in biases)],
        [[]] * len(names),
        "in a node: the change of its bias; on a wire: that of its weight, dashed below 0",
    )
    return picture.svg()


class Axes:
    """A frame for curves: from numbers to places."""

    def __init__(self, picture: Picture, across: tuple[float, float], up: tuple[float, float], height: float) -> None:
        self.picture, self.across, self.up, self.height = picture, across, up, height

    def at(self, x: float, y: float) -> Point:
        """The place of a pair of numbers."""
        (x0, x1), (y0, y1) = self.across, self.up
        left, right, top, bottom = 70, WIDTH - 35, 42, self.height - 55
        return left + (right - left) * (x - x0) / (x1 - x0), bottom - (bottom - top) * (y - y0) / (y1 - y0)

    def draw(self, xs: Sequence[float], ys: Sequence[float], words: tuple[str, str]) -> None:
        """Lines of the frame, with their numbers, and what the axes are."""
        for x in xs:
            self.picture.path([self.at(x, self.up[0]), self.at(x, self.up[1])])
            self.picture.text((self.at(x, 0)[0], self.height - 40), f"{x:,g}", "faint")
        for y in ys:
            self.picture.path([self.at(self.across[0], y), self.at(self.across[1], y)])
            self.picture.text((62, self.at(0, y)[1]), f"{y:g}", "faint right")
        self.picture.text(((WIDTH + 40) / 2, self.height - 16), words[0])
        self.picture.text((12, 16), words[1], "left")


def sigmoid(ledger: Ledger, shown: Callable[[float], str]) -> str:
    """The sigmoid, and its slope where the first hidden node stands."""
    picture = Picture("The sigmoid, and its slope at hidden node 1", 320)
    axes = Axes(picture, (-5, 5), (0, 1), 320)
    axes.draw((-4, -2, 0, 2, 4), (0, 0.5, 1), ("z, the weighted sum", "a = sigmoid(z)"))
    z, a = values_of(ledger, "forward", "z")[0][0], values_of(ledger, "forward", "a")[0][0]
    picture.path([axes.at(x / 10, 1 / (1 + exp(-x / 10))) for x in range(-50, 51)], "curve")
    slope = a * (1 - a)
    picture.path([axes.at(z + step, a + slope * step) for step in (-1.4, 1.4)], "tangent")
    picture.circle(axes.at(z, a), 6, "dot")
    x, y = axes.at(z, a)
    picture.text((x + 22, y + 24), f"hidden 1: z {shown(z)}, a {shown(a)}", "left")
    picture.text((x + 22, y + 44), f"slope a · (1 - a) = {shown(slope)}", "left")
    return picture.svg()


def losses(curve: Sequence[tuple[int, float, int]], marks: Sequence[int], rows: int) -> str:
    """The mean error by steps, and how many flowers are named rightly at some of them."""
    picture = Picture("The error falls while the steps are repeated", 340)
    last = curve[-1][0]
    axes = Axes(picture, (0, last), (0, 0.45), 340)
    axes.draw([last * k / 5 for k in range(6)], (0, 0.1, 0.2, 0.3, 0.4), ("steps", f"mean E of the {rows} flowers"))
    picture.path([axes.at(step, loss) for step, loss, _ in curve], "curve")
    for step, loss, right in (each for each in curve if each[0] in marks):
        x, y = axes.at(step, loss)
        picture.circle((x, y), 6, "dot")
        side = "right" if step == last else "left"
        picture.text((x + (-4 if step == last else 10), y - 16), f"{right} right", f"{side}")
    return picture.svg()

"""Writes docs/story.md and its pictures: every number in them comes from the ledger of a training that is made here.

    python docs/story/make.py

The words are those of template.md. The network is trained by the Python of that file, as it stands there.
"""

import contextlib
import io
import re
import sys
import tempfile
from math import floor, log10
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import pictures  # noqa: E402
from pictures import biases_of, values_of, weights_of  # noqa: E402

COLUMNS = ("sepal length", "sepal width", "petal length", "petal width")
MARKS = (0, 150, 1_500, 4_500, 15_000)  # steps after which the story says how well the flowers are named
CURVE = sorted({*MARKS, *range(0, MARKS[-1], 600)})  # and those after which the picture of the loss does
NUDGE = 0.001
DIGITS = 4


def number(value: float) -> str:
    """To four digits, or exactly where fewer do: of the numbers here, those that are given."""
    exact = f"{value:.10g}"
    if abs(float(exact) - value) < 1e-15 and len(exact.lstrip("-0.").replace(".", "")) < DIGITS:
        return exact
    return f"{value:.{max(DIGITS - 1 - floor(log10(abs(value))), 0)}f}"


def times(left: float, right: float) -> str:
    """A product as it is written."""
    return f"{number(left)} · {f'({number(right)})' if right < 0 else number(right)}"


def added(terms: list[str]) -> str:
    """A sum as it is written."""
    return " + ".join(terms).replace("+ -", "- ")


def sigmoid_of(z: float, a: float) -> str:
    """The sigmoid with its number put in."""
    return f"1 / (1 + exp({number(-z)})) = {number(a)}"


class Story:
    """The training that the template's Python makes, and what there is to tell of its first step."""

    def __init__(self, code: str) -> None:
        made: dict[str, Any] = {}
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            Path("examples").symlink_to(ROOT / "examples")
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code, made)  # noqa: S102 - it is the Python of the story, which shows what was run
            self.trainer, self.network, self.loss = made["trainer"], made["network"], made["loss"]
            self.x, self.desired, self.species = made["x"], made["desired"], list(made["names"])
            ledger = made["ledger"]
            replays = self.trainer.replays([step + 1 for step in CURVE[:-1]], "story", self.x, self.desired)
            weights = [step.before for step in replays] + [self.trainer.parameters]
        self.ledger = ledger.to_json()
        self.before, self.after = ledger.moment.before, ledger.moment.after
        self.row = self.ledger["row"]
        self.progress = [(step, *self.judged(each)) for step, each in zip(CURVE, weights, strict=True)]
        if not self.ledger["sums"]["ok"]:
            raise SystemExit("the ledger of the story's step does not add up")

    def outputs(self, parameters: Any) -> Any:
        """What the network answers for the flower."""
        return self.network(parameters, self.x[[self.row]])

    def error(self, parameters: Any) -> float:
        """How far that is from what is desired."""
        return float(self.loss(self.outputs(parameters), self.desired[[self.row]]))

    def judged(self, parameters: Any) -> tuple[float, int]:
        """The mean error of all flowers, and how many of them are named rightly."""
        outputs = self.network(parameters, self.x)
        right = np.sum(outputs.argmax(axis=1) == self.desired.argmax(axis=1))
        return float(self.loss(outputs, self.desired)), int(right)

    def nudged(self, way: float) -> float:
        """The error when the weight from petal length to hidden node 1 is moved a little."""
        weight = self.before["hidden"]["weight"].copy()
        weight[2, 0] += way
        return self.error(self.before | {"hidden": self.before["hidden"] | {"weight": weight}})

    def names(self) -> list[list[str]]:
        """Those of the nodes, by layers."""
        return [list(COLUMNS), ["hidden 1", "hidden 2", "hidden 3"], self.species]

    # What stands in the template

    def facts(self) -> dict[str, str]:
        """What each {{name}} of the template stands for."""
        inputs = [value for cell in self.ledger["columns"] for _, value in cell["features"]]
        rate = self.ledger["weights"][0]["rate"]
        old, slope, change, new = (self.of_weight(what) for what in ("before", "slope_of_row", "change", "after"))
        return {
            "row": str(self.row + 1),
            "rows": str(len(self.x)),
            "species": self.species[int(self.desired[self.row].argmax())],
            "answer": self.species[int(self.outputs(self.before).argmax())],
            "flower": "\n".join(f"{name:<14}{value:g}" for name, value in zip(COLUMNS, inputs, strict=True)),
            "desired": "\n".join(
                f"{each:<14}{value:g}" for each, value in zip(self.species, self.desired[self.row], strict=True)
            ),
            "hidden_1": self.first_node(inputs),
            "hidden_others": self.other_nodes(),
            "outputs": self.output_nodes(),
            "error": self.error_function(),
            "output_errors": self.output_errors(),
            "hidden_1_error": self.hidden_error(0),
            "hidden_other_errors": "\n\n".join(f"hidden {k + 1}\n{self.hidden_error(k)}" for k in (1, 2)),
            "one_slope": f"∂E/∂w = {times(values_of(self.ledger, 'backward', 'δ')[0][0], inputs[2])} = {number(slope)}",
            "one_chain": self.chain(inputs[2], slope),
            "slopes": self.table(),
            "nudge": f"({self.nudged(NUDGE):.8f} - {self.nudged(-NUDGE):.8f}) / {2 * NUDGE} = {number(slope)}",
            "nudged_up": number(old + NUDGE),
            "nudged_down": number(old - NUDGE),
            "rate": number(rate),
            "change": f"change = -{times(rate, slope)} = {number(change)}\n"
            f"new    = {number(old)} + {number(change)} = {number(new)}",
            "error_before": number(self.error(self.before)),
            "error_after": number(self.error(self.after)),
            "steps": f"{MARKS[-1]:,}",
            "progress": "\n".join(
                f"{step:>12,}   {loss:.4f}   {right:>3} of {len(self.x)}"
                for step, loss, right in self.progress
                if step in MARKS
            ),
            "first_answer": self.answer(self.before),
            "last_answer": self.answer(self.trainer.parameters),
            "missed": str(len(self.x) - self.progress[-1][2]),
        }

    def of_weight(self, what: str) -> float:
        """A number of the weight from petal length to hidden node 1."""
        return weights_of(self.ledger, what)[0][2][0]

    def answer(self, parameters: Any) -> str:
        """The outputs in one line."""
        return "   ".join(
            f"{name} {number(value)}" for name, value in zip(self.species, self.outputs(parameters)[0], strict=True)
        )

    def first_node(self, inputs: list[float]) -> str:
        """Every product of hidden node 1, their sum, and what comes of it."""
        weights, bias = [row[0] for row in weights_of(self.ledger, "before")[0]], biases_of(self.ledger, "before")[0][0]
        z, a = (values_of(self.ledger, "forward", symbol)[0][0] for symbol in "za")
        products = [weight * value for weight, value in zip(weights, inputs, strict=True)]
        lines = [
            f"{name + ':':<14} {f'{times(weight, value)} = {number(term)}'}"
            for name, weight, value, term in zip(COLUMNS, weights, inputs, products, strict=True)
        ]
        total = added([number(term) for term in (*products, bias)])
        return "\n".join([*lines, f"{'bias:':<14} {number(bias)}", "", f"z = {total} = {number(z)}",
                          f"a = {sigmoid_of(z, a)}"])  # fmt: skip

    def other_nodes(self) -> str:
        """What hidden nodes 2 and 3 come to."""
        sums, values = (values_of(self.ledger, "forward", symbol)[0] for symbol in "za")
        return "\n".join(f"hidden {k + 1}\nz = {number(sums[k])}\na = {sigmoid_of(sums[k], values[k])}" for k in (1, 2))

    def output_nodes(self) -> str:
        """The sums of the outputs, with their numbers."""
        weights, biases = weights_of(self.ledger, "before")[1], biases_of(self.ledger, "before")[1]
        hidden, values = values_of(self.ledger, "forward", "a")
        sums = values_of(self.ledger, "forward", "z")[1]
        told = []
        for k, name in enumerate(self.species):
            terms = [times(row[k], value) for row, value in zip(weights, hidden, strict=True)]
            told.append(f"{name}\nz = {added([*terms, number(biases[k])])} = {number(sums[k])}\n"
                        f"a = {sigmoid_of(sums[k], values[k])}")  # fmt: skip
        return "\n\n".join(told)

    def error_function(self) -> str:
        """The error with its numbers put in."""
        squares = " + ".join(
            f"({number(each['output'])} - {each['desired']:g})²" for each in self.ledger["error"]["outputs"]
        )
        return f"E = ½ · ({squares}) = {number(self.ledger['error']['value']['value'])}"

    def output_errors(self) -> str:
        """Error, slope and δ of each output."""
        errors, deltas = (values_of(self.ledger, "backward", symbol)[1] for symbol in ("error", "δ"))
        told = []
        for each, name, error, delta in zip(self.ledger["error"]["outputs"], self.species, errors, deltas, strict=True):
            a = number(each["output"])
            told.append(f"{name}\nerror = {a} - {each['desired']:g} = {number(error)}\n"
                        f"δ     = {number(error)} · {a} · (1 - {a}) = {number(delta)}")  # fmt: skip
        return "\n\n".join(told)

    def hidden_error(self, node: int) -> str:
        """What the outputs hand back to a hidden node, and its δ."""
        weights = weights_of(self.ledger, "before")[1][node]
        behind = values_of(self.ledger, "backward", "δ")[1]
        error, delta = (values_of(self.ledger, "backward", symbol)[0][node] for symbol in ("error", "δ"))
        a = number(values_of(self.ledger, "forward", "a")[0][node])
        terms = added([times(weight, each) for weight, each in zip(weights, behind, strict=True)])
        parts = added([number(weight * each) for weight, each in zip(weights, behind, strict=True)])
        return (
            f"error = {terms}\n      = {parts} = {number(error)}\n"
            f"δ     = {number(error)} · {a} · (1 - {a}) = {number(delta)}"
        )

    def chain(self, given: float, slope: float) -> str:
        """The derivative by the weight from petal length to hidden node 1, as one product."""
        error, a = (
            values_of(self.ledger, "backward", "error")[0][0],
            number(values_of(self.ledger, "forward", "a")[0][0]),
        )
        return f"      = {number(error)} · {a} · (1 - {a}) · {number(given)} = {number(slope)}"

    def table(self) -> str:
        """The derivative of every weight and bias: a line for what it multiplies, a column for its node."""
        weights, biases = weights_of(self.ledger, "slope_of_row"), biases_of(self.ledger, "slope_of_row")
        inputs = [value for cell in self.ledger["columns"] for _, value in cell["features"]]
        values = [inputs, values_of(self.ledger, "forward", "a")[0]]
        deltas, names = values_of(self.ledger, "backward", "δ"), self.names()
        lines = []
        for layer in (0, 1):
            lines += ["" if layer else None, f"{'':<22}" + "".join(f"{name:>12}" for name in names[layer + 1])]
            lines.append(f"{'δ':<22}" + "".join(f"{number(each):>12}" for each in deltas[layer]))
            for name, value, row in zip(names[layer], values[layer], weights[layer], strict=True):
                lines.append(f"{name:<14}{number(value):>8}" + "".join(f"{number(each):>12}" for each in row))
            lines.append(f"{'bias':<14}{'1':>8}" + "".join(f"{number(each):>12}" for each in biases[layer]))
        return "\n".join(line for line in lines if line is not None)

    def drawn(self) -> dict[str, str]:
        """The pictures, by the names of their files."""
        names = self.names()
        return {
            "forward.svg": pictures.forward(self.ledger, names, number),
            "sigmoid.svg": pictures.sigmoid(self.ledger, number),
            "backward.svg": pictures.backward(self.ledger, names, number),
            "changes.svg": pictures.changes(self.ledger, names),
            "loss.svg": pictures.losses(self.progress, MARKS, len(self.x)),
        }


def files() -> dict[Path, str]:
    """Every file of the story, as it is to be."""
    template = (HERE / "template.md").read_text(encoding="utf-8")
    code = re.search(r"^```python\n(.*?)^```", template, re.DOTALL | re.MULTILINE)
    story = Story(code[1] if code else "")
    facts = story.facts()
    wanted = set(re.findall(r"\{\{(\w+)\}\}", template))
    if wanted != set(facts):
        raise SystemExit(f"template.md and make.py differ in {', '.join(sorted(wanted ^ set(facts)))}")
    text = re.sub(r"\{\{(\w+)\}\}", lambda found: facts[found[1]], template)
    return {HERE.parent / "story.md": text} | {HERE / name: picture for name, picture in story.drawn().items()}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {len(text):,} characters")
